"""From the shop's records to what is said: a situation with facts, as `agentlab.wording` takes them.

Facts are figures, names and days out of tool results; free text that anybody may have written (notes, reviews) is left out.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentlab.shop.records import euros
from agentlab.shop.rules import limits
from agentlab.wording import MONTHS

METHODS = {
    "card": "card",
    "paypal": "PayPal",
    "klarna": "Klarna",
    "bank_transfer": "bank transfer",
    "gift_card": "gift card",
}
STATES = {
    "waiting_for_payment": "waiting for payment", "processing": "being processed", "packed": "packed",
    "partly_shipped": "partly shipped", "shipped": "shipped", "delivered": "delivered", "cancelled": "cancelled",
}  # fmt: skip
Record = Mapping[str, Any]
Facts = dict[str, Any]


def day(iso: str | None, today: dt.date) -> str | None:
    """A day as a customer reads it, with the year where it is not this one.

    >>> day("2026-06-16", dt.date(2026, 6, 15)), day("2025-12-01", dt.date(2026, 6, 15))
    ('16 June', '1 December 2025')
    """
    if not iso:
        return None
    date = dt.date.fromisoformat(iso)
    return f"{date.day} {MONTHS[date.month - 1]}{f' {date.year}' if date.year != today.year else ''}"


def later(iso: str, days: int, today: dt.date) -> str:
    """The day some days after another."""
    return str(day((dt.date.fromisoformat(iso) + dt.timedelta(days=days)).isoformat(), today))


def money(cents: int | None) -> str | None:
    """Cents as euros, such as €49.90."""
    return None if cents is None else euros(cents)


def item_label(item: Record) -> str:
    """A position as it is called: colour, name, size.

    >>> item_label({"name": "Emberly Pour kettle", "colour": "steel", "size": "1.7 l"})
    'steel Emberly Pour kettle (1.7 l)'
    """
    size = f" ({item['size']})" if item.get("size") else ""
    return f"{item['colour']} {item['name']}{size}".strip() if item.get("colour") else f"{item['name']}{size}"


def items_of(order: Record) -> str:
    """The names of an order's products in a row."""
    names = list(dict.fromkeys(i["name"] for i in order["items"]))
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]


# --- where an order is ---------------------------------------------------------------------------------------


def order_facts(order: Record, track: Record, today: dt.date) -> Facts:
    """Where an order is, from find_order and track_shipment."""
    facts = {"order_id": order["order_id"], "item": items_of(order)}
    status, parcels = order["status"], [p for p in track["parcels"] if p["status"] != "lost" or not _replaced(p, track)]
    expected = day(order["promised_on"], today)
    if status == "waiting_for_payment":
        return facts | {"situation": "order_waiting_for_payment", "amount": money(order["total_cents"])}
    if status == "processing":
        return facts | {"situation": "order_processing", "placed": day(order["placed_on"], today), "packed": "not yet", "expected": expected}  # fmt: skip
    if status == "cancelled":
        return facts | {"situation": "order_already_cancelled", "refund": money(order["refunded_cents"]) if order["refunded_cents"] else None}  # fmt: skip
    if status == "delivered":
        return facts | _delivered(order, parcels, today)
    if len(parcels) > 1:
        return facts | _in_parts(order, parcels, today)
    return facts | _one_parcel(order, parcels[0] if parcels else None, today)


def _replaced(parcel: Record, track: Record) -> bool:
    return any(p["replaces"] == parcel["tracking_number"] for p in track["parcels"])


def _delivered(order: Record, parcels: Sequence[Record], today: dt.date) -> Facts:
    arrived = [p for p in parcels if p["delivered_on"]]
    last = max((p["delivered_on"] for p in arrived), default=None)
    facts = {"situation": "order_delivered", "carrier": arrived[-1]["carrier"] if arrived else None, "delivered": day(last, today)}  # fmt: skip
    if len({p["delivered_on"] for p in arrived}) > 1:
        facts |= {"parcels": len(arrived)} | {f"parcel_{n}": f"came on {day(p['delivered_on'], today)}" for n, p in enumerate(arrived[:2], 1)}  # fmt: skip
    if last and (today - dt.date.fromisoformat(last)).days <= limits().return_days:
        facts["return_until"] = later(last, limits().return_days, today)
    return facts


