"""What browser tests start from: a bundle of digital knees, files to drop, and a server that can die and come back."""

import csv
import socket
import threading
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from benchmarks.faults.made_bundle import export_encoder

from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.images.transforms import SourcePreparation
from mris.knee.map_edges import PHANTOM_EDGES
from mris.knee.phantom.cohort import write_phantom
from mris.knee.phantom.plate import compose_plate, sample_plate_layout
from mris.knee.phantom.plate_file import PlateRecord, write_plate
from mris.knee.phantom.simulate import simulate_subject
from mris.synthesis.build_bundle import build_bundle
from mris.web.run import server_of
from mris.web.settings import Limits, ServeSettings

MARKUP = '<img src=x onerror="document.title=1">'
"""Name of one of the people: whoever takes it for HTML shows a broken picture."""

ACCENTED = "Am\u00e9lie"
"""And of another, which some keyboards write with two signs for the third letter."""

SIZE = 32


def write_knees(folder: Path) -> Path:
    """60 digital people, both knees, 24 of them to calibrate on; two are named specially. Gives the manifest."""
    manifest = folder / "knees" / "manifest.csv"
    write_phantom(manifest.parent, n_subjects=60, size=SIZE, max_visits=1, workers=1, progress=False)
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], "split"])
        writer.writeheader()
        for row in rows:
            number = int(row["subject"][1:])
            named = {0: MARKUP, 34: ACCENTED}.get(number, row["subject"])
            writer.writerow(row | {"subject": named, "split": "train" if number < 36 else "calibration"})
    return manifest


def make_bundles(folder: Path, manifest: Path) -> list[Path]:
    """Two bundles of the same people, of untrained encoders: no torch, seconds."""
    source = SourcePreparation((SIZE, SIZE), mirror_sides=("right",), extent_mm=(140.0, 140.0))
    settings = PrepareSettings(source, (SIZE, SIZE), workers=1, target_spacing=(1.0, 1.0), origin="simulated")
    prepare_cohort(manifest, folder / "cohort", settings, progress=False)
    cohort = Cohort.open(folder / "cohort")
    anterior = np.zeros((SIZE, SIZE), bool)
    anterior[:, SIZE // 2 :] = True
    parts = {region: {"anterior": anterior, "posterior": ~anterior} for region in cohort.regions}
    bundles = []
    for seed, name in enumerate(("knees", "others")):
        encoder = export_encoder(folder / f"encoder-{seed}", cohort, cohort.regions, seed)
        build_bundle([encoder], cohort, folder / f"{name}.bundle", parts=parts, progress=False)
        bundles.append(folder / f"{name}.bundle")
    return bundles


def write_knee_plate(path: Path) -> Path:
    """A DICOM radiograph of both knees of one more digital person."""
    left, right = simulate_subject(3, 1, size=128, max_visits=1)
    layout = sample_plate_layout(np.random.default_rng(4))
    plate = compose_plate(
        right.radiograph,
        left.radiograph,
        spacing_mm=4 * layout.spacing_mm,
        shape=(layout.shape[0] // 4, layout.shape[1] // 4),
        centers={side: (row / 4, column / 4) for side, (row, column) in layout.centers.items()},
        rng=np.random.default_rng(0),
    )
    write_plate(path, plate, PlateRecord("P00003", "1", 0, "female", 61.0, date(2024, 6, 13), False, False))
    return path


def write_half_plate(plate: Path, path: Path) -> Path:
    """The same plate, whose header says both sides, but the left one cannot be seen."""
    file = pydicom.dcmread(plate)
    file.decompress()
    pixels = file.pixel_array.copy()
    unseen = pixels[:, pixels.shape[1] // 2 :]
    unseen[...] = np.linspace(0, pixels.max() / 20, unseen.shape[1])
    file.PixelData = pixels.tobytes()
    file.save_as(path)
    return path


class Served:
    """A server in a thread; dead and started again it is at the same address and remembers nothing."""

    def __init__(self, *bundles: Path, **fields: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        limits = Limits(decoders=1)
        self.settings = ServeSettings(bundles=bundles, port=port, edges=PHANTOM_EDGES, limits=limits, **fields)
        self.url = f"http://127.0.0.1:{port}"
        self.start()

    def start(self) -> None:
        """Serve, and wait until it answers."""
        ready = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", self.settings.port), backlog=64)
        self._server = server_of(replace(self.settings), lambda _: ready.set())
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        assert ready.wait(30), "the server does not start"

    def die(self) -> None:
        """Cut all connections."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(30)
        self._socket.close()
