"""Which systems are measured on which songs, and all that is measured of them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.probes import albums, local, onsets, recordings, similarity, systems, whole
from benchmarks.probes.collection import Memory, Render, of_sources, renders
from benchmarks.probes.scores import summary
from vit1dx.config import Config
from vit1dx.model.weights import sha256

UNTRAINED_LAYERS = ("layer 1", "layer 4", "layer 8", "layer 12")
LOCAL_ONLY = ("basic-pitch",)  # made for notes, and slow
ONSET_TRACKS = 40  # to choose a head on
LOCAL_FIT = {"pop909": 96, "composed": 56, "freedoom": 8}
GLOBAL_FIT = {"pop909": 200, "composed": 400, "freedoom": 40}
SIMILARITY_TRACKS = 60


@dataclass(frozen=True)
class Sets:
    """Renders by what they are for."""

    local_fit: list[Render]
    global_fit: list[Render]
    local_test: list[Render]
    global_test: list[Render]

    @property
    def onset_fit(self) -> list[Render]:
        """Those that heads and thresholds are chosen on."""
        return self.local_fit[:ONSET_TRACKS]

    @property
    def similarity_test(self) -> list[Render]:
        """Those whose self-similarity is looked at."""
        return self.local_test[:SIMILARITY_TRACKS]


def chosen(corpus: Path, test: Path, share: float) -> Sets:
    """Renders to fit on and to score on."""

    def part(of: dict[str, int]) -> dict[str, int]:
        return {source: max(2, round(share * n)) for source, n in of.items()}

    training = renders(corpus, "train", 3)
    firsts = renders(corpus, "train", 1)
    testing, once = renders(test, "test", 2), renders(test, "test", 1)
    return Sets(
        of_sources(firsts, part(LOCAL_FIT)),
        of_sources(training, part(GLOBAL_FIT)),
        once[: max(8, round(share * len(once)))],
        testing[: max(16, round(share * len(testing)))],
    )


def contenders(weights: Path, config: Config, out: Path) -> dict[str, Callable[[], systems.System]]:
    """How to make each system, by name; basic-pitch only where it is installed."""
    model = systems.as_onnx(weights, out)
    name = f"vit1d-{sha256(model)[:12]}"
    makers: dict[str, Callable[[], systems.System]] = {
        name: partial(systems.vit1d, model),
        "untrained": partial(systems.vit1d, systems.untrained(config, out)),
        "log-mel": partial(systems.itself, systems.log_mel),
        "MFCC": partial(systems.itself, systems.mfcc),
        "CQT chroma": partial(systems.itself, systems.chroma),
    }
    try:
        systems.basic_pitch()
    except ImportError:
        return makers
    return {**makers, "basic-pitch": systems.basic_pitch}


def probed(memory: Memory, names: list[str], sets: Sets, seeds: int) -> dict[str, Any]:
    """All that takes no system any more, by kind, system, feature (and context)."""
    found: dict[str, Any] = {"local": {}, "whole": {}, "similarity": {}, "onsets": {}}
    # Not forked: threads of PyTorch and ONNX Runtime do not survive that.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [
            (place, pool.submit(memory.once, place, job))
            for place, job in _jobs(memory, names, sets, seeds)
        ]
        for (kind, system, *rest), future in waiting:
            table = found[kind].setdefault(public(system), {})
            for key in rest[:-1]:
                table = table.setdefault(key, {})
            table[rest[-1]] = future.result()
    return found


def public(system: str) -> str:
    """What a system is called in tables."""
    return "ViT-1D" if system.startswith("vit1d-") else system


def _jobs(
    memory: Memory, names: list[str], sets: Sets, seeds: int
) -> Iterator[tuple[tuple[str, ...], Callable[[], Any]]]:
    for system in names:
        frames = dict.fromkeys(memory.names(system, sets.local_fit[0], "frames"))
        for feature in _kept(system, frames):
            for context in local.CONTEXTS:
                what = (memory, system, feature, context, sets.local_fit, sets.local_test)
                yield (
                    ("local", system, feature, context),
                    partial(_summed, local.measure, *what, seeds),
                )
            yield (
                ("similarity", system, feature),
                partial(similarity.measure, memory, system, feature, sets.similarity_test),
            )
        curves = memory.names(system, sets.local_fit[0], "curves")
        for source in dict.fromkeys(onsets.source_of(name) for name in curves):
            names_of = [name for name in curves if onsets.source_of(name) == source]
            yield (
                ("onsets", system, source),
                partial(onsets.measure, memory, system, names_of, sets.onset_fit, sets.local_test),
            )
        if system in LOCAL_ONLY:
            continue
        vectors = dict.fromkeys(memory.names(system, sets.global_fit[0], "whole"))
        for feature in _kept(system, vectors):
            arguments = (memory, system, feature, sets.global_fit, sets.global_test)
            yield (
                ("whole", system, feature),
                partial(_summed, whole.measure, *arguments, seeds),
            )


def described(memory: Memory, system: str, make: Callable[[], systems.System], sets: Sets) -> None:
    """Have a system describe all renders that it is measured on."""
    as_a_whole = [] if system in LOCAL_ONLY else sets.global_fit + sets.global_test
    memory.fill(system, make, sets.local_fit + sets.local_test, as_a_whole)


def _summed(measure: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    return summary(measure(*arguments))


def real(
    makers: dict[str, Callable[[], systems.System]], data: Path, folder: Path
) -> dict[str, Any]:
    """Retrieval and robustness on recordings; nothing where there are none."""
    if not (data / "audio").is_dir():
        return {}
    music, loops = recordings.excerpts(data, folder)
    found: dict[str, Any] = {"music": len(music), "loops": len(loops)}
    for name, make in makers.items():
        system = make()
        found[public(name)] = {
            "retrieval": _kept(name, recordings.retrieval(system, music + loops)),
            "robustness": {
                alteration: _kept(name, cosines)
                for alteration, cosines in recordings.robustness(system, music).items()
            },
        }
    return found


def of_albums(
    makers: dict[str, Callable[[], systems.System]], corpus: Path, seeds: int
) -> dict[str, Any]:
    """Other halves, albums and artists of recordings that were never trained on."""
    return {
        public(name): _kept(name, albums.measure(make(), corpus, seeds))
        for name, make in makers.items()
        if name not in LOCAL_ONLY
    }


def _kept(system: str, found: dict[str, Any]) -> dict[str, Any]:
    """Of an untrained model, some layers."""
    if system != "untrained":
        return found
    return {name: v for name, v in found.items() if name.split(",")[0] in UNTRAINED_LAYERS}
