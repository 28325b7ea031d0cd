"""A cross-encoder that puts the articles of a first search in order, and can say that none of them answers.

It reads a question and an article's best passages together, so that every word of one can attend to every word of the other.
What it says is added to the first stage's score; beside the candidates stands a choice that is always there, *nothing*, with
the score 0. One softmax over all of them is trained, so that an article must beat not only the others but also silence.

``load()`` fine-tunes both stages once on the train part (one to two minutes on two cores) and keeps them in the cache: the
questions' side of the first (`agentlab.biencoder`), and the cross-encoder. The cross-encoder learns beside the first stage as
it was before, since that one has seen the train questions and would hardly ever be wrong on them. Recipes were chosen on the
development part.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from agentlab import assets, biencoder, finetune, heads, knowledge
from agentlab.encoding import Encoded, collate
from agentlab.knowledge import HybridIndex, Question
from agentlab.losses import IGNORE
from agentlab.retrieval import best_first

HEADS = {"fits": ("fits",)}  # one number per pair
NOTHING = -1  # the right answer to a question that no article answers
FORMAT = 1  # of the saved files


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a reranker is trained and used.

    ``scale * (first - middle)`` is what the first stage's score is worth beside the cross-encoder's number; where it is 0 the
    first stage is as much for the article as against it.
    """

    training: finetune.Config = field(
        default_factory=lambda: finetune.Config(epochs=1, learning_rate=1e-4, batch_size=16, precision="float32")
    )
    questions: biencoder.Recipe = biencoder.RECIPE  # of the first stage
    negatives: int = 3  # wrong candidates beside each right one
    pool: int = 12  # they are drawn from so many that the first stage found
    candidates: int = 8  # that are put in order when it is used
    passages: int = 1  # of an article, those nearest to the question
    max_tokens: int = 56
    scale: float = 20.0
    middle: float = 0.55
    most: int = 0  # questions that are learned from; 0: all


RECIPE = Recipe()
QUICK = Recipe(
    finetune.Config(epochs=1, learning_rate=2e-4, batch_size=16, precision="float32", freeze=5),
    biencoder.QUICK, negatives=2, candidates=5, max_tokens=32, most=240,
)  # for tests and a first look  # fmt: skip


# --- questions with their candidates -------------------------------------------------------------------------


@dataclass(frozen=True)
class Group(Encoded):
    """A question with its candidates: a pair of texts as numbers for each, first-stage scores, the place of the right one.

    ``right`` is the number of candidates where none of them is right.
    """

    pairs: tuple[tuple[int, ...], ...] = ()
    first: tuple[float, ...] = ()
    right: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.pairs))


def hard_negatives(scores: np.ndarray, right: int, number: int, pool: int, rng: random.Random) -> list[int]:
    """Wrong articles that look right: ``number`` drawn from the ``pool`` that the first stage ranks highest.

    >>> hard_negatives(np.array([0.9, 0.8, 0.1, 0.7]), 0, 2, 3, random.Random(0))
    [1, 3]
    """
    wrong = [int(n) for n in best_first(scores, pool) if n != right]
    return [wrong[i] for i in sorted(rng.sample(range(len(wrong)), min(number, len(wrong))))]


def texts_of_pairs(index: HybridIndex, passages: np.ndarray, articles: Sequence[int], number: int) -> list[str]:
    """What is read of each article: its title, and the passages nearest to the question; passages (P,) are their scores."""
    texts = []
    for article in articles:
        own = np.flatnonzero(index.owner == article)
        near = sorted(own[best_first(passages[own], number)])
        bodies = [index.passages[n].split("\n", 1)[1] for n in near]
        texts.append("\n".join([index.articles[article].title, *bodies]))
    return texts


def make_groups(
    questions: Sequence[str],
    candidates: Sequence[Sequence[int]],
    right: Sequence[int],
    index: HybridIndex,
    tokenizer,
    recipe: Recipe,
) -> list[Group]:
    """Questions with their candidates as numbers; a pair that is too long loses the end of its passage."""  # fmt: skip
    if not len(questions):
        return []
    first, passages = index.scores(questions), index.passage_scores(questions)
    pairs = [
        (question, text)
        for n, question in enumerate(questions)
        for text in texts_of_pairs(index, passages[n], candidates[n], recipe.passages)
    ]
    cut = [(_shortened(q, tokenizer, recipe.max_tokens), text) for q, text in pairs]
    ids = iter(tokenizer(cut, truncation="only_second", max_length=recipe.max_tokens)["input_ids"])
    groups = []
    for n, articles in enumerate(candidates):
        articles = list(articles)
        place = articles.index(right[n]) if right[n] in articles else len(articles)
        groups.append(Group([], [], IGNORE, tuple(tuple(next(ids)) for _ in articles), tuple(map(float, first[n, articles])), place))  # fmt: skip
    return groups


