"""`vocabopt analyze`: numbers worked by hand on ten lines, and the libraries' own counts on real tokenizers."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from command_line import vocabopt
from helpers import CORPUS, toy_sentencepiece, train_byte_level
from tokenizers import Tokenizer

from vocabopt.analyze.korean import ALL_SYLLABLES, analyse, common_syllables
from vocabopt.analyze.measures import gini, renyi_efficiency
from vocabopt.analyze.subject import load_subject
from vocabopt.analyze.text import read_text
from vocabopt.readers import ReadOptions

TEN_LINES = "\n".join(["가나 가", "다", "나나", "가", "가나", "꽃", "다 다", "나 꽃", "가나 다", "가"]) + "\n"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Knows ▁, 가, 나, 다, and by merges ▁가, ▁가나, ▁다; all else is spelled in bytes. |V| = 3 + 256 + 1 + 3 + 3."""
    value = toy_sentencepiece("가나다", "▁가", "▁가나", "▁다")
    value["model"]["merges"] = [["▁", "가"], ["▁가", "나"], ["▁", "다"]]
    folder = tmp_path_factory.mktemp("toy") / "toy"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lines") / "lines.txt"
    path.write_text(TEN_LINES, encoding="utf-8")
    return path


def analyzed(*arguments: object) -> dict[str, Any]:
    result = vocabopt("analyze", *arguments, "--json")
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def test_ten_lines_by_hand(toy: Path, lines: Path) -> None:
    """Per line (tokens):
    가나 가 = ▁가나 ▁가 (2); 다 = ▁다 (1); 나나 = ▁ 나 나 (3); 가 = ▁가 (1); 가나 = ▁가나 (1); 꽃 = ▁ and 3 bytes (4);
    다 다 = ▁다 ▁다 (2); 나 꽃 = ▁ 나 ▁ and 3 bytes (6); 가나 다 = ▁가나 ▁다 (2); 가 = ▁가 (1). In all 23.
    """
    record = analyzed(toy, "--text", f"ko={lines}", "--rare", 4, "--morphemes", 0)
    (one,) = record["tokenizers"]
    found = one["sets"]["ko"]
    assert one["name"] == "toy"
    assert (one["n_tokens"], one["n_text_tokens"]) == (266, 263)  # <unk>, <s> and </s> are no text
    counted = {name: found[name] for name in ("n_documents", "n_words", "n_chars", "n_bytes", "n_tokens")}
    # Words: 2 1 1 1 1 1 2 2 2 1 = 14. Characters: 14 words of 18 syllables, and 4 spaces.
    assert counted == {"n_documents": 10, "n_words": 14, "n_chars": 22, "n_bytes": 18 * 3 + 4, "n_tokens": 23}
    assert found["fertility"] == 23 / 14
    assert found["bytes_per_token"] == 58 / 23
    assert found["chars_per_token"] == 22 / 23
    # Whole: 가나 3, 가 3, 다 4 = 10 of 14; cut: 나나, 나, 꽃 twice.
    assert found["share_words_whole"] == 10 / 14
    assert found["share_words_continued"] == 4 / 14
    assert (found["n_fallback"], found["n_cut"], found["n_unknown"]) == (6, 6, 0)
    assert found["share_fallback"] == 6 / 23
    # ▁가나 3, ▁가 3, ▁다 4, ▁ 4, 나 3 (나나 two, 나 one), three bytes of 꽃 twice each.
    counts = [3, 3, 4, 4, 3, 2, 2, 2]
    assert sum(counts) == 23
    assert found["n_unused"] == 263 - len(counts)
    assert found["n_rare"] == 6  # all but ▁다 and ▁
    renyi = -math.log(sum((n / 23) ** 2.5 for n in counts)) / 1.5 / math.log(266)
    assert found["renyi_efficiency"] == pytest.approx(renyi, rel=1e-12)
    assert found["parity"] is None
    assert one["gini"] is None


def test_ten_lines_of_korean_by_hand(toy: Path, lines: Path) -> None:
    """Syllables that are one token: 가, 나 and 다. Eojeols are all 14 words, 23 tokens."""
    (one,) = analyzed(toy, "--text", f"ko={lines}", "--morphemes", 0)["tokenizers"]
    korean = one["sets"]["ko"]["korean"]
    assert (one["n_common_syllables"], one["n_syllables"]) == (3, 3)
    assert (korean["eojeol_fertility"], korean["n_eojeols"]) == (23 / 14, 14)
    assert (korean["share_jamo"], korean["share_nfd"], korean["morphemes"]) == (0, 0, None)


def test_near_duplicates_by_hand(toy: Path) -> None:
    """가 and ▁가; 다 and ▁다. Byte pieces are no spellings."""
    subject = load_subject("toy", str(toy), pattern=None, specials=None)
    assert subject.n_near_duplicates == 2 + 2


