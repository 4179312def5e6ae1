"""The fields that the page needs of files which other commands leave in a run directory."""

from vocabopt.fields import NUMBER, Shape

_BITS_PER_BYTE = {"*": (int, float, type(None))}

VERIFY: Shape = {
    "passed": bool,
    "base": {"name?": str},
    "new": {"name?": str},
    "n_new": int,
    "scripts": [str],
    "checks": [{"name": str, "status": str, "summary": str, "examples": [{"what": str, "base": str, "new": str}]}],
}
_POINT = {"step?": NUMBER, "tokens?": NUMBER, "bytes?": NUMBER, "loss?": NUMBER}
_STAGE = {
    "name?": str,
    "trains?": str,
    "n_trainable?": NUMBER,
    "n_steps?": NUMBER,
    "tokens?": NUMBER,
    "bytes?": NUMBER,
    "seconds?": NUMBER,
    "peak_bytes?": NUMBER,
    "learning_rate?": NUMBER,
    "bits_per_byte": _BITS_PER_BYTE,
    "curve?": [_POINT],
}
_SAMPLES = [{"prompt": str, "before?": str, "after?": str}]
_TEXT = {"role?": str, **dict.fromkeys(("n_documents?", "n_bytes?", "n_tokens_before?", "n_tokens_after?"), NUMBER)}
_READ = {"n_bytes?": NUMBER, "n_documents?": NUMBER}
#: What `vocabopt adapt` leaves; the control is the original tokenizer with the same text and plan.
ADAPT: Shape = {
    **dict.fromkeys(("status?", "plan?", "init?", "model?", "tokenizer?", "out?", "device?"), str),
    "n_added?": int,
    "n_params?": NUMBER,
    "options?": {},
    "versions?": {},
    "texts?": {"*": _TEXT},
    "training_text?": {**_READ, "passes?": NUMBER, "sources?": {"*": _READ}},
    "exposure?": dict.fromkeys(("n_new?", "n_unseen?", "median?", "p10?"), NUMBER),
    "before": _BITS_PER_BYTE,
    "initialised?": _BITS_PER_BYTE,
    "stages?": [_STAGE],
    "after": _BITS_PER_BYTE,
    "gate?": {"max_forgetting?": NUMBER, "worst?": NUMBER, "texts?": [str]},
    "full_training?": {"peak_bytes?": NUMBER, "source?": str},
    "samples?": _SAMPLES,
    "control?": {
        "plan?": str,
        "n_params?": NUMBER,
        "before?": _BITS_PER_BYTE,
        "stages?": [_STAGE],
        "after": _BITS_PER_BYTE,
        "samples?": _SAMPLES,
    },
}
_MEASURE = {
    "n_tokens": int,
    "tokens_per_word?": NUMBER,
    "bytes_per_token?": NUMBER,
    "share_words_whole?": NUMBER,
    "share_unknown_tokens?": NUMBER,
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
            "seconds": NUMBER,
            "taken": _EXAMPLES,
            "kept": _EXAMPLES,
        }
    ],
}
