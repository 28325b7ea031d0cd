"""Endpoints against a server that misbehaves on request, and against ``transformers serve``; llama.cpp where installed."""

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from agentlab import assets, grammar, offline
from agentlab.decoding import Decoding, LanguageError
from agentlab.endpoints import Endpoint
from agentlab.language import load_language
from agentlab.llamacpp import LlamaCpp
from tests.conftest import loopback_is_up

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not loopback_is_up(), reason="the loopback is down, and the servers are reached over it"),
]
CHAT = [{"role": "user", "content": "Where is order C-1001?"}]
ORDER = {
    "type": "object",
    "properties": {"order": {"type": "string", "pattern": "^C-[0-9]{4}$"}},
    "required": ["order"],
}
TOOLS = [{"name": "find_order", "parameters": ORDER}]
KEY = "sk-very-secret-1"


# --- a server that does what a test tells it ---


class Server:
    """Answers each request with the next behaviour of ``script``, and remembers requests in ``asked``."""

    def __init__(self):
        self.script, self.asked, self.keys = [], [], []
        self.gone = threading.Event()  # set when a client hangs up in the middle of a stream
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            log_message = staticmethod(lambda *_: None)

            def do_GET(self):
                server.answer(self, None)

            def do_POST(self):
                server.answer(self, json.loads(self.rfile.read(int(self.headers["content-length"]))))

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # a client that hangs up between two requests
        self.host = f"http://127.0.0.1:{self.http.server_port}"
        self.address = f"{self.host}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, handler, body):
        self.asked.append((handler.path, body))
        self.keys.append(handler.headers["authorization"])
        behaviour = self.script.pop(0) if self.script else fails(500, "The script is used up.")
        try:
            behaviour(handler)
        except OSError:
            self.gone.set()
            handler.close_connection = True

    @property
    def body(self):
        return self.asked[-1][1]


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def ask(server, monkeypatch):
    """Makes an endpoint of the server, with its replies in the script; ``endpoint.pauses`` are the seconds it waited."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def make(*script, **options):
        server.script = list(script)
        pauses = []
        endpoint = Endpoint(server.host, **{"model": "small", "seconds": 5, "sleep": pauses.append, **options})
        endpoint.pauses = pauses
        return endpoint

    return make


def sends(data, status=200, kind="application/json", **headers):
    data = data.encode() if isinstance(data, str) else json.dumps(data).encode()

    def behave(handler):
        handler.send_response(status)
        for name, value in {"content-type": kind, "content-length": len(data), **headers}.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        handler.wfile.write(data)

    return behave


def fails(status, message, **headers):
    return sends({"error": {"message": message}}, status, **headers)


def says(text, finish="stop", prompt=7, written=3, **more):
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
    return sends({"choices": [{"index": 0, "message": message, "finish_reason": finish, **more}], "usage": usage})


def goes_on(text, finish="length", **more):
    return sends({"choices": [{"index": 0, "text": text, "finish_reason": finish, **more}]})


def lists(*names):
    return sends({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


def chunk(text=None, finish=None):
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def streams(*parts, done=True):
    """Server-sent events; a part is a chunk, a raw text, or a number of seconds to wait."""

    def behave(handler):
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        for part in (*parts, *(["data: [DONE]\n\n"] if done else [])):
            if isinstance(part, float):
                time.sleep(part)
                continue
            data = (part if isinstance(part, str) else f"data: {json.dumps(part)}\n\n").encode()
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        if done:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.close_connection = True

    return behave


def waits(seconds, then):
    def behave(handler):
        time.sleep(seconds)
        then(handler)

    return behave


def drips(handler):
    """A body that never ends and never pauses for long, as servers send to keep a connection alive."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"\n")
        handler.wfile.flush()
        time.sleep(0.05)


def message_of(call):
    with pytest.raises(LanguageError) as caught:
        call()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None, "a traceback of the client would show"
    return str(caught.value)


# --- what is sent, and what is made of the reply ---


def test_a_reply_comes_with_its_counts_and_only_what_differs_from_the_defaults_is_sent(ask, server):
    reply = ask(says("It is on its way.", prompt=11, written=6)).complete(CHAT)
    assert (reply.text, reply.stopped, reply.prompt_tokens, reply.tokens) == ("It is on its way.", "end", 11, 6)
    assert 0 < reply.seconds < 5
    assert server.asked == [
        ("/v1/chat/completions", {"model": "small", "messages": CHAT, "max_tokens": 128, "temperature": 0.0})
    ]
    assert server.keys == ["Bearer none"]


