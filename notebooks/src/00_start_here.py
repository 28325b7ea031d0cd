# %% [markdown]
# # 00 · Start here
#
# **By the end you will have shown** that three small pretrained models, working together on this machine, read a customer's
# message better than a list of keywords does, and that none of the three may be trusted alone.
#
# | | |
# |---|---|
# | Time | 15 minutes with the exercise; the cells themselves run in under a minute (the first time one more, to unpack a model) |
# | Needs | Python; no account, no key, and no network once the course is installed |
# | Before this | nothing |
#
# [![Open in Colab](colab-badge)](written by agentlab/home.py)
#
# **Contents:** a message that keywords misread · your machine · three models on one message · does it hold on many messages?
# · how lessons and exercises work · the map of the course · play · limits, takeaways, quiz
#
# Run a cell with <kbd>Shift</kbd>+<kbd>Enter</kbd> and read on. Nothing that you change here can break the course:
# `git checkout notebooks` brings the files back.

# %%
# Set-up: written by agentlab/home.py

# %% tags=["parameters"]
PROFILE = "auto"
SEED = 0

# %%
from agentlab.lesson import begin, record

lesson = begin("00_start_here", PROFILE, SEED)
SAMPLE = {"quick": 150, "cpu": 400, "gpu": 400}[lesson.profile]  # messages in the measurement below

# %% [markdown]
# ## A message that keywords misread
#
# This reaches the shop on a Wednesday evening. Read it, and say in your own words what the customer wants.

# %%
from agentlab.show import say

MESSAGE = (
    "hi, the Sony headset from my order #W20417 has gone silent on the left side. I paid 89 euros "
    "for it on Monday and fly to Lisbon on Friday, where I need it. No need to send it back for "
    "money, just make it work please!"
)
say(f"> {MESSAGE}")

# %% [markdown]
# Many help desks sort their mail by keywords. Here is such a list. **What do you predict** it makes of the message?

# %%
KEYWORDS = {
    "track_order": ["order", "parcel", "tracking"],
    "return_item": ["send it back", "return"],
    "report_fault": ["broken", "defect", "stopped working"],
    "wrong_charge": ["paid", "charged"],
    "login_problem": ["log in", "password"],
    "product_advice": ["recommend", "which"],
    "delivery_options": ["delivery", "shipping"],
    "talk_to_person": ["human", "speak to"],
    "setup_help": ["how do i", "set up"],
    "request_invoice": ["invoice", "receipt"],
}
hits = [topic for topic, words in KEYWORDS.items() if any(w in MESSAGE.lower() for w in words)]
say(f"The keywords find {len(hits)} wishes: **{', '.join(hits)}**.")

# %% [markdown]
# It found what the customer mentions and even what they rule out ("no need to send it back"). It missed the one thing they
# want, a working headset, since the word on the list is *broken* and people say it in a hundred other ways. The whole course is
# about closing this gap, and about knowing how far it is closed.
#
# ## Your machine
#
# The course checks what it runs on. In a terminal, `agentlab doctor` shows the same and predicts how long each lesson takes here.

# %%
from agentlab import doctor
from agentlab.show import show_table

checks, _ = doctor.examine(seconds=0.3)
show_table(
    [{"check": c.name, "ok": "yes" if c.ok else "NO", "found": c.text} for c in checks],
    "What the course found on this machine",
)

# %% [markdown]
# Every line should say *yes*; a *NO* comes with the command that cures it.
#
# ## Three models on one message
#
# All three came with the installation as files. None of them has ever seen this shop.
#
# **1. spaCy marks what is named.** Look for the parts that a shop would need, and for what is missing.

# %%
from agentlab.assets import load_spacy
from agentlab.corpus import Span
from agentlab.show import highlight_spans

nlp = load_spacy()
entities = nlp(MESSAGE).ents
highlight_spans(MESSAGE, [Span(e.start_char, e.end_char, e.label_) for e in entities])

# %% [markdown]
# It knows days, numbers and places from the news it was trained on. An order number and a defect are not among its labels. For
# those you will train a model yourself (lesson 03), on messages that people have marked (lesson 01).
#
# **2. The encoder finds the nearest help topic.** An encoder turns a text into a vector, here of 384 numbers, so that texts
# which mean alike lie close together. Topics are written as a customer might say them. **Predict** which comes first.

