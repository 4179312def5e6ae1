"""Rows for new tokens: which method makes them, from what, and the model's folder before and after."""

from trainer.init.extension import Extension, read_extension
from trainer.init.models import dtype_of, link_model, load_model, place_model, save_model
from trainer.init.record import InitRecord, log_table
from trainer.init.tables import init_model
from trainer.options import INIT_METHODS, InitMethod

__all__ = [
    "INIT_METHODS",
    "Extension",
    "InitMethod",
    "InitRecord",
    "dtype_of",
    "init_model",
    "link_model",
    "load_model",
    "log_table",
    "place_model",
    "read_extension",
    "save_model",
]
