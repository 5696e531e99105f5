"""Torch's linear algebra, transforms, indexing, images, attention, losses, special functions on jets.


The oracle is nested reverse mode in float64, to order 8 for what is cheap and to order 4 for the rest; where torch's
own higher derivatives are wrong or missing, the function written out with simpler operations, or mpmath.
"""

from __future__ import annotations

import math

import mpmath
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402
from torch_oracle import nested, worst  # noqa: E402

import ntaylor as nt  # noqa: E402

GENERATOR = torch.Generator().manual_seed(1)


def draw(*shape):
    return torch.rand(*shape, dtype=torch.float64, generator=GENERATOR) * 1.6 - 0.8


X, V = draw(3, 3), draw(3, 3) * 2
A, B, C = draw(3, 3), draw(3, 2), draw(3)
EYE = torch.eye(3, dtype=torch.float64)
IDX = torch.tensor([[2, 0], [1, 1]])
PLACES = torch.tensor([0, 2])
MASK = torch.tensor([[True, False, True], [False, True, True], [True, True, False]])
IMAGES = {d: draw(2, 2, *([4] * d)) for d in (1, 2, 3)}
KERNELS = {d: draw(4, 2, *([2] * d)) for d in (1, 2, 3)}


def regular(x):
    return x + 3 * EYE


def by_cofactors(x):
    (a, b, c), (d, e, f), (g, h, i) = x
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def spd(x):
    return x @ x.mT + 2 * EYE


def spread(x):
    """Symmetric, with eigenvalues apart from each other."""
    return x + x.mT + torch.diag(torch.tensor([0.0, 4.0, 9.0], dtype=torch.float64))


def image(x, d):
    return torch.sin(IMAGES[d] * x.sum() + IMAGES[d])


