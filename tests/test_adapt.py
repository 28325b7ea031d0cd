import copy
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import tokenizers
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given
from hypothesis import strategies as st

from agentlab import adapt, assets, finetune
from agentlab.adapt import Adaptation, Example, Tokens, finetune_language, load_adapter, merge, save_adapter
from agentlab.errors import UnknownName
from agentlab.finetune import TrainingError

torch.set_num_threads(1)  # the models here are tiny: a second thread only waits for the first
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAIN = Adaptation(epochs=2, batch_tokens=128, learning_rate=1e-2, rank=4, alpha=8.0, precision="float32")


def byte_tokenizer():
    """One token per byte, and the two special tokens of SmolLM2's template."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate(["<|im_start|>", "<|im_end|>", *letters])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>",
        chat_template=TEMPLATE,
    )  # fmt: skip


TOKENIZER = byte_tokenizer()


def language_model(seed=0, dtype=torch.float32, **options):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(TOKENIZER), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True, initializer_range=0.4, eos_token_id=1,
        pad_token_id=None, bos_token_id=0, **options,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    adapt.cast_parameters(model, dtype)
    return model


def examples(n, seed=0, shuffled=False):
    """Toy examples: the reply is "yes" where the prompt has an x, else "no"."""
    rng, items = random.Random(seed), []
    for _ in range(n):
        x = rng.random() < 0.5
        letters = [rng.choice("abcd") for _ in range(rng.randrange(2, 9))] + ["x"] * x
        rng.shuffle(letters)
        answer = rng.random() < 0.5 if shuffled else x
        items.append(Example("".join(letters) + "?", "yes" if answer else "no"))
    return items


def items_of(some):
    return adapt.tokenize_all(TOKENIZER, some)


def digest(model):
    state = sorted(model.state_dict().items())
    return hashlib.sha256(b"".join(v.contiguous().view(torch.uint8).numpy().tobytes() for _, v in state)).hexdigest()


def adapter_of(model):
    return {k: v.clone() for k, v in peft.get_peft_model_state_dict(model, save_embedding_layers=False).items()}


def train(model, some, config=PLAIN, validation=(), **options):
    return finetune_language(model, TOKENIZER, some, validation, config, bar=False, **options)


def adapted(seed=0, dtype=torch.float32, **options):
    model = language_model(seed, dtype)
    history = train(model, examples(30), replace(PLAIN, precision="auto"), **options)
    return model, history


def logits_of(model, text="abxd?"):
    with torch.inference_mode():
        return model(torch.tensor([TOKENIZER.encode(text)])).logits.float()


# --- examples as tokens ---


def test_the_loss_is_on_the_reply_and_its_end_alone():
    item = adapt.tokenize(TOKENIZER, Example([{"role": "user", "content": "hi"}], "ok"))
    assert TOKENIZER.decode(item.ids) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nok<|im_end|>"
    assert TOKENIZER.decode([i for i, learn in zip(item.ids, item.learn, strict=True) if learn]) == "ok<|im_end|>"


def test_a_plain_prompt_stays_as_it_is_and_the_first_token_of_all_is_never_learned():
    item = adapt.tokenize(TOKENIZER, Example("", "ok"))
    assert TOKENIZER.decode(item.ids) == "ok<|im_end|>"
    assert item.learn == [False, True, True]


def test_the_prompt_is_what_the_real_tokenizer_gives_at_inference():
    _, tokenizer = assets.load_language_model()
    messages = [{"role": "user", "content": "Where is my order?"}]
    item = adapt.tokenize(tokenizer, Example(messages, "ly on its way"))
    given = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert item.ids[: len(given)] == given
    assert item.learn.index(True) == len(given)


def test_an_example_that_cannot_be_used_is_named():
    with pytest.raises(TrainingError, match=r"Example 1 has 13 tokens \(9 in the prompt\); at most 10 are allowed"):
        adapt.tokenize_all(TOKENIZER, [Example("a", "b"), Example("123456789", "yes")], max_tokens=10)
    with pytest.raises(TrainingError, match="Example 0 has an empty reply"):
        adapt.tokenize_all(TOKENIZER, [Example("a", " ")])


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@given(lengths, st.integers(20, 60))
def test_packing_takes_every_item_once_and_wastes_little(sizes, block):
    items = [Tokens([0] * n, [True] * n) for n in sizes]
    rows = adapt.pack(items, block)
    assert sorted(i for row in rows for i in row) == list(range(len(items)))
    assert all(len(row) == 1 or sum(sizes[i] for i in row) <= block for row in rows)
    used = sorted(sum(sizes[i] for i in row) for row in rows)
    assert len(used) < 2 or used[0] + used[1] > block  # otherwise the two would share a row
    assert rows == adapt.pack(items, block)


@given(lengths, st.integers(20, 60), st.integers(0, 5))
def test_an_epoch_takes_every_item_once_in_an_order_of_its_own(sizes, block, seed):
    items = [Tokens([0] * n, [True] * n) for n in sizes]
    rows = adapt.updates(items, block, seed, rows_per_pool=3)
    assert sorted(i for row in rows for i in row) == list(range(len(items)))
    assert all(len(row) == 1 or sum(sizes[i] for i in row) <= block for row in rows)
    assert rows == adapt.updates(items, block, seed, rows_per_pool=3)
    many = [Tokens([0] * 10, [True] * 10)] * 50
    assert adapt.updates(many, block, 0) != adapt.updates(many, block, 1)


# --- packed rows ---


def loss_of_transformers(model, item):
    """The oracle: one example alone, through the model's own forward pass."""
    logits = model(torch.tensor([item.ids])).logits[0, :-1].float()
    targets = torch.tensor([i if learn else -100 for i, learn in zip(item.ids, item.learn, strict=True)][1:])
    return F.cross_entropy(logits, targets, reduction="sum")


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.float().clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, exact in theirs.items():
        assert (ours[name] - exact).norm() < 1e-5 * exact.norm(), name


