# %% [markdown]
# # 01 · Prepare the data
#
# **By the end you will have shown** that a careless split makes a weak model look almost perfect, and you will have turned raw
# customer messages into tensors in which every label stands on the right token and nothing else is scored.
#
# | | |
# |---|---|
# | Time | 75 minutes with the seven exercises; the cells themselves run in about a minute |
# | Needs | the course installed; no network, no GPU |
# | Before this | [00 · Start here](00_start_here.ipynb); Python functions and lists, a first idea of what a classifier is |
#
# [![Open in Colab](colab-badge)](written by agentlab/home.py)
#
# **Contents:** look at the data first · mark-up and spans · splits and leakage · WordPiece by hand · labels onto subwords ·
# padding, mask, buckets · a dataset with four faults · class balance · the floor · data card · play · limits, takeaways, quiz

# %%
# Set-up: written by agentlab/home.py

# %% tags=["parameters"]
PROFILE = "auto"
SEED = 0

# %%
import random
import re
from collections import Counter

import torch

from agentlab.lesson import begin, record

lesson = begin("01_prepare_data", PROFILE, SEED)
TIMED_MESSAGES = {"quick": 64, "cpu": 256, "gpu": 1024}[lesson.profile]

# %% [markdown]
# ## A result too good to be true
#
# A colleague has written a classifier for customer messages. "Nearly everything right on the test part," she says, "and it took me
# an afternoon." On Monday it goes live, and it gets this message:
#
# > wait, don't post it! my sister has the very same one to give away
#
# **What should it answer, and why might it fail?** Here is her recipe in full: take the messages, make three small variants of
# each (a typo here, a greeting there) to have more data, shuffle, hold back a fifth as the test part, train.

# %%
from agentlab import corpus
from agentlab.show import say, show_table

data = corpus.support()
rng = random.Random(SEED)


def variant(text):
    """The same message with a letter dropped and perhaps a greeting in front."""
    cut = rng.randrange(len(text))
    return rng.choice(["", "hi, ", "hello ", "hey! "]) + text[:cut] + text[cut + 1 :]


afternoon = [
    (text, m.intent)
    for m in data.train
    for text in (m.text, variant(m.text), variant(m.text), variant(m.text))
]
rng.shuffle(afternoon)
held_back = len(afternoon) // 5
her_test, her_train = afternoon[:held_back], afternoon[held_back:]
her_model = corpus.tfidf_classifier().fit(*zip(*her_train, strict=True))
leaky_accuracy = her_model.score(*zip(*her_test, strict=True))
monday = "wait, don't post it! my sister has the very same one to give away"
answer = her_model.predict([monday])[0]
say(f"Her test accuracy: **{leaky_accuracy:.1%}**. Her answer to Monday's message: **{answer}**.")
assert answer != "cancel_order", "the story needs a message that she gets wrong"

# %% [markdown]
# The order has not left the house. This customer wants it cancelled, and will be sent something else instead.
#
# Keep the figure in mind. Somewhere in this lesson you will be able to say exactly what is wrong with it, and to replace it with an
# honest one.
#
# ## Look at the data first
#
# Before any code that counts, read. Here are six messages as people wrote them, drawn at random from the training part. **While
# you read:** what does each customer want? What would a machine need to find in it?

# %%
from agentlab.show import highlight_spans

for message in rng.sample([m for m in data.train if 2 <= len(m.spans) <= 5], 6):
    highlight_spans(message.text, message.spans)
    say(f"intent: **{message.intent}**")

# %% [markdown]
# Each message has one label for the whole (its *intent*) and marks on some words (its *spans*). How much is there of each kind?

# %%
rows = []
for scope, what in (("single", "one intent"), ("double", "two intents"), ("out", "out of scope")):
    rows.append(
        {"messages with": what, **{name: len(data.split(name, scope)) for name in corpus.SPLITS}}
    )
