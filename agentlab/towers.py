"""Two towers that read: what a customer did, as lines of text, and a product, as its text, end as vectors that are compared.

Both towers share one encoder. The user tower adds up the vectors of the lines, each weighted by its kind and its age; so a score is
a sum over lines, and why something was recommended can be read off exactly (`Recommender.why`). Training (`train`) runs on
`finetune.Training`: a batch of (history, next click) pairs, the clicks of the other pairs as negatives, corrected by how often
each product is drawn. First the two small matrices above the encoder learn, on vectors that are computed once; then the encoder's
upper layers learn with them, while what the frozen lower layers make of each text is computed once as well.
Sources: Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item recommendations"; Kumar et al. 2022,
arXiv:2202.10054, for heads first.

Not covered: attention between lines, products that change, catalogues whose texts do not fit into memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from agentlab import assets, corpus, finetune
from agentlab.behaviour import CLICK, TRAIN_DAYS, Log, World, simulate
from agentlab.catalogue import Product, load_products, recommend_folder
from agentlab.errors import AgentLabError
from agentlab.recommend import LINE_KINDS, History, Line, histories

MAX_TOKENS = 40
LINES = 24  # the newest lines of a history that are read
FORMAT = 1  # of the saved files


@dataclass(frozen=True)
class TowersConfig(finetune.Schedule):
    """What decides how the towers are trained. ``freeze`` counts blocks from below, as in `finetune.Config`.

    ``correction`` subtracts log q of each negative, q the share of its product among the targets. ``heads_steps`` updates
    of the matrices come before the encoder learns; with ``encoder`` False it stays as it is.
    """

    epochs: int = 1
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-3
    batch_size: int = 512
    heads_steps: int = 400
    encoder: bool = True
    pairs: int = 12288  # per epoch of the encoder; 0: all there are
    temperature: float = 0.2
    correction: bool = True
    freeze: int = 6
    warmup: float = 0.1
    schedule: str = "cosine"

    def __post_init__(self):
        super().__post_init__()
        self.at_least_one("batch_size")


FULL = TowersConfig()
QUICK = TowersConfig(epochs=1, pairs=1024, heads_steps=150, learning_rate=3e-5)  # for tests and a first look
WEIGHTS_RATE = 20.0  # how much faster the weights of lines learn than the matrices
HEADS_RATE = 5.0  # how much faster the matrices learn than the encoder, where they learn together


@dataclass(frozen=True)
class Pair:
    """A history as numbers of texts and kinds, the oldest line first, and the product that was clicked next."""

    texts: tuple[int, ...]
    kinds: tuple[int, ...]
    target: int

    def __len__(self) -> int:
        return len(self.texts)


class TwoTowers(nn.Module):
    """An encoder, a weight per kind of line, how fast lines fade, and a matrix for each tower."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        width = encoder.config.hidden_size
        self.encoder = encoder
        self.kind = nn.Parameter(torch.ones(len(LINE_KINDS)))
        self.fading = nn.Parameter(torch.tensor(-3.0))  # log of what a line loses per line that came after it
        self.line, self.product = (nn.Linear(width, width, bias=False) for _ in range(2))
        with torch.no_grad():
            self.line.weight.copy_(torch.eye(width))
            self.product.weight.copy_(torch.eye(width))

    def line_weights(self, kinds: torch.Tensor) -> torch.Tensor:
        """The weight of each line (B, L) by kind and age; kind -1 is padding and weighs 0. The newest line stands last."""
        age = torch.arange(kinds.shape[1] - 1, -1, -1, device=kinds.device)
        fading = torch.exp(-torch.exp(self.fading.float()) * age)
        return torch.where(kinds >= 0, self.kind.float()[kinds.clamp(min=0)] * fading, 0.0)

    def users(self, vectors: torch.Tensor, texts: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """Users' vectors (B, D), of length 1, from vectors of texts (N, D) and their numbers (B, L)."""
        weights = self.line_weights(kinds)
        read = torch.einsum("bl,bld->bd", weights, vectors[texts.clamp(min=0)])
        return F.normalize(read @ self.line.weight.float().T, dim=1)

    def products(self, vectors: torch.Tensor) -> torch.Tensor:
        """Products' vectors (N, D), of length 1, from those of their texts."""
        return F.normalize(vectors @ self.product.weight.float().T, dim=1)


def new_towers(seed: int = 0) -> TwoTowers:
    """Towers on a fresh copy of the course's encoder; before training they compare texts as the encoder does."""
    return TwoTowers(finetune.new_reader(["unused"], seed=seed).encoder)


def in_batch_loss(
    users: torch.Tensor, products: torch.Tensor, targets: torch.Tensor, log_q: torch.Tensor, temperature: float
) -> torch.Tensor:
    """The summed cross-entropy of picking each row's own product among those of the batch.

    ``users`` and ``products`` (B, D), ``targets`` (B,) the products' numbers, ``log_q`` (B,) the log of how often each is
    drawn. Another row's product that is the row's own is no negative.
    """
    logits = users @ products.T / temperature - log_q[None]  # (B, B)
    same = targets[:, None] == targets[None]
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(targets), device=users.device), reduction="sum")


