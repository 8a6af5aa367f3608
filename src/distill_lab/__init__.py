"""distill-lab: an experiment-tracked research framework for knowledge distillation."""

__version__ = "0.1.0"
