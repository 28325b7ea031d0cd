"""A model that reads financial news: topic and sentiment by one encoder, from each named company's side.

``load()`` fine-tunes it on ``data/finance`` once (about a minute on two cores) and keeps it in the cache. `read_columns` is the
same reading on columns of arrays, as batch engines want it: a loop here, or Ray Data over many machines.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from agentlab import assets, corpus, evaluate, finetune, heads, news
from agentlab.device import release_memory, training_dtype
from agentlab.errors import AgentLabError
from agentlab.stream import Told, company_subject, topic_subject

MAX_TOKENS = 96
FORMAT = 1  # of the saved files
RECIPE = finetune.Config(epochs=6, learning_rate=2e-4, dropout=0.2, label_smoothing=0.05)
QUICK = finetune.Config(epochs=2, learning_rate=5e-4, dropout=0.2, freeze=3)  # for tests and a first look


def news_heads() -> dict[str, tuple[str, ...]]:
    """What is told of an item: its sentiment and its topic, with their values."""
    return {"sentiment": news.SENTIMENTS, "topic": tuple(news.load_labels()["topics"])}


@dataclass(frozen=True)
class Reading:
    """What a text says from one company's side ("" for a text that names none), and how probable that is (0 to 1)."""

    text: str
    company: str
    topic: str
    sentiment: str
    topic_sure: float
    sentiment_sure: float


class NewsReader:
    """The fine-tuned model with its tokenizer and the companies that it knows by name."""

    def __init__(self, reader: finetune.Reader, tokenizer, companies: Mapping[str, news.Company] | None = None):
        self.reader, self.tokenizer = reader.eval().to(training_dtype()), tokenizer
        self.companies, self.heads = companies or news.load_companies(), news_heads()

    def __call__(self, texts: Sequence[str]) -> list[list[Reading]]:
        """Read texts: for each a reading from the side of every company that it names, or one for a text that names none."""
        sides = [(n, company) for n, text in enumerate(texts) for company in self._named(text)]
        found = self.from_side([texts[n] for n, _ in sides], [company for _, company in sides])
        readings: list[list[Reading]] = [[] for _ in texts]
        for (n, _), reading in zip(sides, found, strict=True):
            readings[n].append(reading)
        return readings

    def _named(self, text: str) -> list[str]:
        return news.find_companies(text, self.companies) or [""]

    def from_side(self, texts: Sequence[str], companies: Sequence[str]) -> list[Reading]:
        """Read each text from the side of the company beside it."""
        p = self.probabilities(texts, companies)
        best = {head: rows.argmax(1) for head, rows in p.items()}
        return [
            Reading(
                text, company,
                self.heads["topic"][best["topic"][n]], self.heads["sentiment"][best["sentiment"][n]],
                float(p["topic"][n].max()), float(p["sentiment"][n].max()),
            )
            for n, (text, company) in enumerate(zip(texts, companies, strict=True))
        ]  # fmt: skip

    def probabilities(self, texts: Sequence[str], companies: Sequence[str]) -> dict[str, np.ndarray]:
        """For each head the probabilities of its values (N, values), in the order of `news_heads`."""
        masked = [news.masked(t, c, self.companies) or " " for t, c in zip(texts, companies, strict=True)]
        items = heads.encode(masked, [{}] * len(masked), self.heads, self.tokenizer, MAX_TOKENS)
        return {head: rows.numpy() for head, rows in heads.probabilities(self.reader, items, self.heads).items()}

    def told(self, texts: Sequence[str]) -> list[Told]:
        """What counts of each text on a stream, by how probable it is: as negative for each company that it names, and on each topic."""
        sides = [(n, company) for n, text in enumerate(texts) for company in self._named(text)]
        p = self.probabilities([texts[n] for n, _ in sides], [company for _, company in sides])
        negative = p["sentiment"][:, self.heads["sentiment"].index("negative")]
        rows: list[list[int]] = [[] for _ in texts]
        for row, (n, _) in enumerate(sides):
            rows[n].append(row)
        return [self._told({sides[r][1]: float(negative[r]) for r in own}, p["topic"][own].mean(0)) for own in rows]

    def _told(self, negative: Mapping[str, float], topics: np.ndarray) -> Told:
        bad = {company_subject(c): p for c, p in negative.items() if c}
        calm = {subject: 1 - p for subject, p in bad.items()}
        worst = max(negative.values())
        for topic, p in zip(self.heads["topic"], topics, strict=True):
            bad[topic_subject(topic)], calm[topic_subject(topic)] = float(p) * worst, float(p) * (1 - worst)
        return Told(bad, calm)

    def scores(self, items: Sequence[news.News]) -> dict[str, float]:
        """Macro F1 of sentiment and topic on labelled items."""
        found = self.from_side([i.text for i in items], [i.company for i in items])
        return {
            head: evaluate.macro_f1([getattr(i, head) for i in items], [getattr(r, head) for r in found])
            for head in self.heads
        }


