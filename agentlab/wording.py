"""What the assistant says from verified facts: prompts for a language model, and a check that its words keep to the facts.

A small model writes well and invents easily. So each reply is read for its hard facts (`claims`, `names`); what stands
neither in the facts nor, where that is harmless, in the customer's message is `unsupported`, and then a `template` speaks.

Not covered: whether a fact is put to the right use ("arrives on" with the day of the last scan), polarity ("is not
cancelled"), names in lower case or put together from known words, inventions without a number or a name, ordinals and
fractions in words ("the second parcel", "half a day"), and languages other than English.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path

from agentlab.corpus import data_folder, read_text, read_yaml
from agentlab.errors import DataError, UnknownName

PARTS = ("train", "development", "test")
SHOP = "Brightwire"
MAX_WORDS = 60  # the longest reply of the data has 41


# --- the data ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """A customer's message, verified facts (``facts["situation"]`` names the situation) and a good reply."""

    message: str
    facts: dict
    reply: str
    part: str


@dataclass(frozen=True)
class Ticket:
    """A letter or dialogue and its summary in one sentence."""

    kind: str
    text: str
    summary: str
    part: str


def load_replies(part: str | None = None, file: str | Path | None = None) -> list[Reply]:
    """The replies of a part (train, development or test), or all; `DataError` where an entry is malformed.

    >>> len(load_replies("development"))
    60
    """
    return _load(file or data_folder() / "replies" / "replies.yml", Reply, part)


def load_tickets(part: str | None = None, file: str | Path | None = None) -> list[Ticket]:
    """The tickets of a part (train, development or test), or all; `DataError` where an entry is malformed.

    >>> load_tickets("train")[0].kind
    'letter'
    """
    return _load(file or data_folder() / "tickets" / "tickets.yml", Ticket, part)


def _load(file: str | Path, kind: type, part: str | None) -> list:
    if part is not None and part not in PARTS:
        raise UnknownName("part", part, PARTS)
    entries = read_yaml(file)
    if not isinstance(entries, list):
        raise DataError("expected a list of entries.", file)
    found = [kind(**_checked(entry, kind, file, n)) for n, entry in enumerate(entries, 1)]
    return [entry for entry in found if part in (None, entry.part)]


def _checked(entry: object, kind: type, file: str | Path, n: int) -> dict:
    keys = list(kind.__dataclass_fields__)
    if not isinstance(entry, dict) or set(entry) != set(keys):
        found = ", ".join(map(str, entry)) if isinstance(entry, dict) else repr(entry)
        raise DataError(f"entry {n} needs exactly the keys {', '.join(keys)}; found {found}.", file)
    for key in keys:
        if key != "facts" and not (isinstance(entry[key], str) and entry[key].strip()):
            raise DataError(f"entry {n}: `{key}` must be a text that is not empty.", file)
    facts = entry.get("facts", {"situation": "none needed"})
    if not isinstance(facts, dict) or not str(facts.get("situation") or "").strip():
        raise DataError(f"entry {n}: facts must be a table with a `situation`.", file)
    if entry["part"] not in PARTS:
        raise DataError(f"entry {n}: unknown part {entry['part']!r}.", file, cure=f"Expected {', '.join(PARTS)}.")
    return entry


# --- prompts -------------------------------------------------------------------------------------------------


def reply_prompt(message: str, facts: Mapping[str, object]) -> list[dict]:
    """Chat messages that ask for a reply from facts; kept short, since a small model reads them for each reply.

    >>> print(reply_prompt("where is it", {"situation": "order_late", "order_id": "W20415"})[1]["content"])
    situation: order late
    order id: W20415
    Customer: where is it
    """
    lines = [f"{_words(key)}: {_words(value) if key in SITUATIONS else value}" for key, value in _shown(facts).items()]
    system = f"You answer customers of the shop {SHOP} in one to three sentences. Use only the facts."
    return _chat(system, "\n".join([*lines, f"Customer: {message}"]))


def summary_prompt(text: str) -> list[dict]:
    """Chat messages that ask for a summary in one sentence."""
    return _chat("Summarize the text in one sentence: who wants what, and what was decided.", text)


def rewrite_prompt(text: str, tone: str) -> list[dict]:
    """Chat messages that ask for the same text in another tone, such as ``friendly`` or ``formal``."""
    return _chat(f"Rewrite the text in a {tone} tone. Keep every name, number and date.", text)


def _chat(system: str, user: str) -> list[dict]:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


# --- hard facts in a text ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A hard fact in a text: characters ``start`` to ``end`` (end excluded), its kind, and a value that can be compared."""

    text: str
    kind: str
    start: int
    end: int
    value: str


