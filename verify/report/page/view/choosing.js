// Choose a text or row, or type one, and describe it: its words, its true answer, the
// answer of the model.

const picker = el("select", { id: "sample" });
data.samples.forEach((sample, k) => {
  const note = sample.note ? ` (${sample.note})` : "";
  const count = rules ? `${k + 1}. ` : "";
  picker.append(el("option", { value: k }, `${count}${sample.label}${note}`));
});
const typed = el("input", {
  id: "typed", type: "text", autocomplete: "off", spellcheck: "false",
  placeholder: rules ? "words of yours" : "",
});
const complaint = el("p", { class: "complaint", role: "alert" });
const about = el("div", { class: "about" });

const editable = () => model && hasIds && inputs.shape.length === 2;

const showSample = (k) => {
  const x = tensorOf(k);
  const done = model && trusted ? compute(x) : fromNumPy(k);
  const sample = data.samples[k];
  const reading = rules && sample.text ? Engine.read(sample.text, rules) : null;
  show({ ...done, x, tokens: tokensOf(x), sample, reading, row: k });
  if (editable()) typed.value = Array.from(x.data).join(" ");
};

const showTyped = () => {
  if (!trusted) return;
  complaint.textContent = "";
  let x = null;
  let reading = null;
  if (rules) {
    reading = Engine.read(typed.value, rules);
    ({ x } = reading);
  } else {
    const words = typed.value.split(/[\s,]+/).filter(Boolean);
    const bad = words.find((word) => !/^\d+$/.test(word) || Number(word) >= data.input.ids);
    const wanted = data.input.steps;
    if (bad !== undefined || !words.length || words.length > 2000) {
      complaint.textContent =
        `Expected whole numbers from 0 to ${data.input.ids - 1}.` +
        (bad === undefined ? "" : ` Received: ${bad.slice(0, 40)}`);
      return;
    }
    if (wanted !== null && words.length !== wanted) {
      complaint.textContent = `Expected ${wanted} numbers. Received: ${words.length}`;
      return;
    }
    x = { shape: [words.length], data: Float64Array.from(words, Number), mask: null };
  }
  show({ ...compute(x), x, tokens: tokensOf(x), sample: null, reading, row: null });
};

const chooser = () => {
  const rows = [el("label", { for: "sample" }, `Choose a ${sampleWord}`), picker];
  if (model && rules) rows.push(el("label", { for: "typed" }, "or type one"), typed);
  if (editable()) rows.push(el("label", { for: "typed" }, "or change its ids"), typed);
  return el("div", { class: "choose" }, ...rows);
};

// Return whether a text has no word that the model knows. It has no answer then: padding
// alone would have one, but nothing that was written led to it.
const isEmpty = ({ x, reading }) => Boolean(reading) && x.data.every((id) => id === 0);

const list = (words) => [...new Set(words)].slice(0, 40).join(", ");
const describeReading = (reading) => {
  const lines = [];
  if (reading.stops.length) lines.push(`Stop words, left out: ${list(reading.stops)}`);
  if (reading.unknown.length) {
    lines.push(`Not in the vocabulary, left out: ${list(reading.unknown)}`);
  }
  if (reading.cut.length) {
    lines.push(`Before the last ${rules.length} words, cut: ${list(reading.cut)}`);
  }
  return lines;
};

const best = (scores) => scores.indexOf(Math.max(...scores));

// Return the answer of the model: a class, or a class for every step that is not padding.
const verdict = ({ output, x }) => {
  const size = output.shape[output.shape.length - 1];
  if (!data.classes.length || data.classes.length !== size) return "";
  if (output.shape.length === 1) return className(best([...output.data]));
  const counts = (t) => data.answers !== "each" || !rules || x.data[t] !== 0;
  return Array.from({ length: output.shape[0] }, (_, t) => t)
    .filter(counts)
    .map((t) => className(best([...output.data.subarray(t * size, (t + 1) * size)])))
    .join(" ");
};

// Mark the texts that the model gets wrong in the list to choose from.
const markWrong = () => {
  data.samples.forEach((sample, k) => {
    const says = sample.note && verdict({ output: Engine.row(outputs, k), x: tensorOf(k) });
    if (says && says !== sample.note) picker.options[k].textContent += ", wrong";
  });
};

const showAbout = () => {
  const { sample, reading, output } = state.run;
  const parts = [];
  if (sample && sample.text) parts.push(el("blockquote", {}, sample.text));
  const says = isEmpty(state.run) ? "" : verdict(state.run);
  const note = sample && sample.note;
  if (note || says) {
    const line = el("p");
    if (note) line.append("The true answer is ", el("strong", {}, note));
    if (note && says) line.append("; the model says ");
    if (!note) line.append("The model says ");
    if (says) line.append(el("strong", {}, says));
    if (says && output.shape.length === 1) {
      const scores = [...output.data];
      line.append(`, ${shownScore(scores, best(scores))}`);
    }
    if (note && says) {
      const right = says === note;
      const tag = right ? el("span", { class: "tag yes" }, "right") : el("span", { class: "tag no" }, "wrong");
      line.append(" ", tag);
    }
    parts.push(line);
  }
  if (!sample && !isEmpty(state.run)) {
    parts.push(quiet("Computed by this page alone: NumPy has not seen this one."));
  }
  if (reading) {
    const lines = describeReading(reading).map((line) => el("li", {}, line));
    if (lines.length) parts.push(el("ul", { class: "quiet" }, ...lines));
  }
  about.replaceChildren(...parts);
};
