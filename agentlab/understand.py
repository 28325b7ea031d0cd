"""What a message means: its intent with a calibrated confidence, whether it is in scope, and its spans.

``load()`` gives the fine-tuned models as one object. It trains them on demand (about four minutes on two cores) and keeps
them in the cache under a hash of data, configuration and encoder; from then on it loads in a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from agentlab import assets, corpus, evaluate, finetune
from agentlab.augment import add_typos
from agentlab.corpus import OUT_OF_SCOPE, Message, Span
from agentlab.device import training_dtype
from agentlab.encoding import align_labels, encode
from agentlab.finetune import Config, Reader

MAX_TOKENS = 128
REPLAY = 3000  # messages of the corpus that a further training sees again
FORMAT = 2  # of the saved files; what was saved in another is made anew


@dataclass(frozen=True)
class Recipe:
    """How the models are made: the training, and how many mistyped copies of the messages go into it."""

    training: Config
    copies: int = 1
    share: float = 0.3  # of the words of a copy


FULL = Recipe(Config(epochs=4, learning_rate=2e-4, label_smoothing=0.05, dropout=0.2))
# for tests and a first look: worse, and there in seconds
QUICK = Recipe(Config(epochs=1, learning_rate=5e-4, freeze=3), copies=0)
# for what is learned on top of either
MORE = Recipe(Config(epochs=3, learning_rate=1.5e-4, label_smoothing=0.05, dropout=0.2), copies=0)


@dataclass(frozen=True)
class Understanding:
    """What a message means: the likeliest intent, how sure that is (calibrated, 0 to 1), and the spans in the text.

    ``scope`` is how likely the message is the shop's business at all, ``in_scope`` whether that is likely enough;
    ``others`` are the next likely intents.
    """

    text: str
    intent: str
    confidence: float
    scope: float
    in_scope: bool
    spans: tuple[Span, ...]
    others: tuple[tuple[str, float], ...]


class Understander:
    """A fine-tuned `Reader` with its tokenizer, temperature and out-of-scope threshold: texts in, `Understanding` out.

    It computes in bfloat16 where the device does: several times faster, and a confidence may differ by some thousandths
    with what else is in the batch.
    """

    def __init__(self, reader: Reader, tokenizer, temperature: float, threshold: float):
        self.reader, self.tokenizer = reader.eval().to(training_dtype()), tokenizer
        self.temperature, self.threshold = temperature, threshold

    def __call__(self, texts: Sequence[str]) -> list[Understanding]:
        """Understand messages, in one go; an empty list gives an empty list."""
        if not len(texts):
            return []
        batch = self.tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS, return_offsets_mapping=True)
        items = [finetune.Encoded(ids, [finetune.IGNORE] * len(ids), finetune.IGNORE) for ids in batch["input_ids"]]
        outputs = finetune.predict(self.reader, items)
        p = evaluate.probabilities(outputs["intents"].numpy(), self.temperature)  # (N, C)
        tags = [[self.reader.tags[k] for k in rows.argmax(1)] for rows in outputs["tags"]]
        return [self._one(text, p[n], tags[n], batch["offset_mapping"][n]) for n, text in enumerate(texts)]

    def _one(self, text: str, p, tags: list[str], offsets) -> Understanding:
        names = self.reader.intents
        scope = 1 - float(p[names.index(OUT_OF_SCOPE)])
        order = [i for i in (-p).argsort() if names[i] != OUT_OF_SCOPE]
        inner = [(names[i], float(p[i])) for i in order[:3]]
        tags = [tag if end > start else "O" for tag, (start, end) in zip(tags, offsets, strict=True)]
        spans = tuple(Span(offsets[a][0], offsets[b - 1][1], kind) for a, b, kind in evaluate.spans_of(tags))
        return Understanding(text, inner[0][0], inner[0][1], scope, scope >= self.threshold, spans, tuple(inner[1:]))

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and settings (JSON) into a folder."""
        from safetensors.torch import save_file

        state = {
            k: v.to(torch.bfloat16).contiguous() for k, v in self.reader.state_dict().items() if v.is_floating_point()
        }
        save_file(state, folder / "reader.safetensors")
        about = {"intents": self.reader.intents, "tags": self.reader.tags, "pooling": self.reader.pooling,
                 "temperature": self.temperature, "threshold": self.threshold}  # fmt: skip
        (folder / "reader.json").write_text(json.dumps(about))

    @classmethod
    def read(cls, folder: Path) -> Understander:
        """Load what `save` wrote; raises `AssetError` where a file is missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            about = json.loads((folder / "reader.json").read_text())
            state = load_file(folder / "reader.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise assets.AssetError(
                f"{folder} cannot be read ({error}). Delete that folder; it is made anew."
            ) from None
        _, tokenizer = assets.load_encoder()
        reader = finetune.new_reader(about["intents"], about["tags"], about["pooling"])
        reader.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
        return cls(reader, tokenizer, about["temperature"], about["threshold"])


def train(
    recipe: Recipe = FULL,
    support: corpus.SupportCorpus | None = None,
    extra: Sequence[Message] = (),
    base: Understander | None = None,
    **options,
) -> tuple[Understander, finetune.History]:
    """Fine-tune both heads on the support corpus; temperature and threshold are chosen on its validation part.

    ``extra`` messages are learned besides, also such of intents that the corpus does not have. With ``base`` the training
    goes on from that understander's weights. ``options`` go to `finetune.fit`.
    """
    support, config = support or corpus.support(), recipe.training
    intents, tags = [*support.labels.intents, OUT_OF_SCOPE], support.labels.bio_tags
    intents += sorted({m.intent for m in extra} - set(intents))
    _, tokenizer = assets.load_encoder()
    messages = {name: [m for m in support.messages[name] if len(m.intents) < 2] for name in ("train", "validation")}
    if base is not None:  # enough of what it knows that it is not forgotten
        messages["train"] = random.Random(config.seed).sample(messages["train"], min(REPLAY, len(messages["train"])))
    messages["train"] = add_typos([*messages["train"], *extra], recipe.copies, recipe.share, config.seed)
    parts = {name: encode(part, tokenizer, tags, intents, MAX_TOKENS) for name, part in messages.items()}
    reader = finetune.new_reader(intents, tags, seed=config.seed)
    if base is not None:
        take_over(reader, base.reader)
    history = finetune.fit(
        reader, parts["train"], parts["validation"], config, score=finetune.intent_accuracy, **options
    )
    reader.to(training_dtype())  # as it will be used
    logits = finetune.predict(reader, parts["validation"])["intents"].numpy()
    labels = [i.intent for i in parts["validation"]]
    temperature = evaluate.fit_temperature(logits, labels)
    inside = 1 - evaluate.probabilities(logits, temperature)[:, intents.index(OUT_OF_SCOPE)]
    known = [label != intents.index(OUT_OF_SCOPE) for label in labels]
    threshold = evaluate.choose_threshold(
        [s for s, k in zip(inside, known, strict=True) if k], [s for s, k in zip(inside, known, strict=True) if not k]
    )
    return Understander(reader, tokenizer, temperature, threshold), history


def take_over(reader: Reader, base: Reader) -> None:
    """Give a reader the weights of another one, and the rows of the intents that both know."""
    state = {k: v.float() for k, v in base.state_dict().items()}
    rows = {k: state.pop(f"intent_head.{k}") for k in ("weight", "bias")}
    reader.load_state_dict(state, strict=False)
    with torch.no_grad():
        for name, old in rows.items():
            new = getattr(reader.intent_head, name)
            for n, intent in enumerate(reader.intents):
                if intent in base.intents:
                    new[n] = old[base.intents.index(intent)]


def span_scores(reader: Understander, messages: Sequence[corpus.Message]) -> dict[str, evaluate.SpanScore]:
    """Exact-match scores of the spans by type, and ``all``; truth and guess are laid on the same subwords."""
    texts = [m.text for m in messages]
    places = reader.tokenizer(texts, truncation=True, max_length=MAX_TOKENS, return_offsets_mapping=True)
    tags, rows = reader.reader.tags, ([], [])
    for m, u, offsets in zip(messages, reader(texts), places["offset_mapping"], strict=True):
        for row, spans in zip(rows, (m.spans, u.spans), strict=True):
            row.append([tags[i] if i >= 0 else "O" for i in align_labels(spans, offsets, tags)])
    return evaluate.score_spans(*rows)


def load(recipe: Recipe | None = None, extra: Sequence[Message] = ()) -> Understander:
    """The course's understander, trained at most once for this data, recipe and encoder.

    Without a recipe it is `FULL`, or `QUICK` where ``AGENTLAB_UNDERSTANDING`` says quick, as the quick profile does.
    With ``extra`` messages that understander learns on: a short training on them and the corpus together.
    """
    quick = os.environ.get("AGENTLAB_UNDERSTANDING") == "quick"
    return _load(recipe or (QUICK if quick else FULL), tuple(extra))


@assets.loaded_once
def _load(recipe: Recipe, extra: tuple[Message, ...]) -> Understander:
    from safetensors import SafetensorError, safe_open

    about = [corpus.fingerprint(), asdict(recipe), assets.encoder_name(), MAX_TOKENS, FORMAT]
    if extra:
        about += [asdict(MORE), REPLAY, [[m.intent, m.markup()] for m in extra]]
    name = f"understander-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]}"

    def build(folder: Path) -> None:
        if extra:
            base = _load(recipe, ())
            print("The models that understand messages learn some more, once (a minute or two) ...")
            train(MORE, extra=extra, base=base)[0].save(folder)
            return
        print("Fine-tuning the models that understand messages, once (a few minutes) ...")
        train(recipe)[0].save(folder)

    def is_sound(folder: Path) -> bool:
        try:  # the header holds the length of the whole file, so this finds a cut one without reading it
            json.loads((folder / "reader.json").read_text())
            with safe_open(folder / "reader.safetensors", "pt"):
                return True
        except (OSError, ValueError, SafetensorError):
            return False

    return Understander.read(assets.build_once(name, build, is_sound))
