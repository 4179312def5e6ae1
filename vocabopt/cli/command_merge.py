"""`vocabopt merge`."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vocabopt.amounts import counted
from vocabopt.cli.command_verify import print_report
from vocabopt.cli.shared import hold, how_to_load, rank_file_options
from vocabopt.errors import BASES, OptionError
from vocabopt.text.utf8 import printable

if TYPE_CHECKING:
    from vocabopt.merge.run import Merged


@click.command()
@click.argument("run_dir", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--size", "n_added", type=int, metavar="N", help="Tokens to add.  [default: the size the sweep chose]")
@click.option(
    "--method",
    type=click.Choice(["grow", "union"]),
    help="Tokens of the curve, or of the union measured beside it.  [default: what the sweep was run with]",
)
@click.option(
    "--base", help=f"Without DIR: the base to join --vocab to: {BASES}. With DIR: the base that the sweep must be of."
)
@rank_file_options
@click.option("--vocab", metavar="FILE.model", help="SentencePiece vocabulary to join to --base; needs no sweep.")
@click.option(
    "--scores",
    type=click.Choice(["unique", "zero"]),
    help="Scores of the pieces of --vocab: each its own below the base's, or all zero as Chinese-LLaMA has them, to "
    "compare with.  [default: unique]",
)
@click.option(
    "--pad-to",
    type=click.IntRange(min=1),
    metavar="N",
    help="Rows of the model's table are to be a multiple of this: recorded in extension.json, no token is made of it.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the merged tokenizer.  [default: DIR/tokenizer]"
)
@click.option("--quiet", is_flag=True, help="Print nothing.")
def merge(
    run_dir: Path | None, out: Path | None, quiet: bool, base: str | None, vocab: str | None, **values: Any
) -> None:
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
    from vocabopt.console import Console
    from vocabopt.verify import VerifyOptions, verify, write_report

    console = Console(quiet=quiet)
    if out is None and run_dir is None and base is not None and vocab is not None:
        raise OptionError("No folder to write to. Name one with --out.")
    out = out or (run_dir or Path()) / "tokenizer"
    hold(out)
    merged = _merge(run_dir, out, base, vocab, console, **values)
    told = merged.base
    try:
        report = verify(told.source, str(out), VerifyOptions(pattern=told.pattern, specials=told.specials), console)
    except KeyboardInterrupt:
        click.echo(
            f"{printable(out)}: is written, but not verified: run `vocabopt verify {told.source} {printable(out)}`.",
            err=True,
        )
        raise
    proof = merged.record["proof"]
    write_report(replace(report, proof=proof), out / "verify.json")
    if not quiet:
        print_report(report)
        if run_dir is not None and (command := _to_check_protected(run_dir, out, merged)) is not None:
            click.echo(f"Not checked above: the text that the sweep protected. Check it with: {command}")
        click.echo("No text was counted, so no count is promised or proved." if proof is None else _proved(proof))
        n_added = merged.addition.n_added
        added = f"with {counted(n_added, 'added token')}" if n_added else "itself, since no token was to be added"
        click.echo(f"{printable(out)}: {told.name} {added}: {', '.join(merged.files)}.")
        click.echo(how_to_load(out, "AutoTokenizer"))
    # The union promises nothing of other text: its table tells.
    if not report.passed and merged.addition.method == "union" and not quiet:
        click.echo("Joined pieces promise nothing of other text: what fails above is what joining costs (no error).")
    if not report.passed and merged.addition.method == "grow":
        failed = ", ".join(check.name for check in report.checks if check.status == "fail")
        click.echo(f"Error: {printable(out)}: failed: {failed}. See {printable(out / 'verify.json')}.", err=True)
        raise click.exceptions.Exit(1)


def _to_check_protected(run_dir: Path, out: Path, merged: "Merged") -> str | None:
    """The command that checks the sweep's protected text, which the table above needs where there is no target."""
    from vocabopt.run_files import protected_paths

    if merged.record["scripts"] or not merged.record["protected_sets"]:
        return None
    told = merged.base
    words = ["vocabopt", "verify", told.source, str(out)]
    for option, value in (("--pattern", told.pattern), ("--specials", told.specials)):
        words += [] if value is None else [option, value]
    for name, path in protected_paths(run_dir, merged.record["protected_sets"]).items():
        words += ["--protect", f"{name}={path}"]
    return shlex.join(words)


def _proved(proof: Mapping[str, Any]) -> str:
    from vocabopt.records import DocumentProof
    from vocabopt.wording import proof_note

    return proof_note(DocumentProof(**proof["documents"]))


def _merge(
    run_dir: Path | None,
    out: Path,
    base: str | None,
    vocab: str | None,
    console: Any,
    *,
    pattern: str | None,
    specials: str | None,
    scores: Any,
    pad_to: int | None,
    **of_run: Any,
) -> "Merged":
    from vocabopt.merge.run import merge_run, merge_vocabulary
    from vocabopt.tokenizer import load_base

    for option, value in (("--pattern", pattern), ("--specials", specials)):
        if value is not None and base is None:
            raise OptionError(f"{option} {value}: completes --base; a sweep's folder remembers its own. Leave it out.")
    loaded = None if base is None else load_base(base, pattern=pattern, specials=specials)
    if run_dir is not None:
        for option, value in (("--vocab", vocab), ("--scores", scores)):
            if value is not None:
                raise OptionError(
                    f"{option} {value}: a sweep has its own. Leave it out, or leave DIR out and name --base."
                )
        return merge_run(run_dir, out, expected_base=loaded, pad_to=pad_to, console=console, **of_run)
    if loaded is None or vocab is None:
        raise OptionError("Nothing to merge. Name the folder of a sweep, or --base and --vocab.")
    for option, value in (("--size", of_run["n_added"]), ("--method", of_run["method"])):
        if value is not None:
            raise OptionError(f"{option} {value}: is for a sweep's folder; all new pieces of --vocab are joined.")
    return merge_vocabulary(loaded, Path(vocab), out, scores=scores or "unique", pad_to=pad_to, console=console)
