"""What the sheets of the OAI study promise and what was found of it, split by split, next to the paper's numbers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType

from mris.knee.oai_files import NO_CENTER, NO_MAP, NO_PLATE
from mris.knee.oai_pairs import OaiPair

PAPER_COUNTS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "train + val": MappingProxyType({"patients": 2000, "pairs": 13616}),
        "test": MappingProxyType({"patients": 897, "pairs": 8418}),
    }
)
"""Chen & Niethammer (MICCAI 2023): the split that trains the metric, and the test split.

Their 1,750 further patients, on whom the downstream networks were trained, are in no sheet.
"""

_TITLES = {
    "patients": "patients",
    "visits": "visits",
    "knees": "knees",
    "pairs": "pairs (a knee at a visit)",
    "centers": "  with a joint center",
    "grades": "  with a grade",
    "plates": "  with a plate",
    "maps": "  with both maps",
    "usable": "  usable",
}


@dataclass(frozen=True)
class SplitCounts:
    """Numbers of one split, or of several that share no patient.

    Attributes:
        patients: Patients in the sheets.
        visits: Their visits.
        knees: Their knees with an MR scan at any visit.
        pairs: Knees at visits: the pairs that the sheets promise.
        centers: Pairs with a joint center.
        grades: Pairs with a Kellgren-Lawrence grade.
        plates: Pairs whose plate is there; None if no folder of radiographs was named.
        maps: Pairs whose two thickness maps are there; None if no folder of maps was named.
        usable: Pairs that a manifest gets; None as long as one of the folders is not named.
    """

    patients: int
    visits: int
    knees: int
    pairs: int
    centers: int
    grades: int
    plates: int | None
    maps: int | None
    usable: int | None

    @classmethod
    def of(
        cls, pairs: Sequence[OaiPair], missing: Mapping[str, Mapping[str, str]], *, plates: bool, maps: bool
    ) -> "SplitCounts":
        """Count pairs.

        Args:
            pairs: Those of a split.
            missing: What pairs lack, by their key, as `mris.knee.oai_files.missing_of` says it.
            plates: Whether plates were looked for.
            maps: Whether maps were looked for.
        """

        def without(*reasons: str) -> int:
            return sum(not set(reasons) & set(missing.get(pair.key, ())) for pair in pairs)

        return cls(
            patients=_distinct(pairs, lambda pair: pair.patient),
            visits=_distinct(pairs, lambda pair: (pair.patient, pair.month)),
            knees=_distinct(pairs, lambda pair: (pair.patient, pair.side)),
            pairs=len(pairs),
            centers=without(NO_CENTER),
            grades=sum(pair.klg is not None for pair in pairs),
            plates=without(NO_PLATE) if plates else None,
            maps=without(*NO_MAP.values()) if maps else None,
            usable=sum(pair.key not in missing for pair in pairs) if plates and maps else None,
        )

    @classmethod
    def total(cls, parts: Iterable["SplitCounts"]) -> "SplitCounts":
        """Add splits that share no patient.

        Example:
            >>> few = SplitCounts(3, 4, 6, 8, 8, 7, 8, None, None)
            >>> both = SplitCounts.total([few, few])
            >>> both.pairs, both.plates, both.maps
            (16, 16, None)
        """
        rows = list(parts)

        def perhaps(values: Sequence[int | None]) -> int | None:
            known = [value for value in values if value is not None]
            return sum(known) if len(known) == len(values) else None

        return cls(
            patients=sum(row.patients for row in rows),
            visits=sum(row.visits for row in rows),
            knees=sum(row.knees for row in rows),
            pairs=sum(row.pairs for row in rows),
            centers=sum(row.centers for row in rows),
            grades=sum(row.grades for row in rows),
            plates=perhaps([row.plates for row in rows]),
            maps=perhaps([row.maps for row in rows]),
            usable=perhaps([row.usable for row in rows]),
        )


def counts_table(counts: Mapping[str, SplitCounts]) -> str:
    """Lay the counts of the splits beside the paper's.

    Args:
        counts: Of "train", "val" and "test", those that there are.

    Returns:
        Lines of text: one a number, one column a split.

    Example:
        >>> few = SplitCounts(3, 4, 6, 8, 8, 7, None, None, None)
        >>> print(counts_table({"train": few, "val": few, "test": few}))
                                      train      val  train + val    paper     test    paper
        patients                          3        3            6    2,000        3      897
        visits                            4        4            8                 4
        knees                             6        6           12                 6
        pairs (a knee at a visit)         8        8           16   13,616        8    8,418
          with a joint center             8        8           16                 8
          with a grade                    7        7           14                 7
    """
    parts = {name: [counts[name]] if name in counts else [] for name in ("train", "val", "test")}
    parts["train + val"] = parts["train"] + parts["val"]
    ours = {name: asdict(SplitCounts.total(found)) for name, found in parts.items()}
    heads = ("train", "val", "train + val", "paper", "test", "paper")
    lines = [f"{'':<26}" + "".join(_cell(name, name) for name in heads)]
    for name, title in _TITLES.items():
        if any(getattr(row, name) is None for row in counts.values()):
            continue
        numbers = [ours["train"][name], ours["val"][name]]
        for split in ("train + val", "test"):
            numbers += [ours[split][name], PAPER_COUNTS[split].get(name)]
        cells = [_cell(head, "" if n is None else f"{n:,}") for head, n in zip(heads, numbers, strict=True)]
        lines.append((f"{title:<26}" + "".join(cells)).rstrip())
    return "\n".join(lines)


def _cell(head: str, text: str) -> str:
    return f"{text:>{max(9, len(head) + 2)}}"


def _distinct(pairs: Sequence[OaiPair], key: Callable[[OaiPair], object]) -> int:
    return len({key(pair) for pair in pairs})
