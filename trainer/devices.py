"""Where a model computes."""

import torch

from vocabopt.errors import OptionError


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto": a GPU where there is one, else the CPU.

    Raises:
        OptionError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"--device {name}: is not to be had here ({str(error).splitlines()[0]}). Give auto, cpu, or a GPU's name: "
            "cuda:0."
        ) from error
    return device
