# %% [markdown]
# # 02 · Derive the loss
#
# **By the end you will have shown** that a classifier trained by nothing but your own hand-derived gradients reaches what
# scikit-learn reaches, and you will know for each line of the derivation that it is true, because a machine has checked it.
#
# | | |
# |---|---|
# | Time | 100 minutes with the ten exercises; the cells themselves run in under a minute |
# | Needs | the course installed; no network, no GPU |
# | Before this | [01 · Prepare the data](01_prepare_data.ipynb) helps; derivatives, the chain rule, NumPy arrays |
#
# [![Open in Colab](colab-badge)](written by agentlab/home.py)
#
# **Contents:** a score that cannot teach · from the model to the risk · maximum likelihood · the gradient, line by line · numbers that
# overflow · a classifier from nothing but gradients · squared error, the contrast · many classes · tokens and the mask · a language
# model's loss · play · limits, takeaways, quiz

# %%
# Set-up: written by agentlab/home.py

# %% tags=["parameters"]
PROFILE = "auto"
SEED = 0

# %%
import numpy as np
import torch

from agentlab.lesson import begin, record

lesson = begin("02_derive_the_loss", PROFILE, SEED)
MESSAGES = {"quick": 700, "cpu": 2000, "gpu": 2000}[lesson.profile]  # to train on
STEPS = {"quick": 800, "cpu": 2000, "gpu": 2000}[lesson.profile]  # of gradient descent

# %% [markdown]
# ## A score that cannot teach
#
# The shop wants messages about something broken to go to the workshop at once. Two programs give a probability for that. **Which
# one would you put to work?**

# %%
from agentlab.show import say, show_table

broken = np.array([1, 1, 0, 0])
first = np.array([0.95, 0.51, 0.02, 0.49])
second = np.array([0.51, 0.52, 0.49, 0.001])
messages = ["my kettle leaks since today", "it makes a noise that I do not like", "where is my parcel?", "I never said it was fine"]  # fmt: skip
show_table(
    [
        {"message": m, "broken?": b, "first program": p, "second program": q}
        for m, b, p, q in zip(messages, broken, first, second, strict=True)
    ],
    "Four messages, the truth, and what two programs say",
)
say(
    f"Accuracy: {np.mean((first > 0.5) == broken):.0%} for the first, {np.mean((second > 0.5) == broken):.0%} for the second."
)

# %% [markdown]
# Accuracy calls them equal. It does not see that the first program is sure where it can be and unsure where it should be. Worse,
# accuracy gives no direction: move a probability a little and nothing changes.

# %%
nudged = first + np.array([0.01, 0, 0, 0])
change = np.mean((nudged > 0.5) == broken) - np.mean((first > 0.5) == broken)
say(f"After moving the first probability by 0.01, accuracy has changed by {change:.2f}.")
assert change == 0

# %% [markdown]
# To learn, a program needs a number that falls with every small step in the right direction: a **loss**, with a **gradient**. Which
# loss? There is one that follows from a single idea, and this lesson derives it, line by line. **Every line that can be computed is
# computed**, with this helper:


# %%
def both_sides(what, left, right):
    """Say how far the two sides of an equation are apart; they must agree."""
    apart = float(np.abs(np.asarray(left) - np.asarray(right)).max())
    assert apart < 1e-8, f"{what}: the two sides are {apart} apart"
    say(f"✔ {what}: the two sides agree to {apart:.0e}.")


# %% [markdown]
# ## From the model to the risk
#
# The model $M_\theta$ is the encoder of lesson 00: it turns a message into 384 numbers. On top sits an **adaptation layer** $H$, which
# turns these into an answer to *our* question. Together:
#
# $$M^T_\theta(x) = H(M_\theta(x))$$
#
# For a yes-or-no question, $H$ is a weighted sum and a squashing function: $z = w\cdot h + b$, then $p = \sigma(z)$.

# %%
from agentlab import corpus
from agentlab.assets import embed_once
from agentlab.losses import bce, bce_with_logits, sigmoid

data = corpus.support()
order = np.random.default_rng(SEED).permutation(len(data.train))[:MESSAGES]
train, validation = [data.train[i] for i in order], data.validation
BROKEN = {"report_fault", "wrong_or_damaged_item"}
y = np.array([m.intent in BROKEN for m in train], dtype=float)  # (N,)
y_val = np.array([m.intent in BROKEN for m in validation], dtype=float)
h = embed_once([m.text for m in train]).astype(float)  # (N, 384), computed once and cached
h_val = embed_once([m.text for m in validation]).astype(float)

# %% [markdown]
# Gradient descent likes numbers of one size, so each of the 384 columns gets mean 0 and deviation 1, measured on the training part
# only.

