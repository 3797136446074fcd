"""Scripts and styles of the pages, at an address that changes with any of them: a browser asks for each once."""

import hashlib
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).with_name("static")


def address_of(folder: Path) -> str:
    """Where the files of a folder are found.

    Example:
        >>> address_of(FOLDER).startswith("/static/"), address_of(FOLDER) == address_of(FOLDER)
        (True, True)
    """
    content = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        content.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return f"/static/{content.hexdigest()[:16]}"


ADDRESS = address_of(FOLDER)


class Assets(StaticFiles):
    """The files, which a browser may keep for good: others have another address."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    def file_response(self, *asked: Any, **options: Any) -> Response:
        """Answer with a file, or that it is as it was."""
        answer = super().file_response(*asked, **options)
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return answer
