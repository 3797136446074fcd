"""What is set before other libraries load, so that none of them speaks for us or leaves files of its own.

Four libraries do more than they are asked while they are imported: ONNX Runtime sends usage events, Matplotlib
keeps a list of fonts in the home folder, torch makes a folder for its compiler, and Lance loads pandas. Each comes in
by one module only (`mris.training.onnx_runtime`, `mris.drawing`, `mris.training.lightning_library`,
`mris.cohort.lance_library`).
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""ONNX Runtime reads this when it is imported, and never again."""

_MEANS_OFF = ("1", "true", "yes")


ONNX_RUNTIME_IS_SILENT = "onnxruntime" not in sys.modules or os.environ.get(NO_TELEMETRY, "").lower() in _MEANS_OFF
"""Whether it is told in time: it was not imported before us, or the user had switched it off."""

os.environ[NO_TELEMETRY] = "1"  # for the processes that we start, too; whatever the user had set


_process = SimpleNamespace(ours=False)


def keep_to_ourselves() -> None:
    """Free a process that is all ours, such as a command's, of a notebook's backend and a user's drawing style."""
    _process.ours = True
    os.environ["MPLBACKEND"] = "agg"
    os.environ["MATPLOTLIBRC"] = str(matplotlib_settings())


def matplotlib_settings() -> Path:
    """The settings that Matplotlib itself brings along."""
    return _folder_of("matplotlib") / "mpl-data" / "matplotlibrc"


def matplotlib_fonts() -> Path:
    """The folder of the fonts that Matplotlib brings along; it need not be imported for them."""
    return _folder_of("matplotlib") / "mpl-data" / "fonts" / "ttf"


@contextmanager
def no_folder_of_torch() -> Iterator[None]:
    """While torch's compiler is imported: it makes its cache folder then, which nothing of ours ever uses."""
    with environment(TORCHINDUCTOR_CACHE_DIR=str(_folder_of("torch"))):  # exists, so that none is made
        yield


@contextmanager
def without_pandas() -> Iterator[None]:
    """While Lance is imported in a process that is all ours: Arrow would import pandas, which takes longer than both.

    Afterwards Arrow imports pandas when a table is to become a data frame, and knows data frames from then on.
    """
    if not _process.ours:
        yield
        return
    absent: Any = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        yield
    finally:
        sys.meta_path.remove(absent)


class _Absent:
    """Finds no pandas."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@contextmanager
def environment(**values: str | None) -> Iterator[None]:
    """Set variables of the environment for a while; None takes one away."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _folder_of(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(spec.submodule_search_locations[0])
