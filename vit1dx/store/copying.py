"""Tracks copied from file to file as HDF5 objects: as they are stored, and no array decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import h5py

from ..errors import StoreError, reason_of
from .format import ATTENTION_AXES, AXES, SHARED_SCALES, attach
from .reader import FeatureFile, plain
from .writer import Output

#: Bytes that a track takes besides its arrays, at about the most.
GROUP_BYTES = 4096


def copy_track(source: FeatureFile, track_id: str, output: Output) -> None:
    """Copy a track into an output, in the place of one of that id.

    Raises
    ------
    AudioError
        If there is no place for it.
    StoreError
        If it cannot be read (`TrackError`: it is not there), or not be written (`WriteError`).
    """
    output.require_place(track_id)
    size = GROUP_BYTES + source.visit(track_id, _stored_bytes)
    home = output.place_for(size)

    def copied(group: h5py.Group) -> h5py.Group:
        holder = home.new_group()
        try:
            h5py.h5o.copy(group.id, b".", holder.id, b"track")
            _name_axes(group, holder["track"])
        except (RuntimeError, OSError, KeyError, ValueError) as error:
            home.require_written()
            raise StoreError(
                f"track {track_id} of {source.path} cannot be copied: {reason_of(error)}"
            ) from None
        return holder["track"]

    group = source.visit(track_id, copied)
    with home.writing():
        home.link(track_id, group, plain(group.attrs))
    output.commit_if_due()


def _stored_bytes(group: h5py.Group) -> int:
    return sum(data.id.get_storage_size() for data in _arrays(group))


def _arrays(group: h5py.Group) -> Iterator[h5py.Dataset]:
    return (item for item in group.values() if isinstance(item, h5py.Dataset))


def _name_axes(source: h5py.Group, copy: h5py.Group) -> None:
    """Name the axes of a copy as those of its source are: H5Ocopy leaves that empty."""
    names = {_address(data): _name(data) for data in _arrays(source)}
    shared = {_address(source.file[name]): name for name in SHARED_SCALES}
    for data in _arrays(source):
        name = _name(data)
        if "DIMENSION_LIST" in data.attrs:
            axes = _axes(data, {**names, **shared})
            attach(copy[name], [_scale(copy, axis) for axis in axes])
        if "REFERENCE_LIST" in data.attrs:
            del copy[name].attrs["REFERENCE_LIST"]


def _axes(data: h5py.Dataset, names: Mapping[int, str]) -> Sequence[str]:
    """What the axes of an array are called, by the names of scales by address."""
    try:
        return [names[_address(data.file[refs[0]])] for refs in data.attrs["DIMENSION_LIST"]]
    except (ValueError, KeyError, IndexError):  # another program copied it, and left that empty
        usual = {**AXES, "attention": ATTENTION_AXES["class" if data.ndim == 4 else "full"]}
        return usual[_name(data)]


def _scale(group: h5py.Group, axis: str) -> h5py.Dataset:
    return group.file[axis] if axis in SHARED_SCALES else group[axis]


def _name(data: h5py.Dataset) -> str:
    return str(data.name).rpartition("/")[2]


def _address(data: h5py.Dataset) -> int:
    """What tells an object of a file from others."""
    return int(h5py.h5o.get_info(data.id).addr)
