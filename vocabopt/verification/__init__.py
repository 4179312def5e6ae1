"""Proving, or disproving, that one tokenizer is another plus new tokens, and that nothing else changed."""

from vocabopt.options import VerifyOptions
from vocabopt.verification.record import Check, Example, Report
from vocabopt.verification.run import verify

__all__ = ["Check", "Example", "Report", "VerifyOptions", "verify"]
