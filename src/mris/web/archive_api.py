"""The part of the interface that asks a DICOMweb archive; its credentials stay here."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request

from mris.archive.connection import Archive, checked_uid
from mris.archive.query import InstanceRecord, query_instances, query_studies
from mris.archive.transfer import fetch_instances, store_files
from mris.errors import ArchiveError
from mris.records import Record
from mris.web.api import reader_of
from mris.web.downloads import dicom_objects
from mris.web.errors import NotFoundError
from mris.web.images import Wish
from mris.web.reader import Reader
from mris.web.records import ErrorRecord, ImageRecord

router = APIRouter(prefix="/api/v1/archive", responses={"4XX": {"model": ErrorRecord}, "5XX": {"model": ErrorRecord}})

MOST_STUDIES = 200
"""Studies that a page shows at most."""

Modalities = Annotated[str, Query(description="Kinds of images, separated by commas, such as DX,CR.")]


class Study(Record):
    """A study; see `mris.archive.query.StudyRecord`."""

    uid: str
    patient_id: str
    date: str
    modalities: tuple[str, ...]
    description: str


class Studies(Record):
    """Studies that were found."""

    studies: tuple[Study, ...]


class Instance(Record):
    """An instance; see `mris.archive.query.InstanceRecord`."""

    study_uid: str
    series_uid: str
    uid: str
    modality: str
    kind: str


class Instances(Record):
    """Instances of a study."""

    instances: tuple[Instance, ...]


class FetchRequest(Record):
    """Which instance to fetch, and what a person tells of it."""

    study_uid: str
    series_uid: str
    uid: str
    spacing: float | None = Field(default=None, gt=0)
    side: Literal["left", "right"] | None = None
    bundle: str | None = None


class StoreRequest(Record):
    """Which results to store, as Secondary Capture and Parametric Map."""

    results: tuple[str, ...] = Field(min_length=1, max_length=16)
    deidentify: bool = False


class Stored(Record):
    """What became of the objects."""

    stored: int
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


@router.get("/studies", summary="Studies of a patient or a date")
def studies(request: Request, patient: str = "", date: str = "", modality: Modalities = "") -> Studies:
    """``*`` in `patient` stands for any characters; `date` is YYYYMMDD or YYYYMMDD-YYYYMMDD."""
    found = query_studies(
        _archive(request),
        patient_id=patient or None,
        date=date or None,
        modalities=_names(modality),
        most=MOST_STUDIES,
    )
    return Studies(studies=tuple(Study(**vars(one)) for one in found))


@router.get("/studies/{study}/instances", summary="Instances of a study")
def instances(request: Request, study: str, modality: Modalities = "") -> Instances:
    """Of some kinds, or all."""
    found = query_instances(_archive(request), study, modalities=_names(modality))
    return Instances(instances=tuple(Instance(**vars(one)) for one in found))


@router.post("/fetch", summary="Fetch an instance and hold it for a while")
async def fetch(request: Request, wanted: FetchRequest) -> ImageRecord:
    """As an upload; `synthesize` then names it as an image."""
    reader, archive = reader_of(request), _archive(request)
    instance = InstanceRecord(
        checked_uid(wanted.study_uid), checked_uid(wanted.series_uid), checked_uid(wanted.uid), "", ""
    )
    with reader.places.one(), tempfile.TemporaryDirectory(prefix="mris-") as folder:
        (outcome,) = await asyncio.to_thread(lambda: list(fetch_instances(archive, [instance], Path(folder))))
        if outcome.finding is not None:
            raise ArchiveError(outcome.finding.reason)
        read = await reader.read_file(outcome.path)
    return await reader.record(read, Wish(side=wanted.side, spacing=wanted.spacing), wanted.bundle)


@router.post("/store", summary="Store results in the study of their source")
async def store(request: Request, wanted: StoreRequest) -> Stored:
    """Storing a result twice is storing it once."""
    reader, archive = reader_of(request), _archive(request)
    with reader.places.one():
        return await asyncio.to_thread(lambda: _store(reader, archive, wanted))


def _store(reader: Reader, archive: Archive, wanted: StoreRequest) -> Stored:
    with tempfile.TemporaryDirectory(prefix="mris-") as folder:
        paths = []
        for place, name in enumerate(wanted.results):
            result = reader.result(name)
            for kind, content in dicom_objects(result, reader.settings, deidentify=wanted.deidentify).items():
                paths.append(Path(folder) / f"{place}_{kind}")
                paths[-1].write_bytes(content)
        outcomes = list(store_files(archive, paths))
    problems = tuple(one.finding.reason.replace(f"{folder}/", "") for one in outcomes if one.finding is not None)
    warnings = tuple(one.warning for one in outcomes if one.warning is not None)
    return Stored(stored=len(outcomes) - len(problems), problems=problems, warnings=warnings)


def _archive(request: Request) -> Archive:
    archive = reader_of(request).archive
    if archive is None:
        raise NotFoundError("no archive was named; start mris serve with --archive URL")
    return archive


def _names(text: str) -> list[str]:
    return [name.strip().upper() for name in text.split(",") if name.strip()]
