"""The table of measured figures in the README, made from ``benchmarks/results``."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

from benchmarks.finetune import RESULTS

README = Path(__file__).resolve().parent.parent / "README.md"
ARTICLE = "the article's way"
MARKS = ("<!-- figures: written by `make bench` -->", "<!-- end of figures -->")


def read(name: str) -> dict:
    """A result file; empty where there is none yet."""
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def language_rows() -> list[tuple[str, str, str]]:
    """How fast the language model writes, and how well it calls tools."""
    found = read("language.json")
    rate = found["speed"]["tokens_per_second"]
    rows = [("Language model, tokens per second: own loop, llama.cpp engine", f"{rate['agentlab int8']:.0f}, {rate['agentlab, llama.cpp engine']:.0f}", f"{rate['generate() float32']:.0f} transformers' `generate()`, {rate['llama.cpp']:.0f} llama.cpp itself")]  # fmt: skip
    if calls := found.get("calls"):
        held, taught, plain = (
            calls[way]["exact"] for way in ("with grammar", "with grammar and adapter", "plain model")
        )
        rows.append(("Exact calls of tools never seen, none included", f"{taught:.0%}", f"{held:.0%} grammar without the adapter, {plain:.0%} neither, {calls['always none (floor)']['exact']:.0%} never calling"))  # fmt: skip
    if public := found.get("bfcl"):
        ours = public["with grammar, adapter and chooser"]
        beside = ", ".join(f"{fmean(values.values()):.1f} {name}" for name, values in public["published"].items())
        rows.append(("Berkeley Function-Calling Leaderboard, mean of three categories", f"{ours['mean']:.1f}", f"published: {beside}"))  # fmt: skip
    return rows


def agent_rows() -> list[tuple[str, str, str]]:
    """How often the agent serves a customer of the test part, and what a turn takes."""
    found = read("agent.json").get("test")
    if not found:
        return []
    ways, worded = (
        found["ways"],
        read("agent.json").get("development", {}).get("ways", {}).get("agentlab, hybrid, worded by the model"),
    )
    turn = (
        f"{worded['turn_ms']['median']:,.0f}, {worded['turn_ms']['p95']:,.0f} where the language model words the replies"
        if worded
        else ""
    )
    ours, rules, nothing = ways["agentlab, hybrid"], ways["agentlab, rules"], ways["do nothing"]
    low, high = ours["interval"]
    return [
        ("Customers served by the agent, test part", f"{ours['pass_1']:.0%} ({low:.0%} to {high:.0%}), every one of {found['seeds']} times {ours['pass_k']:.0%}", f"{rules['pass_1']:.0%} rules alone, {ways['agentlab, language']['pass_1']:.0%} language model alone, {nothing['pass_1']:.0%} doing nothing"),
        (f"Rules broken by the agent in these {ours['runs']} conversations", str(ours["violations"]), f"{ways['agentlab, language']['violations']} language model alone"),
        ("A turn of the agent, milliseconds: median, 95th percentile", f"{ours['turn_ms']['median']:.0f}, {ours['turn_ms']['p95']:.0f}", turn),
    ]  # fmt: skip


def search_rows() -> list[tuple[str, str, str]]:
    """How well a help page is found, and what is said where none answers."""
    found = read("retrieval.json").get("help_pages")
    if not found:
        return []
    stages, desk = found["stages"], found["desk"]
    five = {name: f"{row['recall_at_5']:.2f}" for name, row in stages.items()}
    return [
        ("The right help page among the first five", five["re-ranked"], f"{five['tfidf (floor)']} TF-IDF, {five['encoder']} encoder alone, {five['bm25']} BM25 alone"),
        ("Questions without an answer that are refused", f"{desk['refused']:.0%}", f"while {desk['answered']:.0%} of the others are answered, {desk['right_citation']:.0%} of these with the right page"),
    ]  # fmt: skip


def news_rows() -> list[tuple[str, str, str]]:
    """How well news is read, and how soon a surge of bad news is seen."""
    found = read("news.json")
    if not found:
        return []
    mean, floors, rate, beside = found["mean"], found["floors"], found["headlines_per_second"], found["beside"]
    ordinary, alone = ({k.removeprefix(mix): v for k, v in mean.items() if k.startswith(mix)} for mix in ("ordinary_", "test_only_"))  # fmt: skip
    return [
        (f"News, macro F1 of sentiment and topic ({found['seeds']} seeds)", f"{mean['test_sentiment']:.3f}, {mean['test_topic']:.3f}", f"{floors['test_sentiment_tfidf']:.2f}, {floors['test_topic_tfidf']:.2f} TF-IDF; {floors['test_sentiment_vader']:.2f} VADER"),
        ("The same on texts by three further writers", f"{mean['fresh_sentiment']:.2f}, {mean['fresh_topic']:.2f}", f"{floors['fresh_sentiment_tfidf']:.2f}, {floors['fresh_topic_tfidf']:.2f} TF-IDF; {floors['fresh_sentiment_vader']:.2f} VADER"),
        ("Surges of bad news alerted within a day, ordinary news", *(f"{row['in_time']:.0%} at {row['false_a_quarter']:.1f} false alerts a quarter{after}" for row, after in ((ordinary, f"; {alone['in_time']:.0%} at {alone['false_a_quarter']:.1f} without further writers' texts"), (beside["true labels, ordinary"], " if every text were read right")))),
        ("The same where six texts of ten are there to mislead", *(f"{row['in_time']:.0%} at {row['false_a_quarter']:.1f}{after}" for row, after in ((mean, ""), (beside["true labels"], " if every text were read right")))),
        ("Headlines per second", f"{rate['agentlab']:.0f}", f"{rate['pipeline']:.0f} `transformers.pipeline`, sentiment only"),
    ]  # fmt: skip


def recommend_rows() -> list[tuple[str, str, str]]:
    """What two towers gain over counting, and how fast they find."""
    found = read("recommend.json")
    if not found:
        return []

    def mean(group: str, way: str) -> str:
        return f"{fmean(row['ndcg'][group][way] for row in found['seeds']):.3f}"

    index = found["retrieval"]
    return [
        (f"Recommendations, NDCG@10 ({len(found['seeds'])} simulated shops)", mean("all", "two towers"), f"{mean('all', 'bestsellers')} bestsellers, {mean('all', 'factorization (implicit)')} implicit's factorization"),
        ("The same among products that nobody has bought yet", mean("new products", "two towers"), f"{mean('new products', 'factorization (implicit)')} implicit's factorization"),
        (f"Ten of {index['products']:,} products, milliseconds: median, 95th percentile", f"{index['index_ms']['median']:.1f}, {index['index_ms']['p95']:.1f}", f"{index['exact_ms']['median']:.1f}, {index['exact_ms']['p95']:.1f} comparing with all"),
    ]  # fmt: skip


def table() -> str:
    """The Markdown table, from the result files that are there."""

    speed, quality, tools = read("finetune_banking77.json"), read("understanding.json"), read("toolkit.json")
    mean, rate, quick = quality["mean"], speed["examples_per_second"], quality["speed"]
    call = {name: f"{took['median']:.1f}" for name, took in tools["overhead_microseconds"].items()}
    seeds = f"{quality['seeds']} seed{'s' if quality['seeds'] > 1 else ''}"
    rows = [
        ("Fine-tuning, messages per second", f"{rate['agentlab']:.0f}", f"{rate['Trainer at its best']:.0f} transformers' `Trainer` at its best; {rate[ARTICLE]:.1f} the article's way"),
        (f"Banking77, test accuracy after {speed['training_seconds']:.0f} s of training", f"{speed['test_accuracy']:.2%}", "93.66% published for BERT"),
        (f"Intents of the support corpus, macro F1 on test ({seeds})", f"{mean['intent_macro_f1']:.3f}", f"{quality['floor_macro_f1']:.3f} TF-IDF floor"),
        ("Intents of the challenge set, macro F1", f"{mean['challenge_macro_f1']:.3f}", f"{quality['floor_challenge_macro_f1']:.3f} TF-IDF floor"),
        ("Spans, F1 by exact match", f"{mean['span_f1']:.3f}", ""),
        ("Out of scope, AUROC", f"{mean['out_of_scope_auroc']:.3f}", f"at the threshold {mean['in_scope_right_and_kept']:.0%} of customers kept and understood, {mean['out_of_scope_recall']:.0%} of the rest refused"),
        ("Understanding, messages per second in a batch", f"{quick['agentlab_messages_per_second']:.0f}", f"{quick['pipeline_messages_per_second']:.0f} `transformers.pipeline`, intents only"),
        ("Understanding, milliseconds for one message", f"{quick['agentlab_median_milliseconds']:.1f}", f"{quick['pipeline_median_milliseconds']:.1f} `transformers.pipeline`, intents only"),
        ("A checked tool call beyond the function, microseconds: READ, WRITE", f"{call['agentlab READ']}, {call['agentlab WRITE']}", f"{call['smolagents']} smolagents, {call['pydantic validate_call']} pydantic's `validate_call`; neither logs nor remembers"),
        ("A tool in a process of its own, milliseconds", f"{tools['isolated_milliseconds']:.0f}", ""),
    ]  # fmt: skip
    rows += [*language_rows(), *agent_rows(), *search_rows(), *news_rows(), *recommend_rows()]
    lines = ["| figure | agentlab | beside it, in the same run |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]  # fmt: skip
    machine = quality["machine"]
    return "\n".join(
        [*lines, "", f"{machine['cores']} CPU cores, {machine['memory_gib']:.0f} GiB, torch {quality['versions']['torch']}. Published figures are not from this run."]
    )  # fmt: skip


def write() -> None:
    """Put the table between its marks in the README."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    README.write_text(f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")


if __name__ == "__main__":
    write()