def _shortened(question: str, tokenizer, max_tokens: int) -> str:
    """A question that takes at most two thirds of the tokens, so that something of the passage is read too."""
    most = 2 * max_tokens // 3
    if len(question) < most:  # a token has at least one character
        return question
    cut = tokenizer(question, truncation=True, max_length=most, add_special_tokens=False, return_offsets_mapping=True)
    return question[: cut["offset_mapping"][-1][1]] if cut["offset_mapping"] else question


def group_logits(model, groups: Sequence[Group], recipe: Recipe, device: torch.device) -> list[torch.Tensor]:
    """For each group the scores of its candidates and, last, of nothing: (candidates + 1,)."""
    pairs = [Encoded(list(ids), [IGNORE] * len(ids), IGNORE) for g in groups for ids in g.pairs]
    batch = {k: v.to(device) for k, v in collate(pairs).items()}
    said = model(batch["input_ids"], batch["attention_mask"])["intents"][:, 0]  # (pairs,)
    logits, at = [], 0
    for g in groups:
        first = torch.tensor(g.first, device=device)
        own = said[at : at + len(g.pairs)] + recipe.scale * (first - recipe.middle)
        logits.append(torch.cat([own, own.new_zeros(1)]))
        at += len(g.pairs)
    return logits


# --- training ------------------------------------------------------------------------------------------------


class GroupTraining(finetune.Training):
    """A training whose items are groups: cross-entropy of the right candidate, or of nothing."""

    def __init__(self, recipe: Recipe, *args, **options):
        self.recipe = recipe
        super().__init__(*args, **options)

    def check(self) -> None:
        if not self.train:
            raise finetune.TrainingError("There is nothing to train on: the list of questions is empty.")

    def divisors(self, items: list[Group]) -> int:
        return len(items)

    def part_loss(self, items: list[Group], divisors: int, counts: bool) -> torch.Tensor:
        logits = group_logits(self.model, items, self.recipe, self.device)
        losses = [-F.log_softmax(row, 0)[g.right] for row, g in zip(logits, items, strict=True)]
        return torch.stack(losses).sum() / divisors * float(counts)

    def evaluate(self) -> float:
        """The mean reciprocal rank of the right candidate on the validation groups that have one."""
        rows = _in_order(self.reader, self.validation, self.recipe)
        ranks = [int((row[:-1] > row[g.right]).sum()) + 1 for row, g in zip(rows, self.validation, strict=True) if g.right < len(g.pairs)]  # fmt: skip
        return float(np.mean([1 / rank for rank in ranks])) if ranks else 0.0

    def identity(self) -> dict[str, str]:
        data = repr([(g.pairs, g.first, g.right) for g in (*self.train, *self.validation)])
        return {"data": hashlib.sha256(data.encode()).hexdigest()[:16], "recipe": repr(self.recipe)}


@torch.inference_mode()
def _in_order(reader: finetune.Reader, groups: Sequence[Group], recipe: Recipe, size: int = 8) -> list[np.ndarray]:
    """`group_logits` of many groups, those of similar length together, in the order they came."""
    reader.eval()
    device = next(reader.parameters()).device
    rows: list = [None] * len(groups)
    order = sorted(range(len(groups)), key=lambda n: len(groups[n]))
    for start in range(0, len(order), size):
        places = order[start : start + size]
        for n, row in zip(places, group_logits(reader, [groups[n] for n in places], recipe, device), strict=True):
            rows[n] = row.float().cpu().numpy()
    return rows


def training_groups(index: HybridIndex, questions: Sequence[Question], tokenizer, recipe: Recipe) -> list[Group]:
    """Each question with its article and hard negatives; one without an article has negatives only."""
    place = {a.id: n for n, a in enumerate(index.articles)}
    rng = random.Random(recipe.training.seed)
    texts, right = [q.text for q in questions], [place.get(q.article, NOTHING) for q in questions]
    scores = index.scores(texts)
    candidates = [
        ([r] if r != NOTHING else []) + hard_negatives(scores[n], r, recipe.negatives, recipe.pool, rng)
        for n, r in enumerate(right)
    ]
    return make_groups(texts, candidates, right, index, tokenizer, recipe)


def learning_questions(tickets: bool = True) -> list[Question]:
    """What the reranker learns from: the train part, answerable or not, and the questions of the tickets."""
    found = knowledge.load_questions("train") + knowledge.load_questions("train", answerable=False)
    return found + [Question(t.question, t.article, "train") for t in knowledge.load_tickets() if tickets]


def train(
    index: HybridIndex,
    recipe: Recipe = RECIPE,
    learn: Sequence[Question] | None = None,
    check: Sequence[Question] = (),
    **options,
) -> tuple[Reranker, finetune.History]:
    """Fine-tune a cross-encoder; ``check`` chooses the epoch where there are several. Options go to `finetune.Training`."""  # fmt: skip
    from agentlab.device import release_memory

    _, tokenizer = assets.load_encoder()
    groups = training_groups(index, learning_questions() if learn is None else learn, tokenizer, recipe)
    reader = heads.new_reader(HEADS, recipe.training.seed)
    half = Reranker(reader, tokenizer, index, recipe)
    training = GroupTraining(recipe, reader, groups, half.groups_of(check), recipe.training, **options)
    history = training.run()
    del training
    release_memory()
    return Reranker(reader, tokenizer, index, recipe), history


