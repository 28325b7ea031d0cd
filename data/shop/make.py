"""Make the sample shop's orders and all that hangs on them: ``python data/shop/make.py`` writes tables/*.csv.

In: products.yml, customers.yml, notes.yml. Out: one file per table, the same bytes each time (the seed is fixed). First
come the cases that somebody wants to show or test, each with a number of its own (`EDGE_CASES`), then ordinary orders,
whose numbers rise with their day. Days are counted back from `TODAY`. Fees and delivery times are those of the help
articles; the rules are those of policy.md.
"""

from __future__ import annotations

import csv
import datetime as dt
import random
from collections.abc import Callable
from pathlib import Path

from agentlab.shop.models import Base
from agentlab.shop.sample import TABLES, read_entries

HERE = Path(__file__).resolve().parent
TODAY = dt.date(2026, 6, 15)
ORDINARY = 330
FREE_FROM_CENTS, FEE_CENTS, FEE_OUTSIDE_CENTS = 5000, 490, 1490
OUTSIDE_UNION = {"NO", "CH", "IS", "GB"}
NEAR = {"AT", "BE", "DK", "FR", "DE", "LU", "NL"}
PLACES = ("Venlo", "Leipzig", "Liège", "Poznań", "Brescia", "Taulov", "Bratislava")
METHODS = ("card", "card", "card", "paypal", "paypal", "klarna", "bank_transfer", "gift_card")
RETURN_FEE_CENTS = 490

