"""Tables, plots and the self-contained report."""
