# %% [markdown]
# # 03 · Fine-tune
#
# **By the end you will have shown** that the same encoder, on the same messages, learns in seconds what the usual loop does not learn in
# the same seconds, and you will know which part of the gain comes from where, how sure you may be of it, and what the model still
# gets wrong.
#
# | | |
# |---|---|
# | Time | 150 minutes with the eleven exercises; the cells themselves take about 8 minutes on two cores the first time, 4 afterwards |
# | Needs | the course installed; no network, no GPU |
# | Before this | [01 · Prepare the data](01_prepare_data.ipynb) and [02 · Derive the loss](02_derive_the_loss.ipynb) help; PyTorch tensors |
#
# [![Open in Colab](colab-badge)](written by agentlab/home.py)
#
# **Contents:** a message that breaks the floor · a loop that runs, and what is wrong with it · a head on an encoder · before
# training · one batch, on purpose · the learning rate · the same seconds, two ways · where the time goes · memory, and a GPU · what to
# freeze · when to stop · noise, seeds and regularization · a loop with five bugs · the model of the course · calibration and scope ·
# its worst mistakes · play · limits, takeaways, quiz

# %%
# Set-up: written by agentlab/home.py

# %% tags=["parameters"]
PROFILE = "auto"
SEED = 0

# %%
import random
import time

import numpy as np
import torch

from agentlab.lesson import begin, record

lesson = begin("03_fine_tune", PROFILE, SEED)
QUICK = lesson.profile == "quick"
MESSAGES = 400 if QUICK else 1000  # for the experiments; the model of the course gets all
EPOCHS = 3 if QUICK else 5
SECONDS = 0.4 if QUICK else 2.0  # how long each way is timed
SEEDS = 2 if QUICK else 3

# %% [markdown]
# ## A message that breaks the floor
#
# Lesson 01 set a floor: word counts and a linear model. Here is a customer in a hurry. **Predict** what the floor makes of it.

# %%
from agentlab import corpus
from agentlab.show import say, show_table

data = corpus.support()
floor = corpus.tfidf_classifier().fit([m.text for m in data.train], [m.intent for m in data.train])
hurried = "whn wil my tosater com, its 5 dasy alredy"
floor_says = floor.predict([hurried])[0]
say(f"*{hurried}* The floor says: **{floor_says}**.")
assert floor_says != "track_order", "the story needs a message that the floor gets wrong"

# %% [markdown]
# None of its words, spelt like this, was among those that the floor has counted. An encoder cuts words into pieces and has read
# billions of them; but it knows nothing about *our* thirty classes. Fine-tuning brings the two together: **start from weights that know
# the language, and move them a little towards the task.**
#
# ## A loop that runs, and what is wrong with it
#
# The article behind this course shows a training loop for marking words as `Customer`, `Sales` or `Support`. Loops like it stand in
# hundreds of tutorials. The following listing, written for this lesson, makes the same mistakes. Each is found by something failing
# or by a figure, never by staring. **Before you run a cell, guess what it will show.**
#
# **Mistake 1: an import that is gone.**

# %%
from agentlab.show import shows_error

with shows_error(ImportError):
    from transformers import AdamW  # noqa: F401

# %% [markdown]
# The easiest kind: it fails at once and says so. The optimizer lives in torch now, `torch.optim.AdamW`. The next ones do not fail.
#
# **Mistake 2: word labels on subword positions.** The data set of the listing labels words, and pads the labels to 128:

# %%
from agentlab.assets import load_encoder
from agentlab.encoding import words_and_groups

NAMES = ["O", "Customer", "Sales", "Support"]
WIDTH = 128
_, tokenizer = load_encoder()


class Tickets(torch.utils.data.Dataset):
    """The listing's way: one label per word, then O up to the end."""

    def __init__(self, messages):
        self.messages = messages

    def __len__(self):
        return len(self.messages)

    def __getitem__(self, n):
        words, groups = words_and_groups(self.messages[n], data.labels.span_types)
        encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=WIDTH, padding="max_length")  # fmt: skip
        labels = [NAMES.index(g) for g in groups]
        labels += [0] * (WIDTH - len(labels))
        return torch.tensor(encoded["input_ids"]), torch.tensor(labels[:WIDTH])


shown = next(m for m in data.train if 2 <= len(m.spans) <= 3 and 8 <= len(m.text.split()) <= 12)
ids, labels = Tickets([shown])[0]
words, groups = words_and_groups(shown, data.labels.span_types)
encoded = tokenizer(words, is_split_into_words=True)
truth = [groups[w] if w is not None else "none" for w in encoded.word_ids()]
show_table(
    [
        {"token": token, "label it gets": NAMES[label], "what it is": real}
        for token, label, real in zip(encoded.tokens(), labels.tolist(), truth, strict=False)
    ],
    "The beginning of one message as the listing labels it",
)

# %% [markdown]
# Already the first label is one place off, since the tokenizer puts `[CLS]` in front; with every word that is cut into pieces the
# labels fall further behind. Nothing fails: the lengths agree, and the loss goes down. **The repair is yours.**

# %%
from agentlab.exercises import ____, exercise, quiz

ex = exercise("finetune.subword_labels")


# %%
def subword_labels(labels, word_ids):
    return ____


ex.check(subword_labels)

# %%
subword_labels = ex.use(subword_labels)

# %% [markdown]
# Does it matter? We train the same small head on the same encoder's vectors twice, once with the listing's labels and once with yours,
# and score both on the same true labels. Macro F1 over the three kinds: the mean of their F1, so that `O` earns nothing.

# %%
from agentlab import evaluate
from agentlab.encoding import Encoded
from agentlab.finetune import Config, fit, new_reader, predict

order = np.random.default_rng(SEED).permutation(len(data.train))[:MESSAGES]
some = [data.train[i] for i in order]
validation = random.Random(SEED).sample(data.validation, 250 if QUICK else 500)


def tagged(messages, aligned):
    """Messages with one label per subword: yours, or the listing's."""
    items = []
    for m in messages:
        words, groups = words_and_groups(m, data.labels.span_types)
        encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=WIDTH)
        labels = [NAMES.index(g) for g in groups]
        if aligned:
            labels = subword_labels(labels, encoded.word_ids())
        else:
            labels = (labels + [0] * WIDTH)[: len(encoded["input_ids"])]
        items.append(Encoded(encoded["input_ids"], labels, -100))
    return items


def true_and_guessed(reader, items):
    """The true and the guessed label of every token that has one."""
    pairs = []
    for item, z in zip(items, predict(reader, items)["tags"], strict=True):
        pairs += [
            (t, g) for t, g in zip(item.labels, z.argmax(-1).tolist(), strict=True) if t != -100
        ]
    return [t for t, _ in pairs], [g for _, g in pairs]


from sklearn.metrics import f1_score

