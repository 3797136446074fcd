"""What a user should be told of a synthesis, a sentence each."""

from collections.abc import Iterator

from mris.synthesis.calibration_record import STALE_SHARE
from mris.synthesis.synthesis import Synthesis


def notes_on(synthesis: Synthesis) -> Iterator[str]:
    """Say what deserves a look."""
    yield from synthesis.notes
    yield from _on_neighbors(synthesis)
    yield from notes_on_strangeness(synthesis)
    if synthesis.stale:
        yield (
            "intervals and strangeness are stale: the database has changed by more than "
            f"{100 * STALE_SHARE:.0f} % since they were calibrated; index again"
        )


def notes_on_strangeness(synthesis: Synthesis) -> Iterator[str]:
    """Say that a query is unlike anything known, or does not look like what it should show, and what to do."""
    for reason in reasons_against(synthesis):
        advice = "; look at the image before you believe its map" if reason in synthesis.doubts else ""
        yield f"{reason}{advice}"


def reasons_against(synthesis: Synthesis) -> Iterator[str]:
    """Say why a query is not what it should be."""
    yield from synthesis.doubts
    strange = synthesis.strangeness
    if strange is not None and strange.unusual:
        yield strange.sentence(simulated=synthesis.origin == "simulated")


def _on_neighbors(synthesis: Synthesis) -> Iterator[str]:
    """Say where Eq. 4 has nothing to weigh by."""
    for part in synthesis.contributions:
        nearest = part.neighbors.similarities[0, 0]
        if part.readout.name == "neighbors" and part.readout.weights == "similarity" and nearest <= 0:
            yield (
                f"no neighbor for {', '.join(part.regions)} has a similarity above 0 (nearest: {nearest:.2f}); all "
                "weigh the same, and the map may say little about this image"
            )
