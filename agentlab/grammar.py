"""What a language model may write next: JSON Schema, regular expressions, choices and tool calls, by llguidance.

A `Grammar` is compiled once for each tokenizer and kept. A `Guide` follows one text through it: which tokens are allowed
now, and which are forced, so that the model need not be asked. Masks are computed on llguidance's NumPy path.

Valid is not the same as right: a grammar fixes the form of a call, never its content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from agentlab.decoding import LanguageError

if TYPE_CHECKING:
    import numpy as np

NO_TOOL = "none"
SEPARATORS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}  # as json.dumps writes
LONGEST_STRING, MOST_ITEMS = 400, 32  # bounds where a schema has none, so that every text comes to an end


class GrammarError(LanguageError):
    """A schema or pattern that cannot be made into a grammar, or that nothing satisfies."""


@dataclass(frozen=True)
class Grammar:
    """A set of texts; ``source`` is llguidance's own form. ``json`` says that its texts are JSON.

    ``schema`` says the same as a JSON Schema, for servers that take one; None where there is none (a pattern).
    """

    name: str
    source: str
    json: bool = False
    schema: Mapping[str, Any] | bool | None = field(default=None, compare=False, repr=False)

    def read(self, text: str) -> Any:
        """The value that a finished text stands for: parsed JSON, None for `NO_TOOL`, or the text itself."""
        if self.json:
            return None if text == NO_TOOL else json.loads(text)
        return text


def json_schema(schema: Mapping[str, Any] | bool, name: str = "") -> Grammar:
    """The JSON texts that a JSON Schema allows, with properties in the schema's order.

    Strings and arrays without a limit get one (`LONGEST_STRING`, `MOST_ITEMS`). Raises `GrammarError` that names the
    schema and the keyword which llguidance cannot express.
    """
    name = name or (str(schema.get("title", "the schema")) if isinstance(schema, Mapping) else "the schema")
    return _checked(Grammar(name, f"start: {_json(schema)}", json=True, schema=_bounded(schema)))


def regex(pattern: str) -> Grammar:
    """The texts that a regular expression matches as a whole; look-around is not supported."""
    return _checked(Grammar(f"the pattern {pattern!r}", f"start: /{_slashed(pattern)}/"))


def choices(options: Sequence[str]) -> Grammar:
    """One of these texts."""
    if not options or not all(isinstance(o, str) and o for o in options):
        raise GrammarError(f"Choices must be one or more texts that are not empty; got {list(options)!r}.")
    different = list(dict.fromkeys(options))
    source = "start: " + " | ".join(_quoted(o) for o in different)
    return _checked(Grammar("the choices", source, schema={"type": "string", "enum": different}))


def tool_calls(tools: Sequence[Mapping[str, Any]], none: bool = True) -> Grammar:
    """``{"name": ..., "arguments": {...}}`` for one of the tools, or the word none unless ``none`` is False.

    Each tool is a mapping with ``name`` and ``parameters``, a JSON Schema of an object.
    """
    if not tools and not none:
        raise GrammarError("There is no tool to call, and calling none is not allowed: nothing could be written.")
    branches = [_quoted(NO_TOOL)] if none else []
    for tool in tools:
        head = f'{{"name": {json.dumps(tool["name"], ensure_ascii=False)}, "arguments": '
        branches.append(f"{_quoted(head)} {_json(tool['parameters'])} {_quoted('}')}")
    rules = [f"branch_{n}: {branch}" for n, branch in enumerate(branches)]
    start = "start: " + " | ".join(f"branch_{n}" for n in range(len(branches)))
    try:
        return _checked(
            Grammar("the tool calls", "\n".join([start, *rules]), json=True, schema=_call_schema(tools, none))
        )
    except GrammarError:
        for tool in tools:
            json_schema(tool["parameters"], f"the tool {tool['name']!r}")  # says which one it is
        raise


def _call_schema(tools: Sequence[Mapping[str, Any]], none: bool) -> dict[str, Any]:
    """`tool_calls` as one JSON Schema: null stands for no tool, and the ``$defs`` of each tool move to the top."""
    branches: list[dict[str, Any]] = [{"type": "null"}] if none else []
    shared: dict[str, Any] = {}
    for number, tool in enumerate(tools):
        arguments = _bounded(tool["parameters"])
        if isinstance(arguments, dict) and "$defs" in arguments:
            arguments = _renamed(arguments, "#/$defs/", f"#/$defs/{number}_")
            shared |= {f"{number}_{name}": part for name, part in arguments.pop("$defs").items()}
        parts = {"name": {"const": tool["name"]}, "arguments": arguments}
        branches.append({"type": "object", "properties": parts, "required": [*parts], "additionalProperties": False})
    return {"anyOf": branches, **({"$defs": shared} if shared else {})}


def _renamed(schema: Any, old: str, new: str) -> Any:
    """The schema with each ``$ref`` that begins with ``old`` beginning with ``new``."""
    if isinstance(schema, list):
        return [_renamed(s, old, new) for s in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        k: new + v.removeprefix(old) if k == "$ref" and isinstance(v, str) and v.startswith(old)
        else _renamed(v, old, new)
        for k, v in schema.items()
    }  # fmt: skip


def _json(schema: Mapping[str, Any] | bool) -> str:
    bounded = _bounded(schema)
    if isinstance(bounded, dict):
        bounded = {**bounded, "x-guidance": SEPARATORS}
    return "%json " + json.dumps(bounded)


def _bounded(schema: Any) -> Any:
    """The schema with limits where it has none, and objects closed to unknown properties."""
    if isinstance(schema, Sequence) and not isinstance(schema, str):
        return [_bounded(s) for s in schema]
    if not isinstance(schema, Mapping):
        return schema
    new = {
        k: {name: _bounded(s) for name, s in v.items()} if k in ("properties", "$defs") and isinstance(v, Mapping)
        else _bounded(v) if k in ("items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties")
        else v
        for k, v in schema.items()
    }  # fmt: skip
    kind = new.get("type")
    if kind == "string" and not {"enum", "const", "pattern", "format", "maxLength"} & set(new):
        new["maxLength"] = LONGEST_STRING
    if kind == "array":
        new.setdefault("maxItems", MOST_ITEMS)
    if "properties" in new:
        new.setdefault("type", "object")
        new.setdefault("additionalProperties", False)
    return new


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _slashed(pattern: str) -> str:
    return pattern.replace("/", "\\/") if pattern else "(?:)"


def _checked(grammar: Grammar) -> Grammar:
    import llguidance

    wrong, messages = llguidance.LLMatcher.validate_grammar_with_warnings(
        llguidance.LLMatcher.grammar_from_lark(grammar.source)
    )
    if wrong:
        why = messages[0].splitlines()[0].split("failed to compile JSON schema: ")[-1]
        why = " ".join(messages[0].split()) if "regex parse" in why else why
        raise GrammarError(f"{grammar.name[0].upper()}{grammar.name[1:]} cannot be made into a grammar: {why}")
    return grammar


# --- following a text ----------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _tokenizer(tokenizer, size: int):
    """llguidance's view of a fast Hugging Face tokenizer with ``size`` logits (0.4 s, kept)."""
    import llguidance

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise GrammarError(f"{type(tokenizer).__name__} is no fast tokenizer, and a grammar needs one.")
    return llguidance.LLTokenizer(backend.to_str(), n_vocab=size, eos_token=tokenizer.eos_token_id)