# %%
from agentlab.assets import embed

TOPICS = {
    "report_fault": "Something I bought does not work properly any more.",
    "track_order": "Where is my parcel and when does it come?",
    "return_item": "I want to send a product back and get my money.",
    "wrong_charge": "I was charged too much or twice.",
    "login_problem": "I cannot log in to my account.",
    "product_advice": "Which product should I buy?",
    "delivery_options": "How fast and how far do you deliver, and what does it cost?",
    "talk_to_person": "I want to speak to a person.",
    "setup_help": "How do I set up, connect or update my device?",
    "request_invoice": "I need an invoice or a receipt.",
}
topic_vectors = embed(list(TOPICS.values()))  # (10, 384)


def nearest_topic(text):
    """The topic whose vector points most nearly the same way, and all cosines, shape (10,)."""
    cosines = topic_vectors @ embed([text])[0]
    return list(TOPICS)[cosines.argmax()], cosines


topic, cosines = nearest_topic(MESSAGE)
say(
    f"Vectors: {topic_vectors.shape[0]} topics of {topic_vectors.shape[1]} numbers each. Nearest topic: **{topic}**."
)

# %%
from agentlab.show import COLOURS, new_figure, show_figure

order = cosines.argsort()
figure, ax = new_figure(7, 3.2)
ax.barh(
    [list(TOPICS)[i] for i in order], cosines[order], color=[COLOURS["sky"]] * 9 + [COLOURS["blue"]]
)
ax.set_xlabel("cosine similarity to the message")
ax.grid(axis="x", alpha=0.3)
ax.grid(axis="y", visible=False)
show_figure(
    figure,
    alt=f"Bar chart of the cosine similarity between the message and each of ten help topics: {topic} is the nearest with "
    f"{cosines.max():.2f}, and {list(TOPICS)[order[-2]]} follows with {cosines[order[-2]]:.2f}.",
    caption="The nearest topic wins, often by little. How often is it right? That is measured below.",
)

# %% [markdown]
# **3. The language model writes a sentence.** First alone, with nothing but the message. It has 135 million parameters, in a
# 4-bit file; a large commercial model has a thousand times more. Watch the words come in. **Would you send this to a customer?**

# %%
from transformers import TextStreamer

from agentlab.assets import load_language_model

model, tokenizer = load_language_model()


def write(chat, beginning="", stop=None, stream=True):
    """The model's reply to a chat, always its likeliest next token; printed while it comes."""
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(prompt + beginning, return_tensors="pt", add_special_tokens=False)
    printer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    if stream:
        print(beginning, end="")
    output = model.generate(
        **ids,
        max_new_tokens=50,
        do_sample=False,
        stop_strings=stop,
        tokenizer=tokenizer,
        streamer=printer if stream else None,
    )
    new = output[0, ids["input_ids"].shape[1] :]
    return beginning + tokenizer.decode(new, skip_special_tokens=True)


alone = write([{"role": "user", "content": f"Answer this customer of our shop: {MESSAGE}"}])

# %% [markdown]
# The model knows neither the headset nor what this shop does in such a case, and it does not know that it does not know. So it gets
# a smaller job and a leash. The *encoder* has decided the topic. The *shop* says in a note what it does then, and the note goes out
# word for word. The *language model* only writes the opening: it sees three examples, and its sentence is begun for it.

# %%
NOTES = {
    "report_fault": "We test the product and repair or replace it, free of charge.",
    "track_order": "Where a parcel is right now stands in your account, under Orders.",
    "wrong_charge": "We check the payment today and pay back what was too much.",
}
EXAMPLES = [
    (
        "my kettle leaks since this morning, bought it in May. what now",
        "I am sorry that your kettle leaks.",
    ),
    (
        "the parcel for my sister with the two lamps has not come and nobody tells me anything!",
        "I am sorry that the parcel for your sister has not come.",
    ),
    (
        "Hello, I paid 20 euros too much for the charger, order 20118",
        "I am sorry that you paid 20 euros too much for the charger.",
    ),
]


