"""Records of adaptations as `vocabopt adapt` leaves them, with invented numbers: whole, begun, stopped, hostile."""

from math import exp, log
from typing import Any

from report_data import HOSTILE

N_PARAMS = 61_000_000
STAGES = {"embeddings-head": 0.42, "odd-blocks": 0.3, "even-blocks": 0.28, "lora": 0.05}
N_POINTS = 60
STAGE_BYTES, TOKENS_PER_BYTE, CONTROL_TOKENS_PER_BYTE = 2_500_000, 0.25, 0.6


def fake_curve_points(first: float, last: float, tokens_per_byte: float) -> list[dict[str, Any]]:
    """Logged points whose loss, in bits per byte, falls from `first` to `last`; what is logged is nats per token."""
    points = []
    for i in range(1, N_POINTS + 1):
        bits = last + (first - last) * exp(-4 * i / N_POINTS) + 0.02 * ((i * 7) % 5 - 2)
        n_bytes = STAGE_BYTES * i // N_POINTS
        points.append({"step": 10 * i, "tokens": round(tokens_per_byte * n_bytes), "bytes": n_bytes,
                       "loss": bits * log(2) / tokens_per_byte, "learning_rate": 1e-4, "grad_norm": 1.0,
                       "tokens_per_second": 5_000.0})  # fmt: skip
    return points


def fake_stages(ko: list[float], en: list[float], tokens_per_byte: float, peak: int) -> list[dict[str, Any]]:
    stages = []
    for number, (name, share) in enumerate(STAGES.items()):
        tokens = round(tokens_per_byte * STAGE_BYTES)
        stages.append({
            "name": name, "trains": f"what stage {name} trains", "n_trainable": round(share * N_PARAMS),
            "learning_rate": 1e-4, "n_steps": 10 * N_POINTS, "tokens": tokens, "bytes": STAGE_BYTES,
            "seconds": tokens / (4_000 + 500 * number), "peak_bytes": round(peak * (0.7 + share)),
            "bits_per_byte": {"ko": ko[number + 1], "en": en[number + 1], "ko_reviews": ko[number + 1] + 0.4},
            "curve": fake_curve_points(ko[number] + 0.5, ko[number + 1] + 0.1, tokens_per_byte),
        })  # fmt: skip
    return stages


def fake_source(n_bytes: int, n_documents: int) -> dict[str, Any]:
    return {"n_bytes": n_bytes, "n_documents": n_documents, "share": n_bytes / 8_000_000, "passes": 1.25,
            "n_held_out": 0, "n_excluded": 0}  # fmt: skip