honest, f1, taggers = tagged(validation, True), {}, {}
head_only = Config(epochs=3, freeze="encoder", head_learning_rate=1e-2)
for way, aligned in (("words on positions", False), ("first pieces", True)):
    taggers[way] = new_reader(tags=NAMES, seed=SEED)
    fit(taggers[way], tagged(some, aligned), config=head_only, bar=False)
    t, g = true_and_guessed(taggers[way], honest)
    f1[way] = f1_score(t, g, labels=[1, 2, 3], average="macro")
show_table(
    [{"labels in training": way, "macro F1 on true labels": value} for way, value in f1.items()],
    f"One head on a frozen encoder, {len(some)} messages, scored on {len(validation)} validation messages",
)
record("misaligned_f1", f1["words on positions"])
record("aligned_f1", f1["first pieces"])

# %% [markdown]
# **Mistake 3: padding scored as `O`. Mistake 4: accuracy.** Two taggers: yours, and one that says `O` whatever it reads. Each is scored
# in three ways. **Predict** which of the three can tell them apart.

# %%
t, g = (np.array(x) for x in true_and_guessed(taggers["first pieces"], honest))
padding = WIDTH * len(honest) - len(t)
rows = []
for who, guess in (("your tagger", g), ("always O", np.zeros_like(g))):
    right = (guess == t).sum()
    rows.append(
        {
            "tagger": who,
            "accuracy with padding as O": (right + padding) / (len(t) + padding),
            "accuracy on real words": right / len(t),
            "macro F1 of the three kinds": f1_score(
                t, guess, labels=[1, 2, 3], average="macro", zero_division=0
            ),
        }
    )
show_table(
    rows,
    f"{padding / (len(t) + padding):.0%} of what the listing scores is padding or later pieces",
)
assert rows[1]["macro F1 of the three kinds"] == 0 < rows[0]["macro F1 of the three kinds"]

# %% [markdown]
# With padding scored, a tagger that has learned nothing looks excellent. Only the last column sees it. Choose the figure before you
# choose the model.
#
# **Mistake 5: a loop variable that takes a name.** The listing's evaluation. To test it we give it a *perfect* tagger, one that
# returns the truth. Its accuracy must be 1.

# %%
batch = torch.stack([Tickets(validation)[n][1] for n in range(16)])  # (16, 128) labels


def listing_accuracy(labels, guessed):
    names = []
    for labels in labels:  # noqa: B020 - the mistake
        names.append([NAMES[n] for n in labels])
    return names, float((guessed == labels).float().mean())


def repaired_accuracy(labels, guessed):
    names = [[NAMES[n] for n in row] for row in labels]
    return names, float((guessed == labels).float().mean())


_, by_listing = listing_accuracy(batch, batch)
_, after_repair = repaired_accuracy(batch, batch)
say(
    f"The perfect tagger gets {by_listing:.3f} by the listing and {after_repair:.3f} after the repair."
)
assert by_listing < 1 == after_repair

# %% [markdown]
# After the loop, `labels` is no longer the batch but its last row. PyTorch stretches that row over all sixteen and compares without a
# word. **A metric is code: test it with a model whose score you know.**
#
# **Mistake 6: a report on nested lists.** scikit-learn's report wants one flat list; rows of words are something else to it.

# %%
from sklearn.metrics import classification_report

rows_of_names = [[NAMES[n] for n in row] for row in batch.tolist()]
with shows_error(ValueError):
    classification_report(rows_of_names, rows_of_names)

# %% [markdown]
# Flattening would silence the error. But customers' spans are *whole* things: half an order number is of no use. What should be
# counted is spans with both ends and the type right, as seqeval and the CoNLL tasks do. Write it:

# %%

ex = exercise("finetune.span_f1")


# %%
def span_f1(truth, guess):
    return ____


ex.check(span_f1)

# %%
span_f1 = ex.use(span_f1)
half = span_f1([["B-order_id", "I-order_id", "O"]], [["B-order_id", "O", "O"]])
say(f"Half an order number: {half:.1f}. All of its tokens but one are right.")

# %% [markdown]
# Three more mistakes need no cell. Nothing is saved, so a crash costs everything; no seed is set, so nobody can repeat the run; no rate
# is searched for. The rest of this lesson does all three.
#
# ## A head on an encoder
#
# The encoder gives a vector for each token: $(B, T)$ ids become $(B, T, 384)$. For a message's intent we need *one* vector. A common
# choice is the mean over its tokens, **the real ones**.

# %%
ex = exercise("finetune.mean_pool")


# %%
def mean_pool(hidden, mask):
    return ____


ex.check(mean_pool)

# %% [markdown]
# `agentlab.finetune.Reader` is an encoder with two heads, one linear layer each: intents from the pooled vector, tags from the tokens'
# vectors. It is a `torch.nn.Module` like any other, around transformers' own `BertModel`.

# %%
mean_pool = ex.use(mean_pool)
from agentlab.corpus import OUT_OF_SCOPE
from agentlab.encoding import collate, encode

INTENTS = [*data.labels.intents, OUT_OF_SCOPE]
TAGS = data.labels.bio_tags
reader = new_reader(INTENTS, TAGS, seed=SEED).eval()
train_items = encode(some, tokenizer, TAGS, INTENTS)
validation_items = encode(validation, tokenizer, TAGS, INTENTS)
batch = collate(train_items[:4])
with torch.no_grad():
    hidden = reader.encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    pooled = mean_pool(hidden, batch["attention_mask"])
    outputs = reader(batch["input_ids"], batch["attention_mask"])
    assert torch.allclose(reader.intent_head(pooled), outputs["intents"], atol=1e-5)
show_table(
    [
        {"what": name, "shape": str(tuple(x.shape))}
        for name, x in {
            "token ids": batch["input_ids"], "token vectors": hidden, "pooled": pooled,
            "intent logits": outputs["intents"], "tag logits": outputs["tags"],
        }.items()
    ],
    "Four messages on their way through the model",
)  # fmt: skip
# %% [markdown]
# ## Before training
#
# The cheapest test there is costs one forward pass. A fresh head knows nothing, so it should be *evenly* unsure: among $C$ classes the
# loss should be near $\log C$. **Predict** the figure for our thirty classes before you look.

# %%
from agentlab.losses import cross_entropy

z = predict(reader, validation_items)["intents"].numpy()
labels = np.array([i.intent for i in validation_items])
first_loss = cross_entropy(labels, z).value
say(
    f"Loss before training: **{first_loss:.2f}**; $\\log {len(INTENTS)}$ = {np.log(len(INTENTS)):.2f}. With the head ten times as "
    f"large it would be {cross_entropy(labels, z * 30).value:.2f}: sure, and wrong."
)
assert abs(first_loss - np.log(len(INTENTS))) < 0.35

# %% [markdown]
# ## One batch, on purpose
#
# The second cheapest test: sixteen messages, again and again. A model that cannot learn sixteen messages *by heart* has a bug,
# and you know it after seconds instead of hours. As a control we give the same messages random labels. **Predict:** will that fail?

# %%
from dataclasses import replace

from agentlab.show import COLOURS, new_figure, show_figure

