"""Answers: quotations, citations checked, the threshold and its promise, and the desk as the agent's tool has it."""

from types import SimpleNamespace

import numpy as np
import pytest

from agentlab import answers, knowledge
from agentlab.answers import (
    UNKNOWN,
    HelpDesk,
    Source,
    check_citations,
    content_words,
    quotation,
    refusal,
    threshold_for,
)
from agentlab.errors import AgentLabError, DataError
from agentlab.knowledge import KNOWS, Question, load_tickets
from agentlab.retrieval import QueryError, tokens

ARTICLES = [a for a in knowledge.load_articles() if a.id in ("return-window", "tv-size", "kettle-descaling")]


def desk(scores, threshold=0.0, write=None):
    """A desk whose ranker gives these scores to every question."""
    ranker = SimpleNamespace(
        articles=ARTICLES,
        scores=lambda questions: np.tile(np.array(scores, dtype=float), (len(questions), 1)),
        best_passage=lambda question, n: ARTICLES[n].passages[0],
    )
    return HelpDesk(ranker, threshold, write)


# --- threshold ---


def test_the_threshold_keeps_its_promise_and_no_higher_one_does():
    rng = np.random.default_rng(0)
    for size in (1, 7, 10, 33, 100):
        for share in (0.5, 0.9, 1.0):
            scores = rng.normal(size=size)
            found = threshold_for(scores, share)
            assert (scores >= found).mean() >= share
            assert all((scores >= higher).mean() < share for higher in scores[scores > found])


def test_refusal_counts_both_sides():
    assert vars(refusal([1, 2, 3, 4], [0, 2.5], 2)) == {"answered": 0.75, "refused": 0.5}


@pytest.mark.parametrize(("scores", "share", "message"), [([], 0.9, "the list is empty"), ([1], 0, "it is 0"), ([1], 1.2, "it is 1.2")])  # fmt: skip
def test_a_threshold_from_nothing_is_refused(scores, share, message):
    with pytest.raises(AgentLabError, match=message):
        threshold_for(scores, share)


# --- citations ---

SOURCES = ["You have **30 days** from delivery.", "Sending back costs €4.90; above €200 a person decides."]


@pytest.mark.parametrize(
    "answer",
    [
        "You have 30 days from delivery [1].",
        "You have thirty days from the delivery [1]. Sending it back costs 4.90 euros [2].",
        "Within 30 days of delivery, sending back costs €4.90 [1][2].",
    ],
)
def test_what_stands_in_its_sources_is_supported(answer):
    assert check_citations(answer, SOURCES) == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("You have 30 days from delivery.", "Sentence 1 cites nothing."),
        ("You have 30 days [1]. It is free!", "Sentence 2 cites nothing."),
        ("You have 30 days from delivery [3].", "Sentence 1 cites [3]; there are 2 sources."),
        ("You have 30 days from delivery [0].", "Sentence 1 cites [0]; there are 2 sources."),
        ("You have 60 days from delivery [1].", "Sentence 1 states '60 days', which does not stand in what it cites."),
        ("Sending back costs €4.90 [1].", "Sentence 1 states '€4.90', which does not stand in what it cites."),
        ("Our warehouse burned down last spring [1].", "Sentence 1 shares 0 of"),
        ("", "The answer is empty."),
        ("[1]", "The answer is empty."),
    ],
)
def test_what_does_not_is_named(answer, problem):
    assert check_citations(answer, SOURCES)[0].startswith(problem)


def test_every_passage_supports_its_own_quotation():
    for article in knowledge.load_articles():
        for passage in article.passages:
            said = quotation(Source(article, passage))
            assert len(said) < answers.LONGEST_QUOTE + 120
            assert "**" not in said
            start = said[1 : said.rindex("” (")]
            assert answers.plain(passage).startswith(start), "a quotation stands there word for word"


def test_content_words_leave_out_what_any_text_has():
    assert content_words("What is it that you have for me?") == set()


# --- the desk ---


def test_it_quotes_the_best_article_with_its_title():
    found = desk([0, 3, 1]).answer("how long may I keep it")
    assert (found.by, found.known, found.score) == ("quotation", True, 3.0)
    assert found.sources[0].article is ARTICLES[1]
    assert ARTICLES[1].title in found.text
    assert found.text.endswith("[1]")


def test_below_the_threshold_it_says_that_it_does_not_know():
    found = desk([0, 3, 1], threshold=3.1).answer("how many bones has a man")
    assert (found.text, found.by, found.sources, found.known) == (UNKNOWN, "nobody", (), False)
    assert desk([0, 3, 1], threshold=3.0).answer("how long").known, "a score at the threshold is enough"


