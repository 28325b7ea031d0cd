"""The losses of lesson 02, each with its analytic gradient, for NumPy arrays and torch tensors alike.

Every loss returns ``Loss(value, gradient)``: a scalar in nats, and its gradient with respect to the model's output
(prediction or logits), in the output's shape. Given torch tensors, both are tensors, ``value`` can be differentiated
by autograd too, and ``gradient`` is detached. Nothing here trains; the gradients with respect to parameters follow
from these by the chain rule, as the lesson shows.

Values agree with ``torch.nn.functional`` in float64, with one exception that is meant: a batch in which nothing is
scored has loss 0 and gradient 0, where torch gives NaN and poisons the training.

Sources: Bishop, Pattern Recognition and Machine Learning (2006), 4.3; Goodfellow, Bengio, Courville, Deep Learning
(2016), 3.10 and 6.2.2; label smoothing: Szegedy et al., arXiv:1512.00567, section 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from agentlab.errors import AgentLabError

if TYPE_CHECKING:
    import torch

    Array = np.ndarray | torch.Tensor

LOG_FLOOR = -100.0  # the log of a probability is cut off here, as torch does, so that one zero is not infinite
TINY = 1e-12  # and p (1 - p) in the gradient here
IGNORE = -100  # the label that the losses here, of torch and of transformers leave out


class LossInputError(AgentLabError, ValueError):
    """An argument of a loss that cannot be: the message names the argument and the row."""


class Loss(NamedTuple):
    """A loss in nats and its gradient with respect to the model's output, in that output's shape."""

    value: Any
    gradient: Any


# --- pieces --------------------------------------------------------------------------------------------------


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)) without overflow: exp is only taken of numbers that are not positive."""
    xp = _namespace(z)
    small = xp.exp(-xp.abs(z))  # in (0, 1]
    return xp.where(z >= 0, 1 / (1 + small), small / (1 + small))


def log_sum_exp(z: Array) -> Array:
    """log(sum(exp(z))) over the last axis, shape (..., C) to (...): the largest is taken out first.

    >>> float(log_sum_exp(np.array([1000.0, 1000.0])))
    1000.6931471805599
    """
    xp = _namespace(z)
    top = xp.amax(z, axis=-1)
    return top + xp.log(xp.exp(z - top[..., None]).sum(axis=-1))


def softmax(z: Array) -> Array:
    """exp(z) / sum(exp(z)) over the last axis, without overflow; shape (..., C)."""
    return _namespace(z).exp(z - log_sum_exp(z)[..., None])


# --- two classes ---------------------------------------------------------------------------------------------


def bce(y: Array, p: Array, weight: Array | None = None) -> Loss:
    """Binary cross-entropy from probabilities: the mean of -w [y log p + (1 - y) log(1 - p)].

    ``y``, ``p`` and ``weight`` have shape (N,); y and p lie in [0, 1], weights are not negative. The logarithm is
    cut off at -100. Gradient with respect to p: w (p - y) / (p (1 - p)) / N.

    >>> bce(np.array([1.0, 0.0]), np.array([0.5, 0.5])).value
    0.6931471805599453
    """
    xp = _namespace(y, p)
    _shape("p", p, (None,))
    n = p.shape[0]
    _shape("y", y, (n,))
    _within("y", y, 0, 1)
    _within("p", p, 0, 1)
    w = _weights("weight", weight, n, p)
    log_p = xp.where(p > 0, xp.clip(xp.log(xp.where(p > 0, p, 1.0)), LOG_FLOOR, None), LOG_FLOOR)
    log_q = xp.where(p < 1, xp.clip(xp.log1p(-xp.where(p < 1, p, 0.0)), LOG_FLOOR, None), LOG_FLOOR)
    value = -(w * (y * log_p + (1 - y) * log_q)).mean()
    gradient = w * (p - y) / xp.clip(p * (1 - p), TINY, None) / n
    return _loss(value, gradient)


