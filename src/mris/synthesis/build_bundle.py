"""Make a bundle from exported encoders and a cohort."""

import hashlib
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import mris
from mris.choices import ErrorName, ReadoutName
from mris.cohort.cohort import Cohort
from mris.cohort.origin import common_origin
from mris.cohort.training_subjects import RECORD_FILE
from mris.database.build import build_entries, commit_first
from mris.database.commit import TableState
from mris.defaults import ERROR
from mris.engines.engine import Engine
from mris.errors import BundleError
from mris.images.write import atomic_directory, write_json
from mris.reading import file_sha256
from mris.storage.address import Address, place_of
from mris.storage.folder import require_free
from mris.storage.publish import new_folder
from mris.synthesis.bundle import Bundle, Member
from mris.synthesis.bundle_checks import check_encoder_fits, check_members, database_folder
from mris.synthesis.bundle_header import HEADER_FILE, BundleHeader, MemberHeader
from mris.synthesis.calibrate import calibrate, calibration_pairs, check_level, check_unseen, part_masks
from mris.synthesis.calibration import CALIBRATION_FILE
from mris.synthesis.intervals import LEVEL
from mris.synthesis.onnx_encoder import GRAPH_FILES, OnnxEncoder
from mris.synthesis.parts import Parts
from mris.synthesis.readouts import Queries, Readout, check_readout, choose_readout
from mris.synthesis.synthesizer import Synthesizer
from mris.training.card import ENCODER_FILE

_MOST_JUDGED = 400
"""Validation pairs, spread evenly, that a readout is chosen on."""

MEMBER_FILES = (*GRAPH_FILES, ENCODER_FILE, RECORD_FILE)
"""What a member has of its encoder."""


def check_new(out: Path | Address) -> None:
    """Refuse a place at which no bundle can be made.

    Raises:
        BundleError: It exists, and is no empty folder.
        OutputError: It exists in a storage.
        StorageError: The storage refuses.
    """
    if isinstance(out, Address):
        require_free(out)
    elif out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise BundleError(f"{out} exists; remove it, or choose another place")


