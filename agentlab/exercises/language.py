"""Exercises of lesson 04: decode token by token, keep the cache, force the form, teach with few weights, judge what is said."""

from __future__ import annotations

import copy
import math
import random
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from agentlab.exercises.derivation import as_array
from agentlab.exercises.engine import (
    Choice,
    Exercise,
    Guarded,
    Mistake,
    Quiz,
    Wrong,
    expect,
    kind_of,
    refuse_placeholder,
)
from agentlab.losses import IGNORE

ROUNDS = 4
CLOSE, LOOSE = 1e-4, 1e-3  # differences by the largest number: float32, summed in any order; logits near 1000
Slips = list[tuple[str, Any]]  # a message, and the answer that it is for


def ask(answer, **given):
    """Call the learner's function with these arguments, in order and by place; `Wrong` if it changes one of them."""
    copies = copy.deepcopy(given)
    with np.errstate(all="ignore"):
        value = answer(*copies.values())
    for name, before in given.items():
        expect(
            unchanged(before, copies[name]),
            f"Your function changed `{name}`, which belongs to the caller. Leave it as it was, and work on a copy.",
        )
    return value


def unchanged(before, after) -> bool:
    """Whether two things hold the same, tensors and lists of tensors too."""
    if isinstance(before, (torch.Tensor, np.ndarray)):
        return np.array_equal(as_array(before), as_array(after))
    if isinstance(before, (list, tuple)):
        return len(before) == len(after) and all(unchanged(a, b) for a, b in zip(before, after, strict=True))
    return before == after


def settle(theirs, truth, slips: Slips, otherwise: str = "", not_finite: str = "", close: float = CLOSE) -> None:
    """Raise `Wrong` unless the numbers are right; says which slip they look like."""
    yours, truth = as_array(theirs), as_array(truth)
    if alike(yours, truth, close):
        return
    pair = (yours, truth) if truth.ndim and yours.shape == truth.shape else None
    if not np.isfinite(yours).all():
        raise Wrong(not_finite or "Some of your numbers are nan or inf.", pair)
    for message, slip in slips:
        if alike(yours, as_array(slip), close):
            raise Wrong(message, pair)
    if yours.shape != truth.shape:
        wanted = f"the shape {truth.shape}" if truth.ndim else "one number"
        raise Wrong(f"The answer should be {wanted}; yours has the shape {yours.shape}. {otherwise}".strip())
    if truth.ndim > 1:
        raise Wrong(f"{otherwise} The largest difference is {np.abs(yours - truth).max():.3g}.".strip(), pair)
    raise Wrong(f"{otherwise} It should be {short(truth)}; yours is {short(yours)}.".strip(), pair)


def short(numbers: np.ndarray) -> str:
    """One number or a row of them, for a message."""
    return f"{float(numbers):.4g}" if numbers.ndim == 0 else f"[{', '.join(f'{x:.3g}' for x in numbers.tolist())}]"


def tell_apart(truth, slips: Slips) -> bool:
    """Whether an input shows which slip is which: those that give another answer differ if their messages do."""
    told = [(message, as_array(slip)) for message, slip in slips if not alike(as_array(slip), as_array(truth), LOOSE)]
    return all(not alike(a, b, LOOSE) for n, (one, a) in enumerate(told) for two, b in told[:n] if one != two)


def alike(a: np.ndarray, b: np.ndarray, close: float = CLOSE) -> bool:
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    return bool(np.abs(a - b).max(initial=0) <= close * (np.abs(b).max(initial=0) or 1))


def as_list(value, what: str = "The answer") -> list:
    """What an answer returned, as a list; `Wrong` for what has no order or cannot be gone through."""
    if isinstance(value, (set, frozenset)):
        raise Wrong(f"{what} is a set, and a set has no order. Return a list.")
    if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        raise Wrong(f"{what} should be a list; yours is {kind_of(value)}")
    return list(value)


def as_ids(value, what: str = "The answer") -> list[int]:
    """Token ids that may be ints, a tensor or an array, as a list of ints."""
    try:
        numbers = [x.item() if hasattr(x, "item") else x for x in as_list(value, what)]
    except (RuntimeError, ValueError):  # an item holds several numbers
        raise Wrong(f"{what} should be a flat list of token ids; yours is {kind_of(value)}") from None
    for n in numbers:
        expect(isinstance(n, int) and not isinstance(n, bool), f"{what} should hold token ids; {n!r} is none.")
    return numbers


def as_pair(value, names: str) -> tuple:
    """Two things that an answer returned, as a tuple."""
    if isinstance(value, (str, dict, set)) or not hasattr(value, "__len__") or len(value) != 2:
        raise Wrong(f"Return two things, {names}; yours is {kind_of(value)}")
    return tuple(value)


def float32(array) -> torch.Tensor:
    return torch.tensor(np.asarray(array), dtype=torch.float32)


# --- how surprised a model is --------------------------------------------------------------------------------


def perplexity(logits, ids):
    log_p = torch.log_softmax(logits, dim=-1)  # (T, V)
    nll = -log_p[torch.arange(len(ids) - 1), ids[1:]]  # row t speaks of the token after t
    return nll.mean().exp()


def perplexity_slips(logits, ids) -> tuple[float, Slips]:
    """The truth by cross_entropy, and what typical slips give."""
    t = len(ids)
    log_p = torch.log_softmax(logits.double(), 1).numpy()
    nll = F.cross_entropy(logits[:-1].double(), ids[1:]).item()
    steps, told = np.arange(t), ids.numpy()
    shift = "Not shifted: each token is scored by the row that has already read it. Row t speaks of token t + 1."
    return np.exp(nll), [
        (shift, np.exp(-log_p[steps, told].mean())),
        (shift, np.exp(-log_p[steps[1:], told[1:]].mean())),
        ("The shift goes the wrong way: row t speaks of token t + 1.", np.exp(-log_p[steps[1:], told[:-1]].mean())),
        ("This is the mean of the probabilities. Take the logarithms first: one token that was never foreseen must hurt.", 1 / np.exp(log_p[steps[:-1], told[1:]]).mean()),
        ("Base 2 and base e are mixed: with log2 belongs 2 to the power, with the natural logarithm belongs exp.", np.exp(nll / math.log(2))),
        ("Base 2 and base e are mixed: with log2 belongs 2 to the power, with the natural logarithm belongs exp.", 2**nll),
        ("The first token is counted too. Nothing predicts it: the mean runs over T - 1 tokens.", np.exp(nll * (t - 1) / t)),
        ("This is the mean negative log-likelihood; perplexity is its exp.", nll),
        ("The sum, not the mean: a long text would always be more perplexing than a short one.", np.exp(nll * (t - 1))),
        ("The sign: the logarithm of a probability is negative, and a perplexity is at least 1.", np.exp(-nll)),
    ]  # fmt: skip


def draw_logits(rng, number: int):
    """Logits (T, V) and ids (T,); once only two tokens; later rows near 1000 and -1000, and one that is sure and wrong."""
    for _ in range(300):
        t, v = (2 if number == 1 else int(rng.integers(6, 10))), int(rng.integers(5, 9))
        logits, ids = rng.normal(0, 2, (t, v)), rng.integers(0, v, t)
        if number >= 2:
            logits[0] += 1000
            logits[1] -= 1000
            logits[3, (ids[4] + 1) % v] += 40
        drawn = float32(logits), torch.tensor(ids)
        if number == 1 or tell_apart(*perplexity_slips(*drawn)):
            break
    return drawn


def check_perplexity(answer) -> None:
    rng = np.random.default_rng()
    for number in range(ROUNDS):
        logits, ids = draw_logits(rng, number)
        truth, slips = perplexity_slips(logits, ids)
        settle(
            ask(answer, logits=logits, ids=ids), truth, slips,
            f"Not the perplexity of this text of {len(ids)} tokens.",
            f"The logits go from {logits.min():.0f} to {logits.max():.0f} here, and your answer is not finite: exp overflows, or the "
            "logarithm meets a zero. Take each row's largest logit out first, or let log_softmax do it.", LOOSE,
        )  # fmt: skip


# --- the loop that writes ------------------------------------------------------------------------------------


def greedy(step, ids, end, max_tokens):
    new = []
    while len(new) < max_tokens:
        token = int(step(ids + new).argmax())
        if token == end:
            break
        new.append(token)
    return new


def make_step(prompt: list[int], script: list[int], end: int, rng, size: int):
    """A model that writes ``script`` after the prompt, whose largest logit is barely the largest."""
    ended, calls = False, 0

    def step(ids):
        nonlocal ended, calls
        calls += 1
        expect(calls <= 3 * len(script), f"Your loop has asked the model {calls} times for at most {len(script)} tokens and is not done. Is the new token added each time?")  # fmt: skip
        given = [int(x) for x in (ids.flatten() if hasattr(ids, "flatten") else as_list(ids, "What step gets"))]
        new = given[len(prompt) :]
        if given[: len(prompt)] != prompt:
            raise Wrong(
                f"`step` needs the whole text so far, the prompt and what you wrote: {len(prompt)} ids or more. "
                f"You gave it {given}, and a model knows nothing of what it is not given."
            )
        if new != script[: len(new)]:
            n = next(n for n, token in enumerate(new) if [token] != script[n : n + 1])
            raise Wrong(
                f"After {prompt + script[:n]} the largest logit is at {script[n : n + 1]}, and you went on with {new[n]}. "
                "Greedy always takes the largest: no sampling, no second best, and nothing after the end."
            )
        expect(not ended, "You ask the model again after its end token. Stop there: break leaves the loop, continue does not.")  # fmt: skip
        if len(new) == len(script):
            raise Wrong("Your loop goes on when it should have stopped: at `end`, or after max_tokens new tokens.")
        logits = rng.normal(-5, 0.1, size)
        logits[script[len(new)]] = logits.max() + 0.1
        ended = script[len(new)] == end
        return float32(logits)

    return step


def draw_script(rng, number: int):
    """A prompt that holds the end token too, and a script that ends early, just in time, just too late, or never."""
    size = 12
    end = int(rng.integers(0, size)) if number else 0
    others = [n for n in range(size) if n != end]
    prompt = [int(n) for n in rng.choice(others, 4)]
    prompt[1] = end  # in a chat, earlier turns have their end token
    most = int(rng.integers(5, 9))
    ends_after = [3, 99, most - 1, most, 0, 2, 99][number]
    if number == 6:
        most = 0
    script = [int(n) for n in rng.choice(others, most + 3)]
    script[1] = 0 if end else 7  # an id like any other
    if ends_after < len(script):
        script[ends_after] = end
    return prompt, script, end, most, size


