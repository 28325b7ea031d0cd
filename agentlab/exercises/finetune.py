"""Exercises of lesson 03: what a training loop is made of, and a loop with five bugs to be found by their symptoms."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from agentlab import evaluate
from agentlab.exercises.derivation import as_array, compare
from agentlab.exercises.engine import Choice, Exercise, Mistake, Quiz, Wrong, expect, expect_type, kind_of
from agentlab.losses import IGNORE

ROUNDS = 4
SPAN_TYPES = ("product", "date", "amount")


# --- labels of words onto subwords ---------------------------------------------------------------------------


def subword_labels(labels, word_ids):
    out, before = [], None
    for word in word_ids:
        out.append(-100 if word is None or word == before else labels[word])
        before = word
    return out


def draw_words(rng):
    labels = [int(x) for x in rng.integers(0, 4, rng.integers(4, 8))]
    labels[1:3] = [2, 2]  # two words of one label side by side
    word_ids = [None]
    for word in range(len(labels)):
        word_ids += [word] * int(rng.integers(1, 4) if word else 3)
    return labels, [*word_ids, None, *[None] * int(rng.integers(0, 3))]


def check_subword_labels(answer) -> None:
    rng = np.random.default_rng()
    for _ in range(ROUNDS):
        labels, word_ids = draw_words(rng)
        theirs = answer(list(labels), list(word_ids))
        expect_type(theirs, (list, tuple), "The answer")
        theirs, truth = list(theirs), subword_labels(labels, word_ids)
        if theirs == truth:
            continue
        expect(
            len(theirs) == len(word_ids),
            f"One label per subword is needed: {len(word_ids)}; yours are {len(theirs)}. Words and subwords are not the same.",
        )
        special = [k for k, w in enumerate(word_ids) if w is None]
        expect(
            all(theirs[k] == IGNORE for k in special),
            "A special token or padding has word number None and no label: it gets -100, or it is scored.",
        )
        all_pieces = [IGNORE if w is None else labels[w] for w in word_ids]
        expect(
            theirs != all_pieces,
            "Every piece of a word has its label now, so a long word counts more often than a short one. Later pieces get -100.",
        )
        last = [
            IGNORE if w is None or (k + 1 < len(word_ids) and word_ids[k + 1] == w) else labels[w]
            for k, w in enumerate(word_ids)
        ]
        expect(theirs != last, "The label sits on the last piece of each word; the convention is the first.")
        wrong = next(k for k, (a, b) in enumerate(zip(theirs, truth, strict=True)) if a != b)
        raise Wrong(
            f"With labels {labels} and word_ids {word_ids}, subword {wrong} should get {truth[wrong]}; yours is {theirs[wrong]}. "
            "A new word begins where the word number changes."
        )


def by_label(labels, word_ids):
    """A typical slip: a piece counts as new when its label differs from the one before."""
    out, before = [], None
    for word in word_ids:
        label = None if word is None else labels[word]
        out.append(-100 if label is None or label == before else label)
        before = label
    return out


# --- mean over real tokens -----------------------------------------------------------------------------------


def mean_pool(hidden, mask):
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
    return (hidden * weights).sum(1) / weights.sum(1)  # (B, D)


def check_mean_pool(answer) -> str:
    said = ""
    for _ in range(ROUNDS):
        lengths, width, d = [2, 5, 7], 9, 3
        mask = torch.tensor([[1] * n + [0] * (width - n) for n in lengths])
        hidden = torch.randn(3, width, d, dtype=torch.float64) + 1
        truth = torch.stack([hidden[b, :n].mean(0) for b, n in enumerate(lengths)])
        slips = {
            "The mean runs over the padding too: a short message comes out smaller in a wide batch than in a narrow one.": hidden.mean(1),
            "Padding is zeroed but still counted below the line: divide by the number of real tokens, not by T.": (hidden * mask[..., None]).mean(1),
            "This is the sum; a long message would weigh more than a short one. Divide by the number of real tokens.": (hidden * mask[..., None]).sum(1),
            "This is the first token alone, the other common choice. The mean over the real tokens is asked for.": hidden[:, 0],
            "Divided by all real tokens of the batch; each message needs its own number: sum the mask over T only.": (hidden * mask[..., None]).sum(1) / mask.sum(),
        }  # fmt: skip
        theirs = answer(hidden.clone(), mask.clone())
        expect(
            isinstance(theirs, torch.Tensor),
            f"A tensor (B, D) is needed, so that gradients flow; yours is {kind_of(theirs)}",
        )
        said = compare(theirs, truth.numpy(), {k: v.numpy() for k, v in slips.items()})
    return said


# --- the learning rate over time -----------------------------------------------------------------------------


def rate(step, steps, warmup):
    if step < warmup:
        return (step + 1) / warmup
    return (steps - step) / (steps - warmup)


def check_rate(answer) -> str:
    rng, said = np.random.default_rng(), ""
    for round_number in range(ROUNDS):
        steps = int(rng.integers(20, 60))
        warmup = int(rng.integers(4, 9)) if round_number else 0
        places = np.arange(steps)
        corners = [0, steps] if not warmup else [-1, warmup - 1, warmup, steps]
        heights = [1, 0] if not warmup else [0, 1, 1, 0]
        truth = np.interp(places, corners, heights)
        theirs = as_array([float(as_array(answer(int(s), steps, warmup))) for s in places])
        slips = {}
        if warmup:
            slips = {
                "The first step has rate 0, so it teaches nothing: count it as step + 1.": np.where(
                    places < warmup, places / warmup, truth
                ),
                "Warm-up is right, but afterwards the rate stays: it should fall in a line to 0 at the end.": np.where(
                    places < warmup, truth, 1.0
                ),
                "The rate jumps down where warm-up ends: it falls from 1 at step = warmup, so count what is left from there.": np.where(
                    places < warmup, truth, 1 - places / steps
                ),
                "There is no warm-up: the rate begins at its largest, where the fresh head's gradients are wildest.": (
                    steps - places
                )
                / steps,
            }
        said = compare(theirs, truth, slips)
    return said


# --- AdamW ---------------------------------------------------------------------------------------------------


def adamw_step(w, g, m, v, t, rate, decay):
    m = 0.9 * m + 0.1 * g  # mean of the gradients
    v = 0.999 * v + 0.001 * g**2  # mean of their squares
    m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)  # both began at 0
    w = w - rate * decay * w - rate * m_hat / (np.sqrt(v_hat) + 1e-8)
    return w, m, v


def adamw_variant(w, g, m, v, t, rate, decay, bias=True, coupled=False, decayed=True, root=True, plus=1):
    """AdamW with one thing done otherwise; what the messages are found with."""
    g = g + decay * w if coupled else g
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    m_hat, v_hat = (m / (1 - 0.9**t), v / (1 - 0.999**t)) if bias else (m, v)
    move = m_hat / ((np.sqrt(v_hat) if root else v_hat) + 1e-8)
    return w - (rate * decay * w if decayed and not coupled else 0) - plus * rate * move, m, v


ADAMW_SLIPS = {
    "The two means are not corrected for their start at 0: divide by 1 - 0.9^t and 1 - 0.999^t.": {"bias": False},
    "Decay went into the gradient: that is Adam with L2, not AdamW. Take rate · decay · w off the weight itself.": {
        "coupled": True
    },
    "Weight decay is missing.": {"decayed": False},
    "The root of the mean square is missing: a large gradient should not give a large step.": {"root": False},
    "The weight goes uphill: the step is subtracted.": {"plus": -1},
}


def check_adamw(answer) -> str:
    rng, said = np.random.default_rng(), ""
    for _ in range(ROUNDS):
        n, steps = 5, 3
        rate, decay = float(rng.uniform(0.01, 0.1)), float(rng.uniform(0.05, 0.3))
        start, gradients = rng.normal(size=n), rng.normal(size=(steps, n))
        weight = torch.tensor(start, requires_grad=True)
        optimizer = torch.optim.AdamW([weight], lr=rate, weight_decay=decay)
        path = []
        for g in gradients:
            weight.grad = torch.tensor(g)
            optimizer.step()
            path.append(weight.detach().numpy().copy())

        def run(step, start=start, gradients=gradients, rate=rate, decay=decay):
            w, m, v, seen = start.copy(), np.zeros_like(start), np.zeros_like(start), []
            for t, g in enumerate(gradients, start=1):
                result = step(w, g, m, v, t, rate, decay)
                if not isinstance(result, (tuple, list)) or len(result) != 3:
                    raise Wrong(f"Return three things: w, m, v; yours is {kind_of(result)}")
                w, m, v = (as_array(x) for x in result)
                seen.append(w.copy())
            return np.array(seen)

        slips = {text: run(lambda *a, how=how: adamw_variant(*a, **how)) for text, how in ADAMW_SLIPS.items()}
        with np.errstate(all="ignore"):
            said = compare(run(answer), np.array(path), slips)
    return f"Three steps like torch.optim.AdamW. {said}"


# --- what decays ---------------------------------------------------------------------------------------------


def decayed(parameters):
    return [name for name, p in parameters if p.ndim > 1]


def check_decayed(answer) -> None:
    model = nn.Sequential()
    model.add_module("words", nn.Embedding(7, 4))
    model.add_module("layer_7", nn.Linear(4, 4))
    model.add_module("after", nn.LayerNorm(4))  # a norm without "norm" in its name
    model.add_module("head", nn.Linear(4, 3))
    named = list(model.named_parameters())
    theirs = answer(list(named))
    expect_type(theirs, (list, tuple, set), "The answer")
    theirs, truth = set(theirs), {"words.weight", "layer_7.weight", "head.weight"}
    expect(all(isinstance(x, str) for x in theirs), "Return the names, not the tensors: the first of each pair.")
    if theirs == truth:
        return
    expect(theirs != {n for n, _ in named} - truth, "These are the ones that must not decay; the others are asked for.")
    if "after.weight" in theirs and not any(n.endswith("bias") for n in theirs):
        raise Wrong(
            "after.weight is the scale of a norm: pulled to 0, the layer goes silent. Go by the shape, not by the name: "
            "biases and norms are vectors."
        )
    expect(
        not any(n.endswith("bias") for n in theirs), "A bias only shifts; it has no need to be small. Leave biases out."
    )
    missing = sorted(truth - theirs)
    raise Wrong(
        f"Missing: {missing[0]}, which has two axes and so is a matrix."
        if missing
        else f"Not a matrix: {sorted(theirs - truth)[0]}."
    )


# --- a batch in parts ----------------------------------------------------------------------------------------


def in_parts(gradient, X, y, size):
    total = np.zeros(X.shape[1])
    for start in range(0, len(y), size):
        part = slice(start, start + size)
        total += gradient(X[part], y[part]) * len(y[part])
    return total / len(y)


def check_in_parts(answer) -> str:
    rng, said = np.random.default_rng(), ""
    for _ in range(ROUNDS):
        size = int(rng.integers(3, 6))
        n = 3 * size + int(rng.integers(1, size))  # the last part is smaller
        X, y, w = rng.normal(size=(n, 4)), rng.integers(0, 2, n).astype(float), rng.normal(size=4)
        largest = 0

        def gradient(X, y, w=w):
            nonlocal largest
            largest = max(largest, len(y))
            return X.T @ (1 / (1 + np.exp(-X @ w)) - y) / len(y)

        truth = gradient(X, y)
        parts = [gradient(X[s : s + size], y[s : s + size]) for s in range(0, n, size)]
        slips = {
            "The parts' means are averaged as if each had as many messages: the last, smaller part counts too much.": np.mean(parts, axis=0),
            "The parts are added, but each is a mean of its own: the sum is as many times too large as there are parts.": np.sum(parts, axis=0),
            "The last, smaller part is left out.": in_parts(gradient, X[: n - n % size], y[: n - n % size], size),
            "Only the last part is left: its gradient overwrote the others instead of being added.": parts[-1],
        }  # fmt: skip
        largest = 0
        theirs = answer(gradient, X.copy(), y.copy(), size)
        said = compare(theirs, truth, slips)
        expect(
            largest <= size,
            f"The gradient of {largest} messages was taken at once; memory holds {size}. Go through them in parts.",
        )
    return said


# --- early stopping ------------------------------------------------------------------------------------------


def stop_early(scores, patience):
    best = 1
    for epoch, score in enumerate(scores, start=1):
        if score > scores[best - 1]:
            best = epoch
        if epoch - best >= patience:
            return best, epoch
    return best, len(scores)


def stop_variant(scores, patience, ties=False, total=False, late=0, best_is_last=False):
    """Early stopping with one thing done otherwise; what the messages are found with."""
    best, bad = 1, 0
    for epoch, score in enumerate(scores, start=1):
        if score > scores[best - 1] or (ties and score == scores[best - 1]):
            best, bad = epoch, bad if total else 0
        elif epoch > 1:
            bad += 1
        if bad >= patience + late:
            return (epoch if best_is_last else best), epoch
    return (len(scores) if best_is_last else best), len(scores)


STOP_SLIPS = {
    "An equal score is no improvement: the earlier epoch stays the best, and patience runs on.": {"ties": True},
    "Bad epochs are counted in all; patience asks for that many in a row, so a new best sets the count to 0.": {"total": True},
    "It stops one epoch too late: after `patience` epochs without a new best.": {"late": 1},
    "It stops one epoch too early: `patience` epochs without a new best are allowed to pass first.": {"late": -1},
    "The last epoch is returned as the best; the best is the one with the highest score, and its weights are restored.": {"best_is_last": True},
}  # fmt: skip
STOP_CASES = (
    ([0.5, 0.7, 0.6, 0.8, 0.75, 0.79, 0.9, 0.1], 2),
    ([0.5, 0.7, 0.7, 0.7, 0.9], 2),
    ([0.5, 0.6, 0.55, 0.65, 0.6, 0.7, 0.6, 0.5, 0.4], 3),
    ([0.1, 0.2, 0.3, 0.4], 2),
    ([0.6, 0.5, 0.7, 0.4, 0.3, 0.2], 2),
)


def check_stop_early(answer) -> None:
    for scores, patience in STOP_CASES:
        theirs = answer(list(scores), patience)
        if not isinstance(theirs, (tuple, list)) or len(theirs) != 2:
            raise Wrong(f"Return two numbers, the best epoch and the last one; yours is {kind_of(theirs)}")
        theirs, truth = tuple(theirs), stop_early(scores, patience)
        if theirs == truth:
            continue
        for text, how in STOP_SLIPS.items():
            expect(theirs != stop_variant(scores, patience, **how), f"For scores {scores}, patience {patience}: {text}")
        expect(
            theirs != (truth[0] - 1, truth[1] - 1) and theirs != (truth[0] - 1, truth[1]),
            f"For scores {scores}: epochs are counted from 1, not from 0.",
        )
        raise Wrong(
            f"For scores {scores} and patience {patience} the best epoch is {truth[0]} and training ends after epoch "
            f"{truth[1]}; yours are {theirs[0]} and {theirs[1]}."
        )


# --- memory --------------------------------------------------------------------------------------------------


def training_bytes(parameters, trained, precision):
    if precision == "float32":
        return 4 * parameters + (4 + 8) * trained  # weights; gradients and two moments
    return 2 * parameters + (4 + 4 + 8) * trained  # bfloat16 weights; float32 copies, gradients, moments


def check_training_bytes(answer) -> None:
    rng = np.random.default_rng()
    for _ in range(ROUNDS):
        n = int(rng.integers(10_000, 99_999))
        part = 2 * n // 5  # no simple multiple, so that slips differ
        for precision, trained in itertools.product(("float32", "bfloat16"), (n, part, 0)):
            theirs, truth = as_array(answer(n, trained, precision)), training_bytes(n, trained, precision)
            expect(theirs.shape == (), "One number is needed: the bytes in all.")
            theirs = float(theirs)
            if theirs == truth:
                continue
            where = f"For {n} parameters, {trained} of them trained, in {precision}: "
            slips = {
                "AdamW keeps two numbers per trained parameter, in float32: 8 bytes.": (truth - 4 * trained, truth - 8 * trained),
                "gradients are missing: one float32 number per trained parameter.": (truth - 12 * trained - 4 * trained * (precision != "float32") + 8 * trained,),
                "what is frozen has no gradient and no optimizer state.": (training_bytes(n, n, precision),),
                "the frozen parameters have weights too, which must lie in memory.": (training_bytes(trained, trained, precision),),
                "the float32 copy of what is trained is missing: bfloat16 alone would round small steps away.": (truth - 4 * trained,) if precision != "float32" else (),
                "these are numbers, not bytes: float32 takes 4, bfloat16 takes 2.": (truth / 4, n + 3 * trained),
            }  # fmt: skip
            order = list(slips.items())
            if precision != "float32":  # the copy is what is new here, so it is named first
                order = [order[4], *order[:4], order[5]]
            for text, values in order:
                expect(theirs not in values or truth in values, where + text)
            raise Wrong(f"{where}{truth} bytes; yours is {theirs:.0f}.")


# --- span F1 -------------------------------------------------------------------------------------------------


def span_f1(truth, guess):
    right = found = there = 0
    for t, g in zip(truth, guess, strict=True):
        true_spans, guessed = set(evaluate.spans_of(t)), set(evaluate.spans_of(g))
        right += len(true_spans & guessed)
        found += len(guessed)
        there += len(true_spans)
    return 2 * right / (found + there) if found + there else 0.0


def draw_tags(rng):
    """Rows of true and guessed BIO tags: some spans right, some of the wrong type, some cut short, some missed."""
    truth, guess = [], []
    for fate in ("right", "type", "short", "missed", "right", "extra"):
        kind = SPAN_TYPES[int(rng.integers(3))]
        other = SPAN_TYPES[(SPAN_TYPES.index(kind) + 1) % 3]
        length, before = int(rng.integers(2, 4)), ["O"] * int(rng.integers(1, 4))
        span = [f"B-{kind}", *[f"I-{kind}"] * (length - 1)]
        cut = {
            "type": [f"B-{other}", *[f"I-{other}"] * (length - 1)],
            "short": [*span[:-1], "O"],
            "missed": ["O"] * length,
        }
        truth.append([*before, *(["O"] * length if fate == "extra" else span), "O"])
        guess.append([*before, *cut.get(fate, span), "O"])
    truth.append([f"B-{kind}", f"B-{kind}", "O"])  # two spans that touch
    guess.append([f"B-{kind}", f"I-{kind}", "O"])
    truth.append([f"B-{kind}", "O", f"B-{kind}"])  # two in one row, both found
    guess.append(list(truth[-1]))
    return truth, guess


def f1_of(pairs) -> float:
    right, found, there = (sum(x) for x in zip(*pairs, strict=True))
    return 2 * right / (found + there) if found + there else 0.0


def span_slips(truth, guess) -> dict[str, float]:
    rows = [(set(evaluate.spans_of(t)), set(evaluate.spans_of(g))) for t, g in zip(truth, guess, strict=True)]
    flat = [(a, b) for t, g in zip(truth, guess, strict=True) for a, b in zip(t, g, strict=True)]
    named = [(a != "O" and a == b, b != "O", a != "O") for a, b in flat]
    without = [({s[:2] for s in t}, {s[:2] for s in g}) for t, g in rows]
    per_row = [f1_of([(len(t & g), len(g), len(t))]) for t, g in rows]
    right, found = sum(len(t & g) for t, g in rows), sum(len(g) for _, g in rows)
    there = sum(len(t) for t, _ in rows)
    return {
        "This is the share of right tags. O is right nearly always, and no span has to be whole for it.": float(np.mean([a == b for a, b in flat])),
        "This is F1 over tags: half a span earns half a point. Count whole spans, with both ends and the type.": f1_of(named),
        "The type is not looked at: a product taken for a date counts as right.": f1_of([(len(t & g), len(g), len(t)) for t, g in without]),
        "This is the mean of the rows' F1; the counts of all rows go together first.": float(np.mean(per_row)),
        "This is precision: what was not found costs nothing.": right / found,
        "This is recall: what was found wrongly costs nothing.": right / there,
    }  # fmt: skip


def check_span_f1(answer) -> str:
    rng, said = np.random.default_rng(), ""
    for _ in range(ROUNDS):
        truth, guess = draw_tags(rng)
        while len({round(v, 9) for v in span_slips(truth, guess).values()}) < 6:  # two slips look alike: draw again
            truth, guess = draw_tags(rng)
        true = evaluate.score_spans(truth, guess)["all"].f1
        slips = {k: np.array(v) for k, v in span_slips(truth, guess).items()}
        said = compare(answer(copy.deepcopy(truth), copy.deepcopy(guess)), np.array(true), slips)
    nothing = [["O", "O"]]
    theirs = as_array(answer(nothing, nothing))
    expect(np.all(theirs == 0), "Where no span is there and none is found, the result is defined as 0.")
    return said


# --- calibration ---------------------------------------------------------------------------------------------


def calibration_gap(confidence, right, bins):
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = 0.0
    for b in np.unique(which):
        inside = which == b
        gap += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return gap


def calibration_slips(confidence, right, bins) -> dict[str, float]:
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    places = np.unique(which)
    gaps = np.array([confidence[which == b].mean() - right[which == b].mean() for b in places])
    shares = np.array([(which == b).mean() for b in places])
    return {
        "Overconfident and underconfident bins cancel out: take the absolute value of each gap first.": float(gaps @ shares),
        "Every bin counts alike now; one with two messages must not weigh as much as one with fifty.": float(abs(gaps).mean()),
        "This compares the two overall means, in which over- and underconfident bins cancel out.": abs(float(gaps @ shares)),
        "The gaps are squared; the definition takes them as they are.": float(gaps**2 @ shares),
        "The largest gap is another figure (the maximum calibration error); here the mean is asked for.": float(abs(gaps).max()),
    }  # fmt: skip


def check_calibration_gap(answer) -> str:
    rng, said = np.random.default_rng(), ""
    for _ in range(ROUNDS):
        n, bins = 60, 5
        confidence = rng.beta(3, 1.5, n)
        confidence[:2] = 1.0, 0.05
        right = rng.random(n) < np.where(confidence > 0.6, confidence - 0.25, confidence + 0.2)
        right[:2] = False, True  # so that one gap is above 0 and one below
        true = evaluate.calibration_error(confidence, right, bins)
        slips = {k: np.array(v) for k, v in calibration_slips(confidence, right, bins).items()}
        said = compare(answer(confidence.copy(), right.copy(), bins), np.array(true), slips)
    return said


# --- a loop with five bugs -----------------------------------------------------------------------------------


def train(model, batches, score, epochs, rate):
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    best_score, best = -math.inf, None
    for _ in range(epochs):
        model.train()
        for ids, mask, labels in batches:
            optimizer.zero_grad()
            labels = labels.masked_fill(mask == 0, -100)
            loss = F.cross_entropy(model(ids, mask).flatten(0, 1), labels.flatten())
            loss.backward()
            optimizer.step()
        model.eval()
        now = score(model)
        if now > best_score:
            best_score, best = now, copy.deepcopy(model.state_dict())
    model.load_state_dict(best)


BUGS = {
    "piling": "gradients pile up from step to step, since nothing clears them",
    "softmax": "cross_entropy takes logits and does softmax itself; here probabilities go in",
    "padding": "padding is scored as O",
    "asleep": "after the first evaluation the model stays in eval mode, so dropout is off from then on",
    "alias": "best is not a copy: state_dict() holds the very tensors that go on changing, so the last weights are restored",
}


def train_with_bugs(model, batches, score, epochs, rate, bugs=tuple(BUGS)):
    """The loop with any of the five bugs, which the check compares an answer with."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    best_score, best = -math.inf, None
    model.train()
    for _ in range(epochs):
        if "asleep" not in bugs:
            model.train()
        for ids, mask, labels in batches:
            if "piling" not in bugs:
                optimizer.zero_grad()
            if "padding" not in bugs:
                labels = labels.masked_fill(mask == 0, IGNORE)
            z = model(ids, mask)
            z = z.softmax(-1) if "softmax" in bugs else z
            F.cross_entropy(z.flatten(0, 1), labels.flatten()).backward()
            optimizer.step()
        model.eval()
        now = score(model)
        if now > best_score:
            best_score = now
            best = model.state_dict() if "alias" in bugs else copy.deepcopy(model.state_dict())
    model.load_state_dict(best)


