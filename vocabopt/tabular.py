"""The old name of vocabopt.tables, until every importer uses the new one."""

from vocabopt.tables import DASH, PlainTable, listed, shown, terminal_table

__all__ = ["DASH", "PlainTable", "listed", "shown", "terminal_table"]
