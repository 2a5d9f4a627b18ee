"""Fixtures that several test files share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import soundfile

from .synth import song

ROOT = Path(__file__).resolve().parent.parent
REAL_AUDIO = ROOT.parent / "shared" / "data" / "audio"

Completed = subprocess.CompletedProcess[str]
RunCli = Callable[..., Completed]


@pytest.fixture
def cli(tmp_path: Path) -> RunCli:
    """Run the command line as a user does: in a process of its own, in an empty folder."""

    def run(
        *arguments: str | os.PathLike[str],
        stdin: str | None = None,
        cwd: Path = tmp_path,
        env: Mapping[str, str] = {},
    ) -> Completed:
        return subprocess.run(
            [sys.executable, "-m", "vit1dx", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=cwd,
            env={**os.environ, **env},
            timeout=300,
        )

    return run


@pytest.fixture(scope="session", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for caches, for the processes that tests start too, and not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def real_audio() -> Path:
    """The folder of real recordings, where it is at hand."""
    if not REAL_AUDIO.is_dir():
        pytest.skip(f"no real recordings at {REAL_AUDIO}")
    return REAL_AUDIO


@pytest.fixture(scope="session")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two short songs, ``a/x.wav`` and ``b/x.flac``; not to be written into."""
    folder = tmp_path_factory.mktemp("songs")
    for seed, name in enumerate(("a/x.wav", "b/x.flac")):
        path = folder / name
        path.parent.mkdir()
        soundfile.write(path, song(5 + seed, seed=seed), 44100)
    return folder
