"""Recommenders on the simulated shop over several seeds, with their public peers, and retrieval among 100,000 products.

``python -m benchmarks.recommend [--seeds 3] [--products 100000] [--quick]``

Peers in the same run: `implicit`'s alternating least squares and scikit-learn's TF-IDF. A seed draws other customers, clicks and
launches, and trains the towers anew. Written to ``benchmarks/results/recommend.json``.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from agentlab import behaviour, ranker, recommend, towers

RESULTS = Path(__file__).parent / "results"
START = behaviour.TRAIN_DAYS + behaviour.VALIDATION_DAYS


def one_seed(seed: int, recipe: towers.TowersConfig) -> tuple[dict, towers.Recommender, recommend.Task]:
    """NDCG@10 of every recommender in three groups, gains with intervals, and the controls, for one simulated shop."""
    log = behaviour.simulate(seed=seed)
    task = recommend.make_task(log, START, behaviour.TEST_DAYS)
    rows = recommend.interactions(log, START)
    popular, near, factors = (m.fit(rows) for m in (recommend.Popularity(), recommend.CoOccurrence(), recommend.Factorization(seed=seed)))  # fmt: skip
    texts = [p.line for p in log.products]
    plain = towers.Recommender(towers.new_towers(), log.products)
    began = time.perf_counter()
    model, history = towers.train(log, replace(recipe, seed=seed), bar=False)
    seconds = time.perf_counter() - began
    heads, _ = towers.train(log, replace(recipe, seed=seed, encoder=False, epochs=1, pairs=1), plain=plain, bar=False)
    pairs = towers.shuffled_histories(towers.make_pairs(log, behaviour.TRAIN_DAYS), seed)
    control, _ = towers.train(log, replace(recipe, seed=seed, encoder=False, epochs=1, pairs=1), pairs, plain=plain, bar=False)  # fmt: skip
    choosing = recommend.make_task(log, behaviour.TRAIN_DAYS, behaviour.VALIDATION_DAYS)
    joined = ranker.Ranker(seed).fit(
        ranker.features(ranker.know(log, behaviour.TRAIN_DAYS, seed), choosing, model.scores(choosing.history)),
        choosing,
    )
    now = ranker.know(log, START, seed)
    order = np.random.default_rng(seed)
    ways = {
        "random": lambda t: np.random.default_rng(seed).random((len(t), len(texts))),
        "bestsellers": lambda t: popular.scores(t.rows),
        "neighbours": lambda t: near.scores(t.rows),
        "factorization (implicit)": lambda t: factors.scores(t.rows),
        "words (scikit-learn TF-IDF)": lambda t: recommend.reader_scores(t.history, texts, recommend.word_vectors),
        "encoder as it comes": lambda t: plain.scores(t.history),
        "towers, encoder frozen": lambda t: heads.scores(t.history),
        "two towers": lambda t: model.scores(t.history),
        "ranker": lambda t: joined.scores(ranker.features(now, t, model.scores(t.history))),
        "control: another's history": lambda t: model.scores([t.history[n] for n in order.permutation(len(t))]),
        "control: learned from shuffled": lambda t: control.scores(t.history),
    }
    groups = {
        "all": task,
        "new customers": task.only_users(log.joined[task.users] >= START),
        "new products": task.only_items(log.launched >= START),
    }
    found = {g: {w: recommend.assess(way(t), t, popular.counts) for w, way in ways.items()} for g, t in groups.items()}
    gains = {
        "towers over bestsellers, all": ("all", "bestsellers", "two towers"),
        "towers over factorization, new products": ("new products", "factorization (implicit)", "two towers"),
        "towers over bestsellers, new customers": ("new customers", "bestsellers", "two towers"),
        "towers over frozen encoder, all": ("all", "towers, encoder frozen", "two towers"),
        "towers over frozen encoder, new products": ("new products", "towers, encoder frozen", "two towers"),
        "ranker over factorization, all": ("all", "factorization (implicit)", "ranker"),
    }
    figures = {
        "seed": seed,
        "train_seconds": round(seconds, 1),
        "steps": history.steps,
        "users": {g: len(t) for g, t in groups.items()},
        "ndcg": {g: {w: round(float(r.ndcg.mean()), 4) for w, r in by.items()} for g, by in found.items()},
        "recall": {w: round(float(r.recall.mean()), 4) for w, r in found["all"].items()},
        "coverage": {w: round(float(r.coverage), 3) for w, r in found["all"].items()},
        "novelty_bits": {w: round(r.novelty, 2) for w, r in found["all"].items()},
        "gains": {
            name: [round(x, 3) for x in recommend.relative_gain(found[g][a].ndcg, found[g][b].ndcg)]
            for name, (g, a, b) in gains.items()
        },
    }
    return figures, model, task


def retrieval(model: towers.Recommender, task: recommend.Task, number: int) -> dict:
    """Milliseconds from a history to ten of ``number`` products, texts read before; the index against comparing with all."""
    began = time.perf_counter()
    index = towers.ProductIndex(towers.many_vectors(model.items, number))
    built = time.perf_counter() - began
    visitors = [h for h in task.history if h][:300]
    model.scores(visitors)
    times: dict[str, list[float]] = {"index": [], "exact": []}
    for own in visitors:
        for name, search in (("index", index.search), ("exact", index.exact)):
            began = time.perf_counter()
            search(model.user_vector(own))
            times[name].append(1000 * (time.perf_counter() - began))
    new_words = []
    for n, own in enumerate(visitors[:30]):
        line = recommend.Line("wish", -1, f"{own[0].text} or so, number {n}")
        began = time.perf_counter()
        index.search(model.user_vector((line,)))
        new_words.append(1000 * (time.perf_counter() - began))
    return {
        "products": number,
        "build_seconds": round(built, 1),
        "recall_at_10": round(index.recall(np.array([model.user_vector(h) for h in visitors])), 4),
        **{f"{name}_ms": {"median": round(float(np.median(t)), 2), "p95": round(float(np.percentile(t, 95)), 2)} for name, t in times.items()},
        "with_a_text_never_read_ms": {"median": round(float(np.median(new_words)), 2), "p95": round(float(np.percentile(new_words, 95)), 2)},
    }  # fmt: skip


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="the quick recipe")
    options = parser.parse_args(arguments)
    recipe = towers.QUICK if options.quick else towers.FULL
    rows = []
    for seed in range(options.seeds):
        figures, model, task = one_seed(seed, recipe)
        rows.append(figures)
        print(json.dumps(figures["ndcg"]["all"]), json.dumps(figures["gains"]), flush=True)
    made = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("torch", "implicit", "scikit-learn", "faiss-cpu")},
        "recipe": repr(recipe),
        "seeds": rows,
        "retrieval": retrieval(model, task, options.products),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "recommend.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(made["retrieval"]))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