def packed_loss(model, items):
    with adapt.attention_over_packed_rows(model):
        return adapt.loss_sum(adapt.PackedModel(model), items, torch.device("cpu"))


def with_adapter(dtype=torch.float32):
    model = language_model(dtype=dtype)
    torch.manual_seed(1)
    adapt.attach_adapter(model, PLAIN)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at the start, which would hide the gradients of lora_A
            parameter.data.normal_(std=0.2)
    return model


@pytest.mark.parametrize("make", [language_model, with_adapter])
def test_packed_rows_give_the_loss_and_the_gradients_of_examples_alone(make):
    model, items = make(), items_of(examples(7))
    packed = packed_loss(model, items)
    alone = sum(loss_of_transformers(model, item) for item in items)
    torch.testing.assert_close(packed, alone)
    assert_same_gradients(gradients(model, packed), gradients(model, alone))


def test_examples_in_a_row_do_not_see_each_other():
    model, (a, b, c) = adapt.PackedModel(language_model()), items_of(examples(3))
    places = torch.arange(len(a), len(a) + len(b))
    with torch.no_grad(), adapt.attention_over_packed_rows(model.language):
        for parts in ([a.parts, b.parts, c.parts], [(0, len(a), len(b), len(c))]):  # three examples; a family of three
            first, other = (model(torch.tensor(x + b.ids + c.ids), parts, places) for x in (a.ids, a.ids[::-1]))
            assert torch.equal(first, other)


def families(prompts, replies=("yes", "no", "yes, of course")):
    return [[Example(start + middle + "?", r) for middle, r in zip("xyz", replies, strict=True)] for start in prompts]


@pytest.mark.parametrize("make", [language_model, with_adapter])
def test_a_family_reads_its_common_beginning_once_and_gives_the_loss_and_the_gradients_of_its_members(make):
    model, some = make(), families(["A long list of tools. ", "", "Another. "])
    shared = items_of([*some, *examples(3)])
    alone = [item for member in (*some, examples(3)) for item in items_of(member)]
    assert [item.prefix for item in shared] == [22, 0, 9, 0, 0, 0]
    assert sum(map(len, shared)) == sum(map(len, alone)) - 2 * (22 + 9)
    packed, apart = packed_loss(model, shared), sum(loss_of_transformers(model, item) for item in alone)
    torch.testing.assert_close(packed, apart)
    assert_same_gradients(gradients(model, packed), gradients(model, apart))


