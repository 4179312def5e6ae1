"""What the page and its figures show: rows picked from the sweep and its curve, nothing estimated.

The divisions made here are those of one given integer by another (tokens by base tokens, by words, bytes by tokens).
What is not given stays None and is shown as a dash.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from vocabopt.choice.heldout import small_heldout_sentence
from vocabopt.choice.sizes import occurrences
from vocabopt.growth.guard import guard_sentences, is_open
from vocabopt.report.decision import Decision
from vocabopt.report.rows import PointRow, TextSet, UnionRow, UsedRow, quotient
from vocabopt.report.training import Training
from vocabopt.tables import proved_documents

Floats = npt.NDArray[np.float64]

N_TOKENS_SHOWN = 40


class View:
    """The sweep, its curve and the run, asked in the words of the page."""

    def __init__(
        self,
        sweep: Mapping[str, Any],
        curve: pl.DataFrame,
        run: Mapping[str, Any],
        union: Mapping[str, Any] | None = None,
        *,
        verify: Mapping[str, Any] | None = None,
        adapt: Mapping[str, Any] | None = None,
        analysis: Mapping[str, Any] | None = None,
        prepare: Mapping[str, Any] | None = None,
    ) -> None:
        self.sweep, self.curve, self.run, self.union = sweep, curve, run, union
        self.verify, self.analysis, self.prepare = verify, analysis, prepare
        self.training = None if adapt is None else Training(adapt)
        self.given_sets: Mapping[str, Mapping[str, Any]] = sweep["sets"]
        self.given_points: list[Mapping[str, Any]] = sweep["points"]
        self.choice: Mapping[str, Any] = sweep["choice"]
        self.decision = Decision(self.choice)
        self.n_choice = int(self.choice["n_added"])
        self.train = self._named("train")
        # Every sweep has a held-out set; with --heldout 0, or too few documents, it has no tokens.
        self._heldout_given = self._named("heldout")
        self.heldout = self._heldout_given if self._has_tokens(self._heldout_given) else None
        # The set whose numbers stand first: the one that the choice was made on.
        chosen_on = self.choice.get("set")
        by_role = self.train if self.heldout is None else self.heldout
        self.main: str | None = chosen_on if self._has_tokens(chosen_on) else by_role

    def _named(self, role: str) -> str | None:
        """The set of this role, the one the choice was made on first."""
        names = [name for name, given in self.given_sets.items() if given.get("role") == role]
        chosen_on = self.choice.get("set")
        return chosen_on if chosen_on in names else next(iter(names), None)

    def _has_tokens(self, name: str | None) -> bool:
        return name is not None and name in self.given_sets and self.given_sets[name].get("n_tokens_base") != 0

    @property
    def main_words(self) -> str:
        """How the page calls the text whose numbers stand first."""
        return self.words_of(self.main)

    def words_of(self, name: str | None) -> str:
        if name is not None and name == self.heldout:
            return "held-out text"
        return "training text" if name == self.train else f"text set {name}"

    def _cell(self, column: str, n_added: int) -> int | None:
        if column not in self.curve.columns or not 0 < n_added <= self.curve.height:
            return None
        value: int | None = self.curve.item(n_added - 1, column)
        return value

    def _point(self, n_added: int) -> Mapping[str, Any]:
        return next((point for point in self.given_points if point["n_added"] == n_added), {})

    def n_tokens(self, name: str, n_added: int) -> int | None:
        if n_added == 0:
            base: int | None = self.given_sets[name].get("n_tokens_base")
            return base
        from_point: int | None = self._point(n_added).get("sets", {}).get(name, {}).get("n_tokens")
        return self._cell(f"n_tokens_{name}", n_added) if from_point is None else from_point

    @cached_property
    def base_point(self) -> Mapping[str, Any]:
        return self._point(0)

    @cached_property
    def choice_point(self) -> Mapping[str, Any]:
        return self._point(self.n_choice)

    @cached_property
    def sets(self) -> list[TextSet]:
        """Held-out and training text first, numbered 1 and 2 even where one is missing; then the others as given."""
        others = [name for name in self.given_sets if name not in (self._heldout_given, self.train)]
        return [
            TextSet(
                number=number,
                name=name,
                given=self.given_sets[name],
                n_tokens_choice=self.n_tokens(name, self.n_choice),
            )
            for number, name in enumerate([self._heldout_given, self.train, *others], start=1)
            if name is not None
        ]

    def set_of(self, name: str | None) -> TextSet | None:
        return next((text_set for text_set in self.sets if text_set.name == name), None)

    @property
    def saved_share(self) -> float | None:
        """Tokens saved on the text that the choice was made on."""
        main = self.set_of(self.main)
        return None if main is None else main.saved_choice

    @property
    def used_share_choice(self) -> float | None:
        return quotient(self._cell(f"n_used_{self.heldout}", self.n_choice), self.n_choice)

    @property
    def verify_is_of_choice(self) -> bool:
        return self.verify is not None and self.verify.get("n_new") == self.n_choice

    @property
    def n_embedding_added(self) -> int | None:
        before = self.base_point.get("n_embedding_params")
        after = self.choice_point.get("n_embedding_params")
        return None if before is None or after is None else after - before

    @property
    def n_params_per_row(self) -> int | None:
        """Embedding parameters of one row; None where no model is known."""
        model = self.sweep.get("model")
        return None if not model else int(model["hidden_size"]) * (1 if model["tied_embeddings"] else 2)

    @property
    def training_ratio(self) -> float | None:
        """Compute of training at the choice per byte of text, base = 1; None where no model is known."""
        return self._compute_ratio(context_shrinks=False)

    @property
    def serving_ratio(self) -> float | None:
        """The same of serving, where a text of fewer tokens has a shorter context too."""
        return self._compute_ratio(context_shrinks=True)

    def _compute_ratio(self, *, context_shrinks: bool) -> float | None:
        """flops of a token(k) = body + attention x context + head x rows(k); tokens per byte go with ratio_input.

        The page's script computes the same at every size (assets/sizes.js).
        """
        cost: Mapping[str, Any] = self.decision.model_cost or {}
        flops, context = cost.get("flops"), cost.get("context_tokens")
        main = self.set_of(self.main)
        ratio = None if main is None else main.ratio_choice
        n_rows, n_rows_base = self.choice_point.get("n_rows_total"), self.base_point.get("n_rows_total")
        if flops is None or context is None or ratio is None or n_rows is None or n_rows_base is None:
            return None

        def per_token(n_rows: int, context: float) -> float:
            attention: float = flops["attention_per_token_per_context_token"] * context
            body_and_head: float = flops["body_per_token"] + flops["head_per_row"] * n_rows
            return attention + body_and_head

        return (
            ratio * per_token(n_rows, context * ratio if context_shrinks else context) / per_token(n_rows_base, context)
        )

    @property
    def context_ratio(self) -> float | None:
        """Text that a context holds at the choice, base = 1."""
        main = self.set_of(self.main)
        return quotient(1, None if main is None else main.ratio_choice)

    @property
    def window(self) -> tuple[int, int] | None:
        window = self.choice.get("window")
        return (int(window[0]), int(window[1])) if window else None

    @property
    def points(self) -> list[PointRow]:
        main = self.given_sets.get(self.main or "", {})
        return [
            PointRow(
                given=point,
                main=point.get("sets", {}).get(self.main, {}),
                n_words=main.get("n_words"),
                n_bytes=main.get("n_bytes"),
                ratio_heldout=point.get("sets", {}).get(self.heldout, {}).get("ratio_input"),
                ratio_train=point.get("sets", {}).get(self.train, {}).get("ratio_input"),
                ratio_main=point.get("sets", {}).get(self.main, {}).get("ratio_input"),
                is_choice=point["n_added"] == self.n_choice,
            )
            for point in self.given_points
        ]

    @property
    def used(self) -> list[UsedRow]:
        """Used tokens on held-out text at the table's sizes."""
        sizes = [point["n_added"] for point in self.given_points if 0 < point["n_added"] <= self.curve.height]
        return [UsedRow(n_added=size, n_used=self._cell(f"n_used_{self.heldout}", size)) for size in sizes]

    @property
    def union_rows(self) -> list[UnionRow]:
        """The union at each of its sizes, the grown tokens of as many rows beside it."""
        if self.union is None or self.main is None:
            return []
        base = self.given_sets[self.main].get("n_tokens_base")
        return [
            UnionRow(
                given=point,
                ratio_union=point["sets"][self.main]["ratio_input"],
                ratio_grown=quotient(self.n_tokens(self.main, point["n_added"]), base),
                n_changed=sum(counted["n_changed"] for counted in point["protected"].values())
                if point["protected"]
                else None,
                is_choice=point["vocab_size"] == self.union["choice"]["vocab_size"],
            )
            for point in self.union["points"]
        ]

    @property
    def guard(self) -> list[str]:
        """What guards other text, in sentences; none of a run that did not record it."""
        given = self.sweep.get("guard")
        return [] if given is None else guard_sentences(given)

    @property
    def small_heldout(self) -> str | None:
        """A warning where the choice rests on few held-out documents."""
        return small_heldout_sentence(self.sweep)

    @property
    def proved_documents(self) -> str:
        """Which documents the counts were proved on."""
        return proved_documents(self.sweep["proof"])

    @property
    def is_unguarded(self) -> bool:
        given = self.sweep.get("guard")
        return given is not None and is_open(given)

    @property
    def scaffold(self) -> list[tuple[int, int]]:
        given: Mapping[str, int] = self.sweep.get("n_scaffold") or {}
        return sorted((int(size), int(n_rows)) for size, n_rows in given.items())

    def _tokens(self, rows: pl.DataFrame) -> list[dict[str, Any]]:
        counted = occurrences(self.curve)
        return [{**row, "count": counted[row["rank"] - 1]} for row in rows.to_dicts()]

    @property
    def first_tokens(self) -> list[dict[str, Any]]:
        return self._tokens(self.curve.head(N_TOKENS_SHOWN))

    @property
    def last_tokens(self) -> list[dict[str, Any]]:
        """The last tokens, leaving out those already among the first."""
        return self._tokens(self.curve.tail(max(0, min(N_TOKENS_SHOWN, self.curve.height - N_TOKENS_SHOWN))))

    # Columns for the figures: one value per size 0, 1, 2 ... or None where the curve does not hold them.

    def _column(self, column: str) -> Floats | None:
        if column not in self.curve.columns:
            return None
        return self.curve.get_column(column).cast(pl.Float64).to_numpy()

    def ratio_curve(self, name: str | None) -> Floats | None:
        base = self.given_sets.get(name or "", {}).get("n_tokens_base")
        tokens = self._column(f"n_tokens_{name}")
        if tokens is None or not base:
            return None
        return np.concatenate(([1.0], tokens / base))

    def used_curve(self) -> Floats | None:
        """Share of added tokens that occur in held-out text; size 0 has none and is NaN."""
        used = self._column(f"n_used_{self.heldout}")
        if used is None:
            return None
        return np.concatenate(([np.nan], used / np.arange(1, len(used) + 1)))

    def embedding_line(self) -> tuple[Floats, Floats]:
        """ratio_embedding over all sizes by the corners of its line: flat while padding rows last, then straight."""
        base, end = self.sweep["base"], self.curve.height
        n_padding = max(0, base["n_rows"] - base["n_tokens"])
        sizes = np.unique([0, min(n_padding, end), end]).astype(np.float64)
        return sizes, np.maximum(base["n_rows"], base["n_tokens"] + sizes) / base["n_rows"]
