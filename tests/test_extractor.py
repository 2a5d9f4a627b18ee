"""From audio to tokens: one grid, whatever the backend, the blocks, or the length of a track."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import vit1dx
from vit1dx._types import Array
from vit1dx.audio.mel import LogMel
from vit1dx.config import Config
from vit1dx.errors import AudioError, UsageError
from vit1dx.extractor import Extractor
from vit1dx.model.request import Attention
from vit1dx.model.vit import ViT1D, load, save
from vit1dx.model.weights import bundled, read_info
from vit1dx.tokens import CLOCKS, Track

from .synth import song

RATE = 16000
FRAMES = read_info(bundled(".onnx")).config.window.frames
WINDOW = FRAMES * 512  # samples of frames in a window, at 16 kHz
MOST = (FRAMES - 1) // 2 / 31.25  # overlap, s
GOLDEN = Path(__file__).with_name("golden_tokens.json")


@pytest.fixture(scope="module")
def onnx() -> Extractor:
    return Extractor([0, 4, 8])


@pytest.fixture(scope="module")
def pytorch() -> Extractor:
    return Extractor([0, 4, 8], backend="torch")


def _require_close(found: Track, expected: Track, atol: float = 1e-4) -> None:
    for name in CLOCKS:
        ours, theirs = (getattr(track, name) for track in (found, expected))
        if theirs is None:
            assert ours is None
        else:
            np.testing.assert_allclose(ours, theirs, atol=atol, err_msg=name)


@pytest.mark.parametrize("attention", ["class", "full"])
def test_backends_agree_on_real_music(real_audio: Path, attention: Attention) -> None:
    path = real_audio / "solo_trumpet.ogg"
    ours, theirs = (
        Extractor("all", attention=attention, backend=backend)(path)
        for backend in ("onnx", "torch")
    )
    assert ours.attention is not None
    np.testing.assert_allclose(ours.attention.sum(axis=-1), 1, atol=1e-5)
    _require_close(ours, theirs)


def test_tokens_are_the_models(pytorch: Extractor) -> None:
    """Composed by hand, for a track of two windows and a moved third."""
    samples = song(2.5 * WINDOW / RATE, RATE)
    mel = torch.from_numpy(LogMel(Config().mel).frames(samples))
    model = load(bundled(".safetensors")).eval()
    found = pytorch(samples, RATE)
    starts = [0, FRAMES, len(mel) - FRAMES]
    assert FRAMES < starts[-1] < 2 * FRAMES < len(mel)
    with torch.inference_mode():
        for window, (start, first) in enumerate(zip(starts, (0, FRAMES, 2 * FRAMES), strict=True)):
            tokens, _ = model(mel[None, start : start + FRAMES], [0, 4, 8])
            for index, layer in enumerate((0, 4, 8)):
                end = start + FRAMES
                np.testing.assert_allclose(
                    found.sequence_tokens[index, first:end],
                    tokens[layer][0, 1 + first - start :],
                    atol=1e-5,
                )
                np.testing.assert_allclose(
                    found.class_token[index, window], tokens[layer][0, 0], atol=1e-5
                )
    np.testing.assert_allclose(found.window_start * 31.25, starts)


@pytest.mark.parametrize(
    ("samples", "frames", "windows"),
    [
        (1, 1, 1),
        (1600, 4, 1),  # 0.1 s
        (WINDOW - 1024, FRAMES - 1, 1),
        (WINDOW - 512, FRAMES, 1),  # exactly a window
        (WINDOW, FRAMES + 1, 2),
        (3 * WINDOW + 5, 3 * FRAMES + 1, 4),
    ],
)
def test_lengths(onnx: Extractor, samples: int, frames: int, windows: int) -> None:
    track = onnx(song(4.0, RATE)[:1].repeat(samples), RATE)
    assert track.layers == (0, 4, 8)
    assert track.sequence_tokens.shape == (3, frames, 192)
    assert track.class_token.shape == (3, windows, 192)
    assert track.mean_token.shape == (3, 192)
    assert track.window_start.shape == (windows,)
    np.testing.assert_allclose(track.time, np.arange(frames) * 512 / RATE)
    assert track.duration == samples / RATE
    assert all(np.isfinite(v).all() for v in vars(track).values() if isinstance(v, np.ndarray))


def test_less_than_a_sample_at_our_rate_is_too_short(onnx: Extractor) -> None:
    with pytest.raises(AudioError, match="too short"):
        onnx(np.zeros(1, np.float32), 44100)


@pytest.mark.parametrize("block", [313, 4096, 10**6])
def test_block_sizes_do_not_matter(onnx: Extractor, block: int) -> None:
    samples = song(2.25 * WINDOW / RATE, 22050)[:, None]
    blocks: Iterable[Array] = [samples[i : i + block] for i in range(0, len(samples), block)]
    parts = list(onnx.stream(blocks, 22050))
    tokens = np.concatenate([part.arrays["sequence_tokens"] for part in parts], axis=1)
    np.testing.assert_allclose(tokens, onnx(samples, 22050).sequence_tokens, atol=1e-4)


def test_batches_do_not_matter(onnx: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = song(30.0, RATE)
    expected = onnx(samples, RATE)
    monkeypatch.setattr("vit1dx.extractor.BATCH_WINDOWS", {"cpu": 1})
    _require_close(onnx(samples, RATE), expected)


def test_a_file_and_its_samples_give_the_same(onnx: Extractor, songs: Path) -> None:
    path = songs / "a" / "x.wav"
    samples, rate = soundfile.read(path, dtype="float32")
    _require_close(onnx(path), onnx(samples, rate), atol=1e-6)


def test_a_cut_from_a_longer_track_gives_the_same_windows(onnx: Extractor) -> None:
    """Windows see only their own frames, so a track's start does not depend on what follows."""
    samples = song(3 * WINDOW / RATE, RATE)
    whole, start = onnx(samples, RATE), onnx(samples[: 2 * WINDOW + 2048], RATE)
    np.testing.assert_allclose(
        start.sequence_tokens[:, : 2 * FRAMES], whole.sequence_tokens[:, : 2 * FRAMES], atol=1e-4
    )


