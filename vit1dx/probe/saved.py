"""A probe in a file: fitted on all that has labels, for tracks that have none."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from .._version import __version__
from ..errors import UsageError
from ..store.matrix import token_step
from ..store.reader import Features
from ..whole import whole
from . import splits
from .data import Data, LocalLabels, turns_of
from .features import HeldFrames, TokenFeature
from .linear import Probe, Whitening, fit
from .measure import fit_local, sampled
from .options import ProbeOptions
from .report import Report
from .whole import NumberTask

FORMAT, VERSION = "vit1dx-probe", 1
ENDING = ".npz"
#: What must be the same of features to be predicted from.
SAME = ("model_sha256", "precision")
#: By which the time from token to token may differ, as a share.
STEP_TOLERANCE = 0.01


@dataclass(frozen=True)
class About:
    """What a saved probe is.

    Attributes
    ----------
    task : str
    kind : {"classes", "tags", "numbers"}
    is_local : bool
        Whether it is of frames, by sequence tokens.
    layer : int
    tokens : str
    classes : tuple of str
        What the outputs are.
    model_name, model_sha256, precision : str
        Of the features that it was fitted on.
    step : float or None
        Time from token to token, s.
    height : float or None
        That a peak needs, of events; the least logit of a note that sounds.
    mean, deviation : float
        Of the numbers of a regression, whose outputs are in these.
    tracks : int
        That it was fitted on.
    scores : dict
        Of the cross-validation, by measure: mean over folds.
    generator : str
    """

    task: str
    kind: str
    is_local: bool
    layer: int
    tokens: str
    classes: tuple[str, ...]
    model_name: str
    model_sha256: str
    precision: str
    step: float | None = None
    height: float | None = None
    mean: float = 0.0
    deviation: float = 1.0
    tracks: int = 0
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    generator: str = f"vit1dx {__version__}"


@dataclass(frozen=True)
class SavedProbe:
    """A probe, and what it is."""

    about: About
    probe: Probe

    def require_same(self, features: Features) -> None:
        """Raise `UsageError` unless features are of the model, precision and layer of the probe."""
        for key in SAME:
            ours, theirs = getattr(self.about, key), features.attributes.get(key)
            if ours != theirs:
                what = "weights" if key == "model_sha256" else "precision"
                raise UsageError(
                    f"{features.path} is of {what} {str(theirs)[:12]}; the probe was fitted on "
                    f"{str(ours)[:12]}"
                )
        if self.about.layer not in features.layers:
            raise UsageError(
                f"the probe is of layer {self.about.layer}; {features.path} has "
                f"{', '.join(map(str, features.layers))}"
            )

    def require_step(self, features: Features) -> None:
        """Raise `UsageError` unless tokens come as fast as those that it was fitted on."""
        ours, theirs = self.about.step, token_step(features)
        if ours and abs(theirs / ours - 1) > STEP_TOLERANCE:
            raise UsageError(
                f"tokens of {features.path} are {theirs:.4g} s apart; the probe was fitted on "
                f"tokens {ours:.4g} s apart"
            )


def fitted(
    features: Features, feature: TokenFeature, data: Data, report: Report, options: ProbeOptions
) -> SavedProbe:
    """Fit the probe of one layer on all tracks with labels."""
    with threadpool_limits(1):
        return _fitted(features, feature, data, report, options)


def _fitted(
    features: Features, feature: TokenFeature, data: Data, report: Report, options: ProbeOptions
) -> SavedProbe:
    labels, attributes = data.labels, features.attributes
    task = labels.task
    about = About(
        task=task.name,
        kind=task.kind,
        is_local=isinstance(labels, LocalLabels),
        layer=feature.layer,
        tokens=feature.tokens,
        classes=task.classes,
        model_name=str(attributes["model_name"]),
        model_sha256=str(attributes["model_sha256"]),
        precision=str(attributes["precision"]),
        step=token_step(features) if isinstance(labels, LocalLabels) else None,
        tracks=len(labels.ids),
        scores={measure: mean for measure, (mean, _) in _line(report, feature).scores.items()},
    )
    if isinstance(labels, LocalLabels):
        return _fitted_local(feature, data, report, options, about)
    held_out = splits.inner(data.groups, labels.strata, turns_of(labels), options.seed)
    vectors = feature.vectors(labels.ids)
    found = fit(vectors, labels.values, task.kind, len(task.classes), held_out)
    if isinstance(task, NumberTask):
        about = dataclasses.replace(about, mean=task.mean, deviation=task.deviation)
    return SavedProbe(about, found.whole)


def _line(report: Report, feature: TokenFeature) -> Any:
    return next(line for line in report.lines if line.name == feature.name)


def _fitted_local(
    feature: TokenFeature, data: Data, report: Report, options: ProbeOptions, about: About
) -> SavedProbe:
    assert isinstance(data.labels, LocalLabels)
    task, tracks = data.labels.task, data.labels.tracks
    held_out = splits.inner(data.groups, None, 1, options.seed)
    held = HeldFrames(feature, tracks.ids, options.memory)
    every = report.about["every"]
    sample = sampled(held, tracks, task, every, options.seed, lambda: None)
    found = fit_local(sample, task, np.ones(len(tracks.ids), bool), held_out)
    tally = task.tally(every)
    for place, (values, time) in enumerate(held.passes()):
        if held_out[0, place]:
            tally.add(tracks.annotations[place], time, found.inner[0].outputs(values))
    return SavedProbe(dataclasses.replace(about, height=tally.choice), found.whole)


def save(saved: SavedProbe, path: Path) -> None:
    """Write a probe; what is there already is replaced once all is written.

    Raises
    ------
    UsageError
        If it cannot be written.
    """
    probe = saved.probe
    try:
        with whole(path) as unfinished, unfinished.open("wb") as file:
            np.savez(
                file,
                about=json.dumps({"format": FORMAT, "version": VERSION, **vars(saved.about)}),
                centre=probe.whitening.centre,
                whitening=probe.whitening.turn,
                weights=probe.weights[:-1],
                bias=probe.weights[-1],
                classes=np.array(saved.about.classes),
                penalty=probe.penalty,
                iterations=probe.iterations,
                converged=probe.converged,
            )
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def load(path: Path) -> SavedProbe:
    """Read a probe.

    Raises
    ------
    UsageError
        If there is none, or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            values = json.loads(str(found["about"]))
            kind, version = values.pop("format"), values.pop("version")
            if (kind, version) != (FORMAT, VERSION):
                raise UsageError(f"{path} is {kind!r} of version {version!r}; {VERSION} is needed")
            values["classes"] = tuple(values["classes"])
            weights = np.vstack([found["weights"], found["bias"]])
            whitening = Whitening(found["centre"], found["whitening"])
            state = float(found["penalty"]), int(found["iterations"]), bool(found["converged"])
            return SavedProbe(About(**values), Probe(whitening, weights, *state))
    except FileNotFoundError:
        raise UsageError(f"no probe at {path}") from None
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is no probe of 'vit1dx probe --save'") from None