def test_decoding_travels_also_where_the_protocol_has_no_name_for_it(ask, server):
    decoding = Decoding(9, 0.7, top_k=5, top_p=0.9, min_p=0.1, repetition_penalty=1.2, stop=("\n",), seed=3)
    assert ask(says("Yes", "length")).complete(CHAT, decoding).stopped == "length"
    assert server.body == {
        "model": "small", "messages": CHAT, "max_tokens": 9, "temperature": 0.7, "top_p": 0.9, "stop": ["\n"], "seed": 3,
        "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2, "repeat_penalty": 1.2,
    }  # fmt: skip


def test_the_first_listed_model_is_taken_and_remembered(ask, server):
    endpoint = ask(lists("first", "second"), says("One"), says("Two"), model=None)
    assert endpoint.name == f"the model at {server.address}"
    assert [endpoint.complete(CHAT).text for _ in range(2)] == ["One", "Two"]
    assert [path for path, _ in server.asked] == ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]
    assert server.body["model"] == "first"
    assert endpoint.name == f"first at {server.address}"


def test_a_server_without_models_is_told_apart(ask, server):
    assert (
        message_of(lambda: ask(lists(), model=None).complete(CHAT))
        == f"{server.address} lists no model. Name one: Endpoint(..., model=...)."
    )


def test_making_an_endpoint_asks_nobody(ask, server):
    assert isinstance(load_language(server.host, model="small"), Endpoint)
    ask(model=None)
    assert server.asked == []


def test_a_text_is_gone_on_with(ask, server):
    assert ask(goes_on(" a time")).complete("Once upon").text == " a time"
    path, body = server.asked[0]
    assert (path, body["prompt"], "messages" in body) == ("/v1/completions", "Once upon", False)


def test_a_last_message_of_the_assistant_is_gone_on_with_where_the_server_can(ask, server):
    begun = [*CHAT, {"role": "assistant", "content": "It is"}]
    assert ask(says(" here.")).complete(begun).text == " here."
    assert (server.body["continue_final_message"], server.body["add_generation_prompt"]) == (True, False)
    refused = ask(fails(422, "Unexpected fields in the request: {'continue_final_message'}"))
    assert message_of(lambda: refused.complete(begun)) == (
        f"{server.address} cannot go on with a message of the assistant. End the prompt with a message of the user."
    )


def test_stop_strings_are_left_out_also_where_the_server_sends_them(ask):
    assert ask(says("One. Two.")).complete(CHAT, stop=(". T",)).text == "One"
    assert ask(says("One", stop_reason=". T")).complete(CHAT, stop=(". T",)).stopped == "stop"
    parts = [chunk("On"), chunk("e."), chunk(" "), chunk("Two"), chunk(None, "stop")]
    assert list(ask(streams(*parts)).stream(CHAT, stop=(". T",))) == ["On", "e"]
    assert list(ask(streams(*parts)).stream(CHAT, stop=("!",))) == ["On", "e.", " ", "Two"]
    assert "".join(ask(streams(*parts)).stream(CHAT, stop=("Twofold",))) == "One. Two"


def test_a_batch_keeps_its_order_and_draws_differently_in_each_row(ask, server):
    def echo(handler):
        body = next(b for _, b in server.asked if b["prompt"] not in echoed)
        echoed.add(body["prompt"])
        goes_on(body["prompt"].upper())(handler)

    echoed, names = set(), ["a", "b", "c", "d", "e"]
    endpoint = ask(workers=1)
    server.script = [echo] * 5
    assert [r.text for r in endpoint.batch(names, temperature=1.0, seed=10)] == ["A", "B", "C", "D", "E"]
    assert [body["seed"] for _, body in server.asked] == [10, 11, 12, 13, 14]
    assert ask().batch([]) == []


def test_a_batch_asks_side_by_side(ask):
    began = time.monotonic()
    endpoint = ask(*[waits(0.3, goes_on("x"))] * 4)
    assert [r.text for r in endpoint.batch(["a", "b", "c", "d"])] == ["x"] * 4
    assert time.monotonic() - began < 1.1


# --- what goes wrong ---


