"""Text is read as what it is: syntax is never counted as language. Right values by json, csv and polars."""

import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from command_line import assert_refused, vocabopt, written
from helpers import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from vocabopt.cli import main
from vocabopt.errors import CorpusError, OptionError
from vocabopt.text import storage
from vocabopt.text.corpus import TextFile
from vocabopt.text.readers import Block, ReadOptions, json_kind, read_blocks, read_records

TEXTS = ["나는 학교에\n갔다.", 'He said "yes", then went.', "tab\there", "", "a\u2028b", "가\r\n나", "\U0001f600"]
WANTED = [text for text in TEXTS if text]
PLAIN, SKIP = ReadOptions(), ReadOptions(on_error="skip")
SIZES = (1, 7, 1 << 20)


def blocks_of(path: Path, options: ReadOptions = PLAIN, block_bytes: int = 1 << 20) -> list[Block]:
    return list(read_blocks(TextFile(url=str(path), text_set="x", n_bytes=None), options, block_bytes=block_bytes))


def documents_of(path: Path, options: ReadOptions = PLAIN, block_bytes: int = 1 << 20) -> list[str]:
    return [document for block in blocks_of(path, options, block_bytes) for document in block.documents]


def table(separator: str, rows: list[list[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator).writerows(rows)
    return text.getvalue()


# --- What is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_bytes", SIZES)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_is_read_in_every_layout(tmp_path: Path, block_bytes: int, ascii_only: bool) -> None:
    records = [{"id": i, "text": text, "more": {"a": [1, {"b": None}]}} for i, text in enumerate(TEXTS)]
    dumps = json.JSONEncoder(ensure_ascii=ascii_only).encode
    indented = json.JSONEncoder(ensure_ascii=ascii_only, indent=2).encode
    layouts = {
        "array": dumps(records),
        "indented": indented(records),
        "strings": dumps(TEXTS),
        "lines": "".join(f"{dumps(record)}\n" for record in records),
        "objects": "\n".join(map(indented, records)),
        "spaces": f" \r\n\t[ \n{dumps(records)[1:-1]}\n ] \n",
    }
    for name, content in layouts.items():
        path = written(tmp_path / f"{name}.json", content)
        assert documents_of(path, block_bytes=block_bytes) == WANTED, name
        packed = written(tmp_path / f"{name}.json.gz", gzip.compress(content.encode()))
        blocks = blocks_of(packed, block_bytes=block_bytes)
        assert [document for block in blocks for document in block.documents] == WANTED, name
        assert sum(block.n_blank for block in blocks) == len(TEXTS) - len(WANTED)
        assert sum(block.n_stored_bytes for block in blocks) == packed.stat().st_size
    single = written(tmp_path / "single.json", indented(records[0]))
    assert documents_of(single) == TEXTS[:1]
    named = written(tmp_path / "array.jsonl", dumps(records))
    assert documents_of(named) == WANTED
    assert documents_of(written(tmp_path / "empty.json", "[]")) == []


@pytest.mark.parametrize("block_bytes", SIZES)
@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("tsv", "\t")])
def test_tables_are_read_as_polars_reads_them(tmp_path: Path, suffix: str, separator: str, block_bytes: int) -> None:
    content = table(separator, [["id", "text", "n"], *([str(i), text, ""] for i, text in enumerate(TEXTS))])
    path = written(tmp_path / f"a.{suffix}", content)
    by_polars = pl.read_csv(path, separator=separator, infer_schema=False, glob=False)["text"].to_list()
    assert [text for text in by_polars if text] == WANTED
    assert documents_of(path, block_bytes=block_bytes) == WANTED
    packed = written(tmp_path / f"b.{suffix}.gz", gzip.compress(content.encode()))
    assert documents_of(packed, block_bytes=block_bytes) == WANTED
    assert sum(b.n_stored_bytes for b in blocks_of(packed, block_bytes=block_bytes)) == packed.stat().st_size
    assert documents_of(path, ReadOptions(column="id"), block_bytes) == [str(i) for i in range(len(TEXTS))]
    korean = written(tmp_path / f"c.{suffix}", table(separator, [["text"], ["가나\n다"], ["라"]]).encode("cp949"))
    assert documents_of(korean, ReadOptions(encoding="cp949"), block_bytes) == ["가나\n다", "라"]
    assert documents_of(korean, ReadOptions(fallback="cp949"), block_bytes) == ["가나\n다", "라"]
    with pytest.raises(CorpusError, match=rf"c.{suffix}: byte 7 \(B0\) is not utf-8"):
        documents_of(korean, block_bytes=block_bytes)


