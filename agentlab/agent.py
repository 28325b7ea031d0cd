"""The agent: perceive, decide, act, respond; over and over until there is something to say.

`build_agent` puts a toolbox, a domain, an understanding and, if wanted, a language model together; nothing of any shop is
wired in. A conversation is one customer's: its state, toolbox and trace are its own, so that many can run on one agent.

The loop of a turn stands in `Conversation._run`. Every way out of it is a sentence: an answer, a question, a hand-over.
"""

from __future__ import annotations

import contextvars
import copy
import dataclasses
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field, replace
from typing import Any

from agentlab import toolcalls, wording
from agentlab.decisions import Answer, Ask, Call, Confirm, Decision, HandOver
from agentlab.dialogue import CONFIRM, DROPPED, INTENT, MORE, NOTHING, OUT_OF_SCOPE, Happened, State
from agentlab.domain import Domain
from agentlab.errors import UnknownName
from agentlab.language import LanguageModel
from agentlab.perceive import Perceiver, Percept, clean
from agentlab.planners import PLANNERS, Context, Planner
from agentlab.toolkit import Toolbox, ToolResult, in_background
from agentlab.trace import Difference, ModelCall, ToolCall, Trace, TurnTrace, compare

LONGEST_MESSAGE = 20_000  # characters
Rehearse = Callable[[str, dict], ToolResult]


@dataclass(frozen=True)
class Settings:
    """When the agent asks back, and when it stops. ``wording`` is template or model."""

    threshold: float = 0.5  # below this confidence it asks what is meant
    max_steps: int = 14  # decisions in a turn
    max_seconds: float = 20.0  # of a turn
    max_tokens: int = 1500  # of language models in a turn
    max_asks: int = 3  # of the same slot for one wish
    max_stuck: int = 4  # turns that bring nothing new
    wording: str = "template"


@dataclass(frozen=True)
class Turn:
    """What the customer reads, and what is behind it. ``asks`` is the slot asked for, ``confirm``, or None."""

    reply: str
    trace: TurnTrace
    handed_over: bool = False
    asks: str | None = None


# --- what a turn meets: the world, or a recording of it ------------------------------------------------------


class Live:
    """The real thing: models, tools, the clock."""

    def __init__(self, agent: Agent, box: Toolbox, rehearse: Rehearse | None, turn: TurnTrace):
        self.agent, self.box, self._rehearse, self.turn, self.spent_ms = agent, box, rehearse, turn, 0.0

    def perceive(self, text: str, asked: Sequence[str]) -> Percept:
        began = time.perf_counter()
        percept = self.agent.perceive(text, asked)
        return replace(percept, ms=self._took(began))

    def call(self, call: Call, key: str | None) -> ToolResult:
        began = time.perf_counter()
        result = self._in_time(call.tool, self.box.call, call.tool, call.arguments, key)
        self.turn.calls.append(self._line(call, result, self._took(began), key))
        return result

    def rehearse(self, call: Confirm) -> ToolResult | None:
        if self._rehearse is None:
            return None
        began = time.perf_counter()
        result = self._in_time(call.tool, self._rehearse, call.tool, call.arguments)
        self.turn.rehearsals.append(replace(self._line(call, result, self._took(began)), rehearsal=True))
        return result

    def model(self, purpose: str, ask: Callable[[float], tuple[Any, int]]) -> Any:
        """Ask a language model; what goes wrong with it is an answer of None. ``ask`` takes the seconds that are left."""
        began = time.perf_counter()
        try:
            value, tokens = ask(max(0.1, self._left()))
        except AssertionError:
            raise  # a test's script
        except Exception:
            value, tokens = None, 0
        self.turn.models.append(ModelCall(purpose, value, tokens, self._took(began)))
        return value

    def _in_time(self, tool: str, function: Callable, *arguments: Any) -> ToolResult:
        """Run a tool within what is left of the turn, also one that has no time limit of its own."""
        try:
            return in_background(contextvars.copy_context().run, function, *arguments).result(max(0.1, self._left()))
        except (TimeoutError, FutureTimeout):
            return ToolResult(tool, "failed", message=f"{tool} did not answer in time.")
        except Exception as error:
            return ToolResult(tool, "failed", message=f"{tool} does not work at the moment ({type(error).__name__}).")

    def _left(self) -> float:
        return self.agent.settings.max_seconds - self.spent_ms / 1000

    def _took(self, began: float) -> float:
        ms = round(1000 * (time.perf_counter() - began), 3)
        self.spent_ms += ms
        return ms

    def _line(self, call: Call | Confirm, result: ToolResult, ms: float, key: str | None = None) -> ToolCall:
        value = copy.deepcopy(result.value)
        return ToolCall(call.tool, dict(call.arguments), result.status, value, result.message, ms, key)


