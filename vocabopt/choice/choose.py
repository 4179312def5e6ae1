"""One recommendation from the rules: the knee, clipped by what was stated of training and memory, rounded.

The sweep makes it; `vocabopt choose` makes it again on the files of a run, without the text.
"""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from vocabopt.choice.complexity import (
    EmbeddingTable,
    SizeCurve,
    chosen_table,
    points,
    size_curve,
)
from vocabopt.choice.cost import BYTES_PER_KV_VALUE, BYTES_PER_LOGIT, ModelCost, model_cost
from vocabopt.choice.knee import (
    MIN_INTERVAL_FOLDS,
    N_RESAMPLED_SIZES,
    WINDOW_ENDS,
    WINDOW_STARTS,
    chord_knee,
    knee_interval,
    window_grid,
)
from vocabopt.choice.measured import SizesRecord, keep_sizes, measured_answer, read_sizes, sizes_of_probe
from vocabopt.choice.options import DEFAULT_WINDOW, ChoiceOptions, DecidingRule, RuleOptions
from vocabopt.choice.rules import MUV_STEP, RISE, Question, answers, exposure_need
from vocabopt.errors import OptionError
from vocabopt.model.spec import load_model_spec
from vocabopt.records import (
    Answer,
    Choice,
    CostRecord,
    Flops,
    PaperAxis,
    RuleKind,
    SweepRecord,
    Swept,
    Targets,
    UnionKnee,
    UnionRecord,
    write_record,
)
from vocabopt.run_directory import read_curve, read_folds, read_swept, read_union
from vocabopt.text.sets import ALIGNED, HELDOUT, TRAIN, WEIGHTED, set_of

#: Where a curve ends before the paper's window does, the window is this share of its end, to its end.
SHORT_WINDOW_START = 0.2
#: What moves an answer and is no option: kept with the choice all the same.
FIXED: dict[str, float | tuple[float, ...]] = {
    "short_window_start": SHORT_WINDOW_START,
    "window_starts": WINDOW_STARTS,
    "window_ends": WINDOW_ENDS,
    "n_resampled_sizes": N_RESAMPLED_SIZES,
    "min_interval_folds": MIN_INTERVAL_FOLDS,
    "muv_step": MUV_STEP,
    "flops_rise": RISE,
    "bytes_per_kv_value": BYTES_PER_KV_VALUE,
    "bytes_per_logit": BYTES_PER_LOGIT,
}


