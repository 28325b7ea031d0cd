"""Financial news: items with topic, sentiment and company, who is meant in a text, and where the parts come from.

The items lie in ``data/finance/items/<register>/*.csv``, one a row; what their labels mean stands in ``guide.md``. Sentiment is
that for the owners of the item's company, so the same text can be good news and bad news: `masked` writes a text from one
company's side, which is how models read it. Sentences in the shape of Financial PhraseBank are read by `load_phrasebank`.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path

from agentlab import corpus
from agentlab.errors import AgentLabError, DataError, UnknownName

# How items are written: says what it means; leaves it to the reader; plain, by other writers; what was placed in the quarter.
REGISTERS = ("plain", "hard", "fresh", "events")
PARTS = (
    *corpus.SPLITS,
    "challenge",
    "fresh",
    "events",
)  # challenge and fresh: hard items and other writers', never learned
SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}
SENTIMENTS = ("positive", "neutral", "negative")
COLUMNS = ("time", "source", "company", "topic", "sentiment", "story", "text")
MEANT, OTHER = "the company", "another company"  # what the names of companies become for a model


@dataclass(frozen=True)
class Company:
    """A company that is watched: its ticker, its names (the full one first), and what it does."""

    ticker: str
    names: tuple[str, ...]
    sector: str

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass(frozen=True)
class News:
    """One headline, note or post about a company ("" for none), with its labels; items of one story report one event."""

    text: str
    company: str = ""
    topic: str = ""
    sentiment: str = ""
    time: datetime | None = None
    source: str = "wire"
    story: str = ""
    file: str = ""
    line: int = 0

    @property
    def id(self) -> str:
        """Ten hexadecimal digits that depend on the text alone."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:10]

    @property
    def register(self) -> str:
        """How it is written: plain, hard, fresh or events; the name of its folder."""
        return Path(self.file).parent.name


@dataclass(frozen=True)
class PlacedEvent:
    """What was placed in the written quarter: a surge of negative news, or busy days that are none."""

    id: str
    kind: str  # surge or busy
    company: str
    topic: str
    first: date
    last: date
    what: str


# --- reading -------------------------------------------------------------------------------------------------


def finance_folder(folder: str | Path | None = None) -> Path:
    """``data/finance`` of the course, or the folder that was given."""
    return Path(folder) if folder else corpus.data_folder() / "finance"


def load_labels(folder: str | Path | None = None) -> dict[str, dict[str, str]]:
    """``{"topics": {name: meaning}, "sentiments": ..., "sources": ...}``; raises `DataError` where a table is missing."""
    file = finance_folder(folder) / "labels.yml"
    labels = corpus.read_yaml(file)
    for table in ("topics", "sentiments", "sources"):
        if not isinstance(labels, dict) or not isinstance(labels.get(table), dict):
            raise DataError(f"the table `{table}` is missing.", file)
    return labels


def load_companies(folder: str | Path | None = None) -> dict[str, Company]:
    """The companies by ticker; raises `DataError` for an entry without name or sector, or a name that two share."""
    file = finance_folder(folder) / "companies.yml"
    entries = corpus.read_yaml(file)
    if not isinstance(entries, dict):
        raise DataError("expected a table of tickers.", file)
    companies, owner = {}, {}
    for ticker, entry in entries.items():
        if not isinstance(entry, dict) or not {"name", "sector"} <= set(entry):
            raise DataError(f"{ticker} needs `name` and `sector`.", file)
        company = Company(ticker, (entry["name"], *entry.get("also", ())), entry["sector"])
        for name in (*company.names, ticker):
            if owner.setdefault(name.lower(), ticker) != ticker:
                raise DataError(f"{ticker} and {owner[name.lower()]} are both called {name!r}.", file)
        companies[ticker] = company
    return companies


def load_news(part: str | None = None, folder: str | Path | None = None) -> list[News]:
    """The items of one part, or all, in the order of time.

    train and validation hold plain and hard items, test plain ones, challenge hard ones; events are never learned either.
    Raises `DataError` with file and line for a row that does not fit, and `UnknownName` for another part.
    """
    if part is not None and part not in PARTS:
        raise UnknownName("part", part, PARTS)
    folder = finance_folder(folder)
    items = read_items(folder)
    if part is not None:
        splits = corpus.read_splits(folder / "splits.csv")
        items = [i for i in items if part_of(i, splits) == part]
    return sorted(items, key=lambda i: (i.time or datetime.min, i.id, i.company))


def part_of(item: News, splits: Mapping[str, tuple[str, int]]) -> str:
    """The part in which an item lies, given `corpus.read_splits`; raises `DataError` for one that is in none."""
    if item.register == "events":
        return "events"
    if item.id not in splits:
        raise DataError(f"this item is in no part: {item.text!r}.", item.file, item.line, "Run `python -m agentlab.news splits`.")  # fmt: skip
    split = splits[item.id][0]
    return {"hard": "challenge", "fresh": "fresh"}.get(item.register, split) if split == "test" else split


