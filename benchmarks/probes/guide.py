"""The layer guide that comes with weights, made of what was measured of them.

python -m benchmarks.probes.guide weights/NAME.probes.json weights/NAME.guide.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.probes.onsets import ROW, Table, layer_of
from benchmarks.probes.report import CHANCE, VIT
from benchmarks.probes.systems import LOG_MEL
from benchmarks.probes.tasks import LOCAL, WHOLE, Report, own, token_lines
from vit1dx.model.guide import SIMILARITY

#: Tokens that feature files have ready, for a guide to speak of.
TOKENS = ("sequence", "class", "mean")


def guide(found: dict[str, Any]) -> dict[str, Any]:
    """The guide, as the file beside the weights has it, of what `benchmarks.probes` found."""
    reports = {**found["local"], **found["whole"]}
    rows = [
        _row(name, reports[name][VIT], task.says)
        for name, task in {**LOCAL, **WHOLE}.items()
        if name in reports
    ]
    # Albums' recordings, where they were there, are more, and more like what people have.
    if retrieval := found["halves"] or found["recordings"].get("retrieval"):
        rows.append(_recordings(retrieval))
    digest = found["about"]["sha256"]
    return {"sha256": digest, "tasks": rows, "onset_curves": _curves(found["onsets"])}


def _curves(found: dict[str, Table]) -> list[dict[str, Any]]:
    """Curves that show more onsets than chance: one a layer, then those of class rows alone."""
    (chance,) = found[CHANCE].values()
    ours = sorted(found[VIT].items(), key=lambda item: -item[1]["held_out"])
    good = [(name, curve) for name, curve in ours if curve["held_out"] > chance["held_out"]]
    good.sort(key=lambda item: item[0].endswith(ROW))  # stable
    return list({curve["curve"]: _curve(curve) for _, curve in good}.values())


def _curve(found: dict[str, Any]) -> dict[str, Any]:
    _, head, reading = found["curve"].split(", ")
    return {
        "layer": layer_of(found["curve"]),
        "head": int(head.removeprefix("head ")),
        "reading": reading,
        "falls": found["curve"].startswith("-"),
        "least": found["least"],
        "lag": found["lag"],
    }


def _row(task: str, report: Report, measure: str) -> dict[str, Any]:
    """The layer that does best on training songs held back, not on those it is scored on."""
    lines = [line for line in token_lines(report) if line["tokens"] in TOKENS]
    best = max(lines, key=lambda line: line["held_out"] or 0)
    (other,) = (line for line in report["lines"] if line["name"] == LOG_MEL)
    scores = [own(report, line)["mean"] for line in (best, other)]
    return _advice(task, best["layer"], best["tokens"], measure, *scores)


def _recordings(retrieval: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Which mean of all tokens finds the other half of a recording: `vit1dx search` goes by it."""
    means = {k: v for k, v in retrieval[VIT].items() if k.endswith(", mean")}
    best = max(means, key=means.__getitem__)
    layer = int(best.split(",")[0].removeprefix("layer "))
    (other,) = retrieval[LOG_MEL].values()
    measure = "other halves found, of the same recordings"
    return _advice(SIMILARITY, layer, "mean", measure, means[best], other)


def _advice(
    task: str, layer: int, tokens: str, measure: str, score: float | None, log_mel: float | None
) -> dict[str, Any]:
    assert score is not None
    assert log_mel is not None
    row = {"task": task, "layer": layer, "tokens": tokens, "score": round(score, 6)}
    return {**row, "measure": measure, "log_mel": round(log_mel, 6)}


def main() -> None:
    """Write the guide."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("probes", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    found = guide(json.loads(options.probes.read_text()))
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
