"""The shop's help articles and three ways to find the one that answers a question: words, meaning, and both together.

Words (``tfidf``): stems and pairs of stems, weighted by how rare they are. Meaning (``encoder``): the course's sentence
encoder; an article is as near as its nearest passage and its whole text, half each. Both (``fused``): a weighted sum.

Not covered: very many articles; then an approximate index of neighbours takes the place of the matrix product.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import yaml

from agentlab.corpus import data_folder, read_text, read_yaml
from agentlab.errors import DataError, UnknownName

METHODS = ("tfidf", "encoder", "fused")
PARTS = ("train", "development", "test")
WORDS_WEIGHT = 0.5  # of tfidf in fused; like all else here chosen on train and development
FRONT_MATTER = re.compile(r"---\n(.*?)\n---\n(.*)", re.DOTALL)


# --- articles and questions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Article:
    """A help article: Markdown under a title."""

    id: str
    title: str
    category: str
    updated: dt.date
    text: str

    @property
    def passages(self) -> list[str]:
        """Its paragraphs, each list together with the line that leads to it."""
        parts = [p.strip() for p in self.text.split("\n\n") if p.strip()]
        joined: list[str] = []
        for part in parts:
            if joined and part.startswith(("- ", "1. ")):
                joined[-1] += "\n" + part
            else:
                joined.append(part)
        return joined


@dataclass(frozen=True)
class Question:
    """What a customer asks, and the id of the article that answers it; empty where none does."""

    text: str
    article: str
    part: str


@dataclass(frozen=True)
class Hit:
    """An article that was found, how well it fits, and the passage that fits best."""

    article: Article
    score: float
    passage: str


def load_articles(folder: str | Path | None = None) -> list[Article]:
    """The help articles, by id; raises `DataError` for one that is malformed."""
    folder = Path(folder) if folder else data_folder() / "knowledge" / "articles"
    found = [_article(path) for path in sorted(folder.glob("*.md"))]
    if not found:
        raise DataError("no article (*.md) was found.", folder, cure="Restore the folder with `git checkout`.")
    return found


def _article(path: Path) -> Article:
    match = FRONT_MATTER.fullmatch(read_text(path))
    if match is None:
        raise DataError("the front matter between two lines of --- is missing.", path, 1)
    try:
        head = yaml.safe_load(match[1])
        return Article(head["id"], head["title"], head["category"], head["updated"], match[2].strip())
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(
            f"the front matter cannot be read ({error}).", path, 1, "It needs id, title, category, updated."
        ) from None


def load_questions(part: str, answerable: bool = True, folder: str | Path | None = None) -> list[Question]:
    """The questions of a part (train, development or test), or those that no article answers."""
    if part not in PARTS:
        raise UnknownName("part", part, PARTS)
    folder = Path(folder) if folder else data_folder() / "knowledge"
    entries = read_yaml(folder / ("questions.yml" if answerable else "unanswerable.yml"))
    found = [Question(e["question"], e.get("article", ""), e["part"]) for e in entries]
    return [q for q in found if q.part == part]


# --- searching -----------------------------------------------------------------------------------------------


class HelpIndex:
    """Articles that can be searched.

    >>> index = HelpIndex(load_articles(), "tfidf")
    >>> index.search("how long can I return something")[0].article.id
    'return-window'
    """

    def __init__(self, articles: Sequence[Article], method: str = "fused"):
        self.articles, self.method = list(articles), _known(method)
        self._passages = [f"{a.title}\n{p}" for a in self.articles for p in a.passages]
        self._owner = np.array([n for n, a in enumerate(self.articles) for _ in a.passages])  # (P,)

    def search(self, question: str, top: int = 5, method: str | None = None) -> list[Hit]:
        """The articles that fit a question best, the best first; scores are cosines, or their weighted sum."""
        method = _known(method or self.method)
        scores = self.scores([question], method)[0]  # (A,)
        passages = (self._words if method == "tfidf" else self._meaning)([question])[0]  # (P,)
        return [
            Hit(self.articles[n], float(scores[n]), self._best_passage(n, passages))
            for n in (-scores).argsort(kind="stable")[:top]
        ]

    def scores(self, questions: Sequence[str], method: str | None = None) -> np.ndarray:
        """How well each article fits each question: (questions, articles)."""
        method = _known(method or self.method)
        if method == "tfidf":
            return self._whole_words.scores(questions)
        if method == "encoder":
            whole = _embedded(tuple(questions)) @ self._vectors[len(self._passages) :].T
            return (whole + self._nearest(self._meaning(questions))) / 2
        words, meaning = self.scores(questions, "tfidf"), self.scores(questions, "encoder")
        return WORDS_WEIGHT * words + (1 - WORDS_WEIGHT) * meaning

    @cached_property
    def _whole_words(self) -> WordIndex:
        return WordIndex([f"{a.title}\n{a.title}\n{a.text}" for a in self.articles])  # a word of the title counts twice

    @cached_property
    def _passage_words(self) -> WordIndex:
        return WordIndex(self._passages)

    @cached_property
    def _vectors(self) -> np.ndarray:
        """Embeddings of all passages, then of all articles, (P + A, 384); in the cache under a hash of the texts."""
        from agentlab.assets import embed_once

        return embed_once([*self._passages, *(f"{a.title}\n{a.text}" for a in self.articles)])

    def _words(self, questions: Sequence[str]) -> np.ndarray:
        return self._passage_words.scores(questions)  # (questions, P)

    def _meaning(self, questions: Sequence[str]) -> np.ndarray:
        return _embedded(tuple(questions)) @ self._vectors[: len(self._passages)].T  # (questions, P)

    def _nearest(self, passages: np.ndarray) -> np.ndarray:
        """The best passage of each article: (questions, P) to (questions, A)."""
        return np.stack([passages[:, self._owner == n].max(1) for n in range(len(self.articles))], axis=1)

    def _best_passage(self, article: int, passages: np.ndarray) -> str:
        own = np.flatnonzero(self._owner == article)
        return self.articles[article].passages[int(passages[own].argmax())]


@lru_cache(maxsize=32)
def _embedded(texts: tuple[str, ...]) -> np.ndarray:
    from agentlab.assets import embed

    return embed(texts)


class WordIndex:
    """Texts as TF-IDF vectors of stems and pairs of stems."""

    def __init__(self, texts: Sequence[str]):
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(analyzer=stems_and_pairs, sublinear_tf=True)
        self._matrix = self._vectorizer.fit_transform(texts)  # (N, V)

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        """The cosine of each query with each text: (queries, N)."""
        return (self._vectorizer.transform(queries) @ self._matrix.T).toarray()


def stems_and_pairs(text: str) -> list[str]:
    """The stems of a text's words, then those that stand side by side.

    >>> stems_and_pairs("Returning my parcels")
    ['return', 'my', 'parcel', 'return my', 'my parcel']
    """
    stems = [_stem(w) for w in re.findall(r"\w+", text.lower())]
    return stems + [f"{a} {b}" for a, b in itertools.pairwise(stems)]


def rank(query: str, texts: Sequence[str], top: int) -> list[int]:
    """The places of the texts that share words with a query, the best first."""
    if not texts:
        return []
    scores = WordIndex(texts).scores([query])[0]
    return [int(n) for n in (-scores).argsort(kind="stable")[:top] if scores[n] > 0]


@lru_cache(maxsize=4)
def help_index(method: str = "fused") -> HelpIndex:
    """An index over the course's articles, made once."""
    return HelpIndex(load_articles(), method)


# --- measuring -----------------------------------------------------------------------------------------------


def recall_at(k: int, index: HelpIndex, questions: Sequence[Question], method: str | None = None) -> float:
    """The share of questions whose article is among the first k that are found."""
    scores = index.scores([q.text for q in questions], method)
    ids = [a.id for a in index.articles]
    best = (-scores).argsort(axis=1, kind="stable")[:, :k]
    return sum(q.article in {ids[n] for n in row} for q, row in zip(questions, best, strict=True)) / len(questions)


def _known(method: str) -> str:
    if method not in METHODS:
        raise UnknownName("method", method, METHODS)
    return method


@lru_cache(maxsize=20_000)
def _stem(word: str) -> str:
    return _stemmer().stem(word)


@lru_cache(maxsize=1)
def _stemmer():
    from agentlab.assets import load_nltk

    return load_nltk().stem.SnowballStemmer("english")
