"""How long flash lasts under K and V: tokens until it is worn out, refresh of read blocks included.

::

    tokens = drive bytes * P/E cycles / (bytes per token * copies * write amplification)

A block of p pages, of which every step reads every page once, is read p times a step, and written
anew before a step would bring it over L reads: after each floor(L / p) steps. A page that is read
in s steps is therefore written

    1 + floor((s - 1) / floor(L / p))

times: the write amplification by refresh, apart from that by everything else, with which it
multiplies. `refreshed` counts it read by read.
"""

import json
from dataclasses import dataclass

from .options import BadOption, write_figures

__all__ = [
    "MODELS",
    "Model",
    "add_endurance",
    "endurance_record",
    "refresh_amplification",
    "refreshed",
    "tokens_until_worn",
]

YEAR_S = 365 * 86_400


@dataclass(frozen=True)
class Model:
    """Shape of a model's KV cache, two bytes an element, and what its writing costs.

    ``amplification`` is what `instinfer bench store` measured of the drive as it is, filled to 80 %
    with profile ``paper`` (docs/store.md).
    """

    layers: int
    kv_heads: int
    head_dim: int
    amplification: float

    def token_bytes(self, copies_of_k=1):
        """Bytes of K and V of one token: dense, or with a channel-indexed second copy of K."""
        return 2 * (copies_of_k + 1) * self.layers * self.kv_heads * self.head_dim


MODELS = {"opt-13b": Model(40, 40, 128, 1.005), "llama-3-8b": Model(32, 8, 128, 1.023)}

PAPER = {"bytes": 4 * 2 << 40, "erases": 3000, "token_bytes": 0.78 * (1 << 20)}
"""The paper's claim: four drives of 2 TiB, 3000 P/E cycles, 0.78 MiB a token of OPT-13B, nothing
written twice. It says 32,263,877 thousand tokens."""


def tokens_until_worn(drive_bytes, erases, token_bytes, amplification=1.0):
    """Tokens that flash takes before all its blocks have been erased ``erases`` times."""
    return drive_bytes * erases / (token_bytes * amplification)


def refresh_amplification(steps, pages, limit):
    """Times that a page is written if its block is written anew after ``limit`` reads.

    Parameters
    ----------
    steps : int
        Steps that read each page of the block once.
    pages : int
        Of a block.
    limit : int
        Reads of a block; 0: never. At least ``pages``: a block is moved between two steps.
    """
    if limit and limit < pages:
        raise ValueError(f"limit = {limit} is not possible: a step reads {pages} pages of a block")
    return 1 + max(0, steps - 1) // (limit // pages) if limit else 1


def refreshed(steps, pages, limit):
    """The same, counted: a block is read page by page, and moved before a step passes the limit."""
    writes, reads = 1, 0
    for _ in range(steps):
        if limit and reads + pages > limit:
            writes, reads = writes + 1, 0
        for _ in range(pages):
            reads += 1
    return writes


def endurance_record(drive_bytes, erases, amplification, rate, steps, pages, limits):
    """All figures of `instinfer endurance`, for JSON.

    Parameters
    ----------
    drive_bytes, erases : int
    amplification : float or None
        Of writes by all but refresh; None: as measured, of each model.
    rate : float
        Tokens a second, prompts included.
    steps : int
        Steps that attend a token after it came: the length of an answer.
    pages : int
        Of a block.
    limits : list of int
        Reads of a block after which it is refreshed; 0: never.
    """
    rows = []
    for name, model in MODELS.items():
        writes = amplification or model.amplification
        for copies in (1, 2):
            size = model.token_bytes(copies)
            for limit in limits:
                refresh = refresh_amplification(steps, pages, limit)
                tokens = tokens_until_worn(drive_bytes, erases, size, writes * refresh)
                rows.append(
                    {
                        "model": name,
                        "copies_of_k": copies,
                        "token_bytes": size,
                        "write_amplification": writes,
                        "read_limit": limit,
                        "refresh_amplification": refresh,
                        "tokens": tokens,
                        "years": tokens / rate / YEAR_S,
                    }
                )
    return {
        "drive_bytes": drive_bytes,
        "erases": erases,
        "tokens_per_second": rate,
        "steps": steps,
        "block_pages": pages,
        "paper_tokens": tokens_until_worn(*(PAPER[n] for n in ("bytes", "erases", "token_bytes"))),
        "rows": rows,
    }


