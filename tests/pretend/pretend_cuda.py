"""Pretend CUDA: run torch code as if on `cuda:0`, on a machine without a GPU, and see what would break or wait.

    model, batch = ...                     # built on the CPU, as usual
    with PretendCuda() as cuda:            # strict=False: note errors, repair, go on
        model.to("cuda")                   # makes new parameters here: build the optimizer afterwards
        model.train_step(batch, optimizer)  # raises where a GPU would
    assert not cuda.problems
    assert cuda.syncs.total() <= 60        # Counter of (kind, "file:line"); also cuda.ops, cuda.peak_bytes

torch's PrivateUse1 backend is set up in Python (`pretend:0`) and its tensors wrap CPU tensors; Python sees
`.device == cuda:0` and `.is_cuda`. Values are real, so `.item()`, `nonzero` and masks steer the program as on a
GPU, and autograd runs through the C++ engine in a device thread, as on CUDA. It must be imported before the first
backward pass of the process.

What raises (strict) or is noted in `problems` and repaired (strict=False):
  - an op that mixes CUDA with CPU tensors. Allowed as on CUDA: 0-dim CPU tensors in elementwise ops, CPU index
    tensors of a CUDA tensor, copies.
  - numpy of a CUDA tensor; a CPU generator in a CUDA factory or a random op; ops of `NO_CUDA`.
What is counted in `syncs`: host reads (item, bool, float, tolist, .cpu()), ops whose output size the host must
know (nonzero, masks, unique, bincount, repeat_interleave, isin), LAPACK checks, blocking copies from host memory
(`torch.tensor(..., device=)`, `new_tensor`, list indices, `.to` without non_blocking), each under the innermost
line of `package`. Also: `nondeterministic` (atomics), `hazards` (non-blocking copies to the host), `ops` (about the
number of kernel launches).

`torch.autocast("cuda", ...)` casts by CUDA's lists of ops (those of promotion left out). Layers of
`pc3d.ops.sparse` run on the inner CPU tensors with the Native algorithm, and gradients pass through. CUDA spconv,
kernels, streams, memory limits, NCCL and numerical differences are not seen, and `torch.cuda.is_available()` stays
False: code behind it is not run.
"""

# ruff: noqa: E501, E731, SIM905
from __future__ import annotations

import sys
import weakref
from collections import Counter
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

CUDA, CPU, ACTIVE, _AUTOCAST = torch.device("cuda:0"), torch.device("cpu"), [], torch.autocast
COPIES = {"copy_", "_to_copy", "_copy_from", "copy", "set_"}
SAME_DEVICE = {  # refuse even a 0-dim CPU tensor
    "cat",
    "stack",
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "mv",
    "dot",
    "index_select",
    "gather",
    "scatter",
    "scatter_",
    "index_add",
    "index_add_",
    "scatter_add_",
    "scatter_reduce",
    "scatter_reduce_",
    "convolution",
    "embedding",
    "searchsorted",
    "native_batch_norm",
    "isin",
}
ALWAYS_SYNC = {
    "_local_scalar_dense": "item",
    "nonzero": "nonzero",
    "masked_select": "mask",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique",
    "bincount": "bincount",
    "equal": "equal",
    "is_nonzero": "item",
    "isin": "isin (unique inside)",
    "_linalg_check_errors": "linalg check",
    "_linalg_svd": "svd",
    "_linalg_eigh": "eigh",
}
ATOMIC = {
    "index_add",
    "index_add_",
    "scatter_add",
    "scatter_add_",
    "bincount",
    "grid_sampler_2d_backward",
    "upsample_bilinear2d_backward",
    "upsample_nearest2d_backward",
    "cumsum",
    "scatter_reduce_",
}
NO_CUDA: set[str] = set()  # names of aten ops without a CUDA kernel: none that pc3d calls is known
LOWER = """linear matmul mm bmm addmm baddbmm mv addmv conv1d conv2d conv3d conv_transpose1d conv_transpose2d.input
    conv_transpose3d.input prelu scaled_dot_product_attention""".split()  # CUDA autocast: to half precision
