"""What several benchmarks read."""

import numpy as np
import pytest
from scipy import sparse


@pytest.fixture
def texts(tmp_path):
    """Write a folder of two small collections of word counts."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "text"
    folder.mkdir()
    for name, n_classes in (("newsgroups", 3), ("reviews", 2)):
        y = rng.integers(n_classes, size=90)
        counts = sparse.csr_matrix(rng.poisson(0.2, size=(90, 200)) + np.eye(200, dtype=int)[y])
        np.savez(
            folder / f"{name}.npz",
            counts=counts.data.astype(np.uint16),
            columns=counts.indices.astype(np.int32),
            rows=counts.indptr.astype(np.int32),
            shape=np.array(counts.shape),
            labels=y.astype(np.int16),
            n_train=np.array(60),
        )
    return folder
