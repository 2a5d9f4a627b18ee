"""Messages between a run and its workers, and the memory that they share."""

from __future__ import annotations

import io
import json
import mmap
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._types import Array

_ALIGNMENT = 64  # bytes


class Arena:
    """A file that is nowhere but in memory, mapped by both.

    Parameters
    ----------
    descriptor : int
        Of the file, which is closed with it.
    """

    def __init__(self, descriptor: int) -> None:
        self._file = io.FileIO(descriptor, "r+")
        self._map: mmap.mmap | None = None
        self._end = 0

    @classmethod
    def new(cls) -> Arena | None:
        """An empty one; None where the system has no such files."""
        if sys.platform != "linux":
            return None
        try:
            return cls(os.memfd_create("vit1dx"))
        except OSError:
            return None

    def fileno(self) -> int:
        """The descriptor."""
        return self._file.fileno()

    def lay(self, array: Array) -> int | None:
        """Lay a copy of an array behind those that lie there.

        Returns
        -------
        int or None
            Its place; None if it cannot have so much memory.
        """
        place = self._end
        end = place + -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        try:
            if end > (size := os.fstat(self.fileno()).st_size):
                self._file.truncate(max(end, 2 * size))  # what is not written to takes no memory
            self.view(place, array.shape, array.dtype)[...] = array
        except OSError:  # a limit on the size of files counts here too
            return None
        self._end = end
        return place

    def clear(self) -> None:
        """Begin again: what lies there may be overwritten."""
        self._end = 0

    def view(self, place: int, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """The array that lies at a place."""
        end = place + int(np.prod(shape)) * dtype.itemsize
        if self._map is None or end > len(self._map):
            # What still looks at the map before this one keeps it.
            self._map = mmap.mmap(self.fileno(), 0)
        return np.ndarray(shape, dtype, self._map, place)

    def close(self) -> None:
        """Give the descriptor back; views stay."""
        self._file.close()


Message = dict[str, Any]
_LENGTH = 8
_RELEASED = "released"


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """One end of a socket.

    Parameters
    ----------
    end : socket
    arena : Arena, optional
        Where arrays are laid, of which the socket then only says the places; the other end's too.
        Only one of the two sends any.
    """

    def __init__(self, end: socket.socket, arena: Arena | None = None) -> None:
        self._socket, self._arena = end, arena
        self._laid: dict[int, tuple[Array, int]] = {}  # by id: not sent yet, and their places
        self._lent = False  # whether arrays lie there that the one who received them still needs

    def fileno(self) -> int:
        """For `selectors`."""
        return self._socket.fileno()

    def lay(self, array: Array) -> Array:
        """A copy of an array where the other side can read it, once it is sent; or the array.

        Waits until the arrays sent before are released.

        Raises
        ------
        ChannelClosed
        """
        while self._lent:
            said = self._hear()
            assert not said, "nothing but a release is sent to one who has not sent its all"
        if self._arena is None or (place := self._arena.lay(array)) is None:
            return array
        laid = self._arena.view(place, array.shape, array.dtype)
        self._laid[id(laid)] = laid, place
        return laid

    def discard(self) -> None:
        """Forget what was laid and not sent."""
        self._laid.clear()
        if self._arena and not self._lent:
            self._arena.clear()

    def send(self, message: Message, arrays: Sequence[Array] = ()) -> None:
        """Send a message, waiting until the other side takes it.

        Raises
        ------
        ChannelClosed
        """
        places = [self._laid.pop(id(array), (array, None))[1] for array in arrays]
        layout = [
            [array.dtype.str, array.shape, place]
            for array, place in zip(arrays, places, strict=True)
        ]
        self._lent = self._lent or any(place is not None for place in places)
        self._say({**message, "arrays": layout})
        for array, place in zip(arrays, places, strict=True):
            if place is None:
                self._put(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def receive(self) -> tuple[Message, list[Array]]:
        """Wait for a message. Its arrays stay what they are until `release`.

        Raises
        ------
        ChannelClosed
        """
        while not (message := self._hear()):
            pass
        layout = message.pop("arrays")
        return message, [
            self._array(tuple(shape), np.dtype(code), at) for code, shape, at in layout
        ]

    def _array(self, shape: tuple[int, ...], dtype: np.dtype, place: int | None) -> Array:
        if place is None:
            array = np.empty(shape, dtype)
            self._take(array.reshape(-1).view(np.uint8))
            return array
        assert self._arena
        self._lent = True
        return self._arena.view(place, shape, dtype)

    def release(self) -> None:
        """Let the other side lay other arrays where those last received lie.

        Raises
        ------
        ChannelClosed
        """
        if self._lent:
            self._lent = False
            self._say({_RELEASED: True})

    def _say(self, message: Message) -> None:
        words = json.dumps(message).encode()
        self._put(len(words).to_bytes(_LENGTH, "little") + words)

    def _put(self, data: bytes | memoryview) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise ChannelClosed from error

    def _hear(self) -> Message:
        """The next message; an empty one for the word that arrays are released."""
        size = int.from_bytes(self._take(bytearray(_LENGTH)), "little")
        message: Message = json.loads(self._take(bytearray(size)))
        if _RELEASED in message:
            self._lent = False
            self.discard()
            return {}
        return message

    def _take(self, buffer: Any) -> Any:
        view = memoryview(buffer)
        while view:
            try:
                count = self._socket.recv_into(view)
            except OSError as error:
                raise ChannelClosed from error
            if not count:
                raise ChannelClosed
            view = view[count:]
        return buffer

    def close(self) -> None:
        """Close this end; arrays received stay."""
        self._socket.close()
        if self._arena:
            self._arena.close()