show_table(
    rows,
    f"The support corpus: {len(data.everything)} messages in {len(data.labels.intents)} intents, by part",
)
say(f"Apart from these stand {len(data.challenge)} challenge messages, for the end of the course.")

# %%
from agentlab.show import COLOURS, new_figure, show_figure

words = [len(m.text.split()) for m in data.train]
figure, ax = new_figure(7, 2.8)
ax.hist(words, bins=range(0, max(words) + 3, 3), color=COLOURS["blue"], edgecolor="white")
ax.set(xlabel="words in a message", ylabel="messages")
middle = sorted(words)[len(words) // 2]
show_figure(
    figure,
    alt=f"Histogram of the number of words per training message: half of them have {middle} words or fewer, the longest has "
    f"{max(words)}; the counts fall off to the right in a long tail.",
    caption="Most messages are short, a few are long. Padding will have to deal with that tail.",
)

# %% [markdown]
# ## Mark-up and spans
#
# People mark spans in plain text files, one message a line, in the mark-up that Rasa made known. It can be reviewed in a pull
# request and counted by hand. A program wants positions instead: where each span starts and ends in the plain text.

# %%
example = next(m for m in data.train if len(m.spans) == 3 and len(m.text) < 90)
say(f"In the file: `{example.markup()}`")
say(
    f"For a program: `{example.text}` with "
    + ", ".join(f"{s.type} at {s.start} to {s.end}" for s in example.spans)
)

# %% [markdown]
# `end` is the first character *after* the span, so that `text[start:end]` gives its words. The course reads the files with
# `corpus.parse_markup`. Now write its core yourself.

# %%
from agentlab.exercises import ____, exercise, quiz

ex = exercise("prepare.read_markup")


# %%
def read_markup(line):
    return ____


ex.check(read_markup)

# %%
read_markup = ex.use(read_markup)
text, spans = read_markup(example.markup())
assert text == example.text
say(f"`read_markup` finds {[text[start:end] for start, end, _ in spans]}.")

# %% [markdown]
# Files that people edit break. Every reader in the course says where, since "invalid input" helps nobody at nine in the evening.

# %%
from agentlab.corpus import parse_markup
from agentlab.show import shows_error

with shows_error():
    parse_markup("send [two](quantity [cables](product)", file="cancel_order.yml", number=14)

# %% [markdown]
# Spans come in types, and the types in three coarse groups: who and where, what and how much, what is wrong and what is wanted.

# %%
counts = Counter(span.type for m in data.train for span in m.spans)
seen = {}
for m in data.train:
    for span in m.spans:
        seen.setdefault(span.type, m.span_text(span))
show_table(
    [
        {"type": t, "group": data.labels.span_types[t], "marked": counts[t], "for example": seen[t]}
        for t in sorted(counts, key=lambda t: (data.labels.span_types[t], -counts[t]))
    ],
    "Span types in the training part",
)

# %% [markdown]
# ## Splits and leakage
#
# A test asks: what will the model do with a message that nobody has written yet? So a test message must be new to it. In the
# colleague's recipe the variants of one message fall on both sides. The model need not understand anything, it recognizes.
#
# The repair is to treat a message and all its near-duplicates as one **group** and to deal out groups. **Predict** her accuracy
# when the same model gets the same variants, but split by group.

# %%
ex = exercise("prepare.split_by_group")


# %%
def split_by_group(groups, test_share, seed):
    return ____


ex.check(split_by_group)

# %%
split_by_group = ex.use(split_by_group)
families = [n for n in range(len(data.train)) for _ in range(4)]  # a message and its three variants
rng = random.Random(SEED)
pairs = [
    (text, m.intent)
    for m in data.train
    for text in (m.text, variant(m.text), variant(m.text), variant(m.text))
]
sides = split_by_group(families, 0.2, SEED)
grouped = {
    side: [p for p, s in zip(pairs, sides, strict=True) if s == side] for side in ("train", "test")
}
model = corpus.tfidf_classifier().fit(*zip(*grouped["train"], strict=True))
honest_accuracy = model.score(*zip(*grouped["test"], strict=True))

# %%
figure, ax = new_figure(7, 2.4)
bars = ax.barh(
    ["split by group", "shuffled (leaky)"],
    [honest_accuracy, leaky_accuracy],
    color=[COLOURS["blue"], COLOURS["vermilion"]],
    height=0.6,
)
bars[1].set_hatch("//")
ax.bar_label(bars, labels=[f"{honest_accuracy:.1%}", f"{leaky_accuracy:.1%}"], padding=4)
ax.set(xlim=(0, 1.12), xlabel="test accuracy of the same model on the same variants")
ax.grid(visible=False)
show_figure(
    figure,
    alt=f"Bar chart of the test accuracy of one model under two splits: {leaky_accuracy:.1%} when variants are shuffled over both "
    f"parts, {honest_accuracy:.1%} when the split keeps the variants of a message together.",
    caption="Nothing changed but the split. The difference was never there for a customer.",
)
record("leaky_accuracy", leaky_accuracy)
record("honest_accuracy", honest_accuracy)

# %%
assert leaky_accuracy - honest_accuracy > 0.1, "the control should show the leak"
say(
    f"The leak was worth {100 * (leaky_accuracy - honest_accuracy):.0f} points of accuracy, all of them imaginary. "
    "**The leaky split is this lesson's control:** a way of measuring that looks wonderful and is wrong."
)

# %% [markdown]
# Near-duplicates also arise without anybody's doing: two customers write "where is my parcel". The corpus groups texts whose
# character n-grams have a cosine of at least 0.8, keeps groups together, and fixes the result in a file, so that everyone's
# test part is the same.

# %%
texts = [m.text for m in data.everything]
groups = corpus.near_duplicate_groups(texts)
first, second, cosine = max(corpus.near_duplicate_pairs(texts, threshold=0.7), key=lambda p: p[2])
say(
    f"{len(texts)} messages form {len(set(groups))} groups. The writers of this corpus struck out what was too much alike; the "
    f"closest pair left is `{texts[first]}` and `{texts[second]}`, with a cosine of {cosine:.2f}."
)
everything = [(m, name) for name in corpus.SPLITS for m in data.messages[name]]
both_sides = Counter(
    g for g, _ in {(g, name) for g, (_, name) in zip(groups, everything, strict=True)}
)
assert max(both_sides.values()) == 1
say("No group stands in two parts.")

# %% [markdown]
# ## WordPiece by hand
#
# A model has no use for letters; it has a vector for each piece in a fixed vocabulary. **WordPiece** cuts a word it does not know
# into pieces that it knows, by one rule: *take the longest beginning that is in the vocabulary, then go on with the rest*. Pieces
# after the first are written with `##`. Here is the real vocabulary of the encoder.

# %%
from agentlab.assets import load_encoder

encoder, tokenizer = load_encoder()
vocabulary = tokenizer.get_vocab()
for word in ("headset", "headsets", "w20417", "brightwire", "ordered", "orderd"):
    say(f"`{word}` → {tokenizer.tokenize(word)}")
say(f"The vocabulary has {len(vocabulary)} pieces.")

# %% [markdown]
# A plural, a name, an order number, a typo: all fall apart, and nothing is ever unreadable. Watch the rule at work on one word,
# try by try.

# %%
word, start, tries = "headphones", 0, []
while start < len(word):
    for end in range(len(word), start, -1):
        piece = word[start:end] if start == 0 else "##" + word[start:end]
        found = piece in vocabulary
        if found or end == len(word):
            tries.append(
                {
                    "at letter": start,
                    "tried": piece,
                    "in the vocabulary": "yes" if found else "no, shorten from the right",
                }
            )
        if found:
            start = end
            break
show_table(tries, f"WordPiece on {word!r}: the first try and the hit at each place")

# %%
ex = exercise("prepare.word_pieces")


# %%
def word_pieces(word, vocabulary):
    return ____


ex.check(word_pieces)

# %%
word_pieces = ex.use(word_pieces)
some_words = sorted({w for m in data.train for w in re.findall(r"[a-z]+", m.text.lower())})
same = sum(word_pieces(w, vocabulary) == tokenizer.tokenize(w) for w in some_words)
say(
    f"On {len(some_words)} different words of the corpus, `word_pieces` and the tokenizer agree on {same}."
)
assert same == len(some_words)

# %% [markdown]
# ## Labels onto subwords
#
# People label words; the model sees pieces. So each label must move to the right piece, and this is where much code goes wrong in
# silence: it runs, it trains, and the labels are shifted. Look at one message. **How many labels does the model expect?**

# %%
sentence = "my headsets from Brightwire crackle".split()
word_labels = ["O", "Sales", "O", "O", "Support"]
encoded = tokenizer(sentence, is_split_into_words=True)
tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
say(f"{len(word_labels)} word labels, {len(tokens)} tokens of shape (T,) = ({len(tokens)},).")
naive = (word_labels + ["-"] * 20)[: len(tokens)]
show_table(
    [
        {
            "token": t,
            "from word": "-" if w is None else f"{w} ({sentence[w]})",
            "label laid on by position": label,
        }
        for t, w, label in zip(tokens, encoded.word_ids(), naive, strict=True)
    ],
    "Word labels laid on token positions: everything is off",
)

# %% [markdown]
# `[CLS]` took the label of *my*, *my* is labelled *Sales*. The tokenizer knows better: `word_ids()` says which word each token comes
# from. What must not count gets **-100**, the number that the loss leaves out.

# %%
ex = exercise("prepare.token_labels")


# %%
def token_labels(word_labels, word_ids):
    return ____


ex.check(token_labels)

# %%
token_labels = ex.use(token_labels)
TAGS = ("O", "Customer", "Sales", "Support")
aligned = token_labels([TAGS.index(label) for label in word_labels], encoded.word_ids())
show_table(
    [
        {"token": t, "label": n if n == -100 else f"{n} ({TAGS[n]})"}
        for t, n in zip(tokens, aligned, strict=True)
    ],
    "The same labels, each on the first piece of its word",
)

# %% [markdown]
# Our spans are finer than words: they are *characters* with types, and a model should learn where each begins. So the course labels
# in **BIO**: `B-product` on the first token of a span, `I-product` on the rest, `O` outside. The tokenizer gives each token's
# characters (`offset_mapping`); a token belongs to a span if they share a character.

# %%
from agentlab.encoding import align_labels

tags = data.labels.bio_tags
batch = tokenizer(example.text, return_offsets_mapping=True)
bio = align_labels(example.spans, batch["offset_mapping"], tags)
show_table(
    [
        {"token": t, "characters": f"{a} to {b}", "label": "-100" if n == -100 else tags[n]}
        for t, (a, b), n in zip(
            tokenizer.convert_ids_to_tokens(batch["input_ids"]),
            batch["offset_mapping"],
            bio,
            strict=True,
        )
    ],
    f"Character spans as BIO labels ({len(tags)} labels in all)",
)

# %% [markdown]
# Here every piece of a span is scored, since the end of a span matters to us as much as its beginning; only `[CLS]`, `[SEP]` and
# padding get -100. Both ways are in use. What counts is to know which one a figure was measured with.
#
# ## Padding, mask, buckets
#
# Tensors are rectangles; messages are not. Shorter rows are filled with padding, and a **mask** of ones and zeros tells the model which
# tokens are real. Let the model speak: with the right mask, padding changes nothing; with a mask of ones, it does. **By how much?**

# %%
ids = torch.tensor([tokenizer("where is my parcel?")["input_ids"]])  # (1, T)
padded = torch.nn.functional.pad(ids, (0, 20), value=tokenizer.pad_token_id)  # (1, T + 20)
right_mask = torch.nn.functional.pad(torch.ones_like(ids), (0, 20))
with torch.inference_mode():
    alone = encoder(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0, 0]  # (384,)
    masked = encoder(padded, attention_mask=right_mask).last_hidden_state[0, 0]
    unmasked = encoder(padded, attention_mask=torch.ones_like(padded)).last_hidden_state[0, 0]
change_masked = (masked - alone).norm() / alone.norm()
change_unmasked = (unmasked - alone).norm() / alone.norm()
say(
    f"Change of the vector of `[CLS]`: {change_masked:.1e} with the mask, **{change_unmasked:.0%}** with a mask of ones."
)
assert change_masked < 1e-3 < 0.02 < change_unmasked

# %%
ex = exercise("prepare.pad_batch")


# %%
def pad_batch(rows, pad_id):
    return ____


ex.check(pad_batch)

# %%
pad_batch = ex.use(pad_batch)
three = tokenizer([m.text for m in data.train[:3]])["input_ids"]
batch_ids, batch_mask = pad_batch(three, tokenizer.pad_token_id)
say(
    f"Rows of {[len(row) for row in three]} tokens became a tensor of shape (B, T) = {tuple(batch_ids.shape)}."
)

# %% [markdown]
# How wide should a batch be? Many listings pad everything to 128, to be safe. The computer multiplies the padding as dutifully as the
# words. First: how much padding is that?

# %%
ex = exercise("prepare.padding_share")


# %%
def padding_share(lengths, batches):
    return ____


ex.check(padding_share)

# %% [markdown]
# Three ways to form batches of 16: pad all to 128; pad each batch to its own longest message; and **buckets**, which put messages
# of similar length into one batch, after a shuffle, so that epochs still differ. **Predict** the share of padding of each.

# %%
from agentlab.encoding import length_buckets

padding_share = ex.use(padding_share)
lengths = [
    len(row)
    for row in tokenizer([m.text for m in data.train], truncation=True, max_length=128)["input_ids"]
]
shuffled = random.Random(SEED).sample(range(len(lengths)), len(lengths))
plain_batches = [shuffled[i : i + 16] for i in range(0, len(shuffled), 16)]
bucket_batches = list(length_buckets(lengths, 16, seed=SEED))
shares = {
    "all to 128": 1 - sum(lengths) / (128 * len(lengths)),
    "each batch to its longest": padding_share(lengths, plain_batches),
    "buckets of similar length": padding_share(lengths, bucket_batches),
}

# %%
figure, ax = new_figure(7, 2.4)
bars = ax.barh(list(shares)[::-1], list(shares.values())[::-1], color=COLOURS["orange"], height=0.6)
ax.bar_label(bars, labels=[f"{v:.0%}" for v in list(shares.values())[::-1]], padding=4)
ax.set(xlim=(0, 1), xlabel="share of tokens that are padding")
ax.grid(visible=False)
show_figure(
    figure,
    alt="Bar chart of the share of padding tokens by way of batching: "
    + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    + "; buckets waste the least.",
    caption="Batches of 16 over the training part.",
)
record("padding_share_buckets", shares["buckets of similar length"])

# %% [markdown]
# And in time? We run the real encoder over the same messages, once as 128-wide batches and once in buckets.

# %%
import time


def seconds_for(batches, width=None):
    start = time.perf_counter()
    with torch.inference_mode():
        for rows in batches:
            ids, mask = pad_batch(rows, tokenizer.pad_token_id)
            if width:
                ids, mask = (
                    torch.nn.functional.pad(x, (0, width - x.shape[1])) for x in (ids, mask)
                )
            encoder(ids, attention_mask=mask)
    return time.perf_counter() - start


timed = tokenizer([m.text for m in data.train[:TIMED_MESSAGES]], truncation=True, max_length=128)[
    "input_ids"
]
buckets = [
    [timed[i] for i in rows] for rows in length_buckets([len(r) for r in timed], 16, seed=SEED)
]
seconds_for(buckets[:1])  # the first call is slower than the rest
wide, narrow = seconds_for(buckets, 128), seconds_for(buckets)
say(
    f"{len(timed)} messages: {wide:.2f} s padded to 128, {narrow:.2f} s in buckets, **{wide / narrow:.1f} times as fast**."
)

# %% [markdown]
# ## A dataset with four faults
#
# Here is a `Dataset` of a kind that goes round in tutorials. It runs without an error, and a model trained on it even reports a fine
# accuracy. Read it slowly. **Find four faults** before you run the next cell. (Fault one is a variable that is not what it seems.)

# %%
import inspect

from agentlab.exercises.prepare import FaultyDataset

say(f"```python\n{inspect.getsource(FaultyDataset)}```")

# %% [markdown]
# Symptoms first: look at what comes out for two messages that have different labels.

# %%
sentences = ["my headset crackles".split(), "ship it to Anna in Ghent please".split()]
labels = [["O", "Sales", "Support"], ["O", "O", "O", "Customer", "O", "Customer", "O"]]
faulty = FaultyDataset(sentences, labels, tokenizer, TAGS)
for i in range(2):
    item = faulty[i]
    say(
        f"message {i}: {len(item['input_ids'])} tokens; labels {item['labels'][:9]} and {item['labels'].count(0)} zeros in all"
    )
scored = sum(label != -100 for label in faulty[0]["labels"])
say(
    f"Of {scored} scored positions in message 0, {scored - len(sentences[0])} are not words at all, and *O* is always right there."
)

# %%
ex = exercise("prepare.support_dataset")


# %%
class SupportDataset(torch.utils.data.Dataset):
    def __init__(self, sentences, labels, tokenizer, tags):
        ____()  # copy FaultyDataset to here and repair it

    def __len__(self):
        return ____

    def __getitem__(self, i):
        return ____


ex.check(SupportDataset)

# %%
SupportDataset = ex.use(SupportDataset)
repaired = SupportDataset(sentences, labels, tokenizer, TAGS)
for i in range(2):
    say(f"message {i}: labels {repaired[i]['labels']}")

# %% [markdown]
# What were the faults worth? A "model" that says *O* to everything, scored on both versions of the same messages:

# %%
train_words = [re.findall(r"\S+", m.text) for m in data.train]
train_labels = []
for m in data.train:
    starts = [match.start() for match in re.finditer(r"\S+", m.text)]
    covering = [next((s.type for s in m.spans if s.start <= at < s.end), None) for at in starts]
    train_labels.append([data.labels.span_types[t] if t else "O" for t in covering])


def accuracy_of_always_o(dataset):
    scored = [label for i in range(len(dataset)) for label in dataset[i]["labels"] if label != -100]
    return scored.count(0) / len(scored)


always_o_faulty = accuracy_of_always_o(FaultyDataset(train_words, train_labels, tokenizer, TAGS))
always_o = accuracy_of_always_o(SupportDataset(train_words, train_labels, tokenizer, TAGS))
say(
    f"Always *O*: **{always_o_faulty:.1%}** on the faulty data set, {always_o:.1%} on the repaired one. Nothing was learned in either."
)
assert always_o < always_o_faulty

# %% [markdown]
# ## Class balance
#
# Does one label outnumber the others? Among the intents hardly, since the corpus was written so. Among the tokens very much: most words
# are *O*. Accuracy over tokens is therefore a poor figure; lesson 03 uses span F1.

# %%
intents = Counter(m.intent for m in data.train)
token_counts = Counter(label for row in train_labels for label in row)
figure, axes = new_figure(8, 2.8, columns=2)
axes[0].bar(range(len(intents)), sorted(intents.values(), reverse=True), color=COLOURS["blue"])
axes[0].set(xlabel=f"{len(intents)} intents, sorted", ylabel="messages", title="intents", xticks=[])
shown = axes[1].bar(list(TAGS), [token_counts[t] for t in TAGS], color=COLOURS["orange"])
axes[1].bar_label(shown)
axes[1].set(ylabel="words", title="labels of words")
show_figure(
    figure,
    alt=f"Two bar charts of the training part. Left, messages per intent: between {min(intents.values())} and "
    f"{max(intents.values())}, nearly even. Right, words per label: O has {token_counts['O']}, the other three together "
    f"{sum(token_counts.values()) - token_counts['O']}.",
    caption="Balanced intents, unbalanced words.",
)

# %% [markdown]
# ## The floor
#
# What does the simplest thing reach? Always saying the most frequent intent is the floor below the floor. TF-IDF with logistic
# regression counts words and word pairs; no pretraining, no GPU, one second. Whatever costs more must beat it **on the same
# split**. As a control we train it once more with shuffled labels. This is the one place where this lesson opens the test part.

# %%
floor = corpus.measure_floor(data.train, data.test)
wrong_labels = [m.intent for m in data.train]
random.Random(SEED).shuffle(wrong_labels)
control_model = corpus.tfidf_classifier().fit([m.text for m in data.train], wrong_labels)
control = control_model.score([m.text for m in data.test], [m.intent for m in data.test])
show_table(
    [
        {"model": "most frequent intent", "accuracy": floor.majority_accuracy},
        {"model": "TF-IDF and logistic regression (the floor)", "accuracy": floor.accuracy},
        {"model": "control: the same with shuffled labels", "accuracy": control},
        {"model": "the colleague's figure", "accuracy": leaky_accuracy},
    ],
    f"Accuracy on the {len(data.test)} test messages (the last row on her own leaky test part)",
)
record("floor_accuracy", floor.accuracy)
say(f"Macro F1 of the floor: {floor.macro_f1:.2f}. Lesson 03 has to beat **{floor.accuracy:.2f}**.")

# %% [markdown]
# Which messages does it get wrong? Reading errors is worth more than another figure. These are from the validation part, which may
# be looked at as often as you like.

# %%
floor_model = corpus.tfidf_classifier().fit(
    [m.text for m in data.train], [m.intent for m in data.train]
)
guesses = floor_model.predict([m.text for m in data.validation])
errors = [
    (m, g)
    for m, g in zip(data.validation, guesses, strict=True)
    if g != m.intent and len(m.text) < 120
]
show_table(
    [{"message": m.text, "is": m.intent, "floor says": g} for m, g in rng.sample(errors, 6)],
    "Six messages that counting words gets wrong",
)

# %% [markdown]
# The words of one intent stand in messages of another: people name what they do not want, tell a story first, or never use
# the obvious word at all. That is what a model which reads *sentences* is for.
#
# ## Data card
#
# Whoever uses the data later should not have to guess. Everything below is computed, not typed.

# %%
show_table(
    [
        {
            "what": "purpose",
            "value": "intent classification and span labelling for an online electronics shop",
        },
        {
            "what": "how made",
            "value": "written for this course message by message, by the guide in data/support/guide.md",
        },
        {"what": "licence", "value": "CC BY 4.0"},
        {
            "what": "language",
            "value": "English, some of it by non-native speakers of invented origin",
        },
        {
            "what": "messages",
            "value": ", ".join(f"{name} {len(data.messages[name])}" for name in corpus.SPLITS),
        },
        {
            "what": "intents",
            "value": f"{len(intents)}, {min(intents.values())} to {max(intents.values())} training messages each",
        },
        {
            "what": "span types",
            "value": f"{len(data.labels.span_types)} in 3 groups, {sum(counts.values())} spans in the training part",
        },
        {
            "what": "split",
            "value": f"stratified, near-duplicate groups kept together ({len(set(groups))} groups)",
        },
        {
            "what": "floor",
            "value": f"TF-IDF accuracy {floor.accuracy:.3f}, majority {floor.majority_accuracy:.3f}",
        },
        {
            "what": "known limits",
            "value": "few writers, no real customers; names, addresses and numbers are invented; no audio, no images",
        },
    ],
    "Data card of the support corpus",
)

# %% [markdown]
# ## Play
#
# First, **mark a message yourself**. Choose the first and the last word of a span, choose what it is, press Mark; Tab and Enter do the same without a mouse. Look for what is hard: where does
# the product begin and end, and is *last May* a date? When you are done, hold your marks against those of the guide with `editor.compare()`. The table below shows what one reader marked
# in a hurry.

# %%
from agentlab.corpus import Span, parse_markup
from agentlab.ui import SpanEditor

line = "the [left speaker](product) I bought [last May](date) [crackles](problem), order [#W20417](order_id), can I get a [refund](remedy)?"
text, truth = parse_markup(line)
hurried = [Span(text.index(words), text.index(words) + len(words), kind) for words, kind in (("speaker", "product"), ("May", "date"), ("crackles", "problem"), ("#W20417", "tracking_number"))]  # fmt: skip
editor = SpanEditor(text, hurried, truth=truth, caption="Marked in a hurry, beside the guide")
editor.show()
same = sum(row["difference"] == "same" for row in editor.compare())
say(f"{same} of {len(hurried)} marks are right. As a line of the corpus: `{editor.markup()}`")

# %% [markdown]
# A score that asks for the exact span and type calls all others wrong, and two people often disagree in just these ways: edges and neighbouring types. That is why the guide says which words
# belong to a span, and why a model can hardly be better than those who marked.
#
# Now type a message and see its pieces, and what the floor makes of it. Can you find one that it gets right for the wrong reason?

# %%
from agentlab.ui import play


def prepared(text):
    pieces = tokenizer.tokenize(text)
    shown = " ".join(pieces[:40]) + (" ..." if len(pieces) > 40 else "")
    best = floor_model.predict_proba([text])[0]
    return f"{len(pieces)} pieces: {shown}; the floor says {floor_model.classes_[best.argmax()]} ({best.max():.0%} sure)"


play(
    "Message",
    prepared,
    [
        "wait, don't post it! my sister has the very same one to give away",
        "refund? no thanks. I want the thing to work",
        "asdf qwer",
        "¿dónde está mi paquete?",
    ],
    "Four messages, their pieces, and the floor's opinion",
)

# %% [markdown]
# ## Limits
#
# - The corpus was written by few people. Real customers will surprise it; its floor is not your shop's floor.
# - Near-duplicates are found by their letters. Two messages that say the same in other words can still stand on both sides.
# - WordPiece was shown for lower-case English. Other languages need other vocabularies.
#
# ## Takeaways
#
# 1. Read the data before you count, and count before you train.
# 2. Split by group. A figure from a leaky split is worth nothing, however good it looks.
# 3. Labels follow `word_ids` or offsets onto the pieces; -100 on everything that must not be scored.
# 4. Pad per batch, mask the padding, put similar lengths together.
# 5. Measure the floor and a control first; only then is a better figure good news.

# %%
quiz("prepare.quiz_leak")

# %%
quiz("prepare.quiz_ignore")

# %%
quiz("prepare.quiz_floor")

# %% [markdown]
# ## Further work
#
# - **Easy:** raise the colleague's variants from three to ten. Where does the leaky accuracy end?
# - **Medium:** find near-duplicates by meaning: use `assets.embed` and a cosine, and read the pairs. Which should be one group?
# - **Hard:** take your own mail folder (with permission), mark fifty messages by `guide.md` together with a friend, and measure how often
#   you two agree. No model can be expected to agree with you more often than that.
#
# **Next:** [02 · Derive the loss](02_derive_the_loss.ipynb), which will train a model on these tensors.