def test_passing_failures_are_tried_again_with_longer_pauses(ask, server):
    endpoint = ask(fails(500, "Oops"), fails(503, "Busy"), says("Fine"))
    assert endpoint.complete(CHAT).text == "Fine"
    assert endpoint.pauses == [0.5, 1.0]
    endpoint = ask(fails(429, "Slow down", retry_after=3), fails(429, "Slow down", retry_after=900), says("Fine"))
    assert endpoint.complete(CHAT).text == "Fine"
    assert endpoint.pauses == [3.0, 8.0]


@pytest.mark.parametrize(
    ("script", "asked", "message"),
    [
        ([fails(500, "Out of memory.")] * 3, 3,
         "{address} failed (status 500, tried 3 times): Out of memory. See the server's own log."),
        ([fails(429, "Quota used up.")] * 3, 3,
         "{address} takes no more requests for now (status 429, tried 3 times): Quota used up. Wait a while, or see what "
         "your account may use."),
        ([fails(401, "Bad key.")], 1,
         "{address} refused the key (status 401). Set OPENAI_API_KEY to one that is valid there, or give "
         "Endpoint(..., key=...)."),
        ([fails(404, "No such model."), lists("large", "huge")], 2,
         "{address} has no model 'small'. It offers: large, huge."),
        ([fails(400, "model small is not loaded"), lists("large")], 2,
         "{address} has no model 'small'. It offers: large."),
        ([fails(404, "Not found"), fails(404, "Not found")], 2,
         "{address} has nothing for the model 'small' at this address (status 404). See whether the address is right; that "
         "of most servers ends in /v1."),
        ([sends({"detail": "temperature must be below 2"}, 422)], 1,
         "{address} refused the request (status 422): temperature must be below 2."),
        ([fails(400, "This model's maximum context length is 8192 tokens.")], 1,
         "The prompt and the reply are too long for small at {address}: This model's maximum context length is 8192 "
         "tokens. Shorten the prompt, or lower max_tokens."),
        ([sends('{"choices": [')], 1,
         "{address} answered with something that is no JSON. See whether the address is right; that of most servers ends "
         "in /v1."),
        ([sends("<html>Welcome!</html>", kind="text/html")], 1,
         "{address} did not answer as OpenAI's protocol asks, but with '<html>Welcome!</html>'. See whether the address is "
         "right; that of most servers ends in /v1."),
        ([sends({"error": "no credit"})], 1,
         "{address} did not answer as OpenAI's protocol asks, but with '{{\"error\":\"no credit\"}}'. See whether the "
         "address is right; that of most servers ends in /v1."),
        ([sends({"choices": [{"index": 0}]})], 1,
         "{address} did not answer as OpenAI's protocol asks, but with '{{\"choices\":[{{\"index\":0}}]}}'. See whether the "
         "address is right; that of most servers ends in /v1."),
        ([sends({"choices": []})], 1,
         "{address} answered without a reply: its list of choices is empty. Ask again."),
        ([says("", "content_filter")], 1,
         "The content filter of {address} stopped the reply. Put the prompt differently."),
    ],
)  # fmt: skip
def test_each_failure_is_a_sentence(ask, server, script, asked, message):
    endpoint = ask(*script)
    assert message_of(lambda: endpoint.complete(CHAT)) == message.format(address=server.address)
    assert len(server.asked) == asked


def test_a_server_without_completions_is_told_apart_from_one_without_the_model(ask, server):
    endpoint = ask(fails(404, "Not found"), lists("small"))
    assert message_of(lambda: endpoint.complete("Once upon")) == (
        f"{server.address} has no /completions, which goes on with a plain text. Give a list of messages."
    )


def test_a_server_that_is_down_is_named_after_all_tries(ask):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pauses = []
    endpoint = Endpoint(f"http://127.0.0.1:{port}", model="small", sleep=pauses.append)
    assert message_of(lambda: endpoint.complete(CHAT)) == (
        f"No server answers at http://127.0.0.1:{port}/v1. Start it, or correct the address."
    )
    assert pauses == [0.5, 1.0]


def test_an_unknown_name_and_a_blocked_network_are_told_apart(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    endpoint = Endpoint("https://models.example/v1", model="small", sleep=lambda _: None)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert message_of(lambda: endpoint.complete(CHAT)) == (
        "The name 'models.example' of https://models.example/v1 is not known to this network. Correct the address, or see "
        "whether the network is up."
    )
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: offline.refuse((host, 443)))
    assert message_of(lambda: endpoint.complete(CHAT)) == (
        "https://models.example/v1 was not asked: A connection to 'models.example' was tried while the course runs "
        "offline. Everything a lesson needs is installed; if you want the network, run the notebook in JupyterLab."
    )


