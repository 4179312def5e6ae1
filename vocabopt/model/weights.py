"""What a model's weights say of its tables, against config.json: from the heads of safetensors files, without torch.

Config files are edited by hand and by scripts that merge adapters, and believing one means to drop a trained output
table without a word. What the weights hold is what was trained.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocabopt.errors import ModelError
from vocabopt.failures import refusal
from vocabopt.text.utf8 import json_value

#: The input and output table by the ends of their names, in the order in which they are looked for.
_INPUTS = (
    *("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight"),
    *("tok_embeddings.weight", "wte.embedding.weight"),
)
_OUTPUTS = ("lm_head.weight", "embed_out.weight")
#: Parts of names of tables that are not the text's.
_OTHERS = ("vision", "visual", "audio", "encoder.", "per_layer")
#: Types of positions and masks, which some files hold beside the weights.
_NO_WEIGHTS = ("I64", "BOOL")
#: Bytes compared at a time.
_PIECE_BYTES = 1 << 24
#: Of the head of a file, which is JSON.
_MOST_HEAD_BYTES = 100_000_000


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """Where a tensor lies. dtype: as safetensors names it, such as BF16. begin, end: its bytes in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int
    end: int

    @property
    def n_values(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class StoredTables:
    """The text model's input and output table in the weights; None for one that is not there.

    n_blocks: that lie beside the input table; None where they go by other names. dtype: of most values of all tensors
    but those of positions and masks, which no weight has.
    """

    input: StoredTensor | None
    output: StoredTensor | None
    n_blocks: int | None
    dtype: str

    def contradiction(self, *, n_rows: int, n_blocks: int | None) -> str | None:
        """What they hold otherwise than config.json says, in a sentence; None where they agree.

        Args:
            n_rows, n_blocks: vocab_size and num_hidden_layers as config.json has them; None where blocks beyond these
                are no error.
        """
        for table in (self.input, self.output):
            if table is not None and table.shape[0] != n_rows:
                return (
                    f"config.json says vocab_size {n_rows:,}; {table.name} has {table.shape[0]:,} rows in "
                    f"{table.file.name}. Correct the config, or fetch the weights that belong to it."
                )
        if n_blocks is not None and self.n_blocks is not None and self.n_blocks != n_blocks:
            return (
                f"config.json says num_hidden_layers {n_blocks:,}; the weights hold {self.n_blocks:,} blocks. Correct "
                "the config, or fetch the weights that belong to it."
            )
        return None

    def is_untied(self) -> bool:
        """Whether the weights hold an output table of its own: another one than the input table, in any bit."""
        if self.input is None or self.output is None:
            return False
        if (self.input.shape, self.input.dtype) != (self.output.shape, self.output.dtype):
            return True
        return any(a != b for a, b in zip(_pieces(self.input), _pieces(self.output), strict=True))


def stored_tables(folder: Path) -> StoredTables | None:
    """The tables in a model's safetensors files, those that transformers reads; None where they are not all there.

    Raises:
        ModelError: a file is cut short, or no safetensors file.
    """
    tensors = {tensor.name: tensor for file in weight_files(folder) for tensor in _read_head(file)}
    if not tensors:
        return None
    n_values: dict[str, int] = {}
    for tensor in tensors.values():
        n_values[tensor.dtype] = n_values.get(tensor.dtype, 0) + (tensor.dtype not in _NO_WEIGHTS) * tensor.n_values
    table, n_blocks = _table(tensors, _INPUTS), None
    if table is not None:
        # Blocks lie beside the input table: model.layers.0 ... beside model.embed_tokens.
        root = re.sub(r"(wte\.embedding|[^.]+)\.weight$", "", table.name)
        pattern = re.compile(re.escape(root) + r"(?:layers|h|blocks)\.(\d+)\.")
        n_blocks = max((int(found[1]) + 1 for name in tensors if (found := pattern.match(name))), default=None)
    return StoredTables(
        input=table,
        output=_table(tensors, _OUTPUTS),
        n_blocks=n_blocks,
        dtype=max(n_values, key=lambda dtype: (n_values[dtype], dtype)),
    )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model's weights, those that transformers reads; [] where they are not all there.

    A folder may hold others beside them: adapters, or Mistral's own consolidated.safetensors.

    Raises:
        ModelError: their index cannot be read.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if not index.is_file():
        return []
    try:
        record = json_value(index.read_bytes())
    except OSError as error:
        raise ModelError(refusal(error, index, what="cannot be read")) from error
    except ValueError as error:
        raise ModelError(f"{index}: is not JSON ({error}). Fetch it again.") from error
    names = record.get("weight_map") if isinstance(record, dict) else None
    if not isinstance(names, dict):
        raise ModelError(f"{index}: field weight_map is missing. Fetch it again.")
    files = [folder / str(name) for name in sorted(set(map(str, names.values())))]
    # With some of them only, what is not found could lie in the others.
    return files if all(file.is_file() for file in files) else []


def _table(tensors: dict[str, StoredTensor], ends: tuple[str, ...]) -> StoredTensor | None:
    for end in ends:
        found = [
            tensor
            for name, tensor in sorted(tensors.items())
            if (name == end or name.endswith(f".{end}"))
            and len(tensor.shape) == 2
            and not any(other in name for other in _OTHERS)
        ]
        if len(found) == 1:
            return found[0]
    return None


def _read_head(file: Path) -> Iterator[StoredTensor]:
    """https://huggingface.co/docs/safetensors: eight bytes of length, JSON of names, then the bytes of the tensors."""
    try:
        with file.open("rb") as opened:
            n_head = int.from_bytes(opened.read(8), "little")
            if not 2 <= n_head <= _MOST_HEAD_BYTES:
                raise ValueError("its head has no length")
            head: dict[str, Any] = json_value(opened.read(n_head))
        first, n_file = 8 + n_head, file.stat().st_size
        tensors = [
            StoredTensor(
                name=name,
                dtype=entry["dtype"],
                shape=tuple(entry["shape"]),
                file=file,
                begin=first + entry["data_offsets"][0],
                end=first + entry["data_offsets"][1],
            )
            for name, entry in head.items()
            if name != "__metadata__"
        ]
    except OSError as error:
        raise ModelError(refusal(error, file, what="cannot be read")) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(f"{file}: is no whole safetensors file ({error}). Fetch it again.") from error
    whole = max((tensor.end for tensor in tensors), default=0)
    if whole > n_file:
        raise ModelError(f"{file}: is cut short: it has {n_file:,} bytes of {whole:,}. Fetch it again.")
    yield from tensors


def _pieces(tensor: StoredTensor) -> Iterator[bytes]:
    with tensor.file.open("rb") as file:
        file.seek(tensor.begin)
        for begin in range(tensor.begin, tensor.end, _PIECE_BYTES):
            yield file.read(min(_PIECE_BYTES, tensor.end - begin))
