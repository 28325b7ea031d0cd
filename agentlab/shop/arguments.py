"""What the shop's tools take as arguments: how a number looks, and what a customer's spelling of it becomes."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from agentlab.shop.models import ORDER_STATES


def spelled(pattern: str, what: str):
    """A check that a number fits a pattern, whatever its case, spaces, hashes and missing first letter.

    >>> spelled(r"W[0-9]{5}", "an order number is W and five digits, such as W20417")("#w 20417")
    'W20417'
    """

    def normalise(given: object) -> object:
        if not isinstance(given, str | int) or isinstance(given, bool):
            return given
        bare = re.sub(r"[\s#.]|^(order|no|nr)\b", "", str(given)[:40].lower()).upper()
        for candidate in (bare, pattern[0] + bare):
            if re.fullmatch(pattern, candidate):
                return candidate
        raise ValueError(what)

    return normalise


def written(allowed: str = ""):
    """A check that a text holds something, and no control characters but those allowed; spaces around it go."""

    def check(text: str) -> str:
        if any(unicodedata.category(c) in ("Cc", "Cs") and c not in allowed for c in text.strip()):
            raise ValueError("control characters are not allowed")
        if not text.strip():
            raise ValueError("the text is empty")
        return text.strip()

    return check


OrderId = Annotated[
    str,
    Field(pattern=r"^W[0-9]{5}$", examples=["W20417"]),
    BeforeValidator(spelled(r"W[0-9]{5}", "an order number is W and five digits, such as W20417")),
]
ProductId = Annotated[
    str,
    Field(pattern=r"^P[0-9]{3}$", examples=["P101"]),
    BeforeValidator(spelled(r"P[0-9]{3}", "a product number is P and three digits, such as P101")),
]
Sku = Annotated[
    str,
    Field(pattern=r"^P[0-9]{3}-[A-Z0-9]{2,6}$", examples=["P101-BLK"]),
    BeforeValidator(spelled(r"P[0-9]{3}-[A-Z0-9]{2,6}", "a variant has a product's number and a code: P101-BLK")),
]  # fmt: skip
Email = Annotated[
    str,
    Field(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", examples=["ada@example.org"]),
    AfterValidator(written()),
]
TrackingNumber = Annotated[str, Field(pattern=r"^BX[0-9A-Z]{5,20}$", examples=["BX4087109NL"])]
Country = Annotated[
    str,
    Field(pattern=r"^[A-Z]{2}$", examples=["NL"]),
    BeforeValidator(lambda given: given.strip().upper() if isinstance(given, str) else given),
]
Line = Annotated[str, Field(min_length=1, max_length=120), AfterValidator(written())]
Text = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(written("\r\n\t"))]
Position = Annotated[int, Field(ge=1, le=99)]
Quantity = Annotated[int, Field(ge=1, le=99)]
Top = Annotated[int, Field(ge=1, le=20)]
Reason = Literal["changed_mind", "faulty", "damaged", "wrong_item"]
Status = Literal[ORDER_STATES]
Category = Literal[
    "accessories", "cables", "cameras", "consoles", "downloads", "gift_cards", "headphones", "home", "kitchen",
    "laptops", "personal_care", "phones", "printers", "routers", "speakers", "tablets", "televisions", "watches",
]  # fmt: skip