# %%
centre, spread = h.mean(0), h.std(0)
X, X_val = (h - centre) / spread, (h_val - centre) / spread  # (N, D)
N, D = X.shape
w_start = (
    X[y == 1].mean(0) - X[y == 0].mean(0)
) * 0.15  # (D,) a first guess: from one class to the other
b_start = -2.5
show_table(
    [
        {"symbol": "x", "what": "a message", "shape": "text", "here": train[0].text[:50]},
        {"symbol": "M(x) = h", "what": "the encoder's vector", "shape": "(D,)", "here": f"({D},)"},
        {"symbol": "X", "what": "all vectors, one per row", "shape": "(N, D)", "here": str(X.shape)},
        {"symbol": "w, b", "what": "the parameters of H", "shape": "(D,), one number", "here": f"({D},), {b_start}"},
        {"symbol": "z = Xw + b", "what": "logits, any number", "shape": "(N,)", "here": str((X @ w_start + b_start).shape)},
        {"symbol": "p = σ(z)", "what": "probabilities", "shape": "(N,)", "here": str(sigmoid(X @ w_start).shape)},
        {"symbol": "y", "what": "labels, 1 if broken", "shape": "(N,)", "here": f"{int(y.sum())} ones among {N}"},
    ],
    "Every symbol with its shape",
)  # fmt: skip

# %% [markdown]
# What we want small is the **expected risk**: the mean loss over all messages that will ever come, $R(\theta)=\mathbb{E}\,[\ell(y,
# M^T_\theta(x))]$. Nobody can compute it. What we can compute is the **empirical risk** over the messages that we have:
#
# $$\hat R(\theta) = \frac1N\sum_{i=1}^{N} \ell\big(y_i, M^T_\theta(x_i)\big)$$
#
# How good a stand-in is it? **Predict:** with ten times as many messages, how much less does it scatter?

# %%
from agentlab.show import COLOURS, new_figure, show_figure

rng = np.random.default_rng(SEED)
z_val = X_val @ w_start + b_start
each = np.array(
    [bce_with_logits(y_val[i : i + 1], z_val[i : i + 1]).value for i in range(len(y_val))]
)
sizes = [10, 30, 100, 300]
draws = [[rng.choice(each, n).mean() for _ in range(300)] for n in sizes]
scatter = [float(np.std(d)) for d in draws]
figure, ax = new_figure(7, 3)
ax.violinplot(draws, positions=range(4), showmedians=True)
ax.axhline(each.mean(), color=COLOURS["vermilion"], ls="--", label="over all validation messages")
ax.set(xticks=range(4), xticklabels=sizes, xlabel="messages in the sample", ylabel="empirical risk")
ax.legend()
show_figure(
    figure,
    alt="Violin chart of 300 empirical risks for samples of 10, 30, 100 and 300 messages: all lie around the dashed line of the whole, and "
    f"their standard deviation falls from {scatter[0]:.3f} to {scatter[-1]:.3f}.",
    caption="Each violin holds 300 samples drawn from the same messages.",
)
say(
    f"From 10 to 100 messages the scatter falls by a factor of {scatter[0] / scatter[2]:.1f}, and not by 10: it goes with $1/\\sqrt N$, "
    f"so by {np.sqrt(10):.1f} if we had drawn for ever."
)
assert 2.2 < scatter[0] / scatter[2] < 4.5

# %% [markdown]
# ## Maximum likelihood
#
# Which $\ell$? Take the model at its word. It says "broken with probability $p$". Then the probability that it gives to what really
# happened is $p$ if $y=1$ and $1-p$ if $y=0$, which can be written in one term:
#
# $$P(y\mid x) = p^{\,y}\,(1-p)^{1-y}$$
#
# Messages do not influence each other, so the probability of all labels is the product $\prod_i p_i^{y_i}(1-p_i)^{1-y_i}$. The best
# parameters are those under which the truth is most probable. **Predict** the size of that product over our training messages.

# %%
p = sigmoid(X @ w_start + b_start)
likelihood = np.prod(p**y * (1 - p) ** (1 - y))
coin = np.prod(np.full(len(data.train), 0.5))  # a model that always says 0.5
say(
    f"Our first guess on {N} messages: {likelihood:.3g}. A tossed coin on all {len(data.train)} training messages: **{coin}**."
)
assert coin == 0

# %% [markdown]
# A product of many numbers below 1 sinks, and with enough factors it sinks under the smallest number the machine can hold (about
# $10^{-308}$): zero, and no way to compare two models. A logarithm turns it into a sum, keeps the place of the maximum, and a minus sign makes it something to minimise. Divided
# by $N$, that is **binary cross-entropy**:
#
# $$\ell(y,p) = -\big[\,y\log p + (1-y)\log(1-p)\,\big],\qquad \hat R = \frac1N\sum_i \ell(y_i,p_i)$$

# %%
few = slice(0, 40)  # so few that the product still exists
from_product = -np.log(np.prod(p[few] ** y[few] * (1 - p[few]) ** (1 - y[few]))) / 40
both_sides(
    "minus the log of the product, over N = cross-entropy", from_product, bce(y[few], p[few]).value
)

# %%
say(
    f"The two programs from the start: cross-entropy {bce(broken.astype(float), first).value:.3f} for the first, "
    f"**{bce(broken.astype(float), second).value:.3f}** for the second. It tells them apart, and it has a slope everywhere."
)
assert bce(broken.astype(float), first).value < bce(broken.astype(float), second).value

