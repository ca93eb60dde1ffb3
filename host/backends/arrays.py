"""A drive of numpy arrays: K and V kept as they came, attended by a function.

The books (numbers, capacity, flash pages) are those of the firmware, and the traffic that the
gateware would cause is counted, so that golden and twin refuse and report what the drive does.
"""

from abc import abstractmethod
from collections import Counter
from copy import copy
from itertools import count, islice

import numpy as np

from rtl.commands import CQE, MEMORY_PAGE, SQE, AttendMode, ResultFlag
from rtl.registers import COUNTERS

from ..capacity import Capacity
from ..errors import DriveValueError
from ..packing import cut_jobs, list_bytes, pack_jobs
from ..sparse_traffic import reads_of_a_page, sparse_traffic
from .base import Backend, Result

__all__ = ["ArrayBackend", "partial_flags"]


def partial_flags(partials):
    """`ResultFlag` of the partials of one job."""
    flags = ResultFlag(0)
    if any(partial.saturated for partial in partials):
        flags |= ResultFlag.SATURATED
    if any(partial.poisoned.any() for partial in partials):
        flags |= ResultFlag.NONFINITE
    return flags


class _Layer:
    """K and V of one layer, [kv_heads, room, head_dim] each; room doubles as tokens come.

    ``groups`` names the full groups and ``units`` the whole units of K by channel or of bounds, so
    that forks know what they share. The first ``saved`` tokens outlive a loss of power whatever
    becomes of the others.
    """

    def __init__(self, kv_heads, head_dim, dtype):
        self.tokens = self.saved = 0
        self.groups, self.units = [], []
        self._data = np.zeros((2, kv_heads, 16, head_dim), dtype)

    def append(self, k, v):
        end = self.tokens + len(k)
        room = self._data.shape[2]
        if end > room:
            grown = np.zeros(
                (*self._data.shape[:2], max(end, 2 * room), self._data.shape[3]), self._data.dtype
            )
            grown[:, :, : self.tokens] = self._data[:, :, : self.tokens]
            self._data = grown
        for kind, x in enumerate((k, v)):
            self._data[kind, :, self.tokens : end] = x.transpose(1, 0, 2)
        self.tokens = end

    def truncate(self, tokens):
        self.tokens = min(self.tokens, tokens)
        self.saved = min(self.saved, tokens)

    def copy(self):
        other = copy(self)
        other.saved = 0
        other._data = self._data.copy()
        other.groups, other.units = self.groups.copy(), self.units.copy()
        return other

    def view(self, start=0, stop=None):
        stop = self.tokens if stop is None else stop
        return self._data[0, :, start:stop], self._data[1, :, start:stop]