_CELLS = st.text(alphabet='a ",\t\n\r;가\ufeff\u2028', max_size=6)


@settings(deadline=None, max_examples=examples(200))
@given(rows=st.lists(st.tuples(_CELLS, _CELLS), max_size=6), block_bytes=st.integers(1, 20))
def test_any_table_that_python_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], block_bytes: int
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("text", "b"), *rows])
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(text.getvalue().encode())
    assert documents_of(path, block_bytes=block_bytes) == [a for a, _ in rows if a.strip()]


def test_a_cell_longer_than_pythons_limit_is_read(tmp_path: Path) -> None:
    assert documents_of(written(tmp_path / "a.csv", f"text\n{'가' * 200_000}\n")) == ["가" * 200_000]


def test_a_format_that_is_named_decides(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", '{"text": "가"}\n{"text": "나"}\n')
    assert documents_of(path, ReadOptions(format="jsonl")) == ["가", "나"]
    assert documents_of(path, ReadOptions(format="json")) == ["가", "나"]
    assert documents_of(path, ReadOptions(format="text")) == ['{"text": "가"}', '{"text": "나"}']
    assert documents_of(written(tmp_path / "b.csv", "text\n가,나\n"), ReadOptions(format="text")) == ["text", "가,나"]
    pl.DataFrame({"text": ["가"]}).write_parquet(tmp_path / "noname")
    assert documents_of(tmp_path / "noname", ReadOptions(format="parquet")) == ["가"]
    with pytest.raises(OptionError, match=r"--format xml: no such format; choose auto, text, jsonl, json, csv, tsv, p"):
        ReadOptions(format="xml")  # type: ignore[arg-type]


# --- What is refused -------------------------------------------------------------------------------------------------

_OBJECTS = '{"text": "가"}\n{"text": "나"}\n'
#: By what is in the file: what is said, and the format that is named as the next step.
NOT_TEXT: dict[str, tuple[bytes, str]] = {
    "lines": (_OBJECTS.encode(), "JSON objects.*--format jsonl"),
    "one line": (b'{"a": 1}', "JSON objects.*--format jsonl"),
    "cut off": ((_OBJECTS * 6000).encode(), "JSON objects.*--format jsonl"),
    "long object": (b'{"text": "' + b"a" * 100_000 + b'"}', "JSON objects.*--format jsonl"),
    "indented object": (b'{\n  "text": "a",\n  "b": [1,\n 2]\n}\n', "JSON objects"),
    "array": (b'[{"text": "a"},\n {"text": "b"}]', "a JSON array.*--format json "),
    "strings": (b'[\n"a",\n"b"\n]\n', "a JSON array.*--format json "),
    "long string": (b'["' + b"a" * 100_000 + b'"]', "a JSON array.*--format json "),
    "marked": (b"\xef\xbb\xbf" + _OBJECTS.encode(), "JSON objects.*--format jsonl"),
    "csv": ("id,text\n1,가\n2,나\n".encode(), "CSV.*--format csv "),
    "quoted csv": (b'text,label,source\r\n"a, ""b""\r\nc",1,x\r\n"d",0,y\r\n', "CSV.*--format csv "),
    "tsv": ("id\tcontent\n1\t가\n2\t나\n".encode(), "TSV.*--format tsv "),
    "long csv": (b"label,text\n" + b"1,a word and more\n" * 6000, "CSV.*--format csv "),
    "long cells": (
        b"id,text\n" + b'1,"' + b"a line\n" * 3000 + b'"\n' + b'2,"' + b"b\n" * 9000 + b'"\n3,"' + b"c\n" * 20000,
        "CSV",
    ),
    "gzip": (gzip.compress(b"a\n"), r"gzip.*\.gz"),
    "zstd": (b"\x28\xb5\x2f\xfd rest", r"zstd.*\.zst"),
    "gguf": (b"GGUF\3\0\0\0", "GGUF"),
    "zip": (b"PK\3\4\x14\0", "zip"),
    "pdf": (b"%PDF-1.7\n%", "PDF"),
    "office": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of an office program"),
    "html": (b"<!DOCTYPE html>\n<html><p>a", "HTML or XML"),
    "tag": (b"\n <HTML lang=ko>", "HTML or XML"),
    "xml": (b'<?xml version="1.0"?>\n<doc>a</doc>', "HTML or XML"),
}
#: Text that only looks a little like it.
TEXT = (
    "[1] Introduction\n[2] More\n",
    '["Hello," he said.\n',
    '"Hello."\n"Bye."\n',
    "{a set}\n",
    "{}\n{}\n",
    '{"a": 1} is JSON\nand this is not\n',
    '{"a": broken}\n',
    "[1, 2]\n",
    "[[1], [2]]\n",
    '["a"]\n["b"]\n',
    "GGUF is a format\n",
    "PAR1 and ARROW1\n",
    "BZh\n",
    "<p>a paragraph</p>\n",
    "<3 you\n",
    "a,b\n1,2\n",
    "id,text\n1,2\n",
    "text, then more\nfirst, second\nthird, fourth\n",
    "Of each text,\nthe second,\nthe third,\n",
    "text,more\nall but one, of these\nlines have a comma\n",
    "text\na\nb\n",
    'id,text\n1,"a quote that is not closed\n2,b\n3,c\n',
    "12\n",
)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.md", "a.txt.gz"])
@pytest.mark.parametrize("what", list(NOT_TEXT))
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_what_is_no_plain_text_is_refused(tmp_path: Path, name: str, what: str, on_error: Any) -> None:
    content, match = NOT_TEXT[what]
    path = written(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(CorpusError, match=rf"{name}: holds {match}.*--format text takes it as it stands"):
        blocks_of(path, ReadOptions(on_error=on_error))
    pl.DataFrame({"text": ["a"]}).write_parquet(tmp_path / "b.txt")
    with pytest.raises(CorpusError, match=r"b.txt: holds parquet.*--format parquet"):
        blocks_of(tmp_path / "b.txt")


@pytest.mark.parametrize("text", TEXT)
@pytest.mark.slow
def test_text_that_only_looks_like_it_is_text(tmp_path: Path, text: str) -> None:
    for block_bytes in SIZES:
        assert documents_of(written(tmp_path / "a.txt", text), block_bytes=block_bytes) == text.splitlines()
        long = text + "그리고 이어진다.\n" * 5000
        assert documents_of(written(tmp_path / "b.txt", long), block_bytes=block_bytes) == long.splitlines()


def test_packed_and_foreign_bytes_are_refused_in_every_format(tmp_path: Path) -> None:
    for name, text_format in (("a.jsonl", "auto"), ("a.csv", "auto"), ("a", "jsonl"), ("a", "csv"), ("a.json", "json")):
        path = written(tmp_path / name, gzip.compress(_OBJECTS.encode()))
        for on_error in ("fail", "skip"):
            with pytest.raises(CorpusError, match=rf"{name}: holds gzip.*Name it with the suffix \.gz"):
                blocks_of(path, ReadOptions(format=text_format, on_error=on_error))  # type: ignore[arg-type]
    for name in ("b.json", "b.csv", "b.jsonl", "b.txt"):
        path = written(tmp_path / name, '[{"text": "가"}]'.encode("utf-16"))
        with pytest.raises(CorpusError, match=rf"{name}: byte 0 \(FF\) is not utf-8.*try --encoding utf-16"):
            blocks_of(path)


def test_skipping_does_not_make_text_of_a_binary_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.bin", os.urandom(20_000).replace(b"\n", b"\0") + b"\n")
    with pytest.raises(CorpusError, match=r"a.bin: holds binary data, or text in UTF-16"):
        blocks_of(path, SKIP)
    # One stray byte or NUL costs its line alone.
    stray = written(tmp_path / "b.txt", "가\n".encode() * 200 + b"x\0y\nz\xffz\n" + "나\n".encode() * 200)
    assert documents_of(stray, SKIP) == ["가"] * 200 + ["나"] * 200
    assert sum(block.n_skipped for block in blocks_of(stray, SKIP)) == 2


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"a.json: holds no JSON; read it as plain text with --format text"):
        blocks_of(written(tmp_path / "a.json", "plain text\n"))
    for content, reason in {
        '[{"text": "a"} {"text": "b"}]': "no comma behind record 1",
        '[{"text": "a"}, {"text": ': r"record 2: broken JSON \(Expecting value\)",
        '[{"text": "a"}, {"text": "b"}': "the array is not closed",
        '[{"text": "a"}, ]': r"record 2: broken JSON",
        '[{"text": "a"}] more': "text behind the end of the array",
        '[{"text": "a"}, {"text": "b\n"}]': "Invalid control character",
    }.items():
        path = written(tmp_path / "b.json", content)
        for block_bytes in SIZES:
            with pytest.raises(CorpusError, match=rf"b.json: broken JSON \(.*{reason}.*mend the file"):
                blocks_of(path, block_bytes=block_bytes)
            blocks = blocks_of(path, SKIP, block_bytes)
            found = [document for block in blocks for document in block.documents]
            assert found == (["a", "b"] if "closed" in reason else ["a"])
            assert blocks[-1].damage is not None
    with pytest.raises(CorpusError, match=r"c.json, record 2: broken record \('text' is int, not text\)"):
        blocks_of(written(tmp_path / "c.json", '[{"text": "a"}, {"text": 1}, "b"]'))
    assert documents_of(tmp_path / "c.json", SKIP) == ["a", "b"]
    with pytest.raises(CorpusError, match=r"d.json: none of its 1 records can be read"):
        blocks_of(written(tmp_path / "d.json", '{"data": 1}'.replace("data", "text")), SKIP)
    with pytest.raises(CorpusError, match=r"e.json: no column 'text'; name the text with --column: data"):
        blocks_of(written(tmp_path / "e.json", '{"data": [{"text": "a"}]}'))


def test_bytes_of_another_encoding_in_records_are_named_or_skipped(tmp_path: Path) -> None:
    bad = b'[{"text": "a"}, {"text": "' + b"\xff" + b'"}, {"text": "b"}]'
    tables = b'text,n\na,1\n"x\n\xff",2\nb,3\n'
    for name, content, byte in (("a.json", bad, 26), ("a.csv", tables, 14)):
        path = written(tmp_path / name, content)
        for block_bytes in SIZES:
            with pytest.raises(CorpusError, match=rf"{name}: byte {byte} \(FF\) is not utf-8"):
                blocks_of(path, block_bytes=block_bytes)
            assert documents_of(path, SKIP, block_bytes) == ["a", "b"]
            assert sum(block.n_skipped for block in blocks_of(path, SKIP, block_bytes)) == 1


def test_broken_rows_are_named_or_skipped(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'n,text\n1,a\n2\n3,"b"x\n4,c,d\n\n5,"e\n\n"\n6,f\n')
    with pytest.raises(CorpusError, match=r"a.csv, line 3: broken row \(1 fields, the head line has 2\); mend it, or"):
        blocks_of(path)
    blocks = blocks_of(path, SKIP)
    assert [document for block in blocks for document in block.documents] == ["a", "e\n\n", "f"]
    assert [entry.reason.partition(" (")[0] for block in blocks for entry in block.unreadable] == ["broken row"] * 3
    open_quote = written(tmp_path / "b.csv", 'text\na\n"b\nc\n')
    with pytest.raises(CorpusError, match=r"b.csv, line 3: a quote is opened there and never closed"):
        blocks_of(open_quote)
    assert documents_of(open_quote, SKIP) == ["a"]
    assert "line 3: a quote" in (blocks_of(open_quote, SKIP)[-1].damage or "")


# --- Records without the column --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_skipping_holds_for_the_first_record_without_the_column(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, '{"body": "x"}\n{"text": "가"}\n{"body": "y"}\n{"text": "나"}\n')
    for block_bytes in SIZES:
        with pytest.raises(CorpusError, match=rf"{name}: no column 'text'; name the text with --column: body"):
            blocks_of(path, block_bytes=block_bytes)
        assert documents_of(path, SKIP, block_bytes) == ["가", "나"]
        assert sum(block.n_skipped for block in blocks_of(path, SKIP, block_bytes)) == 2


def test_a_file_of_which_no_record_can_be_read_gives_one_message(tmp_path: Path) -> None:
    broken = written(tmp_path / "a.jsonl", "plain\ntext\n")
    with pytest.raises(CorpusError, match=r"a.jsonl: none of its 2 records can be read \(line 1: broken JSON"):
        blocks_of(broken, SKIP)
    missing = written(tmp_path / "b.jsonl", '{"body": "x"}\n' * 3)
    pl.DataFrame({"body": ["x"]}).write_parquet(tmp_path / "b.parquet")
    written(tmp_path / "b.csv", "body,n\nx,1\n")
    for path in (missing, tmp_path / "b.parquet", tmp_path / "b.csv"):
        for options in (ReadOptions(), SKIP):
            with pytest.raises(CorpusError, match=rf"{path.name}: no column 'text'; name the text with --column: body"):
                blocks_of(path, options)


# --- The entrances ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_json_lines_through_a_pipe_are_read_where_it_is_said(tmp_path: Path) -> None:
    runner = CliRunner()
    piped = (_OBJECTS * 30).encode()
    storage.spooled_stdin.cache_clear()
    refused = runner.invoke(main, ["sweep", "-", "--out", str(tmp_path / "a")], input=piped)
    assert_refused(refused, r"standard input: holds JSON objects.*--format jsonl", tmp_path / "a")
    storage.spooled_stdin.cache_clear()
    arguments = ["sweep", "-", "--format", "jsonl", "--heldout", "0", "--out", str(tmp_path / "b"), "--quiet"]
    assert runner.invoke(main, arguments, input=piped).exit_code == 0
    storage.spooled_stdin.cache_clear()
    run = json.loads((tmp_path / "b/run.json").read_text("utf-8"))
    assert run["options"]["format"] == "jsonl"
    sweep = json.loads((tmp_path / "b/sweep.json").read_text("utf-8"))
    assert sweep["sets"]["train"]["n_documents"] == 60
    assert sweep["sets"]["train"]["n_chars"] == 60


@pytest.mark.slow
def test_every_entrance_refuses_records_that_are_called_text(tmp_path: Path) -> None:
    plain, records = written(tmp_path / "a.txt", "가나다\n" * 60), written(tmp_path / "b.txt", _OBJECTS)
    for arguments in (
        ["sweep", records, "--out", tmp_path / "1"],
        ["sweep", plain, "--eval", f"x={records}", "--out", tmp_path / "2"],
        ["sweep", plain, "--protect", f"x={records}", "--out", tmp_path / "3"],
        ["sensitivity", f"a={plain}", f"b={records}", "--out", tmp_path / "4"],
        ["analyze", "mistral-7b-v1", "--text", f"x={records}"],
        ["verify", "mistral-7b-v1", "mistral-7b-v1", "--text", f"x={records}"],
        ["verify", "mistral-7b-v1", "mistral-7b-v1", "--protect", f"x={records}"],
        ["prepare", records, "--strict", "--steps", "exact", "--out", tmp_path / "clean"],
    ):
        result = vocabopt(*arguments)
        assert_refused(result, r"b\.txt: holds JSON objects.*--format jsonl", tmp_path)


def test_records_of_a_benchmark_are_read_by_the_same_code(tmp_path: Path) -> None:
    items = [{"question": "가", "choices": ["나", "다"]}, {"question": "라", "choices": []}]
    written(tmp_path / "a.json", json.dumps(items))
    written(tmp_path / "a.jsonl", "\ufeff" + "".join(f"{json.dumps(item)}\n" for item in items))
    pl.DataFrame(items).write_parquet(tmp_path / "a.parquet")
    for name in ("a.json", "a.jsonl", "a.parquet"):
        assert list(read_records(str(tmp_path / name))) == [(1, items[0]), (2, items[1])], name
    written(tmp_path / "a.csv", "question,answer\n가,나\n")
    assert [record for _, record in read_records(str(tmp_path / "a.csv"))] == [{"question": "가", "answer": "나"}]


# --- The judgement itself --------------------------------------------------------------------------------------------

_VALUES = st.recursive(st.none() | st.integers() | st.text(max_size=4), lambda v: st.lists(v, max_size=3), max_leaves=4)
_RECORDS = st.lists(st.dictionaries(st.text(max_size=3), _VALUES, min_size=1, max_size=3), min_size=1, max_size=5)


@settings(deadline=None, max_examples=examples(200))
@given(records=_RECORDS, indent=st.sampled_from([None, 1]))
def test_what_json_writes_is_known(records: list[dict[str, Any]], indent: int | None) -> None:
    assert json_kind(json.dumps(records, indent=indent), is_all=True) == "array"
    assert json_kind("\n".join(json.dumps(record, indent=indent) for record in records), is_all=True) == "objects"
    assert json_kind(json.dumps([json.dumps(record) for record in records], indent=indent), is_all=True) == "array"
