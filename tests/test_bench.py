"""The benchmark measures what it says: texts, the union model, processes, ratios. No test asks how fast anything is."""

import gzip
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # bench is not installed: it runs from a checkout

from bench import measure, results, scaled, texts, union  # noqa: E402
from bench.measure import Run  # noqa: E402
from bench.results import Row  # noqa: E402
from bench.texts import BenchError  # noqa: E402

pytestmark = pytest.mark.slow

ModelProto: Any = sentencepiece_model_pb2.__dict__["ModelProto"]
N_ROWS = 1400
SIZES = (1500, 2000)


# --- The text --------------------------------------------------------------------------------------------------------


def put(path: Path, data: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data.encode()) if path.suffix == ".gz" else data.encode())


def made_up_data(folder: Path) -> Path:
    """A data folder with every part of the mix, each of one line, and some that test the rules."""
    for name, _ in texts.KOREAN_MIX:
        put(folder / name / "lines.txt", f"{name}\n")
    put(folder / "ko_wiki" / "lines.txt", "  둘째 파일 \r\n\n \u3000\n같은 줄\n같은 줄\n")
    put(
        folder / "ko_wiki" / "a.jsonl.gz",
        '{"id": 1, "title": "x", "text": "첫 줄\\n\\n 둘째 줄\u2028끝 "}\n{"text": " "}\n',
    )
    put(folder / "ko_wiki" / "SOURCE.md", "not text\n")
    put(folder / "ko_wiki" / "nested.json", '{"text": "not lines"}\n')
    put(folder / "ko_parakqc" / "lines.txt", "not in the mix\n")
    return folder


def test_mix_is_every_line_stripped_in_the_order_of_the_folders(tmp_path: Path) -> None:
    data = made_up_data(tmp_path / "data")
    text = texts.build("mix", texts.mix_sources(data), tmp_path / "cache")
    lines = text.path.read_bytes().decode().split("\n")
    expected = ["첫 줄", "둘째 줄\u2028끝", "둘째 파일", "같은 줄", "같은 줄"]
    assert lines == [*expected, *(name for name, _ in texts.KOREAN_MIX[1:]), ""]
    assert (text.n_documents, text.n_bytes) == (len(lines) - 1, text.path.stat().st_size)


def test_law_is_cut_before_the_line_that_passes_ten_megabytes(tmp_path: Path) -> None:
    data = made_up_data(tmp_path / "data")
    put(data / "ko_law" / "lines.txt", "x" * 9_999_989 + "\n" + "y" * 8 + "\n" + "last one out\n" + "z\n")
    law = [source for source in texts.mix_sources(data) if source.path.parent.name == "ko_law"]
    assert [len(document) for document in texts.documents(law[0])] == [9_999_989, 8]


def test_mix_with_a_folder_missing_is_refused(tmp_path: Path) -> None:
    data = made_up_data(tmp_path / "data")
    (data / "ko_klue" / "lines.txt").unlink()
    with pytest.raises(BenchError, match="ko_klue: no text there"):
        texts.mix_sources(data)