def test_jamo_and_nfd_by_hand(toy: Path, tmp_path: Path) -> None:
    path = tmp_path / "jamo.txt"
    # 가 as one syllable and as two conjoining jamo, and ㅋㅋ: 5 characters of Hangul, 4 jamo, 2 of them NFD's.
    path.write_text("가 \u1100\u1161 ㅋㅋ abc\n", encoding="utf-8")
    (one,) = analyzed(toy, "--text", f"ko={path}", "--morphemes", 0)["tokenizers"]
    korean = one["sets"]["ko"]["korean"]
    assert (korean["share_jamo"], korean["share_nfd"], korean["n_eojeols"]) == (4 / 5, 2 / 5, 3)


def test_the_syllables_of_ks_x_1001() -> None:
    assert len(common_syllables()) == len(set(common_syllables())) == 2_350
    assert (common_syllables()[0], common_syllables()[-1]) == ("가", "힝")
    assert set(common_syllables()) <= set(ALL_SYLLABLES)
    assert len(ALL_SYLLABLES) == 11_172


def test_gini_by_hand() -> None:
    assert gini([5, 5, 5]) == 0
    assert gini([1, 3]) == (2 + 2) / (2 * 4 * 2)
    assert gini([0, 0, 3]) == pytest.approx(2 / 3)
    assert gini([7]) is None
    assert gini([0, 0]) is None


def test_renyi_is_over_the_whole_vocabulary() -> None:
    """Four tokens evenly out of 16: log 4 / log 16, whatever the order."""
    import numpy as np

    counts = np.array([5, 5, 5, 5] + [0] * 12)
    assert renyi_efficiency(counts, 16) == pytest.approx(0.5)
    assert renyi_efficiency(counts * 0, 16) is None


