# %% [markdown]
# # 09 · Personal recommendations
#
# **By the end you will have shown** that a model which reads what customers looked at and wrote finds what they click next far better than a
# list of bestsellers, that it does so for products which nobody has clicked yet, where counting clicks can say nothing, and that each
# recommendation comes with the very line of the history that caused it.
#
# | | |
# |---|---|
# | Time | 120 minutes with the seven exercises; the cells themselves take 1 to 3 minutes on two cores |
# | Needs | the course installed; no network, no GPU. The first time, two towers are trained (about a minute more) |
# | Before this | [03 · Fine-tune](03_fine_tune.ipynb) helps; NumPy, a little probability |
#
# [![Open in Colab](colab-badge)](written by agentlab/home.py)
#
# **Contents:** what everybody buys · a shop whose truth is known · a split by time · who looked at this · how good is a list · lists that read ·
# two towers · the result · new products, new customers · a ranker · places · why · a hundred thousand products · a map · a tool of the
# agent · play · limits, takeaways, quiz

# %%
# Set-up: written by agentlab/home.py

# %% tags=["parameters"]
PROFILE = "auto"
SEED = 0

# %%
import math  # noqa: F401 - for you
import time
from dataclasses import replace

import numpy as np

from agentlab.lesson import begin, record

lesson = begin("09_recommend", PROFILE, SEED)
QUICK = lesson.profile == "quick"
MANY = 20_000 if QUICK else 100_000  # products in the speed test
STEPS = 60 if QUICK else 150  # of the short trainings that only compare

# %% [markdown]
# ## What everybody buys
#
# *"I bought a camera from you last month, and I am off to the hills with it. Anything you would suggest?"* A shop without a recommender has one answer for
# everybody: what sells best. **Predict:** how many of the ten have to do with cameras or hills?

# %%
from agentlab import behaviour, recommend, towers
from agentlab.show import COLOURS, MARKERS, new_figure, say, show_figure, show_table, shows_error

log = behaviour.simulate(seed=SEED)
START = behaviour.TRAIN_DAYS + behaviour.VALIDATION_DAYS  # the first day of the test
before = recommend.interactions(log, START)
popular = recommend.Popularity().fit(before)
best = np.argsort(-popular.counts)[:10]
show_table(
    [{"bestseller": log.products[i].name, "category": log.products[i].category, "customers": int(popular.counts[i])} for i in best],
    "The same ten for everybody",
)  # fmt: skip

# %% [markdown]
# ## A shop whose truth is known
#
# Nobody knows why a real customer clicks, so nobody can check whether a recommender understood it. Here we can. The products and their texts are written by people. **The
# customers are simulated**: each has a few tastes (travel, coffee, silence, repair ...), visits the shop now and then, sees a list of twelve, looks at the upper places more
# often than at the lower ones, clicks, buys, and writes a short review. Models get clicks and texts. The tastes they never see.

# %%
say(
    f"{log.users:,} customers, {len(log.products)} products, {len(log.lists):,} lists, {(log.kind == 0).sum():,} clicks, "
    f"{(log.kind == 1).sum():,} purchases and {(log.kind == 2).sum():,} reviews in 26 weeks."
)
known = recommend.histories(log, START)
someone = max(
    range(log.users),
    key=lambda u: (sum(x.kind == "liked" for x in known[u][-8:]) * bool(log.wishes[u]), -u),
)
show_table(
    [
        {"what": line.kind, "text": line.text[:110]}
        for line in (*known[someone][:1], *known[someone][-7:])
    ],
    f"What is known of customer {someone}: the first line and the last seven",
)

# %% [markdown]
# ## A split by time
#
# A recommender speaks about tomorrow. So it learns from what came before a day, and is tested on what came after. Two traps: events of the test days
# among those to learn from, and products in the test that the customer knew already.

# %%
from agentlab.exercises import ____, exercise, quiz

ex = exercise("recommend.split_by_time")


# %%
def split_by_time(events, day):
    return ____


ex.check(split_by_time)

# %%
split_by_time = ex.use(split_by_time)
clicks = log.kind == behaviour.CLICK
_, later = split_by_time(
    list(
        zip(
            log.day[clicks].tolist(),
            log.user[clicks].tolist(),
            log.item[clicks].tolist(),
            strict=True,
        )
    ),
    START,
)
task = recommend.make_task(log, START, behaviour.TEST_DAYS)
assert {int(u): found for u, found in zip(task.users, task.relevant, strict=True)} == later
say(
    f"{len(task)} customers click something new in the last three weeks, {sum(map(len, task.relevant)) / len(task):.1f} products each. "
    f"Twenty weeks are learned from; the three between are for choosing."
)

