"""Which files are found, which text sets they make, which one is learned from, and what is said when that fails."""

import gzip
import io
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import polars as pl
import pytest
import xxhash
from limits import without_root

from vocabopt.errors import CorpusError, OptionError
from vocabopt.text import storage
from vocabopt.text.corpus import TextFile, TextSet, find_text_sets, fingerprint
from vocabopt.text.readers import ReadOptions, read_blocks

KOREAN = "나는 학교에 갔다.\n"
ENGLISH = "I went to school.\n"


def put(path: Path, text: str = KOREAN) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def find(*paths: Path | str, target: str | None = None, **named: dict[str, str]) -> tuple[TextSet, ...]:
    return find_text_sets(
        [str(path) for path in paths], target=target, evals=named.get("evals", {}), protects=named.get("protects", {})
    )


def names_of(text_set: TextSet) -> list[str]:
    return [file.url.rpartition("/")[2] for file in text_set.files]


def roles_of(sets: tuple[TextSet, ...]) -> list[tuple[str, str]]:
    return [(text_set.name, text_set.role) for text_set in sets]


@pytest.fixture
def parallel(tmp_path: Path) -> Path:
    put(tmp_path / "corpus/ko/news.txt")
    put(tmp_path / "corpus/ko/deep/law.txt")
    put(tmp_path / "corpus/en/news.txt", ENGLISH)
    return tmp_path / "corpus"


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


# --- Files -----------------------------------------------------------------------------------------------------------


def test_a_file_is_read_as_text_whatever_its_suffix(tmp_path: Path) -> None:
    path = put(tmp_path / "notes.md")
    (text,) = find(path)
    assert text == TextSet(
        name="text", role="train", files=(TextFile(url=str(path), text_set="text", n_bytes=len(KOREAN.encode())),)
    )


def test_a_folder_gives_its_text_files_at_any_depth_and_nothing_hidden(tmp_path: Path) -> None:
    wanted = ["a.txt", "b.jsonl", "c.ndjson.gz", "d.TXT", "deep/er/e.txt.zst", "deep/f.parquet"]
    unwanted = [".h.txt", "_SUCCESS.txt", ".git/a.txt", "_old/a.txt", "a.md", "a.gz", "a.parquet.gz", "deep/README"]
    for name in wanted + unwanted:
        put(tmp_path / name)
    (text,) = find(tmp_path)
    assert [file.url for file in text.files] == sorted(f"{tmp_path}/{name}" for name in wanted)


def test_relative_paths_stay_as_they_were_written(parallel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(parallel.parent)
    assert [file.url for file in find("corpus")[0].files] == ["corpus/ko/deep/law.txt", "corpus/ko/news.txt"]
    assert [file.url for file in find("corpus/")[1].files] == ["corpus/en/news.txt"]
    assert [file.url for file in find("corpus/e*/*")[0].files] == ["corpus/en/news.txt"]


def test_a_glob_gives_what_the_shell_would(tmp_path: Path) -> None:
    for name in ("a.txt", "b.tsv", ".c.txt", "_d.txt", "deep/e.txt", "other.txt"):
        put(tmp_path / name)
    assert names_of(find(f"{tmp_path}/[ab].*")[0]) == ["a.txt", "b.tsv"]
    assert names_of(find(f"{tmp_path}/**/*.txt")[0]) == ["a.txt", "e.txt", "other.txt"]
    assert names_of(find(f"{tmp_path}/d*")[0]) == ["e.txt"]
    assert names_of(find(f"{tmp_path}/_*")[0]) == ["_d.txt"]
    with pytest.raises(CorpusError, match=r"x\*\.txt: matches no file"):
        find(f"{tmp_path}/x*.txt")


def test_a_file_may_have_a_name_like_a_glob(tmp_path: Path) -> None:
    path = put(tmp_path / "a[1].txt")
    put(tmp_path / "a1.txt")
    assert names_of(find(path)[0]) == ["a[1].txt"]
    pl.DataFrame({"text": ["가"]}).write_parquet(tmp_path / "b[1].parquet")
    (file,) = find(tmp_path / "b[1].parquet")[0].files
    assert [block.documents.to_list() for block in read_blocks(file, ReadOptions())] == [["가"]]


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "data/a.txt")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/ko").symlink_to(tmp_path / "data")
    assert [file.url for file in find(tmp_path / "corpus")[0].files] == [f"{tmp_path}/corpus/ko/a.txt"]


