"""Hold the configs of all versions: each value once, with who writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.output import RESULTS_FOLDER

RESULT = RESULTS_FOLDER / "configs.json"


@dataclass
class Collection:
    """Hold the configs of layer classes.

    Attributes
    ----------
    versions : list of str
        The versions read, such as ``keras 2.1.6``; everything else counts in it.
    classes : dict
        Class -> ``"configs"``, the configs by default, and ``"changes"``, what the
        options of a class change in that; each a list of pairs ``[value, versions]``.
    """

    versions: list[str] = field(default_factory=list)
    classes: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Collection:
        """Return what a file holds, or an empty collection if there is none."""
        if not path.exists():
            return cls()
        content = json.loads(path.read_text(encoding="utf-8"))
        classes = {
            name: {
                kind: [[value, _numbers(spans)] for value, spans in pairs]
                for kind, pairs in found.items()
            }
            for name, found in content["classes"].items()
        }
        return cls(content["versions"], classes, content["failed"])

    def add(self, name: str, document: dict[str, Any]) -> None:
        """Add what the probe of one Keras printed."""
        if name not in self.versions:
            self.versions.append(name)
        number = self.versions.index(name)
        self.failed[name] = document["failed"]
        for class_name, found in document["classes"].items():
            known = self.classes.setdefault(class_name, {"configs": [], "changes": []})
            default = short(found["default"])
            _note(known["configs"], default, number)
            for change in map(short, found["changes"]):
                rest = {
                    key: value
                    for key, value in change.items()
                    if key not in default or default[key] != value
                }
                if rest:
                    _note(known["changes"], rest, number)

    def entries(
        self, *, every: bool = True
    ) -> Iterator[tuple[str, dict[str, Any], list[int]]]:
        """Yield the class of each distinct config, the config and its versions.

        A change is applied to the configs by default that have a version in common with
        it, to every one or to the newest alone: one that no version writes would prove
        nothing.
        """
        for class_name, found in self.classes.items():
            for config, numbers in found["configs"]:
                yield class_name, config, numbers
            for change, numbers in found["changes"]:
                some = [
                    (config, sorted(set(numbers) & set(theirs)))
                    for config, theirs in found["configs"]
                ]
                some = sorted((c for c in some if c[1]), key=lambda c: c[1][-1])
                for config, both in some if every else some[-1:]:
                    yield class_name, {**config, **change}, both

    def in_json(self) -> str:
        """Return the collection as JSON, with a line for each value."""
        rows = []
        for class_name in sorted(self.classes):
            parts = []
            for key, pairs in self.classes[class_name].items():
                listed = ",\n   ".join(
                    json.dumps([value, _spans(numbers)], sort_keys=True)
                    for value, numbers in pairs
                )
                parts.append(f'  "{key}": [\n   {listed}\n  ]')
            joined = ",\n".join(parts)
            rows.append(f' "{class_name}": {{\n{joined}\n }}')
        classes = ",\n".join(rows)
        failed = json.dumps(self.failed, sort_keys=True, indent=1)
        versions = json.dumps(self.versions)
        return (
            f'{{"versions": {versions},\n"failed": {failed},\n'
            f'"classes": {{\n{classes}\n}}}}\n'
        )


def _spans(numbers: list[int]) -> str:
    """Write numbers as spans: ``0-3 5``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return " ".join("-".join(map(str, span)) for span in found)


def _numbers(spans: str) -> list[int]:
    """Read what `_spans` wrote."""
    found: list[int] = []
    for span in spans.split():
        first, _, last = span.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


TRAINING = ("_initializer", "_regularizer", "_constraint")


def short(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config without what tells nothing about how it is read.

    That is the settings of initialisers and their like, whose class stays, and the
    numbers in the names of layers inside.
    """
    return {key: _short(key, value) for key, value in config.items()}


def _short(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_short(key, item) for item in value]
    if not isinstance(value, dict):
        return value
    if key.endswith(TRAINING) and "class_name" in value:
        return {"class_name": value["class_name"], "config": {}}
    changed = {inner: _short(inner, item) for inner, item in value.items()}
    if isinstance(changed.get("name"), str):
        changed["name"] = re.sub(r"_\d+$", "", changed["name"])
    return changed


def _note(pairs: list[Any], value: Any, number: int) -> None:
    for pair in pairs:
        if pair[0] == value and json.dumps(pair[0]) == json.dumps(value):
            if number not in pair[1]:
                pair[1].append(number)
            return
    pairs.append([value, [number]])
