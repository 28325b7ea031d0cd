"""Search in texts that come and go: by words (BM25), by meaning (cosine), and by both at once.

``Index`` holds documents that can be added and removed while it is in use, and be saved to a folder and loaded again. Its
search is exact: a product of matrices, ``benchmarks/retrieval.py`` measures what a library of approximate neighbours (FAISS) does at a million.

Not covered: an index that is larger than memory, or spread over several machines.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np

from agentlab.errors import AgentLabError, DataError, UnknownName

METHODS = ("words", "meaning", "both")
K1, B = 1.5, 0.75  # the customary values
RRF_K = 60  # as in the paper
LONGEST_QUERY = 2_000  # characters
FORMAT = 1  # of a saved index


class QueryError(AgentLabError):
    """A query that cannot be searched for: empty, without a word, or far too long."""


@dataclass(frozen=True)
class Document:
    """A text that can be found; ``article`` names the help article that it belongs to, ``kind`` what it is."""

    id: str
    text: str
    article: str = ""
    kind: str = "help"


@dataclass(frozen=True)
class Found:
    """A document that was found, with its score; higher is better."""

    document: Document
    score: float


def check_query(text: str) -> str:
    """The query without spaces around it; `QueryError` says what is wrong with one that cannot be searched for.

    >>> check_query("  where is my parcel ")
    'where is my parcel'
    """
    if not isinstance(text, str):
        raise QueryError(f"A query is a text; this is {type(text).__name__} {text!r:.40}.")
    text = text.strip()
    if not re.search(r"\w", text):
        raise QueryError("The query holds no word. Ask a question, such as: how long can I return something?")
    if len(text) > LONGEST_QUERY:
        raise QueryError(f"The query has {len(text)} characters; at most {LONGEST_QUERY} are searched. Shorten it to the question.")  # fmt: skip
    return text


# --- by words ------------------------------------------------------------------------------------------------


def tokens(text: str) -> list[str]:
    """The stems of a text's words, in order.

    >>> tokens("Returning my parcels")
    ['return', 'my', 'parcel']
    """
    return [stem(word) for word in re.findall(r"\w+", text.lower())]


class BM25:
    """Texts ranked by the words that they share with a query: rare words count more, repetitions ever less, long texts less.

    For a word in ``n`` of ``N`` texts, ``f`` times in a text of ``l`` words (``m`` on average), the score grows by
    ``log(1 + (N - n + 0.5) / (n + 0.5)) * f * (k1 + 1) / (f + k1 * (1 - b + b * l / m))``. Source: Robertson and Zaragoza
    2009, "The Probabilistic Relevance Framework: BM25 and Beyond"; the logarithm as in Lucene, so that it is never negative.

    >>> BM25(["the red kettle", "the blue kettle", "a toaster"]).scores(["red kettle"]).round(2).tolist()
    [[1.37, 0.44, 0.0]]
    """

    def __init__(
        self, texts: Sequence[str], k1: float = K1, b: float = B, tokenize: Callable[[str], list[str]] = tokens
    ):
        from scipy.sparse import csr_matrix

        self.tokenize = tokenize
        cut = [tokenize(text) for text in texts]
        self.vocabulary = {word: n for n, word in enumerate(sorted({w for words in cut for w in words}))}
        lengths = np.array([len(words) for words in cut], dtype=float)
        mean = lengths.mean() if lengths.size and lengths.any() else 1.0
        rows, columns, counts = [], [], []
        for row, words in enumerate(cut):
            for word, count in Counter(words).items():
                rows.append(row)
                columns.append(self.vocabulary[word])
                counts.append(count)
        f, row, column = np.array(counts, dtype=float), np.array(rows, dtype=int), np.array(columns, dtype=int)
        n = np.bincount(column, minlength=len(self.vocabulary))  # (V,)
        idf = np.log1p((len(cut) - n + 0.5) / (n + 0.5))
        weight = idf[column] * f * (k1 + 1) / (f + k1 * (1 - b + b * lengths[row] / mean))
        self._weights = csr_matrix((weight, (row, column)), shape=(len(cut), len(self.vocabulary)))

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        """The score of each text for each query, (queries, texts); a word that comes twice in a query counts twice."""
        asked = np.zeros((len(queries), len(self.vocabulary)))  # (Q, V)
        for row, query in enumerate(queries):
            for word in self.tokenize(query):
                if word in self.vocabulary:
                    asked[row, self.vocabulary[word]] += 1
        return (self._weights @ asked.T).T  # (Q, N)


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """The stem of a lower-case word, by the Snowball stemmer.

    >>> stem("returning")
    'return'
    """
    return _stemmer().stem(word)


@lru_cache(maxsize=1)
def _stemmer():
    from agentlab.assets import load_nltk

    return load_nltk().stem.SnowballStemmer("english")


# --- by meaning, and both ------------------------------------------------------------------------------------


def cosine(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The cosine of each query with each vector: (Q, D) and (N, D) to (Q, N); a vector of zeros is near nothing.

    >>> cosine(np.array([[2.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])).tolist()
    [[1.0, 0.0, -1.0]]
    """

    def unit(x: np.ndarray) -> np.ndarray:
        lengths = np.linalg.norm(x, axis=1, keepdims=True)
        return x / np.where(lengths == 0, 1, lengths)

    return unit(np.asarray(queries)) @ unit(np.asarray(vectors)).T


