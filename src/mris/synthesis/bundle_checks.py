"""What must hold between the encoders, databases and cohorts of one bundle."""

from collections.abc import Sequence
from pathlib import Path

from mris.cohort.cohort import Cohort
from mris.cohort.training_subjects import RECORD_FILE
from mris.database.database import EmbeddingDatabase
from mris.errors import BundleError
from mris.images.extent import alike
from mris.reading import file_sha256
from mris.storage.folder import Folder
from mris.synthesis.bundle_header import MemberHeader
from mris.synthesis.onnx_encoder import OnnxEncoder
from mris.training.card import ENCODER_FILE


def database_folder(member: MemberHeader) -> str:
    """Folder of a member's database, relative to the bundle's."""
    return f"members/{member.name}/database"


def open_encoder(path: Folder, member: MemberHeader) -> OnnxEncoder:
    """Open the encoder of a member of the bundle at `path`; its networks are loaded (and checked) when used.

    Raises:
        BundleError: A file is missing, or another one than was indexed.
    """
    folder = path / "members" / member.name
    if not Path(folder).is_dir():
        raise BundleError(f"bundle {path}: member {member.name!r} is missing; restore a copy, or index again")
    encoder = OnnxEncoder(folder, checksums=member.checksums)
    for name in (ENCODER_FILE, RECORD_FILE):
        if name in member.checksums and file_sha256(Path(folder / name)) != member.checksums[name]:
            raise BundleError(f"{folder / name} is not the file that was indexed; restore a copy, or index again")
    return encoder


def check_database_fits(database: EmbeddingDatabase, encoder: OnnxEncoder) -> None:
    """Refuse a database whose header contradicts the card of its encoder.

    Raises:
        BundleError: Regions, shape, unit, or length of an embedding or of features differ.
    """
    header, card = database.header, encoder.card
    pairs = {
        "regions": (header.regions, card.regions),
        "target shape": (header.target_shape, card.target_shape),
        "unit": (header.unit, card.unit),
        "length of an embedding": (header.embedding_dim, card.embedding_dim),
    }
    if header.n_features:  # a database from before there were features has none
        pairs["features"] = (
            f"{header.n_features - header.n_components} learned and {header.n_components} components",
            f"{encoder.n_learned} learned and {encoder.n_components} components",
        )
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise BundleError(
                f"database {database.path} and its encoder's card differ in {name}: {ours} and {theirs}; restore a "
                "copy, or index again"
            )


def check_members(what: str, encoders: Sequence[OnnxEncoder]) -> None:
    """Refuse encoders that cannot be members of one bundle.

    Args:
        what: The bundle, for messages.
        encoders: Of all members.

    Raises:
        BundleError: There is none, a region has two, or they differ in what they take or give.
    """
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
    cohort.require_sources()
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
