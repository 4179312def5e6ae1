"""`python tests/gold --check`: does every command still write what it wrote?

Runs the commands of `steps` one after another, on the sample corpus, with one thread and relative paths, and keeps a
digest of every file they leave and of what they print. Times, memory, versions and command lines are masked. Numbers
that training computes in floating point are not digested: another processor rounds otherwise, so they are kept and
compared within `TOLERANCE`.

    python tests/gold --check           compare with tests/gold/digests.json
    python tests/gold --keep DIR        write the masked texts too: `diff -r` of two commits' folders shows a change
    python tests/gold --write           a change is intended: write digests.json anew, and say why in the commit
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gold.masks import Masked

#: Before numpy, numba, polars and torch are imported, which read it once: so what needs them is imported below.
for _name in ("OMP_NUM", "MKL_NUM", "NUMBA_NUM", "POLARS_MAX", "RAYON_NUM"):
    os.environ[f"{_name}_THREADS"] = "1"
os.environ.update(CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", COLUMNS="120", TZ="UTC")
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
RECORD = Path(__file__).parent / "digests.json"


def gold(folder: Path) -> "dict[str, Masked]":
    """Every file and every output of all steps, masked, by its name."""
    from gold.masks import masked_file, masked_name, masked_output
    from gold.steps import run_steps

    outputs = run_steps(folder)
    found = {f"{name} (output)": masked_output(text, name) for name, text in outputs.items()}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            name = path.relative_to(folder).as_posix()
            if not name.startswith("corpus/"):
                found[masked_name(name)] = masked_file(path, name)
    work = str(folder)
    return {name: replace(masked, text=masked.text.replace(work, "WORK")) for name, masked in sorted(found.items())}


def main() -> int:
    from gold.compare import differences

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    # A random name that ends in "7s" would be masked as a time: the suffix makes it a word.
    with tempfile.TemporaryDirectory(suffix="gold") as folder:
        found = gold(Path(folder))
    if arguments.keep:
        for name, masked in found.items():
            path = arguments.keep / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(masked.text, encoding="utf-8")
    records = {name: masked.record() for name, masked in found.items()}
    if arguments.write:
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(record)}" for name, record in records.items())
        RECORD.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    if arguments.check:
        told = differences(json.loads(RECORD.read_text(encoding="utf-8")), records)
        print("\n".join(told) or f"{len(records)} files and outputs: as before.")
        return 1 if told else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
