"""Splits that a column says, over several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vit1dx.errors import UsageError
from vit1dx.probe.options import ProbeOptions
from vit1dx.probe.report import Report
from vit1dx.probe.run import probe
from vit1dx.probe.splits import given

from .planted import KNOWING, one_of, write_features

WORDS = ["train"] * 10 + ["test"] * 3
GROUPS = [str(number // 2) for number in range(13)]


def test_each_seed_holds_out_other_groups_of_the_training_side() -> None:
    found = given(WORDS, GROUPS, None, 4, 1, seed=7)
    assert [fold.seed for fold in found] == [7, 8, 9, 10]
    for fold in found:
        assert fold.test.tolist() == [False] * 10 + [True] * 3
        assert not fold.held_out[:, fold.test].any()
        held = [fold.held_out[0, 2 * pair : 2 * pair + 2].tolist() for pair in range(5)]
        assert all(pair in ([True, True], [False, False]) for pair in held)
    assert len({fold.held_out.tobytes() for fold in found}) > 1


def test_a_column_that_says_what_to_choose_on_is_kept_to() -> None:
    words = ["train"] * 6 + ["valid"] * 4 + ["test"] * 3
    found = given(words, GROUPS, None, 3, 1)
    assert [fold.seed for fold in found] == [0, 1, 2]
    assert all(np.flatnonzero(fold.held_out[0]).tolist() == [6, 7, 8, 9] for fold in found)


def _probe(folder: Path, words: list[str], **options: Any) -> Report:
    write_features(folder / "f.h5", {f"{n}.mp3": one_of(n % 2, 2) for n in range(12)}, noise=9)
    rows = "".join(f"{n},{'ab'[n % 2]},{word}\n" for n, word in enumerate(words))
    (folder / "labels.csv").write_text("track,label,split\n" + rows)
    given: dict[str, Any] = {"baselines": "majority", "workers": 1, "split_column": "split"}
    given |= {"layers": (KNOWING,), "tokens": ("mean",), **options}
    return probe(folder / "f.h5", folder / "labels.csv", ProbeOptions(**given))[0]


def test_seeds_that_could_only_find_the_same_are_one(tmp_path: Path) -> None:
    report = _probe(tmp_path, [*["train"] * 4, *["valid"] * 4, *["test"] * 4], seeds=3)
    assert report.about["divisions"] == 1
    assert "seeds" not in report.about["caption"]
    report = _probe(tmp_path, [*["train"] * 8, *["test"] * 4], seeds=3)
    assert report.about["divisions"] == 3
    assert "mean ± standard deviation" in report.about["caption"]


def test_a_column_without_tests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train and test are needed"):
        _probe(tmp_path, ["train"] * 12)
