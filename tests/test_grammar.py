"""Grammars: what they allow, what they force, what they refuse, and that every text comes to an end."""

import json
import random

import jsonschema
import pytest

from agentlab import assets
from agentlab.grammar import GrammarError, Guide, choices, json_schema, regex, tool_calls

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city"],
}
TOOLS = [
    {"name": "get_weather", "description": "Weather.", "parameters": WEATHER},
    {"name": "get_time", "description": "Time.", "parameters": {"type": "object", "properties": {}}},
]


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(assets.language_model_folder())


def spell(grammar, tokenizer, text):
    """Whether a grammar allows a text, token by token, to its end."""
    guide = Guide(grammar, tokenizer, len(tokenizer))
    for token in tokenizer.encode(text, add_special_tokens=False):
        if token not in guide.allowed():
            return False
        guide.accept([token])
    return guide.done or guide.end in guide.allowed()


def wander(grammar, tokenizer, rng, steps=600):
    """A text of random allowed tokens, closed by the shortest way out after some."""
    guide, ids = Guide(grammar, tokenizer, len(tokenizer)), []
    while not guide.done and len(ids) < steps:
        allowed = guide.allowed()
        if len(ids) > 30:
            allowed = guide.shortest_way_out(allowed)
        token = int(rng.choice(allowed))
        if token == guide.end:
            break
        guide.accept([token])
        ids.append(token)
    assert len(ids) < steps
    return tokenizer.decode(ids)


def test_a_call_is_allowed_and_other_texts_are_not(tokenizer):
    grammar = tool_calls(TOOLS)
    assert spell(grammar, tokenizer, '{"name": "get_weather", "arguments": {"city": "Oslo", "days": 3}}')
    assert spell(grammar, tokenizer, "none")
    for wrong in (
        '{"name": "get_wether", "arguments": {"city": "Oslo"}}',
        '{"name": "get_weather", "arguments": {}}',
        '{"name": "get_weather", "arguments": {"city": "Oslo", "days": 9}}',
        '{"name": "get_weather", "arguments": {"city": "Oslo", "wind": 3}}',
        "nothing",
    ):
        assert not spell(grammar, tokenizer, wrong), wrong


def test_without_the_branch_none_cannot_be_written(tokenizer):
    assert not spell(tool_calls(TOOLS, none=False), tokenizer, "none")


@pytest.mark.parametrize("seed", range(6))
def test_random_walks_end_in_valid_json(tokenizer, seed):
    text = wander(json_schema(WEATHER), tokenizer, random.Random(seed))
    jsonschema.validate(json.loads(text), {**WEATHER, "additionalProperties": False})


def test_the_form_around_a_value_is_forced(tokenizer):
    guide = Guide(tool_calls(TOOLS[:1], none=False), tokenizer, len(tokenizer))
    assert tokenizer.decode(guide.forced()) == '{"name": "get_weather", "arguments": {"city":'


def test_choices_allow_whole_options_only(tokenizer):
    grammar = choices(["refund", "refund_status"])
    assert spell(grammar, tokenizer, "refund")
    assert spell(grammar, tokenizer, "refund_status")
    assert not spell(grammar, tokenizer, "refund_")


@pytest.mark.parametrize("text", ["a\nb", 'say "hi"', "naïve €5", "\\", "}"])
def test_choices_may_hold_any_characters(tokenizer, text):
    assert spell(choices([text, "other"]), tokenizer, text)


def test_a_pattern_matches_as_a_whole(tokenizer):
    grammar = regex(r"W[0-9]{5}(/[a-z]+)?")
    assert spell(grammar, tokenizer, "W20417")
    assert spell(grammar, tokenizer, "W20417/kettle")
    assert not spell(grammar, tokenizer, "W2041")


def test_strings_and_lists_without_a_limit_get_one():
    source = json_schema({"type": "array", "items": {"type": "string"}}).source
    assert '"maxLength": 400' in source
    assert '"maxItems": 32' in source


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (
            {"title": "Order", "not": {"type": "string"}},
            'Order cannot be made into a grammar: Unimplemented keys: ["not"]',
        ),
        ({"type": "string", "format": "weird"}, "The schema cannot be made into a grammar: Unknown format: weird"),
        (
            {"type": "integer", "minimum": 5, "maximum": 3},
            "The schema cannot be made into a grammar: Unsatisfiable schema: minimum (5) is greater than maximum (3)",
        ),
        ({"type": "banana"}, "The schema cannot be made into a grammar: Invalid type: banana"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(schema, why):
    with pytest.raises(GrammarError) as error:
        json_schema(schema)
    assert str(error.value).startswith(why)


def test_the_tool_with_the_impossible_schema_is_named():
    bad = {"name": "pay", "parameters": {"type": "object", "properties": {"x": {"not": {}}}}}
    with pytest.raises(GrammarError, match="The tool 'pay' cannot be made into a grammar"):
        tool_calls([*TOOLS, bad])


@pytest.mark.parametrize("options", [[], [""], [1]])
def test_choices_need_texts(options):
    with pytest.raises(GrammarError, match="Choices must be one or more texts"):
        choices(options)


def test_no_tool_and_no_none_leaves_nothing():
    with pytest.raises(GrammarError, match="nothing could be written"):
        tool_calls([], none=False)


def test_a_pattern_with_look_around_is_refused():
    with pytest.raises(GrammarError, match="look-around"):
        regex("(?=a)b")


def test_a_token_that_is_not_allowed_is_refused(tokenizer):
    guide = Guide(choices(["yes", "no"]), tokenizer, len(tokenizer))
    with pytest.raises(GrammarError, match="does not allow"):
        guide.accept([tokenizer.encode("maybe")[0]])
