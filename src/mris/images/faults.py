"""Turns what libraries raise on damaged files into one `ImageError` that names the file, and keeps them quiet."""

import contextlib
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

from mris.errors import ImageError

LIBRARY_FAULTS: tuple[type[Exception], ...] = (
    ArithmeticError,  # sizes of zero, overflow
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,  # includes KeyError, IndexError and unknown encodings
    MemoryError,
    OSError,  # includes gzip.BadGzipFile and PIL.UnidentifiedImageError
    RuntimeError,  # includes NotImplementedError and RecursionError; encrypted archives
    StopIteration,
    SyntaxError,  # Pillow on broken PNG chunks, NumPy on broken headers
    TypeError,
    ValueError,  # includes UnicodeError
    struct.error,
    zlib.error,
)
"""Parsers of binary formats meet bytes their authors did not foresee; these are what the ones used here raise."""

_BYTES_LITERAL = re.compile(r"""\bb(['"]).*?(?<!\\)\1""", re.DOTALL)


@contextlib.contextmanager
def library_faults_as_image_error(path: Path, kind: str, *further: type[Exception]) -> Iterator[None]:
    """Raise an `ImageError` naming file and reason for what a library raises in the block.

    Warnings of libraries are not shown: they name no file, a clinical archive gives them by the thousand, and a file
    is either read or refused with a reason.

    Args:
        path: The file being read.
        kind: The format's name, for the message.
        further: The library's own exception types.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    except (*LIBRARY_FAULTS, *further) as error:
        without_content = _BYTES_LITERAL.sub("other bytes", str(error))  # they may be a patient's name
        printable = "".join(sign if sign.isprintable() else " " for sign in without_content)
        reason = " ".join(printable.split())[:200] or type(error).__name__
        raise ImageError(f"image {path}: cannot be read as {kind}: {reason}; copy or export it again") from error
