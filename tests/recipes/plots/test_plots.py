"""Every figure: made from random non-zero weights, saved, and read back."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from support import nets

import verify
from recipes import plots
from recipes.plots.diagram import _Unrolled
from recipes.plots.furniture import power
from recipes.plots.sums import Formatter, gate_sums, gate_weights, value_name
from verify.errors import DataError
from verify.forward.layers.base import function_of
from verify.report.report import LayerResult, Report
from verify.tolerance.compare import Comparison, Verdict, compare

LONG = [f"{chr(97 + k)}bcdefghijklmno" for k in range(26)]
CELLS = ("SimpleRNN", "LSTM", "GRU")
NASTY = ["$x$", "a_b^c", "50 % \\frac", "<b>&amp;", "${"]


def network(
    cell: str = "LSTM",
    *,
    units: int = nets.UNITS,
    features: int = nets.INPUTS,
    classes: int = nets.OUTPUTS,
    **options: Any,
) -> verify.Network:
    """One recurrent layer, then Dense; no weight is zero."""
    return verify.Network(
        nets.spec(
            nets.input_layer(None, None, features),
            nets.layer(cell, "loop", units=units, **options),
            nets.layer("Dense", "dense", units=classes, activation="softmax"),
        )
    )


def inputs(time: int, features: int = nets.INPUTS) -> np.ndarray:
    """(2, time, features)"""
    return np.random.default_rng(time).normal(size=(2, time, features))


def traced(cell: str = "LSTM", time: int = 5, **options: Any) -> verify.LayerTrace:
    """The trace of a recurrent layer."""
    return network(cell, **options).trace(inputs(time))["loop"]


def masked_trace(time: int = nets.TIME) -> verify.LayerTrace:
    """Of an LSTM behind a mask; row 0 is padded on the right."""
    spec = nets.spec(
        nets.input_layer(None, None, nets.INPUTS),
        nets.layer("Masking", "masking", mask_value=0.0),
        nets.layer("LSTM", "lstm", units=nets.UNITS),
    )
    x = inputs(time)
    x[0, time // 2 :] = 0
    return verify.Network(spec).trace(x)["lstm"]


def a_report(allowance: str = "derived bound (kernels of any)") -> Report:
    """A bound, the noise floor, both, an error of 0, a NaN, a failure."""

    def layer(name: str, error: float, allowed: float, derived: float) -> LayerResult:
        # elsewhere is a greater error, with a much greater allowance
        numerics = Comparison(
            error <= allowed,
            40 * allowed,
            4 * error,
            error_ratio=error / allowed if allowed else 0.0,
            nearest=(error, allowed),
        )
        return LayerResult(name, "LSTM", 4, numerics, numerics, derived=derived)

    layers = (
        layer("embedding", 0.0, 1e-37, 1.0),
        layer("lstm", 2e-8, 3e-7, 1.0),
        layer("noisy", 1e-8, 5e-7, 0.0),
        layer("mixed", 3e-8, 4e-7, 0.5),
        layer("silent", 0.0, 2e-7, 1.0),
        layer("undefined", float("nan"), 2e-7, 1.0),
        layer("wrong", 0.25, 2e-7, 1.0),
    )
    last = layers[1].numerics
    return Report(
        Verdict.PASS, "", "keras", "numpy", last, last, 0.0, 1.0, allowance, layers
    )


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape)


def uniform(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).uniform(size=shape)


def history(epochs: int) -> dict[str, list[float]]:
    names = ("loss", "accuracy", "val_loss", "val_accuracy")
    numbers = np.random.default_rng(epochs).uniform(size=(4, epochs))
    return dict(zip(names, numbers.tolist(), strict=True))


def an_unrolled(cell: str, steps: int, units: int) -> Figure:
    classes = NASTY[:3] if steps < 4 else LONG[:12]
    net = network(cell, units=units, features=units, classes=len(classes))
    x, title = inputs(steps, units), "t $ _ " * 12
    return plots.unrolled(net, x, LONG[:steps], title, classes=classes)


COUNTS = np.array([[50, 7], [12, 31]])
DECAY = 10.0 ** -np.arange(26.0)[::-1]
MANY_WORDS = {word: 900 - 7 * k for k, word in enumerate(LONG)}

FIGURES: dict[str, Callable[[], Figure]] = {
    "curves": lambda: plots.curves(history(3), "t"),
    "curves of 50 epochs": lambda: plots.curves(history(50), "t"),
    "functions": lambda: plots.functions(
        np.arange(7.0), dict(zip(NASTY, normal(5, 7), strict=True)), "t",
        xlabel="x", ylabel="y",
    ),
    "confusion": lambda: plots.confusion(COUNTS, ["no", "yes"], "t"),
    "confusion of 12": lambda: plots.confusion(
        (90 * uniform(12, 12)).astype(int), LONG[:12], "t"
    ),
    "confusion of nobody": lambda: plots.confusion(0 * COUNTS, NASTY[:2], "t"),
    "confusions": lambda: plots.confusions(
        dict.fromkeys(LONG[:5], COUNTS), LONG[:2], "t " * 80
    ),
    "gates of 2": lambda: plots.gates(traced(time=2), ["this", "is"], "t"),
    "gates of 26": lambda: plots.gates(traced(time=26, units=40), LONG, "t"),
    "gates of a GRU": lambda: plots.gates(traced("GRU"), NASTY, "$t$"),
    "gates of a SimpleRNN": lambda: plots.gates(traced("SimpleRNN"), None, "t"),
    "gates with a mask": lambda: plots.gates(masked_trace(26), LONG, "t"),
    "moves of 2": lambda: plots.cell_moves(traced(time=2), ["this", "is"], "t"),
    "moves of 26": lambda: plots.cell_moves(masked_trace(26), LONG, "t"),
    "moves of a GRU": lambda: plots.cell_moves(traced("GRU"), NASTY, "t"),
    "gradients": lambda: plots.gradients(
        {"SimpleRNN": DECAY * (1 + 8 * uniform(7, 26)), "$LSTM_": DECAY**0.1},
        LONG,
        "t",
    ),
    "gradients of 2": lambda: plots.gradients({"a": [0.1, 0.3]}, ["this", "is"], "t"),
    "gradients of 0": lambda: plots.gradients({"a": [0, 1], "b": [0, 0]}, None, "t"),
    "parameter blocks": lambda: plots.parameter_blocks(nets.lstm_spec(), "t"),
    "blocks of a small LSTM": lambda: plots.parameter_blocks(
        network(units=1, features=1).spec["loop"], "t"
    ),
    "blocks of a large LSTM": lambda: plots.parameter_blocks(
        network(units=40, features=32).spec, "t"
    ),
    "blocks of a GRU": lambda: plots.parameter_blocks(network("GRU").spec, "t"),
    "blocks of a SimpleRNN": lambda: plots.parameter_blocks(
        network("SimpleRNN", units=1, features=90).spec, "t"
    ),
    "gate columns": lambda: plots.gate_columns(network().spec["loop"], "t"),
    "columns of a small LSTM": lambda: plots.gate_columns(
        network(units=1, features=1).spec["loop"], "t"
    ),
    "columns of a large LSTM": lambda: plots.gate_columns(
        network(units=40, features=32).spec["loop"], "t"
    ),
    "columns of a GRU": lambda: plots.gate_columns(network("GRU").spec["loop"], "t"),
    "error against bound": lambda: plots.error_against_bound(a_report(), "t"),
    "error against noise": lambda: plots.error_against_bound(
        dataclasses.replace(a_report("noise floor"), layers=()), "t"
    ),
    "errors of outputs": lambda: plots.errors_of_outputs(
        {"(a)_$": a_report(), LONG[0]: a_report("noise floor")}, "t"
    ),
    "accuracy by": lambda: plots.accuracy_by(
        [1, 5, 20],
        dict(zip((*LONG[:3], "$a_"), uniform(4, 3, 3), strict=True)),
        "gap (words)",
        "t",
        chance=0.5,
    ),
    "accuracy by, one seed": lambda: plots.accuracy_by(
        range(30), {"a": uniform(30)}, "gap (words)", "t"
    ),
    "spread": lambda: plots.spread(
        {"LSTM_$": [0.8, 0.82, 0.9], LONG[0]: [0.85]},
        "t",
        baselines={"always the larger class": 0.797, "TF-IDF + regression": 0.92},
    ),
    "ranges": lambda: plots.ranges(
        {
            "a_$": dict(zip(LONG[:20], uniform(20, 3).tolist(), strict=True)),
            "": {"one seed": [0.5], LONG[0]: [0.4, 0.4]},
        },
        "t",
        baselines={"always the larger class": 0.797, "TF-IDF + regression": 0.92},
    ),
    "ranges, 150 of them": lambda: plots.ranges(
        {
            f"sentiment_{name}": {
                f"post, no mask, {k} units, own length, 3 epochs": [0.8 + k / 1e4, 0.9]
                for k in range(50)
            }
            for name in ("rnn", "lstm", "gru")
        },
        "t",
        baselines={"always the larger class": 0.797, "TF-IDF + regression": 0.92},
    ),
    "importance": lambda: plots.importance(
        LONG, normal(26), "t", xlabel="fall of P"
    ),
    "importance of 1": lambda: plots.importance(["$a_$"], [0.0], "t", xlabel="fall"),
    "frequencies": lambda: plots.frequencies(
        {"negative": MANY_WORDS, "positive": {"a_$": 3, "$b": 5}}, "t"
    ),
    "lengths": lambda: plots.lengths(
        {"negative": (1 + 26 * uniform(99)).astype(int), "positive": [3, 3, 9]}, "t"
    ),
    "powers": lambda: plots.powers(
        {f"u = {u}": u ** np.arange(1, 61) for u in (0.5, 1.0, 1.5)}, "t", ylabel="|u|"
    ),
    **{
        f"unrolled {cell}, {steps} steps, {units} units": partial(
            an_unrolled, cell, steps, units
        )
        for cell in CELLS
        for steps, units in ((1, 5), (2, 1), (3, 2), (4, 1), (4, 4))
    },
    "unrolled GRU of the paper": lambda: plots.unrolled(
        network("GRU", units=1, features=1, reset_after=False),
        inputs(2, 1), None, "t",
    ),
}  # fmt: skip


def drawn(figure: Figure) -> Any:
    """Draw a figure, warnings as errors; returns the renderer."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return canvas.get_renderer()


