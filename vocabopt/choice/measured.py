"""The size that short runs at several sizes name: what `vocabopt probe --sizes` measured, and the curve through it.

    cell    one size, one seed, equal text or equal FLOPs    bits per byte y(size, seed)
    noise   y = a(size) + b(seed) + e                        seeds share their text, so b(seed) is no noise: e is
    curve   y = c0 + c1 x + c2 x^2, x = log2(size)           over sizes above 0, least squares

A parabola in the logarithm, since both forces are smooth there (tokens fall about as a power of the size, rows grow
with it), and three numbers are what five to eight sizes of a short run can tell. Size 0 is not on the curve: it has no
row to learn, so its distance to the smallest size is a step; it is compared by its own mean. Where the parabola misses
the means by more than the noise, the miss counts as the error: the interval then grows.
"""

from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vocabopt.errors import OptionError
from vocabopt.model.spec import ModelSpec
from vocabopt.records import (
    Answer,
    Count,
    Equal,
    FileRecord,
    Record,
    SizeFit,
    Swept,
    read_optional,
    read_record,
    write_record,
)
from vocabopt.training_record import TextRecord

SIZES_JSON = "sizes.json"
#: Sizes above 0 that a parabola needs.
MIN_FITTED = 3
#: Student's t that 95 % stay within, for 1, 2 ... degrees of freedom; 1.96 + 2.4 / n is near it from 11 on.
_T_95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
_N_GRID, _N_DRAWS, _INTERVAL = 512, 1_000, (5, 95)

Floats = NDArray[np.float64]


class SizeCell(FileRecord, frozen=True, kw_only=True):
    """cells/SIZE-EQUAL-SEED.json: one short run. after: text -> bits per byte.

    equal: null for size 0, whose text and FLOPs are what the others are equal to. texts: with the tokens of this size
    as n_tokens_after. budget_bytes: of text, as it was asked for; bytes, tokens: as they were read. flops: of training,
    counted on those tokens; null where the model cannot be followed. flops_wanted: those of size 0; null for equal
    text. seconds: of the whole cell.
    """

    NEXT_STEP: ClassVar[str] = "Remove it: it is trained again."

    n_added: Count
    equal: Equal | None
    seed: Count
    texts: dict[str, TextRecord]
    after: dict[str, float]
    n_rows: Count
    n_steps: Count
    budget_bytes: Count
    bytes: Count
    tokens: Count
    passes: float
    flops: Count | None
    flops_wanted: Count | None
    seconds: float
    peak_bytes: Count

    def score(self, role: str) -> float | None:
        """Mean bits per byte over the texts of a role; None where there is none."""
        scores = [self.after[name] for name, text in self.texts.items() if text.role == role]
        return mean(scores) if scores else None

    @property
    def reached(self) -> float:
        """Mean bits per byte over the target texts, or over all where the script tells no target."""
        score = self.score("target")
        return mean(self.after.values()) if score is None else score


class SizeRow(Record, frozen=True, kw_only=True):
    """A size: means over seeds, and their standard deviation (null for one seed).

    reached: bits per byte of target text; where sizes have run with different seeds, as `effects` makes them equal.
    serve_flops_per_byte: forward FLOPs for a byte of target text by the cost model; null where it does not know the
    model.
    """

    n_added: Count
    equal: Equal
    n_seeds: Count
    n_rows: Count
    reached: float
    spread: float | None
    #: Mean over the texts of the base's language; null where none was measured.
    base: float | None
    tokens_per_byte: float
    bytes: Count
    flops: Count | None
    serve_flops_per_byte: float | None
    seconds: float


class SizesRecord(FileRecord, frozen=True, kw_only=True):
    """sizes.json: cells as they were run, rows by what is equal and by size; none before the first cell is."""

    NEXT_STEP: ClassVar[str] = "Choose another folder with --out."

    options: dict[str, Any]
    #: What the cells share by content: hashes of the model and of the curve, and the bytes of the text of size 0.
    inputs: dict[str, str]
    #: The model that was trained; null in a record made before it was kept.
    model: ModelSpec | None = None
    cells: tuple[SizeCell, ...] = ()
    rows: tuple[SizeRow, ...] = ()
    fits: tuple[SizeFit, ...] = ()

    @property
    def fit(self) -> SizeFit | None:
        """The one that decides: at equal FLOPs, where that was measured."""
        return next((fit for equal in ("flops", "text") for fit in self.fits if fit.equal == equal), None)

    def rows_of(self, equal: Equal) -> list[SizeRow]:
        return [row for row in self.rows if row.equal == equal]

    def is_of(self, model: ModelSpec | None) -> bool:
        """Whether its bits can be those of a model: same rows and widths, wherever it lies; yes where either is not
        known."""
        if self.model is None or model is None:
            return True
        widths = [(one.n_rows, one.hidden_size, one.tied_embeddings) for one in (self.model, model)]
        architectures = [one.architecture for one in (self.model, model)]
        return widths[0] == widths[1] and (None in architectures or architectures[0] == architectures[1])


