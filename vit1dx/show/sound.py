"""What is taken from the music itself, in blocks: its mel for a picture, and clicks over it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from .._types import Array
from ..analysis.track import pooled
from ..audio.decode import AudioFile
from ..audio.mel import LogMel
from ..audio.resample import mono_at_rate
from ..config import MelConfig
from ..errors import UsageError
from ..whole import require_apart, whole

#: A click: a burst of 15 ms, short and high enough to stand out of music.
CLICK_SECONDS, CLICK_HZ = 0.015, 2000.0
#: Share of the music in a mix; the rest is the click's, so that nothing clips.
MUSIC_SHARE = 0.6
#: Formats that clicks are written in.
CLICK_SUFFIXES = (".wav", ".flac")


def music_of(attributes: Mapping[str, Any]) -> Path | None:
    """The file that a track was made of, by its attributes, if it is there and has not changed."""
    source = Path(str(attributes["source"]))
    try:
        return source if source.stat().st_size == attributes["size"] else None
    except (OSError, ValueError):
        return None


def mel_picture(
    audio: str | os.PathLike[str],
    config: MelConfig,
    *,
    most: int = 1500,
    start: float = 0.0,
    stop: float,
) -> tuple[Array, Array]:
    """Log-mel frames of a part of a file, averaged over as few frames as leave `most` bins.

    Parameters
    ----------
    audio : path
    config : MelConfig
        The front end of the weights.
    most : int
    start, stop : float
        s.

    Returns
    -------
    (bin, n_mels) float32 array
        dB.
    (bin,) float64 array
        Centre of each bin, s.

    Raises
    ------
    AudioError
        If it cannot be decoded.
    """
    first, end = (int(np.ceil(edge * config.frame_rate)) for edge in (start, stop))
    width = max(1, -(-(end - first) // most))
    parts = list(_binned(audio, config, first, end, width))
    frames = np.concatenate(parts) * config.scale + config.mean
    centres = (first + width * np.arange(len(frames)) + (width - 1) / 2) / config.frame_rate
    return frames, centres


def _binned(
    audio: str | os.PathLike[str], config: MelConfig, first: int, end: int, width: int
) -> Iterator[Array]:
    """Means of each `width` frames from `first` up to `end`."""
    held, at = np.zeros((0, config.n_mels), np.float32), 0
    with AudioFile(audio) as file:
        mono = mono_at_rate(file.blocks(), file.sample_rate, config.sample_rate)
        for block in LogMel(config).stream(mono):
            inside = block[max(0, first - at) : max(0, end - at)]
            at += len(block)
            held = np.concatenate([held, inside])
            whole = len(held) // width * width
            if whole:
                yield pooled(held[:whole], width)
                held = held[whole:]
            if at >= end:
                break
    if len(held):
        yield pooled(held, width)


def require_click_suffix(out: str | os.PathLike[str]) -> None:
    """Raise `UsageError` unless clicks can be written under this name."""
    if Path(out).suffix.lower() not in CLICK_SUFFIXES:
        raise UsageError(f"{out}: clicks are written as {' or '.join(CLICK_SUFFIXES)}")


def write_clicks(audio: str | os.PathLike[str], times: Array, out: str | os.PathLike[str]) -> None:
    """Write a file's music with a click at each time.

    Parameters
    ----------
    audio : path
    times : (k,) array
        s, ascending.
    out : path
        Ends in ``.wav`` or ``.flac``; rate and channels are the music's.

    Raises
    ------
    AudioError
        If the music cannot be decoded.
    UsageError
        If the file is the music itself, or cannot be written.
    """
    require_click_suffix(out)
    require_apart(Path(out), [Path(audio)])
    with AudioFile(audio) as file:
        rate, channels = file.sample_rate, file.channels
        try:
            with (
                whole(Path(out)) as unfinished,
                soundfile.SoundFile(unfinished, "w", rate, channels, subtype="PCM_16") as mix,
            ):
                at = 0
                for block in file.blocks():
                    clicks = clicks_between(times, at, at + len(block), rate)
                    music = MUSIC_SHARE * np.clip(block, -1, 1)
                    mix.write(music + (1 - MUSIC_SHARE) * clicks[:, None])
                    at += len(block)
        except (OSError, soundfile.SoundFileError) as error:
            raise UsageError(f"{out} cannot be written: {error}") from None


def clicks_between(times: Array, first: int, end: int, rate: int) -> Array:
    """Samples `first` up to `end` of a track of clicks that begin at `times` (s): (n,) float32."""
    n = round(CLICK_SECONDS * rate)
    seconds = np.arange(n) / rate
    click = np.sin(2 * np.pi * CLICK_HZ * seconds) * np.exp(-seconds / (CLICK_SECONDS / 4))
    starts = np.maximum(np.round(np.asarray(times) * rate).astype(int), 0)
    track = np.zeros(end - first, np.float32)
    for start in starts[(starts > first - n) & (starts < end)]:
        a, b = max(start, first), min(start + n, end)
        track[a - first : b - first] = click[a - start : b - start]
    return track
