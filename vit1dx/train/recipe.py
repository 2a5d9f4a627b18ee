"""What a training run does: everything that changes its result, in one serialisable place."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from ..errors import UsageError
from ..model.request import require_choice
from .mix import Part, parse_mix

TrainingPrecision: TypeAlias = Literal["auto", "bf16", "fp32"]
Optimizer: TypeAlias = Literal["muon", "adamw"]
AUTO: TrainingPrecision = "auto"
_SHARES = ("cooldown", "shared_timbre", "jitter")
_POSITIVE = ("batch", "seconds", "keep", "learning_rate", "clip", "temperature", "siblings")
#: Settings that say how long a run is and how it ends, and may change while it is under way.
LENGTH = ("steps", "minutes", "cooldown")


@dataclass(frozen=True)
class Recipe:
    """A training run.

    Attributes
    ----------
    steps : int or None
        Length of the run; None where `minutes` says it.
    minutes : float or None
        Length of the run in minutes of wall-clock time, resumed ones together.
    batch : int
        Positive pairs in a step, over all ranks; each is two segments.
    seconds : float
        Length of a segment.
    keep : float
        Share of a segment's frames that the encoder is given, drawn anew for each: half of them
        tell nearly as much, at half the cost (patchout; Koutini et al., Interspeech 2022).
    optimizer : str
        "muon", for the matrices of the blocks and AdamW for the rest, or "adamw" (`optimizer.py`).
    learning_rate, weight_decay, clip : float
        Peak rate and decay, and the gradient norm that it is clipped to.
    warmup : int
        Steps in which the rate rises. It then stays, until the cool-down: so a run can be stopped,
        gone on with, and given another end.
    cooldown : float
        Last share of the run, in which the rate falls on a line to 0.
    ema : float
        Of what is averaged, what stays at each step: the weights that are kept are then this
        exponential moving average. 0 keeps the last ones.
    temperature : float
        Of NT-Xent.
    mix : str
        Kinds of steps and their shares (`mix.py`): in "paper" steps positives are two segments of
        one track, in "aligned" ones the same time in two aligned renditions (`--groups`).
    shared_timbre : float
        Share of the steps whose tracks share one timbre as far as possible, so that what is played
        must tell them apart and not what it is played on.
    jitter : float
        Greatest shift in time between aligned positives, as a share of a segment: with none, the
        exact times of onsets are enough to tell which belong together.
    siblings : int
        Pairs of each song in a step with aligned positives: negatives of one song and one sound.
    own_heads : bool
        Whether aligned positives have a projection head of their own. What they have in common is
        not what two segments of a track have, and one head would have to drop what the other needs.
    augment : bool
        Whether segments are altered at random.
    precision : str
        "bf16" (autocast), "fp32", or "auto": bf16 where the device has it (`ranks.has_bf16`).
        Processors without it take eight times as long as in fp32.
    seed : int
        Of everything drawn.
    """

    steps: int | None = None
    minutes: float | None = None
    batch: int = 64
    seconds: float = 4.0
    keep: float = 1.0
    optimizer: Optimizer = "muon"
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    clip: float = 1.0
    warmup: int = 300
    cooldown: float = 0.2
    ema: float = 0.0
    temperature: float = 0.1
    mix: str = "paper=1"
    shared_timbre: float = 0.7
    jitter: float = 0.0
    siblings: int = 2
    own_heads: bool = True
    augment: bool = True
    precision: TrainingPrecision = AUTO
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise UsageError(
                f"--steps {self.steps} and --minutes {self.minutes}; one of the two is needed"
            )
        for name in (*_POSITIVE, "steps", "minutes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{name} is {value}; it must be above 0")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")
        if not 0 <= self.ema < 1:
            raise UsageError(f"ema is {self.ema}; it must be at least 0 and below 1")
        parse_mix(self.mix)
        if self.keep > 1:
            raise UsageError(f"keep is {self.keep}; it must be above 0 and at most 1")
        if self.batch < 2:
            raise UsageError(f"a batch of {self.batch} pair; at least 2 are needed for negatives")
        require_choice("optimizer", self.optimizer, get_args(Optimizer))
        require_choice("precision", self.precision, get_args(TrainingPrecision))

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts of the mix."""
        return parse_mix(self.mix)

    def siblings_in(self, part: Part) -> int:
        """Pairs of one song in a step of a part."""
        return self.siblings if part.is_aligned else 1

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain values, as checkpoints carry it."""
        return dataclasses.asdict(self)

    def rate_at(self, step: int, done: float) -> float:
        """Learning rate of a step, `done` being the share of the run that lies behind it."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        fall = min(1.0, max(0.0, 1 - done) / self.cooldown) if self.cooldown else 1.0
        return self.learning_rate * rise * fall
