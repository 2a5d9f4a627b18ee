"""Files behind URLs, listed: folders of a bucket, globs and single files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ..errors import UsageError
from ..remote import RemotePath, Status, is_url, plainly, status_of


@dataclass(frozen=True)
class Object:
    """A file behind a URL.

    Attributes
    ----------
    id : str
    path : RemotePath
    status : Status or None
        None where it could not be had.
    was_named : bool
        Whether it was given itself, and not found in a folder.
    """

    id: str
    path: RemotePath
    status: Status | None
    was_named: bool = False


def find(given: RemotePath, root: str | os.PathLike[str] | None = None) -> Iterator[Object]:
    """What a URL stands for: the files in a folder, those that match a glob, or one.

    Folders are listed one at a time, so that a bucket of millions takes no more memory than its
    largest folder. Ids are as those of local files (`vit1dx.run.sources.collect`).

    Raises
    ------
    UsageError
        If there is nothing, or it cannot be listed.
    """
    try:
        yield from _find(given, root)
    except OSError as error:
        raise UsageError(f"{given}: {error.strerror}") from None


def named(given: RemotePath, track_id: str) -> Object:
    """A file that a list names."""
    try:
        status = given.stat()
    except OSError:  # its own failure, when its turn has come
        status = None
    return Object(track_id, given, status, was_named=True)


def _find(given: RemotePath, root: str | os.PathLike[str] | None) -> Iterator[Object]:
    fs, path = given.system
    fs.invalidate_cache()  # of what an earlier run of this process listed
    kind = given.kind
    if kind is None and glob.has_magic(path) and not given.url.startswith("http"):
        yield from _matches(given, root)
        return
    if kind != "directory":
        yield Object(object_id(given, given.name, root), given, given.stat(), was_named=True)
        return
    base = path.rstrip("/")
    walk = fs.walk(base, detail=True, on_error="raise")
    while True:
        with plainly(given.url):
            step = next(walk, None)
        if step is None:
            return
        folder, folders, files = step
        # In order, as on a disk.
        for name in sorted(folders):
            folders[name] = folders.pop(name)
        for name in sorted(files):
            below = f"{folder}/{name}".removeprefix(base).lstrip("/")
            if name:  # a folder may be an object, too
                yield _object(given, files[name], below, root)


def _matches(given: RemotePath, root: str | os.PathLike[str] | None) -> Iterator[Object]:
    fs, path = given.system
    parts = PurePosixPath(path).parts
    first = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    base = "/".join(parts[:first])
    with plainly(given.url):
        found = fs.glob(path, detail=True)
    if not found:
        raise UsageError(f"{given}: no match for it as a pattern")
    for name, info in sorted(found.items()):
        if info.get("type") == "directory":
            yield from _find(_sibling(given, name), root)
        else:
            yield _object(given, info, name.removeprefix(base).lstrip("/"), root)


def _object(
    given: RemotePath, info: dict[str, Any], below: str, root: str | os.PathLike[str] | None
) -> Object:
    path = _sibling(given, info["name"])
    return Object(object_id(path, below, root), path, status_of(info))


def _sibling(given: RemotePath, name: str) -> RemotePath:
    """Another file of the same file system."""
    fs, _ = given.system
    parts = urlsplit(given.url)
    if name.startswith("/"):  # below a host, which the file system was made for
        return RemotePath(f"{parts.scheme}://{parts.netloc}{name}")
    return RemotePath(fs.unstrip_protocol(name))


def object_id(path: RemotePath, otherwise: str, root: str | os.PathLike[str] | None) -> str:
    """The id of a file behind a URL: below the root, if there is one."""
    if root is None:
        return otherwise
    top = RemotePath(os.fspath(root))
    if not (is_url(top.url) and path.key.is_relative_to(top.key)):
        raise UsageError(f"{path} is not below --root {top}")
    return str(path.relative_to(top))
