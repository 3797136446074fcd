"""`Bundle`: encoders, databases and preparation in one folder, the one thing that is shipped and served.

    BUNDLE/
      bundle.json       identity, members, checksums of the networks
      model_card.md     for people
      members/<name>/   source.onnx, target.onnx, encoder.json, database/

One member that reads all regions is MRIS-C; a member for each region is MRIS-S.
"""

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import mris
from mris.cohort.cohort import Cohort
from mris.cohort.names import normal_form
from mris.database.database import EmbeddingDatabase
from mris.database.verify import VerifyReport
from mris.errors import BundleError, DatabaseError
from mris.images.extent import alike
from mris.images.write import atomic_directory, atomic_write, write_json
from mris.synthesis.bundle_header import HEADER_FILE, BundleHeader, MemberHeader, read_header
from mris.synthesis.bundle_synthesizer import BundleSynthesizer
from mris.synthesis.model_card import model_card
from mris.synthesis.onnx_encoder import CARD_FILE, GRAPH_FILES, OnnxEncoder
from mris.synthesis.synthesizer import MEMORY_LIMIT, Synthesizer
from mris.synthesis.weights import WeightRule

__all__ = ["Bundle", "BundleHeader", "BundleReport", "Member", "OnnxEncoder", "build_bundle"]

CARD = "model_card.md"


@dataclass(frozen=True)
class Member:
    """One pair of encoders and its database, both open."""

    name: str
    encoder: OnnxEncoder
    database: EmbeddingDatabase


@dataclass(frozen=True)
class BundleReport:
    """What a verification of a bundle found: problems of its own, and one report a database."""

    path: Path
    problems: tuple[str, ...]
    databases: Mapping[str, VerifyReport]

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems and all(report.ok for report in self.databases.values())

    def summary(self) -> str:
        """The report in a few lines."""
        lines = [f"{self.path}: {'whole' if self.ok else 'damaged'}", *(f"  {problem}" for problem in self.problems)]
        return "\n".join(lines + [report.summary() for report in self.databases.values()])