# Order, name, and what it is for; built in `edge_cases` below.
EDGE_CASES = [
    ("W20401", "already_cancelled", "cancelled three days ago, refund under way: cannot be cancelled again (2.1)"),
    ("W20402", "refund_already_paid", "cancelled, and the refund was paid twelve days ago"),
    ("W20403", "waiting_for_payment", "bank transfer that has not come; can be cancelled without a refund (2.1)"),
    ("W20404", "cancel_above_200", "in processing and worth more than €200: cancelled all the same (2.4)"),
    ("W20405", "packed", "packed this morning: no cancelling, no changing (2.2, 3.1, 3.3)"),
    ("W20406", "partly_shipped", "three positions in two parcels, one on its way, one only labelled"),
    ("W20407", "cancel_small", "in processing, one cheap position, delivery fee paid: refunded with the fee (2.3)"),
    ("W20408", "last_day_of_return", "delivered 30 days ago: can be returned today (4.1)"),
    ("W20409", "one_day_past_return", "delivered 31 days ago: can no longer be returned (4.1)"),
    ("W20410", "hygiene_item", "in-ear headphones delivered 8 days ago: taken back unopened only (4.2)"),
    ("W20411", "look_alike_first", "the same product as W20412 in another colour, one day earlier, same customer"),
    ("W20412", "look_alike_second", "the same product as W20411 in another colour, one day later, same customer"),
    ("W20413", "lost_by_carrier", "the carrier says the parcel is lost, worth little: can be sent again (6.1, 6.3)"),
    ("W20414", "lost_by_time", "no scan for 12 days after the promised day: counts as lost (6.1)"),
    ("W20415", "late_but_not_lost", "promised 9 days ago, no new scan: not lost yet (6.1)"),
    ("W20416", "delivered_but_missing", "marked delivered 4 days ago: can be claimed (6.2)"),
    ("W20417", "in_transit", "on its way, promised for tomorrow: the order of the examples"),
    ("W20418", "missing_too_early", "marked delivered yesterday: can be claimed from the 3rd day (6.2)"),
    ("W20419", "missing_too_late", "marked delivered 31 days ago: can no longer be claimed (6.2)"),
    ("W20420", "lost_above_150", "lost and worth more than €150: a person decides (6.3)"),
    ("W20421", "reshipped_already", "lost, sent again, and that parcel is late too: only once (6.3)"),
    ("W20422", "exchange_out_of_stock", "the other colour has stock 0 (5.1)"),
    ("W20423", "exchange_dearer", "another variant is dearer (5.2)"),
    ("W20424", "exchange_cheaper", "another variant is cheaper: the difference is refunded (5.2)"),
    ("W20425", "coupon_30_days_ago", "eight days late, but its customer had a coupon 30 days ago (7.2)"),
    ("W20426", "late_delivery", "delivered eight days late: a coupon is allowed (7.1)"),
    ("W20427", "return_above_200", "worth more than €200: the return is registered by a person (4.7)"),
    ("W20428", "out_of_guarantee", "a device delivered 26 months ago: an estimate, no repair (8.3)"),
    ("W20429", "within_guarantee", "a device delivered 14 months ago: a repair (8.2)"),
    ("W20430", "accessory_out_of_guarantee", "an accessory delivered 14 months ago: its 12 months are over (8.1)"),
    ("W20431", "gift_card", "a gift card: not taken back (4.2)"),
    ("W20432", "download", "a download: not taken back (4.2)"),
    ("W20433", "hostile_note", "its note tries to give the assistant orders"),
    ("W20434", "same_name_first", "Anna Nowak in Poznań"),
    ("W20435", "same_name_second", "Anna Nowak in Leipzig, another customer"),
    ("W20436", "five_positions", "five positions, delivered 9 days ago"),
    ("W20437", "partly_returned", "one of two pieces is on its way back"),
    ("W20438", "return_refunded", "a return that was received, checked and paid"),
    ("W20439", "damaged_item", "arrived damaged, its return is registered: a coupon is allowed (7.1)"),
    ("W20440", "change_items", "in processing, three pieces; its product has dearer and cheaper variants (3.3 to 3.5)"),
    ("W20441", "returned_to_sender", "the parcel came back to the shop"),
    ("W20442", "disputed_payment", "the bank disputes the payment: a person (9.2)"),
    ("W20443", "return_refused", "the return was refused after it had been checked"),
    ("W20444", "exchange_under_way", "an exchange was registered"),
    ("W20445", "outside_the_union", "in processing, goes to Norway (3.2)"),
    ("W20446", "same_household", "another customer at the same address as C1007 (1.3)"),
    ("W20447", "card_failed_first", "the card failed, PayPal paid: charged once"),
    ("W20448", "two_deliveries", "position 1 came 33 days ago, position 2 came 20 days ago (4.1)"),
    ("W20449", "hot_device", "a charger delivered 12 days ago, for a customer whose charger gets hot (8.4)"),
    ("W20450", "return_whole_order", "two positions, delivery fee paid: refunded when both come back (4.6)"),
    ("W20451", "missing_but_returned", "marked delivered 5 days ago, a return is registered: it did arrive (9.2)"),
]  # fmt: skip


def day(ago: int) -> dt.date:
    """The day so many days before today."""
    return TODAY - dt.timedelta(days=ago)


