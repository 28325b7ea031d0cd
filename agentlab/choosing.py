"""Which of the offered tools a request needs, if any, and which arguments it speaks of: a fine-tuned cross-encoder.

The encoder reads the request together with a tool, or with one argument of a tool, and answers yes or no. It
chooses about as well as the course's language model, and that model then only fills in values.
`load` trains it once.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from agentlab import assets, finetune
from agentlab.corpus import Message
from agentlab.device import training_dtype
from agentlab.encoding import Encoded, encode
from agentlab.finetune import Config, Reader
from agentlab.toolcalls import ToolExample, load_toolcalls

MAX_TOKENS = 192
FORMAT = 3  # of the saved files
ANSWERS = ("no", "yes")


@dataclass(frozen=True)
class Recipe:
    """How the chooser is made: the training, and how many tools of other domains each request is shown with."""

    training: Config = field(default_factory=lambda: Config(epochs=3, learning_rate=2e-4))
    strangers: int = 2


def in_words(tool: Mapping[str, Any]) -> str:
    """A tool as the encoder reads it: its name in words, what it does, the names of its arguments.

    >>> in_words({"name": "shop.findOrder", "description": "Look one up.", "parameters": {"properties": {"order_id": {}}}})
    'shop find order: Look one up. (order id)'
    """
    arguments = ", ".join(_words(name) for name in tool["parameters"].get("properties", {}))
    return f"{_words(tool['name'])}: {' '.join(tool.get('description', '').split())} ({arguments})"


def _words(name: str) -> str:
    return " ".join(re.sub(r"([a-z])([A-Z])", r"\1 \2", name).replace("_", " ").replace(".", " ").split()).lower()


def pair(request: str, tool: Mapping[str, Any]) -> str:
    """Request and tool as one text for the encoder."""
    return f"{request} [SEP] {in_words(tool)}"


def argument_pair(request: str, tool: Mapping[str, Any], name: str) -> str:
    """Request and one argument of a tool as one text for the encoder."""
    about = tool["parameters"]["properties"][name]
    values = f" {', '.join(_words(str(v)) for v in about['enum'])}" if "enum" in about else ""
    return f"{request} [SEP] argument {_words(name)} of {_words(tool['name'])}: {about.get('description', '')}{values}"


def optional_arguments(tool: Mapping[str, Any]) -> list[str]:
    """The names of a tool's arguments that need not be given."""
    parameters = tool["parameters"]
    return [n for n in parameters.get("properties", {}) if n not in parameters.get("required", ())]


def pairs(examples: Sequence[ToolExample], strangers: int = 0, seed: int = 0) -> list[Message]:
    """Each request with each offered tool, and with ``strangers`` tools of other domains: is it the right one?"""
    rng = random.Random(seed)
    tools = [(e.domain, t) for e in examples for t in e.tools]
    rows = []
    for e in examples:
        for tool in e.tools:
            right = e.call is not None and e.call["name"] == tool["name"]
            rows.append(Message(pair(e.request, tool), (ANSWERS[right],)))
        others = [t for domain, t in rng.sample(tools, min(len(tools), 4 * strangers)) if domain != e.domain]
        rows += [Message(pair(e.request, t), ("no",)) for t in others[:strangers]]
    return rows


def argument_pairs(examples: Sequence[ToolExample]) -> list[Message]:
    """Each request that needs a tool with each optional argument of it: does the right call give it?"""
    rows = []
    for e in examples:
        for tool in (t for t in e.tools if e.call is not None and t["name"] == e.call["name"]):
            for name in optional_arguments(tool):
                given = ANSWERS[name in e.call["arguments"]]
                rows.append(Message(argument_pair(e.request, tool, name), (given,)))
    return rows


