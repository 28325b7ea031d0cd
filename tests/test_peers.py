"""smolagents' loop in the shop: what its model reads, what comes back to it, how a turn ends, and a whole visit."""

import importlib.util
import json
import sys

import pytest

from agentlab.errors import AgentLabError
from agentlab.language import Scripted
from agentlab.local import TorchLanguage
from agentlab.peers import BROKE_OFF, INSTRUCTIONS, RELEASE, Limits, SmolConversation, smol_agent, smol_inputs
from agentlab.shop.desk import Session
from agentlab.shop.store import Store
from agentlab.shop.tools import shop_tools
from agentlab.trials import run

needs_smolagents = pytest.mark.skipif(
    importlib.util.find_spec("smolagents") is None, reason=f"smolagents is not installed: pip install {RELEASE}"
)


def suryani():
    """A session of the customer whose W20407 is being processed, verified already."""
    return Session("C1011")


def call(name, **arguments):
    """What a model writes to call a tool, in the form of smolagents' own examples."""
    return "Action:\n" + json.dumps({"name": name, "arguments": arguments}, indent=2)


def say(answer):
    return call("final_answer", answer=answer)


def talk(*replies, session=None, **limits):
    """A conversation in the sample shop whose model writes these replies, and the model."""
    model = Scripted(*replies)
    return smol_agent(Store.sample(), model, session, **limits).conversation(), model


def read_by(model, n=-1):
    """All that the model was shown for a reply, as one text."""
    return "\n".join(f"{m['role']}: {m['content']}" for m in model.prompts[n])


# --- without it ----------------------------------------------------------------------------------------------


def test_without_smolagents_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "smolagents", None)
    with pytest.raises(AgentLabError, match=r"smolagents cannot be imported .* `pip install smolagents==1\.26\.0`"):
        smol_agent(Store.sample(), Scripted())


# --- what its model reads ------------------------------------------------------------------------------------


@needs_smolagents
def test_the_model_reads_smolagents_own_prompt_with_every_tool_of_the_shop_and_the_message_as_a_task():
    chat, model = talk(say("Hello."))
    chat.send("Where is my parcel?")
    system, task = model.prompts[0]
    assert system["content"].startswith("You are an expert assistant who can solve any task using tool calls.")
    assert INSTRUCTIONS in system["content"]
    for one in chat.box:
        assert f"- {one.name}: {one.description}\n    Takes inputs: {smol_inputs(one.schema)}\n" in system["content"]
    assert task == {"role": "user", "content": "New task:\nWhere is my parcel?"}


def test_arguments_keep_type_description_and_choices_and_say_what_may_be_left_out():
    found = smol_inputs(shop_tools(Store.sample())["return_item"].schema)
    assert {n: a["type"] for n, a in found.items()} == {
        "order_id": "string", "position": "integer", "reason": "string", "opened": "boolean", "quantity": "integer"
    }  # fmt: skip
    assert found["reason"]["enum"] == ["changed_mind", "faulty", "damaged", "wrong_item"]
    assert [n for n, a in found.items() if a.get("nullable")] == ["quantity"]
    assert found["order_id"]["description"] == "the order's number, such as W20417"


@needs_smolagents
def test_what_was_said_and_done_before_is_remembered_in_the_next_turn():
    chat, model = talk(call("list_orders"), say("Which of the two?"), say("Thanks."), session=suryani())
    chat.send("Cancel my order.")
    chat.send("The kettle.")
    text = read_by(model)
    assert text.index("Cancel my order.") < text.index('"order_id": "W20407"') < text.index("Which of the two?")
    assert text.endswith("New task:\nThe kettle.")


@needs_smolagents
def test_the_same_conversation_is_read_the_same_each_time():
    prompts = []
    for _ in range(2):
        chat, model = talk(call("list_orders"), call("find_customer"), say("Done."), session=suryani())
        chat.send("Hello")
        prompts.append(model.prompts)
    assert prompts[0] == prompts[1]
    assert "call_1" in read_by(model)