# --- data -----------------------------------------------------------------------------------------------------


def texts_of(log: Log) -> list[str]:
    """Every text of a log once, products first, in their order."""
    own = [p.line for p in log.products]
    return [*own, *sorted({t for t in (*log.texts, *chain.from_iterable(log.wishes)) if t} - set(own))]


def numbered(history: History, place: dict[str, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The newest lines of a history as numbers of texts and kinds."""
    kept = history[-LINES:]
    return tuple(place[line.text] for line in kept), tuple(LINE_KINDS.index(line.kind) for line in kept)


def make_pairs(log: Log, until: int) -> list[Pair]:
    """For each first click of a product before a day: what the user had done before, and that product."""
    place = {text: n for n, text in enumerate(texts_of(log))}
    pairs: list[Pair] = []
    known = {int(log.user[n]) for n in np.flatnonzero(log.day < until)}
    events = log.day < until
    clicks: list[list[int]] = [[] for _ in range(log.users)]
    for n in np.flatnonzero(events & (log.kind == CLICK)):
        clicks[log.user[n]].append(int(log.item[n]))
    done = histories(log, until)
    for user in sorted(known):
        seen: set[int] = set()
        for position, line in enumerate(done[user]):
            if line.kind == "click" and line.item not in seen:
                seen.add(line.item)
                before = numbered(done[user][:position], place)
                if before[0]:
                    pairs.append(Pair(*before, line.item))
    return pairs


def shuffled_histories(pairs: Sequence[Pair], seed: int = 0) -> list[Pair]:
    """A control: every target keeps its place and gets another pair's history, so that nothing can be learned of tastes."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    return [Pair(pairs[o].texts, pairs[o].kinds, p.target) for o, p in zip(order, pairs, strict=True)]


def padded(pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts and kinds as (B, L), padded with -1 on the left, so that the newest line stands last."""
    longest = max(1, *(len(p) for p in pairs)) if pairs else 1
    texts, kinds = (torch.full((len(pairs), longest), -1) for _ in range(2))
    for row, pair in enumerate(pairs):
        if len(pair):
            texts[row, -len(pair) :] = torch.tensor(pair.texts)
            kinds[row, -len(pair) :] = torch.tensor(pair.kinds)
    return texts, kinds


# --- training -------------------------------------------------------------------------------------------------


class TowersTraining(finetune.Training):
    """A training of two towers. ``texts`` are those that pairs are numbered by; the options are those of `finetune.Training`.

    ``vectors`` (N, D) of these texts by the encoder as it comes save reading them, where the encoder stays as it is.
    """

    new_config = TowersConfig
    unit, memory_cure = "pair", "Freeze more layers or use smaller batches."

    def __init__(self, texts: Sequence[str], *args, vectors: np.ndarray | None = None, **options):
        self.texts = list(texts)
        self.vectors = None if vectors is None else torch.from_numpy(np.asarray(vectors, np.float32))
        super().__init__(*args, **options)

    def check(self) -> None:
        if not self.train:
            raise finetune.TrainingError(
                "There is nothing to train on: no customer clicked anything after a first line."
            )
        layers = len(self.reader.encoder.encoder.layer)
        if not 1 <= self.config.freeze <= layers:
            raise finetune.TrainingError(
                f"freeze is {self.config.freeze}; the towers need 1 to {layers}, so that the lower layers are computed once."
            )

    def set_up(self) -> None:
        self.reader.to(self.device)
        for module in self.reader.encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        finetune.set_frozen(self.reader, self.config.freeze)
        if self.config.encoder or self.vectors is None:
            self.lower = LowerLayers(self.reader.encoder, self.config.freeze - 1, self.texts)
            self.vectors = self.read_texts()
        self.vectors = self.vectors.to(self.device)
        counts = np.bincount([p.target for p in self.train], minlength=max(p.target for p in self.train) + 1)
        self.log_q = torch.tensor(
            np.log(np.maximum(counts, 1) / len(self.train)), dtype=torch.float32, device=self.device
        )
        self.learn_heads()
        if not self.config.encoder:
            self.reader.encoder.requires_grad_(False)
        if self.precision == "bfloat16":
            self.reader.encoder.to(torch.bfloat16)  # the small matrices stay exact

    def read_texts(self) -> torch.Tensor:
        """Vectors of all texts as the encoder reads them now, (N, D)."""
        with torch.no_grad():
            return torch.cat(
                [self.lower.finish(range(n, min(n + 256, len(self.texts)))) for n in range(0, len(self.texts), 256)]
            )

    def learn_heads(self) -> None:
        """Everything above the encoder, on vectors of the texts that stay as they are."""
        config = self.config
        optimizer = torch.optim.Adam(self.head_groups(config.head_learning_rate))
        rates = [g["lr"] for g in optimizer.param_groups]
        rng = np.random.default_rng(config.seed)
        for step in range(config.heads_steps):
            items = [self.train[i] for i in rng.integers(0, len(self.train), config.batch_size)]
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 - step / config.heads_steps)
            optimizer.zero_grad()
            self.loss_from(self.vectors, items, lambda texts: texts).backward()
            optimizer.step()

    def head_groups(self, rate: float) -> list[dict]:
        matrices, weights = (
            [self.reader.line.weight, self.reader.product.weight],
            [self.reader.kind, self.reader.fading],
        )
        return [
            {"params": matrices, "lr": rate, "weight_decay": 0.0},
            {"params": weights, "lr": WEIGHTS_RATE * rate, "weight_decay": 0.0},
        ]  # fmt: skip

    def groups(self) -> list[dict]:
        upper = [p for p in self.reader.encoder.parameters() if p.requires_grad]
        rate = self.config.learning_rate
        learning = [{"params": upper, "lr": rate, "weight_decay": self.config.weight_decay}] if upper else []
        return [*learning, *self.head_groups(rate * HEADS_RATE)]

    def begin_epoch(self) -> None:
        """Nothing thaws: what is frozen was computed once."""

    def batches(self, epoch: int) -> list[list[int]]:
        order = np.random.default_rng(self.config.seed + epoch).permutation(len(self.train))
        order = order[: self.config.pairs or None]
        size = self.config.batch_size
        return [order[n : n + size].tolist() for n in range(0, len(order), size)]

    def divisors(self, items: list[Pair]) -> int:
        return len(items)

    def part_loss(self, items: list[Pair], divisors: int, counts: bool) -> torch.Tensor:
        if not self.config.encoder:
            return self.loss_from(self.vectors, items, lambda texts: texts) * len(items) / divisors * float(counts)
        needed = sorted({t for p in items for t in (*p.texts, p.target)})
        place = torch.full((len(self.texts),), -1, device=self.device)
        place[torch.tensor(needed, device=self.device)] = torch.arange(len(needed), device=self.device)
        vectors = self.lower.finish(needed)  # (N, D)
        return self.loss_from(vectors, items, lambda texts: place[texts]) * len(items) / divisors * float(counts)

    def loss_from(
        self, vectors: torch.Tensor, items: list[Pair], place: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """The mean loss of a batch, from vectors of texts; ``place`` says in which row a text stands."""
        texts, kinds = (x.to(self.device) for x in padded(items))
        targets = torch.tensor([p.target for p in items], device=self.device)
        users = self.reader.users(vectors, place(texts.clamp(min=0)), kinds)
        products = self.reader.products(vectors[place(targets)])
        log_q = self.log_q[targets] if self.config.correction else torch.zeros(len(items), device=self.device)
        return in_batch_loss(users, products, targets, log_q, self.config.temperature) / len(items)

    def finish(self) -> None:
        super().finish()
        if self.config.encoder:
            self.vectors = self.read_texts()

    def identity(self) -> dict[str, str]:
        about = repr([self.texts, [(p.texts, p.kinds, p.target) for p in self.train]])
        return {"data": hashlib.sha256(about.encode()).hexdigest()[:16], "reader": "two towers"}


class LowerLayers:
    """What the frozen layers make of each text, computed once; `finish` runs the rest with gradients."""

    def __init__(self, encoder: nn.Module, layers: int, texts: Sequence[str]):
        _, self.tokenizer = assets.load_encoder()
        self.encoder, self.layers = encoder, layers
        ids = self.tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        self.hidden: list[torch.Tensor] = [torch.empty(0)] * len(ids)
        device = next(encoder.parameters()).device
        with torch.no_grad():
            for rows in self.by_length([len(i) for i in ids]):
                longest = max(len(ids[r]) for r in rows)
                batch = torch.tensor([ids[r] + [0] * (longest - len(ids[r])) for r in rows], device=device)
                mask = torch.tensor([[1] * len(ids[r]) + [0] * (longest - len(ids[r])) for r in rows], device=device)
                states = encoder.embeddings(input_ids=batch)
                states = self.through(states, mask, slice(0, layers))
                for r, state in zip(rows, states, strict=True):
                    self.hidden[r] = state[: len(ids[r])].clone()

    @staticmethod
    def by_length(lengths: Sequence[int], size: int = 128) -> list[list[int]]:
        order = sorted(range(len(lengths)), key=lambda n: lengths[n])
        return [order[n : n + size] for n in range(0, len(order), size)]

    def through(self, states: torch.Tensor, mask: torch.Tensor, which: slice) -> torch.Tensor:
        """States (B, T, D) after some of the layers."""
        extra = (1.0 - mask[:, None, None].to(states.dtype)) * torch.finfo(states.dtype).min
        for layer in self.encoder.encoder.layer[which]:
            states = layer(states, extra)
            states = states[0] if isinstance(states, tuple) else states
        return states

    def finish(self, texts: Sequence[int]) -> torch.Tensor:
        """Vectors of length 1 of these texts, (N, D) in float32: the upper layers, then the mean over tokens."""
        out: list[torch.Tensor] = [torch.empty(0)] * len(texts)
        for rows in self.by_length([len(self.hidden[t]) for t in texts]):
            states = nn.utils.rnn.pad_sequence([self.hidden[texts[r]] for r in rows], batch_first=True)
            states = states.to(self.encoder.embeddings.word_embeddings.weight.dtype)
            mask = torch.arange(states.shape[1], device=states.device)[None] < torch.tensor(
                [len(self.hidden[texts[r]]) for r in rows], device=states.device
            ).unsqueeze(1)
            states = self.through(states, mask.long(), slice(self.layers, None)).float()
            weights = mask[..., None].float()
            for r, vector in zip(rows, F.normalize((states * weights).sum(1) / weights.sum(1), dim=1), strict=True):
                out[r] = vector
        return torch.stack(out)


# --- using the towers -----------------------------------------------------------------------------------------


class Recommender:
    """Trained towers with a catalogue: scores, and the reasons for them. ``vectors`` are of texts that need no reading."""

    def __init__(self, towers: TwoTowers, products: Sequence[Product], vectors: dict[str, np.ndarray] | None = None):
        if not products:
            raise AgentLabError("A recommender needs at least one product; the catalogue is empty.")
        self.towers, self.products = towers.eval(), list(products)
        self.vectors = dict(vectors or {})  # of texts that were read
        self.items = self.product_vectors([p.line for p in self.products])  # (I, D)

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of length 1, (N, D), as the encoder reads these texts; each distinct text is read once."""
        new = sorted(set(texts) - set(self.vectors))
        if new:
            with torch.inference_mode():
                made = LowerLayers(self.towers.encoder, len(self.towers.encoder.encoder.layer), new).finish(
                    range(len(new))
                )
            self.vectors.update(zip(new, made.cpu().numpy(), strict=True))
        return np.array([self.vectors[t] for t in texts])

    def product_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """What the product tower makes of texts, (N, D)."""
        with torch.inference_mode():
            return self.towers.products(torch.from_numpy(self.text_vectors(texts))).numpy()

    def parts(self, history: History) -> np.ndarray:
        """The user's vector as a sum of one vector per line, (L, D): the newest `LINES` lines."""
        kept = history[-LINES:]
        if not kept:
            raise AgentLabError("Nothing is known of this customer: no wish, no click. Show what is popular instead.")
        vectors = self.text_vectors([line.text for line in kept]) @ self.towers.line.weight.detach().numpy().T
        kinds = torch.tensor([[LINE_KINDS.index(line.kind) for line in kept]])
        with torch.inference_mode():
            weights = self.towers.line_weights(kinds)[0].numpy()
        parts = weights[:, None] * vectors
        return parts / max(1e-9, float(np.linalg.norm(parts.sum(0))))

    def user_vector(self, history: History) -> np.ndarray:
        """What the user tower makes of a history, (D,); zeros for one that is empty."""
        return self.parts(history).sum(0) if history else np.zeros(self.items.shape[1])

    def scores(self, history: Sequence[History]) -> np.ndarray:
        """(N, I); a user of whom nothing is known gets 0 throughout."""
        self.text_vectors(sorted({line.text for own in history for line in own[-LINES:]}) or [self.products[0].line])
        return np.array([self.user_vector(own) for own in history]) @ self.items.T

    def why(self, history: History, item: int | np.ndarray) -> list[tuple[Line, float]]:
        """How much each line adds to the score of a product (its place, or its vector), the largest first.

        The parts add up to the score.
        """
        kept = history[-LINES:]
        shares = self.parts(history) @ (self.items[item] if np.ndim(item) == 0 else item)
        return sorted(zip(kept, shares.tolist(), strict=True), key=lambda pair: -pair[1])


def train(
    log: Log,
    recipe: TowersConfig = FULL,
    pairs: Sequence[Pair] | None = None,
    plain: Recommender | None = None,
    **options,
) -> tuple[Recommender, finetune.History]:
    """Train towers on the training days of a log. ``plain``, untrained towers, lends vectors where the encoder stays as it is.

    Raises `TrainingError` where there is no pair to learn from.
    """
    from agentlab.device import release_memory

    towers, texts = new_towers(recipe.seed), texts_of(log)
    vectors = plain.text_vectors(texts) if plain is not None and not recipe.encoder else None
    pairs = make_pairs(log, TRAIN_DAYS) if pairs is None else pairs
    training = TowersTraining(texts, towers, pairs, (), recipe, vectors=vectors, **options)
    history = training.run()
    known = dict(zip(texts, training.vectors.cpu().numpy(), strict=True))
    del training
    release_memory()
    return Recommender(towers, log.products, known), history


def save(recommender: Recommender, path: Path) -> None:
    """Write what was learned (safetensors, the encoder in bfloat16), with the vectors of the texts that were read."""
    from safetensors.torch import save_file

    state = {k: v.contiguous() for k, v in recommender.towers.state_dict().items() if v.is_floating_point()}
    state = {k: v.to(torch.bfloat16) if k.startswith("encoder.") else v for k, v in state.items()}
    texts = sorted(recommender.vectors)
    state["texts"] = torch.from_numpy(recommender.text_vectors(texts))
    save_file(state, path, {"towers": json.dumps({"format": FORMAT, "texts": texts})})


def restore(path: Path, products: Sequence[Product]) -> Recommender:
    """What `save` wrote, with a catalogue; raises `TrainingError` where the file is damaged."""
    state, about = finetune.read_checkpoint(path)
    vectors = state.pop("texts").numpy()
    towers = new_towers()
    towers.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return Recommender(towers, products, dict(zip(json.loads(about["towers"])["texts"], vectors, strict=True)))


def is_sound(path: Path) -> bool:
    """Whether the file at this path is a whole one that `save` wrote."""
    try:
        return "towers" in finetune.read_checkpoint(path)[1]
    except finetune.TrainingError:
        return False


def load(recipe: TowersConfig | None = None, seed: int = 0) -> Recommender:
    """The course's towers, trained at most once for these data, recipe, seed, simulation and encoder (about a minute).

    Without a recipe it is `FULL`, or `QUICK` where ``AGENTLAB_UNDERSTANDING`` says quick, as the quick profile does.
    """
    quick = os.environ.get("AGENTLAB_UNDERSTANDING") == "quick"
    return _load(replace(recipe or (QUICK if quick else FULL), seed=seed))


@assets.loaded_once
def _load(recipe: TowersConfig) -> Recommender:
    products = load_products()
    catalogue = hashlib.sha256(repr(products).encode()).hexdigest()
    about = [
        corpus.fingerprint(recommend_folder()),
        catalogue,
        asdict(recipe),
        asdict(World()),
        assets.encoder_name(),
        MAX_TOKENS,
        LINES,
        FORMAT,
    ]
    name = f"towers-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]}"

    def build(folder: Path) -> None:
        print("Training the two towers, once (about a minute) ...")
        made, _ = train(simulate(products), recipe, bar=False)
        save(made, folder / "towers.safetensors")

    folder = assets.build_once(name, build, lambda folder: is_sound(folder / "towers.safetensors"))
    return restore(folder / "towers.safetensors", products)


# --- very many products ---------------------------------------------------------------------------------------


class ProductIndex:
    """The nearest of very many vectors by inner product: found roughly in few dimensions, then compared exactly.

    The directions in which the vectors differ most are kept (``dimensions``, by their eigenvalues); in these the vectors are sorted
    into cells, and a search looks into the ``probes`` nearest cells (an inverted file, the library ``faiss``); the best ``near`` of them
    are compared in full. Approximate: `recall` says how many of the nearest are found.
    """

    def __init__(self, vectors: np.ndarray, dimensions: int = 64, probes: int = 16, near: int = 300):
        import faiss

        if not len(vectors):
            raise AgentLabError("An index needs at least one product; there are none.")
        self.vectors, self.near = np.ascontiguousarray(vectors, np.float32), near
        some = self.vectors[:: max(1, len(vectors) // 20_000)].astype(np.float64)
        _, directions = np.linalg.eigh(some.T @ some)  # the largest stand last
        self.directions = np.ascontiguousarray(directions[:, -dimensions:], np.float32)
        short = np.ascontiguousarray(self.vectors @ self.directions)  # (N, dimensions)
        cells = max(1, min(256, len(vectors) // 64))
        self.cells = faiss.IndexFlatIP(short.shape[1])  # faiss holds no reference of its own
        self.index = faiss.IndexIVFFlat(self.cells, short.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
        self.index.train(short[:: max(1, len(short) // 20_000)])
        self.index.add(short)
        self.index.nprobe = probes

    def search(self, user: np.ndarray, top: int = 10) -> np.ndarray:
        """The places of the nearest products, (top,), the best first."""
        user = user.astype(np.float32)
        found = self.index.search((user @ self.directions)[None], max(top, self.near))[1][0]
        found = found[found >= 0]
        return found[np.argsort(-(self.vectors[found] @ user))[:top]]

    def exact(self, user: np.ndarray, top: int = 10) -> np.ndarray:
        """The same by comparing with all."""
        scores = self.vectors @ user.astype(np.float32)
        best = np.argpartition(-scores, min(top, len(scores) - 1))[:top]
        return best[np.argsort(-scores[best])]

    def recall(self, users: np.ndarray, top: int = 10) -> float:
        """The share of the exact nearest that the index finds."""
        return float(np.mean([len(set(self.search(u, top)) & set(self.exact(u, top))) / top for u in users]))


def many_vectors(items: np.ndarray, number: int, seed: int = 0) -> np.ndarray:
    """Made-up products for measuring speed: each a mix of two real ones with some noise, of length 1: (number, D)."""
    rng = np.random.default_rng(seed)
    share = rng.random((number, 1), dtype=np.float32)
    mixed = (
        share * items[rng.integers(0, len(items), number)] + (1 - share) * items[rng.integers(0, len(items), number)]
    )
    mixed = mixed + rng.standard_normal(mixed.shape, dtype=np.float32) * 0.3 / np.sqrt(items.shape[1])
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
