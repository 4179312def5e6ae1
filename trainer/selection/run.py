"""`vocabopt prepare --compare`: every arm's text swept, merged and learned by a small model; one table."""

from pathlib import Path
from statistics import mean

import numpy as np

from trainer.adaptation import AdaptOptions
from trainer.init.models import model_folder
from trainer.measuring_options import CompareOptions
from trainer.options import ProbeOptions
from trainer.probe import probe
from trainer.selection.parts import ALL, ARMS, TextSize, names_of, split_text, text_of
from trainer.selection.table import COMPARE_JSON, ArmRecord, CompareRecord, Curve, TakenRecord, write_page
from vocabopt.console import Console
from vocabopt.errors import OptionError, RunDirectoryError
from vocabopt.folder import check_own_folder, digest
from vocabopt.merging.run import merge_run
from vocabopt.options import SweepOptions
from vocabopt.pipeline import run_sweep
from vocabopt.records import SweepRecord, read_record, write_record
from vocabopt.run_directory import read_curve, read_sweep
from vocabopt.text.corpus import fingerprint, named_set
from vocabopt.text.readers import ReadOptions, read_blocks
from vocabopt.versions import versions

_N_SIZES = 100  # of a curve kept: spread by ratio, since it falls steeply at first
_TEXT = "text"  # the name of the text that is learned from
#: Options of an adaptation that are those of the comparison.
_SHARED = (
    "model", "plan", "init", "batch", "context_tokens", "micro_batch", "lora_rank", "learning_rate_factor", "precision",
    "threads", "eval_bytes", "seed",
)  # fmt: skip


def compare(options: CompareOptions, console: Console) -> CompareRecord:
    """Run what is not there yet of a comparison.

    Returns:
        What OUT/compare.json holds: an arm's text, its curve on the held-out sets, and what the small model reached.

    Raises:
        VocaboptError: bad input; what is done stays for the next run.
    """
    model_folder(options.model)
    if twice := sorted(set(names_of(options.paths)) & set(options.evals)):
        raise OptionError(f"--eval {twice[0]}=...: documents held out of a path have this name; choose another.")
    # Of the options and of what the texts hold: an edited text is another comparison.
    paths = [*options.paths, *options.evals.values(), *filter(None, (options.reference,))]
    files = [file for path in paths for file in named_set(_TEXT, path, "eval").files]
    identity = digest([options.identity(), [[file.url, fingerprint(file)] for file in files]])
    if not check_own_folder(options.out, COMPARE_JSON):
        write_record(options.out / COMPARE_JSON, TakenRecord(identity=identity))
    elif read_record(options.out / COMPARE_JSON, TakenRecord).identity != identity:
        raise RunDirectoryError(
            f"{options.out}: holds a comparison with other options. Choose another folder with --out."
        )
    split = split_text(options, console)
    folder = options.out / "text"
    held = {name: str(folder / "heldout" / name) for name in split.left}
    held |= {name: str(folder / "evals" / name) for name in options.evals}
    texts = {arm: text_of(arm, options, split, console) for arm in ARMS}
    # All the text first: it decides the script and the size for the others.
    sweeps = {ALL: _sweep(ALL, texts[ALL], held, options, "auto", console)}
    script = ",".join(sweeps[ALL].scripts) or "none"
    sweeps |= {arm: _sweep(arm, texts[arm], held, options, script, console) for arm in ARMS if arm != ALL}
    size = _size(options, sweeps)
    arms = []
    for arm in ARMS:
        run = options.out / "runs" / arm
        if not (run / "tokenizer" / "tokenizer.json").is_file():
            merge_run(run, run / "tokenizer", n_added=size, console=console)
        amount = _amount(texts[arm])
        curve = _curve(run, sweeps[arm], held, size)
        n_steps = {arm: options.n_steps}
        if arm == ALL:
            more = amount.n_bytes / options.budget_bytes
            n_steps[f"{arm}, whole"] = max(1, round(options.n_steps * more))
        for name, n in n_steps.items():
            of_arm = AdaptOptions(
                out=options.out / "probes" / name.replace(", ", "-"),
                texts={_TEXT: str(texts[arm])},
                run=run,
                evals=held,
                heldout=0.0,
                n_samples=0,
                report_to=(),
                **{option: getattr(options, option) for option in _SHARED},
            )
            probed = ProbeOptions(
                adapt=of_arm, inits=(options.init,), plans=(options.plan,), n_steps=n, n_seeds=options.n_seeds
            )
            # The model as it comes is the same for all arms.
            cells = probe(probed, console, measured=options.out / "probes" / "measured").cells
            arms.append(
                ArmRecord(
                    name=name,
                    n_documents=amount.n_documents,
                    n_bytes=amount.n_bytes,
                    curve=curve,
                    n_steps=n,
                    n_train_bytes=round(mean(cell.bytes for cell in cells)),
                    n_train_tokens=round(mean(cell.tokens for cell in cells)),
                    before=cells[0].initialised,
                    after=tuple(cell.after for cell in cells),
                )
            )
    record = CompareRecord(
        identity=identity,
        options=options.as_record(),
        versions=versions(),
        size=size,
        sets={name: split.sets.get(name) for name in held},
        arms=tuple(arms),
    )
    write_page(options.out, record)
    write_record(options.out / COMPARE_JSON, record)
    return record


def _sweep(
    arm: str, text: Path, held: dict[str, str], options: CompareOptions, script: str, console: Console
) -> SweepRecord:
    run = options.out / "runs" / arm
    if not (run / "run.json").is_file() or not (run / "report.html").is_file():
        of_arm = SweepOptions(
            paths=(str(text),),
            out=run,
            base=options.model,
            model=options.model,
            evals=held,
            scripts=script,
            heldout=0.0,
            max_added=options.max_added,
            seed=options.seed,
        )
        run_sweep(of_arm, console)
    return read_sweep(run)


def _size(options: CompareOptions, sweeps: dict[str, SweepRecord]) -> int:
    """Added tokens of every arm: as asked for, or the choice on all the text, as far as every arm's curve goes."""
    shortest = min(sweeps, key=lambda arm: sweeps[arm].end)
    end = sweeps[shortest].end
    if options.size is not None and options.size > end:
        raise OptionError(
            f"--size {options.size}: the text of arm {shortest} runs dry at {end:,} added tokens. Give a "
            "smaller size or a larger --budget."
        )
    size = options.size or min(sweeps[ALL].choice.n_added, end)
    if not size:
        raise OptionError("The sweep of all the text recommends no added tokens: name a --size.")
    return size


def _amount(text: Path) -> TextSize:
    amount = TextSize()
    for file in named_set(_TEXT, str(text), "eval").files:
        for block in read_blocks(file, ReadOptions()):
            n_bytes = int(block.documents.str.len_bytes().sum())
            amount += TextSize(n_documents=len(block.documents), n_bytes=n_bytes)
    return amount


def _curve(run: Path, sweep: SweepRecord, held: dict[str, str], size: int) -> Curve:
    """Tokens of each held-out set at the base, at the compared size, and at sizes that a figure needs."""
    curve = read_curve(run, sweep)
    sizes = sorted({size, *np.geomspace(1, len(curve), _N_SIZES).round().astype(int).tolist()})
    tokens = {name: curve[f"n_tokens_{name}"].gather([n - 1 for n in sizes]).to_list() for name in held}
    return Curve(
        sizes=(0, *sizes),
        n_tokens={name: (sweep.sets[name].n_tokens_base, *tokens[name]) for name in held},
        n_bytes={name: sweep.sets[name].n_bytes for name in held},
    )