def test_standard_input_is_a_text_of_unknown_size(monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = find("-")
    assert text.files == (TextFile(url="-", text_set="text", n_bytes=None),)


def test_missing_and_empty_paths_are_named(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    put(tmp_path / "folder/a.md")
    with pytest.raises(CorpusError, match=r"gone.txt: no such file or folder"):
        find(tmp_path / "gone.txt")
    with pytest.raises(CorpusError, match=r"a.md/b: no such file or folder"):
        find(tmp_path / "folder/a.md/b")
    with pytest.raises(CorpusError, match=r"memory://gone: no such file or folder"):
        find("memory://gone")
    with pytest.raises(CorpusError, match=r"folder: no text in this folder; looked for .txt, .jsonl, .* and .parquet"):
        find(tmp_path / "folder")
    with pytest.raises(CorpusError, match=r"gone: no such file or folder"):
        find(tmp_path / "folder/a.md", evals={"news": str(tmp_path / "gone")})


def test_no_path_at_all_is_refused() -> None:
    with pytest.raises(OptionError, match=r"no text given: name a file, a folder, or - for standard input"):
        find()


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorpusError, match=r"pipe: neither a file nor a folder; to read a pipe, use - "):
        find(tmp_path / "pipe")


def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    put(tmp_path / "a.txt")
    put(tmp_path / "secret/b.txt").parent.chmod(0)
    try:
        with without_root(tmp_path), pytest.raises(CorpusError, match=r"no permission to read it"):
            find(tmp_path)
    finally:
        (tmp_path / "secret").chmod(0o700)


def test_a_file_named_twice_is_refused(parallel: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"ko/news.txt: this file is named twice"):
        find(parallel, parallel / "ko/news.txt")
    (tmp_path / "link.txt").symlink_to(parallel / "en/news.txt")
    with pytest.raises(OptionError, match=r"link.txt: this file is named twice \(it is \S*en/news.txt\)"):
        find(parallel / "en/news.txt", tmp_path / "link.txt")
    with pytest.raises(OptionError, match=r"-: this file is named twice"):
        find("-", "-")


# --- Text sets -------------------------------------------------------------------------------------------------------


def test_folders_named_by_language_are_sets_and_the_one_that_is_not_latin_is_learned(parallel: Path) -> None:
    sets = find(parallel)
    assert roles_of(sets) == [("ko", "train"), ("en", "protected")]
    assert names_of(sets[0]) == ["law.txt", "news.txt"]
    assert {file.text_set for file in sets[0].files} == {"ko"}


def test_languages_are_merged_over_paths_and_may_name_script_and_region(parallel: Path, tmp_path: Path) -> None:
    for name in ("zh-Hant", "zh-Hans-CN", "pt-BR", "ko", "fil"):
        put(tmp_path / "more" / name / "a.txt", ENGLISH)
    sets = find(parallel, tmp_path / "more", target="ko")
    assert [text_set.name for text_set in sets] == ["ko", "en", "fil", "pt", "zh-Hans", "zh-Hant"]
    assert names_of(sets[0]) == ["law.txt", "news.txt", "a.txt"]


def test_folders_of_one_language_are_one_set_however_they_are_spelled(tmp_path: Path) -> None:
    for name in ("ko", "kor", "ko-KR", "ko_KR", "Korean", "kor_Hang"):
        put(tmp_path / name / "a.txt")
    put(tmp_path / "english/a.txt", ENGLISH)
    sets = find(tmp_path)
    assert [(text_set.name, text_set.role, len(text_set.files)) for text_set in sets] == [
        ("ko", "train", 6),
        ("en", "protected", 1),
    ]
    for spelled in ("ko", "korean", "ko-KR"):
        assert roles_of(find(tmp_path, target=spelled)) == roles_of(sets)


def test_other_folders_belong_to_the_set_around_them(tmp_path: Path) -> None:
    names = ("k", "news", "2024", "sub", "src", "raw", "dev", "tmp", "new", "old", "out", "bin", "doc", "law")
    for name in names:
        put(tmp_path / name / "a.txt")
    put(tmp_path / "b.txt")
    assert [(text.name, text.role, len(text.files)) for text in find(tmp_path)] == [("text", "train", len(names) + 1)]
    put(tmp_path / "corpus/ko/raw/a.txt")
    put(tmp_path / "corpus/ko/b.txt")
    put(tmp_path / "corpus/en/src/a.txt", ENGLISH)
    assert [(text.name, len(text.files)) for text in find(tmp_path / "corpus")] == [("ko", 2), ("en", 1)]


def test_files_beside_language_folders_are_refused_by_name(parallel: Path) -> None:
    put(parallel / "README.txt")
    put(parallel / "other/a.txt")
    with pytest.raises(
        OptionError,
        match=r"corpus: has a folder per language \(en, ko\), so .*: \S*corpus/README.txt, \S*corpus/other/a.txt$",
    ):
        find(parallel)
    for i in range(9):
        put(parallel / f"stray{i}.txt")
    with pytest.raises(OptionError, match=r"README.txt, .*other/a.txt, .*stray2.txt and 6 more$"):
        find(parallel)


def test_the_target_can_be_named(parallel: Path) -> None:
    assert roles_of(find(parallel, target="en")) == [("en", "train"), ("ko", "protected")]
    with pytest.raises(OptionError, match=r"--target fr: no such text set; there are en, ko"):
        find(parallel, target="fr")


def test_a_target_that_is_not_clear_lists_sets_and_scripts(parallel: Path) -> None:
    put(parallel / "ru/a.txt", "Я ходил в школу.\n")
    put(parallel / "zxx/a.txt", "123\n")
    listed = r"en \(Latin\), ko \(Hangul\), ru \(Cyrillic\), zxx \(no letters\)"
    with pytest.raises(
        OptionError, match=rf"cannot tell which text set to learn from: {listed}; name it with --target"
    ):
        find(parallel)
    put(parallel.parent / "two/en/a.txt", ENGLISH)
    put(parallel.parent / "two/fr/a.txt", "été\n")
    with pytest.raises(OptionError, match=r"cannot tell .*: en \(Latin\), fr \(Latin\); name it with --target"):
        find(parallel.parent / "two")


def test_the_script_is_that_of_the_text_not_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "ko").mkdir()
    (tmp_path / "en/a.jsonl.gz").write_bytes(gzip.compress(b'{"identifier": "abcdefgh", "body": "I went."}\n'))
    (tmp_path / "ko/a.jsonl").write_text('{"identifier": "abcdefgh", "body": "\\uac00\\ub098"}\n{broken\n')
    sets = find_text_sets([str(tmp_path)], target=None, evals={}, protects={}, options=ReadOptions(column="body"))
    assert roles_of(sets) == [("ko", "train"), ("en", "protected")]