MONTHS = "January February March April May June July August September October November December".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()  # fmt: skip
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
WORD_VALUES = {word: n for n, word in enumerate(UNITS)} | {word: 20 + 10 * n for n, word in enumerate(TENS)}
COUNTED = "order|parcel|package|item|piece|box|return|refund|invoice|coupon|attempt"
CURRENCIES = {"€": "EUR", "$": "USD", "£": "GBP", "euro": "EUR", "dollar": "USD", "pound": "GBP"}

_DIGITS = r"[0-9]{1,12}(?:[.,][0-9]{1,12}){0,4}(?![0-9])"
_TEEN = "|".join(sorted(UNITS, key=len, reverse=True))
_UNIT = "|".join(UNITS[1:10])
_WORD = (
    rf"(?:(?:{'|'.join(TENS)})(?:[- ](?:{_UNIT})|(?![- ](?:{_UNIT})\b))|(?:a|one|two|three|four|five) hundred|{_TEEN})"
)
_QUANTITY = rf"(?<!\w)(?:{_DIGITS}|{_WORD}(?!\w))"
_TO = r"\s*(?:-|–|—|to|or|and)\s*"
_DAY = r"(?:3[01]|[12][0-9]|0?[1-9])(?:st|nd|rd|th)?(?!\w)"
_MONTH = (
    r"(?:(?:january|february|march|april|may(?!\s+(?:be|take|have|not|also|still|well|arrive|come|need)\b)|june|july|august"
    r"|september|october|november|december)(?!\w)|(?:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)(?!\w))"
)
_YEAR = r"(?:[.,]?\s+(?P<year>(?:19|20)[0-9]{2})(?!\w))?"
_TIME_UNIT = r"(?P<unit>second|sec|minute|min|hour|hr|day|night|week|month|year)s?(?!\w)"
_WORKING = r"(?:[\s-]+(?:full|whole|more|further|extra|calendar|(?P<working>working|business)))?[\s-]*"

Reading = Iterator[tuple[str, int, int, str]]  # kind, start, end, value


def claims(text: str) -> list[Claim]:
    """Every hard fact that a text states, in order: what costs money or trust when it is wrong.

    Kinds: money, percent, id (orders, parcels, tickets, coupons, model numbers), date, year, weekday, day (tomorrow),
    time, duration, number, email, phone, url, placeholder. Values compare equal however a fact is written.

    >>> [(c.kind, c.value) for c in claims("W20417: €5 by 2026-06-15, in two weeks")]
    [('id', 'W20417'), ('money', '5 EUR'), ('date', '06-15'), ('year', '2026'), ('duration', '14 day')]
    >>> [c.value for c in claims("5.00 euros by June 15, in 14 days")]
    ['5 EUR', '06-15', '14 day']
    """
    return _scan(text)[0]


def _scan(text: str) -> tuple[list[Claim], str]:
    """The claims, and the text with spaces in their place; each pattern reads what those before it have left."""
    found, rest = [], text
    for pattern, read in _PATTERNS:
        for match in list(pattern.finditer(rest)):
            for kind, start, end, value in read(match):
                found.append(Claim(text[start:end], kind, start, end, value))
                rest = rest[:start] + "\0" * (end - start) + rest[end:]
    return sorted(found, key=lambda c: c.start), rest


def _as(kind: str, value: Callable[[str], str]) -> Callable[[re.Match], Reading]:
    """A reader that takes a whole match as one claim."""

    def read(match: re.Match) -> Reading:
        yield kind, *match.span(), value(match[0])

    return read


def _plain_number(text: str) -> str:
    """A number as digits: 49,90 and 49.90 are 49.9; 1,049.00 and 1.049 are 1049; two is 2."""
    words = re.split(r"[\s-]+", text.strip().lower())
    if words[-1] == "hundred":
        return str(100 * WORD_VALUES.get(words[0], 1))
    if words[0] in WORD_VALUES:
        return str(sum(WORD_VALUES.get(word, 0) for word in words))
    return _from_digits(text)


def _from_digits(text: str) -> str:
    marks = re.findall(r"[.,]", text)
    if len(set(marks)) == 2 and text.rfind(marks[-1]) > text.rfind(marks[0]) and marks.count(marks[-1]) == 1:
        text = text.replace(marks[0], "")  # 1,049.00
    elif marks and re.fullmatch(r"[1-9][0-9]{0,2}(?:[.,][0-9]{3})+", text) and len(set(marks)) == 1:
        text = re.sub("[.,]", "", text)  # 1,049
    try:
        number = Decimal(text.replace(",", "."))
        return format(number.normalize() if number else Decimal(0), "f")
    except InvalidOperation:
        return text  # 1.2.3


