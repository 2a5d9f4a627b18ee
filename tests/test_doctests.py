"""The examples of the public names run, and give what they say."""

from __future__ import annotations

import doctest
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

import vit1dx

from .synth import song


def _examples(name: str) -> list[doctest.DocTest]:
    found = getattr(vit1dx, name)
    names = {**vars(sys.modules[found.__module__]), "vit1dx": vit1dx}
    return doctest.DocTestFinder().find(found, f"vit1dx.{name}", globs=names)


EXAMPLES = [
    pytest.param(test, id=test.name)
    for name in sorted(set(vit1dx.__all__) - {"__version__"})
    for test in _examples(name)
    if test.examples
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples speak of: three seconds of music, and their features."""
    path = tmp_path_factory.mktemp("examples")
    (path / "music").mkdir()
    for name in ("song.wav", "music/song.wav"):
        soundfile.write(path / name, song(3.0, 16000), 16000)
    vit1dx.extract(path / "music", path / "feats.h5", layers=[4, 8], workers=1)
    return path


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(
    example: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    shutil.copytree(folder, here)
    if "vit1dx.extract(" in example.docstring:
        (here / "feats.h5").unlink()
    monkeypatch.chdir(here)
    assert doctest.DocTestRunner().run(example).failed == 0


def test_the_main_names_have_one() -> None:
    have = {example.id for example in EXAMPLES}
    assert {"vit1dx.extract", "vit1dx.Extractor", "vit1dx.open"} <= have
