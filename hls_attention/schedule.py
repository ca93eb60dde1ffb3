"""The scheduler: which operator of a kernel works in which pipeline stage.

Operators are placed as soon as possible. Within a stage they chain, one behind the other, while the
sum of their delays fits the clock period less the register overhead; one that no longer fits starts
the next stage. Products sit in a DSP block between its own registers: they start a stage and take
as many ranks as the clock asks for. The kernel stays as it is; another clock moves the cuts.

Values still needed later are carried from rank to rank (balancing registers); constants never are.

    inputs -> [stage 0] -> rank 1 -> [stage 1] -> rank 2 ... [stage n-1] -> rank n -> outputs
"""

from collections import Counter

from hls_attention.operators import MULTIPLIER, OPERATORS, REGISTER_NS

__all__ = ["Schedule"]


class Schedule:
    """A kernel, cut into stages.

    Parameters
    ----------
    kernel : Kernel
    clock_hz : float
        Clock target.

    Attributes
    ----------
    latency : int
        Register ranks between inputs and outputs, at least 1.
    ii : int
        Initiation interval: one set of inputs every clock.
    stage : dict of Value to int
        The stage in which each node's logic works.
    last_rank : dict of Value to int
        The last rank in which each node's value is kept; none if not greater than its stage.
    delay_ns : list of float
        Longest chain of each stage.
    dsps, luts, ffs : int
        Estimates (`operators`), without valid bits and metadata.
    """

    ii = 1

    def __init__(self, kernel, clock_hz):
        self.kernel = kernel
        self.clock_hz = clock_hz
        self.period_ns = 1e9 / clock_hz
        self.budget_ns = self.period_ns - REGISTER_NS
        self._place()
        self._carry()

    def _place(self):
        """Give every node its stage, and the (stage, time) from which its result can be used."""
        product_ranks = next(ranks for shortest, ranks in MULTIPLIER if self.period_ns >= shortest)
        self.stage, usable = {}, {}
        for node in self.kernel.nodes:
            if node.op == "const":
                continue
            stage, start = max(
                (usable[arg] for arg in node.args if arg in usable), default=(0, 0.0)
            )
            if node.op == "mul" and product_ranks:
                stage += start > 0
                self.stage[node] = stage
                usable[node] = (stage + product_ranks, 0.0)
                continue
            delay = OPERATORS[node.op].delay_ns(node) if node.op != "input" else 0.0
            if delay > self.budget_ns:
                raise ValueError(
                    f"operator {node.op} on {node.width} bits takes {delay:.2f} ns; at "
                    f"{self.clock_hz / 1e6:g} MHz a stage has {self.budget_ns:.2f} ns: lower the "
                    f"clock or compose it of narrower operators"
                )
            if start + delay > self.budget_ns:
                stage, start = stage + 1, 0.0
            self.stage[node] = stage
            usable[node] = (stage, start + delay)
        results = [usable[node] for node in self.kernel.results.values() if node in usable]
        self.latency = max([1] + [stage + (start > 0) for stage, start in results])
        self.delay_ns = [
            max(
                [time for where, time in usable.values() if where == stage]
                + [
                    self.budget_ns * (node.op == "mul")
                    for node in self.stage
                    if product_ranks and self.stage[node] == stage
                ],
                default=0.0,
            )
            for stage in range(self.latency)
        ]
        self._usable = {node: stage for node, (stage, _) in usable.items()}

    def _carry(self):
        """Find out how long each value is needed."""
        self.last_rank = dict(self.stage)
        for node, stage in self.stage.items():
            for arg in node.args:
                if arg in self.stage:
                    self.last_rank[arg] = max(self.last_rank[arg], stage)
        for node in self.kernel.results.values():
            if node in self.stage:
                self.last_rank[node] = self.latency
        self.dsps = sum(node.op == "mul" for node in self.stage)
        self.luts = sum(OPERATORS[node.op].luts(node) for node in self.stage if node.op != "input")
        self.ffs = sum(self.rank_bits(rank) for rank in range(1, self.latency + 1))

    def rank_bits(self, rank):
        """Register bits of one rank."""
        return sum(
            node.width for node, stage in self.stage.items() if stage < rank <= self.last_rank[node]
        )

    def __str__(self):
        head = (
            f"{self.kernel.name} at {self.clock_hz / 1e6:g} MHz: latency {self.latency}, one result per clock; "
            f"about {self.luts} LUT, {self.ffs} FF, {self.dsps} DSP"
        )
        lines = [
            head,
            f"{'stage':>5} {'delay':>8} {'registers':>10}  operators (logic budget {self.budget_ns:.2f} ns)",
        ]
        for stage in range(self.latency):
            ops = Counter(
                f"{node.op} {_widths(node)}"
                for node, where in self.stage.items()
                if where == stage
                and (node.op == "mul" or node.op != "input" and OPERATORS[node.op].delay_ns(node))
            )
            text = ", ".join(
                f"{count} x {name}" if count > 1 else name for name, count in ops.items()
            )
            lines.append(
                f"{stage:>5} {self.delay_ns[stage]:>5.2f} ns {self.rank_bits(stage + 1):>6} bit  {text}"
            )
        return "\n".join(lines)


def _widths(node):
    if node.op == "mul":
        return "x".join(str(arg.width) for arg in node.args)
    return str(node.type)
