"""What a backend does for `KvDrive`. Arguments are checked before they come here."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from rtl.commands import AttendMode, ResultFlag

from ..errors import DriveError
from ..health import WEAR
from ..sparse import Selection
from ..stats import REPAIRS

__all__ = ["Backend", "Job", "Result"]


@dataclass(frozen=True)
class Job:
    """One attend, or (with ``k`` and ``v``) one append of a token and attend.

    Parameters
    ----------
    sequence, layer : int
    q : [q_heads, head_dim]
    k, v : [kv_heads, head_dim] or None
    tokens : int
        Tokens that are there to be attended.
    selection : Selection or None
        What sparse attention selects of them; None: attention is dense.
    mode : AttendMode
    """

    sequence: int
    layer: int
    q: np.ndarray
    k: np.ndarray | None = None
    v: np.ndarray | None = None
    tokens: int = 0
    selection: Selection | None = None
    mode: AttendMode = AttendMode.DENSE


@dataclass(frozen=True)
class Result:
    """Results of one `submit`.

    Parameters
    ----------
    outputs : list
        One per job: an array [q_heads, head_dim] of q's type, or a list of `Partial`, one per pass;
        None for a job that was not executed.
    flags : ResultFlag
        Of all jobs together.
    errors : dict of int to DriveError
        Why jobs were not executed, by their place in the list.
    """

    outputs: list
    flags: ResultFlag
    errors: dict[int, DriveError] = field(default_factory=dict)


class Backend(ABC):
    """One way to execute what a `KvDrive` is asked for.

    Parameters
    ----------
    config : DriveConfig
    """

    name = ""

    def __init__(self, config):
        self.config = config

    @abstractmethod
    def open(self, layers, kv_heads, head_dim, max_tokens, format, index):
        """Number of a new sequence (``max_tokens`` 0: the drive's maximum; ``index``: the number
        of one of `host.checks.INDEXES`)."""

    @abstractmethod
    def close(self, sequence):
        """Closes a sequence and reclaims what it holds."""

    @abstractmethod
    def fork(self, sequence, max_tokens):
        """Number of a new sequence that begins with the tokens of another one."""

    @abstractmethod
    def truncate(self, sequence, tokens):
        """Every layer keeps ``tokens`` tokens at most."""

    @abstractmethod
    def save(self, sequence):
        """All tokens of a sequence, or of all (None), outlive a loss of power from here on."""

    @abstractmethod
    def power_cycle(self, seed):
        """The drive loses its power and gets it back.

        Returns
        -------
        dict of int to list of int
            Tokens that each layer holds, of the sequences that are still there.
        """

    @abstractmethod
    def submit_append(self, sequence, layer, k, v):
        """Starts to append [tokens, kv_heads, head_dim] in the sequence's format.

        Returns a ticket for `wait_append`; the arrays may be changed at once.
        """

    @abstractmethod
    def wait_append(self, ticket):
        """Returns once the tokens of a ticket are appended; raises `DriveError` if not all are.

        Its ``appended`` says how many are.
        """

    @abstractmethod
    def submit(self, jobs, scale, partial):
        """Starts jobs of one kind that share a scale; returns a ticket for `wait`.

        All are of one mode. With ``partial`` the sums of each pass are wanted.
        ``scale`` is ``(value, mant, exp)``: the number and its encoding for the drive.
        """

    @abstractmethod
    def wait(self, ticket):
        """`Result` of a ticket, errors of its jobs included."""

    @abstractmethod
    def read(self, sequence, layer, start, stop, held):
        """K and V of tokens ``start`` to ``stop`` (excluded) of the ``held``, as appended."""

    @abstractmethod
    def preload(self, sequence, layer, k, v):
        """Appends tokens without time passing in the drive."""

    def elapse(self, clocks):
        """Lets so many clocks pass in the drive; without a clock nothing, unless it says so."""
        return None

    def repairs(self):
        """Bad blocks and what became of their pages, see `host.stats`; without cells: None."""
        return dict.fromkeys(REPAIRS)

    def wear(self):
        """Wear of the flash, see `host.health`; without cells: None."""
        return dict.fromkeys(WEAR)

    @abstractmethod
    def counters(self):
        """``(counters, channels, simulated_clocks)``.

        ``counters``: dict of `rtl.registers.COUNTERS`, None where the backend has no time;
        ``channels``: list of dicts of `CHANNEL_COUNTERS`, or None.
        """

    def shutdown(self):
        """Releases what the backend holds: nothing, unless it says otherwise."""
        return None
