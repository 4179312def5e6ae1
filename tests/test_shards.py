"""Text in shards: every document is in exactly one, however files are cut."""

import gzip
import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path

import fsspec
import polars as pl
import pytest
from helpers import examples, lines_of
from hypothesis import given, settings
from hypothesis import strategies as st

from vocabopt.errors import CorpusError
from vocabopt.options import ReadOptions
from vocabopt.text.corpus import find_text_sets
from vocabopt.text.documents import Documents, documents_of_sets
from vocabopt.text.parquet_parts import local_part
from vocabopt.text.shards import documents_of_shard, shards_of
from vocabopt.text.storage import line_chunks

READ = ReadOptions()


def texts(blocks: Iterator[Documents]) -> list[tuple[str, bytes]]:
    """Set and bytes of each document, in order."""
    return [
        (block.text_set, block.data[start:end])
        for block in blocks
        for start, end in zip(block.starts.tolist(), block.ends.tolist(), strict=True)
    ]


def in_shards(folder: Path, shard_bytes: int, options: ReadOptions = READ) -> list[tuple[str, bytes]]:
    text_sets = find_text_sets((str(folder),), target=None, evals={}, protects={}, options=options)
    shards = shards_of(text_sets, options, shard_bytes=shard_bytes)
    assert [shard.number for shard in shards] == list(range(len(shards)))
    found = [document for shard in shards for document in texts(documents_of_shard(shard, options))]
    assert found == texts(documents_of_sets(text_sets, options))
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert sum(shard.n_stored_bytes for shard in shards) == stored
    return found


