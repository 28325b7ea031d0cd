"""The question's side of the first search: its loss against the index's own scores, its vectors, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from agentlab import assets, biencoder, knowledge
from agentlab.finetune import TrainingError
from agentlab.knowledge import HybridIndex, Question

ARTICLES = [a for a in knowledge.load_articles() if a.id in ("return-window", "tv-size", "kettle-descaling")]
TINY = replace(biencoder.QUICK, training=replace(biencoder.QUICK.training, batch_size=4))


@pytest.fixture(scope="module")
def index():
    return HybridIndex(ARTICLES, [t for t in knowledge.load_tickets() if t.article == "tv-size"])


def reader():
    from agentlab import heads

    return biencoder.QuestionReader(heads.new_reader(biencoder.HEADS), assets.load_encoder()[1])


def test_before_training_it_reads_as_the_courses_encoder():
    texts = ["which size of tv", "flakes in my tea", "a much longer question about how long I may keep something"]
    assert np.allclose(reader()(texts), assets.embed(texts), atol=1e-4)
    assert reader()([]).shape == (0, 384)


def test_scores_by_torch_and_by_numpy_agree(index):
    texts = ["which size of tv", "flakes in my tea"]
    by_torch = index.torch_scores(torch.tensor(assets.embed(texts))).numpy() + index.word_scores(texts)
    assert np.allclose(by_torch, index.scores(texts), atol=1e-4)


def test_an_index_reads_questions_as_it_is_told(index):
    turned = HybridIndex(index.articles, index.tickets, lambda texts: -assets.embed(texts))
    texts = ["which size of tv"]
    near, far = index.scores(texts), turned.scores(texts)
    assert near.argmax() != far.argmax() or near.max() > far.max()


def test_the_loss_is_cross_entropy_over_articles_and_nothing(index):
    asked = ["which size of tv", "who was Napoleon"]
    place = [a.id for a in ARTICLES].index("tv-size")
    items = biencoder.encode(asked, [place, len(ARTICLES)], assets.load_encoder()[1], TINY.max_tokens)
    words = {tuple(i.ids): w for i, w in zip(items, index.word_scores(asked), strict=True)}
    training = biencoder.QuestionTraining(index, TINY, words, reader().reader, items, (), TINY.training)
    training.prepare()
    training.reader.eval().float()
    logits = torch.tensor(TINY.scale * (index.scores(asked) - TINY.middle))
    logits = torch.cat([logits, torch.zeros(2, 1)], 1)
    expected = float(F.cross_entropy(logits, torch.tensor([place, len(ARTICLES)])))
    assert training.part_loss(items, 2, True).item() == pytest.approx(expected, rel=1e-3)


def test_questions_move_towards_their_article_and_others_away(index):
    """Invented words that mean nothing yet: after training each finds its article, and the word for nothing finds none."""
    words = {"zorple": "return-window", "blickum": "tv-size", "frundel": "kettle-descaling", "quaxit": ""}
    learn = [Question(f"{w} {n}", article, "train") for n in range(6) for w, article in words.items()]
    recipe = replace(TINY, training=replace(TINY.training, epochs=8, learning_rate=5e-4, freeze=2))
    read, history = biencoder.train(index, learn, recipe, bar=False)
    assert history.epochs[-1]["train_loss"] < 0.5 * history.epochs[0]["train_loss"]
    scores = HybridIndex(index.articles, index.tickets, read).scores([f"{w} please" for w in words])
    assert [ARTICLES[n].id for n in scores[:3].argmax(1)] == list(words.values())[:3]
    assert scores[3].max() < scores[:3].max(1).min(), "what no article answers is near none"


def test_it_comes_back_as_it_was_saved(tmp_path):
    one = reader()
    biencoder.save(one, tmp_path / "questions.safetensors")
    again = biencoder.load(tmp_path / "questions.safetensors")
    assert np.allclose(again(["which tv"]), one(["which tv"]), atol=0.02), "bfloat16 rounds"
    (tmp_path / "questions.safetensors").write_bytes(b"no weights")
    with pytest.raises(TrainingError, match="cannot be read"):
        biencoder.load(tmp_path / "questions.safetensors")


def test_nothing_to_train_on_is_said(index):
    with pytest.raises(TrainingError, match="the list of questions is empty"):
        biencoder.train(index, [], TINY, bar=False)
