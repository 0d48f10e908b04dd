"""Look through a ``.pt2`` of torch.export before torch reads it.

``torch.export.load`` executes what a file says in several places: it unpickles weights
and constants marked as pickled, and sample inputs, without ``weights_only``; it loads
compiled libraries; it evaluates expressions with ``sympy.sympify``, looks functions up
by name in all of ``torch``, and makes Python source of names. So only what is known to
be data is handed on to it, in a new archive. No torch is needed here.

Source: torch 2.13, torch/export/pt2_archive/_package.py, torch/_export/serde.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from verify.errors import ModelFileError, UnsupportedError, printable
from verify.ports.artefacts.kinds import MAX_BYTES

MODEL = "models/model.json"
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
CONFIGS = (
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
OTHERS = ("archive_format", "archive_version", "byteorder", ".data/version")

OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims)\.\w+\.\w+"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|map_impl"
    r"|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|torch\.sym_(float|int|ite|max|min|not|sqrt|sum)"
    r"|_operator\.(add|and_|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|or_|pow|sub"
    r"|truediv)"
    r"|math\.(ceil|floor|trunc|sqrt)"
)
"""Names of operators that compute and do nothing else, but for those of `OUTWARD`."""

OUTWARD = re.compile(r"\.(save|load|\w*file\w*|_?print|warn|format)\.")
"""Parts of such names that read or write files, or print."""

EXPRESSION_NAMES = re.compile(
    r"[suz]\w*\d|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|ModularIndexing|Where"
    r"|CeilToInt|FloorToInt|TruncToInt|TruncToFloat|RoundToInt|RoundDecimal|ToFloat"
    r"|LShift|RShift|PowByNatural|FloatPow|FloatTrueDiv|IntTrueDiv|Identity"
    r"|Add|Mul|Pow|Integer|Rational|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|True|False|floor|ceiling|sqrt|oo|int_oo|Abs"
)
"""Words of an expression of sizes."""

SYMBOL = re.compile(r"Symbol\('[suz]\w*\d'(, (positive|integer|nonnegative)=True)*\)")
"""A size that is left open, as sympy writes it."""

NAME = re.compile(r"[A-Za-z_]\w*|")
"""Names of values, which torch makes Python source of."""

PLACE = re.compile(r"[\w./ :+-]*")
"""Names of parameters: a path through modules, in Keras's words with slashes."""

TREE_TYPES = (None, "builtins.tuple", "builtins.list", "builtins.dict")
"""Containers of inputs and outputs."""


