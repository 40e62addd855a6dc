"""Writes finished studies into the files a server loads, and proves with the server's own lookup that it finds them.

Everything is prepared and proven in memory first: on an error nothing has been written.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from autotune import runtimes
from autotune.boundaries import Pin, pins
from autotune.errors import AutotuneError, InputError, one_of
from autotune.kernel import Call, Config, Value
from autotune.runtimes import KeyPath, Lookup, Runtime, Shards, Table, provenance
from autotune.runtimes.files import locked, read_json, read_table, table_text, write_all
from autotune.runtimes.provenance import Kind, Record
from autotune.thinning import Grid, Timings, thin_table

OnExist = Literal["merge", "overwrite", "new"]


@dataclass(frozen=True)
class ExportItem:
    """The result of one study.

    Attributes:
        study: Its name, for the side-car and for messages.
        call: What the runtime looks up for the study's problem.
        config: The winner; of no account for an incumbent.
        is_incumbent: Nothing beat the runtime's default: that is written, exactly as the runtime has it.
        gpu_name: As the driver spells it.
        provenance: Written to the side-car as it is: GPU, versions, times, date, backend.
        timings: What the study timed, by the entries that its configs come to; None to keep its entry in any case.
        shards: Over how many GPUs the server splits the op, where its key has a shard (`autotune.runtimes.Shards`).
    """

    study: str
    call: Call
    config: Config
    is_incumbent: bool
    gpu_name: str
    provenance: Mapping[str, Any]
    timings: Timings | None = None
    shards: int = 1


@dataclass(frozen=True)
class SkippedAlias:
    """A further key that a result was not written to, because something better stands there."""

    study: str
    file: str
    key: KeyPath
    reason: str


@dataclass(frozen=True)
class Proof:
    """What the server's lookup finds, after writing, for the shape of one entry, written or dropped."""

    record: Record
    lookup: Lookup


@dataclass(frozen=True)
class ExportReport:
    """What an export did.

    Attributes:
        files: The config files written, and the side-car.
        records: Every entry written: results, aliases and fills.
        skipped_aliases: Aliases not written.
        warnings: What a user should know before serving with the folder; one line each.
        proofs: One for each entry written, and for each that was dropped.
        grids: By file, what became of the token counts; of files alone where some might have been dropped.
    """

    files: tuple[Path, ...]
    records: tuple[Record, ...]
    skipped_aliases: tuple[SkippedAlias, ...]
    warnings: tuple[str, ...]
    proofs: tuple[Proof, ...]
    grids: Mapping[str, Sequence[Grid]] = field(default_factory=dict)

    def of_kind(self, kind: Kind) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.kind == kind)


