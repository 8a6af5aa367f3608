"""What a run tells its readers: each section of its report is a pure function of what was found."""
