"""Rows swapped from text to tokenizer: counts, ids and forms are those of the written tokenizer, in every base."""

import html
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command_line import assert_refused, vocabopt
from helpers import (
    CORPUS,
    all_ids,
    block_of,
    has_hangul,
    library_tokenizer,
    lines_of,
    n_tokens,
    split_heldout,
    train_sentencepiece,
)
from verification import small_ranks

import vocabopt as api
from vocabopt.console import Console
from vocabopt.errors import PromiseError, RunDirectoryError
from vocabopt.folder import read_json
from vocabopt.growth.chunk_kernel import scan_documents
from vocabopt.merging.extension import read_extension
from vocabopt.merging.run import merge_run
from vocabopt.swap.record import SwapRecord, read_swap_record
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.chat_templates import prompts
from vocabopt.tokenizer.encoders import encoder_of
from vocabopt.tokenizer.patterns import GPT2_PATTERN
from vocabopt.tokenizer.ranks import rank_file
from vocabopt.verification import VerifyOptions, verify
from vocabopt.verification.checks_settings import KEPT_SETTINGS
from vocabopt.verification.checks_swap import KEPT_TEXT
from vocabopt.verification.checks_text import ROUND_TRIP
from vocabopt.verification.checks_vocabulary import KEPT_IDS
from vocabopt.verification.text import random_strings

SIZES = (60, 200, 300)
BASES = ("llama-like", "sentencepiece", "gpt2-like", "ranks", "tekken")


@pytest.fixture(scope="module")
def bases(folders: Path, tmp_path_factory: pytest.TempPathFactory, tekken_base: str) -> dict[str, dict[str, str]]:
    """Name -> the options that name a base: Hugging Face folders, a lone .model, a rank file, a tekken.json."""
    root = tmp_path_factory.mktemp("bases")
    lines = lines_of("en") + lines_of("ko")[:200]
    (root / "tokenizer.model").write_bytes(train_sentencepiece(lines, 1_500))
    (root / "small.tiktoken").write_bytes(rank_file(small_ranks(lines)))
    return {
        "llama-like": {"base": str(folders / "llama-like")},
        "sentencepiece": {"base": str(root / "tokenizer.model")},
        "gpt2-like": {"base": str(folders / "gpt2-like")},
        "ranks": {"base": str(root / "small.tiktoken"), "pattern": GPT2_PATTERN, "specials": "none"},
        "tekken": {"base": tekken_base},
    }


class Swapped:
    """A finished sweep with rows swapped."""

    def __init__(self, out: Path, base: Tokenizer) -> None:
        self.out, self.base = out, base
        self.sweep = api.open(out)

    @property
    def record(self) -> SwapRecord:
        return read_swap_record(self.out, self.sweep.record.curve_sha256)

    def written(self, size: int) -> Path:
        """The folder that merge writes for this size."""
        folder = self.out / f"tokenizer-{size}"
        if not folder.exists():
            merge_run(self.out, folder, n_added=size)
        return folder


