"""A track's features: named arrays, whether just computed or kept in a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ._types import Array
from .errors import AudioWarning, TokensError, UsageError

#: The arrays of a track, each with the one that gives its instants; a mean has none.
CLOCKS = {
    "class_token": "window_start",
    "sequence_tokens": "time",
    "mean_token": None,
    "attention": "window_start",
    "time": "time",
    "window_start": "window_start",
}

#: The option that keeps each array.
KEPT_BY = {
    "class_token": "--tokens class",
    "sequence_tokens": "--tokens sequence",
    "mean_token": "--tokens mean",
    "attention": "--attention class or full",
    "time": "--tokens sequence",
    "window_start": "--tokens class",
}

#: Chooses what to read of an array, from all arrays of the track by name.
Select: TypeAlias = Callable[[Mapping[str, Any]], tuple[int | slice, ...]]


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What is kept of some consecutive windows of a track, and the sum of all their tokens.

    Attributes
    ----------
    layers : tuple of int
        The layers kept, the first axis of every array; 0 is the embedding, k the raw residual
        stream after block k.
    arrays : dict of arrays
        ``class_token``, ``sequence_tokens``, ``attention``, ``time`` and ``window_start``, with the
        axes that `Track` gives them; absent where they are not kept.
    total : (layer, feature) float64 array
        Sum of the class and sequence tokens, kept or not.
    count : int
        How many they are.
    end : float
        Centre of the last frame, s.
    """

    layers: tuple[int, ...]
    arrays: dict[str, Array]
    total: Array
    count: int
    end: float

    @property
    def class_token(self) -> Array:
        """Of `arrays`, as the others below."""
        return self.arrays["class_token"]

    @property
    def sequence_tokens(self) -> Array:
        """Of `arrays`."""
        return self.arrays["sequence_tokens"]

    @property
    def time(self) -> Array:
        """Of `arrays`."""
        return self.arrays["time"]

    @property
    def window_start(self) -> Array:
        """Of `arrays`."""
        return self.arrays["window_start"]

    @property
    def attention(self) -> Array | None:
        """Of `arrays`; None if it is not kept."""
        return self.arrays.get("attention")

    @classmethod
    def of(cls, layers: tuple[int, ...], **arrays: Array | None) -> Tokens:
        """All arrays of some windows, of which class and sequence tokens must be among them."""
        kept = {name: array for name, array in arrays.items() if array is not None}
        tokens = kept["class_token"], kept["sequence_tokens"]
        return cls(
            layers=layers,
            arrays=kept,
            total=sum(np.asarray(array).sum(axis=1, dtype=np.float64) for array in tokens),
            count=sum(array.shape[1] for array in tokens),
            end=float(kept["time"][-1]),
        )


def attended(layers: Iterable[int]) -> tuple[int, ...]:
    """Those of some layers that have attention maps: all but 0."""
    return tuple(layer for layer in layers if layer)


class Track(ABC):
    """One track's features, computed by an `Extractor` or kept in a feature file.

    The arrays are attributes, each whole; `read` gives a part of one. Those of a feature file are
    read from it at each access, in the dtype that it keeps. Kinds of tokens that were not asked
    for were not kept, nor were `time` and `window_start` where no other array needs them.

    Attributes
    ----------
    layers : tuple of int
        The layers kept, the first axis of all arrays but `time` and `window_start`; 0 is the
        embedding, of which there are no attention maps, k the raw residual stream after block k.
    duration : float
        Length of the decoded audio, s.
    start : float
        Where it begins, s: 0, or of a segment of a file, its start in the file, whose seconds all
        times are.
    pool : float or None
        Seconds that sequence tokens were averaged over; None if each was kept.
    warnings : tuple of AudioWarning
        What looked wrong with the audio.
    model : tuple of str
        SHA-256 of the weights, and of what they were exported from; empty if that is not known.

    Examples
    --------
    >>> import numpy as np
    >>> track = MemoryTrack(
    ...     layers=(4, 8),
    ...     arrays={
    ...         "class_token": np.zeros((2, 2, 192)),
    ...         "sequence_tokens": np.zeros((2, 250, 192)),
    ...         "mean_token": np.zeros((2, 192)),
    ...         "time": np.arange(250) / 31.25,
    ...         "window_start": np.array([0.0, 4.0]),
    ...     },
    ...     duration=8.0,
    ... )
    >>> track.sequence_tokens.shape
    (2, 250, 192)
    >>> track.read("sequence_tokens", layer=8, start=2.0, stop=4.0).shape
    (62, 192)
    >>> track.read("class_token", start=4.0).shape
    (2, 1, 192)
    """

    layers: tuple[int, ...]
    duration: float
    start: float = 0.0
    pool: float | None = None
    warnings: tuple[AudioWarning, ...]
    model: tuple[str, ...] = ()

    @property
    def attended_layers(self) -> tuple[int, ...]:
        """The first axis of `attention`: the layers kept, but for 0, which has no maps."""
        return attended(self.layers)

    @property
    def class_token(self) -> Array:
        """The class token of each window: (layer, window, feature)."""
        return self.read("class_token")

    @property
    def sequence_tokens(self) -> Array:
        """One token a mel frame: (layer, time, feature)."""
        return self.read("sequence_tokens")

    @property
    def mean_token(self) -> Array:
        """Mean of all class and sequence tokens, for a track as a whole: (layer, feature)."""
        return self.read("mean_token")

    @property
    def attention(self) -> Array | None:
        """Attention maps, or None if they were not kept.

        (layer, window, head, query, key), or (layer, window, head, key) for the class token's row
        alone. Query and key 0 are the class token, 1 + i frame i of the window. Rows sum to 1.
        The layers are `attended_layers`.
        """
        return self._part("attention", _everything)

    @property
    def time(self) -> Array:
        """Centre of each token's frame, s: (time,) float64."""
        return self.read("time")

    @property
    def window_start(self) -> Array:
        """Centre of each window's first frame, s: (window,) float64."""
        return self.read("window_start")

    def read(
        self,
        name: str,
        *,
        layer: int | None = None,
        start: float | None = None,
        stop: float | None = None,
    ) -> Array:
        """Read an array, or a part of it.

        Parameters
        ----------
        name : {"class_token", "sequence_tokens", "mean_token", "attention", "time", "window_start"}
        layer : int, optional
            One layer, whose axis is dropped; all by default.
        start, stop : float, optional
            From `start` up to, not including, `stop`, s: the tokens of `sequence_tokens` and `time`
            in that range, or the windows of the other arrays that begin in it. By default from the
            start, and to the end.

        Returns
        -------
        array
            With the array's axes, but for that of `layer`.

        Raises
        ------
        UsageError
            If there is no such array or layer, the array was not kept, or it has no axis to select
            along.
        StoreError
            If a feature file cannot be read, or was closed.
        """
        if name not in CLOCKS:
            raise UsageError(f"no array {name!r}; there are {', '.join(CLOCKS)}")
        row = self._row(name, layer)
        clock = CLOCKS[name]
        if clock is None and (start, stop) != (None, None):
            raise UsageError(f"{name} is one a track; leave out start and stop")

        def select(arrays: Mapping[str, Any]) -> tuple[int | slice, ...]:
            span = slice(None)
            if clock is not None and (start, stop) != (None, None):
                span = _span(arrays[clock][:], start, stop)
            return (span,) if name == clock else (row, span) if clock else (row,)

        part = self._part(name, select)
        if part is None:
            raise UsageError(f"no {name} was kept; extract with {KEPT_BY[name]} to keep it")
        return part

    def _row(self, name: str, layer: int | None) -> int | slice:
        if layer is None:
            return slice(None)
        if name == CLOCKS[name]:
            raise UsageError(f"{name} is the same for all layers; leave out layer")
        if layer not in self.layers:
            raise UsageError(f"no layer {layer}; layers {list(self.layers)} were kept")
        layers = self.attended_layers if name == "attention" else self.layers
        if layer not in layers:
            raise UsageError("layer 0 has no attention maps, being the embedding")
        return layers.index(layer)

    @abstractmethod
    def _part(self, name: str, select: Select) -> Array | None:
        """What `select` selects of an array; None if it was not kept."""


