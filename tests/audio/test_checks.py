"""Sound that is decoded rightly and yet hardly music is warned of, and music is not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vit1dx._types import Array
from vit1dx.audio.checks import SignalChecks
from vit1dx.audio.decode import AudioFile
from vit1dx.errors import CODES, AudioError, AudioWarning
from vit1dx.extractor import Extractor

from ..synth import song

RATE = 16000


def _checked(samples: Array, step: int | None = None, rate: int = RATE) -> list[AudioWarning]:
    block = np.asarray(samples, np.float32).reshape(len(samples), -1)
    checks = SignalChecks(rate)
    step = step or len(block)
    blocks = [block[at : at + step] for at in range(0, len(block), step)]
    assert [b is seen for b, seen in zip(blocks, checks.watch(blocks), strict=True)]
    return checks.warnings()


def _codes(samples: Array) -> list[str]:
    return [warning.code for warning in _checked(samples)]


def _stereo(left: Array, right: Array) -> Array:
    return np.stack([left, right], axis=1)


MUSIC = song(12.0, RATE)
OTHER = song(12.0, RATE, seed=5)
NOISE = np.random.default_rng(0).uniform(-1, 1, len(MUSIC)).astype(np.float32)
LOUD = MUSIC / np.abs(MUSIC).max()


@pytest.mark.parametrize(
    ("samples", "codes"),
    [
        pytest.param(MUSIC, [], id="mono"),
        pytest.param(LOUD, [], id="as loud as can be"),
        pytest.param(np.sin(np.arange(len(MUSIC)) / 9), [], id="a sine at full scale"),
        pytest.param(0.001 * MUSIC, [], id="quiet"),
        pytest.param(_stereo(MUSIC, MUSIC), [], id="mono in two channels"),
        pytest.param(_stereo(MUSIC, OTHER), [], id="nothing in common"),
        pytest.param(_stereo(MUSIC, 0 * MUSIC), [], id="one channel silent"),
        pytest.param(_stereo(MUSIC, -0.5 * MUSIC), [], id="half of it in antiphase"),
        pytest.param(np.stack([MUSIC, *[0 * MUSIC] * 23], axis=1), [], id="one of 24 channels"),
        pytest.param(_stereo(MUSIC, -MUSIC), ["antiphase"], id="antiphase"),
        pytest.param(0.001 * _stereo(MUSIC, -MUSIC), ["antiphase"], id="quiet antiphase"),
        pytest.param(_stereo(MUSIC, -MUSIC) + 0.02, ["antiphase"], id="antiphase, offset"),
        pytest.param(np.zeros(RATE), ["silence"], id="silence"),
        pytest.param(np.full(RATE, 0.01), ["silence"], id="an offset that is all"),
        pytest.param(np.full(RATE, 0.5), ["silence", "dc"], id="a large offset that is all"),
        pytest.param(2e-5 * NOISE, ["silence"], id="dither"),
        pytest.param(0.5 * MUSIC + 0.1, ["dc"], id="offset"),
        pytest.param(_stereo(MUSIC + 0.2, MUSIC), ["dc"], id="offset of one channel"),
        pytest.param(np.clip(9 * LOUD, -1, 1), ["clipping"], id="clipped"),
        pytest.param(np.clip(9 * LOUD, -1, 127 / 128), ["clipping"], id="clipped at 8 bits"),
        pytest.param(1.5 * NOISE, ["clipping"], id="over full scale"),
        pytest.param(128 * LOUD, ["scale"], id="8 bits not scaled"),
        pytest.param(14626 * LOUD, ["scale"], id="16 bits not scaled"),
        pytest.param(1e6 * NOISE, ["scale"], id="as far outside as is accepted"),
        pytest.param(_stereo(9000 * MUSIC, -9000 * MUSIC), ["antiphase", "scale"], id="both"),
    ],
)
def test_what_is_warned_of(samples: Array, codes: list[str]) -> None:
    assert _codes(samples) == codes
    assert set(codes) <= CODES.keys()


@pytest.mark.parametrize("seconds", [0.001, 0.1, 1.0, 12.0])
@pytest.mark.parametrize("code", ["antiphase", "silence", "dc", "clipping", "scale"])
def test_of_any_length(code: str, seconds: float) -> None:
    short = NOISE[: round(seconds * RATE)]
    samples = {
        "antiphase": _stereo(0.5 * short, -0.5 * short),
        "silence": np.zeros(len(short)),
        "dc": 0.1 * short + 0.5,
        "clipping": np.where(np.arange(len(short)) % 8 < 4, 1.0, -1.0),
        "scale": 30000 * short,
    }[code]
    assert _codes(samples) == [code]


@pytest.mark.parametrize("step", [1, 999, 1152, 70_000])
def test_blocks_do_not_matter(step: int) -> None:
    samples = _stereo(MUSIC + 0.1, np.clip(9 * LOUD, -1, 1))[: 30 * step]
    assert _checked(samples, step) == _checked(samples)
    assert len(_checked(samples)) >= 1


@pytest.mark.parametrize(("share", "warned"), [(0.01, False), (0.2, True), (0.6, True)])
def test_a_part_of_a_track_in_antiphase_is_said_as_such(share: float, warned: bool) -> None:
    long = np.tile(MUSIC, 10)
    turned = long * np.where(np.arange(len(long)) < (1 - share) * len(long), 1, -1)
    found = _checked(_stereo(long, turned))
    assert [warning.code for warning in found] == ["antiphase"] * warned
    if warned:
        said = float(found[0].text.split("about ")[1].split("%")[0]) / 100
        assert said == pytest.approx(share, abs=0.03)


def test_one_sound_after_long_silence_is_none() -> None:
    samples = np.zeros(RATE * 100)
    assert _codes(samples) == ["silence"]
    samples[RATE * 77 + 1000] = 0.5
    assert _codes(samples) == []


def test_channels_may_change_within_a_track() -> None:
    checks = SignalChecks(RATE)
    for block in (MUSIC[:999, None], _stereo(MUSIC, -MUSIC), MUSIC[:, None]):
        checks.look(block)
    (warning,) = checks.warnings()
    assert warning.code == "antiphase"


def test_nothing_is_said_of_nothing() -> None:
    assert SignalChecks(RATE).warnings() == []


def test_codecs_do_not_hide_antiphase(tmp_path: Path) -> None:
    pair = _stereo(song(6.0), -song(6.0))
    for name, options in (("a.mp3", {}), ("a.ogg", {}), ("a.opus", {"subtype": "OPUS"})):
        soundfile.write(
            tmp_path / name, pair, 48000, format=name[2:].replace("opus", "ogg"), **options
        )
        with AudioFile(tmp_path / name) as file:
            checks = SignalChecks(file.sample_rate)
            for _ in checks.watch(file.blocks()):
                pass
            assert [warning.code for warning in checks.warnings()] == ["antiphase"], name


def test_recordings_are_not_warned_of(real_audio: Path) -> None:
    for path in real_audio.glob("*.ogg"):
        with AudioFile(path) as file:
            checks = SignalChecks(file.sample_rate)
            for _ in checks.watch(file.blocks()):
                pass
            assert checks.warnings() == [], path


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor(layers=[0])


def test_arrays_and_files_given_to_the_extractor_are_warned_of_alike(
    extractor: Extractor, tmp_path: Path
) -> None:
    pair = _stereo(MUSIC, -MUSIC)
    with pytest.warns(UserWarning, match="cancel each other in about 100%") as caught:
        track = extractor(pair, RATE)
    assert caught[0].filename == __file__
    soundfile.write(tmp_path / "a.wav", pair, RATE, subtype="FLOAT")
    with pytest.warns(UserWarning, match=r"a\.wav: the channels cancel") as caught:
        same = extractor(tmp_path / "a.wav")
    assert caught[0].filename == __file__
    assert same.warnings == track.warnings
    assert [warning.code for warning in track.warnings] == ["antiphase"]


def test_music_given_to_the_extractor_is_not(extractor: Extractor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert extractor(MUSIC, RATE).warnings == ()


@pytest.mark.parametrize("most", [2e6, 2**31, np.inf, np.nan])
def test_no_array_is_louder_than_a_file_may_be(extractor: Extractor, most: float) -> None:
    samples = np.array(MUSIC, np.float64)
    samples[5] = most
    with pytest.raises(AudioError, match=r"samples up to .*; finite ones up to 1e\+06"):
        extractor(samples, RATE)
