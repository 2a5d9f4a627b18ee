"""FluidSynth's command line in a process of its own, bounded in time and in output.

A synthesiser can go on for ever on one file, or fill the disk, so both have hard limits.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mido import Message

from weights.recipe.corpus.midi import DRUM_CHANNEL, Event, write_events
from weights.recipe.corpus.orchestra import Ensemble
from weights.recipe.corpus.rendition import Rendition, Voice

SYNTH_RATE = 32_000  # Hz; twice the corpus's, so that resampling removes what the synth aliases
CHANNELS = 2
FRAME_BYTES = 4 * CHANNELS
GAIN = 0.3  # below FluidSynth's clipping of its effects; the level is set afterwards
TIMEOUT = 180.0  # s of wall clock for one render
WATCH_PERIOD = 0.05  # s between looks at the size of the output
TAIL = 0.5  # s of sound kept past the end, for the resampler to run into
CONTROLLERS = {"volume": 7, "pan": 10, "reverb": 91, "chorus": 93}

SOUNDFONTS = {
    "FluidR3": Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
    "TimGM6mb": Path("/usr/share/sounds/sf2/TimGM6mb.sf2"),
    "GeneralUser": Path("/usr/share/minuet/soundfonts/GeneralUser-v1.47.sf2"),
    "A320U": Path("/usr/share/sounds/sf2/A320U.sf2"),
    "OPL3": Path("/usr/share/sounds/sf2/OPL-3_FM_128M.sf2"),
    "MuseScore": Path("/usr/share/sounds/sf3/MuseScore_General.sf3"),
    "GMbank": Path("/usr/share/sounds/sf2/sf_GMbank.sf2"),
}
# Sound in test renders alone. MuseScore's descends from FluidR3, which is trained on; GMbank is the
# stricter test.
HELD_OUT = ("MuseScore", "GMbank")


class RenderError(RuntimeError):
    """The synthesiser failed, or ran into a limit."""


@dataclass(frozen=True)
class Synth:
    """How to call the synthesiser.

    Parameters
    ----------
    command : str
        The program.
    timeout : float
        Seconds of wall clock after which it is killed.
    """

    command: str = "fluidsynth"
    timeout: float = TIMEOUT


def soundfont_path(name: str) -> Path:
    """File of a soundfont by its short name."""
    if name not in SOUNDFONTS:
        raise ValueError(f"soundfont {name!r} is not one of {', '.join(SOUNDFONTS)}")
    if not SOUNDFONTS[name].exists():
        raise FileNotFoundError(f"soundfont {name}: {SOUNDFONTS[name]} is not installed")
    return SOUNDFONTS[name]


def synthesise(rendition: Rendition, synth: Synth) -> np.ndarray:
    """Render to sound.

    Returns
    -------
    np.ndarray
        (n, 2) float32 at `SYNTH_RATE`, as long as the render and at most `TAIL` longer.

    Raises
    ------
    RenderError
        When the synthesiser fails, or passes its limit of time.
    """
    seconds = rendition.timeline.seconds
    frames = round((seconds + TAIL) * SYNTH_RATE)
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        midi, raw = Path(folder) / "song.mid", Path(folder) / "song.raw"
        write_events(events_of(rendition.voices), seconds, midi)
        _run(_arguments(rendition.ensemble, midi, raw, synth), raw, frames * FRAME_BYTES, synth)
        sound = np.fromfile(raw, dtype="<f4", count=frames * CHANNELS)
        return sound.reshape(-1, CHANNELS)


def events_of(voices: tuple[Voice, ...]) -> list[Event]:
    """MIDI messages of voices, one channel each; all drums share the channel of drums."""
    free = [channel for channel in range(16) if channel != DRUM_CHANNEL]
    events: list[Event] = []
    for voice in voices:
        channel = DRUM_CHANNEL if voice.is_drums else free.pop(0)
        events += _setup(voice, channel) + _notes(voice, channel)
    return events


def _setup(voice: Voice, channel: int) -> list[Event]:
    messages = [Message("program_change", channel=channel, program=voice.program)]
    for name, control in CONTROLLERS.items():
        value = getattr(voice, name)
        messages.append(Message("control_change", channel=channel, control=control, value=value))
    return [Event(0.0, message) for message in messages]


def _notes(voice: Voice, channel: int) -> list[Event]:
    events = []
    for onset, offset, pitch, velocity in voice.notes.tolist():
        on = Message("note_on", channel=channel, note=pitch, velocity=velocity)
        off = Message("note_off", channel=channel, note=pitch)
        events += [Event(onset, on), Event(offset, off)]
    return events


def _arguments(ensemble: Ensemble, midi: Path, raw: Path, synth: Synth) -> list[str]:
    settings = {
        "synth.cpu-cores": 1,  # more would make the sum of voices depend on scheduling
        "synth.dynamic-sample-loading": 1,
        "synth.reverb.active": int(ensemble.reverb_level > 0),
        "synth.reverb.room-size": round(ensemble.room, 3),
        "synth.reverb.level": round(ensemble.reverb_level, 3),
        "synth.chorus.active": int(ensemble.chorus_level > 0),
        "synth.chorus.level": round(ensemble.chorus_level, 3),
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    output = ["-F", str(raw), "-T", "raw", "-O", "float", "-r", str(SYNTH_RATE), "-g", str(GAIN)]
    files = [str(soundfont_path(ensemble.soundfont)), str(midi)]
    return [synth.command, "-n", "-i", "-q", *output, *options, *files]


def _run(arguments: list[str], raw: Path, enough: int, synth: Synth) -> None:
    """Run the synthesiser until it ends, or has written `enough` bytes."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # so that its children die with it
        )
        try:
            code = _watched(process, raw, enough, synth.timeout)
        finally:
            _kill(process)
        errors.seek(0)
        _check(code, raw, errors.read().decode(errors="replace"))


def _watched(process: subprocess.Popen[bytes], raw: Path, enough: int, timeout: float) -> int:
    """Wait for the process within its limits; 0 when it was stopped for having written enough.

    FluidSynth plays on after the end of a file until its last voice has died away, 20 s or for
    ever. A resource limit on file size cannot stop it: the sound servers' libraries that it loads
    reserve a larger file in memory, and die of the limit.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if _size(raw) >= enough:
            return 0
        try:
            return process.wait(WATCH_PERIOD)
        except subprocess.TimeoutExpired:
            continue
    raise RenderError(f"synthesiser took more than {timeout:g} s, killed")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of the process's group."""
    with contextlib.suppress(ProcessLookupError):  # ended, and its children too
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _check(code: int, raw: Path, errors: str) -> None:
    size = _size(raw)
    if code != 0 or size == 0:
        last = errors.strip().splitlines()[-1:] or ["no message"]
        raise RenderError(f"synthesiser ended with {code} and {size} bytes: {last[0]}")
