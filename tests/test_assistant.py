"""The shipped adapter: made from these data with these settings, whole, and better than the model without it."""

import json
from dataclasses import asdict

import pytest

from agentlab import adapt, assistant
from agentlab.errors import AgentLabError
from agentlab.grammar import tool_calls
from agentlab.local import TorchLanguage
from agentlab.toolcalls import call_prompt, load_toolcalls, same_call
from agentlab.wording import load_replies, reply_prompt


@pytest.fixture(scope="module")
def card():
    return adapt.read_card(assistant.adapter_folder())


def test_the_card_vouches_for_the_data_and_the_settings_of_today(card):
    examples = assistant.training_examples(card["rounds"])
    assert card["data_sha256"] == adapt.data_sha256(examples), "The data changed: run python -m agentlab.assistant"
    assert card["settings"] == json.loads(json.dumps(asdict(assistant.CONFIG)))


def test_no_domain_of_the_other_parts_is_trained_on():
    text = json.dumps([[asdict(e) for e in family] for family in assistant.training_examples(1)])
    for part in ("development", "test"):
        for e in load_toolcalls(part):
            assert json.dumps(e.request)[1:-1] not in text
        for r in load_replies(part):
            assert json.dumps(r.reply)[1:-1] not in text


def test_every_round_shows_every_reply_once_and_rounds_differ():
    first, second = assistant.training_examples(2)[: len(assistant.training_examples(1))], assistant.training_examples(1, seed=1)  # fmt: skip
    replies = [e.reply for family in first for e in family]
    assert all(replies.count(r.reply) == 1 for r in load_replies("train"))
    assert first != second


def test_a_damaged_adapter_is_refused_with_a_sentence(tmp_path):
    for file in assistant.adapter_folder().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / adapt.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(AgentLabError, match="is damaged or altered: its sha256 is not that of the card"):
        assistant.load_assistant(tmp_path)


def filled_in(model, examples):
    """How many calls are exactly right when only the right tool is offered."""
    right = 0
    for e in examples:
        tools = [t for t in e.tools if t["name"] == e.call["name"]]
        written = model.structured(call_prompt(e.request, tools), tool_calls(tools, none=False))
        right += same_call(written.value, e.call)
    return right


@pytest.mark.slow
def test_the_assistant_fills_in_calls_of_tools_that_it_never_saw_far_better_than_the_model_without_it():
    examples = [e for e in load_toolcalls("development") if e.call][::4]
    taught = filled_in(assistant.load_assistant(), examples)
    plain = filled_in(TorchLanguage.load(), examples)
    assert plain <= 0.2 * len(examples)
    assert taught >= 0.3 * len(examples)


@pytest.mark.slow
def test_the_assistant_words_a_reply_with_the_facts():
    r = load_replies("development")[0]
    reply = assistant.load_assistant().complete(reply_prompt(r.message, r.facts), max_tokens=80)
    assert reply.stopped == "end"
    assert str(r.facts.get("order_id", "")) in reply.text
