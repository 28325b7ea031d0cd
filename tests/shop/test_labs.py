"""The shop's agent with what labs 07 and 09 made behind its tools: a help desk, and a recommender."""

import pytest

from agentlab import answers, scenarios, towers
from agentlab.dialogue import OUT_OF_SCOPE
from agentlab.shop.agent import shop_agent, shop_domain
from agentlab.trials import evaluate

FOUND = scenarios.load_scenarios(scenarios.LABS)


@pytest.fixture(scope="module")
def behind():
    return {"help": answers.load(), "recommender": towers.load()}


@pytest.fixture(scope="module")
def talk(behind):
    return lambda *messages: [shop_agent(**behind).conversation().send(text) for text in messages][-1]


def called(turn):
    return {c.tool: c.arguments for c in turn.trace.calls}


def test_customers_who_need_them_are_served_with_them_and_not_without(behind):
    with_both = evaluate(lambda store: shop_agent(store, **behind), FOUND, seeds=2)
    without = evaluate(shop_agent, FOUND, seeds=1)
    served = {name: sum(o.success for o in report.outcomes) / len(report.outcomes) for name, report in (("both", with_both), ("neither", without))}  # fmt: skip
    print(served)
    assert served["both"] >= 0.7
    assert served["neither"] <= served["both"] - 0.3
    assert not [o for o in with_both.outcomes if o.fault == "policy broken"]


def test_a_price_limit_reaches_the_recommender(talk):
    turn = talk("Can you recommend something for somebody who drinks coffee, under 60 euros?")
    assert called(turn)["recommend_products"]["max_price_cents"] == 6000
    assert "€" in turn.reply


def test_my_printer_is_asked_for_and_then_counts(behind):
    chat = shop_agent(**behind).conversation()
    assert "which one" in chat.send("what would go with my printer?").reply
    turn = chat.send("the Quillo Laser L30")
    assert "product_id" in called(turn)["recommend_products"]
    assert "Whether one fits your Quillo Laser L30" in turn.reply


def test_a_named_product_is_described_and_not_replaced(talk):
    turn = talk("Is the Ferrand M2 any good?")
    assert "recommend_products" not in called(turn)
    assert "Ferrand M2" in turn.reply


def test_what_seems_strange_is_looked_up_before_it_is_turned_away(talk):
    turn = talk("who won the world cup in 1998")
    assert "search_help" in called(turn)
    assert "cannot help with this" in turn.reply


def test_without_a_desk_nothing_strange_is_looked_up():
    assert OUT_OF_SCOPE not in shop_domain().intents
    assert "search_help" not in called(shop_agent().conversation().send("who won the world cup in 1998"))


@pytest.mark.parametrize("text", ["recommend", "what goes with my ", "\x00 suggest something for \ud800me", "recommend " * 600, "my my my what goes with my my"])  # fmt: skip
def test_odd_wishes_get_an_answer(talk, text):
    assert talk(text).reply
