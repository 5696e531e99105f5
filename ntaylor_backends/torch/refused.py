"""What torch has and jets have no rule for, and what to write instead: data only.

A name that is neither here nor in ``functions.FUNCTIONS`` is refused without a reason.
"""

from __future__ import annotations

__all__ = ["REFUSED"]

_AS_A_NUMBER = "a Python number has no derivatives; for a constant write x.detach() first"
_BUILT = "it writes into an array: build the result with torch.cat, torch.stack or torch.where"
_NESTS = "for derivatives within a function call nt.derivatives, which nests"
_FACTORS = "factors serve torch's own solvers only: torch.linalg.solve(A, B) factors A once, whatever the order"
_SINGULAR = "it has no derivative where values meet: take the square roots of torch.linalg.eigvalsh(A.mT @ A)"
_EIGENVALUES = "of a general matrix; for a symmetric one use torch.linalg.eigh or eigvalsh"
_COUNTS = "how many values there are depends on the values: use torch.sort, or x.detach() for a constant"
_RANDOM = "it draws random numbers anew at every call: draw them outside of the function, from x.detach() if need be"
_BITS = "it takes integers or booleans, which have no derivative: make masks with comparisons first"
_MEMORY = "how a tensor lies in memory is not a jet's: use reshape, indexing, torch.stack"
_BESSEL = (
    "register its derivatives under this name, nt.activations.register({name!r}, derivatives=lambda u0, order, xp: …), "
    "and it serves torch.special too"
)
_QUANTISED = "quantised numbers have no derivatives: work in float64 or float32"
_SPARSE = "jets are dense: use x.to_dense() before, and torch.matmul"
_BATCH = "in training every point's value depends on the batch: call model.eval(), or use LayerNorm"
_POWERS = "write (F.avg_pool2d(x**p, k) * k * k) ** (1 / p)"
_LOSSES = "write it with torch.where, torch.clamp and means"
_AUTOGRAD = "a jet is no node of autograd: call .backward() on what nt.derivatives gives"

_FOR_MANY = {
    _AS_A_NUMBER: "item tolist numpy is_nonzero __float__ __int__ __index__ __complex__",
    _BUILT: "__setitem__ copy_ index_put_ put put_ fill_diagonal_ set_ resize_ resize resize_as resize_as_ map_ map2_",
    _NESTS: "grad requires_grad_",
    _AUTOGRAD: "backward register_hook retain_grad register_post_accumulate_grad_hook",
    _FACTORS: """lu lu_solve lu_unpack lu_factor lu_factor_ex ldl_factor ldl_factor_ex ldl_solve geqrf ormqr orgqr
        householder_product""",
    _SINGULAR: "svd svdvals svd_lowrank pca_lowrank nuclear_norm lobpcg",
    _EIGENVALUES: "eig eigvals",
    _COUNTS: "unique unique_consecutive bincount histc histogram histogramdd nonzero_static _unique2",
    _RANDOM: """bernoulli multinomial normal normal_ poisson binomial uniform_ cauchy_ exponential_ geometric_
        log_normal_ random_ gumbel_softmax fractional_max_pool2d fractional_max_pool3d native_dropout
        fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices _sample_dirichlet
        _standard_gamma""",
    _BITS: """bitwise_and bitwise_not bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift gcd lcm one_hot
        __and__ __or__ __xor__ __invert__ __lshift__ __rshift__ __rand__ __ror__ __rxor__ __rlshift__ __rrshift__""",
    _MEMORY: """as_strided as_strided_ as_strided_scatter data_ptr storage untyped_storage storage_type stride
        storage_offset pin_memory share_memory_ is_set_to""",
    _BESSEL: """airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 i0 i0e i1 i1e modified_bessel_i0 modified_bessel_i1
        modified_bessel_k0 modified_bessel_k1 scaled_modified_bessel_k0 scaled_modified_bessel_k1 spherical_bessel_j0
        zeta""",
    _QUANTISED: "dequantize int_repr q_scale q_zero_point quantize_per_tensor quantize_per_channel",
    _SPARSE: "to_sparse sparse_mask coalesce smm sspaddmm spmm to_mkldnn",
    _BATCH: "native_batch_norm batch_norm_stats",
    _POWERS: "lp_pool1d lp_pool2d lp_pool3d",
    _LOSSES: """ctc_loss multi_margin_loss multilabel_margin_loss multilabel_soft_margin_loss linear_cross_entropy
        triplet_margin_with_distance_loss""",
}

REFUSED: dict[str, str] = {
    **{name: reason for reason, names in _FOR_MANY.items() for name in names.split()},
    "apply_": "it calls a Python function on every number: call torch's functions on the jet",
    "embedding_bag": "use F.embedding and a sum over the bag",
    "erfcx": "write torch.exp(x * x) * torch.erfc(x), which holds for x < 26",
    "frexp": "the digits of a number are no function to be differentiated: use torch.log2 and torch.exp2",
    "gammainc": "its derivative by the first argument has no closed form; by x write it from torch.special.gammaln",
    "gammaincc": "its derivative by the first argument has no closed form; by x write it from torch.special.gammaln",
    "igamma": "its derivative by the first argument has no closed form; by x write it from torch.special.gammaln",
    "igammac": "its derivative by the first argument has no closed form; by x write it from torch.special.gammaln",
    "local_response_norm": "write x / (k + alpha * F.avg_pool1d(x * x, …)) ** beta over the channels",
    "matrix_exp": "of a symmetric matrix write (V * torch.exp(w)) @ V.mT with w, V = torch.linalg.eigh(A)",
    "nextafter": "the neighbour of a number is a matter of its bits, not of calculus: apply it to x.detach()",
    "nanquantile": "select what is no NaN first, x[~x.isnan()], and use torch.quantile",
    "renorm": "write x * torch.clamp(maxnorm / torch.linalg.vector_norm(x, dim=…, keepdim=True), max=1)",
    "scatter_reduce": "use scatter_add, or torch.where",
    "index_reduce": "use index_add, or torch.where",
    "torch.jit": "what is scripted or traced cannot be looked into; pass the module that it was made from",
    "type": "to tell the type, x.dtype; to change it, x.to(dtype)",
}
"""Torch's name → why, and what to write instead."""
