"""Files that appear whole or not at all: atomic writing of NIfTI, NPZ, PNG, JSON and folders."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from mris.errors import OutputError
from mris.images.image import Spacing, usable_spacing
from mris.images.lock import lock_descriptor
from mris.images.nifti1 import LARGEST_EDGE, nifti1_bytes, packed
from mris.records import Record

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp(\..*)?")

OWNER_ONLY = 0o700
"""Rights of a folder that holds what belongs to people."""


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` if the block succeeds and vanishes if it fails.

    The temporary file is in the same folder and ends in the same suffixes, is flushed to disk and then renamed over
    `path`: a reader, a crash or a full disk sees the old file or the new one, never a part. Its name depends on `path`
    alone, so that what a killed process left is overwritten by the next one; two that write one file wait for each
    other. A new file is its owner's alone; one that replaces another keeps the rights of that. Missing parent folders
    are made.

    Args:
        path: The file to write.

    Yields:
        An existing, empty file to write to. Close it before the block ends.

    Raises:
        OutputError: If the system refuses (no space, no permission, path is a folder).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_write(Path(folder, "note.txt")) as temporary:
        ...         _ = temporary.write_text("whole")
        ...     Path(folder, "note.txt").read_text()
        'whole'
    """
    path = Path(path)
    with _as_output_error(path):
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder; give a file name")
        path.parent.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
        temporary = temporary_sibling(path)
        descriptor = _claimed_file(temporary)
        try:
            if path.exists():
                os.fchmod(descriptor, path.stat().st_mode & 0o777)
            yield temporary
            _flush(temporary)
            temporary.replace(path)
            _flush_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
            os.close(descriptor)


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it becomes `path` if the block succeeds and vanishes if it fails.

    The folder is its owner's alone. Its name while it is made depends on `path` alone: what a killed process left there
    is cleared by the next one that makes `path`.

    Args:
        path: The folder to make. An empty folder of that name is replaced.

    Yields:
        An existing, empty folder.

    Raises:
        OutputError: If `path` is a file or holds something, another process is making it, or the system refuses.
    """
    path = Path(path)
    with _as_output_error(path):
        path.parent.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
        temporary = temporary_sibling(path)
        with _claimed_folder(temporary, path):
            try:
                _check_replaceable(path)
                yield temporary
                for file in temporary.rglob("*"):
                    if file.is_file():
                        _flush(file)
                _check_replaceable(path)
                _put_in_place(temporary, path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, its owner's alone, for what it takes to make `path`; it vanishes afterwards.

    What a killed process left there is cleared by the next one that makes `path`.

    Raises:
        OutputError: Another process is making `path`, or the system refuses.
    """
    with _as_output_error(path):
        path.parent.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
        folder = temporary_sibling(path, "work")
        with _claimed_folder(folder, path):
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def temporary_sibling(path: Path, word: str = "tmp") -> Path:
    """Name what `path` is called while it is made: always the same, beside it, hidden, with the same suffixes."""
    # The suffixes stay last because writers choose a format (and gzip) by them.
    suffixes = "".join(path.suffixes[-2:])
    digest = hashlib.blake2b(os.fsencode(path.name), digest_size=4).hexdigest()
    return path.with_name(f".{path.name[:40]}.{digest}.{word}{suffixes}")


def share_alike(folder: Path) -> None:
    """Give all files and folders inside a folder its own rights: its owner's alone, unless the owner has shared it.

    Raises:
        OutputError: The system refuses.
    """
    with _as_output_error(folder):
        rights = folder.stat().st_mode & 0o777
        for path in folder.rglob("*"):
            wanted = rights if path.is_dir() else rights & 0o666
            if path.lstat().st_mode & 0o777 != wanted and not path.is_symlink():
                path.chmod(wanted)


