"""What an agent must know about one line of business: intents with their steps, slots, rules, phrases. Most of it is data.

An intent's ``steps`` are slots to know and tools to call, in order: ``[order_id, find_order(), cancel_order()]``. A slot
with a question mark is filled where that is possible and never asked for. `Domain` works as it is for a simple business; a
larger one overrides `fill` (values that tools know), `tell` (what a result means), `question` and `readback`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentlab import wording
from agentlab.decisions import Answer, Ask, Confirm, Decision, HandOver
from agentlab.dialogue import DROPPED, MORE, NOTHING, OUT_OF_SCOPE, State, Wish
from agentlab.errors import DataError
from agentlab.perceive import Slot
from agentlab.policy import PersonRule, Policy, Verification


@dataclass(frozen=True)
class Intent:
    """A wish that the agent can serve. ``done`` and ``refused`` are situations; ``about`` is what only the domain reads."""

    name: str
    title: str = ""
    steps: tuple[str, ...] = ()
    done: str = ""
    refused: str = ""
    general: bool = False
    about: dict[str, Any] = field(default_factory=dict)


SMALL_TALK: dict[str, dict[str, Any]] = {
    DROPPED: {"situation": DROPPED}, NOTHING: {"situation": NOTHING}, MORE: {"situation": MORE},
    OUT_OF_SCOPE: {"situation": "not_for_us"},
}  # fmt: skip
PHRASES = {
    DROPPED: "All right, I leave it as it is.",
    NOTHING: "All right. Write again whenever you need something.",
    MORE: "What can I do for you?",
    "not_for_us": "I am sorry, but I cannot help with this.",
    "not_understood": "I am sorry, I did not understand that. Could you say in other words what you need?",
    "misheard": "I may have misunderstood you. Could you say in other words what I should do?",
    "which_intent": "I am not sure that I understand. Would you like to {choice_1}, or to {choice_2}?",
    "stopped": "I am sorry, I do not get any further here.",
    "hand_over_failed": "I am sorry, I cannot go on here, and I could not reach a person at the moment. Please try again a little later.",
    "handed_over": "I hand you over to a person.",
    "read_back": "Please say yes if I should {action}[ ({details})].",
    "why_proof": "Before that I may not tell or change anything[ (rule {rule})].",
    "refused": "I am sorry, but this is not possible[: {reason}].",
    "already_done": "That is done already.",
    "still_refused": "I am sorry, it stays as I said. If you like, I can hand you over to a person.",
    "done_so_far": "What you asked for is done. If you need something else, please tell me what.",
    "nothing_found": "I am sorry, I found nothing.",
}


@dataclass
class Domain:
    """A line of business for an agent; made from data by `from_data`."""

    name: str = ""
    intents: dict[str, Intent] = field(default_factory=dict)
    slots: dict[str, Slot] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    implied: dict[str, list[str]] = field(default_factory=dict)
    small_talk: dict[str, dict[str, Any]] = field(default_factory=dict)  # intent to the facts of what is said
    phrases: dict[str, str] = field(default_factory=dict)  # situation to a fixed sentence with {places}
    weak: list[str] = field(default_factory=list)  # situations that are told only where there is nothing else to say
    questions: dict[str, str] = field(
        default_factory=dict
    )  # what is asked for to a kind of question, for a reader of turns
    fallback: str = ""  # the intent that answers what no other fits

    def __post_init__(self):
        self.small_talk, self.phrases = SMALL_TALK | self.small_talk, PHRASES | self.phrases

    @classmethod
    def from_data(cls, data: Mapping[str, Any], **changes: Any) -> Domain:
        """A domain out of a mapping as YAML gives it; raises `DataError` that names the part which is wrong."""
        try:
            intents = {name: _intent(name, entry or {}) for name, entry in data["intents"].items()}
            slots = {name: Slot(name, **entry or {}) for name, entry in data.get("slots", {}).items()}
            policy = _policy(data.get("policy", {}))
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"the domain is malformed ({type(error).__name__}: {error}).", data.get("name", "domain")) from None  # fmt: skip
        kept = {
            k: data[k]
            for k in ("name", "implied", "small_talk", "phrases", "fallback", "weak", "questions")
            if k in data
        }
        return cls(intents=intents, slots=slots, policy=policy, **kept, **changes)

    # --- hooks: what a larger business knows better ---

    def read(self, text: str, asked: Sequence[str]) -> dict[str, Any]:
        """Further values in a message, beside those that the slots' patterns find."""
        return {}

    def fill(self, slot: str, wish: Wish, state: State) -> Any:
        """The value of a slot that was not said, a `Decision` that leads to it, or None."""
        return state.slots.get(slot)

    def arguments(self, tool: str, names: Iterable[str], wish: Wish, state: State) -> dict[str, Any]:
        """The arguments of a tool out of a wish's slots."""
        return {name: wish.slots[name] for name in names if name in wish.slots}

    def tell(self, wish: Wish, state: State) -> Decision | None:
        """What is said or done about a call that was made; None to go on with the next step."""
        call, intent = wish.happened, self.intents.get(wish.intent, Intent(wish.intent))
        if self.policy.verification and call.tool == self.policy.verification.tool:
            return self.policy.unproven(call.result, state)
        if not call.result.ok:
            return self.refusal(wish, state)
        if intent.steps and intent.steps[-1] != f"{call.tool}()" and f"{call.tool}()" in intent.steps:
            return None
        return Answer(intent.done or "result", flat(call.result.value), reason=f"{call.tool} gave the answer.")

    def refusal(self, wish: Wish, state: State) -> Decision:
        """What is said where a tool refuses, or cannot do it: the rule's words, and a person where the rule says so."""
        result, intent = wish.happened.result, self.intents.get(wish.intent, Intent(wish.intent))
        rule, words = rule_in(result.message)
        facts = {"reason": words, **self.policy.reasons.get(rule, {})}
        situation, rules = intent.refused or "refused", tuple(filter(None, (rule,)))
        if facts.pop("person", "hand_over" in result.message):
            return HandOver(str(facts.pop("why", "")), situation, facts, reason=result.message[:300], rules=rules)
        return Answer(situation, facts, reason=result.message[:300], rules=rules)

    def question(self, ask: Ask, wish: Wish | None, state: State) -> dict[str, Any]:
        """The facts of a question: a situation, and the choices."""
        facts = dict(self.slots[ask.slot].ask) if ask.slot in self.slots else {}
        facts = (
            {"situation": "which_detail", "question": f"what the {ask.slot.replace('_', ' ')} is"} | facts | ask.facts
        )
        return facts | {f"choice_{n}": label for n, label in enumerate(ask.choices, 1)}

    def readback(self, confirm: Confirm, value: Any, wish: Wish, state: State) -> dict[str, Any]:
        """The facts with which a WRITE is read back; ``value`` is what its rehearsal gave, or None."""
        what = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in confirm.arguments.items())
        return {"situation": "read_back", "action": confirm.tool.replace("_", " "), "details": what}

    def hand_over_arguments(self, why: str, summary: str, state: State) -> dict[str, Any]:
        """The arguments of the hand-over tool."""
        return {"reason": why, "summary": summary}

    def handed_over(self, decision: HandOver, value: Any, state: State) -> dict[str, Any]:
        """The facts of the sentence that says a person goes on."""
        return {"situation": "handed_over"}

    def is_verified(self, session: Any) -> bool:
        """Whether a session that a conversation begins with has a verified customer."""
        return getattr(session, "customer_id", None) is not None

    def say(self, facts: Mapping[str, Any]) -> tuple[str, str]:
        """The sentences for facts, and who worded them: a fixed phrase, or a template."""
        situation = str(facts.get("situation", ""))
        if situation in self.phrases:
            return fill_places(self.phrases[situation], facts), "fixed"
        return wording.template({k: v for k, v in facts.items() if k not in ("rule", "rules")}), "template"