# %% [markdown]
# ## Who looked at this also looked at that
#
# The oldest personal recommender needs no model at all. Two products are alike if the same customers looked at both.

# %%
ex = exercise("recommend.co_occurrence")


# %%
def co_occurrence(seen):
    return ____


ex.check(co_occurrence)

# %%
co_occurrence = ex.use(co_occurrence)
neighbours = recommend.CoOccurrence().fit(before)
assert np.allclose(neighbours.similar, co_occurrence((before > 0).toarray().astype(float)))
camera = next(n for n, p in enumerate(log.products) if p.id == "P131")
show_table(
    [{"near to the " + log.products[camera].name: log.products[i].name, "cosine": float(neighbours.similar[camera, i])} for i in np.argsort(-neighbours.similar[camera])[:5]],
    "Five neighbours, by clicks alone",
)  # fmt: skip

# %% [markdown]
# A step further, **matrix factorization** gives each customer $u$ and each product $i$ a short vector, $\mathbf p_u, \mathbf q_i \in \mathbb R^{32}$, such that
# $\mathbf p_u^\top \mathbf q_i$ is large where there were clicks. It is what most shops begin with; the library is `implicit`.
#
# ## How good is a list?
#
# A hit on place 1 is worth more than one on place 10. **NDCG@10** (normalized discounted cumulative gain) says how much, with $r_n = 1$ if the product on place $n$ is clicked later:
#
# $$\mathrm{NDCG@}k = \frac{\sum_{n=1}^{k} r_n / \log_2 (n+1)}{\text{the same for the best possible list}}$$

# %%
ex = exercise("recommend.ndcg")


# %%
def ndcg(ranked, relevant, k):
    return ____


ex.check(ndcg)

# %%
ndcg = ex.use(ndcg)
factors = recommend.Factorization(seed=SEED).fit(before)
results = {
    "bestsellers": recommend.assess(popular.scores(task.rows), task, popular.counts),
    "neighbours": recommend.assess(neighbours.scores(task.rows), task, popular.counts),
    "factorization": recommend.assess(factors.scores(task.rows), task, popular.counts),
}
first = results["bestsellers"]
mine = [
    ndcg(ranked, relevant, 10)
    for ranked, relevant in zip(first.lists.tolist(), task.relevant, strict=True)
]
assert np.allclose(mine, first.ndcg)


def row_of(name, result):
    low, high = recommend.mean_interval(result.ndcg)
    return {"recommender": name, "NDCG@10": float(result.ndcg.mean()), "95 % interval": f"{low:.3f} to {high:.3f}",
            "recall@10": float(result.recall.mean()), "coverage": f"{result.coverage:.0%}", "novelty, bits": f"{result.novelty:.1f}"}  # fmt: skip


show_table(
    [row_of(*pair) for pair in results.items()],
    f"{len(task)} customers, three weeks that nobody learned from",
)

# %% [markdown]
# **Coverage** is the share of the catalogue that is on anybody's list. **Novelty** is how surprising the products are: one more bit means that half as many customers knew them.
# Bestsellers are on every list and surprise nobody. Counting personally finds more, and from the whole shop.
#
# But look at the products that came into the shop only in the test weeks. Nobody has clicked them. Their vector is $\mathbf 0$.

# %%
new_products = log.launched >= START
cold = task.only_items(new_products)
show_table(
    [{"recommender": name, "NDCG@10 among new products": float(recommend.assess(model.scores(cold.rows), cold, popular.counts).ndcg.mean())}
     for name, model in (("bestsellers", popular), ("neighbours", neighbours), ("factorization", factors))],
    f"{new_products.sum()} new products, {len(cold)} customers who clicked one: all three guess",
)  # fmt: skip

# %% [markdown]
# ## Lists that read
#
# A new product has no clicks, but it has a text. The simplest reader compares texts: the mean vector of what a customer looked at, and the vector of each product.
# By words (TF-IDF), or by meaning, with the encoder as it comes. **Predict:** will the encoder beat the bestsellers?

# %%
texts = [p.line for p in log.products]
plain = towers.Recommender(towers.new_towers(), log.products)  # the encoder, nothing learned
READERS = {
    "words (TF-IDF)": lambda t: recommend.reader_scores(t.history, texts, recommend.word_vectors),
    "encoder as it comes": lambda t: plain.scores(t.history),
}
for name, way in READERS.items():
    results[name] = recommend.assess(way(task), task, popular.counts)
