"""`vocabopt analyze`: its numbers against a table worked by hand, and against the libraries that encode."""

import gzip
import json
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex
import sentencepiece
from helpers import CORPUS, library_tokenizer, lines_of, toy_sentencepiece, train_sentencepiece
from msgspec import convert
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from vocabopt.analysis.measure import gini, parity, renyi_efficiency
from vocabopt.analysis.record import AnalyzeRecord
from vocabopt.analysis.run import analyze
from vocabopt.analysis.subjects import Subject, load_subjects
from vocabopt.analysis.tables import warnings
from vocabopt.analysis.words import common_syllables, find_morphemes, load_analyser, meet, modern_syllables
from vocabopt.console import Console
from vocabopt.options import AnalyzeOptions
from vocabopt.records import json_of

#: Lines that are hard for one family or another: runs of spaces, tabs, emoji, rare syllables, NFD, special strings.
HARD = [
    "  두 칸  그리고   세 칸 ",
    "탭\t뒤 그리고\u00a0줄바꿈 없는 칸",
    "이모지 😀😀 그리고 👩‍👩‍👧 가족",
    "똠방각하 뷁 햝았다 ㅋㅋㅋ ㅠㅠ",
    unicodedata.normalize("NFD", "풀어 쓴 한글 café"),
    "▁밑줄 ▁▁ 두 개",
    "I can't stop: 3.14159, {x: [1, 2]}\u3000全角",
    "한국어English섞임 123abc",
]


def run(tokenizers: Sequence[object], texts: dict[str, object], **options: Any) -> dict[str, Any]:
    named = {name: str(path) for name, path in texts.items()}
    given = AnalyzeOptions(tokenizers=tuple(map(str, tokenizers)), texts=named, **options)
    return json_of(analyze(given, Console(quiet=True)))


def subject(path: object) -> Subject:
    (loaded,) = load_subjects(AnalyzeOptions(tokenizers=(str(path),), texts={"any": "any"}))
    return loaded


