"""File names for tracks: of any id, on any file system, and none twice."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

#: What some file system refuses in a name, and "%", which marks what was replaced.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"\\|?*%]|^[ .]+|[ .]+$')
#: Names that Windows keeps for devices.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
#: Most bytes of a name and of a path, with room for the ending.
NAME_BYTES, PATH_BYTES = 200, 900


def file_names(ids: Iterable[str], suffix: str) -> dict[str, str]:
    """A relative path for each id: itself and the suffix, wherever that can be a file's name.

    Characters that cannot be in a name are written as ``%`` and two hexadecimal digits. Names that
    are too long are cut, and those that file systems without case or normalisation would take for
    one another, or for a folder, get a part of the id's SHA-256.

    Examples
    --------
    >>> file_names(["a/b.mp3", "../x", "A/B.mp3"], ".npz")["../x"]
    '%2E%2E/x.npz'
    """
    plain = {track_id: _path(track_id, suffix) for track_id in ids}
    taken = Counter(_folded(path) for path in plain.values())
    folders = {_folded(folder) for path in plain.values() for folder in _above(path)}
    return {
        track_id: _marked(path, track_id, suffix)
        if taken[_folded(path)] > 1 or _folded(path) in folders
        else path
        for track_id, path in plain.items()
    }


def _path(track_id: str, suffix: str) -> str:
    parts = [_safe(part) for part in track_id.split("/")]
    path = "/".join(parts)
    if len(path.encode()) > PATH_BYTES:
        return f"long/{_digest(track_id)}{suffix}"
    return path + suffix


def _safe(part: str) -> str:
    name = _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), part)
    if not name or _DEVICES.fullmatch(name):
        name += "%"
    if len(name.encode()) > NAME_BYTES:
        name = f"{name.encode()[: NAME_BYTES - 20].decode(errors='ignore')}~{_digest(part)}"
    return name


def _marked(path: str, track_id: str, suffix: str) -> str:
    return f"{path.removesuffix(suffix)}~{_digest(track_id)}{suffix}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _folded(path: str) -> str:
    """The same for all that some file system takes for one path."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _above(path: str) -> Iterable[str]:
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))
