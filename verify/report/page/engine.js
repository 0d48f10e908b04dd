"use strict";

// Compute the forward pass in float64: activations, steps, time, layers, model.
// One row is computed at a time. A tensor is {shape, data, mask}, where the mask is null
// or has one byte for each step, 0 where the step is masked.
const Engine = (() => {
  // ---- activations: functions from vector to vector --------------------------------

  const sigmoid = (x) => {
    const e = Math.exp(-Math.abs(x));
    return x >= 0 ? 1 / (1 + e) : e / (1 + e);
  };
  const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  const clip = (x, low, high) => Math.min(Math.max(x, low), high);

  // A series whose terms are all positive, so that no digits cancel. Beyond 6 the result
  // is 1 in float64.
  const erf = (x) => {
    const a = Math.abs(x);
    if (a > 6) return Math.sign(x);
    let term = a;
    let sum = a;
    for (let n = 1; term > sum * 1e-17; n += 1) {
      term *= (2 * a * a) / (2 * n + 1);
      sum += term;
    }
    return Math.sign(x) * ((2 / Math.sqrt(Math.PI)) * Math.exp(-a * a) * sum);
  };

  const SELU_SCALE = 1.0507009873554805;
  const SELU_ALPHA = 1.6732632423543772;

  const relu = (x, p) => {
    let y = x > p.threshold ? x : 0;
    if (p.max_value !== null) y = clip(y, 0, p.max_value);
    return p.negative_slope ? y - p.negative_slope * Math.max(p.threshold - x, 0) : y;
  };
  const gelu = (x, p) => {
    if (!p.approximate) return 0.5 * x * (1 + erf(x * p.root));
    return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + p.cube * x ** 3)));
  };
  const sparsePlus = (x) => (x <= -1 ? 0 : x < 1 ? (x + 1) ** 2 / 4 : x);
  const softShrink = (x, p) =>
    x > p.threshold ? x - p.threshold : x < -p.threshold ? x + p.threshold : 0;

  const ELEMENTWISE = {
    linear: (x) => x,
    relu,
    relu6: (x) => clip(x, 0, 6),
    leaky_relu: (x, p) => (x > 0 ? x : p.negative_slope * x),
    elu: (x, p) => (x > 0 ? x : p.alpha * Math.expm1(x)),
    celu: (x, p) => Math.max(x, 0) + p.alpha * Math.expm1(Math.min(x, 0) / p.alpha),
    selu: (x) => SELU_SCALE * (x > 0 ? x : SELU_ALPHA * Math.expm1(x)),
    sigmoid,
    hard_sigmoid: (x) => clip(x + 3, 0, 6) / 6,
    keras2_hard_sigmoid: (x) => clip(0.2 * x + 0.5, 0, 1),
    silu: (x) => x * sigmoid(x),
    hard_silu: (x) => (x * clip(x + 3, 0, 6)) / 6,
    tanh: Math.tanh,
    hard_tanh: (x) => clip(x, -1, 1),
    tanh_shrink: (x) => x - Math.tanh(x),
    softplus,
    log_sigmoid: (x) => -softplus(-x),
    softsign: (x) => x / (1 + Math.abs(x)),
    squareplus: (x, p) => (x + Math.sqrt(x * x + p.b)) / 2,
    mish: (x) => x * Math.tanh(softplus(x)),
    gelu,
    exponential: Math.exp,
    sparse_plus: sparsePlus,
    sparse_sigmoid: (x) => clip((x + 1) / 2, 0, 1),
    soft_shrink: softShrink,
    hard_shrink: (x, p) => (Math.abs(x) > p.threshold ? x : 0),
  };

  const exponentials = (x) => {
    const top = x.reduce((a, b) => Math.max(a, b));
    const e = x.map((v) => Math.exp(v - top));
    return { top, e, sum: e.reduce((a, b) => a + b) };
  };
  // Compute what Keras calls sparsemax; see verify/forward/activations.py.
  const sparsemax = (x) => {
    const z = Float64Array.from(x).sort().reverse();
    let c = 0;
    let total = 0;
    let count = 0;
    z.forEach((v, k) => {
      c += v;
      if (v - (c - 1) / (k + 1) > 0) {
        total += c;
        count += 1;
      }
    });
    return x.map((v) => Math.max(v - (total - 1) / count, 0));
  };
  const VECTORS = {
    softmax: (x) => {
      const { e, sum } = exponentials(x);
      return e.map((v) => v / sum);
    },
    log_softmax: (x) => {
      const { top, sum } = exponentials(x);
      return x.map((v) => v - top - Math.log(sum));
    },
    glu: (x) => {
      const half = x.length / 2;
      return x.subarray(0, half).map((v, k) => v * sigmoid(x[half + k]));
    },
    sparsemax,
  };

  const activation = (given) => {
    if (given.name in VECTORS) return VECTORS[given.name];
    const f = ELEMENTWISE[given.name];
    return (x) => x.map((v) => f(v, given));
  };

  // ---- one step of each cell: takes the states and returns new ones ----------------

  // Compute x @ kernel; the kernel is {shape: [rows, columns], data}.
  const dot = (x, kernel) => {
    const [rows, columns] = kernel.shape;
    if (x.length !== rows) throw new RangeError(`${x.length} numbers for ${rows} rows`);
    const y = new Float64Array(columns);
    for (let k = 0; k < rows; k += 1) {
      const v = x[k];
      const start = k * columns;
      if (v !== 0) for (let j = 0; j < columns; j += 1) y[j] += v * kernel.data[start + j];
    }
    return y;
  };
  const plus = (a, b) => (b === null ? a : a.map((v, k) => v + b[k]));
  const times = (a, b) => a.map((v, k) => v * b[k]);
  const split = (z, n) => {
    const units = z.length / n;
    return Array.from({ length: n }, (_, g) => z.slice(g * units, (g + 1) * units));
  };

  // h = activation(x @ kernel + bias + h @ recurrent_kernel)
  const simpleRnnStep = (x, { h }, w) => {
    const z = plus(plus(dot(x, w.kernel), w.bias), dot(h, w.recurrent_kernel));
    return { h: w.activation(z) };
  };

  // z = x @ kernel + h @ recurrent_kernel + bias, blocks i, f, c, o
  // c = f * c + i * c_hat;  h = o * activation(c)
  const lstmStep = (x, { h, c }, w) => {
    const z = plus(plus(dot(x, w.kernel), dot(h, w.recurrent_kernel)), w.bias);
    const [zI, zF, zC, zO] = split(z, 4);
    const i = w.recurrent_activation(zI);
    const f = w.recurrent_activation(zF);
    const cHat = w.activation(zC);
    const o = w.recurrent_activation(zO);
    const cNew = plus(times(f, c), times(i, cHat));
    return { i, f, c_hat: cHat, o, c: cNew, h: times(o, w.activation(cNew)) };
  };

  // a = x @ kernel + bias[0];  s = h @ recurrent_kernel + bias[1], blocks z, r, h
  // h_hat = activation(a_h + r * s_h), or activation(a_h + (r * h) @ U_h)
  // h = z * h + (1 - z) * h_hat
  const gruStep = (x, { h }, w) => {
    const [aZ, aR, aH] = split(plus(dot(x, w.kernel), w.bias), 3);
    const [sZ, sR, sH] = split(plus(dot(h, w.recurrent_kernel), w.recurrent_bias), 3);
    const z = w.recurrent_activation(plus(aZ, sZ));
    const r = w.recurrent_activation(plus(aR, sR));
    const inner = w.reset_after ? times(r, sH) : dot(times(r, h), w.u_h);
    const hHat = w.activation(plus(aH, inner));
    const hNew = h.map((v, k) => z[k] * v + (1 - z[k]) * hHat[k]);
    return { z, r, h_hat: hHat, h: hNew };
  };

  const CELLS = {
    SimpleRNN: { step: simpleRnnStep, states: ["h"], values: ["h"] },
    LSTM: { step: lstmStep, states: ["h", "c"], values: ["i", "f", "c_hat", "o", "c", "h"] },
    GRU: { step: gruStep, states: ["h"], values: ["z", "r", "h_hat", "h"] },
  };

  // ---- time ------------------------------------------------------------------------

  const stepOf = (x, t) => x.data.subarray(t * x.shape[1], (t + 1) * x.shape[1]);

  // A masked step leaves every state unchanged. layer.zeroes and layer.shows_state say what
  // it outputs (`MaskRule` in verify/forward/recurrence.py). The gates of masked steps are
  // shown in the heat maps and have no other effect.
  const scan = (layer, x) => {
    const cell = CELLS[layer.kind];
    const { units } = layer;
    const time = x.shape[0];
    const zeros = () => new Float64Array(units);
    let states = Object.fromEntries(cell.states.map((name) => [name, zeros()]));
    let shown = zeros();
    const values = {};
    for (const name of cell.values) values[name] = new Float64Array(time * units);
    const outputs = [];
    for (let k = 0; k < time; k += 1) {
      const t = layer.go_backwards ? time - 1 - k : k;
      const after = cell.step(stepOf(x, t), states, layer);
      const counts = x.mask === null || x.mask[t] !== 0;
      if (counts) {
        shown = after.h;
        states = Object.fromEntries(cell.states.map((name) => [name, after[name]]));
      } else if (layer.zeroes) {
        shown = zeros();
      } else if (layer.shows_state) {
        shown = states.h;
      }
      outputs.push(shown);
      for (const name of cell.values) {
        values[name].set(name in states ? states[name] : after[name], t * units);
      }
    }
    return { outputs, values };
  };

  const stacked = (rows) => {
    const data = new Float64Array(rows.length * rows[0].length);
    rows.forEach((row, t) => data.set(row, t * rows[0].length));
    return { shape: [rows.length, rows[0].length], data };
  };

  // ---- layers: (layer, x, note, path) -> tensor; note records gates and states -----

  const perStep = (x, f) => {
    if (x.shape.length === 1) {
      const data = f(x.data);
      return { shape: [data.length], data, mask: null };
    }
    const rows = Array.from({ length: x.shape[0] }, (_, t) => f(stepOf(x, t)));
    return { ...stacked(rows), mask: x.mask };
  };

  const recurrent = (layer, x, note, path) => {
    const { outputs, values } = scan(layer, x);
    note(path, { values, steps: x.shape[0], units: layer.units, mask: x.mask, outputs });
    if (layer.return_sequences) return { ...stacked(outputs), mask: x.mask };
    const last = outputs[outputs.length - 1];
    return { shape: [last.length], data: last, mask: null };
  };

  const MERGES = {
    concat: (a, b) => Float64Array.of(...a, ...b),
    sum: (a, b) => a.map((v, k) => v + b[k]),
    mul: (a, b) => a.map((v, k) => v * b[k]),
    ave: (a, b) => a.map((v, k) => (v + b[k]) / 2),
  };

  const LAYERS = {
    Same: (layer, x) => x,
    Embedding: (layer, x) => {
      const [count] = layer.embeddings.shape;
      const rows = Array.from(x.data, (v) => {
        const id = Math.trunc(v);
        if (!(id < count && id >= -count)) throw new RangeError(`id ${v}`);
        return stepOf(layer.embeddings, id < 0 ? id + count : id);
      });
      const mask = layer.mask_zero ? Uint8Array.from(x.data, (v) => (v !== 0 ? 1 : 0)) : null;
      return { ...stacked(rows), mask };
    },
    Masking: (layer, x) => {
      const mask = Uint8Array.from({ length: x.shape[0] }, (_, t) =>
        stepOf(x, t).some((v) => v !== layer.mask_value) ? 1 : 0,
      );
      const rows = Array.from({ length: x.shape[0] }, (_, t) =>
        stepOf(x, t).map((v) => (mask[t] ? v : 0)),
      );
      return { ...stacked(rows), mask };
    },
    Activation: (layer, x) => perStep(x, layer.activation),
    Dense: (layer, x) =>
      perStep(x, (v) => layer.activation(plus(dot(v, layer.kernel), layer.bias))),
    SimpleRNN: recurrent,
    LSTM: recurrent,
    GRU: recurrent,
    Bidirectional: (layer, x, note, path) => {
      const merge = MERGES[layer.merge_mode];
      const one = recurrent(layer.forward_layer, x, note, `${path}/forward_layer`);
      const two = recurrent(layer.backward_layer, x, note, `${path}/backward_layer`);
      if (one.shape.length === 1) {
        const data = merge(one.data, two.data);
        return { shape: [data.length], data, mask: null };
      }
      const time = one.shape[0]; // the outputs of the second layer are in reverse order
      const rows = Array.from({ length: time }, (_, t) =>
        merge(stepOf(one, t), stepOf(two, time - 1 - t)),
      );
      return { ...stacked(rows), mask: x.mask };
    },
    Flatten: (layer, x) => ({ shape: [x.data.length], data: x.data, mask: null }),
    RepeatVector: (layer, x) => ({
      ...stacked(Array.from({ length: layer.n }, () => x.data)),
      mask: null,
    }),
    GlobalMaxPooling1D: (layer, x) => pooled(layer, x, null, (a, b) => Math.max(a, b)),
    GlobalAveragePooling1D: (layer, x) => {
      const steps = x.mask === null ? x.shape[0] : x.mask.reduce((a, b) => a + b, 0);
      const sum = pooled(layer, x, x.mask, (a, b) => a + b);
      return { ...sum, data: sum.data.map((v) => v / steps) };
    },
  };

  const pooled = (layer, x, mask, join) => {
    let data = null;
    for (let t = 0; t < x.shape[0]; t += 1) {
      const counts = mask === null || mask[t];
      const row = counts ? stepOf(x, t) : new Float64Array(x.shape[1]);
      data = data === null ? Float64Array.from(row) : data.map((v, k) => join(v, row[k]));
    }
    const shape = layer.keepdims ? [1, data.length] : [data.length];
    return { shape, data, mask: null };
  };

  // ---- the model -------------------------------------------------------------------

  // Evaluate a model on a tensor x; returns {output, layers: path -> values}.
  const evaluate = (model, x) => {
    const layers = {};
    const note = (path, traced) => {
      layers[path] = traced;
    };
    let here = x;
    for (const layer of model.layers) {
      here = LAYERS[layer.kind](layer, here, note, layer.name);
      if (layer.ends_mask) here = { ...here, mask: null };
    }
    return { output: { shape: here.shape, data: here.data }, layers };
  };

  const CAUSAL = ["Same", "Embedding", "Masking", "Activation", "Dense"];
  const RECURRENT = ["SimpleRNN", "LSTM", "GRU"];

  // Return the index after the recurrent layer that outputs its last step only, or null if
  // a layer up to there needs later steps. The answer after step t is the result of the
  // layers from that index on, applied to the recurrent layer's output at step t.
  const headOf = (model) => {
    for (const [k, layer] of model.layers.entries()) {
      const forwards = RECURRENT.includes(layer.kind) && !layer.go_backwards;
      if (forwards && !layer.return_sequences) return k + 1;
      if (!forwards && !CAUSAL.includes(layer.kind)) return null;
    }
    return null;
  };

  // Return the model's answers if the sequence ended after each step, (time, outputs), or
  // null. `prefixes` says whether the model may be evaluated on the first step, the first
  // two steps and so on, which takes long.
  const running = (model, x, done, prefixes) => {
    const time = x.shape[0];
    if (done.output.shape.length === 2) return done.output.shape[0] === time ? done.output : null;
    const head = headOf(model);
    if (head !== null) {
      const layers = model.layers.slice(head);
      if (!layers.every((layer) => CAUSAL.includes(layer.kind))) return null;
      const { outputs } = done.layers[model.layers[head - 1].name];
      return stacked(
        outputs.map((h) => {
          return evaluate({ layers }, { shape: [h.length], data: h, mask: null }).output.data;
        }),
      );
    }
    if (!prefixes) return null;
    const width = x.shape.length === 1 ? 1 : x.shape[1];
    const rows = [];
    for (let end = 1; end <= time; end += 1) {
      const shape = x.shape.length === 1 ? [end] : [end, width];
      const beginning = { shape, data: x.data.subarray(0, end * width), mask: null };
      rows.push(evaluate(model, beginning).output.data);
    }
    return rows.every((y) => y.length === rows[0].length) ? stacked(rows) : null;
  };

  // ---- arrays from the data of the page --------------------------------------------

  const TYPES = { f4: Float32Array, f8: Float64Array, i4: Int32Array, u1: Uint8Array };

  const unpacked = ({ shape, dtype, data }) => {
    const text = atob(data);
    const bytes = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k += 1) bytes[k] = text.charCodeAt(k);
    if (dtype === "u1") return { shape, data: bytes };
    const Type = TYPES[dtype];
    const size = Type.BYTES_PER_ELEMENT;
    const view = new DataView(bytes.buffer);
    const read = { f4: "getFloat32", f8: "getFloat64", i4: "getInt32" }[dtype];
    const array = new Type(bytes.length / size);
    for (let k = 0; k < array.length; k += 1) array[k] = view[read](k * size, true);
    return { shape, data: array };
  };

  // Return a layer with unpacked weights, and with functions as activations.
  const prepared = (given) => {
    const layer = { ...given };
    for (const key of ["kernel", "recurrent_kernel", "embeddings"]) {
      if (layer[key]) layer[key] = unpacked(layer[key]);
    }
    for (const key of ["activation", "recurrent_activation"]) {
      if (layer[key]) layer[key] = activation(layer[key]);
    }
    for (const key of ["forward_layer", "backward_layer"]) {
      if (layer[key]) layer[key] = prepared(layer[key]);
    }
    if (layer.bias) layer.bias = Float64Array.from(unpacked(layer.bias).data);
    if (layer.kind === "GRU") {
      const width = layer.kernel.shape[1];
      const both = layer.bias;
      layer.bias = both && both.slice(0, width);
      layer.recurrent_bias = both && layer.reset_after ? both.slice(width) : null;
      const { units } = layer;
      const u = new Float64Array(units * units);
      for (let k = 0; k < units; k += 1) {
        const start = k * width + 2 * units; // the last block of columns
        u.set(layer.recurrent_kernel.data.subarray(start, start + units), k * units);
      }
      layer.u_h = { shape: [units, units], data: u };
    }
    return layer;
  };

  const load = (model) => ({ layers: model.layers.map(prepared) });

  // Return row k of an array whose first axis is the rows.
  const row = (array, k) => {
    const shape = array.shape.slice(1);
    const size = shape.reduce((a, b) => a * b, 1);
    return { shape, data: array.data.subarray(k * size, (k + 1) * size), mask: null };
  };

  // Much smaller numbers may consist of rounding alone, as 1e-6 - tanh(1e-6) does.
  const TINY = 1e-7;

  // Return the greatest of |a - b| / scale. The scale is |b| or, if that is greater, the
  // greatest |b| of the array, at most 1, so that among tiny numbers a difference must be
  // tiny too. NaN counts as infinite. `_apart` in recording.py is the same measure.
  const apart = (a, b) => {
    if (a.length !== b.length) return Infinity;
    const top = b.reduce((x, y) => Math.max(x, Math.abs(y)), TINY);
    const floor = Math.min(1, top);
    let most = 0;
    for (let k = 0; k < a.length; k += 1) {
      const difference = Math.abs(a[k] - b[k]) / Math.max(floor, Math.abs(b[k]));
      if (!(difference <= most)) most = Number.isNaN(difference) ? Infinity : difference;
    }
    return most;
  };

  // ---- text ------------------------------------------------------------------------

  // Turn a text into ids as verify/data/text.py does: lower case, split at all characters
  // but 0-9a-zA-Z, without stop words and unknown words, the last `length` words, padded.
  const read = (text, rules) => {
    const found = text.toLowerCase().replace(/[^0-9a-zA-Z]+/g, " ").split(" ").filter(Boolean);
    const kept = found.filter((word) => !rules.stops.has(word));
    const known = kept.filter((word) => rules.ids.has(word));
    const used = known.slice(-rules.length);
    const data = new Float64Array(rules.length);
    const start = rules.padding === "pre" ? rules.length - used.length : 0;
    used.forEach((word, k) => {
      data[start + k] = rules.ids.get(word);
    });
    return {
      x: { shape: rules.feature_axis ? [rules.length, 1] : [rules.length], data, mask: null },
      used,
      stops: found.filter((word) => rules.stops.has(word)),
      unknown: kept.filter((word) => !rules.ids.has(word)),
      cut: known.slice(0, -rules.length),
    };
  };

  const textRules = (given) => ({
    ...given,
    stops: new Set(given.stop_words),
    ids: new Map(given.words.map((word, k) => [word, k + 1])),
  });

  return { load, evaluate, running, unpacked, row, apart, read, textRules, activation, CELLS };
})();
