"""What to show to whom: the task split by time, three classic recommenders and two that read, and how good a list is.

A recommender gives scores (users, products); a `Task` says which products may be shown, which were seen before, and what was
clicked later. Everything that is learned comes from before the day at which the task begins. Sources: Koren, Bell and Volinsky
2009 for factors, Järvelin and Kekäläinen 2002 for NDCG, Joachims, Swaminathan and Schnabel 2017 for positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2

import numpy as np
from scipy import sparse

from agentlab.behaviour import CLICK, PURCHASE, REVIEW, Lists, Log
from agentlab.errors import AgentLabError

TOP = 10
WEIGHTS = {CLICK: 1.0, PURCHASE: 2.0, REVIEW: 0.0}  # what an event adds to a customer's row


# --- what a customer did --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One thing that is known of a customer, as text. ``kind``: wish, click, purchase, liked or missed; ``item`` -1 for none."""

    kind: str
    item: int
    text: str


LINE_KINDS = ("wish", "click", "purchase", "liked", "missed")
History = tuple[Line, ...]


def histories(log: Log, until: int) -> list[History]:
    """For each user the lines before day ``until``, the oldest first; what somebody said they look for always stands first."""
    lines: list[list[Line]] = [[Line("wish", -1, wish) for wish in said] for said in log.wishes]
    for n in np.flatnonzero(log.day < until):
        item, kind = int(log.item[n]), log.kind[n]
        if kind == REVIEW:
            lines[log.user[n]].append(Line("liked" if log.stars[n] >= 3 else "missed", item, log.texts[n]))
        else:
            lines[log.user[n]].append(Line("click" if kind == CLICK else "purchase", item, log.products[item].line))
    return [tuple(own) for own in lines]


def interactions(log: Log, until: int) -> sparse.csr_matrix:
    """How often each user had to do with each product before a day, purchases counted more: (U, I)."""
    rows = log.day < until
    values = np.array([WEIGHTS[k] for k in log.kind[rows]])
    shape = (log.users, len(log.products))
    return sparse.csr_matrix((values, (log.user[rows], log.item[rows])), shape=shape)


# --- the task -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Rank products for users on a day. ``relevant``: what each of them first clicks later; ``seen`` is left out of lists.

    ``users`` (N,), ``candidates`` (I,) of bool, ``seen`` (N, I) of bool; ``history`` and ``rows`` hold what was known.
    """

    day: int
    users: np.ndarray
    relevant: list[set[int]]
    candidates: np.ndarray
    seen: np.ndarray
    history: list[History]
    rows: sparse.csr_matrix

    def __len__(self) -> int:
        return len(self.users)

    def only_users(self, keep: np.ndarray) -> Task:
        """The same task for some of its users, given as bools (N,)."""
        places = np.flatnonzero(keep)
        return replace(
            self, users=self.users[places], relevant=[self.relevant[n] for n in places], seen=self.seen[places],
            history=[self.history[n] for n in places], rows=self.rows[places],
        )  # fmt: skip

    def only_items(self, keep: np.ndarray) -> Task:
        """The same task among some products, given as bools (I,), for the users who clicked one of them later."""
        relevant = [{i for i in found if keep[i]} for found in self.relevant]
        some = replace(self, relevant=relevant, candidates=self.candidates & keep)
        return some.only_users(np.array([bool(found) for found in relevant]))


def make_task(log: Log, start: int, days: int) -> Task:
    """The task of the ``days`` from day ``start`` on; raises `AgentLabError` where nobody clicks anything new in them."""
    before, end = log.day < start, start + days
    seen = np.zeros((log.users, len(log.products)), bool)
    seen[log.user[before], log.item[before]] = True
    window = (log.day >= start) & (log.day < end) & (log.kind == CLICK)
    found: list[set[int]] = [set() for _ in range(log.users)]
    for user, item in zip(log.user[window], log.item[window], strict=True):
        if not seen[user, item]:
            found[user].add(int(item))
    users = np.array([u for u in range(log.users) if found[u]], int)
    if not len(users):
        raise AgentLabError(
            f"Nobody clicks anything new from day {start} to {end}; choose days inside the log (0 to {max(log.day, default=0)})."
        )
    known = histories(log, start)
    return Task(
        start, users, [found[u] for u in users], log.launched < end, seen[users],
        [known[u] for u in users], interactions(log, start)[users],
    )  # fmt: skip


# --- recommenders ---------------------------------------------------------------------------------------------


class Popularity:
    """What most people had to do with; the same for everybody."""

    def fit(self, rows: sparse.csr_matrix) -> Popularity:
        """``rows``: interactions (U, I)."""
        self.counts = np.asarray((rows > 0).sum(0)).ravel().astype(float)
        return self

    def scores(self, rows: sparse.csr_matrix) -> np.ndarray:
        """(N, I): log(1 + count), in every row alike."""
        return np.tile(np.log1p(self.counts), (rows.shape[0], 1))


class CoOccurrence:
    """Customers who looked at this also looked at that: the cosine of two products' columns."""

    def fit(self, rows: sparse.csr_matrix) -> CoOccurrence:
        seen = (rows > 0).astype(float)
        together = (seen.T @ seen).toarray()
        norm = np.sqrt(together.diagonal())
        self.similar = together / np.maximum(norm[:, None] * norm[None], 1e-9)
        np.fill_diagonal(self.similar, 0.0)
        return self

    def scores(self, rows: sparse.csr_matrix) -> np.ndarray:
        """(N, I): how similar each product is to those of the row, added up."""
        return np.asarray((rows > 0).astype(float) @ self.similar)


