"""Every public name of torch's that takes tensors: jets have a rule for it, or refuse it by this name."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch.overrides import get_overridable_functions  # noqa: E402

import ntaylor as nt  # noqa: E402
from ntaylor_backends.torch.functions import FUNCTIONS  # noqa: E402
from ntaylor_backends.torch.jets import TorchJet, call, name_of  # noqa: E402
from ntaylor_backends.torch.refused import REFUSED  # noqa: E402

JET = TorchJet([torch.ones(2, 2), torch.ones(2, 2)], 2)
MODULES = {"torch": torch, "torch.linalg": torch.linalg, "torch.fft": torch.fft, "torch.special": torch.special}
MODULES |= {"torch.functional": torch.functional, "torch.nn.functional": F, "torch.Tensor": torch.Tensor}

# What torch-jet has no rule for, and what the PINN literature uses.
PROMISED = """
    cat stack permute bmm einsum erf silu gelu softplus softmax layer_norm scaled_dot_product_attention __getitem__
    linalg_solve linalg_solve_triangular inverse linalg_inv linalg_det linalg_slogdet logdet linalg_cholesky
    cholesky_solve linalg_qr linalg_eigh linalg_eigvalsh linalg_matrix_power linalg_multi_dot linalg_vector_norm
    linalg_matrix_norm linalg_norm linalg_cross outer linalg_pinv linalg_lstsq fft_fft fft_ifft fft_rfft fft_irfft
    fft_fftn fft_rfft2 fft_fftshift cumprod cumsum logcumsumexp cummax cummin gather take take_along_dim index_select
    argsort sort topk searchsorted bucketize tril triu swapaxes swapdims movedim diag diagonal diag_embed trapezoid
    cumulative_trapezoid nan_to_num logsumexp logaddexp hypot atan2 heaviside lerp addcmul addcdiv addmm addmv baddbmm
    cdist pairwise_distance cosine_similarity interpolate grid_sample conv1d conv2d conv3d avg_pool1d avg_pool2d
    avg_pool3d unfold scatter_add index_add masked_fill repeat_interleave roll flip rot90 chunk split tensor_split
    meshgrid cartesian_prod vander block_diag kron tensordot view_as_real complex polar angle real imag special_erfc
    special_erfinv special_expit special_logit special_log_ndtr special_ndtr special_xlogy special_xlog1py special_entr
    special_sinc multi_head_attention_forward normalize embedding mse_loss l1_loss huber_loss smooth_l1_loss
    """.split()  # noqa: SIM905 one name a line reads worse


def functions_of(module):
    """Torch's own list of the functions of a module that ask their arguments for ``__torch_function__``."""
    return [f for f in get_overridable_functions()[module] if callable(f) and hasattr(f, "__name__")]


def has_rule(name):
    return name in FUNCTIONS or TorchJet._has_rule(name)


@pytest.mark.parametrize("where", MODULES)
def test_every_function_has_a_rule_or_is_refused_by_name(where):
    """None falls to a TypeError about arguments: what has no rule says so, and says what to write."""
    functions = functions_of(MODULES[where])
    assert len(functions) > 10
    for function in functions:
        name = name_of(function)
        if has_rule(name):
            continue
        with pytest.raises(nt.MissingRule, match=f"no rule for torch's {name!r} on a jet"):
            call(name, (JET,), {})


@pytest.mark.parametrize("where", MODULES)
def test_attributes_of_tensors_are_there_or_refused(where):
    """``x.name`` of a jet, for every public name of a tensor."""
    if where != "torch.Tensor":
        return
    for name in dir(torch.Tensor):
        if name.startswith("_"):
            continue
        try:
            getattr(JET, name)
        except nt.MissingRule as refused:
            assert repr(name) in str(refused)  # noqa: PT017 most names raise nothing


def test_what_is_promised_is_there():
    names = [n.removeprefix("linalg_").removeprefix("special_") for n in PROMISED]
    there = {n for n in names if has_rule(n) or has_rule(f"linalg_{n}") or hasattr(TorchJet, n)}
    assert not set(names) - there