def best_first(scores: np.ndarray, top: int | None = None) -> np.ndarray:
    """The places of the highest scores, the best first; equal scores in their order. (..., N) to (..., top)."""
    return (-np.asarray(scores)).argsort(axis=-1, kind="stable")[..., :top]


def reciprocal_rank_fusion(scores: Sequence[np.ndarray], k: int = RRF_K) -> np.ndarray:
    """Several scores of the same items joined by their ranks alone: the sum of 1 / (k + rank), with ranks from 1.

    Each of ``scores`` has shape (Q, N), and so has the result. Source: Cormack, Clarke and Buettcher 2009.

    >>> reciprocal_rank_fusion([np.array([[9.0, 5.0]]), np.array([[0.2, 0.1]])], k=1).round(3).tolist()
    [[1.0, 0.667]]
    """
    joined = np.zeros(np.shape(scores[0]))
    for one in scores:
        joined += 1 / (k + _ranks(np.asarray(one)))
    return joined


def _ranks(scores: np.ndarray) -> np.ndarray:
    """The rank of each item in its row, from 1; equal scores in their order."""
    order = best_first(scores)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, order.shape[-1] + 1)[None].repeat(len(order), 0), axis=-1)
    return ranks


# --- an index ------------------------------------------------------------------------------------------------


def embed_texts(texts: Sequence[str]) -> np.ndarray:
    """Vectors (N, D) of texts by the course's encoder."""
    from agentlab.assets import embed

    return embed(list(texts))


