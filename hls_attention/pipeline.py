"""A kernel as hardware: a pipelined Amaranth component, scheduled for a clock.

i.payload --> [stage 0] --> rank 1 --> [stage 1] --> ... --> rank n --> o.payload
i.valid   ----------------> valid 1 -----------------------> valid n --> o.valid
i.ready   <-- advance = o.ready | ~o.valid, shared by all ranks
"""

from amaranth.hdl import Cat, Const, Module, Shape, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hls_attention.operators import OPERATORS

__all__ = ["Pipeline"]


class Pipeline(wiring.Component):
    """A kernel with an initiation interval of one.

    A rank loads only when the pipeline advances and the rank before it holds something, so an idle
    pipeline is still. `i.ready` depends combinationally on `o.ready`; cut long chains of these with
    a skid buffer.

    Parameters
    ----------
    kernel : Kernel
    clock_hz : float
        Clock target; decides the number of stages and nothing else.
    meta : shape, optional
        Shape of data that travel along unchanged.

    Members
    -------
    i : In(stream)
        The kernel's inputs as raw integers, one field each, and ``meta`` if given.
    o : Out(stream)
        The kernel's outputs as raw integers, and ``meta`` if given.
    busy : Out(1)
        Some rank holds valid data.
    """

    def __init__(self, kernel, *, clock_hz, meta=None):
        self.kernel = kernel
        self.schedule = kernel.schedule(clock_hz)
        self._meta = meta
        super().__init__(
            {
                "i": In(stream.Signature(self._layout(kernel.inputs))),
                "o": Out(stream.Signature(self._layout(kernel.outputs))),
                "busy": Out(1),
            }
        )

    @property
    def latency(self):
        """Clocks from a transfer on ``i`` to its result on ``o``."""
        return self.schedule.latency

    def _layout(self, ports):
        fields = {name: _shape(type) for name, type in ports.items()}
        return data.StructLayout(fields if self._meta is None else {**fields, "meta": self._meta})

    def elaborate(self, platform):
        m = Module()
        latency, schedule = self.latency, self.schedule

        valid = Signal(latency)  # bit k: rank k + 1 holds data
        advance = Signal()
        m.d.comb += [
            advance.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(advance),
            self.o.valid.eq(valid[-1]),
            self.busy.eq(valid.any()),
        ]
        with m.If(advance):
            m.d.sync += valid.eq(Cat(self.i.valid, valid[:-1]))

        registers = [[] for _ in range(latency)]  # what each rank loads: (register, source)
        held = {}  # (node, rank) -> its value there; rank = stage: combinational

        def at(node, stage):
            if node.op == "const":
                return Const(node.param, _shape(node.type))
            return held[node, stage]

        for index, node in enumerate(self.kernel.nodes):
            if node.op == "const":
                continue
            stage = schedule.stage[node]
            name = node.param if node.op == "input" else f"{node.op}{index}"
            held[node, stage] = wire = Signal(_shape(node.type), name=name)
            m.d.comb += wire.eq(self._gates(m, node, name, [at(arg, stage) for arg in node.args]))
            for rank in range(stage + 1, schedule.last_rank[node] + 1):
                held[node, rank] = register = Signal(
                    _shape(node.type), name=f"{name}_r{rank}", reset_less=True
                )
                registers[rank - 1].append((register, held[node, rank - 1]))

        if self._meta is not None:
            source = self.i.payload.meta
            for rank in range(latency):
                meta = Signal(self._meta, name=f"meta_r{rank + 1}", reset_less=True)
                registers[rank].append((meta, source))
                source = meta
            m.d.comb += self.o.payload.meta.eq(source)

        for rank, loads in enumerate(registers):
            with m.If(advance & (valid[rank - 1] if rank else self.i.valid)):
                m.d.sync += [register.eq(source) for register, source in loads]
        m.d.comb += [
            self.o.payload[name].eq(at(node, latency)) for name, node in self.kernel.results.items()
        ]
        return m

    def _gates(self, m, node, name, operands):
        if node.op == "input":
            return self.i.payload[node.param]
        if node.op != "lookup":
            return OPERATORS[node.op].gates(node.param, *operands)
        m.submodules[name] = table = memory.Memory(
            shape=_shape(node.type), depth=len(node.param), init=node.param
        )
        port = table.read_port(domain="comb")
        m.d.comb += port.addr.eq(operands[0])
        return port.data


def _shape(type):
    return Shape(type.width, type.signed)
