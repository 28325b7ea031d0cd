"""Answers from the help pages: a quotation with its source, or "I don't know" below a calibrated threshold.

``HelpDesk`` finds an article (`agentlab.rerank`), decides whether it answers at all, and quotes the passage that does. Where a
language model writes the answer instead, every sentence must name its source and state nothing that does not stand there
(`check_citations`); else the quotation speaks. ``search`` has the form of `knowledge.HelpIndex.search`, so that a desk can
stand behind the agent's tool ``search_help``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agentlab import assets, knowledge, rerank
from agentlab.errors import AgentLabError
from agentlab.knowledge import KNOWS, Article, Hit, Question
from agentlab.retrieval import best_first, check_query, tokens
from agentlab.wording import claims

UNKNOWN = "I don't know: no help page answers this. A person can help you further."
ANSWERED = 0.9  # the share of answerable development questions that the threshold lets through
LONGEST_QUOTE = 600  # characters
SHARED_WORDS = 0.5  # of the content words of a sentence must stand in the sources that it cites
SOFTNESS = 2.0  # how many points of a score turn a probability of a half into seven eighths
FORMAT = 1  # of the saved files
STOP = frozenset(
    "a an and are me as at be been but by can do does for from get has have how i if in is it its may must my no not of on or our so "
    "than that the their them then there they this to up us was we what when which will with you your".split()
)


@dataclass(frozen=True)
class Source:
    """What an answer cites: the article, and the passage of it that was read."""

    article: Article
    passage: str


@dataclass(frozen=True)
class Answer:
    """A text for the customer, with its sources; ``by`` is quotation, model or nobody, ``score`` how well the best article fits."""

    text: str
    sources: tuple[Source, ...]
    by: str
    score: float
    problems: tuple[str, ...] = field(default=())  # why a model's words were not taken

    @property
    def known(self) -> bool:
        return self.by != "nobody"


# --- the threshold -------------------------------------------------------------------------------------------


def threshold_for(scores: Sequence[float], share: float = ANSWERED) -> float:
    """The highest threshold that lets at least this share of the scores through; a score equal to it passes.

    >>> threshold_for([5, 1, 4, 3, 2], 0.8)
    2.0
    """
    if not len(scores):
        raise AgentLabError("A threshold needs the scores of some questions that can be answered; the list is empty.")
    if not 0 < share <= 1:
        raise AgentLabError(f"The share that is to be answered lies above 0 and at most at 1; it is {share}.")
    ordered = np.sort(np.asarray(scores, dtype=float))[::-1]
    return float(ordered[math.ceil(share * len(ordered) - 1e-9) - 1])


@dataclass(frozen=True)
class Refusal:
    """What a threshold does: the share of answerable questions that are answered, and of the others that are refused."""

    answered: float
    refused: float


def refusal(answerable: Sequence[float], others: Sequence[float], threshold: float) -> Refusal:
    """Count both sides of a threshold.

    >>> refusal([3, 2, 1], [2, 0], 2)
    Refusal(answered=0.6666666666666666, refused=0.5)
    """
    return Refusal(float(np.mean(np.asarray(answerable) >= threshold)), float(np.mean(np.asarray(others) < threshold)))


# --- citations -----------------------------------------------------------------------------------------------


def split_cited(answer: str) -> list[tuple[str, list[int]]]:
    """The sentences of an answer without their marks, and the numbers of the sources that each cites.

    >>> split_cited("You have 30 days [1]. Sundays count [1][2].")
    [('You have 30 days.', [1]), ('Sundays count.', [1, 2])]
    """
    found = []
    for sentence in re.findall(r"\S.*?(?:[.!?](?:\s*\[\d+\])*(?=\s|$)|$)", answer, flags=re.DOTALL):
        cited = [int(n) for n in re.findall(r"\[(\d+)\]", sentence)]
        plain = re.sub(r"\s+([.!?])", r"\1", re.sub(r"\s*\[\d+\]", "", sentence)).strip()
        if plain:
            found.append((plain, cited))
    return found


def check_citations(answer: str, sources: Sequence[str]) -> list[str]:
    """What is wrong with an answer's citations, each as a sentence; nothing where all is well.

    A sentence needs at least one mark such as [1], each mark a source, each fact (a sum, a date, a duration, a number) a place
    in a source that the sentence cites, and at least half of its content words too.

    >>> check_citations("You have 30 days [1]. It is free [2].", ["You have **30 days** from delivery."])
    ['Sentence 2 cites [2]; there is 1 source.']
    >>> check_citations("You have 40 days [1].", ["You have **30 days** from delivery."])
    ["Sentence 1 states '40 days', which does not stand in what it cites."]
    """
    problems = []
    sentences = split_cited(answer)
    if not sentences:
        return ["The answer is empty."]
    for n, (sentence, cited) in enumerate(sentences, 1):
        unknown = [c for c in cited if not 1 <= c <= len(sources)]
        if not cited:
            problems.append(f"Sentence {n} cites nothing.")
        elif unknown:
            there = "there is 1 source" if len(sources) == 1 else f"there are {len(sources)} sources"
            problems.append(f"Sentence {n} cites [{unknown[0]}]; {there}.")
        else:
            problems += _unsupported(n, sentence, "\n".join(sources[c - 1] for c in cited))
    return problems


def _unsupported(number: int, sentence: str, read: str) -> list[str]:
    known = {(c.kind, c.value) for c in claims(plain(read))}
    wrong = [c.text for c in claims(sentence) if (c.kind, c.value) not in known]
    if wrong:
        return [f"Sentence {number} states {wrong[0]!r}, which does not stand in what it cites."]
    said, there = content_words(sentence), content_words(read)
    if said and len(said & there) < SHARED_WORDS * len(said):
        return [f"Sentence {number} shares {len(said & there)} of {len(said)} words with what it cites."]
    return []


def content_words(text: str) -> set[str]:
    """The stems of a text without the words that any text has.

    >>> sorted(content_words("How do I return the parcels?"))
    ['parcel', 'return']
    """
    return {stem for stem in tokens(text) if stem not in STOP}


def plain(text: str) -> str:
    """A passage without Markdown.

    >>> plain("You have **30 days** from delivery.")
    'You have 30 days from delivery.'
    """
    return re.sub(r"\*\*(.+?)\*\*", r"\1", text, flags=re.DOTALL)


# --- the desk ------------------------------------------------------------------------------------------------


class HelpDesk:
    """Questions to answers. ``ranker`` scores articles (`rerank.Reranker`); below ``threshold`` nothing is answered.

    ``write``, where it is given, turns chat messages into a text, as a language model does; it is used only while its citations
    hold.
    """

    def __init__(self, ranker, threshold: float, write: Callable[[list[dict]], str] | None = None):
        self.ranker, self.threshold, self.write = ranker, float(threshold), write
        self.articles: list[Article] = ranker.articles

    def answer(self, question: str, sources: int = 1) -> Answer:
        """Answer from the best article or say that nobody knows; `QueryError` for what is no question at all."""
        question = check_query(question)
        scores = self.ranker.scores([question])[0]
        best = [int(n) for n in best_first(scores, sources)]
        score = float(scores[best[0]])
        if score < self.threshold:
            return Answer(UNKNOWN, (), "nobody", score)
        found = tuple(Source(self.articles[n], self.ranker.best_passage(question, n)) for n in best)
        if self.write is not None:
            written = " ".join((self.write(prompt(question, found)) or "").split())
            problems = tuple(check_citations(written, [f"{s.article.title}\n{s.passage}" for s in found]))
            if not problems:
                return Answer(written, found, "model", score)
            return Answer(quotation(found[0]), found[:1], "quotation", score, problems)
        return Answer(quotation(found[0]), found[:1], "quotation", score)

    def search(self, question: str, top: int = 5) -> list[Hit]:
        """The articles that fit best, the best first, with scores from 0 to 1; from `knowledge.KNOWS` on one answers."""
        question = check_query(question)
        scores = self.ranker.scores([question])[0]
        return [
            Hit(self.articles[n], self.known_scale(float(scores[n])), self.ranker.best_passage(question, int(n)))
            for n in best_first(scores, top)
        ]

    def known_scale(self, score: float) -> float:
        """A score on the scale from 0 to 1 on which the threshold is `knowledge.KNOWS`."""
        shifted = (score - self.threshold) / SOFTNESS + math.log(KNOWS / (1 - KNOWS))
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, shifted))))


def quotation(source: Source) -> str:
    """The passage as it stands, without Markdown, its source behind it; a long one ends after a whole sentence."""
    text = plain(source.passage)
    if len(text) > LONGEST_QUOTE:
        cut = text[:LONGEST_QUOTE]
        ends = [m.end() for m in re.finditer(r"[.!?;:](?=\s)", cut)]
        text = cut[: ends[-1]] if ends else cut.rsplit(" ", 1)[0]
    return f"“{text}” ({source.article.title}) [1]"


def prompt(question: str, sources: Sequence[Source]) -> list[dict]:
    """Chat messages that ask a language model for an answer from numbered sources."""
    listed = "\n".join(f"[{n}] {s.article.title}: {plain(s.passage)}" for n, s in enumerate(sources, 1))
    system = "Answer the customer in one or two short sentences, only with what stands in the sources. End each sentence with the number of its source, such as [1]."  # fmt: skip
    return [{"role": "system", "content": system}, {"role": "user", "content": f"{listed}\n\nCustomer: {question}"}]


def load(recipe: rerank.Recipe | None = None, write: Callable[[list[dict]], str] | None = None) -> HelpDesk:
    """The course's help desk: the trained reranker, and the threshold that it has on the development part."""
    ranker = rerank.load(recipe)
    return HelpDesk(ranker, _threshold(ranker), write)


