"""One `instinfer generate`: what is going on, the text as it appears, then the report."""

import json
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager

import torch
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from .. import models
from ..drive import KvDrive
from ..manifest import manifest
from ..sparse import DENSE, drive_for
from ..support import check_attention, check_model, check_modules
from .compare import compare_float, compare_runs, same_path
from .decode import encode, generate
from .health_report import show_health
from .record import make_record
from .report import bytes_text, show_report, time_text

__all__ = ["LABEL", "Session", "bar", "prefill_text", "run_session", "short"]

BACKENDS = ("rtl", "twin", "golden")
LABEL = 13
FILE_WIDTH = 120
"""Columns where there is no terminal to ask."""


def run_session(options, config, attention, prompt, out, json_file, faults=None):
    """Load, generate, compare, report and save; returns the exit status.

    Parameters
    ----------
    options : argparse.Namespace
        Of `host.cli`.
    config : DriveConfig
    attention : str, Sparf or Bounds
        Of decode steps. A drive for sparse attention gets room for all tokens of the run.
    prompt : str
    out : pathlib.Path
        Folder for pictures.
    json_file : pathlib.Path
    faults : flash_model.faults.Faults, optional
        Of the drive's flash. The backends that it is compared with have none.
    """
    torch.manual_seed(options.seed)
    session = Session(config, options.report, attention)
    loaded = session.load(options.model)
    check_modules(loaded.model)
    ids = encode(loaded.tokenizer, prompt)
    check_model(loaded.model.config, config, len(ids) + options.max_new_tokens)
    config = session.fit(loaded, len(ids) + options.max_new_tokens)
    with session.drive(options.backend, faults) as drive:
        session.show_prompt(prompt, ids)
        run = session.generate(loaded, drive, ids, options.max_new_tokens, options.compare)
        health = drive.health()
    comparison = session.compare(loaded, run) if options.compare else None
    record = make_record(run, loaded, config, manifest(config, options.seed), comparison)
    record["health"] = health
    session.finish(record, run, loaded, out, json_file, faults)
    return 0


