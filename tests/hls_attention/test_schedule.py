"""The scheduler: timing and carrying checked afresh on the graph, and one schedule by hand."""

import pytest

from hls_attention import kernels
from hls_attention.hls import Kernel, bits, kernel, signed
from hls_attention.operators import MULTIPLIER, OPERATORS, REGISTER_NS

CLOCKS = [100e6, 150e6, 250e6, 350e6]
KERNELS = [traced for traced in vars(kernels).values() if isinstance(traced, Kernel)]


def name(traced):
    return traced.name


@pytest.mark.parametrize("clock_hz", CLOCKS)
@pytest.mark.parametrize("traced", KERNELS, ids=name)
def test_every_path_fits_its_stage(traced, clock_hz):
    schedule = traced.schedule(clock_hz)
    arrival = {}
    for node in schedule.stage:
        own = schedule.stage[node]
        inputs = [arg for arg in node.args if arg.op != "const"]
        assert all(schedule.stage[arg] <= own for arg in inputs)
        begin = max((arrival[arg] for arg in inputs if schedule.stage[arg] == own), default=0.0)
        dsp_ranks = next(ranks for ns, ranks in MULTIPLIER if schedule.period_ns >= ns)
        registered = node.op == "mul" and dsp_ranks > 0
        if registered:
            assert begin == 0, "a registered product starts from registers"
        cost = OPERATORS[node.op].delay_ns(node) if node.op != "input" and not registered else 0.0
        arrival[node] = begin + cost
        assert arrival[node] <= 1e9 / clock_hz - REGISTER_NS + 1e-9
        ranks = dsp_ranks if registered else 0
        users = [user for user in schedule.stage if any(arg is node for arg in user.args)]
        assert all(schedule.stage[user] >= own + ranks for user in users)


@pytest.mark.parametrize("clock_hz", CLOCKS)
@pytest.mark.parametrize("traced", KERNELS, ids=name)
def test_values_are_carried_as_long_as_needed_and_no_longer(traced, clock_hz):
    schedule = traced.schedule(clock_hz)
    results = list(traced.results.values())
    for node, last in schedule.last_rank.items():
        uses = [
            schedule.stage[user] for user in schedule.stage if any(arg is node for arg in user.args)
        ]
        uses += [schedule.latency] * any(result is node for result in results)
        assert last == max(uses, default=schedule.stage[node])
    assert all(node.op != "const" for node in schedule.last_rank)
    assert schedule.ffs == sum(
        (last - schedule.stage[node]) * node.width for node, last in schedule.last_rank.items()
    )


@pytest.mark.parametrize("traced", KERNELS, ids=name)
def test_another_clock_changes_stages_and_nothing_else(traced):
    """That the pipelines compute the same at each clock is in test_pipeline.py."""
    schedules = [traced.schedule(clock_hz) for clock_hz in CLOCKS]
    latencies = [schedule.latency for schedule in schedules]
    assert latencies == sorted(latencies)
    assert len({(schedule.dsps, schedule.luts, schedule.ii) for schedule in schedules}) == 1
    work = [_operators(schedule) for schedule in schedules]
    assert all(operators == work[0] for operators in work)


def _operators(schedule):
    """Every operator of a schedule, whatever its stage."""
    return sorted(
        (node.op, node.width, OPERATORS[node.op].luts(node))
        for node in schedule.stage
        if node.op != "input"
    )


def test_a_schedule_by_hand():
    @kernel(inputs={"a": signed(12), "b": signed(12), "c": bits(8)}, outputs={"y": signed(25)})
    def multiply_add(a, b, c):
        return {"y": a * b + c}

    schedule = multiply_add.schedule(250e6)
    # stage 0: the product, c waits (24 + 8 bits); stage 1: the sum, still below 2**23 (24 bits)
    assert [schedule.rank_bits(rank) for rank in (1, 2)] == [24 + 8, 24]
    assert (schedule.latency, schedule.ffs, schedule.dsps, schedule.luts) == (2, 56, 1, 24)
    text = str(schedule)
    assert "multiply_add at 250 MHz: latency 2" in text
    assert "mul 12x12" in text and "add s24" in text and "32 bit" in text


def test_wires_take_no_stage():
    wires = kernel(inputs={"a": bits(8)}, outputs={"y": bits(12)})(lambda a: {"y": a[2:6] << 4})
    assert wires.schedule(350e6).latency == 1
    constant = kernel(inputs={"a": bits(8)}, outputs={"y": bits(3)})(lambda a: {"y": 5})
    assert constant.schedule(350e6).ffs == 0


def test_a_clock_beyond_an_operator():
    with pytest.raises(ValueError, match="at 600 MHz a stage has 1.28 ns: lower the clock"):
        kernels.normalise.schedule(600e6)
    with pytest.raises(ValueError, match="500 MHz has 2.00 ns: lower the clock"):
        kernels.product.schedule(500e6)
