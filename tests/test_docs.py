"""README and docs are true: their commands run, in their order, and their Python too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from typer.main import get_group

from vit1dx.cli.main import app
from vit1dx.errors import CODES

from .conftest import ROOT

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS]


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def _lines(page: Path) -> list[str]:
    return "".join(_blocks(page, "bash")).splitlines()


def _commands(page: Path) -> list[str]:
    """The lines of bash, those that install being cut down to what comes after."""
    runs = [line.split("pip install -c constraints.txt . && ")[-1] for line in _lines(page)]
    return [run for run in runs if "pip install" not in run]  # the tests' own command is left


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, real_audio: Path) -> Path:
    """An empty folder with ``./audio``, in which README's commands ran."""
    path = tmp_path_factory.mktemp("docs")
    (path / "audio").symlink_to(real_audio)
    _run(README, path)
    return path


def _run(page: Path, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in _commands(page):
        result = subprocess.run(
            ["bash", "-c", command.replace(".venv/bin/", "")],
            cwd=folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, f"{page.name}: {command}\n{result.stderr}"
    for block in _blocks(page, "python"):
        subprocess.run([sys.executable, "-c", block], cwd=folder, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_every_command_of_the_docs(page: Path, folder: Path) -> None:
    _run(page, folder)


def test_every_command_of_the_readme(folder: Path) -> None:
    with h5py.File(folder / "feats.h5") as file:
        assert "solo_trumpet.ogg" in file["tracks"]
    assert len(_commands(README)) >= 2
    assert len(_blocks(README, "python")) >= 2


def test_install_commands_use_the_constraints() -> None:
    installs = [line for line in _lines(README) if "pip install" in line]
    assert len(installs) == 2
    assert all("pip install -c constraints.txt" in line for line in installs)
    assert installs[1].endswith(" && .venv/bin/python -m pytest")
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()


def test_the_format_page_names_what_a_file_holds(folder: Path) -> None:
    """Every array and attribute of a real file stands there."""
    words = set(re.findall(r"\w+", (ROOT / "docs" / "format.md").read_text()))
    with h5py.File(folder / "feats.h5") as file:
        names = {*file, *file.attrs, *file["failures"], *file["index"]}
        track = file["tracks/vibe_ace.ogg"]
        names |= {*track, *track.attrs, "crc32"}
    assert names <= words


@pytest.mark.parametrize(
    "command",
    [name for name in get_group(app).commands if name != "train"],
)
def test_the_commands_page_names_every_option(command: str) -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    shown = subprocess.run(
        [sys.executable, "-m", "vit1dx", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    ).stdout
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", shown)) - {"--help"}
    assert options
    assert options <= set(re.findall(r"--[a-z][a-z-]+", page))


def test_the_commands_page_has_each_warning() -> None:
    rows = re.findall(
        r"^\| `([a-z][a-z0-9-]+)` \| (.+) \|$", (ROOT / "docs" / "cli.md").read_text(), re.M
    )
    assert dict(rows) == CODES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_the_readme_reads_in_one_sitting() -> None:
    assert len(README.read_text().split()) < 900
