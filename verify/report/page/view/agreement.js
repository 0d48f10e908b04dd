// Check whether this page agrees with NumPy, in every output, gate, state and mask.

const firstUnits = (values, units, kept) =>
  kept === units ? values : values.filter((_, k) => k % units < kept);

// Return the greatest difference in a row, and where it is.
const difference = (k) => {
  const theirs = fromNumPy(k);
  let ours;
  try {
    ours = compute(tensorOf(k));
  } catch (error) {
    return { size: Infinity, where: `an error: ${error.message}` };
  }
  const found = [{ size: Engine.apart(ours.output.data, theirs.output.data), where: "the output" }];
  for (const layer of recorded) {
    const mine = ours.layers[layer.path];
    const other = theirs.layers[layer.path];
    for (const [name, values] of Object.entries(other.values)) {
      const own = mine && firstUnits(mine.values[name], mine.units, layer.kept);
      const size = own ? Engine.apart(own, values) : Infinity;
      found.push({ size, where: `layer ${layer.path}, ${name}` });
    }
    if (mine && (mine.mask === null) !== (other.mask === null)) {
      found.push({ size: Infinity, where: `layer ${layer.path}, its mask` });
    } else if (mine && mine.mask) {
      const size = Engine.apart(mine.mask, other.mask);
      found.push({ size, where: `layer ${layer.path}, its mask` });
    }
  }
  if (theirs.running) {
    const size = ours.running ? Engine.apart(ours.running.data, theirs.running.data) : Infinity;
    found.push({ size, where: "the answers on the way" });
  }
  return found.reduce((most, one) => (one.size > most.size ? one : most));
};

const agreement = el("p", { id: "agreement", class: "notice", role: "status" });
let trusted = false;

const pause = () => new Promise((resolve) => setTimeout(resolve, 0));
const check = async () => {
  const count = data.samples.length;
  if (!model) {
    agreement.textContent =
      "The values are those that NumPy recorded. This page does not compute the model " +
      `itself: ${data.refused}.`;
    return;
  }
  agreement.textContent = "Comparing this page with NumPy \u2026";
  let most = { size: -1, where: "" };
  for (let k = 0; k < count; k += 1) {
    const one = difference(k);
    if (one.size > most.size) most = one;
    await pause(); // so that the browser stays responsive
  }
  trusted = most.size <= data.allowed;
  const size = Number.isFinite(most.size) ? small(most.size) : "not a number";
  agreement.classList.add(trusted ? "good" : "bad");
  if (trusted) {
    agreement.textContent =
      `This page agrees with NumPy on ${plural(count, sampleWord)}: every output, gate and ` +
      `state, max |difference| ${size} (allowed ${small(data.allowed)}).`;
  } else {
    agreement.setAttribute("role", "alert");
    agreement.textContent =
      `FAIL: this page does not compute what NumPy computed. The greatest difference is ` +
      `${size} (allowed ${small(data.allowed)}), in ${most.where}. Below are the values ` +
      `that NumPy recorded.`;
  }
  agreement.dataset.difference = String(most.size);
};
