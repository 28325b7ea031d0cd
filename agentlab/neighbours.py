"""Nearest neighbours among very many vectors: exact search against approximate indexes of FAISS, measured.

What an index costs and gives: seconds to build, bytes a vector, milliseconds a query, and its recall: which share of the true
ten nearest it finds. ``benchmarks/retrieval.py`` runs this at a million vectors, lab 07 at fewer.

FAISS is imported when it is needed. Where torch is loaded too, both bring an OpenMP runtime; the wheels of the lock share one
process without trouble on Linux.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from agentlab.errors import AgentLabError, UnknownName

KINDS = {
    "exact": "every vector is compared",
    "IVF": "cells by k-means; the cells nearest to the query are searched",
    "IVF, 8 bits": "the same, each number in one byte",
    "HNSW": "a graph of neighbours in layers, walked from far to near",
}
EFFORTS = {"exact": (0,), "IVF": (1, 4, 16, 64), "IVF, 8 bits": (1, 4, 16, 64), "HNSW": (16, 32, 64, 128, 256)}
NEIGHBOURS = 32  # of a vector in the graph
DIRECTIONS = 24  # in which made vectors of one topic differ
CONSTRUCTION = 80  # how many candidates are looked at when a vector is added to the graph


@dataclass(frozen=True)
class Cost:
    """One index at one effort (cells searched, or candidates kept), on some number of vectors."""

    kind: str
    effort: int
    vectors: int
    build_seconds: float
    bytes_per_vector: float
    milliseconds: float
    recall_at_10: float

    def as_dict(self) -> dict:
        return asdict(self)


def made_vectors(number: int, dimensions: int = 128, topics: int = 1000, seed: int = 0) -> np.ndarray:
    """Vectors of length one around random topics, as embeddings of texts lie: (number, dimensions), float32.

    Around its topic a vector differs mostly in `DIRECTIONS` directions, the same for all. Without such order all distances would
    be nearly equal, which no real collection shows and no index can use. Topics do not depend on the seed, so that queries
    drawn with another one lie among the vectors.

    >>> made_vectors(3, 8).shape
    (3, 8)
    """
    if number < 1 or dimensions < 1 or topics < 1:
        raise AgentLabError(f"number, dimensions and topics must be at least 1; got {number}, {dimensions}, {topics}.")
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed + 1)
    centres = fixed.standard_normal((topics, dimensions), dtype=np.float32)
    spread = fixed.standard_normal((DIRECTIONS, dimensions), dtype=np.float32) / DIRECTIONS**0.5
    vectors = np.empty((number, dimensions), dtype=np.float32)
    for start in range(0, number, 100_000):
        part = vectors[start : start + 100_000]
        part[:] = centres[rng.integers(0, topics, len(part))]
        part += rng.standard_normal((len(part), DIRECTIONS), dtype=np.float32) @ spread
        part += 0.2 * rng.standard_normal(part.shape, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def build(kind: str, vectors: np.ndarray, seed: int = 0):
    """A FAISS index over vectors of length one, by inner product; raises `UnknownName` for another kind."""
    import faiss

    if kind not in KINDS:
        raise UnknownName("kind of index", kind, KINDS)
    if vectors.ndim != 2 or not len(vectors):
        raise AgentLabError(f"An index needs vectors of shape (N, D) with N at least 1; got {vectors.shape}.")
    number, width = vectors.shape
    if kind == "exact":
        index = faiss.IndexFlatIP(width)
    elif kind == "HNSW":
        index = faiss.IndexHNSWFlat(width, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = CONSTRUCTION
    else:
        cells = max(1, min(4096, round(2 * number**0.5), number // 40))
        index = faiss.index_factory(width, f"IVF{cells},{'Flat' if kind == 'IVF' else 'SQ8'}", faiss.METRIC_INNER_PRODUCT)  # fmt: skip
        index.cp.niter, index.cp.seed = 10, 1234 + seed
        sample = np.random.default_rng(seed).choice(number, min(number, 60 * cells), replace=False)
        index.train(vectors[np.sort(sample)])
    index.add(vectors)
    return index


def set_effort(index, kind: str, effort: int) -> None:
    """How hard an index looks: cells of an IVF, candidates of a graph; nothing for the exact one."""
    if kind == "HNSW":
        index.hnsw.efSearch = effort
    elif kind != "exact":
        index.nprobe = effort


def recall_of(found: np.ndarray, true: np.ndarray) -> float:
    """The share of the true neighbours that were found; both (queries, k).

    >>> recall_of(np.array([[1, 2], [3, 4]]), np.array([[2, 1], [3, 9]]))
    0.75
    """
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), true.tolist(), strict=True)]))


def measure(
    vectors: np.ndarray, queries: np.ndarray, kinds: Sequence[str] = tuple(KINDS), top: int = 10, seed: int = 0
) -> Iterator[Cost]:
    """Build each kind of index and ask it each query by itself, as an agent does; a `Cost` for each effort.

    The exact index comes first and says what is true. Queries run on one thread, since many come at once; building uses all.
    """
    import faiss

    threads, true = faiss.omp_get_max_threads(), None
    for kind in ["exact", *(k for k in kinds if k != "exact")]:
        began = time.perf_counter()
        index = build(kind, vectors, seed)
        built = time.perf_counter() - began
        size = _bytes_on_disk(index) / len(vectors)
        faiss.omp_set_num_threads(1)
        for effort in EFFORTS[kind]:
            set_effort(index, kind, effort)
            index.search(queries[:1], top)
            times, found = [], np.empty((len(queries), top), dtype=np.int64)
            for n in range(len(queries)):
                began = time.perf_counter()
                found[n] = index.search(queries[n : n + 1], top)[1][0]
                times.append(time.perf_counter() - began)
            true = found if true is None else true
            yield Cost(kind, effort, len(vectors), built, size, 1000 * float(np.median(times)), recall_of(found, true))
        faiss.omp_set_num_threads(threads)
        del index


def _bytes_on_disk(index) -> int:
    import faiss

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        faiss.write_index(index, str(path))
        return os.path.getsize(path)
