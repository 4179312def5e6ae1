"""`vocabopt prepare --compare`: every arm's text swept, merged and learned by a small model; one table."""

from pathlib import Path
from typing import Any

import numpy as np

from trainer.adaptation import AdaptOptions
from trainer.init.models import model_folder
from trainer.measuring_options import CompareOptions
from trainer.options import ProbeOptions
from trainer.probe import probe
from trainer.selection.parts import ALL, ARMS, names_of, split_text, text_of
from trainer.selection.table import write_page
from vocabopt.console import Console
from vocabopt.errors import OptionError, RunDirectoryError
from vocabopt.folder import FORMAT_VERSION, check_own_folder, digest, read_json, write_json_atomic
from vocabopt.merging.run import merge_run
from vocabopt.options import SweepOptions
from vocabopt.pipeline import run_sweep
from vocabopt.records import SweepRecord
from vocabopt.run_directory import read_curve, read_sweep
from vocabopt.text.corpus import fingerprint, named_set
from vocabopt.text.readers import ReadOptions, read_blocks
from vocabopt.versions import versions

COMPARE_JSON = "compare.json"
_N_SIZES = 100  # of a curve kept: spread by ratio, since it falls steeply at first
TEXT = "text"  # the name of the text that is learned from


def compare(options: CompareOptions, console: Console) -> dict[str, Any]:
    """Run what is not there yet of a comparison.

    Returns:
        What OUT/compare.json holds: an arm's text, its curve on the held-out sets, and what the small model reached.

    Raises:
        VocaboptError: bad input; what is done stays for the next run.
    """
    model_folder(options.model)
    if twice := sorted(set(names_of(options.paths)) & set(options.evals)):
        raise OptionError(f"--eval {twice[0]}=...: documents held out of a path have this name; choose another.")
    _take(options)
    split = split_text(options, console)
    folder = options.out / "text"
    held = {name: str(folder / "heldout" / name) for name in split["paths"]}
    held |= {name: str(folder / "evals" / name) for name in options.evals}
    texts = {arm: text_of(arm, options, split, console) for arm in ARMS}
    # All the text first: it decides the script and the size for the others.
    sweeps = {ALL: _sweep(ALL, texts[ALL], held, options, None, console)}
    scripts = sweeps[ALL].scripts
    sweeps |= {arm: _sweep(arm, texts[arm], held, options, scripts, console) for arm in ARMS if arm != ALL}
    size = _size(options, sweeps)
    arms = []
    for arm in ARMS:
        run = options.out / "runs" / arm
        if not (run / "tokenizer" / "tokenizer.json").is_file():
            merge_run(run, run / "tokenizer", n_added=size, console=console)
        amount = _amount(texts[arm])
        more = amount["n_bytes"] / options.budget_bytes
        factors = {arm: 1.0} if arm != ALL else {arm: 1.0, f"{arm}, whole": more}
        for name, factor in factors.items():
            reached = _probe(name, run, texts[arm], held, options, factor, console)
            arms.append({"name": name, **amount, "curve": _curve(run, sweeps[arm], held, size), **reached})
    record = {
        "format_version": FORMAT_VERSION,
        "options": options.as_record(),
        "identity": _identity(options),
        "versions": versions(),
        "size": size,
        "sets": {name: split["sets"].get(name) for name in held},
        "arms": arms,
    }
    write_page(options.out, record)
    write_json_atomic(options.out / COMPARE_JSON, record)
    return record


def _identity(options: CompareOptions) -> str:
    """Of the options and of what the texts hold: an edited text is another comparison."""
    paths = [*options.paths, *options.evals.values(), *filter(None, (options.reference,))]
    files = [file for path in paths for file in named_set(TEXT, path, "eval").files]
    return digest([options.identity(), [[file.url, fingerprint(file)] for file in files]])


def _take(options: CompareOptions) -> None:
    path = options.out / COMPARE_JSON
    if check_own_folder(options.out, COMPARE_JSON):
        earlier = read_json(path, next_step="Choose another folder with --out.")
        if earlier.get("identity") != _identity(options):
            raise RunDirectoryError(
                f"{options.out}: holds a comparison with other options. Choose another folder with --out."
            )
        return
    write_json_atomic(path, {"format_version": FORMAT_VERSION, "identity": _identity(options), "arms": []})


