"""*Finding*: the one word for what any check reports, from the row of a table to the overlap of a registration."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
"""What a finding costs: what it is of cannot be used; can be, but look at it; only said."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Attributes:
        reason: What was found, the rule, and the way out.
        rule: The short name under which findings of this kind are counted, such as "missing file".
        severity: "error" (what it is of cannot be used), "warning" (it can be, but look at it) or "note".
    """

    reason: str
    rule: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        return self.reason
