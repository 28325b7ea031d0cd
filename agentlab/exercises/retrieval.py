"""Exercises of lab 07: BM25, nearest vectors, reciprocal rank, hard negatives, a loss with silence in it, a threshold, citations."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable

import numpy as np

from agentlab.exercises.engine import Choice, Exercise, Mistake, Quiz, Wrong, expect, kind_of

ROUNDS = 6
WORDS = "parcel refund kettle late label cable invoice gift card return box lost code tv wifi".split()


def numbers(value, shape: tuple[int, ...], what: str) -> np.ndarray:
    """What an answer returned, as an array of this shape; `Wrong` for anything else."""
    if value is None or isinstance(value, (str, dict, set)):
        raise Wrong(f"{what} should be {shape[0]} numbers; yours is {kind_of(value)}")
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise Wrong(f"{what} should be {shape[0]} numbers; yours is {kind_of(value)}") from None
    expect(array.shape == shape, f"{what} should have shape {shape}; yours has {array.shape}.")
    return array


def number(value, what: str) -> float:
    """What an answer returned, as one number; `Wrong` for anything else."""
    if isinstance(value, (str, bytes)) or value is None or np.ndim(value):
        raise Wrong(f"{what} should be one number; yours is {kind_of(value)}")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise Wrong(f"{what} should be one number; yours is {kind_of(value)}") from None


def places(value, what: str) -> list[int]:
    """What an answer returned, as a list of whole numbers; `Wrong` for anything else."""
    if isinstance(value, (str, bytes, dict, set)) or not isinstance(value, Iterable):
        raise Wrong(f"{what} should be a list of places; yours is {kind_of(value)}")
    found = list(value)
    if not all(isinstance(x, (int, np.integer)) and not isinstance(x, bool) for x in found):
        raise Wrong(f"{what} should hold places, whole numbers from 0; yours is {found!r:.80}")
    return [int(x) for x in found]


# --- BM25 ----------------------------------------------------------------------------------------------------


def bm25(query, texts, k1=1.5, b=0.75):
    mean = sum(len(text) for text in texts) / len(texts)
    scores = []
    for text in texts:
        score = 0.0
        for word in query:
            n = sum(word in other for other in texts)
            f = text.count(word)
            idf = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
            score += idf * f * (k1 + 1) / (f + k1 * (1 - b + b * len(text) / mean))
        scores.append(score)
    return scores


def bm25_variant(
    query, texts, k1=1.5, b=0.75, plus=1.0, saturate=True, once=False, length=len, factor=True, fixed=None
):
    """BM25 with one thing done otherwise; what the messages are found with."""
    mean, b = sum(map(length, texts)) / len(texts), b if fixed is None else fixed
    scores = []
    for text in texts:
        score = 0.0
        for word in set(query) if once else query:
            n, f = sum(word in other for other in texts), text.count(word)
            idf = math.log(plus + (len(texts) - n + 0.5) / (n + 0.5))
            top = f * (k1 + 1) if factor else f
            score += idf * (top / (f + k1 * (1 - b + b * length(text) / mean)) if saturate else f)
        scores.append(score)
    return scores


BM25_SLIPS: dict[str, dict] = {
    "Without the 1 inside the logarithm a word that most texts have counts against them.": {"plus": 0.0},
    "You multiply by the plain count. The tenth repetition of a word must be worth less than the first: f (k1 + 1) / (f + k1 ...).": {"saturate": False},
    "Long texts are not held back: multiply k1 by 1 - b + b * length / mean length.": {"fixed": 0.0},
    "A word that comes twice in the query counts twice; you count each once.": {"once": True},
    "The length of a text is its number of words, repetitions included; you count different words.": {"length": lambda t: len(set(t))},
    "The factor k1 + 1 above the line is missing.": {"factor": False},
}  # fmt: skip


def draw_texts(rng):
    """Texts of very different lengths with repetitions, one word that nearly all have, and a query that repeats a word."""
    common, *rest = rng.sample(WORDS, len(WORDS))
    texts = [[common, *rng.choices(rest, k=rng.randint(2, 5) + 6 * (n % 3))] for n in range(6)]
    texts += [[rest[0]] * 4 + [rest[1], common], rng.choices(rest[2:], k=3)]
    rng.shuffle(texts)
    return [common, rest[0], rest[0], rest[1], "unheard-of"], texts


def check_bm25(answer) -> None:
    from agentlab.retrieval import BM25

    rng = random.Random()
    for round_ in range(ROUNDS):
        query, texts = draw_texts(rng)
        k1, b = (1.5, 0.75) if round_ % 2 == 0 else (rng.uniform(0.8, 2), rng.uniform(0.3, 0.9))
        truth = BM25([" ".join(t) for t in texts], k1, b, tokenize=str.split).scores([" ".join(query)])[0]
        theirs = numbers(answer(list(query), [list(t) for t in texts], k1, b), (len(texts),), "The scores")
        if np.allclose(theirs, truth, rtol=1e-6, atol=1e-9):
            continue
        for message, how in BM25_SLIPS.items():
            expect(not np.allclose(theirs, bm25_variant(query, texts, k1, b, **how)), message)
        expect(not np.allclose(theirs, bm25_variant(query, texts)), "k1 and b are arguments; your scores stay those of 1.5 and 0.75.")  # fmt: skip
        n = int(np.abs(theirs - truth).argmax())
        raise Wrong(f"For the query {query} the text {texts[n]} should get {truth[n]:.4f}; yours gets {theirs[n]:.4f}.")


# --- nearest vectors -----------------------------------------------------------------------------------------


def nearest(query, vectors, k):
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    cosines = vectors @ query / np.where(lengths == 0, 1, lengths)
    return (-cosines).argsort(kind="stable")[:k].tolist()


def by_product(query, vectors, k):
    return (-(vectors @ query)).argsort(kind="stable")[:k].tolist()


def by_distance(query, vectors, k):
    return np.linalg.norm(vectors - query, axis=1).argsort(kind="stable")[:k].tolist()


def cosines_of(query, vectors):
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    return vectors @ query / np.where(lengths == 0, 1, lengths)


def draw_vectors(rng):
    """Vectors for which cosine, product and distance disagree about the first, and one of zeros."""
    query = rng.normal(size=5)
    query /= np.linalg.norm(query)
    across = rng.normal(size=5)
    across -= (across @ query) * query
    across /= np.linalg.norm(across)
    angles = rng.permutation(np.linspace(0.1, 2.8, 9))
    sizes = 0.2 + 3 * angles  # the nearer in angle, the shorter: product and distance prefer others
    vectors = (np.cos(angles)[:, None] * query + np.sin(angles)[:, None] * across) * sizes[:, None]
    return query * 2, np.vstack([vectors, np.zeros((1, 5))])


def check_nearest(answer) -> None:
    rng = np.random.default_rng()
    for _ in range(ROUNDS):
        query, vectors = draw_vectors(rng)
        k = int(rng.integers(3, 6))
        truth = sorted(range(len(vectors)), key=lambda n: -cosines_of(query, vectors)[n])[:k]
        theirs = places(answer(query.copy(), vectors.copy(), k), "The answer")
        if theirs == truth:
            continue
        expect(theirs != by_product(query, vectors, k), "That is the order of the products: a long vector wins by its length. Divide by the lengths.")  # fmt: skip
        expect(theirs != by_distance(query, vectors, k), "That is the order of the distances. Cosine asks for the angle alone.")  # fmt: skip
        expect(theirs != list(cosines_of(query, vectors).argsort(kind="stable")[:k]), "The farthest come first with you: sort downwards.")  # fmt: skip
        expect(len(theirs) == k, f"{k} places were asked for; yours are {len(theirs)}.")
        expect(sorted(theirs) != sorted(truth), "The right places, but not the best first.")
        if len(vectors) - 1 in theirs:
            raise Wrong(
                "A vector of zeros is near nothing, and you found it: 0 / 0 is not a number. Give it the cosine 0."
            )
        raise Wrong(f"The nearest {k} are {truth}; yours are {theirs}.")


def zeros_first(query, vectors, k):
    with np.errstate(invalid="ignore"):
        cosines = vectors @ query / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query))
    return np.argsort(cosines)[::-1][:k].tolist()  # not a number sorts last, so first after turning round


# --- mean reciprocal rank ------------------------------------------------------------------------------------


def mean_reciprocal_rank(rankings, right):
    total = 0.0
    for ranking, wanted in zip(rankings, right, strict=True):
        if wanted in ranking:
            total += 1 / (ranking.index(wanted) + 1)
    return total / len(rankings)


def reciprocal_of_mean(rankings, right):
    ranks = [r.index(w) + 1 for r, w in zip(rankings, right, strict=True) if w in r]
    return len(ranks) / sum(ranks)


def found_only(rankings, right):
    ranks = [r.index(w) + 1 for r, w in zip(rankings, right, strict=True) if w in r]
    return sum(1 / rank for rank in ranks) / len(ranks)


def from_zero(rankings, right):
    found = [1 / max(1, r.index(w)) if w in r else 0 for r, w in zip(rankings, right, strict=True)]
    return sum(found) / len(found)


def first_only(rankings, right):
    return sum(r[0] == w for r, w in zip(rankings, right, strict=True)) / len(right)


RANK_SLIPS: dict[str, Callable] = {
    "That is one divided by the mean rank. Take 1 / rank of each question first, then the mean.": reciprocal_of_mean,
    "A question whose item is not found counts 0; you leave it out, and the figure looks better.": found_only,
    "Ranks begin at 1: the second place is worth a half, not 1.": from_zero,
    "Only the first place counts with you. That is recall@1; a second place is worth a half.": first_only,
}


def check_mean_reciprocal_rank(answer) -> None:
    rng = random.Random()
    for _ in range(ROUNDS):
        rankings = [rng.sample(range(9), 6) for _ in range(7)]
        right = [r[p] for r, p in zip(rankings, [0, 1, 2, 4], strict=False)] + [r[1] for r in rankings[4:6]]
        right += [next(x for x in range(9) if x not in rankings[6])]
        truth = (1 + 1 / 2 + 1 / 3 + 1 / 5 + 1 / 2 + 1 / 2) / 7
        theirs = number(answer([list(r) for r in rankings], list(right)), "The mean")
        if math.isclose(theirs, truth, rel_tol=1e-9):
            continue
        for message, variant in RANK_SLIPS.items():
            expect(not math.isclose(theirs, variant(rankings, right), rel_tol=1e-9), message)
        raise Wrong(f"For places 1, 2, 3, 5, 2, 2 and one that is not found the mean is {truth:.4f}; yours is {theirs:.4f}.")  # fmt: skip


# --- hard negatives ------------------------------------------------------------------------------------------


def hard_negatives(scores, right, k):
    order = sorted(range(len(scores)), key=lambda n: -scores[n])
    return [n for n in order if n not in right][:k]


def with_right(scores, right, k):
    return sorted(range(len(scores)), key=lambda n: -scores[n])[:k]


def too_few(scores, right, k):
    return [n for n in with_right(scores, right, k) if n not in right]


def easiest(scores, right, k):
    return [n for n in sorted(range(len(scores)), key=lambda n: scores[n]) if n not in right][:k]


def in_order_of_place(scores, right, k):
    return [n for n in range(len(scores)) if n not in right][:k]


NEGATIVE_SLIPS: dict[str, Callable] = {
    "A right one is among your negatives: the model would be taught that the truth is wrong.": with_right,
    "You cut to k first and took the right ones out afterwards, so there are too few.": too_few,
    "Those are the easiest: nobody confuses them, so they teach nothing. Take the highest scores.": easiest,
    "You take the first in the list, whatever they score.": in_order_of_place,
}


def check_hard_negatives(answer) -> None:
    rng = random.Random()
    for _ in range(ROUNDS):
        k = 4
        while True:  # until the first in the list are not the hardest by chance
            scores = rng.sample([x / 40 for x in range(40)], 10)
            best = sorted(range(10), key=lambda n: -scores[n])
            right = {best[0], best[2], best[9]}
            truth = [best[1], best[3], best[4], best[5]]
            if set(in_order_of_place(scores, right, k)) not in ({*truth}, {*easiest(scores, right, k)}):
                break
        theirs = places(answer(list(scores), set(right), k), "The answer")
        if theirs == truth:
            continue
        for message, variant in NEGATIVE_SLIPS.items():
            expect(theirs != variant(scores, right, k), message)
        expect(not right & set(theirs), "A right one is among your negatives: the model would be taught that the truth is wrong.")  # fmt: skip
        expect(sorted(theirs) != sorted(truth), "The right places, but not the hardest first.")
        raise Wrong(f"For scores {scores} with {sorted(right)} right, the hardest {k} are {truth}; yours are {theirs}.")


# --- a loss with silence in it -------------------------------------------------------------------------------


def nothing_loss(scores, right):
    scores = np.append(scores, 0.0)
    place = len(scores) - 1 if right is None else right
    highest = scores.max()
    return float(np.log(np.exp(scores - highest).sum()) + highest - scores[place])


def loss_without_nothing(scores, right):
    z = np.asarray(scores) - np.max(scores)
    p = np.exp(z) / np.exp(z).sum()
    return 0.0 if right is None else -math.log(p[right])


def loss_nothing_is_first(scores, right):
    z = np.append(scores, 0.0)
    z = z - z.max()
    return float(np.log(np.exp(z).sum()) - z[0 if right is None else right])


def loss_in_bits(scores, right):
    return nothing_loss(scores, right) / math.log(2)


def loss_overflows(scores, right):
    with np.errstate(all="ignore"):
        e = np.exp(np.append(scores, 0.0))
        return float(-np.log(e[-1 if right is None else right] / e.sum()))


def loss_upside_down(scores, right):
    return -nothing_loss(scores, right)


LOSS_SLIPS: dict[str, Callable] = {
    "Nothing is not among your choices: append a score of 0 before the softmax.": loss_without_nothing,
    "Where right is None the right choice is nothing, the one you appended.": loss_nothing_is_first,
    "You take the logarithm to the base 2; use the natural one.": loss_in_bits,
    "The sign is turned round: a loss is minus the logarithm of a probability, so never negative.": loss_upside_down,
}


def check_nothing_loss(answer) -> None:
    from scipy.special import log_softmax

    rng = np.random.default_rng()
    for round_ in range(ROUNDS):
        scores = rng.normal(0, 2, 5) + (0 if round_ < 4 else 800 * (-1) ** round_)
        for right in (2, None):
            truth = float(-log_softmax(np.append(scores, 0.0))[-1 if right is None else right])
            theirs = number(answer(scores.copy(), right), "The loss")
            if math.isclose(theirs, truth, rel_tol=1e-6, abs_tol=1e-9):
                continue
            if not math.isfinite(theirs):
                raise Wrong(f"For scores near {scores.mean():.0f} your loss is {theirs}: exp overflowed, or log met 0. Subtract the highest score first.")  # fmt: skip
            for message, variant in LOSS_SLIPS.items():
                expect(not math.isclose(theirs, variant(scores, right), rel_tol=1e-6, abs_tol=1e-9), message)
            raise Wrong(f"For scores {scores.round(2).tolist()} and right {right} the loss is {truth:.4f}; yours is {theirs:.4f}.")  # fmt: skip


# --- a threshold ---------------------------------------------------------------------------------------------


def threshold(scores, share):
    ordered = sorted(scores, reverse=True)
    return ordered[math.ceil(share * len(ordered)) - 1]


def quantile_threshold(scores, share):
    return float(np.quantile(scores, 1 - share))


def other_side(scores, share):
    ordered = sorted(scores)
    return ordered[math.ceil(share * len(ordered)) - 1]


def one_further(scores, share):
    ordered = sorted(scores, reverse=True)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)))]


def one_short(scores, share):
    ordered = sorted(scores, reverse=True)
    return ordered[max(0, math.floor(share * len(ordered) - 1e-9) - 1)]


def lowest(scores, share):
    return min(scores)


def check_threshold(answer) -> None:
    rng = random.Random()
    for number_, share in enumerate((0.75, 0.9, 0.6, 0.9, 0.5, 0.85)):
        scores = [round(x, 3) for x in rng.sample([n / 100 for n in range(-300, 300)], 13 + 4 * number_)]
        need = math.ceil(share * len(scores))
        truth = max(x for x in scores if sum(y >= x for y in scores) >= need)
        theirs = number(answer(list(scores), share), "The threshold")
        passed = sum(y >= theirs for y in scores)
        if math.isclose(theirs, truth):
            continue
        expect(not math.isclose(theirs, other_side(scores, share)), f"You counted from below: only {passed} of {len(scores)} pass. Sort downwards.")  # fmt: skip
        expect(passed >= need, f"With your threshold {passed} of {len(scores)} pass, and {share:.0%} needs {need}. Between two scores an interpolated value shuts out one too many.")  # fmt: skip
        expect(theirs != min(scores), "Your threshold is the lowest score: everything passes, and nothing more will be refused than needed.")  # fmt: skip
        raise Wrong(f"With your threshold {theirs} {passed} of {len(scores)} pass; {need} are enough, and a higher threshold refuses more. It is {truth}.")  # fmt: skip


# --- citations -----------------------------------------------------------------------------------------------


def unsupported(sentences, sources):
    wrong = []
    for n, (text, cited) in enumerate(sentences):
        known = all(1 <= c <= len(sources) for c in cited)
        read = " ".join(sources[c - 1] for c in cited) if known else ""
        stated = re.findall(r"\d+", text)
        if not cited or not known or not set(stated) <= set(re.findall(r"\d+", read)):
            wrong.append(n)
    return wrong


def unsupported_variant(sentences, sources, bare=True, anywhere=False, shift=1, first=False, part=False, range_=True):
    """The check with one thing done otherwise; what the messages are found with."""
    wrong = []
    for n, (text, cited) in enumerate(sentences):
        own = cited[:1] if first else cited
        there = [sources[c - shift] for c in own if 0 <= c - shift < len(sources)]
        read = " ".join(sources if anywhere else there)
        stated = set(re.findall(r"\d+", text))
        holds = all(x in read for x in stated) if part else stated <= set(re.findall(r"\d+", read))
        missing = range_ and any(not 1 <= c <= len(sources) for c in cited)
        if (bare and not cited) or missing or not holds:
            wrong.append(n)
    return wrong


CITED_SLIPS: dict[str, dict] = {
    "A sentence that cites nothing is not supported, even if it states no number.": {"bare": False},
    "You look in all sources. A number must stand in one that its own sentence cites.": {"anywhere": True},
    "Marks count from 1, lists from 0: [1] is sources[0].": {"shift": 0},
    "A sentence may cite several sources, and its numbers may be spread over them; you read only the first.": {"first": True},
    "30 does not stand in 130: compare whole numbers, not characters.": {"part": True},
    "A mark that points to no source makes its sentence unsupported.": {"range_": False},
}  # fmt: skip


def draw_cited(rng):
    """Three sources with different numbers, and sentences that go wrong in every way there is."""
    a, b, c, d = rng.sample(range(11, 99), 4)
    sources = [f"You have {a} days, and {b} for the parcel.", f"Sending back costs {c} euros, above 1{d} a person decides.", f"In all {d} countries."]  # fmt: skip
    sentences = [
        (f"You have {a} days.", [1]),
        ("Anyone can do it.", []),
        (f"It costs {c} euros.", [1]),
        (f"{a} days and {c} euros.", [1, 2]),
        (f"It takes {d} euros.", [2]),
        ("Ask us.", [4]),
        ("It is simple.", [3]),
        (f"{c} euros it is.", [2]),
        (f"There are {d} countries.", [3, 0]),
    ]
    rng.shuffle(sentences)
    return sentences, sources


def check_unsupported(answer) -> None:
    rng = random.Random()
    for _ in range(ROUNDS):
        sentences, sources = draw_cited(rng)
        truth = [n for n, (text, cited) in enumerate(sentences) if not _stands(text, cited, sources)]
        theirs = sorted(places(answer([(t, list(c)) for t, c in sentences], list(sources)), "The answer"))
        if theirs == truth:
            continue
        for message, how in CITED_SLIPS.items():
            expect(theirs != unsupported_variant(sentences, sources, **how), message)
        n = next(n for n in range(len(sentences)) if (n in theirs) != (n in truth))
        verdict = "is not supported" if n in truth else "is supported"
        raise Wrong(f"Sentence {n}, {sentences[n]}, {verdict} by {sources}; you say otherwise.")


def _stands(text: str, cited: list[int], sources: list[str]) -> bool:
    """The oracle: word by word instead of by a pattern."""
    if not cited or min(cited) < 1 or max(cited) > len(sources):
        return False
    bare = str.maketrans(dict.fromkeys(".,?!", " "))
    read = [w for c in cited for w in sources[c - 1].translate(bare).split()]
    return all(w in read for w in text.translate(bare).split() if w.isdigit())


# --- the exercises -------------------------------------------------------------------------------------------

EXERCISES = (
    Exercise(
        "retrieval.bm25",
        """
        Write `bm25(query, texts, k1, b)`. `query` is a list of words, `texts` a list of such lists; return a score for each text. For every word of the query, also one
        that comes twice, add `log(1 + (N - n + 0.5) / (n + 0.5)) * f * (k1 + 1) / (f + k1 * (1 - b + b * l / m))`: `N` texts, `n` of them with the word, `f` times in this one, which has `l` words; `m`
        is the mean of `l`.
        """,
        20, 2,
        ("Two loops: over the texts, and inside over the words of the query.", "`text.count(word)` is f, and `sum(word in other for other in texts)` is n."),
        bm25, check_bm25,
        (
            *(Mistake(lambda q, t, k1=1.5, b=0.75, how=how: bm25_variant(q, t, k1, b, **how), message) for message, how in BM25_SLIPS.items()),
            Mistake(lambda q, t, k1=1.5, b=0.75: bm25_variant(q, t), "k1 and b are arguments"),
        ),
    ),
    Exercise(
        "retrieval.nearest",
        """
        Write `nearest(query, vectors, k)`: the places of the `k` vectors with the highest cosine to `query`, the best first. `query` has shape (D,), `vectors` (N, D). A vector of zeros has the cosine 0.
        """,
        10, 1,
        ("The cosine is the product divided by both lengths: np.linalg.norm(vectors, axis=1).", "Sort minus the cosines: argsort goes upwards."),
        nearest, check_nearest,
        (
            Mistake(by_product, "a long vector wins by its length"),
            Mistake(by_distance, "order of the distances"),
            Mistake(lambda q, v, k: cosines_of(q, v).argsort(kind="stable")[:k].tolist(), "sort downwards"),
            Mistake(lambda q, v, k: nearest(q, v, k)[::-1], "not the best first"),
            Mistake(lambda q, v, k: nearest(q, v, k - 1), "places were asked for"),
            Mistake(zeros_first, "0 / 0 is not a number"),
            Mistake(lambda q, v, k: cosines_of(q, v)[nearest(q, v, k)], "should hold places"),
        ),
    ),
    Exercise(
        "retrieval.mean_reciprocal_rank",
        """
        Write `mean_reciprocal_rank(rankings, right)`. `rankings` holds for each question the ids that were found, the best first; `right` the id that should have been found. A right id at place 1 is worth 1, at place 2 a half, at place 3 a third; one
        that was not found is worth 0. Return the mean over the questions.
        """,
        5, 1,
        ("ranking.index(wanted) counts from 0, ranks count from 1.",),
        mean_reciprocal_rank, check_mean_reciprocal_rank,
        tuple(Mistake(variant, message) for message, variant in RANK_SLIPS.items()),
    ),
    Exercise(
        "retrieval.hard_negatives",
        """
        Write `hard_negatives(scores, right, k)`: the places of the `k` wrong items that the search finds best, the hardest first. `scores` is a list, `right` the set of places that are right.
        """,
        5, 1,
        ("Sort all places by their score, downwards; leave out the right ones; then cut.",),
        hard_negatives, check_hard_negatives,
        (
            *(Mistake(variant, message) for message, variant in NEGATIVE_SLIPS.items()),
            Mistake(lambda s, r, k: hard_negatives(s, r, k)[::-1], "not the hardest first"),
        ),
    ),
    Exercise(
        "retrieval.nothing_loss",
        """
        Write `nothing_loss(scores, right)`. `scores` (an array) says how well each candidate answers the question. One more choice is always there: *nothing*, with the score 0. Return minus the natural logarithm of the softmax probability of candidate number `right`, or of
        nothing where `right` is None. Scores may be as large as 800.
        """,
        15, 3,
        ("np.append(scores, 0.0) gives nothing the last place.", "log(sum(exp(z))) is m + log(sum(exp(z - m))) for m the highest of z: nothing overflows."),
        nothing_loss, check_nothing_loss,
        (
            *(Mistake(variant, message) for message, variant in LOSS_SLIPS.items()),
            Mistake(loss_overflows, "Subtract the highest score first"),
        ),
    ),
    Exercise(
        "retrieval.threshold",
        """
        Write `threshold(scores, share)`. `scores` are those of questions that do have an answer. A question is answered if its score is at least the threshold. Return the highest threshold that still answers at least this share of them.
        """,
        10, 2,
        ("Sort downwards. How many must pass? math.ceil(share * len(scores)).", "The threshold is the score of the last one that must pass."),
        threshold, check_threshold,
        (
            Mistake(quantile_threshold, "an interpolated value shuts out one too many"),
            Mistake(other_side, "counted from below"),
            Mistake(one_further, "a higher threshold refuses more"),
            Mistake(one_short, "needs"),
            Mistake(lowest, "Your threshold is the lowest score"),
        ),
    ),
    Exercise(
        "retrieval.unsupported",
        """
        Write `unsupported(sentences, sources)`. Each sentence is a pair: its text, and the list of the sources that it cites, counted from 1. Return the places (from 0) of the sentences that are not supported: those that cite nothing, those that cite a source which does not exist,
        and those with a number (a run of digits) that stands in none of the sources that they cite.
        """,
        15, 2,
        (r're.findall(r"\d+", text) gives the whole numbers of a text.', "Source 1 is sources[0]; join all that a sentence cites before you look."),
        unsupported, check_unsupported,
        tuple(Mistake(lambda s, t, how=how: unsupported_variant(s, t, **how), message) for message, how in CITED_SLIPS.items()),
    ),
)  # fmt: skip

QUIZZES = (
    Quiz(
        "retrieval.quiz_words",
        "A customer writes 'W20417' or a product's name. Which search do you need beside the one by meaning?",
        (
            Choice("None: the encoder knows all words.", False, "To the encoder W20417 and W20471 are nearly the same point."),
            Choice("BM25: a rare word that is shared counts for much.", True, "Names, numbers and codes are what words are good at, and meaning is bad at."),
            Choice("A larger encoder.", False, "It costs more, and still knows nothing about your product numbers."),
        ),
    ),
    Quiz(
        "retrieval.quiz_cross",
        "Why does the cross-encoder not search all articles, when it is the better judge?",
        (
            Choice("It must read every pair anew: 52 articles are 52 readings, a million are a million.", True,
                   "A bi-encoder reads each text once, ahead of time; the cross-encoder reads question and text together."),
            Choice("It only works on sorted lists.", False, "It scores one pair at a time and never sees the list."),
            Choice("It would find too many articles.", False, "It would order them all; the time is what forbids it."),
        ),
    ),
    Quiz(
        "retrieval.quiz_unknown",
        "On which questions may the threshold of 'I don't know' be chosen?",
        (
            Choice("On the test questions, since those are what counts.", False, "Then the test says how well you chose, not how well it works."),
            Choice("On the questions that the cross-encoder was trained on.", False, "It is surer there than it will ever be again, so the threshold comes out too high."),
            Choice("On questions that neither trained nor tested anything.", True, "That is what the development part is for."),
        ),
    ),
    Quiz(
        "retrieval.quiz_recall",
        "An approximate index finds 95 of the 100 true neighbours, fifty times faster. What happens to your answers?",
        (
            Choice("Five in a hundred become wrong.", False, "Only if the lost neighbour was the one that answers, and nothing else did."),
            Choice("Measure it: the lost ones are seldom the best, and a re-ranker sees several candidates.", True, "Recall of neighbours and quality of answers are two figures; report both."),
            Choice("Nothing, since all that matters is speed.", False, "At a recall of 0.5 it would matter; at which it begins is a measurement."),
        ),
    ),
)  # fmt: skip
