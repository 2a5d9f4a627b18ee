"""Attention over time: by hand, joined over windows, in both forms."""

from __future__ import annotations

import numpy as np
import pytest

from vit1dx._types import Array
from vit1dx.analysis.attention import (
    READINGS,
    attention_curve,
    change,
    class_row,
    curves,
    form,
    head_distance,
    log_change,
    mean_distance,
    received,
    rollout,
    rollout_curve,
    window_cuts,
)
from vit1dx.errors import UsageError

from .tracks import RATE, track

RNG = np.random.default_rng(0)


def maps(*shape: int) -> Array:
    found = RNG.random(shape)
    return found / found.sum(-1, keepdims=True)


def test_readings_by_hand() -> None:
    one = np.array([[0.1, 0.6, 0.3], [0.2, 0.4, 0.4], [0.0, 0.0, 1.0]])[None, None]
    np.testing.assert_allclose(class_row(one)[0, 0], [0.6, 0.3])
    np.testing.assert_allclose(received(one)[0, 0], [0.2, 0.7])
    np.testing.assert_allclose(change(one)[0, 0], [1 - np.sqrt(0.5)] * 2)
    logs = np.log([1e-8 / 0.4, 1 / 0.4])
    np.testing.assert_allclose(log_change(one)[0, 0], [logs.std()] * 2, rtol=1e-5)


def test_class_rows_alone_are_those_of_the_whole_maps() -> None:
    whole = maps(2, 3, 9, 9)
    np.testing.assert_array_equal(class_row(whole), class_row(whole[:, :, 0]))


def test_a_frame_is_taken_from_where_it_lies_deepest() -> None:
    # Windows of 10 with an overlap of 2 on each side, the last one moved back from 18 to 15.
    first = np.array([0, 6, 12, 15])
    cuts = window_cuts(first, 10, 25)
    assert cuts.tolist() == [0, 8, 14, 18, 25]  # but for the last, what windows keep of tokens
    values = np.arange(4)[:, None, None] * 100.0 + np.arange(11)
    found = curves(values, "class", first, 25)[0]
    owner = np.repeat(np.arange(4), np.diff(cuts))
    np.testing.assert_array_equal(found, owner * 100 + np.arange(25) - first[owner] + 1)


@pytest.mark.parametrize("starts", [(0, 62, 124, 138), (0, 42, 84, 126, 138), (0,)])
@pytest.mark.parametrize("reading", READINGS)
def test_a_track_in_pieces_is_the_whole(
    starts: tuple[int, ...], reading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit1dx.analysis.track.WINDOWS_AT_ONCE", 2)
    n = 200 if len(starts) > 1 else 62
    whole = track(n, starts)
    expected = curves(whole.read("attention", layer=2), reading, np.array(starts), n)
    np.testing.assert_allclose(attention_curve(whole, 2, reading), expected, rtol=1e-5)
    part = attention_curve(whole, 2, reading, start=1.0, stop=1.9)
    frames = (whole.time >= 1.0) & (whole.time < 1.9)
    np.testing.assert_allclose(part, expected[:, frames], rtol=1e-5)


def test_rollout_rows_sum_to_one_and_even_attention_mixes_half() -> None:
    found = rollout(maps(4, 2, 3, 7, 7).astype(np.float32))
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    still = np.broadcast_to(np.eye(5), (3, 1, 2, 5, 5))
    np.testing.assert_allclose(rollout(still)[-1, 0], np.eye(5))
    even = np.full((1, 1, 2, 4, 4), 0.25)
    np.testing.assert_allclose(rollout(even)[0, 0], 0.5 * np.eye(4) + 0.125)


def test_rollout_multiplies_later_blocks_from_the_left() -> None:
    one = maps(2, 1, 3, 6, 6)
    first, second = (0.5 * m.mean(0) + 0.5 * np.eye(6) for m in one[:, 0])
    np.testing.assert_allclose(rollout(one)[1, 0], second @ first, rtol=1e-5)


def test_rollout_of_a_track_is_on_its_frames() -> None:
    whole = track()
    found = rollout_curve(whole)
    assert found.shape == (2, 200)
    of_maps = rollout(whole.read("attention"))
    np.testing.assert_allclose(found[:, :62], of_maps[:, 0, 0, 1:], rtol=1e-5)


def test_distance_by_hand() -> None:
    rows = np.zeros((1, 2, 4, 4))
    rows[0, 0, 1:, 1:] = np.eye(3)  # a head that looks at itself
    rows[0, 1, 1:, 3] = 0.5  # one that looks at the last frame, and at the class token
    rows[0, 1, 1:, 0] = 0.5
    np.testing.assert_allclose(mean_distance(rows, 10.0), [0, (0.2 + 0.1 + 0) / 3])
    assert head_distance(track(), 1).shape == (3,)


@pytest.mark.parametrize("reading", [name for name in READINGS if name != "class"])
def test_class_rows_say_what_they_lack(reading: str) -> None:
    rows = track(form="class")
    with pytest.raises(UsageError, match=r"needs all rows of the attention maps.*--attention full"):
        attention_curve(rows, 1, reading)
    assert attention_curve(rows, 1, "class").shape == (3, 200)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="extract with --attention class or full"):
        attention_curve(track(form="none"), 1, "class")
    with pytest.raises(UsageError, match="no layer 7 here; layers 1, 2 were kept"):
        attention_curve(track(), 7, "class")
    with pytest.raises(UsageError, match="reading 'colour'; choose from class, received"):
        attention_curve(track(), 1, "colour")
    with pytest.raises(UsageError, match="rollout needs all layers from 1 on, not 1, 3"):
        rollout_curve(track(layers=(1, 3)))
    with pytest.raises(UsageError, match="rollout needs all rows"):
        rollout_curve(track(form="class"))


@pytest.mark.parametrize("kept", ["none", "class", "full"])
def test_the_form_of_a_tracks_attention(kept: str) -> None:
    assert form(track(form=kept)) == kept
    assert form(track(layers=(0,), form=kept)) == "none"


def test_half_precision_gives_the_same_within_it() -> None:
    def curve(dtype: str) -> Array:
        return attention_curve(track(dtype=dtype), 1, "log change")

    np.testing.assert_allclose(curve("float16"), curve("float32"), rtol=2e-2)


def test_windows_with_overlap_take_the_same_frames_as_their_tokens() -> None:
    cuts = window_cuts(np.array([0, 42, 84, 126]), 62, 188)
    assert cuts.tolist() == [0, 52, 94, 136, 188]  # an overlap of 10 on each side
    assert cuts[1] / RATE == pytest.approx(1.664)
