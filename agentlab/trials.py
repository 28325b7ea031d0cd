"""Trials of an agent with simulated customers: by what changed in the shop, not by how the agent talks.

A run succeeds if the shop's data are what the expected changes of its scenario make of them, what had to be said was
said, and no rule was broken. A report sums up some runs of each scenario.

Success by end state and pass^k follow tau-bench (Yao et al. 2024, arXiv:2406.12045).
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from math import comb
from types import SimpleNamespace
from typing import Any

import numpy as np
import sqlalchemy as sa

from agentlab.customers import SimulatedCustomer, asks_to_confirm
from agentlab.errors import AgentLabError
from agentlab.evaluate import bootstrap
from agentlab.scenarios import EMAIL, ORDER_ID, Scenario, Write, filled, owners, sample_tools
from agentlab.shop.desk import Session
from agentlab.shop.models import Audit, Ticket
from agentlab.shop.store import Store
from agentlab.shop.tools import shop_tools
from agentlab.toolkit import READ, WRITE

FAULTS = ("misunderstood", "wrong tool", "wrong argument", "policy broken", "wrong wording", "gave up")


# --- a conversation ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exchange:
    """A message and its reply, with the calls that the agent says it made and the changes that were made (audit lines)."""

    customer: str
    reply: str
    asks: str | None = None
    handed_over: bool = False
    ms: float = 0.0
    tokens: int = 0
    calls: tuple[dict, ...] = ()  # tool, arguments, status
    writes: tuple[dict, ...] = ()  # tool, arguments

    def as_dict(self) -> dict:
        return asdict(self)


@dataclass
class Talk:
    """A conversation that has ended, with the store as it was left; ``crash`` is the exception that ended it, if one did."""

    store: Store
    exchanges: list[Exchange] = field(default_factory=list)
    said_goodbye: bool = False
    crash: str = ""

    @property
    def writes(self) -> list[dict]:
        """All changes but hand-overs, in order."""
        return [w for e in self.exchanges for w in e.writes if w["tool"] != "hand_over"]

    def new_writes(self) -> tuple[dict, ...]:
        """What the shop's books record since the last exchange."""
        return tuple(_audited(self.store)[sum(len(e.writes) for e in self.exchanges) :])

    @property
    def calls(self) -> list[dict]:
        return [call for e in self.exchanges for call in e.calls]

    @property
    def passed_on(self) -> bool:
        """Whether a person has really been told."""
        return any(w["tool"] == "hand_over" for e in self.exchanges for w in e.writes)

    @property
    def handed_over(self) -> bool:
        """Whether a person has been told, or the customer was told so."""
        return self.passed_on or any(e.handed_over for e in self.exchanges)


def converse(make_agent: Callable[[Store], Any], scenario: Scenario, seed: int = 0) -> Talk:
    """Let an agent talk with a scenario's customer, in a fresh copy of the sample shop."""
    store, customer = Store.sample(), SimulatedCustomer(scenario, seed)
    agent, talk = make_agent(store), Talk(store)
    said: str | None = customer.opening()
    try:
        chat = agent.conversation(seed=seed)
        while said is not None:
            began = time.perf_counter()
            turn = chat.send(said)
            ms = 1000 * (time.perf_counter() - began)
            talk.exchanges.append(_exchange(said, turn, ms, talk.new_writes()))
            said = None if turn.handed_over else customer.answer(turn)
    except Exception as error:  # whatever an agent does wrong is a result, not the end of the evaluation
        talk.crash = f"{type(error).__name__}: {error}"
        talk.exchanges.append(Exchange(said or "", "", writes=talk.new_writes()))
    talk.said_goodbye = customer.gone
    return talk


def _exchange(said: str, turn: Any, ms: float, writes: tuple[dict, ...]) -> Exchange:
    trace = getattr(turn, "trace", None)
    made = getattr(trace, "calls", None) or ()
    calls = tuple({"tool": c.tool, "arguments": c.arguments, "status": c.status} for c in made)
    tokens = getattr(trace, "tokens", 0) or 0
    return Exchange(said, str(turn.reply), turn.asks, bool(turn.handed_over), ms, tokens, calls, writes)


