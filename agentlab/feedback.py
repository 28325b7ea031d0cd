"""From a person's correction to a better understanding: corrections, the journal that keeps them, retraining, and a gate.

Nothing that a customer writes becomes training data by itself. The only way there is a `Correction`, which bears the name of
the person who made it, and in which personal data have been replaced by made-up ones before it is kept.

Not covered: learning from corrected actions and replies (they are kept for people to read); names in small letters that are
neither marked nor known from the conversation.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import random
import re
import warnings
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentlab import corpus
from agentlab.augment import add_typos
from agentlab.corpus import OUT_OF_SCOPE, Message, Span
from agentlab.decisions import Ask, Call, Confirm
from agentlab.errors import AgentLabError, DataError, UnknownName
from agentlab.toolkit import Toolbox, ToolResult, did_you_mean
from agentlab.trace import Trace, TurnTrace

if TYPE_CHECKING:
    from agentlab.evaluate import Comparison
    from agentlab.scenarios import Scenario
    from agentlab.understand import Recipe, Understander

FORMAT = 1
LONGEST = {"message": 2000, "reply": 2000, "note": 1000, "by": 80}  # characters
ASK, HAND_OVER = "ask", "hand over"
MISTYPED = 0.3  # of the words of a copy
Action = str | dict[str, Any]


# --- a correction --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Correction:
    """What a person says would have been right in one turn; made by `correct`. What is None was not said.

    ``action`` is `ASK`, `HAND_OVER`, or a call such as ``{"name": "find_order", "arguments": {...}}``; ``by`` names the
    person, ``at`` is the time in UTC. Raises `AgentLabError` for one that cannot be meant.
    """

    conversation: str
    turn: int
    message: str
    by: str
    intent: str | None = None
    spans: tuple[Span, ...] | None = None
    action: Action | None = None
    reply: str | None = None
    note: str = ""
    at: str = ""

    def __post_init__(self):
        for name, longest in LONGEST.items():
            text = getattr(self, name)
            if not isinstance(text, str) and not (name == "reply" and text is None):
                raise AgentLabError(f"The {name} of a correction is a text; this is {text!r}.")
            if len(text or "") > longest:
                raise AgentLabError(f"The {name} has {len(text)} characters; a correction takes {longest} at most.")
        try:
            json.dumps(asdict(self), ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:
            raise AgentLabError(
                f"This correction cannot be kept, since a part of it is no text or JSON ({error})."
            ) from None
        if not self.by.strip():
            raise AgentLabError("A correction needs the name of the person who makes it: give it as `by`.")
        said = (self.intent, self.spans, self.action, self.reply)
        if all(part is None for part in said) or (self.reply is not None and not self.reply.strip()):
            raise AgentLabError(
                "This correction says nothing: give a right intent, spans, an action or a better reply."
            )
        if (self.intent or self.spans) and not self.message.strip():
            raise AgentLabError(f"The message of turn {self.turn} is empty, so it has neither an intent nor spans.")
        self._check_spans()

    def _check_spans(self) -> None:
        before = None
        for span in sorted(self.spans or ()):
            text = self.message[span.start : span.end]
            if not 0 <= span.start < span.end <= len(self.message) or text != text.strip():
                raise AgentLabError(f"The span {span.start} to {span.end} is no words of {self.message!r}.")
            if before is not None and span.start < before.end:
                words = self.message[before.start : before.end]
                raise AgentLabError(f"The spans {words!r} and {text!r} overlap; spans stand side by side.")
            before = span

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that follow from all that the correction says."""
        about = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(about.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return f"{self.id} by {self.by} ({self.conversation}, turn {self.turn}: {self.message!r})"


def correct(
    trace: Trace,
    turn: int,
    *,
    by: str,
    intent: str | None = None,
    spans: Sequence[tuple[str, str] | Span] | None = None,
    action: Action | tuple[str, Mapping[str, Any]] | Call | None = None,
    reply: str | None = None,
    note: str = "",
    intents: Collection[str] | None = None,
    tools: Toolbox | None = None,
    at: dt.datetime | None = None,
    seed: int = 0,
) -> Correction:
    """A person's correction of turn number ``turn``: what would have been right in it.

    ``spans`` are all spans of the message, as (words, type) or by their places; an empty list says that it has none. Spans
    without an intent say that the one which the agent saw was right.
    ``intents`` are those that may be named, without it those that the course's understanding is trained on. With ``tools``
    the right action is checked against them. Personal data in all texts are replaced by made-up ones of the same shape,
    the same ones again for the same ``seed``.

    Raises `UnknownName` or `AgentLabError` for a turn, intent, span or action that does not exist or fit, for a correction
    that changes nothing, and for labels of a message that the measure rests on (see `held_out`).
    """
    line = _turn(trace, turn)
    message = re.sub(r"\s", " ", line.message)
    known = set(intents) if intents is not None else known_intents()
    if intent is not None and intent not in known:
        raise UnknownName("intent", intent, known)
    marked = _marked(message, spans)
    wanted = _action(action, tools)
    if marked is not None and intent is None:
        intent = _seen(line, known)
    plain = Correction(trace.conversation, turn, message, by, intent, marked, wanted, reply, note)
    if _changes_nothing(plain, line):
        raise AgentLabError(f"This correction of turn {turn} changes nothing: the agent did all of that.")
    if (intent or marked) and (where := held_out().get(corpus.normalize(message))):
        raise AgentLabError(f"{_spoils(where)} Correct a message that no figure rests on.")
    cover = MadeUp(f"{seed}:{trace.conversation}:{turn}", known_to(trace))
    text, marked = cover.text(message, marked)
    return replace(
        plain, message=text, spans=marked, note=cover.text(note)[0].strip(), by=by.strip(),
        action=cover.values(wanted) if isinstance(wanted, dict) else wanted,
        reply=cover.text(reply)[0].strip() if reply is not None else None,
        at=(at or dt.datetime.now(dt.UTC)).astimezone(dt.UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


def _spoils(where: str) -> str:
    return f"This text stands in {where}; who learns it cannot be measured there any more."


@lru_cache(maxsize=1)
def known_intents() -> frozenset[str]:
    """The intents that the course's understanding is trained on, those that only a conversation has among them."""
    more = corpus.read_yaml(corpus.data_folder() / "dialogue" / "intents.yml")
    return frozenset({*corpus.support().labels.intents, *more, OUT_OF_SCOPE})


def _turn(trace: Trace, number: int) -> TurnTrace:
    found = next((t for t in trace.turns if t.number == number), None)
    if found is None:
        have = f"turns 1 to {len(trace.turns)}" if trace.turns else "no turns"
        raise AgentLabError(f"There is no turn {number!r}: the conversation {trace.conversation} has {have}.")
    return found


def _seen(line: TurnTrace, known: Collection[str]) -> str:
    """The one intent that the agent saw in a message."""
    p = line.percept
    seen = {s.intent for s in p.sightings} if p and p.in_scope else {OUT_OF_SCOPE} if p else set()
    if len(seen) != 1 or not seen <= set(known):
        what = " and ".join(sorted(seen)) or "nothing"
        raise AgentLabError(f"Spans are learned together with an intent. In turn {line.number} the agent saw {what}: say the right one as `intent`.")  # fmt: skip
    return seen.pop()


def _marked(message: str, spans: Sequence[tuple[str, str] | Span] | None) -> tuple[Span, ...] | None:
    """Spans by their places; words that stand in the message several times are found one after the other."""
    if spans is None:
        return None
    found: list[Span] = []
    for one in spans:
        if not isinstance(one, Span) and not (isinstance(one, tuple | list) and len(one) == 2):
            raise AgentLabError(
                f'A span is given as its words and its type, such as ("headset", "product"); this is {one!r}.'
            )
        span = one if isinstance(one, Span) else _found(message, *one, found)
        corpus.support().labels.check_span_type(span.type)
        found.append(span)
    return tuple(sorted(found))


def _found(message: str, words: str, kind: str, taken: Sequence[Span]) -> Span:
    looser = r"\s+".join(map(re.escape, words.split()))
    hits = [m.span() for m in re.finditer(rf"(?<!\w){looser}(?!\w)", message)] if looser else []
    if not hits:
        near = did_you_mean(words, message.split()) if len(words.split()) == 1 else ""
        raise AgentLabError(
            f"The words {words!r} do not stand in the message {message!r}.{near} Give them as they stand there."
        )
    free = [(start, end) for start, end in hits if not any(s.start < end and start < s.end for s in taken)]
    return Span(*(free or hits)[0], kind)


def _action(action: Any, tools: Toolbox | None) -> Action | None:
    """An action in the form in which it is kept."""
    if action is None or action in (ASK, HAND_OVER):
        return action
    if isinstance(action, Call):
        action = (action.tool, action.arguments)
    if isinstance(action, Mapping) and action.keys() == {"name", "arguments"}:
        action = (action["name"], action["arguments"])
    if not (isinstance(action, tuple) and len(action) == 2 and isinstance(action[1], Mapping)):
        raise AgentLabError(
            f'The action {action!r} is neither {ASK!r} nor {HAND_OVER!r} nor a call such as ("find_order", {{"order_id": "W20417"}}).'
        )
    name, arguments = action[0], dict(action[1])
    if tools is not None and isinstance(checked := tools.validate(name, arguments), ToolResult):
        raise AgentLabError(f"The action cannot be right: {checked.message}")
    return {"name": name, "arguments": arguments}


def _changes_nothing(c: Correction, line: TurnTrace) -> bool:
    """Whether all that is said is what the agent saw and did. Which spans it saw the trace does not keep."""
    if c.spans is not None:
        return False
    p = line.percept
    seen = {s.intent for s in p.sightings} if p and p.in_scope else {OUT_OF_SCOPE}
    done = [{"name": x.name, "arguments": x.arguments} for x in line.calls]
    done += [{"name": d.tool, "arguments": d.arguments} for d in line.decisions if isinstance(d, Confirm)]
    done += [ASK] * any(isinstance(d, Ask) for d in line.decisions) + [HAND_OVER] * line.handed_over
    same = [c.intent is None or seen == {c.intent}, c.action is None or c.action in done]
    return all([*same, c.reply is None or c.reply.strip() == line.reply.strip()])


# --- personal data -------------------------------------------------------------------------------------------

KINDS = {  # of personal data, by what spans, slots and arguments are called
    "person": "person", "name": "person", "recipient": "person", "email": "email", "phone": "phone", "address": "address",
    "street": "address", "city": "address", "postcode": "address", "order_id": "code", "tracking_number": "code",
}  # fmt: skip
THING = "thing"  # what is known not to be personal
NAMES = (
    "Alba Arne Berit Bodil Cato Dagny Edda Egil Elin Falko Frida Gerlo Gitta Halvar Hedda Idun Jorun Kaja Levin Liv Malin Merle "
    "Nanna Norwin Oda Ragna Rurik Runa Sigrun Solvei Svea Tarja Torben Ulvi Vidar Wanja Ylva Zenta Ahlquist Brockfeld Dahlmeer "
    "Eikeland Fennwick Grovholm Hasselby Immerfeld Jarnvik Kestrup Lommers Moorvliet Nettrup Osterby Pellworm Quendal Rondstad "
    "Sandmark Tolvaner Uhlfeld Vossmeer Wiekstra Zandholt"
).split()
PLACES = (
    "Ahlen Birkmoor Cressing Dunholt Elsmark Fernau Grimsby Hollin Irnfeld Junkersby Kelmen Lindow Merwik Norrun Ostlund Pentlow "
    "Quillau Rosmoor Selkau Tannby Ullern Vimmer Westoun Yarrow Zellin"
).split()
STREET = (
    "straat|strasse|straße|str|gatan|gata|gate|gade|vejen|vej|veien|vegen|vei|vägen|väg|weg|laan|plein|platz|gasse|allee|kade|gracht|"
    "singel|dijk|katu|utca|steenweg|strand"
)
KEPT = frozenset(  # in an address: kinds of streets, small words, countries
    f"{STREET.replace('|', ' ')} street road avenue lane square court terrace crescent drive close row quay st rd ave ln av "
    "rue avenue boulevard quai place via viale piazza corso largo calle avenida plaza rua praça ulica ul strada bulevardul odos "
    "am an der die das den dem im de del della des du da das do dos la le les l d di dei el los las of the and in at to near "
    "apt flat bus app floor unit room suite no nr bis packstation postfach box po c o van von zur zum ii iii north south east west "
    "austria belgium bulgaria croatia cyprus czechia czech republic denmark estonia finland france germany greece hungary iceland "
    "ireland italy latvia lithuania luxembourg malta netherlands holland norway poland portugal romania slovakia slovenia spain "
    "sweden switzerland swiss england scotland wales uk united kingdom great britain northern turkey ukraine serbia moldova albania "
    "bosnia montenegro monaco andorra gibraltar liechtenstein europe eu usa states america canada japan china korea india brazil "
    "peru africa australia islands".split()
)
TITLES = frozenset(
    "dr mr mrs ms mx prof em sir von van de der den da di du ter ten la le el al af av zu ltd inc gmbh ag as ab bv sa sl llc co".split()
)
_CAP = r"(?-i:[^\W\d_a-zß-öø-ÿ])(?:[\w'’-]|\.(?=\w))*"
_SMALL_NAMES = r"(?:(?:de|van|von|der|den|da|di|du|ter|la) )*"
_NAMES = rf"{_CAP}(?:[ -]{_SMALL_NAMES}{_CAP}){{0,3}}"
_TOWN = rf"{_CAP}(?:[ -]{_CAP})?"
_POSTCODE = (
    r"(?:[A-Z]{1,3}-)?(?:[0-9]{4} ?[A-Z]{2}\b|[0-9]{4}-[0-9]{3}|[0-9]{2}-[0-9]{3}|[0-9]{3} [0-9]{2}|[0-9]{4,6}|"
    r"[A-Z]{1,2}[0-9][0-9A-Z]? ?[0-9][A-Z]{2}|[A-Z][0-9]{2} ?[0-9A-Z]{4})\b"
)
_NUMBER = r"\d{1,4} ?[a-z]?(?:[/-]\d{1,3}[a-z]?)?\b"
_SMALL = r"(?:(?:de|del|della|des|du|da|das|do|dos|la|le|les|di|dei) |d['’]){0,2}"
_END = rf"(?:\s*,\s*(?:{_POSTCODE}\s+)?{_TOWN}|\s+{_POSTCODE}\s+{_TOWN}|\s*,\s*{_POSTCODE})?"
_ADDRESSES = (
    rf"\b[^\W\d_]{{3,}}(?:{STREET})\.? ?{_NUMBER}{_END}",  # Hauptstrasse 5
    rf"\b{_CAP}(?: {_CAP})? (?:{STREET}|street|road|avenue|lane|square|terrace|row|quay)\.? {_NUMBER}{_END}",
    rf"\b(?-i:Am|An der|Auf der|Im|Zum|Zur) {_CAP} {_NUMBER}{_END}",
    rf"\b\d{{1,4}}[a-z]?,? (?:{_CAP} ){{1,3}}(?-i:St|Rd|Ave|Ln|Street|Road|Avenue|Lane|Close|Way|Place|Square|Court|Terrace|Row|Quay|Hill|Drive|Crescent|Gardens)\b{_END}",
    rf"\b\d{{1,4}}[a-z]? (?!(?:in|on|of|the|to|at|from|my|our|your|days|weeks|hours)\b)\w+ (?:\w+ )?(?:street|road|avenue|lane)\b{_END}",
    rf"\b(?-i:[Rr]ue|[Aa]venue|Av\.|[Bb]oulevard|[Qq]uai|Via|Viale|Piazza|Corso|Largo|Calle|Avenida|Plaza|Rua|Praça|[Uu]lica|[Uu]l\.|Strada|Str\.|Bulevardul|Odos) {_SMALL}[^\W\d_][\w'’.-]*(?: [^\W\d_][\w'’.-]*)??,? {_NUMBER}{_END}",
    rf"\b\d{{1,4}}[a-z]?,? (?:rue|avenue|boulevard|quai|place) {_SMALL}{_CAP}{_END}",
    rf"\b{_CAP}(?: {_CAP})? {_NUMBER}\s*,\s*(?:{_POSTCODE}\s+)?{_TOWN}",  # Ermou 14, Athens
)
_PATTERNS = [  # (kind, pattern whose group 1 is replaced), the surest first
    ("email", re.compile(r"(?<![\w.+-])([\w.+-]+ ?@ ?[\w-]+(?:\.[\w-]+)+)", re.IGNORECASE)),
    *(("address", re.compile(f"({address})", re.IGNORECASE)) for address in _ADDRESSES),
    ("address", re.compile(rf"(?:post(?:al)? ?code|zip(?: code)?|plz)(?: is|:|=|,)*\s*({_POSTCODE})", re.IGNORECASE)),
    ("address", re.compile(r"\b([A-Z]{1,2}\d[\dA-Z]? \d(?!TB|GB|MB)[A-Z]{2}|(?!(?:19|20)\d\d)[1-9]\d{3} ?(?!TV|TB|GB|MB|HD|HZ|PX|MM|CM|UK|EU)[A-Z]{2})\b")),
    ("phone", re.compile(r"(?<![\w#@.-])((?:\+|00)\d{1,3}(?:[ ()./-]{0,2}\d{1,5}){2,6})(?!\w)")),
    ("phone", re.compile(r"(?<![\w#@.,/-])((?!\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b)(?=(?:\D*\d){7})0\d{1,4}(?:[ ()/-]{1,2}\d{2,8}){1,4})(?!\w)")),
    ("phone", re.compile(r"(?<![\w#@.,/-])(\d{3}[ -]\d{3}[ -]\d{3,4}|\d{2}(?: \d{2}){3})(?!\w)")),
    ("code", re.compile(r"(#\s?[A-Z]{0,2}[ -]?\d{3,})\b", re.IGNORECASE)),
    ("code", re.compile(r"\border(?: number| no\.?| nr\.?| id)?(?: is|:)?\s*#?([A-Z]{0,2}-?\d{3,})\b", re.IGNORECASE)),
    ("code", re.compile(r"\b((?:[A-Z]{1,2}-?|(?-i:[A-Z]{1,2}|w) )\d{5,})\b", re.IGNORECASE)),
    ("code", re.compile(r"\b((?!0x)(?=(?:[A-Z]*\d){6})[A-Z0-9]{7,})\b", re.IGNORECASE)),
    ("code", re.compile(r"(?<![\w.,-])(\d{5,})(?![\w]|[.,]\d)")),
    ("person", re.compile(rf"\b(?i:name|named|c/o|attn|recipient|addressee|on behalf of|care of|i am called|mr\.?|mrs\.?|ms\.?|dr\.?)(?i::| is| was| of)?(?i: mrs?\.?| ms\.?| dr\.?)?\s+({_NAMES})")),
]  # fmt: skip
_TITLE_CASE = re.compile(rf"(?<!\w){_NAMES}(?!\w)")


def known_to(trace: Trace) -> dict[str, set[str]]:
    """The personal data that slots, calls and results of a conversation hold, by kind; ``thing`` are names of no person."""
    found: dict[str, set[str]] = {kind: set() for kind in (*KINDS.values(), THING)}

    def look(value: Any) -> None:
        if isinstance(value, list | tuple):
            for inner in value:
                look(inner)
        if not isinstance(value, Mapping):
            return
        person = bool(value.keys() & {"email", "street", "customer_id"})  # products have names too
        for name, inner in value.items():
            if isinstance(inner, str) and len(inner) > 2 and name in KINDS:
                found[KINDS[name] if person or name != "name" else THING].add(inner)
            look(inner)

    for turn in trace.turns:
        look(turn.percept.slots if turn.percept else {})
        for call in [*turn.calls, *turn.rehearsals]:
            look([call.arguments, call.value])
    return found


class MadeUp:
    """Made-up personal data in place of real ones: of the same shape, and the same ones for the same within one correction.

    What they are depends on the seed and, but for their shape, not on what they stand for, so nobody can work back. ``known`` are texts by
    kind that are personal wherever they stand.

    >>> MadeUp("0").text("W20417 is mine, mail anna.k@post.example")[0]
    'W51453 is mine, mail zandholt.c@example.com'
    """

    def __init__(self, seed: str, known: Mapping[str, Iterable[str]] | None = None):
        self.rng, self.memory = random.Random(seed), {}
        self.known = {kind: set(texts) for kind, texts in (known or {}).items()}

    def text(self, text: str, spans: tuple[Span, ...] | None = None) -> tuple[str, tuple[Span, ...] | None]:
        """The text with its spans moved along; marked spans, known texts and what looks like personal data are replaced."""
        for span in spans or ():
            if span.type in KINDS:
                self.known.setdefault(KINDS[span.type], set()).add(text[span.start : span.end])
        pieces = [(start, end, self._instead(kind, text[start:end])) for start, end, kind in personal(text, spans or (), self.known)]  # fmt: skip

        def moved(place: int) -> int:
            return place + sum(len(new) - (end - start) for start, end, new in pieces if end <= place)

        parts, at = [], 0
        for start, end, new in pieces:
            parts += [text[at:start], new]
            at = end
        moved_spans = spans and tuple(Span(moved(s.start), moved(s.end), s.type) for s in spans)
        return "".join(parts) + text[at:], moved_spans

    def values(self, value: Any, name: str = "") -> Any:
        """The same in data: arguments by what they are called, other texts by how they look."""
        if isinstance(value, Mapping):
            return {k: self.values(v, str(k)) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.values(v, name) for v in value]
        if isinstance(value, str) and name in KINDS and name != "name":
            return self._instead(KINDS[name], value)
        return self.text(value)[0] if isinstance(value, str) else value

    def _instead(self, kind: str, text: str) -> str:
        if kind == "email":
            local, _, host = text.partition("@")
            local = re.sub(r"[^\W\d_]+", lambda m: self._word(m[0], NAMES), local.strip())
            host = self._kept(host.strip().lower(), lambda: f"example.{self.rng.choice(('com', 'net', 'org'))}")
            return f"{self._numbers(local)}@{host}"
        if kind == "person":
            return re.sub(r"[^\W\d_]+", lambda m: m[0] if m[0].lower() in TITLES else self._word(m[0], NAMES), text)
        if kind == "address":
            return self._numbers(re.sub(r"[^\W\d_]+", lambda m: self._street(m[0]), text))
        country = re.match(r"(?:\+|00)\d{1,3}(?=[ (./-])", text) if kind == "phone" else None
        kept = country[0] if country else ""
        return kept + self._numbers(text[len(kept) :])

    def _street(self, word: str) -> str:
        if word.lower() in KEPT:
            return word
        if len(word) <= 3 and word.isupper():
            return self._word(word, "ABCDEFGHJKLMNPRSTUVWXYZ", each=True)
        kind = re.search(rf"(?:{STREET})$", word, re.IGNORECASE)
        end = kind[0] if kind and kind.start() > 2 else ""
        return self._word(word.removesuffix(end), PLACES) + end

    def _numbers(self, text: str) -> str:
        return re.sub(r"\d+", lambda m: self._kept(m[0], lambda: self._digits(m[0])), text)

    def _digits(self, old: str) -> str:
        while True:
            new = "".join(self.rng.choice("0123456789") for _ in old)
            if new != old and (new[0] == "0") == (old[0] == "0" and len(old) > 1):
                return new

    def _word(self, old: str, pool: Sequence[str], each: bool = False) -> str:
        """Another word in the same case; a single letter, or with ``each`` every letter, becomes another letter."""
        if len(old) == 1 or each:
            letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
            new = self._kept(old.upper(), lambda: "".join(self.rng.choice(letters.replace(c, "")) for c in old.upper()))
        else:
            used = {*self.memory.values(), old.capitalize()}
            new = self._kept(old.lower(), lambda: self.rng.choice([w for w in pool if w not in used] or list(pool)))
        return new.upper() if old.isupper() else new if old[0].isupper() else new.lower()

    def _kept(self, old: str, make: Callable[[], str]) -> str:
        if old not in self.memory:
            self.memory[old] = make()
        return self.memory[old]


def personal(
    text: str, spans: Sequence[Span] = (), known: Mapping[str, Iterable[str]] | None = None
) -> list[tuple[int, int, str]]:
    """Where personal data stand in a text, as (start, end, kind): marked spans, known texts, and what looks like them.

    What was marked as something else, a product say, is left alone, but for e-mail addresses. No piece crosses the edge of a
    span.
    """
    edges = sorted({place for s in spans for place in (s.start, s.end)})
    owner: list[tuple | None] = [None] * len(text)
    for n, s in enumerate(spans):
        if s.type in KINDS:
            owner[s.start : s.end] = [(KINDS[s.type], n)] * (s.end - s.start)
    other = {place for s in spans if s.type not in KINDS for place in range(s.start, s.end)}
    for n, (kind, start, end) in enumerate(_candidates(text, known or {}), len(spans)):
        for place in range(start, end):
            if kind == "email" or place not in other:
                owner[place] = owner[place] or (kind, n, bisect(edges, place))
    pieces = []
    for mine, places in groupby(range(len(text)), key=owner.__getitem__):
        start, *rest = places
        words = text[start : start + 1 + len(rest)]
        start += len(words) - len(words.lstrip())
        if mine is not None and words.strip():
            pieces.append((start, start + len(words.strip()), mine[0]))
    return pieces


def _candidates(text: str, known: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, int, int]]:
    for kind, texts in known.items():
        if kind == THING:
            continue
        names = {word for t in texts for word in re.findall(r"[^\W\d_]{3,}", t)} - TITLES if kind == "person" else set()
        for words in sorted({*texts, *names}, key=lambda t: (-len(t), t)):
            loose = re.IGNORECASE if len(words) > 4 and words in texts else 0
            for hit in re.finditer(rf"(?<!\w){re.escape(words)}(?!\w)", text, loose):
                yield kind, *hit.span()
    for kind, pattern in _PATTERNS:
        for hit in pattern.finditer(text):
            yield kind, *hit.span(1)
    if text.upper() != text:
        words = _vocabulary() | {w for thing in known.get(THING, ()) for w in re.findall(r"[^\W\d_]+", thing.lower())}
        yield from (("person", *place) for place in _unknown_names(text, words))


def _unknown_names(text: str, vocabulary: frozenset[str]) -> Iterator[tuple[int, int]]:
    """Capitalised words that the vocabulary lacks; one alone only where no sentence begins with it, or as the very last."""
    for hit in _TITLE_CASE.finditer(text):
        words = [w for w in re.finditer(r"[^\s-]+", hit[0]) if w[0].lower() not in TITLES]
        bare = [re.sub("['’](?:s|d|m|ll|re|ve)$", "", w[0].lower()) for w in words]
        new = [_is_title(w[0]) and plain not in vocabulary for w, plain in zip(words, bare, strict=True)]
        if not any(new):
            continue
        first, last = new.index(True), len(new) - 1 - new[::-1].index(True)
        start, end = hit.start() + words[first].start(), hit.start() + words[last].end()
        begins = re.search(r"(?:^|[.!?])[\s\"'(-]*$", text[:start])
        if last > first or not begins or (start and not text[end:].strip(" .!")):
            yield start, end


def _is_title(word: str) -> bool:
    """Whether a word is written as names are: Nowak, O'Brien, McKay."""
    word = re.sub(r"^(?:Mc|Mac|[DO]['’])(?=[A-Z])", "", word)
    return word[0].isupper() and word[1:].islower() and not any(c.isdigit() for c in word)


@lru_cache(maxsize=1)
def _vocabulary() -> frozenset[str]:
    """The words of the course's training messages: in small letters anywhere, in any in what is no name of a person."""
    words, things, people = set(), set(), set()
    for message in corpus.support().split("train", "all"):
        words |= {w for w in re.findall(r"[^\W\d_]+", re.sub(r"\S+@\S+", " ", message.text)) if w.islower()}
        for span in message.spans:
            seen = people if span.type == "person" else things
            seen |= set(re.findall(r"[^\W\d_]+", message.span_text(span).lower())) if span.type != "email" else set()
    return frozenset(words | (things - people))


def masked(text: str, spans: Sequence[Span] = ()) -> str:
    """A text as it is compared: normalized, with the kinds of personal data in their place."""
    for start, end, kind in reversed(personal(text, spans)):
        text = f"{text[:start]} {kind} {text[end:]}"
    return corpus.normalize(text)


# --- the journal ---------------------------------------------------------------------------------------------


class Journal:
    """Corrections in a file to which lines of JSON are only ever added, also by several processes at once.

    Iterating gives the corrections that stand: of each turn the latest that was not withdrawn. A line that a killed process
    left incomplete is skipped with a warning. Raises `DataError` with file and line for one that says something else.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def add(self, correction: Correction) -> str:
        """Keep a correction, and give its id; one that is there already is not written again."""
        if not isinstance(correction, Correction):
            raise AgentLabError(
                f"A journal keeps corrections, made by `correct`; this is a {type(correction).__name__}."
            )
        with self._locked():
            if correction.id not in self._read()[0]:
                self._append({"kind": "correction", "id": correction.id, **asdict(correction)})
        return correction.id

    def withdraw(self, id: str, by: str, why: str, at: dt.datetime | None = None) -> None:
        """Take a correction back; the one before it of the same turn, if there is one, stands again."""
        if not by.strip() or not why.strip():
            raise AgentLabError("Who takes a correction back says who they are and why: give `by` and `why`.")
        with self._locked():
            corrections, withdrawn = self._read()
            if id not in corrections:
                raise UnknownName("correction", id, corrections)
            if id in withdrawn:
                raise AgentLabError(f"The correction {id} was withdrawn already, by {withdrawn[id]}.")
            line = {"kind": "withdrawal", "id": id, "by": by.strip(), "why": MadeUp(id).text(why.strip())[0]}
            self._append(
                line | {"at": (at or dt.datetime.now(dt.UTC)).astimezone(dt.UTC).isoformat(timespec="seconds")}
            )

    def __iter__(self) -> Iterator[Correction]:
        with self._locked():
            corrections, withdrawn = self._read()
        latest = {(c.conversation, c.turn): c for id, c in corrections.items() if id not in withdrawn}
        return iter(latest.values())

    # --- the file ---

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock", timeout=10):
                yield
        except Timeout:
            raise AgentLabError(f"{self.path} has been in use by another process for ten seconds. Try again.") from None
        except OSError as error:
            raise DataError(f"the journal cannot be used ({error.strerror or error}).", self.path, cure="Choose a file that can be written.") from None  # fmt: skip

    def _read(self) -> tuple[dict[str, Correction], dict[str, str]]:
        """All corrections by their ids in the order in which they came, and who withdrew which."""
        corrections: dict[str, Correction] = {}
        withdrawn: dict[str, str] = {}
        lines = self.path.read_bytes().split(b"\n") if self.path.exists() else []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                data = json.loads(line.decode("utf-8"))
            except ValueError:
                warnings.warn(
                    f"{self.path}:{number}: this line is cut off and was skipped; what it said is lost.", stacklevel=4
                )
                continue
            try:
                if data.pop("format") != FORMAT:
                    raise ValueError(f"its format is not {FORMAT}")
                if data.pop("kind") == "withdrawal":
                    withdrawn[data["id"]] = data["by"]
                else:
                    correction = _from_json(data)
                    corrections[correction.id] = correction
            except (KeyError, TypeError, ValueError, AttributeError, AgentLabError) as error:
                raise DataError(f"this is no line of a journal ({error}).", self.path, number) from None
        return corrections, withdrawn

    def _append(self, data: dict[str, Any]) -> None:
        line = json.dumps({"format": FORMAT, **data}, ensure_ascii=False).encode() + b"\n"
        with open(self.path, "a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                line = line if file.read(1) == b"\n" else b"\n" + line  # after one that was cut off
            try:
                written = file.write(line)
                if written != len(line):
                    raise OSError(f"only {written} of {len(line)} bytes could be written")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise


def _from_json(data: dict[str, Any]) -> Correction:
    """A correction from what the journal holds; raises for one whose id does not follow from what it says."""
    id, spans = data.pop("id"), data.pop("spans")
    found = Correction(**data, spans=None if spans is None else tuple(Span(**s) for s in spans))
    if found.id != id:
        raise ValueError(f"what it says was changed after it was written: its id is {id}, but should be {found.id}")
    return found


# --- to data, and to a new understanding ---------------------------------------------------------------------


@lru_cache(maxsize=1)
def held_out() -> dict[str, str]:
    """The normalized texts that figures rest on, and where each stands: corpus without training part, and scenarios."""
    return {corpus.normalize(text): where for text, _, where in _held_out_texts()}


@lru_cache(maxsize=1)
def _held_out_masked() -> list[tuple[str, str]]:
    return [(masked(text, spans), where) for text, spans, where in _held_out_texts()]


@lru_cache(maxsize=1)
def _held_out_texts() -> list[tuple[str, tuple[Span, ...], str]]:
    from agentlab.scenarios import load_scenarios

    support, found = corpus.support(), []
    for name in ("validation", "test"):
        found += [(m.text, m.spans, f"the {name} part of the corpus") for m in support.messages[name]]
    found += [(m.text, m.spans, "the challenge set of the corpus") for m in support.challenge]
    for name in ("development", "test"):
        for scenario in load_scenarios(name):
            said = [scenario.openings, *(a.say for a in scenario.answers), *scenario.then]
            found += [(text, (), f"the scenario {scenario.id} of the {name} part") for texts in said for text in texts]
    return found


def as_messages(
    corrections: Iterable[Correction], understand: Callable[[Sequence[str]], Sequence[Any]] | None = None
) -> list[Message]:
    """Corrections as labelled messages; one without an intent says nothing about the message, and is left out.

    Where no spans were given those that ``understand`` sees stand, so that learning an intent unlearns no spans; without it
    there are none. Raises `AgentLabError` that names the corrections where two contradict each other on the same text, and
    where texts are, or nearly are, some that figures rest on.
    """
    kept: dict[str, Correction] = {}
    for c in corrections:
        if not isinstance(c, Correction):
            raise AgentLabError(f"Only a person's correction becomes training data; this is a {type(c).__name__}.")
        if c.intent is None:
            continue
        key = masked(c.message, c.spans or ())
        if key in kept:
            _refuse_contradiction(kept[key], c)
        if key not in kept or c.spans is not None:
            kept[key] = c
    _refuse_held_out(kept)
    messages = [_message(c) for c in kept.values()]
    bare = [n for n, c in enumerate(kept.values()) if c.spans is None]
    if understand is not None and bare:
        for n, seen in zip(bare, understand([messages[n].text for n in bare]), strict=True):
            messages[n] = replace(messages[n], spans=tuple(seen.spans))
    return messages


def _message(c: Correction) -> Message:
    intents = () if c.intent == OUT_OF_SCOPE else (c.intent,)
    return Message(c.message, intents, c.spans or (), "correction", c.conversation, c.turn)


def _refuse_contradiction(one: Correction, other: Correction) -> None:
    def labels(c: Correction) -> list[tuple[str, str]] | None:
        words = (
            (s.type, "" if s.type in KINDS else corpus.normalize(c.message[s.start : s.end])) for s in c.spans or ()
        )
        return None if c.spans is None else sorted(words)

    what = f"{one.intent} and {other.intent}" if one.intent != other.intent else ""
    if not what and labels(one) != labels(other) and None not in (one.spans, other.spans):
        what = "different spans"
    if what:
        raise AgentLabError(
            f"Two corrections of the same text contradict each other ({what}): {one} and {other}. Withdraw one of them."
        )


def _refuse_held_out(kept: Mapping[str, Correction]) -> None:
    texts = [*kept, *(text for text, _ in _held_out_masked())] if kept else []
    near = {i: j - len(kept) for i, j, _ in corpus.near_duplicate_pairs(texts) if i < len(kept) <= j}
    refused = [f"{c}. {_spoils(_held_out_masked()[near[n]][1])}" for n, c in enumerate(kept.values()) if n in near]
    if refused:
        more = f" And {len(refused) - 5} more." if len(refused) > 5 else ""
        raise AgentLabError(f"{len(refused)} of the corrections cannot be learned from; withdraw them. {' '.join(refused[:5])}{more}")  # fmt: skip


def retrain(
    corrections: Iterable[Correction],
    recipe: Recipe | None = None,
    copies: int = 4,
    base: Understander | None = None,
    beside: Sequence[Message] = (),
) -> Understander:
    """An understander that has also learned from corrections, each as it is and in ``copies`` mistyped versions.

    ``beside`` are messages that the agent's understander has learned besides the corpus; they are learned again with the rest.
    What is made so is kept in the cache, but where the training goes on from ``base``. Raises what `as_messages` raises, and
    `AgentLabError` where there is nothing to learn, or ``base`` knows intents that nothing here would teach it again.
    """
    from agentlab import understand

    before = base or understand.load(recipe, extra=beside)
    messages = as_messages(corrections, before)
    if not messages:
        raise AgentLabError("No correction names an intent, so there is nothing to learn.")
    extra = [*beside, *add_typos(messages, copies, MISTYPED)]
    if base is None:
        return understand.load(recipe, extra=extra)
    taught = {*corpus.support().labels.intents, OUT_OF_SCOPE, *(m.intent for m in extra)}
    if lost := sorted(set(base.reader.intents) - taught):
        raise AgentLabError(
            f"`base` knows {', '.join(lost)}, which it would forget. Give the messages that taught it so as `beside`."
        )
    return understand.train(recipe or understand.MORE, extra=extra, base=base)[0]


# --- the gate ------------------------------------------------------------------------------------------------

ALPHA = 0.05  # the chance of refusing one that is not worse, by the test alone


@dataclass(frozen=True)
class Verdict:
    """Whether a new agent may take the place of the one before, and why.

    ``difference`` is the share of runs in which customers are served, after minus before, with its 95 % interval over
    scenarios and the two-sided p-value of the exact sign-flip test. ``broken`` are ids of scenarios that are served in fewer
    runs than before, ``mended`` in more. ``messages`` compares the accuracy of intents.
    """

    accepted: bool
    difference: float
    low: float
    high: float
    p: float
    broken: tuple[str, ...]
    mended: tuple[str, ...]
    violations_before: int
    violations_after: int
    reason: str
    before: float = 0.0
    after: float = 0.0
    scenarios: int = 0
    seeds: int = 0
    messages: Comparison | None = None

    def table(self) -> str:
        """The figures as lines of text."""
        rows = [
            ("", "before", "after"), ("customers served", f"{self.before:.3f}", f"{self.after:.3f}"),
            ("policy violations", str(self.violations_before), str(self.violations_after)),
        ]  # fmt: skip
        lines = [f"{self.scenarios} scenarios, {self.seeds} runs each", *(f"{a:<20}{b:>8}{c:>8}" for a, b, c in rows)]
        lines += [
            f"difference {self.difference:+.3f}, 95 % interval {self.low:+.3f} to {self.high:+.3f}, p = {self.p:.3f}"
        ]
        if m := self.messages:
            lines += [
                f"intents of messages {m.difference:+.3f}, 95 % interval {m.low:+.3f} to {m.high:+.3f}, p = {m.p_value:.3f}"
            ]
        lines += [f"broken: {', '.join(self.broken) or 'none'}", f"mended: {', '.join(self.mended) or 'none'}"]
        return "\n".join([*lines, f"{'ACCEPTED' if self.accepted else 'REFUSED'}: {self.reason}"])

    def __str__(self) -> str:
        return self.table()


def gate(
    before: Callable[[Any], Any],
    after: Callable[[Any], Any],
    scenarios: Sequence[Scenario],
    seeds: int = 4,
    messages: Sequence[Message] | None = None,
    margin: float = 0.02,
) -> Verdict:
    """Play the same scenarios with the same seeds to two agents (made as `trials.evaluate` makes them), and compare.

    The new one is refused if in any run it breaks a rule that the old one kept there; if there is evidence that it serves
    fewer customers (exact sign-flip test over scenarios, one-sided, p at most 0.05); if the observed difference is below
    -``margin``, evidence or not; or if it does worse in every single scenario. With labelled ``messages`` the second and
    third hold for the accuracy of its intents too. So an equal agent passes, and a slightly worse one may: ``low`` says how
    much worse it can be, given so few scenarios. Use scenarios that no correction came from, and others to report the gain,
    since a gate that is tried often is passed by luck at last.

    Raises `AgentLabError` where there is nothing to play, or an agent has no understanding that could read the messages.
    """
    from agentlab import evaluate, trials

    if not scenarios or seeds < 1:
        raise AgentLabError(f"There are {len(scenarios)} scenarios and {seeds} seeds; at least one of each is needed.")
    if not 0 <= margin < 1:
        raise AgentLabError(f"The margin is a share of customers, from 0 to below 1; this is {margin}.")
    pairs = [[(trials.run(before, s, seed), trials.run(after, s, seed)) for seed in range(seeds)] for s in scenarios]
    gains = [sum(new.success - old.success for old, new in runs) for runs in pairs]
    fresh = [sentence for runs in pairs for old, new in runs for sentence in (Counter(new.violations) - Counter(old.violations))]  # fmt: skip
    read = _compare_intents(before, after, messages) if messages is not None else None
    total = seeds * len(scenarios)
    low, high = evaluate.bootstrap(gains, lambda sample: sum(sample) / (seeds * len(sample)), rounds=2000)
    reason = _reason(gains, seeds, fresh, read, margin)
    olds, news = ([run[n] for runs in pairs for run in runs] for n in (0, 1))
    return Verdict(
        not reason, sum(gains) / total, low, high, sign_flip(gains)[0],
        tuple(s.id for s, gain in zip(scenarios, gains, strict=True) if gain < 0),
        tuple(s.id for s, gain in zip(scenarios, gains, strict=True) if gain > 0),
        sum(len(o.violations) for o in olds), sum(len(o.violations) for o in news),
        reason or "No new violation, and no evidence that it is worse.",
        sum(o.success for o in olds) / total, sum(o.success for o in news) / total, len(scenarios), seeds, read[0] if read else None,
    )  # fmt: skip


def _reason(
    gains: Sequence[int], seeds: int, fresh: Sequence[str], read: tuple[Comparison, float] | None, margin: float
) -> str:
    """Why the new agent is refused; empty if it is not."""
    if fresh:
        return f"It breaks rules that were kept before ({len(fresh)} in all): {fresh[0]}"
    difference, worse = sum(gains) / (seeds * len(gains)), sign_flip(gains)[1]
    if all(gain < 0 for gain in gains):
        return "It serves fewer customers in every single scenario."
    if worse <= ALPHA:
        return f"It serves fewer customers: {difference:+.3f}, which is no accident (one-sided p = {worse:.3f})."
    if difference < -margin:
        return f"It served {-difference:.3f} fewer customers here, more than the margin of {margin:.3f}."
    if read and read[1] <= ALPHA:
        return f"It understands fewer messages: {read[0].difference:+.3f}, which is no accident (one-sided p = {read[1]:.3f})."
    if read and read[0].difference < -margin:
        return f"It understood {-read[0].difference:.3f} fewer messages here, more than the margin of {margin:.3f}."
    return ""


def sign_flip(gains: Sequence[int]) -> tuple[float, float]:
    """The exact sign-flip test of paired differences: p-values for any difference, and for one below zero.

    If two agents are equally good, each difference could as well have had the other sign; the p-values say how many of all
    such worlds are as extreme as this one. For differences of one it is McNemar's exact test. Source: Fisher 1935, section 21.

    >>> sign_flip([-1, -1, -1, -1, -1, 0])
    (0.0625, 0.03125)
    """
    worlds = Counter({0: 1})
    for gain in filter(None, gains):
        flipped: Counter = Counter()
        for total, ways in worlds.items():
            flipped[total + gain] += ways
            flipped[total - gain] += ways
        worlds = flipped
    here, all_ways = sum(gains), sum(worlds.values())
    extreme = sum(ways for total, ways in worlds.items() if abs(total) >= abs(here))
    return extreme / all_ways, sum(ways for total, ways in worlds.items() if total <= here) / all_ways


def _compare_intents(before: Callable, after: Callable, messages: Sequence[Message]) -> tuple[Comparison, float]:
    """Both agents' intents on the same messages, and the one-sided p-value for the new one's being worse."""
    from agentlab import evaluate

    right = [_right(make_agent, messages) for make_agent in (before, after)]
    return evaluate.compare(*right), sign_flip([new - old for old, new in zip(*right, strict=True)])[1]


def _right(make_agent: Callable, messages: Sequence[Message]) -> list[bool]:
    from agentlab.shop.store import Store

    store = Store.sample()
    try:
        understand = getattr(getattr(make_agent(store), "perceive", None), "understand", None)
        if understand is None:
            raise AgentLabError(
                "To compare intents both agents need `perceive.understand`, as those of `build_agent` have."
            )
        read = understand([m.text for m in messages])
    finally:
        store.close()
    guesses = [u.intent if u.in_scope else OUT_OF_SCOPE for u in read]
    return [guess in (m.intents or (OUT_OF_SCOPE,)) for guess, m in zip(guesses, messages, strict=True)]