def _money(match: re.Match) -> Reading:
    amount = _plain_number(match["amount"] or match["amount2"])
    unit = (match["currency"] or match["currency2"]).lower().rstrip("s")
    if unit == "cent" and re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", amount):
        amount, unit = _from_digits(str(Decimal(amount) / 100)), "eur"
    yield "money", *match.span(), f"{amount} {CURRENCIES.get(unit, unit.upper())}"


def _date(match: re.Match) -> Reading:
    """A day of a month, each day of a range ("3-5 June"), and the year as a claim of its own."""
    groups = match.groupdict()
    month = f"{_month_number(groups['month']):02d}"
    if groups.get("day2"):
        yield "date", *match.span("day2"), f"{month}-{_day_number(groups['day2'])}"
    named = [match.span(name) for name in ("day", "month") if groups.get(name)]
    first = match.start() if groups.get("year") and match.start("year") == match.start() else min(named)[0]  # ISO
    day = f"-{_day_number(groups['day'])}" if groups.get("day") else ""
    yield "date", first, max(named)[1], month + day
    if groups.get("year"):
        yield "year", *match.span("year"), groups["year"]


def _day_number(text: str) -> str:
    return f"{int(_digits(text)):02d}"


def _month_number(text: str) -> int:
    if text[0].isdigit():
        return int(text)
    return next(n for n, month in enumerate(MONTHS, 1) if month.lower().startswith(text.lower()[:3]))


def _slash_date(match: re.Match) -> Reading:
    """15/06 or 15.06.2026: the day first, as in Europe, unless only the other way round is a date."""
    (day, month), year = (match["day"], match["month"]), match["year"]
    if int(month) > 12:
        day, month = month, day
    if 1 <= int(day) <= 31 and 1 <= int(month) <= 12:
        end = match.start("year") - 1 if year else match.end()
        yield "date", match.start(), end, f"{int(month):02d}-{int(day):02d}"
        if year:
            yield "year", *match.span("year"), f"20{year}"[-4:]


def _duration(match: re.Match) -> Reading:
    """Each length of time: "3 to 5 working days" states two; weeks count as days, years as months."""
    unit = (match["unit"] or "").lower()
    for name in ("amount", "amount2"):
        if match.groupdict().get(name):
            end = match.end() if name == "amount2" or not match.groupdict().get("amount2") else match.end(name)
            yield "duration", match.start(name), end, _length(match[name], unit, bool(match["working"]))


def _length(amount: str, unit: str, working: bool) -> str:
    vague = {"a": "1", "an": "1", "several": "few", "couple of": "few"}
    number = vague.get(" ".join(amount.lower().split())) or _plain_number(amount)
    unit = {"sec": "second", "min": "minute", "hr": "hour"}.get(unit, unit)
    if working or not number.isdigit():
        return f"{number} {'working ' * working}{unit}"
    count = int(number)
    if unit == "hour" and count and count % 24 == 0:
        count, unit = count // 24, "day"
    factor, unit = {"week": (7, "day"), "year": (12, "month")}.get(unit, (1, unit))
    return f"{count * factor} {unit}"


def _clock(match: re.Match) -> Reading:
    """14:00, 2 pm, 2 o'clock, noon: as 24 hours."""
    if match["word"]:
        hour, minute = (0 if match["word"].lower() == "midnight" else 12), 0
    else:
        hour, minute = int(match["hour"] or match["hour2"]), int(match["minute"] or 0)
        half = (match["half"] or match["half2"] or "").lower()[:1]
        hour = hour % 12 + 12 * (half == "p") if half in ("a", "p") else hour
    yield "time", *match.span(), f"{hour:02d}:{minute:02d}"


def _percent(match: re.Match) -> Reading:
    yield "percent", *match.span(), _plain_number(match["amount"])


def _address(text: str) -> str:
    return re.sub(r"^(?:https?://)?(?:www\.)?|/$", "", text.lower())


def _digits(text: str) -> str:
    return re.sub("[^0-9]", "", text)


def _identifier(text: str) -> str:
    plain = re.sub(r"[#_-]", "", text).upper()
    return f"W{plain}" if text.startswith("#") and len(plain) == 5 else plain


def _number(match: re.Match) -> Reading:
    """A bare number; "one" only before what is counted, as it is mostly a pronoun."""
    if match[0].lower() != "one" or re.match(rf"\s+(?:{COUNTED})(?:e?s)?\b", match.string[match.end() :]):
        yield "number", *match.span(), _plain_number(match[0])


