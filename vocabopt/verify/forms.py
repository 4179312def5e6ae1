"""The check that all files of NEW's folder are one tokenizer: tokenizer.json, tokenizer.model, ranks, tekken.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.encoders import Ids, Kind
from vocabopt.tokenizer.model_check import ids_with_names_as_text
from vocabopt.verify.pair import Pair, difference
from vocabopt.verify.report import N_EXAMPLES, Check, Example, Status
from vocabopt.verify.text_pass import Batch, shown

FORMS = "All forms of the new tokenizer agree"


@dataclass
class _Tally:
    n_lines: int = 0
    n_not_compared: int = 0
    n_different: int = 0
    n_base_as_well: int = 0
    n_by_new_token: int = 0


@dataclass
class FormsAgree:
    """Each other form gives the ids of tokenizer.json, but for lines on which the base's two files differ as well; and
    even there the new tokens are the same.

    A base that is a lone tokenizer.model excuses nothing: its tokenizer.json is made here, and a line on which that is
    not the model is a fault of ours, and counted as one. Names of special tokens are text in the other forms, and are
    compared as text; lines with added tokens that are no special ones, which other forms do not have, are counted.
    """

    pair: Pair
    tallies: dict[Kind, _Tally] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    n_of_loading: int = 0

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The forms in NEW's folder that can be encoded with; the others are compared with the first."""
        side = self.pair.new
        if side.folder is None:
            return ()
        # A folder without tokenizer.json is compared as it is, not with what would be made of it.
        return tuple(kind for kind in side.encoders if kind in side.forms or side.written == "tokenizer.json")

    @property
    def _base_is_model(self) -> bool:
        return self.pair.base.written == "tokenizer.model" and self.pair.base.encodes_as_json

    def see(self, batch: Batch) -> None:
        if self._base_is_model:
            self._compare_base(batch)
        if len(self.kinds) < 2:
            return
        for kind in self.kinds[1:]:
            self._compare(batch, kind)

    def _compare_base(self, batch: Batch) -> None:
        side = self.pair.base
        rows = self._rows(batch, "tokenizer.model", side)
        texts = [batch.documents[i] for i in rows]
        by_json, by_model = _as_text(side, texts), side.encoders["tokenizer.model"].encode(texts)
        for text, one, other in zip(texts, by_json, by_model, strict=True):
            if one != other:
                self.n_of_loading += 1
                if len(self.examples) < N_EXAMPLES:
                    ids = difference(side, one, side, other)
                    told = f"as it was loaded: {ids[0]} | tokenizer.model: {ids[1]}"
                    self.examples.append(Example(what=shown(text), base=told, new="not looked at"))

    def _rows(self, batch: Batch, kind: Kind, side: Tokenizer) -> list[int]:
        """Documents without added tokens that the form does not have and that are not special."""
        own = {token["content"] for token in side.added.values() if not token.get("special")}
        if kind == "tokenizer.model" and self._base_is_model:
            own -= self.pair.base.model_pieces
        held = [
            is_special and any(content in text for content in own)
            for text, is_special in zip(batch.documents, batch.has_special, strict=True)
        ]
        return [i for i, is_held in enumerate(held) if not is_held]

    def _compare(self, batch: Batch, kind: Kind) -> None:
        first = self.kinds[0]
        tally = self.tallies.setdefault(kind, _Tally())
        rows = self._rows(batch, kind, self.pair.new)
        tally.n_lines += len(rows)
        tally.n_not_compared += len(batch) - len(rows)
        one, other = self._ids(batch, rows, self.pair.new, batch.new), batch.new[kind]
        different = [i for i in rows if one[i] != other[i]]
        base: Mapping[int, list[int]] = {}
        if not self._base_is_model and first in batch.base and kind in batch.base:
            base = self._ids(batch, different, self.pair.base, batch.base)
        for i in different:
            tally.n_different += 1
            by_new_token = self._new(one[i]) != self._new(other[i])
            base_as_well = i in base and base[i] != batch.base[kind][i]
            tally.n_by_new_token += by_new_token
            tally.n_base_as_well += base_as_well and not by_new_token
            # What is excused is shown as well, behind what is not.
            if by_new_token or not base_as_well:
                self.examples.insert(0, self._example(batch, kind, i, one[i], "both files give the same"))
            elif len(self.examples) < N_EXAMPLES:
                told = difference(self.pair.base, base[i], self.pair.base, batch.base[kind][i])
                before = f"its two files differ as well: {first}: {told[0]} | {kind}: {told[1]}"
                self.examples.append(self._example(batch, kind, i, one[i], before))
        del self.examples[N_EXAMPLES:]

    def _ids(
        self, batch: Batch, rows: Sequence[int], side: Tokenizer, ids: Mapping[Kind, Ids]
    ) -> Mapping[int, list[int]]:
        """What the first form gives, names of special tokens taken as text."""
        first = self.kinds[0]
        found = {i: ids[first][i] for i in rows}
        named = [i for i in rows if batch.has_special[i]] if first == "tokenizer.json" else []
        return found | dict(zip(named, _as_text(side, [batch.documents[i] for i in named]), strict=True))

    def _new(self, ids: list[int]) -> list[int]:
        first_id = self.pair.base.n_tokens
        return [index for index in ids if index >= first_id]

    def _example(self, batch: Batch, kind: Kind, i: int, ids: list[int], before: str) -> Example:
        new = self.pair.new
        first = self.kinds[0]
        told = difference(new, ids, new, batch.new[kind][i])
        if first not in batch.base or kind not in batch.base:
            before = "not known: it has no such two files"
        return Example(what=shown(batch.documents[i]), base=before, new=f"{first}: {told[0]} | {kind}: {told[1]}")

    def check(self) -> Check:
        missing = {kind: package for kind, package in self.pair.new.missing.items() if self.pair.new.folder is not None}
        told = [f"{kind} not checked: pip install {package}" for kind, package in missing.items()]
        if self.n_of_loading:
            name = self.pair.base.name
            told.append(f"{name} as it was loaded is not its tokenizer.model on {self.n_of_loading:,} lines")
        if not self.tallies:
            reason = "in a single form" if self.pair.new.folder is not None else "a file, not a folder"
            summary = "; ".join(told) or f"{self.pair.new.name} is {reason}"
            status: Status = "fail" if self.n_of_loading else "not_checked"
            return Check(name=FORMS, status=status, summary=summary, examples=tuple(self.examples))
        counts = {"n_of_loading": self.n_of_loading}
        n_wrong = self.n_of_loading
        for kind, tally in self.tallies.items():
            wrong = tally.n_different - tally.n_base_as_well
            n_wrong += wrong
            counts |= {f"n_lines ({kind})": tally.n_lines, f"n_different ({kind})": wrong}
            counts |= {f"n_not_compared ({kind})": tally.n_not_compared}
            counts |= {f"n_base_as_well ({kind})": tally.n_base_as_well}
            counts |= {f"n_by_new_token ({kind})": tally.n_by_new_token}
            note = f"{kind}: {wrong:,} of {tally.n_lines:,} lines differ from {self.kinds[0]}"
            note += f" ({tally.n_by_new_token:,} by a new token)" if tally.n_by_new_token else ""
            as_well = f", {tally.n_base_as_well:,} more where the base's two files differ as well, none by a new token"
            note += as_well if tally.n_base_as_well else ""
            left = f", {tally.n_not_compared:,} not compared, with added tokens that {kind} does not have"
            told.append(note + (left if tally.n_not_compared else ""))
        is_doubtful = bool(missing) or any(tally.n_base_as_well for tally in self.tallies.values())
        return Check(
            name=FORMS,
            status="fail" if n_wrong else "warn" if is_doubtful else "pass",
            summary="; ".join(told),
            counts=counts,
            examples=tuple(self.examples),
        )


def _as_text(side: Tokenizer, texts: list[str]) -> Ids:
    """What tokenizer.json gives where names of special tokens are text."""
    return ids_with_names_as_text(side.full, texts)
