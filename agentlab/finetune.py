"""Fine-tuning an encoder for intents, spans, or both: one training loop, on Hugging Face Accelerate.

``fit`` trains a `Reader` on encoded messages (`agentlab.encoding.encode`). What makes it fast on two CPU cores, found
by profiling and timed as a whole against its peers in ``benchmarks/finetune.py``: no padding beyond the longest of a bucket, plain attention instead of the fused
kernel (whose CPU version is slow on short texts), bfloat16 weights with a float32 master copy, no gradient for the
embedding table, no dropout inside the encoder. Accelerate places the model, averages gradients over processes and
keeps the logs, so ``accelerate launch`` runs the same code on several GPUs or machines.

Not covered: data that does not fit into memory, models sharded over devices.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from agentlab.encoding import Encoded, collate, length_buckets
from agentlab.errors import AgentLabError, UnknownName
from agentlab.losses import IGNORE


class TrainingError(AgentLabError):
    """A training that cannot begin or go on: says which step, and what would help."""


# --- what a training is --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Schedule:
    """What decides how any training goes, whatever is trained; equal ones on equal data give equal weights.

    ``precision`` is float32, autocast (bfloat16, or float16 with a scaler on GPUs without it), bfloat16 (weights in
    bfloat16 with a float32 master copy) or auto. ``accumulation`` splits each batch into that many parts to save memory.
    """

    epochs: int = 5
    learning_rate: float = 1e-4
    optimizer: str = "adamw"  # or sgd
    weight_decay: float = 0.01
    schedule: str = "linear"  # or cosine, constant
    warmup: float = 0.1  # share of all steps
    clip: float = 1.0
    precision: str = "auto"
    accumulation: int = 1
    checkpointing: bool = False
    compile: bool = False
    patience: int = 0  # epochs without improvement before it stops; 0: never
    seed: int = 0

    def __post_init__(self):
        for name, allowed in {
            "optimizer": ("adamw", "sgd"),
            "schedule": ("linear", "cosine", "constant"),
            "precision": ("auto", "float32", "autocast", "bfloat16"),
        }.items():
            if getattr(self, name) not in allowed:
                raise UnknownName(name, getattr(self, name), allowed)
        self.at_least_one("epochs", "accumulation")

    def at_least_one(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; it must be at least 1.")


@dataclass(frozen=True)
class Config(Schedule):
    """Everything that decides how the training of a `Reader` goes.

    ``freeze`` counts from below: 0 trains everything, 1 freezes the embedding table, 1 + k also the first k layers, and
    "encoder" everything but the heads. ``gradual`` sets one more layer free at each epoch, from the top.
    """

    batch_size: int = 32
    head_learning_rate: float = 1e-3
    layer_decay: float = 1.0  # each layer learns this much slower than the one above
    dropout: float = 0.1  # before the heads
    encoder_dropout: float = 0.0
    label_smoothing: float = 0.0
    class_weights: bool = False
    freeze: int | str = 1
    gradual: bool = False

    def __post_init__(self):
        super().__post_init__()
        self.at_least_one("batch_size")
        if self.freeze != "encoder" and not (isinstance(self.freeze, int) and self.freeze >= 0):
            raise TrainingError(f'freeze is {self.freeze!r}; give a number of blocks from below, or "encoder".')


class Reader(nn.Module):
    """An encoder with a head for intents, a head for tags, or both.

    ``forward`` takes ids and mask of shape (B, T) and returns ``{"intents": (B, C), "tags": (B, T, K)}``, each only
    where there is a head. Intents are read from the mean over the real tokens, or from the first token.
    """

    def __init__(
        self, encoder: nn.Module, intents: Sequence[str] = (), tags: Sequence[str] = (), pooling: str = "mean"
    ):
        super().__init__()
        if not intents and not tags:
            raise TrainingError("A Reader needs intents, tags, or both; got neither.")
        if pooling not in ("mean", "first"):
            raise UnknownName("pooling", pooling, ("mean", "first"))
        self.encoder, self.intents, self.tags, self.pooling = encoder, tuple(intents), tuple(tags), pooling
        width = encoder.config.hidden_size
        self.dropout = nn.Dropout(0.1)
        self.intent_head = nn.Linear(width, len(intents)) if intents else None
        self.tag_head = nn.Linear(width, len(tags)) if tags else None

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        on_cpu = attention_mask.device.type == "cpu"  # elsewhere the question would wait for the device at every step
        mask = None if on_cpu and bool(attention_mask.all()) else attention_mask
        hidden = self.encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state  # (B, T, D)
        outputs = {}
        if self.intent_head is not None:
            if self.pooling == "mean":
                weights = attention_mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
                pooled = (hidden * weights).sum(1) / weights.sum(1)  # (B, D)
            else:
                pooled = hidden[:, 0]
            outputs["intents"] = self.intent_head(self.dropout(pooled)).float()
        if self.tag_head is not None:
            outputs["tags"] = self.tag_head(self.dropout(hidden)).float()
        return outputs


class FusedAttention(nn.Module):
    """BERT's self-attention with query, key and value from one matrix product instead of three; the same numbers.

    For short texts three small products cost more than one large one. It stands in for transformers'
    `BertSelfAttention`, takes over its weights, and obeys ``config._attn_implementation`` (eager or sdpa).
    """

    def __init__(self, attention: nn.Module):
        super().__init__()
        parts = (attention.query, attention.key, attention.value)
        self.config, self.heads, self.scaling = attention.config, attention.num_attention_heads, attention.scaling
        self.dropout = attention.dropout
        self.qkv = nn.Linear(parts[0].in_features, 3 * parts[0].out_features)
        with torch.no_grad():
            self.qkv.weight.copy_(torch.cat([p.weight for p in parts]))
            self.qkv.bias.copy_(torch.cat([p.bias for p in parts]))
        self.train(attention.training)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **_) -> tuple:
        B, T, _ = hidden_states.shape
        q, k, v = self.qkv(hidden_states).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each (B, H, T, D / H)
        if self.config._attn_implementation == "sdpa":
            drop = self.dropout.p if self.training else 0.0
            mixed = F.scaled_dot_product_attention(q, k, v, attention_mask, drop, scale=self.scaling)
        else:
            scores = (q * self.scaling) @ k.transpose(-1, -2)  # (B, H, T, T)
            if attention_mask is not None:
                scores = scores + attention_mask
            mixed = self.dropout(scores.softmax(-1)) @ v
        return mixed.transpose(1, 2).reshape(B, T, -1), None


def fuse_attention(encoder: nn.Module) -> None:
    """Put `FusedAttention` in the place of every `BertSelfAttention`; other encoders stay as they are."""
    from transformers.models.bert.modeling_bert import BertSelfAttention

    for module in list(encoder.modules()):
        if isinstance(getattr(module, "self", None), BertSelfAttention):
            module.self = FusedAttention(module.self)


def new_reader(
    intents: Sequence[str] = (), tags: Sequence[str] = (), pooling: str = "mean", seed: int = 0, fused: bool = True
) -> Reader:
    """A `Reader` on a fresh copy of the course's encoder, with heads drawn from ``seed``.

    ``fused`` computes query, key and value in one product (`FusedAttention`).
    """
    import transformers

    from agentlab.assets import load_encoder

    source, _ = load_encoder()
    config = type(source.config).from_dict(source.config.to_dict())
    config._attn_implementation = "eager"  # on short texts the fused CPU kernel is slower, above all backwards
    encoder = transformers.AutoModel.from_config(config)
    encoder.load_state_dict(source.state_dict())
    if hasattr(encoder, "pooler"):
        encoder.pooler = None  # its weights were never trained for this, and nothing reads it
    if fused:
        fuse_attention(encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Reader(encoder, intents, tags, pooling)


@dataclass
class History:
    """What happened: a row per epoch, and why it ended. ``seconds`` is the time of the steps, without evaluation."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    examples: int = 0
    tokens: int = 0
    stopped: str = ""
    best_epoch: int = -1
    notes: list[str] = field(default_factory=list)

    @property
    def examples_per_second(self) -> float:
        return self.examples / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


