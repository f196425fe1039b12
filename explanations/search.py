"""Full-text search over explanations: one small class for SQLite's FTS5, one for PostgreSQL.

Both ask the indexes of migration 0002, which fold case and accents, stem by Porter's algorithm and keep stop words.
On SQLite, filters narrow a search by lists of ids where those are short (`search_scope`), else row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from django.db import connections
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL

from explanations.search_query import Query, Term

if TYPE_CHECKING:
    from explanations.models import SubjectModel
    from explanations.querysets import ExplanationQuerySet
    from explanations.search_scope import Scope


LEADING = 2_000
"""Ids in a list that are looked up one by one in the full-text index, in 10 microseconds each."""
COMMON = 1 / 8
"""The share of explanations from which on each row on a walk is looked up in the full-text index."""
SAMPLED = 2_000
"""Matches from whose density is told how common a query's are."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """Which explanations are looked for, and in what order."""

    query: Query = field(default_factory=Query)
    """without terms, every explanation matches"""
    model: SubjectModel | None = None
    layers: tuple[int, int] | None = None
    """the first and the last, both included"""
    min_score: float | None = None
    max_score: float | None = None
    source: str = ""
    state: str = "current"
    """a state of explanations, or `any`"""
    sort: str = "score"
    """`relevance` (only with terms), `score` (best first) or `lowest` (score first)"""


class Engine(Protocol):
    """What a database does for a search."""

    def find(self, rows: ExplanationQuerySet, query: Query, scope: Scope, limit: int) -> list[int]:
        """Return the ids of at most `limit` of the rows that match, in order. One query.

        The rows have passed every filter, and the scope, on SQLite, is of the same filters.
        """

    def match(self, rows: ExplanationQuerySet, query: Query, scope: Scope) -> ExplanationQuerySet:
        """Return those of the rows that match, for reading them in an order that an index has."""


def engine(using: str) -> Engine:
    """Return the engine of a database connection by its alias."""
    return SqliteEngine() if connections[using].vendor == "sqlite" else PostgresEngine()


class SqliteEngine:
    """FTS5: a table of stems and a table of words, each without a copy of the text. Every word is quoted."""

    STEMS, WORDS = "explanations_stems", "explanations_words"

    def find(self, rows: ExplanationQuerySet, query: Query, scope: Scope, limit: int) -> list[int]:  # noqa: ARG002
        """Return the ids of at most `limit` explanations that match, in order.

        Reads the full-text index alone where no filter has to be checked row by row.
        """
        lead = self.STEMS if query.chosen(is_prefix=False, is_excluded=False) else self.WORDS
        conditions = self._conditions(scope, query, lead)
        where, parameters = self._joined(conditions)
        if not scope.is_narrowed:
            sql = f"SELECT rowid FROM {lead} WHERE {where} ORDER BY rowid LIMIT %s"  # noqa: S608
            with connections[scope.rows.db].cursor() as cursor:
                cursor.execute(sql, [*parameters, limit])
                return [pk for (pk,) in cursor.fetchall()]
        # The full-text table must lead: "+" keeps SQLite from looking each row up in it.
        joined = scope.rows.extra(  # noqa: S610  names of ours; what is asked is a parameter
            tables=[lead], where=[where, f"explanations_explanation.id = +{lead}.rowid"], params=parameters
        )
        return sorted(joined.order_by().values_list("id", flat=True)[:limit])

    def match(self, rows: ExplanationQuerySet, query: Query, scope: Scope) -> ExplanationQuerySet:
        """Return those of the rows that match, for walking an index in the order asked for. A query, sometimes.

        A list of the matches is checked against; where they are common, each row is looked up in the full-text index,
        since there are few rows on the way to the fiftieth match, and a long list would take long to make.
        """
        lead = self.STEMS if query.chosen(is_prefix=False, is_excluded=False) else self.WORDS
        if lead == self.STEMS and not scope.lists_places and self._are_common(rows.db, query):
            # The rows have passed the filters already.
            where, parameters = self._joined(self._matches(query, lead))
            sql = f"EXISTS (SELECT 1 FROM {lead} WHERE {where} AND {lead}.rowid = explanations_explanation.id)"  # noqa: S608
        else:
            where, parameters = self._joined(self._conditions(scope, query, lead))
            # "+": the list is to be checked against, not to lead.
            sql = f"+explanations_explanation.id IN (SELECT rowid FROM {lead} WHERE {where})"  # noqa: S608
        return rows.filter(RawSQL(sql, parameters, BooleanField()))  # noqa: S611

    def _are_common(self, using: str, query: Query) -> bool:
        """Return whether a good part of all explanations match, going by how densely the first of them lie."""
        sql = f"SELECT rowid FROM {self.STEMS} WHERE {self.STEMS} MATCH %s ORDER BY rowid LIMIT %s"  # noqa: S608
        with connections[using].cursor() as cursor:
            cursor.execute(sql, [self._expression(query, self.STEMS), SAMPLED])
            ids = [pk for (pk,) in cursor.fetchall()]
        return len(ids) == SAMPLED and len(ids) >= COMMON * (ids[-1] - ids[0] + 1)

    def _conditions(self, scope: Scope, query: Query, lead: str) -> list[tuple[str, Sequence[Any]]]:
        """Return what a row of the table that leads must meet: SQL and its parameters."""
        conditions = self._matches(query, lead)
        if scope.span is not None:
            conditions.append((f"{lead}.rowid BETWEEN %s AND %s", scope.span))
        # "+": a list is to be checked against, not to lead, unless its ids are so few that each may be looked up.
        plus = "" if scope.shortest <= LEADING and lead == self.STEMS else "+"
        conditions += [self._listed(f"{plus}{lead}.rowid IN", rows) for rows in scope.lists]
        conditions += [self._listed(f"+{lead}.rowid NOT IN", rows) for rows in scope.without]
        return conditions

    @staticmethod
    def _listed(place: str, rows: ExplanationQuerySet) -> tuple[str, Sequence[Any]]:
        sql, parameters = rows.order_by().values("id").query.sql_with_params()
        return f"{place} ({sql})", parameters

    def _matches(self, query: Query, lead: str) -> list[tuple[str, Sequence[Any]]]:
        """Return what the query asks of a row of the table that leads."""
        conditions: list[tuple[str, Sequence[Any]]] = [(f"{lead} MATCH %s", [self._expression(query, lead)])]
        other = self.WORDS if lead == self.STEMS else self.STEMS
        # "+" on each: lists are to be checked against, not to lead.
        if expression := self._expression(query, other):
            conditions.append((f"+{lead}.rowid IN (SELECT rowid FROM {other} WHERE {other} MATCH %s)", [expression]))  # noqa: S608
        elif excluded := self._excluded(query, other):
            conditions.append((f"+{lead}.rowid NOT IN (SELECT rowid FROM {other} WHERE {other} MATCH %s)", [excluded]))  # noqa: S608
        return conditions

    @staticmethod
    def _joined(conditions: Sequence[tuple[str, Sequence[Any]]]) -> tuple[str, list[Any]]:
        return " AND ".join(sql for sql, _ in conditions), [value for _, values in conditions for value in values]

    def _expression(self, query: Query, table: str) -> str:
        """Return what to ask of a table; nothing where it would only exclude, which FTS5 cannot."""
        wanted = [f"({self._quote(t)})" for t in query.chosen(is_prefix=table == self.WORDS, is_excluded=False)]
        excluded = self._excluded(query, table)
        return f"({' AND '.join(wanted)}) NOT ({excluded})" if wanted and excluded else " AND ".join(wanted)

    def _excluded(self, query: Query, table: str) -> str:
        terms = query.chosen(is_prefix=table == self.WORDS, is_excluded=True)
        return " OR ".join(map(self._quote, terms))

    @staticmethod
    def _quote(term: Term) -> str:
        quoted = " ".join(term.words).replace('"', '""')
        return f'"{quoted}"' + ("*" if term.is_prefix else "")


