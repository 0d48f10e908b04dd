// Draw heat maps of the gates and states, with a column for each step and a row for each
// unit, and bars for the step that is shown.

const dark = matchMedia("(prefers-color-scheme: dark)");
const stops = (kind) => colours(dark.matches && !printing ? "dark" : "light", kind);
let printing = false;

const cards = el("div", { class: "cards" });
// Beside a port small differences count, so numbers have more digits.
const exact = (v) => (data.port ? v.toPrecision(7).replace("-", "\u2212") : number(v));
let drawn = [];

const explained = (name) => {
  const parts = name.split("/");
  const bare = parts.pop();
  const known = (GATES[current().cell] || {})[bare];
  const prefix = parts.length ? `cell ${parts.join(" ")}: ` : "";
  const any = known || Object.values(GATES).map((g) => g[bare]).find(Boolean) || [bare, "", ""];
  return [prefix + any[0], any[1], any[2]];
};

// Beside a port, as many units are shown as were recorded of both.
const shownUnits = () => Math.min(traced().units, data.port ? current().kept : Infinity, MOST_UNITS);

// Return what the port computed in the row that is shown, or null.
const portOf = (name, arrays = "theirs") => {
  const held = current()[arrays][name];
  return held && state.run.row !== null ? Engine.row(held, state.run.row).data : null;
};

const paint = ({ canvas, values, scale, units }) => {
  const { steps: time } = traced();
  const rows = shownUnits();
  canvas.width = time;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(time, rows);
  const shades = stops(scale.kind);
  for (let u = 0; u < rows; u += 1) {
    for (let t = 0; t < time; t += 1) {
      const v = values[t * units + u];
      if (Number.isNaN(v)) continue; // the port gave none
      const share = (v - scale.low) / (scale.high - scale.low);
      const at = 4 * (u * time + t);
      const [r, g, b] = mixed(shades, share);
      image.data.set([r, g, b, isMasked(t) ? 90 : 255], at);
    }
  }
  context.putImageData(image, 0, 0);
};

// Mark in the port's picture where it differs: a corner of each square.
const paintDifferences = ({ marks, name, units, cell, each }) => {
  const differs = marks && portOf(name, "differs");
  if (!differs) return;
  const { steps: time } = traced();
  const rows = shownUnits();
  marks.width = cell * time;
  marks.height = each * rows;
  const size = Math.max(1, Math.min(7, Math.floor(Math.min(cell, each) / 2)));
  const context = marks.getContext("2d");
  context.fillStyle = getComputedStyle(marks).color;
  for (let u = 0; u < rows; u += 1) {
    for (let t = 0; t < time; t += 1) {
      if (differs[t * units + u]) context.fillRect(cell * (t + 1) - size, each * u, size, size);
    }
  }
};

const paintBars = (card) => {
  const { bars: canvas, values, scale, units } = card;
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
    const v = values[state.step * units + u];
    if (Number.isNaN(v)) continue;
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

// Make the picture of a gate or state, as NumPy computed it or, if `port` has them, as the
// port did.
const makeCard = (name, port = null) => {
  const own = traced().values[name];
  const values = port || own;
  const units = port ? current().kept : traced().units;
  const scale = scaleOf(name, own);
  const [letter, what, text] = explained(name);
  const whose = port ? ", the port\u2019s" : data.port && portOf(name) ? ", NumPy\u2019s" : "";
  const title = what + whose;
  const canvas = el("canvas", {});
  const marks = port ? el("canvas", { class: "differs", "aria-hidden": "true" }) : null;
  const here = first && state.run.row === first.sample && state.layer === first.layer && name === first.value
    ? el("div", { class: "first" })
    : null;
  const marker = el("div", { class: "marker" });
  const spot = el("div", { class: "spot" });
  const words = el("div", { class: "words", "aria-hidden": "true" });
  const plane = el("div", { class: "plane" }, canvas, marks, here, marker, spot);
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
    el("p", { class: "quiet" }, port ? "The red corners mark what differs by more than rounding." : text),
    el("div", { class: "both" }, map, bars),
    el("div", { class: "foot" }, readout, legend),
  );
  const card = {
    letter, box, canvas, plane, map, marker, spot, words, bars, readout, ramp, values, scale,
    name, units, marks, here, height: 0,
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
    if (card.here) {
      card.here.style.left = `${first.step * cell}px`;
      card.here.style.top = `${first.unit * each}px`;
      card.here.style.width = `${cell}px`;
      card.here.style.height = `${each}px`;
      card.here.hidden = first.unit >= rows;
    }
    card.words.replaceChildren();
    if (cell >= 12 && readsWords() && (rules || hasIds)) {
      for (let t = 0; t < steps(); t += 1) {
        const label = el("span", { class: isPadding(t) || isMasked(t) ? "faint" : "" }, token(t));
        label.style.width = `${cell}px`;
        card.words.append(label);
      }
    }
    card.words.style.width = `${cell * steps()}px`;
    paint(card);
    paintDifferences(card);
    const shades = stops(card.scale.kind).map((c) => `rgb(${c.join(",")})`);
    card.ramp.style.background = `linear-gradient(to right, ${shades.join(", ")})`;
  }
  showCards();
};

const buildCards = () => {
  state.unit = Math.min(state.unit, shownUnits() - 1);
  const pairs = Object.keys(traced().values).map((name) => {
    const port = portOf(name);
    return port ? [makeCard(name), makeCard(name, port)] : [makeCard(name)];
  });
  drawn = pairs.flat();
  cards.replaceChildren(
    ...pairs.map((pair) =>
      pair.length > 1 ? el("div", { class: "pair" }, ...pair.map((card) => card.box)) : pair[0].box,
    ),
  );
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
    const v = card.values[step * card.units + unit];
    const shown = Number.isNaN(v) ? (card.marks ? "not given, or not a number" : "not a number") : exact(v);
    card.readout.textContent = `unit ${unit}, ${named(step)}: ${shown}`;
    card.spot.style.left = `${step * card.cell}px`;
    card.spot.style.top = `${unit * card.each}px`;
  }
};
