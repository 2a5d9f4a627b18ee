"""Labels of a render (stands in for `benchmarks.corpus.labels` until branches are merged)."""

import gzip
import json
from pathlib import Path
from typing import Any


def read_labels(audio: Path) -> dict[str, Any]:
    """Labels that lie beside a render's audio."""
    path = audio.with_name(audio.name.removesuffix(".flac") + ".json.gz")
    labels: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return labels
