"""The shop's job done by somebody else's loop: smolagents' ``ToolCallingAgent`` with our tools and language models.

The prompt, the memory, how a call is read out of the model's text and how a slip is tried again are smolagents' own. Ours
are the tools with their rules, the model with greedy decoding, a short instruction of who it is, and limits for a turn. It
talks as `agentlab.agent.Agent` does, so that `agentlab.trials.evaluate` takes either.

Not covered: its ``CodeAgent``, whose model writes Python; planning steps; tool calls under a grammar.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from agentlab.agent import Turn
from agentlab.errors import AgentLabError
from agentlab.language import LanguageModel
from agentlab.shop.desk import Session
from agentlab.shop.store import Store
from agentlab.shop.tools import shop_tools
from agentlab.toolkit import Tool, Toolbox
from agentlab.trace import ModelCall, ToolCall, TurnTrace

RELEASE = "smolagents==1.26.0"
INSTRUCTIONS = """You are the assistant of Brightwire, an electronics shop. Each task is the next message of the same customer.
Whatever you say to the customer, a question too, is a final_answer in plain sentences.
Before you look at or change a customer's data, ask for the e-mail address of the account and an order number or the postcode, and call verify_customer.
Before a call that changes something, say what you will do, with the order number, and ask for a yes; make the call after the customer's yes.
If a tool refuses by a rule, tell the customer why, with the rule's number.
If the customer wants a person, or the rules leave it to a person, call hand_over and say so."""
BROKE_OFF = "I am sorry, something went wrong here and I could not finish this. Please write to us again."


@dataclass(frozen=True)
class Limits:
    """Where a turn ends: steps (smolagents' own default), seconds of all steps, tokens that one step may write.

    When steps or seconds are used up, smolagents' closing answer is asked for, on top of the seconds.
    """

    max_steps: int = 20
    max_seconds: float = 60.0
    max_tokens: int = 256


def smol_agent(store: Store, language: LanguageModel, session: Session | None = None, **limits: Any) -> SmolAgent:
    """A smolagents agent in the shop of ``store``, driven by ``language``; ``limits`` are fields of `Limits`.

    A ``session`` that is given may have a verified customer, and is shared by all conversations; else each has its own.
    Raises `AgentLabError` where smolagents is not installed.
    """
    _smolagents()
    return SmolAgent(store, language, session, Limits(**limits))


@dataclass
class SmolAgent:
    """A store, a language model and limits; ``conversation()`` begins one with a memory of its own."""

    store: Store
    language: LanguageModel
    session: Session | None = None
    limits: Limits = field(default_factory=Limits)

    def conversation(self, session: Session | None = None, seed: int = 0) -> SmolConversation:
        """Begin a conversation; ``seed`` changes nothing, since the most probable token is taken each time."""
        session = session or self.session or Session()
        return SmolConversation(shop_tools(self.store, session), self.language, self.limits)


class SmolConversation:
    """One customer's conversation with smolagents' loop over a toolbox; ``turns`` has the trace of each turn."""

    def __init__(self, box: Toolbox, language: LanguageModel, limits: Limits = Limits()):
        smol = _smolagents()
        self.box, self.limits, self.turns = box, limits, []
        self.model = smol_model(language, limits.max_tokens)
        self.agent = smol.ToolCallingAgent(
            tools=[smol_tool(box, one) for one in box], model=self.model, instructions=INSTRUCTIONS,
            max_steps=limits.max_steps, verbosity_level=smol.LogLevel.OFF,
        )  # fmt: skip

    def send(self, text: str) -> Turn:
        """Answer a message with all that was said before in memory; what breaks in the loop ends in a sentence."""
        turn = TurnTrace(len(self.turns) + 1, text, source="model")
        steps, calls, began = len(self.agent.memory.steps), len(self.box.log), time.perf_counter()
        try:
            turn.reply = as_text(self._run(text, began + self.limits.max_seconds, turn))
        except Exception as error:
            if isinstance(error.__cause__, AssertionError):
                raise error.__cause__ from None  # a test's script
            turn.stopped, turn.reply = f"{type(error).__name__}: {error}", BROKE_OFF
        turn.ms = round(1000 * (time.perf_counter() - began), 3)
        turn.calls = [
            ToolCall(c.tool, c.arguments, c.result.status, c.result.value, c.result.message, 1000 * c.result.seconds)
            for c in self.box.log[calls:]
        ]
        turn.models = [*map(_model_call, self.agent.memory.steps[steps + 1 :]), *turn.models]
        turn.tokens = sum(m.tokens for m in turn.models)
        turn.handed_over = any(c.name == "hand_over" and c.status == "ok" for c in turn.calls)
        self.turns.append(turn)
        return Turn(turn.reply, turn, turn.handed_over)

    def _run(self, text: str, until: float, turn: TurnTrace) -> Any:
        """smolagents' answer to a message, or its closing answer when the steps or the seconds are used up."""
        from smolagents.memory import ActionStep, FinalAnswerStep

        self.model.until = until
        for event in self.agent.run(text, stream=True, reset=False):
            if isinstance(event, FinalAnswerStep):
                return event.output
            if isinstance(event, ActionStep) and not event.is_final_answer:
                if event.step_number >= self.limits.max_steps:
                    turn.stopped, self.model.until = "steps", None
                elif time.perf_counter() >= until:
                    break
        turn.stopped, self.model.until = "seconds", None
        began, closing = time.perf_counter(), self.agent.provide_final_answer(text)
        used = closing.token_usage.total_tokens if closing.token_usage else 0
        ms = round(1000 * (time.perf_counter() - began), 3)
        turn.models.append(ModelCall("closing answer", {"wrote": as_text(closing.content)}, used, ms))
        return closing.content


def _model_call(step: Any) -> ModelCall:
    """A step of smolagents' memory as a line of the trace: what the model wrote, and what was wrong with it."""
    from smolagents.utils import AgentMaxStepsError

    last = isinstance(step.error, AgentMaxStepsError)
    value = {"wrote": as_text(step.action_output) if last else step.model_output or ""}
    if step.error and not last:
        value["error"] = str(step.error)
    used = step.token_usage.total_tokens if step.token_usage else 0
    ms = round(1000 * (step.timing.duration or 0.0), 3)
    return ModelCall("closing answer" if last else "step", value, used, ms)


def as_text(answer: Any) -> str:
    """A final answer, which may be anything, as what the customer reads.

    >>> as_text("  Hello. "), as_text({"answer": 5}), as_text([{"type": "text", "text": "Hello."}])
    ('Hello.', '{"answer": 5}', 'Hello.')
    """
    if isinstance(answer, str):
        return str(answer).strip()
    if isinstance(answer, list) and answer and all(isinstance(a, dict) and "text" in a for a in answer):
        return "\n".join(str(a["text"]) for a in answer).strip()
    return "" if answer is None else json.dumps(answer, ensure_ascii=False, default=str)


# --- the parts that smolagents is given ----------------------------------------------------------------------


def smol_model(language: LanguageModel, max_tokens: int = 256) -> Any:
    """A ``smolagents.Model`` that asks a language model of ours, greedily and without a grammar.

    Its ``until`` is when a text must end (by ``time.perf_counter()``), None for never.
    """
    smol = _smolagents()
    from smolagents.models import get_clean_message_list, tool_role_conversions
    from smolagents.monitoring import TokenUsage

    class LanguageAsModel(smol.Model):
        until: float | None = None
        calls = 0

        def generate(self, messages, stop_sequences=None, response_format=None, tools_to_call_from=None, **options):
            """Write the next message; the tools stand in the system prompt, as chat formats without tools want it."""
            chat = get_clean_message_list(messages, tool_role_conversions, flatten_messages_as_text=True)
            prompt = [{"role": m["role"].value, "content": m["content"]} for m in chat]
            seconds = None if self.until is None else max(0.1, self.until - time.perf_counter())
            stop = tuple(stop_sequences or ())
            done = language.complete(prompt, max_tokens=max_tokens, seconds=seconds, stop=stop)
            usage = TokenUsage(done.prompt_tokens, done.tokens)
            return smol.ChatMessage(smol.MessageRole.ASSISTANT, done.text, token_usage=usage)

        def parse_tool_calls(self, message):
            """smolagents' own reading, but calls are numbered: its random ids are read by the model, and change what it writes."""
            message = super().parse_tool_calls(message)
            for call in message.tool_calls:
                self.calls += 1
                call.id = f"call_{self.calls}"
            return message

    return LanguageAsModel(flatten_messages_as_text=True, model_id=language.name)


def smol_tool(box: Toolbox, one: Tool) -> Any:
    """A ``smolagents.Tool`` that calls a tool of a toolbox.

    What was wrong with the arguments is raised, which smolagents shows the model as an error to mend; what a rule refuses is
    an observation, since trying again would not help.
    """
    smol = _smolagents()

    class ToolOfBox(smol.Tool):
        name, description, inputs, output_type = one.name, one.description, smol_inputs(one.schema), "string"
        skip_forward_signature_validation = True  # the arguments are those of the schema

        def forward(self, *values: Any, **arguments: Any) -> str:
            given = dict(zip(self.inputs, values, strict=False)) | arguments
            result = box.call(self.name, {k: v for k, v in given.items() if v is not None})
            if result.status == "retry":
                raise ValueError(result.message)
            return result.text()

    return ToolOfBox()


def smol_inputs(schema: dict) -> dict[str, dict]:
    """The arguments of a JSON Schema as smolagents describes them: type, description, choices, whether it may be left out.

    >>> smol_inputs({"properties": {"n": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "description": "how many"}}})
    {'n': {'type': 'integer', 'description': 'how many', 'nullable': True}}
    """
    found = {}
    for name, about in schema.get("properties", {}).items():
        kind = next((k for k in about.get("anyOf", ()) if k.get("type") != "null"), about)
        found[name] = {"type": kind.get("type", "any"), "description": about.get("description", "")}
        if "enum" in kind:
            found[name]["enum"] = kind["enum"]
        if name not in schema.get("required", ()):
            found[name]["nullable"] = True
    return found


def _smolagents() -> ModuleType:
    try:
        import smolagents
    except ImportError as error:
        raise AgentLabError(
            f"smolagents cannot be imported ({error}). It is only needed for the comparison; install it with "
            f"`pip install {RELEASE}`."
        ) from None
    return smolagents