class PostgresEngine:
    """Two generated columns, of stems and of words. Every word is quoted."""

    STEMS, WORDS = ("search_stems", "neuronviewer_stems"), ("search_words", "simple")

    def find(self, rows: ExplanationQuerySet, query: Query, scope: Scope, limit: int) -> list[int]:  # noqa: ARG002
        """Return the ids of at most `limit` explanations that match, in order.

        Which of more they are is left to the database, which finds the first it comes upon soonest.
        """
        return sorted(self._matching(rows, query).order_by().values_list("id", flat=True)[:limit])

    def match(self, rows: ExplanationQuerySet, query: Query, scope: Scope) -> ExplanationQuerySet:  # noqa: ARG002
        """Return those of the rows that match. The planner knows by its statistics whether they are common."""
        return self._matching(rows, query)

    def _matching(self, rows: ExplanationQuerySet, query: Query) -> ExplanationQuerySet:
        for is_prefix in (False, True):
            if expression := self._expression(query, is_prefix=is_prefix):
                rows = rows.filter(self._compare("@@", is_prefix, expression))
        return rows

    def _index(self, is_prefix: bool) -> tuple[str, str]:
        return self.WORDS if is_prefix else self.STEMS

    def _compare(self, operator: str, is_prefix: bool, expression: str) -> RawSQL:
        column, config = self._index(is_prefix)
        sql = f"explanations_explanation.{column} {operator} to_tsquery('{config}', %s)"
        return RawSQL(sql, (expression,), BooleanField())  # noqa: S611

    def _expression(self, query: Query, *, is_prefix: bool) -> str:
        wanted = [self._quote(t) for t in query.chosen(is_prefix=is_prefix, is_excluded=False)]
        excluded = [f"!{self._quote(t)}" for t in query.chosen(is_prefix=is_prefix, is_excluded=True)]
        return " & ".join(wanted + excluded)

    @staticmethod
    def _quote(term: Term) -> str:
        words = ["'" + word.replace("\\", "\\\\").replace("'", "''") + "'" for word in term.words]
        return "(" + " <-> ".join(words) + (":*" if term.is_prefix else "") + ")"
