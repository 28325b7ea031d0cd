"""From a message to a percept: intents, values for slots, yes or no, mood. Models where they are sure, rules for shapes.

Slots are data: a pattern (an order number, an e-mail address) or words for each value (``faulty: broke|dead``). What a slot
is called and how it looks belongs to the domain; this module knows only how to read it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

LONGEST_READ = 3000  # characters of a message that are read; the rest is kept, and not looked at
SEGMENT = re.compile(
    r"(?<=\w\w\w\.)\s+|(?<=[!?;])\s+|\n+|;\s*|,?\s+(?:and also|and then|and|also|plus|then|oh and|by the way|btw)[\s,]+|,\s+(?=(?:what|where|how|when|can|could|do|does|is)\b)",
    re.IGNORECASE,
)
STRONG_YES = r"(?:yes|yep|yeah|yup|ja|oui|si|y|yess+|aye|go ahead|do it|do that|please do|confirm(?:ed)?|i confirm|absolutely|definitely|of course|correct|that is correct|that'?s correct|proceed)"
WEAK_YES = r"(?:ok|okay|okey|k|sure|fine|right|alright|all right|sounds good|good|great|perfect|please|that'?s right|that'?s fine|agreed|exactly)"
NO = r"(?:no|nope|nah|nein|non|n|no way|not really|don'?t|do not|please don'?t|stop)"
HEDGE = re.compile(
    r"\b(?:but|however|wait|except|unless|only if|if|don'?t|do not|not|first|before|instead|actually|rather|hold on|maybe|perhaps|cancel that|without|though|although)\b|\?.*\b(?:first|before)\b",
    re.IGNORECASE,
)
DROP = re.compile(
    r"\b(?:never ?mind|forget (?:it|that|about (?:it|that)|this)|leave it(?: (?:be|as it is|then))?[.! ]*$|(?:leave|keep) (?:it|them|everything) (?:as|like|how|the way) (?:it|they) (?:is|are)|don'?t bother|scrap that|doesn'?t matter|^no (?:return|exchange|refund|cancell?ation|repair)\b|(?:do not|don'?t) (?:wish|want) to (?:return|cancel|exchange|send) (?:it|them|that|anything)\b|(?:leave|keep) (?:everything|that|this|it|them)\b(?: as (?:it|they) (?:is|are))?|(?:i'?m|i am|i'?ll|i will) (?:keep(?:ing)?|leave|leaving) (?:it|that|them|everything)|(?:was|were) (?:only|just) asking|drop it|let it be|no longer needed|i changed my mind about that|(?:keep|leave) (?:the|my) order(?: (?:as it is|alone))?|don'?t (?:do|cancel|return|change|send) (?:it|that|anything))\b",
    re.IGNORECASE,
)
UNKNOWN = re.compile(
    r"\b(?:(?:i )?(?:do not|don'?t|dont|can'?t|cannot|not) (?:know|have (?:it|that|one|(?:the |a |any |my )?(?:order )?number)|remember|recall|tell|find (?:it|that|the number))|no (?:order )?number|no idea|not sure|dunno|idk|i have none|forgot (?:it|that|the number))\b",
    re.IGNORECASE,
)
OTHER = re.compile(
    r"\b(?:the )?other (?:one|order|item|parcel)s?\b|\b(?:a |the )different (?:one|order)\b", re.IGNORECASE
)
NEGATED = re.compile(
    r"\b(?:not|\w+n['’]?t|nothing(?: is)?|never|neither|rather than)\s+(?:really |actually |at all |been |even |a |an |the )?$",
    re.IGNORECASE,
)
DENIED = re.compile(
    r"\b(?:not|instead of|rather than|no longer|keep(?:ing)?)\s+(?:the |a |my )?\w+(?: gold| grey| gray| blue| green| red)?|\b\w+ (?:one )?(?:stays|is fine|can stay|I(?:['’]ll| will)? keep)\b",
    re.IGNORECASE,
)
NOT_THAT = re.compile(
    r"\b(?:not|instead of|rather than|wasn'?t|isn'?t)\s+(?:for |the |order |number |#)*$", re.IGNORECASE
)
TAKEN_BACK = re.compile(  # W20723, no wait, W20732
    r"(?:[^\W\d]+[ :#]+){0,3}\S+?[\s,.;:–—-]*\b(?:no[,.]? wait|wait[,.]? no|no[,.]? sorry|sorry[,.]? (?:no|i mean\w*)|i meant?|correction|oops|scratch that)\b",
    re.IGNORECASE,
)
ORDINALS = {"first": 0, "second": 1, "third": 2, "fourth": 3, "1st": 0, "2nd": 1, "3rd": 2, "former": 0, "latter": -1}
NUMBERS = {word: str(n) for n, word in enumerate("zero one two three four five six seven eight nine ten".split())}
WORD = re.compile(r"\w+(?:['’]\w+)?")
BARE = {"yes": "yes", "y": "yes", "no": "no", "n": "no"}  # needs no model
CURT = 8  # words of an answer to a question, in which the words of a value count more than a model
OPENING = "opening"
TOLD, AGREED, UNDER = 0.85, 0.8, 0.5  # how sure a reader of turns must be: of a value, of a yes, of a but
LIKELY, ASKING = 0.1, 0.88  # of a part's intent: in the whole message, or else in the part, if it asks
ASIDE = re.compile(
    r"\b(?:by the way|btw|another (?:thing|question)|something else|one more (?:thing|question))\b", re.IGNORECASE
)
MOST_PARTS = 6  # of a message that are read by themselves
QUESTION = 0.65  # of the intent of a part that is a question
REQUESTS = re.compile(
    r"\?\s*$|\b(?:i|we)(?:['’]d| would|(?: only| just| really| also)? (?:wish|want|need|think))\b|\b(?:can|could|may|will|would|shall) (?:you|u|i|we|it|they)\b|\b(?:please|pls|plz|kindly) \w|\btell me\b|\bhow (?:do|does|can)\b",
    re.IGNORECASE,
)
ALARMED = 0.85  # of an alarm; where it is less sure, words are looked at as well
CALM = 0.9  # how sure it must be that there is no alarm, for words not to be looked at as well


@dataclass(frozen=True)
class Sighting:
    """An intent seen in a message or a part of it, how sure that is (0 to 1), and the part's words and slots."""

    intent: str
    confidence: float
    text: str
    slots: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Percept:
    """What a message says, as far as it can be read without knowing what was said before.

    ``answer`` is yes, no, unknown ("I don't know") or empty; ``hedged`` marks a yes with a but. ``denied`` are values that
    were called wrong ("not W20581"). ``alarm`` is what must go to a person (danger, legal), empty for nothing, None where nobody
    looked or it is not sure. ``words`` counts the words beside slots and filler.
    """

    text: str
    sightings: tuple[Sighting, ...] = ()
    others: tuple[tuple[str, float], ...] = ()
    scope: float = 1.0
    in_scope: bool = True
    slots: dict[str, Any] = field(default_factory=dict)
    denied: dict[str, list] = field(default_factory=dict)
    answer: str = ""
    hedged: bool = False
    drop: bool = False
    other: bool = False
    alarm: str | None = None
    sentiment: float = 0.0
    words: int = 0
    ms: float = 0.0

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Percept:
        seen = tuple(Sighting(**s) for s in data["sightings"])
        return cls(**dict(data) | {"sightings": seen, "others": tuple(tuple(o) for o in data["others"])})