# %% [markdown]
# ## The gradient, line by line
#
# **With respect to the prediction.** Derive $\ell$ by $p$, one example at a time. The logarithm gives $1/p$, the inner minus of
# $\log(1-p)$ turns a sign:
#
# $$\frac{\partial \ell}{\partial p} = -\frac{y}{p}+\frac{1-y}{1-p} = \frac{p-y}{p\,(1-p)}$$
#
# and the mean over the data brings a $1/N$ with it. Write it. The check compares you with automatic differentiation *and* with finite
# differences, says **exact**, **approximate** or wrong with the largest difference, and which slip it looks like.

# %%
from agentlab.exercises import ____, exercise, quiz

ex = exercise("loss.dl_dp")


# %%
def dl_dp(y, p):
    return ____


ex.check(dl_dp)

# %%
dl_dp = ex.use(dl_dp)
both_sides("the two forms of dl/dp", dl_dp(y, p), (-y / p + (1 - y) / (1 - p)) / N)

# %% [markdown]
# Note how steep it is: at $y=1$ and $p=0.001$ the slope is $-1000$. Sure and wrong costs most, and is corrected hardest.
#
# **Through the sigmoid.** $p=\sigma(z)=1/(1+e^{-z})$, whose derivative is $\sigma'(z) = p\,(1-p)$. First check that line, then multiply.

# %%
z = np.linspace(-4, 4, 9)
slope = (sigmoid(z + 1e-6) - sigmoid(z - 1e-6)) / 2e-6
both_sides("σ'(z) = p (1 - p), by finite differences", slope, sigmoid(z) * (1 - sigmoid(z)))

# %% [markdown]
# $$\frac{\partial \ell}{\partial z}=\frac{\partial \ell}{\partial p}\,\frac{\partial p}{\partial z}
# =\frac{p-y}{p(1-p)}\;p(1-p) = p-y$$
#
# What was below the line cancels. Nothing is left but **prediction minus truth**. This is why cross-entropy and the sigmoid belong
# together.

# %%
ex = exercise("loss.dl_dz")


# %%
def dl_dz(y, z):
    return ____


ex.check(dl_dz)

# %%
dl_dz = ex.use(dl_dz)
z = X @ w_start + b_start
both_sides(
    "dl/dz = dl/dp · p (1 - p)", dl_dz(y, z), dl_dp(y, sigmoid(z)) * sigmoid(z) * (1 - sigmoid(z))
)

# %% [markdown]
# **To the parameters.** The chain rule once more. For any parameter $\theta_k$,
#
# $$\frac{\partial \hat R}{\partial \theta_k} = -\frac1N\sum_{i=1}^N\left(\frac{y_i}{p_i}-\frac{1-y_i}{1-p_i}\right)
# \frac{\partial p_i}{\partial\theta_k}$$
#
# Deep in a network the last factor is what automatic differentiation works out. In our layer we can do it by hand: $\partial z_i/\partial
# w = x_i$ and $\partial z_i/\partial b = 1$, so
#
# $$\frac{\partial \hat R}{\partial w}=\frac1N X^\top(p-y)\;\;(D,),\qquad \frac{\partial \hat R}{\partial b}=\frac1N\sum_i (p_i-y_i)$$

# %%
ex = exercise("loss.dl_dw")


# %%
def dl_dw(X, y, w, b):
    return ____


ex.check(dl_dw)

# %%
dl_dw = ex.use(dl_dw)
ex = exercise("loss.dl_db")


# %%
def dl_db(X, y, w, b):
    return ____


ex.check(dl_db)

# %%
dl_db = ex.use(dl_db)
w_t, b_t = (
    torch.tensor(w_start, requires_grad=True),
    torch.tensor(b_start, dtype=torch.float64, requires_grad=True),
)
p_t = torch.sigmoid(torch.tensor(X) @ w_t + b_t)
torch.nn.functional.binary_cross_entropy(p_t, torch.tensor(y)).backward()
both_sides("dl/dw on the real messages, by autograd", dl_dw(X, y, w_start, b_start), w_t.grad)
both_sides(
    "dl/db on the real messages, by autograd", dl_db(X, y, w_start, b_start), float(b_t.grad)
)

# %%
k = 7  # any parameter: the general equation with dp_i/dw_k = p (1 - p) x_ik
general = -np.mean((y / p - (1 - y) / (1 - p)) * p * (1 - p) * X[:, k])
both_sides("the general equation, for one weight", general, dl_dw(X, y, w_start, b_start)[k])

# %% [markdown]
# ## Numbers that overflow
#
# On paper we are done. On a machine a logit of 1000 is not rare: an untrained layer or a large learning rate is enough. **Predict** what
# the formula, typed as it stands, says about a model that is sure and wrong.

# %%
z = np.array([40.0, 1000.0])
with np.errstate(all="ignore"):
    p_plain = np.exp(z) / (1 + np.exp(z))
    typed = -np.log(1 - p_plain)  # the loss for y = 0
show_table(
    [
        {"logit": f"{a:g}", "p as typed": str(q), "loss as typed": str(c), "true loss": f"{a:g}"}
        for a, q, c in zip(z, p_plain, typed, strict=True)
    ],
    "Binary cross-entropy for y = 0, as the formula says it",
)
assert not np.isfinite(typed).any()

