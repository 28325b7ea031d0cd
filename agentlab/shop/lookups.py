"""Tools that look: who is asking, what they ordered, where it is, what the shop sells and what its help pages say."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import Field
from sqlalchemy import select

from agentlab.knowledge import HelpIndex, help_index, rank
from agentlab.shop.arguments import Category, Email, Line, OrderId, ProductId, Status, Top
from agentlab.shop.desk import Desk, read
from agentlab.shop.models import Customer, Order, Product, Shipment
from agentlab.shop.records import (
    customer_record,
    order_line,
    order_record,
    product_record,
    return_record,
    shipment_record,
)
from agentlab.shop.rules import Refused, limits
from agentlab.toolkit import Retry, did_you_mean


class Lookups(Desk):
    """What a conversation may see."""

    help: HelpIndex | None = None

    @read
    def verify_customer(self, email: Email, order_id: OrderId | None = None, postcode: Line | None = None) -> dict:
        """Verify who is asking: the account's e-mail address, with the number of one of its orders or its postcode.

        Args:
            email: the account's e-mail address, such as ada@example.org
            order_id: the number of one of the account's orders, such as W20417
            postcode: the postcode of the account's address, such as 3532 KD
        """
        if order_id is None and postcode is None:
            raise Retry("Give order_id or postcode beside the e-mail address.")
        with self.session.turn:
            return self._verify(email, order_id, postcode)

    def _verify(self, email: str, order_id: str | None, postcode: str | None) -> dict:
        if self.session.failed_attempts >= limits().attempts:
            raise Refused("1.2", "Use hand_over.")
        customer = self.store.db.scalar(select(Customer).where(Customer.email == email.lower()))
        if customer is None or not self._proven(customer, order_id, postcode):
            self.session.failed_attempts += 1  # a later success does not reset it: else one could go on guessing
            left = limits().attempts - self.session.failed_attempts
            if left <= 0:
                raise Refused("1.2", "Use hand_over.")
            raise Retry(f"These details do not belong together. Ask the customer again; attempts left: {left}.")
        self.session.customer_id = customer.id
        return {"verified": True, "customer_id": customer.id, "name": customer.name}

    def _proven(self, customer: Customer, order_id: str | None, postcode: str | None) -> bool:
        """Whether everything that was given is the customer's; a right postcode does not excuse a wrong number."""
        own = self.store.db.get(Order, order_id) if order_id else None
        right_order = order_id is None or (own is not None and own.customer_id == customer.id)
        return right_order and (postcode is None or _bare(postcode) == _bare(customer.postcode))

    @read
    def find_customer(self) -> dict:
        """Show the verified customer's own account: name, e-mail address, phone and postal address."""
        return customer_record(self.customer())

    @read
    def find_order(self, order_id: OrderId) -> dict:
        """Show one of the verified customer's orders: positions, amounts, address, parcels, returns.

        Args:
            order_id: the order's number, such as W20417
        """
        return order_record(self.order(order_id))

    @read
    def list_orders(self, status: Status | None = None, limit: Annotated[int, Field(ge=1, le=50)] = 10) -> list[dict]:
        """List the verified customer's orders, the newest first.

        Args:
            status: only orders in this state, such as shipped
            limit: how many at most
        """
        query = (
            select(Order)
            .where(Order.customer_id == self.customer_id())
            .order_by(Order.placed_on.desc(), Order.id.desc())
        )
        if status is not None:
            query = query.where(Order.status == status)
        return [order_line(o) for o in self.store.db.scalars(query.limit(limit))]

    @read
    def track_shipment(self, order_id: OrderId) -> dict:
        """Show the parcels of one of the verified customer's orders: carrier, state, last scan, whether one is lost.

        Args:
            order_id: the order's number, such as W20417
        """
        order = self.order(order_id)
        return {
            "order_id": order.id,
            "status": order.status,
            "promised_on": order.promised_on,
            "parcels": [shipment_record(s, lost_since(s, self.store.today)) for s in order.shipments],
        }

    @read
    def refund_status(self, order_id: OrderId) -> dict:
        """Show the refunds and returns of one of the verified customer's orders, and how far each is.

        Args:
            order_id: the order's number, such as W20417
        """
        order = self.order(order_id)
        columns = ("amount_cents", "method", "status", "on", "reason")
        return {
            "order_id": order.id,
            "paid_cents": order.paid_cents,
            "refunded_cents": order.refunded_cents,
            "refunds": [{c: getattr(p, c) for c in columns} for p in order.payments if p.kind == "refund"],
            "returns": [return_record(r) for r in order.returns],
        }

    @read
    def find_product(self, product_id: ProductId) -> dict:
        """Show a product: description, features, variants with price and stock, guarantee, reviews.

        Args:
            product_id: the product's number, such as P101
        """
        product = self.store.db.get(Product, product_id)
        if product is None:
            known = self.store.db.scalars(select(Product.id).order_by(Product.id)).all()
            raise Retry(
                f"There is no product {product_id}.{did_you_mean(product_id, known)} search_products finds one."
            )
        return product_record(product)

    @read
    def search_products(
        self,
        query: Annotated[str, Field(min_length=1, max_length=200)],
        category: Category | None = None,
        max_price_cents: Annotated[int, Field(ge=0, le=1_000_000)] | None = None,
        in_stock: bool = False,
        top: Top = 5,
    ) -> list[dict]:
        """Search the shop's products by words, the best match first.

        Args:
            query: what is looked for, such as wireless over-ear headphones
            category: only this category, such as headphones
            max_price_cents: only what costs at most this much, in cents
            in_stock: only what can be delivered now
            top: how many at most
        """
        wanted = select(Product).order_by(Product.id)
        found = [p for p in self.store.db.scalars(wanted) if category in (None, p.category)]
        offers = {p.id: [v for v in p.variants if _offered(v, max_price_cents, in_stock)] for p in found}
        found = [p for p in found if offers[p.id]]
        names = [f"{p.name} {p.category}" for p in found]
        texts = [" ".join([name, p.name, p.description, *p.features]) for name, p in zip(names, found, strict=True)]
        return [
            {
                "product_id": found[i].id,
                "name": found[i].name,
                "category": found[i].category,
                "from_cents": min(v.price_cents for v in offers[found[i].id]),
                "in_stock": any(v.stock for v in offers[found[i].id]),
            }
            for i in rank(query, texts, top, names)
        ]

    def search_help(self, question: Annotated[str, Field(min_length=1, max_length=500)], top: Top = 3) -> list[dict]:
        """Search the shop's help pages for what answers a question; the best match first.

        Args:
            question: the question in the customer's words, such as how long does a refund take
            top: how many pages at most
        """
        index = self.help or help_index()
        return [
            {"article": h.article.id, "title": h.article.title, "score": round(h.score, 3), "text": h.passage}
            for h in index.search(question, top)
        ]


def lost_since(parcel: Shipment, today: dt.date) -> dt.date | None:
    """Since when a parcel counts as lost by rule 6.1, or None."""
    if parcel.status == "lost":
        return parcel.last_scan_on or parcel.shipped_on
    if parcel.status != "in_transit":
        return None
    waited_from = max(filter(None, (parcel.order.promised_on, parcel.last_scan_on)))
    since = waited_from + dt.timedelta(days=limits().lost_after_days)
    return since if since <= today else None


def _offered(variant, max_price_cents: int | None, in_stock: bool) -> bool:
    return (max_price_cents is None or variant.price_cents <= max_price_cents) and (not in_stock or variant.stock > 0)


def _bare(postcode: str) -> str:
    return "".join(postcode.split()).replace("-", "").upper()
