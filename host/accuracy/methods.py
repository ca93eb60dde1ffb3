"""Which tokens each position attends: the methods that are compared.

Each has ``index(k)``, what it keeps of the keys of a layer; ``select(rows, index)``, what the
positions select; and ``bytes_moved``, what that reads. The arithmetic is defined by
`cosim.golden_sparse` and `cosim.golden_bounds`, what a ratio means by `host.accuracy.ratio`.
"""

from dataclasses import dataclass

import torch

from cosim.golden_bounds import bounds_of

from .ratio import ELEMENT_BYTES, BoundsLayout, kept_of, with_forced
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
    """Units of the largest bounds, loaded whole; forced ones within the ratio or ``besides``."""

    ratio: float
    bounds: BoundsLayout
    window: int = 32
    sinks: int = 4
    besides: bool = False

    def index(self, k):
        """Low and high bounds of all full groups of a layer's keys."""
        layout = self.bounds
        return [
            bound.float()
            for bound in bounds_of(
                k.double(),
                unit_tokens=layout.unit_tokens,
                group_tokens=layout.group_tokens,
                bits=layout.bits,
            )
        ]

    def select(self, rows, index):
        """As `Method.select`."""
        unit, lengths, tokens = self.bounds.unit_tokens, rows.lengths, rows.k.shape[1]
        whole = self.bounds.tokens(lengths)
        if int(whole.max()) == 0:
            return super().select(rows, index)
        count = int(whole.max()) // unit
        low, high = (bound[:, None, :count].mT for bound in index)
        best = torch.matmul(rows.q.clamp(min=0), high) + torch.matmul(rows.q.clamp(max=0), low)
        unseen = torch.arange(count) * unit >= whole[:, None]
        best.mul_(rows.scale).masked_fill_(unseen, -torch.inf)
        # Positions before the first full group have no unit: no number, and no key either.
        keys = torch.softmax(best, dim=-1).sum(dim=1).masked_fill_(unseen, -torch.inf)
        forced = forced_of_lengths(lengths, count * unit, self.window, self.sinks)
        forced = forced.unflatten(-1, (count, unit)).any(dim=-1) & ~unseen
        keys.masked_fill_(forced, torch.inf)
        paid = self.bounds.units_of(self.ratio, lengths, self.besides)
        wanted = with_forced(paid, forced.sum(dim=1), self.besides)
        chosen = largest(keys, wanted).repeat_interleave(unit, dim=-1)
        selected = rows.visible & (torch.arange(tokens) >= whole[:, None])
        selected = selected.repeat(rows.k.shape[0], 1, 1)
        selected[..., : count * unit] |= chosen
        return Selected(selected)

    def bytes_moved(self, rows, selected, layout):
        """As `Method.bytes_moved`."""
        moved, elements = super().bytes_moved(rows, selected, layout)
        size, heads = self.bounds.size(rows.lengths, layout.head_dim), rows.k.shape[0]
        return moved + heads * int(layout.whole(size).sum()), elements + heads * int(size.sum())
