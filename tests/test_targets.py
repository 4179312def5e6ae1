"""A sweep for several targets: what each costs at every size, as `tokenizers` encodes its documents, and who is served.

The targets are Korean of the sample corpus, and Thai and Japanese sentences put together from words.
"""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from command_line import assert_refused, vocabopt
from helpers import has_hangul, library_tokenizer, lines_of

import vocabopt as api
from vocabopt.merging.run import merge_run
from vocabopt.text.documents import bytes_of_texts, content_hashes, is_held_out

THAI = "ภาษาไทย ประเทศ รัฐบาล นักเรียน โรงเรียน อาหาร น้ำ เมือง วันนี้ เมื่อวาน ไป มา กิน ดื่ม อ่าน เขียน ใหญ่ เล็ก ดี และ ของ"
JAPANESE = "日本語 東京 学校 先生 学生 今日 昨日 食べる 飲む 行く 来る の は を に と です ます カメラ"
GERMAN = "Haus Wasser Schule Lehrer heute gestern essen trinken gehen gross klein und der die das ist Stadt Land"
N = {"th": 500, "ja": 300}


def sentences(words: str, n: int, *, seed: int, joint: str = "") -> list[str]:
    choose = random.Random(seed)
    return [joint.join(choose.choices(words.split(), k=choose.randrange(4, 16))) + f" {i}" for i in range(n)]


@pytest.fixture(scope="module")
def texts() -> dict[str, list[str]]:
    return {
        "ko": lines_of("ko")[:700],
        "th": sentences(THAI, N["th"], seed=1),
        "ja": sentences(JAPANESE, N["ja"], seed=2),
        "en": lines_of("en")[:300],
    }


@pytest.fixture(scope="module")
def corpus(texts: Mapping[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per language, and aligned text beside them."""
    folder = tmp_path_factory.mktemp("several")
    for name, lines in texts.items():
        (folder / "corpus" / name).mkdir(parents=True)
        (folder / "corpus" / name / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, words, joint in (("th", THAI, ""), ("ja", JAPANESE, ""), ("de", GERMAN, " ")):
        lines = sentences(words, 40, seed=3, joint=joint)
        (folder / f"aligned-{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def swept(corpus: Path, name: str, *options: object, sizes: tuple[int, ...] = (0, 200, 600)) -> Path:
    """The run directory of a sweep for Korean, Thai and Japanese, or of what the options say."""
    out = corpus / name
    given = [str(option) for option in options]
    target = [] if "--target" in given or "--text" in given else ["--target", "ko,ja,th"]
    result = vocabopt(
        "sweep", corpus / "corpus", *target, *("--max-added", sizes[-1], "--sizes", ",".join(map(str, sizes))),
        "--out", out, "--quiet", *given,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def parity(corpus: Path) -> Path:
    return swept(corpus, "parity", "--balance", "parity")


@pytest.fixture(scope="module")
def tokens(corpus: Path) -> Path:
    return swept(corpus, "tokens")


def read(run: Path) -> tuple[dict[str, Any], pl.DataFrame]:
    return json.loads((run / "sweep.json").read_text()), pl.read_parquet(run / "curve.parquet")


def held_out(lines: list[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return is_held_out(content_hashes(*bytes_of_texts(pl.Series(lines))), 0.05)


# --- Counts ----------------------------------------------------------------------------------------------------------


def assert_exact(run: Path, texts: Mapping[str, list[str]], size: int) -> None:
    """Every set's count is that of its whole documents with the merged tokenizer; train and heldout are sums."""
    merge_run(run, run / f"merged-{size}", n_added=size)
    tokenizer = library_tokenizer(run / f"merged-{size}")
    row = read(run)[1].row(size - 1, named=True)
    sums = {"train": 0, "heldout": 0}
    for name, lines in texts.items():
        counts = np.array([len(one.ids) for one in tokenizer.encode_batch(lines, add_special_tokens=False)])
        if name == "en":
            assert row["n_tokens_en"] == counts.sum()
            continue
        is_held = held_out(lines)
        for part, picked in (("train", ~is_held), ("heldout", is_held)):
            assert row[f"n_tokens_{part}_{name}"] == counts[picked].sum()
            sums[part] += counts[picked].sum()
    assert {part: row[f"n_tokens_{part}"] for part in sums} == sums


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 200, 600])
def test_counts_of_every_target_are_those_of_the_merged_tokenizer(
    size: int, parity: Path, texts: dict[str, list[str]]
) -> None:
    assert_exact(parity, texts, size)


