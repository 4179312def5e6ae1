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


def scale(arguments: argparse.Namespace) -> dict[str, Any]:
    """Five times the text, written to the folder."""
    from bench.scaled import write_scaled

    target = arguments.folder / f"{arguments.text.stem}-5x.txt"
    if not target.is_file():
        write_scaled(arguments.text, target)
    return {"path": str(target), "n_bytes": target.stat().st_size}


TASKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    task.__name__.replace("_", "-"): task for task in (train, paper, union, tokenizers_train, tokenizers_encode, scale)
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
