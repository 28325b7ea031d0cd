"""Tools for what was delivered or should have been: returns, exchanges, lost parcels, coupons (chapters 4 to 7)."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import func, select

from agentlab.shop.arguments import OrderId, Position, Quantity, Reason, Sku, TrackingNumber
from agentlab.shop.changes import chosen
from agentlab.shop.desk import Desk, item_of, write
from agentlab.shop.lookups import lost_since
from agentlab.shop.models import Coupon, Order, OrderItem, Return, Shipment, ShipmentItem
from agentlab.shop.records import euros, return_record
from agentlab.shop.rules import Refused, limits
from agentlab.toolkit import Retry

OUR_FAULT = ("faulty", "damaged", "wrong_item")


class AfterSales(Desk):
    """What can be done once goods have left the house."""

    @write
    def return_item(
        self, order_id: OrderId, position: Position, reason: Reason, opened: bool, quantity: Quantity = 1
    ) -> dict:
        """Register the return of a delivered position. The refund is paid once the parcel was received and checked.

        Args:
            order_id: the order's number, such as W20417
            position: which position, such as 1
            reason: why it comes back, such as changed_mind
            opened: whether the seal or the packaging was opened
            quantity: how many pieces, such as 1
        """
        order, item = self._coming_back(order_id, position, quantity, reason, opened, "4.1")
        worth = quantity * item.unit_price_cents
        together = worth + sum(_worth(order, r) for r in order.open_returns if r.kind == "return")
        if together > limits().return_limit_cents:  # together: else the limit could be passed piece by piece
            raise Refused("4.7", f"The return is worth {euros(together)}. Use hand_over.")
        fee = 0 if reason in OUR_FAULT else min(worth, limits().return_fee_cents)
        delivery = order.delivery_fee_cents if _is_the_rest(order, position, quantity) else 0
        one = Return(kind="return", position=position, quantity=quantity, reason=reason, opened=opened, fee_cents=fee)
        return self._register(order, one, worth + delivery - fee)

    @write
    def exchange_item(
        self,
        order_id: OrderId,
        position: Position,
        reason: Reason,
        opened: bool,
        new_sku: Sku | None = None,
        quantity: Quantity = 1,
    ) -> dict:
        """Register the exchange of a delivered position for another colour or size, or for the same thing anew.

        Args:
            order_id: the order's number, such as W20417
            position: which position, such as 1
            reason: why it is exchanged, such as faulty
            opened: whether the seal or the packaging was opened
            new_sku: the variant that is wanted, such as P101-WHT; the same one anew if it is left out
            quantity: how many pieces, such as 1
        """
        order, item = self._coming_back(order_id, position, quantity, reason, opened, "5.1")
        shelf = self.variants({item.sku, new_sku or item.sku})
        new = chosen(item, new_sku, shelf)
        if new.stock < quantity:
            raise Refused("5.1", f"Of {new.sku} {new.stock} are in stock, {quantity} are needed.")
        cheaper = 0 if new.sku == item.sku else item.unit_price_cents - new.price_cents
        if cheaper < 0:
            raise Refused(
                "5.2",
                f"{new.sku} costs {euros(new.price_cents)}, {euros(item.unit_price_cents)} was paid. Use hand_over.",
            )
        new.stock -= quantity
        one = Return(kind="exchange", position=position, quantity=quantity, reason=reason, opened=opened, fee_cents=0)
        one.new_sku = new.sku
        return self._register(order, one, quantity * cheaper)

    @write
    def reship_order(
        self,
        order_id: OrderId,
        problem: Literal["lost", "delivered_but_missing"],
        tracking_number: TrackingNumber | None = None,
    ) -> dict:
        """Send a parcel again that was lost, or that is marked delivered and is not there. Once per order.

        Args:
            order_id: the order's number, such as W20417
            problem: what happened, such as lost
            tracking_number: which parcel, if not all of the order, such as BX4087109NL
        """
        order = self.order_to_change(order_id)
        parcels = self._gone(order, problem, tracking_number)
        contents = [i for s in parcels for i in s.items]
        worth = sum(i.quantity * i.item.unit_price_cents for i in contents)
        if worth > limits().reship_limit_cents:
            raise Refused("6.3", f"The items are worth {euros(worth)}. Use hand_over.")
        self._take_from_shelf(contents)
        anew = [_send_again(order, s) for s in parcels]
        return {"order_id": order.id, "tracking_numbers": anew, "worth_cents": worth}

    @write
    def issue_coupon(
        self,
        order_id: OrderId,
        amount_cents: Annotated[int, Field(ge=100, le=100_000)],
        reason: Literal["late_delivery", "wrong_item", "damaged"],
    ) -> dict:
        """Give a goodwill coupon for a late delivery, or for a wrong or damaged item whose return is registered.

        Args:
            order_id: the order it is about, such as W20417
            amount_cents: how much in cents, such as 1000
            reason: what went wrong, such as late_delivery
        """
        customer, order = self.customer(), self.order_to_change(order_id)
        if amount_cents > limits().coupon_limit_cents:
            raise Refused("7.1", f"{euros(amount_cents)} are wanted.")
        self._needs_a_reason(order, reason)
        last = self.store.db.scalar(select(func.max(Coupon.issued_on)).where(Coupon.customer_id == customer.id))
        if last is not None and self.days_since(last) < limits().coupon_days:
            raise Refused("7.2", f"The last one was issued on {last}.")
        coupon = Coupon(code=f"BW-{secrets.token_hex(4).upper()}", customer_id=customer.id, issued_on=self.store.today)
        coupon.amount_cents, coupon.reason = amount_cents, reason
        self.store.db.add(coupon)
        return {"code": coupon.code, "amount_cents": amount_cents}

    # --- returns ---

    def _coming_back(
        self, order_id: str, position: int, quantity: int, reason: str, opened: bool, rule: str
    ) -> tuple[Order, OrderItem]:
        """The order and position, once the rules hold that returns and exchanges share (4.1 or 5.1, 4.2, 4.3)."""
        order = self.order_to_change(order_id)
        item = item_of(order, position)
        if item.delivered_on is None:
            raise Refused(rule, f"Position {position} of order {order.id} has not been delivered.")
        days = self.days_since(item.delivered_on)
        if days > (limits().return_days if rule == "4.1" else limits().exchange_days):
            raise Refused(
                rule, f"Position {position} of order {order.id} was delivered on {item.delivered_on}, {days} days ago."
            )
        product = item.variant.product
        sealed_only = product.kind in ("gift_card", "download") or (product.hygiene and opened)
        if sealed_only and reason not in OUR_FAULT:
            raise Refused("4.2", f"That holds for {product.name}.")
        if quantity > item.at_customer:
            raise Retry(f"Of position {position} {item.at_customer} pieces can come back, not {quantity}.")
        return order, item

    def _register(self, order: Order, one: Return, refund: int) -> dict:
        """Note a return or exchange with the refund it will bring, never more than may still go back (4.6)."""
        one.refund_cents = min(refund, order.refundable_cents)
        one.status, one.registered_on = "registered", self.store.today
        order.returns.append(one)
        self.store.db.flush()  # the database gives the number
        return {"order_id": order.id, **return_record(one)}

    # --- parcels ---

    def _lost(self, parcel: Shipment) -> bool:
        """Whether a parcel counts as lost (6.1)."""
        return lost_since(parcel, self.store.today) is not None

    def _claimable(self, parcel: Shipment) -> bool:
        """Whether a parcel is marked delivered and that mark is as old as a claim needs it to be (6.2)."""
        if parcel.status != "delivered":
            return False
        return limits().claim_from_day <= self.days_since(parcel.delivered_on) <= limits().claim_to_day

    def _gone(self, order: Order, problem: str, tracking_number: str | None) -> list[Shipment]:
        """The parcels to be sent again, once chapter 6 allows it."""
        known = [s.tracking_number for s in order.shipments]
        if tracking_number is not None and tracking_number not in known:
            raise Retry(f"Order {order.id} has no parcel {tracking_number}. Its parcels: {', '.join(known) or 'none'}.")
        if any(s.replaces for s in order.shipments):
            raise Refused("6.3", f"A parcel of order {order.id} has been sent again already. Use hand_over.")
        gone = self._lost if problem == "lost" else self._claimable
        parcels = [s for s in order.shipments if tracking_number in (None, s.tracking_number) and gone(s)]
        if not parcels:
            scans = [
                f"{s.tracking_number} {s.status} {s.delivered_on or s.last_scan_on or ''}" for s in order.shipments
            ]
            case = f"Parcels of order {order.id}: {'; '.join(scans) or 'none'}. Today is {self.store.today}."
            raise Refused("6.1" if problem == "lost" else "6.2", case)
        return parcels

    def _take_from_shelf(self, contents: list[ShipmentItem]) -> None:
        """Take the pieces of a lost parcel from the shelf once more; refuses where they are not there or came back."""
        shelf = self.variants(i.item.sku for i in contents)
        for inside in contents:
            if any(r.position == inside.position and r.status != "refused" for r in inside.item.order.returns):
                raise Refused(
                    "9.2", f"A return of position {inside.position} is on record, so it did arrive. Use hand_over."
                )
            left = shelf[inside.item.sku].stock
            if left < inside.quantity:
                raise Refused(
                    "6.3", f"Of {inside.item.sku} {left} are in stock, {inside.quantity} are needed. Use hand_over."
                )
            shelf[inside.item.sku].stock -= inside.quantity

    def _needs_a_reason(self, order: Order, reason: str) -> None:
        """Refuse a coupon for what the shop's data do not show (7.1, 7.2)."""
        if reason == "late_delivery":
            if self._days_late(order) <= limits().late_days:
                raise Refused("7.1", f"Order {order.id} is not that late.")
        elif not any(r.reason == reason and r.status != "refused" for r in order.returns):
            what = reason.replace("_", " ")
            raise Refused("7.2", f"Order {order.id} has no {what} on record: register its return or exchange first.")

    def _days_late(self, order: Order) -> int:
        """How late the last parcel came, or is by today; an order that was not paid is not late."""
        if order.status in ("cancelled", "waiting_for_payment"):
            return 0
        arrived = [s.delivered_on for s in order.shipments if s.status == "delivered"]
        last = max(arrived) if order.status == "delivered" and arrived else self.store.today
        return (last - order.promised_on).days


def _worth(order: Order, one: Return) -> int:
    return one.quantity * item_of(order, one.position).unit_price_cents


def _is_the_rest(order: Order, position: int, quantity: int) -> bool:
    """Whether with these pieces the whole order has come back for money."""
    back = {position: quantity}
    for one in order.returns:
        if one.kind == "return" and one.status != "refused":
            back[one.position] = back.get(one.position, 0) + one.quantity
    return all(back.get(i.position, 0) >= i.quantity for i in order.items)


def _send_again(order: Order, lost: Shipment) -> str:
    """A new parcel with the same content; the old one counts as lost from now on."""
    lost.status, lost.delivered_on = "lost", None
    number = f"{lost.tracking_number}R"
    content = [ShipmentItem(order_id=order.id, position=i.position, quantity=i.quantity) for i in lost.items]
    order.shipments.append(
        Shipment(
            tracking_number=number,
            carrier=lost.carrier,
            status="label_made",
            replaces=lost.tracking_number,
            items=content,
        )
    )
    others = {s.status for s in order.shipments} - {"lost", "label_made"}
    order.status = "partly_shipped" if others else "packed"
    return number
