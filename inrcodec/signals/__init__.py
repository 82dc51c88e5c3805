"""Signals: images, audio and gridded fields as values on a grid, with headers, metadata, files and metrics."""