class Bundle:
    """Open bundle; embeddings and targets in it can identify people: treat the folder as personal data.

    Example:
        >>> bundle = Bundle.open("knees.bundle")                                    # doctest: +SKIP
        >>> synthesis = bundle.synthesizer(n_neighbors=20)(read_image("knee.dcm"))   # doctest: +SKIP
    """

    def __init__(self, path: Path, header: BundleHeader, members: tuple[Member, ...]) -> None:
        """Use `open` or `build_bundle`."""
        self.path = path
        self.header = header
        self.members = members

    @classmethod
    def open(cls, path: str | Path) -> "Bundle":
        """Open a bundle and check that its parts belong together; networks are loaded (and checked) when used.

        Raises:
            BundleError: A file is missing, damaged or replaced, or members contradict each other.
            EncoderMismatchError: A database was made by another encoder.
            DatabaseError: A database is missing or damaged.
        """
        path = Path(path)
        header = read_header(path)
        members = []
        for member in header.members:
            folder = path / "members" / member.name
            if not folder.is_dir():
                raise BundleError(f"bundle {path}: member {member.name!r} is missing; restore a copy, or index again")
            encoder = OnnxEncoder(folder, checksums=member.checksums)
            if _sha256(folder / CARD_FILE) != member.checksums[CARD_FILE]:
                raise BundleError(
                    f"{folder / CARD_FILE} is not the file that was indexed; restore a copy, or index again"
                )
            database = EmbeddingDatabase.open(folder / "database", fingerprint=encoder.fingerprint)
            members.append(Member(member.name, encoder, database))
        _check_members(str(path), [member.encoder for member in members])
        return cls(path, header, tuple(members))

    def __repr__(self) -> str:
        return f"Bundle({str(self.path)!r}, {len(self.keys)} entries, regions {', '.join(self.regions)})"

    @property
    def id(self) -> str:
        """Identity of the bundle."""
        return self.header.id

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions of a synthesis, member by member."""
        return tuple(region for member in self.members for region in member.encoder.regions)

    @property
    def keys(self) -> np.ndarray:
        """Keys of the entries, (N,) strings."""
        return self.members[0].database.keys

    @property
    def subjects(self) -> np.ndarray:
        """Subject of each entry, (N,) strings."""
        return self.members[0].database.subjects

    def most_neighbors(self, *, one_per_subject: bool = False, exclude_subject: str | None = None) -> int:
        """Tell how many neighbors a query can have at most, whatever k is."""
        admitted = self.subjects[self.subjects != normal_form(exclude_subject or "")]
        return len(np.unique(admitted) if one_per_subject else admitted)

    def synthesizer(
        self,
        n_neighbors: int = 20,
        weights: WeightRule = "similarity",
        temperature: float = 0.1,
        one_per_subject: bool = False,
        *,
        memory_limit: int = MEMORY_LIMIT,
    ) -> BundleSynthesizer:
        """Make the synthesizer that mixes the members; arguments as those of `Synthesizer`."""
        share = memory_limit // len(self.members)
        return BundleSynthesizer(
            self.id,
            [
                Synthesizer(
                    *(member.encoder, member.database, n_neighbors, weights, temperature, one_per_subject),
                    memory_limit=share,
                )
                for member in self.members
            ],
        )

    def add(self, cohort: Cohort, *, batch_size: int = 64, progress: bool = True) -> int:
        """Embed and add the pairs of a cohort to every member.

        Should the process end between two members, the same call again completes the rest.

        Returns:
            How many entries were added to the bundle.

        Raises:
            DatabaseError: The cohort is empty or does not fit, or a key is there already.
        """
        if len(cohort) == 0:
            raise DatabaseError(f"the cohort {cohort.path} has no pair in this selection; there is nothing to add")
        everywhere = set.intersection(*(set(member.database.keys.tolist()) for member in self.members))
        twice = sorted(everywhere.intersection(cohort.keys.tolist()))
        if twice:
            raise DatabaseError(
                f"bundle {self.path} already has {len(twice)} of these keys, such as {twice[0]!r}; remove that subject "
                "first, or leave these pairs out"
            )
        for member in self.members:
            missing = cohort.select(~np.isin(cohort.keys, member.database.keys))
            member.database.add(missing, member.encoder, batch_size=batch_size, progress=progress)
        self._write_card()
        return len(cohort)

    def remove(self, subjects: Sequence[str]) -> int:
        """Remove all entries of some subjects from every member; `purge` then takes their bytes off the disk.

        Returns:
            How many entries of the bundle were removed.

        Raises:
            DatabaseError: A subject is in no member; nothing is removed then.
        """
        present = set().union(*(member.database.subjects.tolist() for member in self.members))
        named = {normal_form(str(name)) for name in subjects}
        unknown = sorted(named - present)
        if unknown or isinstance(subjects, str):
            raise DatabaseError(
                f"bundle {self.path} has no subject {', '.join(map(repr, unknown[:5]))}; nothing was removed"
            )
        removed = 0
        for member in self.members:
            here = sorted(named.intersection(member.database.subjects.tolist()))
            removed = max(removed, member.database.remove(here))
        self._write_card()
        return removed

    def purge(self) -> None:
        """Take every byte of removed entries off the disk; see `EmbeddingDatabase.purge`."""
        for member in self.members:
            member.database.purge()
        self._write_card()  # should the process have ended before removal did

    def verify(self) -> BundleReport:
        """Check every file against its checksum, every entry against its own, and members against each other."""
        problems = []
        for header in self.header.members:
            folder = self.path / "members" / header.name
            for name, expected in header.checksums.items():
                if not (folder / name).is_file():
                    problems.append(f"{folder / name} is missing")
                elif _sha256(folder / name) != expected:
                    problems.append(f"{folder / name} is damaged or replaced: its SHA-256 is not that of bundle.json")
        first = set(self.keys.tolist())
        for member in self.members[1:]:
            apart = first.symmetric_difference(member.database.keys.tolist())
            if apart:
                problems.append(
                    f"members {self.members[0].name!r} and {member.name!r} differ in {len(apart)} entries, such as "
                    f"{min(apart)!r}; repeat the addition or removal that was interrupted"
                )
        return BundleReport(
            self.path, tuple(problems), {member.name: member.database.verify() for member in self.members}
        )

    def _write_card(self) -> None:
        with atomic_write(self.path / CARD) as temporary:
            temporary.write_text(_card_text(self), encoding="utf-8")


def build_bundle(
    encoder_dirs: Sequence[str | Path],
    cohort: Cohort,
    out: str | Path,
    *,
    splits: Sequence[str] = ("train",),
    batch_size: int = 64,
    progress: bool = True,
) -> Bundle:
    """Embed a cohort with exported encoders and put all into one folder, which appears when it is complete.

    Args:
        encoder_dirs: Folders that `mris.metric.export.export_encoder` wrote; their regions must be disjoint.
        cohort: Where the database's pairs come from.
        out: Folder to make; it must not exist.
        splits: Splits of the cohort that enter the database.
        batch_size: Targets embedded at a time.
        progress: Show a progress bar on standard error.

    Returns:
        The open bundle.

    Raises:
        BundleError: `out` exists, an encoder is damaged, or encoders contradict each other or the cohort.
        CohortError: The cohort lacks a split or a region.
        OutputError: The disk refuses.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise BundleError(f"{out} exists; remove it, or choose another place")
    encoders = [OnnxEncoder(folder) for folder in encoder_dirs]
    _check_members("the new bundle", encoders)
    for encoder in encoders:
        check_encoder_fits(encoder, cohort)
    chosen = cohort.split(*splits)
    with atomic_directory(out) as temporary:
        headers: list[MemberHeader] = []
        for encoder in encoders:
            name = re.sub(r"[^A-Za-z0-9._-]+", "_", "+".join(encoder.regions).replace("+", "_")).strip("._") or "member"
            name = name if name not in [header.name for header in headers] else f"{name}_{len(headers)}"
            folder = temporary / "members" / name
            folder.mkdir(parents=True)
            for file in (*GRAPH_FILES, CARD_FILE):
                shutil.copyfile(encoder.folder / file, folder / file)
            checksums = {file: _sha256(folder / file) for file in (*GRAPH_FILES, CARD_FILE)}
            headers.append(MemberHeader(name, encoder.regions, encoder.fingerprint, checksums))
            EmbeddingDatabase.build(
                folder / "database", chosen, OnnxEncoder(folder), batch_size=batch_size, progress=progress
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
        )
        write_json(temporary / HEADER_FILE, header.to_json())
        Bundle.open(temporary)._write_card()
    return Bundle.open(out)


