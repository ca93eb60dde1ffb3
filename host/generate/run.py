"""What a run leaves: tokens of each prompt, and what each step cost in the drive.

::

    Batch -- rows:  Run of each prompt -- Step of each of its tokens
          +- steps: BatchStep, one for all rows
          +- trace: what the flash did during one of them
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from ..sparse import DENSE, Bounds, Sparf

__all__ = ["Batch", "BatchStep", "Run", "Step", "Trace"]


@dataclass(frozen=True)
class Step:
    """One token of one row.

    Parameters
    ----------
    token : int
        The token that came out.
    choice : int
        The token the logits prefer; differs from ``token`` only under teacher forcing.
    context : int
        Tokens attended.
    wall_seconds : float
        Time of this computer, model and drive together, for all rows of the batch.
    stats : dict
        What happened in the drive for all rows, see `host.stats.difference`.
    logits : torch.Tensor or None
        Float32 [vocabulary], if they are kept.
    """

    token: int
    choice: int
    context: int
    wall_seconds: float
    stats: dict
    logits: torch.Tensor | None = None


@dataclass(frozen=True)
class BatchStep:
    """One step of a batch: a token of each row that had not ended.

    Parameters
    ----------
    rows : tuple of int
        Their numbers.
    contexts : tuple of int
        Tokens attended by each of them.
    wall_seconds, stats
        As in `Step`.
    """

    rows: tuple
    contexts: tuple
    wall_seconds: float
    stats: dict


@dataclass(frozen=True)
class Trace:
    """What the flash did during one step.

    Parameters
    ----------
    events : numpy structured array
        Of `cosim.native_lane.TRACE_DTYPE`.
    begin, end : int
        Cycles between which the step ran.
    layers : list of int
        Cycle at which each layer was done.
    step : BatchStep
    """

    events: np.ndarray
    begin: int
    end: int
    layers: list
    step: BatchStep


@dataclass
class Run:
    """A finished run, or one row of a batch.

    Parameters
    ----------
    backend : str
    shape : tuple of int
        Layers, query heads, KV heads, head_dim.
    prompt_ids : list of int
    prefill : Step
        The prompt: prefill on the host, K and V appended to the drive; gives the first token.
    steps : list of Step
        One per further token, each a decode step in the drive.
    text : str
        The answer.
    trace : Trace or None
        What the flash did during one step, where the backend can tell; a batch has it, not its
        rows.
    ended : bool
        Whether the last token is an end token.
    attention : str, Sparf or Bounds
        Of the decode steps, see `host.attention.attach`.
    """

    backend: str
    shape: tuple
    prompt_ids: list
    prefill: Step | None = None
    steps: list = field(default_factory=list)
    text: str = ""
    trace: Trace | None = None
    ended: bool = False
    attention: str | Sparf | Bounds = DENSE

    @property
    def all_steps(self):
        """Prefill and decode steps."""
        return [self.prefill, *self.steps]

    @property
    def tokens(self):
        """Generated tokens."""
        return [step.token for step in self.all_steps]

    def add(self, step):
        """Append the next step."""
        if self.prefill is None:
            self.prefill = step
        else:
            self.steps.append(step)


@dataclass
class Batch:
    """A finished run of several prompts.

    Parameters
    ----------
    backend, shape
        As in `Run`.
    rows : list of Run
        One per prompt.
    prefill : BatchStep or None
    steps : list of BatchStep
        One per further token of the longest answer.
    trace : Trace or None
        What the flash did during one step, where the backend can tell.
    attention : str, Sparf or Bounds
        As in `Run`.
    """

    backend: str
    shape: tuple
    rows: list
    prefill: BatchStep | None = None
    steps: list = field(default_factory=list)
    trace: Trace | None = None
    attention: str | Sparf | Bounds = DENSE