@dataclass(frozen=True)
class Slot:
    """Something that a wish needs to know.

    ``pattern`` finds its value by shape (group 1, or the whole match); ``values`` by words, value to pattern; ``told`` by
    what a reader of turns makes of the message, its value to that of the slot. ``shared``
    slots hold for the whole conversation. ``ask`` holds the facts of the question; ``yes`` and ``no`` are the values that a
    bare yes or no stands for. ``default`` is taken when the customer does not know. A ``shy`` slot is only read where
    it was asked for, or where its ``cue`` stands in the message.
    """

    name: str
    pattern: str = ""
    values: dict[Any, str] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    sure: float = 0.85  # of what was told without being asked for
    prefix: str = ""
    upper: bool = False
    span: str = ""
    shared: bool = False
    shy: bool = False
    cue: str = ""
    ask: dict[str, Any] = field(default_factory=dict)
    yes: Any = None
    no: Any = None
    default: Any = None

    def spell(self, text: str) -> str:
        """A value as the tools spell it: without spaces and marks around it, with its prefix."""
        value = text.strip(" \t\n.,;:!?'\"()<>")
        if self.upper:
            value = re.sub(r"[\s#]", "", value).upper() if self.prefix else value.upper()
        return self.prefix + value if self.prefix and not value.startswith(self.prefix) else value