# --- From cells to rows -----------------------------------------------------------------------------------------------


def cells_of(cells: Sequence[SizeCell], equal: Equal) -> list[SizeCell]:
    """Those of a comparison: size 0 belongs to both."""
    return [cell for cell in cells if cell.equal in (equal, None)]


def size_rows(cells: Sequence[SizeCell], serve_flops: Mapping[int, float]) -> tuple[SizeRow, ...]:
    """A row for every size in every comparison that has sizes above 0.

    Args:
        serve_flops: size -> forward FLOPs for a byte of target text, where they are known.
    """
    rows = []
    for equal in sorted({cell.equal for cell in cells if cell.equal is not None}):
        by_size: dict[int, list[SizeCell]] = {}
        of_sizes, _ = effects(cells_of(cells, equal))
        for cell in sorted(cells_of(cells, equal), key=lambda cell: (cell.n_added, cell.seed)):
            by_size.setdefault(cell.n_added, []).append(cell)
        for n_added, of_size in by_size.items():
            reached = [cell.reached for cell in of_size]
            base = [score for cell in of_size if (score := cell.score("base")) is not None]
            flops = [cell.flops for cell in of_size if cell.flops is not None]
            row = SizeRow(
                n_added=n_added,
                equal=equal,
                n_seeds=len(of_size),
                n_rows=of_size[0].n_rows,
                reached=round(of_sizes[n_added], 6),
                spread=round(stdev(reached), 6) if len(reached) > 1 else None,
                base=round(mean(base), 6) if base else None,
                tokens_per_byte=round(tokens_per_byte(of_size[0].texts), 6),
                bytes=round(mean(cell.bytes for cell in of_size)),
                flops=round(mean(flops)) if flops else None,
                serve_flops_per_byte=serve_flops.get(n_added),
                seconds=round(mean(cell.seconds for cell in of_size), 2),
            )
            rows.append(row)
    return tuple(rows)


def tokens_per_byte(texts: Mapping[str, TextRecord]) -> float:
    """Of the target texts together, or of all where the script tells no target."""
    of_target = [text for text in texts.values() if text.role == "target"] or list(texts.values())
    return sum(text.n_tokens_after for text in of_target) / max(1, sum(text.n_bytes for text in of_target))


class Noise(NamedTuple):
    """The variance of one run's bits about what its size and its seed give, from so many degrees of freedom."""

    variance: float
    n_free: int

    def of_difference(self, n_seeds: int) -> float:
        """What 95 % of the differences of two means of so many runs stay below by chance: Student's t."""
        t = _T_95[self.n_free - 1] if self.n_free <= len(_T_95) else 1.96 + 2.4 / self.n_free
        return t * sqrt(2 * self.variance / n_seeds)


def effects(cells: Sequence[SizeCell]) -> tuple[dict[int, float], Noise | None]:
    """Least squares of y = a(size) + b(seed) + e on the cells of one comparison.

    Returns:
        Size -> bits per byte, as if every size had run with every seed: where all have, its mean. And e; None where
        there are too few runs to tell.
    """
    sizes, seeds = ([*sorted(set(values))] for values in zip(*((c.n_added, c.seed) for c in cells), strict=True))
    design = np.zeros((len(cells), len(sizes) + len(seeds)))
    for row, cell in enumerate(cells):
        design[row, sizes.index(cell.n_added)] = design[row, len(sizes) + seeds.index(cell.seed)] = 1
    reached = np.array([cell.reached for cell in cells])
    found, _, rank, _ = np.linalg.lstsq(design, reached, rcond=None)
    of_sizes = found[: len(sizes)] + found[len(sizes) :].mean()
    n_free = len(cells) - int(rank)
    noise = Noise(float(((reached - design @ found) ** 2).sum() / n_free), n_free) if n_free else None
    return dict(zip(sizes, of_sizes.tolist(), strict=True)), noise


# --- The curve over sizes ---------------------------------------------------------------------------------------------


