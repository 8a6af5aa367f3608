"""From overrides to a checked run; the only package that, with `cli`, knows Hydra."""
