# %% [markdown]
# # 04 · Language output
#
# **By the end you will have shown** that a language model small enough for a laptop can be held and taught: a grammar makes every call that it writes valid,
# a few megabytes of extra weights make many more of them right, and a check against the facts keeps its replies from promising what nobody said.
#
# | | |
# |---|---|
# | Time | 170 minutes with the eleven exercises; the cells themselves take about 7 minutes on two cores |
# | Needs | the course installed; no network, no GPU |
# | Before this | [02 · Derive the loss](02_derive_the_loss.ipynb) helps; Python, a little PyTorch |
#
# [![Open in Colab](colab-badge)](written by agentlab/home.py)
#
# **Contents:** a model that will not call · what a language model says · writing, token by token · not reading twice · a mask that you made · a grammar ·
# new weights, few of them · teaching the shop's voice · teaching calls · words and facts · summaries · tone, and other languages · play · limits, takeaways, quiz

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

lesson = begin("04_language_output", PROFILE, SEED)
QUICK = lesson.profile == "quick"
CALLS = 8 if QUICK else 50  # requests of the test part that are tried
SITUATIONS = 12 if QUICK else 200  # for faithful wording
TAUGHT = 16 if QUICK else 200  # replies that the model learns from
TICKETS = 4 if QUICK else 15  # to be summarised

# %% [markdown]
# ## A model that will not call
#
# A customer writes. The shop has a tool that would answer, and the model is told so. **Predict:** what will a language model with 135 million parameters write?

# %%
from agentlab.language import load_language
from agentlab.show import say, show_table

lm = load_language()
tools = [
    {
        "name": "find_order",
        "description": "Look up an order: what is in it, where it is, when it arrives.",
        "parameters": {
            "type": "object",
            "properties": {"order_id": {"type": "string", "description": "such as W20417"}},
            "required": ["order_id"],
        },
    }
]
question = "Where is my order W20417, and when will it arrive?"
chat = [
    {"role": "system", "content": f"Answer with a tool call as JSON. Tools: {tools}"},
    {"role": "user", "content": question},
]
written = lm.complete(chat, max_tokens=60)
say(f"*{question}*\n\n> {' '.join(written.text.split())}")

# %% [markdown]
# Not a call that any program could use. By the end of this lesson the same weights write one, and you will know why, number by number.
#
# ## What a language model says
#
# It says one thing only: how probable each token is to come next. One row of numbers, a **logit** for each of 49,152 tokens; softmax makes them probabilities.

# %%
prompt = "Your order is on its"
row = lm.runner.forward(torch.tensor([lm.tokens(prompt)]), lm.runner.new_cache())[0, -1]  # (49152,)
probabilities = row.softmax(0)
top = probabilities.topk(8)
show_table(
    [
        {"token": repr(lm.tokenizer.decode([i])), "logit": float(row[i]), "probability": float(p)}
        for p, i in zip(top.values, top.indices, strict=True)
    ],
    f"What may follow {prompt!r}: the 8 most probable of {len(row)} tokens",
)

# %% [markdown]
# A whole text is a chain of such choices. Its probability is the product, too small to read; so one takes the mean of the logarithms and turns it back:
# **perplexity**, $\exp\big(-\frac1{T-1}\sum_{t=2}^{T}\log p(x_t\mid x_{<t})\big)$, where $x_t$ is the token at place $t$ and $T$ the number of tokens. It says
# among how many equally likely tokens the model hesitates. **Write it:**

# %%
import torch.nn.functional as F  # noqa: F401 - for you

from agentlab.exercises import ____, exercise, quiz

ex = exercise("language.perplexity")


# %%
def perplexity(logits, ids):
    return ____


ex.check(perplexity)

# %% [markdown]
# Now a judge for free. Take replies that a person wrote, and the same replies with their words in another order, and the replies of other situations.
# **Predict:** how much more surprised is the model?

# %%
from agentlab.wording import load_replies, reply_prompt

perplexity = ex.use(perplexity)
rng = random.Random(SEED)
some = rng.sample(load_replies("development"), 8 if QUICK else 30)


def surprise(model, pairs):
    """A model's perplexity over all tokens of these (prompt, reply) pairs."""
    scores = [model.score(prompt, reply) for prompt, reply in pairs]
    return float(np.exp(-sum(s.total for s in scores) / sum(len(s.logprobs) for s in scores)))


