"""Bits per byte and text by transformers alone, in a plain loop: the authority that the numbers of real/ are held to.

Nothing of vocabopt or trainer is imported here. `python -m real.direct REQUEST.json` prints the answer as JSON; a
request names models, the folder of their tokenizer (null: each has its own), the token that opens a document, texts by
name (a file of a document a line each), and prompts.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Model folder -> text -> bits per byte; and what the first model writes after each prompt, greedily."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    found: dict[str, Any] = {"bits_per_byte": {}, "written": {}, "chat": None}
    for folder in request["models"]:
        tokenizer: Any = AutoTokenizer.from_pretrained(request["tokenizer"] or folder)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        model.eval()
        start = tokenizer.convert_tokens_to_ids(request["start"])
        scores = {}
        for name, path in request["texts"].items():
            nats, n_bytes = 0.0, 0
            for document in Path(path).read_text(encoding="utf-8").splitlines():
                ids = torch.tensor([[start, *tokenizer(document, add_special_tokens=False)["input_ids"]]])
                with torch.no_grad():
                    logits = model(input_ids=ids).logits[0, :-1].double()
                nats += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
                n_bytes += len(document.encode())
            scores[name] = nats / math.log(2) / n_bytes
        found["bits_per_byte"][folder] = scores
        if folder == request["models"][0]:
            settings = {"do_sample": False, "max_new_tokens": request["n_tokens"]}
            for prompt in request["prompts"]:
                ids = torch.tensor([[start, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]])
                written = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, ids.shape[1] :]
                found["written"][prompt] = tokenizer.decode(written, skip_special_tokens=True)
            if request["prompts"] and tokenizer.chat_template:
                chat = [{"role": "user", "content": request["question"]}]
                asked = tokenizer.apply_chat_template(
                    chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
                )
                written = model.generate(**asked, **settings)[0, asked["input_ids"].shape[1] :]
                found["chat"] = tokenizer.decode(written, skip_special_tokens=True)
    return found


if __name__ == "__main__":
    print(json.dumps(answer(json.loads(Path(sys.argv[1]).read_text()))))
