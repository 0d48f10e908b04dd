// Show the answer at every step: the scores of the leading classes, as bars and a chart.

const answer = el("section", { class: "answer", "aria-labelledby": "answer-title" });
let sofar = "";
const shares = () => {
  const rows = onTheWay() || state.run.output;
  return looksLikeShares(rows.data, rows.shape[rows.shape.length - 1]);
};
const shownScore = (scores, k) => (shares() ? percent(scores[k]) : number(scores[k]));

// Return the classes that are drawn: those whose greatest score at any step is highest,
// in the order of their numbers.
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
    ifItEnded(),
    chart(shown, range),
    isRead(steps() - 1)
      ? quiet("The padding behind the text is read too: the model\u2019s answer is that of the last step.")
      : "",
  );
};

// Say what the model would answer if the text ended here, where it reads padding: the
// padding behind a shorter text changes the answer, too.
const ifItEnded = () => {
  const { reading, x } = state.run;
  if (!reading || !trusted || !readsPadding() || isPadding(state.step)) return "";
  const first = x.data.findIndex((id) => id !== 0);
  const words = reading.used.slice(0, state.step - first + 1);
  const { output } = compute(Engine.read(words.join(" "), rules).x);
  if (output.shape.length !== 1) return "";
  const scores = [...output.data];
  const winner = best(scores);
  return el(
    "p", { class: "ended" }, `If the ${sampleWord} ended here, the model would say `,
    el("strong", {}, className(winner)), `, ${shownScore(scores, winner)}.`,
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
