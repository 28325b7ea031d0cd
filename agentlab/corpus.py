"""Read and check the corpora of labelled customer messages.

A message is one line of mark-up as known from Rasa, spans inline::

    where is my [Sony headset](product), order [#W20417](order_id)

The support corpus lies in ``data/support/`` (see ``data/README.md``): one YAML file per intent, the fixed
splits in ``splits.csv``, the challenge set apart. External sets in the shapes of Banking77 (CSV) and CLINC150
(JSON) are read by `load_banking77` and `load_clinc150`; nothing of them is shipped.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import yaml

from agentlab.errors import AgentLabError, DataError, UnknownName

SPLITS = ("train", "validation", "test")
SHARES = {"train": 0.65, "validation": 0.15, "test": 0.20}
OUT_OF_SCOPE = "out_of_scope"
COARSE_LABELS = ("Customer", "Sales", "Support")
NEAR_DUPLICATE_COSINE = 0.8


# --- one message ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Span:
    """Characters ``start`` to ``end`` (end excluded) of a message, and what they are."""

    start: int
    end: int
    type: str


@dataclass(frozen=True)
class Message:
    """A customer message with its labels.

    ``intents`` has one name, two for a message with two wishes, none for one that is out of scope.
    ``kind`` names the difficulty of a challenge message, or near/far for an out-of-scope one.
    """

    text: str
    intents: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    kind: str = ""
    file: str = ""
    line: int = 0

    @property
    def intent(self) -> str:
        """The first intent, or ``out_of_scope``."""
        return self.intents[0] if self.intents else OUT_OF_SCOPE

    @property
    def id(self) -> str:
        """Ten hexadecimal digits that depend on the text alone; they stay when labels are corrected."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:10]

    def span_text(self, span: Span) -> str:
        return self.text[span.start : span.end]

    def markup(self) -> str:
        """The message written back as mark-up."""
        parts, at = [], 0
        for span in sorted(self.spans):
            parts += [self.text[at : span.start], f"[{self.span_text(span)}]({span.type})"]
            at = span.end
        return "".join(parts) + self.text[at:]


def parse_markup(line: str, file: str = "<text>", number: int = 0) -> tuple[str, tuple[Span, ...]]:
    """Split mark-up into the plain text and its spans.

    >>> text, spans = parse_markup("send [two](quantity) [HDMI cables](product)")
    >>> text, [(s.start, s.end, s.type) for s in spans]
    ('send two HDMI cables', [(5, 8, 'quantity'), (9, 20, 'product')])

    Raises `DataError` for overlapping (nested) or unclosed spans.
    """
    text, spans, rest = "", [], line
    while rest:
        plain, bracket, after = rest.partition("[")
        if "](" in plain or "]" in plain:
            raise DataError(f"a closing ']' without its '[' in {line!r}.", file, number)
        text += plain
        if not bracket:
            break
        match = re.match(r"([^\[\]]+)\]\(([^()\s]+)\)", after)
        if not match:
            inner = after.split("]")[0]
            what = "overlapping spans" if "[" in inner else "a span that is not closed as [text](type)"
            raise DataError(f"{what} in {line!r}.", file, number, "Spans stand side by side: [a](x) [b](y).")
        start = len(text)
        text += match[1]
        spans.append(Span(start, len(text), match[2]))
        rest = after[match.end() :]
    return text, tuple(spans)


# --- the support corpus --------------------------------------------------------------------------------------


def data_folder() -> Path:
    """The folder of the course's data: ``AGENTLAB_DATA``, the checkout's ``data/``, or the installed copy."""
    here = Path(__file__).resolve().parent
    candidates = [Path(p) for p in [os.environ.get("AGENTLAB_DATA")] if p] or [here.parent / "data", here / "_data"]
    for folder in candidates:
        if (folder / "support").is_dir():
            return folder
    raise AgentLabError(
        f"The course's data were not found in {' or '.join(map(str, candidates))}. "
        "Run inside a checkout of the course, or set AGENTLAB_DATA to its data folder."
    )


@dataclass(frozen=True)
class Labels:
    """The label sets of a corpus: intent to description, span type to coarse label."""

    intents: dict[str, str]
    span_types: dict[str, str]

    def check_intent(self, name: str) -> str:
        if name not in self.intents:
            raise UnknownName("intent", name, self.intents)
        return name

    def check_span_type(self, name: str) -> str:
        if name not in self.span_types:
            raise UnknownName("span type", name, self.span_types)
        return name

    @cached_property
    def bio_tags(self) -> tuple[str, ...]:
        """``O``, then ``B-`` and ``I-`` of every span type: the labels of a token classifier."""
        return ("O", *(f"{prefix}-{name}" for name in sorted(self.span_types) for prefix in "BI"))