def _one_parcel(order: Record, parcel: Record | None, today: dt.date) -> Facts:
    expected, promised = day(order["promised_on"], today), dt.date.fromisoformat(order["promised_on"])
    if parcel is None or parcel["status"] == "label_made":
        late = {} if promised >= today else {"expected": None}
        return {"situation": "order_packed", "carrier": parcel and parcel["carrier"], "tracking_number": parcel and parcel["tracking_number"], "expected": expected} | late  # fmt: skip
    seen = {"carrier": parcel["carrier"], "last_seen": parcel["last_scan_place"], "last_scan": day(parcel["last_scan_on"], today), "tracking_number": parcel["tracking_number"]}  # fmt: skip
    if parcel["status"] == "returned_to_sender":
        return {"situation": "order_returned_to_sender", "carrier": parcel["carrier"], "arrived_back": day(parcel["last_scan_on"], today)}  # fmt: skip
    if parcel["counts_as_lost_since"]:
        return {"situation": "order_late", "status": "counts as lost", "promised": expected, **seen}
    if promised < today:
        return {"situation": "order_late", "days_late": (today - promised).days, "promised": expected, "counts_as_lost_from": later(max(order["promised_on"], parcel["last_scan_on"] or ""), limits().lost_after_days, today), **seen}  # fmt: skip
    return {"situation": "order_on_its_way", "expected": expected, **seen}


def _in_parts(order: Record, parcels: Sequence[Record], today: dt.date) -> Facts:
    words = {"in_transit": "on its way", "label_made": "packed and not scanned yet", "delivered": "delivered", "lost": "lost", "returned_to_sender": "back with us"}  # fmt: skip
    said: Facts = {
        "situation": "order_partly_shipped",
        "parcels": len(parcels),
        "expected": day(order["promised_on"], today),
    }
    for n, parcel in enumerate(parcels[:2], 1):
        inside = ", ".join(i["name"] for i in parcel["items"])
        where = f", last scanned in {parcel['last_scan_place']} on {day(parcel['last_scan_on'], today)}" if parcel["last_scan_place"] else ""  # fmt: skip
        state = "lost" if parcel["counts_as_lost_since"] else words.get(parcel["status"], parcel["status"])
        said[f"parcel_{n}"] = f"is {state} ({inside}{where})"
        said[f"tracking_{n}"] = parcel["tracking_number"]
    return said


# --- money ---------------------------------------------------------------------------------------------------


def refund_facts(order: Record, money_of: Record, today: dt.date) -> Facts:
    """Where the money is, from refund_status."""
    facts: Facts = {"order_id": order["order_id"]}
    refunds, returns = money_of["refunds"], money_of["returns"]
    if refunds:
        last = refunds[-1]
        facts |= {"refund": money(last["amount_cents"]), "method": METHODS.get(last["method"], last["method"]), "item": items_of(order)}  # fmt: skip
        fee = sum(r["fee_cents"] for r in returns if r["status"] == "refunded")
        if last["status"] == "paid" and fee and last["method"]:
            return facts | {"situation": "refund_paid_less", "paid_on": day(last["on"], today), "paid": money(money_of["paid_cents"]), "deducted": money(fee)}  # fmt: skip
        if last["status"] == "paid":
            return facts | {"situation": "refund_paid", "paid_on": day(last["on"], today)}
        if last["status"] == "failed":
            return facts | {"situation": "refund_failed", "sent_on": day(last["on"], today), "next": "If you like, I hand you over to a person who sees to it"}  # fmt: skip
        return facts | {"situation": "refund_on_its_way", "takes": "within 5 working days"}
    if returns:
        last = returns[-1]
        if last["status"] == "refused":
            return facts | {"situation": "refund_explained", "return_state": "refused", "refund": "none"}
        if last["kind"] == "exchange":
            return facts | {"situation": "returns_on_record", "kind": "exchange", "status": last["status"], "refund": money(last["refund_cents"]) if last["refund_cents"] else None}  # fmt: skip
        state = {"registered": "registered; the money follows once the parcel was received and checked", "received": "received and being checked"}  # fmt: skip
        return facts | {"situation": "refund_on_its_way", "return_state": state.get(last["status"], last["status"]), "refund": money(last["refund_cents"])}  # fmt: skip
    return facts | {"situation": "no_refund", "status": STATES[order["status"]]}


def charge_facts(order: Record, money_of: Record) -> Facts:
    """What was paid for an order."""
    if not money_of["paid_cents"]:
        return {"situation": "not_paid", "order_id": order["order_id"]}
    back = money(money_of["refunded_cents"]) if money_of["refunded_cents"] else None
    return {"situation": "charge_checked", "order_id": order["order_id"], "paid": money(money_of["paid_cents"]), "refunded": back}  # fmt: skip


# --- changes -------------------------------------------------------------------------------------------------

REASONS = {
    "changed_mind": "you changed your mind",
    "faulty": "faulty",
    "damaged": "damaged",
    "wrong_item": "wrong item",
    "late_delivery": "late delivery",
}
TROUBLE = {"damaged": "the damage", "wrong_item": "the wrong item", "late_delivery": "the late delivery"}  # fmt: skip


