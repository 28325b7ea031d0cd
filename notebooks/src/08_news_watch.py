# %% [markdown]
# # 08 · News watch
#
# **By the end you will have shown** that one small model reads for whom a headline is good or bad, and what it is about, far better than a word list; that its
# readings, added up over a stream, raise an alarm within a day for more than eight of ten planted surges of bad news, at no more than one false alarm in
# three months; and that all of this reads hundreds of headlines a second on two cores.
#
# | | |
# |---|---|
# | Time | 120 minutes with the seven exercises; the cells themselves take about 3 minutes on two cores |
# | Needs | the course installed; no network, no GPU. The first time, the model is trained (1 to 3 minutes more) |
# | Before this | [02 · Derive the loss](02_derive_the_loss.ipynb) and [03 · Fine-tune](03_fine_tune.ipynb) help; a Poisson distribution should not be new |
#
# [![Open in Colab](colab-badge)](written by agentlab/home.py)
#
# **Contents:** good for whom? · the items · one text, two sides · one model, two questions · against the floors · the mood over time · a quarter whose truth is known ·
# what is usual · evidence that adds up · right alarms and false ones · what errors cost · the figure to report · the watch · how fast · your own news ·
# play · limits, takeaways, quiz

# %%
# Set-up: written by agentlab/home.py

# %% tags=["parameters"]
PROFILE = "auto"
SEED = 0

# %%
import random
from datetime import datetime

import numpy as np

from agentlab.lesson import begin, record

lesson = begin("08_news_watch", PROFILE, SEED)
QUICK = lesson.profile == "quick"
QUARTERS = 10 if QUICK else 40  # simulated quarters to choose on, and as many others to report on
rng = random.Random(SEED)

# %% [markdown]
# ## Good for whom?
#
# A fund holds shares of 26 companies and wants to hear of bad news before the price has told everybody. Thousands of headlines, notes and posts come in. The oldest way to
# find the bad ones is a list of words with points: **VADER** has 7,500 of them. **Predict** what it makes of these five, for the owners of the company in bold.

# %%
from agentlab import newsreader
from agentlab.show import say, show_table

FIVE = [
    ("Halvern", "Halvern drops Voltamere for cheaper cells from Korea", "positive"),
    ("Voltamere", "Halvern drops Voltamere for cheaper cells from Korea", "negative"),
    ("Merrowbank", "Merrowbank's loss shrinks to a third of what was feared", "positive"),
    ("Hearthloom", "great, another Hearthloom recall, just what my portfolio needed", "negative"),
    ("Pikestead", "Pikestead's profit up a tenth, far below forecasts", "negative"),
]
rows = [
    {"text": text, "for the owners of": who, "truth": truth, "VADER": guess}
    for (who, text, truth), guess in zip(FIVE, newsreader.by_lexicon([t for _, t, _ in FIVE]), strict=True)
]  # fmt: skip
show_table(rows, "Five headlines and what a word list hears")
assert sum(r["truth"] == r["VADER"] for r in rows) <= 1

# %% [markdown]
# *Loss* is a bad word, *great* a good one. And the first two rows are one text: a word list can give it one answer, while it has two. So the question of this lab is not
# "is this text positive?" but **"for whom?"**
#
# ## The items
#
# Each item has a time, a source, the company it is about, a topic and a sentiment *for that company's owners*. All companies are invented. The annotation guide
# (`data/finance/guide.md`) spends most of its lines on the hard cases: a loss that narrows is good, a profit that shrinks is bad, sarcasm counts as it is meant, a takeover is good for the
# target and neutral for the buyer. `plain` items say what they mean; `hard` ones leave it to the reader.

# %%
from agentlab import news

parts = {part: news.load_news(part) for part in news.PARTS}
show_table(
    [
        {
            "part": part,
            "items": len(items),
            **{s: sum(i.sentiment == s for i in items) for s in news.SENTIMENTS},
            "hard ones": sum(i.register == "hard" for i in items),
        }
        for part, items in parts.items()
    ],
    "The items by part",
)
show_table(
    [{"company": i.company or "none", "topic": i.topic, "sentiment": i.sentiment, "source": i.source, "text": i.text} for i in rng.sample(parts["train"], 8)],
    "Eight of the train part",
)  # fmt: skip

# %% [markdown]
# `test` is what the reader is judged by. `challenge` holds hard items only. `events` are those of 14 surges of bad news and 3 busy days that were placed in the written quarter, each told over some days in the
# words of many sources: they come at the end. `fresh` was written later by three people who had seen next to nothing of the rest. Nothing is ever learned from these four. Items that tell of the same thing share a part, so that no part has read another one's news.
#
# ## One text, two sides
#
# How does a model learn *for whom*? Give it the text **from one side**: the names of the company in question become "the company", those of the others
# "another company". Then *Halvern drops Voltamere* is two texts, and a name can no longer be bad news by itself.

# %%
from agentlab.exercises import ____, exercise, quiz

ex = exercise("news.one_side")


# %%
import re  # noqa: F401 - for you


def one_side(text, own, others):
    return ____


ex.check(one_side)

# %% [markdown]
# What the model will read of the first headline, from either side:

# %%
one_side = ex.use(one_side)
companies = news.load_companies()


