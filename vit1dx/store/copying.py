"""Tracks copied from file to file as HDF5 objects: as they are stored, and no array decoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
from h5py import h5a, h5d, h5o

from ..errors import StoreError, reason_of
from ..model.request import Request
from .format import SHARED_SCALES, axes_of
from .index import INDEX
from .objects import numbers_in, reference_to, references
from .reader import FeatureFile, plain
from .writer import FeatureWriter, Output

#: Bytes that a track takes besides its arrays, at about the most.
GROUP_BYTES = 4096

#: Where HDF5 keeps the scales of an array, and in a scale, the arrays that it is a scale of.
_LIST, _BACK = b"DIMENSION_LIST", b"REFERENCE_LIST"


class TrackCopier:
    """Copies tracks of a feature file into an output.

    Parameters
    ----------
    source : FeatureFile
    output : Output
    """

    def __init__(self, source: FeatureFile, output: Output) -> None:
        self._source, self._output = source, output
        #: The axes of each array that has any, by the arrays of a track: of most, the same.
        self._axes: dict[frozenset[str], dict[str, tuple[str, ...]]] = {}
        #: References to the scales that all tracks of an output's file share.
        self._shared: dict[str, h5py.Reference] = {}
        self._home: FeatureWriter | None = None

    def copy(self, track_id: str) -> None:
        """Copy a track, in the place of one of that id.

        Raises
        ------
        AudioError
            If there is no place for it.
        StoreError
            If it cannot be read (`TrackError`: it is not there), or not be written (`WriteError`).
        """
        self._output.require_place(track_id)
        home = self._output.place_for(self._size(track_id))

        def copied(group: h5py.Group) -> h5py.Group:
            holder = home.new_group()
            try:
                h5o.copy(group.id, b".", holder.id, b"track")
                track = h5py.Group(h5py.h5g.open(holder.id, b"track"))
                self._name_axes(group, track, home)
            except (RuntimeError, OSError, KeyError, ValueError) as error:
                home.require_written()
                raise StoreError(
                    f"track {track_id} of {self._source.path} cannot be copied: {reason_of(error)}"
                ) from None
            return track

        track = self._source.visit(track_id, copied)
        with home.writing():
            home.link(track_id, track, _known(track))
        self._output.commit_if_due()

    def _size(self, track_id: str) -> int:
        """Bytes that a track takes; where the output has no limit, it does not matter."""
        if self._output.limit == float("inf"):
            return 0
        return GROUP_BYTES + self._source.visit(track_id, _stored_bytes)

    def _name_axes(self, source: h5py.Group, track: h5py.Group, home: FeatureWriter) -> None:
        """Name the axes of a copy as those of its source are: H5Ocopy leaves that empty.

        By HDF5's own calls, which take a fraction of what h5py's comforts do.
        """
        arrays = frozenset(source)
        if arrays not in self._axes:
            self._axes[arrays] = {
                name: _axes(data, source)
                for name, data in source.items()
                if h5a.exists(data.id, _LIST)
            }
        scales = dict(self._shared_scales(home, track))
        for name, axes in self._axes[arrays].items():
            for axis in axes:
                if axis not in scales:
                    scales[axis] = reference_to(track, axis)
            attribute = h5a.open(h5d.open(track.id, name.encode()), _LIST)
            attribute.write(references([scales[axis] for axis in axes]))
        for name in arrays.difference(self._axes[arrays]):
            if h5a.exists(track.id, _BACK, obj_name=name.encode()):
                h5a.delete(track.id, _BACK, obj_name=name.encode())

    def _shared_scales(self, home: FeatureWriter, track: h5py.Group) -> dict[str, h5py.Reference]:
        if home is not self._home:
            self._home = home
            self._shared = {name: reference_to(track.file, name) for name in SHARED_SCALES}
        return self._shared


def _known(track: h5py.Group) -> dict[str, Any]:
    """Of a track's attributes, those that stand in the index too."""
    names: list[bytes] = []
    h5a.iterate(track.id, names.append)
    known: dict[str, Any] = {}
    for key in (key for key in INDEX if key.encode() in names):
        attribute = h5a.open(track.id, key.encode())
        if attribute.dtype.kind in "if":
            known[key] = numbers_in(attribute).tolist()
        else:
            known |= plain({key: track.attrs[key]})
    return known


def _stored_bytes(group: h5py.Group) -> int:
    return sum(data.id.get_storage_size() for data in group.values())


def _axes(data: h5py.Dataset, group: h5py.Group) -> tuple[str, ...]:
    """What the axes of an array are called."""
    names = _addresses(group) | _addresses({name: group.file[name] for name in SHARED_SCALES})
    try:
        return tuple(names[_address(data.file[refs[0]])] for refs in data.attrs[_LIST.decode()])
    except (ValueError, KeyError, IndexError):  # another program copied it, and left that empty
        layers = tuple(int(layer) for layer in group["layer"])
        attention = ("class" if data.ndim == 4 else "full") if any(layers) else "none"
        return axes_of(Request(layers, attention))[data.name.rpartition("/")[2]]


def _addresses(scales: Mapping[str, h5py.Dataset]) -> dict[int, str]:
    return {_address(scale): name for name, scale in scales.items()}


def _address(data: h5py.Dataset) -> int:
    """What tells an object of a file from others."""
    return int(h5py.h5o.get_info(data.id).addr)
