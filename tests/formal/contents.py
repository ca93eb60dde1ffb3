"""What a component holds, in order: the abstraction function from its registers to a queue.

::

    registers, memory rows  -->  level, at(0), at(1), ...      at(0) leaves first

With it a contract is inductive: the followed payload stands at the place that the contract counts.
Names of registers are those of the components' texts (of a queue's rows: SyncFIFOBuffered of
amaranth); one that is no longer there ends a proof with the list of those that are.
"""

from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Const, Mux, Value

__all__ = ["Contents", "ranks", "queue", "ring", "skid_buffer"]


@dataclass
class Contents:
    """Abstraction function of a component.

    Attributes
    ----------
    level : Value
        Payloads inside.
    at : callable
        ``at(place)``, for ``place < level``, is the payload that so many others leave before.
    sound : list of Value
        What holds of the registers in all states that are reached.
    """

    level: Value
    at: Any
    sound: list = field(default_factory=list)


def ranks(pairs):
    """Contents of registers in a row, each with its valid bit, the one nearest the output first.

    Parameters
    ----------
    pairs : list of (Value, Value)
        Valid and payload.
    """
    pairs = [(valid, Value.cast(payload)) for valid, payload in pairs]
    before = [count([valid for valid, _ in pairs[:n]]) for n in range(len(pairs))]

    def at(place):
        found = Const(0, 1)
        for (valid, payload), place_here in zip(reversed(pairs), reversed(before)):
            found = Mux(valid & (place_here == place), payload, found)
        return found

    return Contents(level=count([valid for valid, _ in pairs]), at=at)


def count(bits):
    """Number of bits that are set."""
    return sum(bits, Const(0, 1))


def skid_buffer(probe):
    """Contents of a `hls_attention.streams.SkidBuffer`."""
    component = probe.component
    inside = ranks(
        [(component.o.valid, component.o.payload), (probe["held"], probe["kept"])],
    )
    inside.sound = [~probe["held"] | component.o.valid]
    return inside


def queue(probe):
    """Contents of a `hls_attention.streams.Queue`: an output register behind a ring of rows."""
    component = probe.component
    depth = component._depth - 1
    rows = probe.inside("rows")
    oldest, newest, level = rows["consume"], rows["produce"], rows["inner_level"]
    at_output = component.o.valid

    def at(place):
        row = wrapped(oldest + place - at_output, depth)
        return Mux(
            at_output & (place == 0), Value.cast(component.o.payload), rows.row("storage", row)
        )

    return Contents(
        level=level + at_output,
        at=at,
        sound=[
            level <= depth,
            oldest < depth,
            newest == wrapped(oldest + level, depth),
            at_output | (level <= 1),  # a row waits for one clock at most if the output is free
        ],
    )


def ring(probe):
    """Contents of a `rtl.nand.ring.Ring`."""
    depth, level = probe.component._depth, probe.component.level
    oldest, newest = probe["r_row"], probe["w_row"]
    return Contents(
        level=level,
        at=lambda place: probe.row("rows", wrapped(oldest + place, depth)),
        sound=[level <= depth, oldest < depth, newest == wrapped(oldest + level, depth)],
    )


def wrapped(row, depth):
    """A row below ``2 * depth`` taken back into the memory."""
    return Mux(row >= depth, row - depth, row)


def in_step(pairs, passage, age):
    """Contents of ranks that all move together, with the followed transfer at the one of its age.

    Parameters
    ----------
    pairs : list of (Value, Value)
        Valid and payload, the rank nearest the output first.
    passage : tests.formal.observers.Passage
    age : Value
        Moves since the followed transfer entered, see `tests.formal.observers.assert_latency`.
    """
    sound, followed = [(age >= 1) & (age <= len(pairs))], Const(0, 1)
    for n, (valid, payload) in enumerate(pairs):
        here = age == len(pairs) - n
        ahead = count([valid for valid, _ in pairs[:n]])
        sound.append(~here | (valid & (passage.ahead == ahead)))
        followed = Mux(here, payload, followed)
    return Contents(
        level=count([valid for valid, _ in pairs]),
        at=lambda place: followed,
        sound=[~passage.chosen | fact for fact in sound],
    )
