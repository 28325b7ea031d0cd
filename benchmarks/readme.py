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
    """A result file."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


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
    ways = found["ways"]
    ours, rules, nothing = ways["agentlab, hybrid"], ways["agentlab, rules"], ways["do nothing"]
    low, high = ours["interval"]
    return [
        ("Customers served by the agent, test part", f"{ours['pass_1']:.0%} ({low:.0%} to {high:.0%}), every one of {found['seeds']} times {ours['pass_k']:.0%}", f"{rules['pass_1']:.0%} rules alone, {ways['agentlab, language']['pass_1']:.0%} language model alone, {nothing['pass_1']:.0%} doing nothing"),
        ("Rules broken by the agent in those conversations", str(ours["violations"]), f"{ways['agentlab, language']['violations']} language model alone"),
        ("A turn of the agent, milliseconds: median, 95th percentile", f"{ours['turn_ms']['median']:.0f}, {ours['turn_ms']['p95']:.0f}", ""),
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
    rows += [*language_rows(), *agent_rows()]
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
