"""HDF5 objects, made and read by HDF5's own calls.

h5py's comforts take three to ten times as long, which is most of what a short track costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5p, h5r, h5s, h5t

from .._types import Array

REFERENCES = h5py.vlen_dtype(h5py.ref_dtype)
_TEXT = h5py.string_dtype()


@lru_cache(maxsize=64)
def _type(dtype: np.dtype) -> h5t.TypeID:
    return h5t.py_create(dtype, logical=True)


@lru_cache(maxsize=1)
def _types() -> tuple[h5t.TypeID, h5t.TypeID]:
    """Those of text, and of references to the scales of an array; as dtypes they are one."""
    return h5t.py_create(_TEXT, logical=True), h5t.py_create(REFERENCES, logical=True)


@lru_cache(maxsize=2)
def _creation(at_once: bool) -> h5p.PropDCID:
    made = h5p.create(h5p.DATASET_CREATE)
    made.set_obj_track_times(False)
    if at_once:
        made.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    return made


@lru_cache(maxsize=256)
def _space(shape: tuple[int, ...]) -> h5s.SpaceID:
    return h5s.create_simple(shape) if shape else h5s.create(h5s.SCALAR)


def create_array(
    group: h5py.h5g.GroupID, name: str, shape: tuple[int, ...], dtype: np.dtype, at_once: bool
) -> h5d.DatasetID:
    """An array in one piece, with or without room for it at once."""
    return h5d.create(group, name.encode(), _type(dtype), _space(shape), _creation(at_once))


def write_array(group: h5py.h5g.GroupID, name: str, values: Array) -> h5d.DatasetID:
    """A small array."""
    data = create_array(group, name, values.shape, values.dtype, False)
    data.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(values))
    return data


def values_in(data: h5d.DatasetID) -> Array:
    """All of a small array."""
    values = np.empty(data.shape, data.dtype)
    data.read(h5s.ALL, h5s.ALL, values)
    return values


def numbers_in(attribute: h5a.AttrID) -> Array:
    """The numbers of an attribute."""
    values = np.empty(attribute.shape, attribute.dtype)
    attribute.read(values)
    return values


def set_attribute(home: h5py.h5g.GroupID | h5d.DatasetID, name: str, value: Any) -> None:
    """An attribute that an object has not yet: numbers, a text or a list of texts."""
    values = np.asarray(value)
    if values.dtype.kind == "U":
        values, kind = np.array(value, _TEXT), _types()[0]
    else:
        kind = _type(values.dtype)
    attribute = h5a.create(home, name.encode(), kind, _space(values.shape))
    attribute.write(values)


def reference_to(home: h5py.Group, name: str) -> h5r.Reference:
    """A reference to what is called so in a group or file."""
    return h5r.create(home.id, name.encode(), h5r.OBJECT)


def references(scales: Sequence[h5r.Reference]) -> Array:
    """A scale an axis, as ``DIMENSION_LIST`` has them."""
    values = np.empty(len(scales), dtype=REFERENCES)
    for axis, scale in enumerate(scales):
        values[axis] = np.array([scale], dtype=h5py.ref_dtype)
    return values


def attach(data: h5d.DatasetID, scales: Sequence[h5r.Reference]) -> None:
    """Name the axes of an array.

    By hand, because HDF5's call also lists the array in the scale: for a scale that all tracks
    share the list makes each track dearer than the one before. Readers do not need it.
    """
    kind = _types()[1]
    attribute = h5a.create(data, b"DIMENSION_LIST", kind, _space((len(scales),)))
    attribute.write(references(scales))
