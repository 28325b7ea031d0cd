"""Fine-tuning speed and accuracy, in one run with its peers: the article's loop and transformers' `Trainer`.

``python -m benchmarks.finetune [--data FOLDER] [--seconds 20] [--no-accuracy]``

FOLDER holds Banking77 as train.csv and test.csv (text, category); without it the support corpus is used. All three train
the same encoder on the same messages on the same machine, one after the other, in two rounds of opposite order.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from agentlab import assets, corpus, finetune
from agentlab.device import inspect_machine, matrix_gflops
from agentlab.encoding import Encoded, length_buckets
from agentlab.finetune import Config
from agentlab.losses import IGNORE

RESULTS = Path(__file__).parent / "results"
BATCH = 32
ACCURATE = Config(epochs=7, batch_size=BATCH, learning_rate=2e-4, label_smoothing=0.1, dropout=0.2, warmup=0.2)


def load(folder: Path | None):
    """Name of the set, its intents, and its encoded training and test messages."""
    _, tokenizer = assets.load_encoder()
    if folder:
        data = corpus.load_banking77(folder)
        train, test, name = data.splits["train"], data.splits["test"], "Banking77"
    else:
        support = corpus.support()
        train, test = ([(m.text, m.intent) for m in part] for part in (support.train, support.test))
        name = "support corpus"
    intents = sorted({label for _, label in train})
    number = {intent: i for i, intent in enumerate(intents)}

    def encode(rows):
        ids = tokenizer([text for text, _ in rows], truncation=True, max_length=128)["input_ids"]
        return [Encoded(i, [IGNORE] * len(i), number[label]) for i, (_, label) in zip(ids, rows, strict=True)]

    train = encode(train)
    random.Random(0).shuffle(train)
    return name, intents, train, encode(test)


# --- three ways to train -------------------------------------------------------------------------------------


def peer_model(intents):
    """The same encoder under transformers' own classification head."""
    import transformers

    torch.manual_seed(0)
    source, _ = assets.load_encoder()
    config = type(source.config).from_dict(source.config.to_dict())
    config.id2label = dict(enumerate(intents))
    model = transformers.BertForSequenceClassification(config)
    model.bert.load_state_dict(source.state_dict(), strict=False)
    return model


def article(intents, items: list[Encoded], seconds: float) -> float:
    """The article's way: padding to 128, batch 16, float32, AdamW neither fused nor by foreach. Examples per second."""
    model = peer_model(intents).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, foreach=False, fused=False)

    def step(batch):
        ids = torch.tensor([i.ids + [0] * (128 - len(i)) for i in batch])
        mask = torch.tensor([[1] * len(i) + [0] * (128 - len(i)) for i in batch])
        model(input_ids=ids, attention_mask=mask, labels=torch.tensor([i.intent for i in batch])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return clock(step, [items[i : i + 16] for i in range(0, len(items), 16)], seconds)


def ours(intents, items: list[Encoded], seconds: float, **options) -> float:
    """`finetune.fit`'s own steps, with its defaults. Examples per second."""
    config = Config(batch_size=BATCH, **options)
    training = finetune.Training(finetune.new_reader(intents), items, config=config)
    training.prepare()
    training.model.train()
    return clock(training.one_step, list(length_buckets([len(i) for i in items], BATCH, 0)), seconds)


def trainer(intents, items: list[Encoded], seconds: float) -> float:
    """transformers' Trainer at its best: grouped by length, bfloat16, fused AdamW, the same batch size. Examples per second."""
    import transformers

    model, (_, tokenizer) = peer_model(intents), assets.load_encoder()
    rows = [{"input_ids": i.ids, "attention_mask": [1] * len(i), "labels": i.intent} for i in items]

    class Clock(transformers.TrainerCallback):
        began = steps = 0

        def on_step_end(self, args, state, control, **_):
            self.steps += 1
            if self.steps == 3:
                self.began = time.perf_counter()
            elif self.began and time.perf_counter() - self.began > seconds:
                control.should_training_stop = True
            self.rate = (self.steps - 3) * BATCH / max(1e-9, time.perf_counter() - self.began)

    watch = Clock()
    arguments = transformers.TrainingArguments(
        output_dir=str(assets.cache_folder() / "trainer"), per_device_train_batch_size=BATCH, num_train_epochs=9, bf16=True,
        use_cpu=not torch.cuda.is_available(), report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
        train_sampling_strategy="group_by_length", optim="adamw_torch_fused",
    )  # fmt: skip
    transformers.Trainer(
        model=model, args=arguments, train_dataset=rows, data_collator=transformers.DataCollatorWithPadding(tokenizer),
        callbacks=[watch],
    ).train()  # fmt: skip
    return watch.rate


def clock(step: Callable, batches: list, seconds: float) -> float:
    """Examples per second of ``step`` over batches, after three to warm up."""
    for batch in batches[:3]:
        step(batch)
    count, began = 0, time.perf_counter()
    for batch in batches[3:] * 99:
        step(batch)
        count += len(batch)
        if time.perf_counter() - began > seconds:
            break
    return count / (time.perf_counter() - began)


# --- the run -------------------------------------------------------------------------------------------------

WAYS = {
    "the article's way": article,
    "Trainer at its best": trainer,
    "agentlab": ours,
    "agentlab, embeddings trained too": lambda *a: ours(*a, freeze=0),
    "agentlab, autocast": lambda *a: ours(*a, precision="autocast"),
    "agentlab, two layers frozen too": lambda *a: ours(*a, freeze=3),
}


def measure_speed(intents, items, seconds: float) -> dict[str, float]:
    """Examples per second of each way: the mean of two rounds, the second in opposite order."""
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    for names in (list(WAYS), list(WAYS)[::-1]):
        for name in names:
            rates[name].append(WAYS[name](intents, items, seconds))
            print(f"{name:36} {rates[name][-1]:8.1f} examples per second", flush=True)
    return {name: sum(values) / len(values) for name, values in rates.items()}


def flops_per_example(items) -> float:
    """What training takes per example: 6 operations per parameter of the layers and token (2 forward, 4 backward)."""
    source, _ = assets.load_encoder()
    return 6 * sum(p.numel() for p in source.encoder.parameters()) * sum(map(len, items)) / len(items)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with Banking77's train.csv and test.csv")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each way is timed")
    parser.add_argument("--no-accuracy", action="store_true", help="speed only")
    options = parser.parse_args(arguments)
    name, intents, train, test = load(options.data)
    speed = measure_speed(intents, train, options.seconds)
    best = speed["agentlab"]
    result = {
        "data": name,
        "machine": inspect_machine().as_dict(),
        "processor": platform.processor() or platform.machine(),
        "versions": {p: version(p) for p in ("torch", "transformers", "accelerate")},
        "batch_size": BATCH,
        "examples_per_second": {k: round(v, 1) for k, v in speed.items()},
        "times_the_article": round(best / speed["the article's way"], 2),
        "times_the_trainer": round(best / speed["Trainer at its best"], 2),
        "share_of_bfloat16_matrix_rate": round(
            best * flops_per_example(train) / 1e9 / matrix_gflops(2.0, 2048, "bfloat16"), 3
        ),
    }
    if not options.no_accuracy:
        reader = finetune.new_reader(intents)
        history = finetune.fit(reader, train, config=ACCURATE)
        result |= {
            "seed": ACCURATE.seed,
            "epochs": ACCURATE.epochs,
            "training_seconds": round(history.seconds, 1),
            "test_accuracy": round(finetune.intent_accuracy(reader, test), 4),
        }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"finetune_{name.lower().replace(' ', '_')}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    print(f"Written to {path.name}.")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