CHEAP = {
    "solve": lambda x: torch.linalg.solve(regular(x), B),
    "solve, vectors": lambda x: torch.linalg.solve(torch.stack([regular(x), EYE - x]), torch.stack([x[0], C])),
    "solve, right": lambda x: torch.linalg.solve(regular(x), x, left=False) + torch.linalg.solve_ex(A, x).result,
    "solve_triangular": lambda x: torch.linalg.solve_triangular(regular(x), B, upper=True)
    + torch.linalg.solve_triangular(regular(x), B, upper=False, unitriangular=True)
    + torch.linalg.solve_triangular(regular(x), B.T, upper=False, left=False).T,
    "inv_ex": lambda x: torch.linalg.inv_ex(regular(x)).inverse,
    "det": lambda x: torch.linalg.det(regular(x)) * torch.det(x) + x.det(),
    "slogdet": lambda x: torch.linalg.slogdet(regular(x)).logabsdet + torch.slogdet(x)[1],
    "logdet": lambda x: torch.logdet(spd(x)) + spd(x).logdet(),
    "matrix_power": lambda x: torch.linalg.matrix_power(x, 3) + regular(x).matrix_power(-2) + torch.matrix_power(x, 0),
    "multi_dot": lambda x: torch.linalg.multi_dot([C, x, A, x, C]) + torch.linalg.multi_dot([x, A, B, B.T, x]),
    "cross": lambda x: torch.linalg.cross(x, A) + torch.cross(x, x.T, dim=0) + x.cross(A[:, [1, 2, 0]], dim=1),
    "vander": lambda x: torch.linalg.vander(x[0], N=4) + torch.vander(x[1], 4),
    "tensorsolve": lambda x: torch.linalg.tensorsolve(regular(x).reshape(3, 1, 3), B[:, :1])
    + torch.linalg.tensorinv(regular(x), ind=1)[0],
    "kron": lambda x: torch.kron(x, A[:2]) * torch.kron(A[:2], x),
    "add products": lambda x: torch.addmv(x[0], x, C, beta=2, alpha=0.5) + torch.addr(x, x[0], C)
    + torch.addbmm(x, x[None], A[None]),
    "fft": lambda x: torch.view_as_real(torch.fft.fft(x * x) + torch.fft.ifft(x, n=3, dim=0, norm="ortho")),
    "fftn": lambda x: (torch.fft.fftn(x) * torch.fft.ifft2(x)).real + torch.fft.irfftn(torch.fft.rfftn(x), s=(3, 3)),
    "hfft": lambda x: torch.fft.hfft(x, n=4) + torch.fft.ihfft(x, n=6).imag + torch.fft.hfft2(x, s=(3, 4)),
    "fftshift": lambda x: torch.fft.fftshift(x * x) + torch.fft.ifftshift(x, dim=1) * torch.fft.fftfreq(3).double(),
    "gather": lambda x: torch.gather(x * x, 1, IDX) + x.gather(0, IDX) + torch.take_along_dim(x[:2], IDX, dim=1),
    "sort": lambda x: torch.sort(x, descending=True).values + x.sort(dim=0, stable=True)[0] + torch.msort(x),
    "topk": lambda x: torch.topk(x, 2).values * x.topk(2, 0, largest=False)[0].T + torch.kthvalue(x, 2).values[:, None],
    "median": lambda x: x.median(1).values + torch.median(x) + torch.nanmedian(x, 0, keepdim=True)[0][0],
    "quantile": lambda x: torch.quantile(x, 0.3) + torch.quantile(x, torch.tensor([0.1, 0.8]).double(), dim=1).sum(0)
    + torch.quantile(x, 0.4, dim=0, interpolation="midpoint"),
    "argsort": lambda x: x[:, 0][torch.argsort(x[:, 0])] ** 2,
    "searchsorted": lambda x: x * torch.searchsorted(C.sort().values, x) + torch.bucketize(x, C.sort().values) * x**2,
    "swap": lambda x: torch.swapaxes(x, 0, 1) + x.swapdims(0, 1) * torch.movedim(x, 0, 1) + x.adjoint() * x.mH,
    "diag_embed": lambda x: torch.diag_embed(x)[1] + torch.diag(x[0]) + torch.diagflat(x[:, 0])
    + torch.diagonal(x, 1)[0],
    "trapezoid": lambda x: torch.trapezoid(x, dx=0.5) + torch.trapezoid(x, A.sort().values, dim=1) + torch.trapz(x, C),
    "cumulative_trapezoid": lambda x: torch.cumulative_trapezoid(x, x * x, dim=0),
    "gradient": lambda x: torch.gradient(x)[0] * torch.gradient(x * x, spacing=0.5, dim=1)[0],
    "nan_to_num": lambda x: torch.nan_to_num(x / 1.0) * torch.where(MASK, x, math.inf).nan_to_num(posinf=2.0),
    "heaviside": lambda x: x * torch.heaviside(x, C) + x.heaviside(C),
    "fmax": lambda x: torch.fmax(x, torch.where(MASK, A, math.nan)) + torch.fmin(x, A),
    "scatter": lambda x: torch.scatter(x * x, 0, IDX, x[:2, :2]) + x.index_copy(0, PLACES, A[:2])
    + x.index_fill(1, PLACES, 2.0)
    + x.scatter(1, IDX, 0.5),
    "slice_scatter": lambda x: torch.select_scatter(x, x[0] ** 2, 1, 2) + A.slice_scatter(x[:1], 0, 1, 2)
    + torch.diagonal_scatter(x, C) + x.masked_scatter(MASK, A * 2),
    "repeat_interleave": lambda x: x.repeat_interleave(torch.tensor([1, 0, 2]), 0) + x.rot90()
    + torch.fliplr(x).flipud(),
    "tensor_split": lambda x: torch.tensor_split(x, 2)[1] * x.tensor_split((1,), 1)[0][:1] + x.hsplit(3)[2][:1],
    "grids": lambda x: torch.cartesian_prod(x[0], C)[:, 0] * torch.meshgrid(x[1], C, indexing="xy")[0].reshape(-1)
    * torch.combinations(x[0], with_replacement=True).sum(),
    "block_diag": lambda x: torch.block_diag(x, A, x[0]) + torch.block_diag(C, x, A),
    "at least": lambda x: torch.atleast_3d(x)[..., 0] + torch.atleast_2d(x[0]) + torch.dstack([x, A])[..., 0]
    + torch.broadcast_tensors(x[0], A)[0] + torch.row_stack([x, A])[2:5] + x.sum_to_size(1, 3),
    "erfinv": lambda x: torch.erfinv(x) + torch.special.ndtri((x + 1) / 2),
    "polygamma": lambda x: torch.polygamma(2, x + 3) + (x + 3).polygamma(3),
    "embedding": lambda x: F.embedding(IDX, x) * nn.Embedding.from_pretrained(A)(IDX) * F.one_hot(IDX, 3),
    "attention": lambda x: F.scaled_dot_product_attention(x, x * A, torch.sin(x), attn_mask=MASK, scale=0.7),
}  # fmt: skip