class Recorded:
    """What a saved turn met, given again: no model, tool or clock is asked."""

    def __init__(self, before: TurnTrace, turn: TurnTrace):
        self.before, self.turn, self.spent_ms = before, turn, 0.0
        self._calls, self._rehearsals, self._models = list(before.calls), list(before.rehearsals), list(before.models)

    def perceive(self, text: str, asked: Sequence[str]) -> Percept:
        percept = self.before.percept or Percept(text)
        self.spent_ms += percept.ms
        return percept

    def call(self, call: Call, key: str | None) -> ToolResult:
        return self._again(call, self._calls, self.turn.calls)

    def rehearse(self, call: Confirm) -> ToolResult | None:
        return self._again(call, self._rehearsals, self.turn.rehearsals) if self._rehearsals else None

    def model(self, purpose: str, ask: Callable) -> Any:
        if not self._models:
            return None
        line = self._models.pop(0)
        self.turn.models.append(line)
        self.spent_ms += line.ms
        return line.value

    def _again(self, call: Call | Confirm, lines: list[ToolCall], kept: list[ToolCall]) -> ToolResult:
        """The recorded result of this very call; a call that was not made then fails."""
        for line in lines:
            if line.name == call.tool and line.arguments == call.arguments:
                lines.remove(line)
                kept.append(line)
                self.spent_ms += line.ms
                return line.result
        missing = ToolResult(call.tool, "failed", message=f"No call of {call.tool} with these arguments was recorded.")
        kept.append(ToolCall(call.tool, dict(call.arguments), missing.status, None, missing.message))
        return missing


# --- the agent -----------------------------------------------------------------------------------------------


@dataclass
class Agent:
    """A domain with its tools, understanding, planner and, if wanted, a language model; made by `build_agent`."""

    toolbox_of: Callable[[Any], Toolbox]
    domain: Domain
    perceive: Perceiver
    planner: Planner
    language: LanguageModel | None = None
    settings: Settings = field(default_factory=Settings)
    new_session: Callable[[], Any] = lambda: None
    rehearse_of: Callable[[Any], Rehearse] | None = None

    def conversation(self, session: Any = None, seed: int = 0, id: str | None = None) -> Conversation:
        """Begin a conversation; ``session`` may have a verified customer already."""
        return Conversation(self, session if session is not None else self.new_session(), seed, id)

    def resume(self, trace: Trace, session: Any = None) -> Conversation:
        """Go on with a saved conversation, also in another process. Its writes are not done again.

        What was decided is decided again from the saved percepts and results, which gives back the state.
        """
        session = restore(session if session is not None else self.new_session(), trace.session)
        chat = Conversation(self, session, trace.seed, trace.conversation)
        chat.trace.began = dict(trace.began)
        chat.state.verified = bool(trace.began.get("verified"))
        for before in trace.turns:
            chat._replay(before)
        chat.trace.turns = copy.deepcopy(trace.turns)
        return chat

    def replay(self, trace: Trace) -> list[Difference]:
        """Decide everything again from the saved percepts and results; gives the turns that differ, [] for none."""
        return compare(trace, self.fork(trace, len(trace.turns) + 1))

    def fork(self, trace: Trace, at: int = 1, change: Mapping[str, Any] | None = None) -> Trace:
        """What would have been decided had ``change`` (fields of `Settings`) held from turn ``at`` on; nothing is done.

        Calls that were not made then have no result here: they fail, and the agent says what it then would.
        """
        for name in change or {}:
            if name not in Settings.__dataclass_fields__:
                raise UnknownName("setting", name, Settings.__dataclass_fields__)
        chat = Conversation(self, self.new_session(), trace.seed, trace.conversation)
        chat.trace.began = dict(trace.began)
        chat.state.verified = bool(trace.began.get("verified"))
        for before in trace.turns:
            if before.number >= at:
                chat.settings = replace(self.settings, **change or {})
            chat._replay(before)
        return chat.trace


