"""Evaluate codecs: rate-distortion sweeps, BD-rates, other codecs as baselines, published results, reports.

    from inrcodec.evaluate import sweep

    result = sweep(["kodim01.png"], rates=[0.1, 0.2, 0.4], compare=["jpeg"])
    print(result.bd_rate("jpeg", "hierarchical"))

``sweep`` encodes signals at several rates and returns a ``Sweep`` with curves, BD-rates, plots and a report; its
modules are ``sweeps``, ``sweep_jobs`` and ``sweep_result``. ``batch`` compresses folders; ``inspection_figure`` draws
what is in a file. A *metric* ("psnr", "snr", "ms_ssim") is what a curve shows of decoded signals; what an encoder
maximises is chosen by ``optimise`` in ``Settings``.
"""

from inrcodec.evaluate.bd_rate import BDRate, bd_rate
from inrcodec.evaluate.sweep_result import Sweep
from inrcodec.evaluate.sweeps import sweep

__all__ = ["BDRate", "Sweep", "bd_rate", "sweep"]