def choose(
    curve: SizeCurve,
    folds: pl.DataFrame,
    table: EmbeddingTable,
    options: ChoiceOptions,
    union: UnionRecord | None = None,
    targets: Targets | None = None,
    *,
    measured: SizesRecord | None = None,
    rule: DecidingRule | None = None,
) -> Choice:
    """The recommended size of a curve.

    Args:
        folds: folds.parquet, for the interval. union: union.json where that method was measured, for the paper's axis.
        targets: where there are several.
        measured: what a probe of sizes on this curve measured. rule: which decides; None for "measured" where there is
            a probe, else "knee".

    Raises:
        OptionError: the set or window of the options is not one of this curve.
    """
    window = _window(curve, options)
    text_set = _text_set(curve, options) if targets is None else _of_targets(curve, options, targets, window[1])
    question = Question(
        curve=curve,
        text_set=text_set,
        window=window,
        ratio_embedding=table.all_rows(curve.end) / table.base_n_rows,
        table=table,
        cost=model_cost(table, curve.end),
        options=options,
    )
    # Step 1: the knee of every text set over the window, and every rule's answer.
    span = slice(window[0], window[1] + 1)
    cost = question.ratio_embedding[span]
    knees = {
        name: chord_knee(range(window[0], window[1] + 1), cost, curve.ratio_input(name)[span])
        for name, n_tokens in curve.n_tokens.items()
        if n_tokens[0]
    }
    knee = knees.get(text_set)
    rules = [*measured_answer(measured), *answers(question, knee)]
    # Step 2: which of them decides, and what holds it back.
    decides, named = _named(question, knee, rules, rule)
    clips = ("memory-train", "memory-serve", f"exposure-{options.min_exposure}")
    limits: list[tuple[int, RuleKind | None]] = [
        (a.n_added, a.kind) for a in rules if a.name in clips and a.n_added is not None
    ]
    limit, clipped_by = min([*limits, (curve.end, None)], key=lambda limit: limit[0])
    # Step 3: rounding.
    n_added = _rounded(min(named, limit), limit, table, options.row_multiple)
    if options.train_tokens is None:
        # Without a training plan, exposure says what the recommendation needs.
        rules = [
            answer
            if answer.n_times is None
            else msgspec.structs.replace(answer, n_tokens_needed=exposure_need(curve, n_added, answer.n_times))
            for answer in rules
        ]
    (point,) = points((n_added,), curve.n_tokens, table)
    return Choice(
        rule=decides,
        n_added=n_added,
        knee=knee,
        window=window,
        set=text_set,
        named=named,
        limit=limit,
        clipped_by=clipped_by if limit < named else None,
        interval=knee_interval(
            folds,
            text_set,
            curve.n_tokens[text_set],
            question.ratio_embedding,
            window,
            knee=knee,
            share=options.interval_share,
            n_resamples=options.n_resamples,
            seed=options.seed,
        ),
        windows=window_grid(question.ratio_embedding, question.ratio_input, DEFAULT_WINDOW[1]),
        knees=knees,
        rules=tuple(rules),
        paper_axis=paper_axis(union, n_added),
        union_knees=_union_knees(union, text_set, table.base_n_rows),
        model_cost=None if question.cost is None else _cost_record(question.cost, options.context_tokens),
        options=options,
        fixed=FIXED,
        point=point,
    )


def decided(
    sweep: Swept,
    curve: pl.DataFrame,
    folds: pl.DataFrame,
    options: ChoiceOptions,
    union: UnionRecord | None,
    *,
    measured: SizesRecord | None = None,
    rule: DecidingRule | None = None,
) -> SweepRecord:
    """sweep.json with its choice (as `choose`), and the scaffold rows that are counted at its size too."""
    sizes = size_curve(curve, sweep.sets, sweep.exhausted_at)
    table = EmbeddingTable(base_n_tokens=sweep.base.n_tokens, base_n_rows=sweep.base.n_rows, model=sweep.model)
    choice = choose(sizes, folds, table, options, union, sweep.targets, measured=measured, rule=rule)
    shown = (*(point.n_added for point in sweep.points), choice.n_added)
    n_used = sizes.n_used[TRAIN]
    n_scaffold = {str(size): size - int(n_used[size]) for size in shown if 0 < size <= sizes.end}
    fields = {name: getattr(sweep, name) for name in Swept.__struct_fields__}
    return SweepRecord(**fields, n_scaffold=n_scaffold, choice=choice)


