"""Every command explains itself, with an example that the command line accepts as it stands."""

import re
import shlex
from typing import Any

import pytest
import typer
from rich.text import Text

from mris.cli.main import app


def commands(group: Any, *before: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, *before, name)
        else:
            found[" ".join((*before, name))] = command
    return found


ALL = commands(typer.main.get_command(app))


def examples(command: Any) -> list[str]:
    return re.findall(r"mris .*", (command.help or "").replace("\n  mris", "\nmris"))


def test_all_commands_of_the_road_are_there() -> None:
    road = {"phantom", "check", "prepare", "train", "index", "synthesize", "evaluate", "demo", "experiment"}
    knee = {"radiograph", "segment", "thickness", "import oai"}
    bundle = {f"bundle {name}" for name in ("list", "add", "remove", "purge", "index", "verify", "make-digital")}
    others = {f"archive {name}" for name in ("query", "fetch", "store")} | {"serve", "bench"}
    assert road | knee | bundle | others | {"baseline train", "baseline synthesize", "baseline remove"} == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_help_says_what_a_command_does_with_an_example_that_parses(run_cli, name: str) -> None:
    outcome = run_cli(*name.split(), "--help")
    assert outcome.code == 0
    assert re.search(rf"Usage: .*\b{name} ", outcome.out)
    shown = examples(ALL[name])
    assert shown, f"mris {name} --help shows no example"
    for line in shown:
        words = shlex.split(line.rstrip("."))
        assert words[: 1 + len(name.split())] == ["mris", *name.split()]
        ALL[name].make_context(name, words[1 + len(name.split()) :])


@pytest.mark.parametrize("name", ALL)
def test_every_option_is_explained(name: str) -> None:
    for parameter in ALL[name].params:
        if parameter.name not in ("help", "quiet"):
            assert getattr(parameter, "help", None), f"mris {name}: {parameter.name}"


@pytest.mark.parametrize("name", ALL)
def test_no_word_of_the_help_is_taken_for_markup(name: str) -> None:
    texts = [ALL[name].help, *(getattr(parameter, "help", None) for parameter in ALL[name].params)]
    for text in filter(None, texts):
        assert Text.from_markup(text).plain == text


def test_without_a_command_the_help_is_shown(run_cli) -> None:
    outcome = run_cli()
    assert "synthesize" in outcome.out + outcome.err
