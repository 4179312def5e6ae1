"""Short runs of every init method and plan on the same text, ranked by what they reach."""

from trainer.options import ProbeOptions
from trainer.probe.run import probe

__all__ = ["ProbeOptions", "probe"]
