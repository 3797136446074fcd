"""Write the generated pages of the reference: commands, settings, and public names.

Run ``python docs/make_reference.py`` after a change of an option, a setting or a public signature.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import typer

import mris
from mris.cli.main import app
from mris.metric.settings import TrainSettings, preset

FOLDER = Path(__file__).parent / "reference"
NOTE = "% Written by docs/make_reference.py; do not edit.\n\n"

MODULES: dict[str, tuple[str, ...]] = {
    "mris.images.transforms": ("SourcePreparation", "prepare_source", "resize_target"),
    "mris.cohort.prepare": ("PrepareSettings", "prepare_cohort", "check_cohort"),
    "mris.metric.settings": ("TrainSettings", "preset"),
    "mris.metric.export": ("export_encoder",),
    "mris.synthesis.bundle": ("Bundle", "build_bundle"),
    "mris.synthesis.outputs": ("write_synthesis", "provenance"),
    "mris.evaluation.bundle_evaluation": ("evaluate_bundle",),
    "mris.evaluation.references": ("reference_predictors",),
    "mris.evaluation.results": ("read_results", "write_results"),
    "mris.reporting.html": ("write_evaluation",),
    "mris.knee.phantom.cohort": ("write_phantom",),
    "mris.knee.phantom.simulate": ("simulate_subject",),
}
"""Names beyond those of `mris` itself that the guides use."""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _plain(text: str) -> str:
    """Take the terminal's markup out of a help text, and make code of what looks like a command."""
    text = re.sub(r"\[/?bold\]", "`", inspect.cleandoc(text))
    return re.sub(r"^Examples?:\s*", "Example:\n\n", text, flags=re.MULTILINE)


def _paragraphs(text: str) -> str:
    blocks = []
    for block in re.split(r"\n\s*\n", _plain(text)):
        line = block.strip()
        blocks.append(f"```console\n{line}\n```" if line.startswith("mris ") else _escape(line))
    return "\n\n".join(block for block in blocks if block)


def _escape(text: str) -> str:
    return re.sub(r"<(\w+)>", r"&lt;\1&gt;", text)


def _type_of(parameter: click.Parameter) -> str:
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return ", ".join(f"`{choice}`" for choice in kind.choices)
    if isinstance(kind, click.IntRange | click.FloatRange):
        low = "" if kind.min is None else f" from {kind.min}"
        high = "" if kind.max is None else f" to {kind.max}"
        return f"{'integer' if isinstance(kind, click.IntRange) else 'number'}{low}{high}"
    return {"integer": "integer", "float": "number", "boolean": "flag", "text": "text"}.get(kind.name, kind.name)


def _default_of(parameter: click.Parameter) -> str:
    default = parameter.default
    if parameter.required:
        return "required"
    if callable(default) or default is None or default == "" or default == () or default == []:
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"`{default}`"


def _rows(parameters: list[click.Parameter]) -> Iterator[str]:
    for parameter in parameters:
        if isinstance(parameter, click.Argument):
            name = f"`{parameter.metavar or (parameter.name or '').upper()}`"
        else:
            name = ", ".join(f"`{flag}`" for flag in (*parameter.opts, *parameter.secondary_opts))
        kind = _type_of(parameter) + ("; may be repeated" if parameter.multiple or parameter.nargs == -1 else "")
        about = _escape(getattr(parameter, "help", None) or "")
        yield f"| {name} | {_cell(kind)} | {_cell(_default_of(parameter))} | {_cell(about)} |"


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for part, child in command.commands.items():
            yield from _commands(child, f"{name} {part}")
    else:
        yield name, command


def command_line_page() -> str:
    """Every command with its arguments, options and defaults."""
    lines = [
        "# Command line",
        "",
        "`mris --version` prints the version, and `-h` or `--help` explains any command. A mistake of the user costs",
        "one line on standard error and exit code 2. `mris.cli` parses and prints; what a command does is also a",
        "function of the package.",
    ]
    for name, command in _commands(typer.main.get_command(app), "mris"):
        lines += ["", f"## {name}", "", _paragraphs(command.help or "")]
        shown = [p for p in command.params if p.name != "help" and not getattr(p, "hidden", False)]
        arguments = [p for p in shown if isinstance(p, click.Argument)]
        options = [p for p in shown if not isinstance(p, click.Argument)]
        for title, part in (("Argument", arguments), ("Option", options)):
            if part:
                lines += ["", f"| {title} | Value | Default | Meaning |", "| --- | --- | --- | --- |", *_rows(part)]
    return NOTE + "\n".join(lines) + "\n"


