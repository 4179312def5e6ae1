"""A widened split pattern: words of a script keep their marks, and nothing else is cut otherwise."""

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import regex
import tokenizers
from command_line import vocabopt
from conftest import Run, sweep
from helpers import LLAMA3_PATTERN, all_ids, base_of, lines_of, n_tokens, split_heldout, train_byte_level
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers
from verification import small_ranks

from vocabopt.console import Console
from vocabopt.errors import OptionError
from vocabopt.merging.export import merged_base
from vocabopt.merging.extension import grown
from vocabopt.merging.run import merge_run
from vocabopt.options import VerifyOptions
from vocabopt.run_directory import read_curve, read_sweep
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.chunks import cuts_of
from vocabopt.tokenizer.encoders import encoder_of
from vocabopt.tokenizer.patterns import GPT2_PATTERN, O200K_PATTERN, QWEN_PATTERN
from vocabopt.tokenizer.pretokens import Pretokenizer
from vocabopt.tokenizer.widening import (
    own_pattern,
    pattern_to_widen,
    scripts_cut_at_marks,
    widened_pattern,
    with_pattern,
)
from vocabopt.verification import verify
from vocabopt.verification.checks_settings import SETTINGS
from vocabopt.verification.checks_vocabulary import LLAMA_CPP
from vocabopt.verification.checks_widening import WIDENING, random_texts
from vocabopt.wording import widened_sentence

DEVANAGARI = ("Devanagari",)
PATTERNS = {"gpt2": GPT2_PATTERN, "llama3": LLAMA3_PATTERN, "qwen": QWEN_PATTERN}
#: Common words of Hindi, most of them with marks.
WORDS = " ".join(
    [
        "यह हिन्दी में लिखा हुआ एक छोटा वाक्य है और इसके शब्दों की मात्राएँ",
        "अलग नहीं होनी चाहिए दिन रात पानी घर बच्चे किताब पढ़ते विद्यालय नदी के",
        "किनारे गाँव लोग मिलकर काम करते हैं क्योंकि सबको रोटी मिलती बारिश मौसम अच्छा",
        "फूल पेड़ चिड़िया गीत गाती",
    ]
).split(" ")
#: Characters that decide how the patterns cut, each of one script in every version of Unicode.
ALPHABET = "कखगहनदतसमिीुेैो्ंअए" + "abCS'’-.,!?।(\") \n\t\r0९12é\u0301\u200c\u200d나가ऩ"


def hindi(n_documents: int, seed: int = 0) -> list[str]:
    chooser = random.Random(seed)
    return [
        " ".join(chooser.choices(WORDS, k=chooser.randint(4, 12))) + chooser.choice("।!, ") for _ in range(n_documents)
    ]


