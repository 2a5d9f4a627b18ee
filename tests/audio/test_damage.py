"""Whatever is wrong with a file: what can be decoded is, and what is missing is said."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from vit1dx._types import Array
from vit1dx.audio.decode import AudioFile
from vit1dx.errors import AudioError

from ..synth import song

RATE = 44100


def decode(path: Path) -> tuple[Array, dict[str, str]]:
    """Mono samples, and warnings by code."""
    with AudioFile(path) as file:
        samples = np.concatenate([block.mean(axis=1) for block in file.blocks()])
        assert file.frames == len(samples)
        return samples, {warning.code: warning.text for warning in file.warnings}


def mp3(path: Path, seconds: float = 10.0, *, xing: bool = True, **options: Any) -> bytes:
    """An mp3, with a Xing header or without; of a variable bit rate unless `options` differ."""
    options = options or {"bitrate_mode": "VARIABLE", "compression_level": 0.3}
    loud = np.random.default_rng(0).uniform(-1, 1, RATE)
    soundfile.write(path, np.concatenate([loud, song(seconds - 1) * 0.1]), RATE, **options)
    data = path.read_bytes()
    found = max(data.find(b"Xing"), data.find(b"Info"))
    assert 0 < found < 200
    if not xing:
        # The first frame holds nothing else; the next one begins like it.
        data = data[data.index(data[:2], found) :]
        path.write_bytes(data)
    return data


CONSTANT: dict[str, Any] = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}


def test_mp3_without_length_is_decoded_to_its_end(tmp_path: Path) -> None:
    """Its length is guessed from the first frame, and libsndfile would stop there."""
    mp3(tmp_path / "x.mp3", xing=False)
    with soundfile.SoundFile(tmp_path / "x.mp3") as file:
        assert file.frames < 8 * RATE
    decoded, warnings = decode(tmp_path / "x.mp3")
    assert 10 * RATE <= len(decoded) < 10 * RATE + 4 * 1152
    assert not warnings
    mp3(tmp_path / "y.mp3")
    whole, _ = decode(tmp_path / "y.mp3")
    start = len(decoded) - len(whole)  # the header says how much padding to drop
    lags = range(max(0, start - 2400), start + 1)
    errors = [np.abs(decoded[lag : lag + 100_000] - whole[:100_000]).mean() for lag in lags]
    assert min(errors) < 1e-3


@pytest.mark.parametrize("xing", [True, False])
def test_mp3s_one_behind_another_are_decoded_whole(tmp_path: Path, xing: bool) -> None:
    data = mp3(tmp_path / "x.mp3", xing=xing)
    (tmp_path / "twice.mp3").write_bytes(data + data)
    decoded, _ = decode(tmp_path / "twice.mp3")
    assert len(decoded) == pytest.approx(20 * RATE, abs=5 * 1152)


def test_truncated_mp3(tmp_path: Path) -> None:
    data = mp3(tmp_path / "x.mp3")
    (tmp_path / "x.mp3").write_bytes(data[: len(data) // 2])
    decoded, warnings = decode(tmp_path / "x.mp3")
    assert 0.5 * RATE < len(decoded) < 9 * RATE
    assert "of the 10.0" in warnings["truncated"]


@pytest.mark.parametrize("junk", [bytes(500), b"HTTP/1.0 200 OK\r\n\r\n", bytes(range(256)) * 4])
def test_mp3_behind_junk(tmp_path: Path, junk: bytes) -> None:
    data = mp3(tmp_path / "x.mp3", xing=False, **CONSTANT)
    (tmp_path / "x.mp3").write_bytes(junk + data)
    decoded, _ = decode(tmp_path / "x.mp3")
    assert len(decoded) == pytest.approx(10 * RATE, abs=3 * 1152)


def _id3(size: int) -> bytes:
    digits = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + digits + bytes(size)


def _ape(size: int) -> bytes:
    fields = struct.pack("<IIII", 2000, size + 32, 1, 1 << 31) + bytes(8)
    return b"APETAGEX" + fields + b"\xff" * size + b"APETAGEX" + fields


def _lyrics(size: int) -> bytes:
    return b"LYRICSBEGIN" + b"x" * size + b"%06d" % (size + 11) + b"LYRICS200"


ID3V1 = b"TAG" + bytes(125)


@pytest.mark.parametrize("xing", [True, False])
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (b"", _ape(100_000)),
        (b"", _ape(100_000) + ID3V1),
        (b"", _lyrics(3000) + ID3V1),
        (_id3(200_000) + _id3(3000), ID3V1),
        (_ape(5000), b""),
    ],
)
def test_tags_are_no_audio(tmp_path: Path, before: bytes, behind: bytes, xing: bool) -> None:
    data = mp3(tmp_path / "x.mp3", xing=xing, **CONSTANT)
    plain, _ = decode(tmp_path / "x.mp3")
    (tmp_path / "x.mp3").write_bytes(before + data + behind)
    tagged, warnings = decode(tmp_path / "x.mp3")
    assert not warnings
    assert len(tagged) == pytest.approx(len(plain), abs=1152)


def test_sound_mp3_is_read_by_libsndfile_alone(tmp_path: Path) -> None:
    mp3(tmp_path / "v.mp3")
    mp3(tmp_path / "c.mp3", xing=False, **CONSTANT)
    for name in ("v.mp3", "c.mp3"):
        with AudioFile(tmp_path / name) as file:
            assert sum(map(len, file.blocks())) >= 10 * RATE
            assert file.decoder == f"libsndfile {soundfile.__libsndfile_version__}"


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_ogg(tmp_path: Path, subtype: str) -> None:
    path, rate = tmp_path / "x.ogg", 48000
    soundfile.write(path, song(5.0, rate), rate, format="OGG", subtype=subtype)
    path.write_bytes(path.read_bytes() * 3)
    decoded, _ = decode(path)
    assert len(decoded) == pytest.approx(15 * rate, abs=0.1 * rate)


def test_lost_ogg_page_keeps_time(tmp_path: Path) -> None:
    path = tmp_path / "x.ogg"
    samples = song(20.0)
    soundfile.write(path, samples, RATE)
    data = path.read_bytes()
    pages = [at for at in range(len(data)) if data[at : at + 4] == b"OggS"]
    middle = len(pages) // 2
    path.write_bytes(data[: pages[middle]] + data[pages[middle + 1] :])
    decoded, warnings = decode(path)
    assert {"damaged", "gap"} & set(warnings)
    assert len(decoded) == pytest.approx(len(samples), abs=1000)
    end = slice(-5 * RATE, None)
    assert np.corrcoef(decoded[: len(samples)][end], samples[: len(decoded)][end])[0, 1] > 0.9


def test_truncated_flac(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    samples = song(30.0)
    soundfile.write(path, samples, RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    decoded, warnings = decode(path)
    assert 5 * RATE < len(decoded) < 25 * RATE
    np.testing.assert_allclose(decoded[:-4608], samples[: len(decoded) - 4608], atol=1e-4)
    assert "of the 30.000 s" in warnings["truncated"]


def test_flac_with_a_bad_frame_goes_on_behind_it(tmp_path: Path) -> None:
    """Two decoders, one after the other: what both give is given once."""
    path = tmp_path / "x.flac"
    samples = song(40.0)
    soundfile.write(path, samples, RATE)
    data = bytearray(path.read_bytes())
    at = len(data) * 3 // 4
    data[at : at + 300] = bytes(300)
    path.write_bytes(data)
    decoded, warnings = decode(path)
    assert "damaged" in warnings
    assert len(decoded) == pytest.approx(len(samples), abs=3 * 4608)
    np.testing.assert_allclose(decoded[: 20 * RATE], samples[: 20 * RATE], atol=1e-4)
    np.testing.assert_allclose(decoded[-5 * RATE :], samples[-5 * RATE :], atol=1e-4)


def test_flac_of_unknown_length(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    samples = song(12.0)
    soundfile.write(path, samples, RATE)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    decoded, warnings = decode(path)
    np.testing.assert_allclose(decoded, samples, atol=1e-4)
    assert not warnings


@pytest.mark.parametrize("declared", [0, 20 * RATE])
def test_wav_whose_sizes_leave_audio_out(tmp_path: Path, declared: int) -> None:
    """Its recorder was killed, or its 32 bits were too few."""
    samples = song(10.0)
    soundfile.write(tmp_path / "x.wav", samples, RATE)
    data = bytearray((tmp_path / "x.wav").read_bytes())
    data[4:8] = struct.pack("<I", declared + 36 if declared else 0)
    data[40:44] = struct.pack("<I", declared // 10)
    (tmp_path / "x.wav").write_bytes(data)
    decoded, _ = decode(tmp_path / "x.wav")
    np.testing.assert_allclose(decoded, samples, atol=1e-4)


def test_wav_over_4_gib(tmp_path: Path) -> None:
    """Its 32 bits wrapped round; what lies behind them is not searched for chunks (sparse)."""
    samples = song(2.0)
    soundfile.write(tmp_path / "x.wav", samples, RATE)
    with (tmp_path / "x.wav").open("r+b") as raw:
        raw.truncate((1 << 32) + raw.seek(0, 2))
    with AudioFile(tmp_path / "x.wav") as file:
        for block in file.blocks():
            assert block.shape[1] == 1
            if file.duration > 10:
                break


def test_wav_with_chunks_behind_its_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", song(3.0), RATE)
    data = (tmp_path / "x.wav").read_bytes()
    chunk = b"JUNK" + struct.pack("<I", 200_000) + b"\xee" * 200_000
    (tmp_path / "x.wav").write_bytes(data + chunk)
    decoded, warnings = decode(tmp_path / "x.wav")
    assert (len(decoded), warnings) == (3 * RATE, {})


def _encoded(path: Path, codec: str, samples: Array) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE, layout="mono", bit_rate=128_000)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        for part in (frame, None):
            container.mux(stream.encode(part))


@pytest.mark.parametrize(
    "name", "x.wav x.aiff x.caf x.w64 x.rf64 x.au x.flac x.ogg x.mp3 x.mka x.m4a x.wma".split()
)
def test_truncation_is_said(tmp_path: Path, name: str) -> None:
    path, whole = tmp_path / name, tmp_path / f"whole-{name}"
    codec = {".mka": "aac", ".m4a": "aac", ".wma": "wmav2"}.get(path.suffix)
    if codec:
        _encoded(whole, codec, song(10.0))
    else:
        soundfile.write(whole, song(10.0), RATE)
    data = whole.read_bytes()
    if name == "x.m4a":  # what it is comes last; cut, it would be nothing at all
        data = _index_first(data)
    path.write_bytes(data[: len(data) * 2 // 5])
    whole.write_bytes(data)
    assert "truncated" not in decode(whole)[1]
    decoded, warnings = decode(path)
    assert len(decoded) < 7 * RATE
    assert "truncated" in warnings


def _index_first(data: bytes) -> bytes:
    """An mp4 with its `moov` before its `mdat`."""
    boxes, at = {}, 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        boxes[data[at + 4 : at + 8]] = data[at : at + length]
        at += length
    moov = bytearray(boxes[b"moov"])
    table = moov.index(b"stco") + 8
    for i in range(int.from_bytes(moov[table : table + 4], "big")):
        entry = slice(table + 4 + 4 * i, table + 8 + 4 * i)
        moov[entry] = (int.from_bytes(moov[entry], "big") + len(moov)).to_bytes(4, "big")
    order = [name for name in boxes if name not in (b"moov", b"mdat")]
    return b"".join(boxes[name] for name in order) + bytes(moov) + boxes[b"mdat"]


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFF000, 2**32 - 8, 0x80000000])
def test_length_of_a_pipe_is_no_truncation(tmp_path: Path, length: int) -> None:
    soundfile.write(tmp_path / "x.wav", song(2.0), RATE)
    data = bytearray((tmp_path / "x.wav").read_bytes())
    data[40:44] = struct.pack("<I", length)
    (tmp_path / "x.wav").write_bytes(data)
    decoded, warnings = decode(tmp_path / "x.wav")
    assert (len(decoded), warnings) == (2 * RATE, {})


@pytest.mark.parametrize("cut", [100, 5000])
def test_aac_with_a_bad_packet_and_without_its_end(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.aac"
    _encoded(path, "aac", song(10.0))
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:half] + bytes(200) + data[half + 200 : -cut])
    decoded, warnings = decode(path)
    assert len(decoded) == pytest.approx((1 - cut / len(data)) * 10 * RATE, abs=0.2 * RATE)
    assert "damaged" in warnings


@pytest.mark.parametrize("name", ["x.au", "x.snd", "x.vox", "x.gsm", "x.wav", "x.mp3", "x.m4a"])
@pytest.mark.parametrize("text", [b"<html>404</html>\n" * 300, b"version https://git-lfs\n"])
def test_text_is_refused(tmp_path: Path, name: str, text: bytes) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(AudioError, match=r"cannot read it|0 samples|can decode"):
        decode(tmp_path / name)


def test_playlist_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", song(1.0), RATE)
    for text in (
        "#EXTM3U\n#EXTINF:5,\nx.wav\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile x.wav\n",
    ):
        (tmp_path / "list.m4a").write_text(text)
        with pytest.raises(AudioError):
            decode(tmp_path / "list.m4a")


def test_noise_in_packets_is_refused(tmp_path: Path) -> None:
    """As where they are encrypted: FFmpeg would find audio in some, or crash."""
    _encoded(tmp_path / "x.m4a", "aac", song(10.0))
    data = bytearray((tmp_path / "x.m4a").read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = np.random.default_rng(0).bytes(end - start)
    (tmp_path / "x.m4a").write_bytes(data)
    with pytest.raises(AudioError, match="can decode"):
        decode(tmp_path / "x.m4a")
