"""Events as files that other programs open: text, csv, JAMS, layers of Sonic Visualiser."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from .._types import Array
from .._version import __version__

#: The version of JAMS that is written (Humphrey et al., ISMIR 2014).
JAMS_VERSION = "0.3.4"


@dataclass(frozen=True)
class Events:
    """Onsets of one track.

    Attributes
    ----------
    track : str
        The track's id.
    times : (k,) float64 array
        s, ascending.
    strengths : (k,) float64 array
        How far each stands above its surroundings, in the curve's standard deviations.
    curve : str
        What they are the peaks of.
    duration : float
        Of the track, s.
    sample_rate : int
        Of its audio, Hz.
    """

    track: str
    times: Array
    strengths: Array
    curve: str
    duration: float
    sample_rate: int


def as_text(events: Events) -> str:
    """One time a line, s, as mir_eval reads it."""
    return "".join(f"{time:.6f}\n" for time in events.times)


def as_csv(found: Iterable[Events]) -> str:
    """A table of the events of any number of tracks."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["track", "time", "strength"])
    for events in found:
        for time, strength in zip(events.times, events.strengths, strict=True):
            writer.writerow([events.track, f"{time:.6f}", f"{strength:.4f}"])
    return table.getvalue()


def as_jams(events: Events) -> str:
    """A JAMS file with one annotation, of the namespace "onset"; confidence is the strength."""
    data = [
        {"time": time, "duration": 0.0, "value": None, "confidence": strength}
        for time, strength in zip(events.times.tolist(), events.strengths.tolist(), strict=True)
    ]
    about = {
        "curator": {"name": "", "email": ""},
        "annotator": {},
        "version": __version__,
        "corpus": "",
        "annotation_tools": f"vit1dx {__version__}: {events.curve}",
        "annotation_rules": "",
        "validation": "",
        "data_source": "program",
    }
    annotation = {
        "namespace": "onset",
        "data": data,
        "annotation_metadata": about,
        "sandbox": {},
        "time": 0,
        "duration": events.duration,
    }
    file = {
        "title": events.track,
        "artist": "",
        "release": "",
        "duration": events.duration,
        "identifiers": {},
        "jams_version": JAMS_VERSION,
    }
    whole = {"annotations": [annotation], "file_metadata": file, "sandbox": {}}
    return json.dumps(whole, indent=1) + "\n"


def as_svl(events: Events) -> str:
    """A layer of time instants for Sonic Visualiser, at the audio's sample rate."""
    rate, name = events.sample_rate, quoteattr(f"Onsets: {events.curve}")
    frames = [round(time * rate) for time in events.times]
    points = "".join(f'      <point frame="{frame}" label=""/>\n' for frame in frames)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE sonic-visualiser>\n<sv>\n  <data>\n'
        f'    <model id="1" name={name} sampleRate="{rate}" start="0" '
        f'end="{round(events.duration * rate)}" type="sparse" dimensions="1" resolution="1" '
        'notifyOnAdd="true" dataset="0"/>\n'
        f'    <dataset id="0" dimensions="1">\n{points}    </dataset>\n  </data>\n  <display>\n'
        f'    <layer id="2" type="timeinstants" name={name} model="1" plotStyle="0" '
        'colourName="Orange" colour="#d55e00" darkBackground="false"/>\n'
        "  </display>\n</sv>\n"
    )


#: Formats that have a file for each track; csv has one for all.
ONE_A_TRACK: dict[str, Callable[[Events], str]] = {
    "txt": as_text,
    "jams": as_jams,
    "svl": as_svl,
}