show_table(
    [{"reader": name, "all products": float(results[name].ndcg.mean()), "new products": float(recommend.assess(way(cold), cold, popular.counts).ndcg.mean())} for name, way in READERS.items()],
    "NDCG@10 of readers that have learned nothing about customers",
)  # fmt: skip

# %% [markdown]
# Among new products, reading is worth something at once. Over the whole shop it loses to the bestsellers: that two texts are alike does not mean that one customer wants
# both. Whoever bought a kettle does not need another kettle; whoever loves travelling needs the adapter *and* the light laptop. **What goes together has to be learned from behaviour.**
#
# ## Two towers
#
# One tower reads the customer: each line of the history becomes a vector $\mathbf v_l$, and these are added with weights that depend on the kind of the line and its age.
# The other reads a product. Both share the encoder, and have one matrix of their own:
#
# $$\mathbf u = \frac{W_u \sum_l w_l \mathbf v_l}{\lVert\cdot\rVert},\qquad \mathbf q_i = \frac{W_q \mathbf v_i}{\lVert\cdot\rVert},\qquad s(u, i) = \mathbf u^\top \mathbf q_i$$
#
# They learn to predict **the next click**. A batch holds $B$ pairs of a history and what was clicked next. The right product of one row is a wrong one for all others: $B - 1$ negatives
# for nothing. One catch: a popular product is a negative far more often. With $q_j$ the share of product $j$ among the targets and a temperature $\tau$, the correction is one term:
#
# $$\mathcal L = -\frac1B \sum_b \log \frac{e^{s(b,b)/\tau - \log q_b}}{\sum_{j} e^{s(b,j)/\tau - \log q_j}}$$

# %%
ex = exercise("recommend.in_batch_loss")


# %%
def in_batch_loss(users, items, log_q, temperature):
    return ____


ex.check(in_batch_loss)

# %%
import torch

in_batch_loss = ex.use(in_batch_loss)
rng = np.random.default_rng(SEED)
u, i = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.standard_normal((2, 8, 16)))
log_q = np.log(rng.dirichlet(np.ones(8)))
theirs = (
    towers.in_batch_loss(
        *(torch.from_numpy(x) for x in (u, i)), torch.arange(8), torch.from_numpy(log_q), 0.2
    )
    / 8
)
assert np.isclose(in_batch_loss(u, i, log_q, 0.2), float(theirs))
pairs = towers.make_pairs(log, behaviour.TRAIN_DAYS)
say(
    f"{len(pairs):,} pairs to learn from, {np.mean([len(p) for p in pairs]):.1f} lines before each click. The loss equals the package's."
)

# %% [markdown]
# What is the correction worth? Two short trainings of the matrices alone, on vectors of the encoder that stay as they are, tell; measured on the three weeks for choosing.
# The third one is a control: it learns from histories that were **shuffled** among the pairs, so that there is nothing personal to be learned.

# %%
choosing = recommend.make_task(log, behaviour.TRAIN_DAYS, behaviour.VALIDATION_DAYS)
short = towers.TowersConfig(epochs=1, pairs=512, encoder=False, heads_steps=STEPS, seed=SEED)
counts = np.ones(len(log.products))
TRIALS = {
    "with correction": (short, pairs),
    "without": (replace(short, correction=False), pairs),
    "control: shuffled histories": (short, towers.shuffled_histories(pairs, SEED)),
}
tried, shuffled = {}, None
for name, (recipe, learn) in TRIALS.items():
    shuffled, _ = towers.train(log, recipe, learn, plain=plain, bar=False)
    tried[name] = recommend.assess(shuffled.scores(choosing.history), choosing, counts).ndcg.mean()
show_table(
    [{"training": name, "NDCG@10": float(value)} for name, value in tried.items()],
    f"{STEPS} updates of the matrices each",
)
record("gain_from_correction", tried["with correction"] / tried["without"] - 1)

# %% [markdown]
# Uncorrected, the towers push down whatever is popular, and customers do click what is popular. Now the real training: the matrices first, then the upper layer of the encoder with
# them. It is done once and kept.

# %%
began = time.perf_counter()
model = towers.load(seed=SEED)
say(f"Ready after {time.perf_counter() - began:.1f} s.")
kinds = dict(zip(recommend.LINE_KINDS, model.towers.kind.tolist(), strict=True))
show_table(
    [{"kind of line": kind, "weight": weight} for kind, weight in kinds.items()],
    "What the user tower has learned to listen to",
)