def _weekday(text: str) -> str:
    return next(day.lower() for day in WEEKDAYS if day.lower().startswith(text[:3].lower()))


def _compiled(pattern: str, flags: int = re.IGNORECASE) -> re.Pattern:
    return re.compile(pattern, flags)


_PERIOD = r"(?:this|next|last|coming)\s+(?:week|month|weekend|year)|the\s+weekend|this\s+(?:morning|afternoon|evening)"
_CURRENCY = r"€|\$|£|(?:EUR|euros?|USD|dollars?|GBP|pounds?|CHF|cents?)(?![a-z_])"
_PATTERNS: list[tuple[re.Pattern, Callable[[re.Match], Reading]]] = [
    # [Name], {order_id}, <|im_end|>
    (_compiled(r"\[[^\[\]\n]{1,40}\]|\{+[^{}\n]{1,40}\}+|<\|?[a-z][^<>\n]{0,40}>"), _as("placeholder", str.lower)),
    (_compiled(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), _as("email", str.lower)),
    (_compiled(r"(?:https?://|www\.)[^\s<>]*[\w/]|(?<![\w.-])(?:[\w-]+\.)+(?:com|org|net|eu|de|uk|io|shop|example)(?:/[^\s<>]*[\w/])?(?!\w)"), _as("url", _address)),
    # 2026-06-15; 15/06, 15/06/26; 15.06.2026; 3-5 June, 15th of June 2026; June 15, 2026
    (_compiled(r"(?<!\w)(?P<year>[0-9]{4})-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12][0-9]|3[01])(?![0-9])"), _date),
    (_compiled(r"(?<![\w.,/])(?P<day>[0-9]{1,2})/(?P<month>[0-9]{1,2})(?:/(?P<year>[0-9]{4}|[0-9]{2}))?(?![\w/])"), _slash_date),
    (_compiled(r"(?<![\w.,/])(?P<day>[0-9]{1,2})\.(?P<month>[0-9]{1,2})\.(?P<year>[0-9]{4})(?!\w)"), _slash_date),
    (_compiled(rf"(?<!\w)(?:(?P<day2>{_DAY}){_TO})?(?P<day>{_DAY})\s+(?:of\s+)?(?P<month>{_MONTH}){_YEAR}"), _date),
    (_compiled(rf"(?<!\w)(?P<month>{_MONTH})\.?\s+(?P<day>{_DAY})(?:{_TO}(?P<day2>{_DAY}))?{_YEAR}"), _date),
    # €49.90, EUR 5,-; five euros, 90 cents; 8 %, ten per cent
    (_compiled(rf"(?P<currency>{_CURRENCY})\s?(?P<amount>{_DIGITS})(?:,-)?|(?P<amount2>{_QUANTITY})[\s-]?(?P<currency2>{_CURRENCY})"), _money),
    (_compiled(rf"(?P<amount>{_QUANTITY})\s?(?:%|per ?cent(?!\w))"), _percent),
    # 14:00, 2:30 pm; 2 pm, 2 o'clock; noon
    (
        _compiled(
            r"(?<![\w.:])(?:(?P<hour>[01]?[0-9]|2[0-4])[:h](?P<minute>[0-5][0-9])(?:\s?(?P<half>[ap])\.?m\b)?"
            r"|(?P<hour2>1?[0-9])\s?(?:(?P<half2>[ap])\.?m\b|o['’]clock)|(?P<word>noon|midday|midnight))(?![\w:])"
        ),
        _clock,
    ),
    # 3 to 5 working days, 14-day; within a week; a few days
    (_compiled(rf"(?:(?P<amount>{_QUANTITY}){_TO})?(?P<amount2>{_QUANTITY}){_WORKING}{_TIME_UNIT}"), _duration),
    (_compiled(rf"\b(?:within|in|for|after|than|about|takes?|under|over|another|every)\s+(?P<amount>an?)(?!\w){_WORKING}{_TIME_UNIT}"), _duration),
    (_compiled(rf"\b(?P<amount>few|several|couple of){_WORKING}{_TIME_UNIT}"), _duration),
    # +353 20 911 6604; #20417, BX4490217DE, BW-SORRY101, 4471002
    (_compiled(r"(?<!\w)(?:\+|0)[0-9][0-9 ()/-]{6,}[0-9](?!\w)"), _as("phone", _digits)),
    (_compiled(r"(?<!\w)(?<!\w-)(?:#[0-9]+|[a-z]+(?:-[a-z]+)*-?[0-9](?:[\w-]*\w)?|[0-9]+[a-z]+[0-9][\w-]*|[0-9]{6,})(?!\w)"), _as("id", _identifier)),
    # the 16th; August; in May
    (_compiled(r"(?<![\w.,])[0-9]{1,2}(?:st|nd|rd|th)(?!\w)"), _as("date", lambda text: text[:-2] + "th")),
    (_compiled(r"(?<!\w)(?P<month>january|february|april|june|july|august|september|october|november|december)(?!\w)" + _YEAR), _date),
    (_compiled(r"\b(?:[Ii]n|[Bb]y|[Uu]ntil|of|from|since|during|early|late|mid)[ -](?P<month>March|May)(?!\w)" + _YEAR, 0), _date),
    (_compiled(rf"(?<!\w)(?:{'|'.join(WEEKDAYS)})s?(?!\w)"), _as("weekday", _weekday)),
    (_compiled(r"(?<!\w)(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?=[.,]|\s[0-9])", 0), _as("weekday", _weekday)),
    (_compiled(rf"(?<!\w)(?:today|tomorrow|yesterday|tonight|overnight|{_PERIOD})(?!\w)"), _as("day", lambda text: " ".join(text.lower().split()))),
    (_compiled(_QUANTITY), _number),
]  # fmt: skip


