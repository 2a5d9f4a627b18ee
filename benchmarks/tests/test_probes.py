"""The probes' own arithmetic: against oracles, and on features whose answer is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from benchmarks.probes import albums, recordings, similarity, systems
from benchmarks.probes.__main__ import app
from benchmarks.probes.collection import Render, of_sources, renders
from benchmarks.probes.curves import head_curves
from benchmarks.probes.earlier import KINDS, Disagreement, with_baselines
from benchmarks.probes.onsets import Onsets
from benchmarks.probes.truth import Truth
from vit1dx.analysis.peaks import peaks
from vit1dx.analysis.similarity import self_similarity
from vit1dx.config import Config
from vit1dx.model.vit import ViT1D, save
from vit1dx.probe.music import EXCLUDED
from vit1dx.tokens import MemoryTrack
from weights.recipe import steer
from weights.recipe.corpus.__main__ import app as corpus_app
from weights.recipe.tests.needs import needs_data, needs_synth

RATE = 31.25


def label(**more: object) -> dict[str, object]:
    empty: dict[str, object] = {
        "chords": None,
        "keys": None,
        "sections": None,
        "beats": None,
        "instruments": [],
    }
    return {**empty, "onsets": [], "voices": [], **more}


def test_frames_of_spans_and_notes() -> None:
    notes = {"onset": [0.1, 0.0], "offset": [0.2, 1.0], "pitch": [60, 36], "voice": [0, 1]}
    truth = Truth(
        label(
            chords=[[0.0, 0.5, "C:maj"], [0.5, 1.0, "A:min"]],
            notes=notes,
            voices=[{"drums": False}, {"drums": True}],
        ),
        RATE,
    )
    assert truth.chords(40).tolist() == [0] * 16 + [21] * 16 + [EXCLUDED] * 8
    roll = truth.notes(40)
    assert np.argwhere(roll).tolist() == [[frame, 60 - 21] for frame in (4, 5, 6)]  # no drums


def test_peaks_are_placed_between_frames() -> None:
    times = np.array([1.0, 2.013, 3.3])
    grid = np.arange(160) / RATE
    activation = np.exp(-((grid[:, None] - times) ** 2) / (2 * 0.03**2)).sum(1)
    np.testing.assert_allclose(peaks(activation, 0.5, RATE), times, atol=0.004)
    np.testing.assert_allclose(peaks(activation, 0.5, RATE, lag=1), times - 1 / RATE, atol=0.004)


def test_context_is_the_means_before_and_after() -> None:
    frames = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    found = systems.with_context(frames, 0.5)
    half = 8
    np.testing.assert_allclose(found[20, :3], frames[20])
    np.testing.assert_allclose(found[20, 3:6], frames[20 - half : 20].mean(0), rtol=1e-4)
    np.testing.assert_allclose(found[20, 6:], frames[21 : 21 + half].mean(0), rtol=1e-4)


def test_other_rates_are_averaged_onto_the_grid() -> None:
    rate = 22_050 / 256
    ramp = (np.arange(200) / rate)[:, None]  # each value is the time that it is centred on
    found = systems.resampled(ramp, rate, 32_000)
    assert found.shape == (63, 1)
    np.testing.assert_allclose(found[1:-1, 0], np.arange(1, 62) / RATE, atol=2e-3)


def test_basic_pitch_keeps_time(tmp_path: Path) -> None:
    """Its windows are no whole number of frames apart: joined carelessly, they drift."""
    pytest.importorskip("basic_pitch", reason="basic-pitch is not installed")
    time = np.arange(40 * 16_000) / 16_000
    since = time % 1.0
    tone = 0.3 * np.sin(2 * np.pi * 440 * since) * np.exp(-8 * since)
    soundfile.write(tmp_path / "tone.wav", tone, 16_000)
    frames = systems.basic_pitch()(tmp_path / "tone.wav").frames["basic-pitch"]
    rise = np.diff(np.sort(frames, axis=1)[:, -12:].sum(1))
    for second in (5, 20, 37):
        near = round(second * RATE) - 10
        assert abs(near + 1 + int(rise[near : near + 20].argmax()) - second * RATE) < 2


def synthetic_attention(onsets: list[int], window: int, n: int) -> MemoryTrack:
    """One layer and two heads; frames of head 1 attend to the onsets."""
    starts = [*range(0, n - window, window), n - window]
    maps = np.full((1, len(starts), 2, window + 1, window + 1), 1.0)
    for i, start in enumerate(starts):
        for onset in onsets:
            if start <= onset < start + window:
                maps[0, i, 1, 1:, 1 + onset - start] = 20
    maps /= maps.sum(-1, keepdims=True)
    tokens = np.zeros((1, n, 4), np.float32)
    return MemoryTrack(
        layers=(1,),
        arrays={
            "class_token": tokens[:, : len(starts)],
            "sequence_tokens": tokens,
            "mean_token": tokens[:, 0],
            "time": np.arange(n) / RATE,
            "window_start": np.array(starts) / RATE,
            "attention": maps,
        },
        duration=n / RATE,
    )


def test_onsets_are_found_in_the_head_that_attends_to_them() -> None:
    onsets = [12, 40, 61, 90, 118, 150, 171, 188]
    curves = head_curves(synthetic_attention(onsets, 62, 200))
    found = Onsets([curves], [np.array(onsets) / RATE])
    f, (name, *_) = max(found.tuned(curve) for curve in curves)
    assert name == "layer 1, head 1, received"
    assert f == 1


def test_novelty_and_change_peak_where_frames_turn_from_one_side_to_the_other() -> None:
    track = synthetic_attention([], 62, 62)
    maps = np.ones((1, 1, 2, 63, 63))
    maps[:, :, 1, 1:31, 1:31] = maps[:, :, 1, 31:, 31:] = 9
    maps /= maps.sum(-1, keepdims=True)
    curves = head_curves(replace(track, arrays={**track.arrays, "attention": maps}))
    assert int(curves["layer 1, head 1, novelty"].argmax()) == 30
    assert int(curves["layer 1, head 1, log change"].argmax()) == 30
    np.testing.assert_allclose(curves["layer 1, head 0, novelty"], 0, atol=1e-6)


def test_self_similarity_meets_the_truth_that_it_was_made_of() -> None:
    classes = np.repeat([0, 1, 2, 0, 1, 2], 40)
    features = np.eye(3)[classes] + 0.01 * np.random.default_rng(0).standard_normal((240, 3))
    truth = (classes[:, None] == classes).astype(float)
    time = np.arange(240) * 0.256
    same = similarity.correlation(self_similarity(features), truth, time, 4.0)
    noise = np.random.default_rng(1).standard_normal((240, 3))
    other = similarity.correlation(self_similarity(noise), truth, time, 4.0)
    assert same == pytest.approx(1, abs=0.01)
    assert other == pytest.approx(0, abs=0.1)
    assert similarity.correlation(truth, np.ones_like(truth), time, 4.0) is None


def test_pairs_are_found_again_where_they_are_alike() -> None:
    rng = np.random.default_rng(0)
    pairs = np.repeat(rng.standard_normal((20, 8)), 2, axis=0)
    assert recordings.found_again(pairs + 0.01 * rng.standard_normal(pairs.shape)) == 1
    assert recordings.found_again(rng.standard_normal((40, 8))) < 0.3


@pytest.mark.slow
def test_albums_are_told_apart_where_vectors_tell_them_apart() -> None:
    rng, n = np.random.default_rng(0), 60
    number = np.arange(n) % 4
    names = [f"album {i}" for i in number]
    told = np.repeat(np.eye(4)[number] + 0.1 * rng.standard_normal((n, 4)), 2, axis=0)
    found = albums.scored(told, names, names, seeds=2)
    assert found["album"] == 1
    assert found["artist"] == pytest.approx(1)
    nothing = albums.scored(rng.standard_normal((2 * n, 4)), names, names, seeds=2)
    assert nothing["album"] < 0.5
    assert nothing["other half"] < 0.2


@pytest.mark.parametrize("alteration", ["+3 dB", "noise at -30 dB", "mp3 at 64 kbit/s"])
def test_altered_audio_keeps_its_time_and_most_of_its_sound(
    alteration: str, tmp_path: Path
) -> None:
    time = np.arange(3 * 44_100) / 44_100
    tone = 0.3 * np.sin(2 * np.pi * 440 * time * (1 + 0.1 * time))
    path = tmp_path / "a" / "tone.wav"
    path.parent.mkdir()
    soundfile.write(path, tone, 44_100, subtype="FLOAT")
    changed, rate = soundfile.read(recordings.altered(path, alteration, tmp_path))
    assert rate == 44_100
    # The lag that fits best is within half a frame of the 16 kHz grid; nothing was cut.
    middle = slice(44_100, 2 * 44_100)
    lags = range(-700, 701, 2)
    fits = [np.dot(changed[44_100 + lag : 2 * 44_100 + lag], tone[middle]) for lag in lags]
    assert abs(lags[int(np.argmax(fits))]) < 1.4 * 256
    assert len(changed) >= len(tone)


def test_renders_are_of_one_split_and_turn_through_the_renditions(tmp_path: Path) -> None:
    rows = [
        {"audio": f"{song}-{i}.flac", "song": song, "source": "composed", "split": split}
        for song, split in [*((f"s{n}", "train") for n in range(30)), ("t", "test")]
        for i in range(3)
    ]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first = renders(tmp_path, "train", 1)
    assert len({render.song for render in first}) == len(first) == 30
    assert {render.audio.stem[-1] for render in first} == {"0", "1", "2"}
    assert [r.song for r in renders(tmp_path, "test", 2)] == ["t", "t"]
    two = [Render(tmp_path, source, str(i)) for i, source in enumerate("abab")]
    assert [render.song for render in of_sources(two, {"a": 1, "b": 2})] == ["0", "1", "3"]


def measured(chords: float, **systems: float) -> dict[str, dict[str, object]]:
    scores = {"log-mel": chords, **systems}
    found: dict[str, dict[str, object]] = {kind: {} for kind in KINDS}
    found["local"] = {
        name: {"test": {"value": value, "spread": value}} for name, value in scores.items()
    }
    return found


def test_baselines_are_taken_from_a_measurement_of_the_same_renders() -> None:
    earlier = measured(0.7, chroma=0.6, vit=0.1)
    found = with_baselines(measured(0.705, vit=0.9), earlier)["local"]
    values = {name: scores["test"]["value"] for name, scores in found.items()}
    assert values == {"log-mel": 0.705, "chroma": 0.6, "vit": 0.9}
    with pytest.raises(Disagreement, match=r"local, test, value: 0\.75 now, 0\.7 then"):
        with_baselines(measured(0.75), earlier)


@pytest.mark.long
@needs_data
@needs_synth
def test_a_measurement_from_songs_to_tables(tmp_path: Path) -> None:
    weights = tmp_path / "small.safetensors"
    config = replace(Config(), model=replace(Config().model, depth=1))
    save(ViT1D(config), weights, "small", trained=False)
    for out, split, font in (("corpus", "train", "TimGM6mb"), ("test", "test", "MuseScore")):
        more = ["--soundfont", font if split == "train" else "TimGM6mb", "--split", split]
        sizes = ["--source", "composed", "--composed", "80", "--seconds", "10", "--limit", "8"]
        result = CliRunner().invoke(corpus_app, [str(tmp_path / out), *sizes, *more])
        assert result.exit_code == 0, result.output
    arguments = ["--corpus", tmp_path / "corpus", "--test", tmp_path / "test", "-o", tmp_path / "o"]
    none = ["--data", tmp_path, "--seeds", "1", "--share", "0.1"]
    result = CliRunner().invoke(app, list(map(str, [weights, *arguments, *none])))
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "o" / "probes.json").read_text())
    for context in ("frame", "0.5 s"):
        scores = found["local"]["ViT-1D"]["layer 1"][context]["test"]
        assert 0 < scores["chords"]["value"] <= 1
    table = (tmp_path / "o" / "probes.md").read_text()
    assert "| spectral flux |" in table
    # What has not changed is not measured again.
    again = CliRunner().invoke(app, list(map(str, [weights, *arguments, *none])))
    assert again.exit_code == 0
    assert json.loads((tmp_path / "o" / "probes.json").read_text()) == found
    # Steering needs songs held back from the training ones.
    manifest = tmp_path / "corpus" / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"split": "train"', '"split": "valid"', 3))
    steered = steer.scores(tmp_path / "corpus", steer.system_of(str(weights), (1,), tmp_path))
    assert "layer 1" in steered
    assert all(0 < row["chords"] <= 1 for row in steered.values())