def check_writable_folder(path: str | os.PathLike[str]) -> None:
    """Find out, before long work and without making anything, that a folder can be written or made.

    Raises:
        OutputError: A file is in the way, or the nearest folder that exists may not be written.
    """
    path = Path(path).absolute()
    with _as_output_error(path):
        nearest = next(folder for folder in (path, *path.parents) if folder.exists() or folder.is_symlink())
        if not nearest.is_dir():
            raise OutputError(f"cannot write the folder {path}: {nearest} is a file; choose another place")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write the folder {path}: no right to write {nearest}; choose another place")


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write `obj` as indented UTF-8 JSON, atomically.

    Records, NumPy scalars and arrays and paths are converted. Not-a-number and infinity are not in JSON: say None.

    Raises:
        OutputError: If `obj` holds what JSON cannot hold, or the file cannot be written.
    """
    try:
        text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False, default=_json_value)
        data = (text + "\n").encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise OutputError(f"cannot write {path}: not JSON: {error}") from error
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def write_npz(path: str | os.PathLike[str], /, **arrays: Any) -> None:
    """Write arrays as a compressed NPZ, atomically; equal arrays give equal bytes (no time stamps).

    Raises:
        OutputError: If an array holds objects (they would need pickle), or the file cannot be written.
    """
    for name, value in arrays.items():
        if np.asarray(value).dtype.hasobject:
            raise OutputError(f"cannot write {path}: array {name!r} holds objects; give numbers or strings")
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, value in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)


def write_nifti(path: str | os.PathLike[str], array: np.ndarray, spacing: Spacing | None) -> None:
    """Write an image as NIfTI-1 (``.nii`` or ``.nii.gz``), atomically; `mris.images.read.read_image` gives it back.

    Convention (that of ITK): the first voxel axis runs along a row of the picture (columns), the second down a column
    (rows), so viewers show the picture upright. The file's shape is ``(w, h, 1)``, or ``(w, h, 1, r)`` for several
    regions.

    Args:
        path: Ends in ``.nii`` or ``.nii.gz``.
        array: ``(h, w)`` or ``(r, h, w)``; boolean and float16 are stored as uint8 and float32, other integer and
            float types as they are. NaN is kept.
        spacing: Row and column spacing in mm; None if unknown.

    Raises:
        OutputError: If suffix, shape, type or spacing do not fit, or the file cannot be written.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise OutputError(f"cannot write {path}: a NIfTI file ends in .nii or .nii.gz")
    if array.ndim not in (2, 3) or array.size == 0:
        raise OutputError(
            f"cannot write {path}: shape {array.shape} is neither (rows, columns) nor (regions, rows, columns)"
        )
    if spacing is not None and usable_spacing(spacing) is None:
        raise OutputError(
            f"cannot write {path}: spacing is {spacing!r}, but must be two numbers of mm (1e-9 to 1e9), or None"
        )
    if max(array.shape) > LARGEST_EDGE:
        raise OutputError(f"cannot write {path}: shape {array.shape} has an edge above {LARGEST_EDGE}; write NPZ")
    content = nifti1_bytes(_storable(array[np.newaxis] if array.ndim == 2 else array, path), spacing)
    with atomic_write(path) as temporary:
        temporary.write_bytes(packed(content) if path.name.endswith(".gz") else content)


def write_png(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write a PNG, atomically and without loss.

    Args:
        path: The file.
        array: ``(h, w)`` uint8 or uint16 (gray), boolean (black and white, stored as 0 and 255), or uint8
            ``(h, w, 3)`` or ``(h, w, 4)`` (color, color with alpha).

    Raises:
        OutputError: If shape or type do not fit, or the file cannot be written.
    """
    gray = array.ndim == 2 and array.dtype in (np.bool_, np.uint8, np.uint16)
    color = array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8
    if array.size == 0 or not (gray or color):
        raise OutputError(
            f"cannot write {path}: {array.dtype} {array.shape} is no PNG; give (rows, columns) of bool, uint8, uint16, "
            "or (rows, columns, 3 or 4) of uint8"
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    picture = PIL.Image.fromarray(np.ascontiguousarray(array))
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG")


def _storable(array: np.ndarray, path: Path) -> np.ndarray:
    stored = {"b": np.uint8, "f": np.float32 if array.dtype.itemsize < 4 else array.dtype}.get(
        array.dtype.kind, array.dtype
    )
    if np.dtype(stored).kind not in "iuf" or np.dtype(stored).itemsize > 8:
        raise OutputError(f"cannot write {path}: type {array.dtype} is not boolean, integer or float of at most 64 bit")
    return array.astype(stored)


def _json_value(value: Any) -> Any:
    if isinstance(value, Record | np.generic | np.ndarray):
        return value.to_json() if isinstance(value, Record) else value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


@contextlib.contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        refused = error.filename2 or error.filename  # of a copy or a rename, the second is written
        where = f" ({refused})" if refused and Path(refused).name != path.name else ""
        raise OutputError(
            f"cannot write {path}: {reason}{where}; free space, rights or another place would help"
        ) from error


def clear_temporaries(folder: Path) -> None:
    """Delete what killed processes left of files they were writing into a folder of ours.

    Raises:
        OutputError: The system refuses.
    """
    with _as_output_error(folder):
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name) and path.is_file():
                descriptor = os.open(path, os.O_WRONLY)
                try:
                    if lock_descriptor(descriptor, blocking=False):
                        path.unlink(missing_ok=True)
                finally:
                    os.close(descriptor)


def _claimed_file(path: Path) -> int:
    """Make or take over a file, empty, and hold its lock; returns the descriptor that holds it."""
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        lock_descriptor(descriptor, blocking=True)
        if _is_still(path, descriptor):
            os.ftruncate(descriptor, 0)
            os.fchmod(descriptor, 0o600)
            return descriptor
        os.close(descriptor)  # its holder has finished, and renamed it


@contextlib.contextmanager
def _claimed_folder(path: Path, wanted: Path) -> Iterator[None]:
    """Make or take over a folder, empty, and hold its lock."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        yield
        return
    while True:
        path.mkdir(mode=OWNER_ONLY, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # its holder has just finished
            continue
        try:
            if not lock_descriptor(descriptor, blocking=False):
                raise OutputError(f"another process is making {wanted} right now; wait for it, or choose another place")
            if not _is_still(path, descriptor):
                continue
            for entry in path.iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            yield
            return
        finally:
            os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _check_replaceable(path: Path) -> None:
    if path.is_dir():
        if any(path.iterdir()):
            raise OutputError(f"cannot write {path}: the folder is not empty; choose another")
    elif path.exists() or path.is_symlink():
        raise OutputError(f"cannot write {path}: a file of that name is in the way")


def _put_in_place(folder: Path, path: Path) -> None:
    folder.replace(path)
    _flush_folder(path.parent)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    # A folder cannot be opened on every system, and some file systems refuse to sync one; the rename is done anyway.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
