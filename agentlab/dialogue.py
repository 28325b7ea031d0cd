"""The state of a conversation: open wishes, slots that are remembered and corrected, and the question that was asked last.

Wishes are a stack: the last one is served first. A digression is a new wish on top; when it is served, the one below
goes on. What one message says is taken in by `State.hear`; nothing here calls a tool or a model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentlab.perceive import ASIDE, CURT, DROP, Percept, Sighting, Slot, choose_among, mentions
from agentlab.toolkit import ToolResult

CONFIRM, INTENT = "confirm", "intent"  # what may be asked for beside slots
OUT_OF_SCOPE, NOTHING, DROPPED, MORE = "out_of_scope", "nothing", "dropped", "more"
REQUEST = re.compile(r"\?|\b(?:i want|i need|i(?:'d| would) like|can you|could you)\b", re.IGNORECASE)
LONG = 20  # letters of a message that says something of its own; shorter ones answer many questions
NUMBERS = {  # above ten, where a word is a house number or a sum; smaller ones are also said of pieces ("yes, both of the two")
    **{w: n for n, w in enumerate("eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split(), 11)},
    **{w: 10 * n for n, w in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)},
}  # fmt: skip
INSTEAD = re.compile(r"\b(?:then|instead|rather|in that case|please)\b", re.IGNORECASE)
KEEP = re.compile(r"\b(?:don'?t|do not|never|keep|leave|thanks|thank you|stop|later|not now)\b", re.IGNORECASE)


WHAT_ABOUT = re.compile(r"(?:\b(?:what|how) about|\band the) ([^.?!]{1,40})\?", re.IGNORECASE)


@dataclass
class Happened:
    """A call that was made for a wish, until the planner has looked at it."""

    tool: str
    arguments: dict[str, Any]
    result: ToolResult
    rehearsal: bool = False


@dataclass
class Wish:
    """Something that the customer wants: its intent, the slots of its own, and how far it is.

    ``pending`` is the WRITE that was read back, ``consent`` the one to which the customer then said yes, ``plan`` the call
    that a language model chose, ``filled`` the slots that the agent filled in by itself.
    """

    intent: str
    slots: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    confidence: float = 1.0
    others: tuple[tuple[str, float], ...] = ()
    results: dict[str, Any] = field(default_factory=dict)
    happened: Happened | None = None
    asked: Counter = field(default_factory=Counter)
    unknown: set[str] = field(default_factory=set)
    excluded: set[str] = field(default_factory=set)
    other: bool = False
    pending: dict[str, Any] | None = None
    declined: dict[str, Any] | None = None  # the WRITE that the last message said no to
    consent: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    filled: set[str] = field(default_factory=set)
    newest: str = ""
    offered: dict[str, dict[str, Any]] = field(default_factory=dict)  # what was offered for a slot: label to value
    person: Any = None  # the `HandOver` that this wish calls for, once what was wished beside it is served
    read_back: str = ""  # the facts with which the pending WRITE was read back

    def agrees_with(self, text: str) -> bool:
        """Whether a yes names no other number or choice than what was read back: "yes, number 6" is no yes to number 9."""
        if any(value != self.slots.get(slot) for slot, value in self.chosen_again(text).items()):
            return False
        named = re.findall(r"\d+", text) + [
            str(NUMBERS[w]) for w in re.findall(r"[a-z]+", text.lower()) if w in NUMBERS
        ]
        return all(n in self.read_back for n in named)

    def chosen_again(self, text: str) -> dict[str, Any]:
        """What a text chooses among all that was offered before, slot to value; the last sentence that chooses counts."""
        found = {}
        for slot, choices in self.offered.items():
            for sentence in reversed(re.split(r"(?<=[.!?])\s+", text)):
                chosen, value = choose_among(sentence, choices) if len(choices) > 1 else (False, None)
                if chosen:
                    found[slot] = value
                    break
        return found

    def met(self, text: str) -> bool:
        """Whether a word of a text, of four letters or more, stands in what was looked up for this wish."""
        seen = " ".join(_texts_in(self.results)).lower()
        return any(re.search(rf"\b{re.escape(w)}\b", seen) for w in re.findall(r"[^\W\d_]{4,}", text.lower()))

    def revise(self, text: str) -> None:
        """No, but something else: what the agent had filled in by itself is filled in anew, by the newest words."""
        for name in self.filled:
            self.slots.pop(name, None)
        self.filled.clear()
        self.newest = text
        self.happened = self.pending = self.consent = self.plan = None
        for slot, value in self.chosen_again(text).items():
            self.learn(slot, value)

    def learn(self, slot: str, value: Any) -> bool:
        """Take in a value; where it corrects another, what was looked up and read back no longer holds."""
        before = self.slots.get(slot)
        if before == value:
            return False
        self.slots[slot] = value
        if before is not None:
            self.results.clear()
            self.happened = self.pending = self.consent = self.plan = None
        return True


def bare(text: str) -> str:
    """A text without anything but its letters and digits, to be compared.

    >>> bare("W-204 17!")
    'w20417'
    """
    return re.sub(r"\W", "", text).lower()


def _texts_in(value: Any) -> Iterable[str]:
    """All texts that a tool's result holds, its keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_in(part)


