"""ViT-1D: a transformer with one token per mel-spectrogram frame.

After Kong et al., "Emergent musical properties of a transformer under contrastive self-supervised
learning", ISMIR 2025 (arXiv 2506.23873). Parameters are named as in timm's `VisionTransformer`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Config, ModelConfig
from ..errors import WeightsError
from ..whole import whole
from .weights import read_info

LAYER_NORM_EPSILON = 1e-6
INIT_STD = 0.02


def sinusoidal_positions(places: Tensor, dim: int) -> Tensor:
    """Sine and cosine positions, (..., dim) float32, of frames at `places` (...) in their window.

    After Vaswani et al., 2017, with all the sines in the first half of the features.
    """
    half = dim // 2
    exponent = torch.arange(half, device=places.device, dtype=torch.float32) / half
    angle = places.float()[..., None] * torch.exp(-math.log(10000.0) * exponent)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class PatchEmbed(nn.Module):
    """Projection of one-frame patches: (batch, time, n_mels) to (batch, time, dim)."""

    def __init__(self, n_mels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(n_mels, dim)

    def forward(self, mel: Tensor) -> Tensor:
        return self.proj(mel)


class Attention(nn.Module):
    """Multi-head self-attention, queries, keys and values in one linear layer."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        """Attend over (batch, token, dim); the weights are (batch, head, query, key) or None."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = None
        if need_weights:
            # Scaled before the product, so that the graph divides `tokens * dim` numbers.
            scores = (q * (dim // self.heads) ** -0.5) @ k.transpose(-2, -1)
            weights = scores.float().softmax(dim=-1)  # in bfloat16, rows would not sum to 1
            y = weights.to(v.dtype) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(batch, tokens, dim)), weights


class Mlp(nn.Module):
    """The feed-forward half of a block, with exact GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPSILON)
        self.attn = Attention(config.dim, config.heads)
        self.norm2 = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPSILON)
        self.mlp = Mlp(config.dim, config.hidden)

    def forward(self, x: Tensor, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        y, weights = self.attn(self.norm1(x), need_weights)
        x = x + y
        return x + self.mlp(self.norm2(x)), weights


class ViT1D(nn.Module):
    """The encoder: mel frames to the tokens and attention maps of any layer.

    Parameters
    ----------
    config : Config
        Sizes; the default is ViT-Tiny's, about 5.4 million parameters.
    """

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self.config = config or Config()
        model = self.config.model
        self.patch_embed = PatchEmbed(self.config.mel.n_mels, model.dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, model.dim))
        self.blocks = nn.ModuleList(Block(model) for _ in range(model.depth))
        # The final norm belongs to the class token that training sees; layers are given without it.
        self.norm = nn.LayerNorm(model.dim, eps=LAYER_NORM_EPSILON)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.cls_token, std=INIT_STD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                nn.init.zeros_(module.bias)
        # As large as the positions, which otherwise drown what is heard; so does MAE (He et al.,
        # CVPR 2022), whose positions are sinusoidal too.
        nn.init.xavier_uniform_(self.patch_embed.proj.weight)

    def embed(self, mel: Tensor, places: Tensor | None = None) -> Tensor:
        """Layer 0: (batch, time, n_mels) to (batch, 1 + time, dim), the class token first.

        `places` (batch, time) are those of the frames in their windows; all in turn by default.
        """
        if places is None:
            places = torch.arange(mel.shape[1], device=mel.device)
        # Of the parameters' type, and so is the residual stream, whatever autocast computes in.
        positions = sinusoidal_positions(places, self.cls_token.shape[2]).to(self.cls_token.dtype)
        x = self.patch_embed(mel) + positions
        return torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)

    def forward(
        self, mel: Tensor, layers: Iterable[int], attentions: Iterable[int] = ()
    ) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Run as deep as asked for, and no deeper.

        Parameters
        ----------
        mel : (batch, time, n_mels) tensor
            Log-mel frames as `vit1dx.audio.mel` makes them.
        layers : iterable of int
            Layers to return; 0 is the embedding, k the raw residual stream after block k.
        attentions : iterable of int
            Blocks, from 1, whose attention maps to return.

        Returns
        -------
        tokens : dict of (batch, 1 + time, dim) tensors, by layer; token 0 is the class token
        attention : dict of (batch, head, query, key) tensors, by block
        """
        wanted, mapped = set(layers), set(attentions)
        x = self.embed(mel)
        tokens, maps = {0: x}, {}
        for index, block in enumerate(self.blocks, start=1):
            if index > max(wanted | mapped):
                break
            x, weights = block(x, need_weights=index in mapped)
            tokens[index] = x
            if weights is not None:
                maps[index] = weights
        return {layer: tokens[layer] for layer in tokens if layer in wanted}, maps


def load(path: str | os.PathLike[str]) -> ViT1D:
    """Load weights from a safetensors file that carries its config.

    Patch projections that are stored as timm's convolution over (n_mels, 1) patches are taken too.

    Raises
    ------
    WeightsError
        If the file cannot be read, or its tensors are not those of its config.
    """
    info = read_info(path)
    try:
        state = load_file(info.path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file: {error}") from None
    if info.config.model.matrix_values > info.path.stat().st_size:
        raise WeightsError(f"{path} is too small to hold the weights of its config")
    model = ViT1D(info.config)
    projection = "patch_embed.proj.weight"
    if projection in state and state[projection].ndim == 4:
        state[projection] = state[projection].flatten(1)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reasons = " ".join(str(error).split())
        raise WeightsError(f"{path} does not hold the weights of its config: {reasons}") from None
    return model


def save(
    model: ViT1D,
    path: str | os.PathLike[str],
    name: str,
    trained: bool,
    dtype: torch.dtype = torch.float32,
    **more: str,
) -> None:
    """Write weights as safetensors, whole or not at all.

    Parameters
    ----------
    model : ViT1D
        Its config goes into the metadata.
    path : path
    name : str
        What the weights are called.
    trained : bool
        False for random weights.
    dtype : torch.dtype
        What they are kept as; they are computed with as float32.
    **more : str
        What else the metadata is to say.
    """
    metadata = {
        "config": model.config.to_json(),
        "name": name,
        "trained": str(trained).lower(),
        **more,
    }
    state = {
        key: value.detach().cpu().to(dtype).contiguous()
        for key, value in model.state_dict().items()
    }
    with whole(Path(path)) as unfinished:
        save_file(state, unfinished, metadata)
        unfinished.chmod(0o666 & ~_umask())  # safetensors makes files that others may not read


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
