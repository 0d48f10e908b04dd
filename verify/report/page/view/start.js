// Build the explorer, listen to keys and pointers, and start.

// Return the step that is shown first: the last word, not padding behind it.
const lastRead = () => {
  let t = steps() - 1;
  while (t > 0 && (isMasked(t) || isPadding(t))) t -= 1;
  return t;
};

const shown = el("div");

const show = (run, step = null) => {
  state.run = run;
  showAbout();
  shown.hidden = isEmpty(run);
  complaint.textContent = shown.hidden ? "Expected a text with words of the vocabulary." : "";
  if (shown.hidden) return;
  state.step = Math.min(step ?? lastRead(), steps() - 1);
  showStrip();
  if (recorded.length) {
    showLayerNote();
    buildCards();
  }
  showStep();
};

// Say where the port first differs, with a way there.
const firstDifference = () => {
  const go = el("button", { type: "button", class: "go" }, "Show it");
  go.addEventListener("click", showFirst);
  const drawnBelow = first.layer !== null;
  const counted = drawnBelow ? ` Below, where steps are counted from 1, that is step ${first.step + 1}. ` : " ";
  return el(
    "p", { class: "notice bad", id: "first" },
    `The port first differs in ${first.text}: NumPy ${first.ours}, the port ${first.theirs}.${counted}`,
    drawnBelow ? go : "It is no gate or state of a recurrent layer, so it is not drawn below.",
  );
};

const showFirst = () => {
  picker.value = first.sample;
  if (first.layer !== null) {
    state.layer = first.layer;
    layerPicker.value = first.layer;
    state.unit = first.unit;
  }
  showSample(first.sample);
  if (first.layer === null) return;
  state.unit = Math.min(first.unit, shownUnits() - 1);
  goTo(first.step);
  const card = drawn.find((one) => one.here);
  if (card && root.dataset.ready) card.box.scrollIntoView({ block: "center" });
};

const help = () =>
  el(
    "details", { class: "help" },
    el("summary", {}, "What am I looking at?"),
    el(
      "p", {},
      `A recurrent layer reads one ${stepWord} after the other and carries a state along: a list ` +
        "of numbers, one for each of its units. A gate is a number between 0 and 1, one for each " +
        "unit, that says how much may pass, like a tap between shut and open. The network sets " +
        `its gates anew at every ${stepWord}.`,
    ),
    el(
      "p", {},
      `In each picture a column is a ${stepWord} and a row is a unit. The frame marks the current ` +
        `${stepWord}, and the bars beside the picture are its values. Pale columns are masked: the ` +
        "layer skips them. Point at a square, or tap it, to read its number.",
    ),
    el(
      "p", {},
      `Keys: left and right go from ${stepWord} to ${stepWord}, Home and End to the first and the ` +
        "last; in a picture, up and down choose the unit.",
    ),
  );

const build = () => {
  const hidden = data.not_shown.map((name) => `${name} is not shown: its values have other axes`);
  const parts = [first ? firstDifference() : "", agreement, ...[...data.notes, ...hidden].map((note) => quiet(`${note}.`))];
  if (!data.samples.length) {
    parts.push(el("p", {}, "There is no row to show."));
    root.append(...parts);
    return false;
  }
  const title = el("h3", { id: "gates-title" }, "Gates and states");
  unitBox.append(
    el("h3", { id: "unit-title" }, "One unit up close"),
    el("p", { class: "inline" }, el("label", { for: "unit" }, "Unit "), unitInput),
    unitLines,
  );
  parts.push(help(), chooser(), complaint, about, shown);
  shown.append(
    el(
      "div", { class: "player", id: "player" },
      strip, el("div", { class: "turns" }, back, slider, ahead), where, live,
    ),
    answer,
  );
  if (recorded.length) {
    shown.append(
      el("section", { "aria-labelledby": "gates-title" }, title,
        recorded.length > 1
          ? el("p", { class: "inline" }, el("label", { for: "layer" }, "Layer "), layerPicker)
          : quiet(layerPicker.textContent),
        layerNote, cards),
      unitBox,
    );
  } else {
    shown.append(el("p", {}, "The model has no recurrent layer whose values could be shown."));
  }
  root.append(...parts);
  return true;
};

const listen = () => {
  picker.addEventListener("change", () => {
    complaint.textContent = "";
    if (rules) typed.value = "";
    showSample(Number(picker.value));
  });
  let waiting = 0;
  typed.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(showTyped, 150);
  });
  typed.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    clearTimeout(waiting);
    showTyped();
  });
  layerPicker.addEventListener("change", () => {
    state.layer = Number(layerPicker.value);
    show(state.run, state.step);
  });
  back.addEventListener("click", () => goTo(state.step - 1));
  ahead.addEventListener("click", () => goTo(state.step + 1));
  slider.addEventListener("input", () => goTo(Number(slider.value)));
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input, select, textarea, summary, .wide");
    if (field || shown.hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    const inside = root.contains(event.target);
    const moves = { ArrowLeft: state.step - 1, ArrowRight: state.step + 1 };
    if (inside) Object.assign(moves, { Home: 0, End: steps() - 1 });
    if (!(event.key in moves)) return;
    event.preventDefault();
    goTo(moves[event.key]);
  });
  let width = 0;
  new ResizeObserver(() => {
    if (root.clientWidth === width || shown.hidden) return;
    width = root.clientWidth;
    layOut();
    showAnswer();
  }).observe(root);
  dark.addEventListener("change", layOut);
  for (const [name, on] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(name, () => {
      printing = on;
      layOut();
    });
  }
};

const start = async () => {
  if (build()) {
    markWrong();
    if (first) showFirst();
    else showSample(0);
    listen();
    await check();
    typed.disabled = !trusted;
    if (!trusted) typed.placeholder = "not while this page disagrees with NumPy";
    if (first) showFirst();
    else showSample(Number(picker.value));
  }
  root.dataset.ready = "yes";
};
start();
