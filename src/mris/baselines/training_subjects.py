"""The people a baseline was trained on, kept beside its network so that an evaluation can refuse them as queries.

They stand in a file of their own: a network can be handed on without the names, and taking a name out leaves the card
and its network as they are.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from mris.cohort.names import normal_form
from mris.errors import BundleError
from mris.images.write import write_json
from mris.reading import read_json

RECORD_FILE = "training_subjects.json"
FORMAT_VERSION = 1


def write_training_subjects(folder: Path, subjects: Iterable[str]) -> None:
    """Write subjects, each once and sorted; they replace those of an earlier record.

    Args:
        folder: the ``baseline`` folder of a run.
        subjects: subject of each training pair.

    Raises:
        OutputError: the disk refuses.
    """
    names = sorted({normal_form(str(subject)) for subject in subjects})
    write_json(folder / RECORD_FILE, {"format_version": FORMAT_VERSION, "subjects": names})


def read_training_subjects(folder: Path) -> frozenset[str] | None:
    """Read the subjects that `write_training_subjects` wrote.

    Returns:
        The subjects; None where there is no record, as in baselines that were written before there were any.

    Raises:
        BundleError: the record is damaged or of another version.
    """
    path = folder / RECORD_FILE
    try:
        values = read_json(path)
        version, names = values["format_version"], values["subjects"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is damaged ({type(error).__name__}: {error}); train the baseline again") from error
    if version != FORMAT_VERSION:
        raise BundleError(f"{path} has format_version {version!r}; this software reads {FORMAT_VERSION}")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BundleError(f"{path} is damaged (subjects are no list of names); train the baseline again")
    return frozenset(map(normal_form, names))


def remove_training_subjects(folder: Path, subjects: Sequence[str]) -> int:
    """Take subjects out of the record; nothing of their names stays in it, and the network stays as it is.

    Args:
        folder: the ``baseline`` folder of a run.
        subjects: subjects to remove.

    Returns:
        How many were removed.

    Raises:
        BundleError: there is no record, or a subject is not in it; nothing is removed then.
        OutputError: the disk refuses.
    """
    recorded = read_training_subjects(folder)
    if recorded is None:
        raise BundleError(f"baseline {folder} does not say whom it was trained on ({RECORD_FILE}); nothing was removed")
    named = set(map(normal_form, subjects))
    unknown = sorted(named - recorded)
    if unknown:
        raise BundleError(
            f"baseline {folder} has no training subject {', '.join(map(repr, unknown[:5]))}; nothing was removed"
        )
    write_training_subjects(folder, recorded - named)
    return len(named)
