"""adapt.json: what was done, what it cost, what was gained and forgotten."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.adapt.arm import StageRecord, final_scores
from trainer.adapt.inputs import Inputs
from trainer.adapt.start import Start
from trainer.data import Exposure
from trainer.evaluate import Gate
from trainer.options import AdaptOptions
from vocabopt.artifacts import FORMAT_VERSION
from vocabopt.versions import versions

_LIBRARIES = ("torch", "transformers", "accelerate", "peft", "safetensors")


def adapt_record(
    options: AdaptOptions,
    inputs: Inputs,
    start: Start,
    *,
    seen: Exposure,
    stages: Sequence[StageRecord],
    status: str,
    samples: Sequence[Mapping[str, str]],
    control: Mapping[str, Any] | None,
    gate: Gate,
) -> dict[str, Any]:
    """What adapt.json holds of the stages that are finished.

    Args:
        seen: how often each new token occurs in the training text.
        status: "running", "finished", or "stopped: " and why.
    """
    after = final_scores(stages, start.initialised)
    return {
        "format_version": FORMAT_VERSION,
        "status": status,
        "n_added": len(inputs.extension.new_ids),
        "plan": inputs.plan.name,
        "init": options.init,
        "model": options.model,
        "tokenizer": str(options.tokenizer_dir),
        "out": str(options.out),
        "options": {**options.as_record(), **inputs.resolved(), "stages": inputs.plan.as_record()["stages"]},
        "versions": versions(*_LIBRARIES),
        "device": inputs.device_name,
        "n_params": start.n_params,
        "texts": {text.name: _text_record(text, start) for text in inputs.evals},
        "document_ends": inputs.ends.as_record(),
        "training_text": inputs.text.as_record(),
        "exposure": seen.as_record(),
        "init_log": start.init_log,
        "before": start.before,
        "initialised": start.initialised,
        "stages": list(stages),
        "after": after,
        "gate": {
            "max_forgetting": options.max_forgetting,
            "texts": list(inputs.base_texts),
            "worst": _worst(gate, start.before, stages),
        },
        "samples": list(samples),
        "control": control,
    }


def _text_record(text: Any, start: Start) -> dict[str, Any]:
    return {
        "role": text.role,
        "n_documents": len(text.documents),
        "n_bytes": text.n_bytes,
        "n_tokens_before": start.n_tokens_before[text.name],
        "n_tokens_after": start.n_tokens_after[text.name],
    }


def _worst(gate: Gate, before: Mapping[str, float], stages: Sequence[StageRecord]) -> float | None:
    """The largest relative rise in bits per byte on base-language text after any stage; None where not measured."""
    rises = [found[1] for stage in stages if (found := gate.worst(before, stage["bits_per_byte"])) is not None]
    return round(max(rises), 6) if rises else None
