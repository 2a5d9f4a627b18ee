"""Training: the loss against a naive one, runs against runs, and the command as a user calls it."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from vit1dx.arrays import Array  # noqa: E402
from vit1dx.config import Config, MelConfig, ModelConfig  # noqa: E402
from vit1dx.errors import UsageError, WeightsError  # noqa: E402
from vit1dx.mel import LogMel  # noqa: E402
from vit1dx.model import ViT1D, load, save  # noqa: E402
from vit1dx.train.augment import Augment, Ranges, draw_knobs, neutral_knobs  # noqa: E402
from vit1dx.train.batches import Pairs2Mel  # noqa: E402
from vit1dx.train.cache import SAMPLES, AudioCache, find_audio  # noqa: E402
from vit1dx.train.data import PairSampler, Tracks, read_groups, split_tracks  # noqa: E402
from vit1dx.train.frontend import BatchMel, n_samples_of  # noqa: E402
from vit1dx.train.loop import train  # noqa: E402
from vit1dx.train.loss import nt_xent, retrieval_accuracy  # noqa: E402
from vit1dx.train.recipe import Recipe  # noqa: E402
from vit1dx.train.trainer import Contrast  # noqa: E402
from vit1dx.weights import read_safetensors_metadata  # noqa: E402

RATE = 16000
SECONDS = 6.0
SMALL = Config(mel=MelConfig(n_mels=32), model=ModelConfig(depth=2, dim=32, heads=2))
RECIPE = Recipe(
    steps=6, batch=4, seconds=1.0, warmup=2, learning_rate=2e-3, augment=False, precision="fp32"
)
CPU = torch.device("cpu")
# Threads that wait for each other are slow where other processes want the processors too.
torch.set_num_threads(1)


def tune(song: int, sound: int = 0, seconds: float = SECONDS, rate: int = RATE) -> Array:
    """Notes of a song's own chord, (n,) float32, on a sound of so many partials."""
    rng = np.random.default_rng(song)
    time = np.arange(round(seconds * rate)) / rate
    pitches = 220 * 2 ** ((2 * song + rng.choice([0, 4, 7], size=math.ceil(seconds * 4))) / 12)
    frequency = pitches[(time * 4).astype(int)]
    partials = range(1, 3 + 3 * sound)
    wave = sum(np.sin(2 * np.pi * k * frequency * time) / k for k in partials)
    return np.asarray(0.2 * wave * np.exp(-3 * (time * 4 % 1)), np.float32)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten songs in two sounds each, in time with each other, and a file that is no audio."""
    folder = tmp_path_factory.mktemp("music")
    rows = []
    for song in range(10):
        for sound in range(2):
            name = f"{song}-{sound}.wav"
            soundfile.write(folder / name, tune(song, sound), RATE, subtype="PCM_16")
            rows.append({"audio": name, "song": song, "aligned_group": 0, "ensemble": sound})
    (folder / "groups.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "broken.mp3").write_bytes(b"no audio at all" * 50)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small encoder to begin from."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    torch.manual_seed(1)
    save(ViT1D(SMALL), path, "small", trained=False)
    return path


def log_of(output: Path) -> list[dict[str, str]]:
    with (output.with_suffix(".run") / "log.csv").open() as file:
        return list(csv.DictReader(file))


def losses(output: Path) -> list[float]:
    return [float(row["loss"]) for row in log_of(output)]


# --- the loss


def naive_nt_xent(first: Array, second: Array, temperature: float) -> float:
    """The definition in SimCLR, one term after the other."""
    rows = [*first, *second]
    cosine = [[float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for b in rows] for a in rows]
    terms = []
    for i in range(len(rows)):
        partner = (i + len(first)) % len(rows)
        others = [math.exp(cosine[i][k] / temperature) for k in range(len(rows)) if k != i]
        terms.append(-math.log(math.exp(cosine[i][partner] / temperature) / sum(others)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_its_definition(temperature: float) -> None:
    first, second = np.random.default_rng(3).standard_normal((2, 7, 5))
    loss = nt_xent(torch.from_numpy(first), torch.from_numpy(second), temperature)
    assert float(loss) == pytest.approx(naive_nt_xent(first, second, temperature), rel=1e-5)


def test_retrieval_counts_partners_that_are_nearest() -> None:
    rows = torch.eye(4)
    assert float(retrieval_accuracy(rows, rows)) == 1
    assert float(retrieval_accuracy(rows, rows[[1, 0, 2, 3]])) == 0.5


# --- the cache


def test_cache_holds_every_track_and_reports_bad_files(music: Path, tmp_path: Path) -> None:
    paths = find_audio([music])
    filled = list(AudioCache(tmp_path, RATE).fill(paths))
    assert [track.path for track in filled if track.reason] == [str(music / "broken.mp3")]
    cache = AudioCache(tmp_path, RATE)
    track = cache.tracks[str(music / "3-1.wav")]
    stored = cache.samples()[track.start : track.start + track.length]
    np.testing.assert_allclose(stored / 32767, tune(3, 1), atol=1e-4)


def test_cache_goes_on_after_a_kill_and_decodes_nothing_twice(music: Path, tmp_path: Path) -> None:
    paths = find_audio([music])
    filling = AudioCache(tmp_path, RATE).fill(paths)
    known = [next(filling) for _ in range(3)]
    filling.close()  # type: ignore[attr-defined]
    with (tmp_path / SAMPLES).open("ab") as file:
        file.write(b"half a track")
    with (tmp_path / "index.jsonl").open("a") as file:
        file.write('{"path": "half a li')
    filled = list(AudioCache(tmp_path, RATE).fill(paths))
    assert len(filled) == len(paths) - len(known)
    cache = AudioCache(tmp_path, RATE)
    assert len(cache.samples()) == sum(track.length for track in cache.tracks.values())
    assert not list(cache.fill(paths))


def test_cache_refuses_another_rate(tmp_path: Path, music: Path) -> None:
    list(AudioCache(tmp_path, RATE).fill(find_audio([music / "0-0.wav"])))
    with pytest.raises(UsageError, match="22050 Hz"):
        AudioCache(tmp_path, 22050)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_no_audio_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=name):
        find_audio([tmp_path / name])


# --- pairs


def tracks_of(n_songs: int, renditions: int = 3, length: int = 1000) -> Tracks:
    song = np.repeat(np.arange(n_songs), renditions)
    n = len(song)
    timbre = np.random.default_rng(0).integers(4, size=n)
    return Tracks(np.arange(n) * length, np.full(n, length), song, song, timbre)


def sampler_of(**changes: Any) -> PairSampler:
    return PairSampler(tracks_of(40), dataclasses.replace(RECIPE, batch=12, **changes), 100)


def test_aligned_pairs_may_be_shifted() -> None:
    pairs = sampler_of(aligned=1.0, jitter=0.2).draw(5)
    shift = np.diff(pairs.start % 1000)
    assert 0 < np.abs(shift).max() <= 20
    assert (pairs.start % 1000 <= 900).all()


def test_aligned_pairs_are_one_time_in_two_renditions() -> None:
    pairs = sampler_of(aligned=1.0, siblings=2).draw(5)
    track, offset = np.divmod(pairs.start, 1000)
    assert (offset[:, 0] == offset[:, 1]).all()
    assert (track[:, 0] != track[:, 1]).all()
    assert (track[:, 0] // 3 == track[:, 1] // 3).all()
    songs, counts = np.unique(track[:, 0] // 3, return_counts=True)
    assert len(songs) == 6
    assert (counts == 2).all()
    by_song = offset[:, 0].reshape(6, 2)
    assert (np.abs(by_song[:, 0] - by_song[:, 1]) >= 100).all()


def test_other_pairs_are_two_times_in_one_track() -> None:
    pairs = sampler_of(aligned=0.0).draw(5)
    track, offset = np.divmod(pairs.start, 1000)
    assert (track[:, 0] == track[:, 1]).all()
    assert (np.abs(offset[:, 0] - offset[:, 1]) >= 100).all()
    assert len(np.unique(track[:, 0] // 3)) == 12


def test_batches_may_share_a_timbre() -> None:
    sampler = sampler_of(aligned=0.0, shared_timbre=1.0)
    timbres = sampler.tracks.timbre[sampler.draw(3).start[:, 0] // 1000]
    assert len(set(timbres.tolist())) == 1


def test_draws_are_a_function_of_seed_and_step() -> None:
    sampler = sampler_of()
    np.testing.assert_array_equal(sampler.draw(9).start, sampler_of().draw(9).start)
    assert (sampler.draw(9).start != sampler.draw(10).start).any()
    assert (sampler.draw(9).start != sampler_of(seed=1).draw(9).start).any()


def test_batch_beyond_the_songs_is_refused() -> None:
    with pytest.raises(UsageError, match="99 songs; 40 are long enough"):
        PairSampler(tracks_of(40), dataclasses.replace(RECIPE, batch=99, aligned=0.0), 100)


def test_no_song_is_on_both_sides_of_the_split(music: Path, tmp_path: Path) -> None:
    cached = list(AudioCache(tmp_path, RATE).fill(find_audio([music])))
    training, held_out = split_tracks(cached, read_groups(music / "groups.jsonl"))
    assert (len(training), len(held_out)) == (16, 4)
    assert not set(training.song) & set(held_out.song)
    assert held_out.accompanied.all()


@pytest.mark.parametrize("line", ["no JSON", "[1]", '{"song": 1}'])
def test_groups_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "groups.jsonl").write_text('{"audio": "a.wav"}\n' + line + "\n")
    with pytest.raises(UsageError, match="line 2"):
        read_groups(tmp_path / "groups.jsonl")


# --- front end and augmentation


def test_frames_of_a_segment_are_those_of_the_track() -> None:
    mel = Config().mel
    track, first = tune(1), 20
    samples = track[first * mel.hop_length - mel.n_fft // 2 :][: n_samples_of(mel, 2.0)]
    frames = BatchMel(mel)(torch.from_numpy(samples[None].copy()))[0]
    assert frames.shape == (62, mel.n_mels)
    np.testing.assert_allclose(frames, LogMel(mel).frames(track)[first:][:62], atol=1e-3)


def altered(knobs_seed: int | None, n: int = 24) -> tuple[Any, Any]:
    """Log-mel frames of n segments without and with augmentation, by seed."""
    mel, n_samples = SMALL.mel, n_samples_of(SMALL.mel, 1.0)
    waves = torch.from_numpy(np.stack([tune(i, seconds=1.1) for i in range(n)]))
    knobs = neutral_knobs(n)
    if knobs_seed is not None:
        every = Ranges(mix_chance=1, noise_chance=1, reverb_chance=1, codec_chance=1, low_chance=1)
        knobs = draw_knobs(np.random.default_rng(knobs_seed), n, every)
    augment, to_mel = Augment(mel, CPU), BatchMel(mel)
    power = to_mel.power(augment.waves(waves, waves.flip(0), knobs, n_samples))
    return to_mel(waves[:, :n_samples]), to_mel.log_mel(augment.power(power, knobs))


def test_augmentation_keeps_shape_and_is_finite() -> None:
    plain, changed = altered(7)
    assert changed.shape == plain.shape
    assert torch.isfinite(changed).all()
    assert ((changed - plain).abs().mean(dim=(1, 2)) > 0.01).all()


def test_augmentation_by_neutral_knobs_is_nothing() -> None:
    plain, same = altered(None)
    torch.testing.assert_close(same, plain, atol=1e-5, rtol=0)


def test_augmentation_is_deterministic_by_seed() -> None:
    assert torch.equal(altered(7)[1], altered(7)[1])
    assert not torch.equal(altered(7)[1], altered(8)[1])


def test_reverberation_adds_the_energy_drawn() -> None:
    """An impulse's tail, over all the time it takes, has the level asked for."""
    knobs = dataclasses.replace(
        neutral_knobs(1), reverb=np.array([0.5], np.float32), decay=np.array([0.3], np.float32)
    )
    power = torch.zeros(1, 200, 513)
    power[:, 0] = 1
    wet = Augment(Config().mel, CPU).power(power.clone(), knobs)
    assert float(wet[:, 0].mean()) == pytest.approx(1)
    assert float(wet[:, 1:].sum(dim=1).mean()) == pytest.approx(0.5, rel=1e-3)