@pytest.fixture(scope="module")
def swap_of(bases: dict[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Swapped]:
    """The sweep of the sample corpus with a base, its English kept; made once, and only read by tests."""
    root, made = tmp_path_factory.mktemp("swapped"), {}

    def swap(name: str) -> Swapped:
        if name not in made:
            sizes, out = ",".join(map(str, SIZES)), root / name
            api.sweep(CORPUS / "ko", out=out, method="swap", keep={"en": CORPUS / "en"}, sizes=sizes, **bases[name])
            given = bases[name]
            base = load_base(given["base"], pattern=given.get("pattern"), specials=given.get("specials"))
            made[name] = Swapped(out, base)
        return made[name]

    return swap


@pytest.fixture(params=BASES)
def swapped(request: pytest.FixtureRequest, swap_of: Callable[[str], Swapped]) -> Swapped:
    return swap_of(request.param)


def documents() -> dict[str, list[str]]:
    return {**split_heldout(lines_of("ko")), "en": lines_of("en")}


# --- What is shown ---------------------------------------------------------------------------------------------------


def test_the_page_and_the_choice_of_a_swap_begin_with_the_rows_swapped(swap_of: Callable[[str], Swapped]) -> None:
    swapped = swap_of("llama-like")
    n, name = swapped.record.choice.n_swapped, swapped.sweep.record.base.name
    page = (swapped.out / "report.html").read_text("utf-8")
    assert f"<title>{name}: {n:,} rows to swap</title>" in page
    assert f"<h1>Swap {n:,} rows of " in page
    assert "With more rows instead: <bdi>Add " in page
    choice = api.open(swapped.out).choice
    assert choice.swap_reason is not None
    assert choice.swap_reason.startswith(f"Swap {n:,} rows: ")
    assert choice.swap_reason in html.unescape(choice._repr_html_())


def test_choose_names_the_rows_swapped(swap_of: Callable[[str], Swapped], tmp_path: Path) -> None:
    run = Path(shutil.copytree(swap_of("llama-like").out, tmp_path / "run"))
    result = vocabopt("choose", run)
    assert result.exit_code == 0, result.output
    assert "Rows swapped are chosen by the sweep alone: Swap " in " ".join(result.stdout.split())


@pytest.mark.slow
def test_a_sweep_again_shows_what_was_measured_on_the_same_curve_before(tmp_path: Path) -> None:
    text, terms = CORPUS / "ko" / "chat.txt", tmp_path / "terms.txt"
    terms.write_text("한국어\n", "utf-8")
    protect = ("--protect", f"en={CORPUS / 'en' / 'chat.txt'}")
    sweep = ("sweep", text, *protect, "--max-added", 60, "--out", tmp_path / "run")
    for more in (("--method", "swap", "--max-swap", 60), ("--terms", terms), ()):
        result = vocabopt(*sweep, *more)
        assert result.exit_code == 0, result.output
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert 'id="terms"' in page
    assert 'id="swap"' in page
    assert "<h1>Swap" not in page, "this run adds tokens"


# --- What is promised holds -------------------------------------------------------------------------------------------


def test_counts_of_every_set_at_every_size_are_those_of_the_written_tokenizer(swapped: Swapped) -> None:
    for point in swapped.record.points:
        tokenizer = library_tokenizer(swapped.written(point.n_swapped))
        found = {name: n_tokens(tokenizer, texts) for name, texts in documents().items()}
        assert found == {name: counts.n_tokens for name, counts in point.sets.items()}, point.n_swapped


def test_kept_ids_keep_their_pieces_and_reused_ids_have_the_first_pieces_of_the_curve(swapped: Swapped) -> None:
    curve = pl.read_parquet(swapped.out / "curve.parquet")
    before = dict(swapped.base.vocab)
    for size in SIZES:
        folder = swapped.written(size)
        after = library_tokenizer(folder).get_vocab(with_added_tokens=True)
        reused = read_json(folder / "extension.json", next_step="")["reused"]
        assert [row["new_piece"] for row in reused] == curve["piece"].head(size).to_list()
        assert [row["id"] for row in reused] == sorted(swapped.record.freed_ids[:size])
        assert all(before[row["old_piece"]] == row["id"] == after[row["new_piece"]] for row in reused)
        freed = {row["old_piece"] for row in reused}
        assert {piece: index for piece, index in after.items() if piece in before} == {
            piece: index for piece, index in before.items() if piece not in freed
        }
        assert len(after) == len(before)


def test_kept_merges_are_the_base_s_in_their_order(swapped: Swapped) -> None:
    folder = swapped.written(SIZES[-1])
    freed = {row["old_piece"] for row in read_json(folder / "extension.json", next_step="")["reused"]}
    merges = [tuple(pair) for pair in json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]]
    kept = [pair for a, b in swapped.base.tokenizer_json["model"]["merges"] if (pair := (a, b)) and a + b not in freed]
    known = {*kept}
    assert [pair for pair in merges if pair in known] == kept


