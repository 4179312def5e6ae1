"""Compile the kernels before they are needed: python -m vocabopt.warmup.

numba compiles a kernel when it is first called, once per combination of argument types, and keeps the machine code in
a cache. Sweeping a few lines with both families of bases, into a folder that is thrown away, fills the cache; the
second run of each starts from the counts of the first, which are read from files. What only much text needs (larger
tables) is called apart. Sweeps after that compile nothing.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from vocabopt.console import Console
from vocabopt.growth import counts, proof_sample
from vocabopt.options import DEFAULT_BASE, SweepOptions
from vocabopt.pipeline import run_sweep
from vocabopt.tokenizer.families import char_of_byte

_TEXT = {
    "ko": "아침에 일어나 창문을 열었다.\n창문을 열자 아침 바람이 들어왔다.\n햝아 먹은 아이스크림, 햝은 자국.\n",
    "en": "I got up in the morning and opened the window.\nThe morning air came in.\n",
}


def warm_up() -> None:
    """Fill numba's cache. Writes nothing else that stays."""
    counts.warm_up()
    proof_sample.warm_up()
    with tempfile.TemporaryDirectory(prefix="vocabopt-warmup-") as name:
        folder = Path(name)
        for language, text in _TEXT.items():
            (folder / "corpus" / language).mkdir(parents=True)
            (folder / "corpus" / language / "lines.txt").write_text(text, encoding="utf-8")
        (folder / "tokenizer.json").write_text(json.dumps(_bytes_only()), encoding="utf-8")
        for base, model in ((DEFAULT_BASE, None), (str(folder / "tokenizer.json"), "gpt2")):
            options = SweepOptions(
                paths=(str(folder / "corpus"),), base=base, model=model, out=folder / Path(base).stem, heldout=0.2
            )
            for _ in range(2):
                run_sweep(options, Console(quiet=True))
            # As if not all text fitted into memory.
            of_share = replace(options, out=folder / f"{Path(base).stem}-share", learn_from=0.9, workers=1)
            run_sweep(of_share, Console(quiet=True))


def _bytes_only() -> dict[str, object]:
    """tokenizer.json of the smallest byte-level base: its tokens are the 256 bytes."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    vocab = {char: byte for byte, char in enumerate(char_of_byte())}
    return {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }


if __name__ == "__main__":
    warm_up()