def cut(pattern: str, text: str) -> list[str]:
    return [piece for piece, _ in pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str(text)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A small GPT-2, which has its pattern built in."""
    folder = tmp_path_factory.mktemp("base") / "gpt2-like"
    folder.mkdir()
    value = train_byte_level([*lines_of("en")[:300], *hindi(20, seed=9)], 700)
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    return load_base(str(folder))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "hi.txt"
    path.write_text("\n".join(hindi(600)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def widened(base: Tokenizer, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "widened"
    return sweep(out, base.source, text, widen_pattern="auto", sizes="0,1,50,200", max_added=400)


# --- The pattern ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PATTERNS)
@given(text=st.text(ALPHABET, max_size=14))
def test_exactly_the_cuts_beside_a_mark_inside_a_word_are_gone(name: str, text: str) -> None:
    pattern = PATTERNS[name]
    # By the regex module, which knows nothing of the widened pattern.
    own = [match.start() for match in regex.finditer(pattern, text)]
    in_word = regex.compile(r"[\p{Devanagari}&&[\p{L}\p{M}]]", regex.VERSION1)
    mark = regex.compile(r"[[\p{Devanagari}&&\p{M}]\u200c\u200d\u0301]", regex.VERSION1)

    def is_inside(at: int) -> bool:
        left, right = text[at - 1 : at], text[at]
        if not left or "\u0301" in (left, right):
            return False
        return bool((in_word.match(left) and mark.match(right)) or (mark.match(left) and in_word.match(right)))

    expected = [at for at in own if not is_inside(at)]
    found = cut(widened_pattern(pattern, DEVANAGARI), text)
    assert [sum(map(len, found[:i])) for i in range(len(found))] == expected


@pytest.mark.parametrize("name", PATTERNS)
def test_other_libraries_match_the_same(name: str) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    pattern = widened_pattern(PATTERNS[name], DEVANAGARI)
    chooser = random.Random(0)
    documents = [*hindi(20), *("".join(chooser.choices(ALPHABET, k=12)) for _ in range(500))]
    pieces = [cut(pattern, document) for document in documents]
    # tiktoken gives one token for a piece that its ranks hold.
    known = {bytes([byte]): None for byte in range(256)} | {piece.encode(): None for row in pieces for piece in row}
    ranks = {token: rank for rank, token in enumerate(known)}
    encoding = tiktoken.Encoding("test", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    for document, row in zip(documents, pieces, strict=True):
        assert regex.findall(pattern, document) == row
        assert encoding.encode(document) == [ranks[piece.encode()] for piece in row]


def test_words_stay_whole_and_text_beside_them_is_cut_as_before() -> None:
    found = cut(widened_pattern(LLAMA3_PATTERN, DEVANAGARI), "यह हिन्दी(English) है। क्\u200dष abc's 'दे' x")
    assert found == ["यह", " हिन्दी(", "English", ")", " है।", " क्\u200dष", " abc", "'s", " '", "दे'", " x"]


def test_a_pattern_can_be_told_from_its_widened_form() -> None:
    for pattern in PATTERNS.values():
        assert own_pattern(widened_pattern(pattern, ("Thai", "Tamil"))) == pattern
        assert own_pattern(pattern) is None


def test_counting_cuts_with_the_widened_pattern_as_the_library_does(base: Tokenizer) -> None:
    new = with_pattern(base, widened_pattern(pattern_to_widen(base), DEVANAGARI))
    pretokenizer = Pretokenizer.of(new)
    assert pretokenizer.searches is not None
    texts = [*random_texts(DEVANAGARI, 3_000, has_target=True), *hindi(50)]
    pieces, chunk = pretokenizer.cut("\0".join(texts))
    expected = [[piece for piece, _ in pretokenizer.splitter.pre_tokenize_str(text)] for text in texts]
    assert pieces.to_list() == [piece for row in expected for piece in row]
    assert chunk.tolist() == [number for number, row in enumerate(expected) for _ in row]
    assert cuts_of(new).at == cuts_of(base).at


def test_which_patterns_cut_at_marks(base: Tokenizer) -> None:
    assert scripts_cut_at_marks(base, ("Devanagari", "Yi", "Tamil")) == ("Devanagari", "Tamil")
    assert not scripts_cut_at_marks(with_pattern(base, O200K_PATTERN), ("Devanagari", "Tamil"))


# --- The sweep --------------------------------------------------------------------------------------------------------


def test_size_0_is_the_base_as_it_is_and_every_other_size_the_merged_tokenizer(widened: Run, text: Path) -> None:
    documents = split_heldout(text.read_text(encoding="utf-8").split("\n"))
    record = read_sweep(widened.out)
    assert record.widened is not None
    assert record.widened.scripts == DEVANAGARI
    wide = with_pattern(widened.base, record.widened.pattern)
    for name, texts in documents.items():
        assert record.sets[name].n_tokens_base == n_tokens(widened.base.full, texts)
        assert record.widened.sets[name].n_tokens == n_tokens(wide.full, texts)
        assert record.widened.sets[name].n_chunks_base == sum(len(regex.findall(GPT2_PATTERN, t)) for t in texts)
        assert record.sets[name].n_chunks == sum(len(regex.findall(record.widened.pattern, t)) for t in texts)
        for size in (1, 50, len(widened.curve)):
            merged = merged_base(wide, grown(wide, widened.curve, size))
            assert widened.count(name, size) == n_tokens(merged.full, texts), (name, size)
    assert widened.count("heldout", len(widened.curve)) < record.widened.sets["heldout"].n_chunks_base


def test_counting_in_shards_gives_the_same(widened: Run, base: Tokenizer, text: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"widen_pattern": "Devanagari", "sizes": "0,1,50", "max_added": 100, "workers": 1}
    one = sweep(tmp_path / "one", base.source, text, learn_from=0.7, shard=20_000, **options)
    documents = split_heldout(text.read_text(encoding="utf-8").split("\n"))
    record = read_sweep(one.out)
    assert record.widened is not None
    wide = with_pattern(base, record.widened.pattern)
    for name, texts in documents.items():
        assert record.sets[name].n_tokens_base == widened.count(name, 0)
        assert record.widened.sets[name] == (read_sweep(widened.out).widened or record.widened).sets[name]
        assert record.sets[name].entropy_bits_base == pytest.approx(widened.sweep["sets"][name]["entropy_bits_base"])
        merged = merged_base(wide, grown(wide, read_curve(one.out, record), 50))
        assert one.count(name, 50) == n_tokens(merged.full, texts)
    assert merge_run(one.out, tmp_path / "merged", n_added=50).record.widened is not None
    assert merge_run(one.out, tmp_path / "none", n_added=0).record.widened is None


def test_the_merged_tokenizer_is_verified_and_its_changed_pattern_shown(
    widened: Run, tmp_path: Path, no_reload: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocabopt.verification import checks_widening

    assert (checks_widening.N_OTHER, checks_widening.N_CHARS) == (1_000_000, 12)
    monkeypatch.setattr(checks_widening, "N_OTHER", 20_000)
    monkeypatch.setattr(checks_widening, "N_TARGET", 5_000)
    english = tmp_path / "en.txt"
    english.write_text("\n".join(lines_of("en")[:50]), encoding="utf-8")
    options = VerifyOptions(protects={"en": str(english)})
    report = verify(widened.base.source, str(widened.exported(200)), options, Console(quiet=True))
    assert report.passed, [check.name for check in report.of_status("fail")]
    assert report.check(WIDENING).counts["n_different"] == 0
    assert report.check(WIDENING).counts["n_other"] > 20_000 + 50
    assert "widened for Devanagari, on purpose" in report.check(SETTINGS).summary
    assert report.check(LLAMA_CPP).status == "warn"
    assert "std::regex has no lookbehind" in report.check(LLAMA_CPP).summary
    # A pattern that also joins a space to a word is not what extension.json says.
    folder = tmp_path / "spoiled"
    merge_run(widened.out, folder, n_added=200)
    path = folder / "tokenizer.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    step = value["pre_tokenizer"]["pretokenizers"][0]
    step["pattern"]["Regex"] = step["pattern"]["Regex"].replace(r" ?\p{N}+", r"\p{N}+")
    path.write_text(json.dumps(value), encoding="utf-8")
    report = verify(widened.base.source, str(folder), options, Console(quiet=True))
    assert {SETTINGS, WIDENING} <= {check.name for check in report.of_status("fail")}


def test_the_report_says_what_the_pattern_alone_gives(widened: Run) -> None:
    record = read_sweep(widened.out)
    told = widened_sentence(record)
    assert told is not None
    assert record.widened is not None
    given = record.widened.sets["heldout"]
    assert f"takes {given.n_tokens:,} tokens, where the base takes {record.sets['heldout'].n_tokens_base:,}" in told
    assert f"where the base's own pattern makes {given.n_chunks_base:,}." in told
    assert 'id="widened"' in (widened.out / "report.html").read_text(encoding="utf-8")


def test_a_merge_of_no_tokens_is_the_base_itself(widened: Run) -> None:
    none = json.loads((widened.exported(0) / "tokenizer.json").read_text(encoding="utf-8"))
    assert none["pre_tokenizer"] == json.loads(widened.base.full.to_str())["pre_tokenizer"]


def test_random_strings_are_those_of_the_check(base: Tokenizer) -> None:
    other = list(random_texts(DEVANAGARI, 30_000, has_target=False))
    target = list(random_texts(DEVANAGARI, 2_000, has_target=True))
    assert len(other) == 30_000
    assert not any(regex.search(r"[\u0904-\u0939\u093E-\u094D]", text) for text in other)
    assert all(regex.search(r"\p{Script_Extensions=Devanagari}", text) for text in target)
    assert len(set(other)) > 20_000
    assert max(map(len, other)) == 12
    before, after = (
        one.full.pre_tokenizer for one in (base, with_pattern(base, widened_pattern(GPT2_PATTERN, DEVANAGARI)))
    )
    assert [before.pre_tokenize_str(text) for text in other] == [after.pre_tokenize_str(text) for text in other]


def test_other_forms_of_the_base_take_the_pattern_too(text: Path, tmp_path: Path) -> None:
    pytest.importorskip("tiktoken")
    from vocabopt.tokenizer.ranks import rank_file

    (tmp_path / "small.tiktoken").write_bytes(rank_file(small_ranks(lines_of("en")[:200])))
    run = sweep(
        tmp_path / "run", str(tmp_path / "small.tiktoken"), text, pattern=LLAMA3_PATTERN, specials="none",
        widen_pattern="Devanagari", max_added=60, sizes="0,60",
    )  # fmt: skip
    merged = merge_run(run.out, tmp_path / "merged", n_added=60)
    name = next(name for name in merged.files if name.endswith(".tiktoken"))
    value = json.loads(merged.files["tokenizer.json"])
    documents = hindi(30, seed=3)
    library = tokenizers.Tokenizer.from_str(merged.files["tokenizer.json"].decode())
    assert encoder_of("tiktoken", merged.files[name], value).encode(documents) == all_ids(library, documents)
    assert merged.record.widened is not None
    assert own_pattern(merged.record.widened.pattern) == LLAMA3_PATTERN


def test_tekken_json_holds_the_pattern_and_encodes_with_it(text: Path, tmp_path: Path) -> None:
    merges = [token for token in small_ranks(lines_of("en")[:200]) if len(token) > 1]
    ranks = {token: rank for rank, token in enumerate([*(bytes([byte]) for byte in range(256)), *merges])}
    vocab = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for token, rank in ranks.items()
    ]
    sizes = {"num_vocab_tokens": len(ranks), "default_vocab_size": len(ranks) + 20, "default_num_special_tokens": 20}
    document = {"config": {"pattern": LLAMA3_PATTERN, "version": "v3", **sizes}, "vocab": vocab}
    folder = tmp_path / "tekken-like"
    folder.mkdir()
    (folder / "tekken.json").write_text(json.dumps(document), encoding="utf-8")
    run = sweep(tmp_path / "run", str(folder), text, widen_pattern="auto", max_added=60, sizes="0,60")
    merged = merge_run(run.out, tmp_path / "merged", n_added=60)
    assert merged.record.widened is not None
    assert json.loads(merged.files["tekken.json"])["config"]["pattern"] == merged.record.widened.pattern
    library = tokenizers.Tokenizer.from_str(merged.files["tokenizer.json"].decode())
    documents = hindi(30, seed=4)
    encoder = encoder_of("tekken.json", merged.files["tekken.json"], json.loads(merged.files["tokenizer.json"]))
    assert encoder.encode(documents) == all_ids(library, documents)
    # A run whose size is 0 keeps the publisher's pattern.
    none = merge_run(run.out, tmp_path / "none", n_added=0)
    assert json.loads(none.files["tekken.json"])["config"]["pattern"] == LLAMA3_PATTERN


# --- What is refused, and what is left alone --------------------------------------------------------------------------


def refusal(tmp_path: Path, base: str, text: Path, **options: Any) -> str:
    with pytest.raises(OptionError) as refused:
        sweep(tmp_path / "refused", base, text, max_added=10, **options)
    return str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"widen_pattern": "Devanagri"},
            "--widen-pattern 'Devanagri': 'Devanagri' is not a Unicode script. Did you mean Devanagari",
        ),
        ({"widen_pattern": "none"}, "--widen-pattern none: write auto, or names of scripts"),
        ({"widen_pattern": "Tamil"}, "the training text has no letter of Tamil (its scripts: Devanagari)"),
        ({"widen_pattern": "auto", "method": "union"}, "a union is measured with the base as it is"),
    ],
)
def test_what_cannot_be_widened_is_refused(
    options: dict[str, Any], message: str, base: Tokenizer, text: Path, tmp_path: Path
) -> None:
    assert message in refusal(tmp_path, base.source, text, **options)


def test_a_script_that_is_no_target_is_refused(base: Tokenizer, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.txt"
    mixed.write_text("\n".join([*hindi(20), *lines_of("ko")[:100]]), encoding="utf-8")
    told = refusal(tmp_path, base.source, mixed, scripts="Hangul", widen_pattern="Devanagari")
    assert "no token is learned for Devanagari" in told


def test_protected_text_that_would_be_cut_otherwise_is_refused_with_the_text(
    base: Tokenizer, text: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("plain words\nthe word हिन्दी stands here\n", encoding="utf-8")
    options: dict[str, Any] = {"scripts": "none", "widen_pattern": "Devanagari", "protects": {"kept": str(kept)}}
    told = refusal(tmp_path, base.source, text, **options)
    assert "would cut protected text otherwise" in told
    assert "हिन्दी" in told


def test_a_sentencepiece_base_needs_no_widening(text: Path, tmp_path: Path, run_on: Callable[..., Run]) -> None:
    assert "has no split pattern to widen" in refusal(tmp_path, "mistral-7b-v1", text, widen_pattern="Devanagari")
    assert run_on(tmp_path / "auto", "mistral-7b-v1", text, widen_pattern="auto", max_added=10).sweep["widened"] is None


def test_auto_leaves_a_pattern_that_marks_seldom_meet(gpt2_like: Tokenizer, tmp_path: Path) -> None:
    korean = tmp_path / "ko.txt"
    korean.write_text("\n".join(lines_of("ko")[:300]), encoding="utf-8")
    result = vocabopt(
        "sweep",
        korean,
        "--base",
        gpt2_like.source,
        "--out",
        tmp_path / "run",
        "--widen-pattern",
        "auto",
        "--max-added",
        20,
    )
    assert result.exit_code == 0
    assert "widened for Hangul it would join 0.00% of the chunks" in result.stderr
    assert read_sweep(tmp_path / "run").widened is None


def test_a_pattern_that_keeps_words_together_already_is_left_alone(text: Path, tmp_path: Path) -> None:
    value = train_byte_level(lines_of("en")[:100], 400, llama3=True)
    value["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = O200K_PATTERN
    folder = tmp_path / "o200k-like"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    assert "keeps words of Devanagari together with their marks already" in refusal(
        tmp_path, str(folder), text, widen_pattern="Devanagari"
    )
    assert base_of(value).can_grow
