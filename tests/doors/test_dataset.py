"""Features as a PyTorch data set: in any worker, with crops that a seed brings back."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vit1dx
from vit1dx.errors import TrackError, UsageError

from ..store.filed import DIM, tokens, write

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader  # noqa: E402

from vit1dx.doors.dataset import FeatureDataset  # noqa: E402

RATE = 31.25
TRACKS = {f"{n}.mp3": tokens(n, windows=3, frames=20) for n in range(10)}
CROP = 0.64  # 20 tokens of 60


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One file, and a folder."""
    folder = tmp_path_factory.mktemp("dataset")
    some = dict(list(TRACKS.items())[:4])
    rest = {key: value for key, value in TRACKS.items() if key not in some}
    return [write(folder / "a.h5", some, "float16"), write(folder / "b", rest, limit=400_000)]


def _require_true(item: dict[str, Any], layer: int = 1) -> None:
    of = TRACKS[item["id"]]
    first = round(float(item["time"][0]) * RATE)
    expected = of.sequence_tokens[layer, first : first + item["length"]]
    np.testing.assert_allclose(item["tokens"][: item["length"]], expected, atol=2e-3)
    np.testing.assert_allclose(item["time"][: item["length"]], of.time[first:][: item["length"]])


def test_whole_tracks_of_several_files(paths: list[Path]) -> None:
    data = FeatureDataset(paths, 5, labels=lambda track_id: len(track_id))
    assert len(data) == 10
    assert data.ids == [f"{n}.mp3" for n in range(10)]
    for item in data:
        assert item["tokens"].dtype == torch.float32
        assert (item["tokens"].shape, item["label"]) == ((60, DIM), 5)
        _require_true(item)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_crops_in_workers(paths: list[Path], method: str) -> None:
    labels = {key: number for number, key in enumerate(TRACKS)}
    data = FeatureDataset(paths, 5, seconds=CROP, labels=labels)
    next(iter(data))  # files are open before the workers start

    def epochs(seed: int) -> list[list[float]]:
        torch.manual_seed(seed)
        loader = DataLoader(data, 5, num_workers=2, multiprocessing_context=method)
        found = []
        for _ in range(2):
            starts: list[float] = []
            for batch in loader:
                assert batch["tokens"].shape == (5, 20, DIM)
                assert [labels[key] for key in batch["id"]] == batch["label"].tolist()
                starts += batch["time"][:, 0].tolist()
                for n in range(5):
                    item = {key: batch[key][n] for key in ("tokens", "time", "length", "id")}
                    _require_true(item)
            found.append(starts)
        return found

    first = epochs(1)
    assert first[0] != first[1]  # of two epochs
    assert first[0][:5] != first[0][5:]  # of two workers
    if method == "fork":  # which starts quickly
        assert first == epochs(1)
        assert first != epochs(2)


def test_one_process_has_the_same_rules(paths: list[Path]) -> None:
    data = pickle.loads(pickle.dumps(FeatureDataset(paths, 2, seconds=CROP)))
    torch.manual_seed(3)
    starts = [float(data[0]["time"][0]) for _ in range(40)]
    torch.manual_seed(3)
    assert starts == [float(data[0]["time"][0]) for _ in range(40)]
    places = {round(start * RATE) for start in starts}
    assert len(places) > 10
    assert places <= set(range(41))
    _require_true(data[0], layer=0)


def test_what_a_short_track_lacks_is_zeros(paths: list[Path]) -> None:
    data = FeatureDataset(paths[0], 5, seconds=3.2)
    item = data[1]
    assert (item["length"], item["tokens"].shape) == (60, (100, DIM))
    assert not item["tokens"][60:].any()
    np.testing.assert_allclose(item["time"], np.arange(100) / RATE)
    _require_true(item)


def test_ids_choose(paths: list[Path]) -> None:
    data = FeatureDataset(paths, 5, ids=["7.mp3", "0.mp3"], labels={"7.mp3": 1, "0.mp3": 2})
    assert [(item["id"], item["label"]) for item in data] == [("7.mp3", 1), ("0.mp3", 2)]


def test_datasets_that_cannot_be(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no label of track '1\.mp3'"):
        FeatureDataset(paths, 5, labels={"0.mp3": 1})
    with pytest.raises(UsageError, match=r"track '0\.mp3' is in .*a\.h5 and in .*a\.h5"):
        FeatureDataset([paths[0], paths[0]], 5)
    with pytest.raises(UsageError, match="no layer 3"):
        FeatureDataset(paths, 3)
    with pytest.raises(UsageError, match=r"a token's 0\.032 s or more"):
        FeatureDataset(paths, 5, seconds=0.01)
    with pytest.raises(TrackError, match="no track 'nö'"):
        FeatureDataset(paths, 5, ids=["nö"])
    with pytest.raises(vit1dx.StoreError, match="no feature file"):
        FeatureDataset(tmp_path / "none.h5", 5)
