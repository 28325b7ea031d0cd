"""The span editor by its methods and by clicks on words."""

import itertools

import pytest

from agentlab import corpus
from agentlab.corpus import Span, parse_markup
from agentlab.errors import AgentLabError, UnknownName
from agentlab.ui import SpanEditor
from agentlab.ui.spans import words_of
from tests.ui_widgets.test_chat import inside, the

TEXT = "where is my Sony headset, order #W20417?"
TYPES = {"product": "a thing", "order_id": "its number", "date": ""}


@pytest.fixture
def changes():
    return []


@pytest.fixture
def editor(changes):
    made = SpanEditor(TEXT, types=TYPES, on_change=changes.append)
    assert made.widget
    return made


def click_word(editor, text):
    next(b for b in inside(editor.widget, "al-word") if b.description == text).click()


def status(editor):
    return the(editor, "al-status").value


def test_every_span_of_the_corpus_can_be_marked_by_its_words():
    for message in corpus.support().train:
        words = words_of(message.text)
        starts, ends = {a for a, _ in words}, {b for _, b in words}
        assert all(s.start in starts and s.end in ends for s in message.spans), message.markup()


def test_words_cover_everything_but_space_and_do_not_overlap():
    for message in corpus.support().train[:300]:
        words = words_of(message.text)
        assert "".join(message.text[a:b] for a, b in words) == "".join(message.text.split())
        assert all(b <= c for (_, b), (c, _) in itertools.pairwise(words))


def test_marking_by_words_gives_the_spans_that_mark_up_gives(editor, changes):
    editor.mark("#W20417", "order_id")
    editor.mark("Sony headset", "product")
    text, spans = parse_markup("where is my [Sony headset](product), order [#W20417](order_id)?")
    assert (editor.text, editor.spans) == (text, spans)
    assert editor.markup() == "where is my [Sony headset](product), order [#W20417](order_id)?"
    assert changes[-1] == spans


def test_marking_by_clicks_first_word_last_word_type(editor):
    the(editor, "al-mark")
    click_word(editor, "Sony")
    assert "Selected: &#x27;Sony&#x27;" in status(editor)
    click_word(editor, "headset")
    assert "Selected: &#x27;Sony headset&#x27;" in status(editor)
    the(editor, "al-mark").click()
    assert editor.spans == (Span(12, 24, "product"),)
    assert "<mark>Sony headset</mark><sub> product </sub>" in the(editor, "al-marked").value


def test_the_last_word_may_be_clicked_before_the_first_and_a_third_click_begins_anew(editor):
    for word in ("headset", "Sony"):
        click_word(editor, word)
    assert (editor.first, editor.last) == (3, 4)
    click_word(editor, "order")
    assert editor.first == editor.last
    chosen = [b.description for b in inside(editor.widget, "mod-active")]
    assert chosen == ["order"]


def test_a_selected_word_says_so_in_words_and_not_by_colour_alone(editor):
    click_word(editor, "Sony")
    tips = {b.description: b.tooltip for b in inside(editor.widget, "al-word")}
    assert tips["Sony"] == "Word 4, selected"
    assert tips["my"] == "Word 3"


def test_nothing_can_be_marked_before_something_is_selected(editor):
    assert the(editor, "al-mark").disabled
    with pytest.raises(AgentLabError, match="Nothing is selected"):
        editor.mark_selected("product")


def test_a_span_is_taken_away_with_its_button(editor):
    editor.mark("Sony headset", "product")
    (one,) = inside(editor.widget, "al-remove")
    assert one.description == "Remove Sony headset (product)"
    one.click()
    assert editor.spans == ()
    assert inside(editor.widget, "al-remove") == []


@pytest.mark.parametrize(
    ("words", "kind", "what"),
    [
        ("kettle", "product", "'kettle' do not stand in the message"),
        ("  ", "product", "do not stand in the message"),
        ("headset, order", "product", "overlap; spans stand side by side"),
        ("order", "ordr_id", "Unknown span type 'ordr_id'. Did you mean 'order_id'"),
    ],
)
def test_what_is_no_span_is_named_and_changes_nothing(editor, words, kind, what):
    editor.mark("Sony headset", "product")
    with pytest.raises(AgentLabError, match=what):
        editor.mark(words, kind)
    assert len(editor.spans) == 1


def test_overlapping_clicks_are_a_sentence_in_the_widget(editor):
    editor.mark("Sony headset", "product")
    click_word(editor, "my")
    click_word(editor, "Sony")
    the(editor, "al-mark").click()
    assert "That did not work: The spans &#x27;Sony headset&#x27; and &#x27;my Sony&#x27; overlap" in status(editor)


def test_words_that_stand_there_twice_are_marked_one_after_the_other():
    editor = SpanEditor("two and two", types={"quantity": ""})
    assert [editor.mark("two", "quantity").start for _ in range(2)] == [0, 8]


def test_spans_of_before_are_there_and_edges_inside_words_are_kept():
    editor = SpanEditor("W20417and more", [Span(0, 6, "order_id")], types=TYPES)
    assert [editor.text[a:b] for a, b in editor.words] == ["W20417", "and", "more"]
    with pytest.raises(UnknownName):
        SpanEditor("a", [Span(0, 1, "letter")], types=TYPES)


def test_the_comparison_names_each_difference():
    truth = parse_markup("the [kettle](product) from [last May](date), [W20417](order_id) [two](product)")[1]
    editor = SpanEditor("the kettle from last May, W20417 two", types=TYPES, truth=truth)
    for words, kind in (("kettle", "product"), ("May", "date"), ("W20417", "product"), ("the", "date")):
        editor.mark(words, kind)
    assert {(r["words"], r["difference"]) for r in editor.compare()} == {
        ("kettle", "same"),
        ("May", "other edges: 'last May'"),
        ("W20417", "other type"),
        ("the", "not there"),
        ("two", "missing"),
    }


@pytest.mark.parametrize("text", ["", " ", "x" * 601])
def test_a_message_that_is_too_long_to_mark_is_named(text):
    with pytest.raises(AgentLabError, match="1 to 600 characters"):
        SpanEditor(text, types=TYPES)


def test_where_nothing_runs_a_table_shows_the_spans(capsys):
    editor = SpanEditor(TEXT, types=TYPES, caption="What stands in it")
    editor.mark("Sony headset", "product")
    editor.show()
    out = capsys.readouterr().out
    assert "What stands in it" in out
    assert "Sony headset product   12 to 24" in out
