// Hold the state of the explorer, that is which layer, step and unit it shows, and go from
// step to step.

const state = { run: null, layer: 0, step: 0, unit: 0, hover: null };
const current = () => recorded[state.layer];
const traced = () => state.run.layers[current().path];
const steps = () => (recorded.length ? traced().steps : state.run.tokens.length);
const readsWords = () => !recorded.length || (current().words && state.run.tokens.length === steps());
const token = (t) => (readsWords() ? state.run.tokens[t] : `${t + 1}`);
const isPadding = (t) => rules && readsWords() && state.run.x.data[t] === 0;
const isMasked = (t) => recorded.length > 0 && traced().mask && traced().mask[t] === 0;
// Return whether a step is padding that the model reads like a word, without a mask.
const isRead = (t) => isPadding(t) && !isMasked(t);
const readsPadding = () => Array.from({ length: steps() }, (_, t) => t).some(isRead);
const named = (t) => {
  if (isPadding(t)) return "padding";
  if (!readsWords()) return `step ${t + 1}`;
  if (rules) return `\u201c${token(t)}\u201d`;
  return hasIds ? `step ${t + 1}, id ${token(t)}` : `step ${t + 1}`;
};

const strip = el("div", { class: "strip", "aria-hidden": "true" });
const slider = el("input", {
  type: "range", id: "step", min: 0, step: 1, "aria-label": `${stepWord} of the sequence`,
});
const turn = (name, sign) =>
  el("button", { type: "button", class: "turn", "aria-label": `${name} ${stepWord}` }, sign);
const back = turn("previous", "\u2039");
const ahead = turn("next", "\u203a");
const where = el("p", { class: "where" });
const live = el("p", { class: "unseen", "aria-live": "polite", id: "live" });

const showStrip = () => {
  strip.replaceChildren(
    ...Array.from({ length: steps() }, (_, t) => {
      const kind = isMasked(t) ? " masked" : isPadding(t) ? " padding" : "";
      const chip = el("span", { class: `chip${kind}` }, token(t));
      chip.addEventListener("click", () => goTo(t));
      return chip;
    }),
  );
};

const features = (t) => {
  const { x } = state.run;
  if (rules || x.shape.length < 2 || !readsWords()) return "";
  const size = x.data.length / x.shape[0];
  const shown = Array.from(x.data.subarray(t * size, t * size + Math.min(size, 8)), number);
  return `, input ${shown.join(", ")}${size > 8 ? ", \u2026" : ""}`;
};

const goTo = (t) => {
  state.step = Math.min(Math.max(t, 0), steps() - 1);
  state.hover = null;
  showStep();
};

// Return an answer for each step of the layer that is shown, or null. If that layer has
// steps of its own, they are the outputs, provided that these have the same steps.
const onTheWay = () => {
  const { running, output } = state.run;
  if (readsWords()) return running;
  return output.shape.length === 2 && output.shape[0] === steps() ? output : null;
};

const answerAt = (t) => {
  const running = onTheWay();
  if (!running) return null;
  const size = running.shape[1];
  return [...running.data.subarray(t * size, (t + 1) * size)];
};

const showStep = () => {
  const t = state.step;
  const last = steps() - 1;
  slider.max = last;
  slider.value = t;
  const tags = [];
  if (isMasked(t)) tags.push(el("span", { class: "tag" }, "masked: the layer skips it"));
  else if (isPadding(t)) tags.push(el("span", { class: "tag" }, "padding, read like a word"));
  const shown = isPadding(t) ? "padding" : hasIds ? `id ${token(t)}` : token(t);
  const word = (rules || hasIds) && readsWords() ? `: ${shown}` : "";
  where.replaceChildren(
    el("strong", {}, `${readsWords() && !isPadding(last) ? stepWord : "step"} ${t + 1} of ${last + 1}`),
    `${word}${features(t)} `, ...tags,
  );
  slider.setAttribute("aria-valuetext", `${t + 1} of ${last + 1}${word}`);
  [...strip.children].forEach((chip, k) => chip.classList.toggle("now", k === t));
  const chip = strip.children[t];
  if (chip) {
    const left = chip.offsetLeft - strip.clientWidth / 2 + chip.offsetWidth / 2;
    const far = Math.abs(left - strip.scrollLeft) > strip.clientWidth;
    strip.scrollTo({ left, behavior: calm.matches || far ? "auto" : "smooth" });
  }
  back.disabled = t === 0;
  ahead.disabled = t === last;
  showAnswer();
  showCards();
  showUnit();
  const scores = answerAt(t);
  live.textContent =
    `${where.textContent}. ` +
    (scores ? `${sofar}: ${className(best(scores))}, ${shownScore(scores, best(scores))}. ` : "");
  const card = drawn.find((one) => one.map === document.activeElement);
  if (card) live.textContent = `${card.letter}, ${card.readout.textContent}`;
};
