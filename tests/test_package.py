"""What is shipped: an sdist whose tests can be run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from .conftest import ROOT


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)


def test_the_sdist_has_all_that_its_tests_import() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"targets\.sdist\]\ninclude = \[(.*?)\]", pyproject, re.DOTALL)
    assert listed is not None
    included = set(re.findall(r'"([^"]+)"', listed[1]))
    needed = {
        name.partition(".")[0]
        for folder in ("tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for name in _imported(path)
    }
    ours = {name for name in needed if (ROOT / name).is_dir()}
    assert ours >= {"vit1dx", "tests", "benchmarks"}
    assert ours <= included
