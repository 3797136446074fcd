"""The house: rooms import downward, torch stays upstairs, files stay small, nothing is pickled."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src" / "mris").rglob("*.py"))
TORCH_FREE = ("images", "database", "synthesis", "evaluation", "reporting")


ONE_WAY_IN = {
    "onnxruntime": "training/onnx_runtime.py",
    "matplotlib": "drawing.py",
    "lightning": "training/lightning_library.py",
    "ray": "engines/on_ray.py",
    "lance": "cohort/lance_library.py",
}
"""Libraries that speak, leave files or load others unless something is done before, and who does it."""


def rooms_by_layer() -> dict[str, int]:
    """Room -> height, from the layers that lint-imports holds."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if contract["id"] == "layers")["layers"]
    rooms = [[room.strip(" ()") for room in layer.split("|")] for layer in layers]
    return {room: len(layers) - height for height, group in enumerate(rooms) for room in group}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports_of(path: Path) -> set[str]:
    """Absolute names of all imports, those inside functions too, without those for type checkers."""
    tree = tree_of(path)
    hidden = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    names = set()
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "src" / "mris").parts
    return parts[0].removesuffix(".py")


def test_a_file_imports_only_from_rooms_below() -> None:
    heights = rooms_by_layer()
    for path in SOURCES:
        here = room_of(path)
        for name in imports_of(path) if here in heights else ():
            there = name.split(".")[1] if name.startswith("mris.") else here
            assert there == here or heights[there] < heights[here], f"{path} imports {name}"


def test_files_stay_small_and_none_is_a_drawer() -> None:
    assert [path for path in SOURCES if len(path.read_text().splitlines()) > 400] == []
    assert [path for path in SOURCES if path.stem in ("utils", "helpers", "misc")] == []


def test_torch_stays_upstairs() -> None:
    for path in SOURCES:
        if room_of(path) in TORCH_FREE:
            assert not {name.split(".")[0] for name in imports_of(path)} & {"torch", "lightning"}, path


def test_a_library_that_must_be_kept_quiet_has_one_way_in() -> None:
    for path in SOURCES:
        here = path.relative_to(ROOT / "src" / "mris").as_posix()
        assert not {name for name in imports_of(path) if ONE_WAY_IN.get(name.split(".")[0], here) != here}, (
            f"{here}: import it from {sorted(ONE_WAY_IN.values())}"
        )


def test_nothing_is_pickled_and_no_chance_is_global() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert not imports_of(path) & {"pickle", "dill", "joblib", "shelve"}, path
        assert "allow_pickle=True" not in text, path
        assert "weights_only=False" not in text, path
        assert "np.random.seed" not in text, path
        assert "torch.manual_seed" not in text or "fork_rng" in text, path


SPEAK_OF_KNEES = ("knee", "digital", "cli", "web", "__init__")  # and the doors, which pass on what it knows
BODY_PARTS = {
    "knee",
    "knees",
    "femur",
    "femoral",
    "tibia",
    "tibial",
    "klg",
    "kellgren",
    "patella",
    "cartilage",
    "joint",
}


