"""Tools that change an order which has not been packed yet: chapters 2 and 3 of the rules."""

from __future__ import annotations

from agentlab.shop.arguments import Country, Line, OrderId, Position, Quantity, Sku
from agentlab.shop.desk import Desk, item_of, write
from agentlab.shop.models import Order, OrderItem, Variant
from agentlab.shop.records import euros
from agentlab.shop.rules import Refused
from agentlab.toolkit import Retry

NOT_PACKED = ("waiting_for_payment", "processing")


class Changes(Desk):
    """What can be changed before an order is packed."""

    @write
    def cancel_order(self, order_id: OrderId) -> dict:
        """Cancel one of the verified customer's orders as a whole and refund what was paid. Only before it is packed.

        Args:
            order_id: the order's number, such as W20417
        """
        order = self.order_to_change(order_id)
        if order.status == "cancelled":
            raise Refused("2.1", f"Order {order.id} is cancelled already; refund_status shows the money.")
        _only_unpacked(order, "2.2")
        shelf = self.variants(i.sku for i in order.items)
        for item in order.items:
            shelf[item.sku].stock += item.quantity
        refund = self.refund(order, order.refundable_cents, "cancelled")
        for payment in order.payments:
            if payment.kind == "charge" and payment.status == "pending":
                payment.status = "void"
        order.status = "cancelled"
        return {"order_id": order.id, "status": order.status, "refund_cents": refund}

    @write
    def change_address(
        self,
        order_id: OrderId,
        street: Line,
        postcode: Line,
        city: Line,
        country: Country,
        recipient: Line | None = None,
    ) -> dict:
        """Change where one of the verified customer's orders goes. Only before it is packed, and in the same country.

        Args:
            order_id: the order's number, such as W20417
            street: street and house number, such as Kerkstraat 12
            postcode: the postcode, such as 3532 KD
            city: the town, such as Utrecht
            country: the country's two letters, such as NL
            recipient: who receives it, if it is somebody else, such as Ada Jansen
        """
        order = self.order_to_change(order_id)
        _only_unpacked(order, "3.1")
        if country != order.ship_country:
            raise Refused("3.2", f"Order {order.id} goes to {order.ship_country}, the new address lies in {country}.")
        order.ship_street, order.ship_postcode, order.ship_city = street, postcode, city
        order.ship_name = recipient or order.ship_name
        return {"order_id": order.id, "ship_to": [order.ship_name, street, postcode, city, country]}

    @write
    def change_items(
        self, order_id: OrderId, position: Position, new_sku: Sku | None = None, quantity: Quantity | None = None
    ) -> dict:
        """Change a position of an order to another colour or size, or to fewer pieces. Only before it is packed.

        Args:
            order_id: the order's number, such as W20417
            position: which position, such as 1
            new_sku: another variant of the same product, such as P101-WHT
            quantity: the new number of pieces, such as 1
        """
        order = self.order_to_change(order_id)
        if new_sku is None and quantity is None:
            raise Retry("Say what to change: new_sku, quantity, or both.")
        _only_unpacked(order, "3.3")
        item = item_of(order, position)
        left = quantity or item.quantity
        if left > item.quantity:
            raise Refused("3.5", f"Position {position} has {item.quantity} pieces, {left} are wanted.")
        shelf = self.variants({item.sku, new_sku or item.sku})
        new = chosen(item, new_sku, shelf)
        before = order.total_cents
        _swap(item, new, left, shelf)
        saved = before - order.total_cents
        _lower_pending_charge(order, saved)
        refund = self.refund(order, saved, "order changed")
        return {
            "order_id": order.id,
            "position": position,
            "sku": new.sku,
            "quantity": left,
            "refund_cents": refund,
            "total_cents": order.total_cents,
        }


def chosen(item: OrderItem, sku: str | None, shelf: dict[str, Variant]) -> Variant:
    """The variant that a position is to become; it must be one of the same product."""
    wanted = shelf.get(sku or item.sku)
    if wanted is None or wanted.product_id != item.variant.product_id:
        known = ", ".join(v.sku for v in item.variant.product.variants)
        raise Retry(f"{sku} is no variant of {item.variant.product.name}. Its variants: {known}.")
    return wanted


def _only_unpacked(order: Order, rule: str) -> None:
    if order.status not in NOT_PACKED:
        raise Refused(rule, f"Order {order.id} is {order.status.replace('_', ' ')}.")


def _swap(item: OrderItem, new: Variant, quantity: int, shelf: dict[str, Variant]) -> None:
    """Put the old pieces back on the shelf and take the new ones; refuses by rules 3.3 and 3.4."""
    shelf[item.sku].stock += item.quantity
    if new.sku != item.sku:
        if new.price_cents > item.unit_price_cents:
            raise Refused(
                "3.4", f"{new.sku} costs {euros(new.price_cents)}, {euros(item.unit_price_cents)} was ordered."
            )
        if new.stock < quantity:
            raise Refused("3.3", f"Of {new.sku} {new.stock} are in stock, {quantity} are needed.")
        item.variant, item.sku, item.unit_price_cents = new, new.sku, new.price_cents
    new.stock -= quantity
    item.quantity = quantity


def _lower_pending_charge(order: Order, cents: int) -> None:
    """What has not been paid yet need not be paid in full any more."""
    for payment in order.payments:
        if payment.kind == "charge" and payment.status == "pending":
            payment.amount_cents = max(0, payment.amount_cents - cents)
