"""How well news is read, how soon surges of bad news are found, and how fast it all is, with floors and peers in the same run.

``python -m benchmarks.news [--seeds 3] [--quarters 100]``

The reader learns from the train part; the alarm threshold is chosen by cost on quarters dealt from the validation part. Every
figure is for the test part, the challenge part, the texts of three further writers (``fresh``), quarters dealt from these, and the
written quarter, which nothing else has seen. Quarters are dealt from test and challenge texts, of which six in ten are there to
mislead a reader; from ordinary ones, of the test part and the fresh (``ordinary``); and from those of the test part alone
(``test_only``). ``at_one_false`` is the share found in time where a threshold gives one false alarm a quarter on the quarters for
reporting themselves: a point of the curve, not what a chosen threshold gets.

Floors: VADER's word list, TF-IDF with logistic regression. Peer for the speed: `transformers.pipeline`, which tells the sentiment
alone. Scaling: one and two Ray workers of one core each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.metadata import version

import numpy as np

from agentlab import assets, corpus, evaluate, news, newsreader, stream, watch
from agentlab.device import inspect_machine
from benchmarks.finetune import RESULTS

GRID = (6, 8, 9, 9.5, 10, 10.5, 11, 12, 13, 14, 16, 20)
PRICES = watch.Costs(missed=100, hour=1, false=20)
JUDGED = ("test", "challenge", "fresh")  # the parts on which reading is measured
CHOOSE, REPORT = 1000, 2000  # the first seed of the quarters for choosing and for reporting


def macro_f1_of(pairs: Sequence[tuple[str, str]]) -> float:
    """Macro F1 of (truth, guess) pairs."""
    return evaluate.macro_f1(*zip(*pairs, strict=True))


def quality(reader: newsreader.NewsReader) -> dict[str, float]:
    """Macro F1 of both heads on each of the parts, with its 95 % interval over the items."""
    figures = {}
    for part in JUDGED:
        items = news.load_news(part)
        read = reader.from_side([i.text for i in items], [i.company for i in items])
        for head in ("sentiment", "topic"):
            pairs = [(getattr(i, head), getattr(r, head)) for i, r in zip(items, read, strict=True)]
            low, high = evaluate.bootstrap(pairs, macro_f1_of, 300)
            figures |= {f"{part}_{head}": macro_f1_of(pairs), f"{part}_{head}_low": low, f"{part}_{head}_high": high}
    return figures


def floors() -> dict[str, float]:
    """The same for the word list and for TF-IDF."""
    train, figures = news.load_news("train"), {}
    for part in JUDGED:
        items = news.load_news(part)
        truth = [i.sentiment for i in items]
        figures[f"{part}_sentiment_vader"] = evaluate.macro_f1(truth, newsreader.by_lexicon([i.text for i in items]))
        for head in ("sentiment", "topic"):
            guess = newsreader.by_words(train, items, head)
            figures[f"{part}_{head}_tfidf"] = evaluate.macro_f1([getattr(i, head) for i in items], guess)
    return figures


@dataclass(frozen=True)
class Pools:
    """The texts that quarters are dealt from, and the quarters: some to choose a threshold on, others to report on."""

    choose: list[news.News]
    report: list[news.News]
    quarters: int

    @classmethod
    def load(cls, quarters: int) -> Pools:
        return cls(news.load_news("validation"), news.load_news("test") + news.load_news("challenge"), quarters)

    def ordinary(self, *more: str) -> Pools:
        """The same without the hard texts, and with further parts to report on."""
        choose, report = ([i for i in pool if i.register != "hard"] for pool in (self.choose, self.report))
        return Pools(choose, report + [i for part in more for i in news.load_news(part)], self.quarters)

    def read_by(self, tell: Callable[[Sequence[news.News]], Sequence[stream.Told]]) -> dict[str, Sequence[stream.Told]]:
        """What is told of the texts of both."""
        return {"choose": tell(self.choose), "report": tell(self.report)}

    def counted(self, use: str, told: Sequence[stream.Told]) -> list[stream.Counts]:
        """Each quarter as counts of what was told of its texts."""
        pool, start = (self.choose, CHOOSE) if use == "choose" else (self.report, REPORT)
        subjects = [*map(stream.company_subject, sorted(news.load_companies())), *map(stream.topic_subject, news.load_labels()["topics"])]  # fmt: skip
        return [stream.count(stream.simulate(pool, start + n), told, subjects) for n in range(self.quarters)]


def alarms(pools: Pools, told: Mapping[str, Sequence[stream.Told]], detector: str = "cusum") -> dict[str, float]:
    """The threshold that was cheapest on the quarters for choosing, and what it does on those for reporting."""
    grid = GRID if detector == "cusum" else (4, 5, 6, 7, 8, 9, 10, 12, 14)
    choice = watch.cheapest(watch.sweep(pools.counted("choose", told["choose"]), grid, PRICES, detector))
    counted = pools.counted("report", told["report"])
    verdicts = [watch.judge(watch.alarms_of(c, choice.threshold, detector), c) for c in counted]
    low, high = evaluate.bootstrap(verdicts, lambda vs: watch.summary(vs)["in_time"], 300)
    few, many = evaluate.bootstrap(verdicts, lambda vs: watch.summary(vs)["false_a_quarter"], 300)
    return {
        "threshold": choice.threshold, **watch.summary(verdicts), "in_time_low": low, "in_time_high": high, "false_low": few,
        "false_high": many, "surges": sum(len(v.delays) for v in verdicts), "at_one_false": at_one_false(counted, grid, detector),
    }  # fmt: skip


def at_one_false(counted: Sequence[stream.Counts], grid: Sequence[float], detector: str = "cusum") -> float:
    """The share found in time at one false alarm a quarter, between the two nearest thresholds."""
    curve = [c.figures for c in watch.sweep(counted, grid, PRICES, detector)][::-1]
    return float(np.interp(1.0, [f["false_a_quarter"] for f in curve], [f["in_time"] for f in curve]))


def written(reader: newsreader.NewsReader, threshold: float) -> dict[str, float]:
    """The quarter as it was written: how many of its placed surges are found within a day, and how many alarms are false."""
    items = [i for part in ("test", "challenge", "events") for i in news.load_news(part)]
    quarter = stream.written_quarter(items, news.load_events(), datetime(2026, 1, 5))
    counts = stream.count(quarter, reader.told([i.text for i in items]))
    verdict = watch.judge(watch.alarms_of(counts, threshold), counts)
    return {"written_found": verdict.found(), "written_surges": len(verdict.delays), "written_false": verdict.false}


def others(pools: Pools, reader: newsreader.NewsReader) -> dict[str, dict[str, float]]:
    """What stands beside the watch: another detector, other readers, and readings dealt to the wrong texts."""
    told, easy = pools.read_by(partial(read_by, reader)), pools.ordinary("fresh")
    order = {use: np.random.default_rng(0).permutation(len(rows)) for use, rows in told.items()}
    return {
        "simple detector": alarms(pools, told, "surprise"),
        "true labels": alarms(pools, pools.read_by(stream.true_labels)),
        "true labels, ordinary": alarms(easy, easy.read_by(stream.true_labels)),
        "VADER": alarms(pools, pools.read_by(lexicon_told)),
        "volume": alarms(pools, pools.read_by(lambda pool: [stream.certain([i.company] if i.company else (), i.topic, True) for i in pool])),
        "dealt wrongly": alarms(pools, {use: [rows[n] for n in order[use]] for use, rows in told.items()}),
    }  # fmt: skip


def read_by(reader: newsreader.NewsReader, items: Sequence[news.News]) -> list[stream.Told]:
    """What a reader tells of items."""
    return reader.told([i.text for i in items])


def lexicon_told(items: Sequence[news.News]) -> list[stream.Told]:
    """Readings by the word list, with topics by TF-IDF."""
    topics, companies = newsreader.by_words(news.load_news("train"), items, "topic"), news.load_companies()
    bad = [s == "negative" for s in newsreader.by_lexicon([i.text for i in items])]
    named = [news.find_companies(i.text, companies) for i in items]
    return [stream.certain(c if b else (), t, b, () if b else c) for c, t, b in zip(named, topics, bad, strict=True)]


def speed(reader: newsreader.NewsReader, rounds: int = 3, many: int = 6000) -> dict[str, float]:
    """Headlines a second: here, by `transformers.pipeline`, and by one and two Ray workers; the median of some rounds."""
    import transformers

    texts = [i.text for i in news.load_news() if i.register != "events"][:1500]
    source, tokenizer = assets.load_encoder()
    config = type(source.config).from_dict(source.config.to_dict())
    config.id2label = dict(enumerate(news.SENTIMENTS))
    config.label2id = {name: n for n, name in config.id2label.items()}
    model = transformers.BertForSequenceClassification(config)
    pipe = transformers.pipeline("text-classification", model=model.eval(), tokenizer=tokenizer, device="cpu")
    pipe(texts[:64], batch_size=64)
    rates = {"agentlab": [], "one by one": [], "pipeline": []}
    for _ in range(rounds):  # by turns, so that a noisy moment meets all
        rates["agentlab"].append(newsreader.measure_speed(reader, texts).per_second)
        rates["one by one"].append(newsreader.measure_speed(reader, texts[:200], 1).per_second)
        began = time.perf_counter()
        pipe(texts[:600], batch_size=64)
        rates["pipeline"].append(600 / (time.perf_counter() - began))
    flow = (texts * (1 + many // len(texts)))[:many]
    for workers in (1, 2):
        rates[f"ray, {workers} workers"] = [newsreader.measure_ray(flow, workers).per_second]
    return {name: round(statistics.median(seen), 1) for name, seen in rates.items()}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quarters", type=int, default=100)
    options = parser.parse_args(arguments)
    pools, rows, reader = Pools.load(options.quarters), [], None
    for seed in range(options.seeds):
        reader = newsreader.load(newsreader.RECIPE, seed=seed)
        watched = alarms(pools, pools.read_by(partial(read_by, reader)))
        easy = {"ordinary_": pools.ordinary("fresh"), "test_only_": pools.ordinary()}
        rows.append(
            quality(reader)
            | watched
            | {mix + k: v for mix, p in easy.items() for k, v in alarms(p, p.read_by(partial(read_by, reader))).items()}
            | written(reader, watched["threshold"])
        )
        print(json.dumps(rows[-1], indent=1), flush=True)
    result = {
        "machine": inspect_machine().as_dict(),
        "versions": {p: version(p) for p in ("torch", "transformers", "ray", "vaderSentiment")},
        "data": corpus.fingerprint(news.finance_folder()),
        "seeds": options.seeds,
        "quarters": options.quarters,
        "prices": {"missed": PRICES.missed, "hour": PRICES.hour, "false": PRICES.false},
        "mean": {k: round(statistics.mean(r[k] for r in rows), 4) for k in rows[0]},
        "lowest": {k: round(min(r[k] for r in rows), 4) for k in rows[0]},
        "highest": {k: round(max(r[k] for r in rows), 4) for k in rows[0]},
        "floors": {k: round(v, 4) for k, v in floors().items()},
        "beside": {name: {k: round(v, 4) for k, v in row.items()} for name, row in others(pools, reader).items()},
        "headlines_per_second": speed(reader),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "news.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