def check_greedy(answer) -> None:
    rng = np.random.default_rng()
    for number in range(7):
        prompt, script, end, most, size = draw_script(rng, number)
        truth = script[: min(most, script.index(end))] if end in script else script[:most]
        step = make_step(prompt, script, end, rng, size)
        theirs = as_ids(ask(answer, step=step, ids=prompt, end=end, max_tokens=most))
        if theirs == truth:
            continue
        case = f"The model writes {script} and so on, end is {end}, max_tokens is {most}. "
        expect(theirs != [*truth, end] or truth == script[:most], case + "The end token is a sign to stop, no part of the text: leave it out.")  # fmt: skip
        expect(theirs[: len(prompt)] != prompt, case + "Only the new ids are asked for; yours begin with the prompt.")
        expect(end not in theirs, case + "You went on after the end token; stop there.")
        expect(theirs != script[: most + 1], case + f"That is one token too many: at most {most} are allowed.")
        if theirs == truth[: len(theirs)]:
            expect(len(theirs) != most - 1, case + f"That is one token short: {len(truth)} are wanted.")
            raise Wrong(
                f"{case}You stopped after {theirs}, where the largest logit is at {script[len(theirs)]}. Greedy always takes the largest, "
                "and stops only where that is the end; an end token inside the prompt ends nothing."
            )
        raise Wrong(f"{case}The new ids are {truth}; yours are {theirs}.")


def greedy_variant(step, ids, end, max_tokens, choose=torch.argmax, late=0, keep_end=False, last_only=False):
    """The loop with one thing done otherwise."""
    new: list[int] = []
    while len(new) < max_tokens + late:
        text = ids + new
        token = int(choose(step(text[-1:] if last_only else text)))
        if keep_end and token == end:
            return [*new, token]
        if token == end:
            break
        new.append(token)
    return new


def greedy_in_place(step, ids, end, max_tokens):
    """A wrong answer: the caller's own list grows."""
    start = len(ids)
    while len(ids) - start < max_tokens:
        token = int(step(ids).argmax())
        if token == end:
            break
        ids.append(token)
    return ids[start:]


# --- how bold ------------------------------------------------------------------------------------------------


def temperature(logits, temperature):
    if temperature == 0:
        probabilities = torch.zeros_like(logits)
        probabilities[logits.argmax()] = 1
        return probabilities
    return torch.softmax(logits / temperature, dim=-1)


def draw_heats(rng):
    """Logits (V,) and temperatures: cold, hot, one; far from zero, nearly equal, with masked tokens; and zero."""
    v = int(rng.integers(5, 9))

    def some(scale=2.0):
        return rng.normal(0, scale, v)

    masked = some()
    masked[rng.integers(0, v, 2)] = -np.inf
    ties = some()
    two = rng.choice(v, 2, replace=False)
    ties[two] = np.delete(ties, two).max() + 1  # the others keep some of the mass at temperature 1
    return [
        (float32(z), heat)
        for z, heat in [
            (some(), float(rng.uniform(0.3, 0.7))), (some(), float(rng.uniform(1.5, 3))), (some(), 1),
            (some() + 1000, 0.5), (some() - 1000, 0.5), (some(0.002), 0.001), (masked, 0.7),
            (some(), 0), (ties, 0), (some() - 1000, 0.0), (masked, 0),
        ]
    ]  # fmt: skip


def check_temperature(answer) -> None:
    for logits, heat in draw_heats(np.random.default_rng()):
        z = logits.double()
        case = f"Logits {short(as_array(logits))} at temperature {heat:.3g}: "
        if heat == 0:
            truth = np.eye(len(z))[int(np.argmax(z.numpy()))]
            best = (z == z.max()).numpy()
            last = np.eye(len(z))[np.flatnonzero(best)[-1]]
            slips: Slips = [
                ("Zero is the limit of small temperatures: all mass on the largest. You gave them as at temperature 1.", torch.softmax(z, 0)),
                (case + "Where two are the largest, the first gets all; you shared it out.", best / best.sum()),
                (case + "Where two are the largest, the first gets all; you took the last.", last),
                ("Probabilities (V,) are wanted, a 1 at the largest and 0 elsewhere; this is the largest one's id.", int(z.argmax())),
            ]  # fmt: skip
            not_finite = "At temperature 0 your probabilities are nan: a division by zero. Treat it apart: all mass on the largest."
        else:
            truth = torch.softmax(z / heat, 0)
            p = torch.softmax(z, 0)
            slips = [
                ("Multiplied by the temperature. Divide: a low temperature must make the largest stand out.", torch.softmax(z * heat, 0)),
                ("The temperature has no effect. Probabilities divided by it and normalised again are what they were: divide the logits.", p),
                ("These do not add up to 1: the temperature divides the logits, before the softmax.", p / heat),
                ("The softmax runs twice: the temperature divides the logits, not the probabilities.", torch.softmax(p / heat, 0)),
                ("These are the logits divided by the temperature; the softmax is missing.", z / heat),
            ]  # fmt: skip
            not_finite = case + "your probabilities are nan or inf: exp overflows, or zero is divided by zero. Take the largest logit out first, or use torch.softmax."  # fmt: skip
        settle(ask(answer, logits=logits, temperature=heat), truth, slips, case + "not the right probabilities.", not_finite, LOOSE)  # fmt: skip


# --- the tail cut off ----------------------------------------------------------------------------------------


def top_p(probabilities, p):
    values, order = torch.sort(probabilities, descending=True, stable=True)
    before = values.cumsum(0) - values  # (V,) what the more probable ones add up to
    keep = before < p
    keep[0] = True
    kept = torch.zeros_like(probabilities)
    kept[order[keep]] = values[keep]
    return kept / kept.sum()


def nucleus(probabilities, p, short=0, least=1, descending=True, later_first=False):
    """The oracle, and with an option set one slip: which ids are kept, by going through them one by one."""
    side = -1 if descending else 1
    order = sorted(range(len(probabilities)), key=lambda i: (side * probabilities[i], -i if later_first else i))
    kept, total = [], 0.0
    for i in order:
        if total >= p and len(kept) >= least:
            break
        kept.append(i)
        total += probabilities[i]
    return kept[: max(1, len(kept) - short)] if short >= 0 else order[: len(kept) - short]


def spread(probabilities, kept, renormalise=True):
    """The probabilities of the kept ids, all others 0."""
    out = np.zeros(len(probabilities))
    out[kept] = probabilities[kept]
    return out / out.sum() if renormalise else out


def nucleus_slips(probabilities, p, kept) -> Slips:
    """What typical slips give, by what they say."""
    order = np.argsort(-probabilities, kind="stable")
    ranked = np.zeros(len(probabilities))
    ranked[: len(kept)] = probabilities[kept]
    at_wrong_place = (np.arange(len(probabilities)) < len(kept)) * probabilities
    least_p, own_p = probabilities >= p * probabilities.max(), probabilities >= p
    back = "The sorted values were not put back to their tokens: order[n] says whose the n-th value is."
    return [
        ("The token with which the sum crosses p is left out. It belongs in: without it the sum does not reach p.", spread(probabilities, nucleus(probabilities, p, short=1))),
        ("One token too many: where the sum has reached p, stop.", spread(probabilities, nucleus(probabilities, p, short=-1))),
        ("The kept probabilities do not add up to 1: divide by their sum.", spread(probabilities, kept, renormalise=False)),
        ("You begin with the least probable. Sort descending.", spread(probabilities, nucleus(probabilities, p, descending=False))),
        ("Among equals the smaller id comes first. Sort stably: torch.sort(..., descending=True, stable=True).", spread(probabilities, nucleus(probabilities, p, later_first=True))),
        (back, ranked / ranked.sum()),
        (back, at_wrong_place / (at_wrong_place.sum() or 1)),
        (back, (ranked / ranked.sum())[order]),
        *(("Each probability is compared with p by itself; that is min-p. For top-p their running sum has to reach p.", spread(probabilities, np.flatnonzero(mask))) for mask in (least_p, own_p) if mask.any()),
    ]  # fmt: skip


def draw_nucleus(rng):
    """Probabilities (V,) and p: at random; sums that reach p exactly; ties; zeros; p of 0 and of 1."""
    cases: list = []
    for _ in range(1000):
        v = int(rng.integers(6, 10))
        probabilities = float32(rng.dirichlet(np.full(v, 0.9))).numpy().astype(float)
        p = float(rng.uniform(0.4, 0.95))
        sums, kept = np.cumsum(np.sort(probabilities)[::-1]), nucleus(probabilities, p)
        told = tell_apart(spread(probabilities, kept), nucleus_slips(probabilities, p, kept))
        own = np.flatnonzero(probabilities >= p * probabilities.max())
        if np.abs(sums - p).min() > 0.01 and 2 < len(kept) < v - 1 and told and sorted(kept) != list(own):
            cases.append((probabilities, p))
        if len(cases) == 3:
            break
    halves = np.array([0.5, 0.25, 0.125, 0.125])
    gaps = np.array([0.5, 0, 0.25, 0.25, 0])
    ties = np.array([0.5, 0.125, 0.125, 0.125, 0.125])
    return [
        *cases, (rng.permutation(halves), 0.75), (rng.permutation(halves), 0.7501), (rng.permutation(ties), 0.7), (np.full(32, 1 / 32), 0.5),
        (rng.permutation(gaps), 1.0), (rng.permutation(halves), 0.3), (rng.permutation(halves), 0.0),
    ]  # fmt: skip


def check_top_p(answer) -> None:
    for probabilities, p in draw_nucleus(np.random.default_rng()):
        kept = nucleus(probabilities, p)
        case = f"Probabilities {short(probabilities)}, p = {p:.4g}: "
        theirs = as_array(ask(answer, probabilities=float32(probabilities), p=p))
        settle(
            theirs, spread(probabilities, kept), nucleus_slips(probabilities, p, kept), f"{case}the ids {sorted(kept)} stay, and all others get 0.",
            f"{case}your answer is not finite: no token is left, and the sum is 0. At least one always stays.",
        )  # fmt: skip
        cut = np.delete(theirs, kept)
        expect(not cut.any(), "A token that is cut off needs exactly 0; yours leave it a little, and it can still be drawn.")  # fmt: skip


def top_p_variant(probabilities, p, kept=nucleus, renormalise=True, **how):
    return spread(probabilities.double().numpy(), kept(probabilities.double().numpy(), p, **how), renormalise)


