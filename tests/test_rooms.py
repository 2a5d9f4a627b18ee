"""Who imports whom: the package, its tests, the benchmarks and what made the weights."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ROOT

#: What is not to be imported below each folder.
FOREIGN = {
    "vit1dx": {"tests", "benchmarks", "weights"},
    "tests": {"benchmarks", "weights"},
    "benchmarks": {"tests"},
    "weights": {"tests"},
}


def imported(path: Path) -> Iterator[str]:
    """Full names of what a file imports, wherever in it."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", FOREIGN)
def test_rooms_keep_apart(folder: str) -> None:
    files = list((ROOT / folder).rglob("*.py"))
    names = [(path, name) for path in files for name in imported(path)]
    assert any(name.startswith("vit1dx.") for _, name in names)
    assert not [(path, name) for path, name in names if name.split(".")[0] in FOREIGN[folder]]
