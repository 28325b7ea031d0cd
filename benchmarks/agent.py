"""The shop's agent on simulated customers, beside an agent that does nothing and, if wanted, beside smolagents.

``python -m benchmarks.agent [--part development] [--seeds 1] [--some N] [--peers] [--worded] [--transcripts FILE]``

Every way serves the same customers with the same tools, one after the other in one process. Peers: smolagents'
``ToolCallingAgent`` (see ``agentlab/peers.py``), with the course's language model as it is and with the course's adapter.
Both are run in float32, where their text is that of smolagents' own ``TransformersModel``; in int8, as our agent runs the adapted
one, long prompts such as theirs lose more. Success, broken rules, and what a turn costs in milliseconds and tokens (prompt and
reply of every call of a language model, whether its prompt was kept or read anew).

The peers take a minute a turn, so ``--some N`` plays N scenarios, spread evenly over the part. A run without peers and one with
them are kept beside each other in ``results/agent.json``, since their scenarios need not be the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentlab import adapt, assets, peers
from agentlab.assistant import adapter_folder, load_assistant
from agentlab.device import inspect_machine
from agentlab.local import TorchLanguage
from agentlab.scenarios import PARTS, Scenario, load_scenarios
from agentlab.shop.agent import shop_agent
from agentlab.shop.store import Store
from agentlab.trials import Outcome, Report, do_nothing, evaluate
from benchmarks.toolkit import with_peer

RESULTS = Path(__file__).parent / "results"
MakeAgent = Callable[[Store], Any]


# --- the ways ------------------------------------------------------------------------------------------------


def smolagents(taught: bool) -> MakeAgent:
    """smolagents' loop with the course's language model, as it is or with the adapter that was taught calls."""
    if taught:
        _, tokenizer = assets.load_language_model()
        model = adapt.merge(adapt.load_adapter(adapter_folder()))
        language = TorchLanguage(model, tokenizer, "float32", too_long="cut", name="the course's assistant")
    else:
        language = TorchLanguage.load(precision="float32", too_long="cut")
    return lambda store: peers.smol_agent(store, language)


def ours(planner: str, wording: str = "template") -> MakeAgent:
    """The shop's agent with a planner; all but the rules have the course's assistant as their language model."""
    language = None if planner == "rules" else load_assistant()
    return lambda store: shop_agent(store, planner=planner, language=language, wording=wording)


PEERS: dict[str, Callable[[], MakeAgent]] = {
    "smolagents, SmolLM2": lambda: smolagents(taught=False),
    "smolagents, SmolLM2 with the adapter": lambda: smolagents(taught=True),
}
WAYS: dict[str, Callable[[], MakeAgent]] = {
    "do nothing": lambda: do_nothing,
    "agentlab, rules": lambda: ours("rules"),
    "agentlab, language": lambda: ours("language"),
    "agentlab, hybrid": lambda: ours("hybrid"),
}
WORDED = {"agentlab, hybrid, worded by the model": lambda: ours("hybrid", "model")}


# --- the figures ---------------------------------------------------------------------------------------------


def figures(report: Report) -> dict:
    """What a way achieved and what it cost; ``changes`` are the runs in which something has to be changed."""
    score, (low, high), (median, p95) = report.score(), report.interval(1), report.ms
    changes = [s for s in report.scenarios if s.ends.writes]
    tokens = [e.tokens for o in report.outcomes for e in o.transcript]
    return {
        "pass_1": round(score.pass_1, 4),
        "pass_k": round(score.pass_k, 4),
        "runs": len(report.outcomes),
        "interval": [round(low, 4), round(high, 4)],
        "changes": {"runs": len(changes) * report.seeds, "won": sum(report.successes(changes))},
        "violations": report.violations,
        "faults": report.faults,
        "turns": len(tokens),
        "turn_ms": {"median": round(median, 1), "p95": round(p95, 1)},
        "turn_tokens": {"median": round(float(np.median(tokens))), "p95": round(float(np.percentile(tokens, 95)))},
    }


def line(name: str, found: dict) -> str:
    """A row of the table that is printed."""
    (low, high), ms, tokens = found["interval"], found["turn_ms"], found["turn_tokens"]
    share = f"{found['pass_1']:.2f} ({low:.2f} to {high:.2f})"
    changes = "{won} of {runs}".format(**found["changes"])
    return f"{name:<38}{share:>22}{changes:>12}{found['violations']:>8}{ms['median']:>10.0f}{ms['p95']:>10.0f}{tokens['median']:>9}{tokens['p95']:>9}"  # fmt: skip


HEAD = f"{'':<38}{'pass^1':>22}{'changes':>12}{'broken':>8}{'ms':>10}{'p95':>10}{'tokens':>9}{'p95':>9}"


def spread(scenarios: Sequence[Scenario], some: int | None) -> list[Scenario]:
    """Some of the scenarios, evenly spaced; all where ``some`` is None or more than there are."""
    if some is None or some >= len(scenarios):
        return list(scenarios)
    return [scenarios[n * len(scenarios) // some] for n in range(some)]


def watch(outcome: Outcome) -> None:
    """Say how a visit ended, while others are still to come."""
    how = "success" if outcome.success else f"{outcome.fault}. {outcome.why[0]}"
    print(f"  {outcome.scenario}, seed {outcome.seed}: {how}", file=sys.stderr, flush=True)


def measure(
    scenarios: Sequence[Scenario], seeds: int, ways: Mapping[str, Callable[[], MakeAgent]]
) -> tuple[dict, dict[str, list[dict]]]:
    """The figures of each way, and all its conversations."""
    rows, talks = {}, {}
    print(HEAD, flush=True)
    for name, make in ways.items():
        began, agent = time.perf_counter(), make()
        report = evaluate(agent, scenarios, seeds, watch)
        rows[name] = figures(report) | {"seconds": round(time.perf_counter() - began, 1)}
        talks[name] = [o.as_dict() for o in report.outcomes]
        print(line(name, rows[name]), flush=True)
    return rows, talks


def main(given: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", choices=PARTS, default="development", help="which part's scenarios")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each scenario")
    parser.add_argument("--some", type=int, help="so many scenarios of the part, evenly spaced")
    parser.add_argument("--peers", action="store_true", help="smolagents too; a minute a turn on two cores")
    parser.add_argument("--worded", action="store_true", help="the hybrid with replies by the language model too")
    parser.add_argument("--transcripts", type=Path, help="write every conversation here, as JSON")
    options = parser.parse_args(given)
    scenarios = spread(load_scenarios(options.part), options.some)
    with with_peer() if options.peers else contextlib.nullcontext():
        ways = WAYS | (WORDED if options.worded else {}) | (PEERS if options.peers else {})
        rows, talks = measure(scenarios, options.seeds, ways)
        packages = ["torch", "transformers", *(["smolagents"] if options.peers else [])]
        versions = {p: version(p) for p in packages}
    found = {
        "machine": inspect_machine().as_dict(),
        "threads": torch.get_num_threads(),
        "versions": versions,
        "scenarios": len(scenarios),
        "seeds": options.seeds,
        **({"peer_limits": asdict(peers.Limits())} if options.peers else {}),
        "ways": rows,
    }
    if options.transcripts:
        options.transcripts.parent.mkdir(parents=True, exist_ok=True)
        options.transcripts.write_text(json.dumps(talks, indent=1, ensure_ascii=False), encoding="utf-8")
    file = RESULTS / "agent.json"
    result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    result[f"{options.part}, with peers" if options.peers else options.part] = found
    RESULTS.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
