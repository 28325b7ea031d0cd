"""Traces as OpenTelemetry spans: which there are, what they say, when they were, and what they keep to themselves."""

import datetime as dt
import json
import sys

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import error_attributes, gen_ai_attributes
from opentelemetry.trace import SpanKind, StatusCode

from agentlab.decisions import Answer, Call, Confirm, HandOver
from agentlab.errors import AgentLabError
from agentlab.language import Scripted
from agentlab.perceive import Percept, Sighting
from agentlab.telemetry import export
from agentlab.trace import ModelCall, ToolCall, Trace, TurnTrace
from tests.test_agent import ID, library, said

NOON = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
MS = 1_000_000


@pytest.fixture
def collect():
    """A provider, and a function that gives the finished spans in the order in which they began."""
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))

    def finished():
        return sorted(memory.get_finished_spans(), key=lambda s: s.start_time)

    return provider, finished


def children(spans, parent):
    return [s for s in spans if s.parent and s.parent.span_id == parent.context.span_id]


def one(spans, name):
    (found,) = [s for s in spans if s.name == name]
    return found


HAND = Trace(
    "c7",
    seed=3,
    settings={"threshold": 0.5, "wording": "template"},
    turns=[
        TurnTrace(
            1, "renew B101, it is Anna Nowak", Percept("renew B101", (Sighting("renew", 0.9, "renew B101"),), slots={"book_id": "B101"}, ms=5.0),
            [Call("find_loan", {"book_id": "B101"}, confidence=0.9, reason="for Anna Nowak"), Confirm("renew_loan", {"book_id": "B101"}, rules=("2.1",))],
            [ToolCall("find_loan", {"book_id": "B101"}, "ok", {"title": "Emma"}, ms=2.5)],
            [ToolCall("renew_loan", {"book_id": "B101"}, "ok", {"due": "1 July"}, ms=1.5, rehearsal=True)],
            [ModelCall("tool call", {"name": "find_loan"}, 40, 100.0), ModelCall("reply", "Shall I, Anna?", 20, 50.0)],
            reply="Shall I, Anna?", source="model", asks="confirm", ms=170.0, tokens=60,
        ),
        TurnTrace(
            2, "yes", Percept("yes", answer="yes", ms=4.0), [Call("renew_loan", {"book_id": "B101"}), HandOver("broken", "stopped")],
            [
                ToolCall("renew_loan", {"book_id": "B101"}, "failed", message="Anna Nowak may not.", ms=3.0, idempotency_key="c7:2:renew_loan"),
                ToolCall("call_librarian", {"reason": "broken"}, "ok", {"ticket": 1}, ms=2.0),
            ],
            reply="A librarian goes on.", source="template", handed_over=True, stopped="seconds", ms=20.0,
        ),
    ],
)  # fmt: skip


# --- which spans there are -----------------------------------------------------------------------------------


def test_a_conversation_is_a_tree_of_turns_and_their_steps(collect):
    provider, finished = collect
    id = export(HAND, provider, starts=NOON, agent="librarian", model="small")
    spans = finished()
    (root,) = [s for s in spans if s.parent is None]
    assert root.name == "conversation"
    assert {s.context.trace_id for s in spans} == {int(id, 16)}
    first, second = children(spans, root)
    assert first.name == second.name == "invoke_agent librarian"
    assert sorted(s.name for s in children(spans, first)) == [
        "chat small", "chat small", "execute_tool find_loan", "execute_tool renew_loan", "perceive", "plan call", "plan confirm",
    ]  # fmt: skip
    assert sorted(s.name for s in children(spans, second)) == [
        "execute_tool call_librarian", "execute_tool renew_loan", "perceive", "plan call", "plan hand_over",
    ]  # fmt: skip
    assert len(spans) == 1 + 2 + 7 + 5


def test_every_step_of_a_real_conversation_becomes_a_span(collect):
    provider, finished = collect
    agent = library("hybrid", Scripted({"name": "opening_hours", "arguments": {}}))
    chat, turns = said(agent, f"renew B202, {ID}", "yes", "can I come by at noon tomorrow?", "I want a librarian")
    export(chat.trace, provider)
    spans = finished()
    for turn, span in zip(turns, children(spans, one(spans, "conversation")), strict=True):
        inside, t = children(spans, span), turn.trace
        assert sum(s.name == "perceive" for s in inside) == 1
        assert [s.attributes["agentlab.decision"] for s in inside if s.name.startswith("plan")] == [
            d.kind for d in t.decisions
        ]
        assert sum(s.name.startswith("execute_tool") for s in inside) == len(t.calls) + len(t.rehearsals)
        assert sum(s.name.startswith("chat") for s in inside) == len(t.models)
        assert span.end_time - span.start_time == pytest.approx(t.ms * MS, abs=MS / 100)
        assert sum(s.end_time - s.start_time for s in inside) <= span.end_time - span.start_time


