"""Tells where a server's plug-in runs its kernel's default in the place of what its files are found to say.

That default is another one than the server's, which an entry found in vain comes to.
"""

from __future__ import annotations

from autotune import servers
from autotune.config.entry_problem import Subject
from autotune.contract import Config, Gpu, registry
from autotune.servers import Lookup, provenance
from autotune.servers.provenance import Record


def why_default(found: Lookup, record: Record | None, subject: Subject) -> str | None:
    """Returns why it runs its default for a problem whose call it has looked up; None where it launches with what it
    found.

    Args:
        record: What the side-car says of the entry found.
        subject: The problem, and the kernel to time it on; a server's own is launched by no plug-in.
    """
    call = registry.load(subject.kernel).call(subject.problem)
    if call is None or subject.kernel not in servers.get(call.server).plugin_kernels:
        return None
    if found.failure is not None:
        return f"the server would fail: {found.failure.error}: {found.failure.message}"
    if found.origin == "default":
        return "no entry"
    if record is None or record.has_say(provenance.workload_of(subject.problem.to_json())):
        return None
    if record.study is None:
        return "its entry is one that nobody timed"
    return servers.get(call.server).plug_in_note(call, record.workload)


def default_of(subject: Subject, gpu: Gpu) -> Config | None:
    """Returns the default, in canonical form; None where it leaves the problem to the server's own kernel."""
    kernel, problem = registry.load(subject.kernel), subject.problem
    if kernel.is_left_without_entry(problem):
        return None
    own = kernel.own_default(problem, gpu)
    return kernel.canonical(problem, kernel.default_config(problem, gpu), gpu) if own is None else own