def read_items(folder: Path) -> list[News]:
    """All items of the CSV files below ``items/``, file by file."""
    labels, companies = load_labels(folder), load_companies(folder)
    files = [file for register in REGISTERS for file in sorted((folder / "items" / register).glob("*.csv"))]
    if not files:
        raise DataError("no items (plain/*.csv and so on) were found here.", folder / "items")
    return [item for file in files for item in read_news_file(file, labels, companies)]


def read_news_file(
    file: str | Path, labels: Mapping[str, Mapping[str, str]], companies: Mapping[str, Company]
) -> list[News]:
    """The items of one CSV file with the columns time, source, company, topic, sentiment, story, text."""
    rows = csv.reader(corpus.read_text(file).splitlines(keepends=True), strict=True)
    items = []
    try:
        if tuple(next(rows, ())) != COLUMNS:
            raise DataError(f"the first line must be {','.join(COLUMNS)}.", file, 1)
        for row in rows:
            items.append(_item(row, str(file), rows.line_num, labels, companies))
    except csv.Error as error:
        raise DataError(f"malformed CSV: {error}.", file, rows.line_num) from None
    return items


def _item(row: list[str], file: str, line: int, labels, companies) -> News:
    if len(row) != len(COLUMNS):
        raise DataError(f"expected {len(COLUMNS)} cells, found {len(row)}.", file, line, "Quote a text with commas.")
    time, source, company, topic, sentiment, story, text = row
    if not text.strip():
        raise DataError("an item without text.", file, line)
    try:
        when = datetime.fromisoformat(time)
    except ValueError:
        raise DataError(f"{time!r} is no time.", file, line, "Write it as 2026-02-09T08:40.") from None
    for kind, value, known in (
        ("source", source, labels["sources"]), ("topic", topic, labels["topics"]),
        ("sentiment", sentiment, labels["sentiments"]), ("company", company, {**companies, "": None}),
    ):  # fmt: skip
        if value not in known:
            raise DataError(str(UnknownName(kind, value, known)), file, line)
    return News(text, company, topic, sentiment, when, source, story, file, line)


def load_events(folder: str | Path | None = None) -> list[PlacedEvent]:
    """What was placed in the written quarter, in the order of time; raises `DataError` for an entry that does not fit."""
    folder = finance_folder(folder)
    file, topics, companies = folder / "events.yml", load_labels(folder)["topics"], load_companies(folder)
    events = []
    for id, entry in corpus.read_yaml(file).items():
        try:
            event = PlacedEvent(id, entry["kind"], entry.get("company", ""), entry["topic"], entry["first"], entry["last"], entry["what"])  # fmt: skip
        except (KeyError, TypeError, AttributeError):
            raise DataError(f"{id} needs kind, topic, first, last and what.", file) from None
        if (
            event.kind not in ("surge", "busy")
            or event.topic not in topics
            or event.company not in {**companies, "": None}
        ):
            raise DataError(f"{id} has an unknown kind, topic or company.", file)
        if not (isinstance(event.first, date) and isinstance(event.last, date) and event.first <= event.last):
            raise DataError(f"{id} needs days, the first not after the last.", file)
        events.append(event)
    return sorted(events, key=lambda e: e.first)


# --- who is meant --------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _names(companies: tuple[Company, ...]) -> tuple[re.Pattern, dict[str, str]]:
    owner = {name.lower(): c.ticker for c in companies for name in (*c.names, c.ticker)}
    longest_first = sorted(owner, key=len, reverse=True)
    return re.compile(rf"\$?(?<!\w)({'|'.join(map(re.escape, longest_first))})(?!\w)", re.I), owner


def find_companies(text: str, companies: Mapping[str, Company]) -> list[str]:
    """The tickers of the known companies that a text names, by name, short name or ticker, in the order of appearance.

    >>> find_companies("Zeta sues ALF's owner", {"ALF": Company("ALF", ("Alfa",), "cars")})
    ['ALF']
    """
    if not companies:
        return []
    pattern, owner = _names(tuple(companies.values()))
    return list(dict.fromkeys(owner[m[1].lower()] for m in pattern.finditer(text)))


def masked(text: str, company: str, companies: Mapping[str, Company]) -> str:
    """The text from one company's side: its names become "the company", those of other known ones "another company".

    A model that reads this can neither learn that a name is bad news, nor take a rival's loss for the company's own.

    >>> both = {t: Company(t, (n,), "cars") for t, n in (("ALF", "Alfa"), ("BET", "Beta"))}
    >>> masked("Alfa beats Beta", "ALF", both), masked("Alfa beats Beta", "BET", both)
    ('the company beats another company', 'another company beats the company')
    """
    if not companies:
        return text
    pattern, owner = _names(tuple(companies.values()))
    return pattern.sub(lambda m: MEANT if owner[m[1].lower()] == company else OTHER, text)