@pytest.mark.parametrize("n_workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_counts_are_exact_where_a_share_is_learned_from_and_shards_are_counted(
    n_workers: int, corpus: Path, texts: dict[str, list[str]]
) -> None:
    options = ("--balance", "parity", "--learn-from", 0.5, "--shard", "20kB", "--workers", n_workers)
    run = swept(corpus, f"share-{n_workers}", *options)
    assert read(run)[0]["learned"]["train_alone"]
    assert_exact(run, texts, 150)


def test_byte_level_bases_count_targets_exactly(corpus: Path, texts: dict[str, list[str]], folders: Path) -> None:
    assert_exact(swept(corpus, "gpt2", "--balance", "parity", "--base", folders / "gpt2-like"), texts, 300)


def test_what_a_sum_holds_is_that_of_its_parts(tokens: Path) -> None:
    sets = read(tokens)[0]["sets"]
    for field in ("n_documents", "n_bytes", "n_chars", "n_words", "n_tokens_base"):
        for part in ("train", "heldout"):
            assert sets[part][field] == sum(sets[f"{part}_{name}"][field] for name in ("ja", "ko", "th"))


def test_weighted_held_out_text_is_each_targets_as_often_as_its_weight(corpus: Path) -> None:
    sweep, curve = read(swept(corpus, "weighted", "--balance", "ko:1,ja:0.5,th:2"))
    assert sweep["targets"]["weights"] == {"ja": 1, "ko": 2, "th": 4}
    parts = curve["n_tokens_heldout_ja"] + 2 * curve["n_tokens_heldout_ko"] + 4 * curve["n_tokens_heldout_th"]
    assert curve["n_tokens_weighted"].to_list() == parts.to_list()
    assert sweep["choice"]["set"] == "weighted"


# --- Who is served ---------------------------------------------------------------------------------------------------


def test_parity_keeps_targets_together_where_one_sum_does_not(parity: Path, tokens: Path) -> None:
    for run, largest in ((parity, 1.1), (tokens, 10.0)):
        sweep, curve = read(run)
        columns = []
        for name in ("ja", "ko", "th"):
            columns.append(curve[f"n_tokens_heldout_{name}"] / sweep["sets"][f"heldout_{name}"]["n_tokens_base"])
        ratios = pl.DataFrame(columns)
        spread = ratios.max_horizontal() / ratios.min_horizontal()
        assert np.allclose(spread, curve["ratio_spread"])
        assert curve["ratio_spread"][199] < largest
    assert read(tokens)[1]["ratio_spread"][199] > 1.3


def test_each_row_of_parity_saves_in_the_target_that_has_most_left(parity: Path) -> None:
    sweep, curve = read(parity)
    left = {
        name: [sweep["sets"][f"train_{name}"]["n_tokens_base"], *curve[f"n_tokens_train_{name}"]]
        for name in ("ja", "ko", "th")
    }
    for row in range(200):
        worst = max(left, key=lambda name: left[name][row] / left[name][0])
        assert left[worst][row + 1] < left[worst][row]


ORDERS = (("--target", "th,ko,ja"), ("--balance", "th:3,ko:3,ja:3"), ("--target", "thai,korean,japanese"))
BOTH = (*ORDERS[0], *ORDERS[1])