def from_side(text, ticker):
    """A text from one company's side, by your function."""
    others = [n for c in companies.values() if c.ticker != ticker for n in (*c.names, c.ticker)]
    return one_side(text, [*companies[ticker].names, ticker], others)


for ticker in ("HLVN", "VTMR"):
    say(f"{companies[ticker].name}: *{from_side(FIVE[0][1], ticker)}*")
sample = [i for i in parts["train"] if i.company and "$" not in i.text][
    :400
]  # the course's also takes the $ of $HLVN
assert all(
    from_side(i.text, i.company) == news.masked(i.text, i.company, companies) for i in sample
)

# %% [markdown]
# ## One model, two questions
#
# Sentiment and topic could be two models. But both need the same understanding of the sentence, and a second encoder costs a second reading of every headline. So one encoder
# with two **heads**: a vector $h \in \mathbb{R}^{384}$ of the text, and two small linear layers on it, whose logits lie side by side in one row $z = (z^{s}, z^{t})$, three numbers for
# sentiment and ten for topic. Each head is a choice of its own, with a softmax of its own. If both are drawn independently given the text, the probability of the labels is a product, and its
# negative logarithm a sum:
#
# $$\mathcal{L} = \frac1N \sum_{i=1}^{N} \big( -\log p^{s}_{i, y^{s}_i} - \log p^{t}_{i, y^{t}_i} \big), \qquad p^{s}_{i} = \operatorname{softmax}(z^{s}_i)$$
#
# where $y^{s}_i$ and $y^{t}_i$ are the right values of text $i$. A value that nobody labelled is left out of the sum: so a data set that knows only the sentiment can teach
# this model as well.

# %%
ex = exercise("news.joint_loss")


# %%
def joint_loss(logits, targets, sizes):
    return ____


ex.check(joint_loss)

# %% [markdown]
# Yours against the one that trains the course's model, on 64 texts before any training. **Predict the loss:** what does a model pay that knows nothing of 3 and of 10 values?

# %%
import math

import torch

from agentlab import assets, finetune, heads

joint_loss = ex.use(joint_loss)
tokenizer = assets.load_encoder()[1]
encoded = newsreader.encode_items(parts["train"][:64], tokenizer)
untrained = heads.new_reader(newsreader.news_heads(), SEED)
logits = finetune.predict(untrained, encoded)["intents"].double()
targets = torch.tensor([i.targets for i in encoded])
mine = float(joint_loss(logits.numpy(), targets.numpy(), [3, 10]))
ours = float(heads.heads_loss(logits, targets, newsreader.news_heads())) / 64
say(f"Yours {mine:.4f}, the course's {ours:.4f}; guessing costs log 3 + log 10 = {math.log(30):.4f}.")  # fmt: skip
assert abs(mine - ours) < 1e-3

# %% [markdown]
# Now the training itself: the loop of lesson 03 with this loss. The first time it takes a minute or three, afterwards it is read from the cache.

# %%
reader = newsreader.load(seed=SEED)
rows = [
    {"text": r.text, "for the owners of": companies[r.company].name, "sentiment": r.sentiment, "sure": r.sentiment_sure, "topic": r.topic}
    for found in reader(list(dict.fromkeys(t for _, t, _ in FIVE)))
    for r in found
]  # fmt: skip
show_table(rows, "The five headlines again, read by the fine-tuned model")

# %% [markdown]
# ## Against the floors
#
# Five anecdotes prove nothing. Here is the test part, and the hard items of the challenge part. Beside the model stand two floors: the **word list**, and **TF-IDF** with logistic regression, which
# learned from the same masked texts. And a **control that must fail**: the same encoder, trained on sentiments that were dealt to the wrong texts. **Predict:** what macro F1 does a
# model reach that learned labels dealt at random?

# %%
from dataclasses import replace

from agentlab import evaluate

dealt = [i.sentiment for i in parts["train"]]
rng.shuffle(dealt)
wrong = [replace(i, sentiment=s) for i, s in zip(parts["train"], dealt, strict=True)]
control, _ = newsreader.train(newsreader.QUICK, learn=wrong, bar=False)


judged = parts["test"] + parts["challenge"] + parts["fresh"]
sides = [i.text for i in judged], [i.company for i in judged]
OURS, CONTROL = "fine-tuned", "control: labels dealt at random"
told = {("VADER", "sentiment"): newsreader.by_lexicon(sides[0])}
for head in ("sentiment", "topic"):
    told["TF-IDF", head] = newsreader.by_words(parts["train"], judged, head)
for way, model in ((OURS, reader), (CONTROL, control)):
    read = model.from_side(*sides)
    told |= {(way, head): [getattr(r, head) for r in read] for head in ("sentiment", "topic")}

first, last = len(parts["test"]), len(judged) - len(parts["fresh"])
PLACES = {"test": slice(0, first), "challenge": slice(first, last), "fresh": slice(last, None)}
f1, rows = {}, {way: {"reader": way} for way in ("VADER", "TF-IDF", OURS, CONTROL)}
for part, place in PLACES.items():
    for head in ("sentiment", "topic"):
        truth = [getattr(i, head) for i in judged[place]]
        for way in rows:
            if (way, head) in told:
                f1[way, part, head] = evaluate.macro_f1(truth, told[way, head][place])
            rows[way][f"{head}, {part}"] = f1.get((way, part, head), "")
