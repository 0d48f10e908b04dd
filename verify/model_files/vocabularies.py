"""Read the vocabularies of a ``.keras`` file, and write them into a config.

Keras writes the vocabulary that ``adapt`` or ``set_vocabulary`` gave to a layer not
into the config but into the folder ``assets`` of the file, one token a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verify.errors import ModelFileError, printable
from verify.forward.layers import REGISTRY
from verify.forward.layers.lookups import Vocabulary
from verify.model.spec import LayerSpec
from verify.model_files.folders import Members

ASSETS, VOCABULARY = "assets/", "vocabulary.txt"
MAX_ASSET_BYTES = 256 * 2**20
"""Greatest size of one vocabulary, in bytes, far above that of any real one."""


def read_assets(archive: Members, shown: str) -> dict[str, list[str]]:
    """Return the lines of every vocabulary in an archive, by the path of its layer.

    Raises
    ------
    ModelFileError
        A vocabulary is too large, is not text, or has a token with a line break in it.
    """
    found = {}
    for info in archive.infolist():
        name = info.filename
        if not (name.startswith(ASSETS) and name.endswith(f"/{VOCABULARY}")):
            continue
        where = f"{shown}: {printable(name)}"
        if info.file_size > MAX_ASSET_BYTES:
            raise ModelFileError(
                f"{where} claims {info.file_size:,} bytes; {MAX_ASSET_BYTES:,} are "
                "supported"
            )
        try:
            text = archive.read(info).decode()
        except UnicodeDecodeError:
            raise ModelFileError(f"{where} is not text in UTF-8") from None
        except Exception as error:  # a damaged member raises zlib.error and many others
            raise ModelFileError(f"{where} is damaged ({error})") from None
        place = name.removeprefix(ASSETS).removesuffix(VOCABULARY).rstrip("/")
        found[place] = _lines(text, where)
    return found


def _lines(text: str, where: str) -> list[str]:
    """Return the tokens of a file, as every Keras that reads it would.

    Keras 3.15 splits at each character that Python takes for the end of a line, earlier
    ones at line feeds alone. A token that has such a character in it comes out as two.
    """
    whole = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    lines = text.splitlines()
    while lines and not lines[-1]:
        lines.pop()
    while whole and not whole[-1]:
        whole.pop()
    if lines != whole:
        raise ModelFileError(
            f"{where} has a token with a character that ends a line, such as U+2028. "
            "Keras reads it as two tokens, so that the ids behind it are other ones "
            "than those the model was trained with"
        )
    return lines


def with_vocabularies(config: Any, layer: LayerSpec) -> Any:
    """Return the config of a layer, with the vocabularies of it and of those inside.

    Parameters
    ----------
    config
        In the form of Keras 3.
    layer : LayerSpec
        What was read of it.
    """
    if not any(holds_vocabulary(x) for _, x in [("", layer), *layer.walk()]):
        return config
    body = dict(config["config"])
    if holds_vocabulary(layer):
        kind = REGISTRY[layer.class_name]
        if isinstance(kind, Vocabulary):
            body |= kind.config_of(layer)
    elif layer.graph is not None:
        body["layers"] = [
            with_vocabularies(entry, layer.sublayers[_name(entry)])
            for entry in body["layers"]
        ]
    else:
        for key in layer.sublayers.keys() & body.keys():
            body[key] = with_vocabularies(body[key], layer.sublayers[key])
    return {**config, "config": body}


def holds_vocabulary(layer: LayerSpec) -> bool:
    """Return whether a layer looks tokens up in a vocabulary."""
    return isinstance(REGISTRY[layer.class_name], Vocabulary)


def _name(entry: Mapping[str, Any]) -> str:
    """Return by which name a model knows the layer of an entry of its config."""
    name = entry.get("name")
    return str(name if isinstance(name, str) else entry["config"]["name"])
