"""Fixtures: bases of both families, sweeps of the sample corpus with them, and the development data."""

import base64
import gc
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tokenizers
from command_line import vocabopt
from helpers import (
    CORPUS,
    all_ids,
    base_of,
    examples,
    library_tokenizer,
    lines_of,
    merged,
    model_file,
    n_tokens,
    ranks_of,
    split_heldout,
    train_byte_level,
    train_sentencepiece,
)
from hypothesis import settings
from numpy.typing import NDArray
from verification import N_ADDED, Json, small_ranks

from vocabopt.console import Console
from vocabopt.merging.run import merge_run
from vocabopt.options import SweepOptions
from vocabopt.pipeline import run_sweep
from vocabopt.records import json_of
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.patterns import GPT2_PATTERN
from vocabopt.tokenizer.ranks import rank_file

# The browser's tests run beside the others on the same cores: torch's threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# In processes that start from here (xdist's), freed memory goes back to the machine: blocks of a megabyte from glibc
# (it keeps up to 32 MB by itself; 568 -> 500 MB after three sweeps and merges), and kiwipiepy's model (240 MB).
for name, value in {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "1000000",
    "MALLOC_TRIM_THRESHOLD_": "1000000",
    "MIMALLOC_PURGE_DELAY": "0",
}.items():
    os.environ.setdefault(name, value)
