"""Python HLS: a kernel is one small Python function over typed integers, interpreted twice.

    @kernel(inputs={"a": signed(25), "b": bits(12)}, outputs={"p": signed(37)})
    def times(a, b):
        return {"p": a * b}

    times.numpy(a=np.arange(5), b=3)["p"]        # vectorised int64
    Pipeline(times, clock_hz=250e6)              # pipelined Amaranth component, the same bits
    print(times.schedule(250e6))                 # what happens in which stage, and what it costs

The function runs once, on symbolic values (`values`), when it is decorated. What it computes is an
expression graph; the function itself must not branch on values.
"""

import numpy as np

from hls_attention.operators import OPERATORS
from hls_attention.pipeline import Pipeline
from hls_attention.schedule import Schedule
from hls_attention.values import Int, Value, bits, const, signed

__all__ = ["Kernel", "Pipeline", "Schedule", "Int", "bits", "kernel", "signed"]


class Kernel:
    """A traced kernel.

    Parameters
    ----------
    function : callable
        Takes one `Value` per input, by name; returns a dict of output values.
    inputs, outputs : dict of str to Int
        Types of the ports. Every output must fit its type whatever the inputs.

    Attributes
    ----------
    nodes : list of Value
        The expression graph, operands first, equal subexpressions once, inputs leading.
    results : dict of str to Value
        The node of each output.
    """

    def __init__(self, function, *, inputs, outputs):
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.inputs = dict(inputs)
        self.outputs = dict(outputs)
        ports = {name: Value("input", (), name, type) for name, type in self.inputs.items()}
        results = {
            name: value if isinstance(value, Value) else const(value)
            for name, value in function(**ports).items()
        }
        if results.keys() != self.outputs.keys():
            raise ValueError(
                f"kernel {self.name} returns {sorted(results)}, declared are {sorted(self.outputs)}"
            )
        for name, value in results.items():
            if not self.outputs[name].contains(value.type):
                raise OverflowError(
                    f"output {name} of kernel {self.name} takes {value.lo}..{value.hi}, beyond its "
                    f"type's {self.outputs[name].lo}..{self.outputs[name].hi}"
                )
        self.nodes, self.results = _linearise(ports.values(), results)
        self._program, self._result_slots = _program(self.nodes, self.results)

    def numpy(self, **inputs):
        """The kernel on int64 arrays, which broadcast.

        Parameters
        ----------
        **inputs : array of int
            One per input, within its type.

        Returns
        -------
        dict of str to array of int64
        """
        if inputs.keys() != self.inputs.keys():
            raise TypeError(f"kernel {self.name} takes {sorted(self.inputs)}, got {sorted(inputs)}")
        slots = {}
        for slot, (name, type) in enumerate(self.inputs.items()):
            array = np.asarray(inputs[name], dtype=np.int64)
            if array.size and not (type.lo <= array.min() and array.max() <= type.hi):
                raise OverflowError(
                    f"input {name} of kernel {self.name} must be in {type.lo}..{type.hi}, "
                    f"got {array.min()}..{array.max()}"
                )
            slots[slot] = array
        for slot, node, operands, last_uses in self._program:
            if node.op == "const":
                slots[slot] = node.param
            else:
                arrays = (slots[operand] for operand in operands)
                slots[slot] = OPERATORS[node.op].numpy(node.param, *arrays)
            for operand in last_uses:
                del slots[operand]
        return {
            name: np.asarray(slots[slot], dtype=np.int64)
            for name, slot in self._result_slots.items()
        }

    def schedule(self, clock_hz):
        """The kernel cut into pipeline stages for a clock; see `Schedule`."""
        return Schedule(self, clock_hz)


def kernel(*, inputs, outputs):
    """Decorator: trace a function into a `Kernel`.

    Parameters
    ----------
    inputs, outputs : dict of str to Int
        Types of the ports, from `bits`, `signed` or `Int`.
    """
    return lambda function: Kernel(function, inputs=inputs, outputs=outputs)


def _linearise(ports, results):
    """Nodes that the results need, operands first, with equal subexpressions merged."""
    merged, by_key = {}, {}

    def visit(node):
        if node not in merged:
            args = tuple(visit(arg) for arg in node.args)
            key = (node.op, tuple(map(id, args)), node.param, node.type)
            merged[node] = by_key.setdefault(key, Value(node.op, args, node.param, node.type))
        return merged[node]

    for port in ports:
        visit(port)
    results = {name: visit(value) for name, value in results.items()}
    return list(by_key.values()), results


def _program(nodes, results):
    """Steps (slot, node, operand slots, those used for the last time) and the results' slots."""
    slot_of = {node: slot for slot, node in enumerate(nodes)}
    result_slots = {name: slot_of[node] for name, node in results.items()}
    alive = set(result_slots.values())
    steps = []
    for node in reversed(nodes):
        operands = tuple(slot_of[arg] for arg in node.args)
        last_uses = set(operands) - alive
        alive |= last_uses
        if node.op != "input":
            steps.append((slot_of[node], node, operands, tuple(last_uses)))
    return steps[::-1], result_slots