def bce_with_logits(y: Array, z: Array, weight: Array | None = None) -> Loss:
    """Binary cross-entropy from logits: the mean of w [max(z, 0) - y z + log(1 + exp(-|z|))].

    ``y``, ``z`` and ``weight`` have shape (N,); y lies in [0, 1]. Exact for any finite z, where taking the sigmoid first
    would round to 0 or 1. Gradient with respect to z: w (sigmoid(z) - y) / N.

    >>> bce_with_logits(np.array([1.0]), np.array([-10000.0])).value
    10000.0
    """
    xp = _namespace(y, z)
    _shape("z", z, (None,))
    n = z.shape[0]
    _shape("y", y, (n,))
    _within("y", y, 0, 1)
    _finite("z", z)
    w = _weights("weight", weight, n, z)
    value = (w * (xp.clip(z, 0, None) - y * z + xp.log1p(xp.exp(-xp.abs(z))))).mean()
    return _loss(value, w * (sigmoid(z) - y) / n)


# --- many classes --------------------------------------------------------------------------------------------


def cross_entropy(labels: Array, z: Array, class_weights: Array | None = None, smoothing: float = 0.0) -> Loss:
    """Softmax cross-entropy from logits, with class weights and label smoothing.

    ``labels`` (N,) hold whole numbers from 0 to C - 1, ``z`` (N, C) logits, ``class_weights`` (C,). The target puts
    1 - smoothing on the label and spreads smoothing evenly over all C classes; the sum is divided by the sum of the
    labels' weights (without weights: by N). Gradient with respect to z without either: (softmax(z) - onehot) / N.

    >>> cross_entropy(np.array([0]), np.array([[0.0, 0.0]])).value
    0.6931471805599453
    """
    _shape("z", z, (None, None))
    _shape("labels", labels, (z.shape[0],))
    _finite("z", z)
    _labels("labels", labels, z.shape[1])
    return _cross_entropy(labels, z, class_weights, smoothing)


def token_cross_entropy(
    labels: Array, z: Array, ignore_index: int = IGNORE, class_weights: Array | None = None, smoothing: float = 0.0
) -> Loss:
    """Cross-entropy over the tokens of a batch, leaving out those labelled ``ignore_index``.

    ``labels`` (B, T), ``z`` (B, T, C). The mean runs over the tokens that count, so padding changes neither the value nor
    the gradient, which is 0 on every token left out. Nothing counts: loss 0, gradient 0.
    """
    xp = _namespace(labels, z)
    _shape("z", z, (None, None, None))
    _shape("labels", labels, tuple(z.shape[:2]))
    _finite("z", z)
    counts = labels != ignore_index  # (B, T)
    _labels("labels", xp.where(counts, labels, 0), z.shape[2], labels)
    flat = _cross_entropy(labels[counts], z[counts], class_weights, smoothing)  # (M, C) tokens that count
    gradient = xp.zeros_like(z)
    gradient[counts] = flat.gradient
    return _loss(flat.value, gradient)


def _cross_entropy(labels: Array, z: Array, class_weights: Array | None, smoothing: float) -> Loss:
    xp = _namespace(z)
    n, c = z.shape
    if not 0 <= smoothing < 1:
        raise LossInputError(f"smoothing is {smoothing}; it must be at least 0 and less than 1.")
    v = _weights("class_weights", class_weights, c, z)  # (C,)
    if n == 0:
        return _loss((z * 0).sum(), xp.zeros_like(z))
    rows = xp.arange(n)
    log_p = z - log_sum_exp(z)[:, None]  # (N, C)
    target = xp.zeros_like(z) + smoothing / c
    target[rows, labels] += 1 - smoothing
    target = target * v  # (N, C): how much each class pulls
    total = v[labels].sum()
    if not float(total) > 0:
        raise LossInputError("class_weights give every label of this batch the weight 0; at least one must count.")
    value = -(target * log_p).sum() / total
    gradient = (xp.exp(log_p) * target.sum(axis=-1)[:, None] - target) / total
    return _loss(value, gradient)


# --- language models and plain distance ----------------------------------------------------------------------


