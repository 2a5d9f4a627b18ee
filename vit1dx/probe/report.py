"""What probes found, as a table: in Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .measure import Found


@dataclass(frozen=True)
class Line:
    """Scores of one feature, over all folds.

    Attributes
    ----------
    name : str
    layer : int or None
    tokens : str
    scores : dict of (float, float)
        Mean over folds, and their standard deviation, by measure; nan where it cannot be told.
    held_out : float
        Mean of the task's own measure on the training side.
    iterations : int
        That fits took at most.
    unconverged : int
        Fits that did not converge.
    """

    name: str
    layer: int | None
    tokens: str
    scores: dict[str, tuple[float, float]]
    held_out: float
    iterations: int
    unconverged: int


@dataclass(frozen=True)
class Report:
    """What probes found.

    Attributes
    ----------
    task : str
    measures : tuple of str
        The task's own first.
    chosen : Line
        The tokens chosen on the training side of each fold; `name` says which.
    lines : list of Line
        Every layer and kind of tokens, then the baselines.
    about : dict
        What was probed, on what, and how.
    remarks : list of str
        What was left out, and what to mind.
    """

    task: str
    measures: tuple[str, ...]
    chosen: Line
    lines: list[Line]
    about: dict[str, Any]
    remarks: list[str]

    @property
    def tokens(self) -> list[Line]:
        """The lines that are of tokens."""
        return [line for line in self.lines if line.layer is not None]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values; nan is None."""
        return {
            "task": self.task,
            "measures": list(self.measures),
            "chosen": _plain(self.chosen),
            "lines": [_plain(line) for line in self.lines],
            "about": self.about,
            "remarks": self.remarks,
        }


def line_of(name: str, layer: int | None, tokens: str, found: Sequence[Found]) -> Line:
    """A feature's scores over folds."""
    measures = list(found[0].test)
    probes = [probe for each in found for probe in each.probes]
    return Line(
        name,
        layer,
        tokens,
        {measure: _mean([each.test[measure] for each in found]) for measure in measures},
        _mean([each.held_out[measures[0]] for each in found])[0],
        max(probe.iterations for probe in probes),
        sum(not probe.converged for probe in probes),
    )


def chosen_line(names: Sequence[str], found: Sequence[Sequence[Found]]) -> tuple[Line, int]:
    """The feature that did best on the training side of each fold, and the one that did in all.

    Parameters
    ----------
    names : sequence of str
    found : sequence of sequences of Found
        By feature, then fold.

    Returns
    -------
    Line
        Scores of the features chosen, fold by fold.
    int
        Place of the one with the best mean over the training sides.
    """
    own = next(iter(found[0][0].test))
    held_out = np.array([[each.held_out[own] for each in row] for row in found])
    held_out = np.where(np.isnan(held_out), -np.inf, held_out)
    best = held_out.argmax(axis=0)
    taken = [found[place][fold] for fold, place in enumerate(best)]
    counts = {names[place]: int((best == place).sum()) for place in best}
    order = sorted(counts, key=lambda name: -counts[name])
    which = order[0] if len(order) == 1 else ", ".join(f"{n}: {counts[n]}" for n in order[:3])
    which += ", ..." if len(order) > 3 else ""
    return line_of(f"chosen ({which})", None, "", taken), int(held_out.mean(axis=1).argmax())


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation of what is known; of one value there is no deviation."""
    told = np.array([value for value in values if not np.isnan(value)])
    if not len(told):
        return np.nan, np.nan
    return float(told.mean()), float(told.std(ddof=1)) if len(told) > 1 else np.nan


def _plain(line: Line) -> dict[str, Any]:
    values = asdict(line)
    values["scores"] = {
        measure: {"mean": _or_none(mean), "deviation": _or_none(deviation)}
        for measure, (mean, deviation) in line.scores.items()
    }
    values["held_out"] = _or_none(line.held_out)
    return values


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


#: Scores between 0 and 1 are shown in %; these are not.
IN_UNITS = ("R2", "MAE")


def cell(measure: str, score: tuple[float, float]) -> str:
    """A score as a table has it: ``"79.1 ± 0.3"``."""
    mean, deviation = score
    if np.isnan(mean):
        return "-"
    factor, digits = (1, ".3g") if measure in IN_UNITS else (100, ".1f")
    text = f"{factor * mean:{digits}}"
    return text if np.isnan(deviation) else f"{text} ± {factor * deviation:{digits}}"


def heading(report: Report) -> list[str]:
    """Names of the columns of a table."""
    return ["features", *(m if m in IN_UNITS else f"{m} (%)" for m in report.measures)]


def cells(report: Report) -> list[list[str]]:
    """Rows of a table: what was chosen, each layer, baselines."""
    return [
        [line.name, *(cell(measure, line.scores[measure]) for measure in report.measures)]
        for line in (report.chosen, *report.lines)
    ]


def caption(report: Report) -> str:
    """What a table's figures are, in some sentences."""
    return report.about["caption"] + "".join(f" {remark}." for remark in report.remarks)


def as_markdown(report: Report) -> str:
    """The table in Markdown, with what it is of."""
    rows = [heading(report), ["---"] * (1 + len(report.measures)), *cells(report)]
    lines = ["| " + " | ".join(_escaped(text) for text in row) + " |" for row in rows]
    return "\n".join([*lines, "", caption(report), ""])


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def as_csv(report: Report) -> str:
    """The table as CSV: mean and deviation of each measure, between 0 and 1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"{m}{suffix}" for m in report.measures for suffix in ("", " deviation")]
    writer.writerow(["features", "layer", "tokens", *columns, "iterations", "unconverged"])
    for line in (report.chosen, *report.lines):
        layer = "" if line.layer is None else line.layer
        scores = [_number(v) for m in report.measures for v in line.scores[m]]
        writer.writerow([line.name, layer, line.tokens, *scores, line.iterations, line.unconverged])
    return text.getvalue()


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def as_json(report: Report) -> str:
    """All of it as JSON."""
    return json.dumps(report.to_dict(), indent=1) + "\n"


FORMATS = {"markdown": as_markdown, "csv": as_csv, "json": as_json}
