"""`vocabopt analyze`."""

from pathlib import Path
from typing import Any

import click

from vocabopt.analyze import DEFAULT_MORPHEME_DOCUMENTS, DEFAULT_RARE
from vocabopt.cli.shared import hold, named_paths, plain_console, rank_file_options, reading_options
from vocabopt.text.utf8 import json_bytes


@click.command()
@click.argument("tokenizers", nargs=-1, metavar="TOKENIZER...")
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="NAME=PATH",
    callback=named_paths("text"),
    help="Text to encode, a set of its own; may be repeated.",
)
@click.option(
    "--parity",
    metavar="NAME",
    help="Text set to compare the others with, document by document: all must be aligned with it.",
)
@click.option(
    "--rare",
    default=DEFAULT_RARE,
    show_default=True,
    metavar="N",
    help="Tokens seen, but fewer times than this in all text, are counted as rare.",
)
@click.option(
    "--morpheme-documents",
    default=DEFAULT_MORPHEME_DOCUMENTS,
    show_default=True,
    metavar="N",
    help="Documents of each Korean set to split into morphemes, picked by content; 0 leaves that out.",
)
@rank_file_options
@reading_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder for analyze.json, analyze.html and figures/.")
@click.option("--json", "as_json", is_flag=True, help="Print analyze.json instead of the tables.")
@click.option("--quiet", is_flag=True, help="No progress and no tables.")
def analyze(as_json: bool, quiet: bool, **values: Any) -> None:
    """Compare any tokenizers on your text: what they cost, what they cut, what of their vocabulary is used.

    TOKENIZER: PATH or NAME=PATH, where PATH is a Hugging Face folder, file or hub id as --base of sweep takes it; kinds
    that cannot be grown (Unigram, WordPiece) are read as well. What is not defined, such as parity without aligned
    text, is a dash.

    \b
    Examples:
      vocabopt analyze mistral-7b-v1 my-tokenizer --text ko=korean.txt --text en=english.txt
      vocabopt analyze old=./a/model new=./b/model --text de=de.txt --text en=en.txt --parity en --out compared
    """
    from vocabopt.analyze.options import AnalyzeOptions
    from vocabopt.analyze.run import analyze as compare
    from vocabopt.analyze.tables import all_tables, notes
    from vocabopt.artifacts import check_own_folder
    from vocabopt.console import Console

    options = AnalyzeOptions(**values)
    if options.out is not None:
        hold(options.out)
        check_own_folder(options.out, "analyze.json")
    record = compare(options, Console(quiet=quiet or as_json))
    if as_json:
        click.echo(json_bytes(record))
    elif not quiet:
        console = plain_console()
        for table in all_tables(record, width=console.width):
            console.print(table)
            console.print()
        for note in notes(record):
            console.print(note, markup=False, highlight=False, soft_wrap=True)
    if options.out is not None:
        from vocabopt.analyze.page import write_analysis

        page = write_analysis(options.out, record)
        if not (as_json or quiet):
            console.print(f"Report: {page}", markup=False, highlight=False, soft_wrap=True)