class Factorization:
    """Matrix factorization by alternating least squares (the library ``implicit``): a vector per user and per product.

    A product that nobody has clicked has the vector 0, whatever its text says.
    """

    def __init__(self, factors: int = 32, regularization: float = 5.0, alpha: float = 1.0, seed: int = 0):
        self.options = {"factors": factors, "regularization": regularization, "alpha": alpha}
        self.seed = seed

    def fit(self, rows: sparse.csr_matrix) -> Factorization:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):
            self.model = AlternatingLeastSquares(**self.options, iterations=15, random_state=self.seed, num_threads=1)
            self.model.fit(rows.tocsr(), show_progress=False)
        self.items = np.array(self.model.item_factors)
        self.items[np.asarray(rows.sum(0)).ravel() == 0] = 0.0
        return self

    def scores(self, rows: sparse.csr_matrix) -> np.ndarray:
        """(N, I): users' vectors are computed from their rows as they are now."""
        vectors = self.model.recalculate_user(np.arange(rows.shape[0]), rows.tocsr())
        return np.asarray(vectors) @ self.items.T


def reader_scores(history: Sequence[History], texts: Sequence[str], vectors_of) -> np.ndarray:
    """(N, I): the cosine of a product's text with the mean of a customer's lines; ``vectors_of`` makes rows of length 1."""
    lines = sorted({line.text for own in history for line in own})
    place = {text: n for n, text in enumerate(lines)}
    both = np.asarray(vectors_of([*texts, *lines]))
    items, known = both[: len(texts)], both[len(texts) :]
    users = np.zeros((len(history), items.shape[1]))
    for n, own in enumerate(history):
        for line in own:
            users[n] += known[place[line.text]] / len(own)
    return users @ items.T


