"""Requests and the right tool calls: the data, the prompt that a language model reads, and when two calls are the same.

A tool is a mapping with ``name``, ``description`` and ``parameters`` (a JSON Schema of an object); a call is
``{"name": ..., "arguments": {...}}``, or None where no tool fits. `describe` writes a tool in few tokens, since a small model
on a laptop reads slowly.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentlab.corpus import data_folder, read_yaml
from agentlab.errors import DataError, UnknownName
from agentlab.grammar import NO_TOOL, tool_calls
from agentlab.language import LanguageModel, Structured

if TYPE_CHECKING:
    from agentlab.choosing import Chooser

PARTS = ("train", "development", "test")
FORMATTED = re.compile(
    r"YYYY|HH:MM|ISO|format|code|abbreviat|lower.?case|upper.?case|unit", re.IGNORECASE
)  # of a text argument
NUMBER_WORDS = {
    word: n for n, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen twenty".split()
    )
} | {"thirty": 30, "forty": 40, "fifty": 50, "hundred": 100, "dozen": 12, "half a dozen": 6, "couple": 2, "pair": 2,
     "half": 0.5, "once": 1, "twice": 2}  # fmt: skip
NUMBER = re.compile(
    r"(?P<digits>(?<![\w/:.-])-?\d+(?:,\d{3})*(?:\.\d+)?)(?![-/:]?\d|-[A-Z])\s?(?P<percent>%|per ?cent)?|"
    rf"\b(?P<word>{'|'.join(sorted(NUMBER_WORDS, key=len, reverse=True))})\b",
    re.IGNORECASE,
)
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
    model: LanguageModel, request: str, tools: Sequence[Tool], chooser: Chooser | None = None,
    none_above: float | None = None, **decoding,
) -> Structured:  # fmt: skip
    """Let a language model write a call, or none, under a grammar; ``value`` is the `Call` or None.

    With ``none_above`` the answer is none only if the model finds that at least so probable; a model that was taught on other
    tools says none too readily. With a ``chooser`` the encoder decides which tool it is and which optional arguments are given, and the model fills in
    values; those that are free texts it copies from the request (`narrowed`).
    """
    if chooser is None:
        prompt = call_prompt(request, tools)
        if none_above is not None and math.exp(model.score(prompt, NO_TOOL).logprobs[0]) >= none_above:
            return Structured(None, NO_TOOL, tokens=1, passes=1)
        written = model.structured(prompt, tool_calls(tools, none=none_above is None), **decoding)
        return replace(written, value=as_typed(written.value, tools))
    tool = chooser(request, tools)
    if tool is None:
        return Structured(None, NO_TOOL)
    grammar = tool_calls([narrowed(tool, chooser.mentioned(request, tool), request)], none=False)
    written = model.structured(call_prompt(request, [tool]), grammar, **decoding)
    return replace(written, value=as_typed(written.value, [tool]))


def narrowed(tool: Tool, mentioned: Sequence[str], request: str) -> Tool:
    """The tool with its required arguments and those that are mentioned, all of them to be given.

    A free text may only be a piece of the request, or a value that the argument's description puts in quotes; a number
    only one that the request says. Texts with a format of their own, such as dates, stay as they are.
    """
    schema = tool["parameters"]
    kept = [n for n in schema.get("properties", {}) if n in mentioned or n in schema.get("required", ())]
    properties = {n: _copied(schema["properties"][n], request) for n in kept}
    return {**tool, "parameters": {**schema, "properties": properties, "required": kept}}


def _copied(schema: Mapping[str, Any], request: str) -> Mapping[str, Any]:
    if schema.get("type") == "array" and isinstance(schema.get("items"), Mapping):
        inner = {"description": schema.get("description", ""), **schema["items"]}
        return {**schema, "items": _copied(inner, request)}
    if {"enum", "const", "format", "pattern"} & set(schema):
        return schema
    if schema.get("type") in ("integer", "number"):
        whole, in_percent = schema["type"] == "integer", "percent" in schema.get("description", "").lower()
        said = numbers(request, fractions=not whole and not in_percent)
        said = [n for n in said if _in_range(n, schema) and not (whole and n != int(n))]
        return {"enum": said} if said else schema
    about = schema.get("description", "")
    if schema.get("type") != "string" or FORMATTED.search(about):
        return schema
    quoted = [q for pair in re.findall(r"'([^']{1,40})'|\"([^\"]{1,40})\"", about) for q in pair if q]
    return {"type": "string", "enum": list(dict.fromkeys([*pieces(request), *quoted])) or [""]}


def _in_range(number: float, schema: Mapping[str, Any]) -> bool:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above = number > schema.get("exclusiveMinimum", -math.inf)
    return low <= number <= high and above and number < schema.get("exclusiveMaximum", math.inf)


def numbers(text: str, fractions: bool = False) -> list[float]:
    """The numbers that a text says, in digits or words; parts of dates and ids are none.

    ``fractions`` reads a percentage as a fraction.

    >>> numbers("two of 1,500 at 5% on 2026-03-01 for W20417", fractions=True)
    [2, 1500, 0.05]
    """
    found: list[float] = []
    for match in re.finditer(NUMBER, text):
        if match["word"]:
            found.append(NUMBER_WORDS[match["word"].lower()])
            continue
        value = float(match["digits"].replace(",", ""))
        found.append(value / 100 if match["percent"] and fractions else value)
    return list(dict.fromkeys(int(n) if n == int(n) else n for n in found))


def pieces(text: str, longest: int = 12) -> list[str]:
    """Every run of up to ``longest`` words of a text, without the punctuation around it.

    >>> pieces("to Oslo, now!")
    ['to', 'to Oslo', 'to Oslo, now', 'Oslo', 'Oslo, now', 'now']
    """
    words = list(re.finditer(r"\S+", text))
    found = []
    for n, first in enumerate(words):
        for last in words[n : n + longest]:
            piece = text[first.start() : last.end()].strip(" .,;:!?\"'()[]")
            found += [piece.removesuffix("'s"), piece] if piece.endswith("'s") else [piece]
    return [p for p in dict.fromkeys(found) if p]


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
