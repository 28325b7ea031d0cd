"""The questions of the Berkeley Function-Calling Leaderboard, and its rules for what counts as a right call.

Three categories: ``simple_python`` offers one tool and wants a call of it, ``multiple`` offers several and wants a
call of the one that fits, ``irrelevance`` offers tools that do not fit and wants no call. Questions and answers are
read from an installed copy of the package ``bfcl-eval`` (Apache-2.0, the Gorilla project of UC Berkeley), which is
neither imported nor copied. `judge` follows its ``bfcl_eval/eval_checker/ast_eval/ast_checker.py`` in words of its
own, oddities included.

Not here: the leaderboard's other categories, its prompts, and how a model's text becomes a call.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentlab.errors import AssetError, UnknownName

CATEGORIES = ("simple_python", "multiple", "irrelevance")
INSTALL = "pip install --no-deps --target DIR bfcl-eval==2026.3.23, and set BFCL_EVAL=DIR"

# Percent right as the leaderboard publishes it, per category: its figures and its prompts, nothing measured here.
PUBLISHED = {
    "Gemma-3-1b": dict(zip(CATEGORIES, (64.0, 36.0, 7.1), strict=True)),
    "Llama-3.2-1B": dict(zip(CATEGORIES, (75.0, 50.5, 35.8), strict=True)),
    "Hammer2.1-0.5b": dict(zip(CATEGORIES, (83.3, 81.0, 85.0), strict=True)),
    "Qwen3-0.6B": dict(zip(CATEGORIES, (86.5, 86.0, 82.5), strict=True)),
}

# BFCL's type names in JSON Schema. "any" is a string there, since the official rules take it for one.
SCHEMA_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
SCHEMA_TYPES |= {same: same for same in ("string", "integer", "boolean", "array")}
PYTHON_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "number": float, "integer": int}
KEPT = ("description", "enum", "default", "format", "maximum", "required")

LEFT_OUT = ""  # among the allowed values of a parameter: it need not be given
IGNORED = str.maketrans("'", '"', " ,./-_*^")  # the two quotes are one, these characters are none


@dataclass(frozen=True)
class Question:
    """A request, the tools offered with it, and the calls that count as right.

    ``tools`` are ``{"name", "description", "parameters": JSON Schema}``. ``answers`` is ``[{name: {parameter: [allowed
    values]}}]``, or None where no call is right.
    """

    id: str
    request: str
    tools: list[dict]
    answers: list[dict] | None


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and a sentence that says why."""

    right: bool
    reason: str


# --- the questions -------------------------------------------------------------------------------------------


def folder() -> Path:
    """Where the package's data lie: in the folder that ``BFCL_EVAL`` names, else where Python finds the package.

    Raises:
        AssetError: it is in neither place.
    """
    named = os.environ.get("BFCL_EVAL")
    if named:
        homes = [Path(named) / "bfcl_eval", Path(named)]
    else:
        found = importlib.util.find_spec("bfcl_eval")  # finds a top-level package without importing it
        homes = [Path(home) for home in (found.submodule_search_locations or [])] if found else []
    for home in homes:
        if (home / "data" / "possible_answer").is_dir():
            return home / "data"
    where = f"in BFCL_EVAL={named}" if named else "installed"
    raise AssetError(f"The questions of bfcl-eval are not {where}. Try: {INSTALL}.")


def load(category: str) -> list[Question]:
    """The questions of a category with their answers, in the official order.

    Raises:
        UnknownName: the category is none of `CATEGORIES`.
        AssetError: the package is missing.
    """
    if category not in CATEGORIES:
        raise UnknownName("category", category, CATEGORIES)
    name, answers = f"BFCL_v4_{category}.json", {}
    if category != "irrelevance":
        answers = {entry["id"]: entry["ground_truth"] for entry in _lines(folder() / "possible_answer" / name)}
    return [
        Question(
            entry["id"],
            entry["question"][0][-1]["content"],  # one turn, one message, by the user
            [tool | {"parameters": as_json_schema(tool["parameters"])} for tool in entry["function"]],
            answers[entry["id"]] if answers else None,
        )
        for entry in _lines(folder() / name)
    ]