def language_model_nll(ids: Array, z: Array, mask: Array | None = None) -> Loss:
    """Mean negative log-likelihood of each next token, in nats per predicted token.

    ``ids`` (B, T) are the tokens of the text, ``z`` (B, T, V) the logits, where z[:, t] predicts ids[:, t + 1]; ``mask``
    (B, T) is 1 on real tokens. The first token is predicted by nothing and the last predicts nothing here.
    """
    xp = _namespace(ids, z)
    _shape("z", z, (None, None, None))
    _shape("ids", ids, tuple(z.shape[:2]))
    if z.shape[1] < 2:
        raise LossInputError(f"ids have {z.shape[1]} tokens a row; at least 2 are needed, since one predicts the next.")
    labels = ids[:, 1:]
    if mask is not None:
        _shape("mask", mask, tuple(z.shape[:2]))
        labels = xp.where(mask[:, 1:] > 0, labels, IGNORE)
    inner = token_cross_entropy(labels, z[:, :-1])
    gradient = xp.zeros_like(z)
    gradient[:, :-1] = inner.gradient
    return _loss(inner.value, gradient)


def perplexity(nll: float) -> float:
    """exp of a mean negative log-likelihood in nats: among how many equally likely tokens the model might as well choose.

    >>> round(perplexity(np.log(50)), 6)
    50.0
    """
    with np.errstate(over="ignore"):
        return float(np.exp(np.float64(nll)))


def mse(y: Array, prediction: Array) -> Loss:
    """Mean squared error over all elements; any shape. Gradient with respect to the prediction: 2 (prediction - y) / size."""
    _shape("y", y, tuple(prediction.shape))
    _finite("y", y)
    _finite("prediction", prediction)
    difference = prediction - y
    return _loss((difference**2).mean(), 2 * difference / max(1, int(np.prod(tuple(prediction.shape)))))


# --- arguments -----------------------------------------------------------------------------------------------


def _namespace(*arrays: Array):
    """The module whose functions fit these arrays: numpy, or torch where one is a tensor."""
    if any(type(a).__module__.startswith("torch") for a in arrays):
        import torch

        return torch
    return np


def _loss(value, gradient) -> Loss:
    if isinstance(gradient, np.ndarray):
        return Loss(float(value), gradient)
    return Loss(value, gradient.detach())


def _shape(name: str, array: Array, wanted: tuple[int | None, ...]) -> None:
    if not hasattr(array, "shape"):
        raise LossInputError(f"{name} is {type(array).__name__}; give a NumPy array or a torch tensor.")
    got = tuple(array.shape)
    if len(got) != len(wanted) or any(w not in (None, g) for g, w in zip(got, wanted, strict=True)):
        shown = ", ".join("any" if w is None else str(w) for w in wanted)
        raise LossInputError(f"{name} has shape {got}; ({shown}{',' if len(wanted) == 1 else ''}) is needed.")
    if got and got[0] == 0 and len(wanted) < 3:
        raise LossInputError(f"{name} is empty: a mean over no rows is undefined.")


def _first(bad: Array) -> str:
    """Where the first True of a mask stands, in words."""
    place = tuple(int(i) for i in np.argwhere(np.asarray(bad))[0])
    return f"row {place[0]}" if len(place) == 1 else f"row {place[0]}, position {', '.join(map(str, place[1:]))}"


def _numbers(array: Array) -> np.ndarray:
    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)


def _finite(name: str, array: Array) -> None:
    values = _numbers(array)
    bad = ~np.isfinite(values)
    if bad.any():
        raise LossInputError(f"{name} is {values[bad][0]} in {_first(bad)}; finite numbers are needed.")


def _within(name: str, array: Array, low: float, high: float) -> None:
    _finite(name, array)
    values = _numbers(array)
    bad = (values < low) | (values > high)
    if bad.any():
        raise LossInputError(f"{name} is {values[bad][0]:g} in {_first(bad)}; it must lie in [{low:g}, {high:g}].")


def _labels(name: str, labels: Array, classes: int, shown: Array | None = None) -> None:
    values = _numbers(labels)
    if values.dtype.kind not in "iu":
        raise LossInputError(f"{name} hold {values.dtype}; whole numbers from 0 to {classes - 1} are needed.")
    bad = (values < 0) | (values >= classes)
    if bad.any():
        found = _numbers(labels if shown is None else shown)[bad][0]
        raise LossInputError(f"{name} has {found} in {_first(bad)}; there are {classes} classes, 0 to {classes - 1}.")


def _weights(name: str, weights: Array | None, n: int, like: Array) -> Array:
    if weights is None:
        return np.ones(n, like.dtype) if isinstance(like, np.ndarray) else like.new_ones(n)
    _shape(name, weights, (n,))
    _within(name, weights, 0, float("inf"))
    return weights