def _intent(name: str, entry: Mapping[str, Any]) -> Intent:
    known = {"title", "steps", "done", "refused", "general"}
    fields = {k: v for k, v in entry.items() if k in known} | {"steps": tuple(entry.get("steps", ()))}
    return Intent(name, about={k: v for k, v in entry.items() if k not in known}, **fields)


def _policy(entry: Mapping[str, Any]) -> Policy:
    fields = dict(entry)
    if proof := fields.pop("verification", None):
        fields["verification"] = Verification(**proof | {k: tuple(proof[k]) for k in ("needs", "one_of")})
    fields["people"] = tuple(
        PersonRule(**p | {k: tuple(p.get(k, ())) for k in ("intents", "about")}) for p in fields.pop("people", ())
    )
    return Policy(**fields | {k: frozenset(fields.get(k, ())) for k in ("open_tools", "without_yes")})


def rule_in(message: str) -> tuple[str, str]:
    """The rule's number and its words in a tool's message.

    >>> rule_in("Rule 2.2: A packed order cannot be cancelled. Order W1 is packed.")
    ('2.2', 'a packed order cannot be cancelled')
    >>> rule_in("It does not work.")
    ('', 'it does not work')
    """
    match = re.match(r"Rule (\d+\.\d+): (.*)", message, re.DOTALL)
    words = re.split(r"(?<=[a-z)])[.;] ", (match[2] if match else message).strip())[0].rstrip(".")
    return (match[1] if match else ""), words[:1].lower() + words[1:]


def fill_places(phrase: str, facts: Mapping[str, Any]) -> str:
    """A phrase with its places filled; a part in brackets whose fact is missing is left out.

    >>> fill_places("I find no order {order_id}[ for {name}].", {"order_id": "W1"})
    'I find no order W1.'
    """

    def fill(part: str) -> str | None:
        names = re.findall(r"\{(\w+)\}", part)
        if any(facts.get(n) in (None, "") for n in names):
            return None
        return re.sub(r"\{(\w+)\}", lambda m: str(facts[m[1]]), part)

    parts = [fill(p) for p in re.split(r"\[([^\[\]]*)\]", phrase)]
    return " ".join("".join(p or "" for p in parts).split())


def flat(value: Any) -> dict[str, Any]:
    """A tool's result as flat facts."""
    if isinstance(value, Mapping):
        return {
            k: v for k, v in value.items() if not isinstance(v, Mapping | list) or all(isinstance(x, str) for x in v)
        }
    return {"answer": value} if value is not None else {}