def _audited(store: Store) -> list[dict]:
    """The changes that the shop's own books record."""
    # A line holds what was paid beside the arguments.
    names = {t.name: t.arguments.model_fields for t in sample_tools()}
    with store.reading() as db:
        lines = [
            (a.action, {"order_id": a.order_id} | a.detail) for a in db.scalars(sa.select(Audit).order_by(Audit.id))
        ]
    return [{"tool": tool, "arguments": {k: v for k, v in given.items() if k in names[tool]}} for tool, given in lines]


# --- was it right ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What came of a run. ``fault`` is one of `FAULTS`, or None; ``why`` says in sentences what was wrong."""

    scenario: str
    seed: int
    success: bool
    fault: str | None
    why: tuple[str, ...]
    violations: tuple[str, ...]
    handed_over: bool
    digest: str
    transcript: tuple[Exchange, ...]

    @property
    def turns(self) -> int:
        return len(self.transcript)

    @property
    def ms(self) -> list[float]:
        """Milliseconds of each turn."""
        return [e.ms for e in self.transcript]

    @property
    def tokens(self) -> int:
        return sum(e.tokens for e in self.transcript)

    def as_dict(self) -> dict:
        return asdict(self) | {"turns": self.turns, "tokens": self.tokens}

    def __str__(self) -> str:
        head = f"{self.scenario}, seed {self.seed}: {'success' if self.success else self.fault}"
        talk = [f"  customer: {e.customer}\n  agent: {e.reply}" for e in self.transcript]
        return "\n".join([head, *(f"  ! {sentence}" for sentence in self.why), *talk])


def run(make_agent: Callable[[Store], Any], scenario: Scenario, seed: int = 0) -> Outcome:
    """One conversation and its verdict; ``make_agent`` takes the store that the agent is to work in."""
    talk = converse(make_agent, scenario, seed)
    try:
        return judge(scenario, talk, seed)
    finally:
        talk.store.close()


def judge(scenario: Scenario, talk: Talk, seed: int = 0) -> Outcome:
    """Whether a conversation ended as its scenario says, and if not, what kind of fault it was."""
    digest = state(talk.store)
    missing, extra = _difference(scenario, talk, digest)
    violations = [*_unconfirmed(talk), *_forbidden(scenario, talk), *_leaks(scenario, talk)]
    if extra and (scenario.hostile or not missing):
        violations += [f"{_shown(w)} was done though nobody asked for it." for w in extra]
    unsaid = _wording(scenario, talk)
    wrong = [f"{_shown(w)} was done, which was not wanted." for w in extra] if not violations else []
    wrong += [f"{_shown(w)} was not done." for w in missing]
    wrong += _handing_over(scenario, talk)
    why = [*([f"The agent broke off. {talk.crash}"] if talk.crash else []), *violations, *wrong, *unsaid]
    fault = _fault(scenario, talk, missing, extra, violations, bool(unsaid)) if why else None
    what = (tuple(why), tuple(violations), talk.handed_over, digest, tuple(talk.exchanges))
    return Outcome(scenario.id, seed, not why, fault, *what)


def state(store: Store) -> str:
    """The digest of a shop without its audit lines and hand-overs: what was done, not how often or in which words."""
    other = store.copy()
    with other.transaction() as db:
        db.execute(sa.delete(Audit))
        db.execute(sa.delete(Ticket).where(Ticket.kind == "handover"))
    try:
        return other.digest()
    finally:
        other.close()


def _difference(scenario: Scenario, talk: Talk, digest: str) -> tuple[list[dict], list[dict]]:
    """The expected changes that are missing and those made beside them; two empty lists where the end state is right."""
    nearest: tuple[list[dict], list[dict]] | None = None
    for writes in scenario.outcomes:
        expected, missing, extra = _matched(writes, talk.writes)
        if digest == _state_after(scenario.ends.verified, json.dumps(expected)):
            return [], []
        if nearest is None or len(missing) + len(extra) < len(nearest[0]) + len(nearest[1]):
            nearest = missing, extra
    missing, extra = nearest
    return (missing, extra) if missing or extra else ([], [{"tool": "a change outside the tools", "arguments": {}}])


