"""Language models behind one small interface: complete, stream, choose, structured, score.

`LanguageModel` is what an agent sees. `agentlab.local.TorchLanguage` runs weights on this machine,
`agentlab.endpoints.Endpoint` asks a server that speaks OpenAI's protocol, `agentlab.llamacpp.LlamaCpp` runs a GGUF file by
llama.cpp, and `Scripted` plays back what a test wrote. `load_language()` gives the course's own.

A prompt is a text, or a list of messages ``{"role": "system" | "user" | "assistant" | "tool", "content": str}``; a last
message of the assistant is gone on with.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentlab.decoding import Decoding, LanguageError
from agentlab.errors import UnknownName
from agentlab.grammar import Grammar, json_schema

ROLES = ("system", "user", "assistant", "tool")
Prompt = str | Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Completion:
    """A text that was written, and what it cost.

    ``stopped`` is end (the model ended it), stop (a stop string), length or deadline. ``passes`` counts forward passes
    of the model and ``cached_tokens`` those of the prompt that were not read again; both are 0 where they are not known.
    """

    text: str
    stopped: str = "end"
    prompt_tokens: int = 0
    tokens: int = 0
    cached_tokens: int = 0
    passes: int = 0
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Step:
    """One token under a grammar: what was written, what the model wanted most, and how many tokens were allowed.

    ``wanted_probability`` and ``probability`` are the model's own, before the grammar. A forced token was not asked for.
    """

    token: str
    wanted: str
    wanted_probability: float
    probability: float
    allowed: int
    forced: bool

    @property
    def overruled(self) -> bool:
        return self.token != self.wanted


@dataclass(frozen=True)
class Structured:
    """A value written under a grammar. ``stopped`` is end, or length where the text was closed as soon as possible."""

    value: Any
    text: str
    stopped: str = "end"
    prompt_tokens: int = 0
    tokens: int = 0
    forced: int = 0
    cached_tokens: int = 0
    passes: int = 0
    seconds: float = 0.0
    trace: list[Step] = field(default_factory=list)


@dataclass(frozen=True)
class Choice:
    """The most probable of some options; ``probabilities`` sum to 1, or are None where the model does not tell them."""

    option: str
    index: int
    probabilities: list[float] | None = None


@dataclass(frozen=True)
class Score:
    """How probable a reply is to a model: log-probabilities (natural) token by token."""

    tokens: list[str]
    logprobs: list[float]

    @property
    def total(self) -> float:
        return math.fsum(self.logprobs)

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability: among how many equally likely tokens the model hesitates."""
        return math.exp(-self.total / len(self.logprobs))


class LanguageModel(ABC):
    """What every language model can do. ``**changes`` are fields of `Decoding` that differ from its defaults."""

    name: str = "language model"

    @abstractmethod
    def stream(self, prompt: Prompt, decoding: Decoding | None = None, **changes) -> Iterator[str]:
        """Write a reply and give it piece by piece."""

    @abstractmethod
    def complete(self, prompt: Prompt, decoding: Decoding | None = None, **changes) -> Completion:
        """Write a reply."""

    def batch(self, prompts: Sequence[Prompt], decoding: Decoding | None = None, **changes) -> list[Completion]:
        """A reply to each prompt, in order."""
        return [self.complete(prompt, decoding, **changes) for prompt in prompts]

    @abstractmethod
    def structured(
        self, prompt: Prompt, grammar: Grammar | Mapping[str, Any], decoding: Decoding | None = None,
        trace: bool = False, **changes,
    ) -> Structured:  # fmt: skip
        """Write a value that a grammar, or a JSON Schema, allows."""

    @abstractmethod
    def choose(self, prompt: Prompt, options: Sequence[str]) -> Choice:
        """The option that the model finds most probable as the reply."""

    @abstractmethod
    def score(self, prompt: Prompt, reply: str) -> Score:
        """How probable this reply is."""


def settings(decoding: Decoding | None, changes: Mapping[str, Any]) -> Decoding:
    """A `Decoding` with some fields changed; an unknown field is refused by name."""
    known = Decoding.__dataclass_fields__
    for name in changes:
        if name not in known:
            raise UnknownName("decoding option", name, known)
    return replace(decoding or Decoding(), **changes)