# --- what is compared


def test_class_token_is_the_last_layers_after_the_norm_and_the_head() -> None:
    model, mel = Contrast(ViT1D(SMALL)), torch.randn(2, 9, 32)
    tokens, _ = model.encoder(mel, [2])
    expected = model.heads[0](model.encoder.norm(tokens[2][:, 0]))
    torch.testing.assert_close(model(mel), expected)


def test_encoder_is_given_the_frames_kept_and_no_others() -> None:
    model, mel = Contrast(ViT1D(SMALL)), torch.randn(2, 9, 32)
    kept = torch.tensor([[0, 3, 4], [8, 1, 2]])
    changed = torch.randn(2, 9, 32)
    for row, frames in enumerate(kept):
        changed[row, frames] = mel[row, frames]
    torch.testing.assert_close(model(changed, kept), model(mel, kept))
    assert not torch.allclose(model(changed), model(mel))
    every = torch.arange(9).flip(0).expand(2, -1)
    torch.testing.assert_close(model(mel, every), model(mel))


def test_frames_kept_are_drawn_for_each_segment() -> None:
    recipe = dataclasses.replace(RECIPE, keep=0.25)
    to_mel = Pairs2Mel(np.zeros(RATE, np.int16), SMALL.mel, recipe, CPU)
    drawn = to_mel.kept(3, 5)
    assert drawn is not None
    assert [side.shape for side in drawn] == [(5, 8), (5, 8)]  # of 31 frames
    rows = [tuple(sorted(row)) for side in drawn for row in side.tolist()]
    assert len(set(rows)) == 10
    assert all(len(set(row)) == 8 and max(row) < 31 for row in rows)
    whole = dataclasses.replace(recipe, keep=1.0)
    assert Pairs2Mel(np.zeros(RATE, np.int16), SMALL.mel, whole, CPU).kept(3, 5) is None


