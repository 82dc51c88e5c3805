"""Evaluation: rate-distortion sweeps, BD-rate, other codecs run, comparison with published results, studies.

from inrcodec.evaluate import sweep
"""

from inrcodec.evaluate.bd_rate import BDRate, bd_rate
from inrcodec.evaluate.sweep_result import Sweep
from inrcodec.evaluate.sweeps import sweep

__all__ = ["BDRate", "Sweep", "bd_rate", "sweep"]
