"""Run `distill-lab` until an optimizer has stepped once, and print when that was."""

from __future__ import annotations

import sys
from time import time
from typing import Any

MARK = "first step at "


def main(overrides: list[str]) -> int:
    """Run the command; the first step ends it as Ctrl-C would."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from distill_lab.cli import main as distill_lab

    def stop(*args: Any) -> None:
        hook.remove()
        print(f"{MARK}{time()}", flush=True)
        raise KeyboardInterrupt

    hook = register_optimizer_step_post_hook(stop)
    return distill_lab(overrides)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
