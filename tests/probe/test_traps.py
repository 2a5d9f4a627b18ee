"""Small and strange data: each is a line that says what is wrong, or what was left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vit1dx.errors import UsageError
from vit1dx.probe.options import ProbeOptions
from vit1dx.probe.report import Report
from vit1dx.probe.run import probe

from .planted import KNOWING, one_of, write_features


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve tracks of two classes in three folders."""
    path = tmp_path_factory.mktemp("features") / "f.h5"
    write_features(path, {f"{n % 3}/{n}.mp3": one_of(n % 2, 2) for n in range(12)})
    return path


def _probe(features: Path, folder: Path, text: str, **options: Any) -> Report:
    labels = folder / "labels.csv"
    labels.write_text(text)
    given = {"baselines": "majority", "workers": 1, "folds": 3, "layers": (KNOWING,)}
    return probe(features, labels, ProbeOptions(**{**given, "tokens": ("mean",), **options}))[0]


def _rows(*more: str, of: int = 12) -> str:
    return "\n".join(["track,label", *(f"{n},{'ab'[n % 2]}" for n in range(of)), *more]) + "\n"


def test_labels_and_tracks_without_each_other_are_counted(features: Path, tmp_path: Path) -> None:
    report = _probe(features, tmp_path, _rows("77,a", "78,b", "10,", of=10))
    assert report.about["tracks"] == 10
    assert "2 labels without a track (77, 78)" in report.remarks
    assert "2 of 12 tracks without a label that is used" in report.remarks


def test_nan_is_no_label_and_a_class_in_one_group_is_left_out(
    features: Path, tmp_path: Path
) -> None:
    report = _probe(features, tmp_path, _rows("10,nan", "11,rare", of=10))
    assert report.about["tracks"] == 10
    assert report.about["classes"] == 2
    assert any("1 class in fewer than 2 groups, 1 tracks (rare)" in r for r in report.remarks)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (_rows(of=2), {}, "2 classes, 0 of them in two or more groups of tracks"),
        (_rows(of=4), {"folds": 5}, "4 groups of tracks with labels; --folds 5 needs 5"),
        (
            "track,label\n0,1\n1,2\n2,3\n",
            {"folds": 2, "task": "regression"},
            "--folds 2 leaves one to fit",
        ),
        ("track,label\n" + "".join(f"{n},a\n" for n in range(9)), {}, "1 classes"),
        ("track,label\nx,a\ny,b\n", {}, "is a track of the features: there are x, y"),
        ("track,label\n", {}, "no rows"),
        ("a,b,c\n1,2,3\n", {}, "--track-column is needed"),
        ("track,b,c\n1,2,3\n", {}, "--label-column is needed"),
        (_rows(), {"label_column": "genre"}, "'genre': "),
        (_rows("3,a"), {}, "has 2 values of 'label'"),
        (_rows(), {"group_by": "artist"}, "--group-by 'artist'"),
        (_rows(), {"task": "regression"}, "a number is needed for regression"),
        (_rows(), {"layers": (9,)}, "no layer 9"),
        (_rows(), {"tokens": ("sequence",)}, "--tokens sequence; class, mean, class+mean"),
        (_rows(), {"task": "beats"}, "a column 'start' is needed"),
        (
            "track,label\n" + "".join(f"{n},5\n" for n in range(12)),
            {"task": "regression"},
            "nothing to tell apart",
        ),
    ],
)
def test_what_cannot_be_probed(
    text: str, options: dict[str, Any], message: str, features: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as error:
        _probe(features, tmp_path, text, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_groups_are_never_divided(features: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(_rows())
    options = ProbeOptions(
        group_by="parent", folds=3, baselines="majority", workers=1, tokens=("mean",)
    )
    _, _, data = probe(features, labels, options)
    groups = np.array(data.groups)
    assert set(groups) == {"0", "1", "2"}
    for fold in data.folds:
        held_out = fold.held_out[0]
        parts = [fold.train & ~held_out, held_out, fold.test]
        assert np.sum(parts, axis=0).tolist() == [1] * 12
        found = [set(groups[part]) for part in parts]
        assert sum(map(len, found)) == 3


def test_a_column_says_what_is_for_what(features: Path, tmp_path: Path) -> None:
    text = "track,label,split\n" + "".join(
        f"{n},{'ab'[n % 2]},{('train', 'train', 'Valid', 'TEST')[n // 3]}\n" for n in range(12)
    )
    report = _probe(features, tmp_path, text, split_column="split")
    assert report.about["divisions"] == 1
    assert report.chosen.scores["accuracy"][0] == 1


def test_tags_of_several_rows_or_one_cell(features: Path, tmp_path: Path) -> None:
    pairs = [("ab"[n % 2], "xy"[n // 6]) for n in range(12)]
    cells = "track,tags\n" + "".join(f"{n},{a}|{b}\n" for n, (a, b) in enumerate(pairs))
    rows = "track,tag\n" + "".join(f"{n},{t}\n" for n, two in enumerate(pairs) for t in two)
    one, several = (_probe(features, tmp_path, text, task="tags") for text in (cells, rows))
    assert one.about["classes"] == several.about["classes"] == 4
    assert one.lines == several.lines
    rare = _probe(features, tmp_path, cells + "11,once\n", task="tags", separator="|")
    assert any("1 tag in fewer than 2 groups (once)" in remark for remark in rare.remarks)


def test_numbers(features: Path, tmp_path: Path) -> None:
    text = "track,label\n" + "".join(f"{n},{100 + 20 * (n % 2)}\n" for n in range(12))
    report = _probe(features, tmp_path, text, task="regression")
    r2, mae = (report.chosen.scores[measure][0] for measure in ("R2", "MAE"))
    assert r2 > 0.9
    assert mae < 4
    majority = next(line for line in report.lines if line.name == "majority")
    assert majority.scores["R2"][0] <= 0
    assert majority.scores["MAE"][0] == pytest.approx(10, abs=1)


def test_keys_of_tracks(features: Path, tmp_path: Path) -> None:
    text = "track,key\n" + "".join(f"{n},{('C major', 'Am')[n % 2]}\n" for n in range(12))
    report = _probe(features, tmp_path, text, task="keys")
    assert report.measures == ("weighted", "accuracy")
    assert report.chosen.scores["weighted"][0] == 1