# %% [markdown]
# Words weigh more than clicks: what somebody said they look for, and what they praised, tells more than one of many clicks. Nobody told the model.
#
# ## The result
#
# All recommenders on the same customers and weeks. **Two controls must fail:** the trained towers with another customer's history, and towers that learned from shuffled histories.

# %%
results["two towers"] = recommend.assess(model.scores(task.history), task, popular.counts)
other = [task.history[n] for n in np.random.default_rng(SEED).permutation(len(task))]
results["control: another's history"] = recommend.assess(model.scores(other), task, popular.counts)
results["control: learned from shuffled"] = recommend.assess(
    shuffled.scores(task.history), task, popular.counts
)
show_table(
    [row_of(*pair) for pair in results.items()],
    f"{len(task)} customers, three weeks that nobody learned from",
)
gain, low, high = recommend.relative_gain(first.ndcg, results["two towers"].ndcg)
say(
    f"Two towers against bestsellers: **{gain:+.0%}** NDCG@10, with 95 % confidence between {low:+.0%} and {high:+.0%}."
)
for figure, name in (("ndcg_popularity", "bestsellers"), ("ndcg_factors", "factorization"), ("ndcg_encoder", "encoder as it comes"), ("ndcg_towers", "two towers"), ("control_ndcg", "control: another's history"), ("control_shuffled_ndcg", "control: learned from shuffled")):  # fmt: skip
    record(figure, results[name].ndcg.mean())
record("gain_over_popularity", gain)
record("gain_over_popularity_low", low)

# %% [markdown]
# The controls fail as they must. With another's history the same towers fall below the bestsellers; from shuffled histories nothing is learned but what is popular. Factorization and
# towers know different things: one has counted, the other has read. That is why shops use both, as we shall.
#
# ## New products, new customers
#
# Here text must win. **New products:** as above, ranked among themselves. **New customers:** they came in the test weeks and have only said in two phrases what they look for, phrases that
# the towers have not seen in training.

# %%
newcomers = task.only_users(log.joined[task.users] >= START)
settled = task.only_users(
    (log.joined[task.users] < START) & np.array([bool(own) for own in task.history])
)
WAYS = {
    "bestsellers": lambda t: popular.scores(t.rows),
    "factorization": lambda t: factors.scores(t.rows),
    "words (TF-IDF)": READERS["words (TF-IDF)"],
    "encoder as it comes": lambda t: plain.scores(t.history),
    "two towers": lambda t: model.scores(t.history),
}
GROUPS = {"customers with a history": settled, "new customers": newcomers, "new products": cold}
grid = {
    g: {w: recommend.assess(way(t), t, popular.counts) for w, way in WAYS.items()}
    for g, t in GROUPS.items()
}
figure, ax = new_figure(7.5, 3.4)
for n, (name, marker) in enumerate(zip(WAYS, MARKERS, strict=False)):
    values = [grid[g][name].ndcg.mean() for g in GROUPS]
    spans = [recommend.mean_interval(grid[g][name].ndcg) for g in GROUPS]
    places = np.arange(len(GROUPS)) + 0.14 * (n - 2)
    ax.errorbar(places, values, [[v - s[0] for v, s in zip(values, spans, strict=True)], [s[1] - v for v, s in zip(values, spans, strict=True)]],
                fmt=marker, color=list(COLOURS.values())[n], label=name, capsize=3)  # fmt: skip
ax.set(
    xticks=range(len(GROUPS)),
    xticklabels=[f"{g} ({len(t)})" for g, t in GROUPS.items()],
    ylabel="NDCG@10",
    ylim=(0, None),
)
ax.legend(fontsize=8)
cold_gain, cold_low, cold_high = recommend.relative_gain(
    grid["new products"]["factorization"].ndcg, grid["new products"]["two towers"].ndcg
)
show_figure(
    figure,
    f"Dot chart with intervals of NDCG@10 for three groups and four recommenders: among new products the two towers reach {grid['new products']['two towers'].ndcg.mean():.2f} and factorization {grid['new products']['factorization'].ndcg.mean():.2f}.",
    f"New products: two towers against factorization {cold_gain:+.0%} ({cold_low:+.0%} to {cold_high:+.0%}).",
)
record("cold_ndcg_towers", grid["new products"]["two towers"].ndcg.mean())
record("cold_ndcg_factors", grid["new products"]["factorization"].ndcg.mean())
record("cold_gain_low", cold_low)
new_gain = recommend.relative_gain(
    grid["new customers"]["bestsellers"].ndcg, grid["new customers"]["two towers"].ndcg
)
record("newcomer_gain", new_gain[0])
words_gain = recommend.relative_gain(
    grid["new products"]["words (TF-IDF)"].ndcg, grid["new products"]["two towers"].ndcg
)
record("cold_gain_over_words", words_gain[0])
say(f"New customers: two towers against bestsellers {new_gain[0]:+.0%} ({new_gain[1]:+.0%} to {new_gain[2]:+.0%}). New products: two towers against plain words {words_gain[0]:+.0%} ({words_gain[1]:+.0%} to {words_gain[2]:+.0%}).")  # fmt: skip

