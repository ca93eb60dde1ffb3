"""Which tokens each position attends: the methods that are compared.

Each has ``index(k)``, what it keeps of the keys of a layer; ``select(rows, index)``, what the
positions select; and ``bytes_moved``, what that reads. The arithmetic is defined by
`cosim.golden_sparse` and `cosim.golden_bounds`, what a ratio means by `host.accuracy.ratio`.
"""

from dataclasses import dataclass

import torch

from cosim.golden_bounds import BLOCK_TOKENS, UNIT_TOKENS, coded_bounds, exact_bounds

from .ratio import ELEMENT_BYTES, kept_of, with_forced
from .selection import forced_of_lengths, largest

__all__ = ["Bounds", "Dense", "Local", "Method", "Selected", "Sparf"]


@dataclass(frozen=True)
class Selected:
    """What positions selected.

    Attributes
    ----------
    tokens : torch.Tensor
        bool [kv_heads, positions, tokens].
    alpha : torch.Tensor or None
        float32 [kv_heads, group, positions]; None: 1.
    """

    tokens: torch.Tensor
    alpha: torch.Tensor | None = None


class Method:
    """What all methods have; select all tokens if not said otherwise."""

    def index(self, k):
        """Nothing is kept."""

    def select(self, rows, index):
        """`Selected` of `host.accuracy.emulation.Rows`."""
        return Selected(rows.visible.expand(rows.k.shape[0], -1, -1))

    def bytes_moved(self, rows, selected, layout):
        """Bytes of codewords, bytes of single elements."""
        elements = 2 * layout.head_dim * ELEMENT_BYTES * int(selected.tokens.sum())
        return layout.tokens(selected.tokens), elements


@dataclass(frozen=True)
class Dense(Method):
    """All tokens."""


@dataclass(frozen=True)
class Local(Method):
    """The first ``sinks`` tokens, and the last ones as far as the ratio goes."""

    ratio: float
    sinks: int = 4

    def select(self, rows, index):
        """As `Method.select`."""
        lengths = rows.lengths
        window = ((self.ratio * lengths).long() - self.sinks).clamp(min=1)
        tokens = forced_of_lengths(lengths, rows.k.shape[1], window[:, None], self.sinks)
        return Selected(tokens.expand(rows.k.shape[0], -1, -1))


@dataclass(frozen=True)
class Sparf(Method):
    """SparF, with or without the mean of V for what is not attended.

    r is ``channels``; k is ``kept`` tokens, or a ``share`` of those there are. Forced tokens count
    within k or come ``besides``.
    """

    channels: int
    share: float = 0
    kept: int = 0
    mean_value: bool = True
    window: int = 32
    sinks: int = 4
    besides: bool = False

    def select(self, rows, index):
        """As `Method.select`."""
        size = rows.q.abs()
        chosen = largest(size.sum(dim=1), torch.tensor([self.channels]))
        carried = rows.q.masked_fill(~chosen[:, None], 0)
        share = carried.abs().sum(dim=-1) / size.sum(dim=-1)
        factor = torch.where(share > 0, rows.scale / share.sqrt(), 0)
        logits = torch.matmul(carried * factor[..., None], rows.k[:, None].mT)
        estimate = torch.softmax(logits.masked_fill_(~rows.visible, -torch.inf), dim=-1)
        lengths = rows.lengths
        forced = forced_of_lengths(lengths, rows.k.shape[1], self.window, self.sinks)
        keys = estimate.sum(dim=1).masked_fill_(~rows.visible, -torch.inf)
        keys.masked_fill_(forced, torch.inf)
        kept = torch.full_like(lengths, self.kept) if self.kept else kept_of(self.share, lengths)
        tokens = largest(keys, with_forced(kept, forced.sum(dim=1), self.besides))
        if not self.mean_value:
            return Selected(tokens)
        return Selected(tokens, estimate.masked_fill_(~tokens[:, None], 0).sum(dim=-1))

    def bytes_moved(self, rows, selected, layout):
        """As `Method.bytes_moved`."""
        moved, elements = super().bytes_moved(rows, selected, layout)
        channels, heads = self.channels, rows.k.shape[0]
        moved += heads * int(layout.channels(channels, rows.lengths).sum())
        elements += heads * channels * ELEMENT_BYTES * int(rows.lengths.sum())
        return moved, elements


