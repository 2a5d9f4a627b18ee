"""Messages between a run and its workers: a few words as JSON, and arrays as they lie in memory."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

import numpy as np

from .arena import Arena
from .arrays import Array

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
        self._lent = False  # whether arrays lie there that the one who received them still needs

    def fileno(self) -> int:
        """For `selectors`."""
        return self._socket.fileno()

    def send(self, message: Message, arrays: Sequence[Array] = ()) -> None:
        """Send a message, waiting until the other side takes it, and has released arrays before.

        Raises
        ------
        ChannelClosed
        """
        places = self._lay(arrays) if arrays and self._arena else None
        layout = [[array.dtype.str, array.shape] for array in arrays]
        self._say({**message, "arrays": layout, "places": places})
        for array in () if places else arrays:
            self._put(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def _lay(self, arrays: Sequence[Array]) -> list[int] | None:
        assert self._arena
        while self._lent:
            said = self._hear()
            assert not said, "nothing but a release is sent to one who has not sent its all"
        places = self._arena.put(arrays)
        self._lent = places is not None
        return places

    def receive(self) -> tuple[Message, list[Array]]:
        """Wait for a message. Its arrays stay what they are until `release`.

        Raises
        ------
        ChannelClosed
        """
        while not (message := self._hear()):
            pass
        layout = [(tuple(shape), np.dtype(code)) for code, shape in message.pop("arrays")]
        places = message.pop("places")
        if places:
            assert self._arena
            self._lent = True
            views = zip(places, layout, strict=True)
            return message, [self._arena.view(place, *what) for place, what in views]
        arrays = [np.empty(*what) for what in layout]
        for array in arrays:
            self._take(array.reshape(-1).view(np.uint8))
        return message, arrays

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
