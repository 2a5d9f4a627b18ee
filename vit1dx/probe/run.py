"""Features and labels to a report: each layer and kind of tokens, and baselines, probed."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from .._version import __version__
from ..config import MelConfig
from ..errors import AudioError, UsageError
from ..parallel import side_by_side, usable_cores
from ..remote import AnyPath
from ..store.folder import open_features
from ..store.matrix import token_step
from ..store.reader import Features
from .baselines import NAMES, AudioFrames, AudioVectors, log_mel, save_frames, vectors_of
from .data import Data, LocalLabels, gathered
from .features import (
    WHOLE,
    Constant,
    Feature,
    TokenFeature,
    Tokens,
    kept,
    require_kept,
    require_tracks,
)
from .local import EventTask
from .measure import Found, measure_local, measure_whole
from .names import few
from .options import AUTO_HOURS, ProbeOptions
from .report import Report, chosen_line, line_of

#: Called with what has been done, of how much, and what comes next.
Progress = Callable[[int, int, str], None]


class Stopped(Exception):
    """Somebody asked for the end."""


def probe(
    features: AnyPath,
    labels: Path,
    options: ProbeOptions | None = None,
    progress: Progress | None = None,
) -> tuple[Report, TokenFeature, Data]:
    """Probe features by labels.

    Parameters
    ----------
    features : Path or RemotePath
        A feature file, or folder of shards.
    labels : Path
        A table of tracks and labels, or a folder of annotations.
    options : ProbeOptions
    progress : callable, optional
        Takes the number of features probed, of all, and the name of one.

    Returns
    -------
    Report
    TokenFeature
        The layer and tokens that did best on the training sides of all folds.
    Data
        What was probed, for a fit on all of it.

    Raises
    ------
    UsageError
        If an option, the labels or the features do not allow it.
    StoreError
        If the features cannot be read.
    """
    options = options or ProbeOptions()
    with open_features(features) as opened:
        require_tracks(opened)
        data = gathered(opened, labels, options)
        tokens = token_features(opened, data, options)
        every = _every(opened, data, options)
        with _audio_features(opened, data, options) as (audio, remarks):
            everything: list[Feature] = [*tokens, Constant(path=features), *audio]
            found = _measured(everything, data, every, options, progress)
        about = _about(opened, labels, data, every, options)
        remarks = [*_coarse(opened, data), *_lacking(tokens, options), *remarks]
    lines = [
        line_of(feature.name, feature.layer, feature.tokens, each)
        for feature, each in zip(everything, found, strict=True)
    ]
    names = [feature.name for feature in tokens]
    chosen, best = chosen_line(names, found[: len(tokens)])
    remarks = [*data.remarks, *remarks, *_convergence(lines)]
    measures = tuple(chosen.scores)
    report = Report(data.labels.task.name, measures, chosen, lines, about, remarks)
    return report, tokens[best], data


def token_features(features: Features, data: Data, options: ProbeOptions) -> list[TokenFeature]:
    """The layers and kinds of tokens to probe.

    Raises
    ------
    UsageError
        If they were not kept, or do not suit the task.
    """
    is_local = isinstance(data.labels, LocalLabels)
    kinds = _kinds(options.tokens, ("sequence",) if is_local else WHOLE, data.labels.task.name)
    layers = features.layers if options.layers is None else options.layers
    for layer in layers:
        if layer not in features.layers:
            there = ", ".join(map(str, features.layers))
            raise UsageError(f"no layer {layer} in {features.path}; layers {there} were kept")
    first = data.labels.ids[0]
    found = [kind for kind in kinds if options.tokens or kept(features, first, kind)]
    for kind in found or kinds:
        require_kept(features, first, kind)
    return [TokenFeature(features.path, layer, kind) for kind in found for layer in layers]


def _kinds(
    asked: Sequence[str] | None, allowed: tuple[Tokens, ...], task: str
) -> tuple[Tokens, ...]:
    for kind in asked or ():
        if kind not in allowed:
            raise UsageError(f"--tokens {kind}; {', '.join(allowed)} is accepted for {task}")
    return tuple(kind for kind in allowed if asked is None or kind in asked)


def _every(features: Features, data: Data, options: ProbeOptions) -> int:
    """How many frames lie between those that are fitted on, so that these are not too many."""
    step = _step(features, data)
    if step is None:
        return 1
    index = features.index()
    seconds = sum(float(index[track_id]["duration"]) for track_id in data.labels.ids)
    return max(1, int(np.ceil(seconds / step / options.frames)))


def _step(features: Features, data: Data) -> float | None:
    """Time from one frame to the next, s; None where there are no frames to probe."""
    if not isinstance(data.labels, LocalLabels):
        return None
    return token_step(features)


def _coarse(features: Features, data: Data) -> list[str]:
    """Whether frames are too far apart to place events."""
    step, task = _step(features, data), data.labels.task
    if step is None or not isinstance(task, EventTask) or step / 2 <= task.tolerance:
        return []
    return [f"tokens {step:.3g} s apart cannot place {task.name} to within {task.tolerance} s"]


def _measured(
    features: Sequence[Feature],
    data: Data,
    every: int,
    options: ProbeOptions,
    progress: Progress | None,
) -> list[list[Found]]:
    """What came of each feature, several at a time; Ctrl-C ends all of them."""
    workers = min(options.workers or usable_cores(), len(features))
    stop = threading.Event()

    def pulse() -> None:
        if stop.is_set():
            raise Stopped

    measure = partial(_measure, data=data, every=every, options=options, pulse=pulse)
    # Features side by side serve cores better than the threads of small products do.
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(measure, feature): feature for feature in features}
        try:
            for done, future in enumerate(as_completed(waiting), 1):
                future.result()
                if progress is not None:
                    progress(done, len(features), waiting[future].name)
        except BaseException:
            stop.set()
            for future in waiting:
                future.cancel()
            raise
    return [future.result() for future in waiting]


def _measure(
    feature: Feature, data: Data, every: int, options: ProbeOptions, pulse: Callable[[], None]
) -> list[Found]:
    labels = data.labels
    if not isinstance(labels, LocalLabels):
        return measure_whole(feature, labels, data.folds, pulse)
    share = options.memory / (options.workers or usable_cores())
    return measure_local(feature, labels.tracks, labels.task, data.folds, every, share, pulse)


@contextmanager
def _audio_features(
    features: Features, data: Data, options: ProbeOptions
) -> Iterator[tuple[list[Feature], list[str]]]:
    """Baselines of the music; or why there are none."""
    with tempfile.TemporaryDirectory(prefix="vit1dx-probe-") as folder:
        try:
            files = _music(features, data, options)
            yield _of_music(features, data, files, Path(folder), options), []
        except _NoMusic as reason:
            yield [], [f"log-mel and MFCC left out: {reason}"]


class _NoMusic(Exception):
    """Why there are no baselines of the music."""


def _music(features: Features, data: Data, options: ProbeOptions) -> dict[str, Path]:
    """The file of each track."""
    if options.baselines == "majority":
        raise _NoMusic("not asked for")
    ids = data.labels.ids
    index = features.index()
    hours = sum(float(index[track_id]["duration"]) for track_id in ids) / 3600
    if options.baselines == "auto" and hours > AUTO_HOURS:
        raise _NoMusic(f"{hours:.0f} hours of music; --baselines all computes them")
    if options.audio is None:
        files = {track_id: Path(place) for track_id, place in features.files(ids).items()}
    else:
        files = {track_id: options.audio / track_id for track_id in ids}
    missing = [track_id for track_id in ids if not files[track_id].is_file()]
    if missing:
        raise _NoMusic(f"no music of {len(missing)} of {len(ids)} tracks ({few(missing)}); --audio")
    return files


def _of_music(
    features: Features, data: Data, files: dict[str, Path], folder: Path, options: ProbeOptions
) -> list[Feature]:
    config = MelConfig(**features.config["mel"])
    ids = data.labels.ids
    index = features.index()
    durations = {track_id: float(index[track_id]["duration"]) for track_id in ids}
    is_local = isinstance(data.labels, LocalLabels)
    times = {i: features[i].read("time") for i in ids} if is_local else {}

    def taken(item: tuple[int, str]) -> Any:
        number, track_id = item
        try:
            mel = log_mel(files[track_id], config, durations[track_id])
        except AudioError as error:
            raise _NoMusic(f"{files[track_id]}: {error}") from None
        if not is_local:
            return vectors_of(mel)
        place = folder / f"{number}.npz"
        save_frames(mel, config.frame_rate, times[track_id], place)
        return place

    found = list(side_by_side(taken, enumerate(ids), options.workers or usable_cores()))
    if is_local:
        return [AudioFrames(name, dict(zip(ids, found, strict=True))) for name in NAMES]
    return [
        AudioVectors(name, {i: one[name] for i, one in zip(ids, found, strict=True)})
        for name in NAMES
    ]


def _lacking(tokens: Sequence[TokenFeature], options: ProbeOptions) -> list[str]:
    """What kinds of tokens were not kept."""
    kinds = {feature.tokens for feature in tokens}
    if options.tokens or kinds == {"sequence"} or kinds == set(WHOLE):
        return []
    left_out = ", ".join(kind for kind in WHOLE if kind not in kinds)
    return [f"left out: {left_out} tokens, which were not kept"]


def _convergence(lines: Sequence[Any]) -> list[str]:
    unconverged = sum(line.unconverged for line in lines)
    return [f"{unconverged} fits did not converge: mind their figures"] if unconverged else []


def _about(
    features: Features, labels: Path, data: Data, every: int, options: ProbeOptions
) -> dict[str, Any]:
    """What was probed, on what, and how."""
    tracks, groups = len(data.labels.ids), len(set(data.groups))
    is_local = isinstance(data.labels, LocalLabels)
    about = {
        "generator": f"vit1dx {__version__}",
        "features": str(features.path),
        "labels": str(labels),
        "model_name": features.attributes["model_name"],
        "model_sha256": features.attributes["model_sha256"],
        "precision": features.attributes["precision"],
        "tracks": tracks,
        "groups": groups,
        "group_by": options.group_by,
        "classes": len(data.labels.task.classes),
        "divisions": len(data.folds),
        "folds": None if options.split_column else options.folds,
        "seeds": options.seeds,
        "seed": options.seed,
        "every": every if is_local else None,
    }
    return {**about, "caption": _caption(about, options)}


def _caption(about: dict[str, Any], options: ProbeOptions) -> str:
    """What the figures are, in some sentences."""
    groups = f" in {about['groups']} groups ({options.group_by})" if options.group_by else ""
    split = f"{options.folds} folds"
    if options.split_column:
        split = f"split by {options.split_column!r}"
    if options.seeds > 1 and about["divisions"] > 1:
        split += f", {options.seeds} seeds from {options.seed}"
    every = about["every"]
    sample = f" Fitted on one frame of {every}." if every and every > 1 else ""
    several = ": mean ± standard deviation over them" if about["divisions"] > 1 else ""
    return (
        f"{about['tracks']} tracks{groups}, {split}{several}. Linear probes on whitened features; "
        "penalty, threshold and the layer of the first line are chosen on the training side alone."
        f"{sample}"
    )
