"""Write a model as ONNX: each layer as nodes, recurrent ones as fused operators."""
