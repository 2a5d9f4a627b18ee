"""Readers: held open beside a run, pickled, closed, of damaged files."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import vit1dx
from vit1dx.errors import StoreError, TrackError
from vit1dx.store import committed
from vit1dx.store.commit import JournaledFile
from vit1dx.store.journal import Journal, journal_path
from vit1dx.store.lock import lock_path
from vit1dx.store.reader import Features, StoredTrack
from vit1dx.store.shards import FolderWriter
from vit1dx.store.verify import verify
from vit1dx.store.writer import FeatureWriter

from ..conftest import ROOT
from ..store.test_shards import _put
from ..store.test_writer import _header, _tokens, _write

#: Writes tracks 0, 1, 2, ... for a while, three a commit; every seventh is track 0 again.
WRITER = """
import sys
from pathlib import Path
from tests.store.test_shards import _put, _header, FolderWriter, FeatureWriter, Any
path, count = Path(sys.argv[1]), int(sys.argv[2])
writer = FolderWriter(path, _header(), 1_000_000) if path.is_dir() else FeatureWriter(path)
with writer:
    for seed in range(1, count):
        _put(writer, f"{seed}.wav", seed)
        if seed % 7 == 0:
            _put(writer, "0.wav", seed)
        if seed % 3 == 0 and hasattr(writer, "commit"):
            writer.commit()
        writer.commit_if_due()
"""


def _require(track: StoredTrack) -> None:
    """A track is one that the writer wrote, whole."""
    seed = int(track.attributes["size"])
    assert track.id in (f"{seed}.wav", "0.wav")
    for layer, row in ((2, 0), (5, 1)):
        expected = _tokens(3, first=seed)
        if track.id != "0.wav":  # which may be done again between one line and the next
            np.testing.assert_array_equal(
                track.read("sequence_tokens", layer=layer), expected.sequence_tokens[row]
            )
        assert track.read("class_token", layer=layer).shape == expected.class_token[row].shape


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "folder", "linked file"])
def test_a_reader_held_open_reads_on_while_a_run_adds_tracks(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("f" if kind == "folder" else "f.h5")
    if kind == "folder":
        path.mkdir()
        writer: Any = FolderWriter(path, _header(), 1_000_000)
    else:
        writer = FeatureWriter(path, _header())
    with writer:
        _put(writer, "0.wav", 0)
        for seed in (1000, 1001):
            _put(writer, f"{seed}.wav", seed)
    if kind == "linked file":
        (tmp_path / "link.h5").symlink_to(path)
    features = vit1dx.open(tmp_path / "link.h5" if kind == "linked file" else path)
    held = list(features.values())
    command = [sys.executable, "-c", WRITER, str(path), "60"]
    looks = 0
    with subprocess.Popen(command, cwd=ROOT) as process:
        while process.poll() is None:
            assert {"0.wav", "1000.wav", "1001.wav"} <= set(features)
            for track_id in ("0.wav", "1000.wav", "1001.wav"):
                assert track_id in features
                assert features[track_id].layers == (2, 5)
            for track in (*held, *features.values()):
                _require(track)
            assert "nothing.wav" not in features
            assert len(features.index()) >= 3
            looks += 1
    assert process.returncode == 0
    assert looks > 3
    now = vit1dx.open(path)
    assert len(now) == 62
    for track in now.values():
        _require(track)
    if kind != "folder":  # which shows what was there when it was first looked at
        assert set(features) == set(now)
    now.close()
    features.close()


def test_a_reader_sees_one_commit_after_the_other(tmp_path: Path) -> None:
    """Also one that only takes bytes in place, and two of one step of the clock."""
    _write(tmp_path / "f.h5", {"x.wav": [_tokens(1)]}, _header())
    features = vit1dx.open(tmp_path / "f.h5")
    other = vit1dx.open(tmp_path / "f.h5")  # HDF5 must not share with it what it keeps
    assert len(features) == len(other) == 1
    with FeatureWriter(tmp_path / "f.h5") as writer:
        for turn in range(30):
            if turn % 3:
                writer.fail("bad.wav", f"for the {turn}th time")
            else:
                with writer.track(f"{turn}.wav") as track:
                    track.add(_tokens(1))
            writer.commit()
            assert len(features) == 2 + turn // 3
            if turn % 3:
                assert features.failures == {"bad.wav": f"for the {turn}th time"}
    assert len(features) == len(other) == 11


@pytest.mark.parametrize("replaced_by", ["other tracks", "nothing"])
def test_a_file_that_was_replaced_is_read_on_as_it_was(tmp_path: Path, replaced_by: str) -> None:
    path = tmp_path / "f.h5"
    _write(path, {"x.wav": [_tokens(1)]}, _header())
    features = vit1dx.open(path)
    path.unlink()
    if replaced_by == "other tracks":
        _write(path, {"y.wav": [_tokens(1)]}, _header())
    assert list(features) == ["x.wav"]
    assert features["x.wav"].time.shape == (125,)


def _mean(track: StoredTrack) -> float:
    return float(track.read("mean_token", layer=5).sum())


def _ids(features: Features) -> list[str]:
    return list(features)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_features_and_tracks_go_to_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").mkdir()
    tracks = {"a.wav": [_tokens(1)], "b.wav": [_tokens(2, first=1)]}
    _write(tmp_path / "f.h5", tracks, _header())
    with FolderWriter(tmp_path / "f", _header(), 1_000_000) as writer:
        _put(writer, "a.wav", 0)
    for name in ("f.h5", "f"):
        features = vit1dx.open(name)
        monkeypatch.chdir("/")  # it is opened again by its full path
        with multiprocessing.get_context(start).Pool(1) as pool:
            assert pool.map(_mean, features.values()) == [_mean(t) for t in features.values()]
            assert pool.apply(_ids, (features,)) == list(features)
        copies = pickle.loads(pickle.dumps([features, *features.values()]))
        assert all(copy._features is copies[0] for copy in copies[1:])
        monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("is_folder", [False, True])
def test_errors_say_what_was_wrong_in_a_line(tmp_path: Path, is_folder: bool) -> None:
    path = tmp_path / ("f" if is_folder else "f.h5")
    if is_folder:
        path.mkdir()
        FolderWriter(path, _header(), 1_000_000).close()
    _write(path / "00000.h5" if is_folder else path, {"a/x.wav": [_tokens(1)]}, _header())
    features = vit1dx.open(path)
    for name in ("nope", "a", "", "\0", "a/x.wav/time"):
        with pytest.raises(TrackError) as found:
            features[name]
        assert isinstance(found.value, KeyError)
        assert str(found.value).startswith(f"no track {name!r} in {path}")
        assert name not in features
        assert features.get(name) is None
    assert 7 not in features  # type: ignore[comparison-overlap]
    track = features["a/x.wav"]
    features.close()
    features.close()
    for use in (
        lambda: track.time,
        lambda: track.read("mean_token", layer=2),
        lambda: track.group,
        lambda: features["a/x.wav"],
        lambda: list(features.values()),
    ):
        with pytest.raises(StoreError, match="was closed"):
            use()


#: Reads as where there are no POSIX calls; the system's own name is not changed.
ELSEWHERE = """
import os, sys
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
for name in ("pread", "preadv", "pwrite", "O_CLOEXEC", "getuid", "ftruncate"):
    delattr(os, name)
