"""`KvDrive`: a drive that keeps K and V and computes decode attention next to them.

One class, all that a caller may ask of a drive: what is asked is checked here or where `checks`,
`sequence_books` and `sparse` are, and handed to a backend; what is under way is in `tickets`.
"""

import math
from collections import Counter
from dataclasses import replace

from rtl.commands import ResultFlag, Status

from .backends import make_backend
from .checks import (
    INDEXES,
    checked_format,
    checked_index,
    checked_integer,
    checked_length,
    checked_scale,
)
from .errors import DriveError, DriveValueError
from .flags import FlagCounts
from .health import drive_health
from .sequence_books import Sequence, SequenceBooks, cut_into_commands
from .sparse import DENSE, checked_attention
from .stats import statistics
from .tickets import AppendTicket, Ticket, Tickets, checked_ticket

__all__ = ["KvDrive"]


class KvDrive:
    """A drive as Python sees it.

    K and V are numpy arrays [tokens, kv_heads, head_dim] of the sequence's format, float16 or
    bfloat16 (`ml_dtypes.bfloat16`); queries are [q_heads, head_dim] with ``q_heads = g * kv_heads``
    (query heads ``h * g .. h * g + g - 1`` share KV head ``h``), of either type, and their results
    have the same. Whatever is not possible raises `DriveError` and changes nothing. Calls grow by
    keyword.

    Parameters
    ----------
    config : DriveConfig
    backend : str
        "rtl" (the gateware, simulated), "twin" (its arithmetic in numpy, bit for bit the same
        results) or "golden" (float64 attention, rounded once).
    faults : flash_model.faults.Faults, optional
        What goes wrong in the flash cells of backend "rtl"; the others have none and refuse them.
    **options
        The backend's own, see `host.backends`.

    Attributes
    ----------
    last_flags : ResultFlag
        Flags of the last attend, step or wait.
    """

    def __init__(self, config, *, backend="rtl", faults=None, **options):
        self.config = config
        self.backend = make_backend(backend, config, faults=faults, **options)
        self.last_flags = ResultFlag(0)
        self._sequences = SequenceBooks(config)
        self._flags = FlagCounts()
        self._pending = Tickets()
        self._running = True

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.shutdown()

    def open(self, *, layers, kv_heads, head_dim, max_tokens=None, kv_format="fp16", index="none"):
        """Opens a sequence and returns its number.

        Parameters
        ----------
        layers, kv_heads, head_dim : int
            Shape of the model's KV cache.
        max_tokens : int, optional
            Capacity to reserve; the drive's maximum if not given.
        kv_format : str
            Format of K and V: "fp16" or "bf16".
        index : str
            What is kept of K besides. "none"; "channel": K a second time, by channel of the head,
            so that sparse attention reads some channels of all tokens: half as much again is
            written; or "bounds": the smallest and largest element of every 4 tokens, a byte for
            both (`hls_attention.bounds_code`): a sixteenth more. Not every head_dim can be kept so:
            a unit of K by channel must fill its pages, bounds must fill codewords.
        """
        self._check_running()
        format = checked_format(kv_format)
        index = checked_index(index)
        layers, kv_heads, head_dim = (
            checked_integer(*pair)
            for pair in (("layers", layers), ("kv_heads", kv_heads), ("head_dim", head_dim))
        )
        capacity = 0
        if max_tokens is not None:
            capacity = checked_length("max_tokens", max_tokens, 1, self.config.max_tokens)
        number = self.backend.open(layers, kv_heads, head_dim, capacity, format, index)
        self._sequences[number] = Sequence(
            kv_heads,
            head_dim,
            capacity or self.config.max_tokens,
            format,
            [0] * layers,
            index=INDEXES[index],
        )
        return number

    def fork(self, sequence, *, max_tokens=None):
        """Opens a sequence that begins with all tokens of another one, and returns its number.

        What the two have on flash is there once, whoever is closed first; from here on each grows
        by itself.

        Parameters
        ----------
        sequence : int
        max_tokens : int, optional
            Capacity of the new one; that of the old one if not given.
        """
        entry = self._idle_entry(sequence)
        capacity = entry.max_tokens
        if max_tokens is not None:
            least, why = max(1, *entry.tokens), f": sequence {sequence} holds {max(entry.tokens)}"
            capacity = checked_length("max_tokens", max_tokens, least, self.config.max_tokens, why)
        number = self.backend.fork(sequence, capacity)
        self._sequences[number] = replace(
            entry, max_tokens=capacity, tokens=list(entry.tokens), closed=False
        )
        return number

    def truncate(self, sequence, tokens):
        """Forgets all tokens of a sequence from ``tokens`` on, in every layer.

        It is then as if they had never been appended. A layer that holds fewer stays as it is.
        """
        entry = self._idle_entry(sequence)
        held = max(entry.tokens)
        tokens = checked_length("tokens", tokens, 0, held, f", which sequence {sequence} holds")
        self.backend.truncate(sequence, tokens)
        entry.tokens[:] = [min(held, tokens) for held in entry.tokens]

    def flush(self, sequence=None):
        """Returns once all tokens of a sequence, or of all of them, are on flash.

        They are there again after a loss of power. So are, without this call, tokens of full groups
        (`DriveConfig.group_tokens`) that were programmed; a sequence's last few tokens are not.
        SPOILED_APPEND: those of a sequence that an append has spoiled are not saved, all others
        are.
        """
        if sequence is None:
            self._check_running()
        else:
            self._idle_entry(sequence)
        self.backend.save(sequence)

    def power_cycle(self, seed=0):
        """The drive loses its power and gets it back: what it holds is what its flash says.

        Jobs under way are lost. Sequences stay open; each holds the tokens that were flushed, and
        of later ones those that were on flash in every KV head of the layer. A call that the loss
        of power breaks off has its effect or none; a close that has it leaves no sequence.

        Parameters
        ----------
        seed : int
            Programs and erases that are interrupted leave something that follows from it.

        Returns
        -------
        dict of int to list of int
            Tokens that each layer of a sequence has lost, none of them flushed.
        """
        self._check_running()
        self._pending.forget()
        held = self.backend.power_cycle(seed)
        lost = {}
        for number, entry in self._sequences.items():
            if number not in held:
                entry.closed = True
            elif not entry.closed:
                lost[number] = [
                    before - now for before, now in zip(entry.tokens, held[number], strict=True)
                ]
                entry.tokens[:] = held[number]
        return lost

    def append(self, sequence, layer, k, v):
        """Appends K and V of one token or more to a layer, [tokens, kv_heads, head_dim].

        What one command takes (``config.max_transfer``) is appended as a whole or not at all; where
        a bus fails in its middle (TRANSFER_ERROR, INTERNAL_ERROR), calls for the layer end with
        SPOILED_APPEND until `truncate` takes away what came. If a later one is refused since flash
        blocks failed meanwhile (READ_ONLY), ``appended`` of the `DriveError` says how many tokens
        the earlier ones brought.
        """
        self.wait(self.submit_append(sequence, layer, k, v))

    def submit_append(self, sequence, layer, k, v):
        """Starts an append and returns a ticket for `wait`; ``k`` and ``v`` are free at once.

        What is called next for the layer sees its tokens. An append that is not possible is refused
        here; if one fails later, those given after it may be executed all the same. If the buffers
        of the link are full, the drive first executes some of what it has.
        """
        self._check_running()
        k, v = self._sequences.checked_tokens(sequence, layer, k, v)
        ticket = AppendTicket(
            self.backend.submit_append(sequence, layer, k, v), sequence, layer, len(k)
        )
        self._sequences.grew(sequence, layer, len(k))
        self._pending.append(ticket)
        return ticket

    def preload(self, sequence, layer, k, v):
        """Like `append`, through the simulation's back door: no time passes in the drive."""
        self._check_running()
        k, v = self._sequences.checked_tokens(sequence, layer, k, v)
        self.backend.preload(sequence, layer, k, v)
        self._sequences[sequence].tokens[layer] += len(k)

    def attend(self, sequence, layer, q, *, attention=DENSE, scale=None, partial=False):
        """Attention of one token's queries over all tokens of a layer: [q_heads, head_dim].

        With ``partial``, unnormalised: a list of `Partial`, one per pass of the drive
        (``config.pass_tokens`` tokens). Those of several drives, each of which holds some passes of
        one sequence, put together give what one drive would: `host.merge_partials`.
        """
        job = (sequence, layer, q)
        return self.attend_batch([job], attention=attention, scale=scale, partial=partial)[0]

    def step(self, sequence, layer, q, k, v, *, attention=DENSE, scale=None, partial=False):
        """Appends one token (k, v: [kv_heads, head_dim]) and attends it and all before it."""
        job = (sequence, layer, q, k, v)
        return self.attend_batch([job], attention=attention, scale=scale, partial=partial)[0]

    def attend_batch(self, jobs, *, attention=DENSE, scale=None, partial=False):
        """Many attends (or steps) as one command; see `submit`. Returns a list of outputs."""
        return self.wait(self.submit(jobs, attention=attention, scale=scale, partial=partial))

    def submit(self, jobs, *, attention=DENSE, scale=None, partial=False):
        """Starts attends and steps, and returns a ticket for `wait`.

        A job that is not possible is refused here, before any of them starts.

        Parameters
        ----------
        jobs : list of tuples
            ``(sequence, layer, q)`` attends, ``(sequence, layer, q, k, v)`` steps; all of one kind.
        attention : str, Sparf or Bounds
            "dense", or what sparse attention selects. `host.Sparf` needs K by channel of the
            sequences, ``open(index="channel")``, and ``config.sparse_tokens``; `host.Bounds` needs
            their bounds, ``open(index="bounds")``, and ``config.bounds``, too.
        scale : float, optional
            Factor of the scores; ``1 / sqrt(head_dim)`` if not given.
        partial : bool
            Whether results are the unnormalised sums of each pass, see `attend`.
        """
        self._check_running()
        attention = checked_attention(attention, self.config, partial)
        jobs = list(jobs)
        if not jobs:
            raise DriveError(Status.ZERO_LENGTH, "no jobs")
        if len({len(job) for job in jobs if isinstance(job, tuple | list)}) > 1:
            raise DriveValueError("attends and steps in one batch: give jobs of one kind")
        ahead = Counter()  # tokens that earlier jobs of the list append
        jobs = [self._sequences.checked_job(job, ahead, attention) for job in jobs]
        grown = [(job.sequence, job.layer) for job in jobs if job.k is not None]
        self._sequences.check_room(grown)
        parts = []
        for positions in cut_into_commands(jobs):
            batch = [jobs[position] for position in positions]
            head_dim = self._sequences[batch[0].sequence].head_dim
            parts.append((batch, checked_scale(scale, head_dim), positions))
        started = [
            (self.backend.submit(batch, code, partial), positions)
            for batch, code, positions in parts
        ]
        for sequence, layer in grown:
            self._sequences[sequence].tokens[layer] += 1
        ticket = Ticket(started, jobs, grown)
        self._pending.append(ticket)
        return ticket

    def wait(self, ticket):
        """Outputs of `submit`, a list in the order of its jobs; of `submit_append`, None.

        If the drive refuses some of them, the others are executed all the same: the `DriveError` of
        the first says which (``job``) and has the results of all (``outputs``, None for these).
        That of an append has its sequence and layer as a note.
        """
        checked_ticket(ticket)
        self._check_running()
        self._pending.take(ticket)
        if isinstance(ticket, AppendTicket):
            return self._wait_append(ticket)
        outputs, flags, failures = ticket.results(self.backend)
        for (sequence, layer), output in zip(ticket.grown, outputs, strict=False):
            self._sequences[sequence].tokens[layer] -= 1
            self._sequences.grew(sequence, layer, output is not None)
        self.last_flags = flags
        self._flags.count(flags)
        if failures:
            first = min(failures)
            failure = failures[first]
            failure.job, failure.outputs = first, outputs
            raise failure
        return outputs

    def _wait_append(self, ticket):
        try:
            self.backend.wait_append(ticket.part)
        except DriveError as error:
            self._sequences.grew(ticket.sequence, ticket.layer, error.appended - ticket.tokens)
            error.add_note(
                f"{ticket.tokens} tokens of layer {ticket.layer} of sequence {ticket.sequence}"
            )
            raise

    def elapse(self, seconds):
        """The host does something else for so long; the drive works on.

        Backends without time do nothing.
        """
        self._check_running()
        if not 0 <= seconds < math.inf:
            raise DriveValueError(f"seconds = {seconds!r} is not possible: give 0 or more")
        self.backend.elapse(round(seconds * self.config.clock_hz))

    def read(self, sequence, layer, start=0, stop=None):
        """K and V of tokens ``start`` to ``stop`` (excluded) over the link: the plain SSD's way."""
        entry = self._entry(sequence, layer)
        held = entry.tokens[layer]
        start = checked_integer("start", start)
        stop = held if stop is None else checked_integer("stop", stop)
        if not 0 <= start <= stop <= held:
            raise DriveError(
                Status.GROUP_OUT_OF_RANGE, f"tokens {start}..{stop} of a layer that holds {held}"
            )
        if start == stop:
            raise DriveError(Status.ZERO_LENGTH, f"tokens {start}..{stop} are none")
        return self.backend.read(sequence, layer, start, stop, held)

    def tokens(self, sequence, layer=0):
        """Tokens that a layer holds."""
        return self._entry(sequence, layer).tokens[layer]

    def stats(self):
        """Cumulative statistics of the drive, see `host.stats.statistics`."""
        counters, channels, simulated = self.backend.counters()
        own = {
            "saturated": self._flags[ResultFlag.SATURATED],
            "nonfinite": self._flags[ResultFlag.NONFINITE],
            "simulated_clocks": simulated,
            **self.backend.repairs(),
        }
        return statistics(self.backend.name, self.config.clock_hz, counters, channels, own)

    def health(self):
        """Wear, errors and expected life of the drive's flash, see `host.health.drive_health`."""
        return drive_health(
            self.config,
            self.stats(),
            self.backend.wear(),
            self._sequences.appended_tokens,
            self._sequences.appended_bytes,
        )

    def close(self, sequence):
        """Closes a sequence; its pages, tables and (after a while) its number are used again."""
        entry = self._idle_entry(sequence)
        self.backend.close(sequence)
        entry.closed = True

    def shutdown(self):
        """Ends the drive; its contents are lost. Does nothing the second time."""
        if self._running:
            self._running = False
            self.backend.shutdown()

    def _check_running(self):
        if not self._running:
            raise DriveError(Status.INTERNAL_ERROR, "the drive was shut down")

    def _entry(self, sequence, layer):
        self._check_running()
        return self._sequences.entry(sequence, layer)

    def _idle_entry(self, sequence):
        """An open sequence's entry; it must have no jobs under way."""
        entry = self._entry(sequence, 0)
        if self._pending.use(sequence):
            raise DriveValueError(f"sequence {sequence} has jobs under way: wait for them first")
        return entry
