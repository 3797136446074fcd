"""A result in memory: the synthesis, its arrays as they are sent, and all that its files need."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from jaxtyping import Float32

from mris.images.edges import Edges
from mris.serving.dicom_source import SourceHeader
from mris.serving.means import MeanRow, mean_rows
from mris.serving.notes import notes_on, notes_on_strangeness
from mris.serving.outputs import Query
from mris.serving.pictures import N_PICTURED, most_values, value_limits
from mris.synthesis.synthesis import Contribution, Synthesis
from mris.web.command import command_line
from mris.web.images import Wish
from mris.web.records import (
    ArrayItem,
    Arrays,
    ContributionRecord,
    EdgesRecord,
    IntervalsRecord,
    MeanRecord,
    PersonRecord,
    QueryRecord,
    ResultRecord,
    Scale,
    StrangenessRecord,
)
from mris.web.served import ServedBundle, State
from mris.web.work import Answer


@dataclass(frozen=True, eq=False)
class Asked:
    """What a result was asked for.

    Attributes:
        name: Of the file.
        stem: Beginning of the names of the results' files.
        facts: What the provenance tells of the query, the checksum left out.
        source: What the encoder sees of it.
        header: Whom and what the file is of; None if it does not say.
        header_problem: Why not.
        sha256: Of the file.
        mirrored: Whether the encoder sees it mirrored.
        wish: How the file was to be taken.
        finds: Whether its regions were found.
        image: Id of the image, where it is held.
    """

    name: str
    stem: str
    facts: Query
    source: Float32[np.ndarray, "c h w"]
    header: SourceHeader | None
    header_problem: str
    sha256: str
    mirrored: bool
    wish: Wish
    finds: bool
    image: str | None


@dataclass(frozen=True, eq=False)
class HeldResult:
    """A result and all that its files need."""

    record: ResultRecord
    asked: Asked
    facts: Query
    synthesis: Synthesis
    neighbor_maps: tuple[Float32[np.ndarray, "m r h w"], ...]
    served: ServedBundle
    state_number: int

    @property
    def arrays(self) -> bytes:
        """All arrays, as `record.arrays` says where each is."""
        parts = _arrays(self.synthesis, self.neighbor_maps, self.asked.source)
        return b"".join(values.astype("<f4").tobytes() for _, values in parts)

    @property
    def n_bytes(self) -> int:
        """Bytes in memory, about: of the arrays."""
        return 4 * self.record.arrays.n_floats


def held_result(
    name: str,
    asked: Asked,
    answer: Answer,
    served: ServedBundle,
    edges: Mapping[str, Edges],
    timing_ms: Mapping[str, float],
) -> HeldResult:
    """Put together what is told of a synthesis.

    Args:
        name: Id of the result.
        asked: What was asked.
        answer: What the bundle answered.
        served: The bundle.
        edges: By region what lies at the edges of its maps.
        timing_ms: How long each step took.
    """
    mirrored = asked.mirrored and answer.state.synthesizer.mirrors_targets
    synthesis = replace(answer.synthesis, mirrored=mirrored)
    notes = tuple(notes_on(synthesis))
    facts = replace(asked.facts, sha256=asked.sha256, notes=(*asked.facts.notes, *notes))
    items, offset = [], 0
    for what, values in _arrays(synthesis, answer.neighbor_maps, asked.source):
        items.append(ArrayItem(name=what, offset=offset, shape=values.shape))
        offset += values.size
    record = ResultRecord(
        id=name,
        image=asked.image,
        bundle=served.name,
        bundle_id=synthesis.bundle_id,
        stem=asked.stem,
        query=QueryRecord(**asdict(replace(facts, notes=asked.facts.notes))),
        notes=facts.notes,
        warnings=tuple(notes_on_strangeness(synthesis)),
        mirrored=mirrored,
        origin=synthesis.origin,
        excluded_subject=synthesis.excluded_subject,
        regions=synthesis.regions,
        unit=synthesis.unit,
        spacing=synthesis.spacing,
        level=synthesis.level,
        edges={region: EdgesRecord(**asdict(edges[region])) for region in synthesis.regions if region in edges},
        arrays=Arrays(url=f"/api/v1/results/{name}/arrays", n_floats=offset, items=tuple(items)),
        scale=_scale(synthesis, answer.neighbor_maps),
        means=tuple(_mean(row, answer.state) for row in mean_rows(asked.stem, synthesis, {})),
        contributions=tuple(
            _contribution(part, len(maps), answer.state, synthesis)
            for part, maps in zip(synthesis.contributions, answer.neighbor_maps, strict=True)
        ),
        command=command_line(served.path, asked.name, asked.wish, finds=asked.finds),
        timing_ms=dict(timing_ms),
    )
    return HeldResult(record, asked, facts, synthesis, answer.neighbor_maps, served, answer.state.number)


def _arrays(
    synthesis: Synthesis, neighbor_maps: tuple[np.ndarray, ...], source: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    yield "image", synthesis.image
    yield "spread", synthesis.spread
    if synthesis.lower is not None and synthesis.upper is not None:
        yield "lower", synthesis.lower
        yield "upper", synthesis.upper
    for place, maps in enumerate(neighbor_maps):
        yield f"people/{place}", maps
    yield "source", source


def _scale(synthesis: Synthesis, neighbor_maps: tuple[np.ndarray, ...]) -> Scale:
    few = [maps[:N_PICTURED, :, ::2, ::2] for maps in neighbor_maps]  # ends of colors need no more
    least, largest = value_limits(np.array([value_limits(synthesis.image), *map(most_values, few)]))
    width = 1.0
    if synthesis.lower is not None and synthesis.upper is not None:
        width = value_limits(synthesis.upper - synthesis.lower)[1]
    return Scale(
        value=(least, largest),
        spread=(0.0, value_limits(synthesis.spread)[1]),
        width=(0.0, width),
        difference=((least - largest) / 2, (largest - least) / 2),
    )


def _mean(row: MeanRow, state: State) -> MeanRecord:
    return MeanRecord(
        region=row.region,
        part=row.part,
        mean=_number(row.mean),
        lower=_number(row.lower),
        upper=_number(row.upper),
        n_pixels=int(row.n_pixels),
        unit=row.unit,
        usual=state.usual.get((row.region, row.part), ()),
    )


def _number(text: str) -> float | None:
    return float(text) if text else None


def _contribution(part: Contribution, count: int, state: State, synthesis: Synthesis) -> ContributionRecord:
    neighbors = part.neighbors
    people = []
    for rank in range(count):
        key = str(neighbors.keys[0, rank])
        entry = state.entries.get(key)
        people.append(
            PersonRecord(
                key=key,
                subject=str(neighbors.subjects[0, rank]),
                timepoint=entry.timepoint if entry else "",
                side=entry.side if entry else "",
                similarity=float(neighbors.similarities[0, rank]),
                weight=float(part.weights[rank]),
                weight_text=part.weight_text(rank),
                labels=dict(entry.labels) if entry else {},
            )
        )
    intervals, strange = part.intervals, part.strangeness
    return ContributionRecord(
        regions=part.regions,
        readout=part.readout.describe(part.n_neighbors),
        readout_name=part.readout.name,
        n_contributors=part.n_contributors,
        shown_share=part.shown_share,
        signed=part.signed,
        people=tuple(people),
        intervals=None
        if intervals is None
        else IntervalsRecord(**{name: value for name, value in vars(intervals).items() if name != "means"}),
        strangeness=None
        if strange is None
        else StrangenessRecord(
            **vars(strange),
            unusual=strange.unusual,
            sentence=strange.sentence(simulated=synthesis.origin == "simulated") if strange.unusual else "",
        ),
    )