class TinyTagger(nn.Module):
    """Ids and mask (B, T) to logits (B, T, 3), with dropout."""

    def __init__(self):
        super().__init__()
        self.words, self.dropout, self.head = nn.Embedding(11, 6), nn.Dropout(0.4), nn.Linear(6, 3)
        self.double()

    def forward(self, ids, mask):
        return self.head(self.dropout(self.words(ids)) * mask.unsqueeze(-1))


def check_train(answer) -> None:
    generator = torch.Generator().manual_seed(int(np.random.default_rng().integers(1 << 30)))
    start, scores = TinyTagger(), (0.2, 0.9, 0.5, 0.4)
    batches = []
    for _ in range(3):
        ids = torch.randint(1, 11, (4, 6), generator=generator)
        mask = (torch.arange(6) < torch.tensor([[6], [4], [3], [2]])).long()
        labels = torch.where(mask == 1, ids % 3, 0)
        batches.append((ids, mask, labels))

    def run(train, *more):
        modes, model = [], copy.deepcopy(start)

        def score(m):
            modes.append(m.training)
            return scores[min(len(modes), len(scores)) - 1]

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            copies = [tuple(x.clone() for x in batch) for batch in batches]
            train(model, copies, score, len(scores), 0.05, *more)
        return torch.cat([p.detach().flatten() for p in model.parameters()]), modes

    theirs, modes = run(answer)
    truth, _ = run(train)
    if len(modes) != len(scores):
        raise Wrong(
            f"`score(model)` was called {len(modes)} times in {len(scores)} epochs; once after each epoch is right."
        )
    expect(
        not any(modes), "The model is scored in training mode: dropout makes the score random. Call model.eval() first."
    )
    if torch.allclose(theirs, truth, rtol=0, atol=1e-9):
        return
    for many in range(1, len(BUGS) + 1):
        for bugs in itertools.combinations(BUGS, many):
            if torch.allclose(theirs, run(train_with_bugs, bugs)[0], rtol=0, atol=1e-9):
                found = (
                    f"{len(BUGS) - many} of 5 repaired. Still there: "
                    if many < len(BUGS)
                    else "All five are still there: "
                )
                raise Wrong(found + "; ".join(BUGS[b] for b in bugs) + ".")
    expect(
        not torch.equal(theirs, run(lambda *a: None)[0]) if modes else True,
        "The model has not changed at all: is optimizer.step() called?",
    )
    raise Wrong(
        "The weights come out otherwise than from the repaired loop, and from any mix of the five bugs. Change nothing but the "
        "bugs: the same AdamW, one step per batch in the order given, the mean loss, the weights of the best epoch at the end."
    )


