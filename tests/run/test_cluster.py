"""Runs on a Dask cluster: what one machine would give, whoever dies."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vit1dx
from vit1dx.store.reader import FeatureFile
from vit1dx.store.verify import verify

from ..clusters import LoopbackCluster, interrupt, start_on, wait_until_gone
from ..conftest import RunCli
from ..runs import extract_command, require_same, short_tracks, tracks_in

pytest.importorskip("distributed")

TRACKS = 120


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``music``, 120 tracks of a second, and ``local/``, extracted here."""
    folder = tmp_path_factory.mktemp("cluster")
    short_tracks(folder, TRACKS)
    (folder / "music" / "broken.mp3").write_bytes(b"no music")
    command = extract_command("--layers", "4,8", output="local/")
    assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 1
    return folder


def _start(cluster: LoopbackCluster, folder: Path, output: str) -> subprocess.Popen[str]:
    return start_on(cluster, extract_command("--layers", "4,8", output=output), folder)


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _require_as_local(folder: Path, output: str) -> None:
    """The same arrays and failures as of one machine, once each, all closed and sound."""
    path = folder / output
    require_same(path, folder / "local")
    with vit1dx.open(path) as ours, vit1dx.open(folder / "local") as theirs:
        assert ours.failures == theirs.failures
        assert ours.attributes["finished"] == 1
    rows: Counter[str] = Counter()
    for shard in path.glob("*.h5"):
        with FeatureFile(shard) as features:
            rows.update(list(features.index()))
    assert set(rows.values()) == {1}, "a track was extracted twice"
    assert not verify(path).problems
    left = [file.name for file in path.iterdir() if "lock" in file.name or file.name[0] == "."]
    assert not [*left, *path.glob("*.journal")], "something was left behind"


@pytest.mark.slow
def test_a_cluster_gives_what_one_machine_does(music: Path, tmp_path: Path) -> None:
    """Also where a worker is killed, and another comes late."""
    with LoopbackCluster(tmp_path / "dask") as cluster:
        run = _start(cluster, music, "plain/")
        printed, errors = run.communicate()
        assert (run.returncode, errors) == (1, "")  # as there is a broken file
        summary = json.loads(printed)
        assert (summary["done"], summary["failed"]) == (TRACKS, 1)
        _require_as_local(music, "plain")

        run = _start(cluster, music, "killed/")
        _wait_for(lambda: tracks_in(music / "killed") > 10)
        cluster.workers[0].kill()
        cluster.workers[0].wait()
        cluster.workers.append(cluster.add_worker())
        printed, _ = run.communicate()
        assert run.returncode == 1
        assert json.loads(printed)["done"] == TRACKS
        _require_as_local(music, "killed")


@pytest.mark.slow
def test_what_ends_a_run_loses_nothing(music: Path, tmp_path: Path) -> None:
    """The end of the scheduler; and Ctrl-C and a kill, with a cluster that goes on."""
    with LoopbackCluster(tmp_path / "first") as cluster:
        run = _start(cluster, music, "out/")
        _wait_for(lambda: tracks_in(music / "out") > 10)
        cluster.scheduler.kill()
        _, errors = run.communicate()
        assert run.returncode == 1
        assert errors.count("\n") == 1
        assert "is gone; what was finished is kept" in errors
        for worker in cluster.workers:
            wait_until_gone(worker)
    lost = tracks_in(music / "out")
    assert 10 < lost < TRACKS
    with LoopbackCluster(tmp_path / "second") as cluster:
        run = _start(cluster, music, "out/")
        _wait_for(lambda: tracks_in(music / "out") > lost + 5)
        interrupt(run)
        summary = json.loads(run.communicate()[0])
        assert run.returncode == 130
        assert summary["stopped"] == "interrupted"
        stopped = tracks_in(music / "out")
        assert stopped == summary["already"] + summary["done"] < TRACKS

        run = _start(cluster, music, "out/")
        _wait_for(lambda: tracks_in(music / "out") > stopped + 5)
        run.kill()
        run.communicate()
        run = _start(cluster, music, "out/")
        summary = json.loads(run.communicate()[0])
        assert stopped + 5 < summary["already"] <= TRACKS
        assert summary["already"] + summary["done"] == TRACKS
        _require_as_local(music, "out")


@pytest.mark.parametrize(
    ("output", "options", "words"),
    [
        ("f.h5", {}, "end -o in '/'"),
        ("f/", {"workers": 2}, "the cluster has its own"),
        ("f/", {"part": "1/2"}, "shares the files out by itself"),
    ],
)
def test_what_cannot_go_with_a_cluster_is_said(
    songs: Path, tmp_path: Path, output: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(vit1dx.UsageError, match=words):
        vit1dx.extract(songs, f"{tmp_path}/{output}", scheduler="127.0.0.1:9", **options)
    assert not list(tmp_path.iterdir())


def test_a_scheduler_that_is_not_there(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    run = cli("extract", songs, "-o", "f/", "--scheduler", "no/such/file.json")
    assert (run.returncode, run.stderr.count("\n")) == (3, 1)
    assert "no scheduler file no/such/file.json" in run.stderr
    assert not (tmp_path / "f").exists()
