"""Tokens averaged over bins of time, against a computation over the whole track."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

import vit1dx
from vit1dx._types import Array
from vit1dx.pooling import Bins, exact

from .conftest import RunCli
from .synth import song

RATE = Fraction(125, 4)


def _whole(tokens: Array, seconds: str, origin: int = 0) -> tuple[Array, Array]:
    """Bins by the definition, frame by frame."""
    length = Fraction(seconds)
    start = origin / RATE
    places = [
        int((frame / RATE - start) // length) for frame in range(origin, origin + tokens.shape[1])
    ]
    means = [
        np.mean([tokens[:, i] for i, p in enumerate(places) if p == k], axis=0, dtype=np.float64)
        for k in range(max(places) + 1)
    ]
    end = tokens.shape[1] / RATE
    centres = [
        float(start + (k * length + min((k + 1) * length, end)) / 2) for k in range(len(means))
    ]
    return np.stack(means, axis=1), np.array(centres)


@pytest.mark.parametrize("seconds", ["0.032", "0.05", "0.1", "1", "3.2", "4", "1000"])
@pytest.mark.parametrize("blocks", [[300], [1] * 300, [125, 125, 50], [31, 32, 237]])
@pytest.mark.parametrize("origin", [0, 77])
def test_bins_are_those_of_the_whole_however_tokens_come(
    seconds: str, blocks: list[int], origin: int
) -> None:
    tokens = np.random.default_rng(1).standard_normal((2, 300, 3)).astype(np.float32)
    bins = Bins(float(seconds), RATE, origin / RATE)
    found, first = [], 0
    for size in blocks:
        found.append(bins.add(tokens[:, first : first + size], origin + first))
        first += size
    found.append(bins.end())
    means, times = _whole(tokens, seconds, origin)
    np.testing.assert_allclose(np.concatenate([f for f, _ in found], axis=1), means, atol=1e-6)
    np.testing.assert_array_equal(np.concatenate([t for _, t in found]), times)


def test_a_bin_shorter_than_a_frame_is_refused() -> None:
    with pytest.raises(vit1dx.UsageError, match=r"pool 0.03 s; one frame, 0.032 s, is the least"):
        Bins(0.03, RATE)
    assert exact(0.1) * 3 == Fraction(3, 10)


@pytest.mark.parametrize("pool", [0, -1, float("nan"), float("inf")])
def test_a_length_that_is_none_is_refused(pool: float) -> None:
    with pytest.raises(vit1dx.UsageError, match="a number above 0 is accepted"):
        vit1dx.Extractor("last", pool=pool)


def test_only_what_is_kept_can_be_pooled() -> None:
    with pytest.raises(vit1dx.UsageError, match="add sequence to the tokens"):
        vit1dx.Extractor("last", tokens="mean,class", pool=1)


def test_an_extractor_pools_sequence_tokens_alone() -> None:
    samples = song(11.3, 16000)
    options = {"attention": "class", "overlap": 0.5}
    whole = vit1dx.Extractor([4, 8], **options)(samples, 16000)  # type: ignore[arg-type]
    pooled = vit1dx.Extractor([4, 8], pool=1.0, **options)(samples, 16000)  # type: ignore[arg-type]
    means, times = _whole(whole.sequence_tokens, "1")
    np.testing.assert_allclose(pooled.sequence_tokens, means, atol=1e-5)
    np.testing.assert_array_equal(pooled.time, times)
    for name in ("class_token", "mean_token", "window_start", "attention"):
        np.testing.assert_array_equal(getattr(pooled, name), getattr(whole, name))
    assert pooled.read("sequence_tokens", layer=8, start=2.0, stop=4.0).shape == (2, 192)


def test_the_file_says_that_it_is_pooled_and_over_what(
    cli: RunCli, songs: Path, tmp_path: Path
) -> None:
    options = ("extract", songs, "--layers", "4,8", "-o", "f.h5")
    done = cli(*options, "--pool", "0.5", "--dtype", "float16")
    assert done.returncode == 0, done.stderr
    assert cli("verify", "f.h5").returncode == 0
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert features.config["request"]["pool"] == 0.5
        track = features["a/x.wav"]
        expected = vit1dx.Extractor([4, 8], pool=0.5)(songs / "a" / "x.wav")
        tokens = track.sequence_tokens
        assert (tokens.dtype, tokens.shape) == (np.float16, (2, 10, 192))
        np.testing.assert_allclose(tokens, expected.sequence_tokens, rtol=2e-3, atol=1e-3)
        np.testing.assert_array_equal(track.time, expected.time)
    with xarray.open_dataset(tmp_path / "f.h5", group="tracks/a/x.wav", engine="h5netcdf") as data:
        assert data.sequence_tokens.attrs["pool"] == 0.5
        assert data.sequence_tokens.sel(layer=8, time=slice(1, 2)).sizes["time"] == 2
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["tracks/b/x.flac/sequence_tokens"].shape == (2, 12, 192)
    other = cli(*options, "--dtype", "float16")
    assert other.returncode == 2
    assert "config.request.pool 0.5 there, None asked for" in other.stderr