# --- names in a text -----------------------------------------------------------------------------------------

NO_NAMES = frozenset(
    f"i ok mr mrs ms tv pdf id faq customer service support team order orders parcel {SHOP.lower()}".split()
)
_NAME = re.compile(r"[^\W\d_][^\W_]*")
_APOSTROPHE = re.compile(r"(?:n['’]t|['’](?:s|m|d|ll|re|ve))\b", re.IGNORECASE)


def names(text: str) -> list[Claim]:
    """Words that look like names: with a capital, outside `claims`; at the beginning of a sentence only unusual words.

    >>> [n.text for n in names("Hermes took your parcel to Lyon. It is there.")]
    ['Hermes', 'Lyon']
    """
    rest = _APOSTROPHE.sub(lambda m: " " * len(m[0]), _scan(text)[1])
    found = []
    for match in _NAME.finditer(rest):
        word = match[0]
        if word.islower() or len(word) < 2 or _folded(word) in NO_NAMES:
            continue
        if not (_is_ordinary(word) and _begins_sentence(rest[: match.start()])):
            found.append(Claim(word, "name", *match.span(), _folded(word)))
    return found


def _folded(word: str) -> str:
    """Lower case without accents, so that Poznan is Poznań."""
    plain = unicodedata.normalize("NFKD", word.casefold().translate(str.maketrans("łøđæœ", "lodao")))
    return "".join(c for c in plain if not unicodedata.combining(c))


def _begins_sentence(before: str) -> bool:
    before = before.rstrip(" \t\"'“”„‘’()")
    return not before or before[-1] in ".!?:;>\n\r•*–-"


def _is_ordinary(word: str) -> bool:
    """Whether a word may begin a sentence without being a name."""
    lower = word.lower()
    return word[1:].islower() and (lower in _ordinary_words() or lower.endswith(("ly", "ing", "ed")))


# Words that may begin a sentence; a list, as no data of the course says what is not a name. ca, wo: of can't and won't.
STARTERS = """
ca wo
i me my mine we us our ours you your yours he him his she her hers it its they them their theirs this that these those
here there who whom whose which what when where why how whatever whenever wherever whichever whoever someone something
anyone anything everyone everything nobody nothing none neither either both all any each every few many much more most
less least several some such other another a an the no not never always often sometimes usually mostly rarely soon
later now then today again already still yet just only even also too very quite rather almost nearly perhaps maybe
otherwise instead indeed anyway meanwhile moreover besides hence therefore thus however nevertheless and but or nor so
because since as if unless until till while whereas though although whether once before after above below about across
against along among around at behind beneath beside between beyond by despite down during except for from in inside
into like near of off on onto out outside over past per regarding concerning through throughout to toward towards
under up upon via with within without according apart am is are was were be been being do does did done has have had
having can could may might must shall should will would ought need let please yes ok okay right wrong sure certainly
sorry thanks thank welcome hello hi hey dear good great fine lovely nice wonderful perfect excellent brilliant
fantastic splendid glad happy pleased delighted afraid sad alas understood agreed granted noted true false correct
exact clear quick better best worse worst bad easy simple possible impossible likely unlikely available free
congratulations greetings regards apologies pleasure goodbye bye cheers enjoy bear mind keep take make give get go
come put set send bring show tell say ask answer call write read reply respond check look see find try use open close
press click tap type enter choose pick select hold pull push turn switch plug unplug wait stop start begin leave
return pack print sign log visit follow note remember forget consider imagine expect hope wish want love feel know
think believe trust understand mean help contact confirm cancel change add remove order buy pay track collect receive
accept refuse hand wrap reset restart repeat rest first second third last next finally one two three four five six
seven eight nine ten half part day night morning afternoon evening week month year time weekends weekdays customers
people anybody somebody everybody nowhere somewhere anywhere everywhere far long short old new big small hot cold warm
early late full empty plus minus given provided assuming supposing seeing judging
"""


