"""A feature file is at a commit whatever is lost: every write, sync and cut, in any state."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import vit1dx
from vit1dx.errors import StoreError, WriteError
from vit1dx.store import journal
from vit1dx.store import writer as store
from vit1dx.store.commit import JournaledFile
from vit1dx.store.format import VERSIONS
from vit1dx.store.journal import Disk, journal_path, recover
from vit1dx.store.writer import FeatureWriter

from ..store.test_writer import _header, _tokens

SECTOR = 512


class Recorder(Disk):
    """Remembers what it was asked, and does it."""

    def __init__(self, path: Path) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self._path = path

    def _name(self, file: int) -> str:
        is_main = os.path.samestat(os.fstat(file), os.stat(self._path))
        return "main" if is_main else "journal"

    def write(self, file: int, data: bytes | memoryview, offset: int) -> None:
        self.asked.append(("write", self._name(file), offset, bytes(data)))
        super().write(file, data, offset)

    def truncate(self, file: int, size: int) -> None:
        self.asked.append(("truncate", self._name(file), size))
        super().truncate(file, size)

    def sync(self, file: int) -> None:
        self.asked.append(("sync", self._name(file)))
        super().sync(file)


def _apply(image: bytearray, asked: tuple[Any, ...]) -> None:
    if asked[0] == "truncate":
        size = asked[2]
        image[size:] = bytes(max(0, size - len(image)))
    else:
        _, _, offset, data = asked
        image.extend(bytes(max(0, offset + len(data) - len(image))))
        image[offset : offset + len(data)] = data


def _torn(asked: tuple[Any, ...], chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """What a power cut may leave of something that was not synced: all, nothing, some sectors."""
    fate = chance.random()
    if fate < 0.4:
        yield asked
    elif fate < 0.7 and asked[0] == "write":
        _, name, offset, data = asked
        cuts = [0, *range(SECTOR - offset % SECTOR, len(data), SECTOR), len(data)]
        for start, stop in pairwise(cuts):
            if chance.random() < 0.5:
                yield "write", name, offset + start, data[start:stop]


def _after_power_cut(
    before: bytes, asked: list[tuple[Any, ...]], chance: random.Random
) -> dict[str, bytearray]:
    images = {"main": bytearray(before), "journal": bytearray()}
    for name, image in images.items():
        own = [one for one in asked if one[1] == name]
        synced = max((i + 1 for i, one in enumerate(own) if one[0] == "sync"), default=0)
        for one in own[:synced]:
            if one[0] != "sync":
                _apply(image, one)
        for one in own[synced:]:
            for part in _torn(one, chance):
                _apply(image, part)
    return images


def _content(path: Path) -> Any:
    with vit1dx.open(path) as features:
        tracks = {
            key: track.read("sequence_tokens", layer=5).tobytes() for key, track in features.items()
        }
        return tracks, features.index(), features.failed()


def _session(path: Path) -> Iterator[None]:
    """Tracks, short and growing, done again and failing; yields after each commit."""
    with FeatureWriter(path, _header()) as writer:
        for turn in range(5):
            for name in (f"{turn}.wav", f"deep/{turn}/x.wav", "again.wav"):
                with writer.track(name) as track:
                    for first in range(1 + turn % 3):
                        track.add(_tokens(2, first=first + turn))
                    track.attributes = {"size": turn, "mtime_ns": turn, "duration": 1.0}
            growing = writer.begin("growing.wav")  # in flight at every commit
            tokens = _tokens(2)
            growing.append({name: [getattr(tokens, name)] for name in growing.names})
            writer.fail("0.wav" if turn == 3 else f"bad {turn}", "why " * 50 * turn, turn)
            writer.commit()
            yield


def _cuts(asked: list[tuple[Any, ...]], chance: random.Random) -> list[int]:
    """Moments to lose everything at: about every sync and cut, and some between."""
    turns = [at for at, one in enumerate(asked) if one[0] != "write"]
    near = {at + step for at in turns for step in (-1, 0, 1)}
    return sorted({0, len(asked), *near, *chance.sample(range(len(asked)), 60)})


@pytest.mark.slow
@pytest.mark.parametrize("cut_of", ["power", "process"])
def test_whatever_is_lost_the_file_is_at_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_of: str
) -> None:
    path = tmp_path / "f.h5"
    FeatureWriter(path, _header()).close()
    before = path.read_bytes()
    disk = Recorder(path)
    monkeypatch.setattr(store, "JournaledFile", partial(JournaledFile, disk=disk))
    commits = [(0, _content(path))]
    for _ in _session(path):
        commits.append((len(disk.asked), _content(path)))
    commits.append((len(disk.asked), _content(path)))
    monkeypatch.undo()

    chance = random.Random(0)
    crash = tmp_path / "crash.h5"
    seen = set()
    for count in _cuts(disk.asked, chance):
        asked = disk.asked[:count]
        if cut_of == "process":  # what was written stays, synced or not
            asked = [*asked, ("sync", "main"), ("sync", "journal")]
        images = _after_power_cut(before, asked, chance)
        crash.write_bytes(images["main"])
        journal_path(crash).write_bytes(images["journal"])
        last = max(i for i, (at, _) in enumerate(commits) if at <= count)
        expected = [content for _, content in commits[last : last + 2]]
        if cut_of == "process":
            assert _content(crash) in expected, "a reader does not wait for the recovery"
        recover(crash)
        found = _content(crash)
        assert found in expected, f"after {count} of {len(disk.asked)}: {disk.asked[count - 1][:2]}"
        seen.add(len(found[0]))
    assert len(seen) > 3
    assert not journal_path(crash).exists()


def test_another_files_journal_is_not_applied(tmp_path: Path) -> None:
    path, other = tmp_path / "f.h5", tmp_path / "other.h5"
    FeatureWriter(path, _header()).close()
    raw = JournaledFile(path, writable=True)
    with h5py.File(raw, "r+", libver=VERSIONS) as file:
        file["tracks"].create_group("half")
        file.flush()
        torn = journal.Journal(
            raw._end, raw._superblock, {k: bytes(v) for k, v in raw._pages.items()}
        )
    raw.close()
    other.write_bytes(path.read_bytes() + b"more")
    with FeatureWriter(other) as writer, writer.track("x.wav") as track:
        track.add(_tokens(1))
    journal_path(other).write_bytes(b"".join(torn.parts()))
    before = other.read_bytes()
    recover(other)
    assert other.read_bytes() == before


def test_the_journal_of_a_file_that_is_gone_is_not_applied_to_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    FeatureWriter(path, _header()).close()
    first = path.read_bytes()
    with FeatureWriter(path) as writer, writer.track("x.wav") as track:
        track.add(_tokens(1))
    changed = {0: path.read_bytes()[:4096]}
    left = journal.Journal(path.stat().st_size, first[:48], changed)
    path.unlink()
    journal_path(path).write_bytes(b"".join(left.parts()))
    writer = FeatureWriter(path, _header())
    assert not journal_path(path).read_bytes()
    assert list(vit1dx.open(path)) == []
    writer.abandon()


def test_a_full_disk_keeps_what_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up at any of the writes of a session."""
    path = tmp_path / "f.h5"
    FeatureWriter(path, _header()).close()
    empty = path.read_bytes()

    class Full(Disk):
        left = 0

        def write(self, file: int, data: bytes | memoryview, offset: int) -> None:
            Full.left -= 1
            if Full.left < 0:
                super().write(file, memoryview(data)[: len(data) // 2], offset)
                raise OSError(28, "No space left on device")
            super().write(file, data, offset)

    monkeypatch.setattr(store, "JournaledFile", partial(JournaledFile, disk=Full()))
    Full.left = 10**9
    states = [_content(path), *(_content(path) for _ in _session(path))]
    writes = 10**9 - Full.left
    for share in (0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.95):
        path.write_bytes(empty)
        Full.left = int(writes * share)
        commits = 0
        with pytest.raises(
            WriteError, match=r"^[^\n]*No space left on device[^\n]*continues where it stopped"
        ):
            for _ in _session(path):
                commits += 1
        # A journal that was whole is as good as a commit.
        assert _content(path) in states[commits : commits + 2]
    assert commits > 1
    Full.left = 10**9
    with FeatureWriter(path) as writer, writer.track("then.wav") as track:
        track.add(_tokens(1))
    with vit1dx.open(path) as features:
        assert set(features) > {"then.wav", "1.wav"}


def test_output_removed_while_it_is_written(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path / "f.h5", _header())
    with writer.track("x.wav") as track:
        track.add(_tokens(1))
    (tmp_path / "f.h5").unlink()
    with pytest.raises(WriteError, match="removed or replaced"):
        writer.commit()
    writer.abandon()
    assert not (tmp_path / "f.h5").exists()


def test_a_cut_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with FeatureWriter(path, _header()) as writer, writer.track("x.wav") as track:
        track.add(_tokens(1))
    os.truncate(path, path.stat().st_size - 10)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"was cut, from \d+ bytes to \d+; 'vit1dx repair'"):
        FeatureWriter(path)
    assert path.read_bytes() == before


def test_a_reader_beside_a_writer_meets_whole_tracks(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "f.h5", _header()) as writer:
        for turn in range(20):
            with writer.track(f"{turn}.wav") as track:
                track.add(_tokens(1, first=turn))
            if turn % 3 == 0:
                writer.commit()
            with vit1dx.open(tmp_path / "f.h5") as features:
                assert len(features) == turn // 3 * 3 + 1
                for track_id, read in features.items():
                    expected = _tokens(1, first=int(track_id[:-4])).arrays["sequence_tokens"][1]
                    np.testing.assert_array_equal(read.read("sequence_tokens", layer=5), expected)