def test_every_form_gives_the_ids_of_tokenizer_json(swapped: Swapped) -> None:
    folder = swapped.written(SIZES[-1])
    tokenizer = library_tokenizer(folder)
    texts = [*lines_of("ko"), *lines_of("en"), *(text for batch in random_strings(3_000) for text in batch)]
    expected = all_ids(tokenizer, texts)
    for form in swapped.base.originals:
        written = load_base(str(folder)).tokenizer_json
        encoder = encoder_of(form.kind, (folder / form.file_name).read_bytes(), written)
        assert encoder.encode(texts) == expected, form.kind


def test_any_text_decodes_as_with_the_base(swapped: Swapped) -> None:
    before, after = library_tokenizer(swapped.base.tokenizer_json), library_tokenizer(swapped.written(SIZES[-1]))
    for texts in random_strings(5_000, seed=1):
        old, new = (one.decode_batch(all_ids(one, texts), skip_special_tokens=False) for one in (before, after))
        assert old == new


@pytest.mark.parametrize("name", ["llama-like", "gpt2-like"])
def test_chat_prompts_keep_their_ids(name: str, swap_of: Callable[[str], Swapped]) -> None:
    swapped = swap_of(name)
    texts = [text for text in prompts(swapped.base) if not has_hangul(text)]
    assert len(texts) > 5
    before, after = library_tokenizer(swapped.base.tokenizer_json), library_tokenizer(swapped.written(SIZES[-1]))
    assert all_ids(before, texts) == all_ids(after, texts)


def test_what_merge_wrote_passes_every_check(swapped: Swapped) -> None:
    base = swapped.base
    options = VerifyOptions(
        pattern=base.pattern, specials=base.specials, texts={"en": str(CORPUS / "en")}, random_strings=2_000
    )
    report = verify(base, str(swapped.written(SIZES[1])), options, Console(quiet=True))
    statuses = {check.name: check.status for check in report.checks}
    assert report.passed, statuses
    assert {statuses[name] for name in (KEPT_IDS, KEPT_SETTINGS, KEPT_TEXT, ROUND_TRIP)} == {"pass"}
    kept = report.check(KEPT_TEXT).counts
    assert kept["n_tokens (en)"] == swapped.record.points[1].sets["en"].n_tokens
    assert kept["n_documents (en)"] == len(lines_of("en"))


# --- What is shown ----------------------------------------------------------------------------------------------------


def test_the_choice_is_the_size_with_the_most_saved_less_what_kept_text_loses(swapped: Swapped) -> None:
    record, base_tokens = swapped.record, swapped.sweep.record.base_tokens
    net = {}
    for point in record.points:
        saved = 1 - point.sets["heldout"].n_tokens / base_tokens["heldout"]
        lost = point.unseen["en"].n_tokens / point.unseen["en"].n_tokens_base - 1
        net[point.n_swapped] = saved - record.keep_weight * lost
    best = max(net, key=lambda size: (net[size], -size))
    assert record.choice.n_swapped == (best if net[best] > 0 else 0)
    assert record.choice.set == "heldout"


def test_what_had_no_say_is_an_eighth_of_the_kept_documents_by_content(swapped: Swapped) -> None:
    texts = lines_of("en")
    block = block_of("en", texts)
    data = np.frombuffer(block.data, np.uint8)
    hashes, *_ = scan_documents(data, block.starts, block.ends, np.uint64(0), np.zeros(1 << 16, bool))
    is_unseen = (hashes >> np.uint64(32)) % np.uint64(32) >= 28
    assert 0.1 < is_unseen.mean() < 0.15
    unseen = [text for text, has_none in zip(texts, is_unseen, strict=True) if has_none]
    base = library_tokenizer(swapped.base.tokenizer_json)
    for point in swapped.record.points:
        found = point.unseen["en"]
        assert found.n_tokens_base == n_tokens(base, unseen)
        assert found.n_tokens == n_tokens(library_tokenizer(swapped.written(point.n_swapped)), unseen)


