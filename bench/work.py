"""What runs in a process of its own: `python -m bench.work TASK --result FILE ...`, one task each.

A task writes what it found to FILE as JSON. Libraries are imported in the task, so that nobody pays for another's.
"""

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """One sentencepiece BPE training."""
    from bench.union import train

    (size,) = arguments.sizes
    train(arguments.text, arguments.folder / "trained", size)
    return {"vocabulary_size": size}


def paper(arguments: argparse.Namespace) -> dict[str, Any]:
    """The paper's procedure: for each size train, join with the base, encode the whole text, count."""
    from bench.union import base_model, count_tokens, train, unite

    base, sizes = base_model(), []
    for size in arguments.sizes:
        times = [time.perf_counter()]
        trained = train(arguments.text, arguments.folder / f"trained-{size}", size)
        times.append(time.perf_counter())
        united = unite(base, trained.read_bytes())
        times.append(time.perf_counter())
        n_tokens = count_tokens(united.model, arguments.text)
        times.append(time.perf_counter())
        seconds = [round(after - before, 3) for before, after in pairwise(times)]
        sizes.append(
            {
                "vocabulary_size": size,
                "n_overlap": united.n_overlap,
                "n_new": united.n_new,
                "n_tokens": n_tokens,
                **dict(zip(("train_seconds", "join_seconds", "encode_seconds"), seconds, strict=True)),
            }
        )
    parts = {part: round(sum(size[f"{part}_seconds"] for size in sizes), 3) for part in ("train", "join", "encode")}
    return {"seconds": parts, "sizes": sizes}


def union(arguments: argparse.Namespace) -> dict[str, Any]:
    """The union with so many new rows, learned from the training text, measured on the held-out text."""
    from bench.union import base_model, count_tokens, train_union

    base = base_model()
    united, tried = train_union(
        base, arguments.text, arguments.folder, arguments.rows, max_line_bytes=arguments.max_line_bytes
    )
    n_base, n_tokens = count_tokens(base, arguments.heldout), count_tokens(united.model, arguments.heldout)
    return {
        "n_added": united.n_new,
        "vocabulary_sizes_tried": tried,
        "n_overlap": united.n_overlap,
        "n_tokens_base": n_base,
        "n_tokens": n_tokens,
        "ratio_input": n_tokens / n_base,
    }


def tokenizers_train(arguments: argparse.Namespace) -> dict[str, Any]:
    """One BPE training by the tokenizers library, its words cut as sentencepiece cuts them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    (size,) = arguments.sizes
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train([str(arguments.text)], trainers.BpeTrainer(vocab_size=size, show_progress=False))
    return {"vocabulary_size": tokenizer.get_vocab_size()}


def tokenizers_encode(arguments: argparse.Namespace) -> dict[str, Any]:
    """Tokens of every document, encoded whole by the tokenizers library with the base or with `--tokenizer`."""
    from tokenizers import Tokenizer

    from bench.union import batches

    if arguments.tokenizer is None:
        from vocabopt.tokenizer import load_base

        tokenizer = load_base("mistral-7b-v1").full
    else:
        tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    n_tokens = sum(
        len(encoding)
        for lines in batches(arguments.text, 20_000)
        for encoding in tokenizer.encode_batch_fast(lines, add_special_tokens=False)
    )
    return {"n_tokens": n_tokens}


def tokenizers_written(arguments: argparse.Namespace) -> dict[str, Any]:
    """Tokenizers of mistral-common as tokenizer.json files, one of each family. Name -> file."""
    from importlib.util import find_spec

    from vocabopt.tokenizer import load_base

    spec = find_spec("mistral_common")
    assert spec is not None
    folder = Path(next(iter(spec.submodule_search_locations or ()))) / "data"
    files = {}
    for name, base in (("mistral", "mistral-7b-v1"), ("tekken", str(folder / "tekken_240911.json"))):
        files[name] = str(arguments.folder / f"{name}.json")
        Path(files[name]).write_text(json.dumps(load_base(base).tokenizer_json), encoding="utf-8")
    return files


def pack(arguments: argparse.Namespace) -> dict[str, Any]:
    """Training text packed as `vocabopt adapt` packs it, on all cores: both passes over the text, and the files."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    from trainer.data import cut_text, pack_stage, scan_text, target_and_replays
    from vocabopt.text.readers import ReadOptions
    from vocabopt.training_record import DocumentEnds

    own = Tokenizer.from_file(str(arguments.tokenizer))
    start = time.perf_counter()
    sources = scan_text(target_and_replays(("text", str(arguments.text)), {}, ReadOptions()))
    plan = cut_text(sources, budget_bytes=None, stage_shares=(1.0,), seed=0)
    packed = pack_stage(
        plan,
        0,
        PreTrainedTokenizerFast(tokenizer_object=own),
        context_tokens=1_024,
        folder=arguments.folder / "packed",
        ends=DocumentEnds(start=None, end=None, start_id=None, end_id=None),
    )
    seconds = time.perf_counter() - start
    return {"n_tokens": packed.n_tokens, "megabytes_per_second": packed.n_bytes / 1e6 / seconds}


def scale(arguments: argparse.Namespace) -> dict[str, Any]:
    """Five times the text, written to the folder."""
    from bench.scaled import write_scaled

    target = arguments.folder / f"{arguments.text.stem}-5x.txt"
    if not target.is_file():
        write_scaled(arguments.text, target)
    return {"path": str(target), "n_bytes": target.stat().st_size}


TASKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    task.__name__.replace("_", "-"): task
    for task in (train, paper, union, tokenizers_train, tokenizers_encode, tokenizers_written, pack, scale)
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.work", description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where models and texts are written")
    parser.add_argument("--sizes", type=lambda value: [int(size) for size in value.split(",")], help="vocabulary sizes")
    parser.add_argument("--heldout", type=Path)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--max-line-bytes", type=int)
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json")
    arguments = parser.parse_args()
    arguments.result.write_text(json.dumps(TASKS[arguments.task](arguments)), encoding="utf-8")


if __name__ == "__main__":
    main()
