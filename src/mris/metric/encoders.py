"""Two encoders with one embedding space: what they are, how they embed, how they are stored."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mris.cohort.origin import Origin
from mris.cohort.training_subjects import TrainingSubjects, read_training_subjects, write_training_subjects
from mris.errors import TrainingError
from mris.images.transforms import SourcePreparation
from mris.images.write import write_json
from mris.metric.components import ComponentEncoder, Components
from mris.reading import regular_size
from mris.records import read_record
from mris.training.card import ENCODER_FILE, EncoderCard, EncoderSpec
from mris.training.checkpoint_file import write_tensors
from mris.training.networks import build_network, embed_with_features, keep_places, last_layer, see_local_contrast
from mris.training.pairs import scale_targets
from mris.types import Embeddings, Features, Sources, Targets

_WEIGHTS = "encoder.safetensors"


class DualEncoder(nn.Module):
    """A source encoder f and a target encoder g that end in one space of unit vectors.

    Args:
        spec: shapes, preparation and architecture.

    Attributes:
        training_subjects: whom the encoders were trained on; None where that is unknown.
        components: principal components of the source, beside the embedding; None where there are none.

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
        if spec.source_contrast == "local":
            see_local_contrast(self.source, spec.source_shape[1:])
        self.components = Components(spec.source_shape, spec.source_components) if spec.source_components else None
        self.target: nn.Module
        if spec.target_network == "components":
            self.target = ComponentEncoder(spec.target_shape, spec.n_components, spec.embedding_dim)
            self.log_temperature = nn.Parameter(torch.tensor(math.log(spec.temperature or 1.0)))
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
    def temperature(self) -> Float[Tensor, ""]:
        """Of the attention, above 0; there is one where the target encoder is made of components."""
        return self.log_temperature.exp()

    @property
    def n_learned(self) -> int:
        """How many of the features were learned: what the source encoder's last layer reads."""
        return last_layer(self.source).in_features

    @property
    def n_components(self) -> int:
        """How many of the features are principal components of the source."""
        return self.spec.source_components

    @property
    def fingerprint(self) -> str:
        """SHA-256 of weights and description."""
        digest = hashlib.sha256(json.dumps(self.spec.to_json(), sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def card(self, **others: Any) -> EncoderCard:
        """Say what the encoders are, to be written beside them."""
        return EncoderCard(**dict(self.spec), fingerprint=self.fingerprint, **others)

    def encode_sources(self, sources: Sources) -> Embeddings:
        """Embed prepared sources ``(n, c, h, w)`` as unit vectors ``(n, d)``."""
        return self._encode(self.source, torch.from_numpy(np.ascontiguousarray(sources)))

    def describe_sources(self, sources: Sources) -> tuple[Embeddings, Features]:
        """Embed prepared sources ``(n, c, h, w)``, and give what a linear readout reads of them, ``(n, q)``."""
        told = self._run(SourceDescription(self), torch.from_numpy(np.ascontiguousarray(sources)))
        return told[:, : self.spec.embedding_dim], told[:, self.spec.embedding_dim :]

    def encode_targets(self, targets: Targets) -> Embeddings:
        """Embed targets ``(n, r, h, w)`` in their own unit, NaN outside the mask, as unit vectors ``(n, d)``."""
        return self._encode(self.target, scale_targets(torch.from_numpy(targets), self.spec.target_scale))

    def _encode(self, network: nn.Module, images: Float[Tensor, "n c h w"]) -> Embeddings:
        return self._run(NormalizedNetwork(network), images)

    @torch.inference_mode()
    def _run(self, network: nn.Module, images: Float[Tensor, "n c h w"]) -> Float32[np.ndarray, "n q"]:
        was_training = self.training
        self.eval()
        network.eval()
        answers: Tensor = network(images.to(next(self.parameters()).device)).float()
        self.train(was_training)
        return answers.cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write weights, training subjects and last ``encoder.json`` into `folder`, each atomically."""
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / _WEIGHTS, {name: tensor.contiguous() for name, tensor in self.state_dict().items()})
        if self.training_subjects is not None:
            write_training_subjects(folder, self.training_subjects)
        write_json(folder / ENCODER_FILE, self.card())

    @classmethod
    def load(cls, folder: str | Path) -> "DualEncoder":
        """Read what `save` wrote; a run's folder holds one under ``encoder``.

        Raises:
            TrainingError: files missing or damaged, a format of another version, or other weights than described.
        """
        folder = Path(folder)
        way_out = "is this the folder of a finished run?"
        missing = f"{folder} holds no encoder (no {ENCODER_FILE}); {way_out}"
        card = read_record(folder / ENCODER_FILE, EncoderCard, TrainingError, "train again", missing=missing)
        try:
            encoder = cls(card.spec)
            regular_size(folder / _WEIGHTS)
            encoder.load_state_dict(load_file(folder / _WEIGHTS))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(f"{folder} holds no readable encoder ({reason}); {way_out}") from error
        if encoder.fingerprint != card.fingerprint:
            raise TrainingError(f"encoder {folder}: weights are not those its {ENCODER_FILE} describes; train again")
        encoder.training_subjects = read_training_subjects(folder)
        return encoder


class NormalizedNetwork(nn.Module):
    """A network whose answers are unit vectors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Embed images."""
        return nn.functional.normalize(self.network(images), dim=1)


class SourceDescription(nn.Module):
    """All that is told of a source, side by side: its embedding, what was learned beside it, its components."""

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.source, self.components = encoder.source, encoder.components

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n q"]:
        """Describe images."""
        embedded, learned = embed_with_features(self.source, images)
        parts = [nn.functional.normalize(embedded, dim=1), learned]
        return torch.cat(parts if self.components is None else [*parts, self.components(images)], dim=1)