def test_members_of_a_family_that_are_equal_keep_what_predicts_their_reply():
    item = adapt.share(items_of([Example("same", "yes"), Example("same", "no")]))
    assert (item.prefix, item.turns) == (3, (5, 4))
    assert TOKENIZER.decode(item.ids) == "sameyes<|im_end|>eno<|im_end|>"


def test_families_train_like_their_members_and_checkpoints_tell_them_apart(tmp_path):
    some = families(["A list. ", "Another list. "])
    shared, alone = language_model(), language_model()
    config = replace(PLAIN, optimizer="sgd", batch_tokens=1000)
    train(shared, some, config, folder=tmp_path)
    train(alone, [e for family in some for e in family], config)
    for name, value in adapter_of(alone).items():
        assert torch.allclose(value, adapter_of(shared)[name], atol=1e-4), name
    with pytest.raises(TrainingError, match="data: "):
        train(language_model(), [e for family in some for e in family], config, folder=tmp_path)


def test_attention_is_back_to_what_it_was_even_after_an_error():
    model = language_model()
    before = model.config._attn_implementation
    model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(TrainingError, match="The loss is nan"):
        train(model, examples(8))
    assert model.config._attn_implementation == before != "packed"


def test_the_reply_loss_is_the_mean_over_learned_tokens():
    model, items = language_model(), items_of(examples(9))
    with torch.no_grad():
        expected = sum(loss_of_transformers(model, i) for i in items) / sum(sum(i.learn) for i in items)
    assert adapt.reply_loss(model, items, batch_tokens=64) == pytest.approx(float(expected), rel=1e-5)


# --- gradients in bfloat16, frozen weights ---


def test_gradients_in_bfloat16_are_those_in_float32_up_to_rounding():
    low, items = with_adapter(torch.bfloat16), items_of(examples(7))
    high = copy.deepcopy(low)
    adapt.cast_parameters(high, torch.float32)
    ours, exact = (gradients(m, packed_loss(m, items)) for m in (low, high))
    assert len(exact) == 2 * 2 * 7  # two matrices, two layers, seven linear maps
    for name in exact:
        assert F.cosine_similarity(ours[name].flatten(), exact[name].flatten(), 0) > 0.99, name
        assert (ours[name] - exact[name]).norm() < 0.15 * exact[name].norm(), name


@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
def test_it_learns_and_a_control_does_not_and_the_base_stays_bit_for_bit(precision):
    config = replace(PLAIN, epochs=6, rank=8, alpha=16.0, precision=precision)
    model, held_out = language_model(dtype=torch.bfloat16), items_of(examples(60, seed=1))
    base, before = adapt.weights_sha256(model), adapt.reply_loss(model, held_out)
    history = train(model, examples(200), config)
    assert adapt.reply_loss(model, held_out) < 0.05 < 1 < before
    assert history.tokens == 6 * sum(map(len, items_of(examples(200))))
    assert adapt.weights_sha256(model) == base
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    control = language_model(dtype=torch.bfloat16)
    train(control, examples(200, shuffled=True), config)
    assert adapt.reply_loss(control, held_out) > 0.15


def test_rotary_frequencies_keep_their_precision():
    model = language_model()
    before = model.model.rotary_emb.inv_freq.clone()
    adapt.cast_parameters(model, torch.bfloat16)
    train(model, examples(8), replace(PLAIN, precision="bfloat16", epochs=1))
    assert torch.equal(model.model.rotary_emb.inv_freq, before)


def test_full_fine_tuning_moves_every_weight():
    model = language_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, examples(30), replace(PLAIN, full=True, learning_rate=1e-3))
    assert not adapt.has_adapter(model)
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_an_adapter_sits_where_the_targets_say_and_learns_on_when_trained_again():
    model, config = language_model(), replace(PLAIN, targets=("q_proj", "v_proj"))
    train(model, examples(20), config)
    first = adapter_of(model)
    assert {name.split(".")[-3] for name in first} == {"q_proj", "v_proj"}
    train(model, examples(20, seed=2), config)
    assert all(not torch.equal(first[name], value) for name, value in adapter_of(model).items())
    with pytest.raises(TrainingError, match=r"carries an adapter of rank 4, alpha 8 and dropout 0; give the same"):
        train(model, examples(20), replace(config, rank=2))