# --- what has been read is kept ------------------------------------------------------------------------------


def cached_attention(q, k_new, v_new, cache):
    K, V = k_new[None], v_new[None]  # (1, d)
    if cache is not None:
        K, V = torch.cat([cache[0], K]), torch.cat([cache[1], V])  # (t + 1, d)
    weights = torch.softmax(K @ q / len(q) ** 0.5, dim=0)  # (t + 1,)
    return weights @ V, (K, V)


def attention_slips(q, k, v) -> Slips:
    """What typical slips give at one step, by what they say; the last rows of k and v are the new token's."""
    d, scores = len(q), k @ q
    slips: Slips = [
        ("The scores are not scaled: divide them by the root of d before the softmax.", torch.softmax(scores, 0) @ v),
        ("The scores are divided by d; it is the root of d.", torch.softmax(scores / d, 0) @ v),
        ("The weights are all 1: the softmax runs over the wrong axis. It runs over the t + 1 tokens.", v.sum(0)),
        ("All tokens weigh the same: the scores have no effect. Is the softmax over the wrong axis?", v.mean(0)),
        ("The keys are averaged; keys say where to look, values say what is there.", torch.softmax(scores / d**0.5, 0) @ k),
        ("Only the new token is seen: the cache was not used.", v[-1]),
        ("The weights are not normalised: a softmax over the tokens is missing.", scores / d**0.5 @ v),
    ]  # fmt: skip
    if len(k) > 1:
        old = "The new token does not see itself: append its key and value first, then attend."
        slips.append((old, torch.softmax(scores[:-1] / d**0.5, 0) @ v[:-1]))
    return slips


def draw_heads():
    """Queries, keys and values (t + 1, d); the last row is for another way to go on after two tokens."""
    for _ in range(300):
        t, d = random.randint(4, 6), random.choice([3, 5, 8])
        Q, K, V = (torch.randn(t + 1, d) for _ in range(3))
        truth = F.scaled_dot_product_attention(Q[None, :t], K[None, :t], V[None, :t], is_causal=True)[0]
        if all(tell_apart(truth[n], attention_slips(Q[n], K[: n + 1], V[: n + 1])) for n in range(1, t)):
            break
    return Q, K, V, truth


def check_cached_attention(answer) -> str:
    for _ in range(ROUNDS):
        Q, K, V, truth = draw_heads()
        t, cache, past = len(truth), None, []
        for n in range(t):
            cache = one_step(answer, Q, K, V, n, n, cache, truth[n])
            past.append(cache)
        fork = F.scaled_dot_product_attention(Q[None, t:], K[None, [0, 1, t]], V[None, [0, 1, t]])[0, 0]
        here = one_step(answer, Q, K, V, 2, 2, past[1], truth[2])  # two ways to go on from one past
        one_step(answer, Q, K, V, 2, t, past[1], fork)
        expect(
            alike(as_array(here[0]), as_array(K[:3])),
            "Two texts went on from one cache, and the second wrote into the first one's. Make a new cache at each step.",
        )
    return f"{t} steps with a cache gave what full causal attention gives."


def one_step(answer, Q, K, V, n, new, cache, truth):
    """Step ``n`` with row ``new`` as the new token; returns the new cache."""
    rows = [*range(n), new]
    k, v, q = K[rows], V[rows], Q[new]
    value = ask(answer, q=q, k_new=k[-1], v_new=v[-1], cache=cache)
    out, new_cache = as_pair(value, "the output (d,) and the new cache")
    said = f"At step {n} the output is not what full causal attention gives in row {n}."
    settle(out, truth, attention_slips(q, k, v), said)
    made = as_pair(new_cache, "K and V, as the new cache")
    for mine, true, other, name in ((made[0], k, v, "K"), (made[1], v, k, "V")):
        mine = as_array(mine)
        if alike(mine, as_array(true)):
            continue
        expect(not alike(mine, as_array(other)), "Keys and values are swapped in the new cache: it is the pair (K, V).")
        expect(not alike(mine, as_array(true.flip(0))), f"The new cache has the right rows in reverse order: append to the end of {name}.")  # fmt: skip
        expect(mine.shape != (n, k.shape[1]), f"After step {n} the new cache's {name} has no row more than before: the new one was not appended.")  # fmt: skip
        expect(mine.shape == true.shape, f"After step {n} {name} of the new cache should have the shape {tuple(true.shape)}; yours has {mine.shape}.")  # fmt: skip
        raise Wrong(f"After step {n} {name} of the new cache does not hold what came in, in its order.")
    return new_cache


def cached_variant(q, k_new, v_new, cache, scale=None, append=True, front=False, ones=False, itself=True):
    """One step with one thing done otherwise."""
    old_K, old_V = cache if cache is not None else (k_new[:0].reshape(0, len(q)), v_new[:0].reshape(0, len(q)))
    parts_K, parts_V = [old_K, k_new[None]], [old_V, v_new[None]]
    K, V = (torch.cat(parts[::-1] if front else parts) for parts in (parts_K, parts_V))
    seen_K, seen_V = (K, V) if itself or cache is None else (old_K, old_V)
    scores = seen_K @ q / (len(q) ** 0.5 if scale is None else scale)
    weights = torch.softmax(scores[:, None], dim=1)[:, 0] if ones else torch.softmax(scores, dim=0)
    return weights @ seen_V, (K, V) if append else (old_K, old_V)


def cached_in_place(q, k_new, v_new, cache):
    """A wrong answer: the caller's pair is a list that gets other contents."""
    if cache is None:
        cache = [k_new[:0].reshape(0, len(q)), v_new[:0].reshape(0, len(q))]
    cache[0], cache[1] = torch.cat([cache[0], k_new[None]]), torch.cat([cache[1], v_new[None]])
    return torch.softmax(cache[0] @ q / len(q) ** 0.5, dim=0) @ cache[1], cache


# --- the form is forced --------------------------------------------------------------------------------------


def allowed_tokens(vocabulary, written, choices):
    return [
        written in choices if token == "" else any(choice.startswith(written + token) for choice in choices)
        for token in vocabulary
    ]


NAMES = "find_order find_customer find_article refund_order return_label cancel_order".split()
PAIRS = [("refund", "refund_order"), ("return", "return_label"), ("track", "track_parcel")]  # one begins the other


def draw_grammar(rng):
    """Choices, some inside JSON, a vocabulary with "" somewhere in it, and what was written: at the start, half way, at
    a whole choice, where one choice begins another, and where no choice goes."""
    names = rng.sample(NAMES, 4)
    names += [name for name in ("find_order", "find_customer") if name not in names]
    short, long = rng.choice(PAIRS)
    plain = [*dict.fromkeys([*(n for n in names if not n.startswith(short)), short, long])]
    rng.shuffle(plain)
    inside = [f'{{"name": "{name}"}}' for name in plain]
    text = rng.choice(["find_", "fin", "f"])
    made = [
        ([long], long[:3]), (inside, ""), (inside, '{"name": "find_c'), (plain, ""), (plain, short),
        (plain, short[: rng.randint(1, 2)]), (plain, long), (plain, "find_"), (plain, "find_or"), (["cancel_order"], "c"),
        (plain, text), (plain, "lost"), (plain, long + "s"), (plain, "ind_order"), (inside, '{"name": "f'),
        (inside, rng.choice(inside)), ([long], ""), ([short, long], ""), ([long, short], short[:-1]),
        (plain, long[: len(short) + 1]),
    ]  # fmt: skip
    return [(draw_vocabulary(rng, choices, written), written, choices) for choices, written in made]


def draw_vocabulary(rng, choices, written):
    """Letters, pieces and whole choices, what is too long, what fits without what was written, and the end token."""
    pieces = {letter for choice in choices for letter in choice}
    for choice in choices:
        pieces |= {choice, choice[:4], choice + "s", choice + " now"}
        at = rng.randint(0, len(choice) - 2)
        pieces.add(choice[at : at + 3])
        if choice.startswith(written):
            rest = choice[len(written) :]
            pieces |= {rest, rest[:2], rest[:3], rest[:5], rest + "s", rest + "_x"}
    vocabulary = sorted(pieces - {""})
    rng.shuffle(vocabulary)
    vocabulary.insert(rng.randint(0, len(vocabulary)), "")
    return vocabulary


def check_allowed_tokens(answer) -> None:
    rng = random.Random()
    for vocabulary, written, choices in draw_grammar(rng):
        prefixes = {choice[:n] for choice in choices for n in range(len(choice) + 1)}
        truth = [written in choices if token == "" else written + token in prefixes for token in vocabulary]
        theirs = as_list(ask(answer, vocabulary=vocabulary, written=written, choices=choices))
        theirs = [x.item() if hasattr(x, "item") and getattr(x, "ndim", 0) == 0 else x for x in theirs]
        expect(
            len(theirs) == len(vocabulary) and all(isinstance(x, bool) for x in theirs),
            "A mask is wanted: True or False for each of the "
            f"{len(vocabulary)} tokens of the vocabulary. Yours is {kind_of(theirs)}, and begins with {theirs[:3]}.",
        )
        if theirs == truth:
            continue
        case = f"Written is {written!r}, the choices are {choices}. "
        for message, slip in allowed_slips(vocabulary, written, choices):
            expect(theirs != slip, case + message)
        n = next(n for n, (a, b) in enumerate(zip(theirs, truth, strict=True)) if a != b)
        token, whole = vocabulary[n], written + vocabulary[n]
        if token == "":
            raise Wrong(case + ("It is a whole choice, so the end must be allowed." if truth[n] else END_SLIP))
        expect(not truth[n], f"{case}{token!r} leads to {whole!r}, which begins a choice, and you refuse it.")
        raise Wrong(f"{case}{token!r} leads to {whole!r}, with which no choice begins, and you allow it.")


END_SLIP = (
    'It is no whole choice, and you allow the end: "" after anything leaves a prefix a prefix. Ask for the end apart.'
)
WAY_ROUND = "startswith is the wrong way round: the choice has to begin with what is written, not the other way."


