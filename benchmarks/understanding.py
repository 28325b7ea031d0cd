"""How well the fine-tuned models understand the support corpus, and how fast, with peers in the same run.

``python -m benchmarks.understanding [--seeds 3]``

Trained on the training part; temperature and threshold from the validation part; every figure is for the test part and
the challenge set, which nothing else has seen. Peers: the TF-IDF floor for quality, `transformers.pipeline` for speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from dataclasses import replace
from importlib.metadata import version

from agentlab import assets, corpus, evaluate, understand
from agentlab.device import inspect_machine
from agentlab.understand import FULL
from benchmarks.finetune import RESULTS


def quality(reader: understand.Understander, support: corpus.SupportCorpus) -> dict[str, float]:
    """Every figure of one trained understander."""
    test, outside = support.test, support.split("test", "out")
    read, read_out = reader([m.text for m in test]), reader([m.text for m in outside])
    truth, guess = [m.intent for m in test], [u.intent for u in read]
    hard = reader([m.text for m in support.challenge])
    right = [t == g for t, g in zip(truth, guess, strict=True)]
    low, high = evaluate.bootstrap(
        list(zip(truth, guess, strict=True)), lambda pairs: evaluate.macro_f1(*zip(*pairs, strict=True)), 300
    )
    figures = {
        "intent_macro_f1": evaluate.macro_f1(truth, guess),
        "intent_macro_f1_low": low,
        "intent_macro_f1_high": high,
        "challenge_macro_f1": evaluate.macro_f1([m.intent for m in support.challenge], [u.intent for u in hard]),
        "span_f1": understand.span_scores(reader, test)["all"].f1,
        "out_of_scope_auroc": evaluate.auroc([u.scope for u in read], [u.scope for u in read_out]),
        "in_scope_kept": sum(u.in_scope for u in read) / len(read),
        "in_scope_right_and_kept": sum(u.in_scope and r for u, r in zip(read, right, strict=True)) / len(read),
        "out_of_scope_recall": sum(not u.in_scope for u in read_out) / len(read_out),
        "calibration_error": evaluate.calibration_error([u.confidence for u in read], right),
    }
    kinds = defaultdict(list)
    for m, u in zip(support.challenge, hard, strict=True):
        kinds[m.kind].append(m.intent == u.intent)
    return figures | {f"challenge_accuracy_{kind}": sum(v) / len(v) for kind, v in sorted(kinds.items())}


def speed(reader: understand.Understander, texts: list[str]) -> dict[str, float]:
    """Messages per second in one batch, and the median seconds of one message, for us and for transformers.pipeline."""
    import transformers

    source, tokenizer = assets.load_encoder()
    config = type(source.config).from_dict(source.config.to_dict())
    names = reader.reader.intents
    config.id2label, config.label2id = dict(enumerate(names)), {n: i for i, n in enumerate(names)}
    model = transformers.BertForSequenceClassification(config)
    pipe = transformers.pipeline("text-classification", model=model.eval(), tokenizer=tokenizer, device="cpu")
    ways = {"agentlab": reader, "pipeline": lambda rows: pipe(rows, batch_size=64)}
    figures, times = {}, {name: [] for name in ways}
    for name, run in ways.items():
        run(texts[:64])
        began = time.perf_counter()
        run(texts)
        figures[f"{name}_messages_per_second"] = len(texts) / (time.perf_counter() - began)
    for text in texts[:200]:  # by turns, so that a noisy moment meets both
        for name, run in ways.items():
            began = time.perf_counter()
            run([text])
            times[name].append(time.perf_counter() - began)
    return figures | {f"{name}_median_milliseconds": 1000 * statistics.median(seen) for name, seen in times.items()}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    support = corpus.support()
    rows, seconds = [], []
    for seed in range(options.seeds):
        reader, history = understand.train(replace(FULL, training=replace(FULL.training, seed=seed)), support)
        rows.append(quality(reader, support))
        seconds.append(history.seconds)
        print(json.dumps(rows[-1], indent=1), flush=True)
    floor = corpus.measure_floor(support.train, support.test)
    floor_hard = corpus.measure_floor(support.train, support.challenge)
    result = {
        "machine": inspect_machine().as_dict(),
        "versions": {p: version(p) for p in ("torch", "transformers", "accelerate")},
        "corpus": corpus.fingerprint(),
        "seeds": options.seeds,
        "training_seconds": round(statistics.mean(seconds), 1),
        "mean": {k: round(statistics.mean(r[k] for r in rows), 4) for k in rows[0]},
        "floor_macro_f1": round(floor.macro_f1, 4),
        "floor_challenge_macro_f1": round(floor_hard.macro_f1, 4),
        "speed": {k: round(v, 2) for k, v in speed(reader, [m.text for m in support.train[:600]]).items()},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "understanding.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
