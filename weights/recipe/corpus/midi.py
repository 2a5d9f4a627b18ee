"""Standard MIDI files to notes in seconds, and notes in seconds to a standard MIDI file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mido import Message, MetaMessage, MidiFile
from mido import MidiTrack as MidoTrack

from weights.recipe.corpus.song import Floats, Span, note_array

DRUM_CHANNEL = 9
CHANNELS = 16
SUSTAIN_PEDAL = 64
PEDAL_DOWN = 64
DEFAULT_TEMPO_US = 500_000
COMPOUND, COMPOUND_UNIT = (6, 9, 12), 8  # beats of three units: 6/8, 12/16
WRITTEN_TICKS_PER_BEAT = 5_000  # at the default tempo a tick is 0.1 ms


@dataclass(frozen=True)
class MidiTrack:
    """Notes of one track, channel and program of a file, in seconds."""

    name: str
    channel: int
    program: int
    notes: np.ndarray
    pedal: tuple[Span, ...]


@dataclass(frozen=True)
class Event:
    """A message for the file, at a time in seconds."""

    seconds: float
    message: Message


class TempoMap:
    """Seconds of ticks, from the tempo changes of every track of a file."""

    def __init__(self, midi: MidiFile) -> None:
        changes = {0: DEFAULT_TEMPO_US} | dict(_tempo_changes(midi))
        self.ticks = np.array(sorted(changes), dtype=float)
        self.rates = np.array([changes[int(t)] for t in self.ticks]) / 1e6 / midi.ticks_per_beat
        steps = np.diff(self.ticks) * self.rates[:-1]
        self.starts = np.concatenate([[0.0], np.cumsum(steps)])

    def seconds(self, tick: Floats | float) -> Floats:
        """Times in seconds of ticks."""
        index = np.searchsorted(self.ticks, tick, side="right") - 1
        seconds: Floats = self.starts[index] + (tick - self.ticks[index]) * self.rates[index]
        return seconds


def _tempo_changes(midi: MidiFile) -> list[tuple[int, int]]:
    return sorted(
        (tick, message.tempo)
        for track in midi.tracks
        for tick, message in _timed(track)
        if message.type == "set_tempo"
    )


def _timed(track: Iterable[Message]) -> Iterable[tuple[int, Message]]:
    tick = 0
    for message in track:
        tick += message.time
        yield tick, message


def read_tracks(midi: MidiFile) -> list[MidiTrack]:
    """Read the notes of a file; a note that is never ended is left out."""
    tempo = TempoMap(midi)
    return [part for track in midi.tracks for part in _read_track(track, tempo)]


def _read_track(track: MidoTrack, tempo: TempoMap) -> list[MidiTrack]:
    reader = _TrackReader()
    for tick, message in _timed(track):
        if not message.is_meta and message.type != "sysex":
            reader.read(float(tempo.seconds(tick)), message)
    return reader.finish(track.name.strip("\0"))


class _TrackReader:
    """State of one track while its messages are read in order."""

    def __init__(self) -> None:
        self.programs = [0] * CHANNELS
        self.sounding: dict[tuple[int, int], list[tuple[float, int, int]]] = {}
        self.notes: dict[tuple[int, int], list[tuple[float, float, int, int]]] = {}
        self.pressed: dict[int, float] = {}
        self.pedal: dict[int, list[Span]] = {}

    def read(self, time: float, message: Message) -> None:
        if message.type == "program_change":
            self.programs[message.channel] = message.program
        elif message.type == "control_change" and message.control == SUSTAIN_PEDAL:
            self._move_pedal(time, message.channel, message.value >= PEDAL_DOWN)
        elif message.type == "note_on" and message.velocity > 0:
            key = (message.channel, message.note)
            program = self.programs[message.channel]
            self.sounding.setdefault(key, []).append((time, message.velocity, program))
        elif message.type in ("note_on", "note_off"):
            self._end_note(time, message.channel, message.note)

    def _move_pedal(self, time: float, channel: int, down: bool) -> None:
        if down:
            self.pressed.setdefault(channel, time)
        elif channel in self.pressed:
            span = Span(self.pressed.pop(channel), time, "pedal")
            self.pedal.setdefault(channel, []).append(span)

    def _end_note(self, time: float, channel: int, pitch: int) -> None:
        waiting = self.sounding.get((channel, pitch))
        if waiting:
            onset, velocity, program = waiting.pop(0)
            self.notes.setdefault((channel, program), []).append((onset, time, pitch, velocity))

    def finish(self, name: str) -> list[MidiTrack]:
        return [
            MidiTrack(name, channel, program, note_array(rows), tuple(self.pedal.get(channel, ())))
            for (channel, program), rows in sorted(self.notes.items())
        ]


def write_events(events: Sequence[Event], end: float, path: Path) -> None:
    """Write messages to a file that ends at `end` seconds, to the nearest 0.1 ms."""
    track = MidoTrack([MetaMessage("set_tempo", tempo=DEFAULT_TEMPO_US, time=0)])
    tick = 0
    for event in sorted(events, key=lambda event: event.seconds):
        at = _tick(event.seconds)
        track.append(event.message.copy(time=at - tick))
        tick = at
    track.append(MetaMessage("end_of_track", time=max(0, _tick(end) - tick)))
    midi = MidiFile(type=0, ticks_per_beat=WRITTEN_TICKS_PER_BEAT)
    midi.tracks.append(track)
    midi.save(str(path))


def _tick(seconds: float) -> int:
    return round(seconds * WRITTEN_TICKS_PER_BEAT * 1e6 / DEFAULT_TEMPO_US)


def bar_and_beat_ticks(midi: MidiFile, compound: bool = False) -> tuple[list[int], list[int]]:
    """Ticks of bars and of beats up to the end of a file.

    Parameters
    ----------
    midi : MidiFile
    compound : bool
        Whether three units are a beat where the metre is compound, as in 6/8.

    Returns
    -------
    bars : list of int
        Starts of bars; empty where the file has no time signature.
    beats : list of int
        Starts of the time signature's units; quarter notes where there is none.
    """
    end = max(sum(message.time for message in track) for track in midi.tracks)
    changes = _signatures(midi)
    if not changes:
        return [], list(range(0, end + midi.ticks_per_beat, midi.ticks_per_beat))
    bars: list[int] = []
    beats: list[int] = []
    edges = [tick for tick, _, _ in changes] + [end + 1]
    for (start, numerator, denominator), stop in zip(changes, edges[1:], strict=True):
        unit = midi.ticks_per_beat * 4 // denominator
        is_compound = compound and denominator >= COMPOUND_UNIT and numerator in COMPOUND
        beats += range(start, stop, unit * (3 if is_compound else 1))
        bars += range(start, stop, unit * numerator)
    return bars, beats


def _signatures(midi: MidiFile) -> list[tuple[int, int, int]]:
    """(tick, numerator, denominator) of each time signature, the last where several coincide."""
    found = {
        tick: (message.numerator, message.denominator)
        for track in midi.tracks
        for tick, message in _timed(track)
        if message.type == "time_signature"
    }
    return [(tick, *found[tick]) for tick in sorted(found)]
