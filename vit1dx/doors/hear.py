"""The common API of HEAR, the Holistic Evaluation of Audio Representations.

Turian et al., *HEAR: Holistic Evaluation of Audio Representations*, PMLR 176, 2022; the rules:
https://hearbenchmark.com/hear-api.html. Whatever takes a HEAR module takes ``vit1dx.doors.hear``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from .._types import Array
from ..errors import UsageError
from ..extractor import Extractor
from ..model.request import Precision
from ..tokens import join

#: What the embeddings are made of by default: an early, a middle and a late layer.
LAYERS = (2, 6, 10)


class HearModel(torch.nn.Module):
    """An extractor as HEAR wants a model.

    Attributes
    ----------
    sample_rate : int
        Of the audio that it takes, Hz.
    scene_embedding_size, timestamp_embedding_size : int
        Features of all layers, one after the other.
    """

    def __init__(self, extractor: Extractor) -> None:
        super().__init__()
        self.extractor = extractor
        size = len(extractor.request.layers) * extractor.config.model.dim
        self.sample_rate: int = extractor.config.mel.sample_rate
        self.scene_embedding_size: int = size
        self.timestamp_embedding_size: int = size

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """See `get_scene_embeddings`."""
        return get_scene_embeddings(audio, self)


def load_model(
    model_file_path: str = "",
    layers: str | int | Iterable[str | int] = LAYERS,
    precision: Precision | None = None,
) -> HearModel:
    """Load a model.

    Parameters
    ----------
    model_file_path : str
        A weights or ONNX file, or the name of bundled weights; by default the bundled ones.
    layers : str or int or iterable of these
        Whose tokens make an embedding, one after the other; see `vit1dx.Extractor`.
    precision : {"fp32", "int8", "bf16", "fp16"}, optional

    Returns
    -------
    HearModel
        It computes where ONNX Runtime does, and gives embeddings where the audio is.
    """
    weights = model_file_path or None
    return HearModel(Extractor(layers, attention="none", weights=weights, precision=precision))


def get_timestamp_embeddings(
    audio: torch.Tensor, model: HearModel
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequence tokens.

    Parameters
    ----------
    audio : (sound, sample) float tensor, -1 to 1, at `model.sample_rate`
    model : HearModel

    Returns
    -------
    (sound, time, feature) float32 tensor
    (sound, time) float32 tensor
        The centre of each frame, ms.

    Raises
    ------
    UsageError
        If the audio is no batch of sounds.
    """
    sounds = [_tokens(sound, model) for sound in _sounds(audio)]
    embeddings = np.stack([_flat(sequence) for sequence, _, _ in sounds])
    time = np.stack([1000 * instants for *_, instants in sounds])
    return _tensor(embeddings, audio), _tensor(time, audio)


def get_scene_embeddings(audio: torch.Tensor, model: HearModel) -> torch.Tensor:
    """Mean tokens: the mean over class and sequence tokens of each layer.

    Parameters
    ----------
    audio : (sound, sample) float tensor, -1 to 1, at `model.sample_rate`
    model : HearModel

    Returns
    -------
    (sound, feature) float32 tensor

    Raises
    ------
    UsageError
        If the audio is no batch of sounds.
    """
    means = [mean.ravel() for _, mean, _ in (_tokens(sound, model) for sound in _sounds(audio))]
    return _tensor(np.stack(means), audio)


def _sounds(audio: torch.Tensor) -> Array:
    if audio.ndim != 2 or not audio.numel():
        raise UsageError(f"audio of shape {tuple(audio.shape)}; (sound, sample) is needed")
    return audio.detach().cpu().numpy().astype(np.float32, copy=False)


def _tokens(sound: Array, model: HearModel) -> tuple[Array, Array, Array]:
    """Sequence tokens, mean token and times of one sound, whatever the others of its batch are."""
    rate = model.sample_rate
    track = join(model.extractor.stream([sound[:, None]], rate), len(sound) / rate)
    return track.sequence_tokens, track.mean_token, track.time


def _flat(tokens: Array) -> Array:
    """(layer, time, feature) to (time, feature of all layers)."""
    return tokens.swapaxes(0, 1).reshape(tokens.shape[1], -1)


def _tensor(values: Array, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(like.device)