prompts = [reply_prompt(r.message, r.facts) for r in some]
replies = [r.reply for r in some]
shuffled = [" ".join(rng.sample(r.split(), len(r.split()))) for r in replies]
rows = {
    "the reply of this situation": surprise(lm, zip(prompts, replies, strict=True)),
    "the reply of another situation": surprise(
        lm, zip(prompts, replies[1:] + replies[:1], strict=True)
    ),
    "its words in another order (control)": surprise(lm, zip(prompts, shuffled, strict=True)),
}
show_table([{"text": name, "perplexity": value} for name, value in rows.items()], f"How surprised the model is by {len(some)} replies")  # fmt: skip
record(
    "control_surprise",
    rows["its words in another order (control)"] / rows["the reply of this situation"],
)

# %% [markdown]
# It has never seen this shop, and yet it knows that a reply belongs to its facts, and much better that words have an order. That is what pretraining gave.
#
# ## Writing, token by token
#
# A model that rates tokens becomes one that writes by a loop: rate, choose, append, again. **Write the loop** that always takes the most probable token:

# %%
ex = exercise("language.greedy")


# %%
def greedy(step, ids, end, max_tokens):
    return ____


ex.check(greedy)

# %% [markdown]
# Is it right? Transformers has the same loop, `generate()`, tested by many people. With equal weights, yours has to give the same tokens, one by one:

# %%
from agentlab.assets import load_language_model

greedy = ex.use(greedy)
model, tokenizer = load_language_model()
ids = lm.tokens([{"role": "user", "content": "Write one sentence about parcels."}])
LENGTH = 12 if QUICK else 24


def step(ids):
    """Logits of the next token; the whole text is read anew each time."""
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0, -1]


began = time.perf_counter()
mine = greedy(step, ids, tokenizer.eos_token_id, LENGTH)
seconds_anew = time.perf_counter() - began
theirs = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=LENGTH, do_sample=False, pad_token_id=2)  # fmt: skip
theirs = [t for t in theirs[0, len(ids) :].tolist() if t != tokenizer.eos_token_id]
say(f"Yours: *{tokenizer.decode(mine)}* ...\n\nThe first {len(mine)} tokens are the same as generate()'s: **{mine == theirs[: len(mine)]}**.")  # fmt: skip
record("same_as_generate", float(mine == theirs[: len(mine)]))

# %% [markdown]
# The most probable token each time is safe and dull; and it may run in circles. To draw instead, one needs a knob: the **temperature** $\tau$ divides the logits $z$
# before softmax, $p_i = e^{z_i/\tau} / \sum_j e^{z_j/\tau}$. **Write it:**

# %%
ex = exercise("language.temperature")


# %%
def temperature(logits, temperature):
    return ____


ex.check(temperature)

# %%
from agentlab.show import COLOURS, new_figure, show_figure

temperature = ex.use(temperature)
words = [repr(lm.tokenizer.decode([i])) for i in top.indices]
figure, ax = new_figure(7, 3)
for n, (heat, colour) in enumerate(((0.5, "blue"), (1.0, "orange"), (2.0, "green"))):
    p = temperature(row, heat)[top.indices]
    ax.bar(np.arange(len(words)) + 0.27 * (n - 1), p, 0.27, label=f"temperature {heat:g}", color=COLOURS[colour], hatch=("", "//", "..")[n])  # fmt: skip
ax.set_xticks(range(len(words)), words, fontsize=8)
ax.set(ylabel="probability")
ax.legend(frameon=False)
first = [float(temperature(row, heat)[top.indices[0]]) for heat in (0.5, 1.0, 2.0)]
show_figure(
    figure,
    f"Bar chart of the probabilities of the eight likeliest tokens at temperatures 0.5, 1 and 2: the first has {first[0]:.2f}, {first[1]:.2f} and {first[2]:.2f}; the order never changes.",
    "The same logits at three temperatures.",
)

# %% [markdown]
# A hot distribution has a long tail: thousands of tokens, each unlikely, together likely. Draw thirty times and one of them will be nonsense. **Top-p** cuts the tail where the rest is enough:
# the fewest tokens whose probabilities reach $p$. **Write it:**

# %%
ex = exercise("language.top_p")


# %%
def top_p(probabilities, p):
    return ____


ex.check(top_p)

# %%
top_p = ex.use(top_p)
p = temperature(row, 1.0)
rows = []
for share in (0.5, 0.9, 0.99, 1.0):
    kept = top_p(p, share) if share < 1 else p
    rows.append({"top-p": share, "tokens left": int((kept > 0).sum()), "chance of one beyond the 50 likeliest": float(kept.sort(descending=True).values[50:].sum())})  # fmt: skip
