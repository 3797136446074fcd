"""The bundle of digital knees that comes with the package; opening it needs no torch."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mris.synthesis.bundle import Bundle

NAME = "digital"
"""What commands call it."""

FOLDER = Path(__file__).with_name("knees.bundle")


def digital_knees() -> "Bundle":
    """Open the bundle of 300 digital people that comes with the package: nobody in it ever lived.

    `mris bundle make-digital` made it. What it knows of real knees was judged on 71 of them: see "try it on your
    radiograph" in the docs. Research use, not a medical device. Copy the folder before you add or remove people.

    Returns:
        The open bundle.

    Raises:
        BundleError: Its files are damaged, or not installed.

    Example:
        >>> import mris
        >>> bundle = mris.digital_knees()
        >>> len(bundle.keys), bundle.header.origin
        (300, 'simulated')
    """
    from mris.synthesis.bundle import Bundle

    return Bundle.open(FOLDER)


def bundle_folder(path: Path) -> Path:
    """Give the folder of a bundle: the packaged one's for ``digital``, unless there is a folder of that name.

    Example:
        >>> bundle_folder(Path("knees.bundle")).name, bundle_folder(Path("digital")) == FOLDER
        ('knees.bundle', True)
    """
    return FOLDER if path == Path(NAME) and not path.exists() else path
