"""How fast the package is, beside hand-written loops and torchdistill; run by `make bench`."""