# --- loss ----------------------------------------------------------------------------------------------------


def class_weights(items: Sequence[Encoded], classes: int) -> torch.Tensor:
    """Weights (C,) that make every intent count alike: N / (C n_c). Raises `TrainingError` for an empty class."""
    counts = torch.bincount(torch.tensor([i.intent for i in items if i.intent != IGNORE]), minlength=classes)
    if (counts == 0).any():
        empty = int((counts == 0).nonzero()[0])
        raise TrainingError(f"Class {empty} has no example in the training data, so it cannot be weighted.")
    return counts.sum() / (classes * counts.float())


def loss_parts(batch: dict, weights: torch.Tensor | None, reader: Reader) -> tuple[float, float]:
    """What the sums of the two losses are divided by, over the whole batch: weight of its intents, number of its tags."""
    intents = batch["intents"][batch["intents"] != IGNORE]
    by_intent = float(weights[intents].sum()) if weights is not None else float(len(intents))
    return (by_intent if reader.intent_head is not None else 0.0), float((batch["labels"] != IGNORE).sum())


def joint_loss(
    outputs: dict, batch: dict, parts: tuple[float, float], smoothing: float, weights: torch.Tensor | None
) -> torch.Tensor:
    """The mean intent loss plus the mean tag loss of a batch; given a piece of it, that piece's share of both."""
    loss = sum(o.sum() for o in outputs.values()) * 0.0
    if "intents" in outputs and parts[0]:
        loss = loss + F.cross_entropy(
            outputs["intents"], batch["intents"], weights, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing
        ) / parts[0]  # fmt: skip
    if "tags" in outputs and parts[1]:
        loss = loss + F.cross_entropy(
            outputs["tags"].flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORE, reduction="sum"
        ) / parts[1]  # fmt: skip
    return loss


