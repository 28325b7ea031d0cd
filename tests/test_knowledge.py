"""Help articles and the three ways to search them, compared with each other and with chance."""

import datetime as dt

import numpy as np
import pytest

from agentlab import assets
from agentlab.corpus import data_folder
from agentlab.errors import DataError, UnknownName
from agentlab.knowledge import (
    METHODS,
    PARTS,
    HelpIndex,
    Question,
    help_index,
    load_articles,
    load_questions,
    rank,
    recall_at,
)

ARTICLES = load_articles()


@pytest.fixture(scope="module")
def index():
    return help_index("fused")


# --- data ---


def test_articles_have_an_id_a_title_and_passages():
    assert len(ARTICLES) == 52
    assert len({a.id for a in ARTICLES}) == 52
    one = next(a for a in ARTICLES if a.id == "return-window")
    assert (one.title, one.category, one.updated) == (
        "How long you can return an item",
        "returns",
        dt.date(2026, 3, 12),
    )
    assert one.passages[0].startswith("You have **30 days")
    assert "\n".join(one.passages).split() == one.text.split(), "nothing is lost between passages"
    assert not any(p.startswith("- ") for a in ARTICLES for p in a.passages[1:]), "a list stays with the line before it"


def test_the_readme_says_how_many_questions_each_part_has():
    readme = (data_folder() / "README.md").read_text(encoding="utf-8")
    answered, open_ = ([len(load_questions(part, kind)) for part in PARTS] for kind in (True, False))
    assert f"| {sum(answered)} questions in customers' words" in readme
    assert "part: train ({}), development ({}) or test ({})".format(*answered) in readme
    assert (
        f"| {sum(open_)} questions that no article answers, in the same parts ({', '.join(map(str, open_))})" in readme
    )


def test_questions_ask_for_articles_that_exist_and_parts_share_none():
    ids = {a.id for a in ARTICLES}
    parts = {part: load_questions(part) for part in PARTS}
    assert all(q.article in ids for questions in parts.values() for q in questions)
    texts = [q.text for questions in parts.values() for q in questions]
    assert len(set(texts)) == len(texts) >= 300
    assert {q.article for q in load_questions("test", answerable=False)} == {""}
    with pytest.raises(UnknownName, match="Did you mean 'development'"):
        load_questions("developement")


def test_malformed_articles_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no article \(\*\.md\) was found"):
        load_articles(tmp_path)
    (tmp_path / "a.md").write_text("# No front matter\n")
    with pytest.raises(DataError, match=r"a\.md:1: the front matter between two lines of --- is missing"):
        load_articles(tmp_path)
    (tmp_path / "a.md").write_text("---\nid: a\n---\nText.\n")
    with pytest.raises(DataError, match="It needs id, title, category, updated"):
        load_articles(tmp_path)


# --- searching ---


@pytest.mark.parametrize("method", METHODS)
def test_a_question_with_an_articles_own_title_finds_it(index, method):
    best = index.scores([a.title for a in ARTICLES], method).argmax(1)
    assert sum(best == np.arange(len(ARTICLES))) >= 50


def test_hits_come_best_first_with_a_passage_of_the_article(index):
    for method in METHODS:
        hits = index.search("Can I still cancel my order?", 7, method)
        assert len(hits) == 7
        assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
        assert all(h.passage in h.article.passages for h in hits)
    with pytest.raises(UnknownName, match="Available: encoder, fused, tfidf"):
        index.search("x", method="bm25")


def test_search_and_scores_agree(index):
    for method in METHODS:
        best = index.scores(["my parcel is late"], method)[0].argmax()
        assert index.search("my parcel is late", 1, method)[0].article == ARTICLES[best]


def test_meaning_and_words_together_find_more_than_either(index):
    questions = [q for part in PARTS for q in load_questions(part)]
    found = {method: recall_at(5, index, questions, method) for method in METHODS}
    print({method: round(share, 3) for method, share in found.items()})
    assert 0.60 <= found["tfidf"] <= 0.80
    assert found["encoder"] > found["tfidf"] + 0.05
    assert found["fused"] >= max(found["encoder"], 0.90)
    test = load_questions("test")
    assert recall_at(1, index, test) > 0.6


def test_recall_of_a_shuffled_key_is_chance(index):
    questions = load_questions("test")
    moved = [Question(q.text, questions[(n + 41) % len(questions)].article, q.part) for n, q in enumerate(questions)]
    assert recall_at(5, index, moved, "tfidf") < 0.25


def test_recall_counts_by_hand():
    index = HelpIndex(ARTICLES, "tfidf")
    index.scores = lambda texts, method=None: np.eye(3, len(ARTICLES))
    ids = [a.id for a in ARTICLES]
    questions = [Question("a", ids[0], "test"), Question("b", ids[1], "test"), Question("c", ids[0], "test")]
    assert recall_at(1, index, questions) == pytest.approx(2 / 3)
    assert recall_at(2, index, questions) == 1.0


def test_texts_are_ranked_by_shared_words():
    assert rank("red kettles", ["a blue toaster", "one red kettle", "kettle"], 3) == [1, 2]
    assert rank("zzz", ["a"], 3) == []
    assert rank("a", [], 3) == []


def test_vectors_are_made_once_for_the_same_texts(private_cache, monkeypatch):
    few = ARTICLES[:2]
    first = HelpIndex(few, "encoder").scores(["when is it delivered"])
    asked = []
    monkeypatch.setattr(assets, "embed", lambda texts: asked.append(list(texts)) or np.zeros((len(texts), 384)))
    again = HelpIndex(few, "encoder")
    assert again._vectors.shape[1] == 384
    assert asked == []
    assert np.allclose(HelpIndex(few, "encoder").scores(["when is it delivered"]), first)


def test_a_words_index_needs_no_model(monkeypatch):
    monkeypatch.setattr(assets, "load_encoder", lambda *_: pytest.fail("the encoder was loaded"))
    assert HelpIndex(ARTICLES, "tfidf").search("gift card balance")[0].article.id == "gift-cards"
