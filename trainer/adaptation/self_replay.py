"""Replay that the base model writes itself, as one more source of training text (--replay self:SHARE)."""

import gc
import glob
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch

from trainer.adaptation.checks import Checked
from trainer.data import TextSource
from trainer.data.own_text import OWN_TEXT_JSON, Writing, write_own_text
from trainer.evaluate.run import load_tokenizer
from trainer.init.models import load_model, place_model, tokenizer_files
from trainer.options import DtypeName
from trainer.processes import main_first
from trainer.replay_options import SELF
from trainer.stages.checkpoints import check_room
from vocabopt.console import Console
from vocabopt.folder import digest
from vocabopt.text.corpus import corpus_set
from vocabopt.text.readers import ReadOptions
from vocabopt.training_record import DocumentEnds, SelfReplay

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: The folder of such text, beside the measurements of a run.
SELF_REPLAY = "self-replay"


def own_source(
    checked: Checked, folder: Path, ends: DocumentEnds, n_bytes: int, console: Console
) -> tuple[TextSource, SelfReplay]:
    """The text, written now or taken from an earlier run: by a hash of the model, the seed, the amount and all else
    that moves it, it has a folder of its own.

    Args:
        folder: where those folders are.
        n_bytes: that the share of the training text takes; --self-text at most are written.

    Raises:
        VocaboptError: as `write_own_text`. RunDirectoryError: the disk has no room.
    """
    options = checked.options
    writing = Writing(
        n_bytes=min(n_bytes, options.self_text_bytes),
        length=options.context,
        temperature=options.self_temperature,
        prompt_tokens=options.self_prompt_tokens,
        seed=options.seed,
    )
    dtype: DtypeName = "bfloat16" if checked.precision == "bf16" else "float32"
    # Not torch's version: a run that goes on with another one takes the text that is there.
    computed = [dtype, checked.device.type, ends.start_id, ends.end_id]
    own = {name: hashlib.sha256(data).hexdigest() for name, data in tokenizer_files(checked.model).items()}
    place = folder / digest([checked.files["model"], own, vars(writing), computed])[:32]

    def model() -> "PreTrainedModel":
        return place_model(load_model(checked.model, dtype=dtype), checked.device)

    with main_first():
        if not (place / OWN_TEXT_JSON).is_file():
            check_room(place, writing.n_bytes, "the text that the model writes itself takes")
        with console.step("write the replay", writing.n_bytes, "bytes") as advance:
            written = write_own_text(model, load_tokenizer(str(checked.model)), ends, writing, place, advance)
    # The model is not held any more: what it took is wanted by the next one.
    gc.collect()
    if checked.device.type == "cuda":
        torch.cuda.empty_cache()
    read = ReadOptions(format="jsonl")
    text_set = corpus_set(SELF, f"{glob.escape(str(place))}/*.jsonl", read)
    source = TextSource(name=SELF, text_set=text_set, share=options.self_share, options=read)
    return source, SelfReplay(**{**msgspec.structs.asdict(written), "share": options.self_share})
