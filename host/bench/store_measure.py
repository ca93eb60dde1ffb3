"""A case of ``instinfer bench store``: the load on the space model, and what came of it."""

import heapq
from dataclasses import asdict
from math import ceil, exp

import numpy as np

from rtl.config import stream_groups

from ..capacity import OWN_GROUPS, spare_groups, whole_groups
from .store_cases import DESIGNS
from .store_drive import Full, SpaceModel
from .store_load import MODELS, Lengths

__all__ = ["ANSWER", "PROMPT", "SIGMA", "measure_store"]

PROMPT, ANSWER, SIGMA = 1536, 512, 0.8
"""Mean tokens of prompts and answers, and the standard deviation of their logarithms."""

STREAMS = 64
"""Streams of the append path, see `DriveConfig.append_streams`."""

FIRST = 1.0
"""Full-drive writes before amplification is counted: until then nothing need be moved."""


class _Run:
    """A load under way on a drive."""

    def __init__(self, case, seed):
        self._case, self._design = case, DESIGNS[case.design]
        self._model = MODELS[case.model]
        self._context = int(self._model.context * case.longer)
        geometry = case.geometry
        self._tokens = self._model.group_tokens(geometry.page_bytes)
        self._unit = case.unit_groups
        self._lengths = Lengths(
            np.random.default_rng(seed),
            prompt=PROMPT * case.longer,
            answer=ANSWER * case.longer,
            sigma=SIGMA,
            context=self._context,
        )
        pages = geometry.channels * geometry.dies * geometry.pages // case.parts
        blocks = geometry.blocks
        if case.sequences:
            mean = case.longer * (
                PROMPT + ANSWER * exp(SIGMA**2) / 2
            )  # tokens held, over the time it is open
            held = case.sequences * self._model.pages(mean / self._tokens, self._unit)
            blocks = ceil(held / case.fill / pages / case.parts) + OWN_GROUPS
            blocks += max(2, spare_groups(geometry) * blocks // geometry.blocks)
        self.drive = SpaceModel(blocks, pages, case.parts)
        self.usable = self.drive.usable * pages
        shared = case.parts if self._design.streams == "own" else 0
        self._most = self.usable - (OWN_GROUPS + shared) * pages
        self._own = set()  # sequences with streams of their own
        self._events = []  # (step, sequence, group of tokens or None: the end)
        self._ends = {}  # sequence -> step it ends at
        self._until = {}  # sequence -> step it ends at most
        self._pages = {}  # sequence -> pages that it may still append
        self._groups = {}  # sequence -> groups that it has filled
        self._promises = {}  # sequence -> pages promised, those that it has included
        self._promised = 0  # their sum
        self._waiting = self._lengths.draw()  # the sequence that is opened next
        self.step = self.opened = 0

    def run(self, watch):
        """Steps until the drive has been written often enough; fills and facts on the way."""
        drive, goal = self.drive, self._case.writes * self.usable
        self._keep()
        first, shares, sequences, next_look = None, [], [], 0
        while drive.appended < goal:
            self._admit()
            self.step = max(self.step + 1, self._events[0][0])
            while self._events and self._events[0][0] <= self.step:
                self._event(*heapq.heappop(self._events)[1:])
            if drive.appended >= next_look:
                watch(drive.appended / goal)
                next_look = drive.appended + self.usable / 20
                if drive.appended >= FIRST * self.usable:
                    first = first or (drive.appended, drive.moved, drive.levelled)
                    shares.append({name: n / self.usable for name, n in drive.where().items()})
                    sequences.append(len(self._ends))
        return first or (0, 0, 0), shares, sequences

    def _keep(self):
        """Sequences that stay."""
        kept = -1
        while self.drive.live < self._case.kept * self._case.fill * self.usable:
            prompt, _ = self._lengths.draw()
            full = self._pages_of(prompt)
            self._enter(kept, self._context, full)
            self._append(kept, full)
            self._leave(kept)
            kept -= 1

    def _admit(self):
        """Opens sequences as long as there is room."""
        while True:
            prompt, answer = self._waiting
            declared = min(ceil(answer * self._case.declared), self._context - prompt)
            full, most = self._pages_of(prompt), self._pages_of(prompt + declared)
            live = self.drive.live
            if live + full > self._case.fill * self.usable:
                return
            if self._promised + self._promise(most) > self._most:
                return
            ahead = sum(self._pages.values()) + most
            if self._design.eager and not self.drive.promise(ahead):
                return
            self._waiting = self._lengths.draw()
            self.opened += 1
            self._ends[self.opened] = self.step + answer
            self._groups[self.opened] = prompt // self._tokens
            self._enter(self.opened, declared, most)
            if full:
                self._append(self.opened, full)
            self._next(self.opened, self._tokens - prompt % self._tokens)

    def _pages_of(self, tokens):
        return self._model.pages(tokens // self._tokens, self._unit)

    def _owns(self, pages):
        least = (self._case.own or stream_groups(self._case.parts)) * self.drive.pages
        return self._design.streams == "own" and pages >= least

    def _promise(self, pages):
        """Pages promised to a sequence that may have so many, as `host.capacity.Capacity` does."""
        return whole_groups(pages, self.drive.pages) if self._owns(pages) else pages

    def _enter(self, sequence, tokens, pages):
        """A sequence may append so many tokens and pages from here on."""
        self._until[sequence], self._pages[sequence] = self.step + tokens, pages
        self._promises[sequence] = self._promise(pages)
        self._promised += self._promises[sequence]
        if self._owns(pages) and len(self._own) < STREAMS - 1:
            self._own.add(sequence)

    def _leave(self, sequence):
        """It appends no more, and holds nothing any more if it is closed."""
        del self._until[sequence], self._pages[sequence]
        if sequence in self._own:
            self._own.remove(sequence)
            self.drive.end(sequence)

    def _next(self, sequence, tokens):
        """A group of tokens is full after so many, or the sequence ends before."""
        end, at = self._ends[sequence], self.step + tokens
        heapq.heappush(self._events, (min(at, end), sequence, at <= end))

    def _event(self, sequence, full):
        if full:
            groups = self._groups[sequence] = self._groups[sequence] + 1
            before, now = (self._model.pages(n, self._unit) for n in (groups - 1, groups))
            self._append(sequence, now - before)
        if full and self.step < self._ends[sequence]:
            self._next(sequence, self._tokens)
        else:
            del self._ends[sequence], self._groups[sequence]
            self._leave(sequence)
            self._promised -= self._promises.pop(sequence)
            self.drive.close(sequence)

    def _append(self, sequence, pages):
        left = self._until[sequence] - self.step
        if sequence in self._own:
            most = self._pages[sequence]
            self.drive.append(sequence, pages, sequence, most=most, left=left)
        else:
            stream = left.bit_length() if self._design.streams == "end" else 0
            self.drive.append(sequence, pages, stream)
        self._pages[sequence] -= pages


def measure_store(case, watch=lambda share: None, seed=0):
    """Runs a case.

    Parameters
    ----------
    case : Case
    watch : callable
        Told which share is done.
    seed : int

    Returns
    -------
    dict
        The case's fields; ``groups``, ``group_bytes``; ``full`` (no group could be erased: the case
        is not possible, and the rest is missing); ``amplification`` (pages written over pages
        appended), ``levelling`` (what static wear levelling adds to it), ``live``, ``dead``,
        ``left``, ``filling``, ``erased`` (mean shares of all usable pages, see `SpaceModel.where`),
        ``sequences`` (open, mean), ``erases`` (of each group), ``spread`` (most less fewest of
        them, over their mean).
    """
    run = _Run(case, seed)
    drive = run.drive
    row = asdict(case) | {
        "groups": drive.usable,
        "group_bytes": drive.pages * case.geometry.page_bytes,
        "full": False,
    }
    try:
        first, shares, sequences = run.run(watch)
    except Full:
        return row | {"full": True}
    appended, moved, levelled = (
        now - then
        for now, then in zip((drive.appended, drive.moved, drive.levelled), first, strict=True)
    )
    erases = drive.books.erases[: drive.usable]
    return (
        row
        | {name: float(np.mean([share[name] for share in shares])) for name in shares[0]}
        | {
            "amplification": 1 + (moved + levelled) / appended,
            "levelling": levelled / appended,
            "sequences_open": float(np.mean(sequences)),
            "opened": run.opened,
            "erases": erases,
            "spread": (max(erases) - min(erases)) / float(np.mean(erases)),
        }
    )
