"""Who decides: rules over what was understood, a language model that writes tool calls, or both (the default).

A planner looks at the wish on top and proposes the next `Decision`; the policy then lets it through or puts something
before it. No planner reads instructions out of tool results: results go to `Domain.tell` as data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agentlab.decisions import Answer, Ask, Call, Decision
from agentlab.dialogue import INTENT, State, Wish
from agentlab.domain import Domain, Intent
from agentlab.toolkit import WRITE, Toolbox


@dataclass
class Context:
    """What a planner may see. ``choose`` asks the language model for a tool call (request, tools) -> call or None."""

    state: State
    domain: Domain
    box: Toolbox
    threshold: float = 0.5
    choose: Callable[[str, Sequence[Mapping[str, Any]]], Any] | None = None


class Planner(Protocol):
    """Proposes the next decision for the wish on top."""

    def propose(self, context: Context) -> Decision: ...


class RulePlanner:
    """Follows the steps that the domain lists for an intent."""

    def propose(self, context: Context) -> Decision:
        wish = context.state.top
        if said := self.look(context):
            return said
        if wish.confidence < needed(context):
            return clarify(context)
        return self.step(context)

    def look(self, context: Context) -> Decision | None:
        """What follows from the call that was just made, and what needs no steps: small talk, a wish that was dropped."""
        wish, domain = context.state.top, context.domain
        if wish.happened:
            told = domain.tell(wish, context.state)
            wish.happened = None
            return told
        if wish.intent in domain.small_talk and wish.intent not in domain.intents:
            facts = domain.small_talk[wish.intent]
            return Answer(str(facts.get("situation", wish.intent)), dict(facts), reason="small talk")
        return None

    def step(self, context: Context) -> Decision:
        """The first step that is not done yet."""
        wish, domain = context.state.top, context.domain
        intent = turned(wish, domain)
        if intent is None:
            return clarify(context)
        for step in intent.steps:
            decision = self._call(step, wish, context) if step.endswith("()") else self._slot(step, wish, context)
            if decision is not None:
                return decision
        return Answer(intent.done or "nothing_found", {}, reason="All steps are done.", confidence=wish.confidence)

    def _call(self, step: str, wish: Wish, context: Context) -> Decision | None:
        tool = step.removesuffix("()")
        if tool in wish.results:
            return None
        arguments = context.domain.arguments(tool, context.box[tool].arguments.model_fields, wish, context.state)
        return Call(tool, arguments, reason=f"A step of {wish.intent}.", confidence=round(wish.confidence, 3))

    def _slot(self, step: str, wish: Wish, context: Context) -> Decision | None:
        name = step.removesuffix("?")
        if name in wish.slots:
            return None
        value = context.domain.fill(name, wish, context.state)
        if isinstance(value, Decision):
            return value
        if value is not None:
            wish.slots[name] = value
            wish.filled.add(name)
            becomes = (
                context.domain.intents[wish.intent].about.get("becomes", {})
                if wish.intent in context.domain.intents
                else {}
            )
            return self.step(context) if becomes.get("slot") == name else None
        return None if step.endswith("?") else Ask(name, reason=f"{wish.intent} needs it.", confidence=round(wish.confidence, 3))  # fmt: skip


def needed(context: Context) -> float:
    """How sure the intent of the wish on top must be: the threshold, or what the domain wants for that intent."""
    intent = context.domain.intents.get(context.state.top.intent)
    return max(context.threshold, intent.about.get("sure", 0.0) if intent else 0.0)


def turned(wish: Wish, domain: Domain) -> Intent | None:
    """The intent of a wish, after it has become another by the value of a slot; None for an unknown one."""
    intent = domain.intents.get(wish.intent)
    becomes = intent.about.get("becomes", {}) if intent else {}
    following = becomes.get(str(wish.slots.get(becomes.get("slot", ""))))
    if following:
        wish.intent = following
        return domain.intents[following]
    return intent


class LanguagePlanner:
    """Lets a language model choose the tool and fill in its arguments, under a grammar.

    The call opens the procedure that the tool belongs to: what must be known before it, and what is said after it, are the
    domain's. Of the arguments only what somebody said is kept. ``none`` from the model means that no tool fits: the
    domain's fallback answers, or a question does. With ``reads_only`` it is offered no tool that changes anything.
    """

    def __init__(self, reads_only: bool = False):
        self.rules, self.reads_only = RulePlanner(), reads_only

    def propose(self, context: Context) -> Decision:
        wish = context.state.top
        if wish.plan is not None or context.choose is None or wish.intent in context.domain.small_talk:
            return self.rules.propose(context)
        chosen = context.choose(self.request(wish, context), tools_for_prompt(context, self.reads_only))
        wish.plan, wish.confidence = dict(chosen or {"name": ""}), 1.0
        if chosen is None:
            return self._none(wish, context)
        return self._opened(chosen, wish, context)

    def request(self, wish: Wish, context: Context) -> str:
        """What the model reads: the customer's words, and what is known already."""
        known = {**context.state.slots, **wish.slots}
        rest = ", ".join(f"{k} {v}" for k, v in known.items() if isinstance(v, str | int) and str(v) not in wish.text)
        return wish.text[:1500] + (f"\n({rest})" if rest else "")

    def _opened(self, call: Mapping[str, Any], wish: Wish, context: Context) -> Decision:
        intent = procedure_of(call["name"], context.domain)
        if intent is None:
            return Call(call["name"], dict(call["arguments"]), reason="The language model chose it.", confidence=0.6)
        wish.intent = intent.name
        for name, value in call["arguments"].items():
            if is_said(name, value, context):
                wish.slots.setdefault(name, value)
        return self.rules.step(context)

    def _none(self, wish: Wish, context: Context) -> Decision:
        if context.domain.fallback:
            wish.intent = context.domain.fallback
            return self.rules.step(context)
        return clarify(context)


