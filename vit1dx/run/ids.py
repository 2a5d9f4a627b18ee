"""What tracks are called: by where their files are."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from ..audio.files import printable
from ..errors import UsageError
from ..remote import RemotePath, is_url, path_of
from .lists import Entry
from .objects import object_id


def id_below(root: str | os.PathLike[str] | None, path: Path, otherwise: str) -> PurePosixPath:
    """A path as an id has it: below the root, if there is one."""
    if root is None:
        return PurePosixPath(otherwise)
    top, full = os.path.abspath(root), Path(os.path.abspath(path))
    if not full.is_relative_to(top):
        raise UsageError(f"{printable(path)} is not below --root {printable(root)}")
    return PurePosixPath(printable(full.relative_to(top).as_posix()))


def placed(entry: Entry | str, here: str, root: str | os.PathLike[str] | None) -> tuple[str, str]:
    """The id of a file of a list, and its absolute path or its URL."""
    text, given = entry if isinstance(entry, Entry) else (entry, None)
    if is_url(text):
        remote = path_of(text)
        if isinstance(remote, RemotePath):
            return given or object_id(remote, str(remote.key), root), text
        text = str(remote)
    path = os.path.normpath(os.path.join(here, text))
    return given or listed_id(path, here, root), path


def listed_id(path: str, here: str, root: str | os.PathLike[str] | None) -> str:
    """The id of a file of a list, by its absolute path."""
    inside = here.rstrip("/") + "/"
    usual = path[len(inside) :] if path.startswith(inside) else path.lstrip("/")
    if path == here:  # a folder, which is no file; its id says so
        usual = "."
    if root is not None:
        return str(id_below(root, Path(path), usual))
    return usual if usual.isascii() else printable(usual)
