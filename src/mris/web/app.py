"""`create_app`: the application that uvicorn, or a test, runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

import mris
from mris.errors import MrisError
from mris.web import api, archive_api, assets, database_api, pages
from mris.web.answers import API, error_answer, error_of, json_error
from mris.web.guard import Guard
from mris.web.metrics import Metrics
from mris.web.reader import Reader
from mris.web.security import Sessions
from mris.web.settings import ServeSettings


def create_app(settings: ServeSettings) -> ASGIApp:
    """Make the application; bundles are opened, and processes started, when it starts.

    Args:
        settings: What is served, and to whom.

    Returns:
        An ASGI application, guarded (`mris.web.guard.Guard`).
    """
    metrics = Metrics()
    sessions = Sessions(settings.token, cookie=f"mris_{settings.port}")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.reader = reader = Reader(settings, metrics)
        try:
            yield
        finally:
            reader.close()

    app = FastAPI(
        title="mris",
        version=mris.__version__,
        description="Synthesis by retrieval from one bundle: research use, not a medical device.",
        lifespan=lifespan,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.settings, app.state.sessions = settings, sessions
    app.include_router(api.router)
    app.include_router(database_api.router)
    app.include_router(archive_api.router)
    app.include_router(pages.router)
    app.mount(assets.ADDRESS, assets.Assets(), name="static")

    def answer(request: Request, error: Exception) -> Response:
        return error_answer(request, error_of(error), pages.error_page)

    for kind in (MrisError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(Exception, _internal_error)

    def answer_ours(request: Request, error: MrisError) -> Response:
        return error_answer(request, error, pages.error_page)

    return Guard(app, settings=settings, sessions=sessions, metrics=metrics, answer=answer_ours)


def _internal_error(request: Request, _: Exception) -> Response:
    """Tell the id alone, by which the log can be searched."""
    detail = "a fault of the server; its log tells more under the request's id"
    if request.url.path.startswith(API):
        return json_error(request, 500, "InternalError", detail)
    return pages.error_page(request, 500, detail)
