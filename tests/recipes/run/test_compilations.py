"""What JAX has compiled is kept for later runs: where, how much, and when not."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from support.runs import assert_same_run

from recipes.run import compilations


class Config(dict):
    """Stands for JAX's settings."""

    def __init__(self, **values) -> None:
        super().__init__(
            jax_enable_compilation_cache=True, jax_compilation_cache_dir=None, **values
        )

    def __getattr__(self, name):
        return self[name]

    def update(self, name, value) -> None:
        self[name] = value


@pytest.fixture
def jax(monkeypatch, tmp_path) -> Config:
    config = Config()
    found = SimpleNamespace(config=config, __version__="9.1")
    monkeypatch.setitem(sys.modules, "jax", found)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("MIN_COMPILE_TIME_SECS", "MIN_ENTRY_SIZE_BYTES"):
        monkeypatch.delenv(f"JAX_PERSISTENT_CACHE_{name}", raising=False)
    return config


def test_the_folder_is_one_for_each_version_and_processor(jax, tmp_path, monkeypatch):
    compilations.keep_compilations()
    folder = tmp_path / "cache" / "keras-rnn-recipes"
    (own,) = folder.iterdir()
    assert jax["jax_compilation_cache_dir"] == str(own)
    assert own.name.startswith("jax-9.1-")
    assert own.stat().st_mode & 0o077 == 0  # others could put code there
    assert jax["jax_persistent_cache_min_compile_time_secs"] == 0
    names = {own.name, compilations.compilations_folder("9.2").name}
    monkeypatch.setattr(compilations.platform, "machine", lambda: "another")
    names.add(compilations.compilations_folder("9.1").name)
    assert len(names) == 3


def test_the_settings_of_the_user_hold(jax, monkeypatch, tmp_path):
    jax["jax_compilation_cache_dir"] = "/mine"
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "7")
    compilations.keep_compilations()
    assert jax["jax_compilation_cache_dir"] == "/mine"
    assert "jax_persistent_cache_min_compile_time_secs" not in jax
    assert not (tmp_path / "cache").exists()


def test_it_can_be_switched_off(jax, tmp_path):
    jax["jax_enable_compilation_cache"] = False
    compilations.keep_compilations()
    assert jax["jax_compilation_cache_dir"] is None
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_made_is_no_error(jax, tmp_path):
    (tmp_path / "cache").write_text("a file stands where the folder would be")
    compilations.keep_compilations()
    assert jax["jax_compilation_cache_dir"] is None


def test_what_was_used_longest_ago_is_removed_when_there_is_too_much(tmp_path):
    for k in range(6):
        path = tmp_path / f"jax-{k % 2}" / f"{k}-cache"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (k, k))
    left = lambda: sorted(p.name[0] for p in tmp_path.rglob("*-cache"))  # noqa: E731
    compilations.remove_oldest(tmp_path, 600)
    assert left() == list("012345")
    compilations.remove_oldest(tmp_path, 599)
    assert left() == list("45")  # half of 599 at most
    compilations.remove_oldest(tmp_path / "missing", 0)


@pytest.mark.keras
def test_a_second_process_compiles_nothing_and_trains_the_same_weights(tmp_path):
    own = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "KERAS_BACKEND": "jax"}
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"):
        own.pop(name, None)

    def kept(out: str) -> set[str]:
        command = [sys.executable, "-m", "recipes", "run", "toy_rnn", "--epochs", "2"]
        subprocess.run(
            [*command, "--out", str(tmp_path / out)],
            check=True, env=own, capture_output=True,
        )  # fmt: skip
        return {path.name for path in tmp_path.rglob("jax-*/*-cache")}

    first = kept("first")
    assert any("jit_loop" in name for name in first)
    assert kept("second") == first
    assert_same_run(tmp_path / "first", tmp_path / "second")