@pytest.mark.parametrize("options", [BOTH, *(pytest.param(each, marks=pytest.mark.slow) for each in ORDERS)])
def test_neither_the_order_of_targets_nor_a_common_factor_of_weights_moves_anything(
    options: tuple[str, ...], corpus: Path, tokens: Path
) -> None:
    run = swept(corpus, "-".join(options).replace(":", ""), *options)
    assert (run / "curve.parquet").read_bytes() == (tokens / "curve.parquet").read_bytes()
    assert (run / "folds.parquet").read_bytes() == (tokens / "folds.parquet").read_bytes()


def test_text_named_from_anywhere_is_that_of_folders(corpus: Path, tokens: Path) -> None:
    named = {name: corpus / "corpus" / name for name in ("ko", "ja", "th")}
    out = corpus / "by-name"
    run = api.sweep(
        text=named, protect={"en": corpus / "corpus" / "en"}, base="mistral-7b-v1", out=out, max_added=600,
        sizes="0,200,600",
    )  # fmt: skip
    assert (out / "curve.parquet").read_bytes() == (tokens / "curve.parquet").read_bytes()
    assert run.record.targets is not None
    assert run.record.targets.names == ("ja", "ko", "th")


def test_one_target_named_by_text_is_the_sweep_of_its_path(corpus: Path) -> None:
    path = corpus / "corpus" / "ko"
    options = ("--max-added", 50, "--sizes", "0,50", "--quiet", "--out")
    assert vocabopt("sweep", "--text", f"ko={path}", *options, corpus / "text-ko").exit_code == 0
    assert vocabopt("sweep", path, *options, corpus / "path-ko").exit_code == 0
    assert (corpus / "text-ko" / "curve.parquet").read_bytes() == (corpus / "path-ko" / "curve.parquet").read_bytes()
    assert read(corpus / "text-ko")[0]["targets"] is None


# --- Aligned text ----------------------------------------------------------------------------------------------------


def test_parity_of_aligned_text_is_exact_and_steers(corpus: Path) -> None:
    aligned = [f"{name}={corpus / f'aligned-{name}.txt'}" for name in ("th", "ja", "de")]
    options = [part for value in aligned for part in ("--aligned", value)]
    run = swept(corpus, "aligned", "--target", "th,ja", "--balance", "parity", "--parity", "de", *options)
    merge_run(run, run / "tokenizer", n_added=60)
    tokenizer, row = library_tokenizer(run / "tokenizer"), read(run)[1].row(59, named=True)
    found = {}
    for value in aligned:
        name, _, path = value.partition("=")
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        found[name] = sum(len(one.ids) for one in tokenizer.encode_batch(lines, add_special_tokens=False))
        assert row[f"n_tokens_aligned_{name}"] == found[name]
    assert 1 <= max(found["th"], found["ja"]) / min(found["th"], found["ja"]) < 1.1


# --- Guard, choice, merge, page --------------------------------------------------------------------------------------


def test_the_guard_shows_the_scripts_of_all_targets_and_english_stays(
    parity: Path, texts: dict[str, list[str]]
) -> None:
    sweep, curve = read(parity)
    assert sweep["scripts"] == ["Han", "Hangul", "Hiragana", "Katakana", "Thai"]
    assert sweep["targets"]["scripts"] == {"ja": ["Han", "Hiragana", "Katakana"], "ko": ["Hangul"], "th": ["Thai"]}
    assert not any(map(has_hangul, texts["en"]))
    assert set(curve["n_tokens_en"]) == {sweep["sets"]["en"]["n_tokens_base"]}


def test_where_rows_went_by_aligned_text_the_worst_served_is_told_by_it(corpus: Path) -> None:
    options = [
        part for name in ("th", "ja", "de") for part in ("--aligned", f"{name}={corpus / f'aligned-{name}.txt'}")
    ]
    run = swept(corpus, "by-aligned", "--target", "th,ja", "--balance", "parity", "--parity", "de", *options)
    sweep, curve = read(run)
    end = sweep["choice"]["window"][1] - 1
    worst = max(("ja", "th"), key=lambda name: curve[f"n_tokens_aligned_{name}"][end])
    assert sweep["choice"]["set"] == f"heldout_{worst}"


