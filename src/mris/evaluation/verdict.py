"""What the numbers of an evaluation come to, in sentences: is a method better than no method, does retrieval work."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite, nan

from mris.cohort.origin import SIMULATED_NOTE
from mris.evaluation.references import REFERENCE_NAMES
from mris.evaluation.results import ALL, Difference, Recall, Results
from mris.evaluation.site_verdict import on_sites

MEAN_MAP = REFERENCE_NAMES[0]
METRIC = "median"
"""What methods are judged by: the median error of an image, mean over images."""


def verdict(results: Results) -> tuple[str, ...]:
    """Say what was simulated, how methods stand to the mean map, whose retrieval is at chance, and who sees the site.

    A method is worse (or better) where the interval of its paired difference leaves out 0, and retrieval is at chance
    where the interval of recall does not lie above chance. References are not judged.

    Args:
        results: Of an evaluation.

    Returns:
        Sentences: on origin, then one for each trouble of a method or encoder; for a method without any, how far below
        the mean map it is; what an audit of sites found. Nothing of methods where the mean map was not evaluated.
    """
    judged = [method.name for method in results.methods if method.name not in REFERENCE_NAMES]
    against_mean_map = (line for name in judged for line in against(results, name, MEAN_MAP))
    audit = results.site_audit
    sites = () if audit is None else on_sites(audit, results.settings.confidence)
    at_chance_now = at_chance(results.recalls, results.settings.confidence)
    return (*on_origin(results), *against_mean_map, *at_chance_now, *_on_intervals(results), *sites)


def on_origin(results: Results) -> Iterator[str]:
    """Say where images were simulated: those of the cohort, or those that methods were made from."""
    if results.cohort.origin == "simulated":
        yield f"Cohort {results.cohort.name} was {SIMULATED_NOTE}; its numbers say nothing about people."
    digital = [method.name for method in results.methods if method.origin == "simulated"]
    if digital:
        yield f"{', '.join(digital)} {'was' if len(digital) == 1 else 'were'} {SIMULATED_NOTE}."


def _on_intervals(results: Results) -> Iterator[str]:
    """Say where the intervals of a bundle hold other than they state: the region of all, and all images."""
    for row in results.intervals:
        if row.stratum.name == ALL and row.region == results.regions[-1] and not row.low <= row.level <= row.high:
            less = "fewer" if row.value < row.level else "more"
            yield (
                f"The intervals of {row.method} hold {less} pixels than stated: {100 * row.value:.1f} % "
                f"[{100 * row.low:.1f}, {100 * row.high:.1f}] instead of {100 * row.level:g} %."
            )


def against(results: Results, method: str, reference: str) -> Iterator[str]:
    """Say in which regions a method is worse than another, cannot be told from it, or is better in all of them."""
    found = [row for region in results.regions for row in differences(results, method, reference, region)]
    told = f"the {reference}" if reference == MEAN_MAP else reference
    worse = [row for row in found if row.low > 0]
    alike = [row for row in found if row.low <= 0 <= row.high]
    unknown = [row for row in found if not isfinite(row.low)]
    if worse:
        yield f"{method} is worse than {told}: {_listed(worse, results)}."
    if alike:
        yield f"{method} cannot be told from {told} with these people: {_listed(alike, results)}."
    if unknown:
        yield f"There are too few people to tell {method} from {told}: {_listed(unknown, results)}."
    if found and not (worse or alike or unknown):
        yield f"{method} is better than {told}: {_listed(found[-1:], results)}."


def differences(results: Results, method: str, reference: str, region: str) -> Iterator[Difference]:
    """The difference of a method from another over all images, whichever of the two was evaluated first."""
    for row in results.differences:
        if (row.region, row.label, row.stratum, row.metric) != (region, "", ALL, METRIC):
            continue
        if (row.method, row.reference) == (method, reference):
            yield row
        elif (row.method, row.reference) == (reference, method):
            yield turned(row)


def turned(row: Difference, relative: float = nan) -> Difference:
    """Give reference minus method; its share of the error has no interval, and is unknown unless it is given."""
    return replace(
        row,
        method=row.reference,
        reference=row.method,
        value=-row.value,
        low=-row.high,
        high=-row.low,
        relative=relative,
        relative_low=nan,
        relative_high=nan,
    )


def _listed(rows: Sequence[Difference], results: Results) -> str:
    return "; ".join(f"median error, {row.region}, {_distance(row, results)}" for row in rows)


def _distance(row: Difference, results: Results) -> str:
    """Write how far above or below the reference's error, with an interval where there is one."""
    where = "above" if row.value > 0 else "below"
    ends = sorted(abs(end) for end in (row.relative_low, row.relative_high))
    if not isfinite(row.relative):
        return f"{abs(row.value):.3g} {results.cohort.unit} {where} it"
    if not all(map(isfinite, ends)):
        return f"{100 * abs(row.relative):.1f} % {where} it"
    if row.relative_low <= 0 <= row.relative_high:
        interval = f"{100 * -row.relative_low:.1f} % below to {100 * row.relative_high:.1f} % above"
    else:
        interval = f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"
    return f"{100 * abs(row.relative):.1f} % {where} it ({_share(results.settings.confidence)} interval {interval})"


def at_chance(recalls: Sequence[Recall], confidence: float) -> Iterator[str]:
    """Say of each encoder whose recall does not lie above chance."""
    for encoder in dict.fromkeys(row.encoder for row in recalls):
        row = shown_recall([row for row in recalls if (row.encoder, row.label) == (encoder, "")])
        if row is not None and row.low <= row.chance:
            yield (
                f"Retrieval of {encoder} is at chance: {100 * row.value:.1f} % ({_share(confidence)} interval "
                f"{100 * row.low:.1f} to {100 * row.high:.1f} %) find their own target among the {row.k} nearest of "
                f"{row.gallery_size}, and guessing finds {100 * row.chance:.1f} %."
            )


def shown_recall(recalls: Sequence[Recall]) -> Recall | None:
    """Choose the recall that is told where one is enough: at 10, else at the largest k; None of none."""
    return next((row for row in recalls if row.k == 10), recalls[-1] if recalls else None)


def _share(value: float) -> str:
    return f"{100 * value:g} %"
