"""Stands in for what vLLM's classes ask of a machine, so that they can be built where no GPU is (contracts A10).

Only the child process imports it: the stand-ins replace parts of the server for as long as the process lives.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import torch
import torch.fx.experimental._config as fx

from autotune.servers.vllm.from_server.absent import AbsentModule, Anything, stand_in_for_packages

_GPU_BYTES = 141 * 10**9
_CAPABILITY = (9, 0)
_PROCESSORS = 132
_PROPERTIES = types.SimpleNamespace(
    name="NVIDIA H200",
    major=_CAPABILITY[0],
    minor=_CAPABILITY[1],
    multi_processor_count=_PROCESSORS,
    total_memory=_GPU_BYTES,
    shared_memory_per_block_optin=227 * 1024,
    L2_cache_size=50 * 2**20,
)
_FLASH_ATTENTION = "vllm.vllm_flash_attn"


class FakeGroup:
    """A group of processes that has a size and no members; this is its first worker."""

    def __init__(self, size: int) -> None:
        self.world_size = size
        self.ranks = list(range(size))
        self.rank = self.rank_in_group = self.local_rank = self.first_rank = 0
        self.last_rank = size - 1
        self.is_first_rank = True
        self.is_last_rank = size == 1
        self.device = torch.device("meta")

    @property
    def device_group(self) -> FakeGroup:
        return self

    cpu_group = device_group

    def size(self) -> int:
        return self.world_size

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


class FakeTokenizer(Anything):
    """A tokenizer that has no token."""

    def get_vocab(self) -> dict[str, int]:
        return {}


class FakeBudget:
    """A budget for images that no processor was asked about: how many there may be decides no size of a layer."""

    mm_max_items_per_prompt = mm_max_items_per_batch = mm_max_toks_per_item = types.MappingProxyType({"image": 1})

    def __init__(self, *_: Any, **__: Any) -> None:
        return None

    def get_encoder_budget(self) -> int:
        return 1


def _nothing(*_: Any, **__: Any) -> None:
    return None


def fake_machine() -> None:
    """Makes vLLM believe in a GPU of capability 9.0; to be called before anything else of it is imported."""
    import vllm.platforms
    from vllm.platforms.interface import DeviceCapability, Platform, PlatformEnum
    from vllm.v1.attention.backends.registry import AttentionBackendEnum

    def attention(cls: Any, backend: Any, *args: Any, **kwargs: Any) -> str:
        chosen = kwargs.get("attn_selector_config") or (args[0] if args else None)
        kinds = ("use_sparse", "mla.flashmla_sparse.FlashMLASparse"), ("use_mla", "mla.triton_mla.TritonMLA")
        family = next((name for flag, name in kinds if getattr(chosen, flag, False)), "triton_attn.TritonAttention")
        return f"vllm.v1.attention.backends.{family}Backend"

    def always(value: Any) -> Any:
        return classmethod(lambda cls, *_, **__: value)

    answers = {
        "_enum": PlatformEnum.CUDA,
        "device_name": "cuda",
        "device_type": "cpu",  # tensors that no device is named for must exist without a GPU
        "dispatch_key": "CUDA",
        "supported_dtypes": [torch.bfloat16, torch.float16, torch.float32],
        "get_device_capability": always(DeviceCapability(*_CAPABILITY)),
        "get_device_name": always("NVIDIA H200"),
        "get_device_total_memory": always(_GPU_BYTES),
        "num_compute_units": always(_PROCESSORS),
        "get_attn_backend_cls": classmethod(attention),
        "get_vit_attn_backend": always(AttentionBackendEnum.FLASH_ATTN),
        "current_device": always(torch.device("meta")),
    }
    for name in ("import_kernels", "check_and_update_config", "check_if_supports_dtype"):
        answers[name] = always(None)
    vllm.platforms._current_platform = type("FakeGpu", (Platform,), answers)()
    flash = AbsentModule(_FLASH_ATTENTION)
    flash.__path__ = []
    sys.modules[_FLASH_ATTENTION] = flash
    import vllm._custom_ops as ops
    import vllm.utils.import_utils as optional

    optional.has_deep_gemm = lambda: True

    for name in dir(ops):
        if "supports" in name:
            setattr(ops, name, _nothing)


def fake_server() -> None:
    """Replaces what needs a driver or compiled ops once the classes are imported."""
    import vllm.lora.model_manager as manager
    import vllm.model_executor.models.registry as registry
    from vllm.multimodal.processing.context import InputProcessingContext
    from vllm.multimodal.registry import MultiModalRegistry
    from vllm.utils.flashinfer import has_flashinfer

    manager.get_punica_wrapper = lambda *_, **__: types.SimpleNamespace()
    manager.MultiModalBudget = FakeBudget
    # Each class would be inspected in a process of its own, which imports the server anew.
    registry._run_in_subprocess = lambda function: function()
    has_flashinfer()  # is asked once: kernels of it are chosen where it is installed alone
    stand_in_for_packages("flashinfer")
    namespace = torch._ops._OpNamespace
    found = namespace.__getattr__

    def op(self: Any, name: str) -> Any:
        try:
            return found(self, name)
        except AttributeError:
            if name.startswith("__") or not self.name.startswith("_"):
                raise
            return Anything

    namespace.__getattr__ = op  # type: ignore[method-assign]
    for name in ("Stream", "Event"):
        setattr(torch.cuda, name, Anything)
    for name in ("empty_cache", "synchronize"):
        setattr(torch.accelerator, name, _nothing)
    torch.accelerator.current_device_index = lambda: 0
    torch.cuda.get_device_properties = lambda *_: _PROPERTIES  # type: ignore[assignment]
    torch.cuda.get_device_capability = lambda *_: _CAPABILITY
    InputProcessingContext.get_tokenizer = lambda _: FakeTokenizer()
    MultiModalRegistry.create_processor = lambda *_, **__: Anything()
    _let_meta_tensors_be_read()


def _let_meta_tensors_be_read() -> None:
    """Makes zeros of weights that a class looks at where it is made."""
    read = torch.Tensor.cpu

    def cpu(self: torch.Tensor) -> torch.Tensor:
        return torch.zeros(self.shape, dtype=self.dtype, device="cpu") if self.is_meta else read(self)

    torch.Tensor.cpu = cpu  # type: ignore[assignment,method-assign]
    fx.meta_nonzero_assume_all_nonzero = True  # a mask selects all


def make_kernels(model: Any) -> None:
    """Gives each layer of experts the kernel that the server makes once weights are loaded; LoRA layers ask for it."""
    for layer in model.modules():
        # Up to 0.23 the layer is the experts itself.
        experts = getattr(layer, "routed_experts", None) or layer
        if (method := getattr(experts, "quant_method", None)) is not None:
            if hasattr(method, "_init_moe_kernel"):
                method._init_moe_kernel(experts)
            elif (kind := getattr(method, "experts_cls", None)) is not None:
                method.moe_kernel = _kernel(kind, experts.moe_config)
                method.moe_quant_config = method.moe_quant_config or types.SimpleNamespace()


def _kernel(kind: type[Any], config: Any) -> Any:
    """Returns a stand-in for a kernel of quantised experts: an object of its class that was never made ready."""
    from vllm.model_executor.layers.fused_moe.modular_kernel import FusedMoEKernelModularImpl

    bare = dict.fromkeys(kind.__abstractmethods__, _nothing)
    experts: Any = object.__new__(type(kind.__name__, (kind,), bare))
    impl: Any = object.__new__(FusedMoEKernelModularImpl)
    impl.fused_experts, impl.prepare_finalize = experts, types.SimpleNamespace()
    return types.SimpleNamespace(
        impl=impl,
        fused_experts=experts,
        prepare_finalize=impl.prepare_finalize,
        moe_config=config,
        is_monolithic=kind.is_monolithic(),
        supports_lora=kind.supports_lora,
        can_overlap_shared_experts=False,
    )


def fake_groups(tp: int) -> None:
    """Sets up groups of a server on this many GPUs: one for tensor and expert parallelism, the others of one."""
    import vllm.distributed.parallel_state as state
    import vllm.v1.worker.workspace as workspace

    for name in ("_WORLD", "_TP", "_ETP", "_EP", "_EPLB"):
        setattr(state, name, FakeGroup(tp))
    for name in ("_INNER_DP_WORLD", "_PP", "_DP", "_DCP", "_PCP"):
        setattr(state, name, FakeGroup(1))
    state._NODE_COUNT = 1
    workspace.init_workspace_manager(torch.device("meta"))
