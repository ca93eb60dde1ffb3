"""Work that a drive has been given and that `KvDrive.wait` has not asked for yet."""

from dataclasses import dataclass

from rtl.commands import ResultFlag

from .errors import DriveTypeError, DriveValueError

__all__ = ["AppendTicket", "Ticket", "Tickets", "checked_ticket"]


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

    def results(self, backend):
        """Waits for its commands: outputs in the caller's order (None where a job failed), flags of
        all of them, and the error of each job that failed, by its place there."""
        outputs, flags, failures = [None] * len(self.jobs), ResultFlag(0), {}
        for part, positions in self.parts:
            result = backend.wait(part)
            flags |= result.flags
            for number, error in result.errors.items():
                failures[positions[number]] = error
            for position, output in zip(positions, result.outputs, strict=True):
                outputs[position] = output
        return outputs, flags, failures


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


def checked_ticket(ticket):
    """Refuses what is no ticket."""
    if not isinstance(ticket, Ticket | AppendTicket):
        raise DriveTypeError(
            f"ticket is {ticket!r}: give what submit() or submit_append() returned"
        )


class Tickets(list):
    """Tickets of a drive that were not waited for."""

    def use(self, sequence):
        """Whether one of them uses a sequence."""
        return any(ticket.uses(sequence) for ticket in self)

    def take(self, ticket):
        """Takes out one that is waited for now."""
        if ticket.done or ticket not in self:
            raise DriveValueError("the ticket was waited for already: wait once for each submit")
        self.remove(ticket)
        ticket.done = True

    def forget(self):
        """They will not be answered."""
        for ticket in self:
            ticket.done = True
        self.clear()
