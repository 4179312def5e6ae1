"""The old name of vocabopt.report.charts, until every importer uses the new one."""

from vocabopt.report.charts import draw_funnel

__all__ = ["draw_funnel"]