def check_prompt(prompt: Prompt) -> Prompt:
    """The prompt, if it is one; else `LanguageError` or `UnknownName` that says what is wrong with it."""
    if isinstance(prompt, str):
        if not prompt.strip():
            raise LanguageError("The prompt is empty. Give a text, or a list of messages.")
        return prompt
    messages = list(prompt)
    if not messages:
        raise LanguageError("The prompt is an empty list. Give at least one message.")
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            raise LanguageError(f'Message {number} must be {{"role": ..., "content": ...}}; it is {message!r}.')
        if message["role"] not in ROLES:
            raise UnknownName("chat role", message["role"], ROLES)
        if not isinstance(message["content"], str):
            raise LanguageError(f"The content of message {number} must be a text; it is {message['content']!r}.")
    if not any(m["content"].strip() for m in messages if m["role"] != "system"):
        raise LanguageError("No message of the prompt says anything besides the system text.")
    return messages


def check_options(options: Sequence[str]) -> list[str]:
    """The options, if there are at least two and all differ; else `LanguageError`."""
    options = list(options)
    if len(options) < 2 or len(set(options)) < len(options) or not all(isinstance(o, str) and o for o in options):
        raise LanguageError(f"choose() needs two or more different texts to choose from; got {options!r}.")
    return options


def as_grammar(grammar: Grammar | Mapping[str, Any]) -> Grammar:
    """The grammar itself, or that of a JSON Schema."""
    return grammar if isinstance(grammar, Grammar) else json_schema(grammar)


# --- for tests -----------------------------------------------------------------------------------------------


class Scripted(LanguageModel):
    """Plays back replies in the order they were given, and remembers every prompt in ``prompts``.

    A reply is a text; for `structured` a value; for `choose` an option; for `score` a list of log-probabilities. An
    exception in its place is raised. Use it as a context manager: at the end every reply must have been used.
    """

    name = "scripted"

    def __init__(self, *replies: Any):
        self.replies, self.prompts = list(replies), []

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.assert_used_up()

    def assert_used_up(self) -> None:
        if self.replies:
            raise AssertionError(f"{len(self.replies)} scripted replies were not asked for: {self.replies!r}")

    def _next(self, prompt: Prompt, kind: type, asked: str) -> Any:
        self.prompts.append(check_prompt(prompt))
        if not self.replies:
            raise AssertionError(f"The script is used up, and {asked}() was called once more with {prompt!r}.")
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        if not isinstance(reply, kind):
            raise AssertionError(f"{asked}() was called, and the script has {reply!r} next.")
        return reply

    def complete(self, prompt, decoding=None, **changes) -> Completion:
        settings(decoding, changes)
        text = self._next(prompt, str, "complete")
        return Completion(text, tokens=len(text.split()))

    def stream(self, prompt, decoding=None, **changes) -> Iterator[str]:
        settings(decoding, changes)
        words = self._next(prompt, str, "stream").split(" ")
        yield from (word if n == 0 else f" {word}" for n, word in enumerate(words))

    def structured(self, prompt, grammar, decoding=None, trace=False, **changes) -> Structured:
        import json

        as_grammar(grammar)
        settings(decoding, changes)
        value = self._next(prompt, object, "structured")
        return Structured(value, json.dumps(value, ensure_ascii=False))

    def choose(self, prompt, options) -> Choice:
        options = check_options(options)
        option = self._next(prompt, str, "choose")
        if option not in options:
            raise AssertionError(f"The script has {option!r} next, which is not among the options {options!r}.")
        return Choice(option, options.index(option))

    def score(self, prompt, reply) -> Score:
        logprobs = self._next(prompt, list, "score")
        return Score(reply.split(" "), logprobs)


def load_language(name: str | None = None, **options) -> LanguageModel:
    """The language model to work with: the course's own on this machine, or what ``name`` or ``AGENTLAB_LLM`` chooses.

    A name that begins with ``http://`` or ``https://`` is an OpenAI-compatible endpoint, one that ends in ``.gguf`` a file for
    llama.cpp, any other a folder or hub name for transformers. ``options`` go to the class that is made.
    """
    import os

    chosen = name or os.environ.get("AGENTLAB_LLM", "")
    if chosen.startswith(("http://", "https://")):
        from agentlab.endpoints import Endpoint

        return Endpoint(chosen, **options)
    if chosen.endswith(".gguf"):
        from agentlab.llamacpp import LlamaCpp

        return LlamaCpp(chosen, **options)
    from agentlab.local import TorchLanguage

    return TorchLanguage.load(chosen or None, **options)