@cache
def made(name: str) -> tuple[Figure, Any]:
    """One of the figures, drawn, and its renderer."""
    figure = FIGURES[name]()
    return figure, drawn(figure)


def visible_texts(figure: Figure) -> list[Text]:
    """Every text that is drawn; tick labels only where their ticks are."""
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                inside = low - 1e-9 <= tick.get_loc() <= high * (1 + 1e-9) + 1e-9
                if not axes.axison or not inside:
                    hidden |= {tick.label1, tick.label2}
            if not axes.axison:
                hidden |= {axis.label}
    return [text for text in texts if text not in hidden]


SLOW = ("ranges, 150 of them",)
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in FIGURES
]


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_drawn_without_warnings_and_no_text_leaves_it(name: str) -> None:
    figure, renderer = made(name)
    width, height = figure.get_size_inches() * figure.dpi
    assert 5 <= figure.get_figwidth() <= 13.5
    outside = []
    for text in visible_texts(figure):
        box = text.get_window_extent(renderer)
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            outside.append((text.get_text(), box.extents.round().tolist()))
    for legend in figure.legends:
        box = legend.get_window_extent(renderer)
        if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height:
            outside.append(("legend", box.extents.round().tolist()))
    assert not outside


@pytest.mark.parametrize("name", NAMES)
def test_no_two_texts_of_a_figure_lie_on_each_other(name: str) -> None:
    figure, renderer = made(name)
    boxes = [
        (text.get_text(), text.get_window_extent(renderer))
        for text in visible_texts(figure)
    ]
    overlaps = []
    for (a, first), (b, second) in itertools.combinations(boxes, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        down = min(first.y1, second.y1) - max(first.y0, second.y0)
        if across > 1 and down > 2:  # lines of a box touch by a pixel
            overlaps.append((a, b, round(across), round(down)))
    assert not overlaps


@pytest.mark.parametrize("name", NAMES)
def test_every_axis_has_a_title(name: str) -> None:
    figure, _ = made(name)
    drawn = [a for a in figure.axes if a.get_visible() and a.axison]
    assert bool(drawn) != name.startswith("unrolled")  # a diagram has no axis
    for axes in drawn:
        bar = axes.get_label() == "<colorbar>"
        assert axes.get_ylabel(), "no y title"
        assert bar or axes.get_xlabel(), "no x title"


@pytest.mark.parametrize("name", NAMES)
def test_no_text_is_read_as_mathematics(name: str) -> None:
    figure, _ = made(name)
    assert not [
        text.get_text()
        for text in visible_texts(figure)
        if "$" in text.get_text() and text.get_parse_math()
    ]


def test_the_checks_of_texts_see_an_overlap_and_a_text_outside() -> None:
    figure = Figure(figsize=(6, 3))
    figure.text(0.5, 0.5, "here")
    figure.text(0.51, 0.5, "there")
    figure.text(0.99, 0.5, "outside")
    FIGURES["planted"] = lambda: figure
    try:
        with pytest.raises(AssertionError, match="here"):
            test_no_two_texts_of_a_figure_lie_on_each_other("planted")
        with pytest.raises(AssertionError, match="outside"):
            test_a_figure_is_drawn_without_warnings_and_no_text_leaves_it("planted")
    finally:
        del FIGURES["planted"]


def images(figure: Figure) -> list[AxesImage]:
    return [image for axes in figure.axes for image in axes.images]


def tick_labels(figure: Figure, axis: str = "x") -> list[str]:
    axes = figure.axes[0]
    labels = axes.get_xticklabels() if axis == "x" else axes.get_yticklabels()
    return [label.get_text() for label in labels]


def all_text(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("cell", CELLS)
def test_the_heat_maps_hold_the_gates_of_the_trace(cell: str) -> None:
    trace = traced(cell)
    shown = images(plots.gates(trace, None, "t", row=1))
    assert len(shown) == len(trace.values)
    for image, (name, value) in zip(shown, trace.values.items(), strict=True):
        assert compare(np.asarray(image.get_array()), value[1].T, allowed=0).matches
        gate = name in "ifozr"
        assert image.get_cmap().name == ("cividis" if gate else "PuOr")
        low, high = image.get_clim()
        assert (low, high) == (0, 1) if gate else low == -high


def test_two_gates_swapped_are_seen_in_the_heat_maps() -> None:
    spec = network().spec
    swapped = spec["loop"].weights["kernel"].copy()
    swapped[:, [0, 1, 2, 3, 4, 5, 6, 7]] = swapped[:, [4, 5, 6, 7, 0, 1, 2, 3]]
    other = spec.with_layer(spec["loop"].with_weights(kernel=swapped))
    x = inputs(5)
    first, second = (
        images(plots.gates(verify.Network(s).trace(x)["loop"], None, "t"))
        for s in (spec, other)
    )
    differ = [
        not compare(
            np.asarray(a.get_array()), np.asarray(b.get_array()), allowed=1e-3
        ).matches
        for a, b in zip(first, second, strict=True)
    ]
    assert differ[0]
    assert differ[1]


def test_a_gate_that_may_leave_0_to_1_has_a_diverging_scale() -> None:
    trace = traced(recurrent_activation="tanh")
    low, high = images(plots.gates(trace, None, "t"))[0].get_clim()
    assert low == -high < 0


def test_names_and_units_pick_heat_maps_and_their_rows() -> None:
    trace = traced()
    figure = plots.gates(trace, None, "t", names=("c", "f"), units=(3, 1))
    first, second = images(figure)
    assert compare(
        np.asarray(first.get_array()), trace.c[0][:, [3, 1]].T, allowed=0
    ).matches
    assert compare(
        np.asarray(second.get_array()), trace.f[0][:, [3, 1]].T, allowed=0
    ).matches
    assert tick_labels(figure, "y") == ["3", "1"]


def test_masked_steps_are_hatched_and_explained() -> None:
    trace = masked_trace()
    figure = plots.gates(trace, LONG[: nets.TIME], "t")
    assert "masked step" in all_text(figure)
    hatched = [p for p in figure.axes[0].patches if p.get_hatch()]
    assert len(hatched) == int((~trace.mask[0]).sum()) > 0
    assert "masked step" not in all_text(
        plots.gates(trace, LONG[: nets.TIME], "t", row=1)
    )


def test_words_stand_on_the_axis() -> None:
    figure = plots.cell_moves(traced(time=26), LONG, "t")
    assert tick_labels(figure) == LONG
    assert tick_labels(plots.cell_moves(traced(), None, "t")) == list("01234")
    assert tick_labels(plots.cell_moves(traced(), NASTY, "t")) == NASTY


def test_a_very_long_word_is_cut() -> None:
    words = ["a" * 300, "b\x1b[31m\n", "", "c", "d"]
    assert max(map(len, tick_labels(plots.cell_moves(traced(), words, "t")))) <= 18


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_bars_show_how_far_the_states_move(cell: str, backwards: bool) -> None:
    trace = traced(cell, go_backwards=backwards)
    figure = plots.cell_moves(trace, None, "t", row=1)
    bars = [c for c in figure.axes[0].containers if isinstance(c, BarContainer)]
    names = ("c", "h") if cell == "LSTM" else ("h",)
    assert len(bars) == len(names)
    for bar, name in zip(bars, names, strict=True):
        states = trace[name][1][:: -1 if backwards else 1]
        expected, before = [], np.zeros(nets.UNITS)
        for state in states:
            expected.append(np.sqrt(np.sum((state - before) ** 2)))
            before = state
        heights = np.array([p.get_height() for p in bar])
        wanted = np.array(expected[:: -1 if backwards else 1])
        assert compare(heights, wanted, allowed=1e-6).matches


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_the_sums_of_the_unrolled_network_become_its_gates(
    cell: str, use_bias: bool, reset_after: bool
) -> None:
    options = {"reset_after": reset_after} if cell == "GRU" else {}
    trace = traced(cell, time=4, use_bias=use_bias, **options)
    model = _Unrolled.of(trace, 1, None)
    for k in range(4):
        now = {name: value[1, k] for name, value in trace.values.items()}
        for gate in trace.layer.gates:
            _, total = gate_sums(
                trace.layer, gate, trace.input[1, k], model.before("h", k), now,
                Formatter(3),
            )  # fmt: skip
            name = value_name(trace.layer, gate)
            kind = "activation" if name in ("c_hat", "h_hat", "h") else (
                "recurrent_activation"
            )  # fmt: skip
            value = function_of(trace.layer, kind)(total)
            assert compare(value, now[name].astype(float), allowed=1e-5).matches


@pytest.mark.parametrize("cell", CELLS)
def test_the_unrolled_network_says_its_own_numbers(cell: str) -> None:
    net, x = network(cell, units=1, features=1), inputs(2, 1)
    figure = plots.unrolled(net, x, ["this", "is"], "t", classes=["no", "yes"], row=1)
    text, trace = all_text(figure), net.trace(x)
    for name, value in trace["loop"].values.items():
        for number in value[1].ravel():
            assert f"{number:.4f}" in text, name
    for gate in trace["loop"].layer.gates:
        weights = gate_weights(trace["loop"].layer, gate)
        parts = (weights.w, weights.u, *weights.b)
        for number in np.concatenate([part.ravel() for part in parts]):
            assert f"{number:.4f}" in text
    for number in (*trace["dense"].logits[1], *trace.output[1]):
        assert f"{number:.4f}" in text
    for word in ("step 1: this", "step 2: is", "yes", "softmax"):
        assert word in text


@pytest.mark.parametrize("name", [name for name in FIGURES if "unrolled" in name])
def test_the_text_of_a_box_stays_inside_it(name: str) -> None:
    figure, renderer = made(name)
    boxes = [
        patch.get_window_extent(renderer)
        for patch in figure.axes[0].patches
        if isinstance(patch, FancyBboxPatch)
    ]
    found = 0
    for text in figure.axes[0].texts:
        at = text.get_window_extent(renderer)
        for box in boxes:
            if box.x0 < at.x0 < box.x1 and box.y0 < (at.y0 + at.y1) / 2 < box.y1:
                found += 1
                assert at.x1 < box.x1, text.get_text()
    assert found > 8


def test_the_unrolled_network_marks_masked_steps() -> None:
    net = verify.Network(
        nets.spec(
            nets.input_layer(None, 2, 1),
            nets.layer("Masking", "masking", mask_value=0.0),
            nets.layer("LSTM", "lstm", units=2),
            nets.layer("Dense", "dense", units=2),
        )
    )
    figure = plots.unrolled(net, [[[3.0], [0.0]]], ["cat", "-"], "t")
    assert "step 2: - (masked: states kept)" in all_text(figure)


def test_a_layer_that_goes_backwards_is_unrolled_from_the_last_step() -> None:
    net = network(units=1, features=1, go_backwards=True)
    text = all_text(plots.unrolled(net, inputs(2, 1), ["a", "b"], "t"))
    assert text.index("step 2: b") < text.index("step 1: a")
    h = net.trace(inputs(2, 1))["loop"].h[0]
    assert f"{h[1, 0]:.4f} * " in text  # the step that is read next multiplies it


def test_gate_columns_hold_the_weights_and_name_their_gates() -> None:
    layer = network().spec["loop"]
    figure = plots.gate_columns(layer, "t")
    for image, weight in zip(images(figure), layer.weights.values(), strict=True):
        matrix = np.atleast_2d(weight)
        assert compare(
            np.asarray(image.get_array()), matrix.astype(float), allowed=0
        ).matches
        assert image.get_clim()[0] == -image.get_clim()[1]
    text = all_text(figure)
    for label in ("i  0:4", "f  4:8", "c  8:12", "o  12:16"):
        assert label in text


def test_parameter_blocks_are_to_scale_and_count() -> None:
    figure = plots.parameter_blocks(network(units=40, features=32).spec["loop"], "t")
    axes = figure.axes[0]
    outlines = [p for p in axes.patches if not p.get_fill()]
    sizes = [(p.get_width(), p.get_height()) for p in outlines]
    side = sizes[0][0] / 40
    found = np.array(sizes) / side
    wanted = np.array([(40, 32)] * 4 + [(40, 40)] * 4 + [(40, 1)] * 4, dtype=float)
    assert compare(found, wanted, allowed=1e-6).matches
    assert axes.get_aspect() == 1.0
    text = all_text(figure)
    for words in (
        "4 gates x 40 x (32 + 40 + 1) = 11,680", "32 x 4 x 40 = 5,120", "i  0:40",
        "o  120:160",
    ):  # fmt: skip
        assert words in text


def test_a_long_embedding_is_shortened_and_says_so() -> None:
    spec = nets.spec(
        nets.input_layer(None, 3, dtype="int32"),
        nets.layer("Embedding", "embedding", input_dim=5000, output_dim=8),
        nets.layer("LSTM", "lstm", units=4),
    )
    figure = plots.parameter_blocks(spec, "t")
    assert "shortened: 5,000 rows, drawn as tall as 32" in all_text(figure)
    assert "shortened" not in all_text(plots.parameter_blocks(network().spec, "t"))


def test_errors_stand_below_their_bounds() -> None:
    report = a_report()
    figure = plots.error_against_bound(report, "t")
    axes = figure.axes[0]
    points = [line.get_data() for line in axes.lines if line.get_marker() == "o"]
    assert axes.get_xscale() == "log"
    assert points[1][0][0] == report.layers[1].numerics.nearest[0]
    left, right = axes.get_xlim()
    assert points[0][0][0] == points[4][0][0] == left
    assert points[5][0][0] == right
    text = all_text(figure)
    assert "noise floor (no bound)" in text
    assert "6.67% of what is allowed" in text
    assert "nan: fails" in text
    assert "times what is allowed" in text
    assert [t.get_text() for t in axes.texts].count("0") == 2
    assert tick_labels(figure, "y")[-1] == "outputs"


def test_a_report_without_a_bound_is_judged_by_noise() -> None:
    report = dataclasses.replace(a_report("noise floor"), layers=())
    text = all_text(plots.error_against_bound(report, "t"))
    assert "noise floor (no bound)" in text
    assert "derived bound" not in text


def test_a_real_report_is_drawn() -> None:
    """Of recorded outputs, which have no layers."""
    net, x = network(), inputs(4)
    report = verify.compare_outputs(net, x, net.predict(x))
    drawn(plots.error_against_bound(report, "t"))


def test_errors_of_several_outputs_have_a_line_each() -> None:
    report = a_report()
    wrong = dataclasses.replace(report, numerics=report.layers[-1].numerics)
    figure = plots.errors_of_outputs({"right": report, "wrong": wrong}, "t")
    points = [
        line.get_data() for line in figure.axes[0].lines if line.get_marker() == "o"
    ]
    assert [(x.item(), y.item()) for x, y in map(np.array, points)] == [
        (2e-8, 0), (0.25, 1),
    ]  # fmt: skip
    assert tick_labels(figure, "y") == ["right", "wrong"]
    assert "6.67% of what is allowed" in all_text(figure)
    assert "10⁶ times what is allowed" in all_text(figure)


def test_confusion_cells_show_count_and_share_of_the_row() -> None:
    figure = plots.confusion(COUNTS, ["no", "yes"], "t")
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells == ["50\n87.7%", "7\n12.3%", "12\n27.9%", "31\n72.1%"]
    shares = COUNTS / COUNTS.sum(axis=1, keepdims=True)
    assert compare(
        np.asarray(images(figure)[0].get_array()), shares, allowed=1e-12
    ).matches
    assert figure.axes[0].get_ylabel() == "true class"
    assert tick_labels(figure) == ["no", "yes"]


def test_gradients_of_several_rows_are_a_median_with_quartiles() -> None:
    rows = np.random.default_rng(1).uniform(0.1, 1, size=(9, 4))
    figure = plots.gradients({"LSTM": rows}, None, "t")
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    line = np.asarray(axes.lines[0].get_ydata(), dtype=float)
    assert compare(line, np.median(rows, axis=0), allowed=1e-12).matches
    corners = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert np.isclose(corners.max(), np.quantile(rows, 0.75, axis=0).max())
    assert "median" in all_text(figure)
    assert "exactly 0" not in all_text(figure)
    assert "exactly 0" in all_text(plots.gradients({"a": [0, 1]}, None, "t"))


def test_accuracy_is_a_mean_in_a_band_that_the_legend_explains() -> None:
    values = np.array([[0.5, 0.9], [0.7, 0.8]])
    figure = plots.accuracy_by([3, 8], {"LSTM": values}, "gap (words)", "t", chance=0.4)
    mean = np.asarray(figure.axes[0].lines[0].get_ydata(), dtype=float)
    assert compare(mean, np.array([0.6, 0.85]), allowed=1e-12).matches
    text = all_text(figure)
    assert "lowest to highest of 2 seeds" in text
    assert "chance" in text
    single = plots.accuracy_by([3, 8], {"LSTM": values[0]}, "gap (words)", "t")
    assert "seeds" not in all_text(single)


@pytest.mark.parametrize("epochs", [1, 5, 12, 13, 16, 40])
def test_no_tick_of_an_axis_of_epochs_stands_between_two(epochs: int) -> None:
    figure = plots.accuracy_by(
        range(1, epochs + 1), {"LSTM": np.linspace(0.4, 0.9, epochs)}, "epoch", "t"
    )
    figure.canvas.draw()
    ticks = figure.axes[0].get_xticks()
    assert len(ticks) > 0
    assert all(tick == round(tick) for tick in ticks)


def test_other_numbers_have_ticks_of_their_own() -> None:
    x = np.linspace(0.1, 0.4, 20)
    figure = plots.accuracy_by(x, {"LSTM": x}, "rate", "t")
    figure.canvas.draw()
    assert not all(tick == round(tick) for tick in figure.axes[0].get_xticks())


def test_spread_shows_each_seed_and_the_mean() -> None:
    figure = plots.spread({"LSTM": [0.8, 0.9]}, "t", baselines={"guess": 0.5})
    dots = figure.axes[0].lines[0].get_xdata()
    assert list(dots) == [0.8, 0.9]
    assert "0.850" in all_text(figure)
    assert "guess (0.500)" in all_text(figure)


def test_ranges_have_a_row_each_with_its_mean_and_every_seed() -> None:
    groups = {"RNN": {"pre": [0.5, 0.7, 0.9]}, "GRU": {"pre": [0.8], "post": [0.6]}}
    figure = plots.ranges(groups, "t", baselines={"guess": 0.5})
    assert tick_labels(figure, "y") == ["RNN", "GRU", "pre", "pre", "post"]
    extent, seeds, mean = figure.axes[0].lines[:3]
    assert list(extent.get_xdata()) == [0.5, 0.9]
    assert list(seeds.get_xdata()) == [0.5, 0.7, 0.9]
    assert list(mean.get_xdata()) == [pytest.approx(0.7)]
    assert "0.700" in all_text(figure)
    assert "guess (0.500)" in all_text(figure)
    low, high = figure.axes[0].get_ylim()
    assert low > high  # the first row is on top


def test_baselines_look_alike_beside_dots_and_ranges() -> None:
    baselines = {"guess": 0.5, "linear": 0.9}
    looks = [
        [(x.get_color(), x.get_linestyle(), x.get_linewidth()) for x in lines[-2:]]
        for lines in (
            plots.spread({"a": [0.7]}, "t", baselines=baselines).axes[0].lines,
            plots.ranges({"": {"a": [0.7]}}, "t", baselines=baselines).axes[0].lines,
        )
    ]
    assert looks[0] == looks[1]


def test_importance_has_a_signed_bar_a_word_in_reading_order() -> None:
    figure = plots.importance(["not", "good"], [0.3, -0.2], "t", xlabel="fall")
    assert tick_labels(figure, "y") == ["not", "good"]
    assert [p.get_width() for p in figure.axes[0].patches] == [0.3, -0.2]
    low, high = figure.axes[0].get_ylim()
    assert low > high  # the first word is on top


def test_frequencies_begin_with_the_most_frequent_word() -> None:
    figure = plots.frequencies({"a": {"x": 1, "y": 5, "z": 3}}, "t", top=2)
    assert tick_labels(figure, "y") == ["y", "z"]


def test_lengths_are_shares_of_each_class() -> None:
    figure = plots.lengths({"a": [1, 1, 2, 4]}, "t")
    values = figure.axes[0].patches[0].get_data().values
    assert values.tolist() == [0, 0.5, 0.25, 0, 0.25]


def test_a_line_of_each_function_goes_through_its_points() -> None:
    x = np.array([-2.0, 0.5, 3.0])
    values = {"square": x**2, "cube": x**3}
    (axes,) = plots.functions(x, values, "t", xlabel="x", ylabel="y").axes
    for line, value in zip(axes.lines, values.values(), strict=True):
        assert line.get_xdata() == pytest.approx(x)
        assert line.get_ydata() == pytest.approx(value)
    assert [line.get_label() for line in axes.lines] == list(values)


def test_powers_of_ten_are_written_without_mathematics() -> None:
    assert [power(v) for v in (1e-7, 0.01, 1.0, 2000.0, 1e12, 2e-9)] == [
        "10\u207b\u2077", "0.01", "1", "2000", "10\u00b9\u00b2", "2 * 10\u207b\u2079",
    ]  # fmt: skip


def test_a_figure_becomes_a_png() -> None:
    assert plots.png(plots.confusion(COUNTS, ["a", "b"], "t")).startswith(b"\x89PNG")


def test_importing_the_figures_imports_no_matplotlib() -> None:
    code = "import sys, recipes.plots; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_figures_are_not_kept_by_pyplot() -> None:
    plots.confusion(COUNTS, ["no", "yes"], "t")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


TWO = {"a": [0.1, 0.2]}
BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "no epochs": (lambda: plots.curves({"loss": [], "accuracy": []}, "t"), "epochs"),
    "no accuracy": (lambda: plots.curves({"loss": [1.0]}, "t"), "no accuracy"),
    "uneven history": (
        lambda: plots.curves({"loss": [1.0], "accuracy": [1.0, 2.0]}, "t"),
        "accuracy: expected one for each epoch, 1 in all",
    ),
    "classes": (lambda: plots.confusion(COUNTS, ["a"], "t"), "1 rows and columns"),
    "shares": (lambda: plots.confusion(COUNTS / 3, ["a", "b"], "t"), "counts"),
    "no reports": (lambda: plots.errors_of_outputs({}, "t"), "reports: expected at"),
    "no matrices": (lambda: plots.confusions({}, ["a"], "t"), "at least one"),
    "few words": (lambda: plots.gates(traced(), ["a"], "t"), "5 in all. Received: 1"),
    "a text": (lambda: plots.gates(traced(), "words", "t"), "one text"),
    "no gates": (
        lambda: plots.gates(network().trace(inputs(2))["dense"], None, "t"),
        "Layer 'dense'.*gates or states",
    ),
    "no such name": (
        lambda: plots.gates(traced("GRU"), None, "t", names=["f"]),
        "names among z, r, h_hat, h. Received: f",
    ),
    "no names": (lambda: plots.gates(traced(), None, "t", names=[]), "names"),
    "no such row": (lambda: plots.gates(traced(), None, "t", row=2), "0 to 1"),
    "no such unit": (
        lambda: plots.gates(traced(), None, "t", units=[4]),
        "units from 0 to 3",
    ),
    "a number of units": (
        lambda: plots.gates(traced(), None, "t", units=4),  # type: ignore[arg-type]
        "list of units",
    ),
    "moves of Dense": (
        lambda: plots.cell_moves(network().trace(inputs(2))["dense"], None, "t"),
        "gates or states",
    ),
    "no norms": (lambda: plots.gradients({}, None, "t"), "norms: expected at least"),
    "uneven norms": (
        lambda: plots.gradients({**TWO, "b": [1.0]}, None, "t"),
        "arrays of one length. Received: 1, 2",
    ),
    "negative norm": (lambda: plots.gradients({"a": [-1.0]}, None, "t"), "negative"),
    "NaN": (lambda: plots.powers({"a": [np.nan]}, "t", ylabel="y"), "finite"),
    "words, not numbers": (
        lambda: plots.powers({"a": ["x"]}, "t", ylabel="y"),  # type: ignore[dict-item]
        "array of numbers",
    ),
    "a table": (lambda: plots.powers({"a": [[1.0]]}, "t", ylabel="y"), "1 axes"),
    "no weights": (
        lambda: plots.parameter_blocks(
            nets.spec(
                nets.input_layer(None, 3, 2),
                nets.layer("Activation", "act", activation="tanh"),
            ),
            "t",
        ),
        "expected weights",
    ),
    "columns of Dense": (
        lambda: plots.gate_columns(network().spec["dense"], "t"),
        "Layer 'dense'.*gates and weights",
    ),
    "uneven results": (lambda: plots.accuracy_by([1], TWO, "x", "t"), "each x"),
    "uneven functions": (
        lambda: plots.functions([1], TWO, "t", xlabel="x", ylabel="y"), "each x",
    ),
    "no results": (lambda: plots.spread({}, "t"), "at least one"),
    "no seeds": (lambda: plots.spread({"a": []}, "t"), "results of a.*numbers"),
    "no groups": (lambda: plots.ranges({}, "t"), "at least one"),
    "no rows": (lambda: plots.ranges({"a": {}}, "t"), "rows of a.*at least one"),
    "no scores": (lambda: plots.ranges({"a": {"b": []}}, "t"), "scores of a, b"),
    "no words": (lambda: plots.importance([], [], "t", xlabel="x"), "at least one"),
    "uneven words": (
        lambda: plots.importance(["a"], [1, 2], "t", xlabel="x"),
        "each word",
    ),
    "no counts": (lambda: plots.frequencies({"a": {}}, "t"), "words of a"),
    "top 0": (lambda: plots.frequencies({"a": {"b": 1}}, "t", top=0), "1 or more"),
    "no lengths": (lambda: plots.lengths({}, "t"), "at least one"),
    "half a word": (lambda: plots.lengths({"a": [0.5]}, "t"), "numbers of words"),
    "five steps": (
        lambda: plots.unrolled(network(), inputs(5), None, "t"),
        "1 to 4 time steps.*Received: 5",
    ),
    "too few classes": (
        lambda: plots.unrolled(network(), inputs(2), None, "t", classes=["a"]),
        "classes: expected one for each unit",
    ),
    "two recurrent layers": (
        lambda: plots.unrolled(
            verify.Network(
                nets.spec(
                    nets.input_layer(None, 2, 3),
                    nets.layer("LSTM", "a", units=2, return_sequences=True),
                    nets.layer("LSTM", "b", units=2),
                    nets.layer("Dense", "c", units=2),
                )
            ),
            inputs(2), None, "t",
        ),
        "one SimpleRNN, LSTM or GRU",
    ),
    "all outputs": (
        lambda: plots.unrolled(
            network(return_sequences=True), inputs(2), None, "t"
        ),
        "its last output|last output",
    ),
    "no such row to unroll": (
        lambda: plots.unrolled(network(), inputs(2), None, "t", row=7),
        "row of the batch, 0 to 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_drawn_is_refused_in_one_line(name: str) -> None:
    make, message = BAD[name]
    with pytest.raises(DataError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_character_that_the_font_lacks_is_a_box_and_no_warning() -> None:
    figure = plots.spread({"\u65e5\u672c": [0.5, 0.6]}, "\u8868")
    assert plots.png(figure).startswith(b"\x89PNG")


def test_numbers_that_would_overflow_an_axis_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected numbers up to 1e\+100"):
        plots.spread({"a": [1e308, -1e308]}, "t")
    plots.png(plots.spread({"a": [1e100, -1e100]}, "t"))


def test_a_layer_around_others_names_those_to_take() -> None:
    spec = nets.lstm_spec()
    inside = {"forward_layer": spec["lstm"]}
    outer = dataclasses.replace(spec["dense"], sublayers=inside)
    trace = verify.LayerTrace(outer, np.ones((1, 2, 3)), None, np.ones((1, 2)))
    with pytest.raises(DataError, match="take a layer inside it: forward_layer"):
        plots.gates(trace, None, "t")
