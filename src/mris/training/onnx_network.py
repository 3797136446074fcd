"""`OnnxNetwork`: one exported network on ONNX Runtime; torch is not needed to run what torch has trained."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from mris.cores import n_cores
from mris.errors import BundleError, ImageError
from mris.reading import read_bytes
from mris.training.onnx_runtime import onnxruntime, state

RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    RuntimeError,
    ValueError,
    *(
        getattr(state, name)
        for name in (
            *("EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "ModelLoaded"),
            *("NoModel", "NoSuchFile", "NotImplemented", "RuntimeException"),
        )
        if hasattr(state, name)
    ),
)
_LARGEST_BATCH = 64
_LARGEST_NETWORK = 2 << 30  # the format's own limit


class OnnxNetwork:
    """A network of one input and one output, loaded when it is first used.

    Args:
        path: the ``.onnx`` file.
        input_name: name of the input, for checks and messages.
        input_shape: (c, h, w) of one image, or (c, i, j, k) of one volume.
        output_shape: shape of one answer.
        checksum: SHA-256 (hex) that the file must have; None for any.
        threads: threads of the network; as many as this process may use cores if None.

    Raises:
        BundleError: the file is missing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        input_name: str,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        *,
        checksum: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.path, self.input_name = path, input_name
        self.input_shape, self.output_shape = input_shape, output_shape
        self._checksum = checksum
        self._threads = threads if threads is not None else n_cores()
        self._session: Any = None
        if not Path(path).is_file():
            raise BundleError(f"{path} is missing; restore a copy, or export the network again")

    def __getstate__(self) -> dict[str, Any]:
        """Let it be sent to another process, which loads it anew; there it is one of many and has one thread."""
        return {**self.__dict__, "_session": None, "_threads": 1}

    def run(self, images: np.ndarray) -> Float32[np.ndarray, "n ..."]:
        """Run the network, at most 64 images at a time.

        Args:
            images: (n, *input_shape).

        Returns:
            (n, *output_shape) float32.

        Raises:
            ImageError: the shape is not the network's.
            BundleError: the network is damaged or another than was exported, or fails.
        """
        images = np.asarray(images)
        if images.ndim != 1 + len(self.input_shape) or images.shape[1:] != self.input_shape:
            raise ImageError(
                f"{self.input_name} images have shape {images.shape}; this network takes "
                f"(n, {', '.join(map(str, self.input_shape))}): prepare them with its own settings"
            )
        images = np.ascontiguousarray(images, dtype=np.float32)
        answers = np.empty((len(images), *self.output_shape), dtype=np.float32)
        session = self._loaded()
        for start in range(0, len(images), _LARGEST_BATCH):
            part = slice(start, start + _LARGEST_BATCH)
            try:
                (found,) = session.run(None, {self.input_name: images[part]})
                answers[part] = found
            except RUNTIME_ERRORS as error:
                raise BundleError(f"the network {self.path} failed ({_first_line(error)})") from error
        return answers

    def _loaded(self) -> Any:
        if self._session is None:
            try:
                content = read_bytes(Path(self.path), _LARGEST_NETWORK)
                if self._checksum is not None and hashlib.sha256(content).hexdigest() != self._checksum:
                    raise BundleError(
                        f"{self.path} is not the file that was exported (its SHA-256 differs): it was damaged or "
                        "replaced; restore a copy, or export the network again"
                    )
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = self._threads
                options.inter_op_num_threads = 1
                options.log_severity_level = 3
                # Idle threads would go on spinning and take the cores from search and average.
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                known = onnxruntime.get_available_providers()
                providers = [one for one in ("CUDAExecutionProvider", "CPUExecutionProvider") if one in known]
                session = onnxruntime.InferenceSession(content, sess_options=options, providers=providers)
            except RUNTIME_ERRORS as error:
                raise BundleError(
                    f"{self.path} cannot be loaded ({_first_line(error)}); export the network again"
                ) from error
            if [one.name for one in session.get_inputs()] != [self.input_name] or len(session.get_outputs()) != 1:
                raise BundleError(f"{self.path} must have one input {self.input_name!r} and one output; it has others")
            self._session = session
        return self._session


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