@dataclass
class SupportCorpus:
    """The messages of the support corpus by split, with their labels."""

    labels: Labels
    messages: dict[str, list[Message]] = field(default_factory=dict)
    challenge: list[Message] = field(default_factory=list)

    def split(self, name: str, scope: str = "single") -> list[Message]:
        """The messages of a split: ``single`` (one intent), ``double`` (two), ``out`` (of scope) or ``all``."""
        if name not in SPLITS:
            raise UnknownName("split", name, SPLITS)
        wanted = {"single": (1,), "double": (2,), "out": (0,), "all": (0, 1, 2)}
        if scope not in wanted:
            raise UnknownName("scope", scope, wanted)
        return [m for m in self.messages[name] if len(m.intents) in wanted[scope]]

    @property
    def train(self) -> list[Message]:
        return self.split("train")

    @property
    def validation(self) -> list[Message]:
        return self.split("validation")

    @property
    def test(self) -> list[Message]:
        return self.split("test")

    @property
    def everything(self) -> list[Message]:
        """Every message of the three splits, the challenge set not among them."""
        return [m for name in SPLITS for m in self.messages.get(name, [])]


def load_support(folder: str | Path | None = None) -> SupportCorpus:
    """Read the support corpus. Raises `DataError` with file and line at the first mistake."""
    folder = Path(folder) if folder else data_folder() / "support"
    labels = read_labels(folder / "labels.yml")
    splits = read_splits(folder / "splits.csv")
    corpus = SupportCorpus(labels, {name: [] for name in SPLITS})
    for message in read_messages(folder, labels):
        if message.file.startswith("challenge/"):
            corpus.challenge.append(message)
        elif message.id in splits:
            corpus.messages[splits[message.id][0]].append(message)
        else:
            raise DataError(
                f"this message is in no split: {message.text!r}.", folder / message.file, message.line,
                "Run `python -m agentlab.corpus splits` to place new messages.",
            )  # fmt: skip
    return corpus


def read_text(path: str | Path) -> str:
    """A file as text; `DataError` if it is missing or not UTF-8, with the line of the first bad byte."""
    try:
        return Path(path).read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise DataError("this file is missing.", path, cure="Restore it with `git checkout`.") from None
    except IsADirectoryError:
        raise DataError("this is a folder; a file was expected.", path) from None
    except PermissionError:
        raise DataError("this file may not be read.", path, cure="Check its permissions.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(
            f"byte 0x{error.object[error.start]:02x} is not UTF-8.", path, line, "Save the file as UTF-8."
        ) from None


def read_yaml(path: str | Path) -> object:
    """A YAML file as Python data; `DataError` with the line where it is malformed."""
    try:
        return yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise DataError(f"malformed YAML: {getattr(error, 'problem', error)}.", path, line) from None


def read_labels(path: str | Path) -> Labels:
    """``labels.yml``: ``intents: {name: description}``, ``spans: {type: {coarse, description}}``."""
    data = read_yaml(path)
    if (
        not isinstance(data, dict)
        or not isinstance(data.get("intents"), dict)
        or not isinstance(data.get("spans"), dict)
    ):
        raise DataError("expected the two tables `intents` and `spans`.", path)
    spans = {}
    for name, entry in data["spans"].items():
        coarse = entry.get("coarse") if isinstance(entry, dict) else None
        if coarse not in COARSE_LABELS:
            raise DataError(f"span type {name!r} needs `coarse`: one of {', '.join(COARSE_LABELS)}.", path)
        spans[name] = coarse
    return Labels(dict(data["intents"]), spans)


def read_splits(path: str | Path) -> dict[str, tuple[str, int]]:
    """``splits.csv`` (message_id, split, group) as ``{message_id: (split, group)}``."""
    rows = csv.DictReader(read_text(path).splitlines())
    if rows.fieldnames != ["message_id", "split", "group"]:
        raise DataError("the first line must be message_id,split,group.", path, 1)
    splits = {}
    for number, row in enumerate(rows, start=2):
        if row["split"] not in SPLITS or not (row["group"] or "").isdigit():
            raise DataError(f"expected an id, one of {', '.join(SPLITS)}, and a number; found {row}.", path, number)
        if row["message_id"] in splits:
            raise DataError(f"message {row['message_id']} is listed twice.", path, number)
        splits[row["message_id"]] = (row["split"], int(row["group"]))
    return splits


