"""Audio to tokens: the stages composed, for an array or for one file."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property, partial
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from ._types import Array
from .audio.checks import SignalChecks
from .audio.decode import AudioFile
from .audio.files import printable
from .audio.given import checked
from .audio.mel import LogMel
from .audio.resample import mono_at_rate
from .audio.windows import Windows, cut
from .config import Config
from .errors import AudioError, AudioWarning, TokensError, UsageError
from .model.backend import Backend, find_weights, load_backend
from .model.request import (
    Attention,
    BackendName,
    DType,
    Precision,
    Request,
    TokenKind,
    device_kind,
    parse_layers,
    parse_tokens,
    require_device,
    usual_attention,
)
from .model.weights import WeightsInfo, require_digest
from .parallel import side_by_side, usable_cores
from .pooling import Bins
from .remote import AnyPath, path_of
from .tokens import MemoryTrack, Tokens, Track, in_range, join

#: Gives memory for an array of a shape and a dtype.
Empty: TypeAlias = Callable[..., Array]

#: Windows given to the model at once, by device; on processors so few that they stay in the cache.
BATCH_WINDOWS = {"cpu": 4, "cuda": 16}


class Extractor:
    """ViT-1D over music: samples or files in, tokens out.

    Parameters
    ----------
    layers : str or int or iterable of these
        ``"all"`` (every block), ``"last"``, ``"4,8"``, ``"1-12"``, or numbers; 0 is the embedding.
    attention : {"none", "class", "full"}, optional
        Attention maps of those layers from 1 on: none, the class token's rows, or all rows. By
        default the rows; none where no sequence tokens are kept, of layer 0 alone, and of a model
        exported without maps.
    tokens : str or iterable of {"mean", "class", "sequence"}
        Kinds of tokens to keep: ``"all"``, ``"mean,class"``, or several words.
    pool : float, optional
        Average sequence tokens over so many seconds; `time` is then the centre of each bin, of
        the last one that of what is left. All else stays as it is.
    overlap : float
        Context on either side of each window, s, computed and dropped. Windows stay as long as the
        weights expect, and so come closer together.
    weights : path, optional
        A ``.onnx`` or ``.safetensors`` file, or one of the names of bundled weights,
        `vit1dx.model.weights.BUNDLED`; by default the first.
    backend : {"auto", "onnx", "openvino", "torch"}
        ONNX Runtime, where it can run the weights in the precision.
    device : {"auto", "cpu", "cuda", "cuda:N"}
    threads : int, optional
        Threads of the processor that the model uses; all usable cores by default.
    precision : {"fp32", "int8", "bf16", "fp16"}, optional
        What the model computes in; by default what the weights are in.
    weights_sha256 : str, optional
        What ``weights.sha256`` must be, so that other weights under the same name are refused.

    Attributes
    ----------
    weights : WeightsInfo
        What the weights are.
    precision : str
        What the model computes in.

    Raises
    ------
    UsageError
        If a layer, or another option, is not one of those above.
    WeightsError
        If the weights cannot be read, or are others than `weights_sha256`.
    BackendError
        If the backend cannot run the weights; when it is first used, if its library or the device
        is not there.

    Notes
    -----
    An extractor can be pickled and copied, before and after use, and called by several threads; a
    copy is made from its arguments, and refuses weights that changed meanwhile. In a forked
    process, PyTorch works in one thread, as it hangs in more, and not on CUDA devices.

    Examples
    --------
    >>> extractor = vit1dx.Extractor([4, 8])
    >>> track = extractor("song.wav")  # 3 seconds
    >>> track.sequence_tokens.shape  # layer, time, feature
    (2, 94, 192)
    >>> track.attention.shape  # layer, window, head, key
    (2, 1, 3, 95)
    >>> float(track.time[31])
    0.992
    """

    def __init__(
        self,
        layers: str | int | Iterable[str | int] = "all",
        *,
        attention: Attention | None = None,
        tokens: str | Iterable[TokenKind] = "all",
        pool: float | None = None,
        overlap: float = 0.0,
        weights: str | os.PathLike[str] | None = None,
        backend: BackendName = "auto",
        device: str = "auto",
        threads: int | None = None,
        precision: Precision | None = None,
        weights_sha256: str | None = None,
    ) -> None:
        self.weights: WeightsInfo
        self.weights, self._backend = find_weights(weights, backend, precision)
        if weights_sha256 is not None:
            require_digest(self.weights.path, weights_sha256)
        self.precision: str = precision or self.weights.precision
        self.config: Config = _with_overlap(self.weights.config, overlap)
        asked, kinds = parse_layers(layers, self.config.model), parse_tokens(tokens)
        if attention is None:
            attention = usual_attention(asked, self.weights.attention_layers, kinds)
        self.request = Request(asked, attention, kinds, pool)
        self._bins()  # which refuses bins that are too short
        require_device(device)
        self._device, self._threads, self._precision = device, threads, precision
        self._overlap = overlap

    def arguments(self) -> dict[str, Any]:
        """What makes an extractor like this one, in another process."""
        return {
            "layers": self.request.layers,
            "attention": self.request.attention,
            "tokens": self.request.tokens,
            "pool": self.request.pool,
            "overlap": self._overlap,
            "weights": os.path.abspath(self.weights.path),
            "backend": self._backend,
            "device": self._device,
            "threads": self._threads,
            "precision": self._precision,
            "weights_sha256": self.weights.sha256,
        }

    def __reduce__(self) -> tuple[Callable[[], Extractor], tuple[()]]:
        return partial(type(self), **self.arguments()), ()

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{k}={v!r}" for k, v in self.arguments().items() if k != "weights_sha256"
        )
        return f"{type(self).__name__}({arguments})"

    @cached_property
    def backend(self) -> Backend:
        """What runs the model; loaded when it is first needed."""
        options = self._device, self._threads, self.precision, self._backend
        return load_backend(self.weights, self.request, *options)

    @cached_property
    def _log_mel(self) -> LogMel:
        return LogMel(self.config.mel)

    def __call__(
        self, audio: Array | str | os.PathLike[str], sample_rate: int | None = None
    ) -> Track:
        """Extract a whole track into memory.

        Parameters
        ----------
        audio : path, or (n,) or (n, channels) array of floats in -1 to 1
        sample_rate : int
            Of the array, Hz.

        Returns
        -------
        Track
            In memory. What looked wrong with the audio is in its `warnings`, and warned of as
            `UserWarning`.

        Raises
        ------
        AudioError
            If there is no usable audio in it.
        TokensError
            If what the model gives of it is not finite.
        """
        if isinstance(audio, (str, os.PathLike)):
            return _warned(*self._of_file(path_of(audio)), f"{printable(audio)}: ")
        samples, rate = checked(audio, sample_rate)
        checks = SignalChecks(rate)
        track = self._joined(self.stream(checks.watch([samples]), rate), len(samples) / rate)
        return _warned(track, checks.warnings())

    def _joined(self, batches: Iterable[Tokens], duration: float) -> MemoryTrack:
        track = join(batches, duration, "mean" in self.request.tokens)
        model = self.weights.sha256, self.weights.exported_from
        return dataclasses.replace(track, pool=self.request.pool, model=tuple(filter(None, model)))

    def _of_file(self, path: AnyPath) -> tuple[MemoryTrack, list[AudioWarning]]:
        try:
            with AudioFile(path) as file:
                checks = SignalChecks(file.sample_rate)
                tokens = list(self.stream(checks.watch(file.blocks()), file.sample_rate))
                return self._joined(tokens, file.duration), [*file.warnings, *checks.warnings()]
        except (AudioError, TokensError) as error:
            raise type(error)(f"{printable(path)}: {error}") from error

    def stream(
        self,
        blocks: Iterable[Array],
        sample_rate: int,
        dtype: DType = "float32",
        empty: Empty = np.empty,
    ) -> Generator[Tokens, None, None]:
        """Extract a track that comes in blocks, with bounded memory.

        Parameters
        ----------
        blocks : iterable of (n, channels) float32 arrays
        sample_rate : int
            Hz.
        dtype : {"float32", "float16"}
            Of tokens and attention.
        empty : callable
            Gives memory for arrays, of a shape and a dtype, to threads side by side.

        Yields
        ------
        Tokens
            Of some consecutive windows at a time; together, of the track. Whether they are finite
            is for the caller to check, as `join` does.

        Raises
        ------
        AudioError
            If there are no samples.
        TokensError
            If they are beyond the range of `dtype`.
        """
        yield from self.of_frames(self.frames(blocks, sample_rate), dtype, empty)

    def frames(self, blocks: Iterable[Array], sample_rate: int) -> Iterator[Array]:
        """Log-mel frames of a track that comes in blocks: (n, n_mels) float32 arrays.

        Raises
        ------
        AudioError
            If there are no samples.
        """
        mono = _never_empty(mono_at_rate(blocks, sample_rate, self.config.mel.sample_rate))
        return self._log_mel.stream(mono)

    def of_frames(
        self,
        frames: Iterable[Array],
        dtype: DType = "float32",
        empty: Empty = np.empty,
        first: int = 0,
        start: Fraction = Fraction(0),
    ) -> Generator[Tokens, None, None]:
        """Extract frames that come in blocks; see `stream`.

        Parameters
        ----------
        frames : iterable of (n, n_mels) float32 arrays
            None gives no tokens.
        dtype, empty
            See `stream`.
        first : int
            The number of the first one, by which the times are.
        start : Fraction
            Where bins that tokens are averaged over begin, s.
        """
        frames = iter(frames)
        head = next(frames, None)
        if head is None:
            return
        frames = chain([head], frames)
        batches = cut(frames, self.config.window, BATCH_WINDOWS[device_kind(self.backend.device)])
        tokens = partial(self._tokens, dtype=dtype, empty=empty, offset=first)
        found = side_by_side(tokens, batches, self._side_by_side)
        bins = self._bins(start)
        yield from found if bins is None else _pooled(found, bins, first, dtype)

    @cached_property
    def _side_by_side(self) -> int:
        """Threads that run the model at once; PyTorch and graphics processors have their own."""
        if self.backend.name == "torch" or self.backend.device != "cpu":
            return 1
        return self._threads or usable_cores()

    def _tokens(self, windows: Windows, dtype: DType, empty: Empty, offset: int) -> Tokens:
        tokens, attention = self.backend.run(windows.mel)
        layers, frame_rate = self.request.layers, self.config.mel.frame_rate
        first, end = int(windows.keep[0, 0]), int(windows.keep[-1, 1])
        shape = (len(layers), end - first, self.config.model.dim)
        is_kept, is_pooled = "sequence" in self.request.tokens, self.request.pool is not None
        # What is pooled is converted, and finds its place, afterwards.
        room = np.empty if is_pooled or not is_kept else empty
        laid = room(shape if is_kept else (0,), np.dtype("float32" if is_pooled else dtype))
        total = np.empty((len(layers), self.config.model.dim))
        with in_range(dtype, [*tokens.values(), *attention.values()]):
            # Each number is summed, converted and laid in its place while it is in the cache.
            for row, layer in enumerate(layers):
                parts = windows.kept(tokens[layer][:, 1:])
                total[row] = tokens[layer][:, 0].sum(axis=0)
                for part in parts:
                    total[row] += part.sum(axis=0)
                if is_kept:
                    _lay(parts, laid[row])
            arrays = {
                "time": (offset + np.arange(first, end)) / frame_rate,
                "window_start": (offset + windows.start) / frame_rate,
                "sequence_tokens": laid,
            }
            room_for = partial(empty, dtype=np.dtype(dtype))
            if "class" in self.request.tokens:
                arrays["class_token"] = _stacked([tokens[k][:, 0] for k in layers], room_for)
            if attention:
                arrays["attention"] = _stacked([*attention.values()], room_for)
        return Tokens(
            layers=layers,
            arrays={name: arrays[name] for name in self.request.arrays},
            total=total,
            count=len(windows.start) + end - first,
            end=(offset + end - 1) / frame_rate,
        )

    def _bins(self, start: Fraction = Fraction(0)) -> Bins | None:
        """What averages a track's sequence tokens, if anything does."""
        pool = self.request.pool
        return None if pool is None else Bins(pool, self.config.mel.exact_frame_rate, start)


