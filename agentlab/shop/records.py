"""Rows of the shop's tables as plain data for a model or a person to read. Amounts stay in cents."""

from __future__ import annotations

import datetime as dt

from agentlab.shop.models import Customer, Order, OrderItem, Product, Return, Shipment, Variant


def euros(cents: int) -> str:
    """An amount as a person writes it.

    >>> euros(123450)
    '€1,234.50'
    """
    return f"€{cents / 100:,.2f}"


def customer_record(customer: Customer) -> dict:
    """A customer's own data."""
    columns = ("id", "name", "email", "phone", "street", "postcode", "city", "country", "since", "newsletter")
    return {name: getattr(customer, name) for name in columns}


def product_record(product: Product) -> dict:
    """A product with its variants, and how buyers like it."""
    columns = ("id", "name", "brand", "category", "kind", "hygiene", "warranty_months", "description", "features")
    return {
        **{name: getattr(product, name) for name in columns},
        "variants": [variant_record(v) for v in product.variants],
        "stars": round(sum(r.stars for r in product.reviews) / len(product.reviews), 1) if product.reviews else None,
        "reviews": [{"stars": r.stars, "author": r.author, "date": r.date, "text": r.text} for r in product.reviews],
    }


def variant_record(variant: Variant) -> dict:
    """One colour and size, with price and stock."""
    return {name: getattr(variant, name) for name in ("sku", "colour", "size", "price_cents", "stock")}


def order_record(order: Order) -> dict:
    """An order with its positions, address and money; parcels and returns in short."""
    return {
        **order_line(order),
        "items": [item_record(i) for i in order.items],
        "delivery_fee_cents": order.delivery_fee_cents,
        "paid_cents": order.paid_cents,
        "paid_by": sorted({p.method for p in order.payments if p.kind == "charge" and p.status == "paid"}),
        "refunded_cents": order.refunded_cents,
        "ship_to": {n: getattr(order, f"ship_{n}") for n in ("name", "street", "postcode", "city", "country")},
        "parcels": [{"tracking_number": s.tracking_number, "status": s.status} for s in order.shipments],
        "returns": [return_record(r) for r in order.returns],
        "note": order.note,
    }


def order_line(order: Order) -> dict:
    """An order in one line of a list."""
    return {
        "order_id": order.id,
        "placed_on": order.placed_on,
        "status": order.status,
        "promised_on": order.promised_on,
        "total_cents": order.total_cents,
        "products": [i.variant.product.name for i in order.items],
    }


def item_record(item: OrderItem) -> dict:
    """A position of an order."""
    return {
        "position": item.position,
        "sku": item.sku,
        "product_id": item.variant.product_id,
        "name": item.variant.product.name,
        "colour": item.variant.colour,
        "size": item.variant.size,
        "quantity": item.quantity,
        "unit_price_cents": item.unit_price_cents,
        "delivered_on": item.delivered_on,
    }


def shipment_record(shipment: Shipment, late_since: dt.date | None) -> dict:
    """A parcel, what is in it, and since when it counts as lost."""
    columns = (
        "tracking_number",
        "carrier",
        "status",
        "shipped_on",
        "delivered_on",
        "last_scan_on",
        "last_scan_place",
        "replaces",
    )
    return {
        **{name: getattr(shipment, name) for name in columns},
        "counts_as_lost_since": late_since,
        "items": [
            {"position": i.position, "name": i.item.variant.product.name, "quantity": i.quantity}
            for i in shipment.items
        ],
    }


def return_record(one: Return) -> dict:
    """A return or exchange and how far it is."""
    columns = (
        "position",
        "quantity",
        "kind",
        "reason",
        "status",
        "registered_on",
        "refund_cents",
        "fee_cents",
        "new_sku",
    )
    return {"return_id": one.id, **{name: getattr(one, name) for name in columns}}
