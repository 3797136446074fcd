"""Small or endless files that would cost minutes or gigabytes: each is refused before the work that it asks for."""

import contextlib
import io
import os
import resource
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage, generate_uid

from mris.cli.settings import parse_assignments
from mris.cohort.exclusion import read_exclusions
from mris.cohort.manifest import read_manifest
from mris.cohort.manifest_file import MOST_CELLS, MOST_COLUMNS, MOST_ROWS
from mris.errors import ImageError, ManifestError, MrisError, SettingsError
from mris.images.arrays import read_mask
from mris.images.read import read_image
from mris.settings_file import read_toml

SECONDS, MEGABYTES = 2, 500


def peak() -> float:
    """Most memory that this process ever had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextlib.contextmanager
def cheaply_refused(error: type[MrisError], match: str) -> Iterator[None]:
    """Expect an error of one line, early and in little memory; time of this process alone, for others may run."""
    seconds, before = time.process_time(), peak()
    with pytest.raises(error, match=match) as caught:
        yield
    assert time.process_time() - seconds < SECONDS
    assert peak() - before < MEGABYTES
    assert "\n" not in str(caught.value)


def write_dicom(path: Path, syntax: str, data: bytes) -> Path:
    dataset = Dataset()
    dataset.Rows = dataset.Columns = 64
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = data
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = syntax == RLELossless
    dataset.save_as(path, enforce_file_format=True)
    return path


def rle(n_bytes: int) -> bytes:
    return struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x00" * (n_bytes // 2)


@pytest.mark.parametrize("n_bytes", [2_000_000, 40_000_000])
def test_a_compressed_dicom_picture_is_refused_where_its_stream_is_too_long(tmp_path: Path, n_bytes: int) -> None:
    path = write_dicom(tmp_path / "x.dcm", RLELossless, encapsulate([rle(n_bytes)]))
    with cheaply_refused(ImageError, r"64 x 64 pixels.*at most [\d,]+"):
        read_image(path)


def test_a_dicom_file_of_many_fragments_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x.dcm", RLELossless, encapsulate([rle(64)], fragments_per_frame=1))
    data = path.read_bytes()
    path.write_bytes(data[:-8] + b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 1_000_000 + data[-8:])
    with cheaply_refused(ImageError, "compressed stream of 8,000"):
        read_image(path)


def test_a_dicom_file_much_larger_than_its_picture_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x.dcm", ExplicitVRLittleEndian, bytes(64 * 64))
    with path.open("r+b") as file:
        file.truncate(3 << 30)  # holes: nothing is written
    with cheaply_refused(ImageError, "has 3,221,225,472 bytes for 64 x 64 pixels"):
        read_image(path)


def test_overlong_but_possible_streams_are_read(tmp_path: Path) -> None:
    literal = b"".join(b"\x00" + bytes([value % 256]) for value in range(64 * 64))  # two bytes for each
    stream = struct.pack("<16L", 1, 64, *[0] * 14) + literal
    pixels = read_image(write_dicom(tmp_path / "x.dcm", RLELossless, encapsulate([stream]))).pixels
    np.testing.assert_array_equal(pixels.reshape(-1), np.arange(64 * 64) % 256)


def write_tiff(path: Path, n_pages: int, further: list[tuple[int, int, int, int]] | None = None) -> Path:
    """Pages of 4 x 4 gray pixels that share one place."""
    tags = [
        *((256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)),
        *((273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 4), (279, 4, 1, 16), *(further or [])),
    ]
    size, out = 2 + 12 * len(tags) + 4, io.BytesIO()
    out.write(b"II*\0" + struct.pack("<L", 24) + bytes(16))
    for page in range(n_pages):
        out.write(struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHLL", *tag) for tag in tags))
        out.write(struct.pack("<L", 24 + (page + 1) * size if page + 1 < n_pages else 0))
    path.write_bytes(out.getvalue())
    return path


def test_a_tiff_of_many_pages_is_refused_at_the_second(tmp_path: Path) -> None:
    with cheaply_refused(ImageError, "holds several pages"):
        read_image(write_tiff(tmp_path / "x.tif", 100_000))
    assert read_image(write_tiff(tmp_path / "one.tif", 1)).size == (4, 4)


def test_a_tiff_whose_tags_all_name_the_same_megabytes_is_refused(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.tif", 1, [(40_000 + n, 1, 10_000_000, 0) for n in range(1000)])
    with path.open("r+b") as file:
        file.truncate(12_000_000)
    with cheaply_refused(ImageError, "bytes beside its pixels"):
        read_image(path)


def test_a_png_of_a_million_chunks_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2L5B", 4, 4, 8, 0, 0, 0, 0))
    (tmp_path / "x.png").write_bytes(start + chunk(b"prVt", b"") * 1_000_000)
    with cheaply_refused(ImageError, "bytes beside its pixels"):
        read_image(tmp_path / "x.png")


def write_zeros(path: Path, shape: tuple[int, ...], kind: str = "|b1", name: str = "mask") -> Path:
    """An NPZ of zeros, which deflate to a thousandth."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": kind, "fortran_order": False, "shape": shape})
    n_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open(f"{name}.npy", "w") as file:
        file.write(head.getvalue())
        for start in range(0, n_bytes, 1 << 22):
            file.write(bytes(min(1 << 22, n_bytes - start)))
    return path


