"""The shop's help articles and resolved tickets, and ways to find the article that answers a question.

Words (``tfidf``): stems and pairs of stems, weighted by how rare they are. Meaning (``encoder``): the course's sentence
encoder; an article is as near as its nearest passage and its whole text, half each. Both (``fused``): a weighted sum.
`HybridIndex` adds the tickets and takes BM25 for the words; it is the first stage of `agentlab.answers`.

Not covered: very many articles; then an approximate index of neighbours takes the place of the matrix product
(``benchmarks/retrieval.py``).
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import yaml

from agentlab.corpus import data_folder, read_text, read_yaml
from agentlab.errors import AgentLabError, DataError, UnknownName
from agentlab.retrieval import BM25, cosine, stem

METHODS = ("tfidf", "encoder", "fused")
PARTS = ("train", "development", "test")
WORDS_WEIGHT = 0.5  # of tfidf in fused; like all else here chosen on train and development
KNOWS = 0.24  # a page that fits a question less well than this does not answer it; chosen on train and development
TICKETS_WEIGHT, BM25_WEIGHT = 0.25, 0.02  # of `HybridIndex`
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
    kind: str = ""  # of a question that no article answers: near, other, world, nonsense or foreign


@dataclass(frozen=True)
class Ticket:
    """A case that was resolved: what was asked, how it ended, and the id of the help article that says so."""

    question: str
    resolution: str
    article: str

    @property
    def text(self) -> str:
        return f"{self.question} {self.resolution}"


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
    found = [Question(e["question"], e.get("article", ""), e["part"], e.get("kind", "")) for e in entries]
    return [q for q in found if q.part == part]


def load_tickets(file: str | Path | None = None, articles: Sequence[Article] | None = None) -> list[Ticket]:
    """The resolved tickets; raises `DataError` for an entry that is malformed or names an article that does not exist.

    >>> load_tickets()[0].article
    'cancel-order'
    """
    file = Path(file) if file else data_folder() / "knowledge" / "tickets.yml"
    entries, keys = read_yaml(file), {"question", "resolution", "article"}
    known = {a.id for a in (load_articles() if articles is None else articles)}
    if not isinstance(entries, list):
        raise DataError("expected a list of tickets.", file)
    for n, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or set(entry) != keys:
            found = ", ".join(map(str, entry)) if isinstance(entry, dict) else repr(entry)
            raise DataError(f"ticket {n} needs exactly the keys question, resolution, article; found {found}.", file)
        if not all(isinstance(v, str) and v.strip() for v in entry.values()):
            raise DataError(
                f"ticket {n}: each of question, resolution, article must be a text that is not empty.", file
            )
        if entry["article"] not in known:
            raise DataError(f"ticket {n} names the article {entry['article']!r}, which does not exist.", file)
    return [Ticket(**entry) for entry in entries]


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


class HybridIndex:
    """Articles found by words and meaning, in their own texts and in the tickets that they resolved.

    The score of an article is half the cosine of its nearest passage, half that of its whole text, a quarter of its nearest
    ticket's, and its BM25 score (text and tickets as one) times `BM25_WEIGHT`. Weights chosen on train and development.

    >>> index = HybridIndex(load_articles(), load_tickets())
    >>> index.articles[int(index.scores(["can I send back an opened radio"])[0].argmax())].id
    'opened-boxes'
    """

    def __init__(
        self,
        articles: Sequence[Article],
        tickets: Sequence[Ticket] = (),
        read: Callable[[Sequence[str]], np.ndarray] | None = None,
    ):
        self.read = read  # questions to vectors; the course's encoder where there is none
        if not articles:
            raise AgentLabError("The index is empty: it needs at least one article.")
        self.articles, self.tickets = list(articles), list(tickets)
        place = {a.id: n for n, a in enumerate(self.articles)}
        self.passages = [f"{a.title}\n{p}" for a in self.articles for p in a.passages]
        self.owner = np.array([n for n, a in enumerate(self.articles) for _ in a.passages])  # (P,)
        self._solved = [t for t in self.tickets if t.article in place]
        self._ticket_owner = np.array([place[t.article] for t in self._solved], dtype=int)

    @cached_property
    def vectors(self) -> dict[str, np.ndarray]:
        """Embeddings of passages, whole articles and tickets; in the cache under a hash of the texts."""
        from agentlab.assets import embed_once

        texts = {"passages": self.passages, "whole": [f"{a.title}\n{a.text}" for a in self.articles],
                 "tickets": [t.text for t in self._solved]}  # fmt: skip
        return {name: embed_once(own) for name, own in texts.items() if own}

    @cached_property
    def words(self) -> BM25:
        """BM25 over the articles, each with its title twice and its tickets."""
        solved = [[t.text for t in self._solved if t.article == a.id] for a in self.articles]
        return BM25(["\n".join([a.title, a.title, a.text, *own]) for a, own in zip(self.articles, solved, strict=True)])

    def scores(self, questions: Sequence[str]) -> np.ndarray:
        """How well each article fits each question: (questions, articles)."""
        meaning = {name: cosine(self._read(questions), own) for name, own in self.vectors.items()}
        scores = (best_of_each(meaning["passages"], self.owner, len(self.articles)) + meaning["whole"]) / 2
        if "tickets" in meaning:
            scores = scores + TICKETS_WEIGHT * best_of_each(meaning["tickets"], self._ticket_owner, len(self.articles))
        return scores + self.word_scores(questions)

    def word_scores(self, questions: Sequence[str]) -> np.ndarray:
        """The part of the scores that words alone have: (questions, articles)."""
        return BM25_WEIGHT * self.words.scores(questions)

    def passage_scores(self, questions: Sequence[str]) -> np.ndarray:
        """The cosine of each passage with each question: (questions, passages)."""
        return cosine(_embedded(tuple(questions)), self.vectors["passages"])

    def torch_scores(self, vectors):
        """The part of the scores that meaning has, from question vectors of length one, so that gradients flow: (B, D) to (B, A)."""
        import torch

        def best(name: str, owner: np.ndarray):
            near = vectors @ torch.as_tensor(self.vectors[name], dtype=vectors.dtype, device=vectors.device).T
            place = torch.as_tensor(owner, device=vectors.device).expand(len(near), -1)
            return near.new_zeros(len(near), len(self.articles)).scatter_reduce(1, place, near, "amax", include_self=False)  # fmt: skip

        whole = torch.as_tensor(self.vectors["whole"], dtype=vectors.dtype, device=vectors.device)
        scores = (best("passages", self.owner) + vectors @ whole.T) / 2
        if "tickets" in self.vectors:
            scores = scores + TICKETS_WEIGHT * best("tickets", self._ticket_owner)
        return scores

    def _read(self, questions: Sequence[str]) -> np.ndarray:
        return _embedded(tuple(questions)) if self.read is None else self.read(list(questions))


def best_of_each(scores: np.ndarray, owner: np.ndarray, owners: int) -> np.ndarray:
    """The best score of each owner's items, or 0 for an owner without any: (Q, N) to (Q, owners).

    >>> best_of_each(np.array([[0.1, 0.7, 0.3]]), np.array([0, 0, 2]), 3).tolist()
    [[0.7, 0.0, 0.3]]
    """
    best = np.zeros((len(scores), owners))
    for n in np.unique(owner):
        best[:, n] = scores[:, owner == n].max(1)
    return best


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
    stems = [stem(w) for w in re.findall(r"\w+", text.lower())]
    return stems + [f"{a} {b}" for a, b in itertools.pairwise(stems)]


def rank(query: str, texts: Sequence[str], top: int, titles: Sequence[str] = ()) -> list[int]:
    """The places of the texts that share words with a query, the best first; words of a title count half as much again."""
    if not texts:
        return []
    scores = WordIndex(texts).scores([query])[0]
    if titles:
        scores = scores + 0.5 * WordIndex(titles).scores([query])[0]
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
