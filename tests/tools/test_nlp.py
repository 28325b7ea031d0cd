"""The language tools: each on a text whose answer is known, and none on texts that break it."""

import subprocess
import sys

import pytest

from agentlab import corpus, understand
from agentlab.tools import nlp

TEXT = "My order #W20417 came on 3 May and cost 49.90 €. I paid €20 last Friday in Berlin. Anna Lind is angry!"


@pytest.fixture(scope="module")
def box():
    return nlp.toolbox()


def pairs(rows, *keys):
    return {tuple(row[k] for k in keys) for row in rows}


def test_sentences_and_words(box):
    assert box.call("split_sentences", {"text": TEXT}).value == [
        "My order #W20417 came on 3 May and cost 49.90 €.",
        "I paid €20 last Friday in Berlin.",
        "Anna Lind is angry!",
    ]
    words = box.call("split_words", {"text": TEXT}).value
    assert words[-6:] == [".", "Anna", "Lind", "is", "angry", "!"]
    assert "Berlin" in words


def test_tags_stems_and_lemmas(box):
    tags = pairs(box.call("tag_words", {"text": "The kettle was broken."}).value, "word", "tag")
    assert {("The", "DT"), ("kettle", "NN"), ("was", "VBD")} <= tags
    stems = {r["stem"] for r in box.call("stem_words", {"text": "returned returning returns"}).value}
    assert stems == {"return"}
    lemmas = pairs(box.call("find_lemmas", {"text": "The orders were late."}).value, "word", "lemma")
    assert {("orders", "order"), ("were", "be")} <= lemmas


def test_entities_and_grammar(box):
    found = pairs(box.call("find_entities", {"text": TEXT}).value, "text", "type")
    assert {("3 May", "DATE"), ("Berlin", "GPE"), ("Anna Lind", "PERSON")} <= found
    relations = pairs(
        box.call("parse_sentences", {"text": "The courier lost my parcel."}).value, "word", "relation", "head"
    )
    assert {("courier", "nsubj", "lost"), ("parcel", "dobj", "lost")} <= relations
    assert box.call("find_noun_phrases", {"text": "I want my new kettle"}).value == ["I", "my new kettle"]


def test_shapes_are_found_where_they_stand(box):
    rows = box.call("find_shapes", {"text": TEXT}).value
    assert [(r["text"], r["type"]) for r in rows] == [
        ("#W20417", "order_id"), ("3 May", "date"), ("49.90 €", "amount"), ("€20", "amount"), ("last Friday", "date"),
    ]  # fmt: skip
    assert all(TEXT[r["start"] : r["end"]] == r["text"] for r in rows)
    assert box.call("find_shapes", {"text": "nothing here, may I ask"}).value == []


def test_the_matcher_finds_most_order_numbers_of_the_corpus(box):
    messages = [m for m in corpus.support().validation if any(s.type == "order_id" for s in m.spans)]
    found = there = 0
    for m in messages:
        shapes = pairs(box.call("find_shapes", {"text": m.text}).value, "start", "end", "type")
        marked = {(s.start, s.end, s.type) for s in m.spans if s.type == "order_id"}
        found, there = found + len(shapes & marked), there + len(marked)
    print(f"rules find {found} of {there} order numbers")
    assert found / there > 0.75


def test_sentiment_knows_good_from_bad(box):
    good, bad = (box.call("score_sentiment", {"text": t}).value for t in ("I love it, great!", "awful, I hate it"))
    assert good["score"] > 0.5 > -0.5 > bad["score"]
    assert good["positive"] > good["negative"]
    assert sum(good[k] for k in ("positive", "neutral", "negative")) == pytest.approx(1, abs=0.01)


def test_collocations_come_from_what_repeats(box):
    texts = ["the tracking number is wrong", "my tracking number", "a tracking number please", "is the number wrong"]
    rows = box.call("find_collocations", {"texts": texts, "top": 1}).value
    assert rows[0]["pair"] == "tracking number"


