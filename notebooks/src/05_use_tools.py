# %% [markdown]
# # 05 · Use tools
#
# **By the end you will have shown** that a few typed functions make it safe for a model to look things up and to change things:
# wrong calls come back with what is wrong, no write happens twice or half, the right help article is among five in nine of ten
# questions, and the same tools run about five times faster once you know where the time goes.
#
# | | |
# |---|---|
# | Time | 150 minutes with the ten exercises; the cells themselves take about 2 minutes on two cores |
# | Needs | the course installed; no network, no GPU. The first time, the models of lesson 03 are trained (4 minutes more) |
# | Before this | [03 · Fine-tune](03_fine_tune.ipynb) helps; Python functions with type hints, a little SQL |
#
# [![Open in Colab](colab-badge)](written by agentlab/home.py)
#
# **Contents:** an answer that nobody can know · three libraries, one message · where they disagree · together · from a function to a
# schema · a call that fails in each way · a toolbox with five bugs · the shop · once, and all or nothing · finding the right article ·
# where the time goes · the same tools for any program · play · limits, takeaways, quiz

# %%
# Set-up: written by agentlab/home.py

# %% tags=["parameters"]
PROFILE = "auto"
SEED = 0

# %%
import random
import time

import numpy as np

from agentlab.lesson import begin, record

lesson = begin("05_use_tools", PROFILE, SEED)
QUICK = lesson.profile == "quick"
SOME = 60 if QUICK else 200  # messages for the comparisons
ROUNDS = 200 if QUICK else 1000  # resamples behind an interval

# %% [markdown]
# ## An answer that nobody can know
#
# A customer asks about their order. Here is the course's language model, with nothing but the question. **Predict:** what will it say?

# %%
from agentlab.assets import load_language_model
from agentlab.show import say, show_table

