"""Messages between a run and its workers, and the memory that they share."""

from __future__ import annotations

import io
import json
import math
import mmap
import os
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._types import Array

_ALIGNMENT = 64  # bytes


class Arena:
    """Shared memory that arrays are placed in: a file without a name, mapped by both processes.

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
        """An empty arena; None where the system has no such files."""
        if sys.platform != "linux":
            return None
        try:
            return cls(os.memfd_create("vit1dx"))
        except OSError:
            return None

    def fileno(self) -> int:
        """The descriptor."""
        return self._file.fileno()

    def add(self, shape: tuple[int, ...], dtype: np.dtype) -> int | None:
        """Make room for an array behind those that are there.

        Returns
        -------
        int or None
            Its offset, bytes; None if there is no memory for it.
        """
        offset = self._end
        size = math.prod(shape) * dtype.itemsize
        end = offset + -(-size // _ALIGNMENT) * _ALIGNMENT
        try:
            if end > (size := os.fstat(self.fileno()).st_size):
                self._file.truncate(max(end, 2 * size))  # what is not written to takes no memory
            self.view(offset, shape, dtype)
        except OSError:  # a limit on the size of files counts here too
            return None
        self._end = end
        return offset

    def clear(self) -> None:
        """Start over: what is there may be overwritten."""
        self._end = 0

    def view(self, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """The array at an offset."""
        end = offset + math.prod(shape) * dtype.itemsize
        if self._map is None or end > len(self._map):
            # What still looks at the map before this one keeps it.
            self._map = mmap.mmap(self.fileno(), 0)
        return np.ndarray(shape, dtype, self._map, offset)

    def close(self) -> None:
        """Close the file; views stay."""
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
        Shared by both ends: of arrays in it, the socket carries only the offsets. Only one of the
        two ends sends arrays.
    """

    def __init__(self, end: socket.socket, arena: Arena | None = None) -> None:
        self._socket, self._arena = end, arena
        self._unsent: dict[int, tuple[Array, int]] = {}  # shared arrays and their offsets, by id
        self._sharing = threading.Lock()
        self._in_use = False  # whether the receiver still needs arrays in the arena

    def fileno(self) -> int:
        """For `selectors`."""
        return self._socket.fileno()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """An array to be filled and sent later, in shared memory where there is some.

        Waits until the arrays sent before are released. Threads may ask side by side.

        Raises
        ------
        ChannelClosed
        """
        with self._sharing:
            while self._in_use:
                message = self._receive()
                assert not message, "until all is sent, nothing but a release comes back"
            if self._arena is None or (offset := self._arena.add(shape, dtype)) is None:
                return np.empty(shape, dtype)
            shared = self._arena.view(offset, shape, dtype)
            self._unsent[id(shared)] = shared, offset
            return shared

    def share(self, array: Array) -> Array:
        """What `empty` gave, or a copy in such memory, to be sent later.

        Raises
        ------
        ChannelClosed
        """
        if id(array) in self._unsent:
            return array
        shared = self.empty(array.shape, array.dtype)
        shared[...] = array
        return shared

    def discard(self) -> None:
        """Forget what was shared and not sent."""
        self._unsent.clear()
        if self._arena and not self._in_use:
            self._arena.clear()

    def send(self, message: Message, arrays: Sequence[Array] = ()) -> None:
        """Send a message, waiting until the other side takes it.

        Raises
        ------
        ChannelClosed
        """
        offsets = [self._unsent.pop(id(array), (array, None))[1] for array in arrays]
        layout = [
            [array.dtype.str, array.shape, offset]
            for array, offset in zip(arrays, offsets, strict=True)
        ]
        self._send({**message, "arrays": layout})
        # Only what was sent will be released.
        self._in_use = self._in_use or any(offset is not None for offset in offsets)
        for array, offset in zip(arrays, offsets, strict=True):
            if offset is None:
                self._write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def receive(self) -> tuple[Message, list[Array]]:
        """Wait for a message. Its arrays stay what they are until `release`.

        Raises
        ------
        ChannelClosed
        """
        while not (message := self._receive()):
            pass
        layout = message.pop("arrays")
        return message, [
            self._array(tuple(shape), np.dtype(code), offset) for code, shape, offset in layout
        ]

    def _array(self, shape: tuple[int, ...], dtype: np.dtype, offset: int | None) -> Array:
        if offset is None:
            array = np.empty(shape, dtype)
            self._read(array.reshape(-1).view(np.uint8))
            return array
        assert self._arena
        self._in_use = True
        return self._arena.view(offset, shape, dtype)

    def release(self) -> None:
        """Let the other side reuse the memory of the arrays last received.

        Raises
        ------
        ChannelClosed
        """
        if self._in_use:
            self._in_use = False
            self._send({_RELEASED: True})

    def _send(self, message: Message) -> None:
        data = json.dumps(message).encode()
        self._write(len(data).to_bytes(_LENGTH, "little") + data)

    def _write(self, data: bytes | memoryview) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise ChannelClosed from error

    def _receive(self) -> Message:
        """The next message; an empty one says that arrays are released."""
        size = int.from_bytes(self._read(bytearray(_LENGTH)), "little")
        message: Message = json.loads(self._read(bytearray(size)))
        if _RELEASED in message:
            self._in_use = False
            self.discard()
            return {}
        return message

    def _read(self, buffer: Any) -> Any:
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
