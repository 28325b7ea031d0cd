"""The language model: tokens per second against its peers, calls that are valid and right, and a public benchmark.

``python -m benchmarks.language [--only speed calls bfcl] [--some N]``

Speed: one stream, greedy, the same weights. Peers: transformers' ``generate()`` in float32 and bfloat16, and llama.cpp on the same GGUF
file, built from source into an environment of the benchmark's own (a few minutes, kept in the cache). All take turns,
so that what slows the machine slows each. Calls: the test part of ``data/toolcalls``, whose domains no training saw. BFCL:
questions and answers of the Berkeley Function-Calling Leaderboard, installed for the run (see ``benchmarks/bfcl.py``).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import jsonschema
import torch

from agentlab import assets
from agentlab.choosing import load as load_chooser
from agentlab.device import inspect_machine, usable_cores
from agentlab.evaluate import bootstrap
from agentlab.grammar import tool_calls
from agentlab.language import LanguageModel
from agentlab.local import TorchLanguage
from agentlab.toolcalls import ToolExample, ask, call_prompt, load_toolcalls, same_call
from benchmarks import bfcl

RESULTS = Path(__file__).parent / "results"
REPO = Path(__file__).resolve().parent.parent
LLAMA = "llama-cpp-python==0.3.36"
PROMPT = [{"role": "user", "content": "Explain to a customer what happens when a parcel is returned to the sender."}]
TOKENS, ROUNDS = 96, 7
PIP = [sys.executable, "-m", "pip", "install", "-qqq", "--disable-pip-version-check"]


# --- llama.cpp in an environment of its own ------------------------------------------------------------------


def llama_python() -> Path:
    """The interpreter of an environment that has llama.cpp and everything of this one; built at most once."""
    folder = assets.cache_folder() / f"bench-{LLAMA.replace('==', '-')}-{sys.version_info[0]}{sys.version_info[1]}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"Building {LLAMA}, once (several minutes) ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        done = subprocess.run([str(python), *PIP[1:], LLAMA])
        if done.returncode:
            raise SystemExit(f"{LLAMA} could not be built. It needs a C++ compiler and, the first time, a network.")
        site = Path(subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True).strip())  # fmt: skip
        (site / "agentlab-bench.pth").write_text(f"{sysconfig.get_path('purelib')}\n{REPO}\n")
        (folder / "ready").touch()
    return python


class Worker:
    """llama.cpp in a process of its own: writes the prompt's answer each time it is asked, and says how long it took."""

    def __init__(self, python: Path, way: str):
        command = [str(python), "-m", "benchmarks.language", "--worker", way]
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=REPO, env=environment
        )  # fmt: skip

    def __call__(self) -> float:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("The process that runs llama.cpp ended early.")
        return float(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)


def work(way: str) -> None:
    """What a `Worker` runs: tokens per second for each line that is read."""
    if way == "raw":
        import llama_cpp

        found = assets.find(assets.LANGUAGE_MODEL)
        llm = llama_cpp.Llama(
            str(found.path / assets.LANGUAGE_MODEL.weights), n_ctx=512, n_threads=usable_cores(), n_threads_batch=usable_cores(), verbose=False
        )  # fmt: skip

        def write() -> int:
            answer = llm.create_chat_completion(PROMPT, temperature=0, max_tokens=TOKENS)
            return answer["usage"]["completion_tokens"]
    else:
        from agentlab.llamacpp import LlamaCpp

        model = LlamaCpp()

        def write() -> int:
            return model.complete(PROMPT, max_tokens=TOKENS).tokens

    for _ in sys.stdin:
        began = time.perf_counter()
        tokens = write()
        print(tokens / (time.perf_counter() - began), flush=True)


# --- speed ---------------------------------------------------------------------------------------------------