def test_a_connection_that_is_dropped_is_a_sentence(ask, server):
    def drop(handler):
        handler.close_connection = True

    assert message_of(lambda: ask(*[drop] * 3).complete(CHAT)) == (
        f"The connection to {server.address} failed (Server disconnected without sending a response). See whether the "
        "server is up and takes requests."
    )


@pytest.mark.parametrize("slow", [waits(1.0, says("Late")), drips])
def test_a_request_ends_after_its_seconds_whether_the_server_is_silent_or_drips(ask, server, slow):
    began = time.monotonic()
    assert message_of(lambda: ask(slow, slow, seconds=0.3, retries=1).complete(CHAT)) == (
        f"{server.address} gave no whole reply within 0.3 seconds (2 tries). Allow more seconds, ask for fewer tokens "
        "(max_tokens), or see whether the server is busy."
    )
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (streams(chunk("It is "), done=False),
         "{address} broke the reply off after 6 characters. Ask again; if it happens often, see the server's log."),
        (streams(chunk("It is ")),
         "{address} broke the reply off after 6 characters. Ask again; if it happens often, see the server's log."),
        (streams(chunk("It is "), "data: {oops\n\n"),
         "{address} sent something that is no JSON after 6 characters of the reply. See whether the address is right; that "
         "of most servers ends in /v1."),
        (streams(chunk("It is "), {"error": {"message": "Out of memory."}}),
         "{address} broke the reply off after 6 characters: Out of memory. Ask again; if it happens often, see the "
         "server's log."),
        (streams(chunk("It is "), 1.5),
         "{address} fell silent for 0.5 seconds after 6 characters of the reply. Ask again, or allow more seconds."),
    ],
)  # fmt: skip
def test_a_stream_that_breaks_off_gives_what_came_and_then_a_sentence(ask, server, stream, message):
    pieces = []
    stream = ask(stream, seconds=0.5, retries=0).stream(CHAT)
    assert message_of(lambda: pieces.extend(stream)) == message.format(address=server.address)
    assert pieces == ["It is "]


def test_a_server_that_cannot_stream_is_told_apart(ask, server):
    assert message_of(lambda: list(ask(says("All at once")).stream(CHAT))) == (
        f"{server.address} does not send replies piece by piece, but application/json. Use complete(), without a deadline "
        "(seconds)."
    )


def test_a_deadline_ends_the_reply_with_what_has_come_and_hangs_up(ask, server):
    usage = {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}}
    reply = ask(streams(chunk("It is"), chunk(" here.", "stop"), usage)).complete(CHAT, seconds=5)
    assert (reply.text, reply.stopped, reply.prompt_tokens, reply.tokens) == ("It is here.", "end", 4, 2)
    endless = [part for _ in range(60) for part in (chunk("It is "), 0.1)]
    began = time.monotonic()
    reply = ask(streams(*endless)).complete(CHAT, seconds=0.5)
    assert (reply.text[:12], reply.stopped) == ("It is It is ", "deadline")
    assert 0.4 < time.monotonic() - began < 1.5
    assert server.gone.wait(3)


def test_a_deadline_before_the_first_word_is_an_error_and_leaves_no_time_for_tries(ask, server):
    endpoint = ask(*[waits(1.0, says("Late"))] * 3)
    began = time.monotonic()
    assert message_of(lambda: endpoint.complete(CHAT, seconds=0.3)) == (
        f"{server.address} gave no whole reply within 0.3 seconds. Allow more seconds, ask for fewer tokens (max_tokens), "
        "or see whether the server is busy."
    )
    assert time.monotonic() - began < 1
    silent = ask(streams(chunk(""), 2.0))
    assert message_of(lambda: silent.complete(CHAT, seconds=0.3)).startswith(f"{server.address} gave no whole reply")


def test_a_stream_that_is_left_hangs_up(ask, server):
    stream = ask(streams(*[part for _ in range(60) for part in (chunk("word "), 0.05)])).stream(CHAT)
    assert next(stream) == "word "
    stream.close()
    assert server.gone.wait(3)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_the_key_is_in_the_header_and_in_no_message(ask, server, status):
    endpoint = ask(*[fails(status, f"Invalid: {KEY}")] * 4, key=f" {KEY}\n")
    message = message_of(lambda: endpoint.complete(CHAT))
    assert server.keys[0] == f"Bearer {KEY}"
    assert KEY not in message
    assert KEY not in message_of(lambda: ask(sends({"sent": KEY}), key=KEY).complete(CHAT))


