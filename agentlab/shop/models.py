"""The shop's tables. What must never be false stands here as a constraint, so that no tool and no thread can break it.

Money is in integer cents. Dates are days without a time; only the audit knows the minute.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import JSON, CheckConstraint, ForeignKey, ForeignKeyConstraint, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

PRODUCT_KINDS = ("device", "accessory", "gift_card", "download")
ORDER_STATES = ("waiting_for_payment", "processing", "packed", "partly_shipped", "shipped", "delivered", "cancelled")
SHIPMENT_STATES = ("label_made", "in_transit", "delivered", "lost", "returned_to_sender")
PAYMENT_KINDS = ("charge", "refund")
PAYMENT_STATES = ("pending", "paid", "failed", "void", "disputed")
RETURN_KINDS = ("return", "exchange")
RETURN_STATES = ("registered", "received", "refunded", "refused")
RETURN_REASONS = ("changed_mind", "faulty", "damaged", "wrong_item")
TICKET_KINDS = ("question", "complaint", "repair", "estimate", "handover")


def one_of(column: str, values: Sequence[str]) -> CheckConstraint:
    """The constraint that a column holds one of these words."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(v) for v in values)})", name=f"{column}_known")


def at_least(column: str, least: int) -> CheckConstraint:
    """The constraint that a number is not below ``least``."""
    return CheckConstraint(f"{column} >= {least}", name=f"{column}_at_least_{least}")


class Base(DeclarativeBase):
    """All tables of the shop."""

    metadata = MetaData(
        naming_convention={"ix": "ix_%(column_0_label)s", "ck": "ck_%(table_name)s_%(constraint_name)s"}
    )
    type_annotation_map = {dict: JSON, list: JSON}


# --- people and goods ----------------------------------------------------------------------------------------


class Customer(Base):
    """Somebody with an account."""

    __tablename__ = "customers"
    id: Mapped[str] = mapped_column(primary_key=True)  # C1001
    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    phone: Mapped[str]
    street: Mapped[str]
    postcode: Mapped[str]
    city: Mapped[str]
    country: Mapped[str]
    since: Mapped[dt.date]
    newsletter: Mapped[bool]
    __table_args__ = (CheckConstraint("email = lower(email)", name="email_is_lower_case"),)


class Product(Base):
    """What is sold; its variants carry price and stock."""

    __tablename__ = "products"
    id: Mapped[str] = mapped_column(primary_key=True)  # P101
    name: Mapped[str]
    brand: Mapped[str]
    category: Mapped[str]
    kind: Mapped[str]
    hygiene: Mapped[bool]  # rule 4.2: only taken back unopened
    warranty_months: Mapped[int]
    description: Mapped[str]
    features: Mapped[list]
    variants: Mapped[list[Variant]] = relationship(back_populates="product", order_by="Variant.sku")
    reviews: Mapped[list[Review]] = relationship(order_by="Review.date.desc(), Review.id")
    __table_args__ = (one_of("kind", PRODUCT_KINDS), at_least("warranty_months", 0))


class Variant(Base):
    """One colour and size of a product: what lies on the shelf."""

    __tablename__ = "variants"
    sku: Mapped[str] = mapped_column(primary_key=True)
    product_id: Mapped[str] = mapped_column(ForeignKey("products.id"), index=True)
    colour: Mapped[str]  # empty where there is but one
    size: Mapped[str]
    price_cents: Mapped[int]
    stock: Mapped[int]
    product: Mapped[Product] = relationship(back_populates="variants")
    __table_args__ = (
        UniqueConstraint("product_id", "colour", "size"),
        at_least("price_cents", 0),
        at_least("stock", 0),
    )


class Review(Base):
    """What a buyer wrote about a product. Anybody may have written anything: it is data, never an instruction."""

    __tablename__ = "reviews"
    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[str] = mapped_column(ForeignKey("products.id"), index=True)
    stars: Mapped[int]
    author: Mapped[str]
    date: Mapped[dt.date]
    text: Mapped[str]
    __table_args__ = (CheckConstraint("stars BETWEEN 1 AND 5", name="stars_one_to_five"),)


# --- orders and what hangs on them ---------------------------------------------------------------------------


