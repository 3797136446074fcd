"""From segmentations to maps: known thickness comes out, laws hold, folders resume and account for every file."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.knee_volumes import CENTER, CONDYLES, FEMORAL_MM, PLATES, RADIUS, TIBIAL_MM, atlas, knee, write_segmentation

from mris.cohort.split import split_by_subject
from mris.errors import ImageError, ManifestError, OutputError, SettingsError
from mris.knee import thickness_folder
from mris.knee.alignment import apply
from mris.knee.cartilage_atlas import CartilageAtlas, open_atlas
from mris.knee.flatten import map_mask, pixel_area, subregion_masks
from mris.knee.label_map import PRESETS
from mris.knee.map_edges import ATLAS_EDGES
from mris.knee.segmentation import FEMORAL_CARTILAGE, Segmentation, read_segmentation
from mris.knee.segmentation_files import KneeFile, knee_files, knee_of_name
from mris.knee.thickness import DENUDED_BEYOND_MM
from mris.knee.thickness_folder import ThicknessSettings, write_thickness_maps
from mris.knee.thickness_maps import LARGEST_TROCHLEA_GAP_MM2, ThicknessMaps, thickness_maps, trochlea_gap


@pytest.fixture(scope="module")
def solids() -> CartilageAtlas:
    return atlas()


@pytest.fixture(scope="module")
def plain(solids: CartilageAtlas) -> ThicknessMaps:
    return thickness_maps(solids, knee())


def test_a_knee_of_known_thickness_gives_maps_of_that_thickness(plain: ThicknessMaps) -> None:
    assert np.nanmedian(plain.femoral) == pytest.approx(FEMORAL_MM, abs=0.1)
    assert np.nanmedian(plain.tibial) == pytest.approx(TIBIAL_MM, abs=0.1)
    assert plain.findings == ()


def test_maps_have_values_just_where_the_atlas_has_pixels(plain: ThicknessMaps, solids: CartilageAtlas) -> None:
    for flat, region in ((plain.femoral, solids.femoral), (plain.tibial, solids.tibial)):
        assert flat.shape == (310, 310)
        assert flat.dtype == np.float64
        assert np.array_equal(np.isfinite(flat), map_mask(region))


@pytest.mark.slow
def test_a_larger_knee_has_a_map_scaled_alike(plain: ThicknessMaps, solids: CartilageAtlas) -> None:
    # 1.25, so that the plates are a whole number of voxels thick again
    large = thickness_maps(solids, knee(motion=np.diag([1.25, 1.25, 1.25, 1.0])))
    assert np.nanmedian(large.tibial / plain.tibial) == pytest.approx(1.25, abs=0.03)
    assert np.nanmedian(large.femoral / plain.femoral) == pytest.approx(1.25, abs=0.03)


@pytest.mark.slow
def test_a_right_knee_gives_the_map_of_its_mirror_image(plain: ThicknessMaps, solids: CartilageAtlas) -> None:
    right = thickness_maps(solids, knee(side="right"))
    assert np.nanmean(np.abs(right.femoral - plain.femoral)) < 0.001
    assert np.nanmean(np.abs(right.tibial - plain.tibial)) < 0.001


@pytest.mark.slow
def test_a_knee_without_bone_labels_gives_nearly_the_same_maps(plain: ThicknessMaps, solids: CartilageAtlas) -> None:
    whole = knee()
    cartilage = np.where(whole.labels % 2 == 0, whole.labels, 0).astype(np.uint8)
    maps = thickness_maps(solids, replace(whole, labels=cartilage))
    for part in plain.denuded_percent:  # all but the compartments
        mean = plain.subregions[part]
        known = TIBIAL_MM if part.endswith("tibia") else mean  # with bones the rims of the plates are too thin
        assert maps.subregions[part] == pytest.approx(known, abs=0.1)
    (finding,) = maps.findings
    assert "no bone labels: the bone side is the atlas's" in str(finding)


@pytest.mark.slow
def test_bare_bone_is_zero_and_only_there(plain: ThicknessMaps, solids: CartilageAtlas) -> None:
    sound = knee()
    world = apply(sound.affine, np.argwhere(np.ones(sound.labels.shape, bool)).astype(float)) - CENTER
    hole = (np.hypot(world[:, 0] - 13, world[:, 1]) < 5).reshape(sound.labels.shape) & (sound.labels == 4)
    maps = thickness_maps(solids, replace(sound, labels=np.where(hole, 0, sound.labels).astype(np.uint8)))
    bare = maps.tibial == 0
    assert maps.coverage["tibial"] == 1.0
    assert (plain.tibial > 0).all(where=np.isfinite(plain.tibial))
    area = (5.0 - DENUDED_BEYOND_MM) ** 2 / sum(a * b for _, a, b in PLATES)
    assert 0.6 * area < maps.denuded["tibial"] < 1.1 * area
    rows = np.flatnonzero(bare.any(axis=1))
    assert rows.max() < 160  # on the medial plate, at the top, and not on the lateral one


@pytest.fixture(scope="module")
def dense() -> CartilageAtlas:
    return atlas(mesh=0.5)


def bare(segmentation: Segmentation, angles: tuple[float, float], x: tuple[float, float]) -> Segmentation:
    """The knee without femoral cartilage between two angles (degrees, 0 down, to the front) and two places along x."""
    world = apply(segmentation.affine, np.argwhere(np.ones(segmentation.labels.shape, bool)).astype(float)) - CENTER
    angle = np.degrees(np.arctan2(world[:, 1], -world[:, 2]))
    taken = (angle > angles[0]) & (angle < angles[1]) & (world[:, 0] > x[0]) & (world[:, 0] < x[1])
    taken = taken.reshape(segmentation.labels.shape) & (segmentation.labels == FEMORAL_CARTILAGE)
    return replace(segmentation, labels=np.where(taken, 0, segmentation.labels).astype(np.uint8))


@pytest.mark.slow
def test_a_trochlea_that_is_cut_off_is_warned_of_as_a_limit_of_the_segmentation(dense: CartilageAtlas) -> None:
    maps = thickness_maps(dense, bare(knee(), (45.0, 180.0), (-30.0, 30.0)))
    (finding,) = maps.findings
    assert "at the edge of the trochlea: the segmentation may end early" in str(finding)
    gap = trochlea_gap(maps.femoral, dense.femoral)
    assert f"{gap:.0f} mm2" in str(finding)
    cut = np.radians(80 - 45) * (RADIUS + FEMORAL_MM) * sum(high - low for low, high in CONDYLES)
    # The registration stretches what is left over a part of the cut, so that no share of it is promised: what is said
    # to be missing is missing, and it is enough to be said.
    assert LARGEST_TROCHLEA_GAP_MM2 < gap < cut


@pytest.mark.slow
def test_bare_bone_where_weight_is_borne_is_no_limit_of_the_trochlea(dense: CartilageAtlas) -> None:
    maps = thickness_maps(dense, bare(knee(), (-45.0, 0.0), (4.0, 22.0)))  # to the rim of the condyle
    assert maps.denuded["femoral"] > 0.05
    assert maps.findings == () and trochlea_gap(maps.femoral, dense.femoral) == 0.0


def test_a_patch_across_the_border_of_the_trochlea_counts_where_most_of_it_lies(dense: CartilageAtlas) -> None:
    mask, trochlea = map_mask(dense.femoral), subregion_masks(dense.femoral)["trochlea"]
    last_row = int(np.flatnonzero(mask.any(axis=1))[-1])
    first = int(np.flatnonzero(trochlea[last_row])[0])
    for behind, ahead, share in ((30, 10, 0.0), (10, 30, 1.0)):
        flat = np.where(mask, 2.0, np.nan)
        patch = np.zeros_like(mask)
        patch[last_row - 4 : last_row + 1, first - behind : first + ahead] = True
        flat[patch & mask] = 0.0
        area = pixel_area(dense.femoral)[patch & mask].sum()
        assert trochlea_gap(flat, dense.femoral) == pytest.approx(share * area)


@pytest.mark.slow
def test_what_left_the_field_of_view_is_nan_and_warned_of(solids: CartilageAtlas) -> None:
    whole = knee()
    n = int(0.62 * whole.labels.shape[1])
    maps = thickness_maps(solids, replace(whole, labels=whole.labels[:, :n].copy()))
    assert maps.coverage["femoral"] < 0.95
    assert any("covers" in found.reason for found in maps.findings)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, plain: ThicknessMaps, solids: CartilageAtlas) -> list[Path]:
    """Maps of any readable file are those of the plain knee; the list holds the files that maps were made of."""
    made: list[Path] = []

    def maps(atlas: CartilageAtlas, segmentation: Segmentation) -> ThicknessMaps:
        made.append(Path(segmentation.origin))
        return plain

    monkeypatch.setattr(thickness_folder, "open_atlas", lambda folder: solids)
    monkeypatch.setattr(thickness_folder, "thickness_maps", maps)
    thickness_folder._atlas.cache_clear()
    return made


@pytest.fixture
def files(tmp_path: Path) -> tuple[KneeFile, ...]:
    coarse = knee((2.0, 1.4, 1.4))
    names = ("S1_L_00m.nii.gz", "S1_L_12m.nii.gz", "S2_R_00m.nii.gz")
    return knee_files([write_segmentation(tmp_path / "segmentations" / name, coarse) for name in names])


def zib(on_error: str = "stop") -> ThicknessSettings:
    return ThicknessSettings(Path("atlas"), PRESETS["oai_zib"], on_error, workers=1)  # type: ignore[arg-type]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "maps.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_of_maps_has_a_row_a_record_and_a_picture_for_each_knee(
    quick: list[Path], files: tuple[KneeFile, ...], plain: ThicknessMaps, tmp_path: Path
) -> None:
    report = write_thickness_maps(files, tmp_path / "maps", zib())
    assert report.summary() == "3 of 3 knees have maps, 0 failed, 0 with warnings\n  labels oai_zib: 3 knees"
    found = rows(tmp_path / "maps")
    assert [(row["subject"], row["timepoint"], row["side"]) for row in found] == [
        ("S1", "0", "left"), ("S1", "12", "left"), ("S2", "0", "right"),
    ]  # fmt: skip
    for row in found:
        for column, flat in (("target_femoral", plain.femoral), ("target_tibial", plain.tibial)):
            assert np.array_equal(np.load(tmp_path / "maps" / row[column]), flat, equal_nan=True)
        assert float(row["medial_tibia"]) == pytest.approx(plain.subregions["medial_tibia"], abs=1e-3)
        both = float(row["medial_tibia"]) + float(row["medial_femur"])
        assert float(row["medial_compartment"]) == pytest.approx(both, abs=1e-3)
        assert float(row["denuded_percent_central_medial_tibia"]) == 0.0
        assert (tmp_path / "maps" / row["target_tibial"]).with_name("preview.png").stat().st_size > 5000


def test_a_second_run_makes_only_what_is_missing_damaged_or_changed(
    quick: list[Path], files: tuple[KneeFile, ...], tmp_path: Path
) -> None:
    out = tmp_path / "maps"
    write_thickness_maps(files, out, zib())
    quick.clear()
    assert sum(result.reused for result in write_thickness_maps(files, out, zib()).results) == 3
    assert quick == []
    (out / files[0].key / "record.json").write_text("{")
    (out / files[1].key / "TC_2d_thickness.npy").unlink()
    write_segmentation(files[2].path, knee((2.1, 1.4, 1.4)))
    write_thickness_maps(files, out, zib())
    assert quick == [file.path for file in files]


def test_a_file_that_cannot_be_used_stops_or_is_left_out_and_said(
    quick: list[Path], files: tuple[KneeFile, ...], tmp_path: Path
) -> None:
    files[1].path.write_bytes(files[1].path.read_bytes()[:300])
    with pytest.raises(ImageError, match=r"S1_L_12m.*--on-error skip"):
        write_thickness_maps(files, tmp_path / "maps", zib())
    report = write_thickness_maps(files, tmp_path / "maps", zib("skip"))
    assert "2 of 3 knees have maps, 1 failed" in report.summary()
    assert len(rows(tmp_path / "maps")) == 2
    written = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert (written["n_files"], written["n_maps"], list(written["findings"])) == (3, 2, ["S1_L_12m"])
    assert [found["severity"] for found in written["findings"]["S1_L_12m"]] == ["error"]


def test_maps_that_are_empty_are_no_success_and_are_made_again(
    quick: list[Path], files: tuple[KneeFile, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(thickness_folder.np, "save", lambda file, flat, allow_pickle: None)
        with pytest.raises(OutputError, match=r"FC_2d_thickness\.npy was written and is empty"):
            write_thickness_maps(files, tmp_path / "maps", zib())
    assert not any(result.reused for result in write_thickness_maps(files, tmp_path / "maps", zib()).results)


def test_an_interrupted_change_of_labels_leaves_no_record_of_the_others(
    quick: list[Path], files: tuple[KneeFile, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    write_thickness_maps(files[:1], tmp_path / "maps", zib())
    with monkeypatch.context() as patch:
        patch.setattr(thickness_folder, "write_preview", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_thickness_maps(files[:1], tmp_path / "maps", replace(zib(), labels=None))
    assert not write_thickness_maps(files[:1], tmp_path / "maps", zib()).results[0].reused


def test_a_segmentation_whose_name_is_not_utf8_costs_itself_alone(
    quick: list[Path], files: tuple[KneeFile, ...], tmp_path: Path
) -> None:
    strange = KneeFile(files[0].path.with_name(os.fsdecode(b"caf\xe9_L.nii.gz")), "S9", "left", "0")
    report = write_thickness_maps((strange, *files[1:]), tmp_path / "maps", zib("skip"))
    assert ["is not UTF-8" in result.error for result in report.results] == [True, False, False]
    assert [row["subject"] for row in rows(tmp_path / "maps")] == ["S1", "S2"]


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("9000000_R_00m_seg.nii.gz", ("9000000", "right", "0")),
        ("9000000_L_096m.nrrd", ("9000000", "left", "96")),
        ("9000000_12m_L_seg.nrrd", ("9000000", "left", "12")),
        ("9000000_L_seg_12m_unet.nii", ("9000000", "left", "12")),
        ("A-left-V01-labels.mha", ("A", "left", "V01")),
        ("A.right.nii", ("A", "right", "0")),
        ("9000000_R_unknown_seg.nii.gz", ("9000000", "right", "unknown")),
        ("9000000_20040802_SAG_3D_DESS_LEFT.nii.gz", ("9000000", "left", "2004-08-02")),
        ("9000000_20040802_SAG_3D_DESS_RIGHT_10423916_seg.nii.gz", ("9000000", "right", "2004-08-02")),
        ("9000000_20040802_RIGHT_seg.nii.gz", ("9000000", "right", "2004-08-02")),
        ("sub-9000000_ses-00m_hemi-L_dseg.nii.gz", ("9000000", "left", "0")),
        ("sub-9000000_ses-V01_acq-dess_run-1_hemi-R_desc-manual_dseg.nii.gz", ("9000000", "right", "V01")),
        ("sub-01_hemi-R_dseg.nii", ("01", "right", "0")),
        ("sub-R_ses-L_right_dseg.nii", ("R", "right", "L")),
    ],
)
def test_a_name_tells_subject_side_and_timepoint(name: str, who: tuple[str, str, str]) -> None:
    found = knee_of_name(Path(name))
    assert (found.subject, found.side, found.timepoint) == who


@pytest.mark.parametrize(
    ("name", "doubt"),
    [
        ("9000000_20049902_R.nii", "which part of '9000000 20049902' is the subject"),
        ("9000000_20049902_SAG_3D_DESS_LEFT.nii", "which part of"),
        ("study_9000000_L_00m.nii", "which part of"),
        ("P1_baseline_L.nii", "which part of"),
        ("9000000_00m_L_12m.nii", "which of '00m', '12m' is the timepoint"),
        ("9000000_L_dess_third.nii", "which of 'dess', 'third' is the timepoint"),
        ("9000000_L_right.nii", "both sides"),
        ("sub-1_hemi-L_right_dseg.nii", "both sides"),
        ("sub-_ses-00m_hemi-L_dseg.nii", "empty or stands twice"),
        ("sub-1_sub-2_hemi-L_dseg.nii", "empty or stands twice"),
        ("sub-1_12m_hemi-L_dseg.nii", "write the visit as ses-12m"),
    ],
)
def test_a_doubtful_name_is_refused_and_an_index_is_the_way_out(name: str, doubt: str) -> None:
    with pytest.raises(SettingsError, match=doubt) as caught:
        knee_of_name(Path(name))
    assert "give an --index, a CSV with the columns file, subject, side, timepoint" in str(caught.value)


def test_the_side_option_serves_names_without_one_and_contradicts_none() -> None:
    assert knee_of_name(Path("9000000_12m_seg.nii"), "left") == KneeFile(
        Path("9000000_12m_seg.nii"), "9000000", "left", "12"
    )
    with pytest.raises(SettingsError, match="its name says right and --side left"):
        knee_of_name(Path("9000000_R_12m.nii"), "left")


@pytest.mark.parametrize("scheme", ["{}_{}_SAG_3D_DESS_{}_1042_seg", "sub-{}_ses-{}_hemi-{}_dseg", "{}_{}_{}"])
def test_every_person_stands_in_one_split_however_files_are_named(scheme: str) -> None:
    people = [f"{9000000 + n}" for n in range(60)]
    dates = ("20040802", "20050715")
    files = [
        Path(scheme.format(who, day, side) + ".nii.gz") for who in people for day in dates for side in ("LEFT", "RIGHT")
    ]
    files = [Path(file.name.replace("hemi-LEFT", "hemi-L").replace("hemi-RIGHT", "hemi-R")) for file in files]
    knees = knee_files(files)
    splits = split_by_subject([k.subject for k in knees])
    told = {
        (person, split) for person in people for file, split in zip(files, splits, strict=True) if person in file.name
    }
    assert len(told) == len(people)


@pytest.mark.data
def test_real_names_tell_what_the_table_of_the_collection_says(data_dir: Path) -> None:
    with (data_dir / "oai_knees" / "index.csv").open(newline="") as table:
        listed = [row for row in csv.DictReader(table) if row["segmentation"]]
    for row in listed:
        found = knee_of_name(Path(row["segmentation"]))
        month = row["month"].removesuffix("m").lstrip("0") or "0"
        assert (found.subject, found.side[0].upper(), found.timepoint) == (row["subject"], row["side"], month)


def test_files_of_one_name_in_folders_are_the_knees_of_their_own_rows(tmp_path: Path) -> None:
    index = tmp_path / "index.csv"
    index.write_text("file,subject,side,timepoint\na/knee.nii.gz,P1,left,0\nb/knee.nii.gz,P2,right,0\n")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "knee.nii.gz").touch()
    paths = [tmp_path / "b" / "knee.nii.gz", tmp_path / "a" / ".." / "a" / "knee.nii.gz"]
    for knees in (knee_files([], index=index), knee_files(paths, index=index)[::-1]):
        assert [(k.subject, k.side, k.path.parent.name) for k in knees] == [("P1", "left", "a"), ("P2", "right", "b")]
        assert len({k.key for k in knees}) == 2
    with pytest.raises(ManifestError, match=r"does not name .*c/knee\.nii\.gz"):
        knee_files([tmp_path / "c" / "knee.nii.gz"], index=index)


def test_a_row_of_an_index_is_of_one_file(tmp_path: Path) -> None:
    index, header = tmp_path / "index.csv", "file,subject,side,timepoint\n"
    index.write_text(f"{header}knee.nii,P1,left,0\nb/knee.nii,P2,left,0\n")
    with pytest.raises(ManifestError, match=r"names .*x/b/knee\.nii in 2 rows \(knee\.nii, b/knee\.nii\)"):
        knee_files([Path("x/b/knee.nii")], index=index)
    index.write_text(f"{header}knee.nii,P1,left,0\n./knee.nii,P2,left,0\n")
    with pytest.raises(ManifestError, match=r"row 3: \./knee\.nii stands in two rows"):
        knee_files([], index=index)
    index.write_text(f"{header}knee.nii,P1,left,0\n")
    with pytest.raises(SettingsError, match="would both be the left knee of subject 'P1'"):
        knee_files([Path("a/knee.nii"), Path("b/knee.nii")], index=index)
    (tmp_path / "knee.nii").touch()  # then the row is of this file and of no other
    with pytest.raises(ManifestError, match="does not name"):
        knee_files([Path("a/knee.nii")], index=index)


def test_an_index_tells_whose_knee_a_file_shows(tmp_path: Path) -> None:
    index = tmp_path / "index.csv"
    index.write_text("file,subject,side,timepoint\na.nii,P1,L,V00\nb.nii,P2,right,V01\n")
    whole = knee_files([], index=index)
    assert [(k.path, k.subject, k.side, k.timepoint) for k in whole] == [
        (tmp_path / "a.nii", "P1", "left", "V00"), (tmp_path / "b.nii", "P2", "right", "V01"),
    ]  # fmt: skip
    assert [k.subject for k in knee_files([Path("elsewhere/b.nii")], index=index)] == ["P2"]
    with pytest.raises(ManifestError, match=r"does not name c\.nii"):
        knee_files([Path("c.nii")], index=index)
    index.write_text("file,subject,side,timepoint\na.nii,P1,up,V00\n")
    with pytest.raises(ManifestError, match="row 2: side is 'up'"):
        knee_files([], index=index)
    index.write_text("file,subject,timepoint\na.nii,P1,V00\n")
    with pytest.raises(ManifestError, match="no column 'side'"):
        knee_files([], index=index)


def test_two_probability_maps_of_one_knee_are_one_file() -> None:
    paths = [Path("S1_L_00m_FC_probmap.nii.gz"), Path("S1_L_00m_TC_probmap.nii.gz")]
    for given in (paths, paths[:1]):
        (found,) = knee_files(given)
        assert (found.path, found.subject, found.side, found.timepoint) == (paths[0], "S1", "left", "0")


def test_files_without_a_side_or_of_one_visit_are_refused() -> None:
    with pytest.raises(SettingsError, match="tells no side"):
        knee_files([Path("knee.nii")])
    assert knee_files([Path("knee.nii")], side="left")[0].side == "left"
    with pytest.raises(SettingsError, match=r"x/a_L\.nii and y/a_L\.nii\.gz would both be the left knee"):
        knee_files([Path("x/a_L.nii"), Path("y/a_L.nii.gz")])


@pytest.fixture(scope="module")
def real_atlas(data_dir: Path) -> CartilageAtlas:
    return open_atlas(data_dir / "oai_atlas")


@pytest.fixture(scope="module")
def real_knee(data_dir: Path) -> Segmentation:
    path = data_dir / "oai_knees" / "segmentations" / "9251077_R_00m_seg.nii.gz"
    return read_segmentation(path, PRESETS["oai_knees"], "right")


@pytest.fixture(scope="module")
def real_maps(real_atlas: CartilageAtlas, real_knee: Segmentation) -> ThicknessMaps:
    return thickness_maps(real_atlas, real_knee)


@pytest.mark.data
def test_the_edges_that_pictures_name_are_those_of_the_atlas_maps(real_atlas: CartilageAtlas) -> None:
    for region, bone in ((real_atlas.femoral, "femur"), (real_atlas.tibial, "tibia")):
        parts, edges = subregion_masks(region), ATLAS_EDGES[region.name]
        rows = {name: float(np.argwhere(mask)[:, 0].mean()) for name, mask in parts.items()}
        upper, lower = sorted(("medial", "lateral"), key=lambda part: rows[f"{part}_{bone}"])
        assert (edges.top, edges.bottom) == (upper, lower)
        front = "trochlea" if bone == "femur" else "anterior_medial_tibia"
        behind = "posterior_medial_femur" if bone == "femur" else "posterior_medial_tibia"
        columns = [float(np.argwhere(parts[name])[:, 1].mean()) for name in (behind, front)]
        assert columns[0] < columns[1] and (edges.left, edges.right) == ("posterior", "anterior")


@pytest.mark.data
@pytest.mark.slow
def test_a_real_knee_gives_maps_in_the_published_format_within_a_minute(
    data_dir: Path, real_maps: ThicknessMaps
) -> None:
    for name, flat in (("FC", real_maps.femoral), ("TC", real_maps.tibial)):
        published = np.load(data_dir / "oai_atlas" / f"{name}_2d_thickness.npy")
        assert (flat.shape, flat.dtype) == (published.shape, published.dtype)
        assert np.array_equal(np.isnan(flat), np.isnan(published))
        assert 1.0 < np.nanmedian(flat) < 3.0
    assert sum(real_maps.seconds.values()) < 60
    assert real_maps.findings == ()


@pytest.mark.data
@pytest.mark.slow
def test_a_real_knee_mirrored_and_called_left_gives_the_same_maps(
    real_atlas: CartilageAtlas, real_knee: Segmentation, real_maps: ThicknessMaps
) -> None:
    mirrored = replace(real_knee, affine=np.diag([-1.0, 1, 1, 1]) @ real_knee.affine, side="left")
    maps = thickness_maps(real_atlas, mirrored)
    assert np.nanmean(np.abs(maps.femoral - real_maps.femoral)) < 0.02
    assert np.nanmean(np.abs(maps.tibial - real_maps.tibial)) < 0.02


@pytest.mark.data
@pytest.mark.slow
def test_a_real_knee_without_its_bone_labels_keeps_the_means_of_its_plates(
    real_atlas: CartilageAtlas, real_knee: Segmentation, real_maps: ThicknessMaps
) -> None:
    cartilage = np.where(real_knee.labels % 2 == 0, real_knee.labels, 0).astype(np.uint8)
    maps = thickness_maps(real_atlas, replace(real_knee, labels=cartilage))
    for part, mean in real_maps.subregions.items():
        whole = part.startswith(("medial", "lateral"))
        assert maps.subregions[part] == pytest.approx(mean, abs=0.1 if whole else 0.2)


@pytest.mark.data
@pytest.mark.slow
def test_a_real_knee_moved_rigidly_keeps_its_median_thickness(
    real_atlas: CartilageAtlas, real_knee: Segmentation, real_maps: ThicknessMaps
) -> None:
    motion = np.eye(4)
    motion[:2, :2] = [[np.cos(0.15), -np.sin(0.15)], [np.sin(0.15), np.cos(0.15)]]
    motion[:3, 3] = [13, -7, 21]
    maps = thickness_maps(real_atlas, replace(real_knee, affine=motion @ real_knee.affine))
    for moved, still in ((maps.femoral, real_maps.femoral), (maps.tibial, real_maps.tibial)):
        assert np.nanmedian(moved) == pytest.approx(np.nanmedian(still), rel=0.02)


@pytest.mark.data
@pytest.mark.slow
def test_two_processes_report_every_file_as_one_does(
    data_dir: Path, files: tuple[KneeFile, ...], tmp_path: Path
) -> None:
    for n, file in enumerate(files):
        file.path.write_bytes(file.path.read_bytes()[: 200 + 100 * n])
    settings = replace(zib("skip"), atlas=data_dir / "oai_atlas")
    one = write_thickness_maps(files, tmp_path / "one", settings)
    two = write_thickness_maps(files, tmp_path / "two", replace(settings, workers=2))
    assert [result.error for result in two.results] == [result.error for result in one.results]
    assert all(file.path.name in result.error for file, result in zip(files, two.results, strict=True))
    assert (tmp_path / "two" / "maps.csv").read_text().startswith("subject,timepoint,side")
