"""The shop's tools as a toolbox for one conversation.

Who is asking is part of the tools, not of the model's arguments: a tool sees the orders of the customer who was
verified in this session and no others, whatever it is given. What ``data/shop/policy.md`` forbids is refused in code.
"""

from __future__ import annotations

from agentlab.knowledge import HelpIndex
from agentlab.shop.aftersales import AfterSales
from agentlab.shop.changes import Changes
from agentlab.shop.contact import Contact
from agentlab.shop.desk import Session
from agentlab.shop.lookups import Lookups
from agentlab.shop.recommendations import Recommendations
from agentlab.shop.store import Store
from agentlab.toolkit import WRITE, Toolbox, tool


def shop_tools(
    store: Store, session: Session | None = None, help: HelpIndex | None = None, recommender=None
) -> Toolbox:
    """The shop's tools, bound to a store and a session; ``help`` is what search_help looks in.

    With a ``recommender`` (`agentlab.towers.load`) there is recommend_products as well.

    >>> box = shop_tools(Store.sample())
    >>> box.call("find_order", {"order_id": "W20417"}).status
    'failed'
    """
    session = session if session is not None else Session()
    look, change = Lookups(store, session), Changes(store, session)
    after, contact = AfterSales(store, session), Contact(store, session)
    look.help = help
    reads = [
        look.verify_customer, look.find_customer, look.find_order, look.list_orders, look.track_shipment,
        look.refund_status, look.find_product, look.search_products,
    ]  # fmt: skip
    if recommender is not None:
        reads.append(Recommendations(store, session, recommender).recommend_products)
    writes = [
        change.cancel_order, change.change_address, change.change_items, after.return_item, after.exchange_item,
        after.reship_order, after.issue_coupon, contact.open_ticket, contact.hand_over,
    ]  # fmt: skip
    return Toolbox(
        [*(tool(m, cached=False) for m in reads), tool(look.search_help), *(tool(m, effect=WRITE) for m in writes)],
        scope=lambda: session.customer_id,
    )
