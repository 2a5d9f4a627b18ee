"""How long a file says it is."""

from __future__ import annotations

import os

import soundfile


def probe_duration(path: str | os.PathLike[str]) -> float | None:
    """Seconds that the file's header declares: an estimate, and None where there is none."""
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            plausible = 0 < file.frames < 1 << 50
            return file.frames / file.samplerate if plausible else None
    except (soundfile.SoundFileError, OSError):
        return _probe_with_pyav(path)


def _probe_with_pyav(path: str | os.PathLike[str]) -> float | None:
    import av

    try:
        with av.open(os.fspath(path), metadata_errors="replace") as container:
            return container.duration / av.time_base if container.duration else None
    except (av.error.FFmpegError, OSError, UnicodeError):
        return None
