"""Dynamics behind one protocol: simulated, learned, or measured on a robot."""
