"""`Bundle`: encoders, databases and preparation in one folder, the one thing that is shipped and served.

    BUNDLE/
      bundle.json       identity, members, checksums of the networks
      commit.json       which state of the databases counts
      model_card.md     for people
      members/<name>/   source.onnx, target.onnx, encoder.json, training_subjects.json, calibration.npz,
                        database/

One member that reads all regions is MRIS-C; a member for each region is MRIS-S.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mris.choices import ReadoutName, WeightRule
from mris.cohort.cohort import Cohort
from mris.cohort.names import normal_form
from mris.database.changes import Removal, Writable
from mris.database.commit import Commit, at_newest
from mris.database.database import EmbeddingDatabase
from mris.database.gallery import MEMORY_LIMIT
from mris.database.verify import VerifyReport
from mris.errors import DatabaseError
from mris.images.admission import ANY
from mris.images.anatomy import Anatomy
from mris.images.write import atomic_write
from mris.storage.address import Address
from mris.storage.folder import Folder, changed, folder_at, n_left_behind, newest, sha256_at
from mris.synthesis.bundle_checks import check_database_fits, check_members, database_folder, open_encoder
from mris.synthesis.bundle_header import BundleHeader, read_header
from mris.synthesis.bundle_synthesizer import BundleSynthesizer
from mris.synthesis.calibration import open_calibration
from mris.synthesis.model_card import model_card
from mris.synthesis.onnx_encoder import OnnxEncoder
from mris.synthesis.readouts import Readout, SynthesisSettings
from mris.synthesis.synthesizer import Synthesizer
from mris.wording import counted

__all__ = ["Bundle", "BundleHeader", "BundleReport", "Member", "OnnxEncoder"]

CARD = "model_card.md"


@dataclass(frozen=True)
class Member:
    """One pair of encoders and its database, both open."""

    name: str
    encoder: OnnxEncoder
    database: EmbeddingDatabase


@dataclass(frozen=True)
class BundleReport:
    """What a verification found: findings of the bundle itself, a report a database, and states that no longer count.

    Those are in a storage alone: left by a writer that was killed, or being written now.
    """

    path: Folder
    findings: tuple[str, ...]
    databases: Mapping[str, VerifyReport]
    n_left: int = 0

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return not self.findings and all(report.ok for report in self.databases.values())

    def summary(self) -> str:
        """The report in a few lines."""
        lines = [f"{self.path}: {'whole' if self.ok else 'damaged'}", *(f"  {finding}" for finding in self.findings)]
        if self.n_left:
            what = counted(self.n_left, "state")
            lines.append(f"  {what} of killed writers, or of one at work, in the storage; any change takes them off")
        return "\n".join(lines + [report.summary() for report in self.databases.values()])


class Bundle:
    """Open bundle; embeddings and targets in it can identify people: treat the folder as personal data.

    Example:
        >>> bundle = Bundle.open("hands.bundle")                                    # doctest: +SKIP
        >>> synthesis = bundle.synthesizer(n_neighbors=20)(read_image("hand.dcm"))   # doctest: +SKIP
    """

    def __init__(self, path: Folder, header: BundleHeader, members: tuple[Member, ...]) -> None:
        """Use `open` or `build_bundle`."""
        self.path = path
        self.header = header
        self.members = members

    @classmethod
    def open(cls, path: str | Address | Folder) -> "Bundle":
        """Open a bundle and check that its parts belong together; networks are loaded (and checked) when used.

        Args:
            path: Its folder, or its address in a storage, such as "s3://hospital/hands.bundle".

        Raises:
            BundleError: A file is missing, damaged or replaced, or members contradict each other.
            EncoderMismatchError: A database was made by another encoder.
            DatabaseError: A database is missing or damaged.
            StorageError: The storage refuses, or holds nothing of ours there.
        """
        folder = folder_at(path)
        header = read_header(folder)
        encoders = [open_encoder(folder, member) for member in header.members]
        check_members(str(folder), encoders)
        return at_newest(folder, lambda commit: cls._at(folder, header, encoders, commit))

    @classmethod
    def _at(cls, path: Folder, header: BundleHeader, encoders: Sequence[OnnxEncoder], commit: Commit) -> "Bundle":
        members = []
        for member, encoder in zip(header.members, encoders, strict=True):
            database = EmbeddingDatabase.of_folder(path, database_folder(member), commit)
            database.check_fingerprint(encoder.fingerprint)
            check_database_fits(database, encoder)
            members.append(Member(member.name, encoder, database))
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
        n_neighbors: int | None = None,
        weights: WeightRule | None = None,
        temperature: float | None = None,
        one_per_subject: bool = False,
        *,
        readout: ReadoutName | None = None,
        anatomy: Anatomy = ANY,
        memory_limit: int = MEMORY_LIMIT,
    ) -> BundleSynthesizer:
        """Make the synthesizer that mixes the members, each with the readout that was chosen on validation people.

        Other arguments than none ask for another readout; see `Synthesizer`.
        """
        share = memory_limit // len(self.members)
        return BundleSynthesizer(
            self.id,
            [
                Synthesizer(
                    *(member.encoder, member.database, n_neighbors, weights, temperature, one_per_subject),
                    readout=readout,
                    stored=header.readout,
                    calibrated=open_calibration(self.path / "members" / member.name, header),
                    anatomy=anatomy,
                    memory_limit=share,
                )
                for member, header in zip(self.members, self.header.members, strict=True)
            ],
            self.header.origin,
        )

    def readouts(self, wanted: SynthesisSettings) -> tuple[Readout, ...]:
        """Tell the readout of each member, if something else than what was chosen is wanted."""
        return tuple(wanted.applied_to(member.readout) for member in self.header.members)

    def refresh(self) -> None:
        """Take in what this or another process has changed in the database since it was opened.

        Raises:
            DatabaseError: The database is damaged.
        """
        folder = newest(self.path)
        if folder == self.path:
            at_newest(self.path, self._move_to)
        else:
            opened = Bundle.open(folder)
            self.path, self.header, self.members = opened.path, opened.header, opened.members

    def add(self, cohort: Cohort, *, batch_size: int = 64, progress: bool = True, wait: bool = True) -> int:
        """Embed and add the pairs of a cohort to every member, or (on any failure) to none.

        Args:
            cohort: What to add; if the bundle holds all of it as it is, nothing is done.
            batch_size: Targets embedded at a time.
            progress: Show a progress bar on standard error.
            wait: Wait for another process that changes the bundle; False raises at once.

        Returns:
            How many entries were added to the bundle.

        Raises:
            DatabaseError: The cohort is empty or does not fit, or a key is there already with another image; or its
                images are simulated, and the bundle does not say so of itself.
            OutputError: The disk refuses, or another process is changing the bundle.
        """
        if cohort.header.origin == "simulated" and self.header.origin != "simulated":
            raise DatabaseError(
                f"cohort {cohort.path} holds simulated images, and bundle {self.path} does not say that it does; "
                "index a bundle of its own"
            )
        encoders = {member.database.folder: member.encoder for member in self.members}
        with self._changing(wait) as writable:
            added = writable.add(cohort, encoders, batch_size=batch_size, progress=progress)
        self.refresh()
        return added

    def remove(self, subjects: Sequence[str], *, purge: bool = False, wait: bool = True) -> Removal:
        """Remove all entries of some subjects from every member.

        Args:
            subjects: Whom to remove.
            purge: Also take their bytes off the disk; see `purge`.
            wait: Wait for another process that changes the bundle; False raises at once.

        Raises:
            DatabaseError: A subject is neither in the bundle nor removed and still on the disk; nothing is removed.
            OutputError: The disk refuses, or another process is changing the bundle.
        """
        with self._changing(wait, erase=purge) as writable:
            removal = writable.remove(subjects, purge=purge)
        self.refresh()
        return removal

    def purge(self, *, wait: bool = True) -> tuple[str, ...]:
        """Take every byte of removed entries off the disk; see `EmbeddingDatabase.purge`.

        Returns:
            The subjects who had been removed.
        """
        with self._changing(wait, erase=True) as writable:
            purged = writable.purge()
        self.refresh()
        return purged

    def verify(self) -> BundleReport:
        """Check every file against its checksum, every entry against its own, and members against each other."""
        findings = []
        for header in self.header.members:
            folder = self.path / "members" / header.name
            for name, expected in header.checksums.items():
                found = sha256_at(folder / name)
                if found is None:
                    findings.append(f"{folder / name} is missing")
                elif found != expected:
                    findings.append(f"{folder / name} is damaged or replaced: its SHA-256 is not that of bundle.json")
        self.refresh()
        first = set(self.keys.tolist())
        for member in self.members[1:]:
            apart = first.symmetric_difference(member.database.keys.tolist())
            if apart:
                findings.append(
                    f"members {self.members[0].name!r} and {member.name!r} differ in {len(apart)} entries, such as "
                    f"{min(apart)!r}; restore a copy, or index again"
                )
        card = self.path / CARD
        told = _text_of(Path(card))
        # The card of a bundle from before there were readouts was written in other words.
        comparable = all(header.readout is not None for header in self.header.members)
        if not told or (comparable and told != _card_text(self)):
            findings.append(f"{card} does not tell what the bundle holds; any change, such as a purge, writes it anew")
        databases = {member.name: member.database.verify() for member in self.members}
        return BundleReport(self.path, tuple(findings), databases, n_left=n_left_behind(self.path))

    def _move_to(self, commit: Commit) -> None:
        self.members = tuple(replace(member, database=member.database.at(commit)) for member in self.members)

    @contextmanager
    def _changing(self, wait: bool, *, erase: bool = False) -> Iterator[Writable]:
        with changed(self.path, erase=erase) as folder:
            bundle = self if folder == self.path else Bundle.open(folder)
            yield Writable(folder, wait, after=bundle.write_card)

    def write_card(self, commit: Commit) -> None:
        """Bring the model card up to date with a state."""
        self._move_to(commit)
        text, card = _card_text(self), Path(self.path / CARD)
        if _text_of(card) != text:
            with atomic_write(card) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


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
        origin=header.origin,
        readouts=[member.readout for member in header.members],
        evaluation=header.evaluation,
    )