def allowed_slips(vocabulary, written, choices) -> Slips:
    def mask(fits, end=written in choices):
        return [end if token == "" else fits(token) for token in vocabulary]

    def right(token):
        return any(c.startswith(written + token) for c in choices)

    return [
        (WAY_ROUND, mask(lambda t: any((written + t).startswith(c) for c in choices))),
        (WAY_ROUND, mask(lambda t: any((written + t).startswith(c) for c in choices), any(written.startswith(c) for c in choices))),
        (END_SLIP, mask(right, True)),
        (END_SLIP, mask(right, any(c.startswith(written) for c in choices))),
        ("It is a whole choice, and the end is never allowed: the model could not stop.", mask(right, False)),
        ("Only tokens that finish a choice are allowed. One that leaves it half written is as good.", mask(lambda t: written + t in choices)),
        ("What is written already has been forgotten: written + token has to begin a choice.", mask(lambda t: any(c.startswith(t) for c in choices))),
        ("A token that stands somewhere in a choice is no good: it has to come next.", mask(lambda t: any(t in c for c in choices))),
        ("It must stand at the beginning of a choice, not somewhere inside.", mask(lambda t: any(written + t in c for c in choices))),
        ("Only the first choice is looked at; one of them is enough, whichever.", mask(lambda t: choices[0].startswith(written + t))),
        ("One choice is enough; you ask for all of them.", mask(lambda t: all(c.startswith(written + t) for c in choices))),
    ]  # fmt: skip


def fast_forward(vocabulary, written, choices):
    rests = [choice[len(written) :] for choice in choices if choice.startswith(written)]
    common = min(rests, key=len, default="")
    while not all(rest.startswith(common) for rest in rests):
        common = common[:-1]
    return common


def forced(written, choices) -> str:
    """The oracle: one letter after the other, as long as there is only one way to go on, the end being one as well."""
    text = written
    while True:
        ways = {choice[len(text) : len(text) + 1] for choice in choices if choice.startswith(text)}
        if len(ways) != 1 or ways == {""}:
            return text[len(written) :]
        text += ways.pop()


def forced_slips(vocabulary, written, choices) -> Slips:
    """What typical slips give, by what they say."""
    still = [c for c in choices if c.startswith(written)]
    unfinished = [c for c in still if c != written]
    one_token = [t for t, yes in zip(vocabulary, allowed_tokens(vocabulary, written, choices), strict=True) if yes]
    ending = "At a whole choice the text may end, so nothing after it is forced: a choice that begins another one still counts."
    return [
        ("What was written already is in it again. Only what must come next is asked for.", written + forced(written, choices)),
        ("Only one letter of it. Go on for as long as all remaining choices agree.", forced(written, choices)[:1]),
        (ending, forced(written, unfinished)),
        (ending, longest_agreement(written, still)),
        ("Text is forced not only where one choice is left: several may go on alike for a while.", still[0][len(written) :] if len(still) == 1 else ""),
        ("All choices are compared, also those that no longer fit what is written.", forced("", choices)[len(written) :]),
        ("Several tokens may be allowed and the text be forced all the same: 'r' and 're' begin one text. Compare the choices, not the tokens.", one_token[0] if len(one_token) == 1 else ""),
        ("Here the model has a choice, and you took one for it.", still[0][len(written) :] if still else ""),
    ]  # fmt: skip


def longest_agreement(written, still) -> str:
    """A wrong answer: go on while the next letters agree, and forget that a choice may end."""
    text = written
    while True:
        ways = {c[len(text)] for c in still if c.startswith(text) and len(c) > len(text)}
        if len(ways) != 1:
            return text[len(written) :]
        text += ways.pop()


def check_fast_forward(answer) -> None:
    rng = random.Random()
    for vocabulary, written, choices in draw_grammar(rng):
        truth = forced(written, choices)
        theirs = ask(answer, vocabulary=vocabulary, written=written, choices=choices)
        expect(isinstance(theirs, str), f'Return text, "" where nothing is forced; yours is {kind_of(theirs)}')
        if theirs == truth:
            continue
        case = f"Written is {written!r}, the choices are {choices}. "
        for message, slip in forced_slips(vocabulary, written, choices):
            expect(theirs != slip, case + message)
        raise Wrong(f"{case}What must come next is {truth!r}; yours is {theirs!r}.")


# --- few weights that learn ----------------------------------------------------------------------------------


class LoraLinear(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear.requires_grad_(False)  # frozen
        self.A = nn.Parameter(torch.randn(rank, linear.in_features) / rank)
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank))
        self.scale = alpha / rank

    def forward(self, x):
        return self.linear(x) + self.scale * (x @ self.A.T) @ self.B.T

    def merged(self):
        plain = copy.deepcopy(self.linear)
        with torch.no_grad():
            plain.weight += self.scale * self.B @ self.A  # (out, rank) @ (rank, in)
        return plain


def check_lora_linear(answer) -> None:
    rng = random.Random()
    expect(not isinstance(answer.function, nn.Module), "Give the class itself, without calling it.")
    for number in range(ROUNDS):
        inside, outside, rank = rng.choice([(5, 7, 2), (8, 4, 3), (6, 9, 3)])
        alpha = rng.choice([8, 16, 20])
        linear = nn.Linear(inside, outside, bias=number % 2 == 0)
        start = copy.deepcopy(linear)
        layer = answer(linear, rank, alpha)
        expect(isinstance(layer, nn.Module), f"LoraLinear(...) should give an nn.Module; yours is {kind_of(layer)}")
        refuse_placeholder(vars(layer))
        x = [torch.randn(inside), torch.randn(4, inside), torch.randn(2, 3, inside)][number % 3]
        A, B = judge_start(layer, Guarded(layer), start, x, rank)
        with torch.no_grad():
            A.copy_(torch.randn(A.shape))
            B.copy_(torch.randn(B.shape))
        judge_forward(Guarded(layer), start, x, A, B, alpha, rank)
        judge_learning(layer, linear, start, x, (A, B), alpha / rank)
        judge_merged(layer, start, x, alpha / rank * (B @ A).detach())
        expect(
            torch.equal(linear.weight, start.weight),
            "The weights of `linear` were changed in place. They stay; A and B hold the change.",
        )
        other = matrix_of(answer(copy.deepcopy(start), rank, alpha), "A")
        expect(
            not torch.equal(matrix_of(answer(copy.deepcopy(start), rank, alpha), "A"), other),
            "A is the same in each layer. Draw it at random, so that layers begin in different directions.",
        )


def matrix_of(layer, name: str) -> torch.Tensor:
    """A or B of a layer, also where it is held by an nn.Linear without bias."""
    held = getattr(layer, name, None)
    held = held.weight if isinstance(held, nn.Linear) else held
    if not isinstance(held, nn.Parameter):
        raise Wrong(f"The layer needs an nn.Parameter self.{name}, so that an optimizer finds it; yours is {kind_of(held)}")  # fmt: skip
    return held


def judge_start(layer, forward, start, x, rank) -> tuple[torch.Tensor, torch.Tensor]:
    """Before any training the layer says what the linear layer says."""
    theirs = forward(x.clone())
    A, B = matrix_of(layer, "A"), matrix_of(layer, "B")
    for name, matrix, shape in (("A", A, (rank, start.in_features)), ("B", B, (start.out_features, rank))):
        expect(tuple(matrix.shape) == shape, f"{name} should have the shape {shape}; yours has {tuple(matrix.shape)}.")
    expect(
        bool(A.any()) or bool(B.any()),
        "A and B are both zero. Then the gradient of each is zero too, and the layer never learns: A begins at random.",
    )
    expect(not B.any(), "B is not zero at the start, so the layer begins by saying something else than `linear`. Begin with zeros in B.")  # fmt: skip
    expect(
        int(torch.linalg.matrix_rank(A.detach())) == rank,
        "The rows of A depend on each other, and so the rank is less than asked for. Draw A at random.",
    )
    settle(
        theirs, start(x).detach(),
        [("What `linear` says is missing: y = linear(x) + alpha / rank · x Aᵀ Bᵀ.", torch.zeros(start(x).shape))],
        "With B zero the layer should say exactly what `linear` says.",
    )  # fmt: skip
    return A, B


def judge_learning(layer, linear, start, x, matrices, scale) -> None:
    """A and B learn, the rest does not, and the gradient goes on to what comes before."""
    entry = x.clone().requires_grad_()
    out = Guarded(layer)(entry)
    expect(out.requires_grad, "Nothing learns: the output has no gradient. Leave no_grad and detach out of forward.")
    weights = torch.randn(out.shape)
    (out * weights).sum().backward()
    lost = [n for n, m in zip("AB", matrices, strict=True) if m.grad is None or not m.grad.any()]
    expect(not lost, f"{' and '.join(lost)} got no gradient: A and B have to learn, so leave detach and no_grad out of forward.")  # fmt: skip
    own = {*layer.parameters()}
    for parameter in (own | {*linear.parameters()}) - {*matrices}:
        expect(
            parameter.grad is None and not (parameter.requires_grad and parameter in own),
            f"A parameter of shape {tuple(parameter.shape)} learns as well. The base weights are frozen: linear.requires_grad_(False).",
        )  # fmt: skip
    A, B = (m.detach() for m in matrices)
    base, change = weights @ start.weight.detach(), scale * weights @ (B @ A)
    parts = "The gradient that goes on to x lacks the part through "
    settle(
        torch.zeros(x.shape) if entry.grad is None else entry.grad, base + change,
        [
            ("No gradient goes on to x, so nothing before this layer could learn: leave detach out of forward.", torch.zeros(x.shape)),
            (f"{parts}`linear`. Its weights are frozen, not its input: no no_grad around it.", change),
            (f"{parts}A and B: leave detach out of forward.", base),
        ],
        "The gradient that goes on to x is not the right one.",
    )  # fmt: skip


def judge_forward(forward, start, x, A, B, alpha, rank) -> None:
    base, change = start(x).detach(), (x @ A.T @ B.T).detach()
    slips: Slips = [
        ("alpha is not divided by rank: with another rank the change would have another size.", base + alpha * change),
        ("The change is not scaled: alpha / rank is missing.", base + change),
        ("The scale is upside down: it is alpha / rank.", base + rank / alpha * change),
        ("alpha is missing: the scale is alpha / rank, not 1 / rank.", base + change / rank),
        ("The scale is alpha / rank here, without a root.", base + alpha / rank**0.5 * change),
        ("Once B is no longer zero, the layer still says what `linear` says: the change is missing.", base),
        ("What `linear` says is missing: y = linear(x) + alpha / rank · x Aᵀ Bᵀ.", alpha / rank * change),
    ]
    if start.bias is not None:
        slips.append(("The bias is missing.", base - start.bias.detach() + alpha / rank * change))
        slips.append(("The bias is added twice.", base + start.bias.detach() + alpha / rank * change))
    settle(
        forward(x.clone()), base + alpha / rank * change, slips,
        f"With x of shape {tuple(x.shape)}, alpha {alpha} and rank {rank}, y is not linear(x) + alpha / rank · x Aᵀ Bᵀ.",
    )  # fmt: skip


