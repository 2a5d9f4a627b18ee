"""What vit1dx survives, in short: each experiment, and that damage to files is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks import reliability
from benchmarks.damage import KINDS, sweep


@pytest.mark.slow
def test_kills_lose_nothing_that_was_finished(tmp_path: Path) -> None:
    figures = reliability.kills(tmp_path, 4, tracks=100, longest=2.5)
    assert figures["arrays"] == 100 * 9


@pytest.mark.slow
def test_kills_lose_nothing_of_a_folder_of_shards(tmp_path: Path) -> None:
    figures = reliability.shards(tmp_path, 4, tracks=100, longest=2.5)
    assert figures["arrays"] == 100 * 9


@pytest.mark.slow
def test_mutated_files_fail_alone(tmp_path: Path) -> None:
    figures = reliability.mutants(tmp_path, 60)
    assert figures["failed"] > 5
    assert figures["done"] > 5


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg command to judge by")
def test_nothing_is_lost_without_a_word() -> None:
    outcomes = list(sweep(4 * len(KINDS), seed=1))
    silent = [(kind, how) for kind, how, end in outcomes if end.lost > 1 and not end.said]
    assert not silent
    assert not any(end.refused for _, _, end in outcomes)
