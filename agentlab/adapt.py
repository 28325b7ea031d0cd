"""Fine-tuning a small causal language model: low-rank adapters (LoRA) or all weights, on the training loop of `finetune`.

``finetune_language`` trains on replies: the loss is on the reply's tokens and on the end-of-turn token after it. What
makes it fast on a CPU: examples lie one after another in a row without padding, attention is computed example by
example, and the product with the 49152 rows of the vocabulary is taken only where something is learned.

The adapter's matrices learn in bfloat16 with float32 master copies; the base weights stay as they are, bit for bit.
Source of LoRA: Hu et al., arXiv:2106.09685. Not covered: attention windows, models sharded over devices.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from agentlab import __version__, assets
from agentlab.errors import UnknownName
from agentlab.finetune import History, Schedule, Training, TrainingError, resolve_precision, switch_on_checkpointing

WEIGHTS, SETTINGS, CARD = "adapter_model.safetensors", "adapter_config.json", "card.json"
PREFIX = "base_model.model."  # what peft puts before each name in an adapter's file


# --- examples ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """One training text: chat messages (``{"role": ..., "content": ...}``) or plain text, and the reply to be learned."""

    prompt: str | list[dict]
    reply: str


Family = list[Example]  # examples whose prompts begin alike, such as with the same tools: the beginning is read once


@dataclass(frozen=True)
class Tokens:
    """An example as numbers: token ids, and for each whether it is learned (reply and end of turn).

    A family of examples has its common beginning first, ``prefix`` tokens, then the rest of each, of lengths ``turns``;
    every turn reads the prefix and itself.
    """

    ids: list[int]
    learn: list[bool]
    prefix: int = 0
    turns: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def parts(self) -> tuple[int, ...]:
        """The length of the prefix, 0 where there is none, then those of what follows it."""
        return (self.prefix, *(self.turns or (len(self.ids),)))

    @property
    def longest(self) -> int:
        """Tokens of the longest text in it."""
        return self.prefix + max(self.parts[1:])


def tokenize(tokenizer, example: Example, max_tokens: int = 1024, number: int = 0) -> Tokens:
    """Ids of the prompt, as the model sees it when it is to answer, then of the reply and the end-of-turn token.

    The two are encoded apart, so that their boundary is the same as when the model writes. ``number`` is the example's
    place in the data, for the error. Raises `TrainingError` for an empty reply and for more than ``max_tokens`` tokens.
    """
    if not example.reply.strip():
        raise TrainingError(f"Example {number} has an empty reply, so there is nothing to learn from it. Leave it out.")
    prompt = example.prompt
    if not isinstance(prompt, str):
        prompt = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    given, reply = (tokenizer.encode(text, add_special_tokens=False) for text in (prompt, example.reply))
    reply.append(tokenizer.eos_token_id)
    if len(given) + len(reply) > max_tokens:
        raise TrainingError(
            f"Example {number} has {len(given) + len(reply)} tokens ({len(given)} in the prompt); at most {max_tokens} "
            "are allowed. Shorten it, leave it out, or raise max_tokens."
        )
    learn = [False] * len(given) + [True] * len(reply)
    learn[0] = False  # nothing stands before it that could predict it
    return Tokens(given + reply, learn)


def tokenize_all(tokenizer, examples: Sequence[Example | Family], max_tokens: int = 1024) -> list[Tokens]:
    """`tokenize` for each example, `share` for each family; an error names the number of the example or family."""
    return [
        tokenize(tokenizer, e, max_tokens, number) if isinstance(e, Example)
        else share([tokenize(tokenizer, one, max_tokens, number) for one in e])
        for number, e in enumerate(examples)
    ]  # fmt: skip


def share(items: Sequence[Tokens]) -> Tokens:
    """One `Tokens` for examples that begin alike: the common beginning of their prompts stands in it once.

    >>> share([Tokens([1, 2, 3, 9], [False, False, False, True]), Tokens([1, 2, 4, 8], [False, False, False, True])]).ids
    [1, 2, 3, 9, 4, 8]
    """
    most = min(item.learn.index(True) for item in items) - 1  # what predicts the first learned token is each one's own
    first = items[0].ids
    prefix = next((n for n in range(most) if any(item.ids[n] != first[n] for item in items)), max(most, 0))
    ids = first[:prefix] + [t for item in items for t in item.ids[prefix:]]
    learn = [False] * prefix + [x for item in items for x in item.learn[prefix:]]
    return Tokens(ids, learn, prefix, tuple(len(item) - prefix for item in items))


def pack(items: Sequence[Tokens], block_tokens: int) -> list[list[int]]:
    """Which items share a row of at most ``block_tokens`` tokens: first-fit decreasing. A longer item is alone.

    >>> pack([Tokens([0] * n, []) for n in (3, 6, 4, 5)], 10)
    [[1, 2], [3, 0]]
    """
    rows: list[list[int]] = []
    free: list[int] = []
    for i in sorted(range(len(items)), key=lambda i: -len(items[i])):
        place = next((r for r, room in enumerate(free) if len(items[i]) <= room), None)
        if place is None:
            rows.append([])
            free.append(block_tokens)
            place = -1
        rows[place].append(i)
        free[place] -= len(items[i])
    return rows


def updates(items: Sequence[Tokens], batch_tokens: int, seed: int = 0, rows_per_pool: int = 50) -> list[list[int]]:
    """The items of each update of an epoch, about ``batch_tokens`` tokens each, every item once, in random order.

    Items are shuffled, cut into pools of ``rows_per_pool`` rows, and packed within a pool; then the rows are shuffled.
    """
    rng = random.Random(seed)
    order = list(range(len(items)))
    rng.shuffle(order)
    pools: list[list[int]] = [[]]
    room = size = rows_per_pool * batch_tokens
    for i in order:
        if room < len(items[i]) and pools[-1]:
            pools.append([])
            room = size
        pools[-1].append(i)
        room -= len(items[i])
    rows = [[pool[k] for k in row] for pool in pools for row in pack([items[i] for i in pool], batch_tokens)]
    rng.shuffle(rows)
    return rows


# --- the model on packed rows --------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def causal_mask(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(size, size): 0 where a token may look, minus infinity at the tokens after it."""
    return torch.full((size, size), -torch.inf, dtype=dtype, device=device).triu(1)


