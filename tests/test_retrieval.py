"""Search by words and meaning, against libraries; indexes that change, are saved, and meet bad input; neighbours by the million."""

import json

import numpy as np
import pytest

from agentlab import neighbours
from agentlab.errors import AgentLabError, DataError, UnknownName
from agentlab.retrieval import (
    BM25,
    LONGEST_QUERY,
    Document,
    Index,
    QueryError,
    best_first,
    check_query,
    cosine,
    mean_reciprocal_rank,
    ranks_of,
    read_documents,
    recall,
    reciprocal_rank_fusion,
)

TEXTS = [
    "the red kettle boils water and the red light goes out",
    "a blue kettle",
    "invoices come by e-mail when the parcel is sent",
    "parcel parcel parcel late",
    "how to descale a kettle with citric acid, slowly, and rinse it twice",
]
DOCUMENTS = [Document(str(n), text) for n, text in enumerate(TEXTS)]


def letters(texts):
    """A stand-in for the encoder: how often each letter comes, so that equal texts have equal vectors."""
    return np.array([[t.lower().count(chr(97 + n)) for n in range(26)] for t in texts], dtype=np.float32)


@pytest.fixture
def index():
    return Index(DOCUMENTS, letters)


# --- words ---


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4), (2.0, 1.0)])
def test_bm25_gives_what_bm25s_gives(k1, b):
    bm25s = pytest.importorskip("bm25s")
    cut = [t.split() for t in TEXTS]
    library = bm25s.BM25(method="lucene", k1=k1, b=b)
    library.index(cut, show_progress=False)
    queries = ["red kettle", "parcel late parcel", "the kettle and the acid"]
    ours = BM25(TEXTS, k1, b, tokenize=str.split).scores(queries)
    theirs = np.stack([library.get_scores(q.split()) for q in queries]) * (
        k1 + 1
    )  # the library leaves the constant out
    assert np.allclose(ours, theirs, atol=1e-5)
    assert ours.max() > 1


def test_words_that_no_text_has_count_nothing():
    assert BM25(TEXTS).scores(["zebra", ""]).tolist() == [[0.0] * 5] * 2
    assert BM25([]).scores(["kettle"]).shape == (1, 0)
    assert BM25(["", "..."]).scores(["kettle"]).tolist() == [[0.0, 0.0]]


def test_a_word_that_every_text_has_never_counts_against_one():
    assert (BM25(["a kettle", "a parcel"]).scores(["a"]) > 0).all()


# --- meaning and both ---


def test_cosine_gives_what_sklearn_gives():
    from sklearn.metrics.pairwise import cosine_similarity

    rng = np.random.default_rng(0)
    queries, vectors = rng.normal(size=(3, 7)), rng.normal(size=(9, 7))
    vectors[4] = 0
    assert np.allclose(cosine(queries, vectors), cosine_similarity(queries, vectors))


def test_best_first_keeps_equal_scores_in_order():
    assert best_first(np.array([[1.0, 3.0, 1.0, 3.0]])).tolist() == [[1, 3, 0, 2]]
    assert best_first(np.array([2.0, 5.0]), 1).tolist() == [1]


def test_fusion_by_hand():
    words, meaning = np.array([[0.9, 0.1, 0.5]]), np.array([[1.0, 80.0, 70.0]])
    expected = [1 / 61 + 1 / 63, 1 / 63 + 1 / 61, 1 / 62 + 1 / 62]
    assert np.allclose(reciprocal_rank_fusion([words, meaning])[0], expected)
    assert np.allclose(reciprocal_rank_fusion([1000 * words, meaning]), reciprocal_rank_fusion([words, meaning]))


# --- an index that changes ---


def test_what_was_added_is_found_and_what_was_removed_is_not(index):
    assert index.search("citric acid", 1, "words")[0].document.id == "4"
    index.remove(["4"])
    assert all(hit.document.id != "4" for method in ("words", "meaning", "both") for hit in index.search("citric acid", 9, method))  # fmt: skip
    index.add([Document("new", "citric acid from lemons")])
    assert index.search("citric acid", 1, "both")[0].document.id == "new"
    assert len(index) == 5


def test_a_document_that_is_replaced_gets_a_new_vector(index):
    index.vectors()
    index.add([Document("1", "zzzz")])
    assert index.search("zz", 1, "meaning")[0].document.text == "zzzz"
    assert len(index) == 5


def test_only_new_texts_are_embedded():
    asked = []
    index = Index(DOCUMENTS[:2], lambda texts: asked.extend(texts) or letters(texts))
    index.vectors()
    index.add(DOCUMENTS)
    index.vectors()
    assert asked == TEXTS


def test_scores_come_best_first_and_equal_for_all_methods(index):
    for method in ("words", "meaning", "both"):
        found = index.search("the red kettle", 5, method)
        assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
        assert len(index.search("kettle", 99, method)) == 5


