"""The same measurement twice in each of two processes (torchrun): OUT. Each has a folder of its own, OUT/RANK."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from stages import CONTEXT, tiny_llama
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from trainer.adaptation.arm import Measurements
from trainer.adaptation.inputs import EvalText
from trainer.document_ends import document_ends
from trainer.processes import join_processes
from vocabopt.console import Console
from vocabopt.folder import write_json_atomic
from vocabopt.records import json_of

if __name__ == "__main__":
    torch.set_num_threads(1)
    join_processes(cpu=True)
    out, rank = Path(sys.argv[1]), os.environ["RANK"]
    (out / rank).mkdir()
    vocab = {token: index for index, token in enumerate(["<s>", "</s>", "a", "b"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocab, [])), bos_token="<s>", eos_token="</s>"
    )
    measure = Measurements(
        folder=out / rank,
        texts=(EvalText(name="text", role="base", documents=("ab", "ba", "abab", "bb")),),
        context_tokens=CONTEXT,
        batch_size=2,
        ends=document_ends(tokenizer),
        console=Console(quiet=True),
    )
    model = tiny_llama()
    found: dict[str, Any] = {"measured": json_of(measure("once", model, tokenizer)["text"])}
    passes: list[object] = []
    model.register_forward_hook(lambda *given: passes.append(given))
    found |= {"kept": json_of(measure("twice", model, tokenizer)["text"]), "n_passes": len(passes)}
    write_json_atomic(out / f"{rank}.json", found)
    torch.distributed.destroy_process_group()
