"""Cohorts and bundles of a few people whose names and images can be searched for on the disk, byte by byte."""

import json
from collections.abc import Sequence
from pathlib import Path

import lance
import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper

from mris.cohort.cohort import Cohort
from mris.cohort.header import ATLAS_MASK_FILE, HEADER_FILE, TABLE_FILE, CohortHeader
from mris.cohort.pair_table import image_array
from mris.images.transforms import SourcePreparation
from mris.images.write import write_json, write_npz

SIZE = (16, 16)
REGIONS = ("femoral", "tibial")
DIMENSIONS = 16


def make_cohort(folder: Path, subjects: Sequence[str], seed: int) -> Cohort:
    """One pair a subject, of random pixels."""
    rng, n = np.random.default_rng(seed), len(subjects)
    targets = rng.uniform(0.5, 3.0, (n, len(REGIONS), *SIZE)).astype(np.float32)
    targets[:, :, :2] = np.nan
    header = CohortHeader(
        regions=REGIONS,
        unit="mm",
        source=SourcePreparation(size=SIZE),
        source_shape=(1, *SIZE),
        target_shape=(len(REGIONS), *SIZE),
        target_spacing=(0.5, 0.5),
        mirror_targets=False,
        labels=(),
        n_pairs=n,
        n_manifest_rows=n,
        split_rule="given",
        manifest_sha256="0" * 64,
        software="benchmark",
    )
    table = pa.table(
        {
            "key": [f"{subject}/0" for subject in subjects],
            "subject": list(subjects),
            "timepoint": ["0"] * n,
            "side": [""] * n,
            "split": ["train"] * n,
            "source": image_array(rng.uniform(0, 1, (n, SIZE[0] * SIZE[1])).astype(np.float32)),
            "target": image_array(targets.reshape(n, -1)),
        }
    )
    lance.write_dataset(table, str(folder / TABLE_FILE))
    write_npz(folder / ATLAS_MASK_FILE, mask=~np.isnan(targets).all(axis=0))
    write_json(folder / HEADER_FILE, header)
    return Cohort.open(folder)


def export_encoder(folder: Path, cohort: Cohort, regions: Sequence[str], seed: int) -> Path:
    """A fixed random linear map and a normalization, as an exported encoder."""
    rng, header = np.random.default_rng(seed), cohort.header
    target_shape = (len(regions), *header.target_shape[1:])
    folder.mkdir()
    for name, shape in (("source", header.source_shape), ("target", target_shape)):
        matrix = rng.standard_normal((int(np.prod(shape)), DIMENSIONS)).astype(np.float32)
        (folder / f"{name}.onnx").write_bytes(linear_graph(name, shape, matrix))
    values = {
        "format_version": 1,
        "fingerprint": f"{seed:064x}",
        "regions": list(regions),
        "source_shape": header.source_shape,
        "target_shape": target_shape,
        "target_scale": 3.0,
        "embedding_dim": DIMENSIONS,
        "unit": header.unit,
        "preparation": header.to_json()["source"],
        "target_spacing": header.target_spacing,
        "versions": {},
    }
    (folder / "encoder.json").write_text(json.dumps(values))
    return folder


def linear_graph(name: str, shape: Sequence[int], matrix: np.ndarray) -> bytes:
    """A product with a matrix and a normalization, as an ONNX graph."""
    nodes = [
        helper.make_node("Flatten", [name], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "matrix"], ["vector"]),
        helper.make_node("LpNormalization", ["vector"], ["embedding"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", matrix.shape[1]])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()
