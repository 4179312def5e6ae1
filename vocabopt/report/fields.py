"""The fields that the page needs of files which other commands leave in a run directory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vocabopt.errors import RunDirectoryError

#: What a value is to be: a mapping of field to shape (one that ends in "?" may be missing or null, "*" is any field),
#: a list of one shape, or types.
Shape = Mapping[str, Any] | list[Any] | type | tuple[type, ...]

_NUMBER = (int, float)
_BITS_PER_BYTE = {"*": (int, float, type(None))}

VERIFY: Shape = {
    "passed": bool,
    "base": {"name?": str},
    "new": {"name?": str},
    "n_new": int,
    "scripts": [str],
    "checks": [{"name": str, "status": str, "summary": str, "examples": [{"what": str, "base": str, "new": str}]}],
}
_POINT = {"step?": _NUMBER, "tokens?": _NUMBER, "bytes?": _NUMBER, "loss?": _NUMBER}
_STAGE = {
    "name?": str,
    "trains?": str,
    "n_trainable?": _NUMBER,
    "n_steps?": _NUMBER,
    "tokens?": _NUMBER,
    "bytes?": _NUMBER,
    "seconds?": _NUMBER,
    "peak_bytes?": _NUMBER,
    "learning_rate?": _NUMBER,
    "bits_per_byte": _BITS_PER_BYTE,
    "curve?": [_POINT],
}
_SAMPLES = [{"prompt": str, "before?": str, "after?": str}]
_TEXT = {"role?": str, **dict.fromkeys(("n_documents?", "n_bytes?", "n_tokens_before?", "n_tokens_after?"), _NUMBER)}
_READ = {"n_bytes?": _NUMBER, "n_documents?": _NUMBER}
#: What `vocabopt adapt` leaves; the control is the original tokenizer with the same text and plan.
ADAPT: Shape = {
    **dict.fromkeys(("status?", "plan?", "init?", "model?", "tokenizer?", "out?", "device?"), str),
    "n_added?": int,
    "n_params?": _NUMBER,
    "options?": {},
    "versions?": {},
    "texts?": {"*": _TEXT},
    "training_text?": {**_READ, "passes?": _NUMBER, "sources?": {"*": _READ}},
    "exposure?": dict.fromkeys(("n_new?", "n_unseen?", "median?", "p10?"), _NUMBER),
    "before": _BITS_PER_BYTE,
    "initialised?": _BITS_PER_BYTE,
    "stages?": [_STAGE],
    "after": _BITS_PER_BYTE,
    "gate?": {"max_forgetting?": _NUMBER, "worst?": _NUMBER, "texts?": [str]},
    "full_training?": {"peak_bytes?": _NUMBER, "source?": str},
    "samples?": _SAMPLES,
    "control?": {
        "plan?": str,
        "n_params?": _NUMBER,
        "before?": _BITS_PER_BYTE,
        "stages?": [_STAGE],
        "after": _BITS_PER_BYTE,
        "samples?": _SAMPLES,
    },
}
_MEASURE = {
    "n_tokens": int,
    "tokens_per_word?": _NUMBER,
    "bytes_per_token?": _NUMBER,
    "share_words_whole?": _NUMBER,
    "share_unknown_tokens?": _NUMBER,
}
ANALYSIS: Shape = {
    "sets": {"*": {}},
    "tokenizers": [{"name": str, "n_tokens": int, "sets": {"*": _MEASURE}}],
}
_EXAMPLES = [{"id": str, "text": str, "after?": str, "why?": str}]
_COUNTS = ("n_documents_in", "n_documents_out", "n_bytes_in", "n_bytes_out", "n_changed")
#: What `vocabopt prepare` leaves.
PREPARE: Shape = {
    "steps": [
        {
            "step": str,
            **dict.fromkeys(_COUNTS, int),
            "n_tokens_in?": int,
            "n_tokens_out?": int,
            "seconds": _NUMBER,
            "taken": _EXAMPLES,
            "kept": _EXAMPLES,
        }
    ],
}
_WORDS = {str: "a text", bool: "true or false", int: "a whole number"}


def check_fields(value: Any, shape: Shape, path: Path, next_step: str, field: str = "") -> None:
    """Refuse a file without the fields of a shape.

    Raises:
        RunDirectoryError: names file and field (checks.0.name is the name of the first of checks), and what to do.
    """
    words = _words(shape)
    is_right = isinstance(value, dict if isinstance(shape, Mapping) else list if isinstance(shape, list) else shape)
    if not is_right:
        raise RunDirectoryError(f"{path}: field {field} is not {words}. {next_step}")
    if isinstance(shape, list):
        for index, item in enumerate(value):
            check_fields(item, shape[0], path, next_step, f"{field}.{index}")
    if not isinstance(shape, Mapping):
        return
    for name, inner in shape.items():
        for key in value if name == "*" else [name.removesuffix("?")]:
            inside = f"{field}.{key}" if field else key
            if key in value and not (name.endswith("?") and value[key] is None):
                check_fields(value[key], inner, path, next_step, inside)
            elif not name.endswith("?"):
                raise RunDirectoryError(f"{path}: field {inside} is missing. {next_step}")


def _words(shape: Shape) -> str:
    if isinstance(shape, Mapping):
        return "a mapping"
    if isinstance(shape, list):
        return "a list"
    return _WORDS.get(shape, "a number") if isinstance(shape, type) else "a number"
