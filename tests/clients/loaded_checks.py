"""What AutoTokenizer makes of a published folder and of the same with tokens merged in, in several transformers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from compare import Row
from installs import TRANSFORMERS, NotRunError, Say, transformers_folder
from lines import ROOT, data_folder
from tokenizers_made import BaseFile, MakingError, make

#: Checks of `vocabopt verify` that load both folders with transformers.
_CHECKS = ("transformers loads it with the same ids", "transformers loads it with the base's settings and chat prompts")
#: Published folders with a tokenizer_config.json: a class of their own, one that is not what it is called, templates.
_FOLDERS = ("gemma3", "deepseek_v3", "exaone4", "gpt4o")
_SECONDS = 1_800


def check_loaded(folders: Sequence[Path], text: Path, size: int, cache: Path, say: Say) -> Iterator[Row]:
    """A row for each version of transformers and each folder: `vocabopt verify` run with that version."""
    bases = [BaseFile(folder.name, str(folder), folder / "tokenizer.json") for folder in folders or _published()]
    if not bases:
        yield Row(client="transformers", version="-", base="-", why="not run: no development data; name a --folder")
    for base in bases:
        try:
            merged = make(base, text, size, cache, say).merged.folder
        except MakingError as error:
            yield Row(client="transformers", version="-", base=base.name, n_unexplained=1, why=str(error))
            continue
        for version in TRANSFORMERS:
            say(f"transformers {version}: {base.name}")
            yield _row(version, base, merged, cache, say)


def _published() -> list[Path]:
    data = data_folder()
    folders = [] if data is None else [data / "tok_more" / name for name in _FOLDERS]
    return [folder for folder in folders if folder.is_dir()]


def _row(version: str, base: BaseFile, merged: Path, cache: Path, say: Say) -> Row:
    row = Row(client="transformers", version=version, base=base.name)
    try:
        installed = transformers_folder(cache, version, say)
    except NotRunError as error:
        return Row(client="transformers", version=version, base=base.name, why=f"not run: {error}")
    out = cache / "made" / f"verify-{base.name}-{version}.json"
    command = ["nice", sys.executable, "-m", "vocabopt", "verify", base.option, str(merged), "--out", str(out)]
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join((str(installed), str(ROOT)))}
    out.unlink(missing_ok=True)
    done = subprocess.run(
        [*command, "--quiet"], env=settings, capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    if not out.is_file():
        why = f"FAILED: verify ended with {done.returncode}: {done.stderr[-500:]}"
        return Row(client=row.client, version=version, base=base.name, n_unexplained=1, why=why)
    record = json.loads(out.read_text(encoding="utf-8"))
    if record["versions"]["transformers"] != version:
        why = f"FAILED: transformers {record['versions']['transformers']} was loaded"
        return Row(client=row.client, version=version, base=base.name, n_unexplained=1, why=why)
    checks = [check for check in record["checks"] if check["name"] in _CHECKS]
    assert len(checks) == len(_CHECKS)
    failed = [check for check in checks if check["status"] in ("fail", "not_checked")]
    examples = [
        {"text": example["what"], "expected": example["base"], "found": example["new"]}
        for check in failed
        for example in check["examples"]
    ]
    return Row(
        client="transformers",
        version=version,
        base=base.name,
        n_added=record["n_new"],
        n_lines=checks[0]["counts"].get("n_lines"),
        n_differing=checks[0]["counts"].get("n_different"),
        n_base_differing=checks[1]["counts"].get("n_lines_base_departs"),
        n_unexplained=sum(max(1, check["counts"].get("n_different", 0)) for check in failed),
        why="; ".join(f"{check['status']}: {check['summary']}" for check in checks if check["status"] != "pass"),
        examples=examples,
    )