# --- what comes back to it -----------------------------------------------------------------------------------


@needs_smolagents
def test_a_call_reaches_the_tools_and_its_result_is_an_observation():
    chat, model = talk(
        call("verify_customer", email="suryani@example.org", order_id="W20407", postcode=None), say("You are verified.")
    )
    turn = chat.send("suryani@example.org, W20407")
    assert (turn.reply, turn.handed_over, turn.asks) == ("You are verified.", False, None)
    (made,) = turn.trace.calls
    assert (made.name, made.status, made.value["customer_id"]) == ("verify_customer", "ok", "C1011")
    assert made.arguments == {"email": "suryani@example.org", "order_id": "W20407"}
    assert 'user: Observation:\n{"verified": true, "customer_id": "C1011"' in read_by(model)


@needs_smolagents
def test_a_wrong_argument_comes_back_as_an_error_to_mend():
    chat, model = talk(call("find_order", order_id="the kettle"), say("Sorry."), session=suryani())
    turn = chat.send("Where is my kettle?")
    assert turn.trace.calls[0].status == "retry"
    assert "Error:\nError executing tool 'find_order'" in read_by(model)
    assert "Now let's retry: take care not to repeat previous errors!" in read_by(model)
    assert "an order number is W and five digits" in turn.trace.models[0].value["error"]


@needs_smolagents
def test_what_a_rule_refuses_comes_back_as_an_observation_with_the_rule():
    chat, model = talk(call("list_orders"), say("Who are you?"))
    turn = chat.send("Show my orders.")
    assert turn.trace.calls[0].status == "failed"
    assert "Observation:\nfailed: Rule 1.1: " in read_by(model)
    assert "error" not in turn.trace.models[0].value


@needs_smolagents
@pytest.mark.parametrize(
    ("written", "error"),
    [
        ("I am happy to help!", "The model output does not contain any JSON blob."),
        (call("delete_everything"), "Unknown tool delete_everything, should be one of: verify_customer, "),
        (call("find_order", order="W20407"), "Argument order is not in the tool's input schema"),
        (call("find_order"), "Argument order_id is required"),
    ],
)
def test_what_is_no_call_is_tried_again_by_smolagents_own_rules(written, error):
    chat, model = talk(written, say("Sorry."), session=suryani())
    turn = chat.send("Hello")
    assert turn.reply == "Sorry."
    assert turn.trace.calls == []
    assert error in turn.trace.models[0].value["error"]
    assert error in read_by(model)


@needs_smolagents
def test_verification_is_the_sessions_not_the_models():
    agent = smol_agent(Store.sample(), Scripted(call("find_order", order_id="W20407"), say("It is packed.")))
    first, second = agent.conversation(suryani()), agent.conversation()
    assert first.send("Where is W20407?").trace.calls[0].status == "ok"
    agent.language.replies = [call("find_order", order_id="W20407"), say("Who are you?")]
    assert second.send("Where is W20407?").trace.calls[0].status == "failed"
    assert "It is packed." not in read_by(agent.language)


# --- how a turn ends -----------------------------------------------------------------------------------------


@needs_smolagents
def test_when_the_steps_are_used_up_its_closing_answer_is_the_reply():
    chat, model = talk("Hm.", "Hm.", "I could not find it.", max_steps=2)
    turn = chat.send("Where is my parcel?")
    model.assert_used_up()
    assert (turn.reply, turn.trace.stopped) == ("I could not find it.", "steps")
    assert [m.purpose for m in turn.trace.models] == ["step", "step", "closing answer"]
    assert "please provide an answer to the following user task:\nWhere is my parcel?" in read_by(model)


@needs_smolagents
def test_when_the_seconds_are_used_up_its_closing_answer_is_the_reply():
    chat, model = talk("Hm.", "I could not find it.", max_seconds=0.0)
    turn = chat.send("Where is my parcel?")
    model.assert_used_up()
    assert (turn.reply, turn.trace.stopped) == ("I could not find it.", "seconds")
    assert [m.purpose for m in turn.trace.models] == ["step", "closing answer"]


