// A port for the tests: the layers of a Sequential model, by the equations.
// MISTAKE in the environment names a mistake to make.
import { readFileSync } from "node:fs";

const { model } = JSON.parse(readFileSync(process.env.VECTORS, "utf8"));
const made = process.env.MISTAKE ?? "";
const layers = model.layers.filter(({ path }) => !path.includes("/"));
const at = Object.fromEntries(model.layers.map((layer) => [layer.path, layer]));

const f = Math.fround;
const functions = {
  linear: (x) => x,
  relu: (x) => Math.max(x, 0),
  tanh: (x) => f(Math.tanh(x)),
  sigmoid: (x) => f(1 / (1 + f(Math.exp(-x)))),
};

let states = {};

function times(x, { shape, data }) {
  const [rows, width] = shape;
  const y = new Float32Array(width);
  for (let k = 0; k < rows; k++)
    for (let j = 0; j < width; j++) y[j] += x[k] * data[k * width + j];
  return y;
}

function cell(layer, weights) {
  const { path, options } = layer;
  const kernel = weights[`${path}/kernel`];
  const recurrent = weights[`${path}/recurrent_kernel`];
  const stored = weights[`${path}/bias`];
  const u = options.units;
  const width = kernel.shape[1];
  const bias = (row, column) => {
    if (!stored || made === "no bias") return 0;
    if (stored.shape.length === 1) return row ? 0 : stored.data[column];
    return stored.data[row * width + column];
  };
  const phi = functions[options.activation];
  const sigma = functions[options.recurrent_activation];
  const unit = (compute) => Float32Array.from({ length: u }, (_, k) => compute(k));
  if (layer.class === "SimpleRNN")
    return (x, { h }) => {
      const [a, s] = [times(x, kernel), times(h, recurrent)];
      return { h: unit((k) => phi(f(a[k] + bias(0, k) + s[k]))) };
    };
  if (layer.class === "LSTM")
    return (x, { h, c }) => {
      const [a, s] = [times(x, kernel), times(h, recurrent)];
      const gate = (g, activation) =>
        unit((k) => {
          const n = g * u + k;
          const drop = made === "one bias" && g === 1 && k === 2 ? bias(0, n) : 0;
          return activation(f(a[n] + s[n] + bias(0, n) - drop));
        });
      const [first, second] = made === "gates swapped" ? [1, 0] : [0, 1];
      const [i, forget] = [gate(first, sigma), gate(second, sigma)];
      const [c_hat, o] = [gate(2, phi), gate(3, sigma)];
      const now = unit((k) => forget[k] * c[k] + i[k] * c_hat[k]);
      return { i, f: forget, c_hat, o, c: now, h: unit((k) => o[k] * phi(now[k])) };
    };
  return (x, { h }) => {
    const [a, s] = [times(x, kernel), times(h, recurrent)];
    const sum = (n) => f(a[n] + bias(0, n) + s[n] + bias(1, n));
    const z = unit((k) => sigma(sum(k)));
    const r = unit((k) => sigma(sum(u + k)));
    const inside = times(unit((k) => r[k] * h[k]), recurrent);
    const h_hat = unit((k) => {
      const n = 2 * u + k;
      let fromH = options.reset_after ? r[k] * (s[n] + bias(1, n)) : inside[n];
      if (made === "reset before") fromH = inside[n] + bias(1, n);
      return phi(f(a[n] + bias(0, n) + fromH));
    });
    return { z, r, h_hat, h: unit((k) => z[k] * h[k] + (1 - z[k]) * h_hat[k]) };
  };
}

// Run one direction; return [rows][steps] outputs in the order of processing.
function loop(layer, x, mask, weights, offer) {
  const { path, options } = layer;
  const step = cell(layer, weights);
  const zeros = () => new Float32Array(options.units);
  const found = x.map((row, r) => {
    const carried = options.stateful && made !== "not carried";
    let state = (carried && states[path]?.[r]) || { h: zeros(), c: zeros() };
    let shown = zeros();
    const order = row.map((_, t) => t);
    if (options.go_backwards) order.reverse();
    const outputs = order.map((t) => {
      const now = step(row[made === "late" && t ? t - 1 : t], state);
      if (mask && !mask[r][t] && made !== "no mask") {
        if (options.zero_output_for_mask) shown = zeros();
      } else {
        state = now;
        shown = now.h;
        for (const [name, values] of Object.entries(now))
          if (name !== "h" && name !== "c") offer(`${path}/${name}`, r, t, values);
      }
      if (layer.class === "LSTM") offer(`${path}/c`, r, t, state.c);
      offer(`${path}/h`, r, t, state.h);
      return shown;
    });
    (states[path] ??= [])[r] = state;
    return outputs;
  });
  return found;
}

function recurrent(layer, x, mask, weights, offer) {
  if (layer.class !== "Bidirectional") return loop(layer, x, mask, weights, offer);
  const [one, other] = ["forward_layer", "backward_layer"].map((half) =>
    loop(at[`${layer.path}/${half}`], x, mask, weights, offer),
  );
  const sequences = at[`${layer.path}/forward_layer`].options.return_sequences;
  return one.map((row, r) => {
    const turned = sequences ? [...other[r]].reverse() : other[r];
    return row.map((h, t) => Float32Array.from([...h, ...turned[t]]));
  });
}

export function reset() {
  states = {};
}

export function run(inputs, offer, weights) {
  const [{ shape, data }] = Object.values(inputs);
  const [rows, steps, features = 1] = shape;
  let x = Array.from({ length: rows }, (_, r) =>
    Array.from({ length: steps }, (_, t) =>
      data.slice((r * steps + t) * features, (r * steps + t + 1) * features),
    ),
  );
  let mask = null;
  if (made === "offers nothing") offer = () => {};
  for (const layer of layers) {
    const { path, options } = layer;
    if (layer.class === "Embedding") {
      const table = weights[`${path}/embeddings`];
      const width = table.shape[1];
      if (options.mask_zero) mask = x.map((row) => row.map(([id]) => id !== 0));
      x = x.map((row) =>
        row.map(([id]) => table.data.slice(id * width, (id + 1) * width)),
      );
    } else if (layer.class === "Masking") {
      mask = x.map((row) => row.map((v) => v.some((n) => n !== options.mask_value)));
      x = x.map((row, r) => row.map((v, t) => (mask[r][t] ? v : v.map(() => 0))));
    } else if (layer.class === "Dense") {
      const bias = weights[`${path}/bias`].data;
      x = x.map((row) =>
        row.map((v) => {
          const z = times(v, weights[`${path}/kernel`]).map((n, j) => n + bias[j]);
          if (options.activation !== "softmax") return z.map(functions[options.activation]);
          const e = z.map((n) => Math.exp(n));
          const sum = e.reduce((a, b) => a + b);
          return e.map((n) => n / sum);
        }),
      );
    } else {
      const inner = at[`${path}/forward_layer`] ?? layer;
      x = recurrent(layer, x, mask, weights, offer);
      if (!inner.options.return_sequences) x = x.map((row) => [row.at(-1)]);
    }
    offer(`${path}/output`, -1, -1, x.flatMap((row) => row.flatMap((v) => [...v])));
  }
  if (made === "wrong name") offer("nothing/f", 0, 0, [1]);
  if (made === "wrong count") offer("lstm/h", 0, 0, [1]);
  const output = x.flatMap((row) => row.flatMap((v) => [...v]));
  if (made === "nan") output[0] = NaN;
  return made === "wrong shape" ? [[1]] : [output];
}