# %% [markdown]
# An interval that holds zero decides nothing: look at each before you believe the dots. Among new products words alone are a strong floor, since the same brand and the same nouns come back.
#
# And somebody of whom nothing is known at all? Then no tower helps, and the package says so:

# %%
with shows_error():
    model.why((), 0)

# %% [markdown]
# ## A ranker that joins it all
#
# The towers match texts. Popularity, price, age and factors know other things. A second stage, the **ranker**, joins them: gradient boosting (scikit-learn) on a row of numbers per customer and
# product, learned on the three weeks for choosing, from features as they stood before them.

# %%
from agentlab import ranker

then, now = ranker.know(log, behaviour.TRAIN_DAYS, SEED), ranker.know(log, START, SEED)
learn = ranker.features(then, choosing, model.scores(choosing.history))
rows = ranker.features(now, task, model.scores(task.history))
joined = ranker.Ranker(SEED).fit(learn, choosing)
results["ranker"] = recommend.assess(joined.scores(rows), task, popular.counts)
without = ranker.Ranker(SEED, [f for f in ranker.FEATURES if f != "text match"]).fit(
    learn, choosing
)
results["ranker without text"] = recommend.assess(without.scores(rows), task, popular.counts)
show_table([row_of(name, results[name]) for name in ("factorization", "two towers", "ranker without text", "ranker")], "Two stages, with and without what the texts say")  # fmt: skip
parts = {}
for group, t in {"all customers": task, **GROUPS}.items():
    table = ranker.features(now, t, model.scores(t.history))
    parts[group] = [
        recommend.assess(r.scores(table), t, popular.counts).ndcg for r in (without, joined)
    ]
gains = {group: recommend.relative_gain(*pair) for group, pair in parts.items()}
show_table(
    [{"group": g, "ranker without text": float(parts[g][0].mean()), "ranker": float(parts[g][1].mean()), "what texts add": f"{x:+.0%} ({low:+.0%} to {high:+.0%})"} for g, (x, low, high) in gains.items()],
    "What texts add to all the rest, NDCG@10",
)  # fmt: skip
record("ndcg_ranker", results["ranker"].ndcg.mean())
record("ranker_gain_from_text", gains["all customers"][0])
record("ranker_gain_on_new_products", gains["new products"][0])

# %% [markdown]
# Where a customer and the products are well known, clicks have told the ranker nearly all that the texts tell. The newer either is, the more the texts add. Which features does it use most?

# %%
some = np.arange(len(task)) % 4 == 0  # a quarter of the customers is enough
falls = joined.importance(rows[some], task.only_users(some))
names = sorted(falls, key=lambda n: falls[n])
figure, ax = new_figure(7, 3)
ax.barh(names, [falls[n] for n in names], color=COLOURS["blue"])
for n, name in enumerate(names):
    ax.text(max(0, falls[name]), n, f" {falls[name]:.3f}", va="center", fontsize=8)
ax.set(xlabel="NDCG@10 lost when this feature is shuffled")
show_figure(figure, f"Bar chart of what the ranker loses without each feature: most with {names[-1]} ({falls[names[-1]]:.3f}), then {names[-2]} ({falls[names[-2]]:.3f}).", "Permutation importance on the test weeks.")  # fmt: skip

# %% [markdown]
# ## Places
#
# Clicks flatter what stands on top. The shop puts on top what sells, people look at the top, the top gets clicked, and sells tomorrow. One list in seven is **shuffled**. There every
# place holds equally good products, so the click rate by place tells how much each place is looked at, its **propensity**.

# %%
ex = exercise("recommend.propensities")


# %%
def propensities(clicked, shuffled):
    return ____


ex.check(propensities)