# --- optimizer -----------------------------------------------------------------------------------------------


def set_frozen(reader: Reader, freeze: int | str) -> None:
    """Freeze blocks from below (see `Config.freeze`); all others learn."""
    layers = reader.encoder.encoder.layer
    blocks = [reader.encoder.embeddings, *layers]
    frozen = len(blocks) if freeze == "encoder" else int(freeze)
    if frozen > len(blocks):
        raise TrainingError(
            f"freeze is {freeze}, but the encoder has {len(blocks)} blocks: embeddings and {len(layers)} layers."
        )
    for number, block in enumerate(blocks):
        block.requires_grad_(number >= frozen)


def switch_on_checkpointing(encoder: nn.Module) -> None:
    """Keep only the layers' inputs for the backward pass and compute the rest again; the name changed in transformers 5."""
    switch = getattr(encoder, "activation_checkpointing_enable", None) or encoder.gradient_checkpointing_enable
    switch()


def parameter_groups(reader: Reader, config: Config) -> list[dict]:
    """Learning rates by depth; weight decay on matrices only, never on biases and norms."""
    depth = {id(p): 0 for p in reader.encoder.embeddings.parameters()}
    for number, layer in enumerate(reader.encoder.encoder.layer, start=1):
        depth.update({id(p): number for p in layer.parameters()})
    top, groups = max(depth.values()), {}
    for parameter in reader.parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in depth:
            rate = config.learning_rate * config.layer_decay ** (top - depth[id(parameter)])
        else:
            rate = config.head_learning_rate
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        group = groups.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())


class MasterWeights:
    """An optimizer over float32 copies of low-precision parameters: gradients go up, weights come down."""

    def __init__(self, groups: list[dict], make: Callable[[list[dict]], torch.optim.Optimizer]):
        self.low = [p for g in groups for p in g["params"]]
        self.high = [p.detach().float().clone() for p in self.low]
        copies = iter(self.high)
        self.inner = make([{**g, "params": [next(copies) for _ in g["params"]]} for g in groups])

    def step(self) -> None:
        self.inner.step()
        torch._foreach_copy_([p.data for p in self.low], self.high)

    def raise_gradients(self) -> list[torch.Tensor]:
        """Copy the gradients to float32 and free the low ones; returns the parameters to be clipped."""
        for low, high in zip(self.low, self.high, strict=True):
            high.grad = None if low.grad is None else low.grad.float()
            low.grad = None
        return self.high