def _everything(arrays: Mapping[str, Any]) -> tuple[int | slice, ...]:
    return (slice(None),)


def _span(instants: Array, start: float | None, stop: float | None) -> slice:
    bounds = (-np.inf if start is None else start, np.inf if stop is None else stop)
    first, end = np.searchsorted(instants, bounds)
    return slice(int(first), int(end))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MemoryTrack(Track):
    """A track in memory, as an `Extractor` returns it: float32 tokens and attention.

    Attributes
    ----------
    layers, duration, pool, warnings, model
        See `Track`.
    arrays : mapping of str to array
        All arrays by name; those that were not asked for are absent.
    """

    layers: tuple[int, ...]
    arrays: Mapping[str, Array]
    duration: float
    pool: float | None = None
    warnings: tuple[AudioWarning, ...] = ()
    model: tuple[str, ...] = ()

    def _part(self, name: str, select: Select) -> Array | None:
        array = self.arrays.get(name)
        return None if array is None else array[select(self.arrays)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(layers={self.layers}, duration={self.duration:.2f})"


@contextmanager
def in_range(dtype: str, values: Iterable[Array]) -> Iterator[None]:
    """Raise `TokensError` if one of these values does not fit into the type they are cast to."""
    if dtype == "float32":  # which they are
        yield
        return
    try:
        with np.errstate(over="raise"):
            yield
    except FloatingPointError:
        most = max(float(np.abs(array).max()) for array in values if array.size)
        raise TokensError(
            f"the model gives numbers up to {most:.4g}, beyond the "
            f"{np.finfo(dtype).max:.0f} of {dtype}; use float32"
        ) from None


class MeanToken:
    """Running mean over class and sequence tokens."""

    def __init__(self) -> None:
        self._sum: Array | float = 0.0
        self._count = 0

    def add(self, tokens: Tokens) -> None:
        """Take in some windows' tokens.

        Raises
        ------
        TokensError
            If they are not finite.
        """
        # A sum tells of every number in it, and tokens of the attention rows that weight them.
        if not np.isfinite(tokens.total).all():
            raise TokensError("the model gives tokens that are not finite")
        self._sum = self._sum + tokens.total
        self._count += tokens.count

    @property
    def value(self) -> Array:
        """The mean so far, (layer, feature) float32."""
        return np.asarray(self._sum / self._count, dtype=np.float32)


def join(batches: Iterable[Tokens], duration: float, keep_mean: bool = True) -> MemoryTrack:
    """Put a whole track's batches together."""
    layers: tuple[int, ...] = ()
    parts: dict[str, list[Array]] = {}
    mean = MeanToken()
    for tokens in batches:
        mean.add(tokens)
        layers = tokens.layers
        for name, array in tokens.arrays.items():
            parts.setdefault(name, []).append(array)
    arrays = {
        name: np.concatenate(held, axis=0 if name == CLOCKS[name] else 1)
        for name, held in parts.items()
    }
    if keep_mean:
        arrays["mean_token"] = mean.value
    return MemoryTrack(layers=layers, arrays=arrays, duration=duration)
