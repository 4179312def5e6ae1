"""Documents as their paragraphs: the lines of a document that are not blank."""

import polars as pl


def split_paragraphs(documents: pl.DataFrame) -> pl.DataFrame:
    """A row per line of each document, in order. Adds document (its row) and is_unit (is the line a paragraph)."""
    lines = documents.with_row_index("document").with_columns(pl.col("text").str.split("\n")).explode("text")
    return lines.with_columns(is_unit=pl.col("text").str.strip_chars() != "")


def without(documents: pl.DataFrame, keep: pl.Series, why: pl.Series) -> tuple[pl.Series, pl.DataFrame]:
    """Take paragraphs out. keep, why: Boolean and String, a row per paragraph of all documents, in order.

    Returns:
        The texts, String [n_documents], "" where nothing is left and as they were where nothing went; and the
        paragraphs taken: source, line, text, why.
    """
    lines = split_paragraphs(documents)
    at = lines["is_unit"].arg_true()
    assert len(at) == len(keep), "a decision of other paragraphs"
    kept_line = pl.Series([True], dtype=pl.Boolean).new_from_index(0, len(lines)).scatter(at, keep)
    reason = pl.Series([None], dtype=pl.String).new_from_index(0, len(lines)).scatter(at, why)
    lines = lines.with_columns(kept=kept_line, why=reason)
    gone = lines.filter(~pl.col("kept")).select("source", "line", "text", "why")
    touched = gone_documents = lines.filter(~pl.col("kept"))["document"].unique()
    joined = (
        lines.filter(pl.col("kept") & pl.col("document").is_in(gone_documents.implode()))
        .group_by("document", maintain_order=True)
        .agg(pl.col("text").str.join("\n"))
    )
    left = dict(zip(joined["document"].to_list(), joined["text"].to_list(), strict=True))
    new = [left.get(document, "").strip("\n") for document in touched.to_list()]
    new = [text if text.strip() else "" for text in new]
    return documents["text"].scatter(touched, new), gone
