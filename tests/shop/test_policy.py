"""Every rule of data/shop/policy.md that a tool can keep or break: what it allows, and what it refuses with its number."""

import datetime as dt
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentlab.corpus import data_folder
from agentlab.errors import DataError
from agentlab.shop.models import Order, Payment, Product, Return, Variant
from agentlab.shop.rules import limits, read_limits, read_rules, rules

ADDRESS = {"street": "Nieuwe Gracht 8", "postcode": "1011 AB", "city": "Elsewhere"}
BACK = {"position": 1, "reason": "changed_mind", "opened": True}
TICKET = {"subject": "It broke", "text": "It does not switch on.", "position": 1}
NOT_FOR_TOOLS = {"7.3"}  # what the assistant says, which its own tests look at


def variants_of(store, order_id, position=1):
    """The position's price, and its product's variants by whether they are dearer, cheaper or sold out."""
    with store.reading() as db:
        item = db.get_one(Order, order_id).items[position - 1]
        others = [v for v in item.variant.product.variants if v.sku != item.sku]
        price = item.unit_price_cents
        return {
            "dearer": next((v.sku for v in others if v.price_cents > price and v.stock), None),
            "cheaper": next((v.sku for v in others if v.price_cents < price and v.stock), None),
            "sold_out": next((v.sku for v in others if not v.stock), None),
            "difference": price - min(v.price_cents for v in others),
        }


def later(store, days):
    today = store.today + dt.timedelta(days=days)
    store.clock = lambda: today


# --- what is refused ---

REFUSED = [
    ("2.1", "already_cancelled", "cancel_order", {}),
    ("2.2", "packed", "cancel_order", {}),
    ("2.2", "partly_shipped", "cancel_order", {}),
    ("2.2", "in_transit", "cancel_order", {}),
    ("2.2", "last_day_of_return", "cancel_order", {}),
    ("3.1", "packed", "change_address", ADDRESS | {"country": "SE"}),
    ("3.1", "already_cancelled", "change_address", ADDRESS | {"country": "NO"}),
    ("3.2", "outside_the_union", "change_address", ADDRESS | {"country": "SE"}),
    ("3.3", "packed", "change_items", {"position": 1, "quantity": 1}),
    ("3.5", "change_items", "change_items", {"position": 1, "quantity": 4}),
    ("4.1", "one_day_past_return", "return_item", BACK),
    ("4.1", "in_transit", "return_item", BACK),
    ("4.1", "two_deliveries", "return_item", BACK),
    ("4.1", "one_day_past_return", "return_item", BACK | {"reason": "faulty"}),
    ("4.2", "hygiene_item", "return_item", BACK),
    ("4.2", "gift_card", "return_item", BACK | {"opened": False}),
    ("4.2", "download", "return_item", BACK | {"opened": False}),
    ("4.7", "return_above_200", "return_item", BACK),
    ("5.1", "one_day_past_return", "exchange_item", BACK),
    ("5.1", "in_transit", "exchange_item", BACK),
    ("4.2", "hygiene_item", "exchange_item", BACK),  # 5.3
    ("6.1", "in_transit", "reship_order", {"problem": "lost"}),
    ("6.1", "late_but_not_lost", "reship_order", {"problem": "lost"}),
    ("6.1", "returned_to_sender", "reship_order", {"problem": "lost"}),
    ("6.2", "missing_too_early", "reship_order", {"problem": "delivered_but_missing"}),
    ("6.2", "missing_too_late", "reship_order", {"problem": "delivered_but_missing"}),
    ("6.2", "in_transit", "reship_order", {"problem": "delivered_but_missing"}),
    ("6.3", "lost_above_150", "reship_order", {"problem": "lost"}),
    ("6.3", "reshipped_already", "reship_order", {"problem": "lost"}),
    ("7.1", "in_transit", "issue_coupon", {"amount_cents": 500, "reason": "late_delivery"}),
    ("7.1", "late_delivery", "issue_coupon", {"amount_cents": 1501, "reason": "late_delivery"}),
    ("7.2", "coupon_30_days_ago", "issue_coupon", {"amount_cents": 500, "reason": "late_delivery"}),
    ("7.2", "last_day_of_return", "issue_coupon", {"amount_cents": 500, "reason": "damaged"}),
    ("8.1", "gift_card", "open_ticket", TICKET | {"kind": "repair"}),
    ("8.1", "in_transit", "open_ticket", TICKET | {"kind": "repair"}),
    ("8.2", "last_day_of_return", "open_ticket", TICKET | {"kind": "repair"}),
    ("8.2", "within_guarantee", "open_ticket", TICKET | {"kind": "estimate"}),
    ("8.3", "out_of_guarantee", "open_ticket", TICKET | {"kind": "repair"}),
    ("8.3", "accessory_out_of_guarantee", "open_ticket", TICKET | {"kind": "repair"}),
    ("9.2", "disputed_payment", "return_item", BACK),
    ("9.2", "missing_but_returned", "reship_order", {"problem": "delivered_but_missing"}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "case", "tool", "arguments"), REFUSED)