# The same examples in every run, and nothing left behind; HYPOTHESIS_PROFILE=random looks for new ones.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, max_examples=examples(100))
settings.register_profile("random", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# Tokenizers are hundreds of thousands of small lists that live on: looking through them for garbage at every 700 new
# objects took a quarter of the time of loading, merging and verifying.
gc.set_threshold(50_000, 10, 10)

ROOT = Path(__file__).parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[None]:
    """What a test says goes from one process to another as UTF-8; names of files that are not go as \\udcNN."""
    return _as_utf8((yield))


def _as_utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_as_utf8(key): _as_utf8(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_as_utf8(inner) for inner in value)
    return value


TEMPLATE = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
CONFIGS: dict[str, dict[str, Any]] = {
    "llama-like": {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "legacy": True,
        "model_max_length": 4096,
    },
    "gpt2-like": {
        "tokenizer_class": "GPT2Tokenizer",
        "add_prefix_space": False,
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "model_max_length": 1024,
    },
    "qwen2-like": {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_prefix_space": False,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "errors": "replace",
        "split_special_tokens": False,
    },
}
N_PADDING_ROWS = 48


@dataclass(frozen=True)
class Run:
    """A finished sweep: its folder, its base, what sweep.json holds, and the curve."""

    out: Path
    base: Tokenizer
    sweep: dict[str, Any]
    curve: pl.DataFrame
    _token_counts: dict[int, dict[str, NDArray[np.int64]]] = field(default_factory=dict, repr=False)

    def exported(self, n_added: int) -> Path:
        """The folder that `vocabopt merge` writes for this size."""
        folder = self.out / f"tokenizer-{n_added}"
        if not folder.exists():
            merge_run(self.out, folder, n_added=n_added)
        return folder

    def tokenizer(self, n_added: int) -> tokenizers.Tokenizer:
        """The exported tokenizer of this size, as the `tokenizers` library loads it."""
        return library_tokenizer(self.exported(n_added))

    def sizes(self) -> list[int]:
        """Those of the sweep's grid that the curve reaches; 0 and the curve's end among them."""
        return sorted(
            {point["n_added"] for point in self.sweep["points"]} & set(range(len(self.curve))) | {len(self.curve)}
        )

    def at(self, n_added: int) -> tokenizers.Tokenizer:
        """At the curve's end what merge wrote; before it what merge would write, without its own proof each time."""
        return self.tokenizer(n_added) if n_added == len(self.curve) else merged(self.base, self.curve, n_added)

    def token_counts(self, n_added: int) -> dict[str, NDArray[np.int64]]:
        """How often each token stands in each text set of the sample corpus, whole documents encoded `at` this size.

        For runs on that corpus; encoded once, for all tests.
        """
        if n_added not in self._token_counts:
            tokenizer, n = self.at(n_added), self.base.n_tokens + n_added
            documents = {**split_heldout(lines_of("ko")), "en": lines_of("en")}
            self._token_counts[n_added] = {
                name: np.bincount([token for ids in all_ids(tokenizer, texts) for token in ids], minlength=n)
                for name, texts in documents.items()
            }
        return self._token_counts[n_added]

    def count(self, name: str, n_added: int) -> int:
        """Tokens of a text set, as the curve says."""
        if n_added == 0:
            return int(self.sweep["sets"][name]["n_tokens_base"])
        return int(self.curve[f"n_tokens_{name}"][n_added - 1])

    def assert_exact(self, documents: Mapping[str, Sequence[str]], sizes: Iterable[int]) -> None:
        """Promise P1: at each size the curve's count is that of whole documents encoded with the exported tokenizer."""
        assert {name: len(texts) for name, texts in documents.items()} == {
            name: stats["n_documents"] for name, stats in self.sweep["sets"].items()
        }
        for size in sizes:
            tokenizer = self.at(size)
            found = {name: n_tokens(tokenizer, texts) for name, texts in documents.items()}
            assert found == {name: self.count(name, size) for name in documents}, size


def sweep(out: Path, base: str, *paths: Path, **options: Any) -> Run:
    result = run_sweep(SweepOptions(paths=tuple(map(str, paths)), out=out, base=base, **options), Console(quiet=True))
    record = json_of(result.record) | ({} if result.union is None else {"union": json_of(result.union)})
    loaded = load_base(base, pattern=options.get("pattern"), specials=options.get("specials"))
    return Run(out, loaded, record, pl.read_parquet(out / "curve.parquet"))


@pytest.fixture(scope="session")
def run_on() -> Callable[..., Run]:
    """Run a sweep: run_on(out, base, path, ..., option=value)."""
    return sweep


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hugging Face folders, one per entry of CONFIGS, of bases trained here; English, and some Korean."""
    lines = lines_of("en") + lines_of("ko")[:200]
    spaced = [line.replace(" ", "  ", 3).replace(" ", "    ", 1) for line in lines[:300]]
    tokenizers = {
        "llama-like": dict(base_of(train_sentencepiece(lines + spaced, 2_000)).tokenizer_json),
        "gpt2-like": train_byte_level(lines, 2_000),
        "qwen2-like": train_byte_level(lines, 2_000, llama3=True),
    }
    root = tmp_path_factory.mktemp("bases")
    for name, tokenizer in tokenizers.items():
        model = {"vocab_size": 2_000 + N_PADDING_ROWS, "hidden_size": 64, "tie_word_embeddings": True}
        config = {**CONFIGS[name], "clean_up_tokenization_spaces": False}
        (root / name).mkdir()
        for file, value in {"tokenizer.json": tokenizer, "tokenizer_config.json": config, "config.json": model}.items():
            (root / name / file).write_text(json.dumps(value), encoding="utf-8")
        (root / name / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def mistral() -> Tokenizer:
    return load_base("mistral-7b-v1")


@pytest.fixture(scope="session")
def llama_like(folders: Path) -> Tokenizer:
    return load_base(str(folders / "llama-like"))


@pytest.fixture(scope="session")
def gpt2_like(folders: Path) -> Tokenizer:
    return load_base(str(folders / "gpt2-like"))


@pytest.fixture(scope="session")
def qwen2_like(folders: Path) -> Tokenizer:
    return load_base(str(folders / "qwen2-like"))


@pytest.fixture(scope="session")
def rank_base(qwen2_like: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A small tiktoken base: the file, and the options that say what it leaves out."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "small.tiktoken").write_bytes(rank_file(ranks_of(qwen2_like)))
    (folder / "specials.txt").write_text("<|end|>\n<|pad|>\n", encoding="utf-8")
    return [str(folder / "small.tiktoken"), "llama3", str(folder / "specials.txt")]


@pytest.fixture(scope="session")
def tekken_base(qwen2_like: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small Tekken file in the form of the package's own: special ids first, and more ranks than it uses."""
    document = json.loads(model_file("tekken_240911.json").read_bytes())
    ranks = ranks_of(qwen2_like)
    tokens = [*ranks, b" unused", b" ranks"]
    document["vocab"] = [
        {"rank": i, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for i, token in enumerate(tokens)
    ]
    document["config"] |= {
        "num_vocab_tokens": len(tokens),
        "default_vocab_size": len(ranks) + 100,
        "default_num_special_tokens": 100,
    }
    path = tmp_path_factory.mktemp("tekken") / "tekken.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def run_of(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """The sweep of the sample corpus with a base, by its name: made once, and only read by tests."""
    root = tmp_path_factory.mktemp("runs")

    @cache
    def made(name: str) -> Run:
        if name in CONFIGS:
            return sweep(root / name, str(folders / name), CORPUS, model=str(folders / name))
        return sweep(root / name, name, CORPUS)

    return made


@pytest.fixture(scope="session", params=["mistral-7b-v1", *CONFIGS])
def run(request: pytest.FixtureRequest, run_of: Callable[[str], Run]) -> Run:
    """A sweep of the sample corpus, with each base in turn."""
    return run_of(request.param)


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on one file of the sample corpus, made by the command line."""
    out = tmp_path_factory.mktemp("swept") / "run"
    assert vocabopt("sweep", CORPUS / "ko" / "news.txt", "--out", out, "--quiet").exit_code == 0
    return out


#: Tokens that the tokenizer of `run_dir` has added.
N_MERGED = 300


@pytest.fixture(scope="session")
def llama(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama with random weights and the tokenizer of the folder llama-like; some rows are padding."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    out = tmp_path_factory.mktemp("small") / "base"
    out.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (out / name).write_bytes((folders / "llama-like" / name).read_bytes())
    torch.manual_seed(0)
    widths = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = LlamaConfig(vocab_size=2_048, num_hidden_layers=2, max_position_embeddings=64, **widths)
    LlamaForCausalLM(config).save_pretrained(out)
    return out


@pytest.fixture(scope="session")
def run_dir(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of the Korean corpus with that base, after merge."""
    out = tmp_path_factory.mktemp("merged") / "run"
    run = sweep(out, str(llama), CORPUS / "ko", heldout=0.1)
    run.exported(N_MERGED).rename(out / "tokenizer")
    return out


@pytest.fixture(scope="session")
def llama_model(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama whose tokenizer leaves padding rows: 2,000 tokens in 2,048 rows."""
    from model_folders import config_for, with_tokenizer, write_model

    folder = tmp_path_factory.mktemp("models") / "llama"
    return with_tokenizer(write_model(folder, config_for("llama-like")), folders / "llama-like")


@pytest.fixture(scope="session")
def llama_merged(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged tokenizer of its base."""
    from model_folders import N_ADDED

    base = str(folders / "llama-like")
    return sweep(tmp_path_factory.mktemp("runs") / "llama", base, CORPUS, model=base).exported(N_ADDED)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors are slower on two. Objects that are there already need no search for cycles at every stage."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(n_threads)


# --- The development data, not part of the project -------------------------------------------------------------------


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the development data: VOCABOPT_DATA, else ../shared/data."""
    folder = Path(os.environ.get("VOCABOPT_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "README.md").is_file():
        pytest.skip(f"no development data in {folder}; name its folder in VOCABOPT_DATA")
    return folder


@pytest.fixture(scope="session")
def gpt2(data: Path) -> Tokenizer:
    return load_base(str(data / "tok_gpt2" / "tokenizer.json"))


@pytest.fixture(scope="session")
def llama2(data: Path) -> Tokenizer:
    return load_base(str(data / "tok_llama2" / "tokenizer.model"))


# --- Verification ---


@pytest.fixture(scope="session")
def grown(run_of: Callable[[str], Run], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Merged tokenizers with 300 new tokens, by the name of their base; two bases are in forms of their publishers."""
    root = tmp_path_factory.mktemp("grown")
    (root / "tokenizer.model").write_bytes(train_sentencepiece(lines_of("en"), 1_000))
    (root / "small.tiktoken").write_bytes(rank_file(small_ranks(lines_of("en"))))
    told = {"pattern": GPT2_PATTERN, "specials": "none"}
    runs = {
        "llama-like": lambda: run_of("llama-like"),
        "qwen2-like": lambda: run_of("qwen2-like"),
        "model-like": lambda: sweep(root / "model", str(root / "tokenizer.model"), CORPUS),
        "ranks-like": lambda: sweep(root / "ranks", str(root / "small.tiktoken"), CORPUS, **told),
    }
    return _Asked(lambda name: runs[name]().exported(N_ADDED))


class _Asked(dict[str, Path]):
    """Folders by name, each made when a test first asks for it."""

    def __init__(self, make: Callable[[str], Path]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> Path:
        self[name] = folder = self._make(name)
        return folder


@pytest.fixture
def no_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if transformers were not installed: it takes most of the time of verifying a small tokenizer."""
    monkeypatch.setitem(sys.modules, "transformers", None)


@pytest.fixture
def spoil(grown: dict[str, Path], tmp_path: Path, no_reload: None) -> Callable[..., Path]:
    """Copy a merged tokenizer and change its tokenizer.json: spoil(change, name of the base)."""

    def make(change: Callable[[Json], None] = lambda value: None, name: str = "llama-like") -> Path:
        folder = tmp_path / "spoilt"
        shutil.copytree(grown[name], folder, dirs_exist_ok=True)
        value = json.loads((folder / "tokenizer.json").read_text("utf-8"))
        change(value)
        (folder / "tokenizer.json").write_text(json.dumps(value), "utf-8")
        return folder

    return make
