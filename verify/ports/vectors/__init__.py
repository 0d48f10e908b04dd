"""Write test vectors that prove a port in any language."""