def procedure_of(tool: str, domain: Domain) -> Intent | None:
    """The intent that a tool serves: the one whose steps end in it, else the first that calls it."""
    fallback = [domain.intents[domain.fallback]] if domain.fallback else []
    intents = [*fallback, *domain.intents.values()]
    ends = [i for i in intents if i.steps and i.steps[-1] == f"{tool}()"]
    return next(iter(ends or [i for i in intents if f"{tool}()" in i.steps]), None)


def is_said(name: str, value: Any, context: Context) -> bool:
    """Whether an argument that a model wrote stands in the customer's words; what is no slot, such as a query, may be new."""
    slot = context.domain.slots.get(name)
    if slot is None or not (slot.pattern or slot.values or slot.ask):
        return True
    bare = re.sub(r"\W", "", str(value)).lower()
    return bool(bare) and bare in re.sub(r"\W", "", " ".join(context.state.said[-10:])).lower()


class HybridPlanner:
    """Rules where the understanding is sure and the domain has a procedure; else the language model; else a question.

    So small a language model guesses where the understanding does not know, so it may look something up, but begins no change.
    """

    def __init__(self):
        self.rules, self.language = RulePlanner(), LanguagePlanner(reads_only=True)

    def propose(self, context: Context) -> Decision:
        wish = context.state.top
        known = wish.intent in context.domain.intents or wish.intent in context.domain.small_talk
        if known and (wish.confidence >= needed(context) or wish.happened):
            return self.rules.propose(context)
        if context.choose is not None and wish.intent not in context.domain.small_talk:
            return self.language.propose(context)
        return self.rules.look(context) or clarify(context)


PLANNERS: dict[str, type] = {"rules": RulePlanner, "language": LanguagePlanner, "hybrid": HybridPlanner}


def clarify(context: Context) -> Decision:
    """Ask which of the likeliest intents is meant, or for other words where none is likely."""
    wish, intents = context.state.top, context.domain.intents
    fallback = context.domain.fallback
    if fallback and wish.intent != fallback and wish.intent in intents and intents[wish.intent].general:
        wish.intent, wish.confidence = fallback, 1.0  # a general question: whatever it is, the fallback may know
        return RulePlanner().step(context)
    likely = [(wish.intent, wish.confidence), *wish.others]
    named = [(intents[n], p) for n, p in likely if n in intents and intents[n].title and p >= 0.05]
    choices = {i.title: i.name for i, _ in named[:2]}
    reason = f"{wish.confidence:.2f} is below the threshold {context.threshold:.2f}."
    if context.state.firm:
        return Answer("still_refused", {}, reason=f"{reason} What was refused before stays refused.")
    if context.state.done and context.state.last and context.state.misunderstood:
        return Answer("done_so_far", {}, reason=f"{reason} What was asked for before is done.")
    if len(choices) < 2:
        return Answer("not_understood", {}, reason=reason, confidence=round(wish.confidence, 3))
    return Ask(INTENT, {"situation": "which_intent"}, choices, reason=reason, confidence=round(wish.confidence, 3))


def tools_for_prompt(context: Context, reads_only: bool = False) -> list[dict[str, Any]]:
    """The tools that a model may choose from, as name, description and parameters."""
    policy = context.domain.policy
    hidden = {policy.hand_over, policy.verification.tool if policy.verification else ""}
    return [{"name": t.name, "description": t.description, "parameters": t.schema} for t in context.box if t.name not in hidden and not (reads_only and t.effect is WRITE)]  # fmt: skip
