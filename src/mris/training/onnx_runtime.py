"""ONNX Runtime, the only way in.

From 1.29 on it sends usage events while it runs, unless it was told not to before it was imported; `mris.quiet` does.
"""

import warnings

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from mris.quiet import ONNX_RUNTIME_IS_SILENT

__all__ = ["onnxruntime", "state"]

_SPEAKS_SINCE = (1, 29)

# On Windows some builds hand events to the system; there only this keeps them from it.
onnxruntime.disable_telemetry_events()
if not ONNX_RUNTIME_IS_SILENT and tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= _SPEAKS_SINCE:
    warnings.warn(
        "onnxruntime was imported before mris and may send usage events to its maker; "
        "import mris first, or set ORT_DISABLE_TELEMETRY=1",
        stacklevel=2,
    )