DEAR = {
    "complex": lambda x: torch.complex(x, A).abs() + torch.polar(x + 2, A).angle()
    + torch.view_as_complex(x[:, :2].contiguous()).imag,
    "cosine_similarity": lambda x: F.cosine_similarity(x, A, dim=1) + torch.cosine_similarity(x, x * x + 1, 0),
    "scatter_add": lambda x: x.scatter_add(1, IDX, (x * x)[:2, :2]) + torch.index_add(A, 0, PLACES, x[:2], alpha=2),
    "windows": lambda x: x.unfold(1, 2, 1)[..., 0] * x.unfold(dimension=1, size=2, step=1)[..., 1],
    "inv": lambda x: torch.linalg.inv(regular(x)) + torch.inverse(regular(x)) + regular(x).inverse(),
    "matrix_norm": lambda x: torch.linalg.matrix_norm(x) + torch.linalg.matrix_norm(x, 1) + torch.linalg.norm(x, 1)
    + torch.linalg.matrix_norm(x, math.inf, keepdim=True)[0, 0] + torch.linalg.norm(x, "fro"),
    "rfft": lambda x: torch.fft.irfft(torch.fft.rfft(x) ** 2, n=3) + torch.fft.rfft2(x).abs().sum(),
    "cumprod": lambda x: torch.cumprod(x, 1) + x.cumprod(dim=0),
    "logcumsumexp": lambda x: torch.logcumsumexp(x, 1) + x.logcumsumexp(0),
    "cummax": lambda x: torch.cummax(x, 1).values * x.cummin(0)[0],
    "ldexp": lambda x: torch.ldexp(x, PLACES[[0, 1, 1]]) + torch.logaddexp2(x, A),
    "distances": lambda x: torch.cdist(x, A + 2) + torch.cdist(x, A, p=1) + F.pairwise_distance(x, A + 2)
    + torch.dist(x, A) + F.pdist(x + A).sum(),
    "index_put": lambda x: A.index_put((PLACES, PLACES), x[0, :2]) + x.index_put((PLACES,), C, accumulate=True),
    "statistics": lambda x: torch.cov(x) * torch.corrcoef(x) + torch.var_mean(x, 1)[0] + torch.std_mean(x)[1]
    + x.nansum(0) * x.nanmean() + torch.aminmax(x, dim=0).max,
    "xlogy": lambda x: torch.xlogy(x, x + 2) + torch.special.xlog1py(x, A) + torch.special.entr(x + 1)
    + torch.xlogy(A, x + 2) + torch.xlogy(x, 2.5),
    "logit": lambda x: torch.special.logit((x + 1) / 2) + torch.special.expit(x) + torch.special.exp2(x)
    + torch.special.log_softmax(x, 1) + torch.special.softmax(x, 0) + torch.special.log1p(x) + torch.special.expm1(x),
    "losses": lambda x: F.mse_loss(x, A) + F.l1_loss(x, A, reduction="sum") + F.huber_loss(x, A, delta=0.3)
    + F.smooth_l1_loss(x, A, beta=0.2, reduction="none") + F.kl_div(x, A.exp(), reduction="batchmean")
    + F.soft_margin_loss(x, A.sign()) + F.gaussian_nll_loss(x, A, x.exp(), full=True) + F.poisson_nll_loss(x, A.exp())
    + F.mse_loss(A, x, weight=A.exp()),
    "cross_entropy": lambda x: F.cross_entropy(x, PLACES[[0, 1, 1]]) + F.nll_loss(x, PLACES[[1, 0, 1]], weight=C.exp())
    + F.cross_entropy(x, A.softmax(1), reduction="none")
    + F.binary_cross_entropy_with_logits(x, A.exp(), pos_weight=C.exp())
    + F.binary_cross_entropy(x.sigmoid(), A.sigmoid()),
    "margins": lambda x: F.triplet_margin_loss(x, A, A + 1, margin=2.0) + F.cosine_embedding_loss(x, A, C.sign())
    + F.margin_ranking_loss(x, A, B[:, :1].sign(), margin=0.1) + F.hinge_embedding_loss(x, A.sign()),
    "cholesky": lambda x: torch.linalg.cholesky(spd(x)) + torch.linalg.cholesky(spd(x), upper=True)
    + torch.linalg.cholesky_ex(spd(x)).L,
    "cholesky_solve": lambda x: torch.cholesky_solve(B, torch.linalg.cholesky(spd(x)))
    + torch.cholesky_inverse(torch.linalg.cholesky(spd(x)))[:, :2],
    "qr": lambda x: torch.linalg.qr(regular(x))[0] + torch.linalg.qr(regular(x)).R,
    "eigh": lambda x: torch.linalg.eigh(spread(x)).eigenvalues + torch.linalg.eigh(spread(x), UPLO="U")[1].abs(),
    "eigvalsh": lambda x: torch.linalg.eigvalsh(spread(x)),
    "pinv": lambda x: torch.linalg.pinv(regular(x)[:, :2]) + torch.pinverse(regular(x)[:2]).T,
    "lstsq": lambda x: torch.linalg.lstsq(regular(x)[:, :2], B).solution,
    "conv": lambda x: F.conv1d(image(x, 1), KERNELS[1], x[0, :1].expand(4), padding="same", dilation=2).sum(0)
    + F.conv1d(IMAGES[1], torch.cos(KERNELS[1] * x[0, 0]), stride=1, padding=1)[0, :, :4],
    "conv2d": lambda x: F.conv2d(image(x, 2), torch.cos(KERNELS[2] * x[0, 0]), C[[0, 1, 2, 0]], stride=2, groups=1),
    "conv3d": lambda x: F.conv3d(image(x, 3), KERNELS[3], stride=3).sum((0, 2)),
    "conv_transpose": lambda x: F.conv_transpose1d(image(x, 1), KERNELS[1][:2], padding=1)
    + F.conv_transpose2d(image(x, 2), KERNELS[2][:2], C[:2], stride=2)[:, :, :3, 3].sum(0),
    "average pooling": lambda x: F.avg_pool1d(image(x, 1), 2) + F.avg_pool2d(image(x, 2), 2, 1)[0, :, :2, 0]
    + F.adaptive_avg_pool2d(image(x, 2), (2, 2))[..., 0] + F.avg_pool3d(image(x, 3), 2)[..., 0, 0],
    "max pooling": lambda x: F.max_pool1d(image(x, 1), 2) + F.max_pool2d(image(x, 2), 2)[..., 0]
    + F.adaptive_max_pool2d(image(x, 2), 2)[..., 1] + F.max_pool2d(image(x, 2), 2, return_indices=True)[0][..., 0],
    "resampling": lambda x: F.interpolate(image(x, 2), scale_factor=2, mode="bilinear")[0, 0]
    + F.interpolate(image(x, 2), (8, 8), mode="bicubic")[1, 1]
    + F.grid_sample(image(x, 2), draw_once(2, 8, 8, 2), align_corners=True)[0, 1],
    "pad": lambda x: F.pad(x, (1, 2), value=0.3) * F.pad(x[None], (2, 1), mode="reflect")[0],
    "fold": lambda x: F.fold(F.unfold(image(x, 2), 2), (4, 4), 2)
    + F.pixel_shuffle(image(x, 2).repeat(1, 2, 1, 1), 2)[..., :4, :4],
    "instance_norm": lambda x: F.instance_norm(image(x, 1), weight=C[:2]),
    "stft": lambda x: torch.stft(x.reshape(-1), 4, return_complex=True, window=C[[0, 1, 1, 0]]).abs(),
    "gqa": lambda x: F.scaled_dot_product_attention(x.expand(4, 3, 3), A.expand(2, 3, 3)
    * x, x.expand(2, 3, 3), enable_gqa=True),
}  # fmt: skip
_DRAWN: dict = {}