def fit_sizes(rows: Sequence[SizeRow], noise: Noise | None) -> SizeFit:
    """The best size of one comparison, by the curve through its sizes; by their means where they are too few.

    Args:
        rows: of one comparison; at least one above size 0.
        noise: of one run (`effects`).
    """
    above = [row for row in rows if row.n_added]
    control = next((row.reached for row in rows if not row.n_added), None)
    sizes, seeds = np.array([row.n_added for row in above]), np.array([row.n_seeds for row in above])
    bits = np.array([row.reached for row in above])
    measured = int(sizes.min()), int(sizes.max())
    grid = np.unique(np.geomspace(*measured, _N_GRID).round().astype(np.int64))
    coefficients: Floats = np.zeros(0)
    interval = None
    if len(above) < MIN_FITTED:
        grid, on_grid = sizes, bits
    else:
        # Step 1: least squares, a mean of more seeds weighing more.
        powers, weights = _powers(sizes), np.sqrt(seeds)
        to_coefficients = np.linalg.pinv(powers * weights[:, None]) * weights
        coefficients = to_coefficients @ bits
        on_grid = _powers(grid) @ coefficients
        # Step 2: the error of a run, from the seeds or from what the parabola misses, whichever is more.
        n_free = len(above) - MIN_FITTED
        missed = float((seeds * (bits - powers @ coefficients) ** 2).sum() / n_free) if n_free else None
        errors = [given for given in (None if noise is None else noise.variance, missed) if given is not None]
        # Step 3: where the minimum lies when the means are drawn anew with that error.
        if errors:
            drawn = np.random.default_rng(0).standard_normal((_N_DRAWS, len(above)))
            means = powers @ coefficients + drawn * np.sqrt(max(errors) / seeds)
            at = grid[np.argmin(_powers(grid) @ (to_coefficients @ means.T), axis=0)]
            low, high = np.percentile(at, _INTERVAL, method="nearest")
            interval = int(low), int(high)
    place = int(np.argmin(on_grid))
    best, best_bits = int(grid[place]), float(on_grid[place])
    if control is not None and control <= best_bits:
        best, best_bits = 0, control
    by_chance = None if noise is None else noise.of_difference(int(seeds.min()))
    within = [] if by_chance is None else grid[on_grid <= best_bits + by_chance].tolist()
    return SizeFit(
        equal=above[0].equal,
        n_sizes=len(above),
        n_seeds=int(seeds.min()),
        coefficients=tuple(float(value) for value in coefficients),
        measured=measured,
        best=best,
        best_bits=round(best_bits, 6),
        control_bits=control,
        noise=None if by_chance is None else round(by_chance, 6),
        within=(min(within), max(within)) if within else None,
        interval=interval,
    )


def _powers(sizes: NDArray[np.int64]) -> Floats:
    """1, x, x^2 of x = log2(size), [n, 3]."""
    return np.vander(np.log2(sizes.astype(np.float64)), MIN_FITTED, increasing=True)


def bits_at(fit: SizeFit, rows: Sequence[SizeRow], n_added: int) -> float | None:
    """Bits per byte at a size: of the curve, else as measured; None beyond the sizes that were measured."""
    if fit.coefficients and fit.measured[0] <= n_added <= fit.measured[1]:
        return float(_powers(np.array([n_added]))[0] @ np.array(fit.coefficients))
    return next((row.reached for row in rows if row.equal == fit.equal and row.n_added == n_added), None)


# --- In a run directory -----------------------------------------------------------------------------------------------


def measured_answer(record: SizesRecord | None) -> list[Answer]:
    """The rule's answer; none where nothing was measured."""
    fit = None if record is None else record.fit
    return [] if fit is None else [Answer(name="measured", kind="measured", n_added=fit.best, bound=fit.bound, fit=fit)]


def read_sizes(run_dir: Path, sweep: Swept) -> SizesRecord | None:
    """What was measured on the curve of a run, on its model: its sizes.json; None where there is none, or of another
    curve or model.

    Raises:
        RunDirectoryError: it is broken, or a field is missing or no value of its kind.
    """
    step = f"Run `vocabopt choose {run_dir} --probe DIR` again. Or remove the file."
    record = read_optional(run_dir / SIZES_JSON, SizesRecord, next_step=step)
    if record is None or record.inputs.get("curve") != sweep.curve_sha256 or not record.is_of(sweep.model):
        return None
    return record


def sizes_of_probe(run_dir: Path, probe: Path, sweep: Swept) -> SizesRecord:
    """What a probe measured on the curve and the model of a run.

    Raises:
        OptionError: the folder holds no probe of sizes, none that has measured a size above 0 yet, or one of another
            curve or model.
        RunDirectoryError: its sizes.json is broken.
    """
    path = probe / SIZES_JSON
    if not path.is_file():
        raise OptionError(
            f"--probe {probe}: holds no {SIZES_JSON}. Name the --out of `vocabopt probe MODEL --run {run_dir} --sizes "
            "...`."
        )
    record = read_record(path, SizesRecord)
    if record.inputs.get("curve") != sweep.curve_sha256:
        raise OptionError(f"--probe {probe}: was measured on another curve than that of {run_dir}. Probe again.")
    if record.fit is None:
        raise OptionError(f"--probe {probe}: has measured no size above 0 yet. Go on with the same `vocabopt probe`.")
    if not record.is_of(sweep.model):
        assert record.model is not None, "else it is of any"
        assert sweep.model is not None, "the same"
        raise OptionError(
            f"--probe {probe}: was measured on {record.model.source}, and the model counted is {sweep.model.name} "
            f"({sweep.model.source}), of other rows or widths. Name the probed one with --model, or probe this one."
        )
    return record


def keep_sizes(run_dir: Path, record: SizesRecord) -> None:
    """Copy it into the folder of its run, for choices and reports from now on."""
    write_record(run_dir / SIZES_JSON, record)