def causal_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scaling: float) -> torch.Tensor:
    """Attention of the last T of S tokens: q (1, H, T, D), k and v (1, K, S, D), where H / K heads share a key; (1, H, T, D).

    Written out, since on short texts PyTorch's fused CPU kernel is slower, above all backwards.
    """
    _, H, T, D = q.shape
    K, S = k.shape[1], k.shape[2]
    mask = causal_mask(1 << (S - 1).bit_length(), q.dtype, q.device)[S - T : S, :S]
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling, enable_gqa=True)
    scores = (q * scaling).reshape(1, K, H // K * T, D) @ k.transpose(-1, -2)  # (1, K, H / K * T, S)
    weights = (scores.view(1, K, H // K, T, S) + mask).softmax(-1)
    return (weights.view(1, K, H // K * T, S) @ v).view(1, H, T, D)


def packed_attention(
    module, query, key, value, attention_mask, scaling: float, packed_parts: list[tuple[int, ...]], **_
) -> tuple:
    """transformers' attention interface for a row of several examples, which do not see each other.

    ``packed_parts`` holds for each example or family the lengths of its prefix and of what follows it (`Tokens.parts`).
    """
    lengths = [n for parts in packed_parts for n in parts]
    pieces = zip(*(x.split(lengths, dim=2) for x in (query, key, value)), strict=True)
    mixed = []
    for parts in packed_parts:
        q, k, v = next(pieces)
        if parts[0]:
            mixed.append(causal_attention(q, k, v, scaling))
        for _ in parts[1:]:
            own_q, own_k, own_v = next(pieces)
            if parts[0]:
                own_k, own_v = torch.cat([k, own_k], 2), torch.cat([v, own_v], 2)
            mixed.append(causal_attention(own_q, own_k, own_v, scaling))
    return torch.cat(mixed, dim=2).transpose(1, 2), None  # (1, N, H, D)


@contextmanager
def attention_over_packed_rows(model: nn.Module) -> Iterator[None]:
    """Within this block the model attends by `packed_attention`; before and after it as it was loaded."""
    from transformers import AttentionInterface

    AttentionInterface.register("packed", packed_attention)
    usual, model.config._attn_implementation = model.config._attn_implementation, "packed"
    try:
        yield
    finally:
        model.config._attn_implementation = usual


class PackedModel(nn.Module):
    """A causal language model that reads a row of several examples and answers only where something is learned.

    ``forward`` takes ids (N,), the parts of the examples (`Tokens.parts`), whose lengths sum to N, and the places (L,) of the
    tokens that come before learned ones; it returns float32 logits (L, V).
    """

    def __init__(self, language: nn.Module):
        super().__init__()
        self.language = language

    def forward(self, ids: torch.Tensor, parts: list[tuple[int, ...]], places: torch.Tensor) -> torch.Tensor:
        ranges = [r for prefix, *turns in parts for r in (range(prefix), *(range(prefix, prefix + n) for n in turns))]
        positions = torch.tensor([p for r in ranges for p in r], device=ids.device)
        hidden = self.language.base_model(
            input_ids=ids[None], position_ids=positions[None], use_cache=False, packed_parts=parts
        ).last_hidden_state[0]  # (N, D)
        return self.language.get_output_embeddings()(hidden[places]).float()


def loss_sum(model: nn.Module, items: Sequence[Tokens], device: torch.device) -> torch.Tensor:
    """The sum of the losses of all learned tokens of these items, read in one row by a `PackedModel`."""
    ids = torch.tensor([t for item in items for t in item.ids], device=device)  # (N,)
    learned = torch.tensor([x for item in items for x in item.learn], device=device).nonzero()[:, 0]  # (L,)
    logits = model(ids, [item.parts for item in items], learned - 1)  # (L, V)
    return F.cross_entropy(logits, ids[learned], reduction="sum")


def learned_tokens(items: Sequence[Tokens]) -> int:
    """How many tokens of these items are learned."""
    return sum(sum(item.learn) for item in items)


@torch.no_grad()
def reply_loss(model: nn.Module, items: Sequence[Tokens], batch_tokens: int = 2048) -> float:
    """The mean loss per learned token of a language model, in nats. The model is left in evaluation mode."""
    model.eval()
    packed, device = PackedModel(model).eval(), next(model.parameters()).device
    with attention_over_packed_rows(model):
        total = sum(float(loss_sum(packed, [items[i] for i in row], device)) for row in pack(items, batch_tokens))
    return total / learned_tokens(items)


# --- training ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adaptation(Schedule):
    """Everything that decides how the training of a language model goes.

    ``batch_tokens`` is the size of an update. An adapter adds ``alpha / rank`` times the product of two matrices of rank
    ``rank`` to each layer that ``targets`` names: "all-linear", or names such as ("q_proj", "v_proj"). ``full`` trains all
    weights instead; then ``learning_rate`` should be about ten times smaller.
    """

    epochs: int = 3
    learning_rate: float = 5e-4
    weight_decay: float = 0.0
    batch_tokens: int = 2048
    max_tokens: int = 1024
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0  # before an adapter's matrices
    targets: str | Sequence[str] = "all-linear"
    full: bool = False

    def __post_init__(self):
        super().__post_init__()
        self.at_least_one("batch_tokens", "max_tokens", "rank")


def fresh_language_model():
    """``(model, tokenizer)`` of the course's language model, the model a copy that may be trained.

    `assets.load_language_model` keeps one model for everybody; training changes a model in place.
    """
    model, tokenizer = assets.load_language_model()
    return copy.deepcopy(model), tokenizer


def finetune_language(
    model: nn.Module,
    tokenizer,
    train: Sequence[Example | Family],
    validation: Sequence[Example | Family] = (),
    config: Adaptation | None = None,
    *,
    folder: str | Path | None = None,
    score: Callable[[nn.Module, Sequence[Example]], float] | None = None,
    on_epoch: Callable[[dict], None] | None = None,
    trackers: Sequence[str] = (),
    bar: bool = True,
    save_every: int = 0,
) -> History:
    """Train ``model`` in place, by default by an adapter that it carries afterwards; returns what happened.

    Take the model from `fresh_language_model`; a model that carries an adapter goes on learning with it. ``score`` says
    how good a model is on the validation examples (larger is better; by default minus the mean loss per reply token);
    the best adapter is restored at the end. Checkpoints, trackers and errors are those of `finetune.fit`.
    """
    from agentlab.device import release_memory

    training = LanguageTraining(
        model, tokenizer, train, validation, config, folder=folder, score=score, on_epoch=on_epoch, trackers=trackers,
        bar=bar, save_every=save_every,
    )  # fmt: skip
    history = training.run()
    del training
    release_memory()
    return history


class LanguageTraining(Training):
    """One run of `finetune_language`: what differs from the training of a `Reader`."""

    new_config = Adaptation
    unit, memory_cure = "example", "Switch on checkpointing, lower max_tokens, or use a smaller model."

    def __init__(self, model: nn.Module, tokenizer, train, validation=(), config=None, **options):
        config = config or Adaptation()
        self.language, self.dtype, self.held_out = model, next(model.parameters()).dtype, list(validation)
        items, held_out = (tokenize_all(tokenizer, part, config.max_tokens) for part in (train, self.held_out))
        super().__init__(PackedModel(model), items, held_out, config, **options)
        self.precision = language_precision(config, self.dtype, self.device)

    def check(self) -> None:
        refuse_shared(self.language)
        if not self.train:
            raise TrainingError("There is nothing to train on: the list of examples is empty.")
        longest = max(item.longest for item in (*self.train, *self.validation))
        most = self.language.config.max_position_embeddings
        if longest > most:
            raise TrainingError(f"An example has {longest} tokens; the model reads at most {most}. Lower max_tokens.")
        if any(kind != "full_attention" for kind in getattr(self.language.config, "layer_types", None) or ()):
            raise TrainingError(
                "This model attends within a window, which is not supported here. Choose another model."
            )

    def set_up(self) -> None:
        model, config = self.language, self.config
        self.start = weights_sha256(model, adapter=True) if self.folder else ""
        cast_parameters(model, torch.bfloat16 if self.precision == "bfloat16" else torch.float32)
        if config.full:
            learn_everything(model)
        else:
            attach_adapter(model, config)
        if config.checkpointing:
            switch_on_checkpointing(model)
        self.reader.to(self.device)

    def begin_epoch(self) -> None:
        pass

    def one_epoch(self, bar) -> None:
        with attention_over_packed_rows(self.language):
            super().one_epoch(bar)

    def groups(self) -> list[dict]:
        learning = list(self.learning().values())
        kinds = [(True, self.config.weight_decay), (False, 0.0)]  # matrices decay; biases and norms do not
        groups = [([p for p in learning if (p.ndim > 1) == matrix], decay) for matrix, decay in kinds]
        return [{"params": p, "lr": self.config.learning_rate, "weight_decay": decay} for p, decay in groups if p]

    def batches(self, epoch: int) -> list[list[int]]:
        return updates(self.train, self.config.batch_tokens, self.config.seed + epoch)

    def divisors(self, items: list[Tokens]) -> int:
        return learned_tokens(items)

    def part_loss(self, items: list[Tokens], divisors: int, counts: bool) -> torch.Tensor:
        return loss_sum(self.model, items, self.device) / divisors * float(counts)

    def evaluate(self) -> float:
        if self.score:
            return self.score(self.language, self.held_out)
        with self.autocast():
            return -reply_loss(self.language, self.validation, self.config.batch_tokens)

    def identity(self) -> dict[str, str]:
        data = repr([(i.ids, i.learn, i.parts) for i in (*self.train, *self.validation)])
        return {"data": hashlib.sha256(data.encode()).hexdigest()[:16], "model": self.start[:16]}

    def learning(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.language.named_parameters() if p.requires_grad}

    def state(self) -> dict[str, torch.Tensor]:
        return {name: p.detach() for name, p in self.learning().items()}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        for name, parameter in self.learning().items():
            parameter.data.copy_(state[name])

    def finish(self) -> None:
        cast_parameters(self.language, self.dtype)
        if self.config.checkpointing:
            switch = getattr(self.language, "activation_checkpointing_disable", None)
            (switch or self.language.gradient_checkpointing_disable)()


def language_precision(config: Adaptation, dtype: torch.dtype, device: torch.device) -> str:
    """The precision to train in; weights that are not bfloat16 are never rounded to it."""
    precision = resolve_precision(config, device)
    if precision == "bfloat16" and dtype != torch.bfloat16:
        if config.precision == "bfloat16":
            raise TrainingError(
                f"The model's weights are {str(dtype).removeprefix('torch.')}, and precision bfloat16 would round them. "
                "Use autocast, or load the model in bfloat16."
            )
        return "autocast"
    return precision


def refuse_shared(model: nn.Module) -> None:
    """Refuse the model that `assets.load_language_model` keeps for everybody."""
    converted_here = Path(model.name_or_path).parent == assets.cache_folder()
    if converted_here and model is assets.load_language_model()[0]:
        raise TrainingError(
            "This model is the one that load_language_model() shares, and training changes a model in place. "
            "Take a copy: model, tokenizer = fresh_language_model()."
        )


def cast_parameters(model: nn.Module, dtype: torch.dtype) -> None:
    """Change the number type of the weights alone: rotary frequencies are a buffer and lose too much in bfloat16."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def has_adapter(model: nn.Module) -> bool:
    """Whether a model carries an adapter of `peft`."""
    return bool(getattr(model, "peft_config", None))


def learn_everything(model: nn.Module) -> None:
    """Let all weights learn; refuses a model that carries an adapter."""
    if has_adapter(model):
        raise TrainingError("The model carries an adapter; call merge(model) before you train all weights.")
    model.requires_grad_(True)


def attach_adapter(model: nn.Module, config: Adaptation) -> None:
    """Add a fresh adapter, drawn from torch's generator, or go on with the one that is there; only it learns."""
    import peft

    if has_adapter(model):
        there = model.peft_config["default"]
        if (there.r, there.lora_alpha, there.lora_dropout) != (config.rank, config.alpha, config.dropout):
            raise TrainingError(
                f"The model carries an adapter of rank {there.r}, alpha {there.lora_alpha:g} and dropout "
                f"{there.lora_dropout:g}; give the same in the configuration, or call merge(model) first."
            )
    else:
        peft.inject_adapter_in_model(
            peft.LoraConfig(
                task_type="CAUSAL_LM", r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout,
                target_modules=known_targets(model, config.targets), base_model_name_or_path=base_name(model),
            ), model,
        )  # fmt: skip
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)


def known_targets(model: nn.Module, targets: str | Sequence[str]) -> str | list[str]:
    """The targets as peft takes them; `UnknownName` for a layer that the model does not have."""
    if targets == "all-linear":
        return targets
    layers = {name.rsplit(".", 1)[-1] for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    targets = [targets] if isinstance(targets, str) else list(targets)
    for target in targets:
        if target not in layers:
            raise UnknownName("target", target, {*layers, "all-linear"})
    return targets


# --- adapters on disk ----------------------------------------------------------------------------------------


def base_name(model: nn.Module) -> str:
    """What a model is called: the course's own by its name on the hub, another by the last part of its path."""
    path = Path(model.name_or_path)
    if model.name_or_path and path.parent == assets.cache_folder():
        return assets.LANGUAGE_MODEL.hub
    return path.name or model.config.model_type


def weights_sha256(model: nn.Module, adapter: bool = False) -> str:
    """The sha256 of a model's weights as bfloat16, by name; an adapter's own count only if ``adapter`` says so.

    It is that of the weights in memory, so it is the same whatever file they came from and whether they were widened to
    float32 since.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if adapter or "lora_" not in name:
            digest.update(name.replace(".base_layer", "").encode())
            digest.update(parameter.detach().to("cpu", torch.bfloat16).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def data_sha256(examples: Sequence[Example | Family]) -> str:
    """The sha256 of training examples, in order."""
    families = [[e] if isinstance(e, Example) else e for e in examples]
    return hashlib.sha256(json.dumps([[asdict(e) for e in f] for f in families], sort_keys=True).encode()).hexdigest()


def make_card(train: Sequence[Example | Family], config: Adaptation, history: History) -> dict:
    """What `save_adapter` should know of a training: hash of the data, settings, figures."""
    return {
        "data_sha256": data_sha256(train),
        "settings": asdict(config),
        "figures": {"steps": history.steps, "best_epoch": history.best_epoch, "epochs": history.epochs},
    }


def save_adapter(model: nn.Module, folder: str | Path, card: dict) -> Path:
    """Write the adapter that ``model`` carries: two files in peft's own format and ``card.json``; returns the folder.

    The card holds what ``card`` says (see `make_card`), the base model's name and the sha256 of its weights, agentlab's
    version, and the sha256 of the two files. The model may be loaded again by `load_adapter` or by
    ``peft.PeftModel.from_pretrained``. Raises `TrainingError` where there is no adapter or the disk is full.
    """
    import peft
    from safetensors.torch import save

    if not has_adapter(model):
        raise TrainingError("This model carries no adapter. Save a whole model with model.save_pretrained(folder).")
    folder, settings = Path(folder), model.peft_config["default"].to_dict() | {"inference_mode": True}
    tensors = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {PREFIX + name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    files = {WEIGHTS: save(tensors, {"format": "pt"}), SETTINGS: as_json(settings)}
    about = {
        **card,
        "base": {"name": base_name(model), "sha256": weights_sha256(model)},
        "agentlab": __version__,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    write_files(folder, {**files, CARD: as_json(about)})
    return folder


def as_json(value: dict) -> bytes:
    """A dictionary as indented JSON with sorted keys, in UTF-8."""
    return (json.dumps(value, indent=1, sort_keys=True, default=sorted) + "\n").encode()


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write each file under another name first, then rename it; the card comes last and vouches for the others."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            half = folder / f".{name}.{os.getpid()}"
            try:
                half.write_bytes(content)
                os.replace(half, folder / name)
            finally:
                half.unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(f"The adapter in {folder} could not be written ({error}). Free some disk space.") from error


def read_card(folder: str | Path) -> dict:
    """An adapter's card, after a check that its files are whole; `TrainingError` names what is missing or damaged."""
    folder, cure = Path(folder), "Save the adapter again, or fetch it anew."
    for name in (CARD, WEIGHTS, SETTINGS):
        if not (folder / name).is_file():
            raise TrainingError(f"{folder / name} is missing, so there is no adapter to load. {cure}")
    try:
        card = json.loads((folder / CARD).read_bytes())
        expected = {name: card["files"][name] for name in (WEIGHTS, SETTINGS)}
        card["base"]["name"], card["base"]["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{folder / CARD} is damaged ({type(error).__name__}: {error}). {cure}") from None
    for name, sha256 in expected.items():
        if assets.sha256_of(folder / name) != sha256:
            raise TrainingError(f"{folder / name} is damaged or altered: its sha256 is not that of the card. {cure}")
    return card


def load_adapter(folder: str | Path, model: nn.Module | None = None) -> nn.Module:
    """Attach the adapter in ``folder`` to ``model`` in place, or to a fresh copy of the course's language model.

    Returns the model, in evaluation mode; `merge` makes a plain model of it. Raises `TrainingError` for missing or
    damaged files, and for an adapter of another base model, told by the sha256 of its weights.
    """
    import peft
    from safetensors.torch import load_file

    folder, card = Path(folder), read_card(folder)
    model = fresh_language_model()[0] if model is None else model
    refuse_shared(model)
    if has_adapter(model):
        raise TrainingError("The model carries an adapter already. Call merge(model), or take a fresh model.")
    refuse_other_base(folder, card["base"], model)
    peft.inject_adapter_in_model(peft.LoraConfig.from_pretrained(str(folder)), model)
    tensors = {name.removeprefix(PREFIX): t for name, t in load_file(folder / WEIGHTS).items()}
    peft.set_peft_model_state_dict(model, tensors)
    return model.eval()


def refuse_other_base(folder: Path, theirs: dict, model: nn.Module) -> None:
    """Raise `TrainingError` where the model is not the one that the adapter was trained on."""
    ours = weights_sha256(model)
    if ours != theirs["sha256"]:
        raise TrainingError(
            f"The adapter in {folder} belongs to {theirs['name']} (weights {theirs['sha256'][:12]}), not to this "
            f"{base_name(model)} (weights {ours[:12]}). Load the model that it was trained on, or train an adapter for this one."
        )


def merge(model: nn.Module) -> nn.Module:
    """Add the adapter's product to the weights, in place: a plain model of the same number type, nothing attached.

    Raises `TrainingError` where there is no adapter, or where it holds numbers that are not finite.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    if not has_adapter(model):
        raise TrainingError("This model carries no adapter, so there is nothing to merge.")
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, BaseTunerLayer)]
    try:
        for _, layer in layers:
            layer.merge(safe_merge=True)
    except ValueError as error:
        raise TrainingError(
            f"The adapter cannot be merged ({error}). Train it again with a lower learning rate."
        ) from None
    for name, layer in layers:
        model.set_submodule(name, layer.get_base_layer())
    del model.peft_config
    return model
