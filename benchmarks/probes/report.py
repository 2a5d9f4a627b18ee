"""The tables of a measurement, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.probes import albums, local, whole
from benchmarks.probes.similarity import DIMENSIONS
from benchmarks.tables import table

VIT = "ViT-1D"
LAYERED = (VIT, "untrained")
Table = dict[str, Any]


def markdown(found: Table) -> str:
    """All tables of what `python -m benchmarks.probes` found."""
    parts = [_about(found["about"])]
    parts += [_local_summary(found["local"]), _local_layers(found["local"])]
    parts += [_whole_summary(found["whole"]), _claim_1(found["whole"])]
    parts += [_onsets(found["onsets"]), _similarity(found["similarity"])]
    if found["recordings"]:
        parts += [_retrieval(found["recordings"]), _robustness(found["recordings"])]
    if found.get("albums"):  # none before there were any
        parts.append(_albums(found["albums"]))
    return "\n".join(parts)


def _about(about: Table) -> str:
    renders = about["renders"]
    return (
        f"`{about['weights']}`, sha256 `{about['sha256'][:12]}`. Probes are linear, fitted on "
        f"{renders['local_fit']} (local) and {renders['global_fit']} (global) renders of training "
        f"songs, and scored on {renders['local_test']} and {renders['global_test']} renders of "
        "testing songs in a soundfont that neither the encoder nor the probes have met; mean over "
        f"{about['seeds']} draws of what is fitted on, with the standard deviation. The layer of "
        "each entry is the best on training songs kept from the probe.\n"
    )


def _percent(mean: Table) -> str:
    return f"{100 * mean['value']:.1f} ± {100 * mean['spread']:.1f}"


def _best(features: Table, task: str) -> tuple[str, Table]:
    """Of several features' scores, those of the one that does best on songs held out."""
    return max(features.items(), key=lambda item: item[1]["held_out"][task]["value"])


def _contexts(features: Table, context: str) -> Table:
    return {name: found[context] for name, found in features.items()}


def _local_rows(found: Table, context: str) -> Iterable[list[str]]:
    for system, features in found.items():
        scored = _contexts(features, context)
        groups = [scored] if system in LAYERED else [{k: v} for k, v in scored.items()]
        for group in groups:
            name = system if len(group) > 1 else next(iter(group))
            yield [name, *(_entry(group, task) for task in local.TASKS)]


def _entry(group: Table, task: str) -> str:
    feature, scores = _best(group, task)
    layer = f" ({feature})" if len(group) > 1 else ""
    return _percent(scores["test"][task]) + layer


def _name(system: str, feature: str) -> str:
    return f"{system}, {feature}" if system in LAYERED else feature


def _local_summary(found: Table) -> str:
    parts = ["### Local tasks: single frames, and with 0.5 s of context\n"]
    for context in local.CONTEXTS:
        head = [f"features, {context}", *local.TASKS]
        parts.append(table(head, _local_rows(found, context)))
    parts.append(
        "Chords: 25 classes (mir_eval's majmin and none), share of time; local key: 24 classes, "
        "share of time; beats and downbeats: F, 70 ms; onsets: F, 50 ms; notes: F of frames. All "
        "in %.\n"
    )
    return "\n".join(parts)


def _local_layers(found: Table) -> str:
    scored = _contexts(found[VIT], "frame")
    rows = (
        [name, *(_percent(scores["test"][task]) for task in local.TASKS)]
        for name, scores in scored.items()
    )
    return "Layer by layer, single tokens:\n\n" + table(["", *local.TASKS], rows)


def _whole_summary(found: Table) -> str:
    rows = []
    for system, features in found.items():
        rows.append([system, *(_entry(features, task) for task in whole.TASKS)])
    note = (
        "Instruments: mean average precision; key and style: accuracy; key, weighted: MIREX; "
        "tempo: accuracy of five classes. All in %.\n"
    )
    return (
        "### Global tasks: one vector a track\n\n"
        + table(["features", *whole.TASKS], rows)
        + ("\n" + note)
    )


def _claim_1(found: Table) -> str:
    kinds = ("class token", "sequence tokens", "both")
    rows = []
    for kind in kinds:
        group = {name: v for name, v in found[VIT].items() if name.endswith(f", {kind}")}
        short = {name.split(",")[0]: scores for name, scores in group.items()}
        rows.append([f"mean {kind}" if kind != "both" else "mean of both"])
        rows[-1] += [_entry(short, task) for task in whole.TASKS]
    return f"{VIT}, by what is averaged (claim C1):\n\n" + table(["", *whole.TASKS], rows)


def _onsets(found: Table) -> str:
    rows = []
    for system, groups in found.items():
        best = max(groups.values(), key=lambda scores: scores["held_out"])
        rows.append([system, best["curve"], f"{best['test']:.3f}"])
    layers = [
        [group, scores["curve"], f"{scores['test']:.3f}"]
        for group, scores in found.get(VIT, {}).items()
    ]
    return (
        "### Onsets from attention maps (claim C3)\n\n"
        + table(["", "curve, chosen on training songs", "F, 50 ms"], rows)
        + "\nLayer by layer:\n\n"
        + table(["", "curve", "F, 50 ms"], layers)
    )


def _similarity(found: Table) -> str:
    rows = [
        [_name(system, feature)] + [f"{scores[dimension]:.3f}" for dimension in DIMENSIONS]
        for system, features in found.items()
        for feature, scores in features.items()
    ]
    return "### Correlation of self-similarity matrices (claim C4)\n\n" + table(
        ["features", *DIMENSIONS], rows
    )


def _retrieval(found: Table) -> str:
    rows = []
    for system, scores in _measured(found):
        by_name: dict[str, list[str]] = {}
        for feature, score in scores["retrieval"].items():
            by_name.setdefault(feature.split(",")[0], []).append(f"{100 * score:.1f}")
        rows += [[_name(system, name), " / ".join(values)] for name, values in by_name.items()]
    return (
        f"### Real recordings: {found['music']} pieces and {found['loops']} loops\n\n"
        "Share of halves (%) whose nearest neighbour among all other halves is the other half of "
        "their recording; of a ViT-1D, by mean class token / sequence tokens / both / sequence "
        "tokens with their deviation; of others, by mean and deviation:\n\n"
        + table(["features", "retrieval"], rows)
    )


def _albums(found: Table) -> str:
    rows = [
        [_name(system, feature)] + [f"{100 * scores[task]:.1f}" for task in albums.TASKS]
        for system, features in found.items()
        for feature, scores in features.items()
    ]
    return (
        "### Recordings of albums that were never trained on\n\n"
        "Share of halves whose nearest is their other one; accuracy of the album; mean average "
        "precision of the artist, cross-validated; in %:\n\n"
        + table(["features", *albums.TASKS], rows)
    )


def _measured(found: Table) -> Iterable[tuple[str, Table]]:
    return ((system, scores) for system, scores in found.items() if isinstance(scores, dict))


def _robustness(found: Table) -> str:
    rows, alterations = [], []
    for system, scores in _measured(found):
        cosines = scores["robustness"]
        alterations = list(cosines)
        for feature in cosines[alterations[0]]:
            values = (f"{cosines[alteration][feature]:.3f}" for alteration in alterations)
            rows.append([_name(system, feature), *values])
    return (
        "Mean cosine of frames with those of the same music altered, features centred:\n\n"
        + table(["features", *alterations], rows)
    )