def read_messages(folder: str | Path, labels: Labels) -> list[Message]:
    """Every message of the corpus in ``folder``; raises the first of the mistakes that `scan` finds."""
    messages, mistakes = scan(Path(folder), labels)
    if mistakes:
        raise mistakes[0]
    return messages


def read_file(path: str | Path, labels: Labels) -> list[Message]:
    """The messages of one file of that kind; raises `DataError` with its line at the first mistake."""
    path = Path(path)
    return [_message(label, line, path, path.parent, number, labels) for label, line, number in _entries(path)]


def scan(folder: Path, labels: Labels) -> tuple[list[Message], list[DataError]]:
    """Read all message files below ``folder``; mistakes are collected, each with file and line."""
    messages, mistakes = [], []
    files = sorted(p for p in folder.rglob("*.yml") if p.name != "labels.yml")
    if not files:
        mistakes.append(DataError("no message files (*.yml) were found here.", folder))
    for path in files:
        try:
            entries = list(_entries(path))
        except DataError as error:
            mistakes.append(error)
            continue
        for label, line, number in entries:
            try:
                messages.append(_message(label, line, path, folder, number, labels))
            except DataError as error:
                mistakes.append(error)
    return messages, mistakes


def _entries(path: Path) -> Iterable[tuple[str, str, int]]:
    """(intent, mark-up, line number) of each example of a Rasa YAML file."""
    text, loader = read_text(path), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = yaml.compose(text, Loader=loader)
    except yaml.YAMLError:
        read_yaml(path)  # raises with the line
        raise
    data = yaml.load(text, Loader=loader)
    if not isinstance(data, dict) or not isinstance(data.get("nlu"), list):
        raise DataError("expected a list `nlu` of intents with examples.", path, 1)
    nodes = next(value for key, value in root.value if key.value == "nlu").value
    for entry, node in zip(data["nlu"], nodes, strict=True):
        start = node.start_mark.line + 1
        if not isinstance(entry, dict) or not isinstance(entry.get("intent"), str):
            raise DataError("an entry needs `intent` and `examples`.", path, start)
        if not isinstance(entry.get("examples"), str):
            raise DataError("`examples` must be a block of lines that begin with '- '.", path, start)
        block = next(value for key, value in node.value if key.value == "examples").start_mark.line + 2
        for offset, line in enumerate(entry["examples"].split("\n")):
            if line.startswith("- ") or line.strip() == "-":
                yield entry["intent"], line[2:], block + offset
            elif line.strip():
                raise DataError(f"a message must begin with '- ': {line!r}.", path, block + offset)


def _message(label: str, line: str, path: Path, folder: Path, number: int, labels: Labels) -> Message:
    """Build one message and check everything that can be seen without the other messages."""
    text, spans = parse_markup(line, path, number)
    if not text.strip():
        raise DataError("an empty message.", path, number, "Write its text or delete the line.")
    odd = next((c for c in text if c == "\ufffd" or (unicodedata.category(c) == "Cc")), None)
    if odd:
        raise DataError(f"bad encoding: the character {odd!r} in {text!r}.", path, number)
    name, _, kind = label.partition("/")
    intents = () if name == OUT_OF_SCOPE else tuple(name.split("+"))
    relative = path.relative_to(folder).as_posix()
    try:
        for intent in intents:
            labels.check_intent(intent)
        for span in spans:
            labels.check_span_type(span.type)
            if text[span.start : span.end] != text[span.start : span.end].strip():
                raise DataError(f"span {text[span.start : span.end]!r} begins or ends in a space.", path, number)
    except UnknownName as error:
        raise DataError(str(error), path, number) from None
    return Message(
        text, intents, spans, kind or (path.stem if relative.startswith("challenge/") else ""), relative, number
    )


# --- duplicates and splits -----------------------------------------------------------------------------------


def normalize(text: str) -> str:
    """Lower case, digits as 0, one space between words: what makes two messages the same."""
    return re.sub(r"\d", "0", " ".join(re.findall(r"\w+", text.lower())))


