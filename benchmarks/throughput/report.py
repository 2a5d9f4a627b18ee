"""The measurements as Markdown, and as JSON."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.tables import table
from benchmarks.throughput.curves import Point
from benchmarks.throughput.rounds import Results
from benchmarks.throughput.targets import TARGETS
from vit1dx.parallel import usable_cores

Curves = Mapping[str, list[Point]]
BASE = "naive script"
LIBRARIES = ("numpy", "onnxruntime", "torch", "librosa", "soundfile", "soxr", "h5py")


def as_json(results: Results, curves: Curves, precisions: Sequence[str]) -> dict[str, Any]:
    """All that was measured and what follows from it."""
    return {
        "machine": machine(),
        "contenders": {
            name: {
                "times_real_time": results.rate(name),
                "rounds": [dataclasses.asdict(one) for one in rounds],
            }
            for name, rounds in results.rounds.items()
        },
        "parts": {
            name: [dataclasses.asdict(one) for one in taken]
            for name, taken in results.parts.items()
        },
        "limits": {name: results.limit(name) for name in precisions},
        "curves": {
            name: [dataclasses.asdict(point) for point in points] for name, points in curves.items()
        },
        "targets": [
            {"what": target.what, "bound": target.bound, "at_least": target.at_least}
            | {"measured": target.figure(results, curves)}
            for target in TARGETS
        ],
        "help": results.help,
        "skipped": results.skipped,
    }


def machine() -> dict[str, Any]:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"cores": usable_cores(), "processor": model, "python": platform.python_version()} | {
        "versions": versions
    }


def as_markdown(results: Results, curves: Curves, precisions: Sequence[str]) -> str:
    """Tables for people."""
    parts = [
        _targets(results, curves),
        _contenders(results),
        _parts(results, precisions),
        *(_curve(name, points) for name, points in curves.items()),
        *(f"Skipped: {name}: {reason}\n" for name, reason in results.skipped.items()),
    ]
    return "\n".join(parts)


def _targets(results: Results, curves: Curves) -> str:
    rows = []
    for target in TARGETS:
        measured = target.figure(results, curves)
        bound = f"{'at least' if target.at_least else 'at most'} {target.bound:g}"
        if measured is None:
            rows.append([target.what, bound, "not measured", ""])
        else:
            met = "yes" if target.met(measured) else "no"
            rows.append([target.what, bound, f"{measured:.2f}", met])
    return table(["target", "bound", "measured", "met"], rows)


def _contenders(results: Results) -> str:
    base = results.rate(BASE)
    rows = []
    for name, rounds in results.rounds.items():
        rates = sorted(one.rate for one in rounds)
        audio = rounds[0].audio
        rows.append(
            [
                name,
                f"{median(rates):.0f}",
                f"{rates[0]:.0f} to {rates[-1]:.0f}",
                f"{median(rates) / base:.2f}" if base else "",
                f"{median(one.whole.seconds for one in rounds):.1f} s for {audio / 60:.1f} min",
                f"{median(one.start.seconds for one in rounds):.2f}",
                f"{median(one.whole.cpu - one.start.cpu for one in rounds) / audio * 3600:.1f}",
                f"{max(one.whole.memory for one in rounds) >> 20}",
            ]
        )
    head = ["contender", "times real time", "spread", f"to {BASE}", "whole run", "start, s"]
    return table([*head, "core s an hour", "MiB"], rows)


def _parts(results: Results, precisions: Sequence[str]) -> str:
    rows = []
    for stage, taken in results.parts.items():
        seconds = median(one.seconds for one in taken)
        cpu = median(one.cpu for one in taken)
        rows.append([stage, f"{1 / seconds:.0f}", f"{cpu * 3600:.2f}"])
    for precision in precisions:
        limit, useful = results.limit(precision), results.useful(precision)
        if limit is not None and useful is not None:
            row = [f"limit of {usable_cores()} cores, {precision}", f"{limit:.0f}"]
            rows.append([*row, f"{useful:.0%} of what vit1dx takes"])
    return table(["part, on one core", "times real time", "core s an hour"], rows)


def _curve(name: str, points: Sequence[Point]) -> str:
    start = points[0].seconds
    rows = [
        [
            point.what,
            f"{point.seconds:.2f}",
            f"{point.audio / (point.seconds - start):.0f}" if point.seconds > 1.2 * start else "",
            f"{point.memory >> 20}",
        ]
        for point in points
    ]
    return table([name, "s", "times real time, once started", "MiB"], rows)
