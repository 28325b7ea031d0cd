"""Scenarios of customers with a wish, for the agent to serve: how one is written, loaded, and checked.

A scenario is an entry of ``data/scenarios/*.yml``: how a customer begins, what they know and tell only when asked, and
what must be true at the end. `agentlab.customers` plays the customer, `agentlab.trials` says whether they were served.

Not covered: customers played by a language model, conversations in other languages.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import sqlalchemy as sa
import yaml

from agentlab.corpus import data_folder, read_text
from agentlab.errors import DataError, UnknownName
from agentlab.shop.desk import Session
from agentlab.shop.models import Customer, Order
from agentlab.shop.rules import rules
from agentlab.shop.store import Store
from agentlab.shop.tools import shop_tools
from agentlab.toolkit import SHORT, WRITE, Toolbox, ToolResult, did_you_mean

PARTS = ("train", "development", "test")
LABS = "labs"  # customers who need the help desk of lab 07 or the recommender of lab 09
LONGEST = 12  # messages of a customer
WISHES = ("wish", "intent", "solution")  # asked for these, a customer says in other words what is wanted
ALSO = {  # what a customer knows under another name than the one that is asked for
    "address": ("street", "city", "country"), "street": ("address",), "city": ("address",), "country": ("address",),
    "new_sku": ("sku", "colour", "size"), "sku": ("new_sku", "colour", "size"), "amount_cents": ("amount",),
    "position": ("product",), "product_id": ("product",), "query": ("product",),
}  # fmt: skip
FREE_TEXT = {"open_ticket": ("subject", "text")}  # what the agent words as it likes
NOT_KEPT = {"open_ticket": ("position",)}  # leaves nothing in the shop, so the agent may give it or not
ORDER_ID = re.compile(r"\bW\d{5}\b", re.IGNORECASE)
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")

Twist = Literal["none", "changed_mind", "wrong_id", "two_requests", "angry", "vague", "digression", "corrected", "slow_to_tell"]  # fmt: skip
Style = Literal["plain", "brief", "chatty", "typos", "formal", "non_native", "shouting"]


# --- a scenario ----------------------------------------------------------------------------------------------


def _expression(text: str) -> str:
    try:
        found = re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"it is no regular expression ({error})") from None
    if found.search(""):
        raise ValueError("it fits an empty text, so it would say nothing")
    return text


def _fact(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError("a fact is a text in quotes, or a whole number for position and quantity")
    return value


Text = Annotated[str, pydantic.Field(strict=True, min_length=1, pattern=r"\S")]
Wordings = Annotated[list[Text], pydantic.Field(min_length=1)]
Fact = Annotated[str | int, pydantic.BeforeValidator(_fact)]
Expression = Annotated[str, pydantic.Field(strict=True), pydantic.AfterValidator(_expression)]


class _Entry(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Write(_Entry):
    """A change that is expected; the agent may choose the arguments in ``free``."""

    tool: Text
    arguments: dict[str, Any] = {}
    free: list[Text] = []

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the arguments that the agent may choose."""
        not_kept = [name for name in NOT_KEPT.get(self.tool, ()) if name not in self.arguments]
        return (*FREE_TEXT.get(self.tool, ()), *self.free, *not_kept)


class Answer(_Entry):
    """What a customer says when the agent asks for a slot, or when its reply fits an expression."""

    say: Wordings
    asks: Text | None = None
    if_: Annotated[Expression | None, pydantic.Field(alias="if")] = None
    times: Annotated[int, pydantic.Field(strict=True, ge=1, le=LONGEST)] = 1


class Ends(_Entry):
    """What must be true at the end of a scenario."""

    writes: list[Write]
    or_writes: list[list[Write]] = []
    verified: Text | None = None
    handed_over: Annotated[bool | None, pydantic.Field(strict=True)] = None
    said: list[Expression] = []
    never: list[Expression] = []
    never_tools: list[Text] = []


class Scenario(_Entry):
    """A customer's visit: how it begins, what the customer knows, and what must be true at the end."""

    id: Annotated[str, pydantic.Field(strict=True, pattern=r"^[a-z][a-z0-9_]*$")]
    about: Annotated[list[Text], pydantic.Field(min_length=1)]
    hostile: Annotated[bool, pydantic.Field(strict=True)] = False
    twist: Twist = "none"
    style: Style = "plain"
    openings: Annotated[list[Text], pydantic.Field(min_length=2, max_length=4)]
    knows: dict[str, Fact] = {}
    answers: list[Answer] = []
    then: list[Wordings] = []
    ends: Ends

    def texts(self) -> Iterator[str]:
        """All that the customer may say."""
        yield from self.openings
        yield from map(str, self.knows.values())
        yield from itertools.chain.from_iterable([*(a.say for a in self.answers), *self.then])

    @property
    def outcomes(self) -> list[list[Write]]:
        """The sets of changes of which one must have been made."""
        return [self.ends.writes, *self.ends.or_writes]

    @cached_property
    def orders(self) -> set[str]:
        """The order numbers that the customer or the expected changes name."""
        named = {str(w.arguments.get("order_id", "")) for w in itertools.chain.from_iterable(self.outcomes)}
        return named | {number.upper() for text in self.texts() for number in ORDER_ID.findall(text)}

    @cached_property
    def provable(self) -> set[str]:
        """The customers as whom one could be verified with what is said: e-mail address, and an order number or postcode."""
        said = " ".join(self.texts()).lower()
        emails = {address.rstrip(".") for address in EMAIL.findall(said)}
        ids = {id for id, (email, _) in _people().items() if email in emails}
        own = {owners().get(number.upper()) for number in ORDER_ID.findall(said)}
        return {id for id in ids if id in own or _people()[id][1].lower() in said}

    @property
    def may_see(self) -> set[str]:
        """The customers whose data a reply may show."""
        return {self.ends.verified} if self.ends.verified else self.provable