show_table(rows.values(), f"Macro F1 on {first} items of the test part, {last - first} of the challenge part and {len(judged) - last} fresh ones")  # fmt: skip
pairs = list(zip([i.sentiment for i in parts["test"]], told[OURS, "sentiment"][PLACES["test"]], strict=True))  # fmt: skip
low, high = evaluate.bootstrap(pairs, lambda some: evaluate.macro_f1(*zip(*some, strict=True)), 100 if QUICK else 300)  # fmt: skip
say(f"With so few items the sentiment of the test part is known to lie between {low:.2f} and {high:.2f} (95 % interval).")  # fmt: skip
record("sentiment_f1", f1[OURS, "test", "sentiment"])
record("topic_f1", f1[OURS, "test", "topic"])
record("challenge_sentiment_f1", f1[OURS, "challenge", "sentiment"])
record("fresh_sentiment_f1", f1[OURS, "fresh", "sentiment"])
record("lexicon_f1", f1["VADER", "test", "sentiment"])
record("words_f1", f1["TF-IDF", "test", "sentiment"])
record("control_f1", f1[CONTROL, "test", "sentiment"])

# %% [markdown]
# The control was told the true topics and keeps them: only what was dealt at random is lost. And the hard items are harder for everybody: there the news hides behind a fact (*the shop
# closes for painting*), behind sarcasm, or behind a number that means nothing until one knows what was expected. The fresh items say what they mean, as those of the test part do, and still the
# model reads them worse: other people choose other words and see other borders between topics. A figure from a test part by the same hands as the training part flatters.
#
# Does the model really read *for whom*? Some texts stand in the data twice, once for each of two companies, with different sentiments. Whoever reads the text alone, without a side, must give
# both the same answer and is wrong at least once in every pair.

# %%
pairs = {}
for item in parts["validation"] + parts["challenge"]:
    pairs.setdefault(item.text, []).append(item)
pairs = [two for two in pairs.values() if len({i.sentiment for i in two}) > 1]


def both_right(read):
    """Of how many pairs both sides are read rightly."""
    return np.mean([all(g == i.sentiment for g, i in zip(read(two), two, strict=True)) for two in pairs])  # fmt: skip


sides = {
    "VADER, from no side": both_right(lambda two: newsreader.by_lexicon([i.text for i in two])),
    "fine-tuned, from each side": both_right(lambda two: [r.sentiment for r in reader.from_side([i.text for i in two], [i.company for i in two])]),
    "control: each from the other's side": both_right(lambda two: [r.sentiment for r in reader.from_side([i.text for i in two], [i.company for i in two[::-1]])]),
}  # fmt: skip
show_table([{"reader": way, "both sides right": f"{share:.0%}"} for way, share in sides.items()], f"{len(pairs)} texts that are good news for one and not for the other")  # fmt: skip
record("both_sides_right", sides["fine-tuned, from each side"])

# %% [markdown]
# Few pairs, so take the figure as a sign and no more. Where does the model err? Look at the texts before you look for a cure:

# %%
hard = parts["challenge"]
read = reader.from_side([i.text for i in hard], [i.company for i in hard])
missed = [(i, r) for i, r in zip(hard, read, strict=True) if i.sentiment != r.sentiment]
missed.sort(key=lambda pair: -pair[1].sentiment_sure)
show_table(
    [
        {"text": i.text, "company": i.company or "none", "truth": i.sentiment, "read as": r.sentiment, "sure": r.sentiment_sure}
        for i, r in missed[:6]
    ],
    f"The six surest of {len(missed)} errors among {len(hard)} hard items",
)  # fmt: skip

# %% [markdown]
# ## The mood over time
#
# Enough of single texts. Three months of news lie in the data, each item at its own time. The **net sentiment** of a day is the share of good news less that of bad news; a window of some days
# makes it readable.

# %%
ex = exercise("news.trend")


# %%
def trend(days, sentiments, window):
    return ____


ex.check(trend)

# %% [markdown]
# The written quarter, as the model reads it, without the items that it learned from. Three topics, a window of seven days. **Predict:** which topic has the worst week?

# %%
from agentlab import stream
from agentlab.show import COLOURS, new_figure, show_figure

trend = ex.use(trend)
MONDAY = datetime(2026, 1, 5)
unseen = [i for part in ("test", "challenge", "events") for i in parts[part]]
events = news.load_events()
written = stream.written_quarter(unseen, events, MONDAY)
heard = reader.from_side([i.text for i in unseen], [i.company for i in unseen])
days = [int(i.time.toordinal() - MONDAY.toordinal()) for i in unseen]

figure, ax = new_figure(8, 3)
worst = {}
for topic, colour, style in (
    ("safety", "vermilion", "-"),
    ("cyber", "blue", "--"),
    ("sales", "green", ":"),
):
    chosen = [n for n, r in enumerate(heard) if r.topic == topic]
    mood = np.array(trend([days[n] for n in chosen], [heard[n].sentiment for n in chosen], 7), float)  # fmt: skip
    ax.plot(mood, style, color=COLOURS[colour], label=topic, lw=2)
    worst[topic] = (float(np.nanmin(mood[14:])), 14 + int(np.nanargmin(mood[14:])))
