"""Requests and the right tool calls: the data, the prompt that a language model reads, and when two calls are the same.

A tool is a mapping with ``name``, ``description`` and ``parameters`` (a JSON Schema of an object); a call is
``{"name": ..., "arguments": {...}}``, or None where no tool fits. `describe` writes a tool in few tokens, since a small model
on a laptop reads slowly. `Caller` puts a language model behind it, and, if given, a `Chooser` that picks the tool first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentlab.corpus import data_folder, read_yaml
from agentlab.errors import DataError, UnknownName
from agentlab.grammar import NO_TOOL, tool_calls

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