def near_duplicate_pairs(
    texts: Sequence[str], threshold: float = NEAR_DUPLICATE_COSINE
) -> list[tuple[int, int, float]]:
    """Pairs of texts whose TF-IDF vectors over 3 to 5 characters have a cosine of at least ``threshold``.

    >>> near_duplicate_pairs(["where is my parcel", "Where is my parcel?", "stop the order"])
    [(0, 1, 1.0)]
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    if len(texts) < 2:
        return []
    words = [normalize(t) or t for t in texts]
    counter = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, dtype=np.float32)
    vectors, pairs = counter.fit_transform(words), []
    for start in range(0, len(texts), 512):  # blocks, so that memory stays small; each only with what comes after it
        cosine = (vectors[start : start + 512] @ vectors[start:].T).tocoo()
        near = cosine.data >= np.float32(threshold)
        for i, j, c in zip(cosine.row[near] + start, cosine.col[near] + start, cosine.data[near], strict=True):
            if i < j:
                pairs.append((int(i), int(j), round(float(c), 3)))
    return sorted(pairs)


def near_duplicate_groups(texts: Sequence[str], threshold: float = NEAR_DUPLICATE_COSINE) -> list[int]:
    """A group number for each text; near-duplicates, and near-duplicates of these, share one."""
    group = list(range(len(texts)))

    def root(i: int) -> int:
        while group[i] != i:
            group[i] = group[group[i]]
            i = group[i]
        return i

    for i, j, _ in near_duplicate_pairs(texts, threshold):
        a, b = sorted((root(i), root(j)))
        group[b] = a
    return [root(i) for i in range(len(texts))]


def assign_splits(
    labels: Sequence[str],
    groups: Sequence[int],
    seed: int = 0,
    shares: dict[str, float] = SHARES,
    before: Sequence[str] | None = None,
) -> list[str]:
    """A split for each item, stratified by label; items of one group stay together.

    Groups are dealt out in random order, each to the split that is furthest behind its share of the label. ``before``
    says where items stand already ("" for new ones): they stay there, and their group with them; if a new item joins
    groups of two splits, all go to the first of train, validation, test, so that no test item was ever trained on.
    """
    members = defaultdict(list)
    for i, g in enumerate(groups):
        members[g].append(i)
    order = sorted(members)
    random.Random(seed).shuffle(order)
    total, dealt = Counter(labels), defaultdict(Counter)
    split = [""] * len(labels)
    placed = {g: {before[i] for i in members[g]} - {""} for g in order} if before else {}
    for g in sorted(order, key=lambda g: not placed.get(g)):  # first those that stand somewhere, in random order both
        label = labels[members[g][0]]
        name = next((s for s in SPLITS if s in placed.get(g, ())), None)
        name = name or max(shares, key=lambda s: shares[s] * total[label] - dealt[label][s])
        for i in members[g]:
            split[i] = name
            dealt[label][name] += 1
    return split


def write_splits(folder: str | Path | None = None, seed: int = 0, new: str = "") -> Counter:
    """Write ``splits.csv`` for the messages of ``folder`` and return how many each split got.

    Messages that are in the file already keep their split; without the file all are dealt out. ``new`` names a split that
    takes all new messages, so that the others, and every figure on them, stay comparable.
    """
    if new and new not in SPLITS:
        raise UnknownName("split", new, SPLITS)
    folder = Path(folder) if folder else data_folder() / "support"
    messages = [
        m for m in read_messages(folder, read_labels(folder / "labels.yml")) if not m.file.startswith("challenge/")
    ]
    if mistakes := _check_duplicates(messages, {}, folder):
        raise mistakes[0]
    groups = near_duplicate_groups([m.text for m in messages])
    labels = [m.intents[0] if len(m.intents) == 1 else m.file for m in messages]
    file = folder / "splits.csv"
    before = read_splits(file) if file.is_file() else {}
    split = assign_splits(labels, groups, seed, before=[before.get(m.id, (new, 0))[0] for m in messages])
    rows = sorted((m.id, s, g) for m, s, g in zip(messages, split, groups, strict=True))
    with open(folder / "splits.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("message_id", "split", "group"), *rows])
    return Counter(split)


# --- what the data are ---------------------------------------------------------------------------------------

TABLE_MARKS = ("<!-- table: written by `python -m agentlab.corpus splits` -->", "<!-- end of table -->")


def fingerprint(folder: str | Path | None = None) -> str:
    """The sha256 over names and contents of all files of a corpus, in the order of their names."""
    folder = Path(folder) if folder else data_folder() / "support"
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".yml", ".csv")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def describe(corpus: SupportCorpus) -> str:
    """Rows of each part as a Markdown table, with what they are counted in."""
    lines = ["| part | one intent | two intents | out of scope | spans |", "|---|---|---|---|---|"]
    for name in SPLITS:
        counts = [len(corpus.split(name, scope)) for scope in ("single", "double", "out")]
        spans = sum(len(m.spans) for m in corpus.messages[name])
        lines.append(f"| {name} | {counts[0]} | {counts[1]} | {counts[2]} | {spans} |")
    spans = sum(len(m.spans) for m in corpus.challenge)
    lines.append(f"| challenge | {len(corpus.challenge)} | 0 | 0 | {spans} |")
    return "\n".join(lines)


def write_card(data: Path | None = None) -> None:
    """Bring the table in ``data/README.md`` up to date."""
    data = data or data_folder()
    readme = data / "README.md"
    before, _, rest = read_text(readme).partition(TABLE_MARKS[0])
    _, mark, after = rest.partition(TABLE_MARKS[1])
    if not mark:
        raise DataError(f"the lines {TABLE_MARKS[0]} and {TABLE_MARKS[1]} are missing.", readme)
    table = f"{describe(load_support(data / 'support'))}\n\nsha256 over all files: `{fingerprint(data / 'support')}`"
    readme.write_text(f"{before}{TABLE_MARKS[0]}\n{table}\n{mark}{after}", encoding="utf-8")


# --- the checker ---------------------------------------------------------------------------------------------


def check_support(folder: str | Path | None = None) -> list[DataError]:
    """Every mistake in the corpus: labels, spans, encoding, duplicates, splits. Empty when all is well."""
    folder = Path(folder) if folder else data_folder() / "support"
    try:
        labels, splits = read_labels(folder / "labels.yml"), read_splits(folder / "splits.csv")
    except DataError as error:
        return [error]
    messages, mistakes = scan(folder, labels)
    mistakes += _check_duplicates(messages, splits, folder)
    ids = {m.id for m in messages if not m.file.startswith("challenge/")}
    mistakes += [
        DataError(f"in no split: {m.text!r}.", folder / m.file, m.line, "Run `python -m agentlab.corpus splits`.")
        for m in messages
        if not m.file.startswith("challenge/") and m.id not in splits
    ]
    lines = {row.split(",")[0]: n for n, row in enumerate(read_text(folder / "splits.csv").splitlines(), start=1)}
    mistakes += [
        DataError(f"message {i} does not exist.", folder / "splits.csv", lines[i]) for i in splits if i not in ids
    ]
    return mistakes


def _check_duplicates(messages: list[Message], splits: dict, folder: Path) -> list[DataError]:
    """Exact duplicates anywhere; near-duplicates that stand in different splits."""
    mistakes = []

    def place(m: Message) -> str:
        return "challenge" if m.file.startswith("challenge/") else splits.get(m.id, ("",))[0]

    for i, j, cosine in near_duplicate_pairs([m.text for m in messages]):
        a, b = messages[i], messages[j]
        if normalize(a.text) == normalize(b.text):
            kind = "an exact duplicate"
        elif place(a) != place(b):
            kind = f"a near-duplicate (cosine {cosine:.2f}) across splits"
        else:
            continue
        mistakes.append(DataError(f"{kind} of {a.file}:{a.line}: {b.text!r}.", folder / b.file, b.line))
    return mistakes


# --- the floor -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Floor:
    """What a model without any pretraining reaches on the test split (single intents)."""

    majority_accuracy: float
    accuracy: float
    macro_f1: float


def tfidf_classifier(seed: int = 0):
    """TF-IDF over words and word pairs, then logistic regression: the floor that any model must beat."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return make_pipeline(features, LogisticRegression(C=10, solver="saga", max_iter=1000, random_state=seed))


