// Draw heat maps of the gates and states, with a column for each step and a row for each
// unit, and bars for the step that is shown.

const dark = matchMedia("(prefers-color-scheme: dark)");
const stops = (kind) => colours(dark.matches && !printing ? "dark" : "light", kind);
let printing = false;

const cards = el("div", { class: "cards" });
let drawn = [];

const explained = (name) => {
  const parts = name.split("/");
  const bare = parts.pop();
  const known = (GATES[current().cell] || {})[bare];
  const prefix = parts.length ? `cell ${parts.join(" ")}: ` : "";
  const any = known || Object.values(GATES).map((g) => g[bare]).find(Boolean) || [bare, "", ""];
  return [prefix + any[0], any[1], any[2]];
};

const shownUnits = () => Math.min(traced().units, MOST_UNITS);

const paint = (canvas, values, scale) => {
  const { steps: time, units } = traced();
  const rows = shownUnits();
  canvas.width = time;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(time, rows);
  const shades = stops(scale.kind);
  for (let u = 0; u < rows; u += 1) {
    for (let t = 0; t < time; t += 1) {
      const share = (values[t * units + u] - scale.low) / (scale.high - scale.low);
      const at = 4 * (u * time + t);
      const [r, g, b] = mixed(shades, share);
      image.data.set([r, g, b, isMasked(t) ? 90 : 255], at);
    }
  }
  context.putImageData(image, 0, 0);
};

const paintBars = (card) => {
  const { bars: canvas, values, scale } = card;
  const rows = shownUnits();
  const ratio = devicePixelRatio || 1;
  const width = 64;
  const height = card.height;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const shades = stops(scale.kind);
  context.fillStyle = getComputedStyle(canvas).color;
  const zero = (width * (0 - scale.low)) / (scale.high - scale.low);
  const each = height / rows;
  context.globalAlpha = 0.35;
  context.fillRect(Math.min(zero, width - 1), 0, 1, height);
  context.globalAlpha = 1;
  for (let u = 0; u < rows; u += 1) {
    const v = values[state.step * traced().units + u];
    const share = (v - scale.low) / (scale.high - scale.low);
    const end = width * share;
    // a bar of a value near 0 must not be too pale to be seen
    const least = scale.kind === "gate" ? 0.35 : 0.75;
    const shade = scale.kind === "gate" || share > 0.5 ? Math.max(share, least) : Math.min(share, 0.25);
    const [r, g, b] = mixed(shades, shade);
    context.fillStyle = `rgb(${r}, ${g}, ${b})`;
    const size = Math.max(Math.abs(end - zero), 0.5);
    context.fillRect(Math.min(zero, end), u * each, size, Math.max(each - 1, each * 0.8));
  }
};

const makeCard = (name) => {
  const values = traced().values[name];
  const scale = scaleOf(name, values);
  const [letter, title, text] = explained(name);
  const canvas = el("canvas", {});
  const marker = el("div", { class: "marker" });
  const spot = el("div", { class: "spot" });
  const words = el("div", { class: "words", "aria-hidden": "true" });
  const plane = el("div", { class: "plane" }, canvas, marker, spot);
  const map = el("div", {
    class: "map", tabindex: 0, role: "application",
    "aria-roledescription": "heat map",
    "aria-label":
      `${letter} ${title}: heat map, ${stepWord}s across, units down. ` +
      `Left and right change the ${stepWord}, up and down the unit.`,
  }, plane, words);
  const bars = el("canvas", { class: "side", "aria-hidden": "true" });
  const readout = el("span", { class: "readout" });
  const legend = el("span", { class: "legend", "aria-hidden": "true" });
  const ramp = el("span", { class: "ramp" });
  legend.append(number(scale.low), ramp, number(scale.high));
  const box = el(
    "article", { class: "card" },
    el("h4", {}, el("code", {}, letter), ` ${title}`),
    el("p", { class: "quiet" }, text),
    el("div", { class: "both" }, map, bars),
    el("div", { class: "foot" }, readout, legend),
  );
  const card = {
    letter, box, canvas, plane, map, marker, spot, words, bars, readout, ramp, values, scale,
    height: 0,
  };
  const point = (event) => {
    const area = canvas.getBoundingClientRect();
    const t = Math.floor(((event.clientX - area.left) / area.width) * steps());
    const u = Math.floor(((event.clientY - area.top) / area.height) * shownUnits());
    return {
      step: Math.min(Math.max(t, 0), steps() - 1),
      unit: Math.min(Math.max(u, 0), shownUnits() - 1),
    };
  };
  canvas.addEventListener("pointermove", (event) => {
    state.hover = point(event);
    showReadouts();
  });
  canvas.addEventListener("pointerleave", () => {
    state.hover = null;
    showReadouts();
  });
  canvas.addEventListener("click", (event) => {
    const { step, unit } = point(event);
    state.unit = unit;
    goTo(step);
  });
  map.addEventListener("keydown", (event) => {
    const move = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    state.unit = Math.min(Math.max(state.unit + move, 0), shownUnits() - 1);
    state.hover = null;
    showStep();
  });
  return card;
};

const layOut = () => {
  for (const card of drawn) {
    const rows = shownUnits();
    const room = card.box.clientWidth - 24 - 72;
    const least = steps() > 200 ? 4 : 13;
    const cell = Math.min(Math.max(Math.floor(room / steps()), least), 64);
    const each = Math.min(Math.max(Math.floor(200 / rows), 2), 22);
    card.cell = cell;
    card.each = each;
    card.height = rows * each;
    card.plane.style.width = `${cell * steps()}px`;
    card.plane.style.height = `${card.height}px`;
    card.marker.style.width = `${cell}px`;
    card.marker.classList.toggle("thin", cell < 8);
    card.spot.style.width = `${cell}px`;
    card.spot.style.height = `${each}px`;
    card.words.replaceChildren();
    if (cell >= 12 && readsWords() && (rules || hasIds)) {
      for (let t = 0; t < steps(); t += 1) {
        const label = el("span", { class: isPadding(t) || isMasked(t) ? "faint" : "" }, token(t));
        label.style.width = `${cell}px`;
        card.words.append(label);
      }
    }
    card.words.style.width = `${cell * steps()}px`;
    paint(card.canvas, card.values, card.scale);
    const shades = stops(card.scale.kind).map((c) => `rgb(${c.join(",")})`);
    card.ramp.style.background = `linear-gradient(to right, ${shades.join(", ")})`;
  }
  showCards();
};

const buildCards = () => {
  state.unit = Math.min(state.unit, shownUnits() - 1);
  drawn = Object.keys(traced().values).map(makeCard);
  cards.replaceChildren(...drawn.map((card) => card.box));
  layOut();
};

const showCards = () => {
  for (const card of drawn) {
    card.marker.style.left = `${state.step * card.cell}px`;
    const left = state.step * card.cell;
    if (left < card.map.scrollLeft || left + card.cell > card.map.scrollLeft + card.map.clientWidth) {
      card.map.scrollLeft = left - card.map.clientWidth / 2;
    }
    [...card.words.children].forEach((label, k) => label.classList.toggle("now", k === state.step));
    paintBars(card);
  }
  showReadouts();
};

const showReadouts = () => {
  const { step, unit } = state.hover || state;
  for (const card of drawn) {
    const v = card.values[step * traced().units + unit];
    card.readout.textContent = `unit ${unit}, ${named(step)}: ${number(v)}`;
    card.spot.style.left = `${step * card.cell}px`;
    card.spot.style.top = `${unit * card.each}px`;
  }
};
