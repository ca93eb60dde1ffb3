"""``instinfer bench lanes``: how fast the drive is simulated, by lane, on the same attention.

The native lane (memories, flash and all in C) with and without idle skipping, and the cocotb lane
(memories and flash arrays in Python), on the same model, data and commands: they must agree in
results and in cycles. Then a long attention, which keeps every bus busy, and with ``--cold`` the
time to make a model from nothing.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from ..drive import KvDrive
from ..options import BadOption, add_drive_options, drive_config, write_figures

__all__ = ["add_lanes", "attend_once"]

KV_HEADS = 8
SHAPE_VARIABLE, RESULT_VARIABLE = "INSTINFER_BENCH_SHAPE", "INSTINFER_BENCH_RESULT"

COLD = """
import time
from cosim.native_build import config_verilog, native_library
from rtl.config import DriveConfig
config = DriveConfig(**{fields!r})
start = time.monotonic()
config_verilog(config, lambda text: None)
middle = time.monotonic()
native_library(config, lambda text: None)
print(middle - start, time.monotonic() - middle)
"""


def attend_once(config, tokens, kv_heads, *, lane=None, **options):
    """One attention of random tensors, always the same.

    Parameters
    ----------
    config : DriveConfig
    tokens, kv_heads : int
    lane : Lane, optional
        The drive; the native lane, with ``options``, if not given.

    Returns
    -------
    dict
        ``cycles``, ``clocks`` (evaluated), ``seconds``, and a ``digest`` of the result.
    """
    rng = np.random.default_rng(1)

    def normal(*shape):
        return rng.standard_normal(shape, dtype=np.float32).astype(np.float16)

    if lane is not None:
        options = {"lane": lane}
    drive = KvDrive(config, **options)
    lane = drive.backend.lane
    d = config.max_head_dim
    sequence = drive.open(layers=1, kv_heads=kv_heads, head_dim=d, max_tokens=tokens)
    drive.preload(sequence, 0, normal(tokens, kv_heads, d), normal(tokens, kv_heads, d))
    q = normal(kv_heads * config.max_queries_per_kv, d)
    cycle, clocks, start = lane.cycle, lane.simulated_clocks, time.perf_counter()
    out = drive.attend(sequence, 0, q)
    seconds = time.perf_counter() - start
    result = {
        "cycles": lane.cycle - cycle,
        "clocks": lane.simulated_clocks - clocks,
        "seconds": seconds,
        "digest": hashlib.sha256(out.tobytes()).hexdigest(),
    }
    drive.shutdown()
    return result


def add_lanes(parser):
    """Give the command line's parser the options of the benchmark."""
    parser.set_defaults(run=_run)
    add_drive_options(parser)
    parser.add_argument(
        "--tokens", type=int, default=256, metavar="N",
        help="tokens of the attention that all lanes do (default: 256)",
    )  # fmt: skip
    parser.add_argument(
        "--long", type=int, default=8192, metavar="N",
        help="tokens of the attention that keeps every bus busy (default: 8192)",
    )  # fmt: skip
    parser.add_argument(
        "--cold", action="store_true", help="also make the model from nothing, in an empty cache"
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write all figures as JSON; with -, to standard output, and no table",
    )


def _run(options):
    from rich.console import Console

    config = drive_config(options)
    for name in ("tokens", "long"):
        if not 1 <= (value := getattr(options, name)) <= config.max_tokens:
            raise BadOption(f"--{name} {value} is not possible: choose 1..{config.max_tokens}")
    console = Console(stderr=True)
    with console.status("") as status:
        record = _measured(config, options, status.update, console.print)
    if options.json:
        write_figures(options.json, json.dumps(record, indent=2) + "\n")
    if options.json != "-":
        _show(Console(), record)
    return 0