# %% [markdown]
# At 40, $p$ rounds to 1 and the logarithm meets a zero. At 1000, $e^{z}$ is larger than any number the machine has. Clipping $p$
# would hide it: the loss would stop at 16 or 27 however wrong the model is. Better is to go back to paper, and never form $p$:
#
# $$\ell = \log(1+e^{z}) - y z = \max(z,0) - y z + \log\!\big(1+e^{-|z|}\big)$$

# %%
z = np.random.default_rng(1).normal(0, 3, 50)
labels = (z > 1).astype(float)
p_plain = 1 / (1 + np.exp(-z))
plain = -(labels * np.log(p_plain) + (1 - labels) * np.log(1 - p_plain))
both_sides("log(1 + e^z) - y z", np.log(1 + np.exp(z)) - labels * z, plain)
both_sides("the stable form", np.maximum(z, 0) - labels * z + np.log1p(np.exp(-np.abs(z))), plain)

# %%
ex = exercise("loss.bce_from_logits")


# %%
def bce_from_logits(y, z):
    return ____


ex.check(bce_from_logits)

# %%
bce_from_logits = ex.use(bce_from_logits)
say(f"Label 0, logit 1000: the loss is {bce_from_logits(np.array([0.0]), np.array([1000.0])):g}.")

# %% [markdown]
# ## A classifier from nothing but these gradients
#
# Now use them. Gradient descent takes a step against the gradient, again and again. A small penalty $\frac{\lambda}{2}\lVert w\rVert^2$ keeps the
# weights from growing without end; its gradient is $\lambda w$. That is all: no optimizer, no autograd, no library.

# %%
PENALTY = 0.01
curvature = np.linalg.norm(X, 2) ** 2 / (4 * N) + PENALTY  # the loss bends no more than this
RATE = 1.5 / curvature


def train_by_hand(X, y, steps, w=None, b=0.0):
    """Gradient descent with your gradients; returns w, b and the loss at each step."""
    w, losses = np.zeros(X.shape[1]) if w is None else w.copy(), []
    for _ in range(steps):
        losses.append(bce_from_logits(y, X @ w + b))
        step_w, step_b = dl_dw(X, y, w, b) + PENALTY * w, dl_db(X, y, w, b)
        w, b = w - RATE * step_w, b - 1.0 * step_b
    return w, b, losses


w, b, losses = train_by_hand(X, y, STEPS)
say(
    f"Loss before: {losses[0]:.3f}, which is log 2 = {np.log(2):.3f}. After {STEPS} steps: {losses[-1]:.4f}."
)
assert abs(losses[0] - np.log(2)) < 1e-9

# %% [markdown]
# **Predict:** how close does this come to scikit-learn's logistic regression, made by experts, on the same numbers? The **control** gets the
# same training with the labels shuffled: if it did well too, we would be measuring something else.

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

peer = LogisticRegression(C=1 / (N * PENALTY), max_iter=5000, tol=1e-8).fit(X, y)
peer_w, peer_b = peer.coef_[0], float(peer.intercept_[0])
w_control, b_control, _ = train_by_hand(X, np.random.default_rng(SEED).permutation(y), STEPS)


def objective(w, b):
    return bce_from_logits(y, X @ w + b) + PENALTY / 2 * w @ w


rows = []
for name, (ww, bb) in {
    "always no (majority)": (np.zeros(D), -1.0),
    "by hand, labels shuffled (control)": (w_control, b_control),
    "by hand": (w, b),
    "scikit-learn": (peer_w, peer_b),
}.items():
    yes = X_val @ ww + bb > 0
    rows.append(
        {
            "classifier": name,
            "objective, training": float(objective(ww, bb)),
            "accuracy, validation": float(np.mean(yes == y_val)),
            "F1, validation": float(f1_score(y_val, yes, zero_division=0)),
        }
    )
show_table(
    rows, f"Broken or not, on {len(y_val)} validation messages, {int(y_val.sum())} of them broken"
)
record("hand_f1", rows[2]["F1, validation"])
record("gap_to_sklearn", abs(rows[2]["objective, training"] - rows[3]["objective, training"]))
record("control_f1", rows[1]["F1, validation"])

# %%
figure, axes = new_figure(9, 3, columns=2)
axes[0].plot(range(1, STEPS + 1), losses, color=COLOURS["blue"], label="by hand")
end = bce_from_logits(y, X @ peer_w + peer_b)
axes[0].axhline(end, color=COLOURS["vermilion"], ls="--", label="scikit-learn, at its end")
axes[0].set(xscale="log", xlabel="step (log scale), the first is 1", ylabel="training loss")
axes[0].legend()
p_val = sigmoid(X_val @ w + b)
bins = np.linspace(0, 1, 21)
axes[1].hist(p_val[y_val == 0], bins, color=COLOURS["sky"], label="not broken", edgecolor="white")
axes[1].hist(
    p_val[y_val == 1], bins, color=COLOURS["orange"], label="broken", hatch="//", alpha=0.8
)
axes[1].axvline(0.5, color="black", lw=1)
axes[1].set(yscale="log", xlabel="p(broken), validation", ylabel="messages (log scale)")
axes[1].legend()
show_figure(
    figure,
    alt=f"Two charts. Left, training loss over steps: it falls from {losses[0]:.2f} to {losses[-1]:.3f}, where the dashed line of scikit-learn "
    f"lies. Right, histogram of p(broken) on validation: most messages that are not broken lie near 0, the broken ones spread to 1.",
    caption="Left: the same minimum, reached by your gradients. Right: what the model decides; right of the line means broken.",
)

