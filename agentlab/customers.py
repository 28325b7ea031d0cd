"""Simulated customers: each follows a scenario, and tells what they know only when the agent asks for it.

The customer is a script with a seed, so that the same conversation can be had again. The seed chooses among wordings,
the style of the scenario how a stock sentence sounds; facts stay as they are.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from agentlab.scenarios import ALSO, LONGEST, ORDER_ID, WISHES, Scenario

STOCK = {
    "email": ["{}", "It's {}.", "My e-mail address is {}."],
    "order_id": ["{}", "It's {}.", "The order number is {}."],
    "postcode": ["{}", "It's {}.", "My postcode is {}."],
}
YES = ["Yes.", "Yes, please.", "Yes, go ahead."]
NOT_THAT = ["No, that is not the order I mean.", "No, I mean another order."]
NO_PERSON = ["No, thanks.", "No, that is not needed."]
ADDED = {
    "chatty": ["Thanks for looking into this!", "Hope that helps :)", "Sorry for the bother."],
    "formal": ["Thank you in advance.", "I appreciate your assistance."],
}
UNKNOWN = ["I don't know.", "Sorry, I don't know that.", "I can't tell you that."]

ASKED = {
    "email": re.compile(r"e-?mail", re.IGNORECASE),
    "order_id": re.compile(r"order (number|no\.|id\b)|number of (the|your|an|one of your) orders?|which order", re.IGNORECASE),
    "postcode": re.compile(r"post ?code|postal code|zip", re.IGNORECASE),
}  # fmt: skip
ASKS = re.compile(r"\?|\b(please|could you|can you|tell me|give me|send me|let me know|i need|what is|which)\b", re.I)
CONFIRMS = re.compile(
    r"\b(shall|should|may) i\b|do you want me to|would you like me to|(please|do you|can you) confirm|to confirm\b"
    r"|is (that|this) (right|correct|ok)|(say|reply|answer|type|write)\W+yes\b|yes or no|go ahead\?|proceed\?",
    re.IGNORECASE,
)
PERSON = re.compile(
    r"\b(person|colleagues?|human|(our|the) team)\b.*(\?|\bif you (like|want|wish|prefer)\W*)$", re.IGNORECASE
)
REPHRASE = re.compile(r"rephrase|did(n't| not) understand|(other|different) words|what (can|may) i (do|help)|say (that|it) again", re.I)  # fmt: skip


def asks_to_confirm(reply: str, asks: str | None = None) -> bool:
    """Whether a reply wants a yes; ``asks`` is what the agent itself says it asks for."""
    return asks == "confirm" or (asks is None and CONFIRMS.search(reply) is not None)


def asked_for(reply: str, asks: str | None = None) -> list[str]:
    """The slots that a reply asks for: what the agent says, and what a customer has to tell to be verified.

    >>> asked_for("Please tell me your e-mail address and your postcode.")
    ['email', 'postcode']
    >>> asked_for("I sent an e-mail. Anything else?")
    []
    """
    if asks == "confirm":
        return []
    questions = [s for s in _sentences(reply) if ASKS.search(s)]
    found = [slot for slot, words in ASKED.items() if any(words.search(q) for q in questions)]
    return list(dict.fromkeys([*([asks] if asks else []), *found]))


def _sentences(reply: str) -> list[str]:
    return re.split(r"(?<=[.!?])\s+", reply.strip())


def _offer_of_a_person(reply: str) -> str:
    """The sentence in which a person is offered; empty if there is none."""
    return next((s for s in _sentences(reply) if PERSON.search(s)), "")


def styled(sentence: str, style: str, rng: random.Random) -> str:
    """A stock sentence in a customer's style; the place {} for a fact stays as it is.

    >>> styled("It's {}.", "shouting", random.Random(0))
    "IT'S {}!!"
    """
    if style == "brief":
        return sentence.rstrip(".!").lower()
    if style in ADDED:
        return f"{sentence} {rng.choice(ADDED[style])}"
    if style == "non_native":
        return re.sub(r"\b(is|the|my|that) ", "", sentence, count=1, flags=re.IGNORECASE)
    if style == "shouting":
        return sentence.rstrip(".!").upper() + "!!"
    return _mistyped(sentence, rng) if style == "typos" else sentence


def _mistyped(sentence: str, rng: random.Random) -> str:
    """Two letters change places in one of the longer words."""
    words = list(re.finditer(r"[A-Za-z]{5,}", sentence))
    if not words:
        return sentence
    at = rng.choice(words).start() + rng.randint(1, 3)
    return sentence[:at] + sentence[at + 1] + sentence[at] + sentence[at + 2 :]


class SimulatedCustomer:
    """A customer who follows a scenario; the seed chooses among wordings, never among facts.

    ``opening()`` is the first message, ``answer(turn)`` the next one to a turn with ``reply`` and ``asks``, or None when the
    customer says goodbye or has written 12 messages; ``gone`` says whether it was goodbye.
    """

    def __init__(self, scenario: Scenario, seed: int = 0):
        self.scenario, self.rng = scenario, random.Random(f"{scenario.id} {seed}")
        self.gone, self._messages = False, 0
        self._used: Counter[int] = Counter()  # of the scenario's answers
        self._told: set[str] = set()  # the slots that were asked for and told
        self._before: dict[str, str] = {}  # slot -> what was said last when it was asked for
        self._wish, self._then = self._shuffled(scenario.openings), list(scenario.then)
        self._wished = self._wish[0]

    def opening(self) -> str:
        """The first message."""
        self._messages = 1
        return self._wording() or self._wished

    def answer(self, turn: Any) -> str | None:
        """What the customer says to a turn of the agent; None ends the conversation."""
        if self.gone or self._messages >= LONGEST:
            return None
        reply, asks = str(getattr(turn, "reply", "")), getattr(turn, "asks", None)
        said = self._scripted(reply, asks) or self._reaction(reply, asks)
        self.gone = said is None
        self._messages += not self.gone
        return said

    def _scripted(self, reply: str, asks: str | None) -> str | None:
        """The first of the scenario's answers that fits and is not used up."""
        asked = ["confirm"] if asks_to_confirm(reply, asks) else asked_for(reply, asks)[:1]
        asked += ["wish"] if asks in WISHES else []
        new = any(slot not in self._told for one in asked for slot in self._known_as(one))  # the question comes first
        for number, answer in enumerate(self.scenario.answers):
            fits = (
                (answer.asks is None or answer.asks in asked)
                and (answer.if_ is None or re.search(answer.if_, reply, re.IGNORECASE))
                and not (new and answer.asks is None)
            )
            if fits and self._used[number] < answer.times:
                self._used[number] += 1
                self._told.update(asked)
                said, *others = self._shuffled(answer.say)
                if answer.asks:
                    self._before[answer.asks] = said
                else:  # what the customer goes on with
                    self._wish, self._wished = others, said
                return said
        return None

    def _reaction(self, reply: str, asks: str | None) -> str | None:
        """What any customer would say."""
        if asks in (None, "confirm") and (offer := _offer_of_a_person(reply)):
            if self.scenario.ends.handed_over:
                return self._stock(YES)
            if offer.endswith("?"):
                return self._stock(NO_PERSON)
        if asks_to_confirm(reply, asks):
            return self._stock(YES if self._means(reply) else NOT_THAT)
        if asks in WISHES and asks not in self.scenario.knows:
            return self._wording() or self._wished
        if asks is None and REPHRASE.search(reply) and not asked_for(reply):
            return self._wording() or self._next_wish()
        asked = asked_for(reply, asks)
        return self._tell(asked) if asked else self._next_wish()

    def _means(self, reply: str) -> bool:
        """Whether the orders that a question names are among those the customer could mean."""
        named = {number.upper() for number in ORDER_ID.findall(reply)}
        return not named or not self.scenario.orders or bool(named & self.scenario.orders)

    def _tell(self, asked: Sequence[str]) -> str:
        """The facts that were asked for, in words: those not told yet, and all again where none is left."""
        untold = [slot for slot in asked[1:] if slot not in self._told]
        wanted = [asked[0], *untold] if untold or asked[0] not in self._told else asked
        known = list(itertools.chain.from_iterable(map(self._known_as, wanted)))
        if not known:
            return self._before.get(asked[0]) or self._stock(UNKNOWN)
        if "email" in known:  # with one proof beside it; a customer does not recite all they know
            known = ["email", *[slot for slot in known if slot != "email"][:1]]
        if self.scenario.twist == "slow_to_tell":
            known = [slot for slot in known if slot not in self._told][:1] or known[:1]
        self._told.update(known)
        return " ".join(self._stock(STOCK.get(slot, ["{}"])).format(self.scenario.knows[slot]) for slot in known)

    def _known_as(self, slot: str) -> list[str]:
        """The slots of what the customer knows that answer a question for this one."""
        return [slot] if slot in self.scenario.knows else [s for s in ALSO.get(slot, ()) if s in self.scenario.knows]

    def _next_wish(self) -> str | None:
        if not self._then:
            return None
        self._wish = self._shuffled(self._then.pop(0))
        return self._wording()

    def _wording(self) -> str | None:
        """The next wording of the wish at hand, while there is one."""
        if not self._wish:
            return None
        self._wished = self._wish.pop(0)
        return self._wished

    def _stock(self, sentences: Sequence[str]) -> str:
        return styled(self.rng.choice(sentences), self.scenario.style, self.rng)

    def _shuffled(self, wordings: Sequence[str]) -> list[str]:
        return self.rng.sample(list(wordings), len(wordings))
