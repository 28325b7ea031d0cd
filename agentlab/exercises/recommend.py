"""Exercises of lab 09: a split by time, neighbours, NDCG, the loss of two towers, positions and their correction, reasons."""

from __future__ import annotations

import math
import random

import numpy as np

from agentlab.exercises.engine import Choice, Exercise, Mistake, Quiz, Wrong, expect, expect_type, kind_of

ROUNDS = 5


def as_array(value, shape: tuple[int, ...], what: str) -> np.ndarray:
    """An answer as an array of finite numbers of this shape; `Wrong` where it is none."""
    try:
        made = np.asarray(value, float)
    except (TypeError, ValueError):
        raise Wrong(f"{what} should be an array of numbers; yours is {kind_of(value)}") from None
    expect(made.shape == shape, f"{what} should have the shape {shape}; yours has {made.shape}.")
    expect(bool(np.isfinite(made).all()), f"{what} holds a number that is not finite. Is something divided by 0?")
    return made


def as_number(value, what: str) -> float:
    """An answer as one finite number; `Wrong` where it is none."""
    return float(as_array(value, (), what))


def close(a, b) -> bool:
    return bool(np.allclose(a, b, rtol=1e-5, atol=1e-7))


def same(a: float, b: float) -> bool:
    """Whether two single numbers come from the same slip: so near that no other slip comes as near by chance."""
    return bool(np.isclose(a, b, rtol=1e-9, atol=0))


# --- a split by time ------------------------------------------------------------------------------------------


def split_by_time(events, day):
    before = [e for e in events if e[0] < day]
    seen = {(user, item) for _, user, item in before}
    later = {}
    for when, user, item in events:
        if when >= day and (user, item) not in seen:
            later.setdefault(user, set()).add(item)
    return before, later


def split_with_seen(events, day):
    before, later = [e for e in events if e[0] < day], {}
    for when, user, item in events:
        if when >= day:
            later.setdefault(user, set()).add(item)
    return before, later


def split_one_late(events, day):
    return split_by_time(events, day + 1)


def split_with_all(events, day):
    return list(events), split_by_time(events, day)[1]


def split_with_empty(events, day):
    before, later = split_by_time(events, day)
    return before, {user: later.get(user, set()) for _, user, _ in events}


def check_split_by_time(answer) -> None:
    rng = random.Random()
    for _ in range(ROUNDS):
        day = rng.randint(5, 9)
        events = [(rng.randint(0, 14), rng.choice("abcde"), rng.randint(0, 9)) for _ in range(40)]
        events += [
            (day, "f", 3),
            (day - 1, "g", 4),
            (day, "g", 4),
            (day + 2, "g", 5),
            (day - 2, "h", 1),
            (day + 1, "h", 1),
        ]
        rng.shuffle(events)
        theirs = answer(list(events), day)
        expect_type(theirs, (tuple, list), "The answer")
        expect(len(theirs) == 2, "Return two things: the events before the day, and a dict of what comes later.")
        before, later = theirs
        expect_type(later, dict, "What comes later")
        true_before, true_later = split_by_time(events, day)
        later = {user: set(items) for user, items in later.items()}
        expect(
            all(when < day for when, *_ in before),
            f"An event of day {day} or later is among those to learn from: the future has leaked.",
        )
        expect(
            sorted(map(tuple, before)) == sorted(true_before), "Events before the day are missing from the first part."
        )
        expect(
            all(later.values()),
            "A user with nothing new to find is in the dict, with an empty set. Nothing can be measured on them: leave them out.",
        )
        shown = [u for u in later if later[u] - true_later.get(u, set())]
        expect(
            not shown,
            "What comes later holds a product that the user knew before. Finding it again is no recommendation.",
        )
        expect(
            later == true_later,
            f"From day {day} on (that day too) the new products are {true_later}; yours are {later}.",
        )


# --- neighbours -----------------------------------------------------------------------------------------------


def co_occurrence(seen):
    together = seen.T @ seen
    norm = np.sqrt(np.diag(together))
    similar = together / np.maximum(norm[:, None] * norm[None, :], 1e-9)
    np.fill_diagonal(similar, 0)
    return similar


def co_occurrence_variant(seen, cosine=True, diagonal=False, root=True, users=False):
    """Neighbours with one thing done otherwise; what the messages are found with."""
    seen = seen.T if users else seen
    together = (seen.T @ seen).astype(float)
    norm = np.diag(together) ** (0.5 if root else 1.0)
    if cosine:
        together = together / np.maximum(norm[:, None] * norm[None, :], 1e-9)
    if not diagonal:
        np.fill_diagonal(together, 0)
    return together