@lru_cache(maxsize=1)
def _ordinary_words() -> frozenset[str]:
    """What the help pages write in lower case, and a few words more that begin a sentence."""
    pages = sorted((data_folder() / "knowledge" / "articles").glob("*.md"))
    words = {w for page in pages for w in re.findall(r"(?<![\w@.-])[a-z]{2,}\b", read_text(page))}
    return frozenset(words | set(STARTERS.split()))


# --- what the facts support ----------------------------------------------------------------------------------

# A customer may name an order or a day, and the reply may repeat it; what the customer says of money, time spans or
# addresses on the web ("you owe me €500") must not become the shop's word.
FROM_MESSAGE = frozenset({"id", "number", "date", "year", "weekday", "email", "phone"})


def unsupported(reply: str, facts: Mapping[str, object], message: str = "") -> list[Claim]:
    """What a reply states, or names, that stands neither in its facts nor, where it may be repeated, in the message.

    >>> facts = {"situation": "order_late", "order_id": "W20415", "carrier": "Boxline"}
    >>> [c.text for c in unsupported("W20415 is with Hermes and arrives within 3 days.", facts)]
    ['Hermes', '3 days']
    """
    known, words = _known(facts, message)
    wrong = [c for c in claims(reply) if (c.kind, c.value) not in known]
    wrong += [n for n in names(reply) if not {n.value, n.value.removesuffix("s")} & words]
    return sorted(wrong, key=lambda c: c.start)


def faithful(reply: str, facts: Mapping[str, object], message: str = "") -> bool:
    """Whether a reply says something and states nothing `unsupported`."""
    return bool(reply.strip()) and not unsupported(reply, facts, message)


def _known(facts: Mapping[str, object], message: str) -> tuple[set[tuple[str, str]], set[str]]:
    """The (kind, value) of all that facts and message support, and their words."""
    shown = _shown(facts)
    texts = [*shown.values(), *(_words(key) for key in shown), *_counted(shown), *_iso_dates(facts)]
    found = [c for text in texts for c in claims(text)]
    found += [c for c in claims(message) if c.kind in FROM_MESSAGE and not _is_price(c)]
    known = {(c.kind, c.value) for c in found}
    words = {_folded(w) for text in [*texts, message] for w in _NAME.findall(text)}
    return known | {other for claim in known for other in _also(*claim)}, words


def _counted(shown: Mapping[str, str]) -> Iterator[str]:
    """Bare numbers with the words of their key ("3 days late"), and how many facts a numbered key has."""
    for key, value in shown.items():
        if re.fullmatch(_DIGITS, value):
            yield f"{value} {_words(key)}"
        if match := re.fullmatch(r"\D+_([1-9])", key):
            yield match[1]


def _iso_dates(facts: Mapping[str, object]) -> Iterator[str]:
    """Weekday and year of each date whose year is known."""
    for value in facts.values():
        for text in re.findall(r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}\b", str(value)):
            try:
                yield f"{WEEKDAYS[dt.date.fromisoformat(text).weekday()]} {text}"
            except ValueError:
                continue


def _is_price(claim: Claim) -> bool:
    """A bare 89.90: money, though the customer left out the sign."""
    return claim.kind == "number" and bool(re.search(r"[.,][0-9]{2}$", claim.text))


def _also(kind: str, value: str) -> Iterator[tuple[str, str]]:
    """Other ways to state a known fact, each less exact."""
    if kind == "date" and re.fullmatch(r"\d\d-\d\d", value):
        yield from (("date", value[:2]), ("date", f"{int(value[3:])}th"))
    elif kind == "id" and re.fullmatch(r"W\d{5}", value):
        yield "number", value[1:]
    elif kind == "number" and re.fullmatch(r"\d{5}", value):
        yield "id", f"W{value}"
    elif kind == "number" and re.fullmatch(r"\d{4}", value):
        yield "year", value
    elif kind == "year":
        yield "number", value
    elif kind == "money" and "." in value:
        yield "number", value.split()[0]


# --- templates: the words where the model's are not used -----------------------------------------------------

