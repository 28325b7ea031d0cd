"""The cross-encoder: its groups, its loss against torch's own, its scores, and that it learns what it is shown."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from agentlab import assets, finetune, heads, knowledge, rerank
from agentlab.finetune import TrainingError
from agentlab.knowledge import Article, HybridIndex, Question, Ticket
from agentlab.rerank import HEADS, NOTHING, Group

ARTICLES = [
    a for a in knowledge.load_articles() if a.id in ("return-window", "tv-size", "kettle-descaling", "invoices")
]
TINY = replace(rerank.QUICK, candidates=3, pool=4, negatives=2, max_tokens=32, training=replace(rerank.QUICK.training, batch_size=4))  # fmt: skip


@pytest.fixture(scope="module")
def index():
    return HybridIndex(ARTICLES, [t for t in knowledge.load_tickets() if t.article == "tv-size"])


@pytest.fixture(scope="module")
def tokenizer():
    return assets.load_encoder()[1]


@pytest.fixture(scope="module")
def ranker(index, tokenizer):
    return rerank.Reranker(heads.new_reader(HEADS), tokenizer, index, TINY)


# --- groups ---


def test_hard_negatives_come_from_the_pool_and_are_never_right():
    scores = np.array([0.9, 0.1, 0.8, 0.7, 0.6])
    for seed in range(20):
        drawn = rerank.hard_negatives(scores, 2, 2, 4, random.Random(seed))
        assert len(drawn) == 2
        assert set(drawn) <= {0, 3, 4}
    assert rerank.hard_negatives(scores, NOTHING, 9, 3, random.Random(0)) == [0, 2, 3]


def test_a_pair_holds_the_question_the_title_and_the_nearest_passage(index, tokenizer):
    place = [a.id for a in ARTICLES].index("return-window")
    (group,) = rerank.make_groups(["may I bring it back at Christmas"], [[place]], [place], index, tokenizer, replace(TINY, max_tokens=80))  # fmt: skip
    read = tokenizer.decode(group.pairs[0])
    assert read.startswith("[CLS] may i bring it back at christmas [SEP] how long you can return an item")
    assert "do not extend it at christmas" in read


def test_the_right_place_is_that_of_the_article_or_of_nothing(index, tokenizer):
    groups = rerank.make_groups(["a", "b"], [[3, 1], [0, 2]], [1, NOTHING], index, tokenizer, TINY)
    assert [g.right for g in groups] == [1, 2]
    assert rerank.make_groups([], [], [], index, tokenizer, TINY) == []


def test_a_very_long_question_leaves_room_for_the_passage(index, tokenizer):
    (group,) = rerank.make_groups(["parcel " * 400], [[0, 1]], [0], index, tokenizer, TINY)
    assert all(len(pair) <= TINY.max_tokens for pair in group.pairs)
    assert tokenizer.decode(group.pairs[0]).split("[SEP]")[1].strip()
    assert group.pairs[0] != group.pairs[1], "something of the page is read"


def test_tickets_lead_to_their_article():
    one, other = Article("a", "Alpha", "x", None, "About nothing."), Article("b", "Beta", "x", None, "About nothing.")
    solved = [Ticket("my zeppelin leaks", "We patched it.", "b")]
    assert HybridIndex([one, other], solved).scores(["zeppelin leaks"])[0].argmax() == 1
    assert np.isclose(*HybridIndex([one, other]).words.scores(["zeppelin"])[0])


# --- loss ---


def test_the_loss_is_cross_entropy_with_one_more_choice(index, tokenizer):
    torch.manual_seed(0)
    reader = heads.new_reader(HEADS).eval()
    groups = rerank.make_groups(["how big a tv", "who are you"], [[0, 1, 2], [1, 2]], [1, NOTHING], index, tokenizer, TINY)  # fmt: skip
    training = rerank.GroupTraining(TINY, reader, groups, (), TINY.training)
    training.prepare()
    reader.eval().float()
    ours = training.part_loss(groups, 2, True).item()
    expected = 0.0
    for g in groups:
        z = torch.stack([reader(torch.tensor([p]), torch.ones(1, len(p), dtype=torch.long))["intents"][0, 0] for p in g.pairs])  # fmt: skip
        z = torch.cat([z + TINY.scale * (torch.tensor(g.first) - TINY.middle), torch.zeros(1)])
        expected += F.cross_entropy(z[None], torch.tensor([g.right])).item() / 2
    assert ours == pytest.approx(expected, rel=1e-3)
    assert training.part_loss(groups, 2, False).item() == 0.0


def test_it_learns_what_it_is_shown(index, tokenizer):
    """Twelve questions with one article each: after some epochs it has them all, and before it had not."""
    questions = [Question(f"strange word {w}", ARTICLES[n % 4].id, "train") for n, w in enumerate(("zorp blick frum quil dax mip".split()) * 2)]  # fmt: skip
    recipe = replace(TINY, negatives=3, scale=0.0, training=replace(TINY.training, epochs=12, learning_rate=1e-3, freeze=3))  # fmt: skip
    questions = [Question(q.text, ARTICLES["zorp blick frum quil dax mip".split().index(q.text.split()[-1]) % 4].id, "train") for q in questions]  # fmt: skip
    ranker, history = rerank.train(index, recipe, questions, bar=False)
    assert history.epochs[-1]["train_loss"] < 0.6 * history.epochs[0]["train_loss"]
    best = [ARTICLES[n].id for n in ranker.scores([q.text for q in questions]).argmax(1)]
    assert sum(b == q.article for b, q in zip(best, questions, strict=True)) >= 9


def test_nothing_to_train_on_is_said(index):
    with pytest.raises(TrainingError, match="the list of questions is empty"):
        rerank.train(index, TINY, [], bar=False)


# --- in use ---


def test_every_article_has_a_score_and_candidates_stand_above_the_rest(ranker, index):
    questions = ["which size of tv", "🙂", "x" * 1900]
    scores, first = ranker.scores(questions), index.scores(questions)
    assert scores.shape == (3, 4)
    assert np.isfinite(scores).all()
    for n in range(3):
        last = first[n].argmin()
        assert scores[n].argmin() == last, "the one that was no candidate stays below all candidates"
    assert ranker.scores([]).shape == (0, 4)


def test_scores_do_not_depend_on_what_else_is_asked(ranker):
    together = ranker.scores(["which size of tv", "lime in my kettle and much more of a story about it"])
    alone = ranker.scores(["which size of tv"])
    assert np.allclose(together[0], alone[0], atol=1e-3)


def test_the_passage_belongs_to_the_article(ranker):
    for n, article in enumerate(ARTICLES):
        assert ranker.best_passage("how long", n) in article.passages


def test_weights_come_back_as_they_were_saved(ranker, tmp_path):
    heads.save(ranker.reader, HEADS, tmp_path / "reader.safetensors")
    reader, read, _ = heads.load(tmp_path / "reader.safetensors")
    assert read == HEADS
    again = rerank.Reranker(reader, ranker.tokenizer, ranker.index, TINY)
    assert np.allclose(again.scores(["which tv"]), ranker.scores(["which tv"]), atol=0.1), "bfloat16 rounds"


def test_the_fingerprint_changes_with_recipe_and_data(monkeypatch):
    one = rerank.fingerprint(TINY)
    assert one == rerank.fingerprint(TINY) != rerank.fingerprint(replace(TINY, negatives=1))
    assert one != rerank.fingerprint(TINY, ["more"])
    monkeypatch.setattr(knowledge, "load_tickets", lambda: [Ticket("q", "r", "tv-size")])
    assert one != rerank.fingerprint(TINY)


def test_a_group_is_as_long_as_what_is_read_of_it():
    assert len(Group([], [], finetune.IGNORE, ((1, 2, 3), (4,)), (0.5, 0.1), 0)) == 4


def test_it_never_learns_from_a_development_or_test_question():
    learned = {q.text for q in rerank.learning_questions()}
    for part in ("development", "test"):
        for answerable in (True, False):
            assert not learned & {q.text for q in knowledge.load_questions(part, answerable)}
