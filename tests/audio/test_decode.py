"""Decoding: what was recorded comes out, and what is no audio is refused with its reason."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from vit1dx._types import Array
from vit1dx.audio.decode import AudioFile
from vit1dx.audio.probe import probe_duration
from vit1dx.audio.resample import mono_at_rate
from vit1dx.audio.sndfile import BLOCK_SAMPLES
from vit1dx.errors import AudioError

from ..synth import song

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


def _encode(path: Path, samples: Array, codec: str) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE, layout="mono", bit_rate=128_000)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        for part in (frame, None):
            container.mux(stream.encode(part))


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
        assert max(block.size for block in file.blocks()) <= BLOCK_SAMPLES


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
