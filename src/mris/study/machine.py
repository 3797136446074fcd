"""The machine that an experiment ran on, in words."""

from mris import cores


def machine() -> str:
    """Name cores, processor, GPU and Python."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{cores.machine()}, {gpu}"