sixteen = train_items[:16]
mixed = [replace(i, intent=random.Random(n).randrange(len(INTENTS))) for n, i in enumerate(sixteen)]
by_heart = Config(epochs=20, batch_size=16, learning_rate=5e-4, head_learning_rate=5e-3, dropout=0, schedule="constant")  # fmt: skip
losses = {}
for name, items in (("true labels", sixteen), ("random labels", mixed)):
    history = fit(new_reader(INTENTS, seed=SEED), items, config=by_heart, bar=False)
    losses[name] = [row["train_loss"] for row in history.epochs]
figure, ax = new_figure(6, 2.8)
for (name, values), colour, style in zip(
    losses.items(), ("blue", "vermilion"), ("o-", "s--"), strict=True
):
    ax.plot(range(1, len(values) + 1), values, style, ms=3, color=COLOURS[colour], label=name)
ax.set(xlabel="step on the same 16 messages", ylabel="loss", ylim=(0, None), xticks=range(0, 21, 5))
ax.legend()
ends = [v[-1] for v in losses.values()]
show_figure(
    figure,
    f"Line chart of the loss over 20 steps on one batch: it falls to {ends[0]:.3f} with true labels and to {ends[1]:.3f} with random ones.",
    "Both are learned by heart.",
)
assert max(ends) < 0.3

# %% [markdown]
# Both go to zero. So the test says that the machinery works; it says *nothing* about understanding. That is what validation is for.
#
# ## The learning rate
#
# The one setting that matters most. Too low and nothing moves; too high and what the encoder knows is washed away. The **finder** raises
# the rate a little with each step, on a copy of the model, and watches where the loss falls most steeply, and where it breaks out.

# %%
from agentlab.finetune import find_learning_rate

rates, smooth, suggested = find_learning_rate(
    new_reader(INTENTS, seed=SEED),
    train_items,
    Config(head_learning_rate=1e-3),
    steps=40 if QUICK else 80,
)
figure, ax = new_figure(6, 2.8)
ax.plot(rates, smooth, color=COLOURS["blue"])
ax.axvline(suggested, color=COLOURS["vermilion"], ls="--", label=f"steepest: {suggested:.0e}")
ax.axvline(2e-5, color=COLOURS["black"], ls=":", label="the article's: 2e-05")
ax.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss")
ax.legend()
show_figure(
    figure,
    f"Line chart of the smoothed loss over the learning rate: flat at first, falling most steeply at {suggested:.0e}.",
    f"The rate rises from {rates[0]:.0e} to {rates[-1]:.0e} in {len(rates)} steps.",
)
assert suggested > 2e-5

# %% [markdown]
# A rule of thumb takes a tenth of the steepest rate, since a few steps forgive what whole epochs do not. The usual
# $2\cdot10^{-5}$ was found for a model five times as large and for hours of training; this small encoder takes ten times as
# much. But not from the first step: the head is random then, and its gradients would shake the encoder. So the rate **warms up**, and
# at the end it goes to zero, so that the last steps only polish.

# %%
ex = exercise("finetune.rate")


# %%
def rate(step, steps, warmup):
    return ____


ex.check(rate)

# %%
rate = ex.use(rate)
figure, ax = new_figure(5, 2.2)
ax.plot([rate(s, 100, 10) for s in range(100)], color=COLOURS["blue"])
ax.set(xlabel="step", ylabel="factor")
show_figure(figure, "Line chart: the factor rises from 0.1 to 1 in ten steps and falls in a line towards 0 at step 100.", "Warm-up and linear decay.")  # fmt: skip

# %% [markdown]
# What does the optimizer do with rate and gradient? **AdamW** keeps two running means for each weight and divides one by the root of
# the other, so that each weight moves by about the rate, whatever the size of its gradient. And it pulls the weight a little towards
# zero, apart from the gradient; that is the W.

# %%
ex = exercise("finetune.adamw_step")


# %%
def adamw_step(w, g, m, v, t, rate, decay):
    return ____


ex.check(adamw_step)

# %% [markdown]
# Which weights should be pulled? Not those that merely shift or scale.

# %%
ex = exercise("finetune.decayed")


# %%
def decayed(parameters):
    return ____


ex.check(decayed)

# %%
decayed = ex.use(decayed)
names = set(decayed(list(reader.named_parameters())))
numbers = {
    flag: sum(p.numel() for n, p in reader.named_parameters() if (n in names) == flag)
    for flag in (True, False)
}
say(
    f"Of this model's {sum(numbers.values()):,} numbers {numbers[True]:,} decay; {numbers[False]:,} are biases and norms."
)

# %% [markdown]
# ## The same seconds, two ways
#
# Now the comparison that this lesson is about. First our way: `fit` with a rate of the size that the finder suggests, warm-up, batches of messages of
# like length, and some tricks that the next section takes apart. A monitor shows how it goes: watch the loss fall fast and then slowly, and the learning rate go up and come down.
# *Stop and keep the best* ends the training after the step that is under way; the weights of the best epoch so far stay. Let it run to its end this time, since what follows compares with it.

# %%
from agentlab.finetune import intent_accuracy
from agentlab.ui import TrainingMonitor

OURS = Config(epochs=EPOCHS, learning_rate=3e-4, seed=SEED)
ours = new_reader(INTENTS, seed=SEED)
with TrainingMonitor("Our way, epoch by epoch.", score="accuracy") as monitor:
    history = fit(
        ours, train_items, validation_items, OURS,
        score=intent_accuracy, on_epoch=monitor, on_step=monitor.on_step, bar=False,
    )  # fmt: skip
monitor.show()
ours_accuracy = intent_accuracy(ours, validation_items)

# %% [markdown]
# Now the article's settings, for exactly as many seconds: padding to 128, batch 16, learning rate 2e-5, float32, dropout as it comes.
# And a control that **must fail**: our way on labels that were dealt out at random.

# %%
import transformers

source, _ = load_encoder()


def article_model():
    """transformers' own classification head on the course's encoder."""
    torch.manual_seed(SEED)
    settings = type(source.config).from_dict(
        {**source.config.to_dict(), "id2label": dict(enumerate(INTENTS))}
    )
    model = transformers.BertForSequenceClassification(settings)
    model.bert.load_state_dict(source.state_dict(), strict=False)
    return model


def article_loop(items, seconds):
    """Train for so many seconds and return the model and the number of messages that it has seen."""
    model, seen, began = article_model().train(), 0, time.perf_counter()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, foreach=False)
    while True:
        for start in range(0, len(items), 16):
            if time.perf_counter() - began > seconds:
                return model.eval(), seen
            batch = collate(items[start : start + 16], pad_to=WIDTH)
            inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
            model(**inputs, labels=batch["intents"]).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            seen += len(batch["intents"])


def accuracy_of(model, items):
    """Accuracy of a transformers model."""
    right = 0
    with torch.inference_mode():
        for start in range(0, len(items), 64):
            batch = collate(items[start : start + 64])
            z = model(batch["input_ids"], batch["attention_mask"]).logits
            right += int((z.argmax(-1) == batch["intents"]).sum())
    return right / len(items)