def judge_merged(layer, start, x, change) -> None:
    """A plain layer with the same outputs, made without touching this one."""
    before = Guarded(layer)(x.clone()).detach()
    expect(callable(getattr(layer, "merged", None)), "The layer needs a method merged().")
    plain = Guarded(layer.merged)()
    expect(
        type(plain) is nn.Linear,
        f"merged() should give a plain nn.Linear; yours is {kind_of(plain) if plain is None else type(plain).__name__}",
    )
    expect(
        (plain.in_features, plain.out_features) == (start.in_features, start.out_features)
        and plain.weight.shape == start.weight.shape,
        f"merged() should give an nn.Linear({start.in_features}, {start.out_features}); yours has a weight of shape {tuple(plain.weight.shape)}.",
    )
    expect(
        alike(as_array(Guarded(layer)(x)), as_array(before)),
        "After merged() the layer itself says something else: the change is in it twice. Leave its weights alone, copy them.",
    )
    bias = torch.zeros(start.out_features) if start.bias is None else start.bias.detach()
    theirs = torch.zeros(start.out_features) if plain.bias is None else plain.bias.detach()
    expect(torch.allclose(bias, theirs, atol=1e-6), "merged() has another bias than `linear`: copy it, and have none where `linear` has none.")  # fmt: skip
    settle(
        plain(x).detach(), before,
        [
            ("merged() lacks the change: its weight is W + alpha / rank · B A.", F.linear(x, start.weight, start.bias).detach()),
            ("merged() has only the change: its weight is W + alpha / rank · B A.", F.linear(x, change, start.bias).detach()),
        ],
        "merged() gives other outputs than the layer: its weight is W + alpha / rank · B A.",
    )  # fmt: skip
    expect(plain is not getattr(layer, "linear", None), "merged() gave the layer's own `linear`; make a new one.")


class LoraWithB(LoraLinear):
    def __init__(self, linear, rank, alpha):
        super().__init__(linear, rank, alpha)
        nn.init.normal_(self.B)


class LoraWithoutA(LoraLinear):
    def __init__(self, linear, rank, alpha):
        super().__init__(linear, rank, alpha)
        nn.init.zeros_(self.A)


class LoraOnes(LoraLinear):
    def __init__(self, linear, rank, alpha):
        super().__init__(linear, rank, alpha)
        nn.init.ones_(self.A)


class LoraThawed(LoraLinear):
    def __init__(self, linear, rank, alpha):
        super().__init__(linear, rank, alpha)
        self.linear.requires_grad_(True)


class LoraUnscaled(LoraLinear):
    def __init__(self, linear, rank, alpha):
        super().__init__(linear, rank, alpha)
        self.scale = alpha


class LoraCutOff(LoraLinear):
    def forward(self, x):
        with torch.no_grad():
            base = self.linear(x)
        return base + self.scale * x @ self.A.T @ self.B.T


class LoraNoBias(LoraLinear):
    def merged(self):
        plain = nn.Linear(self.linear.in_features, self.linear.out_features, bias=False)
        plain.weight = nn.Parameter(self.linear.weight + self.scale * self.B @ self.A)
        return plain


class LoraMergedTwice(LoraLinear):
    def merged(self):
        with torch.no_grad():
            self.linear.weight += self.scale * self.B @ self.A
        return self.linear


class LoraTensors(LoraLinear):
    def __init__(self, linear, rank, alpha):
        super().__init__(linear, rank, alpha)
        del self.A
        self.A = torch.randn(rank, linear.in_features, requires_grad=True)


# --- what the reply may say ----------------------------------------------------------------------------------


def unsupported(reply, facts, find):
    def texts(part):
        if isinstance(part, dict):
            part = list(part.values())  # keys are names of facts, not facts
        if isinstance(part, list):
            return [text for inner in part for text in texts(inner)]
        return [str(part)]

    known = {found for text in texts(facts) for found in find(text)}
    return [found for found in dict.fromkeys(find(reply)) if found not in known]


NUMBERS = re.compile(r"[A-Z]*\d+(?:[.:-]\d+)*")  # W20417, 49.90, 2026-03-14, 3
WITH_CURRENCY = re.compile(r"[A-Z]*\d+(?:[.:-]\d+)*|\b[A-Z]{3}\b")


def draw_facts(rng, number: int):
    """Facts that lie in dicts and lists, and a reply with some of them, some near misses, and repeats."""
    order = rng.randint(30000, 99999)
    day, pieces, price = rng.randint(10, 28), rng.randint(2, 9), f"{rng.randint(31, 99)}.{rng.randint(10, 99)}"
    days = next(n for n in (5, 6, 7, 8) if n != pieces)
    facts = {
        "customer": "Anna",
        "order": {
            "number": f"W{order}",
            "placed": f"2026-03-{day}",
            "lines": [{"name": "kettle", "pieces": pieces, "row_12": {"price": price, "gift": True}}, "USB 3.2", None],
        },
        "step_44": [["EUR", f"{days} days"], 1234],
        "note 77": {"visits": [rng.randint(300, 400), [rng.randint(500, 600)]]},
    }
    right = [f"W{order}", f"2026-03-{day}", str(pieces), price, "3.2", str(days), "1234", str(facts["note 77"]["visits"][1][0])]  # fmt: skip
    # Pieces of what is there; names of facts; what is made up. All begin otherwise than what is there.
    wrong = [str(order)[:2], "2026", price.split(".")[0], "12", "44", "77", "W10001", "99.99", str(order), "2026-04-01"]
    right, wrong = rng.sample(right, 5), ["12", "44", *rng.sample([w for w in wrong if w not in ("12", "44")], 5)]
    known = {found for text in leaves(facts) for found in NUMBERS.findall(text)}
    wrong = [w for w in wrong if w not in known]
    if number == 1:
        wrong = []
    said = rng.sample(right + wrong, len(right) + len(wrong))
    if said:
        said += rng.sample(said, 3)
    money = ["EUR", "USD"] if number % 2 else []
    reply = "Dear Anna, " + ", then ".join([*said, *money]) + "."
    if number == 2:
        facts = {}
    if number == 3:
        reply = "Thank you, all is well."
    return reply, facts, WITH_CURRENCY if number % 2 else NUMBERS


def draw_telling(rng, number: int):
    """Facts and a reply that show which slip is which; not for the rounds at the edges, where some agree."""
    for _ in range(300):
        case = draw_facts(rng, number)
        given = [unsupported_variant(*case[:2], case[2].findall, **how) for how in ({}, *UNSUPPORTED_SLIPS.values())]
        if number in (1, 2, 3) or all(given[n] not in given[:n] for n in range(len(given))):
            break
    return case


def leaves(part) -> Iterable[str]:
    """The oracle's way through the facts: a stack."""
    stack = [part]
    while stack:
        part = stack.pop()
        if isinstance(part, (dict, list)):
            stack += part.values() if isinstance(part, dict) else part
        else:
            yield str(part)


def unsupported_variant(reply, facts, find, how="", once=True, tidy=lambda found: found):
    """The search with one thing done otherwise."""
    everything = str(facts)
    top = [str(v) for v in facts.values() if not isinstance(v, (dict, list))]
    known = {found for text in leaves(facts) for found in find(text)}
    known = {"keys": set(find(everything)), "top": {x for t in top for x in find(t)}}.get(how, known)
    found = tidy(find(reply))
    found = list(dict.fromkeys(found)) if once else found
    if how == "substring":
        return [f for f in found if not any(f in text for text in leaves(facts))]
    if how == "text":
        return [f for f in found if f not in everything]
    return [f for f in found if (f in known) == (how == "turned")]


UNSUPPORTED_SLIPS: dict[str, dict[str, Any]] = {
    "A piece of a fact is no fact: 20 stands inside W20417, and no one said 20. Compare what find gives, whole, with what it gives for the facts.": {"how": "substring"},
    "Searching in the text of all facts finds pieces of them, and keys. Compare what find gives with what it gives for each value.": {"how": "text"},
    "A key counts as a fact with you; keys only name facts. Go through the values.": {"how": "keys"},
    "Facts that lie deeper, in a dict or a list inside, are not seen. Go down into each.": {"how": "top"},
    "These are those that do stand in the facts; the others are asked for.": {"how": "turned"},
    "What is said twice is listed twice. Each once, where it comes first.": {"once": False},
}  # fmt: skip


def check_unsupported(answer) -> None:
    rng = random.Random()
    for number in (0, 4, 6, 1, 2, 3, 5):
        reply, facts, pattern = draw_telling(rng, number)
        find = pattern.findall
        theirs = as_list(ask(answer, reply=reply, facts=facts, find=find))
        truth = unsupported_variant(reply, facts, find)
        if theirs == truth:
            continue
        for message, how in UNSUPPORTED_SLIPS.items():
            slip = unsupported_variant(reply, facts, find, **how)
            expect(theirs != slip, message)
        expect(Counter(map(str, theirs)) != Counter(truth), f"The right ones, in another order than the reply says them: {truth}; yours are {theirs}.")  # fmt: skip
        case = f"The reply is {reply!r}, the facts are {facts}. "
        extra = [x for x in theirs if x not in truth]
        if extra and extra[0] not in find(reply):
            raise Wrong(f"{case}{extra[0]!r} is none of what find(reply) gives: {find(reply)}.")
        expect(not extra, f"{case}{extra[0] if extra else ''!r} stands in the facts, and you list it.")
        lost = [x for x in truth if x not in theirs]
        raise Wrong(f"{case}{lost[0] if lost else truth!r} does not stand in the facts, and you let it pass.")


# --- words in common -----------------------------------------------------------------------------------------


def rouge_1(summary, reference, words):
    said, wanted = Counter(words(summary.lower())), Counter(words(reference.lower()))
    common = (said & wanted).total()  # each word as often as both have it
    if common == 0:
        return 0.0
    return 2 * common / (said.total() + wanted.total())


def paired(said, wanted) -> int:
    """The oracle: take each word of one out of the other, as long as there is one."""
    left, common = list(wanted), 0
    for word in said:
        if word in left:
            left.remove(word)
            common += 1
    return common


SPEECH = (
    "the the the customer asks for a refund of the lamp and wants it soon don't late parcel order not 2 two".split()
)


