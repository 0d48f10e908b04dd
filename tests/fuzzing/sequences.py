"""Layers of sequences that do not loop over the steps, in random models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fuzzing.program import Line

if TYPE_CHECKING:
    from fuzzing.generator import Maker, Shape


def convolution(m: Maker, x: str) -> None:
    """A convolution or pooling over time that keeps its length, or not."""
    time, features = m.shapes[x]
    filters = m.pick(1, 2, 4)
    padding = m.pick("same", "causal", "valid")
    text, options, width = m.pick(
        ("Conv1D", {"filters": filters, "kernel_size": 3, "padding": padding,
                    "dilation_rate": m.pick(1, 2), "activation": "'relu'"},
         filters),
        ("SeparableConv1D", {"filters": filters, "kernel_size": 2,
                             "padding": "same", "depth_multiplier": 2}, filters),
        ("DepthwiseConv1D", {"kernel_size": 3, "padding": "same"}, features),
        ("Conv1DTranspose", {"filters": filters, "kernel_size": 3,
                             "padding": "same"}, filters),
        ("MaxPooling1D", {"pool_size": 2, "strides": 1, "padding": "same"},
         features),
        ("AveragePooling1D", {"pool_size": 3, "strides": 1, "padding": "same"},
         features),
    )  # fmt: skip
    shorter = options.get("padding") == "valid"
    cut = 2 * options.get("dilation_rate", 1) if shorter else 0
    if shorter and (time is None or time <= cut):
        return
    length = None if time is None else time - cut
    m.emit(f"layers.{text}({{options}})({x})", (length, width), uses=(x,),
              options=options)  # fmt: skip


def reshaping(m: Maker, x: str) -> None:
    """Cropping, padding, repeating, slicing along time."""
    time, features = m.shapes[x]
    if time is None or time < 4 or m.chance(0.1):
        return
    text, length = m.pick(
        ("layers.Cropping1D(cropping=(1, 0))({x})", time - 1),
        ("layers.ZeroPadding1D(padding=(0, 2))({x})", time + 2),
        ("layers.UpSampling1D(size=2)({x})", time * 2),
        ("{x}[:, 1:, :]", time - 1),
        ("{x}[:, ::-1]", time),
        ("ops.flip({x}, axis=1)", time),
    )
    m.emit(text.format(x=x), (length, features), uses=(x,))


def folding(m: Maker, x: str) -> None:
    """Cut a sequence into parts, fold them into the batch, and unfold their states."""
    time, features = m.shapes[x]
    if time is None or time < 4:
        return
    parts, units = m.pick(2, 3), m.pick(1, 2, 3)
    if time % parts:
        return
    kind = m.pick("SimpleRNN", "LSTM", "GRU")
    every = m.chance(0.4)
    options = {"units": units, "return_sequences": every}
    to = (-1, time, units) if every else (-1, parts, units)
    m.emit(f"ops.reshape(layers.{kind}({{options}})(ops.reshape({x}, "
           f"{(-1, time // parts, features)})), {to})",
           to[1:], uses=(x,), options=options)  # fmt: skip


def ending(m: Maker, x: str) -> None:
    """Turn a sequence into one vector."""
    time, features = m.shapes[x]
    text, shape = m.pick(
        ("layers.GlobalMaxPooling1D()({x})", (features,)),
        ("layers.GlobalAveragePooling1D()({x})", (features,)),
        ("layers.Flatten()({x})", (None if time is None else time * features,)),
        ("{x}[:, -1]", (features,)),
        ("ops.mean({x}, axis=1)", (features,)),
        ("ops.max({x}, axis=1)", (features,)),
    )
    if shape[0] is not None:
        m.emit(text.format(x=x), shape, uses=(x,))


def rare(m: Maker, x: str) -> None:
    """Add a layer that is rarer than others."""
    kinds: list[Callable[[Maker, str], None]] = [
        _unchanged, _unchanged, _normalization, _spectral, _grouped, _cells, _there,
        _softmax,
    ]  # fmt: skip
    if None not in m.shapes[x]:
        kinds += [_permute, _adaptive, _spectrogram, _normalized_over]
    m.pick(*kinds)(m, x)


def _sequence(m: Maker, x: str, text: str, shape: Shape, **options: Any) -> None:
    like = x if shape == m.shapes[x] else ""
    m.emit(f"layers.{text}({{options}})({x})", shape, uses=(x,), options=options,
           like=like)  # fmt: skip


def _unchanged(m: Maker, x: str) -> None:
    """Add a layer that predict leaves out."""
    text, options = m.pick(
        ("SpatialDropout1D", {"rate": 0.3}),
        ("AlphaDropout", {"rate": 0.2}),
        ("GaussianDropout", {"rate": 0.4}),
        ("ActivityRegularization", {"l1": 0.1, "l2": 0.2}),
        ("Dropout", {"rate": 0.2, "noise_shape": (None, 1, None)}),
    )
    _sequence(m, x, text, m.shapes[x], **options)


def _normalization(m: Maker, x: str) -> None:
    features = m.shapes[x][-1] or 1
    numbers = [round(m.rng.uniform(0.2, 2.0), 2) for _ in range(2 * features)]
    options = m.pick(
        {},
        {"axis": None},
        {"mean": numbers[0], "variance": numbers[1]},
        {"mean": numbers[:features], "variance": numbers[features:]},
    )
    if m.chance(0.3):
        options["invert"] = True
    _sequence(m, x, "Normalization", m.shapes[x], **options)


def _normalized_over(m: Maker, x: str) -> None:
    """Normalise along time, or along time and features."""
    text, options = m.pick(
        ("LayerNormalization", {"axis": m.pick(1, (1, 2), (2, 1))}),
        ("BatchNormalization", {"axis": 1, "scale": False}),
        ("UnitNormalization", {"axis": m.pick(1, (1, 2))}),
        ("RMSNormalization", {"axis": m.pick(1, (1, 2))}),
        ("GroupNormalization", {"groups": -1, "axis": 1, "center": False}),
    )
    _sequence(m, x, text, m.shapes[x], **options)


def _spectral(m: Maker, x: str) -> None:
    time, features = m.shapes[x]
    units = m.pick(1, 2, 3)
    text, width = m.pick(
        (f"Dense({units}, activation={m.activation()})", units),
        (f"Conv1D({units}, 2, padding='same')", units),
        (f"EinsumDense('abc,cd->abd', (None, {units}), bias_axes='d')", units),
        ("DepthwiseConv1D(3, padding='same')", features),
    )
    m.emit(f"layers.SpectralNormalization(layers.{text})({x})", (time, width),
           uses=(x,))  # fmt: skip


def _grouped(m: Maker, x: str) -> None:
    time, features = m.shapes[x]
    y = m.pick(*[n for n in m.tensors(3) if m.shapes[n][1] == features])
    groups = m.pick(1, 2)
    options = {
        "head_dim": m.pick(2, 3),
        "num_query_heads": groups * m.pick(1, 2, 3),
        "num_key_value_heads": groups,
    }
    for option, value in (("use_gate", True), ("use_bias", False), ("dropout", 0.2)):
        if m.chance(0.3):
            options[option] = value
    causal = ", use_causal_mask=True" if m.chance(0.3) else ""
    if causal and m.chance(0.5):
        options["sliding_window"] = 2
    m.emit(f"layers.GroupQueryAttention({{options}})({x}, {y}{causal})",
           (time, features), uses=(x, y), options=options)  # fmt: skip


def _cells(m: Maker, x: str) -> None:
    """Cells that are stacked by a layer of their own, with states in or out."""
    units = [m.pick(1, 2, 3) for _ in range(m.pick(1, 2, 3))]
    kinds = [m.pick("SimpleRNN", "LSTM", "GRU") for _ in units]
    cells = ", ".join(
        f"layers.{kind}Cell({n})" for kind, n in zip(kinds, units, strict=True)
    )
    time = m.shapes[x][0]
    sequences = m.chance(0.5)
    shape: Shape = (time, units[-1]) if sequences else (units[-1],)
    options = {"return_sequences": sequences, "go_backwards": m.chance(0.3)}
    if m.batch_size and m.chance(0.7):
        options["stateful"] = True
    m.emit(f"layers.RNN(layers.StackedRNNCells([{cells}]), {{options}})({x})", shape,
           uses=(x,), options=options)  # fmt: skip


def _there(m: Maker, x: str) -> None:
    """Vectors of ids, and logits of the vectors of another layer, by one table."""
    time = m.shapes[x][0]
    known = [n for n, kind in m.kinds.items() if kind == "ids" and n in m.inputs]
    table, width = m.name("table"), m.pick(2, 3)
    options = f"9, {width}"
    for option in ("tie_weights=False", "mask_zero=True", "logit_soft_cap=0.8"):
        options += f", {option}" if m.chance(0.4) else ""
    m.lines.append(Line((table,), f"layers.ReversibleEmbedding({options})"))
    ids = m.pick(*known) if known else m.add_input("ids", (m.time,))
    (y,) = m.emit(f"{table}({ids})", (*m.shapes[ids], width), uses=(ids, table))
    (z,) = m.emit(f"layers.GRU({width}, return_sequences=True)({x})", (time, width),
                  uses=(x,))  # fmt: skip
    for vectors in m.pick([z], [y], [y, z]):
        m.emit(f"{table}({vectors}, reverse=True)", (*m.shapes[vectors][:-1], 9),
               uses=(vectors, table))  # fmt: skip


def _softmax(m: Maker, x: str) -> None:
    """Behind an operation: it refuses the masks of padding."""
    axis = m.pick(-1, 1, [1, 2])
    m.emit(f"layers.Softmax(axis={axis})({x} * 1.5)", m.shapes[x], uses=(x,), like=x)


def _permute(m: Maker, x: str) -> None:
    time, features = m.shapes[x]
    _sequence(m, x, "Permute", (features, time), dims=(2, 1))


def _adaptive(m: Maker, x: str) -> None:
    size = m.pick(1, 2, 3, 4)
    name = m.pick("AdaptiveMaxPooling1D", "AdaptiveAveragePooling1D")
    _sequence(m, x, name, (size, m.shapes[x][1]), output_size=size)


def _spectrogram(m: Maker, x: str) -> None:
    time, features = m.shapes[x]
    if time is None or features is None or time < 3:
        return
    length, step, size = m.pick(2, 3), m.pick(1, 2), m.pick(4, 8)
    options = {
        "mode": m.pick("log", "magnitude", "psd", "real", "imag", "stft"),
        "frame_length": length,
        "frame_step": step,
        "fft_length": size,
        "padding": m.pick("valid", "same"),
        "window": m.pick("hann", "hamming", None),
        "scaling": m.pick("density", "spectrum", None),
        "periodic": m.chance(0.5),
    }
    frames = (time - length) // step + 1
    frames = -(-time // step) if options["padding"] == "same" else frames
    parts = (size // 2 + 1) * (2 if options["mode"] == "stft" else 1)
    _sequence(m, x, "STFTSpectrogram", (frames, parts * features), **options)
