"""Rules of what to try next, by what they look at; each gives one proposal or none."""
