"""One run of ``instinfer eval``: the model, the text cut up, the cases, and all figures of them."""

from cosim.golden_bounds import BLOCK_TOKENS, UNIT_TOKENS

from ..models import load
from ..options import BadOption
from ..support import head_shape
from .cases import Settings, make_cases
from .measure import measure_text
from .needle import make_trials, measure_needles
from .ratio import ELEMENT_BYTES, Layout
from .windows import cut_windows, lead_tokens, text_tokens

__all__ = ["Evaluation"]

WINDOW = 2048

PAGE_BYTES = 4096
"""Of the paper's flash: what bounds are written in."""


class Evaluation:
    """The model, the text and the cases that options ask for; `record` runs them.

    Parameters
    ----------
    options : argparse.Namespace
        Of `host.accuracy.command`, checked.
    ratios : list of float
        Nominal.
    text, source : str
        What the model reads, and where it is from.
    progress : rich.progress.Progress
    """

    def __init__(self, options, ratios, text, source, progress):
        self._options, self._progress, self._source = options, progress, source
        task = progress.add_task("loading the model", total=None)

        def report(stage, fraction):
            progress.update(task, description=stage, total=1.0, completed=fraction or 0)

        loaded = load(options.model, report)
        progress.remove_task(task)
        self._name, self._model, self._tokenizer = loaded.name, loaded.model, loaded.tokenizer
        self._tokens = text_tokens(loaded.tokenizer, text)
        self._lead = lead_tokens(loaded.tokenizer)
        head_dim = head_shape(loaded.model.config)[3]
        self._length, self._first = self._places(loaded.model.config)
        self._layout = _made(
            "--codeword",
            Layout,
            head_dim,
            options.codeword or min(4 * head_dim * ELEMENT_BYTES, 1024),
        )
        self._unit = options.bounds_unit or _page_tokens(head_dim)
        settings = Settings(
            head_dim, options.local, options.sinks, self._unit, besides=options.forced == "besides"
        )
        self._cases, self._left_out = make_cases(
            options.methods, ratios, settings, options.channels, options.kept, self._length
        )

    def _places(self, config):
        """Tokens of a window, first position scored."""
        options, length = self._options, self._options.window
        if length is None:
            length = WINDOW
            if options.text is None and options.task == "text":
                length = min(length, len(self._tokens) + len(self._lead))
        most = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
        if most is not None and length > most:
            raise BadOption(f"--window {length} is not possible: the model takes {most} tokens")
        first = length // 2 if options.first is None else options.first
        if not 1 <= first <= length - 2:
            raise BadOption(f"--from {first} is not possible: choose 1..{length - 2}")
        return length, first

    def record(self):
        """All figures, for JSON."""
        options = self._options
        task = self._progress.add_task("", total=None)

        def watch(text):
            self._progress.update(task, description=text, total=self._runs(), advance=1)

        self._progress.update(task, completed=-1)
        what, rows = (self._needles if options.task == "needle" else self._score)(watch)
        layout = self._layout
        return {
            "what": what,
            "task": options.task,
            "model": self._name,
            "text": self._source,
            "text_tokens": len(self._tokens),
            "window": self._length,
            "windows": options.windows,
            "first": self._first,
            "local": options.local,
            "sinks": options.sinks,
            "forced": options.forced,
            "codeword_bytes": layout.codeword_bytes,
            "codeword_tokens": layout.codeword_tokens,
            "bounds_unit": self._unit,
            "left_out": self._left_out,
            "seed": options.seed,
            "rows": rows,
        }

    def _runs(self):
        count = self._options.needles if self._options.task == "needle" else self._options.windows
        return count * (1 + len({case.method for case in self._cases}))

    def _score(self, watch):
        options = self._options
        windows = cut_windows(self._tokens, self._lead, self._length, options.windows)
        rows = measure_text(self._model, windows, self._first, self._cases, self._layout, watch)
        scored = options.windows * (self._length - 1 - self._first)
        what = (
            f"{self._name} on {self._source} ({len(self._tokens):,} tokens): {options.windows} "
            f"window{'s' * (options.windows > 1)} of {self._length:,}, {scored:,} positions scored "
            f"from {self._first:,} on"
        )
        if options.text is None:
            what += ". This is little: give --text FILE"
        return what, rows

    def _needles(self, watch):
        options = self._options
        trials = make_trials(
            self._tokenizer, self._tokens, self._lead, self._length, options.needles, options.keys,
            options.seed,
        )  # fmt: skip
        rows = measure_needles(self._model, trials, self._cases, self._layout, watch)
        what = (
            f"{self._name}: {options.needles} questions after {self._length:,} tokens of "
            f"{self._source}, each for one of {options.keys} numbers in it"
        )
        if self._length > len(self._tokens):
            what += f" (its {len(self._tokens):,} tokens again and again)"
        return what, rows


def _page_tokens(head_dim):
    """Tokens whose bounds fill a page, in whole blocks."""
    tokens = PAGE_BYTES * UNIT_TOKENS // head_dim
    return max(tokens // BLOCK_TOKENS, 1) * BLOCK_TOKENS


def _made(option, kind, *arguments, **named):
    try:
        return kind(*arguments, **named)
    except ValueError as error:
        raise BadOption(f"{option}: {error}") from error
