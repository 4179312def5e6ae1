"""The old name of vocabopt.report.page, until every importer uses the new one."""

from vocabopt.report.page import rebuild_report

__all__ = ["rebuild_report"]