FLOAT32 = """pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar exp log log2 log10 log1p rsqrt reciprocal softmax.int
    log_softmax.int softplus layer_norm group_norm norm.ScalarOpt_dim norm.Scalar cosine_similarity cdist pdist nll_loss
    cross_entropy_loss mse_loss l1_loss smooth_l1_loss kl_div sum sum.dim_IntList prod cumsum cumprod
    binary_cross_entropy_with_logits dist expm1""".split()


class PretendTensor(torch.Tensor):
    """A CPU tensor `inner` that says it is on cuda:0."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: CUDA)
    is_cuda, is_cpu = property(lambda self: True), property(lambda self: False)

    @staticmethod
    def __new__(cls, inner):
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device="pretend:0",
        )
        self.inner = inner
        for session in ACTIVE:
            session._track(self, inner)
        return self

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def numpy(self, *args, **kwargs):
        _problem(TypeError, "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        return self.inner.detach().numpy()

    def __array__(self, *args, **kwargs):
        return self.numpy()

    def tolist(self):
        _sync("tolist")
        return self.inner.tolist()

    def get_device(self):
        return 0

    def __repr__(self):
        return f"PretendCuda({self.inner!r})"

    def __deepcopy__(self, memo):
        copied = PretendTensor(self.inner.detach().clone()).requires_grad_(self.requires_grad)
        return (
            torch.nn.Parameter(copied, self.requires_grad) if isinstance(self, torch.nn.Parameter) else copied
        )


def unwrap(x):
    return x.inner if isinstance(x, PretendTensor) else x


def _where() -> str:
    package, frame, outer = (ACTIVE[-1].package if ACTIVE else "/"), sys._getframe(1), "?"
    while frame is not None:
        name = frame.f_code.co_filename
        if name != __file__ and package in name:
            return f"{name[name.rindex(package) + 1 :]}:{frame.f_lineno}"
        if outer == "?" and name != __file__ and ("/mmengine/" in name or "/transformers/" in name):
            outer = f"{name.split('site-packages/')[-1]}:{frame.f_lineno}"
        frame = frame.f_back
    return outer


def _sync(kind: str) -> None:
    for session in ACTIVE:
        session.syncs[kind, _where()] += 1


def _problem(error: type[Exception], text: str) -> None:
    for session in ACTIVE:
        session.problems[f"{_where()}: {text}"] += 1
        if session.strict:
            raise error(f"{text} ({_where()})")


def _check_mix(name, args, kwargs, leaves) -> bool:
    """Whether the op works on the device; complains about CPU tensors beside CUDA ones."""
    mine = [x for x in leaves if isinstance(x, PretendTensor)]
    hosts = [x for x in leaves if isinstance(x, torch.Tensor) and not isinstance(x, PretendTensor)]
    if not mine:
        return False
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type == "cpu":
        _problem(RuntimeError, "Expected a 'cuda' device type for generator but found 'cpu'")
    if name in NO_CUDA:
        _problem(NotImplementedError, f"aten::{name} has no CUDA kernel")
    if not hosts or name in COPIES:
        return True
    if name in ("index", "index_put", "index_put_", "_index_put_impl_") and isinstance(
        args[0], PretendTensor
    ):
        hosts = (
            []
            if name == "index"
            else [
                x
                for x in args[2:3]
                if isinstance(x, torch.Tensor) and not isinstance(x, PretendTensor) and x.dim()
            ]
        )
        if any(i is not None and not isinstance(i, PretendTensor) for i in args[1]):
            _sync("h2d of a CPU index")
    bad = [x for x in hosts if x.dim() or name in SAME_DEVICE]
    if bad:
        shapes = ", ".join(f"cpu {tuple(x.shape)} {x.dtype}" for x in bad)
        _problem(
            RuntimeError,
            f"Expected all tensors to be on the same device: aten::{name} of cuda:0 and {shapes}",
        )
    return True


def _count(name, args, kwargs) -> None:
    if name in ALWAYS_SYNC:
        _sync(ALWAYS_SYNC[name])
    elif name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        if any(
            i is not None and i.dtype in (torch.bool, torch.uint8) and isinstance(i, PretendTensor)
            for i in args[1]
        ):
            _sync("mask")
    elif name == "repeat_interleave" and kwargs.get("output_size") is None:
        _sync("repeat_interleave")
    for session in ACTIVE:
        session.ops[name] += 1
        if name in ATOMIC or (name == "_index_put_impl_" and args[3:4] == (True,)):
            session.nondeterministic[name, _where()] += 1


def _run(func, args, kwargs):
    name = func.overloadpacket.__name__
    if name == "_has_compatible_shallow_copy_type":
        return False
    leaves = tree_leaves((args, kwargs))
    device = kwargs.get("device")
    on_device = _check_mix(name, args, kwargs, leaves)
    if on_device:
        _count(name, args, kwargs)
    if name in COPIES:
        _count_copy(name, args, kwargs, device)
    if device is not None:
        if device.type == "pretend" and getattr(kwargs.get("generator"), "device", CUDA).type == "cpu":
            _problem(RuntimeError, "Expected a 'cuda' device type for generator but found 'cpu'")
        on_device, kwargs = device.type == "pretend", {**kwargs, "device": CPU}
    kwargs.pop("pin_memory", None)
    inner_args, inner_kwargs = tree_map(unwrap, (args, kwargs))
    if name.startswith("grid_sampler_2d") and inner_args[0].dtype == torch.bfloat16:
        # torch's CPU kernel gives rubbish for bfloat16 with the channels last; CUDA's does not run here.
        wide = tree_map(lambda x: x.float() if isinstance(x, torch.Tensor) else x, inner_args)
        out = tree_map(
            lambda x: x.to(inner_args[0].dtype) if isinstance(x, torch.Tensor) else x,
            func(*wide, **inner_kwargs),
        )
    else:
        out = func(*inner_args, **inner_kwargs)
    if name == "_to_copy" and isinstance(args[0], PretendTensor) and not on_device and out is inner_args[0]:
        out = out.clone()
    back = {id(x.inner): x for x in leaves if isinstance(x, PretendTensor)} if on_device else {}

    def wrap(x):
        if not on_device or not isinstance(x, torch.Tensor) or isinstance(x, PretendTensor):
            return x
        return back[id(x)] if id(x) in back else PretendTensor(x)

    return tree_map(wrap, out)


def _count_copy(name, args, kwargs, device) -> None:
    if name == "_to_copy":
        source, to_device = (
            isinstance(args[0], PretendTensor),
            device is not None and device.type == "pretend",
        )
        to_device = to_device or (device is None and source)
    elif name == "_copy_from":
        source, to_device = isinstance(args[0], PretendTensor), isinstance(args[1], PretendTensor)
    else:
        source, to_device = isinstance(args[1], PretendTensor), isinstance(args[0], PretendTensor)
    non_blocking = kwargs.get("non_blocking") or (len(args) > 2 and args[2] is True)
    if source and not to_device:
        _sync("d2h")
        if non_blocking:
            for session in ACTIVE:
                session.hazards[f"{_where()}: non-blocking copy to the host, read before it is there"] += 1
    elif to_device and not source:
        if not non_blocking:
            _sync("h2d, blocking")
        else:
            for session in ACTIVE:
                session.async_copies[_where()] += 1


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _device(x):
    if isinstance(x, torch.device) and x.type == "cuda":
        return torch.device("pretend:0")
    return torch.device("pretend:0") if isinstance(x, str) and x.split(":")[0] == "cuda" else x


class _Function(TorchFunctionMode):
    """Python calls: devices named cuda."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if kwargs.get("device") is not None:
            kwargs["device"] = _device(kwargs["device"])
        if name == "cuda":
            func, args = torch.Tensor.to, (args[0], torch.device("pretend:0"))
        elif name == "to":
            args = (args[0], *(_device(x) if not isinstance(x, torch.Tensor) else x for x in args[1:]))
        elif name == "is_pinned":
            return False
        return func(*args, **kwargs)


