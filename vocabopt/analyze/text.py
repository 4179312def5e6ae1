"""A text set as the measures see it: its documents, its words and how often each occurs."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vocabopt.corpus import named_set
from vocabopt.errors import CorpusError
from vocabopt.readers import ReadOptions, read_blocks

# Jamo of every kind: conjoining (also of old Hangul), compatibility and half-width.
_JAMO = re.compile("[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff\u3130-\u318f\uffa0-\uffdc]")
_CONJOINING = re.compile("[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]")
_SYLLABLE = re.compile("[\uac00-\ud7a3]")
_HANGUL = re.compile("[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff\u3130-\u318f\uffa0-\uffdc\uac00-\ud7a3]")


@dataclass(frozen=True, kw_only=True)
class Text:
    """Documents of one set. words: runs of characters that are not white space, and how often each occurs."""

    name: str
    path: str
    documents: Sequence[str]
    words: Counter[str]

    @property
    def n_bytes(self) -> int:
        return sum(len(document.encode()) for document in self.documents)

    @property
    def n_chars(self) -> int:
        return sum(len(document) for document in self.documents)

    @property
    def n_words(self) -> int:
        return self.words.total()

    @property
    def eojeols(self) -> Counter[str]:
        """Words that hold Hangul: what Korean puts between spaces."""
        return Counter({word: n for word, n in self.words.items() if _HANGUL.search(word)})

    @property
    def is_korean(self) -> bool:
        """Whether half of the words or more hold Hangul."""
        return 0 < self.n_words <= 2 * self.eojeols.total()

    @property
    def jamo(self) -> tuple[int, int, int]:
        """Characters of Hangul: jamo of any kind, those that NFD makes (conjoining ones), all."""
        n_jamo = n_conjoining = n_all = 0
        for word, n in self.eojeols.items():
            n_jamo += n * len(_JAMO.findall(word))
            n_conjoining += n * len(_CONJOINING.findall(word))
            n_all += n * (len(_JAMO.findall(word)) + len(_SYLLABLE.findall(word)))
        return n_jamo, n_conjoining, n_all


def read_text(name: str, path: str, options: ReadOptions) -> Text:
    """All documents of a path; blank ones are left out, as everywhere.

    Raises:
        CorpusError: the path is missing, unreadable, or holds no text.
    """
    documents = [
        document
        for file in named_set(name, path, "eval").files
        for block in read_blocks(file, options)
        for document in block.documents.to_list()
    ]
    if not documents:
        raise CorpusError(f"--text {name}={path}: only blank lines; nothing to measure. Name files that hold text.")
    words = Counter(word for document in documents for word in document.split())
    return Text(name=name, path=path, documents=documents, words=words)
