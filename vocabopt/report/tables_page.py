"""The old name of vocabopt.report.page, until every importer uses the new one."""

from vocabopt.report.page import render_tables

__all__ = ["render_tables"]
