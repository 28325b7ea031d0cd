import copy
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import transformers

from agentlab import finetune
from agentlab.encoding import Encoded, collate
from agentlab.errors import UnknownName
from agentlab.finetune import Config, Reader, TrainingError, fit
from agentlab.losses import IGNORE
from tests.conftest import loopback_is_up

TINY = transformers.BertConfig(
    vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
    max_position_embeddings=24, attn_implementation="eager",
)  # fmt: skip
torch.set_num_threads(1)  # the models here are tiny: a second thread only waits for the first
TAGS = ("O", "B-thing")
PLAIN = Config(
    epochs=4, batch_size=8, learning_rate=3e-3, head_learning_rate=1e-2, freeze=0, precision="float32", dropout=0.0
)


def messages(n, seed=0, shuffled=False):
    """Toy messages: the intent is which of the words 10, 11, 12 comes first; words above 50 are things."""
    rng, items = random.Random(seed), []
    for _ in range(n):
        ids = [1, *(rng.randrange(20, 60) for _ in range(rng.randrange(3, 9)))]
        intent = rng.randrange(3)
        ids.insert(rng.randrange(1, len(ids)), 10 + intent)
        items.append(Encoded(ids, [IGNORE, *(int(i > 50) for i in ids[1:])], rng.randrange(3) if shuffled else intent))
    return items


def reader(seed=0, **heads):
    torch.manual_seed(seed)
    heads = heads or {"intents": "abc", "tags": TAGS}
    return Reader(transformers.BertModel(TINY, add_pooling_layer=False), **heads)


def digest(model):
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in model.state_dict().values())).hexdigest()


def quick_fit(model, items, config=PLAIN, **options):
    return fit(model, items, options.pop("validation", ()), config, bar=False, **options)


# --- it learns ---


@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
def test_it_learns_intents_and_tags_and_a_control_does_not(precision):
    config = replace(PLAIN, epochs=12, precision=precision)
    model = reader()
    history = quick_fit(model, messages(300), config)
    assert history.epochs[-1]["train_loss"] < 0.3 * history.epochs[0]["train_loss"]
    fresh = messages(200, seed=1)
    assert finetune.intent_accuracy(model, fresh) > 0.9
    tags = torch.cat(finetune.predict(model, fresh)["tags"]).argmax(1)
    truth = torch.tensor([x for i in fresh for x in i.labels])
    assert (tags == truth)[truth != IGNORE].float().mean() > 0.97
    assert model.encoder.embeddings.word_embeddings.weight.dtype == torch.float32
    control = reader()
    quick_fit(control, messages(300, shuffled=True), config)
    assert finetune.intent_accuracy(control, fresh) < 0.6


def test_equal_configuration_and_data_give_equal_weights():
    digests = []
    for _ in range(2):
        model = reader()
        quick_fit(model, messages(40), replace(PLAIN, dropout=0.2, encoder_dropout=0.1))
        digests.append(digest(model))
    assert digests[0] == digests[1]


def test_a_head_alone_and_the_first_token_work_too():
    for model in (reader(intents="abc"), reader(tags=TAGS), reader(intents="abc", pooling="first")):
        assert quick_fit(model, messages(30)).steps == 16


def test_predictions_come_back_in_order():
    model, items = reader(), messages(50)
    together = finetune.predict(model, items, batch_size=7)
    alone = finetune.predict(model, items[17:18])
    assert torch.allclose(together["intents"][17], alone["intents"][0], atol=1e-5)
    assert torch.allclose(together["tags"][17], alone["tags"][0], atol=1e-5)


# --- optimizer, freezing, parts ---


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_fused_attention_computes_what_transformers_computes_and_its_gradients(attention):
    plain = reader().eval()
    fused = copy.deepcopy(plain)
    finetune.fuse_attention(fused.encoder)
    plain.encoder.set_attn_implementation(attention)
    fused.encoder.set_attn_implementation(attention)
    batch = collate(messages(6))
    outputs = []
    for model in (plain, fused):
        given = model(batch["input_ids"], batch["attention_mask"])
        sum((o * torch.arange(o.numel()).view(o.shape).sin()).sum() for o in given.values()).backward()
        outputs.append(given)
    for kind in outputs[0]:
        torch.testing.assert_close(outputs[1][kind], outputs[0][kind])
    for one, three in zip(fused.encoder.encoder.layer, plain.encoder.encoder.layer, strict=True):
        parts = (three.attention.self.query, three.attention.self.key, three.attention.self.value)
        torch.testing.assert_close(one.attention.self.qkv.weight.grad, torch.cat([p.weight.grad for p in parts]))