def test_the_key_comes_from_the_environment(ask, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    endpoint = Endpoint(server.host, model="small")
    server.script = [says("Yes")]
    assert endpoint.complete(CHAT).text == "Yes"
    assert server.keys == [f"Bearer {KEY}"]
    assert KEY not in f"{endpoint!r} {endpoint.name}"


def test_a_proxy_does_not_stand_before_this_machines_own_server(ask, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert ask(says("Yes")).complete(CHAT).text == "Yes"


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8000", "ftp://host/v1", "http://", "http://host:port", "", "http://h:0"]
)
def test_an_address_that_is_none_is_refused(address):
    assert message_of(lambda: Endpoint(address)) == (
        f"{address!r} is no address of a server. Give one such as http://127.0.0.1:8000/v1."
    )


def test_addresses_are_shown_without_user_password_and_query():
    assert Endpoint("http://me:secret@host:8000/").address == "http://host:8000/v1"
    assert Endpoint("https://host/api/v2/?key=secret").address == "https://host/api/v2"
    assert message_of(lambda: Endpoint("ftp://me:secret@host")).startswith("'ftp://host' is no address")


def test_a_key_that_no_header_can_carry_is_refused():
    assert message_of(lambda: Endpoint("http://host", key="sk-“1”")) == (
        "The key holds a character that no key has. Copy it again, without quotes or line breaks."
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.complete(CHAT, beams=2), "A server has no beam search: leave beams at 1."),
        (lambda e: e.structured(CHAT, ORDER, trace=True),
         "A server does not tell what its model wanted at each token: leave trace at False."),
        (lambda e: e.structured(CHAT, ORDER, stop=("}",)),
         "Under a grammar there are no beams and no stop strings: the grammar says where it ends."),
        (lambda e: e.structured(CHAT, grammar.regex("C-[0-9]+")),
         "The pattern 'C-[0-9]+' cannot be sent to a server, which takes JSON Schemas. Put it into one, such as "
         '{"type": "string", "pattern": ...}, or use a model on this machine.'),
        (lambda e: e.score("Where", ""), "There is nothing to score: the reply is empty."),
        (lambda e: e.complete(""), "The prompt is empty. Give a text, or a list of messages."),
    ],
)  # fmt: skip
def test_what_no_server_can_do_is_refused_before_it_is_asked(ask, server, call, message):
    assert message_of(lambda: call(ask())) == message
    assert server.asked == []


# --- servers that know less ---


def test_what_a_server_refuses_and_a_request_can_do_without_is_left_out_from_then_on(ask, server):
    refusal = fails(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    endpoint = ask(refusal, fails(400, "Unknown field: seed"), says("Yes"), says("Yes again"), retries=0)
    assert endpoint.complete(CHAT, temperature=1.0, max_tokens=9).text == "Yes"
    assert server.body == {"model": "small", "messages": CHAT, "temperature": 1.0, "max_completion_tokens": 9}
    assert endpoint.complete(CHAT, temperature=1.0).text == "Yes again"
    assert len(server.asked) == 4
    endpoint = ask(fails(422, "stream_options: extra fields not permitted"), streams(chunk("Yes", "stop")))
    assert list(endpoint.stream(CHAT)) == ["Yes"]
    assert server.body["stream"] is True
    assert "stream_options" not in server.body


def test_a_tools_result_is_sent_as_the_users_where_the_server_wants_a_call_of_its_own(ask, server):
    told = [*CHAT, {"role": "assistant", "content": "find_order"}, {"role": "tool", "content": "shipped"}]
    refusal = fails(400, "messages with role 'tool' must be a response to a preceding message with 'tool_calls'.")
    assert ask(refusal, says("It is shipped.")).complete(told).text == "It is shipped."
    assert server.body["messages"] == [*told[:2], {"role": "user", "content": "Result of the tool:\nshipped"}]


# --- answers under a schema ---


def test_an_object_is_asked_for_by_its_schema(ask, server):
    answer = ask(says('{"order":"C-1001"}', prompt=20, written=8)).structured(CHAT, ORDER, max_tokens=30)
    assert (answer.value, answer.text) == ({"order": "C-1001"}, '{"order": "C-1001"}')
    assert (answer.stopped, answer.prompt_tokens, answer.tokens) == ("end", 20, 8)
    sent = server.body["response_format"]
    assert sent == {
        "type": "json_schema", "json_schema": {"name": "answer", "schema": {**ORDER, "additionalProperties": False}}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("made", "sent", "value", "text"),
    [
        (grammar.choices(["refund", "order"]), '{"answer": "order"}', "order", "order"),
        (grammar.choices(["refund", "order"]), "order", "order", "order"),
        (grammar.choices(["refund", "order"]), '"order"', "order", "order"),
        (grammar.tool_calls(TOOLS), '{"answer": null}', None, "none"),
        (grammar.tool_calls(TOOLS), '```json\n{"name": "find_order", "arguments": {"order": "C-1001"}}\n```',
         {"name": "find_order", "arguments": {"order": "C-1001"}},
         '{"name": "find_order", "arguments": {"order": "C-1001"}}'),
        (grammar.json_schema({"type": "array", "items": {"type": "integer"}}), '{"answer": [1, 2]}', [1, 2], "[1, 2]"),
    ],
)  # fmt: skip
def test_other_values_travel_in_an_object_and_come_as_the_grammar_writes_them(ask, server, made, sent, value, text):
    answer = ask(says(sent)).structured(CHAT, made)
    assert (answer.value, answer.text) == (value, text)
    assert made.read(text) == value
    schema = server.body["response_format"]["json_schema"]["schema"]
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["answer"], False)
    Draft202012Validator(schema).validate({"answer": value})


