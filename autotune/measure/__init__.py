"""Where measurements come from: a GPU (`cuda`) or a recorded space (`replay`)."""
