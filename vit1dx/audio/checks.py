"""Watches samples go by, and warns of sound that is decoded rightly and yet hardly music.

It looks at the start of a track, and then at a short stretch now and then, wherever blocks begin
and end: for shares of a track that will do, and it costs next to nothing. Only silence has to be
seen to its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .._types import Array
from ..errors import AudioWarning

#: Seconds looked at, at once.
STRETCH = 0.125
#: Stretches looked at from the start, and then one of so many (one in 2 s).
FIRST, ONE_OF = 8, 16

#: Mean square of what counts as silence: a step of 16 bits (-90 dBFS).
SILENT_POWER = 1e-9
#: How much of its power the mono mix has left where channels cancel, by what it would have if they
#: had nothing in common: 20 dB less. Real recordings keep all of it; of channels in antiphase, Opus
#: at 24 kbit/s leaves 28 dB less, other codecs nothing.
CANCELLED = 1e-2
#: Share of what sounds that may be cancelled, as an effect.
CANCELLED_SHARE = 0.05
#: Mean of the mono mix, of full scale: poor converters are off by a tenth of it, and unsigned
#: samples taken for signed ones by twenty times it.
OFFSET = 0.05
#: From here on a sample is at full scale: 8 bits go up to 127/128.
FULL_SCALE = 0.99
#: Share of samples that stay at full scale, or are over it: of 418 pieces and one-shots of free
#: games, 16 have more.
CLIPPED_SHARE = 0.01
#: Mean square far beyond full scale: samples of 8 bits that were not scaled have a hundred.
OUT_OF_SCALE = 4.0


class SignalChecks:
    """Sees the blocks of one track, and says what looked wrong.

    Parameters
    ----------
    sample_rate : int
        Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._length = self._missing = max(1, round(STRETCH * sample_rate))
        self._number, self._before = 0, -1  # of the stretch at hand, and of the one looked at last
        self._held: list[Array] = []
        # Sums over the samples; a stretch stands for those passed over before it, too.
        self._samples = self._sounding = self._cancelled = 0
        self._offset = self._power = self._clipped = 0.0

    def watch(self, blocks: Iterable[Array]) -> Iterator[Array]:
        """Look at blocks, (n, channels) float32 arrays, and pass them on."""
        for block in blocks:
            self.look(block)
            yield block

    def look(self, block: Array) -> None:
        """Look at the next samples."""
        if self._held and self._held[0].shape[1] != block.shape[1]:
            self._end_stretch()
        at = 0
        while at < len(block):
            end = min(len(block), at + self._missing)
            if self._is_wanted:
                self._held.append(block[at:end])
            self._missing -= end - at
            at = end
            if not self._missing:
                self._end_stretch()

    @property
    def _is_wanted(self) -> bool:
        return self._number < FIRST or self._number % ONE_OF == 0 or not self._sounding

    def _end_stretch(self) -> None:
        if self._held:
            self._take(self._held[0] if len(self._held) == 1 else np.concatenate(self._held))
            self._held = []
        self._number += 1
        self._missing = self._length

    def _take(self, block: Array) -> None:
        length, channels = block.shape
        samples = length * (self._number - self._before)
        self._before = self._number
        # By products: NumPy's own sums over so short an axis are slow.
        means = np.ones(length, np.float32) @ block / np.float32(length)
        power, left = _powers(block, means)
        self._samples += samples
        self._offset += samples * float(means.mean())
        self._power += samples * (power + float(means @ means) / channels)
        self._clipped += samples * _clipped(block)
        if power > SILENT_POWER:
            self._sounding += samples
            self._cancelled += samples * (left < CANCELLED * power / channels)

    def warnings(self) -> list[AudioWarning]:
        """What looked wrong, once all blocks were seen."""
        self._end_stretch()
        return [AudioWarning(code, text) for code, text in self._found()]

    def _found(self) -> Iterator[tuple[str, str]]:
        if not self._samples:
            return
        power, offset = self._power / self._samples, self._offset / self._samples
        clipped = self._clipped / self._samples
        if not self._sounding:
            yield "silence", "nothing but silence in it"
        elif self._cancelled > CANCELLED_SHARE * self._sounding:
            share = self._cancelled / self._sounding
            yield (
                "antiphase",
                f"the channels cancel each other in about {share:.0%} of it: there the mono mix, "
                "and so the features, are those of silence",
            )
        if power > OUT_OF_SCALE:  # and what follows is of full scale
            yield "scale", f"samples with an RMS of {power**0.5:.4g}; full scale is 1"
            return
        if abs(offset) > OFFSET:
            yield "dc", f"a constant offset of {offset:.3f} of full scale"
        if clipped > CLIPPED_SHARE:
            yield "clipping", f"about {clipped:.1%} of the samples are clipped, or over full scale"


def _powers(block: Array, means: Array) -> tuple[float, float]:
    """Mean squares of the channels and of their mono mix, each about its mean."""
    channels = block.shape[1]
    mix = block @ np.full(channels, 1 / channels, np.float32)
    offsets = float(means @ means) / channels
    power = _mean_square(block) - offsets
    if power < 1e-3 * offsets:  # too little of the difference is left in single precision
        return _powers(block - means, np.zeros_like(means))
    return power, _mean_square(mix) - float(means.mean()) ** 2


def _mean_square(block: Array) -> float:
    flat = block.reshape(-1)
    return float(flat @ flat) / flat.size


def _clipped(block: Array) -> float:
    """Share of samples that stay at full scale, or are over it."""
    if max(block.max(), -block.min()) < FULL_SCALE:
        return 0.0
    size = np.abs(block)
    stay = (block[1:] == block[:-1]) & (size[1:] >= FULL_SCALE) & (size[1:] <= 1)
    return float(np.count_nonzero(stay) + np.count_nonzero(size > 1)) / block.size
