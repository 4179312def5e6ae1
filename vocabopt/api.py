"""The public API: what the commands do, as functions and results for a notebook or another program.

Options have the names of the commands' options, with underscores: `--train-tokens` is `train_tokens`. Nothing prints,
exits, or changes threads, seeds or logging. Every error is a `VocaboptError`. `progress` is a function of your own:
`progress(step, done, total)`, called while a step works; `total` is None where it is not known.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from io import StringIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vocabopt.console import Advance, Console, Unit
from vocabopt.errors import OptionError
from vocabopt.folder import check_own_folder, folder_lock
from vocabopt.option_fields import flag_of, specs

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure
    from transformers import PreTrainedTokenizerBase

    from vocabopt.estimation import Estimate
    from vocabopt.records import Choice as ChoiceRecord
    from vocabopt.records import SetTokens, SweepRecord
    from vocabopt.swap.record import SwapRecord
    from vocabopt.verification import Report

PathArgument: TypeAlias = str | PathLike[str]
Progress: TypeAlias = Callable[[str, int, int | None], object]
Texts: TypeAlias = Mapping[str, PathArgument]

# --- Results ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """Which size to take, and why.

    Attributes:
        sweep: what sweep.json holds, this choice included.
        swap: what swap.json holds; None where no rows were swapped on this curve.
    """

    sweep: "SweepRecord" = field(repr=False)
    swap: "SwapRecord | None" = field(default=None, repr=False)

    @property
    def record(self) -> "ChoiceRecord":
        """`choice` of sweep.json: the rules, the knee with its window and interval, every option."""
        return self.sweep.choice

    @property
    def n_added(self) -> int:
        """Tokens to add; 0 where adding none is best."""
        return self.record.n_added

    @property
    def reason(self) -> str:
        """The decision in one sentence."""
        from vocabopt.wording import reason

        return reason(self.sweep)

    @property
    def swap_reason(self) -> str | None:
        """How many rows to swap, in one sentence: decided by the sweep alone; None where no rows were swapped."""
        from vocabopt.swap.tables import swap_reason

        return None if self.swap is None else swap_reason(self.sweep, self.swap)

    @property
    def rules(self) -> "pl.DataFrame":
        """A row per rule: `rule`, `n_added` (null where it names no size), `bound`, `second_opinion`, `sentence`."""
        import polars as pl

        from vocabopt.wording import rule_sentence

        rows = [
            (rule.name, rule.n_added, rule.bound, rule.second_opinion, rule_sentence(self.sweep, rule))
            for rule in self.record.rules
        ]
        kinds = {"n_added": pl.Int64, "bound": pl.String, "second_opinion": pl.Boolean, "sentence": pl.String}
        return pl.DataFrame(rows, schema={"rule": pl.String, **kinds}, orient="row")

    def __repr__(self) -> str:
        return f"<Choice: {self.n_added:,} added tokens>"

    def _repr_html_(self) -> str:
        swap = "" if self.swap_reason is None else f"<p>{escape(self.swap_reason)}</p>"
        return f"<p>{escape(self.reason)}</p>{swap}{html_table(self.rules)}"


class Sweep:
    """A finished sweep: a run directory, read when asked.

    Attributes:
        out: the run directory.
        record: what sweep.json holds.
    """

    def __init__(self, out: PathArgument) -> None:
        """Raises RunDirectoryError: there is no finished sweep, or a file of it is missing or damaged."""
        from vocabopt.run_directory import read_sweep

        self.out = Path(out)
        self.record: SweepRecord = read_sweep(self.out)

    def __repr__(self) -> str:
        return f"<Sweep {self.out}: {self.record.base.name}, {self.choice.n_added:,} tokens recommended>"

    @cached_property
    def curve(self) -> "pl.DataFrame":
        """One row per added token: `rank`, `piece`, `bytes`, `kind`, and per text set `n_tokens_<set>` after it."""
        from vocabopt.run_directory import read_curve

        return read_curve(self.out, self.record)

    @property
    def choice(self) -> Choice:
        """What the sweep, or the last `choose`, decided."""
        from vocabopt.swap.record import read_swap

        return Choice(self.record, read_swap(self.out, self.record.curve_sha256))

    @property
    def points(self) -> "pl.DataFrame":
        """A row per size shown: `n_added`, `n_rows`, `ratio_embedding`, and per text set `n_tokens_*`, `ratio_input_*`.

        Ratios are to the base tokenizer on the same text (1.0 at size 0).
        """
        import polars as pl

        base = self.record.base
        rows = [
            {
                "n_added": point.n_added,
                "n_rows": point.n_rows_total,
                "ratio_embedding": base.ratio_embedding(point.n_rows_total),
                **self._columns(point.sets),
            }
            for point in self.record.points_shown
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    @property
    def terms(self) -> "pl.DataFrame | None":
        """Where terms were given (terms.json), a row per term and size: `term`, `n_added`, `pieces`,
        `pieces_after_space`, and from which sizes on it is one token: `one_token_at`, `one_token_after_space_at`.
        """
        import polars as pl

        from vocabopt.growth.terms import terms_of

        if (found := terms_of(self.out, self.record)) is None:
            return None
        rows = [
            {
                "term": term.term,
                "n_added": size,
                "pieces": list(term.alone.pieces[i]),
                "pieces_after_space": list(term.after_space.pieces[i]),
                "one_token_at": term.alone.one_token_at,
                "one_token_after_space_at": term.after_space.one_token_at,
            }
            for term in found.terms
            for i, size in enumerate(found.sizes)
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    @property
    def swap(self) -> "pl.DataFrame | None":
        """A row per number of rows swapped; None where `method="swap"` was not run on this curve.

        `n_swapped`, `is_choice`, and per text set `n_tokens_*` with the written tokenizer and `ratio_input_*`.
        """
        import polars as pl

        from vocabopt.swap.record import read_swap

        if (swap := read_swap(self.out, self.record.curve_sha256)) is None:
            return None
        rows = [
            {
                "n_swapped": point.n_swapped,
                "is_choice": point.n_swapped == swap.choice.n_swapped,
                **self._columns(point.sets),
            }
            for point in swap.points
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    def _columns(self, counts: "Mapping[str, SetTokens]") -> dict[str, Any]:
        """Tokens of each text set, and the ratio to those of the base, as columns of a row."""
        sets = self.record.sets
        return {
            **{f"n_tokens_{name}": given.n_tokens for name, given in counts.items()},
            **{f"ratio_input_{name}": sets[name].ratio_input(given.n_tokens) for name, given in counts.items()},
        }

    def plot(self) -> "Figure":
        """Both ratios over every size, with the choice: a matplotlib figure of its own, which pyplot does not hold."""
        from vocabopt.report.charts import complexity_figure
        from vocabopt.run_directory import read_run

        return complexity_figure(self.record, self.curve, read_run(self.out))

    def report(self) -> Path:
        """Write report.html and figures/ of the run anew, and return the page's path."""
        from vocabopt.report.page import rebuild_report

        return rebuild_report(self.out)

    def _repr_html_(self) -> str:
        drawn = StringIO()
        self.plot().savefig(drawn, format="svg")
        svg = drawn.getvalue()
        return f"<p>{escape(self.choice.reason)}</p>{svg[svg.index('<svg') :]}{html_table(self.points)}"


