"""The rendered corpus: what its labels promise, checked against symbols and against sound."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import subprocess
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import librosa
import mir_eval
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from weights.recipe import DEFAULT_DATA
from weights.recipe.corpus import real
from weights.recipe.corpus.__main__ import app
from weights.recipe.corpus.build import MANIFEST, Job, build, do, write_manifest
from weights.recipe.corpus.compose import compose, style_of
from weights.recipe.corpus.fluidsynth import (
    HELD_OUT,
    SOUNDFONTS,
    SYNTH_RATE,
    TAIL,
    RenderError,
    Synth,
    synthesise,
)
from weights.recipe.corpus.freedoom import freedoom_songs, number_of
from weights.recipe.corpus.harte import QUALITIES, bass_of, pitch_classes, root_of, transpose
from weights.recipe.corpus.labels import labels_of, merged_onsets, read_labels
from weights.recipe.corpus.orchestra import Ensemble, draw_ensemble
from weights.recipe.corpus.pop909 import pop909_songs
from weights.recipe.corpus.render import SAMPLE_RATE, render
from weights.recipe.corpus.rendition import (
    Plan,
    Rendition,
    Timeline,
    Voice,
    clipped,
    draw_rendition,
    sustained,
)
from weights.recipe.corpus.song import Grid, Song, Span, Track, note_array
from weights.recipe.corpus.split import role_of, split_of, wanted
from weights.recipe.corpus.styles import STYLES
from weights.recipe.tests.needs import SMALL, needs_data, needs_synth

PLAN = Plan(seed=3, seconds=6.0, soundfonts=(SMALL,))


@pytest.fixture(scope="module")
def held_out_songs() -> list[Song]:
    return list(pop909_songs(DEFAULT_DATA, "test"))


def plain_ensemble(**programs: int) -> Ensemble:
    return Ensemble(0, SMALL, programs, None, False, 0.2, 0.0, 0.0)


def plain_rendition(program: int, onsets: list[float], seconds: float) -> Rendition:
    """Single notes of one instrument, dry, at known times."""
    notes = note_array((t, t + 0.2, 60 + 2 * (i % 5), 100) for i, t in enumerate(onsets))
    voice = Voice("melody", program, notes, 100, 64, 0, 0)
    beats = np.arange(0, seconds, 0.5)
    grid = Grid(beats, np.arange(0, len(beats), 4))
    song = Song("composed", 1, "test", "test", (Track("melody", notes),), grid, 0.0, seconds)
    timeline = Timeline(0.0, seconds, 0, 1.0)
    return Rendition(song, 0, 0, timeline, plain_ensemble(melody=program), (voice,), -20.0, 0)


def chord_share(labels: dict[str, Any], lag: float = 0.0) -> float:
    """Share of the time of pitched notes that belongs to the chord label, `lag` s later."""
    notes = {name: np.array(values) for name, values in labels["notes"].items()}
    pitched = ~np.array([voice["drums"] for voice in labels["voices"]])[notes["voice"]]
    inside = total = 0.0
    for start, end, label in labels["chords"]:
        overlap = np.minimum(notes["offset"], end + lag) - np.maximum(notes["onset"], start + lag)
        heard = np.clip(overlap, 0, None) * pitched
        if label != "N":
            total += heard.sum()
            inside += heard[np.isin(notes["pitch"] % 12, pitch_classes(label))].sum()
    return inside / total


# Split and labels


def test_songs_are_split_by_number() -> None:
    assert [n for n in range(1, 31) if split_of(n) == "test"] == [10, 20, 30]
    assert [n for n in range(1, 61) if role_of(n) == "valid"] == [7, 27, 47]
    assert role_of(30) == "test"
    assert wanted(10, "all")
    assert not wanted(10, "train")
    with pytest.raises(ValueError, match="'valid' is not one of train, test, all"):
        wanted(1, "valid")


def test_freedoom_numbers_keep_the_files_own() -> None:
    assert split_of(number_of("d_map20")) == "test"
    assert split_of(number_of("d_dm30")) == "test"
    assert split_of(number_of("d_map21")) == "train"
    with pytest.raises(ValueError, match="'d_new' is none of Freedoom's"):
        number_of("d_new")


@pytest.mark.parametrize("quality", QUALITIES)
def test_chords_mean_what_mir_eval_says(quality: str) -> None:
    root, intervals, _ = mir_eval.chord.encode(f"Eb:{quality}", reduce_extended_chords=True)
    theirs = {(root + i) % 12 for i in np.flatnonzero(intervals)}
    assert set(pitch_classes(f"Eb:{quality}")) == theirs


def test_labels_transpose_with_their_bass() -> None:
    assert transpose("B:maj7/3", 2) == "Db:maj7/3"
    assert transpose("Gb:min", -6) == "C:min"
    assert transpose("N", 5) == "N"
    assert (bass_of("C:min/b3"), bass_of("C:maj/5"), root_of("F#")) == (3, 7, 6)


def test_beats_and_seconds_are_inverse() -> None:
    grid = Grid(np.array([0.3, 0.8, 1.4, 1.9]), np.array([0]))
    positions = np.array([-1.5, 0.0, 0.7, 2.5, 4.0])
    np.testing.assert_allclose(grid.position(grid.seconds(positions)), positions)


def test_an_instrument_that_rests_is_no_passage() -> None:
    melody = plain_rendition(0, [0.5, 1.0], 4.0)
    resting = replace(melody.voices[0], role="bass", program=33, notes=note_array([]))
    labels = labels_of(replace(melody, voices=(*melody.voices, resting)), 0)
    assert [family for family, *_ in labels["instruments"]] == ["piano"]
    assert set(labels["notes"]["voice"]) == {0}


def test_simultaneous_onsets_are_one() -> None:
    assert merged_onsets(np.array([1.0, 0.5, 0.512, 1.03])) == [0.5, 1.0, 1.03]


# Sources


@pytest.mark.slow
@needs_data
def test_pop909_chords_fit_its_notes_and_not_a_beat_off(held_out_songs: list[Song]) -> None:
    for song in held_out_songs[::20]:
        as_written = labels_of(draw_rendition(song, 0, replace(PLAN, seconds=60.0)), 3)
        period = 60 / as_written["tempo"]
        fits = [chord_share(as_written, lag) for lag in (-period, 0.0, period)]
        assert fits[1] > 0.75
        assert np.argmax(fits) == 1


@needs_data
def test_pop909_chords_change_on_downbeats(held_out_songs: list[Song]) -> None:
    for song in held_out_songs[::10]:
        starts = np.array([span.start for span in song.chords or ()])
        downbeats = song.grid.beats[song.grid.downbeats]
        distances = np.abs(downbeats[:, None] - starts).min(axis=1)
        assert np.mean(distances < 0.05) > 0.8


@needs_data
def test_freedoom_has_bands_and_known_beats() -> None:
    songs = list(freedoom_songs(DEFAULT_DATA, "test"))
    assert [song.number for song in songs] == [110, 120, 130, 210, 220, 230, 410]
    assert all({"drums", "bass"} <= {track.role for track in song.tracks} for song in songs)
    assert all(song.chords is None for song in songs)


def test_each_style_composes_with_true_labels() -> None:
    numbers = {style_of(number): number for number in range(1, 40)}
    assert set(numbers) == set(STYLES)
    for number in numbers.values():
        song = compose(number)
        assert song.chords
        assert song.sections
        assert song.keys
        assert song.chords[0].start == song.sections[0].start == 0.0
        assert song.chords[-1].end == pytest.approx(song.end)
        labels = labels_of(draw_rendition(song, 0, replace(PLAN, seconds=60.0)), 3)
        assert chord_share(labels) > 0.8


def test_test_compositions_go_through_all_styles() -> None:
    tens = [style_of(number) for number in range(10, 10 + 10 * len(STYLES), 10)]
    assert sorted(tens) == sorted(STYLES)


def test_a_composition_is_always_the_same() -> None:
    first, second = compose(5), compose(5)
    assert first.chords == second.chords
    for one, other in zip(first.tracks, second.tracks, strict=True):
        np.testing.assert_array_equal(one.notes, other.notes)


# Renditions


def test_aligned_renditions_share_time_and_key_but_not_sound() -> None:
    song = compose(7)
    labels = [labels_of(draw_rendition(song, i, replace(PLAN, aligned=2)), 3) for i in range(3)]
    for name in ("beats", "downbeats", "chords", "keys", "sections", "tempo"):
        assert labels[0][name] == labels[1][name]
    assert labels[0]["render"]["ensemble"] != labels[1]["render"]["ensemble"]
    assert labels[0]["render"]["tempo_scale"] != labels[2]["render"]["tempo_scale"]


def test_aligned_renditions_may_share_their_drums(held_out_songs: list[Song]) -> None:
    plan = replace(PLAN, aligned=2, shared_drums=1.0)
    for song in (held_out_songs[0], compose(7)):
        one, other, apart = (draw_rendition(song, i, plan) for i in range(3))
        drums = [[v.notes for v in it.voices if v.is_drums] for it in (one, other, apart)]
        assert [len(each) for each in drums] == [1, 1, 1]
        np.testing.assert_array_equal(drums[0][0], drums[1][0])
        assert one.kit == other.kit != apart.kit
        assert one.ensemble.programs != other.ensemble.programs


def test_transposition_moves_notes_chords_and_keys_together() -> None:
    song = compose(3)
    key = (song.keys or ())[0].label
    drawn = [draw_rendition(song, 0, replace(PLAN, seed=seed)) for seed in range(5)]
    assert len({rendition.timeline.semitones for rendition in drawn}) > 2
    for rendition in drawn:
        labels = labels_of(rendition, 3)
        assert labels["keys"][0][2] == transpose(key, rendition.timeline.semitones)
        assert chord_share(labels) > 0.8


def test_tempo_scale_moves_beats_and_notes_together() -> None:
    notes = note_array([(2.0, 2.5, 60, 90), (3.0, 3.5, 62, 90)])
    timeline = Timeline(start=1.0, seconds=4.0, semitones=0, tempo_scale=2.0)
    np.testing.assert_allclose(
        clipped(notes, timeline)["onset"], timeline.on_render(np.array([2.0, 3.0]))
    )
    np.testing.assert_allclose(timeline.on_render(2.0), 0.5)


def test_a_pitch_never_overlaps_itself() -> None:
    notes = note_array([(0.0, 2.0, 60, 90), (1.0, 1.5, 60, 90), (0.5, 2.0, 64, 90)])
    cut = clipped(notes, Timeline(0.0, 4.0, 0, 1.0))
    c4 = cut[cut["pitch"] == 60]
    assert c4["offset"][0] < c4["onset"][1]


def test_the_pedal_holds_notes_that_decay() -> None:
    notes = note_array([(0.0, 0.5, 60, 90), (2.0, 2.5, 62, 90)])
    track = Track("chords", notes, pedal=(Span(0.2, 1.5, "pedal"),))
    np.testing.assert_allclose(sustained(track), [1.5, 2.5])


def test_ensembles_always_have_harmony_and_are_reproducible() -> None:
    for index in range(50):
        ensemble = draw_ensemble(1, index, ("FluidR3", SMALL))
        assert {"chords", "pad", "arpeggio"} & set(ensemble.programs)
        assert ensemble == draw_ensemble(1, index, ("FluidR3", SMALL))


@pytest.mark.slow
def test_every_rendition_has_harmony() -> None:
    for number in (1, 4, 8, 400):
        for index in range(12):
            rendition = draw_rendition(compose(number), index, PLAN)
            assert {"chords", "pad", "arpeggio"} & {t.role for t in rendition.song.tracks}


def test_a_song_too_short_is_refused_with_its_length() -> None:
    song = replace(compose(1), end=4.0)
    with pytest.raises(ValueError, match=r"composed-0001: \d\.\d s, need 10 s"):
        draw_rendition(song, 0, replace(PLAN, seconds=60.0))


# Limits of the synthesiser


def fake_synth(folder: Path, script: str, timeout: float) -> Synth:
    """A stand-in for FluidSynth; `$out` in its script is the file that it should write."""
    path = folder / "synth"
    path.write_text('#!/bin/bash\nwhile [ "$1" != -F ]; do shift; done; out=$2\n' + script)
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return Synth(str(path), timeout)


@needs_synth
def test_a_hanging_synth_is_killed_with_its_children(tmp_path: Path) -> None:
    began, mark = time.monotonic(), tmp_path / "outlived"
    synth = fake_synth(tmp_path, f"(sleep 2; touch {mark}) & sleep 60", timeout=0.5)
    with pytest.raises(RenderError, match=r"more than 0\.5 s"):
        synthesise(plain_rendition(0, [0.1], 2.0), synth)
    assert time.monotonic() - began < 1.9
    time.sleep(2.2)
    assert not mark.exists()


@needs_synth
def test_an_endless_synth_is_stopped_when_it_wrote_enough(tmp_path: Path) -> None:
    synth = fake_synth(tmp_path, 'yes | tr -d "\\n" > $out', timeout=30)
    sound = synthesise(plain_rendition(0, [0.1], 2.0), synth)
    assert len(sound) == round((2.0 + TAIL) * SYNTH_RATE)


@needs_synth
def test_a_failing_synth_says_why(tmp_path: Path) -> None:
    synth = fake_synth(tmp_path, "echo no such soundfont >&2; exit 3", timeout=30)
    with pytest.raises(RenderError, match="ended with 3 and 0 bytes: no such soundfont"):
        synthesise(plain_rendition(0, [0.1], 2.0), synth)


# Sound


@needs_synth
@pytest.mark.parametrize("program", [0, 11, 25])
def test_onset_labels_are_where_energy_rises(program: int, tmp_path: Path) -> None:
    onsets = [0.25 + 0.5 * i for i in range(8)]
    rendition = plain_rendition(program, onsets, 4.5)
    sound = render(rendition, tmp_path, 0, Synth()) / 2**15
    assert len(sound) == round(4.5 * SAMPLE_RATE)
    labels = labels_of(rendition, 0)
    frame = SAMPLE_RATE // 200
    energy = np.square(sound[: len(sound) // frame * frame]).reshape(-1, frame).mean(axis=1)
    rise = np.maximum(0, np.diff(np.log10(energy + 1e-7)))
    for onset in labels["onsets"]:
        near = slice(round((onset - 0.1) * 200), round((onset + 0.1) * 200))
        measured = (np.argmax(rise[near]) + 1 + near.start) / 200
        assert abs(measured - onset) < 0.02


@pytest.mark.slow
@needs_synth
def test_aligned_renditions_sound_at_the_same_times(tmp_path: Path) -> None:
    onsets = [0.3, 0.75, 1.5, 1.7, 2.6, 3.0, 3.8, 4.6]
    piano, guitar = (plain_rendition(program, onsets, 5.0) for program in (0, 25))
    strengths = [
        librosa.onset.onset_strength(
            y=render(r, tmp_path, 0, Synth()) / 2**15, sr=SAMPLE_RATE, hop_length=160
        )
        for r in (piano, guitar)
    ]
    centred = [strength - strength.mean() for strength in strengths]
    lags = np.correlate(centred[0], centred[1], mode="full")
    assert abs(int(np.argmax(lags)) - (len(centred[1]) - 1)) <= 1
    assert lags.max() / np.prod([np.linalg.norm(c) for c in centred]) > 0.6


@pytest.mark.slow
@needs_synth
@needs_data
def test_renders_do_not_depend_on_workers_and_are_not_redone(tmp_path: Path) -> None:
    songs = [compose(number) for number in (1, 2)]
    for name, workers in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        jobs = (Job(song, 0, PLAN, tmp_path / name, DEFAULT_DATA) for song in songs)
        assert not [o for o in build(jobs, workers) if o.reason]
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    before = (tmp_path / "one" / files[0]).stat().st_mtime_ns
    assert do(Job(songs[0], 0, PLAN, tmp_path / "one", DEFAULT_DATA)).reason is None
    assert (tmp_path / "one" / files[0]).stat().st_mtime_ns == before
    assert write_manifest(tmp_path / "one") == 2
    plain, labelled = (_rows(tmp_path / "one", label) for label in ("", "mine"))
    for bare, named in zip(plain, labelled, strict=True):
        assert named["source"] == "mine"
        assert named["song"] == f"mine:{bare['song']}"
        assert named["ensemble"] == f"mine:{bare['ensemble']}"
        assert named["audio"] == bare["audio"]


def _rows(folder: Path, label: str) -> list[dict[str, Any]]:
    write_manifest(folder, label)
    return [json.loads(line) for line in (folder / MANIFEST).read_text().splitlines()]


@needs_synth
@needs_data
def test_chroma_of_a_render_fits_its_chords(held_out_songs: list[Song], tmp_path: Path) -> None:
    plan = replace(PLAN, seconds=25.0)
    job = Job(held_out_songs[3], 0, plan, tmp_path, DEFAULT_DATA)
    assert do(job).reason is None
    labels = read_labels(job.path(".json.gz"))
    sound, rate = soundfile.read(job.path(".flac"))
    chroma = librosa.feature.chroma_cqt(y=sound, sr=rate, hop_length=512)
    times = librosa.frames_to_time(np.arange(chroma.shape[1]), sr=rate, hop_length=512)

    def inside(lag: float) -> float:
        shares = []
        for start, end, label in labels["chords"]:
            frames = chroma[:, (times >= start + lag) & (times < end + lag)]
            if label != "N" and frames.size:
                shares.append(frames[list(pitch_classes(label))].mean() / frames.mean())
        return float(np.mean(shares))

    assert inside(0.0) > 1.3
    assert inside(0.0) > inside(60 / labels["tempo"])


# Recordings


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_recordings_of_a_package_are_checked_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, out = tmp_path / "package", tmp_path / "out"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "DEBIAN" / "control").write_text(
        "Package: tunes\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: tunes\n"
    )
    (package / "usr").mkdir()
    (package / "usr" / "one.ogg").write_bytes(b"one")
    (package / "usr" / "changed.ogg").write_bytes(b"another version")
    with zipfile.ZipFile(package / "usr" / "data.zip", "w") as archive:
        archive.writestr("music/two.ogg", b"two")
    out.mkdir()
    command = ["dpkg-deb", "--build", str(package), str(out / "tunes_1_all.deb")]
    subprocess.run(command, check=True, capture_output=True)
    members = {
        "usr/one.ogg": b"one",
        "usr/data.zip!music/two.ogg": b"two",
        "usr/changed.ogg": b"changed",
        "usr/gone.ogg": b"gone",
    }
    rows = [
        {"package": "tunes", "member": name, "md5": hashlib.md5(content).hexdigest()}
        for name, content in members.items()
    ]
    reasons = real.fetch("tunes", rows, out)
    assert (out / "tunes" / "usr_one.ogg").read_bytes() == b"one"
    assert (out / "tunes" / "music_two.ogg").read_bytes() == b"two"
    assert [bool(reason) for reason in reasons.values()] == [False, False, True, True]
    assert not (out / "tunes" / "usr_changed.ogg").exists()
    monkeypatch.setattr(real, "download", None)  # what is there is not fetched again
    nameless = {"package": "tunes", "member": "", "md5": ""}
    reasons = real.fetch("tunes", [*rows[:2], nameless], out)
    assert list(reasons.values()) == ["", "", "the table names no file"]


def test_no_package_is_for_training_and_for_testing() -> None:
    if not (DEFAULT_DATA / "real").exists():
        pytest.skip("needs the table of recordings")
    train, test = (real.wanted(DEFAULT_DATA / "real", role) for role in ("train", "test"))
    assert not set(train) & set(test)
    assert sum(map(len, train.values())) == 470
    assert not {row["md5"] for rows in train.values() for row in rows} & {
        row["md5"] for rows in test.values() for row in rows
    }


# Command line


@pytest.mark.parametrize("name", HELD_OUT)
def test_held_out_soundfonts_are_refused_for_training(tmp_path: Path, name: str) -> None:
    if not SOUNDFONTS[name].exists():
        pytest.skip(f"{SOUNDFONTS[name]} is not installed")
    arguments = [str(tmp_path), "--soundfont", name, "--split", "train"]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert "held out" in result.output


@needs_synth
def test_an_unknown_source_is_refused_by_name(tmp_path: Path) -> None:
    arguments = [str(tmp_path), "--soundfont", SMALL, "--source", "lakh"]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert "'lakh' is not one of" in result.output