# %%
sure = int(np.argmax(np.abs(p_val - y_val)))
say(
    f"Its worst validation message: *{validation[sure].text}* It says {p_val[sure]:.2f}, the label is {int(y_val[sure])} "
    f"({validation[sure].intent})."
)

# %% [markdown]
# Accuracy hardly tells the classifiers apart, since few messages are about something broken: *always no* looks fine. F1 does not
# fall for it.
#
# ## Squared error, the contrast
#
# Why not the loss that everybody knows, $(p-y)^2$? Its gradient with respect to the logit keeps the factor that cancelled above:
#
# $$\frac{\partial}{\partial z}\,(p-y)^2 = 2\,(p-y)\;p\,(1-p)$$
#
# Where the model is sure and wrong, $p(1-p)$ is almost zero, and so is the gradient.

# %%
z = np.linspace(-8, 8, 161)
p_line = sigmoid(z)
difference = ((sigmoid(z + 1e-6) - 1) ** 2 - (sigmoid(z - 1e-6) - 1) ** 2) / 2e-6
both_sides(
    "the gradient of squared error, for y = 1", 2 * (p_line - 1) * p_line * (1 - p_line), difference
)
figure, ax = new_figure(7, 3)
ax.plot(z, np.abs(p_line - 1), color=COLOURS["blue"], label="cross-entropy: |p - y|")
ax.plot(
    z,
    np.abs(2 * (p_line - 1) * p_line * (1 - p_line)),
    color=COLOURS["orange"],
    ls="--",
    label="squared error",
)
ax.set(xlabel="logit z, label 1 (left: sure and wrong)", ylabel="size of the gradient")
ax.legend()
show_figure(
    figure,
    alt="Line chart of the size of the gradient over the logit for label 1: cross-entropy stays near 1 on the left, where the model is sure "
    "and wrong; squared error falls to zero there.",
    caption="The vanishing gradient: squared error says least where most is wrong.",
)

# %% [markdown]
# Now the same problem with both, from a bad start: a model that is sure that *everything* is broken ($b=8$). Same steps, same rate.


# %%
def train_from_bad_start(gradient, steps=300):
    w, b, accuracies = np.zeros(D), 8.0, []
    for _ in range(steps):
        error = gradient(sigmoid(X @ w + b))  # (N,) dl/dz of each row, times N
        w, b = w - RATE * (X.T @ error / N + PENALTY * w), b - 1.0 * error.mean()
        accuracies.append(float(np.mean((X_val @ w + b > 0) == y_val)))
    return accuracies


by_entropy = train_from_bad_start(lambda p: p - y)
by_square = train_from_bad_start(lambda p: 2 * (p - y) * p * (1 - p))
figure, ax = new_figure(7, 2.8)
ax.plot(by_entropy, color=COLOURS["blue"], label="cross-entropy")
ax.plot(by_square, color=COLOURS["orange"], ls="--", label="squared error")
ax.set(xlabel="step", ylabel="validation accuracy", ylim=(0, 1))
ax.legend()
show_figure(
    figure,
    alt=f"Line chart of validation accuracy over {len(by_entropy)} steps from a bad start: cross-entropy ends at {by_entropy[-1]:.2f}, squared "
    f"error at {by_square[-1]:.2f}.",
    caption="One learns its way out of the bad start. The other has no slope to go down.",
)
record("bad_start_entropy", by_entropy[-1])
record("bad_start_squared", by_square[-1])

# %% [markdown]
# ## Many classes
#
# The shop has 29 intents. A message now gets a logit per class, and **softmax** makes probabilities of them: $p_c = e^{z_c} / \sum_k
# e^{z_k}$. The loss is again minus the log of what the truth was given:
#
# $$\ell = -\log p_{y} = \log\sum_k e^{z_k} - z_y$$
#
# The first term wants to overflow. The cure is the same as before: take out what is largest, $\log\sum_k e^{z_k} = m + \log\sum_k
# e^{z_k-m}$.

# %%
z = np.random.default_rng(2).normal(0, 3, (6, 4))
m = z.max(axis=1)
plain = np.log(np.exp(z).sum(axis=1))
both_sides(
    "log-sum-exp with the largest taken out", m + np.log(np.exp(z - m[:, None]).sum(axis=1)), plain
)
softmax_of_z = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
both_sides("-log p_y = log-sum-exp - z_y", -np.log(softmax_of_z[:, 2]), plain - z[:, 2])

# %%
ex = exercise("loss.log_sum_exp")


# %%
def log_sum_exp(z):
    return ____


ex.check(log_sum_exp)

# %%
log_sum_exp = ex.use(log_sum_exp)
say(
    f"Logits 1000, 1000: log-sum-exp is {log_sum_exp(np.array([[1000.0, 1000.0]]))[0]:.4f} = 1000 + log 2."
)

