"""Pictures as files."""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.figure import Figure

from vit1dx.show.plot import save


def two_panels(off: float) -> Figure:
    figure = Figure(figsize=(4, 2))
    for left in (0.1, 0.6):
        figure.add_axes((left + off, 0.2, 0.35, 0.7)).plot([1, 3, 2])
    return figure


def test_the_last_bits_of_a_layout_change_no_picture(tmp_path: Path) -> None:
    """As they do from run to run: the solver goes by where objects lie in memory."""
    for name, off in (("a.svg", 0.0), ("b.svg", 1e-13)):
        save(two_panels(off), tmp_path / name)
    text = (tmp_path / "a.svg").read_text("utf-8")
    assert (tmp_path / "b.svg").read_text("utf-8") == text
    clips = re.findall(r'<clipPath id="(\w+)">', text)
    assert len(set(clips)) == len(clips) == 2
    assert set(re.findall(r'clip-path="url\(#(\w+)\)"', text)) == set(clips)