def test_what_a_rule_forbids_is_refused_in_its_words_and_changes_nothing(at, rule, case, tool, arguments):
    counter = at(case)
    before = counter.store.digest()
    result = counter(tool, **arguments)
    assert (result.status, result.message.partition(":")[0]) == ("failed", f"Rule {rule}"), result
    assert rules()[rule].text in result.message
    assert counter.store.digest() == before


# --- what is allowed ---

ALLOWED = [
    ("2.1", "cancel_small", "cancel_order", {}, {"status": "cancelled"}),
    ("2.1", "waiting_for_payment", "cancel_order", {}, {"status": "cancelled", "refund_cents": 0}),
    ("2.4", "cancel_above_200", "cancel_order", {}, {"status": "cancelled"}),
    ("3.1", "waiting_for_payment", "change_address", ADDRESS | {"country": "ie"}, {}),
    ("3.2", "outside_the_union", "change_address", ADDRESS | {"country": "NO"}, {}),
    ("3.3", "look_alike_first", "change_items", {"position": 1}, {"refund_cents": 0}),
    ("3.5", "change_items", "change_items", {"position": 1, "quantity": 1}, {"quantity": 1}),
    ("4.1", "last_day_of_return", "return_item", BACK, {"kind": "return"}),
    ("4.1", "two_deliveries", "return_item", BACK | {"position": 2}, {}),
    ("4.2", "hygiene_item", "return_item", BACK | {"opened": False}, {"fee_cents": 490}),
    ("4.3", "hygiene_item", "return_item", BACK | {"reason": "faulty"}, {"fee_cents": 0}),
    ("4.3", "download", "return_item", BACK | {"reason": "wrong_item"}, {"fee_cents": 0}),
    ("5.1", "last_day_of_return", "exchange_item", BACK, {"refund_cents": 0}),
    ("5.3", "hygiene_item", "exchange_item", BACK | {"reason": "damaged"}, {"refund_cents": 0}),
    ("6.1", "lost_by_carrier", "reship_order", {"problem": "lost"}, {}),
    ("6.1", "lost_by_time", "reship_order", {"problem": "lost"}, {}),
    ("6.2", "delivered_but_missing", "reship_order", {"problem": "delivered_but_missing"}, {}),
    ("7.1", "late_delivery", "issue_coupon", {"amount_cents": 1500, "reason": "late_delivery"}, {"amount_cents": 1500}),
    ("7.1", "damaged_item", "issue_coupon", {"amount_cents": 500, "reason": "damaged"}, {}),
    ("8.1", "within_guarantee", "open_ticket", TICKET | {"kind": "repair"}, {"kind": "repair"}),
    ("8.3", "out_of_guarantee", "open_ticket", TICKET | {"kind": "estimate"}, {"kind": "estimate"}),
    ("8.3", "accessory_out_of_guarantee", "open_ticket", TICKET | {"kind": "estimate"}, {"kind": "estimate"}),
    ("9.1", "in_transit", "hand_over", {"reason": "asked_for_person", "summary": "Wants a person."}, {"kind": "handover"}),
    ("9.2", "disputed_payment", "hand_over", {"reason": "legal_press_injury_fraud_dispute", "summary": "Disputed."}, {}),
    ("9.3", "lost_above_150", "hand_over", {"reason": "above_limit", "summary": "Lost, worth €279."}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "case", "tool", "arguments", "answer"), ALLOWED)