# %%
propensities = ex.use(propensities)
lists = log.lists
looked = propensities(lists.clicked, lists.shuffled)
by_order = lists.clicked[~lists.shuffled].mean(0)
figure, ax = new_figure(7, 2.8)
place = np.arange(1, behaviour.PLACES + 1)
ax.plot(place, log.looks, "--", color=COLOURS["black"], label="truth of the simulator")
ax.plot(place, looked, MARKERS[0], color=COLOURS["blue"], label="from shuffled lists")
ax.plot(
    place,
    by_order / by_order[0],
    MARKERS[1],
    color=COLOURS["vermilion"],
    label="from lists in the shop's order",
)
ax.set(xlabel="place in the list", ylabel="looked at, first = 1", ylim=(0, 1.1))
ax.legend(fontsize=8)
show_figure(figure, f"Line chart of how much each place is looked at: shuffled lists follow the truth, with a mean error of {np.abs(looked - log.looks).mean():.3f}; lists in the shop's order fall too fast, {np.abs(by_order / by_order[0] - log.looks).mean():.3f}.", f"Place 12 is looked at {looked[-1]:.2f} times as often as place 1.")  # fmt: skip

# %% [markdown]
# With propensities the click rates can be corrected: each click counts $1 / p_k$, $p_k$ the propensity of its place (**inverse propensity scoring**). On average this gives what
# would have been clicked if all places were looked at alike.

# %%
ex = exercise("recommend.inverse_rates")


# %%
def inverse_rates(items, clicked, looked, number):
    return ____


ex.check(inverse_rates)

# %%
inverse_rates = ex.use(inverse_rates)
number = len(log.products)
truth = recommend.true_rates(lists, number)
showings = np.bincount(lists.items.ravel(), minlength=number)
shown = showings >= 100
mean_place = np.bincount(lists.items.ravel(), np.tile(place, len(lists)), number) / np.maximum(
    1, showings
)
RATES = {
    "as counted": recommend.click_rates(lists, number) / looked.mean(),
    "corrected": inverse_rates(lists.items, lists.clicked, looked, number),
}
top, bottom = (
    (mean_place < np.quantile(mean_place[shown], 0.2)) & shown,
    (mean_place > np.quantile(mean_place[shown], 0.8)) & shown,
)
figure, axes = new_figure(8.5, 3.2, columns=2)
for ax, (name, rate) in zip(axes, RATES.items(), strict=True):
    dots = ax.scatter(truth[shown], rate[shown], c=mean_place[shown], cmap="cividis", s=14)
    ax.plot([0, 0.65], [0, 0.65], "--", color=COLOURS["black"], lw=1)
    ax.set(title=f"{name}: mean error {np.abs(rate - truth)[shown].mean():.3f}", xlabel="true rate, if everybody looked", ylabel="estimated rate")  # fmt: skip
figure.colorbar(dots, ax=axes, label="mean place in lists")
bias = {
    name: ((rate - truth)[top].mean(), (rate - truth)[bottom].mean())
    for name, rate in RATES.items()
}
show_figure(figure, f"Two scatter charts of estimated over true click rates of products. As counted, those that stand high lie above the diagonal ({bias['as counted'][0]:+.3f}) and those that stand low below it ({bias['as counted'][1]:+.3f}); corrected, both lie on it ({bias['corrected'][0]:+.3f} and {bias['corrected'][1]:+.3f}).", f"{shown.sum()} products that were shown at least 100 times. Counted rates are scaled by one number, so that they are right on average.")  # fmt: skip
show_table([{"estimate": name, "fifth that stands highest": f"{high:+.3f}", "fifth that stands lowest": f"{low:+.3f}"} for name, (high, low) in bias.items()], "Mean error: who is flattered, who is wronged")  # fmt: skip
record("top_bias_counted", bias["as counted"][0])
record("top_bias_corrected", abs(bias["corrected"][0]))
record("rate_error_counted", np.abs(RATES["as counted"] - truth)[shown].mean())
record("rate_error_corrected", np.abs(RATES["corrected"] - truth)[shown].mean())

# %% [markdown]
# Counting flatters those on top and wrongs those below, and the shop orders tomorrow's lists by it. The correction takes the tilt away. Its price is noise: a click on place 12 counts six times
# as much as one on top, so products that were rarely shown jump about.
#
# ## Why was this recommended?
#
# The user's vector is a sum over lines, and a score is a product with it. So the score is a sum over lines too, and what each line adds can be read off. No second model explains the first.

# %%
ex = exercise("recommend.why")


