"""Lists the layers of a decoder block from what SGLang's csgmv tuning script takes: any part of their sizes, or a
model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autotune.contract import Call
from autotune.errors import InputError
from autotune.model.shape import ModelShape
from autotune.servers.command_line import BlockSizes, DecoderBlock
from autotune.servers.sglang import facts

OPS = ("shrink", "expand")

# Of the hidden size: what the script assumes of all q, k and v together, and of the MLP.
_SCRIPTS_QKV = 4
_SCRIPTS_INNER = 3


@dataclass(frozen=True)
class CsgmvLayer:
    """A linear layer as SGLang's kernels see it.

    Attributes:
        columns: Columns of x.
        widths: Output width of each slice.
    """

    name: str
    columns: int
    widths: tuple[int, ...]

    @property
    def flags(self) -> dict[str, Any]:
        """The flag values that tell kernels this layer's sizes."""
        return {"hidden_size": self.columns, "num_slices": len(self.widths), "slice_widths": self.widths}

    def size_of(self, op: str, call: Call) -> int | None:
        """Returns the chunk size of a call that an op of this layer makes (contracts B4); None of any other call."""
        k = self.columns if op == "shrink" else sum(self.widths)
        wanted = (facts.NAME, op, k, len(self.widths))
        ours = (call.server, call.op, call.dims.get("K"), call.dims.get("S")) == wanted
        return call.dims["chunk_size"] if ours else None


def find(sizes: BlockSizes) -> DecoderBlock:
    """Finds the layers of a block, and notes what had to be assumed.

    Raises:
        InputError: If the sizes do not tell them.
    """
    notes: list[str] = []
    model = sizes.model
    hidden = sizes.hidden or (model.hidden if model else None)
    if hidden is None:
        raise InputError("--hidden-size: not given; pass it and --qkv-output-dim, or --model")
    widths = _qkv(sizes.qkv_widths, hidden, model, notes)
    layers = [CsgmvLayer("qkv", hidden, widths), CsgmvLayer("o", widths[0], (hidden,))]
    for prefix, inner in _mlps(sizes.intermediate, hidden, model, notes).items():
        layers += [
            CsgmvLayer(f"{prefix}gate_up", hidden, (inner, inner)),
            CsgmvLayer(f"{prefix}down", inner, (hidden,)),
        ]
    return DecoderBlock(OPS, tuple(layers), tuple(notes))


def _mlps(given: int | None, hidden: int, model: ModelShape | None, notes: list[str]) -> dict[str, int]:
    """Finds the widths of the dense MLPs, by what their layers' names begin with. Of experts only the shared ones are
    dense."""
    if given is not None:
        return {"": given}
    if model is None:
        inner = _SCRIPTS_INNER * hidden
        notes.append(f"--intermediate-size is taken to be {inner}, {_SCRIPTS_INNER} times the hidden size.")
        return {"": inner}
    if model.experts is not None:
        notes.append(
            "experts: SGLang reads no file for their LoRA kernels, so they are not tuned; --intermediate-size adds a "
            "dense MLP."
        )
    shared = model.experts.shared if model.experts else 0
    return {prefix: inner for prefix, inner in (("", model.intermediate), ("shared_", shared)) if inner}


def _qkv(given: tuple[int, ...] | None, hidden: int, model: ModelShape | None, notes: list[str]) -> tuple[int, ...]:
    """Reads the widths of q, k and v, given as such, or as their sum alone, as SGLang's script has it.

    Of a sum, q is what the model says, else as wide as the hidden size if that can be (k is never wider than q), else
    half of it, as in that script; the latter two are noted.
    """
    if given is None and model is not None:
        kv = model.kv_heads * model.head_dim
        return model.heads * model.head_dim, kv, kv
    if given is not None and len(given) in (2, 3):
        return given[0], given[1], given[-1]
    given = given or (_SCRIPTS_QKV * hidden,)
    total = given[0]
    for q in (model.heads * model.head_dim if model else hidden, total // 2):
        kv, odd = divmod(total - q, 2)
        if len(given) == 1 and not odd and 0 < kv <= q:
            if model is None:
                notes.append(f"--qkv-output-dim {total} is taken to be {q} for q, {kv} for k and v each.")
            return q, kv, kv
    raise InputError(
        f"--qkv-output-dim: got {','.join(map(str, given))}, allowed: the widths of q and k, or of q, k and v, e.g. "
        "2048,1024, or their sum"
    )