class ArrayBackend(Backend):
    """Backend whose attention is `attend_heads` over numpy arrays. It has no clock and no cells."""

    def __init__(self, config, *, faults=None):
        super().__init__(config)
        if faults is not None:
            raise DriveValueError(
                f"faults are of flash cells, and backend {self.name!r} keeps K and V in numpy "
                "arrays that cannot fail: use backend 'rtl', or leave them out"
            )
        self._capacity = Capacity(config)
        self._layers = {}
        self._results = {}
        self._names = count()
        self._sharing = (
            Counter()
        )  # full groups, units by name: sequences that hold them besides one
        self._saved = np.zeros(config.channels, np.int64)  # pages that this saves, per channel
        self._tickets = 0
        self._counters = Counter()
        self._command(receive=MEMORY_PAGE)  # the capability page, which a driver reads first

    @abstractmethod
    def attend_heads(self, q, k, v, scale):
        """``(out, flags)`` of q [kv_heads, g, head_dim] and k, v [kv_heads, tokens, head_dim]."""

    @abstractmethod
    def attend_selected(self, q, k, v, scale, selection, bounded):
        """``(out, flags, chosen)`` of sparse attention; arguments as above.

        ``bounded``: tokens that have bounds on flash, None where attention is not by bounds.
        ``chosen`` are the channels [kv_heads, head_dim] and the tokens [kv_heads, tokens], bool,
        that are read; None where it is all of K and V.
        """

    @abstractmethod
    def partials(self, q, k, v, scale):
        """A list of `Partial`, one per pass, over all query heads; arguments as above."""

    def open(self, layers, kv_heads, head_dim, max_tokens, format, index):
        shape = self._capacity.shape(layers, kv_heads, head_dim, max_tokens, index)
        number = self._capacity.admit(shape, self._saved).sequence
        self._layers[number] = [_Layer(kv_heads, head_dim, format.dtype) for _ in range(layers)]
        self._command()
        return number

    def close(self, sequence):
        for number in range(len(self._layers[sequence])):
            self._leave(sequence, number, 0)
        self._capacity.release(sequence)
        del self._layers[sequence]
        self._command()

    def fork(self, sequence, max_tokens):
        old = self.shape(sequence)
        shape = self._capacity.shape(old.layers, old.kv_heads, old.head_dim, max_tokens, old.index)
        layers = self._layers[sequence]
        more = sum(
            self._pages(old, number, np.arange(len(layer.groups)), np.arange(len(layer.units)))
            for number, layer in enumerate(layers)
        )
        new = self._capacity.admit(shape, self._saved + more, old.place).sequence
        self._saved = self._saved + more
        self._sharing.update(name for layer in layers for name in layer.groups + layer.units)
        self._layers[new] = [layer.copy() for layer in layers]
        self._command()
        return new

    def truncate(self, sequence, tokens):
        for number, layer in enumerate(self._layers[sequence]):
            self._leave(sequence, number, tokens // self.shape(sequence).group_tokens)
            layer.truncate(tokens)
        self._command()

    def save(self, sequence):
        for number in self._layers if sequence is None else [sequence]:
            for layer in self._layers[number]:
                layer.saved = layer.tokens
        self._command()

    def power_cycle(self, seed):
        for number, layers in self._layers.items():
            for layer in layers:
                full = len(layer.groups) * self.shape(number).group_tokens
                layer.truncate(max(full, layer.saved))
        return {number: [layer.tokens for layer in at] for number, at in self._layers.items()}

    def _leave(self, sequence, number, first):
        """A layer does not hold its full groups from ``first`` on any more."""
        layer, shape = self._layers[sequence][number], self.shape(sequence)
        shared = [
            self._without(layer.groups, first),
            self._without(layer.units, first // (shape.unit_groups or 1)),
        ]
        self._saved = self._saved - self._pages(shape, number, *shared)

    def _without(self, names, first):
        """Takes the names from ``first`` on off a list; numbers of those that others hold, too."""
        gone = names[first:]
        del names[first:]
        shared = [n for n, name in enumerate(gone, first) if self._sharing[name]]
        self._sharing.subtract(name for name in gone if self._sharing[name])
        return np.array(shared, int)

    def _pages(self, shape, layer, groups, units):
        """Pages per channel of full groups, and of units, of a layer, all heads."""
        index = layer * shape.kv_heads + np.arange(shape.kv_heads)[:, None]
        pages = 2 * np.bincount(shape.channel(groups, index).ravel(), minlength=shape.channels)
        if len(units):
            channel = shape.column_channel(units * shape.unit_pages, index)
            pages += shape.unit_pages * np.bincount(channel.ravel(), minlength=shape.channels)
        return pages

    def submit_append(self, sequence, layer, k, v):
        shape = self.shape(sequence)
        held, at = self._layers[sequence][layer].tokens, 0
        for tokens in shape.cut_append(held, len(k), self.config.max_transfer):
            part = slice(at, at + tokens)
            self._command(data=tokens * shape.token_bytes)
            self._store(sequence, layer, k[part], v[part])
            at += tokens

    def wait_append(self, ticket):
        """Nothing to wait for: `submit_append` has appended them."""
        return None

    def preload(self, sequence, layer, k, v):
        self._grow(sequence, layer, k, v)

    def submit(self, jobs, scale, partial):
        outputs, flags = [], ResultFlag(0)
        shapes = [self.shape(job.sequence) for job in jobs]
        kv_heads = [shape.kv_heads for shape in shapes]
        passes = [
            shape.passes_of(job.tokens) if partial else None
            for job, shape in zip(jobs, shapes, strict=True)
        ]
        for cut in cut_jobs(jobs, kv_heads, self.config.max_attend):
            data, _, size = pack_jobs(jobs[cut], kv_heads[cut], passes[cut])
            self._command(data=len(data), back=size)
        for job, shape in zip(jobs, shapes, strict=True):
            if job.k is not None:
                self._store(job.sequence, job.layer, job.k[None], job.v[None])
            output, found = self._attend(job, shape, scale, partial)
            outputs.append(output)
            flags |= found
        self._tickets += 1
        self._results[self._tickets] = Result(outputs, flags)
        return self._tickets

    def _attend(self, job, shape, scale, partial):
        """Output and flags of a job whose token, if it has one, is stored."""
        k, v = self._layers[job.sequence][job.layer].view()
        q = job.q.reshape(shape.kv_heads, -1, shape.head_dim)
        # a step attends its token in the tail; a group that it fills goes onto flash later
        full = (k.shape[1] - (job.k is not None)) // shape.group_tokens
        chosen = bounded = None
        if partial:
            output = self.partials(q, k, v, scale)
            flags = partial_flags(output)
        elif job.selection is None:
            out, flags = self.attend_heads(q, k, v, scale)
            output = out.reshape(job.q.shape)
        else:
            if job.mode == AttendMode.BOUNDS:
                bounded = full // shape.unit_groups * shape.unit_tokens
            out, flags, chosen = self.attend_selected(q, k, v, scale, job.selection, bounded)
            output = out.reshape(job.q.shape)
        self._count(jobs=shape.kv_heads)  # one per KV head, as the engine counts them
        if chosen is None:
            tail = k.shape[1] - full * shape.group_tokens
            pages = 2 * shape.pages_of(full * shape.group_tokens) * shape.kv_heads
            if job.selection is not None:
                pages *= reads_of_a_page(shape, self.config.codeword_bytes)
            self._count(
                pages_read=pages,
                bytes_flash=full * shape.group_tokens * shape.token_bytes,
                bytes_tail=tail * shape.token_bytes,
            )
        else:
            channels, keep = chosen
            self._count(
                **sparse_traffic(
                    shape, self.config.codeword_bytes, full, channels, keep, bounded is not None
                )
            )
        return output, flags

    def wait(self, ticket):
        return self._results.pop(ticket)

    def read(self, sequence, layer, start, stop, held):
        shape = self.shape(sequence)
        store = self._layers[sequence][layer]
        group = shape.group_tokens
        for number in range(start // group, -(-stop // group)):
            tokens = min(group, held - number * group)
            for _ in range(2 * shape.kv_heads):
                self._command(receive=tokens * 2 * shape.head_dim)
            if tokens == group:
                pages = 2 * shape.kv_heads
                self._count(pages_read=pages, bytes_flash=group * shape.token_bytes)
        return tuple(x.transpose(1, 0, 2).copy() for x in store.view(start, stop))

    def counters(self):
        known = (
            "pages_read",
            "pages_programmed",
            "bytes_flash",
            "bytes_tail",
            "bytes_link_in",
            "bytes_link_out",
            "commands",
            "jobs",
        )
        counted = {name: self._counters[name] for name in known}
        counted["commands_failed"] = 0
        return {name: counted.get(name) for name in COUNTERS}, None, 0

    def shape(self, sequence):
        """`SequenceShape` of an open sequence."""
        return self._capacity.placements[sequence].shape

    def _store(self, sequence, layer, k, v):
        """Appends a command's tokens, and counts the pages that filled groups would be programmed
        to; and, of units that it does not bring whole, those that their K would be read from."""
        shape, store = self.shape(sequence), self._layers[sequence][layer]
        brought = 0
        if shape.unit_groups and store.tokens == len(store.units) * shape.unit_tokens:
            brought = len(k) // shape.unit_tokens
        groups, units = self._grow(sequence, layer, k, v)
        read = (units - brought) * shape.unit_groups * shape.kv_heads
        self._count(
            pages_programmed=(2 * groups + units * shape.unit_pages) * shape.kv_heads,
            pages_read=read,
            bytes_flash=read * shape.page_bytes,
        )

    def _grow(self, sequence, layer, k, v):
        """Appends; returns the numbers of groups that became full, and of units."""
        shape = self.shape(sequence)
        store = self._layers[sequence][layer]
        before = store.tokens // shape.group_tokens
        store.append(k, v)
        filled = store.tokens // shape.group_tokens - before
        store.groups += islice(self._names, filled)
        units = (
            len(store.groups) // shape.unit_groups - len(store.units) if shape.unit_groups else 0
        )
        store.units += islice(self._names, units)
        return filled, units

    def _count(self, **amounts):
        self._counters.update(amounts)

    def _command(self, data=0, receive=0, back=0):
        """Counts a command: queue entries, data either way, and results."""
        self._count(
            commands=1,
            bytes_link_in=SQE.size + data + list_bytes(data or receive),
            bytes_link_out=CQE.size + receive + back,
        )