class _Autocast(torch.autocast):
    """torch.autocast whose "cuda" is the pretended device."""

    def __init__(self, device_type, *args, **kwargs):
        super().__init__("pretend" if device_type == "cuda" else device_type, *args, **kwargs)


def _autocast_kernels(library) -> None:
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def add(name, dtype):
        packet, _, overload = name.partition(".")
        op = getattr(getattr(torch.ops.aten, packet), overload or "default")

        def kernel(*args, **kwargs):
            want = torch.get_autocast_dtype("pretend") if dtype is None else dtype
            low = (torch.float32, torch.float16, torch.bfloat16)

            def cast(x):
                mine = isinstance(x, PretendTensor) and x.dtype in low
                return x.to(want) if mine and x.dtype != want else x

            with torch._C._ExcludeDispatchKeyGuard(key):
                return op(*tree_map(cast, args), **tree_map(cast, kwargs))

        library.impl(name, kernel, "AutocastPrivateUse1")

    for name in LOWER:
        add(name, None)
    for name in FLOAT32:
        add(name, torch.float32)


@contextmanager
def _plainly():
    """Ops on inner tensors, unseen by the modes."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


class _OnHost(torch.autograd.Function):
    """A layer on inner tensors, forward and backward: thousands of small ops of spconv that need no look."""

    @staticmethod
    def forward(ctx, run, features, *parameters):
        with _plainly(), torch.enable_grad():
            inner = [x.inner.detach().requires_grad_(x.requires_grad) for x in (features, *parameters)]
            ctx.inner, ctx.out = inner, run(*inner)
            return PretendTensor(ctx.out.detach())

    @staticmethod
    def backward(ctx, gradient):
        wanted = [x for x in ctx.inner if x.requires_grad]
        with _plainly():
            found = iter(torch.autograd.grad(ctx.out, wanted, unwrap(gradient)))
            return None, *(PretendTensor(next(found)) if x.requires_grad else None for x in ctx.inner)


def _spconv_forward(layer_forward):
    """The seam: a layer of pc3d.ops.sparse on the inner tensors; its dtype and device checks are noted."""

    def forward(self, x):
        if not isinstance(x.features, PretendTensor):
            if any(isinstance(p, PretendTensor) for p in self.parameters(recurse=False)):
                _problem(RuntimeError, "spconv: features on the CPU, weight on cuda:0")
            return layer_forward(self, x)
        for session in ACTIVE:
            session.spconv[str(x.features.dtype), str(self.weight.dtype)] += 1
        parameters = [p for p in (self.weight, self.bias) if p is not None]
        made = []

        def run(features, weight, bias=None):
            host = x.shadow_copy() if hasattr(x, "shadow_copy") else x.replace_feature(x.features)
            host = host.replace_feature(features)
            host.indices = unwrap(x.indices)
            self.__dict__["weight"], self.__dict__["bias"] = weight, bias
            try:
                made.append(layer_forward(self, host))
            finally:
                del self.__dict__["weight"], self.__dict__["bias"]
            return made[0].features

        features = _OnHost.apply(run, x.features, *parameters)
        out = made[0].replace_feature(features)
        out.indices = out.indices if isinstance(out.indices, PretendTensor) else PretendTensor(out.indices)
        return out

    return forward


class _Module:
    """torch.pretend: what torch asks of a backend, random states among it (fork_rng)."""

    is_initialized = is_available = lambda self: True
    current_device, _is_in_bad_fork, device_count = lambda self: 0, lambda self: False, lambda self: 1
    manual_seed_all = manual_seed = _lazy_call = lambda self, *args: None
    get_rng_state = lambda self, *args: torch.zeros(0, dtype=torch.uint8)
    set_rng_state = lambda self, *args: None
    get_amp_supported_dtype = lambda self: [torch.bfloat16, torch.float16]


def _register() -> torch.library.Library:
    """Make PrivateUse1 ours, once and before the first backward pass: the engine counts devices then."""
    _setup_privateuseone_for_python_backend("pretend", backend_module=_Module())
    library, default = torch.library.Library("aten", "IMPL"), torch.get_default_dtype

    def empty(size, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
        return PretendTensor(torch.empty(size, dtype=dtype or default()))

    def empty_strided(size, stride, dtype=None, layout=None, device=None, pin_memory=None):
        return PretendTensor(torch.empty_strided(size, stride, dtype=dtype or default()))

    def copy_from(source, target, non_blocking=False):
        _count_copy("_copy_from", (source, target, non_blocking), {}, None)
        unwrap(target).copy_(unwrap(source))
        return target

    for name, function in (
        ("empty.memory_format", empty),
        ("empty_strided", empty_strided),
        ("_copy_from", copy_from),
    ):
        library.impl(name, function, "PrivateUse1")
    _autocast_kernels(library)
    probe = PretendTensor(torch.zeros(1)).requires_grad_()
    try:
        (probe * 2).backward(torch.ones_like(probe))
    except RuntimeError as error:
        raise RuntimeError("import pretend_cuda before the first backward pass of the process") from error
    return library


_LIBRARIES = _register(), torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
_LIBRARIES[1].fallback(torch.library.fallthrough_kernel)


class PretendCuda:
    """See the module. `strict`: raise at the first problem. `package`: path part of the lines to blame."""

    def __init__(self, strict: bool = True, package: str = "/pc3d/") -> None:
        self.strict, self.package = strict, package
        self.clear()
        self._live: Counter[int] = Counter()

    def clear(self) -> None:
        self.problems, self.hazards = Counter(), Counter()
        self.clear_counts()

    def clear_counts(self) -> None:
        """Forget what was counted, and keep what went wrong."""
        self.syncs, self.ops = Counter(), Counter()
        self.nondeterministic, self.spconv, self.async_copies = Counter(), Counter(), Counter()
        self.bytes = self.peak_bytes = getattr(self, "bytes", 0)

    def _track(self, outer, inner) -> None:
        storage = inner.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        self._live[key] += 1
        if self._live[key] == 1:
            self.bytes += size
            self.peak_bytes = max(self.peak_bytes, self.bytes)
        weakref.finalize(outer, self._free, key, size)

    def _free(self, key, size) -> None:
        self._live[key] -= 1
        if not self._live[key]:
            del self._live[key]
            self.bytes -= size

    def __enter__(self):
        from pc3d.ops import sparse

        self._layers = [(c, c.forward) for c in (sparse._DeviceAlgorithm,)]
        original = sparse._DeviceAlgorithm.forward
        sparse._DeviceAlgorithm.forward = _spconv_forward(original)
        torch.autocast = _Autocast
        self._modes = (_Function(), _Dispatch())
        for mode in self._modes:
            mode.__enter__()
        ACTIVE.append(self)
        return self

    def __exit__(self, *error):
        ACTIVE.remove(self)
        for mode in reversed(self._modes):
            mode.__exit__(*error)
        for owner, forward in self._layers:
            owner.forward = forward
        torch.autocast = _AUTOCAST

    def report(self, lines: int = 12) -> str:
        text = [
            f"{self.syncs.total()} syncs, {self.ops.total()} device ops, {self.peak_bytes / 2**20:.1f} MiB peak"
        ]
        text += [f"  {n:4d} x {kind:18s} {where}" for (kind, where), n in self.syncs.most_common(lines)]
        text += [f"PROBLEM {n} x {what}" for what, n in self.problems.items()]
        return "\n".join(text + [f"HAZARD {n} x {what}" for what, n in self.hazards.items()])