@pytest.mark.parametrize(("shape", "kind"), [((3, 20_000, 10_000), "|b1"), ((1, 8, 8), "<f8"), ((8, 8), "|b1")])
def test_a_mask_of_another_shape_or_type_is_refused_before_it_is_unpacked(
    tmp_path: Path, shape: tuple[int, ...], kind: str
) -> None:
    path = write_zeros(tmp_path / "mask.npz", shape, kind)
    with cheaply_refused(ImageError, r"but bool \(1, 8, 8\) is asked for"):
        read_mask(path, (1, 8, 8))


def test_a_mask_larger_than_any_image_is_refused_whoever_asks_for_it(tmp_path: Path) -> None:
    path = write_zeros(tmp_path / "mask.npz", (3, 20_000, 10_000))
    with cheaply_refused(ImageError, "600,000,000 pixels are announced"):
        read_mask(path, (3, 20_000, 10_000))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_mask_is_read_as_it_was_written(tmp_path: Path, order: str) -> None:
    mask = np.random.default_rng(0).random((2, 5, 3)) > 0.5
    np.savez_compressed(tmp_path / "mask.npz", mask=np.asarray(mask, order=order))  # type: ignore[call-overload]
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.npz", (2, 5, 3)), mask)


def test_an_archive_of_very_many_arrays_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for place in range(30_000):
            archive.writestr(f"{place}.npy", b"")
    with cheaply_refused(ImageError, "too many"):
        read_image(tmp_path / "x.npz")


def repeated(n_rows: int, **columns: object) -> pa.Table:
    """A table whose rows are all alike, which costs next to nothing on disk."""
    codes = pa.array(np.zeros(n_rows, dtype=np.int32))
    return pa.table({name: pa.DictionaryArray.from_arrays(codes, pa.array([v])) for name, v in columns.items()})


COLUMNS = {"subject": "S", "timepoint": "0", "source": "x.png", "target": "y.npy"}


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (lambda: repeated(5_000_000, **COLUMNS), "5,000,000 rows"),
        (lambda: repeated(1_900_000, **COLUMNS), "1,900,000 rows in"),
        (lambda: pa.table({f"c{place}": ["x"] for place in range(MOST_COLUMNS + 1)}), "1,001 columns"),
        (lambda: pa.table({"subject": [[0] * (MOST_CELLS + 1)]}), "cells"),
        (lambda: pa.table({"subject": ["x" * 1000] * 300_000}), "bytes unpacked"),
        (lambda: pa.table({"subject": [["a"]]}), "holds list"),
    ],
    ids=["rows", "rows of few bytes", "columns", "cells", "long texts", "lists"],
)  # fmt: skip
def test_a_parquet_table_is_measured_before_it_is_unpacked(
    tmp_path: Path, table: Callable[[], pa.Table], reason: str
) -> None:
    path = tmp_path / "x.parquet"
    pa.parquet.write_table(table(), path, compression="zstd", use_dictionary=reason != "bytes unpacked")
    with cheaply_refused(ManifestError, reason):
        read_manifest(path)


