"""Two encoders with one embedding space: what they are, how they embed, how they are stored."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mris.cohort.header import CohortHeader
from mris.cohort.origin import Origin, read_origin
from mris.cohort.training_subjects import TrainingSubjects, read_training_subjects, write_training_subjects
from mris.errors import TrainingError
from mris.images.transforms import SourcePreparation
from mris.images.write import write_json
from mris.metric.components import Components, ComponentEncoder
from mris.metric.settings import TargetNetwork
from mris.reading import read_json, regular_size
from mris.training.checkpoints import write_tensors
from mris.training.networks import Architecture, Pooling, Stem, build_network, keep_places
from mris.training.pairs import scale_targets
from mris.types import Embeddings, Sources, Targets

FORMAT_VERSION = 1
_WEIGHTS, _SPEC = "encoder.safetensors", "encoder.json"


@dataclass(frozen=True)
class EncoderSpec:
    """Everything about a pair of encoders but their weights.

    Attributes:
        regions: target regions, in the order of the target encoder's channels.
        source_shape: ``(c, h, w)`` of a prepared source.
        target_shape: ``(r, h, w)`` of a target.
        target_scale: targets are divided by this before the network sees them, in their own unit (3 mm in the paper).
        unit: the targets' unit.
        target_spacing: pixel spacing of targets in mm (row, column), or None where unknown.
        preparation: how a source image is prepared.
        architecture, width, stem, embedding_dim: see `mris.training.networks.build_network`.
        pooling: "places" lets the source encoder keep where a feature was found (`mris.training.networks.keep_places`).
        target_network: "components" for a target encoder of two layers on principal components.
        n_components: how many components those are.
        source_components: principal components of the source that a linear readout may use beside the embedding.
        origin: whether they were trained on images of people or simulated ones.
    """

    regions: tuple[str, ...]
    source_shape: tuple[int, int, int]
    target_shape: tuple[int, int, int]
    target_scale: float
    unit: str
    target_spacing: tuple[float, float] | None
    preparation: SourcePreparation
    architecture: Architecture = "resnet18"
    width: int = 64
    stem: Stem = "standard"
    embedding_dim: int = 512
    pooling: Pooling = "mean"
    target_network: TargetNetwork = "convolutional"
    n_components: int = 0
    source_components: int = 0
    origin: Origin = "unknown"

    @classmethod
    def for_cohort(
        cls, header: CohortHeader, *, regions: tuple[str, ...], target_scale: float, **network: Any
    ) -> "EncoderSpec":
        """Describe encoders for the images of a cohort, reading `regions` of its targets."""
        return cls(
            regions=regions,
            source_shape=header.source_shape,
            target_shape=(len(regions), *header.target_shape[1:]),
            target_scale=target_scale,
            unit=header.unit,
            target_spacing=header.target_spacing,
            preparation=header.source,
            origin=header.origin,
            **network,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an unknown origin is left out, so that earlier encoders keep their fingerprints."""
        values = {**asdict(self), "preparation": self.preparation.to_dict()}
        return {name: value for name, value in values.items() if (name, value) != ("origin", "unknown")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EncoderSpec":
        """Invert `to_dict`; names that are not fields are ignored."""
        known: dict[str, Any] = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        known = {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
        known["preparation"] = SourcePreparation.from_dict(values["preparation"])
        known["origin"] = read_origin(values.get("origin"))
        return cls(**known)


class DualEncoder(nn.Module):
    """A source encoder f and a target encoder g that end in one space of unit vectors.

    Args:
        spec: shapes, preparation and architecture.

    Attributes:
        training_subjects: whom the encoders were trained on; None where that is unknown.

    `encode_sources` and `encode_targets` take and give NumPy arrays; `forward` is the training's door and takes
    tensors whose targets are already scaled.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.training_subjects: TrainingSubjects | None = None
        network: dict[str, Any] = {"embedding_dim": spec.embedding_dim, "width": spec.width, "stem": spec.stem}
        self.source = build_network(spec.architecture, channels=spec.source_shape[0], **network)
        if spec.pooling == "places":
            keep_places(self.source, spec.source_shape[1:])
        self.pixels = Components(spec.source_shape, spec.source_components) if spec.source_components else None
        if spec.target_network == "components":
            self.target: nn.Module = ComponentEncoder(spec.target_shape, spec.n_components, spec.embedding_dim)
            self.log_temperature = nn.Parameter(torch.tensor(math.log(spec.temperature or 0.1)))
        else:
            self.target = build_network(spec.architecture, channels=spec.target_shape[0], **network)

    def forward(
        self, sources: Float[Tensor, "n c h w"], targets: Float[Tensor, "n r h w"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Embed a batch of pairs, not normalized: the loss is."""
        return self.source(sources), self.target(targets)

    @property
    def regions(self) -> tuple[str, ...]:
        """Target regions in the order of the target encoder's channels."""
        return self.spec.regions

    @property
    def preparation(self) -> SourcePreparation:
        """How a source image is prepared for this encoder."""
        return self.spec.preparation

    @property
    def origin(self) -> Origin:
        """Whether the encoder was trained on images of people or simulated ones."""
        return self.spec.origin

    @property
    def fingerprint(self) -> str:
        """SHA-256 of weights and description."""
        digest = hashlib.sha256(json.dumps(self.spec.to_dict(), sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def encode_sources(self, sources: Sources) -> Embeddings:
        """Embed prepared sources ``(n, c, h, w)`` as unit vectors ``(n, d)``."""
        return self._encode(self.source, torch.from_numpy(np.ascontiguousarray(sources)))

    def encode_targets(self, targets: Targets) -> Embeddings:
        """Embed targets ``(n, r, h, w)`` in their own unit, NaN outside the mask, as unit vectors ``(n, d)``."""
        return self._encode(self.target, scale_targets(torch.from_numpy(targets), self.spec.target_scale))

    @torch.inference_mode()
    def _encode(self, network: nn.Module, images: Float[Tensor, "n c h w"]) -> Embeddings:
        was_training = self.training
        self.eval()
        device = next(self.parameters()).device
        embedded = nn.functional.normalize(network(images.to(device)).float(), dim=1)
        self.train(was_training)
        return embedded.cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write weights, training subjects and last ``encoder.json`` into `folder`, each atomically."""
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / _WEIGHTS, {name: tensor.contiguous() for name, tensor in self.state_dict().items()})
        if self.training_subjects is not None:
            write_training_subjects(folder, self.training_subjects)
        write_json(
            folder / _SPEC, {"format_version": FORMAT_VERSION, "fingerprint": self.fingerprint, **self.spec.to_dict()}
        )

    @classmethod
    def load(cls, folder: str | Path) -> "DualEncoder":
        """Read what `save` wrote; a run's folder holds one under ``encoder``.

        Raises:
            TrainingError: files missing or damaged, a format of another version, or other weights than described.
        """
        folder = Path(folder)
        try:
            values = read_json(folder / _SPEC)
            if values["format_version"] != FORMAT_VERSION:
                raise TrainingError(
                    f"encoder {folder} has format version {values['format_version']}, this mris reads {FORMAT_VERSION}"
                )
            encoder = cls(EncoderSpec.from_dict(values))
            regular_size(folder / _WEIGHTS)
            encoder.load_state_dict(load_file(folder / _WEIGHTS))
            encoder.training_subjects = read_training_subjects(folder)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(
                f"{folder} holds no readable encoder ({reason}); is this the folder of a finished run?"
            ) from error
        if encoder.fingerprint != values["fingerprint"]:
            raise TrainingError(f"encoder {folder}: weights are not those its {_SPEC} describes; train again")
        return encoder