def measure_floor(train: Sequence[Message], test: Sequence[Message]) -> Floor:
    """Fit the floor on ``train``, score it on ``test``."""
    from sklearn.metrics import accuracy_score, f1_score

    model = tfidf_classifier().fit([m.text for m in train], [m.intent for m in train])
    truth, guess = [m.intent for m in test], model.predict([m.text for m in test])
    majority = Counter(m.intent for m in train).most_common(1)[0][0]
    return Floor(
        truth.count(majority) / len(truth),
        float(accuracy_score(truth, guess)),
        float(f1_score(truth, guess, average="macro")),
    )


# --- external sets -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IntentSet:
    """An intent corpus from elsewhere: (text, intent) pairs by split; out-of-scope ones are labelled so."""

    name: str
    splits: dict[str, list[tuple[str, str]]]

    @property
    def intents(self) -> list[str]:
        return sorted({label for pairs in self.splits.values() for _, label in pairs if label != OUT_OF_SCOPE})


def load_banking77(source: str | Path) -> IntentSet:
    """Banking77: a folder with ``train.csv`` and ``test.csv`` (columns text,category), or a hub dataset name."""
    if not Path(source).is_dir():
        return _load_hub(str(source), "text", ("label_text", "category", "label"))
    return IntentSet("banking77", {name: _read_pairs(Path(source) / f"{name}.csv") for name in ("train", "test")})


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    rows = csv.reader(read_text(path).splitlines(keepends=True))
    if next(rows, None) != ["text", "category"]:
        raise DataError("the first line must be text,category.", path, 1)
    pairs = []
    for row in rows:
        if len(row) != 2 or not all(cell.strip() for cell in row):
            raise DataError(f"expected a text and a category, found {row}.", path, rows.line_num)
        pairs.append((row[0].strip(), row[1].strip()))
    if not pairs:
        raise DataError("no rows after the first line.", path)
    return pairs


