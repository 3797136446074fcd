"""What is uploaded: parts of a form, bounded, each in a folder of its own that is gone with the request."""

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from mris.web.errors import RequestError, TooLargeError
from mris.web.settings import Limits

_LONGEST_NAME = 120
"""Bytes: a file system counts them, not signs; results are named after it, and longer."""
_MOST_FIELDS = 32


@dataclass(frozen=True)
class UploadedForm:
    """Fields and files of a form."""

    fields: dict[str, str]
    files: tuple[UploadFile, ...]


@contextlib.asynccontextmanager
async def read_form(request: Request, limits: Limits) -> AsyncIterator[UploadedForm]:
    """Read a form, whose files are gone in the end; `mris.web.guard` bounds its bytes and its time.

    Raises:
        TooLargeError: It has too many files.
        RequestError: It is no form.
    """
    try:
        form = await request.form(max_files=limits.files, max_fields=_MOST_FIELDS, max_part_size=1 << 16)
    except HTTPException as error:
        if "Too many" in error.detail:
            raise TooLargeError(f"the form has too many parts; send at most {limits.files} files at a time") from error
        raise RequestError("the form cannot be read; send multipart/form-data with parts named file") from error
    try:
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        files = (value for name, value in form.multi_items() if name == "file" and isinstance(value, UploadFile))
        yield UploadedForm(fields, tuple(file for file in files if file.filename))
    finally:
        await form.close()


@contextlib.contextmanager
def in_a_folder(upload: UploadFile) -> Iterator[tuple[Path, str]]:
    """Lay an upload into a folder of its own for a while.

    Yields:
        The folder, which nobody else may read, and the file's plain name.
    """
    name = plain_name(upload.filename or "")
    with tempfile.TemporaryDirectory(prefix="mris-") as folder:
        with (Path(folder) / name).open("xb") as file:
            upload.file.seek(0)
            shutil.copyfileobj(upload.file, file, 1 << 20)
        yield Path(folder), name


def plain_name(name: str) -> str:
    r"""Give the last part of a file's name as a caller tells it, without what no name of a file needs.

    Example:
        >>> plain_name("../../etc/passwd"), plain_name("C:\\plates\\a\n.dcm"), plain_name("..")
        ('passwd', 'a.dcm', 'file')
    """
    last = PurePosixPath(name.replace("\\", "/")).name
    printable = "".join(sign for sign in last if sign.isprintable()).strip()
    encoded = printable.encode("utf-8", "ignore")
    if len(encoded) > _LONGEST_NAME:  # its end tells the format
        printable = (encoded[: _LONGEST_NAME - 20] + encoded[-20:]).decode("utf-8", "ignore")
    return printable if printable.strip(".") else "file"
