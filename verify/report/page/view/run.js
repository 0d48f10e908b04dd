// Define what all parts of the explorer use: the data, the model, short helpers and runs.
// A run holds the values of one text or row, as NumPy recorded them or as this page
// computes them. Texts and names are inserted as text, never as markup.

const { GATES, el, svg, small, number, percent, plural } = Tools;
const { colours, mixed, scaleOf, looksLikeShares } = Tools;
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.getElementById("explorer");
const model = data.model && Engine.load(data.model);
const rules = data.text && Engine.textRules(data.text);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const MOST_UNITS = 256; // greatest number of rows in a heat map
const MOST_CLASSES = 5; // greatest number of lines in the chart
const PADDING = "·";

const quiet = (text) => el("p", { class: "quiet" }, text);
const className = (k) => data.classes[k] ?? `output ${k}`;
const sampleWord = rules ? "text" : "row";
const stepWord = rules ? "word" : "step";
const hasIds = !rules && data.input.ids !== null;

const inputs = Engine.unpacked(data.input.values);
const unpackedEach = (arrays) =>
  Object.fromEntries(Object.entries(arrays).map(([name, one]) => [name, Engine.unpacked(one)]));
const recorded = data.layers.map((layer) => ({
  ...layer,
  mask: layer.mask && Engine.unpacked(layer.mask),
  values: unpackedEach(layer.values),
  theirs: unpackedEach(layer.theirs || {}),
  differs: unpackedEach(layer.differs || {}),
}));
const first = data.port && data.port.first; // where a port first differs, if it does
const outputs = Engine.unpacked(data.output);
const answers = data.running && Engine.unpacked(data.running);

const tensorOf = (k) => {
  const { shape, data: values } = Engine.row(inputs, k);
  return { shape, data: Float64Array.from(values), mask: null };
};

const tokensOf = (x) => {
  if (rules) return Array.from(x.data, (id) => (id === 0 ? PADDING : data.text.words[id - 1]));
  if (hasIds) return Array.from(x.data, String);
  return Array.from({ length: x.shape[0] }, (_, t) => `${t + 1}`);
};

const fromNumPy = (k) => {
  const layers = {};
  for (const layer of recorded) {
    const values = {};
    let shape = null;
    for (const [name, array] of Object.entries(layer.values)) {
      const own = Engine.row(array, k);
      values[name] = own.data;
      ({ shape } = own);
    }
    const mask = layer.mask && Engine.row(layer.mask, k).data;
    layers[layer.path] = { values, mask, steps: shape[0], units: shape[1] };
  }
  const output = Engine.row(outputs, k);
  return { output, layers, running: answers && Engine.row(answers, k) };
};

const compute = (x) => {
  const done = Engine.evaluate(model, x);
  const running = data.answers ? Engine.running(model, x, done, data.prefixes) : null;
  return { ...done, running };
};
