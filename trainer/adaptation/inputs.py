"""The text of an adaptation, read once: what each stage trains on, what is measured, how large a step is."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import xxhash

from trainer.adaptation.checks import Checked
from trainer.adaptation.self_replay import SELF_REPLAY, own_source
from trainer.data import (
    HeldOut,
    PackedText,
    ScannedSource,
    TextPlan,
    budget_in_bytes,
    cut_text,
    hashes_of_documents,
    held_out_documents,
    parse_budget,
    scan_text,
    target_and_replays,
)
from trainer.document_ends import document_ends, turn_ids
from trainer.evaluate import role_of_text
from trainer.evaluate.run import load_tokenizer
from trainer.options import NONE, AdaptOptions
from trainer.processes import n_processes
from trainer.replay_options import SELF
from trainer.stages import Precision, StageSettings
from trainer.stages.settings import StepBatch
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError
from vocabopt.folder import digest
from vocabopt.run_directory import read_sweep
from vocabopt.text.corpus import named_set, tell_shared
from vocabopt.text.documents import texts_of
from vocabopt.training_record import DocumentEnds, Role, SelfReplay

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_HELDOUT = 0.05
#: Up to here repeated text is nearly as good as new text (Muennighoff et al., arXiv 2305.16264).
MOST_PASSES = 4


@dataclass(frozen=True, kw_only=True)
class EvalText:
    """Documents that are measured, never trained on. role: of the target language, or of the base's."""

    name: str
    role: Role
    documents: tuple[str, ...]

    @property
    def n_bytes(self) -> int:
        return sum(len(document.encode()) for document in self.documents)


def _eval_text(
    name: str, documents: Iterable[str], *, scripts: Sequence[str] | None, is_base: bool, max_bytes: int, place: str
) -> EvalText:
    """A text of at most `max_bytes`, its documents picked by content, so that the order of files does not matter.

    Args:
        scripts: of the target; None or empty where the script does not tell the languages apart.
        is_base: named to be of the base language; otherwise the script decides.
        place: where the documents are, for messages.

    Raises:
        CorpusError: there are no documents.
    """
    # Those with the lowest content hashes that fit together, at least one; repeated ones stay.
    kept: list[tuple[int, int, str]] = []  # a heap, the highest hash on top (negated)
    n_bytes = 0
    for number, document in enumerate(documents):
        heapq.heappush(kept, (-xxhash.xxh3_64_intdigest(document.encode()), -number, document))
        n_bytes += len(document.encode())
        while len(kept) > 1 and n_bytes > max_bytes:
            n_bytes -= len(heapq.heappop(kept)[2].encode())
    if not kept:
        raise CorpusError(
            f"{place}: no documents to measure on. Give text of more documents, or name one to measure on with --eval "
            "NAME=PATH and hold none out (--heldout 0)."
        )
    texts = tuple(text for _, _, text in sorted(kept, reverse=True))
    return EvalText(name=name, role="base" if is_base else role_of_text(texts, scripts), documents=texts)


@dataclass(frozen=True, kw_only=True)
class Inputs(Checked):
    """All inputs: what `check_early` found, every stage's text, the texts to measure on.

    ends: what opens and closes documents, for every arm: the ids of base and merged tokenizer are the same.
    self_replay: what the model wrote of the text; None for nothing. held_ids: rows that no stage changes.
    """

    text: TextPlan
    evals: tuple[EvalText, ...]
    heldout: HeldOut
    ends: DocumentEnds
    self_replay: SelfReplay | None
    held_ids: tuple[int, ...]

    @property
    def base_texts(self) -> tuple[str, ...]:
        """Names of the evaluation texts of the base's language."""
        return tuple(text.name for text in self.evals if text.role == "base")

    @property
    def dtype(self) -> Literal["float32", "bfloat16"]:
        """What weights are held in."""
        return "bfloat16" if self.precision == "bf16" else "float32"

    @property
    def device_name(self) -> str:
        if self.device.type == "cuda":
            return f"{n_processes()} x {torch.cuda.get_device_name(self.device)}"
        threads = torch.get_num_threads()
        each = f"{threads} thread{'s' if threads > 1 else ''}"
        return f"CPU, {each}" if n_processes() == 1 else f"CPU, {n_processes()} processes of {each}"

    def identity(self) -> dict[str, Any]:
        """As before the text was read, and the text."""
        stages = range(self.text.n_stages)
        return {**super().identity(), "text": digest([self.text.stage(stage).fingerprint() for stage in stages])}

    @property
    def warnings(self) -> list[str]:
        """What a user should know before the hours of training, in sentences."""
        sources = self.text.in_numbers().sources
        often = [
            f"{name}: its {source.n_bytes / source.passes:,.0f} bytes are read {source.passes:,.0f} times over. Up to "
            f"{MOST_PASSES} passes are nearly as good as new text, more add little (Muennighoff et al., arXiv "
            "2305.16264). Give more text, or train on less (--budget; --steps of a probe)."
            for name, source in sources.items()
            if source.passes > MOST_PASSES
        ]
        return [*self.model_notes, *often]

    def resolved(self) -> dict[str, Any]:
        """Options that were left open, as they were taken."""
        return {
            "heldout": self.heldout.share,
            "heldout_seed": self.heldout.seed,
            "precision": self.precision,
            "document_start": self.ends.start or NONE,
            "document_end": self.ends.end or NONE,
        }