def test_what_a_rule_allows_is_done_and_noted(at, rule, case, tool, arguments, answer):
    counter = at(case)
    if (rule, tool) == ("3.3", "change_items"):
        arguments = arguments | {"new_sku": at("look_alike_second").order()["items"][0]["sku"]}
    audit = len(counter.store.rows()["audit"])
    result = counter(tool, **arguments)
    assert result.ok, result.message
    assert answer.items() <= result.value.items()
    lines = counter.store.rows()["audit"]
    assert len(lines) == audit + 1
    assert (lines[-1]["action"], lines[-1]["customer_id"]) == (tool, counter.session.customer_id)


# --- 1 Who is asking ---


def test_rule_1_1_nothing_of_a_customer_is_shown_or_changed_before_verification(at):
    counter = at()
    examples = {
        "position": 1, "problem": "lost", "reason": "changed_mind", "opened": True, "amount_cents": 500, **ADDRESS, "country": "NL",
        "order_id": "W20417",
    }  # fmt: skip
    before = counter.store.digest()
    for tool in counter.box:
        if tool.name in (
            "verify_customer",
            "find_product",
            "search_products",
            "search_help",
            "open_ticket",
            "hand_over",
        ):
            continue
        wanted = tool.schema.get("required", ())
        given = {k: v for k, v in examples.items() if k in wanted}
        given |= {"reason": "late_delivery"} if tool.name == "issue_coupon" else {}
        result = counter.box.call(tool.name, given)
        assert result.message.startswith("Rule 1.1: "), (tool.name, result)
    ticket = {"kind": "question", "subject": "x", "text": "y", "order_id": "W20417"}
    assert counter("open_ticket", **ticket).message.startswith("Rule 1.1")
    assert counter.store.digest() == before


@pytest.mark.parametrize(
    "proof",
    [
        {"order_id": "W20417"},
        {"order_id": "#w 20417"},
        {"postcode": "3532kd"},
        {"order_id": 20417, "postcode": "3532 KD"},
    ],
)
def test_rule_1_1_the_address_with_an_order_or_the_postcode_verifies(at, proof):
    counter = at()
    assert counter("verify_customer", email="Femke.Dijkhuis@example.org", **proof).value["customer_id"] == "C1007"
    assert counter("find_order", order_id="W20417").ok
    assert counter("find_customer").value["name"] == "Femke Dijkhuis"


def test_rule_1_1_two_customers_of_one_name_are_two_customers(at):
    counter = at()
    assert not counter("verify_customer", email="anna.nowak@example.com", order_id="W20435").ok
    assert counter("verify_customer", email="anna.nowak@example.com", order_id="W20434").value["customer_id"] == "C1005"
    assert not counter("find_order", order_id="W20435").ok


def test_rule_1_2_after_three_failures_even_the_right_proof_is_for_a_person(at):
    counter = at()
    said = [counter("verify_customer", email="femke.dijkhuis@example.org", postcode=f"000{n}") for n in range(3)]
    assert [r.status for r in said] == ["retry", "retry", "failed"]
    assert [re.findall(r"left: (\d)", r.message) for r in said] == [["2"], ["1"], []]
    right = counter("verify_customer", email="femke.dijkhuis@example.org", postcode="3532 KD")
    assert right.message == f"Rule 1.2: {rules()['1.2'].text} Use hand_over."
    assert counter.session.customer_id is None
    assert counter("hand_over", reason="not_verified", summary="Could not be verified.").ok


def test_rule_1_2_a_success_in_between_does_not_give_new_attempts(at):
    counter = at()
    own, other = (
        {"email": "femke.dijkhuis@example.org", "postcode": "3532 KD"},
        {"email": "jorisvanelst@example.com", "postcode": "1"},
    )
    assert [counter("verify_customer", **p).status for p in (other, own, other, own, other)] == [
        "retry",
        "ok",
        "retry",
        "ok",
        "failed",
    ]