def test_overlap_gives_each_token_its_context() -> None:
    samples = song(3 * WINDOW / RATE, RATE)
    track = Extractor(4, overlap=1.0)(samples, RATE)
    context = 31  # frames of 1 s
    step = FRAMES - 2 * context
    np.testing.assert_allclose(np.diff(track.window_start * 31.25)[:-1], step)
    np.testing.assert_allclose(track.time, np.arange(3 * FRAMES + 1) / 31.25)
    # The second window's tokens are those of its frames alone, and begin where the first ends.
    alone = Extractor(4)(samples[step * 512 - 512 : step * 512 + WINDOW + 512], RATE)
    assert alone.time.shape == (FRAMES + 3,)
    first = FRAMES - context
    mel = LogMel(Config().mel).frames(samples)[None, step : step + FRAMES]
    window = Extractor(4).backend.run(mel)[0][4][0, 1 + context :][:step]
    np.testing.assert_allclose(track.sequence_tokens[0, first:][:step], window, atol=1e-4)


@pytest.mark.parametrize("overlap", [-1.0, MOST + 0.032, math.nan])
def test_overlap_that_cannot_be(overlap: float) -> None:
    with pytest.raises(UsageError, match=rf"from 0 to {MOST:.3f} s"):
        Extractor("last", overlap=overlap)


def test_channels_are_mixed(onnx: Extractor) -> None:
    left, right = (song(1.25 * WINDOW / RATE, RATE, seed) for seed in (0, 4))
    stereo = onnx(np.stack([left, right], axis=1), RATE)
    _require_close(stereo, onnx((left + right) / 2, RATE), atol=1e-3)


