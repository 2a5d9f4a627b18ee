"""The commands that show a track, as a user runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mir_eval
import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure
from typer.testing import CliRunner

from tests.conftest import ROOT, Completed, RunCli
from tests.show.long import write_long
from vit1dx.analysis.onsets import OnsetCurve
from vit1dx.cli.main import app, main
from vit1dx.model.guide import bundled_digest, onset_curves

#: What shows onsets with the bundled weights, the best first; and the best of the first layers.
CURVES = [OnsetCurve(**fields) for fields in onset_curves(bundled_digest())]
BEST = next(curve for curve in CURVES if curve.layer <= 3)
PNG, PDF = b"\x89PNG\r\n\x1a\n", b"%PDF"
KINDS = ("overview", "ssm", "attention", "onsets", "layers")


def clicks(seconds: float, times: list[float]) -> np.ndarray:
    """Plucked tones at known times, (n,) at 44.1 kHz."""
    time = np.arange(round(seconds * 44_100)) / 44_100
    sound = np.zeros(len(time))
    for index, at in enumerate(times):
        since = np.maximum(time - at, 0)
        tone = np.sin(2 * np.pi * 220 * 2 ** (index % 5 / 5) * since) + 0.3 * np.sin(9000 * since)
        sound += (time >= at) * 0.3 * tone * np.exp(-6 * since)
    return sound.clip(-1, 1).astype(np.float32)


ONSETS = list(np.cumsum([0.5, 0.4, 0.6, 0.5, 0.35, 0.7, 0.5, 0.45, 0.55, 0.6, 0.4, 0.5]))


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    (folder / "deep").mkdir()
    soundfile.write(folder / "deep" / "tones.wav", clicks(7.0, ONSETS), 44_100)
    soundfile.write(folder / "other.wav", clicks(5.0, [1.0, 2.0, 3.5]), 44_100)
    return folder


@pytest.fixture(scope="module")
def feats(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Feature files: full.h5, class.h5, none.h5, half.h5 (float16, overlap) and shards/."""
    folder = tmp_path_factory.mktemp("feats")
    for output, *options in (
        ("full.h5", "--layers", "1-3", "--attention", "full"),
        ("class.h5", "--layers", "0,1,12"),
        ("none.h5", "--layers", "0,4", "--attention", "none"),
        ("zero.h5", "--layers", "0"),
        ("half.h5", *"--layers 1,2 --attention full --dtype float16 --overlap 1".split()),
        ("shards/", "--layers", "1", "--attention", "full"),
    ):
        to = f"{folder}/{output}"
        result = CliRunner().invoke(app, ["extract", str(music), "-o", to, "-q", *options])
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> RunCli:
    """Run the command line as `cli` does, but in this process, which is quicker."""

    def run(*arguments: str | os.PathLike[str]) -> Completed:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["vit1dx", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        return Completed([], int(left.value.code or 0), *capsys.readouterr())

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_picture(here: RunCli, feats: Path, tmp_path: Path, kind: str) -> None:
    result = here("plot", feats / "full.h5", "deep/tones.wav", "--kind", kind)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"tones.{kind}.png\n"
    assert (tmp_path / f"tones.{kind}.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("name", ["class.h5", "none.h5", "zero.h5", "half.h5", "shards"])
def test_an_overview_shows_what_a_file_has(
    here: RunCli, feats: Path, tmp_path: Path, name: str
) -> None:
    result = here("plot", feats / name, "other.wav", "--dark", "-o", "x.pdf")
    assert result.returncode == 0, result.stderr
    assert ("no onsets: no attention maps here" in result.stderr) == (
        name in ("none.h5", "zero.h5")
    )
    assert (tmp_path / "x.pdf").read_bytes().startswith(PDF)


def test_a_picture_says_what_it_shows_and_is_the_same_again(
    here: RunCli, feats: Path, tmp_path: Path
) -> None:
    for name in ("a.svg", "b.svg"):
        span = ["--start", "1", "--end", "4", "--layers", "1,3"]
        result = here("plot", feats / "full.h5", "deep/tones.wav", *span, "-o", name)
        assert result.returncode == 0, result.stderr
    text = (tmp_path / "a.svg").read_text()
    assert f"Onset strength from attention: {BEST}" in text
    assert "Self-similarity, layer 3" in text
    assert "Self-similarity, layer 2" not in text
    words, numbers = drawn(text)
    words_again, numbers_again = drawn((tmp_path / "b.svg").read_text())
    assert words_again == words
    np.testing.assert_allclose(numbers_again, numbers, atol=1e-4)


def drawn(svg: str) -> tuple[str, list[float]]:
    """What an SVG says without its numbers and the names of its clip paths; and the numbers."""
    svg = re.sub(r"(?<=[\"#])p[0-9a-f]{10}(?=[\")])", "clip", svg)
    number = r"(?<![\w.])-?\d+\.\d+"
    return re.sub(number, "n", svg), [float(found) for found in re.findall(number, svg)]


@pytest.mark.slow
def test_straight_from_audio(cli: RunCli, music: Path, tmp_path: Path) -> None:
    result = cli("plot", music / "other.wav", "--kind", "onsets")
    assert result.returncode == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["other.onsets.png"]
    listed = cli("onsets", music / "other.wav")
    assert listed.returncode == 0, listed.stderr
    assert listed.stderr == f"onsets by attention: {CURVES[0]}\n"
    by_rows = cli("onsets", music / "other.wav", "--reading", "class")
    best = next(curve for curve in CURVES if curve.reading == "class")
    assert by_rows.stderr == f"onsets by attention: {best}\n"
    times = np.array(listed.stdout.split(), float)
    assert np.abs(times[:, None] - [1.0, 2.0, 3.5]).min(0).max() < 0.05


def test_onsets_are_when_tones_begin(cli: RunCli, feats: Path) -> None:
    result = cli("onsets", feats / "full.h5", "deep/tones.wav", "--height", "1")
    assert result.returncode == 0, result.stderr
    assert result.stderr == f"onsets by attention: {BEST}\n"
    times = np.array(result.stdout.split(), float)
    assert mir_eval.onset.f_measure(np.array(ONSETS), times)[2] > 0.9


@pytest.mark.parametrize("name", ["half.h5", "shards"])
def test_onsets_do_not_depend_on_how_they_are_stored(here: RunCli, feats: Path, name: str) -> None:
    times = [
        np.array(
            here("onsets", feats / file, "deep/tones.wav", "--height", "1").stdout.split(), float
        )
        for file in ("full.h5", name)
    ]
    assert mir_eval.onset.f_measure(*times)[0] > 0.85


def test_onsets_of_several_tracks(here: RunCli, feats: Path, tmp_path: Path) -> None:
    table = here("onsets", feats / "full.h5", "--format", "csv").stdout.splitlines()
    assert table[0] == "track,time,strength"
    assert {row.split(",")[0] for row in table[1:]} == {"deep/tones.wav", "other.wav"}
    assert here("onsets", feats / "full.h5", "--format", "jams", "-o", "out").returncode == 0
    file = json.loads((tmp_path / "out" / "deep" / "tones.wav.jams").read_text())
    assert file["annotations"][0]["namespace"] == "onset"
    refused = here("onsets", feats / "full.h5")
    assert refused.returncode == 2
    assert "2 tracks; name one, or give -o FOLDER or --format csv" in refused.stderr


def test_clicks_over_the_music(here: RunCli, feats: Path, tmp_path: Path) -> None:
    result = here("onsets", feats / "full.h5", "other.wav", "--click", "c.wav", "-o", "o.svl",
                 "--format", "svl")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert soundfile.info(tmp_path / "c.wav").frames == 5 * 44_100
    assert "<point frame=" in (tmp_path / "o.svl").read_text()


def test_clicks_beside_a_table(here: RunCli, feats: Path, tmp_path: Path) -> None:
    options = ("--format", "csv", "--click", "c.flac")
    result = here("onsets", feats / "full.h5", "other.wav", *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("track,time,strength\nother.wav,")
    assert soundfile.info(tmp_path / "c.flac").frames == 5 * 44_100


@pytest.mark.parametrize("source", ["music", "features", "features and --audio"])
@pytest.mark.parametrize("option", ["-o", "--click"])
@pytest.mark.parametrize("form", ["txt", "csv"])
def test_no_music_is_written_over(
    here: RunCli, feats: Path, music: Path, tmp_path: Path, source: str, option: str, form: str
) -> None:
    copy = music / "other.wav"
    if source != "features":
        copy = tmp_path / "copy.wav"
        copy.write_bytes((music / "other.wav").read_bytes())
    before = copy.read_bytes()
    asked = [copy] if source == "music" else [feats / "full.h5", "other.wav"]
    given = ["--audio", copy] if "--audio" in source else []
    result = here("onsets", *asked, *given, "--format", form, option, copy)
    assert copy.read_bytes() == before
    assert result.returncode == 2
    assert f"output {copy} is read too, as {copy}; give another -o" in result.stderr


def test_a_picture_that_fails_leaves_the_last_one(
    here: RunCli, feats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.png").write_bytes(b"before")

    def full(_self: Figure, path: Path, **_: object) -> None:
        path.write_bytes(PNG)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    result = here("plot", feats / "full.h5", "other.wav", "-o", "x.png")
    assert result.returncode == 2
    assert "x.png cannot be written: No space left on device" in result.stderr
    assert (tmp_path / "x.png").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_another_head_and_reading(here: RunCli, feats: Path) -> None:
    chosen = ["--layer", "3", "--head", "2", "--reading", "received"]
    result = here("onsets", feats / "full.h5", "other.wav", *chosen)
    assert result.stderr == "onsets by attention: layer 3, head 2, received\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("plot full.h5 tone.wav", "no track tone.wav in {}/full.h5; near it: deep/tones.wav"),
        ("plot full.h5", "2 tracks in {}/full.h5; name one of deep/tones.wav, other.wav"),
        (
            "plot full.h5 other.wav --start 3 --end 3",
            "the start must be 0 or more and come before the end",
        ),
        ("plot full.h5 other.wav --start 99", "from 99 s; the track is 5.00 s long"),
        (
            "plot full.h5 other.wav -o x.gif",
            "x.gif: pictures are written as .png, .svg, .pdf, .webp",
        ),
        ("plot full.h5 other.wav --layers 1,9", "no layer 9 in {}/full.h5; layers 1, 2, 3"),
        ("plot full.h5 other.wav -o no/x.png", "no/x.png cannot be written: No such file"),
        ("plot none.h5 other.wav --kind onsets", "extract with --attention class or full"),
        ("plot none.h5 other.wav --kind attention", "extract with --attention class or full"),
        ("onsets none.h5 other.wav", "extract with --attention class or full"),
        ("onsets class.h5 other.wav --reading change", "needs all rows of the attention maps"),
        ("onsets full.h5 other.wav --head 7", "no head 7; heads 0 to 2 are there"),
        ("onsets full.h5 other.wav --click x.mp3", "clicks are written as .wav or .flac"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    here: RunCli, feats: Path, arguments: str, words: str
) -> None:
    command, file, *rest = arguments.split()
    result = here(command, feats / file, *rest)
    assert result.returncode == 2
    *_, line = result.stderr.strip().splitlines()
    assert line.startswith("vit1dx: ")
    assert words.format(feats) in line


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.02, 0.2])
def test_the_shortest_music_and_the_oddest_name(
    here: RunCli, tmp_path: Path, seconds: float
) -> None:
    name = "$a_b$ {c} <&>.wav"
    soundfile.write(tmp_path / name, clicks(seconds, [0.01]), 44_100)
    assert here("extract", name, "--attention", "full", "-o", "x.h5", "-q").returncode == 0
    for kind in KINDS:
        result = here("plot", "x.h5", "--kind", kind, "-o", "x.svg")
        assert result.returncode == 0, result.stderr
    assert "$a_b$" in (tmp_path / "x.svg").read_text()
    assert here("onsets", "x.h5").returncode == 0


@pytest.mark.slow
def test_the_gallery_is_made_by_what_its_credits_say(here: RunCli, real_audio: Path) -> None:
    text = (ROOT / "docs" / "img" / "README.md").read_text()
    made = [line.split() for line in text.splitlines() if line.startswith("    vit1dx plot ")]
    assert len(made) == 3
    for _, *arguments, picture in made:
        audio = real_audio / Path(arguments[1]).name
        result = here("plot", audio, *arguments[2:], Path(picture).name)
        assert result.returncode == 0, result.stderr
        assert (ROOT / picture).stat().st_size < 150_000
        assert Path(Path(picture).name).stat().st_size < 150_000


def test_an_unknown_kind_is_refused_with_those_that_are(here: RunCli, feats: Path) -> None:
    result = here("plot", feats / "full.h5", "other.wav", "--kind", "pie")
    assert result.returncode == 2
    assert "overview" in result.stderr


def test_audio_that_is_none_is_one_line(here: RunCli, tmp_path: Path) -> None:
    (tmp_path / "x.mp3").write_text("not music\n" * 500)
    result = here("onsets", "x.mp3")
    assert result.returncode == 2
    assert result.stderr.startswith("vit1dx: x.mp3: ")


def test_without_matplotlib_the_extra_is_named(cli: RunCli, feats: Path, tmp_path: Path) -> None:
    (tmp_path / "hidden" / "matplotlib").mkdir(parents=True)
    (tmp_path / "hidden" / "matplotlib" / "__init__.py").write_text("raise ImportError('hidden')")
    result = cli(
        "plot", feats / "full.h5", "other.wav", env={"PYTHONPATH": str(tmp_path / "hidden")}
    )
    assert result.returncode == 2
    assert result.stderr == ("vit1dx: plot needs matplotlib (hidden); pip install 'vit1dx[plot]'\n")
    others = cli(
        "onsets", feats / "full.h5", "other.wav", env={"PYTHONPATH": str(tmp_path / "hidden")}
    )
    assert others.returncode == 0, others.stderr


@pytest.mark.slow
def test_two_hours_are_drawn_in_bounded_memory(cli: RunCli, tmp_path: Path) -> None:
    write_long(tmp_path / "long.h5", 2.0, "1,8", "full", "float16")
    peak = (
        "import runpy, sys; sys.argv[0] = 'vit1dx'\n"
        "try: runpy.run_module('vit1dx', run_name='__main__')\n"
        # Not getrusage's peak, which a process has from the one that started it.
        "finally: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0],"
        " file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", peak, "plot", "long.h5", "-o", "x.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stderr.split()[-1]) < 400_000  # KiB; one layer of the tokens alone is 86 MB


def test_features_that_are_not_there(here: RunCli) -> None:
    result = here("plot", "nothing.h5", "other.wav")
    assert result.returncode == 5
    assert result.stderr == "vit1dx: no feature file at nothing.h5\n"
