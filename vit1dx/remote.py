"""Files behind URLs, by fsspec: ``s3://``, ``gs://``, ``https://`` and whatever else it knows.

What a URL holds of credentials (``user:password@``, the query of a signed link) is used, and never
shown: everything here that becomes text is without it.
"""

from __future__ import annotations

import calendar
import errno
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from .errors import StoreError, UsageError, Vit1dxError, reason_of

#: Bytes that are fetched at a time of a file that is read, and how many such blocks are kept.
BLOCK, BLOCKS = 1 << 20, 32

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://")
#: Schemes whose URLs have a query; in the others "?" may be in a name.
_WITH_QUERY = ("http", "https")
_CLOUD = "pip install 'vit1dx[cloud]'"


def is_url(text: object) -> bool:
    """Whether a text is a URL, and no path; ``file://`` is a path, see `path_of`."""
    return isinstance(text, str) and bool(_URL.match(text))


def shown(url: str) -> str:
    """A URL without user, password and query."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if scheme in _WITH_QUERY:
        path = path.partition("?")[0]
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _secrets(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    for secret in (parts.netloc.rpartition("@")[0], parts.password, parts.query):
        if secret:
            yield from {secret, unquote(secret)}


def _without_secrets(text: str, url: str) -> str:
    text = text.replace(url, shown(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


@contextmanager
def plainly(url: str) -> Iterator[None]:
    """Turn whatever a library raises into an `OSError` that says it in a line, without secrets."""
    try:
        yield
    except Vit1dxError:
        raise
    except FileNotFoundError as error:
        said = reason_of(error) if "bucket does not" in str(error) else "no such file or folder"
        raise FileNotFoundError(errno.ENOENT, _without_secrets(said, url)) from None
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, "it is there already") from None
    except ImportError as error:
        raise UsageError(f"{shown(url)}: {reason_of(error)}; {_CLOUD}") from None
    except Exception as error:
        said = _without_secrets(getattr(error, "strerror", None) or reason_of(error), url)
        if isinstance(error, PermissionError):
            said = f"no permission with the credentials in use ({said})"
            raise PermissionError(errno.EACCES, said) from None
        raise OSError(errno.EIO, said) from None


@dataclass(frozen=True)
class Status:
    """What is known of a file behind a URL, named as `os.stat_result` has it."""

    st_size: int
    st_mtime_ns: int
    st_mode: int = stat.S_IFREG | 0o444


def status_of(info: dict[str, Any]) -> Status:
    """Size and time from what fsspec lists.

    The time is that of the last change, to the second; what is finer follows from the ETag, so that
    a file of the same size, written again within the second, is another.
    """
    times = ("LastModified", "mtime", "updated", "created")
    changed = next((info[key] for key in times if info.get(key)), 0)
    tag = str(info.get("ETag") or info.get("etag") or info.get("md5Hash") or "")
    digest = hashlib.blake2b(tag.strip('"').encode(), digest_size=8).digest()
    fraction = int.from_bytes(digest, "little") % 1_000_000_000 if tag else 0
    return Status(int(info.get("size") or 0), _seconds(changed) * 1_000_000_000 + fraction)


def _seconds(changed: Any) -> int:
    if hasattr(changed, "utctimetuple"):
        return calendar.timegm(changed.utctimetuple())
    if isinstance(changed, str):
        from email.utils import parsedate_to_datetime

        try:
            return calendar.timegm(parsedate_to_datetime(changed).utctimetuple())
        except ValueError:
            return int.from_bytes(hashlib.blake2b(changed.encode(), digest_size=4).digest(), "big")
    return int(changed)


class RemotePath(os.PathLike[str]):
    """A file or folder behind a URL, with those methods of `pathlib.Path` that reading needs.

    Parameters
    ----------
    url : str
        With what it may hold of credentials; as text, this has none.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        #: What went wrong while it was read: decoders cannot pass an error on.
        self.error: OSError | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url,)

    def __str__(self) -> str:
        return shown(self.url)

    __fspath__ = __str__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and other.url.rstrip("/") == self.url.rstrip("/")

    def __hash__(self) -> int:
        return hash(self.url.rstrip("/"))

    @property
    def key(self) -> PurePosixPath:
        """Its path, with the bucket or host in front."""
        return PurePosixPath(str(self).partition("://")[2].rstrip("/"))

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.key.name

    @property
    def stem(self) -> str:
        """Its name without the ending."""
        return self.key.stem

    @property
    def suffix(self) -> str:
        """Of its name."""
        return self.key.suffix

    @cached_property
    def system(self) -> tuple[Any, str]:
        """The file system, and the path in it, as fsspec has them."""
        with plainly(self.url):
            import fsspec

            return fsspec.core.url_to_fs(self.url)

    def stat(self) -> Any:
        """Size and time."""
        return self._status

    @cached_property
    def _status(self) -> Status:
        fs, path = self.system
        with plainly(self.url):
            return status_of(fs.info(path))

    @cached_property
    def kind(self) -> str | None:
        """``"file"`` or ``"directory"``; None if there is nothing."""
        fs, path = self.system
        try:
            with plainly(self.url):
                fs.invalidate_cache(path)  # of what this process knew before
                return str(fs.info(path).get("type"))
        except FileNotFoundError:
            return None

    def exists(self) -> bool:
        """Whether there is something; raises `StoreError` if that cannot be known."""
        with self._listed():
            return self.kind is not None

    def is_dir(self) -> bool:
        """Whether it is a folder; raises `StoreError` if that cannot be known."""
        with self._listed():
            return self.kind == "directory"

    def is_file(self) -> bool:
        """Whether it is a file; raises `StoreError` if that cannot be known."""
        with self._listed():
            return self.kind == "file"

    def iterdir(self) -> Iterator[RemotePath]:
        """What is in a folder; raises `StoreError` if that cannot be listed."""
        fs, path = self.system
        with self._listed(), plainly(self.url):
            fs.invalidate_cache(path)
            found = fs.ls(path, detail=True)
        for info in found:
            inside = self / PurePosixPath(info["name"]).name
            inside.kind, inside._status = str(info["type"]), status_of(info)
            yield inside

    @contextmanager
    def _listed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self} cannot be read: {error.strerror}") from None

    @property
    def parent(self) -> RemotePath:
        """The folder that it is in."""
        return RemotePath(self.url.rstrip("/").rpartition("/")[0])

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url.rstrip('/')}/{name}")

    def read_text(self) -> str:
        """All of a small file; raises OSError."""
        fs, path = self.system
        with plainly(self.url):
            return str(fs.cat_file(path), "utf-8")

    def write_new(self, text: str) -> None:
        """Write a small file; raises FileExistsError if it is there, and other OSErrors."""
        fs, path = self.system
        with plainly(self.url):
            fs.pipe_file(path, text.encode(), mode="create")

    def relative_to(self, other: RemotePath) -> PurePosixPath:
        """Its path below a folder."""
        return self.key.relative_to(other.key)

    def is_symlink(self) -> bool:
        """Never."""
        return False

    @cached_property
    def _file(self) -> Any:
        fs, path = self.system
        options = {"cache_type": "background", "cache_options": {"maxblocks": BLOCKS}}
        with plainly(self.url):
            return fs.open(path, "rb", block_size=BLOCK, **options)

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open it for reading; what one reader has fetched, the others need not fetch again."""
        assert mode == "rb"
        return io.BufferedReader(_Reader(self), 1 << 16)


class _Reader(io.RawIOBase):
    """A position in a remote file."""

    def __init__(self, path: RemotePath) -> None:
        self._path, self._file, self._at = path, path._file, 0
        self.name = str(path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        try:
            with plainly(self._path.url):
                self._file.seek(self._at)
                data = self._file.read(len(buffer))
        except OSError as error:
            self._path.error = error
            return 0
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


AnyPath = Path | RemotePath


def path_of(text: str | os.PathLike[str]) -> AnyPath:
    """The path that a text is, or the file behind the URL that it is."""
    if isinstance(text, RemotePath):
        return text
    text = os.fspath(text)
    if text.startswith("file://"):
        return Path(unquote(urlsplit(text).path))
    if text.startswith("memory://"):
        raise UsageError(f"{text}: what is in the memory of one process, its workers cannot read")
    return RemotePath(text) if is_url(text) else Path(text)


def text_of(path: AnyPath) -> str:
    """The text that `path_of` takes, for another process of ours; it may hold credentials."""
    return path.url if isinstance(path, RemotePath) else str(path)


def absolute(path: AnyPath) -> AnyPath:
    """What a path is from whatever current folder."""
    return path if isinstance(path, RemotePath) else Path(os.path.abspath(path))


def require_here(path: str | os.PathLike[str], what: str) -> None:
    """Raise `UsageError` if a path is a URL, which `what` cannot do with."""
    if is_url(text := os.fspath(path)) and not text.startswith("file://"):
        raise UsageError(
            f"{what} {shown(text)}: only what is on a disk can be; copy it first, as by 'aws s3 "
            "sync' or 'rclone copy'"
        )


def place_of(path: AnyPath) -> str:
    """Where a file is, from whatever current folder; without credentials."""
    return str(path) if isinstance(path, RemotePath) else os.path.abspath(path)
