"""Requests and the right tool calls: the data, the prompt that a language model reads, and when two calls are the same.

A tool is a mapping with ``name``, ``description`` and ``parameters`` (a JSON Schema of an object); a call is
``{"name": ..., "arguments": {...}}``, or None where no tool fits. `describe` writes a tool in few tokens, since a small model
on a laptop reads slowly.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentlab.corpus import data_folder, read_yaml
from agentlab.errors import DataError, UnknownName
from agentlab.grammar import NO_TOOL, tool_calls
from agentlab.language import LanguageModel, Structured

PARTS = ("train", "development", "test")
SYSTEM = "Call the tool that fits the request, as JSON, or answer none.\n\n"
Tool = Mapping[str, Any]
Call = Mapping[str, Any]


@dataclass(frozen=True)
class ToolExample:
    """A request, the tools that are offered with it, and the right call; None where none of them fits."""

    request: str
    tools: list[dict]
    call: dict | None
    domain: str
    part: str


def load_toolcalls(part: str | None = None, folder: str | Path | None = None) -> list[ToolExample]:
    """The examples of ``data/toolcalls``, of one part or all; the domains of the test part are nowhere else.

    Raises `DataError` that names the file for an example which offers or calls a tool that its domain has not.
    """
    if part is not None and part not in PARTS:
        raise UnknownName("part", part, PARTS)
    folder = Path(folder or data_folder() / "toolcalls")
    examples = [e for file in sorted(folder.glob("*.yml")) for e in _read_domain(file)]
    if not examples:
        raise DataError("there is no tool-call file.", folder, cure="Give a folder that holds *.yml files.")
    return [e for e in examples if part in (None, e.part)]


def _read_domain(file: Path) -> list[ToolExample]:
    domain = read_yaml(file)
    tools = {tool["name"]: tool for tool in domain["tools"]}
    examples = []
    for item in domain["examples"]:
        call = None if item["call"] == NO_TOOL else item["call"]
        unknown = {*item["offered"], *([call["name"]] if call else [])} - set(tools)
        if unknown:
            raise DataError(f"the request {item['request']!r} names unknown tools: {', '.join(sorted(unknown))}.", file)
        examples.append(
            ToolExample(item["request"], [tools[n] for n in item["offered"]], call, file.stem, domain["part"])
        )
    return examples


# --- what the model reads and writes -------------------------------------------------------------------------


def describe(tool: Tool) -> str:
    """A tool in a few lines: its name, what it does, and each argument with type, limits and meaning.

    >>> print(describe({"name": "get_time", "description": "Time in a city.", "parameters": {"type": "object",
    ...     "properties": {"city": {"type": "string", "description": "e.g. Oslo"}}, "required": ["city"]}}))
    get_time: Time in a city.
    - city (string): e.g. Oslo
    """
    parameters = tool["parameters"]
    required = set(parameters.get("required", ()))
    lines = [f"{tool['name']}: {_one_line(tool.get('description', ''))}"]
    for name, schema in parameters.get("properties", {}).items():
        kind = type_name(schema) + ("" if name in required else ", optional")
        lines.append(f"- {name} ({kind}): {_one_line(schema.get('description', ''))}".rstrip(": "))
    return "\n".join(lines)


def type_name(schema: Mapping[str, Any]) -> str:
    """A JSON Schema type in a word or two: ``string``, ``checking | savings``, ``integer 1 to 7``, ``list of number``."""
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {type_name(schema.get('items', {}))}"
    if kind == "object" and schema.get("properties"):
        return "object with " + ", ".join(f"{n}: {type_name(s)}" for n, s in schema["properties"].items())
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{kind} {low} to {high}"
    return str(kind)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def call_prompt(request: str, tools: Sequence[Tool]) -> list[dict]:
    """The chat messages that ask for a call; the tools come first, so that the same tools are read only once."""
    return [
        {"role": "system", "content": SYSTEM + "\n\n".join(map(describe, tools))},
        {"role": "user", "content": request},
    ]


def call_text(call: Call | None, tools: Sequence[Tool]) -> str:
    """A call as the grammar writes it: the arguments in the order of the tool's schema; or the word none."""
    if call is None:
        return NO_TOOL
    tool = next(t for t in tools if t["name"] == call["name"])
    order = list(tool["parameters"].get("properties", {}))
    arguments = {n: call["arguments"][n] for n in order if n in call["arguments"]}
    return json.dumps({"name": call["name"], "arguments": arguments}, ensure_ascii=False)


