"""Keep what JAX has compiled, so that later runs of a network need not wait for it.

JAX compiles a training step for seconds, and the next program would do the same again.
So compiled code is written to a folder of the user's cache, by JAX's own means, and
read from there. The folder is one for each version of JAX and each kind of processor:
code that was made for one processor must not run on another.

JAX's own environment variables hold: ``JAX_COMPILATION_CACHE_DIR`` names another
folder, ``JAX_ENABLE_COMPILATION_CACHE=false`` switches all this off.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import warnings
from pathlib import Path
from typing import Any

MAX_BYTES = 256 * 2**20
"""Size above which the code that has not been used for longest is removed. The
compilations of one network take half a megabyte."""


def compilations_folder(version: str) -> Path:
    """Return the folder for the compilations of a version of JAX on this processor."""
    return _root() / f"jax-{version}-{_processor()}"


def keep_compilations() -> None:
    """Have JAX write what it compiles to a folder, and read what is there.

    A folder that cannot be written is no error: everything is compiled again then.
    """
    import jax

    config: Any = jax.config
    if not config.jax_enable_compilation_cache:
        return
    if not config.jax_compilation_cache_dir:  # the user's own, or set before
        folder = compilations_folder(jax.__version__)
        if not _made_ready(folder):
            return
        config.update("jax_compilation_cache_dir", str(folder))
    # JAX warns of an entry that it cannot read, be it damaged or being written by
    # another process, and compiles: nobody needs to know.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation")
    # by default only what takes a second: but there are dozens of smaller functions
    thresholds = {
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in thresholds.items():
        if name.upper() not in os.environ:
            config.update(name, value)


def _made_ready(folder: Path) -> bool:
    """Make a folder, take away what is too much, and return whether it can be used."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_oldest(_root(), MAX_BYTES)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def remove_oldest(root: Path, most: int) -> None:
    """Remove files, the oldest first, until those below a folder take half of `most`.

    Nothing is removed while they take `most` bytes or less.
    """
    found = []
    for path in root.rglob("*"):
        with contextlib.suppress(OSError):  # another process may remove it
            if path.is_file():
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in found)
    if total <= most:
        return
    for _, size, path in sorted(found):
        if total <= most // 2:
            return
        with contextlib.suppress(OSError):
            path.unlink()
            total -= size


def _root() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME")
    folder = Path(cache) if cache else Path("~/.cache").expanduser()
    return folder / "keras-rnn-recipes"


def _processor() -> str:
    """Return a checksum of the processor's kind and the instructions that it has."""
    known = [platform.system(), platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        lines = text.partition("\n\n")[0].splitlines()  # those of the first core
        fields = ("vendor_id", "cpu family", "model", "flags", "features", "cpu part")
        known += [x for x in lines if x.partition(":")[0].strip().lower() in fields]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]