show_table(rows, "What top-p leaves of 49,152 tokens, at temperature 1")
creative = [
    lm.complete(chat[1:], max_tokens=25, temperature=1.0, top_p=share, seed=SEED).text
    for share in (0.5, 1.0)
]
say(
    "\n\n".join(
        f"top-p {share:g}: *{' '.join(text.split())} ...*"
        for share, text in zip((0.5, 1.0), creative, strict=True)
    )
)

# %% [markdown]
# Both knobs at once are best felt by turning them. **Predict** before you move a slider: at which temperature does the first token lose half of its chance? What does top-p 0.5 leave then?
# Then press *Write* a few times at 0, at 1 and at 2. The table shows five settings.

# %%
from agentlab.ui import DecodingPlayground

DecodingPlayground.of(lm, prompt, max_tokens=12).show()

# %% [markdown]
# Temperature moves chances around and cuts nothing; top-p cuts, and what it cuts can never be drawn. A hot model with a tail writes words that nobody would.
#
# For a customer who asks about money none of this is wanted: the agent of lesson 06 writes at temperature 0. Sampling is for drafts, and for making data.
#
# ## Not reading twice
#
# Your loop read the whole text again for each token. The keys and values of attention depend only on what stands before, so they can be kept: the **KV cache**.
# One new token then costs one row. **Write one step of attention with a cache:**

# %%
import math  # noqa: F401 - for you

ex = exercise("language.cached_attention")


# %%
def cached_attention(q, k_new, v_new, cache):
    return ____


ex.check(cached_attention)

# %% [markdown]
# What that saves grows with the text. The course's own loop goes further: on a processor, one token is bound by *reading 135 million weights from memory*, so it keeps
# them as 8-bit integers, a quarter of float32. **Predict** the order of the four:

# %%
import copy

cached_attention = ex.use(cached_attention)
ask = [{"role": "user", "content": "Write one sentence about parcels."}]


def tokens_per_second(write, tokens):
    best = 0.0
    for _ in range(2 if QUICK else 3):
        began = time.perf_counter()
        write()
        best = max(best, tokens / (time.perf_counter() - began))
    return best


def by_generate(model):
    options = {"attention_mask": torch.ones(1, len(ids)), "do_sample": False, "pad_token_id": 2}
    return lambda: model.generate(
        torch.tensor([ids]), max_new_tokens=LENGTH, min_new_tokens=LENGTH, **options
    )


written = lm.complete(ask, max_tokens=LENGTH)
speed = {"your loop, everything read anew (bfloat16)": len(mine) / seconds_anew}
wide = copy.deepcopy(model).float()
speed["generate() with its cache, float32"] = tokens_per_second(by_generate(wide), LENGTH)
del wide
speed["generate() with its cache, bfloat16"] = tokens_per_second(by_generate(model), LENGTH)
speed["the course's loop, 8-bit weights"] = tokens_per_second(lambda: lm.complete(ask, max_tokens=LENGTH), written.tokens)  # fmt: skip
show_table([{"way": name, "tokens per second": value} for name, value in speed.items()], "Writing one text on this machine, the best of some rounds")  # fmt: skip
record(
    "speedup",
    speed["the course's loop, 8-bit weights"] / speed["generate() with its cache, float32"],
)

# %% [markdown]
# The second saving is between calls. An agent's prompts all begin alike: the rules, the tools. What was read for the last call is still there for the next:

# %%
from agentlab.toolcalls import call_prompt, load_toolcalls

test_calls = load_toolcalls("test")
first, second = test_calls[0], next(e for e in test_calls[1:] if e.domain == test_calls[0].domain)
lm.forget()
fresh = lm.complete(call_prompt(first.request, first.tools), max_tokens=1)
again = lm.complete(call_prompt(second.request, first.tools), max_tokens=1)
show_table(
    [
        {"request": name, "tokens of the prompt": c.prompt_tokens, "of these kept": c.cached_tokens, "milliseconds to the first token": 1000 * c.seconds}
        for name, c in (("the first", fresh), ("the next, with the same tools", again))
    ],
    "Two requests with the same tools",
)  # fmt: skip

# %% [markdown]
# ## A mask that you made
#
# Now the call. Let the model try freely, with tools of the test part, which no training in this course sees. To make it easy, only the right tool is offered. A call counts as valid if a program can use it: JSON, the
# tool's name, arguments that fit its schema; and as right if every argument is.