def test_parts_and_checkpointing_change_nothing():
    models = [language_model() for _ in range(3)]
    config = replace(PLAIN, optimizer="sgd")
    for model, options in zip(models, ({}, {"accumulation": 3}, {"checkpointing": True}), strict=True):
        train(model, examples(20), replace(config, **options))
    for name, value in adapter_of(models[0]).items():
        assert torch.allclose(value, adapter_of(models[1])[name], atol=1e-5), name
        assert torch.equal(value, adapter_of(models[2])[name]), name
    assert not models[2].model.gradient_checkpointing


def test_the_best_adapter_is_restored():
    scores, kept = iter([0.1, 0.9, 0.3, 0.2]), []

    def score(model, some):
        assert some == examples(5, seed=3)
        kept.append(adapter_of(model))
        return next(scores)

    model = language_model()
    history = train(
        model, examples(20), replace(PLAIN, epochs=9, patience=2), validation=examples(5, seed=3), score=score
    )
    assert (history.best_epoch, len(history.epochs)) == (2, 4)
    assert all(torch.equal(kept[1][name], value) for name, value in adapter_of(model).items())


def test_the_score_is_minus_the_loss_per_reply_token():
    model, held_out = language_model(), examples(12, seed=4)
    history = train(model, examples(20), replace(PLAIN, epochs=1), validation=held_out)
    assert history.epochs[0]["score"] == pytest.approx(-adapt.reply_loss(model, items_of(held_out)), rel=1e-4)


