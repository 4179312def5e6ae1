"""Which text a block of tokens is: the source, the file and the document, for who must look at it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.data.packed import PackedText
from trainer.data.scan import ScannedSource
from trainer.data.text_plan import TextPlan
from vocabopt.errors import VocaboptError
from vocabopt.text.readers import read_blocks

#: Documents that a message has room for, and characters of each.
N_SHOWN = 3
_N_CHARS = 40


@dataclass(frozen=True, kw_only=True)
class TextOrigin:
    """Where a stage's packed text comes from. stage: from 0."""

    plan: TextPlan
    stage: int

    def in_words(self, packed: PackedText, blocks: Sequence[int], seed: int) -> str:
        """The documents in some blocks of the dataset of this seed: 'ko: news.txt, document 12 ("The first ...")'.

        Documents are counted as they are read: those of a file from 1, blank ones left out. The text is read again up
        to them; where it is not there any more they are named by their place in their source.
        """
        order = packed.order(seed)
        numbers = sorted({number for block in blocks for number in _documents(packed, int(order[block]))})
        of_source, places = self.plan.stage(self.stage).order()
        shown = [(int(of_source[number]), int(places[number])) for number in numbers[:N_SHOWN]]
        told = [""] * len(shown)
        for index, source in enumerate(self.plan.sources):
            wanted = {place for of, place in shown if of == index}
            found = _found(source, wanted) if wanted else {}
            for i, (of, place) in enumerate(shown):
                if of == index:
                    told[i] = f"{source.name}: {found.get(place, f'document {place + 1:,}')}"
        more = len(numbers) - len(shown)
        return "; ".join(told) + (f"; and {more:,} more" if more else "")


def _documents(packed: PackedText, block: int) -> range:
    """Of the text of the stage, those with a token in a block (a number in the order of the text)."""
    start = block * packed.context_tokens
    stop = min(start + packed.context_tokens, packed.n_tokens)
    first = int(np.searchsorted(packed.starts, start, side="right")) - 1
    return range(max(first, 0), int(np.searchsorted(packed.starts, stop)))


def _found(source: ScannedSource, places: set[int]) -> Mapping[int, str]:
    """Place in the source -> file, number in it and beginning; what cannot be read again is left out."""
    found: dict[int, str] = {}
    try:
        for place, (url, number, text) in enumerate(_read(source)):
            if place in places:
                beginning = text[:_N_CHARS] + (" ..." if len(text) > _N_CHARS else "")
                found[place] = f'{url}, document {number:,} ("{beginning}")'
                if len(found) == len(places):
                    break
    except (VocaboptError, OSError):
        pass
    return found


def _read(source: ScannedSource) -> Iterator[tuple[str, int, str]]:
    for file in source.source.text_set.files:
        number = 0
        for block in read_blocks(file, source.source.options):
            for text in block.documents:
                number += 1
                yield file.url, number, text
