"""Evaluation: studies of the codec and comparison with published results."""