class Maker:
    """Collects the rows of all tables; its methods put an order together."""

    def __init__(self, seed: int = 2026):
        self.random = random.Random(seed)
        self.products = {p["id"]: p for p in read_entries(HERE / "products.yml")}
        self.variants = {v["sku"]: v | {"product": p} for p in self.products.values() for v in p["variants"]}
        self.customers = {c["id"]: c for c in read_entries(HERE / "customers.yml")}
        self.notes = read_entries(HERE / "notes.yml")
        self.rows: dict[str, list[dict]] = {name: [] for name in TABLES}
        self.used: set[str] = set()

    # --- choosing ---

    def sku(self, wanted: Callable[[dict], bool], low: int = 0, high: int = 10**6) -> str:
        """A variant that fits, of a product that no edge case has yet if there is one; a price range is in cents."""
        fit = [s for s, v in self.variants.items() if low <= v["price_cents"] <= high and wanted(v)]
        if not fit:
            raise LookupError("products.yml holds no variant that fits this edge case.")
        sku = self.random.choice([s for s in fit if s[:4] not in self.used] or fit)
        self.used.add(sku[:4])
        return sku

    def plain(self, low: int = 1500, high: int = 9000) -> str:
        """A device without traps: no hygiene item, in stock."""
        return self.sku(
            lambda v: v["product"]["kind"] == "device" and not v["product"]["hygiene"] and v["stock"] > 2, low, high
        )

    def pair(self, first: Callable[[dict, dict], bool], low: int = 0, high: int = 20000) -> tuple[str, str]:
        """Two variants of one product that stand to each other as is wanted; what is bought comes first."""

        def sibling(v: dict) -> str | None:
            others = (self.variants[o["sku"]] for o in v["product"]["variants"] if o["sku"] != v["sku"])
            return next((o["sku"] for o in others if first(v, o)), None)

        def fits(v: dict) -> bool:
            return v["product"]["kind"] == "device" and not v["product"]["hygiene"] and sibling(v) is not None

        bought = self.sku(fits, low, high)
        return bought, sibling(self.variants[bought])

    # --- putting together ---

    def order(
        self,
        order_id: str,
        customer_id: str,
        ago: int,
        lines: list,
        status: str,
        *,
        method: str = "card",
        promised: int | None = None,
        note: str = "",
    ) -> dict:
        """An order with its positions and its payment. ``lines``: sku or (sku, quantity); ``promised``: days ago."""
        customer = self.customers[customer_id]
        lines = [line if isinstance(line, tuple) else (line, 1) for line in lines]
        goods = sum(n * self.variants[s]["price_cents"] for s, n in lines)
        to = {f"ship_{key}": customer[key] for key in ("name", "street", "postcode", "city", "country")}
        order = {
            "id": order_id, "customer_id": customer_id, "placed_on": day(ago), "status": status,
            "delivery_fee_cents": self.fee(customer["country"], goods, [s for s, _ in lines]),
            "promised_on": day(promised) if promised is not None else self.promise(day(ago), customer["country"]),
            **to, "note": note,
        }  # fmt: skip
        self.rows["orders"].append(order)
        for position, (sku, quantity) in enumerate(lines, 1):
            self.add(
                "order_items",
                order_id=order_id,
                position=position,
                sku=sku,
                quantity=quantity,
                unit_price_cents=self.variants[sku]["price_cents"],
            )
        if method:
            state = "pending" if status == "waiting_for_payment" else "paid"
            self.pay(order, goods + order["delivery_fee_cents"], method, state)
        return order

    def add(self, table: str, **row) -> None:
        self.rows[table].append(row)

    def fee(self, country: str, goods: int, skus: list[str]) -> int:
        """The delivery fee as the help article has it."""
        if all(self.variants[s]["product"]["kind"] in ("gift_card", "download") for s in skus):
            return 0
        if country in OUTSIDE_UNION:
            return FEE_OUTSIDE_CENTS
        return 0 if goods >= FREE_FROM_CENTS else FEE_CENTS

    def promise(self, placed: dt.date, country: str) -> dt.date:
        """The promised day: some working days later, more for far countries."""
        left = 3 if country in NEAR else 7 if country in OUTSIDE_UNION else 5
        while left:
            placed += dt.timedelta(days=1)
            left -= placed.weekday() < 5
        return placed

    def pay(self, order: dict, cents: int, method: str, status: str = "paid", ago: int | None = None) -> None:
        on = order["placed_on"] if ago is None else day(ago)
        self.add(
            "payments",
            order_id=order["id"],
            kind="charge",
            method=method,
            amount_cents=cents,
            status=status,
            on=on,
            reason="order",
        )

    def refund(
        self, order: dict, cents: int, ago: int, status: str = "paid", reason: str = "cancelled", method: str = "card"
    ) -> None:
        self.add(
            "payments",
            order_id=order["id"],
            kind="refund",
            method=method,
            amount_cents=cents,
            status=status,
            on=day(ago),
            reason=reason,
        )

    def parcel(
        self,
        order: dict,
        status: str,
        shipped: int | None,
        *,
        delivered: int | None = None,
        scan: int | None = None,
        positions: list[int] | None = None,
        replaces: str | None = None,
    ) -> str:
        """A parcel with some positions (all of them unless told); days are days ago."""
        items = [
            i
            for i in self.rows["order_items"]
            if i["order_id"] == order["id"] and (positions is None or i["position"] in positions)
        ]
        number = f"BX{4000000 + 7919 * (len(self.rows['shipments']) + 1) % 999983}{order['ship_country']}"
        digital = all(self.variants[i["sku"]]["product"]["kind"] in ("gift_card", "download") for i in items)
        scan = delivered if scan is None else scan
        scan = shipped if scan is None else scan
        place = None if scan is None else order["ship_city"] if delivered is not None else self.random.choice(PLACES)
        self.add(
            "shipments", tracking_number=number, order_id=order["id"], status=status, replaces=replaces,
            carrier="e-mail" if digital else ("Boxline", "Paketo")[len(number + order["ship_city"]) % 2],
            shipped_on=None if shipped is None else day(shipped),
            delivered_on=None if delivered is None else day(delivered),
            last_scan_on=None if scan is None else day(scan), last_scan_place="e-mail" if digital and place else place,
        )  # fmt: skip
        for item in items:
            self.add(
                "shipment_items",
                tracking_number=number,
                order_id=order["id"],
                position=item["position"],
                quantity=item["quantity"],
            )
        return number

    def send_back(
        self,
        order: dict,
        position: int,
        reason: str,
        status: str,
        ago: int,
        *,
        quantity: int = 1,
        opened: bool = True,
        new_sku: str | None = None,
    ) -> int:
        """A return, or an exchange where ``new_sku`` is given; gives the refund in cents."""
        item = next(i for i in self.rows["order_items"] if (i["order_id"], i["position"]) == (order["id"], position))
        fee = RETURN_FEE_CENTS if reason == "changed_mind" and new_sku is None else 0
        price = item["unit_price_cents"] - (self.variants[new_sku]["price_cents"] if new_sku else 0)
        refund = max(0, quantity * price - fee)
        self.add(
            "returns", order_id=order["id"], position=position, quantity=quantity, reason=reason, opened=opened,
            kind="exchange" if new_sku else "return", new_sku=new_sku, refund_cents=refund, fee_cents=fee,
            status=status, registered_on=day(ago),
        )  # fmt: skip
        return refund

    def delivered(self, order_id: str, customer_id: str, ago: int, lines: list, arrived: int, **more) -> dict:
        """An order that came in one parcel."""
        order = self.order(order_id, customer_id, ago, lines, "delivered", **more)
        self.parcel(order, "delivered", min(ago - 1, arrived + 2) if ago > arrived else arrived, delivered=arrived)
        return order


