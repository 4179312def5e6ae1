"""What the operating system refuses: one sentence with the path, exit code 2, nothing half-written."""

import errno
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from command_line import half_written, process, vocabopt, written
from helpers import CORPUS
from limits import full_disk, let_everyone_enter, limited
from safetensors import SafetensorError
from tokenizers import Tokenizer

from vocabopt.errors import RunDirectoryError, VocaboptError
from vocabopt.failures import refusal
from vocabopt.folder import write_atomic, write_parquet_atomic
from vocabopt.model.spec import load_model_spec
from vocabopt.text.corpus import TextFile
from vocabopt.text.readers import ReadOptions, read_blocks
from vocabopt.text.utf8 import read_whole
from vocabopt.tokenizer import load_base

pytestmark = pytest.mark.slow

KOREAN = CORPUS / "ko" / "news.txt"


def commands(place: Path, swept: Path, base: Path, tmp_path: Path) -> list[list[object]]:
    """This path at every entrance that takes one; base: a small one, which loads fast."""
    out = tmp_path / "out"
    text = f"ko={KOREAN}"
    small = ("--base", base)
    return [
        ["sweep", place, *small, "--out", out],
        ["sweep", KOREAN, "--base", place, "--out", out],
        ["sweep", KOREAN, *small, "--model", place, "--out", out],
        ["sweep", KOREAN, *small, "--eval", f"e={place}", "--out", out],
        ["sweep", KOREAN, *small, "--protect", f"e={place}", "--out", out],
        ["sweep", KOREAN, "--method", "union", "--vocab", place, "--out", out],
        ["sweep", KOREAN, *small, "--out", place],
        ["choose", place],
        ["choose", swept, "--model", place],
        ["report", place],
        ["merge", place],
        ["merge", swept, "--out", place],
        ["merge", "--base", "mistral-7b-v1", "--vocab", place, "--out", out],
        ["verify", base, place],
        ["verify", place, base],
        ["verify", base, base, "--text", f"ko={place}"],
        ["analyze", place, "--text", text],
        ["analyze", base, "--text", f"ko={place}"],
        ["analyze", base, "--text", text, "--out", place],
        ["sensitivity", f"a={place}", KOREAN, *small, "--out", out],
        ["sensitivity", KOREAN, CORPUS / "ko", "--out", place],
        ["prepare", place, *small, "--out", out],
        ["prepare", KOREAN, *small, "--out", place],
        ["prepare", KOREAN, "--config", place, "--out", out],
        ["init", place, "--tokenizer", place, "--out", out],
        ["plan", place],
        ["plan", "solar-10.7b", "--run", place],
        ["probe", place, "--run", swept, "--text", text, "--out", out],
        ["adapt", place, "--run", swept, "--text", text, "--out", out],
        ["adapt", "base", "--tokenizer", place, "--text", text, "--out", out],
        ["adapt", "base", "--run", place, "--text", text, "--out", out],
        ["eval", place, "--text", text],
    ]


def bad_places(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "loop").symlink_to("loop")
    written(tmp_path / "file.txt", "mine\n")
    return {
        "a link that leads to itself": tmp_path / "loop",
        "a name too long": tmp_path / ("n" * 300),
        "a path through a file": tmp_path / "file.txt" / "x",
    }