ax.axhline(0, color="#555555", lw=0.8)
ax.set(xlabel="day of the quarter", ylabel="net sentiment, 7 days", ylim=(-1.05, 1.05))
ax.legend(loc="upper left", fontsize=8)
lowest = min(worst, key=worst.get)
show_figure(
    figure,
    f"Line chart of the net sentiment of three topics over 90 days: {lowest} falls lowest, to {worst[lowest][0]:.2f} on day {worst[lowest][1]}.",
    "One line a topic: above 0 the good news prevails, below 0 the bad. A week without news leaves a gap.",
)  # fmt: skip

# %% [markdown]
# A trend shows a quarter at a glance, and it is a poor alarm. It is slow, since seven days are in it. And it cannot tell one bad item out of one from forty out of forty. What is a surge is a
# question about **counts**: are there more bad items than usual, by more than chance explains?
#
# ## A quarter whose truth is known
#
# To judge an alarm one must know what it should have found. So quarters are *simulated*: real texts of the data are dealt into 91 days, with nights, weekends and retellings; four surges on
# companies and two on topics are planted at random places, and two **busy** times with much news and none of it bad. A quarter for choosing draws its texts from the validation part, one for
# reporting from test and challenge.

# %%
pools = {"choose": parts["validation"], "report": parts["test"] + parts["challenge"]}
SEEDS = {"choose": range(1000, 1000 + QUARTERS), "report": range(2000, 2000 + QUARTERS)}
quarters = {use: [stream.simulate(pools[use], seed) for seed in SEEDS[use]] for use in pools}
first = quarters["choose"][0]
show_table(
    [
        {
            "planted": p.kind,
            "on": p.company or f"topic {p.topic}",
            "begins": f"{first.when(p.start):%a %d %b %H:%M}",
            "days": (p.end - p.start) / 24,
            "items a day": p.rate,
        }
        for p in sorted(first.planted, key=lambda p: p.start)
    ],
    f"What was planted in the first of {QUARTERS} quarters: {len(first.hours)} items in all",
)

# %% [markdown]
# The model reads every text of the pools once. A stream then counts, hour by hour, how much bad news there is on each company and each topic. An item does not count as one or nothing, but **by its
# probability**: if the model gives 0.7 that it is bad for Halvern, it counts 0.7 there. What it is unsure of still counts a little, and nothing hangs on a yes or no that could as well have gone the other
# way. Its mistakes are in the counts, as they will be in life.

# %%
told = {use: reader.told([i.text for i in pool]) for use, pool in pools.items()}
counted = {use: [stream.count(q, told[use]) for q in quarters[use]] for use in pools}
counts = counted["choose"][0]
say(f"{len(counts.subjects)} subjects by {counts.negative.shape[1]} steps; {counts.negative.sum():.0f} bad items counted, misreadings included.")  # fmt: skip

# %% [markdown]
# ## What is usual
#
# *More than usual* needs a usual. The simplest is a **moving mean** of the weeks before. One thing is easily missed: a surge that has gone on since yesterday must not count as usual
# today. So the window ends some steps before now.

# %%
ex = exercise("news.baseline")


# %%
def baseline(counts, window, gap):
    return ____


ex.check(baseline)

# %% [markdown]
# Yours, on a company of the quarter above that has a surge, with four weeks of window: once with a gap of two days, once without any. Look at the days right after the surge begins.

# %%
from agentlab import watch
from agentlab.stream import STEP_HOURS, STEPS_A_DAY

baseline = ex.use(baseline)
surge = max((p for p in first.planted if p.kind == "surge" and p.company), key=lambda p: p.rate)
row = counts.subjects.index(stream.company_subject(surge.company))
series = counts.negative[row]
by_day = series.reshape(-1, STEPS_A_DAY).sum(1)
figure, ax = new_figure(8, 2.8)
ax.bar(range(len(by_day)), by_day, color=COLOURS["sky"], label="negative items")
for gap, colour, style in ((2, "vermilion", "-"), (0, "black", ":")):
    usual = np.array(baseline(list(by_day), 28, gap), float)
    ax.plot(usual, style, color=COLOURS[colour], lw=2, label=f"usual, gap {gap} days")
ax.axvline(surge.start / 24, color="#555555", lw=0.8, ls="--")
ax.set(xlabel="day of the quarter", ylabel="items a day")
ax.legend(loc="upper left", fontsize=8)
show_figure(
    figure,
    f"Bars of negative items a day on {companies[surge.company].name}, at most {by_day.max():.0f}, in the surge that begins on day {surge.start // 24:.0f}; two lines of what is usual, of which the one without a gap rises first.",
    "The dashed upright line is where the surge was planted.",
)  # fmt: skip

# %% [markdown]
# The course's `usual` adds three things that a mean has not: the **shape of the week** (a Sunday night without news is not calm, it is Sunday); a **prior**, so that a company never heard of
# is not expected to stay at zero; and **misreadings**: of a hundred items that are not bad, a good model still takes some for bad, so on a day with three times as much news as usual, more of
# these have to be expected.
#
# ## Evidence that adds up
#
# A first detector: how many standard deviations does the last day lie above usual? It looks at one day and forgets all others. Three days that are each a little too bad should weigh as much
# as one that is terrible.
#
# Suppose a step usually brings $\mu$ items, and $\nu > \mu$ in a surge, and the count $k$ is Poisson: $P(k \mid \mu) = e^{-\mu}\mu^k / k!$. How strongly one step speaks for a surge is its
# **log-likelihood ratio**
#
# $$g = \log\frac{P(k \mid \nu)}{P(k \mid \mu)} = k \log\frac{\nu}{\mu} - (\nu - \mu).$$
#
# A count raises it, and mere waiting lowers it. Nobody knows when a surge begins, so take the beginning that speaks most for it: the largest sum of $g$ over all runs of steps that end now, or 0 if none
# speaks for it. E. S. Page saw in 1954 that this needs no search: $S_t = \max(0, S_{t-1} + g_t)$, the **CUSUM**.

