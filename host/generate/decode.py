"""A run: prompts, greedy decoding with attention on a drive, and what each step cost there.

::

    prompts --chat template, tokenizer--> ids --model.generate, cache on the drive--> tokens
                                                |
                                     after prefill and each step: Recorder -> BatchStep, Steps

A run of one prompt is a batch of one row. With ``forced`` tokens the same path is walked again on
another backend (teacher forcing), so that logits of two backends can be compared token by token.
"""

import time

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, TextStreamer

from ..attention import attach
from ..ended_rows import end_tokens
from ..sparse import DENSE
from ..stats import difference
from ..support import ContextTooLong, PromptError, check_model, head_shape
from .run import Batch, BatchStep, Run, Step, Trace

__all__ = ["check_prompts", "encode", "float_logits", "generate", "generate_batch"]


def encode(tokenizer, prompt):
    """Token ids of a prompt, as a user's message if the tokenizer has a chat template."""
    if not prompt.strip():
        raise PromptError("the prompt is empty: give some text with --prompt or --prompt-file")
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt.strip()}],
            tokenize=False,
            add_generation_prompt=True,
        )
        return tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokenizer(prompt)["input_ids"]


def generate(
    model,
    tokenizer,
    drive,
    prompt_ids,
    max_new_tokens,
    *,
    attention=DENSE,
    forced=None,
    keep_logits=False,
    on_text=None,
    on_step=None,
    on_layer=None,
):
    """Decode greedily with attention on a drive.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Unchanged; has its own attention back afterwards.
    tokenizer : transformers.PreTrainedTokenizerBase
    drive : KvDrive
    prompt_ids : list of int
        See `encode`.
    max_new_tokens : int
        At most so many tokens; fewer if the model ends its answer.
    attention : str, Sparf or Bounds
        Of the decode steps, see `host.attention.attach`.
    forced : list of int, optional
        Tokens to follow whatever the logits prefer (teacher forcing).
    keep_logits : bool
        Keep each step's logits.
    on_text : callable, optional
        Called with each new piece of text.
    on_step : callable, optional
        Called with the `Run` so far, after prefill and after each step.
    on_layer : callable, optional
        Called with the number of layers done, after each layer's attention.

    Returns
    -------
    Run
    """
    batch = generate_batch(
        model,
        tokenizer,
        drive,
        [prompt_ids],
        max_new_tokens,
        attention=attention,
        forced=None if forced is None else [forced],
        keep_logits=keep_logits,
        on_text=on_text,
        on_step=on_step and (lambda batch: on_step(batch.rows[0])),
        on_layer=on_layer,
    )
    run = batch.rows[0]
    run.trace = batch.trace
    return run


def generate_batch(
    model,
    tokenizer,
    drive,
    prompts,
    max_new_tokens,
    *,
    attention=DENSE,
    forced=None,
    keep_logits=False,
    on_text=None,
    on_step=None,
    on_layer=None,
):
    """Decode several prompts together, greedily, each a sequence of the drive.

    Rows that have given their end token, or all of ``forced``, leave the drive at once.

    Parameters
    ----------
    prompts : list of list of int
        Token ids of each row's prompt, see `encode`; lengths may differ.
    forced : list of list of int, optional
        Tokens to follow, for each row.
    on_text : callable, optional
        As in `generate`; for a single row only.
    on_step : callable, optional
        Called with the `Batch` so far, after prefill and after each step.
    **others
        As in `generate`.

    Returns
    -------
    Batch
    """
    prompts = [list(ids) for ids in prompts]
    check_prompts(prompts, model, drive.config, max_new_tokens)
    if forced is not None and [n for n, row in enumerate(forced) if not row]:
        raise PromptError("a row has no tokens to follow: give 1 or more for each row")
    capacity = max(len(ids) for ids in prompts) + max_new_tokens
    name, shape = drive.backend.name, head_shape(model.config)
    runs = [Run(name, shape, ids, attention=attention) for ids in prompts]
    batch = Batch(name, shape, runs, attention=attention)
    eos = model.generation_config.eos_token_id
    eos = eos if eos is not None else tokenizer.eos_token_id
    streamer = _Streamer(tokenizer, on_text) if on_text else None
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens if forced is None else max(map(len, forced)),
        eos_token_id=eos,
        pad_token_id=pad,
    )
    ids, mask = _padded(prompts, pad, model.device)
    with attach(model, drive, capacity, attention=attention) as cache:
        ends = end_tokens(eos)
        recorder = _Recorder(batch, drive, cache, ends, forced, keep_logits, on_step, on_layer)
        cache.on_attend = recorder.layer_done
        recorder.begin()
        model.generate(
            ids,
            attention_mask=mask,
            generation_config=settings,
            past_key_values=cache,
            logits_processor=LogitsProcessorList([recorder]),
            streamer=streamer,
        )
    for row in batch.rows:
        row.text = tokenizer.decode(row.tokens, skip_special_tokens=True).strip()
    return batch


