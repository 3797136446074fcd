"""What a preparation is going to do, decided before any image is opened: which rows, which split each."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mris.cohort.manifest import Manifest, ManifestRow
from mris.cohort.origin import Origin
from mris.cohort.prepare_settings import PrepareSettings
from mris.cohort.split import check_disjoint, split_by_subject
from mris.cohort.timepoints import timepoint_order
from mris.errors import ManifestError, SettingsError, TooFewSubjectsError


@dataclass(frozen=True)
class Plan:
    """The work on one manifest.

    Attributes:
        manifest: The checked manifest.
        splits: The split of each sound row, by row number; and of each row that a list leaves out, unless the manifest
            gives the splits.
        split_rule: Where the splits come from, in words.
        origin: Whether the images are of people or simulated.
    """

    manifest: Manifest
    splits: Mapping[int, str]
    split_rule: str
    origin: Origin = "unknown"


def make_plan(manifest: Manifest, settings: PrepareSettings) -> Plan:
    """Decide the split of every sound row.

    Subjects are divided as if no list left anything out: who excludes a map moves nobody to another split.

    Args:
        manifest: The checked manifest.
        settings: Fractions, seed and label to stratify by.

    Returns:
        The plan; it depends on the manifest and the settings alone, so that a resumed run has the same.

    Raises:
        ManifestError: No row is sound.
        SettingsError: The fractions do not sum to 1, there is no such label, or the manifest says that images are
            simulated and the settings that they are real, or the other way round.
        TooFewSubjectsError: The subjects are too few to be divided as asked (lists what is wrong with rows, too).
    """
    rows = manifest.rows
    if not rows:
        raise ManifestError(f"{manifest.path}: none of its {manifest.n_rows} rows can be used; see `mris check`")
    origin = _origin(manifest, settings)
    if manifest.has_split:
        check_disjoint([row.subject for row in rows], [row.split for row in rows])
        return Plan(manifest, {row.row: row.split for row in rows}, "column 'split' of the manifest", origin)
    rows = (*rows, *(row for row in manifest.excluded_rows if row.subject))
    strata = None if settings.stratify is None else _strata(manifest, rows, settings.stratify)
    subjects = [row.subject for row in rows]
    try:
        names = split_by_subject(subjects, fractions=settings.fractions, seed=settings.seed, stratify=strata)
    except TooFewSubjectsError as error:
        # Perhaps there would be subjects enough, were it not for these rows.
        raise TooFewSubjectsError("\n  ".join([f"{manifest.path}: {error}", *manifest.told()])) from error
    shares = ", ".join(f"{name} {share:g}" for name, share in settings.fractions.items())
    by = f", stratified by {settings.stratify} at the first visit" if settings.stratify else ""
    rule = f"by subject: {shares}; seed {settings.seed}{by}"
    return Plan(manifest, {row.row: str(name) for row, name in zip(rows, names, strict=True)}, rule, origin)


def _origin(manifest: Manifest, settings: PrepareSettings) -> Origin:
    found, asked = manifest.origin, settings.origin
    if "unknown" not in (found, asked) and found != asked:
        raise SettingsError(
            f"{manifest.path} says that images are {found}, and the settings that they are {asked}; mend one of them"
        )
    return asked if found == "unknown" else found


def _strata(manifest: Manifest, rows: Sequence[ManifestRow], label: str) -> list[str]:
    """Give each row the label that its subject has at the first visit that states one."""
    names = list(manifest.labels)
    if label not in names:
        raise SettingsError(
            f"{manifest.path}: no label {label!r} to stratify by; labels are: {', '.join(names) or 'none'}"
        )
    column = names.index(label)
    visits: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        if row.labels[column] is not None:
            visits[row.subject].append(row)
    # The key breaks ties between the sides of one visit, so that the order of the rows does not matter.
    first = {
        subject: min(seen, key=lambda row: (timepoint_order(row.timepoint), row.key))
        for subject, seen in visits.items()
    }
    return [str(first[row.subject].labels[column]) if row.subject in first else "" for row in rows]