def build_agent(
    toolbox_of: Callable[[Any], Toolbox],
    domain: Domain,
    understand: Callable[[Sequence[str]], Sequence[Any]] | None = None,
    language: LanguageModel | None = None,
    planner: str | Planner = "hybrid",
    *,
    turns: Callable[[str, str], Any] | None = None,
    sentiment: Callable[[str], float] | None = None,
    new_session: Callable[[], Any] = lambda: None,
    rehearse_of: Callable[[Any], Rehearse] | None = None,
    **settings: Any,
) -> Agent:
    """An agent from its parts; raises `UnknownName` for a planner or setting that does not exist.

    ``toolbox_of`` gives the tools of one conversation, from its session. ``understand`` turns texts into objects with
    intent, confidence, scope, in_scope, spans and others; without it the course's own is loaded. ``turns`` reads yes and no
    and what else a message tells after a kind of question (`agentlab.turns`); without it patterns do. ``rehearse_of`` gives a
    function that says what a WRITE would do without doing it. Further keywords are fields of `Settings`.
    """
    if understand is None:
        from agentlab.understand import load

        understand = load()
    for name in settings:
        if name not in Settings.__dataclass_fields__:
            raise UnknownName("setting", name, Settings.__dataclass_fields__)
    if isinstance(planner, str):
        if planner not in PLANNERS:
            raise UnknownName("planner", planner, PLANNERS)
        planner = PLANNERS[planner]()
    perceive = Perceiver(
        understand, domain.slots, domain.implied, tuple(domain.small_talk), sentiment, domain.read,
        turns, domain.questions,
    )  # fmt: skip
    return Agent(toolbox_of, domain, perceive, planner, language, Settings(**settings), new_session, rehearse_of)


# --- a conversation ------------------------------------------------------------------------------------------


