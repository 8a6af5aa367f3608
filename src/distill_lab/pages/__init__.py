"""What a run tells its readers: sections of `report.html`, each a pure function of what was found."""
