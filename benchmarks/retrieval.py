"""Search of the help pages stage by stage, and neighbours among a million made vectors: recall, milliseconds, memory.

``python -m benchmarks.retrieval [--vectors 1000000] [--dimensions 128] [--queries 200] [--skip quality|neighbours]``

Quality: recall@1, recall@5 and mean reciprocal rank with 95 % intervals on the test questions, each stage beside the floor
(TF-IDF) and a control (each question expects another one's article); then what the threshold answers and refuses. Peer of our
BM25: the library bm25s, by equal scores and by time. Neighbours: FAISS, exact against approximate.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections import defaultdict
from importlib.metadata import version

import numpy as np

from agentlab import answers, evaluate, knowledge, neighbours, rerank, retrieval
from agentlab.device import inspect_machine
from benchmarks.finetune import RESULTS


def ranked(scores: np.ndarray, right: list[int]) -> dict[str, float]:
    """Recall and mean reciprocal rank with their intervals."""
    ranks = retrieval.ranks_of(scores, right)
    figures = {}
    ways = {"recall_at_1": lambda r: retrieval.recall(r, 1), "recall_at_5": lambda r: retrieval.recall(r, 5),
            "mean_reciprocal_rank": retrieval.mean_reciprocal_rank}  # fmt: skip
    for name, figure in ways.items():
        low, high = evaluate.bootstrap(ranks, figure)
        figures |= {name: round(figure(ranks), 4), f"{name}_low": round(low, 4), f"{name}_high": round(high, 4)}
    return figures


def quality() -> dict:
    """Every stage on the test part; nothing was chosen by it."""
    began = time.perf_counter()
    desk = answers.load()
    loaded = time.perf_counter() - began
    hybrid, plain = desk.ranker.index, knowledge.HelpIndex(desk.articles)
    place = {a.id: n for n, a in enumerate(desk.articles)}
    asked, others = knowledge.load_questions("test"), knowledge.load_questions("test", answerable=False)
    texts, right = [q.text for q in asked], [place[q.article] for q in asked]
    stages = {
        "tfidf (floor)": plain.scores(texts, "tfidf"),
        "bm25": hybrid.words.scores(texts),
        "encoder": plain.scores(texts, "encoder"),
        "hybrid": hybrid.scores(texts),
        "re-ranked": desk.ranker.scores(texts),
    }
    rows = {name: ranked(scores, right) for name, scores in stages.items()}
    other = [right[(n + 41) % len(right)] for n in range(len(right))]
    rows["control: another question's article"] = ranked(stages["re-ranked"], other)
    kinds = defaultdict(list)
    none = desk.ranker.scores([q.text for q in others]).max(1)
    for q, yes in zip(others, none < desk.threshold, strict=True):
        kinds[q.kind or "near"].append(bool(yes))
    times = []
    for text in texts[:60]:
        began = time.perf_counter()
        desk.answer(text)
        times.append(time.perf_counter() - began)
    counts = {part: [len(knowledge.load_questions(part, kind)) for kind in (True, False)] for part in knowledge.PARTS}
    return {
        "questions_with_and_without_answer": counts,
        "stages": rows,
        "desk": {k: round(v, 4) for k, v in vars(answers.measure(desk, asked, others)).items()},
        "auroc": round(evaluate.auroc(stages["re-ranked"].max(1), none), 4),
        "refused_by_kind": {kind: [sum(v), len(v)] for kind, v in sorted(kinds.items())},
        "loading_or_training_seconds": round(loaded, 1),
        "median_milliseconds_an_answer": round(1000 * statistics.median(times), 1),
    }


def words() -> dict:
    """Our BM25 and bm25s on the articles: the largest difference of scores, and seconds for the train questions."""
    import bm25s

    texts = [retrieval.tokens(f"{a.title}\n{a.text}") for a in knowledge.load_articles()]
    queries = [retrieval.tokens(q.text) for q in knowledge.load_questions("train")]
    ours = retrieval.BM25([" ".join(t) for t in texts], tokenize=str.split)
    theirs = bm25s.BM25(method="lucene", k1=retrieval.K1, b=retrieval.B)
    theirs.index(texts, show_progress=False)
    began = time.perf_counter()
    mine = ours.scores([" ".join(q) for q in queries])
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    library = np.stack([theirs.get_scores(q) for q in queries])
    library_seconds = time.perf_counter() - began
    difference = np.abs(mine / (retrieval.K1 + 1) - library).max()  # bm25s leaves the constant k1 + 1 out
    return {"queries": len(queries), "largest_difference": float(difference), "agentlab_seconds": round(seconds, 4),
            "bm25s_seconds": round(library_seconds, 4)}  # fmt: skip


def many(vectors: int, dimensions: int, queries: int) -> dict:
    """FAISS at a scale where it matters."""
    data = neighbours.made_vectors(vectors, dimensions)
    asked = neighbours.made_vectors(queries, dimensions, seed=99)
    rows = []
    for cost in neighbours.measure(data, asked):
        rows.append({k: round(v, 4) if isinstance(v, float) else v for k, v in cost.as_dict().items()})
        print(json.dumps(rows[-1]), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"vectors": vectors, "dimensions": dimensions, "queries": queries, "peak_mb": round(peak), "rows": rows}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--skip", choices=("quality", "neighbours"), action="append", default=[])
    options = parser.parse_args(arguments)
    path = RESULTS / "retrieval.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    result |= {
        "machine": inspect_machine().as_dict(),
        "versions": {p: version(p) for p in ("torch", "faiss-cpu", "bm25s")},
    }
    if "neighbours" not in options.skip:
        result["neighbours"] = many(options.vectors, options.dimensions, options.queries)
    if "quality" not in options.skip:
        result |= {"recipe": repr(rerank.RECIPE), "help_pages": quality(), "bm25": words()}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
