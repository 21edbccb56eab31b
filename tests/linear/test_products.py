import numpy as np
import scipy.sparse
from numpy.testing import assert_array_equal

from skscratch.linear.products import Features


def test_pieces_of_sparse_rows_are_views():
    X = scipy.sparse.random(40_000, 200, density=0.5, random_state=0, format="csr")
    pieces = Features(X, None, X.dtype).pieces
    assert len(pieces) > 1
    assert_array_equal(
        np.concatenate([np.arange(len(X.indptr) - 1)[rows] for rows, _ in pieces]),
        np.arange(X.shape[0]),
    )
    for rows, piece in pieces:
        assert np.shares_memory(piece.data, X.data)
        assert np.shares_memory(piece.indices, X.indices)
        assert (piece != X[rows]).nnz == 0
