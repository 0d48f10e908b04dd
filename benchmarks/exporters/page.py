"""Make ``docs/exporters.md`` from the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.exporters.models import MODELS
from benchmarks.exporters.plan import NOT_RUN, ROUTES
from verify.console.tables import markdown_row, markdown_table
from verify.model.conventions.losses import Loss, exporter_losses

PAGE = Path(__file__).parents[2] / "docs" / "exporters.md"

MARKS = {
    "right": "right",
    "partly": "partly",
    "wrong": "**WRONG**",
    "not exported": "refused",
    "not run": "cannot run",
    "undecided": "undecided",
}
"""Verdict -> what stands in the table."""

REASON_LENGTH = 240
"""Characters of a reason that are shown."""

HEAD = """\
# Leaving Keras, measured

Which exporter keeps which option of which recurrent layer. Every model has random
weights that are not zero, was exported by each route, run by the route's runtime on
inputs made for what exports lose, and judged by `rnn-verify compare MODEL EXPORTED`.

`make exporters` makes this page, from `benchmarks/results/exporters.json`; the models
are in `benchmarks/exporters/models.py`. `rnn-verify describe` says which silent losses
concern your model.

- **right**: every probe is answered as the model answers it.
- partly: what is answered is right, but some numbers of rows or lengths are refused.
- **WRONG**: at least one probe is answered otherwise, and nothing warns.
- refused: the exporter refuses the model.
- cannot run: the exporter writes a file, and the runtime refuses it.

In brackets: the operators of an ONNX file that carry the recurrence; without any, the
steps are written out one by one.
"""

LOSSES_HEAD = "## What is lost"

RUNTIMES = """\
## What runtimes do with right files

| runtime | does | shown by |
|---|---|---|
| OpenVINO 2026.4.1 | ignores `sequence_lens` where the rows or the time axis are \
open, and obeys them where both are fixed | \
`findings/openvino-ignores-lengths-of-open-axes.sh` |
| ONNX Runtime 1.32.0, OpenVINO 2026.4.1 | return zeros, not `initial_h`, for a row of \
length 0 | `findings/length-zero-loses-initial-state.sh` |
| LiteRT 2.3.0 | lists inputs and outputs in another order than Keras; names are \
right | `findings/keras-litert-order.sh` |
| OpenVINO 2026.4.1 | refuses the LSTM and GRU files of Keras on OpenVINO for more \
than one row, which declare any number | `findings/keras-openvino-open-batch.sh` |
| ONNX Runtime 1.32.0, OpenVINO 2026.4.1 | LSTM with `clip`: bound the gates' inputs, \
but not the cell state before tanh, which the specification bounds too | \
`findings/onnx-lstm-clip-spares-cell-state.sh` |
| ONNX Runtime 1.32.0 | recurrent ThresholdedRelu, Affine and ScaledTanh without \
`activation_alpha`: the threshold is 0, not 1; the other two return zeros | \
`findings/onnxruntime-recurrent-activation-defaults.sh` |
| ONNX Runtime 1.32.0 | `quantize_dynamic` makes LSTM smaller, and leaves GRU and RNN \
in float32 without a word | `findings/onnxruntime-quantize-dynamic-leaves-gru.sh` |
| OpenVINO 2026.4.1 | reads LSTM and GRU with HardSigmoid, LeakyRelu or Elu, and \
cannot compile them | `findings/openvino-reads-activations-it-cannot-compile.sh` |
| ONNX Runtime 1.32.0 | refuses a file with two recurrent nodes of equal inputs, one \
for Y and one for Y_h, in one order of the two; a node with both outputs is safe | \
`findings/onnxruntime-refuses-twin-recurrent-nodes.sh` |
| tract 0.23.9 | ignores `direction` "reverse", `activations`, `clip` and \
`input_forget`; "bidirectional" is right | \
`findings/tract-takes-options-for-defaults.sh` |
| MNN 3.6.1 | reads "reverse" forwards; a GRU or RNN with Y_h alone returns every \
step | `findings/mnn-reads-reverse-forwards.sh` |
| MNN 3.6.1 | GRU: computes `linear_before_reset=0` as another network than either | \
`findings/mnn-gru-resets-after-the-product.sh` |
| IREE 3.13.0 | ignores `sequence_lens`, and the peepholes of an LSTM | \
`findings/iree-ignores-sequence-lengths.sh` |
| IREE 3.13.0 | computes every recurrent activation but Tanh and Sigmoid as Relu | \
`findings/iree-takes-unknown-activations-for-relu.sh` |
| OpenCV 5.0.0 | "reverse": wrong last states of an LSTM, a GRU read forwards; \
`sequence_lens` ignored by a GRU, and by an LSTM with initial states | \
`findings/opencv-loses-directions-and-lengths.sh` |
| LiteRT 2.3.0 | an LSTM operator with NONE, Keras's "linear": returns gate times \
candidate, not gate times state; RELU is right | \
`findings/tflite-lstm-is-safe-with-tanh-alone.sh` |
| tflite-micro (of 2026-10-23) | an LSTM operator with any function but TANH: no \
function before the state, and tanh behind it | \
`findings/tflite-lstm-is-safe-with-tanh-alone.sh` |