def build_bundle(
    encoder_dirs: Sequence[str | Path],
    cohort: Cohort,
    out: str | Path | Address,
    *,
    splits: Sequence[str] = ("train",),
    parts: Parts | None = None,
    level: float = LEVEL,
    error: ErrorName = ERROR,
    readout: ReadoutName | None = None,
    evaluation: str = "",
    batch_size: int = 64,
    progress: bool = True,
    engine: Engine | None = None,
) -> Bundle:
    """Embed a cohort with exported encoders and put all into one folder, which appears when it is complete.

    Args:
        encoder_dirs: Folders that `mris.metric.export.export_encoder` wrote; their regions must be disjoint.
        cohort: Where the database's pairs come from.
        out: Folder to make, or its address in a storage; it must not exist.
        splits: Splits of the cohort that enter the database.
        parts: Parts of regions whose means get intervals, as those of whole regions do.
        level: Share of a new person's pixels that intervals hold; see `mris.synthesis.calibrate`.
        error: Error of validation people that the readout is chosen by.
        readout: Which one is taken, whatever its error; its parameters are chosen all the same.
        evaluation: What is known of its error, in sentences for the card, where it was judged before.
        batch_size: Targets embedded at a time.
        progress: Show a progress bar on standard error.
        engine: What does the work; this process if None.

    Returns:
        The open bundle.

    Raises:
        BundleError: `out` exists, an encoder is damaged, or encoders contradict each other or the cohort.
        CohortError: The cohort lacks a split or a region.
        SubjectLeakError: An encoder was trained on somebody to choose a readout by, or to calibrate on.
        SettingsError: A part is of another shape than the maps, or of no region; the level cannot be; or the database
            cannot give the readout.
        OutputError: The disk refuses.
        StorageError: The storage refuses.
    """
    place = place_of(out)
    check_new(place)
    encoders = [OnnxEncoder(folder) for folder in encoder_dirs]
    check_members("the new bundle", encoders)
    for encoder in encoders:
        check_encoder_fits(encoder, cohort)
    check_level(level)
    _, calibration = calibration_pairs(cohort)
    for encoder in encoders:  # what cannot be calibrated is refused before the work, not after it
        check_unseen(encoder.training_subjects, cohort.select(cohort.splits == "val"), "validation people")
        check_unseen(encoder.training_subjects, calibration)
        part_masks(encoder.regions, encoder.card.target_shape, parts or {})
    chosen = cohort.split(*splits)
    with atomic_directory(place) if isinstance(place, Path) else new_folder(place) as temporary:
        headers: list[MemberHeader] = []
        tables: dict[str, TableState] = {}
        for encoder in encoders:
            name = re.sub(r"[^A-Za-z0-9._-]+", "_", "+".join(encoder.regions).replace("+", "_")).strip("._") or "member"
            name = name if name not in [header.name for header in headers] else f"{name}_{len(headers)}"
            folder = temporary / "members" / name
            (folder / "database").mkdir(parents=True)
            files = [file for file in MEMBER_FILES if Path(encoder.folder / file).is_file()]
            for file in files:
                shutil.copyfile(encoder.folder / file, folder / file)
            checksums = {file: file_sha256(folder / file) for file in files}
            headers.append(
                MemberHeader(name=name, regions=encoder.regions, fingerprint=encoder.fingerprint, checksums=checksums)
            )
            tables[database_folder(headers[-1])] = build_entries(
                *(folder / "database", chosen, OnnxEncoder(folder)),
                batch_size=batch_size,
                progress=progress,
                engine=engine,
            )
        created = datetime.now(UTC).isoformat(timespec="microseconds")
        identity = "\n".join([created, cohort.header.manifest_sha256, *(encoder.fingerprint for encoder in encoders)])
        header = BundleHeader(
            id=hashlib.sha256(identity.encode()).hexdigest()[:32],
            created=created,
            software=f"mris {mris.__version__}",
            unit=encoders[0].card.unit,
            manifest_sha256=cohort.header.manifest_sha256,
            members=tuple(headers),
            origin=common_origin([cohort.header.origin, *(encoder.origin for encoder in encoders)]),
            evaluation=evaluation,
        )
        write_json(temporary / HEADER_FILE, header)
        commit_first(temporary, tables, [HEADER_FILE])
        opened = Bundle.open(temporary)
        chosen_members = tuple(
            _calibrated(
                named.model_copy(update={"readout": _chosen_readout(member, cohort, error, readout)}),
                member,
                cohort,
                parts,
                level,
            )
            for named, member in zip(headers, opened.members, strict=True)
        )
        write_json(temporary / HEADER_FILE, header.model_copy(update={"members": chosen_members}))
        commit = commit_first(temporary, tables, [HEADER_FILE])
        Bundle.open(temporary).write_card(commit)
    return Bundle.open(place)


def _calibrated(
    header: MemberHeader, member: Member, cohort: Cohort, parts: Parts | None, level: float
) -> MemberHeader:
    """Calibrate a member; its arrays are written, its record and their checksum are put into its header."""
    synthesizer = Synthesizer(member.encoder, member.database, stored=header.readout)
    calibrated = calibrate(synthesizer, cohort, parts=parts, level=level)
    if calibrated is None:
        return header
    calibrated.write(Path(member.encoder.folder))
    checksums = {**header.checksums, CALIBRATION_FILE: file_sha256(Path(member.encoder.folder / CALIBRATION_FILE))}
    return header.model_copy(update={"calibration": calibrated.record, "checksums": checksums})


def _chosen_readout(member: Member, cohort: Cohort, error: ErrorName, wanted: ReadoutName | None) -> Readout:
    """Choose a member's readout on the baseline visits of the split "val", or its parameters if one is wanted."""
    best = _best_readout(member, cohort, error)
    if wanted in (None, best.name):
        return best
    reason = f"asked for; otherwise {best.name}: {best.reason}"
    readout = best.model_copy(update={"name": wanted, "reason": reason})
    check_readout(readout, member.database)
    return readout


def _best_readout(member: Member, cohort: Cohort, error: ErrorName) -> Readout:
    rows = np.flatnonzero((cohort.splits == "val") & cohort.is_baseline)
    validation = cohort.select(rows[np.linspace(0, len(rows) - 1, min(len(rows), _MOST_JUDGED)).astype(int)])
    synthesizer = Synthesizer(member.encoder, member.database)
    parts = [synthesizer.embed(batch.sources) for batch in validation.batches(64)]
    if not parts:
        return Readout(reason="the cohort has no validation people to choose by: the numbers of the paper")
    features = [part.features for part in parts if part.features is not None]
    queries = Queries(
        np.concatenate([part.embeddings for part in parts]),
        np.concatenate(features) if features else None,
        validation.subjects.tolist(),
    )
    return choose_readout(queries, validation, member.database, member.database.gallery(), error_name=error)
