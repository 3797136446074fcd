"""The one error tree: every message names the thing, the value found, the rule, and the way out.

The command line prints such a message on one line and exits with `EXIT_CODE`. Anything that is not an
`MrisError` and reaches a user is a bug of ours.
"""

import errno
import re

EXIT_CODE = 2
"""Of a command that an `MrisError` ended; Typer leaves with it where an option is wrong."""

_SOURCE_POSITION = re.compile(r",? ?/\S+\.rs:\d+:\d+")


def reason_of(error: BaseException) -> str:
    """First line of a library's message, without positions in its source code; its type's name if it says nothing.

    Example:
        >>> reason_of(OSError("no space left, /home/build/writer.rs:190:9"))
        'no space left'
    """
    return _SOURCE_POSITION.sub("", str(error).strip().split("\n")[0])[:300] or type(error).__name__


def remedy(error: OSError) -> str:
    """What helps against a refusal of the system: room only where there is none.

    Example:
        >>> remedy(OSError(errno.ENOSPC, "No space left on device")), remedy(OSError(errno.EROFS, "Read-only"))
        ('make room', 'mend its rights or how it is mounted')
    """
    return "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend its rights or how it is mounted"


class MrisError(Exception):
    """Base of every error that `mris` raises for a reason the user can mend."""


class SettingsError(MrisError):
    """A setting or an option has a value that cannot work."""


class TooFewSubjectsError(SettingsError):
    """There are fewer subjects than the splits that were asked for need."""


class ImageError(MrisError):
    """A file cannot be read as an image, or an image breaks a rule (shape, values, spacing)."""


class ManifestError(MrisError):
    """A manifest (the table of pairs that a cohort is prepared from) breaks a rule."""


class CohortError(MrisError):
    """A prepared cohort is missing, unfinished, damaged, or lacks what was asked of it."""


class SubjectLeakError(MrisError):
    """One subject stands on both sides of a line that no subject may cross (split, query and gallery)."""


class TrainingError(MrisError):
    """A training cannot start, continue, or did not stay finite."""


class DatabaseError(MrisError):
    """An embedding database is missing, damaged, or was asked for what it does not hold."""


class EncoderMismatchError(DatabaseError):
    """Embeddings of one encoder met a database that another encoder made."""


class BundleError(MrisError):
    """A bundle (encoder + database + preprocessing) is missing, incomplete or damaged."""


class OutputError(MrisError):
    """A result cannot be written where it was asked for."""


class ArchiveError(MrisError):
    """An archive of images cannot be reached, refuses, or answers what cannot be understood."""


class StorageError(MrisError):
    """A storage of objects cannot be reached, refuses, or holds nothing of ours."""
