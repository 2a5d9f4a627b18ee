"""An output is one, by whatever links and from whatever host: its lock, its journal, its runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vit1dx
from vit1dx.errors import LockedError, StoreError
from vit1dx.store import lock
from vit1dx.store.journal import Journal, journal_path
from vit1dx.store.lock import OutputLock, is_locked, lock_path, locks_reach_other_hosts
from vit1dx.store.repair import repair
from vit1dx.store.shards import FolderWriter
from vit1dx.store.writer import FeatureWriter

from ..conftest import ROOT, RunCli
from ..runs import extract_command, short_tracks
from ..store.test_shards import _put
from ..store.test_writer import _header, _tokens, _write


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """``real/f.h5``, and links to it, to its folder, and to a link."""
    (tmp_path / "real").mkdir()
    _write(tmp_path / "real" / "f.h5", {"x.wav": [_tokens(1)]}, _header())
    (tmp_path / "link.h5").symlink_to("real/f.h5")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "again.h5").symlink_to(tmp_path / "folder" / ".." / "link.h5")
    return tmp_path


NAMES = ("real/f.h5", "link.h5", "folder/f.h5", "again.h5")


@pytest.mark.parametrize("name", NAMES)
def test_an_output_has_one_lock(linked: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(linked)
    with OutputLock(Path(name)):
        assert set(os.listdir("real")) == {"f.h5", "f.h5.lock"}
        for other in NAMES:
            for path in (Path(other), linked / other):
                assert is_locked(path)
                with pytest.raises(LockedError, match=f"process {os.getpid()}"):
                    OutputLock(path)
    assert not lock_path(linked / "real" / "f.h5").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_commit_cut_short_is_found_by_any_name(linked: Path, name: str) -> None:
    path = linked / "real" / "f.h5"
    before = path.read_bytes()
    with FeatureWriter(path) as writer, writer.track("y.wav") as track:
        track.add(_tokens(1))
    after = path.read_bytes()
    pages = {at: after[at : at + 4096][: len(before) - at] for at in range(0, len(before), 4096)}
    journal = Journal(len(after), before[:48], pages)
    path.write_bytes(before + after[len(before) :])
    journal_path(linked / name).write_bytes(b"".join(journal.parts()))
    assert list(vit1dx.open(linked / name)) == ["x.wav", "y.wav"]
    with FeatureWriter(linked / name) as writer, writer.track("z.wav") as track:
        track.add(_tokens(1))
    assert len(vit1dx.open(path)) == 3
    assert os.listdir(linked / "real") == ["f.h5"]


def test_links_stay_links(linked: Path) -> None:
    repair(linked / "link.h5")
    FeatureWriter(linked / "again.h5", _header(), overwrite=True).close()
    assert (linked / "link.h5").is_symlink()
    assert (linked / "again.h5").is_symlink()
    assert list(vit1dx.open(linked / "real" / "f.h5")) == []
    assert os.listdir(linked / "real") == ["f.h5"]


def test_a_link_to_nothing_is_where_the_output_goes(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.h5").symlink_to("real/new.h5")
    FeatureWriter(tmp_path / "link.h5", _header()).close()
    assert (tmp_path / "link.h5").is_symlink()
    assert os.listdir(tmp_path / "real") == ["new.h5"]
    (tmp_path / "nowhere.h5").symlink_to("no/new.h5")
    (tmp_path / "loop.h5").symlink_to("loop.h5")
    for name, reason in (("nowhere.h5", "no folder .*/no to write"), ("loop.h5", "to itself")):
        with pytest.raises(StoreError, match=reason):
            FeatureWriter(tmp_path / name, _header())
        assert (tmp_path / name).is_symlink()


def test_shards_may_lie_elsewhere(tmp_path: Path) -> None:
    for name in ("f", "disk"):
        (tmp_path / name).mkdir()
    with FolderWriter(tmp_path / "f", _header(), 1_000_000) as writer:
        _put(writer, "x.wav", 1)
    shutil.move(tmp_path / "f" / "00000.h5", tmp_path / "disk" / "moved.h5")
    (tmp_path / "f" / "00000.h5").symlink_to("../disk/moved.h5")
    (tmp_path / "g").symlink_to("f")
    with OutputLock(tmp_path / "g"), pytest.raises(LockedError):
        OutputLock(tmp_path / "f")
    with FolderWriter(tmp_path / "g", _header(), 1_000_000) as writer:
        _put(writer, "y.wav", 2)
    repair(tmp_path / "g")
    assert (tmp_path / "f" / "00000.h5").is_symlink()
    assert list(vit1dx.open(tmp_path / "g")) == ["x.wav", "y.wav"]
    assert os.listdir(tmp_path / "disk") == ["moved.h5"]


@pytest.mark.slow
def test_a_second_run_by_a_link_is_refused(cli: RunCli, tmp_path: Path) -> None:
    short_tracks(tmp_path, 20, seconds=3.0)
    (tmp_path / "link.h5").symlink_to("f.h5")
    command = extract_command("--layers", "1", output="link.h5")
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        lock = tmp_path / "f.h5.lock"
        while not lock.exists() or not lock.read_text():  # it says who, a moment later
            time.sleep(0.02)
        process.send_signal(signal.SIGSTOP)  # so that it cannot end before the other begins
        result = cli("extract", "music", "--layers", "1", "-o", "f.h5")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
    assert result.returncode == 4
    assert f"f.h5 is being written by another run, process {process.pid} on" in result.stderr
    assert "remove" not in result.stderr


HOLDER = """
import os, signal, socket, sys
from pathlib import Path
from vit1dx.store.lock import OutputLock
if len(sys.argv) > 2:
    socket.gethostname = lambda: sys.argv[2]