# %% [markdown]
# Derive by $z_c$: the first term gives $e^{z_c}/\sum_k e^{z_k} = p_c$, the second $-1$ at the label and 0 elsewhere. With $e_y$ for the
# vector that is 1 at $y$,
#
# $$\frac{\partial \ell}{\partial z} = p - e_{y}$$
#
# *Prediction minus truth* again, now a vector: the right class is pulled up, every other is pushed down by as much as it was
# believed.

# %%
ex = exercise("loss.softmax_dz")


# %%
def softmax_dz(labels, z):
    return ____


ex.check(softmax_dz)

# %%
softmax_dz = ex.use(softmax_dz)
names = list(data.labels.intents)
C = len(names)
t = np.array([names.index(m.intent) for m in train])  # (N,) class numbers
t_val = np.array([names.index(m.intent) for m in validation])
W, B = np.zeros((D, C)), np.zeros(C)
for _ in range(STEPS // 4):
    G = softmax_dz(t, X @ W + B)  # (N, C)
    W, B = W - (X.T @ G + PENALTY * W) / curvature, B - 2.0 * G.sum(0)
by_hand = float(np.mean((X_val @ W + B).argmax(1) == t_val))
peer = LogisticRegression(C=1 / (N * PENALTY), max_iter=2000).fit(X, t)
by_peer = float(peer.score(X_val, t_val))
floor = corpus.measure_floor(train, validation)
show_table(
    [
        {"classifier": "most frequent intent", "accuracy": floor.majority_accuracy},
        {"classifier": "TF-IDF floor of lesson 01, same messages", "accuracy": floor.accuracy},
        {"classifier": "by hand, on the encoder's vectors", "accuracy": by_hand},
        {"classifier": "scikit-learn, on the encoder's vectors", "accuracy": by_peer},
    ],
    f"{C} intents, {N} messages to train on, {len(t_val)} to validate",
)
record("intent_accuracy", by_hand)
record("intent_gap_to_sklearn", abs(by_hand - by_peer))

# %% [markdown]
# **Two refinements** that every library offers. *Class weights* $v_c$ make rare classes count more: multiply each row's term by the weight
# of its label, and divide by the sum of these weights. *Label smoothing* tells the model not to be too sure: the target is $1-\epsilon$
# on the label plus $\epsilon/C$ on every class. With $t_c$ for target times weight,
#
# $$\ell = \sum_c t_c\,\Big(\log\sum_k e^{z_k} - z_c\Big),\qquad \frac{\partial \ell}{\partial z_c} = p_c\sum_k t_k - t_c$$

# %%
ex = exercise("loss.smoothed_dz")


# %%
def smoothed_dz(labels, z, weights, smoothing):
    return ____


ex.check(smoothed_dz)

# %%
smoothed_dz = ex.use(smoothed_dz)
z_one = np.array([[4.0, 0.0, 0.0]])
ones, one_label = np.ones(3), np.array([0])
say(
    f"Logits (4, 0, 0), label 0. Plain gradient: {softmax_dz(one_label, z_one).round(3).tolist()[0]}. With smoothing 0.2 it turns round: "
    f"{smoothed_dz(one_label, z_one, ones, 0.2).round(3).tolist()[0]}. The model is told that it is *too* sure."
)
both_sides(
    "without weights and smoothing they are one",
    smoothed_dz(one_label, z_one, ones, 0.0),
    softmax_dz(one_label, z_one),
)

# %% [markdown]
# ## Tokens and the mask
#
# To find *what* is broken, each token gets a label, so logits have the shape (B, T, C). Messages differ in length; the shorter ones are
# filled up with padding, which must not count. With $m_{bt}$ for 1 where a token counts and 0 where its label is -100:
#
# $$\hat R = \frac{\sum_{bt} m_{bt}\,\ell_{bt}}{\sum_{bt} m_{bt}},\qquad
# \frac{\partial \hat R}{\partial z_{bt}} = \frac{m_{bt}\,(p_{bt}-e_{y_{bt}})}{\sum_{bt} m_{bt}}$$

# %%
ex = exercise("loss.masked_dz")


# %%
def masked_dz(labels, z):
    return ____


ex.check(masked_dz)

# %%
from agentlab.losses import token_cross_entropy

masked_dz = ex.use(masked_dz)
rng = np.random.default_rng(3)
z, tags = rng.normal(0, 2, (2, 4, 3)), np.array([[0, 1, -100, -100], [2, 2, 0, 1]])
both_sides("the masked gradient", masked_dz(tags, z), token_cross_entropy(tags, z).gradient)

# %% [markdown]
# **Why padding counted as `O` flatters.** The article behind this course pads every message to 128 tokens, labels the padding `O`, and scores it.
# Take one fixed tagger and score *the same predictions* both ways. The tagger is the simplest there is: for each token, how often it had
# each label in training, padding included.

# %%
from agentlab.assets import load_encoder
from agentlab.encoding import words_and_groups

_, tokenizer = load_encoder()
TAGS = ("O", "Customer", "Sales", "Support")
WIDTH = 128


def tokens_and_labels(message):
    """Token ids and coarse labels, the label on each word's first piece; padded to WIDTH with -100."""
    words, groups = words_and_groups(message, data.labels.span_types)
    encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=WIDTH)
    ids, labels, before = encoded["input_ids"], [], None
    for place in encoded.word_ids():
        known = place is not None and place != before
        labels.append(TAGS.index(groups[place]) if known else -100)
        before = place
    padding = WIDTH - len(ids)
    return ids + [tokenizer.pad_token_id] * padding, labels + [-100] * padding