def test_a_server_that_ignores_the_schema_is_asked_once_more_with_the_reason(ask, server):
    first = says('{"order": "1001"}', prompt=5, written=4)
    answer = ask(first, says('{"order": "C-1001"}', prompt=50, written=6)).structured(CHAT, ORDER)
    assert (answer.value, answer.prompt_tokens, answer.tokens) == ({"order": "C-1001"}, 55, 10)
    assert server.body["messages"] == [
        *CHAT,
        {"role": "assistant", "content": '{"order": "1001"}'},
        {"role": "user", "content": "That is not valid: ['order']: '1001' does not match '^C-[0-9]{4}$'. Answer with "
         f"nothing but JSON that this JSON Schema allows: {json.dumps({**ORDER, 'additionalProperties': False})}"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Your order is on its way.", "'Your order is on its way.' is no JSON"),
        ('{"order": "C-1001", "city": "Bonn"}',
         "Additional properties are not allowed ('city' was unexpected)"),
        ("", "'' is no JSON"),
    ],
)  # fmt: skip
def test_two_answers_that_are_not_valid_are_an_error(ask, server, text, why):
    assert message_of(lambda: ask(says(text), says(text)).structured(CHAT, ORDER)) == (
        f"small at {server.address} was asked twice and gave no valid answer for the schema: {why}. Simplify the schema, "
        "or take a larger model."
    )


def test_an_answer_that_is_cut_is_not_asked_for_again(ask, server):
    assert message_of(lambda: ask(says('{"order": "C-1', "length")).structured(CHAT, ORDER, max_tokens=5)) == (
        "The schema asks for more than max_tokens=5 can hold."
    )
    assert len(server.asked) == 1


def test_a_refused_schema_stands_in_the_prompt_from_then_on(ask, server):
    refusals = [fails(500, "response_format: Input should be 'json_object'"), fails(400, "No schema is supported.")]
    endpoint = ask(*refusals, *[says('{"order": "C-1001"}')] * 2)
    assert [endpoint.structured(CHAT, ORDER).value for _ in range(2)] == [{"order": "C-1001"}] * 2
    formats = [body.get("response_format", {}).get("type") for _, body in server.asked]
    assert formats == ["json_schema", "json_object", None, None]
    assert endpoint.pauses == []
    assert server.body["messages"][0]["content"] == (
        f"{CHAT[0]['content']}\n\nAnswer with nothing but JSON that this JSON Schema allows: "
        f"{json.dumps({**ORDER, 'additionalProperties': False})}"
    )


def test_a_deadline_holds_for_both_answers_together(ask):
    endpoint = ask(waits(0.3, says("No.")), waits(1.0, says("No.")))
    began = time.monotonic()
    assert "gave no whole reply within" in message_of(lambda: endpoint.structured(CHAT, ORDER, seconds=0.6))
    assert time.monotonic() - began < 1.2