def saved(folder: Path, tokenizer: dict[str, Any] | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    if isinstance(tokenizer, bytes):
        (folder / "tokenizer.model").write_bytes(tokenizer)
    else:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


def lines(path: Path, documents: Sequence[str]) -> Path:
    path.write_text("".join(f"{document}\n" for document in documents), encoding="utf-8")
    return path


# --- Ten lines, worked by hand ---------------------------------------------------------------------------------------

#: Each line with its tokens, by the merges a+b, ▁+ab, ▁+c of the tokenizer below; ▁ is the space, also before a line.
TEN_LINES = {
    "ab ab": "▁ab ▁ab",  # 2 words, whole
    "ab c": "▁ab ▁c",  # 2 words, whole
    "abc": "▁ab c",  # 1 word, continued
    "c  ab": "▁c ▁ ▁ab",  # 2 words, whole: the first of the two spaces is nobody's
    "가": "▁ 가",  # 1 word, continued: the space right before it is its own
    "나": "▁ EB 82 98",  # 1 word, continued, in bytes
    "A b": "▁ A ▁ b",  # 2 words, continued
    "cab": "▁c ab",  # 1 word, continued
    "ㅋ": "▁ E3 85 8B",  # 1 word, continued, in bytes
    "c c c": "▁c ▁c ▁c",  # 3 words, whole
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 special tokens, 256 byte pieces, ▁, six characters and what three merges make: 269 tokens, 266 plain ones."""
    value = toy_sentencepiece("abc가Aａ", "ab", "▁ab", "▁c")
    value["model"]["merges"] = [["a", "b"], ["▁", "ab"], ["▁", "c"]]
    return saved(tmp_path_factory.mktemp("analyze") / "tiny", value)


@pytest.fixture(scope="module")
def by_hand(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ten")
    texts: dict[str, object] = {
        "ten": lines(folder / "ten.txt", list(TEN_LINES)),
        "other": lines(folder / "other.txt", ["c"] * 10),  # ▁c: one token a line
    }
    return run([tiny], texts, parity="other", rare=6, morpheme_documents=0)


def test_the_ten_lines_are_cut_as_worked_by_hand(tiny: Path) -> None:
    tokenizer = library_tokenizer(tiny)
    for line, tokens in TEN_LINES.items():
        spelled = [token.removeprefix("<0x").removesuffix(">") for token in tokenizer.encode(line).tokens]
        assert " ".join(spelled) == tokens


def test_the_text_of_ten_lines_is_counted_as_by_hand(by_hand: dict[str, Any]) -> None:
    assert by_hand["sets"]["ten"] == {
        "n_documents": 10,
        "n_blank": 0,
        "n_skipped": 0,
        "n_words": 16,  # 2 + 2 + 1 + 2 + 1 + 1 + 2 + 1 + 1 + 3
        "n_chars": 31,  # 5 + 4 + 3 + 5 + 1 + 1 + 3 + 3 + 1 + 5
        "n_bytes": 37,  # three of the characters take 3 bytes
        "is_korean": True,  # 3 of 24 letters
        "n_hangul": 3,
        "n_syllables": 2,  # 가 나
        "n_jamo": 1,  # ㅋ
        "n_conjoining": 0,
        "share_jamo": 1 / 3,
        "share_nfd": 0.0,
    }


def test_the_tokens_of_ten_lines_are_counted_as_by_hand(by_hand: dict[str, Any]) -> None:
    (tokenizer,) = by_hand["tokenizers"]
    counts = tokenizer["sets"]["ten"]
    # Six each of ▁c and ▁, five of ▁ab, one each of c 가 A b ab and six byte pieces: 28 tokens.
    sum_of_powers = (2 * 6**2.5 + 5**2.5 + 11) / 28**2.5
    assert {name: value for name, value in counts.items() if name != "renyi_efficiency"} == {
        "n_tokens": 28,
        "n_added_tokens": 0,
        "n_byte_tokens": 6,
        "n_cut_tokens": 6,
        "n_unknown_tokens": 0,
        "n_words": 16,
        "n_words_whole": 9,  # lines 1, 2, 4 and 10
        "n_words_continued": 7,
        "n_eojeols": 3,
        "n_eojeol_tokens": 10,  # 2 + 4 + 4
        "n_unused": 252,  # 266 - 14
        "n_rare": 12,  # of the 14 all but ▁c and ▁, which come 6 times
        "tokens_per_word": 28 / 16,
        "n_chunks": 16,
        "chunks_per_word": 16 / 16,
        "bytes_per_token": 37 / 28,
        "chars_per_token": 31 / 28,
        "share_words_whole": 9 / 16,
        "share_words_continued": 7 / 16,
        "share_byte_tokens": 6 / 28,
        "share_cut_tokens": 6 / 28,
        "share_unknown_tokens": 0.0,
        "parity": 2.8,
        "tokens_per_eojeol": 10 / 3,
        "morphemes": None,
    }
    assert counts["renyi_efficiency"] == pytest.approx(math.log(sum_of_powers) / -1.5 / math.log(269))
    assert counts["renyi_efficiency"] == pytest.approx(0.337981, abs=1e-6)


def test_the_vocabulary_of_the_tiny_tokenizer_is_judged_as_by_hand(by_hand: dict[str, Any]) -> None:
    (tokenizer,) = by_hand["tokenizers"]
    assert (tokenizer["n_tokens"], tokenizer["n_plain"]) == (269, 266)
    assert (tokenizer["n_unused"], tokenizer["n_rare"]) == (252, 12)  # the other set gives ▁c alone
    assert tokenizer["near_duplicates"] == {
        "n_near_duplicates": 7,  # ab ▁ab | c ▁c | a A ａ
        "n_groups": 3,
        "n_by_space": 4,
        "n_by_case": 2,  # a A
        "n_by_normalisation": 2,  # a ａ
    }
    assert tokenizer["syllables"] == {
        "n_common": 2_350,
        "n_common_whole": 1,  # 가
        "n_modern": 11_172,
        "n_modern_whole": 1,
    }
    # Costs 28/37 and 1 token a byte: |c1 - c2| twice, over 2 x 4 x their mean; 2.8 and 1 a document likewise.
    assert tokenizer["gini_tokens_per_byte"] == pytest.approx(2 * (9 / 37) / (8 * (65 / 37) / 2))
    assert tokenizer["gini_tokens_per_document"] == pytest.approx(2 * 1.8 / (8 * 1.9))


# --- Formulas --------------------------------------------------------------------------------------------------------


def test_renyi_efficiency_is_1_for_a_vocabulary_used_evenly_and_0_for_one_token() -> None:
    assert renyi_efficiency(np.full(64, 7), 64) == pytest.approx(1)
    assert renyi_efficiency(np.array([0, 9, 0]), 3) == 0
    # Half of the vocabulary used evenly: log 32 / log 64. With the observed tokens in place of |V| it would be 1.
    assert renyi_efficiency(np.array([5] * 32 + [0] * 32), 64) == pytest.approx(5 / 6)


def test_gini_of_known_distributions() -> None:
    assert gini([2.0, 2.0, 2.0]) == 0
    assert gini([1.0, 3.0]) == pytest.approx(0.25)
    assert gini([0.0, 0.0, 0.0, 1.0]) == pytest.approx(0.75)  # 1 - 1/n
    # Another form of it: sum of (2 i - n - 1) c_i over n x sum, with the costs in order.
    costs = [0.2, 0.9, 1.4, 5.0, 5.1]
    ordered = sum((2 * i - len(costs) - 1) * cost for i, cost in enumerate(sorted(costs), 1))
    assert gini(costs[::-1]) == pytest.approx(ordered / (len(costs) * sum(costs)))


def test_what_is_undefined_is_none() -> None:
    assert renyi_efficiency(np.zeros(4, np.int64), 4) is None
    assert gini([]) is None
    assert gini([1.0]) is None
    assert parity(5, None) is None
    assert parity(5, 0) is None
    assert parity(0, 5) is None


def test_the_common_syllables_are_those_that_euc_kr_writes_in_two_bytes() -> None:
    # The others of the 11,172 it spells in jamo, eight bytes each (KS X 1001, annex 3).
    assert {text for text in modern_syllables() if len(text.encode("euc_kr")) == 2} == common_syllables()
    assert (len(common_syllables()), len(modern_syllables())) == (2_350, 11_172)
    assert {
        text for text in modern_syllables() if text.encode("cp949")[0] >= 0xB0 and text.encode("cp949")[1] >= 0xA1
    } == (common_syllables())


# --- Against the libraries -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unigram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as T5's: Unigram, NFKC, no byte fallback, of English alone."""
    options = {"model_type": "unigram", "byte_fallback": False, "normalization_rule_name": "nmt_nfkc"}
    model = train_sentencepiece(lines_of("en"), 1_000, remove_extra_whitespaces=True, **options)
    folder = tmp_path_factory.mktemp("unigram") / "t5-like"
    folder.mkdir()
    (folder / "spiece.model").write_bytes(model)
    return folder


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer as BERT's: WordPiece, lower case, parts of words marked with ##."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=1_500, special_tokens=["[UNK]", "[CLS]"], show_progress=False)
    tokenizer.train_from_iterator([*lines_of("en"), *lines_of("ko")], trainer)
    return saved(tmp_path_factory.mktemp("wordpiece") / "bert-like", json.loads(tokenizer.to_str()))


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lines(tmp_path_factory.mktemp("hard") / "hard.txt", [*HARD, *lines_of("ko")[:200], *lines_of("en")[:100]])


def _words_by_hand(tokenizer: Tokenizer, documents: Sequence[str]) -> tuple[int, int, int, int, int]:
    """Words, whole, continued, eojeols and tokens of eojeols, document by document from the library's offsets."""
    n_words = n_whole = n_continued = n_eojeols = n_tokens = 0
    unknown = tokenizer.token_to_id("[UNK]")
    writes_spaces = tokenizer.token_to_id("▁") is not None
    for document in documents:
        encoding = tokenizer.encode(document, add_special_tokens=False)
        if writes_spaces:  # a literal ▁ is a space to it
            document = document.replace("▁", " ")
        for word in regex.finditer(r"[^\p{White_Space}]+", document):
            first, last = word.span()
            if first and document[first - 1] == " ":
                first -= 1
            its = [i for i, (a, b) in zip(encoding.ids, encoding.offsets, strict=True) if a < last and b > first]
            n_words += 1
            n_whole += len(its) == 1 and unknown not in its
            n_continued += len(its) > 1 and unknown not in its
            if regex.search(r"\p{Script=Hangul}", word[0]):
                n_eojeols += 1
                n_tokens += len(its)
    return n_words, n_whole, n_continued, n_eojeols, n_tokens


@pytest.mark.parametrize("name", ["mistral-7b-v1", "llama-like", "gpt2-like", "qwen2-like", "wordpiece"])
def test_tokens_and_words_are_those_of_the_library_on_whole_documents(
    name: str, folders: Path, wordpiece: Path, hard: Path
) -> None:
    places = {"mistral-7b-v1": "mistral-7b-v1", "wordpiece": wordpiece}
    place = places.get(name, folders / name)
    record = run([place], {"hard": hard}, morpheme_documents=0)
    counts = record["tokenizers"][0]["sets"]["hard"]
    tokenizer = subject(place).side.full
    assert tokenizer is not None
    documents = hard.read_text("utf-8").split("\n")[:-1]
    rows = [encoding.ids for encoding in tokenizer.encode_batch(documents, add_special_tokens=False)]
    assert counts["n_tokens"] == sum(map(len, rows))
    words = ("n_words", "n_words_whole", "n_words_continued", "n_eojeols", "n_eojeol_tokens")
    assert tuple(counts[word] for word in words) == _words_by_hand(tokenizer, documents)
    used = {index for row in rows for index in row}
    assert counts["n_unused"] == record["tokenizers"][0]["n_plain"] - len(used - set(_added(tokenizer)))


def _added(tokenizer: Tokenizer) -> list[int]:
    return [*tokenizer.get_added_tokens_decoder()]


@pytest.mark.parametrize("name", ["gpt2-like", "qwen2-like", "mistral-7b-v1"])
def test_cut_tokens_are_those_that_do_not_decode(name: str, folders: Path, hard: Path) -> None:
    place = name if name == "mistral-7b-v1" else folders / name
    counts = run([place], {"hard": hard}, morpheme_documents=0)["tokenizers"][0]["sets"]["hard"]
    tokenizer = subject(place).side.full
    assert tokenizer is not None
    rows = tokenizer.encode_batch(hard.read_text("utf-8").split("\n")[:-1], add_special_tokens=False)
    tokens = [(index, token) for row in rows for index, token in zip(row.ids, row.tokens, strict=True)]
    # What is no whole character decodes to U+FFFD, which the text does not hold.
    cut = sum("\ufffd" in tokenizer.decode([index]) for index, _ in tokens)
    assert counts["n_cut_tokens"] == cut > 0
    if name == "mistral-7b-v1":
        assert counts["n_byte_tokens"] == sum(token.startswith("<0x") for _, token in tokens) > cut  # the tab is whole
    else:
        assert counts["n_byte_tokens"] == cut


def test_a_sentencepiece_unigram_is_counted_by_sentencepiece(unigram: Path, hard: Path) -> None:
    record = run([unigram], {"hard": hard}, morpheme_documents=0)
    (tokenizer,) = record["tokenizers"]
    counts = tokenizer["sets"]["hard"]
    processor = sentencepiece.SentencePieceProcessor(model_file=str(unigram / "spiece.model"))
    rows = processor.encode(hard.read_text("utf-8").split("\n")[:-1])
    assert (tokenizer["name"], tokenizer["family"]) == ("t5-like", "sentencepiece-unigram")
    assert counts["n_tokens"] == sum(map(len, rows))
    assert counts["n_unknown_tokens"] == sum(row.count(processor.unk_id()) for row in rows) > 0
    assert counts["n_byte_tokens"] is None  # it has no byte pieces: not defined, and not 0
    assert counts["share_byte_tokens"] is None
    assert any("t5-like cannot spell all text" in note for note in warnings(convert(record, AnalyzeRecord)))
    assert counts["n_words_whole"] + counts["n_words_continued"] < counts["n_words"]  # unknown words are neither


def test_english_words_that_a_unigram_keeps_whole_are_its_pieces(unigram: Path, tmp_path: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(unigram / "spiece.model"))
    documents = [" ".join(line.split()) for line in lines_of("en")[:100] if line.isascii()]
    words = [word for document in documents for word in document.split()]
    counts = run([unigram], {"en": lines(tmp_path / "en.txt", documents)})["tokenizers"][0]["sets"]["en"]
    whole = [word for word in words if len(processor.encode(word)) == 1 and processor.encode(word) != [0]]
    assert (counts["n_words"], counts["n_words_whole"]) == (len(words), len(whole))


def test_syllables_are_covered_as_the_library_says() -> None:
    tokenizer = run(["mistral-7b-v1"], {"ko": CORPUS / "ko"}, morpheme_documents=0)["tokenizers"][0]
    vocab = subject("mistral-7b-v1").side.vocab
    # A syllable alone, without the dummy prefix, is one token where it is a piece.
    assert tokenizer["syllables"]["n_modern_whole"] == sum(text in vocab for text in modern_syllables()) > 0
    assert tokenizer["syllables"]["n_common_whole"] == sum(text in vocab for text in common_syllables()) > 0


def test_a_special_string_in_the_text_is_one_token_and_no_part_of_the_distribution(tmp_path: Path) -> None:
    text = lines(tmp_path / "special.txt", ["one </s> two", "three"])
    counts = run(["mistral-7b-v1"], {"special": text})["tokenizers"][0]["sets"]["special"]
    tokenizer = subject("mistral-7b-v1").side.full
    assert tokenizer is not None
    rows = tokenizer.encode_batch(["one </s> two", "three"], add_special_tokens=False)
    assert counts["n_tokens"] == sum(len(row.ids) for row in rows)
    assert counts["n_added_tokens"] == 1


@pytest.mark.slow
def test_workers_and_shards_change_nothing(
    folders: Path, unigram: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokenizers that are counted in chunks and ones that encode whole documents; two aligned texts."""
    lines = [*HARD, *lines_of("ko")[:300]]
    texts = {"ko": tmp_path / "ko.txt", "back": tmp_path / "back.txt"}
    texts["ko"].write_text("\n".join(lines), encoding="utf-8")
    texts["back"].write_text("\n".join(line[::-1] for line in lines), encoding="utf-8")
    named = ["mistral-7b-v1", folders / "gpt2-like", unigram]
    found = []
    for shard_bytes, workers in ((32 << 20, 1), (10_000, 1), (10_000, 2)):
        monkeypatch.setattr("vocabopt.analysis.run._SHARD_BYTES", shard_bytes)
        found.append(run(named, texts, parity="ko", workers=workers))
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
def test_the_order_of_documents_and_their_files_changes_nothing(tmp_path: Path) -> None:
    documents = [*HARD, *lines_of("ko")[:300]]
    lines(tmp_path / "one.txt", documents)
    (tmp_path / "two").mkdir()
    lines(tmp_path / "two" / "b.txt", documents[100:][::-1])
    lines(tmp_path / "two" / "a.txt", documents[:100][::-1])
    first, second = (
        run(["mistral-7b-v1"], {"ko": tmp_path / name}, morpheme_documents=50) for name in ("one.txt", "two")
    )
    assert first["sets"] == second["sets"]
    assert first["tokenizers"] == second["tokenizers"]


# --- Morphemes -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def analyser() -> Any:
    pytest.importorskip("kiwipiepy", reason="morphemes need the extra ko")
    return load_analyser()


def test_boundaries_are_mapped_as_by_hand(analyser: Any, tmp_path: Path) -> None:
    # 학교|에 갔|다: 학교 and 에, 가 + 았 fused in 갔, 다. Boundaries inside the two words: at 2 and at 5.
    text = find_morphemes(analyser, ["학교에 갔다"])
    assert text.boundaries.tolist() == [2, 5]
    # ▁ 학 교 에 ▁ 갔 EB 8B A4: tokens begin inside words at 1, 2 and 5, and twice inside 다, which meets nothing.
    toy = subject(saved(tmp_path / "toy", toy_sentencepiece("학교에갔")))
    assert meet(toy, text) == {"n_documents": 1, "n_token_boundaries": 5, "n_morpheme_boundaries": 2, "n_met": 2}
    # Each byte a token: 학교에 갔다 has 15 bytes in words, two of which are first: 13 boundaries, of which 3 are at
    # characters, and those at 2 and 5 are morphemes'.
    bare = subject(saved(tmp_path / "bare", toy_sentencepiece("")))
    assert meet(bare, text) == {"n_documents": 1, "n_token_boundaries": 13, "n_morpheme_boundaries": 2, "n_met": 2}


def test_morphemes_of_many_documents_are_those_of_each(analyser: Any) -> None:
    documents = [line for line in HARD if unicodedata.is_normalized("NFC", line)] + lines_of("ko")[:40]
    mistral = subject("mistral-7b-v1")
    whole = meet(mistral, find_morphemes(analyser, documents))
    each = [meet(mistral, find_morphemes(analyser, [document])) for document in documents]
    assert whole == {name: sum(found[name] for found in each) for name in whole}
    assert 0 < whole["n_met"] < whole["n_token_boundaries"]


def test_decomposed_documents_have_no_morphemes(analyser: Any) -> None:
    assert find_morphemes(analyser, [unicodedata.normalize("NFD", "학교에 갔다")]).documents == ()


@pytest.mark.slow
def test_the_sample_of_documents_is_bounded(analyser: Any) -> None:
    counts = run(["mistral-7b-v1"], {"ko": CORPUS / "ko"}, morpheme_documents=7)["tokenizers"][0]["sets"]["ko"]
    assert counts["morphemes"]["n_documents"] == 7
    assert 0 < counts["morphemes"]["share_token_boundaries_met"] < 1


# --- Development data ------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.slow
def test_ntrex_counts_are_the_library_s(data: Path) -> None:
    paths = {name: next((data / "xx_ntrex_other").glob(f"newstest2019.{name}.txt*")) for name in ("kat", "jpn", "vie")}
    places = ["mistral-7b-v1", data / "tok_llama3" / "tokenizer.model", data / "tok_t5"]
    record = run(places, {**paths})
    processor = sentencepiece.SentencePieceProcessor(model_file=str(data / "tok_t5" / "sentencepiece.model"))
    tokenizers = [subject(place).side.full for place in places[:2]]
    for name, path in paths.items():
        text = gzip.decompress(path.read_bytes()).decode()
        documents = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
        expected = []
        for tokenizer in tokenizers:
            assert tokenizer is not None
            encodings = tokenizer.encode_batch_fast(documents, add_special_tokens=False)
            expected.append(sum(len(encoding.ids) for encoding in encodings))
        expected.append(sum(map(len, processor.encode(documents))))
        assert [tokenizer["sets"][name]["n_tokens"] for tokenizer in record["tokenizers"]] == expected
        assert record["sets"][name]["n_words"] == sum(len(document.split()) for document in documents)