def _lines(file: Path) -> list[dict]:
    """The JSON objects of a file that has one on each line."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def as_json_schema(parameters: dict) -> dict:
    """BFCL's description of a tool's parameters, or of one of them, as JSON Schema (Draft 2020-12).

    An object whose properties are known takes no others, because the rules refuse them. A default is kept as it stands,
    also where it is not of the parameter's type, as in ``"default": "false"``.

    >>> as_json_schema({"type": "tuple", "items": {"type": "float"}, "optional": True})
    {'type': 'array', 'items': {'type': 'number'}}
    """
    if parameters["type"] not in SCHEMA_TYPES:
        raise UnknownName("type", parameters["type"], SCHEMA_TYPES)
    schema = {"type": SCHEMA_TYPES[parameters["type"]]} | {key: parameters[key] for key in KEPT if key in parameters}
    if "items" in parameters:
        schema["items"] = as_json_schema(parameters["items"])
    if "properties" in parameters:
        schema["properties"] = {name: as_json_schema(inner) for name, inner in parameters["properties"].items()}
        schema["additionalProperties"] = False
    return schema


# --- the rules -----------------------------------------------------------------------------------------------


def judge(question: Question, call: dict | list[dict] | None, *, underscores: bool = False) -> Verdict:
    """Whether a call is right by the official rules.

    Args:
        question: what was asked
        call: ``{"name": ..., "arguments": {...}}`` with values as JSON gives them, so that a tuple is a list; None for
            no call. Several calls come as a list, and are one too many. What has another form counts as no call.
        underscores: the model was shown ``a_b`` for each tool ``a.b``, and is to answer with that name

    >>> tool = {"name": "add", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    >>> question = Question("q", "Add 2.", [tool], [{"add": {"n": [2]}}])
    >>> judge(question, {"name": "add", "arguments": {"n": "2"}})
    Verdict(right=False, reason="'n' is to be an integer, not '2'.")
    """
    calls = call if isinstance(call, list) else [call]
    if not all(map(_is_call, calls)):
        calls = []
    if question.answers is None:
        return Verdict(not calls, "No tool fits, and " + ("one was called." if calls else "none was called."))
    if len(calls) != 1:
        return Verdict(False, f"One call is wanted, not {len(calls)}.")
    [(name, allowed)] = question.answers[0].items()
    tool = next(tool for tool in question.tools if tool["name"] == name)
    wrong = _wrong_name(calls[0]["name"], name, underscores)
    wrong = wrong or _wrong_arguments(calls[0]["arguments"], tool["parameters"], allowed)
    return Verdict(not wrong, wrong or "The call is right.")


def _is_call(call: Any) -> bool:
    return isinstance(call, dict) and isinstance(call.get("name"), str) and isinstance(call.get("arguments"), dict)


# Each of the following returns what is wrong, in a sentence, or "".


def _wrong_name(given: str, name: str, underscores: bool) -> str:
    wanted = name.replace(".", "_") if underscores else name
    return "" if given == wanted else f"The tool to call is {wanted!r}, not {given!r}."


def _wrong_arguments(arguments: dict, parameters: dict, allowed: dict[str, list]) -> str:
    """Required, unexpected, wrong, missing: an optional parameter may be missing only if its answer says so."""
    for name in parameters.get("required", []):
        if name not in arguments:
            return f"{name!r} is required and missing."
    for name, value in arguments.items():
        if name not in parameters["properties"] or name not in allowed:
            return f"{name!r} is not expected."
        if wrong := _wrong_value(name, value, parameters["properties"][name], allowed[name]):
            return wrong
    for name, values in allowed.items():
        if name not in arguments and LEFT_OUT not in values:
            return f"{name!r} is optional, but this request asks for it."
    return ""


def _wrong_value(name: str, value: Any, schema: dict, allowed: list) -> str:
    """The type first, then the value."""
    expected = PYTHON_TYPES[schema["type"]]
    inner = PYTHON_TYPES[schema["items"]["type"]] if expected is list else None
    if not _fits(value, expected, inner, allowed):
        item = f" of {schema['items']['type']}s" if inner else ""
        article = "an" if schema["type"][0] in "aeiou" else "a"
        return f"{name!r} is to be {article} {schema['type']}{item}, not {value!r}."
    # An answer of another type than the schema's stands for a variable, and is compared as it is.
    matches = _EQUAL.get((expected, inner is dict), _is_one_of) if _type(allowed) in (None, expected) else _is_one_of
    return "" if matches(value, allowed) else f"{name!r} is to be one of {allowed}, not {value!r}."


def _fits(value: Any, expected: type, inner: type | None, allowed: list) -> bool:
    """Whether the type is right: the schema's or the answer's. For a float an int will do, but not inside a list."""
    if expected is float and type(value) is int:
        return True
    if type(value) is not expected:
        return type(value) is _type(allowed)
    if inner is None:
        return True
    # An allowed value that is no list, as for a list that may be left out, lets items of any type pass here.
    return any(not isinstance(one, list) or all(type(item) in (inner, _type(one)) for item in value) for one in allowed)


def _type(allowed: list) -> type | None:
    """The type of the first allowed value; None if the parameter can only be left out."""
    return next((type(value) for value in allowed if value != LEFT_OUT), None)


# Each of the following says whether a value is among the allowed ones.


def _is_one_of(value: Any, allowed: list) -> bool:
    return value in allowed


def _is_string(value: str, allowed: list) -> bool:
    return _plain(value) in [_plain(one) for one in allowed if isinstance(one, str)]


def _is_list(value: list, allowed: list) -> bool:
    """In the same order; lists within lists to the letter. ``LEFT_OUT`` is as good as an empty list."""
    return [_plain(item) for item in value] in [[_plain(item) for item in one] for one in allowed]


def _is_object(value: dict, allowed: list) -> bool:
    """Each key has allowed values of its own, which may be ``LEFT_OUT``; what lies deeper is compared to the letter."""

    def agrees(one: dict) -> bool:
        known = all(key in one and _plain(inner) in map(_plain, one[key]) for key, inner in value.items())
        return known and all(key in value or LEFT_OUT in values for key, values in one.items())

    return isinstance(value, dict) and any(agrees(one) for one in allowed if isinstance(one, dict))


def _is_list_of_objects(value: list, allowed: list) -> bool:
    """In the same order, one for one."""
    return any(
        len(value) == len(one) and all(_is_object(item, [right]) for item, right in zip(value, one, strict=True))
        for one in allowed
    )


def _plain(value: Any) -> Any:
    """A string in lower case without spaces and some punctuation; anything else as it is.

    >>> _plain("St. John's, 12-B")
    'stjohn"s12b'
    """
    return value.translate(IGNORED).lower() if isinstance(value, str) else value


# By type, and for lists by whether objects are in them. Numbers and booleans are compared as they are.
_EQUAL: dict[tuple[type, bool], Callable[[Any, list], bool]] = {
    (str, False): _is_string,
    (list, False): _is_list,
    (list, True): _is_list_of_objects,
    (dict, False): _is_object,
}


# --- the scores ----------------------------------------------------------------------------------------------


def score(verdicts: Iterable[Verdict]) -> float:
    """Percent right.

    >>> score([Verdict(True, ""), Verdict(False, ""), Verdict(False, ""), Verdict(False, "")])
    25.0
    """
    return 100 * statistics.fmean(verdict.right for verdict in verdicts)


def summary(verdicts: Mapping[str, Iterable[Verdict]]) -> dict[str, float]:
    """Percent right in each category, and under ``"mean"`` their mean, each category counting the same."""
    percent = {category: score(verdicts[category]) for category in CATEGORIES}
    return percent | {"mean": statistics.fmean(percent.values())}


def never_call(question: Question) -> None:
    """The answer of a model that calls no tool, whatever it is asked."""


FLOORS = {"never call": never_call}


def floors(questions: Mapping[str, list[Question]]) -> dict[str, dict[str, float]]:
    """What needs no model: the `summary` of each way to answer in `FLOORS`, judged like a model's answers."""
    return {
        name: summary({category: [judge(one, answer(one)) for one in questions[category]] for category in CATEGORIES})
        for name, answer in FLOORS.items()
    }
