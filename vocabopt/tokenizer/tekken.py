"""Tekken, the tokenizers of Mistral NeMo and later: a JSON file of ranks, of which the first are used.

Special tokens have the first ids, rank r has the id n_special + r. A file holds more ranks than the model's vocabulary
has room for; the config's sizes say how many count (mistral-common, tokens/tokenizers/tekken.py).
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vocabopt.errors import BaseTokenizerError
from vocabopt.tokenizer.ranks import byte_level_json

#: Special tokens of files that do not list theirs (v3 to v7), in the order of their ids.
_UNLISTED = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"),
    *("[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)
_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


@dataclass(frozen=True, kw_only=True)
class Tekken:
    """The part of a Tekken file that counts. ranks: of the tokens in use. specials: content -> id."""

    document: Mapping[str, Any]
    ranks: Mapping[bytes, int]
    specials: Mapping[str, int]
    pattern: str

    def names(self) -> dict[str, str]:
        """bos_token, eos_token ... as tokenizer_config.json names them."""
        return {name: content for name, content in _NAMES.items() if content in self.specials}

    def tokenizer_json(self) -> dict[str, Any]:
        """tokenizer.json with the same ids on ordinary text."""
        bos = self.names().get("bos_token")
        first_id = len(self.specials)
        return byte_level_json(self.ranks, self.specials, pattern=self.pattern, bos=bos, first_id=first_id)

    def extended(self, texts: Sequence[bytes]) -> bytes:
        """The file with more tokens behind those in use; ranks that were not in use give way."""
        config = self.document["config"]
        tokens = [*self.ranks, *texts]
        vocab = [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": _text_of(token)}
            for rank, token in enumerate(tokens)
        ]
        sizes = {"num_vocab_tokens": len(tokens), "default_vocab_size": len(tokens) + len(self.specials)}
        return json.dumps({**self.document, "config": {**config, **sizes}, "vocab": vocab}, ensure_ascii=False).encode()


def is_tekken(value: Any) -> bool:
    """Is this parsed JSON a Tekken file?"""
    return isinstance(value, dict) and {"config", "vocab"} <= value.keys() and isinstance(value["vocab"], list)


def parse_tekken(document: Mapping[str, Any], place: str) -> Tekken:
    """Take the tokens in use out of a Tekken file.

    Raises:
        BaseTokenizerError: a field is missing or does not fit the others.
    """
    try:
        config = document["config"]
        n_special, n_total = int(config["default_num_special_tokens"]), int(config["default_vocab_size"])
        pattern = str(config["pattern"])
        listed = document.get("special_tokens")
        specials = {content: index for index, content in enumerate(_UNLISTED)}
        if listed is not None:
            specials = {token["token_str"]: int(token["rank"]) for token in listed}
        specials |= {f"<SPECIAL_{index}>": index for index in range(len(specials), n_special)}
        used = document["vocab"][: n_total - n_special]
        ranks = {base64.b64decode(entry["token_bytes"]): int(entry["rank"]) for entry in used}
    except (KeyError, TypeError, ValueError) as error:
        raise BaseTokenizerError(f"{place}: is not a whole Tekken file ({type(error).__name__}: {error}).") from error
    if list(ranks.values()) != list(range(n_total - n_special)) or sorted(specials.values()) != list(range(n_special)):
        raise BaseTokenizerError(
            f"{place}: a Tekken file whose sizes do not fit: {len(ranks):,} ranks and {len(specials):,} special tokens "
            f"for a vocabulary of {n_total:,} with {n_special:,} special ones. Fetch the file again."
        )
    return Tekken(document=document, ranks=ranks, specials=specials, pattern=pattern)


def _text_of(token: bytes) -> str | None:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None
