"""The line of ``mris synthesize`` that gives the same as the page has given."""

import shlex
from pathlib import Path

from mris.web.images import Wish


def command_line(bundle: Path, name: str, wish: Wish, *, finds: bool) -> str:
    """Write the command.

    Args:
        bundle: As it was given to ``mris serve``.
        name: Of the file.
        wish: How it was taken.
        finds: Whether its regions were found.

    Example:
        >>> command_line(Path("knees.bundle"), "my plate.dcm", Wish(spacing=0.2), finds=True)
        "mris synthesize knees.bundle 'my plate.dcm' --knees detect --spacing 0.2"
    """
    words = ["mris", "synthesize", str(bundle), f"./{name}" if name.startswith("-") else name]  # no option
    if finds:
        for side, center in wish.centers:
            words += [f"--{side}", _written(center)]
        if not wish.centers:
            words += ["--knees", "detect"]
    elif wish.center is not None:
        words += ["--center", _written(wish.center)]
    if wish.side is not None:
        words += ["--side", wish.side]
    if wish.spacing is not None:
        words += ["--spacing", f"{wish.spacing:g}"]
    if wish.exclude_subject is not None:
        words += ["--exclude-subject", wish.exclude_subject]
    return shlex.join(words)


def _written(center: tuple[float, float]) -> str:
    return f"{center[0]:.10g},{center[1]:.10g}"
