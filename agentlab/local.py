"""A language model on this machine: its own decoding loop with a key-value cache, prefixes kept, grammars, beams.

Llama-like models run by `agentlab.llama.Runner`, all others by transformers' own forward pass; both give the same
interface. The key-value caches of the last prompts are kept, so that a system text or a list of tools that begins the
next prompt again is not read twice. One text is written at a time: threads that share a model wait for each other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from agentlab.decoding import Decoding, LanguageError, pick
from agentlab.errors import UnknownName
from agentlab.grammar import Guide
from agentlab.language import (
    Choice,
    Completion,
    LanguageModel,
    Prompt,
    Score,
    Step,
    Structured,
    as_grammar,
    check_options,
    check_prompt,
    settings,
)

SLOTS = 4  # prompts whose caches are kept
ROWS = 8  # texts of a batch that are written together
PRECISIONS = ("auto", "int8", "bfloat16", "float32")


class TransformersRunner:
    """Any causal model of transformers behind the interface of `agentlab.llama.Runner`."""

    def __init__(self, model, precision: str = "float32", device: str | torch.device = "cpu"):
        self.device, self.precision = torch.device(device), precision
        self.model = model.to(self.device, torch.float32 if precision == "float32" else torch.bfloat16).eval()
        self.limit = getattr(model.config, "max_position_embeddings", 2048)

    def new_cache(self, batch: int = 1, room: int = 0) -> TransformersCache:
        from transformers import DynamicCache

        return TransformersCache(DynamicCache(config=self.model.config))

    @torch.inference_mode()
    def forward(self, ids: torch.Tensor, cache: TransformersCache, last: int = 1, exact: bool = True) -> torch.Tensor:
        """Read the tokens (B, T) after those in the cache; logits (B, last, V) of the last positions, float32."""
        B, T = ids.shape
        cache.crop()
        places = torch.arange(cache.length, cache.length + T).expand(B, T)
        extra = {}
        if cache.starts is not None:
            starts = torch.tensor(cache.starts)[:, None]
            extra["attention_mask"] = (torch.arange(cache.length + T) >= starts).long().to(self.device)
            places = (places - starts).clamp_min(0)
        output = self.model(
            input_ids=ids.to(self.device), position_ids=places.to(self.device), past_key_values=cache.inner,
            use_cache=True, logits_to_keep=last, **extra,
        )  # fmt: skip
        cache.length += T
        return output.logits.float()


@dataclass
class TransformersCache:
    """transformers' own cache with the same handles as `agentlab.llama.Cache`."""

    inner: object
    length: int = 0
    starts: list[int] | None = None

    def crop(self) -> None:
        extra = self.inner.get_seq_length() - self.length
        if extra > 0:
            self.inner.crop(-extra)

    def select(self, rows: list[int]) -> None:
        self.inner.batch_select_indices(torch.tensor(rows))
        if self.starts:
            self.starts = [self.starts[r] for r in rows]

    def copy(self, length: int) -> TransformersCache:
        import copy

        new = TransformersCache(copy.deepcopy(self.inner), length, self.starts)
        new.crop()
        return new


@dataclass
class Slot:
    """A prompt whose cache is kept: ``ids`` are its tokens, which ``cache`` holds; what is written after them is not kept."""

    ids: list[int]
    cache: object
    used: int = 0