def draw_summary(rng):
    """A summary and a reference with words that come several times, capitals and marks."""
    said, wanted = (rng.choices(SPEECH, k=rng.randint(n, n + 4)) for n in (6, 11))
    said += ["the", "the", "the", "the", "refund", "order"]
    wanted += ["the", "refund", "refund", "not", "order", "order"]
    rng.shuffle(said)
    rng.shuffle(wanted)
    said, wanted = ["kettle", *said], [*wanted, "kettle"]
    return tuple(
        "".join(w.capitalize() + ", " if n % 3 == 0 else w + " " for n, w in enumerate(text)).strip(" ,") + "."
        for text in (said, wanted)
    )


def rouge_slips(summary, reference, words) -> Slips:
    """What typical slips give, by what they say."""
    said, wanted = words(summary.lower()), words(reference.lower())
    rough_said, rough_wanted = summary.lower().split(), reference.lower().split()

    def f1(common, a, b):
        return 2 * common / (a + b) if a + b else 0.0

    common, n, m = paired(said, wanted), len(said), len(wanted)
    a, b = set(said), set(wanted)
    sums = (sum(w in b for w in said), sum(w in a for w in wanted))
    clip = "Not clipped: a word that one text has four times and the other once is in common once."
    case = "Capitals count as other letters with you: lower both texts first."
    own = "The texts were not cut by `words`: split() leaves commas and full stops on the words."
    return [
        ("Sets lose how often a word comes. Count: Counter(...) & Counter(...) keeps the smaller count of each.", f1(len(a & b), len(a), len(b))),
        ("Sets lose how often a word comes. Count: Counter(...) & Counter(...) keeps the smaller count of each.", f1(len(a & b), n, m)),
        ("This is recall alone: a summary that says everything would be perfect. F1 asks for precision as well.", common / m if m else 0.0),
        ("This is precision alone: a summary of one word would be perfect. F1 asks for recall as well.", common / n if n else 0.0),
        (clip, f1(sums[0], n, m)),
        (clip, f1(sums[1], n, m)),
        (clip, f1(sum(sums) / 2, n, m)),
        (case, f1(paired(words(summary), words(reference)), n, m)),
        (own, f1(paired(rough_said, rough_wanted), len(rough_said), len(rough_wanted))),
        ("This is the mean of precision and recall; F1 is their harmonic mean.", (common / n + common / m) / 2 if n and m else 0.0),
        ("The factor 2 is missing: F1 = 2 · common / (words of one + words of the other).", f1(common, n, m) / 2),
        ("A number from 0 to 1 is asked for, not a percentage.", 100 * f1(common, n, m)),
        ("These are the words in common divided by all different ones (Jaccard); F1 is 2 · common / (n + m).", common / (n + m - common) if n + m else 0.0),
    ]  # fmt: skip


def rouge_cases(rng):
    """Texts with their `words`; then pairs where a text, or what they have in common, is empty."""
    cases: list = []
    for _ in range(300):
        (summary, reference), words = draw_summary(rng), re.compile(("[\\w']+", r"\w+")[len(cases) % 2]).findall
        truth = 2 * paired(words(summary.lower()), words(reference.lower())) / len(words(summary + reference))
        if tell_apart(truth, rouge_slips(summary, reference, words)):
            cases.append((summary, reference, words))
        if len(cases) == 4:
            break
    pairs = ((summary, ""), ("", reference), ("", "..."), ("Ship it!", "refund"), (reference, reference.upper()))
    return [*cases, *((*pair, words) for pair in pairs)]


def check_rouge_1(answer) -> None:
    for summary, reference, words in rouge_cases(random.Random()):
        with answer.may_raise(ZeroDivisionError):
            try:
                theirs = ask(answer, summary=summary, reference=reference, words=words)
            except ZeroDivisionError:
                raise Wrong(
                    f"A division by zero for {summary!r} against {reference!r}: where there are no words, or none in common, the answer is 0.0."
                ) from None
        said, wanted = words(summary.lower()), words(reference.lower())
        common, size = paired(said, wanted), len(said) + len(wanted)
        settle(
            theirs, 2 * common / size if size else 0.0, rouge_slips(summary, reference, words),
            f"{summary!r} has {len(said)} words, {reference!r} has {len(wanted)}, and {common} are in common.", close=1e-6,
        )  # fmt: skip


# --- only the reply is learned -------------------------------------------------------------------------------


def reply_mask(prompt_ids, reply_ids, length):
    reply = reply_ids[:length]
    room = length - len(reply)
    prompt = prompt_ids[max(0, len(prompt_ids) - room) :]  # the end of the prompt stays
    padding = room - len(prompt)
    ids = prompt + reply + [0] * padding
    labels = [-100] * len(prompt) + reply + [-100] * padding
    return ids, labels


def mask_rows(prompt, reply, length):
    """The oracle: one place after the other."""
    kept = min(len(reply), length)
    from_prompt = min(len(prompt), length - kept)
    ids, labels = [], []
    for n in range(length):
        is_prompt, is_reply = n < from_prompt, from_prompt <= n < from_prompt + kept
        token = prompt[len(prompt) - from_prompt + n] if is_prompt else reply[n - from_prompt] if is_reply else 0
        ids.append(token)
        labels.append(token if is_reply else IGNORE)
    return ids, labels


def mask_variant(prompt, reply, length, text=None, prompt_learns=False, padding_learns=False, left=False, shift=0):
    """The row with one thing done otherwise; ``text`` gives the prompt and the reply that are kept."""
    kept, said = text(prompt, reply, length) if text else cut(prompt, reply, length)
    padding = [0] * (length - len(kept) - len(said))
    unlearned = padding if padding_learns else [IGNORE] * len(padding)
    ids = padding + kept + said if left else kept + said + padding
    head = kept if prompt_learns else [IGNORE] * len(kept)
    labels = unlearned + head + said if left else head + said + unlearned
    if shift > 0:
        labels = [*labels[1:], IGNORE]
    if shift < 0:
        labels = [IGNORE, *labels[:-1]]
    return ids, labels


def cut(prompt, reply, length):
    room = max(0, length - len(reply))
    return prompt[max(0, len(prompt) - room) :], reply[:length]


def cut_at_end(prompt, reply, length):
    return prompt[:length], reply[: max(0, length - len(prompt))]


def cut_prompt_end(prompt, reply, length):
    return prompt[: max(0, length - len(reply))], reply[:length]


def cut_all_left(prompt, reply, length):
    return cut(prompt, reply, length)[0], reply[-length:]


def cut_by_minus_zero(prompt, reply, length):
    return prompt[-max(0, length - len(reply)) :], reply[:length]


def cut_nothing(prompt, reply, length):
    return prompt, reply


SHIFTED = "The labels are shifted by one. The model shifts them itself: the label of a token stands at the token."
MASK_SLIPS: dict[str, dict[str, Any]] = {
    "Padding is learned: its label has to be -100, or the model learns to write padding.": {"padding_learns": True},
    "The prompt is learned: the model would learn to ask like the customer. Its labels are -100.": {"prompt_learns": True},
    "The prompt and the padding are learned: the labels are a copy of the ids. Only the reply has labels; all else has -100.": {"prompt_learns": True, "padding_learns": True},
    SHIFTED: {"shift": 1},
    f"{SHIFTED} Yours lie one place too late.": {"shift": -1},
    "Padding goes to the right end here; yours is on the left.": {"left": True},
    "The end of the reply is cut off, with its end token, so the model never learns to stop. Drop the beginning of the prompt instead.": {"text": cut_at_end},
    "The prompt loses its end, where the question is. Drop its beginning.": {"text": cut_prompt_end},
    "Where the reply alone is too long, its end is cut, not its beginning.": {"text": cut_all_left},
    "The reply fills the whole length, so nothing of the prompt may be left; and prompt_ids[-0:] is the whole prompt.": {"text": cut_by_minus_zero},
    "Prompt and reply are longer than the length and nothing was cut.": {"text": cut_nothing},
}  # fmt: skip


def draw_dialogue(rng, number: int):
    """A prompt, a reply that ends with its end token, and a length: too much room, just enough, too little, far too little.
    Id 0 is padding, and an ordinary token too."""
    prompt, reply = (rng.sample(range(1, 90), rng.randint(5, 8)) for _ in range(2))
    prompt[2], prompt[-1], reply[1] = 0, 91, 0
    reply[-1] = 92
    if number == 5:
        prompt = []
    both = len(prompt) + len(reply)
    return prompt, reply, (both + 3, both, both - rng.randint(2, 4), len(reply), len(reply) - 2, both + 1, both + 6)[number]  # fmt: skip


def check_reply_mask(answer) -> None:
    rng = random.Random()
    for number in range(7):
        prompt, reply, length = draw_dialogue(rng, number)
        value = ask(answer, prompt_ids=prompt, reply_ids=reply, length=length)
        ids, labels = as_pair(value, "ids and labels")
        theirs = (as_ids(ids, "ids"), as_ids(labels, "labels"))
        truth = mask_rows(prompt, reply, length)
        if theirs == truth:
            continue
        case = f"Prompt {prompt}, reply {reply}, length {length}. "
        for message, how in MASK_SLIPS.items():
            expect(theirs != mask_variant(prompt, reply, length, **how), case + message)
        for name, mine, true in zip(("ids", "labels"), theirs, truth, strict=True):
            expect(len(mine) == length, f"{case}{name} should have {length} places; yours has {len(mine)}.")
            expect(mine == true, f"{case}{name} should be {true}; yours is {mine}.")


