"""From text to the folder of a base model: read, tokenizer, model, training, files.

DIR/demo.json                what went in, what came out; "finished" once all is there
DIR/heldout.jsonl            the documents that were held out, for `--eval en=DIR/heldout.jsonl`
DIR/heldout-NAME.jsonl       those of a text that was mixed in
DIR/config.json, model.safetensors, tokenizer.json, tokenizer.model ...   as any Hugging Face folder
"""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from demo.model import base_of_model, build_model, tokenizer_files, train_tokenizer
from demo.options import DemoOptions
from demo.text import DemoText, MixedText, batches, encode, n_bytes_of, some
from demo.train import EVAL_BATCH, DemoPoint, train_base
from trainer.evaluate import continuations, pick_prompts, score_text
from trainer.init.models import save_model
from vocabopt.console import Console
from vocabopt.errors import RunDirectoryError
from vocabopt.folder import check_own_folder, digest, write_bytes_atomic
from vocabopt.records import FileRecord, Record, read_record, write_record
from vocabopt.text.scripts import contains_target, find_target_scripts
from vocabopt.tokenizer import Tokenizer
from vocabopt.versions import versions

#: Raised when the same text and options give another base.
CODE_VERSION = 1
DEMO_JSON = "demo.json"
HELD_OUT = "heldout.jsonl"
_SAMPLE_TOKENS = 24


class StartedRecord(FileRecord, frozen=True, kw_only=True):
    """demo.json before the base is finished."""

    NEXT_STEP: ClassVar[str] = "Choose another folder with --out."

    status: str
    identity: str


class DemoTextRecord(Record, frozen=True, kw_only=True):
    """n_documents, n_bytes: of --text alone. n_tokens: of all that is learned from."""

    sha256: str
    n_documents: int
    n_bytes: int
    n_tokens: int
    n_heldout_documents: int
    n_heldout_bytes: int


class DemoMixRecord(Record, frozen=True, kw_only=True):
    """A text that was mixed in. scripts: of its letters. n_pieces: tokens of the base with a character of them.
    bits_per_byte: of its held-out text, with the finished base."""

    name: str
    n_documents: int
    n_bytes: int
    n_heldout_documents: int
    scripts: tuple[str, ...]
    n_pieces: int
    bits_per_byte: float


class DemoSample(Record, frozen=True, kw_only=True):
    prompt: str
    after: str


