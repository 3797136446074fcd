"""``mris``: the commands, and the one place where an error becomes a line and an exit code."""

import contextlib
import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from mris import __version__
from mris.cli import (
    archive,
    baselines,
    bench,
    bundles,
    cohorts,
    demo,
    evaluation,
    experiment,
    imports,
    radiographs,
    segmentation,
    synthesis,
    thickness,
    training,
)
from mris.cli.options import keeps_to_this_machine
from mris.errors import EXIT_CODE, MrisError, remedy
from mris.quiet import keep_to_ourselves

EXTRAS = {
    "train": ("torch", "lightning", "onnx", "safetensors", "tensorboard"),
    "dicom": ("highdicom", "dicomweb_client"),
    "serve": ("fastapi", "starlette", "uvicorn", "python_multipart"),
    "thickness": ("SimpleITK",),
    "ray": ("ray", "pandas"),
    "index": ("faiss",),
    "storage": ("obstore",),
}
"""The packages that each extra installs and a command may miss."""

app = typer.Typer(
    no_args_is_help=True,
    # Frames and colors for a person; a file or a pipe gets plain text, and need not wait for their library.
    rich_markup_mode="rich" if sys.stdout is not None and sys.stdout.isatty() else None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Synthesize an expensive image from a cheap one, by retrieval in a shared embedding space.\n\n"
        "The road: check and prepare a manifest of paired files into a cohort, train two encoders, index them with a "
        "database into a bundle, synthesize for new people, evaluate on the test split beside any baseline. "
        "Without data of your own: demo walks it on a digital knee cohort (phantom)."
    ),
)
cohorts.register(app)
training.register(app)
bundles.register(app)
baselines.register(app)
synthesis.register(app)
evaluation.register(app)
experiment.register(app)
demo.register(app)
bench.register(app)
imports.register(app)
radiographs.register(app)
archive.register(app)
segmentation.register(app)
thickness.register(app)
import_module("mris.web.door").register(app)  # a neighbor, which no import may name (docs/decisions/0018-the-reader.md)


def _keep_to_this_machine(group: typer.Typer) -> None:
    for command in group.registered_commands:
        if command.callback is not None:
            command.callback = keeps_to_this_machine(command.callback)
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _keep_to_this_machine(inner.typer_instance)


_keep_to_this_machine(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command; a mistake of the user's costs one line on stderr and exit code 2."""
    # Before torch is loaded: on a busy machine, threads that spin while they wait make training many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.umask(0o077)  # what a command writes holds people, or may: its owner shares it, not we
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name of other bytes than UTF-8 must not end a finished command
        sys.stdout.reconfigure(errors="backslashreplace")
    keep_to_ourselves()
    try:
        app([with_home(word) for word in sys.argv[1:]])
    except MrisError as error:
        _leave(str(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
        if extra is None:
            raise
        _leave(f"this command needs {package}; pip install 'mris[{extra}]'")
    except OSError as error:
        if error.errno is None:  # a library's, not the system's
            raise
        where = f" ({error.filename})" if error.filename else ""
        _leave(f"{error.strerror}{where}; {remedy(error)}, or choose another place, then run it again")


def with_home(word: str) -> str:
    """Write out a `~` where a path begins in a word of a command: shells leave it as it is in ``--out=~/maps``.

    Some libraries write it out themselves and others do not; a file that is meant is ``./~``.

    Example:
        >>> home = str(Path.home())
        >>> [with_home(word).replace(home, "HOME") for word in ("--out=~/maps", "~/a", "--also=unet=~/run", "a/~/b")]
        ['--out=HOME/maps', 'HOME/a', '--also=unet=HOME/run', 'a/~/b']
    """
    if word.startswith("~"):
        with contextlib.suppress(RuntimeError):  # nobody of that name has a home
            return str(Path(word).expanduser())
        return word
    head, equals, tail = word.partition("=")
    return head + equals + with_home(tail) if equals else word


def _leave(message: str) -> None:
    typer.secho(f"mris: {message}", fg="red", err=True)
    sys.exit(EXIT_CODE)


if __name__ == "__main__":
    main()