def rechoose(
    run_dir: Path, options: ChoiceOptions, model: str | None = None, *, by: RuleOptions | None = None
) -> SweepRecord:
    """Decide again on a finished sweep and write its sweep.json anew; text and counts are not touched.

    Args:
        model: another model whose embedding, compute and memory are counted from now on; None for that of the run.
        by: which rule decides, and where the probe of sizes is; None for the rule's default and the run's own.

    Raises:
        RunDirectoryError: no finished sweep, or a file of it is missing, broken or of another run.
        OptionError, ModelSpecError: the window, set, model or probe is not one for this curve.
    """
    sweep = read_swept(run_dir)
    curve = read_curve(run_dir, sweep)
    folds = read_folds(run_dir, sweep, curve)
    if model is not None:
        table = chosen_table(load_model_spec(model), sweep.base.name, sweep.base.n_tokens)
        n_tokens = size_curve(curve, sweep.sets, sweep.exhausted_at).n_tokens
        sweep = msgspec.structs.replace(
            sweep,
            model=table.model,
            base=msgspec.structs.replace(sweep.base, n_rows=table.base_n_rows),
            points=points([point.n_added for point in sweep.points], n_tokens, table),
            options=replace(sweep.options, model=model),
        )
    by = by or RuleOptions()
    measured = read_sizes(run_dir, sweep) if by.probe is None else sizes_of_probe(run_dir, by.probe, sweep)
    if by.rule == "measured" and (measured is None or measured.fit is None):
        raise OptionError(
            f"--rule measured: nothing was measured at sizes of {run_dir} on this model. Run `vocabopt probe MODEL "
            f"--run {run_dir} --sizes ... --out DIR` and name its folder with --probe DIR."
        )
    union = read_union(run_dir, sweep.scripts, sweep.base.n_rows)
    record = decided(sweep, curve, folds, options, union, measured=measured, rule=by.rule)
    # After the decision, so that a window or set that is refused leaves the folder as it was.
    if by.probe is not None and measured is not None:
        keep_sizes(run_dir, measured)
    write_record(run_dir / "sweep.json", record)
    return record


# --- Which set, which window, which rule ------------------------------------------------------------------------------


def _text_set(curve: SizeCurve, options: ChoiceOptions) -> str:
    if options.decide_by is not None:
        raise OptionError(
            f"--decide-by {options.decide_by}: is about several targets, and this run has one. Leave it out."
        )
    return _named_set(curve, options)


def _of_targets(curve: SizeCurve, options: ChoiceOptions, targets: Targets, end: int) -> str:
    """The set named; else the sum of the targets; or the text of the target served worst at the window's end: with most
    of its tokens left, or with most tokens of aligned text where rows were shared by that."""
    by = options.decide_by or ("worst" if targets.balance == "parity" else "sum")
    if options.text_set is not None and options.decide_by is not None:
        raise OptionError(f"--set {options.text_set}, --decide-by {by}: both name what to decide on. Give one of them.")
    if options.text_set is not None:
        return _named_set(curve, options)
    part = curve.decisive_set
    if by == "sum":
        return WEIGHTED if targets.is_weighted and part == HELDOUT else part
    # As `Targets.measured_sets`: text of one kind for all targets.
    of_part = {kind: [set_of(kind, target) for target in targets.names] for kind in (HELDOUT, TRAIN)}
    has_all = {kind: all(curve.n_tokens[name][0] for name in names) for kind, names in of_part.items()}
    names = of_part[HELDOUT if has_all[HELDOUT] else TRAIN]
    if targets.balance == "parity" and targets.parity is not None:
        # Who is served worst is told as the growth pass told it: by tokens for the same content.
        aligned = [int(curve.n_tokens[set_of(ALIGNED, target)][end]) for target in targets.names]
        return names[aligned.index(max(aligned))]
    return max(names, key=lambda name: float(curve.ratio_input(name)[end]))


def _named_set(curve: SizeCurve, options: ChoiceOptions) -> str:
    if options.text_set is None:
        return curve.decisive_set
    if options.text_set not in curve.n_tokens:
        raise OptionError(f"--set {options.text_set}: this run has {', '.join(curve.n_tokens)}. Name one of these.")
    if not curve.n_tokens[options.text_set][0]:
        raise OptionError(f"--set {options.text_set}: this set has no tokens. Name another of this run.")
    return options.text_set


def _window(curve: SizeCurve, options: ChoiceOptions) -> tuple[int, int]:
    if options.window is None:
        return DEFAULT_WINDOW if curve.end >= DEFAULT_WINDOW[1] else (round(curve.end * SHORT_WINDOW_START), curve.end)
    if options.window[1] > curve.end:
        why = "where the text ran dry" if curve.exhausted else "where --max-added ended it"
        raise OptionError(
            f"--window {options.window[0]}:{options.window[1]}: the curve ends at {curve.end:,} added tokens, {why}. "
            "Choose a window within it."
        )
    return options.window


