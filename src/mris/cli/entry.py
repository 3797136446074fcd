"""What the command ``mris`` starts: it imports nothing but Python's own, so that Ctrl-C finds it in charge at once."""

import sys

INTERRUPTED = 130
"""Exit code of a program that Ctrl-C ended: 128 + SIGINT; Typer leaves with it, too."""


def main() -> None:
    """Run a command; Ctrl-C costs one line on stderr and exit code 130, also while libraries load."""
    try:
        from mris.cli.main import main as run

        run()
    except KeyboardInterrupt:
        _leave()
    except SystemExit as leaving:
        if leaving.code != INTERRUPTED:
            raise
        _leave()
    except Exception as error:
        if not _came_of_interrupt(error):
            raise
        _leave()


def _came_of_interrupt(error: BaseException | None) -> bool:
    """Tell whether a library turned Ctrl-C into an error of its own, as compiled ones do while they load."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _leave() -> None:
    print("mris: interrupted", file=sys.stderr)
    # Not from the interrupt, which would be shown with it.
    raise SystemExit(INTERRUPTED) from None
