"""Options and shapes of torch's functions that are easily got wrong: values and two derivatives against torch's own."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch_oracle import nested, worst  # noqa: E402

import ntaylor as nt  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.triangular_solve is deprecated:UserWarning")

GENERATOR = torch.Generator().manual_seed(6)


def draw(*shape):
    return torch.rand(*shape, dtype=torch.float64, generator=GENERATOR)


X, V, W, T = draw(3, 4) * 1.6 - 0.8, draw(3, 4), draw(3, 4), draw(2, 3, 4)
I = torch.tensor([0, 2])  # noqa: E741
IDX = torch.tensor([[0], [1], [2]])


def spd(x):
    return x @ x.mT + torch.eye(3, dtype=torch.float64)


OPTIONS = {
    "by name": lambda x: (
        torch.linalg.inv(A=spd(x))
        + torch.linalg.det(A=spd(x))
        + torch.linalg.slogdet(A=spd(x)).logabsdet
        + torch.linalg.vector_norm(x=x)
        + torch.trapezoid(y=x, dim=1)
        + torch.mm(input=x, mat2=x.mT)
        + torch.linalg.vecdot(x=x, y=W)
    ),
    "trap 2d": lambda x: torch.trapezoid(x, x**2, dim=0),
    "trap x jet": lambda x: torch.trapezoid(W, x, dim=1),
    "quantile keepdim": lambda x: torch.quantile(x, 0.3, keepdim=True) + torch.quantile(x, 0.3, dim=1, keepdim=True),
    "quantile vec keepdim": lambda x: torch.quantile(x, torch.tensor([0.2, 0.3]).double(), dim=1, keepdim=True),
    "quantile vec None": lambda x: torch.quantile(x, torch.tensor([0.2, 0.3]).double(), keepdim=True),
    "quantile near": lambda x: (
        torch.quantile(x, 0.33, interpolation="nearest")
        + torch.quantile(x, 0.33, interpolation="lower")
        + torch.quantile(x, 0.33, interpolation="higher")
    ),
    "norm dims": lambda x: (
        torch.norm(x, dim=0)
        + torch.norm(x, p=1)
        + torch.linalg.norm(x, dim=(0, 1))
        + torch.norm(x, float("inf"), dim=1)[0]
        + torch.linalg.vector_norm(x, 3)
    ),
    "matrix_norm dim": lambda x: (
        torch.linalg.matrix_norm(x[None].expand(2, 3, 4), 1, dim=(1, 2))
        + torch.linalg.matrix_norm(x[None].expand(2, 3, 4) * T, 1, dim=(0, 2)).sum()
    ),
    "norm batch": lambda x: torch.linalg.matrix_norm(x[None] * T, 1, dim=(0, 2), keepdim=True),
    "atleast": lambda x: torch.atleast_3d(x[0])[0, :, 0] + torch.atleast_1d(x.sum()) + torch.atleast_2d(x.sum()),
    "cross default": lambda x: torch.cross(x, W, dim=0) + torch.linalg.cross(x, W, dim=0),
    "sumto": lambda x: x.sum_to_size(3, 1) + x.sum_to_size(4) + x.sum_to_size((1, 1)),
    "index_fill": lambda x: x.index_fill(0, I, torch.tensor(2.0).double()),
    "scatter value": lambda x: x.scatter(1, torch.tensor([[0], [1], [2]]), 3.0),
    "take_along none": lambda x: torch.take_along_dim(x, torch.tensor([3, 4])),
    "gather neg": lambda x: torch.gather(x, -1, torch.tensor([[0], [1], [2]])),
    "cummax neg": lambda x: torch.cummax(x, -1)[0] + x.cummin(dim=-1).values,
    "topk smallest": lambda x: x.topk(k=2, largest=False).values,
    "kth": lambda x: torch.kthvalue(x, 2, 0, True).values,
    "mode": lambda x: torch.mode(x, 1).values,
    "median0": lambda x: x.median(0, True)[0] + torch.median(x, dim=1, keepdim=True).values,
    "tensor_split": lambda x: (
        torch.tensor_split(x, torch.tensor([1, 3]), dim=1)[1]
        + x.tensor_split(3, dim=1)[0][:, :1]
        + torch.vsplit(x, 3)[1][:, :2]
    ),
    "diag_embed": lambda x: torch.diag_embed(x, offset=1, dim1=0, dim2=2),
    "rot90": lambda x: torch.rot90(x, 2, (1, 0)),
    "unfold": lambda x: x.unfold(0, 2, 1) + F.unfold(x[None, None], (2, 2)).sum(),
    "prod": lambda x: torch.prod(x, 1, True) + torch.prod(x),
    "logit eps": lambda x: torch.logit(x * 2, eps=1e-2),
    "softmax dtype": lambda x: torch.softmax(x, 1, dtype=torch.float64),
    "std": lambda x: torch.std_mean(x, (0, 1))[0] + torch.var_mean(x, 1, correction=2)[0],
    "cov1": lambda x: torch.cov(x[0], correction=0) + torch.corrcoef(x).sum(),
    "grad2": lambda x: torch.gradient(x, spacing=(0.5, 2.0))[1] + torch.gradient(x, dim=0, edge_order=2)[0],
    "lerp": lambda x: torch.lerp(x, W, W) + torch.lerp(W, W, x),
    "nan2": lambda x: torch.nan_to_num(
        torch.cat([x, torch.full((1, 4), math.nan).double(), torch.full((1, 4), -math.inf).double()]), nan=3.0
    ),
    "ce": lambda x: (
        F.cross_entropy(x, torch.tensor([0, -100, 2]))
        + F.cross_entropy(x, torch.tensor([0, 1, 2]), weight=W[0])
        + F.cross_entropy(x[0], torch.tensor(1))
    ),
    "ce2d": lambda x: (
        F.cross_entropy(x[None].expand(2, 3, 4), torch.tensor([[0, 1, 2, 0], [1, 1, 0, 2]]), reduction="sum")
        + F.cross_entropy(x, W.softmax(1), weight=W[0], label_smoothing=0.1)
    ),
    "nll": lambda x: F.nll_loss(x, torch.tensor([0, -100, 2]), reduction="none"),
    "huberw": lambda x: F.huber_loss(x, W, weight=W, reduction="sum") + F.mse_loss(x, W, reduction="mean", weight=W),
    "bce": lambda x: F.binary_cross_entropy_with_logits(x, W, weight=W, reduction="none"),
    "kl": lambda x: (
        F.kl_div(x, W.log(), log_target=True, reduction="sum") + F.kl_div(W.log(), x.exp(), reduction="sum")
    ),
    "gnll": lambda x: F.gaussian_nll_loss(x, W, W) + F.gaussian_nll_loss(x, W, 0.5),
    "cos": lambda x: F.cosine_similarity(x, W[None] * 2, dim=-1) + F.cosine_similarity(W, x, dim=1).sum(),
    "pd": lambda x: F.pairwise_distance(x, W + 2, p=3, keepdim=True),
    "triplet": lambda x: F.triplet_margin_loss(x, W, W * 3, swap=True, reduction="none"),
    "cosloss": lambda x: F.cosine_embedding_loss(x, W, torch.tensor([1, -1, 1]), margin=0.1, reduction="none"),
    "pad neg": lambda x: F.pad(x, (-1, 1)) + F.pad(x, (0, 0, 1, -1), value=2.0),
    "pad rep": lambda x: F.pad(x[None], (1, 1), mode="replicate") + F.pad(x[None], (1, 1), "circular"),
    "maxpool idx": lambda x: (
        F.max_pool1d(x[None], 2, stride=1, padding=1)[0] + F.max_pool2d(x[None], 2, 1, return_indices=False).sum()
    ),
    "maxpool unb": lambda x: F.max_pool2d(x[None, None], (2, 2), ceil_mode=True),
    "adaptivemax": lambda x: F.adaptive_max_pool1d(x, 2) + F.adaptive_avg_pool1d(x, 2),
    "interp near": lambda x: (
        F.interpolate(x[None], size=6) + F.interpolate(x[None], scale_factor=1.5, mode="linear", align_corners=True)
    ),
    "lstsq vec": lambda x: torch.linalg.lstsq(x.mT, W[:1].mT).solution.sum() + torch.linalg.lstsq(x, W[:, :1]).solution,
    "pinv batch": lambda x: torch.linalg.pinv(x[None] * T),
    "solve batch": lambda x: (
        torch.linalg.solve(spd(x[None] * T), W[:, :2]) + torch.linalg.solve(spd(x[None] * T), T[:, :, 0])[..., None]
    ),
    "tri T": lambda x: torch.triangular_solve(W[:, :2], spd(x), upper=False, transpose=True).solution,
    "chol solve up": lambda x: (
        torch.cholesky_solve(W, torch.linalg.cholesky(spd(x)).mT, upper=True)
        + torch.cholesky_inverse(torch.linalg.cholesky(spd(x)).mT, upper=True).sum()
    ),
    "tensorsolve dims": lambda x: torch.linalg.tensorsolve((spd(x)).reshape(3, 3, 1), W[:, 0], dims=(0,)),
    "tensorinv": lambda x: torch.linalg.tensorinv(spd(x).reshape(3, 1, 3), ind=1),
    "matrix_power batch": lambda x: torch.linalg.matrix_power(spd(x[None] * T), 2),
    "rfft2 s": lambda x: torch.fft.rfft2(x, s=(4, 4)).abs() + torch.fft.irfft2(torch.fft.rfft2(x), s=(4, 3)),
    "fftn s": lambda x: torch.view_as_real(torch.fft.fftn(x, s=(3,), norm="forward")),
    "fftn dim": lambda x: (
        torch.fft.fftn(x, dim=(0,)).real + torch.fft.ihfft(x, dim=0).imag.sum() + torch.fft.ifftshift(x, dim=(0,))
    ),
    "hfftn": lambda x: torch.fft.hfftn(x, s=(3, 6)) + torch.fft.ihfft2(x).abs().sum(),
    "angle": lambda x: torch.angle(x) + torch.angle(torch.complex(x, W)),
    "conj": lambda x: (
        (torch.complex(x, W).conj() * torch.complex(W, x)).imag
        + torch.conj_physical(torch.complex(x, W)).imag
        + torch.complex(x, W).resolve_conj().real
    ),
    "fmod": lambda x: torch.remainder(x, W) + torch.fmod(x, W),
    "ldexp": lambda x: torch.ldexp(x, torch.tensor([1, 2, 3, 4])),
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "inst": lambda x: F.instance_norm(x[None], W[:, 0], W[:, 1].abs(), use_input_stats=False),
    "embed": lambda x: F.embedding(torch.tensor([[0, 1], [2, 2]]), x, padding_idx=0),
    "combos": lambda x: torch.combinations(x[0], 3),
    "cart": lambda x: torch.cartesian_prod(x[0], W[0], x[1]) + torch.cartesian_prod(x[0])[0],
    "meshxy": lambda x: torch.meshgrid([x[0], x[1]], indexing="ij")[1],
    "bd": lambda x: torch.block_diag(x, W, x.sum()),
    "swap": lambda x: x.moveaxis(0, 1) + torch.movedim(x, (0, 1), (1, 0)),
    "nansum": lambda x: torch.nansum(x, 1) + torch.nanmean(x, dim=1, keepdim=True),
    "argfn": lambda x: x[torch.argsort(x[:, 0], descending=True)] * x.argmax(),
    "aminmax": lambda x: torch.aminmax(x).min + x.aminmax(dim=1, keepdim=True)[1],
    "addmm": lambda x: torch.addmv(x[:, 0], x, W[0], beta=0.5) + torch.addr(x, x[:, 0], x[0], alpha=2).sum(),
    "isin": lambda x: torch.where(torch.isin(x, x[0]), x * x, x),
    "fmax": lambda x: torch.fmax(x, W * math.nan) + torch.fmin(torch.where(x > 0, x, math.nan), W),
    "logcum": lambda x: torch.logcumsumexp(x, -1),
    "xlogy": lambda x: torch.xlogy(2.0, x + 2) + torch.special.xlog1py(x, 0.3) + torch.special.xlog1py(W, x),
    "istft": lambda x: torch.istft(
        torch.stft(x.repeat(1, 4), 4, return_complex=True, window=torch.ones(4).double()),
        4,
        window=torch.ones(4).double(),
    ),
    "sdpa float": lambda x: F.scaled_dot_product_attention(
        x, x, W, attn_mask=torch.zeros(3, 3).double().tril().masked_fill(torch.ones(3, 3).bool().triu(1), -math.inf)
    ),
    "sdpa jetmask": lambda x: F.scaled_dot_product_attention(W, W, W, attn_mask=x[:, :3]),
    "gqa": lambda x: F.scaled_dot_product_attention(
        (x[None] * torch.ones(4, 1, 1).double()), T * x, T, enable_gqa=True, is_causal=True
    ),
    "eigh": lambda x: torch.linalg.eigvalsh(spd(x), UPLO="U") + torch.linalg.eigh(spd(x), "U").eigenvalues,
    "diagonal": lambda x: torch.diagonal(x, offset=-1, dim1=1, dim2=0) + x.diagonal(1),
    "vander": lambda x: torch.linalg.vander(x[0] + 2),
    "scatter src": lambda x: torch.zeros_like(x).scatter(1, IDX, x[:, :1]) + W.scatter_add(1, IDX, x[:, :1]),
    "conv stride": lambda x: F.conv1d(x[None], W[:3, None, :2], groups=3, stride=2, bias=x[:, 0]),
    "conv unbatched": lambda x: F.conv1d(x, W[:, :3, None], padding="valid", dilation=2),
    "mH": lambda x: torch.complex(x, W).mH.abs() + torch.complex(x, W).H.imag,
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name):
    function = OPTIONS[name]
    expected = nested(function, X, 2, V)
    got = nt.derivatives(function, X, 2, V)
    assert worst(got, expected) < 1e-12
    torch.testing.assert_close(got[0], function(X), rtol=1e-12, atol=1e-12, equal_nan=True)


def test_only_the_triangle_is_read_that_is_named():
    """With other numbers in the other triangle, where torch's own derivatives are of the symmetric part of both."""
    junk = 5 * torch.tril(torch.ones(3, 3, dtype=torch.float64), -1)
    got = nt.derivatives(lambda x: torch.linalg.eigvalsh(torch.triu(spd(x)) + junk, UPLO="U"), X, 2, V)
    assert worst(got, nested(lambda x: torch.linalg.eigvalsh(spd(x)), X, 2, V)) < 1e-12


def test_least_squares_give_residuals():
    got = nt.derivatives(lambda x: torch.linalg.lstsq(x.mT, W.mT).residuals, X, 1, V)
    x = torch.linalg.lstsq(X.mT, W.mT).solution
    torch.testing.assert_close(got[0], ((X.mT @ x - W.mT) ** 2).sum(0))


def test_distances_of_which_torch_has_one_derivative():
    got = nt.derivatives(lambda x: torch.cdist(x, W + 3, p=3), X, 3, V)
    assert worst(got, nested(lambda x: ((x[:, None] - W - 3).abs() ** 3).sum(-1) ** (1 / 3), X, 3, V)) < 1e-12
