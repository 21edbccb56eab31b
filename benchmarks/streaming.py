"""The peak memory of training on a file, in a process that imports only what it needs."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np

from benchmarks import protocol
from skscratch import AutoencoderTransformer
from skscratch.datasets import Images


def memory_by_rows(images: Images, folder: Path) -> dict[str, float]:
    """Return the peak memory of a process, in MiB, by how often the 60,000 rows are repeated.

    Each process trains for one epoch by ``partial_fit`` over a file of bytes, mapped into memory
    60,000 rows at a time.
    """
    peaks = {}
    pixels = np.round(images.X_train * 255).astype(np.uint8)
    context = multiprocessing.get_context("spawn")
    for times in (1, 10):
        file = folder / f"rows_{times}.bin"
        with file.open("wb") as stream:
            for _ in range(times):
                pixels.tofile(stream)
        with context.Pool(1) as pool:
            peaks[str(times)] = pool.apply(_train_over, (file, pixels.shape))
        file.unlink()
    return peaks


def _train_over(file: Path, shape: tuple[int, int]) -> float:
    n_rows, width = shape
    encoder = AutoencoderTransformer(
        64, (512, 256, 128), output_activation="logistic", tied_weights=False, random_state=0
    )
    for start in range(0, file.stat().st_size, n_rows * width):
        # Without a name, so that the pages are given back before the next ones are mapped.
        encoder.partial_fit(np.memmap(file, np.uint8, "r", start, shape))
    assert encoder.t_ == file.stat().st_size // width
    return protocol.peak_memory()
