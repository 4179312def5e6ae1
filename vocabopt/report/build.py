"""The page with its data, kept under its size: what does not fit is left out, and the page says so."""

from collections.abc import Mapping, Sequence

from vocabopt.bases import Base
from vocabopt.errors import PlaygroundError
from vocabopt.report.draw import Picture
from vocabopt.report.packs import MAX_PAGE_BYTES, Pack, curve_pack, samples_pack, tokens_pack
from vocabopt.report.page import render
from vocabopt.report.playground import pack_tokenizer
from vocabopt.report.text import size_of
from vocabopt.report.view import View


def build_page(
    view: View,
    pictures: Sequence[Picture],
    *,
    samples: Mapping[str, Sequence[str]] | None,
    base: Base | None,
    base_problem: str | None,
) -> str:
    """The page as one string, of at most 4 MB: without the playground, and the search, where they make it larger."""
    packs = {"curve": curve_pack(view)}
    if view.curve.height:
        packs["tokens"] = tokens_pack(view, base)
    problem = base_problem
    if base is not None:
        try:
            playground = Pack(name="playground", data=pack_tokenizer(base, view.curve))
        except PlaygroundError as error:
            problem = str(error)
        else:
            sentences = samples_pack(view, samples)
            with_it = packs | ({} if sentences is None else {"samples": sentences}) | {"playground": playground}
            page = render(view, pictures, with_it)
            if _fits(page):
                return page
            problem = (
                f"the tokenizer, {size_of(len(playground.base64))} packed, would make this page larger than "
                f"{size_of(MAX_PAGE_BYTES)}."
            )
    page = render(view, pictures, packs, playground_problem=problem)
    if _fits(page):
        return page
    # A hundred thousand tokens and more: the first and the last of them still stand in the page.
    return render(view, pictures, {"curve": packs["curve"]}, playground_problem=problem)


def _fits(page: str) -> bool:
    return len(page.encode()) <= MAX_PAGE_BYTES