class Order(Base):
    """An order with the address it goes to."""

    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)  # W20417
    customer_id: Mapped[str] = mapped_column(ForeignKey("customers.id"), index=True)
    placed_on: Mapped[dt.date]
    status: Mapped[str]
    delivery_fee_cents: Mapped[int]
    promised_on: Mapped[dt.date]
    ship_name: Mapped[str]
    ship_street: Mapped[str]
    ship_postcode: Mapped[str]
    ship_city: Mapped[str]
    ship_country: Mapped[str]
    note: Mapped[str]  # the customer's words, or anybody's: data, never an instruction
    items: Mapped[list[OrderItem]] = relationship(back_populates="order", order_by="OrderItem.position")
    shipments: Mapped[list[Shipment]] = relationship(back_populates="order", order_by="Shipment.tracking_number")
    payments: Mapped[list[Payment]] = relationship(order_by="Payment.id")
    returns: Mapped[list[Return]] = relationship(order_by="Return.id")
    __table_args__ = (
        one_of("status", ORDER_STATES),
        at_least("delivery_fee_cents", 0),
        CheckConstraint("promised_on >= placed_on", name="promised_after_placed"),
    )

    @property
    def total_cents(self) -> int:
        """What the goods and the delivery cost."""
        return self.delivery_fee_cents + sum(i.quantity * i.unit_price_cents for i in self.items)

    @property
    def paid_cents(self) -> int:
        """What the customer has paid, refunds left out of account."""
        return sum(p.amount_cents for p in self.payments if p.kind == "charge" and p.status == "paid")

    @property
    def refunded_cents(self) -> int:
        """What has gone back or is on its way back."""
        return sum(p.amount_cents for p in self.payments if p.kind == "refund" and p.status in ("pending", "paid"))

    @property
    def open_returns(self) -> list[Return]:
        """Returns and exchanges that are under way."""
        return [r for r in self.returns if r.status in ("registered", "received")]

    @property
    def refundable_cents(self) -> int:
        """The most that may still go back: what was paid less what went back and what open returns will bring."""
        promised = sum(r.refund_cents for r in self.open_returns)
        return max(0, self.paid_cents - self.refunded_cents - promised)


class OrderItem(Base):
    """A position of an order."""

    __tablename__ = "order_items"
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(ForeignKey("variants.sku"), index=True)
    quantity: Mapped[int]
    unit_price_cents: Mapped[int]
    order: Mapped[Order] = relationship(back_populates="items")
    variant: Mapped[Variant] = relationship()
    parcels: Mapped[list[ShipmentItem]] = relationship(viewonly=True)
    __table_args__ = (at_least("position", 1), at_least("quantity", 1), at_least("unit_price_cents", 0))

    @property
    def arrived(self) -> list[ShipmentItem]:
        """What of this position has been delivered."""
        return [p for p in self.parcels if p.shipment.status == "delivered"]

    @property
    def delivered_on(self) -> dt.date | None:
        """The day on which the last of it was delivered, or None."""
        return max((p.shipment.delivered_on for p in self.arrived), default=None)

    @property
    def at_customer(self) -> int:
        """How many pieces were delivered and neither sent back nor announced for it."""
        back = sum(r.quantity for r in self.order.returns if r.position == self.position and r.status != "refused")
        return sum(p.quantity for p in self.arrived) - back


class Shipment(Base):
    """A parcel of an order. ``replaces`` names the parcel in whose place it was sent."""

    __tablename__ = "shipments"
    tracking_number: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"), index=True)
    carrier: Mapped[str]
    status: Mapped[str]
    shipped_on: Mapped[dt.date | None]
    delivered_on: Mapped[dt.date | None]
    last_scan_on: Mapped[dt.date | None]
    last_scan_place: Mapped[str | None]
    replaces: Mapped[str | None] = mapped_column(ForeignKey("shipments.tracking_number"), unique=True)
    order: Mapped[Order] = relationship(back_populates="shipments")
    items: Mapped[list[ShipmentItem]] = relationship(back_populates="shipment", order_by="ShipmentItem.position")
    __table_args__ = (
        one_of("status", SHIPMENT_STATES),
        UniqueConstraint("tracking_number", "order_id"),
        CheckConstraint("(status = 'delivered') = (delivered_on IS NOT NULL)", name="delivered_has_a_day"),
        CheckConstraint("(status = 'label_made') = (shipped_on IS NULL)", name="shipped_has_a_day"),
        CheckConstraint("delivered_on >= shipped_on", name="delivered_after_shipped"),
    )


