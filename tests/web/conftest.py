"""A bundle of digital knees, served by a real server in a thread, and clients that ask it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.web.browser_world import make_bundles, write_knee_plate, write_knees

from mris.knee.map_edges import PHANTOM_EDGES
from mris.web.run import running
from mris.web.settings import Limits, ServeSettings

API = "/api/v1"


@dataclass(frozen=True)
class Knees:
    """Bundles, files to send, and the folder of the digital people."""

    bundle: Path
    other: Path
    knee: Path
    plate: Path


@pytest.fixture(scope="session")
def knees(tmp_path_factory: pytest.TempPathFactory) -> Knees:
    folder = tmp_path_factory.mktemp("web")
    manifest = write_knees(folder)
    bundle, other = make_bundles(folder, manifest)
    knee = manifest.parent / "P00040" / "00_left.png"
    return Knees(bundle, other, knee, write_knee_plate(folder / "plate.dcm"))


def settings_for(*bundles: Path, **fields: object) -> ServeSettings:
    """Of a server on a free port, with one decoder."""
    return ServeSettings(bundles, port=0, edges=PHANTOM_EDGES, **{"limits": Limits(decoders=1)} | fields)


def client_of(url: str, **options: object) -> httpx.Client:
    """A client with a session of its own, as a program opens it."""
    client = httpx.Client(base_url=url, trust_env=False, timeout=60, **options)
    client.headers["X-CSRF-Token"] = client.get(f"{API}/session").json()["csrf_token"]
    return client


@pytest.fixture(scope="session")
def url(knees: Knees) -> Iterator[str]:
    """Of a server that no test changes."""
    with running(settings_for(knees.bundle, knees.other)) as url:
        yield url


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[httpx.Client]:
    with closing(client_of(url)) as client:
        yield client


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start a server of one's own: ``serve(bundle, token="...", limits=Limits(...))``."""
    with ExitStack() as stack:
        yield lambda *bundles, **fields: stack.enter_context(running(settings_for(*bundles, **fields)))


@pytest.fixture
def copied(knees: Knees, tmp_path: Path) -> Path:
    """A copy of the bundle, to change."""
    return Path(shutil.copytree(knees.bundle, tmp_path / "copy.bundle"))


@pytest.fixture
def synthesize(client: httpx.Client) -> Callable[..., list[dict]]:
    """Send a file and get its results: ``synthesize(path, side="left")``."""

    def synthesize(path: Path, **fields: str) -> list[dict]:
        answer = client.post(f"{API}/synthesize", files={"file": (path.name, path.read_bytes())}, data=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    return synthesize