def draw_once(*shape):
    return _DRAWN.setdefault(shape, draw(*shape))


# Torch's nested reverse mode itself raises or is wrong; what is expected is written out.
WRITTEN_OUT = {
    "det": lambda x: by_cofactors(regular(x)) * by_cofactors(x) + by_cofactors(x),
    "cumprod": lambda x: torch.stack([x[:, 0], x[:, 0] * x[:, 1], x[:, 0] * x[:, 1] * x[:, 2]], 1)
    + torch.stack([x[0], x[0] * x[1], x[0] * x[1] * x[2]]),
    "heaviside": lambda x: 1.0 * x.detach().heaviside(C) * (x + 1),
    "instance_norm": lambda x: (lambda c: c / (c.square().mean(2, keepdim=True) + 1e-5).sqrt() * C[:2, None])(
        image(x, 1) - image(x, 1).mean(2, keepdim=True)
    ),
    "logcumsumexp": lambda x: x.exp().cumsum(1).log() + x.exp().cumsum(0).log(),
    "vander": lambda x: torch.stack([x[0] ** k for k in range(4)], 1)
    + torch.stack([x[1] ** (3 - k) for k in range(4)], 1),

    "distances": lambda x: torch.sqrt(((x[:, None] - A - 2) ** 2).sum(-1)) + (x[:, None] - A).abs().sum(-1)
    + torch.sqrt(((x - A - 2 + 1e-6) ** 2).sum(-1)) + torch.sqrt(((x - A) ** 2).sum())
    + sum(torch.sqrt((((x + A)[i] - (x + A)[j]) ** 2).sum()) for i, j in ((0, 1), (0, 2), (1, 2))),
}  # fmt: skip


