"""Stages: pieces of work with a folder each, done once for what they depend on, resumed after a kill.

A stage's record says what it depends on and whether it is done. If what it depends on changes, its folder is removed
and it runs again; stages that depend on it then do, too, since its hash is part of what they depend on.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mris.images.write import check_writable_folder, write_json
from mris.reading import read_json
from mris.training.run_folder import RUN_FILE


@dataclass(frozen=True)
class Work:
    """The folder of an experiment.

    Args:
        folder: Everything it makes.
        announce: Told in a line what each stage does.
    """

    folder: Path
    announce: Callable[[str], None] = print

    def stage(self, name: str, depends: Mapping[str, Any], make: Callable[[Path, bool], None]) -> str:
        """Run a stage, unless it is done.

        Args:
            name: Where it works, below the experiment's folder.
            depends: All that decides its result, as plain JSON values; hashes of earlier stages among them.
            make: Does it, given the stage's folder and whether an interrupted attempt is to be resumed there.

        Returns:
            Hash of what the stage depends on.

        Raises:
            OutputError: Its folder cannot be written.
        """
        key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
        record, folder = self.folder / "stages" / f"{name.replace('/', '.')}.json", self.folder / name
        found = read_record(record)
        if found.get("key") == key and found.get("done") and folder.exists():
            self.announce(f"{name}: kept")
            return key
        resumes = found.get("key") == key and folder.exists()
        # A folder without a record is not this experiment's to remove.
        if record.exists() and folder.exists() and not resumes:
            self.announce(f"{name}: made of something else before, or its record is damaged; made again")
            shutil.rmtree(folder)
        check_writable_folder(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        earlier = float(found.get("seconds", 0)) if resumes else 0.0
        state = {"key": key, "depends": depends, "done": False, "seconds": earlier}
        write_json(record, state)
        self.announce(f"{name}: {'resumed' if resumes else 'begun'}")
        started = time.perf_counter()
        make(folder, resumes)
        seconds = earlier + time.perf_counter() - started
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(record, {**state, "done": True, "seconds": seconds, "finished": now})
        self.announce(f"{name}: done in {seconds:.0f} s")
        return key

    def seconds(self) -> float:
        """Seconds that the stages took; of an interrupted attempt only the part after it is known."""
        return sum(float(read_record(path).get("seconds", 0)) for path in (self.folder / "stages").glob("*.json"))


def can_resume(run: Path, resumes: bool) -> bool:
    """Say whether a training can go on; what an attempt left that died before its first file is removed."""
    begun = (run / RUN_FILE).is_file()
    if resumes and not begun:
        shutil.rmtree(run, ignore_errors=True)
    return resumes and begun


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON record; an absent or damaged one is empty."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}