def read_slots(
    text: str, slots: Mapping[str, Slot], asked: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, list]]:
    """Values by slot, and values that the text calls wrong ("not W20581"). The last of several values stands."""
    found: dict[str, Any] = {}
    denied: dict[str, list] = {}
    for name, slot in slots.items():
        if slot.shy and name not in asked and not (slot.cue and re.search(slot.cue, text, re.IGNORECASE)):
            continue
        for value, start in mentions(text, slot):
            called_wrong = NOT_THAT.search(text[:start]) or TAKEN_BACK.match(text[start:])
            if called_wrong and slot.pattern:
                denied.setdefault(name, []).append(value)
            else:
                found[name] = value
        if found.get(name) in denied.get(name, []):
            found.pop(name)
    return found, denied


def mentions(text: str, slot: Slot) -> list[tuple[Any, int]]:
    """Each value of a slot in a text with its place."""
    if slot.pattern:
        hits = _compiled(slot.pattern).finditer(text)
        return [(slot.spell(next((g for g in h.groups() if g), h[0])), h.start()) for h in hits]
    hits = [(value, _compiled(words).search(text)) for value, words in slot.values.items()]
    first = [(value, hit.start()) for value, hit in hits if hit and not NEGATED.search(text[: hit.start()])]
    return first[:1]


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern:
    return re.compile(pattern, re.IGNORECASE)


# --- yes and no ----------------------------------------------------------------------------------------------


def read_answer(text: str) -> tuple[str, bool]:
    """Yes, no, unknown or nothing, and whether a yes is hedged ("yes but ...").

    >>> read_answer("Yes, please go ahead."), read_answer("yes but to another address"), read_answer("no, the other one")
    (('yes', False), ('yes', True), ('no', False))
    >>> read_answer("ok how long does it take?"), read_answer("I want a refund")
    (('', False), ('', False))
    """
    plain = text.strip().strip("*_\"'“”‘’ ").replace("’", "'")
    if UNKNOWN.search(plain) and len(plain) < 120:
        return "unknown", False
    if match := re.match(
        rf"(?:(?:oh|well|um|uh|hmm|and|so|please)[, ]+)*{STRONG_YES}\b(?!\s*\?)", plain, re.IGNORECASE
    ):
        return "yes", bool(HEDGE.search(plain[match.end() :]))
    if re.match(rf"(?:(?:oh|well|um|uh|hmm+|and|so|wait|hold on|sorry)[,.! ]+)*{NO}\b", plain, re.IGNORECASE):
        return "no", False
    if match := re.match(rf"{WEAK_YES}\b", plain, re.IGNORECASE):
        rest = plain[match.end() :]
        if re.search(rf"\b{STRONG_YES}\b", rest, re.IGNORECASE) or len(WORD.findall(rest)) <= 2:
            return ("", False) if "?" in rest else ("yes", bool(HEDGE.search(rest)))
    return "", False


# --- the whole message ---------------------------------------------------------------------------------------


