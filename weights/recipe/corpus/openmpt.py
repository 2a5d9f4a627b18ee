"""Tracker modules as libopenmpt plays them: what stands in their rows, and channels muted."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

RATE = 44_100  # Hz
ENDINGS = (".mod", ".xm", ".s3m", ".it", ".stm")
NOTE, INSTRUMENT, EFFECT, PARAMETER = 0, 1, 3, 5  # libopenmpt's numbers of a cell's parts
NOTE_OFF = 128  # and above: cuts, fades and releases
MUTE = 10  # place of `set_channel_mute_status` among the functions of its interactive extension
FUNCTIONS = 16


class Cell(NamedTuple):
    """What stands in a row of one channel: the letter of the effect, and numbers."""

    note: int
    instrument: int
    effect: str
    parameter: int


@cache
def library() -> Any:
    """Libopenmpt; `OSError` where it is not installed."""
    name = ctypes.util.find_library("openmpt")
    if name is None:
        raise OSError("no libopenmpt; apt-get install libopenmpt0")
    found = ctypes.CDLL(name)
    found.openmpt_module_ext_create_from_memory.restype = ctypes.c_void_p
    found.openmpt_module_ext_get_module.restype = ctypes.c_void_p
    found.openmpt_module_format_pattern_row_channel_command.restype = ctypes.c_void_p
    found.openmpt_module_get_duration_seconds.restype = ctypes.c_double
    found.openmpt_module_read_interleaved_float_stereo.restype = ctypes.c_size_t
    return found


class Module:
    """A module, open in libopenmpt.

    Raises
    ------
    ValueError
        If it is none that libopenmpt can read.
    OSError
        If there is no libopenmpt.
    """

    def __init__(self, content: bytes) -> None:
        nothing = [None] * 7
        self._extended = ctypes.c_void_p(
            library().openmpt_module_ext_create_from_memory(
                content, ctypes.c_size_t(len(content)), *nothing
            )
        )
        if not self._extended:
            raise ValueError("no module that libopenmpt can read")
        self._handle = ctypes.c_void_p(library().openmpt_module_ext_get_module(self._extended))

    def _call(self, name: str, *arguments: int) -> Any:
        return getattr(library(), f"openmpt_module_{name}")(self._handle, *arguments)

    def close(self) -> None:
        """Close it."""
        library().openmpt_module_ext_destroy(self._extended)

    @property
    def seconds(self) -> float:
        """Length."""
        return float(self._call("get_duration_seconds"))

    @property
    def channels(self) -> int:
        """How many there are."""
        return int(self._call("get_num_channels"))

    @property
    def row(self) -> tuple[int, int, int]:
        """Order, pattern and row that are played."""
        return tuple(self._call(f"get_current_{part}") for part in ("order", "pattern", "row"))

    def patterns(self) -> Iterator[tuple[int, int]]:
        """Every row of every pattern that is played, as often as it is in the order list."""
        for order in range(self._call("get_num_orders")):
            pattern = self._call("get_order_pattern", order)
            for row in range(self._call("get_pattern_num_rows", pattern)):
                yield pattern, row

    def cells(self, pattern: int, row: int) -> Iterator[Cell]:
        """What stands in a row, channel by channel."""
        for channel in range(self.channels):
            note, instrument, parameter = (
                self._call("get_pattern_row_channel_command", pattern, row, channel, part) & 0xFF
                for part in (NOTE, INSTRUMENT, PARAMETER)
            )
            yield Cell(note, instrument, self._effect(pattern, row, channel), parameter)

    def _effect(self, *place: int) -> str:
        text = self._call("format_pattern_row_channel_command", *place, EFFECT)
        found = ctypes.string_at(text).decode()
        library().openmpt_free_string(ctypes.c_void_p(text))
        return found

    def play_only(self, channels: Iterable[int]) -> None:
        """Mute all other channels, from the beginning of what is read next."""
        functions = (ctypes.c_void_p * FUNCTIONS)()
        size = ctypes.c_size_t(ctypes.sizeof(functions))
        name = b"interactive"
        if not library().openmpt_module_ext_get_interface(self._extended, name, functions, size):
            raise OSError("libopenmpt has no interactive extension")
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int)
        mute = kind(functions[MUTE] or 0)
        heard = set(channels)
        for channel in range(self.channels):
            if not mute(self._extended, channel, int(channel not in heard)):
                raise OSError(f"libopenmpt cannot mute channel {channel}")

    def read(self, samples: int) -> np.ndarray:
        """The next samples, (n, 2) float32."""
        block = np.zeros((samples, 2), np.float32)
        pointer = block.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        read = library().openmpt_module_read_interleaved_float_stereo
        count = read(self._handle, RATE, ctypes.c_size_t(samples), pointer)
        return block[:count]


def has_letters(name: str) -> bool:
    """Whether a module's effects are Impulse Tracker's and Scream Tracker's, by its name."""
    return name.lower().endswith((".s3m", ".it", ".stm"))


def starts_note(cell: Cell, by_letter: bool) -> bool:
    """Whether a cell starts a note: not one that is glided to, nor the end of one.

    `by_letter` is what `has_letters` says of the module.
    """
    glides = ("G", "L") if by_letter else ("3", "5")
    return 0 < cell.note < NOTE_OFF and cell.effect not in glides


def delays_note(cell: Cell, by_letter: bool) -> bool:
    """Whether a cell's note comes later than its row."""
    return cell.effect == ("S" if by_letter else "E") and cell.parameter >> 4 == 0xD