@settings(max_examples=examples(300), deadline=None)
@given(
    data=st.lists(st.sampled_from([b"a", b"\n", b"\r\n", "가".encode(), b"abcdefgh"]), max_size=40).map(b"".join),
    cuts=st.lists(st.integers(1, 120), max_size=6),
    n_bytes=st.integers(1, 50),
)
def test_lines_of_all_parts_are_the_file(
    data: bytes, cuts: list[int], n_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.txt"
    path.write_bytes(data)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = []
    for start, end in pairwise(places):
        *pieces, (last, n_read) = line_chunks(str(path), start, end, n_bytes)
        assert (last, n_read) == (b"", end - start)
        assert all(piece for piece, _ in pieces)
        parts.append(b"".join(piece for piece, _ in pieces))
    assert b"".join(parts) == data
    for part in parts[:-1]:
        assert not part or part.endswith(b"\n") or data.endswith(part)


@pytest.mark.parametrize("shard_bytes", [pytest.param(1, marks=pytest.mark.slow), 100, 10_000, 10_000_000])
def test_every_document_is_in_one_shard(shard_bytes: int, tmp_path: Path) -> None:
    lines = lines_of("ko")[:400]
    records = [json.dumps({"text": line}, ensure_ascii=False) for line in lines]
    (tmp_path / "ko").mkdir()
    (tmp_path / "ko" / "plain.txt").write_bytes("\r\n".join(lines[:100]).encode())
    (tmp_path / "ko" / "marked.txt").write_bytes(b"\xef\xbb\xbf" + "\n\n".join(lines[:50]).encode() + b"\n")
    (tmp_path / "ko" / "records.jsonl").write_text("\n".join(records[100:200]) + "\n", encoding="utf-8")
    (tmp_path / "ko" / "packed.jsonl.gz").write_bytes(gzip.compress("\n".join(records[200:300]).encode()))
    pl.DataFrame({"text": [*lines[300:], None, " "]}).write_parquet(tmp_path / "ko" / "table.parquet")
    # Its name says records in lines; it holds one array, which is not cut.
    (tmp_path / "ko" / "values.jsonl").write_text(json.dumps([{"text": line} for line in lines[:20]]), encoding="utf-8")
    (tmp_path / "ko" / "empty.txt").write_bytes(b"")
    (tmp_path / "en").mkdir()
    for i, line in enumerate(lines_of("en")[:30]):
        (tmp_path / "en" / f"{i}.txt").write_text(line + "\n", encoding="utf-8")
    found = Counter(name for name, _ in in_shards(tmp_path, shard_bytes))
    assert found == {"train": 100 + 50 + 100 + 100 + 100 + 20, "en": 30}


@pytest.fixture
def remote_table() -> Iterator[tuple[str, list[str]]]:
    """A parquet file of 20 row groups and three columns, elsewhere; and its texts."""
    filesystem = fsspec.filesystem("memory")
    lines = lines_of("ko")[:400]
    buffer = io.BytesIO()
    source = random.Random(0)
    other = [source.randbytes(2_000) for _ in lines]
    columns = {"other": other, "text": lines, "more": pl.Series([[1, 2]] * len(lines))}
    pl.DataFrame(columns).write_parquet(buffer, row_group_size=20)
    filesystem.pipe("/tables/table.parquet", buffer.getvalue())
    yield "memory://tables/table.parquet", lines
    filesystem.rm("/tables", recursive=True)


@pytest.mark.parametrize("shard_bytes", [20_000, 300_000, 10_000_000])
def test_remote_parquet_is_cut_at_row_groups(shard_bytes: int, remote_table: tuple[str, list[str]]) -> None:
    url, lines = remote_table
    text_sets = find_text_sets((url,), target=None, evals={}, protects={})
    shards = shards_of(text_sets, READ, shard_bytes=shard_bytes)
    found = [texts(documents_of_shard(shard, READ)) for shard in shards]
    assert list(chain.from_iterable(found)) == [("train", line.encode()) for line in lines]
    if shard_bytes == 20_000:  # more shards than row groups: some are empty
        assert sorted(map(len, found))[-20:] == [20] * 20
        assert len(shards) > 20


def test_of_remote_parquet_only_the_column_in_its_row_groups_is_fetched(remote_table: tuple[str, list[str]]) -> None:
    url, lines = remote_table
    n_bytes = fsspec.filesystem("memory").size("/tables/table.parquet")
    with local_part(url, "text", (n_bytes // 2, n_bytes // 2 + n_bytes // 20)) as (path, first, last):
        assert Path(path).stat().st_size == n_bytes
        assert Path(path).stat().st_blocks * 512 < n_bytes / 3
        assert (
            pl.scan_parquet(path).slice(first, last - first).select("text").collect()["text"].to_list()
            == (lines[first:last])
        )
        assert last - first == 20


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" + b"\x19" * 40 + b"\x20\0\0\0PAR1"])
def test_remote_parquet_that_is_damaged_is_named(content: bytes) -> None:
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/damaged.parquet", content)
    with (
        pytest.raises(CorpusError, match=r"memory://damaged\.parquet: .*etch it again"),
        local_part("memory://damaged.parquet", "text", (0, 10)),
    ):
        pass
    filesystem.rm("/damaged.parquet")


def test_a_file_whose_name_tells_nothing_is_cut_if_it_holds_lines(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("\n".join(lines_of("ko")[:100]), encoding="utf-8")
    pretty = json.dumps([{"text": line} for line in lines_of("ko")[:50]], ensure_ascii=False, indent=1)
    (tmp_path / "b.jsonl").write_text(pretty, encoding="utf-8")
    for path, n in ((tmp_path / "a", 100), (tmp_path / "b.jsonl", 50)):
        text_sets = find_text_sets((str(path),), target=None, evals={}, protects={})
        shards = shards_of(text_sets, READ, shard_bytes=500)
        assert len(shards) > 5
        assert sum(len(texts(documents_of_shard(shard, READ))) for shard in shards) == n


def test_other_encodings_and_whole_files_are_not_cut(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\n".join(lines_of("ko")[:100]).encode("utf-16"))
    utf16 = ReadOptions(encoding="utf-16")
    assert len(in_shards(tmp_path, 100, utf16)) == 100
    (tmp_path / "a.txt").write_text("\n".join(lines_of("ko")[:100]), encoding="utf-8")
    assert len(in_shards(tmp_path, 100, ReadOptions(unit="file"))) == 1


def test_a_file_that_grew_since_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("가나다\n", encoding="utf-8")
    (shard,) = shards_of(find_text_sets((str(path),), target=None, evals={}, protects={}), READ, shard_bytes=1_000)
    path.write_text("가나다\n라마바\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"a\.txt: changed since the run began: it had 10 bytes, and has 20\."):
        list(documents_of_shard(shard, READ))
