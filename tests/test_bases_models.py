"""SentencePiece models as bases: what they do before and between merges, against sentencepiece itself."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from command_line import vocabopt, written
from conftest import Run
from helpers import (
    all_ids,
    base_of,
    grow_documents,
    has_hangul,
    library_tokenizer,
    lines_of,
    merged,
    n_tokens,
    train_sentencepiece,
)
from tokenizers import Tokenizer

from vocabopt.console import Console
from vocabopt.errors import BaseTokenizerError, PromiseError
from vocabopt.merging.run import merge_run
from vocabopt.run_directory import read_sweep
from vocabopt.tokenizer import load_base, load_tokenizer
from vocabopt.tokenizer.sentencepiece_model import extended_model, read_model, to_tokenizer_json
from vocabopt.verification import VerifyOptions, verify
from vocabopt.verification.checks_text import FORMS, FormsPass
from vocabopt.verification.pair import Pair
from vocabopt.verification.text import batch_of
from vocabopt.wording import proof_note

LINES = [*lines_of("en")[:300], *lines_of("ko")[:60], "a  b   c    d  123 \n 45"]
#: User-defined symbols of published models, and worse.
SYMBOLS: dict[str, Sequence[str]] = {
    "runs of spaces": ["▁▁", "▁▁▁", "▁▁▁▁"],
    "Grok 1": list("0123456789"),
    "Gemma": [
        *("▁" * n for n in range(2, 20)),
        *("\n" * n for n in range(1, 12)),
        *("\t" * n for n in range(2, 8)),
        *("<h1>", "</h1>", "<start_of_turn>"),
    ],
    "Mistral": ["<mask>", "[REF]", "<h1>", "<h11>", "a<h"],
    "runs with gaps": ["▁▁", "▁▁▁▁▁"],
    "spaces inside": ["ab▁c", "▁x", "\n\n", "\t", "x\ty"],
    "a real space": ["a b"],
    "overlaps": ["ab", "bc", "abc", "c▁"],
}
_PARTS = (
    *(" ", "  ", "   ", "     ", "▁", "▁▁", "\t", "\t\t", "\n", "\n\n", "0", "12", "3 4", "<h1>", "<h", "h1>", "[REF]"),
    *("<mask>", "a", "b", "c", "ab", "bc", "abc", "the", " of", "한국", "어", "<0x0A>", "x", "😀", "a b", "a<h11>"),
    *("<start_of_turn>", "</h1>"),
)
_NAMES = ("<s>", "</s>", "<unk>")


def model_with(symbols: Sequence[str], **options: Any) -> bytes:
    return train_sentencepiece(LINES, 900, user_defined_symbols=list(symbols), **options)


def fuzzed(n: int, *more: str, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices([*_PARTS, *more], k=rng.randint(1, 12))) for _ in range(n)]


def original_of(data: bytes) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=data)


@pytest.mark.parametrize("add_dummy_prefix", [True, False])
@pytest.mark.parametrize("name", SYMBOLS)
def test_user_defined_symbols_come_out_of_text_as_sentencepiece_takes_them(name: str, add_dummy_prefix: bool) -> None:
    data = model_with(SYMBOLS[name], add_dummy_prefix=add_dummy_prefix)
    base, original = base_of(data), original_of(data)
    texts = fuzzed(4_000) + lines_of("ko")[:100] + lines_of("en")[:100]
    expected = original.encode(texts)
    assert all_ids(base.full, texts) == expected
    assert base.full.decode_batch(expected, skip_special_tokens=False) == original.decode(expected)
    # Names of control pieces are text to sentencepiece.
    named = fuzzed(2_000, *_NAMES)
    base.full.encode_special_tokens = True
    assert all_ids(base.full, named) == original.encode(named)


@pytest.mark.parametrize("add_dummy_prefix", [True, False])
@pytest.mark.parametrize("name", SYMBOLS)
def test_counts_around_user_defined_symbols_are_those_of_whole_documents(name: str, add_dummy_prefix: bool) -> None:
    symbols = SYMBOLS[name]
    base = base_of(model_with(symbols, add_dummy_prefix=add_dummy_prefix))
    rng = random.Random(2)
    korean = [line[:40] for line in lines_of("ko")[:200]]
    documents = [f"{text}{rng.choice(korean)}{text[::-1]}" for text in fuzzed(300)]
    grown = grow_documents(base, {"train": documents}, max_added=400)
    for size in (1, len(grown.curve)):
        assert n_tokens(merged(base, grown.curve, size), documents) == grown.curve["n_tokens_train"][size - 1]
    assert not any(symbol in piece for piece in grown.curve["piece"] for symbol in symbols if " " not in symbol)


@pytest.mark.parametrize(("name", "add_dummy_prefix"), [("Gemma", False), ("Grok 1", True), ("Mistral", True)])
def test_a_merged_model_and_its_tokenizer_json_are_one_tokenizer(
    name: str, add_dummy_prefix: bool, tmp_path: Path, run_on: Callable[..., Run]
) -> None:
    """From sweep to verify: promised counts, the two forms on fuzzed text, other text, and the verdict."""
    (tmp_path / "base").mkdir()
    data = model_with(SYMBOLS[name], add_dummy_prefix=add_dummy_prefix)
    (tmp_path / "base" / "tokenizer.model").write_bytes(data)
    documents = [f"{a}{b}" for a, b in zip(fuzzed(600), lines_of("ko") * 3, strict=False)]
    documents = [text.replace("\n", " ") for text in documents if text.strip()]
    (tmp_path / "ko.txt").write_text("\n".join(documents) + "\n", encoding="utf-8")
    run = run_on(tmp_path / "run", str(tmp_path / "base"), tmp_path / "ko.txt", heldout=0.0, max_added=300)
    run.assert_exact({"train": documents, "heldout": []}, [0, 1, len(run.curve)])
    folder = run.exported(len(run.curve))
    tokenizer = library_tokenizer(folder)
    new = original_of((folder / "tokenizer.model").read_bytes())
    texts = fuzzed(3_000, seed=5) + documents
    assert all_ids(tokenizer, texts) == new.encode(texts)
    other = [text for text in texts + lines_of("en") if not has_hangul(text)]
    assert new.encode(other) == original_of(data).encode(other)
    report = verify(
        str(tmp_path / "base"), str(folder), VerifyOptions(texts={"ko": str(tmp_path / "ko.txt")}), Console(quiet=True)
    )
    assert report.passed
    counts = report.check(FORMS).counts
    assert (counts["n_different (tokenizer.model)"], counts["n_not_compared (tokenizer.model)"]) == (0, 0)


# --- Scores that leave open what merges do ----------------------------------------------------------------------------


def tied(*pieces: str) -> bytes:
    """A model with these pieces at its end, all with one score."""
    model = read_model(extended_model(train_sentencepiece(LINES, 700), pieces, first_id=700))
    for piece in model.pieces[700:]:
        piece.score = -5_000.0
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("pieces", [("가나", "xq"), ("가나", "나다"), ("qz", "가가", "가가가")])
def test_pieces_of_one_score_are_taken_where_merges_do_as_sentencepiece_does(pieces: tuple[str, ...]) -> None:
    data = tied(*pieces)
    base, original = base_of(data), original_of(data)
    texts = fuzzed(4_000, *pieces, *"가나다xqz")
    assert all_ids(base.full, texts) == original.encode(texts)


def test_no_order_of_merges_does_what_sentencepiece_does_where_pieces_of_one_score_meet() -> None:
    """Of 나가 and 가나 the leftmost is merged first, whichever it is: 나가|나 and 가나|가."""
    data = tied("나가", "가나")
    value, texts = to_tokenizer_json(read_model(data)), ["\x01나가나", "\x01가나가"]
    merges = value["model"]["merges"]
    assert merges[-2:] == [["나", "가"], ["가", "나"]]
    expected = original_of(data).encode(texts)
    assert [ids[-2:] for ids in expected] == [[700, expected[0][-1]], [701, expected[1][-1]]]
    for last in (merges[-2:], merges[:-3:-1]):
        value["model"]["merges"] = [*merges[:-2], *last]
        assert all_ids(Tokenizer.from_str(json.dumps(value)), texts) != expected


def test_merges_of_pieces_of_one_score_are_in_the_order_that_transformers_gives_them() -> None:
    from transformers.convert_slow_tokenizer import generate_merges

    pieces = ["나가", "가다", "가나", "나가나", "가나가", "다나가다", "나가다나"]
    model = read_model(tied(*pieces))
    normal = {piece.piece: piece.score for piece in model.pieces if piece.type == 1}
    by_transformers = generate_merges({piece: i for i, piece in enumerate(normal)}, normal)
    assert to_tokenizer_json(model)["model"]["merges"] == [list(pair) for pair in by_transformers]


def test_a_model_whose_pieces_of_one_score_meet_is_counted_as_tokenizer_json_has_it(
    tmp_path: Path, run_on: Callable[..., Run]
) -> None:
    """From sweep to verify, with what sentencepiece itself gives beside it: in the terminal, sweep.json and report."""
    data = tied("나가", "가나")
    path = tmp_path / "tied" / "tokenizer.model"
    path.parent.mkdir()
    path.write_bytes(data)
    documents = [
        *(f"{i} 나가나 가나가나 {line[:30]}" for i, line in enumerate(lines_of("ko")[:200])),
        "나가나가 나가나",
    ]
    (tmp_path / "ko.txt").write_text("\n".join(documents) + "\n", encoding="utf-8")
    run = run_on(tmp_path / "run", str(path), tmp_path / "ko.txt", heldout=0.0, max_added=100)
    run.assert_exact({"train": documents, "heldout": []}, [0, 1, 100])
    proof = read_sweep(run.out).proof
    by_model, by_json = original_of(data).encode(documents), all_ids(run.base.full, documents)
    assert proof.n_documents == len(documents)
    assert proof.n_otherwise_by_model == sum(one != other for one, other in zip(by_model, by_json, strict=True)) > 0
    assert (proof.n_tokens_by_model, proof.n_tokens) == (sum(map(len, by_model)), sum(map(len, by_json)))
    sentence = f"it encodes {proof.n_otherwise_by_model} of these documents otherwise, and all of them in "
    assert sentence in proof_note(proof)
    assert sentence in (run.out / "report.html").read_text("utf-8")
    # The model could not give what was counted, and is not written.
    folder = run.exported(100)
    assert sorted(file.name for file in folder.iterdir() if file.suffix in (".model", ".json")) == [
        "extension.json", "tokenizer.json", "tokenizer_config.json"
    ]  # fmt: skip
    assert verify(str(path), str(folder), VerifyOptions(), Console(quiet=True)).passed


def test_every_command_says_which_of_the_two_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(tied("나가", "가나"))
    text = written(tmp_path / "ko.txt", "\n".join(lines_of("ko")[:100]))
    told = "pieces that share a score meet in text: '\\x01"
    for command in (
        ["sweep", text, "--base", path, "--max-added", 20, "--out", tmp_path / "run"],
        ["merge", tmp_path / "run", "--size", 10, "--out", tmp_path / "merged"],
        ["verify", path, tmp_path / "merged"],
        ["analyze", path, "--text", f"ko={text}", "--morpheme-documents", 0],
    ):
        result = vocabopt(*command)
        assert result.exit_code == 0, result.output
        assert result.stderr.count(told) == 1, (command, result.stderr)
        assert "tokenizer.model is not written again" in result.stderr


def test_a_piece_of_characters_that_are_no_pieces_is_refused() -> None:
    """sentencepiece joins the characters all the same."""
    data = extended_model(train_sentencepiece(LINES, 700), ["☃☂"], first_id=700)
    assert original_of(data).encode("☃☂")[-1] == 700
    with pytest.raises(BaseTokenizerError, match=r"no tokenizer\.json encodes as this model does: '\\x01☃☂' is"):
        base_of(data)


def with_unused(data: bytes, *pieces: str) -> bytes:
    model = read_model(data)
    for piece in model.pieces:
        if piece.piece in pieces:
            piece.type = piece.UNUSED
    return bytes(model.SerializeToString())


def test_an_unused_piece_is_taken_where_it_keeps_no_neighbour_from_merging() -> None:
    data = with_unused(tied("xq"), "xq")
    base, original = base_of(data), original_of(data)
    texts = fuzzed(2_000, "xq", "x", "q", "xqxq")
    assert all_ids(base.full, texts) == original.encode(texts)
    # New pieces cannot make it again: sentencepiece would take it apart.
    assert base.frozen_ids == {base.tokenizer_json["model"]["vocab"]["xq"]}


def test_an_unused_piece_that_keeps_neighbours_from_merging_is_refused() -> None:
    data = train_sentencepiece(LINES, 700)
    pieces = [piece.piece for piece in read_model(data).pieces if piece.type == 1 and len(piece.piece) == 2]
    with pytest.raises(BaseTokenizerError, match=r"no tokenizer\.json encodes as this model does"):
        base_of(with_unused(data, *pieces[:5]))


def test_a_null_character_is_spelled_in_bytes_as_sentencepiece_spells_it() -> None:
    """InternLM 2 has it as a piece, which sentencepiece then never gives."""
    data = extended_model(train_sentencepiece(LINES, 700), ["\0"], first_id=700)
    base = base_of(data)
    texts = ["\0", "a\0b", "가\0나", "\0\0"]
    assert all_ids(base.full, texts) == original_of(data).encode(texts)
    assert base.full.decode(base.full.encode("a\0b", add_special_tokens=False).ids) == "a\0b"


# --- Two files of one tokenizer ---------------------------------------------------------------------------------------


def gemma_folder(folder: Path) -> Path:
    """A folder as Gemma's: runs of spaces are user-defined in its .model, and merged, short ones first, in its json."""
    data = model_with(["▁▁", "▁▁▁", "▁▁▁▁"], add_dummy_prefix=False)
    value = to_tokenizer_json(read_model(data))
    runs = [["▁", "▁"], ["▁▁", "▁"], ["▁", "▁▁"], ["▁▁▁", "▁"], ["▁▁", "▁▁"]]
    value["model"]["merges"] = runs + [pair for pair in value["model"]["merges"] if pair not in runs]
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    (folder / "tokenizer.model").write_bytes(data)
    return folder


