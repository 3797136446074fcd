"""Bundles as those of the synthesis."""

from tests.synthesis.conftest import export_linear

__all__ = ["export_linear"]
