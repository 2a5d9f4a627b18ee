"""The tables of a measurement, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from benchmarks.probes.similarity import DIMENSIONS
from benchmarks.probes.tasks import TASKS, Report, own, token_lines
from benchmarks.tables import table

VIT, UNTRAINED, CHANCE = "ViT-1D", "untrained", "chance"
KINDS = {"class": "mean class token", "mean": "mean of all tokens", "class+mean": "both"}
Table = dict[str, Any]


def markdown(found: Table) -> str:
    """All tables of what `python -m benchmarks.probes` found."""
    parts = [_about(found["about"])]
    parts += _tasks("Local tasks: single frames", found["local"])
    parts += _tasks("Global tasks: one vector a track", found["whole"])
    parts.append(_claim_1(found["whole"]))
    parts += [_onsets(found["onsets"]), _similarity(found["similarity"])]
    if found["recordings"]:
        parts += [_retrieval(found["recordings"]), _robustness(found["recordings"]["robustness"])]
    parts += _tasks("Recordings of albums that were never trained on", found["albums"])
    if found["halves"]:
        parts.append("Share of halves of these recordings (%) whose nearest is their other one:\n")
        parts.append(_shares(found["halves"]))
    return "\n".join(parts)


def _about(about: Table) -> str:
    renders = about["renders"]
    return (
        f"`{about['weights']}`, sha256 `{about['sha256'][:12]}`. Probes by `vit1dx probe`, fitted "
        f"on {renders['local_fit']} (local) and {renders['global_fit']} (global) renders of "
        f"training songs, and scored on {renders['local_test']} and {renders['global_test']} "
        "renders of testing songs in a soundfont that neither the encoder nor the probes have met; "
        f"mean over {about['seeds']} draws of what is fitted and chosen on, with the standard "
        "deviation. The layer of each entry is the best on training songs kept from the probe.\n"
    )


def cell(report: Report, line: Report) -> str:
    """A line's own score, in %."""
    score = own(report, line)
    if score["mean"] is None:
        return "-"
    text = f"{100 * score['mean']:.1f}"
    spread = score["deviation"]
    return text if spread is None else f"{text} ± {100 * spread:.1f}"


def _chosen(report: Report) -> str:
    """The score of what was chosen on the training side, and what that was, most often."""
    line = report["chosen"]
    which = re.sub(r"^chosen \(|\)$|, sequence|: \d+", "", line["name"])
    names = which.split(", layer")
    more = ", ..." if len(names) > 1 else ""
    return f"{cell(report, line)} ({names[0]}{more})"


def _tasks(title: str, reports: Table) -> list[str]:
    """What was chosen of each system beside baselines, and then each layer."""
    if not reports:
        return []
    first = next(iter(reports.values()))
    names = [line["name"] for line in first[VIT]["lines"] if line["layer"] is None]
    rows = [
        [system, *(_chosen(of_task[system]) for of_task in reports.values())] for system in first
    ]
    rows += [
        [name, *(_named(of_task[VIT], name) for of_task in reports.values())] for name in names
    ]
    layers = [
        [line["name"], *(_named(of_task[VIT], line["name"]) for of_task in reports.values())]
        for line in token_lines(first[VIT])
    ]
    says = "; ".join(f"{task}: {TASKS[task].says}" for task in reports)
    return [
        f"### {title}\n\n" + table(["features", *reports], rows) + f"\n{says}. All in %.\n",
        "Layer by layer:\n\n" + table(["", *reports], layers),
    ]


def _named(report: Report, name: str) -> str:
    return next((cell(report, each) for each in report["lines"] if each["name"] == name), "-")


def _claim_1(reports: Table) -> str:
    rows = [
        [name, *(_best(of_task[VIT], kind) for of_task in reports.values())]
        for kind, name in KINDS.items()
    ]
    return f"{VIT}, by what is averaged (claim C1):\n\n" + table(["", *reports], rows)


def _best(report: Report, tokens: str) -> str:
    """Of one kind of tokens, the layer that does best on songs held out."""
    lines = [line for line in token_lines(report) if line["tokens"] == tokens]
    best = max(lines, key=lambda line: line["held_out"] or 0)
    return f"{cell(report, best)} (layer {best['layer']})"


def _onsets(found: Table) -> str:
    rows = []
    for system, groups in found.items():
        best = max(groups.values(), key=lambda scores: scores["held_out"])
        rows.append([system, best["curve"], f"{best['test']:.3f}"])
    layers = [
        [group, scores["curve"], f"{scores['test']:.3f}"] for group, scores in found[VIT].items()
    ]
    return (
        "### Onsets from attention maps (claim C3)\n\n"
        + table(["", "curve, chosen on training songs", "F, 50 ms, all events"], rows)
        + "\nLayer by layer, by all readings of the map and by the class token's row alone:\n\n"
        + table(["", "curve", "F, 50 ms, all events"], layers)
    )


def _similarity(found: Table) -> str:
    rows = [
        [name, *(f"{scores[d]:.3f}" if d in scores else "-" for d in DIMENSIONS)]
        for name, scores in _by_feature(found)
    ]
    head = ["features", *DIMENSIONS]
    return "### Correlation of self-similarity matrices (claim C4)\n\n" + table(head, rows)


def _by_feature(found: Table) -> Iterable[tuple[str, Any]]:
    for system, features in found.items():
        for feature, scores in features.items():
            yield (feature if feature == system else f"{system}, {feature}"), scores


def _retrieval(found: Table) -> str:
    return (
        f"### Real recordings: {found['music']} pieces and {found['loops']} loops\n\n"
        "Share of halves (%) whose nearest neighbour among all other halves is the other half of "
        "their recording:\n\n" + _shares(found["retrieval"])
    )


def _shares(found: Table) -> str:
    rows = [[name, f"{100 * score:.1f}"] for name, score in _by_feature(found)]
    return table(["features", "other half found"], rows)


def _robustness(found: Table) -> str:
    alterations = list(next(iter(found.values())))
    rows = []
    for system, cosines in found.items():
        by_feature = {f: {a: cosines[a][f] for a in alterations} for f in cosines[alterations[0]]}
        rows += [
            [name, *(f"{value:.3f}" for value in values.values())]
            for name, values in _by_feature({system: by_feature})
        ]
    return (
        "Mean cosine of frames with those of the same music altered, features centred:\n\n"
        + table(["features", *alterations], rows)
    )
