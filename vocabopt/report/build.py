"""The page with its data, kept under its size: what does not fit is left out, and the page says so."""

from collections.abc import Mapping, Sequence

from vocabopt.errors import PlaygroundError
from vocabopt.report.draw import Picture
from vocabopt.report.packs import MAX_PAGE_BYTES, Pack, curve_pack, samples_pack, tokens_pack
from vocabopt.report.page import render
from vocabopt.report.playground import pack_tokenizer
from vocabopt.report.text import size_of
from vocabopt.report.view import View
from vocabopt.text.utf8 import encoded_for_display
from vocabopt.tokenizer import Base

#: What a page too large does without, in this order.
_SPARED = (("playground", "samples"), ("tokens",), ("curve",))


def build_page(
    view: View,
    pictures: Sequence[Picture],
    *,
    samples: Mapping[str, Sequence[str]] | None,
    base: Base | None,
    base_problem: str | None,
) -> str:
    """The page as one string: of at most 4 MB, or without any of the data that its scripts read."""
    packs, left_out = _packs(view, samples, base, base_problem)
    page = render(view, pictures, packs, left_out)
    for names in _SPARED:
        spared = [packs.pop(name) for name in names if name in packs and not _fits(page)]
        if spared:
            n_bytes = sum(len(pack.base64) for pack in spared)
            why = f"its {size_of(n_bytes)} would make this page larger than {size_of(MAX_PAGE_BYTES)}."
            left_out |= {pack.name: why for pack in spared}
            page = render(view, pictures, packs, left_out)
    return page


def _packs(
    view: View, samples: Mapping[str, Sequence[str]] | None, base: Base | None, base_problem: str | None
) -> tuple[dict[str, Pack], dict[str, str]]:
    """The page's data by name; and by name what there is no data of, with the reason."""
    packs = {"curve": curve_pack(view)}
    if view.curve.height:
        packs["tokens"] = tokens_pack(view, base)
    sentences, why = samples_pack(view, samples), base_problem or "the base tokenizer was not at hand."
    if base is not None:
        try:
            playground = Pack(name="playground", data=pack_tokenizer(base, view.curve))
        except PlaygroundError as error:
            why = str(error)
        else:
            return packs | ({} if sentences is None else {"samples": sentences}) | {"playground": playground}, {}
    return packs, {"playground": why} | ({} if sentences is None else {"samples": why})


def _fits(page: str) -> bool:
    return len(encoded_for_display(page)) <= MAX_PAGE_BYTES