def same_call(one: Call | None, other: Call | None) -> bool:
    """Whether two calls have the same tool and the same arguments; 5 and 5.0 are the same number, True is none.

    >>> same_call({"name": "f", "arguments": {"x": 5}}, {"name": "f", "arguments": {"x": 5.0}})
    True
    """
    if one is None or other is None:
        return one is other
    return one["name"] == other["name"] and _same(one["arguments"], other["arguments"])


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def ask(
    model: LanguageModel, request: str, tools: Sequence[Tool], chooser: Callable | None = None, **decoding
) -> Structured:
    """Let a language model write a call, or none, under a grammar; ``value`` is the `Call` or None.

    With a ``chooser``, a function (request, tools) -> tool or None such as `agentlab.choosing.Chooser`, that decides which
    tool it is, and the model fills in the arguments.
    """
    if chooser is not None:
        tool = chooser(request, tools)
        if tool is None:
            return Structured(None, NO_TOOL)
        tools = [tool]
    written = model.structured(call_prompt(request, tools), tool_calls(tools, none=chooser is None), **decoding)
    return replace(written, value=as_typed(written.value, tools))


def as_typed(call: Call | None, tools: Sequence[Tool]) -> Call | None:
    """The call with every number that its schema calls ``number`` as a float, as Python programs expect it."""
    if call is None:
        return None
    schema = next(t["parameters"] for t in tools if t["name"] == call["name"])
    return {**call, "arguments": _typed(call["arguments"], schema)}


def _typed(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {k: _typed(v, properties.get(k, {})) for k, v in value.items()}
    if isinstance(value, list):
        return [_typed(v, schema.get("items", {})) for v in value]
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and schema.get("type") == "number" else value


# --- for training --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Offer:
    """Some tools and several requests made of them, each with its right call."""

    tools: list[dict]
    asked: list[tuple[str, dict | None]]


def training_offers(examples: Sequence[ToolExample], seed: int = 0, most: int = 8) -> list[Offer]:
    """The examples regrouped so that requests share their tools; other seeds give other offers.

    For each domain tools are drawn, one to all of them, and up to ``most`` requests that need one of these. To every other
    offer a request is added whose tool is not among them, with None as its answer. Requests that need no tool keep
    the tools they came with, since another tool of the domain might fit them.
    """
    rng = random.Random(seed)
    offers = []
    for domain in sorted({e.domain for e in examples}):
        mine = [e for e in examples if e.domain == domain]
        offers += _offers_of_calls([e for e in mine if e.call], rng, most)
        offers += [Offer(rng.sample(e.tools, len(e.tools)), [(e.request, None)]) for e in mine if e.call is None]
    rng.shuffle(offers)
    return offers


def _offers_of_calls(examples: list[ToolExample], rng: random.Random, most: int) -> list[Offer]:
    tools = {t["name"]: t for e in examples for t in e.tools}
    waiting, offers = rng.sample(examples, len(examples)), []
    while waiting:
        needed = waiting[0].call["name"]
        others = [name for name in tools if name != needed]
        names = [needed, *rng.sample(others, min(len(others), rng.choice((0, 1, 2, 3, 4))))]
        fit = [e for e in waiting if e.call["name"] in names][:most]
        waiting = [e for e in waiting if e not in fit]
        asked = [(e.request, e.call) for e in fit]
        strangers = [e for e in examples if e.call["name"] not in names]
        if strangers and len(offers) % 2:
            asked.append((rng.choice(strangers).request, None))
        offers.append(Offer([tools[n] for n in rng.sample(names, len(names))], rng.sample(asked, len(asked))))
    return offers