def test_rule_1_2_eight_attempts_at_once_are_eight_attempts(at):
    counter = at()
    ask = {"email": "femke.dijkhuis@example.org", "postcode": "0000"}
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: counter("verify_customer", **ask).status, range(8)))
    assert sorted(said) == ["failed"] * 6 + ["retry"] * 2


def test_rule_1_2_nobody_learns_whether_an_address_has_an_account(at):
    unknown = at()("verify_customer", email="nobody@example.org", postcode="3532 KD")
    known = at()("verify_customer", email="femke.dijkhuis@example.org", postcode="9999")
    assert (unknown.status, unknown.message) == (known.status, known.message)


def test_rule_1_3_somebody_elses_order_is_as_unknown_as_none(at):
    counter = at("in_transit")  # C1007; C1008 lives at the same address
    for tool, more in {
        "find_order": {},
        "track_shipment": {},
        "refund_status": {},
        "cancel_order": {},
        "return_item": BACK,
    }.items():
        foreign = counter(tool, order_id="W20446", **more)
        none = counter(tool, order_id="W20499", **more)
        assert foreign.status == none.status == "retry"
        assert foreign.message.replace("W20446", "?") == none.message.replace("W20499", "?")
    assert "Did you mean W20417?" in counter("find_order", order_id="W20418").message


def test_rule_1_4_no_tool_touches_an_account(at):
    counter = at("in_transit")
    takes_email = [t.name for t in counter.box if "email" in t.schema["properties"]]
    assert takes_email == ["verify_customer"]
    before = counter.store.rows()["customers"]
    result = counter("hand_over", reason="account_matter", summary="Wants another e-mail address.")
    assert result.value["rule"] == f"Rule 1.4: {rules()['1.4'].text}"
    assert counter.store.rows()["customers"] == before


# --- 2 and 3 Before it is packed ---


def test_rule_2_3_cancelling_refunds_all_with_the_fee_and_puts_the_goods_back(at):
    counter = at("cancel_small")
    order = counter.order()
    sku = order["items"][0]["sku"]
    stock = {v["sku"]: v["stock"] for v in counter.store.rows()["variants"]}
    refund = counter("cancel_order").value["refund_cents"]
    assert refund == order["paid_cents"] == order["items"][0]["unit_price_cents"] + 490
    assert {v["sku"]: v["stock"] for v in counter.store.rows()["variants"]} == stock | {sku: stock[sku] + 1}
    shown = counter("refund_status").value["refunds"]
    assert [(r["amount_cents"], r["method"], r["status"]) for r in shown] == [(refund, "paypal", "pending")]


def test_rule_2_1_an_order_that_was_never_paid_leaves_no_open_charge(at):
    counter = at("waiting_for_payment")
    counter("cancel_order")
    states = [p["status"] for p in counter.store.rows()["payments"] if p["order_id"] == counter.order_id]
    assert states == ["void"]


def test_rule_3_4_dearer_is_refused_and_cheaper_refunds_the_difference(at):
    counter = at("change_items")
    found = variants_of(counter.store, counter.order_id)
    assert counter("change_items", position=1, new_sku=found["dearer"]).message.startswith("Rule 3.4: ")
    before = counter.order()
    result = counter("change_items", position=1, new_sku=found["cheaper"])
    after = counter.order()
    assert result.value["refund_cents"] == before["total_cents"] - after["total_cents"] == 3 * found["difference"]
    assert after["paid_cents"] - after["refunded_cents"] == after["total_cents"]


def test_rule_3_3_a_variant_must_be_in_stock_and_of_the_same_product(at):
    counter = at("look_alike_first")
    sku = at("look_alike_second").order()["items"][0]["sku"]
    with counter.store.transaction() as db:
        db.get(Variant, sku).stock = 0
    assert counter("change_items", position=1, new_sku=sku).message.startswith("Rule 3.3: ")
    foreign = counter("change_items", position=1, new_sku="P101-BLK")
    assert foreign.status == "retry"
    assert "Its variants:" in foreign.message


