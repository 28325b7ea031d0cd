"""The derivation checker: a learner's gradient against autograd and finite differences, and the slip it looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from agentlab.exercises.engine import Wrong, kind_of

EXACT, APPROXIMATE = 1e-9, 1e-4  # largest difference, relative to the largest true number


def gradient_of(loss: Callable, at: np.ndarray) -> tuple[np.ndarray, float]:
    """The gradient of ``loss`` (a torch function of one tensor) by autograd, and how far finite differences are from it."""
    tensor = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    truth = torch.autograd.grad(loss(tensor), tensor)[0].numpy()
    step, slopes = 1e-6, np.zeros_like(truth)
    with torch.no_grad():
        for place in np.ndindex(truth.shape):
            move = torch.zeros_like(tensor)
            move[place] = step
            slopes[place] = (loss(tensor + move) - loss(tensor - move)) / (2 * step)
    return truth, float(np.abs(slopes - truth).max(initial=0))


def compare(theirs: Any, truth: np.ndarray, slips: dict[str, np.ndarray] | None = None, rows: int = 0) -> str:
    """Say how exact an answer is, or raise `Wrong` with the largest difference and the slip that it looks like.

    ``slips`` maps a message to the array that this slip gives. Tried for every answer: a sign, a sum for a mean (with
    ``rows``, the N of the mean), a constant factor, transposed factors, numbers that are not finite.
    """
    truth = np.asarray(truth, dtype=float)
    yours = as_array(theirs)
    for message, slip in (slips or {}).items():
        if _alike(yours, slip) and not _alike(truth, slip):
            raise Wrong(message, (yours, truth) if yours.shape == truth.shape else None)
    if yours.shape != truth.shape:
        raise Wrong(_shape_message(yours, truth))
    if not np.all(np.isfinite(yours)):
        n = int((~np.isfinite(yours)).sum())
        raise Wrong(
            f"{n} of your {yours.size} numbers are not finite: the logarithm of zero, zero over zero, or an exp that "
            "overflows. Let factors cancel on paper, or take the largest number out, before computing.",
            (yours, truth),
        )
    difference = float(np.abs(yours - truth).max(initial=0))
    scale = float(np.abs(truth).max(initial=0)) or 1.0
    if difference <= EXACT * scale:
        return f"Exact: the largest difference is {difference:.1e}."
    if difference <= APPROXIMATE * scale:
        return f"Approximate: the largest difference is {difference:.1e}. An epsilon, or a difference quotient, instead of the exact formula?"
    raise Wrong(f"{_factor(yours, truth, rows)} The largest difference is {difference:.3g}.", (yours, truth))


def as_array(value: Any) -> np.ndarray:
    """A returned value as float64 numbers; raises `Wrong` where it is none."""
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if value is None or isinstance(value, (str, dict, set)):
        raise Wrong(f"Numbers are needed; yours is {kind_of(value)}")
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise Wrong(f"Numbers are needed; yours is {kind_of(value)}") from None


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    return np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-6, atol=1e-12, equal_nan=True)


def _shape_message(yours: np.ndarray, truth: np.ndarray) -> str:
    head = f"The shape should be {truth.shape}; yours is {yours.shape}."
    if yours.shape == truth.shape[::-1] and np.allclose(yours.T, truth):
        return f"{head} The factors are transposed: the numbers are right, the axes are swapped."
    if truth.ndim == 0 and yours.ndim == 1:
        return f"{head} One number is wanted: the mean over the rows is missing."
    if yours.ndim > truth.ndim:
        return f"{head} An axis is still to be summed over."
    return f"{head} Write the shape beside each factor."


def _factor(yours: np.ndarray, truth: np.ndarray, rows: int) -> str:
    """What a constant factor between the two says, if there is one."""
    large = np.abs(truth) > 1e-9 * np.abs(truth).max(initial=0)
    ratios = yours[large] / truth[large]
    if (
        ratios.size == 0
        or not np.allclose(ratios, ratios.flat[0], rtol=1e-6)
        or np.abs(yours[~large]).max(initial=0) > 1e-6
    ):
        return "Not the right numbers, and no slip that is known here."
    r = float(ratios.flat[0])
    sign = "The sign is wrong" if r < 0 else ""
    size = abs(r)
    if abs(size - 1) < 1e-6:
        return f"{sign}: everything else is right."
    if rows > 1 and abs(size - rows) < 1e-6 * rows:
        what = "a sum stands where the mean belongs: 1/N is missing"
    elif rows > 1 and abs(size * rows - 1) < 1e-6:
        what = "it was divided by N twice"
    else:
        what = f"everything is {size:.3g} times the right number"
    return f"{sign}, and {what}." if sign else f"{what[0].upper()}{what[1:]}."
