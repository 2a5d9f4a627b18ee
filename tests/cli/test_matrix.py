"""Every pair of options: what can run gives the reference's tokens, what cannot is refused."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import vit1dx
from vit1dx._types import Array
from vit1dx.config import Config, MelConfig, ModelConfig, WindowConfig
from vit1dx.errors import UsageError, Vit1dxError
from vit1dx.extractor import Extractor
from vit1dx.model.backend import BackendInfo
from vit1dx.model.export import export
from vit1dx.model.request import Attention, parse_tokens
from vit1dx.model.vit import ViT1D, save
from vit1dx.processor import multiplies_bf16
from vit1dx.run.worker import extract_file
from vit1dx.store.format import Header
from vit1dx.store.shards import FolderWriter
from vit1dx.store.track import TokenBuffer
from vit1dx.store.verify import verify
from vit1dx.store.writer import FeatureWriter, Output
from vit1dx.tokens import Track

from ..conftest import RunCli
from ..covering import Row, covering, pairs
from ..synth import song

#: A small model, whose windows are short.
SMALL = Config(
    mel=MelConfig(n_mels=16),
    model=ModelConfig(depth=2, dim=16, heads=2),
    window=WindowConfig(frames=25),
)
SECONDS, RATE = 3.0, 16000
LAYERS = {"all": (1, 2), "last": (2,), "1": (1,), "0": (0,), "0,2": (0, 2)}
ATTENTIONS: tuple[Attention, ...] = ("none", "class", "full")
#: Exports: of all layers, or of 0 and 2, with each kind of attention, in each precision; and few of
#: them, for each takes seconds.
EXPORTS = [
    f"{layers} {attention} {precision}"
    for layers, (attention, precision) in product(
        ("0-2", "0,2"), product(reversed(ATTENTIONS), ("fp32", "int8"))
    )
]
FEW_EXPORTS = ["0-2 full fp32", "0-2 none fp32", "0,2 class int8"]
OPTIONS = {
    "precision": (None, "fp32", "int8", "bf16", "fp16"),
    "layers": tuple(LAYERS),
    "attention": (None, *ATTENTIONS),
    "tokens": ("all", "mean", "class", "sequence"),
    "pool": (None, 0.5),
    "overlap": (0.0, 0.2),
    "backend": ("auto", "onnx", "openvino", "torch"),
    "dtype": ("float32", "float16"),
    "output": ("f.h5", "f/"),
}
#: By precision, the least cosine similarity of a token with the reference's, and the most that an
#: attention weight may differ from its. The bundled model's differ by up to 0.074 and 0.018.
TOLERANCES = {"fp32": (0.999999, 1e-5), "int8": (0.99, 0.1), "bf16": (0.999, 0.03)}
#: What computes in bf16: OpenVINO only on a processor that multiplies bfloat16.
OPENVINO = {"openvino"} if find_spec("openvino") else set()
BF16 = {"torch", *OPENVINO} if multiplies_bf16() else {"torch"}
#: The array of each kind of tokens.
ARRAYS = {"mean": "mean_token", "class": "class_token", "sequence": "sequence_tokens"}
#: What float16 adds to a number's error, relatively.
HALF = 1e-3


def runs(row: Row) -> bool:
    """Whether what is asked for can be computed, on a processor."""
    weights, precision = row["weights"], row["precision"]
    able = {"int8": {"onnx"}, "bf16": BF16}.get(precision, {"onnx", "torch", *OPENVINO})
    if weights == "safetensors":
        able = able & {"torch"}
    elif weights != "bundled":
        able = able & ({"onnx"} if weights.endswith("int8") else {"onnx", *OPENVINO})
    return (
        precision != "fp16"
        and (row["pool"] is None or row["tokens"] == "all" or "sequence" in row["tokens"])
        and row["backend"] in ({"auto"} | able if able else ())
        and (row["layers"] != "0" or row["attention"] in ("none", None))
        and (weights in ("safetensors", "bundled") or _gives(weights, row))
    )


def _gives(exported: str, row: Row) -> bool:
    layers, attention, precision = exported.split()
    return (
        (layers == "0-2" or {0, 2}.issuperset(LAYERS[row["layers"]]))
        and ATTENTIONS.index(row["attention"] or "none") <= ATTENTIONS.index(attention)
        and (precision == "fp32" or row["precision"] in (None, "int8"))
    )


FACTORS = {"weights": ("safetensors", *FEW_EXPORTS), **OPTIONS}
ALL_FACTORS = {"weights": ("safetensors", *EXPORTS), **OPTIONS}
ROWS, REFUSED = covering(FACTORS, runs)


def _id(row: Row) -> str:
    return " ".join(map(str, row.values())).replace("/", "")


def kept(row: Row) -> Attention:
    """The attention that a row's file holds."""
    has_maps = row["layers"] != "0" and " none " not in row["weights"]
    has_sequence = "sequence" in parse_tokens(row["tokens"])
    return row["attention"] or ("class" if has_maps and has_sequence else "none")