class Conversation:
    """One customer's conversation with an agent: ``send`` a message, get a `Turn`; ``trace`` has all that happened."""

    def __init__(self, agent: Agent, session: Any = None, seed: int = 0, id: str | None = None):
        self.agent, self.session, self.settings = agent, session, agent.settings
        self.box = agent.toolbox_of(session)
        self.rehearse = agent.rehearse_of(session) if agent.rehearse_of else None
        domain = agent.domain
        self.state = State(
            domain.slots, domain.implied, frozenset(n for n, i in domain.intents.items() if i.general),
            frozenset(domain.small_talk) - {DROPPED, MORE, NOTHING, OUT_OF_SCOPE},
            frozenset((*domain.policy.verification.needs, *domain.policy.verification.one_of) if domain.policy.verification else ()),
            verified=domain.is_verified(session),
        )  # fmt: skip
        about = {"threshold": self.settings.threshold, "wording": self.settings.wording}
        self.trace = Trace(
            id or uuid.uuid4().hex[:16], seed, about, {"verified": self.state.verified}, facts_of(session)
        )
        self._lock = threading.Lock()

    def send(self, text: str) -> Turn:
        """Answer a message; never raises, whatever the message is or the tools do."""
        with self._lock:
            message = clean(text)[:LONGEST_MESSAGE]
            turn = TurnTrace(len(self.trace.turns) + 1, message)
            began = time.perf_counter()
            self._run(Live(self.agent, self.box, self.rehearse, turn), turn)
            turn.ms = round(1000 * (time.perf_counter() - began), 3)
            self.trace.turns.append(turn)
            self.trace.session = facts_of(self.session)
            return Turn(turn.reply, turn, turn.handed_over, turn.asks)

    def _replay(self, before: TurnTrace) -> None:
        turn = TurnTrace(before.number, before.message)
        self._run(Recorded(before, turn), turn)
        turn.ms = before.ms
        self.trace.turns.append(turn)

    # --- the loop ---

    def _run(self, world: Live | Recorded, turn: TurnTrace) -> None:
        """Perceive, then decide and act until there is something to say; respond."""
        said: list[Decision] = []
        turn.percept = world.perceive(turn.message, self._asked())
        self.state.hear(turn.percept)
        while self.state.wishes:
            decision = self._decide(world, turn)
            if isinstance(decision, Confirm):
                decision = self._read_back(decision, world)
            if decision is None:  # the rehearsal was refused: the planner says so
                continue
            turn.decisions.append(decision)
            if isinstance(decision, Call):
                self._act(decision, world, turn)
                continue
            said.append(self._completed(decision, world, turn))
            if self._is_last_word(decision):
                break
        self._respond(said, world, turn)

    def _asked(self) -> list[str]:
        """What the message may answer: slots (who has to prove who they are may give any of the proofs), or what else is open."""
        state, v = self.state, self.agent.domain.policy.verification
        proofs = [*v.needs, *v.one_of] if v and not state.verified else []
        if state.asks:
            return [state.asks, *proofs] if state.asks in proofs else [state.asks]
        if state.top is not None and state.top.pending:
            return [CONFIRM]  # a yes also counts when something else was said in between
        return ["offer"] if state.offer else ["more"] if state.last else []

    def _decide(self, world: Live | Recorded, turn: TurnTrace) -> Decision:
        """What is done next: a stop, what must go to a person, or what the planner proposes and the policy lets through."""
        policy, state = self.agent.domain.policy, self.state
        if stop := self._stop(world, turn):
            return stop
        if not turn.decisions and (person := policy.person(turn.percept, state)):
            return person
        if state.top.person is not None:
            return state.top.person
        decision = policy.check(self.agent.planner.propose(self._context(world, turn)), state, self.box)
        if isinstance(decision, Confirm) and state.top.declined == {"tool": decision.tool, "arguments": decision.arguments}:  # fmt: skip
            facts = self.agent.domain.small_talk.get(DROPPED, {})
            return Answer(str(facts.get("situation", DROPPED)), dict(facts), reason="The customer has just said no to exactly this.")  # fmt: skip
        if isinstance(decision, Ask | Confirm):
            return self._asked_too_often(decision) or decision
        return decision

    def _act(self, call: Call, world: Live | Recorded, turn: TurnTrace) -> None:
        """Call a tool, and note what came of it for the planner."""
        result = world.call(call, self._key(call.tool, turn))
        wish, policy = self.state.top, self.agent.domain.policy
        if policy.verification and call.tool == policy.verification.tool:
            self._proved(call, result)
            return
        if result.ok:
            wish.results[call.tool] = result.value
        wish.happened = Happened(call.tool, call.arguments, result)
        if wish.consent and wish.consent["tool"] == call.tool:  # a yes is used up by the call
            self.state.done += [wish.consent] if result.ok else []
            wish.consent = wish.pending = None

    def _key(self, tool: str, turn: TurnTrace) -> str:
        return f"{self.trace.conversation}:{turn.number}:{tool}"

    def _proved(self, call: Call, result: ToolResult) -> None:
        """Note who was verified; where that failed, the next proposal says so."""
        state = self.state
        state.tried.append(dict(call.arguments))
        if result.ok:
            state.verified = True
        else:
            state.top.happened = Happened(call.tool, call.arguments, result)

    def _read_back(self, confirm: Confirm, world: Live | Recorded) -> Confirm | None:
        """Try a WRITE without doing it: what would be refused is told now, and the rest is read back with its figures."""
        wish = self.state.top
        result = world.rehearse(confirm)
        if result is not None and not result.ok:
            wish.happened = Happened(confirm.tool, confirm.arguments, result, rehearsal=True)
            return None
        wish.pending = {"tool": confirm.tool, "arguments": confirm.arguments}
        facts = self.agent.domain.readback(confirm, result.value if result else None, wish, self.state)
        wish.read_back = f"{confirm.arguments} {facts}"
        return replace(confirm, facts=facts)

    def _completed(self, decision: Decision, world: Live | Recorded, turn: TurnTrace) -> Decision:
        """Do what an answer, a question or a hand-over does to the state; gives the decision with its facts."""
        state = self.state
        if isinstance(decision, Ask | Confirm):
            state.firm = False  # something else is going on
        if isinstance(decision, Ask):
            state.asks, state.choices = decision.slot, dict(decision.choices)
            state.top.offered[decision.slot] = dict(decision.choices)
            state.top.asked[decision.slot] += 1
            return replace(decision, facts=self.agent.domain.question(decision, state.top, state))
        if isinstance(decision, Confirm):
            state.asks = CONFIRM
            state.top.asked[CONFIRM] += 1
        elif isinstance(decision, HandOver):
            decision = self._hand_over(decision, world, turn)
            state.finish()
        elif isinstance(decision, Answer):
            state.offer = decision.offer
            state.misunderstood = state.misunderstood + 1 if decision.situation == "not_understood" else 0
            state.refused = decision.situation.endswith("refused")
            state.firm = state.refused or (state.firm and decision.situation in (MORE, NOTHING, "not_understood"))
            if decision.finishes:
                state.finish()
        return decision

    def _is_last_word(self, decision: Decision) -> bool:
        if isinstance(decision, HandOver) and decision.confidence == 1.0 and self._ends_all(decision):
            self.state.wishes.clear()
        return isinstance(decision, Ask | Confirm)

    def _ends_all(self, decision: HandOver) -> bool:
        people = {p.why for p in self.agent.domain.policy.people}
        return decision.why in people or decision.situation in ("", "stopped")

    def _context(self, world: Live | Recorded, turn: TurnTrace) -> Context:
        def choose(request: str, tools: Sequence[Mapping[str, Any]]) -> Any:
            def ask(seconds: float) -> tuple[Any, int]:
                written = toolcalls.ask(self.agent.language, request, tools, max_tokens=200, seconds=seconds)
                return written.value, written.prompt_tokens + written.tokens

            return world.model("tool call", ask)

        can = self.agent.language is not None
        return Context(self.state, self.agent.domain, self.box, self.settings.threshold, choose if can else None)

    # --- stops: each is an honest sentence and a person ---

    def _stop(self, world: Live | Recorded, turn: TurnTrace) -> HandOver | None:
        limits, calls = self.settings, [(c.name, str(c.arguments)) for c in turn.calls + turn.rehearsals]
        tokens = sum(m.tokens for m in turn.models)
        reasons = {
            "steps": len(turn.decisions) >= limits.max_steps,
            "seconds": world.spent_ms / 1000 >= limits.max_seconds,
            "tokens": tokens >= limits.max_tokens,
            "repeated": any(calls.count(c) > 2 for c in calls),
            "stuck": self.state.stuck >= limits.max_stuck and not turn.decisions,
            "not understood": self.state.misunderstood >= limits.max_asks and not turn.decisions,
        }
        found = next((name for name, holds in reasons.items() if holds), "")
        if not found:
            return None
        turn.stopped = found
        self.state.stuck = self.state.misunderstood = 0
        return HandOver("", "stopped", {}, reason=f"The turn was stopped: {found}.")

    def _asked_too_often(self, decision: Ask | Confirm) -> Ask | HandOver | None:
        """In place of a question that led nowhere: what is meant, once for each wish, and then a person."""
        slot, top = decision.slot if isinstance(decision, Ask) else CONFIRM, self.state.top
        if isinstance(decision, Ask) and self.state.goes_nowhere(decision.slot, bool(decision.choices)):
            return Ask(INTENT, {"situation": "misheard"}, reason=f"The customer could not tell {slot}: perhaps something else is meant.")  # fmt: skip
        most = self.settings.max_asks + 3 * (slot == CONFIRM)
        if top.asked[slot] < most:
            return None
        return HandOver("", "stopped", {}, reason=f"The customer was asked for {slot} {most} times.")

    def _hand_over(self, decision: HandOver, world: Live | Recorded, turn: TurnTrace) -> HandOver:
        """Call the hand-over tool, once for each reason, and say so; honest where that fails."""
        domain, state = self.agent.domain, self.state
        turn.handed_over = True
        value: Any = None
        arguments = domain.hand_over_arguments(decision.why, summary_of(self.trace, turn, state), state)
        if domain.policy.hand_over and str(arguments.get("reason")) not in state.handed_over:
            result = world.call(Call(domain.policy.hand_over, arguments), self._key(domain.policy.hand_over, turn))
            if not result.ok:
                return replace(decision, situation="hand_over_failed", facts={})
            value = result.value
            state.handed_over.add(str(arguments.get("reason")))
        facts = domain.handed_over(decision, value, state)
        return replace(decision, facts={"situation": decision.situation} | decision.facts | {"_then": facts})

    # --- respond ---

    def _respond(self, said: list[Decision], world: Live | Recorded, turn: TurnTrace) -> None:
        """Word what was decided: by templates, or by a language model whose words are checked against the facts."""
        rows = [facts for d in said for facts in facts_to_say(d)]
        strong = [r for r in rows if r["situation"] not in self.agent.domain.weak]
        parts = [self._word(facts, world, turn) for facts in strong or rows]
        parts = [p for p in parts if p[0]] or [self.agent.domain.say({"situation": MORE})]
        turn.reply = " ".join(dict.fromkeys(text for text, _ in parts))
        turn.reply = self._sorry(turn) + turn.reply
        sources = {source for _, source in parts}
        turn.source = "model" if "model" in sources else "template" if "template" in sources else "fixed"
        turn.asks = self.state.asks
        turn.tokens = sum(m.tokens for m in turn.models)

    def _word(self, facts: Mapping[str, Any], world: Live | Recorded, turn: TurnTrace) -> tuple[str, str]:
        domain, plain = self.agent.domain, {k: v for k, v in facts.items() if not k.startswith("_")}
        rule = str(plain.pop("quoted_rule", ""))
        text, source = domain.say(plain)
        if self.settings.wording == "model" and self.agent.language is not None and source == "template":
            text, source = self._worded(turn.message, plain, text, world)
        quoted = domain.say({"situation": "rule_quoted", "rule": rule})[0] if rule and "rule_quoted" in domain.phrases else ""  # fmt: skip
        return " ".join(filter(None, (text, quoted))), source

    def _worded(self, message: str, facts: Mapping[str, Any], text: str, world: Live | Recorded) -> tuple[str, str]:
        def write(prompt: list[dict]) -> str:
            def ask(seconds: float) -> tuple[Any, int]:
                done = self.agent.language.complete(prompt, max_tokens=80, seconds=seconds)
                return done.text, done.prompt_tokens + done.tokens

            return world.model("reply", ask) or ""

        worded = wording.word(write, message[:1000], facts)
        return (worded.text, "model") if worded.source == "model" else (text, "template")

    def _sorry(self, turn: TurnTrace) -> str:
        """One apology to somebody who is upset."""
        phrase = self.agent.domain.phrases.get("sorry", "")
        if not phrase or self.state.sorry or turn.percept.sentiment > -0.5 or "sorry" in turn.reply.lower():
            return ""
        self.state.sorry = True
        return f"{phrase} "


