"""The leaderboard: every method on one pair of networks, at equal budget."""