def test_parity_and_gini_of_translations_by_hand(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("가\n가나\n", encoding="utf-8")  # 2 tokens
    (tmp_path / "b.txt").write_text("나나\n다\n", encoding="utf-8")  # 3 + 1
    texts = ("--text", f"a={tmp_path / 'a.txt'}", "--text", f"b={tmp_path / 'b.txt'}", "--morphemes", 0)
    (one,) = analyzed(toy, *texts, "--parity", "a")["tokenizers"]
    assert {name: found["parity"] for name, found in one["sets"].items()} == {"a": 1, "b": 2}
    assert one["gini"] == (2 + 2) / (2 * 4 * 3)
    (one,) = analyzed(toy, *texts)["tokenizers"]
    assert one["gini"] is None  # nobody said that they are translations


# --- Morphemes -------------------------------------------------------------------------------------------------------


class TwoMorphemes:
    """Says that each document's first word has its second morpheme at its second character: by hand, not by a model."""

    def tokenize(self, documents: list[str]) -> Any:
        from types import SimpleNamespace

        return [[SimpleNamespace(start=0), SimpleNamespace(start=1)] for _ in documents]


def test_boundaries_by_hand(toy: Path, tmp_path: Path) -> None:
    """나나 = ▁ 나 나 is cut at its morpheme; 가나 = ▁가나 is not; 꽃가 = ▁, 3 bytes, 가: two cuts inside 꽃, one at it."""
    from vocabopt.analyze.korean import _meet

    path = tmp_path / "words.txt"
    path.write_text("나나\n가나\n꽃가\n", encoding="utf-8")
    analysed = analyse(read_text("ko", str(path), ReadOptions()), TwoMorphemes(), 10)
    assert analysed.eojeols == [("나나", {1}), ("가나", {1}), ("꽃가", {1})]
    met = _meet(load_subject("toy", str(toy), pattern=None, specials=None), analysed)
    assert (met.n_token_boundaries, met.n_morpheme_boundaries, met.n_both, met.n_skipped) == (1 + 0 + 3, 3, 2, 0)
    assert (met.precision, met.recall) == (2 / 4, 2 / 3)


def test_kiwi_finds_the_particle_of_a_noun(toy: Path, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("학교에서 책을 읽었다.\n", encoding="utf-8")
    from kiwipiepy import Kiwi

    analysed = analyse(read_text("ko", str(path), ReadOptions()), Kiwi(), 10)
    assert analysed.eojeols[0] == ("학교에서", {2})
    assert analysed.eojeols[1] == ("책을", {1})


# --- Real tokenizers -------------------------------------------------------------------------------------------------


def test_counts_are_those_of_the_tokenizers_library(tmp_path: Path) -> None:
    lines = [line for line in (CORPUS / "ko" / "news.txt").read_text("utf-8").split("\n") if line.strip()]
    value = train_byte_level(lines, 600)
    folder = tmp_path / "bytes"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [tokenizer.encode(line, add_special_tokens=False).ids for line in lines]
    (one,) = analyzed(folder, "--text", f"ko={CORPUS / 'ko' / 'news.txt'}", "--morphemes", 0)["tokenizers"]
    found = one["sets"]["ko"]
    assert found["n_tokens"] == sum(map(len, ids))
    used = {index for row in ids for index in row}
    assert found["n_unused"] == one["n_text_tokens"] - len(used)
    # A whole word is one token behind a space: told by offsets of the library on the line itself, first words aside.
    whole = n_words = 0
    for line in lines:
        encoding = tokenizer.encode(" " + line, add_special_tokens=False)
        position = 0
        for word in line.split():
            position = line.index(word, position)
            inside = [1 for a, b in encoding.offsets if a < position + 1 + len(word) and b > position + 1]
            whole += len(inside) == 1
            n_words += 1
            position += len(word)
    assert found["n_words"] == n_words
    assert found["n_words_whole"] == whole


def test_a_tokenizer_without_korean_says_what_it_cannot_spell(tmp_path: Path) -> None:
    value = toy_sentencepiece("가나다")
    value["model"]["byte_fallback"] = False
    value["model"]["vocab"] = {
        piece: number for number, piece in enumerate(p for p in value["model"]["vocab"] if not p.startswith("<0x"))
    }
    value["added_tokens"] = [token for token in value["added_tokens"] if token["content"] == "<unk>"]
    folder = tmp_path / "unknowing"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    (tmp_path / "text.txt").write_text("가 꽃\n꽃\n", encoding="utf-8")
    record = analyzed(folder, "--text", f"ko={tmp_path / 'text.txt'}", "--morphemes", 0)
    (one,) = record["tokenizers"]
    assert one["sets"]["ko"]["n_unknown"] == 2
    assert one["n_syllables"] == 3
    assert one["sets"]["ko"]["n_words_whole"] == 0


# --- Output and bad input --------------------------------------------------------------------------------------------


def test_tables_files_and_dashes(toy: Path, lines: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "none.txt").write_text("  x  \n", encoding="utf-8")
    arguments = (
        toy,
        f"second={toy}",
        "--text",
        f"ko={lines}",
        "--text",
        f"x={tmp_path / 'none.txt'}",
        "--morphemes",
        0,
    )
    result = vocabopt("analyze", *arguments, "--out", out)
    assert result.exit_code == 0
    assert "Tokens per word" in result.stdout
    assert "1.64" in result.stdout
    assert {path.name for path in out.iterdir()} == {"analyze.json", "analyze.html", "figures"}
    record = json.loads((out / "analyze.json").read_text("utf-8"))
    assert [one["name"] for one in record["tokenizers"]] == ["toy", "second"]
    page = (out / "analyze.html").read_text("utf-8")
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "1.64" in page
    vocabularies = next(line for line in result.stdout.splitlines() if line.strip().startswith("toy "))
    assert vocabularies.rstrip().endswith("-")  # Gini


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "No tokenizer given"),
        (["{toy}"], "No text given. Name some with --text NAME=PATH"),
        (["{toy}", "{toy}", "--text", "ko={lines}"], "there is a tokenizer 'toy' already. Name it: NAME="),
        (["{toy}", "--text", "ko={lines}", "--parity", "en"], "--parity en: no such text; there are ko"),
        (["{toy}", "--text", "ko={lines}", "--rare", "0"], "--rare 0, --morphemes 1000: must be at least 1 and 0"),
        (["{toy}/none", "--text", "ko={lines}"], "none"),
        (["{toy}", "--text", "ko={toy}/none.txt"], "no such file or folder"),
        (["{toy}", "--text", "ko"], "write NAME=PATH"),
    ],
)
def test_bad_input_is_named(arguments: list[str], match: str, toy: Path, lines: Path) -> None:
    result = vocabopt("analyze", *(argument.format(toy=toy, lines=lines) for argument in arguments), "--quiet")
    assert result.exit_code == 2
    assert match in result.stderr


def test_parity_of_texts_that_are_no_translations_is_refused(toy: Path, lines: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("가\n", encoding="utf-8")
    texts = ("--text", f"ko={lines}", "--text", f"en={tmp_path / 'short.txt'}")
    result = vocabopt("analyze", toy, *texts, "--parity", "en", "--quiet")
    assert result.exit_code == 2
    assert "--parity en: has 1 documents and ko has 10" in result.stderr


def test_blank_text_is_named(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text("\n \n", encoding="utf-8")
    result = vocabopt("analyze", toy, "--text", f"ko={tmp_path / 'blank.txt'}", "--quiet")
    assert result.exit_code == 2
    assert "only blank lines; nothing to measure" in result.stderr


@pytest.mark.data
def test_unigram_and_rank_files_are_measured_too(data: Path) -> None:
    tokenizers = (f"t5={data / 'tok_t5' / 'sentencepiece.model'}", f"llama3={data / 'tok_llama3' / 'tokenizer.model'}")
    record = analyzed(*tokenizers, "--text", f"ko={CORPUS / 'ko' / 'news.txt'}", "--morphemes", 0)
    t5, llama3 = record["tokenizers"]
    assert t5["sets"]["ko"]["n_unknown"] > 1_000
    assert (t5["n_syllables"], llama3["sets"]["ko"]["n_unknown"]) == (0, 0)
    assert 0 < llama3["n_common_syllables"] <= llama3["n_syllables"] < 2_350
