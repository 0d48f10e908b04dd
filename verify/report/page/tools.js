// Helpers that show things: elements, numbers as text, colours.
const Tools = (() => {
  // Cell -> gate or state -> its letter, its name and what it does.
  const GATES = {
    LSTM: {
      i: ["i", "input gate", "How much of the candidate is let in: 0 is nothing, 1 is all of it."],
      f: ["f", "forget gate", "How much of the old memory is kept: 0 forgets it, 1 keeps it."],
      c_hat: ["c_hat", "candidate", "What this step would like to write into the memory."],
      o: ["o", "output gate", "How much of the memory is shown to the outside."],
      c: ["c", "cell state", "The memory: what was kept, plus what was let in."],
      h: ["h", "hidden value", "What the layer shows: the memory, as far as o lets it out."],
    },
    GRU: {
      z: ["z", "update gate", "How much of the old state stays: 1 keeps it, 0 replaces it."],
      r: ["r", "reset gate", "How much of the old state the candidate may look at."],
      h_hat: ["h_hat", "candidate", "What would replace the old state."],
      h: ["h", "hidden value", "The state: z of the old one, the rest from the candidate."],
    },
    SimpleRNN: {
      h: ["h", "hidden value", "The state, made from this step and from the state before it."],
    },
  };

  // ---- elements: strings are appended as text, never as markup ---------------------

  const SVG = "http://www.w3.org/2000/svg";
  const filled = (node, attributes, children) => {
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  };
  const el = (tag, attributes = {}, ...children) =>
    filled(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) =>
    filled(document.createElementNS(SVG, tag), attributes, children);

  const minus = (text) => text.replace("-", "\u2212");
  const small = (v) => (v === 0 ? "0" : v >= 0.01 ? v.toPrecision(2) : minus(v.toExponential(0)));
  const number = (v) => minus(Math.abs(v) >= 1e4 ? v.toPrecision(3) : v.toFixed(3));
  const percent = (v) => `${(100 * v).toFixed(1)} %`;
  const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

  // ---- colours: blue and orange, which every kind of colour vision can tell apart ---

  const SCALES = {
    light: {
      gate: ["#f4f7fb", "#bcd7ef", "#6aa8dc", "#2a6db3", "#0b3768"],
      state: ["#8f4300", "#dd9146", "#f5f4f1", "#6aa8dc", "#0b4a8f"],
    },
    dark: {
      gate: ["#171c24", "#1d4268", "#2f74b5", "#6fb1ec", "#d8ecff"],
      state: ["#ffb870", "#a45f1c", "#1d2128", "#2f74b5", "#9fd0ff"],
    },
  };
  const rgb = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
  const colours = (scheme, kind) => SCALES[scheme][kind].map(rgb);

  const mixed = (colours, share) => {
    const place = Math.min(Math.max(share, 0), 1) * (colours.length - 1);
    const k = Math.min(Math.floor(place), colours.length - 2);
    return colours[k].map((v, n) => Math.round(v + (place - k) * (colours[k + 1][n] - v)));
  };

  const isGate = (name) => ["i", "f", "o", "z", "r"].includes(name.split("/").pop());

  // Return the range of values that the colours stand for: 0 to 1 for a gate, if its values
  // are; otherwise 0 is in the middle, and the ends are 1 unless the values are far from 1.
  const scaleOf = (name, values) => {
    let low = 0;
    let high = 0;
    for (const v of values) {
      low = Math.min(low, v);
      high = Math.max(high, v);
    }
    if (isGate(name) && low >= 0 && high <= 1) return { kind: "gate", low: 0, high: 1 };
    const most = Math.max(-low, high) || 1;
    const ceiling = most <= 1 && most > 0.3 ? 1 : most;
    return { kind: "state", low: -ceiling, high: ceiling };
  };

  // Return whether every row of numbers is a distribution: not negative, with sum 1.
  const looksLikeShares = (rows, size) => {
    if (size < 2) return false;
    for (let t = 0; t * size < rows.length; t += 1) {
      const part = rows.subarray(t * size, (t + 1) * size);
      const sum = part.reduce((a, b) => a + b, 0);
      if (Math.abs(sum - 1) > 1e-3 || part.some((v) => v < 0)) return false;
    }
    return true;
  };

  return {
    GATES, el, svg, small, number, percent, plural, colours, mixed, scaleOf, looksLikeShares,
  };
})();
