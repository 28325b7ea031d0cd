"""The course's assistant: the small language model with an adapter that was taught calls, replies and summaries.

The adapter is shipped, since making it takes too long for a lesson; its card says which data, settings and weights made it.
``python -m agentlab.assistant`` makes it anew (a quarter of an hour on two quiet cores). One adapter serves
all three tasks, so that an agent keeps one model in memory.
"""

from __future__ import annotations

import random
from pathlib import Path

from agentlab import adapt, assets
from agentlab.corpus import data_folder
from agentlab.device import release_memory
from agentlab.local import TorchLanguage
from agentlab.toolcalls import call_prompt, call_text, load_toolcalls, training_offers
from agentlab.wording import load_replies, load_tickets, reply_prompt, summary_prompt

CONFIG = adapt.Adaptation(epochs=1, rank=8, learning_rate=1e-3)
NONE_ABOVE = 0.75  # how sure it must be that no tool fits, for `toolcalls.ask`; chosen on the development part
ROUNDS = 3  # times that each example is shown; calls with other tools offered each time


def adapter_folder() -> Path:
    """Where the shipped adapter lies."""
    return data_folder() / "adapters" / "assistant"


def training_examples(rounds: int = ROUNDS, seed: int = 0) -> list[adapt.Family]:
    """Families of prompts and replies of all three tasks, ``rounds`` times, each round with other tools and another order."""
    families: list[adapt.Family] = []
    for n in range(seed, seed + rounds):
        rng = random.Random(n)
        calls = [
            [adapt.Example(call_prompt(request, o.tools), call_text(call, o.tools)) for request, call in o.asked]
            for o in training_offers(load_toolcalls("train"), n)
        ]
        others = [_in_families(examples, rng) for examples in (reply_examples("train"), summary_examples("train"))]
        one = [*calls, *others[0], *others[1]]
        rng.shuffle(one)
        families += one
    return families


def _in_families(examples: list[adapt.Example], rng: random.Random, size: int = 8) -> list[adapt.Family]:
    """Examples with one system text, in random groups that share it."""
    mixed = rng.sample(examples, len(examples))
    return [mixed[n : n + size] for n in range(0, len(mixed), size)]


def development_examples() -> list[adapt.Example]:
    """Prompts and replies of the development part, as they are."""
    calls = [
        adapt.Example(call_prompt(e.request, e.tools), call_text(e.call, e.tools))
        for e in load_toolcalls("development")
    ]
    return [*calls, *reply_examples("development"), *summary_examples("development")]


def reply_examples(part: str) -> list[adapt.Example]:
    """A part's situations, each with the reply that a person wrote."""
    return [adapt.Example(reply_prompt(r.message, r.facts), r.reply) for r in load_replies(part)]


def summary_examples(part: str) -> list[adapt.Example]:
    """A part's tickets, each with its summary."""
    return [adapt.Example(summary_prompt(t.text), t.summary) for t in load_tickets(part)]


@assets.loaded_once
def load_assistant(folder: str | Path | None = None) -> TorchLanguage:
    """The language model with the adapter's weights added; prompts that are too long are cut."""
    model = adapt.load_adapter(folder or adapter_folder())
    _, tokenizer = assets.load_language_model()
    assistant = TorchLanguage(adapt.merge(model), tokenizer, too_long="cut", name="the course's assistant")
    del model
    release_memory()  # the assistant keeps the weights in its own form
    return assistant


def train(folder: str | Path | None = None, rounds: int = ROUNDS, **options) -> dict:
    """Train the adapter and save it with its card; returns the card. ``options`` go to `adapt.finetune_language`."""
    model, tokenizer = adapt.fresh_language_model()
    examples = training_examples(rounds)
    history = adapt.finetune_language(model, tokenizer, examples, development_examples(), CONFIG, **options)
    card = adapt.make_card(examples, CONFIG, history) | {"rounds": rounds}
    adapt.save_adapter(model, folder or adapter_folder(), card)
    return card


if __name__ == "__main__":
    print(train(folder=None)["figures"])