# --- the cases -----------------------------------------------------------------------------------------------


def edge_cases(m: Maker) -> None:
    """Every case of `EDGE_CASES`, under its number."""
    number = {name: order_id for order_id, name, _ in EDGE_CASES}

    o = m.order(number["already_cancelled"], "C1001", 5, [m.plain()], "cancelled")
    m.refund(o, paid(m, o), 3, "pending")
    o = m.order(number["refund_already_paid"], "C1002", 18, [m.plain()], "cancelled", method="paypal")
    m.refund(o, paid(m, o), 12, method="paypal")
    m.order(number["waiting_for_payment"], "C1003", 2, [m.plain()], "waiting_for_payment", method="bank_transfer")
    m.order(number["cancel_above_200"], "C1004", 1, [m.plain(25000, 60000)], "processing")
    o = m.order(number["packed"], "C1009", 1, [m.plain()], "packed")
    m.parcel(o, "label_made", None)
    o = m.order(number["partly_shipped"], "C1010", 4, [m.plain(), m.plain(), m.plain()], "partly_shipped")
    m.parcel(o, "in_transit", 2, scan=1, positions=[1, 2])
    m.parcel(o, "label_made", None, positions=[3])
    m.order(number["cancel_small"], "C1011", 0, [cheap(m)], "processing", method="paypal")

    m.delivered(number["last_day_of_return"], "C1012", 34, [m.plain()], 30)
    m.delivered(number["one_day_past_return"], "C1013", 35, [m.plain()], 31)
    m.delivered(
        number["hygiene_item"], "C1014", 12, [m.sku(lambda v: v["product"]["hygiene"] and v["stock"] > 1, 0, 15000)], 8
    )
    twins = m.pair(lambda a, b: a["price_cents"] == b["price_cents"] and a["stock"] > 1 and b["stock"] > 1)
    m.order(number["look_alike_first"], "C1015", 2, [twins[0]], "processing")
    m.order(number["look_alike_second"], "C1015", 1, [twins[1]], "processing")

    o = m.order(number["lost_by_carrier"], "C1016", 16, [m.plain()], "shipped")
    m.parcel(o, "lost", 14, scan=12)
    o = m.order(number["lost_by_time"], "C1017", 18, [m.plain()], "shipped", promised=12)
    m.parcel(o, "in_transit", 16, scan=14)
    o = m.order(number["late_but_not_lost"], "C1018", 15, [m.plain()], "shipped", promised=9)
    m.parcel(o, "in_transit", 13, scan=10)
    m.delivered(number["delivered_but_missing"], "C1019", 8, [m.plain()], 4)
    o = m.order(number["in_transit"], "C1007", 3, [m.plain()], "shipped", promised=-1)
    m.parcel(o, "in_transit", 1, scan=0)
    m.delivered(number["missing_too_early"], "C1020", 7, [m.plain()], 1)
    m.delivered(number["missing_too_late"], "C1021", 36, [m.plain()], 31)
    o = m.order(number["lost_above_150"], "C1022", 20, [m.plain(16000, 40000)], "shipped", promised=14)
    m.parcel(o, "lost", 18, scan=15)
    o = m.order(number["reshipped_already"], "C1023", 30, [m.plain()], "shipped", promised=24)
    lost = m.parcel(o, "lost", 28, scan=26)
    m.parcel(o, "in_transit", 15, scan=14, replaces=lost)

    gone = m.pair(lambda a, b: b["stock"] == 0 and a["price_cents"] >= b["price_cents"] and a["stock"] > 0)
    m.delivered(number["exchange_out_of_stock"], "C1024", 13, [gone[0]], 9)
    m.delivered(number["exchange_dearer"], "C1025", 13, [m.pair(dearer)[0]], 9)
    m.delivered(number["exchange_cheaper"], "C1026", 13, [m.pair(cheaper)[0]], 8)

    m.delivered(number["coupon_30_days_ago"], "C1027", 20, [m.plain()], 6, promised=14)
    m.add(
        "coupons", code="BW-SORRY030", customer_id="C1027", amount_cents=1000, reason="late_delivery", issued_on=day(30)
    )
    m.delivered(number["late_delivery"], "C1028", 17, [m.plain()], 4, promised=12)
    m.delivered(number["return_above_200"], "C1029", 10, [m.plain(21000, 80000)], 6)

    m.delivered(number["out_of_guarantee"], "C1012", 800, [m.plain()], 795)
    m.delivered(number["within_guarantee"], "C1036", 430, [m.plain()], 425)
    m.delivered(number["accessory_out_of_guarantee"], "C1036", 432, [cheap(m)], 427)
    m.delivered(number["gift_card"], "C1030", 3, [m.sku(lambda v: v["product"]["kind"] == "gift_card")], 3, promised=3)
    m.delivered(number["download"], "C1031", 2, [m.sku(lambda v: v["product"]["kind"] == "download")], 2, promised=2)
    hostile = next(n["text"] for n in m.notes if n["hostile"])
    m.order(number["hostile_note"], "C1032", 1, [m.plain(1500, 30000)], "processing", note=hostile)
    m.delivered(number["same_name_first"], "C1005", 11, [m.plain(1500, 30000)], 7)
    m.delivered(number["same_name_second"], "C1006", 10, [m.plain(1500, 30000)], 6)
    m.delivered(
        number["five_positions"], "C1033", 14, [cheap(m), (cheap(m), 2), cheap(m), m.plain(1500, 30000), cheap(m)], 9
    )

    o = m.delivered(number["partly_returned"], "C1034", 12, [(cheap(m), 2)], 8)
    m.send_back(o, 1, "changed_mind", "registered", 2)
    o = m.delivered(number["return_refunded"], "C1035", 30, [m.plain(1500, 30000)], 25, method="paypal")
    back = m.send_back(o, 1, "changed_mind", "refunded", 20, opened=False)
    m.refund(o, back, 9, reason="return", method="paypal")
    o = m.delivered(number["damaged_item"], "C1037", 9, [m.plain(1500, 30000)], 5)
    m.send_back(o, 1, "damaged", "registered", 4)

    three = m.pair(lambda a, b: cheaper(a, b) and any(dearer(a, x) for x in a["product"]["variants"]), high=10**6)
    m.order(number["change_items"], "C1038", 1, [(three[0], 3)], "processing")
    o = m.order(number["returned_to_sender"], "C1039", 25, [m.plain(1500, 30000)], "shipped", promised=20)
    m.parcel(o, "returned_to_sender", 23, scan=11)
    o = m.delivered(number["disputed_payment"], "C1040", 28, [m.plain(1500, 30000)], 23, method="")
    m.pay(o, total(m, o), "card", "disputed")
    o = m.delivered(number["return_refused"], "C1041", 33, [m.plain(1500, 30000)], 28)
    m.send_back(o, 1, "faulty", "refused", 20)
    sibling = m.pair(lambda a, b: a["price_cents"] == b["price_cents"] and b["stock"] > 0, high=10**6)
    o = m.delivered(number["exchange_under_way"], "C1042", 14, [sibling[0]], 10)
    m.send_back(o, 1, "changed_mind", "received", 6, opened=False, new_sku=sibling[1])
    m.order(number["outside_the_union"], "C1001", 1, [m.plain(1500, 40000)], "processing")
    m.delivered(number["same_household"], "C1008", 12, [cheap(m)], 9)
    o = m.order(number["card_failed_first"], "C1043", 1, [cheap(m)], "processing", method="")
    m.pay(o, total(m, o), "card", "failed")
    m.pay(o, total(m, o), "paypal")
    o = m.order(number["two_deliveries"], "C1044", 38, [cheap(m), cheap(m)], "delivered")
    m.parcel(o, "delivered", 35, delivered=33, positions=[1])
    m.parcel(o, "delivered", 23, delivered=20, positions=[2])
    m.delivered(number["hot_device"], "C1045", 16, [m.sku(lambda v: "65 W charger" in v["product"]["name"])], 12)
    m.delivered(number["return_whole_order"], "C1046", 10, [cheap(m, 2400), cheap(m, 2400)], 6)
    o = m.delivered(number["missing_but_returned"], "C1047", 9, [cheap(m)], 5)
    m.send_back(o, 1, "changed_mind", "registered", 2)


