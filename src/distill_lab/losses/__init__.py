"""Distillation losses: plain torch, one method per file, usable from a notebook."""
