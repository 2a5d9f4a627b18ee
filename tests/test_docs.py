"""The README is true: its commands run, in its order, and its Python too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from .conftest import ROOT

README = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def _commands() -> list[str]:
    """The lines of bash, those that install being cut down to what comes after."""
    lines = "".join(_blocks("bash")).splitlines()
    runs = [line.split("pip install -c constraints.txt . && ")[-1] for line in lines]
    return [run for run in runs if "pip install" not in run]  # the tests' own command is left


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, real_audio: Path) -> Path:
    """An empty folder with ``./audio``."""
    path = tmp_path_factory.mktemp("readme")
    (path / "audio").symlink_to(real_audio)
    return path


def test_every_command_of_the_readme(folder: Path) -> None:
    commands = _commands()
    assert len(commands) == 13
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in commands:
        result = subprocess.run(
            ["bash", "-c", command.replace(".venv/bin/", "")],
            cwd=folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, f"{command}\n{result.stderr}"
    for block in _blocks("python"):
        subprocess.run([sys.executable, "-c", block], cwd=folder, check=True)
    with h5py.File(folder / "some.h5") as file:
        assert sorted(file["tracks"]) == ["hungarian_dance.ogg", "vibe_ace.ogg"]


def test_install_commands_use_the_constraints() -> None:
    lines = "".join(_blocks("bash")).splitlines()
    installs = [line for line in lines if "pip install" in line]
    assert len(installs) == 2
    assert all("pip install -c constraints.txt" in line for line in installs)
    assert installs[1].endswith(" && .venv/bin/python -m pytest")
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()


def test_format_section_names_what_a_file_holds(folder: Path) -> None:
    """Every array and attribute of a real file stands in the README."""
    section = README.split("## The file")[1].split("\n## ")[0]
    words = set(re.findall(r"\w+", section))
    with h5py.File(folder / "all.h5") as file:
        names = {*file, *file.attrs, *file["failures"], *file["index"]}
        track = file["tracks/vibe_ace.ogg"]
        names |= {*track, *track.attrs, "crc32"}
    assert names <= words
