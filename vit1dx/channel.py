"""Messages between a run and its workers: a few words as JSON, and arrays as they lie in memory."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import Array

Message = dict[str, Any]
_LENGTH = 8


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """One end of a socket."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def fileno(self) -> int:
        """For `selectors`."""
        return self._socket.fileno()

    def send(self, message: Message, arrays: Sequence[Array] = ()) -> None:
        """Send a message, waiting until the other side takes it.

        Raises
        ------
        ChannelClosed
        """
        layout = [[array.dtype.str, array.shape] for array in arrays]
        words = json.dumps({**message, "arrays": layout}).encode()
        try:
            self._socket.sendall(len(words).to_bytes(_LENGTH, "little") + words)
            for array in arrays:
                self._socket.sendall(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        except OSError as error:
            raise ChannelClosed from error

    def receive(self) -> tuple[Message, list[Array]]:
        """Wait for a message.

        Raises
        ------
        ChannelClosed
        """
        size = int.from_bytes(self._take(bytearray(_LENGTH)), "little")
        message = json.loads(self._take(bytearray(size)))
        arrays = [np.empty(shape, dtype) for dtype, shape in message.pop("arrays")]
        for array in arrays:
            self._take(array.reshape(-1).view(np.uint8))
        return message, arrays

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
        """Close this end."""
        self._socket.close()