def co_occurrence_dividing_by_zero(seen):
    together = seen.T @ seen
    norm = np.sqrt(np.diag(together))
    with np.errstate(all="ignore"):
        similar = together / (norm[:, None] * norm[None, :])
    np.fill_diagonal(similar, 0)
    return similar


def check_co_occurrence(answer) -> None:
    from sklearn.metrics.pairwise import cosine_similarity

    rng = np.random.default_rng()
    for _ in range(ROUNDS):
        seen = (rng.random((12, 7)) < 0.4).astype(float)
        seen[:2, :3] = 1
        seen[:, 5] = 0
        truth = cosine_similarity(seen.T)
        np.fill_diagonal(truth, 0)
        given = answer(seen.copy())
        if np.shape(given) == (12, 12):
            raise Wrong("This compares users; products are columns, so it is seen.T @ seen.")
        theirs = as_array(given, (7, 7), "The matrix")
        expect(
            close(theirs, truth) or bool((np.diag(theirs) == 0).all()),
            "A product is its own nearest neighbour here. Set the diagonal to 0.",
        )
        expect(
            not close(theirs, co_occurrence_variant(seen, cosine=False)),
            "These are counts: popular products are near to everything. Divide by the lengths of both columns.",
        )
        expect(
            not close(theirs, co_occurrence_variant(seen, root=False)),
            "You divide by the counts; the length of a column is the square root of its count.",
        )
        expect(close(theirs, truth), "The numbers are not the cosines of the columns.")


# --- NDCG -----------------------------------------------------------------------------------------------------


def ndcg(ranked, relevant, k):
    gain = sum(1 / math.log2(place + 2) for place, item in enumerate(ranked[:k]) if item in relevant)
    best = sum(1 / math.log2(place + 2) for place in range(min(k, len(relevant))))
    return gain / best


def ndcg_variant(ranked, relevant, k, ideal=min, shift=2, cut=True, discount=True, normalized=True):
    """NDCG with one thing done otherwise; what the messages are found with."""
    worth = (lambda place: 1 / math.log2(place + shift)) if discount else (lambda place: 1.0)
    gain = sum(worth(place) for place, item in enumerate(ranked[: k if cut else None]) if item in relevant)
    best = sum(worth(place) for place in range(ideal(k, len(relevant))))
    return gain / best if normalized else gain


NDCG_SLIPS = {
    "The best possible list has min(k, number of relevant) hits; with fewer relevant products than k nobody can fill k places.": {
        "ideal": lambda k, n: k
    },
    "The best possible list is cut at k as well: with more relevant products than k only k of them fit.": {
        "ideal": lambda k, n: n
    },
    "The first place should count 1 / log2(2) = 1. Your discount is one place too late.": {"shift": 3},
    "Only the first k places count.": {"cut": False},
    "Every place counts alike with you; place n (from 1) counts 1 / log2(n + 1).": {"discount": False},
    "Divide by the gain of the best possible list, so that 1 is perfect.": {"normalized": False},
}


def check_ndcg(answer) -> None:
    from sklearn.metrics import ndcg_score

    rng = random.Random()
    for number in range(2 * ROUNDS):
        k, items = rng.randint(4, 6), 14
        ranked = rng.sample(range(items), items)
        many = number % 2 == 0
        relevant = set(ranked[1:3] + ranked[k : k + (7 if many else 0)]) if many else {ranked[1], ranked[k + 1]}
        truth = float(
            ndcg_score([[int(i in relevant) for i in range(items)]], [[-ranked.index(i) for i in range(items)]], k=k)
        )
        theirs = as_number(answer(list(ranked), set(relevant), k), "NDCG")
        if close(theirs, truth):
            continue
        for message, how in NDCG_SLIPS.items():
            expect(not close(theirs, ndcg_variant(ranked, relevant, k, **how)), message)
        raise Wrong(f"For {ranked} with the relevant {relevant} and k = {k} it is {truth:.4f}; yours is {theirs:.4f}.")


# --- the loss of two towers -----------------------------------------------------------------------------------


def in_batch_loss(users, items, log_q, temperature):
    logits = users @ items.T / temperature - log_q[None, :]
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -np.diag(log_p).mean()