class Index:
    """Documents that can be searched; ``embed`` turns texts into vectors (N, D).

    >>> index = Index([Document("1", "Kettles are descaled with citric acid."), Document("2", "Invoices come by e-mail.")])
    >>> index.search("descale my kettle", method="words")[0].document.id
    '1'
    """

    def __init__(self, documents: Iterable[Document] = (), embed: Callable[[Sequence[str]], np.ndarray] = embed_texts):
        self.embed = embed
        self.documents: dict[str, Document] = {}
        self._vectors: dict[str, np.ndarray] = {}  # filled when they are first needed
        self._words: BM25 | None = None
        self.add(documents)

    def __len__(self) -> int:
        return len(self.documents)

    def add(self, documents: Iterable[Document]) -> None:
        """Add documents, or replace those whose id is there; raises `AgentLabError` for one without text."""
        documents = list(documents)
        for document in documents:
            if not document.text.strip():
                raise AgentLabError(f"Document {document.id!r} has no text, so nothing could find it.")
        for document in documents:
            if self.documents.get(document.id) != document:
                self._vectors.pop(document.id, None)
            self.documents[document.id] = document
        self._words = None

    def remove(self, ids: Iterable[str]) -> None:
        """Remove documents; raises `UnknownName` for an id that is not there, and then removes none."""
        ids = list(ids)
        for id in ids:
            if id not in self.documents:
                raise UnknownName("document", id, self.documents)
        for id in ids:
            del self.documents[id]
            self._vectors.pop(id, None)
        self._words = None

    def scores(self, queries: Sequence[str], method: str = "both") -> np.ndarray:
        """The score of each document, in the order they were added, for each query: (queries, documents)."""
        if method not in METHODS:
            raise UnknownName("method", method, METHODS)
        if not self.documents:
            raise AgentLabError("The index is empty. Add documents before you search.")
        if method == "words":
            return self._by_words().scores(queries)
        if method == "meaning":
            return cosine(self.embed(list(queries)), self.vectors())
        return reciprocal_rank_fusion([self.scores(queries, "words"), self.scores(queries, "meaning")])

    def search(self, query: str, top: int = 5, method: str = "both") -> list[Found]:
        """The documents that fit a query best, the best first; `QueryError` for a query that cannot be searched for."""
        scores = self.scores([check_query(query)], method)[0]
        kept = list(self.documents.values())
        return [Found(kept[n], float(scores[n])) for n in best_first(scores, top)]

    def vectors(self) -> np.ndarray:
        """The documents' vectors, (documents, D), in their order."""
        new = [d for d in self.documents.values() if d.id not in self._vectors]
        if new:
            self._vectors |= zip([d.id for d in new], self.embed([d.text for d in new]), strict=True)
        return np.stack([self._vectors[id] for id in self.documents])

    def _by_words(self) -> BM25:
        if self._words is None:
            self._words = BM25([d.text for d in self.documents.values()])
        return self._words

    # --- on disk ---

    def save(self, folder: str | Path) -> None:
        """Write ``documents.jsonl``, a document a line, and ``vectors.npy``; each under another name first."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"format": FORMAT, "documents": len(self)})]
        lines += [json.dumps(asdict(d), ensure_ascii=False) for d in self.documents.values()]
        half = folder / f".documents.{os.getpid()}"
        half.write_text("\n".join(lines) + "\n", encoding="utf-8")
        half_vectors = folder / f".vectors.{os.getpid()}.npy"
        np.save(half_vectors, self.vectors() if self.documents else np.zeros((0, 0), dtype=np.float32))
        os.replace(half_vectors, folder / "vectors.npy")
        os.replace(half, folder / "documents.jsonl")

    @classmethod
    def load(cls, folder: str | Path, embed: Callable[[Sequence[str]], np.ndarray] = embed_texts) -> Index:
        """What `save` wrote; raises `DataError` with file and line for a line that is malformed."""
        path = Path(folder) / "documents.jsonl"
        documents = read_documents(path)
        try:
            vectors = np.load(path.with_name("vectors.npy"), allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"the vectors cannot be read ({error}).", path.with_name("vectors.npy"), cure="Save the index again.") from None  # fmt: skip
        if len(vectors) != len(documents):
            raise DataError(f"{len(vectors)} vectors for {len(documents)} documents.", path.with_name("vectors.npy"), cure="Save the index again.")  # fmt: skip
        index = cls(documents, embed)
        index._vectors = dict(zip(index.documents, vectors, strict=True))
        return index


def read_documents(path: str | Path) -> list[Document]:
    """The documents of a file that `Index.save` wrote; `DataError` names the file and line of a mistake."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error}).", path) from None
    head = _json_line(lines[0] if lines else "", path, 1)
    if head.get("format") != FORMAT:
        raise DataError(f"the format is {head.get('format')!r}; this version reads {FORMAT}.", path, 1, "Save the index again.")  # fmt: skip
    found = [_document(line, path, n) for n, line in enumerate(lines[1:], 2)]
    if len(found) != head.get("documents"):
        raise DataError(f"the first line announces {head.get('documents')} documents, and there are {len(found)}.", path, 1)  # fmt: skip
    ids = Counter(d.id for d in found)
    for n, document in enumerate(found, 2):
        if ids[document.id] > 1:
            raise DataError(f"the id {document.id!r} comes {ids[document.id]} times.", path, n)
    return found


def _document(line: str, path: Path, number: int) -> Document:
    entry = _json_line(line, path, number)
    names = {f.name for f in fields(Document)}
    if set(entry) != names or not all(isinstance(v, str) for v in entry.values()) or not entry["text"].strip():
        raise DataError(f"a document needs the texts {', '.join(sorted(names))}; this line has {', '.join(map(str, sorted(entry))) or 'none'}.", path, number)  # fmt: skip
    return Document(**entry)


def _json_line(line: str, path: Path, number: int) -> dict:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise DataError(f"this is no JSON ({error}).", path, number) from None
    if not isinstance(entry, dict):
        raise DataError(f"expected a table, found {type(entry).__name__}.", path, number)
    return entry


# --- measuring -----------------------------------------------------------------------------------------------


def ranks_of(scores: np.ndarray, right: Sequence[int]) -> np.ndarray:
    """At which rank, from 1, each query's right item stands; scores (Q, N), right (Q,)."""
    return _ranks(scores)[np.arange(len(scores)), np.asarray(right)]


def recall(ranks: Sequence[float], k: int) -> float:
    """The share of queries whose right item is among the first k."""
    return float((np.asarray(ranks) <= k).mean())


def mean_reciprocal_rank(ranks: Sequence[float]) -> float:
    """The mean of 1 / rank; 1 where the right item always comes first. A rank may be infinite: not found at all."""
    return float((1 / np.asarray(ranks, dtype=float)).mean())
