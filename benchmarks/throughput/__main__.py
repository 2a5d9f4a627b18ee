"""How fast vit1dx is: ``python -m benchmarks.throughput``, from a checkout, on a quiet machine.

All contenders extract one collection of mp3 songs in turn, round after round, by the clock and by
processor time. Rates are of what a collection takes beyond a run over a single second; "its parts"
is the share of a contender's processor time that decoding, resampling, mel and model take alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.throughput import rounds
from benchmarks.throughput.collection import Collection
from benchmarks.throughput.contenders import contenders
from benchmarks.throughput.report import as_json, as_markdown


def main() -> None:
    """Measure, print a table, and write it with the raw figures."""
    options = parse()
    with tempfile.TemporaryDirectory(prefix="vit1dx-") as temporary:
        scratch = Path(temporary)
        collection = Collection(options.collection or scratch, options.song_seconds)
        songs = max(1, round(options.minutes_of_audio * 60 / options.song_seconds))
        entered = list(contenders(options.peers_python))
        if options.contenders is not None:
            entered = [c for c in entered if c.name in options.contenders]
        results = rounds.run(entered, collection, songs, options.repeat, scratch)
    table = as_markdown(results)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "throughput.md").write_text(table)
    (options.out / "throughput.json").write_text(json.dumps(as_json(results), indent=1) + "\n")
    print(table)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    add = parser.add_argument
    add("--minutes-of-audio", type=float, default=60, help="the collection [%(default)s]")
    add("--song-seconds", type=float, default=180, help="length of its songs [%(default)s]")
    add("--repeat", type=int, default=3, help="rounds [%(default)s]")
    add("--contenders", nargs="*", metavar="NAME", help="as in the table; by default all")
    add("--collection", type=Path, help="folder where the music stays, to be used again")
    add("--peers-python", default=sys.executable, help="which has basic-pitch and swift-f0")
    add("--out", type=Path, default=Path("build/throughput"), help="[%(default)s]")
    return parser.parse_args()


if __name__ == "__main__":
    main()