SITUATIONS = frozenset({"situation", "first", "second"})  # facts whose value names a situation
DETAILS = {"expected": "expected on {}", "delivered": "delivered on {}", "placed": "placed on {}", "date": "of {}", "refund": "refund {}"}  # fmt: skip
_PLACE = re.compile(r"\{(\w+)(?:=([^{}]*)|\|([^{}]*))?\}")


def template(facts: Mapping[str, object]) -> str:
    """One to three plain sentences from facts (four for two wishes), by hand-written patterns.

    Facts that its situation does not know are left out; in an unknown situation they are listed.

    >>> template({"situation": "order_late", "order_id": "W20415", "days_late": 1, "last_seen": "Bratislava"})
    'I am sorry that your order W20415 is 1 day late. It was last seen in Bratislava.'
    >>> template({"situation": "order_on_the_moon", "order_id": "W20415", "rocket": "two"})
    'This is what I can tell you: order id: W20415, rocket: two.'
    """
    shown = _shown(facts)
    situation = shown.pop("situation", "")
    if "first" in shown and "second" in shown:
        return " ".join(_speak_twice(shown))
    return " ".join(_speak(situation, shown)[0])


def _speak_twice(facts: dict[str, str]) -> list[str]:
    """The sentences for two wishes; the second gets the facts of its own (second_...) and what the first left."""
    own = {key.removeprefix("second_"): value for key, value in facts.items() if key.startswith("second_")}
    rest = {key: value for key, value in facts.items() if key not in SITUATIONS and not key.startswith("second_")}
    first, used = _speak(facts["first"], rest)
    left = {key: value for key, value in rest.items() if key not in used}
    return first + _speak(facts["second"], left | own)[0]


def _speak(situation: str, facts: dict[str, str]) -> tuple[list[str], set[str]]:
    """The sentences for a situation, and the keys of the facts in them."""
    said, used = [], set()
    known = facts | _rows(facts)
    for slot in _templates().get(situation, []):
        filled = next(filter(None, (_filled(sentence, known) for sentence in slot)), None)
        if filled:
            said.append(_tidied(filled[0]))
            used |= filled[1]
    return (said, used) if said else ([_listing(facts)], set(facts))


@lru_cache(maxsize=1)
def _templates() -> dict[str, list[list[str]]]:
    """situation -> slots -> sentences, of which the first that fits speaks."""
    raw = read_yaml(data_folder() / "replies" / "templates.yml")
    return {name: [[slot] if isinstance(slot, str) else slot for slot in slots] for name, slots in raw.items()}


def _filled(sentence: str, facts: Mapping[str, str]) -> tuple[str, set[str]] | None:
    """A sentence with its facts, and their keys; None where it lacks one outside brackets."""
    text, used = "", set()
    for n, part in enumerate(re.split(r"\[([^\[\]]*)\]", sentence)):  # every second part stood in brackets
        places = list(_PLACE.finditer(part))
        if all(_fits(place, facts) for place in places):
            text += _PLACE.sub(lambda p: "" if p[2] is not None else facts.get(p[1], p[3]), part)
            used |= {place[1] for place in places}
        elif n % 2 == 0:
            return None
    return text, used


def _fits(place: re.Match, facts: Mapping[str, str]) -> bool:
    key, pattern, default = place.groups()
    if pattern is not None:
        return key in facts and re.fullmatch(pattern, facts[key], re.IGNORECASE) is not None
    return key in facts or default is not None


def _tidied(sentence: str) -> str:
    """Capital and full stop; "1 day", not "1 days"; "today", not "on today"."""
    text = re.sub(r"\b(?<![\d.,])1 ((?:working |calendar |open )?(?:day|week|month|hour|piece|parcel|order|item|invoice|attempt))s\b", r"1 \1", sentence)  # fmt: skip
    text = re.sub(r"\bon (today|tomorrow|yesterday|this )", r"\1", " ".join(text.split()))
    text = text.rstrip(" .,;:!?") + "."
    return text[:1].upper() + text[1:]


def _listing(facts: Mapping[str, str]) -> str:
    facts = {key: value for key, value in facts.items() if key not in SITUATIONS | {"rule"}}
    if not facts:
        return "I am sorry, but I have no information on this yet."
    return _tidied("This is what I can tell you: " + ", ".join(f"{_words(k)}: {v}" for k, v in facts.items()))