class Small:
    """A small model, a song, and what one gives of the other."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.audio = folder, folder / "song.wav"
        soundfile.write(self.audio, song(SECONDS, RATE), RATE)
        torch.manual_seed(0)
        model = ViT1D(SMALL)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        save(model, folder / "small.safetensors", "small", trained=False)

    def weights(self, kind: str) -> Path:
        """The model's file by the name of its kind, exported when it is first asked for."""
        path = self._folder / "small.safetensors"
        exported = self._folder / f"{kind}.onnx"
        if kind == "safetensors":
            return path
        if not exported.exists():
            layers, attention, precision = kind.split()
            export(path, exported, {"0-2": [0, 1, 2], "0,2": [0, 2]}[layers], attention, precision)
        return exported

    @cache  # noqa: B019  # there is one, and it lives as long
    def reference(self, overlap: float, pool: float | None) -> list[Track]:
        """What PyTorch gives in float32: of layer 0, and of 1 and 2 with their maps."""
        path = self.weights("safetensors")
        asked: list[tuple[Any, Attention]] = [(0, "none"), ([1, 2], "full")]
        return [
            Extractor(layers, attention=attention, weights=path, overlap=overlap, pool=pool)(
                self.audio
            )
            for layers, attention in asked
        ]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small(tmp_path_factory.mktemp("small"))


def _extractor(row: Row, path: Path) -> Extractor:
    names = ("layers", "attention", "tokens", "pool", "overlap", "backend", "precision")
    return Extractor(**{name: row[name] for name in names}, weights=path, device="cpu")


def _write(row: Row, extractor: Extractor, audio: Path, output: Path) -> None:
    backend = BackendInfo(extractor.backend.name, extractor.backend.version, "cpu")
    of = extractor.weights, extractor.config, extractor.request
    header = Header(*of, row["dtype"], backend, extractor.precision)
    is_folder = row["output"].endswith("/")
    writer: Output
    if is_folder:
        output.mkdir()
        writer = FolderWriter(output, header, 1 << 30)
    else:
        writer = FeatureWriter(output, header)
    with writer:
        keep_mean = "mean" in extractor.request.tokens
        track = TokenBuffer(writer.begin(audio.name, 0), row["dtype"], keep_mean)
        extract_file(extractor, audio, track)
        track.finish()


def _require_near(found: Track, layer: int, expected: Track, row: Row, precision: str) -> None:
    """One layer of a track in a file is the reference's."""
    index = expected.layers.index(layer)
    cosine, difference = TOLERANCES[precision]
    half = HALF if row["dtype"] == "float16" else 0.0
    kinds = parse_tokens(row["tokens"])
    for kind, name in ARRAYS.items():
        if kind not in kinds:
            with pytest.raises(UsageError, match=f"no {name} was kept; extract with --tokens"):
                found.read(name)
            continue
        tokens: Array = found.read(name, layer=layer)
        theirs = getattr(expected, name)[index]
        assert (tokens.dtype.name, tokens.shape) == (row["dtype"], theirs.shape)
        assert np.isfinite(tokens).all()
        products = (tokens.astype(np.float64) * theirs).sum(-1)
        norms = np.linalg.norm(tokens.astype(np.float64), axis=-1) * np.linalg.norm(theirs, axis=-1)
        assert (products / norms).min() >= cosine - half**2
    if layer and kept(row) != "none":
        weights = found.read("attention", layer=layer)
        theirs = expected.read("attention", layer=layer)
        if kept(row) == "class" and theirs.ndim == 4:
            theirs = theirs[:, :, 0]
        assert weights.shape == theirs.shape
        np.testing.assert_allclose(weights.sum(-1, dtype=np.float64), 1, atol=1e-5 + 2 * half)
        np.testing.assert_allclose(weights, theirs, atol=difference + half)