theirs, seen = article_loop(train_items, history.seconds)
article_accuracy = accuracy_of(theirs, validation_items)
dealt = [replace(i, intent=j.intent) for i, j in zip(train_items, random.Random(SEED).sample(train_items, len(train_items)), strict=True)]  # fmt: skip
lost = new_reader(INTENTS, seed=SEED)
fit(lost, dealt, config=OURS, bar=False)
control_accuracy = intent_accuracy(lost, validation_items)
show_table(
    [
        {"way": "our way", "seconds": history.seconds, "messages seen": history.examples, "accuracy": ours_accuracy},
        {"way": "the article's settings", "seconds": history.seconds, "messages seen": seen, "accuracy": article_accuracy},
        {"way": "our way, random labels (control)", "seconds": history.seconds, "messages seen": history.examples, "accuracy": control_accuracy},
    ],
    f"The same encoder, the same {len(train_items)} messages, the same seconds; accuracy over 29 intents on validation",
)  # fmt: skip
record("ours_accuracy", ours_accuracy)
record("article_accuracy", article_accuracy)
record("control_accuracy", control_accuracy)
del theirs, lost

# %% [markdown]
# The article's loop would get there, given hours. In a workshop, and for somebody who wants to try ten ideas, that is the difference
# between learning and waiting.
#
# ## Where the time goes
#
# Take one step of each and stop the clock between its parts. **Predict** which part is the largest.

# %%
device = torch.device("cpu")


def timed_step(model, loss_of, optimizer, items, pad_to=None, rounds=2):
    """Milliseconds per message of forward, backward and optimizer."""
    parts = np.zeros(3)
    for n in range(rounds + 1):
        marks = [time.perf_counter()]
        loss = loss_of(model, collate(items, pad_to=pad_to))
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        optimizer.step()
        optimizer.zero_grad()
        marks.append(time.perf_counter())
        parts += np.diff(marks) * (n > 0)  # the first round warms up
    return parts / rounds / len(items) * 1000


def reader_loss(model, batch):
    z = model(batch["input_ids"], batch["attention_mask"])["intents"]
    return torch.nn.functional.cross_entropy(z, batch["intents"])


def article_loss(model, batch):
    return model(batch["input_ids"], batch["attention_mask"], labels=batch["intents"]).loss


