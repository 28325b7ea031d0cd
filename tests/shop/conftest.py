"""A fresh sample shop for each test, and a shortcut to the tools as the customer of one of its edge cases has them."""

import pytest

from agentlab.knowledge import HelpIndex, load_articles
from agentlab.shop.desk import Session
from agentlab.shop.models import Order
from agentlab.shop.sample import edge_cases
from agentlab.shop.store import Store
from agentlab.shop.tools import shop_tools

CASES = edge_cases()


class Counter:
    """The shop's tools for one customer, the one of an edge case."""

    def __init__(self, store: Store, case: str | None = None):
        self.store = store
        self.order_id = CASES[case] if case else None
        self.session = Session(owner(store, self.order_id) if case else None)
        self.box = shop_tools(store, self.session, HELP)

    def __call__(self, tool: str, /, **arguments):
        """Call a tool; the case's order is meant unless another is named."""
        takes_order = "order_id" in self.box[tool].schema["properties"] and tool != "verify_customer"
        if self.order_id and takes_order:
            arguments = {"order_id": self.order_id} | arguments
        return self.box.call(tool, arguments)

    def order(self):
        return self("find_order").value


HELP = HelpIndex(load_articles(), "tfidf")


def owner(store: Store, order_id: str) -> str:
    with store.reading() as db:
        return db.get_one(Order, order_id).customer_id


@pytest.fixture
def store():
    return Store.sample()


@pytest.fixture
def at(store):
    return lambda case=None: Counter(store, case)
