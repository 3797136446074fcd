"""The process that decodes: it reads one file after the other, and may neither write one nor grow without bounds.

Started by `mris.web.decoding`. A file that breaks it, by a fault of a library or by what it costs, ends this process
and nothing else.
"""

import hashlib
import json
import os
import resource
import struct
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from mris.errors import ImageError
from mris.images.read import read_image
from mris.reading import parse_json
from mris.serving.dicom_source import SourceHeader, read_source_header
from mris.web.pictures import picture_of

FRAME = struct.Struct("<QQ")
"""In front of every message: bytes of its JSON, and of the pixels behind it: the image's, then the picture's."""

_Answer = tuple[dict[str, Any], list[memoryview]]


def main() -> None:
    """Answer requests from standard input until it ends; arguments are bounds of memory (bytes) and of time (s)."""
    memory, seconds = int(sys.argv[1]), float(sys.argv[2])
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no answer
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (request := _request(requests)) is not None:
        _allow(seconds)
        facts, pixels = _answer(request)
        text = json.dumps(facts).encode()
        answers.write(FRAME.pack(len(text), sum(map(len, pixels))))
        answers.write(text)
        for block in pixels:
            answers.write(block)
        answers.flush()


def _request(requests: BinaryIO) -> dict[str, Any] | None:
    head = requests.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    found: dict[str, Any] = parse_json(requests.read(FRAME.unpack(head)[0]).decode())
    return found


def _allow(seconds: float) -> None:
    """Allow so much more computing time; the system ends a process that takes more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _answer(request: dict[str, Any]) -> _Answer:
    name = Path(request["name"])
    try:
        os.chdir(request["folder"])  # a message then names the file as its owner does
        image = read_image(name)
    except ImageError as error:
        return {"problem": str(error)}, []
    except (MemoryError, OSError) as error:
        return {"problem": f"image {name}: cannot be read ({type(error).__name__})"}, []
    header: SourceHeader | None = None
    source_problem = f"image {name}: is no DICOM file, so DICOM results have no patient and study; give the original"
    if image.header.photometric:
        try:
            header = read_source_header(name)
        except ImageError as error:
            source_problem = str(error)
    facts = {
        "shape": image.shape,
        "spacing": image.spacing,
        "laterality": image.laterality,
        "header": asdict(image.header),
        "source": None if header is None else _plain(header),
        "source_problem": source_problem,
        "sha256": _sha256(name),
        "picture": None,
    }
    pixels = [image.pixels.data.cast("B")]
    if request["picture"]:
        picture = picture_of(image)
        plain = {name: value for name, value in vars(picture).items() if name != "pixels"}
        facts["picture"] = plain | {"shape": picture.pixels.shape}
        pixels.append(picture.pixels.data.cast("B"))
    return facts, pixels


def _plain(header: SourceHeader) -> dict[str, Any]:
    values = {name: value for name, value in vars(header).items() if name != "path"}
    return values | {"patient_and_study": header.patient_and_study.to_json_dict()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
