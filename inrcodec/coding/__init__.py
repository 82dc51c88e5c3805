"""Entropy coding: symbols, messages, and the randomness that encoder and decoder share."""
