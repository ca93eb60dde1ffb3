"""``instinfer area --codes``: units of the error correction, for codes of any strength.

One encoder and one decoder for each code, with a key equation and a search of the sizes that keep
the line rate at a raw bit error rate (`rtl.ecc.rates.sizes_for`).
"""

import dataclasses
import json
from collections import Counter

from ..options import BadOption, write_figures
from .cells import Count, count_cells

__all__ = ["add_counts", "codes_text", "run_codes", "synthesise_codes"]

UNITS = {
    "encoder": "encoder",
    "syndromes": "syndromes",
    "key": "key equation",
    "search": "search",
    "corrector": "correction buffer",
}
"""Units -> what they are called. All but the first make a decoder, with a dozen gates more."""


def add_counts(modules, cells, top):
    """Cells of a module and of all that is in it.

    Parameters
    ----------
    modules, cells : dict
        As in `host.area.command.area_record`.
    top : str

    Returns
    -------
    Count
    """
    parts = Counter(modules[top].values())
    return sum(
        (add_counts(modules, cells, part) * number for part, number in parts.items()),
        count_cells(cells.get(top, {})),
    )


def _clocks(code, sizes):
    """Clocks of a codeword, and from its first word in to its first word out."""
    from rtl.ecc.rates import latency

    def clocks(errors, last):
        return latency(code, sizes.lanes, sizes.positions, errors, last)

    return {
        "of a codeword's words": code.words,
        "latency without errors": clocks(0, None),
        "latency, one error, in the last bit": clocks(1, code.bits - 1),
        "latency, t errors, one in the last bit": clocks(code.t, code.bits - 1),
    }


def codes_text(records):
    """The records as a table for the documents."""
    head = "".join(f" t = {r['t']}: LUT | FF | BRAM36 |" for r in records)
    lines = [f"| unit |{head}", "|---" * (1 + 3 * len(records)) + "|"]
    for unit in records[0]["units"]:
        lines.append(_row(UNITS[unit], [record["units"][unit] for record in records]))
    if records[0]["decoder"]:
        lines.append(_row("**decoder**", [record["decoder"] for record in records]))
    lines += ["", "| | " + " | ".join(f"t = {r['t']}" for r in records) + " |"]
    lines.append("|---" * (1 + len(records)) + "|")
    rows = {
        "key equation, lanes": [r["lanes"] for r in records],
        "search, slots a clock": [r["positions"] for r in records],
    }
    for name in records[0]["clocks"]:
        rows[f"clocks: {name}"] = [r["clocks"][name] for r in records]
    lines += [f"| {name} | {' | '.join(map(str, row))} |" for name, row in rows.items()]
    return "\n".join(lines)


def _row(title, counts):
    cells = "".join(f" {c['lut']:,} | {c['ff']:,} | {c['bram36']:g} |" for c in counts)
    return f"| {title} |{cells}"


def _unit(name, code, sizes):
    from rtl.ecc.chien import ChienSearch
    from rtl.ecc.corrector import Corrector
    from rtl.ecc.decoder import CODEWORDS
    from rtl.ecc.encoder import Encoder
    from rtl.ecc.key_equation import KeyEquation
    from rtl.ecc.syndromes import Syndromes

    match name:
        case "encoder":
            return Encoder(code)
        case "syndromes":
            return Syndromes(code)
        case "key":
            return KeyEquation(code, lanes=sizes.lanes)
        case "search":
            return ChienSearch(code, positions=sizes.positions)
        case _:
            return Corrector(code, codewords=CODEWORDS)


def synthesise_codes(codes, bit_error_rate, family, units=tuple(UNITS), progress=lambda unit: None):
    """Map units of codes.

    Parameters
    ----------
    codes : sequence of rtl.ecc.code.BchCode
    bit_error_rate : float
        What the decoders are built for.
    family : str
    units : sequence of str
        Of `UNITS`.
    progress : callable
        Called with what is mapped next.

    Returns
    -------
    list of dict
        For each code ``data_bytes``, ``t``, ``lanes``, ``positions``, ``clocks``, ``units``: the
        fields of `Count` by unit; ``decoder``: their sum without the encoder, if all are there.
    """
    from cosim.yosys import instances, synthesise
    from hls_attention.verilog import to_verilog
    from hls_attention.verilog_names import split_modules
    from rtl.ecc.rates import sizes_for

    records = []
    for code in codes:
        sizes = sizes_for(code, bit_error_rate)
        counts = {}
        for name in units:
            progress(f"{UNITS[name]}, t = {code.t}")
            verilog = to_verilog(_unit(name, code, sizes), name)
            cells = synthesise(verilog, name, family)
            counts[name] = add_counts(instances(split_modules(verilog)), cells, name)
        whole = sum((count for name, count in counts.items() if name != "encoder"), Count())
        records.append(
            {
                "data_bytes": code.data_bytes,
                "t": code.t,
                "lanes": sizes.lanes,
                "positions": sizes.positions,
                "clocks": _clocks(code, sizes),
                "units": {name: dataclasses.asdict(count) for name, count in counts.items()},
                "decoder": dataclasses.asdict(whole) if len(counts) == len(UNITS) else None,
            }
        )
    return records


def run_codes(options, config, families):
    """The command with ``--codes``."""
    from rich.console import Console

    from cosim.yosys import FAMILIES
    from rtl.ecc.code import BchCode

    try:
        codes = [BchCode(config.codeword_bytes, t) for t in options.codes]
    except ValueError as error:
        raise BadOption(f"--codes: {error}") from error
    units = options.units or list(UNITS)
    if unknown := [name for name in units if name not in UNITS]:
        raise BadOption(f"--units {unknown[0]}: unknown unit; choose of {', '.join(UNITS)}")
    data = {}
    with Console(stderr=True).status("") as status:
        for family in families:
            data[family] = synthesise_codes(
                codes,
                config.bit_error_rate,
                family,
                units,
                lambda unit, family=family: status.update(f"synthesis for {family}: {unit}"),
            )
    if options.json:
        write_figures(options.json, json.dumps(data, indent=2) + "\n")
    if options.json != "-":
        for family, records in data.items():
            print(f"{FAMILIES[family]}\n\n{codes_text(records)}\n")
    return 0
