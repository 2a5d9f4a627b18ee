"""Real recordings: is the other half found again, and do tokens survive what happens to audio?"""

from __future__ import annotations

import csv
import io
import json
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

from benchmarks.probes.labels import TABLE
from benchmarks.probes.systems import Described, System
from vit1dx.whole import whole
from weights.recipe.corpus.build import MANIFEST
from weights.recipe.corpus.samples import ARCHIVE, ONE_SHOTS

SUFFIXES = (".ogg", ".flac", ".mp3", ".wav")
LEAST_LOOP = 4.0  # s
EXCERPT = 30.0  # s of a recording, at most
NOISE = -30.0  # dB below the music
BIT_RATE = 64_000


def excerpts(data: Path, folder: Path) -> tuple[list[Path], list[Path]]:
    """Recordings of music, and of loops that were trained on in no form, as files in a folder.

    Returns
    -------
    music, loops : lists of Path
        WAV files of at most `EXCERPT` seconds, from the middle.
    """
    folder.mkdir(parents=True, exist_ok=True)
    used = {name for names in ONE_SHOTS.values() for name in names.split()}
    music = [
        excerpt(path, folder / f"{path.stem}.wav")
        for path in sorted((data / "audio").iterdir())
        if path.suffix in SUFFIXES
    ]
    loops = []
    with tarfile.open(data / ARCHIVE) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            name = Path(member.name).stem
            content = archive.extractfile(member)
            if content is None or name in used or not member.name.endswith(".flac"):
                continue
            audio = io.BytesIO(content.read())
            if soundfile.info(audio).duration >= LEAST_LOOP:
                audio.seek(0)
                loops.append(excerpt(audio, folder / f"{name}.wav"))
    return music, loops


def of_manifest(corpus: Path, folder: Path) -> tuple[list[Path], list[dict[str, Any]]]:
    """Excerpts of the recordings that the `real` source fetched, and its rows of them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in (corpus / MANIFEST).read_text().splitlines()]
    paths = [folder / f"{number}.flac" for number in range(len(rows))]
    for path, row in zip(paths, rows, strict=True):
        if not path.exists():
            excerpt(corpus / row["audio"], path)
    return paths, rows


def with_table(corpus: Path, folder: Path) -> list[tuple[str, Path]]:
    """Write excerpts of recordings and a table of who made them; give their ids and files."""
    paths, rows = of_manifest(corpus, folder)
    with (folder / TABLE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("track", "album", "artist"))
        lines = zip(paths, rows, strict=True)
        writer.writerows((path.stem, row["album"], row["artist"]) for path, row in lines)
    return [(path.stem, path.resolve()) for path in paths]


def excerpt(audio: Path | io.BytesIO, path: Path) -> Path:
    """Write up to `EXCERPT` seconds from the middle of a recording, as WAV or FLAC."""
    samples, rate = soundfile.read(audio)
    width = min(len(samples), round(EXCERPT * rate))
    first = (len(samples) - width) // 2
    subtype = "FLOAT" if path.suffix == ".wav" else "PCM_24"
    with whole(path) as unfinished:
        soundfile.write(unfinished, samples[first : first + width], rate, subtype=subtype)
    return path


def retrieval(system: System, recordings: Sequence[Path]) -> dict[str, float]:
    """How often a half's nearest neighbour, of all other halves, is the other half: by feature.

    Features of a whole half are centred on the mean of all, and scaled by their deviation;
    neighbours are by cosine.
    """
    halves = [half for path in recordings for half in halves_of(system, path)]
    return {
        name: found_again(np.stack([half.whole[name] for half in halves]))
        for name in halves[0].whole
    }


def found_again(features: np.ndarray) -> float:
    """Share of rows whose nearest is their pair; rows 2i and 2i + 1 are one."""
    scaled = (features - features.mean(0)) / (features.std(0) + 1e-12)
    unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return float((similarity.argmax(1) == (np.arange(len(unit)) ^ 1)).mean())


def halves_of(system: System, path: Path) -> list[Described]:
    """What a system says of each half of a recording."""
    samples, rate = soundfile.read(path)
    middle = len(samples) // 2
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder) / "half.wav"
        found = []
        for part in (samples[:middle], samples[middle:]):
            soundfile.write(half, part, rate, subtype="FLOAT")
            found.append(system(half))
    return found


def robustness(system: System, recordings: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Mean cosine of frames with those of the same music altered: by alteration, then feature.

    Features are centred on the mean of all recordings' frames. "unrelated" is the mean cosine of
    frames of different recordings, for scale.
    """
    with tempfile.TemporaryDirectory() as folder:
        clean = [system(path).frames for path in recordings]
        centre = {name: np.concatenate([f[name] for f in clean]).mean(0) for name in clean[0]}
        found: dict[str, dict[str, float]] = {}
        for alteration in ("+3 dB", "-3 dB", "noise at -30 dB", "mp3 at 64 kbit/s"):
            changed = [
                system(altered(path, alteration, Path(folder))).frames for path in recordings
            ]
            found[alteration] = {
                name: _mean_cosine(
                    [(a[name], b[name]) for a, b in zip(clean, changed, strict=True)], mean
                )
                for name, mean in centre.items()
            }
        others = clean[1:] + clean[:1]
        found["unrelated"] = {
            name: _mean_cosine(
                [(a[name], b[name]) for a, b in zip(clean, others, strict=True)], mean
            )
            for name, mean in centre.items()
        }
    return found


def altered(path: Path, alteration: str, folder: Path) -> Path:
    """A file of the same music after an alteration."""
    samples, rate = soundfile.read(path, always_2d=True)
    out = folder / f"{path.stem}.wav"
    if alteration.startswith("mp3"):
        return _mp3(samples, rate, out.with_suffix(".mp3"))
    if alteration.endswith("dB") and not alteration.startswith("noise"):
        samples = samples * 10 ** (float(alteration.split()[0]) / 20)
    else:
        level = np.sqrt(np.mean(samples**2)) * 10 ** (NOISE / 20)
        samples = samples + level * np.random.default_rng(0).standard_normal(samples.shape)
    soundfile.write(out, samples, rate, subtype="FLOAT")
    return out


def _mp3(samples: np.ndarray, rate: int, out: Path) -> Path:
    with av.open(str(out), "w") as container:
        stream = container.add_stream("libmp3lame", rate=rate)
        stream.bit_rate = BIT_RATE
        stream.layout = "stereo" if samples.shape[1] > 1 else "mono"
        stream.format = "fltp"
        plane = np.ascontiguousarray(samples.T, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(plane, format="fltp", layout=stream.layout.name)
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return out


def _mean_cosine(pairs: list[tuple[np.ndarray, np.ndarray]], centre: np.ndarray) -> float:
    values = []
    for first, second in pairs:
        n = min(len(first), len(second))
        a, b = first[:n] - centre, second[:n] - centre
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        values.append((a * b).sum(1) / np.maximum(norms, 1e-12))
    return float(np.concatenate(values).mean())
