import doctest
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from agentlab import losses
from agentlab.losses import IGNORE, LossInputError

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 6)
SCALES = st.sampled_from([1.0, 30.0, 1e4])  # logits as they come, confident ones, absurd ones


def same(ours, theirs, tolerance=1e-9):
    ours, theirs = np.asarray(ours), np.asarray(theirs.detach() if hasattr(theirs, "detach") else theirs)
    assert ours.shape == theirs.shape
    assert np.all(np.isfinite(ours))
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * 1e-3 + 1e-15)


def slope(function, at, step=1e-6):
    """The gradient by central finite differences, number by number."""
    gradient = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (function(up) - function(down)) / (2 * step)
    return gradient


def with_autograd(function, z):
    """torch's value and its gradient by autograd."""
    z = torch.tensor(z, requires_grad=True)
    value = function(z)
    return value.detach(), torch.autograd.grad(value, z)[0]


# --- against torch, and against finite differences ---


@given(SEEDS, SIZES)
def test_bce_agrees_with_torch(seed, n):
    rng = np.random.default_rng(seed)
    y, p, w = rng.uniform(size=n), rng.uniform(1e-9, 1 - 1e-9, n), rng.uniform(0, 3, n)
    ours = losses.bce(y, p, w)
    value, gradient = with_autograd(
        lambda t: F.binary_cross_entropy(t, torch.tensor(y), weight=torch.tensor(w)), p
    )  # fmt: skip
    same(ours.value, value)
    same(ours.gradient, gradient)
    same(ours.value, losses.bce(torch.tensor(y), torch.tensor(p), torch.tensor(w)).value)


def test_bce_at_zero_and_one_is_cut_off_as_in_torch():
    y, p = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.0, 1.0, 1.0, 0.0])
    value, gradient = with_autograd(lambda t: F.binary_cross_entropy(t, torch.tensor(y)), p)
    same(losses.bce(y, p).value, value)
    same(losses.bce(y, p).gradient, gradient, 1e-8)  # torch keeps its 1e-12 in single precision


@given(SEEDS, SIZES, SCALES)
def test_bce_with_logits_agrees_with_torch(seed, n, scale):
    rng = np.random.default_rng(seed)
    y, z, w = rng.integers(0, 2, n).astype(float), rng.normal(size=n) * scale, rng.uniform(0, 3, n)
    ours = losses.bce_with_logits(y, z, w)
    value, gradient = with_autograd(
        lambda t: F.binary_cross_entropy_with_logits(t, torch.tensor(y), weight=torch.tensor(w)), z
    )  # fmt: skip
    same(ours.value, value)
    same(ours.gradient, gradient)


@given(SEEDS, SIZES, st.integers(2, 5), SCALES, st.booleans(), st.sampled_from([0.0, 0.1, 0.7]))
def test_cross_entropy_agrees_with_torch(seed, n, c, scale, weighted, smoothing):
    rng = np.random.default_rng(seed)
    labels, z = rng.integers(0, c, n), rng.normal(size=(n, c)) * scale
    weights = rng.uniform(0.1, 3, c) if weighted else None
    ours = losses.cross_entropy(labels, z, weights, smoothing)
    value, gradient = with_autograd(
        lambda t: F.cross_entropy(
            t, torch.tensor(labels), weight=torch.tensor(weights) if weighted else None, label_smoothing=smoothing
        ),
        z,
    )
    same(ours.value, value)
    same(ours.gradient, gradient)


@given(SEEDS, SIZES, SIZES, st.integers(2, 4), SCALES)
def test_token_cross_entropy_agrees_with_torch_where_something_counts(seed, b, t, c, scale):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(b, t, c)) * scale
    labels = rng.integers(0, c, (b, t))
    labels[rng.uniform(size=(b, t)) < 0.5] = IGNORE
    ours = losses.token_cross_entropy(labels, z)
    if (labels == IGNORE).all():
        assert ours.value == 0
        assert not ours.gradient.any()
        return
    value, gradient = with_autograd(lambda q: F.cross_entropy(q.reshape(-1, c), torch.tensor(labels).reshape(-1)), z)
    same(ours.value, value)
    same(ours.gradient, gradient)


@given(SEEDS, SIZES, st.integers(2, 6))
def test_language_model_nll_agrees_with_torch(seed, b, t):
    rng = np.random.default_rng(seed)
    z, ids = rng.normal(size=(b, t, 7)) * 5, rng.integers(0, 7, (b, t))
    mask = np.ones((b, t), int)
    mask[0, -1] = 0 if t > 2 else 1
    ours = losses.language_model_nll(ids, z, mask)
    target = torch.tensor(np.where(mask[:, 1:] > 0, ids[:, 1:], IGNORE)).reshape(-1)
    value, gradient = with_autograd(lambda q: F.cross_entropy(q[:, :-1].reshape(-1, 7), target), z)
    same(ours.value, value)
    same(ours.gradient, gradient)
    assert not ours.gradient[:, -1].any()


@given(SEEDS, SIZES, SIZES)
def test_mse_agrees_with_torch(seed, n, m):
    rng = np.random.default_rng(seed)
    y, guess = rng.normal(size=(n, m)), rng.normal(size=(n, m))
    value, gradient = with_autograd(lambda q: F.mse_loss(q, torch.tensor(y)), guess)
    same(losses.mse(y, guess).value, value)
    same(losses.mse(y, guess).gradient, gradient)


