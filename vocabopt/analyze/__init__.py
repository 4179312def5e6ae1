"""Any tokenizers side by side on the same text: what they cost, what they cut, what of them is used."""

from vocabopt.analyze.options import AnalyzeOptions

__all__ = ["AnalyzeOptions"]
