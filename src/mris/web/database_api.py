"""The part of the interface that is about bundles, the people in them, and the files of results."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from mris.records import Record
from mris.web import downloads
from mris.web.api import BundleName, reader_of
from mris.web.card import CardWithColors, card_with_colors
from mris.web.people import (
    PeopleFound,
    RemovalRecord,
    RemovalRequest,
    Sort,
    find_people,
    maps_of,
    remove_person,
    thumbnail,
)
from mris.web.records import ErrorRecord
from mris.web.results import HeldResult
from mris.web.settings import ServeSettings

router = APIRouter(prefix="/api/v1", responses={"4XX": {"model": ErrorRecord}, "5XX": {"model": ErrorRecord}})

Key = Annotated[str, Query(description="Key of an entry: subject/timepoint[/side].")]


class BundleRecord(Record):
    """A bundle that is served, and why it cannot be used."""

    name: str
    id: str | None
    ok: bool
    problem: str | None


class Bundles(Record):
    """The bundles that are served; the first is used where a request names none."""

    bundles: tuple[BundleRecord, ...]


@router.get("/bundles", summary="The bundles that are served")
def bundles(request: Request) -> Bundles:
    """One that cannot be used says why."""
    records = []
    for served in reader_of(request).bundles:
        problem = served.problem
        identity = None if problem else served.use().bundle.id
        records.append(BundleRecord(name=served.name, id=identity, ok=problem is None, problem=problem))
    return Bundles(bundles=tuple(records))


@router.get("/card", summary="What a bundle is: origin, regions, people, readout, calibration, model card, colors")
def card(request: Request, bundle: BundleName = None) -> CardWithColors:
    """As it is now."""
    reader = reader_of(request)
    return card_with_colors(reader.bundle(bundle), reader.settings)


@router.get("/subjects", summary="The people of the database")
def subjects(
    request: Request,
    search: str = "",
    sort: Sort = "subject",
    descending: bool = False,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    bundle: BundleName = None,
) -> PeopleFound:
    """Search words stand in names, keys or labels, such as ``klg=2``."""
    return find_people(
        reader_of(request).bundle(bundle),
        search=search,
        sort=sort,
        descending=descending,
        offset=offset,
        limit=limit,
    )


@router.post("/subjects/remove", summary="Remove a person and take every byte of theirs off the disk")
async def remove(request: Request, removal: RemovalRequest) -> RemovalRecord:
    """As ``mris bundle remove --purge``; `confirmation` is the name once more."""
    reader = reader_of(request)
    served = reader.bundle(removal.bundle)
    return await reader.drawn(lambda: remove_person(served, removal.subject, removal.confirmation))


@router.get("/entries/thumbnail.png", summary="A small picture of an entry's maps")
async def entry_thumbnail(request: Request, key: Key, bundle: BundleName = None) -> Response:
    """Regions side by side, in the colors of values."""
    reader = reader_of(request)
    served = reader.bundle(bundle)
    return Response(await reader.drawn(lambda: thumbnail(served, key)), media_type="image/png")


@router.get("/entries/maps", summary="An entry's maps: little-endian float32, shape in X-Shape")
def entry_maps(request: Request, key: Key, bundle: BundleName = None) -> Response:
    """Of all regions of the bundle; NaN where there is no value."""
    maps = maps_of(reader_of(request).bundle(bundle), key)
    shape = ",".join(map(str, maps.shape))
    return Response(maps.astype("<f4").tobytes(), media_type="application/octet-stream", headers={"X-Shape": shape})


@router.get("/results/{result}/download", summary="A result as files, in a zip")
async def download(request: Request, result: str, formats: str = "nifti,npz,png", deidentify: bool = False) -> Response:
    """Of nifti, npz, png and dicom, separated by commas; with provenance and means.csv."""
    reader = reader_of(request)
    wanted = [name.strip() for name in formats.split(",") if name.strip()]
    with reader.places.one():
        content = await reader.drawn(
            lambda: downloads.zipped(reader.result(result), wanted, reader.settings, deidentify=deidentify)
        )
    headers = {"Content-Disposition": 'attachment; filename="synthesis.zip"'}  # no name of a person or a file
    return Response(content, media_type="application/zip", headers=headers)


@router.get("/results/{result}/picture.png", summary="The picture of a result")
async def picture(request: Request, result: str) -> Response:
    """As ``mris synthesize`` draws it."""
    return await _drawn(request, result, downloads.picture)


@router.get("/results/{result}/neighbors.png", summary="The picture of the people who count")
async def neighbors(request: Request, result: str) -> Response:
    """As ``mris synthesize`` draws it."""
    return await _drawn(request, result, downloads.neighbors_picture)


async def _drawn(request: Request, result: str, draw: Callable[[HeldResult, ServeSettings], bytes]) -> Response:
    reader = reader_of(request)
    with reader.places.one():
        content = await reader.drawn(lambda: draw(reader.result(result), reader.settings))
    return Response(content, media_type="image/png")
