"""Tools that call for a person or the workshop: chapters 8 and 9 of the rules."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from agentlab.shop.arguments import Line, OrderId, Position, Text
from agentlab.shop.desk import Desk, item_of, write
from agentlab.shop.models import Order, Ticket
from agentlab.shop.rules import Refused, limits, rules
from agentlab.toolkit import Retry

# Why a person takes over, and the rule that says so.
REASONS = {
    "asked_for_person": "9.1",
    "not_verified": "1.2",
    "account_matter": "1.4",
    "above_limit": "9.3",
    "dangerous_device": "8.4",
    "legal_press_injury_fraud_dispute": "9.2",
    "outside_the_rules": "9.3",
}


class Contact(Desk):
    """How a conversation reaches people."""

    @write
    def open_ticket(
        self,
        kind: Literal["question", "complaint", "repair", "estimate"],
        subject: Line,
        text: Text,
        order_id: OrderId | None = None,
        position: Position | None = None,
    ) -> dict:
        """Open a ticket: a question or complaint for a colleague, a repair within or an estimate after the guarantee.

        Args:
            kind: what for, such as repair
            subject: one line, such as Kettle no longer heats
            text: what happened, in the customer's words
            order_id: the order it is about, such as W20417; a repair or an estimate needs it
            position: the faulty position of that order, such as 1; a repair or an estimate needs it
        """
        order = self.order(order_id) if order_id else None
        detail = {}
        if kind in ("repair", "estimate"):
            if order is None or position is None:
                raise Retry(f"A ticket for {kind} needs order_id and position.")
            detail = {"guarantee_until": self._for_the_workshop(kind, order, position)}
        return self._ticket(kind, subject, text, order) | detail

    @write
    def hand_over(
        self,
        reason: Literal[tuple(REASONS)],
        summary: Text,
        order_id: OrderId | None = None,
    ) -> dict:
        """Hand the conversation over to a person, with a summary of what was said and done. Always possible.

        Args:
            reason: why a person is needed, such as asked_for_person
            summary: what the customer wants and what was done, for the person who goes on
            order_id: one of the verified customer's orders that it is about, such as W20417
        """
        order = self.order(order_id) if order_id else None
        rule = rules()[REASONS[reason]]
        return self._ticket("handover", reason, summary, order) | {"rule": f"Rule {rule.number}: {rule.text}"}

    def _ticket(self, kind: str, subject: str, text: str, order: Order | None) -> dict:
        one = Ticket(kind=kind, subject=subject, text=text, opened_on=self.store.today)
        one.customer_id, one.order_id = self.session.customer_id, order.id if order else None
        self.store.db.add(one)
        self.store.db.flush()
        return {"ticket_id": one.id, "kind": kind}

    def _for_the_workshop(self, kind: str, order: Order, position: int) -> dt.date:
        """The last day of the guarantee, once it is clear that the ticket's kind is the right one (8.1 to 8.3)."""
        item = item_of(order, position)
        if item.delivered_on is None:
            raise Refused("8.1", f"Position {position} of order {order.id} has not been delivered.")
        if item.variant.product.kind not in ("device", "accessory"):
            raise Refused("8.1", f"{item.variant.product.name} is neither.")
        last = add_months(item.delivered_on, item.variant.product.warranty_months)
        if kind == "repair" and self.days_since(item.delivered_on) <= limits().return_days:
            raise Refused("8.2", f"It was delivered on {item.delivered_on}: return_item or exchange_item is quicker.")
        if kind == "repair" and self.store.today > last:
            raise Refused("8.3", f"The guarantee ended on {last}: open a ticket for an estimate.")
        if kind == "estimate" and self.store.today <= last:
            raise Refused("8.2", f"The guarantee lasts until {last}: open a ticket for a repair.")
        return last


def add_months(day: dt.date, months: int) -> dt.date:
    """The same day some months later; the month's last one where it is shorter.

    >>> add_months(dt.date(2024, 8, 31), 18)
    datetime.date(2026, 2, 28)
    """
    year, month = divmod(day.month - 1 + months, 12)
    following = dt.date(day.year + year + (month == 11), (month + 1) % 12 + 1, 1)
    return min(
        dt.date(day.year + year, month + 1, 1) + dt.timedelta(days=day.day - 1), following - dt.timedelta(days=1)
    )
