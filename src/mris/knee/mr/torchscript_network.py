"""A network as TorchScript, as a MONAI bundle holds it; it needs torch, which other networks do not."""

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from mris.cores import n_cores
from mris.errors import BundleError
from mris.reading import read_bytes

_LARGEST_NETWORK = 2 << 30


class TorchScriptNetwork:
    """A network of one input and one output, loaded when it is first used; see `mris.training.onnx_network`.

    Args:
        path: The ``.ts`` file. It is a program: only whom one trusts should have written it.
        input_shape: Of one volume, (channels, i, j, k).
        output_shape: Of one answer, (classes, i, j, k).
        checksum: SHA-256 (hex) that the file must have.
        threads: Threads of torch, which all its networks share; as many as this process may use cores if None.

    Raises:
        BundleError: The file is missing.
    """

    def __init__(
        self,
        path: Path,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        *,
        checksum: str,
        threads: int | None = None,
    ) -> None:
        self.path, self.input_shape, self.output_shape = path, input_shape, output_shape
        self._checksum = checksum
        self._threads = threads if threads is not None else n_cores()
        self._network: Any = None
        if not path.is_file():
            raise BundleError(f"{path} is missing; restore a copy, or export the network again")

    def run(self, volumes: Float32[np.ndarray, "n channels i j k"]) -> Float32[np.ndarray, "n classes i j k"]:
        """Run the network, one volume at a time.

        Raises:
            BundleError: It is damaged, another than the card's, or fails.
        """
        import torch

        network = self._loaded()
        answers = np.empty((len(volumes), *self.output_shape), np.float32)
        with torch.inference_mode():
            for number, volume in enumerate(volumes):
                try:
                    answer = network(torch.from_numpy(np.ascontiguousarray(volume, np.float32)[np.newaxis]))
                except Exception as error:  # of any kind: it is a program of somebody else
                    raise BundleError(f"the network {self.path} failed ({_last_line(error)})") from error
                if not isinstance(answer, torch.Tensor) or tuple(answer.shape) != (1, *self.output_shape):
                    found = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
                    raise BundleError(
                        f"the network {self.path} answers {found}, but its card says {(1, *self.output_shape)}"
                    )
                answers[number] = answer[0].float().numpy()
        return answers

    def _loaded(self) -> Any:
        if self._network is None:
            import torch

            content = read_bytes(self.path, _LARGEST_NETWORK)
            if hashlib.sha256(content).hexdigest() != self._checksum:
                raise BundleError(
                    f"{self.path} is not the file of its card (its SHA-256 differs): it was damaged or replaced; "
                    "restore a copy, or write the card again"
                )
            torch.set_num_threads(self._threads)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, but MONAI bundles are such files
                    load: Any = torch.jit.load  # torch does not annotate it
                    self._network = load(io.BytesIO(content), map_location="cpu").eval()
            except (RuntimeError, ValueError) as error:
                raise BundleError(f"{self.path} cannot be loaded ({_last_line(error)}); export it again") from error
        return self._network


def _last_line(error: Exception) -> str:
    """The last line of a message: TorchScript puts its own traceback before it."""
    return str(error).strip().split("\n")[-1][:200] or type(error).__name__
