// Runs a graph model: node tensorflowjs_graph.js FOLDER, inputs and outputs in JSON.
const fs = require("fs");
const path = require("path");
const tf = require(require.resolve("@tensorflow/tfjs", {
  paths: [process.env.NODE_FOLDER || process.cwd()],
}));

async function main() {
  const folder = process.argv[2];
  const document = JSON.parse(fs.readFileSync(path.join(folder, "model.json")));
  const manifest = document.weightsManifest;
  const bytes = Buffer.concat(
    manifest.flatMap((group) => group.paths.map((p) => fs.readFileSync(path.join(folder, p))))
  );
  const model = await tf.loadGraphModel({
    load: async () => ({
      modelTopology: document.modelTopology,
      format: document.format,
      signature: document.signature,
      weightSpecs: manifest.flatMap((group) => group.weights),
      weightData: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
    }),
  });
  const given = JSON.parse(fs.readFileSync(0, "utf8"));
  // by name, or by shape and dtype where the names of the signature are others
  const feeds = {};
  const names = Object.keys(document.signature.inputs);
  names.forEach((name, k) => {
    const x = given[k];
    const tensor = document.signature.inputs[name].name;
    feeds[tensor] = tf.tensor(x.values, x.shape, x.dtype);
  });
  const wanted = Object.keys(document.signature.outputs).sort();
  const tensors = wanted.map((key) => document.signature.outputs[key].name);
  const found = await model.executeAsync(feeds, tensors);
  const outputs = (Array.isArray(found) ? found : [found]).map((y) => ({
    shape: y.shape,
    values: Array.from(y.dataSync()),
  }));
  console.log(JSON.stringify(outputs));
}

main().catch((error) => {
  console.error(String(error).split("\n")[0].replace(/^/, error instanceof Error ? "" : "Error: "));
  process.exit(1);
});