def reply_to(text, stream=True):
    """The topic by the encoder, the facts by the shop, the opening by the language model."""
    chat = [{"role": "system", "content": "You begin the reply to a customer."}]
    for message, opening in [*EXAMPLES, (text, None)]:
        chat.append({"role": "user", "content": message})
        if opening:
            chat.append({"role": "assistant", "content": opening})
    topic, _ = nearest_topic(text)
    note = NOTES.get(topic, "A colleague reads your message today and writes back.")
    opening = write(chat, beginning="I am sorry that your", stop=[".", "!", "?"], stream=stream)
    return f"{opening} {note}"


reply = reply_to(MESSAGE)
say(f"**The whole reply:** {reply}")

# %%
assert "headset" in reply and NOTES["report_fault"] in reply

# %% [markdown]
# That is a reply one could send. Who did what: spaCy marked, the encoder decided, the note held the facts, the language model
# spoke. This division of work is the idea of the course, and lesson 06 makes an agent of it. The leash is short for a reason. Here is
# the same on three other messages. **Which openings would you not send?**

# %%
others = [
    "you charged me twice for one mouse!!",
    "where is my parcel? it should have been here on Tuesday",
    "great job, the third broken kettle in a row",
]
show_table(
    [{"message": text, "reply": reply_to(text, stream=False)} for text in others],
    "The same three parts at work on other messages",
)

# %% [markdown]
# An opening can still be untrue to the message, and nothing here notices. How to measure that, and what to do about it, fills
# lessons 04 and 06.
#
# ## Does it hold on many messages?
#
# One message proves nothing. The course ships a corpus of customer messages with the right answer for each. We take those
# that belong to one of the ten topics and compare the encoder with the keywords, and with a **control**: the same vectors, but
# the topics' names shuffled. If the control did well too, the measurement would be broken.

# %%
import random

from agentlab import corpus

messages = [m for m in corpus.support().train if m.intent in TOPICS]
random.Random(SEED).shuffle(messages)
messages = messages[:SAMPLE]
names = list(TOPICS)
guesses = (embed([m.text for m in messages]) @ topic_vectors.T).argmax(1)
shuffled = [names[(i + 3) % len(names)] for i in range(len(names))]


def by_keyword(text):
    hits = [topic for topic, words in KEYWORDS.items() if any(w in text.lower() for w in words)]
    return hits[0] if hits else None


def share_right(guessed):
    return sum(g == m.intent for g, m in zip(guessed, messages, strict=True)) / len(messages)


accuracy = share_right([names[g] for g in guesses])
keywords = share_right([by_keyword(m.text) for m in messages])
control = share_right([shuffled[g] for g in guesses])

# %%
show_table(
    [
        {"reader": "keywords", "right": f"{keywords:.0%}"},
        {"reader": "encoder, nearest topic", "right": f"{accuracy:.0%}"},
        {"reader": "control: topic names shuffled", "right": f"{control:.0%}"},
        {"reader": "guessing among ten", "right": "10%"},
    ],
    f"Share of {len(messages)} messages on ten topics that each reader understood",
)
record("topic_accuracy", accuracy)

# %%
assert control < keywords + 0.1 < accuracy, (
    "the encoder should beat the keywords, and the control must fail"
)
say(
    f"Without one labelled example the encoder is right {accuracy:.0%} of the time, the keywords {keywords:.0%}, the control "
    f"{control:.0%}. It is wrong in {1 - accuracy:.0%} of cases: far too many for a shop. Fine-tuning (lesson 03) is for that."
)

# %% [markdown]
# ## How lessons and exercises work
#
# A lesson shows one thing per cell and then asks you to build it. An exercise is a card, a cell with `____` where your code
# goes, and a check. The check runs your function on fresh random inputs, so there is nothing to look up.

# %%
from agentlab.exercises import ____, exercise, quiz

ex = exercise("start.order_number")


# %%
def order_number(text):
    return ____


ex.check(order_number)

# %% [markdown]
# *NOT STARTED*, since `____` is still there. An answer gets one of four results. Here are four answers to the same question, one
# for each; the check says what went wrong, not only that something did.