For a file that several runtimes are to read, write a reversed layer as one half of a
bidirectional node, or turn its steps round outside of it, and ask one node for both Y
and Y_h. `rnn-verify compare` tells what is left by the outputs that a runtime wrote.
"""
"""What no exporter is to blame for."""


def page(results: Mapping[str, Any]) -> str:
    """Return the page."""
    routes = {
        name: results["routes"][name]
        for name in ROUTES
        if results["routes"].get(name, {}).get("models")
    }
    parts = [
        HEAD,
        LOSSES_HEAD,
        "",
        _losses(),
        "",
        RUNTIMES,
        *_tables(routes),
        *_reasons(routes),
    ]
    parts += ["## Not run", "", *_not_run(results), "", "## Versions", ""]
    parts += [
        f"- {ROUTES[name].title}: "
        + ", ".join(f"{p} {v}" for p, v in entry["versions"].items())
        + f"; {entry['date']}"
        for name, entry in routes.items()
    ]
    return "\n".join(parts) + "\n"


def _losses() -> str:
    """Return the table of losses that `describe` warns of."""
    rows = [
        markdown_row(
            loss.exporter,
            ", ".join(loss.layers) or "every recurrent layer",
            loss.what or "any options",
            ("" if loss.silent else "(not silent) ") + loss.does,
            _see(loss),
        )
        for loss in exporter_losses()
    ]
    return markdown_table(("exporter", "layers", "options", "does", "shown by"), rows)


def _see(loss: Loss) -> str:
    if not loss.measured:
        return f"`findings/{loss.finding}`"
    route, model = loss.measured
    shown = f"{ROUTES[route].title}: {MODELS[model].title}"
    return f"{shown}; `findings/{loss.finding}`" if loss.finding else shown


GROUPS = {
    "ONNX": ("onnx", "onnx-jax", "onnx-torch", "torch-onnx", "tf2onnx"),
    "LiteRT": (
        *("litert", "litert-one-row", "tflite-converter", "tflite-quantised"),
        "onnx2tf",
    ),
    "OpenVINO": ("openvino", "openvino-tensorflow", "openvino-torch", "openvino-onnx"),
    "SavedModel, torch.export and others": (
        *("saved-model", "saved-model-jax", "torch-export", "tensorflowjs", "hls4ml"),
        *("coremltools", "keras2c"),
    ),
}
"""Heading -> the routes whose columns stand beneath it."""


def _tables(routes: Mapping[str, Any]) -> Iterator[str]:
    for heading, names in GROUPS.items():
        names = tuple(name for name in names if name in routes)
        if not names:
            continue
        yield f"## {heading}"
        yield ""
        columns = [ROUTES[name].title for name in names]
        rows = []
        for model, subject in MODELS.items():
            cells = [_cell(routes[name]["models"].get(model)) for name in names]
            rows.append(markdown_row(subject.title, *cells))
        yield markdown_table(("model", *columns), rows)
        yield ""


def _cell(found: Mapping[str, Any] | None) -> str:
    """Return what stands in the table for one model and one route."""
    if found is None:
        return "-"
    text = MARKS[found["verdict"]]
    difference = found.get("difference")
    if found["verdict"] == "wrong" and isinstance(difference, float):
        text += f", by {difference:.2g}"
    carried = found.get("carried")
    if carried:
        text += f" ({', '.join(carried)})"
    return text


def _reasons(routes: Mapping[str, Any]) -> Iterator[str]:
    """Yield why something is not right, once for each reason of a route."""
    yield "## Why"
    yield ""
    for name, entry in routes.items():
        reasons: dict[tuple[str, str], list[str]] = {}
        for model in MODELS:
            found = entry["models"].get(model)
            if found is None or found["verdict"] == "right":
                continue
            key = (found["verdict"], found.get("reason", "")[:REASON_LENGTH])
            reasons.setdefault(key, []).append(MODELS[model].title)
        if not reasons:
            continue
        yield f"### {ROUTES[name].title}"
        yield ""
        for (verdict, reason), models in reasons.items():
            which = f"{len(models)} models" if len(models) > 6 else "; ".join(models)
            yield f"- {MARKS[verdict]}: {which}: {_plain(reason)}"
        yield ""


def _plain(text: str) -> str:
    """Return a text in which nothing is Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|$" else c for c in text)


def _not_run(results: Mapping[str, Any]) -> Iterator[str]:
    for what, why in NOT_RUN.items():
        yield f"- {what}: {why}"
    for name, entry in results["routes"].items():
        if name in ROUTES and "not_run" in entry:
            yield f"- {ROUTES[name].title}: {_plain(entry['not_run'])}"