def read_inputs(
    checked: Checked, console: Console, *, run: Path | None = None, own_texts: Path | None = None
) -> Inputs:
    """Read the text, and check everything that is said of it.

    Args:
        run: of the sweep whose held-out documents are held out, where --tokenizer names the tokenizer; None for --run.
        own_texts: folder of the text that the model writes itself, for runs that share some; None takes one of this
            run's own.

    Raises:
        OptionError, CorpusError, RunDirectoryError: what cannot be used.
        ModelError, TrainingError: the model cannot write its own replay.
    """
    options, read_options = checked.options, checked.options.read_options()
    run = run or options.run
    # As the sweep held them out, so that what the sizes were measured on is never trained on.
    swept = None if run is None else HeldOut.of_sweep(read_sweep(run))
    share = options.heldout if options.heldout is not None else (DEFAULT_HELDOUT if swept is None else swept.share)
    heldout = HeldOut(share=share, seed=0 if swept is None else swept.seed)
    (target,) = options.texts.items()
    sources = target_and_replays(target, options.replays, read_options)
    named = {name: named_set(name, path, "eval", read_options) for name, path in options.evals.items()}
    tell_shared([*(source.text_set for source in sources), *named.values()])
    exclude = hashes_of_documents((text_set, read_options) for text_set in named.values())
    scanned = scan_text(sources, held_out=heldout, exclude=exclude, console=console)
    tokenizer = load_tokenizer(str(options.tokenizer_dir))
    ends = document_ends(tokenizer, options.document_start, options.document_end)
    console.note(" ".join([ends.in_words(), *ends.notes]))
    self_replay = None
    if options.self_share:
        folder = own_texts or options.out / "stages" / SELF_REPLAY
        n_bytes = _own_bytes(options, scanned, tokenizer, ends)
        own, self_replay = own_source(checked, folder, ends, n_bytes, console)
        scanned = (*scanned, *scan_text([own], exclude=exclude, console=console))
    budget = None
    if options.budget is not None:
        budget = budget_in_bytes(parse_budget(options.budget), scanned, tokenizer, ends)
    documents: dict[str, Iterable[str]] = {}
    if share > 0:
        documents |= {source.name: held_out_documents(source.text_set, source.options, heldout) for source in sources}
    for name, text_set in named.items():
        documents[name] = chain.from_iterable(block.to_list() for block in texts_of(text_set, read_options))
    if not documents:
        raise OptionError("Nothing to measure on. Give --eval NAME=PATH, or hold documents out with --heldout 0.05.")
    return Inputs(
        **vars(checked),
        text=cut_text(scanned, budget_bytes=budget, stage_shares=checked.plan.shares(), seed=options.seed),
        evals=tuple(
            _eval_text(
                name,
                of_text,
                scripts=checked.extension.scripts,
                is_base=name in options.base_evals or name in options.replays,
                max_bytes=options.max_eval_bytes,
                place=f"--eval {name}={options.evals[name]}"
                if name in options.evals
                else f"{name}, of which --heldout {share:g} is held out",
            )
            for name, of_text in documents.items()
        ),
        heldout=heldout,
        ends=ends,
        self_replay=self_replay,
        held_ids=turn_ids(tokenizer, ends) if options.special_rows == "keep" else (),
    )


def _own_bytes(
    options: AdaptOptions, scanned: Sequence[ScannedSource], tokenizer: "PreTrainedTokenizerBase", ends: DocumentEnds
) -> int:
    """Bytes that the share of the model's own text takes. A budget in tokens becomes bytes by the other texts: this one
    is not written yet.

    Raises:
        OptionError: it is not a byte.
    """
    if options.budget is None:
        total = scanned[0].n_usable_bytes / scanned[0].share
    else:
        given = sum(source.share for source in scanned)
        alone = [replace(source, share=source.share / given) for source in scanned]
        total = budget_in_bytes(parse_budget(options.budget), alone, tokenizer, ends)
    if round(total * options.self_share) < 1:
        raise OptionError(
            f"--replay {SELF}:{options.self_share:g}: is less than a byte of {total:,.0f} bytes of training text. "
            "Raise the share, or --budget."
        )
    return round(total * options.self_share)


def step_batch(options: AdaptOptions, packed: PackedText) -> StepBatch:
    """A step of a stage. A batch in bytes takes as many blocks as hold that much of this stage's text."""
    batch = parse_budget(options.batch, "--batch")
    return StepBatch(
        asked_tokens=batch.amount if batch.unit == "tokens" else batch.amount * packed.n_tokens / packed.n_bytes,
        asked_micro_batch=options.micro_batch,
        context_tokens=options.context,
        n_processes=n_processes(),
    )


#: Options of a stage that are those of the adaptation.
_SAME = (
    "gradient_checkpointing", "compile", "optimizer", "fused_loss", "shard", "max_grad_norm", "save_every_steps",
    "log_every_steps", "seed", "report_to", "threads",
)  # fmt: skip


def settings_for(options: AdaptOptions, precision: Precision, packed: PackedText) -> StageSettings:
    """The settings of a stage."""
    batch = step_batch(options, packed)
    return StageSettings(
        context_tokens=options.context,
        batch_tokens=batch.n_tokens,
        micro_batch=batch.micro_batch,
        precision=precision,
        cpu=options.device == "cpu",
        **{name: getattr(options, name) for name in _SAME},
    )