def test_a_call_stands_after_the_decision_that_led_to_it(collect):
    provider, finished = collect
    export(HAND, provider, starts=NOON)
    spans = finished()
    find, confirm = one(spans, "execute_tool find_loan"), one(spans, "plan confirm")
    (rehearsal,) = [s for s in spans if s.attributes.get("agentlab.rehearsal")]
    first = next(s for s in spans if s.name == "plan call")
    assert first.end_time == find.start_time
    assert find.end_time == confirm.start_time == confirm.end_time == rehearsal.start_time
    handed = one(spans, "plan hand_over")
    assert one(spans, "execute_tool call_librarian").start_time == handed.end_time


def test_what_a_rehearsal_refused_stands_before_the_decision_that_tells_it(collect):
    provider, finished = collect
    line = ToolCall("renew_loan", {"book_id": "B202"}, "failed", message="Twice at most.", ms=6.0, rehearsal=True)
    export(
        Trace("c", turns=[TurnTrace(1, "renew", decisions=[Answer("refused")], rehearsals=[line], ms=9.0)]), provider
    )
    assert one(finished(), "execute_tool renew_loan").end_time == one(finished(), "plan answer").start_time


def test_an_empty_trace_is_one_span(collect):
    provider, finished = collect
    export(Trace("c1"), provider, starts=[])
    (span,) = finished()
    assert span.start_time == span.end_time


def test_an_open_span_does_not_become_the_parent(collect):
    provider, finished = collect
    with provider.get_tracer("other").start_as_current_span("request"):
        export(HAND, provider)
    assert one(finished(), "conversation").parent is None


# --- what they say -------------------------------------------------------------------------------------------


def test_names_and_attributes_are_those_of_the_conventions(collect):
    provider, finished = collect
    export(HAND, provider, starts=NOON, texts=True, agent="librarian", model="small")
    known = {v for k, v in vars(gen_ai_attributes).items() if k.startswith("GEN_AI")} | {error_attributes.ERROR_TYPE}
    operations = {v.value for v in gen_ai_attributes.GenAiOperationNameValues} | {"plan"}  # newer than the package
    for span in finished():
        assert {a for a in span.attributes if not a.startswith("agentlab.")} <= known
        assert span.attributes.get("gen_ai.operation.name", "chat") in operations
    chat = [s for s in finished() if s.name == "chat small"]
    assert {s.kind for s in chat} == {SpanKind.CLIENT}
    assert {(s.attributes["gen_ai.request.model"], s.attributes["agentlab.tokens"]) for s in chat} == {
        ("small", 40),
        ("small", 20),
    }
    assert {s.attributes["gen_ai.output.type"] for s in chat} == {"json", "text"}


def test_a_tool_that_failed_is_an_error_and_the_others_are_not(collect):
    provider, finished = collect
    export(HAND, provider)
    wrong = [s for s in finished() if s.status.status_code is StatusCode.ERROR]
    assert [(s.name, s.attributes["error.type"]) for s in wrong] == [("execute_tool renew_loan", "failed")]
    assert wrong[0].attributes["gen_ai.tool.call.id"] == "c7:2:renew_loan"
    assert wrong[0].status.description is None


def test_arguments_that_are_to_be_mended_are_no_error_of_the_tool(collect):
    provider, finished = collect
    line = ToolCall("find_loan", {"book_id": "B9"}, "retry", message="There is no loan of B9.")
    export(Trace("c", turns=[TurnTrace(1, "renew B9", calls=[line])]), provider, texts=True)
    span = one(finished(), "execute_tool find_loan")
    assert (span.status.status_code, span.attributes["agentlab.status"]) == (StatusCode.UNSET, "retry")
    assert json.loads(span.attributes["gen_ai.tool.call.result"]) == "There is no loan of B9."


def test_a_model_that_failed_is_an_error(collect):
    provider, finished = collect
    chat, _ = said(library("hybrid", Scripted(RuntimeError("no memory"))), "can I come by at noon?")
    export(chat.trace, provider)
    assert one(finished(), "chat").status.status_code is StatusCode.ERROR