def _measured(config, options, title, announce):
    lane = {"announce": announce}
    title("making the native model")
    attend_once(config, 1, 1, **lane)  # compiles
    title("native lane")
    runs = {
        "native, skipping idle": attend_once(config, options.tokens, KV_HEADS, **lane),
        "native, every clock": attend_once(
            config, options.tokens, KV_HEADS, skip_idle=False, **lane
        ),
    }
    title("cocotb lane: the same attention (a minute or two)")
    runs["cocotb"] = _under_cocotb(config, options.tokens)
    if len({(run["cycles"], run["digest"]) for run in runs.values()}) != 1:
        raise RuntimeError(f"the lanes do not agree: {runs}")
    title(f"native lane: {options.long} tokens")
    streaming = attend_once(config, options.long, KV_HEADS, **lane)
    slow = runs["cocotb"]["cycles"] / runs["cocotb"]["seconds"]
    record = {
        "config": config.as_dict(),
        "tokens": options.tokens,
        "lanes": {
            name: {**run, "rate": run["cycles"] / run["seconds"],
                   "over_cocotb": run["cycles"] / run["seconds"] / slow}
            for name, run in runs.items()
        },
        "streaming": {
            "tokens": options.long, **streaming, "rate": streaming["cycles"] / streaming["seconds"]
        },
    }  # fmt: skip
    if options.cold:
        title("making a model in an empty cache")
        record["cold"] = _cold(config)
    return record


def _under_cocotb(config, tokens):
    try:
        from cosim.cocotb_runner import run
    except ImportError as error:
        raise BadOption(
            "the benchmark of lanes needs cocotb: pip install 'instinfer[test]'"
        ) from error
    from cosim.native_build import config_verilog
    from cosim.top import TOP_NAME

    shape = {"config": config.as_dict(), "tokens": tokens, "kv_heads": KV_HEADS}
    with tempfile.TemporaryDirectory(prefix="instinfer-") as folder:
        result = Path(folder) / "result.json"
        environment = {SHAPE_VARIABLE: json.dumps(shape), RESULT_VARIABLE: str(result)}
        verilog = config_verilog(config)
        with redirect_stdout(io.StringIO()):  # the simulation's log
            run("host.bench.cocotb_attend", verilog, TOP_NAME, seed=1, environment=environment)
        return json.loads(result.read_text())


def _cold(config):
    """Seconds to make Verilog and model with nothing kept from before."""
    with tempfile.TemporaryDirectory(prefix="instinfer-") as folder:
        found = subprocess.run(
            [sys.executable, "-c", COLD.format(fields=config.as_dict())],
            env={**os.environ, "INSTINFER_CACHE": folder},
            text=True,
            capture_output=True,
            check=True,
        )
    verilog, model = map(float, found.stdout.split())
    return {"verilog_seconds": verilog, "model_seconds": model}


def _show(console, record):
    from rich.table import Table

    config = record["config"]
    table = Table(
        title=f"the same attention on each lane: {record['tokens']} tokens, {KV_HEADS} KV heads, "
        f"{config['channels']} channels",
        title_justify="left",
    )
    for name in ("lane", "cycles", "evaluated", "seconds", "cycles/s", "x cocotb"):
        table.add_column(name, justify="left" if name == "lane" else "right")
    for name, run in record["lanes"].items():
        table.add_row(
            name, f"{run['cycles']:,}", f"{run['clocks']:,}", f"{run['seconds']:.2f}",
            f"{run['rate']:,.0f}", f"{run['over_cocotb']:.1f}",
        )  # fmt: skip
    console.print(table)
    long = record["streaming"]
    console.print(
        f"streaming {long['tokens']} tokens: {long['cycles']:,} cycles in {long['seconds']:.1f} s, "
        f"{long['rate']:,.0f} cycles/s"
    )
    if cold := record.get("cold"):
        console.print(
            f"from nothing: Verilog {cold['verilog_seconds']:.0f} s, Verilator and C++ "
            f"{cold['model_seconds']:.0f} s on {os.cpu_count()} cores"
        )