EXERCISES = (
    Exercise(
        "language.perplexity",
        """
        Write `perplexity(logits, ids)` for a causal model. `ids` (T,) are the tokens of a text, `logits` (T, V) what the model gives at each of them: row t
        speaks of the token *after* t. Return the exp of the mean negative log-likelihood of `ids[1:]`. Both are tensors; rows of logits may lie near 1000
        or -1000.
        """,
        8, 2,
        (
            "Row 0 predicts ids[1]; the last row predicts nothing that is there: logits[:-1] against ids[1:].",
            "torch.log_softmax(logits, dim=-1) takes out each row's largest logit before exp.",
            "log_p[torch.arange(T - 1), ids[1:]] picks one number per row.",
        ),
        perplexity, check_perplexity,
        (
            Mistake(lambda logits, ids: F.cross_entropy(logits, ids).exp(), "Not shifted"),
            Mistake(lambda logits, ids: F.cross_entropy(logits[1:], ids[:-1]).exp(), "shift goes the wrong way"),
            Mistake(lambda logits, ids: 1 / torch.softmax(logits[:-1], -1)[torch.arange(len(ids) - 1), ids[1:]].mean(), "mean of the probabilities"),
            Mistake(lambda logits, ids: torch.exp(F.cross_entropy(logits[:-1], ids[1:]) / math.log(2)), "Base 2 and base e are mixed"),
            Mistake(lambda logits, ids: 2 ** F.cross_entropy(logits[:-1], ids[1:]), "Base 2 and base e are mixed"),
            Mistake(lambda logits, ids: torch.exp(F.cross_entropy(logits[:-1], ids[1:], reduction="sum") / len(ids)), "The first token is counted"),
            Mistake(lambda logits, ids: (-(logits.exp() / logits.exp().sum(-1, keepdim=True))[torch.arange(len(ids) - 1), ids[1:]].log().mean()).exp(), "exp overflows"),
            Mistake(lambda logits, ids: F.cross_entropy(logits[:-1], ids[1:]), "perplexity is its exp"),
            Mistake(lambda logits, ids: perplexity(logits, ids) ** (len(ids) - 1), "The sum, not the mean"),
            Mistake(lambda logits, ids: 1 / perplexity(logits, ids), "The sign"),
        ),
    ),
    Exercise(
        "language.greedy",
        """
        Write the loop that makes text: `greedy(step, ids, end, max_tokens)`. `step(ids)` takes the list of all ids so far and returns the logits (V,) of the next
        token. Always take the largest. Stop at the token `end`, which is not part of the answer, or after `max_tokens` new tokens. Return the list of the
        new ids only, and leave the caller's list as it was.
        """,
        8, 1,
        ("ids + new makes a new list; ids.append changes the caller's.", "int(logits.argmax()) is the id of the largest.", "Look for `end` before you append."),
        greedy, check_greedy,
        (
            Mistake(lambda *a: greedy_variant(*a, keep_end=True), "no part of the text"),
            Mistake(lambda *a: greedy_variant(*a, late=1), "one token too many"),
            Mistake(lambda *a: greedy_variant(*a, late=-1), "one token short"),
            Mistake(lambda *a: greedy_variant(*a, last_only=True), "`step` needs the whole text so far"),
            Mistake(greedy_in_place, "changed `ids`"),
            Mistake(lambda *a: greedy_variant(*a, choose=lambda z: torch.multinomial(torch.softmax(z, 0), 1)), "Greedy always takes the largest"),
            Mistake(lambda *a: greedy_variant(*a, choose=torch.argmin), "Greedy always takes the largest"),
            Mistake(lambda step, ids, end, most: ids + greedy(step, ids, end, most), "Only the new ids"),
            Mistake(lambda step, ids, end, most: greedy(step, ids, -1, most), "after its end token"),
            Mistake(lambda step, ids, end, most: greedy(step, ids, end, 10**6), "goes on when it should have stopped"),
        ),
    ),
    Exercise(
        "language.temperature",
        """
        Write `temperature(logits, temperature)` for a tensor of logits (V,). Return the probabilities (V,): the softmax of the logits divided by the temperature. At 0
        all mass is on the largest logit, on the first of them among equals. Logits may lie near 1000 or be -inf.
        """,
        6, 1,
        ("torch.softmax is safe for large logits; exp(z) / sum is not.", "Treat 0 before you divide: zeros, with a 1 at logits.argmax()."),
        temperature, check_temperature,
        (
            Mistake(lambda z, t: temperature(z, 1 / t if t else 0), "Multiplied by the temperature"),
            Mistake(lambda z, t: torch.softmax(z, 0) / t / (torch.softmax(z, 0) / t).sum(), "The temperature has no effect"),
            Mistake(lambda z, t: torch.softmax(z, 0) / t, "do not add up to 1"),
            Mistake(lambda z, t: torch.softmax(z / t, 0), "a division by zero"),
            Mistake(lambda z, t: torch.softmax(z / (t or 1), 0), "Zero is the limit"),
            Mistake(lambda z, t: torch.softmax(z / max(t, 1e-6), 0), "the first gets all"),
            Mistake(lambda z, t: torch.exp(z / t) / torch.exp(z / t).sum() if t else temperature(z, 0), "exp overflows"),
            Mistake(lambda z, t: temperature(z, t) if t else z.argmax(), "the largest one's id"),
            Mistake(lambda z, t: z / t, "the softmax is missing"),
        ),
    ),
    Exercise(
        "language.top_p",
        """
        Write `top_p(probabilities, p)` for a tensor (V,). Keep the smallest set of most probable tokens whose sum reaches `p`, and at least one; among equals the
        smaller id comes first. Return (V,): the kept ones divided by their sum, in their places, and exactly 0 for all others. (Nucleus sampling: Holtzman et al., ICLR 2020.)
        """,
        12, 2,
        (
            "values, order = torch.sort(probabilities, descending=True, stable=True)",
            "A token stays while the sum *before* it is below p: values.cumsum(0) - values < p. The first always stays.",
            "kept[order[keep]] = values[keep] puts each value back to its token.",
        ),
        top_p, check_top_p,
        (
            Mistake(lambda q, p: top_p_variant(q, p, short=1), "crosses p is left out"),
            Mistake(lambda q, p: top_p_variant(q, p, short=-1), "One token too many"),
            Mistake(lambda q, p: top_p_variant(q, p, renormalise=False), "do not add up to 1"),
            Mistake(lambda q, p: top_p_variant(q, p, descending=False), "You begin with the least probable"),
            Mistake(lambda q, p: top_p_variant(q, p, later_first=True), "Among equals the smaller id"),
            Mistake(lambda q, p: top_p_variant(q, p, kept=lambda x, p: np.flatnonzero(x >= p * x.max())), "that is min-p"),
            Mistake(lambda q, p: torch.sort(top_p(q, p), descending=True).values, "not put back to their tokens"),
            Mistake(lambda q, p: torch.sort(top_p(q, p), descending=True).values[torch.argsort(q, descending=True, stable=True)], "not put back to their tokens"),
            Mistake(lambda q, p: torch.nan_to_num(top_p(q, p) if p else q * torch.nan, nan=torch.nan), "At least one always stays"),
            Mistake(lambda q, p: (top_p(q, p) + 1e-7) / (1 + 1e-7 * len(q)), "exactly 0"),
        ),
    ),
    Exercise(
        "language.cached_attention",
        """
        One head, one new token. Write `cached_attention(q, k_new, v_new, cache)`: `q`, `k_new` and `v_new` have shape (d,); `cache` is the pair (K, V) of the t tokens
        before, each (t, d), or None at the first. Append the new key and value, then attend: the output is
        $\\mathrm{softmax}(K q / \\sqrt{d})^\\top V$. Return the output (d,) and the new cache (K, V), each (t + 1, d). Leave the old cache as it was.
        """,
        12, 2,
        (
            "torch.cat([K, k_new[None]]) makes a new tensor with one row more; k_new[None] has shape (1, d).",
            "K @ q has shape (t + 1,), one score per token; the softmax runs over them.",
            "No causal mask is needed: what comes later is not in the cache yet.",
        ),
        cached_attention, check_cached_attention,
        (
            Mistake(lambda *a: cached_variant(*a, scale=1), "not scaled"),
            Mistake(lambda *a: cached_variant(*a, scale=len(a[0])), "it is the root of d"),
            Mistake(lambda *a: cached_variant(*a, append=False), "was not appended"),
            Mistake(lambda *a: cached_variant(*a, front=True), "in reverse order"),
            Mistake(lambda *a: cached_variant(*a, ones=True), "over the wrong axis"),
            Mistake(lambda *a: cached_variant(*a, itself=False), "does not see itself"),
            Mistake(cached_in_place, "changed `cache`"),
            Mistake(lambda *a: cached_attention(*a)[0], "Return two things"),
            Mistake(lambda *a: (cached_attention(*a)[0], cached_attention(*a)[1][::-1]), "Keys and values are swapped"),
            Mistake(lambda q, k, v, cache: (v, cached_attention(q, k, v, cache)[1]), "the cache was not used"),
        ),
        praise="Right:",
    ),
    Exercise(
        "language.allowed_tokens",
        """
        A grammar is a mask. Write `allowed_tokens(vocabulary, written, choices)`. `vocabulary` is a list of V tokens, each a piece of text; `written` is the text so far;
        `choices` are the texts that may come out in the end. Return V times True or False: may this token come next, so that `written + token` is a prefix of at least
        one choice? The token `""` is the end: it is allowed exactly where `written` is a whole choice.
        """,
        8, 2,
        ("choice.startswith(written + token), for any of the choices.", '"" needs a question of its own: `written in choices`.'),
        allowed_tokens, check_allowed_tokens,
        (
            Mistake(lambda voc, written, choices: [any((written + t).startswith(c) for c in choices) for t in voc], "the wrong way round"),
            Mistake(lambda voc, written, choices: [t == "" or any(c.startswith(written + t) for c in choices) for t in voc], "you allow the end"),
            Mistake(lambda voc, written, choices: [any(c.startswith(written + t) for c in choices) for t in voc], "leaves a prefix a prefix"),
            Mistake(lambda voc, written, choices: [written + t in choices for t in voc], "Only tokens that finish a choice"),
            Mistake(lambda voc, written, choices: [t != "" and any(c.startswith(written + t) for c in choices) for t in voc], "the model could not stop"),
            Mistake(lambda voc, written, choices: [any(c.startswith(t) for c in choices) if t else written in choices for t in voc], "has been forgotten"),
            Mistake(lambda voc, written, choices: [choices[0].startswith(written + t) if t else written in choices for t in voc], "Only the first choice"),
            Mistake(lambda voc, written, choices: [n for n, yes in enumerate(allowed_tokens(voc, written, choices)) if yes], "A mask is wanted"),
        ),
    ),
    Exercise(
        "language.fast_forward",
        """
        Where the grammar leaves no choice, the model need not be asked. Write `fast_forward(vocabulary, written, choices)`, called like `allowed_tokens`: return the text that
        has to come next, whatever is chosen in the end: the longest one; `""` where the model has a choice, or where `written` may be the end, or fits no choice.
        Beware: several tokens may be allowed and the text be forced all the same, since `f`, `fi` and `find` begin one text. Which of the three arguments do you need?
        """,
        8, 2,
        (
            "Keep the choices that begin with `written`. What do they have in common?",
            "Begin with the shortest of what is left of them, and shorten it until all begin with it.",
            "Take off what is written already. A choice that is finished stays among the others: it stops the common part.",
        ),
        fast_forward, check_fast_forward,
        (
            Mistake(lambda voc, written, choices: written + fast_forward(voc, written, choices), "is in it again"),
            Mistake(lambda voc, written, choices: fast_forward(voc, written, choices)[:1], "Only one letter"),
            Mistake(lambda voc, written, choices: fast_forward(voc, written, [c for c in choices if c != written]), "the text may end"),
            Mistake(lambda voc, written, choices: longest_agreement(written, choices), "the text may end"),
            Mistake(lambda voc, written, choices: dict(forced_slips(voc, written, choices)[6:7]).popitem()[1], "Several tokens may be allowed"),
            Mistake(lambda voc, written, choices: dict(forced_slips(voc, written, choices)[4:5]).popitem()[1], "not only where one choice is left"),
            Mistake(lambda voc, written, choices: next((c[len(written) :] for c in choices if c.startswith(written)), ""), "you took one for it"),
            Mistake(lambda voc, written, choices: forced("", choices)[len(written) :], "no longer fit"),
        ),
    ),
    Exercise(
        "language.LoraLinear",
        """
        Write the class `LoraLinear(linear, rank, alpha)`, an `nn.Module` around an `nn.Linear`, whose weights it freezes. It has two parameters: `self.A` (rank, in), drawn
        at random, and `self.B` (out, rank), zeros; only they learn. `forward(x)` gives $\\mathrm{linear}(x) + \\frac{\\alpha}{r}\\, x A^\\top B^\\top$ with r the rank, for x of any shape
        (..., in). `merged()` returns a new plain `nn.Linear` with the same outputs. (Low-rank adaptation: Hu et al., ICLR 2022.)
        """,
        18, 3,
        (
            "super().__init__() first; nn.Parameter(...) makes a tensor that an optimizer finds.",
            "linear.requires_grad_(False) freezes weight and bias; the gradient still flows through to x.",
            "For merged(): copy.deepcopy(self.linear), then under torch.no_grad() add alpha / rank · B @ A to its weight.",
        ),
        LoraLinear, check_lora_linear,
        (
            Mistake(LoraWithB, "B is not zero at the start"),
            Mistake(LoraWithoutA, "never learns"),
            Mistake(LoraOnes, "the rank is less than asked for"),
            Mistake(LoraThawed, "The base weights are frozen"),
            Mistake(LoraUnscaled, "alpha is not divided by rank"),
            Mistake(LoraCutOff, "lacks the part through `linear`"),
            Mistake(LoraNoBias, "another bias"),
            Mistake(LoraMergedTwice, "the change is in it twice"),
            Mistake(LoraTensors, "so that an optimizer finds it"),
            Mistake(lambda linear, rank, alpha: linear, "needs an nn.Parameter self.A"),
        ),
    ),
    Exercise(
        "language.unsupported",
        """
        A reply may only say what the shop knows. Write `unsupported(reply, facts, find)`. `find(text)` gives all amounts, numbers and dates of a text, as a list of strings.
        `facts` is a dict with texts, numbers, None, and more dicts and lists inside. Return what `find` sees in the reply and in no value of the facts: in the order
        of the reply, each once. Keys are names of facts, not facts; and `20` is not supported by `W20417`.
        """,
        12, 2,
        (
            "Write a helper that gives all values, and calls itself for dicts and lists.",
            "find(str(value)) for each value; put what it gives into a set, and ask whether the whole string is in it.",
            "dict.fromkeys(...) leaves each once, in order.",
        ),
        unsupported, check_unsupported,
        (
            *(Mistake(lambda reply, facts, find, how=how: unsupported_variant(reply, facts, find, **how), message.split(":")[0].split(".")[0]) for message, how in UNSUPPORTED_SLIPS.items()),
            Mistake(lambda reply, facts, find: sorted(unsupported(reply, facts, find)), "in another order"),
            Mistake(lambda reply, facts, find: set(unsupported(reply, facts, find)), "a set has no order"),
            Mistake(lambda reply, facts, find: unsupported(reply, facts, NUMBERS.findall), "you let it pass"),
        ),
    ),
    Exercise(
        "language.rouge_1",
        """
        Write `rouge_1(summary, reference, words)`: how many words two texts have in common, as F1. `words(text)` cuts a text into a list of words. Lower both texts first. A word counts as
        often as *both* texts have it. With n and m words and c in common, $F_1 = 2c / (n + m)$; 0.0 where nothing is in common. (ROUGE-1: Lin, 2004.)
        """,
        8, 1,
        ("Counter(a) & Counter(b) keeps the smaller count of each word.", "sum(counter.values()), or counter.total(), is the number of words.", "n + m is 0 for two empty texts."),
        rouge_1, check_rouge_1,
        (
            Mistake(lambda a, b, words: rouge_1(" ".join(set(words(a.lower()))), " ".join(set(words(b.lower()))), str.split), "Sets lose how often"),
            Mistake(lambda a, b, words: paired(words(a.lower()), words(b.lower())) / max(1, len(words(b))), "recall alone"),
            Mistake(lambda a, b, words: paired(words(a.lower()), words(b.lower())) / max(1, len(words(a))), "precision alone"),
            Mistake(lambda a, b, words: 2 * sum(w in words(b.lower()) for w in words(a.lower())) / max(1, len(words(a) + words(b))), "Not clipped"),
            Mistake(lambda a, b, words: 2 * paired(words(a.lower()), words(b.lower())) / len(words(a) + words(b)), "A division by zero"),
            Mistake(lambda a, b, words: 2 * paired(words(a), words(b)) / max(1, len(words(a) + words(b))), "Capitals count"),
            Mistake(lambda a, b, words: rouge_1(a, b, str.split), "were not cut by `words`"),
            Mistake(lambda a, b, words: 100 * rouge_1(a, b, words), "not a percentage"),
        ),
    ),
    Exercise(
        "language.reply_mask",
        """
        Write `reply_mask(prompt_ids, reply_ids, length)`: one row for training. Return two lists of `length` numbers. `ids`: prompt, then reply, then padding with 0. `labels`: at each
        token of the reply its own id, everywhere else -100; the model shifts them itself. If there is too little room, drop the *beginning* of the prompt; only if the reply alone is longer
        than `length`, cut its end. 0 may also be an ordinary token.
        """,
        10, 2,
        (
            "First see how much room the reply leaves: length - len(reply).",
            "prompt_ids[-room:] keeps the last `room` ids, but for room 0 it keeps all of them.",
            "Build ids and labels side by side from three parts: prompt, reply, padding.",
        ),
        reply_mask, check_reply_mask,
        (
            *(Mistake(lambda prompt, reply, length, how=how: mask_variant(prompt, reply, length, **how), message.split(":")[0].split(";")[0]) for message, how in MASK_SLIPS.items()),
            Mistake(lambda prompt, reply, length: reply_mask(prompt, reply, length)[0], "Return two things"),
            Mistake(lambda prompt, reply, length: (prompt + reply, [-100] * len(prompt) + reply), "should have"),
        ),
    ),
)  # fmt: skip