@pytest.mark.parametrize("factors", [FACTORS, ALL_FACTORS], ids=["few exports", "all exports"])
def test_every_pair_of_options_runs_or_is_refused(factors: dict[str, tuple[Any, ...]]) -> None:
    rows, refused = covering(factors, runs)
    sizes = [len(values) for values in factors.values()]
    count = sum(a * b for a, b in combinations(sizes, 2))
    assert len({pair for row in rows for pair in pairs(row)}) + len(refused) == count
    assert all(map(runs, rows))
    assert not any(map(runs, refused))


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_what_runs_gives_the_references_tokens(row: Row, small: Small, tmp_path: Path) -> None:
    _require_run(row, small, tmp_path)


@pytest.mark.parametrize("row", REFUSED, ids=_id)
def test_what_cannot_run_is_refused_in_a_line(row: Row, small: Small) -> None:
    _require_refusal(row, small)


@pytest.mark.long
def test_every_pair_with_every_export(small: Small, tmp_path: Path) -> None:
    rows, refused = covering(ALL_FACTORS, runs)
    for number, row in enumerate(rows):
        (tmp_path / str(number)).mkdir()
        _require_run(row, small, tmp_path / str(number))
    for row in refused:
        _require_refusal(row, small)


def _require_run(row: Row, small: Small, folder: Path) -> None:
    extractor = _extractor(row, small.weights(row["weights"]))
    output = folder / row["output"]
    _write(row, extractor, small.audio, output)
    assert not verify(output).problems, row
    embedding, blocks = small.reference(row["overlap"], row["pool"])
    with vit1dx.open(output) as features:
        assert features.attributes["precision"] == extractor.precision
        assert features.layers == LAYERS[row["layers"]]
        track = features[small.audio.name]
        assert features.config["request"]["attention"] == kept(row)
        assert (track.attention is None) == (kept(row) == "none")
        for layer in features.layers:
            _require_near(track, layer, blocks if layer else embedding, row, extractor.precision)


def _require_refusal(row: Row, small: Small) -> None:
    path = small.weights(row["weights"])
    with pytest.raises(Vit1dxError, match=r"\A[^\n]{10,}\Z"):
        _ = _extractor(row, path).backend


BUNDLED = {"weights": ("bundled",), **OPTIONS, "layers": ("last", "4,8", "0", "0,12")}


@pytest.mark.long
def test_every_pair_on_the_command_line(cli: RunCli, songs: Path, tmp_path: Path) -> None:
    """With the bundled weights, and worker processes."""
    rows, refused = covering(BUNDLED, runs)
    for number, row in enumerate(rows + refused):
        given = {name: row[name] for name in OPTIONS if row[name] is not None}
        output = f"{number}-{given.pop('output')}"
        options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        done = cli("extract", songs, "-o", output, "--device", "cpu", "--json", *options)
        if number >= len(rows):
            assert done.returncode == 2, row
            assert done.stderr.startswith("vit1dx: "), row
            assert done.stderr.count("\n") == 1, row
            continue
        assert done.returncode == 0, (row, done.stderr)
        assert json.loads(done.stdout)["done"] == 2
        assert cli("verify", output).returncode == 0
        with vit1dx.open(tmp_path / output) as features:
            track = features["a/x.wav"]
            assert features.config["request"]["attention"] == kept(row)
            extractor = Extractor(
                features.layers, attention=kept(row), overlap=row["overlap"], pool=row["pool"]
            )
            expected = extractor(songs / "a" / "x.wav")
            for layer in features.layers:
                _require_near(track, layer, expected, row, features.attributes["precision"])