def test_a_target_in_latin_leaves_other_text_to_protection(corpus: Path) -> None:
    latin = corpus / "aligned-de.txt"
    run = swept(corpus, "latin", "--target", "th", "--text", f"de={latin}", sizes=(0, 40))
    assert read(run)[0]["scripts"] == []
    printed = vocabopt("choose", run).stdout
    assert "as text of de is mostly Latin: --protect alone does" in " ".join(printed.split())


@pytest.mark.parametrize(
    ("by", "text_set", "words"),
    [
        ("sum", "heldout", "for ja, ko, th, decided on their sum"),
        ("worst", None, "decided on the target served worst"),
    ],
)
def test_the_choice_is_on_the_sum_or_on_the_target_served_worst_and_says_so(
    by: str, text_set: str | None, words: str, tokens: Path
) -> None:
    result = vocabopt("choose", tokens, "--decide-by", by)
    assert result.exit_code == 0, result.output
    sweep, curve = read(tokens)
    if text_set is None:
        end = sweep["choice"]["window"][1] - 1
        sets = [f"heldout_{name}" for name in ("ja", "ko", "th")]
        text_set = max(sets, key=lambda name: curve[f"n_tokens_{name}"][end] / sweep["sets"][name]["n_tokens_base"])
        words += f", {text_set.removeprefix('heldout_')}:"
    assert sweep["choice"]["set"] == text_set
    assert words in " ".join(result.stdout.split())


def test_parity_decides_on_the_target_served_worst_and_tables_hold_each(parity: Path, corpus: Path) -> None:
    sweep, _ = read(parity)
    assert sweep["choice"]["set"].startswith("heldout_")
    page = (parity / "report.html").read_text(encoding="utf-8")
    assert 'id="targets"' in page
    assert "each row goes to the one that has most of its own tokens left (--balance parity)" in page
    assert (parity / "figures" / "targets.svg").is_file()


@pytest.mark.slow
def test_a_merged_tokenizer_of_several_targets_verifies_with_the_text_of_each(parity: Path, corpus: Path) -> None:
    folder = parity / "verified"
    merge_run(parity, folder, n_added=200)
    texts = [f"{name}={corpus / 'corpus' / name}" for name in ("ko", "ja", "th", "en")]
    result = vocabopt("verify", "mistral-7b-v1", folder, *(part for text in texts for part in ("--text", text)))
    assert result.exit_code == 0, result.output
    first = json.loads((folder / "extension.json").read_text())["tokens"][0]["counts"]
    for part in ("train", "heldout"):
        assert first[part] == sum(first[f"{part}_{name}"] for name in ("ja", "ko", "th"))


