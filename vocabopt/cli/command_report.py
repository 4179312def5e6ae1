"""`vocabopt report`."""

from pathlib import Path

import click

from vocabopt.cli.shared import hold


@click.command()
@click.argument("run_dir", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--quiet", is_flag=True, help="Print nothing.")
def report(run_dir: Path, quiet: bool) -> None:
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
    from vocabopt.report.rebuild import rebuild_report

    if run_dir.is_dir():
        hold(run_dir)
    page = rebuild_report(run_dir)
    if not quiet:
        click.echo(f"Report: {page}")
