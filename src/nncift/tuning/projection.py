"""A seeded random projection that keeps inner products: a count sketch, never a matrix.

Every coordinate is sent, with a random sign, to one of r buckets; coordinates are dealt out in a random order, so that
buckets are equally full. E⟨Sx, Sy⟩ = ⟨x, y⟩ with a standard deviation of about ‖x‖‖y‖/√r, as for a dense matrix of signs,
at p additions a vector instead of p · r. Orders and signs are drawn on the CPU: the same on every device.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from nncift.seeds import generator


class CountSketch:
    """Projects vectors that come in named parts, a batch of vectors and a part at a time.

    Args:
        sizes: number of coordinates of every part; their order decides nothing but which coordinates share a bucket.
        buckets: r, at least 1. With no more coordinates than buckets every coordinate has a bucket of its own, and inner
            products are exact.
        seed: of the order and the signs.
        device: where the vectors are.

    Attributes:
        width: numbers of a projected vector: r, or the number of coordinates where that is smaller.

    *Cost*: p additions a vector; five bytes a coordinate of memory.
    *Reference*: Charikar, Chen, Farach-Colton, Finding frequent items in data streams, 2002; Weinberger et al., Feature
    hashing for large scale multitask learning, 2009.
    """

    def __init__(
        self, sizes: Mapping[str, int], *, buckets: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.width = min(buckets, sum(sizes.values()))
        self._device = torch.device(device)
        self._start: dict[str, int] = {}
        self._order: dict[str, Tensor] = {}
        self._sign: dict[str, Tensor] = {}
        start = 0
        for name, size in sizes.items():
            draw = generator(seed, f"sketch/{name}")
            # the order within a part is random, so a part may begin at whichever bucket the one before it ended
            self._start[name] = start % self.width
            self._order[name] = torch.from_numpy(draw.permutation(size).astype("int32")).to(self._device)
            self._sign[name] = torch.from_numpy(2 * draw.integers(0, 2, size, dtype="int8") - 1).to(self._device)
            start += size

    def zeros(self, count: int) -> Float[Tensor, "B r"]:
        """The projections of `count` vectors of which nothing is known yet."""
        return torch.zeros((count, self.width), device=self._device)

    def add(self, to: Float[Tensor, "B r"], name: str, part: Float[Tensor, "B p_l"]) -> None:
        """Adds one part of every vector to the projections, in place."""
        dealt = part.index_select(1, self._order[name]).mul_(self._sign[name])
        column, taken = self._start[name], 0
        if column:  # fill the buckets up to the last, then go round
            taken = min(self.width - column, dealt.shape[1])
            to[:, column : column + taken] += dealt[:, :taken]
        rounds = (dealt.shape[1] - taken) // self.width
        if rounds:
            whole = dealt[:, taken : taken + rounds * self.width]
            to += whole.unflatten(1, (rounds, self.width)).sum(1)
            taken += rounds * self.width
        rest = dealt.shape[1] - taken
        to[:, :rest] += dealt[:, taken:]
