"""Damaged files: how many lose more than a second of what FFmpeg decodes, and nobody says so.

    python -m benchmarks.damage [COUNT]

Music of 25 s is encoded in each of several ways; in each file, 50 to 999 bytes are zeroed, changed,
inserted or deleted somewhere. The judge is `ffmpeg`, the command.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import soundfile

from benchmarks.music import RATE, mono
from benchmarks.tables import table
from vit1dx.audio.decode import AudioFile

SECONDS = 25
BARE = ["-write_xing", "0", "-id3v2_version", "0"]
KINDS = {
    "mp3 CBR": ("mp3", ["-b:a", "128k", *BARE]),
    "mp3 CBR, Xing": ("mp3", ["-b:a", "128k"]),
    "mp3 VBR": ("mp3", ["-q:a", "4", *BARE]),
    "mp3 VBR, Xing": ("mp3", ["-q:a", "4"]),
    "ogg": ("ogg", ["-c:a", "libvorbis"]),
    "opus": ("opus", ["-c:a", "libopus"]),
    "flac": ("flac", []),
    "aac": ("aac", []),
    "webm": ("webm", ["-c:a", "libopus"]),
}
WAYS = ("zeroed", "changed", "inserted", "deleted")


@dataclass(frozen=True)
class Outcome:
    """What became of a damaged file.

    Attributes
    ----------
    lost : float
        Seconds that FFmpeg's command decodes, and vit1dx does not.
    said : str
        Warnings, or the reason why it was refused.
    refused : bool
    """

    lost: float
    said: str
    refused: bool


def encoded(folder: Path) -> dict[str, bytes]:
    """A whole file of each kind."""
    soundfile.write(folder / "song.wav", mono(SECONDS * RATE), RATE)
    files = {}
    for kind, (suffix, options) in KINDS.items():
        path = folder / f"whole.{suffix}"
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(folder / "song.wav")]
        subprocess.run([*command, *options, str(path)], check=True)
        files[kind] = path.read_bytes()
    return files


def damaged(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """How a file was damaged, and what it is then."""
    way, count = rng.choice(WAYS), rng.randrange(50, 1000)
    at = rng.randrange(len(data) - count)
    new = bytes(count) if way == "zeroed" else rng.randbytes(count) if way != "deleted" else b""
    behind = data[at:] if way == "inserted" else data[at + count :]
    return f"{count} bytes {way} at {at}", data[:at] + new + behind


def outcome(path: Path) -> Outcome:
    """Decode a file, and compare with FFmpeg's command."""
    try:
        with AudioFile(path) as file:
            for _ in file.blocks():
                pass
            words = "; ".join(getattr(warning, "text", str(warning)) for warning in file.warnings)
            return Outcome(_ffmpeg_seconds(path) - file.duration, words, refused=False)
    except Exception as error:  # of any kind: a batch calls it a failure
        return Outcome(_ffmpeg_seconds(path), str(error), refused=True)


def _ffmpeg_seconds(path: Path) -> float:
    options = ["-ac", "1", "-ar", "16000", "-f", "s16le", "-"]
    command = ["ffmpeg", "-v", "quiet", "-i", str(path), "-map", "0:a:0", *options]
    return len(subprocess.run(command, capture_output=True).stdout) / 2 / 16000


def sweep(count: int, seed: int = 0) -> Iterator[tuple[str, str, Outcome]]:
    """Damage so many files, kind after kind: kind, damage, outcome."""
    rng, apart = random.Random(seed), _Apart()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = encoded(folder)
        for number in range(count):
            kind = list(KINDS)[number % len(KINDS)]
            how, data = damaged(files[kind], rng)
            path = folder / f"damaged.{KINDS[kind][0]}"
            path.write_bytes(data)
            yield kind, how, apart.outcome(path)


class _Apart:
    """Decodes in another process: a decoder may take its process along."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1)

    def outcome(self, path: Path) -> Outcome:
        """What becomes of a file."""
        try:
            return self._pool.submit(outcome, path).result()
        except BrokenProcessPool:
            self._pool = ProcessPoolExecutor(1)
            return Outcome(SECONDS, "its process ended", refused=True)


def main() -> None:
    """Print, for each kind, what was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.damage", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1000, help="files [1000]")
    count = parser.parse_args().count
    found: dict[str, list[Outcome]] = {kind: [] for kind in KINDS}
    for kind, how, end in sweep(count):
        found[kind].append(end)
        if end.lost > 1 and not end.said:
            print(f"{kind}, {how}: {end.lost:.1f} s lost without a word", file=sys.stderr)
    rows = []
    for kind, ends in found.items():
        lost = [end for end in ends if end.lost > 1]
        unsaid = [end.lost for end in lost if not end.said]
        refused = sum(end.refused for end in ends)
        warned = sum(bool(end.said) for end in ends) - refused
        numbers = len(ends), len(unsaid), f"{max(unsaid, default=0):.1f}"
        rows.append([kind, *map(str, (*numbers, len(lost), refused, warned))])
    head = ["", "files", "lost > 1 s unsaid", "at most, s", "lost > 1 s", "refused", "warned of"]
    print(table(head, rows), end="")


if __name__ == "__main__":
    main()
