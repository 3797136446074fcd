"""The machine that an experiment ran on, in words."""

import os
import platform
from pathlib import Path


def machine() -> str:
    """Name cores, processor, GPU and Python."""
    import torch

    model, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} cores of {model}, {gpu}, Python {platform.python_version()}"
