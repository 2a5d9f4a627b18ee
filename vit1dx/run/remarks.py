"""What a run tells its user on standard error before it starts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from ..errors import AudioWarning
from ..model.backend import BackendInfo
from ..model.weights import WeightsInfo
from .estimate import Durations, Size, format_bytes
from .plan import Plan
from .sources import AUDIO_LIKE_EXTENSIONS, PassedOver
from .wording import count, duration, one_line

#: Endings named of those that were passed over.
SHOWN_ENDINGS = 6


def show_plan(console: Console, plan: Plan) -> None:
    """Say what of a run the output holds already."""
    if plan.already or plan.changed or plan.failures:
        console.print(
            f"continuing: {count(plan.already, 'file')} done before, {len(plan.changed)} changed "
            f"since, {len(plan.failures)} failed before",
            soft_wrap=True,
        )


def show_start(
    console: Console,
    weights: WeightsInfo,
    precision: str,
    backend: BackendInfo,
    durations: Durations,
    size: Size,
    warnings: Sequence[AudioWarning],
) -> None:
    """Say what is about to be done, and what the user should know before."""
    files, seconds = len(durations.seconds), sum(durations.seconds.values())
    lines = [
        f"{count(files, 'file')}, about {duration(seconds)} of audio; expected output "
        f"{format_bytes(size.total)} (tokens {format_bytes(size.tokens)}, "
        f"attention {format_bytes(size.attention)})",
        f"{weights.name} ({precision}) with {backend.name} {backend.version} on {backend.device}",
    ]
    if weights.trained is None:
        lines.append(f"the weights {weights.name} do not say whether they were trained")
    if durations.guessed:
        lines.append(
            f"files of unknown length: {len(durations.guessed)}; their share is a guess, "
            "and free disk space is watched"
        )
    lines += [f"warning: {warning.text}" for warning in warnings]
    for line in lines:
        console.print(escape(line), soft_wrap=True)


def run_warnings(weights: WeightsInfo, dtype: str) -> list[AudioWarning]:
    """What a user should know of a run before, whatever its files."""
    found = []
    if weights.trained is False:
        text = (
            f"the weights {weights.name} are untrained (seeded random): good for trying vit1dx "
            "out, not for results"
        )
        found.append(AudioWarning("untrained", text))
    if dtype == "float16":
        text = "xarray's netcdf4 engine crashes on float16; h5py and h5netcdf do not"
        found.append(AudioWarning("float16", text))
    return found


def passed_over_lines(passed_over: PassedOver) -> list[str]:
    """What a search did not take, in lines."""
    lines = []
    endings = passed_over.other_endings
    other = f"{count(endings.total(), 'file')} of other endings ({_endings(endings)})"
    parts = ([f"{passed_over.hidden} hidden"] if passed_over.hidden else []) + (
        [other] if endings else []
    )
    if parts:
        lines.append(f"passed over: {', '.join(parts)}")
    if audio_like := sorted(AUDIO_LIKE_EXTENSIONS.intersection(endings)):
        lines.append(
            f"warning: {', '.join(audio_like)} may hold audio; --include '*{audio_like[0]}' takes "
            "such files"
        )
    lines += [f"warning: nothing matches the pattern {p!r}" for p in passed_over.unused_patterns]
    return lines


def _endings(endings: Mapping[str, int]) -> str:
    """The commonest endings and how often each is, those that may hold audio first."""
    order = sorted(
        endings, key=lambda ending: (ending not in AUDIO_LIKE_EXTENSIONS, -endings[ending])
    )
    shown = [f"{ending or 'none'} {endings[ending]}" for ending in order[:SHOWN_ENDINGS]]
    return ", ".join(shown + ["..."] * (len(order) > SHOWN_ENDINGS))


def show_passed_over(passed_over: PassedOver) -> None:
    """Say on standard error what a search did not take."""
    for line in passed_over_lines(passed_over):
        print(one_line(line), file=sys.stderr, flush=True)
