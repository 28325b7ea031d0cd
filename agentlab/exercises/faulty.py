"""Five agents with one fault each, to be found through their traces: the lab of lesson 06.

Each is the shop's own agent with one part changed; the loop, the tools and the rules are the real ones. They understand by
keywords, so a conversation takes a tenth of a second and goes the same way every time.

>>> faults_of(4) == faults_of(4), sorted(faults_of(4))
(True, ['A', 'B', 'C', 'D', 'E'])
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from agentlab.errors import UnknownName

if TYPE_CHECKING:
    from agentlab.agent import Agent
    from agentlab.decisions import Decision
    from agentlab.dialogue import State, Wish
    from agentlab.shop.store import Store
    from agentlab.toolkit import Toolbox
    from agentlab.trace import Trace

SEED = 4  # of the lesson
LETTERS = "ABCDE"
MakeAgent = Callable[["Store"], "Agent"]

FAULTS = {
    "confirmation": "a yes counts for whatever is about to be done by then, also if something else was read back",
    "memory": "a value of the former wish leaks into the next one",
    "identity": "one tool that shows personal data is called before anybody was verified",
    "correction": "a correction is heard, and the old value is used all the same",
    "wording": "what is said is not checked against the facts: amounts come out different",
    "loop": "the same call is made again and again, until the agent is stopped",
}
CONVERSATIONS = {
    "two speakers": (
        "Please cancel my order W20411.",
        "olu.adeyemi@example.com",
        "Yes, but W20412, please.",
        "yes",
    ),
    "wrong number": (
        "Please cancel my order W20412. I am olu.adeyemi@example.com.",
        "Oh sorry, I meant W20411.",
        "yes",
    ),
    "two returns": (
        "I want to return W20597, maimai.ng@example.com. It came damaged.",
        "yes",
        "I also want to return W20673.",
        "I changed my mind about it.",
        "No, it is still sealed.",
        "yes",
    ),
    "wall mount": (
        "Please cancel my order W20407. My e-mail is suryani@example.org.",
        "yes",
        "Thank you, bye!",
    ),
    "where is it": (
        "Where is my order W20854?",
        "jb.carrel@example.org",
        "What is the status of W20969?",
    ),
    "all orders": (
        "Hello, can you show me all my orders?",
        "shiv.kettle@example.net",
        "EH41 6ZZ",
    ),
}


def faults_of(seed: int = SEED) -> dict[str, str]:
    """Which agent has which fault: five of the six in an order that depends on the seed. The solution of the lab."""
    names = random.Random(seed).sample(sorted(FAULTS), len(LETTERS))
    return dict(zip(LETTERS, names, strict=True))


def faulty_agents(seed: int = SEED) -> dict[str, MakeAgent]:
    """Five agents, A to E, with one fault each. Each is a function from a `Store` to an agent, as trials take them."""
    return {letter: with_fault(name) for letter, name in faults_of(seed).items()}


def play(make_agent: MakeAgent, conversation: str | Iterable[str]) -> Trace:
    """Hold a conversation, by its name in `CONVERSATIONS` or given as messages, in a fresh copy of the sample shop.

    Raises `UnknownName` for a conversation that is not there.
    """
    from agentlab.shop.store import Store

    messages = conversation
    if isinstance(conversation, str):
        if conversation not in CONVERSATIONS:
            raise UnknownName("conversation", conversation, CONVERSATIONS)
        messages = CONVERSATIONS[conversation]
    store = Store.sample()
    try:
        chat = make_agent(store).conversation(id="lab")
        for message in messages:
            chat.send(message)
    finally:
        store.close()
    return chat.trace


def sound_agent(store: Store) -> Agent:
    """The agent without a fault."""
    from agentlab.keywords import by_keywords
    from agentlab.shop.agent import shop_agent

    return shop_agent(store, "rules", understand=by_keywords)


def with_fault(name: str) -> MakeAgent:
    """A function that makes the agent with this fault; raises `UnknownName` for one that is not in `FAULTS`."""
    if name not in FAULTS:
        raise UnknownName("fault", name, FAULTS)

    def make_agent(store: Store) -> Agent:
        agent = sound_agent(store)
        domain, policy = agent.domain, agent.domain.policy
        if name == "identity":
            policy = dataclasses.replace(policy, open_tools=policy.open_tools | {"list_orders"})
        elif name == "confirmation":
            policy = changed(policy, AnyYes)
        else:
            domain = changed(
                domain, {"memory": Leaky, "correction": Deaf, "wording": Careless, "loop": Forgetful}[name]
            )
        return dataclasses.replace(agent, domain=dataclasses.replace(domain, policy=policy))

    return make_agent


def changed(part: Any, change: type) -> Any:
    """The same domain or policy with some of its methods replaced by those of ``change``."""
    kind = type(change.__name__, (change, type(part)), {})
    return kind(**{f.name: getattr(part, f.name) for f in dataclasses.fields(part)})


# --- the changes ---------------------------------------------------------------------------------------------


class AnyYes:
    """A policy that takes a yes for a yes to anything."""

    def check(self, decision: Decision, state: State, box: Toolbox) -> Decision:
        from agentlab.decisions import Call, Confirm
        from agentlab.perceive import read_answer

        decision = super().check(decision, state, box)
        if isinstance(decision, Confirm) and read_answer(state.said[-1])[0] == "yes":
            return Call(decision.tool, decision.arguments, reason="The customer said yes.", rules=decision.rules)
        return decision


class Leaky:
    """A domain that fills in what is missing from the wish before."""

    def fill(self, slot: str, wish: Wish, state: State) -> Any:
        former = state.last.slots if state.last else {}
        return former[slot] if slot in former else super().fill(slot, wish, state)


class Deaf:
    """A domain that takes an order's number from the words with which a wish began."""

    def arguments(self, tool: str, names: Iterable[str], wish: Wish, state: State) -> dict[str, Any]:
        found = super().arguments(tool, names, wish, state)
        first = re.search(r"\bW\d{5}\b", wish.text)
        return found | {"order_id": first[0]} if first and "order_id" in found else found


class Careless:
    """A domain whose words are not checked: what it says rounds amounts up to the next five euros."""

    def say(self, facts: Mapping[str, Any]) -> tuple[str, str]:
        text, source = super().say(facts)
        return re.sub(r"€(\d+)\.\d\d", lambda m: f"€{(int(m[1]) // 5 + 1) * 5}.00", text), source


class Forgetful:
    """A domain that forgets what the carrier said, and asks again."""

    def tell(self, wish: Wish, state: State) -> Decision | None:
        return None if wish.results.pop("track_shipment", None) else super().tell(wish, state)