# --- killed and resumed ---

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from test_adapt import *
model = language_model(dtype=torch.bfloat16)
print(interruptible(model, {folder!r}), digest(model))
"""


def interruptible(model, folder, **options):
    config = replace(PLAIN, **{"epochs": 4, "dropout": 0.1, "precision": "bfloat16", **options})
    history = train(model, examples(60), config, validation=examples(10, 5), folder=folder, save_every=1)
    return history.steps, len(history.epochs)


def run_script(folder):
    code = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process, path, before):
    """Until the checkpoint is newer than ``before`` or the process has ended."""
    while process.poll() is None and not (path.exists() and path.stat().st_mtime_ns > before):
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_at_several_steps_and_resumed_gives_the_same_adapter_bit_for_bit(tmp_path):
    whole = language_model(dtype=torch.bfloat16)
    steps = interruptible(whole, tmp_path / "whole")
    path, killed = tmp_path / "killed" / "checkpoint.safetensors", 0
    for _ in range(3):
        process = run_script(tmp_path / "killed")
        wait_for(process, path, path.stat().st_mtime_ns if path.exists() else 0)
        time.sleep(random.random() * 0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
    assert killed >= 2
    out, err = run_script(tmp_path / "killed").communicate(timeout=120)
    assert out == f"{steps} {digest(whole)}\n", err


@pytest.mark.parametrize(
    "options", [{"precision": "float32", "full": True}, {"accumulation": 2}, {"precision": "autocast"}]
)
def test_stopped_at_every_few_steps_and_resumed_gives_the_same_weights_bit_for_bit(tmp_path, monkeypatch, options):
    whole = language_model(dtype=torch.bfloat16)
    steps = interruptible(whole, tmp_path / "whole", **options)
    usual, left = finetune.Training.update, []

    def stopping(training):
        usual(training)
        left.append(1)
        if len(left) % 7 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(finetune.Training, "update", stopping)
    for _ in range(steps[0]):
        model = language_model(dtype=torch.bfloat16)
        try:
            assert interruptible(model, tmp_path / "stopped", **options) == steps
            break
        except KeyboardInterrupt:
            pass
    assert len(left) > steps[0]
    assert digest(model) == digest(whole)


def test_equal_configuration_and_data_give_equal_adapters():
    digests = set()
    for _ in range(2):
        model = language_model(dtype=torch.bfloat16)
        train(model, examples(20), replace(PLAIN, precision="bfloat16", dropout=0.2))
        digests.add(digest(model))
    assert len(digests) == 1


def test_a_checkpoint_of_another_training_is_refused_with_the_difference(tmp_path):
    train(language_model(), examples(9), folder=tmp_path)
    with pytest.raises(TrainingError, match=r"rank: 4 there, 2 here"):
        train(language_model(), examples(9), replace(PLAIN, rank=2), folder=tmp_path)
    with pytest.raises(TrainingError, match="data: "):
        train(language_model(), examples(9, seed=1), folder=tmp_path)
    with pytest.raises(TrainingError, match="model: "):
        train(language_model(seed=1), examples(9), folder=tmp_path)


# --- what goes wrong ---


def test_out_of_memory_cuts_the_row_and_one_example_too_many_is_an_error(monkeypatch):
    usual, small, large = adapt.loss_sum, language_model(), language_model()
    train(small, examples(20), replace(PLAIN, optimizer="sgd"))

    def greedy(model, items, device):
        if len(items) > 4:
            raise MemoryError
        return usual(model, items, device)

    monkeypatch.setattr(adapt, "loss_sum", greedy)
    history = train(large, examples(20), replace(PLAIN, optimizer="sgd"))
    assert history.notes[0].startswith("Out of memory: each batch now goes in 2 parts")
    for name, value in adapter_of(small).items():
        assert torch.allclose(value, adapter_of(large)[name], atol=1e-5), name

    def never(*_):
        raise MemoryError

    monkeypatch.setattr(adapt, "loss_sum", never)
    with pytest.raises(TrainingError, match=r"one example at a time\. Switch on checkpointing, lower max_tokens"):
        train(language_model(), examples(20))


def test_a_loss_that_is_not_a_number_names_the_step(monkeypatch):
    usual = adapt.loss_sum
    monkeypatch.setattr(adapt, "loss_sum", lambda *a: usual(*a) * float("nan"))
    with pytest.raises(TrainingError, match=r"The loss is nan in step 1 of \d+\. Lower the learning rate"):
        train(language_model(), examples(20))


def test_what_cannot_be_trained_is_named():
    with pytest.raises(TrainingError, match="nothing to train on"):
        train(language_model(), [])
    with pytest.raises(TrainingError, match="An example has 304 tokens; the model reads at most 256"):
        train(language_model(), [Example("a" * 300, "yes")])
    with pytest.raises(UnknownName, match=r"target 'q_prj'\. Did you mean 'q_proj'\? Available: all-linear"):
        train(language_model(), examples(3), replace(PLAIN, targets=["q_prj"]))
    with pytest.raises(TrainingError, match="weights are float32, and precision bfloat16 would round them"):
        train(language_model(), examples(3), replace(PLAIN, precision="bfloat16"))
    with pytest.raises(TrainingError, match="rank is 0"):
        Adaptation(rank=0)
    model, _ = adapted()
    with pytest.raises(TrainingError, match=r"call merge\(model\) before you train all weights"):
        train(model, examples(3), replace(PLAIN, full=True))


# --- saved, loaded, merged ---


def test_a_saved_adapter_is_the_same_when_loaded_here_and_by_peft(tmp_path):
    model, history = adapted()
    save_adapter(model, tmp_path, adapt.make_card(examples(30), PLAIN, history))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "card.json",
    ]
    expected = logits_of(model)
    assert not torch.equal(expected, logits_of(language_model()))
    assert torch.equal(logits_of(load_adapter(tmp_path, language_model())), expected)
    by_peft = peft.PeftModel.from_pretrained(language_model(), tmp_path)
    assert torch.equal(logits_of(by_peft), expected)


def test_the_card_says_where_an_adapter_comes_from_and_files_are_the_same_each_time(tmp_path):
    model, history = adapted()
    card = adapt.make_card(examples(30), PLAIN, history)
    for folder in ("a", "b"):
        save_adapter(model, tmp_path / folder, card)
    about = adapt.read_card(tmp_path / "a")
    assert about["base"] == {"name": "llama", "sha256": adapt.weights_sha256(language_model())}
    assert about["data_sha256"] == adapt.data_sha256(examples(30)) != adapt.data_sha256(examples(29))
    assert about["settings"]["rank"] == 4
    assert about["figures"]["steps"] == history.steps
    for name in ("adapter_config.json", "adapter_model.safetensors", "card.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_an_adapter_of_another_base_is_refused_with_both_names(tmp_path):
    save_adapter(adapted()[0], tmp_path, {})
    other = language_model(seed=5)
    other.name_or_path = other.config._name_or_path = "models/other"
    with pytest.raises(
        TrainingError, match=r"belongs to llama \(weights \w{12}\), not to this other \(weights \w{12}\)\. Load the"
    ):
        load_adapter(tmp_path, other)
    assert not adapt.has_adapter(other)


def test_damaged_and_missing_files_are_named(tmp_path):
    with pytest.raises(TrainingError, match=r"card\.json is missing, so there is no adapter"):
        load_adapter(tmp_path, language_model())
    save_adapter(adapted()[0], tmp_path, {})
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-7])
        with pytest.raises(TrainingError, match=f"{name} is damaged or altered.*Save the adapter again"):
            load_adapter(tmp_path, language_model())
        (tmp_path / name).unlink()
        with pytest.raises(TrainingError, match=f"{name} is missing"):
            load_adapter(tmp_path, language_model())
        (tmp_path / name).write_bytes(content)
    for content in ("{", json.dumps({"files": {}}), "[]"):
        (tmp_path / "card.json").write_text(content)
        with pytest.raises(TrainingError, match=r"card\.json is damaged"):
            load_adapter(tmp_path, language_model())


def test_a_full_disk_is_named_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    model, _ = adapted()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapt.os, "replace", full)
    with pytest.raises(TrainingError, match=r"could not be written .*Free some disk space"):
        save_adapter(model, tmp_path, {})
    assert list(tmp_path.iterdir()) == []


def test_merged_weights_answer_like_the_attached_adapter():
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.05)):
        model, _ = adapted(dtype=dtype)
        attached, names = logits_of(model), set(language_model().state_dict())
        merged = merge(model)
        spread = attached.std()
        assert (logits_of(merged) - attached).abs().max() < tolerance * spread * 4
        assert (logits_of(language_model(dtype=dtype)) - attached).abs().max() > spread
        assert set(merged.state_dict()) == names
        assert {p.dtype for p in merged.parameters()} == {dtype}
        assert not adapt.has_adapter(merged)


def test_what_has_no_adapter_cannot_be_saved_or_merged_and_one_adapter_is_enough(tmp_path):
    with pytest.raises(TrainingError, match=r"no adapter\. Save a whole model with model\.save_pretrained"):
        save_adapter(language_model(), tmp_path, {})
    with pytest.raises(TrainingError, match="nothing to merge"):
        merge(language_model())
    model, _ = adapted()
    save_adapter(model, tmp_path, {})
    with pytest.raises(TrainingError, match="carries an adapter already"):
        load_adapter(tmp_path, model)
    next(p for n, p in model.named_parameters() if "lora_B" in n).data.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"cannot be merged .*lower learning rate"):
        merge(model)


# --- the real model ---


def test_the_real_model_learns_in_a_copy_and_the_shared_one_is_refused(tmp_path):
    shared, tokenizer = assets.load_language_model()
    before = adapt.weights_sha256(shared)
    some = [Example([{"role": "user", "content": "Where is my parcel?"}], "It is on its way.")] * 2
    with pytest.raises(TrainingError, match="Take a copy: model, tokenizer = fresh_language_model"):
        finetune_language(shared, tokenizer, some, bar=False)
    model, tokenizer = adapt.fresh_language_model()
    config = Adaptation(epochs=3, learning_rate=1e-3, warmup=0.0)
    history = finetune_language(model, tokenizer, some, config=config, bar=False)
    assert history.epochs[-1]["train_loss"] < 0.8 * history.epochs[0]["train_loss"]
    save_adapter(model, tmp_path, {})
    assert adapt.read_card(tmp_path)["base"] == {"name": assets.LANGUAGE_MODEL.hub, "sha256": before}
    assert adapt.weights_sha256(shared) == before
    loaded = merge(load_adapter(tmp_path))
    assert type(loaded) is type(shared)
    assert adapt.weights_sha256(loaded) != before


def test_the_loop_is_that_of_finetune():
    assert issubclass(adapt.LanguageTraining, finetune.Training)
