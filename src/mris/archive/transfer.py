"""Whole files from and to a DICOMweb archive (WADO-RS and STOW-RS, PS3.18), byte for byte."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError

from mris.archive.connection import Archive, archive_faults, explained
from mris.archive.query import InstanceRecord, values_of
from mris.errors import ArchiveError, ImageError
from mris.finding import Finding
from mris.images.faults import library_faults_as_image_error
from mris.images.write import atomic_write

LARGEST = 1 << 30
"""Bytes of the largest file that is fetched or stored."""

_FAILURES = {
    0x0110: "it could not process it",
    0x0122: "it does not take this kind of object",
    0x0124: "it is not allowed",
    0x0117: "the instance's UID is none",
    0x0111: "it has an instance of that UID",
}
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class FetchOutcome:
    """What became of one instance: a new file, one that was there, or why there is none."""

    instance: InstanceRecord
    path: Path
    was_there: bool = False
    finding: Finding | None = None


@dataclass(frozen=True)
class StoreOutcome:
    """What became of one file: stored (perhaps with the archive's warning), or why not."""

    path: Path
    warning: str | None = None
    finding: Finding | None = None


def fetch_instances(archive: Archive, instances: Sequence[InstanceRecord], out_dir: Path) -> Iterator[FetchOutcome]:
    """Fetch instances as the archive holds them, in their own transfer syntax; one file each.

    A file is named after its SOPInstanceUID and is whole or absent. One that is there and whole is not fetched again,
    so that an interrupted call is continued by repeating it.

    Args:
        archive: See `mris.archive.connection.connect`.
        instances: What to fetch.
        out_dir: Folder; made if absent.

    Yields:
        One outcome an instance, in order.

    Raises:
        ArchiveError: The archive cannot be reached.
        OutputError: The disk refuses.
    """
    for instance in instances:
        path = out_dir / f"{instance.uid}.dcm"
        if path.is_file() and instance_of(path) == instance.uid:
            yield FetchOutcome(instance, path, was_there=True)
            continue
        try:
            data = _retrieved(archive, instance)
        except ImageError as error:
            yield FetchOutcome(instance, path, finding=Finding(str(error)))
            continue
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
        yield FetchOutcome(instance, path)


def store_files(archive: Archive, files: Sequence[Path]) -> Iterator[StoreOutcome]:
    """Store files, one request each, as they are on disk.

    Args:
        archive: See `mris.archive.connection.connect`.
        files: DICOM files.

    Yields:
        One outcome a file, in order.

    Raises:
        ArchiveError: The archive cannot be reached, or takes none of our credentials.
    """
    for path in files:
        try:
            data = _readable(path)
        except ImageError as error:
            yield StoreOutcome(path, finding=Finding(str(error)))
            continue
        yield _stored(archive, path, data)


def instance_of(path: Path) -> str | None:
    """The SOPInstanceUID of a DICOM file that is there to its last byte; None if it is not.

    A file that ends exactly between two elements counts as whole: nothing in it says what should follow.
    """
    try:
        with library_faults_as_image_error(path, "DICOM", InvalidDicomError, BytesLengthException):
            return _whole(path.read_bytes())
    except ImageError:
        return None


def _retrieved(archive: Archive, instance: InstanceRecord) -> bytes:
    where = f"studies/{instance.study_uid}/series/{instance.series_uid}/instances/{instance.uid}"
    name = f"instance {instance.uid}"
    accepted = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    with archive_faults(archive):
        response = archive.session.get(
            f"{archive.url}/{where}", headers={"Accept": accepted}, timeout=archive.timeout, stream=True
        )
        with response:
            if response.status_code in (401, 403):
                response.raise_for_status()
            if not response.ok:
                raise ImageError(f"{name}: the archive {explained(response.status_code)}")
            body = _bounded(response, name)
    data = _part(body, response.headers.get("Content-Type", ""), name)
    with library_faults_as_image_error(Path(name), "DICOM", InvalidDicomError, BytesLengthException):
        found = _whole(data)
    if found != instance.uid:
        what = "a file that is cut off" if found is None else f"instance {found}"
        raise ImageError(f"{name}: the archive gave {what}; fetch it again")
    return data


def _bounded(response: Any, name: str) -> bytes:
    body = bytearray()
    for piece in response.iter_content(1 << 20):
        body += piece
        if len(body) > LARGEST:
            raise ImageError(f"{name}: is larger than the {LARGEST:,} bytes that are fetched")
    return bytes(body)


def _part(body: bytes, content_type: str, name: str) -> bytes:
    """The only part of a multipart body; some archives send it bare."""
    kind, *parameters = (text.strip() for text in content_type.split(";"))
    if kind.lower() == "application/dicom":
        return body
    named = dict(text.partition("=")[::2] for text in parameters)
    boundary = next((value.strip('"') for key, value in named.items() if key.lower() == "boundary"), "")
    if kind.lower() != "multipart/related" or not boundary:
        raise ImageError(f"{name}: the archive answers {kind or 'nothing'!r}, not a DICOM file")
    mark = b"--" + boundary.encode()
    start = body.find(b"\r\n\r\n", body.find(mark))
    end = body.rfind(b"\r\n" + mark)
    if start < 0 or end < start + 4:
        raise ImageError(f"{name}: the archive's answer is cut off; fetch it again")
    return body[start + 4 : end]


def _whole(data: bytes) -> str | None:
    """SOPInstanceUID of a DICOM file, None if its last element or the bytes after it are cut off."""
    dataset = pydicom.dcmread(BytesIO(data))
    if len(dataset):
        last: object = dataset.get_item(max(dataset.keys()))
        if isinstance(last, RawDataElement) and last.length != _UNDEFINED:
            deflated = dataset.file_meta.get("TransferSyntaxUID", "") == "1.2.840.10008.1.2.1.99"
            if len(last.value or b"") != last.length or (not deflated and last.value_tell + last.length != len(data)):
                return None
    return str(dataset.get("SOPInstanceUID") or "") or None


def _readable(path: Path) -> bytes:
    if path.is_dir():
        raise ImageError(f"file {path}: is a folder; name the files in it")
    if not path.is_file():
        raise ImageError(f"file {path}: no such file; check the path")
    if path.stat().st_size > LARGEST:
        raise ImageError(f"file {path}: is larger than the {LARGEST:,} bytes that are stored")
    with library_faults_as_image_error(path, "DICOM", InvalidDicomError, BytesLengthException):
        data = path.read_bytes()
        if data[128:132] != b"DICM":
            raise ImageError(f"file {path}: is no DICOM file (no DICM at byte 128); name DICOM files alone")
        found = _whole(data)
    if found is None:
        raise ImageError(f"file {path}: is cut off, or has no SOPInstanceUID; copy or export it again")
    return data


def _stored(archive: Archive, path: Path, data: bytes) -> StoreOutcome:
    boundary = secrets.token_hex(16)
    while boundary.encode() in data:
        boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    with archive_faults(archive):
        response = archive.session.post(
            f"{archive.url}/studies",
            data=head + data + f"\r\n--{boundary}--\r\n".encode(),
            headers={
                "Content-Type": f'multipart/related; type="application/dicom"; boundary="{boundary}"',
                "Accept": "application/dicom+json",
            },
            timeout=archive.timeout,
            allow_redirects=False,
        )
        if response.status_code in (401, 403, 404):
            response.raise_for_status()
    if 300 <= response.status_code < 400:
        raise ArchiveError(f"archive {archive.url}: has moved to another address; give the new one")
    answer = _json(response)
    failed = _items(answer, "00081198")
    if response.status_code not in (200, 202) or failed:
        reasons = [_reason(item, "00081197") for item in failed] or [explained(response.status_code)]
        return StoreOutcome(path, finding=Finding(f"file {path}: the archive did not store it: {'; '.join(reasons)}"))
    warnings = [_reason(item, "00081196") for item in _items(answer, "00081199") if "00081196" in item]
    return StoreOutcome(path, warning="; ".join(warnings) or None)


def _json(response: Any) -> dict[str, Any]:
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        return {}
    first = answer[0] if isinstance(answer, list) and answer else answer
    return first if isinstance(first, dict) else {}


def _items(answer: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return [item for item in values_of(answer, tag) if isinstance(item, dict)]


def _reason(item: dict[str, Any], tag: str) -> str:
    code = next(iter(values_of(item, tag)), None)
    if not isinstance(code, int):
        return "it gives no reason"
    known = _FAILURES.get(code)
    if code & 0xFF00 == 0xA700:
        known = "it has no room left"
    elif code & 0xFF00 == 0xA900:
        known = "the object does not fit its kind"
    elif code & 0xF000 == 0xC000:
        known = "it cannot understand the object"
    return f"{known or 'it gives a reason of its own'} (0x{code:04X})"