def scenario_file(name: str) -> Path:
    """The file of a part by its name, or a file as given."""
    return data_folder() / "scenarios" / f"{name}.yml" if name in (*PARTS, LABS) else Path(name)


def load_scenarios(part: str | None = None, files: Sequence[str | Path] | None = None) -> list[Scenario]:
    """The scenarios of a part (train, development, test), of some files, or of all of ``data/scenarios``.

    Raises `DataError` with file, id and what is wrong for the first entry that is not as it should be, since all figures
    rest on these; `mistakes` lists them all.
    """
    if part is not None and part not in (*PARTS, LABS):
        raise UnknownName("part", part, (*PARTS, LABS))
    folder = data_folder() / "scenarios"
    files = files or ([scenario_file(part)] if part else sorted(folder.glob("*.yml")))
    if not files:
        raise DataError("there is no file of scenarios.", folder, cure="Give files, or restore the folder.")
    for file, id, slip in _slips_of(files):
        raise DataError(f"{id}: {slip}", file)
    return [Scenario.model_validate(entry) for file in files for entry in _read(file)]


def mistakes(files: Sequence[str | Path]) -> list[str]:
    """Everything that is wrong with some files of scenarios, one sentence each."""
    return [f"{file}: {id}: {slip}" for file, id, slip in _slips_of(files)]


class _Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML in which a key may stand only once."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read(file: str | Path) -> list[dict]:
    try:
        entries = yaml.load(read_text(file), Loader=_Strict)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise DataError(f"malformed YAML: {getattr(error, 'problem', error)}.", file, line) from None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise DataError("the file must be a list of scenarios.", file)
    return entries


# --- what is wrong with one ----------------------------------------------------------------------------------


def _slips_of(files: Iterable[str | Path]) -> Iterator[tuple[str | Path, str, str]]:
    """File, id and sentence of whatever is wrong."""
    seen: dict[str, str | Path] = {}
    for file in files:
        for number, entry in enumerate(_read(file), 1):
            id = str(entry.get("id", f"entry {number}"))
            if id in seen:
                yield file, id, f"this id stands twice, the first time in {seen[id]}."
            seen[id] = file
            for slip in _slips(entry):
                yield file, id, slip


def _slips(entry: dict) -> Iterator[str]:
    """What is wrong with an entry: first its form, and if that is right, what it says about the shop."""
    try:
        scenario = Scenario.model_validate(entry)
    except pydantic.ValidationError as error:
        yield from (_sentence(e) for e in error.errors())
        return
    for check in (_unknown_names, _unknown_orders, _unproven, _refused_writes):
        yield from check(scenario)


