"""Write the generated pages of the reference: commands, settings, and public names.

Run ``python docs/make_reference.py`` after a change of an option, a setting or a public signature.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from typer.models import ArgumentInfo, OptionInfo, ParamMeta
from typer.utils import get_params_from_function

import mris
from mris.baselines.settings import BaselineSettings
from mris.baselines.settings import preset as baseline_preset
from mris.cli.main import app
from mris.metric.settings import TrainSettings, preset
from mris.study.settings import ClassifierSettings
from mris.study.settings import preset as classifier_preset
from mris.training.recipe import Recipe

FOLDER = Path(__file__).parent / "reference"
NOTE = "% Written by docs/make_reference.py; do not edit.\n\n"

MODULES: dict[str, tuple[str, ...]] = {
    "mris.images.transforms": ("SourcePreparation", "prepare_source", "resize_target"),
    "mris.cohort.prepare": ("PrepareSettings", "prepare_cohort", "check_cohort"),
    "mris.metric.settings": ("TrainSettings", "preset"),
    "mris.metric.export": ("export_encoder",),
    "mris.baselines.settings": ("BaselineSettings",),
    "mris.baselines.train": ("train_baseline",),
    "mris.baselines.embedding_ridge": ("train_embedding_ridge",),
    "mris.baselines.predictor": ("Baseline", "open_baseline"),
    "mris.study.settings": ("ClassifierSettings",),
    "mris.study.classifier": ("LabeledMaps", "Classifier", "train_classifier"),
    "mris.synthesis.build_bundle": ("build_bundle",),
    "mris.synthesis.bundle": ("Bundle",),
    "mris.serving.outputs": ("write_synthesis", "provenance"),
    "mris.evaluation.bundle_evaluation": ("evaluate_bundle",),
    "mris.evaluation.references": ("reference_predictors",),
    "mris.study.database_size": ("database_size_curve",),
    "mris.study.database_size_results": ("DatabaseSizeCurve", "read_size_curve", "write_size_curve"),
    "mris.study.downstream": ("measure_classification", "measure_seeds", "compare_seeds"),
    "mris.study.class_predictions": ("ClassPredictions",),
    "mris.evaluation.results": ("read_results", "write_results"),
    "mris.reporting.html": ("write_evaluation",),
    "mris.knee.progression": ("ProgressionLabels", "progression_labels", "baseline_labels"),
    "mris.knee.klg_sheet": ("read_klg_sheet",),
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


def _value_of(parameter: ParamMeta) -> str:
    """What a parameter takes, in a word."""
    kinds, repeated = [], False
    pending = [parameter.annotation]
    while pending:
        kind = pending.pop(0)
        origin = get_origin(kind)
        if origin is Literal:
            kinds.append(" or ".join(f"`{choice}`" for choice in get_args(kind)))
        elif origin in (list, tuple):
            repeated = origin is list
            sizes = [part for part in get_args(kind) if part is not Ellipsis]
            pending += sizes[:1]
            kinds += [f"{len(sizes)} times"] if origin is tuple else []
        elif origin is not None:  # a union with None
            pending += [part for part in get_args(kind) if part is not type(None)]
        else:
            kinds.append({int: "integer", float: "number", bool: "flag", Path: "path"}.get(kind, "text"))
    low, high = (getattr(parameter.default, name, None) for name in ("min", "max"))
    limits = (f" from {low:.10g}" if low is not None else "") + (f" to {high:.10g}" if high is not None else "")
    return " ".join(kinds) + limits + (", several" if repeated else "")


def _default_of(parameter: ParamMeta) -> str:
    default = parameter.default.default
    if default is ...:
        return "required"
    if default is None or default == "" or default == [] or default == ():
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"`{default}`"


def _names_of(parameter: ParamMeta) -> str:
    info = parameter.default
    if isinstance(info, ArgumentInfo):
        return f"`{(info.metavar or parameter.name).upper()}`"
    flag = "--" + parameter.name.strip("_").replace("_", "-")
    flags = info.param_decls or ((flag, f"--no-{flag[2:]}") if parameter.annotation is bool else (flag,))
    return ", ".join(f"`{part}`" for part in flags) + (f" `{info.metavar}`" if info.metavar else "")


def _rows(parameters: list[ParamMeta]) -> Iterator[str]:
    for parameter in parameters:
        cells = (
            _names_of(parameter),
            _value_of(parameter),
            _default_of(parameter),
            _escape(parameter.default.help or ""),
        )
        yield "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _commands(application: typer.Typer, name: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    for command in application.registered_commands:
        assert command.callback is not None
        yield f"{name} {command.name}", command.callback
    for group in application.registered_groups:
        assert group.typer_instance is not None
        yield from _commands(group.typer_instance, f"{name} {group.name}")


def command_line_page() -> str:
    """Every command with its arguments, options and defaults."""
    lines = [
        "# Command line",
        "",
        "`mris --version` prints the version, and `-h` or `--help` explains any command. A mistake of the user costs",
        "one line on standard error and exit code 2.",
    ]
    for name, command in _commands(app, "mris"):
        lines += ["", f"## {name}", "", _paragraphs(command.__doc__ or "")]
        parameters = list(get_params_from_function(command).values())
        for title, kind in (("Argument", ArgumentInfo), ("Option", OptionInfo)):
            part = [p for p in parameters if isinstance(p.default, kind)]
            if part:
                lines += ["", f"| {title} | Value | Default | Meaning |", "| --- | --- | --- | --- |", *_rows(part)]
    return NOTE + "\n".join(lines) + "\n"


def settings_page() -> str:
    """Every setting of encoders, baselines and classifiers with its value in both presets."""
    own = [name for name in BaselineSettings.model_fields if name not in Recipe.model_fields]
    classifier = [name for name in ClassifierSettings.model_fields if name not in Recipe.model_fields]
    lines = [
        "# Settings of training",
        "",
        "`mris train --preset paper` or `--preset small` chooses the start. A TOML file (`--settings FILE`) and",
        "`--set NAME=VALUE` change single settings, in that order. `run.json` keeps what a run was trained with. In",
        "Python they are the fields of `mris.metric.settings.TrainSettings`.",
        "",
        "A value in **bold** differs from the preset `paper`.",
        "",
        *_settings_table(TrainSettings, list(TrainSettings.model_fields), preset("paper"), preset("small")),
        "",
        "## Baselines",
        "",
        "`mris baseline train` takes the settings above that do not belong to the encoders, and these; the values are",
        "those of the U-Net. In Python: `mris.baselines.settings.BaselineSettings`. pix2pix has `beta1 = 0.5`, and",
        "`lr = 2e-4` in the preset `paper`.",
        "",
        *_settings_table(BaselineSettings, own, baseline_preset("paper", "unet"), baseline_preset("small", "unet")),
        "",
        "## Classifiers",
        "",
        "Classifiers on target maps (`mris.study.settings.ClassifierSettings`) train 30 epochs and have these of",
        "their own:",
        "",
        *_settings_table(ClassifierSettings, classifier, classifier_preset("paper"), classifier_preset("small")),
    ]
    return NOTE + "\n".join(lines) + "\n"


def _settings_table(kind: type[Recipe], names: list[str], paper: Recipe, small: Recipe) -> Iterator[str]:
    yield "| Setting | `paper` | `small` | Allowed | Meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for name in names:
        field = kind.model_fields[name]
        values = [getattr(settings, name) for settings in (paper, small)]
        shown = [f"`{_setting(value)}`" for value in values]
        if values[0] != values[1]:
            shown[1] = f"**{shown[1]}**"
        cells = (f"`{name}`", *shown, _allowed(field), field.description or "")
        yield "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _setting(value: object) -> str:
    return "none" if value is None else str(value)


def _allowed(field: Any) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "a multiple of"}
    limits = [
        f"{word} {getattr(limit, name):g}"
        for limit in field.metadata
        for name, word in words.items()
        if hasattr(limit, name)
    ]
    return f"{_annotation(field.annotation)}{': ' if limits else ''}{', '.join(limits)}"


def _annotation(kind: Any) -> str:
    text = inspect.formatannotation(kind)
    text = re.sub(r"(?:typing\.)?Annotated\[(\w+), Gt\(gt=0\)\]", r"\1 above 0", text)
    text = re.sub(r"typing\.Literal\[([^\]]*)\]", lambda found: found[1].replace(", ", " or "), text)
    text = re.sub(r"Literal\[([^\]]*)\]", lambda found: found[1].replace(", ", " or "), text)
    text = (
        re.sub(r"(?:pathlib\.(?:_local\.)?)?Path\b", "path", text).replace("NoneType", "none").replace("None", "none")
    )
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
        if parameter.name == "self" or parameter.name.startswith("_"):
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


def _members(thing: type) -> dict[str, Any]:
    """What a class and its bases in this package define, the class's own first."""
    members: dict[str, Any] = {}
    for base in thing.__mro__:
        if base.__module__.startswith("mris."):
            members |= {name: value for name, value in vars(base).items() if name not in members}
    return members


def _entry(name: str, thing: Any) -> Iterator[str]:
    if isinstance(thing, str):
        yield from ("", f"### `{name}`", "", "Version of the package, a string.")
        return
    if not callable(thing):
        about = _escape(_first_line(type(thing)))
        yield from (
            "",
            f"### `{name}`",
            "",
            f"An instance of `{type(thing).__module__}.{type(thing).__name__}`. {about}",
        )
        return
    plain = inspect.isclass(thing) and issubclass(thing, BaseException | Recipe)
    yield from ("", f"### `{name}`", "", "```text", name if plain else f"{name}({_signature(thing)})", "```", "")
    yield _escape(_first_line(thing))
    if not inspect.isclass(thing) or plain:
        return
    rows = []
    for member, value in _members(thing).items():
        if member.startswith("_") and member != "__call__":
            continue
        if isinstance(value, property):
            rows.append((member, _first_line(value)))
        elif isinstance(value, classmethod | staticmethod):
            shown = _signature(getattr(thing, member))
            rows.append((f"{thing.__name__}.{member}({shown})", _first_line(value.__func__)))
        elif inspect.isfunction(value):
            rows.append((f"{member}({_signature(value)})", _first_line(value)))
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