@dataclass(frozen=True)
class Verification:
    """What the checks of a tokenizer against its base found.

    Attributes:
        report: the checks with their numbers and examples, as in verify.json.
    """

    report: "Report" = field(repr=False)

    @property
    def passed(self) -> bool:
        """True where no check failed; warnings and checks that could not be made do not count."""
        return self.report.passed

    @property
    def verdict(self) -> str:
        """ "pass", "warn" or "fail": the worst of the checks."""
        return self.report.verdict

    @property
    def checks(self) -> "pl.DataFrame":
        """A row per check: `check`, `status` (pass, fail, warn, not_checked), `summary`, `n_examples`."""
        import polars as pl

        rows = [(check.name, check.status, check.summary, len(check.examples)) for check in self.report.checks]
        return pl.DataFrame(rows, schema=["check", "status", "summary", "n_examples"], orient="row")

    def _repr_html_(self) -> str:
        names = (self.report.new.name, self.report.base.name)
        return f"<p>{escape(names[0])} against {escape(names[1])}: {self.verdict.upper()}</p>{html_table(self.checks)}"


@dataclass(frozen=True)
class Merged:
    """A merged tokenizer.

    Attributes:
        out: the folder that `AutoTokenizer.from_pretrained` loads.
        n_added: tokens added.
        record: what extension.json holds: each new token, what it replaces, how often it occurs, the proof.
        verification: of the new tokenizer against its base.
    """

    out: Path
    n_added: int
    record: Mapping[str, Any] = field(repr=False)
    verification: Verification

    def load(self) -> "PreTrainedTokenizerBase":
        """The tokenizer in transformers (extra `verify`)."""
        from transformers import AutoTokenizer

        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self.out)
        return loaded

    def _repr_html_(self) -> str:
        return f"<p>{escape(str(self.out))}: {self.n_added:,} added tokens</p>{self.verification._repr_html_()}"