class Session:
    """What is printed, section by section.

    Parameters
    ----------
    config : DriveConfig
    report : bool
        Whether the health of the drive's flash is shown.
    attention : str, Sparf or Bounds
        Of decode steps.
    """

    def __init__(self, config, report, attention):
        self.console, self.config = Console(highlight=False), config
        self.report, self.attention = report, attention
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=FILE_WIDTH)

    def line(self, label, *parts):
        self.console.print(Text.assemble((f"{label:<{LABEL}}", "cyan"), *parts), soft_wrap=False)

    def load(self, name):
        begin = time.perf_counter()
        with _progress(self.console) as report:
            loaded = models.load(name, report)
        config = loaded.model.config
        text = config.get_text_config(decoder=True)
        size = sum(p.numel() for p in loaded.model.parameters())
        self.line(
            "model",
            (loaded.name, "bold"),
            f"  {size / 1e6:.0f} M parameters, {text.num_hidden_layers} layers"
            f"   ready ({time.perf_counter() - begin:.1f} s)",
        )
        return loaded

    def fit(self, loaded, tokens):
        """The configuration of the drive, which is from now on one that can attend so many tokens
        of the model as it is asked to."""
        self.config = drive_for(self.attention, self.config, tokens)
        if self.attention != DENSE:
            check_attention(loaded.model.config, self.config, self.attention, tokens)
        return self.config

    @contextmanager
    def drive(self, backend, faults):
        config = self.config
        geometry = config.flash.geometry
        begin = time.perf_counter()
        head = (
            f"{config.channels} channels x {config.dies} dies, {geometry.page_bytes:,}-byte pages "
            f"({config.profile}), {config.clock_hz / 1e6:g} MHz"
        )
        rtl = backend == "rtl"
        say = {"trace": True, "announce": lambda text: self.line("", text)} if rtl else {}
        self.line("drive", head)
        if faults is not None:
            self.line("", f"raw bit error rate {faults.rate.fresh:g}, seed {faults.seed}")
        with self.console.status("preparing the drive"):
            drive = KvDrive(config, backend=backend, faults=faults, **say)
        with drive:
            self.line("", (backend, "bold"), f" ready ({time.perf_counter() - begin:.1f} s)")
            yield drive

    def show_prompt(self, prompt, ids):
        self.console.print()
        self.line("prompt", f"“{short(prompt)}”", (f"   {len(ids)} tokens", "dim"))

    def generate(self, loaded, drive, ids, max_new_tokens, keep_logits):
        layers = loaded.model.config.get_text_config(decoder=True).num_hidden_layers
        view = _Answer(self.console, max_new_tokens, layers, self.line)
        with view:
            run = generate(
                loaded.model,
                loaded.tokenizer,
                drive,
                ids,
                max_new_tokens,
                attention=self.attention,
                keep_logits=keep_logits,
                on_text=view.add_text,
                on_step=view.add_step,
                on_layer=view.layer_done,
            )
        return run

    def compare(self, loaded, run):
        result = self.compare_backends(
            run, lambda drive: same_path(loaded.model, loaded.tokenizer, drive, run), compare_runs
        )
        with self.console.status("the same tokens on the unmodified model"):
            result["float32"] = compare_float(loaded.model, run)
        return result

    def compare_backends(self, run, again, compare):
        """Result of ``compare(run, again(drive))`` for each other backend, by its name."""
        result = {}
        for name in BACKENDS:
            if name == run.backend or name == "rtl":
                continue
            with self.console.status(f"the same tokens on the {name} backend"):
                with KvDrive(self.config, backend=name) as drive:
                    other = again(drive)
                result[name] = compare(run, other)
        return result

    def finish(self, record, run, loaded, out, json_file, faults):
        """Write the record, draw, and report."""
        record["faults"] = faults and {"bit_error_rate": faults.rate.fresh, "seed": faults.seed}
        json_file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        pictures = self.draw(run, loaded, out)
        show_report(self.console, record, [*pictures, ("numbers", json_file)])
        if self.report:
            show_health(self.console, record["health"])

    def draw(self, run, loaded, out):
        if run.trace is None:
            return []
        from .timeline import Timeline, save_timeline  # matplotlib takes a second to import

        step, trace = run.trace.step, run.trace
        seconds = (trace.end - trace.begin) / self.config.clock_hz
        config, rows = self.config, len(step.rows)
        contexts = " + ".join(map(str, step.contexts))
        subtitle = (
            f"{loaded.name}, {run.shape[0]} layers, {contexts} tokens of context   ·   "
            f"{step.stats['pages_read']:,} pages in {time_text(seconds)} at "
            f"{config.clock_hz / 1e6:g} MHz   ·   {config.channels} channels x {config.dies} dies, "
            f"profile {config.profile}"
        )
        path = out / "timeline.png"
        what = "One token" if rows == 1 else f"One step of {rows} rows"
        title = f"{what}, seen from the flash"
        with self.console.status("drawing the timeline"):
            timeline = Timeline(trace.events, trace.begin, trace.end, trace.layers, title, subtitle)
            save_timeline(path, timeline, config)
        return [("picture", path)]


def short(prompt):
    """The beginning of a prompt, on one line."""
    line = " ".join(prompt.split())
    return line if len(line) <= 60 else line[:59] + "…"