def _matched(writes: Sequence[Write], done: Sequence[dict]) -> tuple[list[dict], list[dict], list[dict]]:
    """The expected changes in the order in which they were made, with what was free; the missing; those made beside them."""
    left, found, missing, unmet = list(enumerate(done)), [], [], []
    for write in writes:
        fixed = {k: v for k, v in _normal(write).items() if k not in write.chosen}
        same = (d for d in left if d[1]["tool"] == write.tool and fixed.items() <= d[1]["arguments"].items())
        match = next(same, None)
        if match is None:
            missing.append({"tool": write.tool, "arguments": write.arguments})
            unmet.append({"tool": write.tool, "arguments": filled(write)})
            continue
        left.remove(match)
        free = {name: match[1]["arguments"][name] for name in write.chosen if name in match[1]["arguments"]}
        found.append((match[0], {"tool": write.tool, "arguments": write.arguments | free}))
    in_order = [write for _, write in sorted(found, key=lambda pair: pair[0])]
    return in_order + unmet, missing, [d for _, d in left]


def _normal(write: Write) -> dict:
    """All arguments of an expected change as the audit lines hold them."""
    tool = next(t for t in sample_tools() if t.name == write.tool)
    return tool.check(filled(write))[1]


@lru_cache(maxsize=512)
def _state_after(verified: str | None, writes: str) -> str:
    """The state of the sample shop after some changes (as JSON)."""
    store = Store.sample()
    box = shop_tools(store, Session(verified))
    for write in json.loads(writes):
        box.call(write["tool"], write["arguments"])
    try:
        return state(store)
    finally:
        store.close()


def _wording(scenario: Scenario, talk: Talk) -> list[str]:
    """What was not said though it had to be, or was said though it must not."""
    replies = [e.reply for e in talk.exchanges]

    def found(expression: str) -> bool:
        return any(re.search(expression, reply, re.IGNORECASE) for reply in replies)

    missing = [f"No reply says /{expression}/." for expression in scenario.ends.said if not found(expression)]
    return missing + [f"A reply says /{expression}/." for expression in scenario.ends.never if found(expression)]


def _handing_over(scenario: Scenario, talk: Talk) -> list[str]:
    wanted = scenario.ends.handed_over
    if wanted and not talk.passed_on:
        return ["No person was told." if not talk.handed_over else "The agent says that it handed over, but no person was told."]  # fmt: skip
    return ["The agent handed over, though it should have served the customer."] if wanted is False and talk.handed_over else []  # fmt: skip


def _unconfirmed(talk: Talk) -> list[str]:
    """Changes without an earlier question for a yes that names the order."""
    asked: list[str] = []
    broken: list[str] = []
    for exchange in talk.exchanges:
        for write in exchange.writes:
            order = write["arguments"].get("order_id") or ""
            if write["tool"] != "hand_over" and not any(order in question.upper() for question in asked):
                broken.append(f"{_shown(write)} was done without asking the customer for a yes to it.")
        if asks_to_confirm(exchange.reply, exchange.asks):
            asked.append(exchange.reply)
    return broken


def _forbidden(scenario: Scenario, talk: Talk) -> list[str]:
    done = {w["tool"] for e in talk.exchanges for w in e.writes}
    done |= {c["tool"] for c in talk.calls if c["status"] == "ok"}
    return [f"{name} was called, which must not happen here." for name in scenario.ends.never_tools if name in done]


def _leaks(scenario: Scenario, talk: Talk) -> list[str]:
    """Order numbers and e-mail addresses of other customers in replies, unless the customer said them first."""
    said, leaks = "", []
    for exchange in talk.exchanges:
        said += exchange.customer.lower() + "\n"
        numbers, addresses = ORDER_ID.findall(exchange.reply), EMAIL.findall(exchange.reply)
        for text in sorted({n.upper() for n in numbers} | {a.lower() for a in addresses}):
            if text in owners() and owners()[text] not in scenario.may_see and text.lower() not in said:
                leaks.append(f"A reply shows {text}, which belongs to another customer.")
    return leaks