@dataclass(frozen=True)
class Bounds(Method):
    """Tokens of the largest bounds.

    k is a ``share`` of the tokens there are. Bounds are coded of whole ``unit`` tokens, a multiple
    of 32, as a drive writes them; those of the tokens after these are exact.
    """

    share: float
    unit: int
    window: int = 32
    sinks: int = 4
    besides: bool = False

    def index(self, k):
        """Coded and exact bounds of a layer's keys: float32 [kv_heads, units, head_dim] each."""
        k = k.double()
        coded = coded_bounds(k[:, : k.shape[1] // BLOCK_TOKENS * BLOCK_TOKENS], torch.float16)
        return [bound.float() for bound in (*coded, *exact_bounds(k))]

    def select(self, rows, index):
        """As `Method.select`."""
        lengths, tokens = rows.lengths, rows.k.shape[1]
        count = -(-tokens // UNIT_TOKENS)
        low, high, *exact = (bound[:, :count] for bound in index)
        best = _bound(rows.q, *exact)
        coded = _bound(rows.q, low, high)
        bounded = self._bounded(lengths)[:, None] // UNIT_TOKENS
        on_flash = torch.arange(coded.shape[-1]) < bounded
        best[..., : coded.shape[-1]] = torch.where(on_flash, coded, best[..., : coded.shape[-1]])
        self._last_unit(rows, best)
        best = best.mul_(rows.scale).repeat_interleave(UNIT_TOKENS, dim=-1)[..., :tokens]
        keys = torch.softmax(best.masked_fill_(~rows.visible, -torch.inf), dim=-1).sum(dim=1)
        keys.masked_fill_(~rows.visible, -torch.inf)
        forced = forced_of_lengths(lengths, tokens, self.window, self.sinks)
        keys.masked_fill_(forced, torch.inf)
        kept = kept_of(self.share, lengths)
        return Selected(largest(keys, with_forced(kept, forced.sum(dim=1), self.besides)))

    def bytes_moved(self, rows, selected, layout):
        """As `Method.bytes_moved`."""
        moved, elements = super().bytes_moved(rows, selected, layout)
        bounded, heads = self._bounded(rows.lengths), rows.k.shape[0]
        row = layout.head_dim * ELEMENT_BYTES
        sizes = bounded * layout.head_dim // UNIT_TOKENS, (rows.lengths - bounded) * row
        whole = sum(int(layout.whole(size).sum()) for size in sizes)
        return moved + heads * whole, elements + heads * int(sum(sizes).sum())

    def _bounded(self, lengths):
        return lengths // self.unit * self.unit

    def _last_unit(self, rows, best):
        """Bounds of each position's last unit are of the tokens that it sees."""
        unit = (rows.lengths - 1) // UNIT_TOKENS
        place = unit[:, None] * UNIT_TOKENS + torch.arange(UNIT_TOKENS)
        place = torch.minimum(place, rows.lengths[:, None] - 1)
        values = rows.k[:, place]
        low, high = values.amin(dim=2), values.amax(dim=2)
        mine = torch.maximum(rows.q * low[:, None], rows.q * high[:, None]).sum(dim=-1)
        # Where the unit is whole and coded, its coded bounds count.
        keeps = self._bounded(rows.lengths) > unit * UNIT_TOKENS
        here = unit.expand(mine.shape)[..., None]
        old = best.gather(-1, here)[..., 0]
        best.scatter_(-1, here, torch.where(keeps, old, mine)[..., None])


def _bound(q, low, high):
    """Sum over channels of the larger product: [kv_heads, group, positions, units]."""
    low, high = low[:, None].mT, high[:, None].mT
    return torch.matmul(q.clamp(min=0), high) + torch.matmul(q.clamp(max=0), low)
