"""Exercises of lab 08: whose side a text is read from, a loss of several heads, trends, baselines, CUSUM, alarms judged and paid for."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable
from functools import partial

import numpy as np

from agentlab.exercises.derivation import as_array
from agentlab.exercises.engine import Choice, Exercise, Mistake, Quiz, Wrong, expect, expect_type, kind_of

ROUNDS = 6
NAMES = ("Halvern Motors", "Halvern", "HLVN", "Quillon", "QLSC", "Skarholm Lines", "Skarholm", "Tarn & Oake")


def as_numbers(value, length: int, what: str) -> list[float]:
    """An answer as a list of numbers of the right length; None becomes NaN."""
    if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable):
        raise Wrong(f"The answer should be a list; yours is {kind_of(value)}")
    numbers = [math.nan if x is None else float(x) for x in value]
    expect(len(numbers) == length, f"One number per {what} is needed: {length}; yours are {len(numbers)}.")
    return numbers


def same(a: Iterable[float], b: Iterable[float]) -> bool:
    """Whether two rows of numbers agree, NaN with NaN."""
    return np.allclose(list(a), list(b), rtol=1e-6, atol=1e-9, equal_nan=True)


# --- whose side ----------------------------------------------------------------------------------------------


def one_side(text, own, others):
    role = {name.lower(): "another company" for name in others}
    role |= {name.lower(): "the company" for name in own}
    longest_first = sorted(role, key=len, reverse=True)
    pattern = r"\b(" + "|".join(re.escape(name) for name in longest_first) + r")\b"
    return re.sub(pattern, lambda found: role[found[0].lower()], text, flags=re.IGNORECASE)


def draw_text(rng):
    """A text built from pieces whose roles are known, so that the truth needs no search."""
    own, others = ["Halvern", "Halvern Motors", "HLVN"], ["Quillon", "Skarholm", "Skarholm Lines", "Tarn & Oake"]
    pieces = [
        ("Halvern Motors", "the company"), (" beats ", None), ("Quillon", "another company"), (", says ", None),
        (rng.choice(["hlvn", "HALVERN", "Halvern"]), "the company"), (rng.choice(["'s chief", " on Monday", ", too"]), None),
        (" while ", None), (rng.choice(["Skarholm Lines", "tarn & oake", "SKARHOLM"]), "another company"),
        (rng.choice([" waits", " sells", "'s share falls"]), None), (" and the Halvernites sing", None),
        (rng.choice([" (", " - "]), None), (rng.choice(["HLVN", "halvern motors"]), "the company"), (rng.choice([")", "!", ""]), None),
    ]  # fmt: skip
    text = "".join(word for word, _ in pieces)
    return text, own, others, "".join(role or word for word, role in pieces)


def check_one_side(answer) -> None:
    rng = random.Random()
    for _ in range(ROUNDS):
        text, own, others, truth = draw_text(rng)
        rng.shuffle(own)
        rng.shuffle(others)
        theirs = answer(text, list(own), list(others))
        expect_type(theirs, str, "The answer")
        if theirs == truth:
            continue
        expect(theirs != text, "Nothing was replaced. Return the new text: strings do not change in place.")
        expect("Halvernites" in theirs, f"A name inside a longer word is no name: Halvernites stays. Yours: {theirs!r}")
        expect(not re.search(r"company (motors|lines)", theirs, re.I), f"A short name was replaced inside a long one: {theirs!r}. Try the longest first.")  # fmt: skip
        left = [n for n in (*own, *others) if re.search(rf"\b{re.escape(n)}\b", theirs, re.I)]
        expect(not left, f"{left[0] if left else ''} is still in {theirs!r}. People write names in capitals and in small letters.")  # fmt: skip
        swapped = truth.replace("the company", "*").replace("another company", "the company").replace("*", "another company")  # fmt: skip
        expect(theirs != swapped, 'The roles are swapped: the names in own become "the company".')
        expect(theirs.count("another company") or "another company" not in truth, 'Names of others become "another company", not "the company": a model must see who is who.')  # fmt: skip
        raise Wrong(f"From {text!r} should come {truth!r}; yours is {theirs!r}.")


def side_variant(text, own, others, longest=True, flags=re.IGNORECASE, edges=True, roles=("the company", "another company")):  # fmt: skip
    """Masking with one thing done otherwise."""
    role = {n.lower(): roles[1] for n in others} | {n.lower(): roles[0] for n in own}
    names = sorted([*own, *others], key=len, reverse=longest)
    edge = r"\b" if edges else ""
    return re.sub(rf"{edge}({'|'.join(map(re.escape, names))}){edge}", lambda m: role[m[0].lower()], text, flags=flags)


# --- a loss of several heads ---------------------------------------------------------------------------------


def joint_loss(logits, targets, sizes):
    total, start = 0.0, 0
    for head, size in enumerate(sizes):
        z = logits[:, start : start + size]
        z = z - z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        known = np.flatnonzero(targets[:, head] >= 0)
        total -= log_p[known, targets[known, head]].sum()
        start += size
    return total / len(logits)


def draw_heads(rng, number):
    sizes = [int(x) for x in rng.integers(2, 6, rng.integers(2, 4))]
    n = int(rng.integers(5, 9))
    logits = rng.normal(0, 2, (n, sum(sizes))) + (900 if number % 3 == 2 else 0)
    targets = np.stack([rng.integers(0, size, n) for size in sizes], 1)
    targets[rng.random(targets.shape) < 0.25] = -100
    targets[0, 0], targets[1, -1] = -100, -100
    return logits, targets, sizes


def check_joint_loss(answer) -> None:
    import torch
    import torch.nn.functional as F

    rng = np.random.default_rng()
    for number in range(ROUNDS):
        logits, targets, sizes = draw_heads(rng, number)
        ends = np.cumsum(sizes)
        parts = [
            float(F.cross_entropy(torch.tensor(logits[:, e - s : e]), torch.tensor(targets[:, h]), ignore_index=-100, reduction="sum"))
            for h, (s, e) in enumerate(zip(sizes, ends, strict=True))
        ]  # fmt: skip
        truth = sum(parts) / len(logits)
        theirs = as_array(answer(logits.copy(), targets.copy(), list(sizes)))
        expect(theirs.ndim == 0, f"The loss is one number; yours has the shape {theirs.shape}.")
        theirs = float(theirs)
        if np.isclose(theirs, truth, rtol=1e-6):
            continue
        same = partial(np.isclose, theirs, rtol=1e-9)  # so near that no other slip comes as near by chance
        expect(math.isfinite(theirs), "The loss is not finite: exp of a large logit overflows. Take the largest of each row away first.")  # fmt: skip
        known = (targets >= 0).sum()
        expect(not same(sum(parts) / known), "Divide by the number of texts: dividing by the known targets weighs a half-labelled text more.")  # fmt: skip
        expect(not same(truth / len(sizes)), "The heads' losses are added up, not averaged.")
        expect(not same(parts[0] / len(logits)), "Only the first head is in your loss.")
        expect(not same(-truth), "The sign is turned round: a loss is minus the log-likelihood.")
        whole = logits - logits.max(1, keepdims=True)
        whole = whole - np.log(np.exp(whole).sum(1, keepdims=True))
        one = -sum(whole[i, (e - s) + targets[i, h]] for h, (s, e) in enumerate(zip(sizes, ends, strict=True)) for i in range(len(logits)) if targets[i, h] >= 0)  # fmt: skip
        expect(not same(one / len(logits)), "Your softmax runs over all columns. Each head is a choice of its own: take the softmax over its columns.")  # fmt: skip
        raise Wrong(f"For heads of {sizes} values the loss should be {truth:.4f}; yours is {theirs:.4f}. Is a target of -100 left out?")  # fmt: skip


def joint_variant(logits, targets, sizes, each=True, stable=True, skip=True, by="texts", heads=None, mean=False, sign=1):  # fmt: skip
    """The loss with one thing done otherwise."""
    total, start, known_all = 0.0, 0, 0
    for head, size in enumerate(sizes[:heads]):
        z = logits[:, start : start + size] if each else logits
        z = z - z.max(1, keepdims=True) if stable else z
        with np.errstate(all="ignore"):
            log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
        known = targets[:, head] >= 0 if skip else np.ones(len(z), bool)
        place = np.where(targets[:, head] >= 0, targets[:, head], size - 1) + (0 if each else start)
        total -= log_p[np.flatnonzero(known), place[known]].sum()
        known_all += known.sum()
        start += size
    return sign * total / (len(logits) if by == "texts" else known_all) / (len(sizes) if mean else 1)


# --- trends --------------------------------------------------------------------------------------------------


def trend(days, sentiments, window):
    net = []
    for today in range(max(days) + 1):
        seen = [s for day, s in zip(days, sentiments, strict=True) if today - window < day <= today]
        balance = seen.count("positive") - seen.count("negative")
        net.append(balance / len(seen) if seen else None)
    return net


def draw_days(rng):
    days = [*rng.choices(range(3), k=6), *rng.choices(range(11, 16), k=8), 15]
    rng.shuffle(days)
    return days, rng.choices(["positive", "neutral", "negative"], k=len(days)), rng.randint(2, 4)


def trend_by_counts(days, sentiments, window) -> list[float]:
    """The oracle: running sums in NumPy."""
    last = max(days) + 1
    rows = {s: np.bincount([d for d, x in zip(days, sentiments, strict=True) if x == s], minlength=last) for s in ("positive", "neutral", "negative")}  # fmt: skip
    sums = {s: np.convolve(r, np.ones(window))[:last] for s, r in rows.items()}
    every = sums["positive"] + sums["neutral"] + sums["negative"]
    with np.errstate(all="ignore"):
        return list(np.where(every > 0, (sums["positive"] - sums["negative"]) / every, np.nan))


TREND_SLIPS = {
    "A day without news has no mood: give None there, not 0.": lambda p, n, z: (p - n) / max(1, p + n + z),
    "Neutral items count below the line: a day of one good and nine neutral items is calm.": lambda p, n, z: (p - n) / max(1, p + n),
    "Yours is the share of positive items; take the negative ones away from them.": lambda p, n, z: p / max(1, p + n + z),
    "Good and bad are the wrong way round.": lambda p, n, z: (n - p) / max(1, p + n + z),
}  # fmt: skip


def trend_variant(days, sentiments, window, ratio=None, ahead=0, more=0, none=True):
    """A trend with another ratio, another window, or zeros for empty days."""
    ratio, out = ratio or (lambda p, n, z: (p - n) / max(1, p + n + z)), []
    for today in range(max(days) + 1):
        seen = [s for d, s in zip(days, sentiments, strict=True) if today - window - more < d - ahead <= today]
        p, n, z = (seen.count(s) for s in ("positive", "negative", "neutral"))
        out.append(None if none and not seen else ratio(p, n, z))
    return out


def check_trend(answer) -> None:
    rng = random.Random()
    for _ in range(ROUNDS):
        days, sentiments, window = draw_days(rng)
        theirs = as_numbers(answer(list(days), list(sentiments), window), max(days) + 1, "day")
        truth = trend_by_counts(days, sentiments, window)
        if same(theirs, truth):
            continue
        for message, ratio in TREND_SLIPS.items():
            for none in (True, False):
                slip = as_numbers(trend_variant(days, sentiments, window, ratio, none=none), len(truth), "day")
                if same(theirs, slip) and not same(slip, truth):
                    raise Wrong(message)
        for shift, message in ((1, "tomorrow's news is in today's figure. The window ends today"), (window - 1, "the window lies ahead of the day, not behind it")):  # fmt: skip
            expect(not same(theirs, as_numbers(trend_variant(days, sentiments, window, ahead=shift), len(truth), "day")), f"On some days {message}.")  # fmt: skip
        for more in (1, -1):
            expect(not same(theirs, as_numbers(trend_variant(days, sentiments, window, more=more), len(truth), "day")), f"Your window holds {window + more} days, not {window}: today and the {window - 1} before.")  # fmt: skip
        n = next(n for n, (a, b) in enumerate(zip(theirs, truth, strict=True)) if not same([a], [b]))
        raise Wrong(f"With a window of {window}, day {n} should be {truth[n]:.3f}; yours is {theirs[n]:.3f}.")


# --- what is usual -------------------------------------------------------------------------------------------


def baseline(counts, window, gap):
    usual = []
    for t in range(len(counts)):
        behind = counts[max(0, t - gap - window) : max(0, t - gap)]
        usual.append(sum(behind) / len(behind) if behind else None)
    return usual


def baseline_by_pandas(counts, window, gap) -> list[float]:
    """The oracle: a rolling mean, shifted."""
    import pandas as pd

    return list(pd.Series(counts, dtype=float).rolling(window, min_periods=1).mean().shift(gap + 1))


BASELINE_SLIPS = {
    "The gap is left out: a surge of the last steps raises its own baseline, and hides itself.": {"no_gap": True},
    "The step itself is in its own baseline. The window ends gap steps before it.": {"later": 1},
    "Where fewer steps lie behind, divide by how many there are.": {"always": True},
    "The window reaches one step too far back or stops one too early.": {"wider": 1},
    "The window is one step too short.": {"wider": -1},
    "The future is in your baseline: no watch can know it.": {"everything": True},
}  # fmt: skip


def baseline_variant(counts, window, gap, no_gap=False, later=0, always=False, wider=0, everything=False):
    """A baseline with one thing done otherwise."""
    out = []
    for t in range(len(counts)):
        end = max(0, t - (0 if no_gap else gap) + later)
        behind = counts[max(0, end - window - wider) : end]
        if everything:
            behind = counts
        out.append(sum(behind) / (window if always else len(behind)) if behind else None)
    return out


def check_baseline(answer) -> None:
    rng = random.Random()
    for _ in range(ROUNDS):
        counts = [rng.randint(0, 9) for _ in range(rng.randint(14, 20))]
        window, gap = rng.randint(3, 5), rng.randint(2, 3)
        theirs = as_numbers(answer(list(counts), window, gap), len(counts), "step")
        truth = baseline_by_pandas(counts, window, gap)
        if same(theirs, truth):
            continue
        zeros = [0.0 if math.isnan(x) else x for x in truth]
        expect(not same(theirs, zeros), "Where nothing lies behind there is no baseline: None, not 0, or the first news of all is a surge.")  # fmt: skip
        for message, how in BASELINE_SLIPS.items():
            expect(not same(theirs, as_numbers(baseline_variant(counts, window, gap, **how), len(counts), "step")), message)  # fmt: skip
        n = next(n for n, (a, b) in enumerate(zip(theirs, truth, strict=True)) if not same([a], [b]))
        raise Wrong(f"With counts {counts}, window {window} and gap {gap}, step {n} should be {truth[n]:.3f}; yours is {theirs[n]:.3f}.")  # fmt: skip


# --- CUSUM ---------------------------------------------------------------------------------------------------


def cusum(counts, usual, surge):
    total, sums = 0.0, []
    for count, low, high in zip(counts, usual, surge, strict=True):
        gain = count * math.log(high / low) - (high - low)
        total = max(0.0, total + gain)
        sums.append(total)
    return sums


def cusum_by_search(counts, usual, surge) -> list[float]:
    """The oracle: at each step the best log-likelihood ratio over all the steps at which a surge may have begun, or 0."""
    from scipy.stats import poisson

    gain = poisson.logpmf(counts, surge) - poisson.logpmf(counts, usual)
    return [max(0.0, *(gain[a : t + 1].sum() for a in range(t + 1))) for t in range(len(counts))]


CUSUM_SLIPS = {
    "The sum sinks below 0 in quiet times, and a surge first has to make up for them. It never falls below 0.": {"floor": False},
    "Single steps are held at 0 where the sum should be: then nothing ever speaks for calm.": {"each": True},
    "Usual and surge are exchanged inside the logarithm.": {"swap": True},
    "The expected difference, surge - usual, is not taken away, so every step with a count speaks for a surge.": {"drift": False},
    "Each step stands for itself with you; evidence adds up over steps.": {"add": False},
}  # fmt: skip


def cusum_variant(counts, usual, surge, floor=True, each=False, swap=False, drift=True, add=True):
    """CUSUM with one thing done otherwise."""
    total, sums = 0.0, []
    for c, low, high in zip(counts, usual, surge, strict=True):
        gain = c * math.log(low / high if swap else high / low) - (high - low if drift else 0)
        total = (total if add else 0.0) + (max(0.0, gain) if each else gain)
        total = max(0.0, total) if floor else total
        sums.append(total)
    return sums


def check_cusum(answer) -> None:
    rng = np.random.default_rng()
    for _ in range(ROUNDS):
        n = int(rng.integers(18, 26))
        usual = rng.uniform(0.3, 1.2, n)
        surge = usual + rng.uniform(1, 3, n)
        counts = rng.poisson(np.where(np.arange(n) // 6 % 2, surge, usual))
        counts[:2], counts[2], counts[-3:] = 0, 1, 0
        given = [int(c) for c in counts], [float(x) for x in usual], [float(x) for x in surge]
        theirs, truth = as_numbers(answer(*given), n, "step"), cusum_by_search(counts, usual, surge)
        if same(theirs, truth):
            continue
        for message, how in CUSUM_SLIPS.items():
            expect(not same(theirs, cusum_variant(*given, **how)), message)
        k = next(k for k, (a, b) in enumerate(zip(theirs, truth, strict=True)) if not same([a], [b]))
        raise Wrong(f"Step {k} should be {truth[k]:.4f} after {truth[k - 1] if k else 0:.4f}, with count {counts[k]}, usual {usual[k]:.3f} and surge {surge[k]:.3f}; yours is {theirs[k]:.4f}.")  # fmt: skip


# --- alarms judged -------------------------------------------------------------------------------------------


def judge_alarms(alarms, surges, within=24):
    def belongs(hour, surge):
        start, end = surge
        return start <= hour <= end + 24

    in_time = sum(any(belongs(a, s) and a - s[0] <= within for a in alarms) for s in surges)
    right = sum(any(belongs(a, s) for s in surges) for a in alarms)
    return {
        "in_time": in_time / len(surges),
        "precision": right / len(alarms) if alarms else 0.0,
        "false": len(alarms) - right,
    }


def draw_alarms(rng, number):
    surges = [(100 + rng.randint(0, 20), 0), (400 + rng.randint(0, 20), 0), (700 + rng.randint(0, 20), 0), (900, 0)]
    surges = [(a, a + rng.randint(40, 80)) for a, _ in surges]
    (a, b), (c, d), (e, f), _ = surges
    alarms = [
        a + rng.randint(1, 5), a + rng.randint(20, 29), a + rng.randint(30, 39), b + rng.randint(5, 20),  # one surge, four alarms
        c + rng.randint(26, 39), d + rng.randint(30, 60),  # late; after the end
        e - rng.randint(3, 30), f + rng.randint(13, 23), rng.randint(200, 260),  # before; only after the end; nowhere
    ]  # fmt: skip
    rng.shuffle(alarms)
    return ([], surges) if number % 4 == 3 else (alarms, surges)


def judged_by_arrays(alarms, surges, within=24) -> dict:
    """The oracle: every alarm against every surge, in NumPy."""
    a, s = np.array(alarms, float)[:, None], np.array(surges, float)[None]
    inside = (a >= s[..., 0]) & (a <= s[..., 1] + 24)
    right = int(inside.any(1).sum())
    early = inside & (a - s[..., 0] <= within)
    return {
        "in_time": float(early.any(0).mean()) if len(alarms) else 0.0,
        "precision": right / len(alarms) if len(alarms) else 0.0,
        "false": len(alarms) - right,
    }


JUDGE_SLIPS = {
    "An alarm before the surge began is no early warning: nobody could know. It is false.": {"before": 48},
    "A further alarm on a surge that is already found is right as well, not false.": {"once": True},
    "In time means soon after the start; with you any alarm of the surge will do.": {"any_time": True},
    "The delay runs from the start of the surge, not from its end.": {"from_end": True},
    "An alarm in the day after a surge's end still belongs to it.": {"grace": 0},
}  # fmt: skip


def judge_variant(alarms, surges, within=24, before=0, once=False, any_time=False, from_end=False, grace=24):
    """A judgement with one thing done otherwise."""

    def belongs(a, s):
        return s[0] - before <= a <= s[1] + grace

    found = [[a for a in alarms if belongs(a, s)] for s in surges]
    in_time = sum(any(any_time or a - (s[1] if from_end else s[0]) <= within for a in f) for f, s in zip(found, surges, strict=True))  # fmt: skip
    right = sum(bool(f) for f in found) if once else sum(any(belongs(a, s) for s in surges) for a in alarms)
    return {"in_time": in_time / len(surges), "precision": right / max(1, len(alarms)), "false": len(alarms) - right}


def check_judge_alarms(answer) -> None:
    rng = random.Random()
    for number in range(ROUNDS):
        (alarms, surges), within = draw_alarms(rng, number), (12, 24)[number % 2]
        theirs = answer(list(alarms), list(surges), within)
        expect_type(theirs, dict, "The answer")
        truth = judged_by_arrays(alarms, surges, within)
        missing = [k for k in truth if k not in theirs]
        expect(not missing, f"The answer lacks {missing[0] if missing else ''}: in_time, precision and false are asked for.")  # fmt: skip
        if all(same([float(theirs[k])], [truth[k]]) for k in truth):
            continue
        for message, how in JUDGE_SLIPS.items():
            slip = judge_variant(alarms, surges, within, **how)
            expect(not all(same([float(theirs[k])], [slip[k]]) for k in truth), message)
        wrong = next(k for k in truth if not same([float(theirs[k])], [truth[k]]))
        raise Wrong(f"With alarms {sorted(alarms)}, surges {surges} and within {within}, {wrong} should be {truth[wrong]:.3g}; yours is {theirs[wrong]:.3g}.")  # fmt: skip


# --- what errors cost ----------------------------------------------------------------------------------------


def cheapest(trials, missed, hour, false):
    def cost(trial):
        return missed * trial["missed"] + hour * trial["hours"] + false * trial["false"]

    return min(trials, key=cost)["threshold"]


def draw_trials(rng):
    """Trials over rising thresholds; costs drawn so that every part decides once in a while."""
    trials, missed, hours, false = [], 0.1, 8.0, 14.0
    for threshold in range(4, 16):
        trials.append({"threshold": threshold, "missed": missed, "hours": hours, "false": false})
        missed, hours, false = missed * rng.uniform(1.1, 1.6), hours + rng.uniform(1, 7), false * rng.uniform(0.5, 0.8)
    rng.shuffle(trials)
    return trials


COST_SLIPS = {  # the parts that are left out, or "" where all are counted without their prices
    "hours": "The hours of delay are left out of the cost.",
    "false": "The false alarms are left out of the cost, so the most nervous threshold wins.",
    "missed": "The missed surges are left out of the cost, so the sleepiest threshold wins.",
    "": "Each error has its own price: multiply before you add.",
}


def pick(trials, prices):
    """The threshold of the cheapest trial by these prices."""
    by = np.array([sum(prices[k] * t[k] for k in prices) for t in trials])
    return trials[int(np.argmin(by))]["threshold"]


def slipped(trials, prices, part):
    """What `pick` gives with a slip of `COST_SLIPS`."""
    return pick(trials, {k: v for k, v in prices.items() if k != part} if part else dict.fromkeys(prices, 1))


def check_cheapest(answer) -> None:
    rng, first, slips = random.Random(), "", list(COST_SLIPS)
    priced = ({"missed": 20, "hours": 0.1, "false": 1.5}, {"missed": 1, "hours": 1.5, "false": 1}, {"missed": 60, "hours": 0.3, "false": 6})  # fmt: skip
    for number in range(3 * ROUNDS):
        prices, part = priced[number % 3], list(COST_SLIPS)[number % 4]
        drawn = (draw_trials(rng) for _ in range(50))  # until the part decides
        trials = next((t for t in drawn if slipped(t, prices, part) != pick(t, prices)), draw_trials(rng))
        theirs = answer([dict(t) for t in trials], prices["missed"], prices["hours"], prices["false"])
        expect(not isinstance(theirs, dict), "Give the threshold, not the whole trial.")
        expect_type(theirs, (int, float, np.number), "The threshold")
        truth = pick(trials, prices)
        costs = {t["threshold"]: sum(prices[k] * t[k] for k in prices) for t in trials}
        if theirs != truth:
            expect(not np.isclose(theirs, costs[truth]), "That is the lowest cost; the question asks for the threshold that has it.")  # fmt: skip
            first = (
                first
                or f"Threshold {truth} costs {costs[truth]:.2f}, yours, {theirs}, costs {costs.get(theirs, math.nan):.2f}."
            )
        slips = [part for part in slips if slipped(trials, prices, part) == theirs]  # what explains every answer so far
    if first:
        raise Wrong(COST_SLIPS[slips[0]] if slips else first)


EXERCISES = (
    Exercise(
        "news.one_side",
        """
        The same sentence is good news and bad news. Write `one_side(text, own, others)`: each name in `own` becomes "the company", each name in `others`
        "another company", whatever the case of its letters. "Halvern" in "Halvern Motors" is a part of the longer name, and "Halvernites" is no name at all.
        """,
        10, 2,
        (
            "re.sub takes a function that is given each match.",
            r"\b in a pattern is the edge of a word; re.escape(name) makes & and . harmless.",
            "In a|b the first that fits wins, so put the longest name first.",
        ),
        one_side, check_one_side,
        (
            Mistake(lambda text, own, others: text, "Nothing was replaced"),
            Mistake(lambda *a: side_variant(*a, longest=False), "Try the longest first"),
            Mistake(lambda *a: side_variant(*a, edges=False), "Halvernites stays"),
            Mistake(lambda *a: side_variant(*a, flags=0), "in capitals and in small letters"),
            Mistake(lambda *a: side_variant(*a, roles=("another company", "the company")), "roles are swapped"),
            Mistake(lambda *a: side_variant(*a, roles=("the company", "the company")), "a model must see who is who"),
        ),
    ),
    Exercise(
        "news.joint_loss",
        """
        One model, two questions. Write `joint_loss(logits, targets, sizes)`. `logits` (N, K) holds the heads side by side, `sizes` how many columns each has, `targets`
        (N, heads) the right value of each head, or -100 where it is not known. Return the cross-entropies, summed over heads and texts, divided by N.
        """,
        12, 2,
        (
            "Go through the heads with a start column that grows by each size.",
            "log softmax: z - max, then minus log of the sum of exp.",
            "np.flatnonzero(targets[:, head] >= 0) are the texts whose value is known.",
        ),
        joint_loss, check_joint_loss,
        (
            Mistake(lambda *a: joint_variant(*a, each=False), "softmax runs over all columns"),
            Mistake(lambda *a: joint_variant(*a, stable=False), "exp of a large logit overflows"),
            Mistake(lambda *a: joint_variant(*a, by="known"), "Divide by the number of texts"),
            Mistake(lambda *a: joint_variant(*a, heads=1), "Only the first head"),
            Mistake(lambda *a: joint_variant(*a, mean=True), "added up, not averaged"),
            Mistake(lambda *a: joint_variant(*a, sign=-1), "sign is turned round"),
            Mistake(lambda *a: joint_variant(*a, skip=False), "Is a target of -100 left out"),
        ),
    ),
    Exercise(
        "news.trend",
        """
        Write `trend(days, sentiments, window)`. Item i came on day `days[i]` (from 0, in any order) and is "positive", "neutral" or "negative". Return for each day up to the last
        the net sentiment of its last `window` days, today included: (positive - negative) / all items; None where there were none.
        """,
        8, 1,
        ("today - window < day <= today", "list.count('negative')"),
        trend, check_trend,
        (
            Mistake(lambda *a: trend_variant(*a, ratio=lambda p, n, z: (p - n) / max(1, p + n)), "Neutral items count"),
            Mistake(lambda *a: trend_variant(*a, none=False), "give None there"),
            Mistake(lambda *a: trend_variant(*a, ratio=lambda p, n, z: p / max(1, p + n + z)), "take the negative ones away"),
            Mistake(lambda *a: trend_variant(*a, ratio=lambda p, n, z: (n - p) / max(1, p + n + z)), "wrong way round"),
            Mistake(lambda *a: trend_variant(*a, ahead=1), "The window ends today"),
            Mistake(lambda *a: trend_variant(*a, more=1), "days, not"),
        ),
    ),
    Exercise(
        "news.baseline",
        """
        What is usual? Write `baseline(counts, window, gap)`: for step t the mean of the `window` counts that end `gap` steps before it, that is
        `counts[t - gap - window : t - gap]`, of as many of them as there are; None where there are none.
        """,
        8, 2,
        ("A negative start in a slice counts from the end: use max(0, ...).", "Divide by len(behind), not by window."),
        baseline, check_baseline,
        (
            *(Mistake(lambda counts, window, gap, how=how: baseline_variant(counts, window, gap, **how), message.split(":")[0].split(".")[0]) for message, how in BASELINE_SLIPS.items()),
            Mistake(lambda *a: [x or 0.0 for x in baseline(*a)], "None, not 0"),
        ),
    ),
    Exercise(
        "news.cusum",
        """
        Write `cusum(counts, usual, surge)`, three lists of one length: what came, what usually comes, what would come in a surge. Each step speaks for a surge by its log-likelihood
        ratio, count * log(surge / usual) - (surge - usual). Add these up; the sum never falls below 0. Return the sum after each step.
        """,
        8, 2,
        ("total = max(0.0, total + gain)", "math.log is the natural logarithm."),
        cusum, check_cusum,
        tuple(Mistake(lambda counts, usual, surge, how=how: cusum_variant(counts, usual, surge, **how), message.split(":")[0].split(",")[0].split(";")[0]) for message, how in CUSUM_SLIPS.items()),
    ),
    Exercise(
        "news.judge_alarms",
        """
        Write `judge_alarms(alarms, surges, within=24)` for one subject: alarms are hours, surges pairs (start, end). An alarm belongs to a surge if it comes between its start and 24
        hours after its end. Return a dict: `in_time`, the share of surges with an alarm of their own at most `within` hours after their start; `precision`, the share of alarms
        that belong to a surge (0 without alarms); `false`, the number of the others.
        """,
        12, 2,
        ("any(...) over alarms for each surge; any(...) over surges for each alarm.", "Recall counts surges, precision counts alarms."),
        judge_alarms, check_judge_alarms,
        (
            *(Mistake(lambda alarms, surges, within=24, how=how: judge_variant(alarms, surges, within, **how), message.split(":")[0].split(";")[0].split(",")[0]) for message, how in JUDGE_SLIPS.items()),
            Mistake(lambda alarms, surges, within=24: {"in_time": 1.0, "precision": 1.0}, "lacks false"),
        ),
    ),
    Exercise(
        "news.cheapest",
        """
        Write `cheapest(trials, missed, hour, false)`. Each trial is a dict: `threshold`, and what a quarter brought at it on average: `missed` surges, `hours` of delay, `false` alarms. The
        arguments are what one of each costs. Return the threshold that costs least.
        """,
        5, 1,
        ("min(trials, key=cost) with a function cost(trial).",),
        cheapest, check_cheapest,
        (
            *(Mistake(lambda trials, missed, hour, false, part=part: slipped(trials, {"missed": missed, "hours": hour, "false": false}, part), message.split(",")[0].rstrip(".")) for part, message in COST_SLIPS.items()),
            Mistake(lambda trials, missed, hour, false: min(missed * t["missed"] + hour * t["hours"] + false * t["false"] for t in trials), "That is the lowest cost"),
            Mistake(lambda trials, missed, hour, false: min(trials, key=lambda t: missed * t["missed"] + hour * t["hours"] + false * t["false"]), "not the whole trial"),
        ),
    ),
)  # fmt: skip

QUIZZES = (
    Quiz(
        "news.quiz_whom",
        "'Halvern drops Voltamere for cheaper cells from Korea.' Good or bad?",
        (
            Choice("Bad: the word 'drops' is negative.", False, "A lexicon says so. It does not know who drops whom, and what for."),
            Choice("Good for Halvern, bad for Voltamere.", True, "Sentiment needs an owner. The text is read twice, once from each side."),
            Choice("Neutral: the two cancel out.", False, "Nobody owns both in equal parts. An owner of Voltamere would like to know today."),
        ),
    ),
    Quiz(
        "news.quiz_story",
        "Why do items of one story have to lie in the same part (train, validation, test)?",
        (
            Choice("So that each part has equally many items.", False, "Stories differ in size, so this even makes it harder."),
            Choice("Ten papers tell the same event in other words; a model that has learned nine of them is not tested by the tenth.", True,
                   "No comparison of letters finds such repeats, so the group is kept with the data."),
            Choice("Because the items have dates.", False, "A split by time is another honest way; here the danger is the same event on both sides."),
        ),
    ),
    Quiz(
        "news.quiz_volume",
        "Two bidders fight for Zephrine: 40 items in a day, all good. What should a watch for bad news do?",
        (
            Choice("Nothing: much news is not bad news.", True, "A watch that counts all news cries wolf at every busy day. That is what the model is for."),
            Choice("Raise an alarm: 40 items are unusual.", False, "Unusual, yes. Whoever asked to be called on bad news will switch it off."),
            Choice("Raise the baseline to 40.", False, "Then the next surge of bad news would pass unnoticed. The baseline is one of negative items."),
        ),
    ),
    Quiz(
        "news.quiz_threshold",
        "An analyst's hour costs little, a surge that nobody noticed a lot. How does that change the threshold?",
        (
            Choice("It goes down: more false alarms, fewer surges missed.", True, "The cheapest threshold lies where one more false alarm costs as much as it saves."),
            Choice("It goes up: an important surge is a strong one.", False, "A higher threshold misses more and notices later. That is right where false alarms are dear."),
            Choice("It stays: a good detector has one right threshold.", False, "The evidence is the detector's, the price of errors is yours."),
        ),
    ),
)  # fmt: skip