class Chooser:
    """Picks the tool for a request, the most probable one if it is at least ``threshold`` probable, and its arguments.

    An optional argument counts as spoken of if that is at least ``argument_threshold`` probable.
    """

    def __init__(self, reader: Reader, tokenizer, threshold: float = 0.5, argument_threshold: float = 0.5):
        self.reader, self.tokenizer = reader.eval().to(training_dtype()), tokenizer
        self.threshold, self.argument_threshold = threshold, argument_threshold

    def probabilities(self, request: str, tools: Sequence[Mapping[str, Any]]) -> list[float]:
        """For each tool how probable it is that the request needs it."""
        return self.score([pair(request, tool) for tool in tools])

    def score(self, texts: Sequence[str]) -> list[float]:
        batch = self.tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)
        items = [Encoded(ids, [finetune.IGNORE] * len(ids), finetune.IGNORE) for ids in batch["input_ids"]]
        return torch.softmax(finetune.predict(self.reader, items)["intents"], 1)[:, 1].tolist()

    def __call__(self, request: str, tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """The tool that the request needs, or None."""
        if not tools:
            return None
        p = self.probabilities(request, tools)
        best = max(range(len(p)), key=p.__getitem__)
        return tools[best] if p[best] >= self.threshold else None

    def mentioned(self, request: str, tool: Mapping[str, Any]) -> list[str]:
        """The optional arguments of a tool that the request speaks of."""
        names = optional_arguments(tool)
        if not names:
            return []
        p = self.score([argument_pair(request, tool, name) for name in names])
        return [name for name, probability in zip(names, p, strict=True) if probability >= self.argument_threshold]

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        state = {k: v.contiguous() for k, v in self.reader.state_dict().items() if v.is_floating_point()}
        about = {"thresholds": json.dumps([self.threshold, self.argument_threshold])}
        save_file(state, folder / "chooser.safetensors", about)

    @classmethod
    def read(cls, folder: Path) -> Chooser:
        """Load what `save` wrote; raises `TrainingError` where it is damaged."""
        state, about = finetune.read_checkpoint(folder / "chooser.safetensors")
        reader = finetune.new_reader(ANSWERS)
        reader.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
        return cls(reader, assets.load_encoder()[1], *json.loads(about["thresholds"]))


def train(recipe: Recipe | None = None, **options) -> Chooser:
    """Fine-tune on the train part; the thresholds are those that decide most of the development part rightly."""
    recipe, (_, tokenizer) = recipe or Recipe(), assets.load_encoder()
    examples, development = load_toolcalls("train"), load_toolcalls("development")
    parts = [
        pairs(examples, recipe.strangers, recipe.training.seed) + argument_pairs(examples),
        pairs(development) + argument_pairs(development),
    ]
    encoded = [encode(part, tokenizer, ("O",), ANSWERS, MAX_TOKENS) for part in parts]
    reader = finetune.new_reader(ANSWERS, seed=recipe.training.seed)
    finetune.fit(reader, *encoded, recipe.training, **options)
    chooser = Chooser(reader, tokenizer)
    chooser.threshold = best_threshold(chooser, development + among_strangers(development, recipe.training.seed))
    rows = argument_pairs(development)
    given = [m.intents[0] == "yes" for m in rows]
    chooser.argument_threshold = middle_of_best(chooser.score([m.text for m in rows]), given, [not g for g in given])
    return chooser


def among_strangers(examples: Sequence[ToolExample], seed: int = 0) -> list[ToolExample]:
    """The requests that need a tool, each with as many tools of other domains instead: none of those fits."""
    rng = random.Random(seed)
    tools = [(e.domain, t) for e in examples for t in e.tools]
    offers = []
    for e in (e for e in examples if e.call is not None):
        others = [t for domain, t in tools if domain != e.domain]
        offers.append(replace(e, tools=rng.sample(others, len(e.tools)), call=None))
    return offers


def best_threshold(chooser: Chooser, examples: Sequence[ToolExample]) -> float:
    """The threshold with which most requests get the right tool, or rightly none."""
    highest, right = [], []
    for e in examples:
        p = chooser.probabilities(e.request, e.tools)
        best = max(range(len(p)), key=p.__getitem__)
        highest.append(p[best])
        right.append(e.call is not None and e.tools[best]["name"] == e.call["name"])
    return middle_of_best(highest, right, [e.call is None for e in examples])


def middle_of_best(p: Sequence[float], right_if_above: Sequence[bool], right_if_below: Sequence[bool]) -> float:
    """The threshold from 0.01 to 0.99 that decides most cases rightly; the middle one of equals."""
    marks = [n / 100 for n in range(1, 100)]
    right = [
        sum(above if x >= mark else below for x, above, below in zip(p, right_if_above, right_if_below, strict=True))
        for mark in marks
    ]
    equals = [mark for mark, r in zip(marks, right, strict=True) if r == max(right)]
    return equals[len(equals) // 2]


@assets.loaded_once
def load(recipe: Recipe | None = None) -> Chooser:
    """The course's chooser, trained at most once for this data, recipe and encoder (some minutes on two cores)."""
    recipe = recipe or Recipe()
    data = [[asdict(e) for e in load_toolcalls(part)] for part in ("train", "development")]
    key = json.dumps([data, asdict(recipe), assets.encoder_name(), MAX_TOKENS, FORMAT])

    def build(folder: Path) -> None:
        print("Fine-tuning the encoder that chooses tools, once (a few minutes) ...")
        train(recipe).save(folder)

    def is_sound(folder: Path) -> bool:
        try:
            return "thresholds" in finetune.read_checkpoint(folder / "chooser.safetensors")[1]
        except finetune.TrainingError:
            return False

    name = f"chooser-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return Chooser.read(assets.build_once(name, build, is_sound))