def test_a_heavier_weight_of_kept_text_loses_less_of_it(bases: dict[str, dict[str, str]], tmp_path: Path) -> None:
    given = {"method": "swap", "keep": {"en": CORPUS / "en"}, "sizes": "300", **bases["llama-like"]}
    n_tokens_of = {}
    for weight in (0.0, 100.0):
        out = tmp_path / f"{weight:g}"
        sweep = api.sweep(CORPUS / "ko", out=out, keep_weight=weight, **given)
        point = read_swap_record(out, sweep.record.curve_sha256).points[-1]
        n_tokens_of[weight] = point.sets["en"].n_tokens
    assert n_tokens_of[100.0] < n_tokens_of[0.0]


def test_the_terminal_and_the_page_show_both_sides_and_growth_beside_it(
    bases: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    base = bases["llama-like"]["base"]
    options = ("--method", "swap", "--keep", f"en={CORPUS / 'en'}", "--max-swap", 300, "--base", base, "--out", out)
    result = vocabopt("sweep", CORPUS / "ko", *options)
    assert result.exit_code == 0, result.output
    record = read_swap_record(out, api.open(out).record.curve_sha256)
    # Even steps to the most that was asked for.
    assert [point.n_swapped for point in record.points] == [0, 38, 75, 112, 150, 188, 225, 262, 300]
    page = (out / "report.html").read_text("utf-8")
    n_base = api.open(out).record.base_tokens
    for point in record.points:
        saved = f"{1 - point.sets['heldout'].n_tokens / n_base['heldout']:.2%}"
        lost = f"{point.sets['en'].n_tokens / n_base['en'] - 1:+z.2%}"
        unseen = f"{point.unseen['en'].n_tokens / point.unseen['en'].n_tokens_base - 1:+z.2%}"
        assert saved in result.stdout
        assert lost in result.stdout
        assert unseen in result.stdout
        assert f">{saved}<" in page
        assert f">{lost}<" in page
        assert f">{unseen}<" in page
    curve = pl.read_parquet(out / "curve.parquet")
    grown = f"{1 - curve['n_tokens_heldout'][299] / n_base['heldout']:.2%}"
    assert grown in result.stdout
    assert f">{grown}<" in page
    assert "--keep-weight" in result.stdout
    table = api.open(out).swap
    assert table is not None
    assert table["n_tokens_en"].to_list() == [point.sets["en"].n_tokens for point in record.points]
    assert table.filter("is_choice")["n_swapped"].to_list() == [record.choice.n_swapped]
    assert (out / "figures" / "swap.svg").is_file()
    # Written again from the folder alone, the page is the same.
    (out / "report.html").unlink()
    assert vocabopt("report", out).exit_code == 0
    assert 'id="swap"' in (out / "report.html").read_text("utf-8")


@pytest.mark.slow
def test_merge_of_the_command_line_checks_the_kept_text_by_itself(
    swap_of: Callable[[str], Swapped], tmp_path: Path
) -> None:
    swapped = swap_of("llama-like")
    result = vocabopt("merge", swapped.out, "--size", 120, "--out", tmp_path / "tokenizer")
    assert result.exit_code == 0, result.output
    # A size that the sweep did not measure is counted by the merge.
    assert 120 not in [point.n_swapped for point in swapped.record.points]
    assert "120 rows swapped" in result.stdout
    extension = read_json(tmp_path / "tokenizer" / "extension.json", next_step="")
    tokenizer = library_tokenizer(tmp_path / "tokenizer")
    assert extension["proof"]["n_tokens_promised"] is None
    assert extension["kept"]["en"]["n_tokens"] == n_tokens(tokenizer, lines_of("en"))
    checks = {
        check["name"]: check for check in read_json(tmp_path / "tokenizer" / "verify.json", next_step="")["checks"]
    }
    assert checks[KEPT_TEXT]["status"] == "pass"
    assert checks[KEPT_TEXT]["counts"]["n_documents (en)"] == len(lines_of("en"))


def test_protected_folders_are_kept_text_too(bases: dict[str, dict[str, str]], tmp_path: Path) -> None:
    sweep = api.sweep(CORPUS, out=tmp_path / "run", method="swap", sizes="50", **bases["llama-like"])
    assert read_swap_record(tmp_path / "run", sweep.record.curve_sha256).kept_sets == ("en",)
    # Rows added in the same folder afterwards: the swap stays on the page, and merge adds rows.
    again = api.sweep(CORPUS, out=tmp_path / "run", sizes="50", **bases["llama-like"])
    assert again.record.method == "grow"
    assert 'id="swap"' in (tmp_path / "run" / "report.html").read_text("utf-8")


# --- What is refused --------------------------------------------------------------------------------------------------

SWAP = ("--method", "swap")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (SWAP, r"--method swap: no text says which rows .*--keep en=english.txt"),
        ((*SWAP, "--keep", "en=missing.txt"), r"missing\.txt"),
        ((*SWAP, "--keep", "en"), r"--keep en: write NAME=PATH"),
        (("--keep", "en=EN"), r"--keep en=.*: is about rows swapped\. Add --method swap"),
        (("--max-swap", "9"), r"--max-swap 9: is about rows swapped"),
        (("--keep-weight", "2"), r"--keep-weight 2: is about rows swapped"),
        ((*SWAP, "--keep", "text=EN"), r"--keep text=.*: there is a text set text already; choose another name"),
        ((*SWAP, "--keep", "train=EN"), r"--keep train=.*: the name train is kept"),
        ((*SWAP, "--keep", "en=EN", "--max-swap", "0"), r"--max-swap 0: must be between 1 and"),
        ((*SWAP, "--keep", "en=EN", "--max-swap", "40000"), r"--max-swap 40000: of the 2,000 rows of .* can be freed"),
        ((*SWAP, "--keep", "en=EN", "--max-swap", "1688"), r"--max-swap 1688: [\d,]+ rows of .* can be freed"),
        ((*SWAP, "--keep", "en=EN", "--learn-from", "0.5"), r"--learn-from 0\.5: the swap is measured on all text"),
        ((*SWAP, "--keep", "en=EN", "--cross-spaces"), r"--cross-spaces: is not for --method swap"),
        ((*SWAP, "--keep", "en=BLANK"), r"--keep en=.*blank\.txt: only blank lines"),
    ],
)  # fmt: skip
def test_what_cannot_be_swapped_is_refused(
    options: tuple[str, ...], match: str, bases: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    blank = tmp_path / "blank.txt"
    blank.write_text("\n \n", encoding="utf-8")
    given = [option.replace("=EN", f"={CORPUS / 'en'}").replace("=BLANK", f"={blank}") for option in options]
    out = tmp_path / "run"
    text = CORPUS / "ko" if "--max-swap" in options else CORPUS / "ko" / "news.txt"
    result = vocabopt("sweep", text, *given, "--base", bases["llama-like"]["base"], "--out", out, "--quiet")
    assert_refused(result, match, tmp_path)


def test_a_size_beyond_the_rows_that_were_freed_is_refused(swap_of: Callable[[str], Swapped], tmp_path: Path) -> None:
    result = vocabopt("merge", swap_of("llama-like").out, "--size", 301, "--out", tmp_path / "t", "--quiet")
    assert_refused(result, r"--size 301: .* has 300 rows to swap\. Choose 0 to 300", tmp_path)


def test_a_run_without_a_swap_has_none_to_merge(swept: Path, tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"swap\.json: is missing, .* --method swap again"):
        merge_run(swept, tmp_path / "t", method="swap")


def test_a_count_that_was_not_promised_is_refused(swap_of: Callable[[str], Swapped], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(swap_of("llama-like").out, run)
    value = read_json(run / "swap.json", next_step="")
    value["points"][1]["sets"]["en"]["n_tokens"] += 1
    (run / "swap.json").write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(PromiseError, match="the sweep counted"):
        merge_run(run, tmp_path / "t", n_added=value["points"][1]["n_swapped"])


# --- What verify finds ------------------------------------------------------------------------------------------------


def spoiled_extension(folder: Path) -> None:
    value = read_json(folder / "extension.json", next_step="")
    value["kept"]["en"]["n_tokens"] += 1
    (folder / "extension.json").write_text(json.dumps(value), encoding="utf-8")


def swapped_kept_ids(folder: Path) -> None:
    value = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocab = value["model"]["vocab"]
    reused = {row["id"] for row in read_json(folder / "extension.json", next_step="")["reused"]}
    one, other = [piece for piece, index in vocab.items() if index not in reused and len(piece) > 3][:2]
    vocab[one], vocab[other] = vocab[other], vocab[one]
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")


def moved_merges(folder: Path) -> None:
    value = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    value["model"]["merges"].insert(0, value["model"]["merges"].pop(40))
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "name"),
    [(spoiled_extension, KEPT_TEXT), (swapped_kept_ids, KEPT_IDS), (moved_merges, KEPT_SETTINGS)],
)
def test_verify_finds_what_is_not_as_promised(
    spoil: Callable[[Path], None], name: str, swap_of: Callable[[str], Swapped], tmp_path: Path
) -> None:
    swapped = swap_of("llama-like")
    folder = tmp_path / "t"
    shutil.copytree(swapped.written(SIZES[0]), folder)
    spoil(folder)
    options = VerifyOptions(texts={"en": str(CORPUS / "en")}, random_strings=0)
    report = verify(swapped.base, str(folder), options, Console(quiet=True))
    assert report.check(name).status == "fail"


