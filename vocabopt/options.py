"""The options of the commands that count text: every name, default, help text and check stands here, on its field.

ReadOptions, RankFileOptions and LearningOptions hold what several commands share.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from vocabopt.amounts import parse_bytes, parse_window, shown_bytes
from vocabopt.choice.options import ChoiceOptions
from vocabopt.errors import BASES, OptionError
from vocabopt.option_fields import Check, Options, argument, at_least, from_to, one_of, option, share_from_0
from vocabopt.swap import DEFAULT_KEEP_WEIGHT, DEFAULT_MAX_SWAP
from vocabopt.text.scripts import parse_scripts
from vocabopt.text.sets import HELDOUT, TRAIN

DEFAULT_BASE = "mistral-7b-v1"
#: More rows than any text could fill, and fewer than would take all memory.
MAX_ADDED = 2_000_000

#: Random strings that rows swapped are verified on.
N_RANDOM_STRINGS = 20_000

#: Less would not hold the libraries that a process loads.
MIN_MEMORY_BYTES = 200_000_000

TextFormat: TypeAlias = Literal["auto", "text", "jsonl", "json", "csv", "tsv", "parquet"]
FORMATS: tuple[str, ...] = get_args(TextFormat)

_READING, _RANK_FILES, _UNION, _LEARNING = "reading text", "tiktoken rank files", "union", "learning tokens"
_TARGETS = "several targets"
_SWAP, _PROCESSES = "swap", "processes"
_NO_CODEC = "unknown text encoding; try utf-8, cp949, utf-16"


def is_text_encoding(codec: str) -> bool:
    """Whether Python can encode text so; unlike codecs.lookup, "hex" and others that take no text cannot."""
    try:
        "".encode(codec)
    except (LookupError, ValueError):
        return False
    return True


def free_memory_bytes() -> int:
    """Memory that can still be taken: what the machine has free, or less where this process is in a control group."""
    page = os.sysconf("SC_PAGE_SIZE")
    free = page * os.sysconf("SC_PHYS_PAGES")
    meminfo, group = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
    if meminfo.is_file() and (found := re.search(r"^MemAvailable: +(\d+) kB", meminfo.read_text(), re.MULTILINE)):
        free = int(found[1]) * 1024
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()).isdigit():
        free = min(free, max(0, int(text) - int(used.read_text())))
    return free


# fmt: off
@dataclass(frozen=True, kw_only=True)
class TextOptions(Options):
    """How text is stored, for every command that reads some."""

    unit: Literal["line", "file"] = option("line", section=_READING, help="What a document is in a text file.")
    column: str | None = option(
        None, metavar="NAME", section=_READING, default_text="text",
        help="Text column of records: .jsonl, .json, .csv, .tsv, .parquet."
    )
    encoding: str = option(
        "utf-8", section=_READING, check=Check(is_text_encoding, _NO_CODEC), help="Encoding of the text, e.g. cp949."
    )
    format: TextFormat = option(
        "auto", section=_READING, check=one_of(FORMATS, "no such format; choose"),
        help="Format of all text. auto goes by each file's suffix, and refuses a text file (or standard input) that "
        "holds something else."
    )

    def read_options(self) -> "ReadOptions":
        """The part that says how text is read."""
        names = (given.name for given in fields(ReadOptions))
        return ReadOptions(**{name: getattr(self, name) for name in names if hasattr(self, name)})


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(TextOptions):
    """How text is read, where records that cannot be read may be left out."""

    on_error: Literal["fail", "skip"] = option(
        "fail", section=_READING, help="What to do with a record that cannot be read."
    )


@dataclass(frozen=True, kw_only=True)
class ReadOptions(ReadingOptions):
    """How one set of text is read.

    unit: what a document is in a text file: a line or the whole file. Records of the other formats are documents.
    column: the field that holds the text in records; None takes "text".
    encoding: a Python codec, for all formats but parquet.
    fallback: a codec for each line of UTF-8 text, jsonl, csv or tsv that is not UTF-8; None has none.
    on_error: "skip" leaves out and counts documents that cannot be read, instead of raising CorpusError.
    """

    fallback: str | None = None


@dataclass(frozen=True, kw_only=True)
class EngineOptions(Options):
    """Where shards are worked on; no result depends on it. workers: None for all cores, or all of the cluster."""

    engine: str = option(
        "local", metavar="local|ray[:ADDRESS]", section=_PROCESSES,
        check=Check(lambda value: value in ("local", "ray") or bool(re.fullmatch(r"ray:\S+", value)),
                    "must be local, ray, or ray:ADDRESS such as ray:10.0.0.1:6379"),
        help="Where text is worked on: processes of this machine, or a Ray cluster, which changes no output. ray "
        "without an address: the cluster that RAY_ADDRESS names, else Ray on this machine."
    )
    workers: int | None = option(
        None, metavar="N", section=_PROCESSES, check=from_to(1, 1024, "1 and 1024 processes"),
        default_text="all cores", help="Processes; they change no output."
    )
    memory: str | None = option(
        None, metavar="SIZE", section=_PROCESSES, default_text="half of what is free",
        help="Memory that all processes together may take, as 16GB; it changes no output."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory is not None and self.memory_bytes < MIN_MEMORY_BYTES:
            raise OptionError(f"--memory {self.memory}: must be at least {shown_bytes(MIN_MEMORY_BYTES)}.")

    @property
    def memory_bytes(self) -> int:
        """What all processes on this machine may take together."""
        if self.memory is None:
            return free_memory_bytes() // 2
        return parse_bytes(self.memory, "--memory", "16GB or 500MB")

    @property
    def n_workers(self) -> int:
        """Processes on this machine."""
        # Cores that this process may use; macOS does not tell them.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.workers or cores

    @property
    def ray_address(self) -> str | None:
        """None: that of RAY_ADDRESS, else Ray on this machine."""
        return self.engine.partition(":")[2] or None

    def as_record(self) -> dict[str, Any]:
        """What moves the result, which these options do not."""
        mine = {given.name for given in fields(EngineOptions)}
        return {name: value for name, value in super().as_record().items() if name not in mine}


@dataclass(frozen=True, kw_only=True)
class RankFileOptions(Options):
    """What a tiktoken rank file leaves out."""

    pattern: str | None = option(
        None, metavar="NAME|REGEX", section=_RANK_FILES,
        help="Split pattern of a tiktoken rank file whose name does not tell it: by name (llama3, qwen ...), or as a "
        "regular expression."
    )
    specials: str | None = option(
        None, metavar="NAME|FILE|none", section=_RANK_FILES,
        help="For a tiktoken rank file whose name does not tell: its special tokens, by name (llama3, qwen ...), or in "
        "a file: JSON {content: id}, or a line each."
    )


@dataclass(frozen=True, kw_only=True)
class LearningOptions(RankFileOptions, ReadingOptions):
    """How tokens are learned from text: what `sweep` and `sensitivity` share. out: the folder of the result."""

    out: Path = option(daily=True, help="Folder of the result.")
    base: str = option(DEFAULT_BASE, daily=True, help=f"Base tokenizer: {BASES}.")
    scripts: str = option(
        "auto", "--script", metavar="auto|none|NAME[,NAME]", daily=True,
        help="Script every new token must show, e.g. Hangul; several with commas. auto: those of the training text, "
        "none where Latin prevails; then only protected text guards other text."
    )
    max_added: int = option(
        40_000, check=from_to(1, MAX_ADDED), section=_LEARNING, help="Tokens to add at most."
    )
    heldout: float = option(
        0.05, daily=True, check=share_from_0(" (0.05 holds out 5 %)"),
        help="Share of documents held out, picked by content."
    )
    model: str | None = option(
        None, metavar="MODEL", daily=True, default_text="the config.json in the base's folder, else its preset",
        help="Model whose embedding is counted: config.json, folder, GGUF, or preset."
    )
    min_saving: int = option(
        2, section=_LEARNING, help="Stop when the best token saves fewer tokens of the training text.",
        check=Check(lambda value: 1 <= value < 2**63, "must be at least 1 token, and below 2**63")
    )
    seed: int = option(
        0, section=_LEARNING, check=from_to(0, 2**64 - 1, "0 and 2**64 - 1"),
        help="Picks other held-out documents, folds and resamples."
    )


def parse_share(value: str, flag: str) -> float | None:
    """`auto` as None, or a share above 0, 1 at most. Raises OptionError."""
    if value == "auto":
        return None
    try:
        share = float(value)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise OptionError(f"{flag} {value}: write auto, or a share of the documents above 0, such as 0.1; 1 is all.")
    return share


@dataclass(frozen=True, kw_only=True)
class SweepOptions(LearningOptions, EngineOptions):
    """Everything that moves the result of a sweep, as given on the command line.

    paths: files, folders, globs, URLs or "-". texts, aligned, evals, protects, keeps: NAME -> PATH. sizes: None for the
    default grid. cross_spaces: new tokens may hold a space after another character, as far as the base's own pattern
    lets them. shard: in bytes. learn_from: None for as many documents as fit into memory.
    """

    paths: tuple[str, ...] = argument(metavar="PATH...")
    out: Path = option(daily=True, help="Run directory.", default_text="reports/<corpus>-<base>")
    target: str | None = option(
        None, metavar="SET[,SET]", daily=True,
        help="Text set to learn from, where folders are named by language; several with commas: ko,ja,th."
    )
    texts: Mapping[str, str] = option(
        dict, "--text", metavar="NAME=PATH", section=_TARGETS,
        help="Text of a target of this name, from anywhere; may be repeated for several targets."
    )
    balance: str | None = option(
        None, metavar="tokens|parity|NAME:WEIGHT,...", section=_TARGETS, default_text="tokens",
        help="How several targets share the new rows. tokens: the token that saves most in all text comes first, whose "
        "ever it is; NAME:WEIGHT,...: the same, each target's savings times its weight. parity: each row goes to the "
        "target that is served worst at that moment."
    )
    aligned: Mapping[str, str] = option(
        dict, "--aligned", metavar="NAME=PATH", section=_TARGETS,
        help="The same documents in each target and in the language of --parity, to measure only; may be repeated."
    )
    parity: str | None = option(
        None, metavar="NAME", section=_TARGETS,
        help="Language of --aligned that the targets are compared with; --balance parity then goes by it."
    )
    evals: Mapping[str, str] = option(
        dict, "--eval", metavar="NAME=PATH", daily=True, help="Text to measure only; may be repeated."
    )
    protects: Mapping[str, str] = option(
        dict, "--protect", metavar="NAME=PATH", daily=True,
        help="Text that must tokenise as before. With a target script, words that hold a character of it are not "
        "protected; --script none protects all. May be repeated."
    )
    sizes: str | None = option(
        None, metavar="START:STOP:STEP|LIST", daily=True, help="Added tokens to tabulate.",
        default_text="8000:40000:4000, or nine steps to where the text runs dry"
    )
    method: Literal["grow", "union", "swap"] = option(
        "grow", daily=True,
        help="How tokens are found: grow adds to the base's own merges; swap also gives the grown tokens rows of the "
        "base that --keep text needs least, --sizes being numbers of rows; union also measures RedWhale's way beside "
        "it, a SentencePiece vocabulary trained apart and joined to the base, --sizes being those of that vocabulary."
    )
    keeps: Mapping[str, str] = option(
        dict, "--keep", metavar="NAME=PATH", daily=True,
        help="With --method swap: text whose tokens should stay few (English, code). May be repeated."
    )
    terms: str | None = option(
        None, metavar="FILE", section=_LEARNING,
        help="Terms of your field, one a line: how each is cut at every size, and at which it becomes one token."
    )
    min_script_share: float = option(
        0.1, section=_LEARNING,
        check=Check(lambda value: 0 < value <= 1, "must be above 0 and at most 1 (0.1: a tenth)"),
        help="With --script auto: smallest share of the letters at which a non-Latin writing system is a target."
    )
    learn_from: float | None = option(
        None, metavar="auto|SHARE", section=_LEARNING, default_text="auto", parse=parse_share,
        help="Share of the training documents to learn tokens from, picked by content; auto: as many as fit into "
        "--memory. All text is counted with these tokens in any case, exactly."
    )
    memory: str | None = option(
        None, metavar="SIZE", section=_PROCESSES, default_text="half of what is free",
        help="Memory that all processes together may take, as 16GB. Where not all text fits, tokens are learned from "
        "as much as does."
    )
    shard: int = option(
        64_000_000, metavar="SIZE", section=_PROCESSES, default_text="64MB", parse=parse_bytes,
        help="Stored text that is counted at a time where not all fits into memory. It changes no output."
    )
    widen_pattern: str | None = option(
        None, metavar="auto|SCRIPT[,SCRIPT]", section=_LEARNING,
        help="Widen the base's split pattern so that words of a script keep their marks, e.g. Devanagari, where GPT-2, "
        "Llama 3 and Qwen cut at each of them. auto: for those target scripts that it cuts so. Other text is cut as "
        "before."
    )
    cross_spaces: bool = option(
        False, section=_LEARNING,
        help="New tokens may hold a space after another character (two words, or one and its full stop and space), "
        "where the base's own pattern does not cut there. Counts whole documents, which is slow."
    )
    max_swap: int | None = option(
        None, metavar="N", section=_SWAP, check=from_to(1, MAX_ADDED),
        default_text=f"the largest of --sizes, else {DEFAULT_MAX_SWAP:,}", help="Rows to swap at most."
    )
    keep_weight: float = option(
        DEFAULT_KEEP_WEIGHT, section=_SWAP, check=Check(lambda value: 0 <= value <= 1_000, "must be 0 to 1,000"),
        help="What a token more in each --keep text counts beside one less in the target, both as shares of their "
        "text: 2 takes 1 % more tokens of English for 2 % fewer of the target. Decides which rows go, and how many."
    )
    vocab: str | None = option(
        None, metavar="FILE.model", section=_UNION, default_text="trained on the text",
        help="Vocabulary for the union, trained elsewhere."
    )
    scores: Literal["unique", "zero"] = option(
        "unique", section=_UNION,
        help="Scores of the union's new pieces: each its own below the base's, or all zero as Chinese-LLaMA has them."
    )

    def __post_init__(self) -> None:
        if not self.paths and not self.texts:
            raise OptionError("No text given. Name files or folders, for example: vocabopt sweep corpus/")
        super().__post_init__()
        if self.parity is not None and self.parity not in self.aligned:
            named = ", ".join(self.aligned) or "none"
            raise OptionError(
                f"--parity {self.parity}: is not among the aligned text ({named}). Name it with --aligned "
                f"{self.parity}=PATH."
            )
        if self.aligned and self.parity is None:
            raise OptionError(
                f"--aligned {', '.join(self.aligned)}: say with --parity which of these the others are compared with."
            )
        if self.balance == "parity" and self.parity is not None and self.learn_from not in (None, 1.0):
            raise OptionError(
                f"--learn-from {self.learn_from:g}: --balance parity with --parity goes by aligned text, which is not "
                "counted where tokens are learned from a share of the text. Leave one of them out."
            )
        if self.method != "grow" and self.terms is not None:
            raise OptionError(
                f"--terms {self.terms}: shows how grown tokens cut terms, and a {self.method} cuts them otherwise. "
                f"Leave it out, or leave --method {self.method} out."
            )
        if self.widen_pattern not in (None, "auto"):
            parse_scripts(self.widen_pattern, flag="--widen-pattern")
        if self.method != "grow" and self.widen_pattern is not None:
            raise OptionError(
                f"--widen-pattern {self.widen_pattern}: a {self.method} is measured with the base as it is. Leave it "
                f"out, or leave --method {self.method} out."
            )
        if self.method == "swap" and self.learn_from not in (None, 1.0):
            raise OptionError(
                f"--learn-from {self.learn_from:g}: the swap is measured on all text at once. Leave it out, or leave "
                "--method swap out."
            )
        self._check_swap()
        if self.method != "union" and (self.vocab is not None or self.scores != "unique"):
            flag = f"--vocab {self.vocab}" if self.vocab is not None else f"--scores {self.scores}"
            raise OptionError(f"{flag}: is about the union method. Add --method union, or leave it out.")

    def _check_swap(self) -> None:
        """Raises OptionError: options of a swap without one."""
        if self.method == "swap":
            if self.cross_spaces:
                raise OptionError("--cross-spaces: is not for --method swap. Leave one of them out.")
            return
        given = {
            "--keep": next((f"{name}={path}" for name, path in self.keeps.items()), None),
            "--max-swap": self.max_swap,
            "--keep-weight": None if self.keep_weight == DEFAULT_KEEP_WEIGHT else f"{self.keep_weight:g}",
        }
        for flag, value in given.items():
            if value is not None:
                raise OptionError(f"{flag} {value}: is about rows swapped. Add --method swap, or leave it out.")


@dataclass(frozen=True, kw_only=True)
class SensitivityOptions(LearningOptions):
    """What moves the comparison of several corpora. corpora: NAME -> PATH.

    n_added: the size at which vocabularies are compared; None for the recommendation of all together.
    """

    corpora: Mapping[str, str] = argument(metavar="CORPUS CORPUS...", parse=lambda given, flag: named_corpora(given))
    n_added: int | None = option(
        None, "--size", metavar="N", daily=True, default_text="that recommended for all together",
        help="Size at which vocabularies are compared."
    )
    window: tuple[int, int] | None = option(
        None, metavar="START:STOP", parse=parse_window, daily=True,
        help="Added tokens between which knees are sought, as in `choose`."
    )

    def __post_init__(self) -> None:
        if len(self.corpora) < 2:
            raise OptionError("Name at least two corpora, for example: vocabopt sensitivity news/ wiki/ --out DIR")
        for name in self.corpora:
            if name in (TRAIN, HELDOUT, "together"):
                raise OptionError(f"{name}={self.corpora[name]}: the name {name} is kept. Choose another.")
        if not 0 < self.heldout < 1:
            raise OptionError(
                f"--heldout {self.heldout}: must be above 0 and below 1: costs are measured on that text."
            )
        super().__post_init__()
        if self.n_added is not None and not 0 < self.n_added <= self.max_added:
            raise OptionError(f"--size {self.n_added}: must be between 1 and --max-added, {self.max_added:,}.")
        _ = self.choice

    @property
    def read(self) -> ReadOptions:
        return self.read_options()

    @property
    def choice(self) -> ChoiceOptions:
        """How the size of each corpus is chosen."""
        return ChoiceOptions(window=self.window, seed=self.seed)

    def as_record(self) -> dict[str, Any]:
        record = super().as_record()
        del record["window"]
        read = {name: record.pop(name) for name in ("unit", "column", "encoding", "on_error", "format")}
        return {**record, "read": {**read, "fallback": None}, "choice": self.choice.as_record()}


def named_corpora(given: tuple[str, ...]) -> dict[str, str]:
    """NAME=PATH, or a PATH, which is named by its last part; name -> path.

    Raises:
        OptionError: a name or path is empty, or a name stands twice.
    """
    named: dict[str, str] = {}
    for corpus in given:
        name, separator, path = corpus.partition("=")
        if not separator or "/" in name:
            path = corpus
            last = Path(re.sub(r"[*?]", "", path).rstrip("/")).name.partition(".")[0]
            name = re.sub(r"[^A-Za-z0-9_-]+", "_", last).strip("_-")
        if not name or not path:
            raise OptionError(f"{corpus}: write NAME=PATH, for example news=news.txt")
        if name in named:
            raise OptionError(f"{corpus}: there is a corpus {name!r} already. Name it: NAME={path}")
        named[name] = path
    return named


@dataclass(frozen=True, kw_only=True)
class MergeOptions(RankFileOptions):
    """Which tokens are merged into which base: those of a sweep (run_dir), or a vocabulary of its own (base, vocab)."""

    run_dir: Path | None = argument(None, metavar="[DIR]")
    n_added: int | None = option(
        None, "--size", metavar="N", daily=True, default_text="the size the sweep chose", help="Tokens to add."
    )
    out: Path | None = option(None, daily=True, default_text="DIR/tokenizer", help="Folder of the merged tokenizer.")
    pad_to: int | None = option(
        None, metavar="N", daily=True, check=at_least(1),
        help="Round the rows of the model's table up to a multiple of N. Recorded in extension.json; adds no token."
    )
    method: Literal["grow", "union", "swap"] | None = option(
        None, section=_UNION, default_text="what the sweep was run with",
        help="Tokens of the curve in new rows, of the curve in rows of the base, or of the union measured beside it."
    )
    base: str | None = option(
        None, section=_UNION,
        help=f"Without DIR: the base to join --vocab to: {BASES}. With DIR: the base that the sweep must be of."
    )
    vocab: Path | None = option(
        None, metavar="FILE.model", section=_UNION,
        help="SentencePiece vocabulary to join to --base; needs no sweep."
    )
    scores: Literal["unique", "zero"] | None = option(
        None, section=_UNION, default_text="unique",
        help="Scores of the pieces of --vocab: each its own below the base's, or all zero as Chinese-LLaMA has them, "
        "to compare with."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.run_dir is None and self.base is not None and self.vocab is not None and self.out is None:
            raise OptionError("No folder to write to. Name one with --out.")

    def check_source(self) -> None:
        """Refuse options that do not go together.

        Raises:
            OptionError: one completes or replaces what is not there.
        """
        if self.base is None:
            self._refuse(
                ("pattern", "specials"), "completes --base; a sweep's folder remembers its own. Leave it out."
            )
        if self.run_dir is not None:
            words = "a sweep has its own. Leave it out, or leave DIR out and name --base."
            self._refuse(("vocab", "scores"), words)
        elif self.base is None or self.vocab is None:
            raise OptionError("Nothing to merge. Name the folder of a sweep, or --base and --vocab.")
        else:
            self._refuse(("n_added", "method"), "is for a sweep's folder; all new pieces of --vocab are joined.")

    def _refuse(self, names: tuple[str, ...], words: str) -> None:
        for name in names:
            if (value := getattr(self, name)) is not None:
                raise OptionError(f"--{'size' if name == 'n_added' else name} {value}: {words}")


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(RankFileOptions, ReadingOptions):
    """Everything that a verification depends on beside the two tokenizers.

    texts, protects: NAME -> PATH. scripts: "auto", "none" or script names.
    """

    texts: Mapping[str, str] = option(
        dict, "--text", metavar="NAME=PATH", daily=True,
        help="Text to check with: its lines without the target script must not change, the others show which tokens "
        "are used. May be repeated."
    )
    protects: Mapping[str, str] = option(
        dict, "--protect", metavar="NAME=PATH", daily=True,
        help="Text of which no line may change (with a script guard: none without the target script). May be repeated."
    )
    scripts: str = option(
        "auto", "--script", metavar="auto|none|NAME[,NAME]", daily=True,
        help="Target script of the new tokens; auto asks extension.json, else the tokens."
    )
    random_strings: int | None = option(
        None, metavar="N", check=at_least(0), default_text=f"{N_RANDOM_STRINGS:,} where rows were swapped, else 0",
        help="Random strings of Unicode that must decode as with BASE, and be the same in all forms of NEW."
    )


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions(RankFileOptions, ReadingOptions, EngineOptions):
    """Everything that moves the result of an analysis.

    tokenizers: PATH or NAME=PATH each. texts: NAME -> PATH. out: where analyze.json, analyze.html and figures/ go; None
    writes nothing.
    """

    tokenizers: tuple[str, ...] = argument(metavar="TOKENIZER...")
    texts: Mapping[str, str] = option(
        dict, "--text", metavar="NAME=PATH", daily=True, help="Text to encode, a set of its own; may be repeated."
    )
    parity: str | None = option(
        None, metavar="NAME", daily=True,
        help="Text set to compare the others with, document by document: all must be aligned with it."
    )
    out: Path | None = option(None, daily=True, help="Folder for analyze.json, analyze.html and figures/.")
    rare: int = option(
        10, metavar="N", section="measuring", check=at_least(1, " (1 calls no used token rare)"),
        help="Tokens seen, but fewer times than this in all text, are counted as rare."
    )
    morpheme_documents: int = option(
        1_000, metavar="N", section="measuring", check=at_least(0, " (0 leaves morphemes out)"),
        help="Documents of each Korean set to split into morphemes, picked by content; 0 leaves that out."
    )

    def __post_init__(self) -> None:
        if not self.tokenizers:
            raise OptionError(
                "No tokenizer given. Name some, for example: vocabopt analyze mistral-7b-v1 ./my-tokenizer"
            )
        if not self.texts:
            raise OptionError("No text given. Name some with --text NAME=PATH, for example --text ko=korean.txt")
        super().__post_init__()
        if self.parity is not None and self.parity not in self.texts:
            named = ", ".join(self.texts)
            raise OptionError(
                f"--parity {self.parity}: is no text set; there are {named}. Name it with --text as well."
            )

    def as_record(self) -> dict[str, Any]:
        """What analyze.json says of them; where the result goes, and where it is computed, is no part of it."""
        left_out = ("out", "engine", "workers")
        return {name: value for name, value in super().as_record().items() if name not in left_out}
# fmt: on


def default_out(paths: tuple[str, ...], base: str, texts: Iterable[str] = ()) -> Path:
    """reports/<corpus>-<base>, from the first path, or the names of the targets."""
    paths = paths or ("-".join(sorted(texts)),)
    corpus = Path(paths[0].rstrip("/*")).name if paths and paths[0] != "-" else "stdin"
    names = (re.sub(r"[^\w.-]+", "_", name) for name in (corpus or "corpus", Path(base).name))
    return Path("reports") / "-".join(names)