by_length = sorted(train_items, key=len)
middle = by_length[len(by_length) // 2 :][:32]
slow, quick_reader = article_model().train(), new_reader(INTENTS, seed=SEED).train()
quick_reader.encoder.embeddings.requires_grad_(False)
budget = {
    "the article's": timed_step(slow, article_loss, torch.optim.AdamW(slow.parameters(), foreach=False), middle[:16], WIDTH),
    "ours (float32 still)": timed_step(quick_reader, reader_loss, torch.optim.AdamW([p for p in quick_reader.parameters() if p.requires_grad], fused=True), middle),
}  # fmt: skip
figure, ax = new_figure(7, 2.2)
left = np.zeros(len(budget))
del slow, quick_reader
for part, colour, hatch in zip(
    ("forward", "backward", "optimizer"), ("blue", "orange", "green"), ("", "//", ".."), strict=True
):
    values = np.array(
        [b[("forward", "backward", "optimizer").index(part)] for b in budget.values()]
    )
    ax.barh(
        list(budget),
        values,
        left=left,
        color=COLOURS[colour],
        hatch=hatch,
        edgecolor="white",
        label=part,
    )
    left += values
ax.set(xlabel="milliseconds per message")
ax.legend()
share = 1 - np.mean([len(i) for i in middle]) / WIDTH
show_figure(
    figure,
    f"Stacked bars: the article's step takes {left[0]:.0f} ms per message, ours {left[1]:.1f} ms; forward, backward, optimizer.",
    f"Of the article's tokens {share:.0%} are padding, in forward and backward alike.",
)

# %% [markdown]
# Padding is the elephant. Then the ladder, one rung at a time, from the article's step to ours. Each rung changes one thing and keeps
# the ones before. **Guess** the factors first.

# %%
from agentlab.device import release_memory
from agentlab.encoding import length_buckets
from agentlab.finetune import Training

shuffled = list(train_items)
random.Random(SEED).shuffle(shuffled)
in_order = [shuffled[i : i + 16] for i in range(0, len(shuffled), 16)]
buckets = [
    [train_items[i] for i in rows]
    for rows in length_buckets([len(i) for i in train_items], 32, SEED)
]


def per_second(step, batches, seconds=SECONDS):
    """Messages per second of a step, after one to warm up."""
    step(batches[0])
    count, began = 0, time.perf_counter()
    for batch in batches[1:] * 50:
        step(batch)
        count += len(batch)
        if time.perf_counter() - began > seconds:
            return count / (time.perf_counter() - began)


def plain_step(attention, fused, pad_to=None, one_product=False):
    """A float32 step of a Reader in which everything learns, dropout 0.1 inside."""
    model = new_reader(INTENTS, seed=SEED, fused=one_product).train()
    model.encoder.set_attn_implementation(attention)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=fused, foreach=False)

    def step(items):
        reader_loss(model, collate(items, pad_to=pad_to)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def fit_step(**options):
    """The very step that `fit` takes."""
    training = Training(new_reader(INTENTS, seed=SEED), train_items, config=Config(**options))
    training.prepare()
    training.model.train()
    number = {id(item): n for n, item in enumerate(train_items)}
    return lambda items: training.one_step([number[id(item)] for item in items])


ladder = {
    "the article's step": per_second(plain_step("sdpa", False, WIDTH), in_order),
    "+ pad only to the longest": per_second(plain_step("sdpa", False), in_order),
    "+ like lengths together, batch 32": per_second(plain_step("sdpa", False), buckets),
    "+ plain attention, fused AdamW": per_second(plain_step("eager", True), buckets),
    "+ query, key, value in one": per_second(plain_step("eager", True, None, True), buckets),
    "+ no dropout inside": per_second(fit_step(precision="float32", freeze=0), buckets),
    "+ embedding table frozen": per_second(fit_step(precision="float32", freeze=1), buckets),
    "+ bfloat16 with float32 copies": per_second(fit_step(precision="auto", freeze=1), buckets),
}
release_memory()
figure, ax = new_figure(7.5, 3.2)
names, values = list(ladder), list(ladder.values())
ax.barh(names[::-1], values[::-1], color=COLOURS["blue"])
for n, v in enumerate(values[::-1]):
    ax.text(v, n, f" {v:.0f}  ({v / values[0]:.1f}×)", va="center")
ax.set(xlabel="messages per second", xlim=(0, max(values) * 1.25))
speedup = values[-1] / values[0]
show_figure(
    figure,
    f"Bar chart of messages per second, from {values[0]:.0f} for the article's step to {values[-1]:.0f} for ours, {speedup:.1f} times as many.",
    f"Measured for {SECONDS:g} s each, one after the other, on {torch.get_num_threads()} threads.",
)
record("speedup", speedup)

# %% [markdown]
# Two rungs deserve a word. *Plain attention*: torch's fused kernel is made for long texts; for thirty tokens on a CPU its backward pass costs
# more than it saves. Measure, do not believe. *bfloat16*: half the bytes, and many processors multiply it faster; others name it
# among their features and take twice as long. `fit` times both and stays with float32 where that is quicker; then the last rung changes
# nothing. But bfloat16 has only eight bits for the digits. **Predict** what comes out:

# %%
weight, small_step = torch.tensor(1.0, dtype=torch.bfloat16), 0.001
for _ in range(100):
    weight = weight - small_step
copy32 = 1.0 - 100 * small_step
say(
    f"A weight of 1 after 100 steps of {small_step} downwards: **{float(weight)}** in bfloat16; it should be {copy32:.1f}."
)
assert float(weight) == 1.0

# %% [markdown]
# Every step was rounded away. So `fit` computes with bfloat16 weights and keeps **float32 copies** for the steps.
#
# ## Memory, and a GPU
#
# How large a model can you train? Four things take memory: weights, gradients, the optimizer's state, and **activations**, what the forward
# pass keeps for the backward pass. The first three can be counted on paper.

# %%
ex = exercise("finetune.training_bytes")


# %%
def training_bytes(parameters, trained, precision):
    return ____


ex.check(training_bytes)

# %%
training_bytes = ex.use(training_bytes)


def measured_bytes(options):
    """Take one real step and weigh weights, gradients and optimizer state at their largest."""
    training = Training(new_reader(INTENTS, seed=SEED), train_items, config=Config(**options))
    training.prepare()
    training.gradients(list(range(8)))
    learning = [p for g in training.optimizer.param_groups for p in g["params"]]
    copies = sum(p.nbytes for p in training.master.raise_gradients()) if training.master else 0
    gradients = sum(p.grad.nbytes for p in learning)
    training.optimizer.step()
    state = sum(
        x.nbytes for s in training.optimizer.state.values() for k, x in s.items() if k != "step"
    )
    weights = sum(p.nbytes for p in training.reader.parameters())
    everything = sum(p.numel() for p in training.reader.parameters())
    return weights + copies + gradients + state, everything, sum(p.numel() for p in learning)


rows = []
for precision in ("float32", "bfloat16"):
    for what, freeze in (("all", 0), ("embeddings frozen", 1), ("upper two layers and head", 5)):
        measured, everything, trained = measured_bytes({"precision": precision, "freeze": freeze})
        predicted = training_bytes(everything, trained, precision)
        rows.append(
            {
                "precision": precision,
                "learning": what,
                "predicted, MB": predicted / 1e6,
                "measured, MB": measured / 1e6,
            }
        )
        assert predicted == measured
show_table(rows, "Weights, gradients and AdamW's state: on paper, and weighed after a real step")

# %% [markdown]
# To the byte. Activations are another matter: they grow with the batch and the length. torch tells what it saves:


# %%
from agentlab.finetune import switch_on_checkpointing


def activation_bytes(batch_size, width, checkpointing=False):
    """Bytes that one forward pass keeps for the backward pass, parameters not counted."""
    model = new_reader(INTENTS, seed=SEED).train()
    if checkpointing:
        switch_on_checkpointing(model.encoder)
    own, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would hold its own graph for ever

    ids = torch.randint(5, 1000, (batch_size, width))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        z = model(ids, torch.ones_like(ids))["intents"]
        total = sum(kept.values())  # while z holds the graph
    return total + 0 * z.numel()


rows = [
    {"batch": b, "tokens": t, "gradient checkpointing": "yes" if c else "no", "activations, MB": activation_bytes(b, t, c) / 1e6}
    for b, t, c in ((8, 32, False), (16, 32, False), (16, 64, False), (16, 128, False), (16, 128, True))
]  # fmt: skip
show_table(rows, "Activations of one float32 forward pass")
assert rows[-1]["activations, MB"] < rows[-2]["activations, MB"] / 3

# %% [markdown]
# Double the batch: double the bytes. Double the length: more than double, since attention compares each token with each. Two ways out of a
# small memory: **checkpointing** keeps only the layers' inputs and computes the rest again (a third more time), and **accumulation** goes through the
# batch in parts. Done right, the second gives the very same gradient.

# %%
ex = exercise("finetune.in_parts")


# %%
def in_parts(gradient, X, y, size):
    return ____


ex.check(in_parts)

# %% [markdown]
# `fit` does both, `Config(accumulation=4, checkpointing=True)`, and when memory runs out all the same it halves the parts, says so, and goes on.
# On a machine with a GPU nothing in this lesson changes but the device: the model, the data and the optimizer go there.

# %%
in_parts = ex.use(in_parts)
if torch.cuda.is_available():
    torch.cuda.reset_peak_memory_stats()
    on_gpu = fit(new_reader(INTENTS, TAGS, seed=SEED), train_items, config=OURS, bar=False)
    say(
        f"On {torch.cuda.get_device_name()}: {on_gpu.examples_per_second:,.0f} messages per second, peak memory "
        f"{torch.cuda.max_memory_allocated() / 1e6:,.0f} MB, against {history.examples_per_second:,.0f} before."
    )
else:
    say(
        "There is no GPU here, so nothing was measured on one: the figures of this lesson are this CPU's. On a GPU this cell measures its "
        "speed and its peak memory."
    )

# %% [markdown]
# **Several processes, several GPUs, several machines** are one command more. Put `fit(...)` into a file `train.py` and type
#
# ```
# accelerate launch --num_processes 2 train.py
# ```
#
# Each process takes its share of every batch, and the gradients are averaged, weighted by what counts; the course's tests do it with two CPU
# processes and get the weights of one.
#
# **To watch a long training** from elsewhere, name a tracker: `fit(..., folder="runs/a", trackers=["tensorboard"])` writes what TensorBoard shows
# (`pip install tensorboard`); `["wandb"]` reports to Weights & Biases, and with `WANDB_MODE=offline` to a file, without an account.
#
# **A crash** costs nothing when `fit` gets a `folder`: it writes a checkpoint, under another name first, and goes on from it next time. Let us
# pull the plug after the first epoch:

# %%
import tempfile

brief = Config(epochs=2, learning_rate=2e-4, seed=SEED, freeze=5)
few = train_items[:200]


def pull_the_plug(row):
    if row["epoch"] == 2:
        raise KeyboardInterrupt


def weights_after(folder=None, **more):
    model = new_reader(INTENTS, seed=SEED)
    fit(model, few, config=brief, folder=folder, bar=False, **more)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


with tempfile.TemporaryDirectory() as folder:
    with shows_error(KeyboardInterrupt):
        weights_after(folder, on_epoch=pull_the_plug)
    resumed = weights_after(folder)
apart = float((resumed - weights_after()).abs().max())
say(
    f"Interrupted and resumed against never interrupted: the weights differ by at most **{apart:g}**."
)
assert apart < 1e-6

# %% [markdown]
# ## What to freeze
#
# Frozen layers need no gradient: less time and memory, and less freedom. **Predict** the order of the accuracies, then of the speeds.

# %%
TRIAL = Config(epochs=1 if QUICK else 2, learning_rate=4e-4, seed=SEED)
trial_items = train_items[: 150 if QUICK else 600]
rows = []
for what, freeze in (("head only", "encoder"), ("upper layer", 6), ("upper three layers", 4), ("all layers", 1), ("all and the embeddings", 0)):  # fmt: skip
    model = new_reader(INTENTS, seed=SEED)
    trial = fit(model, trial_items, config=replace(TRIAL, freeze=freeze), bar=False)
    rows.append(
        {
            "what learns": what,
            "numbers": f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,}",
            "messages per second": round(trial.examples_per_second),
            "accuracy": intent_accuracy(model, validation_items),
        }
    )