def test_broken_record_is_named(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", '{"text": "fine"}\n{"txt": "not"}\n')
    with pytest.raises(BenchError, match=r"a\.jsonl: line 2 is not a record"):
        list(texts.documents(texts.Source(tmp_path / "a.jsonl")))


def test_text_is_built_once_and_again_when_a_source_changes(tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    put(source, "하나\n")
    first = texts.choose_text(source, tmp_path / "cache")
    first.path.write_text("kept\n", encoding="utf-8")
    assert texts.choose_text(source, tmp_path / "cache").path.read_text(encoding="utf-8") == "kept\n"
    put(source, "하나\n둘\n")
    assert texts.choose_text(source, tmp_path / "cache").n_documents == 2


def test_data_folder_is_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCABOPT_DATA", str(made_up_data(tmp_path / "data")))
    assert texts.choose_text(None, tmp_path / "cache").name == "korean-mix"
    monkeypatch.setenv("VOCABOPT_DATA", str(tmp_path / "nowhere"))
    assert texts.choose_text(None, tmp_path / "cache").name == "sample-corpus"


def test_split_parts_the_text_and_keeps_repeated_lines_together(tmp_path: Path) -> None:
    lines = [f"줄 {number % 700}" for number in range(1000)]
    put(tmp_path / "a.txt", "\n".join(lines))
    training, heldout = texts.split(texts.choose_text(tmp_path / "a.txt", tmp_path / "cache"), 0.2)
    sides = [part.path.read_text(encoding="utf-8").splitlines() for part in (training, heldout)]
    assert sorted(sides[0] + sides[1]) == sorted(lines)
    assert not set(sides[0]) & set(sides[1])
    assert 0.1 < len(sides[1]) / len(lines) < 0.3


def test_scaled_text_changes_one_syllable_in_a_tenth_of_the_words(tmp_path: Path) -> None:
    source, target = tmp_path / "a.txt", tmp_path / "b.txt"
    put(source, "".join(f"가나다 abc 漢字 라마바사{number} 아, 자!\n" for number in range(2000)))
    scaled.write_scaled(source, target)
    text, copies = source.read_text(encoding="utf-8"), target.read_text(encoding="utf-8")
    assert len(copies) == 5 * len(text)
    assert copies.startswith(text)
    hangul = re.compile("[가-힣]")
    for copy in (copies[i * len(text) : (i + 1) * len(text)] for i in range(1, 5)):
        pairs = list(zip(text.split(), copy.split(), strict=True))
        n_changes = [sum(a != b for a, b in zip(*pair, strict=True)) for pair in pairs]
        assert max(n_changes) == 1
        assert all(hangul.sub("", a) == hangul.sub("", b) for a, b in pairs)
        assert 0.08 < sum(n_changes) / sum(1 for word, _ in pairs if hangul.search(word)) < 0.12
    again = tmp_path / "c.txt"
    scaled.write_scaled(source, again)
    assert again.read_bytes() == target.read_bytes()


def test_text_without_hangul_is_not_changed() -> None:
    block = "no Hangul, 漢字 \uabff \ud7b0\n".encode()
    assert scaled.changed(block, np.random.default_rng(0)) == block


# --- The union method ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def korean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return texts.choose_text(ROOT / "corpus" / "ko", tmp_path_factory.mktemp("cache")).path


@pytest.fixture(scope="module")
def united(korean: Path, tmp_path_factory: pytest.TempPathFactory) -> union.Union:
    folder = tmp_path_factory.mktemp("models")
    found, tried = union.train_union(union.base_model(), korean, folder, N_ROWS, max_line_bytes=4192)
    assert len(tried) == len(set(tried))
    return found


def parsed(model: bytes) -> Any:
    message = ModelProto()
    message.ParseFromString(model)
    return message


def test_union_keeps_the_base_and_adds_exactly_the_rows_below_it(united: union.Union) -> None:
    base, merged = parsed(union.base_model()), parsed(united.model)
    n_base = len(base.pieces)
    assert list(merged.pieces[:n_base]) == list(base.pieces)
    added = merged.pieces[n_base:]
    assert len(added) == united.n_new == N_ROWS
    assert not {piece.piece for piece in added} & {piece.piece for piece in base.pieces}
    # As float32, which is what the file holds: distinct, in order, and below every score of the base.
    scores = [piece.score for piece in added]
    assert scores == sorted(set(scores), reverse=True)
    assert max(scores) < min(piece.score for piece in base.pieces)
    assert merged.normalizer_spec == base.normalizer_spec


def test_union_holds_all_that_was_trained(korean: Path, tmp_path: Path) -> None:
    trained = union.train(korean, tmp_path / "trained", 1500).read_bytes()
    united = union.unite(union.base_model(), trained)
    pieces = {piece.piece for piece in parsed(united.model).pieces}
    assert {piece.piece for piece in parsed(trained).pieces} <= pieces
    assert united.n_overlap + united.n_new == 1500


def encode_by_scores(model: Any, text: str) -> list[str]:
    """What sentencepiece BPE is defined to do: join the neighbours with the best score, leftmost first."""
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == 1}
    parts = list("▁" + text.replace(" ", "▁"))
    while True:
        joined = [(scores.get(a + b, -np.inf), -i) for i, (a, b) in enumerate(pairwise(parts))]
        best, place = max(joined, default=(-np.inf, 0))
        if best == -np.inf:
            break
        parts[-place : -place + 2] = ["".join(parts[-place : -place + 2])]
    return [
        piece
        for part in parts
        for piece in ([part] if part in scores else [f"<0x{byte:02X}>" for byte in part.encode()])
    ]


def test_union_is_encoded_by_its_scores(united: union.Union, korean: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=united.model)
    model = parsed(united.model)
    n_base = len(parsed(union.base_model()).pieces)
    lines = [*korean.read_text(encoding="utf-8").split("\n")[:100:5], "가  나   다    라", "뷁 🙂 \t끝"]
    for line in lines:
        assert processor.encode(line, out_type=str) == encode_by_scores(model, line)
    assert any(index >= n_base for line in lines for index in processor.encode(line))


def test_tokens_are_counted_over_all_lines(united: union.Union, korean: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=united.model)
    lines = korean.read_text(encoding="utf-8").splitlines()
    assert union.count_tokens(united.model, korean) == sum(len(processor.encode(line)) for line in lines)


# --- Measuring -------------------------------------------------------------------------------------------------------


def test_peak_memory_and_time_are_those_of_the_process(tmp_path: Path) -> None:
    program = "import time; kept = bytearray(300_000_000); time.sleep(0.2)"
    done = measure.run([sys.executable, "-c", program], log=tmp_path / "log.txt")
    assert done.peak_bytes > 300e6
    assert done.seconds > 0.2
    assert done.cpu_seconds > 0


def test_failed_command_shows_the_end_of_its_output(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"exit code 3:\nthis went wrong"):
        measure.run([sys.executable, "-c", "print('this went wrong'); exit(3)"], log=tmp_path / "log.txt")


def row(name: str, *runs: tuple[float, int], **details: float) -> Row:
    made = [Run(seconds=s, cpu_seconds=s, peak_bytes=peak, details=details) for s, peak in runs]
    return Row(name=name, label=name, runs=made)


def test_figures_are_ratios_of_medians_and_maxima_of_memory() -> None:
    rows = {
        "vocabopt": row("vocabopt", (9.0, 10**9), (30.0, 3 * 10**9), (8.0, 10**9)),
        "sentencepiece": row("sentencepiece", (10.0, 10**9), (12.0, 10**9), (11.0, 10**9)),
        "grown": row("grown", (1.0, 1), ratio_input=0.36),
        "union": row("union", (1.0, 1), ratio_input=0.375),
    }
    found = {aim.name: (value, aim.is_met(value)) for aim, value in results.figures(rows)}
    assert found == {
        "sweep_time": (9.0 / 11.0, False),
        "sweep_memory": (3e9, False),
        "grown_ratio": (0.36, None),
        "union_ratio": (0.375, None),
        "union_must": (0.36 / 0.375, True),
        "union_aim": (0.36 / 0.375, True),
    }
    markdown = results.markdown(rows)
    assert "| whole sweep, peak memory | 3.00 GB | <= 2.00 GB | MISSED |" in markdown
    assert len({line.count("|") for line in markdown.split("\n\n")[0].splitlines()}) == 1


def test_every_aim_is_met_on_its_own_bound_or_strictly_inside() -> None:
    for aim in results.AIMS:
        if aim.bound is not None:
            assert aim.is_met(aim.bound) is (aim.sign != "<")


# --- The whole -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A whole benchmark on the sample corpus, with small sizes."""
    out = tmp_path_factory.mktemp("bench")
    parts = ("--only", "compare", "--only", "paper", "--only", "again", "--union")
    options = [*parts, "--repeat", "1", "--name", "small", "--markdown"]
    sizes = ["--sizes", ",".join(map(str, SIZES)), "--rows", str(N_ROWS)]
    command = [sys.executable, "-m", "bench", "--text", "corpus/ko", "--out", str(out), *sizes, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| figure | value | aim |" in done.stdout
    assert sorted(path.name for path in out.iterdir()) == ["small.json", "texts"]
    found: dict[str, Any] = json.loads((out / "small.json").read_text(encoding="utf-8"))
    return found


def test_result_holds_every_row(record: dict[str, Any]) -> None:
    assert list(record["rows"]) == ["vocabopt", "sentencepiece", "paper", "grown", "union", "choose", "report"]
    for measured in record["rows"].values():
        assert measured["seconds"] > 0
        assert measured["peak_bytes"] > 10e6
        assert len(measured["runs"]) == 1
    assert record["text"]["n_documents"] > 1000
    assert record["machine"]["n_cores"] > 0


def test_figures_follow_from_the_rows_of_the_result(record: dict[str, Any]) -> None:
    rows, figures = record["rows"], record["figures"]
    assert figures["sweep_time"]["value"] == rows["vocabopt"]["seconds"] / rows["sentencepiece"]["seconds"]
    assert figures["paper_time"]["value"] == rows["paper"]["seconds"] / rows["vocabopt"]["seconds"]
    assert figures["sweep_memory"]["value"] == rows["vocabopt"]["peak_bytes"]
    grown, joined = (rows[name]["runs"][0]["details"] for name in ("grown", "union"))
    assert grown["n_added"] == joined["n_added"] == N_ROWS
    assert figures["union_must"]["value"] == grown["ratio_input"] / joined["ratio_input"]
    assert grown["ratio_input"] == grown["n_tokens"] / grown["n_tokens_base"]
    for figure in figures.values():
        compare = {"<=": "__le__", ">=": "__ge__", "<": "__lt__"}[figure["sign"]]
        expected = None if figure["bound"] is None else getattr(float(figure["value"]), compare)(float(figure["bound"]))
        assert figure["met"] is expected


def test_papers_procedure_has_every_size(record: dict[str, Any]) -> None:
    details = record["rows"]["paper"]["runs"][0]["details"]
    sizes = details["sizes"]
    assert [size["vocabulary_size"] for size in sizes] == list(SIZES)
    assert all(size["n_overlap"] + size["n_new"] == size["vocabulary_size"] for size in sizes)
    assert sizes[1]["n_tokens"] < sizes[0]["n_tokens"]
    assert set(details["seconds"]) == {"train", "join", "encode"}


def test_counts_agree_with_encoding_whole_documents(record: dict[str, Any]) -> None:
    assert len(record["checks"]) == 3
    assert all(check["agrees"] and check["expected"] == check["found"] > 0 for check in record["checks"])