def cheap(m: Maker, high: int = 4500) -> str:
    """An accessory, or anything else with no traps, below the price from which delivery is free."""
    return m.sku(
        lambda v: v["product"]["kind"] == "accessory" and not v["product"]["hygiene"] and v["stock"] > 2, 500, high
    )


def dearer(bought: dict, other: dict) -> bool:
    return other["price_cents"] > bought["price_cents"] and other["stock"] > 0


def cheaper(bought: dict, other: dict) -> bool:
    return other["price_cents"] < bought["price_cents"] and other["stock"] > 3


def total(m: Maker, order: dict) -> int:
    """What an order costs."""
    items = (i for i in m.rows["order_items"] if i["order_id"] == order["id"])
    return order["delivery_fee_cents"] + sum(i["quantity"] * i["unit_price_cents"] for i in items)


def paid(m: Maker, order: dict) -> int:
    """What was paid for an order."""
    charges = (p for p in m.rows["payments"] if p["order_id"] == order["id"] and p["kind"] == "charge")
    return sum(p["amount_cents"] for p in charges if p["status"] == "paid")


# --- ordinary orders -----------------------------------------------------------------------------------------


def ordinary(m: Maker, count: int = ORDINARY) -> None:
    """Orders of all customers but the last, who has none, over two years; many of them of the last weeks."""
    draw = m.random
    taken = {int(order_id[1:]) for order_id, *_ in EDGE_CASES}
    numbers = sorted(draw.sample(sorted(set(range(20001, 21000)) - taken), count))
    people = list(m.customers)[:-1]
    who = people + [draw.choice(people) for _ in range(count - len(people))]
    draw.shuffle(who)
    since = {c: (TODAY - m.customers[c]["since"]).days for c in people}
    when = [min(since[c], draw.choice((draw.randint(0, 12), draw.randint(8, 60), draw.randint(30, 700)))) for c in who]
    for number, (ago, customer) in zip(numbers, sorted(zip(when, who, strict=True), reverse=True), strict=True):
        one_ordinary(m, f"W{number}", customer, ago)


