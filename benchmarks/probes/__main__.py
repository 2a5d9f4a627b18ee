"""What a ViT-1D has learnt, measured: the paper's claims, on songs and a soundfont held out.

    python -m benchmarks.probes WEIGHTS --corpus CORPUS --test TEST [--albums REAL] -o OUT

Writes labels and features into OUT, as `vit1dx probe` takes them, and OUT/probes.json and
OUT/probes.md. What was measured before in OUT is not measured again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.probes import onsets, recordings, similarity, systems, tasks
from benchmarks.probes.collection import ONSET_TRACKS, SIMILARITY_TRACKS, Sets, chosen
from benchmarks.probes.labels import write_labels
from benchmarks.probes.report import CHANCE, UNTRAINED, VIT, markdown
from benchmarks.probes.tasks import Kept
from vit1dx.errors import UsageError
from vit1dx.model.request import parse_layers
from vit1dx.model.weights import WeightsInfo, read_info
from vit1dx.probe.options import Baselines
from weights.recipe import DEFAULT_DATA

UNTRAINED_LAYERS = (1, 4, 8, 12)
KINDS = ("local", "whole", "onsets", "similarity")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    weights: Annotated[Path, typer.Argument(help=".onnx or .safetensors")],
    corpus: Annotated[Path, typer.Option(help="Renders of training songs, to fit probes on.")],
    test: Annotated[Path, typer.Option(help="Renders of testing songs, to score them on.")],
    out: Annotated[Path, typer.Option("-o", help="Folder for tables, labels and features.")],
    albums: Annotated[
        Path | None, typer.Option(help="Recordings, by weights.recipe.corpus.real --role test.")
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder of real recordings.")] = DEFAULT_DATA,
    layers: Annotated[str, typer.Option(help="Of the weights.")] = "all",
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    share: Annotated[float, typer.Option(help="Of the renders; below 1 for a try-out.")] = 1.0,
) -> None:
    """Measure the weights beside an untrained network and baselines, and write the tables."""
    out.mkdir(parents=True, exist_ok=True)
    info = read_info(weights)
    if info.config.mel != systems.CONFIG.mel:
        raise typer.BadParameter(f"{weights}: {info.config.mel}; {systems.CONFIG.mel} is needed")
    wanted = parse_layers(layers, info.config.model)
    some = tuple(layer for layer in wanted if layer in UNTRAINED_LAYERS) or wanted
    nobody = tasks.untrained(out, info.config)
    sets = chosen(corpus, test, share)
    about = _about(info, sets, seeds)
    run = Run(out, {VIT: (weights, wanted), UNTRAINED: (nobody, some)}, sets, seeds, about)
    found = {"about": about, **run.of_renders()}
    found["recordings"] = run.of_recordings(data)
    found |= run.of_albums(albums) if albums else {"albums": {}, "halves": {}}
    (out / "probes.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "probes.md").write_text(markdown(found))
    print(markdown(found))


def _about(info: WeightsInfo, sets: Sets, seeds: int) -> dict[str, Any]:
    """What is measured, on what."""
    return {
        "weights": info.path.name,
        "sha256": info.sha256,
        "trained": info.trained,
        "seeds": seeds,
        "renders": {name: len(group) for name, group in vars(sets).items()},
    }


class Run:
    """A measurement of some weights.

    Parameters
    ----------
    out : Path
    systems : dict of (Path, tuple of int)
        Weights and layers, by name.
    sets : Sets
    seeds : int
    about : dict
        What was found before of the same is not measured again.
    """

    def __init__(
        self,
        out: Path,
        systems: dict[str, tuple[Path, tuple[int, ...]]],
        sets: Sets,
        seeds: int,
        about: dict[str, Any],
    ) -> None:
        self._out, self._systems, self._sets, self._seeds = out, systems, sets, seeds
        everyone = [render.id for render in sets.everything]
        layers = {name: layers for name, (_, layers) in systems.items()}
        self._kept = Kept(out / "found", {**about, "layers": layers, "of": everyone})
        self._console = Console(stderr=True)

    def _once(self, *names: str, job: Callable[[], Any]) -> Any:
        self._console.print(", ".join(names))
        return self._kept.once(names, job)

    def of_renders(self) -> dict[str, Any]:
        """Tasks over time and of whole tracks, attention and self-similarity, on renders."""
        sets = self._sets
        labels = self._out / "labels"
        write_labels(sets.local, sets.everything, labels)
        fit, test = sets.local_fit[:ONSET_TRACKS], sets.local_test
        found: dict[str, Any] = {kind: {} for kind in KINDS}
        for name, (weights, layers) in self._systems.items():
            local = self._features(name, "local", tasks.of_renders(sets.local), "sequence")
            whole = self._features(name, "whole", tasks.of_renders(sets.whole), "mean,class")
            self._tasks(found["local"], tasks.LOCAL, name, local, labels)
            self._tasks(found["whole"], tasks.WHOLE, name, whole, labels)
            attending = _all_layers(weights) if name == VIT else layers  # for the guide
            job = partial(onsets.measure, weights, attending, fit, test)
            found["onsets"][name] = self._once("attention", name, job=job)
            frames = similarity.of_tokens(local, layers)
            job = partial(similarity.measure, test[:SIMILARITY_TRACKS], frames)
            found["similarity"][name] = self._once("similarity", name, job=job)
        for name, measure in (
            (systems.LOG_MEL, onsets.measure_flux),
            (CHANCE, onsets.measure_chance),
        ):
            job = partial(measure, fit, test)
            found["onsets"][name] = self._once("attention", name, job=job)
        job = partial(similarity.measure, test[:SIMILARITY_TRACKS], similarity.of_log_mel)
        found["similarity"][systems.LOG_MEL] = self._once("similarity", systems.LOG_MEL, job=job)
        return found

    def _features(self, name: str, kind: str, tracks: Any, tokens: str) -> Path:
        weights, layers = self._systems[name]
        self._console.print(f"features: {name}, {kind}")
        path = self._out / f"{name}-{kind}.h5"
        return tasks.extracted(tracks, path, layers=layers, tokens=tokens, weights=weights)

    def _tasks(
        self, found: dict[str, Any], names: Any, system: str, features: Path, labels: Path
    ) -> None:
        baselines: Baselines = "all" if system == VIT else "majority"  # once
        for task in names:
            job = partial(tasks.probed, task, features, labels, self._seeds, baselines)
            try:
                report = self._once(task, system, job=job)
            except UsageError as error:  # such as of styles, where no song was composed
                self._console.print(f"left out: {task}, as {error}")
                found.pop(task, None)
            else:
                found.setdefault(task, {})[system] = report

    def of_recordings(self, data: Path) -> dict[str, Any]:
        """Other halves and robustness, on real music and loops; nothing where there are none."""
        if not (data / "audio").is_dir():
            return {}
        music, loops = recordings.excerpts(data, self._out / "recordings")
        found: dict[str, Any] = {"music": len(music), "loops": len(loops)}
        for kind in ("retrieval", "robustness"):
            measure = getattr(recordings, kind)
            of = music + loops if kind == "retrieval" else music
            found[kind] = {
                name: self._once(kind, name, job=partial(measure, system, of))
                for name, system in self._describing().items()
            }
        return found

    def _describing(self) -> dict[str, systems.System]:
        made = {name: systems.tokens(*given) for name, given in self._systems.items()}
        return {**made, systems.LOG_MEL: systems.of_log_mel}

    def of_albums(self, corpus: Path) -> dict[str, Any]:
        """Albums, artists and other halves, on recordings that were never trained on."""
        folder = self._out / "albums"
        tracks = recordings.with_table(corpus, folder)
        found: dict[str, Any] = {}
        for name in self._systems:
            features = self._features(name, "albums", tracks, "mean,class")
            self._tasks(found, tasks.ALBUMS, name, features, folder)
        paths = [path for _, path in tracks]
        halves = {
            name: self._once("halves", name, job=partial(recordings.retrieval, system, paths))
            for name, system in self._describing().items()
        }
        return {"albums": found, "halves": halves}


def _all_layers(weights: Path) -> tuple[int, ...]:
    return tuple(range(1, read_info(weights).config.model.depth + 1))


if __name__ == "__main__":
    app()
