"""Frames beside annotations, and scores that are mir_eval's."""

from __future__ import annotations

import mir_eval
import numpy as np
import pytest

from vit1dx.errors import UsageError
from vit1dx.probe.annotations import Annotation
from vit1dx.probe.baselines import at_times, of_log_mel
from vit1dx.probe.frames import edges_of, events_at, runs
from vit1dx.probe.local import SpanTask, local_task, span_seconds
from vit1dx.probe.music import CHORDS, EXCLUDED, KEYS, chord_class, key_class, key_scores
from vit1dx.probe.scores import Counts, matches

RATE = 31.25
GRID = np.arange(200) / RATE


def _spans(rows: list[tuple[float, float, str]]) -> Annotation:
    start, end, labels = zip(*rows, strict=True)
    return Annotation(np.array(start), np.array(end), labels)


def _events(times: np.ndarray) -> Annotation:
    return Annotation(times, times)


@pytest.mark.parametrize("quality", ["maj", "min", "7", "hdim7", "sus4", "aug", "maj/3", "min7/b3"])
def test_chord_classes_are_those_that_mir_eval_compares(quality: str) -> None:
    chord = f"Eb:{quality}"
    scores = mir_eval.chord.majmin([chord] * len(CHORDS), list(CHORDS))
    assert chord_class(chord) == (EXCLUDED if (scores < 0).any() else int(np.argmax(scores)))


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("C major", "C:major"),
        ("A:min", "A:minor"),
        ("Am", "A:minor"),
        ("f#", "F#:minor"),
        ("Key\tBb:major", "Bb:major"),
        ("Cb", "B:major"),
        ("d minor", "D:minor"),
    ],
)
def test_keys_as_they_are_written(label: str, name: str) -> None:
    assert KEYS[key_class(label)] == name


def test_what_is_no_key() -> None:
    assert key_class("Silence") == key_class("D:dorian") == EXCLUDED
    with pytest.raises(UsageError, match="'H'"):
        key_class("H")


def test_key_scores_are_mir_evals() -> None:
    scores = key_scores()
    for true, estimated in ((0, 0), (0, 7), (0, 21), (0, 12), (0, 5), (21, 0)):
        names = [KEYS[number].replace(":", " ") for number in (true, estimated)]
        assert scores[true, estimated] == mir_eval.key.weighted_score(*names)


def test_frames_have_the_class_of_the_span_that_their_centre_is_in() -> None:
    task = local_task("chords")
    target = task.target(_spans([(0.0, 0.5, "C:maj"), (0.5, 1.0, "A:min"), (2, 3, "X")]), GRID)
    assert target[:40].tolist() == [0] * 16 + [21] * 16 + [EXCLUDED] * 8
    assert task.is_known(target).sum() == 32


def test_events_are_at_the_nearest_frame_and_half_at_its_neighbours() -> None:
    target = events_at(GRID, np.array([0.33, 1.0]), 0.07)
    assert np.flatnonzero(target).tolist() == [9, 10, 11, 30, 31, 32]
    assert target[[10, 31]].tolist() == [1, 1]
    coarse = np.arange(20) * 0.5 + 0.25
    assert np.flatnonzero(events_at(coarse, np.array([1.3]), 0.07)).tolist() == [2]
    shifted = GRID + 100  # an excerpt: times are the track's own
    assert np.flatnonzero(events_at(shifted, np.array([0.3, 100.33]), 0.07)).tolist() == [9, 10, 11]


def test_chord_scores_are_mir_evals_by_duration() -> None:
    task = local_task("chords")
    assert isinstance(task, SpanTask)
    rng = np.random.default_rng(0)
    labels = ["C:maj", "A:min7", "F:maj/3", "N", "G:sus4", "B:hdim7", "X"]
    edges = np.sort(rng.uniform(0.02, 6.2, 12))
    names = [labels[i] for i in rng.integers(len(labels), size=11)]
    annotation = _spans(list(zip(edges[:-1], edges[1:], names, strict=True)))
    found = rng.choice([0, 21, 5, 24], size=20).repeat(10)
    right, seconds = span_seconds(task, annotation, GRID, found)
    places, classes = runs(found)
    bounds = edges_of(GRID)[places]
    bounds[0] = 0.0
    true = np.stack([edges[:-1], edges[1:]], axis=1)
    estimated, est_names = mir_eval.util.adjust_intervals(
        np.stack([bounds[:-1], bounds[1:]], axis=1),
        [CHORDS[number] for number in classes],
        true.min(),
        true.max(),
        "N",
        "N",
    )
    intervals, ref, est = mir_eval.util.merge_labeled_intervals(true, names, estimated, est_names)
    compared = mir_eval.chord.majmin(ref, est)
    durations = mir_eval.util.intervals_to_durations(intervals)
    assert right / seconds == pytest.approx(mir_eval.chord.weighted_accuracy(compared, durations))


def test_matches_are_as_many_as_mir_evals_bipartite_ones() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        reference, estimated = (np.sort(rng.uniform(0, 5, rng.integers(1, 60))) for _ in "ab")
        expected = len(mir_eval.util.match_events(reference, estimated, 0.05))
        assert matches(reference, estimated, 0.05) == expected
        counts = Counts()
        counts.add(reference, estimated, 0.07)
        assert counts.f_measure == pytest.approx(mir_eval.beat.f_measure(reference, estimated))


def test_events_are_found_where_a_probe_peaks() -> None:
    task = local_task("beats")
    truth = np.arange(0.5, 6.0, 0.5)
    logits = np.full((200, 1), -4.0)
    logits[np.round(truth * RATE).astype(int)] = 4.0
    tally = task.tally(1)
    tally.add(_events(truth + 100), GRID + 100, logits)
    scores = tally.scores(tally.choice)
    assert scores["F"] == scores["F, all events"] == scores["frame AP"] == 1
    late = task.tally(1)
    late.add(_events(truth + 0.2), GRID, logits)
    assert late.scores(late.choice)["F"] == 0


def test_baselines_stand_where_tokens_do() -> None:
    frames = np.arange(100, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(
        at_times(frames, RATE, np.arange(50, 60) / RATE)[:, 0], np.arange(50, 60)
    )
    bins = 0.5 + np.arange(3)  # of one second each
    np.testing.assert_allclose(at_times(frames, RATE, bins)[:, 0], [15.5, 47.0, 78.0])


def test_mfcc_is_the_dct_of_a_frame() -> None:
    mel = np.random.default_rng(0).standard_normal((30, 128)).astype(np.float32)
    order, band = np.mgrid[:20, :128]
    cosines = np.sqrt(2 / 128) * np.cos(np.pi * order * (band + 0.5) / 128)
    cosines[0] /= np.sqrt(2)
    np.testing.assert_allclose(of_log_mel("MFCC", mel), mel @ cosines.T, atol=1e-4)
