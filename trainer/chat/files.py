"""The tokenizer and the settings of a chat model: tokens of the adapted model, chat of the instruct model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.chat.record import TemplateCheck
from trainer.init.models import CONFIG, tokenizer_files
from vocabopt.text.scripts import contains_target
from vocabopt.tokenizer import Tokenizer, load_tokenizer
from vocabopt.tokenizer.chat_templates import prompts
from vocabopt.tokenizer.load import TEMPLATE_FOLDER

#: What tokenizer_config.json says of chats.
_CHAT_KEYS = (
    "bos_token", "eos_token", "pad_token", "unk_token", "additional_special_tokens", "extra_special_tokens",
    "chat_template", "add_bos_token", "add_eos_token", "added_tokens_decoder",
)  # fmt: skip
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_GENERATION = "generation_config.json"
#: Of config.json: what may differ between a base and its instruct model and changes nothing that is computed.
_IDLE = frozenset((
    *_IDS, "vocab_size", "_name_or_path", "dtype", "torch_dtype", "transformers_version", "architectures", "use_cache",
))  # fmt: skip


def chat_files(adapted: Path, instruct: Path) -> dict[str, bytes]:
    """The files of the new tokenizer, by their path in the folder.

    The adapted model's, with the chat templates, special tokens and the flags of added tokens of the instruct model,
    and its rule on what opens and closes a text.
    """
    own, chat = tokenizer_files(adapted), tokenizer_files(instruct)
    files = {name: data for name, data in own.items() if not _is_template(name)}
    files |= {name: data for name, data in chat.items() if _is_template(name)}
    files.pop("special_tokens_map.json", None)
    if "special_tokens_map.json" in chat:
        files["special_tokens_map.json"] = chat["special_tokens_map.json"]
    settings, of_chat = _parsed(own, "tokenizer_config.json"), _parsed(chat, "tokenizer_config.json")
    kept = {name: value for name, value in settings.items() if name not in _CHAT_KEYS}
    kept |= {name: of_chat[name] for name in _CHAT_KEYS if name in of_chat}
    files["tokenizer_config.json"] = _written(kept)
    whole, its = _parsed(own, "tokenizer.json"), load_tokenizer(str(instruct)).tokenizer_json
    added = {token["id"]: token for token in (*whole["added_tokens"], *its["added_tokens"])}
    whole["added_tokens"] = [added[index] for index in sorted(added)]
    whole["post_processor"] = its["post_processor"]
    files["tokenizer.json"] = _written(whole)
    return files


def _is_template(name: str) -> bool:
    return name.startswith(("chat_template.", f"{TEMPLATE_FOLDER}/"))


def write_settings(adapted: Path, instruct: Path, folder: Path) -> tuple[str, ...]:
    """Write config.json and generation_config.json: the adapted model's widths, the instruct model's special ids.

    Returns:
        Sentences on settings of the computation in which the two differ; the adapted model's are kept.
    """
    config, of_chat = (json.loads((each / CONFIG).read_text(encoding="utf-8")) for each in (adapted, instruct))
    config |= {name: of_chat[name] for name in _IDS if name in of_chat}
    (folder / CONFIG).write_bytes(_written(config))
    source = next((each for each in (instruct, adapted) if (each / _GENERATION).is_file()), None)
    if source is not None:
        (folder / _GENERATION).write_bytes((source / _GENERATION).read_bytes())
    names = sorted((config.keys() & of_chat.keys()) - _IDLE)
    differ = [name for name in names if config[name] != of_chat[name]]
    if not differ:
        return ()
    shown = ", ".join(f"{name} {config[name]!r}, not {of_chat[name]!r}" for name in differ[:3])
    return (f"config.json keeps what the adapted model has and the instruct model has otherwise: {shown}.",)


def special_ids(instruct: Tokenizer) -> tuple[int, ...]:
    """Ids of special tokens in the prompts of the chat templates, and of those that begin, end and pad text."""
    encoder = instruct.full
    special = {index for index, token in instruct.added.items() if token["special"]}
    used = {index for prompt in prompts(instruct) for index in encoder.encode(prompt, add_special_tokens=False).ids}
    named = {instruct.vocab.get(str(name)) for name in instruct.special_names.values()}
    return tuple(sorted(special & (used | named)))


def check_template(folder: Path, instruct: Path, scripts: Sequence[str]) -> TemplateCheck:
    """How many of the instruct model's chat prompts a folder's tokenizer renders and encodes as its own does.

    Args:
        scripts: of the target: prompts with a character of them have new tokens, and ids of their own.
    """
    mine, its = (load_tokenizer(str(each)) for each in (folder, instruct))
    expected, found = prompts(its), prompts(mine)
    others = [prompt for prompt in expected if not (scripts and contains_target(prompt, tuple(scripts)))]
    encoded = zip(mine.full.encode_batch(others), its.full.encode_batch(others), strict=True)
    return TemplateCheck(
        n_prompts=len(expected),
        n_same_text=sum(before == after for before, after in zip(expected, found, strict=False)),
        n_without_target=len(others),
        n_same_ids=sum(before.ids == after.ids for before, after in encoded),
    )


def _parsed(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(files[name]) if name in files else {}
    return value


def _written(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()