def settings_page() -> str:
    """Every field of `TrainSettings` with its value in both presets."""
    paper, small = preset("paper"), preset("small")
    lines = [
        "# Settings of training",
        "",
        "`mris train --preset paper` or `--preset small` chooses the start. A TOML file (`--settings FILE`) and",
        "`--set NAME=VALUE` change single settings, in that order. `run.json` keeps what a run was trained with. In",
        "Python they are the fields of `mris.metric.settings.TrainSettings`.",
        "",
        "A value in **bold** differs from the preset `paper`.",
        "",
        "| Setting | `paper` | `small` | Allowed | Meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, field in TrainSettings.model_fields.items():
        values = [getattr(settings, name) for settings in (paper, small)]
        shown = [f"`{_setting(value)}`" for value in values]
        if values[0] != values[1]:
            shown[1] = f"**{shown[1]}**"
        cells = (f"`{name}`", *shown, _allowed(field), field.description or "")
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return NOTE + "\n".join(lines) + "\n"


def _setting(value: object) -> str:
    return "none" if value is None else str(value)


def _allowed(field: Any) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "a multiple of"}
    limits = [
        f"{word} {getattr(limit, name):g}" for limit in field.metadata for name, word in words.items() if hasattr(limit, name)
    ]
    return f"{_annotation(field.annotation)}{': ' if limits else ''}{', '.join(limits)}"


def _annotation(kind: Any) -> str:
    text = inspect.formatannotation(kind)
    text = re.sub(r"typing\.Literal\[([^\]]*)\]", lambda found: found[1].replace(", ", " or "), text)
    text = re.sub(r"Literal\[([^\]]*)\]", lambda found: found[1].replace(", ", " or "), text)
    text = re.sub(r"(?:pathlib\.(?:_local\.)?)?Path\b", "path", text).replace("NoneType", "none").replace("None", "none")
    for name, word in (("int", "integer"), ("float", "number")):
        text = re.sub(rf"\b{name}\b", word, text)
    union = re.fullmatch(r"(?:typing\.)?(?:Union|Optional)\[(.*)\]", text)
    if union:
        text = union[1].replace(", ", " or ") + (" or none" if "Optional" in text else "")
    return text.replace(" | ", " or ")


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")


def _signature(thing: Callable[..., Any]) -> str:
    """Names and defaults of the parameters; types are in the docstring and in the code."""
    parts, starred = [], False
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            starred = True
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        marks = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        name = marks.get(parameter.kind, "") + parameter.name
        if parameter.default is not parameter.empty:
            shown = repr(parameter.default)
            name += f"={'...' if re.search(r'0x|<|mappingproxy', shown) or len(shown) > 40 else shown}"
        parts.append(name)
    return ", ".join(parts)


def _entry(name: str, thing: Any) -> Iterator[str]:
    if isinstance(thing, str):
        yield from ("", f"### `{name}`", "", "Version of the package, a string.")
        return
    plain = inspect.isclass(thing) and issubclass(thing, BaseException | TrainSettings)
    yield from ("", f"### `{name}`", "", "```python", name if plain else f"{name}({_signature(thing)})", "```", "")
    yield _escape(_first_line(thing))
    if not inspect.isclass(thing) or plain:
        return
    rows = []
    for member, value in vars(thing).items():
        if member.startswith("_") and member != "__call__":
            continue
        if isinstance(value, property):
            rows.append((member, _first_line(value)))
        elif isinstance(value, classmethod | staticmethod):
            shown = _signature(getattr(thing, member))
            rows.append((f"{thing.__name__}.{member}({shown})", _first_line(value.__func__)))
        elif inspect.isfunction(value):
            shown = member if member != "__call__" else ""
            rows.append((f"{shown}({_signature(value)})", _first_line(value)))
    rows = [row for row in rows if row[1]]
    if rows:
        yield from ("", "| Member | Meaning |", "| --- | --- |")
        yield from (f"| `{_cell(code)}` | {_cell(_escape(about))} |" for code, about in rows)


def python_page() -> str:
    """Every public name with its signature and first sentence."""
    lines = [
        "# Python",
        "",
        "`help(name)` shows shapes, units, errors and an example for each name. Types are left out here.",
        "",
        "## mris",
        "",
        "These names load when they are first used. `DualEncoder`, `CrossModalTripletLoss` and `train_encoders` need",
        "torch (`pip install 'mris[train]'`); the others do not.",
    ]
    for name in sorted(mris.__all__, key=str.lower):
        lines += _entry(f"mris.{name}", getattr(mris, name))
    for module, names in MODULES.items():
        loaded = importlib.import_module(module)
        lines += ["", f"## {module}", "", _escape(_first_line(loaded))]
        for name in names:
            lines += _entry(name, getattr(loaded, name))
    return NOTE + "\n".join(lines) + "\n"


PAGES = {
    "command-line.md": command_line_page,
    "settings.md": settings_page,
    "python.md": python_page,
}


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
