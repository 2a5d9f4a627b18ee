"""Training: the loss against a naive one, runs against runs, and the command as a user calls it."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from vit1dx._types import Array  # noqa: E402
from vit1dx.audio.mel import LogMel  # noqa: E402
from vit1dx.config import Config, MelConfig, ModelConfig  # noqa: E402
from vit1dx.errors import BackendError, TrainingError, UsageError, WeightsError  # noqa: E402
from vit1dx.model.vit import ViT1D, load, save  # noqa: E402
from vit1dx.model.weights import read_safetensors_metadata  # noqa: E402
from vit1dx.train.augment import Augment, Knobs, Ranges, draw_knobs  # noqa: E402
from vit1dx.train.batches import Pairs2Mel, gathered, reader  # noqa: E402
from vit1dx.train.cache import FRAMES, MelCache, find_audio  # noqa: E402
from vit1dx.train.contrast import Contrast  # noqa: E402
from vit1dx.train.data import PairSampler, Tracks, read_groups, split_tracks  # noqa: E402
from vit1dx.train.loop import train  # noqa: E402
from vit1dx.train.loss import nt_xent, retrieval_accuracy  # noqa: E402
from vit1dx.train.mix import parse_mix  # noqa: E402
from vit1dx.train.optimizer import Optimizers  # noqa: E402
from vit1dx.train.recipe import Optimizer, Recipe  # noqa: E402
from vit1dx.train.run import Progress  # noqa: E402
from vit1dx.train.stepper import Events  # noqa: E402

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
    filled = list(MelCache(tmp_path, SMALL.mel).fill(paths))
    assert [track.path for track in filled if track.reason] == [str(music / "broken.mp3")]
    cache = MelCache(tmp_path, SMALL.mel)
    track = cache.tracks[str(music / "3-1.wav")]
    stored = cache.frames()[track.start : track.start + track.length]
    samples, _ = soundfile.read(music / "3-1.wav", dtype="float32")
    expected = LogMel(SMALL.mel).frames(samples)
    np.testing.assert_allclose(stored * SMALL.mel.scale, expected * SMALL.mel.scale, atol=0.05)


def test_cache_goes_on_after_a_kill_and_decodes_nothing_twice(music: Path, tmp_path: Path) -> None:
    paths = find_audio([music])
    filling = MelCache(tmp_path, SMALL.mel).fill(paths)
    known = [next(filling) for _ in range(3)]
    filling.close()  # type: ignore[attr-defined]
    with (tmp_path / FRAMES).open("ab") as file:
        file.write(b"half a track")
    with (tmp_path / "index.jsonl").open("a") as file:
        file.write('{"path": "half a li')
    filled = list(MelCache(tmp_path, SMALL.mel).fill(paths))
    assert len(filled) == len(paths) - len(known)
    cache = MelCache(tmp_path, SMALL.mel)
    assert len(cache.frames()) == sum(track.length for track in cache.tracks.values())
    assert not list(cache.fill(paths))


def test_cache_refuses_another_front_end(tmp_path: Path, music: Path) -> None:
    list(MelCache(tmp_path, SMALL.mel).fill(find_audio([music / "0-0.wav"])))
    with pytest.raises(UsageError, match="--cache"):
        MelCache(tmp_path, dataclasses.replace(SMALL.mel, floor=1e-6))


def test_listed_files_that_are_gone_are_reported_and_the_others_taken(
    music: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone.wav"
    paths = find_audio([], [str(music / "0-0.wav"), str(gone)])
    filled = {track.path: track for track in MelCache(tmp_path / "c", SMALL.mel).fill(paths)}
    assert filled[str(music / "0-0.wav")].length > 0
    assert filled[str(gone)].reason


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
    source = np.where(np.arange(n_songs) % 2, "even", "odd").astype(object).repeat(renditions)
    return Tracks(np.arange(n) * length, np.full(n, length), song, song, timbre, source)


def sampler_of(**changes: Any) -> PairSampler:
    return PairSampler(tracks_of(40), dataclasses.replace(RECIPE, batch=12, **changes), 100)


def test_mix_is_drawn_by_share_and_by_source() -> None:
    sampler = sampler_of(mix="paper=3,aligned:odd=1")
    drawn = [sampler.draw(step) for step in range(400)]
    aligned = [pairs for pairs in drawn if pairs.part.is_aligned]
    assert 60 < len(aligned) < 140  # 100 on average
    songs = np.unique([pairs.start[:, 0] // 3000 for pairs in aligned])
    assert set((songs % 2).tolist()) == {0}
    assert len(np.unique([p.start[:, 0] // 3000 for p in drawn if not p.part.is_aligned])) == 40


@pytest.mark.parametrize(
    "mix", ["", "papers=1", "paper=0", "paper=x", "paper=nan", "paper:=1", "paper=1,paper=2"]
)
def test_mix_that_is_none_is_refused(mix: str) -> None:
    with pytest.raises(UsageError, match="mix "):
        Recipe(steps=1, mix=mix)


def test_shares_of_a_mix_come_to_one() -> None:
    parts = parse_mix("paper:real=1, aligned=3")
    assert [(p.name, p.share) for p in parts] == [("paper:real", 0.25), ("aligned", 0.75)]


def test_aligned_pairs_may_be_shifted() -> None:
    pairs = sampler_of(mix="aligned=1", jitter=0.2).draw(5)
    shift = np.diff(pairs.start % 1000)
    assert 0 < np.abs(shift).max() <= 20
    assert (pairs.start % 1000 <= 900).all()


def test_aligned_pairs_are_one_time_in_two_renditions() -> None:
    pairs = sampler_of(mix="aligned=1", siblings=2).draw(5)
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
    pairs = sampler_of().draw(5)
    track, offset = np.divmod(pairs.start, 1000)
    assert (track[:, 0] == track[:, 1]).all()
    assert (np.abs(offset[:, 0] - offset[:, 1]) >= 100).all()
    assert len(np.unique(track[:, 0] // 3)) == 12


def test_batches_may_share_a_timbre() -> None:
    sampler = sampler_of(shared_timbre=1.0)
    timbres = sampler.tracks.timbre[sampler.draw(3).start[:, 0] // 1000]
    assert len(set(timbres.tolist())) == 1


def test_draws_are_a_function_of_seed_and_step() -> None:
    sampler = sampler_of()
    np.testing.assert_array_equal(sampler.draw(9).start, sampler_of().draw(9).start)
    assert (sampler.draw(9).start != sampler.draw(10).start).any()
    assert (sampler.draw(9).start != sampler_of(seed=1).draw(9).start).any()


def test_batch_beyond_the_songs_is_refused() -> None:
    with pytest.raises(UsageError, match="99 songs for paper; 40 are long enough"):
        PairSampler(tracks_of(40), dataclasses.replace(RECIPE, batch=99), 100)
    with pytest.raises(UsageError, match="12 songs for paper:none; 0 are long enough"):
        sampler_of(mix="paper:none=1")
    short = dataclasses.replace(tracks_of(40), length=np.full(40, 199))  # of two segments of 100
    with pytest.raises(UsageError, match=r"0 are long enough for .* a smaller --seconds, or other"):
        PairSampler(short, RECIPE, 100)


def test_no_song_is_on_both_sides_of_the_split(music: Path, tmp_path: Path) -> None:
    cached = list(MelCache(tmp_path, SMALL.mel).fill(find_audio([music])))
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


def knobs_of(seed: int, n: int, **changes: Any) -> Knobs:
    """Knobs that do all of it to every segment, and to a known extent where `changes` says so."""
    every = Ranges(mix_chance=1, noise_chance=1, reverb_chance=1, codec_chance=1, low_chance=1)
    knobs = draw_knobs(np.random.default_rng(seed), n, every)
    return dataclasses.replace(
        knobs, **{name: np.full(n, value, np.float32) for name, value in changes.items()}
    )


def neutral_knobs(n: int, **changes: Any) -> Knobs:
    nothing = {"mix": 0, "gain": 0, "noise": 0, "reverb": 0, "low": 0, "high": np.inf, "codec": 0}
    plain = dataclasses.replace(knobs_of(0, n, **nothing), tone=np.zeros((n, 7), np.float32))
    return dataclasses.replace(
        plain, **{name: np.full(n, value, np.float32) for name, value in changes.items()}
    )


def segments(n: int = 24) -> Any:
    mel = LogMel(SMALL.mel)
    return torch.from_numpy(np.stack([mel.frames(tune(i, seconds=1.1)) for i in range(n)]))


def decibels(frames: Any) -> Any:
    return frames * SMALL.mel.scale + SMALL.mel.mean


def test_augmentation_keeps_shape_and_is_finite() -> None:
    plain, knobs = segments(), knobs_of(7, 24)
    changed = Augment(SMALL.mel, CPU)(plain, plain.flip(0), knobs)
    assert changed.shape == plain.shape
    assert torch.isfinite(changed).all()
    assert ((changed - plain).abs().mean(dim=(1, 2)) > 0.01).all()


def test_augmentation_by_neutral_knobs_is_nothing() -> None:
    plain = segments()
    same = Augment(SMALL.mel, CPU)(plain, plain[:0], neutral_knobs(24))
    torch.testing.assert_close(same, plain, atol=1e-4, rtol=0)


def test_frames_kept_are_altered_as_when_all_are_kept() -> None:
    plain, kept = segments(), torch.rand(24, 35).argsort(dim=1)[:, :9]
    knobs = dataclasses.replace(knobs_of(7, 24), noise=np.zeros(24, np.float32))
    augment, others = Augment(SMALL.mel, CPU), plain.flip(0)
    every = augment(plain, others, knobs).gather(1, kept[:, :, None].expand(-1, -1, 32))
    torch.testing.assert_close(augment(plain, others, knobs, kept), every, atol=1e-4, rtol=0)


def test_gain_mixture_and_noise_have_the_levels_drawn() -> None:
    """Mixing a segment into itself at -3 dB, or as much noise, adds half of its power."""
    plain, augment = segments(), Augment(SMALL.mel, CPU)
    louder = augment(plain, plain[:0], neutral_knobs(24, gain=6.0))
    torch.testing.assert_close(decibels(louder), decibels(plain) + 6, atol=0.02, rtol=0)
    mixed = augment(plain, plain, neutral_knobs(24, mix=0.5))
    torch.testing.assert_close(
        decibels(mixed), decibels(plain) + 10 * math.log10(1.5), atol=0.02, rtol=0
    )
    silence = torch.full((200, 40, 32), -1.0)
    noisy = augment(silence, silence[:0], neutral_knobs(200, noise=0.5, slope=0.0))
    share = (10 ** (decibels(noisy) / 10)).mean() / 10 ** (decibels(silence)[0, 0, 0] / 10)
    assert float(share) == pytest.approx(1.5, rel=0.03)


def test_reverberation_adds_the_energy_drawn() -> None:
    """An impulse's tail, over all the time it takes, has the level asked for."""
    floor = 10 * math.log10(SMALL.mel.floor)
    mel = torch.full((1, 200, 32), (floor - SMALL.mel.mean) / SMALL.mel.scale)
    mel[:, 0] = 0.0
    wet = Augment(SMALL.mel, CPU)(mel, mel[:0], neutral_knobs(1, reverb=0.5, decay=0.3))
    power = 10 ** ((decibels(wet) - SMALL.mel.mean) / 10)
    assert float(power[:, 0].mean()) == pytest.approx(1, rel=1e-3)
    assert float(power[:, 1:].sum(dim=1).mean()) == pytest.approx(0.5, rel=1e-2)


