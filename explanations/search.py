"""Full-text search over explanations: one small class for SQLite's FTS5, one for PostgreSQL.

Both ask the indexes of migration 0002, which fold case and accents, stem by Porter's algorithm and keep stop words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from django.db import connections
from django.db.models import BooleanField, FloatField
from django.db.models.expressions import RawSQL

from explanations.search_query import Query, Term

if TYPE_CHECKING:
    from explanations.models import SubjectModel
    from explanations.querysets import ExplanationQuerySet


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

    def match(self, rows: ExplanationQuerySet, query: Query, *, are_many: bool) -> ExplanationQuerySet:
        """Return the rows that match; `are_many` tells how best to find them, and changes nothing else."""

    def rank(self, rows: ExplanationQuerySet, query: Query) -> ExplanationQuerySet:
        """Return the rows that match, each with its `relevance`: the higher, the better."""


def engine(using: str) -> Engine:
    """Return the engine of a database connection by its alias."""
    return SqliteEngine() if connections[using].vendor == "sqlite" else PostgresEngine()


class SqliteEngine:
    """FTS5: a table of stems and a table of words, each without a copy of the text. Every word is quoted."""

    STEMS, WORDS = "explanations_stems", "explanations_words"

    def match(self, rows: ExplanationQuerySet, query: Query, *, are_many: bool) -> ExplanationQuerySet:
        """Return the rows that match.

        Many matches are a list to check while an index is walked in the order asked for (among 307,800 rows: 4 ms
        for the best of 20,000 matches; joined and sorted, 67); a few are looked up one by one.
        """
        if are_many:
            return self._check(rows, query, (self.STEMS, self.WORDS))
        return self._join(rows, query)[0]

    def rank(self, rows: ExplanationQuerySet, query: Query) -> ExplanationQuerySet:
        """Return the matches with their bm25, by the stems unless every term is a prefix."""
        rows, table = self._join(rows, query)
        # bm25 is the better the lower.
        return rows.annotate(relevance=RawSQL(f"-bm25({table})", (), FloatField()))  # noqa: S611

    def _join(self, rows: ExplanationQuerySet, query: Query) -> tuple[ExplanationQuerySet, str]:
        """Return the rows joined to the table that finds them, and that table."""
        has_stems = bool(query.chosen(is_prefix=False, is_excluded=False))
        table, other = (self.STEMS, self.WORDS) if has_stems else (self.WORDS, self.STEMS)
        # The full-text table must lead: "+" keeps SQLite from looking each row up in it.
        joined = self._check(rows, query, (other,)).extra(  # noqa: S610  names of ours; what is asked is a parameter
            tables=[table],
            where=[f"{table} MATCH %s", f"explanations_explanation.id = +{table}.rowid"],
            params=[self._expression(query, table)],
        )
        return cast("ExplanationQuerySet", joined), table

    def _check(self, rows: ExplanationQuerySet, query: Query, tables: Sequence[str]) -> ExplanationQuerySet:
        for table in tables:
            if expression := self._expression(query, table):
                rows = rows.filter(self._is_in(table, expression))
            elif excluded := self._excluded(query, table):
                rows = rows.exclude(self._is_in(table, excluded))
        return rows

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

    @staticmethod
    def _is_in(table: str, expression: str) -> RawSQL:
        # "+": the list is to be checked against, not to lead.
        sql = f"+explanations_explanation.id IN (SELECT rowid FROM {table} WHERE {table} MATCH %s)"  # noqa: S608
        return RawSQL(sql, (expression,), BooleanField())  # noqa: S611


class PostgresEngine:
    """Two generated columns, of stems and of words. Every word is quoted."""

    STEMS, WORDS = ("search_stems", "neuronviewer_stems"), ("search_words", "simple")

    def match(
        self,
        rows: ExplanationQuerySet,
        query: Query,
        *,
        are_many: bool,  # noqa: ARG002
    ) -> ExplanationQuerySet:
        """Return the rows that match. The planner knows by its statistics whether they are many."""
        for is_prefix in (False, True):
            if expression := self._expression(query, is_prefix=is_prefix):
                rows = rows.filter(self._compare("@@", is_prefix, expression))
        return rows

    def rank(self, rows: ExplanationQuerySet, query: Query) -> ExplanationQuerySet:
        """Return the matches with their ts_rank, by the stems unless every term is a prefix."""
        is_prefix = not query.chosen(is_prefix=False, is_excluded=False)
        column, config = self._index(is_prefix)
        # 1 divides by the length's logarithm, as bm25 favours the shorter text.
        sql = f"ts_rank(explanations_explanation.{column}, to_tsquery('{config}', %s), 1)"
        return self.match(rows, query, are_many=False).annotate(
            relevance=RawSQL(sql, (self._expression(query, is_prefix=is_prefix),), FloatField())  # noqa: S611
        )

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


def match(rows: ExplanationQuerySet, query: Query, *, are_many: bool = False) -> ExplanationQuerySet:
    """Return the explanations among `rows` that match the query; all where it is empty."""
    return engine(rows.db).match(rows, query, are_many=are_many) if query.terms else rows


def rank(rows: ExplanationQuerySet, query: Query) -> ExplanationQuerySet:
    """Return the explanations among `rows` that match, with `relevance`. The query must not be empty."""
    return engine(rows.db).rank(rows, query)
