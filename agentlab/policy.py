"""Behaviour rules: what must hold before an action, as data with a reason each. A planner proposes, the policy disposes.

Three rules bind every action: who asks is verified before anything personal; a WRITE is read back, and an explicit yes to
exactly that tool and those arguments comes before it; nothing is done with an identifier that nobody said. A fourth says
what must go to a person. Tools check again what they are given: the policy is the first lock, not the only one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentlab.decisions import Answer, Ask, Call, Confirm, Decision, HandOver
from agentlab.dialogue import State, Wish, bare
from agentlab.perceive import Percept, Slot
from agentlab.toolkit import WRITE, Retry, Toolbox, ToolResult

SURE = 0.85  # of an intent that calls for a person, or that stands beside what does
VERIFIED, CONFIRMED, SAID = "verified", "confirmed", "said"


@dataclass(frozen=True)
class PersonRule:
    """What must go to a person: by what a reader of turns hears in a message (``alarm``), by its words (``when``) or its intent.

    Where a reader has looked for an alarm, the words of such a rule no longer count. ``unless`` are words that deny it.
    ``about`` are the intents that its words are part of; a message that surely means another one has a second wish.
    """

    rule: str
    why: str
    reason: str
    when: str = ""
    alarm: str = ""
    unless: str = ""
    intents: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    situation: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def fits(self, percept: Percept, intents: Sequence[str]) -> bool:
        if self.alarm and percept.alarm is not None:
            return percept.alarm == self.alarm
        if self.unless and re.search(self.unless, percept.text[:3000], re.IGNORECASE):
            return False
        return bool(self.when and re.search(self.when, percept.text[:3000], re.IGNORECASE)) or bool(set(self.intents) & set(intents))  # fmt: skip

    def is_wish(self, wish: Wish) -> bool:
        """Whether a wish is what calls for the person."""
        if self.about and wish.confidence >= SURE:
            return wish.intent in self.about
        return wish.intent in self.intents or bool(self.when and re.search(self.when, wish.text, re.IGNORECASE))


@dataclass(frozen=True)
class Verification:
    """How a customer proves who they are: a tool that takes all of ``needs`` and one of ``one_of``."""

    tool: str
    needs: tuple[str, ...]
    one_of: tuple[str, ...]
    rule: str = ""
    reason: str = ""
    failed_rule: str = ""
    facts: dict[str, dict] = field(default_factory=dict)  # what is said: first, missing, again, failed


@dataclass(frozen=True)
class Policy:
    """The rules of a domain. ``open_tools`` need nobody verified, ``without_yes`` are WRITEs that need no yes."""

    verification: Verification | None = None
    open_tools: frozenset[str] = frozenset()
    without_yes: frozenset[str] = frozenset()
    people: tuple[PersonRule, ...] = ()
    hand_over: str = ""
    confirm_rule: str = ""
    sure: float = SURE
    reasons: dict[str, dict] = field(default_factory=dict)  # rule number to what is said when it refuses

    # --- before anything is decided ---

    def person(self, percept: Percept, state: State) -> HandOver | None:
        """The hand-over that a message calls for, by the first rule that fits; None where none does.

        What is no alarm waits until the other wishes of the message are served: "where is my refund, and then a person".
        """
        fresh = [w.intent for w in state.wishes[-1:] if w.confidence >= self.sure]
        for rule in self.people:
            if rule.fits(percept, fresh):
                found = HandOver(rule.why, rule.situation, dict(rule.facts), reason=rule.reason, rules=(rule.rule,))
                later = not rule.alarm and state.put_last(rule.is_wish, found, percept.text, rule.about)
                return None if later else found
        return None

    # --- what a planner proposes ---

    def check(self, decision: Decision, state: State, box: Toolbox) -> Decision:
        """The decision, or what must come before it."""
        if not isinstance(decision, Call):
            return decision
        if decision.tool not in [t.name for t in box]:
            return HandOver("", reason=f"The planner asked for a tool that does not exist: {decision.tool}.")
        if self.is_personal(decision.tool) and not state.verified:
            return self.verify(state)
        try:
            decision = replace(decision, arguments=exact(box, decision.tool, decision.arguments))
        except Retry as error:
            return self._mend(decision, str(error), box)
        if missing := self.unsaid(decision, state):
            return Ask(missing, reason=f"Nobody said the {missing} that the planner wants to use.", rules=(SAID,))
        return self._with_yes(decision, state, box)

    def is_personal(self, tool: str) -> bool:
        return self.verification is not None and tool not in self.open_tools

    def _with_yes(self, call: Call, state: State, box: Toolbox) -> Decision:
        """A WRITE goes through if exactly this was read back and the customer said yes; else it is read back."""
        if box[call.tool].effect is not WRITE or call.tool in self.without_yes:
            return call
        wanted = {"tool": call.tool, "arguments": call.arguments}
        if wanted in state.done:
            return Answer("already_done", {}, reason="Exactly this was done in this conversation already.")
        rules = (*call.rules, *filter(None, (self.confirm_rule or CONFIRMED,)))
        if state.top is not None and state.top.consent == wanted:
            return replace(call, rules=rules, reason=call.reason or "The customer said yes to exactly this.")
        return Confirm(call.tool, call.arguments, reason="A change needs a yes to exactly what is read back.", rules=rules)  # fmt: skip

    def _mend(self, call: Call, error: str, box: Toolbox) -> Decision:
        """Arguments that the tool would not take: ask for the first that is missing or wrong."""
        for name in box[call.tool].schema.get("properties", {}):
            if re.search(rf"\b{name}\b", error):
                return Ask(name, reason=f"{call.tool} needs it: {error}"[:300])
        return HandOver("", reason=f"{call.tool} cannot be called: {error}"[:300])

    def unsaid(self, call: Call, state: State) -> str:
        """The first identifier among the arguments that neither the customer nor a tool has mentioned; empty for none."""
        known = bare(" ".join([*state.said[-30:], *(str(v) for v in state.slots.values())]))
        for wish in state.wishes:
            known += bare(str(list(wish.slots.values())) + str(list(wish.results.values())))
        for name, value in call.arguments.items():
            slot = state.slot_types.get(name, Slot(name))
            if slot.pattern and isinstance(value, str) and bare(value.removeprefix(slot.prefix)) not in known:
                return name
        return ""

    # --- who is asking ---

    def verify(self, state: State) -> Decision:
        """The next step towards a verified customer: the call, or the question for what is still missing."""
        v = self.verification
        have = {name: state.slots[name] for name in v.needs if name in state.slots}
        proofs = [name for name in state.slots if name in v.one_of]
        state.verifying = True
        wish = state.top.slots if state.top else {}
        for name in reversed(proofs):  # the newest first
            for value in dict.fromkeys((wish.get(name, state.slots[name]), state.slots[name])):
                call = have | {name: value}
                if len(have) == len(v.needs) and call not in state.tried:
                    return Call(v.tool, call, reason=v.reason, rules=(v.rule,))
        unknown = state.top.unknown if state.top else set()
        if set(v.needs) & unknown or set(v.one_of) <= unknown:
            return HandOver("not_verified", "verification_needed", {}, reason="The customer cannot be verified.", rules=(v.rule,))  # fmt: skip
        return self._ask_for_proof(v, have, proofs, unknown, state)

    def unproven(self, result: ToolResult, state: State) -> Decision:
        """What follows a failed attempt: another one, or a person where the tool allows no more."""
        v = self.verification
        if result.status == "failed":
            rule = v.failed_rule or v.rule
            return HandOver("not_verified", str(v.facts.get("failed", {}).get("situation", "stopped")), dict(v.facts.get("failed", {})), reason=result.message[:200], rules=(rule,))  # fmt: skip
        following = self.verify(state)
        if not isinstance(following, Ask):
            return following
        left = re.search(r"attempts left: (\d+)", result.message)
        said = dict(v.facts.get("again", {})) | ({"attempts_left": left[1]} if left else {})
        return replace(following, facts=said, reason=result.message[:200])

    def _ask_for_proof(self, v: Verification, have: dict, proofs: list[str], unknown: set[str], state: State) -> Ask:
        open_proofs = [name for name in v.one_of if name not in unknown]
        needed = [name for name in v.needs if name not in have]
        again = bool(state.tried) and not needed and bool(proofs)
        if again and set(state.heard) & set(v.needs) and state.top is not None and state.top.asked[open_proofs[0]] <= state.top.asked[v.needs[0]]:  # fmt: skip
            slot, kind = open_proofs[0], "again"
        elif again:
            slot, kind = v.needs[0], "again"
        elif needed:
            slot, kind = needed[0], "first" if not proofs else "missing_need"
        else:
            slot, kind = open_proofs[0], "missing_proof"
        facts = dict(v.facts.get(kind, {}))
        if state.top is not None and state.top.asked[slot]:  # asked before: say why
            facts["_then"] = {"situation": "why_proof", "rule": v.rule}
        return Ask(slot, facts, reason=v.reason, rules=(v.rule,))


def exact(box: Toolbox, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as the tool will take them, spelled its way and without those left open; raises `Retry`."""
    return {k: v for k, v in box[tool].check(dict(arguments))[1].items() if v is not None}