def test_rule_3_5_fewer_pieces_are_refunded_and_an_unpaid_order_costs_less(at):
    counter = at("change_items")
    price = counter.order()["items"][0]["unit_price_cents"]
    assert counter("change_items", position=1, quantity=2).value["refund_cents"] == price
    waiting = at("waiting_for_payment")
    with waiting.store.transaction() as db:
        order = db.get(Order, waiting.order_id)
        order.items[0].quantity = 2
        order.payments[0].amount_cents = order.total_cents
    assert waiting("change_items", position=1, quantity=1).value["refund_cents"] == 0
    charges = [p["amount_cents"] for p in waiting.store.rows()["payments"] if p["order_id"] == waiting.order_id]
    assert charges == [waiting.order()["total_cents"]]


# --- 4 and 5 Coming back ---


@pytest.mark.parametrize(("reason", "fee"), [("changed_mind", 490), ("faulty", 0), ("damaged", 0), ("wrong_item", 0)])
def test_rule_4_4_only_the_shops_own_faults_are_free_to_send_back(at, reason, fee):
    counter = at("five_positions")
    price = counter.order()["items"][0]["unit_price_cents"]
    value = counter("return_item", **BACK | {"reason": reason}).value
    assert (value["fee_cents"], value["refund_cents"]) == (fee, price - fee)


def test_rule_4_5_nothing_is_paid_before_the_parcel_is_there(at):
    counter = at("last_day_of_return")
    counter("return_item", **BACK)
    status = counter("refund_status").value
    assert (status["refunds"], [r["status"] for r in status["returns"]]) == ([], ["registered"])


def test_rule_4_6_the_delivery_fee_comes_back_with_the_last_piece_only(at):
    counter = at("return_whole_order")
    order = counter.order()
    prices = [i["unit_price_cents"] for i in order["items"]]
    assert order["delivery_fee_cents"] == 490
    first = counter("return_item", **BACK | {"reason": "faulty"}).value["refund_cents"]
    second = counter("return_item", **BACK | {"reason": "faulty", "position": 2}).value["refund_cents"]
    assert [first, second] == [prices[0], prices[1] + 490]
    assert first + second == order["paid_cents"]


@pytest.mark.parametrize(("case", "tool", "arguments"), [("last_day_of_return", "return_item", BACK), ("cancel_small", "cancel_order", {}), ("change_items", "change_items", {"position": 1, "quantity": 1})])  # fmt: skip
def test_rule_4_6_what_a_colleague_has_refunded_is_not_refunded_again(at, case, tool, arguments):
    counter = at(case)
    with counter.store.transaction() as db:
        order = db.get(Order, counter.order_id)
        most = order.paid_cents - 100
        order.payments.append(Payment(kind="refund", method="card", amount_cents=most, status="paid", on=order.placed_on, reason="goodwill"))  # fmt: skip
    assert counter(tool, **arguments).value["refund_cents"] == 100


def test_rule_4_6_what_an_open_return_will_bring_counts_too(at):
    counter = at("change_items")  # a return of an undelivered order cannot be made by the tools
    with counter.store.transaction() as db:
        order = db.get(Order, counter.order_id)
        order.returns.append(Return(position=1, quantity=1, kind="return", reason="faulty", opened=True, refund_cents=order.paid_cents - 100, fee_cents=0, status="received", registered_on=order.placed_on))  # fmt: skip
    assert counter("change_items", position=1, quantity=1).value["refund_cents"] == 100


def test_rule_4_6_a_piece_comes_back_once(at):
    counter = at("partly_returned")  # one of two is on its way
    assert "1 pieces can come back, not 2" in counter("return_item", **BACK | {"quantity": 2}).message
    assert counter("return_item", **BACK).ok
    assert "0 pieces can come back, not 1" in counter("return_item", **BACK).message


