"""Windows: every frame once, nothing padded, context where it was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from vit1dx._types import Array
from vit1dx.audio.windows import Windows, cut
from vit1dx.config import WindowConfig

FRAMES = 125


def _cut(total: int, overlap: int, block: int = 1000, batch: int = 7) -> list[Windows]:
    """Cut frames whose only feature is their own number."""
    frames = np.arange(total, dtype=np.float32)[:, None]
    blocks = [frames[i : i + block] for i in range(0, total, block)]
    return list(cut(blocks, WindowConfig(FRAMES, overlap), batch))


def _kept(windows: list[Windows]) -> Array:
    return np.concatenate([one for part in windows for one in part.kept(part.mel)])[:, 0]


TOTALS = [1, 2, 124, 125, 126, 249, 250, 251, 375, 1000, 1001, 4321]


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("overlap", [0, 1, 15, 62])
def test_every_frame_is_kept_once_in_order(total: int, overlap: int) -> None:
    np.testing.assert_array_equal(_kept(_cut(total, overlap)), np.arange(total))


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("overlap", [0, 15])
def test_windows_lie_inside_the_track(total: int, overlap: int) -> None:
    windows = _cut(total, overlap)
    starts = np.concatenate([part.start for part in windows])
    for part in windows:
        assert part.mel.shape[1] == min(total, FRAMES)
        np.testing.assert_array_equal(part.mel[:, 0, 0], part.start)
    assert starts[0] == 0
    assert starts[-1] == max(0, total - FRAMES)
    assert (np.diff(starts[:-1]) == FRAMES - 2 * overlap).all()


@pytest.mark.parametrize("overlap", [10, 31])
def test_kept_tokens_have_their_context(overlap: int) -> None:
    total = 1000
    for part in _cut(total, overlap):
        for start, (first, end) in zip(part.start, part.keep, strict=True):
            assert first == 0 or first - start >= overlap
            assert end == total or start + FRAMES - end >= overlap


@pytest.mark.parametrize("block", [1, 3, 124, 125, 126, 777])
@pytest.mark.parametrize("batch", [1, 4])
def test_blocks_and_batches_do_not_matter(block: int, batch: int) -> None:
    expected, found = _cut(903, 20), _cut(903, 20, block, batch)
    assert all(len(part.start) <= batch for part in found)
    for name in ("start", "keep", "mel"):
        whole, parts = (np.concatenate([getattr(p, name) for p in w]) for w in (expected, found))
        np.testing.assert_array_equal(parts, whole)