# --- what is compared


def test_class_token_is_the_last_layers_after_the_norm_and_the_head() -> None:
    """And its gradients are those of the whole network, though the last block sees one token."""
    model, mel = Contrast(ViT1D(SMALL)), torch.randn(2, 9, 32)
    tokens, _ = model.encoder(mel, [2])
    expected, found = model.heads[0](model.encoder.norm(tokens[2][:, 0])), model(mel)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected.square().sum(), list(model.encoder.parameters()))
    ours = torch.autograd.grad(found.square().sum(), list(model.encoder.parameters()))
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_frames_kept_have_the_positions_that_they_had() -> None:
    model, mel = Contrast(ViT1D(SMALL)), torch.randn(2, 9, 32)
    every = torch.stack([torch.randperm(9) for _ in range(2)])
    shuffled = mel.gather(1, every[:, :, None].expand(-1, -1, 32))
    torch.testing.assert_close(model(shuffled, every), model(mel))
    assert not torch.allclose(model(shuffled), model(mel))


def test_frames_given_are_those_of_the_tracks_at_the_places_drawn() -> None:
    frames = np.arange(600 * 32).reshape(600, 32).astype(np.float16)
    sampler = PairSampler(tracks_of(6, 1, 100), dataclasses.replace(RECIPE, batch=4), 31)
    pairs = sampler.draw(2)
    recipe = dataclasses.replace(RECIPE, keep=0.25)
    to_mel = Pairs2Mel(frames, SMALL.mel, recipe, CPU)
    mel, places = to_mel(pairs, kept=to_mel.kept(2, 4))
    assert places is not None
    rows = pairs.start.T.reshape(-1, 1) + places.numpy()
    np.testing.assert_array_equal(mel.numpy(), frames[rows].astype(np.float32))


