"""Programs that vocabopt's own environment has: sentencepiece, tiktoken and Mistral's own Tekken reader."""

import os
import unicodedata
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from installs import Say
from tokenizers_made import Form


class SentencePiece:
    """The sentencepiece library, on tokenizer.model."""

    name = "sentencepiece"
    version = "-"
    reads_special = False

    def prepare(self, cache: Path, say: Say) -> None:
        self.version = version("sentencepiece")

    def reads(self, form: Form) -> bool:
        return form.file(".model") is not None

    def encode(self, form: Form, texts: Sequence[str]) -> list[list[int]]:
        from sentencepiece import SentencePieceProcessor

        processor = SentencePieceProcessor(model_file=str(form.file(".model")))
        ids: list[list[int]] = processor.encode(list(texts))
        return ids


class Tiktoken:
    """OpenAI's tiktoken, on the rank file; what a rank file leaves out, tokenizer.json tells."""

    name = "tiktoken"
    version = "-"
    reads_special = False

    def prepare(self, cache: Path, say: Say) -> None:
        self.version = version("tiktoken")

    def reads(self, form: Form) -> bool:
        return form.file(".tiktoken") is not None

    def encode(self, form: Form, texts: Sequence[str]) -> list[list[int]]:
        # It keeps copies of files by their path, and would read an old one.
        os.environ["TIKTOKEN_CACHE_DIR"] = ""
        from tiktoken import Encoding
        from tiktoken.load import load_tiktoken_bpe

        value, pattern = form.tokenizer_json, form.split_pattern
        assert pattern is not None
        encoding = Encoding(
            name=form.folder.name,
            pat_str=pattern,
            mergeable_ranks=load_tiktoken_bpe(str(form.file(".tiktoken"))),
            special_tokens={token["content"]: token["id"] for token in value["added_tokens"]},
        )
        normal_form = value["normalizer"] and value["normalizer"]["type"]
        normalised = (unicodedata.normalize(normal_form, text) if normal_form else text for text in texts)
        return [encoding.encode_ordinary(text) for text in normalised]


class Tekkenizer:
    """Mistral's mistral_common, on tekken.json."""

    name = "mistral_common"
    version = "-"
    reads_special = False

    def prepare(self, cache: Path, say: Say) -> None:
        self.version = version("mistral_common")

    def reads(self, form: Form) -> bool:
        return form.file("tekken.json") is not None

    def encode(self, form: Form, texts: Sequence[str]) -> list[list[int]]:
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer as Reader

        reader = Reader.from_file(str(form.file("tekken.json")))
        return [reader.encode(text, bos=False, eos=False) for text in texts]