def test_an_estimate_takes_several_targets(corpus: Path) -> None:
    result = vocabopt("sweep", corpus / "corpus", "--target", "ko,th", "--balance", "parity", "--estimate", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["share_learned"] == 1.0


# --- Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--target", "ko,th", "--balance", "ko:1,fi:2"], "'fi' is no target; the targets are ko, th"),
        (["--target", "ko,th", "--balance", "ko:1"], "no weight of th"),
        (["--target", "ko,th", "--balance", "ko:1,th:0"], "weight of th must be a number above 0"),
        (["--target", "ko,th", "--balance", "ko:1,th:-2"], "weight of th must be a number above 0"),
        (["--target", "ko,th", "--balance", "ko:1,th:x"], "weight of th must be a number above 0"),
        (["--target", "ko,th", "--balance", "ko:1,ko:2,th:1"], "ko has two weights"),
        (["--target", "ko,th", "--balance", "ko:1,th:1234567.5"], "larger than 1,000,000"),
        (["--target", "ko,th", "--balance", "fair"], "write tokens, parity, or a weight each: ko:2,th:1"),
        (["--target", "ko,ko"], "--target ko,ko: names ko twice"),
        (["--target", "ko,korean"], "names ko twice"),
        (["--target", "ko,"], "--target ko,: a name is missing"),
        (["--target", "ko,fi"], "--target fi: no such text set"),
        (["--target", "ko", "--balance", "parity"], r"--balance parity: is about several .*there is one \(ko"),
        (["--target", "ko,th", "--method", "union"], "--method union: is for one target, and there are 2"),
        (["--target", "ko,th", "--parity", "de"], r"--parity de: is not among the aligned text \(none\)"),
        (["--target", "ko,th", "--aligned", "th={aligned}"], "say with --parity which of these"),
        (["--target", "ko,th", "--aligned", "de={aligned}", "--parity", "de"], "no aligned text of ko, th"),
        (["--target", "ko", "--text", "ko={aligned}"], "there is a text set ko already"),
        (["--target", "ko,th", "--eval", "train_ko={aligned}"], "the name train_ko is kept for a part of the target"),
        (["--target", "ko", "--text", "fi={empty}"], "is empty; nothing to learn from"),
        (
            ["--target", "ko,th", "--parity", "de", "--aligned", "de={aligned}", "--balance", "parity",
             "--learn-from", "0.5"],
            "--learn-from 0.5: --balance parity with --parity goes by aligned text",
        ),
        (
            ["--target", "ko,th", "--parity", "de", "--aligned", "de={aligned}", "--aligned", "ko={aligned}",
             "--aligned", "th={short}"],
            "--parity de: has 40 documents, but aligned text of th has 2 documents",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_named(options: list[str], match: str, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("a\nb\n")
    places = {"aligned": corpus / "aligned-de.txt", "empty": tmp_path / "empty.txt", "short": tmp_path / "short.txt"}
    given = [option.format(**places) for option in options]
    corpora = [corpus / "corpus" / "ko", corpus / "corpus" / "th"]
    result = vocabopt("sweep", corpora[0].parent, *given, "--max-added", 20, "--out", tmp_path / "run", "--quiet")
    assert_refused(result, match, tmp_path / "run")


def test_a_target_without_text_in_the_share_is_named(corpus: Path, tmp_path: Path) -> None:
    """Its script is then unknown, which must not take the guard of the others away."""
    (tmp_path / "th.txt").write_text("ภาษาไทย\n", encoding="utf-8")
    texts = ("--text", f"ko={corpus / 'corpus' / 'ko'}", "--text", f"th={tmp_path / 'th.txt'}", "--heldout", 0)
    result = vocabopt("sweep", *texts, "--learn-from", 0.1, "--out", tmp_path / "run", "--quiet")
    assert_refused(result, "target th: the documents that tokens are learned from hold no text of it", tmp_path / "run")


def test_text_without_a_name_beside_a_named_target_is_refused(corpus: Path, tmp_path: Path) -> None:
    """It would be protected text, silently."""
    (tmp_path / "plain.txt").write_text("text\n", encoding="utf-8")
    target = ("--text", f"ko={corpus / 'corpus' / 'ko'}", "--out", tmp_path / "run")
    result = vocabopt("sweep", tmp_path / "plain.txt", *target, "--quiet")
    assert_refused(
        result, "plain.txt: is in no folder that is named by a language, and --text ko names", tmp_path / "run"
    )


def test_a_sweep_of_one_target_refuses_to_decide_between_several(corpus: Path) -> None:
    out = corpus / "single"
    sweep = vocabopt("sweep", corpus / "corpus", "--target", "ko", "--max-added", 20, "--out", out, "--quiet")
    assert sweep.exit_code == 0, sweep.output
    result = vocabopt("choose", out, "--decide-by", "worst")
    assert result.exit_code == 2
    assert "--decide-by worst: is about several targets, and this run has one" in result.stderr
