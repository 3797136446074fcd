"""Every module of the wheel is used: a command or a public name leads to it."""

import ast
import re
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (SOURCE / "mris").rglob("*.py")
}
NAMED = r'"(mris\.[\w.]+)"'
DOORS = {
    "mris",
    "mris.cli.entry",
    *re.findall(NAMED, MODULES["mris"].read_text()),
    *re.findall(NAMED, MODULES["mris.cli.main"].read_text()),
}
"""The command with the door beside it, and the homes of the public names, which load lazily."""


def imported(module: str) -> set[str]:
    """Modules of ours that a module imports, inside functions too; with them the packages that hold them."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    packages = {name.rpartition(".")[0] for name in found}
    return (found | packages) & MODULES.keys()


def test_a_command_or_a_public_name_leads_to_every_module() -> None:
    assert MODULES.keys() >= DOORS
    assert len(DOORS) > 10
    reached, waiting = set(), set(DOORS)
    while waiting:
        reached |= waiting
        waiting = set().union(*map(imported, waiting)) - reached
    assert sorted(MODULES.keys() - reached) == []
