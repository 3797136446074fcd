"""`BundleSynthesizer`: the members of a bundle, each with neighbors of its own, give one image together."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from mris.cohort.origin import Origin
from mris.database.commit import Commit, at_newest
from mris.images.anatomy import Anatomy
from mris.images.transforms import SourcePreparation
from mris.synthesis.batch_synthesizer import BatchSynthesizer
from mris.synthesis.synthesis import Synthesis
from mris.synthesis.synthesizer import Synthesizer
from mris.types import Sources, TargetMap


class BundleSynthesizer(BatchSynthesizer):
    """Synthesis from all members of a bundle; regions stand in the order of the members."""

    def __init__(self, bundle_id: str, members: Sequence[Synthesizer], origin: Origin = "unknown") -> None:
        """Put synthesizers of disjoint regions together; `mris.synthesis.bundle.Bundle.synthesizer` does it."""
        self.bundle_id = bundle_id
        self.origin = origin
        self.members = tuple(members)

    @property
    def preparation(self) -> SourcePreparation | None:
        """How an image becomes a prepared source; the same for all members."""
        return self.members[0].preparation

    @property
    def anatomy(self) -> Anatomy:
        """The part of the body that images show; the same for all members."""
        return self.members[0].anatomy

    @property
    def regions(self) -> tuple[str, ...]:
        """What is synthesized, member after member."""
        return tuple(region for member in self.members for region in member.regions)

    @property
    def mirrors_targets(self) -> bool:
        """Whether targets of mirrored sides are stored mirrored."""
        return self.members[0].mirrors_targets

    def synthesize_without_doubts(
        self, sources: Sources, exclude_subjects: Sequence[str | None] | None
    ) -> list[Synthesis]:
        """Synthesize as `synthesize` does, without a look for doubts at the sources."""
        embedded = [member.embed(sources) for member in self.members]

        def from_state(commit: Commit) -> list[Synthesis]:
            by_member = [
                member.synthesize_embedded(own, exclude_subjects, commit)
                for member, own in zip(self.members, embedded, strict=True)
            ]
            return [self._joined(parts) for parts in zip(*by_member, strict=True)]

        return at_newest(self.members[0].database.root, from_state)

    def neighbor_maps(self, synthesis: Synthesis, count: int) -> tuple[Float32[np.ndarray, "m r h w"], ...]:
        """The target images of the first neighbors, for each contribution: (m, r, h, w), m at most `count`."""
        pairs = zip(self.members, synthesis.contributions, strict=True)
        return tuple(member.maps_of(part, count) for member, part in pairs)

    def _joined(self, parts: tuple[Synthesis, ...]) -> Synthesis:
        return replace(
            parts[0],
            image=np.concatenate([part.image for part in parts]),
            spread=np.concatenate([part.spread for part in parts]),
            regions=tuple(region for part in parts for region in part.regions),
            contributions=tuple(contribution for part in parts for contribution in part.contributions),
            bundle_id=self.bundle_id,
            origin=self.origin,
            lower=_all_or_none([part.lower for part in parts]),
            upper=_all_or_none([part.upper for part in parts]),
        )


def _all_or_none(maps: Sequence[TargetMap | None]) -> TargetMap | None:
    known = [one for one in maps if one is not None]
    return np.concatenate(known) if len(known) == len(maps) else None
