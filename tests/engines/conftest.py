"""Commands, and bundles as those of the synthesis."""

from tests.cli.conftest import refused, run_cli
from tests.synthesis.conftest import export_linear

__all__ = ["export_linear", "refused", "run_cli"]
