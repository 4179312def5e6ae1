"""Names that are not UTF-8 (an archive unpacked on another system), and text that no UTF-8 has, in every output."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import written
from helpers import CORPUS

from vocabopt.folder import folder_lock
from vocabopt.text.utf8 import encoded_for_display, json_bytes, printable

pytestmark = pytest.mark.slow

KOREAN = CORPUS / "ko" / "news.txt"
#: "한국" in CP949.
NAME = os.fsdecode("한국".encode("cp949"))
SHOWN = r"\xc7ѱ\xb9"


def run(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "vocabopt", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environment})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    try:
        (tmp_path / NAME).mkdir()
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    return tmp_path / NAME


def test_every_command_takes_a_name_that_is_not_utf_8(place: Path, folders: Path) -> None:
    base, out = place / "base", place / "out"
    shutil.copytree(folders / "gpt2-like", base)
    text = f"ko={KOREAN}"
    for command in (
        ("sweep", KOREAN, "--base", base, "--out", out),
        ("sweep", KOREAN, "--base", base, "--out", out, "--method", "union"),
        ("choose", out, "--model", base),
        ("merge", out, "--method", "grow"),
        ("verify", base, out / "tokenizer", "--text", text),
        ("analyze", base, f"new={out / 'tokenizer'}", "--text", text, "--out", out / "analysis"),
        ("report", out),
        ("sensitivity", KOREAN, CORPUS / "ko", "--base", base, "--out", place / "sensitivity"),
        ("prepare", KOREAN, "--base", base, "--out", place / "prepared"),
    ):
        done = run(*command)
        assert (command[0], done.returncode) == (command[0], 0), done.stderr.decode()
        assert SHOWN in (done.stdout + done.stderr).decode(), command
    sweep: dict[str, Any] = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    # What the file says is the name: merge has found the base by it.
    assert sweep["base"]["source"] == str(base.resolve())
    for page in (out / "report.html", out / "analysis" / "analyze.html", place / "prepared" / "report.html"):
        page.read_bytes().decode("utf-8")
    assert pl.read_parquet((out / "curve.parquet").read_bytes()).height


@pytest.mark.parametrize("encoding", ["ascii", "cp949", "utf-8"])
def test_messages_show_the_bytes_in_any_encoding(encoding: str, place: Path) -> None:
    done = run("choose", place, PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    # ASCII is taken for a mistake: UTF-8 is written.
    said = done.stderr.decode("utf-8" if encoding == "ascii" else encoding)
    assert "\\xc7" in said
    assert "Traceback" not in said


def test_who_holds_a_folder_is_told_with_such_a_name(place: Path) -> None:
    with folder_lock(place, f"vocabopt sweep {NAME}"):
        done = run("sweep", KOREAN, "--out", place)
    assert rf"{SHOWN}: is in use by vocabopt sweep {SHOWN} (process {os.getpid()}" in done.stderr.decode()


def test_half_a_character_in_a_base_s_settings_is_kept_as_it_is(folders: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(folders / "gpt2-like", base)
    config = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    odd = {"note": "x\ud800y\udcc7", "chat_template": "{% for m in messages %}\ud83d{{ m.content }}{% endfor %}"}
    written(base / "tokenizer_config.json", json.dumps({**config, **odd}))
    (base / "chat_template.jinja").unlink()
    for command in (
        ("sweep", KOREAN, "--base", base, "--out", tmp_path / "out"),
        ("merge", tmp_path / "out"),
        ("verify", base, tmp_path / "out" / "tokenizer", "--json"),
    ):
        done = run(*command)
        assert (command[0], done.returncode) == (command[0], 0), (done.stdout + done.stderr).decode()
    merged = json.loads((tmp_path / "out" / "tokenizer" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert {name: merged[name] for name in odd} == odd


def test_json_gives_back_any_text_and_pages_take_it() -> None:
    text = f"한국 {NAME} \ud800 \udfff 'é' 😀"
    assert json.loads(json_bytes({"a": text})) == {"a": text}
    assert json.loads(json_bytes([text], indent=None)) == [text]
    assert encoded_for_display(text).decode() == rf"한국 {SHOWN} \ud800 \udfff 'é' 😀"
    assert re.fullmatch(r"[^\ud800-\udfff]*", printable(f"a/{NAME}"))
