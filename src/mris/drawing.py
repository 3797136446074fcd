"""Matplotlib, the only way in: it draws with the fonts it brings along, and leaves nothing in the home folder.

Imported as usual, it makes two folders in the home, lists all fonts of the system there (seconds on a machine with
many), and fails where a notebook's ``MPLBACKEND`` names a backend that is not installed. Here it reads the user's
settings and list of fonts where there are any, and writes none. If the user imported it before, it stays as it is.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mris.quiet import environment, matplotlib_settings

_FONTS = "matplotlib.font_manager"
_log = logging.getLogger(__name__)


def _users_folder(xdg: str, default: str) -> Path:
    """The folder of the user's where Matplotlib would look; unlike Matplotlib, this does not make it."""
    if "MPLCONFIGDIR" in os.environ:
        return Path(os.environ["MPLCONFIGDIR"])
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - no error where there is no home
    places = [Path(os.environ.get(xdg) or home / default) / "matplotlib", home / ".matplotlib"]
    places += [Path(os.environ[name]) / "matplotlib" for name in ("LOCALAPPDATA",) if name in os.environ]
    return next((place for place in places if place.is_dir()), places[0])


@contextmanager
def _folders(matplotlib: Any, settings: Path, cache: Path) -> Iterator[None]:
    """Name Matplotlib its folders for a while: where it asks for one itself, it makes it."""
    log = logging.getLogger(_FONTS)
    kept = matplotlib.get_configdir, matplotlib.get_cachedir, log.disabled
    matplotlib.get_configdir, matplotlib.get_cachedir = lambda: str(settings), lambda: str(cache)
    log.disabled = True  # it would say that the list of fonts could not be saved
    try:
        yield
    finally:
        matplotlib.get_configdir, matplotlib.get_cachedir, log.disabled = kept


def _import_matplotlib() -> None:
    backend = os.environ.get("MPLBACKEND")
    settings, cache = _users_folder("XDG_CONFIG_HOME", ".config"), _users_folder("XDG_CACHE_HOME", ".cache")
    own = settings / "matplotlibrc"
    file = os.environ.get("MATPLOTLIBRC") or (own if own.is_file() else matplotlib_settings())
    with environment(MPLBACKEND=None, MATPLOTLIBRC=str(file), MPL_IGNORE_SYSTEM_FONTS="1"):
        import matplotlib

        with _folders(matplotlib, settings, cache=Path(os.devnull)):  # nothing can be saved there
            import matplotlib.font_manager
        with _folders(matplotlib, settings, cache):  # these two remember where to look, should the user ask them
            import matplotlib.style
            import matplotlib.texmanager
    if os.environ.get("MATPLOTLIBRC") == str(matplotlib_settings()):  # ours (`keep_to_ourselves`), and yet Matplotlib
        matplotlib.rc_file(matplotlib_settings())  # prefers a file in the working folder
    if backend:  # for the user's own figures: ours go to no screen
        try:
            matplotlib.rcParams["backend"] = backend
        except ValueError:
            _log.info("MPLBACKEND is %s, which is not installed", backend)
    _take_fonts(matplotlib.font_manager, cache)


def _take_fonts(font_manager: Any, cache: Path) -> None:
    """Know the system's fonts, too, where the user has a list of them of this version."""
    manager = font_manager.fontManager
    try:
        listed = font_manager.json_load(cache / f"fontlist-v{manager.__version__}.json")
        if listed._version == manager.__version__:
            vars(manager).update(vars(listed))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        _log.info("no list of the system's fonts (%s)", error)


if _FONTS not in sys.modules:
    _import_matplotlib()

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

__all__ = [
    "Axes",
    "Colormap",
    "Figure",
    "FigureCanvasAgg",
    "FontProperties",
    "Line2D",
    "MaxNLocator",
    "Normalize",
    "Rectangle",
    "ScalarMappable",
    "colormaps",
    "findfont",
    "get_font",
    "withStroke",
]


def drawable(text: str) -> str:
    r"""Write a text so that a figure shows it: letters that its font lacks as their codes, dollars as dollars.

    An empty box would stand for any such letter, and what stands between two dollars would be set as a formula.

    Example:
        >>> drawable("José"), drawable("P01 林"), drawable("US$")
        ('José', 'P01 \\u6797', 'US\\$')
    """
    fonts = [get_font(findfont(FontProperties(family=[family]))) for family in FontProperties().get_family()]
    return "".join(
        rf"\{letter}"
        if letter == "$"
        else letter
        if letter == "\n" or any(font.get_char_index(ord(letter)) for font in fonts)
        else letter.encode("ascii", "backslashreplace").decode()
        for letter in text
    )