def test_a_models_words_are_kept_only_while_their_citations_hold():
    first = ARTICLES[1].passages[0]
    truth = answers.plain(first).split(". ")[0].rstrip(".") + " [1]."
    assert desk([0, 3, 1], write=lambda chat: truth).answer("how long").by == "model"
    for written in ("It takes 99 days [1].", "Trust me.", "", None):
        found = desk([0, 3, 1], write=lambda chat, written=written: written).answer("how long")
        assert found.by == "quotation"
        assert found.problems
        assert ARTICLES[1].title in found.text


def test_the_model_reads_the_numbered_sources_and_the_question():
    seen = []
    desk([0, 3, 1], write=lambda chat: seen.append(chat) or "").answer("how long", sources=2)
    said = seen[0][-1]["content"]
    assert said.startswith(f"[1] {ARTICLES[1].title}")
    assert f"[2] {ARTICLES[2].title}" in said
    assert said.endswith("Customer: how long")


def test_what_the_model_raises_is_passed_on():
    def broken(chat):
        raise RuntimeError("no model")

    with pytest.raises(RuntimeError, match="no model"):
        desk([0, 3, 1], write=broken).answer("how long")


@pytest.mark.parametrize("question", ["", " ", "?!", "x" * 3000])
def test_what_is_no_question_is_refused_with_a_sentence(question):
    with pytest.raises(QueryError):
        desk([0, 3, 1]).answer(question)


# --- as the agent's tool ---


def test_search_has_the_threshold_at_the_agents_own():
    at = desk([2.0, 5.0, -4.0], threshold=2.0)
    hits = at.search("how long", 3)
    assert [h.article for h in hits] == [ARTICLES[1], ARTICLES[0], ARTICLES[2]]
    assert hits[1].score == pytest.approx(KNOWS)
    assert 1 > hits[0].score > KNOWS > hits[2].score > 0
    assert 0 <= at.known_scale(-1e9) < at.known_scale(1e9) <= 1


def test_the_tool_search_help_can_stand_on_a_desk():
    from agentlab.shop.store import Store
    from agentlab.shop.tools import shop_tools

    box = shop_tools(Store.sample(), help=desk([0, 3, 1]))
    result = box.call("search_help", {"question": "how long", "top": 2})
    assert [row["article"] for row in result.value] == [ARTICLES[1].id, ARTICLES[2].id]
    assert result.value[0]["score"] > KNOWS


# --- measuring ---


def test_measure_by_hand():
    questions = [Question("a", ARTICLES[1].id, "test"), Question("b", ARTICLES[0].id, "test")]
    found = answers.measure(desk([0, 3, 1]), questions, [Question("c", "", "test")])
    assert vars(found) == {"answered": 1.0, "right_citation": 0.5, "refused": 0.0}
    strict = answers.measure(desk([0, 3, 1], threshold=4), questions, [Question("c", "", "test")])
    assert vars(strict) == {"answered": 0.0, "right_citation": 0.0, "refused": 1.0}
    with pytest.raises(AgentLabError, match="measure needs questions"):
        answers.measure(desk([0]), [], [])


# --- tickets ---


def test_tickets_belong_to_articles_and_repeat_no_question():
    tickets = load_tickets()
    assert len(tickets) >= 150
    assert {t.article for t in tickets} == {a.id for a in knowledge.load_articles()}
    asked = {t.question for t in tickets}
    assert len(asked) == len(tickets)
    for part in knowledge.PARTS:
        assert not asked & {q.text for q in knowledge.load_questions(part)}


def test_no_question_for_learning_or_choosing_says_nearly_what_a_test_question_says():
    test = [set(tokens(q.text)) for kind in (True, False) for q in knowledge.load_questions("test", kind)]
    others = [q.text for part in ("train", "development") for kind in (True, False) for q in knowledge.load_questions(part, kind)]  # fmt: skip
    for text in [*others, *(t.question for t in load_tickets())]:
        own = set(tokens(text))
        assert max((len(own & t) / len(own | t) for t in test if own | t), default=0) < 0.6, text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b", "expected a list of tickets"),
        ("- question: a\n  article: tv-size", "ticket 1 needs exactly the keys question, resolution, article; found question, article"),
        ("- just words", "ticket 1 needs exactly the keys"),
        ("- {question: a, resolution: '', article: tv-size}", "each of question, resolution, article must be a text"),
        ("- {question: a, resolution: b, article: tv-sise}", "names the article 'tv-sise', which does not exist"),
    ],
)  # fmt: skip
def test_a_malformed_ticket_is_named(tmp_path, text, message):
    (tmp_path / "tickets.yml").write_text(text)
    with pytest.raises(DataError, match=message):
        load_tickets(tmp_path / "tickets.yml")


def test_unanswerable_questions_have_kinds_in_every_part():
    for part in knowledge.PARTS:
        kinds = {q.kind for q in knowledge.load_questions(part, answerable=False)}
        assert {"near", "other", "world", "nonsense", "foreign"} <= kinds