def loss_variant(users, items, log_q, temperature, sign=-1.0, axis=1, inside=False, total=False, by_user=False):
    """The loss with one thing done otherwise; what the messages are found with."""
    scores = users @ items.T
    shift = sign * (log_q[:, None] if by_user else log_q[None, :])
    logits = (scores + shift) / temperature if inside else scores / temperature + shift
    top = logits.max(axis=axis, keepdims=True)
    log_p = logits - top - np.log(np.exp(logits - top).sum(axis=axis, keepdims=True))
    return -np.diag(log_p).sum() if total else -np.diag(log_p).mean()


LOSS_SLIPS = {
    "The correction is missing: popular products are drawn as negatives more often, so subtract log_q from their column.": {
        "sign": 0.0
    },
    "You add log_q; it has to be subtracted, so that a product that is drawn often counts less as a negative.": {
        "sign": 1.0
    },
    "The softmax runs over the users of each product. A user chooses among the products: over each row.": {"axis": 0},
    "You divide log_q by the temperature as well. Only the scores are scaled; the correction is a log of a probability.": {
        "inside": True
    },
    "This is the sum; the loss of a batch is the mean over its pairs.": {"total": True},
    "log_q belongs to the products, the columns. Taken from a whole row, it changes nothing.": {"by_user": True},
}


def check_in_batch_loss(answer) -> None:
    import torch

    rng = np.random.default_rng()
    for _ in range(ROUNDS):
        batch = int(rng.integers(5, 9))
        users, items = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.standard_normal((2, batch, 6)))
        log_q, temperature = np.log(rng.dirichlet(np.ones(batch))), float(rng.uniform(0.05, 0.4))
        logits = torch.from_numpy(users) @ torch.from_numpy(items).T / temperature - torch.from_numpy(log_q)
        truth = float(torch.nn.functional.cross_entropy(logits, torch.arange(batch)))
        theirs = as_number(answer(users.copy(), items.copy(), log_q.copy(), temperature), "The loss")
        if close(theirs, truth):
            continue
        for message, how in LOSS_SLIPS.items():
            if how != {"by_user": True} or not same(loss_variant(users, items, log_q, temperature, sign=0.0), theirs):
                expect(not same(theirs, loss_variant(users, items, log_q, temperature, **how)), message)
        expect(
            not same(theirs, loss_variant(users, items, log_q, 1.0)),
            "The temperature is missing: divide the scores by it.",
        )
        expect(
            not same(theirs, -truth),
            "The sign is turned: the loss is minus the log of a probability, and never negative.",
        )
        raise Wrong(f"The loss of this batch is {truth:.4f}; yours is {theirs:.4f}.")
    big = np.eye(4) * 900
    value = as_number(answer(big, np.eye(4), np.zeros(4), 1.0), "The loss of very large scores")
    expect(abs(value) < 1e-6, "With large scores exp() overflows. Subtract each row's maximum first.")


def overflowing(users, items, log_q, temperature):
    with np.errstate(all="ignore"):
        logits = users @ items.T / temperature - log_q[None, :]
        return -np.diag(np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))).mean()


# --- positions ------------------------------------------------------------------------------------------------


def propensities(clicked, shuffled):
    rate = clicked[shuffled].mean(axis=0)
    return rate / rate[0]


def draw_lists(rng):
    """Lists of six places: the first is looked at most, but by chance not always clicked most."""
    lists, places = 400, 6
    shuffled = rng.random(lists) < 0.4
    clicked = rng.random((lists, places)) < np.where(
        shuffled[:, None], [0.3, 0.36, 0.2, 0.15, 0.1, 0.06], [0.8, 0.4, 0.2, 0.1, 0.05, 0.02]
    )
    return clicked, shuffled


def check_propensities(answer) -> None:
    rng = np.random.default_rng()
    for _ in range(ROUNDS):
        clicked, shuffled = draw_lists(rng)
        while clicked[shuffled].mean(0).argmax() == 0 or clicked[shuffled].sum() == shuffled.sum():
            clicked, shuffled = draw_lists(rng)
        theirs = as_array(answer(clicked.copy(), shuffled.copy()), (6,), "The answer")
        rate = clicked[shuffled].mean(0)
        if close(theirs, rate / rate[0]):
            continue
        ordered, everything = clicked[~shuffled].mean(0), clicked.mean(0)
        expect(
            not close(theirs, everything / everything[0]),
            "You count all lists. Where the best stand on top, clicks tell of products and places at once: only the shuffled ones separate them.",
        )
        expect(
            not close(theirs, ordered / ordered[0]),
            "You count the lists in the shop's order; the shuffled ones are needed.",
        )
        expect(not close(theirs, rate), "These are click rates. Divide by that of the first place.")
        expect(
            not close(theirs, rate / rate.max()),
            "Everything is measured against the first place, even where another got more clicks by chance.",
        )
        expect(
            not close(theirs, rate / rate.sum()), "These add up to 1. Looking is no share: divide by the first place."
        )
        raise Wrong(f"From the shuffled lists come {np.round(rate / rate[0], 3)}; yours are {np.round(theirs, 3)}.")


