"""What starting works out of a model, kept for the next start in the user's folder for caches."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from ..whole import whole

#: Files kept, the last ones used; one is as large as a model, or a few lines.
KEPT = 24
_SUFFIX = ".kept"
_DIGEST = hashlib.sha256().digest_size


def cache_folder() -> Path | None:
    """``$XDG_CACHE_HOME/vit1dx``, or that in ``~/.cache``; None for a user without a home."""
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(home) if home else Path.home() / ".cache") / "vit1dx"
    except RuntimeError:
        return None


def read(key: str) -> bytes | None:
    """What was written by this key, if all of it is there as it was."""
    path = _path(key)
    try:
        data = path.read_bytes() if path else b""
    except OSError:
        return None
    digest, content = data[:_DIGEST], data[_DIGEST:]
    if path is None or hashlib.sha256(content).digest() != digest:
        return None
    with suppress(OSError):
        os.utime(path)  # those used longest ago go first
    return content


def write(key: str, content: bytes) -> None:
    """Keep something by a key; where that cannot be, it is not kept.

    Processes may do so side by side: a file has its name once it is whole.
    """
    path = _path(key)
    if path is None:
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as new:
            new.write_bytes(hashlib.sha256(content).digest() + content)
        _drop_oldest(path.parent)


def _path(key: str) -> Path | None:
    folder = cache_folder()
    return folder and folder / (hashlib.sha256(key.encode()).hexdigest() + _SUFFIX)


def _drop_oldest(folder: Path) -> None:
    files = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
    for path in files[:-KEPT]:
        path.unlink(missing_ok=True)
