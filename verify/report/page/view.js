// The explorer: everything that is shown, chosen and stepped through. Texts and names
// go into the page as text, never as markup.
(() => {
  const { GATES, el, svg, small, number, percent, plural } = Tools;
  const { colours, mixed, scaleOf, looksLikeShares } = Tools;
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.getElementById("explorer");
  const model = data.model && Engine.load(data.model);
  const rules = data.text && Engine.textRules(data.text);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  const MOST_UNITS = 256; // rows of a heat map
  const MOST_CLASSES = 5; // lines of the chart
  const PADDING = "·";

  const quiet = (text) => el("p", { class: "quiet" }, text);
  const className = (k) => data.classes[k] ?? `output ${k}`;
  const sampleWord = rules ? "text" : "row";
  const stepWord = rules ? "word" : "step";
  const hasIds = !rules && data.input.ids !== null;

  // ---- a run: the values of one text or row ----------------------------------------

  const inputs = Engine.unpacked(data.input.values);
  const recorded = data.layers.map((layer) => ({
    ...layer,
    mask: layer.mask && Engine.unpacked(layer.mask),
    values: Object.fromEntries(
      Object.entries(layer.values).map(([name, values]) => [name, Engine.unpacked(values)]),
    ),
  }));
  const outputs = Engine.unpacked(data.output);
  const answers = data.running && Engine.unpacked(data.running);

  const tensorOf = (k) => {
    const { shape, data: values } = Engine.row(inputs, k);
    return { shape, data: Float64Array.from(values), mask: null };
  };

  const tokensOf = (x) => {
    if (rules) return Array.from(x.data, (id) => (id === 0 ? PADDING : data.text.words[id - 1]));
    if (hasIds) return Array.from(x.data, String);
    return Array.from({ length: x.shape[0] }, (_, t) => `${t + 1}`);
  };

  const fromNumPy = (k) => {
    const layers = {};
    for (const layer of recorded) {
      const values = {};
      let shape = null;
      for (const [name, array] of Object.entries(layer.values)) {
        const own = Engine.row(array, k);
        values[name] = own.data;
        ({ shape } = own);
      }
      const mask = layer.mask && Engine.row(layer.mask, k).data;
      layers[layer.path] = { values, mask, steps: shape[0], units: shape[1] };
    }
    const output = Engine.row(outputs, k);
    return { output, layers, running: answers && Engine.row(answers, k) };
  };

  const compute = (x) => {
    const done = Engine.evaluate(model, x);
    const running = data.answers ? Engine.running(model, x, done, data.prefixes) : null;
    return { ...done, running };
  };

  // ---- does this page agree with NumPy? ----------------------------------------------

  const firstUnits = (values, units, kept) =>
    kept === units ? values : values.filter((_, k) => k % units < kept);

  // The greatest difference of a row, and where it is.
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
      await pause(); // a long sequence must not hold up the browser
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

  // ---- state ---------------------------------------------------------------------------

  const state = { run: null, layer: 0, step: 0, unit: 0, hover: null };
  const current = () => recorded[state.layer];
  const traced = () => state.run.layers[current().path];
  const steps = () => (recorded.length ? traced().steps : state.run.tokens.length);
  const readsWords = () => !recorded.length || (current().words && state.run.tokens.length === steps());
  const token = (t) => (readsWords() ? state.run.tokens[t] : `${t + 1}`);
  const isPadding = (t) => rules && readsWords() && state.run.x.data[t] === 0;
  const isMasked = (t) => recorded.length > 0 && traced().mask && traced().mask[t] === 0;
  // Padding that is not masked is read like words, so a text does not end before it.
  const isRead = (t) => isPadding(t) && !isMasked(t);
  const readsPadding = () => Array.from({ length: steps() }, (_, t) => t).some(isRead);
  const named = (t) => {
    if (isPadding(t)) return "padding";
    if (!readsWords()) return `step ${t + 1}`;
    if (rules) return `\u201c${token(t)}\u201d`;
    return hasIds ? `step ${t + 1}, id ${token(t)}` : `step ${t + 1}`;
  };

  // ---- choosing a text -------------------------------------------------------------------

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
    show({ ...done, x, tokens: tokensOf(x), sample, reading });
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
    show({ ...compute(x), x, tokens: tokensOf(x), sample: null, reading });
  };

  const chooser = () => {
    const rows = [el("label", { for: "sample" }, `Choose a ${sampleWord}`), picker];
    if (model && rules) rows.push(el("label", { for: "typed" }, "or type one"), typed);
    if (editable()) rows.push(el("label", { for: "typed" }, "or change its ids"), typed);
    return el("div", { class: "choose" }, ...rows);
  };

  const list = (words) => [...new Set(words)].slice(0, 40).join(", ");
  const describeReading = (reading) => {
    const lines = [];
    if (!reading.used.length) {
      lines.push("No word of this text is in the vocabulary: the model reads padding only.");
    }
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

  // What the model says in the end: a class, or one for every step that counts.
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

  // The list says which texts the model gets wrong.
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
    const says = verdict(state.run);
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
    if (!sample) {
      parts.push(quiet("Computed by this page alone: NumPy has not seen this one."));
    }
    if (reading) {
      const lines = describeReading(reading).map((line) => el("li", {}, line));
      if (lines.length) parts.push(el("ul", { class: "quiet" }, ...lines));
    }
    about.replaceChildren(...parts);
  };

  // ---- stepping ----------------------------------------------------------------------------

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

  // The answers, one a step of the layer that is shown: on the way through the words,
  // or those of a layer with steps of its own, if its steps are those of the output.
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

  // ---- the answer ------------------------------------------------------------------------------

  const answer = el("section", { class: "answer", "aria-labelledby": "answer-title" });
  let sofar = "";
  const shares = () => {
    const rows = onTheWay() || state.run.output;
    return looksLikeShares(rows.data, rows.shape[rows.shape.length - 1]);
  };
  const shownScore = (scores, k) => (shares() ? percent(scores[k]) : number(scores[k]));

  // The classes that are worth a line: those that lead anywhere, the greatest first.
  const leading = () => {
    const running = onTheWay();
    const size = running.shape[1];
    const most = new Float64Array(size).fill(-Infinity);
    running.data.forEach((v, k) => {
      most[k % size] = Math.max(most[k % size], v);
    });
    const order = Array.from(most.keys()).sort((a, b) => most[b] - most[a]);
    return order.slice(0, MOST_CLASSES).sort((a, b) => a - b);
  };

  const showAnswer = () => {
    const { output } = state.run;
    const running = onTheWay();
    const each = output.shape.length === 2;
    const unit = readsWords() ? stepWord : "step";
    if (each) sofar = `The answer at this ${unit}`;
    else if (readsPadding()) sofar = "The answer read from the state here";
    else sofar = `If the ${sampleWord} ended here`;
    const title = el("h3", { id: "answer-title" });
    if (!running) {
      title.textContent = "The answer";
      const scores = [...output.data];
      const line =
        output.shape.length === 1
          ? scores.slice(0, 8).map((v, k) => `${className(k)} ${shownScore(scores, k)}`).join(", ")
          : `an array of ${output.shape.join(" by ")} numbers`;
      const why = readsWords() && data.layers.length
        ? ` There is no answer on the way: ${data.no_answers || "this page does not compute it"}.`
        : "";
      answer.replaceChildren(title, el("p", {}, line + "."), el("p", { class: "quiet" }, why));
      return;
    }
    title.textContent = sofar;
    const shown = leading();
    const scores = answerAt(state.step);
    const winner = best(scores);
    const range = rangeOf(running.data);
    const bars = shown.map((k, line) => {
      const share = (scores[k] - range.low) / (range.high - range.low || 1);
      const fill = el("span", { class: `fill line${line}` });
      fill.style.width = `${(100 * share).toFixed(2)}%`;
      return el(
        "li", { class: k === winner ? "winner" : "" },
        el("span", { class: "name" }, className(k)),
        el("span", { class: "bar" }, fill),
        el("span", { class: "score" }, shownScore(scores, k)),
      );
    });
    if (!shown.includes(winner)) {
      const line = `${className(winner)} ${shownScore(scores, winner)}`;
      bars.push(el("li", { class: "winner" }, line));
    }
    answer.replaceChildren(
      title,
      el("ul", { class: "bars" }, ...bars),
      aboutOthers(shown),
      chart(shown, range),
      isRead(steps() - 1)
        ? quiet("The padding behind the text is read too: the model\u2019s answer is that of the last step.")
        : "",
    );
  };

  const greatestOfOthers = (shown) => {
    const running = onTheWay();
    const size = running.shape[1];
    return running.data.reduce((a, v, k) => (shown.includes(k % size) ? a : Math.max(a, v)), 0);
  };

  const aboutOthers = (shown) => {
    const others = onTheWay().shape[1] - shown.length;
    if (others === 0) return "";
    const most = Math.ceil(100 * greatestOfOthers(shown));
    return quiet(`Not drawn: ${others} more${shares() ? `, never above ${most} %` : ""}.`);
  };

  const rangeOf = (values) => {
    if (shares()) return { low: 0, high: 1 };
    const low = values.reduce((a, b) => Math.min(a, b), 0);
    const high = values.reduce((a, b) => Math.max(a, b), 0);
    return { low, high: high === low ? low + 1 : high };
  };

  const chart = (shown, range) => {
    const width = Math.max(answer.clientWidth || 320, 260);
    const height = 150;
    const box = { left: 46, right: 10, top: 10, bottom: 22 };
    const count = steps();
    const answers = onTheWay();
    const size = answers.shape[1];
    const x = (t) => box.left + ((width - box.left - box.right) * (t + 0.5)) / count;
    const room = height - box.top - box.bottom;
    const y = (v) => height - box.bottom - (room * (v - range.low)) / (range.high - range.low);
    const written = (v) => (shares() ? `${Math.round(100 * v)} %` : number(v));
    const middle = (range.low + range.high) / 2;
    const grid = [range.low, middle, range.high].flatMap((v) => [
      svg("line", { class: "grid", x1: box.left, x2: width - box.right, y1: y(v), y2: y(v) }),
      svg("text", { class: "tick", x: box.left - 6, y: y(v) + 4, "text-anchor": "end" }, written(v)),
    ]);
    const lines = shown.flatMap((k, line) => {
      const points = Array.from({ length: count }, (_, t) => [x(t), y(answers.data[t * size + k])]);
      const pairs = points.map((point) => point.map((v) => v.toFixed(1)).join(","));
      const now = points[state.step];
      return [
        svg("polyline", { class: `line line${line}`, points: pairs.join(" ") }),
        svg("circle", { class: `dot line${line}`, cx: now[0], cy: now[1], r: 4 }),
      ];
    });
    const middleOf = x(state.step);
    const here = svg("line", {
      class: "here", x1: middleOf, x2: middleOf, y1: box.top, y2: height - box.bottom,
    });
    const word = readsWords() ? stepWord : "step";
    const picture = svg(
      "svg",
      {
        viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
        "aria-label": `${sofar}, after every ${word}, for ${shown.map(className).join(", ")}`,
      },
      ...grid, here, ...lines,
      svg("text", { class: "tick", x: box.left, y: height - 5 }, `first ${word}`),
      svg("text", { class: "tick", x: width - box.right, y: height - 5, "text-anchor": "end" }, "last"),
    );
    picture.addEventListener("click", (event) => {
      const left = picture.getBoundingClientRect().left;
      const share = (event.clientX - left - box.left) / (width - box.left - box.right);
      goTo(Math.floor(share * count));
    });
    return picture;
  };

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const stops = (kind) => colours(dark.matches && !printing ? "dark" : "light", kind);
  let printing = false;

  // ---- heat maps ---------------------------------------------------------------------------------

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
      // never so pale that a bar could not be seen
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

  // ---- one unit up close -------------------------------------------------------------------------

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
    unitInput.value = state.unit; // a unit that there is not goes from the field
  });
  unitInput.addEventListener("input", () => {
    const wanted = Number(unitInput.value);
    if (!Number.isInteger(wanted) || wanted < 0 || wanted >= shownUnits()) return;
    state.unit = wanted;
    state.hover = null;
    showReadouts();
    showUnit();
  });

  // ---- layers ---------------------------------------------------------------------------------------

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

  // ---- putting it together ----------------------------------------------------------------------------

  // Where a new text begins: at its last step that counts, whose answer is the model's.
  const lastRead = () => {
    let t = steps() - 1;
    while (t > 0 && isMasked(t)) t -= 1;
    return t;
  };

  const show = (run, step = null) => {
    state.run = run;
    state.step = Math.min(step ?? lastRead(), steps() - 1);
    showAbout();
    showStrip();
    if (recorded.length) {
      showLayerNote();
      buildCards();
    }
    showStep();
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
    const parts = [agreement, ...[...data.notes, ...hidden].map((note) => quiet(`${note}.`))];
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
    parts.push(
      help(), chooser(), complaint, about,
      el(
        "div", { class: "player", id: "player" },
        strip, el("div", { class: "turns" }, back, slider, ahead), where, live,
      ),
      answer,
    );
    if (recorded.length) {
      parts.push(
        el("section", { "aria-labelledby": "gates-title" }, title,
          recorded.length > 1
            ? el("p", { class: "inline" }, el("label", { for: "layer" }, "Layer "), layerPicker)
            : quiet(layerPicker.textContent),
          layerNote, cards),
        unitBox,
      );
    } else {
      parts.push(el("p", {}, "The model has no recurrent layer whose values could be shown."));
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
      if (field || event.ctrlKey || event.metaKey || event.altKey) return;
      const inside = root.contains(event.target);
      const moves = { ArrowLeft: state.step - 1, ArrowRight: state.step + 1 };
      if (inside) Object.assign(moves, { Home: 0, End: steps() - 1 });
      if (!(event.key in moves)) return;
      event.preventDefault();
      goTo(moves[event.key]);
    });
    let width = 0;
    new ResizeObserver(() => {
      if (root.clientWidth === width) return;
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
      showSample(0);
      listen();
      await check();
      typed.disabled = !trusted;
      if (!trusted) typed.placeholder = "not while this page disagrees with NumPy";
      showSample(Number(picker.value));
    }
    root.dataset.ready = "yes";
  };
  start();
})();
