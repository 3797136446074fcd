"""Versions of what a trained network depends on, kept beside it."""

import platform
from importlib.metadata import version


def software_versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = ("mris", "torch", "lightning", "numpy", "pylance")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
