"""What a message means as a turn: yes or no to what was asked, a wish withdrawn, another one meant, and what it tells.

The same word means different things after different questions ("no" after "has it been opened?"), so the reader sees the
question's kind and the message together: one encoder, a small head for each thing to tell. ``load()`` trains it on
``data/dialogue/turns*.yml`` once (about a minute on two cores) and keeps it in the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from agentlab import assets, corpus, finetune
from agentlab.corpus import data_folder, read_yaml
from agentlab.device import training_dtype
from agentlab.encoding import Encoded, collate
from agentlab.errors import DataError, UnknownName
from agentlab.losses import IGNORE

MAX_TOKENS = 96
FORMAT = 1
NONE = "none"
PARTS = ("train", "validation", "test")
HEADS: dict[str, tuple[str, ...]] = {  # what is told, and its values; the first is: nothing of it
    "answer": (NONE, "yes", "no", "unknown"),
    "but": (NONE, "but"),
    "drop": (NONE, "drop"),
    "other": (NONE, "other"),
    "reason": (NONE, "faulty", "damaged", "wrong_item", "changed_mind"),
    "opened": (NONE, "opened", "sealed"),
    "solution": (NONE, "return", "exchange", "repair"),
    "alarm": (NONE, "danger", "legal"),
}
ALARMING = frozenset({"report_fault", "wrong_or_damaged_item", "wrong_charge", "talk_to_person", "delete_account"})
UNSAID = tuple(head for head in HEADS if head != "alarm")  # heads for which a turn without a label says none
QUESTIONS = {  # what was asked before, in words that the encoder knows
    "opening": "How can I help you?", "more": "Is there anything else?", "confirm": "Shall I do that? Please say yes.",
    "offer": "Would you like that?", "which_order": "Which order do you mean?", "which_item": "Which item do you mean?",
    "proof": "What is your e-mail address and an order number or postcode?", "reason": "Why does it come back?",
    "opened": "Has it been opened?", "solution": "Money back, an exchange or a repair?", "address": "Where shall it go?",
    "variant": "Which colour or size?",
}  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """A message after a kind of question, and what it tells: head to value; a head that is left out is not known."""

    say: str
    after: str = "opening"
    told: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What a message tells: for each head the likeliest value and how probable it is (0 to 1)."""

    told: dict[str, tuple[str, float]]

    def says(self, head: str, value: str, sure: float = 0.5) -> bool:
        """Whether the head has this value, at least that surely."""
        found, p = self.told[head]
        return found == value and p >= sure


# --- data ----------------------------------------------------------------------------------------------------


def load_turns(part: str | None = None, folder: str | Path | None = None) -> list[Turn]:
    """The turns of ``data/dialogue``; raises `DataError` with file and entry for one that does not fit.

    Which part a turn belongs to follows from its text: eight of ten are train, one validation, one test.
    """
    folder = Path(folder) if folder else data_folder() / "dialogue"
    turns = [_turn(entry, file, n) for file in sorted(folder.glob("turns*.yml")) for n, entry in enumerate(read_yaml(file), 1)]  # fmt: skip
    if not turns:
        raise DataError("no turns (turns*.yml) were found here.", folder)
    return [t for t in turns if part in (None, part_of(t.say))]


def load_wishes(folder: str | Path | None = None) -> list[corpus.Message]:
    """Wishes as customers word them amid a conversation, and those that only a conversation has, with their spans."""
    folder = Path(folder) if folder else data_folder() / "dialogue"
    return list(_wishes(folder, corpus.fingerprint(folder)))


@lru_cache(maxsize=4)
def _wishes(folder: Path, state: str) -> tuple[corpus.Message, ...]:
    """The wishes of a folder in a state of its files: every agent needs them, and reading them takes a while."""
    labels = corpus.support().labels
    known = replace(labels, intents={**labels.intents, **read_yaml(folder / "intents.yml")})
    return tuple(m for file in sorted(folder.glob("wishes*.yml")) for m in corpus.read_file(file, known))