show_table(rows, f"{TRIAL.epochs} epochs on {len(trial_items)} messages, accuracy on validation")

# %% [markdown]
# The embedding table holds half of all numbers and each message touches a few dozen of its rows: freezing it costs next to nothing. For
# forgetting less there are finer tools in `Config`: `layer_decay` lets lower layers learn more slowly, `gradual` sets one more layer free
# with each epoch.
#
# ## When to stop
#
# On the training part the loss falls for ever. Validation tells when it is learning by heart. Early stopping keeps the best weights and gives
# up after some epochs without a new best.

# %%
ex = exercise("finetune.stop_early")


# %%
def stop_early(scores, patience):
    return ____


ex.check(stop_early)

# %%
stop_early = ex.use(stop_early)
scores = [row["score"] for row in history.epochs]
best, last = stop_early(scores, 2)
say(
    f"Our run above scored {', '.join(f'{s:.3f}' for s in scores)}. With patience 2 it would have kept epoch {best} and stopped after "
    f"epoch {last}; `fit` kept epoch {history.best_epoch}."
)
assert history.best_epoch == stop_early(scores, len(scores))[0]

# %% [markdown]
# ## Noise, seeds and regularization
#
# Does dropout help? Label smoothing? Typing mistakes made on purpose? One run answers nothing: the order of the batches and the head's first weights alone
# move the figure. So: several seeds, and the spread beside the mean.

# %%
from agentlab.augment import add_typos

clean = some[: 200 if QUICK else 500]
hurried_validation = add_typos(validation, 1, 0.35, seed=99)[len(validation) :]
hurried_items = encode(hurried_validation, tokenizer, TAGS, INTENTS)
say(f"A typing mistake made by the machine: *{hurried_validation[0].text}*")


def several(messages, **options):
    """Accuracy on validation, and on the same messages mistyped, for each seed."""
    items, found = encode(messages, tokenizer, TAGS, INTENTS), []
    for seed in range(SEEDS):
        model = new_reader(INTENTS, seed=seed)
        fit(model, items, config=replace(TRIAL, seed=seed, **options), bar=False)
        found.append(
            (intent_accuracy(model, validation_items), intent_accuracy(model, hurried_items))
        )
    return np.array(found)


results = {
    "plain": several(clean, dropout=0.0),
    "with a mistyped copy of each message": several(add_typos(clean, 1, 0.3), dropout=0.0),
}
if not QUICK:
    results["dropout 0.3, smoothing 0.1"] = several(clean, dropout=0.3, label_smoothing=0.1)
show_table(
    [
        {
            "training": name,
            "as written": f"{found[:, 0].mean():.3f} ± {found[:, 0].std(ddof=1):.3f}",
            "mistyped": f"{found[:, 1].mean():.3f} ± {found[:, 1].std(ddof=1):.3f}",
        }
        for name, found in results.items()
    ],
    f"Accuracy on validation, mean and standard deviation of {SEEDS} seeds, {len(clean)} messages",
)
plain, typed = results["plain"], results["with a mistyped copy of each message"]
record("gain_from_typos", float(typed[:, 1].mean() - plain[:, 1].mean()))

# %% [markdown]
# Differences smaller than the spread are noise, however much one likes them. One is not: who trains on mistyped messages reads
# mistyped messages. (They also mean more steps. *Further work* asks you to rule that out.)
#
# ## A loop with five bugs
#
# A colleague's loop. It runs, the loss falls, and the tagger is bad. There are **five bugs**, none of which raises an error.

# %%
LISTING = """
def train(model, batches, score, epochs, rate):
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    best_score, best = -math.inf, None
    model.train()
    for _ in range(epochs):
        for ids, mask, labels in batches:
            p = model(ids, mask).softmax(-1)
            loss = F.cross_entropy(p.flatten(0, 1), labels.flatten())
            loss.backward()
            optimizer.step()
        model.eval()
        now = score(model)
        if now > best_score:
            best_score, best = now, model.state_dict()
    model.load_state_dict(best)
"""
say(f"```python{LISTING}```")

# %% [markdown]
# Its symptoms, measured on a tagger for the four labels. Look for what each says about the code:

# %%
import copy
import math

import torch.nn.functional as F

space = {"torch": torch, "math": math, "copy": copy, "F": F}
exec(LISTING, space)
small_batches = []
for start in range(0, 320, 16):
    part = tagged(some[start : start + 16], True)
    b = collate(part)
    words_only = b["labels"] != -100
    small_batches.append(
        (b["input_ids"], words_only.long(), b["labels"].masked_fill(~words_only, 0))
    )


class SmallTagger(torch.nn.Module):
    """Word vectors of its own, dropout, a head."""

    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(len(tokenizer), 32)
        self.dropout, self.head = torch.nn.Dropout(0.3), torch.nn.Linear(32, len(NAMES))
        self.modes = []

    def forward(self, ids, mask):
        self.modes.append(self.training)
        return self.head(self.dropout(self.words(ids)))


def f1_on(batches):
    def score(model):
        pairs = [(y[m == 1], model(x, m).argmax(-1)[m == 1]) for x, m, y in batches]
        t, g = (torch.cat(side).numpy() for side in zip(*pairs, strict=True))
        return f1_score(t, g, labels=[1, 2, 3], average="macro", zero_division=0)

    return score


def symptoms(train):
    torch.manual_seed(SEED)
    model, score, history = SmallTagger(), f1_on(small_batches[16:]), []

    def watched(m):
        history.append(score(m))
        m.modes.append("scored")
        return history[-1]

    train(model, small_batches[:16], watched, 8, 0.02)
    first = model.modes.index("scored")
    z = torch.cat([model(x, m)[m == 1] for x, m, _ in small_batches[:16]])
    y = torch.cat([y[m == 1] for _, m, y in small_batches[:16]])
    return {
        "F1 at the end": score(model.eval()),
        "best F1 on the way": max(history),
        "training passes with dropout on, after the first evaluation": sum(
            m is True for m in model.modes[first:]
        ),
        "loss of probabilities as if logits": float(F.cross_entropy(z.softmax(-1), y)),
        "largest gradient left at the end": max(
            float(p.grad.detach().abs().max()) for p in model.parameters()
        ),
        "share of scored places that are no words": float(
            np.mean([(m == 0).float().mean() for _, m, _ in small_batches])
        ),
    }


