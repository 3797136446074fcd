"""The command line in this process: one import of torch for all tests."""

import sys
from dataclasses import dataclass

from mris.cli.main import main

TINY = ["--set", "width=8", "--set", "embedding_dim=8", "--set", "batch_size=8", "--epochs", "1", "--quiet"]
"""Options of ``mris train`` for a training of a second."""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def call(*arguments: object) -> int:
    """Run ``mris ARGUMENTS`` here; return its exit code."""
    before = sys.argv
    sys.argv = ["mris", *map(str, arguments)]
    try:
        main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    finally:
        sys.argv = before
    return 0
