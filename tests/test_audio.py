"""Decoding: what was recorded comes out, and what is no audio is refused with its reason."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from vit1dx import audio
from vit1dx.arrays import Array
from vit1dx.audio import AudioFile, mono_at_rate, probe_duration
from vit1dx.errors import AudioError

from .synth import song

RATE = 44100


def _decode(path: Path) -> Array:
    with AudioFile(path) as file:
        samples = np.concatenate(list(file.blocks()))
        assert file.frames == len(samples)
        assert file.duration == pytest.approx(len(samples) / file.sample_rate)
        return samples


def _reason(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        _decode(path)
    reason = str(caught.value)
    assert "\n" not in reason
    return reason


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.aiff", "x.ogg", "x.mp3", "x.au", "x.caf"])
@pytest.mark.parametrize("channels", [1, 2])
def test_formats(tmp_path: Path, name: str, channels: int) -> None:
    samples = np.stack([song(2.0, seed=seed) for seed in range(channels)], axis=1)
    path = tmp_path / name
    soundfile.write(path, samples, RATE)
    decoded = _decode(path)
    assert decoded.dtype == np.float32
    assert decoded.shape == samples.shape
    lossy = path.suffix in (".ogg", ".mp3")
    error = np.sqrt(np.mean((decoded - samples) ** 2) / np.mean(samples**2))
    assert error < (0.2 if lossy else 1e-3)


def test_opus(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.opus", song(2.0, 48000), 48000, format="OGG", subtype="OPUS")
    assert _decode(tmp_path / "x.opus").shape == (96000, 1)


@pytest.mark.parametrize(
    ("codec", "name"), [("aac", "x.m4a"), ("wmav2", "x.wma"), ("aac", "x.mp4")]
)
def test_what_libsndfile_cannot_read_goes_through_pyav(
    tmp_path: Path, codec: str, name: str
) -> None:
    samples = song(3.0)
    _encode(tmp_path / name, samples, codec)
    decoded = _decode(tmp_path / name)
    assert abs(len(decoded) - len(samples)) < 4096  # encoders pad
    assert probe_duration(tmp_path / name) == pytest.approx(3.0, abs=0.1)


def test_m4a_without_pyav_says_what_to_install(tmp_path: Path) -> None:
    _encode(tmp_path / "x.m4a", song(1.0), "aac")
    script = (
        "import sys, pathlib; sys.modules['av'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'av' else find(name, *rest)\n"
        "from vit1dx.audio import AudioFile\n"
        "AudioFile(pathlib.Path(sys.argv[1]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "x.m4a"], capture_output=True, text=True
    )
    assert "pip install 'vit1dx[m4a]'" in result.stderr


def _encode(path: Path, samples: Array, codec: str) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE, layout="mono", bit_rate=128_000)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        for part in (frame, None):
            container.mux(stream.encode(part))


def _mp3(path: Path, header: bool) -> int:
    """A song of loud and quiet parts, at a variable bit rate; with a Xing header, or without."""
    samples = np.concatenate([np.random.default_rng(0).uniform(-1, 1, RATE), song(9.0) * 0.1])
    soundfile.write(path, samples, RATE, bitrate_mode="VARIABLE", compression_level=0.3)
    data = path.read_bytes()
    xing = data.find(b"Xing")
    assert 0 < xing < 200
    if not header:
        # The first frame holds nothing else; the next one begins like it.
        path.write_bytes(data[data.index(data[:2], xing) :])
    return len(samples)


def test_mp3_without_length_is_decoded_to_its_end(tmp_path: Path) -> None:
    """Its length is then guessed from the first frame, and libsndfile would stop there."""
    expected = _mp3(tmp_path / "x.mp3", header=False)
    with soundfile.SoundFile(tmp_path / "x.mp3") as file:
        assert file.frames < 0.8 * expected
    decoded = _decode(tmp_path / "x.mp3")
    assert expected <= len(decoded) < expected + 4 * 1152
    _mp3(tmp_path / "y.mp3", header=True)
    whole = _decode(tmp_path / "y.mp3")
    start = len(decoded) - len(whole)  # the header says how much padding to drop
    lags = range(max(0, start - 2400), start + 1)
    errors = [np.abs(decoded[lag : lag + 100_000] - whole[:100_000]).mean() for lag in lags]
    assert min(errors) < 1e-3


def test_mp3_that_is_longer_than_its_header_says_is_warned_of(tmp_path: Path) -> None:
    _mp3(tmp_path / "x.mp3", header=True)
    data = (tmp_path / "x.mp3").read_bytes()
    (tmp_path / "twice.mp3").write_bytes(data + data)
    with AudioFile(tmp_path / "twice.mp3") as file:
        list(file.blocks())
        assert "behind the end that its header declares" in file.warnings[0].text


def test_truncated_mp3_is_decoded_and_warned_of(tmp_path: Path) -> None:
    _mp3(tmp_path / "x.mp3", header=True)
    data = (tmp_path / "x.mp3").read_bytes()
    (tmp_path / "x.mp3").write_bytes(data[: len(data) // 2])
    with AudioFile(tmp_path / "x.mp3") as file:
        seconds = sum(map(len, file.blocks())) / RATE
        assert 0.5 < seconds < 9
        assert file.duration == pytest.approx(seconds)
        assert "of the 10.000 s that its header declares" in file.warnings[0].text


def test_truncated_flac(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, song(30.0), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "decoding stopped after" in _reason(path)


def test_wav_whose_header_promises_too_much(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, song(2.0), RATE)
    data = bytearray(path.read_bytes())
    data[40:44] = (2**32 - 8).to_bytes(4, "little")
    path.write_bytes(data)
    assert len(_decode(path)) == 2 * RATE


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "x.mp3").touch()
    assert _reason(tmp_path / "x.mp3") == "empty file: 0 bytes"


def test_zero_length_wav(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(0), RATE)
    assert "0 samples decoded" in _reason(tmp_path / "x.wav")


def test_text_renamed_to_mp3(tmp_path: Path) -> None:
    (tmp_path / "x.mp3").write_text("This is not music.\n" * 100)
    assert "cannot read it" in _reason(tmp_path / "x.mp3")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_impossible_samples(tmp_path: Path, value: float) -> None:
    samples = np.stack([song(2.0)] * 2, axis=1)
    samples[RATE, 1] = value
    soundfile.write(tmp_path / "x.wav", samples, RATE, subtype="FLOAT")
    reason = _reason(tmp_path / "x.wav")
    assert "at 1.000 s, channel 2" in reason
    assert "finite samples" in reason


def test_no_such_file_and_broken_link(tmp_path: Path) -> None:
    (tmp_path / "link.wav").symlink_to("nowhere.wav")
    assert _reason(tmp_path / "none.wav") == "no such file"
    assert _reason(tmp_path / "link.wav") == "broken symbolic link"


def test_folder_and_pipe_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    assert _reason(tmp_path / "folder.wav") == "not a regular file"
    assert _reason(tmp_path / "pipe.wav") == "not a regular file"


def test_non_utf8_name(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    soundfile.write(tmp_path / "x.wav", song(1.0), RATE)
    (tmp_path / "x.wav").rename(path)
    assert len(_decode(path)) == RATE


@pytest.mark.parametrize(("rate", "channels"), [(192_000, 1), (8_000, 2), (48_000, 8)])
def test_rates_and_channels(tmp_path: Path, rate: int, channels: int) -> None:
    samples = np.stack([song(1.0, rate, seed) for seed in range(channels)], axis=1)
    soundfile.write(tmp_path / "x.wav", samples, rate, subtype="FLOAT")
    with AudioFile(tmp_path / "x.wav") as file:
        assert (file.sample_rate, file.channels) == (rate, channels)
        mono = np.concatenate(list(mono_at_rate(file.blocks(), rate, 16000)))
    expected = soxr.resample(samples.mean(axis=1, dtype=np.float32), rate, 16000, "HQ")
    assert abs(len(mono) - 16000) <= 1
    np.testing.assert_allclose(mono, expected[: len(mono)], atol=1e-5)


def test_absurd_rate(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", song(0.1), 8)
    assert "8 Hz" in _reason(tmp_path / "x.wav")


def test_resampling_does_not_depend_on_blocks() -> None:
    samples = song(4.0)[:, None]
    cuts = np.sort(np.random.default_rng(1).integers(0, len(samples), 50))
    whole, cut = (
        np.concatenate(list(mono_at_rate(blocks, RATE, 16000)))
        for blocks in ([samples], np.split(samples, cuts))
    )
    np.testing.assert_allclose(cut, whole, atol=1e-6)


def test_same_rate_passes_through() -> None:
    samples = song(1.0)[:, None]
    (mono,) = mono_at_rate([samples], RATE, RATE)
    np.testing.assert_array_equal(mono, samples[:, 0])


def test_blocks_are_bounded(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", song(20.0), RATE)
    with AudioFile(tmp_path / "x.wav") as file:
        assert max(block.size for block in file.blocks()) <= audio.BLOCK_SAMPLES


@pytest.mark.parametrize("channels", [2, 1000])
def test_headers_that_promise_too_much_allocate_nothing(tmp_path: Path, channels: int) -> None:
    """10^12 samples in the header, one second in the file."""
    samples = np.tile(song(0.25, 8000)[:, None], channels)
    for name, options in (("x.rf64", {"format": "RF64"}), ("x.wav", {}), ("x.au", {})):
        soundfile.write(tmp_path / name, samples, 8000, **options)
        data = bytearray((tmp_path / name).read_bytes())
        if name == "x.rf64":
            at, size = data.index(b"ds64") + 8, 2 * channels * 10**12
            data[at : at + 24] = b"".join(
                n.to_bytes(8, "little") for n in (size + 72, size, 10**12)
            )
        else:
            at = data.index(b"data") + 4 if name == "x.wav" else 8
            data[at : at + 4] = b"\xff" * 4
        (tmp_path / name).write_bytes(data)
        tracemalloc.start()
        try:
            with AudioFile(tmp_path / name) as file:
                decoded = sum(len(block) for block in file.blocks())
        except AudioError:
            decoded = 0
        assert decoded <= len(samples)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
        tracemalloc.stop()
