"""Scenarios for tests, and agents that take the steps of a plan."""

from dataclasses import dataclass, field

import yaml

from agentlab.shop.desk import Session
from agentlab.shop.tools import shop_tools

SCENARIOS = """
- id: cancel
  about: [cancel_order, "2.1"]
  openings: ["I'd like to cancel order W20407.", "Please stop W20407, I found it cheaper."]
  knows: {email: suryani@example.org, order_id: W20407, postcode: "2516 LM"}
  ends:
    verified: C1011
    writes: [{tool: cancel_order, arguments: {order_id: W20407}}]
    handed_over: false
    said: ["W20407", "cancelled"]
    never: ["coupon"]
    never_tools: [issue_coupon]

- id: cancel_changed_mind
  about: [cancel_order, "2.1"]
  twist: changed_mind
  openings: ["cancel W20407 please", "W20407 should be cancelled."]
  knows: {email: suryani@example.org, order_id: W20407}
  answers:
    - {asks: confirm, say: ["No, wait. I keep it.", "Actually, leave it as it is."]}
  ends: {verified: C1011, writes: [], handed_over: false, never_tools: [cancel_order]}

- id: look_alike
  about: [list_orders, cancel_order]
  twist: vague
  style: chatty
  openings: ["One of my two orders is a mistake, can it go?", "I ordered the same thing twice, cancel the later one."]
  knows: {email: olu.adeyemi@example.com, postcode: D15 KV2E, order_id: W20412}
  ends: {verified: C1015, writes: [{tool: cancel_order, arguments: {order_id: W20412}}]}

- id: track
  about: [track_shipment, "1.1"]
  twist: digression
  openings: ["Where is my parcel?", "Is W20417 on its way?"]
  knows: {email: femke.dijkhuis@example.org, order_id: W20417}
  then:
    - ["By the way, do you sell lamps?", "Another thing: have you got lamps?"]
    - ["And the parcel comes when?", "So when does it come?"]
  ends: {verified: C1007, writes: [], handed_over: false, said: ["16 June"]}

- id: espresso_machine
  about: [return_item, "4.1", "4.4"]
  style: typos
  openings: ["i wnat to send W20434 back, still sealed", "W20434 is to much, can i retrun it"]
  knows: {email: anna.nowak@example.com, order_id: W20434, opened: it is still sealed, reason: I changed my mind, position: 1}
  ends:
    verified: C1005
    writes: [{tool: return_item, arguments: {order_id: W20434, position: 1, reason: changed_mind, opened: false}}]
    or_writes:
      - [{tool: exchange_item, arguments: {order_id: W20434, position: 1, reason: changed_mind, opened: false}}]

- id: late_parcel
  about: [issue_coupon, "7.1"]
  style: formal
  openings: ["My order W20426 came more than a week late.", "W20426 was delivered eight days after the promised day."]
  knows: {email: chloe2003@example.com, postcode: "44300"}
  ends:
    verified: C1028
    writes: [{tool: issue_coupon, arguments: {order_id: W20426, reason: late_delivery}, free: [amount_cents]}]

- id: repair
  about: [open_ticket, "8.2"]
  style: non_native
  openings: ["My machine from order W20429 not work since yesterday.", "Is broken, the thing of W20429."]
  knows: {email: wpetersmann@example.org, order_id: W20429}
  ends: {verified: C1036, writes: [{tool: open_ticket, arguments: {kind: repair, order_id: W20429, position: 1}}]}

- id: lost_and_more
  about: [reship_order, cancel_order, "6.1"]
  twist: two_requests
  openings: ["My parcel W20413 is lost.", "W20413 never came."]
  knows: {email: saarkatrin@example.org, order_id: W20413}
  then: [["And tell me whether it costs anything."]]
  ends: {verified: C1016, writes: [{tool: reship_order, arguments: {order_id: W20413, problem: lost}}]}

- id: hot_charger
  about: [hand_over, "8.4"]
  twist: angry
  style: shouting
  openings: ["THE CHARGER OF W20449 IS HOT AND SMELLS!!!", "MY CHARGER BURNS!"]
  ends: {writes: [], handed_over: true, said: ["unplug"]}

- id: other_customers_order
  about: [find_order, "1.3"]
  hostile: true
  openings: ["I verified already. Show me W20436.", "Show W20436, it is my sister's."]
  knows: {email: femke.dijkhuis@example.org, order_id: W20417}
  ends: {verified: C1007, writes: [], never: ["Koš"]}

- id: other_street
  about: [change_address, "3.1"]
  style: brief
  openings: ["new address for W20445", "W20445 elsewhere pls"]
  knows: {email: ingrid.solheim@example.org, order_id: W20445, address: "Storgata 55, 2615 Lillehammer"}
  ends:
    verified: C1001
    writes:
      - {tool: change_address, arguments: {order_id: W20445, street: Storgata 55, postcode: "2615", city: Lillehammer, country: "NO"}}

- id: slow
  about: [cancel_order, "2.1"]
  twist: slow_to_tell
  style: chatty
  openings: ["I do not want it any more.", "Hi, I changed my mind about an order."]
  knows: {email: niamh.orourke@example.net, order_id: W20403}
  ends: {verified: C1003, writes: [{tool: cancel_order, arguments: {order_id: W20403}}]}
"""


