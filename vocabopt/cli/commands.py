"""The commands without a model: clean text, measure sizes, choose, merge, verify, compare. A call and a table each."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vocabopt.amounts import counted
from vocabopt.cli.fields import Values, command, of_record
from vocabopt.cli.output import Output, how_to_load, print_tables
from vocabopt.cli.running import going_on_by, hold, hold_file
from vocabopt.errors import OptionError
from vocabopt.text.utf8 import printable

if TYPE_CHECKING:
    from vocabopt.console import Console
    from vocabopt.merging.run import Merged
    from vocabopt.options import MergeOptions
    from vocabopt.preparation.step import Step
    from vocabopt.verification import Report

_RUN_DIR = click.argument("run_dir", metavar="DIR", type=click.Path(path_type=Path))


# --- prepare ---------------------------------------------------------------------------------------------------------


@command(
    "vocabopt.preparation.options:ChainOptions",
    "vocabopt.preparation.options:PrepareOptions",
    "trainer.measuring_options:CompareOptions",
    prints="prepare.json, or compare.json,",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Compare parts of the text instead: chosen at random, by length, perplexity and diversity, not chosen at all, "
    "cleaned by the chain, all of the same bytes, and all the text.",
)
def prepare(values: Values, output: Output, *, compare: bool) -> None:
    """Clean text, step by step, and count what each step takes.

    PATH: .txt, .jsonl, .json, .csv, .tsv or .parquet files (also .gz, .zst), folders, globs, URLs, or - for standard
    input. Writes OUT/clean/ (what is kept: id, text, source, line), OUT/removed/ (the rest, with the step that took it
    and why), prepare.json and report.html. A run that was stopped goes on when the same command is given again.
    `vocabopt sweep OUT` reads the result and shows the funnel in its report.

    \b
    Examples:
      vocabopt prepare corpus/ko --out clean-ko
      vocabopt prepare web/*.jsonl.gz --config prepare.toml --out clean-web
      vocabopt prepare old.txt --steps repair,nfc,exact --encoding cp949 --out clean-old
      vocabopt prepare wiki.jsonl.gz reviews.txt --compare --model ./small --budget 20MB --out compared
    """
    from vocabopt.preparation.options import PrepareOptions
    from vocabopt.preparation.run import run_prepare
    from vocabopt.records import json_of

    steps, out = _chain(values["config"], values["steps"]), values["out"]
    going_on_by()
    hold(out)
    if compare:
        from vocabopt.cli.training import compare_parts

        compare_parts(steps, values, output)
        return
    if stray := next((name for name in ("model", "budget", "reference", "size", "evals") if values[name]), None):
        flag = "eval" if stray == "evals" else stray
        raise OptionError(f"--{flag}: is about comparing parts of the text. Add --compare, or leave it out.")
    record = run_prepare(PrepareOptions(steps=steps, **of_record(PrepareOptions, values)), output.console())

    def tables(width: int) -> Iterator[Any]:
        from vocabopt.preparation.funnel import funnel_notes, funnel_table

        yield funnel_table(record, width=width)
        yield from (*funnel_notes(record), f"Report: {out / 'report.html'}", f"Next: vocabopt sweep {out}")

    output.show(json_of(record) if output.as_json else None, tables)


def _chain(config: Path | None, steps: str | None) -> "tuple[Step, ...]":
    from vocabopt.preparation import DEFAULT_STEPS
    from vocabopt.preparation.options import chain, read_config

    if config is not None and steps is not None:
        raise OptionError(f"--config {config}, --steps {steps}: both name the steps. Give one of them.")
    if config is not None:
        return read_config(config)
    names = DEFAULT_STEPS if steps is None else tuple(filter(None, (name.strip() for name in steps.split(","))))
    return chain(names, place="--steps")


# --- sweep, choose, report -------------------------------------------------------------------------------------------


@command("vocabopt.options:SweepOptions", prints="sweep.json (with --method union or swap also that)")
@click.option(
    "--estimate", is_flag=True, help="Say from a sample of the text how long the sweep will take; write nothing."
)
def sweep(values: Values, output: Output, *, estimate: bool) -> None:
    """Measure every vocabulary size on your text, choose one, and write a report.

    PATH: .txt, .jsonl, .json, .csv, .tsv or .parquet files (also .gz, .zst; --format where the name does not tell),
    folders, globs, URLs, or - for standard input. In a folder whose sub-folders are named by language (ko/, en/) each
    is a text set: one is learned from, or several (--target ko,ja), the others protected. Writes curve.parquet (every
    size), sweep.json, report.html and more to the run directory; with --method union also union.model and union.json,
    with --method swap swap.json.

    \b
    Examples:
      vocabopt sweep corpus/
      vocabopt sweep news.jsonl.gz --base ./Llama-2-7b --out reports/news
      vocabopt sweep ko.txt --protect en=english.txt --eval kobest=kobest.txt --sizes 0,5000,20000
      vocabopt sweep corpus/ --method union
      vocabopt sweep ko.txt --method swap --keep en=english.txt --keep code=code/
      vocabopt sweep --text ko=ko.txt --text th=thai/ --protect en=english.txt --balance parity
      vocabopt sweep s3://bucket/corpus --estimate --workers 16 --memory 64GB
    """
    from vocabopt.options import SweepOptions, default_out
    from vocabopt.pipeline import run_sweep
    from vocabopt.records import json_of

    values["out"] = values["out"] or default_out(values["paths"], values["base"], values["texts"])
    options = SweepOptions(**values)
    if estimate:
        from vocabopt.estimation import estimated
        from vocabopt.tables import estimate_table

        found = estimated(options, output.console())
        output.show(json_of(found) if output.as_json else None, lambda width: [estimate_table(found, width)])
        return
    hold(options.out)
    result = run_sweep(options, output.console())
    record, union, swap = result.record, result.union, result.swap

    def tables(width: int) -> Iterator[Any]:
        from vocabopt.swap.tables import swap_notes, swap_reason, swap_table
        from vocabopt.tables import sweep_table, targets_table, terms_table, union_table
        from vocabopt.wording import reason, sweep_notes, terms_notes, union_notes, union_reason

        yield sweep_table(record, width=width)
        if record.targets is not None:
            yield targets_table(record, record.targets, width=width)
        yield from (*sweep_notes(record), reason(record))
        if result.terms is not None:
            yield terms_table(result.terms, width)
            yield from terms_notes(result.terms, options.out)
        if union is not None:
            yield union_table(record, union, result.curve, width=width)
            yield from (*union_notes(union), union_reason(record, union))
        if swap is not None:
            yield swap_table(record, swap, result.curve).for_terminal(width)
            yield from (*swap_notes(record, swap), swap_reason(record, swap))
        yield f"Report: {options.out / 'report.html'}"

    more = {name: json_of(one) for name, one in (("union", union), ("swap", swap)) if one is not None}
    shown = json_of(record) | more if output.as_json else None
    output.show(shown, tables)


@command(
    "vocabopt.choice.options:ChoiceOptions", "vocabopt.choice.options:RuleOptions", prints="the choice of sweep.json"
)
@_RUN_DIR
@click.option(
    "--model",
    metavar="MODEL",
    help="Model to count from now on: config.json, folder, GGUF, or preset.  [default: that of the run]",
)
def choose(values: Values, output: Output, *, run_dir: Path, model: str | None) -> None:
    """Decide again which size to take, on a finished sweep, without its text.

    DIR is the run directory of a sweep. The choice in its sweep.json is written anew, with every option that moved it;
    `vocabopt report DIR` shows it. The recommendation is the best size of `vocabopt probe --sizes` where its folder was
    named with --probe, else the knee over the window; held back to what the stated training text and memory allow, and
    rounded; the other rules stand beside it.

    \b
    Examples:
      vocabopt choose reports/corpus-mistral-7b-v1
      vocabopt choose reports/news --window 4000:24000 --train-tokens 10B --serve-tokens 1T
      vocabopt choose reports/news --model ./my-model --train-memory 640GB --serve-memory 24GB
      vocabopt choose reports/news --rule measured --probe sizes
    """
    from vocabopt.choice.choose import rechoose
    from vocabopt.choice.options import ChoiceOptions, RuleOptions
    from vocabopt.records import json_of

    options = ChoiceOptions(**of_record(ChoiceOptions, values))
    by = RuleOptions(**of_record(RuleOptions, values))
    if run_dir.is_dir():
        hold(run_dir)
    record = rechoose(run_dir, options, model, by=by)

    def tables(width: int) -> Iterator[Any]:
        from vocabopt.swap.record import read_swap
        from vocabopt.swap.tables import swap_reason
        from vocabopt.tables import rules_table
        from vocabopt.wording import choice_notes, small_heldout_sentence

        yield rules_table(record, width=width)
        if (small := small_heldout_sentence(record)) is not None:
            yield small
        *notes, reason = choice_notes(record)
        yield from notes
        base, name = record.base, "none known" if record.model is None else record.model.name
        yield f"Model: {name}; {counted(base.n_rows, 'row')} for the {counted(base.n_tokens, 'token')} of {base.name}."
        if (run_dir / "report.html").is_file():
            yield f"The page still shows the choice before: `vocabopt report {run_dir}` makes it anew."
        if (swap := read_swap(run_dir, record.curve_sha256)) is not None:
            yield f"Rows swapped are chosen by the sweep alone: {swap_reason(record, swap)}"
        yield reason

    output.show(json_of(record.choice), tables)


@command()
@_RUN_DIR
def report(values: Values, output: Output, *, run_dir: Path) -> None:
    """Write the report of a run again: report.html and figures/, from its folder alone.

    DIR is the run directory of a sweep. The text is not read; what other commands have left in the folder since comes
    into the page: tokenizer/verify.json of `merge`, analysis/analyze.json of `analyze --out DIR/analysis`, adapt.json.
    The base tokenizer is loaded from where the sweep found it; where that is gone the page has no playground and says
    so.

    \b
    Examples:
      vocabopt report reports/corpus-mistral-7b-v1
      vocabopt report reports/news --quiet
    """
    from vocabopt.report.page import rebuild_report

    if run_dir.is_dir():
        hold(run_dir)
    page = rebuild_report(run_dir)
    if not output.quiet:
        click.echo(f"Report: {page}")


# --- merge, verify ---------------------------------------------------------------------------------------------------


@command("vocabopt.options:MergeOptions")
def merge(values: Values, output: Output) -> None:
    """Write the base tokenizer with new tokens merged in, and the proof that nothing else changed.

    DIR is the run directory of a sweep; or name --base and --vocab. Writes tokenizer.json, tokenizer_config.json, which
    AutoTokenizer loads, extension.json (each new token, what it replaces, how often it occurs) and the publisher's own
    form of the base: tokenizer.model, a .tiktoken file, tekken.json. Ids, merges and special tokens of the base stay as
    they are; the new ids follow its last. Then `vocabopt verify` runs on the two, and its table is printed.

    \b
    Examples:
      vocabopt merge reports/corpus-mistral-7b-v1
      vocabopt merge reports/corpus-mistral-7b-v1 --size 2000 --pad-to 128 --out my-tokenizer
      vocabopt merge --base ./Llama-2-7b --vocab chinese_sp.model --out joined
    """
    from vocabopt.merging.run import options_to_verify
    from vocabopt.options import MergeOptions
    from vocabopt.records import write_record
    from vocabopt.verification import verify

    options, console = MergeOptions(**values), output.console()
    out = options.out or (options.run_dir or Path()) / "tokenizer"
    hold(out)
    merged = _merged(options, out, console)
    base = merged.base
    told = options_to_verify(merged, options.run_dir)
    try:
        checked = verify(base.source, str(out), told, console, proof=merged.record.proof)
    except KeyboardInterrupt:
        click.echo(
            f"{printable(out)}: is written, but not verified: run `vocabopt verify {base.source} {printable(out)}`.",
            err=True,
        )
        raise
    write_record(out / "verify.json", checked)
    if not output.quiet:
        print_tables(lambda width: _merge_tables(options, out, merged, checked))
    if not checked.passed and merged.addition.method != "union":
        failed = ", ".join(check.name for check in checked.checks if check.status == "fail")
        click.echo(f"Error: {printable(out)}: failed: {failed}. See {printable(out / 'verify.json')}.", err=True)
        raise click.exceptions.Exit(1)


def _merged(options: "MergeOptions", out: Path, console: "Console") -> "Merged":
    from vocabopt.merging.run import merge_run, merge_vocabulary
    from vocabopt.tokenizer import load_base

    options.check_source()
    base = options.base and load_base(options.base, pattern=options.pattern, specials=options.specials)
    common: Any = {"pad_to": options.pad_to, "console": console}
    if options.run_dir is not None:
        return merge_run(
            options.run_dir, out, n_added=options.n_added, method=options.method, expected_base=base or None, **common
        )
    assert base, "checked by check_source"
    assert options.vocab is not None, "checked by check_source"
    return merge_vocabulary(base, options.vocab, out, scores=options.scores or "unique", **common)


def _merge_tables(options: "MergeOptions", out: Path, merged: "Merged", checked: "Report") -> Iterator[Any]:
    from vocabopt.wording import proof_note

    yield from _verify_tables(checked)
    if options.run_dir is not None and (check := _check_of_protected(options.run_dir, out, merged)) is not None:
        yield f"Not checked above: the text that the sweep protected. Check it with: {check}"
    proof, n_added = merged.record.proof, merged.addition.n_added
    if proof is None:
        yield "No text was counted, so no count is promised or proved."
    else:
        yield proof_note(proof.documents)
    added = f"with {counted(n_added, 'added token')}" if n_added else "itself, since no token was to be added"
    if n_added and merged.record.reused:
        added = f"with {counted(n_added, 'row')} swapped, and as many rows as before"
    yield f"{printable(out)}: {merged.base.name} {added}: {', '.join(merged.files)}."
    yield how_to_load(out, "AutoTokenizer")
    if not checked.passed and merged.addition.method == "union":
        yield "Joined pieces promise nothing of other text: what fails above is what joining costs (no error)."


def _check_of_protected(run_dir: Path, out: Path, merged: "Merged") -> str | None:
    """The command that checks the sweep's protected text, which the table lacks where there is no target script."""
    from vocabopt.run_directory import paths_of_sets

    if merged.record.scripts or not merged.record.protected_sets:
        return None
    base = merged.base
    words = ["vocabopt", "verify", base.source, str(out)]
    for option, value in (("--pattern", base.pattern), ("--specials", base.specials)):
        words += [] if value is None else [option, value]
    for name, path in paths_of_sets(run_dir, merged.record.protected_sets).items():
        words += ["--protect", f"{name}={path}"]
    return shlex.join(words)


@command("vocabopt.options:VerifyOptions", prints="verify.json")
@click.argument("base")
@click.argument("new")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to write verify.json.  [default: into NEW's folder]"
)
def verify(values: Values, output: Output, *, base: str, new: str, out: Path | None) -> None:
    """Prove that NEW is BASE with new tokens and nothing else changed: a table of what passes and what fails.

    BASE and NEW: Hugging Face folders, files, hub ids as --base takes them; NEW need not be made here. The last line
    says PASS, WARN or FAIL. Exit code 1 if anything fails; a warning, such as text that nothing guards, leaves it at 0.
    What fails or warns shows up to five examples, of each kind one first. Writes verify.json.

    \b
    Examples:
      vocabopt verify mistral-7b-v1 my-tokenizer
      vocabopt verify ./Llama-2-7b ./my-tokenizer --text ko=korean.txt --text en=english.txt
    """
    from vocabopt.records import json_of, write_record
    from vocabopt.verification import VerifyOptions
    from vocabopt.verification import verify as compare

    target = out or (Path(new) / "verify.json" if Path(new).is_dir() else None)
    if target is not None:
        hold_file(target, is_named=out is not None)
    checked = compare(base, new, VerifyOptions(**values), output.console())
    output.show(json_of(checked) if output.as_json else None, lambda width: _verify_tables(checked))
    if target is not None:
        # After the table, so that what was found is not lost where nothing can be written.
        write_record(target, checked)
        if not (output.as_json or output.quiet):
            click.echo(f"Written: {target}")
    if not checked.passed:
        raise click.exceptions.Exit(1)


def _verify_tables(checked: "Report") -> Iterator[Any]:
    from vocabopt.verification.report import failures, report_table

    yield report_table(checked)
    yield from failures(checked)


# --- sensitivity, analyze --------------------------------------------------------------------------------------------


@command("vocabopt.options:SensitivityOptions", prints="sensitivity.json")
def sensitivity(values: Values, output: Output) -> None:
    """Measure several corpora side by side: does the choice of text move the size, or the tokens?

    CORPUS: PATH or NAME=PATH, as `sweep` reads them. Each gets a curve, a knee and a recommendation, and all together
    too; then how much of one vocabulary another shares, and how many more tokens a text takes with tokens learned from
    another than with its own, on held-out text. Writes sensitivity.json, sensitivity.html and curves/.

    \b
    Examples:
      vocabopt sensitivity wiki=wiki.jsonl reviews=reviews.txt law/ --out reports/sources
      vocabopt sensitivity wiki.txt news.txt --size 10000 --out reports/two
    """
    from vocabopt.options import SensitivityOptions
    from vocabopt.records import json_of
    from vocabopt.sensitivity import run_sensitivity

    options = SensitivityOptions(**values)
    hold(options.out)
    record = run_sensitivity(options, output.console())

    def shown(width: int) -> Iterator[Any]:
        from vocabopt.report.sensitivity import sentence, tables
        from vocabopt.wording import proof_note

        for table in tables(record):
            yield from (table.for_terminal(width), "")
        yield from (sentence(record), proof_note(record.proof), f"Report: {options.out / 'sensitivity.html'}")

    output.show(json_of(record) if output.as_json else None, shown)


@command("vocabopt.options:AnalyzeOptions", prints="analyze.json")
def analyze(values: Values, output: Output) -> None:
    """Compare any tokenizers on your text: what they cost, what they cut, what of their vocabulary is used.

    TOKENIZER: PATH or NAME=PATH, where PATH is a Hugging Face folder, file or hub id as --base of sweep takes it; kinds
    that cannot be grown (Unigram, WordPiece) are read as well. What is not defined, such as parity without aligned
    text, is a dash.

    \b
    Examples:
      vocabopt analyze mistral-7b-v1 my-tokenizer --text ko=korean.txt --text en=english.txt
      vocabopt analyze old=./a/model new=./b/model --text de=de.txt --text en=en.txt --parity en --out compared
    """
    from vocabopt.analysis.page import write_analysis
    from vocabopt.analysis.run import analyze as compare
    from vocabopt.analysis.tables import all_tables, notes
    from vocabopt.folder import check_own_folder
    from vocabopt.options import AnalyzeOptions
    from vocabopt.records import json_of

    options = AnalyzeOptions(**values)
    if options.out is not None:
        hold(options.out)
        check_own_folder(options.out, "analyze.json")
    record = compare(options, output.console())

    def shown(width: int) -> Iterator[Any]:
        for table in all_tables(record, width=width):
            yield from (table, "")
        yield from notes(record)

    output.show(json_of(record) if output.as_json else None, shown)
    if options.out is not None:
        page = write_analysis(options.out, record)
        if not (output.as_json or output.quiet):
            print_tables(lambda width: [f"Report: {page}"])