@dataclass
class _Plan:
    """One file to be: the results that go into it, then the whole table.

    Attributes:
        unpinned: The pins of earlier exports that stand in the file: what they hold is chosen anew.
    """

    runtime: Runtime
    gpu_name: str
    server_file: str
    call: Call
    items: dict[KeyPath, ExportItem] = field(default_factory=dict)
    required: set[KeyPath] = field(default_factory=set)
    file: str = ""
    table: Table = field(default_factory=dict)
    origins: dict[KeyPath, Record] = field(default_factory=dict)
    unpinned: Table = field(default_factory=dict)
    written: dict[KeyPath, Record] = field(default_factory=dict)
    timings: dict[KeyPath, Timings] = field(default_factory=dict)
    dropped: dict[KeyPath, Record] = field(default_factory=dict)
    grids: list[Grid] = field(default_factory=list)
    skipped: list[SkippedAlias] = field(default_factory=list)

    def call_at(self, key: KeyPath) -> Call:
        """The lookup that an entry of this file answers."""
        levels = self.runtime.levels(self.call)
        return replace(self.call, dims={**self.call.dims, **dict(zip(levels, map(int, key), strict=True))})

    def put(self, key: KeyPath, kind: Kind, config: dict[str, Value], item: ExportItem | None = None) -> None:
        study, about = (item.study, dict(item.provenance)) if item else (None, {})
        earlier = self.origins[key].shards if key in self.origins else ()
        if item and (shards := sorted({*earlier, item.shards})) != [1]:
            about["shards"] = shards
        before = self.table.get(key, self.unpinned.get(key))
        self.written[key] = Record(self.file, key, kind, study, config, None if before == config else before, about)
        self.table[key] = config
        if item and item.timings:
            self.timings[key] = item.timings

    def pin(self, key: KeyPath, pin: Pin) -> None:
        """Write an entry beside a change of the default; a result that an earlier export did without is better."""
        if key in self.dropped:
            self.put_back(self.dropped[key])
            return
        self.put(key, "pin", dict(pin.config))
        if pin.taken is not None:
            like = self.written.get(pin.taken) or self.origins.get(pin.taken)
            study, about = like.study if like else None, {"taken": list(pin.taken)}
            self.written[key] = replace(self.written[key], study=study, provenance=about)

    def drop(self, key: KeyPath, taken: KeyPath, loss: float, largest_loss: float) -> None:
        """Do without an entry of ours, since the server takes another of the same shape."""
        record = self.written.pop(key, None) or self.origins[key]
        self.origins.pop(key, None)
        costs = {"loss": round(loss, 4), "largest_loss": round(largest_loss, 4)}
        why = {"kind": record.kind, "taken": list(taken), "config": self.table[taken], **costs}
        about = {**record.provenance, "dropped": why}
        self.dropped[key] = replace(record, kind="dropped", config=self.table.pop(key), provenance=about)

    def put_back(self, record: Record) -> None:
        """Write an entry that an earlier export did without."""
        del self.dropped[record.key]
        self.written[record.key] = replace(record.undropped(), replaced=None)
        self.table[record.key] = record.config


def export(
    items: Iterable[ExportItem], directory: Path, on_exist: OnExist = "merge", required: Iterable[Call] = ()
) -> ExportReport:
    """Write the results into the folder, each under its own key and its aliases.

    Args:
        items: Results of finished studies, of any mix of runtimes, ops and GPUs.
        directory: The server's config folder; created if need be.
        on_exist: ``merge`` keeps the other entries of an existing file, ``overwrite`` drops them, ``new`` leaves the
            file alone and writes ``<name>_tuned_<n>.json``, which no server reads.
        required: Lookups of the same servers that are to be answered, too: by the runtime's default, where there is
            nothing better. They are taken for all that these servers look up.

    Where items bring timings, token counts that need no entry are dropped (`autotune.thinning`): each shape at them is
    known to lose less than 2% with what the server takes instead, and nothing to the default. Where the default changes
    with the token count, entries at both sides keep it to its side (`autotune.boundaries`).

    Raises:
        InputError: If there is nothing to export, two results claim one key, or the folder or a file in it cannot be
            used as it is; nothing has been written.
        AutotuneError: If another export is at work in the folder, or the server would not find what was written.
    """
    if on_exist not in get_args(OnExist):
        raise InputError(f"on_exist: got {on_exist!r}, allowed: {one_of(get_args(OnExist))}")
    plans = _plans(items)
    _require(plans, required)
    families = _families(plans)
    for family in families:
        _check_together(family)
    with locked(directory):
        records = provenance.read(directory)
        for family in families:
            _name_files(family, directory, on_exist)
            for plan in family:
                _open(plan, directory, on_exist, records)
                _put_results(plan)
                _put_aliases(plan)
            _put_fills(family)
            for plan in family:
                _thin(plan)
        texts = {directory / plan.file: table_text(plan.table) for plan in plans}
        for plan in plans:
            _prove(plan, _resolver(plan, json.loads(texts[directory / plan.file])))
        sidecar = {directory / provenance.FILE_NAME: provenance.text(_all_records(records, plans))}
        write_all(sidecar | texts)
        proofs = [proof for plan in plans for proof in _prove(plan, _server(plan, directory))]
    return ExportReport(
        files=(*texts, *sidecar),
        records=tuple(record for plan in plans for record in plan.written.values()),
        skipped_aliases=tuple(skip for plan in plans for skip in plan.skipped),
        warnings=tuple(_warnings(plans, directory)),
        proofs=tuple(proofs),
        grids={plan.file: plan.grids for plan in plans if plan.grids},
    )