def inverse_rates(items, clicked, looked, number):
    worth, shown = np.zeros(number), np.zeros(number)
    np.add.at(worth, items, clicked / looked)
    np.add.at(shown, items, 1)
    return worth / np.maximum(shown, 1)


def rates_variant(items, clicked, looked, number, weight=lambda looked: 1 / looked, shown_weight=None, add=True):
    """Click rates with one thing done otherwise; what the messages are found with."""
    worth, shown = np.zeros(number), np.zeros(number)
    each = np.broadcast_to(np.ones(len(looked)) if shown_weight is None else shown_weight(looked), items.shape)
    if add:
        np.add.at(worth, items, clicked * weight(looked))
        np.add.at(shown, items, each)
    else:  # a plain += with repeated numbers keeps the last only
        worth[items] += clicked * weight(looked)
        shown[items] += each
    return worth / np.maximum(shown, 1e-9 if shown_weight else 1)


RATE_SLIPS = {
    "The places are not used: a product that stood on top is still favoured. Let each click count 1 / looked of its place.": {
        "weight": lambda looked: 1.0
    },
    "You multiply by looked, which favours the top even more. A click far down is rarer and counts more: divide.": {
        "weight": lambda looked: looked
    },
    "Clicks and showings are both weighted by 1 / looked. Showings count 1 each; only what was observed, the click, is corrected.": {
        "shown_weight": lambda looked: 1 / looked
    },
    "A product in several lists was counted once: worth[items] += ... keeps the last one only. np.add.at adds them all.": {
        "add": False
    },
}


def check_inverse_rates(answer) -> None:
    rng = np.random.default_rng()
    for _ in range(ROUNDS):
        number, places = 8, 5
        looked = np.sort(rng.uniform(0.1, 0.9, places))[::-1].copy()
        looked[0] = 1.0
        items = np.array([rng.permutation(number - 1)[:places] for _ in range(30)])  # the last product is never shown
        clicked = rng.random(items.shape) < 0.5
        theirs = as_array(answer(items.copy(), clicked.copy(), looked.copy(), number), (number,), "The rates")
        truth = inverse_rates(items, clicked, looked, number)
        if close(theirs, truth):
            continue
        for message, how in RATE_SLIPS.items():
            expect(not close(theirs, rates_variant(items, clicked, looked, number, **how)), message)
        raise Wrong(
            f"The rates are {np.round(truth, 3)}; yours are {np.round(theirs, 3)}. A product that was never shown gets 0."
        )


# --- why ------------------------------------------------------------------------------------------------------


def why(lines, weights, item):
    user = weights @ lines
    return weights * (lines @ item) / (np.linalg.norm(user) * np.linalg.norm(item))


def check_why(answer) -> None:
    rng = np.random.default_rng()
    for _ in range(ROUNDS):
        lines, weights, item = rng.standard_normal((5, 4)), rng.uniform(0.1, 2, 5), 2 * rng.standard_normal(4)
        user = weights @ lines
        score = float(user @ item / np.linalg.norm(user) / np.linalg.norm(item))
        whole = np.linalg.norm(user) * np.linalg.norm(item)
        theirs = as_array(answer(lines.copy(), weights.copy(), item.copy()), (5,), "The parts")
        truth = np.array([w * (line @ item) / whole for w, line in zip(weights, lines, strict=True)])
        if close(theirs, truth):
            continue
        expect(
            not close(theirs, np.sort(truth)) and not close(theirs, np.sort(truth)[::-1]),
            "The right parts in another order: part n belongs to line n.",
        )
        expect(
            not close(theirs, weights * (lines @ item)),
            f"These add up to {theirs.sum():.3f}, and the score is {score:.3f}. Divide by the lengths of the user's vector and of the product's.",
        )
        own = (lines @ item) / np.linalg.norm(lines, axis=1) / np.linalg.norm(item)
        expect(
            not close(theirs, own),
            "This is each line's own cosine. Weigh the lines, and divide all by the length of the one user's vector.",
        )
        expect(
            not close(theirs, lines @ item / whole),
            "The weights are missing: a line that weighs twice as much adds twice as much.",
        )
        expect(
            not close(theirs, truth / truth.sum()),
            "These are shares of the score. The parts themselves should add up to it, negative ones too.",
        )
        raise Wrong(
            f"The parts should add up to the cosine, {score:.4f}; yours add up to {theirs.sum():.4f}, and are not the right ones."
        )


