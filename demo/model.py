"""Models of four families from their config, with random weights; and the tokenizer: SentencePiece BPE with byte
fallback, as the paper's base SOLAR and its kin have it.
"""

import io
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sentencepiece
import torch

from demo.options import CHARACTER_COVERAGE, DemoOptions
from vocabopt.errors import OptionError
from vocabopt.merging.export import merged_files
from vocabopt.merging.extension import Addition
from vocabopt.tokenizer import Tokenizer, load_base

if TYPE_CHECKING:
    from transformers import PreTrainedModel


#: As Llama's and Mistral's: digits alone, text as it is, and every byte a piece.
SETTINGS: Mapping[str, Any] = {
    "model_type": "bpe",
    "byte_fallback": True,
    "split_digits": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "allow_whitespace_only_pieces": True,
    # Longer documents are left out silently otherwise.
    "max_sentence_length": 1 << 30,
    "minloglevel": 2,
}
_NOTHING = Addition(method="grow", pieces=(), texts=(), merges=())


def train_tokenizer(documents: Iterable[str], vocab_size: int, character_coverage: float = CHARACTER_COVERAGE) -> bytes:
    """A SentencePiece model file of `vocab_size` tokens; the same text in the same order gives the same bytes.

    Args:
        character_coverage: rarer characters are spelled in bytes.

    Raises:
        OptionError: the text does not give so many, or its characters need more.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(documents),
            model_writer=model,
            vocab_size=vocab_size,
            character_coverage=character_coverage,
            **SETTINGS,
        )
    except RuntimeError as error:
        raise OptionError(
            f"--vocab-size {vocab_size}: sentencepiece cannot train it on this text ({error}). Name another size, "
            "a lower --character-coverage, or give more text."
        ) from error
    return model.getvalue()


def base_of_model(data: bytes) -> Tokenizer:
    """The base tokenizer that a SentencePiece model file makes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.model"
        path.write_bytes(data)
        return load_base(str(path))


def tokenizer_files(base: Tokenizer) -> dict[str, bytes]:
    """tokenizer.json, tokenizer_config.json and tokenizer.model, as a merge writes them, with nothing added."""
    return merged_files(base, _NOTHING, base)


#: Parts of a block that write to the residual stream: attention's and the MLP's last layer, in the four families.
_WRITERS = ("o_proj", "down_proj", "c_proj", "attention.dense", "dense_4h_to_h")
_MLP_MULTIPLE = 64


def build_model(options: DemoOptions, *, n_tokens: int, special_ids: Mapping[str, int]) -> "PreTrainedModel":
    """A model with a row for each token and weights drawn by the seed, in float32 on the CPU.

    Args:
        special_ids: bos_token_id, eos_token_id.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        options.family.replace("-", "_"),
        vocab_size=n_tokens,
        tie_word_embeddings=options.tied,
        **_shape(options),
        **special_ids,
    )
    torch.manual_seed(options.seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    return model


def _shape(options: DemoOptions) -> dict[str, Any]:
    """The config's fields, by the names of the family."""
    if options.family == "gpt2":
        # Dropout is ours alone, see `drop_in_training`.
        no_dropout = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), 0.0)
        names = ("n_embd", "n_layer", "n_head", "n_positions")
        values = (options.width, options.n_blocks, options.n_heads, options.context_tokens)
        return {**dict(zip(names, values, strict=True)), **no_dropout}
    shape = {
        "hidden_size": options.width,
        "intermediate_size": 4 * options.width,
        "num_hidden_layers": options.n_blocks,
        "num_attention_heads": options.n_heads,
        "max_position_embeddings": options.context_tokens,
    }
    if options.family in ("llama", "qwen2"):
        # Three matrices of 8/3 of the width hold what two of four times the width do.
        shape["intermediate_size"] = max(1, round(options.width * 8 / 3 / _MLP_MULTIPLE)) * _MLP_MULTIPLE
        shape["num_key_value_heads"] = options.n_heads
    return shape


def drop_in_training(model: "PreTrainedModel", share: float) -> list[torch.utils.hooks.RemovableHandle]:
    """Dropout behind the embedding and behind what each half of a block adds, while the model trains.

    Llama's and Qwen2's code has dropout for attention only, and 140 kB of text are learned by heart without any.

    Returns:
        What takes it off again: model and config are those of a model that never had it.
    """
    if not share:
        return []

    def drop(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(output, share, module.training)

    found = [module for name, module in model.named_modules() if name.endswith(_WRITERS)]
    embedding: torch.nn.Module = model.get_input_embeddings()
    return [module.register_forward_hook(drop) for module in (embedding, *found)]