def words_of(text: str) -> set[str]:
    """All words of a text, in small letters; KneeFinder and KNEE_SUFFIXES are two words each."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)}


TEXTS = [*SOURCES, *(ROOT / "src" / "mris").rglob("*.html")]


def test_generic_rooms_speak_of_no_body_part() -> None:
    speaking = {
        path for path in TEXTS if room_of(path) not in SPEAK_OF_KNEES and words_of(path.read_text()) & BODY_PARTS
    }
    assert speaking == set(), "a door passes it on from knee/ (see mris.images.anatomy)"


PARSERS = {
    "reading.py",  # the one
    "checkpoint_file.py",  # bounds of their own: text inside the header of a tensor file
    "thickness_folder.py",  # what it has just written itself
}


def test_json_files_are_read_in_one_place_which_bounds_them() -> None:
    assert {path.name for path in SOURCES if "json.load" in path.read_text()} <= PARSERS


def test_importing_the_package_and_its_help_load_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, mris\n"
        "assert not {'torch', 'numpy', 'lance'} & set(sys.modules), 'import mris'\n"
        "sys.argv = ['mris', '--help']\n"
        "from mris.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'lance', 'scipy'} & set(sys.modules), 'mris --help'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


SPARED = {"torch", "matplotlib", "pandas", "scipy", "sklearn", "pydicom", "nibabel", "requests"}


def test_a_png_becomes_maps_and_pictures_without_libraries_that_others_need(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "knee.png")
    bundle = ROOT / "src" / "mris" / "digital" / "knees.bundle"
    code = (
        "import sys\n"
        "from mris.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as leaving:\n    assert not leaving.code, leaving.code\n"
        f"assert not {SPARED!r} & set(sys.modules), {SPARED!r} & set(sys.modules)\n"
    )
    query = [
        "synthesize",
        str(bundle),
        str(tmp_path / "knee.png"),
        "--side",
        "left",
        "--spacing",
        "1",
        "--out",
        str(tmp_path / "maps"),
    ]
    done = subprocess.run([sys.executable, "-c", code, *query, "-q"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in (tmp_path / "maps").iterdir()}
    assert {"knee.nii.gz", "knee.png", "knee_neighbors.png", "means.csv"} <= made


def test_arrow_knows_pandas_after_lance_was_imported_without_it() -> None:
    pytest.importorskip("pandas")
    code = (
        "import sys\n"
        "from mris.quiet import keep_to_ourselves\n"
        "keep_to_ourselves()\n"
        "from mris.cohort.lance_library import lance\n"
        "assert 'pandas' not in sys.modules\n"
        "import pyarrow as pa\n"
        "assert len(pa.table({'a': [1.0]}).to_pandas()) == 1\n"
        "import pandas as pd\n"
        "assert pa.array(pd.Series([1.0, float('nan')])).null_count == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


FRONT_DOORS = [path for path in SOURCES if path.name == "__init__.py" and "- ``mris." in path.read_text()]


def named_by(door: Path) -> dict[str, set[str]]:
    """Names that the front door of a room lists, by module."""
    listed = (ast.get_docstring(ast.parse(door.read_text())) or "").split("\n- ")[1:]
    entries = [entry.partition("``:") for entry in listed]
    return {module.strip("`"): set(re.findall(r"`(\w+)`", names)) for module, _, names in entries}


NAMED = {room_of(door): named_by(door) for door in FRONT_DOORS}


def names_of(module: str) -> set[str]:
    """Names that a module defines or passes on, without importing it, for that may need torch."""
    place = ROOT / "src" / module.replace(".", "/")
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    tree = ast.parse(path.read_text())
    names: set[str] = set()
    for node in [*tree.body, *(part for block in tree.body if isinstance(block, ast.With) for part in block.body)]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return names


@pytest.mark.parametrize("path", FRONT_DOORS, ids=room_of)
def test_what_the_front_door_of_a_room_names_is_there(path: Path) -> None:
    for module, names in NAMED[room_of(path)].items():
        assert module.split(".")[1] == room_of(path)
        assert names <= names_of(module), module


def test_a_file_imports_of_another_room_what_its_front_door_names() -> None:
    for path in SOURCES:
        check_imports_of_other_rooms(path)


def check_imports_of_other_rooms(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        _, _, inside = ((isinstance(node, ast.ImportFrom) and node.module) or "").partition("mris.")
        room = inside.partition(".")[0]
        if isinstance(node, ast.ImportFrom) and room in NAMED and room != room_of(path):
            unnamed = {alias.name for alias in node.names} - NAMED[room].get(f"mris.{inside}", set())
            assert not unnamed, f"{path}: name {sorted(unnamed)} of mris.{inside} in mris/{room}/__init__.py"


def test_every_room_that_others_import_has_a_front_door() -> None:
    rooms = {path.parent.name for path in (ROOT / "src" / "mris").glob("*/__init__.py")}
    assert rooms - NAMED.keys() == {"cli"}, "nobody imports cli"
