"""An audit of sites in sentences."""

from collections.abc import Iterator

from mris.evaluation.site_results import ALL_SITES, PIXELS, SiteAudit, SiteLeftOut, SiteRecall, SiteShare


def on_sites(audit: SiteAudit, confidence: float) -> Iterator[str]:
    """Say of each encoder whether it sees where an image was made.

    Args:
        audit: What was found.
        confidence: Share of resamples inside its intervals.
    """
    for encoder in audit.encoders:
        said = [
            _neighbors(audit, audit.share(encoder, "neighbors"), confidence),
            _told(audit, audit.share(encoder, "told"), audit.share(PIXELS, "told")),
            *(_recalled(audit, row) for row in audit.recalls if row.encoder == encoder and row.k == _shown_k(audit)),
            *(_without(audit, row) for row in audit.left_out if (row.encoder, row.site) == (encoder, ALL_SITES)),
        ]
        yield f"{encoder}: {'; '.join(said)}."


def _neighbors(audit: SiteAudit, row: SiteShare, confidence: float) -> str:
    often = "more often than" if row.low > row.expected else "no more often than"
    return (
        f"neighbors share the {audit.label} of the query {often} chance: {_percent(row.value)} against "
        f"{_percent(row.expected)} ({100 * confidence:g} % interval {_percent(row.low)} to {_percent(row.high)})"
    )


def _told(audit: SiteAudit, row: SiteShare, pixels: SiteShare) -> str:
    names = "names" if row.low > row.expected else "does not name"
    return (
        f"its embedding {names} the {audit.label} of other people better than chance: {_percent(row.value)} against "
        f"{_percent(row.expected)}, where {PIXELS} name {_percent(pixels.value)}"
    )


def _recalled(audit: SiteAudit, row: SiteRecall) -> str:
    return (
        f"within the {audit.label} {_percent(row.value)} find their own target among the {row.k} nearest, in galleries "
        f"as large of any {audit.label} {_percent(row.any_site)}, by guessing {_percent(row.chance)}"
    )


def _without(audit: SiteAudit, row: SiteLeftOut) -> str:
    change = (row.left_out - row.error) / row.error
    unsure = "" if row.low > 0 or row.high < 0 else ", which cannot be told from no change with these people"
    return (
        f"without the query's own {audit.label} in the database, the error of the {audit.n_neighbors} nearest is "
        f"{100 * abs(change):.1f} % {'larger' if change >= 0 else 'smaller'}{unsure}"
    )


def _shown_k(audit: SiteAudit) -> int:
    """The k that is told: 10, or the largest below."""
    return max((row.k for row in audit.recalls if row.k <= 10), default=0)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