def test_parquet_cells_read_as_csv_cells_do(tmp_path: Path) -> None:
    table = pa.table(
        {
            **{name: ["a", "b", "a"] for name in COLUMNS},
            "grade": pa.array([1.0, None, 2.0]), "flag": [True, False, None], "count": [7, 8, 9],
            "none": pa.nulls(3), "half": pa.array(np.float16([0.5, 1, 2])), "day": pa.array([0, 1, 2], pa.date32()),
        }
    )  # fmt: skip
    pa.parquet.write_table(table, tmp_path / "x.parquet")
    lines = ["a,a,a,a,1,1,7,,0.5,1970-01-01", "b,b,b,b,,0,8,,1,1970-01-02", "a,a,a,a,2,,9,,2,1970-01-03"]
    (tmp_path / "x.csv").write_text("\n".join([",".join(table.column_names), *lines]))
    one, other = read_manifest(tmp_path / "x.parquet"), read_manifest(tmp_path / "x.csv")
    assert (one.all_rows, one.findings, one.labels) == (other.all_rows, other.findings, other.labels)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("subject\n" + "x\n" * (MOST_ROWS + 1), "rows"),
        ("subject,timepoint\n" + "," * (MOST_CELLS + 1), "cells"),
        (",".join(f"c{place}" for place in range(MOST_COLUMNS + 1)) + "\nx\n", "columns"),
        (",".join(f"c{place}" for place in range(500)) + "\n" + "x\n" * 100_000, "50,000,000 cells"),
    ],
    ids=["rows", "cells", "columns", "short rows under many columns"],
)
def test_a_csv_table_is_measured_before_it_fills_the_memory(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with cheaply_refused(ManifestError, reason):
        read_manifest(tmp_path / "x.csv")


@pytest.fixture(params=["device", "pipe", "folder"])
def no_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "device":
        return Path("/dev/zero")
    path = tmp_path / "there"
    path.mkdir() if request.param == "folder" else os.mkfifo(path)
    return path


def test_a_source_of_rows_names_or_settings_is_a_regular_file(no_file: Path) -> None:
    for read, error in ((read_manifest, ManifestError), (read_exclusions, ManifestError), (read_toml, SettingsError)):
        with cheaply_refused(error, "it is a (device|pipe|folder)"):
            read(no_file)  # type: ignore[operator]


def test_an_image_that_is_no_regular_file_is_refused_by_what_it_is(no_file: Path) -> None:
    with cheaply_refused(ImageError, "a (device|pipe|folder)"):
        read_image(no_file)


def test_settings_without_a_bottom_are_refused(tmp_path: Path) -> None:
    deep = "[" * 100_000
    (tmp_path / "x.toml").write_text(f"a = {deep}")
    with cheaply_refused(SettingsError, "too deep"):
        read_toml(tmp_path / "x.toml")
    assert parse_assignments([f"a={deep}"]) == {"a": deep}


def test_an_exclusion_list_with_an_endless_cell_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x" * 200_000 + ",key\nS1,S1\n")
    with cheaply_refused(ManifestError, "CSV table"):
        read_exclusions(tmp_path / "x.csv")


def missing_rows(path: Path, n_rows: int) -> Path:
    lines = (f"S{row},0,img/S{row}.png,maps/S{row}.npy" for row in range(n_rows))
    path.write_text("\n".join(["subject,timepoint,source,target", *lines]))
    return path


def test_the_time_of_a_manifest_grows_with_its_rows_and_no_faster(tmp_path: Path) -> None:
    def seconds(n_rows: int) -> float:
        path, started = missing_rows(tmp_path / f"{n_rows}.csv", n_rows), time.thread_time()
        assert len(read_manifest(path).findings) == 2 * n_rows
        return time.thread_time() - started

    seconds(1000)
    assert seconds(40_000) < 4 * 2 * seconds(10_000)
    assert seconds(10_000) < 3  # some 0.3 s; it took 16 before


def test_absent_columns_of_a_manifest_are_made_once(tmp_path: Path) -> None:
    from mris.cohort.manifest_file import read_cells

    cells = read_cells(missing_rows(tmp_path / "x.csv", 5))
    assert cells.text("side") is cells.text("split")
    assert cells.text("side") == ("",) * 5