def test_decay_is_kept_off_biases_and_norms_and_lower_layers_learn_slower():
    model = reader()
    finetune.set_frozen(model, 0)
    groups = finetune.parameter_groups(
        model, replace(PLAIN, layer_decay=0.5, learning_rate=1.0, head_learning_rate=7.0)
    )
    decays = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    for name, parameter in model.named_parameters():
        rate, decay = decays[id(parameter)]
        assert (decay == 0) == (name.endswith("bias") or "LayerNorm" in name), name
        expected = 7.0 if "head" in name else 0.25 if "embeddings" in name else 0.5 if "layer.0" in name else 1.0
        assert rate == expected, name


@pytest.mark.parametrize(("freeze", "still"), [(0, 0), (1, 1), (2, 2), ("encoder", 3)])
def test_frozen_blocks_do_not_move_and_the_others_do(freeze, still):
    model = reader()
    blocks = [model.encoder.embeddings, *model.encoder.encoder.layer]
    before = [digest(b) for b in blocks]
    quick_fit(model, messages(30), replace(PLAIN, freeze=freeze, epochs=1))
    assert [digest(b) == d for b, d in zip(blocks, before, strict=True)] == [n < still for n in range(3)]


def test_gradual_unfreezing_frees_one_layer_per_epoch(monkeypatch):
    seen = []
    model = reader()
    layers = [model.encoder.embeddings, *model.encoder.encoder.layer]
    quick_fit(model, messages(20), replace(PLAIN, gradual=True, epochs=4),
              on_epoch=lambda row: seen.append(sum(p.requires_grad for b in layers for p in list(b.parameters())[:1])))  # fmt: skip
    assert seen == [0, 1, 2, 3]


