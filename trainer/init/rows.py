"""The rows of new tokens by any method: made by a rule (tables.py), and for distill learned from text (distill.py)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import torch

from trainer.init.distill import learn_rows, reused_ids
from trainer.init.extension import Extension
from trainer.init.norms import calibrated
from trainer.init.snippets import Snippets
from trainer.init.tables import init_model, row_group
from trainer.layout import layout_of
from trainer.options import InitMethod
from trainer.processes import from_main, n_processes
from trainer.row_options import RowOptions
from vocabopt.console import Console
from vocabopt.training_record import DistillLog, InitLog, TableLog

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TIED_NOTE = (
    "The model is tied: the rows that were learned as input rows are its output rows too, and nothing fitted them to "
    "that. Compare with other methods by a short run: vocabopt probe."
)


def make_rows(
    model: "PreTrainedModel",
    extension: Extension,
    options: RowOptions,
    *,
    method: InitMethod,
    seed: int,
    find_snippets: Callable[[], Snippets],
    console: Console,
) -> InitLog:
    """Give the new tokens their rows, in place.

    Args:
        find_snippets: called for the method distill alone, before anything is changed.

    Raises:
        VocaboptError: as `init_model`, `find_snippets` and `learn_rows`.
    """
    n_new = len(extension.new_ids)
    if method != "distill":
        with console.step(f"initialise {n_new:,} rows"):
            return _by_rule(model, extension, options, method, seed)
    with console.step("find snippets"):
        snippets = find_snippets()
    table = model.get_parameter(layout_of(model).embeddings)
    taken_out = table.detach()[torch.tensor(reused_ids(extension), dtype=torch.int64, device=table.device)]
    log = _by_rule(model, extension, options, method, seed)
    n_steps = options.distill_steps or -(-len(snippets.ids) // options.distill_batch)

    def learn() -> DistillLog:
        with console.step(f"learn {n_new:,} rows", n_steps, "steps") as advance:
            return learn_rows(
                model,
                extension,
                snippets,
                options,
                taken_out=taken_out,
                standard_deviation=log.tables[0].standard_deviation,
                seed=seed,
                advance=advance,
            )

    learned = from_main(learn)
    table = model.get_parameter(layout_of(model).embeddings)
    new = torch.tensor(extension.new_ids, device=table.device)
    rows = table.detach()[new]
    if n_processes() > 1:
        torch.distributed.broadcast(rows, 0)
    calibration = log.tables[0].calibration
    if calibration is not None:
        rows = calibrated(rows.float(), map(len, extension.texts), calibration).to(table.dtype)
    with torch.no_grad():
        table[new] = rows
    tied = layout_of(model).is_tied
    return msgspec.structs.replace(
        log,
        tables=(_with_learned(log.tables[0], table, extension, snippets), *log.tables[1:]),
        distill=learned,
        notes=(*log.notes, _TIED_NOTE) if tied else log.notes,
    )


def _by_rule(
    model: "PreTrainedModel", extension: Extension, options: RowOptions, method: InitMethod, seed: int
) -> InitLog:
    return init_model(
        model,
        extension,
        method=method,
        match_norm=options.match_norm,
        calibrate_norms=options.calibrate_norms,
        seed=seed,
    )


def _with_learned(log: TableLog, table: torch.Tensor, extension: Extension, snippets: Snippets) -> TableLog:
    """The log with the new rows as they are now: those that were learned, and those of tokens without text."""
    begun = next(group for group in log.groups if group.kind == "new")
    has_text = dict(zip(extension.new_ids, (snippets.counts > 0).tolist(), strict=True))
    learned = [index for index in extension.new_ids if has_text[index]]
    others = [index for index in extension.new_ids if not has_text[index]]
    norms = ", norm calibrated" if log.calibration is not None else ""
    groups = [
        row_group(table, learned, "new", f"learned from text{norms}"),
        row_group(table, others, "new", f"not in the text: {begun.made_by}"),
    ]
    place = log.groups.index(begun)
    return msgspec.structs.replace(log, groups=(*log.groups[:place], *groups, *log.groups[place + 1 :]))