sick = symptoms(space["train"])
show_table(
    [{"symptom": k, "value": v} for k, v in sick.items()], "What the colleague's loop leaves behind"
)

# %% [markdown]
# - A best F1 on the way that is not the F1 at the end: what was kept?
# - No training pass with dropout after the first evaluation: who switched it off?
# - A loss of probabilities can never go below $\log(1 + 3/e) \approx 0.74$: what does `cross_entropy` expect?
# - Places that are no words are scored. And the last one: what is still in `.grad` when a step begins?

# %%
ex = exercise("finetune.train")


# %%
def train(model, batches, score, epochs, rate):
    return ____


ex.check(train)

# %%
train = ex.use(train)
healthy = symptoms(train)
show_table(
    [{"symptom": k, "before": sick[k], "after": healthy[k]} for k in sick],
    "The colleague's loop, before and after",
)
assert healthy["F1 at the end"] == healthy["best F1 on the way"]

# %% [markdown]
# ## The model of the course
#
# Now the model that the later lessons use: both heads on one encoder, all training messages, each also in a mistyped copy,
# the out-of-scope messages as a class of their own. `understand.load()` trains it once and keeps it; the second time it is there in a second.

# %%
from agentlab import understand

began = time.perf_counter()
reader = understand.load(understand.QUICK if QUICK else understand.FULL)
say(f"There in {time.perf_counter() - began:.1f} s.")
(read,) = reader([hurried])
say(
    f"*{hurried}* The fine-tuned model says: **{read.intent}**, {read.confidence:.0%} sure. The floor said {floor_says}."
)

# %% [markdown]
# Up to here every choice was made on validation. **Now, once, the test part**, with an interval for each figure: the messages drawn
# anew with replacement, a few hundred times, and the middle 95 %.

# %%
test, outside = data.test, data.split("test", "out")
read_test, read_outside = reader([m.text for m in test]), reader([m.text for m in outside])
truth, guess = [m.intent for m in test], [u.intent for u in read_test]
floor_guess = list(floor.predict([m.text for m in test]))


def interval(pairs, figure, rounds=50 if QUICK else 300):
    low, high = evaluate.bootstrap(pairs, lambda sample: figure(*zip(*sample, strict=True)), rounds)
    return f"{low:.3f} to {high:.3f}"


macro = evaluate.macro_f1(truth, guess)
floor_macro = evaluate.macro_f1(truth, floor_guess)
spans = understand.span_scores(reader, test)
show_table(
    [
        {"figure": "intent, macro F1: fine-tuned", "value": macro, "95 %": interval(list(zip(truth, guess, strict=True)), evaluate.macro_f1)},
        {"figure": "intent, macro F1: the floor", "value": floor_macro, "95 %": interval(list(zip(truth, floor_guess, strict=True)), evaluate.macro_f1)},
        {"figure": "spans, F1 by exact match", "value": spans["all"].f1, "95 %": ""},
    ],
    f"On {len(test)} test messages that nothing was chosen on",
)  # fmt: skip
against = evaluate.compare([t == g for t, g in zip(truth, floor_guess, strict=True)], [t == g for t, g in zip(truth, guess, strict=True)])  # fmt: skip
say(
    f"Compared message by message: {against.difference:+.1%} accuracy over the floor, 95 % interval {against.low:+.1%} to "
    f"{against.high:+.1%}, p = {against.p_value:.1g}."
)
record("intent_macro_f1", macro)
record("span_f1", spans["all"].f1)
record("gain_over_floor", macro - floor_macro)

# %% [markdown]
# Spans by type, the worst at the end. Codes and mail addresses are easy; where a *problem* begins and ends, people argue too.

# %%
kinds = sorted((k for k in spans if k != "all"), key=lambda k: spans[k].f1)
figure, ax = new_figure(7, 3.6)
ax.barh(kinds, [spans[k].f1 for k in kinds], color=COLOURS["blue"])
for n, k in enumerate(kinds):
    ax.text(spans[k].f1, n, f" {spans[k].f1:.2f} of {spans[k].there}", va="center", fontsize=8)
ax.set(xlabel="F1 by exact match", xlim=(0, 1.15))
show_figure(figure, f"Bar chart of span F1 by type, from {kinds[0]} with {spans[kinds[0]].f1:.2f} to {kinds[-1]} with {spans[kinds[-1]].f1:.2f}.", "Behind each bar: how many there are in the test part.")  # fmt: skip

# %% [markdown]
# ## Calibration and scope
#
# An agent has to know when it does not know. Is a model that says "80 % sure" right in 80 of 100 cases? The **expected calibration error**
# is the mean distance between the two.

# %%
ex = exercise("finetune.calibration_gap")


# %%
def calibration_gap(confidence, right, bins):
    return ____


ex.check(calibration_gap)

# %% [markdown]
# A model trained long enough says what it says too loudly, or, with label smoothing, too quietly. One number repairs it: all logits are divided by a
# **temperature**, chosen on validation. It changes no decision.

# %%
calibration_gap = ex.use(calibration_gap)
raw = understand.Understander(reader.reader, reader.tokenizer, 1.0, reader.threshold)
right = np.array([t == g for t, g in zip(truth, guess, strict=True)])
sure = {
    "as trained (temperature 1)": np.array([u.confidence for u in raw([m.text for m in test])]),
    f"temperature {reader.temperature:.2f}": np.array([u.confidence for u in read_test]),
}
figure, axes = new_figure(7.5, 3, columns=2)
for ax, (name, confidence) in zip(axes, sure.items(), strict=True):
    which = np.minimum((confidence * 8).astype(int), 7)
    places = [b for b in range(8) if (which == b).sum() >= 5]
    ax.plot([0, 1], [0, 1], "--", color=COLOURS["black"], lw=1)
    ax.plot(
        [confidence[which == b].mean() for b in places],
        [right[which == b].mean() for b in places],
        "o-",
        color=COLOURS["blue"],
    )
    ax.set(xlabel="how sure", ylabel="how often right", title=name, xlim=(0, 1), ylim=(0, 1))
gaps = [calibration_gap(c, right, 15) for c in sure.values()]
show_figure(
    figure,
    f"Two reliability charts, how often right over how sure: the mean distance to the diagonal is {gaps[0]:.3f} before and {gaps[1]:.3f} after.",
    f"Expected calibration error {gaps[0]:.3f} as trained, {gaps[1]:.3f} after. On the dashed line confidence is honest.",
)
record("calibration_error", gaps[1])

# %% [markdown]
# And what is none of the shop's business? Each message has a *scope* score, and a threshold chosen on validation. Whoever sets it trades: refuse more
# nonsense, and refuse more customers. One figure alone would hide that, so here are both, at every threshold.