def _sweep(
    arm: str,
    text: Path,
    held: dict[str, str],
    options: CompareOptions,
    scripts: tuple[str, ...] | None,
    console: Console,
) -> SweepRecord:
    run = options.out / "runs" / arm
    if not (run / "run.json").is_file() or not (run / "report.html").is_file():
        script = "auto" if scripts is None else ",".join(scripts) or "none"
        run_sweep(
            SweepOptions(
                paths=(str(text),),
                out=run,
                base=options.model,
                model=options.model,
                evals=held,
                scripts=script,
                heldout=0.0,
                max_added=options.max_added,
                seed=options.seed,
            ),
            console,
        )
    return read_sweep(run)


def _size(options: CompareOptions, sweeps: dict[str, SweepRecord]) -> int:
    """Added tokens of every arm: as asked for, or the choice on all the text, as far as every arm's curve goes."""
    ends = {arm: sweep.exhausted_at or sweep.max_added for arm, sweep in sweeps.items()}
    shortest = min(ends, key=lambda arm: ends[arm])
    if options.size is not None and options.size > ends[shortest]:
        raise OptionError(
            f"--size {options.size}: the text of arm {shortest} runs dry at {ends[shortest]:,} added tokens. Give a "
            "smaller size or a larger --budget."
        )
    size = options.size or min(sweeps[ALL].choice.n_added, ends[shortest])
    if not size:
        raise OptionError("The sweep of all the text recommends no added tokens: name a --size.")
    return size


def _amount(text: Path) -> dict[str, int]:
    n_documents = n_bytes = 0
    for file in named_set(TEXT, str(text), "eval").files:
        for block in read_blocks(file, ReadOptions()):
            n_documents += len(block.documents)
            n_bytes += int(block.documents.str.len_bytes().sum())
    return {"n_documents": n_documents, "n_bytes": n_bytes}


def _curve(run: Path, sweep: SweepRecord, held: dict[str, str], size: int) -> dict[str, Any]:
    """Tokens of each held-out set at the base, at the compared size, and at sizes that a figure needs."""
    curve = read_curve(run, sweep)
    sizes = sorted({size, *np.geomspace(1, len(curve), _N_SIZES).round().astype(int).tolist()})
    base = {name: sweep.sets[name].n_tokens_base for name in held}
    tokens = {name: curve[f"n_tokens_{name}"].gather([n - 1 for n in sizes]).to_list() for name in held}
    return {
        "sizes": [0, *sizes],
        "n_tokens": {name: [base[name], *tokens[name]] for name in held},
        "n_bytes": {name: sweep.sets[name].n_bytes for name in held},
    }


def _probe(
    name: str, run: Path, text: Path, held: dict[str, str], options: CompareOptions, factor: float, console: Console
) -> dict[str, Any]:
    """What the small model reaches on this text: bits per byte of each held-out set, by seed."""
    of_arm = AdaptOptions(
        model=options.model,
        out=options.out / "probes" / name.replace(", ", "-"),
        texts={TEXT: str(text)},
        run=run,
        evals=held,
        heldout=0.0,
        plan=options.plan,
        init=options.init,
        batch=options.batch,
        context_tokens=options.context_tokens,
        micro_batch=options.micro_batch,
        lora_rank=options.lora_rank,
        learning_rate_factor=options.learning_rate_factor,
        precision=options.precision,
        threads=options.threads,
        eval_bytes=options.eval_bytes,
        seed=options.seed,
        n_samples=0,
        report_to=(),
    )
    n_steps = max(1, round(options.n_steps * factor))
    record = probe(
        ProbeOptions(
            adapt=of_arm, inits=(options.init,), plans=(options.plan,), n_steps=n_steps, n_seeds=options.n_seeds
        ),
        console,
        # The model as it comes is the same for all arms.
        measured=options.out / "probes" / "measured",
    )
    cells = record.cells
    return {
        "n_steps": n_steps,
        "n_train_bytes": round(sum(cell.bytes for cell in cells) / len(cells)),
        "n_train_tokens": round(sum(cell.tokens for cell in cells) / len(cells)),
        "before": cells[0].initialised,
        "after": [cell.after for cell in cells],
    }