def table_of(messages):
    pairs = [tokens_and_labels(m) for m in messages]
    return np.array([ids for ids, _ in pairs]), np.array([labels for _, labels in pairs])


ids, tags = table_of(train)  # (N, 128) each
counts = np.ones((len(tokenizer), len(TAGS))) * 0.1
scored_as_o = np.where(ids == tokenizer.pad_token_id, 0, tags)
np.add.at(counts, (ids[scored_as_o != -100], scored_as_o[scored_as_o != -100]), 1)
log_p = np.log(counts / counts.sum(1, keepdims=True))  # (vocabulary, 4)

# %%
ids_val, tags_val = table_of(validation)
z = log_p[ids_val]  # (B, 128, 4): one prediction, scored in two ways
rows = []
for how, labels in {
    "padding labelled O and scored": np.where(ids_val == tokenizer.pad_token_id, 0, tags_val),
    "padding labelled -100": tags_val,
}.items():
    counted = labels != -100
    rows.append(
        {
            "scored": how,
            "tokens scored": int(counted.sum()),
            "loss": token_cross_entropy(labels, z).value,
            "accuracy": float(np.mean(z.argmax(-1)[counted] == labels[counted])),
            "always O would get": float(np.mean(labels[counted] == 0)),
        }
    )
show_table(rows, "The same predictions of the same tagger on the validation messages")
record("padded_accuracy", rows[0]["accuracy"])
record("honest_token_accuracy", rows[1]["accuracy"])
say(
    f"The flattered loss is {rows[1]['loss'] / rows[0]['loss']:.0f} times smaller. Not one prediction has changed: "
    f"{1 - rows[1]['tokens scored'] / rows[0]['tokens scored']:.0%} of what was scored was padding."
)
assert rows[0]["accuracy"] > rows[1]["accuracy"] and rows[0]["loss"] < rows[1]["loss"]

# %% [markdown]
# ## A language model's loss
#
# A language model is a classifier too: over its whole vocabulary, at every position, for the token that comes *next*. Its loss is the mean
# **negative log-likelihood**, and $e$ to that power is its **perplexity**:
#
# $$\mathrm{NLL} = -\frac1{T-1}\sum_{t=1}^{T-1}\log p(x_{t+1}\mid x_1,\dots,x_t),\qquad \mathrm{PPL}=e^{\mathrm{NLL}}$$
#
# An even choice among $k$ tokens has a loss of $\log k$ at every place, so its perplexity is $k$.

# %%
ex = exercise("loss.perplexity")


# %%
def perplexity(ids, log_p):
    return ____


ex.check(perplexity)

# %%
perplexity = ex.use(perplexity)
even = np.full((5, 40), -np.log(40))
both_sides("an even choice among 40 has perplexity 40", perplexity(np.arange(5), even), 40)

# %% [markdown]
# Now the course's language model (135 million parameters, weights from a 4-bit file) on customers' messages, and as a control on
# the same words in random order. **Predict** by what factor the second is more perplexing.

# %%
from agentlab.assets import load_language_model

model, lm_tokenizer = load_language_model()
long_ones = [m.text for m in validation if 12 <= len(m.text.split()) <= 40][:12]


def read(text):
    """Token ids (T,) and log-probabilities (T, V), in double precision."""
    ids = lm_tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logits = model(ids).logits[0].double()
    return ids[0].numpy(), torch.log_softmax(logits, -1).numpy()


def shuffled(text):
    return " ".join(rng.permutation(text.split()))


real = [perplexity(*read(text)) for text in long_ones]
control = [perplexity(*read(shuffled(text))) for text in long_ones]
real_mean, control_mean = (float(np.exp(np.mean(np.log(x)))) for x in (real, control))
show_table(
    [
        {"text": "an even choice over the vocabulary", "perplexity": float(len(lm_tokenizer))},
        {"text": "the words in random order (control)", "perplexity": control_mean},
        {"text": "the messages as written", "perplexity": real_mean},
    ],
    f"Perplexity of SmolLM2-135M (4-bit file) on {len(long_ones)} customers' messages, geometric mean",
)
record("lm_perplexity", real_mean)
record("lm_control_ratio", control_mean / real_mean)

# %%
ids_one, log_p_one = read(long_ones[0])
with torch.inference_mode():
    batch = torch.tensor(ids_one)[None]
    library = float(
        torch.nn.functional.cross_entropy(model(batch).logits[0, :-1].double(), batch[0, 1:])
    )
both_sides("NLL by hand and by torch", np.log(perplexity(ids_one, log_p_one)), library)

# %% [markdown]
# ## Play
#
# Move the sliders. The curve is the loss over the logit, the dot is where you are, the arrow is the step that descent would
# take. **Can you find** a place where smoothing turns the arrow round?

# %%
from agentlab.ui import Slider, explore


