"""Command-line applications: the only place that wires the other folders together."""
