"""What features give of many tracks at once."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import h5py

from .._types import Array
from ..remote import AnyPath
from . import frames as _frames
from . import matrix as _matrix
from .frames import Seconds
from .matrix import VectorKind

_T = TypeVar("_T")


class ManyTracks(ABC):
    """Features, where they are read by the thousands of tracks."""

    path: AnyPath
    layers: tuple[int, ...]
    config: dict[str, Any]

    def matrix(
        self, layer: int, kind: VectorKind = "mean", ids: Iterable[str] | None = None
    ) -> tuple[Array, list[str]]:
        """A vector a track.

        Parameters
        ----------
        layer : int
        kind : {"mean", "class"}
            The mean token: the mean over class and sequence tokens, computed from those that were
            kept where it was not. Or the mean over the class tokens.
        ids : iterable of str, optional
            Which tracks, and their order; all by default, in the order of the alphabet.

        Returns
        -------
        (track, feature) float32 array
        list of str
            The id of each row.

        Raises
        ------
        UsageError
            If the layer or the tokens were not kept.
        TrackError
            If there is no track of one of these ids; it is a KeyError too.

        Notes
        -----
        Mean tokens lie side by side in the index, so that 100,000 tracks' take 2 to 3 s.
        Class tokens, and means that were not kept or lie in a file that an earlier version began,
        are read track by track, about 0.55 ms each. Memory: the array, and some megabytes.
        """
        return _matrix.matrix(self, layer, kind, ids)

    def frames(
        self,
        layer: int,
        every: int = 1,
        ids: Iterable[str] | None = None,
        seconds: Seconds = None,
        out: str | os.PathLike[str] | None = None,
    ) -> tuple[Array, Array, Array]:
        """The sequence tokens of many tracks in one array.

        Parameters
        ----------
        layer : int
        every : int
            Take every so manieth token of a track, from the first on.
        ids : iterable of str, optional
            Which tracks, and their order, each once; all by default, in the order of the alphabet.
        seconds : float or (float, float), optional
            Only tokens of the first so many seconds of each track, or from one time up to, not
            including, another, s.
        out : path, optional
            An ``.npy`` file to make, for what exceeds memory; the array returned is then
            memory-mapped.

        Returns
        -------
        (frame, feature) float32 array
        (frame,) int32 array
            The track of each frame, by its place in `ids`, or in the order of the alphabet.
        (frame,) float64 array
            Its time in the track, s.

        Raises
        ------
        UsageError
            If the layer or the tokens were not kept, or `out` exists.
        TrackError
            If there is no track of one of these ids; it is a KeyError too.

        Notes
        -----
        Memory: the arrays, 780 bytes a frame of 192 features, or with `out` 12 bytes a frame. An
        hour has 112,500 frames. `iter_frames` needs some megabytes in all.
        """
        return _frames.frames(self, layer, every, ids, seconds, out)

    def iter_frames(
        self,
        layer: int,
        every: int = 1,
        ids: Iterable[str] | None = None,
        seconds: Seconds = None,
    ) -> Iterator[tuple[str, Array, Array]]:
        """The sequence tokens of many tracks, block by block, in some megabytes of memory.

        Parameters
        ----------
        layer, every, ids, seconds
            As of `frames`; by default, the tracks come file by file of a folder.

        Yields
        ------
        str
            A track's id; a long track comes in several blocks.
        (frame, feature) float32 array
            Some of its tokens, at most 8192.
        (frame,) float64 array
            Their times, s.
        """
        return _frames.iter_frames(self, layer, every, ids, seconds)

    @abstractmethod
    def __iter__(self) -> Iterator[str]:
        """The ids of the tracks, in the order of the alphabet."""

    @abstractmethod
    def homes(self, track_ids: Iterable[str]) -> Iterator[tuple[Any, list[str]]]:
        """The feature file that each of some tracks is in, with those of them that are in it."""

    @abstractmethod
    def visit(self, track_id: str, take: Callable[[h5py.Group], _T]) -> _T:
        """What `take` gives of a track's group."""
