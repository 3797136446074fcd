"""The pages for people; each works, plainly, without JavaScript."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from jinja2 import Environment, FileSystemLoader
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

import mris
from mris.errors import MrisError
from mris.web.api import asked_in, reader_of, wish_of
from mris.web.assets import ADDRESS
from mris.web.card import card_of
from mris.web.errors import RequestError, status_of
from mris.web.people import PeopleFound, Sort, find_people, remove_person
from mris.web.security import PROOF_FIELD, set_session
from mris.web.uploads import UploadedForm, read_form

router = APIRouter(include_in_schema=False)

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals["assets"] = ADDRESS


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """Fill a page; see the templates for what each shows.

    It may open a bundle that has changed, so threads call it: functions without ``async``, or `shown`.
    """
    app, caller = request.app, request.state.caller
    session = caller.session
    opens = session is None and caller.known
    if opens:
        session = app.state.sessions.new()
    reader = app.state.reader
    served, problem, card = reader.bundles[0], None, None
    if caller.known:
        try:
            card = card_of(served, reader.settings)
        except MrisError as error:
            problem = str(error)
    values = {"problem": problem} | values
    text = _TEMPLATES.get_template(template).render(
        page=template.removesuffix(".html"),
        csrf_token=app.state.sessions.proof(session) if session else "",
        card=card,
        bundles=[{"name": one.name} for one in reader.bundles] if caller.known else [],
        archive=reader.settings.archive is not None,
        token_needed=reader.settings.token is not None,
        version=mris.__version__,
        limits={"file_bytes": reader.settings.limits.file_bytes, "files": reader.settings.limits.files},
        **values,
    )
    answer = HTMLResponse(text, status)
    if opens and session is not None:
        set_session(request, answer, session)
    return answer


async def shown(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """Fill a page without holding up others; see `page`."""
    return await run_in_threadpool(page, request, template, status, **values)


def error_page(request: Request, status: int, detail: str) -> Response:
    """A page that tells an error."""
    return HTMLResponse(
        _TEMPLATES.get_template("error.html").render(
            status=status, detail=detail, request_id=request.state.request_id, version=mris.__version__
        ),
        status,
    )


@router.get("/")
def show_reader(request: Request) -> Response:
    """The page where a file is dropped."""
    return page(request, "reader.html")


@router.get("/login")
def show_login(request: Request, next: str = "/") -> Response:  # noqa: A002 - the name of the field
    """The page that asks for the token."""
    return page(request, "login.html", next=_own_path(next))


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Open a session for who knows the token."""
    async with read_form(request, reader_of(request).settings.limits) as form:
        goal = _own_path(form.fields.get("next", "/"))
        sessions = request.app.state.sessions
        if not sessions.is_token(form.fields.get("token", "")):
            return await shown(request, "login.html", 401, next=goal, problem="the token is wrong")
        answer = RedirectResponse(goal, 303)
        set_session(request, answer, sessions.new())
        return answer


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Forget the browser's session."""
    async with read_form(request, reader_of(request).settings.limits) as form:
        _require_proof(request, form)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(request.app.state.sessions.cookie, path="/")
    return answer


@router.post("/synthesize")
async def synthesize(request: Request) -> Response:
    """A form without JavaScript: the results as a page of pictures and tables."""
    reader = reader_of(request)
    with reader.places.one():
        async with read_form(request, reader.settings.limits) as form:
            _require_proof(request, form)
            try:
                results = await _synthesized(request, form, None)
            except MrisError as error:
                return await shown(request, "result.html", status_of(error), results=[], problem=str(error))
    return await shown(request, "result.html", results=results)


@router.get("/compare")
def show_compare(request: Request) -> Response:
    """The page that compares two bundles on one query."""
    return page(request, "compare.html", results=[])


@router.post("/compare")
async def compare(request: Request) -> Response:
    """The same without JavaScript: a list of results for each bundle."""
    reader = reader_of(request)
    with reader.places.one():
        async with read_form(request, reader.settings.limits) as form:
            _require_proof(request, form)
            try:
                results = [await _synthesized(request, form, served.name) for served in reader.bundles]
            except MrisError as error:
                return await shown(request, "compare.html", status_of(error), results=[], problem=str(error))
    return await shown(request, "compare.html", results=results)


@router.get("/database")
def show_database(
    request: Request, search: str = "", sort: Sort = "subject", descending: bool = False, offset: int = 0
) -> Response:
    """The people of the database."""
    return _database(request, search=search, sort=sort, descending=descending, offset=offset)


@router.post("/database/remove")
async def remove(request: Request) -> Response:
    """Remove a person by a form without JavaScript."""
    reader = reader_of(request)
    async with read_form(request, reader.settings.limits) as form:
        _require_proof(request, form)
        subject, confirmation = form.fields.get("subject", ""), form.fields.get("confirmation", "")

    def removed() -> Response:
        try:
            removal = remove_person(reader.bundles[0], subject, confirmation)
        except MrisError as error:
            return _database(request, status_of(error), problem=str(error))
        told = f"removed {', '.join(removal.subjects)}: {removal.n_entries} entries are gone"
        return _database(request, message=told)

    return await reader.drawn(removed)


def _database(
    request: Request,
    status: int = 200,
    *,
    search: str = "",
    sort: Sort = "subject",
    descending: bool = False,
    offset: int = 0,
    **values: Any,
) -> Response:
    limit = 50
    found = PeopleFound(n_subjects=0, n_found=0, offset=0, subjects=())
    try:
        found = find_people(
            reader_of(request).bundles[0], search=search, sort=sort, descending=descending, offset=offset, limit=limit
        )
    except MrisError as error:
        values = {"problem": str(error)} | values
    asked = {"search": search, "sort": sort, "descending": descending, "offset": offset, "limit": limit}
    return page(request, "database.html", status, found=found.to_json(), **({"message": None} | asked | values))


async def _synthesized(request: Request, form: UploadedForm, bundle: str | None) -> list[dict[str, Any]]:
    reader = reader_of(request)
    asked, _ = asked_in(form)
    if len(form.files) != 1:
        raise RequestError("choose one file")
    results = await reader.synthesize_upload(form.files[0], wish_of(asked), bundle or asked.bundle)
    shown = []
    for result in results:
        url = f"/api/v1/results/{result.record.id}"
        urls = {"picture_url": f"{url}/picture.png", "neighbors_url": f"{url}/neighbors.png"}
        shown.append(result.record.to_json() | urls | {"download_url": f"{url}/download"})
    return shown


def _require_proof(request: Request, form: UploadedForm) -> None:
    request.app.state.sessions.require_proof(request.state.caller, form.fields.get(PROOF_FIELD, ""))


def _own_path(text: str) -> str:
    """A path of ours to go to, or the first page: never another site."""
    return text if text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() else "/"