def draw_loss(logit, label, weight, smoothing):
    target = label * (1 - smoothing) + smoothing / 2
    line = np.linspace(-8, 8, 200)
    curve = weight * (np.maximum(line, 0) - target * line + np.log1p(np.exp(-np.abs(line))))
    loss = weight * (max(logit, 0) - target * logit + np.log1p(np.exp(-abs(logit))))
    gradient = weight * (float(sigmoid(np.array(logit))) - target)
    figure, ax = new_figure(7, 3)
    ax.plot(line, curve, color=COLOURS["blue"])
    ax.plot(logit, loss, "o", color=COLOURS["vermilion"], ms=9)
    ax.annotate(
        "", (logit - 2 * gradient, loss), (logit, loss), arrowprops={"arrowstyle": "-|>", "lw": 2}
    )
    ax.set(xlabel="logit z", ylabel="loss", ylim=(-0.3, max(8.5, weight * 4)))
    where = "to the left" if gradient > 0 else "to the right" if gradient < 0 else "nowhere"
    sentence = f"Loss {loss:.3f}, gradient {gradient:+.3f}: descent goes {where}."
    return (
        figure,
        f"Line chart of the loss over the logit, with a dot at z = {logit:g}. {sentence}",
        sentence,
    )


explore(
    draw_loss,
    {
        "logit": Slider(-8, 8, 0.1, 3.0),
        "label": Slider(0, 1, 1, 0),
        "weight": Slider(0.1, 5, 0.1, 1.0),
        "smoothing": Slider(0, 0.5, 0.05, 0.1),
    },
    "One example's loss.",
)

# %% [markdown]
# And the landscape: one weight, one bias. The single feature is how far a message lies along the line from one class to the other. Raise
# the rate until the path begins to jump, then until it leaves the map.

# %%
direction = (X[y == 1].mean(0) - X[y == 0].mean(0)) / 10
u = X[:300] @ direction  # (300,) one feature
y_u = y[:300]
grid_w, grid_b = np.meshgrid(np.linspace(-1, 4, 41), np.linspace(-6, 2, 41))
logits = grid_w[..., None] * u + grid_b[..., None]  # (41, 41, 300)
surface = np.mean(np.maximum(logits, 0) - y_u * logits + np.log1p(np.exp(-np.abs(logits))), axis=-1)


def draw_descent(rate, steps):
    w1, b1, path = np.array([-0.5]), 1.5, [(-0.5, 1.5)]
    for _ in range(int(steps)):
        slope_w, slope_b = dl_dw(u[:, None], y_u, w1, b1), dl_db(u[:, None], y_u, w1, b1)
        w1, b1 = w1 - rate * slope_w, b1 - rate * slope_b
        path.append((float(w1[0]), float(b1)))
    figure, ax = new_figure(6.5, 3.8)
    ax.contourf(grid_w, grid_b, surface, levels=20, cmap="cividis")
    ax.plot(*zip(*path, strict=True), "o-", color="white", ms=4, lw=1.2, mec="black")
    ax.set(xlim=(-1, 4), ylim=(-6, 2), xlabel="weight", ylabel="bias")
    end = bce_from_logits(y_u, u * path[-1][0] + path[-1][1])
    sentence = f"After {int(steps)} steps at rate {rate:g} the loss is {end:.3f}; the lowest on this map is {surface.min():.3f}."
    return (
        figure,
        f"Contour chart of the loss over weight and bias with the path of descent. {sentence}",
        sentence,
    )


explore(
    draw_descent,
    {"rate": Slider(0.1, 20, 0.1, 4.0), "steps": Slider(1, 60, 1, 25)},
    "Dark is low. The path starts at the top left.",
)

# %% [markdown]
# ## Limits
#
# - The layer $H$ is trained here and the encoder is left as it came. Lesson 03 trains both, with automatic differentiation for what
#   nobody derives by hand.
# - A low loss on the training part is no aim in itself: the figures above that matter are those on validation.
# - The perplexities belong to the weights of a 4-bit file, and to these few messages; another vocabulary is not comparable.
#
# ## Takeaways
#
# 1. Cross-entropy is maximum likelihood with a logarithm, a minus and a mean.
# 2. With sigmoid or softmax its gradient is *prediction minus truth*; squared error keeps a factor that can vanish.
# 3. Compute from logits, and take the largest out before exp. Clipping hides trouble.
# 4. The mean runs over what counts. Scored padding makes any tagger look good.
# 5. Two independent witnesses, autograd and finite differences, are cheap; believe a gradient when both agree.

# %%
quiz("loss.quiz_cancel")

# %%
quiz("loss.quiz_mask")

# %%
quiz("loss.quiz_perplexity")

# %% [markdown]
# ## Further work
#
# - **Easy:** start `train_by_hand` with a rate ten times as large. What does the loss curve do, and why?
# - **Medium:** derive and check the gradient of the *focal loss* $-(1-p_y)^\gamma\log p_y$. Does it help with so few broken ones?
# - **Hard:** put a hidden layer between encoder and decision, and derive its gradient by hand. Check it as this lesson does.
#
# **Next:** lesson 03 fine-tunes the whole encoder with this loss.