@lru_cache(maxsize=32)
def _matcher(tokenizer, size: int, source: str):
    """A grammar compiled for a tokenizer, kept; copies of it are cheap."""
    import llguidance

    matcher = llguidance.LLMatcher(_tokenizer(tokenizer, size), llguidance.LLMatcher.grammar_from_lark(source))
    if matcher.is_error():
        raise GrammarError(matcher.get_error())
    return matcher


class Guide:
    """One text on its way through a grammar."""

    def __init__(self, grammar: Grammar, tokenizer, size: int):
        self.matcher = _matcher(tokenizer, size, grammar.source).deep_copy()
        self.end, self.size = tokenizer.eos_token_id, size
        self.closing = _closing_tokens(tokenizer)

    @property
    def done(self) -> bool:
        """Whether the text is whole and nothing can follow."""
        return self.matcher.is_stopped()

    def allowed(self) -> np.ndarray:
        """The ids that may come next, in order; the end token is among them where the text may end."""
        import numpy as np

        bits = np.frombuffer(self.matcher.compute_bitmask(), dtype=np.uint8)
        ids = np.flatnonzero(np.unpackbits(bits, bitorder="little")[: self.size])
        if self.matcher.is_error():
            raise GrammarError(f"The grammar cannot go on: {self.matcher.get_error()}")
        return ids

    def forced(self) -> list[int]:
        """The ids that must come next whatever the model wants; empty where it has a choice."""
        return self.matcher.compute_ff_tokens()

    def accept(self, ids: Sequence[int]) -> None:
        if ids and not self.matcher.consume_tokens(list(map(int, ids))):
            raise GrammarError(f"The grammar does not allow this token here: {self.matcher.get_error()}")

    def shortest_way_out(self, allowed: np.ndarray) -> np.ndarray:
        """Those of the allowed ids that bring the text nearer to its end, or all where none does."""
        if self.end in allowed:
            return allowed[allowed == self.end]
        import numpy as np

        closing = np.intersect1d(allowed, self.closing)
        return closing if len(closing) else allowed


@lru_cache(maxsize=4)
def _closing_tokens(tokenizer) -> list[int]:
    """Tokens of quotes and brackets that close: what ends a JSON text soonest."""
    marks = ('"', "}", "]", '"}', '"]', "}}", "]}", '"}}', '"]}')
    return [tokenizer.convert_tokens_to_ids(m) for m in marks if m in tokenizer.get_vocab()]
