"""Options from a file, and back into one: a run that another repeats."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import typer

from vit1dx.cli.config import apply_config
from vit1dx.cli.extract import extract
from vit1dx.errors import UsageError

from ..conftest import RunCli


def test_info_writes_the_options_that_made_a_file_and_extract_takes_them(
    cli: RunCli, songs: Path, tmp_path: Path
) -> None:
    made = ("--layers", "4,8", "--tokens", "class,sequence", "--pool", "0.5", "--overlap", "0.5")
    first = cli("extract", songs, "-o", "1.h5", *made, "--dtype", "float16", "--attention", "full")
    assert first.returncode == 0, first.stderr
    written = cli("info", "1.h5", "--config")
    (tmp_path / "run.toml").write_text(written.stdout)
    assert 'tokens = ["class", "sequence"]' in written.stdout
    again = cli("extract", songs, "-o", "2.h5", "--config", "run.toml")
    assert again.returncode == 0, again.stderr
    with h5py.File(tmp_path / "1.h5") as one, h5py.File(tmp_path / "2.h5") as two:
        assert one.attrs["config"] == two.attrs["config"]
        for track in ("a/x.wav", "b/x.flac"):
            assert set(one["tracks"][track]) == set(two["tracks"][track])
            for name, data in one["tracks"][track].items():
                np.testing.assert_array_equal(data[:], two["tracks"][track][name][:])
    other = cli(
        "extract", songs, "-o", "3.h5", "--config", "run.toml", "--weights-sha256", "0" * 64
    )
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)


@pytest.fixture
def context() -> typer.Context:
    app = typer.Typer()
    app.command()(extract)
    command: Any = typer.main.get_command(app)
    return typer.Context(command)


def test_what_a_file_says_is_the_default(context: typer.Context, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'paths = ["music"]\noutput = "f.h5"\nlayers = [4, "8"]\nmemory = 3\nworkers = 2\n'
        'exclude = "*.m4a"\nretry-failed = true\n'
    )
    apply_config(context, tmp_path / "c.toml")
    assert context.default_map == {
        "paths": ["music"],
        "output": "f.h5",
        "layers": "4,8",
        "memory": 3,
        "workers": 2,
        "exclude": ["*.m4a"],
        "retry_failed": True,
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("layres = 4", "no option 'layres'; layers is near"),
        ("config = 'x'", "no option 'config'"),
        ("workers = '2'", 'workers = "2"; a whole number is needed'),
        ("workers = true", "workers = true; a whole number is needed"),
        ("overlap = 'much'", 'overlap = "much"; a number is needed'),
        ("quiet = 1", "quiet = 1; true or false is needed"),
        ("attention = 4", "attention = 4; text is needed"),
        ("layers = [4.5]", "layers = 4.5; a word or whole number is needed"),
        ("layers = ", "is not TOML: "),
        ("[run]\nlayers = 4", "no option 'run'"),
    ],
)
def test_what_a_file_cannot_say(
    text: str, reason: str, context: typer.Context, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UsageError, match=r"c\.toml") as error:
        apply_config(context, tmp_path / "c.toml")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_typed_wins_and_a_file_may_name_the_output(
    cli: RunCli, songs: Path, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text(
        f'paths = ["{songs}"]\noutput = "f.h5"\nlayers = 4\ntokens = "mean"\n'
    )
    done = cli("extract", "--config", "c.toml", "--layers", "8")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "f.h5") as file:
        assert list(file["layer"]) == [8]
        assert set(file["tracks/a/x.wav"]) == {"layer", "mean_token"}
    wrong = cli("extract", "--config", "none.toml")
    assert (wrong.returncode, wrong.stderr) == (2, "vit1dx: none.toml: No such file or directory\n")


def _complete(shell: str, words: str) -> list[str]:
    """What completion offers behind these words, without its descriptions."""
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    if shell != "bash":
        asked = {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    script = "import sys; sys.argv = ['vit1dx']; from vit1dx.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **asked, "_VIT1DX_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_options_and_choices(shell: str) -> None:
    assert any("extract" in line for line in _complete(shell, "vit1dx ex"))
    assert any("--layers" in line for line in _complete(shell, "vit1dx extract --lay"))
    assert any("full" in line for line in _complete(shell, "vit1dx extract --attention f"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_one_that_it_reads(
    shell: str, cli: RunCli, tmp_path: Path
) -> None:
    detection = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = cli("--show-completion", shell, env=detection)
    assert done.returncode == 0, done.stderr
    assert f"_VIT1DX_COMPLETE=complete_{shell}" in done.stdout
    if shutil.which(shell):
        (tmp_path / "script").write_text(done.stdout)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)