class LiveView(ABC):
    """What is decoded as it appears, in a terminal; a subclass sets ``run`` as it grows.

    Parameters
    ----------
    console : rich.console.Console
    total : int
        Most tokens of an answer.
    layers : int
        Of the model.
    """

    def __init__(self, console, total, layers):
        self.console, self.total = console, total
        self.layers, self.layer = layers, 0
        self.run = None
        self.live = Live(console=console, refresh_per_second=8, transient=True)

    def __enter__(self):
        if self.console.is_terminal:
            self.live.start()
            self.show()
        return self

    def __exit__(self, kind, error, trace):
        if self.console.is_terminal:
            self.live.stop()

    def layer_done(self, layer):
        self.layer = layer
        self.show()

    def show(self):
        if not self.console.is_terminal:
            return
        if self.run is None:
            done = Text(f"layer {self.layer} of {self.layers}", style="dim")
            self.live.update(labelled("prefill") + Text("to the drive: ") + done)
        else:
            self.live.update(self.shown())

    @abstractmethod
    def shown(self):
        """What to show of ``run``."""

    def layer_note(self, done):
        """Where in a step the model is, for the bar."""
        layer = self.layer % self.layers
        return f", layer {layer} of {self.layers}" if layer and not done else ""


class _Answer(LiveView):
    """The answer as it appears, with a bar below; on a pipe or file, the text alone."""

    def __init__(self, console, total, layers, line):
        super().__init__(console, total, layers)
        self.line = line
        self.text = ""

    def __exit__(self, kind, error, trace):
        super().__exit__(kind, error, trace)
        if kind is None:
            if self.console.is_terminal:
                self.console.print(self._answer())
            else:
                self.console.print()
            self.console.print(self._bar(done=True))

    def add_text(self, text):
        self.text += text
        if self.console.is_terminal:
            self.show()
        else:
            if self.text == text:
                self.console.print(labelled("answer"), end="")
            self.console.print(text, end="", markup=False, soft_wrap=True)

    def add_step(self, run):
        if self.run is None:
            self.line("prefill", prefill_text(run, len(run.prompt_ids)))
        self.run = run
        self.show()

    def shown(self):
        return Group(self._answer(), self._bar())

    def _answer(self):
        grid = Table.grid()
        grid.add_column(min_width=LABEL)
        grid.add_column()
        grid.add_row(labelled("answer"), Text(self.text.strip(), style="bold"))
        return grid

    def _bar(self, done=False):
        if self.run is None:
            return Text("")
        count = len(self.run.tokens)
        what = (
            f"{count} tokens{', end of answer' if count < self.total else ', the limit set'}"
            if done
            else f"{count}/{self.total} tokens{self.layer_note(done)}"
        )
        total = count if done else self.total
        return bar(count / max(total, 1), what, self.run.steps, "token")


def labelled(label):
    """A label as wide as all of them, for what follows on its line."""
    return Text(f"{label:<{LABEL}}", style="cyan")


def prefill_text(run, tokens):
    """What prefill of so many tokens gave to the drive."""
    layers, _, kv_heads, head_dim = run.shape
    size = 4 * tokens * layers * kv_heads * head_dim
    return (
        f"on the host; {bytes_text(size)} of K and V handed to the drive"
        f"   ({run.prefill.wall_seconds:.1f} s)"
    )


def bar(done, what, steps, per):
    """A bar, ``done`` of it full, with what was done and how fast its steps were."""
    filled = round(20 * done)
    parts: list = [" " * LABEL, ("█" * filled + "░" * (20 - filled), "green"), f"  {what}"]
    if steps:
        wall = sum(step.wall_seconds for step in steps)
        parts.append(f"   {wall / len(steps):.2f} s per {per}")
        cycles = [step.stats["cycles"] for step in steps]
        if None not in cycles:
            parts.append(f"   {sum(cycles) / wall / 1e3:,.0f} k cycles/s")
    return Text.assemble(*parts)


@contextmanager
def _progress(console):
    """A `host.models.Progress` that shows a bar per stage."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        tasks = {}

        def report(stage, fraction):
            if stage not in tasks:
                tasks[stage] = progress.add_task(f"{'':<{LABEL}}{stage}", total=None)
            if fraction is not None:
                progress.update(tasks[stage], total=1.0, completed=fraction)

        yield report
