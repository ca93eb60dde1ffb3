"""Work that a drive has been given and that `KvDrive.wait` has not asked for yet."""

from dataclasses import dataclass

__all__ = ["AppendTicket", "Ticket"]


@dataclass(eq=False)
class Ticket:
    """Jobs under way, for `KvDrive.wait`.

    Parameters
    ----------
    parts : list
        ``(backend ticket, positions of its jobs in the caller's list)`` of each command.
    jobs : list of Job
    grown : list
        ``(sequence, layer)`` of each job that appended a token.
    """

    parts: list
    jobs: list
    grown: list
    done: bool = False

    def uses(self, sequence):
        """Whether a job of this sequence is among them."""
        return any(job.sequence == sequence for job in self.jobs)


@dataclass(eq=False)
class AppendTicket:
    """An append under way, for `KvDrive.wait`.

    Parameters
    ----------
    part : object
        The backend's ticket.
    sequence, layer : int
    tokens : int
        How many it appends.
    """

    part: object
    sequence: int
    layer: int
    tokens: int
    done: bool = False

    def uses(self, sequence):
        """Whether it appends to this sequence."""
        return self.sequence == sequence