def _rows(facts: Mapping[str, str]) -> dict[str, str]:
    """Numbered facts in a row: step_then, order_and, choice_or, feature_list; with an order stands what belongs to it."""
    rows: dict[str, list[str]] = {}
    for key in sorted(facts, key=lambda k: int(re.sub(r"\D", "", k)[-6:] or 0)):
        if match := re.fullmatch(r"(\D+)_(\d+)", key):
            details = _details(facts, match[2]) if match[1] == "order" else ""
            rows.setdefault(match[1], []).append(facts[key] + details)
    joined = {"list": (", ", ", "), "and": (", ", " and "), "or": (", ", " or "), "then": (", ", ", then ")}
    return {f"{name}_{how}": _joined(row, *marks) for name, row in rows.items() for how, marks in joined.items()}


def _details(facts: Mapping[str, str], number: str) -> str:
    stems = {k.removesuffix(f"_{number}"): v for k, v in facts.items() if k.endswith(f"_{number}")}
    said = [DETAILS.get(stem, "{}").format(value) for stem, value in stems.items() if stem != "order"]
    return f" ({', '.join(said)})" if said else ""


def _joined(row: Sequence[str], mark: str, last: str) -> str:
    return last.join(filter(None, [mark.join(row[:-1]), row[-1]]))


def _shown(facts: Mapping[str, object]) -> dict[str, str]:
    """Facts as a customer would read them; those without a value are left out."""
    shown = {str(key): _as_text(value) for key, value in facts.items()}
    return {key: text for key, text in shown.items() if text}


def _as_text(value: object) -> str:
    if value is None or isinstance(value, Mapping):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.date):
        return f"{value.day} {MONTHS[value.month - 1]} {value.year}"
    if isinstance(value, list | tuple):
        return _joined([t for t in map(_as_text, value) if t] or [""], ", ", " and ")
    return " ".join(str(value).split())


def _words(key: str) -> str:
    return key.replace("_", " ")


# --- model or template ---------------------------------------------------------------------------------------


@dataclass
class Worded:
    """A reply, who wrote it (``model`` or ``template``), and what was unsupported in the model's words."""

    text: str
    source: str
    unsupported: list[Claim] = field(default_factory=list)


def word(write: Callable[[list[dict]], str], message: str, facts: Mapping[str, object]) -> Worded:
    """Ask a language model for a reply; the template speaks where that is empty, too long,
    cut off, an echo of the prompt's lines, or states what no fact supports.

    ``write`` turns chat messages into a text. Whatever it raises is passed on.

    >>> facts = {"situation": "order_delivered", "order_id": "W20436", "delivered": "6 June"}
    >>> word(lambda prompt: "It was delivered on 7 June.", "where is it", facts).text
    'Your order W20436 was delivered on 6 June.'
    """
    prompt = reply_prompt(message, facts)
    text = (write(prompt) or "").strip()
    wrong = unsupported(text, facts, message)
    echoed = set(text.splitlines()) & set(prompt[-1]["content"].splitlines())
    if wrong or echoed or not _is_whole(text):
        return Worded(template(facts), "template", wrong)
    return Worded(text, "model")


def _is_whole(text: str) -> bool:
    """Not empty, not too long, and not cut off."""
    return 0 < len(text.split()) <= MAX_WORDS and text.rstrip("\"'”’)").endswith((".", "!", "?"))


# --- how near a summary is to a reference --------------------------------------------------------------------


def rouge(summary: str, reference: str) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004) as F1, without stemming: shared words, pairs, longest common subsequence.

    >>> scores = rouge("the cat sat", "the cat lay")
    >>> {name: round(score, 2) for name, score in scores.items()}
    {'rouge-1': 0.67, 'rouge-2': 0.5, 'rouge-l': 0.67}
    """
    ours, theirs = (re.findall(r"[a-z0-9]+", text.lower()) for text in (summary, reference))
    pairs = [list(itertools.pairwise(words)) for words in (ours, theirs)]
    return {
        "rouge-1": _f1(_shared(ours, theirs), len(ours), len(theirs)),
        "rouge-2": _f1(_shared(*pairs), *map(len, pairs)),
        "rouge-l": _f1(_longest_common(ours, theirs), len(ours), len(theirs)),
    }


def _shared(ours: Iterable, theirs: Iterable) -> int:
    return (Counter(ours) & Counter(theirs)).total()


def _f1(shared: int, ours: int, theirs: int) -> float:
    return 2 * shared / (ours + theirs) if shared else 0.0


def _longest_common(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """The length of the longest common subsequence, row by row."""
    row = [0] * (len(theirs) + 1)
    for word_ in ours:
        above, row = row, [0]
        for n, other in enumerate(theirs):
            row.append(above[n] + 1 if word_ == other else max(above[n + 1], row[n]))
    return row[-1]