def test_a_batch_in_parts_gives_the_same_weights():
    whole, parts = reader(), reader()
    config = replace(PLAIN, optimizer="sgd", class_weights=True, label_smoothing=0.1)
    quick_fit(whole, messages(40), config)
    quick_fit(parts, messages(40), replace(config, accumulation=3))
    for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_out_of_memory_cuts_the_batch_says_so_and_changes_nothing(monkeypatch, capsys):
    usual = finetune.joint_loss
    small, large = reader(), reader()
    quick_fit(small, messages(40), replace(PLAIN, optimizer="sgd"))

    def greedy(outputs, batch, *rest):
        if len(batch["intents"]) > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return usual(outputs, batch, *rest)

    monkeypatch.setattr(finetune, "joint_loss", greedy)
    history = quick_fit(large, messages(40), replace(PLAIN, optimizer="sgd"))
    assert history.notes == ["Out of memory: each batch now goes in 2 parts; the result stays the same."]
    assert "Out of memory" in capsys.readouterr().out
    for a, b in zip(small.state_dict().values(), large.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_no_memory_even_for_one_message_is_an_error_with_a_cure(monkeypatch):
    def never(*_):
        raise MemoryError

    monkeypatch.setattr(finetune, "joint_loss", never)
    with pytest.raises(TrainingError, match=r"even with one message at a time\. Freeze more layers"):
        quick_fit(reader(), messages(20))


def test_the_schedule_warms_up_and_comes_down():
    config = replace(PLAIN, warmup=0.1)
    factors = [finetune.rate_factor(config, s, 100) for s in range(100)]
    assert factors[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert factors[10] == 1
    assert factors[-1] < 0.02
    cosine = [finetune.rate_factor(replace(config, schedule="cosine"), s, 100) for s in range(100)]
    assert cosine[55] == pytest.approx(0.5)
    assert finetune.rate_factor(replace(config, schedule="constant"), 99, 100) == 1


def test_early_stopping_restores_the_best_weights():
    scores = iter([0.5, 0.9, 0.8, 0.7, 0.6])
    digests = []

    def score(model, items):
        digests.append(digest(model))
        return next(scores)

    model = reader()
    history = quick_fit(model, messages(20), replace(PLAIN, epochs=9, patience=2), validation=messages(5), score=score)
    assert [round(e["score"], 1) for e in history.epochs] == [0.5, 0.9, 0.8, 0.7]
    assert history.best_epoch == 2
    assert history.stopped == "no improvement for 2 epochs; best was epoch 2"
    assert digest(model) == digests[1]


def test_the_rate_finder_suggests_a_rate_inside_its_range_and_leaves_the_reader_alone():
    model = reader()
    before = digest(model)
    rates, losses, suggestion = finetune.find_learning_rate(model, messages(80), PLAIN, low=1e-5, high=1.0, steps=40)
    assert digest(model) == before
    assert len(rates) == len(losses) > 10
    assert 1e-5 < suggestion < 0.5


# --- killed and resumed ---

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from dataclasses import replace
from test_finetune import PLAIN, digest, messages, quick_fit, reader
model = reader()
config = replace(PLAIN, epochs=3, dropout=0.2, encoder_dropout=0.1, precision={precision!r})
def told(row): print("epoch", flush=True)
history = quick_fit(model, messages(60), config, validation=messages(10, 5), folder={folder!r}, save_every=1, on_epoch=told)
print(digest(model), history.steps, len(history.epochs))
"""


def run_script(folder, precision):
    from pathlib import Path

    code = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder), precision=precision)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_killed_at_several_steps_and_resumed_gives_the_same_weights_bit_for_bit(tmp_path, precision):
    whole = run_script(tmp_path / "whole", precision).communicate(timeout=120)[0].split("\n")[-2]
    assert whole.endswith(" 24 3"), whole
    killed = 0
    for _ in range(4):
        process = run_script(tmp_path / "killed", precision)
        path = tmp_path / "killed" / "checkpoint.safetensors"
        before = path.stat().st_mtime_ns if path.exists() else 0
        for _ in range(4000):  # let it write a few more checkpoints, then kill it wherever it is
            if process.poll() is not None or (path.exists() and path.stat().st_mtime_ns > before):
                break
            time.sleep(0.005)
        time.sleep(random.random() * 0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= 2
    out, err = run_script(tmp_path / "killed", precision).communicate(timeout=120)
    assert out.split("\n")[-2] == whole, err


def test_a_checkpoint_of_another_training_is_refused_with_the_difference(tmp_path):
    config = replace(PLAIN, epochs=1)
    quick_fit(reader(), messages(20), config, folder=tmp_path)
    with pytest.raises(TrainingError, match=r"learning_rate: 0\.003 there, 0\.1 here"):
        quick_fit(reader(), messages(20), replace(config, learning_rate=0.1), folder=tmp_path)
    with pytest.raises(TrainingError, match="data: "):
        quick_fit(reader(), messages(20, seed=9), config, folder=tmp_path)
    with pytest.raises(TrainingError, match="reader: "):
        quick_fit(reader(intents="abd"), messages(20), config, folder=tmp_path)


def test_a_finished_training_is_not_run_again(tmp_path):
    first, second = reader(), reader(seed=3)
    quick_fit(first, messages(20), folder=tmp_path)
    quick_fit(second, messages(20), folder=tmp_path, on_epoch=lambda row: pytest.fail("trained again"))
    assert digest(first) == digest(second)


def test_a_damaged_checkpoint_is_named_with_the_cure(tmp_path):
    quick_fit(reader(), messages(20), folder=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"checkpoint.safetensors cannot be read .*Delete it"):
        quick_fit(reader(), messages(20), folder=tmp_path)


def test_a_full_disk_is_named_and_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    quick_fit(reader(), messages(20), replace(PLAIN, epochs=1), folder=tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(finetune.os, "replace", full)
    (tmp_path / "other").mkdir()
    with pytest.raises(TrainingError, match=r"could not be written .*Free some disk space"):
        quick_fit(reader(), messages(20), folder=tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


# --- several processes ---

LAUNCHED = """
import sys
sys.path.insert(0, {tests!r})
from dataclasses import replace
from test_finetune import PLAIN, messages, quick_fit, reader
from accelerate import PartialState
from safetensors.torch import save_file
model = reader()
quick_fit(model, messages(41), replace(PLAIN, optimizer="sgd", epochs=2))
if PartialState().is_main_process:
    save_file({{k: v.clone() for k, v in model.state_dict().items()}}, {out!r})
print("processes", PartialState().num_processes)
"""


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(tmp_path):
    from pathlib import Path

    from safetensors.torch import load_file

    if not loopback_is_up():
        pytest.skip("processes talk over the machine's loopback, which is down")
    script, out = tmp_path / "train.py", tmp_path / "two.safetensors"
    script.write_text(LAUNCHED.format(tests=str(Path(__file__).parent), out=str(out)))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
               "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", str(script)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("processes 2") == 2, done.stdout
    one = reader()
    quick_fit(one, messages(41), replace(PLAIN, optimizer="sgd", epochs=2))
    two = load_file(out)
    for name, value in one.state_dict().items():
        assert torch.allclose(value, two[name], atol=1e-4), name


# --- what cannot be trained ---


@pytest.mark.parametrize(
    ("items", "config", "words"),
    [
        ([], PLAIN, "nothing to train on"),
        ([Encoded([1] * 30, [0] * 30, 0)], PLAIN, "Message 0 has 30 tokens; the encoder reads at most 24"),
        (
            [Encoded([1, 2], [0, 0], 0), Encoded([1, 2], [0, 0], 5)],
            PLAIN,
            "Message 1 has intent 5; the reader knows 0 to 2",
        ),
        ([Encoded([1, 2], [0, 4], 0)], PLAIN, "Message 0 has a tag outside 0 to 1"),
        ([Encoded([1, 2], [0, 0], 0)] * 4, replace(PLAIN, class_weights=True), "Class 1 has no example"),
        (messages(4), replace(PLAIN, freeze=9), "freeze is 9, but the encoder has 3 blocks"),
    ],
)
def test_data_that_cannot_be_trained_on_is_named(items, config, words):
    with pytest.raises(TrainingError, match=words):
        quick_fit(reader(), items, config)


def test_a_loss_that_is_not_a_number_names_the_step_and_what_helps(monkeypatch):
    usual, calls = finetune.joint_loss, []

    def sick(*arguments):
        calls.append(1)
        return usual(*arguments) * (float("nan") if len(calls) == 3 else 1)

    monkeypatch.setattr(finetune, "joint_loss", sick)
    with pytest.raises(TrainingError, match=r"The loss is nan in step 3 of 12\. Lower the learning rate"):
        quick_fit(reader(), messages(20))


def test_settings_that_do_not_exist_are_named():
    with pytest.raises(UnknownName, match=r"optimizer 'adam'\. Did you mean 'adamw'"):
        Config(optimizer="adam")
    with pytest.raises(TrainingError, match="epochs is 0"):
        Config(epochs=0)
    with pytest.raises(TrainingError, match="freeze is 'all'"):
        Config(freeze="all")
    with pytest.raises(TrainingError, match="got neither"):
        Reader(transformers.BertModel(TINY))
    with pytest.raises(UnknownName, match="tracker 'wandbb'"):
        quick_fit(reader(), messages(9), trackers=("wandbb",))


def test_a_tracker_that_is_not_installed_is_named_with_its_command(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="pip install wandb"):
        finetune.require_tracker("wandb")


def test_the_real_encoder_takes_the_heads():
    model = finetune.new_reader(intents=("a", "b"))
    assert model.encoder.config.hidden_size == 384
    assert (
        quick_fit(model, [Encoded([101, 2000 + n, 102], [IGNORE] * 3, n % 2) for n in range(8)], Config(epochs=1)).steps
        == 1
    )


def test_tensorboard_gets_a_row_per_epoch(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    quick_fit(reader(), messages(40), validation=messages(20, seed=1), folder=tmp_path, trackers=["tensorboard"])
    seen = {}
    for file in tmp_path.rglob("events.out.tfevents.*"):
        data = file.read_bytes()
        while data:  # a record: its length in 8 bytes, a checksum in 4, the event, a checksum in 4
            end = 12 + int.from_bytes(data[:8], "little")
            for value in Event.FromString(data[12:end]).summary.value:
                seen.setdefault(value.tag, []).append(value.simple_value)
            data = data[end + 4 :]
    assert len(seen["train_loss"]) == len(seen["score"]) == PLAIN.epochs
    assert seen["train_loss"][-1] < seen["train_loss"][0]


def test_a_bar_is_plain_text_where_nobody_clicks(monkeypatch):
    monkeypatch.setenv("AGENTLAB_HEADLESS", "1")
    training = finetune.Training(reader(), messages(8), config=PLAIN)
    training.prepare()
    with training.progress() as bar:
        assert type(bar).__module__ == "tqdm.std"