@pytest.mark.parametrize("name", CHEAP)
def test_to_order_8(name):
    expected = nested(WRITTEN_OUT.get(name, CHEAP[name]), X, 8, V)
    assert worst(nt.derivatives(CHEAP[name], X, 8, V), expected) < 1e-11


@pytest.mark.parametrize("name", DEAR)
def test_to_order_4(name):
    expected = nested(WRITTEN_OUT.get(name, DEAR[name]), X, 4, V)
    assert worst(nt.derivatives(DEAR[name], X, 4, V), expected) < 1e-11


# --- by other oracles ---------------------------------------------------------------------------

POLYNOMIALS = {
    "chebyshev_polynomial_t": mpmath.chebyt,
    "chebyshev_polynomial_u": mpmath.chebyu,
    "hermite_polynomial_h": mpmath.hermite,
    "hermite_polynomial_he": lambda n, x: mpmath.hermite(n, x / mpmath.sqrt(2)) / mpmath.sqrt(2) ** n,
    "laguerre_polynomial_l": lambda n, x: mpmath.laguerre(n, 0, x),
    "legendre_polynomial_p": mpmath.legendre,
    "shifted_chebyshev_polynomial_t": lambda n, x: mpmath.chebyt(n, 2 * x - 1),
    # DLMF 18.5.2 to 18.5.4, in the half angle
    "chebyshev_polynomial_v": lambda n, x: mpmath.cos((n + 0.5) * mpmath.acos(x)) / mpmath.cos(mpmath.acos(x) / 2),
    "chebyshev_polynomial_w": lambda n, x: mpmath.sin((n + 0.5) * mpmath.acos(x)) / mpmath.sin(mpmath.acos(x) / 2),
}


def by_mpmath(function, points, order):
    with mpmath.workdps(50):
        series = [mpmath.taylor(function, mpmath.mpf(a), order) for a in points]
        derivatives = [[float(mpmath.re(s[k] * mpmath.factorial(k))) for s in series] for k in range(order + 1)]
    return torch.tensor(derivatives, dtype=torch.float64)


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_orthogonal_polynomials(name):
    """Of which torch has no derivatives at all, against mpmath."""
    points = [-0.7, 0.1, 0.6]
    for degree in (0, 1, 4):
        expected = by_mpmath(lambda x, n=degree: POLYNOMIALS[name](n, x) + 0 * x, points, 6)
        x = torch.tensor(points, dtype=torch.float64)
        got = nt.derivatives(lambda x, n=degree: getattr(torch.special, name)(x, n), x, 6)
        assert worst(got, expected) < 1e-12