def test_shared_definitions_of_tools_keep_apart(ask, server):
    def tool(name, kind):
        part = {"type": "object", "properties": {"x": {"$ref": "#/$defs/Part"}}, "required": ["x"]}
        return {"name": name, "parameters": {**part, "$defs": {"Part": {"type": kind}}}}

    made = grammar.tool_calls([tool("first", "integer"), tool("second", "string")])
    call = {"name": "second", "arguments": {"x": "7"}}
    assert ask(says(json.dumps({"answer": call}))).structured(CHAT, made).value == call
    sent = server.body["response_format"]["json_schema"]["schema"]
    assert sent["$defs"] == {"0_Part": {"type": "integer"}, "1_Part": {"type": "string", "maxLength": 400}}
    assert not Draft202012Validator(sent).is_valid({"answer": {"name": "first", "arguments": {"x": "7"}}})


def test_a_choice_is_one_of_the_options_without_probabilities(ask, server):
    choice = ask(says('{"answer": "order"}')).choose("What is it about?", ["refund", "order"])
    assert (choice.option, choice.index, choice.probabilities) == ("order", 1, None)
    schema = server.body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["answer"] == {"type": "string", "enum": ["refund", "order"]}


# --- scores ---


def test_a_score_comes_from_completions_that_repeat_the_text(ask, server):
    told = {"tokens": ["<s>", "The", " sky", " is", " blue", "."], "token_logprobs": [None, -5, -3, -1, -0.5, -0.1]}
    score = ask(goes_on("The sky is blue.", logprobs=told)).score("The sky", " is blue")
    assert (score.tokens, score.logprobs, score.total) == ([" is", " blue"], [-1.0, -0.5], -1.5)
    assert (server.body["echo"], server.body["logprobs"], server.body["max_tokens"]) == (True, 1, 1)
    assert message_of(lambda: ask(goes_on("The sky is blue.", logprobs=told)).score("The sky ", "is blue")) == (
        f"small at {server.address} has no border of tokens between the prompt and the reply 'is blue'. Move the last space "
        "of the prompt to the reply, or the other way round."
    )


def test_a_score_is_refused_where_no_server_can_tell_it(ask, server):
    assert message_of(lambda: ask().score(CHAT, "Here")) == (
        f"{server.address} cannot score a reply to messages: chat endpoints tell how probable their own words are, not a "
        "given text. Give the prompt as one text, or use a model on this machine: load_language()."
    )
    sentence = (
        f"{server.address} cannot score a reply: its /completions does not repeat a given text with the probabilities of "
        "its tokens{}. Use a model on this machine: load_language()."
    )
    assert message_of(lambda: ask(goes_on(" day")).score("A", " fine")) == sentence.format("")
    refusal = fails(400, "echo is not supported")
    assert message_of(lambda: ask(refusal).score("A", " fine")) == sentence.format(" (echo is not supported)")


# --- a server that others wrote, in a process of its own ---


