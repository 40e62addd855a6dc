"""Names the user attributes of a study, and writes and reads each. No other module knows them.

Values are JSON, as Optuna stores them. What older releases stored in another form is read here alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from autotune.contract.converter import from_json, to_json
from autotune.errors import InputError
from autotune.study.head_to_head import HeadToHead
from autotune.study.membership import Membership
from autotune.study.result import GroupResult, StudyResult
from autotune.study.spec import StudySpec
from autotune.untrusted.printing import shortened

if TYPE_CHECKING:
    import optuna

_SPEC = "autotune"
_RESULT = "result"
_GROUP_RESULT = "group result"
_HEAD_TO_HEAD = "head to head"
_SEARCHED = "own search done"
_PLANS = "plans"

OF_FINISHED = (_SPEC, _RESULT)
"""What a finished study has, by the names that `finished` takes the texts of."""

_MOST_KEPT = 4096

Attributes = Mapping[str, Any]
"""The user attributes of one study, as Optuna hands them out."""

T = TypeVar("T")


def parsed(name: str, text: str) -> Any:
    """Reads the JSON text of an attribute.

    Raises:
        InputError: If it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"--storage: the attribute {shortened(name)} of a study is no JSON ({error}), so somebody else has written "
            "it; put back a copy, or give another storage"
        ) from error


@lru_cache(maxsize=_MOST_KEPT)
def finished(spec_text: str, result_text: str) -> tuple[StudySpec, StudyResult] | None:
    """Reads what a study is about and its result; None while it has none.

    A run asks for all finished studies again before each study, so what was read once is kept.

    Args:
        spec_text, result_text: The JSON of the attributes `OF_FINISHED`.
    """
    found = result({_RESULT: parsed(_RESULT, result_text)})
    return None if found is None else (spec({_SPEC: parsed(_SPEC, spec_text)}), found)


def is_ours(attributes: Attributes) -> bool:
    """Tells whether this tool made the study."""
    return _SPEC in attributes


def write_spec(study: optuna.Study, spec: StudySpec) -> None:
    """Says what a study is about, which makes it ours."""
    study.set_user_attr(_SPEC, to_json(spec))
    study.set_user_attr("kernel", f"{spec.kernel} ({spec.source})")


def spec(attributes: Attributes) -> StudySpec:
    """Reads what a study of ours is about."""
    return _read(StudySpec, _SPEC, attributes[_SPEC])


def group(attributes: Attributes) -> str | None:
    """Reads the name of a study's group without the rest of its spec; None for a study on its own."""
    kept = attributes.get(_SPEC)
    found = kept.get("group") if isinstance(kept, dict) else None
    return found if isinstance(found, str) else None


def write_result(study: optuna.Study, result: StudyResult | None) -> None:
    """Keeps a study's result; None takes it back.

    Its figures stand before it, flat, for the tables of Optuna's own tools; nothing reads them here.
    """
    decision = result.decision if result else None
    figures = {
        "state": decision.outcome if decision else "started",
        "speedup": decision.speedup if decision else None,
        "default_us": decision.incumbent_us if decision else None,
        "tuned_us": decision.tuned_us if decision else None,
    }
    # What is there already is not written again: a run that is killed at each third write comes to an end, too.
    known = study.user_attrs
    for name, figure in figures.items():
        if name not in known or known[name] != figure:
            study.set_user_attr(name, figure)
    # Last: without it the study is unfinished, and a run writes what is missing.
    study.set_user_attr(_RESULT, None if result is None else to_json(result))


def result(attributes: Attributes) -> StudyResult | None:
    """Reads a study's result; None while it is unfinished."""
    found = attributes.get(_RESULT)
    return _read(StudyResult, _RESULT, found) if found else None


def write_group_result(study: optuna.Study, result: GroupResult | None) -> None:
    """Keeps the result of a group on one of its members; None takes it back."""
    study.set_user_attr(_GROUP_RESULT, None if result is None else to_json(result))


def group_result(attributes: Attributes) -> GroupResult | None:
    """Reads the result of a study's group; None while the group is unfinished."""
    found = attributes.get(_GROUP_RESULT)
    return _read(GroupResult, _GROUP_RESULT, found) if found else None


def write_head_to_head(study: optuna.Study, found: HeadToHead | None) -> None:
    """Keeps how a study's config did against the other ways to do its work; None forgets it."""
    study.set_user_attr(_HEAD_TO_HEAD, None if found is None else to_json(found))


def head_to_head(attributes: Attributes) -> HeadToHead | None:
    """Reads how a study's config did against the other ways; None while it has not met them."""
    found = attributes.get(_HEAD_TO_HEAD)
    return _read(HeadToHead, _HEAD_TO_HEAD, found) if found else None


def write_searched(study: optuna.Study) -> None:
    """Marks a member of a group whose own search is done."""
    study.set_user_attr(_SEARCHED, True)


def searched(attributes: Attributes) -> bool:
    """Tells whether a member of a group has done its own search."""
    return bool(attributes.get(_SEARCHED))


def write_membership(study: optuna.Study, plan: str, membership: Membership) -> None:
    """Says what a study is in a plan; what it is in others stays."""
    study.set_user_attr(_PLANS, {**study.user_attrs.get(_PLANS, {}), plan: to_json(membership)})


def erase_membership(study: optuna.Study, plan: str) -> None:
    """Takes a study out of a plan; what it is in others stays."""
    study.set_user_attr(_PLANS, {name: kept for name, kept in study.user_attrs.get(_PLANS, {}).items() if name != plan})


def memberships(attributes: Attributes) -> dict[str, Membership]:
    """Reads what a study is in each plan that it belongs to, by the plan's name."""
    return _read(dict[str, Membership], _PLANS, attributes.get(_PLANS, {}))


def _read(kind: type[T], name: str, data: Any) -> T:
    try:
        return from_json(kind, data)
    except Exception as error:  # cattrs has no common type for what can be wrong with the data
        raise InputError(
            f"--storage: the attribute {name!r} of a study is not one that this release can read "
            f"({type(error).__name__}: {error}); run the release that made it, or give another storage"
        ) from error