SPECIAL = {
    "erfc": mpmath.erfc,
    "erfinv": mpmath.erfinv,
    "gammaln": mpmath.loggamma,
    "digamma": mpmath.digamma,
    "multigammaln": lambda x: mpmath.log(mpmath.pi) / 2 + mpmath.loggamma(x + 1) + mpmath.loggamma(x + 0.5),
    "log_ndtr": lambda x: mpmath.log(mpmath.ncdf(x)),
    "entr": lambda x: -x * mpmath.log(x),
    "logit": lambda x: mpmath.log(x / (1 - x)),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_functions_to_order_8(name):
    points = [0.2, 0.5, 0.8]
    function = getattr(torch.special, name)
    if name == "multigammaln":
        function = lambda x: torch.special.multigammaln(x + 1, 2)  # noqa: E731
    got = nt.derivatives(function, torch.tensor(points, dtype=torch.float64), 8)
    assert worst(got, by_mpmath(SPECIAL[name], points, 8)) < 1e-12


def test_where_a_factor_is_zero():
    """a log b is differentiable by a where a is 0, as long as b > 0."""
    a, b = torch.tensor([0.0, 0.0, 2.0]).double(), torch.tensor([0.5, 0.0, 3.0]).double()
    got = nt.derivatives(lambda t: torch.xlogy(a + t, b), torch.zeros(3).double(), 2)
    expected = torch.tensor([[0, 0, 2 * math.log(3)], [math.log(0.5), 0, math.log(3)], [0, 0, 0]]).double()
    torch.testing.assert_close(got, expected)


# --- coefficients along several directions, as operators push them ---------------------------------

ROWS = torch.linspace(0.1, 0.9, 8, dtype=torch.float64).reshape(2, 4)
DIAGONALLY = draw(4, 4) + 5 * torch.eye(4, dtype=torch.float64)
GATED = nn.GRU(1, 3, batch_first=True).double()


def near(x):
    return DIAGONALLY + torch.diag_embed(torch.sin(x))


def near_spd(x):
    return DIAGONALLY @ DIAGONALLY.mT + torch.diag_embed(torch.sin(x))


ALONG_SEVERAL = {
    "attention": lambda x: F.scaled_dot_product_attention(*[torch.sin(x).reshape(2, 2, 2)] * 3).sum((1, 2)),
    "cholesky": lambda x: (torch.linalg.cholesky(near_spd(x)) ** 2)[:, :, 0].sum(-1),
    "conv1d": lambda x: torch.tanh(F.conv1d(x[:, None], KERNELS[1][:, :1])).sum((1, 2)),
    "det": lambda x: torch.linalg.det(near(x)),
    "eigvalsh": lambda x: torch.linalg.eigvalsh(near_spd(x))[:, 0],
    "gru": lambda x: (GATED(x[..., None])[0] ** 2).sum((1, 2)),
    "interpolate": lambda x: F.interpolate(torch.sin(x)[:, None], 8, mode="linear").prod(-1)[:, 0],
    "inv": lambda x: torch.linalg.inv(near(x)).sum((1, 2)),
    "lstsq": lambda x: torch.linalg.lstsq(near(x)[:, :, :2], torch.cos(x)[..., None]).solution.sum((1, 2)),
    "movedim": lambda x: torch.movedim(torch.sin(x).reshape(2, 2, 2), 1, 2)[:, 0].prod(-1),
    "pad": lambda x: F.pad(torch.sin(x), (1, 1), value=2.0).prod(-1),
    "patches": lambda x: F.unfold(torch.sin(x).reshape(2, 1, 2, 2), (2, 1)).prod(1).sum(-1),
    "qr": lambda x: torch.linalg.qr(near(x))[1][:, 0, 0],
    "quantile": lambda x: torch.quantile(torch.sin(x), 0.3, dim=1) ** 2,
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(1, torch.tensor([[0, 1, 2, 2]] * 2), x.sin()).exp()[:, 2],
    "solve": lambda x: torch.linalg.solve(near(x), torch.cos(x)).prod(-1),
    "unbind": lambda x: torch.stack([row.prod() for row in torch.sin(x)]),
    "windows": lambda x: torch.sin(x).unfold(1, 2, 1).prod(-1).sum(-1),
}


@pytest.mark.parametrize("name", ALONG_SEVERAL)
def test_operators_push_all_directions_through_torch_functions_at_once(name):
    f = ALONG_SEVERAL[name]
    directions = torch.eye(4, dtype=torch.float64)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = sum(nested(f, ROWS, 2, e.expand(2, 4))[2] for e in directions)
    torch.testing.assert_close(nt.laplacian(f, ROWS).detach(), expected.detach(), rtol=1e-12, atol=1e-12)
