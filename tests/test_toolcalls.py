"""Requests and calls: read, described, written, compared, asked for."""

import pytest

from agentlab.errors import DataError, UnknownName
from agentlab.language import Scripted
from agentlab.toolcalls import (
    as_typed,
    ask,
    call_prompt,
    call_text,
    describe,
    load_toolcalls,
    narrowed,
    numbers,
    same_call,
    training_offers,
    type_name,
)

PAY = {
    "name": "pay",
    "description": "Send  money.\nOnce.",
    "parameters": {
        "type": "object",
        "properties": {
            "to": {"type": "string", "description": "name of the payee"},
            "amount": {"type": "number", "description": "in euros"},
            "account": {"type": "string", "enum": ["joint", "own"]},
            "days": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 31}},
            "shares": {"type": "array", "items": {"type": "number"}},
        },
        "required": ["to", "amount"],
    },
}
WEATHER = {"name": "weather", "description": "Weather.", "parameters": {"type": "object", "properties": {}}}
CALL = {"name": "pay", "arguments": {"amount": 5, "to": "Priya", "shares": [1, 2.5]}}


def test_a_tool_is_described_in_few_lines():
    assert describe(PAY) == (
        "pay: Send money. Once.\n- to (string): name of the payee\n- amount (number): in euros\n"
        "- account (joint | own, optional)\n- days (list of integer 1 to 31, optional)\n- shares (list of number, optional)"
    )


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ({}, "any"),
        ({"type": "integer"}, "integer"),
        ({"type": "object", "properties": {"x": {"type": "number"}}}, "object with x: number"),
        ({"enum": [1, 2]}, "1 | 2"),
    ],
)
def test_a_type_is_named_in_a_word_or_two(schema, name):
    assert type_name(schema) == name


def test_the_tools_stand_before_the_request_so_that_they_are_read_once():
    prompts = [call_prompt(request, [PAY, WEATHER]) for request in ("pay Priya", "is it raining?")]
    assert prompts[0][0] == prompts[1][0]
    assert [m["role"] for m in prompts[0]] == ["system", "user"]


def test_a_call_is_written_in_the_order_of_the_schema():
    assert call_text(CALL, [WEATHER, PAY]) == (
        '{"name": "pay", "arguments": {"to": "Priya", "amount": 5, "shares": [1, 2.5]}}'
    )
    assert call_text(None, [PAY]) == "none"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (None, None, True),
        (CALL, None, False),
        ({"name": "f", "arguments": {"x": 1, "y": 2}}, {"name": "f", "arguments": {"y": 2, "x": 1.0}}, True),
        ({"name": "f", "arguments": {"x": True}}, {"name": "f", "arguments": {"x": 1}}, False),
        ({"name": "f", "arguments": {"x": [1, 2]}}, {"name": "f", "arguments": {"x": [2, 1]}}, False),
        ({"name": "f", "arguments": {"x": "a"}}, {"name": "f", "arguments": {"x": "A"}}, False),
        ({"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}, False),
        ({"name": "f", "arguments": {"x": {"y": [1]}}}, {"name": "f", "arguments": {"x": {"y": [1]}}}, True),
    ],
)
def test_calls_are_the_same_when_tool_and_every_argument_are(one, other, same):
    assert same_call(one, other) is same
    assert same_call(other, one) is same


def test_numbers_become_floats_where_the_schema_says_number():
    arguments = as_typed(CALL, [PAY])["arguments"]
    assert isinstance(arguments["amount"], float)
    assert all(isinstance(share, float) for share in arguments["shares"])
    assert as_typed({"name": "pay", "arguments": {"days": [3]}}, [PAY])["arguments"] == {"days": [3]}


def test_asking_lets_the_model_write_a_call_or_none():
    with Scripted(CALL, None) as model:
        assert same_call(ask(model, "Pay Priya 5", [PAY, WEATHER]).value, CALL)
        assert ask(model, "hello", [PAY]).value is None
    assert model.prompts[0] == call_prompt("Pay Priya 5", [PAY, WEATHER])


