"""Reads the flags of a plan, which `plan`, `study create --plan`, `tune --model` and `config check --model` share."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune import api, servers
from autotune.cli.flags.command import names_of, said, spelled, worded
from autotune.cli.flags.problem import ProblemFlags
from autotune.cli.messages import working
from autotune.contract import dtype_name
from autotune.errors import InputError, one_of
from autotune.model import fields
from autotune.model.adapters import config_of, target_modules
from autotune.model.adapters import rank as adapter_rank
from autotune.plan import traffic
from autotune.plan.plan import DEFAULT_DTYPE, Plan
from autotune.plan.roads import Road
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving

_BESIDE_A_TRACE = ("trace", "server", "m_values", "chunk_sizes", "workload")
"""Flags that may stand beside a trace: what is to be tuned of it, and the server, which it must agree with."""


@dataclass(frozen=True)
class PlanFlags:
    """The flags that say how a model is served, and what of it to tune."""

    serve_command: str | None = None
    server: str | None = worded("The server of a plan.", default=None)
    tp: int = worded("The server's tensor-parallel size.", default=1)
    max_loras: int | None = None
    fully_sharded: bool = False
    ep: bool = worded("The server runs with --enable-expert-parallel (SGLang: --ep-size of --tp).", default=False)
    dual_stream: bool = False
    data_parallel_size: int = 1
    mixed_moe_lora_format: bool = False
    moe_shared_loras: bool = False
    disable_shared_experts_fusion: bool = False
    tower_connector_lora: bool = False
    target_modules: str | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    cudagraph_capture_sizes: tuple[int, ...] = ()
    max_cudagraph_capture_size: int | None = None
    enforce_eager: bool = False
    num_speculative_tokens: int | None = None
    chunk_sizes: tuple[int, ...] = worded(
        "SGLang: chunk sizes to tune, or auto.  [default: auto, those that occur]", default=()
    )
    max_lora_chunk_size: int | None = None
    traffic: Path | None = None
    trace: Path | None = None
    overrides: tuple[str, ...] = ()
    lora_rank: int | None = None
    lora_paths: tuple[Path, ...] = worded(
        "Folder of an adapter: gives the rank (and SGLang's modules); repeatable.", default=()
    )
    m_values: tuple[int, ...] = worded("vLLM: token counts to tune, or auto.  [default: auto]", default=())
    workload: str | None = None
    from_server: bool = False
    from_tables: bool = False

    def planned(self, model: str | None, dtype: str, model_flag: str) -> Plan | None:
        """Plans a model, or what a trace says; returns None where neither is given.

        Args:
            model_flag: How the user names a model.

        Raises:
            InputError: As `plan`, or if both are given, or the trace cannot be planned.
        """
        if self.trace is None:
            return None if model is None else self.plan(model, dtype)
        if self.serve_command is not None:
            raise InputError("--serve-command: what it says of the server is in the trace; leave it out")
        if model is not None:
            raise InputError(f"--trace: tells all that the server looks up, and so would {model_flag}; leave one out")
        for name in said(self):
            if name not in _BESIDE_A_TRACE:
                raise InputError(f"{spelled(name)}: is in the trace; leave it out")
        made = api.plan_of_trace(self.trace, self._batches())
        for name in ("m_values", "chunk_sizes", "workload"):
            if getattr(self, name) and servers.owner_of_flag("plan", name) not in (None, made.serving.server):
                raise InputError(f"{spelled(name)}: is of no use with a trace of {made.serving.server}; leave it out")
        if self.server not in (None, made.serving.server):
            raise InputError(f"--runtime: got {self.server}, and the trace is of {made.serving.server}; leave it out")
        if dtype_name(dtype) not in (DEFAULT_DTYPE, made.dtype):
            raise InputError(f"--dtype: got {dtype}, and adapters in the trace are {made.dtype}; leave it out")
        return made

    def plan(self, model: str, dtype: str = DEFAULT_DTYPE) -> Plan:
        """Plans a model.

        Args:
            dtype: Of the adapters' weights.

        Raises:
            InputError: If a flag is missing or contradicts another, or the model cannot be planned.
        """
        self._refuse_several_missing()
        server = self.named_server()
        for name in said(self):
            if (owner := servers.owner_of_flag("plan", name)) not in (None, server):
                raise InputError(f"{spelled(name)}: is of {owner}, but --runtime is {server}; leave one out")
        if self.max_loras is None:
            raise InputError("--max-loras: not given; pass the most adapters that the server keeps for one batch")
        serving = self._serving(server, self.max_loras)
        with working(f"planning {model}"):
            return api.plan(model, serving, self._batches(), dtype, overrides_of(self.overrides), self._road())

    def named_server(self) -> str:
        """Returns the server.

        Raises:
            InputError: If none was given.
        """
        if self.server is None:
            raise InputError(f"--runtime: not given; allowed: {one_of(reversed(servers.names()))}")
        return self.server

    def refuse(self, lacking: str, but: Collection[str] = ()) -> None:
        """Refuses the flags where no model is planned.

        Args:
            lacking: The flag that a plan would need.
            but: Names of flags that the command takes for another purpose, too.

        Raises:
            InputError: If one is given.
        """
        for name in said(self):
            if name not in but:
                raise InputError(f"{spelled(name)}: is about a model's plan, and no {lacking} is given; leave it out")

    def refuse_problem(self, model_flag: str, problem: ProblemFlags) -> None:
        """Refuses the flags of a single problem where a model is given.

        Raises:
            InputError: If one is given.
        """
        for name in said(problem):
            if name not in {"dtype", *names_of(PlanFlags)}:
                raise InputError(f"{spelled(name)}: describes a single problem, {model_flag} a model; leave one out")

    def _refuse_several_missing(self) -> None:
        """Names all flags that are missing at once; a single one is told with what it takes."""
        needed = {
            "server": self.server is not None,
            "max_loras": self.max_loras is not None,
            "lora_rank": self.lora_rank is not None or bool(self.lora_paths),
        }
        missing = [spelled(name) for name, given in needed.items() if not given]
        if len(missing) > 1:
            raise InputError(
                f"{', '.join(missing)}: not given; pass the values of the server, or --serve-command and its command"
            )

    def _road(self) -> Road:
        if self.from_server and self.from_tables:
            raise InputError("--from-tables: contradicts --from-server; leave one out")
        return "server" if self.from_server else "tables" if self.from_tables else "auto"

    def _serving(self, server: str, max_loras: int) -> Serving:
        for path in self.lora_paths:
            refuse_unloadable(path, server)
        return Serving(
            server=server,
            tp=self.tp,
            rank=rank_of(self.lora_rank, self.lora_paths, server),
            max_loras=max_loras,
            fully_sharded=self.fully_sharded,
            expert_parallel=self.ep,
            dual_stream=self.dual_stream,
            data_parallel=self.data_parallel_size,
            mixed_moe_format=self.mixed_moe_lora_format,
            moe_shared_loras=self.moe_shared_loras,
            shared_experts_apart=self.disable_shared_experts_fusion,
            tower_connector=self.tower_connector_lora,
            target_modules=self._modules(server),
        )

    def _batches(self) -> Batches:
        usual = Batches()
        most_tokens = self.max_num_batched_tokens or usual.max_num_batched_tokens
        return Batches(
            max_num_seqs=self.max_num_seqs or min(usual.max_num_seqs, most_tokens),
            max_num_batched_tokens=most_tokens,
            workload=self.workload,
            max_lora_chunk_size=self.max_lora_chunk_size or usual.max_lora_chunk_size,
            m_values=self.m_values,
            chunk_sizes=self.chunk_sizes,
            traffic=traffic.read(self.traffic) if self.traffic else {},
            cudagraph_capture_sizes=tuple(sorted(self.cudagraph_capture_sizes)),
            max_cudagraph_capture_size=self.max_cudagraph_capture_size,
            enforce_eager=self.enforce_eager,
            num_speculative_tokens=self.num_speculative_tokens or 0,
        )

    def _modules(self, server: str) -> tuple[str, ...] | None:
        if self.target_modules is not None:
            if not (names := tuple(self.target_modules.replace(",", " ").split())):
                raise InputError(
                    f"--target-modules: got {self.target_modules!r}, allowed: names with commas between, such as "
                    "q_proj,v_proj; leave it out for all modules"
                )
            return names
        return (
            target_modules(self.lora_paths)
            if self.lora_paths and servers.get(server).command_line.modules_of_adapters
            else None
        )


def adapters_in_place(problem: ProblemFlags, serving: PlanFlags, of_model: bool) -> tuple[ProblemFlags, PlanFlags]:
    """Puts the number of adapters where it belongs, whichever of its two spellings was given."""
    if of_model and serving.max_loras is None:
        return replace(problem, num_loras=None), replace(serving, max_loras=problem.num_loras)
    if not of_model and problem.num_loras is None:
        return replace(problem, num_loras=serving.max_loras), replace(serving, max_loras=None)
    return problem, serving


def overrides_of(items: Iterable[str]) -> dict[str, int]:
    """Returns the fields of a model's config that ``--set`` gives.

    Raises:
        InputError: If one is not spelled FIELD=N, or is no field that is read.
    """
    found = {}
    for item in items:
        name, _, value = item.partition("=")
        if not name or not re.fullmatch(r"[0-9]{1,9}", value):
            raise InputError(f"--set: got {item!r}, allowed: FIELD=N, e.g. --set num_attention_heads=32")
        if name not in fields.NAMES:
            raise InputError(f"--set: got field {name!r}, allowed: {one_of(fields.NAMES)}; spell it so")
        found[name] = int(value)
    return found


def refuse_unloadable(path: Path, server: str) -> None:
    """Refuses an adapter that the server does not load.

    Raises:
        InputError: If it is one; says why, in the server's terms.
    """
    if (config := config_of(path)) is None:
        return
    if problems := list(servers.get(server).planner.adapter_problems(config)):
        raise InputError(
            f"--lora-path: {path} is refused by {servers.get(server).command_line.label}: {'; '.join(problems)}; "
            "give an adapter that it loads, or --lora-rank without one"
        )


def rank_of(lora_rank: int | None, lora_paths: Sequence[Path], server: str) -> int:
    """Returns the rank of the server's pool: the one given, or the one that the adapters need.

    Raises:
        InputError: If neither tells it, or the adapters need a larger one.
    """
    if not lora_paths:
        if lora_rank is None:
            raise InputError("--lora-rank: not given; pass the server's max_lora_rank, or adapters with --lora-path")
        return lora_rank
    needed = servers.get(server).planner.pool_rank(max(map(adapter_rank, lora_paths)))
    if lora_rank is not None and lora_rank < needed:
        raise InputError(
            f"--lora-rank: got {lora_rank}, but the adapters of --lora-path need {needed}; raise it or leave it out"
        )
    return lora_rank or needed