def test_rule_4_7_the_limit_cannot_be_passed_piece_by_piece(at):
    counter = at("return_above_200")
    with counter.store.transaction() as db:
        item = db.get(Order, counter.order_id).items[0]
        item.quantity, item.unit_price_cents, item.parcels[0].quantity = 3, 10000, 3
    assert counter("return_item", **BACK).ok
    assert counter("return_item", **BACK).ok  # exactly €200 together
    assert counter("return_item", **BACK).message.startswith("Rule 4.7: ")


def test_rule_5_1_what_is_sold_out_cannot_be_had(at):
    counter = at("exchange_out_of_stock")
    sold_out = variants_of(counter.store, counter.order_id)["sold_out"]
    assert counter("exchange_item", **BACK, new_sku=sold_out).message.startswith("Rule 5.1: ")


def test_rule_5_2_dearer_is_refused_and_cheaper_refunds_the_difference(at):
    dear = at("exchange_dearer")
    found = variants_of(dear.store, dear.order_id)
    assert dear("exchange_item", **BACK, new_sku=found["dearer"]).message.startswith("Rule 5.2: ")
    cheap = at("exchange_cheaper")
    found = variants_of(cheap.store, cheap.order_id)
    result = cheap("exchange_item", **BACK, new_sku=found["cheaper"])
    assert result.value["refund_cents"] == found["difference"] > 0


# --- 6 and 7 Parcels and goodwill ---


def test_rule_6_1_ten_days_are_counted_from_the_promised_day_or_the_last_scan(at):
    counter = at("late_but_not_lost")  # promised 9 days ago
    assert counter("track_shipment").value["parcels"][0]["counts_as_lost_since"] is None
    later(counter.store, 1)
    assert counter("track_shipment").value["parcels"][0]["counts_as_lost_since"] == "2026-06-16"
    assert counter("reship_order", problem="lost").ok


def test_rule_6_1_a_new_scan_starts_the_ten_days_anew(at):
    counter = at("lost_by_time")
    with counter.store.transaction() as db:
        db.get(Order, counter.order_id).shipments[0].last_scan_on = counter.store.today - dt.timedelta(days=9)
    assert counter("reship_order", problem="lost").message.startswith("Rule 6.1: ")
    later(counter.store, 1)
    assert counter("reship_order", problem="lost").ok


@pytest.mark.parametrize(("days", "ok"), [(-2, False), (-1, True), (26, True), (27, False)])
def test_rule_6_2_a_claim_is_possible_from_the_3rd_to_the_30th_day(at, days, ok):
    counter = at("delivered_but_missing")  # delivered 4 days ago
    later(counter.store, days)
    assert counter("reship_order", problem="delivered_but_missing").ok is ok


def test_rule_6_3_a_parcel_is_sent_again_once_and_taken_from_the_shelf(at):
    counter = at("lost_by_carrier")
    item = counter.order()["items"][0]
    stock = {v["sku"]: v["stock"] for v in counter.store.rows()["variants"]}
    assert counter("reship_order", problem="lost").ok
    left = {v["sku"]: v["stock"] for v in counter.store.rows()["variants"]}
    assert left == stock | {item["sku"]: stock[item["sku"]] - 1}
    new, old = sorted(counter("track_shipment").value["parcels"], key=lambda p: p["replaces"] is None)
    assert (new["replaces"], new["status"], old["status"]) == (old["tracking_number"], "label_made", "lost")
    assert counter("reship_order", problem="lost").message.startswith("Rule 6.3: ")


def test_rule_6_2_one_parcel_of_several_can_be_claimed(at):
    counter = at("two_deliveries")  # 33 and 20 days ago
    first, second = sorted(counter("track_shipment").value["parcels"], key=lambda p: p["delivered_on"])
    claim = {"problem": "delivered_but_missing"}
    assert counter("reship_order", **claim, tracking_number=first["tracking_number"]).message.startswith("Rule 6.2: ")
    assert "Its parcels: " in counter("reship_order", **claim, tracking_number="BX0000000NL").message
    anew = counter("reship_order", **claim, tracking_number=second["tracking_number"]).value["tracking_numbers"]
    assert anew == [f"{second['tracking_number']}R"]
    assert counter.order()["status"] == "partly_shipped"