def test_aligned_pairs_have_a_head_of_their_own() -> None:
    model, mel = Contrast(ViT1D(SMALL), heads=2), torch.randn(2, 9, 32)
    assert not torch.allclose(model(mel, aligned=True), model(mel, aligned=False))
    model(mel, aligned=True).sum().backward()
    trained = [any(p.grad is not None for p in head.parameters()) for head in model.heads]
    assert trained == [False, True]


# --- runs


def test_recipe_names_what_it_cannot_use() -> None:
    with pytest.raises(UsageError, match="one of the two"):
        Recipe()
    with pytest.raises(UsageError, match="aligned is 2"):
        Recipe(steps=1, aligned=2)
    with pytest.raises(UsageError, match="precision 'fp8'"):
        Recipe(steps=1, precision="fp8")
    with pytest.raises(UsageError, match="keep is 2"):
        Recipe(steps=1, keep=2)


def test_training_learns_a_handful_of_tracks(music: Path, small: Path, tmp_path: Path) -> None:
    output = tmp_path / "w.safetensors"
    recipe = dataclasses.replace(RECIPE, steps=120, batch=8, siblings=1, aligned=0.5)
    groups = music / "groups.jsonl"
    summary = train([music], output, recipe, groups=groups, init=small, validate_every=40)
    found, rows = losses(output), log_of(output)
    assert np.mean(found[-20:]) < 0.6 * np.mean(found[:10])
    accuracy = [float(row["accuracy"]) for row in rows]
    assert np.mean(accuracy[-20:]) > np.mean(accuracy[:20]) + 0.1
    assert summary.retrieval == max(float(row["retrieval"]) for row in rows if row["retrieval"])
    encoder = load(output)
    assert encoder.config.window.frames == 31
    assert encoder.config.model == SMALL.model