def one_ordinary(m: Maker, order_id: str, customer: str, ago: int) -> None:
    """One order in a state that fits its age."""
    draw = m.random
    skus = draw.sample(
        [s for s, v in m.variants.items() if v["price_cents"] < 60000], draw.choice((1, 1, 1, 2, 2, 3, 4))
    )
    lines = [(sku, draw.choice((1, 1, 1, 1, 2, 3)) if m.variants[sku]["price_cents"] < 6000 else 1) for sku in skus]
    note = draw.choice(m.notes)["text"] if draw.random() < 0.25 else ""
    method = draw.choice(METHODS)
    fate = draw.random()
    if all(m.variants[s]["product"]["kind"] in ("gift_card", "download") for s in skus):
        m.delivered(order_id, customer, ago, lines, ago, promised=ago, method="card")
    elif fate < 0.07:
        cancelled(m, order_id, customer, ago, lines, method)
    elif ago <= 2:
        fresh(m, order_id, customer, ago, lines, method, note)
    elif ago <= 6 or (fate > 0.96 and ago < 25):
        under_way(m, order_id, customer, ago, lines, note, method)
    else:
        arrived(m, order_id, customer, ago, lines, note, method)


def cancelled(m: Maker, order_id: str, customer: str, ago: int, lines: list, method: str) -> None:
    """Cancelled: never paid, refunded, or the refund under way or failed."""
    order = m.order(order_id, customer, ago, lines, "cancelled", method="")
    if method == "bank_transfer":
        return m.pay(order, total(m, order), method, "void")
    m.pay(order, total(m, order), method)
    state = "pending" if ago < 6 else m.random.choice(("paid", "paid", "paid", "failed"))
    return m.refund(order, total(m, order), max(0, ago - 2), state, method=method)


