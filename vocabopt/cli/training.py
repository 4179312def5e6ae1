"""The commands that read a model, or train one. They import `trainer`, and with it torch, when they are called."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vocabopt.cli.fields import Values, command, of_record
from vocabopt.cli.output import Output, how_to_load
from vocabopt.cli.running import going_on_by, hold, hold_file, require_trainer
from vocabopt.errors import OptionError

if TYPE_CHECKING:
    from vocabopt.preparation.step import Step


@command("trainer.options:InitOptions", prints="init.json")
def init(values: Values, output: Output) -> None:
    """Give the new tokens of a merged tokenizer their rows in a model's tables, and write the model.

    MODEL: a Hugging Face folder or hub id. Writes the model in safetensors, config.json with the new number of rows,
    the tokenizer's files, and init.json: which rule made each row of each table, and the norms of all rows. Rows of the
    base's tokens stay bit for bit. Only --method distill reads text: it learns the input rows of the new tokens, and
    nothing else. `vocabopt adapt` does this and trains.

    \b
    Examples:
      vocabopt init ./SOLAR-10.7B --tokenizer reports/news/tokenizer --out initialised
      vocabopt init ./SOLAR-10.7B --tokenizer TOK --method distill --text ko=news.jsonl.gz --out initialised
    """
    require_trainer("vocabopt init")
    from trainer.init.record import log_table, rows_told
    from trainer.init.run import run_init
    from trainer.options import InitOptions
    from vocabopt.records import json_of

    options = InitOptions(**values)
    hold(options.out)
    done = run_init(options, output.console())

    def tables(width: int) -> Iterator[Any]:
        yield log_table(done.log).for_terminal(width)
        yield from (*done.model_notes, *done.log.notes, *rows_told(done.log))
        yield f"{options.out}: {done.n_params:,} parameters, {done.n_rows:,} rows."
        yield how_to_load(options.out, "AutoModelForCausalLM")

    output.show(json_of(done), tables)


@command("trainer.options:PlanOptions", prints="the figures", quiet=False)
def plan(values: Values, output: Output) -> None:
    """Predict what adapting a model costs: parameters, compute, hours, peak memory and disk, before it runs.

    MODEL is a config.json, a folder that holds one, or a preset (solar-10.7b, llama-3-8b ...); no weights are read and
    no GPU is needed. Says which stage does not fit --gpu, and what would make it fit.

    \b
    Examples:
      vocabopt plan solar-10.7b --added 17072 --budget 2Btok
      vocabopt plan ./my-model --run reports/news --plan full --budget 500Mtok --gpu 24GB --gradient-checkpointing
    """
    require_trainer("vocabopt plan")
    from trainer.memory.plan_report import plan_report
    from trainer.memory.table import plan_notes, plan_table
    from trainer.options import PlanOptions
    from vocabopt.records import json_of

    record = plan_report(PlanOptions(**values))
    output.show(json_of(record), lambda width: (plan_table(record, width=width), *plan_notes(record)))


@command(
    "trainer.options:ProbeOptions",
    "trainer.measuring_options:ProbeSizesOptions",
    "trainer.options:ProbeTrainingOptions",
    prints="probe.json or sizes.json",
)
def probe(values: Values, output: Output) -> None:
    """Rank init methods and plans, or vocabulary sizes, by short runs on the same text.

    The loss before training does not tell which init method wins; fifty steps do (arXiv 2608.03494). Every run starts
    from the base model; what is ranked is bits per byte on held-out target text, with the spread over seeds. With
    --sizes one method and plan run at several sizes of the curve and with the original tokenizer, at equal training
    FLOPs or equal text; `vocabopt choose` takes the best size. A probe that was stopped goes on with the same command.

    \b
    Examples:
      vocabopt probe ./base --run reports/news --text ko=news.txt --out probe
      vocabopt probe ./base --run reports/news --text ko=news.txt --init decompose --plan redwhale --plan full --out p
      vocabopt probe ./base --run reports/news --text ko=news.txt --sizes 1000,4000,16000 --plan full --out sizes
    """
    require_trainer("vocabopt probe")
    going_on_by()
    from trainer.options import AdaptOptions, ProbeOptions, ProbeTrainingOptions
    from trainer.probe import conclusion, probe_table
    from trainer.probe import probe as run_probe
    from vocabopt.records import json_of

    if values["sizes"]:
        _probe_sizes(values, output)
        return
    if values["budget_seconds"] is not None:
        raise OptionError(f"--budget-seconds {values['budget_seconds']:g}: is for a probe of sizes. Name --sizes.")
    adapt_options = AdaptOptions(report_to=(), **of_record(ProbeTrainingOptions, values))
    options = ProbeOptions(adapt=adapt_options, **of_record(ProbeOptions, values))
    hold(adapt_options.out)
    record = run_probe(options, output.console())
    output.show(json_of(record), lambda width: (probe_table(record, width=width), conclusion(record)))


def _probe_sizes(values: Values, output: Output) -> None:
    """`vocabopt probe --sizes`."""
    from trainer.measuring_options import ProbeSizesOptions, one_method_and_plan
    from trainer.options import AdaptOptions, ProbeTrainingOptions
    from trainer.probe_sizes import probe_sizes
    from vocabopt.choice.measured_table import size_tables
    from vocabopt.records import json_of
    from vocabopt.run_directory import read_sweep

    of_each = one_method_and_plan(values["inits"], values["plans"])
    adapt_options = AdaptOptions(report_to=(), **of_each, **of_record(ProbeTrainingOptions, values))
    options = ProbeSizesOptions(adapt=adapt_options, **of_record(ProbeSizesOptions, values))
    hold(adapt_options.out)
    record, run = probe_sizes(options, output.console()), options.adapt.run
    assert run is not None, "checked with the options"
    sweep = read_sweep(run)

    def tables(width: int) -> Iterator[Any]:
        yield from size_tables(record, sweep.choice, width)
        if record.fit is not None:
            yield f"To choose by it: vocabopt choose {run} --probe {adapt_options.out}"

    output.show(json_of(record), tables)


@command("trainer.options:AdaptOptions", prints="adapt.json")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, from its newest whole checkpoint.")
def adapt(values: Values, output: Output, *, resume: bool) -> None:
    """Adapt a model to its merged tokenizer: new rows, staged training on your text, and what it gained and forgot.

    MODEL is the base model's Hugging Face folder. Writes OUT/model, which transformers loads as any other (no adapter,
    no code), with tokenizer and model card; OUT/adapt.json with every stage's parameters, tokens, seconds, memory and
    bits per byte on every evaluation text; OUT/stages with the model after each stage. Killed at any moment, the same
    command with --resume ends with the same weights. On several devices: torchrun --nproc_per_node 8 --no-python --
    vocabopt adapt ... --shard.

    \b
    Examples:
      vocabopt adapt ./SOLAR-10.7B --run reports/news --text ko=news.jsonl.gz --replay en=english.txt:0.2 --budget 2Btok
      vocabopt adapt ./base --run reports/news --text ko=news.txt --plan full --control --out adapted
    """
    require_trainer("vocabopt adapt")
    going_on_by("--resume")
    from trainer.adaptation import adapt as run_adaptation
    from trainer.adaptation.table import notes, stages_table
    from trainer.options import AdaptOptions
    from trainer.processes import is_main
    from vocabopt.records import json_of

    if (out := values["out"] or values["run"]) is None:
        raise OptionError("No folder to write to. Name one with --out.")
    values["report_to"] = tuple(name for name in values["report_to"] if name != "none")
    options = AdaptOptions(**{**values, "out": out})
    hold(out)
    shown = output if is_main() else Output(as_json=False, quiet=True)
    record = run_adaptation(options, shown.console(), resume=resume)
    page = None
    if is_main() and (out / "sweep.json").is_file():
        # A sweep's page, with what was adapted in it.
        from vocabopt.report.page import rebuild_report

        page = rebuild_report(out)

    def tables(width: int) -> Iterator[Any]:
        yield stages_table(record, width=width)
        yield from notes(record)
        if page is not None:
            yield f"Report: {page}"

    shown.show(json_of(record) if shown.as_json else None, tables)


@command("trainer.measuring_options:EvalOptions", name="eval", prints="the result as JSON")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the result as JSON to a file.")
def eval_command(values: Values, output: Output, *, out: Path | None) -> None:
    """Measure a model: bits per byte of text, which do not depend on its tokenizer, and benchmarks.

    MODEL: a Hugging Face folder. Bits per byte compare a model with its base although their tokenizers differ; tokens
    per byte say what the tokenizer costs. Benchmarks are read from local files.

    \b
    Examples:
      vocabopt eval ./adapted/model --text ko=korean.txt --text en=english.txt
      vocabopt eval ./adapted/model --tasks kobest --tasks-data ./kobest --out after.json
    """
    require_trainer("vocabopt eval")
    from trainer.evaluate.record import all_tables, notes
    from trainer.evaluate.run import evaluate
    from trainer.measuring_options import EvalOptions
    from vocabopt.folder import check_writable
    from vocabopt.records import json_of, write_record

    if out is not None:
        hold_file(out)
        check_writable(out.parent)
    record = evaluate(EvalOptions(**values), output.console())
    if out is not None:
        write_record(out, record)

    def tables(width: int) -> Iterator[Any]:
        for table in all_tables(record):
            yield from (table.for_terminal(width), "")
        yield from notes(record)
        if out is not None:
            yield f"Written: {out}"

    output.show(json_of(record), tables)


def compare_parts(steps: "tuple[Step, ...]", values: Values, output: Output) -> None:
    """`vocabopt prepare --compare`."""
    require_trainer("vocabopt prepare --compare")
    from trainer.measuring_options import CompareOptions
    from trainer.selection import compare
    from trainer.selection.table import compare_tables, sentence
    from vocabopt.records import json_of

    for name, example in (("model", "./small-model"), ("budget", "20MB")):
        if values[name] is None:
            raise OptionError(f"--compare needs --{name}, for example --{name} {example}.")
    record = compare(CompareOptions(steps=steps, **of_record(CompareOptions, values)), output.console())

    def tables(width: int) -> Iterator[Any]:
        yield from (table.for_terminal(width) for table in compare_tables(record))
        yield from (sentence(record), f"Report: {values['out'] / 'compare.html'}")

    output.show(json_of(record), tables)