def check_merge(wanted: Iterable[tuple[Call, str, int]], directory: Path) -> None:
    """Find out ahead whether results of these calls, on GPUs of these names and of so many shards, can be merged.

    Raises:
        InputError: If a file is malformed, or files that are only correct together contradict each other elsewhere.
    """
    records = provenance.read(directory)
    families: dict[tuple[str, str, tuple[str, ...]], dict[str, _Plan]] = {}
    for call, gpu_name, shards in wanted:
        runtime = runtimes.get(call.runtime)
        file, key = runtime.file_name(gpu_name, call), runtime.key_path(call)
        family = families.setdefault((runtime.name, gpu_name, runtime.partners(call.op)), {})
        if call.op not in family or len(runtime.partners(call.op)) == 1:
            plan = family[call.op] = _Plan(runtime, gpu_name, file, call, file=file)
            _open(plan, directory, "merge", records)
        family[call.op].table.pop(key, None)
        family[call.op].origins[key] = Record(file, key, "own", None, {}, provenance={"shards": [shards]})
    for (name, _, partners), family in families.items():
        if len(partners) > 1:
            tables = {op: family[op].table if op in family else {} for op in partners}
            runtimes.get(name).joint_fills(tables, _shards(family.values()), _fills(family.values()))


def _plans(items: Iterable[ExportItem]) -> list[_Plan]:
    plans: dict[tuple[str, str], _Plan] = {}
    for item in items:
        runtime = runtimes.get(item.call.runtime)
        file, key = runtime.file_name(item.gpu_name, item.call), runtime.key_path(item.call)
        plan = plans.setdefault((runtime.name, file), _Plan(runtime, item.gpu_name, file, item.call))
        first = plan.items.setdefault(key, item)
        if _entry(runtime, first) != _entry(runtime, item):
            raise InputError(
                f"{file}: at {'/'.join(key)}: got different configs from studies {first.study!r} and {item.study!r}, "
                f"which the server cannot tell apart; export one of them{_tuned_together(first, item)}"
            )
    if not plans:
        raise InputError("export: got no finished study, needs at least one; run the studies first")
    return list(plans.values())


def _tuned_together(*items: ExportItem) -> str:
    """A way out where kinds of batches are all that tells results apart."""
    workloads = {item.provenance.get("problem", {}).get("workload") for item in items}
    return ", or tune one study for both: --workload mixed" if len(workloads) > 1 else ""


def _require(plans: list[_Plan], required: Iterable[Call]) -> None:
    """Note on each file what else it must answer; files that have no result of their own are added."""
    by_file = {(plan.runtime.name, plan.server_file): plan for plan in plans}
    gpus = {(plan.runtime.name, plan.gpu_name) for plan in plans}
    for call in required:
        runtime = runtimes.get(call.runtime)
        for gpu_name in sorted(gpu for name, gpu in gpus if name == runtime.name):
            file = runtime.file_name(gpu_name, call)
            if (plan := by_file.get((runtime.name, file))) is None:
                plan = by_file[runtime.name, file] = _Plan(runtime, gpu_name, file, call)
                plans.append(plan)
            plan.required |= {runtime.key_path(call), *runtime.alias_paths(call)}


def _entry(runtime: Runtime, item: ExportItem) -> dict[str, Value]:
    return runtime.default_config(item.call) if item.is_incumbent else runtime.entry(item.config, item.call)


def _families(plans: list[_Plan]) -> list[list[_Plan]]:
    """The files that are only correct together; most are families of one."""
    found: dict[tuple[str, str, tuple[str, ...]], list[_Plan]] = {}
    for plan in plans:
        partners = plan.runtime.partners(plan.call.op)
        alone = () if len(partners) > 1 else (plan.server_file,)
        found.setdefault((plan.runtime.name, plan.gpu_name, (*partners, *alone)), []).append(plan)
    return list(found.values())


