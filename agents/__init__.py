"""What acts: planning agents, baselines, explorers."""