@settings(max_examples=30)
@given(SEEDS)
def test_every_gradient_agrees_with_finite_differences(seed):
    rng = np.random.default_rng(seed)
    y, p, z = rng.uniform(size=4), rng.uniform(0.05, 0.95, 4), rng.normal(size=(4, 3)) * 3
    labels, v = rng.integers(0, 3, 4), rng.uniform(0.1, 2, 3)
    tokens = np.array([[0, IGNORE, 2], [1, 1, IGNORE]])
    cases = [
        (lambda q: losses.bce(y, q, v[labels]), p),
        (lambda q: losses.bce_with_logits(y, q), z[:, 0]),
        (lambda q: losses.cross_entropy(labels, q, v, 0.2), z),
        (lambda q: losses.token_cross_entropy(tokens, q), rng.normal(size=(2, 3, 3))),
        (lambda q: losses.language_model_nll(np.array([[0, 1, 2]]), q), rng.normal(size=(1, 3, 3))),
        (lambda q: losses.mse(y, q), p),
    ]
    for loss, at in cases:
        np.testing.assert_allclose(loss(at).gradient, slope(lambda q, f=loss: f(q).value, at), rtol=1e-5, atol=1e-7)


def test_tensors_come_back_as_tensors_and_autograd_agrees_with_the_analytic_gradient():
    z = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    loss = losses.token_cross_entropy(torch.tensor([[0, IGNORE, 3], [1, 2, IGNORE]]), z, smoothing=0.1)
    same(loss.gradient, torch.autograd.grad(loss.value, z)[0])
    assert not loss.gradient.requires_grad
    half = losses.cross_entropy(torch.tensor([1]), torch.zeros(1, 2, dtype=torch.float32))
    assert half.value.dtype == torch.float32


# --- pieces ---


def test_pieces_stand_extreme_logits_without_a_warning():
    z = np.array([-1e4, -750.0, 0.0, 750.0, 1e4])
    with np.errstate(all="raise", under="ignore"):
        assert losses.sigmoid(z).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
        assert losses.log_sum_exp(z) == 1e4
        assert losses.softmax(z).tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]
        same(losses.sigmoid(z[1:4] / 50), torch.sigmoid(torch.tensor(z[1:4] / 50)))


def test_perplexity():
    assert losses.perplexity(0.0) == 1.0
    assert math.isclose(losses.perplexity(math.log(49152)), 49152)
    assert losses.perplexity(1e6) == math.inf


def test_padding_changes_neither_value_nor_gradient():
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(2, 5, 3)), rng.integers(0, 3, (2, 5))
    wide_z = np.concatenate([z, rng.normal(size=(2, 7, 3))], 1)
    wide = losses.token_cross_entropy(np.pad(labels, ((0, 0), (0, 7)), constant_values=IGNORE), wide_z)
    short = losses.token_cross_entropy(labels, z)
    same(wide.value, np.asarray(short.value))
    same(wide.gradient[:, :5], short.gradient)
    assert not wide.gradient[:, 5:].any()


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(losses).failed == 0


# --- input that cannot be ---

one = np.array([1.0])
two = np.array([0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.bce(np.array([0.0, 1]), np.array([0.5, 1.3])), "p is 1.3 in row 1; it must lie in [0, 1]"),
        (lambda: losses.bce(np.array([0.0, 1]), np.array([np.nan, 0.3])), "p is nan in row 0"),
        (lambda: losses.bce(np.array([0.0, -1]), two), "y is -1 in row 1"),
        (lambda: losses.bce(one, two), "y has shape (1,); (2,) is needed"),
        (lambda: losses.bce([1], [0.5]), "p is list; give a NumPy array"),
        (lambda: losses.bce(two[:0], two[:0]), "p is empty"),
        (lambda: losses.bce(two, two, -two), "weight is -0.5 in row 0"),
        (lambda: losses.bce_with_logits(two, np.array([0, np.inf])), "z is inf in row 1"),
        (lambda: losses.bce_with_logits(two, two[:, None]), "z has shape (2, 1); (any,) is needed"),
        (lambda: losses.cross_entropy(np.array([0, 3]), np.zeros((2, 3))), "labels has 3 in row 1; there are 3 classes"),
        (lambda: losses.cross_entropy(np.array([0, -100]), np.zeros((2, 3))), "labels has -100 in row 1"),
        (lambda: losses.cross_entropy(np.array([0.0, 1]), np.zeros((2, 3))), "labels hold float64; whole numbers"),
        (lambda: losses.cross_entropy(np.array([0]), np.full((1, 2), np.nan)), "z is nan in row 0, position 0"),
        (lambda: losses.cross_entropy(np.array([0]), np.zeros((1, 2)), smoothing=1.5), "smoothing is 1.5"),
        (lambda: losses.cross_entropy(np.array([0]), np.zeros((1, 2)), one), "class_weights has shape (1,); (2,)"),
        (lambda: losses.cross_entropy(np.array([0]), np.zeros((1, 2)), np.array([0.0, 1])), "weight 0"),
        (lambda: losses.token_cross_entropy(np.array([[0, 5]]), np.zeros((1, 2, 3))), "labels has 5 in row 0, position 1"),
        (lambda: losses.language_model_nll(np.array([[0]]), np.zeros((1, 1, 3))), "ids have 1 tokens a row"),
        (lambda: losses.mse(one, two), "y has shape (1,); (2,) is needed"),
        (lambda: losses.bce(torch.tensor([0.0, 1]), torch.tensor([0.5, 1.5])), "p is 1.5 in row 1"),
    ],
)  # fmt: skip
def test_bad_input_names_the_argument_and_the_row(call, words):
    with pytest.raises(LossInputError) as raised:
        call()
    assert words in str(raised.value)
    assert isinstance(raised.value, ValueError)