def test_segments_gathered_on_a_device_are_those_read_from_the_cache() -> None:
    frames = np.random.default_rng(0).normal(size=(100, 32)).astype(np.float16)
    start = np.array([69, 0, 12, 0])
    read = reader(frames, 31, CPU)(start)
    assert read.dtype == torch.float32
    assert read.shape == (4, 31, 32)
    torch.testing.assert_close(gathered(torch.from_numpy(frames), 31, start), read)


def test_frames_kept_are_drawn_for_each_segment() -> None:
    recipe = dataclasses.replace(RECIPE, keep=0.25)
    to_mel = Pairs2Mel(np.zeros((100, 32), np.float16), SMALL.mel, recipe, CPU)
    drawn = to_mel.kept(3, 5)
    assert drawn is not None
    assert [side.shape for side in drawn] == [(5, 8), (5, 8)]  # of 31 frames
    rows = [tuple(sorted(row)) for side in drawn for row in side.tolist()]
    assert len(set(rows)) == 10
    assert all(len(set(row)) == 8 and max(row) < 31 for row in rows)
    whole = dataclasses.replace(recipe, keep=1.0)
    every = Pairs2Mel(np.zeros((100, 32), np.float16), SMALL.mel, whole, CPU)
    assert every.kept(3, 5) is None