class Decided:
    """A chooser that has made up its mind."""

    def __init__(self, name, *mentioned):
        self.name, self.names = name, list(mentioned)

    def __call__(self, request, tools):
        return next((t for t in tools if t["name"] == self.name), None)

    def mentioned(self, request, tool):
        return self.names


def test_a_chooser_decides_on_the_tool_and_the_model_sees_only_that_one():
    with Scripted(CALL) as model:
        ask(model, "Pay Priya 5", [WEATHER, PAY], Decided("pay"))
    assert model.prompts == [call_prompt("Pay Priya 5", [PAY])]


def test_a_chooser_that_finds_no_tool_saves_the_model_the_work():
    with Scripted() as model:
        assert ask(model, "hello", [PAY], Decided("nothing")).value is None
    assert model.prompts == []


@pytest.mark.parametrize(("logprob", "call"), [(-0.1, None), (-3.0, CALL)])
def test_none_must_be_as_probable_as_is_asked(logprob, call):
    model = Scripted([logprob], CALL)
    assert (ask(model, "Pay Priya 5", [PAY], none_above=0.5).value is None) == (call is None)


def test_only_required_and_mentioned_arguments_are_left_and_values_come_from_the_request():
    schema = narrowed(PAY, ["account"], "pay Priya 5 euros by 2026-03-01")["parameters"]
    assert list(schema["properties"]) == schema["required"] == ["to", "amount", "account"]
    assert {"Priya", "Priya 5 euros", "pay"} <= set(schema["properties"]["to"]["enum"])
    assert schema["properties"]["amount"] == {"enum": [5]}
    assert schema["properties"]["account"] == PAY["parameters"]["properties"]["account"]


def test_an_argument_with_a_format_or_without_a_candidate_stays_free():
    day = {"type": "string", "description": "YYYY-MM-DD"}
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"day": day, "n": {"type": "integer"}}}}
    assert (
        narrowed(tool, ["day", "n"], "tomorrow please")["parameters"]["properties"] == tool["parameters"]["properties"]
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("half a dozen at 09:30, 1,000,000 and twenty", [6, 1000000, 20]),
        ("chip 0417-XC and 12/05/2026, W20417", []),
        ("base 10cm, height 5.5, then -3", [10, 5.5, -3]),
        ("a 5% rate", [5]),
    ],
)
def test_numbers_are_those_that_are_said(text, found):
    assert numbers(text) == found


def test_a_percentage_may_be_read_as_a_fraction():
    assert numbers("a 5% rate", fractions=True) == [0.05]


# --- data ---


def test_the_examples_of_a_part_are_those_of_its_domains():
    parts = {part: load_toolcalls(part) for part in ("train", "development", "test")}
    assert sum(map(len, parts.values())) == len(load_toolcalls())
    assert not {e.domain for e in parts["train"]} & {e.domain for e in parts["test"]}


def test_an_unknown_part_is_refused_by_name():
    with pytest.raises(UnknownName, match=r"Unknown part 'dev'"):
        load_toolcalls("dev")


def test_a_file_that_names_an_unknown_tool_is_refused(tmp_path):
    (tmp_path / "x.yml").write_text(
        "part: train\ntools: []\nexamples:\n  - {request: hi, offered: [greet], call: none}\n", encoding="utf-8"
    )
    with pytest.raises(DataError, match="the request 'hi' names unknown tools: greet"):
        load_toolcalls(folder=tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no tool-call file"):
        load_toolcalls(folder=tmp_path)


def test_offers_hold_each_call_once_with_its_tool_and_share_tools():
    examples = load_toolcalls("train")
    offers = training_offers(examples, seed=1)
    asked = [(request, call) for o in offers for request, call in o.asked if call]
    assert sorted(r for r, _ in asked) == sorted(e.request for e in examples if e.call)
    truth = {e.request: e.call for e in examples}
    for o in offers:
        names = {t["name"] for t in o.tools}
        for request, call in o.asked:
            assert call is None or (call == truth[request] and call["name"] in names)
            if call is None and truth[request]:
                assert truth[request]["name"] not in names
    assert len(offers) < len(asked)
    assert training_offers(examples, seed=1) == offers != training_offers(examples, seed=2)
