"""What is shipped: a wheel with the weights, and an sdist whose tests can be run."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vit1dx.model.weights import BUNDLED

from .conftest import ROOT
from .imports import imported

PAGE = "vit1dx/show/report/page"


def test_the_sdist_has_all_that_its_tests_import() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"targets\.sdist\]\ninclude = \[(.*?)\]", pyproject, re.DOTALL)
    assert listed is not None
    included = set(re.findall(r'"([^"]+)"', listed[1]))
    needed = {
        name.partition(".")[0]
        for folder in ("tests", "benchmarks", "weights")
        for path in (ROOT / folder).rglob("*.py")
        for name in imported(path)
    }
    ours = {name for name in needed if (ROOT / name).is_dir()}
    assert ours >= {"vit1dx", "tests", "benchmarks", "weights"}
    assert ours <= included


@pytest.mark.slow
def test_the_wheel_has_the_weights_and_nothing_of_how_they_were_made(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling, which builds it, is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name for name in names if not name.endswith(".py")} == {
        "vit1dx/py.typed",
        *(str(path.relative_to(ROOT)) for path in (ROOT / PAGE).iterdir()),
        *(
            f"vit1dx/weights/{name}{suffix}"
            for name in BUNDLED
            for suffix in (".guide.json", ".onnx", ".safetensors")
        ),
    }
    assert {name.partition("/")[0] for name in names} == {"vit1dx"}
