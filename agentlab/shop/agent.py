"""The shop's agent: the domain of ``data/shop/agent.yml`` with what only the shop's tools know, put into `build_agent`.

>>> shop_domain().intents["cancel_order"].steps
('order_id', 'find_order()', 'cancel_order()')
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from agentlab import toolkit
from agentlab import turns as reading
from agentlab import understand as understanding
from agentlab.agent import Agent, build_agent
from agentlab.corpus import Message, data_folder, read_yaml
from agentlab.decisions import Answer, Ask, Call, Confirm, Decision, HandOver
from agentlab.dialogue import OUT_OF_SCOPE, State, Wish
from agentlab.domain import Domain, rule_in
from agentlab.knowledge import KNOWS, Article, load_articles, rank
from agentlab.language import LanguageModel
from agentlab.perceive import DENIED, read_slots
from agentlab.shop import replies
from agentlab.shop.contact import REASONS
from agentlab.shop.desk import Session
from agentlab.shop.recommendations import own_words
from agentlab.shop.replies import item_label
from agentlab.shop.rules import limits
from agentlab.shop.store import SAMPLE_DAY, Store
from agentlab.shop.tools import shop_tools
from agentlab.toolkit import Toolbox, ToolResult

KNOWS_STRANGE = 0.4  # a page must fit so well where something else seems to be meant; chosen on development questions
COUNTRIES = {
    "netherlands": "NL", "holland": "NL", "belgium": "BE", "germany": "DE", "austria": "AT", "france": "FR", "spain": "ES",
    "portugal": "PT", "italy": "IT", "poland": "PL", "norway": "NO", "sweden": "SE", "denmark": "DK", "finland": "FI",
    "iceland": "IS", "ireland": "IE", "switzerland": "CH", "czechia": "CZ", "czech republic": "CZ", "slovakia": "SK",
    "slovenia": "SI", "croatia": "HR", "hungary": "HU", "romania": "RO", "bulgaria": "BG", "greece": "GR", "cyprus": "CY",
    "malta": "MT", "estonia": "EE", "latvia": "LV", "lithuania": "LT", "luxembourg": "LU", "united kingdom": "GB",
    "england": "GB", "scotland": "GB", "uk": "GB", "great britain": "GB", "wales": "GB", "nederland": "NL", "belgique": "BE", "belgië": "BE",
    "deutschland": "DE", "österreich": "AT", "españa": "ES", "italia": "IT", "polska": "PL", "norge": "NO", "sverige": "SE", "danmark": "DK",
    "suomi": "FI", "schweiz": "CH", "suisse": "CH", "svizzera": "CH", "česko": "CZ", "magyarország": "HU", "românia": "RO", "hrvatska": "HR",
    "slovenija": "SI", "slovensko": "SK", "lietuva": "LT", "latvija": "LV", "eesti": "EE", "the uk": "GB",
}  # fmt: skip
POSTCODE = r"(?:[A-Z]{1,3}-)?(?:[0-9]{4} ?[A-Z]{2}\b|[0-9]{4}-[0-9]{3}|[0-9]{2}-[0-9]{3}|[0-9]{3} [0-9]{2}|[0-9]{4,6}|[0-9]{3}|[A-Z]{1,2}[0-9][0-9A-Z]? ?[0-9][A-Z]{2}|[A-Z][0-9]{2} ?[0-9A-Z]{4}|[A-Z]{3} [0-9]{4})"
STREET_PART = r"(?P<street>[^,;:\n]{0,80}?[0-9]{1,5} ?[a-z]?(?:[/ -][0-9]{1,5}[a-z]?){0,3}(?:,? (?:bus|apt|flat|app|kv|m|nr)\.? ?[0-9]{1,5})?|[0-9]{1,5}[a-z]? [^,;:\n0-9]{1,60}?)"
ADDRESS = re.compile(
    rf"{STREET_PART}\s*(?:,|\bin\b)\s*(?P<postcode>{POSTCODE})\s+(?P<city>[^\W\d_][^,;.!?\n0-9]*)(?:,\s*(?P<country>[^\W\d_][^,;.!?\n0-9]*))?",
    re.IGNORECASE,
)
TOWN_FIRST = re.compile(  # 7 Larkhall Rise, Bath BA1 6SQ
    rf"{STREET_PART}\s*,\s*(?P<city>[^\W\d_][^,;.!?\n0-9]{{1,40}}?),?\s+(?P<postcode>{POSTCODE})\b", re.IGNORECASE
)
SHAPES = {  # of postcodes that only one country has
    r"[0-9]{4} ?[A-Z]{2}": "NL", r"[0-9]{4}-[0-9]{3}": "PT", r"[0-9]{2}-[0-9]{3}": "PL", r"LV-[0-9]{4}": "LV", r"LT-[0-9]{5}": "LT",
    r"[A-Z]{3} [0-9]{4}": "MT", r"[A-Z][0-9]{2} ?[0-9A-Z]{4}": "IE", r"[A-Z]{1,2}[0-9][0-9A-Z]? ?[0-9][A-Z]{2}": "GB", r"L-[0-9]{4}": "LU",
}  # fmt: skip
UNIT = r"(?:m|cm|mm|met(?:er|re)s?|inch(?:es)?|gb|tb|w|watts?|l|lit(?:er|re)s?|kg|g|ml|volts?|ports?|years?|months?|weeks?|days?|hours?|minutes?|times|eur|euros?)"
NUMBER = rf"(?:a )?(?:(?!\w+[ -]{UNIT}\b)([1-9](?!{UNIT}\b| ?%|[.,:]\d)|single|one|two|three|four|five|six|seven|eight|nine|ten)(?! (?:people|persons?|of us|guests|adults|kids|children|rooms?|colleagues)\b))"
WHOLE = {word: n for n, word in enumerate("five six seven eight nine ten eleven twelve thirteen fourteen fifteen twenty".split(), 5)} | {"twenty": 20}  # fmt: skip
PIECES = {word: n for n, word in enumerate("zero one two three four five six seven eight nine ten".split())} | {
    "single": 1
}
QUANTITIES = (  # how a customer says how many pieces, the surest first
    rf"\b{NUMBER} (?:out )?of (?:the |my |these )?(?:two|three|four|five|six|[2-9])\b",
    rf"\b(?:fewer|less)\s*[:,-]\s*(?:just |only )?{NUMBER}\b",
    rf"\bfrom \w+(?: \w+)? (?:down )?to {NUMBER}\b(?! ?(?:box|pack|inch|gb|tb|cm|mm|m|l)\w*\b)",
    rf"\b{NUMBER}\b[^.,;!?]{{0,30}},? (?:and )?not {NUMBER}\b",
    rf"\b(?:reduc|lower|chang|cut|correct)\w*\b[^.;!?]{{0,50}}\bto {NUMBER}\b(?! ?(?:box|pack)\w*\b)",
    rf"\b{NUMBER}\b(?: \w+)? (?:go(?:es)?|comes?|are (?:going|coming)) back\b",
    rf"\b{NUMBER} others?\b[^.,;!?]{{0,40}}\b(?:go|goes|going|come|sent|send|return\w*|be)\b",
    rf"(?<!\bare )(?<!['’]re )\b(?:the|those|these|just|only) {NUMBER}\W*$",
    rf"\b(?:send|return|exchange|swap|swop|change|replace|give|bring)\s+(?:back\s+)?(?:just |only )?{NUMBER}\b(?! (?:item|thing|order|article)s?\b)",
    rf"\b(?:make (?:it|that|them)|(?:change|reduce|lower)\w*(?: (?:it|that|them|the number))? to|down to|(?<!\bare )(?<!['’]re )(?<!\bam )(?:only|just)|keep|leave)\s+(?:want |need )?{NUMBER}\b",
    rf"\b{NUMBER}\b(?: (?:will|should|shall|may|must|can))? (?:is enough|are enough|be enough|is plenty|stays?|remains?|will do|suffices?)\b",
    rf"\b{NUMBER}\b(?:[^.,;:!?0-9]|W\d{{5}}){{0,60}}\b(?:is enough|are enough|should stay|will do|suffices?|instead of|insted of|in place of|rather than) (?:the )?{NUMBER}\b",
    rf"\b{NUMBER}\b[^.,;!?]{{0,30}}\b(?:is enough|are enough|should stay|will do|suffices?|instead of|insted of|in place of|rather than)\b",
    rf"(?<!n['’]t )(?<!not )\b(?:want|need)\s+{NUMBER}\b(?! (?:different|colou?rs|sizes|things)\b)",
    rf"\b(?:all )?{NUMBER} (?:of (?:them|these|those)|pieces?)\b|\ball {NUMBER}\b",
)
ENOUGH = re.compile(
    rf"\b{NUMBER}\b(?: \w+){{0,3}} (?:is|are|be|will be) (?:enough|plenty|too many)\b|\b(?:make|leave|keep) (?:it|that|them) (?:at )?{NUMBER}\b",
    re.IGNORECASE,
)  # fewer pieces are wanted, not none
NAME = r"[A-ZÀ-Ž][\w'’.-]+(?: [A-ZÀ-Ž][\w'’.-]+){1,2}"
BEFORE_ADDRESS = re.compile(rf"(?:^|[:.?!]\s+|\b[Tt]o )({NAME}),\s*$")
STREET = re.compile(  # a street and number by themselves: 40 Kelston Row, Kerkstraat 12a
    r"\b([0-9]+[a-z]? [A-ZÀ-Ž][\w'’-]+(?: [A-ZÀ-Ž][\w'’-]+){0,3}|[A-ZÀ-Ž][\w'’-]+(?:[ -][\w'’-]+){0,2} [0-9]+[a-z]?)\b"
)
RECIPIENT = re.compile(
    r"(?:[Tt]o the name(?: of)?|[Ii]n the name of|[Rr]ecipient(?: is|:)?|[Aa]ddressed to|[Nn]ame(?: is|:)|c/o|[Ff]or my \w+,?)\s+([A-ZÀ-Ž][\w'’.-]+(?: [A-ZÀ-Ž][\w'’.-]+){1,2})"
)
PART_OF = re.compile(
    r"\b(?:only (?:want|cancel|the)|just (?:the|cancel)|one of (?:them|the)|part of|not (?:the )?(?:whole|everything|all)|i keep|keep the)\b",
    re.IGNORECASE,
)
ASKS_BACK = re.compile(
    r"^(?!.*\b(?:want|like|please)\b).*\b(?:is|was|has|have|did|when|where|status)\b.*\?", re.IGNORECASE | re.DOTALL
)
ANOTHER = re.compile(r"\b(?:small|smaller|big|bigger|large|larger|other|another|different)\b", re.IGNORECASE)
AGAIN = re.compile(
    r"\bre-?(?:send|sent|ship)|\b(?:send|sent|ship|shipped|post|dispatch)\b(?! (?:it |this |them |that )?back)[^.?!]{0,30}\b(?:again|another|replacement|new (?:one|pair|parcel|package))\b",
    re.IGNORECASE,
)  # a wish to have a parcel sent once more
COUPON = re.compile(r"\b(?:coupon|voucher)", re.IGNORECASE)
AMENDS = re.compile(
    r"coupon|voucher|compensat|goodwill|gesture|discount|money off|amends|apolog|birthday|anniversary|bonus|loyal|knock (?:off|down)|\d ?%|per ?cent|make (?:it |this )?up|for (?:the|my|our|all this|this) (?:trouble|inconvenience|wait|delay)|[€$]|\beur|something (?:back|off|in return)",
    re.IGNORECASE,
)  # a wish for something in return
FEWER = re.compile(rf"\b(?:take|remove|drop|delete)\s+{NUMBER}\b", re.IGNORECASE)  # by how many
LESS = re.compile(r"\b(?:one|1) of (?:the|them|these|my)\b|\bone (?:too many|less|fewer)\b", re.IGNORECASE)
ORDER_IDS = re.compile(r"(?<!\d)(20\d{3})(?!\d)")
COMPLAINT = re.compile(
    r"complain|(?:on|for the) (?:the )?(?:record|file)|\bfile\b|writ\w+ (?:it |this |that )?down|in writing|regist\w+|report (?:it|this|him|her)",
    re.IGNORECASE,
)
STAYS = re.compile(r"\b(?:stays?|remains?|(?:can|may|should) stay)(?: here| with \w+| as \w+ \w+)?\W*$", re.IGNORECASE)
NOT_THERE = re.compile(
    r"\b(?:did(?:n['’]?t| not)|has(?:n['’]?t| not)|have(?:n['’]?t| not)|never|nothing|nowhere|not)\b[^.!?]{0,30}\b(?:come|came|arriv\w*|there|here|receiv\w*|got|get|deliver\w*)\b|\bit didn['’]?t\b|\bmissing\b|\bno (?:trace|sign)\b|\blost\b|\bgone\b",
    re.IGNORECASE,
)  # a parcel that is said not to be there
OWN_MISTAKE = re.compile(
    r"\b(?:i|we) (?:\w+ )?(?:ordered|bought|chose|picked|took|clicked)(?: on)? (?:(?:the|a|an|it|them|this|that) )?wrong\b"
    r"|\b(?:i|we) (?:\w+ )?(?:ordered|bought|chose|picked|took)\b[^.!?,;]{0,40}\bby (?:mistake|accident)\b"
    r"|\b(?:nothing|not anything)(?: is|['’]s)? (?:the matter|wrong) with (?:it|them|that|those|any)\b|\b(?:more|fewer) (?:\w+ )?than (?:i|we) need"
    r"|(?<!not )(?<!n't )(?<!n’t )\bmy (?:own )?(?:fault|mistake|error)\b|\b(?:chose|picked|ordered) (?:it|them) myself\b",
    re.IGNORECASE,
)  # the customer's own: nothing is wrong with what was sent
GIVEN_UP = re.compile(
    r"\b(?:broke\w*|given up|gave up|dead|died|stopped|faulty|defect\w*|drift\w*|crack\w*|no (?:sound|picture|longer)|(?:does|do|did|will|wo|ca)(?:n['’]?t| not))\b",
    re.IGNORECASE,
)
WHOLE_ORDER = re.compile(
    r"\b(?:whole|entire|complete|full)\b|\ball of (?:it|them)\b|\beverything\b|\baltogether\b", re.IGNORECASE
)
BACK = re.compile(
    r"\b(?:go|goes|come|send|take|give|bring|sent)\w* (?:it |this |them |that )?back\b|\breturn", re.IGNORECASE
)
SUGGESTING = ("product_advice", "product_compatibility")  # wishes that a suggestion may serve
SUGGEST = re.compile(
    r"\b(?:recommend|suggest)(?:ations?|ions?|ed)?\b(?! (?:the|this|that|it)\b)|\bto go (?:along )?with\b|\b(?:gift|present) for\b|\bsomething (?:for|like|similar|to)\b"
    r"|\b(?:what|anything|something|accessor\w+)\b[^.?!]{0,40}\b(?:fits?|goes|go|works?|match\w*|suits?)\b",
    re.IGNORECASE,
)
GOES_WITH = re.compile(r"\b(?:what|anything|something)\b.{0,30}\bgo(?:es)? (?:well |along )?with\b", re.IGNORECASE)
LONGEST_WISH = 120  # characters of a wish that the recommender reads
REMOVE = re.compile(r"\b(?:take|remove|drop|delete|leave)\b.{0,60}\b(?:out|off|from)\b|\bremove\b", re.IGNORECASE)
MOST = re.compile(
    r"\b(?:under|below|up to|at most|max(?:imum|\.)?(?: of)?|less than|(?:not|n['’]t|no)(?: \w+)? more than|budget(?: is|['’]s| of|:)?|cheaper than) (?:€ ?)?(\d{2,4})\b",
    re.IGNORECASE,
)  # what something may cost, in euros
GENERIC = frozenset(
    "order item thing parcel package it one this that my the a an for with and of in pro new from i to want you is".split()
)


@lru_cache(maxsize=1)
def _articles() -> list[Article]:
    return load_articles()


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    return read_yaml(data_folder() / "shop" / "agent.yml")


def shop_domain(
    today: Callable[[], dt.date] = lambda: SAMPLE_DAY, recommends: bool = False, has_desk: bool = False
) -> ShopDomain:
    """The shop as a domain; ``today`` says which day it is, ``recommends`` that the toolbox has recommend_products.

    With ``has_desk`` a help desk that knows when no page answers stands behind search_help. So it is asked first about products
    that are not named, and about what seems to be none of the shop's business.
    """
    domain = ShopDomain.from_data(_data(), today=today, recommends=recommends, has_desk=has_desk)
    if has_desk:
        domain.intents[OUT_OF_SCOPE] = replace(domain.intents[domain.fallback], name=OUT_OF_SCOPE)
    return domain


def shop_agent(
    store: Store | None = None,
    planner: str = "hybrid",
    language: LanguageModel | None = None,
    understand: Callable[[Sequence[str]], Sequence[Any]] | None = None,
    turns: Callable[[str, str], Any] | None = None,
    help: Any = None,
    recommender: Any = None,
    **settings: Any,
) -> Agent:
    """The shop's agent over a store (a fresh sample if none is given); ``settings`` are fields of `agentlab.agent.Settings`.

    ``help`` is what search_help looks in, such as lab 07's help desk (`agentlab.answers.load`); with a ``recommender``, such as
    lab 09's towers (`agentlab.towers.load`), the agent suggests products too.

    Without ``understand`` and ``turns`` it takes the course's fine-tuned models, and trains them where that has not been done.
    With an ``understand`` alone, yes and no are read by patterns.
    """
    store = store or Store.sample()
    if understand is None:
        understand, turns = shop_understander(), turns or reading.load()

    def toolbox_of(session: Session) -> Toolbox:
        return shop_tools(store, session, help, recommender)

    def rehearse_of(session: Session) -> Callable[[str, dict], ToolResult]:
        box = shop_tools(store, session)
        return lambda tool, arguments: rehearse(store, box, tool, arguments)

    return build_agent(
        toolbox_of, shop_domain(lambda: store.today, recommender is not None, help is not None), understand, language, planner,
        turns=turns, sentiment=sentiment, new_session=Session, rehearse_of=rehearse_of, **settings,
    )  # fmt: skip


def shop_understander(extra: Sequence[Message] = ()) -> Callable[[Sequence[str]], Sequence[Any]]:
    """The course's understander after a further training on how wishes are worded in a conversation, and on ``extra``."""
    return understanding.load(extra=(*reading.load_wishes(), *extra))


