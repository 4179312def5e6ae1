"""A plan's cost on a terminal."""

from rich.table import Table

from trainer.memory.plan_report import PlanReport, StageReport
from vocabopt.amounts import shown_bytes
from vocabopt.tables import PlainTable

_HEADERS = (
    "stage", "trainable\nparameters", "million\ntokens", "EFLOP", "hours", "peak\nAdamW", "peak\n8-bit",
    "with fused\nloss, AdamW", "fits",
)  # fmt: skip
_LEFT_OUT = (
    "Left out of memory: fragmentation (a few per cent) and work space inside kernels. FLOPs are of matrix products, "
    "recomputed ones included."
)


def plan_table(report: PlanReport, width: int) -> Table:
    """A row a stage, one for measuring, and their sums and maxima."""
    rows = [
        [
            stage.stage.name,
            f"{stage.cost.n_trainable:,}",
            *_work(stage.n_tokens, stage.flops, report.hours(stage.flops)),
            *map(shown_bytes, _peaks(stage)),
            "yes" if stage.fits else "no",
        ]
        for stage in report.stages
    ]
    measuring = report.measuring
    of_measuring = _work(measuring.n_tokens, measuring.flops, report.measuring_hours)
    rows.append([f"measuring, {measuring.n_times} times", "", *of_measuring, "", "", "", ""])
    return PlainTable(
        caption=f"{report.model} with {report.n_added:,} added tokens: {report.n_rows:,} rows, plan {report.plan.name}",
        headers=_HEADERS,
        rows=[*rows, _total(report)],
        bold=frozenset((len(rows),)),
    ).for_terminal(width)


def _work(n_tokens: int, flops: int, hours: float) -> list[str]:
    return [f"{n_tokens / 1e6:,.4g}", f"{flops / 1e18:,.3g}", f"{hours:,.1f}"]


def _peaks(stage: StageReport) -> tuple[int, int, int]:
    return stage.peaks["adamw"], stage.peaks["adamw-8bit"], stage.fused_peaks["adamw"]


def _total(report: PlanReport) -> list[str]:
    stages, measuring = report.stages, report.measuring
    n_tokens = sum(stage.n_tokens for stage in stages) + measuring.n_tokens
    flops = sum(stage.flops for stage in stages) + measuring.flops
    return [
        "in all",
        "",
        *_work(n_tokens, flops, report.all_hours),
        *(shown_bytes(max(column)) for column in zip(*map(_peaks, stages), strict=True)),
        "yes" if all(stage.fits for stage in stages) else "no",
    ]


def plan_notes(report: PlanReport) -> list[str]:
    """What does not fit and what would help, and what the figures rest on."""
    options = report.options
    notes = [_does_not_fit(stage, options.gpu) for stage in report.stages if not stage.fits]
    notes += options.step_batch.notes(options.batch)
    settings = options.step_settings()
    how = [f"{settings.precision}", f"micro-batch {settings.micro_batch} x {settings.context_tokens} tokens"]
    how.append(f"steps of {options.step_batch.n_tokens:,} tokens")
    how.append("gradient checkpointing" if settings.gradient_checkpointing else "no gradient checkpointing")
    notes.append(
        f"At {options.tflops:g} TFLOP/s (--tflops) and --gpu {options.gpu}; {', '.join(how)}, kernels of "
        f"{options.device}."
    )
    if report.is_context_clipped:
        notes.append(f"--context: {settings.context_tokens} tokens, which are all positions of {report.model}.")
    return [*notes, *_several(report), _measuring(report), _room(report), f"{_LEFT_OUT} {_fits(report)}"]


def _does_not_fit(stage: StageReport, gpu: str) -> str:
    told = (
        f"Stage {stage.stage.name} does not fit --gpu {gpu} ({shown_bytes(stage.peaks[stage.optimizer])} with "
        f"{stage.optimizer})."
    )
    if not stage.remedies:
        return f"{told} Nothing tried here makes it fit: choose a GPU with more memory or a shorter --context."
    ways = [f"{remedy.in_words}{' each' if remedy.n_gpus > 1 else ''}" for remedy in stage.remedies]
    return f"{told} It would with {'; or with '.join(ways)}."


def _several(report: PlanReport) -> list[str]:
    n_gpus, fleet = report.options.n_gpus, report.options.fleet
    if n_gpus == 1:
        return []
    held = (
        "their parts of weights, gradients and optimizer state, their own activations, the weights outside the blocks "
        "and of two blocks whole"
        if fleet.is_sharded
        else "a copy of everything each, and the gradients once more in the buckets that are sent (--shard splits them)"
    )
    told = f"{n_gpus} GPUs: hours are those of one divided by {n_gpus}, without the time that communication takes."
    return [f"{told} Memory is arithmetic: {held}."]


def _measuring(report: PlanReport) -> str:
    options, n_times = report.options, report.measuring.n_times
    what = "the base, new rows and every stage" if options.eval_every == "stage" else "the base and the last stage"
    rounded = ", and weights rounded to 16 bits" if report.measuring.n_of_rounded else ""
    return (
        f"Measuring: {n_times} times {options.measured_tokens:,} tokens (--eval-tokens; --eval-every "
        f"{options.eval_every}: {what}{rounded}), at {options.tflops_of_measuring:g} TFLOP/s (--eval-tflops). "
        "--control trains and measures as much again."
    )


def _room(report: PlanReport) -> str:
    disk, keep = report.disk_bytes, report.options.keep_stages
    other = "all" if keep == "last" else "last"
    told = (
        f"Disk, at most: {shown_bytes(disk[keep])} for models and checkpoints with --keep-stages {keep}, "
        f"{shown_bytes(disk[other])} with {other}."
    )
    if report.host_bytes is None:
        return told
    return f"{told} The machine's own memory, at most: about {shown_bytes(report.host_bytes)}."


def _fits(report: PlanReport) -> str:
    options = report.options
    return (
        f"A peak holds the process's own {shown_bytes(options.fleet.process_bytes)} (--process-memory). A stage, or a "
        f"way to make it fit, leaves {options.margin:.0%} of --gpu free (--margin)."
    )
