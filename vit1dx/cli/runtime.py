"""What this machine computes with, and how fast: the answer of ``vit1dx info --runtime``."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any, get_args

import numpy as np

from .._types import Array
from ..errors import BackendError, reason_of
from ..extractor import BATCH_WINDOWS, Extractor
from ..model.backend import COMPUTED_BY
from ..model.request import BackendName, Precision
from ..parallel import cores, usable_cores
from ..processor import instruction_sets, processor_name

#: The library of each backend.
LIBRARIES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}
BACKENDS: tuple[BackendName, ...] = ("onnx", "openvino", "torch")
#: What each backend is measured in on a processor.
PRECISIONS: dict[str, tuple[Precision, ...]] = {
    name: tuple(
        p for p in get_args(Precision) if name in COMPUTED_BY.get(p, BACKENDS) and p != "fp16"
    )
    for name in BACKENDS
}
#: Seconds that each is measured for.
SECONDS = 1.0
#: A way this much faster than the usual one is worth an option.
WORTH = 1.05


def describe_runtime() -> dict[str, Any]:
    """What this machine has, what was measured on it, and what to use.

    Returns
    -------
    dict
        ``processor``, ``backends`` by name, ``measured`` (a list, the fastest first; windows a
        second of one core, or of the graphics processor), and ``fastest``: the options for
        ``vit1dx extract``, in any precision and in fp32.
    """
    backends = {name: _library(name) for name in BACKENDS}
    able = [name for name in BACKENDS if "version" in backends[name]]
    exact: dict[int, Array] = {}
    measured = [_measured(*way, exact) for way in _ways(able, backends)]
    ran = sorted((row for row in measured if "reason" not in row), key=lambda r: -r["windows"])
    return {
        "processor": {
            "name": processor_name(),
            "instruction_sets": list(instruction_sets() or []),
            **cores(),
        },
        "backends": backends,
        "measured": ran + [row for row in measured if "reason" in row],
        "fastest": {
            "any_precision": _fastest(ran),
            "fp32": _fastest(row for row in ran if row["precision"] == "fp32"),
        },
    }


def _library(backend: BackendName) -> dict[str, Any]:
    """A backend's version and devices, or why it is not to be had."""
    if find_spec(LIBRARIES[backend]) is None:
        extra = "" if backend == "onnx" else f"; pip install 'vit1dx[{backend}]'"
        return {"reason": f"not installed{extra}"}
    try:
        module = importlib.import_module(f"vit1dx.model.{backend}")
        return {"version": getattr(module, _CLASSES[backend]).version, "devices": module.devices()}
    except Exception as error:  # a library that does not fit NumPy's raises what it likes
        return {"reason": f"does not load: {reason_of(error)}"}


_CLASSES = {"onnx": "OnnxBackend", "openvino": "OpenVinoBackend", "torch": "TorchBackend"}


def _ways(
    able: Iterable[BackendName], backends: dict[BackendName, dict[str, Any]]
) -> Iterator[tuple[BackendName, Precision, str]]:
    for name in able:
        for device in backends[name]["devices"]:
            half: tuple[Precision, ...] = ("fp16",) if (name, device) == ("torch", "cuda") else ()
            yield from ((name, precision, device) for precision in PRECISIONS[name] + half)


def _measured(
    backend: BackendName, precision: Precision, device: Any, exact: dict[int, Array]
) -> dict[str, Any]:
    """One way to compute, with all layers out; `exact` is what the first way gave."""
    row: dict[str, Any] = {"backend": backend, "precision": precision, "device": device}
    try:
        extractor = Extractor(backend=backend, precision=precision, device=device, threads=1)
        mel = _noise(extractor, BATCH_WINDOWS[device])
        tokens, _ = extractor.backend.run(mel[: BATCH_WINDOWS["cpu"]])
        found = {layer: array.copy() for layer, array in tokens.items()}
        taken = _seconds_a_batch(extractor, mel)
    except BackendError as error:
        return {**row, "reason": str(error)}
    exact.update({} if exact else found)
    window = extractor.config.window.frames / extractor.config.mel.frame_rate
    return {
        **row,
        "windows": len(mel) / taken,
        "times_real_time": len(mel) * window / taken,
        "cosine": min(_least_cosine(found[layer], exact[layer]) for layer in exact),
        "options": _options(backend, precision, device),
    }


def _noise(extractor: Extractor, windows: int) -> Array:
    config = extractor.config
    shape = windows, config.window.frames, config.mel.n_mels
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _seconds_a_batch(extractor: Extractor, mel: Array) -> float:
    """By processor time, which others on the machine do not stretch; of cards, by the clock."""
    clock = time.process_time if extractor.backend.device == "cpu" else time.perf_counter
    extractor.backend.run(mel)  # what is compiled for this shape now is not measured
    began, until, batches = clock(), time.perf_counter() + SECONDS, 0
    while time.perf_counter() < until or not batches:
        extractor.backend.run(mel)
        batches += 1
    return (clock() - began) / batches


def _least_cosine(found: Array, exact: Array) -> float:
    a, b = found.astype(np.float64), exact.astype(np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(((a * b).sum(-1) / norms).min())


def _options(backend: str, precision: str, device: str) -> str:
    """What to add to ``vit1dx extract``; nothing for the usual way."""
    words = [] if backend == "onnx" else ["--backend", backend]
    words += [] if precision == "fp32" else ["--precision", precision]
    return " ".join([*words, *([] if device == "cpu" else ["--device", device])])


def _fastest(ran: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The fastest way, but the usual one where that is about as fast."""
    rows = sorted(ran, key=lambda row: -row["times_real_time"])
    if not rows:
        return None
    usual = [r for r in rows if not r["options"] and r["windows"] * WORTH >= rows[0]["windows"]]
    row = (usual or rows)[0]
    together = usable_cores() if row["device"] == "cpu" else 1
    return {
        "options": row["options"],
        "cosine": row["cosine"],
        "times_real_time": row["times_real_time"] * together,
    }


def lines(found: dict[str, Any]) -> Iterator[list[str]]:
    """The answer as rows of a table."""
    processor, fastest = found["processor"], found["fastest"]
    yield ["processor", processor["name"]]
    yield ["instructions", " ".join(processor["instruction_sets"]) or "unknown"]
    quota = processor["quota"]
    yield [
        "cores",
        f"{processor['usable']} usable (of {processor['there']}; affinity {processor['affinity']}, "
        f"quota {'none' if quota is None else f'{quota:g}'})",
    ]
    for name, about in found["backends"].items():
        version = about.get("version")
        yield [name, f"{version} on {', '.join(about['devices'])}" if version else about["reason"]]
    for row in found["measured"]:
        name = f"{row['backend']} {row['precision']} {row['device']}"
        yield [name, row.get("reason") or _figures(row)]
    for what, title in (("any_precision", "fastest"), ("fp32", "fastest in fp32")):
        if (best := fastest[what]) is not None:
            yield [title, f"vit1dx extract {best['options']}".strip() + _promise(best)]


def _figures(row: dict[str, Any]) -> str:
    unit = "a second of a core" if row["device"] == "cpu" else "a second"
    return (
        f"{row['windows']:.1f} windows {unit}, {row['times_real_time']:.0f}x real time; least "
        f"cosine with fp32 {row['cosine']:.5f}"
    )


def _promise(best: dict[str, Any]) -> str:
    return f" (model alone, all workers: {best['times_real_time']:.0f}x real time)"