def test_linear_algebra_and_transforms_are_complete():
    """All but what is refused with a reason."""
    for module, prefix in ((torch.linalg, "linalg_"), (torch.fft, "fft_"), (torch.special, "special_"), (F, "")):
        names = {name_of(f) for f in functions_of(module)}
        assert not {n for n in names if not has_rule(n)} - set(REFUSED), prefix


def test_the_lists_do_not_overlap_and_name_what_torch_has():
    assert not set(REFUSED) & set(FUNCTIONS)
    everything = {name_of(f) for functions in get_overridable_functions().values() for f in functions
                  if hasattr(f, "__name__")}  # fmt: skip
    assert len(everything & set(FUNCTIONS)) > 400


REFUSALS = {
    "svd": (lambda x: torch.linalg.svd(x), r"'svd'.*eigvalsh\(A.mT @ A\)"),
    "eig": (lambda x: torch.linalg.eigvals(x), "'eigvals'.*symmetric"),
    "lu": (lambda x: torch.linalg.lu_factor(x), r"'lu_factor'.*torch.linalg.solve\(A, B\)"),
    "lu_solve": (lambda x: torch.linalg.lu_solve(x, torch.tensor([1, 2]), x), "'lu_solve'.*torch.linalg.solve"),
    "nuclear norm": (lambda x: torch.linalg.matrix_norm(x, "nuc"), "'nuc'.*eigvalsh"),
    "spectral norm": (lambda x: torch.linalg.norm(x, 2), "ord=2.*eigvalsh"),
    "cond": (lambda x: torch.linalg.cond(x), "p=None.*eigvalsh"),
    "matrix_exp": (lambda x: torch.matrix_exp(x), "torch.linalg.eigh"),
    "pinv": (lambda x: torch.linalg.pinv(x, rtol=1e-3), "tolerance"),
    "qr": (lambda x: torch.linalg.qr(x[:, :1], mode="complete"), "complete"),
    "grid": (lambda x: F.grid_sample(torch.ones(1, 1, 2, 2), x.reshape(1, 1, 2, 2)), "grid that depends on x"),
    "dropout": (lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.1), "dropout"),
    "unique": (lambda x: torch.unique(x), "depends on the values"),
    "random": (lambda x: torch.bernoulli(x), "random"),
    "lp_pool": (lambda x: F.lp_pool1d(x[None], 2, 2), "avg_pool"),
    "bessel": (lambda x: torch.special.i0(x), r"register\('i0'"),
    "polynomials": (lambda x: torch.special.hermite_polynomial_h(x, torch.arange(2)), "one whole degree"),
    "weights": (lambda x: torch.cov(x, aweights=x[0].detach()), "weights"),
    "scatter": (lambda x: x.scatter(0, torch.zeros(1, 1).long(), x, reduce="add"), "scatter_add"),
    "in place": (lambda x: x.scatter_add_(0, torch.zeros(1, 1).long(), x), "use 'scatter_add'"),
    "packed": (
        lambda x: torch.nn.GRU(2, 2)(torch.nn.utils.rnn.PackedSequence(x, torch.tensor([1, 1])))[0],
        "one length",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_to_write(name):
    function, words = REFUSALS[name]
    with pytest.raises(nt.MissingRule, match=words):
        nt.derivatives(function, torch.ones(2, 2), 2, torch.ones(2, 2))


def test_where_there_is_no_derivative():
    """A pseudo-inverse jumps where the rank does; an index is no number."""
    for function in (torch.linalg.pinv, lambda x: torch.linalg.lstsq(x, x).solution):
        with pytest.raises(ValueError, match="without full rank"):
            nt.derivatives(function, torch.ones(2, 2), 2, torch.ones(2, 2))
    with pytest.raises(TypeError, match="an index cannot be a jet"):
        nt.derivatives(lambda x: torch.gather(x, 0, x), torch.ones(2, 2), 2, torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"erfinv.*\|u\| < 1"):
        nt.derivatives(torch.erfinv, torch.ones(2, 2), 2, torch.ones(2, 2))