def _named(question: Question, knee: int | None, rules: list[Answer], rule: DecidingRule | None) -> tuple[str, int]:
    """What was measured, where it was and no other rule is asked for; the knee; else padding rows that are free; else
    the smallest of the rules without a window that has an answer."""
    if rule != "knee" and (found := [a.n_added for a in rules if a.kind == "measured" and a.n_added is not None]):
        return "measured", found[0]
    window, table, ratio = question.window, question.table, question.ratio_input
    if knee is not None:
        return "knee", knee
    if len(ratio) and ratio[window[1]] < ratio[window[0]] and table.n_rows(window[1]) == table.base_n_rows:
        # Where padding rows take all of the window, tokens cost nothing and there is no knee: take them.
        return "padding", window[1]
    # A rule that the curve does not bound names its end, so it decides only where no other does.
    able = [a for a in rules if a.kind in ("flops", "used", "marginal") and a.n_added is not None]
    sizes = [(a.n_added or 0, a.name, a.bound == "at") for a in able]
    named, smallest, is_bounded = min(sizes, default=(0, "none", True))
    return (smallest if is_bounded else "end"), named


def _rounded(size: int, limit: int, table: EmbeddingTable, multiple: int) -> int:
    """The size nearest to this one, at least 1 and within the limit, whose total rows are a multiple."""
    if size == 0 or table.n_rows(size) == table.base_n_rows:
        return size
    below = (table.base_n_tokens + size) // multiple * multiple - table.base_n_tokens
    within = [candidate for candidate in (below, below + multiple) if 1 <= candidate <= limit]
    return min(within, key=lambda candidate: abs(candidate - size)) if within else size


# --- What stands with the size ----------------------------------------------------------------------------------------


def paper_axis(union: UnionRecord | None, n_added: int) -> PaperAxis | None:
    """`n_added` as the paper counts it, what the base has of the vocabulary included; linear between measured sizes.

    None where no union was measured, or not up to this size.
    """
    measured = () if union is None else union.points
    rows = [point.n_added for point in measured]
    if n_added <= 0 or not rows or not rows[0] <= n_added <= rows[-1]:
        return None
    columns = [point.vocab_size for point in measured], [point.n_overlap for point in measured]
    vocab_size, n_overlap = (round(float(np.interp(n_added, rows, column))) for column in columns)
    return PaperAxis(vocab_size=vocab_size, n_overlap=n_overlap)


def _union_knees(union: UnionRecord | None, text_set: str, base_n_rows: int) -> tuple[UnionKnee, ...]:
    """The knee among the vocabularies trained apart, over windows from the first to the third and each later one."""
    measured = () if union is None else union.points
    found = []
    for end in range(3, len(measured) + 1):
        window = measured[:end]
        knee = chord_knee(
            [point.vocab_size for point in window],
            [point.n_rows_total / base_n_rows for point in window],
            # The base's count scales them all alike.
            [point.sets[text_set].n_tokens for point in window],
        )
        if knee is not None:
            new = next(point.n_added for point in measured if point.vocab_size == knee)
            found.append(UnionKnee(window=(window[0].vocab_size, window[-1].vocab_size), knee=knee, n_added=new))
    return tuple(found)


def _cost_record(cost: ModelCost, context_tokens: int) -> CostRecord:
    architecture = cost.architecture
    return CostRecord(
        n_body_params=architecture.n_body_params,
        n_active_body_params=architecture.n_active_body_params,
        n_layers=architecture.n_layers,
        n_heads=architecture.n_heads,
        n_kv_heads=architecture.n_kv_heads,
        head_dim=architecture.head_dim,
        context_tokens=context_tokens,
        flops=Flops(
            body_per_token=cost.body_flops,
            attention_per_token_per_context_token=cost.attention_flops_per_context_token,
            head_per_row=cost.head_flops_per_row,
        ),
    )