@dataclass
class State:
    """What is known in a conversation. ``related`` says which intents are part of another; ``general`` ones need no slots."""

    slot_types: Mapping[str, Slot] = field(default_factory=dict)
    related: Mapping[str, Iterable[str]] = field(default_factory=dict)
    general: frozenset[str] = frozenset()
    small_talk: frozenset[str] = frozenset()
    proofs: frozenset[str] = frozenset()
    sure: float = 0.7

    slots: dict[str, Any] = field(default_factory=dict)
    wishes: list[Wish] = field(default_factory=list)
    last: Wish | None = None
    asks: str | None = None
    choices: dict[str, Any] = field(default_factory=dict)
    offer: str = ""
    refused: bool = False  # whether the last wish was
    firm: bool = False  # whether the last thing that was decided was a refusal
    verified: bool = False
    verifying: bool = False
    tried: list[dict] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    repeats: int = 0  # how often the last message, if it answers nothing, was sent before word for word
    heard: dict[str, Any] = field(default_factory=dict)
    done: list[dict] = field(default_factory=list)
    stands: dict[Any, dict] = field(default_factory=dict)  # what was told of a thing before a rule refused it
    handed_over: set[str] = field(default_factory=set)
    misunderstood: int = 0
    stuck: int = 0
    sorry: bool = False

    @property
    def top(self) -> Wish | None:
        return self.wishes[-1] if self.wishes else None

    def add(self, *wishes: Wish) -> None:
        """Put wishes on the stack so that the first is served first."""
        self.wishes += reversed(wishes)

    def finish(self) -> None:
        """The wish on top is served."""
        self.last = self.wishes.pop()

    def goes_nowhere(self, slot: str, has_choices: bool) -> bool:
        """Whether a question that was asked before should not be asked again before it is clear what the customer wants.

        Who cannot answer it, or says the same again, may want something else. Proofs of who they are do not count unless the
        same is said again, nor does a choice that is new.
        """
        top = self.top
        if slot == INTENT or top.asked[INTENT]:
            return False
        if self.repeats:
            return True
        if slot in self.proofs:
            return False
        return top.asked[slot] > 1 or (top.asked[slot] > 0 and slot in top.unknown and not has_choices)

    def put_last(self, wants: Callable[[Wish], bool], decision: Any, said: str, about: Sequence[str] = ()) -> bool:
        """Let the wishes of a message that call for a person wait for its others; False where there are no others.

        ``about`` are intents of which one becomes such a wish where none was seen.
        """
        new = [w for w in self.wishes if w.text and bare(w.text)[-20:] in bare(said) and not w.asked and not w.results]
        mine = [w for w in new if wants(w)]
        others = [w for w in new if w not in mine and w.confidence >= self.sure and w.intent not in self.small_talk]
        if not others or not (mine or about):
            return False
        mine = mine or [Wish(about[0], text=said)]
        self.wishes = [*mine, *(w for w in self.wishes if not any(w is m for m in mine))]
        for wish in mine:
            wish.person = decision
        return True

    # --- hearing ---

    def hear(self, percept: Percept) -> None:
        """Take in what a message says: an answer to the question, values, a yes to what was read back, new wishes."""
        self.said.append(percept.text)
        self.heard = {}
        top, before = self.top, self._snapshot()
        if top:
            top.declined = None
        filled = (self._answered(percept) or self._corrects(percept, top)) if top else False
        if top and top.declined:
            percept = self._with_what_instead(top.declined, percept)
        again = sum(bare(text) == bare(percept.text) for text in self.said[:-1])
        self.repeats = again if not filled and len(bare(percept.text)) >= LONG else 0
        if top and self.asks == INTENT and not filled and self.top is top and percept.words and percept.sightings:
            filled, top = True, self._said_again(percept, top)
        fresh = self._wishes_in(percept, filled)
        self._remember(percept, top if top in self.wishes and not fresh else None)
        unclear = fresh and top and self._misheard(fresh[0], percept, top)
        if unclear and self.wishes and self.wishes[-1] is top:
            self.wishes.pop()  # what was unclear has been said in other words
        self._push(fresh, percept)
        if not self.wishes:
            self.wishes.append(self._small(percept))
        self.stuck = 0 if self._snapshot() != before or filled else self.stuck + 1
        self.firm = self.refused or self.firm
        self.asks, self.choices, self.offer, self.verifying, self.refused = None, {}, "", False, False

    def _said_again(self, percept: Percept, top: Wish) -> Wish:
        """A wish that was unclear, said in other words: both wordings speak, the first less where it led nowhere."""
        seen, weight = percept.sightings[0], 1.0 if self.choices else 0.3
        scores = Counter({name: weight * p for name, p in ((top.intent, top.confidence), *top.others)})
        for name, p in ((seen.intent, seen.confidence), *((n, p) for n, p in percept.others if n != seen.intent)):
            scores[name] += p
        if self.repeats and len(scores) > 1:
            del scores[top.intent]  # the same words: what they were taken for is not it
        intent, score = max(((n, p) for n, p in scores.items() if n not in self.small_talk), key=lambda row: row[1], default=(top.intent, top.confidence))  # fmt: skip
        if intent == top.intent:
            top.confidence, top.newest = min(1.0, max(top.confidence, score)), percept.text
            return top
        kept = {k: v for k, v in top.slots.items() if self.slot_types.get(k, Slot(k)).shared}
        self.wishes[-1] = Wish(intent, kept, percept.text, min(1.0, score), percept.others, asked=Counter({INTENT: top.asked[INTENT]}))  # fmt: skip
        return self.wishes[-1]

    def _snapshot(self) -> tuple:
        return len(self.wishes), str([(w.intent, w.slots, w.consent, w.unknown) for w in self.wishes]), str(self.slots)

    def _answered(self, percept: Percept) -> bool:
        """Whether the message answers what was asked last; takes the answer in."""
        top = self.top
        chooses = bool(self.choices) and not DROP.search(percept.text) and choose_among(percept.text, self.choices)[0]
        if percept.drop and percept.answer != "yes" and not chooses:
            same = any(s.intent == top.intent and s.confidence >= self.sure for s in percept.sightings)
            if (percept.words > 5 and same) or self._changes(top, percept):
                top.revise(percept.text)  # not that one, but this one
            else:
                self._drop()
            return True
        if top.pending and self._decided(top, percept):
            return True
        if self.asks in (None, CONFIRM):
            return False
        return self._filled(top, percept)

    def _corrects(self, percept: Percept, top: Wish) -> bool:
        """Whether a message gives another value for what the wish on top knows already."""
        own = {k: v for k, v in percept.slots.items() if k in top.slots and top.slots[k] != v}
        return bool(own) and self.asks is not None and "?" not in percept.text

    def _decided(self, top: Wish, percept: Percept) -> bool:
        """A yes or no to what was read back; both also count later, as long as nothing else was asked."""
        if self.asks not in (None, CONFIRM):
            return False
        corrects = self._changes(top, percept)
        named = top.pending["arguments"]
        restated = bool(percept.slots) and all(named.get(k) == v for k, v in percept.slots.items())  # "yes, just one"
        if percept.answer == "yes" and (restated or not percept.hedged) and not corrects:
            if top.agrees_with(percept.text):
                top.consent = top.pending
                return True
            if top.chosen_again(percept.text):  # "yes, the black one", and another was read back
                top.revise(percept.text)
                return True
        other = percept.other and percept.words < 3 and not percept.slots
        if percept.answer == "no" and not other:
            if not corrects and (
                percept.words < 2
                or percept.drop
                or DROP.search(percept.text)
                or (percept.alarm is None and KEEP.search(percept.text))
            ):
                self._drop()
            else:
                top.declined = top.pending
                top.revise(percept.text)
            return True
        if percept.answer == "yes" and percept.words <= CURT and not percept.slots and "?" not in percept.text:
            top.revise(percept.text)  # "yes, just one of them": the same, with something else about it
            return True
        if other:
            self._other(top)
            return True
        again = percept.words > 2 and any(
            not self._is_stranger(s, top) and s.confidence >= 0.5 for s in percept.sightings
        )
        if (
            not percept.answer
            and percept.words > 1
            and not corrects
            and (again or "?" not in percept.text)
            and self._is_quiet(percept, top)
        ):
            top.revise(percept.text)  # "could you take yellow instead?"
            return True
        return False

    def _changes(self, top: Wish, percept: Percept) -> bool:
        """Whether a message holds another value for what was read back."""
        known = top.pending["arguments"] if top.pending else {}
        return any(k in percept.slots and percept.slots[k] != v for k, v in known.items())

    def _with_what_instead(self, declined: Mapping[str, Any], percept: Percept) -> Percept:
        """With the one other order or the like that a refusal names: "wrong number! W20924 it is, the kettles in W20954 I do want"."""
        instead = {}
        for name, value in declined["arguments"].items():
            slot = self.slot_types.get(name)
            others = {v for v, _ in mentions(percept.text, slot)} - {value} if slot and slot.pattern else set()
            if len(others) == 1:
                instead[name] = others.pop()
        return replace(percept, slots=percept.slots | instead) if instead else percept

    def _drop(self) -> None:
        self.last = self.wishes.pop()
        self.wishes.append(Wish(DROPPED))

    def _other(self, top: Wish) -> None:
        """ "The other one": not the order that was meant so far."""
        shared = {k: v for k, v in top.slots.items() if self.slot_types.get(k, Slot(k)).shared}
        top.excluded |= set(shared.values())
        for name in shared:
            del top.slots[name]
            self.slots.pop(name, None)
        top.results.clear()
        top.pending = top.consent = top.happened = None

    def _filled(self, top: Wish, percept: Percept) -> bool:
        slot = self.slot_types.get(self.asks)
        if self.asks in percept.slots or (self.verifying and percept.slots.keys() & self.proofs):
            top.newest = percept.text if percept.words > 1 else top.newest
            return True
        chosen, value = choose_among(percept.text, self.choices)
        if not chosen and len(self.choices) == 1 and percept.answer == "yes":
            chosen, value = True, next(iter(self.choices.values()))
        if chosen and self.asks == INTENT:
            self.wishes[-1] = Wish(value, top.slots, top.text, 1.0)
            return True
        if not chosen and slot and percept.answer in ("yes", "no"):
            value = slot.yes if percept.answer == "yes" else slot.no
            chosen = value is not None
        unclear = percept.words > 0 and "?" not in percept.text and not percept.slots and self._is_quiet(percept, top)
        if not chosen and (percept.answer == "unknown" or (unclear and slot is not None and slot.default is not None)):
            top.unknown.add(self.asks)
            chosen, value = slot is not None and slot.default is not None, slot.default if slot else None
            if not chosen:
                return True
        if not chosen and percept.words:
            top.newest = percept.text
        if chosen:
            top.learn(self.asks, value)
            self._share(self.asks, value)
        return chosen

    def _is_quiet(self, percept: Percept, top: Wish) -> bool:
        """Whether a message begins nothing new, so that it is meant as an answer."""
        return all(
            s.confidence < 0.9 or not self._is_stranger(s, top) or s.intent in self.small_talk
            for s in percept.sightings
        )

    def _share(self, name: str, value: Any) -> None:
        if name in self.slot_types and self.slot_types[name].shared:
            self.slots.pop(name, None)  # the newest stands last
            self.slots[name] = value

    def _remember(self, percept: Percept, wish: Wish | None) -> None:
        """Keep the values of a message: shared ones for the conversation, all for the wish that is open."""
        self.heard = dict(percept.slots)
        for name, values in percept.denied.items():
            if self.slots.get(name) in values:
                del self.slots[name]
        for name, value in percept.slots.items():
            self._share(name, value)
            failed = wish is not None and any(wish.slots.get(name) == t.get(name) for t in self.tried)
            proves = (
                self.verifying
                and not self.verified
                and wish is not None
                and name in wish.slots
                and not percept.denied
                and not failed
            )
            if wish is not None and not proves:
                wish.learn(name, value)
        if wish is not None:
            wish.other = wish.other or percept.other

    # --- new wishes ---

    def _wishes_in(self, percept: Percept, filled: bool) -> list[Sighting]:
        """The sightings that begin a wish of their own."""
        if not percept.in_scope and percept.scope < 0.5 and not filled and not percept.slots:
            return [Sighting(OUT_OF_SCOPE, 1 - percept.scope, percept.text)] if percept.words > 1 else []
        dropped = percept.drop or DROP.search(percept.text)
        if (dropped or percept.answer == "no") and not REQUEST.search(DROP.sub(" ", percept.text)):
            free = self.top is None or self.top.intent == DROPPED
            surely = [s for s in percept.sightings if free and s.confidence >= 0.9]
            if filled and self.top is not None and self.top.declined and percept.words > 5:
                instead = [s for s in percept.sightings if s.confidence >= 0.9 and s.intent not in (self.top.intent, *self.small_talk)]  # fmt: skip
                if instead:  # "no, only one strap of it": another wish in place of the one that was read back
                    self.last = self.wishes.pop()
                    return instead[:1]
            if percept.words < 6 or (filled and not dropped):  # after a refusal: "not that, then cancel it"
                instead = self.refused and not DROP.search(percept.text) and INSTEAD.search(percept.text)
                return [s for s in surely if instead and self._is_another(s)]
            return surely
        fresh = [s for s in percept.sightings if self._is_new(s, percept, filled)]
        return [] if self._goes_on(percept, fresh) else fresh

    def _goes_on(self, percept: Percept, fresh: list[Sighting]) -> bool:
        """Whether a message goes on with the wish that was refused last: other values for it, or "and the moss one?"."""
        last = self.last
        if not self.refused or last is None or self.wishes or ASIDE.search(percept.text):
            return False
        what = WHAT_ABOUT.search(percept.text)
        elliptic = what is not None and last.met(what[1])  # "and the cable?" says nothing of its own
        if percept.drop and not elliptic:
            return False
        asks = re.search(
            r"\b(?:then|instead|in that case|what about|how about|take|and the|and if|or the|it is|will do|at least)\b",
            percept.text,
            re.IGNORECASE,
        )
        asks = asks and (percept.words <= 4 or any(s.intent not in self.general for s in fresh))
        if elliptic:
            asks, fresh = what, []
        surely = [s for s in fresh if self._is_another(s) and (percept.words > 3 or self._is_stranger(s, last))]
        own = {k for k in percept.slots if k in last.slots and not self.slot_types.get(k, Slot(k)).shared}
        if not surely and (own or asks):
            kept = {k: v for k, v in last.slots.items() if k not in last.filled}
            again = Wish(last.intent, kept | percept.slots, last.text, newest=percept.text)
            again.slots.setdefault("order_id", last.slots["order_id"]) if "order_id" in last.slots else None
            self.wishes.append(again)
            return True
        return False

    def _is_another(self, seen: Sighting) -> bool:
        """Whether a sighting is surely another wish than the last one; of one that is part of it more is needed."""
        last = self.last
        if last is None or seen.intent == last.intent or seen.intent in self.small_talk:
            return False
        return seen.confidence >= (self.sure if self._is_stranger(seen, last) else 0.9)

    def _is_new(self, seen: Sighting, percept: Percept, filled: bool) -> bool:
        top = self.top
        if seen.intent in self.small_talk:
            return False
        waiting = top is not None and top.intent != DROPPED
        if percept.words < 1:
            return False
        if waiting and (filled or percept.slots.keys() & {self.asks}):
            return (
                percept.words >= 4 and seen.confidence >= 0.9 and self._is_stranger(seen, top) and "?" in percept.text
            )
        if waiting and self._misheard(seen, percept, top):
            return True
        asks = "?" in percept.text or REQUEST.search(percept.text)
        if top is None and self.done and not asks and percept.words <= 4 and seen.confidence < 0.5:
            return False  # "an estimate is fine": a word on what was done
        if top is None and self.firm and not asks and not self._names_one(percept.slots) and seen.confidence < 0.8:
            return False  # "fine, I am asking my neighbours till then": a word on what was refused
        if waiting and (seen.confidence < (self.sure if not self.asks else 0.9 if asks else 0.97) or percept.drop):
            return False
        if waiting and seen.intent == top.intent:
            return False  # said again, or with another value: that corrects the wish that is open
        return not (waiting and self.asks and not self._is_stranger(seen, top))

    def _names_one(self, slots: Mapping[str, Any]) -> bool:
        """Whether slots hold an order or the like."""
        return any(self.slot_types.get(name, Slot(name)).shared for name in slots)

    def _misheard(self, seen: Sighting, percept: Percept, top: Wish) -> bool:
        """Whether a message that answers nothing, twice, shows that another wish is meant than the one on top."""
        return (
            self.asks is not None
            and top.asked[self.asks] > 1
            and not (percept.answer or percept.slots or percept.drop)
            and percept.words > 3
            and seen.confidence >= (0.5 if "?" in percept.text else 0.8)
            and seen.intent != top.intent
        )

    def _is_stranger(self, seen: Sighting, top: Wish) -> bool:
        pair = seen.intent in self.related.get(top.intent, ()) or top.intent in self.related.get(seen.intent, ())
        return seen.intent != top.intent and not pair

    def _push(self, fresh: list[Sighting], percept: Percept) -> None:
        wishes = [
            Wish(s.intent, dict(s.slots), s.text, s.confidence, percept.others, other=percept.other) for s in fresh
        ]
        for wish in wishes:
            wish.slots = self._what_was_refused(wish) | wish.slots
        if wishes:  # what no part holds belongs to the first
            elsewhere = {k for w in wishes[1:] for k in w.slots}
            own = {k: v for k, v in percept.slots.items() if k not in elsewhere}
            wishes[0].slots = own | wishes[0].slots
        self.add(*sorted(wishes, key=lambda w: w.intent not in self.general))

    def _what_was_refused(self, wish: Wish) -> dict[str, Any]:
        """What a wish in place of one that was refused keeps of it: the order, the item, why."""
        last = self.last
        named = any(slot.shared and name in wish.slots for name, slot in self.slot_types.items())
        if not self.refused or last is None or named or last.intent not in self.related.get(wish.intent, ()):
            return {}
        return {k: v for k, v in last.slots.items() if k not in last.filled and k not in wish.slots}

    def _small(self, percept: Percept) -> Wish:
        """The wish of a message that holds none: a yes to an offer, a further value for the last wish, or small talk."""
        if percept.answer == "yes" and self.offer and not percept.hedged:
            kept = dict(self.last.slots) if self.last else {}
            return Wish(self.offer, kept | percept.slots, self.last.text if self.last else "")
        if percept.slots and self.last and percept.answer != "no":
            kept = {k: v for k, v in self.last.slots.items() if k not in percept.slots} if not percept.slots.keys() & self.slot_types.keys() else {}  # fmt: skip
            return Wish(self.last.intent, kept | percept.slots, percept.text)
        if percept.answer:
            return Wish(NOTHING if percept.answer == "no" else MORE)
        small = [
            s
            for s in percept.sightings
            if s.intent in self.small_talk and s.confidence >= 0.5 and re.search(r"[^\W\d_]{2}", percept.text)
        ]
        return Wish(small[0].intent if small else MORE, dict(percept.slots), percept.text)