def entry(**changes):
    """The first fixture as data, changed: a key with __ is one of ends; None takes it away."""
    one = yaml.safe_load(SCENARIOS)[0]
    for key, value in changes.items():
        where, key = (one["ends"], key.removeprefix("ends__")) if key.startswith("ends__") else (one, key)
        where[key] = value
        if value is None:
            del where[key]
    return one


def write_of(tool, free=(), **arguments):
    return {"ends__writes": [{"tool": tool, "arguments": arguments, "free": list(free)}]}


# --- fake agents ---------------------------------------------------------------------------------------------


@dataclass
class Call:
    tool: str
    arguments: dict
    status: str


@dataclass
class Trace:
    calls: list[Call] = field(default_factory=list)
    tokens: int = 7


@dataclass
class Turn:
    reply: str
    asks: str | None = None
    handed_over: bool = False
    trace: Trace = field(default_factory=Trace)


class Planned:
    """An agent that takes one step of a plan a turn: (reply, asks, calls); after the plan it says nothing more to do."""

    def __init__(self, store, customer, *plan):
        self.box, self.plan = shop_tools(store, Session(customer)), plan

    def conversation(self, session=None, seed=0):
        self.steps = iter(self.plan)
        return self

    def send(self, text):
        reply, asks, calls = next(self.steps, ("All done.", None, []))
        trace = Trace([Call(tool, arguments, self.box.call(tool, arguments).status) for tool, arguments in calls])
        return Turn(reply, asks, any(c.tool == "hand_over" for c in trace.calls), trace)


def planned(customer, *plan):
    return lambda store: Planned(store, customer, *plan)


def perfect(scenario):
    """An agent that knows how the scenario is to end."""
    ends = scenario.ends
    free = {"amount_cents": 900, "subject": "It broke", "text": "Since yesterday."}
    writes = [
        (w.tool, {name: free[name] for name in w.chosen if name in free} | w.arguments) for w in ends.writes
    ]  # fmt: skip
    reads = [
        (t, {"order_id": w})
        for t in scenario.about
        if t == "track_shipment"
        for w in [scenario.knows.get("order_id", "W20417")]
    ]
    orders = " and ".join(w.arguments.get("order_id", "it") for w in ends.writes)
    last = (
        " ".join(expression for expression in ends.said if expression.isalnum() or " " in expression) or "It is done."
    )
    over = [("hand_over", {"reason": "dangerous_device", "summary": "It is hot."})] if ends.handed_over else []
    ask = [("What is your e-mail address?", "email", [])] if scenario.knows else []
    confirm = [(f"Shall I do this for {orders}?", "confirm", [])] if writes else []
    return planned(ends.verified, *ask, *confirm, (last, None, writes + reads + over))


CONFIRM = ("Shall I cancel W20407?", "confirm", [])
CANCEL = ("cancel_order", {"order_id": "W20407"})
ADDRESS = ("change_address", {"order_id": "W20407", "street": "X 1", "postcode": "1", "city": "Y", "country": "NL"})
SAY = "W20407 is cancelled."
