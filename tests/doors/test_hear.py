"""The rules of HEAR's common API, as its validator and its page state them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vit1dx.errors import UsageError

from ..synth import song

torch = pytest.importorskip("torch")
from vit1dx.doors import hear  # noqa: E402

RATES = (16000, 22050, 44100, 48000)


@pytest.fixture(scope="module")
def model() -> hear.HearModel:
    """The bundled weights."""
    return hear.load_model()


def _noise(sounds: int, seconds: float) -> Any:
    torch.manual_seed(0)
    return torch.rand(sounds, int(seconds * 16000)) * 2 - 1


def test_the_model(model: hear.HearModel) -> None:
    assert isinstance(model, torch.nn.Module)
    assert model.sample_rate in RATES
    assert type(model.scene_embedding_size) is type(model.timestamp_embedding_size) is int
    model.to("cpu")
    assert (
        hear.load_model(str(model.extractor.weights.path), layers=[4]).scene_embedding_size == 192
    )


@pytest.mark.parametrize("seconds", [0.01, 1.07, 1.98, 4.0, 9.7])
def test_timestamp_embeddings(model: hear.HearModel, seconds: float) -> None:
    audio = _noise(2, seconds)
    embeddings, time = hear.get_timestamp_embeddings(audio, model)
    assert embeddings.dtype == time.dtype == torch.float32
    assert embeddings.shape == (2, time.shape[1], model.timestamp_embedding_size)
    assert time.shape[0] == 2
    assert not embeddings.requires_grad
    assert embeddings.isfinite().all()
    assert time[0, 0] == 0
    assert time.max() <= 1000 * seconds
    if seconds > 1:
        steps = time.diff()
        assert steps.min() > 0
        assert steps.max() <= 50
        assert (steps - steps.mean()).abs().max() < 1
        assert time.max() > 1000 * seconds - steps.mean()
    torch.testing.assert_close(audio, _noise(2, seconds), rtol=0, atol=0)  # left as it was


def test_scene_embeddings(model: hear.HearModel) -> None:
    embeddings = hear.get_scene_embeddings(_noise(4, 2.74), model)
    assert embeddings.dtype == torch.float32
    assert embeddings.shape == (4, model.scene_embedding_size)
    torch.testing.assert_close(model(_noise(4, 2.74)), embeddings, rtol=0, atol=0)


def test_sounds_of_a_batch_do_not_meet(model: hear.HearModel) -> None:
    batch = torch.stack([_noise(1, 3.0)[0], torch.zeros(48000), torch.from_numpy(song(3, 16000))])
    batch = batch.float()
    scenes = hear.get_scene_embeddings(batch, model)
    frames, _ = hear.get_timestamp_embeddings(batch, model)
    for n in range(3):
        alone = batch[n : n + 1]
        torch.testing.assert_close(hear.get_scene_embeddings(alone, model)[0], scenes[n])
        torch.testing.assert_close(hear.get_timestamp_embeddings(alone, model)[0][0], frames[n])


def test_the_numbers_are_the_extractors(model: hear.HearModel) -> None:
    samples = song(6, 16000).astype(np.float32)
    track = model.extractor(samples, 16000)
    frames, time = hear.get_timestamp_embeddings(torch.from_numpy(samples)[None], model)
    np.testing.assert_array_equal(frames[0, :, 192:384], track.sequence_tokens[1])
    np.testing.assert_allclose(time[0], 1000 * track.time, rtol=1e-6)
    # A frame is centred on its time: a click at 2 s changes the frames around it most.
    clicked = samples.copy()
    clicked[32000:32032] += 0.5
    early = hear.load_model(layers=[0])
    (before, _), (after, _) = (
        hear.get_timestamp_embeddings(torch.from_numpy(x)[None], early) for x in (samples, clicked)
    )
    changed = (after - before)[0].norm(dim=1)
    assert abs(float(time[0, changed.argmax()]) - 2000) <= 32


def test_what_is_no_batch(model: hear.HearModel) -> None:
    for wrong in (torch.zeros(16000), torch.zeros(1, 0), torch.zeros(1, 1, 5)):
        with pytest.raises(UsageError, match=r"\(sound, sample\) is needed"):
            hear.get_scene_embeddings(wrong, model)
