"""Ask a DICOMweb archive what it holds (QIDO-RS, PS3.18)."""

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydicom import config
from pydicom.uid import UID

from mris.archive.connection import Archive, archive_faults, checked_uid, is_uid
from mris.errors import ArchiveError, SettingsError

PAGE = 200
"""Records asked for at a time."""

_MOST = 100_000

_NO_SUCH_PAGE = (404, 416)
_WRONG_BEYOND_THE_END = (400, 500, 501)
"""Statuses that mean "no more" beyond the last page: always, and after a page that was not full."""

_STUDY = {"patient_id": "00100020", "date": "00080020", "description": "00081030", "uid": "0020000D"}
_STUDY_FIELDS = ["PatientID", "StudyDate", "StudyDescription", "ModalitiesInStudy", "StudyInstanceUID"]


@dataclass(frozen=True)
class StudyRecord:
    """A study as an archive describes it; texts are "" where it says nothing.

    Attributes:
        uid: StudyInstanceUID.
        patient_id: PatientID.
        date: StudyDate, as YYYYMMDD.
        modalities: Of its series.
        description: StudyDescription.
    """

    uid: str
    patient_id: str
    date: str
    modalities: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class InstanceRecord:
    """An instance as an archive describes it.

    Attributes:
        study_uid: Its study.
        series_uid: Its series.
        uid: SOPInstanceUID.
        modality: Of the series.
        kind: Name of its SOP class, or the class's UID.
    """

    study_uid: str
    series_uid: str
    uid: str
    modality: str
    kind: str


def query_studies(
    archive: Archive,
    *,
    patient_id: str | None = None,
    study_uid: str | None = None,
    modalities: Sequence[str] = (),
    date: str | None = None,
    accession: str | None = None,
    most: int = 1000,
) -> tuple[StudyRecord, ...]:
    """Ask for studies; all conditions must hold.

    Args:
        archive: See `connect`.
        patient_id: PatientID; ``*`` stands for any characters.
        study_uid: StudyInstanceUID.
        modalities: Of which a study has at least one; any if empty.
        date: StudyDate: YYYYMMDD, or a range YYYYMMDD-YYYYMMDD whose ends may be left out.
        accession: AccessionNumber.
        most: So many are returned at most.

    Returns:
        Each study once, in the archive's order.

    Raises:
        ArchiveError: The archive cannot be reached, refuses, or answers no DICOM JSON.
        SettingsError: The date or the UID is none.
    """
    filters = {
        "PatientID": patient_id,
        "StudyInstanceUID": None if study_uid is None else checked_uid(study_uid),
        "StudyDate": None if date is None else _checked_date(date),
        "AccessionNumber": accession,
    }
    given = {keyword: value for keyword, value in filters.items() if value}
    found: dict[str, StudyRecord] = {}
    # One question a modality: not every archive understands a list.
    for modality in modalities or (None,):
        conditions = given | ({} if modality is None else {"ModalitiesInStudy": modality})
        ask = partial(archive.client.search_for_studies, search_filters=conditions, fields=_STUDY_FIELDS)
        for record in _pages(archive, ask, _STUDY["uid"], most):
            study = _study(record)
            found.setdefault(study.uid, study)
    return tuple(found.values())[:most]


def query_instances(archive: Archive, study_uid: str, *, modalities: Sequence[str] = ()) -> tuple[InstanceRecord, ...]:
    """Ask for the instances of a study, at most 100,000.

    Args:
        archive: See `connect`.
        study_uid: StudyInstanceUID.
        modalities: Of the series that are wanted; all if empty.

    Raises:
        ArchiveError: The archive cannot be reached, refuses, or answers no DICOM JSON.
        SettingsError: The UID is none.
    """
    study = checked_uid(study_uid)
    series = _pages(archive, partial(archive.client.search_for_series, study), "0020000E", _MOST)
    found: list[InstanceRecord] = []
    for record in series:
        uid, modality = _uid(archive, record, "0020000E"), _text(record, "00080060")
        if modalities and modality not in modalities:
            continue
        instances = _pages(archive, partial(archive.client.search_for_instances, study, uid), "00080018", _MOST)
        found += [
            InstanceRecord(study, uid, _uid(archive, item, "00080018"), modality, _class_name(item))
            for item in instances
        ]
    return tuple(found[:_MOST])


