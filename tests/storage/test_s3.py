"""Against a real server of S3: what is in a storage is as good as on a disk, for reading, changing and taking away."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import obstore
import pytest
from benchmarks.faults.made_bundle import SIZE, export_encoder, make_cohort
from tests.command import TINY, call
from tests.storage.conftest import BUCKET, SECRET, ask

from mris.cohort.cohort import Cohort
from mris.database.database import EmbeddingDatabase
from mris.errors import CohortError, DatabaseError, OutputError, StorageError
from mris.storage.address import place_of
from mris.storage.folder import changed
from mris.storage.objects import Objects
from mris.storage.publish import publish, standing_at
from mris.synthesis.build_bundle import build_bundle
from mris.synthesis.bundle import Bundle
from mris.training.pairs import PairReader

pytestmark = pytest.mark.slow

PEOPLE = [f"PERSON-{number:03d}" for number in range(12)]
GOING = "PERSON-007"


@pytest.fixture
def cohort(bucket: str, tmp_path: Path) -> Cohort:
    """A cohort on this machine and, as `at(bucket, "cohort")`, in the storage."""
    (tmp_path / "cohort").mkdir()
    made = make_cohort(tmp_path / "cohort", PEOPLE, 1)
    publish(tmp_path / "cohort", place_of(f"{bucket}/cohort"), None)
    return made


@pytest.fixture
def bundle(bucket: str, cohort: Cohort, tmp_path: Path) -> Bundle:
    """A bundle in the storage, indexed from the cohort there."""
    encoder = export_encoder(tmp_path / "encoder", cohort, cohort.regions, 3)
    there = Cohort.open(f"{bucket}/cohort")
    return build_bundle([encoder], there, f"{bucket}/hands.bundle", progress=False)


def objects_of(bucket: str) -> dict[str, bytes]:
    store = Objects(place_of(bucket))._store
    return {one["path"]: bytes(obstore.get(store, one["path"]).bytes()) for part in obstore.list(store) for one in part}


def sources(n: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, 1, *SIZE), dtype=np.float32)


def test_a_cohort_in_a_storage_gives_the_pairs_of_the_one_on_the_disk(bucket: str, cohort: Cohort) -> None:
    there = Cohort.open(f"{bucket}/cohort")
    rows = [5, 0, 5, 11]
    np.testing.assert_array_equal(there.read_sources(rows), cohort.read_sources(rows))
    np.testing.assert_array_equal(there.read_targets(rows), cohort.read_targets(rows))
    np.testing.assert_array_equal(there.atlas_mask, cohort.atlas_mask)
    assert there.keys.tolist() == cohort.keys.tolist()
    assert str(there.path) == f"{bucket}/cohort"
    readers = [PairReader(one, cohort.regions, 3.0, cache_megabytes=0) for one in (cohort, there)]
    ours, theirs = (reader.read(np.array(rows)) for reader in readers)
    assert all(bool((a == b).all()) for a, b in zip(ours, theirs, strict=True))
    sent = pickle.loads(pickle.dumps(there))  # noqa: S301 - as to a worker
    np.testing.assert_array_equal(sent.read_targets(rows), cohort.read_targets(rows))


def test_a_bundle_in_a_storage_gives_the_maps_of_the_one_on_the_disk(bundle: Bundle, tmp_path: Path) -> None:
    with changed(bundle.path) as copy:
        here = Bundle.open(copy)
        for limit in (1 << 30, 0):  # the pixels in memory, and read for each query
            ours, theirs = (one.synthesizer(n_neighbors=3, memory_limit=limit) for one in (here, bundle))
            for a, b in zip(ours.predict(sources(3)), theirs.predict(sources(3)), strict=True):
                np.testing.assert_array_equal(a, b)
    assert bundle.verify().ok
    assert bundle.verify().summary().startswith(f"{bundle.path}: whole")


def test_a_person_who_is_purged_is_in_no_object_of_the_storage(
    bucket: str, bundle: Bundle, cohort: Cohort, tmp_path: Path
) -> None:
    image = cohort.read_targets([PEOPLE.index(GOING)]).astype(np.float16)[0, 0, 5].tobytes()

    def held() -> list[str]:
        return [
            name
            for name, data in objects_of(f"{bucket}/hands.bundle").items()
            if GOING.encode() in data or image in data
        ]

    obstore.put(Objects(place_of(f"{bucket}/hands.bundle"))._store, f"{'0' * 32}/left", GOING.encode())
    assert bundle.verify().n_left == 1
    assert len(held()) >= 2
    bundle.remove([GOING], purge=True)
    assert held() == []
    assert GOING not in bundle.subjects
    report = Bundle.open(f"{bucket}/hands.bundle").verify()
    assert report.ok
    assert report.n_left == 0


def test_a_bucket_that_keeps_versions_is_told_of_after_a_purge(bucket: str, server: str, bundle: Bundle) -> None:
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    ask(server, "PUT", f"/{BUCKET}?versioning", body)
    bundle.remove([PEOPLE[0]])
    with pytest.raises(StorageError, match="keeps earlier versions of objects"):
        bundle.remove([GOING], purge=True)
    bundle.refresh()
    assert GOING not in bundle.subjects


def test_adding_and_removing_there_equals_adding_and_removing_here(
    bucket: str, bundle: Bundle, cohort: Cohort, tmp_path: Path
) -> None:
    (tmp_path / "more").mkdir()
    more = make_cohort(tmp_path / "more", ["NEW-1", "NEW-2"], 2)
    assert bundle.add(more, progress=False) == 2
    assert bundle.add(more, progress=False) == 0
    with pytest.raises(DatabaseError, match=r"^s3://hospital/hands.bundle has no subject 'NOBODY'"):
        bundle.remove(["NOBODY"])
    bundle.remove(["NEW-1"])
    assert bundle.keys.tolist() == [*cohort.keys.tolist(), "NEW-2/0"]
    assert Bundle.open(f"{bucket}/hands.bundle").keys.tolist() == bundle.keys.tolist()
    assert bundle.purge() == ("NEW-1",)
    assert bundle.verify().ok


def test_of_two_that_change_a_bundle_at_once_one_wins(bucket: str, bundle: Bundle) -> None:
    with pytest.raises(OutputError, match="was changed by another process"), changed(bundle.path) as copy:
        Bundle.open(f"{bucket}/hands.bundle").remove([PEOPLE[1]])
        Bundle.open(copy).remove([PEOPLE[2]])
    bundle.refresh()
    assert PEOPLE[1] not in bundle.subjects
    assert PEOPLE[2] in bundle.subjects
    assert bundle.verify().ok


@pytest.mark.parametrize("step", ["send", "write", "delete"])
def test_a_killed_writer_leaves_a_whole_bundle_and_its_repetition_finishes(
    step: str, bucket: str, bundle: Bundle
) -> None:
    program = (
        "import os, signal, sys\n"
        "from mris.storage.objects import Objects\n"
        "from mris.synthesis.bundle import Bundle\n"
        "setattr(Objects, sys.argv[1], lambda *given: os.kill(os.getpid(), signal.SIGKILL))\n"
        "Bundle.open(sys.argv[2]).remove([sys.argv[3]], purge=True)\n"
    )
    address = f"{bucket}/hands.bundle"
    ended = subprocess.run([sys.executable, "-c", program, step, address, GOING], env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL
    left = Bundle.open(address)
    assert (GOING in left.subjects) == (step != "delete")
    assert left.verify().ok
    if step != "delete":
        left.remove([GOING], purge=True)
    else:
        left.purge()
    assert Bundle.open(address).verify().n_left == 0
    assert not any(GOING.encode() in data for data in objects_of(address).values())


def test_a_database_alone_is_built_changed_and_searched_there(
    bucket: str, cohort: Cohort, projection_encoder: Callable[..., object]
) -> None:
    encoder = projection_encoder.of(cohort)  # type: ignore[attr-defined]
    there = EmbeddingDatabase.build(f"{bucket}/database", cohort, encoder, progress=False)
    found = there.search(there.embeddings, 1)
    assert found.keys[:, 0].tolist() == cohort.keys.tolist()
    there.remove([GOING], purge=True)
    assert GOING not in EmbeddingDatabase.open(f"{bucket}/database").subjects
    assert there.verify().ok


def test_an_index_made_in_a_storage_is_searched_and_goes_with_a_purged_person(bundle: Bundle) -> None:
    pytest.importorskip("faiss", reason="the extra 'index' is not installed")
    bundle.create_index()
    database = Bundle.open(str(bundle.path)).members[0].database
    queries = database.embeddings[:3]
    by_index = database.search(queries, 5, exact=False)
    assert by_index.keys.tolist() == database.search(queries, 5, exact=True).keys.tolist()
    bundle.remove([GOING], purge=True)
    found = Bundle.open(str(bundle.path)).members[0].database.search(queries, len(PEOPLE), exact=False)
    assert GOING not in found.subjects
    assert bundle.verify().ok


def test_a_storage_whose_objects_go_away_in_the_middle_costs_one_line(bucket: str, cohort: Cohort) -> None:
    there = Cohort.open(f"{bucket}/cohort")
    address = place_of(f"{bucket}/cohort")
    Objects(address).delete(standing_at(address).published.id)
    with pytest.raises(CohortError, match=r"the table s3://hospital/cohort/pairs.lance cannot be read") as caught:
        there.read_targets([0])
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_bucket_and_another_things_address_cost_one_line(
    bucket: str, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    for address, told in ((f"{bucket}-not", "no such bucket"), (bucket, "is not a cohort (no cohort.json)")):
        assert call("train", f"{address}/hands.bundle", "run", "--dry-run") == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert told in line
    with pytest.raises(OutputError, match=r"s3://hospital/hands.bundle exists"):
        Bundle.open(f"{bucket}/hands.bundle")
        EmbeddingDatabase.build(f"{bucket}/hands.bundle", Cohort.open(f"{bucket}/cohort"), bundle.members[0].encoder)


def test_the_commands_walk_their_road_in_a_storage(
    bucket: str, tiny_manifest: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    cohort, bundle = f"{bucket}/a/cohort", f"{bucket}/a/hands.bundle"
    manifest = tiny_manifest(tmp_path)
    source = next(tmp_path.glob("*_left.npy"))
    assert call("prepare", manifest, cohort, "--size", "16", "--workers", "1", "--quiet") == 0
    assert call("train", cohort, "run", *TINY) == 0
    assert call("index", "run", cohort, bundle, "--quiet") == 0
    assert call("synthesize", bundle, source, "--side", "left", "--out", "maps", "--quiet") == 0
    assert call("evaluate", bundle, cohort, "--out", "report", "--bootstrap", "10", "--quiet") == 0
    assert call("bundle", "list", bundle) == 0
    assert call("bundle", "verify", bundle) == 0
    assert not Path("s3:").exists()
    assert standing_at(place_of(bundle)) is not None