@pytest.fixture(scope="module")
def transformers_serve(tmp_path_factory):
    """The course's model behind ``transformers serve``; gives the base address and the model's name there."""
    pytest.importorskip("fastapi")
    folder, log = str(assets.language_model_folder()), tmp_path_factory.mktemp("serve") / "log.txt"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = Path(sys.executable).with_name("transformers")
    arguments = [command, "serve", folder, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with open(log, "w") as out:
        process = subprocess.Popen(arguments, stdout=out, stderr=out, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        ends = time.monotonic() + 90
        while not _healthy(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < ends, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", folder
    finally:
        process.terminate()
        process.wait(20)


def _healthy(port):
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
        return reply.status == 200


@pytest.mark.slow
def test_a_real_server_writes_streams_stops_and_keeps_the_order(transformers_serve):
    address, model = transformers_serve
    endpoint = Endpoint(address, model=model, seconds=60, retries=0)
    fruits = [{"role": "user", "content": "Name three fruits."}]
    whole = endpoint.complete(fruits, max_tokens=8)
    assert (whole.tokens, whole.stopped) == (8, "length")
    assert whole.prompt_tokens > 5
    assert "".join(endpoint.stream(fruits, max_tokens=8)) == whole.text
    word = whole.text.split()[2]
    cut = endpoint.complete(fruits, max_tokens=8, stop=(word,))
    assert (cut.text, cut.stopped) == (whole.text[: whole.text.index(word)], "stop")
    assert "".join(endpoint.stream(fruits, max_tokens=8, stop=(word,))) == cut.text
    texts = ["Once upon a", "The sky is", "Two and two"]
    assert [r.text for r in endpoint.batch(texts, max_tokens=3)] == [
        endpoint.complete(t, max_tokens=3).text for t in texts
    ]


@pytest.mark.slow
def test_a_real_server_is_stopped_at_the_deadline_and_its_refusals_are_sentences(transformers_serve):
    address, model = transformers_serve
    endpoint = Endpoint(address, model=model, seconds=60, retries=0)
    late = endpoint.complete("Once upon a time", max_tokens=1000, seconds=1.5)
    assert late.stopped == "deadline"
    assert late.text
    assert message_of(lambda: endpoint.complete(CHAT, top_k=3)) == (
        f"{address}/v1 refused the request (status 422): Unexpected fields in the request: {{'top_k'}}."
    )
    assert message_of(lambda: endpoint.score("A", " fine")).startswith(f"{address}/v1 cannot score a reply: ")
    assert f"Server is pinned to '{model}'; requested 'large'." in message_of(
        lambda: Endpoint(address, model="large", retries=0).complete(CHAT)
    )


# --- llama.cpp ---


def test_llama_cpp_says_how_it_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    assert message_of(LlamaCpp) == (
        "A GGUF file is run by the package llama-cpp-python, which is not installed. `pip install llama-cpp-python` "
        "compiles it in some minutes; load_language() runs the course's model without it."
    )


def test_llama_cpp_runs_gguf_files_alone(tmp_path):
    (tmp_path / "model.safetensors").touch()
    for path in (tmp_path, tmp_path / "model.safetensors", tmp_path / "none.gguf"):
        assert message_of(lambda path=path: LlamaCpp(path)) == (
            f"llama.cpp runs a GGUF file, and {path} is none. Give the path of a file *.gguf."
        )


@pytest.fixture(scope="module")
def llama():
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed")
    return LlamaCpp(context=512, threads=1)


@pytest.mark.slow
def test_llama_cpp_gives_the_probabilities_of_the_same_weights_in_torch(llama):
    exact = load_language(precision="float32")
    reply = "The order was shipped on Monday and should arrive within three days. If it does not, please write again."
    for prompt in ("Dear customer,", CHAT):
        ours, theirs = llama.score(prompt, reply), exact.score(prompt, reply)
        assert ours.tokens == theirs.tokens
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=0.5)  # llama.cpp rounds activations to 8 bits
        assert ours.perplexity == pytest.approx(theirs.perplexity, rel=0.05)
    assert llama.tokens(CHAT) == exact.tokens(CHAT)


@pytest.mark.slow
def test_llama_cpp_follows_grammars_and_reads_a_prompt_once(llama):
    llama.forget()
    first, again = (llama.complete(CHAT, max_tokens=6) for _ in range(2))
    assert (first.text, first.cached_tokens, again.cached_tokens) == (again.text, 0, first.prompt_tokens - 1)
    assert "".join(llama.stream(CHAT, max_tokens=6)) == first.text
    call = llama.structured(CHAT, grammar.tool_calls(TOOLS, none=False), trace=True)
    assert re.fullmatch("C-[0-9]{4}", call.value["arguments"]["order"])
    assert call.forced > 0
    assert len(call.trace) >= call.tokens
    choice = llama.choose("Two and two make", [" four", " stone"])
    assert (choice.option, sum(choice.probabilities)) == (" four", pytest.approx(1))
    assert message_of(lambda: llama.complete(CHAT, beams=2)) == (
        "LlamaCpp has no beam search: leave beams at 1, or use TorchLanguage."
    )


@pytest.mark.slow
def test_llama_cpp_goes_on_rightly_when_its_memory_is_full(llama):
    small = LlamaCpp(context=256, threads=1)
    prompts = [f"A customer named {name} wrote to the shop. " * 10 for name in ("Anna", "Bo", "Carl", "Dora")]
    replies = ["She asked where her parcel is.", "He wants his money back."]
    crowded = [small.score(prompt, reply).total for _ in range(2) for prompt in prompts for reply in replies]
    assert len(small.slots) < len(prompts)
    roomy = [llama.score(prompt, reply).total for _ in range(2) for prompt in prompts for reply in replies]
    assert crowded == pytest.approx(roomy, rel=0.05)  # sums in another order, rounded to 8 bits in each layer
    assert message_of(lambda: small.complete("word " * 300, max_tokens=9)) == (
        "The prompt has 301 tokens and the reply may take 9, but SmolLM2-135M-Instruct.Q4_1 reads 256 in all. Shorten the "
        'prompt, lower max_tokens, or load the model with too_long="cut".'
    )
