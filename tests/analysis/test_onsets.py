"""Peaks and onsets: against scipy, on curves whose peaks are known, and from maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d

import vit1dx.analysis.onsets
from vit1dx.analysis.onsets import OnsetCurve, best_curve, onset_strength, onsets
from vit1dx.analysis.peaks import height, local_maxima, peaks, pick
from vit1dx.errors import UsageError
from vit1dx.model.guide import bundled_digest, onset_curves
from vit1dx.model.weights import BUNDLED, bundled, read_info
from vit1dx.tokens import MemoryTrack

from .tracks import RATE, track


def test_height_is_over_a_moving_average_in_deviations() -> None:
    curve = np.random.default_rng(0).standard_normal(300)
    average = uniform_filter1d(curve, 33, mode="nearest")
    np.testing.assert_allclose(height(curve, RATE), (curve - average) / curve.std(), atol=1e-9)


def test_maxima_top_their_surroundings_and_equals_count_once() -> None:
    curve = np.array([9, 0, 1, 3, 3, 1, 0, 5, 0, 4, 0, 0, 0, 2, 0, 7.0])
    assert local_maxima(curve, 2).tolist() == [3, 7]
    assert local_maxima(curve, 1).tolist() == [3, 7, 9, 13]
    assert local_maxima(np.ones(10), 2).tolist() == []


def test_no_two_peaks_are_closer_than_the_gap() -> None:
    curve = np.random.default_rng(1).integers(0, 4, 500).astype(float)
    assert np.diff(local_maxima(curve, 2)).min() > 2


def test_peaks_need_their_height_and_come_with_it() -> None:
    curve = np.zeros(200)
    curve[[50, 100, 150]] = 1, 4, 8
    times, heights = pick(curve, 3.0, RATE)
    np.testing.assert_allclose(times, [100 / RATE, 150 / RATE])
    np.testing.assert_allclose(heights, height(curve, RATE)[[100, 150]])
    np.testing.assert_allclose(peaks(curve, 3.0, RATE, lag=2), [98 / RATE, 148 / RATE])


def test_a_flat_curve_has_no_peaks() -> None:
    assert len(peaks(np.full(100, 0.3, np.float32), 0.0, RATE)) == 0


def test_onsets_are_where_a_heads_attention_turns() -> None:
    whole = track(n=200, starts=(0, 62, 124, 138), layers=(1,))
    at = [20, 45, 80, 110, 150, 180]
    maps = np.full_like(whole.attention, 1 / 63)
    for window, start in enumerate((0, 62, 124, 138)):
        for frame in range(62):
            side = np.searchsorted(at, start + frame, side="right") % 2
            maps[0, window, 0, 1 + frame, 1 + side :: 2] *= 5
    arrays = {**whole.arrays, "attention": maps / maps.sum(-1, keepdims=True)}
    whole = replace(whole, arrays=arrays)
    times, strengths = onsets(whole, OnsetCurve(1, 0, "log change", least=0.5, lag=0))
    np.testing.assert_allclose(times * RATE, at, atol=0.5)
    assert (strengths > 0.5).all()


@pytest.mark.parametrize("name", BUNDLED)
def test_the_best_curve_is_the_best_measured_of_those_kept(name: str) -> None:
    sha256 = read_info(bundled(".onnx", name)).sha256
    curves = [OnsetCurve(**curve) for curve in onset_curves(sha256)]
    full, rows = (
        [c for c in curves if (c.reading == "class") == of_rows] for of_rows in (False, True)
    )
    every = tuple(range(1, 13))
    assert best_curve(_of(sha256, every)) == curves[0]
    fewer = tuple(layer for layer in every if layer != full[0].layer)
    assert best_curve(_of(sha256, fewer)) == full[1]
    assert best_curve(_of(sha256, every, "class")) == rows[0]
    assert best_curve(_of(sha256, every), layer=2) == next(c for c in curves if c.layer == 2)
    assert best_curve(_of(sha256, every), head=2, reading="received").reading == "received"


def _of(sha256: str, layers: tuple[int, ...], form: str = "full") -> MemoryTrack:
    return replace(track(layers=layers, form=form), model=(sha256,))


def test_layers_without_a_curve_are_refused_with_those_that_have_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    curves = [{"layer": layer, "head": 0, "reading": "class"} for layer in (3, 1)]
    monkeypatch.setattr(vit1dx.analysis.onsets, "onset_curves", lambda *_: curves)
    message = "class rows of layers 4, 8 show no onsets; extract layer 1 or 3, or --attention full"
    with pytest.raises(UsageError, match=message):
        best_curve(track(layers=(4, 8), form="class"))


def test_tracks_of_other_weights_are_read_as_those_of_the_bundled_ones() -> None:
    every = tuple(range(1, 13))
    assert best_curve(_of("0" * 64, every)) == best_curve(_of(bundled_digest(), every))


def test_tracks_without_maps_have_no_curve() -> None:
    with pytest.raises(UsageError, match="no attention maps here"):
        best_curve(track(form="none"))


def test_a_head_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no head 3; heads 0 to 2 are there"):
        onset_strength(track(), OnsetCurve(1, 3, "log change"))


def test_a_curve_that_falls_is_turned() -> None:
    rising = onset_strength(track(), OnsetCurve(1, 0, "class"))
    falling = onset_strength(track(), OnsetCurve(1, 0, "class", falls=True))
    np.testing.assert_array_equal(falling, -rising)
