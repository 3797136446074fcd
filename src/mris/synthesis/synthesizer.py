"""`Synthesizer`: a prepared source becomes the weighted average of its nearest neighbors' targets."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from mris.choices import ReadoutName, WeightRule
from mris.database.checks import check_excluded, checked_queries
from mris.database.commit import Commit, TableState, at_newest
from mris.database.database import EmbeddingDatabase
from mris.database.gallery import MEMORY_LIMIT, Gallery
from mris.errors import DatabaseError, EncoderMismatchError
from mris.images.admission import ANY
from mris.images.anatomy import Anatomy
from mris.images.transforms import SourcePreparation
from mris.synthesis.batch_synthesizer import BatchSynthesizer
from mris.synthesis.calibration import Calibrated
from mris.synthesis.readouts import (
    Answer,
    OpenReadout,
    Queries,
    Readout,
    SynthesisSettings,
    check_readout,
    open_readout,
)
from mris.synthesis.strangeness import Reference, Strangeness, strangeness
from mris.synthesis.synthesis import Contribution, Synthesis
from mris.types import Embeddings, Encoder, FeatureEncoder, Features, Sources


class Embedded(NamedTuple):
    """Embedded sources.

    Attributes:
        embeddings: (n, d) of norm 1.
        features: (n, q) what a linear readout reads; None where the encoder or the database has none.
    """

    embeddings: Embeddings
    features: Features | None


class _Opened(NamedTuple):
    """What answers from one state of a database: readout, what is usual, whether its calibration holds."""

    state: TableState
    readout: OpenReadout
    reference: Reference | None
    stale: bool


class Synthesizer(BatchSynthesizer):
    """Synthesis from one encoder and its database.

    Example:
        >>> synthesizer = Synthesizer(encoder, database, n_neighbors=20)      # doctest: +SKIP
        >>> synthesis = synthesizer(mris.read_image("hand.dcm"))               # doctest: +SKIP
        >>> synthesis.image, synthesis.neighbors, synthesis.spread             # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: Encoder,
        database: EmbeddingDatabase,
        n_neighbors: int | None = None,
        weights: WeightRule | None = None,
        temperature: float | None = None,
        one_per_subject: bool = False,
        *,
        readout: ReadoutName | None = None,
        stored: Readout | None = None,
        calibrated: Calibrated | None = None,
        preparation: SourcePreparation | None = None,
        anatomy: Anatomy = ANY,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        """Put an encoder and a database together.

        Args:
            encoder: The encoder that made the database.
            database: Whose targets are averaged.
            n_neighbors: k of the k nearest neighbors, or of the few, at least 1.
            weights: "similarity" (Eq. 4), "softmax" or "uniform".
            temperature: Of the softmax, above 0.
            one_per_subject: At most one neighbor of each subject.
            readout: "neighbors", "attention", "linear", "blend" or "few"; see
                `mris.synthesis.readouts.SynthesisSettings`.
            stored: What was chosen on validation people; stands for what is not given. The paper's numbers if None.
            calibrated: What intervals and strangeness are judged by; without it, there are none.
            preparation: How images are prepared; the encoder's own if None.
            anatomy: The part of the body that images show; it decides which are let in.
            memory_limit: Bytes of target pixels that may be held in memory; above it, rows are read from disk.

        Raises:
            EncoderMismatchError: Another encoder made the database.
            SettingsError: A setting cannot work.
        """
        if encoder.fingerprint != database.header.fingerprint:
            raise EncoderMismatchError(
                f"database {database.path} was made by encoder {database.header.fingerprint[:12]}, not by "
                f"{encoder.fingerprint[:12]}; their embeddings cannot be compared"
            )
        self.encoder = encoder
        self.database = database
        wanted = SynthesisSettings(n_neighbors, weights, temperature, one_per_subject, readout)
        self.readout = wanted.applied_to(stored)
        self._preparation = preparation if preparation is not None else getattr(encoder, "preparation", None)
        self._anatomy = anatomy
        self._memory_limit = memory_limit
        check_readout(self.readout, database)
        self._calibrated = calibrated
        self._opened: _Opened | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Let it be sent to another process, which opens what it needs."""
        return {**self.__dict__, "_opened": None}

    @property
    def preparation(self) -> SourcePreparation | None:
        """How an image becomes a prepared source."""
        return self._preparation

    @property
    def anatomy(self) -> Anatomy:
        """The part of the body that images show."""
        return self._anatomy

    @property
    def regions(self) -> tuple[str, ...]:
        """What is synthesized."""
        return self.database.regions

    @property
    def mirrors_targets(self) -> bool:
        """Whether targets of mirrored sides are stored mirrored."""
        return self.database.header.mirror_targets

    def synthesize_without_doubts(
        self, sources: Sources, exclude_subjects: Sequence[str | None] | None
    ) -> list[Synthesis]:
        """Synthesize as `synthesize` does, without a look for doubts at the sources."""
        embedded = self.embed(sources)
        return at_newest(
            self.database.root, lambda commit: self.synthesize_embedded(embedded, exclude_subjects, commit)
        )

    def embed(self, sources: Sources) -> Embedded:
        """Embed prepared sources; with the features, where the database has those of its own."""
        if isinstance(self.encoder, FeatureEncoder) and self.database.header.n_features:
            return Embedded(*self.encoder.describe_sources(sources))
        return Embedded(self.encoder.encode_sources(sources), None)

    def synthesize_embedded(
        self,
        embedded: Embedded,
        exclude_subjects: Sequence[str | None] | None,
        commit: Commit,
    ) -> list[Synthesis]:
        """Synthesize from embedded sources and one committed state of the database, from beginning to end.

        Args:
            embedded: What `embed` gave.
            exclude_subjects: For each source the subject whose entries must not be used, or None.
            commit: The state; the synthesizer's database moves to it.
        """
        self.database = database = self.database.at(commit)
        if len(database) == 0:
            raise DatabaseError(f"database {database.path} is empty; add targets with `mris bundle add`")
        embeddings = checked_queries(embedded.embeddings, database.header, database.path)
        if exclude_subjects is not None:
            check_excluded(exclude_subjects, len(embeddings))
        excluded = [None] * len(embeddings) if exclude_subjects is None else list(exclude_subjects)
        gallery = database.gallery(self._memory_limit)
        if self._opened is None or self._opened.state != database.state:  # a database can move to another by itself
            self._opened = self._open(database, gallery)
        opened = self._opened
        answers = opened.readout.answer(Queries(embeddings, embedded.features, excluded))
        strange: Sequence[Strangeness | None] = [None] * len(answers)
        if opened.reference is not None and embedded.features is not None:
            assert self._calibrated is not None and self._calibrated.record.strangeness is not None
            scores = opened.reference.scores(embedded.features, excluded)
            strange = strangeness(scores, self._calibrated.record.strangeness, stale=opened.stale)
        return [self._synthesis(*of_query, gallery) for of_query in zip(answers, excluded, strange, strict=True)]

    def _open(self, database: EmbeddingDatabase, gallery: Gallery) -> "_Opened":
        """Put together what answers from one state of the database."""
        readout, known = open_readout(self.readout, database, gallery), self._calibrated
        reference = Reference.of(database) if known is not None and known.record.strangeness is not None else None
        stale = known is not None and known.record.is_stale(database.subjects.tolist())
        return _Opened(database.state, readout, reference, stale)

    def _synthesis(
        self, answer: Answer, subject: str | None, strange: Strangeness | None, gallery: Gallery
    ) -> Synthesis:
        database = self.database
        image, spread = gallery.images(answer.pixels), gallery.images(answer.spread)
        lower = upper = intervals = None
        if self._calibrated is not None and self._calibrated.record.fits(self.readout):
            assert self._opened is not None
            half, intervals = self._calibrated.intervals(image, spread, stale=self._opened.stale)
            lower, upper = image - half, image + half
        return Synthesis(
            image=image,
            spread=spread,
            regions=database.regions,
            unit=database.header.unit,
            spacing=database.header.target_spacing,
            contributions=(replace(self._contribution(answer), intervals=intervals, strangeness=strange),),
            excluded_subject=subject,
            origin=getattr(self.encoder, "origin", "unknown"),
            lower=lower,
            upper=upper,
        )

    def _contribution(self, answer: Answer) -> Contribution:
        database = self.database
        return Contribution(
            regions=database.regions,
            readout=self.readout,
            neighbors=answer.shown,
            weights=answer.shown_weights,
            all_rows=answer.rows,
            all_weights=answer.weights,
            entries=database.keys,
            fingerprint=database.header.fingerprint,
            database_version=database.version,
        )

    def neighbor_maps(self, synthesis: Synthesis, count: int) -> tuple[Float32[np.ndarray, "m r h w"], ...]:
        """The target images of the first neighbors, as a single array (m, r, h, w), m at most `count`."""
        return (self.maps_of(synthesis.contributions[0], count),)

    def maps_of(self, contribution: Contribution, count: int) -> Float32[np.ndarray, "m r h w"]:
        """The target images of the first neighbors of a contribution of this database; see `neighbor_maps`."""
        # By key, not by row: the database may have moved to another state since.
        keys = contribution.neighbors.keys[0]
        database = self.database
        gallery = database.gallery(self._memory_limit)  # where it is in memory, nothing is read again
        return gallery.images(gallery.pixels(database.rows_of(keys[keys != ""][:count])))
