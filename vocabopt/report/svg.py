"""The old name of vocabopt.report.draw, until every importer uses the new one."""

from vocabopt.report.draw import COLOURS, DARK, colour_rules, colour_variables, series_style

__all__ = ["COLOURS", "DARK", "colour_rules", "colour_variables", "series_style"]
