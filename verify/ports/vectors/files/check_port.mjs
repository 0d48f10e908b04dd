// Check a port of a Keras model in JavaScript against the test vectors beside this file.
//
//     node check_port.mjs my_port.mjs
//
// my_port.mjs exports two functions:
//
//   reset()                      forget the last call; it comes before each probe
//   run(inputs, offer, weights)  compute one call and return its outputs: an array of
//                                numbers for each output, by name or in order, all rows
//                                row by row, the last axis running fastest
//
// inputs and weights are objects, name -> { dtype, shape, data }.
// offer(name, row, step, values) hands over intermediate numbers: name is "lstm/f" or
// another name from README.md; row is a number from 0, or -1 for all rows; step is the
// number of the time step in the order of the input, or -1 for all steps and where there
// is no time axis. offer is optional.
//
// Prints PASS, or FAIL with the first probe, call, layer, step, gate and unit at which
// the port differs. Exit code 0: pass, 1: fail, 2: wrong usage.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL, fileURLToPath } from "node:url";

const VERSION = 1;
const MAX_SHOWN = 8;
const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  int64: Float64Array, // exact up to 2 ** 53, which JSON in JavaScript is too
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

class Misuse extends Error {}

// JSON has no NaN and no infinity: they stand as texts, which Number reads.
function arrays(packed) {
  const found = {};
  for (const [name, { dtype, shape, data }] of Object.entries(packed))
    found[name] = { dtype, shape, data: ARRAYS[dtype].from(data, Number) };
  return found;
}

const product = (sizes) => sizes.reduce((a, b) => a * b, 1);

// What is known of one array of numbers in the call that is running.
class Recorded {
  constructor(numbers, stage) {
    Object.assign(this, { stage }, numbers);
    this.size = product(this.shape);
    this.inner = product(this.shape.slice(this.steps ? 2 : 1));
    this.port = new Float64Array(this.size);
    this.seen = new Uint8Array(this.size);
  }

  offer(row, step, values) {
    const rows = this.shape[0];
    if (row >= rows) this.misused(row, step, `a row below ${rows}`, row);
    if (this.steps && step >= this.time)
      this.misused(row, step, `a step below ${this.time}`, step);
    const each = this.inner * (this.steps && step < 0 ? this.time : 1);
    const count = each * (row < 0 ? rows : 1);
    if (values?.length !== count)
      this.misused(row, step, `${count} numbers`, values?.length);
    for (let k = 0; k < count / each; k++)
      this.keepRow(row < 0 ? k : row, step, values, k * each);
  }

  keepRow(row, step, values, from) {
    const steps = this.steps ?? [0];
    steps.forEach((t, k) => {
      const at = (row * steps.length + k) * this.inner;
      if (!this.steps) this.keep(at, values, from);
      else if (step < 0) this.keep(at, values, from + t * this.inner);
      else if (t === step) this.keep(at, values, from);
    });
  }

  keep(at, values, from) {
    for (let k = 0; k < this.inner; k++) {
      this.port[at + k] = values[from + k];
      this.seen[at + k] = 1;
    }
  }

  misused(row, step, expected, received) {
    throw new Misuse(
      `offer("${this.name}", row ${row}, step ${step}): expected ${expected}. ` +
        `Received: ${received}`,
    );
  }

  error(at) {
    return Math.abs(this.port[at] - this.data[at]);
  }

  differs(at) {
    if (this.allowed[at] < 0 || !this.seen[at]) return false;
    return !(this.error(at) <= this.allowed[at]); // NaN differs
  }

  // Return [numbers that were handed over, numbers that could have been].
  counts() {
    let given = 0;
    let all = 0;
    for (let at = 0; at < this.size; at++) {
      if (this.allowed[at] < 0) continue;
      all++;
      given += this.seen[at];
    }
    return [given, all];
  }

  place(at) {
    const index = [];
    let rest = at;
    for (const size of [...this.shape].reverse()) {
      index.unshift(rest % size);
      rest = Math.floor(rest / size);
    }
    return index;
  }
}

// Yield the numbers of a stage as they are compared: gates and states step by step in
// the order of processing, in each step one gate after the other, then the rest.
function* inOrder(stage, stepped, whole) {
  const steps = stepped.length ? stepped[0].shape[1] : 0;
  for (let k = 0; k < steps; k++)
    for (const r of stepped) {
      const s = stage.backwards ? steps - 1 - k : k;
      for (let row = 0; row < r.shape[0]; row++)
        for (let unit = 0; unit < r.inner; unit++)
          yield [r, (row * steps + s) * r.inner + unit];
    }
  for (const r of whole) for (let at = 0; at < r.size; at++) yield [r, at];
}

class Check {
  constructor(pack, port) {
    this.pack = pack;
    this.port = port;
    this.weights = arrays(pack.weights);
    this.first = null;
    this.compared = this.offered = this.comparable = this.calls = this.failed = 0;
    this.worst = 0;
    this.tallies = new Map();
  }

  async run() {
    for (const probe of this.pack.probes) {
      let clean = true;
      await this.port.reset();
      for (const [k, call] of probe.calls.entries()) {
        clean = (await this.call(probe, k, call)) && clean;
        this.calls++;
      }
      this.failed += !clean;
      console.log(`${clean ? "pass" : "FAIL"}  ${probe.name}`);
    }
  }