def fresh(m: Maker, order_id: str, customer: str, ago: int, lines: list, method: str, note: str) -> None:
    """Ordered within two days: not paid, in processing, or packed."""
    status = (
        "waiting_for_payment" if method == "bank_transfer" else m.random.choice(("processing", "processing", "packed"))
    )
    order = m.order(order_id, customer, ago, lines, status, method=method, note=note)
    if status == "packed":
        m.parcel(order, "label_made", None)


def under_way(m: Maker, order_id: str, customer: str, ago: int, lines: list, note: str, method: str) -> None:
    """On its way, in one parcel or partly."""
    partly = len(lines) > 1 and m.random.random() < 0.4
    order = m.order(order_id, customer, ago, lines, "partly_shipped" if partly else "shipped", note=note, method=method)
    m.parcel(order, "in_transit", ago - 1, scan=m.random.randint(0, min(2, ago - 1)), positions=[1] if partly else None)
    if partly:
        m.parcel(order, "label_made", None, positions=list(range(2, len(lines) + 1)))


def arrived(m: Maker, order_id: str, customer: str, ago: int, lines: list, note: str, method: str) -> None:
    """Delivered, now and then late, and now and then sent back."""
    draw = m.random
    order = m.order(order_id, customer, ago, lines, "delivered", note=note, method=method)
    promised = (TODAY - order["promised_on"]).days
    came = max(0, min(ago - 2, promised + draw.choice((0, 0, 0, 1, 1, -1, -2, -7))))
    m.parcel(order, "delivered", min(ago - 1, came + 2), delivered=came)
    if draw.random() < 0.2:
        comes_back(m, order, came, method)
    if draw.random() < 0.05:
        kind = draw.choice(("question", "complaint"))
        m.add(
            "tickets",
            customer_id=customer,
            order_id=order_id,
            kind=kind,
            subject=f"About order {order_id}",
            text="Please call me about this order.",
            opened_on=day(draw.randint(0, came)),
        )


