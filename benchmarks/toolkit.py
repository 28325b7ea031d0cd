"""What a checked tool call costs beyond the function itself, with its peers in the same run.

``python -m benchmarks.toolkit [--calls 5000]``

One function with three arguments, called with arguments that never repeat, so that no call comes from the cache. Peers:
pydantic's ``validate_call``, which validates and no more, and smolagents (its argument check and its call), which is put
into a throw-away folder for the run. All take turns in one process, so that what slows the machine slows each.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from agentlab.device import inspect_machine
from agentlab.toolkit import READ, WRITE, Effect, Toolbox, tool

RESULTS = Path(__file__).parent / "results"
ROUNDS = 5
PEER = "smolagents==1.26.0"
INSTALL = [
    sys.executable,
    "-m",
    "pip",
    "install",
    "-qqq",
    "--disable-pip-version-check",
    "--no-deps",
    PEER,
    "python-dotenv==1.2.2",
]


def find_orders(customer: str, status: Literal["open", "shipped"], limit: Annotated[int, pydantic.Field(ge=1, le=50)]) -> dict:  # fmt: skip
    """Find a customer's orders.

    Args:
        customer: the customer's id, such as C-1001
        status: which orders
        limit: how many at most
    """
    return {"customer": customer, "status": status, "limit": limit}


def nothing() -> None:
    """Do nothing, in a process of its own."""


def arguments(n: int) -> dict:
    """Arguments that no other n gives."""
    return {"customer": f"C-{n}", "status": ("open", "shipped")[n % 2], "limit": 1 + n % 50}


# --- the ways --------------------------------------------------------------------------------------------------


def plain(n: int) -> None:
    """The function alone: what all the others are measured against."""
    find_orders(**arguments(n))


def validated() -> Callable[[int], None]:
    """pydantic's own validation of the call, with no tool around it."""
    checked = pydantic.validate_call(find_orders)
    return lambda n: checked(**arguments(n))


def ours(effect: Effect) -> Callable[[int], None]:
    """`Toolbox.call`: validation, cache or idempotency key, JSON, log."""
    box = Toolbox([tool(find_orders, effect=effect)])

    def call(n: int) -> None:
        result = box.call("find_orders", arguments(n), f"key {n}" if effect is WRITE else None)
        assert result.ok and not result.cached  # noqa: PT018

    return call


def smolagents() -> Callable[[int], None]:
    """What smolagents' ToolCallingAgent does for a call: check the arguments, then call with its own conversions."""
    import smolagents
    from smolagents.tools import validate_tool_arguments

    one = smolagents.tool(find_orders)

    def call(n: int) -> None:
        given = arguments(n)
        validate_tool_arguments(one, given)
        one(**given, sanitize_inputs_outputs=True)

    return call


@contextmanager
def with_peer() -> Iterator[None]:
    """smolagents importable: the installed one, else one in a folder that goes with the run."""
    with tempfile.TemporaryDirectory() as folder:
        if importlib.util.find_spec("smolagents") is None:
            if subprocess.run([*INSTALL, "--target", folder]).returncode:
                raise SystemExit(f"{PEER} cannot be installed. With a network, try: {' '.join(INSTALL)}")
            sys.path.append(folder)  # last, so that all it needs beside itself is ours
        yield
        if folder in sys.path:
            sys.path.remove(folder)


# --- the run -------------------------------------------------------------------------------------------------


def measure(ways: dict[str, Callable[[int], None]], calls: int) -> dict[str, list[float]]:
    """Microseconds of each call of each way; the ways take turns, in both orders."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    n = 0
    for turn in range(ROUNDS):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            for _ in range(calls // ROUNDS):
                n += 1
                began = time.perf_counter_ns()
                ways[name](n)
                times[name].append((time.perf_counter_ns() - began) / 1000)
    return times


def isolated_milliseconds(calls: int = 7) -> float:
    """A call that does nothing, in a process of its own, which starts, imports, answers and ends.

    The shortest of several: whatever else the machine does can only make it longer.
    """
    from benchmarks import toolkit  # under a name that the other process can import

    box = Toolbox([tool(toolkit.nothing, effect=WRITE, isolated=True, timeout=60)])
    return 1000 * min(box.call("nothing", {}).seconds for _ in range(calls))


def main(given: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=5000, help="how often each way is called")
    options = parser.parse_args(given)
    with with_peer():
        ways = {
            "function alone": plain,
            "pydantic validate_call": validated(),
            "agentlab READ": ours(READ),
            "agentlab WRITE": ours(WRITE),
            "smolagents": smolagents(),
        }
        times = measure(ways, options.calls)
        versions = {p: version(p) for p in ("pydantic", "smolagents")}
    base = statistics.median(times["function alone"])
    result = {
        "machine": inspect_machine().as_dict(),
        "versions": versions,
        "calls": options.calls,
        "overhead_microseconds": {
            name: {"median": round(statistics.median(t) - base, 2), "p95": round(sorted(t)[int(0.95 * len(t))] - base, 2)}
            for name, t in times.items()
            if name != "function alone"
        },
        "isolated_milliseconds": round(isolated_milliseconds(), 1),
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "toolkit.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
