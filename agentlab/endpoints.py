"""Language models that others run: any server that speaks OpenAI's protocol.

`Endpoint` asks a server (OpenAI's own, vLLM, llama.cpp, Ollama, ``transformers serve``) through the official ``openai``
client. Whatever goes wrong on the way is a `LanguageError`: what happened, at which address, and what to do. A server
may ignore what it is asked for, so every structured answer is validated here.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agentlab.decoding import Decoding, LanguageError
from agentlab.grammar import NO_TOOL, Grammar, choices
from agentlab.language import (
    Choice,
    Completion,
    LanguageModel,
    Prompt,
    Score,
    Structured,
    as_grammar,
    check_options,
    check_prompt,
    settings,
)
from agentlab.offline import is_local

if TYPE_CHECKING:
    import openai

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds before a request is sent again; each pause doubles the last
NO_KEY = "none"  # for servers that ask for none; the client wants one
LOOK = "See whether the address is right; that of most servers ends in /v1."
WRAP = "answer"  # servers want an object: any other value travels as {"answer": value}
ONLY_JSON = "Answer with nothing but JSON that this JSON Schema allows:"
REFUSALS = (400, 422, 500)  # llama-cpp-python answers a field that it does not know with 500
QUIRKS = ("stream_options", "seed", "max_completion_tokens", "tool_call")  # what a refusal may name, see `_adapted`
FORMAT = re.compile(r"response_format|json_schema|schema|grammar")  # what a refused form is called
TOO_LONG = re.compile(
    r"context.?(length|size|window)|too long|too many tokens|maximum.*(length|tokens)|exceed.*(context|tokens)",
    re.I | re.S,
)


class Refused(LanguageError):
    """A request that the server has understood and will not meet; ``said`` is the server's own sentence."""

    def __init__(self, sentence: str, said: str = ""):
        super().__init__(sentence)
        self.said = said


class Invalid(ValueError):
    """An answer that the schema does not allow."""


# --- a server ------------------------------------------------------------------------------------------------