def _pages(
    archive: Archive, ask: Callable[..., Sequence[Mapping[str, Any]]], key: str, most: int
) -> list[Mapping[str, Any]]:
    """Ask page after page until one brings nothing new: some archives do not know of pages and repeat themselves."""
    found: dict[str, Mapping[str, Any]] = {}
    page: Sequence[Mapping[str, Any]] = ()
    while len(found) < most:
        page = _page(archive, partial(ask, limit=PAGE, offset=len(found)), n_before=len(page))
        before = len(found)
        for record in page:
            found.setdefault(_uid(archive, record, key), record)
        if len(found) == before:
            break
    return list(found.values())


def _page(
    archive: Archive, ask: Callable[[], Sequence[Mapping[str, Any]] | None], n_before: int
) -> Sequence[Mapping[str, Any]]:
    """Ask for one page; empty beyond the last one, where some archives answer nothing, or that they went wrong.

    Args:
        archive: Whom to ask.
        ask: Asks it.
        n_before: Records of the page before; 0 for the first page. Fewer than `PAGE` were probably the last.
    """
    import requests

    ends = () if not n_before else _NO_SUCH_PAGE if n_before >= PAGE else (*_NO_SUCH_PAGE, *_WRONG_BEYOND_THE_END)
    with archive_faults(archive):
        try:
            page = ask()
        except requests.exceptions.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            if status in ends:
                return ()
            if status == 413:
                raise ArchiveError(
                    f"archive {archive.url}: answers 413: too much matches the question; narrow it, such as by a date"
                ) from None
            raise
    if page is not None and not isinstance(page, list | tuple):
        raise ArchiveError(f"archive {archive.url}: its answer is no list of records; is this its DICOMweb service?")
    return page or ()  # some archives write an empty list as null


def _study(record: Mapping[str, Any]) -> StudyRecord:
    texts = {name: _text(record, tag) for name, tag in _STUDY.items()}
    return StudyRecord(modalities=tuple(_texts(record, "00080061")), **texts)


def _class_name(record: Mapping[str, Any]) -> str:
    return UID(_text(record, "00080016"), config.IGNORE).name.replace(" Storage", "")


def _uid(archive: Archive, record: Mapping[str, Any], tag: str) -> str:
    text = _text(record, tag)
    if not is_uid(text):  # it becomes a part of addresses and of file names
        raise ArchiveError(f"archive {archive.url}: a record has no UID ({tag}); its answer cannot be used")
    return text


def _text(record: Mapping[str, Any], tag: str) -> str:
    return next(iter(_texts(record, tag)), "")


def _texts(record: Mapping[str, Any], tag: str) -> list[str]:
    return [str(value) for value in values_of(record, tag) if value is not None]


def values_of(record: Any, tag: str) -> list[Any]:
    """Give the values of a tag of DICOM JSON; none where the answer is no such record."""
    element = record.get(tag) if isinstance(record, Mapping) else None
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values if isinstance(values, list) else []


def _checked_date(text: str) -> str:
    if not re.fullmatch(r"\d{8}|\d{8}-(\d{8})?|-\d{8}", text):
        raise SettingsError(f"date is {text!r}; give YYYYMMDD, or a range such as 20240101-20241231 or 20240101-")
    days = [day for day in text.split("-") if day]
    for day in days:
        try:
            datetime.date.fromisoformat(day)
        except ValueError as error:
            raise SettingsError(f"date is {text!r}, but {day} is no day; give YYYYMMDD") from error
    if days != sorted(days):
        raise SettingsError(f"date is {text!r}, whose end comes before its beginning; give the earlier day first")
    return text