def part_of(text: str) -> str:
    """The part in which a text lies, by its hash."""
    tenth = int(hashlib.sha256(text.strip().lower().encode()).hexdigest(), 16) % 10
    return PARTS[max(0, tenth - 7)]


def _turn(entry: Any, file: Path, number: int) -> Turn:
    where = f"{file.name}, entry {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("say"), str) or not entry["say"].strip():
        raise DataError("a turn needs `say`, a text.", where)
    after = entry.get("after", "opening")
    if after not in QUESTIONS:
        raise DataError(str(UnknownName("kind of question", after, QUESTIONS)), where)
    told = {}
    for name, value in entry.items():
        if name in ("say", "after"):
            continue
        value = name if value is True else str(value)
        if name not in HEADS or value not in HEADS[name]:
            raise DataError(f"{name}: {value} is no label of a turn.", where)
        told[name] = value
    return Turn(entry["say"], after, dict.fromkeys(UNSAID, NONE) | told)


def openings(count: int = 1500) -> list[Turn]:
    """Messages of the support corpus as turns: whatever they want, they are no yes, no no, and withdraw nothing.

    Those of intents that can hold a danger or a threat say nothing of an alarm.
    """
    messages = corpus.support().split("train")
    told = dict.fromkeys(("answer", "but", "other", "alarm"), NONE)
    kept = [m for m in messages[:: max(1, len(messages) // count)] if m.intent not in ALARMING]
    return [Turn(m.text, "opening", told) for m in kept]


# --- the reader ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _columns() -> dict[str, slice]:
    """Where each head lies among the logits."""
    places, start = {}, 0
    for name, values in HEADS.items():
        places[name] = slice(start, start + len(values))
        start += len(values)
    return places


@dataclass(frozen=True)
class Item(Encoded):
    """A turn as numbers: its tokens, and the number of the value for each head, or ``IGNORE``."""

    targets: tuple[int, ...] = ()


def encode(turns: Sequence[Turn], tokenizer) -> list[Item]:
    """Question and message as one sequence each, cut at `MAX_TOKENS`."""
    pairs = [(QUESTIONS[t.after], t.say) for t in turns]
    batch = tokenizer(pairs, truncation="only_second", max_length=MAX_TOKENS)
    targets = [
        tuple(values.index(t.told[head]) if head in t.told else IGNORE for head, values in HEADS.items()) for t in turns
    ]
    return [
        Item(ids, [IGNORE] * len(ids), IGNORE, target) for ids, target in zip(batch["input_ids"], targets, strict=True)
    ]


class TurnReader:
    """The fine-tuned reader with its tokenizer: messages and the kinds of questions before them in, `Reading` out."""

    def __init__(self, reader: finetune.Reader, tokenizer):
        self.reader, self.tokenizer = reader.eval().to(training_dtype()), tokenizer

    def __call__(self, say: str, after: str = "opening") -> Reading:
        """Read one message."""
        return self.read_all([Turn(say or " ", after)])[0]

    def read_all(self, turns: Sequence[Turn]) -> list[Reading]:
        """Read several, in one go."""
        if not turns:
            return []
        logits = finetune.predict(self.reader, encode(turns, self.tokenizer))["intents"]  # (N, sum of the heads)
        read = [{} for _ in turns]
        for head, values in HEADS.items():
            p = torch.softmax(logits[:, _columns()[head]], 1)
            for row, one in zip(p, read, strict=True):
                best = int(row.argmax())
                one[head] = (values[best], round(float(row[best]), 4))
        return [Reading(told) for told in read]

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        state = {k: v.to(torch.bfloat16).contiguous() for k, v in self.reader.state_dict().items() if v.is_floating_point()}  # fmt: skip
        save_file(state, folder / "turns.safetensors", {"heads": json.dumps(HEADS)})

    @classmethod
    def read(cls, folder: Path) -> TurnReader:
        """Load what `save` wrote; raises `TrainingError` where it is damaged."""
        state, _ = finetune.read_checkpoint(folder / "turns.safetensors")
        reader = new_reader()
        reader.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
        return cls(reader, assets.load_encoder()[1])


def new_reader(seed: int = 0) -> finetune.Reader:
    """A `finetune.Reader` whose intents are the values of all heads."""
    return finetune.new_reader([f"{head}: {value}" for head, values in HEADS.items() for value in values], seed=seed)


def loss_of(logits: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """The sum over heads and turns of the cross-entropies; logits (B, all values), targets (B, heads)."""
    parts = [
        F.cross_entropy(logits[:, place], targets[:, n], ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)
        for n, place in enumerate(_columns().values())
    ]  # fmt: skip
    return torch.stack(parts).sum()


class TurnTraining(finetune.Training):
    """One run of the training: several heads in place of one, each with a loss of its own."""

    def check(self) -> None:
        if not self.train:
            raise finetune.TrainingError("There is nothing to train on: the list of turns is empty.")

    def divisors(self, items: list[Item]) -> int:
        return len(items)

    def part_loss(self, items: list[Item], divisors: int, counts: bool) -> torch.Tensor:
        batch = {k: v.to(self.device) for k, v in collate(items).items()}
        logits = self.model(batch["input_ids"], batch["attention_mask"])["intents"]
        targets = torch.tensor([i.targets for i in items], device=self.device)
        return loss_of(logits, targets, self.config.label_smoothing) / divisors * float(counts)

    def evaluate(self) -> float:
        logits = finetune.predict(self.reader, self.validation, exact=False)["intents"]
        return -float(loss_of(logits, torch.tensor([i.targets for i in self.validation]))) / len(self.validation)


FULL = finetune.Config(epochs=6, learning_rate=2e-4, dropout=0.2, label_smoothing=0.02)
QUICK = finetune.Config(epochs=3, learning_rate=4e-4, freeze=3)  # for tests and a first look


def train(recipe: finetune.Config = FULL, turns: Sequence[Turn] | None = None, **options) -> TurnReader:
    """Fine-tune on the train part and on openings of the support corpus; ``options`` go to `finetune.Training`."""
    from agentlab.device import release_memory

    _, tokenizer = assets.load_encoder()
    learned = [*(load_turns("train") if turns is None else turns), *openings()]
    reader = new_reader(recipe.seed)
    training = TurnTraining(reader, encode(learned, tokenizer), encode(load_turns("validation"), tokenizer), recipe, **options)  # fmt: skip
    training.run()
    del training
    release_memory()
    return TurnReader(reader, tokenizer)


def load(recipe: finetune.Config | None = None) -> TurnReader:
    """The course's reader of turns, trained at most once for this data, recipe and encoder.

    Without a recipe it is `FULL`, or `QUICK` where ``AGENTLAB_UNDERSTANDING`` says quick, as the quick profile does.
    """
    quick = os.environ.get("AGENTLAB_UNDERSTANDING") == "quick"
    return _load(recipe or (QUICK if quick else FULL))


@assets.loaded_once
def _load(recipe: finetune.Config) -> TurnReader:
    data = [[t.say, t.after, dict(t.told)] for t in load_turns()]
    key = json.dumps([data, corpus.fingerprint(), asdict(recipe), assets.encoder_name(), HEADS, QUESTIONS, FORMAT])

    def build(folder: Path) -> None:
        print("Fine-tuning the model that reads the turns of a conversation, once (about a minute) ...")
        train(recipe).save(folder)

    def is_sound(folder: Path) -> bool:
        try:
            return "heads" in finetune.read_checkpoint(folder / "turns.safetensors")[1]
        except finetune.TrainingError:
            return False

    name = f"turns-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return TurnReader.read(assets.build_once(name, build, is_sound))