@dataclass
class Text:
    """One text while it is written."""

    tokenizer: object
    decoding: Decoding
    prompt: list[int]
    generator: torch.Generator
    ids: list[int] = field(default_factory=list)
    shown: str = ""
    stopped: str = ""

    @property
    def text(self) -> str:
        return self.tokenizer.decode(self.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def add(self, token: int, end: set[int], deadline: float | None) -> None:
        """Take a token, and see whether the text ends with it."""
        if token in end:
            self.stopped = "end"
            return
        self.ids.append(token)
        if self.decoding.stop and any(s in self.text for s in self.decoding.stop):
            self.stopped = "stop"
        elif len(self.ids) >= self.decoding.max_tokens:
            self.stopped = "length"
        elif deadline and time.perf_counter() > deadline:
            self.stopped = "deadline"

    def final(self) -> str:
        """The text without its stop string."""
        text = self.text
        if self.stopped == "stop":
            text = text[: min(text.index(s) for s in self.decoding.stop if s in text)]
        return text

    def news(self) -> str:
        """What can be shown beyond what was: no half characters, nothing that may become a stop string."""
        text = self.final() if self.stopped else self.text
        if not self.stopped:
            text = text.rstrip("\ufffd")
            for stop in self.decoding.stop:
                tail = next((n for n in range(min(len(stop), len(text)), 0, -1) if text.endswith(stop[:n])), 0)
                text = text[: len(text) - tail]
        new, self.shown = text[len(self.shown) :], max(text, self.shown, key=len)
        return new


class TorchLanguage(LanguageModel):
    """A causal language model and its tokenizer, run here.

    ``precision`` is int8 (Llama-like models on a CPU), bfloat16 or float32; auto takes the quickest. A prompt that leaves
    no room for the reply is refused, or with ``too_long="cut"`` shortened: the oldest messages after the system text go
    first, then the beginning of the last one.
    """

    def __init__(
        self, model, tokenizer, precision: str = "auto", device=None, too_long: str = "refuse", name: str = ""
    ):
        from agentlab import llama

        if precision not in PRECISIONS:
            raise UnknownName("precision", precision, PRECISIONS)
        if too_long not in ("refuse", "cut"):
            raise UnknownName("policy for long prompts", too_long, ("refuse", "cut"))
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        fast = llama.fits(model)
        if precision == "auto":
            precision = "bfloat16" if device.type == "cuda" or not hasattr(torch, "_weight_int8pack_mm") else "int8"
        if precision == "int8" and not (fast and device.type == "cpu"):
            precision = "bfloat16"
        self.runner = (llama.Runner if fast else TransformersRunner)(model, precision, device)
        self.tokenizer, self.too_long, self.precision = tokenizer, too_long, precision
        self.name = name or getattr(model.config, "_name_or_path", "") or "language model"
        self.size = model.config.vocab_size
        self.end = {i for i in (tokenizer.eos_token_id, model.config.eos_token_id) if isinstance(i, int)}
        self.slots: list[Slot] = []
        self.clock, self.lock = 0, threading.RLock()

    @classmethod
    def load(cls, name: str | None = None, **options) -> TorchLanguage:
        """The course's model, or the folder or hub name that is given."""
        from agentlab.assets import LANGUAGE_MODEL, load_language_model

        model, tokenizer = load_language_model(name)
        return cls(model, tokenizer, name=name or LANGUAGE_MODEL.what.split(",")[0], **options)

    # --- prompts ---

    def tokens(self, prompt: Prompt, room: int = 1) -> list[int]:
        """The ids of a prompt, by the model's own chat format if it is a list of messages.

        Raises `LanguageError` with the counts if there is no room for ``room`` more tokens.
        """
        prompt = check_prompt(prompt)
        ids = self._encode(prompt)
        limit = self.runner.limit - room
        if len(ids) <= limit:
            return ids
        if self.too_long == "cut" and limit > 0:
            return self._cut(prompt, limit)
        raise LanguageError(
            f"The prompt has {len(ids)} tokens and the reply may take {room}, but {self.name} reads {self.runner.limit} "
            'in all. Shorten the prompt, lower max_tokens, or load the model with too_long="cut".'
        )

    def _encode(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, str):
            return self.tokenizer.encode(_unicode(prompt), add_special_tokens=False)
        goes_on = prompt[-1]["role"] == "assistant"
        text = self.tokenizer.apply_chat_template(
            [{**m, "content": self._harmless(m["content"])} for m in prompt],
            tokenize=False, add_generation_prompt=not goes_on, continue_final_message=goes_on,
        )  # fmt: skip
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _harmless(self, content: str) -> str:
        """The content with the marks of the chat format broken up: nobody ends a turn or begins one but the format."""
        content = _unicode(content)
        for mark in self.tokenizer.all_special_tokens:
            content = content.replace(mark, f"{mark[0]} {mark[1:]}")
        return content

    def _cut(self, prompt: Prompt, limit: int) -> list[int]:
        """Leave out the oldest messages, never the system text; then the beginning of the last message."""
        if isinstance(prompt, str):
            return self._encode(prompt)[-limit:]
        system = [m for m in prompt if m["role"] == "system"]
        others = [m for m in prompt if m["role"] != "system"]
        while len(others) > 1 and len(self._encode([*system, *others])) > limit:
            others = others[1:]
        last = dict(others[-1])
        while len(ids := self._encode([*system, *others[:-1], last])) > limit:
            words = self.tokenizer.encode(last["content"], add_special_tokens=False)
            kept = words[len(ids) - limit + 8 :] if len(ids) - limit + 8 < len(words) else []
            if not kept:
                raise LanguageError(
                    f"The system text alone fills the {self.runner.limit} tokens that {self.name} reads. Shorten it."
                )
            last["content"] = self.tokenizer.decode(kept)
        return ids

    def _open(self, ids: list[int]) -> tuple[Slot, list[int]]:
        """A slot whose cache holds a beginning of these ids, and the ids that are still to be read (at least one)."""
        self.clock += 1
        best, common = None, 0
        for slot in self.slots:
            n = _common(slot.ids, ids)
            if n > common:
                best, common = slot, n
        common = min(common, len(ids) - 1)
        if best is not None and 2 * common >= len(best.ids):
            slot = best  # most of it is used again: go on in the same place
        else:
            cache = best.cache.copy(common) if best is not None and common else self.runner.new_cache(1, len(ids) + 128)
            slot = Slot(ids[:common], cache)
            if len(self.slots) >= SLOTS:
                self.slots.remove(min(self.slots, key=lambda s: s.used))
            self.slots.append(slot)
        slot.used, slot.ids, slot.cache.length = self.clock, ids[:common], common
        return slot, ids[common:]

    def _read_prompt(self, ids: list[int]) -> tuple[Slot, torch.Tensor, int]:
        """Read a prompt, as far as it is not kept: its slot, logits (V,) after it, and how many tokens were kept."""
        slot, rest = self._open(ids)
        logits = self.runner.forward(torch.tensor([rest]), slot.cache, exact=True)[0, -1].cpu()
        slot.ids = ids
        return slot, logits, len(ids) - len(rest)

    def _read(self, slot: Slot, ids: list[int], last: int = 1) -> torch.Tensor:
        """Logits (last, V) after these ids, which follow what the slot's cache holds."""
        if slot.cache.length + len(ids) > self.runner.limit:
            raise LanguageError(f"The text has grown over the {self.runner.limit} tokens that {self.name} reads.")
        return self.runner.forward(torch.tensor([ids]), slot.cache, last)[0].cpu()

    def forget(self) -> None:
        """Drop the prompts that are kept."""
        with self.lock:
            self.slots.clear()

    # --- free text ---

    def stream(self, prompt, decoding=None, **changes) -> Iterator[str]:
        decoding = settings(decoding, changes)
        if decoding.beams > 1:
            yield self.complete(prompt, decoding).text
            return
        ids = self.tokens(prompt, decoding.max_tokens)
        with self.lock:
            for text, _ in self._write(ids, decoding):
                if new := text.news():
                    yield new

    def complete(self, prompt, decoding=None, **changes) -> Completion:
        decoding = settings(decoding, changes)
        began = time.perf_counter()
        ids = self.tokens(prompt, decoding.max_tokens)
        with self.lock:
            if decoding.beams > 1:
                return self._beams(ids, decoding, began)
            for text, costs in self._write(ids, decoding):  # noqa: B007
                pass
        return Completion(text.final(), text.stopped, len(ids), len(text.ids), *costs, time.perf_counter() - began)

    def _write(self, ids: list[int], decoding: Decoding) -> Iterator[tuple[Text, tuple[int, int]]]:
        """The text after each token, with the tokens that were cached and the forward passes so far."""
        deadline = time.perf_counter() + decoding.seconds if decoding.seconds else None
        text = Text(self.tokenizer, decoding, ids, torch.Generator().manual_seed(decoding.seed))
        slot, logits, cached = self._read_prompt(ids)
        passes = 1
        while True:
            token = pick(logits, decoding, [*ids, *text.ids], text.generator)
            text.add(token, self.end, deadline)
            yield text, (cached, passes)
            if text.stopped:
                return
            logits, passes = self._read(slot, [token])[-1], passes + 1

    def batch(self, prompts, decoding=None, **changes) -> list[Completion]:
        """A reply to each prompt; `ROWS` of similar length are written together. Row n draws with ``seed + n``."""
        decoding = settings(decoding, changes)
        if decoding.beams > 1:
            return super().batch(prompts, decoding)
        ids = [self.tokens(p, decoding.max_tokens) for p in prompts]
        order = sorted(range(len(ids)), key=lambda n: len(ids[n]))
        done: list[Completion | None] = [None] * len(ids)
        with self.lock:
            for start in range(0, len(order), ROWS):
                self._write_together(order[start : start + ROWS], ids, decoding, done)
        return done

    def _write_together(self, rows: list[int], ids: list[list[int]], decoding: Decoding, done: list) -> None:
        began = time.perf_counter()
        deadline = began + decoding.seconds if decoding.seconds else None
        longest = max(len(ids[n]) for n in rows)
        texts = {
            n: Text(self.tokenizer, decoding, ids[n], torch.Generator().manual_seed(decoding.seed + n)) for n in rows
        }
        cache = self.runner.new_cache(len(rows), longest + decoding.max_tokens)
        cache.starts = [longest - len(ids[n]) for n in rows]
        feed = [[0] * (longest - len(ids[n])) + ids[n] for n in rows]
        passes = 0
        while rows:
            logits = self.runner.forward(torch.tensor(feed), cache)[:, -1].cpu()  # (B, V)
            passes += 1
            for place, n in enumerate(rows):
                text = texts[n]
                text.add(pick(logits[place], decoding, [*ids[n], *text.ids], text.generator), self.end, deadline)
                if text.stopped:
                    seconds = time.perf_counter() - began
                    done[n] = Completion(text.final(), text.stopped, len(ids[n]), len(text.ids), 0, passes, seconds)
            going = [place for place, n in enumerate(rows) if not texts[n].stopped]
            if len(going) < len(rows):
                rows = [rows[place] for place in going]
                if rows:
                    cache.select(going)
            feed = [[texts[n].ids[-1]] for n in rows]

    def _beams(self, ids: list[int], decoding: Decoding, began: float) -> Completion:
        """The best of ``beams`` texts that are followed at once, by mean log-probability of their tokens."""
        width = decoding.beams
        slot, logits, cached = self._read_prompt(ids)
        logits, cache = logits[None], slot.cache.copy(len(ids))
        cache.select([0] * width)
        beams, finished, passes = [([], 0.0)], [], 1
        while True:
            logprobs = torch.log_softmax(logits.cpu(), -1)  # (beams, V)
            totals = logprobs + torch.tensor([total for _, total in beams])[:, None]
            values, places = totals.flatten().topk(2 * width)
            parents, new = [], []
            for value, place in zip(values.tolist(), places.tolist(), strict=True):
                parent, token = divmod(place, totals.shape[1])
                if token in self.end:
                    finished.append((beams[parent][0], value / (len(beams[parent][0]) + 1), "end"))
                elif len(new) < width:
                    parents.append(parent)
                    new.append(([*beams[parent][0], token], value))
            beams = new
            late = decoding.seconds and time.perf_counter() - began > decoding.seconds
            full = len(beams[0][0]) >= decoding.max_tokens
            stop = len(finished) >= width or full or late
            if stop:
                why = "deadline" if late and not full else "length"
                if len(finished) < width:
                    finished += [(b, total / len(b), why) for b, total in beams]
                break
            cache.select(parents)
            logits = self.runner.forward(torch.tensor([[b[-1]] for b, _ in beams]), cache)[:, -1]
            passes += 1
        best, _, why = max(finished, key=lambda f: f[1])
        text = Text(self.tokenizer, decoding, ids, torch.Generator(), best, stopped=why)
        if decoding.stop and any(s in text.text for s in decoding.stop):
            text.stopped = "stop"
        seconds = time.perf_counter() - began
        return Completion(text.final(), text.stopped, len(ids), len(best), cached, passes, seconds)

    # --- text under a grammar ---

    def structured(self, prompt, grammar, decoding=None, trace=False, **changes) -> Structured:
        """Write a value that the grammar allows.

        Forced tokens are read in one pass with the next free one. After ``max_tokens`` or the deadline the text is closed
        by the shortest way the grammar offers, so that it is valid all the same.
        """
        decoding = settings(decoding, changes)
        if decoding.beams > 1 or decoding.stop:
            raise LanguageError(
                "Under a grammar there are no beams and no stop strings: the grammar says where it ends."
            )
        grammar, began = as_grammar(grammar), time.perf_counter()
        guide = Guide(grammar, self.tokenizer, self.size)
        ids = self.tokens(prompt, decoding.max_tokens)
        with self.lock:
            work = _Guided(self, ids, guide, decoding, trace)
            work.run()
        text = self.tokenizer.decode(work.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        try:
            value = grammar.read(text)
        except ValueError:
            raise LanguageError(
                f"{grammar.name} asks for more than max_tokens={decoding.max_tokens} can hold."
            ) from None
        return Structured(
            value, text, work.stopped, len(ids), len(work.ids), work.forced, work.cached, work.passes,
            time.perf_counter() - began, work.trace,
        )  # fmt: skip

    # --- probabilities ---

    def choose(self, prompt, options) -> Choice:
        """The option with the largest probability as the whole reply; the probabilities are those among the options."""
        options = check_options(options)
        totals = torch.tensor([self.score(prompt, option).total for option in options])
        probabilities = torch.softmax(totals, 0).tolist()
        best = max(range(len(options)), key=probabilities.__getitem__)
        return Choice(options[best], best, probabilities)

    def score(self, prompt, reply) -> Score:
        """Log-probabilities of a reply's tokens, the end of the turn included where the prompt is a chat."""
        if not reply:
            raise LanguageError("There is nothing to score: the reply is empty.")
        new = self.tokenizer.encode(_unicode(reply), add_special_tokens=False)
        if not isinstance(prompt, str):
            new = [*new, self.tokenizer.eos_token_id]
        ids = self.tokens(prompt, len(new))
        with self.lock:
            slot, first, _ = self._read_prompt(ids)
            logits = first[None]  # (len(new), V)
            if len(new) > 1:
                more = self.runner.forward(torch.tensor([new[:-1]]), slot.cache, len(new) - 1, exact=True)[0]
                logits = torch.cat([logits, more.cpu()])
        logprobs = torch.log_softmax(logits, -1)[torch.arange(len(new)), torch.tensor(new)]
        return Score([self.tokenizer.decode([i]) for i in new], logprobs.tolist())


class _Guided:
    """One text under a grammar while it is written."""

    def __init__(self, model: TorchLanguage, prompt: list[int], guide: Guide, decoding: Decoding, trace: bool):
        self.model, self.prompt, self.guide, self.decoding = model, prompt, guide, decoding
        self.slot, self.logits, self.cached = model._read_prompt(prompt)  # logits after all that was read
        self.passes, self.forced, self.stopped = 1, 0, ""
        self.ids: list[int] = []
        self.trace: list[Step] = []
        self.pending: list[int] = []  # tokens that were written and not read yet, all but the first of them forced
        self.tracing, self.free = trace, 0
        self.generator = torch.Generator().manual_seed(decoding.seed)
        self.deadline = time.perf_counter() + decoding.seconds if decoding.seconds else None

    def run(self) -> None:
        while not self.stopped:
            self.take_forced()
            allowed = None if self.guide.done else self.guide.allowed()
            if allowed is None or (len(allowed) == 1 and allowed[0] == self.guide.end):
                self.stopped = "end" if not self.late() else "length"
            elif len(allowed) == 1:
                self.force(int(allowed[0]))
            else:
                self.one_token(allowed)
        if self.tracing:
            self.read()

    def late(self) -> bool:
        full = len(self.ids) > self.decoding.max_tokens
        return full or bool(self.deadline and time.perf_counter() > self.deadline)

    def take_forced(self) -> None:
        for token in self.guide.forced():
            self.force(token)

    def force(self, token: int) -> None:
        self.guide.accept([token])
        if token != self.guide.end:
            self.ids.append(token)
            self.pending.append(token)
            self.forced += 1

    def one_token(self, allowed) -> None:
        count = len(allowed)
        if self.late():
            allowed = self.guide.shortest_way_out(allowed)
            if len(self.ids) > 4 * self.decoding.max_tokens + 64:
                raise LanguageError(
                    f"The grammar did not end within {len(self.ids)} tokens. Bound its strings and lists."
                )
        logits, kept = self.read(), torch.as_tensor(allowed)
        masked = torch.full_like(logits, -torch.inf).index_copy_(0, kept, logits[kept])
        token = pick(masked, self.decoding, [*self.prompt, *self.ids], self.generator)
        self.note(token, logits, count, forced=False)
        self.guide.accept([token])
        if token == self.guide.end:
            self.stopped = "end"
            return
        self.ids.append(token)
        self.pending.append(token)
        self.free += 1

    def read(self) -> torch.Tensor:
        """Logits (V,) for the next token, after one forward pass over what was not read yet."""
        new = self.pending
        if new:
            logits = self.model._read(self.slot, new, last=len(new) if self.tracing else 1)
            before = [self.logits, *logits[:-1]] if self.tracing else []
            forced = new[self.free :]
            for token, row in zip(forced, before[self.free :], strict=False):
                self.note(token, row, 1, forced=True)
            self.logits, self.passes, self.pending, self.free = logits[-1], self.passes + 1, [], 0
        return self.logits

    def note(self, token: int, logits: torch.Tensor, allowed: int, forced: bool) -> None:
        if not self.tracing:
            return
        probabilities = torch.softmax(logits, 0)
        wanted = int(probabilities.argmax())
        decode = self.model.tokenizer.decode
        self.trace.append(
            Step(decode([token]), decode([wanted]), float(probabilities[wanted]), float(probabilities[token]), allowed, forced)
        )  # fmt: skip


def _unicode(text: str) -> str:
    """The text with half surrogates, which no tokenizer takes, replaced."""
    return text.encode("utf-8", "replace").decode()


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two lists have in common from the beginning."""
    n = min(len(a), len(b))
    if list(a[:n]) == list(b[:n]):
        return n
    return next(i for i in range(n) if a[i] != b[i])
