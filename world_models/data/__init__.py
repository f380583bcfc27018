"""Datasets: written, read, cached, and cut into training windows."""