  async call(probe, number, call) {
    const of = (packed, stage) => packed.map((n) => new Recorded(n, stage));
    const stages = call.stages.map((stage) => ({
      stage,
      stepped: of(stage.stepped, stage),
      whole: of(stage.whole, stage),
    }));
    const known = new Map();
    for (const { stepped, whole } of stages)
      for (const r of [...stepped, ...whole]) known.set(r.name, r);
    const offer = (name, row, step, values) => {
      if (!known.size) return; // a pack of outputs alone
      if (!known.has(name))
        throw new Misuse(
          `offer("${name}"): expected one of these names: ${[...known.keys()].join(" ")}`,
        );
      known.get(name).offer(row, step, values);
    };
    const returned = await this.port.run(arrays(call.inputs), offer, this.weights);
    const named = this.pack.model.outputs.map((name) => ({ name, ...call.outputs[name] }));
    const outputs = of(named, null);
    outputs.forEach((r, k) => {
      const given = returned?.[r.name] ?? returned?.[k];
      if (given?.length !== r.size)
        throw new Misuse(
          `run: expected output "${r.name}" of ${r.size} numbers. ` +
            `Received: ${given?.length}`,
        );
      r.port.set(given);
      r.seen.fill(1);
    });
    return this.compare({ probe, number }, stages, outputs);
  }

  compare(where, stages, outputs) {
    const before = [];
    let clean = true;
    const note = (r, at) => {
      if (!r.differs(at)) return;
      clean = false;
      this.first ??= { ...where, r, at, before: [...before] };
    };
    for (const { stage, stepped, whole } of stages) {
      let any = 0;
      for (const r of [...stepped, ...whole]) {
        const [given, all] = r.counts();
        const tally = this.tallies.get(r.name) ?? [0, 0];
        this.tallies.set(r.name, [tally[0] + given, tally[1] + all]);
        this.offered += given;
        this.comparable += all;
        any += given;
      }
      for (const [r, at] of inOrder(stage, stepped, whole)) note(r, at);
      if (any) before.push(stage.layer);
    }
    for (const r of outputs) {
      this.compared += r.counts()[1];
      for (let at = 0; at < r.size; at++) {
        note(r, at);
        if (r.allowed[at] >= 0)
          this.worst = Math.max(this.worst, r.error(at) / r.allowed[at]);
      }
    }
    return clean;
  }

  report() {
    if (this.first) this.reportDifference();
    else
      console.log(
        `PASS: ${this.pack.probes.length} probes, ${this.calls} calls, ` +
          `${this.compared} numbers of outputs agree ` +
          `(greatest error / allowed ${short(this.worst)})`,
      );
    if (this.comparable)
      console.log(
        `gates, states and outputs of layers: ${this.offered} of ${this.comparable} ` +
          "numbers were offered",
      );
    const missing = [...this.tallies]
      .filter(([, [given, all]]) => all && !given)
      .map(([name]) => name);
    if (!this.failed && missing.length) {
      const more = missing.length - MAX_SHOWN;
      const names = missing.slice(0, MAX_SHOWN).join(", ");
      console.log(`not offered: ${names}${more > 0 ? ` and ${more} more` : ""}`);
    }
  }

  reportDifference() {
    const { probe, number, r, at, before } = this.first;
    const index = r.place(at);
    const lines = [
      ["probe", `${probe.name} (${probe.why})`],
      ["call", `${number + 1} of ${probe.calls.length}`],
      r.stage ? ["layer", `${r.stage.layer} (${r.stage.class})`] : ["output", r.name],
    ];
    if (r.steps) {
      const backwards = r.stage?.backwards && r.meaning ? ", read backwards" : "";
      lines.push(["step", `${r.steps[index[1]]} of 0..${r.time - 1}${backwards}`]);
    }
    const value = r.name.slice((r.stage?.layer.length ?? -1) + 1);
    const kind = r.meaning.includes("state") ? "state" : "gate";
    if (r.meaning) lines.push([kind, `${value} (${r.meaning})`]);
    else if (r.stage) lines.push(["value", value]);
    if (index.length > 1) lines.push(["unit", index.at(-1)]);
    lines.push(["row", index[0]]);
    if (index.length > 3) lines.push(["index", `[${index.join(", ")}]`]);
    lines.push(["port", digits(r.port[at])], ["model", digits(r.data[at])]);
    lines.push(["difference", `${short(r.error(at))}, allowed ${short(r.allowed[at])}`]);
    if (before.length) lines.push(["before it", `${before.join(", ")} agree`]);
    if (!this.offered && this.comparable)
      lines.push(["hint", "offer gates and states to be told which"]);
    console.log("FAIL: the port differs from the model; first");
    for (const [what, text] of lines) console.log(`  ${what.padEnd(10)} : ${text}`);
  }
}

// Three digits, as %.3g prints them in C.
const short = (x) => (x < 1e-4 ? x.toExponential(2) : x.toPrecision(3));
const digits = (x) => (Number.isFinite(x) ? String(Number(x.toPrecision(9))) : `${x}`);

async function main(argv) {
  if (argv.length !== 1) throw new Misuse("usage: node check_port.mjs my_port.mjs");
  const here = dirname(fileURLToPath(import.meta.url));
  const pack = JSON.parse(readFileSync(join(here, "vectors.json"), "utf8"));
  if (pack.version !== VERSION)
    throw new Misuse(`expected vectors of version ${VERSION}. Received: ${pack.version}`);
  const port = await import(pathToFileURL(argv[0]).href);
  const { reset, run } = port.default ?? port;
  if (typeof reset !== "function" || typeof run !== "function")
    throw new Misuse(`${argv[0]}: expected functions reset and run to be exported`);
  const check = new Check(pack, { reset, run });
  await check.run();
  check.report();
  return check.failed ? 1 : 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Misuse)) throw error;
  console.error(`check_port: ${error.message}`);
  process.exitCode = 2;
}