# --- training ------------------------------------------------------------------------------------------------


def encode_items(items: Sequence[news.News], tokenizer) -> list[heads.Item]:
    """Labelled items as numbers, each from its company's side."""
    companies = news.load_companies()
    texts = [news.masked(i.text, i.company, companies) for i in items]
    return heads.encode(texts, [{"sentiment": i.sentiment, "topic": i.topic} for i in items], news_heads(), tokenizer, MAX_TOKENS)  # fmt: skip


def mean_f1(reader: finetune.Reader, items: Sequence[heads.Item]) -> float:
    """The mean over both heads of macro F1: what the best epoch is chosen by."""
    logits = finetune.predict(reader, items, exact=False)["intents"]
    places = heads.columns(news_heads()).values()
    return float(
        np.mean(
            [
                evaluate.macro_f1([i.targets[n] for i in items], logits[:, place].argmax(1).tolist())
                for n, place in enumerate(places)
            ]
        )
    )


def train(
    recipe: finetune.Config = RECIPE,
    learn: Sequence[news.News] | None = None,
    check: Sequence[news.News] | None = None,
    **options,
) -> tuple[NewsReader, finetune.History]:
    """Fine-tune on the train part, choosing the epoch on the validation part; ``options`` go to `finetune.Training`."""
    from agentlab.device import release_memory

    _, tokenizer = assets.load_encoder()
    reader = heads.new_reader(news_heads(), recipe.seed)
    parts = [
        encode_items(news.load_news(name) if items is None else items, tokenizer)
        for name, items in (("train", learn), ("validation", check))
    ]
    training = heads.HeadsTraining(news_heads(), reader, *parts, recipe, score=mean_f1, **options)
    history = training.run()
    del training
    release_memory()
    return NewsReader(reader, tokenizer), history


def load(recipe: finetune.Config | None = None, seed: int = 0) -> NewsReader:
    """The course's reader of news, trained at most once for these data, recipe, seed and encoder.

    Without a recipe it is `RECIPE`, or `QUICK` where ``AGENTLAB_UNDERSTANDING`` says quick, as the quick profile does.
    """
    return _load(replace(recipe or usual_recipe(), seed=seed))


def usual_recipe() -> finetune.Config:
    """`QUICK` where ``AGENTLAB_UNDERSTANDING`` says quick, else `RECIPE`."""
    return QUICK if os.environ.get("AGENTLAB_UNDERSTANDING") == "quick" else RECIPE


@assets.loaded_once
def _load(recipe: finetune.Config) -> NewsReader:
    about = [corpus.fingerprint(news.finance_folder()), asdict(recipe), assets.encoder_name(), MAX_TOKENS, FORMAT]
    name = f"newsreader-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]}"

    def build(folder: Path) -> None:
        print("Fine-tuning the model that reads news, once (about a minute) ...")
        heads.save(train(recipe)[0].reader, news_heads(), folder / "reader.safetensors")

    folder = assets.build_once(name, build, lambda folder: heads.is_sound(folder / "reader.safetensors"))
    reader, _, tokenizer = heads.load(folder / "reader.safetensors")
    return NewsReader(reader, tokenizer)


# --- floors --------------------------------------------------------------------------------------------------


def by_lexicon(texts: Sequence[str]) -> list[str]:
    """The sentiment by VADER's word list, with the limits that its authors advise; knows neither topics nor companies."""
    analyser = assets.load_sentiment()
    scores = [analyser.polarity_scores(text)["compound"] for text in texts]
    return ["positive" if s >= 0.05 else "negative" if s <= -0.05 else "neutral" for s in scores]


def by_words(learn: Sequence[news.News], items: Sequence[news.News], head: str) -> list[str]:
    """The sentiment or topic of items by TF-IDF and logistic regression, learned from the same masked texts."""
    companies = news.load_companies()
    texts = [[news.masked(i.text, i.company, companies) for i in part] for part in (learn, items)]
    model = corpus.tfidf_classifier().fit(texts[0], [getattr(i, head) for i in learn])
    return [str(x) for x in model.predict(texts[1])]


# --- many texts ----------------------------------------------------------------------------------------------


