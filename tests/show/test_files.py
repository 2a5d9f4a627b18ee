"""Events as other programs' files, and clicks: read back by those programs' own libraries."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import mir_eval
import numpy as np
import pytest
import soundfile

from tests.synth import song
from vit1dx.audio.mel import LogMel
from vit1dx.config import MelConfig
from vit1dx.errors import UsageError
from vit1dx.show.events import Events, as_csv, as_jams, as_svl, as_text
from vit1dx.show.sound import clicks_between, mel_picture, write_clicks

EVENTS = Events(
    "a/b & <c>.mp3",
    np.array([0.0123456, 1.5, 2.75]),
    np.array([0.5, 3.25, 1.0]),
    "layer 1, head 0, log change",
    4.0,
    44_100,
)


def test_text_is_what_mir_eval_reads(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(as_text(EVENTS))
    read = mir_eval.io.load_events(str(tmp_path / "x.txt"))
    np.testing.assert_allclose(read, EVENTS.times, atol=1e-6)


def test_csv_has_a_row_an_event() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv([EVENTS, EVENTS]))))
    assert len(rows) == 6
    assert rows[1] == {"track": "a/b & <c>.mp3", "time": "1.500000", "strength": "3.2500"}


def test_jams_is_valid_by_its_schema() -> None:
    jams = pytest.importorskip("jams", reason="jams is not installed")
    read = jams.load(io.StringIO(as_jams(EVENTS)), validate=True, strict=True)
    (annotation,) = read.search(namespace="onset")
    intervals, _ = annotation.to_interval_values()
    np.testing.assert_allclose(intervals[:, 0], EVENTS.times)
    assert "layer 1, head 0, log change" in annotation.annotation_metadata.annotation_tools


def test_svl_counts_samples_of_the_audio() -> None:
    root = ElementTree.fromstring(as_svl(EVENTS))
    model, layer = root.find("data/model"), root.find("display/layer")
    assert model is not None
    assert layer is not None
    assert model.attrib["sampleRate"] == "44100"
    assert layer.attrib["type"] == "timeinstants"
    assert model.attrib["name"] == "Onsets: layer 1, head 0, log change"
    points = [int(point.attrib["frame"]) for point in root.iter("point")]
    assert points == [544, 66_150, 121_275]


@pytest.mark.parametrize("block", [7, 1000, 16_000])
def test_clicks_begin_at_their_times_whatever_the_blocks(block: int) -> None:
    times = np.array([0.0, 0.25, 0.9999])
    whole = np.concatenate(
        [clicks_between(times, a, min(a + block, 16_000), 16_000) for a in range(0, 16_000, block)]
    )
    np.testing.assert_array_equal(whole, clicks_between(times, 0, 16_000, 16_000))
    loud = np.flatnonzero(np.abs(whole) > 0.1) / 16_000
    assert loud[0] < 0.001
    assert loud[loud > 0.1][0] == pytest.approx(0.25, abs=0.001)
    assert not whole[4400:15_000].any()


def test_a_mix_has_the_musics_shape_and_does_not_clip(tmp_path: Path) -> None:
    stereo = np.stack([song(2.0), -song(2.0, seed=1)], axis=1)
    soundfile.write(tmp_path / "x.wav", stereo, 44_100)
    write_clicks(tmp_path / "x.wav", np.array([0.5, 1.0]), tmp_path / "y.flac")
    mix, rate = soundfile.read(tmp_path / "y.flac")
    assert (mix.shape, rate) == (stereo.shape, 44_100)
    assert np.abs(mix).max() < 1
    np.testing.assert_allclose(mix[: 22_050 - 1], 0.6 * stereo[: 22_050 - 1], atol=1e-3)
    assert np.abs(mix - 0.6 * stereo)[22_050:22_150].max() > 0.1
    with pytest.raises(UsageError, match=r"clicks are written as \.wav or \.flac"):
        write_clicks(tmp_path / "x.wav", np.zeros(0), tmp_path / "y.mp3")


def test_a_mel_picture_is_the_means_of_the_front_ends_frames(tmp_path: Path) -> None:
    config = MelConfig()
    soundfile.write(tmp_path / "x.wav", song(20.0, 16_000), 16_000, subtype="FLOAT")
    frames = LogMel(config).frames(song(20.0, 16_000)) * config.scale + config.mean
    found, time = mel_picture(tmp_path / "x.wav", config, most=100, start=2.0, stop=18.0)
    expected = frames[63:563].reshape(100, 5, -1).mean(1)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(time, (63 + 5 * np.arange(100) + 2) / config.frame_rate)