# %%
answers = {
    "return ____": lambda text: ____,
    'return "W" + text': lambda text: "W" + text,
    "return text.digits()": lambda text: text.digits(),
    'return "W" + "".join(c for c in text if c.isdigit())': lambda text: (
        "W" + "".join(c for c in text if c.isdigit())
    ),
}
rows = []
for code, answer in answers.items():
    result = ex.definition.judge(answer)
    rows.append(
        {"the answer": code, "result": result.state, "what the learner reads": result.message}
    )
show_table(rows, "The four results of a check")

# %% [markdown]
# Now write it yourself in the cell above and run it again. Stuck? Run `ex.hint()`, again for the next hint; `ex.solution()` shows
# the solution. Your progress stays in a file on this machine (`agentlab progress` prints it) and goes nowhere else.
#
# A lesson never waits for you: where it needs your function and you have none yet, it takes the reference and says so.

# %%
order_number = ex.use(order_number)
say(f"`order_number('w 20417')` gives **{order_number('w 20417')}**.")

# %% [markdown]
# ## The map of the course

# %%
from agentlab.show import draw_map

draw_map(
    boxes={
        "pretraining\n(done by others)": (0, 1),
        "data\n01": (0, 0),
        "loss\n02": (1.25, 0),
        "fine-tuning\n03": (2.5, 0),
        "language output\n04": (2.5, 1),
        "tools\n05": (3.75, 0),
        "agent\n06": (3.75, 1),
        "the task done\n07 and on": (5, 1),
    },
    arrows=[(0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (3, 5), (4, 6), (5, 6), (6, 7)],
    alt="Diagram of the course: pretraining leads to fine-tuning and language output; data (01) and loss (02) lead to fine-tuning "
    "(03), which leads to language output (04) and tools (05); both lead to the agent (06), and the agent to the task.",
    caption="From data to the agent. Numbers are lessons; those not yet in your copy follow with later versions.",
)

# %% [markdown]
# ## Play
#
# Type a message of your own. Try to fool the encoder: say what you do *not* want, use irony, write in another language.

# %%
from agentlab.ui import play


def read_message(text):
    topic, cosines = nearest_topic(text)
    found = ", ".join(f"{e.text} ({e.label_})" for e in nlp(text).ents) or "nothing"
    return f"topic: {topic} (cosine {cosines.max():.2f}); named: {found}"


play(
    "Message",
    read_message,
    [
        "where is my parcel? it should have been here on Tuesday",
        "I do NOT want to return anything, I only want to know how to pair the speaker with my tablet",
        "Wo bleibt mein Paket?",
        "great job, the third broken kettle in a row",
    ],
    "Four messages and what the two models make of them",
)

# %% [markdown]
# Fifteen minutes are done. A board says where you stand, in this lesson and in all others; it reads the file in which your checks are kept. Run its cell again whenever
# you want to know what is **next**. A ✔ is never lost: an exercise once passed stays passed, also when you try something else in its cell later.

# %%
from agentlab.ui import ProgressBoard

ProgressBoard().show()

# %% [markdown]
# ## Limits
#
# - The ten topics were written for this lesson; other wordings give other accuracies.
# - The comparison used messages of the training part. The test part stays closed until a model is final (lesson 01 says why).
# - The language model is small and comes from a 4-bit file. It imitates a pattern and knows almost nothing.
#
# ## Takeaways
#
# 1. Keywords find what is mentioned; a customer's wish is something else.
# 2. An encoder compares meanings without any training on your data, and is a useful, weak start.
# 3. A language model alone makes things up. Give it the facts and let it only speak.
# 4. A figure means something beside a baseline and a control that must fail.
# 5. A check tells you which of four results you have, and what the likely mistake is.

# %%
quiz("start.quiz_parts")

# %% [markdown]
# ## Further work
#
# - **Easy:** reword one topic and run the comparison again. Does the accuracy move?
# - **Medium:** give each topic three wordings and take the mean of their vectors.
# - **Hard:** find the smallest cosine at which you would rather ask the customer than guess, and say what it costs.
#
# **Next:** [01 · Prepare the data](01_prepare_data.ipynb), from raw messages to tensors.
