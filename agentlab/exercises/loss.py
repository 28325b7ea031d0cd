"""Exercises of lesson 02: each line of the derivation of cross-entropy, checked by autograd and finite differences."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from agentlab.exercises.derivation import as_array, compare, gradient_of
from agentlab.exercises.engine import Choice, Exercise, Mistake, Quiz, Wrong
from agentlab.losses import sigmoid

ROUNDS = 4
SIGN, SUM = "The sign is wrong", "sum stands where the mean belongs"


def tensor(array):
    return torch.tensor(array, dtype=torch.float64)


def quietly(function, *arguments):
    """Call the learner's function without NumPy's warnings: what they mean is said by the check."""
    with np.errstate(all="ignore"):
        return function(*arguments)


def with_witness(said: str, apart: float) -> str:
    return f"{said} Finite differences agree with autograd to {apart:.0e}."


# --- one number per example: dl/dp, dl/dz --------------------------------------------------------------------


def dl_dp(y, p):
    return (p - y) / (p * (1 - p)) / len(y)


def check_dl_dp(answer) -> str:
    rng = np.random.default_rng()
    for _ in range(ROUNDS):
        n = int(rng.integers(3, 9))
        y, p = rng.integers(0, 2, n).astype(float), rng.uniform(0.05, 0.95, n)
        y[:2] = 0, 1
        truth, apart = gradient_of(lambda q, y=y: F.binary_cross_entropy(q, tensor(y)), p)
        slips = {
            "This is the derivative with respect to the logit z. Here the sigmoid has not come in yet: stop at p.": (
                p - y
            )
            / n,
            "Only the first term has been derived. For y = 0 the second, (1 - y) log(1 - p), is the one that counts.": -y
            / p
            / n,
            "The second term: the inner derivative of log(1 - p) is -1, so its sign turns.": -(
                y / p + (1 - y) / (1 - p)
            )
            / n,
        }
        said = compare(quietly(answer, y, p), truth, slips, rows=n)
    return with_witness(said, apart)


def dl_dz(y, z):
    p = 1 / (1 + np.exp(-z))
    return (p - y) / len(y)


def check_dl_dz(answer) -> str:
    rng = np.random.default_rng()
    for round_number in range(ROUNDS):
        n = int(rng.integers(3, 9))
        y, z = rng.integers(0, 2, n).astype(float), rng.normal(0, 3, n)
        y[:2] = 0, 1
        if round_number == ROUNDS - 1:
            z[:2] = 45, -45  # here p rounds to 1 and 0
        truth, apart = gradient_of(lambda q, y=y: F.binary_cross_entropy_with_logits(q, tensor(y)), z)
        p = sigmoid(z)
        slips = {
            "The logit is not a probability: put z through the sigmoid first.": (z - y) / n,
            "The factor p (1 - p) is still there. In dl/dp the same product stands below the line, and the two cancel.": (p - y) * p * (1 - p) / n,
            "The label is missing: the gradient says how far p is from y.": p / n,
        }  # fmt: skip
        with np.errstate(all="ignore"):
            slips["This is the derivative with respect to p. One factor of the chain rule is missing: dp/dz."] = (
                (p - y) / (p * (1 - p)) / n
            )
        said = compare(quietly(answer, y, z), truth, slips, rows=n)
    return with_witness(said, apart)


# --- the parameters: dl/dw, dl/db ----------------------------------------------------------------------------


def draw_problem(rng):
    n, d = int(rng.integers(4, 9)), int(rng.integers(2, 4))
    X, w, b = rng.normal(size=(n, d)), rng.normal(size=d), float(rng.normal())
    y = rng.integers(0, 2, n).astype(float)
    y[:2] = 0, 1
    return X, y, w, b


def dl_dw(X, y, w, b):
    p = sigmoid(X @ w + b)  # (N,)
    return X.T @ (p - y) / len(y)  # (D, N) @ (N,) -> (D,)


def check_dl_dw(answer) -> str:
    rng = np.random.default_rng()
    for _ in range(ROUNDS):
        X, y, w, b = draw_problem(rng)
        n = len(y)
        truth, apart = gradient_of(
            lambda q, X=X, y=y, b=b: F.binary_cross_entropy_with_logits(tensor(X) @ q + b, tensor(y)), w
        )
        p = sigmoid(X @ w + b)
        slips = {
            "Each row still stands alone. A weight acts on all N examples, so add up its effects over the rows.": X * (p - y)[:, None] / n,
            "The label is missing: the error p - y weighs each row of X, not p.": X.T @ p / n,
            "The features are missing: dz/dw is x. Without it every weight gets the same gradient.": np.full(len(w), (p - y).mean()),
            "The bias is missing in z = X w + b.": X.T @ (sigmoid(X @ w) - y) / n,
        }  # fmt: skip
        said = compare(quietly(answer, X, y, w, b), truth, slips, rows=n)
    return with_witness(said, apart)


def dl_db(X, y, w, b):
    p = sigmoid(X @ w + b)  # (N,)
    return (p - y).mean()


def check_dl_db(answer) -> str:
    rng = np.random.default_rng()
    for _ in range(ROUNDS):
        X, y, w, b = draw_problem(rng)
        n = len(y)
        truth, apart = gradient_of(
            lambda q, X=X, y=y, w=w: F.binary_cross_entropy_with_logits(tensor(X) @ tensor(w) + q, tensor(y)),
            np.array(b),
        )
        p = sigmoid(X @ w + b)
        slips = {
            "One number is wanted: the bias is the same in every row, so its gradient is the mean over the rows.": (
                p - y
            )
            / n,
            "One number is wanted: take the mean over the rows.": p - y,
            "dz/db is 1, not x: the features play no part here.": (X.T @ (p - y) / n).mean(),
            "The label is missing: the gradient is the mean of p - y.": p.mean(),
        }
        said = compare(quietly(answer, X, y, w, b), truth, slips, rows=n)
    return with_witness(said, apart)


# --- numbers that overflow -----------------------------------------------------------------------------------


def bce_from_logits(y, z):
    return np.mean(np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z))))


def check_bce_from_logits(answer) -> str:
    rng = np.random.default_rng()
    for round_number in range(ROUNDS):
        n = int(rng.integers(3, 9))
        y, z = rng.integers(0, 2, n).astype(float), rng.normal(0, 2, n)
        y[:2] = 0, 1
        if round_number == ROUNDS - 2:
            z[:2] = 60, -60  # certain and wrong
        if round_number == ROUNDS - 1:
            z[:2] = 5000, -5000
        truth = F.binary_cross_entropy_with_logits(tensor(z), tensor(y)).item()
        value = as_array(quietly(answer, y, z))
        if value.shape:
            raise Wrong(f"One number is wanted, the mean over the rows; yours has the shape {value.shape}.")
        if not np.isfinite(value):
            raise Wrong(
                f"At the logits {z[:2].round()} your loss is {float(value)}: exp overflows or the logarithm meets a zero. "
                "Rewrite it so that exp only sees numbers that are not positive."
            )
        if round_number >= ROUNDS - 2 and value < truth * 0.99 and np.isclose(value * n, truth * n, atol=2 * abs(z[0])):
            raise Wrong(
                f"At the logits {z[:2].round()} and labels {y[:2]} the loss should be {truth:.4g}; yours is {float(value):.4g}. "
                "Was a probability clipped? That hides how wrong the model is, and its gradient with it."
            )
        slips = {"The term y z has the wrong sign: a label of 1 must make a large z cheap.": np.mean(np.maximum(z, 0) + y * z + np.log1p(np.exp(-np.abs(z))))}  # fmt: skip
        said = compare(value, np.array(truth), slips, rows=n)
    return said


def log_sum_exp(z):
    top = z.max(axis=1)  # (N,)
    return top + np.log(np.exp(z - top[:, None]).sum(axis=1))


def check_log_sum_exp(answer) -> str:
    rng = np.random.default_rng()
    for round_number in range(ROUNDS):
        n, c = int(rng.integers(2, 5)), int(rng.integers(5, 8))
        z = rng.normal(0, 3, (n, c))
        if round_number >= 2:
            z[0] += 2000
            z[1] -= 2000
        truth = torch.logsumexp(tensor(z), 1).numpy()
        with np.errstate(all="ignore"):
            shifted = np.log(np.exp(z - z.max(axis=1)[:, None]).sum(axis=1))
            slips = {
                "The largest logit was taken out and not put back: add it again outside the logarithm.": shifted,
                "The sum runs over the rows. Each row is a message of its own: sum over its classes, axis 1.": np.log(np.exp(z).sum(axis=0)),
                "Rows far below the largest number of all vanish: exp of -4000 is zero. Take out each row's own largest.": z.max() + np.log(np.exp(z - z.max()).sum(axis=1)),
            }  # fmt: skip
        said = compare(quietly(answer, z), truth, slips)
    return said


# --- many classes --------------------------------------------------------------------------------------------


def softmax_dz(labels, z):
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p = p / p.sum(axis=1, keepdims=True)  # (N, C)
    p[np.arange(len(labels)), labels] -= 1
    return p / len(labels)


def check_softmax_dz(answer) -> str:
    rng = np.random.default_rng()
    for round_number in range(ROUNDS):
        n, c = int(rng.integers(5, 8)), int(rng.integers(3, 5))
        labels, z = rng.integers(0, c, n), rng.normal(0, 2, (n, c))
        if round_number == ROUNDS - 1:
            z[0] += 2000
        truth, apart = gradient_of(lambda q, labels=labels: F.cross_entropy(q, torch.tensor(labels)), z)
        with np.errstate(all="ignore"):
            p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
            across = np.exp(z) / np.exp(z).sum(0, keepdims=True)
            hot = np.eye(c)[labels]
            slips = {
                "The softmax runs down the columns. Each row is one message: its classes must add up to 1.": (across - hot) / n,
                "The labels are missing: 1 has to be taken from the probability of the right class.": p / n,
                "Only the right class has a gradient here. The wrong classes are pushed down, each by its probability.": (p - hot) * hot / n,
                "Divided by N and by C: the mean runs over the messages only.": (p - hot) / n / c,
            }  # fmt: skip
        said = compare(quietly(answer, labels, z.copy()), truth, slips, rows=n)
    return with_witness(said, apart)


def smoothed_dz(labels, z, weights, smoothing):
    n, c = z.shape
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p = p / p.sum(axis=1, keepdims=True)
    target = np.full((n, c), smoothing / c)
    target[np.arange(n), labels] += 1 - smoothing
    target = target * weights  # (N, C) * (C,)
    return (p * target.sum(axis=1, keepdims=True) - target) / weights[labels].sum()


def check_smoothed_dz(answer) -> str:
    rng = np.random.default_rng()
    for round_number in range(ROUNDS):
        n, c = int(rng.integers(5, 8)), int(rng.integers(3, 5))
        labels, z, weights = rng.integers(0, c, n), rng.normal(0, 2, (n, c)), rng.uniform(0.3, 4, c)
        smoothing = float(rng.uniform(0.05, 0.4))
        if round_number == ROUNDS - 1:
            z[0] += 2000

        def loss(q, labels=labels, weights=weights, smoothing=smoothing):
            return F.cross_entropy(q, torch.tensor(labels), weight=tensor(weights), label_smoothing=smoothing)

        truth, apart = gradient_of(loss, z)
        p, hot = torch.softmax(tensor(z), 1).numpy(), np.eye(c)[labels]
        target = hot * (1 - smoothing) + smoothing / c
        other = hot * (1 - smoothing) + (1 - hot) * smoothing / (c - 1)

        def gradient(target, p=p, weights=weights):
            return p * (target * weights).sum(1, keepdims=True) - target * weights

        total = weights[labels].sum()
        slips = {
            "Divided by N. With class weights the mean is a weighted one: divide by the sum of the labels' weights.": gradient(target) / n,
            "The smoothing is missing: the target is still one at the label and zero elsewhere.": gradient(hot) / total,
            "The class weights are missing.": (p - target) / n,
            "The smoothing is spread over the C - 1 wrong classes. In the usual definition all C classes share it, the label too.": gradient(other) / total,
            "p stands alone. The target no longer sums to 1 once it is weighted: p must be multiplied by its sum.": (p - target * weights) / total,
        }  # fmt: skip
        said = compare(quietly(answer, labels, z.copy(), weights.copy(), smoothing), truth, slips, rows=n)
    return with_witness(said, apart)


# --- tokens --------------------------------------------------------------------------------------------------


def masked_dz(labels, z):
    counts = labels != -100  # (B, T)
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    p = p / p.sum(axis=-1, keepdims=True)  # (B, T, C)
    hot = np.eye(z.shape[-1])[np.where(counts, labels, 0)]
    return (p - hot) * counts[..., None] / max(1, counts.sum())


def check_masked_dz(answer) -> str:
    rng = np.random.default_rng()
    for round_number in range(ROUNDS):
        b, t, c = int(rng.integers(2, 4)), int(rng.integers(5, 7)), int(rng.integers(3, 5))
        z, labels = rng.normal(0, 2, (b, t, c)), rng.integers(0, c, (b, t))
        labels[0, 2:] = -100
        labels[1, -1] = -100
        if round_number == ROUNDS - 1:
            labels[:] = -100
        if round_number == ROUNDS - 2:
            z[0] += 2000
        counts = labels != -100

        def loss(q, labels=labels, c=c):
            total = F.cross_entropy(q.reshape(-1, c), torch.tensor(labels).reshape(-1), reduction="sum")
            return total / max(1, (labels != -100).sum())

        truth, apart = gradient_of(loss, z)
        p = torch.softmax(tensor(z), -1).numpy()
        error = p - np.eye(c)[np.where(counts, labels, 0)]
        per_row = error * counts[..., None] / np.maximum(1, counts.sum(1))[:, None, None] / b
        slips = {
            "The mask is forgotten: tokens labelled -100 get a gradient too, as if their label were 0.": error / (b * t),
            "The mask is forgotten: -100 was read as an index from the end, or as class C - 1.": (p - np.eye(c)[np.where(counts, labels, c - 1)]) / (b * t),
            "Tokens left out still get a gradient, though the mean is right: multiply by the mask.": error / max(1, counts.sum()),
            "Divided by all B T tokens. The mean runs over the tokens that count, else padding shrinks the gradient.": error * counts[..., None] / (b * t),
            "A mean per message, then over the messages: short messages weigh more than their tokens. Take one mean over all tokens that count.": per_row,
        }  # fmt: skip
        theirs = as_array(quietly(answer, labels.copy(), z.copy()))
        if not counts.any() and theirs.shape == truth.shape and not np.isfinite(theirs).all():
            raise Wrong(
                "In a batch where nothing counts you divide by zero. Its gradient is zero: nothing is to be learned."
            )
        note = compare(theirs, truth, slips if counts.any() else {}, rows=int(counts.sum()))
        if counts.any():
            said = note
    return with_witness(said, apart)


def perplexity(ids, log_p):
    nll = -log_p[np.arange(len(ids) - 1), ids[1:]]  # log_p[t] speaks of the token after t
    return np.exp(nll.mean())


def check_perplexity(answer) -> str:
    rng = np.random.default_rng()
    for _ in range(ROUNDS):
        t, v = int(rng.integers(6, 10)), int(rng.integers(5, 9))
        log_p = torch.log_softmax(tensor(rng.normal(0, 2, (t, v))), 1).numpy()
        ids = rng.integers(0, v, t)
        nll = F.nll_loss(tensor(log_p[:-1]), torch.tensor(ids[1:])).item()
        steps = np.arange(t)
        mean_p = np.exp(log_p[steps[:-1], ids[1:]]).mean()
        slips = {
            "Row t of log_p speaks of the token after t. You score each token by the row that already knows it.": np.exp(-log_p[steps, ids].mean()),
            "The shift goes the wrong way: row t of log_p speaks of token t + 1.": np.exp(-log_p[steps[1:], ids[:-1]].mean()),
            "This is the mean negative log-likelihood; perplexity is its exp.": np.array(nll),
            "The sum, not the mean: then a long text is always more perplexing than a short one.": np.exp(nll * (t - 1)),
            "The sign: a likelihood below 1 has a negative logarithm, and perplexity is at least 1.": np.exp(-nll),
            "Divided by all T tokens. The first is predicted by nothing, so there are T - 1.": np.exp(nll * (t - 1) / t),
            "Base 2 and base e are mixed: log_p is in nats, so take exp.": np.array(2**nll),
            "The mean of the probabilities instead of their logarithms: one token that is never foreseen would not hurt.": np.array(1 / mean_p),
        }  # fmt: skip
        said = compare(quietly(answer, ids.copy(), log_p.copy()), np.array(np.exp(nll)), slips)
    return said


EXERCISES = (
    Exercise(
        "loss.dl_dp",
        """
        Write `dl_dp(y, p)`: the gradient of the mean binary cross-entropy with respect to each prediction. `y` and `p` have shape
        (N,), labels 0 or 1 and probabilities; return shape (N,). Derive $-[y\\log p + (1-y)\\log(1-p)]$ by $p$, and mind the mean.
        """,
        8, 1,
        ("The derivative of log p is 1/p; that of log(1 - p) is -1/(1 - p).", "Over a common denominator: (p - y) / (p (1 - p)), then 1/N."),
        dl_dp, check_dl_dp,
        (
            Mistake(lambda y, p: -dl_dp(y, p), SIGN),
            Mistake(lambda y, p: (p - y) / (p * (1 - p)), SUM),
            Mistake(lambda y, p: (p - y) / len(y), "derivative with respect to the logit"),
            Mistake(lambda y, p: -y / p / len(y), "Only the first term"),
            Mistake(lambda y, p: -(y / p + (1 - y) / (1 - p)) / len(y), "its sign turns"),
            Mistake(lambda y, p: dl_dp(y, p).sum(), "The shape should be"),
        ),
    ),
    Exercise(
        "loss.dl_dz",
        """
        Now through the sigmoid. Write `dl_dz(y, z)`: the gradient of the same loss with respect to the logits, shape (N,). Use
        $dp/dz = p(1-p)$, and cancel before you compute: the check also sends logits at which $p$ rounds to 0 and 1.
        """,
        8, 2,
        ("Chain rule: dl/dz = dl/dp · dp/dz. Write both out and look for the same factor above and below the line.", "(p - y) / N with p = sigmoid(z)."),
        dl_dz, check_dl_dz,
        (
            Mistake(lambda y, z: dl_dp(y, sigmoid(z)) * sigmoid(z) * (1 - sigmoid(z)), "not finite"),
            Mistake(lambda y, z: sigmoid(z) - y, SUM),
            Mistake(lambda y, z: (y - sigmoid(z)) / len(y), SIGN),
            Mistake(lambda y, z: (z - y) / len(y), "through the sigmoid"),
            Mistake(lambda y, z: dl_dp(y, sigmoid(z)), "with respect to p"),
            Mistake(lambda y, z: (sigmoid(z) - y) * sigmoid(z) * (1 - sigmoid(z)) / len(y), "the two cancel"),
            Mistake(lambda y, z: sigmoid(z) / len(y), "label is missing"),
        ),
    ),
    Exercise(
        "loss.dl_dw",
        """
        To the weights. `X` has shape (N, D), `y` (N,), `w` (D,), `b` is a number, and $z = Xw + b$. Write `dl_dw(X, y, w, b)`, shape
        (D,). You may use `sigmoid`, which the lesson has imported.
        """,
        8, 2,
        ("dz_i/dw is the row x_i. So the gradient is the sum over the rows of (p_i - y_i) x_i, divided by N.", "A sum over rows is a matrix product: X.T (D, N) times an error of shape (N,)."),
        dl_dw, check_dl_dw,
        (
            Mistake(lambda X, y, w, b: X.T @ (sigmoid(X @ w + b) - y), SUM),
            Mistake(lambda X, y, w, b: -dl_dw(X, y, w, b), SIGN),
            Mistake(lambda X, y, w, b: X * (sigmoid(X @ w + b) - y)[:, None] / len(y), "Each row still stands alone"),
            Mistake(lambda X, y, w, b: X.T @ sigmoid(X @ w + b) / len(y), "label is missing"),
            Mistake(lambda X, y, w, b: X.T @ (sigmoid(X @ w) - y) / len(y), "bias is missing"),
            Mistake(lambda X, y, w, b: dl_dw(X, y, w, b)[:, None] @ np.ones((1, 1)), "still to be summed"),
            Mistake(lambda X, y, w, b: dl_dw(X, y, w, b) / len(y), "divided by N twice"),
        ),
    ),
    Exercise(
        "loss.dl_db",
        """
        And to the bias: write `dl_db(X, y, w, b)`, one number.
        """,
        3, 1,
        ("dz_i/db is 1 in every row.",),
        dl_db, check_dl_db,
        (
            Mistake(lambda X, y, w, b: (sigmoid(X @ w + b) - y).sum(), SUM),
            Mistake(lambda X, y, w, b: sigmoid(X @ w + b) - y, "One number is wanted"),
            Mistake(lambda X, y, w, b: (y - sigmoid(X @ w + b)).mean(), SIGN),
            Mistake(lambda X, y, w, b: dl_dw(X, y, w, b).mean(), "dz/db is 1"),
        ),
    ),
    Exercise(
        "loss.bce_from_logits",
        """
        Write `bce_from_logits(y, z)`: the mean binary cross-entropy as one number, exact for any logit, such as
        z = 5000 with the label 0, where the loss is 5000.
        """,
        10, 3,
        (
            "Without the sigmoid: log(1 + exp(z)) - y z. Check it for y = 0 and y = 1.",
            "log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)): now exp never sees a positive number.",
        ),
        bce_from_logits, check_bce_from_logits,
        (
            Mistake(lambda y, z: np.mean(np.log(1 + np.exp(z)) - y * z), "exp overflows"),
            Mistake(lambda y, z: -np.mean(y * np.log(sigmoid(z)) + (1 - y) * np.log(1 - sigmoid(z))), "logarithm meets a zero"),
            Mistake(lambda y, z: -np.mean(y * np.log(np.clip(sigmoid(z), 1e-12, 1)) + (1 - y) * np.log(np.clip(1 - sigmoid(z), 1e-12, 1))), "clipped"),
            Mistake(lambda y, z: np.mean(np.maximum(z, 0) + y * z + np.log1p(np.exp(-np.abs(z)))), "wrong sign"),
            Mistake(lambda y, z: np.sum(np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))), SUM),
            Mistake(lambda y, z: np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z))), "One number is wanted"),
        ),
    ),
    Exercise(
        "loss.log_sum_exp",
        """
        Write `log_sum_exp(z)` for logits of shape (N, C): $\\log\\sum_c e^{z_{nc}}$, shape (N,), also for rows of logits near
        2000 and near -2000.
        """,
        6, 2,
        ("For any number m: log Σ exp(z) = m + log Σ exp(z - m).", "Choose m as each row's largest logit; then the largest exp is exp(0) = 1."),
        log_sum_exp, check_log_sum_exp,
        (
            Mistake(lambda z: np.log(np.exp(z).sum(axis=1)), "not finite"),
            Mistake(lambda z: np.log(np.exp(z - z.max(axis=1)[:, None]).sum(axis=1)), "not put back"),
            Mistake(lambda z: z.max() + np.log(np.exp(z - z.max()).sum(axis=1)), "each row's own largest"),
            Mistake(lambda z: np.log(np.exp(z).sum(axis=0)), "sum over its classes, axis 1"),
        ),
    ),
    Exercise(
        "loss.softmax_dz",
        """
        Write `softmax_dz(labels, z)`: the gradient of the mean cross-entropy $-\\log\\mathrm{softmax}(z_n)_{y_n}$ with respect to the
        logits. `labels` (N,) are class numbers, `z` is (N, C), and so is the result. Logits may be large.
        """,
        10, 2,
        (
            "Write the loss of one row as log_sum_exp(z) - z[label] and derive it by each z_c.",
            "It is softmax(z) with 1 taken off at the label, divided by N.",
        ),
        softmax_dz, check_softmax_dz,
        (
            Mistake(lambda labels, z: -softmax_dz(labels, z), SIGN),
            Mistake(lambda labels, z: softmax_dz(labels, z) * len(labels), SUM),
            Mistake(lambda labels, z: softmax_dz(labels, z) / z.shape[1], "Divided by N and by C"),
            Mistake(lambda labels, z: (np.exp(z) / np.exp(z).sum(0) - np.eye(z.shape[1])[labels]) / len(labels), "runs down the columns"),
            Mistake(lambda labels, z: softmax_dz(labels, z) * np.eye(z.shape[1])[labels], "Only the right class"),
            Mistake(lambda labels, z: (np.exp(z) / np.exp(z).sum(1, keepdims=True) - np.eye(z.shape[1])[labels]) / len(labels), "not finite"),
            Mistake(lambda labels, z: softmax_dz(labels, z).T, "transposed"),
        ),
    ),
    Exercise(
        "loss.smoothed_dz",
        """
        Write `smoothed_dz(labels, z, weights, smoothing)`, the same gradient with class weights (C,) and label smoothing, as
        `torch.nn.functional.cross_entropy` defines them: the target is `1 - smoothing` on the label plus `smoothing / C` on every
        class; each class's term is multiplied by its weight; the sum is divided by the sum of the labels' weights.
        """,
        15, 3,
        (
            "Let t (N, C) be the target times the weights. One row's loss is Σ_c t_c (log_sum_exp(z) - z_c).",
            "Its derivative by z_c is p_c Σ t - t_c. The sum of t is no longer 1.",
        ),
        smoothed_dz, check_smoothed_dz,
        (
            Mistake(lambda labels, z, v, s: smoothed_dz(labels, z, v, s) * v[labels].sum() / len(labels), "Divided by N"),
            Mistake(lambda labels, z, v, s: smoothed_dz(labels, z, v, 0), "smoothing is missing"),
            Mistake(lambda labels, z, v, s: smoothed_dz(labels, z, np.ones_like(v), s), "class weights are missing"),
            Mistake(lambda labels, z, v, s: -smoothed_dz(labels, z, v, s), SIGN),
            Mistake(lambda labels, z, v, s: smoothed_dz(labels, z, v, s * z.shape[1] / (z.shape[1] - 1)), "C - 1 wrong classes"),
        ),
    ),
    Exercise(
        "loss.masked_dz",
        """
        Write `masked_dz(labels, z)` for tokens: `labels` (B, T) hold class numbers, or -100 where nothing is to be scored; `z` is
        (B, T, C). Return the gradient (B, T, C) of the mean cross-entropy over the tokens that count. If none counts, it is all zeros.
        """,
        12, 3,
        (
            "Start from softmax minus one-hot for every token; put some harmless class where the label is -100.",
            "Multiply by the mask, shape (B, T, 1), and divide by the number of tokens that count, at least 1.",
        ),
        masked_dz, check_masked_dz,
        (
            Mistake(lambda labels, z: masked_dz(np.where(labels == -100, 0, labels), z), "The mask is forgotten"),
            Mistake(lambda labels, z: masked_dz(labels, z) * max(1, (labels != -100).sum()) / labels.size, "Divided by all B T tokens"),
            Mistake(lambda labels, z: masked_dz(labels, z) * max(1, (labels != -100).sum()), SUM),
            Mistake(lambda labels, z: masked_dz(labels, z) * max(1, (labels != -100).sum()) / (labels != -100).sum(), "nothing counts"),
            Mistake(lambda labels, z: np.concatenate([masked_dz(labels[i : i + 1], z[i : i + 1]) for i in range(len(z))]) / len(z), "A mean per message"),
            Mistake(lambda labels, z: masked_dz(np.where(labels == -100, 0, labels), z) * labels.size / max(1, (labels != -100).sum()), "multiply by the mask"),
        ),
    ),
    Exercise(
        "loss.perplexity",
        """
        Write `perplexity(ids, log_p)`. `ids` (T,) are the tokens of a text; row t of `log_p` (T, V) holds the log-probabilities, in nats,
        of what comes *after* token t. Return the exp of the mean negative log-likelihood of the tokens that are predicted.
        """,
        8, 2,
        ("Row 0 predicts ids[1]; the last row predicts nothing that is there.", "log_p[np.arange(T - 1), ids[1:]] picks one number per row."),
        perplexity, check_perplexity,
        (
            Mistake(lambda ids, log_p: np.exp(-log_p[np.arange(len(ids)), ids].mean()), "already knows it"),
            Mistake(lambda ids, log_p: np.exp(-log_p[np.arange(1, len(ids)), ids[:-1]].mean()), "shift goes the wrong way"),
            Mistake(lambda ids, log_p: np.log(perplexity(ids, log_p)), "perplexity is its exp"),
            Mistake(lambda ids, log_p: perplexity(ids, log_p) ** (len(ids) - 1), "The sum, not the mean"),
            Mistake(lambda ids, log_p: 1 / perplexity(ids, log_p), "The sign"),
            Mistake(lambda ids, log_p: perplexity(ids, log_p) ** ((len(ids) - 1) / len(ids)), "Divided by all T tokens"),
        ),
    ),
)  # fmt: skip

QUIZZES = (
    Quiz(
        "loss.quiz_cancel",
        "Why is the gradient with respect to the logit simply p - y?",
        (
            Choice("Because the loss is linear in z.", False, "It is not: for y = 0 it is log(1 + exp(z)), which bends."),
            Choice("The sigmoid's slope p (1 - p) cancels the same product below the line in dl/dp.", True,
                   "Cross-entropy and sigmoid fit each other; with squared error the slope stays and learning stalls."),
            Choice("Because torch rounds the rest away.", False, "It holds exactly, on paper; the exercise compared it to 1e-16."),
        ),
    ),
    Quiz(
        "loss.quiz_mask",
        "A batch holds one message of 8 tokens and one of 120 tokens, padded to 120. Labels on padding are O. What happens?",
        (
            Choice("Nothing, padding has no gradient.", False, "Without -100 it has: each padded token pulls towards O like a real one."),
            Choice("The loss looks small, and the model learns mostly to say O on padding.", True,
                   "Nearly half of the scored tokens are padding, always right and worth nothing."),
            Choice("Training stops with an error.", False, "Nothing fails, which is why the mistake lives so long."),
        ),
    ),
    Quiz(
        "loss.quiz_perplexity",
        "A model's perplexity on your text is 40. What does that say?",
        (
            Choice("It gets 40 percent of the tokens right.", False, "Perplexity says nothing about how often the first choice is right."),
            Choice("On average it is as unsure as if it chose evenly among 40 tokens.", True,
                   "It is exp of the mean loss, and a loss of log 40 is what an even choice among 40 costs."),
            Choice("It is better than a model with perplexity 45 and another vocabulary.", False,
                   "Per-token figures compare only with the same tokens; another vocabulary cuts the text differently."),
        ),
    ),
)  # fmt: skip