@needs_smolagents
def test_an_answer_in_the_last_step_counts_and_needs_no_closing_answer():
    chat, model = talk(say("Here it is."), max_steps=1, max_seconds=0.0)
    turn = chat.send("Where is my parcel?")
    model.assert_used_up()
    assert (turn.reply, turn.trace.stopped) == ("Here it is.", "")


@needs_smolagents
def test_a_model_is_given_the_seconds_that_are_left_and_the_tokens_of_a_step():
    asked = []

    class Watched(Scripted):
        def complete(self, prompt, decoding=None, **changes):
            asked.append(changes)
            return super().complete(prompt, decoding, **changes)

    model = Watched("Hm.", say("Hello."))
    smol_agent(Store.sample(), model, max_seconds=30, max_tokens=64).conversation().send("Hi")
    assert [a["max_tokens"] for a in asked] == [64, 64]
    assert 0 < asked[1]["seconds"] < asked[0]["seconds"] <= 30
    assert asked[0]["stop"] == ("Observation:", "Calling tools:")


@needs_smolagents
def test_a_model_that_breaks_ends_the_turn_in_a_sentence_and_the_next_one_goes_on():
    chat, _ = talk(RuntimeError("out of memory"), say("Hello again."))
    turn = chat.send("Hi")
    assert turn.reply == BROKE_OFF
    assert "out of memory" in turn.trace.stopped
    assert chat.send("Hi?").reply == "Hello again."


@needs_smolagents
def test_a_script_that_is_used_up_is_the_tests_fault_and_no_turn():
    chat, _ = talk("Hm.")
    with pytest.raises(AssertionError, match="The script is used up"):
        chat.send("Hi")


@needs_smolagents
def test_a_hand_over_that_was_made_ends_the_visit_and_one_that_failed_does_not():
    refused = call("hand_over", reason="because", summary="Wants a person.")
    chat, _ = talk(refused, say("A person will help."), session=suryani())
    assert not chat.send("I want a person.").handed_over
    chat, _ = talk(call("hand_over", reason="asked_for_person", summary="Wants a person."), say("A person will help."))
    assert chat.send("I want a person.").handed_over


# --- whole visits --------------------------------------------------------------------------------------------


@needs_smolagents
def test_a_customer_is_served_by_a_model_that_knows_what_to_do(all_of_them):
    with Scripted(
        say("Please tell me your e-mail address and your order number."),
        call("verify_customer", email="suryani@example.org", order_id="W20407"),
        say("Shall I cancel W20407?"),
        call("cancel_order", order_id="W20407"),
        say("W20407 is cancelled."),
    ) as model:
        outcome = run(lambda store: smol_agent(store, model), all_of_them["cancel"])
    assert outcome.success, str(outcome)
    assert outcome.tokens > 0
    assert [c["tool"] for e in outcome.transcript for c in e.calls] == ["verify_customer", "cancel_order"]


@needs_smolagents
def test_a_change_without_a_yes_is_a_violation_as_for_any_agent(all_of_them):
    with Scripted(
        call("verify_customer", email="suryani@example.org", order_id="W20407"),
        call("cancel_order", order_id="W20407"),
        say("W20407 is cancelled."),
    ) as model:
        outcome = run(lambda store: smol_agent(store, model), all_of_them["cancel"])
    assert outcome.fault == "policy broken"


@needs_smolagents
def test_the_real_model_writes_and_its_tokens_are_counted():
    model = TorchLanguage.load()
    box = shop_tools(Store.sample()).subset(["search_help"])
    turn = SmolConversation(box, model, Limits(max_steps=1, max_tokens=8)).send("How long does a refund take?")
    step, closing = turn.trace.models
    shown = model.tokenizer.encode(step.value["wrote"], add_special_tokens=False)
    assert 1 <= len(shown) <= 8
    assert 1000 < step.tokens < 2000  # smolagents' own prompt alone
    assert turn.trace.tokens == step.tokens + closing.tokens
    assert turn.reply == closing.value["wrote"] != ""
