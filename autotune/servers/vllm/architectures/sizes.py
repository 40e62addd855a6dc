"""Looks the sizes of one layer of a decoder up in its config, by the names of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.model.fields import MOST_SIZE, NAMES, Fields, LackingFieldsError
from autotune.servers.vllm.architectures.decoders import Decoder, table
from autotune.servers.vllm.architectures.expressions import MissingFieldError, Number, evaluate


class LayerSizes:
    """Names and their values in one layer.

    A name is what the decoder says of layers of this type, or of all its layers, or the config's field, or what all
    decoders have for it.
    """

    def __init__(
        self, decoder: Decoder, fields: Fields, known: Mapping[str, int], layer: int | None, layer_type: str = ""
    ) -> None:
        self._expressions = (decoder.by_layer_type.get(layer_type, {}), decoder.sizes)
        self._fields = fields
        self._known = known
        self._layer = layer
        self._busy: list[str] = []

    @property
    def layer(self) -> int | None:
        """The layer; None for what a model has once."""
        return self._layer

    def __call__(self, expression: str) -> int:
        """Returns what an expression comes to.

        Raises:
            LackingFieldsError: If the config lacks a field that counts.
        """
        try:
            return int(evaluate(expression, self))
        except MissingFieldError as missing:
            raise LackingFieldsError(self._fields.origin, missing.args) from None

    def lacking(self, *expressions: str) -> tuple[str, ...]:
        """Returns the fields for want of which expressions come to nothing."""
        found: dict[str, None] = {}
        for expression in expressions:
            try:
                evaluate(expression, self)
            except MissingFieldError as missing:
                found[missing.args[0]] = None
        return tuple(found)

    def holds(self, condition: str) -> bool:
        """Tells whether a condition holds; what the config lacks is 0."""
        try:
            return bool(evaluate(condition, self))
        except MissingFieldError:
            return False

    def value(self, name: str) -> Number:
        """Returns the value of a name.

        Raises:
            MissingFieldError: If nothing gives it one.
        """
        if name in self._known:
            return self._known[name]
        for expressions in self._expressions:
            if name in expressions and name not in self._busy:
                return self._nested(name, expressions[name])
        if (found := self._field(name)) is not None:
            return found
        if name in table().sizes and name not in self._busy:
            return self._nested(name, table().sizes[name])
        raise MissingFieldError(name)

    def text(self, name: str) -> str:
        """Returns the config's own value as text; of a list for all layers that of this one."""
        value = self._fields.config.get(name)
        if isinstance(value, list | tuple) and self._layer is not None:
            value = value[self._layer] if self._layer < len(value) else None
        return str(value)

    def items(self, name: str) -> Sequence[object]:
        """Returns the config's own list; of one number a list of it."""
        for spelled in NAMES.get(name, (name,)):
            if (value := self._fields.config.get(spelled)) is not None:
                return value if isinstance(value, list | tuple) else (value,)
        return ()

    def inside(self, part: str, name: str) -> Number:
        """Returns a number of a part of the config.

        Raises:
            MissingFieldError: If it has none.
        """
        found = self._fields.config.get(part)
        value = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(value, int | float) or not 0 <= value <= MOST_SIZE:
            raise MissingFieldError(f"{part}.{name}")
        return value

    def _nested(self, name: str, expression: str) -> Number:
        self._busy.append(name)
        try:
            return evaluate(expression, self)
        finally:
            self._busy.pop()

    def _field(self, name: str) -> Number | None:
        """Returns the value of a field; of a list for all layers that of this one."""
        for spelled in NAMES.get(name, (name,)):
            value = self._fields.config.get(spelled)
            if isinstance(value, list | tuple) and value and all(type(each) is int for each in value):
                return int(value[min(self._layer or 0, len(value) - 1)])
            if value is None:
                continue
            if isinstance(value, bool):
                if name in NAMES:
                    continue
                return int(value)
            if not isinstance(value, int | float) or not 0 <= value <= MOST_SIZE:
                if name in NAMES:
                    self._fields.get(name)
                continue
            return value
        return None