def test_two_files_that_differ_are_told_by_sweep_merge_and_verify(
    tmp_path: Path, run_on: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = gemma_folder(tmp_path / "gemma")
    documents = [f"{' ' * (i % 6)}{line[:60]}" for i, line in enumerate(lines_of("ko")[:300])]
    (tmp_path / "ko.txt").write_text("\n".join(documents) + "\n", encoding="utf-8")
    run = run_on(tmp_path / "run", str(folder), tmp_path / "ko.txt", max_added=100)
    merge_run(run.out, tmp_path / "merged", console=Console())
    assert "its tokenizer.model is not its tokenizer.json (" in capsys.readouterr().err
    report = verify(str(folder), str(tmp_path / "merged"), VerifyOptions(), Console(quiet=True))
    check = report.check(FORMS)
    assert (check.status, report.passed) == ("warn", True)
    assert check.counts["n_base_as_well (tokenizer.model)"] > 0
    assert "its two files differ as well: tokenizer.json: " in check.examples[0].base


def test_two_files_that_differ_are_told_wherever_text_is_counted(tmp_path: Path) -> None:
    folder = gemma_folder(tmp_path / "gemma")
    documents = [f"{' ' * (i % 6)}{line[:60]}" for i, line in enumerate(lines_of("ko")[:300])]
    halves = [written(tmp_path / f"{i}.txt", "\n".join(documents[i::2])) for i in range(2)]
    told = "its tokenizer.model is not its tokenizer.json: "
    for command in (
        ["sweep", *halves, "--base", folder, "--out", tmp_path / "sweep"],
        ["sensitivity", *halves, "--base", folder, "--heldout", 0.3, "--out", tmp_path / "sensitivity"],
        ["analyze", folder, *(f"--text={half.stem}={half}" for half in halves), "--morpheme-documents", 0],
    ):
        result = vocabopt(*command, *(["--max-added", 50] if command[0] != "analyze" else []))
        assert result.exit_code == 0, result.output
        assert result.stderr.count(told) == 1, command


def test_two_files_that_a_new_token_would_tear_apart_are_not_merged(tmp_path: Path, run_on: Callable[..., Run]) -> None:
    folder = gemma_folder(tmp_path / "gemma")
    value = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    # Runs of spaces come last, so that a piece, and a new token made of it, takes the last space of one.
    value["model"]["merges"] = value["model"]["merges"][5:] + value["model"]["merges"][:5]
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    piece = next(
        piece for piece in value["model"]["vocab"] if len(piece) == 2 and piece[0] == "▁" and has_hangul(piece)
    )
    (tmp_path / "ko.txt").write_text("\n".join([f"x    {piece[1:]}니다"] * 50), encoding="utf-8")
    run = run_on(tmp_path / "run", str(folder), tmp_path / "ko.txt", max_added=3)
    with pytest.raises(PromiseError, match=r"Nothing was written; pass the base's tokenizer\.json alone"):
        run.exported(len(run.curve))
    assert not (run.out / f"tokenizer-{len(run.curve)}").exists()


def test_a_tokenizer_model_alone_excuses_nothing(tmp_path: Path, run_on: Callable[..., Run]) -> None:
    """What was made of it when it was loaded is judged by sentencepiece: a wrong tokenizer.json is a fault of ours."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "tokenizer.model").write_bytes(train_sentencepiece(LINES, 700))
    (tmp_path / "ko.txt").write_text("\n".join(lines_of("ko")[:200]), encoding="utf-8")
    run = run_on(tmp_path / "run", str(tmp_path / "base"), tmp_path / "ko.txt", max_added=50)
    base, new = load_tokenizer(str(tmp_path / "base")), load_tokenizer(str(run.exported(50)))
    for side, is_right in ((base, True), (without_last_merges(base), False)):
        forms = FormsPass(Pair(base=side, new=new, scripts=("Hangul",), scripts_from="test"))
        forms.see(batch_of(forms.pair, "text", "en", lines_of("en")[:50]))
        assert forms.check().status == ("pass" if is_right else "fail")
        assert (forms.check().counts["n_of_loading"] > 0) is not is_right


def without_last_merges(side: Any) -> Any:
    value = dict(side.tokenizer_json)
    return replace(
        side, tokenizer_json={**value, "model": {**value["model"], "merges": value["model"]["merges"][:-50]}}
    )


# --- Gemma 1 ----------------------------------------------------------------------------------------------------------


def renamed(data: bytes, byte: int) -> dict[str, Any]:
    """tokenizer.json as the converter of Gemma 1 wrote it: a byte piece is named by its character."""
    value = to_tokenizer_json(read_model(data))
    vocab = value["model"]["vocab"]
    vocab[chr(byte)] = vocab.pop(f"<0x{byte:02X}>")
    return value


def test_a_byte_piece_that_is_named_by_its_character_is_a_piece(tmp_path: Path, run_on: Callable[..., Run]) -> None:
    data = train_sentencepiece(LINES, 700)
    assert "\t" not in [piece.piece for piece in read_model(data).pieces]
    folder = tmp_path / "gemma"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(renamed(data, 0x09)), encoding="utf-8")
    (folder / "tokenizer.model").write_bytes(data)
    base, original = load_base(str(folder)), original_of(data)
    texts = fuzzed(2_000, "\t", "\t가")
    assert all_ids(base.full, texts) == original.encode(texts)
    documents = [f"a\t{line[:40]}\t\t가" for line in lines_of("ko")[:200]]
    (tmp_path / "ko.txt").write_text("\n".join(documents) + "\n", encoding="utf-8")
    run = run_on(tmp_path / "run", str(folder), tmp_path / "ko.txt", heldout=0.0, max_added=200)
    run.assert_exact({"train": documents, "heldout": []}, [0, 200])
    new = original_of((run.exported(200) / "tokenizer.model").read_bytes())
    assert all_ids(run.tokenizer(200), documents + texts) == new.encode(documents + texts)
    assert verify(str(folder), str(run.exported(200)), VerifyOptions(), Console(quiet=True)).passed


def test_a_byte_that_text_outside_ascii_needs_is_missed() -> None:
    with pytest.raises(BaseTokenizerError, match=r"nor has byte fallback for all bytes \(it lacks <0xEA>\)"):
        base_of(renamed(train_sentencepiece(LINES, 700), 0xEA))
