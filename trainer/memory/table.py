"""A plan's cost on a terminal."""

from rich.table import Table

from trainer.memory.plan_report import step_batch
from trainer.memory.record import PlannedStage, PlanRecord
from vocabopt.amounts import shown_bytes
from vocabopt.tables import PlainTable

_HEADERS = (
    "stage", "trainable\nparameters", "million\ntokens", "EFLOP", "hours", "peak\nAdamW", "peak\n8-bit",
    "with fused\nloss, AdamW", "fits",
)  # fmt: skip


def plan_table(record: PlanRecord, width: int) -> Table:
    """A row a stage, one for measuring, and their sums and maxima."""

    def work(n_tokens: int, flops: int, hours: float) -> list[str]:
        return [f"{n_tokens / 1e6:,.4g}", f"{flops / 1e18:,.3g}", f"{hours:,.1f}"]

    stages, measuring = record.stages, record.measuring
    peaks = [
        (stage.peak_bytes["adamw"], stage.peak_bytes["adamw-8bit"], stage.peak_bytes_fused_loss["adamw"])
        for stage in stages
    ]
    rows = [
        [
            stage.name,
            f"{stage.n_trainable:,}",
            *work(stage.tokens, stage.flops, stage.hours),
            *map(shown_bytes, of_stage),
            "yes" if stage.fits else "no",
        ]
        for stage, of_stage in zip(stages, peaks, strict=True)
    ]
    of_measuring = work(measuring.n_tokens, measuring.flops, measuring.hours)
    rows.append([f"measuring, {measuring.n_times} times", "", *of_measuring, "", "", "", ""])
    n_tokens = sum(stage.tokens for stage in stages) + measuring.n_tokens
    flops = sum(stage.flops for stage in stages) + measuring.flops
    highest = [shown_bytes(max(column)) for column in zip(*peaks, strict=True)]
    fit = "yes" if all(stage.fits for stage in stages) else "no"
    rows.append(["in all", "", *work(n_tokens, flops, record.hours), *highest, fit])
    return PlainTable(
        caption=f"{record.model} with {record.n_added:,} new tokens: {record.n_rows:,} rows, plan {record.plan}",
        headers=_HEADERS,
        rows=rows,
        bold=frozenset((len(rows) - 1,)),
    ).for_terminal(width)


def plan_notes(record: PlanRecord) -> list[str]:
    """What does not fit and what would help, and what the figures rest on."""
    options, measuring = record.options, record.measuring
    notes = [_does_not_fit(stage, record) for stage in record.stages if not stage.fits]
    notes += step_batch(options).notes(options.batch)
    recomputes = "gradient checkpointing" if options.gradient_checkpointing else "no gradient checkpointing"
    notes.append(
        f"At {options.tflops:g} TFLOP/s (--tflops) and --gpu {options.gpu}; {options.weights}, micro-batch "
        f"{record.micro_batch} x {options.context} tokens, steps of {record.batch_tokens:,} tokens, {recomputes}, "
        f"kernels of {options.device}."
    )
    if record.is_context_clipped:
        notes.append(f"--context: {options.context} tokens, which are all positions of {record.model}.")
    if options.n_gpus > 1:
        held = (
            "their parts of weights, gradients and optimizer state, their own activations, the weights outside the "
            "blocks and of two blocks whole"
            if options.shard
            else "a copy of everything each, and the gradients once more in the buckets that are sent (--shard splits "
            "them)"
        )
        notes.append(
            f"{options.n_gpus} GPUs: hours are those of one divided by {options.n_gpus}, without the time that "
            f"communication takes. Memory is arithmetic: {held}."
        )
    what = "the base, new rows and every stage" if options.eval_every == "stage" else "the base and the last stage"
    rounded = ", and weights rounded to 16 bits" if measuring.n_of_rounded else ""
    notes.append(
        f"Measuring: {measuring.n_times} times {options.measured_tokens:,} tokens (--eval-tokens; --eval-every "
        f"{options.eval_every}: {what}{rounded}), at {measuring.tflops:g} TFLOP/s (--eval-tflops). "
        "--control trains and measures as much again."
    )
    disk, keep = record.disk_bytes, options.keep_stages
    other = "all" if keep == "last" else "last"
    room = (
        f"Disk, at most: {shown_bytes(disk[keep])} for models and checkpoints with --keep-stages {keep}, "
        f"{shown_bytes(disk[other])} with {other}."
    )
    if record.host_bytes is not None:
        room += f" The machine's own memory, at most: about {shown_bytes(record.host_bytes)}."
    left_out = (
        "Left out of memory: fragmentation (a few per cent) and work space inside kernels. FLOPs are of matrix "
        f"products, recomputed ones included. A peak holds the process's own {shown_bytes(record.process_bytes)} "
        f"(--process-memory). A stage, or a way to make it fit, leaves {record.margin:.0%} of --gpu free (--margin)."
    )
    return [*notes, room, left_out]


def _does_not_fit(stage: PlannedStage, record: PlanRecord) -> str:
    gpu, optimizer = record.options.gpu, record.options.optimizer
    told = f"Stage {stage.name} does not fit --gpu {gpu} ({shown_bytes(stage.peak_bytes[optimizer])} with {optimizer})."
    if not stage.remedies:
        return f"{told} Nothing tried here makes it fit: choose a GPU with more memory or a shorter --context."
    return f"{told} It would fit with {', or with '.join(remedy.in_words for remedy in stage.remedies)}."