def test_weights_say_how_they_were_made(music: Path, small: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.safetensors"
    train([music], output, RECIPE, init=small)
    from safetensors import safe_open

    with safe_open(output, framework="pt") as file:
        metadata, names = file.metadata(), set(file.keys())
    assert names == set(ViT1D(SMALL).state_dict())
    assert (metadata["name"], metadata["trained"]) == ("mine", "true")
    (training,) = json.loads(metadata["training"])
    assert (training["steps"], training["segments"], training["seed"]) == (6, 48, 0)
    assert training["recipe"]["seconds"] == 1.0
    further = tmp_path / "further.safetensors"
    train([music], further, dataclasses.replace(RECIPE, steps=2), init=output)
    runs = json.loads(read_safetensors_metadata(further)["training"])
    assert runs[0] == training
    assert [(run["steps"], run["init"]) for run in runs] == [
        (6, small.name),
        (2, "mine.safetensors"),
    ]


@pytest.mark.parametrize("augment", [False, True])
def test_resumed_run_is_the_unbroken_one(
    music: Path, small: Path, tmp_path: Path, augment: bool
) -> None:
    recipe = dataclasses.replace(RECIPE, augment=augment, steps=8, keep=0.5)
    common: dict[str, Any] = {"groups": music / "groups.jsonl", "cache": tmp_path / "cache"}
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    train([music], whole, recipe, init=small, **common)

    def stop(progress: Any) -> None:
        if progress.step == 5:
            raise KeyboardInterrupt

    from vit1dx.train.loop import Events

    with pytest.raises(KeyboardInterrupt):
        train([music], broken, recipe, init=small, validate_every=3,
              events=Events(progress=stop), **common)  # fmt: skip
    assert len(losses(broken)) == 5
    train([music], broken, recipe, resume=True, init=small, **common)
    assert losses(broken) == losses(whole)


def test_resume_refuses_another_recipe_and_a_folder_without_a_run(
    music: Path, small: Path, tmp_path: Path
) -> None:
    output = tmp_path / "w.safetensors"
    with pytest.raises(UsageError, match=r"no .*checkpoint\.pt"):
        train([music], output, RECIPE, init=small, resume=True)
    train([music], output, RECIPE, init=small)
    with pytest.raises(UsageError, match=r"temperature was 0\.1, is 0\.2"):
        train(
            [music], output, dataclasses.replace(RECIPE, temperature=0.2), init=small, resume=True
        )
    with pytest.raises(UsageError, match="holds a run"):
        train([music], output, RECIPE, init=small)


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        load(path)


# --- the command


def call(*arguments: str | Path, ranks: int = 1) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command = [sys.executable, *(launcher if ranks > 1 else []), "-m", "vit1dx", "train"]
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


def test_two_ranks_are_one_process_on_the_whole_batch(
    music: Path, small: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    groups, cache = music / "groups.jsonl", tmp_path / "cache"
    recipe = dataclasses.replace(RECIPE, steps=4, augment=True, keep=0.5)
    train([music], one, recipe, groups=groups, cache=cache, init=small)
    options = "--steps 4 --batch 4 --seconds 1 --keep 0.5 --warmup 2 --precision fp32"
    options += " --learning-rate 0.002"
    places = ("-o", two, "--groups", groups, "--cache", cache, "--init", small)
    done = call(music, *places, *options.split(), ranks=2)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-4)
    ours, theirs = load(two).state_dict(), load(one).state_dict()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=2e-3, rtol=1e-2)


def test_command_trains_and_reports(music: Path, small: Path, tmp_path: Path) -> None:
    output = tmp_path / "w.safetensors"
    done = call(music, "-o", output, "--init", small, "--steps", "2", "--batch", "4",
                "--seconds", "1", "--precision", "fp32")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "broken.mp3: " in done.stderr
    assert "1 files could not be decoded" in done.stderr
    assert f"best weights: {output}" in done.stderr
    assert load(output).config.model == SMALL.model


def test_command_refuses_in_one_line(music: Path, tmp_path: Path) -> None:
    done = call(music, "-o", tmp_path / "w.pt", "--steps", "2")
    assert done.returncode == 2
    assert done.stderr.startswith("vit1dx: output ")
    assert done.stderr.count("\n") == 1
