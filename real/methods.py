"""New rows by every init method, each measured before training: one process for all, which loads torch once.

`python -m real.methods REQUEST.json` prints method -> seconds of the init, and bits per byte by text.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from trainer.evaluate.run import evaluate
from trainer.init.run import run_init
from trainer.measuring_options import EvalOptions
from trainer.options import InitOptions
from vocabopt.console import Console


def measured(request: dict[str, Any]) -> dict[str, Any]:
    """Keys of the request: model, tokenizer, out (a folder for each method), methods, texts, context, and train: what
    distill learns from."""
    found = {}
    console = Console(quiet=True)
    for method in request["methods"]:
        out, begin = Path(request["out"]) / method, time.perf_counter()
        texts = request["train"] if method == "distill" else {}
        options = InitOptions(
            model=request["model"], tokenizer=Path(request["tokenizer"]), out=out, method=method, texts=texts
        )
        run_init(options, console)
        seconds = time.perf_counter() - begin
        record = evaluate(
            EvalOptions(model=str(out), texts=request["texts"], context_tokens=request["context"]), console
        )
        bits = {name: text.bits_per_byte for name, text in record.texts.items()}
        found[method] = {"seconds": seconds, "bits_per_byte": bits}
    return found


if __name__ == "__main__":
    print(json.dumps(measured(json.loads(Path(sys.argv[1]).read_text()))))