def clean(text: object) -> str:
    """Any input as a text that models and tools can take: no control characters, no lone surrogates.

    >>> clean("a\\x00b\\ud800")
    'ab'
    """
    kept = (c for c in str(text) if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    return unicodedata.normalize("NFC", "".join(kept)).strip()


SPELT = re.compile(r"\b(?:[^\W\d_][-.]){3,}[^\W\d_]\b")  # c-a-n-c-e-l
LEET = re.compile(r"\b(?!\d+(?:st|nd|rd|th)\b)(?=[a-z0-9@$]*[a-z])(?=[a-z0-9@$]*[0134@$])[a-z0-9@$]{3,}\b")
LETTERS = str.maketrans("0134@$", "oieaas")


def unspaced(text: str) -> str:
    """A text that was written letter by letter, or with digits for letters, with its words made readable again.

    >>> unspaced("c a n c e l  W 2 0 4 0 4"), unspaced("C-A-N-C-E-L th3 0rd3r W20404"), unspaced("a b or c")
    ('cancel W20404', 'CANCEL the order W20404', 'a b or c')
    """
    text = SPELT.sub(lambda m: re.sub(r"[-.]", "", m[0]), text)
    if len(LEET.findall(text)) > 1:
        text = LEET.sub(lambda m: m[0].translate(LETTERS), text)
    letters = text.split()
    if len(letters) < 8 or sum(len(x) == 1 for x in letters) < 0.8 * len(letters):
        return text
    return " ".join("".join(word.split()) for word in re.split(r"\s{2,}", text))


MARKUP = re.compile(  # nobody talks like that: it is not read
    r"<(\w+)[^<>]*>.*?</\1>|<!--.*?-->|\[\[.*?\]\]|###.*?###(?:\s*(?:assistant|system|user|tool)\s*:.*)?",
    re.DOTALL | re.IGNORECASE,
)


FILLER = frozenset(
    "my e-mail email mail address order number no nr id postcode postal post code zip is it its it's was the a an and or of for to sure "
    "here you go i i'm im me this that that's thats please thanks thank hi hello yes no ok okay account with under from on in name "
    "sorry ah oh well then meant mean not should be would one have have got as by at there we so just only".split()
)


def content_words(text: str, slots: Mapping[str, Any]) -> int:
    """How many words a message has beside the values of slots and filler such as "my e-mail is"."""
    for value in slots.values():
        if isinstance(value, str):
            text = re.sub(re.escape(value), " ", text, flags=re.IGNORECASE)
    text = re.sub(r"\S+@\S+", " ", text)
    return sum(w.lower() not in FILLER and not w.isdigit() for w in WORD.findall(text))


def segments(text: str) -> list[str]:
    """A message in parts that could each hold a wish; those of one or two words are joined to what stands before.

    >>> segments("cancel W20404 please, and where is W20417?")
    ['cancel W20404 please', 'where is W20417?']
    """
    parts: list[str] = []
    for part in filter(None, (p and p.strip(" ,") for p in SEGMENT.split(text))):
        if parts and len(WORD.findall(part)) < 3:
            parts[-1] += f" {part}"
        else:
            parts.append(part)
    return parts


class Perceiver:
    """Reads messages: an understanding (texts to objects with intent, confidence, scope, in_scope, spans, others) and slots.

    ``implied`` says which intents are part of
    another ("return it and get my money back" is one wish). ``read`` may find further slots in a message. ``turns`` reads yes
    and no after a kind of question (``questions`` gives it for what was asked); without it patterns do.
    """

    def __init__(
        self,
        understand: Callable[[Sequence[str]], Sequence[Any]],
        slots: Mapping[str, Slot],
        implied: Mapping[str, Sequence[str]] | None = None,
        small_talk: Sequence[str] = (),
        sentiment: Callable[[str], float] | None = None,
        read: Callable[[str, Sequence[str]], dict[str, Any]] | None = None,
        turns: Callable[[str, str], Any] | None = None,
        questions: Mapping[str, str] | None = None,
        sure: float = 0.8,
    ):
        self.worded = slots
        if turns is not None:  # what it tells is not read by words as well
            slots = {name: replace(slot, values={}) if slot.told else slot for name, slot in slots.items()}
        self.understand, self.slots, self.implied = understand, slots, implied or {}
        self.small_talk, self.sentiment, self.read, self.sure = frozenset(small_talk), sentiment, read, sure
        self.turns, self.questions = turns, questions or {}

    def __call__(self, text: str, asked: Sequence[str] = ()) -> Percept:
        """Read a message; ``asked`` are the slots that the last reply asked for, or what else it asked."""
        short = unspaced(MARKUP.sub(" ", text[:LONGEST_READ])) or text[:LONGEST_READ]
        found, denied = read_slots(short, self.slots, asked)
        found = self._all_slots(found, short, asked)
        answer, hedged, drop, other, alarm = self._turn(short, asked, found)
        sightings, whole = self._sight(short, asked)
        return Percept(
            text=text, sightings=sightings, others=tuple((n, round(p, 3)) for n, p in whole.others),
            scope=round(whole.scope, 3), in_scope=bool(whole.in_scope), slots=found, denied=denied,
            answer=answer, hedged=hedged, drop=drop, other=other, alarm=alarm,
            sentiment=round(self.sentiment(short), 3) if self.sentiment else 0.0,
            words=content_words(short, found),
        )  # fmt: skip

    def _turn(self, text: str, asked: Sequence[str], found: dict[str, Any]) -> tuple[str, bool, bool, bool, str | None]:
        """Yes or no, with a but, a wish withdrawn, another one meant, an alarm; by the reader of turns, or by patterns without one.

        What the reader is told of slots goes into ``found``.
        """
        if self.turns is None:
            return *read_answer(text), bool(DROP.search(text)), bool(OTHER.search(text)), None
        kind = next((self.questions[name] for name in asked if name in self.questions), OPENING)
        reading = self.turns(text, kind)
        if len(WORD.findall(text)) <= CURT:
            curt = {name: self.worded[name] for name in asked if name in self.worded and self.worded[name].told}
            found |= {k: v for k, v in read_slots(text, curt, asked)[0].items() if k not in found}
        for name, slot in self.slots.items():
            value, p = reading.told.get(name, ("", 0.0))
            if value in slot.told and p >= (UNDER if name in asked else slot.sure):
                told = slot.told[value]
                if name in asked or self._bears_out(name, told, text):
                    found.setdefault(name, told)
        answer, p = reading.told["answer"]
        plain = BARE.get(re.sub(r"\W", "", text).lower())
        answer = plain or (answer if answer != "none" and p >= (AGREED if answer == "yes" else TOLD) else "")
        alarm, p = reading.told["alarm"]
        drop, other = reading.says("drop", "drop"), reading.says("other", "other")
        alarm = alarm if alarm != "none" and p >= ALARMED else "" if alarm == "none" and p >= CALM else None
        return answer, reading.says("but", "but", UNDER), drop, other, alarm

    def _bears_out(self, name: str, told: Any, text: str) -> bool:
        """Whether the words of a message bear out a value that nobody asked for: few words must say it, more must not deny it."""
        worded = read_slots(text, {name: replace(self.worded[name], shy=False)})[0].get(name)
        return worded == told if worded is not None or content_words(text, {}) < 4 else True

    def _sight(self, text: str, asked: Sequence[str]) -> tuple[tuple[Sighting, ...], Any]:
        """The intents of a message: of its parts where several are surely different wishes, else of the whole."""
        parts = [p for p in segments(text) if not DROP.search(p)]
        if parts and DROP.search(text):
            text = " ".join(parts)  # what is left after "never mind"
        parts = parts[:MOST_PARTS]
        parts = [p for p in parts if content_words(p, read_slots(p, self.slots, asked)[0])] if len(parts) > 1 else []
        whole, *rest = self.understand([text or " ", *parts])
        seen = [self._sighting(t, u, asked) for t, u in zip(parts, rest, strict=True)]
        mine = self._sighting(text, whole, asked)
        likely = {whole.intent, *(name for name, p in whole.others if p >= LIKELY)}
        several = [s for s in seen if s.confidence >= self._needed(s) and s.intent not in self.small_talk]
        if whole.others:
            several = [s for s in several if s.intent in likely or self._asks_for_itself(s)]
        several = self._distinct([self._with_what_led_to_it(s, seen, several) for s in several])
        if apart := self._apart(seen, mine):
            return apart, whole
        if not several and len(seen) > 1 and ASIDE.search(text) and all(s.intent in self.small_talk for s in seen[:-1]):
            return (seen[-1],), rest[-1]  # "right, I'll wait. By the way, when are you open?"
        if len(several) > 1 and mine.intent in {s.intent for s in several} | self.small_talk:
            return tuple(several[:3]), whole
        surely = [s for s in several if s.confidence >= self.sure]
        if len(surely) == 1 and (mine.intent in self.small_talk or mine.confidence < self.sure):
            return (Sighting(surely[0].intent, surely[0].confidence, text, mine.slots),), whole
        return self._for_each(mine), whole

    def _for_each(self, mine: Sighting) -> tuple[Sighting, ...]:
        """One wish for each of the orders or the like that a message names: "cancel W20404 and W20405"."""
        for name, slot in self.slots.items():
            if slot.shared and slot.prefix and not read_slots(mine.text, {name: slot})[1]:
                values = list(dict.fromkeys(value for value, _ in mentions(mine.text, slot)))
                if 1 < len(values) <= 3 and re.search(r"\band\b|,|&", mine.text):
                    return tuple(
                        Sighting(mine.intent, mine.confidence, mine.text, mine.slots | {name: v}) for v in values
                    )
        return (mine,)

    def _with_what_led_to_it(self, part: Sighting, seen: Sequence[Sighting], several: Sequence[Sighting]) -> Sighting:
        """A question with the part before it, where that is no wish of its own: my kettle is full of chalk. How do I get it off?"""
        before = seen[seen.index(part) - 1] if seen.index(part) else None
        if before is None or before in several or before.intent in self.small_talk or not self._is_question(part):
            return part
        return replace(part, text=f"{before.text} {part.text}", slots=before.slots | part.slots)

    def _needed(self, part: Sighting) -> float:
        """How sure a part must be: a question is meant as something to be answered."""
        return QUESTION if self._is_question(part) else self.sure

    def _is_question(self, part: Sighting) -> bool:
        return part.text.rstrip().endswith("?") and content_words(part.text, part.slots) > 2

    def _asks_for_itself(self, part: Sighting) -> bool:
        """Whether a part that the whole message does not speak for is surely a wish: it asks, or names an order or the like."""
        named = any(slot.shared and slot.prefix and name in part.slots for name, slot in self.slots.items())
        named = named and content_words(part.text, part.slots) > 3
        asks = named or REQUESTS.search(part.text)
        return self._is_question(part) or (part.confidence >= ASKING and bool(asks))

    def _apart(self, seen: Sequence[Sighting], mine: Sighting) -> tuple[Sighting, ...]:
        """The parts of a message that each name another order or the like: a wish each, whatever it is.

        Where the whole is sure, a part that says little, or a part of the same, takes its wish and its values from the whole.
        """
        shared = [name for name, slot in self.slots.items() if slot.shared and slot.prefix]
        naming = [s for s in seen if any(name in s.slots for name in shared)]
        named = {str(s.slots.get(name)) for s in naming for name in shared}
        if mine.confidence >= 0.95:
            naming = [self._as_the_whole(s, mine, shared) for s in naming]
        sure = [s for s in naming if s.confidence >= self.sure / 2]
        return tuple(naming[:3]) if len(naming) > 1 and len(named) == len(naming) == len(sure) else ()

    def _as_the_whole(self, part: Sighting, mine: Sighting, shared: Sequence[str]) -> Sighting:
        near = part.intent in self.implied.get(mine.intent, ()) or mine.intent in self.implied.get(part.intent, ())
        if part.intent == mine.intent or REQUESTS.search(part.text) or not (near or content_words(part.text, part.slots) < 3):  # fmt: skip
            return part
        kept = {k: v for k, v in mine.slots.items() if k not in shared}
        return Sighting(mine.intent, mine.confidence, part.text, kept | part.slots)

    def _all_slots(self, found: dict[str, Any], text: str, asked: Sequence[str]) -> dict[str, Any]:
        """With what the domain reads besides; a value of None there takes one back."""
        more = self.read(text, asked) if self.read else {}
        return {k: v for k, v in (found | more).items() if v is not None}

    def _sighting(self, text: str, understood: Any, asked: Sequence[str]) -> Sighting:
        slots = self._all_slots(read_slots(text, self.slots, asked)[0], text, asked)
        sure = (
            understood.confidence if understood.in_scope or understood.scope > 0.5 else min(understood.confidence, 0.3)
        )
        near = self.implied.get(understood.intent, ())
        sure += sum(p for name, p in understood.others if name in near)  # what is hesitated between is one wish
        return Sighting(understood.intent, round(min(1.0, float(sure)), 3), text, slots)

    def _distinct(self, seen: Sequence[Sighting]) -> list[Sighting]:
        """Sightings that are wishes of their own: not the same twice, and not implied by another."""
        kept: list[Sighting] = []
        for one in seen:
            same = [k for k in kept if k.intent == one.intent and not _differ(k.slots, one.slots)]
            implied = any(one.intent in self.implied.get(k.intent, ()) or k.intent in self.implied.get(one.intent, ()) for k in kept)  # fmt: skip
            if not same and not implied:
                kept.append(one)
        return kept


def _differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return any(one[k] != other[k] for k in one.keys() & other.keys())


def choose_among(text: str, choices: Mapping[str, Any]) -> tuple[bool, Any]:
    """Which of the offered choices an answer means, by its value, its place ("the second") or the words of its label.

    >>> choose_among("the white one", {"black": 1, "white": 2})
    (True, 2)
    >>> choose_among("second", {"black": 1, "white": 2}), choose_among("hm", {"black": 1, "white": 2})
    ((True, 2), (False, None))
    >>> choose_among("the pack of four", {"white 4 pieces": "P1"})
    (True, 'P1')
    """
    lower, values = DENIED.sub(" ", text).lower(), list(choices.values())
    words = {NUMBERS.get(w, w) for w in WORD.findall(lower)}
    scores = [
        len(words & _telling(label, choices)) + 3 * (str(value).lower() in lower) for label, value in choices.items()
    ]
    best = max(scores, default=0)
    if best and scores.count(best) == 1:
        return True, values[scores.index(best)]
    for word, place in ORDINALS.items():
        if word in words and place < len(values):
            return True, values[place]
    return False, None


def _telling(label: str, choices: Mapping[str, Any]) -> set[str]:
    """The words of a label that no other label has."""
    own = set(WORD.findall(label.lower()))
    return own - {w for other in choices if other != label for w in WORD.findall(other.lower())} - FILLER
