"""`vocabopt report`: page and figures of a run, from its folder alone."""

from pathlib import Path
from typing import Any

from vocabopt.artifacts import read_json
from vocabopt.choice.complexity import points_shown
from vocabopt.errors import RunDirectoryError, VocaboptError
from vocabopt.fields import Shape, check_fields
from vocabopt.report import write_report
from vocabopt.report.fields import ADAPT, ANALYSIS, PREPARE, VERIFY
from vocabopt.run_files import read_curve, read_run, read_sweep, read_union
from vocabopt.text.documents import read_samples
from vocabopt.tokenizer import Base, load_base


def rebuild_report(run_dir: Path) -> Path:
    """Write report.html and figures/ anew from the files of a finished run; the text is not needed.

    The base tokenizer is loaded from where it was. Where it is not there any more, or is another by now, the page has
    no playground and says why.

    Raises:
        RunDirectoryError: no finished run, or one of its files is missing, broken, or of another version or run.
    """
    if not run_dir.is_dir():
        raise RunDirectoryError(f"{run_dir}: no such folder. Name the run directory of a sweep.")
    sweep = read_sweep(run_dir)
    curve = read_curve(run_dir, sweep)
    run = read_run(run_dir, next_step="Sweep the text into a new folder with --out.")
    base, base_problem = _base_of(sweep)
    return write_report(
        run_dir,
        {**sweep, "points": points_shown(sweep)},
        curve,
        run,
        read_union(run_dir, tuple(sweep["scripts"]), sweep["base"]["n_rows"]),
        samples=read_samples(run_dir),
        verify=_optional(run_dir / "tokenizer" / "verify.json", VERIFY, "Run `vocabopt merge` again."),
        base=base,
        analysis=_optional(run_dir / "analysis" / "analyze.json", ANALYSIS, "Run `vocabopt analyze` again."),
        adapt=_optional(run_dir / "adapt.json", ADAPT, "Run `vocabopt adapt` again."),
        prepare=_optional(run_dir / "prepare.json", PREPARE, "Sweep the prepared text again."),
        base_problem=base_problem,
    )


def _optional(path: Path, shape: Shape, next_step: str) -> dict[str, Any] | None:
    next_step = f"{next_step} Or remove the file."
    if not path.is_file():
        return None
    record = read_json(path, next_step=next_step)
    check_fields(record, shape, path, next_step)
    return record


def _base_of(sweep: dict[str, Any]) -> tuple[Base | None, str | None]:
    """The base of the sweep, loaded again; or None, and for the reader of the page why."""
    told = sweep["base"]
    try:
        base = load_base(told["source"], pattern=told.get("pattern"), specials=told.get("specials"))
    except VocaboptError as error:
        return None, f"the base tokenizer cannot be loaded any more ({error})"
    if base.sha256 != told["sha256"]:
        return None, (
            f"{told['source']} changed since the sweep (sha256 {base.sha256[:12]}..., then {told['sha256'][:12]}...), "
            "and its tokens would not be those of this curve."
        )
    return base, None
