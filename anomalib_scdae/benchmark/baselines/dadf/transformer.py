# SPDX-License-Identifier: Apache-2.0
"""The dual-attention transformer: every feature is reconstructed from its own image twice, by other questions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_scdae.errors import UserError

#: Hidden channels of a block's perceptron, in channels of a token.
EXPANSION = 4
#: Spread of what is learnt from nothing: places and memory.
INITIAL_STD = 0.02


class DualAttention(nn.Module):
    """Attention to the same keys and values by two kinds of queries: the tokens' own, and those of a memory.

    Args:
        width: Channels of a token.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries, self.memory_queries = nn.Linear(width, width), nn.Linear(width, width)
        self.keys_and_values = nn.Linear(width, 2 * width)
        self.output, self.memory_output = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, tokens: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Attend to ``tokens``; both arguments and both results are ``(B, N, width)``."""
        keys, values = map(self._by_head, self.keys_and_values(tokens).chunk(2, dim=2))
        own, stored = self._by_head(self.queries(tokens)), self._by_head(self.memory_queries(memory))
        found = F.scaled_dot_product_attention(own, keys, values)
        remembered = F.scaled_dot_product_attention(stored, keys, values)
        return self.output(_joined(found)), self.memory_output(_joined(remembered))

    def _by_head(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


class DualAttentionBlock(nn.Module):
    """A block of the transformer with its two streams, each with residuals and a perceptron of its own.

    Args:
        width: Channels of a token.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.memory_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = DualAttention(width, heads)
        self.perceptron, self.memory_perceptron = _perceptron(width), _perceptron(width)

    def forward(self, tokens: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return both streams' next tokens, ``(B, N, width)`` each."""
        found, remembered = self.attention(self.norm(tokens), self.memory_norm(memory))
        tokens, memory = tokens + found, memory + remembered
        return tokens + self.perceptron(tokens), memory + self.memory_perceptron(memory)


class DualAttentionTransformer(nn.Module):
    """Reconstructs the stages of a backbone, locally by self-attention and globally from a memory of normal images.

    Patches of all stages over the same part of the image are one token. The global stream begins with the memory, which
    is the same for every image, and sees the image in keys and values only.

    Args:
        channels: Channels of the stages.
        strides: Their strides; patches are as large as a position of the last.
        size: Height and width of the images.
        width: Channels that each stage has in a token.
        depth: Number of blocks.
        heads: Attention heads.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        size: tuple[int, int],
        width: int = 480,
        depth: int = 8,
        heads: int = 8,
    ) -> None:
        super().__init__()
        if len(channels) * width % heads:
            msg = f"{len(channels)} times the width {width} cannot be shared among {heads} heads: change one of them."
            raise UserError(msg)
        if size[0] % strides[-1] or size[1] % strides[-1]:
            msg = (
                f"DADF needs images whose sides are multiples of {strides[-1]} pixels; they are {size[0]} x {size[1]}."
            )
            raise UserError(msg)
        self.width, self.channels = width, list(channels)
        self.patches = [strides[-1] // stride for stride in strides]
        self.grid = (size[0] // strides[-1], size[1] // strides[-1])
        self.embeddings = nn.ModuleList(
            nn.Conv2d(count, width, patch, stride=patch) for count, patch in zip(channels, self.patches, strict=True)
        )
        total, positions = len(self.channels) * width, self.grid[0] * self.grid[1]
        self.places = nn.Parameter(INITIAL_STD * torch.randn(1, positions, total))
        self.memory = nn.Parameter(INITIAL_STD * torch.randn(1, positions, total))
        self.blocks = nn.ModuleList(DualAttentionBlock(total, heads) for _ in range(depth))
        self.decoders, self.memory_decoders = self._decoders(), self._decoders()

    def _decoders(self) -> nn.ModuleList:
        total = len(self.channels) * self.width
        sizes = zip(self.channels, self.patches, strict=True)
        return nn.ModuleList(nn.Linear(total, channels * patch * patch) for channels, patch in sizes)

    def forward(self, stages: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the local and the global reconstruction of stages ``(B, C_i, h_i, w_i)``."""
        embedded = [embedding(stage) for embedding, stage in zip(self.embeddings, stages, strict=True)]
        tokens = torch.cat(embedded, dim=1).flatten(2).transpose(1, 2) + self.places
        memory = self.memory.expand(tokens.shape[0], -1, -1)  # len() would bind an exported graph to one batch size
        for block in self.blocks:
            tokens, memory = block(tokens, memory)
        return self._decoded(self.decoders, tokens), self._decoded(self.memory_decoders, memory)

    def _decoded(self, decoders: nn.ModuleList, tokens: Tensor) -> list[Tensor]:
        """Make stages of tokens: each becomes a patch of every stage, at its place."""
        maps = [decoder(tokens).transpose(1, 2).unflatten(2, self.grid) for decoder in decoders]
        return [F.pixel_shuffle(each, patch) for each, patch in zip(maps, self.patches, strict=True)]


def _joined(by_head: Tensor) -> Tensor:
    return by_head.transpose(1, 2).flatten(2)


def _perceptron(width: int) -> nn.Module:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, EXPANSION * width), nn.GELU(), nn.Linear(EXPANSION * width, width)
    )
