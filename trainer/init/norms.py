"""Norms of base rows whose text is as long as that of a new token.

Norms of a trained table differ with how often a token was read, and with that with the length of its text. The mean of
several rows is shorter than each of them, so a new row of that length is an outlier among the base's (arXiv
2608.03494). The paper's recipe, one norm for all new rows, is the rule of the method weighted; here every row gets the
norm of base rows like it.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from trainer.init.extension import MIN_NORM_ROWS, Extension
from vocabopt.training_record import CalibrationLog

_CHUNK_ROWS = 4_096


def calibration_of(table_VD: Tensor, extension: Extension) -> CalibrationLog:
    """The norm for every length of a new token's text.

    Base tokens of the target script are looked at where there are 64 of them, else all that have text. For a length
    the median is taken over those of the same length; where these are fewer than 64, over those that differ by one
    byte at most too, then by two, and so on.
    """
    n_bytes = np.asarray(extension.base_text_bytes or [1] * len(extension.base_tokens))
    ids = np.asarray(extension.base_tokens)[n_bytes > 0]
    n_bytes = n_bytes[n_bytes > 0]
    of_script = np.isin(ids, extension.script_ids)
    is_of_script = int(of_script.sum()) >= MIN_NORM_ROWS
    if is_of_script:
        ids, n_bytes = ids[of_script], n_bytes[of_script]
    norms = row_norms(table_VD, ids.tolist()).numpy()
    found = {}
    for length in sorted(set(map(len, extension.texts))):
        distance = np.abs(n_bytes - length)
        nearest = np.sort(distance)
        widest = nearest[min(MIN_NORM_ROWS, len(nearest)) - 1]
        found[length] = float(np.median(norms[distance <= widest]))
    return CalibrationLog(rows="target script" if is_of_script else "all", n_rows=len(ids), norms=found)


def calibrated(rows_ND: Tensor, n_bytes: Iterable[int], calibration: CalibrationLog) -> Tensor:
    """Rows with the norms of their tokens. n_bytes: of each token's text."""
    norms = torch.tensor([calibration.norms[length] for length in n_bytes], device=rows_ND.device)
    return rescaled(rows_ND, norms[:, None])


def rescaled(rows_ND: Tensor, norms_N1: Tensor) -> Tensor:
    """Rows with these norms; a row of zeros has no direction and stays."""
    found_N1 = rows_ND.norm(dim=1, keepdim=True)
    return rows_ND * torch.where(found_N1 > 0, norms_N1 / found_N1, 1.0)


def row_norms(table_VD: Tensor, ids: Sequence[int]) -> Tensor:
    """Euclidean norms of the rows with these ids, in float64, on the CPU."""
    chunks = [ids[start : start + _CHUNK_ROWS] for start in range(0, len(ids), _CHUNK_ROWS)]
    norms = [table_VD.detach()[torch.tensor(chunk, device=table_VD.device)].float().norm(dim=1) for chunk in chunks]
    return torch.cat(norms).double().cpu() if norms else torch.empty(0, dtype=torch.float64)