def test_an_index_comes_back_from_disk_as_it_was(index, tmp_path):
    index.save(tmp_path)
    again = Index.load(tmp_path, lambda texts: pytest.fail("embedded again") if len(texts) > 1 else letters(texts))
    assert again.documents == index.documents
    assert np.allclose(again.scores(["red parcel"], "both"), index.scores(["red parcel"], "both"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["documents.jsonl", "vectors.npy"]
    Index([], letters).save(tmp_path)
    assert len(Index.load(tmp_path)) == 0


# --- bad input ---


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "The query holds no word."),
        ("  ?!… ", "The query holds no word."),
        (None, "A query is a text; this is NoneType None"),
        ("x" * (LONGEST_QUERY + 1), f"The query has {LONGEST_QUERY + 1} characters; at most {LONGEST_QUERY} are searched."),
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_searched_is_refused_with_what_would_work(index, query, message):
    with pytest.raises(QueryError) as caught:
        index.search(query)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("query", ["wo ist mein paket", "我的包裹在哪里", "🙂 kettle 🙂", "x" * LONGEST_QUERY])
def test_a_strange_query_is_searched_without_an_error(index, query):
    assert len(index.search(query, 2)) == 2
    assert check_query(query) == query


def test_an_empty_index_and_unknown_names_are_sentences(index):
    with pytest.raises(AgentLabError, match=r"The index is empty\. Add documents before you search"):
        Index().search("kettle")
    with pytest.raises(UnknownName, match="Did you mean 'words'"):
        index.search("kettle", method="word")
    with pytest.raises(UnknownName, match="Unknown document '77'"):
        index.remove(["0", "77"])
    assert "0" in index.documents, "nothing was removed"
    with pytest.raises(AgentLabError, match="Document 'x' has no text"):
        index.add([Document("y", "good"), Document("x", " ")])
    assert "y" not in index.documents, "nothing was added"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [lines[0], "{not json", *lines[2:]], r"documents\.jsonl:2: this is no JSON"),
        (lambda lines: [lines[0], "[1]", *lines[2:]], r":2: expected a table, found list"),
        (
            lambda lines: [lines[0], '{"id": "9"}', *lines[2:]],
            r":2: a document needs the texts article, id, kind, text",
        ),
        (lambda lines: [*lines[:3], lines[1], *lines[4:]], r":2: the id '0' comes 2 times"),
        (lambda lines: lines[:-1], r":1: the first line announces 5 documents, and there are 4"),
        (lambda lines: ['{"format": 9}', *lines[1:]], r":1: the format is 9; this version reads 1"),
        (lambda lines: [], r":1: this is no JSON"),
    ],
)
def test_a_malformed_line_is_named(index, tmp_path, change, message):
    index.save(tmp_path)
    path = tmp_path / "documents.jsonl"
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(DataError, match=message):
        Index.load(tmp_path, letters)


def test_missing_files_and_foreign_vectors_are_named(index, tmp_path):
    with pytest.raises(DataError, match=r"documents\.jsonl: cannot be read"):
        read_documents(tmp_path / "documents.jsonl")
    index.save(tmp_path)
    np.save(tmp_path / "vectors.npy", np.zeros((2, 3)))
    with pytest.raises(DataError, match="2 vectors for 5 documents"):
        Index.load(tmp_path)
    np.save(tmp_path / "vectors.npy", np.array([{"code": 1}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"vectors\.npy: the vectors cannot be read"):
        Index.load(tmp_path)


def test_saved_lines_are_json_with_the_texts_as_they_are(tmp_path):
    Index([Document("1", "Zürich „ja“")], letters).save(tmp_path)
    lines = (tmp_path / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[1])["text"] == "Zürich „ja“"
    assert "Zürich" in lines[1]


# --- measuring ---


def test_ranks_recall_and_mean_reciprocal_rank_by_hand():
    scores = np.array([[0.1, 0.9, 0.5], [0.3, 0.2, 0.3]])
    ranks = ranks_of(scores, [2, 2])
    assert ranks.tolist() == [2, 2], "of equal scores the first stands first"
    assert (recall(ranks, 1), recall(ranks, 2)) == (0.0, 1.0)
    assert mean_reciprocal_rank([1, 2, np.inf]) == pytest.approx(0.5)


# --- neighbours ---


def test_exact_search_finds_what_numpy_finds():
    pytest.importorskip("faiss")
    vectors, queries = neighbours.made_vectors(500, 16, 10), neighbours.made_vectors(20, 16, 10, seed=5)
    found = neighbours.build("exact", vectors).search(queries, 10)[1]
    assert neighbours.recall_of(found, best_first(queries @ vectors.T, 10)) > 0.99


def test_more_effort_finds_more_and_costs_are_measured():
    pytest.importorskip("faiss")
    vectors, queries = neighbours.made_vectors(3000, 32, 30), neighbours.made_vectors(40, 32, 30, seed=5)
    rows = list(neighbours.measure(vectors, queries))
    assert {r.kind for r in rows} == set(neighbours.KINDS)
    assert rows[0].recall_at_10 == 1.0
    for kind in ("IVF", "HNSW"):
        own = [r for r in rows if r.kind == kind]
        assert own[0].recall_at_10 <= own[-1].recall_at_10 >= 0.97
    size = {r.kind: r.bytes_per_vector for r in rows}
    assert size["IVF, 8 bits"] < size["exact"] < size["HNSW"]
    assert size["exact"] == pytest.approx(4 * 32, rel=0.02)


def test_random_answers_have_the_recall_of_chance():
    rng = np.random.default_rng(0)
    true, chance = rng.integers(0, 1000, (200, 10)), rng.integers(0, 1000, (200, 10))
    assert neighbours.recall_of(chance, true) < 0.03


def test_bad_requests_for_indexes_are_sentences():
    with pytest.raises(UnknownName, match="Did you mean 'HNSW'"):
        neighbours.build("HNSV", np.zeros((1, 2), dtype=np.float32))
    with pytest.raises(AgentLabError, match=r"shape \(N, D\) with N at least 1; got \(0, 2\)"):
        neighbours.build("exact", np.zeros((0, 2), dtype=np.float32))
    with pytest.raises(AgentLabError, match="must be at least 1; got 0"):
        neighbours.made_vectors(0)
