"""The shop's rules, read from ``data/shop/policy.md``: refusals quote the document, numbers are the document's.

>>> rules()["4.1"].text
'Items can be returned within 30 days of delivery.'
>>> limits().return_days
30
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from agentlab.corpus import data_folder, read_text
from agentlab.errors import AgentLabError, DataError

WORDS = {word: n for n, word in enumerate("zero one two three four five six seven eight nine ten".split())}
# Where each number stands. A cent amount is written in euros.
NUMBERS = {
    "attempts": ("1.2", r"After (\w+) failed attempts"),
    "return_days": ("4.1", r"within (\d+) days"),
    "return_fee_cents": ("4.4", r"€([\d.]+) are deducted"),
    "return_limit_cents": ("4.7", r"more than €([\d.]+)"),
    "exchange_days": ("5.1", r"within (\d+) days"),
    "lost_after_days": ("6.1", r"or (\d+) days after the promised day"),
    "claim_from_day": ("6.2", r"from the (\d+)\w\w day"),
    "claim_to_day": ("6.2", r"to the (\d+)\w\w day"),
    "reship_limit_cents": ("6.3", r"at most €([\d.]+)"),
    "late_days": ("7.1", r"more than (\d+) days late"),
    "coupon_limit_cents": ("7.1", r"at most €([\d.]+)"),
    "coupon_days": ("7.2", r"in (\d+) days"),
    "device_months": ("8.1", r"guarantee of (\d+) months"),
    "accessory_months": ("8.1", r"cables (\d+) months"),
}


@dataclass(frozen=True)
class Rule:
    """A numbered rule with its chapter, in the document's words."""

    number: str
    chapter: str
    text: str


@dataclass(frozen=True)
class Limits:
    """The numbers of the rules."""

    attempts: int
    return_days: int
    return_fee_cents: int
    return_limit_cents: int
    exchange_days: int
    lost_after_days: int
    claim_from_day: int
    claim_to_day: int
    reship_limit_cents: int
    late_days: int
    coupon_limit_cents: int
    coupon_days: int
    device_months: int
    accessory_months: int


class Refused(AgentLabError):
    """What a rule forbids: its number, its words, and how the case at hand falls under it."""

    def __init__(self, number: str, case: str = ""):
        super().__init__(" ".join(filter(None, (f"Rule {number}: {rules()[number].text}", case))))
        self.number = number


def read_rules(path: str | Path) -> dict[str, Rule]:
    """The rules of a policy document, by number; raises `DataError` where a number stands twice or no rule is found."""
    found: dict[str, Rule] = {}
    chapter = ""
    for n, line in enumerate(read_text(path).splitlines(), 1):
        if heading := re.match(r"## \d+ (.+)", line):
            chapter = heading[1].strip()
        elif rule := re.match(r"- \*\*(\d+\.\d+)\*\* (.+)", line):
            if rule[1] in found:
                raise DataError(f"rule {rule[1]} stands here a second time.", path, n)
            found[rule[1]] = Rule(rule[1], chapter, rule[2].strip())
    if not found:
        raise DataError("no rule was found.", path, cure="A rule is a line such as `- **4.1** Items can be ...`.")
    return found


def read_limits(found: dict[str, Rule], path: str | Path) -> Limits:
    """The numbers in the rules; raises `DataError` where a rule no longer says its number."""

    def number(name: str, rule: str, pattern: str) -> int:
        match = re.search(pattern, found[rule].text) if rule in found else None
        if match is None:
            raise DataError(f"rule {rule} does not say its {name} as /{pattern}/.", path)
        word = match[1].lower()
        return round(100 * float(word)) if name.endswith("_cents") else WORDS.get(word) or int(word)

    return Limits(**{name: number(name, *where) for name, where in NUMBERS.items()})


@lru_cache(maxsize=1)
def rules() -> dict[str, Rule]:
    """The course's rules."""
    return read_rules(data_folder() / "shop" / "policy.md")


@lru_cache(maxsize=1)
def limits() -> Limits:
    """The numbers in the course's rules."""
    return read_limits(rules(), data_folder() / "shop" / "policy.md")
