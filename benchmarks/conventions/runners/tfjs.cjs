// Runs a recurrent layer of TensorFlow.js: a request as JSON in, one line of JSON out.
const tf = require('@tensorflow/tfjs');
const request = JSON.parse(require('fs').readFileSync(0, 'utf8'));

async function main() {
  const answer = {version: tf.version.tfjs};
  if (request.kind) {
    await tf.setBackend('cpu');
    const x = tf.tensor(request.x);
    const options = {units: request.units, returnSequences: true};
    if (request.kind !== 'simpleRNN') options.recurrentActivation = 'sigmoid';
    if (request.kind === 'gru') options.resetAfter = false;
    let layer = tf.layers[request.kind]({...options, returnState: !request.both});
    if (request.both) layer = tf.layers.bidirectional({layer, mergeMode: 'concat'});
    const input = tf.input({shape: x.shape.slice(1)});
    const outputs = layer.apply(input);
    layer.setWeights(request.weights.map(w => tf.tensor(w)));
    const found = tf.model({inputs: input, outputs}).predict(x);
    const list = Array.isArray(found) ? found : [found];
    answer.outputs = list.map(t => t.arraySync());
  }
  console.log(JSON.stringify(answer));
}
main();