EXERCISES = (
    Exercise(
        "recommend.split_by_time",
        """
        Write `split_by_time(events, day)`. Events are (day, user, product). Return two things: the list of events before `day`, and a dict that says for each
        user which products they meet from `day` on (that day too) and had not met before. Users with nothing new are not in it.
        """,
        8, 1,
        ("A set of (user, item) pairs before the day makes the second part short.", "later.setdefault(user, set()).add(item)"),
        split_by_time, check_split_by_time,
        (
            Mistake(split_one_late, "the future has leaked"),
            Mistake(split_with_all, "the future has leaked"),
            Mistake(split_with_seen, "knew before"),
            Mistake(split_with_empty, "with an empty set"),
        ),
    ),
    Exercise(
        "recommend.co_occurrence",
        """
        Write `co_occurrence(seen)`: how alike products are by who looked at them. `seen` is a matrix of 0 and 1, users by products. Return the cosine of every two
        columns, products by products, with 0 on the diagonal. Some product may have no user yet; it is like no other.
        """,
        6, 1,
        ("seen.T @ seen counts how many users two products share.", "The diagonal of that matrix holds the squared lengths of the columns."),
        co_occurrence, check_co_occurrence,
        (
            Mistake(lambda seen: co_occurrence_variant(seen, diagonal=True), "Set the diagonal to 0"),
            Mistake(lambda seen: co_occurrence_variant(seen, cosine=False), "popular products are near to everything"),
            Mistake(lambda seen: co_occurrence_variant(seen, root=False), "square root of its count"),
            Mistake(lambda seen: co_occurrence_variant(seen, users=True), "This compares users"),
            Mistake(co_occurrence_dividing_by_zero, "divided by 0"),
        ),
    ),
    Exercise(
        "recommend.ndcg",
        """
        Write `ndcg(ranked, relevant, k)`. `ranked` is a list of products, the best first, and `relevant` a set that is not empty. A hit on place n (from 1) gains
        1 / log2(n + 1); only the first k places count. Divide by the gain of the best possible list, so that 1 is perfect.
        """,
        8, 2,
        ("enumerate starts at 0, so the first place is log2(0 + 2).", "How many hits can the best list have among k?"),
        ndcg, check_ndcg,
        tuple(Mistake(lambda ranked, relevant, k, how=how: ndcg_variant(ranked, relevant, k, **how), message[:40]) for message, how in NDCG_SLIPS.items()),
    ),
    Exercise(
        "recommend.in_batch_loss",
        """
        Write `in_batch_loss(users, items, log_q, temperature)` with NumPy. `users` and `items` are (B, D); row n of both is a pair. `log_q` (B,) is the log of how
        often each product is drawn. Logits are scores over temperature, minus the product's log_q. Return the mean cross-entropy of each user's own product
        among the B of the batch. Scores may be large.
        """,
        12, 3,
        ("users @ items.T has a row per user and a column per product.", "Right is what stands on the diagonal.", "Subtract each row's maximum before exp()."),
        in_batch_loss, check_in_batch_loss,
        (
            *(Mistake(lambda u, i, q, t, how=how: loss_variant(u, i, q, t, **how), message[:40]) for message, how in list(LOSS_SLIPS.items())[:5]),
            Mistake(lambda u, i, q, t: loss_variant(u, i, q, 1.0), "The temperature is missing"),
            Mistake(lambda u, i, q, t: -in_batch_loss(u, i, q, t), "The sign is turned"),
            Mistake(overflowing, "not finite"),
        ),
    ),
    Exercise(
        "recommend.propensities",
        """
        Write `propensities(clicked, shuffled)`. `clicked` (lists, places) says which places were clicked, `shuffled` (lists,) which lists were in random order.
        Return for each place how much it is looked at, measured against the first place.
        """,
        5, 1,
        ("In random order every place holds equally good products.", "clicked[shuffled].mean(axis=0)"),
        propensities, check_propensities,
        (
            Mistake(lambda clicked, shuffled: clicked.mean(0) / clicked.mean(0)[0], "You count all lists"),
            Mistake(lambda clicked, shuffled: clicked[shuffled].mean(0), "These are click rates"),
            Mistake(lambda clicked, shuffled: clicked[shuffled].mean(0) / clicked[shuffled].mean(0).max(), "even where another"),
            Mistake(lambda clicked, shuffled: clicked[shuffled].mean(0) / clicked[shuffled].mean(0).sum(), "These add up to 1"),
            Mistake(lambda clicked, shuffled: clicked[~shuffled].mean(0) / clicked[~shuffled].mean(0)[0], "in the shop's order"),
        ),
    ),
    Exercise(
        "recommend.inverse_rates",
        """
        Write `inverse_rates(items, clicked, looked, number)`. `items` and `clicked` are (lists, places): which product stood there, and whether it was clicked.
        `looked` (places,) says how much each place is looked at. Return for each of the `number` products its clicks, each worth 1 / looked of its place, per
        showing. A product that was never shown gets 0.
        """,
        8, 2,
        ("clicked / looked is an array of the same shape as items.", "np.add.at(total, items, values) adds up values by product."),
        inverse_rates, check_inverse_rates,
        tuple(Mistake(lambda i, c, p, n, how=how: rates_variant(i, c, p, n, **how), message[:40]) for message, how in RATE_SLIPS.items()),
    ),
    Exercise(
        "recommend.why",
        """
        Write `why(lines, weights, item)`. A user's vector is the sum of weights (L,) times lines (L, D), and their score for a product is the cosine of that vector and
        the product's vector `item` (D,). Return what each line adds to the score, (L,): parts that add up to it exactly.
        """,
        6, 2,
        ("The cosine is a sum over lines, divided by two lengths.", "Compute the length of the whole user's vector once."),
        why, check_why,
        (
            Mistake(lambda lines, weights, item: weights * (lines @ item), "Divide by the lengths"),
            Mistake(lambda lines, weights, item: (lines @ item) / np.linalg.norm(lines, axis=1) / np.linalg.norm(item), "each line's own cosine"),
            Mistake(lambda lines, weights, item: why(lines, weights, item) / weights, "The weights are missing"),
            Mistake(lambda lines, weights, item: np.sort(why(lines, weights, item)), "in another order"),
            Mistake(lambda lines, weights, item: why(lines, weights, item) / why(lines, weights, item).sum(), "shares of the score"),
        ),
    ),
)  # fmt: skip

