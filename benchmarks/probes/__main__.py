"""What a ViT-1D has learnt, measured: the paper's claims, on songs and a soundfont held out.

    python -m benchmarks.probes WEIGHTS --corpus CORPUS --test TEST -o OUT

Writes OUT/probes.json and OUT/probes.md. What was measured before in OUT is not measured again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.probes import systems
from benchmarks.probes.collection import Memory
from benchmarks.probes.earlier import MEASURED_AGAIN, read_earlier, with_baselines
from benchmarks.probes.measure import (
    Sets,
    chosen,
    contenders,
    described,
    of_albums,
    probed,
    public,
    real,
)
from benchmarks.probes.report import markdown
from vit1dx.model.weights import WeightsInfo, read_info
from weights.recipe import DEFAULT_DATA

app = typer.Typer(add_completion=False)


@app.command()
def main(
    weights: Annotated[Path, typer.Argument(help=".onnx or .safetensors")],
    corpus: Annotated[Path, typer.Option(help="Renders of training songs, to fit probes on.")],
    test: Annotated[Path, typer.Option(help="Renders of testing songs, to score them on.")],
    out: Annotated[Path, typer.Option("-o", help="Folder for tables and features.")],
    data: Annotated[Path, typer.Option(help="Folder of real recordings.")] = DEFAULT_DATA,
    albums: Annotated[
        Path | None, typer.Option(help="Recordings, by weights.recipe.corpus.real --role test.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    share: Annotated[float, typer.Option(help="Of the renders; below 1 for a try-out.")] = 1.0,
    baselines: Annotated[
        Path | None,
        typer.Option(help="An earlier probes.json of the same renders, to take baselines from."),
    ] = None,
) -> None:
    """Measure the weights beside baselines, and write the tables."""
    console = Console(stderr=True)
    out.mkdir(parents=True, exist_ok=True)
    info = read_info(weights)
    if info.config.mel != systems.CONFIG.mel:
        raise typer.BadParameter(f"{weights}: {info.config.mel}; {systems.CONFIG.mel} is needed")
    sets = chosen(corpus, test, share)
    makers = everyone = contenders(weights, info.config, out)
    earlier = None
    if baselines:
        try:
            earlier = read_earlier(baselines, about(info, sets, seeds))
        except (OSError, ValueError) as error:
            raise typer.BadParameter(str(error)) from None
        makers = {name: m for name, m in makers.items() if public(name) in MEASURED_AGAIN}
    memory = Memory(out / f"seeds {seeds}, share {share:g}")
    for system, make in makers.items():
        console.print(f"features: {system}")
        described(memory, system, make, sets)
    console.print("probes")
    found = probed(memory, list(makers), sets, seeds)
    console.print("recordings")
    found["recordings"] = real(makers, data, out / "recordings")
    found["albums"] = of_albums(everyone, albums, seeds) if albums else {}
    found["about"] = about(info, sets, seeds)
    if earlier:
        found = with_baselines(found, earlier)
    (out / "probes.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "probes.md").write_text(markdown(json.loads((out / "probes.json").read_text())))
    console.print(f"{out / 'probes.md'}")


def about(info: WeightsInfo, sets: Sets, seeds: int) -> dict[str, Any]:
    """What was measured, on what."""
    return {
        "weights": info.path.name,
        "sha256": info.sha256,
        "trained": info.trained,
        "seeds": seeds,
        "renders": {name: len(group) for name, group in vars(sets).items()},
    }


if __name__ == "__main__":
    app()
