"""What is wrong with the tracks of a feature file: their structure, by HDF5, and their values.

By HDF5's own calls, which take a fifth of what h5py's comforts do: of short tracks, all the time
goes into them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5o, h5t

from ..errors import reason_of
from ..model.request import Request
from ..parallel import side_by_side, usable_cores
from .committed import CommittedFile
from .format import LAYER_AXES, SHARED_SCALES, axes_of
from .means import NAME
from .objects import values_in
from .values import Values, problems_by_hdf5, values_of

#: Threads that read values; more would wait for the disk, or for memory.
MOST_THREADS = 8
#: Tracks with less to read than this are not worth passing to a thread.
PASSED_BYTES = 1 << 20

ATTRIBUTES = ("source", "size", "mtime_ns", "duration", "sample_rate", "channels", "complete")
#: Types of attributes that damage leaves readable: they stand in the head of an object, which has a
#: checksum, and text does not.
_NUMBERS = (h5t.INTEGER, h5t.FLOAT)


class Soundness:
    """Checks the tracks of a file.

    Parameters
    ----------
    committed : CommittedFile
        Which is not opened again meanwhile.
    layers : list of int
    request : Request
    places : mapping of str to int
        The row of each track in the index.
    """

    def __init__(
        self,
        committed: CommittedFile,
        layers: list[int],
        request: Request,
        places: Mapping[str, int],
    ) -> None:
        self._root = root = committed.current()
        self._read, self._end = committed.read_at, root.id.get_filesize()
        self._places = places
        self._axes = axes_of(request)
        named = {axis for axes in self._axes.values() for axis in axes}
        self._own = sorted(named.difference(SHARED_SCALES))
        self._shared = {name: len(root[name]) for name in SHARED_SCALES if name in root}
        self._layers = {"layer": layers, "attention_layer": list(request.attention_layers)}
        index = root.get("index")
        self._means = index[NAME] if index is not None and NAME in index else None

    def problems(self, track_ids: Sequence[str]) -> Iterator[tuple[str, list[str], list[str]]]:
        """What is wrong with each track, and with its row of the matrix of mean tokens."""
        threads = min(MOST_THREADS, usable_cores())
        return side_by_side(self._completed, map(self._begun, track_ids), threads)

    def _begun(self, track_id: str) -> tuple[str, Sequence[str | Values], list[str]]:
        """A track, with what is wrong with it so far, and values that are still to be checked."""
        try:
            group = h5g.open(self._root.id, f"tracks/{track_id}".encode())
            found = list(self._found(group))
        except Exception as error:  # HDF5 raises whatever a damaged byte leads to
            return track_id, [f"cannot be read: {' '.join(str(error).split())}"], []
        begun = track_id, found, [*self._of_mean(track_id, group)]
        size = sum(part.size for part in found if isinstance(part, Values))
        return begun if size > PASSED_BYTES else self._completed(begun)

    def _completed(
        self, begun: tuple[str, Sequence[str | Values], list[str]]
    ) -> tuple[str, list[str], list[str]]:
        track_id, found, of_mean = begun
        problems: list[str] = []
        for part in found:
            if isinstance(part, str):
                problems.append(part)
            elif self._read:
                problems += part.problems(self._read)
        return track_id, problems, of_mean

    def _found(self, group: h5g.GroupID) -> Iterator[str | Values]:
        yield from _attribute_problems(group)
        names = set(names_in(group))
        absent = sorted({*self._axes, *self._own} - names)
        if absent:
            yield f"has no {', '.join(absent)}"
            return
        held = {name: h5d.open(group, name.encode()) for name in {*self._axes, *self._own}}
        for name in LAYER_AXES:
            if name in held:
                yield from self._layer_problems(name, held[name])
        sizes = self._shared | {name: held[name].shape[0] for name in self._own}
        for name, axes in self._axes.items():
            expected, shape = tuple(sizes[axis] for axis in axes), held[name].shape
            if shape != expected:
                yield f"{name} is of shape {shape}; by its axes it should be {expected}"
            elif self._read and (values := values_of(name, held[name], self._end)):
                yield values
            else:
                yield from problems_by_hdf5(name, h5py.Dataset(held[name]))

    def _layer_problems(self, name: str, scale: h5d.DatasetID) -> Iterator[str]:
        there, here = values_in(scale).tolist(), self._layers[name]
        if there != here and name == "layer":
            yield f"has layers {there}, the file {here}"
        elif there != here:
            yield f"has attention of layers {there}, the file of others"

    def _of_mean(self, track_id: str, group: h5g.GroupID) -> Iterator[str]:
        place = self._places.get(track_id)
        if place is None or self._means is None:
            return
        try:
            row = self._means[place]
            mean = values_in(h5d.open(group, NAME.encode())) if NAME in self._axes else row
            if not np.isnan(row).all() and row.tobytes() != mean.tobytes():
                yield f"{NAME} differs from its row in the index"
        except Exception as error:  # HDF5 raises whatever a damaged byte leads to
            yield f"its row of /index/{NAME} cannot be read: {reason_of(error)}"


def names_in(group: h5g.GroupID) -> list[str]:
    """The names in a group that can be read; the index lists what else there should be."""
    names: list[bytes] = []
    with suppress(Exception):  # HDF5 raises whatever a damaged byte leads to
        group.links.iterate(names.append)
    return [name.decode("utf-8", "surrogateescape") for name in names]


def tracks_below(group: h5g.GroupID, prefix: str = "") -> Iterator[str]:
    """Ids of all groups with data sets in them, whole or not, that can be reached."""
    groups = []
    for name in names_in(group):
        key = name.encode("utf-8", "surrogateescape")
        with suppress(Exception):  # HDF5 raises whatever a damaged byte leads to
            kind = h5o.get_info(group, key).type
            if kind == h5o.TYPE_DATASET:
                yield prefix.rstrip("/")
                return
            if kind == h5o.TYPE_GROUP:
                groups.append((name, h5g.open(group, key)))
    for name, below in groups:
        yield from tracks_below(below, f"{prefix}{name}/")


def _attribute_problems(group: h5g.GroupID) -> Iterator[str]:
    names: list[bytes] = []
    h5a.iterate(group, names.append)
    missing = [name for name in ATTRIBUTES if name.encode() not in names]
    if missing:
        yield f"has no attribute {', '.join(missing)}"
    damaged = [name for name in names if not _is_sound(h5a.open(group, name), group)]
    if damaged:
        yield f"has a damaged attribute {b', '.join(damaged).decode(errors='replace')}"


def _is_sound(attribute: h5a.AttrID, group: h5g.GroupID) -> bool:
    if attribute.get_type().get_class() in _NUMBERS:
        return True
    return is_text(h5py.AttributeManager(h5py.Group(group))[attribute.name])


def is_text(value: object) -> bool:
    """Whether a value is, or can be shown as, text: HDF5 has no checksums on that."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True
