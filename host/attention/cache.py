"""A Transformers cache whose storage is the drive.

::

    Attention.forward
      k, v ----> DriveCache.update(k, v, layer) ----> k, v (the same tensors, remembered)
      q, k, v -> attach.attention_forward ----------> DriveLayer.attend(q, scale)
                                                        prefill: drive.submit_append, softmax on
                                                                 the host, then the next layer
                                                        decode:  drive.step

Each row of a batch is a sequence of the drive, without its padding; a decode step of all rows is
one command per layer. In prefill the drive writes a layer while the host computes the next one; all
are waited for after the last, which is when their errors come. K and V exist on the host between
these two calls, and on their way to the drive. The layer remembers what `update` was given and
`attend` must be called with exactly that: a model that goes past the attention interface, or that
changes K or V after its cache, is noticed instead of being answered wrongly.
"""

from contextlib import suppress

import torch
from transformers.cache_utils import Cache

from ..errors import DriveError
from ..sparse import DENSE
from ..support import ContextTooLong, UnsupportedModel
from .layer import CacheUseError, DriveLayer

__all__ = ["CacheUseError", "DriveCache"]


class DriveCache(Cache):
    """K and V of one batch, one drive sequence per batch row.

    Parameters
    ----------
    drive : host.KvDrive
        Where K and V live and attention is computed.
    layers : int
        Layers of the model.
    max_tokens : int, optional
        Tokens reserved for each row; None: what the drive can hold.
    attention : str, Sparf or Bounds
        Of decode steps, see `host.attention.attach`.

    Attributes
    ----------
    sequences : list
        Handles of the drive's sequences, in batch order, None for rows that have ended; empty
        before the first tokens.
    padding : list of int
        Columns of padding on each row's left.
    on_attend : callable or None
        Called after each layer's attention, for reports.
    """

    def __init__(self, drive, layers, max_tokens=None, *, attention=DENSE):
        limit = drive.config.max_tokens
        if max_tokens is not None and not 1 <= max_tokens <= limit:
            raise ContextTooLong(
                f"max_tokens = {max_tokens} is not possible on this drive: choose 1..{limit}"
            )
        super().__init__(layers=[DriveLayer(self, index) for index in range(layers)])
        self.drive = drive
        self.attention = attention
        self.max_tokens = max_tokens or limit
        self.sequences = []
        self.padding = []
        self.shape = None
        self.pending = None
        self.broken = False
        self.on_attend = None
        self._appends = []  # (row, ticket) of what prefill gave to the drive

    def check(self, shape, padding):
        """Raise unless new tokens go with what the cache holds.

        Parameters
        ----------
        shape : tuple of int
            Batch rows, KV heads, head_dim.
        padding : list of int
            Columns of padding on each row's left.
        """
        if self.shape not in (None, shape):
            names = "batch rows, KV heads, head_dim"
            raise CacheUseError(
                f"K and V with ({names}) = {shape} do not go with what this cache holds, "
                f"{self.shape}: "
                "use one cache per batch, and a model with the same heads in all layers"
            )
        if self.shape and padding != self.padding:
            pairs = enumerate(zip(padding, self.padding, strict=True))
            row, (given, held) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
            raise CacheUseError(
                f"row {row} of the attention mask begins in column {given}, its tokens in this "
                f"cache in column {held}: give the mask of the earlier calls with ones on its right"
            )

    def open(self, shape, dtype, padding):
        """Open one sequence per batch row, of arguments as `check` has them, unless they are open.

        K and V of a BF16 model are kept in BF16, those of any other in FP16.
        """
        if self.shape is not None:
            return
        batch, kv_heads, head_dim = shape
        try:
            for _ in range(batch):
                self.sequences.append(
                    self.drive.open(
                        layers=len(self.layers),
                        kv_heads=kv_heads,
                        head_dim=head_dim,
                        max_tokens=self.max_tokens,
                        kv_format="bf16" if dtype == torch.bfloat16 else "fp16",
                        index="none" if self.attention == DENSE else self.attention.index,
                    )
                )
        except DriveError as error:
            row = len(self.sequences)
            if batch > 1:
                error.add_note(f"row {row} of a batch of {batch}, {self.max_tokens} tokens each")
            self.close()
            raise
        self.shape, self.padding = shape, padding

    def submit_append(self, row, layer, k, v):
        """Start to append tokens of a layer to a row; `wait_appends` has its errors."""
        ticket = self.drive.submit_append(self.sequences[row], layer, k, v)
        self._appends.append((row, ticket))

    def wait_appends(self):
        """Wait for all appends, and raise the first error of them, which names its layer."""
        appends, self._appends = self._appends, []
        first = None
        for row, ticket in appends:
            try:
                self.drive.wait(ticket)
            except DriveError as error:
                if len(self.sequences) > 1:
                    error.add_note(f"row {row} of the batch")
                first = first or error
        if first is not None:
            raise first

    def _give_up_appends(self):
        """Wait for appends of a prefill that was broken off, whose tokens nobody wants any more."""
        with suppress(DriveError):
            self.wait_appends()

    def end(self, row):
        """Close the sequence of a row that has ended; does nothing if it is closed.

        The row may stay in the batch: what the model computes for it means nothing from now on.
        """
        if not 0 <= row < len(self.sequences):
            raise CacheUseError(
                f"row {row} is not in this batch: choose one of 0..{len(self.sequences) - 1}"
                if self.sequences
                else f"row {row} is not in this batch, which holds no tokens yet"
            )
        sequence, self.sequences[row] = self.sequences[row], None
        if sequence is not None:
            self._give_up_appends()
            self.drive.close(sequence)

    def settle(self):
        """Raise if K and V of the last `update` were never attended."""
        pending, self.pending = self.pending, None
        if pending is not None:
            raise UnsupportedModel(
                f"layer {pending.index} took K and V from the cache but did not call the "
                "attention function: "
                "this model does not use the Transformers attention interface and cannot run on "
                "the drive"
            )

    def check_usable(self):
        """Raise if an earlier call ended halfway, with some tokens stored and others not."""
        if self.broken:
            raise CacheUseError(
                "an earlier call ended with an error halfway through the layers, so the drive "
                "may hold "
                "part of its tokens: reset() the cache and start the prompt again"
            )

    def close(self):
        """Close the sequences; the drive reclaims their pages."""
        self._give_up_appends()
        sequences, self.sequences = self.sequences, []
        for sequence in sequences:
            if sequence is not None:
                self.drive.close(sequence)

    def reset(self):
        """Forget all tokens; the next ones start new sequences."""
        self.close()
        self.padding = []
        self.shape = self.pending = None
        for layer in self.layers:
            layer.length = 0
            layer.keys = layer.values = None
            layer.is_initialized = False
        self.broken = False

    def crop(self, tokens_to_remove):
        """Forget the last tokens of all rows, as speculative decoding does with those refused.

        ``tokens_to_remove`` is their number, negated, as Transformers has it; 0 does nothing.
        """
        held = self.get_seq_length()
        if not -held <= tokens_to_remove <= 0:
            raise CacheUseError(
                f"tokens_to_remove = {tokens_to_remove} is not in {-held}..0: give the number of "
                f"tokens to be taken off the {held} held, negated"
            )
        if tokens_to_remove == 0:
            return
        self.settle()
        self.check_usable()
        self.broken = True  # until all rows are cut
        for sequence, columns in zip(self.sequences, self.padding, strict=True):
            if sequence is not None:
                self.drive.truncate(sequence, max(0, held + tokens_to_remove - columns))
        for layer in self.layers:
            layer.length += tokens_to_remove
        self.broken = False

    def reorder_cache(self, beam_idx):
        """Row n becomes what row ``beam_idx[n]`` was, as beam search wants it."""
        self._take(beam_idx.tolist())

    def batch_repeat_interleave(self, repeats):
        """Each row becomes ``repeats`` rows, one behind the other."""
        self._take([row for row in range(len(self.sequences)) for _ in range(repeats)])

    def batch_select_indices(self, indices):
        """Only these rows stay; numbers, or one truth value for each row."""
        if indices.dtype == torch.bool:
            indices = indices.nonzero()[:, 0]
        self._take(indices.tolist())

    def _take(self, rows):
        """Row n becomes what row ``rows[n]`` was; rows that none wants are closed."""
        if not self.sequences:
            return
        batch = len(self.sequences)
        if not rows or not all(0 <= row < batch for row in rows):
            raise CacheUseError(
                f"rows {rows} of a batch of {batch} are not possible: give one or more of "
                f"0..{batch - 1}"
            )
        self.settle()
        self.check_usable()
        self.broken = True  # until all rows are there
        old = dict(enumerate(self.sequences))
        taken = []
        for row in set(old) - set(rows):
            self.end(row)
        self.sequences = taken  # what `close` has to close if a fork is not possible
        try:
            for row in rows:
                fork = old[row] is not None and old[row] in taken
                taken.append(self.drive.fork(old[row]) if fork else old[row])
        except DriveError:
            taken += {old[row] for row in rows} - set(taken)
            raise
        self.padding = [self.padding[row] for row in rows]
        assert self.shape is not None
        self.shape = len(rows), *self.shape[1:]
        self.broken = False