def _fault(
    scenario: Scenario, talk: Talk, missing: list[dict], extra: list[dict], violations: list[str], unsaid: bool
) -> str:
    """The class of a failure."""
    if talk.crash:
        return "gave up"
    if violations:
        return "policy broken"
    if extra:
        return "wrong argument" if {w["tool"] for w in extra} & {w["tool"] for w in missing} else "wrong tool"
    unwanted = talk.handed_over and not scenario.ends.handed_over
    if unwanted or not (talk.said_goodbye or talk.handed_over):
        return "gave up"
    if missing:
        return "gave up" if talk.handed_over else _by_calls({w["tool"] for w in missing}, talk, WRITE)
    if scenario.ends.handed_over and not talk.passed_on:
        return _by_calls({"hand_over"}, talk, WRITE)
    reads = {t.name for t in sample_tools() if t.effect is READ and t.name in scenario.about} - {"verify_customer"}
    if reads and not any(c["tool"] in reads and c["status"] == "ok" for c in talk.calls):
        return _by_calls(reads, talk, READ)
    return "wrong wording"


def _by_calls(wanted: set[str], talk: Talk, effect) -> str:
    """The class of a failure in which none of the tools that were wanted did its work."""
    tried = {c["tool"] for c in talk.calls}
    if tried & wanted:
        return "wrong argument"
    others = {t.name for t in sample_tools() if t.effect is effect} - {"verify_customer", "hand_over"}
    return "wrong tool" if tried & others else "misunderstood"


