"""A plan's cost on a terminal."""

from rich.table import Table

from trainer.memory.fitting import FREE_PERCENT
from trainer.memory.plan_report import LEFT_OUT, PlanReport, StageReport
from vocabopt.tabular import PlainTable

_HEADERS = (
    "stage", "trainable\nparameters", "million\ntokens", "EFLOP", "hours", "peak GB\nAdamW", "peak GB\n8-bit",
    "with fused\nloss, AdamW", "fits",
)  # fmt: skip


def plan_table(report: PlanReport, width: int) -> Table:
    """A row a stage, and their sums and maxima."""
    tflops = report.options.tflops
    rows = [
        [
            stage.stage.name,
            f"{stage.cost.n_trainable:,}",
            f"{stage.n_tokens / 1e6:,.4g}",
            f"{stage.flops / 1e18:,.3g}",
            f"{stage.hours(tflops):,.1f}",
            *_peaks(stage),
            "yes" if stage.fits else "no",
        ]
        for stage in report.stages
    ]
    return PlainTable(
        caption=f"{report.model} with {report.n_added:,} added tokens: {report.n_rows:,} rows, plan {report.plan.name}",
        headers=_HEADERS,
        rows=[*rows, _total(report)],
        bold=frozenset((len(rows),)),
    ).for_terminal(width)


def _peaks(stage: StageReport) -> list[str]:
    peaks = (stage.cost.peak_bytes("adamw"), stage.cost.peak_bytes("adamw-8bit"), stage.fused.peak_bytes("adamw"))
    return [f"{peak / 1e9:,.1f}" for peak in peaks]


def _total(report: PlanReport) -> list[str]:
    stages = report.stages
    peaks = zip(*([float(peak.replace(",", "")) for peak in _peaks(stage)] for stage in stages), strict=True)
    return [
        "in all",
        "",
        f"{sum(stage.n_tokens for stage in stages) / 1e6:,.4g}",
        f"{sum(stage.flops for stage in stages) / 1e18:,.3g}",
        f"{sum(stage.hours(report.options.tflops) for stage in stages):,.1f}",
        *(f"{max(column):,.1f}" for column in peaks),
        "yes" if all(stage.fits for stage in stages) else "no",
    ]


def plan_notes(report: PlanReport) -> list[str]:
    """What does not fit and what would help, and what the figures rest on."""
    options = report.options
    notes = [_does_not_fit(stage, options.gpu) for stage in report.stages if not stage.fits]
    settings = options.step_settings()
    how = [f"{settings.precision}", f"micro-batch {settings.micro_batch} x {settings.context_tokens} tokens"]
    how.append(f"steps of {options.batch_tokens:,} tokens")
    how.append("gradient checkpointing" if settings.gradient_checkpointing else "no gradient checkpointing")
    notes.append(
        f"At {options.tflops:g} TFLOP/s (--tflops) and --gpu {options.gpu}; {', '.join(how)}, kernels of "
        f"{options.device}."
    )
    if report.is_context_clipped:
        notes.append(f"--context: {settings.context_tokens} tokens, which are all positions of {report.model}.")
    return [*notes, f"{LEFT_OUT} A stage fits when it leaves {FREE_PERCENT} % of --gpu free for them."]


def _does_not_fit(stage: StageReport, gpu: str) -> str:
    peak = stage.cost.peak_bytes(stage.optimizer) / 1e9
    told = f"Stage {stage.stage.name} does not fit --gpu {gpu} ({peak:,.1f} GB with {stage.optimizer})."
    if not stage.remedies:
        return f"{told} Nothing tried here makes it fit: choose a GPU with more memory or a shorter --context."
    ways = [f"{remedy.in_words}{' each' if remedy.n_gpus > 1 else ''}" for remedy in stage.remedies]
    return f"{told} It would with {'; or with '.join(ways)}."