def build_optimizer(groups: list[dict], config: Schedule) -> torch.optim.Optimizer:
    """AdamW, fused where the device has it, or SGD with momentum."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def rate_factor(config: Schedule, step: int, steps: int) -> float:
    """What every learning rate is multiplied by at a step: warm-up, then the schedule down to 0."""
    warm = max(1, round(config.warmup * steps)) if config.warmup else 0
    if step < warm:
        return (step + 1) / warm
    if config.schedule == "constant":
        return 1.0
    progress = (step - warm) / max(1, steps - warm)
    return 1 - progress if config.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2


# --- the loop ------------------------------------------------------------------------------------------------


def resolve_precision(config: Schedule, device: torch.device) -> str:
    """What auto means on this device: bfloat16 weights where it computes them, else autocast or float32."""
    from agentlab.device import training_dtype

    if config.precision != "auto":
        return config.precision
    dtype = training_dtype(device)
    return {torch.bfloat16: "bfloat16", torch.float16: "autocast"}.get(dtype, "float32")


def fit(
    reader: Reader,
    train: Sequence[Encoded],
    validation: Sequence[Encoded] = (),
    config: Config | None = None,
    *,
    folder: str | Path | None = None,
    score: Callable[[Reader, Sequence[Encoded]], float] | None = None,
    on_epoch: Callable[[dict], None] | None = None,
    trackers: Sequence[str] = (),
    bar: bool = True,
    save_every: int = 0,
    on_step: Callable[[dict], Any] | None = None,
) -> History:
    """Train ``reader`` in place and return what happened; the best weights on ``validation`` are restored at the end.

    ``score`` says how good a reader is (larger is better; by default minus the validation loss). With ``folder`` a
    checkpoint is written after every epoch and every ``save_every`` steps, and a training that was interrupted goes on
    where it was; a checkpoint of other data or another configuration is refused. ``trackers`` names Accelerate's
    trackers, such as tensorboard or wandb. ``on_step`` is told of every step (see `Training.step_row`); where it gives something
    true the training stops, and the best weights of the epochs that were finished are kept, or those of now before the first
    was.
    Raises `TrainingError` for data that does not fit the reader and for a loss that is not a number.
    """
    from agentlab.device import release_memory

    training = Training(reader, train, validation, config, folder, score, on_epoch, trackers, bar, save_every, on_step)
    history = training.run()
    del training
    release_memory()
    return history


class Training:
    """One run of `fit`: what it holds while it goes.

    What is particular to a `Reader` stands in methods of its own, from `check` to `finish`; a training of something else
    overrides them, as `agentlab.adapt.LanguageTraining` does.
    """

    new_config = Config
    unit, memory_cure = "message", "Freeze more layers, switch on checkpointing, or use a smaller encoder."

    def __init__(
        self, reader, train, validation=(), config=None, folder=None, score=None, on_epoch=None, trackers=(), bar=True,
        save_every=0, on_step=None,
    ):  # fmt: skip
        from accelerate import Accelerator

        config = config or self.new_config()
        self.reader, self.train, self.validation, self.config = reader, list(train), list(validation), config
        self.score, self.on_epoch, self.bar, self.save_every = score, on_epoch, bar, save_every
        self.on_step, self.stopping, self.cut_short = on_step, False, False
        self.folder = Path(folder) if folder else None
        self.check()
        for name in trackers:
            require_tracker(name)
        self.accelerator = Accelerator(
            log_with=list(trackers) or None, project_dir=str(self.folder) if self.folder else None
        )
        self.trackers, self.device = trackers, self.accelerator.device
        self.precision = resolve_precision(config, self.device)
        self.parts, self.history, self.best = config.accumulation, History(), None
        self.epoch = self.batch_number = self.patience = 0
        self.best_score = -math.inf

    # --- what is particular to a reader ---

    def check(self) -> None:
        """Refuse data and settings that do not fit what is trained."""
        check_data(self.reader, self.train)
        if self.config.gradual and self.folder:
            raise TrainingError("gradual unfreezing and checkpoints do not go together; leave out one of them.")

    def set_up(self) -> None:
        """Make what is trained ready: what learns, dropout, device and number type."""
        config, encoder = self.config, self.reader.encoder
        weights = class_weights(self.train, len(self.reader.intents)) if config.class_weights else None
        self.weights = weights.to(self.device) if weights is not None else None
        self.reader.dropout.p = config.dropout
        for module in encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = config.encoder_dropout
        set_frozen(self.reader, self.freeze_now())
        if config.checkpointing:
            switch_on_checkpointing(encoder)
        self.reader.to(self.device)
        if self.precision == "bfloat16":
            self.reader.to(torch.bfloat16)

    def freeze_now(self) -> int | str:
        if not self.config.gradual:
            return self.config.freeze
        lowest = 0 if self.config.freeze == "encoder" else int(self.config.freeze)
        return max(lowest, len(self.reader.encoder.encoder.layer) + 1 - self.epoch)

    def begin_epoch(self) -> None:
        if self.config.gradual and self.epoch:
            set_frozen(self.reader, self.freeze_now())
            self.new_optimizer()

    def groups(self) -> list[dict]:
        """What learns, with learning rates and weight decay."""
        return parameter_groups(self.reader, self.config)

    def batches(self, epoch: int) -> list[list[int]]:
        """The numbers of the items of each update of an epoch."""
        lengths = [len(item) for item in self.train]
        return list(length_buckets(lengths, self.config.batch_size, self.config.seed + epoch))

    def divisors(self, items: list) -> Any:
        """What the losses of a whole batch are divided by, so that parts of it add up to its mean."""
        whole = {
            "intents": torch.tensor([i.intent for i in items]),
            "labels": torch.tensor([x for i in items for x in i.labels]),
        }
        weights = self.weights.cpu() if self.weights is not None else None
        return loss_parts(whole, weights, self.reader)

    def part_loss(self, items: list, divisors: Any, counts: bool) -> torch.Tensor:
        """The share of these items in the loss of their batch; zero, but with gradients, where they do not count."""
        batch = {k: v.to(self.device) for k, v in collate(items).items()}
        if not counts:
            batch["intents"][:], batch["labels"][:] = IGNORE, IGNORE
        outputs = self.model(batch["input_ids"], batch["attention_mask"])
        return joint_loss(outputs, batch, divisors, self.config.label_smoothing, self.weights)

    def evaluate(self) -> float:
        """How good it is on the validation data; larger is better."""
        return (self.score or minus_loss)(self.reader, self.validation)

    def identity(self) -> dict[str, str]:
        """Hashes of the data and of what is trained."""
        data = hashlib.sha256(repr([(i.ids, i.labels, i.intent) for i in (*self.train, *self.validation)]).encode())
        heads = (self.reader.intents, self.reader.tags, self.reader.pooling, self.accelerator.num_processes)
        return {
            "data": data.hexdigest()[:16],
            "reader": hashlib.sha256(repr(heads).encode()).hexdigest()[:16],
        }

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors that a checkpoint and the best epoch keep."""
        return self.reader.state_dict()

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.reader.load_state_dict(state)

    def finish(self) -> None:
        """Leave what was trained as its user expects it."""
        self.reader.to(torch.float32)

    # --- set up ---

    def prepare(self) -> None:
        config = self.config
        torch.manual_seed(config.seed)
        self.set_up()
        self.new_optimizer()
        from agentlab.device import training_dtype

        dtype = training_dtype(self.device)
        self.low = torch.bfloat16 if dtype == torch.float32 else dtype
        self.scaler = torch.amp.GradScaler(enabled=self.precision == "autocast" and self.low == torch.float16)
        self.model = self.accelerator.prepare_model(self.reader) if self.accelerator.num_processes > 1 else self.reader
        if config.compile:
            self.model = torch.compile(self.model, dynamic=True)
        self.steps = sum(len(self.batches(epoch)) for epoch in range(config.epochs))
        if self.trackers:
            self.accelerator.init_trackers("agentlab", config=asdict(config))

    # --- run ---

    def run(self) -> History:
        self.prepare()
        self.resume()
        with self.progress() as bar:
            while self.epoch < self.config.epochs:
                self.one_epoch(bar)
                if self.cut_short or self.end_epoch() or self.stopping:
                    break
        if self.stopping:
            self.note_stop()
        if self.best is not None:
            self.load_state(self.best)
        self.finish()
        if self.trackers:
            self.accelerator.end_training()
        self.reader.eval()
        return self.history

    def progress(self):
        if os.environ.get("AGENTLAB_HEADLESS"):  # a bar that is a widget would be stored in the notebook
            from tqdm import tqdm
        else:
            from tqdm.auto import tqdm

        shown = self.bar and self.accelerator.is_local_main_process
        return tqdm(total=self.steps, initial=self.history.steps, desc="training", unit="step", disable=not shown)

    def one_epoch(self, bar) -> None:
        self.model.train()
        self.begin_epoch()
        batches = self.batches(self.epoch)
        if not self.batch_number:
            self.loss_sum = 0.0
        for number in range(self.batch_number, len(batches)):
            began = time.perf_counter()
            loss = self.one_step(batches[number])
            self.history.seconds += time.perf_counter() - began
            self.loss_sum += loss
            self.batch_number = number + 1
            self.history.steps += 1
            self.history.examples += len(batches[number])
            self.history.tokens += sum(len(self.train[i]) for i in batches[number])
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if self.folder and self.save_every and self.history.steps % self.save_every == 0:
                self.save()
            if self.on_step and self.on_step(self.step_row(loss)):
                self.stopping, self.cut_short = True, self.batch_number < len(batches)
                if self.cut_short:
                    return
        self.train_loss = self.loss_sum / len(batches)

    def step_row(self, loss: float) -> dict[str, float]:
        """What `on_step` is told: step of steps, epoch (from 1), loss, learning rate, items so far, seconds of the steps."""
        return {
            "step": self.history.steps, "steps": self.steps, "epoch": self.epoch + 1, "loss": loss,
            "learning_rate": max(g["lr"] for g in self.optimizer.param_groups),
            "examples": self.history.examples, "seconds": self.history.seconds,
        }  # fmt: skip

    def note_stop(self) -> None:
        """After `on_step` asked for an end: keep a checkpoint to go on from, and say where that was."""
        if self.folder and self.cut_short:
            self.save()
        kept = f"best was epoch {self.history.best_epoch}" if self.best is not None else "the weights are those of now"
        self.history.stopped = f"asked to stop in step {self.history.steps} of {self.steps}; {kept}"

    def one_step(self, rows: list[int]) -> float:
        """One update on these messages. Where memory is short, the batch is cut into more parts and tried again."""
        factor = rate_factor(self.config, self.history.steps, self.steps)
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        state = torch.get_rng_state()
        while True:
            try:
                loss = self.gradients(rows)
                break
            except (torch.cuda.OutOfMemoryError, MemoryError):
                if self.parts >= len(rows):
                    raise TrainingError(
                        f"Out of memory in step {self.history.steps + 1}, even with one {self.unit} at a time. "
                        f"{self.memory_cure}"
                    ) from None
                self.parts *= 2
                self.note(f"Out of memory: each batch now goes in {self.parts} parts; the result stays the same.")
                self.clear_gradients()
                torch.set_rng_state(state)
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss} in step {self.history.steps + 1} of {self.steps}. "
                f"Lower the learning rate ({self.config.learning_rate:g}), lengthen the warm-up, or use precision float32."
            )
        self.update()
        return loss

    def gradients(self, rows: list[int]) -> float:
        """Gradients of the mean loss over these items, part by part; returns that loss."""
        items = [self.train[i] for i in rows]
        divisors = self.divisors(items)
        mine = items[self.accelerator.process_index :: self.accelerator.num_processes]
        size, total = math.ceil(max(1, len(mine)) / self.parts), 0.0
        for start in range(0, max(1, len(mine)), size):
            piece = mine[start : start + size] or items[:1]
            with self.autocast():  # fewer items than processes: take part with a loss of zero
                loss = self.part_loss(piece, divisors, counts=bool(mine))
            loss = loss * self.accelerator.num_processes  # DDP takes the mean over processes
            (self.scaler.scale(loss) if self.scaler.is_enabled() else loss).backward()
            total += loss.detach().float()
        total = self.accelerator.reduce(total, "mean") if self.accelerator.num_processes > 1 else total
        return float(total)

    def update(self) -> None:
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        if self.master:
            torch.nn.utils.clip_grad_norm_(self.master.raise_gradients(), self.config.clip or math.inf)
            self.master.step()
        else:
            learning = [p for g in self.optimizer.param_groups for p in g["params"]]
            torch.nn.utils.clip_grad_norm_(learning, self.config.clip or math.inf)
            self.scaler.step(self.optimizer) if self.scaler.is_enabled() else self.optimizer.step()
            self.scaler.update() if self.scaler.is_enabled() else None
        self.clear_gradients()

    def clear_gradients(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        for parameter in self.reader.parameters():
            parameter.grad = None

    def autocast(self):
        return torch.autocast(self.device.type, self.low) if self.precision == "autocast" else nullcontext()

    def new_optimizer(self) -> None:
        """An optimizer over what learns now; its memory starts afresh."""
        groups = self.groups()
        if self.precision == "bfloat16":
            self.master = MasterWeights(groups, lambda g: build_optimizer(g, self.config))
            self.optimizer = self.master.inner
        else:
            self.master, self.optimizer = None, build_optimizer(groups, self.config)
        self.base_rates = [g["lr"] for g in self.optimizer.param_groups]

    def end_epoch(self) -> bool:
        """Evaluate, keep the best, write a checkpoint; True when patience has run out."""
        row = {"epoch": self.epoch + 1, "train_loss": self.train_loss}
        if self.validation:
            self.reader.eval()
            row["score"] = float(self.evaluate())
            if row["score"] > self.best_score:
                self.best_score, self.history.best_epoch, self.patience = row["score"], self.epoch + 1, 0
                self.best = {k: v.detach().clone() for k, v in self.state().items()}
            else:
                self.patience += 1
        self.history.epochs.append(row)
        if self.trackers:
            self.accelerator.log(row, step=self.history.steps)
        if self.on_epoch:
            self.on_epoch(row)
        self.epoch, self.batch_number = self.epoch + 1, 0
        done = bool(self.config.patience and self.patience >= self.config.patience)
        if done:
            self.history.stopped = (
                f"no improvement for {self.patience} epochs; best was epoch {self.history.best_epoch}"
            )
        if self.folder:
            self.save(done)
        return done

    def note(self, text: str) -> None:
        self.history.notes.append(text)
        self.accelerator.print(text)

    # --- checkpoints ---

    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree with: the configuration, field by field, and hashes of data and model."""
        return {
            **{f.name: repr(getattr(self.config, f.name)) for f in fields(self.config)},
            **self.identity(),
            "precision in use": self.precision,
        }

    def save(self, done: bool = False) -> None:
        """Write everything that the next step depends on into one file, under another name first."""
        from safetensors.torch import save_file

        if not self.accelerator.is_main_process:
            return
        tensors = {f"reader.{k}": v for k, v in self.state().items()}
        tensors |= {f"best.{k}": v for k, v in (self.best or {}).items()}
        if self.master:
            tensors |= {f"master.{n}": t for n, t in enumerate(self.master.high)}
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{k}": v for k, v in values.items() if isinstance(v, torch.Tensor)}
        tensors["random"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        facts = {
            "epoch": self.epoch, "batch_number": self.batch_number, "patience": self.patience, "parts": self.parts,
            "best_score": self.best_score, "loss_sum": getattr(self, "loss_sum", 0.0), "done": done,
            "scaler": self.scaler.state_dict(), "history": asdict(self.history),
        }  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        half = self.folder / f".checkpoint.{os.getpid()}"
        try:
            about = {"fingerprint": json.dumps(self.fingerprint()), "facts": json.dumps(facts)}
            save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, half, about)
            os.replace(half, self.folder / "checkpoint.safetensors")
        except OSError as error:
            raise TrainingError(
                f"The checkpoint in {self.folder} could not be written ({error}). Free some disk space."
            ) from error
        finally:
            half.unlink(missing_ok=True)

    def resume(self) -> None:
        path = self.folder / "checkpoint.safetensors" if self.folder else None
        if path is None or not path.is_file():
            return
        tensors, about = read_checkpoint(path)
        theirs, ours = json.loads(about["fingerprint"]), self.fingerprint()
        different = [f"{k}: {theirs.get(k)} there, {ours[k]} here" for k in ours if theirs.get(k) != ours[k]]
        if different:
            raise TrainingError(
                f"{path} belongs to another training ({'; '.join(different)}). "
                "Choose another folder, or delete the file to begin anew."
            )
        facts = json.loads(about["facts"])

        def named(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.load_state(named("reader."))
        self.best = named("best.") or None
        if self.master:
            for number, high in enumerate(self.master.high):
                high.copy_(tensors[f"master.{number}"])
        state: dict[int, dict] = {}
        for key, value in named("optimizer.").items():
            number, name = key.split(".", 1)
            state.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        torch.set_rng_state(tensors["random"])
        if "random.cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(facts["scaler"])
        self.epoch, self.batch_number, self.patience = facts["epoch"], facts["batch_number"], facts["patience"]
        self.parts, self.best_score, self.loss_sum = facts["parts"], facts["best_score"], facts["loss_sum"]
        self.history = History(**facts["history"])
        if facts["done"]:
            self.epoch = self.config.epochs


def read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the notes of a checkpoint; `TrainingError` where the file is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, file.metadata()  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path} cannot be read ({error}). Delete it to begin anew.") from None


# --- data, scores, predictions -------------------------------------------------------------------------------


def check_data(reader: Reader, items: Sequence[Encoded]) -> None:
    """Refuse training data that does not fit the reader, with the number of the message."""
    if not items:
        raise TrainingError("There is nothing to train on: the list of messages is empty.")
    longest = reader.encoder.config.max_position_embeddings
    for number, item in enumerate(items):
        if len(item) > longest:
            raise TrainingError(
                f"Message {number} has {len(item)} tokens; the encoder reads at most {longest}. Set max_tokens in encode()."
            )
        if reader.intent_head is not None and item.intent != IGNORE and not 0 <= item.intent < len(reader.intents):
            raise TrainingError(
                f"Message {number} has intent {item.intent}; the reader knows 0 to {len(reader.intents) - 1}."
            )
        if reader.tag_head is not None and any(x != IGNORE and not 0 <= x < len(reader.tags) for x in item.labels):
            raise TrainingError(f"Message {number} has a tag outside 0 to {len(reader.tags) - 1}.")
    if reader.intent_head is not None and reader.tag_head is None and all(i.intent == IGNORE for i in items):
        raise TrainingError("No message has an intent, so the intent head has nothing to learn from.")


def require_tracker(name: str) -> None:
    """Refuse a tracker whose package is not installed, with the command that installs it."""
    import importlib.util

    if name not in ("tensorboard", "wandb"):
        raise UnknownName("tracker", name, ("tensorboard", "wandb"))
    if importlib.util.find_spec(name) is None and not (
        name == "tensorboard" and importlib.util.find_spec("tensorboardX")
    ):
        raise TrainingError(
            f"The tracker {name} is not installed. Install it with `pip install {name}`, or leave it out."
        )


def batches_by_length(items: Sequence[Encoded], batch_size: int) -> Iterator[tuple[list[int], dict]]:
    """All messages, shortest first, with their numbers: the least padding there can be."""
    order = sorted(range(len(items)), key=lambda i: len(items[i]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, collate([items[i] for i in rows])


@torch.inference_mode()
def predict(reader: Reader, items: Sequence[Encoded], batch_size: int = 64, exact: bool = True) -> dict[str, Any]:
    """Logits for every message, in order: ``intents`` (N, C), and ``tags``, a list of (T_i, K).

    ``exact=False`` computes in bfloat16 where the device can: faster, good enough for a score, and a little dependent on
    what else is in the batch.
    """
    from agentlab.device import training_dtype

    if reader.training:  # eval() walks through every module, which one message would feel
        reader.eval()
    device = next(reader.parameters()).device
    low = training_dtype(device)
    quicker = not exact and low != torch.float32
    intents = torch.zeros(len(items), len(reader.intents))
    tags: list[Any] = [None] * len(items)
    for rows, batch in batches_by_length(items, batch_size):
        with torch.autocast(device.type, low) if quicker else nullcontext():
            outputs = reader(batch["input_ids"].to(device), batch["attention_mask"].to(device))
        if "intents" in outputs:
            intents[rows] = outputs["intents"].cpu()
        if "tags" in outputs:
            for place, i in enumerate(rows):
                tags[i] = outputs["tags"][place, : len(items[i])].cpu()
    return {"intents": intents, "tags": tags}


def minus_loss(reader: Reader, items: Sequence[Encoded]) -> float:
    """Minus the mean validation loss, intents and tags together."""
    outputs, total = predict(reader, items), 0.0
    intents = torch.tensor([i.intent for i in items])
    if reader.intent_head is not None and (intents != IGNORE).any():
        total += float(F.cross_entropy(outputs["intents"], intents, ignore_index=IGNORE))
    if reader.tag_head is not None:
        labels = torch.tensor([x for i in items for x in i.labels])
        total += float(F.cross_entropy(torch.cat(outputs["tags"]), labels, ignore_index=IGNORE))
    return -total


def intent_accuracy(reader: Reader, items: Sequence[Encoded]) -> float:
    """Share of the messages that have one intent whose intent is found."""
    known = [i for i in items if i.intent != IGNORE]
    guess = predict(reader, known, exact=False)["intents"].argmax(1)
    return float((guess == torch.tensor([i.intent for i in known])).float().mean())


def find_learning_rate(
    reader: Reader,
    train: Sequence[Encoded],
    config: Config | None = None,
    low: float = 1e-6,
    high: float = 1e-2,
    steps: int = 60,
) -> tuple[list[float], list[float], float]:
    """Raise the rate step by step on a copy of the reader: rates, smoothed losses, and a rate to begin with.

    The suggestion is the rate at which the loss falls most steeply. Source: L. Smith, arXiv:1506.01186.
    """
    import copy
    import itertools

    config = config or Config()
    training = Training(copy.deepcopy(reader), train, config=config)
    training.prepare()
    training.model.train()
    rates, losses, smooth = [], [], 0.0
    lengths = [len(i) for i in train]
    batches = itertools.chain.from_iterable(
        length_buckets(lengths, config.batch_size, seed) for seed in itertools.count()
    )
    for step, rows in zip(range(steps), batches, strict=False):
        rate = low * (high / low) ** (step / (steps - 1))
        for group in training.optimizer.param_groups:
            group["lr"] = rate
        loss = training.gradients(rows)
        training.update()
        smooth = 0.9 * smooth + 0.1 * loss
        corrected = smooth / (1 - 0.9 ** (step + 1))
        if not math.isfinite(loss) or (losses and corrected > 4 * min(losses)):
            break
        rates.append(rate)
        losses.append(corrected)
    falls = [losses[i + 1] - losses[i] for i in range(len(losses) - 1)]
    return rates, losses, rates[min(range(len(falls)), key=falls.__getitem__)]