def test_aligned_pairs_may_have_a_head_of_their_own() -> None:
    model, mel = Contrast(ViT1D(SMALL)), torch.randn(2, 9, 32)
    assert not torch.allclose(model(mel, aligned=True), model(mel, aligned=False))
    model(mel, aligned=True).sum().backward()
    trained = [any(p.grad is not None for p in head.parameters()) for head in model.heads]
    assert trained == [False, True]
    shared = Contrast(ViT1D(SMALL), own_heads=False)
    torch.testing.assert_close(shared(mel, aligned=True), shared(mel, aligned=False))


# --- runs


def test_recipe_names_what_it_cannot_use() -> None:
    with pytest.raises(UsageError, match="one of the two"):
        Recipe()
    with pytest.raises(UsageError, match="cooldown is 2"):
        Recipe(steps=1, cooldown=2)
    with pytest.raises(UsageError, match="ema is 1"):
        Recipe(steps=1, ema=1)
    with pytest.raises(UsageError, match="precision 'fp8'"):
        Recipe(steps=1, precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="optimizer 'sgd'"):
        Recipe(steps=1, optimizer="sgd")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="keep is 2"):
        Recipe(steps=1, keep=2)


def test_rate_rises_stays_and_falls_to_nothing() -> None:
    recipe = Recipe(steps=100, learning_rate=1.0, warmup=10, cooldown=0.2)
    rates = [recipe.rate_at(step, step / 100) for step in range(101)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[10:81] == pytest.approx([1.0] * 71)
    assert rates[80:] == pytest.approx([1 - n / 20 for n in range(21)])


@pytest.mark.slow
def test_training_learns_a_handful_of_tracks(
    music: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit1dx.train.validation.MIN_PAIRS", 2)
    output, mix = tmp_path / "w.safetensors", "paper=1,aligned=1"
    recipe = dataclasses.replace(RECIPE, steps=120, batch=8, siblings=1, mix=mix)
    train([music], output, recipe, groups=[music / "groups.jsonl"], init=small, validate_every=40)
    found, rows = losses(output), log_of(output)
    assert np.mean(found[-20:]) < 0.6 * np.mean(found[:10])
    accuracy = [float(row["accuracy"]) for row in rows]
    assert np.mean(accuracy[-20:]) > np.mean(accuracy[:20]) + 0.1
    assert {row["part"] for row in rows} == {"paper", "aligned"}
    for part in ("paper", "aligned"):
        measured = [row["step"] for row in rows if row[f"retrieval {part}"]]
        assert measured == ["40", "80", "120"]
    encoder = load(output)
    assert encoder.config.window.frames == 31
    assert encoder.config.model == SMALL.model


@pytest.mark.parametrize(("fast", "precision"), [(True, "bf16"), (False, "fp32")])
def test_precision_suits_the_device_and_stays_a_resumed_runs(
    music: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    fast: bool, precision: str,
) -> None:  # fmt: skip
    output, cache = tmp_path / "w.safetensors", tmp_path / "cache"
    recipe = dataclasses.replace(RECIPE, steps=1, precision="auto")
    monkeypatch.setattr("vit1dx.train.loop.has_bf16", lambda device: fast)
    train([music], output, recipe, init=small, cache=cache)
    monkeypatch.setattr("vit1dx.train.loop.has_bf16", lambda device: not fast)
    lines: list[str] = []
    longer = dataclasses.replace(recipe, steps=2)
    train([music], output, longer, resume=True, cache=cache, events=Events(started=lines.append))
    assert f"; {precision}; " in lines[0]
    (training,) = json.loads(read_safetensors_metadata(output)["training"])
    assert training["recipe"]["precision"] == precision


def state_of(path: Path) -> dict[str, Any]:
    return load(path).state_dict()


def assert_same(one: dict[str, Any], other: dict[str, Any], **tolerance: float) -> None:
    for name in one:
        torch.testing.assert_close(one[name], other[name], **tolerance)


def test_the_last_weights_are_kept_however_few_tracks_are_held_out(
    music: Path, small: Path, tmp_path: Path
) -> None:
    """Where two pairs are held out, retrieval says nothing, and nothing is chosen by it."""
    output = tmp_path / "w.safetensors"
    lines: list[str] = []
    train([music], output, RECIPE, init=small, validate_every=1,
          events=Events(started=lines.append))  # fmt: skip
    assert "2 pairs held out, fewer than 20: no retrieval" in lines[0]
    assert not any(row["retrieval paper"] for row in log_of(output))
    last = torch.load(output.with_suffix(".run") / "checkpoint.pt", weights_only=True)
    assert last["step"] == RECIPE.steps
    encoder = {name.removeprefix("encoder."): values for name, values in last["model"].items()}
    assert_same(state_of(output), encoder, atol=0, rtol=0)


def test_average_is_the_exponential_one_of_all_steps(
    music: Path, small: Path, tmp_path: Path
) -> None:
    def after(steps: int, ema: float) -> dict[str, Any]:
        output = tmp_path / f"{steps}-{ema}.safetensors"
        recipe = dataclasses.replace(RECIPE, steps=steps, cooldown=0.0, ema=ema)
        train([music], output, recipe, init=small, cache=tmp_path / "cache")
        return state_of(output)

    one, two, three = (after(steps, 0.0) for steps in (1, 2, 3))
    expected = {
        name: 0.75 * (0.75 * one[name] + 0.25 * two[name]) + 0.25 * three[name] for name in one
    }
    assert_same(after(3, 0.75), expected, atol=1e-6, rtol=1e-5)


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
    train([music], further, dataclasses.replace(RECIPE, steps=5), resume=True)
    runs = json.loads(read_safetensors_metadata(further)["training"])
    assert runs[0] == training
    assert [(run["steps"], run["init"]) for run in runs] == [
        (6, small.name),
        (5, "mine.safetensors"),
    ]


@pytest.mark.parametrize("changes", [{}, {"augment": True, "mix": "paper=1,aligned=1", "ema": 0.5}])
def test_resumed_run_is_the_unbroken_one(
    music: Path, small: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    recipe = dataclasses.replace(RECIPE, steps=8, keep=0.5, **changes)
    common: dict[str, Any] = {"groups": [music / "groups.jsonl"], "cache": tmp_path / "cache"}
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    train([music], whole, recipe, init=small, **common)

    def stop(progress: Any) -> None:
        if progress.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([music], broken, recipe, init=small, validate_every=3,
              events=Events(progress=stop), **common)  # fmt: skip
    assert len(losses(broken)) == 5
    assert not broken.exists()
    train([music], broken, recipe, resume=True, **common)
    assert losses(broken) == losses(whole)
    assert_same(state_of(broken), state_of(whole), atol=0, rtol=0)


def test_the_end_of_a_run_can_be_moved(music: Path, small: Path, tmp_path: Path) -> None:
    """A run without an end in sight, given one later, is the run that had it from the start."""
    whole, moved = tmp_path / "whole.safetensors", tmp_path / "moved.safetensors"
    cache = tmp_path / "cache"
    recipe = dataclasses.replace(RECIPE, steps=8, cooldown=0.25)
    train([music], whole, recipe, init=small, cache=cache)
    endless = dataclasses.replace(recipe, steps=4, cooldown=0.0)
    train([music], moved, endless, init=small, cache=cache)
    train([music], moved, recipe, resume=True, cache=cache)
    assert losses(moved) == losses(whole)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_branch_goes_on_from_another_run_and_leaves_it_alone(
    music: Path, small: Path, tmp_path: Path, optimizer: Optimizer
) -> None:
    whole, trunk, branch = (tmp_path / f"{name}.safetensors" for name in ("whole", "trunk", "b"))
    cache = tmp_path / "cache"
    recipe = dataclasses.replace(RECIPE, steps=8, warmup=1, cooldown=0.0, optimizer=optimizer)
    train([music], whole, recipe, init=small, cache=cache)
    half = dataclasses.replace(recipe, steps=4)
    train([music], trunk, half, init=small, cache=cache)
    before = (trunk.with_suffix(".run") / "checkpoint.pt").read_bytes()
    train([music], branch, half, branch=trunk.with_suffix(".run"), cache=cache)
    assert losses(branch) == losses(whole)[4:]
    assert [row["step"] for row in log_of(branch)] == ["5", "6", "7", "8"]
    assert (trunk.with_suffix(".run") / "checkpoint.pt").read_bytes() == before
    runs = json.loads(read_safetensors_metadata(branch)["training"])
    assert [(run["steps"], run["init"]) for run in runs] == [(4, small.name), (4, "trunk.run")]
    other = tmp_path / "other.safetensors"
    both = dataclasses.replace(half, mix="paper=1,aligned=1", temperature=0.2)
    groups = [music / "groups.jsonl"]
    train([music], other, both, branch=trunk.with_suffix(".run"), groups=groups, cache=cache)
    assert len(losses(other)) == 4


def test_branch_with_another_optimizer_takes_the_weights_and_says_so(
    music: Path, small: Path, tmp_path: Path
) -> None:
    trunk, branch = tmp_path / "trunk.safetensors", tmp_path / "branch.safetensors"
    plain, cache = dataclasses.replace(RECIPE, steps=4, optimizer="adamw"), tmp_path / "cache"
    train([music], trunk, plain, init=small, cache=cache)
    state = torch.load(trunk.with_suffix(".run") / "checkpoint.pt")
    lines: list[str] = []
    still = dataclasses.replace(plain, optimizer="muon", learning_rate=1e-12)
    events = Events(started=lines.append)
    train([music], branch, still, branch=trunk.with_suffix(".run"), cache=cache, events=events)
    assert lines[0].endswith("; muon begins anew after adamw")
    after = torch.load(branch.with_suffix(".run") / "checkpoint.pt")
    assert_same(after["model"], state["model"], rtol=0, atol=1e-9)


def test_checkpoint_of_before_there_was_a_choice_is_gone_on_with(
    music: Path, small: Path, tmp_path: Path
) -> None:
    output, cache = tmp_path / "w.safetensors", tmp_path / "cache"
    recipe = dataclasses.replace(RECIPE, steps=4, cooldown=0.0, optimizer="adamw")
    train([music], output, recipe, init=small, cache=cache)
    path = output.with_suffix(".run") / "checkpoint.pt"
    state = torch.load(path)
    state["optimizer"] = state.pop("optimizers")["adamw"]
    del state["recipe"]["optimizer"]
    torch.save(state, path)
    longer = dataclasses.replace(recipe, steps=6)
    train([music], output, longer, resume=True, cache=cache)
    whole = tmp_path / "whole.safetensors"
    train([music], whole, longer, init=small, cache=cache)
    assert losses(output) == losses(whole)


def test_muon_steps_blocks_matrices_alike_in_all_directions_and_adamw_the_rest() -> None:
    torch.manual_seed(0)
    model = Contrast(ViT1D(SMALL))
    recipe = dataclasses.replace(RECIPE, optimizer="muon", learning_rate=1e-2, weight_decay=0.0)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
        if parameter.ndim == 2:  # the strongest direction ten times the weakest
            u, _, v = torch.linalg.svd(parameter.grad, full_matrices=False)
            parameter.grad = u @ torch.diag(torch.linspace(1, 10, u.shape[1])) @ v
    Optimizers(model, recipe).step()
    for name, value in model.named_parameters():
        moved = (value.detach() - before[name]).abs()
        if name.startswith("encoder.blocks") and value.ndim == 2:
            spread = torch.linalg.svdvals(value.detach() - before[name])
            # Newton-Schulz steps leave singular values of about 0.7 to 1.2; scaled, they are as
            # large as AdamW's: 0.2 of the rate by root mean square.
            assert spread.max() / spread.min() < 2
            assert float(moved.square().mean().sqrt()) == pytest.approx(2e-3, rel=0.2)
        else:
            assert torch.allclose(moved, torch.full_like(moved, 1e-2), rtol=0.1)


def test_muon_is_asked_of_a_pytorch_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(BackendError, match=r"optimizer muon: PyTorch .* has none; 2\.9 or newer"):
        Optimizers(Contrast(ViT1D(SMALL)), dataclasses.replace(RECIPE, optimizer="muon"))
    Optimizers(Contrast(ViT1D(SMALL)), dataclasses.replace(RECIPE, optimizer="adamw"))


def test_resume_refuses_another_recipe_other_music_and_a_folder_without_a_run(
    music: Path, small: Path, tmp_path: Path
) -> None:
    output = tmp_path / "w.safetensors"
    with pytest.raises(UsageError, match=r"no .*checkpoint\.pt"):
        train([music], output, RECIPE, resume=True)
    train([music], output, RECIPE, init=small)
    with pytest.raises(UsageError, match=r"temperature was 0\.1, is 0\.2"):
        train([music], output, dataclasses.replace(RECIPE, temperature=0.2), resume=True)
    with pytest.raises(UsageError, match="other music"):
        train([music], output, RECIPE, resume=True, groups=[music / "groups.jsonl"])
    with pytest.raises(UsageError, match="holds a run"):
        train([music], output, RECIPE, init=small)
    (output.with_suffix(".run") / "checkpoint.pt").write_bytes(b"none")
    with pytest.raises(UsageError, match="no checkpoint of this version"):
        train([music], output, RECIPE, resume=True)


def test_loss_that_is_no_number_stops_the_run_and_spares_the_checkpoint(
    music: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, output = tmp_path / "whole.safetensors", tmp_path / "w.safetensors"
    cache = tmp_path / "cache"
    train([music], whole, RECIPE, init=small, cache=cache)
    count = 0

    def poisoned(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return nt_xent(*arguments) * (math.nan if count == 4 else 1)

    monkeypatch.setattr("vit1dx.train.trainer.nt_xent", poisoned)
    with pytest.raises(TrainingError, match=r"step 4: loss nan.*checkpoint\.pt is from before it"):
        train([music], output, RECIPE, init=small, validate_every=3, cache=cache)
    assert not output.exists()
    monkeypatch.undo()
    train([music], output, RECIPE, resume=True, cache=cache)
    assert losses(output) == losses(whole)


@pytest.mark.parametrize("read_as", ["init", "audio", "nothing"])
def test_an_output_replaces_no_file_but_weights_that_are_not_read(
    music: Path, small: Path, tmp_path: Path, read_as: str
) -> None:
    output = tmp_path / "w.safetensors"
    content = small.read_bytes() if read_as == "init" else b"something else"
    output.write_bytes(content)
    audio, init = [music, output] if read_as == "audio" else [music], small
    reason = "no model to replace" if read_as == "nothing" else "is read too"
    with pytest.raises(UsageError, match=reason):
        train(audio, output, RECIPE, init=output if read_as == "init" else init)
    assert output.read_bytes() == content
    assert not output.with_suffix(".run").exists()


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        load(path)


# --- the command


def call(*arguments: str | int | Path, ranks: int = 1) -> subprocess.CompletedProcess[str]:
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


@pytest.mark.slow
# Muon multiplies matrices in bfloat16, where gradients that differ in the last bit may round apart.
@pytest.mark.parametrize(("optimizer", "tolerance"), [("adamw", 1e-4), ("muon", 1e-3)])
def test_two_ranks_are_one_process_on_the_whole_batch(
    music: Path, small: Path, tmp_path: Path, optimizer: Optimizer, tolerance: float
) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    groups, cache = music / "groups.jsonl", tmp_path / "cache"
    recipe = dataclasses.replace(RECIPE, steps=4, augment=True, keep=0.5, optimizer=optimizer)
    train([music], one, recipe, groups=[groups], cache=cache, init=small)
    options = "--steps 4 --batch 4 --seconds 1 --keep 0.5 --warmup 2 --precision fp32"
    options += f" --learning-rate 0.002 --optimizer {optimizer}"
    places = ("-o", two, "--groups", groups, "--cache", cache, "--init", small)
    done = call(music, *places, *options.split(), ranks=2)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(losses(two), losses(one), rtol=tolerance)
    assert_same(state_of(two), state_of(one), atol=2e-3, rtol=1e-2)


OPTIONS = ("--batch", "4", "--seconds", "1", "--precision", "fp32")


@pytest.mark.slow
def test_command_trains_and_reports(music: Path, small: Path, tmp_path: Path) -> None:
    output, listed = tmp_path / "w.safetensors", tmp_path / "list.txt"
    listed.write_text(f"{music / '0-0.wav'}\n{tmp_path / 'gone.wav'}\n")
    done = call(music, "--files-from", listed, "-o", output, "--init", small, "--steps", "2",
                *OPTIONS)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "broken.mp3: " in done.stderr
    assert "gone.wav: " in done.stderr
    assert "2 files could not be decoded" in done.stderr
    assert f"\nweights: {output}" in done.stderr
    assert "best" not in done.stderr
    assert load(output).config.model == SMALL.model


def test_command_says_where_it_is_where_no_bar_moves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vit1dx.cli.train import Report

    now = Progress(3, 24, 1.0, 0.25, "paper", 2.0, 0.5, 1e-3, 1.0, 100.0)
    monkeypatch.setattr("vit1dx.cli.train.QUIET_SECONDS", 3600.0)
    Report().events().progress(now)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("vit1dx.cli.train.QUIET_SECONDS", 0.0)
    Report().events().progress(now)
    assert "step 3, loss 2.000, 100 segments/s, 1.0 min, 25% done" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_stopped_run_ends_after_a_step_and_is_gone_on_with(
    music: Path, small: Path, tmp_path: Path
) -> None:
    output = tmp_path / "w.safetensors"
    options = [str(music), "-o", str(output), *OPTIONS]
    command = [sys.executable, "-m", "vit1dx", "train", *options, "--steps", "1000000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--init", str(small)], stderr=subprocess.PIPE, text=True, env=environment
    )
    log = output.with_suffix(".run") / "log.csv"
    while not (log.exists() and len(log.read_text().splitlines()) > 2):
        time.sleep(0.05)
        assert process.poll() is None
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "terminated after step" in said
    assert not output.exists()
    steps = len(losses(output))
    done = call(*options, "--resume", "--steps", steps + 2)
    assert done.returncode == 0, done.stderr
    assert len(losses(output)) == steps + 2
    assert output.exists()


@pytest.mark.slow
def test_command_refuses_in_one_line(music: Path, tmp_path: Path) -> None:
    output = tmp_path / "w.safetensors"
    run, steps = output.with_suffix(".run"), ("--steps", "2")
    refused = {
        (music, "-o", tmp_path / "w.pt", *steps): (2, "vit1dx: output "),
        ("-o", output, *steps): (2, "vit1dx: no audio"),
        (music, "-o", output, "--branch", run, *steps): (2, "vit1dx: --branch: no "),
        (music, "-o", output, "--branch", run, "--resume", *steps): (2, f"vit1dx: --branch {run}"),
        (music, "-o", output, *steps, *OPTIONS, "--learning-rate", "1e38"): (1, "vit1dx: step "),
    }
    for arguments, (code, message) in refused.items():
        done = call(*arguments)
        assert done.returncode == code, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("vit1dx: ")]
        assert line.startswith(message)
        assert "Traceback" not in done.stderr
