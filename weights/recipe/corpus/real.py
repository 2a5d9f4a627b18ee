"""Recordings to train on or to test by: free music of Debian's games, with who made it.

    python -m weights.recipe.corpus.real OUT [--role test]

Packages are downloaded by `apt-get download`, and nothing of them is installed. What the table of
recordings marks is taken out, checked against the table's MD5, and listed in a manifest that
`vit1dx train --groups` reads: every recording is a song of its own, its album is its package.
"""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vit1dx.whole import whole
from weights.recipe import DEFAULT_DATA
from weights.recipe.corpus.build import FAILURES, MANIFEST, write_lines

TABLE = "debian-music.tsv"
EXCERPTS = ("audio-debian", "audio-github")  # archives of the first 75 s of others, to train on
VALID_EVERY = 20  # recordings to one that is held out

Row = dict[str, str]
app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Argument(help="Folder for recordings and manifest.")],
    data: Annotated[Path, typer.Option(help="Folder of the table.")] = DEFAULT_DATA / "real",
    role: Annotated[Literal["train", "test"], typer.Option(help="Which packages.")] = "train",
) -> None:
    """Download recordings. Those that are there are not fetched again."""
    out.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for package, rows in wanted(data, role).items():
        try:
            written = fetch(package, rows, out)
        except (OSError, subprocess.CalledProcessError, tarfile.TarError) as error:
            failed.append({"package": package, "reason": str(error)})
            continue
        for row in rows:
            reason = written[row["member"]]
            if reason:
                failed.append({"package": package, "member": row["member"], "reason": reason})
            else:
                found.append(manifest_row(row, role))
    if role == "train":
        found += [row for name in EXCERPTS for row in unpack(data / f"{name}.tar", out)]
    write_lines(out / MANIFEST, found)
    write_lines(out / FAILURES, failed)
    typer.echo(f"{len(found)} recordings in {out}, {len(failed)} failed")
    raise typer.Exit(1 if failed else 0)


def wanted(data: Path, role: str) -> dict[str, list[Row]]:
    """Rows of the table to use, by package, of the packages with a role."""
    packages = (data / f"packages-{role}.txt").read_text().split()
    with (data / TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    used: dict[str, list[Row]] = {package: [] for package in packages}
    for row in rows:
        if row["use"] == "1" and row["package"] in used:
            used[row["package"]].append(row)
    return used


def fetch(package: str, rows: list[Row], out: Path) -> dict[str, str]:
    """Write a package's recordings, unless they are there; say by member why one is not."""
    named = [row for row in rows if row["member"]]
    missing = [row for row in named if not (out / place(row)).exists()]
    reasons = {row["member"]: "" if row["member"] else "the table names no file" for row in rows}
    if not missing:
        return reasons
    archive = download(package, out)
    reasons.update({row["member"]: "not in the package" for row in missing})
    by_member = {row["member"]: row for row in missing}
    for member, content in members(archive, set(by_member)):
        reasons[member] = write(content, by_member[member], out)
    archive.unlink()
    return reasons


def place(row: Row) -> Path:
    """Where a recording goes, below the folder of all."""
    name = row["member"].rsplit("!", 1)[-1].lstrip("./").replace("/", "_")
    return Path(row["package"]) / name


def download(package: str, folder: Path) -> Path:
    """The package's archive, as apt fetches it."""
    found = sorted(folder.glob(f"{package}_*.deb"))
    if not found:
        subprocess.run(
            ["apt-get", "download", package], cwd=folder, check=True, capture_output=True
        )
        found = sorted(folder.glob(f"{package}_*.deb"))
    return found[-1]


def members(archive: Path, names: set[str]) -> Iterator[tuple[str, bytes]]:
    """Content of members, each named as in the table: `file`, or `archive!file` inside another."""
    inner: dict[str, list[str]] = {}
    for name in names:
        inner.setdefault(name.split("!")[0], []).append(name)
    unpack = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with (
        subprocess.Popen(unpack, stdout=subprocess.PIPE) as tar,
        tarfile.open(fileobj=tar.stdout, mode="r|") as stream,
    ):
        for member in stream:
            path = member.name.removeprefix("./")
            file = stream.extractfile(member) if path in inner else None
            if file:
                yield from _inside(inner[path], file.read())


def _inside(names: list[str], content: bytes) -> Iterator[tuple[str, bytes]]:
    for name in names:
        _, nested, member = name.partition("!")
        if nested:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                yield name, archive.read(member)
        else:
            yield name, content


def write(content: bytes, row: Row, out: Path) -> str:
    """Write a recording; say why not, if its checksum is another than the table's."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != row["md5"]:
        return f"md5 {digest}, the table has {row['md5']}"
    path = out / place(row)
    path.parent.mkdir(exist_ok=True)
    with whole(path) as unfinished:
        unfinished.write_bytes(content)
    return ""


def manifest_row(row: Row, role: str) -> dict[str, Any]:
    """What the manifest says of a recording from a package."""
    audio = str(place(row))
    return {
        "audio": audio,
        "song": audio,
        "source": "real",
        "split": split_of(audio) if role == "train" else role,
        "album": row["package"],
        **{key: row[key] for key in ("artist", "title", "genre", "licence", "holder")},
        "seconds": float(row["seconds"]),
    }


def split_of(audio: str) -> str:
    """Hold out one recording in `VALID_EVERY`, by a checksum of its name."""
    return "train" if zlib.crc32(audio.encode()) % VALID_EVERY else "valid"


def unpack(archive: Path, out: Path) -> list[dict[str, Any]]:
    """Unpack excerpts with their index, unless they are there; give their rows of the manifest."""
    folder = out / archive.stem
    if not folder.exists():
        with tarfile.open(archive) as tar:
            tar.extractall(out, filter="data")
    with (folder / "index.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [_excerpt(row, f"{archive.stem}/{row['file']}") for row in rows]


def _excerpt(row: Row, audio: str) -> dict[str, Any]:
    return {
        "audio": audio,
        "song": audio,
        "source": "real",
        "split": split_of(audio),
        "album": row["source"],
        "artist": row["author"],
        "title": row["title"],
        "licence": row["licence"],
        "seconds": float(row["seconds"]),
    }


if __name__ == "__main__":
    app()
