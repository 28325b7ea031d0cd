"""A trace as OpenTelemetry spans, for whatever collects and shows them.

One span for the conversation, in it one for each turn, in that its perception, decisions, tool calls and model calls. Names
and attributes follow OpenTelemetry's semantic conventions for generative AI (those of 2026, still marked as in development:
``invoke_agent``, ``plan``, ``execute_tool``, ``chat``); what these have no name for begins with ``agentlab.``.

Customers' words, replies, arguments and results are personal data. They are left out unless asked for.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentlab.decisions import Call, Confirm, Decision, HandOver
from agentlab.errors import AgentLabError
from agentlab.trace import ModelCall, ToolCall, Trace, TurnTrace

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

CURE = "Install it with `pip install opentelemetry-sdk`, and an exporter for where the spans are to go."
NS = 1_000_000  # in a millisecond


@dataclass
class _Step:
    """A span to be, with those in it; ``client`` marks a call of a language model."""

    name: str
    attributes: dict[str, Any]
    ms: float = 0.0
    failed: bool = False
    message: str = ""
    client: bool = False
    steps: list[_Step] = field(default_factory=list)


def export(
    trace: Trace,
    tracer_provider: TracerProvider | None = None,
    *,
    texts: bool = False,
    starts: dt.datetime | Sequence[dt.datetime] | None = None,
    agent: str = "agentlab",
    model: str = "",
) -> str:
    """Write a trace as spans through ``tracer_provider``, or the global one; gives the id under which they are found.

    With ``texts`` the words of customer and agent, reasons, arguments and results go along: personal data. ``starts`` says
    when the conversation began, or when each turn did; without it the last turn ends now, since a trace keeps how long
    things took and not when they were. Turns without a time of their own, and the steps of a turn, are laid end to end:
    perception, then each decision with its call, then the wording. A decision has no length of its own.
    ``agent`` and ``model`` are the names that the spans bear.

    Raises `AgentLabError` where OpenTelemetry is not installed, no provider is set, or the times do not fit the turns.
    """
    tracer = _provider(tracer_provider).get_tracer("agentlab")
    names = {"gen_ai.conversation.id": trace.conversation, "gen_ai.agent.name": agent}
    turns = [_turn(turn, names, model, texts) for turn in trace.turns]
    begins = _begins(turns, starts)
    begin = min(begins, default=time.time_ns())
    end = max((at + _ns(turn) for at, turn in zip(begins, turns, strict=True)), default=begin)
    about = names | {"agentlab.seed": trace.seed, "agentlab.turns": len(turns)}
    about |= {f"agentlab.settings.{name}": value for name, value in trace.settings.items() if isinstance(value, _PLAIN)}
    root = tracer.start_span("conversation", context=_nowhere(), attributes=about, start_time=begin)
    for at, turn in zip(begins, turns, strict=True):
        _write(turn, tracer, root, at)
    root.end(end_time=end)
    return f"{root.get_span_context().trace_id:032x}"


_PLAIN = (str, bool, int, float)


def _provider(given: TracerProvider | None) -> TracerProvider:
    try:
        import opentelemetry.sdk.trace  # noqa: F401
        from opentelemetry import trace as api
    except ImportError:
        raise AgentLabError(
            f"To export a trace OpenTelemetry's SDK is needed, which is not installed. {CURE}"
        ) from None
    found = given or api.get_tracer_provider()
    if isinstance(found, api.ProxyTracerProvider | api.NoOpTracerProvider):
        raise AgentLabError(
            "No tracer provider is set, so the spans would go nowhere. Give one as `tracer_provider`, or set the global one "
            "with `opentelemetry.trace.set_tracer_provider`."
        )
    return found


def _nowhere():
    """A context without a parent: a conversation that is over belongs to no span that happens to be open."""
    from opentelemetry.context import Context

    return Context()


# --- when ----------------------------------------------------------------------------------------------------


def _ns(step: _Step) -> int:
    """How long a step took, in nanoseconds; at least as long as what is in it."""
    return max(round(step.ms * NS), sum(map(_ns, step.steps)))


def _begins(turns: Sequence[_Step], starts: dt.datetime | Sequence[dt.datetime] | None) -> list[int]:
    """When each turn began, in nanoseconds since 1970."""
    if isinstance(starts, Sequence):
        if len(starts) != len(turns):
            raise AgentLabError(
                f"There are {len(starts)} times for {len(turns)} turns; give one for each, or only the first."
            )
        return [_since_1970(at) for at in starts]
    lengths = [_ns(turn) for turn in turns]
    first = time.time_ns() - sum(lengths) if starts is None else _since_1970(starts)
    return [first + before for before in itertools.accumulate([0, *lengths])][: len(turns)]


def _since_1970(at: dt.datetime) -> int:
    if at.tzinfo is None:
        raise AgentLabError(f"The time {at} does not say in which zone it is. Give one such as datetime.now(UTC).")
    return (at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) * 1000


def _write(step: _Step, tracer, parent, begin: int) -> None:
    from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

    kind = SpanKind.CLIENT if step.client else SpanKind.INTERNAL
    inside = set_span_in_context(parent, _nowhere())
    span = tracer.start_span(step.name, context=inside, kind=kind, attributes=step.attributes, start_time=begin)
    if step.failed:
        span.set_status(Status(StatusCode.ERROR, step.message or None))
    at = begin
    for inner in step.steps:
        _write(inner, tracer, span, at)
        at += _ns(inner)
    span.end(end_time=begin + _ns(step))


# --- what ----------------------------------------------------------------------------------------------------


def _turn(turn: TurnTrace, names: Mapping[str, str], model: str, texts: bool) -> _Step:
    about = {
        "gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "agentlab", **names,
        "agentlab.turn": turn.number, "agentlab.reply.source": turn.source, "agentlab.handed_over": turn.handed_over,
        "agentlab.tokens": turn.tokens,
    }  # fmt: skip
    about |= {"gen_ai.request.model": model} if model and turn.models else {}
    about |= {"agentlab.asks": turn.asks} if turn.asks else {}
    about |= {"agentlab.stopped": turn.stopped} if turn.stopped else {}
    if texts:
        about["gen_ai.input.messages"] = _message("user", turn.message)
        about["gen_ai.output.messages"] = _message("assistant", turn.reply, finish_reason="stop")
    steps = [*_perception(turn), *_steps(turn, names, model, texts)]
    return _Step(f"invoke_agent {names['gen_ai.agent.name']}", about, turn.ms, steps=steps)


def _message(role: str, text: str, **more: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}], **more}], ensure_ascii=False)


def _perception(turn: TurnTrace) -> Iterator[_Step]:
    if p := turn.percept:
        about = {
            "agentlab.intents": [s.intent for s in p.sightings], "agentlab.confidences": [s.confidence for s in p.sightings],
            "agentlab.scope": p.scope, "agentlab.in_scope": p.in_scope, "agentlab.sentiment": p.sentiment,
            "agentlab.slots": sorted(p.slots),
        }  # fmt: skip
        yield _Step("perceive", about | ({"agentlab.answer": p.answer} if p.answer else {}), p.ms)


def _steps(turn: TurnTrace, names: Mapping[str, str], model: str, texts: bool) -> Iterator[_Step]:
    """Model calls that chose a tool, decisions with the calls that came of them, model calls that worded the reply."""
    confirms = [d for d in turn.decisions if isinstance(d, Confirm)]
    refused = [line for line in turn.rehearsals if not any(_is(d, line) for d in confirms)]
    calls, rehearsals = list(turn.calls), [line for line in turn.rehearsals if line not in refused]
    yield from (_model(m, names, model, texts) for m in turn.models if m.purpose != "reply")
    for n, decision in enumerate(turn.decisions, 1):
        if n == len(turn.decisions):
            yield from (_tool(line, texts) for line in refused)  # which is what the last decision tells
        yield _decision(decision, names, texts)
        lines = rehearsals if isinstance(decision, Confirm) else calls
        if made := _came_of(decision, lines, turn.decisions[n:]):
            lines.remove(made)
            yield _tool(made, texts)
    yield from (_tool(line, texts) for line in [*rehearsals, *calls])
    yield from (_model(m, names, model, texts) for m in turn.models if m.purpose == "reply")


def _came_of(decision: Decision, lines: Sequence[ToolCall], later: Sequence[Decision]) -> ToolCall | None:
    """The call that a decision led to; that of a hand-over is the next one that nothing else asked for."""
    if isinstance(decision, Call | Confirm):
        return next((line for line in lines if _is(decision, line)), None)
    if isinstance(decision, HandOver):
        return next((line for line in lines if not any(isinstance(d, Call) and _is(d, line) for d in later)), None)
    return None


def _is(decision: Call | Confirm, line: ToolCall) -> bool:
    return (decision.tool, decision.arguments) == (line.name, line.arguments)


def _decision(decision: Decision, names: Mapping[str, str], texts: bool) -> _Step:
    about = {
        "gen_ai.operation.name": "plan", "gen_ai.agent.name": names["gen_ai.agent.name"], "agentlab.decision": decision.kind,
        "agentlab.confidence": decision.confidence, "agentlab.rules": list(decision.rules),
    }  # fmt: skip
    for name in ("tool", "slot", "situation", "why"):
        if value := getattr(decision, name, ""):
            about[f"agentlab.{name}"] = value
    if texts and decision.reason:
        about["agentlab.reason"] = decision.reason
    return _Step(f"plan {decision.kind}", about)


def _tool(line: ToolCall, texts: bool) -> _Step:
    failed = line.status == "failed"
    about = {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": line.name, "gen_ai.tool.type": "function",
        "agentlab.status": line.status, "agentlab.rehearsal": line.rehearsal,
    }  # fmt: skip
    about |= {"gen_ai.tool.call.id": line.idempotency_key} if line.idempotency_key else {}
    about |= {"error.type": line.status} if failed else {}
    if texts:
        about["gen_ai.tool.call.arguments"] = _json(line.arguments)
        about["gen_ai.tool.call.result"] = _json(line.value if line.status == "ok" else line.message)
    return _Step(f"execute_tool {line.name}", about, line.ms, failed, line.message if texts else "")


def _model(line: ModelCall, names: Mapping[str, str], model: str, texts: bool) -> _Step:
    about = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "agentlab", **names, "agentlab.purpose": line.purpose,
        "gen_ai.output.type": "text" if line.purpose == "reply" else "json", "agentlab.tokens": line.tokens,
    }  # fmt: skip
    about |= {"gen_ai.request.model": model} if model else {}
    failed = line.value is None and not line.tokens  # an exception, which the trace does not keep
    about |= {"error.type": "_OTHER"} if failed else {}
    if texts:
        written = line.value if isinstance(line.value, str) else _json(line.value)
        about["gen_ai.output.messages"] = _message("assistant", written, finish_reason="stop")
    return _Step(f"chat {model}".strip(), about, line.ms, failed, client=True)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