QUIZZES = (
    Quiz(
        "language.quiz_temperature",
        "You raise the temperature from 0.5 to 1.5. What stays as it was?",
        (
            Choice("The order of the tokens, from the most to the least probable.", True,
                   "All logits are divided by the same positive number: the gaps shrink, and nobody overtakes anybody."),
            Choice("The tokens that top-p with p = 0.9 keeps.", False, "The mass is spread more evenly now, so it often takes more tokens to reach 0.9."),
            Choice("The probability of the most probable token.", False, "It falls: heat takes mass from the top and gives it to the tail."),
        ),
    ),
    Quiz(
        "language.quiz_validity",
        "A grammar lets the model write only JSON with a tool's name and an order number such as W20417. What is sure now?",
        (
            Choice("That it calls the right tool for the right order.", False, "Both W20417 and W20471 fit the grammar; it does not know which one the customer meant."),
            Choice("That its output can be read; whether it is right is as open as before.", True, "A mask removes tokens that do not fit. What fits is still chosen by the model."),
            Choice("That it answers less well, since its freedom is cut.", False, "Not in general: only outputs that nobody could read are removed. It has to be measured."),
        ),
    ),
    Quiz(
        "language.quiz_cache",
        "A model with 30 layers, 3 key-value heads of width 64 and 2 bytes per number keeps a cache for a text of 1000 tokens. What does it hold, and how much?",
        (
            Choice("The 1000 token ids, a few kilobytes.", False, "From ids alone every layer would have to compute all keys and values anew at each step."),
            Choice("The attention weights of all pairs of tokens; it grows with the square of the length.", False, "They are used once, at their step. Only keys and values are needed again."),
            Choice("Keys and values of each token in each layer: 2 · 30 · 3 · 64 · 2 bytes per token, 23 MB in all.", True,
                   "It grows in step with the length, and so does its cost: memory is what saves the computing."),
        ),
    ),
    Quiz(
        "language.quiz_tokenizers",
        "Model A has perplexity 12 on your texts and model B 18. Their tokenizers differ. Which is better?",
        (
            Choice("A, since its perplexity is lower.", False, "It may only cut the text into more and smaller pieces, each of them easy to foresee."),
            Choice("It cannot be said: perplexity is per token, and their tokens are not the same.", True,
                   "Divide the summed negative log-likelihood by the letters or bytes of the text instead; those are the same for both."),
            Choice("B, since a larger vocabulary has a higher perplexity.", False, "A larger vocabulary is no merit in itself, and 18 may come from elsewhere."),
        ),
    ),
    Quiz(
        "language.quiz_rank",
        "You fine-tune with LoRA (low-rank adaptation) at rank 4. What does the rank limit?",
        (
            Choice("In how many directions each weight matrix may change.", True,
                   "The change B A is a product through 4 numbers: whatever is learned, its rank is at most 4."),
            Choice("How large the change of a weight may become.", False, "Nothing bounds the size of A and B; alpha / rank only scales it."),
            Choice("The rank of the weight matrix that comes out.", False, "The base matrix W stays and keeps its rank; only the change has a low one."),
        ),
    ),
    Quiz(
        "language.quiz_rouge",
        "Reference: 'The refund was not paid.' Summary: 'The refund was paid.' ROUGE-1 is 0.89. What do you make of it?",
        (
            Choice("The summary is good: 0.89 is high.", False, "It says the opposite of what happened, and a customer would be told so."),
            Choice("ROUGE was computed wrongly, for a wrong summary gets a low score.", False, "It is right: 2 · 4 / (4 + 5). It counts words, and four of five agree."),
            Choice("It counts words in common; the one word that is missing turns the meaning, so facts need a check of their own.", True,
                   "Overlap is a hint at what was covered. Numbers, names and negations are checked against the source."),
        ),
    ),
)  # fmt: skip
