"""Write an ONNX file as OpenVINO's own files, in the process that has opened it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verify.errors import UnsupportedError
from verify.model.arrays import Array
from verify.ports.artefacts.runtimes.base import missing, one_line


def save(
    runtime: Any, arguments: Mapping[str, Any], arrays: Mapping[str, Array]
) -> tuple[None, dict[str, Array]]:
    """Write the file that is open as an .xml and a .bin, weights in their own dtype.

    Parameters
    ----------
    runtime : Runtime
        Of an ONNX file.
    arguments : mapping
        ``to``: path of the .xml.

    Raises
    ------
    UnsupportedError
        OpenVINO is missing, or lacks an operation of the file.
    """
    try:
        import openvino
    except ImportError as error:
        raise missing("openvino", "openvino", "an OpenVINO .xml", error) from None
    try:
        model = openvino.Core().read_model(runtime.opening.path)
        # by default weights are stored in float16
        openvino.save_model(model, arguments["to"], compress_to_fp16=False)
    except Exception as error:
        raise UnsupportedError(
            f"OpenVINO {openvino.__version__.partition('-')[0]} cannot hold this "
            f"model: {one_line(error)}"
        ) from None
    return None, {}
