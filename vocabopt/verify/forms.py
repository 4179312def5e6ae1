"""The check that all files of NEW's folder are one tokenizer: tokenizer.json, tokenizer.model, ranks, tekken.json."""

from dataclasses import dataclass, field

from vocabopt.verify.encoders import Kind
from vocabopt.verify.pair import Pair, difference
from vocabopt.verify.report import N_EXAMPLES, Check, Example
from vocabopt.verify.text_pass import Batch, shown

FORMS = "All forms of the new tokenizer agree"


@dataclass
class _Tally:
    n_lines: int = 0
    n_different: int = 0
    n_base_as_well: int = 0
    n_by_new_token: int = 0


@dataclass
class FormsAgree:
    """Each other form gives the ids of tokenizer.json, but for lines on which the base's two files differ as well; and
    even there the new tokens are the same. Lines that hold strings of special tokens are skipped.
    """

    pair: Pair
    tallies: dict[Kind, _Tally] = field(default_factory=dict)
    n_skipped: int = 0
    examples: list[Example] = field(default_factory=list)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The forms in NEW's folder that can be encoded with; the others are compared with the first."""
        side = self.pair.new
        if side.folder is None:
            return ()
        # A folder without tokenizer.json is compared as it is, not with what would be made of it.
        return tuple(kind for kind in side.encoders if kind in side.forms or side.written == "tokenizer.json")

    def see(self, batch: Batch) -> None:
        if len(self.kinds) < 2:
            return
        rows = [i for i, has_special in enumerate(batch.has_special) if not has_special]
        self.n_skipped += len(batch) - len(rows)
        for kind in self.kinds[1:]:
            self._compare(batch, kind, rows)

    def _compare(self, batch: Batch, kind: Kind, rows: list[int]) -> None:
        first = self.kinds[0]
        tally = self.tallies.setdefault(kind, _Tally())
        tally.n_lines += len(rows)
        one, other = batch.new[first], batch.new[kind]
        for i in rows:
            if one[i] == other[i]:
                continue
            tally.n_different += 1
            by_new_token = self._new(one[i]) != self._new(other[i])
            base_as_well = first in batch.base and kind in batch.base and batch.base[first][i] != batch.base[kind][i]
            tally.n_by_new_token += by_new_token
            tally.n_base_as_well += base_as_well and not by_new_token
            if (by_new_token or not base_as_well) and len(self.examples) < N_EXAMPLES:
                self._keep(batch, kind, i)

    def _new(self, ids: list[int]) -> list[int]:
        first_id = self.pair.base.n_tokens
        return [index for index in ids if index >= first_id]

    def _keep(self, batch: Batch, kind: Kind, i: int) -> None:
        first, new = self.kinds[0], self.pair.new
        shown_ids = difference(new, batch.new[first][i], new, batch.new[kind][i])
        before = "not known: it has no such two files"
        if first in batch.base and kind in batch.base:
            agree = batch.base[first][i] == batch.base[kind][i]
            before = "both files give the same" if agree else "its two files differ as well, by no new token"
        self.examples.append(
            Example(
                what=shown(batch.documents[i]),
                base=before,
                new=f"{first}: {shown_ids[0]} | {kind}: {shown_ids[1]}",
            )
        )

    def check(self) -> Check:
        missing = {kind: package for kind, package in self.pair.new.missing.items() if self.pair.new.folder is not None}
        told = [f"{kind} not checked: pip install {package}" for kind, package in missing.items()]
        if not self.tallies:
            reason = "in a single form" if self.pair.new.folder is not None else "a file, not a folder"
            summary = "; ".join(told) or f"{self.pair.new.name} is {reason}"
            return Check(name=FORMS, status="not_checked", summary=summary)
        counts = {"n_skipped": self.n_skipped}
        n_wrong = 0
        for kind, tally in self.tallies.items():
            wrong = tally.n_different - tally.n_base_as_well
            n_wrong += wrong
            counts |= {f"n_lines ({kind})": tally.n_lines, f"n_different ({kind})": wrong}
            counts |= {f"n_base_as_well ({kind})": tally.n_base_as_well}
            counts |= {f"n_by_new_token ({kind})": tally.n_by_new_token}
            note = f"{kind}: {wrong:,} of {tally.n_lines:,} lines differ from {self.kinds[0]}"
            note += f" ({tally.n_by_new_token:,} by a new token)" if tally.n_by_new_token else ""
            as_well = f", {tally.n_base_as_well:,} more where the base's files differ as well, none by a new token"
            told.append(note + (as_well if tally.n_base_as_well else ""))
        if self.n_skipped:
            told.append(f"{self.n_skipped:,} lines with special tokens skipped")
        return Check(
            name=FORMS,
            status="fail" if n_wrong else "warn" if missing else "pass",
            summary="; ".join(told),
            counts=counts,
            examples=tuple(self.examples),
        )