def _threshold(ranker: rerank.Reranker) -> float:
    """The threshold of a reranker, measured once and kept in the cache beside it."""
    questions = [q.text for q in knowledge.load_questions("development")]
    name = f"threshold-{rerank.fingerprint(ranker.recipe, questions)}-{FORMAT}"

    def build(folder: Path) -> None:
        threshold = threshold_for(ranker.scores(questions).max(1))
        (folder / "threshold.json").write_text(json.dumps({"threshold": threshold, "answered": ANSWERED}))

    def read(folder: Path) -> float | None:
        try:
            return float(json.loads((folder / "threshold.json").read_text())["threshold"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    return read(assets.build_once(name, build, lambda folder: read(folder) is not None))  # type: ignore[return-value]


# --- measuring -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """A desk on questions: shares answered, cited rightly among the answered, and refused among those without an article."""

    answered: float
    right_citation: float
    refused: float


def measure(desk: HelpDesk, answerable: Sequence[Question], others: Sequence[Question]) -> Measured:
    """Ask a desk questions that have an article, and others that have none."""
    if not answerable or not others:
        raise AgentLabError("measure needs questions that can be answered and some that cannot.")
    scores = desk.ranker.scores([q.text for q in answerable])
    none = desk.ranker.scores([q.text for q in others]).max(1)
    known = scores.max(1) >= desk.threshold
    right = np.array([desk.articles[int(n)].id == q.article for n, q in zip(scores.argmax(1), answerable, strict=True)])
    both = refusal(scores.max(1), none, desk.threshold)
    return Measured(both.answered, float(right[known].mean()) if known.any() else 0.0, both.refused)
