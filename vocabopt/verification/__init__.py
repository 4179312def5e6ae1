"""Proving, or disproving, that one tokenizer is another plus new tokens, and that nothing else changed."""

from vocabopt.options import VerifyOptions
from vocabopt.verification.checks import Check, Example
from vocabopt.verification.report import Report, write_report
from vocabopt.verification.run import verify

__all__ = ["Check", "Example", "Report", "VerifyOptions", "verify", "write_report"]
