"""The probes' own arithmetic: against oracles, and on features whose answer is known."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from benchmarks.probes import recordings, similarity
from benchmarks.probes.__main__ import app
from benchmarks.probes.collection import Render, of_sources, renders
from benchmarks.probes.guide import guide
from benchmarks.probes.labels import tempo_class, write_labels
from benchmarks.probes.onsets import HEIGHTS, Heard, best, head_curves, tuned
from benchmarks.probes.tasks import Kept, untrained
from vit1dx.analysis.peaks import peaks, pick
from vit1dx.analysis.similarity import self_similarity
from vit1dx.config import Config, WindowConfig
from vit1dx.model.vit import ViT1D, save
from vit1dx.model.weights import read_info
from vit1dx.probe.annotations import read_file
from vit1dx.tokens import MemoryTrack
from weights.recipe import steer
from weights.recipe.corpus.__main__ import app as corpus_app
from weights.recipe.corpus.labels import FORMAT, FORMAT_VERSION
from weights.recipe.tests.needs import needs_data, needs_synth

RATE = 31.25
TRUTH: dict[str, Any] = {
    "format": FORMAT,
    "format_version": FORMAT_VERSION,
    "style": "waltz",
    "key": "F:maj",
    "tempo": 94.1,
    "chords": [[0.0, 0.5, "C:maj"], [0.5, 1.0, "A:min"]],
    "keys": None,
    "beats": [0.1, 0.6],
    "downbeats": [0.6],
    "onsets": [0.0, 0.1],
    "instruments": [["piano", 0.0, 1.0], ["drums", 0.0, 0.5], ["piano", 2.0, 3.0]],
    "voices": [{"drums": False}, {"drums": True}],
    "notes": {"onset": [0.1, 0.0], "offset": [0.2, 1.0], "pitch": [60, 36], "voice": [0, 1]},
}


def test_labels_are_written_as_the_command_reads_them(tmp_path: Path) -> None:
    audio = tmp_path / "s-g0-r00.flac"
    audio.with_name("s-g0-r00.json.gz").write_bytes(gzip.compress(json.dumps(TRUTH).encode()))
    local, other = Render(audio, "composed", "s", "train"), Render(audio, "pop909", "t", "test")
    (tmp_path / "labels" / "chords" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "chords" / "train" / "gone.lab").touch()  # of an earlier share
    table = write_labels([local], [local, other], tmp_path / "labels")
    written = {str(p.relative_to(table.parent)) for p in table.parent.rglob("*") if p.is_file()}
    files = {
        "chords": "lab", "beats": "beats", "downbeats": "beats", "onsets": "onsets",
        "notes": "notes",
    }  # fmt: skip
    expected = {f"{task}/train/s-g0-r00.{ending}" for task, ending in files.items()}
    assert written == {*expected, "tracks.csv"}

    def read(task: str) -> list[tuple[Any, ...]]:
        path = table.parent / task / f"{local.id}.{files[task]}"
        found = read_file(path, task)
        labels = found.labels or [""] * len(found.start)
        return list(zip(found.start.tolist(), found.end.tolist(), labels, strict=True))

    assert read("chords") == [tuple(span) for span in TRUTH["chords"]]
    assert [time for time, *_ in read("beats")] == TRUTH["beats"]
    assert [time for time, *_ in read("downbeats")] == TRUTH["downbeats"]
    assert read("notes") == [(0.1, 0.2, "60")]  # no drums
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["track"] for row in rows] == ["train/s-g0-r00", "test/s-g0-r00"]
    assert rows[0]["instruments"] == "drums|piano"
    assert [row["style"] for row in rows] == ["waltz", ""]  # others' styles are not known
    assert (rows[0]["tempo"], rows[0]["key"]) == ("over 80", "F:maj")


def test_classes_of_tempo() -> None:
    found = [tempo_class(tempo) for tempo in (None, 60, 80, 81, 100.1, 200)]
    assert found == ["", "to 80", "to 80", "over 80", "over 100", "over 140"]


def test_peaks_are_placed_between_frames() -> None:
    times = np.array([1.0, 2.013, 3.3])
    grid = np.arange(160) / RATE
    activation = np.exp(-((grid[:, None] - times) ** 2) / (2 * 0.03**2)).sum(1)
    np.testing.assert_allclose(peaks(activation, 0.5, RATE), times, atol=0.004)
    np.testing.assert_allclose(peaks(activation, 0.5, RATE, lag=1), times - 1 / RATE, atol=0.004)


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


def _heard(curves: dict[str, np.ndarray], onsets: list[int]) -> list[Heard]:
    picked = {name: pick(curve, HEIGHTS[0], RATE) for name, curve in curves.items()}
    return [(picked, np.array(onsets) / RATE)]


def test_onsets_are_found_in_the_head_that_attends_to_them() -> None:
    onsets = [12, 40, 61, 90, 118, 150, 171, 188]
    curves = head_curves(synthetic_attention(onsets, 62, 200))
    songs = _heard(curves, onsets)
    f, name, *_ = max(tuned(songs, curve) for curve in curves)
    assert name == "layer 1, head 1, received"
    assert f == 1
    before = [(peaks, truth - 2.5 / RATE) for peaks, truth in songs]  # the curve comes late
    f, _, _, lag = max(tuned(before, curve) for curve in curves)
    assert f == 1
    assert lag >= 1
    rows = [curve for curve in curves if curve.endswith(", class")]
    assert best(songs, songs, rows)["curve"] in ("-layer 1, head 1, class", *rows)


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
    two = [Render(tmp_path, source, str(i), "train") for i, source in enumerate("abab")]
    assert [render.song for render in of_sources(two, {"a": 1, "b": 2})] == ["0", "1", "3"]


def test_what_was_found_of_the_same_is_not_measured_again(tmp_path: Path) -> None:
    jobs = iter(range(9))
    kept = Kept(tmp_path, {"seeds": 1, "layers": (1, 2)})
    assert kept.once(["chords", "it"], lambda: next(jobs)) == 0
    assert kept.once(["chords", "it"], lambda: next(jobs)) == 0
    assert kept.once(["beats", "it"], lambda: next(jobs)) == 1
    other = Kept(tmp_path, {"seeds": 2, "layers": (1, 2)})
    assert other.once(["chords", "it"], lambda: next(jobs)) == 2


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
    real = tmp_path / "real"
    _recordings(real)
    arguments = ["--corpus", tmp_path / "corpus", "--test", tmp_path / "test", "-o", tmp_path / "o"]
    other = ["--data", tmp_path, "--albums", real, "--seeds", "1", "--share", "0.1"]
    result = CliRunner().invoke(app, list(map(str, [weights, *arguments, *other])))
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "o" / "probes.json").read_text())
    for task in ("chords", "notes"):
        for system in ("ViT-1D", "untrained"):
            line = found["local"][task][system]["chosen"]
            assert 0 < next(iter(line["scores"].values()))["mean"] <= 1
    table = (tmp_path / "o" / "probes.md").read_text()
    for row in ("| log-mel | spectral flux |", "| layer 1, class token's row |", "| MFCC |"):
        assert row in table
    assert table in result.output
    assert {row["task"] for row in guide(found)["tasks"]} >= {"chords", "notes", "key"}
    # What has not changed is not measured again.
    again = CliRunner().invoke(app, list(map(str, [weights, *arguments, *other])))
    assert again.exit_code == 0
    assert json.loads((tmp_path / "o" / "probes.json").read_text()) == found
    # Steering needs songs held back from the training ones.
    manifest = tmp_path / "corpus" / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"split": "train"', '"split": "valid"', 3))
    steered = steer.scores(tmp_path / "corpus", weights, (1,))
    assert 0 < steered["layer 1"]["chords"] <= 1
    assert set(steer.halves(real, "untrained", (1,))) == {"layer 1", "log-mel"}


def _recordings(folder: Path) -> None:
    """Twelve recordings of two albums, as `weights.recipe.corpus.real` lists them."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        pitch = 200 * (1 + number % 2) * rng.uniform(0.9, 1.1)
        tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(6 * 16_000) / 16_000)
        soundfile.write(folder / f"{number}.wav", tone, 16_000)
        made = {"album": f"album {number % 2}", "artist": f"artist {number % 3}"}
        rows.append({"audio": f"{number}.wav", **made})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_untrained_network_has_the_windows_that_are_asked_for(tmp_path: Path) -> None:
    """Of a folder that is used again too, where it stays as it is if it will do."""
    for frames in (125, 250, 250):
        config = Config(window=WindowConfig(frames))
        path = untrained(tmp_path, config)
        before = path.read_bytes()
        assert read_info(path).config == config
        assert untrained(tmp_path, config).read_bytes() == before