def done_facts(tool: str, value: Record, arguments: Record, order: Record | None, today: dt.date) -> Facts:
    """What a WRITE has done."""
    facts: Facts = {"order_id": arguments.get("order_id")}
    item = next((i for i in (order or {}).get("items", ()) if i["position"] == arguments.get("position")), None)
    if order and tool in ("cancel_order", "reship_order"):
        facts["item"] = items_of(order)
    if item:
        facts["item"] = item["name"]
    if order and len(order["paid_by"]) == 1 and value.get("refund_cents"):
        facts["method"] = METHODS[order["paid_by"][0]]
    if order and tool == "change_items" and order["status"] == "waiting_for_payment":
        facts["amount"] = money(value["total_cents"])
    return facts | _DONE[tool](value, arguments, item)


def _cancelled(value: Record, arguments: Record, item: Record | None) -> Facts:
    back = {"refund": money(value["refund_cents"]), "takes": "within 5 working days"} if value["refund_cents"] else {"refund": "none", "reason": "nothing has been paid"}  # fmt: skip
    return {"situation": "order_cancelled", **back}


def _returned(value: Record, arguments: Record, item: Record | None) -> Facts:
    fee = money(value["fee_cents"]) if value["fee_cents"] else None
    return {
        "situation": "return_registered", "refund": money(value["refund_cents"]), "deducted": fee,
        "sending_back": None if fee else "free", "paid_after": "received and checked", "hand_in_within": "14 days",
        "quantity": arguments["quantity"] if arguments.get("quantity", 1) > 1 else None,
    }  # fmt: skip


def _exchanged(value: Record, arguments: Record, item: Record | None) -> Facts:
    back = {"refund": money(value["refund_cents"])} if value["refund_cents"] else {"difference": "none"}
    return {"situation": "exchange_registered", "for": arguments.get("_label") or "the same one anew", **back}


def _address(value: Record, arguments: Record, item: Record | None) -> Facts:
    return {"situation": "address_changed", "new_address": ", ".join([value["ship_to"][1], f"{value['ship_to'][2]} {value['ship_to'][3]}"])}  # fmt: skip


def _items(value: Record, arguments: Record, item: Record | None) -> Facts:
    to = arguments.get("_label") or str(value["quantity"])
    back = {"refund": money(value["refund_cents"])} if value["refund_cents"] else {}
    return {"situation": "items_changed", "to": to, **back}


def _sent_again(value: Record, arguments: Record, item: Record | None) -> Facts:
    return {
        "situation": "parcel_sent_again",
        "tracking_number": ", ".join(value["tracking_numbers"]),
        "cost": "nothing",
    }


def _coupon(value: Record, arguments: Record, item: Record | None) -> Facts:
    return {"situation": "coupon_given", "coupon": value["code"], "amount": money(value["amount_cents"]), "reason": TROUBLE[arguments["reason"]]}  # fmt: skip


def _ticket(value: Record, arguments: Record, item: Record | None) -> Facts:
    if arguments["kind"] in ("complaint", "question"):
        return {
            "situation": "complaint_taken",
            "ticket_id": f"T{value['ticket_id']}",
            "order_id": arguments.get("order_id"),
        }
    facts: Facts = {"situation": "repair_ticket", "ticket_id": f"T{value['ticket_id']}", "label": "by e-mail"}
    if arguments["kind"] == "estimate":
        return facts | {"guarantee": "over", "cost": "a repair costs money", "estimate": "first"}
    return facts | {"cost": "free of charge", "guarantee_until": value.get("guarantee_until")}


_DONE = {
    "cancel_order": _cancelled, "return_item": _returned, "exchange_item": _exchanged, "change_address": _address,
    "change_items": _items, "reship_order": _sent_again, "issue_coupon": _coupon, "open_ticket": _ticket,
}  # fmt: skip
TICKETS = {"estimate": "an estimate", "repair": "a repair", "complaint": "a complaint", "question": "a question"}
ACTIONS = {
    "cancel_order": "cancel", "reship_order": "send again", "return_item": "register a return", "exchange_item": "register an exchange",
    "change_address": "change the address", "change_items": "make this change", "issue_coupon": "issue a coupon", "open_ticket": "open a ticket",
}  # fmt: skip


