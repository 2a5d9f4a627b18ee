"""How long a file says it is."""

from __future__ import annotations

import os
from typing import Any

import soundfile

from ..remote import AnyPath, RemotePath, path_of
from .files import for_decoders


def probe_duration(path: str | os.PathLike[str]) -> float | None:
    """Seconds that the file's header declares: an estimate, and None where there is none."""
    path = path_of(path)
    try:
        with soundfile.SoundFile(for_decoders(path)) as file:
            plausible = 0 < file.frames < 1 << 50
            return file.frames / file.samplerate if plausible else None
    except (soundfile.SoundFileError, OSError):
        return _probe_with_pyav(path)


def _probe_with_pyav(path: AnyPath) -> float | None:
    import av

    try:
        file = path.open("rb") if isinstance(path, RemotePath) else os.fspath(path)
        container: Any
        with av.open(file, metadata_errors="replace") as container:
            return container.duration / av.time_base if container.duration else None
    except (av.error.FFmpegError, OSError, UnicodeError):
        return None