def test_only_the_beginning_of_files_tells_the_script(parallel: Path) -> None:
    put(parallel / "en/news.txt", ENGLISH * 8000 + KOREAN * 100_000)
    assert roles_of(find(parallel)) == [("ko", "train"), ("en", "protected")]


def test_eval_and_protect_add_sets_by_name(parallel: Path, tmp_path: Path) -> None:
    reviews = str(put(tmp_path / "reviews/ko/a.txt").parents[1])
    code = str(put(tmp_path / "code.txt", "x = 1\n"))
    sets = find(parallel, evals={"reviews": reviews}, protects={"Code-1.x": code})
    assert roles_of(sets) == [("ko", "train"), ("Code-1.x", "protected"), ("en", "protected"), ("reviews", "eval")]
    assert sets[3].files[0].text_set == "reviews"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "a name is made of"),
        ("-x", "a name is made of"),
        ("a b", "a name is made of"),
        ("리뷰", "a name is made of"),
        ("a\n", "a name is made of"),
        ("train", "the name train is kept for a part of the target"),
        ("heldout", "the name heldout is kept for a part of the target"),
        ("en", "there is a text set en already; choose another name"),
        ("ko", "there is a text set ko already; choose another name"),
    ],
)
def test_names_that_cannot_be_used_are_refused(parallel: Path, name: str, reason: str) -> None:
    path = str(parallel / "en")
    with pytest.raises(OptionError, match=rf"--eval {name}={path}: {reason}"):
        find(parallel, evals={name: path})
    with pytest.raises(OptionError, match=rf"--protect {name}={path}: {reason}"):
        find(parallel, protects={name: path})
    with pytest.raises(OptionError, match=r"--protect x=\S+: there is a text set x already"):
        find(parallel, evals={"x": path}, protects={"x": path})


# --- Remote files ----------------------------------------------------------------------------------------------------