class _Undo(Exception):
    """Ends a rehearsal."""


def rehearse(store: Store, box: Toolbox, tool: str, arguments: Mapping[str, Any]) -> ToolResult:
    """What a WRITE would give: it runs in a transaction that is then undone, so the tools' own rules and figures speak."""
    checked = box.validate(tool, dict(arguments))
    if isinstance(checked, ToolResult):
        return checked
    result = ToolResult(tool, "failed", message=f"{tool} does not work at the moment.")
    try:
        with store.transaction():
            result = toolkit.run(box[tool], checked, dict(arguments))
            raise _Undo
    except _Undo:
        return result


def sentiment(text: str) -> float:
    """How pleased (1) or angry (-1) a message sounds, by VADER's lexicon."""
    from agentlab.assets import load_sentiment

    return load_sentiment().polarity_scores(text[:500])["compound"]


@dataclass
class ShopDomain(Domain):
    """What only the shop's records know: which order and item are meant, what a result means, what is read back."""

    today: Callable[[], dt.date] = field(default=lambda: SAMPLE_DAY)
    recommends: bool = False  # whether there is recommend_products
    has_desk: bool = False  # whether search_help knows when no page answers, so that it may be asked first

    # --- values out of a message ---

    def read(self, text: str, asked: Sequence[str]) -> dict[str, Any]:
        """A postal address, and a sum of money where a coupon is spoken of."""
        found: dict[str, Any] = {}
        if OWN_MISTAKE.search(text):
            found["reason"] = "changed_mind"
        if address := read_address(text):
            found |= {"address": address, "postcode": None}
            if who := RECIPIENT.search(text) or BEFORE_ADDRESS.search(text[: text.find(address["street"])]):
                found["recipient"] = who[1]
        elif {"confirm", "address"} & set(asked) and (streets := STREET.findall(text)):
            found["street"] = streets[-1]  # only the street is mended
        elif "postcode" in asked and (
            number := re.search(r"(?<![\w@#.,€-])(?<![€\d] )[0-9]{3,4}(?! ?\d|[\w@-]|[.,]\d| [A-Z]{2}\b)", text)
        ):
            found["postcode"] = number[0]
        if len({value for _, value in self._opened_parts(text)}) > 1:
            found |= {"opened": None, "opened_apart": True}  # of two things each another
        if (quantity := read_quantity(text, "quantity" in asked)) is not None:
            found["quantity"] = quantity
        if (
            re.search(r"coupon|voucher|goodwill|compensat|make (?:it|that|this) up|amends", text, re.IGNORECASE)
            or "amount_cents" in asked
        ):
            if match := re.search(r"(?:€|eur(?:os?)?)\s*(\d{1,4}(?:[.,]\d\d)?)|(\d{1,4}(?:[.,]\d\d)?)\s*(?:€|eur)", text, re.IGNORECASE):  # fmt: skip
                found["amount_cents"] = round(100 * float((match[1] or match[2]).replace(",", ".")))
            elif (match := re.search(r"\b([a-z]+) eur(?:os?)?\b", text, re.IGNORECASE)) and match[1].lower() in WHOLE:
                found["amount_cents"] = 100 * WHOLE[match[1].lower()]
        return found

    # --- values that the tools know ---

    def fill(self, slot: str, wish: Wish, state: State) -> Any:
        fillers = {
            "order_id": self._order, "position": self._position, "product_id": self._product, "change": self._change,
            "new_sku": self._variant, "quantity": self._quantity, "opened": self._opened, "address": self._address,
            "problem": self._problem, "kind": self._kind, "subject": self._subject, "text": self._text,
            "coupon": self._coupon, "question": lambda w, s: w.text[:400] or None, "query": self._query,
            "solution": self._solution, "reason": self._reason, "tracking_number": lambda w, s: None, "owned": self._owned,
        }  # fmt: skip
        return fillers[slot](wish, state) if slot in fillers else None

    def _order(self, wish: Wish, state: State) -> Any:
        """Which order is meant: the one that was said, or the only one that fits what was said; else a question."""
        named = state.slots.get("order_id")
        if self.recommends and named is None and wish.confidence < 0.8 and GOES_WITH.search(wish.text):
            wish.intent = "recommendation"  # "what would go with my camera?" is about no order
            wish.slots["query"] = self._query(wish, state) or wish.text[:190]
            return Call("search_products", self.arguments("search_products", ("query",), wish, state), reason="A suggestion is wanted.")  # fmt: skip
        if wish.intent == "complaint":
            return named  # one may also be about no order at all
        if named in wish.excluded or (wish.other and state.last and named == state.last.slots.get("order_id")):
            named = None
        if "list_orders" not in wish.results:
            if not state.verified and named is None and "order_id" not in wish.unknown:
                return Call("list_orders", {"limit": 50}, reason="No order number was said.")
            if named and not _product_words(wish):
                return named
            return Call("list_orders", {"limit": 50}, reason="Which order holds what was named?")
        orders = [o for o in wish.results["list_orders"] if o["order_id"] not in wish.excluded]
        if wish.other and state.last:
            orders = [o for o in orders if o["order_id"] != state.last.slots.get("order_id")]
        return self._pick(wish, orders, named)

    def _pick(self, wish: Wish, orders: list[dict], named: str | None) -> Any:
        if not orders:
            return Answer("no_orders", {}, reason="The account has no order that could be meant.")
        words = _product_words(wish) | _words(_without_denied(wish.newest))
        fitting = _best(orders, words, lambda o: " ".join(o["products"]))
        if named and (not words or named in [o["order_id"] for o in fitting] or len(fitting) == len(orders)):
            return named
        states = self.intents[wish.intent].about.get("orders", ())
        likely = [o for o in fitting if o["status"] in states] or fitting
        if len(likely) == 1:
            return likely[0]["order_id"]
        return self._among(wish, likely[:4])

    def _among(self, wish: Wish, orders: list[dict]) -> Any:
        """Which of some orders: look into each first, since a colour or size may tell; else ask."""
        seen = wish.results.get("seen", {})
        for order in orders:
            if order["order_id"] not in seen:
                return Call("find_order", {"order_id": order["order_id"]}, reason="What tells these orders apart?")
        words = _product_words(wish) | _words(_without_denied(wish.newest))
        held = {o["order_id"]: f"{replies.day(o['placed_on'], SAMPLE_DAY)} {' '.join(map(item_label, seen[o['order_id']]['items']))}" for o in orders}  # fmt: skip
        fitting = _best(list(held), words, held.get, need=True)
        if len(fitting) == 1:
            return fitting[0]
        labels = {_order_label(seen[o["order_id"]]): o["order_id"] for o in orders}
        return Ask("order_id", choices=labels, reason=f"{len(orders)} orders fit.")

    def _position(self, wish: Wish, state: State) -> Any:
        items = wish.results["find_order"]["items"]
        if len(items) == 1:
            return 1
        for text in filter(None, (wish.newest, wish.text)):  # the newest words count
            if len(named := _named(items, text)) > 1:
                return self._each(wish, state, named)
            fitting = _best(items, _words(_without_denied(text)), item_label, need=True)
            if len(fitting) == 1:
                return fitting[0]["position"]
        if len(items) == 2 and re.search(r"\bboth\b", f"{wish.newest} {_all_said(wish, state)}", re.IGNORECASE):
            return self._each(wish, state, items)
        if re.search(r"\b(?:everything|(?:the )?(?:whole|entire|complete|full) order|all (?:of (?:it|them)|items|the items|\w+ items)|both (?:items|things|of them|articles))\b", _all_said(wish, state), re.IGNORECASE):  # fmt: skip
            return self._each(wish, state, items)
        fitting = _best(items, _product_words(wish) | _words(state.said[-1]), item_label)
        if len(fitting) == 1:
            return fitting[0]["position"]
        return Ask("position", choices={item_label(i): i["position"] for i in items[:6]}, reason=f"The order has {len(items)} positions.")  # fmt: skip

    def _each(self, wish: Wish, state: State, items: list[dict]) -> int:
        """A wish for all positions becomes one for each."""
        rest = [
            Wish(wish.intent, {**wish.slots, "position": i["position"]}, wish.text, wish.confidence) for i in items[1:]
        ]
        state.wishes[-1:] = [*reversed(rest), wish]
        return items[0]["position"]

    def _item(self, wish: Wish) -> dict:
        items = wish.results["find_order"]["items"]
        return next((i for i in items if i["position"] == wish.slots.get("position")), items[0])

    def _product(self, wish: Wish, state: State) -> Any:
        if "find_order" in wish.results:
            return self._item(wish)["product_id"]
        found = wish.results.get("search_products") or []
        named = [p for p in found if _covered(p["name"], wish.text) >= 0.5]
        last = state.last.slots.get("product_id") if state.last else None
        if last and not named and re.search(r"\b(?:it|they|them|that one|this one)\b", wish.text, re.IGNORECASE):
            return last  # what was spoken of before
        found = sorted(named, key=lambda p: -_covered(p["name"], wish.text)) or found
        return found[0]["product_id"] if found else Answer("product_none", {}, reason="No product has these words.")

    def _owned(self, wish: Wish, state: State) -> Ask | None:
        """Which camera is "my camera"? Where the customer is verified the tool sees their orders, else it is asked."""
        own = own_words(wish.text)
        if not own or state.verified or "product_id" in wish.slots or self._suggested_for(wish):
            return None
        fitting = [p for p in wish.results["search_products"] if p["category"].removesuffix("s") in own]
        if len(fitting) < 2:
            return None
        choices = {p["name"]: p["product_id"] for p in fitting}
        return Ask("product_id", choices=choices, reason=f"{len(fitting)} of our products are of that kind.")

    def _change(self, wish: Wish, state: State) -> Any:
        """What an order's position becomes: fewer pieces, or another variant; what else is wanted is refused by rule."""
        item = self._item(wish)
        if wish.slots.get("new_sku"):
            return wish.slots["new_sku"]
        if wish.slots.get("quantity") == item["quantity"]:
            del wish.slots["quantity"]  # "all three of them" is no change of the number
            if any(d["tool"] == "change_items" and d["arguments"].get("quantity") == item["quantity"] and d["arguments"]["order_id"] == wish.slots.get("order_id") for d in state.done):  # fmt: skip
                return Answer("already_done", {}, reason="The number was changed to this in this conversation.")
        if wish.slots.get("quantity") is not None and not wish.slots.get("new_sku"):
            return f"{wish.slots['quantity']} pieces"
        fewer = FEWER.search(f"{wish.text} {wish.newest}")
        if fewer and 0 < (less := PIECES.get(fewer[1].lower()) or int(fewer[1])) < item["quantity"]:
            wish.slots["quantity"] = item["quantity"] - less
            wish.filled.add("quantity")
            return "fewer"
        if len(wish.results["find_order"]["items"]) > 1 and REMOVE.search(wish.text):
            return Answer("cancel_refused", {"order_id": wish.slots["order_id"], "item": item["name"], "reason": "a cancellation is always for the whole order"}, reason="Rule 2.3", rules=("2.3",))  # fmt: skip
        if item["quantity"] > 1 and LESS.search(f"{wish.text} {wish.newest}"):
            wish.slots["quantity"] = item["quantity"] - 1
            wish.filled.add("quantity")
            return "one less"
        sku = self._variant(wish, state)
        if isinstance(sku, str):
            wish.slots["new_sku"] = sku
            wish.filled.add("new_sku")
            return sku
        if (
            re.search(r"\b(?:add|more|another|extra|additional|second|further)\b", wish.text, re.IGNORECASE)
            and item["quantity"] < 99
        ):
            wish.slots["quantity"] = item["quantity"] + 1
            return "more"
        if isinstance(sku, Ask) and item["quantity"] == 1:
            return sku
        return Ask("quantity" if item["quantity"] > 1 and not isinstance(sku, Ask) else "new_sku", choices=sku.choices if isinstance(sku, Ask) else {}, facts={"item": item["name"]})  # fmt: skip

    def _variant(self, wish: Wish, state: State) -> Any:
        """The variant that is wanted, by its colour or size; None for the same one anew."""
        if "find_product" not in wish.results:
            return None
        item, variants = self._item(wish), wish.results["find_product"]["variants"]
        others = [v for v in variants if v["sku"] != item["sku"]]
        fitting: list[Any] = []
        for text in filter(None, (wish.newest, wish.text, state.said[-1])):  # the newest words count
            words = _words(_without_denied(text)) - _words(f"{item['colour']} {item['size']}")
            fitting = fitting or _best(others, words, lambda v: f"{v['colour']} {v['size']}", need=True)
        if wish.intent == "exchange_item" and wish.slots.get("reason") == "wrong_item":
            return None  # what was ordered, anew
        if len(fitting) > 1:  # the same colour in another size
            fitting = _best(
                fitting, _words(_without_denied(f"{wish.text} {wish.newest}")), lambda v: f"{v['colour']} {v['size']}"
            )
        if len(fitting) == 1:
            return fitting[0]["sku"]
        same = re.search(r"\b(?:same(?! (?:\w+ )?(?:colou?r|size))|identical|new one|replac\w+|anew|again|fresh|working one|as ordered|right ones?)\b", _all_said(wish, state), re.IGNORECASE)  # fmt: skip
        if (
            wish.intent == "exchange_item"
            and (same or wish.slots.get("reason") in ("faulty", "damaged") or not others)
            and not fitting
        ):
            return None
        if not others:
            return None
        if wish.intent == "exchange_item" and "reason" not in wish.slots and not fitting:
            return Ask("reason", reason="Why tells whether the same one or another is wanted.")
        if len(others) == 1 and ANOTHER.search(f"{wish.text} {wish.newest}"):
            return others[0]["sku"]  # there is no other, and it is read back
        return Ask("new_sku", choices={_variant_label(v): v["sku"] for v in (fitting or others)[:5]}, facts={"item": item["name"]}, reason="Which variant?")  # fmt: skip

    def _quantity(self, wish: Wish, state: State) -> Any:
        item = self._item(wish)
        if item["quantity"] > 1 and "quantity" not in wish.unknown:
            return Ask("quantity", facts={"item": item["name"]}, reason=f"The position has {item['quantity']} pieces.")
        return None

    def _opened(self, wish: Wish, state: State) -> Any:
        if wish.slots.get("reason") in ("faulty", "damaged"):
            return True
        own = _words(item_label(self._item(wish)))
        for part, value in (row for text in state.said[-4:] for row in self._opened_parts(text)):
            if _shared(own, _words(part)):
                return value
        return None

    def _opened_parts(self, text: str) -> list[tuple[str, bool]]:
        """The parts of a text that say whether something was opened: the brushes are opened, the lamp is sealed."""
        words = {"opened": replace(self.slots["opened"], told={}, shy=False)}
        parts = [(p, read_slots(p, words)[0].get("opened")) for p in re.split(r"[,;.!?]|\b(?:and|but|while)\b", text)]
        return [(p, value) for p, value in parts if value is not None]

    def _reason(self, wish: Wish, state: State) -> Any:
        """Another colour or size for something that is in order: the customer changed their mind."""
        return "changed_mind" if wish.intent == "exchange_item" and wish.slots.get("new_sku") else None

    def _solution(self, wish: Wish, state: State) -> Any:
        """After the days in which something can come back only a repair is left; who asks for a coupon wants neither."""
        if COUPON.search(state.said[-1]):
            wish.intent = "goodwill"
            return Call("track_shipment", {"order_id": wish.slots["order_id"]}, reason="A coupon is wanted.")
        delivered = self._item(wish)["delivered_on"]
        late = delivered and (self.today() - dt.date.fromisoformat(delivered)).days > limits().return_days
        return "repair" if late else None

    def _address(self, wish: Wish, state: State) -> Any:
        return None

    def _problem(self, wish: Wish, state: State) -> Any:
        """Lost, or marked delivered: what the carrier says counts."""
        parcels = wish.results["track_shipment"]["parcels"]
        return "delivered_but_missing" if any(p["status"] == "delivered" for p in parcels) and not any(p["counts_as_lost_since"] for p in parcels) else "lost"  # fmt: skip

    def _kind(self, wish: Wish, state: State) -> Any:
        kind = "complaint" if wish.intent == "complaint" else "repair"
        done = [d["arguments"] for d in state.done if d["tool"] == "open_ticket"]
        if kind == "complaint" and not (wish.slots.get("offered") or COMPLAINT.search(wish.text)):
            wish.slots["offered"] = True
            return Answer("complaint_offer", {}, offer="complaint", reason="Nobody asked for it in so many words.")
        same = ("repair", "estimate") if kind == "repair" else (kind,)
        if any(a["kind"] in same and a.get("order_id") == wish.slots.get("order_id") for a in done):
            return Answer("already_done", {}, reason="There is such a ticket from this conversation.")
        return kind

    def _subject(self, wish: Wish, state: State) -> str:
        problem = re.sub(r"\s+", " ", wish.text)[:60].strip() or "fault"
        return f"{self._item(wish)['name']}: {problem}"[:118] if "find_order" in wish.results else problem

    def _text(self, wish: Wish, state: State) -> str:
        return " ".join((wish.text or "A fault was reported.").split())[:1500]

    def _coupon(self, wish: Wish, state: State) -> Any:
        """How much and for what: what the shop's records show counts, not what is said."""
        returns = [r["reason"] for r in wish.results["find_order"]["returns"] if r["status"] != "refused"]
        recorded = [r for r in returns if r in ("damaged", "wrong_item")]
        wish.slots["reason"] = recorded[0] if recorded else "late_delivery"
        if less := _number_in(wish.newest):
            wish.slots["amount_cents"] = 100 * less  # "then fifteen, please"
        wish.slots.setdefault("amount_cents", limits().coupon_limit_cents)
        return True

    def _query(self, wish: Wish, state: State) -> str | None:
        words = [w for w in re.findall(r"[\w-]+", wish.text) if w.lower() not in GENERIC]
        return " ".join(words)[:190] or None

    def arguments(self, tool: str, names: Iterable[str], wish: Wish, state: State) -> dict[str, Any]:
        """An address is one slot and several arguments; where no country is named, it is that of the order."""
        found = super().arguments(tool, names, wish, state)
        if tool == "recommend_products":
            said = "".join(filter(str.isprintable, " ".join(wish.text.split())))
            found |= {"wish": said[:LONGEST_WISH], **self._suggested_for(wish)}
        if tool == "search_products" and self.recommends and SUGGEST.search(wish.text) and (own := own_words(wish.text)):  # fmt: skip
            found |= {"query": " ".join(own)[:190], "top": 10}  # what the suggestion should go with
        if tool in ("search_products", "recommend_products") and (most := MOST.search(wish.text)):
            found["max_price_cents"] = 100 * int(most[1])
        if tool in ("return_item", "exchange_item") and found.get("quantity", 1) > self._item(wish)["quantity"]:
            del found["quantity"]  # "both of them" may be what is in one package
        if tool in ("return_item", "exchange_item"):
            found |= state.stands.get((found.get("order_id"), found.get("position")), {})
        if tool == "change_address":
            country = wish.results["find_order"]["ship_to"]["country"]
            found = {"order_id": wish.slots["order_id"], "country": country, **wish.slots["address"]}
            found |= {k: wish.slots[k] for k in ("recipient", "street") if k in wish.slots}
        return found

    # --- what a result means ---

    def tell(self, wish: Wish, state: State) -> Decision | None:
        call, today = wish.happened, self.today()
        if not call.result.ok or call.tool == self.policy.verification.tool:
            return self.refusal(wish, state)
        last = self.intents.get(wish.intent) and self.intents[wish.intent].steps[-1] == f"{call.tool}()"
        if call.tool in replies.ACTIONS:
            return self._done(wish, today)
        teller = getattr(self, f"_tell_{call.tool}", None)
        return (
            teller(wish, state, today)
            if teller and (last or call.tool in ("find_product", "search_products", "find_order"))
            else None
        )

    def _done(self, wish: Wish, today: dt.date) -> Answer:
        call = wish.happened
        arguments = self._labelled(wish, call.arguments)
        facts = replies.done_facts(call.tool, call.result.value, arguments, wish.results.get("find_order"), today)
        if "guarantee_until" in facts:
            facts["guarantee_until"] = replies.day(facts["guarantee_until"], today)
        return Answer(facts["situation"], facts, reason="It is done.")

    def _labelled(self, wish: Wish, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments with the name of the variant that is wanted."""
        variants = wish.results.get("find_product", {}).get("variants", [])
        label = next((_variant_label(v) for v in variants if v["sku"] == arguments.get("new_sku")), arguments.get("new_sku"))  # fmt: skip
        return {**arguments, "_label": label}

    def _tell_track_shipment(self, wish: Wish, state: State, today: dt.date) -> Decision | None:
        facts = replies.order_facts(wish.results["find_order"], wish.happened.result.value, today)
        if facts["situation"] == "order_returned_to_sender":
            return HandOver("outside_the_rules", facts["situation"], facts, reason="No rule says what becomes of a parcel that came back.", rules=("9.3",))  # fmt: skip
        lost = facts.get("status") == "counts as lost"
        if lost and AGAIN.search(wish.text):
            wish.intent = "parcel_not_received"
            return None
        if lost:
            facts["next"] = "If you like, I can look into sending it again"
        if (claim := self._claim_days(wish.happened.result.value["parcels"], today)) and "claim_from" in claim:
            facts["_then"] = {"situation": "not_there", **claim}
        return Answer(
            facts["situation"], facts, offer="parcel_not_received" if lost else "", reason="The carrier's data."
        )

    def _tell_refund_status(self, wish: Wish, state: State, today: dt.date) -> Answer | None:
        tell = replies.charge_facts(wish.results["find_order"], wish.happened.result.value) if wish.intent == "wrong_charge" else None  # fmt: skip
        facts = tell or replies.refund_facts(wish.results["find_order"], wish.happened.result.value, today)
        if facts["situation"] == "no_refund" and self._wants_money(wish):
            return None
        if facts["situation"] == "no_refund" and wish.results["find_order"]["status"] in ("shipped", "partly_shipped", "packed"):  # fmt: skip
            wish.intent = "track_order"  # no money is under way, but a parcel is
            return None
        offer = "talk_to_person" if facts["situation"] == "refund_failed" else ""
        return Answer(facts["situation"], facts, offer=offer, reason="The shop's books.")

    def _wants_money(self, wish: Wish) -> bool:
        """Nothing is under way, and the customer does not ask where it is, but wants it: a return, or a cancellation."""
        asks = re.search(r"\b(?:where|when|status|waiting|returned|sent (?:it |them )?back|cancel\w*|yet|how long)\b", wish.text, re.IGNORECASE)  # fmt: skip
        if asks or not re.search(r"\b(?:want|like|need|give|demand|please|must|back)\b", wish.text, re.IGNORECASE):
            return False
        status = wish.results["find_order"]["status"]
        if status not in ("processing", "waiting_for_payment", "delivered"):
            return False
        wish.intent = "cancel_order" if status in ("processing", "waiting_for_payment") else "return_item"
        return True

    def _tell_find_order(self, wish: Wish, state: State, today: dt.date) -> Decision | None:
        """A swap before the parcel is packed is a change of the order, and one after delivery an exchange."""
        order = wish.happened.result.value
        if "order_id" not in wish.slots:  # one of several that could be meant
            wish.results.setdefault("seen", {})[order["order_id"]] = wish.results.pop("find_order")
            return None
        unpacked = order["status"] in ("processing", "waiting_for_payment")
        if wish.intent == "cancel_order" and unpacked and ENOUGH.search(wish.text):
            wish.intent = "change_order_items"  # fewer pieces of something
            return None
        if (
            wish.intent == "cancel_order"
            and unpacked
            and len(order["items"]) > 1
            and PART_OF.search(said := f"{wish.text} {wish.newest}")
            and not re.search(r"\borders\b", said)
            and not WHOLE_ORDER.search(wish.newest or wish.text)
        ):
            return Answer("cancel_refused", {"order_id": order["order_id"], "reason": "a cancellation is always for the whole order"}, reason="Rule 2.3", rules=("2.3",))  # fmt: skip
        on_the_way = not unpacked and not any(i["delivered_on"] for i in order["items"])
        if wish.intent == "goodwill" and not AMENDS.search(_all_said(wish, state)):
            wish.intent = "parcel_not_received" if on_the_way and AGAIN.search(wish.text) else "track_order"
        elif (wish.intent in ("return_item", "exchange_item") and on_the_way and AGAIN.search(wish.text)) or (
            wish.intent in ("cancel_order", "track_order", "goodwill")
            and AGAIN.search(wish.text)
            and NOT_THERE.search(wish.text)
        ):
            wish.intent = "parcel_not_received"
        elif wish.intent in ("exchange_item", "wrong_or_damaged_item") and unpacked:
            wish.intent = "change_order_items"
        elif wish.intent == "return_item" and unpacked:  # what has not left needs no return
            several = any(i["quantity"] > 1 for i in order["items"])
            wish.intent = "change_order_items" if several and not re.search(r"\border\b", wish.text) else "cancel_order"
        elif wish.intent in ("return_item", "exchange_item") and order["returns"] and ASKS_BACK.search(wish.text):
            wish.intent = "refund_status"
        elif wish.intent == "wrong_or_damaged_item" and not any(i["delivered_on"] for i in order["items"]):
            wish.intent = "track_order"  # nothing of it has come yet
        elif wish.intent == "change_order_items" and order["status"] == "delivered":
            wish.intent = "exchange_item"
        return None

    def _tell_list_orders(self, wish: Wish, state: State, today: dt.date) -> Answer | None:
        orders = wish.happened.result.value
        if named := ORDER_IDS.findall(wish.text):  # one was named: it is about that one
            wish.slots["order_id"], wish.intent = f"W{named[0]}", "track_order"
            return None
        named = _best(orders, _product_words(wish), lambda o: " ".join(o["products"]), need=True)
        if len(named) == 1 and re.search(r"\bwhere\b|\bwhen\b|arriv|deliver", wish.text, re.IGNORECASE):
            wish.slots["order_id"], wish.intent = named[0]["order_id"], "track_order"
            return None
        facts: dict[str, Any] = {"situation": "orders_listed", "count": len(orders)}
        for n, o in enumerate(orders[:6], 1):
            facts |= {f"order_{n}": o["order_id"], f"date_{n}": replies.day(o["placed_on"], today), f"item_{n}": ", ".join(o["products"][:2]), f"status_{n}": replies.STATES[o["status"]]}  # fmt: skip
        return Answer(
            "orders_listed" if orders else "no_orders", facts if orders else {}, reason="The account's orders."
        )

    def _tell_find_customer(self, wish: Wish, state: State, today: dt.date) -> Answer:
        return Answer("account", {k: v for k, v in wish.happened.result.value.items() if isinstance(v, str)})

    def _suggested_for(self, wish: Wish) -> dict[str, str]:
        """The product that a suggestion should go with, where its name was said."""
        named = [p for p in wish.results.get("search_products") or [] if _covered(p["name"], wish.text) >= 0.5]
        return {"product_id": max(named, key=lambda p: _covered(p["name"], wish.text))["product_id"]} if named else {}

    def _tell_recommend_products(self, wish: Wish, state: State, today: dt.date) -> Answer:
        found = wish.happened.result.value
        if not found:
            return Answer("product_none", {}, reason="Nothing that is in stock fits.")
        facts: dict[str, Any] = {"situation": "recommended"}
        for n, p in enumerate(found[:3], 1):
            facts |= {f"product_{n}": p["name"], f"price_{n}": replies.money(p["from_cents"])}
        if (why := found[0]["because"]).lower() not in wish.text.lower():
            facts["because"] = why
        if product := next((p["name"] for p in wish.results["search_products"] if p["product_id"] == wish.happened.arguments.get("product_id")), None):  # fmt: skip
            facts["goes_with"] = product
        return Answer("recommended", facts, reason="What the recommender puts first.")

    def _tell_search_products(self, wish: Wish, state: State, today: dt.date) -> Decision | None:
        if "order_id" in wish.slots and not self._suggested_for(wish):  # it is about what was ordered
            asks = r"\b(?:exchange|refund|money)\b"
            wish.intent = "return_item" if BACK.search(wish.text) else "refund_status" if re.search(asks, wish.text, re.IGNORECASE) else "track_order"  # fmt: skip
            return None
        if self.recommends and wish.intent in SUGGESTING and SUGGEST.search(wish.text):
            wish.intent = "recommendation"
            return None
        if self.has_desk and wish.intent in SUGGESTING and not self._suggested_for(wish):
            wish.intent = self.fallback  # no product is named: a page may answer
            return None
        return None if wish.happened.result.value else Answer("product_none", {}, reason="No product has these words.")

    def _tell_find_product(self, wish: Wish, state: State, today: dt.date) -> Answer | None:
        if wish.intent not in ("product_advice", "stock_check", "product_compatibility"):
            return None
        product = wish.happened.result.value
        if "question" in wish.slots and _covered(product["name"], wish.text) < 0.4 and product["id"] not in wish.text:
            return Answer("help_unknown", {}, offer="talk_to_person", reason="Neither a help page nor a product fits.")
        said = _words(wish.text) | {
            str(n) for word, n in PIECES.items() if re.search(rf"\b{word}\b", wish.text, re.IGNORECASE)
        }
        facts = replies.product_facts(wish.intent, product, said, _covered(product["name"], wish.text) >= 0.5)
        return Answer(facts["situation"], facts, reason="The product's data.")

    def _tell_search_help(self, wish: Wish, state: State, today: dt.date) -> Answer | None:
        if wish.intent == "discount_code" and "order_id" in wish.slots and re.search(r"coupon|voucher|discount", wish.text, re.IGNORECASE):  # fmt: skip
            wish.intent = "goodwill"  # a coupon for an order
            return None
        if wish.intent == "warranty_question" and "order_id" in wish.slots and GIVEN_UP.search(wish.text):
            wish.intent = "report_fault"  # something that was ordered has a fault
            return None
        if self.recommends and GOES_WITH.search(wish.text):
            wish.intent = "recommendation"
            return None
        found = wish.happened.result.value
        best = found[0] if found else {"score": 0.0}
        if "search_products" in wish.results and best["score"] < KNOWS_STRANGE:  # it was about products before
            wish.intent = "product_advice"
            del wish.slots["question"]
            return None
        if wish.intent == OUT_OF_SCOPE and best["score"] < KNOWS_STRANGE:
            facts = self.small_talk[OUT_OF_SCOPE]
            return Answer(str(facts["situation"]), dict(facts), reason="It seems not to be for us, and no page answers it.")  # fmt: skip
        if best["score"] < KNOWS:
            wish.intent = (
                "track_order" if "order_id" in wish.slots else "product_advice"
            )  # perhaps an order or a product is meant
            return None
        text = _quoted(best["article"], best["text"], wish.text)
        return Answer("help_quoted", {"text": text, "article": best["title"]}, reason=f"{best['article']} fits best.", confidence=min(1.0, best["score"] * 2))  # fmt: skip

    # --- what is refused ---

    def refusal(self, wish: Wish, state: State) -> Decision | None:
        call = wish.happened
        rule, _ = rule_in(call.result.message)
        if rule in ("4.2", "4.3"):  # "then write that it is unopened": what was told first stands
            thing = (call.arguments["order_id"], call.arguments["position"])
            state.stands.setdefault(thing, {k: call.arguments[k] for k in ("opened", "reason")})
        if call.tool == self.policy.verification.tool:
            return self.policy.unproven(call.result, state)
        if "has no order" in call.result.message:
            return self._unknown_order(wish, state)
        if re.search(r"\b0 pieces can come back", call.result.message):
            if COUPON.search(wish.text):  # what is left to do of two wishes
                wish.intent = "goodwill"
                return None
            return Answer("on_record", {"order_id": wish.slots["order_id"], "item": self._item(wish)["name"]}, reason=call.result.message)  # fmt: skip
        if call.tool == "open_ticket" and (turned := self._other_ticket(rule, wish)):
            return turned
        if call.tool == "cancel_order" and rule == "2.1":
            order = wish.results["find_order"]
            facts = replies.order_facts(order, {"parcels": []}, self.today())
            return Answer("order_already_cancelled", facts, reason=call.result.message, rules=("2.1",))
        decision = super().refusal(wish, state)
        case = self._case(call.tool, rule, wish)
        facts = case | decision.facts
        if "_reason" in facts:
            facts["reason"] = facts.pop("_reason")
            facts.pop("delivered", None)
        return replace(decision, facts=facts)

    def _case(self, tool: str, rule: str, wish: Wish) -> dict[str, Any]:
        """The figures of a case that a rule forbids: days, states, parcels."""
        order, today = wish.results.get("find_order"), self.today()
        facts: dict[str, Any] = {"order_id": wish.slots.get("order_id")}
        if not order:
            return facts
        facts["item"] = self._item(wish)["name"] if "position" in wish.slots else replies.items_of(order)
        if rule in ("2.2", "3.1", "3.3"):
            facts["status"] = replies.STATES[order["status"]]
        if rule in ("4.1", "5.1") and (delivered := self._item(wish)["delivered_on"]):
            facts |= {"delivered": replies.day(delivered, today)}
            if rule == "4.1":
                facts["return_until"] = replies.later(delivered, limits().return_days, today)
        if rule == "6.1" and (parcels := wish.results.get("track_shipment", {}).get("parcels")):
            late = replies.order_facts(order, wish.results["track_shipment"], today)
            facts |= {k: late[k] for k in ("promised", "counts_as_lost_from") if late.get(k)}
            if late.get("last_seen"):
                facts["usual"] = f"It was last scanned in {late['last_seen']} on {late['last_scan']}"
        if rule in ("3.3", "5.1") and "are in stock," in wish.happened.result.message:
            facts |= self._sold_out(wish)
        if rule == "6.3":
            facts |= {"reason": _why_a_person(wish.happened.result.message)}
        if rule == "6.2" and (parcels := wish.results.get("track_shipment", {}).get("parcels")):
            facts |= self._claim_days(parcels, today)
        return facts

    def _sold_out(self, wish: Wish) -> dict[str, Any]:
        """What there is in place of a variant that is not in stock."""
        item, variants = self._item(wish), wish.results.get("find_product", {}).get("variants", [])
        wanted = wish.happened.arguments.get("new_sku", item["sku"])
        there = [_variant_label(v) for v in variants if v["stock"] and v["sku"] not in (wanted, item["sku"])]
        label = next((_variant_label(v) for v in variants if v["sku"] == wanted), wanted)
        return {"wanted": label, "_reason": f"{label} is not in stock", "instead": f"have it in {' or '.join(there)}" if there else None}  # fmt: skip

    def _claim_days(self, parcels: Sequence[Mapping[str, Any]], today: dt.date) -> dict[str, Any]:
        delivered = max((p["delivered_on"] for p in parcels if p["delivered_on"]), default=None)
        if delivered is None:
            return {}
        facts = {"delivered": replies.day(delivered, today)}
        if (today - dt.date.fromisoformat(delivered)).days < limits().claim_from_day:
            return facts | {"claim_from": replies.later(delivered, limits().claim_from_day, today)}
        return facts | {"claim_ended": replies.later(delivered, limits().claim_to_day, today)}

    def _unknown_order(self, wish: Wish, state: State) -> Ask:
        near = re.search(r"Did you mean (W\d{5})", wish.happened.result.message)
        wrong = wish.slots.pop("order_id", state.slots.get("order_id"))
        state.slots.pop("order_id", None)
        choices = {near[1]: near[1]} if near else {}
        return Ask("order_id", {"situation": "unknown_order", "order_id": wrong, "near": near and near[1]}, choices, reason="The account has no such order.", rules=("1.3",))  # fmt: skip

    def _other_ticket(self, rule: str, wish: Wish) -> Decision | None:
        """A repair that rule 8.2 or 8.3 turns into something else."""
        if rule == "8.3" and wish.slots.get("kind") == "repair":
            wish.slots["kind"] = "estimate"
            return Call("open_ticket", {**wish.happened.arguments, "kind": "estimate"}, reason="The guarantee is over.", rules=("8.3",))  # fmt: skip
        if rule == "8.2" and wish.slots.get("kind") == "repair":
            wish.intent = "wrong_or_damaged_item"
            wish.slots.setdefault("reason", "faulty")
            wish.slots.pop("solution", None)
            choices = {"send it back for the money": "return", "have it exchanged": "exchange"}
            return Ask("solution", {"situation": "repair_too_early"}, choices, reason="Within 30 days a return or an exchange is quicker.", rules=("8.2",))  # fmt: skip
        return None

    # --- questions, read back, hand-over ---

    def question(self, ask: Ask, wish: Wish | None, state: State) -> dict[str, Any]:
        facts = super().question(ask, wish, state)
        if facts.get("situation") == "which_order":
            kept = {k: v for k, v in facts.items() if not k.startswith("choice_")}
            for n, label in enumerate(ask.choices, 1):
                number, _, rest = label.partition(" ")
                kept |= {f"order_{n}": number, f"item_{n}": rest}
            return kept
        return facts

    def readback(self, confirm: Confirm, value: Any, wish: Wish, state: State) -> dict[str, Any]:
        arguments = self._labelled(wish, confirm.arguments)
        if "new_sku" in arguments:  # a yes that names another one is no yes
            variants = wish.results.get("find_product", {}).get("variants", [])
            wish.offered.setdefault("new_sku", {_variant_label(v): v["sku"] for v in variants})
        return replies.readback_facts(confirm.tool, arguments, value, wish.results.get("find_order"), self.today())

    def hand_over_arguments(self, why: str, summary: str, state: State) -> dict[str, Any]:
        why = why if why in REASONS else "outside_the_rules"
        order = (state.top.results.get("find_order") or {}).get("order_id") if state.top else None
        return {"reason": why, "summary": summary, **({"order_id": order} if order and state.verified else {})}

    def handed_over(self, decision: HandOver, value: Any, state: State) -> dict[str, Any]:
        order = (state.top.results.get("find_order") or {}).get("order_id") if state.top else None
        ticket = f" with ticket number T{value['ticket_id']}" if value else ""
        return {"situation": "handed_over", "handed_over_to": f"a person{ticket}", "order_id": order if state.verified else None}  # fmt: skip


# --- words ---------------------------------------------------------------------------------------------------


def read_address(text: str) -> dict[str, str] | None:
    """Street, postcode, town and, where it is named, country in a text.

    >>> read_address("please send it to Kerkstraat 12, 2611 AB Delft, Netherlands.")
    {'street': 'Kerkstraat 12', 'postcode': '2611 AB', 'city': 'Delft', 'country': 'NL'}
    >>> read_address("can it go to my mum's instead? 7 Larkhall Rise, Bath BA1 6SQ")
    {'street': '7 Larkhall Rise', 'postcode': 'BA1 6SQ', 'city': 'Bath', 'country': 'GB'}
    """
    match = ADDRESS.search(text) or TOWN_FIRST.search(text)
    if not match:
        return None
    street = re.split(r"[?!]\s+|(?<=[0-9])\.\s+|(?<=[a-z]{4})\.\s+", match["street"])[-1]
    street = re.split(r"\b(?:to|is|it['’]?s|that['’]?s|at|address|new flat|instead|for)\b[: ]*|\b(?:be|live|stay|deliver|it) in\b", street, flags=re.IGNORECASE)[-1].strip(" :,.-")  # fmt: skip
    city = re.split(r"\s+(?:instead|please|thanks|thank|and|is|not|for|because|as|since|if|from)\b", match["city"], flags=re.IGNORECASE)[0].strip()  # fmt: skip
    an_order = re.fullmatch(r"(?:W|#|no\.?)?\s*\d{5}", street, re.IGNORECASE)
    if not street or not city or an_order:
        return None
    named = [code for name, code in COUNTRIES.items() if re.search(rf"\b{name}\b", text[match.start("city") :][:60], re.IGNORECASE)]  # fmt: skip
    if code := re.match(r",? *\(?([A-Z]{2})\b", text[match.end("city") :]):
        named = named or [c for c in set(COUNTRIES.values()) if c == code[1]]
    anywhere = {code for name, code in COUNTRIES.items() if re.search(rf"\b(?:in|to) {name}\b", text, re.IGNORECASE)}
    named = named or (list(anywhere) if len(anywhere) == 1 else [])
    found = {"street": street, "postcode": match["postcode"].strip().upper(), "city": city}
    shaped = [code for shape, code in SHAPES.items() if re.fullmatch(shape, found["postcode"])]
    country = (named or shaped or [""])[0]
    return found | ({"country": country} if country else {})


def _quoted(article: str, passage: str, question: str) -> str:
    """What a help page says: the passage that means most, and the one that shares most words where that is another."""
    passages = next((a.passages for a in _articles() if a.id == article), [passage])
    said = replies.plain_text(passage)
    nearest = [passages[n] for n in rank(question, passages, 1)]
    more = replies.plain_text(nearest[0], 300) if nearest and nearest[0] != passage else ""
    return f"{more} {said}".strip() if len(more) + len(said) < 700 else said


def _why_a_person(message: str) -> str:
    """Why a lost parcel is not sent again by the assistant, from the case in the tool's words."""
    if "sent again already" in message:
        return "it counts as lost, but I may send a parcel again only once per order"
    if "are in stock," in message:
        return "it counts as lost, but it is no longer in stock"
    return f"it counts as lost, but above {replies.money(limits().reship_limit_cents)} a person decides"


def _words(text: str) -> set[str]:
    text = re.sub(r"\S+@\S+", " ", text)
    found = {w.lower() for w in re.findall(r"[^\W_]+(?:[-'][^\W_]+)*", text) if len(w) > 1} - GENERIC
    found |= {p for w in found for p in w.split("-")} | {w[:-1] for w in found if len(w) > 4 and w.endswith("s")}
    return found | {other for w in found for other in _data().get("same_words", {}).get(w, ())}


def read_quantity(text: str, asked: bool = False) -> int | None:
    """How many pieces a text speaks of; a bare number counts only where it was asked for.

    >>> read_quantity("W20440 has 3 of them, too many. Make it 1 please"), read_quantity("the black one"), read_quantity("2", True)
    (1, None, 2)
    >>> read_quantity("the Hush 2 in red rather than grey")  # a name
    """
    text = _numbered_names().sub(r"\1", text)
    patterns = [*QUANTITIES, rf"(?<!\w){NUMBER}(?!\w)"] if asked else QUANTITIES
    for pattern in patterns:
        if match := re.search(pattern, text, re.IGNORECASE):
            word = next(g for g in match.groups() if g).lower()
            return PIECES.get(word) or int(word)
    return 2 if re.search(r"\bboth (?:of them|pieces)\b", text, re.IGNORECASE) else None


@lru_cache(maxsize=1)
def _numbered_names() -> re.Pattern:
    """The words of product names before a number: Velmora 7, Slate 8."""
    names = " ".join(p["name"] for p in read_yaml(data_folder() / "shop" / "products.yml"))
    words = sorted({word for word, _ in re.findall(r"\b([A-Z]\w+) (\d)\b", names)})
    return re.compile(rf"\b({'|'.join(words)}) \d\b", re.IGNORECASE)


def _number_in(text: str) -> int | None:
    """The one number that a short text names, in digits or as a word."""
    words = re.findall(r"\d+|[a-z]+", ORDER_IDS.sub(" ", text).lower())
    found = [int(w) if w.isdigit() else WHOLE[w] for w in words if w.isdigit() or w in WHOLE]
    return found[0] if len(found) == 1 and len(words) < 12 else None


def _without_denied(text: str) -> str:
    """A text without what it calls wrong or leaves as it is: not black, instead of black, the radio and the watch stay."""
    sentences = re.split(r"(?<=[.!?;])\s+", text)
    kept = [s for s in sentences if not STAYS.search(s)] or sentences
    return DENIED.sub(" ", " ".join(kept))


def _named(items: Sequence[dict], text: str) -> list[dict]:
    """The items of an order that a text names side by side: the kettle and the cable."""
    if not re.search(r"\bboth\b|\band (?:the|my)\b|&", text, re.IGNORECASE):
        return []
    words, labels = _words(_without_denied(text)), [_words(item_label(i)) for i in items]
    own = [mine - set().union(*(o for o in labels if o is not mine)) for mine in labels]
    return [i for i, mine in zip(items, own, strict=True) if _shared(mine, words) >= 1]


def _covered(name: str, text: str) -> float:
    """Which share of a product's name was said."""
    own = {w.lower() for w in re.findall(r"[^\W_]+", name)}
    said = _words(text) | set(re.findall(r"[^\W_]+", text.lower()))
    return len(own & said) / len(own)


def _product_words(wish: Wish) -> set[str]:
    return {w for w in _words(wish.text) if len(w) > 2}


def _all_said(wish: Wish, state: State) -> str:
    return f"{wish.text} {state.said[-1] if state.said else ''}"


def _best(rows: Sequence[Any], words: set[str], label: Callable[[Any], str], need: bool = False) -> list[Any]:
    """The rows whose label shares most words, counting only words that not every row has; all where none does."""
    labels = [_words(label(r)) for r in rows]
    common = set.intersection(*labels) if len(labels) > 1 else set()
    scores = [_shared(own - common, words) for own in labels]
    best = max(scores, default=0)
    if best == 0:
        return [] if need else list(rows)
    return [r for r, s in zip(rows, scores, strict=True) if s == best]


def _shared(own: set[str], words: set[str]) -> float:
    """How many words two sets share; a long word with a slip counts a little less."""
    same = own & words
    slips = [w for w in own - same if len(w) > 4 and difflib.get_close_matches(w, words, 1, 0.82)]
    return len(same) + 0.8 * len(slips)


def _order_label(order: Mapping[str, Any]) -> str:
    items = ", ".join(item_label(i) for i in order["items"][:3]) + (" and more" if len(order["items"]) > 3 else "")
    return f"{order['order_id']} of {replies.day(order['placed_on'], SAMPLE_DAY)}: {items}, {replies.STATES[order['status']]}"  # fmt: skip


def _variant_label(variant: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (variant["colour"], variant["size"]))) or variant["sku"]
