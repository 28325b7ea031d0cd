"""Choosing a tool: the pairs that are trained on, and the threshold."""

from dataclasses import replace

import pytest

from agentlab.choosing import Chooser, Recipe, best_threshold, in_words, pair, pairs, train
from agentlab.finetune import Config, TrainingError
from agentlab.toolcalls import ToolExample, load_toolcalls


def tool(name, description=""):
    return {"name": name, "description": description, "parameters": {"type": "object", "properties": {"cityName": {}}}}


def test_a_tool_is_read_as_words():
    assert (
        in_words(tool("geo.findTown_by_name", "Look  a town up."))
        == "geo find town by name: Look a town up. (city name)"
    )


def test_each_offered_tool_is_a_pair_and_only_the_right_one_says_yes():
    example = ToolExample("go", [tool("a"), tool("b")], {"name": "b", "arguments": {}}, "x", "train")
    rows = pairs([example, replace(example, call=None)])
    assert [m.intents[0] for m in rows] == ["no", "yes", "no", "no"]
    assert rows[1].text == pair("go", tool("b"))


def test_strangers_come_from_other_domains_and_are_never_right():
    examples = load_toolcalls("train")[::40]
    rows = pairs(examples, strangers=2)
    more = len(rows) - len(pairs(examples))
    assert len(examples) < more <= 2 * len(examples)
    assert sum(m.intents[0] == "yes" for m in rows) == sum(e.call is not None for e in examples)


class Rated:
    """A chooser whose probabilities stand in the request."""

    def probabilities(self, request, tools):
        return [float(x) for x in request.split()]


def test_the_threshold_is_in_the_middle_of_those_that_decide_best():
    a, b = tool("a"), tool("b")
    examples = [
        ToolExample("0.9 0.2", [a, b], {"name": "a", "arguments": {}}, "x", "development"),
        ToolExample("0.1 0.6", [a, b], {"name": "b", "arguments": {}}, "x", "development"),
        ToolExample("0.2 0.3", [a, b], None, "x", "development"),
    ]
    assert best_threshold(Rated(), examples) == pytest.approx(0.45, abs=0.02)


@pytest.mark.slow
def test_a_chooser_learns_is_saved_and_read_and_refuses_damage(tmp_path, monkeypatch):
    some = {part: load_toolcalls(part)[::30] for part in ("train", "development")}
    monkeypatch.setattr("agentlab.choosing.load_toolcalls", lambda part: some[part])
    chooser = train(Recipe(Config(epochs=1, learning_rate=2e-4, freeze=5), strangers=1), bar=False)
    e = some["train"][0]
    chooser.save(tmp_path)
    again = Chooser.read(tmp_path)
    assert again.threshold == chooser.threshold
    assert again.probabilities(e.request, e.tools) == pytest.approx(chooser.probabilities(e.request, e.tools), abs=0.02)
    assert chooser(e.request, []) is None
    weights = tmp_path / "chooser.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="cannot be read"):
        Chooser.read(tmp_path)
