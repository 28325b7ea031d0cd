"""A ranker that joins what a text says with what else is known: popularity, price, category, age, factors, neighbours.

Recommenders find candidates; the ranker orders them. It is gradient boosting (scikit-learn) on a row of `FEATURES` per customer and
product, learned on the validation days from features as they were before these days, so that nothing of the future leaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from agentlab.behaviour import Log
from agentlab.errors import AgentLabError
from agentlab.recommend import CoOccurrence, Factorization, Popularity, Task, interactions

FEATURES = (
    "text match", "factors", "neighbours", "popularity", "days on sale", "price", "price gap", "same category", "fits a device",
    "lines known",
)  # fmt: skip
NEGATIVES = 30  # per clicked product


@dataclass
class Known:
    """The recommenders as they stand on a day: fitted on everything before it."""

    log: Log
    day: int
    popularity: Popularity
    neighbours: CoOccurrence
    factors: Factorization


def know(log: Log, day: int, seed: int = 0) -> Known:
    """Fit the recommenders that count on what happened before a day."""
    rows = interactions(log, day)
    return Known(log, day, Popularity().fit(rows), CoOccurrence().fit(rows), Factorization(seed=seed).fit(rows))


def features(known: Known, task: Task, match: np.ndarray) -> np.ndarray:
    """A row of `FEATURES` for each user and product, (N, I, F); ``match`` (N, I) are the towers' scores."""
    products = known.log.products
    names = sorted({p.category for p in products})
    category = np.array([names.index(p.category) for p in products])
    fits = np.array([names.index(p.fits) if p.fits in names else len(names) for p in products])
    price = np.log([p.price_cents for p in products])
    seen = (task.rows > 0).astype(float)
    per_user = np.maximum(np.asarray(seen.sum(1)).ravel(), 1e-9)
    mean_price = np.asarray(seen @ price).ravel() / per_user
    mean_price[per_user < 1] = price.mean()
    one_hot = np.eye(len(names) + 1)[category]
    share = np.asarray(seen @ one_hot) / per_user[:, None]  # (N, categories): what the user looked at
    bought = np.asarray(sparse.csr_matrix(task.rows.multiply(task.rows >= 2)).astype(bool).astype(float) @ one_hot) > 0
    share[:, -1], bought[:, -1] = 0, False
    shape = (len(task), len(products))
    columns = [
        match, known.factors.scores(task.rows), known.neighbours.scores(task.rows), known.popularity.scores(task.rows),
        np.broadcast_to(np.clip(task.day - known.log.launched, 0, 60), shape), np.broadcast_to(price, shape),
        np.abs(price[None] - mean_price[:, None]), share[:, category], bought[:, fits].astype(float),
        np.broadcast_to(np.array([len(h) for h in task.history])[:, None], shape),
    ]  # fmt: skip
    return np.stack(columns, axis=2).astype(np.float32)


class Ranker:
    """Gradient boosting that says how likely a customer clicks a product."""

    def __init__(self, seed: int = 0, columns: Sequence[str] = FEATURES):
        from sklearn.ensemble import HistGradientBoostingClassifier

        unknown = set(columns) - set(FEATURES)
        if unknown or not columns:
            raise AgentLabError(f"Unknown features {sorted(unknown)}. Available: {', '.join(FEATURES)}.")
        self.columns = [FEATURES.index(c) for c in columns]
        self.seed = seed
        self.model = HistGradientBoostingClassifier(
            max_iter=150,
            learning_rate=0.06,
            max_leaf_nodes=15,
            min_samples_leaf=40,
            l2_regularization=1.0,
            random_state=seed,
        )

    def fit(self, rows: np.ndarray, task: Task) -> Ranker:
        """Learn from a task whose clicks are known: clicked products against others that could have been shown."""
        rng = np.random.default_rng(self.seed)
        wanted, users, items = [], [], []
        for n, relevant in enumerate(task.relevant):
            free = np.flatnonzero(task.candidates & ~task.seen[n])
            others = rng.choice(free, min(len(free), NEGATIVES * len(relevant)), replace=False)
            others = others[~np.isin(others, list(relevant))]
            chosen = [*sorted(relevant), *others]
            users += [n] * len(chosen)
            items += chosen
            wanted += [1] * len(relevant) + [0] * len(others)
        if len(set(wanted)) < 2:
            raise AgentLabError(
                "A ranker learns from clicked and from other products; this task has only one of the two."
            )
        self.model.fit(rows[users, items][:, self.columns], wanted)
        return self

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """(N, I): log-odds of a click."""
        flat = rows.reshape(-1, rows.shape[2])[:, self.columns]
        return self.model.decision_function(flat).reshape(rows.shape[:2])

    def importance(self, rows: np.ndarray, task: Task, rounds: int = 1) -> dict[str, float]:
        """How much NDCG@10 falls when a feature is shuffled over users and products: permutation importance."""
        from agentlab.recommend import assess

        rng, ones = np.random.default_rng(self.seed), np.ones(rows.shape[1])
        whole = assess(self.scores(rows), task, ones).ndcg.mean()
        falls = {}
        for column in self.columns:
            lost = []
            for _ in range(rounds):
                changed = rows.copy()
                changed[:, :, column] = rng.permutation(rows[:, :, column].ravel()).reshape(rows.shape[:2])
                lost.append(whole - assess(self.scores(changed), task, ones).ndcg.mean())
            falls[FEATURES[column]] = float(np.mean(lost))
        return falls
