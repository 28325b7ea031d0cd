"""The interface of language models: what a prompt is, the scripted model, scores, and which class a name chooses."""

import math

import pytest

from agentlab import endpoints, llamacpp, local
from agentlab.decoding import Decoding, LanguageError
from agentlab.errors import UnknownName
from agentlab.grammar import GrammarError, choices, json_schema
from agentlab.language import (
    Completion,
    LanguageModel,
    Score,
    Scripted,
    Step,
    as_grammar,
    check_options,
    check_prompt,
    load_language,
    settings,
)

CHAT = [{"role": "user", "content": "Where is my order?"}]


def message_of(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


# --- prompts, options and settings ---


@pytest.mark.parametrize("prompt", ["Hello", CHAT, tuple(CHAT), [{"role": "system", "content": ""}, *CHAT]])
def test_texts_and_lists_of_messages_are_prompts(prompt):
    assert list(check_prompt(prompt)) == list(prompt)


def test_a_prompt_may_be_read_only_once():
    assert check_prompt(message for message in CHAT) == CHAT


@pytest.mark.parametrize(
    ("prompt", "kind", "message"),
    [
        (" \n", LanguageError, "The prompt is empty. Give a text, or a list of messages."),
        ([], LanguageError, "The prompt is an empty list. Give at least one message."),
        ([*CHAT, "Hello"], LanguageError, "Message 1 must be {\"role\": ..., \"content\": ...}; it is 'Hello'."),
        ([{"role": "user"}], LanguageError,
         "Message 0 must be {\"role\": ..., \"content\": ...}; it is {'role': 'user'}."),
        ([{"role": "bot", "content": "Hi"}], UnknownName,
         "Unknown chat role 'bot'. Available: assistant, system, tool, user."),
        ([{"role": "usr", "content": "Hi"}], UnknownName,
         "Unknown chat role 'usr'. Did you mean 'user'? Available: assistant, system, tool, user."),
        ([{"role": "user", "content": None}], LanguageError, "The content of message 0 must be a text; it is None."),
        ([{"role": "system", "content": "Be kind."}, {"role": "user", "content": " "}], LanguageError,
         "No message of the prompt says anything besides the system text."),
    ],
)  # fmt: skip
def test_what_is_no_prompt_is_named(prompt, kind, message):
    assert message_of(kind, lambda: check_prompt(prompt)) == message


@pytest.mark.parametrize("options", [[], ["yes"], ["yes", "yes"], ["yes", ""], ["yes", 3]])
def test_a_choice_needs_different_texts(options):
    assert message_of(LanguageError, lambda: check_options(options)) == (
        f"choose() needs two or more different texts to choose from; got {options!r}."
    )


def test_settings_change_single_fields_and_keep_the_rest():
    decoding = Decoding(max_tokens=9, stop="\n")
    assert settings(decoding, {"temperature": 0.5}) == Decoding(9, 0.5, stop=("\n",))
    assert settings(None, {}) == Decoding()
    assert decoding.temperature == 0


def test_an_unknown_setting_is_refused_by_name():
    assert message_of(UnknownName, lambda: settings(None, {"temprature": 1.0})) == (
        "Unknown decoding option 'temprature'. Did you mean 'temperature'? Available: beams, max_tokens, min_p, "
        "repetition_penalty, seconds, seed, stop, temperature, top_k, top_p."
    )
    assert message_of(LanguageError, lambda: settings(None, {"temperature": -1})) == (
        "temperature is -1; it must be 0 or more."
    )


def test_a_schema_becomes_a_grammar_and_a_grammar_stays():
    made = choices(["yes", "no"])
    assert as_grammar(made) is made
    assert as_grammar({"type": "boolean"}) == json_schema({"type": "boolean"})


# --- what comes back ---


def test_a_completion_knows_its_speed_also_where_no_time_was_taken():
    assert Completion("Yes", tokens=30, seconds=2.0).tokens_per_second == 15
    assert Completion("Yes", tokens=30).tokens_per_second == 0


def test_a_step_is_overruled_where_the_grammar_took_another_token():
    assert Step("C", "The", 0.5, 0.1, 1, forced=True).overruled
    assert not Step("C", "C", 0.5, 0.5, 4, forced=False).overruled


def test_perplexity_counts_the_equally_likely_tokens():
    score = Score(["a", "b", "c"], [math.log(1 / 4)] * 3)
    assert score.total == pytest.approx(-3 * math.log(4))
    assert score.perplexity == pytest.approx(4)
    assert Score(["sure"], [0.0]).perplexity == 1


# --- the scripted model ---


def test_replies_come_in_order_and_prompts_are_remembered():
    with Scripted("It is on its way.", {"order": 7}, "yes", [-0.5, -1.0], "Two words") as model:
        assert model.complete(CHAT) == Completion("It is on its way.", tokens=5)
        answer = model.structured("Which order?", {"type": "object"})
        assert (answer.value, answer.text) == ({"order": 7}, '{"order": 7}')
        choice = model.choose("Is it?", ["no", "yes"])
        assert (choice.option, choice.index, choice.probabilities) == ("yes", 1, None)
        assert model.score("Say it", "Two words") == Score(["Two", "words"], [-0.5, -1.0])
        assert list(model.stream(CHAT)) == ["Two", " words"]
    assert model.prompts == [CHAT, "Which order?", "Is it?", "Say it", CHAT]


def test_a_batch_takes_one_reply_for_each_prompt():
    with Scripted("one", "two") as model:
        assert [reply.text for reply in model.batch(["a", "b"])] == ["one", "two"]


def test_a_scripted_exception_is_raised():
    model = Scripted(LanguageError("The server is down."), "Better now.")
    assert message_of(LanguageError, lambda: model.complete(CHAT)) == "The server is down."
    assert model.complete(CHAT).text == "Better now."


def test_a_script_must_be_used_up_unless_something_else_went_wrong():
    def leave_one():
        with Scripted("one", "two") as model:
            model.complete(CHAT)

    def fail():
        with Scripted("one"):
            raise ValueError("another mistake")

    assert message_of(AssertionError, leave_one) == "1 scripted replies were not asked for: ['two']"
    assert message_of(ValueError, fail) == "another mistake"


@pytest.mark.parametrize(
    ("script", "call", "message"),
    [
        ([], lambda m: m.complete("Hi"), "The script is used up, and complete() was called once more with 'Hi'."),
        ([{"order": 7}], lambda m: m.complete("Hi"), "complete() was called, and the script has {'order': 7} next."),
        ([{"order": 7}], lambda m: list(m.stream("Hi")), "stream() was called, and the script has {'order': 7} next."),
        (["yes"], lambda m: m.score("Hi", "yes"), "score() was called, and the script has 'yes' next."),
        ([7], lambda m: m.choose("Hi", ["a", "b"]), "choose() was called, and the script has 7 next."),
        (["c"], lambda m: m.choose("Hi", ["a", "b"]),
         "The script has 'c' next, which is not among the options ['a', 'b']."),
    ],
)  # fmt: skip
def test_a_call_that_the_script_does_not_expect_fails_the_test(script, call, message):
    assert message_of(AssertionError, lambda: call(Scripted(*script))) == message


def test_the_scripted_model_checks_what_it_is_given_as_others_do():
    model = Scripted("unused")
    assert message_of(LanguageError, lambda: model.complete("")).startswith("The prompt is empty.")
    assert message_of(UnknownName, lambda: model.complete(CHAT, topk=3)).startswith("Unknown decoding option 'topk'.")
    assert message_of(UnknownName, lambda: list(model.stream(CHAT, topk=3))).startswith("Unknown decoding option")
    assert message_of(LanguageError, lambda: model.choose(CHAT, ["one"])).startswith("choose() needs two or more")
    with pytest.raises(GrammarError):
        model.structured(CHAT, {"type": "no such type"})
    assert model.replies == ["unused"]


def test_a_model_must_offer_the_whole_interface():
    with pytest.raises(TypeError, match="abstract"):
        LanguageModel()


# --- which class a name chooses ---


@pytest.fixture
def made(monkeypatch):
    """Remembers which class was to be made, with what."""
    calls = []
    monkeypatch.setattr(endpoints, "Endpoint", lambda name, **options: calls.append(("endpoint", name, options)))
    monkeypatch.setattr(llamacpp, "LlamaCpp", lambda name, **options: calls.append(("llama.cpp", name, options)))
    monkeypatch.setattr(
        local.TorchLanguage, "load", lambda name=None, **options: calls.append(("torch", name, options))
    )
    monkeypatch.delenv("AGENTLAB_LLM", raising=False)
    return calls


def test_the_name_chooses_the_engine(made):
    load_language("http://127.0.0.1:8000", model="small")
    load_language("https://models.example/v1", key="k")
    load_language("models/tiny.gguf", threads=1)
    load_language("owner/model", precision="float32")
    load_language()
    assert made == [
        ("endpoint", "http://127.0.0.1:8000", {"model": "small"}),
        ("endpoint", "https://models.example/v1", {"key": "k"}),
        ("llama.cpp", "models/tiny.gguf", {"threads": 1}),
        ("torch", "owner/model", {"precision": "float32"}),
        ("torch", None, {}),
    ]


def test_the_environment_chooses_where_no_name_is_given(made, monkeypatch):
    monkeypatch.setenv("AGENTLAB_LLM", "http://127.0.0.1:8000")
    load_language()
    load_language("models/tiny.gguf")
    assert made == [("endpoint", "http://127.0.0.1:8000", {}), ("llama.cpp", "models/tiny.gguf", {})]