# --- parts ---------------------------------------------------------------------------------------------------


def story_groups(items: Sequence[News], companies: Mapping[str, Company]) -> list[int]:
    """A group number for each item, shared by all that may tell of the same thing.

    These are: items of one story; of one text; near-duplicates but for the name; and items on one company with one topic and
    one sentiment, since the same news is told again in other words, which no comparison of letters finds.
    """
    near = corpus.near_duplicate_groups([masked(i.text, i.company, companies) for i in items])
    root = list(range(len(items)))

    def find(n: int) -> int:
        while root[n] != n:
            root[n] = root[root[n]]
            n = root[n]
        return n

    first: dict[tuple, int] = {}
    for n, item in enumerate(items):
        keys = [("near", near[n]), ("text", item.text)]
        if item.story:
            keys.append(("story", item.story))
        if item.company:
            keys.append((item.company, item.topic, item.sentiment))
        for key in keys:
            a, b = sorted((find(first.setdefault(key, n)), find(n)))
            root[b] = a
    return [find(n) for n in range(len(items))]


def write_splits(folder: str | Path | None = None, seed: int = 0) -> Counter:
    """Write ``splits.csv`` and return how many items each part got; items that stand in it keep their part."""
    folder = finance_folder(folder)
    items, file = [i for i in read_items(folder) if i.register != "events"], folder / "splits.csv"
    before = corpus.read_splits(file) if file.is_file() else {}
    groups = story_groups(items, load_companies(folder))
    labels = [f"{i.topic} {i.sentiment}" for i in items]
    splits = corpus.assign_splits(labels, groups, seed, SHARES, [before.get(i.id, ("",))[0] for i in items])
    rows = sorted({(i.id, split, group) for i, split, group in zip(items, splits, groups, strict=True)})
    with open(file, "w", newline="", encoding="utf-8") as out:
        csv.writer(out, lineterminator="\n").writerows([("message_id", "split", "group"), *rows])
    return Counter(part_of(i, {id: (split, 0) for id, split, _ in rows}) for i in items)


# --- sets from elsewhere -------------------------------------------------------------------------------------

AGREEMENTS = {"all": "AllAgree", "75": "75Agree", "66": "66Agree", "50": "50Agree"}


def load_phrasebank(source: str | Path, agreement: str = "all") -> list[tuple[str, str]]:
    """(sentence, sentiment) pairs in the shape of Financial PhraseBank (Malo et al. 2014): a folder, or a hub dataset's name.

    ``agreement`` says how many of the annotators agreed: all, or at least 75, 66 or 50 per cent. A folder holds files such as
    ``Sentences_AllAgree.txt``, one ``sentence@sentiment`` a line, in Latin-1. Raises `DataError` with file and line.
    """
    if agreement not in AGREEMENTS:
        raise UnknownName("agreement level", agreement, AGREEMENTS)
    if not Path(source).is_dir():
        return _load_phrasebank_hub(str(source), agreement)
    file = Path(source) / f"Sentences_{AGREEMENTS[agreement]}.txt"
    try:
        text = file.read_bytes().decode("latin-1")
    except OSError:
        raise DataError("this file is missing.", file, cure="Unpack the data set there, or choose another agreement.") from None  # fmt: skip
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        sentence, mark, sentiment = line.rpartition("@")
        if not line.strip():
            continue
        if not mark or sentiment.strip() not in SENTIMENTS or not sentence.strip():
            raise DataError(f"expected sentence@sentiment, found {line[:80]!r}.", file, number)
        pairs.append((sentence.strip(), sentiment.strip()))
    if not pairs:
        raise DataError("no sentences.", file)
    return pairs


def _load_phrasebank_hub(name: str, agreement: str) -> list[tuple[str, str]]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise AgentLabError(
            f"{name!r} is no folder here, and to fetch it from a hub needs `pip install datasets`."
        ) from None
    try:
        rows = load_dataset(name, f"sentences_{AGREEMENTS[agreement].lower()}", split="train")
        names = rows.features["label"].names
        return [(row["sentence"], names[row["label"]]) for row in rows]
    except Exception as error:
        raise AgentLabError(
            f"The dataset {name!r} could not be loaded ({error}). Give a folder that holds its files instead."
        ) from error


if __name__ == "__main__":
    import sys

    if sys.argv[1:] != ["splits"]:
        sys.exit("usage: python -m agentlab.news splits   (places new items in data/finance/splits.csv)")
    try:
        print(dict(write_splits()))
    except AgentLabError as error:
        sys.exit(str(error))