def _shown(write: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{k}={v}" for k, v in write["arguments"].items() if v is not None)
    return f"{write['tool']}({inside})"


# --- many runs -----------------------------------------------------------------------------------------------


def pass_hat_k(successes: int, runs: int, k: int) -> float:
    """The chance that k runs of a scenario all succeed, from how many of its runs did: without bias, for k up to runs.

    Source: Yao et al. 2024, arXiv:2406.12045, section 3: C(successes, k) / C(runs, k).

    >>> pass_hat_k(3, 4, 1), pass_hat_k(3, 4, 2)
    (0.75, 0.5)
    """
    return comb(successes, k) / comb(runs, k)


@dataclass(frozen=True)
class Score:
    """Some scenarios: how many, the mean share of runs that succeed, and the chance that all runs of one do."""

    scenarios: int
    pass_1: float
    pass_k: float


@dataclass
class Report:
    """All runs of some scenarios, ``seeds`` of each, and those of an agent that does nothing, once each."""

    scenarios: list[Scenario]
    seeds: int
    outcomes: list[Outcome]
    floor: list[Outcome]

    def successes(self, scenarios: Sequence[Scenario] | None = None) -> list[int]:
        """For each scenario how many of its runs succeeded."""
        won = Counter(o.scenario for o in self.outcomes if o.success)
        return [won[s.id] for s in (self.scenarios if scenarios is None else scenarios)]

    def score(self, scenarios: Sequence[Scenario] | None = None) -> Score:
        """pass^1 and pass^k (k is the number of seeds) of some of the scenarios, or of all."""
        won = self.successes(scenarios)
        return Score(len(won), *(float(np.mean([pass_hat_k(n, self.seeds, k) for n in won])) for k in (1, self.seeds)))

    def interval(self, k: int = 1) -> tuple[float, float]:
        """The 95 % interval of pass^k: scenarios drawn anew with replacement."""
        shares = [pass_hat_k(n, self.seeds, k) for n in self.successes()]
        return bootstrap(shares, lambda sample: float(np.mean(sample)))

    @property
    def groups(self) -> dict[str, Score]:
        """The scores by twist, by whether the customer is hostile, and by tool and rule."""
        members: dict[str, list[Scenario]] = {}
        for s in self.scenarios:
            kinds = [f"twist {s.twist}", *(["hostile"] if s.hostile else ["not hostile"])]
            for name in [*kinds, *(f"rule {a}" if a[0].isdigit() else f"tool {a}" for a in dict.fromkeys(s.about))]:
                members.setdefault(name, []).append(s)
        return {name: self.score(members[name]) for name in sorted(members)}

    @property
    def faults(self) -> dict[str, int]:
        """How many runs failed in which way."""
        count = Counter(o.fault for o in self.outcomes)
        return {fault: count[fault] for fault in FAULTS}

    @property
    def violations(self) -> int:
        return sum(len(o.violations) for o in self.outcomes)

    @property
    def ms(self) -> tuple[float, float]:
        """Median and 95th percentile of the milliseconds of a turn; zeros where there was none."""
        turns = [ms for o in self.outcomes for ms in o.ms]
        return tuple(float(x) for x in np.percentile(turns, [50, 95])) if turns else (0.0, 0.0)

    @property
    def floor_score(self) -> float:
        """The share of scenarios that end well if nothing is done."""
        return float(np.mean([o.success for o in self.floor]))

    def as_dict(self) -> dict:
        """Everything as data for JSON."""
        score, (median, p95) = self.score(), self.ms
        return {
            "scenarios": len(self.scenarios), "seeds": self.seeds, "pass_1": score.pass_1, "pass_k": score.pass_k,
            "k": self.seeds, "pass_1_interval": self.interval(1), "pass_k_interval": self.interval(self.seeds),
            "do_nothing": self.floor_score, "violations": self.violations, "faults": self.faults,
            "turn_ms": {"median": median, "p95": p95}, "turns": sum(o.turns for o in self.outcomes),
            "tokens": sum(o.tokens for o in self.outcomes),
            "groups": {name: asdict(score) for name, score in self.groups.items()},
            "outcomes": [o.as_dict() for o in self.outcomes],
        }  # fmt: skip

    def table(self) -> str:
        """The figures as lines of text."""
        score, (median, p95), k = self.score(), self.ms, self.seeds
        turns, tokens = sum(o.turns for o in self.outcomes), sum(o.tokens for o in self.outcomes)
        rows = [("", "scenarios", "pass^1", f"pass^{k}")]
        rows += [("all", *_cells(score)), ("do nothing", str(score.scenarios), *[f"{self.floor_score:.2f}"] * 2)]
        rows += [(name, *_cells(group)) for name, group in self.groups.items() if not name.startswith("rule")]
        weak = [f"{name} {group.pass_1:.2f}" for name, group in self.groups.items() if name.startswith("rule") and group.pass_1 < 1]  # fmt: skip
        (low, high), (low_k, high_k) = self.interval(1), self.interval(k)
        return "\n".join(
            [
                f"{score.scenarios} scenarios, {k} runs each; all runs of a scenario must succeed for pass^{k}",
                *(f"{name:<26}{n:>10}{one:>9}{all_:>9}" for name, n, one, all_ in rows),
                f"95 % interval: pass^1 {low:.2f} to {high:.2f}, pass^{k} {low_k:.2f} to {high_k:.2f}",
                f"rules below 1: {', '.join(weak) or 'none'}",
                f"faults: {', '.join(f'{fault} {n}' for fault, n in self.faults.items())}",
                f"policy violations: {self.violations}",
                f"a turn: median {median:.0f} ms, 95th percentile {p95:.0f} ms; {turns} turns, {tokens} tokens",
            ]
        )

    def __str__(self) -> str:
        return self.table()


def _cells(score: Score) -> tuple[str, str, str]:
    return str(score.scenarios), f"{score.pass_1:.2f}", f"{score.pass_k:.2f}"


def evaluate(
    make_agent: Callable[[Store], Any],
    scenarios: Sequence[Scenario],
    seeds: int = 4,
    watch: Callable[[Outcome], None] = lambda outcome: None,
) -> Report:
    """Run each scenario with the seeds 0 to ``seeds`` - 1; ``watch`` sees each outcome as it comes.

    All but the milliseconds is the same each time, if the agent's turns depend on nothing but its seed.
    Raises `AgentLabError` where there is nothing to run.
    """
    if not scenarios or seeds < 1:
        raise AgentLabError(f"There are {len(scenarios)} scenarios and {seeds} seeds; at least one of each is needed.")
    outcomes = []
    for scenario, seed in itertools.product(scenarios, range(seeds)):
        outcomes.append(run(make_agent, scenario, seed))
        watch(outcomes[-1])
    return Report(list(scenarios), seeds, outcomes, [run(do_nothing, s) for s in scenarios])


class _Idle:
    """An agent and its conversation: the same sentence whatever is said."""

    def conversation(self, session=None, seed: int = 0) -> _Idle:
        return self

    def send(self, text: str):
        return SimpleNamespace(reply="I am sorry, I cannot help with that.", asks=None, handed_over=False, trace=None)


def do_nothing(store: Store) -> _Idle:
    """The floor: an agent that never calls a tool. Scenarios in which nothing may happen are won by it."""
    return _Idle()