def _table(record):
    yield (
        f"{record['drive_bytes'] / 2**40:g} TiB, {record['erases']:,} P/E cycles, "
        f"{record['tokens_per_second']:g} tokens/s, each attended in {record['steps']:,} steps, "
        f"blocks of {record['block_pages']} pages"
    )
    yield f"the paper's claim, OPT-13B: {record['paper_tokens'] / 1e9:,.1f} G tokens"
    yield ""
    yield (
        f"{'model':12}{'copies of K':>12}{'kB/token':>10}{'written':>9}{'read limit':>12}"
        f"{'refresh':>9}{'G tokens':>10}{'years':>8}{'of claim':>10}"
    )
    for row in record["rows"]:
        limit = f"{row['read_limit']:,}" if row["read_limit"] else "none"
        share = f"{row['tokens'] / record['paper_tokens']:.1%}" if row["model"] == "opt-13b" else ""
        yield (
            f"{row['model']:12}{row['copies_of_k']:>12}{row['token_bytes'] / 1e3:>10.1f}"
            f"{row['write_amplification']:>9.3f}{limit:>12}{row['refresh_amplification']:>9}"
            f"{row['tokens'] / 1e9:>10,.1f}{row['years']:>8.1f}"
            f"{share:>10}"
        )


def add_endurance(parser):
    """Give a parser the options of ``instinfer endurance``."""
    for option, kind, default, text in (
        ("--tebibytes", float, 8.0, "size of all drives together (default: 8, the paper's four)"),
        ("--erases", int, 3000, "P/E cycles of a block (default: 3000, TLC)"),
        ("--amplification", float, None, "of writes, refresh apart (default: as measured)"),
        ("--rate", float, 100.0, "tokens a second, day and night (default: 100)"),
        ("--steps", int, 1024, "steps that attend a token (default: 1024)"),
        ("--block-pages", int, 512, "pages of a block (default: 512, profile paper)"),
    ):
        parser.add_argument(option, type=kind, default=default, metavar="N", help=text)
    parser.add_argument(
        "--limits",
        type=int,
        nargs="+",
        default=[0, 500_000, 100_000, 20_000],
        metavar="READS",
        help="reads of a block after which it is refreshed, 0: never (default: 0 500000 100000 "
        "20000)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write all figures; with -, to standard output, and no table"
    )
    parser.add_argument(
        "--picture", metavar="FILE", help="draw refresh over the limit and save it as PNG"
    )
    parser.set_defaults(run=_run)


def _run(options):
    for option in ("tebibytes", "erases", "rate", "steps", "block_pages"):
        if not getattr(options, option) > 0:
            name = option.replace("_", "-")
            raise BadOption(f"--{name} {getattr(options, option):g} is not possible: give more")
    if options.amplification is not None and options.amplification < 1:
        raise BadOption(f"--amplification {options.amplification:g} is not possible: 1 or more")
    for limit in options.limits:
        if limit and limit < options.block_pages:
            raise BadOption(
                f"--limits {limit} is not possible: a step reads {options.block_pages} pages of a "
                "block, give as many or more, or 0"
            )
    record = endurance_record(
        int(options.tebibytes * 2**40),
        options.erases,
        options.amplification,
        options.rate,
        options.steps,
        options.block_pages,
        options.limits,
    )
    if options.picture:
        from .endurance_picture import save_refresh  # matplotlib takes a second to import

        save_refresh(options.picture, options.block_pages)
    if options.json:
        write_figures(options.json, json.dumps(record, indent=2) + "\n")
        if options.json == "-":
            return 0
    print("\n".join(_table(record)))
    return 0