class DemoRecord(StartedRecord, frozen=True, kw_only=True):
    options: dict[str, Any]
    text: DemoTextRecord
    n_params: int
    n_tokens: int
    curve: tuple[DemoPoint, ...]
    #: Over the text that is learned from.
    passes: float
    samples: tuple[DemoSample, ...]
    seconds: dict[str, float]
    versions: dict[str, str]
    mixed: tuple[DemoMixRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DemoBase:
    """A finished base: its folder, what demo.json holds, and whether it was there already."""

    folder: Path
    record: DemoRecord
    was_there: bool

    @property
    def bits_per_byte(self) -> float:
        """Of held-out text, after the last step."""
        return self.record.curve[-1].bits_per_byte


def identity(text: DemoText, options: DemoOptions) -> str:
    """What a base is known by: the same text, options and code make the same base."""
    return digest({"code_version": CODE_VERSION, "text": text.sha256, "options": options.identity()})


def make_base(text: DemoText, options: DemoOptions, out: Path, console: Console | None = None) -> DemoBase:
    """Make the base in `out`, or take the one that is there if it is the same.

    Raises:
        RunDirectoryError: `out` cannot be written, or holds another base or other files.
        OptionError: the text cannot give such a tokenizer, or there is no such device.
        TrainingError: a loss is not a number, or no memory.
    """
    console = console or Console(quiet=True)
    key = identity(text, options)
    if check_own_folder(out, DEMO_JSON):
        # What a run that was killed left is made anew.
        there = read_record(out / DEMO_JSON, StartedRecord)
        if there.status == "finished" and there.identity != key:
            raise RunDirectoryError(
                f"{out}: holds a base made from other text, options or code. Choose another folder with --out."
            )
        if there.status == "finished":
            return DemoBase(folder=out, record=read_record(out / DEMO_JSON, DemoRecord), was_there=True)
    write_record(out / DEMO_JSON, StartedRecord(status="running", identity=key))
    with _threads(options.threads):
        record = _make(text, options, out, key, console)
    write_record(out / DEMO_JSON, record)
    return DemoBase(folder=out, record=record, was_there=False)


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _make(text: DemoText, options: DemoOptions, out: Path, key: str, console: Console) -> DemoRecord:
    begin = time.perf_counter()
    with console.step("train tokenizer"):
        model_file = train_tokenizer(text.all_training, options.vocab_size, options.character_coverage)
        base = base_of_model(model_file)
    ids = base.tokenizer_json["model"]["vocab"]
    start, end = (ids[base.special_names[name]] for name in ("bos_token", "eos_token"))
    encoded = encode(base, text.all_training, start=start, end=end)
    files = tokenizer_files(base)
    tokenizer = load_tokenizer(files)
    model = build_model(options, n_tokens=base.n_tokens, special_ids={"bos_token_id": start, "eos_token_id": end})
    source = batches(encoded, n_blocks=options.batch, context_tokens=options.context_tokens, seed=options.seed)
    points = train_base(model, tokenizer, source, some(text.held_out, options.eval_bytes), options, console)
    prompts = pick_prompts(text.held_out, n=3)
    written = continuations(model, tokenizer, prompts, n_tokens=_SAMPLE_TOKENS)
    _write_held_out(out / HELD_OUT, text.held_out)
    mixed = tuple(_mixed(part, base, model, tokenizer, options) for part in text.mixed)
    for part in text.mixed:
        _write_held_out(out / f"heldout-{part.name}.jsonl", part.held_out)
    save_model(model, out, files=files)
    return DemoRecord(
        status="finished",
        identity=key,
        options=options.as_record(),
        text=DemoTextRecord(
            sha256=text.sha256,
            n_documents=len(text.training),
            n_bytes=n_bytes_of(text.training),
            n_tokens=encoded.n_tokens,
            n_heldout_documents=len(text.held_out),
            n_heldout_bytes=n_bytes_of(text.held_out),
        ),
        n_params=sum(parameter.numel() for parameter in model.parameters()),
        n_tokens=base.n_tokens,
        curve=points,
        passes=points[-1].tokens / encoded.n_tokens,
        samples=tuple(DemoSample(prompt=prompt, after=after) for prompt, after in zip(prompts, written, strict=True)),
        seconds={**console.seconds, "all": round(time.perf_counter() - begin, 3)},
        versions=versions("torch", "transformers"),
        mixed=mixed,
    )


def _write_held_out(path: Path, documents: Sequence[str]) -> None:
    lines = (json.dumps({"text": document}, ensure_ascii=False) + "\n" for document in documents)
    write_bytes_atomic(path, "".join(lines).encode())


def _mixed(part: MixedText, base: Tokenizer, model: Any, tokenizer: Any, options: DemoOptions) -> DemoMixRecord:
    """What the finished base knows of a text that was mixed in."""
    scripts = find_target_scripts(Counter("".join(part.training)))
    measured = some(part.held_out, options.eval_bytes)
    context = options.context_tokens
    score = score_text(model, tokenizer, measured, context_tokens=context, batch_size=EVAL_BATCH)
    return DemoMixRecord(
        name=part.name,
        n_documents=len(part.training),
        n_bytes=n_bytes_of(part.training),
        n_heldout_documents=len(part.held_out),
        scripts=scripts,
        n_pieces=sum(contains_target(text.decode(errors="ignore"), scripts) for text in base.texts.values()),
        bits_per_byte=score.bits_per_byte,
    )


def load_tokenizer(files: Mapping[str, bytes]) -> Any:
    """The tokenizer as AutoTokenizer loads it from the folder that these files will be in."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        return AutoTokenizer.from_pretrained(folder)


def notes(base: DemoBase) -> list[str]:
    """Lines for the terminal: what it is, what it knows, what it writes."""
    record, text = base.record, base.record.text
    best = min(point.bits_per_byte for point in record.curve)
    made = "there already" if base.was_there else f"made in {record.seconds['all']:.0f} s"
    family, n_documents, n_bytes = record.options["family"], text.n_heldout_documents, text.n_heldout_bytes
    measured = f"Bits per byte on {n_documents:,} held-out documents ({n_bytes:,} bytes)"
    n_mixed = sum(mixed.n_bytes for mixed in record.mixed)
    return [
        f"{base.folder}: {family}, {record.n_params:,} parameters, {record.n_tokens:,} tokens, {made}.",
        f"Learned {text.n_bytes + n_mixed:,} bytes ({text.n_tokens:,} tokens) {record.passes:.1f} times.",
        f"{measured}: {base.bits_per_byte:.3f}; best on the way {best:.3f}.",
        *(
            f"Mixed in: {mixed.name}, {mixed.n_bytes:,} bytes; {mixed.n_pieces:,} tokens hold its characters; "
            f"{mixed.bits_per_byte:.3f} bits per byte on its {mixed.n_heldout_documents:,} held-out documents."
            for mixed in record.mixed
        ),
        *(f"  {sample.prompt} | {sample.after.strip()}" for sample in record.samples),
    ]
