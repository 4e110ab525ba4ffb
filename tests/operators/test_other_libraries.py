"""Operators of other libraries, unmodified: SCICO is traced by JAX, mbirjax and SciPy give their matrix."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csr_array

from dipjax.core import drive
from dipjax.operators import foreign, problem
from dipjax.recipes import fast

SIDE, VIEWS = 16, 12
SHAPE = (SIDE, SIDE, 1)


def picture():
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2 + 0.5
    return np.float32(np.hypot(rows - 2, columns + 1) < 4)[..., None]


def fitted(data, setting, num_steps):
    return np.asarray(drive.restore(setting.recipe, drive.seeds(0, 2), data, num_steps=num_steps).image)


@pytest.mark.filterwarnings("ignore")  # those of another library
def test_a_linear_operator_of_scico_is_an_operator_as_it_is():
    linop = pytest.importorskip("scico.linop", reason="SCICO is not installed; pip install scico")
    blur = linop.CircularConvolve(h=jnp.ones((3, 3, 1)) / 9, input_shape=SHAPE, input_dtype=jnp.float32)
    data = problem.general(np.asarray(blur(picture())), blur, SHAPE)
    restored = fitted(data, fast.deblurring(1), 200)
    assert np.mean((restored - picture()) ** 2) < 0.5 * np.mean((data.measurement - picture()) ** 2)


@pytest.mark.filterwarnings("ignore")
def test_a_projector_of_mbirjax_gives_its_matrix_slice_by_slice():
    mbirjax = pytest.importorskip("mbirjax", reason="mbirjax is not installed; pip install mbirjax")
    angles = np.linspace(0, np.pi, VIEWS, endpoint=False)
    one = mbirjax.ParallelBeamModel((VIEWS, 1, SIDE), angles)
    sinogram = np.asarray(one.forward_project(picture()))[:, 0] / SIDE
    pixels = np.eye(SIDE**2, dtype=np.float32).reshape(SIDE, SIDE, -1)  # one in every slice
    columns = mbirjax.ParallelBeamModel((VIEWS, SIDE**2, SIDE), angles).forward_project(pixels)
    operator = foreign.of_scipy(csr_array(np.moveaxis(columns, 1, 2).reshape(-1, SIDE**2) / SIDE), SHAPE)
    np.testing.assert_allclose(operator(picture()), sinogram.ravel(), atol=1e-6)
    restored = fitted(problem.general(sinogram.ravel(), operator, SHAPE), fast.tomography(1), 200)
    assert np.mean((operator(restored) - sinogram.ravel()) ** 2) < 0.01 * np.var(sinogram)
    assert np.mean((restored - picture()) ** 2) < 0.25 * np.var(picture())


def test_a_function_of_numpys_that_calls_jax_ends_with_a_sentence_and_does_not_wait_for_ever():
    operator = foreign.Foreign(lambda image: jnp.fft.fft2(image[..., 0]), lambda made: made, SHAPE[:2])
    with pytest.raises(Exception, match="operator: found a function of NumPy's that calls JAX, expected one that does not"):
        np.asarray(operator(picture()))