def test_what_was_decided_can_be_read_off(collect):
    provider, finished = collect
    export(HAND, provider)
    spans = finished()
    confirm = one(spans, "plan confirm").attributes
    assert (confirm["agentlab.tool"], confirm["agentlab.rules"]) == ("renew_loan", ("2.1",))
    turn = next(s for s in spans if s.attributes.get("agentlab.turn") == 2).attributes
    assert (turn["agentlab.handed_over"], turn["agentlab.stopped"]) == (True, "seconds")
    seen = next(s for s in spans if s.name == "perceive" and s.attributes["agentlab.intents"]).attributes
    assert (seen["agentlab.intents"], seen["agentlab.slots"]) == (("renew",), ("book_id",))


def test_personal_data_go_along_only_when_asked_for(collect):
    provider, finished = collect
    export(HAND, provider)
    kept = " ".join(span.to_json() for span in finished())
    assert not any(word in kept for word in ("Anna", "Nowak", "B101", "Emma", "librarian goes on"))
    export(HAND, provider, texts=True)
    told = " ".join(span.to_json() for span in finished())
    assert all(word in told for word in ("Anna", "Nowak", "B101", "Emma", "librarian goes on"))


def test_texts_have_the_form_of_the_conventions(collect):
    provider, finished = collect
    export(HAND, provider, texts=True)
    turn = next(s for s in finished() if s.attributes.get("agentlab.turn") == 2).attributes
    assert json.loads(turn["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "yes"}]}
    ]
    assert json.loads(turn["gen_ai.output.messages"])[0]["finish_reason"] == "stop"
    find = one(finished(), "execute_tool find_loan").attributes
    assert json.loads(find["gen_ai.tool.call.arguments"]) == {"book_id": "B101"}
    assert json.loads(find["gen_ai.tool.call.result"]) == {"title": "Emma"}


# --- when they were ------------------------------------------------------------------------------------------


def test_times_fit_the_traced_milliseconds(collect):
    provider, finished = collect
    export(HAND, provider, starts=NOON)
    spans, noon = finished(), int(NOON.timestamp()) * 1_000_000_000
    root = one(spans, "conversation")
    assert (root.start_time, root.end_time) == (noon, noon + 190 * MS)
    first, second = children(spans, root)
    assert (first.end_time, second.start_time) == (noon + 170 * MS, noon + 170 * MS)
    find = one(spans, "execute_tool find_loan")
    assert (find.start_time - noon, find.end_time - noon) == (
        105 * MS,
        int(107.5 * MS),
    )  # after perceiving and the model


def test_a_turn_may_have_its_own_time(collect):
    provider, finished = collect
    later = NOON + dt.timedelta(minutes=3)
    export(HAND, provider, starts=[NOON, later])
    first, second = children(finished(), one(finished(), "conversation"))
    assert second.start_time - first.start_time == 180_000 * MS
    assert one(finished(), "conversation").end_time == second.end_time


def test_steps_that_are_longer_than_their_turn_stretch_it(collect):
    provider, finished = collect
    export(Trace("c", turns=[TurnTrace(1, "hi", Percept("hi", ms=30.0), ms=0.0)]), provider, starts=NOON)
    assert {s.end_time - s.start_time for s in finished()} == {30 * MS}


def test_without_a_time_the_conversation_ends_now(collect):
    provider, finished = collect
    export(HAND, provider)
    ended = dt.datetime.fromtimestamp(one(finished(), "conversation").end_time / 1e9, dt.UTC)
    assert abs(dt.datetime.now(dt.UTC) - ended) < dt.timedelta(seconds=10)


def test_times_that_do_not_fit_are_refused(collect):
    with pytest.raises(AgentLabError, match="There are 1 times for 2 turns; give one for each"):
        export(HAND, collect[0], starts=[NOON])
    with pytest.raises(AgentLabError, match="does not say in which zone"):
        export(HAND, collect[0], starts=dt.datetime(2026, 6, 15))


# --- where they go -------------------------------------------------------------------------------------------


def test_spans_can_be_written_to_a_file_as_json(tmp_path):
    with open(tmp_path / "spans.jsonl", "w") as file:
        provider = TracerProvider(resource=Resource({"service.name": "library"}))
        lines = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\n")
        provider.add_span_processor(SimpleSpanProcessor(lines))
        id = export(HAND, provider, starts=NOON)
    spans = [json.loads(line) for line in (tmp_path / "spans.jsonl").read_text().splitlines()]
    assert len(spans) == 15
    assert {s["context"]["trace_id"] for s in spans} == {f"0x{id}"}
    assert next(s for s in spans if s["parent_id"] is None)["start_time"] == "2026-06-15T12:00:00.000000Z"


def test_without_the_sdk_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(AgentLabError, match="pip install opentelemetry-sdk"):
        export(HAND)


def test_without_a_provider_nothing_vanishes_silently():
    with pytest.raises(AgentLabError, match="the spans would go nowhere"):
        export(HAND)