def full_adaptation() -> dict[str, Any]:
    """A finished run with everything in it, which its control beats by 0.05 bits per byte."""
    ko, en = [2.75, 2.1, 1.7, 1.55, 1.5], [1.05, 1.2, 1.16, 1.15, 1.1]
    control_ko, control_en = [2.6, 1.9, 1.6, 1.5, 1.45], [1.0, 1.08, 1.07, 1.08, 1.06]
    prompts = ["오늘 아침에 우리는", "서울은", "The weather today", "옛날 옛적에", "A library is"]
    return {
        "format_version": 1, "status": "finished", "n_added": 400, "plan": "redwhale", "init": "decompose",
        "model": "models/small-english", "tokenizer": "runs/ko/tokenizer", "out": "out", "device": "cpu, 2 threads",
        "n_params": N_PARAMS, "options": {"budget": "10MB", "seed": 0, "replay": {"en": 0.2}},
        "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
        "texts": {
            "en": {"role": "base", "n_documents": 80, "n_bytes": 200_000, "n_tokens_before": 50_000,
                   "n_tokens_after": 50_000},
            "ko": {"role": "target", "n_documents": 120, "n_bytes": 300_000, "n_tokens_before": 180_000,
                   "n_tokens_after": 75_000},
            "ko_reviews": {"role": "target", "n_documents": 40, "n_bytes": 90_000, "n_tokens_before": 60_000,
                           "n_tokens_after": 27_000},
        },
        "training_text": {"n_bytes": 8_000_000, "n_documents": 4_321, "passes": 1.25,
                          "sources": {"ko": fake_source(6_400_000, 4_000), "en": fake_source(1_600_000, 321)}},
        "exposure": {"n_new": 400, "n_unseen": 3, "median": 431, "p10": 57},
        "document_ends": {"start": "<s>", "end": "</s>", "start_id": 1, "end_id": 2, "notes": []},
        "init_log": {"method": "decompose", "match_norm": True, "seed": 0, "n_new": 400, "tables": [], "notes": []},
        "weights": None, "warnings": [],
        "before": {"ko": 2.6, "en": 1.0, "ko_reviews": 3.0},
        "initialised": {"ko": ko[0], "en": en[0], "ko_reviews": 3.15},
        "stages": fake_stages(ko, en, TOKENS_PER_BYTE, 1_400_000_000),
        "after": {"ko": ko[-1], "en": en[-1], "ko_reviews": 1.9},
        "gate": {"max_forgetting": 0.25, "texts": ["en"], "worst": 0.2},
        "full_training": {"peak_bytes": 2_300_000_000, "source": "predicted by vocabopt plan"},
        "samples": [{"prompt": prompt, "before": f"Q {i} and the", "after": "밥을 먹고 학교에 갔습니다.\n그리고"}
                    for i, prompt in enumerate(prompts)],
        "control": {
            "plan": "redwhale", "before": {"ko": 2.6, "en": 1.0, "ko_reviews": 3.0},
            "stages": fake_stages(control_ko, control_en, CONTROL_TOKENS_PER_BYTE, 1_350_000_000),
            "after": {"ko": control_ko[-1], "en": control_en[-1], "ko_reviews": 1.95},
            "samples": [{"prompt": prompts[0], "before": "Q", "after": "밥을"}],
        },
    }  # fmt: skip


def begun_adaptation() -> dict[str, Any]:
    """What there is before the first stage, of a run that measures one text and predicts nothing."""
    record = full_adaptation()
    record |= {"status": "running", "texts": {"ko": record["texts"]["ko"]}, "before": {"ko": 2.6},
               "initialised": {"ko": 2.75}, "after": {"ko": 2.75}, "full_training": None}  # fmt: skip
    record["gate"] = {"max_forgetting": None, "texts": [], "worst": None}
    for name in ("stages", "samples", "control", "weights"):
        del record[name]
    return record


def stopped_adaptation() -> dict[str, Any]:
    """A run whose gate stopped it after the second stage: nothing was measured at its end, and there are no samples."""
    record = full_adaptation()
    record |= {"status": "stopped: stage odd-blocks forgot 16.0 % on en, more than the gate of 10.0 %.", "after": {},
               "stages": record["stages"][:2], "gate": {"max_forgetting": 0.1, "texts": ["en"], "worst": 0.16},
               "samples": [], "control": None, "full_training": None}  # fmt: skip
    record["stages"][0]["bits_per_byte"]["en"] = 1.08
    record["stages"][1]["peak_bytes"] = None
    record["stages"][1]["curve"][-1]["loss"] = float("nan")
    return record


def hostile_adaptation() -> dict[str, Any]:
    """The whole run under names, prompts and texts that would act if they could."""
    record = full_adaptation()
    for name in ("plan", "model", "tokenizer", "device"):
        record[name] = HOSTILE
    record["status"] = f"stopped: {HOSTILE}"
    record["options"][HOSTILE] = record["versions"][HOSTILE] = HOSTILE
    record["training_text"]["sources"][HOSTILE] = fake_source(1, 1)
    record["gate"]["texts"] = [HOSTILE, "뉴스\u2067"]
    record["full_training"]["source"] = HOSTILE
    record["texts"][HOSTILE] = record["texts"]["뉴스\u2067"] = record["texts"]["ko"]
    for given in ("before", "initialised", "after"):
        record[given][HOSTILE] = record[given]["뉴스\u2067"] = 2.0
    for arm in (record, record["control"]):
        for stage in arm["stages"]:
            stage["name"] += HOSTILE
            stage["trains"] = HOSTILE
            stage["bits_per_byte"][HOSTILE] = 1.75
    record["samples"][0] = {"prompt": HOSTILE, "before": f"{HOSTILE}\n\r\n{HOSTILE}\ud800", "after": "가" * 100_000}
    record["samples"][1]["after"] = "\n" * 5_000
    return record
