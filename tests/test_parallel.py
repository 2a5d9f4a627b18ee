"""How many cores a run takes by itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vit1dx import parallel as cores


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({}, 1000),
        ({"cpu.max": "max 100000"}, 1000),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 1000),
        ({"cpu/cpu.cfs_quota_us": "90000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu.max": "nonsense"}, 1000),
    ],
)
def test_control_groups_are_heeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], most: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(cores, "_CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(1000)))
    assert cores.usable_cores() == most
