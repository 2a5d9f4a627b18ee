"""Who imports whom: the package, its tests, the benchmarks and what made the weights."""

from __future__ import annotations

import pytest

from .conftest import ROOT
from .imports import imported

#: What is not to be imported below each folder.
FOREIGN = {
    "vit1dx": {"tests", "benchmarks", "weights"},
    "tests": {"benchmarks", "weights"},
    "benchmarks": {"tests"},
    "weights": {"tests"},
}


@pytest.mark.parametrize("folder", FOREIGN)
def test_rooms_keep_apart(folder: str) -> None:
    files = list((ROOT / folder).rglob("*.py"))
    names = [(path, name) for path in files for name in imported(path)]
    assert any(name.startswith("vit1dx.") for _, name in names)
    assert not [(path, name) for path, name in names if name.split(".")[0] in FOREIGN[folder]]
