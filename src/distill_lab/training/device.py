"""Where networks run, and with which numbers."""

from __future__ import annotations

from typing import Any

import torch

from distill_lab.settings import Hardware

NUMERIC = ("precision", "channels_last", "compile")
HALVES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def device_of(hardware: Hardware) -> torch.device:
    """Return the device that Lightning chooses for this hardware."""
    found = None if hardware.accelerator == "cpu" else torch.accelerator.current_accelerator()
    return found if found is not None and torch.accelerator.is_available() else torch.device("cpu")


def numeric(hardware: Hardware) -> dict[str, Any]:
    """Return those settings that can change the numbers a training gives, `auto` resolved."""
    accelerator = hardware.accelerator
    if accelerator == "auto":
        accelerator = "gpu" if torch.cuda.is_available() else "cpu"
    chosen = {key: getattr(hardware, key) for key in NUMERIC}
    return {**chosen, "accelerator": accelerator, "devices": hardware.num_processes}


def device_name(hardware: Hardware) -> str:
    """Return the kind of device, on which the last bits of results depend."""
    device = device_of(hardware)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"


def autocast(hardware: Hardware) -> torch.autocast:
    """Return the context in which a forward pass has the precision it has in a training."""
    half = HALVES.get(hardware.precision)
    return torch.autocast(device_of(hardware).type, half, enabled=half is not None)