def _check_together(family: list[_Plan]) -> None:
    runtime, call = family[0].runtime, family[0].call
    if len(runtime.partners(call.op)) > 1:
        entries = {
            plan.call.op: {key: dict(_entry(runtime, item)) for key, item in plan.items.items()} for plan in family
        }
        shards = {(plan.call.op, key): (item.shards,) for plan in family for key, item in plan.items.items()}
        runtime.check_together(entries, shards)


def _shards(family: Iterable[_Plan]) -> Shards:
    """Those of all results in the files, this export's and earlier ones'."""
    return {
        (plan.call.op, key): record.shards
        for plan in family
        for key, record in (plan.origins | plan.written).items()
        if record.kind == "own" and max(record.shards) > 1
    }


def _fills(family: Iterable[_Plan]) -> set[tuple[str, KeyPath]]:
    """What earlier exports filled in."""
    return {
        (plan.call.op, key)
        for plan in family
        for key, record in plan.origins.items()
        if record.kind == "default-fill" and key not in plan.written
    }


def _name_files(family: list[_Plan], directory: Path, on_exist: OnExist) -> None:
    """Settle the files' names: a server must not read some old ones with some new ones of a family."""
    for plan in family:
        plan.file = plan.server_file
    if on_exist != "new" or not any((directory / plan.file).exists() for plan in family):
        return
    paths = [directory / plan.file for plan in family]
    index = next(i for i in itertools.count(1) if not any(_numbered(path, i).exists() for path in paths))
    for plan, path in zip(family, paths, strict=True):
        plan.file = _numbered(path, index).relative_to(directory).as_posix()


def _numbered(path: Path, index: int) -> Path:
    return path.with_name(f"{path.stem}_tuned_{index}.json")


def _open(plan: _Plan, directory: Path, on_exist: OnExist, records: list[Record]) -> None:
    """Read what stands in the file and who wrote that."""
    path = directory / plan.file
    if path.exists() and on_exist == "merge":
        plan.table = read_table(path, plan.runtime.levels(plan.call))
    ours = [record for record in records if record.file == plan.file]
    plan.origins = {record.key: record.undropped() for record in ours if record.matches(plan.table)}
    earlier = [key for key, record in plan.origins.items() if record.kind == "pin"]
    plan.unpinned = {key: plan.table.pop(key) for key in earlier if plan.origins.pop(key)}
    if on_exist == "merge":
        plan.dropped = {r.key: r for r in ours if r.kind == "dropped" and r.key not in plan.table}


def _put_results(plan: _Plan) -> None:
    for key, item in plan.items.items():
        plan.put(key, "own", _entry(plan.runtime, item), item)


def _put_aliases(plan: _Plan) -> None:
    for item in plan.items.values():
        for key in plan.runtime.alias_paths(item.call):
            if reason := _stands(plan, key):
                plan.skipped.append(SkippedAlias(item.study, plan.file, key, reason))
            else:
                plan.put(key, "alias", _entry(plan.runtime, item), item)


def _stands(plan: _Plan, key: KeyPath) -> str | None:
    """Why an alias must not be written here, or None."""
    if key in plan.items:
        return f"study {plan.items[key].study!r} has the result of this very key"
    origin = plan.origins.get(key) or plan.dropped.get(key)
    if origin is None:
        return "the entry there is not from this tool, or was edited" if key in plan.table else None
    return f"study {origin.study!r} wrote the result of this very key" if origin.undropped().kind == "own" else None


def _put_fills(family: list[_Plan]) -> None:
    if len(family) > 1:
        tables = {plan.call.op: plan.table for plan in family}
        fills = family[0].runtime.joint_fills(tables, _shards(family), _fills(family))
        for plan in family:
            for key, config in fills[plan.call.op].items():
                plan.put(key, "default-fill", config)
    for plan in family:
        _complete(plan)
        _pin(plan)
        _complete(plan)


def _complete(plan: _Plan) -> None:
    _fill(plan)
    while _put_back(plan):
        _fill(plan)


def _fill(plan: _Plan) -> None:
    for key in sorted(plan.runtime.needed_paths({*plan.table, *plan.required}) - set(plan.table)):
        if key in plan.dropped:
            plan.put_back(plan.dropped[key])
        else:
            plan.put(key, "default-fill", plan.runtime.default_config(plan.call_at(key)))