# %%
scope_in, scope_out = (np.array([u.scope for u in part]) for part in (read_test, read_outside))
places = np.linspace(0, 1, 201)
kept = [np.mean(scope_in >= p) for p in places]
refused = [np.mean(scope_out < p) for p in places]
auroc = evaluate.auroc(scope_in, scope_out)
at = reader.threshold
figure, ax = new_figure(6.5, 3)
ax.plot(places, kept, "-", color=COLOURS["blue"], label="customers kept")
ax.plot(places, refused, "--", color=COLOURS["vermilion"], label="nonsense refused")
ax.axvline(at, color=COLOURS["black"], ls=":", label=f"chosen: {at:.2f}")
ax.set(xlabel="threshold", ylabel="share", ylim=(0, 1.02))
ax.legend(loc=(0.02, 0.6))
both = f"At {at:.2f} it keeps {np.mean(scope_in >= at):.0%} of {len(test)} customers' messages and refuses {np.mean(scope_out < at):.0%} of {len(outside)} others."
show_figure(figure, f"Two curves over the threshold: the share of customers kept falls, the share of nonsense refused rises. {both}", f"{both} Area under the curve (AUROC): {auroc:.3f}.")  # fmt: skip
record("out_of_scope_auroc", auroc)

# %% [markdown]
# ## Its worst mistakes
#
# Figures tell how many; only reading tells why. Which intents does it take for which?

# %%
show_table(
    [
        {"is": t, "was taken for": g, "times": n}
        for t, g, n in evaluate.worst_confusions(truth, guess, 8)
    ],
    "The most frequent confusions on the test part",
)
names = sorted(set(truth))
matrix = np.zeros((len(names), len(names)))
for t, g in zip(truth, guess, strict=True):
    matrix[names.index(t), names.index(g)] += 1
matrix /= matrix.sum(1, keepdims=True)
figure, ax = new_figure(7, 6.2)
ax.imshow(matrix, cmap="cividis")
ax.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
ax.set_yticks(range(len(names)), names, fontsize=7)
ax.grid(False)
ax.set(xlabel="was taken for", ylabel="is")
weakest = names[int(np.argmin(np.diag(matrix)))]
show_figure(figure, f"Confusion matrix of {len(names)} intents, each row adding up to 1: bright diagonal; the weakest is {weakest} with {matrix.diagonal().min():.2f}.", "Bright: often. The diagonal is right.")  # fmt: skip

# %% [markdown]
# The mistakes that it was surest of, to be read one by one. **For each, ask:** is the model wrong, is the label wrong, or is the message unclear?

# %%
wrong = sorted(((u.confidence, m, u) for m, u in zip(test, read_test, strict=True) if m.intent != u.intent), key=lambda row: -row[0])  # fmt: skip
show_table(
    [
        {"sure": f"{c:.0%}", "message": m.text, "label": m.intent, "model": u.intent}
        for c, m, u in wrong[:8]
    ],
    f"The surest of {len(wrong)} mistakes on {len(test)} messages",
)

# %% [markdown]
# The **challenge set** asks for one difficulty at a time. It was written for that, and nothing has seen it before this cell.

# %%
read_hard = reader([m.text for m in data.challenge])
floor_hard = floor.predict([m.text for m in data.challenge])
kinds = sorted({m.kind for m in data.challenge})
rows = []
for kind in kinds:
    picked = [n for n, m in enumerate(data.challenge) if m.kind == kind]
    rows.append(
        {
            "difficulty": kind,
            "messages": len(picked),
            "the floor": np.mean([floor_hard[n] == data.challenge[n].intent for n in picked]),
            "fine-tuned": np.mean(
                [read_hard[n].intent == data.challenge[n].intent for n in picked]
            ),
        }
    )
figure, ax = new_figure(7, 3)
place = np.arange(len(kinds))
ax.bar(
    place - 0.2,
    [r["the floor"] for r in rows],
    0.4,
    color=COLOURS["orange"],
    hatch="//",
    edgecolor="white",
    label="the floor",
)
ax.bar(place + 0.2, [r["fine-tuned"] for r in rows], 0.4, color=COLOURS["blue"], label="fine-tuned")
ax.set_xticks(place, kinds)
ax.set(ylabel="accuracy", ylim=(0, 1))
ax.legend()
lowest = min(rows, key=lambda r: r["fine-tuned"])
show_figure(figure, f"Bar chart of accuracy by difficulty, floor and fine-tuned; the fine-tuned model is weakest on {lowest['difficulty']} with {lowest['fine-tuned']:.2f}.", "The challenge set.")  # fmt: skip
show_table(rows, "Accuracy by difficulty")
record(
    "challenge_macro_f1",
    evaluate.macro_f1([m.intent for m in data.challenge], [u.intent for u in read_hard]),
)

# %% [markdown]
# ## Play
#
# Write as your own customers do. Try to fool it: a wish in a subordinate clause, two wishes, a wish in another language, no wish at all.

# %%
from agentlab.ui import play


def show_understanding(text):
    (u,) = reader([text])
    spans = "; ".join(f"{s.type}: {text[s.start : s.end]}" for s in u.spans) or "no spans"
    if not u.in_scope:
        return f"not the shop's business (scope {u.scope:.0%})"
    others = ", ".join(f"{name} {p:.0%}" for name, p in u.others)
    return f"{u.intent}, {u.confidence:.0%} sure (then {others}); {spans}"


play(
    "Message",
    show_understanding,
    [
        hurried,
        "please don't cancel order #W30418, just send it to Kerkstraat 9, Delft",
        "can you write my essay on Napoleon",
    ],
    "What the fine-tuned model reads in a message",
)

# %% [markdown]
# ## Limits
#
# - The model sees one message, not the conversation; lesson 06 adds that.
# - Of two wishes in one message it names one. Negation and long stories are still hard for an encoder of 22 million numbers.
# - The corpus was written for this course. Your customers write differently: measure on their messages before you trust any figure here.
# - Speeds belong to this machine and this minute. `make bench` times the loop beside transformers' `Trainer` in one run.
#
# ## Takeaways
#
# 1. Test the machinery before the model: first loss, one batch by heart, a metric on a perfect model.
# 2. The learning rate first; warm-up and decay with it. A rate for one model is no rate for another.
# 3. Speed is not computing what nobody needs: padding, frozen gradients, digits. Measure each rung.
# 4. One seed is an anecdote. Several seeds, intervals, paired comparisons.
# 5. Fine-tune, calibrate, choose thresholds on validation; open the test part once; then read the mistakes.

# %%
quiz("finetune.quiz_first_loss")

# %%
quiz("finetune.quiz_freeze")

# %%
quiz("finetune.quiz_bf16")

# %%
quiz("finetune.quiz_seeds")

# %% [markdown]
# ## Further work
#
# - **Easy:** train with `pooling="first"` instead of the mean. Does the difference exceed the spread of three seeds?
# - **Medium:** mistyped copies also mean more steps. Give the plain training as many steps, and see what is left of the gain.
# - **Hard:** `AGENTLAB_ENCODER` takes another encoder, a folder or a hub name. Fine-tune one that is ten times as large for the same
#   seconds, and for the same number of messages. Which wins in which?
#
# **Next:** lesson 04 makes a language model speak. (It is being written.)
