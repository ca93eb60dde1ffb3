"""Rows of a batch that have ended leave the drive at once.

::

    ended = EndedRows(cache, model.generation_config.eos_token_id)
    model.generate(**inputs, past_key_values=cache, stopping_criteria=[ended])

Transformers goes on with a row that has ended, on padding, until the last row has. With this the
row's sequence is closed after its end token: later commands have a job less, and its pages are
free.
"""

import torch
from transformers import StoppingCriteria

__all__ = ["EndedRows", "end_tokens"]


def end_tokens(eos):
    """The set of end tokens, of what Transformers has for ``eos_token_id``: number, list, None."""
    if eos is None:
        return set()
    return {int(token) for token in torch.as_tensor(eos).flatten().tolist()}


class EndedRows(StoppingCriteria):
    """Closes the sequences of rows whose newest token is an end token. Stops nothing by itself.

    Parameters
    ----------
    cache : DriveCache
    eos : int, list of int or None
        End tokens; those of the generation.
    """

    def __init__(self, cache, eos):
        self.cache, self.ends = cache, end_tokens(eos)

    def __call__(self, input_ids, scores, **kwargs):
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if token in self.ends:
                self.cache.end(row)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
