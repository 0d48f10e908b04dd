"""Evaluate IntegerLookup, StringLookup and TextVectorization, which have vocabularies.

The ids of a vocabulary begin behind those of special tokens: id 0 for the mask token,
where there is one and the output mode is ``int``, and one id or several for tokens that
are not in the vocabulary. Keras computes these layers by TensorFlow on every backend.

A vocabulary is read from the config, from ``assets`` in a ``.keras`` file or from a
live layer; the weights of tf_idf likewise. Here both are options.

Source: keras/src/layers/preprocessing/index_lookup.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

import numpy as np

from verify.errors import DataError, ModelFileError, UnsupportedError, printable
from verify.forward.hashing import farm_hash, sip_hash
from verify.forward.layers.base import (
    LayerType,
    Option,
    Run,
    Unexpected,
    boolean,
    integer,
    non_negative_integer,
    number,
    one_of,
    only,
    optional,
    positive,
)
from verify.forward.layers.categories import (
    SPARSE,
    encoded,
    encoding_notes,
    output_modes,
)
from verify.forward.texts import (
    SPLIT,
    STANDARDIZE,
    as_bytes,
    filled,
    joined_ngrams,
    split,
    standardized,
)
from verify.model.arrays import Array
from verify.model.backends import TENSORFLOW, Limit
from verify.model.dtypes import is_float, working
from verify.model.spec import LayerSpec

MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")
Token = bytes | int


def text(value: Any) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise Unexpected("a text")
    return value


def key(value: Any) -> tuple[int, int]:
    """Read the salt of a hash: two whole numbers, or one that stands for both."""
    items = value if isinstance(value, (list, tuple)) else [value, value]
    if len(items) != 2:
        raise Unexpected("a whole number, or two")
    return integer(items[0]), integer(items[1])


def listed(kind: type) -> Any:
    """Return a parser for a vocabulary: a list of texts, or of whole numbers."""

    def parse(value: Any) -> tuple[Any, ...]:
        known = isinstance(value, (list, tuple)) and all(
            isinstance(item, kind) and not isinstance(item, bool) for item in value
        )
        if not known:
            what = "texts" if kind is str else "whole numbers"
            raise Unexpected(f"a list of {what}")
        return tuple(value)

    return parse


def _floats(value: Any) -> tuple[float, ...]:
    if not isinstance(value, (list, tuple)):
        raise Unexpected("a list of numbers")
    return tuple(number(item) for item in value)


def vocabulary_options(kind: type) -> dict[str, Option]:
    """Return the options of every layer with a vocabulary of texts or of numbers."""
    return {
        "max_tokens": Option(optional(positive), None),
        "vocabulary": Option(optional(listed(kind)), None),
        "idf_weights": Option(optional(_floats), None),
        "output_mode": output_modes(*MODES, default="int"),
        "pad_to_max_tokens": Option(boolean, False),
        "sparse": SPARSE,
    }


class Vocabulary(LayerType):
    """Describe a layer that looks tokens up in a vocabulary."""

    autocast = False
    casts_outputs = False
    inert = frozenset({"vocabulary_size", "has_input_vocabulary"})
    shown_by_vocabulary: ClassVar[frozenset[str]] = frozenset({"vocabulary"})

    def special(self, options: Mapping[str, Any]) -> tuple[list[Any], int]:
        """Return the special tokens, and how many ids unknown tokens have."""
        mask, unknown = options["mask_token"], options["num_oov_indices"]
        masked = mask is not None and options["output_mode"] == "int"
        return [mask] * masked + [options["oov_token"]] * unknown, unknown

    def used_arrays(self, arrays: list[Array]) -> list[Array]:
        return []  # what adapt has counted, in files of Keras 2

    def with_vocabulary(
        self, layer: LayerSpec, found: Sequence[Any] | None, idf: Array | None
    ) -> LayerSpec:
        """Return a layer with its vocabulary and the weights of tf_idf as options.

        Parameters
        ----------
        layer : LayerSpec
            Its options may hold both already, as a config does.
        found : sequence, optional
            The vocabulary in the assets of a file, or that of a live layer, with its
            special tokens.
        idf : (ids,), optional
            The weights in the file or the layer, for the special tokens too.

        Raises
        ------
        UnsupportedError
            There is no vocabulary.
        ModelFileError
            Tokens are repeated, or there are not as many weights as ids.
        """
        options = layer.options
        given = options["vocabulary"] is not None
        tokens = list(options["vocabulary"] if given else self._typed(layer, found))
        if not tokens:
            raise UnsupportedError(
                f"{layer}: it has no vocabulary, in the config or in the assets of a "
                ".keras file. Call adapt or set_vocabulary, and save it as .keras"
            )
        special, _ = self.special(options)
        whole = tokens[: len(special)] == special
        tokens = tokens[len(special) :] if whole else tokens
        self._check_tokens(layer, tokens)
        size = len(special) + len(tokens)
        weights = None
        if options["output_mode"] == "tf_idf":
            if given and options["idf_weights"] is not None:
                known = np.asarray(options["idf_weights"], dtype=np.float64)
                if not whole:
                    known = np.pad(
                        known, (len(special), 0), constant_values=np.average(known)
                    )
            elif idf is not None:
                known = idf.astype(np.float64)
            else:
                raise UnsupportedError(f"{layer}: it has no idf_weights for tf_idf")
            if len(known) < size:
                raise ModelFileError(
                    f"{layer}: expected idf_weights for {size} ids. "
                    f"Received: {len(known)}"
                )
            weights = tuple(known[:size].tolist())
        return layer.with_options(vocabulary=tuple(tokens), idf_weights=weights)

    def _typed(self, layer: LayerSpec, found: Sequence[Any] | None) -> list[Any]:
        """Return tokens that were found outside the config."""
        return list(found or ())

    def _check_tokens(self, layer: LayerSpec, tokens: Sequence[Any]) -> None:
        seen: set[Any] = set()
        for token in tokens:
            if token in seen or token == layer.options["mask_token"]:
                raise ModelFileError(
                    f"{layer}: expected a vocabulary without repeated tokens, and "
                    f"special ones at its start alone. Received: "
                    f"{printable(token, 40)!r} again; Keras cannot load it either"
                )
            seen.add(token)

    def config_of(self, layer: LayerSpec) -> dict[str, Any]:
        """Return the vocabulary as a config of Keras holds it."""
        special, _ = self.special(layer.options)
        idf = layer.options["idf_weights"]
        return {
            "vocabulary": [*special, *layer.options["vocabulary"]],
            "idf_weights": None if idf is None else list(idf),
        }

    def depth(self, layer: LayerSpec) -> int:
        """Return how many numbers a token is encoded as."""
        if layer.options["pad_to_max_tokens"] and layer.options["max_tokens"]:
            return int(layer.options["max_tokens"])
        special, _ = self.special(layer.options)
        return len(special) + len(layer.options["vocabulary"])

    def notes(self, layer: LayerSpec) -> list[str]:
        special, unknown = self.special(layer.options)
        mask = layer.options["mask_token"]
        lines = [
            f"{len(layer.options['vocabulary']):,} tokens, ids from {len(special)} on; "
            + _unknown_note(len(special) - unknown, unknown)
        ]
        if mask is not None:
            zero = "has id 0" if len(special) > unknown else "counts nowhere"
            lines.append(f"the mask token {mask!r} {zero}")
        if layer.options["output_mode"] == "tf_idf":
            return [*lines, "y counts each id along axis 1, times its idf weight"]
        return lines + encoding_notes(layer)

    def looked_up(
        self, layer: LayerSpec, tokens: Sequence[Token], shape: tuple[int, ...]
    ) -> Array:
        """Return the ids of tokens; -1 for the mask token in other modes than int."""
        masked = layer.options["mask_token"]
        mask: Any = masked.encode() if isinstance(masked, str) else masked
        table = ids_of(layer.options["vocabulary"], len(self.special(layer.options)[0]))
        zero = 0 if layer.options["output_mode"] == "int" else -1
        unknown = layer.overrides.get("unknown", self.unknown)
        return np.fromiter(
            (
                zero
                if mask is not None and token == mask
                else found
                if (found := table.get(token)) is not None
                else unknown(layer, token)
                for token in tokens
            ),
            dtype=np.int64,
            count=len(tokens),
        ).reshape(shape)

    def unknown(self, layer: LayerSpec, token: Token) -> int:
        """Return the id of a token that is not in the vocabulary.

        Raises
        ------
        DataError
            Such tokens have none.
        """
        special, count = self.special(layer.options)
        first = len(special) - count
        if count == 1:
            return first
        if not count:
            shown = (
                token.decode(errors="replace") if isinstance(token, bytes) else token
            )
            raise DataError(
                f"{layer}: expected tokens of the vocabulary alone, because "
                f"num_oov_indices=0. Received: {printable(shown, 60)!r}. Keras raises "
                "an error there"
            )
        hashed = layer.options.get("oov_method", "farmhash") == "farmhash"
        if isinstance(token, int) and not hashed:
            return first + token % count
        data = token if isinstance(token, bytes) else str(token).encode()
        salt = layer.options.get("salt")
        value = farm_hash(data) if salt is None else sip_hash(data, salt)
        return first + value % count

    def encoded(self, run: Run, layer: LayerSpec, ids: Array) -> Array:
        """Return ids in the output mode of a layer."""
        mode = layer.options["output_mode"]
        if mode == "int":
            return ids
        depth = self.depth(layer)
        counted = "count" if mode == "tf_idf" else mode
        ids = np.where(ids < 0, depth, ids)  # a mask token has no row
        plain = replace(layer, rules=TENSORFLOW)
        y = encoded(plain, ids, counted, depth, "int64")
        if mode != "tf_idf":
            return y
        weights = np.asarray(layer.options["idf_weights"]).astype(working(run.floatx))
        weights = np.pad(weights, (0, depth - len(weights)))
        return y.astype(weights.dtype) * weights


def _unknown_note(first: int, count: int) -> str:
    if not count:
        return "others are an error"
    if count == 1:
        return f"others have id {first}"
    return f"others have ids {first} to {first + count - 1}, by a hash"


@cache
def ids_of(tokens: tuple[Any, ...], first: int) -> Mapping[Any, int]:
    """Return the id of each token of a vocabulary; texts are in UTF-8."""
    found = (t.encode() if isinstance(t, str) else t for t in tokens)
    return {token: k for k, token in enumerate(found, start=first)}


class IntegerLookup(Vocabulary):
    """Return the id of each whole number in a vocabulary, or with ``invert`` back.

    Several ids of unknown numbers are chosen by ``x mod num_oov_indices``, or with
    ``oov_method="farmhash"`` by a hash of their digits. Floats are truncated.

    Source: keras/src/layers/preprocessing/integer_lookup.py.
    """

    class_name = "IntegerLookup"
    options: ClassVar[Mapping[str, Option]] = {
        **vocabulary_options(int),
        "num_oov_indices": Option(non_negative_integer, 1),
        "mask_token": Option(optional(integer), None),
        "oov_token": Option(optional(integer), -1),
        "invert": Option(boolean, False),
        "oov_method": Option(one_of("floormod", "farmhash"), "floormod"),
        "salt": Option(optional(key), None),
    }
    inert = Vocabulary.inert | {"vocabulary_dtype"}

    def _typed(self, layer: LayerSpec, found: Sequence[Any] | None) -> list[Any]:
        try:
            return [int(token) for token in found or ()]
        except ValueError:
            raise ModelFileError(
                f"{layer}: expected a vocabulary of whole numbers"
            ) from None

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        if is_float(inputs):
            inputs = np.trunc(inputs)
        numbers = inputs.astype(np.int64).ravel().tolist()
        if layer.options["invert"]:
            return self._inverted(layer, numbers, inputs.shape)
        return self.encoded(run, layer, self.looked_up(layer, numbers, inputs.shape))

    def _inverted(
        self, layer: LayerSpec, ids: Sequence[int], shape: tuple[int, ...]
    ) -> Array:
        first = len(self.special(layer.options)[0])
        back = dict(enumerate(layer.options["vocabulary"], start=first))
        mask, unknown = layer.options["mask_token"], layer.options["oov_token"]
        if mask is not None:
            back[0] = mask
        found = [back.get(k, unknown) for k in ids]
        return np.asarray(found, dtype=np.int64).reshape(shape)


class StringLookup(Vocabulary):
    """Return the id of each text in a vocabulary.

    Several ids of unknown texts are chosen by FarmHash64, or with ``salt`` by SipHash.

    Source: keras/src/layers/preprocessing/string_lookup.py.
    """

    class_name = "StringLookup"
    options: ClassVar[Mapping[str, Option]] = {
        **vocabulary_options(str),
        "num_oov_indices": Option(non_negative_integer, 1),
        "mask_token": Option(optional(text), None),
        "oov_token": Option(optional(text), "[UNK]", supported="any"),
        "invert": Option(
            one_of(False), False, supported="False; with True it returns texts"
        ),
        "salt": Option(optional(key), None),
    }
    inert = Vocabulary.inert | {"encoding", "oov_method", "vocabulary_dtype"}

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        tokens = as_bytes(require_texts(layer, inputs))
        return self.encoded(run, layer, self.looked_up(layer, tokens, inputs.shape))


class TextVectorization(Vocabulary):
    """Cut each text into tokens, and return their ids or an encoding of them.

    ::

        standardize: lower case of ASCII letters; ASCII punctuation goes
        split      : at ASCII whitespace, or into characters
        ngrams     : tokens joined by spaces, all of one width after the other
        ids        : 0 padding, 1 a token that is not in the vocabulary, 2 the first

    Without ``output_sequence_length`` rows are filled up to the longest **of the
    batch**, so that what a model makes of a row may depend on the rows beside it.

    Source: keras/src/layers/preprocessing/text_vectorization.py.
    """

    class_name = "TextVectorization"
    options: ClassVar[Mapping[str, Option]] = {
        **vocabulary_options(str),
        "standardize": Option(optional(one_of(*STANDARDIZE)), STANDARDIZE[0]),
        "split": Option(optional(one_of(*SPLIT)), SPLIT[0]),
        "ngrams": Option(lambda value: _widths(value), None),
        "output_sequence_length": Option(optional(positive), None),
        "ragged": only(False),
    }
    inert = Vocabulary.inert | {"encoding"}

    def check(self, where: str, layer: LayerSpec) -> None:
        cut = layer.options["split"] or layer.options["ngrams"]
        if layer.options["output_mode"] == "one_hot" and cut is not None:
            raise UnsupportedError(
                f"{where}: output_mode 'one_hot' is not supported for texts that are "
                "split, because Keras makes rows of different lengths of them, which "
                "predict cannot return"
            )

    def special(self, options: Mapping[str, Any]) -> tuple[list[Any], int]:
        return [""] * (options["output_mode"] == "int") + ["[UNK]"], 1

    def _check_tokens(self, layer: LayerSpec, tokens: Sequence[Any]) -> None:
        super()._check_tokens(layer.with_options(mask_token=""), tokens)

    def notes(self, layer: LayerSpec) -> list[str]:
        options = layer.options
        lines = super().notes(layer.with_options(**_INSIDE))
        cut = {None: "not split", "whitespace": "split at ASCII whitespace"}
        how = options["standardize"] or "as they are"
        lines.insert(
            0, f"texts {how.replace('_', ' ')} (ASCII alone), "
            f"{cut.get(options['split'], 'split into characters')}"
        )  # fmt: skip
        if options["ngrams"]:
            lines.append(f"n-grams of {', '.join(map(str, options['ngrams']))} tokens")
        if pads_to_batch(layer):
            lines.append(
                "rows are filled up to the longest of their batch: what comes of a row "
                "depends on the rows beside it, unless the padding is masked"
            )
        return lines

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        options, texts = layer.options, require_texts(layer, inputs)
        layer = layer.with_options(**_INSIDE)
        if options["split"] is None and options["ngrams"] is None:
            tokens = [standardized(t, options["standardize"]) for t in as_bytes(texts)]
            ids = self.looked_up(layer, tokens, texts.shape)
            length = options["output_sequence_length"]
            if options["output_mode"] == "int" and length is not None:
                ids = filled(ids.tolist(), length)
            return self.encoded(run, layer, ids)
        rows = self._rows(layer, texts)
        flat = [token for row in rows for token in row]
        found = iter(self.looked_up(layer, flat, (len(flat),)).tolist())
        by_row = [[next(found) for _ in row] for row in rows]
        longest = max((len(row) for row in by_row), default=0)
        if options["output_mode"] == "int":
            return filled(by_row, options["output_sequence_length"] or longest)
        outside = self.depth(layer)
        full = [row + [outside] * (longest - len(row)) for row in by_row]
        ids = np.asarray(full, dtype=np.int64).reshape(len(rows), longest)
        return self.encoded(run, layer, ids)

    def _rows(self, layer: LayerSpec, texts: Array) -> list[list[bytes]]:
        """Return the tokens of each text."""
        options = layer.options
        whole = [standardized(t, options["standardize"]) for t in as_bytes(texts)]
        if options["split"] is None:
            if texts.ndim != 2:
                raise ValueError("(batch, tokens) where texts are not split")
            width = texts.shape[1]
            rows = [whole[k : k + width] for k in range(0, len(whole), width)]
        else:
            if texts.ndim > 2 or texts.shape[1:] not in ((), (1,)):
                raise ValueError("one text a row where texts are split")
            rows = [split(t, options["split"]) for t in whole]
        widths = options["ngrams"]
        return rows if widths is None else [joined_ngrams(r, widths) for r in rows]


_INSIDE = {"mask_token": "", "oov_token": "[UNK]", "num_oov_indices": 1}
"""The options of the StringLookup in a TextVectorization."""


def _widths(value: Any) -> tuple[int, ...] | None:
    """Read the widths of n-grams; a number n stands for 1 to n."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)) and value:
        return tuple(positive(item) for item in value)
    return tuple(range(1, positive(value) + 1))


def pads_to_batch(layer: LayerSpec) -> bool:
    """Return whether a row is filled up to the longest of its batch."""
    options = layer.options
    return (
        layer.class_name == "TextVectorization"
        and options["output_mode"] == "int"
        and options["output_sequence_length"] is None
        and (options["split"] or options["ngrams"]) is not None
    )


def require_texts(layer: LayerSpec, inputs: Array) -> Array:
    """Return texts, and refuse a backend on which Keras takes none."""
    if layer.rules and Limit.TEXTS in layer.rules:
        raise UnsupportedError(f"{layer}: {Limit.TEXTS}")
    if inputs.dtype.kind != "U":
        raise ValueError("texts")
    return inputs


KINDS: tuple[type[LayerType], ...] = (IntegerLookup, StringLookup, TextVectorization)
"""The layer types of this module, for the registry."""
