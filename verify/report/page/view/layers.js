// Choose the layer that is shown, and write the equations of one unit with its numbers.

const layerPicker = el("select", { id: "layer" });
recorded.forEach((layer, k) => {
  const direction = layer.backwards ? ", reads backwards" : "";
  const about = `${layer.path} (${layer.cell}, ${plural(layer.units, "unit")}${direction})`;
  layerPicker.append(el("option", { value: k }, about));
});
const layerNote = el("p", { class: "quiet" });
const showLayerNote = () => {
  const layer = current();
  const lines = [];
  if (layer.backwards) {
    lines.push(
      `This layer reads backwards, from the last ${stepWord} to the first. In the pictures the ` +
        `first ${stepWord} is on the left all the same.`,
    );
  }
  if (!layer.words) lines.push("The steps of this layer are its own, not those of the input.");
  if (shownUnits() < layer.units) {
    lines.push(`The first ${shownUnits()} of ${layer.units} units are shown.`);
  }
  layerNote.textContent = lines.join(" ");
};

const unitBox = el("section", { class: "unit", "aria-labelledby": "unit-title" });
const unitInput = el("input", { type: "number", id: "unit", min: 0, step: 1 });
const unitLines = el("div", { class: "lines" });

const showUnit = () => {
  if (!recorded.length) return;
  const layer = current();
  const { values, steps: time, units } = traced();
  unitInput.max = shownUnits() - 1;
  if (document.activeElement !== unitInput) unitInput.value = state.unit;
  const t = state.step;
  const before = layer.backwards ? t + 1 : t - 1;
  const at = (name, when = t) =>
    when < 0 || when >= time ? 0 : values[name][when * units + state.unit];
  const n = (v) => (v < 0 ? `(${number(v)})` : number(v));
  const lines = [];
  if (isMasked(t)) {
    lines.push("This step is masked: the state stays as it was, and the gates change nothing.");
  } else if (layer.cell === "LSTM" && values.c) {
    lines.push(
      `c = f \u00d7 c before + i \u00d7 c_hat = ${n(at("f"))} \u00d7 ${n(at("c", before))} + ` +
        `${n(at("i"))} \u00d7 ${n(at("c_hat"))} = ${number(at("c"))}`,
      `h = o \u00d7 ${layer.activation}(c) = ${n(at("o"))} \u00d7 ` +
        `${layer.activation}(${number(at("c"))}) = ${number(at("h"))}`,
    );
  } else if (layer.cell === "GRU" && values.z) {
    lines.push(
      `h = z \u00d7 h before + (1 \u2212 z) \u00d7 h_hat = ${n(at("z"))} \u00d7 ` +
        `${n(at("h", before))} + ${number(1 - at("z"))} \u00d7 ${n(at("h_hat"))} = ${number(at("h"))}`,
    );
  } else if (values.h) {
    lines.push(
      `h before = ${number(at("h", before))}`,
      `h = ${layer.activation}(this step and h before, weighed and added up) = ${number(at("h"))}`,
    );
  }
  unitLines.replaceChildren(...lines.map((line) => el("p", {}, el("code", {}, line))));
};

unitInput.addEventListener("change", () => {
  unitInput.value = state.unit; // replaces a number that is no unit
});
unitInput.addEventListener("input", () => {
  const wanted = Number(unitInput.value);
  if (!Number.isInteger(wanted) || wanted < 0 || wanted >= shownUnits()) return;
  state.unit = wanted;
  state.hover = null;
  showReadouts();
  showUnit();
});