QUIZZES = (
    Quiz(
        "recommend.quiz_split",
        "A colleague puts one click in five at random into the test part, and gets better figures than you. Why?",
        (
            Choice("Their model is better", False, "The model may be the same; what was measured is another thing."),
            Choice("They also learn from clicks that come after those they test on", True, "What is popular next month, and who buys what then, is in their training part."),
            Choice("Random parts have less noise", False, "Their test part is no larger; the figures are higher, not only steadier."),
        ),
    ),
    Quiz(
        "recommend.quiz_cold",
        "A product came into the shop this morning. What does matrix factorization know of it?",
        (
            Choice("As much as of similar products", False, "Similar by what? Factors come from clicks alone, and there are none yet."),
            Choice("Its price and category", False, "Plain factorization reads neither; only users and products by number."),
            Choice("Nothing: without a click it has no vector", True, "That is cold start. A text is there from the first minute."),
        ),
    ),
    Quiz(
        "recommend.quiz_position",
        "A product stands on place 12 and is clicked by 2 in 100. Another stands on place 1 and is clicked by 4 in 100. Which is better liked?",
        (
            Choice("The second: it has twice the clicks", False, "It is also looked at several times as often."),
            Choice("Probably the first, since far fewer looked at it", True, "Divide by how often a place is looked at; place 12 would have to be looked at half as often as place 1 for a draw."),
            Choice("One cannot say anything without a questionnaire", False, "A small share of shuffled lists tells how much each place is looked at."),
        ),
    ),
    Quiz(
        "recommend.quiz_logq",
        "What happens to two towers if in-batch negatives are not corrected by how often each product is drawn?",
        (
            Choice("Popular products come out too low", True, "They are negatives again and again only because many click them, and are pushed down for it."),
            Choice("Popular products come out too high", False, "Each popular product is a negative in most batches, which pushes it down."),
            Choice("Training gets slower and ends at the same place", False, "The loss itself has another minimum: scores become likelihood ratios."),
        ),
    ),
)  # fmt: skip