def test_rule_6_3_what_is_not_in_stock_is_for_a_person(at):
    counter = at("lost_by_carrier")
    with counter.store.transaction() as db:
        db.get(Order, counter.order_id).items[0].variant.stock = 0
    assert "0 are in stock, 1 are needed" in counter("reship_order", problem="lost").message


@pytest.mark.parametrize(("days", "ok"), [(5, False), (6, True)])
def test_rule_7_1_late_is_more_than_five_days(at, days, ok):
    counter = at("late_delivery")
    with counter.store.transaction() as db:
        order = db.get(Order, counter.order_id)
        order.promised_on = order.items[0].delivered_on - dt.timedelta(days=days)
    assert counter("issue_coupon", amount_cents=500, reason="late_delivery").ok is ok


@pytest.mark.parametrize(("days", "ok"), [(59, False), (60, True)])
def test_rule_7_2_one_coupon_in_90_days(at, days, ok):
    counter = at("coupon_30_days_ago")
    later(counter.store, days)
    assert counter("issue_coupon", amount_cents=500, reason="late_delivery").ok is ok
    assert not counter("issue_coupon", amount_cents=500, reason="late_delivery").ok


# --- 8 and 9 ---


def test_rule_8_1_the_goods_have_the_guarantee_of_the_rules(store):
    months = {"device": limits().device_months, "accessory": limits().accessory_months}
    with store.reading() as db:
        for product in db.query(Product):
            assert product.warranty_months == months.get(product.kind, 0), product.id


def test_rule_8_2_the_guarantee_ends_on_the_same_day_two_years_later(at):
    counter = at("within_guarantee")
    until = counter("open_ticket", kind="repair", **TICKET).value["guarantee_until"]
    later(counter.store, (dt.date.fromisoformat(until) - counter.store.today).days)
    assert counter("open_ticket", kind="repair", **TICKET).ok
    later(counter.store, 1)
    assert counter("open_ticket", kind="repair", **TICKET).message.startswith("Rule 8.3: ")


def test_rule_8_4_a_dangerous_device_reaches_a_person_with_what_to_say(at):
    result = at("hot_device")("hand_over", reason="dangerous_device", summary="The charger smokes.")
    assert result.value["rule"] == f"Rule 8.4: {rules()['8.4'].text}"
    assert at()("hand_over", reason="dangerous_device", summary="Smokes.").ok, "also before anybody is verified"


# --- the document ---


def test_every_rule_has_a_test():
    text = Path(__file__).read_text()
    tested = {rule for rule, *_ in [*REFUSED, *ALLOWED]} | {
        r.replace("_", ".") for r in re.findall(r"def test_rule_(\d_\d)", text)
    }
    assert set(rules()) - tested == NOT_FOR_TOOLS


def test_the_numbers_are_those_of_the_document():
    assert limits().attempts == 3
    assert (limits().return_days, limits().return_fee_cents, limits().return_limit_cents) == (30, 490, 20000)
    assert (limits().claim_from_day, limits().claim_to_day, limits().reship_limit_cents) == (3, 30, 15000)
    assert (limits().late_days, limits().coupon_limit_cents, limits().coupon_days) == (5, 1500, 90)


def test_another_number_in_the_document_is_another_limit(tmp_path):
    text = (data_folder() / "shop" / "policy.md").read_text()
    path = tmp_path / "policy.md"
    path.write_text(text.replace("within 30 days of delivery", "within 14 days of delivery"))
    assert read_limits(read_rules(path), path).return_days == 14
    path.write_text(text.replace("within 30 days of delivery", "within a month"))
    with pytest.raises(DataError, match=r"rule 4\.1 does not say its return_days"):
        read_limits(read_rules(path), path)
    path.write_text(text + "\n- **4.1** Once more.\n")
    with pytest.raises(DataError, match=r"rule 4\.1 stands here a second time"):
        read_rules(path)
    path.write_text("nothing")
    with pytest.raises(DataError, match="no rule was found"):
        read_rules(path)