question = "Where is my order W20417, and when will it arrive?"
model, tokenizer = load_language_model()
chat = [{"role": "system", "content": "You are the assistant of an online shop."}, {"role": "user", "content": question}]  # fmt: skip
ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)  # fmt: skip
written = model.generate(**ids, max_new_tokens=40, do_sample=False)
invented = tokenizer.decode(written[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
say(f"*{question}*\n\n> {' '.join(invented.split())} ...")

# %% [markdown]
# It sounds like a shop, and it has never seen this one. No amount of fine-tuning would help: where a parcel is this minute stands in no
# weights. It stands in a database, and the shop's words for it in its help pages. What the model needs is **tools**: functions that look,
# and functions that do.
#
# ## Three libraries, one message
#
# The oldest tools of an agent are those that take a text apart. **NLTK** has the classic algorithms, small and readable. **spaCy** has a
# trained pipeline for whole documents: grammar, names. **Transformers** runs models that you fine-tuned yourself. `agentlab.tools.nlp` wraps each as
# a plain function. One message through all of them:

# %%
from agentlab import corpus, understand
from agentlab.tools import nlp

data = corpus.support()
reader = understand.load()
text = "Hi, Priya Nair here. I paid €49.90 for two kettles on 3 May, order #W20417, and one of them won't switch on."


def shown(value, longest=90):
    """A value as a short text for a table."""
    words = str(value)
    return words if len(words) <= longest else words[:longest] + " ..."


found = [
    ("NLTK", "words", nlp.split_words(text)),
    ("NLTK", "parts of speech", [f"{w['word']}/{w['tag']}" for w in nlp.tag_words(text)]),
    ("NLTK", "stems", [w["stem"] for w in nlp.stem_words(text)]),
    ("NLTK, VADER", "sentiment", nlp.score_sentiment(text)["score"]),
    ("spaCy", "names, dates, sums", [f"{e['text']} ({e['type']})" for e in nlp.find_entities(text)]),
    ("spaCy", "noun phrases", nlp.find_noun_phrases(text)),
    ("spaCy, rules", "shapes", [f"{s['text']} ({s['type']})" for s in nlp.find_shapes(text)]),
    ("Transformers", "intent", reader([text])[0].intent),
    ("Transformers", "spans", [f"{text[s.start : s.end]} ({s.type})" for s in reader([text])[0].spans]),
]  # fmt: skip
show_table([{"library": a, "what": b, "found": shown(c)} for a, b, c in found], "One message, nine readings")  # fmt: skip

# %% [markdown]
# None of them is the best at everything. What does each cost? **Guess the order** before you run the cell, which reads messages one by one, as an
# agent does.

# %%
import statistics

from agentlab.show import COLOURS, new_figure, show_figure

rng = random.Random(SEED)
texts = [m.text for m in rng.sample(data.validation, SOME)]


def milliseconds(function, texts):
    """The median time of one call."""
    function(texts[0])
    times = []
    for one in texts:
        began = time.perf_counter()
        function(one)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


TOOLS = {
    "NLTK words": nlp.split_words,
    "NLTK parts of speech": nlp.tag_words,
    "NLTK stems": nlp.stem_words,
    "VADER sentiment": nlp.score_sentiment,
    "spaCy rules": nlp.find_shapes,
    "spaCy entities": nlp.find_entities,
    "spaCy grammar": nlp.parse_sentences,
    "fine-tuned intent and spans": lambda text: reader([text]),
}
cost = {name: milliseconds(function, texts[:40]) for name, function in TOOLS.items()}
names = sorted(cost, key=lambda name: -cost[name])
figure, ax = new_figure(7, 3)
ax.barh(names, [cost[n] for n in names], color=COLOURS["blue"])
for n, name in enumerate(names):
    ax.text(cost[name], n, f" {cost[name]:.2f} ms", va="center", fontsize=8)
ax.set(xlabel="milliseconds for one message (logarithmic)", xscale="log", xlim=(0.01, 10 * cost[names[0]]))  # fmt: skip
show_figure(
    figure,
    f"Bar chart of the median milliseconds of eight tools: {names[0]} is the slowest with {cost[names[0]]:.1f} ms, {names[-1]} the fastest with {cost[names[-1]]:.2f} ms.",
    f"Median over {len(texts[:40])} messages, one at a time, on this machine.",
)

# %% [markdown]
# A lexicon or a rule can cost a hundredth of what a trained model costs. Where a rule is right, it is cheap; the question is where it is right.
#
# ## Where they disagree
#
# Two tools can only be combined if they speak of the same places in the text. NLTK gives words, and nothing about where they stood. spaCy gives places,
# and cuts elsewhere. **Find the places yourself:**

# %%
from agentlab.exercises import ____, exercise, quiz

ex = exercise("tools.offsets")


# %%
def offsets(text, tokens):
    return ____


ex.check(offsets)

# %% [markdown]
# With places, disagreement can be counted. (NLTK turns double quotes into other characters, so messages with quotes are left out: a tokenizer that
# changes the text cannot say where it was.)

# %%
from collections import Counter

from agentlab.assets import load_encoder, load_spacy

offsets = ex.use(offsets)
_, pieces = load_encoder()
plain = [t for t in texts if '"' not in t and "``" not in t]


def places(text):
    """The places of the tokens by each of the three."""
    encoded = pieces(text, return_offsets_mapping=True, add_special_tokens=False)
    return {
        "NLTK": set(offsets(text, nlp.split_words(text))),
        "spaCy": {(t.idx, t.idx + len(t)) for t in load_spacy().make_doc(text) if not t.is_space},
        "WordPiece": {tuple(place) for place in encoded["offset_mapping"]},
    }


cuts = [places(t) for t in plain]
rows = []
for a, b in (("NLTK", "spaCy"), ("NLTK", "WordPiece"), ("spaCy", "WordPiece")):
    same = sum(len(c[a] & c[b]) for c in cuts)
    rows.append({"tokenizers": f"{a} and {b}", "of the tokens of either, shared": same / sum(len(c[a] | c[b]) for c in cuts)})  # fmt: skip
show_table(rows, f"How often three tokenizers cut {len(plain)} messages at the same places")
only = Counter(t[a:b] for t, c in zip(plain, cuts, strict=True) for a, b in c["NLTK"] - c["spaCy"])
say(f"What NLTK keeps as one token and spaCy does not, most often: {', '.join(f'`{w}`' for w, _ in only.most_common(8))}.")  # fmt: skip

# %% [markdown]
# spaCy cuts at hyphens and in words such as *whats*, and keeps an e-mail address whole; NLTK does neither. WordPiece cuts rare words into pieces, since its vocabulary has 30,522 entries and language has more.
# None of this is wrong. But **a span that ends inside another tool's token is lost** when somebody compares words instead of characters.
#
# Names and dates next. spaCy's pipeline learned them from news and web text, our models from shop messages:

# %%
KINDS = {"PERSON": "person", "DATE": "date", "MONEY": "amount", "GPE": "address", "LOC": "address", "CARDINAL": "quantity"}  # fmt: skip


def by_spacy(texts):
    """spaCy's entities as (start, end, type), in the course's names."""
    return [
        [(e["start"], e["end"], KINDS[e["type"]]) for e in row if e["type"] in KINDS]
        for row in nlp.find_entities_all(texts)
    ]


def by_rules(texts):
    return [[(s["start"], s["end"], s["type"]) for s in nlp.find_shapes(t)] for t in texts]


def by_model(texts):
    return [[(s.start, s.end, s.type) for s in u.spans] for u in reader(texts)]


examples = [m for m in data.validation if {s.type for s in m.spans} & {"person", "order_id"}][:4]
show_table(
    [
        {
            "message": shown(m.text, 70),
            **{
                name: "; ".join(f"{m.text[a:b]}: {kind}" for a, b, kind in way([m.text])[0]) or "nothing"
                for name, way in (("spaCy", by_spacy), ("rules", by_rules), ("fine-tuned", by_model))
            },
        }
        for m in examples
    ],
    "Three readers of the same messages",
)  # fmt: skip

# %% [markdown]
# ## Together
#
# Three readers, three opinions on the same characters. One way to settle it: order the readers by trust, and let a less trusted one speak only where the
# others were silent.

# %%
ex = exercise("tools.merge_spans")


# %%
def merge_spans(sources):
    return ____


ex.check(merge_spans)

# %% [markdown]
# Whom to trust is measured, not felt. And trust need not be the same for all things: a rule may know an order number by its shape, and knows nothing of products. So
# **per type of span** the reader that was best on one half of the validation part is asked first; what the merger is worth is measured on the other half.
# **Predict:** which reader wins for `order_id`, for `person`, for `product`?

# %%
merge_spans = ex.use(merge_spans)
shuffled = rng.sample(data.validation, len(data.validation))
halves = shuffled[: len(shuffled) // 2], shuffled[len(shuffled) // 2 :]
READERS = {"rules": by_rules, "fine-tuned": by_model, "spaCy": by_spacy}
seen = [{name: way([m.text for m in half]) for name, way in READERS.items()} for half in halves]


def span_f1(messages, guesses, kind=None):
    """F1 by exact match, over all types or one."""
    right = found = there = 0
    for m, guess in zip(messages, guesses, strict=True):
        truth = {(s.start, s.end, s.type) for s in m.spans if kind in (None, s.type)}
        guess = {g for g in guess if kind in (None, g[2])}
        right, found, there = right + len(truth & guess), found + len(guess), there + len(truth)
    return 2 * right / max(1, found + there)


trust = {}
for kind in data.labels.span_types:
    score = {name: span_f1(halves[0], guesses, kind) for name, guesses in seen[0].items()}
    trust[kind] = max(score, key=score.get)
show_table(
    [{"asked first": name, "for": ", ".join(k for k, best in trust.items() if best == name) or "nothing"} for name in READERS],
    f"Chosen on {len(halves[0])} validation messages",
)  # fmt: skip


def together(seen, messages):
    """Of each reader only the types that it is trusted with; the rules' spans before the models'."""
    merged = []
    for n in range(len(messages)):
        own = {name: [s for s in guesses[n] if trust[s[2]] == name] for name, guesses in seen.items()}  # fmt: skip
        merged.append(merge_spans([own["rules"], own["fine-tuned"], own["spaCy"]]))
    return merged


f1 = {name: span_f1(halves[1], guesses) for name, guesses in seen[1].items()}
f1["together"] = span_f1(halves[1], together(seen[1], halves[1]))
moved = [[(a + 1, b + 1, k) for a, b, k in row] for row in together(seen[1], halves[1])]
f1["control: together, one place off"] = span_f1(halves[1], moved)
show_table([{"reader": name, "span F1": value} for name, value in f1.items()], f"Spans by exact match, all types, on the other {len(halves[1])} messages")  # fmt: skip
best = max(READERS, key=f1.get)
say(f"Together the three reach {f1['together']:.3f}; the best alone, {best}, reaches {f1[best]:.3f}: a gain of {f1['together'] - f1[best]:+.3f}.")  # fmt: skip
record("merged_f1", f1["together"])
record("gain_over_best", f1["together"] - f1[best])
record("control_f1", f1["control: together, one place off"])

# %% [markdown]
# Read the sentence again when you have trained a better or a worse model. In the quick profile, where the model has had seconds of training, rules win
# several types and the merger gains; the fully trained model leaves them little. spaCy's names add little in either, since its pipeline was made for
# other texts. **A tool is as good as its measurement on your data, today.** The control shows that the figure means something: one place off, and nothing
# is right.
#
# ## From a function to a schema
#
# Now the other kind of tool: one that a *model* calls. A model does not read Python. It is shown a name, a sentence, and a **JSON Schema** of the
# arguments, and writes JSON. All of that is already in a well-written function:

# %%
import json
from typing import Literal

from agentlab.toolkit import READ, Retry, Toolbox, ToolDefinitionError, tool


@tool(effect=READ)
def delivery_fee(country: Literal["NL", "DE", "FR", "NO"], express: bool = False) -> dict:
    """Say what delivery costs.

    Args:
        country: where the parcel goes, such as NL
        express: whether it should be there tomorrow
    """
    cents = {"NL": 490, "DE": 490, "FR": 490, "NO": 1490}[country]
    return {"cents": cents + (500 if express else 0)}


print(json.dumps(delivery_fee.openai(), indent=1))

# %% [markdown]
# How does `@tool` get there? Python keeps names, annotations and defaults, and `inspect` reads them. **Write it:**

# %%
import inspect  # noqa: F401 - for you
from typing import get_args, get_origin  # noqa: F401

ex = exercise("tools.schema")


# %%
def schema(function):
    return ____


ex.check(schema)

# %% [markdown]
# `agentlab.toolkit` leaves this to pydantic, which knows ranges, formats and nested types as well. A function that a model could not use is refused when it is
# defined, and not when a customer is waiting:

# %%
from agentlab.show import shows_error

schema = ex.use(schema)

with shows_error(ToolDefinitionError):

    @tool
    def lookup(x):
        return x


with shows_error(ToolDefinitionError):

    @tool
    def refund(order_id: str, cents: int) -> str:
        """Pay money back.

        Args:
            order_id: its number, such as W20417
        """
        return "paid"


# %% [markdown]
# ## A call that fails in each way
#
# Models write wrong calls all the time: a name that nearly exists, true for a number, a value from nowhere. To find what is wrong, compare the arguments with
# the schema. **Write the comparison.**

# %%
ex = exercise("tools.problems")


# %%
def problems(schema, arguments):
    return ____


ex.check(problems)

# %% [markdown]
# Finding is half of it. The other half is **what the model is told**. A tool never raises into the agent's loop. Each call ends as *ok*, as *retry* (you can mend
# this, and here is how), or as *failed* (the same call will not help now, and here is why). A toolbox with a tool that works, one that breaks and one that hangs:

# %%
problems = ex.use(problems)


@tool
def track(order_id: str) -> str:
    """Say where a parcel is.

    Args:
        order_id: the order's number, such as W20417
    """
    if order_id != "W20417":
        raise Retry(f"There is no order {order_id}. Did you mean W20417?")
    return "in Utrecht"


@tool
def broken(day: str) -> str:
    """Say what the weather will be.

    Args:
        day: which day, such as Monday
    """
    return {}[day]  # a bug: this raises


@tool(timeout=0.2)
def slow(city: str) -> str:
    """Find the nearest pick-up point.

    Args:
        city: the town, such as Utrecht
    """
    time.sleep(1)
    return city


import logging

logging.getLogger("agentlab.toolkit").setLevel(
    logging.CRITICAL
)  # the traceback is for the shop's log, not for here
box = Toolbox([delivery_fee, track, broken, slow])
CALLS = [
    ("delivery_fees", '{"country": "NL"}'),
    ("delivery_fee", '{"country": "NL"'),
    ("delivery_fee", "{}"),
    ("delivery_fee", '{"country": "nl", "express": true}'),
    ("delivery_fee", '{"country": "NL", "expres": true}'),
    ("delivery_fee", '{"country": "NL", "express": "certainly"}'),
    ("track", '{"order_id": "W20471"}'),
    ("broken", '{"day": "Monday"}'),
    ("slow", '{"city": "Utrecht"}'),
    ("delivery_fee", '{"country": "NO", "express": true}'),
]
rows = []
for name, arguments in CALLS:
    result = box.call(name, arguments)
    rows.append({"call": f"{name} {arguments}", "status": result.status, "what the model is told": result.text()})  # fmt: skip
show_table(rows, "Ten calls: seven that can be mended (the last of them found by the tool itself), two that cannot, and one that is right")  # fmt: skip
assert [r["status"] for r in rows] == ["retry"] * 7 + ["failed"] * 2 + ["ok"]

# %% [markdown]
# No traceback reaches the model, since it would only learn our file names from it. (The thread of the slow tool sleeps on behind. A tool that may hang for
# good is marked `isolated`: it runs in a process of its own, which can be ended.)
#
# ## A toolbox with five bugs
#
# The following listing has been through a code review and passed. Each bug has cost some shop money. **Read it and find all five; the check names those that
# are left.** (That it may pay back more than was paid is a sixth; leave it, the shop's own tools below look after that.)
#
# ```python
# def make_tools(orders):
#     @tool
#     def find_order(order_id: str) -> dict:
#         """Find an order.
#
#         Args:
#             order_id: its number, such as W10001
#         """
#         return orders[order_id]
#
#     @tool
#     def refund_order(order_id: str, cents: float, reason: str) -> str:
#         """Pay money back for an order.
#
#         Args:
#             order_id: its number, such as W10001
#             cents: how much, in euro cents
#             reason: why: late, damaged or wrong
#         """
#         orders[order_id]["refunded"] += cents
#         return f"{cents} cents paid back"
#
#     return [find_order, refund_order]
#
#
# orders = {"W10001": {"status": "shipped", "paid": 5990, "refunded": 0, "card": "4929 1120 7743 0081"}}
# ```

# %%
from typing import Annotated  # noqa: F401 - for you, like the next two

from pydantic import Field  # noqa: F401

from agentlab.toolkit import WRITE  # noqa: F401

ex = exercise("tools.make_tools")


# %%
def make_tools(orders):
    return ____


ex.check(make_tools)

# %% [markdown]
# ## The shop
#
# Brightwire's shop is a real database: customers, products, orders, parcels, payments, returns, with the rules of the trade as constraints. It is SQLite here and
# any other database by its address. Its tools are the same kind as yours.

# %%
from agentlab.shop.store import Store
from agentlab.shop.tools import shop_tools

make_tools = ex.use(make_tools)
store = Store.sample()
shop = shop_tools(store)
show_table(
    [{"table": name, "rows": len(rows)} for name, rows in store.rows().items() if rows],
    f"The shop on {store.today:%d %B %Y}",
)
print("\n".join(f"{one.effect.value:6}{one.name}" for one in shop))

# %% [markdown]
# Every rule of the shop's written policy (`data/shop/policy.md`) that concerns a tool stands in the tool itself. **Predict** the status of each call before you run
# the cell. The last two orders belong to somebody else, and to nobody.

# %%
with store.reading() as db:
    from agentlab.shop.models import Customer, Order

    owner = db.get_one(Customer, db.get_one(Order, "W20417").customer_id)
    email, postcode = owner.email, owner.postcode
story = [
    ("find_order", {"order_id": "W20417"}),
    ("verify_customer", {"email": email, "postcode": "0000"}),
    ("verify_customer", {"email": email, "order_id": "w 20417"}),
    ("track_shipment", {"order_id": "W20417"}),
    ("cancel_order", {"order_id": "W20417"}),
    ("find_order", {"order_id": "W20420"}),
    ("find_order", {"order_id": "W99999"}),
]
rows = []
for name, arguments in story:
    result = shop.call(name, arguments)
    rows.append({"call": f"{name} {arguments}", "status": result.status, "the model is told": shown(result.text(), 260)})  # fmt: skip
show_table(rows, "A conversation's calls")
assert rows[0]["status"] == "failed" and "Rule 1.1" in rows[0]["the model is told"]
somebody, nobody = (r["the model is told"] for r in rows[-2:])
assert somebody.split(".")[0].replace("W20420", "W99999") == nobody.split(".")[0]

# %% [markdown]
# Now there is something true to answer with. Three things to note: a refusal names its rule; the postcode did not match, so nobody was verified; and
# **somebody else's order is refused in the same words as one that does not exist**. Otherwise a stranger could find out, number by number, who buys here.
#
# Texts that come back from tools were written by customers. This order's note was written by one who had heard of assistants like ours:

# %%
with store.reading() as db:
    note = db.get_one(Order, "W20676").note
    victim = db.get_one(Customer, db.get_one(Order, "W20676").customer_id)
    email = victim.email
visit = shop_tools(store)
visit.call("verify_customer", {"email": email, "order_id": "W20676"})
say(f"> {note}")
for cents in (5000, 1500):
    obeyed = visit.call("issue_coupon", {"order_id": "W20676", "amount_cents": cents, "reason": "late_delivery"})  # fmt: skip
    say(f"Suppose the model obeys and asks for €{cents / 100:.0f}. *{obeyed.text()}*")
    assert not obeyed.ok

# %% [markdown]
# No prompt was needed. **Rules that stand in code cannot be talked away.**
#
# ## Once, and all or nothing
#
# A write has two ways to go wrong that a look does not have. It can happen **twice**: the answer was lost on the way, and somebody tries again. And it can happen
# **half**: the program dies between two statements. Take twice first.

# %%
import threading  # noqa: F401 - for you

ex = exercise("tools.once")


# %%
def once(function):
    return ____


ex.check(once)

# %% [markdown]
# `Toolbox.call` takes such a key, and the shop keeps it in the database, in the same transaction as the write, so that it also holds when another process tries
# again. Now half. A transaction is a promise of the database: all of it, or none.

# %%
once = ex.use(once)
ex = exercise("tools.move")


# %%
def move(db, sku, to, pieces):
    return ____


ex.check(move)

# %% [markdown]
# The shop's own tools are built like that. Here one is broken on purpose: it dies after the refund has been noted and before the order is cancelled. `store.digest()` is a
# hash of everything that stands in the database. **Predict:** do the two hashes agree?

# %%
move = ex.use(move)
from agentlab.shop.models import Payment


class PowerCut(Exception):
    pass


before = store.digest()
with shows_error(PowerCut), store.transaction() as db:
    order = db.get_one(Order, "W20407")
    paid = next(p.amount_cents for p in order.payments if p.kind == "charge")
    order.payments.append(Payment(kind="refund", method="card", amount_cents=paid, status="pending", on=store.today, reason="cancelled"))  # fmt: skip
    db.flush()  # the refund is in the database ...
    raise PowerCut("... and the order is not cancelled yet")
say(f"Before {before[:12]}, after {store.digest()[:12]}: {'the same' if before == store.digest() else 'DIFFERENT'}.")  # fmt: skip
assert before == store.digest()

# %% [markdown]
# And the whole thing done properly, twice with one key:

# %%
with store.reading() as db:
    owner = db.get_one(Customer, db.get_one(Order, "W20407").customer_id)
    email = owner.email
visit = shop_tools(store)
visit.call("verify_customer", {"email": email, "order_id": "W20407"})
rows = []
for attempt in (1, 2):
    result = visit.call("cancel_order", {"order_id": "W20407"}, idempotency_key="wish-1")
    rows.append({"attempt": attempt, "status": result.status, "answer": result.text(), "shop's hash": store.digest()[:12]})  # fmt: skip
show_table(rows, "One wish, sent twice")
assert rows[0]["shop's hash"] == rows[1]["shop's hash"] != before[:12]

# %% [markdown]
# ## Finding the right article
#
# Not every question is about an order. The shop has help articles, and a tool that searches them. Three ways to search: by **words** (TF-IDF: shared stems, rare ones count
# more), by **meaning** (cosine of the encoder's vectors), and by both. To join two rankings whose scores have different scales, use the ranks alone:

# %%
ex = exercise("tools.fuse")


# %%
def fuse(rankings, k=60):
    return ____


ex.check(fuse)

# %%
fuse = ex.use(fuse)
ex = exercise("tools.recall_at")


# %%
def recall_at(rankings, right, k):
    return ____


ex.check(recall_at)

# %% [markdown]
# The questions below describe a situation rather than quote an article. Everything was chosen on other questions; these were
# not looked at. The control asks each question and expects the article of another one. **Predict** recall@5 of words, of meaning and of both.

# %%
from agentlab import knowledge

recall_at = ex.use(recall_at)
articles = knowledge.load_articles()
index = knowledge.HelpIndex(articles)
questions = knowledge.load_questions("test")
asked, right = [q.text for q in questions], [q.article for q in questions]


def ranking(method):
    """For each question the ids of all articles, the best first."""
    order = (-index.scores(asked, method)).argsort(axis=1, kind="stable")
    return [[articles[n].id for n in row] for row in order]


ranked = {"words (TF-IDF)": ranking("tfidf"), "meaning (encoder)": ranking("encoder")}
both = [fuse(pair) for pair in zip(*ranked.values(), strict=True)]
ranked["both, by ranks (yours)"] = [
    sorted(scores, key=lambda name: -scores[name]) for scores in both
]
ranked["both, by scores"] = ranking("fused")
other = random.Random(SEED).sample(right, len(right))

rows, recall5 = [], {}
for name, lists in ranked.items():
    hits = {k: [r in row[:k] for row, r in zip(lists, right, strict=True)] for k in (1, 5)}
    row = {"search": name}
    for k in (1, 5):
        low, high = np.percentile(np.random.default_rng(SEED).choice(hits[k], (ROUNDS, len(right))).mean(1), [2.5, 97.5])  # fmt: skip
        row[f"recall@{k}"] = recall_at(lists, right, k)
        row[f"95 % of @{k}"] = f"{low:.2f} to {high:.2f}"
    recall5[name] = row["recall@5"]
    rows.append(row)
control = recall_at(ranked["both, by scores"], other, 5)
rows.append({"search": "control: another question's article", "recall@1": recall_at(ranked["both, by scores"], other, 1), "95 % of @1": "", "recall@5": control, "95 % of @5": ""})  # fmt: skip
show_table(rows, f"{len(questions)} questions, {len(articles)} articles")
record("recall_at_1", rows[3]["recall@1"])
record("recall_at_5", recall5["both, by scores"])
record("recall_words", recall5["words (TF-IDF)"])
record("recall_control", control)

# %% [markdown]
# Meaning beats words here, since customers use other words than the pages. Ranks alone trust both alike, which pulls the better one down when
# the other is much weaker; the weighted scores, with a weight chosen on other questions, are no worse than the better one. **Fusing is no law of nature: measure it.**
#
# Look at what even the best one misses, the right article beyond the fifth place, and decide for each: is the search wrong, or would two articles do?
# From here on you have seen these questions: choose nothing more by them.

# %%
missed = [n for n, (row, r) in enumerate(zip(ranked["both, by scores"], right, strict=True)) if r not in row[:5]]  # fmt: skip
show_table(
    [{"question": asked[n], "right": right[n], "found first": ranked["both, by scores"][n][0], "place of the right one": ranked["both, by scores"][n].index(right[n]) + 1} for n in missed[:6]]
    or [{"question": "none is missed"}],
    f"The first of {len(missed)} questions whose article is not among five",
)  # fmt: skip

# %% [markdown]
# ## Where the time goes
#
# Tool calls add up. Here is a pipeline as one writes it the first time: six tools, each a line, each called for each message. A morning's work is 500 readings:
# 250 messages, each read once by the planner and once more for the summary.

# %%
stream = 2 * [m.text for m in rng.sample(data.train, 250)]
rng.shuffle(stream)


def first_version(text):
    """What one writes first: every tool for itself."""
    return {
        "intent": reader([text])[0].intent,
        "spans": reader([text])[0].spans,
        "entities": [(e.text, e.label_) for e in load_spacy()(text).ents],
        "lemmas": [t.lemma_ for t in load_spacy()(text)],
        "shapes": nlp.find_shapes(text),
        "sentiment": nlp.score_sentiment(text)["score"],
    }


first_version(stream[0])
began = time.perf_counter()
by_hand = [first_version(text) for text in stream]
first_seconds = time.perf_counter() - began
say(f"{len(stream)} readings in {first_seconds:.1f} s: {1000 * first_seconds / len(stream):.1f} ms each.")  # fmt: skip

# %% [markdown]
# Do not guess, **profile**: Python counts for you where the time is spent.

# %%
import cProfile
import pstats

watched = {
    "fine-tuned models, twice": ("understand.py", "__call__"),
    "spaCy, all its parts, twice": ("language.py", "__call__"),
    "rules": ("nlp.py", "find_shapes"),
    "sentiment": ("nlp.py", "score_sentiment"),
}
profiler = cProfile.Profile()
profiler.enable()
for one in stream[:100]:
    first_version(one)
profiler.disable()
spent = dict.fromkeys(watched, 0.0)
for (file, _, function), numbers in pstats.Stats(profiler).stats.items():
    for name, (where, what) in watched.items():
        if file.endswith(where) and function == what:
            spent[name] += numbers[3]
total = sum(spent.values())
figure, ax = new_figure(7, 2.2)
names = sorted(spent, key=lambda n: spent[n])
ax.barh(names, [spent[n] / total for n in names], color=COLOURS["blue"])
for n, name in enumerate(names):
    ax.text(spent[name] / total, n, f" {spent[name] / total:.0%}", va="center", fontsize=8)
ax.set(xlabel="share of the time", xlim=(0, 1.1))
show_figure(figure, f"Bar chart of where the pipeline's time goes: {names[-1]} takes {spent[names[-1]] / total:.0%}, {names[-2]} {spent[names[-2]] / total:.0%}.", "Rules and sentiment are not worth a thought.")  # fmt: skip

# %% [markdown]
# Two things take nearly everything. The fine-tuned model and spaCy each read a message twice, once for each of two tools. spaCy also computes a grammar that
# nobody asked for. And the fine-tuned model reads one message at a time, while its matrices would take dozens in nearly the same time. So: **not computing
# what nobody needs**, **batches**, and **not computing
# again** what has been computed. The second and third are one function:

# %%
ex = exercise("tools.in_batches")


# %%
def in_batches(function, texts, size):
    return ____


ex.check(in_batches)

# %%
in_batches = ex.use(in_batches)


def one_reading(text):
    """Each model reads once, and spaCy without its grammar: entities and lemmas come from the same document."""
    doc, (understood,) = next(load_spacy().pipe([text], disable=["parser"])), reader([text])
    return {
        "intent": understood.intent,
        "spans": understood.spans,
        "entities": [(e.text, e.label_) for e in doc.ents],
        "lemmas": [t.lemma_ for t in doc],
        "shapes": nlp.find_shapes(text),
        "sentiment": nlp.score_sentiment(text)["score"],
    }


def batch_reading(texts):
    """The same for many texts at once."""
    docs = load_spacy().pipe(texts, disable=["parser"], batch_size=64)
    return [
        {
            "intent": u.intent,
            "spans": u.spans,
            "entities": [(e.text, e.label_) for e in doc.ents],
            "lemmas": [t.lemma_ for t in doc],
            "shapes": nlp.find_shapes(text),
            "sentiment": nlp.score_sentiment(text)["score"],
        }
        for text, doc, u in zip(texts, docs, reader(texts), strict=True)
    ]


VERSIONS = {
    "read once, no grammar": lambda: [one_reading(t) for t in stream],
    "in batches of 64": lambda: [r for n in range(0, len(stream), 64) for r in batch_reading(stream[n : n + 64])],
    "each text once": lambda: in_batches(batch_reading, stream, 64),
}  # fmt: skip
seconds, results = {"as first written": first_seconds}, {"as first written": by_hand}  # fmt: skip
for name, run in VERSIONS.items():
    began = time.perf_counter()
    results[name] = run()
    seconds[name] = time.perf_counter() - began
figure, ax = new_figure(7, 2.6)
names = list(seconds)[::-1]
rates = {n: len(stream) / seconds[n] for n in names}
ax.barh(names, [rates[n] for n in names], color=COLOURS["blue"])
for n, name in enumerate(names):
    ax.text(rates[name], n, f" {rates[name]:.0f}  ({seconds['as first written'] / seconds[name]:.1f}×)", va="center", fontsize=8)  # fmt: skip
ax.set(xlabel="messages per second", xlim=(0, 1.25 * max(rates.values())))
speedup = seconds["as first written"] / seconds["each text once"]
show_figure(figure, f"Bar chart of messages per second for four versions of the pipeline: from {rates['as first written']:.0f} as first written to {rates['each text once']:.0f}, {speedup:.1f} times as many.", f"{len(stream)} messages, measured one version after the other.")  # fmt: skip
record("speedup", speedup)

# %% [markdown]
# Faster is worth nothing if the answers changed. (A part of the gain comes from each message being in the stream twice.) spaCy's lemmas use the grammar a little,
# so dropping it may change a few. How many of the answers are the same?

# %%
same = {
    part: np.mean([a[part] == b[part] for a, b in zip(results["as first written"], results["each text once"], strict=True)])
    for part in ("intent", "spans", "entities", "lemmas", "shapes", "sentiment")
}  # fmt: skip
show_table([{"part": part, "same answers": f"{share:.1%}"} for part, share in same.items()], f"Slow against fast, {len(stream)} messages")  # fmt: skip
record("same_answers", min(same.values()))

# %% [markdown]
# One more cost shows in no profile of a running program: **loading**. Each library takes its time at the first use. Whoever loads all of them at once makes every start slow, also
# that of a program that needs none of them. The course's tools load at the first call, once; a server calls each once before the first customer comes:

# %%
from agentlab import assets

for loader in (assets.load_spacy, assets.load_tagger, assets.load_sentiment):
    loader.cache_clear()
rows = []
for name, loader in (("spaCy's pipeline", assets.load_spacy), ("NLTK's tagger", assets.load_tagger), ("VADER's lexicon", assets.load_sentiment)):  # fmt: skip
    times = []
    for _ in range(2):
        began = time.perf_counter()
        loader()
        times.append(time.perf_counter() - began)
    rows.append({"what": name, "first call, ms": 1000 * times[0], "second call, ms": 1000 * times[1]})  # fmt: skip
show_table(rows, "Loaded when it is needed, and once")

# %% [markdown]
# ## The same tools for any program
#
# Your tools work in this process. The **Model Context Protocol** (MCP) is how other programs call them: a server offers tools with their schemas, a client calls them, both speak JSON over
# a pipe or the network. `agentlab mcp --shop` is such a server. Here we are the client, and the server is a process of its own:

# %%
import sys

from agentlab.mcp import McpClient

with McpClient(sys.executable, ["-m", "agentlab.cli", "mcp", "--shop"]) as client:
    far = Toolbox(client.tools)
    say(
        f"The server offers {len(far)} tools, among them {', '.join(one.name for one in list(far)[:4])}."
    )
    for name, arguments in (
        ("search_help", {"question": "how many days do I have to send something back", "top": 1}),
        ("find_order", {"order_id": "W20417"}),
        ("search_help", {"question": ""}),
    ):
        result = far.call(name, arguments)
        say(f"`{name}` {result.status}: {shown(result.text(), 200)}")

# %% [markdown]
# Rules, refusals and retries came along, since they stand in the tools. And the caution is the same in both directions: the texts of a foreign server are texts from outside.
#
# ## Play
#
# Ask the shop's help pages, in your own words. When does it find the wrong article?

# %%
from agentlab.ui import play


def answer(text):
    hits = index.search(text, top=3)
    return " · ".join(f"{hit.article.title} ({hit.score:.2f})" for hit in hits)


play(
    "Question",
    answer,
    ["it says delivered but my porch is empty", "can my mum give back the present", "earbuds do not show up on my phone"],
    "The three best articles of the fused search",
)  # fmt: skip

# %% [markdown]
# ## Limits
#
# - Nothing here decides *which* tool to call: that is lesson 06. Nothing here lets a language model write the call: that was lesson 04.
# - Search always finds something. Whether anything answers the question at all is another question; lab 07 takes it up.
# - The shop is small and its questions were written by few people. A thousand articles are a harder search than fifty.
# - The timeout of a tool in this process abandons it; only an isolated one is really stopped, and starting its process costs seconds.
#
# ## Takeaways
#
# 1. What changes stands in a database, not in weights: give the model tools, and facts come from the tools alone.
# 2. A wrong call is data. Say what was wrong and what would be right; keep tracebacks for yourself.
# 3. Rules belong in the tools. Texts can talk to a model; they cannot talk to an `if`.
# 4. A write happens once, and whole: a key for the wish, a transaction for the steps.
# 5. Measure each tool on your own texts, profile before you speed up, and check that fast and slow still agree.

# %%
quiz("tools.quiz_retry")

# %%
quiz("tools.quiz_key")

# %%
quiz("tools.quiz_injection")

# %%
quiz("tools.quiz_bottleneck")

# %% [markdown]
# ## Further work
#
# - **Easy:** add a tool `opening_hours(day)` with a `Literal` of seven days. Call it with `"monday"` and read what the model would be told.
# - **Medium:** give `find_shapes` a rule for telephone numbers. Choose it on the train part, and measure `merged_f1` again.
# - **Hard:** write an MCP server in another language that offers one tool, and add it to a toolbox with `add_mcp_tools`. What happens to a call when you kill it?
#
# **Next:** [06 · The agent](06_the_agent.ipynb) puts it together: an agent that perceives, decides, acts and answers.