def _lay(parts: Iterable[Array], out: Array) -> None:
    """Copy arrays one behind the other; quicker than `np.concatenate` where it converts."""
    at = 0
    for part in parts:
        out[at : at + len(part)] = part
        at += len(part)


def _stacked(arrays: Sequence[Array], empty: Empty) -> Array:
    """Arrays of one shape as one array, in memory that `empty` gives."""
    out = empty((len(arrays), *arrays[0].shape))
    for place, array in zip(out, arrays, strict=True):
        place[...] = array
    return out


def _pooled(batches: Iterable[Tokens], bins: Bins, frame: int, dtype: DType) -> Iterator[Tokens]:
    """Batches with bins' means in place of sequence tokens, of the bins that are full by then."""
    last = None
    for last in batches:
        tokens = last.arrays["sequence_tokens"]
        yield _with_sequence(last, *bins.add(tokens, frame), dtype)
        frame += tokens.shape[1]
    if last is not None:
        rest = dataclasses.replace(last, arrays={}, total=np.zeros_like(last.total), count=0)
        yield _with_sequence(rest, *bins.end(), dtype)


def _with_sequence(tokens: Tokens, sequence: Array, time: Array, dtype: DType) -> Tokens:
    with in_range(dtype, [sequence]):
        arrays = {"sequence_tokens": sequence.astype(dtype, copy=False), "time": time}
    return dataclasses.replace(tokens, arrays={**tokens.arrays, **arrays})


def _warned(track: MemoryTrack, found: Sequence[AudioWarning], name: str = "") -> MemoryTrack:
    """A track with what looked wrong, of which the caller is warned."""
    for warning in found:
        warnings.warn(name + warning.text, UserWarning, stacklevel=3)
    return dataclasses.replace(track, warnings=tuple(found))


def _with_overlap(config: Config, seconds: float) -> Config:
    most = (config.window.frames - 1) // 2
    if not 0 <= seconds * config.mel.frame_rate <= most:
        raise UsageError(
            f"overlap {seconds} s; with windows of {config.window.frames} frames it must be "
            f"from 0 to {most / config.mel.frame_rate:.3f} s"
        )
    overlap = round(seconds * config.mel.frame_rate)
    return dataclasses.replace(config, window=dataclasses.replace(config.window, overlap=overlap))


def _never_empty(blocks: Iterable[Array]) -> Iterator[Array]:
    """Pass samples on, and raise if there were none: resampling can leave nothing of a few."""
    samples = 0
    for block in blocks:
        samples += len(block)
        yield block
    if not samples:
        raise AudioError("too short: less than one sample is left at the model's rate")
