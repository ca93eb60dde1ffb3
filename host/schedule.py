"""``instinfer schedule``: how the engine's kernels are pipelined for a clock, and what they cost.

The table has every kernel at the clock asked for and at a few others; below it, what each stage
does at the clocks asked for. Another clock moves the cuts between stages and nothing else: LUT and
DSP are those of the operators, FF and latency are what the cuts cost.
"""

import json

from .options import BadOption, write_figures

__all__ = ["add_schedule", "schedule_record"]

BESIDE_MHZ = (150.0, 250.0, 350.0)
"""Clocks of the table besides those asked for."""

TARGET = "Kintex-7 fabric, speed grade -2 (Zynq-7045); sources in hls_attention/operators.py"


def add_schedule(parser):
    """Give the command line's parser the options of the command."""
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--clock", type=float, nargs="+", default=[250.0], metavar="MHZ", help="default: 250"
    )
    parser.add_argument("--kernel", metavar="NAME", help="only this kernel")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write the figures as JSON; without FILE or with -, to standard output, and no text",
    )


def schedule_record(kernels, clocks_mhz):
    """Figures of kernels at clocks, as plain data; None where an operator is too slow."""
    return {
        "target": TARGET,
        "clocks_mhz": list(clocks_mhz),
        "kernels": {
            kernel.name: [_figures(_schedule(kernel, clock)) for clock in clocks_mhz]
            for kernel in kernels
        },
    }


def _kernels():
    from hls_attention import kernels, selection_kernels
    from hls_attention.hls import Kernel

    known = {**vars(kernels), **vars(selection_kernels)}
    return {k.name: k for k in known.values() if isinstance(k, Kernel)}


def _schedule(kernel, clock_mhz):
    try:
        return kernel.schedule(clock_mhz * 1e6)
    except ValueError:
        return None


def _figures(schedule):
    if schedule is None:
        return None
    return {
        "clock_mhz": schedule.clock_hz / 1e6,
        "latency": schedule.latency,
        "ii": schedule.ii,
        "lut": schedule.luts,
        "ff": schedule.ffs,
        "dsp": schedule.dsps,
        "stages": [
            {
                "delay_ns": round(schedule.delay_ns[stage], 3),
                "registers": schedule.rank_bits(stage + 1),
                "operators": schedule.work(stage),
            }
            for stage in range(schedule.latency)
        ],
    }


def _table(record, asked):
    clocks = record["clocks_mhz"]
    heads = [f"{clock:g} MHz{' *' * (clock in asked)}" for clock in clocks]
    lines = [
        " " * 32 + "".join(f"{head:>20}" for head in heads),
        f"{'kernel':20}{'LUT':>6}{'DSP':>6}" + f"{'stages':>12}{'FF':>8}" * len(clocks),
    ]
    for name, columns in record["kernels"].items():
        some = next((column for column in columns if column), None)
        row = f"{name:20}{some['lut']:>6}{some['dsp']:>6}" if some else f"{name:32}"
        for column in columns:
            row += f"{column['latency']:>12}{column['ff']:>8}" if column else f"{'too fast':>20}"
        lines.append(row)
    return "\n".join(lines)


def _run(options):
    known = _kernels()
    if options.kernel is not None and options.kernel not in known:
        raise BadOption(f"unknown kernel {options.kernel!r}: choose one of {', '.join(known)}")
    for clock in options.clock:
        if not 50 <= clock <= 1000:
            raise BadOption(f"--clock {clock:g} is not possible: choose 50..1000 MHz")
    kernels = [known[options.kernel]] if options.kernel else list(known.values())
    details = []
    for clock in options.clock:
        try:
            details += [kernel.schedule(clock * 1e6) for kernel in kernels]
        except ValueError as error:
            raise BadOption(str(error)) from error
    record = schedule_record(kernels, sorted({*options.clock, *BESIDE_MHZ}))
    if options.json:
        write_figures(options.json, json.dumps(record, indent=2) + "\n")
        if options.json == "-":
            return 0
    print(f"estimates for {TARGET}")
    print("a result every clock (II = 1); stages are the latency in clocks; * asked for\n")
    print(_table(record, options.clock), end="\n\n")
    for schedule in details:
        print(schedule, end="\n\n")
    return 0
