"""How good a reader is: intents, spans, calibration, what is out of scope, and how sure these figures are.

Everything takes plain arrays or lists, so that any model can be scored. Thresholds and temperatures are chosen on
validation data and only then applied to test data; nothing here does that for you.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from agentlab.errors import AgentLabError

Span = tuple[int, int, str]  # first token, one past the last, type


# --- intents -------------------------------------------------------------------------------------------------


def accuracy(truth: Sequence, guess: Sequence) -> float:
    """Share of equal pairs. Raises `AgentLabError` for lists that are empty or differ in length."""
    _same_length(truth, guess)
    return sum(t == g for t, g in zip(truth, guess, strict=True)) / len(truth)


def macro_f1(truth: Sequence[str], guess: Sequence[str]) -> float:
    """The mean over the classes in ``truth`` of F1, so that a rare class weighs as much as a common one."""
    from sklearn.metrics import f1_score

    _same_length(truth, guess)
    return float(f1_score(truth, guess, labels=sorted(set(truth)), average="macro", zero_division=0))


def report(truth: Sequence[str], guess: Sequence[str]):
    """Precision, recall, F1 and number of each class, worst F1 first, as a pandas table."""
    import pandas as pd
    from sklearn.metrics import classification_report

    _same_length(truth, guess)
    names = sorted(set(truth))
    rows = classification_report(truth, guess, labels=names, output_dict=True, zero_division=0)
    table = pd.DataFrame([{"class": n, **rows[n]} for n in names]).rename(
        columns={"f1-score": "F1", "support": "messages"}
    )
    return table.astype({"messages": int}).sort_values(["F1", "class"]).reset_index(drop=True)


def worst_confusions(truth: Sequence[str], guess: Sequence[str], top: int = 10) -> list[tuple[str, str, int]]:
    """The most frequent (true, guessed, times) among the mistakes."""
    _same_length(truth, guess)
    wrong = Counter((t, g) for t, g in zip(truth, guess, strict=True) if t != g)
    return [(t, g, n) for (t, g), n in sorted(wrong.items(), key=lambda x: (-x[1], x[0]))[:top]]


# --- spans ---------------------------------------------------------------------------------------------------


def spans_of(tags: Sequence[str]) -> list[Span]:
    """The spans that a row of BIO tags stands for, as seqeval reads them by default.

    A span begins at a B, or at an I whose type differs from the one before or that follows an O; it ends before the
    next beginning or O.

    >>> spans_of(["O", "B-product", "I-product", "I-date", "O"])
    [(1, 3, 'product'), (3, 4, 'date')]
    """
    spans, start, kind = [], 0, ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if kind and (prefix != "I" or name != kind):
            spans.append((start, place, kind))
            kind = ""
        if prefix in ("B", "I") and not kind:
            start, kind = place, name
    return spans


@dataclass(frozen=True)
class SpanScore:
    """Spans right, found and there; a span is right if both its ends and its type are."""

    right: int
    found: int
    there: int

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.there if self.there else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.found + self.there) if self.found + self.there else 0.0


def score_spans(truth: Sequence[Sequence[str]], guess: Sequence[Sequence[str]]) -> dict[str, SpanScore]:
    """Exact-match scores of rows of BIO tags: one per type, and ``all`` (micro average).

    Source: the CoNLL-2000 evaluation as in seqeval, against which the tests compare this.
    """
    _same_length(truth, guess)
    right, found, there = Counter(), Counter(), Counter()
    for number, (t, g) in enumerate(zip(truth, guess, strict=True)):
        if len(t) != len(g):
            raise AgentLabError(f"Row {number} has {len(t)} true tags and {len(g)} guessed ones.")
        true_spans, guessed = set(spans_of(t)), set(spans_of(g))
        for counter, spans in ((right, true_spans & guessed), (found, guessed), (there, true_spans)):
            counter.update(kind for *_, kind in spans)
            counter["all"] += len(spans)
    return {
        kind: SpanScore(right[kind], found[kind], there[kind])
        for kind in ["all", *sorted((found | there).keys() - {"all"})]
    }


# --- calibration ---------------------------------------------------------------------------------------------


def probabilities(logits, temperature: float = 1.0) -> np.ndarray:
    """Softmax of logits (N, C) over a temperature."""
    from agentlab.losses import softmax

    return softmax(np.asarray(logits, dtype=float) / temperature)


def calibration_error(confidence: Sequence[float], right: Sequence[bool], bins: int = 15) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over bins of equal width.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    _same_length(confidence, right)
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = 0.0
    for b in np.unique(which):
        inside = which == b
        gap += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return float(gap)


def fit_temperature(logits, labels: Sequence[int]) -> float:
    """The temperature that minimises the negative log-likelihood on validation data; above 1 means overconfident.

    Source: Guo et al. 2017, section 4.2. It changes no decision, only how sure the model says it is.
    """
    from scipy.optimize import minimize_scalar

    from agentlab.losses import cross_entropy

    z, labels = np.asarray(logits, dtype=float), np.asarray(labels)
    found = minimize_scalar(lambda t: cross_entropy(labels, z / np.exp(t)).value, bounds=(-3, 3), method="bounded")
    return float(np.exp(found.x))


# --- out of scope --------------------------------------------------------------------------------------------


def auroc(inside: Sequence[float], outside: Sequence[float]) -> float:
    """The chance that a message in scope scores higher than one out of scope; 0.5 is guessing."""
    from sklearn.metrics import roc_auc_score

    if not len(inside) or not len(outside):
        raise AgentLabError("auroc needs scores of messages in scope and of some out of scope.")
    return float(roc_auc_score([1] * len(inside) + [0] * len(outside), [*inside, *outside]))


def choose_threshold(inside: Sequence[float], outside: Sequence[float]) -> float:
    """The score below which a message counts as out of scope: where the mean of both recalls is largest."""
    if not len(inside) or not len(outside):
        raise AgentLabError("choose_threshold needs scores of messages in scope and of some out of scope.")
    inside, outside = np.sort(inside), np.sort(outside)
    places = np.unique([*inside, *outside])
    middles = (places[1:] + places[:-1]) / 2 if len(places) > 1 else places
    kept = 1 - np.searchsorted(inside, middles) / len(inside)
    refused = np.searchsorted(outside, middles) / len(outside)
    return float(middles[np.argmax(kept + refused)])


# --- how sure is a figure ------------------------------------------------------------------------------------


def bootstrap(
    values: Sequence, figure: Callable[[list], float], rounds: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of a figure over the messages: computed anew on samples drawn with replacement.

    ``values`` holds one item per message, whatever ``figure`` takes a list of. Source: Efron and Tibshirani 1993, chapter 13.
    """
    if not len(values):
        raise AgentLabError("bootstrap needs at least one value.")
    rng, values = np.random.default_rng(seed), list(values)
    figures = [figure([values[i] for i in rng.integers(0, len(values), len(values))]) for _ in range(rounds)]
    low, high = np.percentile(figures, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    """Accuracy of the second model minus the first's on the same messages, its 95 % interval, and a p-value."""

    difference: float
    low: float
    high: float
    p_value: float


def compare(first_right: Sequence[bool], second_right: Sequence[bool], rounds: int = 2000, seed: int = 0) -> Comparison:
    """Compare two models on the same messages: bootstrap interval, and McNemar's exact test."""
    from scipy.stats import binomtest

    _same_length(first_right, second_right)
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    gain = second.astype(int) - first.astype(int)
    low, high = bootstrap(gain, lambda sample: float(np.mean(sample)), rounds, seed)
    only_second, either = int((gain == 1).sum()), int((gain != 0).sum())
    p = binomtest(only_second, either).pvalue if either else 1.0
    return Comparison(float(gain.mean()), low, high, float(p))


def _same_length(a: Sequence, b: Sequence) -> None:
    if len(a) != len(b) or not len(a):
        raise AgentLabError(f"Two lists of one length are needed, with at least one item; got {len(a)} and {len(b)}.")
