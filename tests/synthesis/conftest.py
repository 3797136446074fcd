"""Tiny exported encoders: a fixed random linear map and a normalization, as ONNX graphs without torch."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from benchmarks.faults.made_bundle import linear_graph
from sklearn.dummy import DummyRegressor

from mris.cohort.cohort import Cohort

DIMENSIONS = 16


@pytest.fixture
def export_linear(tmp_path: Path) -> Callable[..., Path]:
    """Write ``source.onnx``, ``target.onnx`` and ``encoder.json`` for a cohort, as the metric's export does."""

    def export(
        cohort: Cohort, *, regions: Sequence[str] | None = None, seed: int = 0, name: str = "encoder", **card: object
    ) -> Path:
        rng = np.random.default_rng(seed)
        header = cohort.header
        regions = tuple(regions if regions is not None else header.regions)
        target_shape = (len(regions), *header.target_shape[1:])
        folder = tmp_path / name
        folder.mkdir()
        graphs = b""
        for kind, shape in (("source", header.source_shape), ("target", target_shape)):
            matrix = rng.standard_normal((int(np.prod(shape)), DIMENSIONS)).astype(np.float32)
            graph = linear_graph(kind, shape, matrix)
            (folder / f"{kind}.onnx").write_bytes(graph)
            graphs += graph
        values = {
            "format_version": 1,
            "fingerprint": hashlib.sha256(graphs).hexdigest(),
            "regions": regions,
            "source_shape": header.source_shape,
            "target_shape": target_shape,
            "target_scale": 3.0,
            "embedding_dim": DIMENSIONS,
            "unit": header.unit,
            "preparation": header.to_json()["source"],
            "target_spacing": header.target_spacing,
            "versions": {},
        }
        (folder / "encoder.json").write_text(json.dumps(values | card))
        return folder

    return export


@pytest.fixture(scope="session")
def conformal_half_width() -> Callable[[np.ndarray, float], float]:
    """Half of the interval of split conformal prediction round a prediction of 0, by MAPIE."""
    mapie = pytest.importorskip("mapie.regression", reason="mapie is not installed (extra 'test')")

    def half_width(errors: np.ndarray, level: float) -> float:
        nothing = np.zeros((len(errors), 1))
        zero = DummyRegressor(strategy="constant", constant=0).fit(nothing, errors)
        conformal = mapie.SplitConformalRegressor(zero, confidence_level=level, prefit=True)
        return float(conformal.conformalize(nothing, errors).predict_interval(nothing[:1])[1][0, 1, 0])

    return half_width
