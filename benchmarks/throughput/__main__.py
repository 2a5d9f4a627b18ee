"""How fast vit1dx is: ``python -m benchmarks.throughput``, from a checkout, on a quiet machine.

All contenders extract one collection of mp3 songs in turn, round after round. Rates are of what a
collection takes beyond a run over a single second; the limit is what the stages take alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.throughput import curves, rounds
from benchmarks.throughput.collection import Collection
from benchmarks.throughput.contenders import contenders, offered_precisions
from benchmarks.throughput.report import as_json, as_markdown


def main() -> None:
    """Measure, print tables, and write them with the raw figures."""
    options = parse()
    with tempfile.TemporaryDirectory(prefix="vit1dx-") as temporary:
        scratch = Path(temporary)
        collection = Collection(options.collection or scratch, options.song_seconds)
        songs = max(1, round(options.minutes_of_audio * 60 / options.song_seconds))
        precisions = offered_precisions()
        entered = list(contenders(precisions, options.peers_python))
        if options.contenders is not None:
            entered = [c for c in entered if c.name in options.contenders]
        names = {contender.name for contender in entered}
        precisions = [p for p in precisions if f"vit1dx {p}" in names]
        results = rounds.run(entered, precisions, collection, songs, options.repeat, scratch)
        sizes = curves.Sizes(collection, options.most_files, options.longest)
        found = curves.run(options.curves, sizes, options.repeat_curves, scratch)
    table = as_markdown(results, found, precisions)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "throughput.md").write_text(table)
    figures = as_json(results, found, precisions)
    (options.out / "throughput.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(table)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    add = parser.add_argument
    add("--minutes-of-audio", type=float, default=24, help="the collection [%(default)s]")
    add("--song-seconds", type=float, default=180, help="length of its songs [%(default)s]")
    add("--repeat", type=int, default=3, help="rounds [%(default)s]")
    add("--contenders", nargs="*", metavar="NAME", help="as in the table; by default all")
    add("--curves", nargs="*", choices=curves.CURVES, default=list(curves.CURVES), help="[all]")
    add("--repeat-curves", type=int, default=1, help="runs a point [%(default)s]")
    add("--most-files", type=int, default=curves.COUNTS[-1], help="[%(default)s]")
    add("--longest", type=float, default=curves.DURATIONS[-1], help="file, s [%(default)s]")
    add("--collection", type=Path, help="folder where the music stays, to be used again")
    add("--peers-python", default=sys.executable, help="which has basic-pitch and swift-f0")
    add("--out", type=Path, default=Path("build/throughput"), help="[%(default)s]")
    return parser.parse_args()


if __name__ == "__main__":
    main()