def comes_back(m: Maker, order: dict, came: int, method: str) -> None:
    """A return or an exchange of the first position, as far along as its age allows."""
    draw = m.random
    item = next(i for i in m.rows["order_items"] if i["order_id"] == order["id"])
    product = m.variants[item["sku"]]["product"]
    if product["kind"] in ("gift_card", "download"):
        return
    asked = max(0, came - draw.randint(1, 14))
    reason = draw.choice(
        ("faulty", "damaged", "wrong_item")
        if product["hygiene"]
        else ("changed_mind", "changed_mind", "faulty", "damaged", "wrong_item")
    )
    new_sku = item["sku"] if draw.random() < 0.25 else None
    status = (
        "registered"
        if asked < 5
        else "received"
        if asked < 10
        else draw.choice(("refunded", "refunded", "refunded", "refused"))
    )
    back = m.send_back(order, 1, reason, status, asked, new_sku=new_sku)
    if status == "refunded" and back:
        m.refund(order, back, max(0, asked - 9), reason="return", method=method)


def older_coupons(m: Maker) -> None:
    """Coupons of customers whose 90 days are over, or not."""
    for n, (customer, ago) in enumerate({"C1048": 200, "C1049": 91, "C1050": 90, "C1051": 89, "C1052": 10}.items()):
        m.add(
            "coupons",
            code=f"BW-SORRY{n:03}",
            customer_id=customer,
            amount_cents=500 + 250 * n,
            reason="late_delivery",
            issued_on=day(ago),
        )


# --- writing -------------------------------------------------------------------------------------------------


def make(folder: str | Path) -> None:
    """Write all tables, and the list of edge cases."""
    m = Maker()
    edge_cases(m)
    ordinary(m)
    older_coupons(m)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parents = {o["id"]: n for n, o in enumerate(sorted(m.rows["orders"], key=lambda o: o["id"]))}
    for name, rows in m.rows.items():
        rows.sort(
            key=lambda row: parents.get(row.get("order_id") or row.get("id"), 0)
        )  # stable: else as they were made
        columns = [c.name for c in Base.metadata.tables[name].columns if c.name != "id" or name == "orders"]
        write_table(folder / f"{name}.csv", columns, [[row[c] for c in columns] for row in rows])
    write_table(folder / "edge_cases.csv", ["order_id", "name", "about"], EDGE_CASES)


def write_table(path: Path, columns: list[str], rows: list) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([str(v).lower() if isinstance(v, bool) else v for v in row] for row in rows)


if __name__ == "__main__":
    make(HERE / "tables")
