"""What validators of other makers say of a DICOM object."""

import re
import shutil
import subprocess
from pathlib import Path

HAS_DCIODVFY = shutil.which("dciodvfy") is not None
"""Whether the validator of dicom3tools is installed."""

_SUMMARY = "Error - Dicom dataset contains invalid data values for Value Representations"


def dciodvfy_errors(path: Path) -> list[str]:
    """Errors that ``dciodvfy`` finds; none where it is not installed.

    Two it finds are none by the standard: it counts the bytes of a text beyond ASCII where the standard counts
    characters, and knows no leap second (PS3.5, table 6.2-1).
    """
    if not HAS_DCIODVFY:
        return []
    found = subprocess.run(["dciodvfy", path], capture_output=True, check=False)
    lines = (found.stdout + found.stderr).decode("utf-8", "replace").splitlines()
    errors = [line for line in lines if line.startswith("Error") and not _is_none(line)]
    return [] if errors == [_SUMMARY] else errors


def _is_none(line: str) -> bool:
    too_long = "ength invalid for this VR" in line and not line.isascii()
    return too_long or re.search(r" TM \[1\] = <\d{4}60", line) is not None