def by_generate(dtype: torch.dtype) -> Callable[[], float]:
    model, tokenizer = assets.load_language_model()
    model = copy.deepcopy(model).to(dtype)
    ids = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True, return_tensors="pt", return_dict=True)

    def run() -> float:
        began = time.perf_counter()
        out = model.generate(**ids, max_new_tokens=TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        return (out.shape[1] - ids["input_ids"].shape[1]) / (time.perf_counter() - began)

    return run


def by_ours(precision: str) -> Callable[[], float]:
    model = TorchLanguage.load(precision=precision)

    def run() -> float:
        model.forget()
        began = time.perf_counter()
        return model.complete(PROMPT, max_tokens=TOKENS).tokens / (time.perf_counter() - began)

    return run


def speed() -> dict:
    """Tokens per second, prompt included: the median of the rounds of each way."""
    python = llama_python()
    workers = {"llama.cpp": Worker(python, "raw"), "agentlab, llama.cpp engine": Worker(python, "ours")}
    ways = {
        "generate() float32": by_generate(torch.float32),
        "generate() bfloat16": by_generate(torch.bfloat16),
        "agentlab float32": by_ours("float32"),
        "agentlab bfloat16": by_ours("bfloat16"),
        "agentlab int8": by_ours("int8"),
        **workers,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            rate = ways[name]()
            if turn:  # the first round warms up
                rates[name].append(rate)
    for worker in workers.values():
        worker.close()
    medians = {name: round(statistics.median(r), 1) for name, r in rates.items()}
    best = max(medians["agentlab int8"], medians["agentlab, llama.cpp engine"])
    return {
        "tokens_per_second": medians,
        "against_generate_float32": round(medians["agentlab int8"] / medians["generate() float32"], 2),
        "torch_against_llama_cpp": round(medians["agentlab int8"] / medians["llama.cpp"], 2),
        "best_against_llama_cpp": round(best / medians["llama.cpp"], 2),
        "prefix": prefix(),
    }


def prefix() -> dict:
    """Milliseconds to the first token of a call prompt: its tools not read yet, and kept from the call before."""
    model = TorchLanguage.load()
    examples = [e for e in load_toolcalls("test") if len(e.tools) >= 4][:12]
    fresh, kept = [], []
    for e in examples:
        model.forget()
        fresh.append(model.complete(call_prompt("Hello there, can you help me?", e.tools), max_tokens=1).seconds)
        kept.append(model.complete(call_prompt(e.request, e.tools), max_tokens=1).seconds)
    return {
        "fresh_milliseconds": round(1000 * statistics.median(fresh), 1),
        "kept_milliseconds": round(1000 * statistics.median(kept), 1),
    }


# --- calls on held-out schemas -------------------------------------------------------------------------------


def freely(model: LanguageModel, request: str, tools: Sequence[dict]) -> dict | str | None:
    """What the model writes without a grammar, read leniently: JSON from the first brace on, or none."""
    text = model.complete(call_prompt(request, tools), max_tokens=96).text.strip()
    if text.lower().startswith("none"):
        return None
    try:
        return json.JSONDecoder().raw_decode(text[text.index("{") :])[0]
    except ValueError:
        return text


def is_valid(call: object, tools: Sequence[dict]) -> bool:
    if call is None:
        return True
    try:
        schema = next(t["parameters"] for t in tools if t["name"] == call["name"])
        jsonschema.validate(call["arguments"], schema)
        return True
    except (StopIteration, KeyError, TypeError, jsonschema.ValidationError):
        return False


def calls(some: int | None) -> dict:
    """Valid and exactly right calls on the test part, and the forward passes that forced tokens saved."""
    from agentlab.assistant import NONE_ABOVE, load_assistant

    examples = load_toolcalls("test")[:some]
    plain, taught, chooser = TorchLanguage.load(), load_assistant(), load_chooser()
    ways = {
        "always none (floor)": lambda e: None,
        "plain model": lambda e: freely(plain, e.request, e.tools),
        "with grammar": lambda e: ask(plain, e.request, e.tools),
        "with grammar and adapter": lambda e: ask(taught, e.request, e.tools, none_above=NONE_ABOVE),
        "with grammar, adapter and chooser": lambda e: ask(taught, e.request, e.tools, chooser),
    }
    rows = {}
    for name, way in ways.items():
        began, found = time.perf_counter(), [way(e) for e in examples]
        seconds = time.perf_counter() - began
        values = [getattr(f, "value", f) for f in found]
        right = [v is None or isinstance(v, dict) for v in values]
        right = [r and _same(v, e.call) for r, v, e in zip(right, values, examples, strict=True)]
        rows[name] = {
            "valid": round(statistics.mean(is_valid(v, e.tools) for v, e in zip(values, examples, strict=True)), 4),
            "exact": round(statistics.mean(right), 4),
            "interval": [round(x, 4) for x in bootstrap(right, statistics.mean)],
            "seconds_per_request": round(seconds / len(examples), 3),
        }
        written = [f for f in found if hasattr(f, "passes") and f.tokens]
        if written:
            rows[name]["tokens_per_pass"] = round(sum(f.tokens for f in written) / sum(f.passes for f in written), 2)
    return {
        "requests": len(examples),
        **rows,
        "tool given": {
            n: given(m, examples) for n, m in (("with grammar", plain), ("with grammar and adapter", taught))
        },
    }


def given(model: LanguageModel, examples: Sequence[ToolExample]) -> float:
    """Share of the requests that need a tool whose call is exactly right when only that tool is offered."""
    right = []
    for e in (e for e in examples if e.call is not None):
        tools = [t for t in e.tools if t["name"] == e.call["name"]]
        written = model.structured(call_prompt(e.request, tools), tool_calls(tools, none=False))
        right.append(same_call(written.value, e.call))
    return round(statistics.mean(right), 4)


def _same(value: object, truth: dict | None) -> bool:
    try:
        return same_call(value, truth)
    except (KeyError, TypeError, AttributeError):
        return False


# --- the public benchmark ------------------------------------------------------------------------------------


def public(some: int | None) -> dict:
    """BFCL's three single-turn categories by its own rules, with floors and published figures."""
    from agentlab.assistant import NONE_ABOVE, load_assistant

    taught, chooser = load_assistant(), load_chooser()
    questions = {c: bfcl.load(c)[:some] for c in bfcl.CATEGORIES}
    ways = {
        "with grammar and adapter": lambda q: ask(taught, q.request, q.tools, none_above=NONE_ABOVE).value,
        "with grammar, adapter and chooser": lambda q: ask(taught, q.request, q.tools, chooser).value,
    }
    result = {"questions": {c: len(q) for c, q in questions.items()}, "floors": bfcl.floors(questions)}
    for name, way in ways.items():
        began = time.perf_counter()
        verdicts = {c: [bfcl.judge(q, way(q)) for q in qs] for c, qs in questions.items()}
        seconds = (time.perf_counter() - began) / sum(map(len, questions.values()))
        result[name] = {**bfcl.summary(verdicts), "seconds_per_question": round(seconds, 3)}
    return {**result, "published": bfcl.PUBLISHED}


PARTS = {"speed": lambda some: speed(), "calls": calls, "bfcl": public}


def main(given: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="which parts to measure")
    parser.add_argument(
        "--some", type=int, help="only the first N requests and questions, for a trial; nothing is saved"
    )
    parser.add_argument("--worker", choices=("raw", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if options.worker:
        work(options.worker)
        return
    file = RESULTS / "language.json"
    result = json.loads(file.read_text()) if file.exists() else {}
    result |= {"machine": inspect_machine().as_dict()}
    result["versions"] = {p: version(p) for p in ("torch", "transformers", "llguidance", "peft")}
    for part in options.only:
        result[part] = PARTS[part](options.some)
        print(json.dumps({part: result[part]}, indent=1), flush=True)
    if options.some is None:
        RESULTS.mkdir(exist_ok=True)
        file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
