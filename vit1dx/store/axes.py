"""Named axes: a dimension scale on each axis of each array, as xarray and netCDF expect them."""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np

from .._types import Array

#: Axes of a track's arrays; each has a dimension scale of this name in the track's group or above.
AXES = {
    "class_token": ("layer", "window", "feature"),
    "sequence_tokens": ("layer", "time", "feature"),
    "mean_token": ("layer", "feature"),
    "time": ("time",),
    "window_start": ("window",),
}
ATTENTION_AXES = {
    "class": ("layer", "window", "head", "key"),
    "full": ("layer", "window", "head", "query", "key"),
}
SHARED_SCALES = ("feature", "head")
GROWING = ("window", "time")

_REFERENCES = h5py.vlen_dtype(h5py.ref_dtype)


def scale_of(data: h5py.Dataset, name: str) -> h5py.Dataset:
    """Make a data set a dimension scale."""
    data.make_scale(name)
    return data


def add_scale(group: h5py.Group, name: str, values: Array) -> h5py.Dataset:
    """Write a dimension scale."""
    return scale_of(group.create_dataset(name, data=values), name)


def attach(data: h5py.Dataset, scales: Sequence[h5py.Dataset]) -> None:
    """Name the axes of `data`.

    By hand, because `dims[i].attach_scale` also lists `data` in the scale: for a scale that all
    tracks share the list makes each track dearer than the one before. Readers do not need it.
    """
    references = np.empty(len(scales), dtype=object)
    for axis, scale in enumerate(scales):
        references[axis] = np.array([scale.ref], dtype=h5py.ref_dtype)
    data.attrs.create("DIMENSION_LIST", references, dtype=_REFERENCES)