def _card_text(bundle: Bundle) -> str:
    header, first = bundle.header, bundle.members[0]
    return model_card(
        identity=header.id,
        created=header.created,
        software=header.software,
        unit=header.unit,
        cards=[member.encoder.card for member in bundle.members],
        subjects=first.database.subjects,
        splits=first.database.splits,
        sides=first.database.sides,
        labels=first.database.labels,
    )


def _check_members(what: str, encoders: Sequence[OnnxEncoder]) -> None:
    if not encoders:
        raise BundleError(f"{what} has no encoder; give at least one")
    seen: set[str] = set()
    first = encoders[0].card
    for encoder in encoders:
        card = encoder.card
        shared = sorted(seen.intersection(card.regions))
        if shared:
            raise BundleError(f"{what}: region {shared[0]!r} is given by two encoders; each region needs exactly one")
        seen.update(card.regions)
        for name in ("source_shape", "preparation", "unit", "target_spacing"):
            if getattr(card, name) != getattr(first, name):
                raise BundleError(
                    f"{what}: encoders {encoder.folder.name!r} and {encoders[0].folder.name!r} differ in {name} "
                    f"({getattr(card, name)} and {getattr(first, name)}); train them on one cohort"
                )
        if card.target_shape[1:] != first.target_shape[1:]:
            raise BundleError(f"{what}: encoders take targets of {card.target_shape} and {first.target_shape}")


def check_encoder_fits(encoder: OnnxEncoder, cohort: Cohort) -> None:
    """Refuse a cohort that was prepared otherwise than the one an encoder was trained on.

    Raises:
        BundleError: Source shape, preparation, target size or unit differ.
        CohortError: The cohort lacks a region.
    """
    card, header = encoder.card, cohort.header
    cohort.region_channels(card.regions)
    pairs: dict[str, tuple[object, object]] = {
        "source shape": (card.source_shape, header.source_shape),
        "source preparation": (card.preparation, header.source),
        "target size": (card.target_shape[1:], header.target_shape[1:]),
        "unit": (card.unit, header.unit),
    }
    extents = card.preparation.extent_mm, header.source.extent_mm
    if not alike(*extents):
        pairs["what sources show (mm)"] = extents
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise BundleError(
                f"encoder {encoder.folder} and cohort {cohort.path} differ in {name}: {ours} and {theirs}; prepare the "
                "cohort as the one that the encoder was trained on"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
