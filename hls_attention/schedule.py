"""The scheduler: which operator of a kernel works in which pipeline stage.

Operators are placed as soon as possible. Within a stage they chain, one behind the other, while the
sum of their delays fits the clock period less the register overhead; one that no longer fits starts
the next stage. Products sit in a DSP block between its own registers: they start a stage and take
as many ranks as the clock asks for. The kernel stays as it is; another clock moves the cuts.

Values still needed later are carried from rank to rank (balancing registers); constants never are.

    inputs -> [stage 0] -> rank 1 -> [stage 1] -> rank 2 ... [stage n-1] -> rank n -> outputs
"""

from collections import Counter, defaultdict

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
        self.dsps = sum(node.op == "mul" for node in self.stage)
        self.luts = sum(OPERATORS[node.op].luts(node) for node in self._operators())
        self.ffs = sum(self.rank_bits(rank) for rank in range(1, self.latency + 1))

    def _place(self):
        """Give every node its stage, as soon as its operands allow."""
        has_product = any(node.op == "mul" for node in self.kernel.nodes)
        product_ranks = self._product_ranks() if has_product else 0
        self.stage = {}
        usable = {}  # node -> (stage, ns after its start) from which the result can be used
        longest = defaultdict(float)
        for node in self.kernel.nodes:
            if node.op == "const":
                continue
            operands = [usable[arg] for arg in node.args if arg in usable]
            stage, start = max(operands, default=(0, 0.0))
            if node.op == "mul" and product_ranks:
                stage += start > 0
                longest[stage] = self.budget_ns
                usable[node] = stage + product_ranks, 0.0
            else:
                delay = self._delay_ns(node)
                if start + delay > self.budget_ns:
                    stage, start = stage + 1, 0.0
                longest[stage] = max(longest[stage], start + delay)
                usable[node] = stage, start + delay
            self.stage[node] = stage
        ends = [usable[node] for node in self.kernel.results.values() if node in usable]
        self.latency = max([1] + [stage + (end > 0) for stage, end in ends])
        self.delay_ns = [longest[stage] for stage in range(self.latency)]

    def _product_ranks(self):
        """Register ranks a product takes; clocks too fast for the DSP block are refused."""
        for shortest, ranks in MULTIPLIER:
            if self.period_ns >= shortest:
                return ranks
        raise ValueError(
            f"a product takes {shortest:.2f} ns of a period with all its registers; "
            f"{self.clock_hz / 1e6:g} MHz has {self.period_ns:.2f} ns: lower the clock"
        )

    def _delay_ns(self, node):
        delay = 0.0 if node.op == "input" else OPERATORS[node.op].delay_ns(node)
        if delay > self.budget_ns:
            raise ValueError(
                f"operator {node.op} on {node.width} bits takes {delay:.2f} ns; at "
                f"{self.clock_hz / 1e6:g} MHz a stage has {self.budget_ns:.2f} ns: lower the clock "
                f"or compose it of narrower operators"
            )
        return delay

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

    def rank_bits(self, rank):
        """Register bits of one rank."""
        return sum(
            node.width for node, stage in self.stage.items() if stage < rank <= self.last_rank[node]
        )

    def work(self, stage):
        """What a stage does: list of texts such as ``"2 x add s24"``."""
        counts = Counter(map(_describe, self._operators(stage)))
        return [f"{n} x {what}" if n > 1 else what for what, n in counts.items()]

    def _operators(self, stage=None):
        """Operators that take time, of one stage or all."""
        return [
            node
            for node, where in self.stage.items()
            if node.op != "input"
            and OPERATORS[node.op].delay_ns(node) > 0
            and (stage is None or stage == where)
        ]

    def __str__(self):
        lines = [
            f"{self.kernel.name} at {self.clock_hz / 1e6:g} MHz: latency {self.latency}, one "
            f"result per clock; about {self.luts} LUT, {self.ffs} FF, {self.dsps} DSP",
            f"stage     delay  registers  operators (a stage has {self.budget_ns:.2f} ns)",
        ]
        for stage in range(self.latency):
            delay, registers = self.delay_ns[stage], self.rank_bits(stage + 1)
            work = ", ".join(self.work(stage))
            lines.append(f"{stage:>5} {delay:>6.2f} ns {registers:>6} bit  {work}")
        return "\n".join(lines)


def _describe(node):
    if node.op == "mul":
        return f"mul {'x'.join(str(arg.width) for arg in node.args)}"
    return f"{node.op} {node.type}"
