"""Querysets whose SQL is written once: a query of several joins takes Django longer to write than databases to answer.

A prepared query is built by a function of its parameters, as any queryset is, and gives ordinary instances:

    of_neuron = Prepared(lambda neuron: Explanation.objects.filter(neuron=neuron), int)
    rows = of_neuron(neuron.pk)

A parameter is compared with a column as it is: a whole number or a text.

PostgreSQL too plans such a query once, and not each time it comes: `statements`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.models.base import ModelState
from django.db.models.query import get_related_populators

from explanations.statements import LARGEST, Question

Row = TypeVar("Row", bound=models.Model)

_FIRST_MARK = 31_900
"""Stands for the first parameter while the SQL is written: the smallest column holds it, and no query has it."""


class Prepared(Generic[Row]):
    """A query that is written at its first use, and run with other parameters from then on."""

    def __init__(self, build: Callable[..., models.QuerySet[Row]], *kinds: type[int] | type[str]) -> None:
        """`kinds` are those of the parameters that `build` takes."""
        self._build = build
        self._kinds = kinds
        self._written: dict[str, _Written[Row]] = {}

    def __call__(self, *given: int | str, using: str = DEFAULT_DB_ALIAS) -> list[Row]:
        """Return the rows. One query."""
        if any(isinstance(value, int) and abs(value) > LARGEST for value in given):
            return []
        return self.question(*given, using=using).ask(connections[using])

    def question(self, *given: int | str, using: str = DEFAULT_DB_ALIAS) -> Question[list[Row]]:
        """Return the query with its parameters, which columns can hold, to be asked together with others."""
        if using not in self._written:
            marks = [_FIRST_MARK + n if kind is int else f"mark {n}" for n, kind in enumerate(self._kinds)]
            self._written[using] = _Written(self._build(*marks), marks, using)
        return self._written[using].question(given)


class _Written(Generic[Row]):
    """A query's SQL, and how its rows become instances: what Django's ModelIterable makes anew each time."""

    def __init__(self, rows: models.QuerySet[Row], marks: list[int | str], using: str) -> None:
        compiler = rows.query.get_compiler(using)
        self.using = using
        self.sql, parameters = compiler.as_sql()
        self.parameters = [(marks.index(p) if p in marks else None, p) for p in parameters]
        assert {place for place, _ in self.parameters if place is not None} == set(range(len(marks))), self.sql
        select, found = compiler.select, compiler.klass_info
        assert select is not None
        assert found is not None
        self.model: type[Row] = found["model"]
        self.columns = slice(found["select_fields"][0], found["select_fields"][-1] + 1)
        self.names = [column.target.attname for column, *_ in select[self.columns]]
        self.maker = _Maker(self.model)
        populators: Any = get_related_populators(found, select, using)  # type: ignore[call-arg]  # stubs of Django 6
        self.related = _quickened(populators)
        self.annotations = dict(compiler.annotation_col_map or {})
        self.converters = compiler.get_converters([column for column, *_ in select])
        self.convert = compiler.apply_converters
        self.has_json = any(isinstance(getattr(column, "target", None), models.JSONField) for column, *_ in select)

    def question(self, given: tuple[int | str, ...]) -> Question[list[Row]]:
        parameters = [value if place is None else given[place] for place, value in self.parameters]
        return Question(self.sql, parameters, self._instances, has_json=self.has_json)

    def _instances(self, found: Any) -> list[Row]:
        return [self._instance(row) for row in (self.convert(found, self.converters) if self.converters else found)]

    def _instance(self, row: Any) -> Row:
        instance: Row = self.maker.from_db(self.using, self.names, row[self.columns])
        for part in self.related:
            part.populate(row, instance)
        for name, place in self.annotations.items():
            setattr(instance, name, row[place])
        return instance


class _Maker(Generic[Row]):
    """Makes a model's instances as `Model.from_db` does, in less time: without `__init__` and its signals.

    What an instance has after it is the same: the values of the fields that were read, and where they came from.
    """

    def __init__(self, model: type[Row]) -> None:
        self._model = model

    def from_db(self, using: str, names: Sequence[str], values: Iterable[Any]) -> Row:
        instance = self._model.__new__(self._model)
        instance._state = state = ModelState()
        state.adding, state.db = False, using
        instance.__dict__.update(zip(names, values, strict=True))
        return instance


def _quickened(populators: list[Any]) -> list[Any]:
    """Return what reads related rows, with makers in place of the models."""
    for populator in populators:
        populator.model_cls = _Maker(populator.model_cls)
        _quickened(populator.related_populators)
    return populators