def _put_back(plan: _Plan) -> bool:
    """Write what an earlier export did without, if the server no longer finds what was to serve in its stead.

    Where a new choice is to be made, all of it; returns whether there was any.
    """
    plan.dropped = {key: record for key, record in plan.dropped.items() if key not in plan.table}
    missed = list(plan.dropped.values())
    if missed and not plan.timings:
        resolve = _resolver(plan, json.loads(table_text(plan.table)))
        missed = [record for record in missed if resolve(plan.call_at(record.key)).config != record.found]
    for record in missed:
        plan.put_back(record)
    return bool(missed)


def _pin(plan: _Plan) -> None:
    """Keep each default of a file to the token counts that it is the default of."""
    if (depth := _depth_of_m(plan)) is not None:
        found = pins(
            plan.table, depth, lambda key: plan.runtime.default_config(plan.call_at(key)), earlier=plan.unpinned
        )
        for key, pin in found.items():
            plan.pin(key, pin)


def _depth_of_m(plan: _Plan) -> int | None:
    """How many keys stand above the token counts, if a server takes the nearest of them."""
    level = plan.runtime.thinnable_level(plan.call)
    return None if level is None else plan.runtime.levels(plan.call).index(level)


def _thin(plan: _Plan) -> None:
    """Drop the token counts that need no entry; of other origin than this export none is dropped but our fills."""
    if (depth := _depth_of_m(plan)) is None or not plan.timings:
        return
    fills = {key for key, record in plan.origins.items() if record.kind == "default-fill"}
    ours = {key for key, record in plan.written.items() if record.kind != "pin"}
    plan.grids = thin_table(plan.table, depth, plan.timings, ours | fills)
    for grid in plan.grids:
        for key, loss in grid.losses.items():
            m = int(key[depth])
            taken = (*key[:depth], str(grid.served_by[m]), *key[depth + 1 :])
            plan.drop(key, taken, loss, grid.largest_loss(m))


def _resolver(plan: _Plan, table: Any) -> Callable[[Call], Lookup]:
    return lambda call: plan.runtime.resolve(table, call)


def _server(plan: _Plan, directory: Path) -> Callable[[Call], Lookup]:
    """The server's lookup in the folder; or in the file alone, if it has a name that the server does not read."""
    if plan.file != plan.server_file:
        return _resolver(plan, read_json(directory / plan.file))
    return lambda call: plan.runtime.lookup(directory, plan.gpu_name, call)


def _prove(plan: _Plan, lookup: Callable[[Call], Lookup]) -> list[Proof]:
    records = [*plan.written.values(), *plan.dropped.values()]
    proofs = [Proof(record, lookup(plan.call_at(record.key))) for record in records]
    for proof in proofs:
        record, found = proof.record, proof.lookup
        if found.config != record.found or not (found.exact or record.kind == "dropped"):
            raise AutotuneError(
                f"{plan.file}: the server's lookup of {'/'.join(record.key)} gives {found.config} by way of "
                f"{'/'.join(found.key_path)}, not {record.found}; do not serve with it, report this"
            )
    return proofs


def _all_records(records: list[Record], plans: list[_Plan]) -> list[Record]:
    """The records of other files, those of these files that still hold, and the new ones."""
    ours = {plan.file for plan in plans}
    kept = [record for record in records if record.file not in ours]
    for plan in plans:
        kept += (plan.origins | plan.written | plan.dropped).values()
    return kept


def _warnings(plans: list[_Plan], directory: Path) -> list[str]:
    warnings = [
        f"{plan.file}: no server reads this name; move it to {plan.server_file} to use it"
        for plan in plans
        if plan.file != plan.server_file
    ]
    for runtime in {plan.runtime.name: plan.runtime for plan in plans}.values():
        tables = {plan.file: plan.table for plan in plans if plan.runtime.name == runtime.name}
        looked_up = {plan.file: plan.required for plan in plans}
        warnings += runtime.warnings(directory, tables, looked_up)
    return warnings
