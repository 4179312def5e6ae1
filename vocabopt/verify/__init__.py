"""Proving, or disproving, that one tokenizer is another plus new tokens, and that nothing else changed."""

from vocabopt.options import VerifyOptions
from vocabopt.verify.checks import Check, Example
from vocabopt.verify.report import Report, write_report
from vocabopt.verify.run import verify

__all__ = ["Check", "Example", "Report", "VerifyOptions", "verify", "write_report"]
