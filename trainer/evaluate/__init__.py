"""What a model knows: bits per byte of text, sample continuations, the forgetting gate, benchmarks through lm-eval."""

from trainer.evaluate.score import TextScore, loss_note, positions_of, score_text
from trainer.evaluate.texts import continuations, pick_prompts, role_of_text

__all__ = [
    "TextScore",
    "continuations",
    "loss_note",
    "pick_prompts",
    "positions_of",
    "role_of_text",
    "score_text",
]