def check_prompts(prompts, model, drive_config, max_new_tokens):
    """Raise unless a model and a drive of this configuration can decode these token ids."""
    if max_new_tokens < 1:
        raise PromptError(f"max_new_tokens = {max_new_tokens} is not possible: ask for 1 or more")
    if not prompts:
        raise PromptError("the batch has no row: give 1 prompt or more")
    for row, ids in enumerate(prompts):
        where = f"row {row}: " if len(prompts) > 1 else ""
        if not ids:
            raise PromptError(f"{where}the prompt has no token: give 1 or more")
        try:
            check_model(model.config, drive_config, len(ids) + max_new_tokens)
        except ContextTooLong as error:
            raise ContextTooLong(f"{where}{error}") from None


def _padded(prompts, pad, device):
    """Ids and attention mask [rows, columns], padded on the left."""
    columns = max(len(ids) for ids in prompts)
    rows = [[pad] * (columns - len(ids)) + ids for ids in prompts]
    mask = [[0] * (columns - len(ids)) + [1] * len(ids) for ids in prompts]
    return torch.tensor(rows, device=device), torch.tensor(mask, device=device)


def float_logits(model, prompt_ids, tokens):
    """Logits [tokens, vocabulary] of the unmodified model in float32, following ``tokens``."""
    stock = model
    if model.dtype != torch.float32:
        stock = type(model)(model.config).to(torch.float32)
        stock.load_state_dict(model.state_dict())
        stock.eval()
    ids = torch.tensor([list(prompt_ids) + list(tokens[:-1])], device=model.device)
    with torch.no_grad():
        logits = stock(ids, use_cache=False, logits_to_keep=len(tokens)).logits
    return logits[0].float()


class _Recorder(LogitsProcessor):
    """Sees the logits of each step: notes what it cost, and forces the next tokens if asked to."""

    def __init__(self, batch, drive, cache, ends, forced, keep_logits, on_step, on_layer):
        self.batch, self.drive, self.cache, self.ends = batch, drive, cache, ends
        self.forced, self.keep_logits = forced, keep_logits
        self.on_step, self.on_layer = on_step, on_layer
        self.live = list(range(len(batch.rows)))
        lane = getattr(drive.backend, "lane", None)
        self.lane = lane if hasattr(lane, "trace") else None

    def begin(self):
        """Start the account of the next step."""
        self.stats = self.drive.stats()
        self.layers = []
        if self.lane:
            self.lane.trace()  # forgets what was before
            self.cycle = self.lane.cycle
        self.time = time.perf_counter()

    def layer_done(self):
        """Called after each layer's attention."""
        self.layers.append(self.lane.cycle if self.lane else None)
        if self.on_layer:
            self.on_layer(len(self.layers))

    def __call__(self, input_ids, scores):
        now, stats = time.perf_counter(), self.drive.stats()
        batch, rows = self.batch, self.live
        made = 0 if batch.prefill is None else len(batch.steps) + 1  # tokens of each row so far
        contexts = [len(batch.rows[row].prompt_ids) + made for row in rows]
        cost = {"wall_seconds": now - self.time, "stats": difference(stats, self.stats)}
        step = BatchStep(tuple(rows), tuple(contexts), **cost)
        if batch.prefill is None:
            batch.prefill = step
        else:
            batch.steps.append(step)
            self._keep_trace(step)
        self.live, wanted = [], scores
        for row, context in zip(rows, contexts, strict=True):
            choice = int(scores[row].argmax())
            token = choice if self.forced is None else self.forced[row][made]
            logits = scores[row].float().clone() if self.keep_logits else None
            batch.rows[row].add(Step(token, choice, context, logits=logits, **cost))
            batch.rows[row].ended = token in self.ends
            exhausted = self.forced is not None and made + 1 == len(self.forced[row])
            if not batch.rows[row].ended and not exhausted:
                self.live.append(row)
            if token != choice:
                wanted = scores.clone() if wanted is scores else wanted
                wanted[row] = float("-inf")
                wanted[row, token] = 0
        if self.on_step:
            self.on_step(batch)
        self.begin()
        for row in sorted(set(rows) - set(self.live)):
            self.cache.end(row)
        return wanted

    def _keep_trace(self, step):
        """Keeps the first step that programs no page: what most tokens look like."""
        kept = self.batch.trace
        if self.lane and (kept is None or kept.step.stats["pages_programmed"]):
            trace = Trace(self.lane.trace(), self.cycle, self.lane.cycle, self.layers, step)
            self.batch.trace = trace if len(trace.events) else None


class _Streamer(TextStreamer):
    """Hands each new piece of the answer to a function."""

    def __init__(self, tokenizer, on_text):
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.on_text = on_text

    def on_finalized_text(self, text, stream_end=False):
        if text:
            self.on_text(text)
