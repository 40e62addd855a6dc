"""What to measure next, when to give a config up, and when to stop."""