def load_clinc150(source: str | Path) -> IntentSet:
    """CLINC150: a folder with ``data_full.json`` or that file, or a hub dataset name.

    Its keys are train, val, test and oos_train, oos_val, oos_test, each a list of [text, intent].
    """
    path = Path(source)
    if path.is_dir():
        path = path / "data_full.json"
    elif not path.suffix:
        return _load_hub(str(source), "text", ("intent_text", "intent", "label"))
    try:
        data = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"malformed JSON: {error.msg}.", path, error.lineno) from None
    splits = {}
    for name, key in (("train", "train"), ("validation", "val"), ("test", "test")):
        if not isinstance(data, dict) or key not in data:
            raise DataError(
                f"the key {key!r} is missing.", path, cure="Expected train, val, test and their oos_ twins."
            )
        pairs = [*data[key], *([text, OUT_OF_SCOPE] for text, _ in data.get(f"oos_{key}", []))]
        bad = next(
            (p for p in pairs if not (isinstance(p, list) and len(p) == 2 and all(isinstance(x, str) for x in p))), None
        )
        if bad is not None:
            raise DataError(f"expected [text, intent] in {key!r}, found {bad!r}.", path)
        splits[name] = [(text, OUT_OF_SCOPE if label == "oos" else label) for text, label in pairs]
    return IntentSet("clinc150", splits)


def _load_hub(name: str, text: str, labels: tuple[str, ...]) -> IntentSet:
    """A dataset of the hub; needs the optional package ``datasets`` and a network."""
    try:
        from datasets import ClassLabel, load_dataset
    except ImportError:
        raise AgentLabError(
            f"{name!r} is no folder here, and to fetch it from a hub needs `pip install datasets`."
        ) from None
    try:
        loaded = load_dataset(name)
    except Exception as error:
        raise AgentLabError(
            f"The dataset {name!r} could not be loaded: {error}. Give a folder that holds it instead."
        ) from error
    splits = {}
    for split, rows in loaded.items():
        column = next((c for c in labels if c in rows.column_names), None)
        if column is None or text not in rows.column_names:
            raise AgentLabError(
                f"The dataset {name!r} has the columns {rows.column_names}; expected {text} and one of {labels}."
            )
        feature = rows.features[column]
        names = feature.names if isinstance(feature, ClassLabel) else None
        pairs = [(row[text], names[row[column]] if names else str(row[column])) for row in rows]
        splits[split] = [(t, OUT_OF_SCOPE if label in ("oos", "42:oos") else label) for t, label in pairs]
    return IntentSet(name, splits)


@lru_cache(maxsize=1)
def support() -> SupportCorpus:
    """The shipped support corpus, read once per process."""
    return load_support()


if __name__ == "__main__":
    import sys

    if sys.argv[1:2] != ["splits"] or len(sys.argv) > 3:
        sys.exit(
            "usage: python -m agentlab.corpus splits [train]   (places new messages in data/support/splits.csv, all in train if "
            "asked to, and writes the table in data/README.md)"
        )
    try:
        print(dict(write_splits(new=sys.argv[2] if len(sys.argv) == 3 else "")))
        write_card()
    except AgentLabError as error:
        sys.exit(str(error))
