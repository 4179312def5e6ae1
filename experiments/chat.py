"""Does an adapted model still answer in the format that its instruct model was trained to?

A base learns to answer questions in a fixed format: that is the instruct model. Then the base is adapted to the target
language, with and without a chat vector on top, and so is the instruct model itself. Counted is the share of held-out
questions, of the base's language and of the target's, whose answer keeps the format. Every arm is a JSON file in OUT.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from experiments.cells import Setting
from trainer.adaptation import AdaptOptions, adapt
from trainer.chat.options import ChatVectorOptions
from trainer.chat.run import run_chat_vector
from trainer.evaluate.run import evaluate
from trainer.init.models import save_model, tokenizer_files
from trainer.measuring_options import EvalOptions
from vocabopt.console import Console
from vocabopt.folder import FORMAT_VERSION, read_json, write_json_atomic
from vocabopt.text.corpus import named_set
from vocabopt.text.documents import texts_of
from vocabopt.text.readers import ReadOptions

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}"
    "{{ eos_token if m['role'] == 'assistant' else ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
#: An answer: these words, one word of the question, and the end.
_FORMAT = re.compile(r"\s*The word is: \S+ \.")
_QUESTION_WORDS, _ANSWER_TOKENS = 6, 24
ARMS = ("instruct", "adapted base", "adapted instruct", "chat vector, all", "chat vector, old", "chat vector, special")


@dataclass(frozen=True, kw_only=True)
class ChatSetting:
    """setting: of the adaptations; its evals' first text is of the base's language. steps, questions: of the instruct
    model's training, and asked in each language."""

    setting: Setting
    steps: int
    questions: int
    seed: int


def questions_of(name: str, path: str) -> list[str]:
    """The beginnings of a text's documents, in order."""
    read = ReadOptions()
    documents = [text for block in texts_of(named_set(name, path, "eval", read), read) for text in block]
    return list(dict.fromkeys(" ".join(text.split()[:_QUESTION_WORDS]) for text in documents if len(text.split()) >= 3))


def train_instruct(base: Path, folder: Path, questions: Sequence[str], steps: int, seed: int) -> None:
    """Train every parameter on the answers; the folder is written whole, with the template."""
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    files = tokenizer_files(base) | {"chat_template.jinja": TEMPLATE.encode()}
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    order = torch.randint(len(questions), (steps, 8))
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - step / steps)
        loss = torch.zeros(())
        for number in order[step].tolist():
            prompt = _prompt(tokenizer, questions[number])
            answer = f" The word is: {questions[number].split()[0]} ."
            ids = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
            read = torch.tensor([[*prompt, *ids]])
            logits = model(input_ids=read).logits[0, len(prompt) - 1 : -1]
            loss = loss + torch.nn.functional.cross_entropy(logits, torch.tensor(ids)) / order.shape[1]
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    save_model(model, folder, files=files)


def _prompt(tokenizer: Any, question: str) -> list[int]:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], chat_template=TEMPLATE, add_generation_prompt=True, tokenize=False
    )
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def share_in_format(folder: Path, questions: Sequence[str]) -> float:
    """Of answers, token by token without sampling, that keep the format and end."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    n_kept = 0
    for question in questions:
        read = torch.tensor([_prompt(tokenizer, question)])
        settings = {"do_sample": False, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
        answer = model.generate(read, attention_mask=torch.ones_like(read), max_new_tokens=_ANSWER_TOKENS, **settings)[
            0, read.shape[1] :
        ]
        text = tokenizer.decode(answer, skip_special_tokens=True)
        n_kept += bool(_FORMAT.fullmatch(text)) and int(answer[-1]) == tokenizer.eos_token_id
    return n_kept / len(questions)


def run_chat(chat: ChatSetting, out: Path, console: Console) -> list[dict[str, Any]]:
    """Every arm that is not there yet; the records of all, in the order of ARMS."""
    setting = chat.setting
    english, (target, path) = next(iter(setting.evals.items())), next(iter(setting.texts.items()))
    asked = {english[0]: questions_of(*english), target: questions_of(target, path)}
    learned = asked[english[0]][chat.questions :]
    held = {name: questions[: chat.questions] for name, questions in asked.items()}
    instruct = out / "instruct"
    if not (instruct / "config.json").is_file():
        train_instruct(setting.model, instruct, learned, chat.steps, chat.seed)
    folders: Mapping[str, Path] = {arm: out / arm.replace(", ", "-").replace(" ", "-") for arm in ARMS}
    found = []
    for arm, folder in folders.items():
        record = folder.with_suffix(".json")
        if not record.is_file():
            console.note(arm)
            model = _made(arm, folder, folders["adapted base"], instruct, chat)
            evals = {name: str(at) for name, at in (english, (target, path))}
            limit = int(float(setting.eval_bytes.removesuffix("kB")) * 1000)
            score = evaluate(
                EvalOptions(model=str(model), texts=evals, limit_bytes=limit, context_tokens=setting.context_tokens),
                console,
            )
            kept = {name: share_in_format(model, questions) for name, questions in held.items()}
            bits = {name: text.bits_per_byte for name, text in score.texts.items()}
            row = {"arm": arm, "in_format": kept, "bits_per_byte": bits, "n_questions": chat.questions}
            write_json_atomic(record, {"format_version": FORMAT_VERSION, **row})
        found.append(read_json(record, next_step="Remove it: the arm is run again."))
    return found


def _made(arm: str, folder: Path, adapted: Path, instruct: Path, chat: ChatSetting) -> Path:
    """The model's folder of an arm."""
    setting, console = chat.setting, Console(quiet=True)
    if arm == "instruct":
        return instruct
    if arm.startswith("chat vector"):
        rows: Any = arm.rpartition(" ")[2]
        options = ChatVectorOptions(
            adapted=adapted, base=str(setting.model), instruct=str(instruct), out=folder, rows=rows
        )
        run_chat_vector(options, console)
        return folder
    model = setting.model if arm == "adapted base" else instruct
    shutil.rmtree(folder, ignore_errors=True)
    shared = {name: value for name, value in asdict(setting).items() if name not in ("model", "run", "evals")}
    adapt(
        AdaptOptions(
            model=str(model), tokenizer=setting.run / "tokenizer", out=folder, plan="full", seed=chat.seed,
            n_samples=0, report_to=(), **shared,
        ),
        console,
    )  # fmt: skip
    return folder / "model"


def chat_table(found: Sequence[Mapping[str, Any]]) -> str:
    """As Markdown."""
    names = list(found[0]["in_format"])
    heads = [f"answers in format, {name}" for name in names] + [f"bits per byte, {name}" for name in names]
    lines = [f"| model | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for row in found:
        cells = [f"{row['in_format'][name]:.0%}" for name in names]
        cells += [f"{row['bits_per_byte'][name]:.3f}" for name in names]
        lines.append(f"| {row['arm']} | {' | '.join(cells)} |")
    return "\n".join(lines)