def sifted(path: Path, shown: str) -> bytes:
    """Return the file as a new archive that holds data and nothing else.

    Raises
    ------
    UnsupportedError
        Something in it would be executed, or needs what Python classes it names.
    ModelFileError
        It is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = [info.file_size for info in archive.infolist()]
            names = archive.namelist()
            if sum(sizes) > MAX_BYTES:
                raise ModelFileError(
                    f"{shown}: expected at most {MAX_BYTES // 10**9} GB. Received: "
                    f"{sum(sizes):,} bytes in its archive"
                )
            if "serialized_exported_program.json" in names:
                raise UnsupportedError(
                    f"{shown}: was written by torch before 2.8; load it there and save "
                    "it again"
                )
            (top,) = {name.partition("/")[0] for name in names}
            members = {name.partition("/")[2]: archive.read(name) for name in names}
        if len(members) != len(names):
            raise ModelFileError(f"{shown} is damaged (a name twice in its archive)")
        model = json.loads(members[MODEL])
        _refuse_members(members, shown)
        for name in CONFIGS:
            _refuse_payloads(json.loads(members[name])["config"], shown)
        _sift(model, shown)
    except (
        *(zipfile.BadZipFile, KeyError, TypeError, ValueError, RecursionError),
        *(NotImplementedError, RuntimeError, EOFError, AttributeError, OSError),
        zlib.error,
    ) as error:
        raise _as_verify_error(error, shown) from None
    members[MODEL] = json.dumps(model).encode()
    # torch does without; it would unpickle them
    members[SAMPLE_INPUTS] = b""
    new = io.BytesIO()
    with zipfile.ZipFile(new, "w") as archive:
        for name, data in members.items():
            if name in (MODEL, SAMPLE_INPUTS, *CONFIGS, *OTHERS) or _is_data(name):
                archive.writestr(f"{top}/{name}", data)
    return new.getvalue()


def _as_verify_error(error: Exception, shown: str) -> Exception:
    if isinstance(error, ModelFileError | UnsupportedError):
        return error
    return ModelFileError(f"{shown} is damaged ({printable(error)})")


def _is_data(name: str) -> bool:
    return re.fullmatch(r"data/(weights/weight|constants/tensor)_\d+", name) is not None


def _refuse_members(members: dict[str, bytes], shown: str) -> None:
    for name in members:
        if name.startswith("data/aotinductor/"):
            raise _code(shown, f"compiled libraries ({printable(name, 80)})")
        if name.startswith("models/") and name != MODEL:
            raise UnsupportedError(
                f"{shown}: expected one model. Received: {printable(name, 80)} as well"
            )
        if name.endswith(".pt") and name != SAMPLE_INPUTS:
            raise _code(shown, f"a pickle ({printable(name, 80)})")


def _refuse_payloads(config: Any, shown: str) -> None:
    for name, payload in config.items():
        place = str(payload["path_name"])
        if payload["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", place):
            raise _code(shown, f"a pickle ({printable(name, 80)})")
        if not PLACE.fullmatch(name):
            raise _code(shown, f"the name {printable(name, 80)}")


def _code(shown: str, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"{shown}: refused, because torch.export.load would execute what is in it: "
        f"{what}"
    )


def _sift(model: Any, shown: str) -> None:
    """Check every text in a model that torch evaluates, and drop what needs none."""
    for guard in model.get("guards_code") or ():
        words = re.findall(r"[A-Za-z_]\w*", re.sub(r"L\['\w+'\]", "", guard))
        if not set(words) <= {"size", "stride", "and", "or", "not"}:
            raise _code(shown, f"the guard {printable(guard, 80)}")
    for name in model.get("range_constraints", {}):
        _check_expression(name, shown)
    for key, value in _items(model):
        if key == "as_custom_obj":
            raise _code(shown, "an object of a class of its own")
        if key == "metadata" and isinstance(value, dict):
            value.clear()  # tracebacks and names of modules, looked up in torch
        if isinstance(value, str):
            _check_text(key, value, shown)


def _check_text(key: str, value: str, shown: str) -> None:
    """Check one text of a model, whose key says what torch does with it."""
    if key in ("target", "as_operator"):
        if not OPERATORS.fullmatch(value) or OUTWARD.search(value):
            raise _code(shown, f"the operator {printable(value, 80)}")
    elif key == "expr_str":
        _check_expression(value, shown)
    elif key in ("in_spec", "out_spec"):
        for inner, kind in _items(json.loads(value)):
            if inner == "type" and kind not in TREE_TYPES:
                raise UnsupportedError(
                    f"{shown}: expected inputs and outputs in tuples, lists and dicts. "
                    f"Received: {printable(kind, 80)}"
                )
    else:
        plain = key in ("name", "as_name")
        place = key.endswith(("_name", "fqn", "_to_buffer", "_to_mutate"))
        if (plain and not NAME.fullmatch(value)) or (
            place and not PLACE.fullmatch(value)
        ):
            raise _code(shown, f"the name {printable(value, 80)}")


def _check_expression(text: str, shown: str) -> None:
    text = SYMBOL.sub("s0", text)
    words = re.findall(r"[A-Za-z_]\w*", text)
    plain = re.fullmatch(r"[\w ()+\-*/,<>=%.&|~]*", text) is not None
    attribute = re.search(r"\.\s*[A-Za-z_]|[)\]]\s*\(", text) is not None
    if not plain or attribute or not all(map(EXPRESSION_NAMES.fullmatch, words)):
        raise _code(shown, f"the expression {printable(text, 80)}")


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key and value of dicts inside lists and dicts."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            for key, inner in found.items():
                yield str(key), inner
                waiting.append(inner)
        elif isinstance(found, list):
            waiting += found