lock = OutputLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read() if sys.argv[3:] else os.kill(os.getpid(), signal.SIGKILL)
"""


def _killed_on(host: str, output: Path) -> None:
    """A run that was killed on a host of this name: on this machine, so far as the kernel knows."""
    command = [sys.executable, "-c", HOLDER, str(output), host]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == -signal.SIGKILL
    assert json.loads(lock_path(output).read_text())["host"] == host


def test_a_run_killed_under_another_host_name_does_not_keep_the_lock(tmp_path: Path) -> None:
    _killed_on("container-1", tmp_path / "f.h5")
    OutputLock(tmp_path / "f.h5").close()
    assert not lock_path(tmp_path / "f.h5").exists()


def test_a_run_under_another_host_name_keeps_the_lock_while_it_lives(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "f.h5"), "container-1", "waits"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        with pytest.raises(LockedError, match=r"on container-1$"):  # no hint to remove the lock
            OutputLock(tmp_path / "f.h5")
        process.stdin.close()


def test_another_machines_lock_decides_where_the_kernels_does_not_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = {"pid": 1, "host": "node-1", "boot": "another", "started": 1}
    lock_path(tmp_path / "f.h5").write_text(json.dumps(holder))
    with pytest.raises(LockedError, match="on node-1; if it is gone, remove"):
        OutputLock(tmp_path / "f.h5")
    monkeypatch.setattr("vit1dx.store.lock.locks_reach_other_hosts", lambda path: True)
    OutputLock(tmp_path / "f.h5").close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[" * 4000,
        '{"pid": "12a", "host": HOST}',
        '{"pid": null, "host": HOST}',
        '{"pid": 1e99, "host": HOST}',
        '{"pid": 99999999999999999999999, "host": HOST, "boot": BOOT}',
        '{"pid": "1\\n2", "host": ["a\\nb"]}',
    ],
)
def test_whatever_a_lock_file_holds_it_is_taken_or_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Where the kernel has locks, and where there are none."""
    for has_locks in (True, False):
        if not has_locks:
            monkeypatch.setattr(OutputLock, "_lock", lambda self: False)
        known = text.replace("HOST", json.dumps(socket.gethostname()))
        lock_path(tmp_path / "f.h5").write_text(known.replace("BOOT", json.dumps(lock._boot())))
        try:
            OutputLock(tmp_path / "f.h5").close()
        except LockedError as error:
            refusal = str(error)
        else:
            continue
        assert "\n" not in refusal
        assert str(lock_path(tmp_path / "f.h5")) in refusal


MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:50 / /home rw - nfs4 server:/home rw,vers=4.2,local_lock=none,addr=10.0.0.1
41 22 0:51 / /old\040home rw - nfs server:/old rw,vers=3,nolock,local_lock=all,addr=10.0.0.1
42 22 0:52 / /scratch rw - lustre 10.0.0.2@tcp:/scratch rw,flock,lazystatfs
43 22 0:53 / /scratch2 rw - lustre 10.0.0.2@tcp:/scratch rw,localflock
44 40 8:2 / /home/me/disk rw - ext4 /dev/sdb1 rw
45 22 0:54 / /fuse rw - fuse.sshfs host:/x rw
"""


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        ("/data/f.h5.lock", False),
        ("/home/me/f.h5.lock", True),
        ("/homes/f.h5.lock", False),
        ("/home/me/disk/f.h5.lock", False),
        ("/old home/f.h5.lock", False),
        ("/scratch/f.h5.lock", True),
        ("/scratch2/f.h5.lock", False),
        ("/fuse/f.h5.lock", False),
    ],
)
def test_which_file_systems_pass_locks_on(tmp_path: Path, path: str, shared: bool) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert locks_reach_other_hosts(Path(path), tmp_path / "mountinfo") == shared
    assert not locks_reach_other_hosts(Path(path), tmp_path / "none")
