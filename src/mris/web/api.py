"""The interface for programs: REST under ``/api/v1``, described by ``/api/v1/openapi.json``."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

import mris
from mris.errors import MrisError
from mris.reading import parse_json
from mris.records import Record, broken_rule
from mris.web.errors import RequestError
from mris.web.images import Wish, centers_of
from mris.web.metrics import CONTENT_TYPE
from mris.web.reader import Reader
from mris.web.records import (
    ErrorRecord,
    FileRecord,
    ImageRecord,
    ImageSettings,
    ResultRecord,
    Synthesized,
    SynthesizeRequest,
)
from mris.web.security import set_session
from mris.web.uploads import UploadedForm, plain_name, read_form

router = APIRouter(
    prefix="/api/v1",
    responses={"4XX": {"model": ErrorRecord}, "5XX": {"model": ErrorRecord}},
)

EVENTS = "text/event-stream"
_BINARY = "application/octet-stream"

R = TypeVar("R", bound=Record)

BundleName = Annotated[str | None, Query(description="Name of the bundle; the first if none.")]

_FILES = {
    "requestBody": {
        "content": {
            "application/json": {"schema": SynthesizeRequest.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        **{name: {"type": "string"} for name in SynthesizeRequest.model_fields if name != "image"},
                        "hold": {"type": "string", "description": "true: keep the images in memory for a while"},
                    },
                }
            },
        }
    }
}


def reader_of(request: Request) -> Reader:
    """What is open while the server runs."""
    reader: Reader = request.app.state.reader
    return reader


@router.get("/session", summary="The proof that changes must carry (X-CSRF-Token), and the session's cookie")
def session(request: Request) -> Response:
    """Programs without a token ask once, keep the cookie, and send the proof with every POST and DELETE."""
    sessions, caller = request.app.state.sessions, request.state.caller
    name = caller.session or sessions.new()
    answer = JSONResponse({"csrf_token": sessions.proof(name), "token_needed": sessions.token is not None})
    if caller.session is None:
        set_session(request, answer, name)
    return answer


@router.get("/health", summary="Whether queries can be answered")
def health(request: Request) -> Response:
    """For a container's health check; 503 where the first bundle cannot be used."""
    problem = reader_of(request).bundles[0].problem
    known = request.state.caller.known  # a path is not for everybody
    told = problem if known or problem is None else "the bundle cannot be used"
    status = {"status": "ok" if problem is None else "failing", "problem": told, "version": mris.__version__}
    return JSONResponse(status, 200 if problem is None else 503)


@router.get("/metrics", summary="Counters, as Prometheus reads them")
def metrics(request: Request) -> Response:
    """Nothing in them names a person or a file."""
    return Response(reader_of(request).metrics.text(), media_type=CONTENT_TYPE)


@router.post("/images", summary="Read a file and hold it for a while", openapi_extra=_FILES)
async def hold_image(request: Request) -> ImageRecord:
    """A form with the part `file` and the fields of `ImageSettings`."""
    reader = reader_of(request)
    with reader.places.one():
        async with read_form(request, reader.settings.limits) as form:
            (file,) = _one(form)
            settings = _checked(ImageSettings, _fields_of(form))
            read = await reader.read(file)
        return await reader.record(read, _wish_of_image(settings), settings.bundle)


@router.get("/images/{image}", summary="What a held file holds")
async def get_image(request: Request, image: str, bundle: BundleName = None) -> ImageRecord:
    """As it was read, without what a person told of it."""
    reader = reader_of(request)
    return await reader.record(reader.held(image), Wish(), bundle)


@router.post("/images/{image}/settings", summary="What would be synthesized, if spacing, side and centers are these")
async def set_image(request: Request, image: str, settings: ImageSettings) -> ImageRecord:
    """Nothing is kept: give the same settings to `synthesize`."""
    reader = reader_of(request)
    with reader.places.one():
        return await reader.record(reader.held(image), _wish_of_image(settings), settings.bundle)


@router.get("/images/{image}/picture", summary="The picture: little-endian uint16, row after row")
def get_picture(request: Request, image: str) -> Response:
    """Its size and scale stand in the image's record."""
    return Response(reader_of(request).images.get(image).picture.pixels.tobytes(), media_type=_BINARY)


@router.delete("/images/{image}", summary="Forget a held file", status_code=204)
def drop_image(request: Request, image: str) -> None:
    """It is gone from memory; results that came from it stay for a while."""
    reader_of(request).images.drop(image)