def word_vectors(texts: Sequence[str]) -> np.ndarray:
    """TF-IDF of words, rows of length 1."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, stop_words="english").fit_transform(texts).toarray()


# --- how good a list is ---------------------------------------------------------------------------------------


def ndcg_at(ranked: Sequence[int], relevant: set[int], k: int = TOP) -> float:
    """Normalized discounted cumulative gain: hits count 1 / log2(place + 1), divided by the best that was possible.

    >>> round(ndcg_at([7, 3, 5], {3}, 3), 3)
    0.631
    """
    gain = sum(1 / log2(place + 2) for place, item in enumerate(ranked[:k]) if item in relevant)
    best = sum(1 / log2(place + 2) for place in range(min(k, len(relevant))))
    return gain / best if best else 0.0


def recall_at(ranked: Sequence[int], relevant: set[int], k: int = TOP) -> float:
    """The share of the relevant products that is among the first k.

    >>> recall_at([7, 3, 5], {3, 4}, 3)
    0.5
    """
    return len(relevant & set(ranked[:k])) / len(relevant) if relevant else 0.0


@dataclass(frozen=True)
class Result:
    """How good lists were: per user NDCG@10 and recall@10 (N,), over all the coverage and novelty; ``lists`` (N, 10)."""

    ndcg: np.ndarray
    recall: np.ndarray
    coverage: float
    novelty: float
    lists: np.ndarray


def top_lists(scores: np.ndarray, task: Task, k: int = TOP, seed: int = 0) -> np.ndarray:
    """The best k products for each user, (N, k): only candidates, nothing seen before; ties in random order."""
    if not task.candidates.any():
        raise AgentLabError("There is no product that may be shown: the catalogue of candidates is empty.")
    scores = np.where(task.candidates[None] & ~task.seen, scores, -np.inf)
    noise = np.random.default_rng(seed).random(scores.shape)
    return np.lexsort((noise, -scores), axis=1)[:, :k]


def assess(scores: np.ndarray, task: Task, counts: np.ndarray, k: int = TOP) -> Result:
    """Compare scores (N, I) with what the users clicked later; ``counts`` (I,) says how many had to do with each before.

    Coverage: the share of candidates that is on somebody's list. Novelty: the mean of -log2 of the share of customers
    who knew the product already; 0 if everybody did.
    """
    lists = top_lists(scores, task, k)
    pairs = list(zip(lists.tolist(), task.relevant, strict=True))
    share = np.maximum(counts, 1) / max(1, counts.max())
    return Result(
        np.array([ndcg_at(ranked, relevant, k) for ranked, relevant in pairs]),
        np.array([recall_at(ranked, relevant, k) for ranked, relevant in pairs]),
        len(np.unique(lists)) / task.candidates.sum(),
        float(-np.log2(share[lists]).mean()),
        lists,
    )


def mean_interval(values: np.ndarray, rounds: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean over users, by bootstrap."""
    if not len(values):
        raise AgentLabError("mean_interval needs at least one user.")
    means = values[np.random.default_rng(seed).integers(0, len(values), (rounds, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def relative_gain(
    first: np.ndarray, second: np.ndarray, rounds: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """How much better the second is than the first on the same users, in parts of the first's mean: gain, low, high."""
    if len(first) != len(second) or not len(first):
        raise AgentLabError(f"Two results on the same users are needed; got {len(first)} and {len(second)} users.")
    draws = np.random.default_rng(seed).integers(0, len(first), (rounds, len(first)))
    floor = 1e-9
    ratios = second[draws].mean(1) / np.maximum(first[draws].mean(1), floor) - 1
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(second.mean() / max(first.mean(), floor) - 1), float(low), float(high)


# --- positions ------------------------------------------------------------------------------------------------


def propensities(lists: Lists) -> np.ndarray:
    """How much a place is looked at, measured against the first, from lists in random order: (PLACES,).

    In random order every place shows equally attractive products, so clicks differ by looking alone.
    Raises `AgentLabError` where no list was shuffled or nobody clicked a first place.
    """
    rate = lists.clicked[lists.shuffled].mean(0) if lists.shuffled.any() else np.zeros(lists.items.shape[1])
    if not rate[0]:
        raise AgentLabError("Propensities need lists in random order with clicks on the first place; there are none.")
    return rate / rate[0]


def click_rates(lists: Lists, items: int, looked: np.ndarray | None = None) -> np.ndarray:
    """Clicks per showing of each product, (items,); with ``looked`` (PLACES,) each click counts 1 / looked (inverse propensity)."""
    weight = np.ones(lists.items.shape[1]) if looked is None else 1 / np.asarray(looked)
    clicks, shown = np.zeros(items), np.zeros(items)
    np.add.at(clicks, lists.items, lists.clicked * weight)
    np.add.at(shown, lists.items, 1.0)
    return np.divide(clicks, shown, out=np.full(items, np.nan), where=shown > 0)


def true_rates(lists: Lists, items: int) -> np.ndarray:
    """What the rates would be if everybody looked at every place, from the simulator's truth: (items,)."""
    total, shown = np.zeros(items), np.zeros(items)
    np.add.at(total, lists.items, lists.attraction)
    np.add.at(shown, lists.items, 1.0)
    return np.divide(total, shown, out=np.full(items, np.nan), where=shown > 0)
