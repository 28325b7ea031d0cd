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


def test_a_chooser_decides_on_the_tool_and_the_model_sees_only_that_one():
    with Scripted(CALL) as model:
        ask(model, "Pay Priya 5", [WEATHER, PAY], chooser=lambda request, tools: tools[1])
    assert model.prompts == [call_prompt("Pay Priya 5", [PAY])]


def test_a_chooser_that_finds_no_tool_saves_the_model_the_work():
    with Scripted() as model:
        assert ask(model, "hello", [PAY], chooser=lambda request, tools: None).value is None
    assert model.prompts == []


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