def test_search_puts_the_meaning_first(box):
    texts = ["How do I pair my headphones?", "When will the parcel arrive?", "I want my money back"]
    rows = box.call("search_texts", {"query": "delivery date of my package", "texts": texts, "top": 2}).value
    assert rows[0]["text"] == texts[1]
    assert len(rows) == 2
    assert box.call("search_texts", {"query": "x", "texts": []}).status == "retry"


def test_many_texts_at_once_give_what_one_gives():
    texts = ["Anna Lind lives in Berlin.", "Nothing.", "On 3 May in Rome"]
    assert nlp.find_entities_all(texts) == [nlp.find_entities(t) for t in texts]


@pytest.mark.parametrize("text", [" ", "\u0000", "🙂", "a" * 9999, "€", "#", "\n\n", "<script>"])
def test_absurd_texts_give_a_result(box, text):
    for one in box:
        if one.name not in ("read_message", "search_texts", "find_collocations", "rewrite_text"):
            assert box.call(one.name, {"text": text}).ok, one.name


def test_empty_and_endless_texts_are_refused_in_words(box):
    assert box.call("split_words", {"text": ""}).status == "retry"
    assert "at most 10000" in box.call("split_words", {"text": "a" * 10_001}).message


FIRST_AT_ONCE = """
from concurrent.futures import ThreadPoolExecutor
from agentlab.tools.nlp import toolbox
box = toolbox()
given = {
    "find_collocations": {"texts": ["a b"]},
    "search_texts": {"query": "a", "texts": ["a"]},
    "rewrite_text": {"text": "My kettle leaks.", "tone": "short"},
}
names = [one.name for one in box if one.name != "read_message"] * 2
with ThreadPoolExecutor(16) as pool:
    results = list(pool.map(lambda name: box.call(name, given.get(name, {"text": "My kettle leaks."})), names))
print([(r.tool, r.message) for r in results if not r.ok])
"""


@pytest.mark.slow
def test_threads_that_come_first_at_the_same_time_all_get_an_answer():
    ran = subprocess.run([sys.executable, "-c", FIRST_AT_ONCE], capture_output=True, text=True, timeout=300)
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr


def test_a_text_is_shortened_to_its_own_most_telling_sentences(box):
    text = "Hello there. My kettle leaks at the lid, and water runs over the table. The sky is blue. The kettle's lid leaks water."
    short = box.call("summarize_text", {"text": text}).value
    assert "lid" in short
    two = box.call("summarize_text", {"text": text, "sentences": 2}).value
    assert [s for s in text.split(". ") if s.strip(".") in two] == [s for s in text.split(". ") if "lid" in s]
    assert box.call("summarize_text", {"text": "One sentence only"}).value == "One sentence only"


def test_a_message_is_read_by_the_fine_tuned_models(box, monkeypatch):
    quick = understand.load(understand.QUICK)
    monkeypatch.setattr(nlp.understand, "load", lambda: quick)
    read = box.call("read_message", {"text": "where is my parcel, order #W20417?"}).value
    assert read["intent"] == "track_order"
    assert read["in_scope"]
    assert 0 < read["confidence"] <= 1
    assert nlp.read_message_all([]) == []


@pytest.mark.slow
def test_a_written_summary_or_rewriting_never_invents_a_number(box):
    from agentlab.wording import faithful

    letter = "Hello, I am Priya Nair. My order W20417 came on 3 May and the kettle is broken. I paid €49.90 and want a new one."
    summary = box.call("write_summary", {"text": letter}).value
    assert summary["by"] in ("language model", "extract")
    assert faithful(summary["summary"], {"text": letter})
    blunt = "Your refund of €24.90 for order W20417 is refused."
    for tone in ("friendly", "short"):
        new = box.call("rewrite_text", {"text": blunt, "tone": tone}).value
        assert "W20417" in new["text"]
        assert "€24.90" in new["text"]


def test_what_the_model_cannot_read_is_extracted_or_stays_as_it_is(box):
    assert box.call("write_summary", {"text": "One. " * 2000}).value["by"] == "extract"
    assert box.call("rewrite_text", {"text": " ", "tone": "short"}).value["text"] == " "
