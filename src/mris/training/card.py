"""What a trained network says of itself, as JSON beside its weights; read without torch."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_serializer, model_validator

from mris.cohort.header import CohortHeader
from mris.cohort.origin import Origin
from mris.images.transforms import SourcePreparation
from mris.records import Record

Architecture = Literal["resnet18", "efficientnet-lite0"]
Stem = Literal["standard", "fine"]
Pooling = Literal["mean", "places"]
SourceContrast = Literal["global", "local"]
TargetNetwork = Literal["convolutional", "components"]

ENCODER_FILE = "encoder.json"
"""Holds the `EncoderCard` of two encoders, beside their weights or their exported networks."""

_LATER = {
    "pooling": "mean",
    "source_contrast": "global",
    "target_network": "convolutional",
    "n_components": 0,
    "source_components": 0,
    "temperature": None,
}
"""Fields that came later, with the value that stands for their absence."""


class NetworkCard(Record):
    """What every network on pairs of images says of these.

    Attributes:
        regions: target regions, in the order of the channels of targets.
        source_shape: ``(c, h, w)`` of a prepared source.
        target_shape: ``(r, h, w)`` of a target.
        target_scale: the network sees targets divided by this, in their own unit (3 mm in the paper).
        unit: the targets' unit.
        target_spacing: pixel spacing of targets in mm (row, column), or None where unknown.
        preparation: how an image becomes a prepared source.
        origin: whether it was trained on images of people or simulated ones.
    """

    regions: tuple[str, ...]
    source_shape: tuple[int, int, int]
    target_shape: tuple[int, int, int]
    target_scale: Annotated[float, Field(gt=0)]
    unit: str
    target_spacing: tuple[float, float] | None
    preparation: SourcePreparation
    origin: Origin = "unknown"

    @classmethod
    def for_cohort(cls, header: CohortHeader, *, regions: tuple[str, ...], target_scale: float, **others: Any) -> Self:
        """Describe a network for the images of a cohort, with `regions` of its targets.

        Args:
            header: the cohort's.
            regions: of the network's targets.
            target_scale: see `NetworkCard`.
            **others: the fields that only this kind of card has, and what differs from the cohort.
        """
        of_cohort: dict[str, Any] = {
            "regions": regions,
            "source_shape": header.source_shape,
            "target_shape": (len(regions), *header.target_shape[1:]),
            "target_scale": target_scale,
            "unit": header.unit,
            "target_spacing": header.target_spacing,
            "preparation": header.source,
            "origin": header.origin,
        }
        return cls(**of_cohort | others)

    @model_validator(mode="after")
    def _has_a_channel_for_each_region(self) -> Self:
        if len(self.regions) != self.target_shape[0]:
            raise ValueError(f"regions {self.regions} contradict targets {self.target_shape}: each has one channel")
        return self

    @model_serializer(mode="wrap")
    def _plain(self, handler: Callable[[Self], dict[str, Any]]) -> dict[str, Any]:
        """Leave out what earlier encoders did not have, so that they keep their fingerprints."""
        later = {"origin": "unknown", **_LATER}
        return {name: value for name, value in handler(self).items() if name not in later or value != later[name]}


class EncoderSpec(NetworkCard):
    """Everything about a pair of encoders but their weights.

    Attributes:
        architecture, width, stem, embedding_dim: see `mris.training.networks.build_network`.
        pooling: "places" lets the source encoder keep where a feature was found (`mris.training.networks.keep_places`).
        source_contrast: "local" lets the source encoder see each pixel relative to its neighborhood
            (`mris.training.local_contrast`).
        target_network: "convolutional", like the source's, or two layers on principal "components".
        n_components: how many components of a target those are.
        source_components: principal components of a source, which a linear readout may use beside the embedding.
        temperature: of the attention that it was trained with, in cosine similarity; None where it was not.
    """

    architecture: Architecture = "resnet18"
    width: int = 64
    stem: Stem = "standard"
    embedding_dim: int = 512
    pooling: Pooling = "mean"
    source_contrast: SourceContrast = "global"
    target_network: TargetNetwork = "convolutional"
    n_components: int = 0
    source_components: int = 0
    temperature: Annotated[float, Field(gt=0)] | None = None


class EncoderCard(EncoderSpec):
    """What ``encoder.json`` holds.

    Attributes:
        fingerprint: SHA-256 (hex) of weights and specification.
        n_learned: features that the exported source network gives behind the embedding, before its components; 0 in
            cards from before there were any.
        versions: of the software that exported them.
        format_version: of the file.
    """

    fingerprint: str
    n_learned: Annotated[int, Field(ge=0)] = 0
    versions: Mapping[str, str] = {}
    format_version: Literal[1] = 1

    @property
    def spec(self) -> EncoderSpec:
        """What the encoders are, whatever their weights."""
        return EncoderSpec(**{name: getattr(self, name) for name in EncoderSpec.model_fields})
