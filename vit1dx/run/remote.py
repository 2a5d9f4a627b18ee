"""What a scheduler gets to hold of a run: a name and bytes, for which it imports nothing large."""

from __future__ import annotations

import asyncio
import pickle
from importlib import import_module
from typing import Any


def call(name: str, arguments: bytes) -> Any:
    """What ``vit1dx.run.task.NAME`` gives of pickled arguments."""
    return getattr(import_module("vit1dx.run.task"), name)(*pickle.loads(arguments))


async def call_aside(name: str, arguments: bytes) -> Any:
    """`call`, in a thread, so that a worker answers meanwhile."""
    return await asyncio.to_thread(call, name, arguments)