class Endpoint(LanguageModel):
    """A server that speaks OpenAI's protocol.

    ``address`` is its base address; /v1 is added where it has no path. ``model`` is a name the server knows, by default the
    first that it lists. ``key`` is by default that of ``OPENAI_API_KEY``. A request may take ``seconds``, and is sent
    ``retries`` times more after a failed connection, a timeout, status 429 or 5xx. A batch asks ``workers`` at a time.

    Messages go to the server's /chat/completions; a prompt that is a text is gone on with by its /completions, except in
    `structured` and `choose`, where it is sent as one message of the user.
    """

    def __init__(
        self, address: str, model: str | None = None, key: str | None = None, seconds: float = 30.0, retries: int = 2,
        workers: int = 4, sleep: Callable[[float], None] = time.sleep,
    ):  # fmt: skip
        self._url, self.address, self._is_local = _checked_address(address)
        self._key = _checked_key(key or os.environ.get("OPENAI_API_KEY") or NO_KEY)
        self._model, self.seconds, self.retries, self.workers, self.sleep = model, seconds, retries, workers, sleep
        self._quirks: set[str] = set()  # what this server refused, see `_adapted`
        self._formats: dict[str, int] = {}  # for a grammar, how many forms of ``response_format`` it refused
        self._thread = threading.local()

    @property
    def name(self) -> str:
        return f"{self._model or 'the model'} at {self.address}"

    @property
    def model(self) -> str:
        """The model's name at the server; asked for once where none was given."""
        if self._model is None:
            offered = self.models()
            if not offered:
                raise LanguageError(f"{self.address} lists no model. Name one: Endpoint(..., model=...).")
            self._model = offered[0]
        return self._model

    def models(self) -> list[str]:
        """The names of the models that the server lists."""
        page = self._ask(self.client.models.list, {}, None)
        listed = getattr(page, "data", None)
        if not isinstance(listed, list):
            raise self._strange(page)
        return [name for m in listed if isinstance(name := getattr(m, "id", None), str)]

    @cached_property
    def client(self) -> openai.OpenAI:
        """The official client; it sends nothing again by itself, and no proxy stands before this machine's own servers."""
        import openai

        http = openai.DefaultHttpxClient(trust_env=not self._is_local, event_hooks={"response": [self._note_socket]})
        return openai.OpenAI(base_url=self._url, api_key=self._key, max_retries=0, http_client=http)

    # --- free text ---

    def stream(self, prompt, decoding=None, **changes) -> Iterator[str]:
        yield from self._written(prompt, settings(decoding, changes), _Outcome())

    def complete(self, prompt, decoding=None, **changes) -> Completion:
        decoding, began = settings(decoding, changes), time.perf_counter()
        if decoding.seconds:  # only a stream can be stopped at the deadline, with what has come so far
            outcome = _Outcome()
            text = "".join(self._written(prompt, decoding, outcome))
            return outcome.completion(text, began)
        create, body = self._request(prompt, decoding)
        return self._completed(self._ask(create, body, None), decoding, began)

    def batch(self, prompts, decoding=None, **changes) -> list[Completion]:
        """A reply to each prompt, in order, ``workers`` at a time. Row n draws with ``seed + n``."""
        decoding = settings(decoding, changes)
        rows = [(prompt, replace(decoding, seed=decoding.seed + n)) for n, prompt in enumerate(prompts)]
        if rows:
            _ = self.model, self.client  # once, not by each worker
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(lambda row: self.complete(*row), rows))

    def _written(self, prompt: Prompt, decoding: Decoding, outcome: _Outcome) -> Iterator[str]:
        """The reply piece by piece; ``outcome`` is filled on the way."""
        create, body = self._request(prompt, decoding)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        ends = time.perf_counter() + decoding.seconds if decoding.seconds else None
        chunks, cut = self._ask(create, body, ends), _Cut(decoding.stop)
        alarm: _Alarm = self._thread.alarm
        try:
            if ends:
                alarm.start(ends - time.perf_counter())
            for chunk in self._checked(chunks):
                if new := cut.add(outcome.take(chunk)):
                    yield new
                if cut.found:
                    break
        except _api_errors() as error:
            if not alarm.rang and not outcome.finish:
                raise self._broken_off(error, cut) from None
        finally:
            alarm.stop()
            chunks.close()
        self._finish(outcome, cut, alarm, decoding)
        if new := cut.rest():
            yield new

    def _checked(self, chunks: Any) -> Any:
        """A stream, if it is one."""
        kind = chunks.response.headers.get("content-type", "")
        if "event-stream" not in kind:
            raise LanguageError(
                f"{self.address} does not send replies piece by piece, but {kind or 'something of no type'}. "
                "Use complete(), without a deadline (seconds)."
            )
        return chunks

    def _finish(self, outcome: _Outcome, cut: _Cut, alarm: _Alarm, decoding: Decoding) -> None:
        """Say why a stream came to its end."""
        if cut.found:
            outcome.finish = "stop string"
        elif outcome.finish:
            self._check_filter(outcome.finish)
        elif alarm.rang and cut.text:
            outcome.finish = "deadline"
        elif alarm.rang:
            raise self._late(decoding.seconds, 1)
        else:
            raise self._broken_off(None, cut)

    def _completed(self, answer: Any, decoding: Decoding, began: float) -> Completion:
        """A `Completion` from a whole answer."""
        outcome, choice = _Outcome(), self._choice(answer)
        outcome.take(answer)
        self._check_filter(outcome.finish)
        cut = _Cut(decoding.stop)
        cut.add(_text_of(choice))
        if cut.found:
            outcome.finish = "stop string"
        return outcome.completion(cut.text, began)

    def _choice(self, answer: Any) -> Any:
        found = getattr(answer, "choices", None)
        if found == []:
            raise LanguageError(f"{self.address} answered without a reply: its list of choices is empty. Ask again.")
        first = found[0] if isinstance(found, list) else None
        if getattr(first, "message", None) is None and getattr(first, "text", None) is None:
            raise self._strange(answer)
        return first

    def _check_filter(self, finish: str) -> None:
        if finish == "content_filter":
            raise LanguageError(f"The content filter of {self.address} stopped the reply. Put the prompt differently.")

    # --- answers under a schema ---

    def structured(self, prompt, grammar, decoding=None, trace=False, **changes) -> Structured:
        """Ask for a value that a JSON Schema allows, and validate what comes.

        The schema is sent as ``response_format``; where the server refuses one form after the other, it stands in the prompt
        alone. An answer that is not valid is sent back once with the reason. ``text`` is the value as the grammar writes it.
        """
        decoding, grammar, began = settings(decoding, changes), as_grammar(grammar), time.perf_counter()
        _check_structured(grammar, decoding, trace)
        ends = began + decoding.seconds if decoding.seconds else None
        messages, answers = _as_chat(check_prompt(prompt)), []
        for last in (False, True):
            answers.append(answer := self._answered(messages, grammar, decoding, ends))
            try:
                value = _value(answer.text, grammar)
                break
            except Invalid as why:
                if answer.stopped == "length":
                    raise LanguageError(_no_room(grammar, decoding)) from None
                if last:
                    raise LanguageError(
                        f"{self.name} was asked twice and gave no valid answer for {grammar.name}: {why}. "
                        "Simplify the schema, or take a larger model."
                    ) from None
                messages = [*messages, *_sent_back(answer.text, why, grammar)]
        return Structured(
            value, _as_written(value, grammar), prompt_tokens=sum(a.prompt_tokens for a in answers),
            tokens=sum(a.tokens for a in answers), cached_tokens=sum(a.cached_tokens for a in answers),
            seconds=time.perf_counter() - began,
        )  # fmt: skip

    def _answered(self, messages: list, grammar: Grammar, decoding: Decoding, ends: float | None) -> Completion:
        """One answer, in the first form of ``response_format`` that the server takes; see `_forms`."""
        began = time.perf_counter()
        for number, form in enumerate(_forms(grammar)):
            if number < self._formats.get(grammar.source, 0):
                continue
            create, body = self._request(_told(messages, grammar) if number else messages, decoding)
            try:
                return self._completed(self._ask(create, {**body, **form}, ends), decoding, began)
            except Refused as error:
                if not form or not FORMAT.search(error.said):
                    raise
                self._formats[grammar.source] = number + 1
        raise AssertionError("the last form, without response_format, is returned or raised")

    def choose(self, prompt, options) -> Choice:
        """The option that the model writes when it may write nothing else; servers do not tell its probability."""
        options = check_options(options)
        room = 64 + max(map(len, options))
        option = self.structured(prompt, choices(options), max_tokens=room).value
        return Choice(option, options.index(option))

    def score(self, prompt, reply) -> Score:
        """Log-probabilities of a reply's tokens after a text, if the server's /completions repeats it with them (echo)."""
        if not reply:
            raise LanguageError("There is nothing to score: the reply is empty.")
        if not isinstance(prompt := check_prompt(prompt), str):
            raise LanguageError(
                f"{self.address} cannot score a reply to messages: chat endpoints tell how probable their own words are, "
                "not a given text. Give the prompt as one text, or use a model on this machine: load_language()."
            )
        create, body = self._request(prompt + reply, Decoding(max_tokens=1))
        try:
            answer = self._ask(create, {**body, "echo": True, "logprobs": 1}, None)
        except Refused as error:
            raise self._no_scores(f" ({error.said.rstrip('.')})") from None
        return self._scored(self._choice(answer), reply)

    def _scored(self, choice: Any, reply: str) -> Score:
        """The last tokens before the new one, as many as make up the reply."""
        told = getattr(choice, "logprobs", None)
        tokens, logprobs = getattr(told, "tokens", None), getattr(told, "token_logprobs", None)
        if not tokens or not logprobs or not _text_of(choice).rstrip().find(reply.rstrip()) >= 0:
            raise self._no_scores("")
        for written in (1, 0):  # how many tokens it added: one, as asked, or none where it ended the text
            new = _last_tokens(tokens[: len(tokens) - written], reply)
            if new:
                place = slice(len(tokens) - written - new, len(tokens) - written)
                return Score(list(tokens[place]), [float(p) for p in logprobs[place]])
        raise LanguageError(
            f"{self.name} has no border of tokens between the prompt and the reply {reply[:40]!r}. "
            "Move the last space of the prompt to the reply, or the other way round."
        )

    def _no_scores(self, why: str) -> LanguageError:
        return LanguageError(
            f"{self.address} cannot score a reply: its /completions does not repeat a given text with the probabilities "
            f"of its tokens{why}. Use a model on this machine: load_language()."
        )

    # --- requests ---

    def _request(self, prompt: Prompt, decoding: Decoding) -> tuple[Callable, dict[str, Any]]:
        """The client's function to call, and what to call it with."""
        prompt = check_prompt(prompt)
        if decoding.beams > 1:
            raise LanguageError("A server has no beam search: leave beams at 1.")
        body = {"model": self.model, "max_tokens": decoding.max_tokens, "temperature": decoding.temperature}
        if decoding.top_p < 1:
            body["top_p"] = decoding.top_p
        if decoding.stop:
            body["stop"] = list(decoding.stop)
        if decoding.temperature:
            body["seed"] = decoding.seed
        extra = _extra(decoding)
        if isinstance(prompt, str):
            return self.client.completions.create, {**body, "prompt": prompt, "extra_body": extra}
        if prompt[-1]["role"] == "assistant":
            extra |= {"continue_final_message": True, "add_generation_prompt": False}  # vLLM's names
        messages = [{"role": m["role"], "content": m["content"]} for m in prompt]
        return self.client.chat.completions.create, {**body, "messages": messages, "extra_body": extra}

    def _adapted(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request without what this server refused before."""
        body = {k: v for k, v in body.items() if k not in self._quirks}
        if "max_completion_tokens" in self._quirks and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        if "tool_call" in self._quirks and "messages" in body:
            body["messages"] = [_as_user(m) if m["role"] == "tool" else m for m in body["messages"]]
        return body

    def _learnt(self, error: Exception, body: dict[str, Any]) -> bool:
        """Whether a refusal names something that the request can do without; it is left out from now on."""
        said = self._words(error)
        if getattr(error, "status_code", 0) not in REFUSALS or TOO_LONG.search(said):
            return False
        sent = {*body, *(["max_completion_tokens"] if "max_tokens" in body else [])}
        if any(m["role"] == "tool" for m in body.get("messages", ())):
            sent.add("tool_call")
        new = {quirk for quirk in QUIRKS if quirk in said and quirk in sent} - self._quirks
        self._quirks |= new
        return bool(new)

    def _ask(self, create: Callable, body: dict[str, Any], ends: float | None) -> Any:
        """Send a request, again where that may help; ``ends`` is the time by which the answer must have come.

        The alarm of this thread is off when this returns; a stream may set it again.
        """
        import openai

        tried = 0
        while True:
            tried += 1
            seconds = self.seconds if ends is None else max(0.001, min(self.seconds, ends - time.perf_counter()))
            alarm = self._thread.alarm = _Alarm(seconds)
            timeout = openai.Timeout(seconds, connect=min(seconds, 5.0))
            try:
                return create(**self._adapted(body), timeout=timeout)
            except _api_errors() as error:
                if self._learnt(error, body):
                    tried -= 1
                    continue
                if self._is_about_format(error, body):
                    raise Refused(
                        f"{self.address} refused the schema: {self._said(error)}", self._words(error)
                    ) from None
                pause = _pause(error, tried)
                late = ends is not None and time.perf_counter() + pause >= ends
                if late or tried > self.retries or not (alarm.rang or _passes(error)):
                    raise self._explained(error, alarm.rang, seconds, tried, body) from None
            finally:
                alarm.stop()
            self.sleep(pause)

    def _is_about_format(self, error: Exception, body: dict[str, Any]) -> bool:
        asked, said = "response_format" in body, self._words(error)
        refused = getattr(error, "status_code", 0) in REFUSALS and not TOO_LONG.search(said)
        return asked and refused and bool(FORMAT.search(said))

    def _note_socket(self, response: Any) -> None:
        """Called by the client when an answer begins: from now on the alarm can break it off."""
        stream = response.extensions.get("network_stream")
        if stream is not None and (alarm := getattr(self._thread, "alarm", None)):
            alarm.connection = stream.get_extra_info("socket")

    # --- what went wrong ---

    def _said(self, error: Exception) -> str:
        """The server's own words about an error as one sentence that is not too long."""
        text = _short(self._words(error), 300)
        return text if text.endswith((".", "!", "?")) else f"{text}."

    def _words(self, error: Exception) -> str:
        """The server's own words about an error, in one line, without the key."""
        body = getattr(error, "body", None)
        if isinstance(body, Mapping):
            body = body.get("message") or body.get("detail") or body.get("error") or body
        text = body if isinstance(body, str) else json.dumps(body) if body else getattr(error, "message", "")
        return self._shown(text, 10_000)

    def _shown(self, text: str, length: int) -> str:
        """A server's text in one line, without the key."""
        text = " ".join(text.split())
        return _short(text if self._key == NO_KEY else text.replace(self._key, "***"), length)

    def _explained(self, error: Exception, late: bool, seconds: float, tried: int, body: dict) -> LanguageError:
        import openai

        if late or isinstance(error, openai.APITimeoutError):
            return self._late(seconds, tried)
        if isinstance(error, openai.APIConnectionError):
            return LanguageError(self._unreachable(error))
        if isinstance(error, openai.APIStatusError):
            return self._refusal(error, tried, body)
        if isinstance(error, openai.APIError):
            return LanguageError(f"{self.address} reported an error: {self._said(error)}")
        return LanguageError(f"{self.address} answered with something that is no JSON. {LOOK}")

    def _refusal(self, error: openai.APIStatusError, tried: int, body: dict) -> LanguageError:
        """A sentence for an answer with status 4xx or 5xx."""
        status, said = error.status_code, self._said(error)
        times = f"status {status}, tried {tried} times" if tried > 1 else f"status {status}"
        if status in (401, 403):
            return LanguageError(
                f"{self.address} refused the key (status {status}). Set OPENAI_API_KEY to one that is valid there, or give "
                "Endpoint(..., key=...)."
            )
        if status == 429:
            return LanguageError(
                f"{self.address} takes no more requests for now ({times}): {said} Wait a while, or see what your account "
                "may use."
            )
        if status >= 500:
            return LanguageError(f"{self.address} failed ({times}): {said} See the server's own log.")
        if status in (400, 413, 422) and TOO_LONG.search(said):
            return LanguageError(
                f"The prompt and the reply are too long for {self.name}: {said} Shorten the prompt, or lower max_tokens."
            )
        if status in (400, 404, 422) and (status == 404 or "model" in said.lower()):
            return self._missing(said, status, body)
        if "continue_final_message" in said:
            return LanguageError(
                f"{self.address} cannot go on with a message of the assistant. End the prompt with a message of the user."
            )
        return Refused(f"{self.address} refused the request (status {status}): {said}", said)

    def _missing(self, said: str, status: int, body: dict) -> LanguageError:
        """A sentence for a model, or an address, that the server does not have."""
        model, offered = body.get("model"), []
        if model:
            with suppress(LanguageError):
                offered = self.models()
        if offered and model not in offered:
            return LanguageError(f"{self.address} has no model {model!r}. It offers: {', '.join(offered)}.")
        if status != 404:
            return Refused(f"{self.address} refused the request (status {status}): {said}", said)
        if "prompt" in body:
            return Refused(
                f"{self.address} has no /completions, which goes on with a plain text. Give a list of messages.", said
            )
        what = f" for the model {model!r}" if model else ""
        return LanguageError(f"{self.address} has nothing{what} at this address (status 404). {LOOK}")

    def _unreachable(self, error: Exception) -> str:
        causes = _causes(error)
        for cause in causes:
            if isinstance(cause, socket.gaierror):
                return (
                    f"The name {urlsplit(self.address).hostname!r} of {self.address} is not known to this network. "
                    "Correct the address, or see whether the network is up."
                )
            if isinstance(cause, ConnectionRefusedError):
                return f"No server answers at {self.address}. Start it, or correct the address."
            if type(cause).__name__ == "NetworkBlocked":
                return f"{self.address} was not asked: {cause}"
        why = _short(str(causes[-1]) or type(causes[-1]).__name__, 120).rstrip(".")
        return f"The connection to {self.address} failed ({why}). See whether the server is up and takes requests."

    def _late(self, seconds: float, tried: int) -> LanguageError:
        times = f" ({tried} tries)" if tried > 1 else ""
        return LanguageError(
            f"{self.address} gave no whole reply within {seconds:.3g} seconds{times}. Allow more seconds, ask for fewer "
            "tokens (max_tokens), or see whether the server is busy."
        )

    def _broken_off(self, error: Exception | None, cut: _Cut) -> LanguageError:
        import openai

        where = f"after {len(cut.text)} characters"
        if isinstance(error, openai.APITimeoutError):
            return LanguageError(
                f"{self.address} fell silent for {self.seconds:.3g} seconds {where} of the reply. Ask again, or allow more "
                "seconds."
            )
        if isinstance(error, ValueError):
            return LanguageError(f"{self.address} sent something that is no JSON {where} of the reply. {LOOK}")
        why = "" if error is None or isinstance(error, openai.APIConnectionError) else f": {self._said(error)}"
        return LanguageError(
            f"{self.address} broke the reply off {where}{why or '.'} Ask again; if it happens often, see the server's log."
        )

    def _strange(self, answer: Any) -> LanguageError:
        dump = getattr(answer, "model_dump_json", None)
        text = answer if isinstance(answer, str) else dump(exclude_unset=True) if dump else repr(answer)
        return LanguageError(
            f"{self.address} did not answer as OpenAI's protocol asks, but with {self._shown(text, 80)!r}. {LOOK}"
        )


class _Alarm:
    """Breaks a connection off when its time is up, also while somebody waits for the next byte."""

    def __init__(self, seconds: float):
        self.connection: socket.socket | None = None
        self.rang = False
        self.start(seconds)

    def start(self, seconds: float) -> None:
        self.timer = threading.Timer(max(seconds, 0), self.ring)
        self.timer.daemon = True
        self.timer.start()

    def ring(self) -> None:
        self.rang = True
        if self.connection is not None:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self.timer.cancel()


@dataclass
class _Outcome:
    """What a server says besides the text."""

    finish: str = ""
    usage: Any = None

    def take(self, part: Any) -> str:
        """Note what a chunk, or a whole answer, tells; give a chunk's text."""
        self.usage = getattr(part, "usage", None) or self.usage
        found = getattr(part, "choices", None)
        if not found:
            return ""
        stopped_by = getattr(found[0], "stop_reason", None)  # vLLM: the stop string
        finish = getattr(found[0], "finish_reason", None) or ""
        self.finish = "stop string" if finish and isinstance(stopped_by, str) else finish or self.finish
        return _text_of(found[0])

    def completion(self, text: str, began: float) -> Completion:
        names = {"stop string": "stop", "length": "length", "deadline": "deadline"}
        counts = [getattr(self.usage, name, None) or 0 for name in ("prompt_tokens", "completion_tokens")]
        cached = getattr(getattr(self.usage, "prompt_tokens_details", None), "cached_tokens", None) or 0
        seconds = time.perf_counter() - began
        return Completion(text, names.get(self.finish, "end"), *counts, cached_tokens=cached, seconds=seconds)


class _Cut:
    """A text that comes in pieces and ends before a stop string; servers do not all leave that out."""

    def __init__(self, stops: Sequence[str]):
        self.stops, self.text, self.given, self.found = stops, "", 0, False

    def add(self, piece: str) -> str:
        """Take a piece, and give what can be shown: nothing that may become a stop string."""
        self.text += piece
        places = [place for stop in self.stops if (place := self.text.find(stop)) >= 0]
        if places:
            self.text, self.found = self.text[: min(places)], True
        return self._show(len(self.text) - (0 if self.found else self._held_back()))

    def rest(self) -> str:
        return self._show(len(self.text))

    def _held_back(self) -> int:
        tails = (n for stop in self.stops for n in range(1, len(stop)) if self.text.endswith(stop[:n]))
        return max(tails, default=0)

    def _show(self, end: int) -> str:
        new, self.given = self.text[self.given : end], max(self.given, end)
        return new


def _api_errors() -> tuple[type[Exception], ...]:
    """What the client raises: its own errors, and ValueError for malformed JSON."""
    import openai

    return (openai.APIError, ValueError)


def _passes(error: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    import openai

    status = getattr(error, "status_code", 0)
    offline = any(type(cause).__name__ == "NetworkBlocked" for cause in _causes(error))
    return (isinstance(error, openai.APIConnectionError) and not offline) or status == 429 or status >= 500


def _pause(error: Exception, tried: int) -> float:
    """Seconds to wait: what the server asks for in Retry-After, else twice as long each time."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    asked = headers.get("retry-after", "")
    return min(float(asked) if asked.isdigit() else FIRST_PAUSE * 2 ** (tried - 1), LONGEST_PAUSE)


def _causes(error: BaseException) -> list[BaseException]:
    """An error and what led to it, the first cause last."""
    chain = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None and deeper not in chain:
        chain.append(deeper)
    return chain


def _checked_address(address: str) -> tuple[str, str, bool]:
    """The base address to ask, the same to show (no user, no query), and whether it is on this machine."""
    try:
        parts = urlsplit(address.strip())
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        shown = re.sub(r"//[^/@]*@", "//", address)
        raise LanguageError(f"{shown!r} is no address of a server. Give one such as http://127.0.0.1:8000/v1.")
    parts = parts._replace(path=parts.path.rstrip("/") or "/v1")
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
    return parts.geturl(), shown.geturl(), is_local((parts.hostname, 0))


def _checked_key(key: str) -> str:
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise LanguageError("The key holds a character that no key has. Copy it again, without quotes or line breaks.")
    return key


def _extra(decoding: Decoding) -> dict[str, Any]:
    """Fields that OpenAI's protocol lacks and that vLLM, llama.cpp and others know, where they differ from their defaults."""
    extra = {name: value for name in ("top_k", "min_p") if (value := getattr(decoding, name))}
    if decoding.repetition_penalty != 1:
        extra |= dict.fromkeys(("repetition_penalty", "repeat_penalty"), decoding.repetition_penalty)
    return extra


def _text_of(choice: Any) -> str:
    """The text of a choice: of a chat, of a piece of one, or of a completion."""
    part = getattr(choice, "message", None) or getattr(choice, "delta", None)
    text = getattr(part, "content", None) if part is not None else getattr(choice, "text", None)
    return text if isinstance(text, str) else ""


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 4].rstrip() + " ..."


def _last_tokens(tokens: Sequence[str], text: str) -> int:
    """How many of the last tokens make up a text; 0 where no number does."""
    joined = ""
    for number, token in enumerate(reversed(tokens), 1):
        joined = token + joined
        if len(joined) >= len(text):
            return number if joined == text else 0
    return 0


# --- schemas for servers, and answers from them --------------------------------------------------------------


def _check_structured(grammar: Grammar, decoding: Decoding, trace: bool) -> None:
    if decoding.beams > 1 or decoding.stop:
        raise LanguageError("Under a grammar there are no beams and no stop strings: the grammar says where it ends.")
    if trace:
        raise LanguageError("A server does not tell what its model wanted at each token: leave trace at False.")
    if grammar.schema is None:
        name = grammar.name[0].upper() + grammar.name[1:]
        raise LanguageError(
            f"{name} cannot be sent to a server, which takes JSON Schemas. Put it into one, such as "
            '{"type": "string", "pattern": ...}, or use a model on this machine.'
        )


def _is_wrapped(grammar: Grammar) -> bool:
    return not (isinstance(grammar.schema, Mapping) and grammar.schema.get("type") == "object")


def _forms(grammar: Grammar) -> list[dict[str, Any]]:
    """What to send for a schema: OpenAI's form, that of llama-cpp-python and others, and nothing.

    A value that is no object becomes the one property of an object.
    """
    schema = grammar.schema
    if _is_wrapped(grammar):
        inner = dict(schema) if isinstance(schema, Mapping) else schema
        shared = {"$defs": inner.pop("$defs")} if isinstance(inner, dict) and "$defs" in inner else {}
        parts = {"type": "object", "properties": {WRAP: inner}, "required": [WRAP], "additionalProperties": False}
        schema = {**parts, **shared}
    return [
        {"response_format": {"type": "json_schema", "json_schema": {"name": WRAP, "schema": schema}}},
        {"response_format": {"type": "json_object", "schema": schema}},
        {},
    ]


def _as_chat(prompt: Prompt) -> list[Mapping[str, str]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def _as_user(message: Mapping[str, str]) -> dict[str, str]:
    """A tool's result for servers that take one only after a tool call of their own."""
    return {"role": "user", "content": f"Result of the tool:\n{message['content']}"}


def _told(messages: Sequence[Mapping[str, str]], grammar: Grammar) -> list[Mapping[str, str]]:
    """The messages with the schema at the end of the user's last one."""
    asked = f"{ONLY_JSON} {json.dumps(grammar.schema, ensure_ascii=False)}"
    last = messages[-1]
    if last["role"] != "user":
        return [*messages, {"role": "user", "content": asked}]
    if asked in last["content"]:
        return list(messages)
    return [*messages[:-1], {"role": "user", "content": f"{last['content']}\n\n{asked}"}]


def _sent_back(text: str, why: Invalid, grammar: Grammar) -> list[dict[str, str]]:
    asked = f"{ONLY_JSON} {json.dumps(grammar.schema, ensure_ascii=False)}"
    return [
        {"role": "assistant", "content": text or "(nothing)"},
        {"role": "user", "content": f"That is not valid: {why}. {asked}"},
    ]


def _value(text: str, grammar: Grammar) -> Any:
    """The value that an answer holds, in a code fence or not, wrapped or not; `Invalid` says what is wrong with it."""
    bare = re.sub(r"^```\w*\s*|\s*```$", "", text.strip())
    if not grammar.json and bare in grammar.schema["enum"]:
        return bare
    try:
        value = json.loads(bare)
    except ValueError:
        raise Invalid(f"{_short(bare, 60)!r} is no JSON") from None
    if _is_wrapped(grammar) and isinstance(value, dict) and set(value) == {WRAP}:
        value = value[WRAP]
    _validate(value, grammar.schema)
    return value


def _validate(value: Any, schema: Any) -> None:
    from jsonschema.exceptions import best_match
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    kind = validator_for(schema, default=Draft202012Validator)
    validator = kind(schema, registry=Registry(), format_checker=kind.FORMAT_CHECKER)
    wrong = best_match(validator.iter_errors(value))
    if wrong is not None:
        place = "".join(f"[{step!r}]" for step in wrong.absolute_path)
        raise Invalid(f"{place + ': ' if place else ''}{_short(wrong.message, 200)}")


def _as_written(value: Any, grammar: Grammar) -> str:
    """The text that the grammar has for a value."""
    if not grammar.json:
        return value
    text = json.dumps(value, ensure_ascii=False)
    return NO_TOOL if value is None and _has_no_tool(grammar) else text


def _has_no_tool(grammar: Grammar) -> bool:
    return isinstance(grammar.schema, Mapping) and {"type": "null"} in grammar.schema.get("anyOf", ())


def _no_room(grammar: Grammar, decoding: Decoding) -> str:
    return f"{grammar.name[0].upper()}{grammar.name[1:]} asks for more than max_tokens={decoding.max_tokens} can hold."