@dataclass(frozen=True)
class Analysis:
    """Tokenizers measured on the same texts.

    Attributes:
        record: what analyze.json holds.
    """

    record: Mapping[str, Any] = field(repr=False)

    @property
    def table(self) -> "pl.DataFrame":
        """A row per tokenizer and text set: `tokenizer`, `set`, and every number measured of the pair."""
        import polars as pl

        rows = [
            {"tokenizer": tokenizer["name"], "set": name, **_plain(counts)}
            for tokenizer in self.record["tokenizers"]
            for name, counts in tokenizer["sets"].items()
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    def _repr_html_(self) -> str:
        return html_table(self.table)


@dataclass(frozen=True)
class Prepared:
    """Prepared text.

    Attributes:
        out: the folder: `sweep` and every other command reads its clean text.
        record: what prepare.json holds.
    """

    out: Path
    record: Mapping[str, Any] = field(repr=False)

    @property
    def funnel(self) -> "pl.DataFrame":
        """A row per step: `step`, documents, bytes and tokens before and after it."""
        import polars as pl

        return pl.DataFrame(list(map(_plain, self.record["steps"])), infer_schema_length=None)

    def _repr_html_(self) -> str:
        return f"<p>{escape(str(self.out))}</p>{html_table(self.funnel)}"


# --- Functions -------------------------------------------------------------------------------------------------------


def sweep(
    *paths: PathArgument,
    base: str = "mistral-7b-v1",
    out: PathArgument | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Sweep:
    """Measure input and embedding complexity at every vocabulary size, and choose one: `vocabopt sweep`.

    Args:
        paths: text: files, folders, globs or URLs.
        base: the base tokenizer: a folder, a file, a hub id, or mistral-7b-v1.
        out: the run directory; None for reports/<corpus>-<base>.
        progress: called while a step works.
        options: those of `vocabopt sweep`: max_added=20_000, eval={"news": "news.txt"}, protect={"en": "english/"},
            text={"ko": "korean.txt", "ja": "japanese.txt"} for several targets ...

    Raises:
        VocaboptError: any of its kinds; the message names the value, the place and the next step.
    """
    from vocabopt.options import SweepOptions, default_out
    from vocabopt.pipeline import run_sweep

    texts = tuple(str(path) for path in paths)
    folder = default_out(texts, base, options.get("text", ())) if out is None else Path(out)
    made = options_of(SweepOptions, options, paths=texts, base=str(base), out=folder)
    with folder_lock(folder, "vocabopt.sweep"):
        run_sweep(made, console_of(progress))
    return Sweep(folder)


def estimate(
    *paths: PathArgument, base: str = "mistral-7b-v1", progress: Progress | None = None, **options: Any
) -> "Estimate":
    """Say how long a sweep takes and what memory it needs, from a sample of its text: `vocabopt sweep --estimate`.

    Nothing is written. The arguments are those of `sweep`.

    Returns:
        seconds per step, total_seconds, n_bytes_to_learn_all (memory), share_learned (of the text, with the memory
        there is) and bytes_per_second (counting, per process).

    Raises:
        VocaboptError: the text cannot be read, or its size is not known.
    """
    from vocabopt.estimation import estimated
    from vocabopt.options import SweepOptions, default_out

    texts = tuple(str(path) for path in paths)
    out = default_out(texts, base, options.get("text", ()))
    made = options_of(SweepOptions, options, paths=texts, base=str(base), out=out)
    return estimated(made, console_of(progress))


def open(run: PathArgument) -> Sweep:  # the name in the namespace vocabopt; nothing here opens files by itself
    """Read a finished sweep again.

    Raises:
        RunDirectoryError: there is none, or a file of it is missing or damaged.
    """
    return Sweep(run)


def choose(
    run: Sweep | PathArgument,
    *,
    model: str | None = None,
    rule: Literal["knee", "measured"] | None = None,
    probe: PathArgument | None = None,
    **options: Any,
) -> Choice:
    """Decide again on a finished sweep, without its text: `vocabopt choose`. The run keeps the new choice.

    Args:
        run: a sweep, or its run directory.
        model: the model to count from now on; None for that of the run.
        rule: which decides; None for "measured" where a probe of sizes was taken, else "knee".
        probe: the folder of `vocabopt probe --sizes`, whose sizes.json is copied into the run.
        options: those of `vocabopt choose`: window=(4_000, 24_000), train_tokens=10e9, serve_memory="24GB" ...

    Raises:
        RunDirectoryError, OptionError, ModelSpecError: no finished sweep; an option or a model that it cannot take.
    """
    from vocabopt.choice.choose import rechoose
    from vocabopt.choice.options import ChoiceOptions, RuleOptions

    sweep, made = _sweep_of(run), options_of(ChoiceOptions, options)
    by = RuleOptions(rule=rule, probe=None if probe is None else Path(probe))
    with folder_lock(sweep.out, "vocabopt.choose"):
        rechoose(sweep.out, made, model, by=by)
    sweep.record = Sweep(sweep.out).record
    return sweep.choice


def merge(
    run: Sweep | PathArgument,
    *,
    size: int | None = None,
    out: PathArgument | None = None,
    method: str | None = None,
    pad_to: int | None = None,
    progress: Progress | None = None,
) -> Merged:
    """Write the base tokenizer with new tokens, prove its counts, and verify it: `vocabopt merge DIR`.

    Args:
        run: a sweep, or its run directory.
        size: tokens to add; None for the run's choice.
        out: the tokenizer's folder; None for DIR/tokenizer.
        method: "grow", "swap" or "union"; None for what the sweep was run with.
        pad_to: rows of the model's tables are to be a multiple of it; recorded, no token is made of it.

    Raises:
        PromiseError: the tokenizer does not give the counts that the sweep promised; nothing is written.
        RunDirectoryError, OptionError: no finished sweep; a size outside the curve; a folder that holds another one.
    """
    from vocabopt.merging.run import merge_run, options_to_verify
    from vocabopt.records import json_of, write_record
    from vocabopt.verification import verify as compare

    if method not in (None, "grow", "union", "swap"):
        raise OptionError(f"method {method!r}: choose 'grow', 'swap', 'union', or None for that of the sweep.")
    sweep, console = _sweep_of(run), console_of(progress)
    folder = sweep.out / "tokenizer" if out is None else Path(out)
    with folder_lock(folder, "vocabopt.merge"):
        made = merge_run(sweep.out, folder, n_added=size, method=method, pad_to=pad_to, console=console)  # type: ignore[arg-type]
        options = options_to_verify(made, sweep.out)
        report = compare(made.base.source, str(folder), options, console, proof=made.record.proof)
        write_record(folder / "verify.json", report)
    return Merged(folder, made.addition.n_added, json_of(made.record), Verification(report))


def verify(
    base: PathArgument, new: "Merged | PathArgument", *, progress: Progress | None = None, **options: Any
) -> Verification:
    """Prove that one tokenizer is another plus new tokens, and that nothing else changed: `vocabopt verify`.

    Args:
        base, new: tokenizers, of any kind that can encode.
        options: those of `vocabopt verify`: text={"ko": "korean.txt"}, script="Hangul" ...

    Raises:
        BaseTokenizerError, OptionError, CorpusError: a tokenizer, an option or a text cannot be used.
    """
    from vocabopt.verification import VerifyOptions
    from vocabopt.verification import verify as compare

    other = new.out if isinstance(new, Merged) else new
    return Verification(compare(str(base), str(other), options_of(VerifyOptions, options), console_of(progress)))


def analyze(
    tokenizers: Iterable[PathArgument],
    text: Texts,
    *,
    out: PathArgument | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Analysis:
    """Measure tokenizers side by side on the same texts: `vocabopt analyze`.

    Args:
        tokenizers: PATH or NAME=PATH each.
        text: name of a text set -> path.
        out: folder for analyze.json, analyze.html and figures/; None writes nothing.
        options: those of `vocabopt analyze`: parity="en", rare=100 ...

    Raises:
        BaseTokenizerError, CorpusError, OptionError: a tokenizer, a text or an option cannot be used.
    """
    from vocabopt.analysis.page import write_analysis
    from vocabopt.analysis.run import analyze as measure
    from vocabopt.options import AnalyzeOptions
    from vocabopt.records import json_of

    named = tuple(str(tokenizer) for tokenizer in tokenizers)
    folder = None if out is None else Path(out)
    made = options_of(AnalyzeOptions, options, tokenizers=named, texts=_texts(text), out=folder)
    if folder is None:
        return Analysis(json_of(measure(made, console_of(progress))))
    with folder_lock(folder, "vocabopt.analyze"):
        check_own_folder(folder, "analyze.json")
        record = measure(made, console_of(progress))
        write_analysis(folder, record)
    return Analysis(json_of(record))


def prepare(
    *paths: PathArgument,
    out: PathArgument,
    steps: str | Sequence[str] | None = None,
    config: PathArgument | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Prepared:
    """Clean text step by step, and count what each step takes: `vocabopt prepare`.

    Args:
        paths: text: files, folders, globs or URLs.
        out: folder of the result; a run that was stopped goes on there.
        steps: names of steps in order, with default options; None for the default chain.
        config: or a .toml file with the steps and their options.
        options: those of `vocabopt prepare`: workers=2, encoding="auto" ...

    Raises:
        CorpusError, OptionError, RunDirectoryError: a text, an option or the folder cannot be used.
    """
    from vocabopt.preparation import DEFAULT_STEPS
    from vocabopt.preparation.options import PrepareOptions, chain, read_config
    from vocabopt.preparation.run import run_prepare
    from vocabopt.records import json_of

    if steps is not None and config is not None:
        raise OptionError(f"steps {steps!r} and config {config}: both name the steps. Give one of them.")
    names = DEFAULT_STEPS if steps is None else tuple(steps.split(",") if isinstance(steps, str) else steps)
    chosen = chain(names, place="steps") if config is None else read_config(Path(config))
    texts = tuple(str(path) for path in paths)
    made = options_of(PrepareOptions, options, paths=texts, out=Path(out), steps=chosen)
    with folder_lock(made.out, "vocabopt.prepare"):
        return Prepared(made.out, json_of(run_prepare(made, console_of(progress))))


# --- From arguments to options ---------------------------------------------------------------------------------------


def options_of(kind: type[Any], given: Mapping[str, Any], **fixed: Any) -> Any:
    """An options record from arguments by the names of the command's options; text is read as the command reads it.

    Raises:
        OptionError: there is no such option, or its value cannot be used.
    """
    known = option_names(kind)
    values = {}
    for name, value in given.items():
        if name not in known or known[name] in fixed:
            listed = ", ".join(sorted(option for option, key in known.items() if key not in fixed))
            raise OptionError(f"{name}: no such option. There are {listed}.")
        key = known[name]
        spec = next(spec for each, spec in specs(kind) if each.name == key)
        if isinstance(value, Mapping):
            value = _texts(value)
        elif isinstance(value, str) and spec.parse is not None:
            value = spec.parse(value, flag_of(kind, key))
        elif isinstance(value, float) and value.is_integer() and spec.parse is not None:
            value = int(value)  # 10e9 tokens
        values[key] = value
    return kind(**values, **fixed)


def option_names(kind: type[Any]) -> dict[str, str]:
    """The options of a record as arguments of a function: the name of the command's option -> the record's field."""
    return {flag_of(kind, each.name).removeprefix("--").replace("-", "_"): each.name for each, _ in specs(kind)}


def _texts(named: Texts) -> dict[str, str]:
    return {name: str(path) for name, path in named.items()}


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are a number or a text."""
    return {name: value for name, value in record.items() if isinstance(value, int | float | str | None)}


def _sweep_of(run: Sweep | PathArgument) -> Sweep:
    return run if isinstance(run, Sweep) else Sweep(run)


class _CallbackConsole(Console):
    """Nothing is printed; steps go to a function."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(quiet=True)
        self.progress = progress

    @contextmanager
    def step(self, name: str, total: int | None = None, unit: Unit = "tokens", before: int = 0) -> Iterator[Advance]:
        with super().step(name, total, unit, before):

            def advance(done: int, note: str = "") -> None:
                self.progress(name, done, total)

            advance(before)
            yield advance


def console_of(progress: Progress | None) -> Console:
    return Console(quiet=True) if progress is None else _CallbackConsole(progress)


# --- In a notebook ---------------------------------------------------------------------------------------------------


def html_table(table: "pl.DataFrame") -> str:
    """A table without its types: numbers to the right, floats to four digits, a dash for what is not known."""

    def cell(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f'<td style="text-align: left">{escape("–" if value is None else str(value))}</td>'
        return f'<td style="text-align: right">{value:{",.4f" if isinstance(value, float) else ","}}</td>'

    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in table.iter_rows())
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
