"""What a document is, in every format, and what is said when a file cannot be read."""

import codecs
import gzip
import io
import json
import os
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
import zstandard
from helpers import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import without_root

from vocabopt.errors import CorpusError, OptionError, listen
from vocabopt.text import lines, storage
from vocabopt.text.corpus import TextFile
from vocabopt.text.readers import Block, ReadOptions, read_blocks
from vocabopt.text.storage import file_format

PLAIN = ReadOptions()
SKIP = ReadOptions(on_error="skip")
# Everything that some rule somewhere takes for a line end or white space, and characters of 1 to 4 bytes.
TRICKY = "\n\r\t \x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029\u3000\ufeffaé가😀\u1112\u0301\x01"


def blocks_of(path: Path | str, options: ReadOptions = PLAIN, block_bytes: int = 1 << 20) -> list[Block]:
    return list(read_blocks(TextFile(url=str(path), text_set="text", n_bytes=None), options, block_bytes=block_bytes))


def documents_of(path: Path | str, options: ReadOptions = PLAIN, block_bytes: int = 1 << 20) -> list[str]:
    return [document for block in blocks_of(path, options, block_bytes) for document in block.documents]


def written(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def reference_lines(text: str) -> list[str]:
    """The design's sentence in plain Python: a line ends at LF or CRLF and nothing else; a first U+FEFF is no text."""
    *ended, last = text.removeprefix("\ufeff").split("\n")
    return [line.removesuffix("\r") for line in ended] + ([last] if last else [])


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


# --- Lines -----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=examples(400))
@given(
    text=st.text(alphabet=TRICKY, max_size=60),
    block_bytes=st.integers(1, 20),
    packed=st.sampled_from(["", "gz", "zst"]),
)
def test_lines_are_those_of_plain_python_whatever_the_block_size(
    tmp_path_factory: pytest.TempPathFactory, text: str, block_bytes: int, packed: str
) -> None:
    packers: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gz": gzip.compress, "zst": zstandard.compress}
    path = tmp_path_factory.getbasetemp() / f"lines.txt.{packed}"
    path.write_bytes(packers[packed](text.encode()))
    lines = reference_lines(text)
    blocks = blocks_of(path, block_bytes=block_bytes)
    assert [document for block in blocks for document in block.documents] == [line for line in lines if line.strip()]
    assert sum(block.n_blank for block in blocks) == sum(not line.strip() for line in lines)
    assert sum(block.n_stored_bytes for block in blocks) == path.stat().st_size


@settings(deadline=None, max_examples=examples(200))
@given(
    text=st.text(alphabet=TRICKY, max_size=40),
    block_bytes=st.integers(1, 9),
    encoding=st.sampled_from(["utf-16", "utf-16-le", "utf-32-be", "utf-8-sig", "gb18030"]),
)
def test_other_encodings_give_the_same_documents(
    tmp_path_factory: pytest.TempPathFactory, text: str, block_bytes: int, encoding: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "encoded.txt"
    path.write_bytes(text.encode(encoding))
    # Python's utf-16 and utf-8-sig take the mark off; a second one is text.
    decoded = path.read_bytes().decode(encoding)
    decoded = f"\ufeff{decoded}" if encoding in ("utf-16", "utf-8-sig") else decoded
    expected = [line for line in reference_lines(decoded) if line.strip()]
    assert documents_of(path, ReadOptions(encoding=encoding), block_bytes) == expected


@settings(deadline=None, max_examples=examples(200))
@given(lines=st.lists(st.binary(max_size=6), max_size=8), block_bytes=st.integers(1, 20))
def test_skipping_leaves_out_exactly_the_lines_python_cannot_decode(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], block_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "broken.txt"
    path.write_bytes(b"\n".join(lines))
    good, n_blank, n_skipped = [], 0, 0
    *ended, last = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    for line in [line.removesuffix(b"\r") for line in ended] + ([last] if last else []):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = "\0"
        n_skipped += "\0" in text
        n_blank += not text.strip()
        good += [text] if text.strip() and "\0" not in text else []
    blocks = blocks_of(path, ReadOptions(on_error="skip", format="text"), block_bytes)
    assert [document for block in blocks for document in block.documents] == good
    assert sum(block.n_blank for block in blocks) == n_blank
    assert sum(block.n_skipped for block in blocks) == n_skipped


def test_only_lf_and_crlf_end_a_line(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "one\r\ntwo\rtwo\ntab\x0b\x0c\x85\u2028\u2029end\r\r\n last \r")
    assert documents_of(path) == ["one", "two\rtwo", "tab\x0b\x0c\x85\u2028\u2029end\r", " last \r"]


def test_nothing_is_normalised(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "\u1112\u1161\u11ab\n e\u0301 \n\ufeffa\ufeff\n")
    assert documents_of(path) == ["\u1112\u1161\u11ab", " e\u0301 ", "\ufeffa\ufeff"]


def test_repeated_documents_stay_and_blank_ones_are_counted(tmp_path: Path) -> None:
    (block,) = blocks_of(written(tmp_path / "a.txt", "가\n\n \t\x1c\x1f\u3000\n가\n"))
    assert block.documents.to_list() == ["가", "가"]
    assert (block.n_blank, block.n_skipped, block.n_stored_bytes) == (2, 0, 17)
    assert block.documents.dtype == pl.String


def test_blank_is_what_python_strips() -> None:
    assert all(not chr(code).isspace() for code in range(0x3001, 0x110000))
    spaces = [chr(code) for code in range(0x3001) if chr(code).isspace()]
    others = [chr(code) for code in range(0x3001) if not chr(code).isspace()]
    block = Block.of(pl.Series(spaces + others), (), 0, 1)
    assert block.documents.to_list() == others


def test_an_empty_file_has_no_line(tmp_path: Path) -> None:
    assert blocks_of(written(tmp_path / "a.txt", "")) == []


def test_a_file_can_be_one_document(tmp_path: Path) -> None:
    text = "one\r\n\n two \n"
    whole = ReadOptions(unit="file")
    for path in (written(tmp_path / "a.txt", text), written(tmp_path / "a.txt.gz", gzip.compress(text.encode()))):
        assert documents_of(path, whole, block_bytes=3) == [text]
    (blank,) = blocks_of(written(tmp_path / "blank.txt", " \n"), whole)
    assert (len(blank.documents), blank.n_blank) == (0, 1)
    (broken,) = blocks_of(written(tmp_path / "broken.txt", b"a\n\xff"), ReadOptions(unit="file", on_error="skip"))
    assert (len(broken.documents), broken.n_blank, broken.n_skipped) == (0, 0, 1)
    records = written(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b"}\n')
    assert documents_of(records, whole) == ["a", "b"]


@pytest.mark.slow
def test_a_line_of_100_mb_is_one_document_in_linear_time(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "가나다라 " * (100_000_000 // 13) + "\nnext\n")
    start = time.perf_counter()
    lengths = [length for block in blocks_of(path) for length in block.documents.str.len_bytes()]
    assert lengths == [100_000_000 // 13 * 13, 4]
    assert time.perf_counter() - start < 10
    path.unlink()  # pytest keeps its folders


def test_a_document_beyond_what_polars_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_MAX_DOCUMENT_BYTES", 9)
    path = written(tmp_path / "a.txt", "one two three\n")
    with pytest.raises(CorpusError, match=r"a.txt: a document of 14 bytes is too long \(at most 9\); split it"):
        blocks_of(path)


@pytest.mark.slow
def test_a_line_of_100_mb_in_zst_is_one_document(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt.zst", zstandard.compress(os.urandom(1000).hex().encode() * 50_000))
    (block,) = blocks_of(path)
    assert block.documents.str.len_bytes().to_list() == [100_000_000]


# --- Compression, remote files, standard input -----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_all_parts_of_a_joined_compressed_file_are_read(tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix == "gz" else zstandard.compress
    path = written(tmp_path / f"a.txt.{suffix}", pack(b"one\ntw") + pack(b"") + pack(b"o\n"))
    assert documents_of(path, block_bytes=2) == ["one", "two"]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_truncated_compressed_file_is_named_or_read_as_far_as_it_goes(tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix == "gz" else zstandard.compress
    lines = os.urandom(200_000).hex("\n", 20).split("\n")
    packed = pack(("\n".join(lines) + "\n").encode())
    for n_left in (6, len(packed) // 2, len(packed) - 1):
        path = written(tmp_path / f"cut{n_left}.txt.{suffix}", packed[:n_left])
        reason = rf"cut{n_left}.txt.{suffix}: .* ended early or is damaged .*fetch it again"
        with pytest.raises(CorpusError, match=reason):
            blocks_of(path)
        unpacker: Any = zlib.decompressobj(31) if suffix == "gz" else zstandard.ZstdDecompressor().decompressobj()
        unpacked = unpacker.decompress(packed[:n_left])
        if n_left == 6:  # nothing of it can be read
            with pytest.raises(CorpusError, match=reason):
                blocks_of(path, SKIP)
            continue
        blocks = blocks_of(path, SKIP)
        # Whole lines, in order, all that the libraries themselves unpack but for a step's worth.
        found = [document for block in blocks for document in block.documents]
        assert found == lines[: len(found)]
        n_whole = unpacked.count(b"\n")
        assert n_whole - (1 << 17) // 41 <= len(found) <= n_whole
        assert re.search(reason, blocks[-1].damage or "")
        assert [block.damage for block in blocks[:-1]] == [None] * (len(blocks) - 1)
        assert sum(block.n_skipped for block in blocks) == 1
        with pytest.raises(CorpusError, match=reason):  # the one document of it is cut
            blocks_of(path, ReadOptions(unit="file", on_error="skip"))


@pytest.mark.parametrize(("suffix", "name"), [("gz", "gzip"), ("zst", "zstd")])
def test_plain_text_named_as_compressed_is_told_so(tmp_path: Path, suffix: str, name: str) -> None:
    path = written(tmp_path / f"a.txt.{suffix}", b"this is plain text\n" * 10)
    with pytest.raises(CorpusError, match=rf"a.txt.{suffix}: is not {name}, though its name ends so"):
        blocks_of(path)


def test_stored_bytes_add_up_to_the_file_in_every_format(tmp_path: Path) -> None:
    table = pl.DataFrame({"text": [f"문서 {i}" for i in range(3000)]})
    table.write_parquet(tmp_path / "a.parquet", row_group_size=700)
    table.write_ndjson(tmp_path / "a.jsonl")
    written(tmp_path / "a.txt", "\n".join(table["text"]))
    for name in ("a.jsonl", "a.txt"):
        written(tmp_path / f"{name}.gz", gzip.compress((tmp_path / name).read_bytes()))
        written(tmp_path / f"{name}.zst", zstandard.compress((tmp_path / name).read_bytes()))
    for path in sorted(tmp_path.iterdir()):
        blocks = blocks_of(path, block_bytes=5000)
        assert sum(block.n_stored_bytes for block in blocks) == path.stat().st_size, path.name
        assert [document for block in blocks for document in block.documents] == table["text"].to_list(), path.name


def test_remote_files_are_read_like_local_ones(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/a/b.txt.gz", gzip.compress("가\r\n나\n".encode()))
    assert documents_of("memory://a/b.txt.gz", block_bytes=2) == ["가", "나"]
    table = io.BytesIO()
    pl.DataFrame({"text": ["가\n나", None, "다"]}).write_parquet(table)
    memory.pipe("/a/b.parquet", table.getvalue())
    assert documents_of("memory://a/b.parquet") == ["가\n나", "다"]


def test_standard_input_is_read_once_and_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("가\n나".encode())))
    storage.spooled_stdin.cache_clear()
    assert documents_of("-") == documents_of("-") == ["가", "나"]
    storage.spooled_stdin.cache_clear()


def test_a_missing_file_or_package_or_protocol_is_named(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"gone.txt: no such file"):
        blocks_of(tmp_path / "gone.txt")
    with pytest.raises(CorpusError, match=r"gone.txt: no such file"):
        blocks_of("memory://gone.txt")
    with pytest.raises(CorpusError, match=r"nosuch://a.txt: cannot be read .*nosuch"):
        blocks_of("nosuch://a.txt")
    with (
        pytest.raises(OptionError, match=r"s3://b/a.txt: no s3fs here. .*pip install .*'\.\[s3\]'"),
        storage.reading("s3://b/a.txt"),
    ):
        raise ImportError("no s3fs here")


def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "secret.txt", "a")
    path.chmod(0)
    with without_root(tmp_path), pytest.raises(CorpusError, match=r"secret.txt: no permission to read it"):
        blocks_of(path)


# --- Encodings -------------------------------------------------------------------------------------------------------


def test_an_unknown_encoding_is_refused() -> None:
    for name in ("utf-9", "hex", "undefined"):
        with pytest.raises(OptionError, match=rf"--encoding {name}: unknown text encoding"):
            ReadOptions(encoding=name)


def test_cp949_is_suspected_with_offset_and_bytes(tmp_path: Path) -> None:
    data = b"plain\n" * 5 + "첫 줄은 한국어이다. 둘째 줄도 그렇다.\n".encode("cp949") * 3
    path = written(tmp_path / "a.txt", data)
    with pytest.raises(UnicodeDecodeError) as python:
        data.decode()
    place = rf"a.txt: byte {python.value.start} \({data[python.value.start]:X}\) is not utf-8"
    with pytest.raises(CorpusError, match=rf"{place} .*looks like cp949: try --encoding cp949, .*--on-error skip"):
        blocks_of(path)
    assert documents_of(path, ReadOptions(encoding="cp949"), block_bytes=7) == data.decode("cp949").splitlines()


def test_a_broken_byte_in_korean_utf_8_is_not_taken_for_cp949(tmp_path: Path) -> None:
    line = "고려대학교 박물관은 고려대학교의 박물관으로, 서울시 성북구에 있다.\n".encode()
    path = written(tmp_path / "a.txt.gz", gzip.compress(line * 10 + b"\xb0" + line * 10))
    with pytest.raises(
        CorpusError, match=rf"a.txt.gz: byte {len(line) * 10} \(B0\) is not utf-8 \(invalid start byte\); name its"
    ):
        blocks_of(path, block_bytes=64)
    blocks = blocks_of(path, SKIP, block_bytes=64)
    assert (sum(len(b.documents) for b in blocks), sum(b.n_skipped for b in blocks)) == (19, 1)


def test_latin_1_is_not_taken_for_cp949(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "Le café est fermé, dit-elle à la fête.\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"byte 6 \(E9\) is not utf-8 .*; name its encoding with --encoding, or"):
        blocks_of(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_suspected_by_mark_or_by_zeros(tmp_path: Path, encoding: str) -> None:
    text = "나는 학교에 갔다.\r\n그리고 왔다.\r\n"
    path = written(tmp_path / "a.txt", text.encode(encoding))
    with pytest.raises(CorpusError, match=rf"a.txt: byte .* looks like {encoding}: try --encoding {encoding}, "):
        blocks_of(path)
    assert documents_of(path, ReadOptions(encoding=encoding), block_bytes=3) == ["나는 학교에 갔다.", "그리고 왔다."]


def test_utf_32_is_suspected_by_its_mark(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "가\n".encode("utf-32"))
    with pytest.raises(CorpusError, match=r"looks like utf-32: try --encoding utf-32, "):
        blocks_of(path)


@pytest.mark.parametrize("options", [ReadOptions(encoding="utf-16"), ReadOptions(encoding="utf-16", on_error="skip")])
def test_utf_16_without_mark_needs_its_byte_order_named(tmp_path: Path, options: ReadOptions) -> None:
    path = written(tmp_path / "a.txt", "가\n".encode("utf-16-le"))
    with pytest.raises(CorpusError, match=r"a.txt: no byte order mark; try --encoding utf-16-le or utf-16-be"):
        blocks_of(path, options)


def test_bytes_outside_another_encoding_are_named_by_offset_or_skipped(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "가나\n".encode("cp949") + b"x\xff\xffy\n" + "다\n".encode("cp949") + b"\xb0")
    for block_bytes in (1, 2, 3, 100):
        with pytest.raises(CorpusError, match=r"a.txt: byte 6 \(FF\) is not cp949 \(illegal multibyte sequence\)"):
            blocks_of(path, ReadOptions(encoding="cp949"), block_bytes)
        blocks = blocks_of(path, ReadOptions(encoding="cp949", on_error="skip"), block_bytes)
        assert [document for block in blocks for document in block.documents] == ["가나", "다"]
        assert sum(block.n_skipped for block in blocks) == 2
    odd = written(tmp_path / "odd.txt", "가\n나".encode("utf-16-le") + b"\x00")
    with pytest.raises(CorpusError, match=r"odd.txt: byte 6 .00. is not utf-16-le .truncated data."):
        blocks_of(odd, ReadOptions(encoding="utf-16-le"))
    assert documents_of(odd, ReadOptions(encoding="utf-16-le", on_error="skip")) == ["가"]


def test_nul_is_refused_or_skipped_in_every_format(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["a", "b\0c", "d"]}).write_parquet(tmp_path / "a.parquet")
    written(tmp_path / "a.txt", "a\nb\0c\nd\n")
    written(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b\\u0000c"}\n{"text": "d"}\n')
    written(tmp_path / "raw.jsonl", '{"text": "a"}\n{"text": "b\0c"}\n{"text": "d"}\n')
    for name, place in {"a.txt": "line 2", "a.jsonl": "line 2", "raw.jsonl": "line 2", "a.parquet": "record 2"}.items():
        for block_bytes in (1, 1 << 20):
            with pytest.raises(
                CorpusError, match=rf"{name}, {place}: a NUL character: probably a binary file, or UTF-16.*skip"
            ):
                blocks_of(tmp_path / name, block_bytes=block_bytes)
            blocks = blocks_of(tmp_path / name, SKIP, block_bytes)
            assert [document for block in blocks for document in block.documents] == ["a", "d"]
            assert sum(block.n_skipped for block in blocks) == 1
    with pytest.raises(CorpusError, match=r"a.txt, line 2: a NUL"):
        blocks_of(tmp_path / "a.txt", ReadOptions(unit="file"))


# --- Records ---------------------------------------------------------------------------------------------------------


def test_a_record_is_one_document_with_its_newlines(tmp_path: Path) -> None:
    texts = ["한 줄\n두 줄\r\n", None, " ", "a\u2028b", "", "a\u2028b", "\U0001f600"]
    lines = [json.dumps({"id": i, "text": text}, ensure_ascii=i % 2 == 0) for i, text in enumerate(texts)]
    written(tmp_path / "a.ndjson", "\r\n".join(lines) + "\n\n")
    pl.DataFrame({"id": range(len(texts)), "text": texts}).write_parquet(tmp_path / "a.parquet")
    expected = [text for text in texts if text and text.strip()]
    for block_bytes in (1, 50, 1 << 20):
        assert documents_of(tmp_path / "a.ndjson", block_bytes=block_bytes) == expected
        assert documents_of(tmp_path / "a.parquet", block_bytes=block_bytes) == expected
    assert sum(block.n_blank for block in blocks_of(tmp_path / "a.ndjson")) == 4  # the empty line too
    assert sum(block.n_blank for block in blocks_of(tmp_path / "a.parquet")) == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a",}', r"broken JSON \(.*, column 1[34]\)"),
        ('{"text": "a"', r"broken JSON \(.*, column 13\)"),
        ("[1]", r"broken record \(not a JSON object\)"),
        ('{"body": "a"}', r"broken record \(no 'text'\)"),
        ('{"text": 7}', r"broken record \('text' is int, not text\)"),
        ('{"text": "\\ud800"}', "a lone surrogate"),
        ("[" * 100_000, "recursion depth"),
        ('{"text": ' + "9" * 5000 + "}", "4300 digits"),
    ],
)
def test_a_broken_json_line_is_named_or_skipped(tmp_path: Path, line: str, reason: str) -> None:
    path = written(tmp_path / "a.jsonl", f'{{"text": "a"}}\n\n{line}\n{{"text": "b"}}\n')
    for block_bytes in (1, 1 << 20):
        with pytest.raises(CorpusError, match=rf"a.jsonl, line 3: .*{reason}.*; mend it, .*--on-error skip"):
            blocks_of(path, block_bytes=block_bytes)
        blocks = blocks_of(path, SKIP, block_bytes)
        assert [document for block in blocks for document in block.documents] == ["a", "b"]
        assert sum(block.n_skipped for block in blocks) == 1


def test_the_column_can_be_named_and_a_missing_one_lists_all(tmp_path: Path) -> None:
    written(tmp_path / "a.jsonl", '{"id": 1, "body": "가"}\n')
    pl.DataFrame({"id": [1], "body": ["가"]}).write_parquet(tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        assert documents_of(tmp_path / name, ReadOptions(column="body")) == ["가"]
        for options, missing in ((ReadOptions(), "text"), (ReadOptions(column="title", on_error="skip"), "title")):
            with pytest.raises(
                CorpusError, match=rf"{name}: no column '{missing}'; name the text with --column: id, body"
            ):
                blocks_of(tmp_path / name, options)


@pytest.mark.parametrize("packed", ["", "gz", "zst"])
@pytest.mark.parametrize("block_bytes", [1, 2, 1 << 20])
def test_a_byte_order_mark_is_dropped_at_the_beginning_and_nowhere_else(
    tmp_path: Path, packed: str, block_bytes: int
) -> None:
    pack: Callable[[bytes], bytes] = {"": bytes, "gz": gzip.compress, "zst": zstandard.compress}[packed]
    contents = {
        "a.txt": "가\n\ufeff나\ufeff\n",
        "a.jsonl": '{"text": "가"}\n{"text": "\ufeff나\ufeff"}\n',
        "a.json": '[{"text": "가"}, {"text": "\ufeff나\ufeff"}]',
        "a.csv": "text,id\n가,1\n\ufeff나\ufeff,2\n",
        "a.tsv": "text\tid\n가\t1\n\ufeff나\ufeff\t2\n",
    }
    for name, content in contents.items():
        path = written(tmp_path / f"{name}.{packed}".rstrip("."), pack(("\ufeff" + content).encode()))
        assert documents_of(path, block_bytes=block_bytes) == ["가", "\ufeff나\ufeff"], name
        assert sum(b.n_stored_bytes for b in blocks_of(path, block_bytes=block_bytes)) == path.stat().st_size, name
    assert documents_of(written(tmp_path / "only.txt", "\ufeff")) == []
    with pytest.raises(CorpusError, match=r"bad.txt: byte 5 \(FF\) is not utf-8"):  # counted from the mark
        blocks_of(written(tmp_path / "bad.txt", "\ufeffa\n".encode() + b"\xff\n"), block_bytes=block_bytes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_told_once(tmp_path: Path, encoding: str) -> None:
    told: list[str] = []
    listen(told.append)
    try:
        for name in ("a.txt", "b.txt"):
            documents_of(written(tmp_path / name, "\ufeff가\n"), ReadOptions(encoding=encoding))
    finally:
        listen(None)
    assert len(told) == 1
    assert re.search(r"a.txt: begins with a byte order mark", told[0])


def test_a_parquet_column_that_is_not_text_is_refused(tmp_path: Path) -> None:
    table = pl.DataFrame({"text": [1], "kind": pl.Series(["가"], dtype=pl.Categorical), "none": [None]})
    table.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(
        CorpusError, match=r"a.parquet: column 'text' holds Int64, not text; choose another with --column"
    ):
        blocks_of(tmp_path / "a.parquet", SKIP)
    assert documents_of(tmp_path / "a.parquet", ReadOptions(column="kind")) == ["가"]
    (block,) = blocks_of(tmp_path / "a.parquet", ReadOptions(column="none"))
    assert (len(block.documents), block.n_blank) == (0, 1)


def test_a_parquet_file_without_rows_has_no_documents(tmp_path: Path) -> None:
    pl.DataFrame({"text": []}, schema={"text": pl.String}).write_parquet(tmp_path / "a.parquet")
    assert documents_of(tmp_path / "a.parquet") == []
    assert sum(b.n_stored_bytes for b in blocks_of(tmp_path / "a.parquet")) == (tmp_path / "a.parquet").stat().st_size


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    pl.DataFrame({"text": [str(i) for i in range(1000)]}).write_parquet(tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    for damaged in (b"", data[:-20], b"plain text\n"):
        path = written(tmp_path / "b.parquet", damaged)
        with pytest.raises(CorpusError, match=r"b.parquet: cannot be read"):
            blocks_of(path)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("a.txt", ("text", "")),
        ("a/B.TXT.GZ", ("text", "gz")),
        ("a.b.jsonl.zst", ("jsonl", "zst")),
        ("s3://b/a.ndjson", ("jsonl", "")),
        ("a.parquet", ("parquet", "")),
        ("a.parquet.gz", ("", "gz")),
        ("jsonl", ("", "")),
        ("data.txt/readme", ("", "")),
        ("a.gz", ("", "gz")),
        ("-", ("", "")),
        ("zip://a.jsonl::b.zip", ("jsonl", "")),
        ("simplecache::s3://b/a.parquet", ("parquet", "")),
    ],
)
def test_the_suffixes_tell_kind_and_compression(url: str, expected: tuple[str, str]) -> None:
    assert file_format(url) == expected
