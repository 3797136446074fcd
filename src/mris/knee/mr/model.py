"""The network that segments MR scans: a file with a card that says what it sees and answers.

The package brings one, trained on digital knees alone by ``experiments/mr_segmentation/train.py``; another one is a
folder with ``model.onnx``, or a MONAI bundle with ``models/model.ts``, and ``card.json``. A network may be guided by a
coarse one, which sees all of a scan at once.
"""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field, field_validator

from mris.errors import BundleError
from mris.knee.mr.torchscript_network import TorchScriptNetwork
from mris.records import Record, read_record
from mris.training.onnx_network import OnnxNetwork

PACKAGED = Path(__file__).resolve().parents[1] / "weights" / "mr"
"""Folder of the network that the package brings."""
MODEL_FILE, CARD_FILE, COARSE_FOLDER = "model.onnx", "card.json", "coarse"
TORCHSCRIPT_FILE = Path("models") / "model.ts"
"""Where a MONAI bundle holds its network as TorchScript."""

CLASSES = (
    "rest",
    "femur",
    "femoral_cartilage",
    "tibia",
    "tibial_cartilage",
    "patella",
    "patellar_cartilage",
    "meniscus",
    "medial_tibial_cartilage",
    "lateral_tibial_cartilage",
    "medial_meniscus",
    "lateral_meniscus",
)
"""Names that a class may have; both plates of the tibial cartilage and both menisci as one or apart."""
NEEDED = ("femur", "femoral_cartilage", "tibia")

_LARGEST_PATCH = 256


class ModelCard(Record):
    """What is known about a network.

    Attributes:
        format_version: Of the card.
        classes: Name of each channel of the answer, of `CLASSES`.
        spacing_mm: Edges of the voxels that it sees, along right, anterior and superior.
        patch: Voxels of a patch along each of these; the input's shape is (1, channels, *patch).
        guided: Whether there are further channels beside the picture: the probabilities of each class that the network
            in the folder `COARSE_FOLDER` has found on larger voxels.
        input_name: Of the ONNX input; TorchScript has none.
        answer: Whether the output holds probabilities, or logits.
        normalization: What is done to the whole volume first: nothing, or brought to mean 0 and deviation 1.
        sha256: SHA-256 (hex) of the network's file.
        trained_by: What made it.
        settings: Of its training.
        n_weights: Its number of weights.
    """

    format_version: Literal[1] = 1
    classes: tuple[str, ...]
    spacing_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    guided: bool = False
    input_name: str = "patch"
    answer: Literal["probabilities", "logits"] = "probabilities"
    normalization: Literal["none", "volume"] = "none"
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    trained_by: str = ""
    settings: Mapping[str, Any] = {}
    n_weights: int = 0

    @field_validator("classes")
    @classmethod
    def _known(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in classes if name not in CLASSES]
        repeated = [name for name in classes if classes.count(name) > 1]
        missing = [name for name in NEEDED if name not in classes]
        if "tibial_cartilage" not in classes and not {"medial_tibial_cartilage", "lateral_tibial_cartilage"} <= {
            *classes
        }:
            missing.append("tibial_cartilage")
        if unknown or repeated or missing or classes[0] != "rest":
            fault = unknown or repeated or missing or ["rest, which comes first"]
            raise ValueError(
                f"classes: {fault[0]}; names are {', '.join(CLASSES)}, each once, {', '.join(NEEDED)} needed"
            )
        return classes

    @field_validator("patch")
    @classmethod
    def _bounded(cls, patch: tuple[int, int, int]) -> tuple[int, int, int]:
        if not all(8 <= edge <= _LARGEST_PATCH for edge in patch):
            raise ValueError(f"patch is {patch}, but each edge is 8 to {_LARGEST_PATCH} voxels")
        return patch

    @field_validator("spacing_mm")
    @classmethod
    def _sensible(cls, spacing: tuple[float, float, float]) -> tuple[float, float, float]:
        if not all(0.2 <= edge <= 5.0 for edge in spacing):
            raise ValueError(f"spacing_mm is {spacing}, but each is 0.2 to 5 mm")
        return spacing


class Model:
    """A network with its card; loaded when it is first used.

    Args:
        folder: Holds `MODEL_FILE` or `TORCHSCRIPT_FILE`, and `CARD_FILE`; None for the one of the package.
        threads: Threads of the network; as many as this process may use cores if None.

    Raises:
        BundleError: A file is missing or damaged.
    """

    def __init__(self, folder: Path | None = None, threads: int | None = None) -> None:
        self.folder = PACKAGED if folder is None else folder
        missing = f"model {self.folder} has no {CARD_FILE}; give a folder with {MODEL_FILE} and {CARD_FILE}"
        anew = "install mris again" if folder is None else "write it again"
        self.card = read_record(self.folder / CARD_FILE, ModelCard, BundleError, anew, missing=missing)
        self._threads = threads

    @cached_property
    def _network(self) -> OnnxNetwork | TorchScriptNetwork:
        card, threads = self.card, self._threads
        sees, answers = (1 + len(card.classes) * card.guided, *card.patch), (len(card.classes), *card.patch)
        script, onnx = self.folder / TORCHSCRIPT_FILE, self.folder / MODEL_FILE
        if script.is_file() and not onnx.is_file():
            return TorchScriptNetwork(script, sees, answers, checksum=card.sha256, threads=threads)
        return OnnxNetwork(onnx, card.input_name, sees, answers, checksum=card.sha256, threads=threads)

    @cached_property
    def coarse(self) -> "Model":
        """The network whose answer guides this one.

        Raises:
            BundleError: It is missing or damaged, or has other classes.
        """
        coarse = Model(self.folder / COARSE_FOLDER, self._threads)
        if coarse.card.classes != self.card.classes or coarse.card.guided:
            raise BundleError(
                f"model {coarse.folder} cannot guide {self.folder}: it has other classes, or is guided itself; export "
                "both together"
            )
        return coarse

    @property
    def checksum(self) -> str:
        """SHA-256 (hex) of all that decides the answers: its card, which holds that of its file, and its guide's.

        Raises:
            BundleError: The guide is missing, or has other classes.
        """
        own = self.card.model_dump_json() + (self.coarse.checksum if self.card.guided else "")
        return hashlib.sha256(own.encode()).hexdigest()

    def probabilities(self, patch: Float32[np.ndarray, "channels i j k"]) -> Float32[np.ndarray, "classes i j k"]:
        """Probability of each class at each voxel of a patch.

        Args:
            patch: Gray values; of a guided network, with the guide's probability of each class.

        Raises:
            BundleError: The network is damaged, another than the card's, or fails.
        """
        answer = self._network.run(patch[np.newaxis])[0]
        if self.card.answer == "logits":
            answer = np.exp(answer - answer.max(axis=0, keepdims=True))
            answer /= answer.sum(axis=0, keepdims=True)
        return np.asarray(answer)
