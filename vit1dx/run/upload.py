"""An output behind a URL: shards are written in a folder here, and uploaded when they are done.

Here a stub of each stays (`vit1dx.store.stub`), so that the same command, also on another machine,
knows what is done. What was uploaded is noted beside the stub only when the other side has all of
it: an upload that was cut short is done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import LockedError, StoreError, UsageError, WriteError
from ..remote import RemotePath, is_url, plainly, status_of
from ..store.existing import STUB
from ..store.place import Part, feature_files, make_folder, part_folders, require_parts_of
from ..store.reader import FeatureFile
from ..store.stub import write_stub

#: Shards that may wait for their upload before the run waits for them.
WAITING = 2
#: How often an upload is tried, and the pause after the first attempt, s.
ATTEMPTS, PAUSE = 3, 2.0
CHECK_SECONDS = 0.25

_SHARD = re.compile(r"\d{5,}\.h5")


class RemoteOutput:
    """A folder of shards behind a URL.

    Parameters
    ----------
    url : str
        Which ends in "/".

    Attributes
    ----------
    staging : Path
        The folder here: in that for temporary files (``TMPDIR``), the same for the same URL.

    Raises
    ------
    UsageError
        If the URL is that of a file.
    """

    def __init__(self, url: str) -> None:
        self.path = RemotePath(url)
        if not url.endswith("/"):
            raise UsageError(f"-o {self.path}: shards are uploaded, so it must end in '/'")
        digest = hashlib.sha256(f"{os.getuid()} {self.path}".encode()).hexdigest()
        self.staging = Path(tempfile.gettempdir()) / f"vit1dx-{digest[:16]}"
        self._waiting: queue.Queue[Path] = queue.Queue()
        self._error: Exception | None = None
        self._has_lock = False

    def part(self, part: Part) -> RemoteOutput:
        """The folder of a part in it, which is locked and uploaded for itself.

        Raises
        ------
        UsageError
            If there are parts of another number, or shards that are of none.
        StoreError
            If it cannot be read.
        """
        require_parts_of(self.path, part)
        return RemoteOutput(f"{self.path.url}{part.name}/")

    def require_no_parts(self) -> None:
        """Raise `UsageError` if it is in parts."""
        if parts := part_folders(self.path):
            raise UsageError(
                f"{self.path} is in {max(parts).count} parts; give --part K/{max(parts).count}, or "
                "another -o"
            )

    def begin(self, overwrite: bool) -> None:
        """Lock it, and bring the stubs here to what is there; the staging folder is locked.

        Raises
        ------
        LockedError
            If a run on another machine writes it.
        UsageError
            If it is in parts.
        StoreError
            If it cannot be read or written.
        """
        self.require_no_parts()
        with self._words("cannot be written"):
            self._lock()
        with self._words("cannot be read"):
            there = self._shards()
        if overwrite:
            with self._words("cannot be written"):
                for name in there:
                    self._system.rm_file(self._key(name))
            there = {}
        make_folder(self.staging)
        for path in feature_files(self.staging):
            if self._is_stub(path) and path.name not in there:
                self._forget(path)
        for name, status in sorted(there.items()):
            if self._noted(name) != status:
                self._fetch(name, status)
        threading.Thread(target=self._work, daemon=True).start()

    def sealed(self, shard: Path) -> None:
        """Have a shard that is done uploaded; waits where too many are.

        Raises
        ------
        WriteError
            If one could not be.
        """
        while self._waiting.unfinished_tasks >= WAITING:
            self._require_no_error()
            time.sleep(CHECK_SECONDS)
        self._waiting.put(shard)

    def finish(self, check: Callable[[], None]) -> None:
        """Upload what is left, and wait for it.

        Raises
        ------
        WriteError
            If something could not be uploaded.
        """
        self._await(check)
        for path in feature_files(self.staging):  # and what an earlier run left
            if not self._is_stub(path):
                self._waiting.put(path)
        self._await(check)

    def _await(self, check: Callable[[], None]) -> None:
        while self._waiting.unfinished_tasks:
            check()
            self._require_no_error()
            time.sleep(CHECK_SECONDS)
        self._require_no_error()

    def leave(self) -> None:
        """Unlock it."""
        if self._has_lock:
            with suppress(OSError), plainly(self.path.url):
                self._system.rm_file(self._key("lock"))

    @property
    def size(self) -> int:
        """Bytes that were uploaded, in all."""
        notes = self.staging.glob(".*.h5.uploaded")
        return sum(json.loads(note.read_text())["size"] for note in notes)

    @property
    def waiting(self) -> int:
        """Shards here that are not uploaded yet."""
        return sum(not self._is_stub(path) for path in feature_files(self.staging))

    # There.

    @property
    def _system(self) -> Any:
        return self.path.system[0]

    def _key(self, name: str) -> str:
        return f"{self.path.system[1].rstrip('/')}/{name}"

    def _shards(self) -> dict[str, dict[str, Any]]:
        """What is there, by name: its size, and when it was changed."""
        self._system.invalidate_cache()
        try:
            found = self._system.ls(self.path.system[1].rstrip("/"), detail=True)
        except FileNotFoundError:
            return {}
        named = ((info["name"].rpartition("/")[2], info) for info in found)
        return {name: _known(info) for name, info in named if _SHARD.fullmatch(name)}

    def _lock(self) -> None:
        """Say there that this machine writes it, unless another does."""
        try:
            holder = json.loads(self._system.cat_file(self._key("lock")))
        except (FileNotFoundError, ValueError):
            holder = {}
        me = {"pid": os.getpid(), "host": socket.gethostname()}
        if holder.get("host", me["host"]) != me["host"]:
            raise LockedError(
                f"{self.path} is being written by another run, process {holder.get('pid')} on "
                f"{holder['host']}; if it is gone, remove {self.path}lock"
            )
        self._system.pipe_file(self._key("lock"), json.dumps(me).encode())
        self._has_lock = True

    def _fetch(self, name: str, status: dict[str, Any]) -> None:
        """Make a stub of a shard there, of which only the tables are fetched."""
        local = self.staging / name
        shard = RemotePath(self.path.url + name)
        if local.exists() and not self._is_stub(local):
            self._require_own(local, shard)
        with self._words("cannot be read"), shard.open() as file:
            write_stub(file, local)
            if shard.error:
                raise shard.error
        self._note(name, status)

    def _require_own(self, local: Path, shard: RemotePath) -> None:
        """Raise `StoreError` unless a shard there is what was uploaded of one here."""
        if shard.stat().st_size != local.stat().st_size:
            raise StoreError(
                f"{shard} is not what this machine has of it, at {local}; another run wrote it: "
                f"remove {self.staging}, and what is only here is done again"
            )

    # Here.

    def _note(self, name: str, status: dict[str, Any]) -> None:
        new = self.staging / f".{name}.uploaded.new"
        new.write_text(json.dumps(status))
        os.replace(new, self._note_path(name))

    def _note_path(self, name: str) -> Path:
        return self.staging / f".{name}.uploaded"

    def _noted(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads(self._note_path(name).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _forget(self, path: Path) -> None:
        path.unlink()
        self._note_path(path.name).unlink(missing_ok=True)

    def _is_stub(self, path: Path) -> bool:
        with FeatureFile(path, damaged=True) as shard:
            return STUB in shard.attributes

    # Between.

    def _work(self) -> None:
        while True:
            shard = self._waiting.get()
            try:
                if self._error is None:
                    self._upload(shard)
            except Exception as error:  # said where the run asks
                self._error = error
            finally:
                self._waiting.task_done()

    def _upload(self, shard: Path) -> None:
        for attempt in range(ATTEMPTS):
            try:
                with plainly(self.path.url):
                    self._system.put_file(str(shard), self._key(shard.name))
                    self._system.invalidate_cache()
                    status = _known(self._system.info(self._key(shard.name)))
                if status["size"] != shard.stat().st_size:
                    raise OSError(5, f"{status['size']} bytes of {shard.name} arrived")
                break
            except OSError:
                if attempt + 1 == ATTEMPTS:
                    raise
                time.sleep(PAUSE * 4**attempt)
        write_stub(shard, shard)
        self._note(shard.name, status)

    def _require_no_error(self) -> None:
        if self._error is not None:
            reason = getattr(self._error, "strerror", None) or str(self._error)
            raise WriteError(
                f"{self.path} cannot be written: {reason}; what was finished is kept at "
                f"{self.staging}, and the same command continues"
            )

    @contextmanager
    def _words(self, what: str) -> Iterator[None]:
        """Say in a line what a library raises."""
        try:
            with plainly(self.path.url):
                yield
        except OSError as error:
            raise StoreError(f"{self.path} {what}: {error.strerror}") from None


def _known(info: dict[str, Any]) -> dict[str, Any]:
    status = status_of(info)
    return {"size": status.st_size, "changed": status.st_mtime_ns}


def remote_output(output: str | os.PathLike[str]) -> RemoteOutput | None:
    """The output behind a URL; None where it is a path."""
    text = os.fspath(output)
    return RemoteOutput(text) if is_url(text) and not text.startswith("file://") else None