@router.post(
    "/synthesize",
    summary="Synthesize from a held image (JSON), or from uploaded files (a form)",
    response_model=Synthesized,
    openapi_extra=_FILES,
)
async def synthesize(request: Request) -> Response:
    """Several files with ``Accept: text/event-stream`` are answered as server-sent events, one as each is done."""
    reader = reader_of(request)
    async with AsyncExitStack() as open_while_answering:
        open_while_answering.enter_context(reader.places.one())
        if request.headers.get("content-type", "").partition(";")[0].strip() == "application/json":
            asked = _checked(SynthesizeRequest, await _json(request))
            results = await reader.synthesize(reader.held(asked.image), wish_of(asked), asked.bundle)
            return _told(Synthesized(results=tuple(result.record for result in results)))
        form = await open_while_answering.enter_async_context(read_form(request, reader.settings.limits))
        asked, hold = asked_in(form)
        if not form.files:
            raise RequestError("the form has no file; send it as the part named file")
        if EVENTS in request.headers.get("accept", ""):
            return _Events(each_file(reader, form, asked, hold=hold), open_while_answering.pop_all())
        if len(form.files) > 1:
            files = [one async for one in each_file(reader, form, asked, hold=hold)]
            return _told(Synthesized(files=tuple(files)))
        if hold:
            found = await reader.synthesize(await reader.read(form.files[0]), wish_of(asked), asked.bundle)
        else:
            found = await reader.synthesize_upload(form.files[0], wish_of(asked), asked.bundle)
        return _told(Synthesized(results=tuple(result.record for result in found)))


def _told(record: Record) -> Response:
    """A record as JSON, without the framework's own and slower way."""
    return Response(record.model_dump_json(), media_type="application/json")


class _Events(StreamingResponse):
    """Server-sent events; what they need stays open until the last is sent, or nobody listens any more."""

    def __init__(self, files: AsyncIterator[FileRecord], needed: AsyncExitStack) -> None:
        super().__init__(_events(files), media_type=EVENTS)
        self._needed = needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._needed:
            await super().__call__(scope, receive, send)


async def _events(files: AsyncIterator[FileRecord]) -> AsyncIterator[bytes]:
    n_done = n_files = 0
    async for one in files:
        n_files += 1
        n_done += one.error is None
        yield _event("file" if one.error is None else "problem", one.to_json())
    yield _event("done", {"n_files": n_files, "n_done": n_done})


async def each_file(
    reader: Reader, form: UploadedForm, asked: SynthesizeRequest, *, hold: bool
) -> AsyncIterator[FileRecord]:
    """Synthesize file after file; one that cannot be used does not stop the others."""
    wish = wish_of(asked)
    for index, file in enumerate(form.files):
        name, image = plain_name(file.filename or ""), None
        try:
            if hold:
                read = await reader.read(file)
                image = await reader.record(read, wish, asked.bundle)
                results = await reader.synthesize(read, wish, asked.bundle)
            else:
                results = await reader.synthesize_upload(file, wish, asked.bundle)
        except MrisError as error:
            yield FileRecord(index=index, name=name, image=image, error=type(error).__name__, detail=str(error))
        else:
            records = tuple(result.record for result in results)
            yield FileRecord(index=index, name=name, image=image, results=records)


@router.get("/results/{result}", summary="A result that is held")
def get_result(request: Request, result: str) -> ResultRecord:
    """Gone once its bundle has changed."""
    return reader_of(request).result(result).record


@router.get("/results/{result}/arrays", summary="Its arrays: little-endian float32; see the result's `arrays`")
def get_arrays(request: Request, result: str) -> Response:
    """NaN where there is no value."""
    return Response(reader_of(request).result(result).arrays, media_type=_BINARY)


def wish_of(asked: SynthesizeRequest) -> Wish:
    """How a file is to be taken."""
    return Wish(
        find=asked.find,
        side=asked.side,
        center=asked.center,
        centers=centers_of(asked.right, asked.left),
        spacing=asked.spacing,
        exclude_subject=asked.exclude_subject,
    )


def asked_in(form: UploadedForm) -> tuple[SynthesizeRequest, bool]:
    """Read what a form asks for, and whether its files are to be held.

    Raises:
        RequestError: A field cannot be what it should be.
    """
    fields = _fields_of(form)
    return _checked(SynthesizeRequest, fields), fields.get("hold") == "true"


def _fields_of(form: UploadedForm) -> dict[str, Any]:
    """What a form tells; centers are written ROW,COLUMN."""
    fields: dict[str, Any] = {name: text for name, text in form.fields.items() if text.strip()}
    for name in ("center", "right", "left"):
        if name in fields:
            fields[name] = [part.strip() for part in fields[name].split(",")]
    return fields


def _wish_of_image(settings: ImageSettings) -> Wish:
    centers = centers_of(settings.right, settings.left)
    return Wish(find=settings.find, side=settings.side, centers=centers, spacing=settings.spacing)


def _one(form: UploadedForm) -> tuple[Any]:
    if len(form.files) != 1:
        raise RequestError(f"the form has {len(form.files)} files; send one, as the part named file")
    return (form.files[0],)


def _checked(kind: type[R], values: dict[str, Any]) -> R:
    try:
        return kind.model_validate({name: value for name, value in values.items() if value != ""})
    except ValidationError as error:
        raise RequestError(broken_rule(error)) from error


async def _json(request: Request) -> dict[str, Any]:
    try:
        found = parse_json((await request.body()).decode())
    except ValueError as error:
        raise RequestError("the body is no JSON") from error
    if not isinstance(found, dict):
        raise RequestError("the body is no JSON object")
    return found


def _event(name: str, values: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(values)}\n\n".encode()