EXERCISES = (
    Exercise(
        "finetune.subword_labels",
        """
        Write `subword_labels(labels, word_ids)`. `labels` holds one label number per word; `word_ids`, as the tokenizer gives it, holds for
        each subword the number of its word, and None for special tokens and padding. Return one label per subword: the word's label on its
        first piece, -100 everywhere else.
        """,
        6, 1,
        ("Go through word_ids and remember the one before.", "A subword begins a word if its word number is not None and differs from the one before."),
        subword_labels, check_subword_labels,
        (
            Mistake(lambda labels, word_ids: labels + [0] * (len(word_ids) - len(labels)), "no label: it gets -100"),
            Mistake(lambda labels, word_ids: labels, "One label per subword is needed"),
            Mistake(lambda labels, word_ids: [-100 if w is None else labels[w] for w in word_ids], "Every piece of a word"),
            Mistake(lambda labels, word_ids: subword_labels(labels, word_ids[::-1])[::-1], "on the last piece"),
            Mistake(by_label, "where the word number changes"),
        ),
    ),
    Exercise(
        "finetune.mean_pool",
        """
        Write `mean_pool(hidden, mask)`. `hidden` (B, T, D) are the encoder's vectors, `mask` (B, T) is 1 on real tokens and 0 on padding, both
        torch tensors. Return (B, D): for each message the mean over its real tokens.
        """,
        6, 1,
        ("Give the mask a third axis with unsqueeze(-1), so that it multiplies each vector.", "Divide by mask.sum over T, one number per message."),
        mean_pool, check_mean_pool,
        (
            Mistake(lambda hidden, mask: hidden.mean(1), "over the padding too"),
            Mistake(lambda hidden, mask: (hidden * mask.unsqueeze(-1)).mean(1), "still counted below the line"),
            Mistake(lambda hidden, mask: (hidden * mask.unsqueeze(-1)).sum(1), "This is the sum"),
            Mistake(lambda hidden, mask: hidden[:, 0], "the first token alone"),
            Mistake(lambda hidden, mask: (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(), "each message needs its own number"),
        ),
    ),
    Exercise(
        "finetune.rate",
        """
        Write `rate(step, steps, warmup)`, the factor that the learning rate is multiplied by at `step` (0, 1, ... steps - 1). In the first
        `warmup` steps it rises in a line: 1/warmup at step 0, 1 at step warmup - 1. From step warmup on it falls in a line from 1 and would
        reach 0 at `steps`. `warmup` may be 0.
        """,
        8, 2,
        ("Two cases: step < warmup, and the rest.", "In the rest, steps - step steps are left of steps - warmup."),
        rate, check_rate,
        (
            Mistake(lambda step, steps, warmup: step / warmup if step < warmup else (steps - step) / (steps - warmup), "teaches nothing"),
            Mistake(lambda step, steps, warmup: (step + 1) / warmup if step < warmup else (steps - step) / (steps - warmup) if warmup == 0 else 1.0, "afterwards the rate stays"),
            Mistake(lambda step, steps, warmup: (step + 1) / warmup if step < warmup else 1 - step / steps, "jumps down where warm-up ends"),
            Mistake(lambda step, steps, warmup: (steps - step) / steps, "There is no warm-up"),
        ),
    ),
    Exercise(
        "finetune.adamw_step",
        """
        Write `adamw_step(w, g, m, v, t, rate, decay)`, one step of AdamW on NumPy arrays: weight `w`, gradient `g`, running means `m` of the
        gradients and `v` of their squares (both begin at 0), step number `t` from 1. Betas are 0.9 and 0.999, epsilon is 1e-8. Return the new
        `(w, m, v)`.
        """,
        12, 2,
        (
            "m becomes 0.9 m + 0.1 g, and v likewise with 0.999 and g squared.",
            "Divide m by 1 - 0.9^t and v by 1 - 0.999^t before use, and keep the undivided ones.",
            "The weight loses rate · decay · w, and rate · m_hat / (sqrt(v_hat) + 1e-8).",
        ),
        adamw_step, check_adamw,
        tuple(
            Mistake(lambda *a, how=how: adamw_variant(*a, **how), text.split(":")[0])
            for text, how in ADAMW_SLIPS.items()
        ),
    ),
    Exercise(
        "finetune.decayed",
        """
        Write `decayed(parameters)`. It gets a list of pairs (name, tensor), as `model.named_parameters()` gives them. Return the names of those
        that weight decay should pull towards 0: every matrix (embeddings are matrices too), no bias, no scale of a norm.
        """,
        4, 1,
        ("What do all biases and all scales of norms have in common in their shape?", "tensor.ndim"),
        decayed, check_decayed,
        (
            Mistake(lambda parameters: [n for n, _ in parameters if not n.endswith("bias")], "the scale of a norm"),
            Mistake(lambda parameters: [n for n, _ in parameters], "A bias only shifts"),
            Mistake(lambda parameters: [n for n, p in parameters if p.ndim == 1], "must not decay"),
            Mistake(lambda parameters: [n for n, p in parameters if p.ndim > 1 and "words" not in n], "Missing: words.weight"),
            Mistake(lambda parameters: [p for _, p in parameters], "Return the names"),
        ),
    ),
    Exercise(
        "finetune.in_parts",
        """
        The batch does not fit into memory. Write `in_parts(gradient, X, y, size)`: `gradient(X, y)` returns the gradient (D,) of the *mean* loss of
        the rows it gets, and must never get more than `size` rows. Return the gradient of the mean loss over all rows. The last part may be
        smaller.
        """,
        8, 2,
        ("A mean times its number of rows is a sum, and sums may be added.", "Divide by the number of all rows at the end."),
        in_parts, check_in_parts,
        (
            Mistake(lambda gradient, X, y, size: np.mean([gradient(X[s : s + size], y[s : s + size]) for s in range(0, len(y), size)], axis=0), "counts too much"),
            Mistake(lambda gradient, X, y, size: np.sum([gradient(X[s : s + size], y[s : s + size]) for s in range(0, len(y), size)], axis=0), "The parts are added"),
            Mistake(lambda gradient, X, y, size: in_parts(gradient, X[: len(y) // size * size], y[: len(y) // size * size], size), "is left out"),
            Mistake(lambda gradient, X, y, size: [gradient(X[s : s + size], y[s : s + size]) for s in range(0, len(y), size)][-1], "Only the last part"),
            Mistake(lambda gradient, X, y, size: gradient(X, y), "memory holds"),
        ),
    ),
    Exercise(
        "finetune.stop_early",
        """
        Write `stop_early(scores, patience)`. `scores` are the validation scores of the epochs, higher is better. Training stops as soon as `patience`
        epochs in a row have brought no new best (an equal score is not new). Return `(best, last)`: the epoch whose weights are kept and the
        epoch after which training ends, counted from 1.
        """,
        8, 2,
        ("Keep the number of the best epoch.", "After each epoch ask how many have passed since the best."),
        stop_early, check_stop_early,
        (
            *(Mistake(lambda scores, patience, how=how: stop_variant(scores, patience, **how), text.split(":")[0].split(";")[0]) for text, how in STOP_SLIPS.items()),
            Mistake(lambda scores, patience: tuple(x - 1 for x in stop_early(scores, patience)), "counted from 1"),
        ),
    ),
    Exercise(
        "finetune.training_bytes",
        """
        Write `training_bytes(parameters, trained, precision)`: the bytes that weights, gradients and AdamW's state take, for a model of `parameters`
        numbers of which `trained` learn. With precision "float32" everything is float32. With "bfloat16" all weights are bfloat16, and each that
        learns has besides a float32 copy, a float32 gradient and float32 optimizer state.
        """,
        8, 2,
        ("AdamW keeps two numbers per parameter that learns.", "float32: 4 bytes, bfloat16: 2 bytes."),
        training_bytes, check_training_bytes,
        (
            Mistake(lambda n, trained, precision: training_bytes(n, n, precision), "what is frozen has no gradient"),
            Mistake(lambda n, trained, precision: training_bytes(trained, trained, precision), "must lie in memory"),
            Mistake(lambda n, trained, precision: training_bytes(n, trained, precision) - 4 * trained * (precision == "float32"), "two numbers per trained parameter"),
            Mistake(lambda n, trained, precision: training_bytes(n, trained, precision) - 4 * trained * (precision != "float32"), "would round small steps away"),
            Mistake(lambda n, trained, precision: n + 3 * trained, "not bytes"),
        ),
    ),
    Exercise(
        "finetune.span_f1",
        """
        Write `span_f1(truth, guess)`. Both are lists of rows of BIO tags. A span is right if both its ends and its type are. Return F1 over the spans of
        all rows together: 2 · right / (found + there), and 0 where there is nothing to find and nothing found. `spans_of(tags)` gives a row's spans
        as (start, end, type).
        """,
        10, 2,
        ("Make two sets of spans for each row; their intersection is what is right.", "Add up right, found and there over the rows, and divide once."),
        span_f1, check_span_f1,
        (
            *(Mistake(lambda truth, guess, n=n: list(span_slips(truth, guess).values())[n], message) for n, message in enumerate(
                ("share of right tags", "F1 over tags", "The type is not looked at", "mean of the rows' F1", "This is precision", "This is recall"))),
        ),
    ),
    Exercise(
        "finetune.calibration_gap",
        """
        Write `calibration_gap(confidence, right, bins)` for NumPy arrays: how sure the model was (0 to 1) and whether it was right. Cut 0 to 1 into `bins`
        bins of equal width, each with its lower edge and without its upper one (1.0 goes into the last). In each bin take the distance between
        mean confidence and accuracy; return their mean, each bin weighted by its share of the messages. Empty bins do not count.
        """,
        10, 2,
        ("(confidence * bins).astype(int) is the bin's number; only 1.0 needs care.", "Boolean indexing: confidence[which == b].mean()."),
        calibration_gap, check_calibration_gap,
        (
            *(Mistake(lambda *a, n=n: list(calibration_slips(*a).values())[n], message) for n, message in enumerate(
                ("cancel out", "Every bin counts alike", "cancel out", "squared", "The largest gap"))),
        ),
    ),
    Exercise(
        "finetune.train",
        """
        Repair the loop above: write `train(model, batches, score, epochs, rate)` without its five bugs. Each batch is `(ids, mask, labels)` of shape (B, T); labels
        on padding are 0. `model(ids, mask)` returns logits (B, T, C); `score(model)` says how good the model is, higher is better, and is asked
        once after each epoch. At the end the model holds the weights of the best epoch. Change nothing else. The check says how many bugs are
        left, and which.
        """,
        25, 3,
        (
            "Symptom 1 (loss never under a floor) and symptom 2 (steps grow) sit in the four lines from the logits to optimizer.step().",
            "masked_fill(mask == 0, -100) takes padding out of the loss.",
            "model.eval() lasts until somebody calls model.train().",
            "Print best before and after the next epoch: the dictionary holds references.",
        ),
        train, check_train,
        (
            Mistake(train_with_bugs, "All five are still there"),
            *(Mistake(lambda *a, b=b: train_with_bugs(*a, bugs=(b,)), f"4 of 5 repaired. Still there: {text}") for b, text in BUGS.items()),
            Mistake(lambda *a: train_with_bugs(*a, bugs=("softmax", "alias")), "3 of 5 repaired"),
            Mistake(lambda model, batches, score, epochs, rate: train(model, batches, lambda m: score(m.train()), epochs, rate), "scored in training mode"),
            Mistake(lambda model, batches, score, epochs, rate: train(model, batches, score, epochs - 1, rate), "once after each epoch"),
            Mistake(lambda model, batches, score, epochs, rate: train(model, batches, score, epochs, rate / 2), "Change nothing but the bugs"),
        ),
    ),
)  # fmt: skip

QUIZZES = (
    Quiz(
        "finetune.quiz_first_loss",
        "Before the first step a fresh head over 30 classes has a loss of 9.2. What is likely?",
        (
            Choice("Nothing; it has not learned yet.", False, "Not yet learned means an even choice, which costs log 30 = 3.4. 9.2 is sure and wrong."),
            Choice("The head starts with too large weights, or labels and outputs do not fit each other.", True,
                   "A loss far above log C before training is a bug's cheapest symptom: look before you train."),
            Choice("The learning rate is too high.", False, "No step has been taken, so no rate has had an effect."),
        ),
    ),
    Quiz(
        "finetune.quiz_freeze",
        "You freeze the lower half of the encoder. What gets cheaper?",
        (
            Choice("Only the optimizer's step.", False, "That too, but the larger part is the backward pass."),
            Choice("The backward pass through that half, its gradients and its optimizer state; the forward pass stays.", True,
                   "The gradient stops at the lowest layer that learns, while every message still runs through all of them."),
            Choice("Everything by half.", False, "The forward pass still runs through all layers, in training and in use."),
        ),
    ),
    Quiz(
        "finetune.quiz_seeds",
        "Model B scores 0.4 points higher than model A on 400 test messages, one seed each. Which do you ship?",
        (
            Choice("B, it is better.", False, "0.4 points are one or two messages; another seed may turn them round."),
            Choice("A, as it is older.", False, "Age says nothing about accuracy; look for evidence, or for cost."),
            Choice("Whichever is cheaper, until several seeds and a paired comparison say more.", True,
                   "The interval of the difference holds 0, so by this test the two are not told apart."),
        ),
    ),
    Quiz(
        "finetune.quiz_bf16",
        "Why does fit() keep float32 copies of the weights when the model computes in bfloat16?",
        (
            Choice("bfloat16 cannot hold large numbers.", False, "Its range is float32's; it is the digits that it lacks, about three of them."),
            Choice("A step is often smaller than the gap between neighbouring bfloat16 numbers, and would be rounded away.", True,
                   "Next to 1 the gap is 0.0078. The copy adds up the small steps until one shows."),
            Choice("The GPU needs them to read the weights.", False, "It computes with bfloat16 weights alone, which inference does."),
        ),
    ),
)  # fmt: skip