import vit1dx
with vit1dx.open(sys.argv[1]) as features:
    for track in features.values():
        print(track.id, track.sequence_tokens.tobytes().hex())
"""


@pytest.mark.parametrize("is_cut_short", [False, True])
def test_a_reader_needs_no_posix_calls(tmp_path: Path, is_cut_short: bool) -> None:
    """Of a file that is committed, and of one with a journal."""
    path = tmp_path / "f.h5"
    _write(path, {"x.wav": [_tokens(1)]}, _header())
    if is_cut_short:
        before = path.read_bytes()
        _write(path, {"y.wav": [_tokens(2)]}, _header())
        after = path.read_bytes()
        pages = {
            at: after[at : at + 4096][: len(before) - at] for at in range(0, len(before), 4096)
        }
        path.write_bytes(before + after[len(before) :])
        journal = Journal(len(after), before[:48], pages)
        journal_path(path).write_bytes(b"".join(journal.parts()))
    command = [sys.executable, "-c", ELSEWHERE, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with vit1dx.open(path) as features:
        assert len(features) == 1 + is_cut_short
        expected = [f"{key} {t.sequence_tokens.tobytes().hex()}" for key, t in features.items()]
    assert done.stdout.splitlines() == expected


@pytest.mark.parametrize("outcome", ["sound", "without end", "damaged"])
def test_a_reader_waits_while_a_run_changes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """A reader that is slow meets change after change; only what stays as it is, is damaged."""
    path = tmp_path / "f.h5"
    _write(path, {"x.wav": [_tokens(1)]}, _header())
    whole = path.read_bytes()
    lock_path(path).touch()
    torn = whole[:100] + bytes(300) + whole[400:]
    path.write_bytes(torn)
    for name, seconds in (("STEP", 0.0), ("PAUSE", 0.0), ("PATIENCE", 0.5)):
        monkeypatch.setattr(committed, name, 60.0 if outcome == "sound" and seconds else seconds)
    changes = 0

    def changing(*arguments: Any, **options: Any) -> Any:
        nonlocal changes
        raw = JournaledFile(*arguments, **options)
        changes += 1
        if outcome != "damaged" and (outcome == "without end" or changes < 40):
            os.utime(path, ns=(0, changes))
        elif outcome == "sound" and changes == 40:
            path.write_bytes(whole)
        return raw

    monkeypatch.setattr(committed, "JournaledFile", changing)
    if outcome == "sound":
        assert list(vit1dx.open(path)) == ["x.wav"]
        assert changes >= 40
    else:
        with pytest.raises(StoreError):
            vit1dx.open(path)
        assert (changes <= committed.ATTEMPTS) == (outcome == "damaged")


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_files_that_cannot_be_used_leave_no_descriptor_open(tmp_path: Path) -> None:
    good = tmp_path / "good.h5"
    _write(good, {"x.wav": [_tokens(1)]}, _header())
    whole = good.read_bytes()
    spoilt = {"text": b"no HDF5", "empty": b"", "cut": whole[:-100]}
    spoilt["root"] = whole[:48] + bytes(400) + whole[448:]
    spoilt["superblock"] = whole[:30] + b"\1" + whole[31:]
    for name, data in spoilt.items():
        (tmp_path / f"{name}.h5").write_bytes(data)
    for name in ("format", "config", "no tables", "other version"):
        shutil.copy(good, tmp_path / f"{name}.h5")
        with h5py.File(tmp_path / f"{name}.h5", "r+") as file:
            if name == "no tables":
                del file["index"]
            else:
                file.attrs["format_version" if name == "other version" else name] = "7"
    before = _descriptors()
    for path in sorted(tmp_path.glob("*.h5")):
        for _ in range(3):
            for use in (_open, _write_to, verify):
                try:
                    use(path)
                except StoreError:
                    assert path.name != "good.h5"
            assert _descriptors() <= before, path


def _open(path: Path) -> None:
    with vit1dx.open(path) as features:
        features.index()


def _write_to(path: Path) -> None:
    FeatureWriter(path).close()
