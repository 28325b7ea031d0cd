"""A floor for whatever understands messages: intents by keywords, as one writes them down in an hour.

>>> by_keywords(["please cancel my order"])[0].intent
'cancel_order'
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentlab.understand import Understanding

KEYWORDS = {  # the first that fits counts
    "delete_account": r"delete|erase my",
    "talk_to_person": r"human|real person|agent|manager|speak to",
    "login_problem": r"log ?in|password|sign in",
    "request_invoice": r"invoice|receipt",
    "list_orders": r"my orders|order history",
    "account_details": r"which address do you have|my details",
    "goodwill": r"compensation|for the trouble",
    "discount_code": r"coupon|voucher|discount|promo",
    "change_delivery_address": r"(?:other|another|new|different|wrong) address|address of (?:my|the) order",
    "update_account_details": r"new phone|new e-?mail|my profile|newsletter",
    "cancel_order": r"cancel",
    "exchange_item": r"exchange|swap|replace",
    "refund_status": r"where is my (?:money|refund)|refund",
    "return_policy": r"how long can i|return policy|can i return",
    "return_item": r"return|send (?:it|this|them) back|money back",
    "wrong_or_damaged_item": r"wrong (?:item|colou?r|size)|damaged|cracked|broken on arrival",
    "parcel_not_received": r"not (?:arrived|received)|never (?:arrived|came)|lost|missing",
    "wrong_charge": r"charged|charge on my|twice",
    "payment_failed": r"payment (?:failed|declined)|declined|checkout",
    "payment_options": r"paypal|klarna|pay by|payment method",
    "track_order": r"where is|track|when (?:will|does)|status|late",
    "delivery_options": r"delivery|shipping|deliver to",
    "change_order_items": r"change my order|add (?:a|another|one)|instead of",
    "warranty_question": r"warranty|guarantee",
    "report_fault": r"does(?:n't| not) work|stopped working|broken|faulty|dead",
    "setup_help": r"how do i|set up|connect|pair|install",
    "stock_check": r"in stock|available|stock",
    "product_compatibility": r"compatible|work with|fit",
    "product_advice": r"recommend|which .* should|best|advice",
    "thanks_and_goodbye": r"thank|bye",
    "ask_about_assistant": r"are you a (?:bot|robot)|who are you",
    "greeting": r"^\W*(?:hi|hello|hey|good (?:morning|evening))\W*$",
}


def by_keywords(texts: Sequence[str]) -> list[Understanding]:
    """For each text the first intent whose keyword it holds, sure of it; else out of scope. No spans."""
    return [_one(text) for text in texts]


def _one(text: str) -> Understanding:
    intent = next((name for name, words in KEYWORDS.items() if re.search(words, text, re.IGNORECASE)), "")
    return Understanding(text, intent or "greeting", 1.0 if intent else 0.1, 1.0 if intent else 0.2, bool(intent), (), ())  # fmt: skip
