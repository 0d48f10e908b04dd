"""Put verify/ into the distribution, from the project's tree or from the sdist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class VerifyHook(BuildHookInterface):
    """Find the package where it is: two folders up, or in an unpacked sdist."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Include the package, unless only a pointer to the tree is installed."""
        in_sdist = Path(self.root) / "verify"  # first: around it may lie another copy
        in_tree = Path(self.root).parents[1] / "verify"
        package = in_sdist if in_sdist.is_dir() else in_tree
        if version != "editable":
            build_data["force_include"][str(package)] = "verify"
