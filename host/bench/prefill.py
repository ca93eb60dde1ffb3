"""``instinfer bench prefill``: a prompt's K and V go to the drive while the host computes.

For each host time the same prompt twice: each layer waited for, and layers under way while the host
goes on. The dies' bound is `host.bench.prefill_measure.program_clocks`; host times are those of
`host.time_models`.
"""

import json

from rtl.tables import unit_groups

from ..checks import INDEXES
from ..options import (
    BadOption,
    add_drive_options,
    add_output_options,
    drive_config,
    out_folder,
    write_figures,
)
from ..time_models import GPUS, MODELS, cpu_layer_seconds, gpu_layer_seconds

__all__ = ["add_prefill"]

FIGURES = "bench_prefill.json"
HOSTS = ("none", *GPUS, "cpu")
FULL = 8, 2048, ["a6000", "cpu"]
QUICK = 3, 1024, ["a6000"]
"""Layers, tokens, hosts."""


def add_prefill(parser):
    """Give the command line's parser the options of the benchmark."""
    parser.set_defaults(run=_run)
    parser.add_argument("--quick", action="store_true", help="3 layers of 1024 tokens: a minute")
    parser.add_argument(
        "--model", choices=MODELS, default="smollm2", help="shape of a layer (default: smollm2)"
    )
    parser.add_argument("--tokens", type=int, metavar="N", help="of the prompt (default: 2048)")
    parser.add_argument("--layers", type=int, metavar="N", help="of the model (default: 8)")
    parser.add_argument(
        "--host",
        nargs="+",
        choices=HOSTS,
        help="what computes the layers: a GPU by formula, this computer as measured, or nothing at "
        "all, which is always there too (default: a6000 cpu)",
    )
    parser.add_argument(
        "--index",
        choices=INDEXES[:2],  # not bounds
        default="none",
        help="channel: the sequence has K a second time, by channel (default: none)",
    )
    add_drive_options(parser)
    add_output_options(parser, FIGURES)


def _run(options):
    config = drive_config(options)
    given = options.layers, options.tokens, options.host
    if options.quick and any(value is not None for value in given):
        raise BadOption("--quick has a size of its own: leave it out, or the sizes")
    usual = QUICK if options.quick else FULL
    layers = usual[0] if options.layers is None else options.layers
    tokens = usual[1] if options.tokens is None else options.tokens
    hosts = usual[2] if options.host is None else options.host
    decoder = MODELS[options.model]
    if not 1 <= layers <= decoder.layers:
        raise BadOption(
            f"--layers {layers} is not possible: {decoder.name} has 1..{decoder.layers}"
        )
    page = config.flash.geometry.page_bytes
    if options.index != "none" and not unit_groups(decoder.head_dim, page, config.codeword_bytes):
        raise BadOption(
            f"--index {options.index}: head_dim {decoder.head_dim} of {decoder.name} cannot have it"
        )
    if not 1 <= tokens <= config.max_tokens:
        raise BadOption(f"--tokens {tokens} is not possible: give 1..{config.max_tokens}")
    out = out_folder(options.out)
    record = {
        "preset": options.preset,
        "clock_hz": config.clock_hz,
        "dies": config.channels * config.dies,
        "model": decoder.name,
        "tokens": tokens,
        "layers": layers,
        "index": options.index,
        "runs": _measured(config, decoder, layers, tokens, hosts, options.index),
    }
    write_figures(options.json or out / FIGURES, json.dumps(record, indent=1) + "\n")
    if options.json == "-":
        return 0
    from rich.console import Console

    from .prefill_picture import save_prefill
    from .prefill_report import show_prefill

    picture = out / "bench_prefill.png"
    save_prefill(picture, record)
    show_prefill(Console(), record, picture)
    return 0


def _measured(config, decoder, layers, tokens, hosts, index):
    """Runs, those of a host without work first; with a progress bar."""
    from .prefill_measure import hidden, measure
    from .progress import LaneProgress

    runs, names = [], ["none", *dict.fromkeys(name for name in hosts if name != "none")]
    link_clocks = tokens * decoder.kv_heads * decoder.head_dim * 4 // 8
    with LaneProgress() as progress:
        progress.begin(2 * len(names) * layers * link_clocks)
        for name in names:
            progress.title(f"{name}: a layer on the host")
            seconds = _layer_seconds(name, decoder, tokens)
            for overlap in (True, False):
                progress.title(f"{name}: {'overlapped' if overlap else 'waited for'}")
                run = measure(
                    config,
                    decoder,
                    layers=layers,
                    tokens=tokens,
                    host_seconds=seconds,
                    overlap=overlap,
                    index=index,
                    bar=lambda lane: progress.watch(lane and _Evaluated(lane)),
                    announce=progress.console.print,
                )
                alone = runs[0] if runs else run
                share = hidden(run["host"], alone["programmed"], run["programmed"])
                runs.append({"host_name": name, **run, "hidden": share})
    return runs


def _layer_seconds(name, decoder, tokens):
    if name == "none":
        return 0.0
    if name == "cpu":
        return cpu_layer_seconds(decoder, tokens)
    return gpu_layer_seconds(decoder, tokens, GPUS[name])


class _Evaluated:
    """A lane whose clocks are those that were evaluated: the others take no time."""

    def __init__(self, lane):
        self._lane = lane

    @property
    def cycle(self):
        return self._lane.simulated_clocks