# %%
def why(lines, weights, item):
    return ____


ex.check(why)

# %%
why = ex.use(why)
who = int(np.flatnonzero(task.users == someone)[0]) if someone in task.users else 0
history, chosen = task.history[who], int(results["two towers"].lists[who, 0])
reasons = model.why(history, chosen)
assert np.isclose(sum(part for _, part in reasons), model.scores([history])[0, chosen], atol=1e-4)
parts = model.parts(history)
ours = why(parts, np.ones(len(parts)), model.items[chosen])
assert np.allclose(sorted(ours, reverse=True), [part for _, part in reasons], atol=1e-4)
say(f"For customer {task.users[who]}: **{log.products[chosen].name}**. {log.products[chosen].text}")
show_table([{"because of": f"{line.kind}: {line.text[:90]}", "adds": float(part)} for line, part in reasons[:4]], f"The four strongest of {len(reasons)} lines; all add up to the score {sum(p for _, p in reasons):.3f}")  # fmt: skip

# %% [markdown]
# Exact, but is it *sensible*? The simulator knows. Does the product that is named as the reason share a taste with what is recommended, more often than any product of the history would?


# %%
def shares_taste(a, b):
    return bool((log.item_taste[a] * log.item_taste[b]).sum() > 0)


named, chance = [], []
picks = recommend.top_lists(model.scores(settled.history), settled, 1)[:, 0]
for own, pick in zip(settled.history, picks.tolist(), strict=True):
    touched = [line.item for line in own[-towers.LINES :] if line.item >= 0]
    if touched:
        reason = next(line.item for line, _ in model.why(own, pick) if line.item >= 0)
        named.append(shares_taste(reason, pick))
        chance.append(np.mean([shares_taste(item, pick) for item in touched]))
say(
    f"The named product shares a taste in {np.mean(named):.0%} of {len(named)} cases; a random one of the same history in {np.mean(chance):.0%}."
)
record("reason_shares_taste", np.mean(named))
record("reason_by_chance", np.mean(chance))

# %% [markdown]
# ## A hundred thousand products
#
# Comparing with every product grows with the catalogue. An **inverted file** (the library `faiss`) sorts the vectors into cells, looks only into those near the user, and does so in the 64
# directions in which products differ most; what is left is compared in full. It may miss some; how many is measured. The products here are made up, mixes of two real vectors with noise.

# %%
index = towers.ProductIndex(towers.many_vectors(model.items, MANY, SEED))
visitors = settled.history[:200]
model.scores(visitors)  # texts are read once


def slowest(search):
    """The 95th percentile of the milliseconds from a history to ten products."""
    times = []
    for history in visitors:
        began = time.perf_counter()
        search(model.user_vector(history))
        times.append(1000 * (time.perf_counter() - began))
    return float(np.percentile(times, 95))


ms, full_ms = slowest(index.search), slowest(index.exact)
hit = index.recall(np.array([model.user_vector(h) for h in visitors[:100]]))
say(f"{MANY:,} products: 95 of 100 requests take less than **{ms:.1f} ms** ({full_ms:.0f} ms where all are compared), and {hit:.1%} of the exact ten are found.")  # fmt: skip
record("retrieval_ms", ms)
record("retrieval_recall", hit)

# %% [markdown]
# ## A map of the shop
#
# What have the towers learned? Each dot is a product, placed by t-SNE such that near vectors stay near. Left the encoder as it comes, where the category rules. Right the product tower. The squares
# are what our customer looked at; the stars are what is recommended.

# %%
from sklearn.manifold import TSNE

names = [p.category for p in log.products]
largest = sorted(set(names), key=lambda c: -names.count(c))[:6]
figure, axes = new_figure(11, 5, columns=2)
touched = [line.item for line in task.history[who] if line.item >= 0]
advised = results["two towers"].lists[who, :3]
for ax, (title, vectors) in zip(
    axes, (("encoder as it comes", plain.items), ("product tower", model.items)), strict=True
):
    flat = TSNE(2, perplexity=20, random_state=SEED, init="pca").fit_transform(vectors)
    ax.scatter(*flat.T, s=8, color="#BBBBBB")
    for category, colour, marker in zip(largest, COLOURS.values(), MARKERS, strict=False):
        spot = flat[[n == category for n in names]]
        ax.scatter(*spot.T, s=16, color=colour, marker=marker, label=category, alpha=0.7)
    ax.scatter(
        *flat[touched].T,
        s=70,
        facecolors="none",
        edgecolors="black",
        marker="s",
        label="looked at",
        linewidths=1.3,
    )
    star = {"color": COLOURS["orange"], "edgecolors": "black", "marker": "*", "zorder": 5}
    ax.scatter(*flat[advised].T, s=190, label="recommended", **star)
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
for n, item in enumerate(advised):
    axes[1].annotate(f"{n + 1} {log.products[item].name}", flat[item], fontsize=7, xytext=(8, 9 - 9 * n), textcoords="offset points")  # fmt: skip
figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=8)
spread = [
    np.mean([names[j] == names[n] for n in range(number) for j in np.argsort(-(v @ v[n]))[1:6]])
    for v in (plain.items, model.items)
]
show_figure(figure, f"Two maps of {number} products as scatter charts: on the left, by the encoder, {spread[0]:.0%} of the five nearest are of the same category; on the right, by the product tower, {spread[1]:.0%}; recommended products are marked with stars.", f"Of a product's five nearest, {spread[0]:.0%} are of its own category before training and {spread[1]:.0%} after it.")  # fmt: skip

# %% [markdown]
# After training, neighbours are less often of the same kind and more often of the same *taste*: what somebody who travels, or cooks, or mends things wants next.
#
# ## A tool of the agent
#
# The shop's agent gets it as one more READ tool. It reads the verified customer's own orders, or a product, or a wish, and says because of what. Its errors are data, as in lesson 05.

# %%
from agentlab.shop.desk import Session
from agentlab.shop.store import Store
from agentlab.shop.tools import shop_tools

box = shop_tools(Store.sample(), Session(), recommender=model)
for question, arguments in (
    ("What fits my camera?", {"product_id": "P131", "category": "accessories"}),
    ("I'm on trains all week. Anything for me?", {"wish": "on trains all week, calls on the way"}),
    ("Anything for me?", {}),
    ("What goes with the P999?", {"product_id": "P999"}),
):
    result = box.call("recommend_products", arguments)
    told = (
        "; ".join(f"{p['name']} (because of: {p['because']})" for p in result.value)
        if result.ok
        else result.text()
    )
    say(f"*{question}* → {result.status}: {told}")

# %% [markdown]
# Where a wish was said in words, the tool adds what the encoder makes of the words: the towers know what goes with a taste, the encoder knows that running is running. Try it in a whole talk:
# `agentlab chat --labs`, then *what goes with my camera?*
#
# ## Play
#
# Say what you look for, in your own words. What does it make of two wishes at once?

# %%
from agentlab.ui import play


def answer(text):
    line = (recommend.Line("wish", -1, text),)
    best = np.argsort(-model.scores([line])[0])[:4]
    return " · ".join(log.products[n].name for n in best)


play("What do you look for?", answer, ["our flat is loud and I sleep badly", "espresso, but in the mountains", "I mend things rather than buy them"], "Four products for a wish")  # fmt: skip

# %% [markdown]
# ## Limits
#
# - The customers are simulated, and their tastes are those that the texts were written around. Real tastes are messier, and real texts say less. Take the order of the recommenders from here, not the sizes.
# - The shop decides what is seen, and only what is seen can be clicked. Places were corrected; what was never shown was not.
# - A recommender that learns from its own lists narrows what people see. Coverage and novelty watch it a little; an experiment with real people would tell.
# - Whether an accessory fits *exactly* is a fact, not a likelihood: the tool tells the agent to look it up.
#
# ## Takeaways
#
# 1. Split by time, and never reward finding what the customer knew already.
# 2. Clicks know what is good; texts know what is new. Use both, and measure each where it must win.
# 3. In-batch negatives are free and biased: subtract the log of how often each product is drawn.
# 4. Clicks are also a product of places. A few shuffled lists are the price of knowing how much.
# 5. If a score is a sum, its reason can be read off. Build models whose reasons are exact.

# %%
quiz("recommend.quiz_split")

# %%
quiz("recommend.quiz_cold")

# %%
quiz("recommend.quiz_position")

# %%
quiz("recommend.quiz_logq")

# %% [markdown]
# ## Further work
#
# - **Easy:** set `World(fading=0)`: everybody looks at all places. What becomes of the two scatter charts?
# - **Medium:** weigh each training pair by one over the propensity of its place. Does NDCG on shuffled lists rise?
# - **Hard:** let the shop use your recommender: simulate weeks in which its lists come from the towers, and follow coverage week by week.
#
# **Next:** [00 · Start here](00_start_here.ipynb) shows the whole course and what else there is to build.
