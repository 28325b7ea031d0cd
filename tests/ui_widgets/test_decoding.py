"""The viewer of grammars with a written trace, and the playground with a toy distribution."""

import pytest
import torch

from agentlab.decoding import LanguageError
from agentlab.errors import AgentLabError
from agentlab.language import Step, Structured
from agentlab.ui import DecodingPlayground, GrammarViewer
from tests.ui_widgets.test_chat import inside, the

TRACE = [
    Step('{"name": "', "I", 0.4, 0.001, 1, True),
    Step("find", "can<cel", 0.6, 0.3, 12, False),
    Step("_order", "_order", 0.9, 0.9, 1, True),
    Step("W1", "W1", 0.7, 0.7, 3000, False),
]


def write(text):
    if text == "plain":
        return Structured({}, "{}")
    return Structured({"name": "find_order"}, "".join(s.token for s in TRACE), trace=TRACE)


@pytest.fixture
def viewer():
    made = GrammarViewer(write, ["where is W1?", "cancel it"])
    assert made.widget
    return made


def test_it_begins_at_the_first_token_that_was_overruled(viewer):
    viewer.run("where is W1?")
    assert viewer.at == 1
    assert viewer.said == (
        "4 tokens: 2 forced, so that the model was not asked; 2 chosen by it. In 2 places it wanted another token."
    )
    assert viewer.sentence() == (
        "Token 2: 'find', to which the model gives 30.0%. 12 tokens were allowed. It wanted 'can<cel' (60.0%)."
    )


def test_each_token_is_told_by_words(viewer):
    viewer.run("where is W1?")
    viewer.go(1)
    assert viewer.said.endswith("It was the only one allowed: forced. It wanted 'I' (40.0%).")
    viewer._place.value = 4
    assert viewer.said.endswith("3,000 tokens were allowed. It wanted that one, too.")
    with pytest.raises(AgentLabError, match="no token 5: the text has tokens 1 to 4"):
        viewer.go(5)


def test_the_rows_say_how_each_token_came_about(viewer):
    viewer.run("where is W1?")
    assert [r["how"] for r in viewer.rows()] == ["forced", "overruled", "forced", "as wanted"]
    assert [r["wanted"] for r in viewer.rows()] == ["'I'", "'can<cel'", "", ""]


def test_a_click_on_an_example_writes_it_and_escapes(viewer):
    inside(viewer.widget, "al-example")[1].click()
    assert viewer.text == "cancel it"
    shown = viewer._page.value
    assert "can&lt;cel" in shown
    assert "can<cel" not in shown


@pytest.mark.parametrize(("text", "what"), [("", "this has 0"), ("x" * 501, "this has 501"), ("plain", "trace=True")])
def test_what_cannot_be_written_is_a_sentence(viewer, text, what):
    with pytest.raises(AgentLabError, match=what):
        viewer.run(text)
    viewer._field.value = text
    viewer._go.click()
    assert "That did not work:" in the(viewer, "al-status").value
    assert not viewer._go.disabled


def test_nothing_is_told_before_something_was_written(viewer, capsys):
    with pytest.raises(AgentLabError, match="run a request first"):
        viewer.rows()
    viewer.show()
    assert "for 'where is W1?'" in capsys.readouterr().out


# --- the playground ---

LOGITS = torch.tensor([4.0, 3.0, 2.0, 0.0, -1.0, -50.0])
ASKED = []


def playground(**options):
    ASKED.clear()

    def write(prompt, **decoding):
        ASKED.append((prompt, decoding))
        return f" written <{len(ASKED)}>"

    return DecodingPlayground(lambda prompt: LOGITS + len(prompt), write, "abcdef".__getitem__, "once upon", **options)


def test_the_rows_are_softmax_and_what_top_p_leaves_of_it():
    own = torch.softmax(LOGITS, 0)
    rows = playground().set(top_p=0.9)
    assert [r["token"] for r in rows] == [repr(c) for c in "abcdef"]
    assert [r["the model's"] for r in rows] == pytest.approx(own.tolist(), abs=1e-6)
    kept = own[:3] / own[:3].sum()  # 0.65 + 0.24 < 0.9 <= 0.65 + 0.24 + 0.09
    assert [r["drawn with"] for r in rows] == pytest.approx([*kept.tolist(), 0, 0, 0], abs=1e-6)


def test_temperature_zero_leaves_one_token_and_two_makes_it_flatter():
    made = playground()
    assert [r["drawn with"] for r in made.set(temperature=0)] == [1, 0, 0, 0, 0, 0]
    assert "1 of 6 tokens can be drawn" in made.said
    hot = made.set(temperature=2)
    assert [r["drawn with"] for r in hot] == pytest.approx(torch.softmax(LOGITS / 2, 0).tolist(), abs=1e-6)


def test_each_text_is_drawn_anew_with_these_settings():
    made = playground(max_tokens=7)
    made.set(temperature=0.5, top_p=0.8)
    assert [made.write(), made.write()] == [" written <1>", " written <2>"]
    settings = {"max_tokens": 7, "temperature": 0.5, "top_p": 0.8}
    assert [("once upon", settings | {"seed": n}) for n in (0, 1)] == ASKED


def test_sliders_and_button_do_the_same():
    made = playground()
    assert made.widget
    made._heat.value = 0
    assert made.temperature == 0
    assert "At temperature 0 and top-p 1, 1 of 6 tokens" in the(made, "al-status").value
    inside(made.widget, "al-main")[0].click()
    assert "once upon written &lt;1&gt;" in made._texts.value
    made._prompt.value = "twice"
    assert made.prompt == "twice"
    assert [c.description for c in (made._heat, made._share, made._prompt)] == ["temperature", "top-p", "Prompt"]


@pytest.mark.parametrize("settings", [{"temperature": -1}, {"top_p": 0}, {"prompt": " "}, {"prompt": "x" * 501}])
def test_settings_that_cannot_be_are_refused_and_change_nothing(settings):
    made = playground()
    with pytest.raises((LanguageError, AgentLabError)):
        made.set(**settings)
    assert (made.temperature, made.top_p, made.prompt) == (1.0, 1.0, "once upon")


def test_where_nothing_runs_a_table_compares_settings(capsys):
    playground().show()
    out = capsys.readouterr().out
    assert "after 'once upon'" in out
    assert out.count("written <") == 5
