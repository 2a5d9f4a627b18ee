"""Time: what is heard at some second of a file is in the tokens at that second."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from vit1dx._types import Array
from vit1dx.audio.decode import AudioFile
from vit1dx.audio.resample import mono_at_rate

RATE = 48000
HALF_FRAME = 0.016  # of a token
ONSETS = np.array([0.5, 1.3, 1.7, 2.9, 4.1, 5.2, 5.6, 7.3])


def onset_train(rate: int = RATE, seconds: float = 8.0) -> Array:
    """Bursts of a decaying tone, (n,) float32."""
    samples = np.zeros(round(seconds * rate), np.float32)
    time = np.arange(round(0.1 * rate)) / rate
    burst = 0.7 * np.sin(2 * np.pi * 1500 * time) * np.exp(-40 * time)
    for onset in [onset for onset in ONSETS if onset < seconds]:
        at = round(onset * rate)
        samples[at : at + len(burst)] += burst[: len(samples) - at].astype(np.float32)
    return samples


def found_onsets(path: Path) -> Array:
    """Where the tone sets in, s, in what the model is given."""
    with AudioFile(path) as file:
        mono = np.concatenate(list(mono_at_rate(file.blocks(), file.sample_rate, 16000)))
    loud = np.flatnonzero(np.abs(mono) > 0.25)
    return loud[np.diff(loud, prepend=-np.inf) > 0.2 * 16000] / 16000


def encoded(
    path: Path,
    codec: str,
    *tracks: Array,
    rate: int = RATE,
    starts: Iterable[float] = (0,),
    defaults: Iterable[bool] = (True,),
) -> None:
    """Write mono tracks, each from its start, by PyAV."""
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for default in defaults:
            stream: Any = container.add_stream(codec, rate=rate, layout="mono")
            stream.disposition = av.stream.Disposition.default.value if default else 0
            streams.append(stream)
        for stream, samples, start in zip(streams, tracks, starts, strict=True):
            fifo, pts = stream.codec_context.frame_size or 1024, round(start * rate)
            for at in range(0, len(samples), fifo):
                frame = av.AudioFrame.from_ndarray(samples[None, at : at + fifo], "fltp", "mono")
                frame.sample_rate, frame.pts = rate, pts + at
                frame.time_base = Fraction(1, rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


@pytest.mark.parametrize("name", "x.wav x.flac x.ogg x.mp3 x.opus x.m4a x.mka x.webm".split())
def test_onsets_stay_where_they_are(tmp_path: Path, name: str) -> None:
    path, samples = tmp_path / name, onset_train()
    codecs = {".m4a": "aac", ".mka": "flac", ".webm": "libopus"}
    if path.suffix in codecs:
        encoded(path, codecs[path.suffix], samples)
    elif path.suffix == ".opus":
        soundfile.write(path, samples, RATE, format="OGG", subtype="OPUS")
    else:
        soundfile.write(path, samples, RATE)
    onsets = found_onsets(path)
    assert len(onsets) == len(ONSETS)
    assert np.abs(onsets - ONSETS).max() < HALF_FRAME


def test_decoders_agree_where_one_goes_on_for_the_other(tmp_path: Path) -> None:
    """By a break in its last second, FFmpeg reads an mp3 that libsndfile reads without."""
    soundfile.write(tmp_path / "x.mp3", onset_train(), RATE)
    data = (tmp_path / "x.mp3").read_bytes()
    at = len(data) * 97 // 100
    (tmp_path / "y.mp3").write_bytes(data[:at] + bytes(700) + data[at + 700 :])
    names = []
    for name in ("x.mp3", "y.mp3"):
        with AudioFile(tmp_path / name) as file:
            list(file.blocks())
            names.append(file.decoder.split()[0])
    assert names == ["libsndfile", "FFmpeg"]
    ours, theirs = found_onsets(tmp_path / "x.mp3"), found_onsets(tmp_path / "y.mp3")
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def _with_a_hole(path: Path, codec: str, hole: tuple[float, float]) -> None:
    """Packets of an onset train, without those within the hole."""
    encoded(path.with_stem("whole"), codec, onset_train())
    with av.open(str(path.with_stem("whole"))) as whole, av.open(str(path), "w") as holed:
        source: Any = whole.streams.audio[0]
        target = holed.add_stream_from_template(source)
        for packet in whole.demux(source):
            time = float((packet.pts or 0) * source.time_base)
            if packet.size and not hole[0] <= time < hole[1]:
                packet.stream = target
                holed.mux(packet)


@pytest.mark.parametrize(("name", "codec"), [("x.webm", "libopus"), ("x.mka", "flac")])
def test_gap_in_timestamps_is_silence(tmp_path: Path, name: str, codec: str) -> None:
    _with_a_hole(tmp_path / name, codec, (2.0, 5.0))
    onsets = found_onsets(tmp_path / name)
    expected = ONSETS[(ONSETS < 2) | (ONSETS > 5)]
    assert len(onsets) == len(expected)
    assert np.abs(onsets - expected).max() < HALF_FRAME
    with AudioFile(tmp_path / name) as file:
        list(file.blocks())
        assert file.duration == pytest.approx(8, abs=0.05)
        (warning,) = (w for w in file.warnings if w.code == "gap")
    assert warning.text.startswith(("2.9", "3.0"))


def test_rate_and_channels_may_change(tmp_path: Path) -> None:
    """AAC at 48 kHz, and what follows it at 24 kHz in stereo, on one time axis."""
    encoded(tmp_path / "a.aac", "aac", onset_train())
    with av.open(str(tmp_path / "b.aac"), "w") as container:
        stream: Any = container.add_stream("aac", rate=24000, layout="stereo")
        both = np.stack([onset_train(24000)] * 2)
        frame = av.AudioFrame.from_ndarray(both, format="fltp", layout="stereo")
        frame.sample_rate = 24000
        for part in (frame, None):
            container.mux(stream.encode(part))
    data = [(tmp_path / name).read_bytes() for name in ("a.aac", "b.aac")]
    (tmp_path / "both.aac").write_bytes(b"".join(data))
    with AudioFile(tmp_path / "both.aac") as file:
        channels = [block.shape[1] for block in file.blocks()]
        codes = {warning.code for warning in file.warnings}
    assert (file.sample_rate, channels[0], channels[-1]) == (RATE, 1, 2)
    assert {"rate-change", "channels-change"} <= codes
    onsets = found_onsets(tmp_path / "both.aac")
    assert len(onsets) == 2 * len(ONSETS)
    # Priming: nothing in a stream without a container says how much it is.
    first, second = onsets[: len(ONSETS)] - ONSETS, onsets[len(ONSETS) :] - ONSETS
    assert np.ptp(first) < HALF_FRAME
    assert np.ptp(second) < HALF_FRAME


def test_default_stream_is_taken(tmp_path: Path) -> None:
    quiet = np.zeros(8 * RATE, np.float32)
    encoded(tmp_path / "x.mka", "flac", quiet, onset_train(), starts=(0, 0), defaults=(False, True))
    assert len(found_onsets(tmp_path / "x.mka")) == len(ONSETS)
    with AudioFile(tmp_path / "x.mka") as file:
        list(file.blocks())
        assert [w.text for w in file.warnings if w.code == "streams"] == [
            "audio stream 2 of 2 was taken"
        ]


def test_start_of_audio_is_known(tmp_path: Path) -> None:
    """Two streams, the default one 2 s after the other."""
    tracks = np.zeros(8 * RATE, np.float32), onset_train()
    encoded(tmp_path / "x.mka", "flac", *tracks, starts=(0, 2), defaults=(False, True))
    with AudioFile(tmp_path / "x.mka") as file:
        assert file.start_time == pytest.approx(2, abs=0.01)
    assert np.abs(found_onsets(tmp_path / "x.mka") - ONSETS).max() < HALF_FRAME
    soundfile.write(tmp_path / "x.wav", onset_train(), RATE)
    with AudioFile(tmp_path / "x.wav") as file:
        assert file.start_time == 0
