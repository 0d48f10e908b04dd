"""Random models: sequential stacks and graphs of the layers that the verifier reads."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from fuzzing.categories import categories, discretization
from fuzzing.operations import operation
from fuzzing.program import OWN_DTYPE, Line, Program
from fuzzing.sequences import convolution, ending, folding, rare, reshaping

RECURRENT = ("SimpleRNN", "LSTM", "GRU")
ACTIVATIONS = (
    "tanh", "sigmoid", "relu", "hard_sigmoid", "softsign", "elu", "selu", "softplus",
    "silu", "leaky_relu", "softmax", "hard_tanh", "mish", "linear", "relu6",
)  # fmt: skip
STATES = {"SimpleRNN": 1, "LSTM": 2, "GRU": 1}
POLICIES = ("float64",) * 6 + ("float32",) * 4 + (
    "float16", "mixed_float16", "mixed_bfloat16",
)  # fmt: skip
Shape = tuple[int | None, ...]


class Maker:
    """One random model in the making.

    Parameters
    ----------
    key : str
        The seed: one key, one model.

    Attributes
    ----------
    policy : str
        The dtype policy of the model.
    """

    def __init__(self, key: str) -> None:
        self.rng = random.Random(key)
        self.policy = self.pick(*POLICIES)
        self.lines: list[Line] = []
        self.shapes: dict[str, Shape] = {}
        self.kinds: dict[str, str] = {}
        self.inputs: dict[str, tuple[str, Shape]] = {}
        self.used: set[str] = set()
        self.count = 0
        self.batch_size: int | None = None
        self.refused = ""
        self.forced: list[str] = []
        self.time: int | None = 6

    def chance(self, share: float) -> bool:
        """True in this share of the cases."""
        return self.rng.random() < share

    def pick(self, *values: Any) -> Any:
        """One of the values."""
        return self.rng.choice(values)

    def name(self, prefix: str = "x") -> str:
        """A new variable."""
        self.count += 1
        return f"{prefix}{self.count}"

    def emit(
        self,
        template: str,
        *shapes: Shape,
        uses: tuple[str, ...],
        options: dict[str, Any] | None = None,
        like: str = "",
    ) -> list[str]:
        """Add a line; its options are given as values. Returns its targets."""
        targets = tuple(self.name() for _ in shapes)
        source = {
            k: v if k in ("activation", "dtype") else repr(v)
            for k, v in (options or {}).items()
        }
        self.lines.append(Line(targets, template, source, uses, like))
        self.used |= set(uses)
        for target, shape in zip(targets, shapes, strict=True):
            self.shapes[target] = shape
            self.kinds[target] = "floats"
        return list(targets)

    def add_input(self, kind: str, shape: Shape) -> str:
        """An Input of ids, floats, a mask, words, numbers or texts."""
        name = self.name("input")
        dtypes = {"mask": "bool", "numbers": "int64", "words": "string",
                  "texts": "string"}  # fmt: skip
        dtype = self.pick("int32", "float32") if kind == "ids" else dtypes.get(kind)
        options: dict[str, Any] = {"shape": shape}
        if self.batch_size:
            options = {"batch_shape": (self.batch_size, *shape)}
        source = {k: repr(v) for k, v in options.items()}
        if dtype:
            source["dtype"] = repr(dtype)
        self.lines.append(Line((name,), "keras.Input({options})", source))
        self.inputs[name] = (kind, shape)
        self.shapes[name] = shape
        self.kinds[name] = kind
        return name

    def tensors(self, rank: int) -> list[str]:
        """Float tensors of so many axes, the batch counted."""
        return [
            name
            for name, shape in self.shapes.items()
            if len(shape) == rank - 1 and self.kinds[name] == "floats"
        ]

    def activation(self) -> str:
        """Source of an activation."""
        if self.chance(0.1):
            return self.pick(
                "layers.LeakyReLU(negative_slope=0.1)",
                "layers.ELU(alpha=0.7)",
                "layers.ReLU(max_value=1.3, negative_slope=0.2, threshold=0.1)",
            )
        return repr(self.pick(*ACTIVATIONS))

    # -- layers of a sequence ------------------------------------------------------

    def loop_options(self, kind: str, units: int, time: int | None) -> dict[str, Any]:
        """Options of a recurrent layer over so many steps."""
        options: dict[str, Any] = {"units": units}
        if self.chance(0.4):
            options["activation"] = self.activation()
        if kind != "SimpleRNN" and self.chance(0.4):
            options["recurrent_activation"] = self.pick("hard_sigmoid", "tanh", "relu6")
        if kind == "GRU" and self.chance(0.4):
            options["reset_after"] = False
        for option, share in (
            ("use_bias", 0.2),
            ("go_backwards", 0.25),
            ("unroll", 0.2),
            ("zero_output_for_mask", 0.2),
        ):
            if self.chance(share):
                options[option] = option != "use_bias"
        if time is None:
            options.pop("unroll", None)
        if self.chance(0.1):
            options["dropout"] = 0.3
        if self.batch_size and self.chance(0.7):
            options["stateful"] = True
        return options

    def recurrent(self, x: str) -> None:
        """SimpleRNN, LSTM or GRU, with states in or out and masks in sight."""
        kind = self.pick(*RECURRENT)
        units = self.pick(1, 2, 3, 4, 5)
        time = self.shapes[x][0]
        options = self.loop_options(kind, units, time)
        options["return_sequences"] = sequences = self.chance(0.6)
        shapes: list[Shape] = [(time, units) if sequences else (units,)]
        call, uses = f"({x}", [x]
        if self.chance(0.25):
            options["return_state"] = True
            shapes += [(units,)] * STATES[kind]
        same = [n for n in self.tensors(2) if self.shapes[n] == (units,)]
        if same and self.chance(0.5):
            states = [self.pick(*same) for _ in range(STATES[kind])]
            call += f", initial_state=[{', '.join(states)}]"
            uses += states
        masks = [
            n
            for n in self.inputs
            if self.kinds[n] == "mask" and self.shapes[n] == (time,)
        ]
        if masks and self.chance(0.5):
            call += f", mask={masks[0]}"
            uses.append(masks[0])
        if self.chance(0.2):
            call += ", training=False"
        self.emit(
            f"layers.{kind}({{options}}){call})",
            *shapes,
            uses=tuple(uses),
            options=options,
        )

    def rnn(self, x: str) -> None:
        """RNN around one cell or several."""
        cells, units = [], 0
        for _ in range(self.pick(1, 1, 2, 3)):
            kind, units = self.pick(*RECURRENT), self.pick(1, 2, 3, 4)
            after = ", reset_after=False" if kind == "GRU" and self.chance(0.4) else ""
            cells.append(
                f"layers.{kind}Cell({units}, activation={self.activation()}{after})"
            )
        inner = cells[0] if len(cells) == 1 else f"[{', '.join(cells)}]"
        options = self.loop_options("SimpleRNN", units, self.shapes[x][0])
        for option in ("units", "activation", "use_bias", "dropout"):
            options.pop(option, None)
        options["return_sequences"] = sequences = self.chance(0.5)
        time = self.shapes[x][0]
        self.emit(
            f"layers.RNN({inner}, {{options}})({x})",
            (time, units) if sequences else (units,),
            uses=(x,),
            options=options,
        )

    def bidirectional(self, x: str) -> None:
        """Bidirectional of one type or two."""
        kind, units = self.pick(*RECURRENT), self.pick(1, 2, 3, 4)
        options = self.loop_options(kind, units, self.shapes[x][0])
        options.pop("go_backwards", None)
        sequences = options["return_sequences"] = self.chance(0.6)
        given = {k: v if k == "activation" else repr(v) for k, v in options.items()}
        source = ", ".join(f"{k}={v}" for k, v in given.items())
        mode = self.pick("concat", "sum", "mul", "ave", None)
        other = ""
        if self.chance(0.3):
            kind2 = self.pick(*RECURRENT)
            shared = ("units", "return_sequences", "stateful", "unroll")
            second = ", ".join(f"{k}={v}" for k, v in given.items() if k in shared)
            other = f", backward_layer=layers.{kind2}({second}, go_backwards=True)"
        time = self.shapes[x][0]
        width = 2 * units if mode == "concat" else units
        shape: Shape = (time, width) if sequences else (width,)
        shapes = [shape, shape] if mode is None else [shape]
        call, uses = f"({x}", [x]
        if not other and not options.get("stateful"):
            count = 2 * STATES[kind]
            if self.chance(0.3):
                source += ", return_state=True"
                shapes += [(units,)] * count
            same = [n for n in self.tensors(2) if self.shapes[n] == (units,)]
            if same and self.chance(0.5):
                states = [self.pick(*same) for _ in range(count)]
                call += f", initial_state=[{', '.join(states)}]"
                uses += states
        self.emit(
            f"layers.Bidirectional(layers.{kind}({source}){other}, {{options}}){call})",
            *shapes,
            uses=tuple(uses),
            options={"merge_mode": mode},
        )

    def conv_lstm(self, x: str) -> None:
        """A ConvLSTM of one, two or three dimensions over the features as pixels."""
        time = self.shapes[x][0]
        if time is None:
            return
        rank, filters, same = self.pick(1, 2, 3), self.pick(1, 2, 3), self.chance(0.5)
        side = self.pick(2, 3) if rank < 3 else 2
        (wide,) = self.emit(f"layers.Dense({side**rank})({x})", (time, side**rank),
                            uses=(x,))  # fmt: skip
        image = (side,) * rank
        (pixels,) = self.emit(f"layers.Reshape({(time, *image, 1)})({wide})",
                              (time, *image, 1), uses=(wide,))  # fmt: skip
        options = {
            "filters": filters,
            "kernel_size": self.pick(2, (1, 2, 2)[:rank]),
            "padding": "same" if same else "valid",
            "return_sequences": True,
            "go_backwards": self.chance(0.3),
            "zero_output_for_mask": self.chance(0.3),
        }
        if self.chance(0.3):
            options["recurrent_activation"] = "hard_sigmoid"
        if same and self.chance(0.3):
            options["dilation_rate"] = 2
        kernel = options["kernel_size"]
        kernel = (kernel,) * rank if isinstance(kernel, int) else kernel
        size = filters
        for width in kernel:
            size *= side if same else side - width + 1
        call, uses = f"({pixels}", [pixels]
        masks = [n for n in self.inputs
                 if self.kinds[n] == "mask" and self.shapes[n] == (time,)]  # fmt: skip
        if masks and self.chance(0.7):
            call += f", mask={masks[0]}"
            uses.append(masks[0])
        (y,) = self.emit(f"layers.ConvLSTM{rank}D({{options}}){call})",
                         (time, *image, filters), uses=tuple(uses),
                         options=options)  # fmt: skip
        self.emit(f"layers.TimeDistributed(layers.Flatten())({y})", (time, size),
                  uses=(y,))  # fmt: skip

    def keeping(self, x: str) -> None:
        """A layer whose output has the shape of its input."""
        features = self.shapes[x][-1]
        text, options = self.pick(
            ("layers.Dropout({options})", {"rate": 0.3}),
            ("layers.LayerNormalization({options})", {}),
            ("layers.BatchNormalization({options})", {"epsilon": 0.01}),
            ("layers.UnitNormalization({options})", {}),
            ("layers.RMSNormalization({options})", {}),
            ("keras.src.applications.convnext.LayerScale({options})",
             {"init_values": 0.1, "projection_dim": features}),
            ("layers.GroupNormalization({options})", {"groups": features}),
            ("layers.Activation({options})", {"activation": self.activation()}),
            ("layers.LeakyReLU({options})", {"negative_slope": 0.2}),
            ("layers.PReLU({options})", {"shared_axes": [1]}),
            ("layers.Rescaling({options})", {"scale": 0.5, "offset": 0.1}),
            ("keras.src.applications.convnext.StochasticDepth({options})",
             {"drop_path_rate": 0.5}),
            ("layers.Identity({options})", {}),
            ("layers.GaussianNoise({options})", {"stddev": 0.1}),
            ("layers.Masking({options})", {"mask_value": 0.0}),
            ("layers.Softmax({options})", {"axis": -1}),
            ("ops.tanh", {}), ("0.5 * ", {}), ("ops.abs", {}), ("-", {}),
            ("ops.sigmoid", {}), ("1.0 - ", {}),
        )  # fmt: skip
        if ("PReLU" in text or "Masking" in text) and len(self.shapes[x]) < 2:
            return
        if "Softmax" in text and len(self.shapes[x]) > 1:
            return  # it refuses the masks that may reach it
        self.emit(f"{text}({x})", self.shapes[x], uses=(x,), options=options, like=x)

    def dense(self, x: str) -> None:
        """Dense, or a TimeDistributed or EinsumDense one."""
        units = self.pick(1, 2, 3, 4)
        shape = (*self.shapes[x][:-1], units)
        options = {"units": units, "use_bias": self.chance(0.8)}
        if self.chance(0.6):
            options["activation"] = self.activation()
        if self.chance(0.1):
            options["dtype"] = OWN_DTYPE
        if self.chance(0.1):
            options["lora_rank"] = 2
        text = "layers.Dense({options})"
        if len(shape) > 1 and self.chance(0.3):
            text = "layers.TimeDistributed(layers.Dense({options}))"
            options.pop("dtype", None)  # it calls the inner layer without a cast
        elif len(shape) > 1 and self.chance(0.2):
            options = {"output_shape": (None, units), "bias_axes": "d"}
            text = "layers.EinsumDense('abc,cd->abd', {options})"
        self.emit(f"{text}({x})", shape, uses=(x,), options=options)

    def merging(self, x: str) -> None:
        """Two tensors of one shape into one, by a layer or an operator."""
        same = [n for n in self.tensors(len(self.shapes[x]) + 1)
                if self.shapes[n] == self.shapes[x]]  # fmt: skip
        other = self.pick(*same)
        shape = self.shapes[x]
        wide = (*shape[:-1], 2 * (shape[-1] or 1))
        text, result = self.pick(
            ("layers.Add()([{x}, {y}])", shape),
            ("layers.Subtract()([{x}, {y}])", shape),
            ("layers.Multiply()([{x}, {y}])", shape),
            ("layers.Average()([{x}, {y}])", shape),
            ("layers.Maximum()([{x}, {y}])", shape),
            ("layers.Minimum()([{x}, {y}])", shape),
            ("layers.Concatenate()([{x}, {y}])", wide),
            (
                "keras.src.applications.inception_resnet_v2.CustomScaleLayer(0.17)"
                "([{x}, {y}])",
                shape,
            ),
            ("{x} + {y}", shape),
            ("{x} * {y}", shape),
            ("ops.maximum({x}, {y})", shape),
        )
        self.emit(text.format(x=x, y=other), result, uses=(x, other),
                  like=x if result == shape else "")  # fmt: skip

    def dot(self, x: str) -> None:
        """Dot of two tensors of one shape, along the features or along time."""
        same = [n for n in self.tensors(len(self.shapes[x]) + 1)
                if self.shapes[n] == self.shapes[x]]  # fmt: skip
        other, sizes = self.pick(*same), self.shapes[x]
        axis = self.pick(*range(1, len(sizes) + 1))
        kept = sizes[2 - axis] if len(sizes) == 2 else None
        if len(sizes) == 2 and kept is None:
            return  # a square of unknown size
        self.emit(f"layers.Dot({{options}})([{x}, {other}])",
                  (1,) if len(sizes) == 1 else (kept, kept), uses=(x, other),
                  options={"axes": axis, "normalize": self.chance(0.4)})  # fmt: skip

    def attention(self, x: str) -> None:
        """One of the attention layers on two sequences."""
        time, features = self.shapes[x]
        same = [n for n in self.tensors(3) if self.shapes[n][1] == features]
        y = self.pick(*same)
        causal = ", use_causal_mask=True" if self.chance(0.3) else ""
        text, width = self.pick(
            (f"layers.Attention()([{x}, {y}]{causal})", features),
            (f"layers.Attention(use_scale=True, score_mode='concat')([{x}, {y}])",
             features),
            (f"layers.AdditiveAttention()([{x}, {y}])", features),
            (f"layers.MultiHeadAttention(2, 3)({x}, {y}{causal})", features),
        )  # fmt: skip
        self.emit(text, (time, width), uses=(x, y))

    def shared(self, x: str) -> None:
        """One layer called on two tensors."""
        same = [n for n in self.tensors(3) if self.shapes[n] == self.shapes[x]]
        y, units = self.pick(*same), self.pick(2, 3)
        kind = self.pick("LSTM({u}, return_sequences=True)", "GRU({u})", "Dense({u})",
                         "Bidirectional(layers.GRU({u}))")  # fmt: skip
        layer = self.name("shared")
        text = f"layers.{kind.format(u=units)}"
        self.lines.append(Line((layer,), text))
        width = 2 * units if "Bi" in kind else units
        time = self.shapes[x][0]
        shape = (
            (width,)
            if "sequences" not in kind and "Dense" not in kind
            else (time, width)
        )
        for tensor in dict.fromkeys([x, y]):
            self.emit(f"{layer}({tensor})", shape, uses=(tensor, layer))

    def nested(self, x: str) -> None:
        """A model called once or twice."""
        time, features = self.shapes[x]
        units = self.pick(2, 3)
        model = self.name("nested")
        shape = repr((time, features))
        inner = self.pick(
            f"keras.Sequential([keras.Input({shape}), layers.LSTM({units}, "
            f"return_sequences=True), layers.Dense({units})])",
            f"keras.Sequential([keras.Input({shape}), layers.Masking(), "
            f"layers.Bidirectional(layers.GRU({units}, return_sequences=True), "
            "merge_mode='sum')])",
            f"(lambda i: keras.Model(i, layers.GRU({units}, return_sequences=True)(i)"
            f" + layers.Dense({units})(i)))(keras.Input({shape}))",
            # a model in a model in a model, the innermost called twice
            f"(lambda i, m: keras.Model(i, m(i) + layers.Dense({units})(m(i))))("
            f"keras.Input({shape}), keras.Sequential([keras.Input({shape}), "
            f"keras.Sequential([keras.Input({shape}), layers.Masking(), "
            f"layers.GRU({units}, return_sequences=True)])]))",
        )  # fmt: skip
        self.lines.append(Line((model,), inner))
        same = [n for n in self.tensors(3) if self.shapes[n] == self.shapes[x]]
        for tensor in dict.fromkeys([x, *self.rng.sample(same, 1)]):
            self.emit(f"{model}({tensor})", (time, units), uses=(tensor, model))

    def pair(self, x: str) -> None:
        """A model of two inputs, given what an encoder returns for two sequences.

        In a mixed policy it casts them, and their masks end there.
        """
        time, features = self.shapes[x]
        same = [n for n in self.tensors(3) if self.shapes[n] == self.shapes[x]]
        y, units, width = self.pick(*same), self.pick(2, 3), self.pick(2, 3)
        encoder, head = self.name("encoder"), self.name("head")
        self.lines.append(Line((encoder,), (
            f"keras.Sequential([keras.Input({(time, features)}), layers.Masking(), "
            f"layers.LSTM({width}, return_sequences=True)])"
        )))  # fmt: skip
        takes, gives = self.pick(
            ("[a, b]", "[{0}, {1}]"),
            ("{'b': b, 'a': a}", "{{'a': {0}, 'b': {1}}}"),
            ("(a, b)", "({0}, {1})"),
        )
        inputs = f"keras.Input({(time, width)})"
        outputs = self.pick(
            f"layers.GRU({units})(a) + layers.LSTM({units})(b)",
            f"layers.GRU({units})(layers.Add()([a, b]))",
            f"layers.GRU({units})(layers.Concatenate()([b, a]))",
        )
        self.lines.append(Line((head,), (
            f"(lambda a, b: keras.Model({takes}, {outputs}))({inputs}, {inputs})"
        )))  # fmt: skip
        given = gives.format(f"{encoder}({x})", f"{encoder}({y})")
        self.emit(f"{head}({given})", (units,), uses=(x, y, encoder, head))

    def vector(self, x: str) -> None:
        """Turn one vector into a sequence."""
        steps = self.pick(3, 4)
        self.emit(f"layers.RepeatVector({steps})({x})", (steps, self.shapes[x][0]),
                  uses=(x,))  # fmt: skip

    def model_on_steps(self, x: str) -> None:
        """A whole model on every step of a sequence of sequences."""
        time, features = self.shapes[x]
        if time is None or features is None:
            return
        units = self.pick(2, 3)
        (deep,) = self.emit(f"layers.Reshape({(time, features, 1)})({x})",
                            (time, features, 1), uses=(x,))  # fmt: skip
        inner = self.pick(
            f"keras.Sequential([keras.Input({(features, 1)}), layers.Masking(), "
            f"layers.LSTM({units})])",
            f"(lambda i: keras.Model(i, layers.GRU({units})(layers.Dense(2)(i))))("
            f"keras.Input({(features, 1)}))",
            f"layers.GRU({units})",
        )
        self.emit(f"layers.TimeDistributed({inner})({deep})", (time, units),
                  uses=(deep,))  # fmt: skip

    def unsupported(self, x: str) -> None:
        """Something that has to be refused by name."""
        units = self.pick(2, 3)
        text, self.refused = self.pick(
            (f"layers.Lambda(lambda t: t * 2, output_shape=None)({x})", "Lambda"),
            (
                "type('Own', (layers.Dense,), {'call': lambda self, x, training=None: "
                f"2 * layers.Dense.call(self, x)}})({units})({x})",
                "custom class",
            ),
            (f"layers.Dense({units}, activation=lambda t: t)({x})", "own activation"),
        )
        width = (
            self.shapes[x][-1] if "Dense" not in text and "Own" not in text else units
        )
        self.forced += self.emit(text, (*self.shapes[x][:-1], width), uses=(x,))


def program(key: str) -> Program:
    """The random model of a key."""
    from fuzzing.images import video  # which needs the maker above
    from fuzzing.pictures import picture
    from fuzzing.pixels import images

    m = Maker(key)
    quantized = m.chance(0.06)
    m.time = m.pick(1, 3, 6, 6, 6, 6, None)
    if m.chance(0.12):
        m.batch_size = 3
    sequential = m.chance(0.25)
    _begin(m, sequential)
    three: list[Callable[[str], None]] = [
        m.recurrent, m.recurrent, m.recurrent, m.rnn, m.bidirectional, m.bidirectional,
        m.keeping, m.keeping, m.dense,
        *(partial(f, m) for f in (convolution, reshaping, ending, rare)),
    ]  # fmt: skip
    graph = [
        m.merging, m.merging, m.attention, m.shared, m.nested, m.pair, m.conv_lstm,
        m.dot, m.model_on_steps, partial(video, m), partial(images, m),
        partial(rare, m),
        *[partial(operation, m)] * 4, partial(discretization, m), partial(folding, m),
    ]  # fmt: skip
    of_vectors = [
        m.keeping, m.dense, m.merging, m.vector, m.dot, partial(discretization, m),
        *[partial(picture, m)] * 4, *[partial(operation, m)] * 2,
    ]  # fmt: skip
    for _ in range(m.rng.randint(2, 7)):
        sequences, vectors = m.tensors(3), m.tensors(2)
        if sequential:
            x = list(m.shapes)[-1]
            step = three if len(m.shapes[x]) == 2 else [m.keeping, m.dense]
        elif sequences and (not vectors or m.chance(0.75)):
            x, step = m.rng.choice(sequences), three + graph
        else:
            x, step = m.rng.choice(vectors), of_vectors
        if not sequential and m.chance(0.02):
            step = [m.unsupported]
        m.rng.choice(step)(x)
    made = _finished(m, sequential)
    if not quantized or made.refused:
        return made
    unsaid = [
        name
        for name in ("MultiHeadAttention", "GroupQueryAttention")
        if any(name in line.template for line in made.lines)
    ]
    unsaid += ["layers with LoRA"] * any(
        "lora_rank" in line.options
        # Keras leaves a layer alone that has another inside, as its activation
        and not line.options.get("activation", "").startswith("layers.")
        for line in made.lines
    )
    refused = f"int8 in {unsaid[0]}" if unsaid else ""
    return replace(made, quantized=True, refused=refused)


def _begin(m: Maker, sequential: bool) -> None:
    """Inputs, and embeddings of those that are ids."""
    for _ in range(1 if sequential else m.pick(1, 1, 2, 3)):
        if m.chance(0.2):
            categories(m)
        elif m.chance(0.5):
            ids = m.add_input("ids", (m.time,))
            width = m.pick(2, 3, 4)
            m.emit(f"layers.Embedding({{options}})({ids})", (m.time, width),
                   uses=(ids,), options={"input_dim": 9, "output_dim": width,
                            "mask_zero": m.chance(0.7)})  # fmt: skip
        else:
            x = m.add_input("floats", (m.time, m.pick(2, 3, 4)))
            if m.chance(0.5):
                m.emit(
                    f"layers.Masking({{options}})({x})", m.shapes[x], uses=(x,), like=x
                )
    if not sequential and m.chance(0.2):
        m.add_input("mask", (m.time,))
    if not sequential and m.chance(0.2):
        m.add_input("floats", (m.pick(2, 3, 4),))


def _finished(m: Maker, sequential: bool) -> Program:
    """Every tensor that nothing reads is an output, up to three."""
    if all(name in m.inputs for name in m.shapes):
        m.dense(next(n for n in m.shapes if m.kinds[n] == "floats"))
    floats = [n for n in m.shapes if n not in m.inputs]
    if sequential:
        chain = m.lines
        straight = all(
            len(line.targets) == 1 and line.uses == chain[k].targets
            for k, line in enumerate(chain[1:])
        )
        plain = all(
            line.template.endswith(f")({line.uses[0]})")
            and line.template.startswith("layers.")
            for line in chain[1:]
            if line.uses
        )
        sequential = straight and plain
    loose = [n for n in floats if n not in m.used][-3:] or floats[-1:]
    outputs = tuple(dict.fromkeys([*m.forced, *loose]))
    made = Program(
        policy=m.policy,
        lines=tuple(m.lines),
        inputs=tuple(m.inputs),
        outputs=outputs,
        shapes=m.inputs,
        batch_size=m.batch_size,
        sequential=sequential,
        refused=m.refused,
    )
    return made if sequential else made.tidied()
