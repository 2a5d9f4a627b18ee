"""Recorded CC0 samples (Sonic Pi's) in the place of a soundfont's drums."""

from __future__ import annotations

import io
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from weights.recipe.corpus.patterns import DRUM_KEYS
from weights.recipe.corpus.song import Floats

ARCHIVE = "samples-cc0.tar"
LONGEST = 1.5  # s of a one-shot that are kept

# Recordings that can stand for each drum.
ONE_SHOTS = {
    "kick": "bd_808 bd_ada bd_boom bd_fat bd_gas bd_haus bd_jazz bd_klub bd_pure bd_sone bd_tek "
    "bd_zome drum_bass_hard drum_bass_soft drum_heavy_kick elec_soft_kick elec_hollow_kick",
    "rim": "elec_wood elec_tick perc_snap tabla_te1 tabla_tas1 drum_snare_soft",
    "snare": "sn_dolf sn_dub sn_generic sn_zome drum_snare_hard drum_snare_soft elec_snare "
    "elec_lo_snare elec_hi_snare elec_mid_snare elec_filt_snare",
    "clap": "perc_snap perc_snap2 sn_dub elec_filt_snare",
    "closed hat": "hat_bdu hat_cab hat_gem hat_gump hat_raw hat_snap hat_star hat_tap hat_zild "
    "hat_metal drum_cymbal_closed elec_tick",
    "pedal hat": "drum_cymbal_pedal hat_tap hat_snap",
    "low tom": "drum_tom_lo_hard drum_tom_lo_soft tabla_ghe1 elec_fuzz_tom",
    "open hat": "drum_cymbal_open hat_noiz hat_zan elec_cymbal",
    "mid tom": "drum_tom_mid_hard drum_tom_mid_soft tabla_tun1",
    "crash": "drum_splash_hard drum_splash_soft drum_cymbal_hard",
    "high tom": "drum_tom_hi_hard drum_tom_hi_soft tabla_na",
    "ride": "ride_tri ride_via drum_cymbal_soft",
    "tambourine": "hat_metal hat_star hat_gem",
    "cowbell": "drum_cowbell elec_triangle elec_ping",
    "high conga": "tabla_na tabla_na_s tabla_re tabla_tun2",
    "low conga": "tabla_ke1 tabla_ghe2 tabla_ghe5 tabla_tun3",
    "shaker": "hat_tap hat_len hat_cab",
}
# Keys that General MIDI has and our patterns do not, by the nearest of theirs.
NEAREST_KEY = {35: 36, 40: 38, 41: 45, 43: 45, 48: 50, 52: 49, 53: 51, 55: 49, 57: 49, 59: 51}


def draw_kit(rng: np.random.Generator) -> dict[int, str]:
    """Draw a recording for each percussion key."""
    return {DRUM_KEYS[drum]: str(rng.choice(names.split())) for drum, names in ONE_SHOTS.items()}


def kit_notes(notes: np.ndarray) -> np.ndarray:
    """Notes (m,) that a kit can play, of (n,), keys without a recording moved to the nearest."""
    keys = np.array([NEAREST_KEY.get(int(pitch), int(pitch)) for pitch in notes["pitch"]])
    moved = notes.copy()
    moved["pitch"] = keys if len(keys) else notes["pitch"]
    return moved[np.isin(moved["pitch"], list(DRUM_KEYS.values()))]


def play_kit(notes: np.ndarray, kit: dict[int, str], data: Path, rate: int, length: int) -> Floats:
    """Sequence one-shots.

    Parameters
    ----------
    notes : np.ndarray
        (n,) of `NOTE` with keys that the kit has.
    kit : dict of int to str
        Recording by key.
    data : Path
        Folder that holds the archive.
    rate, length : int
        Sample rate in Hz, and number of samples of the result.

    Returns
    -------
    np.ndarray
        (length,) float64.
    """
    sound = np.zeros(length)
    for note in notes:
        sample = one_shot(data, kit[int(note["pitch"])], rate)
        first = round(float(note["onset"]) * rate)
        room = min(len(sample), length - first)
        sound[first : first + room] += sample[:room] * (note["velocity"] / 127) ** 2
    return sound


@cache
def one_shot(data: Path, name: str, rate: int) -> Floats:
    """A recording as mono (n,) float64 from its attack on, its peak at 1."""
    content, recorded_rate = soundfile.read(io.BytesIO(_archive(data)[name]), always_2d=True)
    mono = soxr.resample(content.mean(axis=1), recorded_rate, rate)
    attack = int(np.argmax(np.abs(mono) > 0.1 * np.abs(mono).max()))
    kept = mono[attack : attack + round(LONGEST * rate)]
    fade = min(len(kept), rate // 50)
    kept[len(kept) - fade :] *= np.linspace(1, 0, fade)
    peak: float = np.abs(kept).max()
    return np.asarray(kept / peak, dtype=np.float64)


@cache
def _archive(data: Path) -> dict[str, bytes]:
    with tarfile.open(data / ARCHIVE) as tar:
        files = [member for member in tar if member.name.endswith(".flac")]
        streams = ((member.name, tar.extractfile(member)) for member in files)
        return {Path(name).stem: stream.read() for name, stream in streams if stream}
