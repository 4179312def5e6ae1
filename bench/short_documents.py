"""Many short documents with copies planted among them, to measure `prepare` by the number of documents.

    python -m bench.short_documents OUT.txt N              makes them
    vocabopt prepare OUT.txt --out DIR --steps exact,near --base none
    python -m bench.short_documents OUT.txt --check DIR    how many planted near copies were removed, and what else

A document is a line of 80 to 250 characters (160 on average), of 200,000 made words of one to four Hangul syllables,
the common ones drawn more often. Of every 20 documents, one is an exact copy of an earlier one, and two are near
copies: an earlier one with a word in twelve replaced. OUT.txt.planted lists the near copies: line, and line of the
original.
"""

import json
import sys
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray

_N_WORDS, _BLOCK = 200_000, 20_000


def make(path: Path, n_documents: int, seed: int = 0) -> None:
    """Write n documents, and which of them are planted near copies."""
    rng = np.random.default_rng(seed)
    words = _words(rng)
    chances = 1 / (np.arange(_N_WORDS) + 2_000.0)
    steps = np.cumsum(chances / chances.sum())
    with path.open("w", encoding="utf-8") as text, Path(f"{path}.planted").open("w", encoding="utf-8") as planted:
        for begin in range(0, n_documents, _BLOCK):
            block = _block(rng, words, steps)[: n_documents - begin]
            for i in range(3, len(block), 20):
                block[i] = block[i - 3]
                for copy in (i + 1, i + 2):
                    if copy < len(block):
                        block[copy] = _edited(block[i - 2], words, rng)
                        planted.write(f"{begin + copy + 1} {begin + i - 1}\n")
            text.write("\n".join(block) + "\n")


def _words(rng: np.random.Generator) -> list[str]:
    syllables = np.array([chr(code) for code in range(0xAC00, 0xD7A4)])[rng.choice(11_172, 2_350, replace=False)]
    sizes = rng.integers(1, 5, _N_WORDS)
    return ["".join(syllables[rng.integers(0, len(syllables), size)]) for size in sizes]


def _block(rng: np.random.Generator, words: list[str], steps: NDArray[np.float64]) -> list[str]:
    sizes = rng.integers(29, 64, _BLOCK)
    drawn = np.searchsorted(steps, rng.random(int(sizes.sum())))
    ends = np.cumsum(sizes)
    return [
        " ".join([words[word] for word in drawn[end - size : end].tolist()])
        for end, size in zip(ends.tolist(), sizes.tolist(), strict=True)
    ]


def _edited(text: str, words: list[str], rng: np.random.Generator) -> str:
    parts = text.split(" ")
    for place in rng.choice(len(parts), len(parts) // 12, replace=False).tolist():
        parts[place] = words[rng.integers(_N_WORDS)]
    return " ".join(parts)


def check(path: Path, prepared: Path) -> str:
    """Recall of the planted near copies that are long enough for `near`, and precision of what it removed.

    Precision is the share of removed documents whose similarity to the named original is 0.7 or more, by Python's sets,
    of one in a hundred of them.
    """
    copies: dict[int, int] = {}
    for file in sorted((prepared / "removed").glob("*.jsonl.zst")):
        with zstandard.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if record["step"] == "near":
                    copies[record["line"]] = int(record["why"].rpartition(":")[2])
    pairs = [tuple(map(int, line.split())) for line in Path(f"{path}.planted").read_text().splitlines()]
    sampled = sorted(copies)[::100]
    needed = {*sampled, *(copies[line] for line in sampled)}
    n_chars, texts = np.zeros(1 + max(map(max, pairs)), np.int32), {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if number < len(n_chars):
                n_chars[number] = len(line) - 1
            if number in needed:
                texts[number] = line.removesuffix("\n")
    long = [copy for copy, original in pairs if min(n_chars[copy], n_chars[original]) >= 150]
    n_true = sum(_similarity(texts[line], texts[copies[line]]) >= 0.7 for line in sampled)
    n_found = sum(copy in copies for copy in long)
    return (
        f"{len(long):,} planted near copies of 150 characters or more: {n_found / len(long):.4f} removed. "
        f"{len(copies):,} removed as near copies: {n_true / len(sampled):.4f} of {len(sampled):,} of them are."
    )


def _similarity(a: str, b: str) -> float:
    one, two = ({text[i : i + 3] for i in range(len(text) - 2)} for text in (a, b))
    return len(one & two) / len(one | two)


if __name__ == "__main__":
    if sys.argv[2] == "--check":
        print(check(Path(sys.argv[1]), Path(sys.argv[3])))
    else:
        make(Path(sys.argv[1]), int(sys.argv[2]))
