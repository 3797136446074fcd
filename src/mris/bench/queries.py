"""Measures of what answers a query: encoding, search, average, synthesis."""

from collections.abc import Iterator

import numpy as np

from mris.bench.measured import Measured, beside
from mris.cores import n_cores
from mris.database.gallery import Gallery
from mris.database.search import exact_search
from mris.synthesis.bundle import Bundle
from mris.training.onnx_runtime import onnxruntime

_BATCH = 32
_GALLERY, _DIMENSIONS, _QUERIES, _K = 100_000, 256, 64, 20
_MAPS, _PIXELS = 200, 2 * 256 * 256


def measure_queries(bundle: Bundle, rng: np.random.Generator, rounds: int) -> Iterator[Measured]:
    """Measure encoding and synthesis with a bundle, and search and average in galleries of random numbers.

    Args:
        bundle: Any; its first member is used.
        rng: Draws all inputs.
        rounds: How often each operation is measured.

    Raises:
        BundleError: The bundle is damaged.
    """
    member = bundle.members[0]
    card = member.encoder.card
    sources = rng.random((_BATCH, *card.source_shape), dtype=np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_cores()
    session = onnxruntime.InferenceSession(str(member.encoder.folder / "source.onnx"), options)
    yield beside(
        f"encode images of {card.source_shape[-1]} pixels, beside the network alone",
        "images",
        _BATCH,
        lambda: member.encoder.encode_sources(sources),
        lambda: session.run(None, {"source": sources}),
        usual=0.8,
        rounds=rounds,
    )
    gallery, queries = _unit_vectors(rng, _GALLERY), _unit_vectors(rng, _QUERIES)
    yield beside(
        f"search {_GALLERY:,} entries, beside product and partial sort",
        "queries",
        _QUERIES,
        lambda: exact_search(gallery, queries, _K),
        lambda: np.argpartition(queries @ gallery.T, _GALLERY - _K, axis=1)[:, _GALLERY - _K :],
        usual=0.75,
        rounds=rounds,
    )
    maps = rng.random((_MAPS, _PIXELS), dtype=np.float32)
    averaged = Gallery(np.ones((1, 1, _PIXELS), dtype=bool), np.arange(_MAPS), maps)
    rows, weights = rng.choice(_MAPS, (1, _K), replace=False), np.full((1, _K), 1 / _K, dtype=np.float32)
    yield beside(
        f"average {_K} maps of 2 x 256 x 256 with their spread, beside reading them",
        "averages",
        1,
        lambda: averaged.average(rows, weights),
        lambda: [maps[row].sum() for row in rows[0]],
        usual=0.15,
        rounds=rounds,
    )
    synthesizer = bundle.synthesizer()
    yield beside(
        f"synthesize from {len(bundle.keys):,} entries, beside encoding",
        "images",
        _BATCH,
        lambda: synthesizer.synthesize(sources),
        lambda: member.encoder.encode_sources(sources),
        usual=0.3,
        rounds=rounds,
    )


def _unit_vectors(rng: np.random.Generator, count: int) -> np.ndarray:
    vectors = rng.standard_normal((count, _DIMENSIONS), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