@pytest.mark.parametrize(
    ("samples", "rate", "reason"),
    [
        (np.zeros(100, np.float32), None, "needs its sample_rate"),
        (np.zeros(100, np.int16), RATE, "samples of int16"),
        (np.zeros((2, 100), np.float32), RATE, "transpose"),
        (np.zeros((9, 9, 9), np.float32), RATE, "shape"),
        (np.zeros(0, np.float32), RATE, "shape"),
        (np.zeros(100, np.float32), 8, "sample_rate 8 Hz"),
        (np.full(100, np.nan, np.float32), RATE, "finite"),
    ],
)
def test_arrays_that_are_no_audio(
    onnx: Extractor, samples: Array, rate: int | None, reason: str
) -> None:
    with pytest.raises((UsageError, AudioError), match=reason):
        onnx(samples, rate)


def _golden_model(path: Path) -> None:
    """Weights by a formula, so that no version of a random generator changes them."""
    model = ViT1D()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters(), start=1):
            waves = torch.arange(parameter.numel(), dtype=torch.float64).mul(index * 0.7).sin()
            gain = 1.0 if parameter.ndim == 1 else 0.05
            parameter.copy_((gain * waves).reshape(parameter.shape))
    save(model, path, "golden", trained=False)


def _golden_tokens(folder: Path) -> dict[str, list[float]]:
    _golden_model(folder / "golden.safetensors")
    soundfile.write(folder / "song.wav", song(6.0), 44100, subtype="PCM_16")
    track = Extractor([1, 6, 12], weights=folder / "golden.safetensors")(folder / "song.wav")
    return {
        f"{name} {layer}": getattr(track, name)[index].reshape(-1, 192)[::37, ::29].ravel().tolist()
        for name in ("class_token", "sequence_tokens", "mean_token")
        for index, layer in enumerate(track.layers)
    }


@pytest.mark.slow
def test_golden_tokens(tmp_path: Path) -> None:
    """A file through every stage gives the tokens stored when it was last looked into.

    ``python -m tests.test_extractor`` stores them anew.
    """
    found, expected = _golden_tokens(tmp_path), json.loads(GOLDEN.read_text())
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(found[key], values, atol=2e-4 * scale, err_msg=key)


@pytest.mark.slow
def test_extraction_needs_no_pytorch(songs: Path, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'safetensors', 'onnxscript', 'librosa', 'av'):\n"
        "    sys.modules[name] = None\n"
        "from vit1dx.cli.main import main\n"
        "main()"
    )
    arguments = ["extract", str(songs), "-o", "f.h5", "--layers", "4", "--attention", "class"]
    command = [sys.executable, "-c", script, *arguments]
    subprocess.run(command, cwd=tmp_path, check=True)
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert list(features) == ["a/x.wav", "b/x.flac"]
        assert features.attributes["backend"] == "onnx"


@pytest.mark.slow
@pytest.mark.parametrize("error", ["ImportError", "AttributeError"])
def test_pytorch_is_the_fallback(songs: Path, tmp_path: Path, error: str) -> None:
    """Where ONNX Runtime is there, and does not load: in the workers neither."""
    (tmp_path / "broken" / "onnxruntime").mkdir(parents=True)
    broken = f"raise {error}('of an older NumPy')"
    (tmp_path / "broken" / "onnxruntime" / "__init__.py").write_text(broken)
    script = "import sys; sys.path.insert(0, 'broken')\nfrom vit1dx.cli.main import main\nmain()"
    arguments = ["extract", str(songs), "-o", "f.h5", "--layers", "4"]
    command = [sys.executable, "-c", script, *arguments]
    result = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert result.stderr.count("(of an older NumPy): falling back to PyTorch") == 1
    with vit1dx.open(tmp_path / "f.h5") as features:
        assert features.attributes["backend"] == "torch"


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rounded = {
            key: [float(f"{value:.6g}") for value in values]
            for key, values in _golden_tokens(Path(folder)).items()
        }
    GOLDEN.write_text(json.dumps(rounded, indent=0) + "\n")
