"""List every release line of Keras whose get_config is read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """Describe one Keras, and the environment that it runs in.

    Attributes
    ----------
    name : str
        The distribution and its version.
    python : str
        Version of the interpreter.
    packages : tuple of str
        What is installed with its dependencies.
    package : str
        The package that is imported.
    alone : tuple of str
        What is installed without dependencies, in front of all others. Lines with the
        same `packages` share an environment.
    """

    name: str
    python: str
    packages: tuple[str, ...]
    package: str = "keras"
    alone: tuple[str, ...] = ()


def lines() -> list[Line]:
    """Return every line, the oldest first."""
    return [*_keras_1_and_2(), *_tf_keras(), *_keras_of_tensorflow(), *_keras_3()]


_OLD = ("tensorflow==1.14.0", "h5py<3", "pyyaml", "scipy", "six")
_PURE = (
    *("1.2.2", "2.0.0", "2.0.2", "2.0.4", "2.0.5", "2.0.6", "2.0.7", "2.0.8", "2.0.9"),
    *("2.1.0", "2.1.2", "2.1.3", "2.1.4", "2.1.5", "2.1.6", "2.2.0", "2.2.2", "2.2.4"),
    *("2.2.5", "2.3.0", "2.3.1"),
)


_HELPERS = {"2.2.0": ("1.0.2", "1.0.1"), "2.2.2": ("1.0.4", "1.0.2")}
"""Versions of keras-applications and keras-preprocessing, where they matter."""


def _keras_1_and_2() -> list[Line]:
    found = []
    for version in _PURE:
        applications, preprocessing = _HELPERS.get(version, ("1.0.8", "1.1.2"))
        alone = (
            f"keras=={version}",
            f"keras-applications=={applications}",
            f"keras-preprocessing=={preprocessing}",
        )
        found.append(Line(f"keras {version}", "3.6", _OLD, alone=alone))
    return found


_TF = {
    "3.6": ("1.4.1", "1.8.0", "1.12.3"),
    "3.7": ("1.15.5", "2.0.4", "2.1.4"),
    "3.8": ("2.2.3", "2.3.4", "2.4.4", "2.5.3"),
}


def _tf_keras() -> list[Line]:
    return [
        Line(
            f"tensorflow {version}",
            python,
            (f"tensorflow=={version}", "protobuf<3.21", "h5py<3.2", "numpy<1.24"),
            "tensorflow.keras",
        )
        for python, versions in _TF.items()
        for version in versions
    ]


_WITH_TF = {
    "3.9": ("2.6.5", "2.7.4", "2.8.4", "2.9.3", "2.10.1", "2.11.1"),
    "3.11": ("2.12.1", "2.13.1", "2.14.1", "2.15.1"),
}
_SAME = {"2.13.1": "2.13.1"}


def _keras_of_tensorflow() -> list[Line]:
    found = []
    for python, versions in _WITH_TF.items():
        for version in versions:
            minor = version.rpartition(".")[0]
            keras = _SAME.get(version, f"{minor}.0")
            packages: tuple[str, ...] = (
                f"tensorflow-cpu=={version}",
                f"keras=={keras}",
                "numpy<1.27",
            )
            if minor in ("2.6", "2.7", "2.8"):
                packages += ("protobuf<3.21",)
            found.append(Line(f"keras {keras}", python, packages))
    recent = ("tensorflow-cpu==2.21.0",)
    alone = ("tf-keras==2.15.1",)
    older = ("tensorflow-cpu==2.15.1", "numpy<1.27")
    found.append(Line("tf-keras 2.15.1", "3.11", older, "tf_keras", alone))
    for version in ("2.16.0", "2.17.0", "2.18.0", "2.19.0", "2.20.1", "2.21.0"):
        alone = (f"tf-keras=={version}",)
        found.append(Line(f"tf-keras {version}", "3.11", recent, "tf_keras", alone))
    return found


_KERAS_3 = (
    *("3.0.0", "3.0.5", "3.1.1", "3.2.1", "3.3.3", "3.4.1", "3.5.0", "3.6.0", "3.7.0"),
    *("3.8.0", "3.9.2", "3.10.0", "3.11.3", "3.12.4", "3.13.2", "3.14.1", "3.15.0"),
    "3.15.1",
)


def _keras_3() -> list[Line]:
    packages = ("tensorflow-cpu==2.21.0",)
    return [
        Line(f"keras {v}", "3.11", packages, alone=(f"keras=={v}", "dm-tree"))
        for v in _KERAS_3
    ]
