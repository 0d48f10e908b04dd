"""Describe the machine that a benchmark ran on, without anything that identifies it."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from threadpoolctl import threadpool_info

PACKAGES = (
    "numpy", "keras", "tensorflow", "jax", "jaxlib", "onnx", "onnxruntime",
)  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """Describe the hardware and software that figures depend on."""

    processor: str
    cores: int
    system: str
    blas: str
    versions: dict[str, str]
    date: str

    @classmethod
    def here(cls) -> Machine:
        """Return the description of this machine."""
        blas = [info for info in threadpool_info() if info["user_api"] == "blas"]
        named = [
            f"{info['internal_api']} {info['version']} ({info.get('architecture')})"
            for info in blas[:1]
        ]
        versions = {"python": platform.python_version()}
        versions |= {name: importlib.metadata.version(name) for name in PACKAGES}
        return cls(
            processor=processor(),
            cores=cores(),
            system=f"{platform.system()} {platform.machine()}",
            blas=named[0] if named else "unknown",
            versions=versions,
            date=datetime.now(UTC).date().isoformat(),
        )

    def words(self) -> str:
        """Return the description as one line."""
        versions = ", ".join(
            f"{name} {version}" for name, version in self.versions.items()
        )
        return (
            f"{self.processor}, {self.cores} cores, {self.system}, {self.blas}; "
            f"{versions}; {self.date}"
        )


def busy_seconds() -> float:
    """Return the busy seconds of all cores together so far; NaN if not known."""
    counters = Path("/proc/stat")
    if not counters.is_file():
        return math.nan
    ticks = [int(field) for field in counters.read_text().split("\n")[0].split()[1:]]
    # the last of the eight is time that other virtual machines have taken
    user, nice, system, _idle, _waiting, *interrupts = ticks[:8]
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Return the model name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown"