# %%
import json
from dataclasses import replace

import jsonschema

from agentlab.toolcalls import same_call

asked = [
    replace(e, tools=[t for t in e.tools if t["name"] == e.call["name"]])
    for e in rng.sample([e for e in test_calls if e.call], CALLS)
]


def is_valid(call, tools):
    """Whether a program could make this call."""
    schemas = {t["name"]: t["parameters"] for t in tools}
    try:
        jsonschema.validate(call["arguments"], schemas[call["name"]])
        return True
    except (KeyError, TypeError, jsonschema.ValidationError):
        return False


def judge(answers):
    """Share of valid and of exactly right calls; an answer is a call, None for none, or a text that is neither."""
    valid = [a is None or is_valid(a, e.tools) for a, e in zip(answers, asked, strict=True)]
    right = [
        not isinstance(a, str) and same_call(a, e.call) for a, e in zip(answers, asked, strict=True)
    ]
    return float(np.mean(valid)), float(np.mean(right))


def freely(request, tools):
    """What the model writes, read as leniently as one can: the JSON from the first brace on."""
    text = lm.complete(call_prompt(request, tools), max_tokens=60).text.strip()
    if text.lower().startswith("none"):
        return None
    try:
        return json.JSONDecoder().raw_decode(text[text.index("{") :])[0]
    except ValueError:
        return text


free = [freely(e.request, e.tools) for e in asked]
calls = {"the model, freely": judge(free)}
say(f"Of {CALLS} requests, **{calls['the model, freely'][0]:.0%}** got something valid. One of them:\n\n> {asked[0].request}\n\n`{str(free[0])[:150]}`")  # fmt: skip

# %% [markdown]
# A prompt asks; it cannot make. But the loop is ours: before choosing, forbid every token that leads nowhere. On a toy vocabulary you can **write that mask yourself:**

# %%
ex = exercise("language.allowed_tokens")


# %%
def allowed_tokens(vocabulary, written, choices):
    return ____


ex.check(allowed_tokens)

# %%
allowed_tokens = ex.use(allowed_tokens)
vocabulary = ["", "a", "can", "cel", "re", "fund", "turn", "parcel", "_", "status"]
choices = ["cancel", "refund", "refund_status", "return"]
rows = []
for written_so_far in ("", "re", "refund", "refund_"):
    mask = allowed_tokens(vocabulary, written_so_far, choices)
    rows.append({"written": repr(written_so_far), "allowed": ", ".join(t or "(end)" for t, ok in zip(vocabulary, mask, strict=True) if ok)})  # fmt: skip
show_table(
    rows,
    f"Which of {len(vocabulary)} tokens may follow, if the text is to be one of {', '.join(choices)}",
)

# %% [markdown]
# See the third and the fourth row. Where only one way is left, why ask the model at all? **Write what is forced:**

# %%
ex = exercise("language.fast_forward")


# %%
def fast_forward(vocabulary, written, choices):
    return ____


ex.check(fast_forward)

# %% [markdown]
# ## A grammar
#
# JSON with a schema is the same idea with more choices than can be listed: a **grammar** says what may follow. The library `llguidance` computes the mask for 49,152 tokens in well under a
# millisecond, and tells what is forced. `lm.structured` puts it into the loop. The same request as at the beginning, with a trace:

# %%
from agentlab.grammar import tool_calls

fast_forward = ex.use(fast_forward)
held = lm.structured(chat, tool_calls(tools, none=False), trace=True)
say(
    f"`{held.text}`\n\n{held.tokens} tokens, {held.forced} of them forced: {held.passes} forward passes."
)
show_table(
    [
        {
            "written": repr(s.token),
            "the model wanted": repr(s.wanted),
            "with probability": s.wanted_probability,
            "tokens allowed": "forced" if s.forced else s.allowed,
        }
        for s in held.trace
    ],
    "The call, token by token: what the model wanted and what the grammar allowed",
)

# %% [markdown]
# Compare the first two columns: the model never meant to write JSON, and was overruled until the form stood. Then it has one thing to say, the order number. Look at what it wrote there, and at
# what the customer had written. **Valid is not right.** Over the test requests:


# %%
def under_grammar(model, e):
    return model.structured(call_prompt(e.request, e.tools), tool_calls(e.tools, none=False))