def facts_to_say(decision: Decision) -> list[dict[str, Any]]:
    """The facts of a decision, one mapping for each thing that is said; a rule that refuses is quoted."""
    facts = dict(getattr(decision, "facts", {}))
    situation = facts.get("situation") or getattr(decision, "situation", "")
    quoted = {"quoted_rule": decision.rules[0]} if decision.rules and situation.endswith("_refused") else {}
    then = facts.pop("_then", None)
    rows = [{**facts, "situation": situation, **quoted}] if situation else []
    return rows + ([then] if then else [])


def summary_of(trace: Trace, turn: TurnTrace, state: State) -> str:
    """What a person who takes over needs: the wishes, what is known, the last messages, what was done."""
    wishes = ", ".join(w.intent.replace("_", " ") for w in reversed(state.wishes)) or "unclear"
    known = "; ".join(f"{k} {v}" for w in state.wishes[-1:] for k, v in w.slots.items() if isinstance(v, str | int))
    done = [c.name for t in [*trace.turns, turn] for c in t.calls if c.status == "ok"]
    said = " / ".join(" ".join(t.message.split())[:200] for t in [*trace.turns, turn][-5:])
    text = f"Wishes: {wishes}. Known: {known or 'nothing'}. Verified: {'yes' if state.verified else 'no'}. Done: {', '.join(done) or 'nothing'}. The customer wrote: {said}"  # fmt: skip
    return clean(text)[:1900]


def facts_of(session: Any) -> dict[str, Any]:
    """The plain fields of a session, to be saved."""
    if not dataclasses.is_dataclass(session):
        return {}
    kept = {f.name: getattr(session, f.name) for f in dataclasses.fields(session)}
    return {k: v for k, v in kept.items() if v is None or isinstance(v, str | int | float | bool)}


def restore(session: Any, saved: Mapping[str, Any]) -> Any:
    """A session with the fields that `facts_of` kept."""
    for name, value in saved.items():
        if hasattr(session, name):
            setattr(session, name, value)
    return session
