"""The measurements as Markdown, and as JSON."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from statistics import median
from typing import Any

from benchmarks.tables import table
from benchmarks.throughput.rounds import Results
from vit1dx.parallel import usable_cores
from vit1dx.processor import instruction_sets, processor_name

BASE = "naive script"
LIBRARIES = ("numpy", "onnxruntime", "openvino", "torch", "librosa", "soundfile", "soxr", "h5py")


def as_json(results: Results) -> dict[str, Any]:
    """All that was measured."""
    return {
        "machine": machine(),
        "contenders": {
            name: {
                "times_real_time": results.rate(name),
                "cpu_a_second": results.cpu(name),
                "share_of_parts": results.share(name),
                "rounds": [dataclasses.asdict(one) for one in rounds],
            }
            for name, rounds in results.rounds.items()
        },
        "parts_cpu_a_second": results.parts,
        "skipped": results.skipped,
    }


def machine() -> dict[str, Any]:
    """What it was measured on."""
    there = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    return {
        "processor": processor_name(),
        "instruction_sets": list(instruction_sets() or ()),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "versions": {n: importlib.metadata.version(n) for n in LIBRARIES if n in there},
    }


def as_markdown(results: Results) -> str:
    """Tables for people."""
    about = machine()
    sets = " ".join(about["instruction_sets"])
    return "\n".join(
        [
            f"{about['processor']} ({sets}), {about['cores']} cores\n",
            _contenders(results),
            _parts(results),
            *(f"Skipped: {name}: {reason}\n" for name, reason in results.skipped.items()),
        ]
    )


def _contenders(results: Results) -> str:
    base, base_cpu = results.rate(BASE), results.cpu(BASE)
    rows = []
    for name, rounds in results.rounds.items():
        rate, cpu = results.rate(name), results.cpu(name)
        share = results.share(name)
        assert rate is not None
        assert cpu is not None
        rows.append(
            [
                name,
                f"{rate:.0f}",
                f"{rate / base:.2f}" if base else "",
                f"{cpu * 3600:.1f}",
                f"{base_cpu / cpu:.2f}" if base_cpu else "",
                f"{share:.2f}" if share else "",
                f"{median(r.start.seconds for r in rounds):.1f}; "
                f"{median(r.start.cpu for r in rounds):.1f}",
                f"{max(one.whole.memory for one in rounds) >> 20}",
            ]
        )
    head = ["contender", "times real time", f"to {BASE}", "core s an hour", f"to {BASE}"]
    return table([*head, "its parts", "start, s; core s", "MiB"], rows)


def _parts(results: Results) -> str:
    rows = [[stage, f"{1 / cpu:.0f}"] for stage, cpu in results.parts.items()]
    return table(["part alone", "times real time, a core"], rows)