answers = [under_grammar(lm, e) for e in asked]
calls["the model, held by a grammar"] = judge([a.value for a in answers])
show_table([{"way": name, "valid": v, "exactly right": r} for name, (v, r) in calls.items()], f"{CALLS} requests of the test part")  # fmt: skip
record("valid_with_grammar", calls["the model, held by a grammar"][0])
record("valid_freely", calls["the model, freely"][0])

# %% [markdown]
# All valid, by construction, and nearly all wrong: values that nobody said, arguments that nobody asked for. The grammar fixed the form; the content has to be *learned*.
#
# ## New weights, few of them
#
# To fine-tune all 135 million weights one keeps gradients and two moments for each. **LoRA** leaves them frozen and learns a small correction: for a weight matrix $W$ of shape (out, in), it adds
# $\frac{\alpha}{r} B A$ with $A$ of shape $(r, \text{in})$, $B$ of shape (out, $r$), a rank $r$ such as 8, and a scale $\alpha$. $B$ begins at zero, so that at first nothing changes. **Write it:**

# %%
from torch import nn

ex = exercise("language.LoraLinear")


# %%
class LoraLinear(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = ____

    def forward(self, x):
        return ____

    def merged(self):
        return ____


ex.check(LoraLinear)

# %%
LoraLinear = ex.use(LoraLinear)
linear = nn.Linear(576, 1536)
adapted = LoraLinear(linear, 8, 16)
learns = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
whole = sum(p.numel() for p in adapted.parameters())
say(
    f"One matrix of this model has {whole - learns:,} numbers; at rank 8 only {learns:,} learn, {learns / whole:.1%}."
)

# %% [markdown]
# What is learned from? Text in which only the *reply* counts: the prompt is given, and padding is nothing. **Write the labels:**

# %%
ex = exercise("language.reply_mask")


# %%
def reply_mask(prompt_ids, reply_ids, length):
    return ____


ex.check(reply_mask)

# %% [markdown]
# ## Teaching the shop's voice
#
# `data/replies` holds 540 situations: a message, facts that tools would have found, and a reply that a person wrote. Here is one, with the reply of the model as it is:

# %%
reply_mask = ex.use(reply_mask)
situation = next(r for r in load_replies("development") if r.facts["situation"] == "order_late")
show_table(
    [{"fact": k, "value": str(v)} for k, v in situation.facts.items()], "What the tools found"
)
before = lm.complete(reply_prompt(situation.message, situation.facts), max_tokens=60).text
say(
    f"*{situation.message}*\n\nA person: **{situation.reply}**\n\nThe model: **{' '.join(before.split())}**"
)

# %% [markdown]
# Now `finetune_language`: LoRA by the library `peft` on every matrix, the loop of lesson 03 around it, the loss on replies only, texts packed one after another so that nothing is padding.

# %%
from agentlab import adapt
from agentlab.device import release_memory
from agentlab.local import TorchLanguage

train, unseen = load_replies("train")[:TAUGHT], load_replies("train")[340:]
lessons = [adapt.Example(reply_prompt(r.message, r.facts), r.reply) for r in train]
student, _ = adapt.fresh_language_model()
history = adapt.finetune_language(
    student, tokenizer, lessons, config=adapt.Adaptation(epochs=2, batch_tokens=512, seed=SEED)
)
taught = TorchLanguage(adapt.merge(student), tokenizer, name="taught")
del student  # its weights live on in the model that speaks
release_memory()
say(f"{history.examples} examples in {history.seconds:.0f} seconds; the loss went from {history.epochs[0]['train_loss']:.2f} to {history.epochs[-1]['train_loss']:.2f}.")  # fmt: skip

# %%
after = taught.complete(reply_prompt(situation.message, situation.facts), max_tokens=60).text
say(
    f"*{situation.message}*\n\nBefore: {' '.join(before.split())}\n\nAfter: **{' '.join(after.split())}**"
)
pairs = [
    (reply_prompt(r.message, r.facts), r.reply) for r in load_replies("test")[: 16 if QUICK else 80]
]
before_surprise, after_surprise = surprise(lm, pairs), surprise(taught, pairs)
show_table([{"model": "as it was", "perplexity": before_surprise}, {"model": "taught", "perplexity": after_surprise}], f"How surprised each is by {len(pairs)} replies of the test part")  # fmt: skip
record("perplexity_before", before_surprise)
record("perplexity_after", after_surprise)

# %% [markdown]
# A minute of training, and the voice is there: it speaks of the order, in one or two sentences, and stops. Whether what it says is *true* comes in a moment.
#
# ## Teaching calls
#
# The same for calls takes longer: 1134 requests over 162 tools of 27 fields, none of them in the test part. The course brings the result along, an **adapter** of a few megabytes with a card that says what it was trained on;
# `python -m agentlab.assistant` makes it anew. **Predict:** by how many points does it beat the grammar alone, on tools that it has never seen?

# %%
from agentlab.assistant import NONE_ABOVE, load_assistant

assistant = load_assistant()
answers = [under_grammar(assistant, e) for e in asked]
calls["held by a grammar, and taught"] = judge([a.value for a in answers])
show_table([{"way": name, "valid": v, "exactly right": r} for name, (v, r) in calls.items()], f"{CALLS} requests of the test part: tools from fields that no training saw")  # fmt: skip
exact = [right for _, right in calls.values()]
record("exact_with_grammar", exact[1])
record("exact_taught", exact[2])
record("gain_from_teaching", exact[2] - exact[1])
saved = sum(a.tokens for a in answers) / sum(a.passes for a in answers)
say(f"On the way, {saved:.1f} tokens came out of each forward pass: the rest was forced.")
record("tokens_per_pass", saved)

# %% [markdown]
# And the question that this lesson began with?

# %%
answer = assistant.structured(call_prompt(question, tools), tool_calls(tools, none=False))
say(f"*{question}*\n\n`{answer.text}`")

# %% [markdown]
# The same weights as at the beginning, a grammar, and 5 megabytes of what was learned. (Why it says W20417 deserves a second look. Play with it at the end of this lesson.)
#
# All that was with the right tool given. Now the whole task: several tools are offered, which are alike, and for some requests none is right.

# %%
from agentlab.toolcalls import ask as ask_for_call

mixed = rng.sample(test_calls, CALLS)
whole_task = {
    "always none (floor)": [None] * CALLS,
    "the model, held by a grammar": [ask_for_call(lm, e.request, e.tools).value for e in mixed],
    "held by a grammar, and taught": [ask_for_call(assistant, e.request, e.tools, none_above=NONE_ABOVE).value for e in mixed],
}  # fmt: skip
share = {
    name: float(np.mean([same_call(a, e.call) for a, e in zip(found, mixed, strict=True)]))
    for name, found in whole_task.items()
}
show_table([{"way": name, "exactly right": value} for name, value in share.items()], f"{CALLS} requests of the test part with all tools that were offered")  # fmt: skip
record("whole_task_taught", share["held by a grammar, and taught"])

# %% [markdown]
# Choosing is what so small a model cannot do well; compare with the floor. Remember that for lesson 06: there the fine-tuned encoder of lesson 03 decides what a customer wants, and the
# language model fills in and words.

# %%
wrong = [
    (e, a.value) for e, a in zip(asked, answers, strict=True) if not same_call(a.value, e.call)
][:5]
show_table(
    [{"request": e.request, "right": json.dumps(e.call["arguments"]), "written": json.dumps(a["arguments"])} for e, a in wrong],
    "With the right tool given: some that are still wrong",
)  # fmt: skip

# %% [markdown]
# Read them. Some are wrong by a hair, an optional argument too many, and some could be disputed. An agent must not rely on a call being right; that is what lesson 05's checks, and lesson 06's confirmations, are for.
#
# ## Words and facts
#
# Back to the replies. They sound right now, and that makes them dangerous: a small model will say *16 June* where the facts say *18 June*, in perfect English. But every **amount, id and date** in a reply must
# stand in the facts. That can be checked without any model. **Write the check:**

# %%
import re

ex = exercise("language.unsupported")


def find(text):
    """Numbers of orders and parcels, amounts, days, as they stand in a text."""
    return re.findall(r"[A-Z]{1,3}\d{3,}\w*|€?\d[\d.,]*\d|\d", text)


# %%
def unsupported(reply, facts, find):
    return ____


ex.check(unsupported)

# %% [markdown]
# `agentlab.wording` knows more shapes of the same thing (*€5* and *5.00 euros*, *15 June* and *2026-06-15*, *two* and *2*, names of carriers and towns). Where a reply says something that stands nowhere, it is thrown away and a **template** speaks: a
# sentence that a person wrote for this situation, with the facts put in. Over situations that none of the models has seen:

# %%
from agentlab.wording import faithful, template

unsupported = ex.use(unsupported)
new = [*load_replies("test"), *load_replies("development"), *unseen][:SITUATIONS]
ways = {"the model as it was": lm, "taught": taught, "the course's assistant": assistant}
from agentlab.wording import claims


def told(text, truth):
    """Share of the hard facts of a person's reply that this text has too."""
    theirs, ours = ({(c.kind, c.value) for c in claims(t)} for t in (truth, text))
    return len(theirs & ours) / len(theirs) if theirs else 1.0


def rate(who, texts):
    """How many of the replies are faithful, and how much of what a person would have told they tell."""
    ok = [bool(t) and faithful(t, r.facts, r.message) for t, r in zip(texts, new, strict=True)]
    much = [told(t, r.reply) for t, r in zip(texts, new, strict=True)]
    return {"who speaks": who, "faithful": float(np.mean(ok)), "facts told": float(np.mean(much))}


rows, said = [], {}
for name, model_ in ways.items():
    done = model_.batch([reply_prompt(r.message, r.facts) for r in new], max_tokens=90)
    said[name] = [
        c.text.strip() if c.stopped == "end" else "" for c in done
    ]  # what was cut off is no reply
    rows.append(rate(name, said[name]))
said["checked"] = [
    t if t and faithful(t, r.facts, r.message) else template(r.facts) for t, r in zip(said["the course's assistant"], new, strict=True)
]  # fmt: skip
rows.append(rate("the assistant, and the template where it is not faithful", said["checked"]))
rows.append(
    rate("a person, about another customer (control)", [r.reply for r in new[1:] + new[:1]])
)
show_table(rows, f"{len(new)} situations")
for name, row in zip(("before", "taught", "assistant", "checked", "control"), rows, strict=True):
    record(f"faithful_{name}", row["faithful"])
record("told_before", rows[0]["facts told"])
record("told_assistant", rows[2]["facts told"])

# %% [markdown]
# Two columns, since one alone can be had for nothing: a reply that says little lies little, and whoever copies all facts tells them all. What was invented, and what stands in its place:

# %%
from agentlab.wording import unsupported as claims_without_support

lies = [
    (r, t)
    for r, t in zip(new, said["taught"], strict=True)
    if t and not faithful(t, r.facts, r.message)
][:4]

show_table(
    [
        {"the model wrote": t, "not in the facts": ", ".join(c.text for c in claims_without_support(t, r.facts, r.message)), "so the template says": template(r.facts)}
        for r, t in lies
    ],
    "Caught, and what the customer reads instead",
)  # fmt: skip

# %% [markdown]
# Two warnings. The check sees what has a shape; *"we will not send it"* for *"we will send it"* passes. And a reply about **another customer** is almost always caught, which is what the control shows: the check is not asleep.
#
# ## Summaries
#
# A colleague who takes over wants one sentence. Two ways: **extract** the most central sentence (the one that is most like all the others, by the encoder's embeddings), or let the model **write** one. To compare them one needs a score; the usual one counts shared words. **Write
# ROUGE-1:**

# %%
from collections import Counter  # noqa: F401 - for you

ex = exercise("language.rouge_1")


# %%
def rouge_1(summary, reference, words):
    return ____


ex.check(rouge_1)

# %%
from agentlab.tools import nlp
from agentlab.wording import load_tickets, summary_prompt

rouge_1 = ex.use(rouge_1)
tickets = load_tickets("test")[:TICKETS]


def words(text):
    return re.findall(r"\w+", text)


made = {
    "the first sentence (floor)": [t.text.replace("\n", " ").split(". ")[0] for t in tickets],
    "extracted, most central sentence": [nlp.summarize_text(t.text, 1) for t in tickets],
    "written by the model as it was": [c.text for c in lm.batch([summary_prompt(t.text) for t in tickets], max_tokens=60)],
    "written by the course's assistant": [c.text for c in assistant.batch([summary_prompt(t.text) for t in tickets], max_tokens=60)],
}  # fmt: skip
rows = []
for name, texts in made.items():
    rows.append({"way": name, "ROUGE-1": float(np.mean([rouge_1(s, t.summary, words) for s, t in zip(texts, tickets, strict=True)])), "invents nothing": float(np.mean([faithful(s, {"text": t.text}) for s, t in zip(texts, tickets, strict=True)]))})  # fmt: skip
show_table(rows, f"Summaries of {len(tickets)} tickets of the test part")
record("rouge_extracted", rows[1]["ROUGE-1"])
record("rouge_assistant", rows[3]["ROUGE-1"])

# %% [markdown]
# What does ROUGE miss? Meaning. Take a true summary and turn it into its opposite:

# %%
truth = "Pavel asks for a new kettle for his mother, because the spout is bent; he wants no refund."
lie = "Pavel asks for a refund for his mother, because the kettle is bent; he wants no new spout."
fair = "The customer would like a replacement as the pouring part is crooked, not money back."
show_table(
    [{"summary": s, "ROUGE-1": rouge_1(s, truth, words)} for s in (lie, fair)],
    f"Measured against: {truth}",
)

# %% [markdown]
# The false one wins by far. A score is a smoke detector, not a judge: look at what it rated.
#
# ## Tone, and other languages
#
# Rewriting for tone is the same machinery with another prompt. And translation? The article names it among the things that language models do; this one was pretrained on English. See for yourself, and compare with what you know:

# %%
from agentlab.wording import rewrite_prompt

blunt = "Your refund of €24.90 for order W20417 is refused. The 30 days are over."
softer = assistant.complete(rewrite_prompt(blunt, "warm and apologetic"), max_tokens=60).text
kept = told(softer, blunt) == 1 and faithful(softer, {"text": blunt})
german = lm.complete([{"role": "user", "content": "Translate into German: Your parcel arrives on Monday."}], max_tokens=25).text  # fmt: skip
show_table(
    [
        {"task": "warmer", "from": blunt, "to": softer, "facts kept": "yes" if kept else "no"},
        {"task": "into German", "from": "Your parcel arrives on Monday.", "to": german, "facts kept": "read it"},
    ],
    "Two tasks beyond what it was taught",
)  # fmt: skip

# %% [markdown]
# Neither task was among its examples, and it shows. A rewriting has to pass the same check as a reply, in both directions: nothing new, nothing lost; the tool
# `rewrite_text` gives the text as it was where that fails. For translation take a model that was made for it.
#
# ## Play
#
# Type a request for the order tool; it must call. Go through the call token by token: most are **forced**, so the model was not asked. Look for the places where it was, and how sure it is there:
# that is where a call is made or spoilt.

# %%
from agentlab.ui import GrammarViewer


def written_call(text):
    return assistant.structured(call_prompt(text, tools), tool_calls(tools, none=False), trace=True)


REQUESTS = ["where is W20518??", "not W20581, I meant W20518, sorry", "where is my parcel, i ordered a kettle last week"]  # fmt: skip
GrammarViewer(written_call, REQUESTS, "A call, token by token").show()

# %% [markdown]
# The same requests as whole calls. Where does a call go wrong? Look at the last one: the tool's description says *such as W20417*.

# %%
from agentlab.ui import play


def call(text):
    return written_call(text).text


play(
    "Request",
    call,
    REQUESTS,
    "What the course's assistant calls",
)

# %% [markdown]
# ## Limits
#
# - 135 million parameters from a 4-bit file. It can learn a form and a voice; do not ask it to reason.
# - The grammar makes calls valid. A valid wrong call is more dangerous than a broken one, since nothing stops it but the checks that come after.
# - The wording check sees amounts, ids, dates and names, not *not*: read the reply about the late order again.
# - A model takes examples in a tool's description for values. Whether anybody said an order number has to be checked elsewhere.
# - Scores of the test part come from the course's own writers. Benchmarks by others (`make bench`) stand in the README.
#
# ## Takeaways
#
# 1. A language model rates tokens; everything else is a loop that you can write, read and change.
# 2. Speed is memory: keep keys and values, read fewer bytes of weights, and never ask for what is forced.
# 3. A grammar gives form for free. Content has to be learned, and measured on what was never seen.
# 4. LoRA learns in two percent of the weights: cheap to train, small to ship, easy to take back.
# 5. Let a model choose words, never facts. Check what it says, and have a sentence ready that is true.

# %%
quiz("language.quiz_temperature")

# %%
quiz("language.quiz_validity")

# %%
quiz("language.quiz_cache")

# %%
quiz("language.quiz_tokenizers")

# %%
quiz("language.quiz_rank")

# %%
quiz("language.quiz_rouge")

# %% [markdown]
# ## Further work
#
# - **Easy:** give the tool a second argument, `days` from 1 to 7, and watch in the trace where the model hesitates.
# - **Medium:** teach the voice with rank 2 and rank 32. What do perplexity and faithfulness say about each?
# - **Hard:** write beam search with your `step`, and compare with `lm.complete(..., beams=4)`. When is a more probable text a worse one?
#
# **Next:** [05 · Use tools](05_use_tools.ipynb): functions that look and functions that do, made safe for a model to call.
