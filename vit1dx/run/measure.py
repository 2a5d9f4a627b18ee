"""How fast a file is extracted, in a worker process."""

from __future__ import annotations

import time

from ..audio.decode import AudioFile
from ..errors import Vit1dxError
from ..extractor import Extractor
from ..remote import AnyPath

#: The measurement ends after so many seconds of audio, or so many of work.
AUDIO_SECONDS, WORK_SECONDS = 60.0, 3.0


def measure(extractor: Extractor, path: AnyPath) -> float | None:
    """Seconds of audio of a file that are done a second, by the clock; None of an unusable file."""
    rates = []
    for _ in range(2):  # the first time warms up
        done, began = 0.0, time.perf_counter()
        try:
            with AudioFile(path) as file:
                for tokens in extractor.stream(file.blocks(), file.sample_rate):
                    done = tokens.end
                    if done > AUDIO_SECONDS or time.perf_counter() - began > WORK_SECONDS:
                        break
        except Vit1dxError:
            return None
        rates.append(done / (time.perf_counter() - began))
    return max(rates) or None
