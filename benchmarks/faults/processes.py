"""Work in forked processes, which start at once because their parent has loaded all libraries."""

import json
import os
from collections.abc import Callable
from typing import Any


def forked(work: Callable[[], Any]) -> tuple[int, int]:
    """Start work in a process of its own; gives its id and the pipe of its answer, which is JSON."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            answer = json.dumps(work())
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent reports it
            answer = json.dumps({"crash": f"{type(error).__name__}: {error}"})
        os.write(writer, answer.encode()[:60000])
        os._exit(0)
    os.close(writer)
    return child, reader


def answer_of(child: int, pipe: int) -> tuple[Any, int]:
    """Wait for such a process; gives its answer, None if it was killed, and its wait status."""
    with os.fdopen(pipe, "rb") as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    return (json.loads(text) if text else None), status
