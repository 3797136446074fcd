"""`OnnxEncoder`: trained encoders that run on ONNX Runtime alone."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mris.cohort.origin import Origin
from mris.cohort.training_subjects import read_training_subjects
from mris.errors import BundleError
from mris.images.transforms import SourcePreparation
from mris.records import read_record
from mris.storage.folder import Folder
from mris.training.card import ENCODER_FILE, EncoderCard
from mris.training.onnx_network import OnnxNetwork
from mris.types import Embeddings, Features, Sources, Targets

GRAPH_FILES = ("source.onnx", "target.onnx")


class OnnxEncoder:
    """Encoders exported by `mris.metric.export.export_encoder`; satisfies `mris.types.Encoder` without torch.

    Networks are loaded when they are first used: a synthesis never loads the target's.

    Attributes:
        card: All about the encoders but their weights.
        training_subjects: Whom they were trained on; None where that is unknown.
    """

    def __init__(
        self, folder: str | Folder, *, checksums: Mapping[str, str] | None = None, threads: int | None = None
    ) -> None:
        """Read the card of an exported encoder.

        Args:
            folder: Holds ``encoder.json``, ``source.onnx`` and ``target.onnx``.
            checksums: SHA-256 (hex) of the networks' files; a network is refused if its bytes differ.
            threads: Threads of one network; as many as this process may use cores if None.

        Raises:
            BundleError: The card is missing or damaged, or a network's file is missing.
        """
        self.folder = Path(folder) if isinstance(folder, str) else folder
        missing = f"{str(folder)!r} is no exported encoder (no {ENCODER_FILE}); `mris index` exports one"
        anew = "run `mris index` again"
        self.card = read_record(self.folder / ENCODER_FILE, EncoderCard, BundleError, anew, missing=missing)
        self.training_subjects = read_training_subjects(self.folder)
        card, known = self.card, dict(checksums or {})
        told = card.embedding_dim + (card.n_learned and card.n_learned + card.source_components)
        graphs = {"source": (card.source_shape, told), "target": (card.target_shape, card.embedding_dim)}
        self._networks = {
            name: OnnxNetwork(
                self.folder / f"{name}.onnx",
                name,
                shape,
                (size,),
                checksum=known.get(f"{name}.onnx"),
                threads=threads,
            )
            for name, (shape, size) in graphs.items()
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of weights and settings."""
        return self.card.fingerprint

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the target regions, in the order of the target encoder's channels."""
        return self.card.regions

    @property
    def origin(self) -> Origin:
        """Whether it was trained on images of people or simulated ones."""
        return self.card.origin

    @property
    def preparation(self) -> SourcePreparation:
        """How an image becomes a prepared source."""
        return self.card.preparation

    @property
    def n_learned(self) -> int:
        """How many of the features were learned; the embedding itself, for encoders that give no others."""
        return self.card.n_learned or self.card.embedding_dim

    @property
    def n_components(self) -> int:
        """How many of the features are principal components of the source."""
        return self.card.source_components if self.card.n_learned else 0

    def encode_sources(self, sources: Sources) -> Embeddings:
        """Embed prepared source images.

        Args:
            sources: (n, c, h, w).

        Returns:
            (n, d) unit vectors.

        Raises:
            ImageError: The shape is not the encoder's.
            BundleError: The network cannot be loaded or run.
        """
        return self.describe_sources(sources)[0]

    def describe_sources(self, sources: Sources) -> tuple[Embeddings, Features]:
        """Embed prepared source images, and give what a linear readout reads of them, (n, q); see `encode_sources`."""
        told = self._networks["source"].run(sources)
        embeddings = told[:, : self.card.embedding_dim]
        return embeddings, told[:, self.card.embedding_dim :] if self.card.n_learned else embeddings

    def encode_targets(self, targets: Targets) -> Embeddings:
        """Embed targets of the encoder's regions; NaN becomes 0 for the network only.

        Args:
            targets: (n, r, h, w) in the encoder's unit.

        Returns:
            (n, d) unit vectors.

        Raises:
            ImageError: The shape is not the encoder's.
            BundleError: The network cannot be loaded or run.
        """
        scaled = np.nan_to_num(np.asarray(targets, dtype=np.float32), nan=0.0) / np.float32(self.card.target_scale)
        return self._networks["target"].run(scaled)
