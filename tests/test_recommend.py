"""Lab 09: the catalogue, the simulated shop, recommenders that count and that read, positions, the ranker, the shop's tool."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agentlab import behaviour, catalogue, ranker, recommend, towers
from agentlab.errors import AgentLabError, DataError
from agentlab.shop.desk import Session
from agentlab.shop.store import Store
from agentlab.shop.tools import shop_tools

SMALL = behaviour.World(customers=300)


@pytest.fixture(scope="module")
def log():
    return behaviour.simulate(world=SMALL, seed=1)


@pytest.fixture(scope="module")
def task(log):
    return recommend.make_task(log, behaviour.TRAIN_DAYS, behaviour.VALIDATION_DAYS)


@pytest.fixture(scope="module")
def untrained():
    return towers.Recommender(towers.new_towers(), catalogue.load_products())


# --- the catalogue ---


def test_there_are_at_least_four_hundred_products_with_texts_and_known_tastes():
    products, tastes = catalogue.load_products(), catalogue.load_tastes()
    assert len(products) >= 400
    assert (
        len({p.id for p in products})
        == len({p.text for p in products})
        == len({p.name for p in products})
        == len(products)
    )
    assert all(set(p.tastes) <= set(tastes) and p.price_cents > 0 for p in products)
    categories = {p.category for p in products}
    assert all(p.fits in categories for p in products if p.fits)
    assert min(sum(t in p.tastes for p in products) for t in tastes) >= 15


def test_no_text_gives_its_taste_away_as_a_label():
    products = catalogue.load_products()
    named = sum(any(t in p.text.lower().split() for t in p.tastes) for p in products)
    assert named < 0.1 * len(products)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("R9,home,Lumeno,1990,,simple,Lamp", "expected 8 columns, found 7"),
        ("R9,home,Lumeno,1990,,simple,Lamp,Bright, and warm", "A text with a comma needs quotation marks"),
        ("R9,home,Lumeno,cheap,,simple,Lamp,Bright", "price_cents is 'cheap'"),
        ("R9,home,Lumeno,1990,,simpel,Lamp,Bright", "Did you mean 'simple'"),
        ("R9,home,Lumeno,1990,,,Lamp,Bright", "at least one taste"),
        ("R9,home,Lumeno,1990,,simple,,Bright", "the column `name` is empty"),
        ("R1,home,Lumeno,1990,,simple,Lamp,Bright", "the id R1 is taken by First lamp"),
    ],
)
def test_a_malformed_row_is_named_with_file_and_line(tmp_path, row, what):
    write_catalogue(tmp_path, ["R1,home,Lumeno,1990,,simple,First lamp,Glows", row])
    with pytest.raises(DataError, match=what) as caught:
        catalogue.load_products(tmp_path, shop=False)
    assert "more.csv:3" in str(caught.value)


HEAD = ",".join(catalogue.COLUMNS)


def write_catalogue(folder, rows, head=HEAD):
    (folder / "products").mkdir()
    (folder / "tastes.yml").write_text("simple: easy\ncook: food\n")
    (folder / "products" / "more.csv").write_text("\n".join([head, *rows]) + "\n")


def test_an_empty_catalogue_says_what_to_add(tmp_path):
    write_catalogue(tmp_path, [])
    with pytest.raises(AgentLabError, match=r"is empty: there is nothing to recommend. Add a row"):
        catalogue.load_products(tmp_path, shop=False)


def test_a_wrong_first_line_is_refused(tmp_path):
    write_catalogue(tmp_path, [], head="id,name")
    with pytest.raises(DataError, match="the first line should be id,category"):
        catalogue.load_products(tmp_path, shop=False)


def test_an_unknown_product_is_refused_with_the_nearest():
    products = catalogue.load_products()
    assert products[catalogue.find_product(products, "P131")].name == "Ferrand M2 mirrorless camera"
    with pytest.raises(AgentLabError, match=r"no product 'P131x'. Did you mean P131\?"):
        catalogue.find_product(products, "P131x")


# --- the simulated shop ---


def test_equal_seeds_give_equal_logs_and_others_do_not(log):
    again, other = (behaviour.simulate(world=SMALL, seed=seed) for seed in (1, 2))
    assert (again.item == log.item).all()
    assert again.texts == log.texts
    assert len(other) != len(log) or (other.item != log.item).any()


def test_the_log_keeps_its_own_rules(log):
    assert (np.diff(log.day) >= 0).all()
    assert (log.day >= log.launched[log.item]).all(), "nothing is clicked before its launch"
    assert (log.day >= log.joined[log.user]).all()
    bought = [(u, i) for u, i, k in zip(log.user, log.item, log.kind, strict=True) if k == behaviour.PURCHASE]
    assert len(set(bought)) == len(bought)
    assert all(bool(t) == (k == behaviour.REVIEW) for t, k in zip(log.texts, log.kind, strict=True))
    assert all(len(set(row)) == behaviour.PLACES for row in log.lists.items.tolist())


def test_newcomers_speak_in_words_that_nobody_used_in_training(log):
    late = log.joined >= behaviour.TRAIN_DAYS + behaviour.VALIDATION_DAYS
    said = [
        {w for own, new in zip(log.wishes, late, strict=True) if new == which for w in own} for which in (True, False)
    ]
    assert all(said)
    assert not said[0] & said[1]


def test_tastes_decide_what_is_clicked():
    log = behaviour.simulate(world=behaviour.World(customers=200, taste=9.0))
    clicked = log.kind == behaviour.CLICK
    liking = (log.taste[log.user[clicked]] * log.item_taste[log.item[clicked]]).sum(1).mean()
    assert liking > 1.8 * (log.taste @ log.item_taste.T).mean()


def test_a_world_that_cannot_be_simulated_is_refused():
    with pytest.raises(AgentLabError, match="at least one customer"):
        behaviour.simulate(world=behaviour.World(customers=0))
    with pytest.raises(AgentLabError, match="the catalogue has 3"):
        behaviour.simulate(catalogue.load_products()[:3])


# --- the task and its measures ---


def test_the_task_knows_nothing_of_the_future(log, task):
    for n, user in enumerate(task.users):
        assert not any(task.seen[n, i] for i in task.relevant[n])
        days = log.day[(log.user == user) & np.isin(log.item, list(task.relevant[n]))]
        assert days.min() >= behaviour.TRAIN_DAYS
    early = recommend.histories(log, behaviour.TRAIN_DAYS)
    events = (log.day < behaviour.TRAIN_DAYS).sum() + sum(map(len, log.wishes))
    assert sum(map(len, early)) == events


def test_days_without_clicks_make_no_task(log):
    with pytest.raises(AgentLabError, match="Nobody clicks anything new from day 900"):
        recommend.make_task(log, 900, 7)


def test_ndcg_and_recall_agree_with_scikit_learn():
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, truth = rng.random(30), rng.random(30) < 0.3
        truth[0] = True
        ranked = np.argsort(-scores).tolist()
        assert recommend.ndcg_at(ranked, set(np.flatnonzero(truth)), 10) == pytest.approx(
            ndcg_score([truth], [scores], k=10)
        )
    assert recommend.recall_at([3, 1, 2], {1, 9}, 2) == 0.5
    assert recommend.ndcg_at([1], set()) == 0.0


def test_lists_hold_candidates_only_and_nothing_seen(task):
    lists = recommend.top_lists(np.random.default_rng(0).random(task.seen.shape), task)
    assert task.candidates[lists].all()
    assert not np.take_along_axis(task.seen, lists, 1).any()


def test_an_empty_set_of_candidates_is_refused(task):
    with pytest.raises(AgentLabError, match="catalogue of candidates is empty"):
        recommend.top_lists(
            np.zeros(task.seen.shape), recommend.replace(task, candidates=np.zeros_like(task.candidates))
        )


def test_perfect_scores_reach_one_and_intervals_hold_the_mean(task):
    truth = np.zeros(task.seen.shape)
    for n, found in enumerate(task.relevant):
        truth[n, list(found)] = 1
    perfect = recommend.assess(truth, task, np.ones(truth.shape[1]))
    assert perfect.ndcg.mean() == pytest.approx(1)
    values = np.random.default_rng(0).random(50)
    low, high = recommend.mean_interval(values)
    assert low < values.mean() < high
    gain, low, high = recommend.relative_gain(values, 1.5 * values)
    assert (gain, low, high) == pytest.approx((0.5, 0.5, 0.5))


def test_coverage_counts_products_and_novelty_bits(task):
    everyone = np.tile(np.arange(task.seen.shape[1], 0, -1.0), (len(task), 1))
    free = recommend.replace(task, seen=np.zeros_like(task.seen), candidates=np.ones_like(task.candidates))
    counts = np.full(task.seen.shape[1], 8.0)
    counts[-1] = 32
    result = recommend.assess(everyone, free, counts)
    assert result.coverage == pytest.approx(10 / task.seen.shape[1])
    assert result.novelty == pytest.approx(2.0), "known to a quarter as many: two bits"


# --- recommenders that count ---


def test_neighbours_are_cosines_without_the_product_itself(log):
    from sklearn.metrics.pairwise import cosine_similarity

    rows = recommend.interactions(log, 140)
    similar = recommend.CoOccurrence().fit(rows).similar
    truth = cosine_similarity((rows > 0).T.astype(float).toarray())
    np.fill_diagonal(truth, 0)
    assert np.allclose(similar, truth)


def test_factors_find_groups_and_know_nothing_of_an_unclicked_product():
    from scipy import sparse

    rng = np.random.default_rng(0)
    rows = np.zeros((60, 21))
    rows[:30, :10], rows[30:, 10:20] = rng.random((30, 10)) < 0.6, rng.random((30, 10)) < 0.6
    model = recommend.Factorization(factors=4, regularization=0.1, alpha=5.0).fit(sparse.csr_matrix(rows))
    scores = model.scores(sparse.csr_matrix(rows))
    assert scores[:30, :10].mean() > 3 * scores[:30, 10:20].mean()
    assert (scores[:, 20] == 0).all()


# --- positions ---


def test_shuffled_lists_give_the_propensities_of_the_simulator():
    log = behaviour.simulate(world=behaviour.World(customers=1500, shuffled=0.6))
    assert np.abs(recommend.propensities(log.lists) - log.looks).max() < 0.08


def test_without_shuffled_lists_there_are_no_propensities(log):
    with pytest.raises(AgentLabError, match="random order"):
        recommend.propensities(log.lists.where(~log.lists.shuffled))


def test_correction_brings_click_rates_near_the_truth(log):
    number = len(log.products)
    shown = np.bincount(log.lists.items.ravel(), minlength=number) >= 60
    truth = recommend.true_rates(log.lists, number)[shown]
    plain = np.abs(recommend.click_rates(log.lists, number)[shown] - truth).mean()
    fair = np.abs(recommend.click_rates(log.lists, number, log.looks)[shown] - truth).mean()
    assert fair < 0.5 * plain


# --- two towers ---


def test_the_loss_is_the_cross_entropy_with_correction_and_without_the_own_product_as_negative():
    torch.manual_seed(0)
    users, products = (torch.nn.functional.normalize(torch.randn(4, 8), dim=1) for _ in range(2))
    log_q, targets = torch.log_softmax(torch.randn(4), 0), torch.tensor([5, 7, 5, 9])
    by_hand = 0.0
    for row in range(4):
        columns = [c for c in range(4) if c == row or targets[c] != targets[row]]
        logits = torch.stack([users[row] @ products[c] / 0.2 - log_q[c] for c in columns])
        by_hand += torch.logsumexp(logits, 0) - logits[columns.index(row)]
    assert float(towers.in_batch_loss(users, products, targets, log_q, 0.2)) == pytest.approx(float(by_hand), rel=1e-5)


def test_pairs_hold_only_what_came_before_the_click(log):
    texts = towers.texts_of(log)
    known = recommend.histories(log, 100)
    pairs = towers.make_pairs(log, 100)
    user = max(range(log.users), key=lambda u: len(known[u]))
    lines = [line.text for line in known[user]]
    firsts = {}
    for n, line in enumerate(known[user]):
        if line.kind == "click":
            firsts.setdefault(line.item, n)
    theirs = {}  # other customers may have clicked the same product
    for p in pairs:
        theirs.setdefault(p.target, []).append([texts[t] for t in p.texts])
    assert len(firsts) > 10
    for item, n in ((item, n) for item, n in firsts.items() if n):
        assert lines[max(0, n - towers.LINES) : n] in theirs[item]


def test_the_frozen_lower_layers_and_the_rest_give_what_the_whole_encoder_gives(untrained):
    texts = ["a lamp", "An espresso machine with two boilers, a lever for the steam, and a clock."]
    encoder = untrained.towers.encoder
    split = towers.LowerLayers(encoder, 4, texts).finish([0, 1]).detach().numpy()
    from agentlab import assets

    whole, tokenizer = assets.load_encoder()
    for text, vector in zip(texts, split, strict=True):
        with torch.no_grad():
            hidden = whole(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        assert np.allclose(vector, torch.nn.functional.normalize(hidden, dim=0).numpy(), atol=1e-4)


def test_reasons_add_up_to_the_score_and_the_largest_comes_first(untrained, log):
    history = max(recommend.histories(log, 140), key=len)[-6:]
    item = 17
    reasons = untrained.why(history, item)
    score = untrained.scores([history])[0, item]
    assert sum(part for _, part in reasons) == pytest.approx(score, abs=1e-5)
    assert [part for _, part in reasons] == sorted((part for _, part in reasons), reverse=True)


def test_a_user_without_history_gets_an_error_with_a_way_out_and_scores_of_zero(untrained):
    with pytest.raises(AgentLabError, match="Show what is popular instead"):
        untrained.why((), 0)
    assert (untrained.scores([()]) == 0).all()


def test_a_recommender_without_products_is_refused():
    with pytest.raises(AgentLabError, match="the catalogue is empty"):
        towers.Recommender(towers.new_towers(), [])


def test_a_short_training_beats_the_bestsellers_and_shuffled_histories_do_not(untrained):
    log = behaviour.simulate(world=behaviour.World(customers=500, quality=0.0))  # products differ by taste alone
    task = recommend.make_task(log, behaviour.TRAIN_DAYS, behaviour.VALIDATION_DAYS)
    recipe = towers.TowersConfig(epochs=1, pairs=256, encoder=False, heads_steps=100, batch_size=256)
    pairs = towers.make_pairs(log, behaviour.TRAIN_DAYS)
    ones = np.ones(len(log.products))
    popular = recommend.Popularity().fit(recommend.interactions(log, behaviour.TRAIN_DAYS))
    score = {"popular": recommend.assess(popular.scores(task.rows), task, ones).ndcg.mean()}
    for name, learn in (("towers", pairs), ("shuffled", towers.shuffled_histories(pairs))):
        made, _ = towers.train(log, recipe, learn, plain=untrained, bar=False)
        score[name] = recommend.assess(made.scores(task.history), task, ones).ndcg.mean()
    assert score["towers"] > 1.5 * score["popular"]
    assert score["shuffled"] < 1.1 * score["popular"]


def test_the_encoder_learns_with_the_matrices_and_only_its_upper_layer(untrained):
    log = behaviour.simulate(world=behaviour.World(customers=60))
    recipe = towers.TowersConfig(epochs=1, pairs=32, heads_steps=2, batch_size=32, learning_rate=1e-3)
    made, history = towers.train(log, recipe, bar=False)
    before, after = (dict(r.towers.encoder.named_parameters()) for r in (untrained, made))
    changed = {name.split(".")[2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"5"}
    assert history.steps == 1
    fresh = towers.Recommender(made.towers, made.products)
    assert np.allclose(fresh.items, made.items, atol=1e-3), "vectors that were kept are those of the trained encoder"


def test_saved_towers_score_as_before_and_a_damaged_file_is_no_sound_one(tmp_path, untrained, log):
    towers.save(untrained, tmp_path / "t.safetensors")
    assert towers.is_sound(tmp_path / "t.safetensors")
    again = towers.restore(tmp_path / "t.safetensors", untrained.products)
    history = [max(recommend.histories(log, 140), key=len)[-5:]]
    assert np.abs(again.scores(history) - untrained.scores(history)).max() < 0.02
    (tmp_path / "t.safetensors").write_bytes(b"no")
    assert not towers.is_sound(tmp_path / "t.safetensors")


def test_nothing_to_train_on_is_refused(log):
    with pytest.raises(AgentLabError, match="nothing to train on"):
        towers.train(log, towers.QUICK, [], bar=False)


def test_the_index_finds_nearly_all_of_the_nearest(untrained):
    vectors = towers.many_vectors(untrained.items, 5000)
    index = towers.ProductIndex(vectors)
    assert index.recall(vectors[:50] + 0.02) > 0.9
    assert index.exact(vectors[7], 3)[0] == 7
    with pytest.raises(AgentLabError, match="at least one product"):
        towers.ProductIndex(np.zeros((0, 8), np.float32))


# --- the ranker ---


def test_the_ranker_uses_the_feature_that_tells(log, task):
    known = ranker.know(log, behaviour.TRAIN_DAYS)
    told = np.zeros(task.seen.shape)
    for n, found in enumerate(task.relevant):
        told[n, list(found)] = 1
    rng = np.random.default_rng(0)
    rows = ranker.features(known, task, told + 0.3 * rng.standard_normal(told.shape))
    assert rows.shape == (*told.shape, len(ranker.FEATURES))
    made = ranker.Ranker().fit(rows, task)
    falls = made.importance(rows, task)
    assert max(falls, key=lambda name: falls[name]) == "text match"


def test_features_of_a_day_do_not_change_with_what_comes_later(log, task):
    known = ranker.know(log, behaviour.TRAIN_DAYS)
    early = log.day < behaviour.TRAIN_DAYS
    cut = recommend.replace(
        log, day=log.day[early], user=log.user[early], item=log.item[early], kind=log.kind[early], stars=log.stars[early],
        texts=[t for t, keep in zip(log.texts, early, strict=True) if keep],
    )  # fmt: skip
    zeros = np.zeros(task.seen.shape)
    assert np.array_equal(
        ranker.features(known, task, zeros), ranker.features(ranker.know(cut, behaviour.TRAIN_DAYS), task, zeros)
    )


def test_an_unknown_feature_is_refused():
    with pytest.raises(AgentLabError, match=r"Unknown features \['smell'\]"):
        ranker.Ranker(columns=["smell"])


# --- the tool ---


@pytest.fixture(scope="module")
def counter(untrained):
    return shop_tools(Store.sample(), Session(), recommender=untrained)


def test_what_fits_a_camera_goes_with_cameras(counter):
    result = counter.call("recommend_products", {"product_id": "P131", "category": "accessories"})
    goes = {p.id for p in catalogue.load_products() if p.fits == "cameras"}
    assert result.ok
    assert {p["product_id"] for p in result.value} <= goes
    assert all("Ferrand M2" in p["because"] for p in result.value)


def test_a_wish_alone_is_enough_and_a_limit_is_kept(counter):
    result = counter.call("recommend_products", {"wish": "good coffee", "max_price_cents": 10000, "top": 5})
    assert result.ok
    assert 1 <= len(result.value) <= 5
    assert all(p["from_cents"] <= 10000 for p in result.value)


def test_nobody_without_a_printer_is_offered_a_cartridge(counter):
    fits = {p.id: p.fits for p in catalogue.load_products()}
    alone = counter.call("recommend_products", {"wish": "ink for a Quillo printer", "top": 20}).value
    assert not [p["name"] for p in alone if fits[p["product_id"]]]
    owner = counter.call("recommend_products", {"product_id": "P145", "top": 20}).value
    assert {fits[p["product_id"]] for p in owner} == {"", "printers"}


def test_with_nothing_known_the_model_is_told_what_to_give(counter):
    result = counter.call("recommend_products", {})
    assert (result.status, "give product_id or wish" in result.message) == ("retry", True)


def test_an_unknown_product_comes_back_with_a_way_to_find_one(counter):
    result = counter.call("recommend_products", {"product_id": "P999"})
    assert (result.status, "search_products" in result.message) == ("retry", True)


def test_a_verified_customer_gets_nothing_they_own_and_no_other_customers_goods_as_reason(untrained):
    store = Store.sample()
    box = shop_tools(store, Session(customer_id="C1007"), recommender=untrained)
    mine = {
        i["name"]
        for o in box.call("list_orders", {"limit": 50}).value
        for i in box.call("find_order", {"order_id": o["order_id"]}).value["items"]
    }
    result = box.call("recommend_products", {"top": 10})
    assert result.ok
    assert result.value
    assert not {p["name"] for p in result.value} & mine
    assert {p["because"] for p in result.value} <= mine


def test_the_tool_is_there_only_with_a_recommender():
    assert "recommend_products" not in [t.name for t in shop_tools(Store.sample())]