def _sentence(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors as a sentence."""
    *_, last = error["loc"]
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{where} is missing."
    if error["type"] == "extra_forbidden":
        inside = {"answers": Answer, "writes": Write, "or_writes": Write, "ends": Ends}  # the innermost first
        model = next((inside[name] for name in inside if name in error["loc"][:-1]), Scenario)
        known = [f.alias or name for name, f in model.model_fields.items()]
        return f"{where} is no key that is known here.{did_you_mean(last, known)}"
    said = error["msg"].removeprefix("Value error, ")
    quotes = " Put it in quotes." if error["type"] == "string_type" and not isinstance(error["input"], list | dict) else ""  # fmt: skip
    return f"{where} is {SHORT.repr(error['input'])}, but {said[0].lower()}{said[1:]}.{quotes}"


def _unknown_names(scenario: Scenario) -> Iterator[str]:
    """Tools, rules and slots that do not exist."""
    tools, numbers = [t.name for t in sample_tools()], list(rules())
    for name in scenario.about:
        if name not in tools and name not in numbers:
            yield f"about names {name!r}, which is neither a tool nor a rule.{did_you_mean(name, [*tools, *numbers])}"
    for name in scenario.ends.never_tools:
        if name not in tools:
            yield f"never_tools names {name!r}, which is no tool.{did_you_mean(name, tools)}"
    asked = [a.asks for a in scenario.answers if a.asks]
    for slot in [*scenario.knows, *(slot for slot in asked if slot != "confirm")]:
        if slot not in slots():
            yield f"{slot!r} is no slot.{did_you_mean(slot, slots())} Slots: {', '.join(sorted(slots()))}."
    for slot, value in scenario.knows.items():
        if isinstance(value, int) and slot not in ("position", "quantity"):
            yield f"knows.{slot} is the number {value}; put it in quotes, since YAML changes some numbers, such as 01067."
    for number, answer in enumerate(scenario.answers):
        if answer.asks is None and answer.if_ is None:
            yield f"answers.{number} has neither asks nor if, so it would fit any reply."


def _unknown_orders(scenario: Scenario) -> Iterator[str]:
    """Order numbers that the shop does not know, but where that is the point of the scenario."""
    if scenario.hostile or scenario.twist in ("wrong_id", "corrected"):
        return
    for number in sorted(scenario.orders - set(owners()) - {""}):
        yield f"the shop has no order {number}; only a scenario that is hostile, wrong_id or corrected may name one."


def _unproven(scenario: Scenario) -> Iterator[str]:
    """A verified customer who does not exist, or who never says what proves it."""
    id = scenario.ends.verified
    if id is not None and id not in _people():
        yield f"verified is {id!r}, which is no customer.{did_you_mean(id, _people())}"
    elif id is not None and not scenario.hostile and id not in scenario.provable:
        email, postcode = _people()[id]
        yield f"the customer never says {id}'s e-mail address ({email}) with an order number or the postcode {postcode}, so nobody can be verified."  # fmt: skip


def _refused_writes(scenario: Scenario) -> Iterator[str]:
    """Expected changes that no agent could make."""
    for writes in scenario.outcomes:
        box = shop_tools(Store.sample(), Session(scenario.ends.verified))
        for write in writes:
            if slip := _wrong_write(write, box):
                yield f"the write {write.tool}: {slip}"
            elif not (result := box.call(write.tool, filled(write))).ok:
                yield f"the write {write.tool} {json.dumps(write.arguments)} is refused: {result.message}"


def _wrong_write(write: Write, box: Toolbox) -> str:
    """What is wrong with a write before it is tried; empty if nothing."""
    names = [t.name for t in box if t.effect is WRITE and t.name != "hand_over"]
    if write.tool == "hand_over":
        return "a hand-over is no write here; say `handed_over: true`."
    if write.tool not in names:
        return f"there is no such tool that writes.{did_you_mean(write.tool, names)}"
    known = box[write.tool].arguments.model_fields
    if unknown := [name for name in write.free if name not in known]:
        return f"free names {unknown[0]!r}, which is no argument.{did_you_mean(unknown[0], known)}"
    if twice := [name for name in write.chosen if name in write.arguments]:
        return f"{twice[0]} is the agent's to choose, so it cannot have a value."
    checked = box.validate(write.tool, filled(write))
    return checked.message if isinstance(checked, ToolResult) else ""


def filled(write: Write) -> dict:
    """The arguments of an expected change, with some value for each that is free."""
    properties = next(t for t in sample_tools() if t.name == write.tool).schema["properties"]
    given = (*FREE_TEXT.get(write.tool, ()), *write.free)
    return {name: _example(properties[name]) for name in given} | write.arguments


def _example(schema: Mapping[str, Any]) -> Any:
    """A value that a JSON Schema allows."""
    schema = schema["anyOf"][0] if "anyOf" in schema else schema
    if "enum" in schema:
        return schema["enum"][0]
    return {"integer": schema.get("minimum", 1), "boolean": False}.get(schema.get("type"), "something")


@lru_cache(maxsize=1)
def sample_tools() -> tuple:
    """The tools of the sample shop, recommend_products among them; only their names and arguments are used."""
    return tuple(shop_tools(Store.sample(), recommender=object()))


@lru_cache(maxsize=1)
def slots() -> frozenset[str]:
    """What a reply can ask for: the arguments of the tools, and a few things that customers say in their own way."""
    arguments = {name for t in sample_tools() for name in t.arguments.model_fields}
    return frozenset(arguments | {*WISHES, *itertools.chain.from_iterable(ALSO.values())})


@lru_cache(maxsize=1)
def _people() -> dict[str, tuple[str, str]]:
    """Customer id -> e-mail address and postcode."""
    with Store.sample().reading() as db:
        return {c.id: (c.email, c.postcode) for c in db.scalars(sa.select(Customer))}


@lru_cache(maxsize=1)
def owners() -> dict[str, str]:
    """Order number or e-mail address -> id of the customer whose it is."""
    with Store.sample().reading() as db:
        orders = {o.id: o.customer_id for o in db.scalars(sa.select(Order))}
    return orders | {email: id for id, (email, _) in _people().items()}
