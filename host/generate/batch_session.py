"""One `instinfer generate` with several prompts: their answers side by side, then the report."""

import torch
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..manifest import manifest
from ..support import check_modules
from .compare import compare_float, compare_rows, compare_runs, same_batch_path
from .decode import check_prompts, encode, generate_batch
from .record import make_batch_record
from .session import LABEL, LiveView, Session, bar, prefill_text, short

__all__ = ["run_batch_session"]


def run_batch_session(options, config, attention, prompts, out, json_file, faults=None):
    """Like `host.generate.session.run_session`, with a list of prompts, decoded together."""
    torch.manual_seed(options.seed)
    session = _BatchSession(config, options.report, attention)
    loaded = session.load(options.model)
    check_modules(loaded.model)
    ids = [encode(loaded.tokenizer, prompt) for prompt in prompts]
    check_prompts(ids, loaded.model, config, options.max_new_tokens)
    config = session.fit(loaded, max(map(len, ids)) + options.max_new_tokens)
    with session.drive(options.backend, faults) as drive:
        session.show_prompts(prompts, ids)
        batch = session.generate(loaded, drive, ids, options.max_new_tokens, options.compare)
        health = drive.health()
    comparison = session.compare(loaded, batch) if options.compare else None
    record = make_batch_record(batch, loaded, config, manifest(config, options.seed), comparison)
    record["health"] = health
    session.finish(record, batch, loaded, out, json_file, faults)
    return 0


class _BatchSession(Session):
    def show_prompts(self, prompts, ids):
        self.console.print()
        for row, (prompt, tokens) in enumerate(zip(prompts, ids, strict=True)):
            self.line(f"prompt {row}", f"“{short(prompt)}”", (f"   {len(tokens)} tokens", "dim"))

    def generate(self, loaded, drive, ids, max_new_tokens, keep_logits):
        layers = loaded.model.config.get_text_config(decoder=True).num_hidden_layers
        with _Answers(self, loaded.tokenizer, max_new_tokens, layers) as view:
            return generate_batch(
                loaded.model,
                loaded.tokenizer,
                drive,
                ids,
                max_new_tokens,
                attention=self.attention,
                keep_logits=keep_logits,
                on_step=view.add_step,
                on_layer=view.layer_done,
            )

    def compare(self, loaded, batch):
        def rows(batch, other):
            pairs = zip(batch.rows, other.rows, strict=True)
            return compare_rows([compare_runs(row, again) for row, again in pairs])

        model, tokenizer = loaded.model, loaded.tokenizer
        result = self.compare_backends(
            batch, lambda drive: same_batch_path(model, tokenizer, drive, batch), rows
        )
        with self.console.status("the same tokens on the unmodified model"):
            result["float32"] = compare_rows([compare_float(model, row) for row in batch.rows])
        return result


class _Answers(LiveView):
    """The answers as they appear, with a bar below; on a pipe or file, once they are complete."""

    def __init__(self, session, tokenizer, total, layers):
        super().__init__(session.console, total, layers)
        self.session, self.tokenizer = session, tokenizer

    def __exit__(self, kind, error, trace):
        super().__exit__(kind, error, trace)
        if kind is None:
            self.console.print(self._answers(self.run))
            self.console.print(self._bar(self.run, done=True))

    def add_step(self, batch):
        if self.run is None:
            tokens = sum(len(row.prompt_ids) for row in batch.rows)
            self.session.line("prefill", prefill_text(batch, tokens))
        self.run = batch
        self.show()

    def shown(self):
        return Group(self._answers(self.run), self._bar(self.run))

    def _answers(self, batch):
        grid = Table.grid()
        grid.add_column(min_width=LABEL, style="cyan")
        grid.add_column()
        for number, row in enumerate(batch.rows):
            text = self.tokenizer.decode(row.tokens, skip_special_tokens=True).strip()
            count = f"   {len(row.tokens)} tokens{', end of answer' if row.ended else ''}"
            grid.add_row(f"answer {number}", Text.assemble((text, "bold"), (count, "dim")))
        return grid

    def _bar(self, batch, done=False):
        steps, rows = len(batch.steps) + 1, batch.rows
        tokens = sum(len(row.tokens) for row in rows)
        what = f"{tokens} tokens of {len(rows)} rows{self.layer_note(done)}"
        return bar(1 if done else steps / self.total, what, batch.steps, "step")
