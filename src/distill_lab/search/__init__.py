"""A search over config keys: many trials under one run, chosen by Optuna."""