def test_every_entrance_refuses_what_the_system_refuses_in_one_sentence(
    swept: Path, folders: Path, tmp_path: Path
) -> None:
    for what, place in bad_places(tmp_path).items():
        for command in commands(place, swept, folders / "gpt2-like", tmp_path):
            result = vocabopt(*command, *([] if command[0] == "plan" else ["--quiet"]))
            told = (what, [str(word)[-40:] for word in command], result.stderr)
            assert result.exit_code == 2, told
            assert result.stdout == "", told
            assert re.fullmatch(r"Error: .+\n|Usage: (.|\n)+", result.stderr), told
            assert not half_written(tmp_path), told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.txt", "loop"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_not_be_entered(swept: Path, folders: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0)
    try:
        for command in commands(closed / "inner", swept, folders / "gpt2-like", tmp_path):
            result = vocabopt(*command, *([] if command[0] == "plan" else ["--quiet"]))
            assert result.exit_code == 2, (command, result.output)
            assert str(closed) in result.stderr, (command, result.stderr)
    finally:
        closed.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_may_not_be_entered_by_the_user_that_root_becomes(swept: Path, tmp_path: Path) -> None:
    """The same as above, with modules imported before, since this user may not read them."""
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0)
    out = tmp_path / "out"
    let_everyone_enter(tmp_path)
    inner = closed / "inner"
    for command in (
        ["choose", inner],
        ["report", inner],
        ["sweep", KOREAN, "--out", inner],
        ["sweep", inner, "--out", out],
        ["sweep", KOREAN, "--base", inner, "--out", out],
        ["sweep", KOREAN, "--model", inner, "--out", out],
        ["merge", inner, "--out", out],
        ["verify", inner, inner],
        ["analyze", inner, "--text", f"ko={inner}"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", NOBODY, *map(str, command)], capture_output=True, text=True, check=False
        )
        assert (command, done.returncode) == (command, 2), done.stderr
        assert re.fullmatch(r"Error: .*Permission denied.*\n", done.stderr), (command, done.stderr)


#: Everything that the commands above import, and then the user `nobody`.
NOBODY = """
import os, sys, tempfile
import vocabopt.analysis.run, vocabopt.choice.choose, vocabopt.merging.run, vocabopt.report.page
import vocabopt.pipeline, vocabopt.verification, vocabopt.tokenizer.load, huggingface_hub, vocabopt.folder
import vocabopt.cli, vocabopt.cli.commands, vocabopt.report.charts
import vocabopt.cli as cli
cli.use_caches = lambda: None
os.setgid(65534); os.setuid(65534)
cli.run()
"""


@pytest.mark.parametrize("n_bytes", [100, 3_000, 5_000, 9_000, 30_000, 100_000])
def test_a_disk_full_at_any_file_of_a_sweep_is_told_with_the_file(n_bytes: int, tmp_path: Path) -> None:
    with full_disk(n_bytes):
        result = vocabopt("sweep", KOREAN, "--out", tmp_path / "out", "--quiet")
    names = r"(run\.json|\w+\.parquet|sweep\.json|figures/\S+|report\.html)"
    assert result.exit_code == 2
    assert re.match(rf"Error: {tmp_path}/out/{names}: cannot be written \(File too large\)\. ", result.stderr)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_polars_own_error_of_a_full_disk_is_the_system_s(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": range(100_000)})
    with full_disk(20_000), pytest.raises(RunDirectoryError, match=r"a\.parquet: cannot be written \(File too large\)"):
        write_parquet_atomic(tmp_path / "a.parquet", frame)
    assert list(tmp_path.iterdir()) == []
    write_parquet_atomic(tmp_path / "a.parquet", frame)
    assert pl.read_parquet(tmp_path / "a.parquet").equals(frame)


def test_errors_of_libraries_are_the_system_s(tmp_path: Path) -> None:
    """Each is raised by the library itself."""
    from safetensors.numpy import save_file
    from sentencepiece import SentencePieceProcessor

    found: list[str | None] = []
    for work in (
        lambda: Tokenizer.from_file(str(tmp_path / "none.json")),
        lambda: save_file({}, str(tmp_path / "none" / "a.safetensors")),
        lambda: pl.scan_parquet(tmp_path / "none.parquet").collect(),
        lambda: SentencePieceProcessor(model_file=str(tmp_path / "none.model")),
        lambda: (tmp_path / "none.txt").read_text(),
    ):
        try:
            work()
        except (SafetensorError, Exception) as error:
            found.append(refusal(error))
    assert len(found) == 5
    assert all(said is not None and "No such file or directory" in said for said in found), found


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that the kernel opens and cannot read")
def test_a_file_that_fails_while_it_is_read_is_told_with_its_name_and_a_next_step() -> None:
    bad = Path("/proc/self/mem")
    text = TextFile(url=str(bad), text_set="train", n_bytes=None)
    for read in (
        lambda: list(read_blocks(text, ReadOptions())),
        lambda: load_base(str(bad)),
        lambda: load_model_spec(str(bad)),
    ):
        with pytest.raises(VocaboptError) as caught:
            read()
        told = r"/proc/self/mem: cannot be read \(Input/output error\)\. The disk, or the connection to it, fails\."
        assert re.fullmatch(told, str(caught.value)), caught.value


def test_too_many_open_files(tmp_path: Path) -> None:
    expected = r"a: cannot be written \(Too many open files\)\..*ulimit -n"
    with limited(resource.RLIMIT_NOFILE, 3), pytest.raises(RunDirectoryError, match=expected):
        write_atomic(tmp_path / "a", lambda file: file.write(b"x"))


def test_a_pipe_is_read_whole_and_waited_for_only_so_long(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match=r"nobody writes to this pipe; waited 0\.1 s") as caught:
        read_whole(pipe, patience_seconds=0.1)
    said = refusal(caught.value)
    assert said is not None
    assert said.startswith(f"{pipe}: cannot be used (nobody writes to this pipe; waited 0.1 s). ")
    with subprocess.Popen(["sh", "-c", f"(sleep 0.2; printf first; sleep 0.2; printf ' second') > {pipe}"]):
        assert read_whole(pipe) == b"first second"
    written(tmp_path / "plan.toml", 'steps = ["exact"]\n')
    done = shell(
        f'"$@" --config <(sleep 0.3; cat {tmp_path}/plan.toml)',
        "prepare",
        KOREAN,
        "--base",
        "none",
        "--out",
        tmp_path / "out",
    )
    assert done.returncode == 0, done.stderr


def test_what_is_no_refusal_is_not_told_as_one() -> None:
    assert refusal(KeyError("x")) is None
    assert refusal(ValueError("broken JSON")) is None
    outer = ValueError("a library's words")
    outer.__cause__ = OSError(errno.ENOSPC, "No space left on device", "/data/a")
    assert refusal(outer) == (
        "/data/a: cannot be used (No space left on device). Free space on that disk, or name another place."
    )


# --- Standard output and error -------------------------------------------------------------------------------------


def shell(line: str, *arguments: object, **options: object) -> "subprocess.CompletedProcess[str]":
    """`line` with "$@" in it for a command, in bash."""
    command = [sys.executable, "-m", "vocabopt", *map(str, arguments)]
    return subprocess.run(
        ["bash", "-c", line, "bash", *command],
        capture_output=True,
        text=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )


def test_a_full_standard_output_is_told_and_loses_no_file(swept: Path, tmp_path: Path) -> None:
    said = "Error: standard output: cannot be written (No space left on device). What was written to files is whole.\n"
    for command in (["choose", swept], ["choose", swept, "--json"], ["--help"], ["sweep", "--help"]):
        done = shell('"$@" > /dev/full', *command)
        assert (command, done.returncode, done.stderr) == (command, 2, said)
    target = tmp_path / "verify.json"
    done = shell('"$@" > /dev/full', "verify", "mistral-7b-v1", "mistral-7b-v1", "--out", target)
    assert (done.returncode, done.stderr.endswith(said)) == (2, True)
    assert target.exists()


def test_a_reader_who_leaves_early_or_no_output_at_all_is_no_error(swept: Path) -> None:
    for line in ('"$@" | true; exit ${PIPESTATUS[0]}', '"$@" >&-', '"$@" 2>&-', '"$@" 2>/dev/full', '"$@" <&-'):
        done = shell(line, "choose", swept)
        assert (line, done.returncode, done.stderr) == (line, 0, "")


@pytest.mark.parametrize("encoding", ["ascii", "cp949", "latin-1", "utf-16"])
def test_any_encoding_of_the_terminal_shows_the_table(encoding: str, swept: Path) -> None:
    command = [sys.executable, "-m", "vocabopt", "choose", str(swept)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert done.returncode == 0
    # A terminal that says ASCII is taken for one whose locale is not set: it gets UTF-8, as from every click program.
    assert "the knee of the held-out" in done.stdout.decode("utf-8" if encoding == "ascii" else encoding)


def test_without_a_locale(swept: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    assert process("choose", swept, env=environment).returncode == 0
