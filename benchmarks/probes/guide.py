"""The layer guide that comes with weights, made of what was measured of them.

python -m benchmarks.probes.guide weights/probes.json weights/vit1d-tiny.guide.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vit1dx.model.guide import SIMILARITY

VIT, BASELINE = "ViT-1D", "log-mel"
LOCAL = {
    "chords": "share of time, majmin",
    "local key": "share of time",
    "beats": "F, 70 ms",
    "downbeats": "F, 70 ms",
    "onsets": "F, 50 ms",
    "notes": "F of frames",
}
WHOLE = {
    "instruments": "mean average precision",
    "key": "accuracy",
    "tempo": "accuracy of five classes",
    "style": "accuracy",
}
#: What `probes.json` calls the means of a track that feature files have, and what the guide does.
TOKENS = {"class token": "class", "both": "mean"}

Found = dict[str, Any]


def guide(found: Found) -> Found:
    """The guide, as the file beside the weights has it, of what `benchmarks.probes` found."""
    rows = [_local(found["local"], task, measure) for task, measure in LOCAL.items()]
    rows += [_whole(found["whole"], task, measure) for task, measure in WHOLE.items()]
    if BASELINE in found["recordings"]:
        rows.append(_recordings(found["recordings"]))
    return {"sha256": found["about"]["sha256"], "tasks": rows}


def _local(found: Found, task: str, measure: str) -> Found:
    layers = {name: scores["frame"] for name, scores in found[VIT].items()}
    best = _best(layers, task)
    baseline = found[BASELINE][BASELINE]["frame"]["test"][task]["value"]
    return _row(task, best, "sequence", layers[best]["test"][task]["value"], measure, baseline)


def _whole(found: Found, task: str, measure: str) -> Found:
    means = {name: v for name, v in found[VIT].items() if name.split(", ")[1] in TOKENS}
    best = _best(means, task)
    (baseline,) = found[BASELINE].values()
    score, other = means[best]["test"][task]["value"], baseline["test"][task]["value"]
    return _row(task, best, TOKENS[best.split(", ")[1]], score, measure, other)


def _best(features: Found, task: str) -> str:
    """The feature that does best on training songs held back, not on those it is scored on."""
    return max(features, key=lambda name: features[name]["held_out"][task]["value"])


def _recordings(found: Found) -> Found:
    """Which mean of all tokens finds the other half of a recording: `vit1dx search` goes by it."""
    means = {k: v for k, v in found[VIT]["retrieval"].items() if k.endswith(", both")}
    best = max(means, key=means.__getitem__)
    (baseline,) = found[BASELINE]["retrieval"].values()
    measure = "other halves found, of the same recordings"
    return _row(SIMILARITY, best, "mean", means[best], measure, baseline)


def _row(task: str, name: str, tokens: str, score: float, measure: str, log_mel: float) -> Found:
    layer = int(name.split(",")[0].removeprefix("layer "))
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