# --- in use --------------------------------------------------------------------------------------------------


class Reranker:
    """A first stage and a cross-encoder behind it, as one index of articles."""

    def __init__(self, reader: finetune.Reader, tokenizer, index: HybridIndex, recipe: Recipe = RECIPE):
        self.reader, self.tokenizer, self.index, self.recipe = reader.eval(), tokenizer, index, recipe
        self.articles = index.articles

    def groups_of(self, questions: Sequence[Question]) -> list[Group]:
        """Questions with the candidates of the first stage, as `GroupTraining.evaluate` wants them."""
        place = {a.id: n for n, a in enumerate(self.articles)}
        texts = [q.text for q in questions]
        return self._groups(texts, [place.get(q.article, NOTHING) for q in questions])[1] if texts else []

    def _groups(self, texts: Sequence[str], right: Sequence[int]) -> tuple[np.ndarray, list[Group]]:
        candidates = best_first(self.index.scores(texts), self.recipe.candidates)  # (Q, candidates)
        return candidates, make_groups(texts, candidates.tolist(), right, self.index, self.tokenizer, self.recipe)

    def scores(self, questions: Sequence[str]) -> np.ndarray:
        """How well each article fits each question, (questions, articles); above 0 it is more probable than nothing.

        Articles beyond the candidates keep the first stage's order, below all candidates.
        """
        questions = list(questions)
        if not questions:
            return np.zeros((0, len(self.articles)))
        candidates, groups = self._groups(questions, [NOTHING] * len(questions))
        first = self.index.scores(questions)
        scores = self.recipe.scale * (first - self.recipe.middle)
        for n, row in enumerate(_in_order(self.reader, groups, self.recipe)):
            said = row[:-1]
            rest = np.setdiff1d(np.arange(len(self.articles)), candidates[n])
            if len(rest):
                scores[n, rest] += min(0.0, float(said.min()) - float(scores[n, rest].max()) - 1)
            scores[n, candidates[n]] = said
        return scores

    def best_passage(self, question: str, article: int) -> str:
        """The passage of an article that is nearest to the question."""
        near = self.index.passage_scores([question])[0]
        own = np.flatnonzero(self.index.owner == article)
        return self.articles[article].passages[int(near[own].argmax())]


def load(recipe: Recipe | None = None, seed: int = 0) -> Reranker:
    """The course's reranker, trained at most once for these data, recipe, seed and encoder.

    Without a recipe it is `RECIPE`, or `QUICK` where ``AGENTLAB_UNDERSTANDING`` says quick, as the quick profile does.
    """
    quick = os.environ.get("AGENTLAB_UNDERSTANDING") == "quick"
    recipe = recipe or (QUICK if quick else RECIPE)
    return _load(replace(recipe, training=replace(recipe.training, seed=seed)))


def fingerprint(recipe: Recipe, more: Sequence[str] = ()) -> str:
    """Sixteen hexadecimal digits that depend on all that a trained reranker does: data, recipe, encoder."""
    articles, learn = knowledge.load_articles(), learning_questions()
    texts = [*(repr(a) for a in articles), *map(repr, knowledge.load_tickets()), *map(repr, learn), *more]
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    weights = [knowledge.TICKETS_WEIGHT, knowledge.BM25_WEIGHT]
    about = [digest, asdict(recipe), weights, assets.encoder_name(), FORMAT]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


@assets.loaded_once
def _load(recipe: Recipe) -> Reranker:
    index = HybridIndex(knowledge.load_articles(), knowledge.load_tickets())

    def build(folder: Path) -> None:
        print("Fine-tuning the search of the help pages, once (one to two minutes) ...")
        read, reader = train_both(index, recipe)
        biencoder.save(read, folder / "questions.safetensors")
        heads.save(reader, HEADS, folder / "reader.safetensors")

    def is_sound(folder: Path) -> bool:
        return all(heads.is_sound(folder / name) for name in ("questions.safetensors", "reader.safetensors"))

    folder = assets.build_once(f"reranker-{fingerprint(recipe)}", build, is_sound)
    reader, _, tokenizer = heads.load(folder / "reader.safetensors")
    read = biencoder.load(folder / "questions.safetensors", recipe.questions.max_tokens)
    return Reranker(reader, tokenizer, HybridIndex(index.articles, index.tickets, read), recipe)


def train_both(index: HybridIndex, recipe: Recipe) -> tuple[biencoder.QuestionReader, finetune.Reader]:
    """Both stages on the train part: the questions' side without the tickets, which lie in the index, the cross-encoder with them."""
    learn = learning_questions()
    if recipe.most:
        learn = random.Random(recipe.training.seed).sample(learn, min(recipe.most, len(learn)))
    read, _ = biencoder.train(index, learning_questions(tickets=False), recipe.questions, bar=False)
    return read, train(index, recipe, learn, bar=False)[0].reader
