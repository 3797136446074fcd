"""Can a bundle be trusted with people like these? Questions that a reader would ask, each with a short answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from mris.evaluation.results import ALL, Difference, Recall, Results
from mris.evaluation.site_verdict import on_sites
from mris.evaluation.verdict import MEAN_MAP, against, at_chance, differences, on_origin, shown_recall

Tone = Literal["good", "bad", "open"]


@dataclass(frozen=True)
class Answered:
    """One question.

    Attributes:
        question: What a reader would ask.
        short: The answer in a word or two; "" where only sentences answer.
        tone: Whether that speaks for the bundle, against it, or neither.
        sentences: What the answer rests on.
    """

    question: str
    short: str
    tone: Tone
    sentences: tuple[str, ...]


def trust(results: Results) -> tuple[Answered, ...]:
    """Answer for the first method of an evaluation; questions without numbers are left out."""
    name = results.methods[0].name
    rivals = [method.name for method in results.methods[1:] if method.name != MEAN_MAP]
    answers = [
        *_of_people(results),
        *_better(results, "Is it better than the mean map?", [MEAN_MAP] if name != MEAN_MAP else []),
        *_better(results, "Is it better than the other methods?", rivals),
        *_retrieves(results),
        *_readout(results),
        *_people(results),
        *_intervals(results),
        *_sites(results),
    ]
    return tuple(answers)


def _of_people(results: Results) -> Iterator[Answered]:
    sentences = tuple(on_origin(results))
    if sentences:
        yield Answered("Was it measured on images of people?", "no", "bad", sentences)


def _better(results: Results, question: str, references: list[str]) -> Iterator[Answered]:
    name = results.methods[0].name
    rows = [row for ref in references for region in results.regions for row in differences(results, name, ref, region)]
    if rows:
        sentences = tuple(line for reference in references for line in against(results, name, reference))
        yield Answered(question, *_found(rows), sentences)


def _found(rows: list[Difference]) -> tuple[str, Tone]:
    if any(row.low > 0 for row in rows):
        return "no", "bad"
    return ("yes", "good") if all(row.high < 0 for row in rows) else ("not shown", "open")


def _retrieves(results: Results) -> Iterator[Answered]:
    name = results.methods[0].name
    own = [row for row in results.recalls if row.label == "" and _method_of(row.encoder, results) == name]
    encoders = dict.fromkeys(row.encoder for row in own)
    shown = [shown_recall([row for row in own if row.encoder == encoder]) for encoder in encoders]
    if shown:
        lost = tuple(at_chance(own, results.settings.confidence))
        found = tuple(_recalled(row) for row in shown if row is not None and row.low > row.chance)
        unknown = not lost and len(found) < len(shown)
        short: tuple[str, Tone] = ("not shown", "open") if unknown else ("no", "bad") if lost else ("yes", "good")
        yield Answered("Does it find the right person?", *short, lost + found)


def _method_of(encoder: str, results: Results) -> str:
    """Find whose an encoder is: it has its method's name, followed by that of a member where there are several."""
    named = any(method.name == encoder for method in results.methods)
    return encoder if named else encoder.rpartition(" ")[0]


def _recalled(row: Recall) -> str:
    return (
        f"{row.encoder}: {100 * row.value:.1f} % find their own target among the {row.k} nearest of "
        f"{row.gallery_size}; guessing finds {100 * row.chance:.1f} %."
    )


def _readout(results: Results) -> Iterator[Answered]:
    name = results.methods[0].name
    if name in results.settings.readouts:
        reason = results.settings.reasons.get(name, "as asked for")
        sentence = f"{results.settings.readouts[name]}. Why: {reason}."
        yield Answered("How are people put together, and why so?", "", "open", (sentence,))


def _people(results: Results) -> Iterator[Answered]:
    name = results.methods[0].name
    for row in results.people_shown:
        if row.method == name:
            shares = [
                f"{n} {'makes' if n == 1 else 'make'} up {100 * share:.0f} %"
                for n, share in zip(row.n_people, row.shares, strict=True)
            ]
            counting = f"{row.n_contributing:,.0f} count at all"
            sentence = f"Of all weights, the people who count most: {', '.join(shares)}; {counting}."
            yield Answered("How many people make up a map?", "", "open", (sentence,))


def _intervals(results: Results) -> Iterator[Answered]:
    name = results.methods[0].name
    for row in results.intervals:
        if (row.method, row.region, row.stratum.name) == (name, results.regions[-1], ALL):
            short: tuple[str, Tone] = ("no", "bad") if row.high < row.level else ("yes", "good")
            if not isfinite(row.low):
                short = ("not shown", "open")
            wide = " They are wider than they need be." if row.low > row.level else ""
            sentence = (
                f"{100 * row.value:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}] of the pixels lie inside, "
                f"{100 * row.level:g} % are stated.{wide}"
            )
            yield Answered("Do its intervals hold what they state?", *short, (sentence,))
            if isfinite(row.strange):
                share = f"{100 * row.strange:.1f} % of the images are called unlike anything known."
                yield Answered("Are these images like those it knows?", "", "open", (share,))


def _sites(results: Results) -> Iterator[Answered]:
    audit = results.site_audit
    if audit is not None:
        name, level = results.methods[0].name, results.settings.confidence
        own = [row for row in audit.shares if _method_of(row.encoder, results) == name]
        seen = any(row.low > row.expected for row in own)
        short: tuple[str, Tone] = ("yes", "bad") if seen else ("not shown", "open")
        yield Answered(f"Does it see the {audit.label} of an image?", *short, tuple(on_sites(audit, level)))