class BatchReader:
    """Reading as a step of a batch pipeline: a column ``text`` in, with topic, sentiment, company and negative out.

    Each worker makes its own, so only its recipe travels. A text is read from the side of the first company that it names.
    """

    def __init__(self, recipe: finetune.Config | None = None, threads: int | None = None):
        import torch

        if threads:
            torch.set_num_threads(threads)
        self.reader = load(recipe)

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return read_columns(batch, self.reader)


def read_columns(batch: Mapping[str, np.ndarray], reader: NewsReader) -> dict[str, np.ndarray]:
    """The batch with columns added: topic, sentiment, company, and negative, the probability of it (float32)."""
    if "text" not in batch:
        raise AgentLabError(f"The batch has no column `text`; it has {', '.join(batch) or 'none'}.")
    texts = [str(t) for t in batch["text"]]
    companies = [reader._named(t)[0] for t in texts]
    p = reader.probabilities(texts, companies)
    told = {head: np.array([reader.heads[head][k] for k in rows.argmax(1)], dtype=object) for head, rows in p.items()}
    negative = p["sentiment"][:, reader.heads["sentiment"].index("negative")].astype(np.float32)
    return {**batch, "company": np.array(companies, dtype=object), **told, "negative": negative}


class TimedReader(BatchReader):
    """A `BatchReader` that also notes who read each batch, and from when to when (seconds since 1970): starting is not reading."""

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        began = time.time()
        told = super().__call__(batch)
        rows = len(told["text"])
        noted = {"worker": os.getpid(), "began": began, "ended": time.time()}
        return {**told, **{name: np.full(rows, value) for name, value in noted.items()}}


def read_with_ray(
    texts: Sequence[str],
    workers: int = 2,
    batch: int = 256,
    recipe: finetune.Config | None = None,
    step: type[BatchReader] = BatchReader,
) -> dict[str, np.ndarray]:
    """The same columns by Ray Data: each worker holds a reader of its own, on this machine or on those of a running cluster.

    Where no Ray is running, one is started on this machine with as many cores as workers, and ended afterwards. ``step`` is
    what each worker makes and calls. Raises `AgentLabError` where Ray is not installed, or where there is nothing to read.
    """
    if not len(texts):
        raise AgentLabError("There is nothing to read: the list of texts is empty.")
    try:
        import ray
        import ray.data
    except ImportError:
        raise AgentLabError('Reading on many machines needs Ray: `pip install "ray[data]"`.') from None
    ours = not ray.is_initialized()
    release_memory()  # each worker holds a model of its own
    if ours:
        ray.init(
            address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
            object_store_memory=200 * 2**20, _node_ip_address="127.0.0.1",
        )  # fmt: skip
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.wait_for_min_actors_s = 300  # all workers are ready before the first batch is given out
        recipe = recipe or usual_recipe()  # what a worker elsewhere could not know
        load(recipe)  # trained and in the cache before several workers ask for it at once
        rows = [{"place": n, "text": text} for n, text in enumerate(texts)]
        data = ray.data.from_items(rows, override_num_blocks=max(workers, len(texts) // batch))
        read = data.map_batches(
            step, fn_constructor_args=(recipe, 1), batch_size=batch, num_cpus=1, compute=ray.data.ActorPoolStrategy(size=workers),
        )  # fmt: skip
        told = sorted(read.take_all(), key=lambda row: row["place"])
    finally:
        if ours:
            ray.shutdown()
    return {name: np.array([row[name] for row in told]) for name in told[0] if name != "place"}


@dataclass(frozen=True)
class Speed:
    """How fast texts were read."""

    texts: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.texts / self.seconds


def measure_speed(reader: NewsReader, texts: Iterable[str], batch: int = 256) -> Speed:
    """Read texts in batches and take the time; the first batch is read once before, to warm up."""
    texts = list(texts)
    if not texts:
        raise AgentLabError("There is nothing to read: the list of texts is empty.")
    column = np.array(texts, dtype=object)
    read_columns({"text": column[:batch]}, reader)
    began = time.perf_counter()
    for start in range(0, len(column), batch):
        read_columns({"text": column[start : start + batch]}, reader)
    return Speed(len(texts), time.perf_counter() - began)


def measure_ray(texts: Sequence[str], workers: int, batch: int = 256, recipe: finetune.Config | None = None) -> Speed:
    """How fast so many Ray workers of one core each read texts, from the first batch's beginning to the last one's end."""
    told = read_with_ray(texts, workers, batch, recipe, TimedReader)
    return Speed(len(texts), float(told["ended"].max() - told["began"].min()))