def test_remote_folders_files_and_globs(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe({"/c/ko/a.txt": KOREAN.encode(), "/c/ko/_b.txt": b"x", "/c/.git/b.txt": b"x", "/c/en/deep/c.txt": b"I"})
    for url in ("memory://c", "memory:///c/"):
        sets = find(url)
        assert roles_of(sets) == [("ko", "train"), ("en", "protected")]
        assert [(names_of(text), text.files[0].n_bytes) for text in sets] == [(["a.txt"], 25), (["c.txt"], 1)]
    assert find("memory://c/ko/a.txt")[0].files == (TextFile(url="memory://c/ko/a.txt", text_set="text", n_bytes=25),)
    (text,) = find("memory://c/k*/*.txt")
    assert [block.documents.to_list() for block in read_blocks(text.files[0], ReadOptions())] == [[KOREAN.strip()]]
    with pytest.raises(CorpusError, match=r"memory://c/x\*: matches no file"):
        find("memory://c/x*")
    with pytest.raises(OptionError, match=r"memory://c/ko/a.txt: this file is named twice"):
        find("memory:///c/ko/", "memory://c/ko/a.txt")


def test_a_file_url_is_a_local_path(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt")
    assert find(f"file://{path}")[0].files[0].url == str(path)


def test_a_zip_archive_is_a_folder(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("ko/a.txt", KOREAN)
        file.writestr("en/a.txt", ENGLISH)
    for url, name in (
        (f"zip://::{archive}", "ko"),
        (f"zip://ko::{archive}", "text"),
        (f"zip://k*/*::{archive}", "text"),
    ):
        text = find(url)[0]
        assert (text.name, [file.url for file in text.files]) == (name, [f"zip://ko/a.txt::{archive}"])
        assert [block.documents.to_list() for block in read_blocks(text.files[0], ReadOptions())] == [[KOREAN.strip()]]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    """A bucket on a server in this process, found through the environment as a user's would be."""
    # It imports half of AWS: not before the test that needs it.
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    filesystem = fsspec.filesystem("s3", skip_instance_cache=True)
    filesystem.mkdir("corpus")
    yield filesystem
    type(filesystem).clear_instance_cache()
    server.stop()


def test_an_s3_bucket_is_read_and_fingerprinted(bucket: fsspec.AbstractFileSystem) -> None:
    bucket.pipe("corpus/v1/ko/a.txt.gz", gzip.compress(KOREAN.encode()))
    table = io.BytesIO()
    pl.DataFrame({"text": ["I went.\n"]}).write_parquet(table)
    bucket.pipe("corpus/v1/en/a.parquet", table.getvalue())
    sets = find("s3://corpus/v1")
    assert roles_of(sets) == [("ko", "train"), ("en", "protected")]
    urls = [file.url for text in sets for file in text.files]
    assert urls == ["s3://corpus/v1/ko/a.txt.gz", "s3://corpus/v1/en/a.parquet"]
    for text, document in zip(sets, (KOREAN.strip(), "I went.\n"), strict=True):
        (block,) = read_blocks(text.files[0], ReadOptions())
        assert (block.documents.to_list(), block.n_stored_bytes) == ([document], text.files[0].n_bytes)
    assert [file.url for file in find("s3://corpus/*/ko/*")[0].files] == urls[:1]
    before = fingerprint(sets[0].files[0])
    assert fingerprint(find(urls[0])[0].files[0]) == before
    bucket.pipe("corpus/v1/ko/a.txt.gz", gzip.compress(ENGLISH.encode()))
    type(bucket).clear_instance_cache()
    assert fingerprint(sets[0].files[0]) != before
    with pytest.raises(CorpusError, match=r"s3://corpus/v2: no such file or folder"):
        find("s3://corpus/v2")


# --- Fingerprints ----------------------------------------------------------------------------------------------------


def test_a_local_fingerprint_is_the_digest_of_the_stored_bytes(tmp_path: Path) -> None:
    data = gzip.compress(os.urandom(3 << 20))
    (tmp_path / "a.txt.gz").write_bytes(data)
    (file,) = find(tmp_path / "a.txt.gz")[0].files
    assert fingerprint(file) == xxhash.xxh3_128(data).hexdigest()
    with pytest.raises(CorpusError, match=r"gone.txt: no such file"):
        fingerprint(TextFile(url=str(tmp_path / "gone.txt"), text_set="text", n_bytes=None))


def test_the_fingerprint_of_standard_input_is_that_of_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(KOREAN.encode())))
    storage.spooled_stdin.cache_clear()
    (file,) = find("-")[0].files
    assert fingerprint(file) == xxhash.xxh3_128(KOREAN.encode()).hexdigest()
    assert [block.documents.to_list() for block in read_blocks(file, ReadOptions())] == [[KOREAN.strip()]]
    storage.spooled_stdin.cache_clear()


def test_a_remote_fingerprint_changes_with_the_content(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/a.txt", b"one")
    file = TextFile(url="memory://a.txt", text_set="text", n_bytes=3)
    before = fingerprint(file)
    assert fingerprint(file) == before
    memory.pipe("/a.txt", b"two")
    assert fingerprint(file) != before
    with pytest.raises(CorpusError, match=r"memory://gone.txt: no such file"):
        fingerprint(TextFile(url="memory://gone.txt", text_set="text", n_bytes=None))