def readback_facts(tool: str, arguments: Record, value: Record | None, order: Record | None, today: dt.date) -> Facts:
    """A WRITE read back: what, for which order and item, and what it would bring."""
    facts: Facts = {"order_id": arguments.get("order_id")}
    if value is not None:
        facts |= done_facts(tool, value, arguments, order, today)
    kept = {k: facts.get(k) for k in ("order_id", "item", "refund", "method", "deducted", "sending_back", "new_address") if facts.get(k) != "none"}  # fmt: skip
    if arguments.get("reason"):
        kept["reason"] = REASONS[arguments["reason"]]
    label = arguments.get("_label")
    if tool == "exchange_item":
        kept["for"] = label or "the same one anew"
    elif tool == "change_items":
        kept |= {"to": label or f"{arguments['quantity']} pieces", "amount": facts.get("amount")}
    elif tool == "reship_order":
        kept["reason"] = "it counts as lost" if arguments.get("problem") == "lost" else "it did not arrive"
    elif tool == "issue_coupon":
        kept["action"] = f"issue a coupon of {money(arguments['amount_cents'])}"
    elif tool == "open_ticket":
        paid = arguments["kind"] == "estimate"
        kept["action"] = f"open a ticket for {TICKETS[arguments['kind']]}"
        kept |= {"cost": "a repair that costs money, as the guarantee is over"} if paid else {"guarantee_until": day(value.get("guarantee_until"), today) if value else None}  # fmt: skip
    if arguments.get("quantity", 1) > 1 and tool == "return_item":
        kept["items"] = f"{arguments['quantity']} pieces of it"
    return {"situation": "confirm_action", "action": ACTIONS[tool]} | kept


# --- products and help ---------------------------------------------------------------------------------------


def product_facts(intent: str, product: Record, words: set[str], named: bool = False) -> Facts:
    """A product as advice, stock or compatibility needs it; one that the customer ``named`` is described, not recommended."""
    cheapest = min(product["variants"], key=lambda v: v["price_cents"])
    if intent == "product_compatibility":
        return {"situation": "compatibility_facts", "product": product["name"], "description": product["description"], "features": ", ".join(product["features"][:6])}  # fmt: skip
    shared = [len(words & set(re.findall(r"\w+", f"{v['colour']} {v['size']}".lower()))) for v in product["variants"]]
    found = [v for v, n in zip(product["variants"], shared, strict=True) if n == max(shared) > 0]
    found = product["variants"] if len(product["variants"]) == 1 else found
    if intent == "stock_check":
        return _stock(product, found or product["variants"])
    stock = sum(v["stock"] for v in product["variants"])
    price = {"price": money(found[0]["price_cents"]), "size": _variant(found[0])} if len(found) == 1 else {"price_from": money(cheapest["price_cents"])}  # fmt: skip
    about: Facts = {"product": product["name"], **price, "stock": "in stock" if stock else "sold out"}
    if named:
        more = {
            "description": product["description"],
            "features": ", ".join(product["features"][:6]),
            "stars": product["stars"],
        }
        return {"situation": "product_described", **about, **more}
    facts: Facts = {f"feature_{n}": f for n, f in enumerate(product["features"][:3], 1)}
    if product["stars"]:
        facts["feature_4"] = f"buyers give it {product['stars']} of 5 stars"
    return {"situation": "product_found", **about, **facts}


def _variant(variant: Record) -> str:
    return " ".join(filter(None, (variant["colour"], variant["size"])))


def _stock(product: Record, variants: Sequence[Record]) -> Facts:
    there = [v for v in variants if v["stock"]]
    one = (there or variants)[0]
    facts: Facts = {"product": product["name"], "price": money(one["price_cents"])}
    if there:
        facts |= {"situation": "in_stock", "colour": ", ".join(dict.fromkeys(v["colour"] for v in there if v["colour"])), "size": one["size"] if len(there) == 1 else None}  # fmt: skip
        return facts | ({"stock": str(one["stock"])} if len(there) == 1 else {})
    others = [v for v in product["variants"] if v["stock"]]
    colours = dict.fromkeys(v["colour"] for v in others if v["colour"] and v["colour"] != one["colour"])
    facts |= {"situation": "out_of_stock", "colour": one["colour"], "size": one["size"], "price": None}
    if colours:
        return facts | {"other_colours": " and ".join(colours)}
    return facts | {"other_size": " and ".join(_variant(v) for v in others) or None}


def plain_text(passage: str, longest: int = 420) -> str:
    """The first sentences of a help passage, without Markdown's marks.

    >>> plain_text("You have **30 days**.\\n- Day 1 is the day after.")
    'You have 30 days. Day 1 is the day after.'
    """
    lines = [re.sub(r"^\s*(?:[-*]|\d+\.)\s+", "", line).strip() for line in passage.splitlines() if line.strip()]
    text = " ".join(line if line.endswith((".", ":", "!", "?")) else f"{line}." for line in lines)
    text = re.sub(r"\*\*|`|\[([^\]]*)\]\([^)]*\)", r"\1", text)
    kept = ""
    for sentence in re.split(r"(?<=[.!?:])\s+", text):
        if kept and len(kept) + len(sentence) > longest:
            break
        kept = f"{kept} {sentence}".strip()
    return kept[: 2 * longest]
