"""The old name of vocabopt.tables, until every importer uses the new one."""

from vocabopt.tables import UNITS, counted, shown_bytes

__all__ = ["UNITS", "counted", "shown_bytes"]
