"""The network in training: frames to the class token after the last block, to what is compared."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from ..model.vit import Block, ViT1D

HEAD_HIDDEN, HEAD_OUT = 512, 128


class Contrast(nn.Module):
    """Encoder and projection heads: frames to what NT-Xent compares.

    Parameters
    ----------
    encoder : ViT1D
    own_heads : bool
        Whether aligned pairs have a projection head of their own.
    """

    def __init__(self, encoder: ViT1D, own_heads: bool = True) -> None:
        super().__init__()
        self.encoder, self.own_heads = encoder, own_heads
        dim = encoder.config.model.dim
        # Both are there in any case, so that a run can go on with another mix.
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, HEAD_HIDDEN), nn.GELU(), nn.Linear(HEAD_HIDDEN, HEAD_OUT))
            for _ in range(2)
        )

    def forward(self, mel: Tensor, kept: Tensor | None = None, aligned: bool = False) -> Tensor:
        """Project class tokens.

        Parameters
        ----------
        mel : (n, kept, n_mels) tensor
        kept : (n, kept) int64 tensor, optional
            Places of the frames in their segments, in any order; all in turn by default.
        aligned : bool
            Whether they are of aligned pairs.

        Returns
        -------
        (n, HEAD_OUT) tensor
        """
        head = self.heads[1 if aligned and self.own_heads else 0]
        return head(self._class_token(mel, kept))

    def _class_token(self, mel: Tensor, kept: Tensor | None) -> Tensor:
        x = self.encoder.embed(mel, kept)
        # On processors PyTorch's fused attention is the slower one at these lengths, and asking
        # for the maps goes round it: 1.6 times as many segments a second.
        mapped = mel.device.type == "cpu"
        *blocks, last = cast("list[Block]", list(self.encoder.blocks))
        for block in blocks:
            x, _ = block(x, need_weights=mapped)
        return self.encoder.norm(class_token_after(last, x))


def class_token_after(block: Block, x: Tensor) -> Tensor:
    """What a block makes of token 0 alone, (n, dim) of (n, tokens, dim): a sixth of its work."""
    attention, y = block.attn, block.norm1(x)
    (n, _, dim), heads = x.shape, attention.heads
    weight, bias = attention.qkv.weight, attention.qkv.bias
    q = F.linear(y[:, :1], weight[:dim], bias[:dim])
    k, v = F.linear(y, weight[dim:], bias[dim:]).chunk(2, dim=2)
    q, k, v = (z.reshape(n, -1, heads, dim // heads).transpose(1, 2) for z in (q, k, v))
    attended = F.scaled_dot_product_attention(q, k, v).reshape(n, dim)
    token = x[:, 0] + attention.proj(attended)
    return token + block.mlp(block.norm2(token))