def test_an_extension_json_at_odds_with_itself_is_refused(swap_of: Callable[[str], Swapped], tmp_path: Path) -> None:
    folder = tmp_path / "t"
    shutil.copytree(swap_of("llama-like").written(SIZES[0]), folder)
    whole = read_json(folder / "extension.json", next_step="")
    twice = [whole["reused"][0], *whole["reused"][:-1]]
    for field, value, match in [
        ("reused", twice, "field reused: its ids are not 60 different ones"),
        ("n_tokens", 1, "fields first_id and n_tokens are not the"),
        ("tokens", whole["tokens"][::-1], "field tokens is not what reused says"),
    ]:
        (folder / "extension.json").write_text(json.dumps({**whole, field: value}), encoding="utf-8")
        with pytest.raises(RunDirectoryError, match=match):
            read_extension(folder)


def test_sizes_beyond_the_rows_are_refused_or_measured_at_the_last(tmp_path: Path) -> None:
    text = CORPUS / "ko" / "chat.txt"
    swap = ("sweep", text, "--method", "swap", "--keep", f"en={CORPUS / 'en' / 'chat.txt'}", "--quiet")
    refused = vocabopt(*swap, "--sizes", "100,60", "--max-swap", 50, "--out", tmp_path / "run")
    assert_refused(refused, "--sizes 100,60: 100 rows are more than --max-swap 50", tmp_path / "run")
    done = vocabopt(*swap, "--sizes", "100,39000", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    points = read_json(tmp_path / "run" / "swap.json", next_step="")["points"]
    end = len(pl.read_parquet(tmp_path / "run" / "curve.parquet"))
    assert [point["n_swapped"] for point in points] == [100, end]
    assert end < 39_000


def test_a_folder_is_free_again_where_kept_text_was_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    swap = (
        "sweep",
        CORPUS / "ko" / "chat.txt",
        "--method",
        "swap",
        "--sizes",
        "100",
        "--out",
        tmp_path / "run",
        "--quiet",
    )
    assert "only blank lines" in vocabopt(*swap, "--keep", f"en={tmp_path / 'empty.txt'}").output
    assert vocabopt(*swap, "--keep", f"en={CORPUS / 'en' / 'chat.txt'}").exit_code == 0