# %%
ex = exercise("news.cusum")


# %%
def cusum(counts, usual, surge):
    return ____


ex.check(cusum)

# %% [markdown]
# Yours on the same company, with $\nu$ 16 items a day above usual. The horizontal line is a threshold: for the time being a guess.

# %%
cusum = ex.use(cusum)
expected = watch.usual(counts)
week = watch.week_shape(counts.everything)
evidence = np.array(cusum(list(series), list(expected[row]), list(expected[row] + watch.SURGE / STEPS_A_DAY * week)))  # fmt: skip
figure, (left, right) = new_figure(8.5, 2.8, columns=2)
left.plot(np.arange(len(evidence)) / STEPS_A_DAY, evidence, color=COLOURS["blue"])
begins = int(surge.start // STEP_HOURS)
around = slice(begins - 24, begins + 72)
hours = STEP_HOURS * np.arange(len(evidence))[around] - surge.start
right.step(hours, evidence[around], "o-", color=COLOURS["blue"], where="post", ms=3)
for ax in (left, right):
    ax.axhline(10, color=COLOURS["vermilion"], ls="--", label="threshold 10")
left.set(xlabel="day of the quarter", ylabel="evidence (nats)")
right.set(xlabel="hours since the surge began", ylabel="evidence (nats)", ylim=(0, 40))
left.legend(fontsize=8)
late = STEP_HOURS * (begins + int(np.argmax(evidence[begins:] >= 10)) + 1) - surge.start
show_figure(
    figure,
    f"Two line charts of the evidence on {companies[surge.company].name}: near 0 in the whole quarter but for the surge, where it rises above 10 after {late:.0f} hours.",
    "Left the quarter, right the hours around the beginning of the surge.",
)  # fmt: skip
course_scores = watch.cusum(series[None], expected[row : row + 1], shape=week)[0]
assert np.allclose(course_scores, evidence, atol=1e-6)

# %% [markdown]
# ## Right alarms and false ones
#
# One picture of one surge is again an anecdote. An alarm is raised once, when the evidence reaches the threshold; the next only after things have calmed down. Then: how many surges were found, how soon,
# and how many alarms were for nothing?

# %%
ex = exercise("news.judge_alarms")


# %%
def judge_alarms(alarms, surges, within=24):
    return ____


ex.check(judge_alarms)

# %% [markdown]
# Yours, over all companies of the quarters for choosing, at two thresholds of either detector. (`judge` of the course is stricter: an alarm is right only if at least half of the news that led to it belongs to a surge;
# and it judges topics as well. The figures below are its own.)

# %%
judge_alarms = ex.use(judge_alarms)


def by_your_rule(counted, threshold, detector):
    """In time, precision and false alarms a quarter, over the companies' own surges, by your function."""
    shares, alarms_of_all, wrong_ones = [], 0, 0
    for counts in counted:
        alarms = watch.alarms_of(counts, threshold, detector)
        for subject in (s for s in counts.subjects if s.startswith("company")):
            surges = [(p.start, p.end) for p in counts.planted if p.kind == "surge" and p.company and stream.company_subject(p.company) == subject]  # fmt: skip
            raised = [a.hour for a in alarms if a.subject == subject]
            if surges:
                shares.append(judge_alarms(raised, surges)["in_time"])
            far = judge_alarms(raised, surges or [(-1e6, -1e6)])
            alarms_of_all, wrong_ones = alarms_of_all + len(raised), wrong_ones + far["false"]
    return {"in time": np.mean(shares), "precision": 1 - wrong_ones / max(1, alarms_of_all), "false a quarter": wrong_ones / len(counted)}  # fmt: skip


few = counted["choose"][:10]
show_table(
    [
        {"detector": detector, "threshold": threshold, **by_your_rule(few, threshold, detector)}
        for detector, threshold in (("surprise", 4), ("surprise", 8), ("cusum", 6), ("cusum", 10))
    ],
    f"Companies' surges in {len(few)} quarters",
)

# %% [markdown]
# Low thresholds find nearly everything and cry wolf. High ones are quiet and late. So which?
#
# ## What errors cost
#
# Nobody can say what threshold is right before saying what errors cost. Here: a surge that goes unnoticed costs 100, each hour until the alarm 1, each alarm for nothing 20, since somebody
# reads for twenty minutes and trusts the next alarm less.

# %%
ex = exercise("news.cheapest")


# %%
def cheapest(trials, missed, hour, false):
    return ____


ex.check(cheapest)

# %% [markdown]
# The trials: each threshold on the quarters for choosing. **Predict:** does the simple detector ever reach CUSUM's lowest cost?

# %%
cheapest = ex.use(cheapest)
PRICES = watch.Costs(missed=100, hour=1, false=20)
GRID = {"cusum": (6, 8, 9, 9.5, 10, 10.5, 11, 12, 13, 14, 16, 20), "surprise": (4, 5, 6, 7, 8, 9, 10, 12, 14)}  # fmt: skip


def trials_of(counted, detector):
    """What a quarter brought on average at each threshold: surges missed, hours of delay, false alarms."""
    trials = []
    expected = [watch.usual(c) for c in counted]
    for threshold in GRID[detector]:
        verdicts = [watch.judge(watch.alarms_of(c, threshold, detector, e), c) for c, e in zip(counted, expected, strict=True)]  # fmt: skip
        delays = [[min(d, 100.0) for d in v.delays if d is not None] for v in verdicts]
        trials.append(
            {
                "threshold": threshold,
                "missed": np.mean([len(v.delays) - len(d) for v, d in zip(verdicts, delays, strict=True)]),
                "hours": np.mean([sum(d) for d in delays]),
                "false": np.mean([v.false for v in verdicts]),
            }
        )  # fmt: skip
    return trials


trials = {detector: trials_of(counted["choose"], detector) for detector in GRID}
chosen = {detector: cheapest(rows, PRICES.missed, PRICES.hour, PRICES.false) for detector, rows in trials.items()}  # fmt: skip
figure, ax = new_figure(7.5, 3.2)
lowest = {}
for detector, colour, mark in (("cusum", "blue", "o-"), ("surprise", "orange", "s--")):
    costs = [PRICES.missed * t["missed"] + PRICES.hour * t["hours"] + PRICES.false * t["false"] for t in trials[detector]]  # fmt: skip
    ax.plot(
        [t["threshold"] for t in trials[detector]],
        costs,
        mark,
        color=COLOURS[colour],
        label=detector,
    )
    lowest[detector] = min(costs)
ax.set(xlabel="threshold", ylabel="cost of a quarter (logarithmic)", yscale="log")
ax.legend()
show_figure(
    figure,
    f"Line chart of the cost of a quarter over the threshold for two detectors: CUSUM is cheapest with {lowest['cusum']:.0f} at {chosen['cusum']}, the simple detector with {lowest['surprise']:.0f} at {chosen['surprise']}.",
    "On the left the false alarms cost, on the right the late and the missed ones.",
)  # fmt: skip
say(f"Chosen: CUSUM at **{chosen['cusum']}**, the simple detector at **{chosen['surprise']}**.")

# %% [markdown]
# ## The figure to report
#
# Everything is chosen. Now the other quarters, whose texts neither the model nor the threshold has seen. Beside the watch stand: the same watch on the **true labels** (what a perfect
# reader would bring), on **VADER's** readings with topics from TF-IDF, on the **volume** of news whatever it says, and the simple detector. Each threshold was chosen by the same costs, on the
# quarters for choosing. And a **control that must fail**: the model's readings, dealt to the wrong texts.

# %%


def by_lexicon(items):
    """VADER for the sentiment of every company that a text names, TF-IDF for the topic."""
    topics = newsreader.by_words(parts["train"], items, "topic")
    bad = [s == "negative" for s in newsreader.by_lexicon([i.text for i in items])]
    named = [news.find_companies(i.text, companies) for i in items]
    return [
        stream.certain(c if b else (), t, b, () if b else c)
        for c, t, b in zip(named, topics, bad, strict=True)
    ]


def by_volume(items):
    """Everything counts, whatever it says."""
    return [stream.certain([i.company] if i.company else (), i.topic, True) for i in items]


WAYS = {
    "CUSUM, the model's readings": ("cusum", told),
    "simple detector, the model's readings": ("surprise", told),
    "CUSUM, true labels": ("cusum", {use: stream.true_labels(pool) for use, pool in pools.items()}),
    "CUSUM, VADER's readings": ("cusum", {use: by_lexicon(pool) for use, pool in pools.items()}),
    "CUSUM, volume of news": ("cusum", {use: by_volume(pool) for use, pool in pools.items()}),
    "control: readings dealt to the wrong texts": ("cusum", {use: rng.sample(told[use], len(told[use])) for use in pools}),
}  # fmt: skip
rows, reported = [], {}
for way, (detector, readings) in WAYS.items():
    own = {use: [stream.count(q, readings[use], counts.subjects) for q in quarters[use]] for use in pools}  # fmt: skip
    choice = watch.cheapest(watch.sweep(own["choose"], GRID[detector], PRICES, detector))
    result = watch.sweep(own["report"], [choice.threshold], PRICES, detector)[0]
    reported[way] = result.figures
    rows.append(
        {
            "watch": way,
            "threshold": choice.threshold,
            "found within a day": f"{result.figures['in_time']:.0%}",
            "false alarms a quarter": result.figures["false_a_quarter"],
            "precision": result.figures["precision"],
            "median delay, hours": result.figures["median_delay_hours"],
            "cost": round(result.cost),
        }
    )
surges = sum(p.kind == "surge" for q in quarters["report"] for p in q.planted)
show_table(rows, f"{surges} surges in {QUARTERS} quarters for reporting")
ours = reported["CUSUM, the model's readings"]
record("alerted_within_a_day", ours["in_time"])
record("false_a_quarter", ours["false_a_quarter"])
record("median_delay_hours", ours["median_delay_hours"])
record("control_alerted", reported["control: readings dealt to the wrong texts"]["in_time"])

# %% [markdown]
# The readings are not perfect, and the watch loses little by it: a surge is told many times, and no single misreading decides. But it needs a reader that is right *more often in a surge than outside*: dealt to the wrong
# texts, the same readings find next to nothing. Volume finds surges too, and pays with an alarm at every busy day.
#
# These quarters are harder than life: six of ten of their texts are there to mislead a reader. What does the same watch find where the news is ordinary? `benchmarks/news.py` deals quarters
# from plain texts alone, with and without the fresh ones, and chooses a threshold on such quarters of the validation part; here is what it recorded, as the mean of three readers. Look how much the false
# alarms depend on whose texts a quarter is dealt from: a threshold that was chosen on other people's texts promises less than its second decimal says.

# %%
from agentlab.lesson import benchmark

recorded = benchmark("news")["mean"]
show_table(
    [
        {
            "texts": texts,
            "found within a day": f"{recorded[f'{mix}in_time']:.0%}",
            "false alarms a quarter": recorded[f"{mix}false_a_quarter"],
            "found, at one false alarm a quarter": f"{recorded[f'{mix}at_one_false']:.0%}",
        }
        for texts, mix in (
            ("ordinary ones", "ordinary_"),
            ("ordinary ones, test part alone", "test_only_"),
            ("six of ten hard", ""),
        )
    ],
    "Recorded by `python -m benchmarks.news`",
)

# %% [markdown]
# One more control: quarters in which nothing was planted. All that rings there is false.

# %%
calm = stream.World(company_surges=0, topic_surges=0, busy=0)
threshold = chosen["cusum"]
rings = [
    len(watch.alarms_of(stream.count(stream.simulate(pools["report"], 5000 + n, calm), told["report"], counts.subjects), threshold))
    for n in range(QUARTERS)
]  # fmt: skip
say(f"In {QUARTERS} quarters without any surge the watch rang {sum(rings)} times, {np.mean(rings):.2f} a quarter.")  # fmt: skip
record("false_in_calm", np.mean(rings))

# %% [markdown]
# ## The watch
#
# Now the quarter as it was written, once and as a whole: 14 surges and 3 busy times with stories of their own, read by the model. **Press play, stop where you like, and click on an
# alarm: under it are the messages that led to it.** Nobody should act on a number without them.

# %%
from agentlab.monitor import Monitor

readings = reader.told([i.text for i in unseen])
monitor = Monitor(written, readings, threshold)
monitor.show()

# %% [markdown]
# Which of the placed events were found, and how soon? The busy ones should not be.

# %%
verdict = watch.judge(monitor.alarms, monitor.counts)
waited = iter(verdict.delays)
rows = []
for event, planted in zip(events, written.planted, strict=True):
    delay = next(waited) if planted.kind == "surge" else None
    on = company.name if (company := companies.get(event.company)) else f"topic {event.topic}"
    found = (
        "no alarm, as it should be"
        if planted.kind == "busy"
        else "missed"
        if delay is None
        else f"after {max(0, delay):.0f} hours"
    )
    if planted.kind == "busy" and any(
        planted.start <= a.hour <= planted.end + 24
        and a.subject == stream.company_subject(event.company)
        for a in monitor.alarms
    ):
        found = "a false alarm"
    rows.append({"placed": event.what, "on": on, "kind": event.kind, "alarm": found})
show_table(
    rows,
    f"{verdict.found()} of {len(verdict.delays)} surges within a day; {verdict.right} alarms right, {verdict.false} false",
)
record("written_found", verdict.found() / len(verdict.delays))

# %% [markdown]
# ## How fast
#
# On a busy morning a feed brings hundreds of items a second. The model reads many texts at nearly the price of one, as lesson 05 showed for other models. The texts of a simulated quarter, in batches:

# %%
flow = [first.pool[pick].text for pick in first.picks][: 300 if QUICK else 1500]
speeds = {size: newsreader.measure_speed(reader, flow if size > 1 else flow[:150], size) for size in (1, 8, 64, 256)}  # fmt: skip
figure, ax = new_figure(6, 2.6)
ax.bar(
    [str(size) for size in speeds], [s.per_second for s in speeds.values()], color=COLOURS["blue"]
)
for n, s in enumerate(speeds.values()):
    ax.text(n, s.per_second, f"{s.per_second:.0f}", ha="center", va="bottom", fontsize=9)
ax.set(xlabel="texts in a batch", ylabel="headlines a second")
best = max(speeds.values(), key=lambda s: s.per_second).per_second
show_figure(figure, f"Bar chart of headlines read a second by batch size: {speeds[1].per_second:.0f} one by one, {best:.0f} at best.", "Finding the names, masking, tokenizing and both heads included.")  # fmt: skip
record("headlines_a_second", best)

# %% [markdown]
# And when one machine is not enough? Then the same function runs on many. `read_columns` takes a batch of columns and returns it with columns added, which is what **Ray Data** calls on each of its workers; `read_with_ray` is a
# dozen lines. Here two workers of one core each, on this machine; on a cluster the call is the same. (In the quick profile it is left out: starting workers takes longer than
# reading.)

# %%
from importlib.util import find_spec

if QUICK or not find_spec("ray"):
    say("Left out here: it needs Ray (`pip install 'ray[data]'`) and half a minute.")
else:
    many = 3 * flow
    rates = {n: newsreader.measure_ray(many, workers=n).per_second for n in (1, 2)}
    show_table([{"workers": n, "headlines a second": rate, "times one worker": rate / rates[1]} for n, rate in rates.items()], f"{len(many)} headlines, from the first batch to the last")  # fmt: skip

# %% [markdown]
# Two workers on two cores are at most twice one worker; what is lost goes into moving columns between processes, and into whatever else the machine does.
#
# ## Your own news
#
# Your data will have faults, and each should be named with its place. Sets in the shape of *Financial PhraseBank* (Malo et al. 2014; not shipped, its licence does not allow it) are read from a folder or by a hub's name, with
# the level of **agreement** among annotators that you want. Here a folder whose second file has a broken line; then an item of an unknown company, a stream without news, and texts
# that name nobody.

# %%
import tempfile
from pathlib import Path

from agentlab.errors import AgentLabError
from agentlab.show import shows_error

with tempfile.TemporaryDirectory() as folder:
    lines = ["Orders rose by a third .@positive", "The plant was shut down ."]
    Path(folder, "Sentences_AllAgree.txt").write_text(lines[0], encoding="latin-1")
    Path(folder, "Sentences_50Agree.txt").write_text("\n".join(lines), encoding="latin-1")
    Path(folder, "mine.csv").write_text(f"{','.join(news.COLUMNS)}\n2026-02-09T08:40,wire,HLVM,sales,positive,,Halvern sells more\n", encoding="utf-8")  # fmt: skip
    say(f"Where all agree: {news.load_phrasebank(folder, agreement='all')}")
    for attempt in (
        lambda: news.load_phrasebank(folder, agreement="50"),
        lambda: news.load_phrasebank(folder, agreement="most"),
        lambda: news.read_news_file(Path(folder, "mine.csv"), news.load_labels(), companies),
    ):
        try:
            attempt()
        except AgentLabError as error:
            say(f"`{type(error).__name__}`: {str(error).replace(folder, '...')}")
with shows_error(AgentLabError):
    Monitor(stream.Quarter([], np.array([]), np.array([], int), np.array([], int)), [], threshold)
assert reader([]) == [] and reader(["", "Rates stay where they are, says the central bank"])[1][0].company == ""  # fmt: skip
found = reader(["Nobody has ever heard of Umbrafax, whose shares fall by half"])[0][0]
say(f"A company that is not on the list is read as the market's news: topic {found.topic}, {found.sentiment}, company {found.company!r}.")  # fmt: skip

# %% [markdown]
# The last one is a limit to know: a text about a company that nobody listed counts for its topic alone. New names go into `companies.yml`.
#
# ## Play
#
# Write a headline that names one or two of the companies (Halvern, Voltamere, Merrowbank, Hearthloom, Pikestead, Fennwick, Skarholm ...). Can you write one that it reads wrongly from one side only?

# %%
from agentlab.ui import play


def answer(text):
    return " · ".join(
        f"{companies[r.company].name if r.company else 'the market'}: {r.sentiment} ({r.sentiment_sure:.2f}), {r.topic}"
        for r in reader([text])[0]
    )


play(
    "Headline",
    answer,
    [
        "Fennwick must pay Skarholm 40 million over spoilt freight",
        "Merrowbank cuts 900 jobs and saves 70 million a year",
        "lovely, the Pikestead app is down again, on the 23rd of December",
        "Central bank surprises with a quarter point more",
    ],
    "Read from the side of everybody who is named",
)

# %% [markdown]
# ## Limits
#
# - All of it was invented by few people. Real feeds are longer, duller, and name several companies at once; expect less, and measure on your own.
# - The test part says what it means. On the challenge part, where the reader has to infer, the model is clearly weaker: report both.
# - The surges are planted as we imagine surges. A scandal that comes to light over a month, two items a week, is not among them, and this CUSUM, tuned to 16 items a day, would not
#   find it.
# - The names are found by a list. A subsidiary, a chief executive or a product that everybody knows is nobody here.
# - An alarm says that much bad news came. It says nothing about its truth: a campaign of lies looks the same. And nothing here is advice on what to buy or sell.
#
# ## Takeaways
#
# 1. Sentiment has an owner. Read a text from each side, and a name stops being bad news.
# 2. One encoder with two heads reads once and answers twice; the losses are summed, each with a softmax of its own.
# 3. Count what is negative, not what is loud, and compare with a usual that the surge itself cannot raise.
# 4. Evidence adds up: CUSUM finds the beginning without being told where to look.
# 5. A threshold is a price list. Choose it by cost on some quarters, report on others, beside a floor and a control that must fail.

# %%
quiz("news.quiz_whom")

# %%
quiz("news.quiz_story")

# %%
quiz("news.quiz_volume")

# %%
quiz("news.quiz_threshold")

# %% [markdown]
# ## Further work
#
# - **Easy:** make false alarms ten times as dear (`false=200`). Which threshold is cheapest then, and what does it miss?
# - **Medium:** plant slow surges (`World(surge_rate=(4, 8), surge_days=(7, 14))`). Which `extra` finds them, and what does it cost on the fast ones?
# - **Hard:** an alarm on *positive* surges as well. What has to change in `count`, and which of your checks tells you that you broke nothing?
#
# **Next:** [09 · Recommend](09_recommend.ipynb) leaves single texts altogether: what does a customer want who says nothing at all?