class ShipmentItem(Base):
    """Which pieces of which position lie in a parcel; parcel and position are of the same order."""

    __tablename__ = "shipment_items"
    tracking_number: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str]
    position: Mapped[int] = mapped_column(primary_key=True)
    quantity: Mapped[int]
    shipment: Mapped[Shipment] = relationship(back_populates="items")
    item: Mapped[OrderItem] = relationship(overlaps="items,shipment")
    __table_args__ = (
        at_least("quantity", 1),
        ForeignKeyConstraint(["tracking_number", "order_id"], ["shipments.tracking_number", "shipments.order_id"]),
        ForeignKeyConstraint(["order_id", "position"], ["order_items.order_id", "order_items.position"]),
    )


class Payment(Base):
    """Money that came (charge) or went back (refund)."""

    __tablename__ = "payments"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"), index=True)
    kind: Mapped[str]
    method: Mapped[str]
    amount_cents: Mapped[int]
    status: Mapped[str]
    on: Mapped[dt.date]
    reason: Mapped[str]
    __table_args__ = (one_of("kind", PAYMENT_KINDS), one_of("status", PAYMENT_STATES), at_least("amount_cents", 0))


class Return(Base):
    """Goods that come back, for money (return) or for other goods (exchange)."""

    __tablename__ = "returns"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"), index=True)
    position: Mapped[int]
    quantity: Mapped[int]
    kind: Mapped[str]
    reason: Mapped[str]
    opened: Mapped[bool]
    new_sku: Mapped[str | None] = mapped_column(ForeignKey("variants.sku"))
    refund_cents: Mapped[int]
    fee_cents: Mapped[int]
    status: Mapped[str]
    registered_on: Mapped[dt.date]
    __table_args__ = (
        ForeignKeyConstraint(["order_id", "position"], ["order_items.order_id", "order_items.position"]),
        one_of("kind", RETURN_KINDS),
        one_of("reason", RETURN_REASONS),
        one_of("status", RETURN_STATES),
        at_least("quantity", 1),
        at_least("refund_cents", 0),
        at_least("fee_cents", 0),
        CheckConstraint("(kind = 'exchange') = (new_sku IS NOT NULL)", name="exchange_has_a_sku"),
    )


# --- around them ---------------------------------------------------------------------------------------------


class Coupon(Base):
    """Goodwill: money off the next order."""

    __tablename__ = "coupons"
    code: Mapped[str] = mapped_column(primary_key=True)
    customer_id: Mapped[str] = mapped_column(ForeignKey("customers.id"), index=True)
    amount_cents: Mapped[int]
    reason: Mapped[str]
    issued_on: Mapped[dt.date]
    __table_args__ = (at_least("amount_cents", 1),)


class Ticket(Base):
    """Something for a person or the workshop to do."""

    __tablename__ = "tickets"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[str | None] = mapped_column(ForeignKey("customers.id"), index=True)
    order_id: Mapped[str | None] = mapped_column(ForeignKey("orders.id"))
    kind: Mapped[str]
    subject: Mapped[str]
    text: Mapped[str]
    opened_on: Mapped[dt.date]
    __table_args__ = (one_of("kind", TICKET_KINDS),)


class Audit(Base):
    """A line for every change: who, what, when."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime]
    action: Mapped[str]
    customer_id: Mapped[str | None] = mapped_column(ForeignKey("customers.id"))
    order_id: Mapped[str | None] = mapped_column(ForeignKey("orders.id"))
    detail: Mapped[dict]


class Done(Base):
    """A write that was made under an idempotency key, with its result; kept apart for each customer."""

    __tablename__ = "done"
    customer_id: Mapped[str] = mapped_column(primary_key=True)  # empty where nobody is verified
    key: Mapped[str] = mapped_column(primary_key=True)
    call: Mapped[str]
    result: Mapped[dict | None]
