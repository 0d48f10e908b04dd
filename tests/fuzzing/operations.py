"""Operations of ``keras.ops`` as layers of random models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuzzing.generator import Maker

ELEMENTWISE = (
    "ops.absolute({x})", "ops.add({x}, 0.3)", "ops.arctan({x})", "ops.celu({x}, 0.7)",
    "ops.clip({x}, -0.4, 0.7)", "ops.copy({x})", "ops.cos({x})", "ops.cosh({x} * 0.5)",
    "ops.elu({x}, 0.8)", "ops.exp({x} * 0.5)", "ops.expm1({x} * 0.5)",
    "ops.gelu({x})", "ops.gelu({x}, approximate=False)", "ops.hard_shrink({x}, 0.41)",
    "ops.hard_sigmoid({x})", "ops.hard_silu({x})", "ops.hard_tanh({x})",
    "ops.leaky_relu({x}, 0.1)", "ops.log(ops.absolute({x}) + 0.3)",
    "ops.log10(ops.absolute({x}) + 0.3)", "ops.log1p(ops.square({x}))",
    "ops.log2(ops.absolute({x}) + 0.3)", "ops.log_sigmoid({x})", "ops.negative({x})",
    "ops.reciprocal(ops.absolute({x}) + 0.5)", "ops.relu({x})", "ops.relu6({x} * 3)",
    "ops.rsqrt(ops.square({x}) + 0.2)", "ops.selu({x})", "ops.sigmoid({x})",
    "ops.silu({x})", "ops.sin({x})", "ops.sinh({x} * 0.5)", "ops.soft_shrink({x}, 0.2)",
    "ops.softplus({x})", "ops.softsign({x})", "ops.sparse_plus({x})",
    "ops.sparse_sigmoid({x})", "ops.sqrt(ops.square({x}) + 0.1)", "ops.square({x})",
    "ops.squareplus({x}, 3)", "ops.stop_gradient({x})", "ops.subtract(0.5, {x})",
    "ops.tan({x} * 0.3)", "ops.tanh({x})", "ops.tanh_shrink({x})",
    "ops.threshold({x}, 0.13, 0.3)", "ops.power(ops.absolute({x}) + 0.2, 1.5)",
    "{x} ** 2", "2 / (ops.absolute({x}) + 0.7)", "ops.convert_to_tensor({x})",
    "ops.erf({x})", "ops.arcsinh({x})", "ops.arccosh(ops.square({x}) + 1.1)",
    "ops.arcsin(ops.tanh({x}) * 0.9)", "ops.arccos(ops.tanh({x}) * 0.9)",
    "ops.arctanh(ops.tanh({x}) * 0.9)",
    "ops.cbrt({x} + 0.1)", "ops.deg2rad({x})", "ops.rad2deg({x})",
    "ops.exp2({x} * 0.3)", "ops.erfc({x})", "ops.sinc({x})",
    "ops.irfft(ops.rfft({x}), fft_length={x}.shape[-1])",
    "keras.activations.relu({x}, negative_slope=0.3, max_value=0.8, threshold=0.1)",
    "{x} * 0.3 + ops.ones_like({x})", "{x} - ops.zeros_like({x})",
)  # fmt: skip
"""List operations of one tensor, which keep its shape."""

STEPS = (
    "ops.ceil({x} * 1.7 + 0.33) * 0.5", "ops.floor({x} * 1.7 + 0.33) * 0.5",
    "ops.round({x} * 1.7 + 0.21)", "ops.round({x} + 0.021, 1)",
    "ops.sign({x} + 0.123)", "({x} * 1.7 + 0.33) % 0.7",
    "ops.mod({x} + 0.33, 0.9)", "({x} * 1.7 + 0.33) // 0.7",
    "ops.floor_divide({x} + 0.33, 0.3)",
    "ops.cast(ops.cast({x} * 3.3, 'int32'), {x}.dtype) / 7",
    "ops.cast({x} > 0.123, {x}.dtype)", "ops.trunc({x} * 1.7 + 0.33) * 0.5",
    "ops.cast(ops.signbit({x} + 0.123), {x}.dtype)",
)  # fmt: skip
"""Ones that jump. Not at 0, which padding is, nor at 1, where activations end."""

PAIRS = (
    "ops.add({x}, {y})", "ops.subtract({x}, {y})", "ops.multiply({x}, {y})",
    "ops.divide({x}, ops.square({y}) + 0.5)", "ops.divide_no_nan({x}, {y} * {y})",
    "ops.true_divide({x}, ops.square({y}) + 0.5)", "{x} / (ops.absolute({y}) + 0.4)",
    "ops.logaddexp({x}, {y})", "ops.hypot({x}, {y} + 0.1)", "ops.fmax({x}, {y})",
    "ops.fmin({x}, {y})", "ops.fmod({x} + 0.33, {y} * {y} + 0.7)",
    "ops.maximum({x}, {y})", "ops.minimum({x}, {y})", "ops.heaviside({x} + 0.123, {y})",
    "ops.fft(({x}, {y}))[0]",
    "ops.power(ops.absolute({x}) + 0.2, {y})", "({x} + 0.33) % ({y} * {y} + 0.7)",
)  # fmt: skip
"""List operations of two tensors of one shape."""

CONDITIONS = (
    "ops.greater({x}, {y} + 0.123)", "ops.greater_equal({x}, {y} + 0.123)",
    "ops.less({x}, 0.123)", "ops.less_equal({x} + 0.21, {y})",
    "ops.equal({x}, 0.0)", "ops.not_equal({x}, 0.0)",
    "ops.logical_and({x} > 0.123, {y} < 0.7)", "ops.logical_or({x} > 0.3, {y} > 0.21)",
    "ops.logical_xor({x} > 0.123, {y} > 0.21)", "ops.logical_not({x} > 0.123)",
    "ops.isnan({x})", "ops.isinf({x})", "ops.isfinite({x})", "ops.isneginf({x})",
    "ops.isposinf({x})",
)  # fmt: skip

ALONG = (
    "ops.cumsum({x}, axis={a})", "ops.cumprod({x}, axis={a})", "ops.flip({x}, {a})",
    "ops.softmax({x}, axis={a})", "ops.log_softmax({x}, axis={a})",
    "ops.sparsemax({x}, axis={a})", "ops.normalize({x}, axis={a}, epsilon=0.1)",
    "ops.sort({x}, axis={a})", "ops.roll({x}, 2, axis={a})", "ops.fliplr({x})",
    "{x} + ops.cast(ops.argsort({x}, axis={a}), {x}.dtype)",
)  # fmt: skip
"""Along one axis, which keep the shape."""

REDUCTIONS = (
    "ops.sum({x}, {o})", "ops.mean({x}, {o})", "ops.var({x}, {o})",
    "ops.sqrt(ops.var({x}, {o}) + 0.1)", "ops.std({x}, {o})", "ops.prod({x}, {o})",
    "ops.logsumexp({x}, {o})", "ops.max({x}, {o})", "ops.min({x}, {o})",
    "ops.norm({x}, {o})", "ops.amax({x}, {o})", "ops.amin({x}, {o})",
    "ops.median({x}, {o})", "ops.nansum({x}, {o})", "ops.nanprod({x}, {o})",
    "ops.nanmean({x}, {o})", "ops.nanvar({x}, {o})", "ops.nanstd({x}, {o})",
    "ops.nanmax({x}, {o})", "ops.nanmin({x}, {o})", "ops.ptp({x}, {o})",
    "ops.max({x}, {o}, initial=0.31)", "ops.min({x}, {o}, initial=-0.29)",
    "ops.cast(ops.any({x} > 0.31, {o}), {x}.dtype)",
    "ops.cast(ops.all({x} > -0.31, {o}), {x}.dtype)",
    "ops.cast(ops.argmax({x}, {o}), {x}.dtype) * 0.5",
    "ops.cast(ops.argmin({x}, {o}), {x}.dtype) * 0.5",
)  # fmt: skip


def operation(m: Maker, x: str) -> None:
    """Apply one operation, or two of them to each other."""
    kinds = [_elementwise] * 4 + [_pair] * 2 + [_jumping, _where, _along]
    if len(m.shapes[x]) == 2 and None not in m.shapes[x]:
        kinds += [_reduced, _reshaped, _reshaped, _product]
    m.pick(*kinds)(m, x)


def _other(m: Maker, x: str) -> str:
    same = [n for n in m.tensors(len(m.shapes[x]) + 1) if m.shapes[n] == m.shapes[x]]
    return str(m.pick(*same))


def _keep(m: Maker, text: str, x: str, *more: str, **given: int) -> None:
    names = dict(zip(("x", "y"), (x, *more), strict=False))
    m.emit(text.format(**names, **given), m.shapes[x], uses=(x, *more), like=x)


def _elementwise(m: Maker, x: str) -> None:
    _keep(m, m.pick(*ELEMENTWISE), x)


def _jumping(m: Maker, x: str) -> None:
    _keep(m, m.pick(*STEPS), x)


def _pair(m: Maker, x: str) -> None:
    _keep(m, m.pick(*PAIRS), x, _other(m, x))


def _where(m: Maker, x: str) -> None:
    condition = m.pick(*CONDITIONS)
    text = m.pick("ops.where({c}, {x}, {y})", "ops.where({c}, {x}, 0.31)",
                  "ops.where({c}, -0.17, {y})")  # fmt: skip
    _keep(m, text.replace("{c}", condition), x, _other(m, x))


def _along(m: Maker, x: str) -> None:
    _keep(m, m.pick(*ALONG), x, a=m.pick(*range(1, len(m.shapes[x]) + 1), -1))


def _reduced(m: Maker, x: str) -> None:
    time, features = m.shapes[x]
    options, shape = m.pick(
        ("axis=1", (features,)),
        ("axis=-1", (time,)),
        ("axis=1, keepdims=True", (1, features)),
        ("axis=2, keepdims=True", (time, 1)),
    )
    text = m.pick(*REDUCTIONS).format(x=x, o=options)
    m.emit(text, shape, uses=(x,))


def _reshaped(m: Maker, x: str) -> None:
    time, features = m.shapes[x]
    assert time is not None
    assert features is not None
    y = _other(m, x)
    half = time // 2
    longer = []
    if features > 1:
        longer.append(
            ("ops.extract_sequences({x}, 2, 1)[..., -1]", (time, features - 1))
        )
    if time >= 4:  # one frame, or more
        back = (
            "ops.transpose(ops.istft(ops.stft(ops.transpose({x}, (0, 2, 1)), {o}), {o})"
        )
        options = "4, 2, 4, window=None, center=False"
        longer.append((f"{back.replace('{o}', options)}, (0, 2, 1))",
                       (time - time % 2, features)))  # fmt: skip
    text, shape = m.pick(
        *longer,
        ("ops.array_split({x}, 2, axis=1)[0]", (time - half, features)),
        ("ops.diagonal({x}, 0, 1, 2)", (min(time, features),)),
        ("ops.trace({x}, 0, 1, 2)[:, None]", (1,)),
        ("{x}[..., ::-1]", (time, features)),
        ("{x}[:, -1:]", (1, features)),
        ("ops.top_k({x}, 1)[0]", (time, 1)),
        ("ops.moveaxis({x}, 1, 2)", (features, time)),
        ("ops.tril({x}, 1)", (time, features)),
        ("ops.triu({x}, -1)", (time, features)),
        ("ops.diff(ops.concatenate([{x}, {y}], axis=1), axis=1)",
         (2 * time - 1, features)),
        ("ops.hstack([{x}, {y}])", (2 * time, features)),
        ("ops.take_along_axis({x}, np.asarray([[[0], [-1]]]), axis=1)",
         (2, features)),
        ("ops.nan_to_num({x}, 0.1)", (time, features)),
        ("ops.arctan2({x}, {y} + 3.1)", (time, features)),
        ("{x} * ops.full_like({x}, 0.7)", (time, features)),
        ("ops.cast(ops.count_nonzero({x} > 0.31, axis=1), {x}.dtype) * 0.5",
         (features,)),
        ("{x}[:, 0, None]", (1, features)),
        (f"ops.reshape({{x}}, (-1, {features}, {time}))", (features, time)),
        ("ops.transpose({x}, (0, 2, 1))", (features, time)),
        ("ops.swapaxes({x}, 1, -1)", (features, time)),
        ("ops.squeeze({x}[:, :1], 1)", (features,)),
        ("ops.expand_dims({x}[:, 0], 1)", (1, features)),
        ("ops.take({x}, [0, -1, 0], axis=1)", (3, features)),
        ("ops.take({x}, -1, axis=-1)", (time,)),
        ("ops.repeat({x}, 2, axis=1)", (2 * time, features)),
        ("ops.tile({x}, (1, 1, 2))", (time, 2 * features)),
        ("ops.pad({x}, ((0, 0), (2, 1), (0, 0)))", (time + 3, features)),
        ("ops.pad({x}, ((0, 0), (0, 0), (1, 0)), constant_values=0.3)",
         (time, features + 1)),
        ("ops.pad({x}, ((0, 0), (0, 1), (0, 0)), mode='symmetric')",
         (time + 1, features)),
        ("ops.concatenate([{x}, {y}], axis=1)", (2 * time, features)),
        ("ops.concatenate([{x}, {y}], axis=-1)", (time, 2 * features)),
        ("ops.sum(ops.stack([{x}, {y}], axis=1), axis=2)", (2, features)),
        (f"ops.split({{x}}, [{half}], axis=1)[-1]", (time - half, features)),
        ("ops.unstack({x}, axis=1)[-1]", (features,)),
        ("ops.glu(ops.concatenate([{x}, {y}], axis=-1))", (time, features)),
        ("ops.average({x}, axis=1)", (features,)),
        ("ops.slice({x}, (0, 0, 0), (-1, 1, -1))", (1, features)),
        (f"ops.one_hot(ops.argmax({{x}}, axis=-1), {features + 1}, "
         "dtype={x}.dtype)", (time, features + 1)),
    )  # fmt: skip
    uses = (x, y) if "{y}" in text else (x,)
    m.emit(text.format(x=x, y=y), shape, uses=uses)


def _product(m: Maker, x: str) -> None:
    time, features = m.shapes[x]
    table = [[round(m.rng.uniform(-1, 1), 2) for _ in "ab"] for _ in range(features)]
    y = _other(m, x)
    assert time is not None
    # products of the steps with each other, and more on the diagonal: never singular
    matrices = (
        "ops.einsum('bti,bsi->bts', {x}, {x}) + ops.convert_to_tensor({e}, {x}.dtype)"
    )
    unit = [[0.7 * (i == k) for i in range(time)] for k in range(time)]
    text, shape = m.pick(
        (f"ops.det({matrices})[:, None]", (1,)),
        (f"ops.inv({matrices})", (time, time)),
        ("ops.matmul({x}, ops.transpose({y}, (0, 2, 1)))", (time, time)),
        ("ops.matmul({x}, ops.convert_to_tensor({t}, {x}.dtype))", (time, 2)),
        ("ops.dot({x}, ops.convert_to_tensor({t}, {x}.dtype))", (time, 2)),
        ("ops.einsum('bti,bsi->bts', {x}, {y})", (time, time)),
        ("ops.tensordot({x}, ops.convert_to_tensor({t}, {x}.dtype), [[2], [0]])",
         (time, 2)),
        ("ops.dot_product_attention({x}[:, :, None], {y}[:, :, None], "
         "{x}[:, :, None], is_causal=True)[:, :, 0]", (time, features)),
        ("ops.dot_product_attention({y}[..., None], {x}[..., None], {x}[..., None], "
         "scale=0.7)[..., 0]", (time, features)),
        ("ops.einsum('bti,btj->bij', {x}, {y})", (features, features)),
    )  # fmt: skip
    uses = (x, y) if "{y}" in text else (x,)
    m.emit(text.format(x=x, y=y, t=table, e=unit), shape, uses=uses)
