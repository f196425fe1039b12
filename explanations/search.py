"""Full-text search over explanations: one small class for SQLite's FTS5, one for PostgreSQL.

Both ask the indexes of migration 0002, which fold case and accents, stem by Porter's algorithm and keep stop words.
On SQLite, filters narrow a search by lists of ids where those are short (`search_scope`), else row by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from django.db import connections
from django.db.models import BooleanField, FloatField
from django.db.models.expressions import RawSQL

from explanations.search_query import Query, Term

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from explanations.models import SubjectModel
    from explanations.querysets import ExplanationQuerySet
    from explanations.search_scope import Scope


TABLE = "explanations_explanation"

COMMON = 1 / 8
"""The share of explanations from which on SQLite, on a walk, looks for matches row by row, without a list of all."""
SAMPLED = 2_000
"""Matches from whose density SQLite tells how common a query's are."""

SAMPLE = 1 / 16
"""The share of a table's pages, at most, in which PostgreSQL sees whether matches are too many to be counted."""
SAMPLED_PAGES, SAMPLED_MATCHES = 2_500, 4_000
"""Pages of a sample, at most, and matches in it at which reading ends: to count 10,000 takes no longer than more."""
DEVIATIONS = 8
"""How much more than is usual makes sure: it happens by chance in one of a hundred trillion samples."""
EXPECTED = 1.15
"""How many times what makes sure the planner must expect for a sample to be worth its time."""


def _enough(matches: int, share: float) -> float:
    """Return how many pages of a sample hold a match where there are surely as many `matches` in all.

    Were there so many, each on a page of its own, the pages would be binomially distributed; fewer pages hold them more
    closely, and a sample more of them more seldom.
    """
    usual = matches * share
    return usual + DEVIATIONS * (math.sqrt(usual) + 1)


def _worth_sampling(first: int, limit: int, share: float) -> float:
    """Return how many matches must be expected for a sample to hold `first` of them, and to make sure of `limit`."""
    return EXPECTED * max(first, _enough(limit, share)) / share


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


Found = tuple[int, float | None]
"""The id and score of an explanation."""
Text = tuple[int, str, float | None]
"""The id, text and score of an explanation."""


class Engine(Protocol):
    """What a database does for a search."""

    def find_first(
        self, rows: ExplanationQuerySet, query: Query, scope: Scope, first: int, limit: int
    ) -> tuple[list[Text], int]:
        """Return the matches that are found first, and how many there are, counted up to the limit."""

    def find(self, rows: ExplanationQuerySet, query: Query, scope: Scope, most: int) -> list[Found] | None:
        """Return the rows that match, or None where they are more than `most`.

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

    def find_first(
        self, rows: ExplanationQuerySet, query: Query, scope: Scope, first: int, limit: int
    ) -> tuple[list[Text], int]:
        """Return the first matches, and how many there are up to the limit. Two queries."""
        # Which they are is known from indexes alone; their texts are read only then.
        sql, parameters = self._found(query, scope, first)
        with connections[rows.db].cursor() as cursor:
            cursor.execute(f"SELECT id, text, score FROM {TABLE} WHERE id IN ({sql})", parameters)  # noqa: S608
            found: list[Text] = cursor.fetchall()
        return found, len(found) if len(found) < first else self._count(rows.db, query, scope, limit)

    def find(self, rows: ExplanationQuerySet, query: Query, scope: Scope, most: int) -> list[Found] | None:
        """Return the explanations that match, or None where they are more than `most`. Two queries."""
        # Counting takes a tenth of the time of handing them over with their scores.
        if self._count(rows.db, query, scope, most + 1) > most:
            return None
        sql, parameters = self._found(query, scope, most, with_scores=True)
        with connections[rows.db].cursor() as cursor:
            cursor.execute(sql, parameters)
            found: list[Found] = cursor.fetchall()
            return found

    def _count(self, using: str, query: Query, scope: Scope, limit: int) -> int:
        sql, parameters = self._found(query, scope, limit)
        with connections[using].cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM ({sql})", parameters)  # noqa: S608
            (count,) = cursor.fetchone()
        return count  # type: ignore[no-any-return]

    def _found(self, query: Query, scope: Scope, limit: int, *, with_scores: bool = False) -> tuple[str, list[Any]]:
        """Return SQL and parameters of the ids, with scores if wanted, of at most `limit` matches, in order of the ids.

        It reads indexes alone: the full-text one, and where there is something to check, that of what is filtered by.
        """
        lead = self.STEMS if query.chosen(is_prefix=False, is_excluded=False) else self.WORDS
        where, parameters = self._joined([*self._conditions(scope, query, lead), *scope.checks])
        source = lead
        if with_scores or scope.checks:
            # CROSS: the full-text table leads.
            source += f" CROSS JOIN {TABLE} e INDEXED BY explanations_filters ON e.id = {lead}.rowid"
        columns = f"{lead}.rowid, e.score" if with_scores else f"{lead}.rowid"
        sql = f"SELECT {columns} FROM {source} WHERE {where} ORDER BY {lead}.rowid LIMIT %s"  # noqa: S608
        return sql, [*parameters, limit]

    def match(self, rows: ExplanationQuerySet, query: Query, scope: Scope) -> ExplanationQuerySet:
        """Return those of the rows that match, for walking an index in the order asked for. A query, sometimes.

        A list of the matches is checked against; where they are common, each row is looked up in the full-text index,
        since there are few rows on the way to the fiftieth match, and a long list would take long to make.
        """
        lead = self.STEMS if query.chosen(is_prefix=False, is_excluded=False) else self.WORDS
        if lead == self.STEMS and self._are_common(rows.db, query):
            # The rows have passed the filters already.
            where, parameters = self._joined(self._matches(query, lead))
            sql = f"EXISTS (SELECT 1 FROM {lead} WHERE {where} AND {lead}.rowid = {TABLE}.id)"  # noqa: S608
        else:
            where, parameters = self._joined(self._conditions(scope, query, lead))
            # "+": the list is to be checked against, not to lead.
            sql = f"+{TABLE}.id IN (SELECT rowid FROM {lead} WHERE {where})"  # noqa: S608
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
        # "+": a list is to be checked against, not to lead, unless its ids are so few that each may be looked up. Where
        # something is excluded, FTS5 looks on from an id that does not match until one does, which may be for all.
        plus = "" if scope.leads and lead == self.STEMS and not self._excluded(query, lead) else "+"
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

    def find_first(
        self,
        rows: ExplanationQuerySet,
        query: Query,
        scope: Scope,  # noqa: ARG002
        first: int,
        limit: int,
    ) -> tuple[list[Text], int]:
        """Return the first matches, and how many there are up to the limit.

        Which of more are found is left to the database, which takes those that it comes upon soonest.
        """
        sampled = self._sampled(rows, query, first, limit)
        if len(sampled) >= first > 0:
            return sampled, limit
        sql, parameters = self._found(rows, query, "id", "text", "score")[:limit].query.sql_with_params()
        found = f"WITH found (id, text, score) AS MATERIALIZED ({sql})"
        with connections[rows.db].cursor() as cursor:
            cursor.execute(
                f"{found} SELECT id, text, score, (SELECT count(*) FROM found) FROM found ORDER BY id LIMIT %s",  # noqa: S608
                [*parameters, first],
            )
            matches = cursor.fetchall()
        return [match[:3] for match in matches], matches[0][3] if matches else 0

    def find(self, rows: ExplanationQuerySet, query: Query, scope: Scope, most: int) -> list[Found] | None:  # noqa: ARG002
        """Return the explanations that match, or None where they are more than `most`."""
        if self._sampled(rows, query, 1, most + 1):
            return None
        sql, parameters = self._found(rows, query, "id", "score")[: most + 1].query.sql_with_params()
        # Counted before any is handed over, which takes as long again.
        found = f"WITH found (id, score) AS MATERIALIZED ({sql}), counted AS (SELECT count(*) AS n FROM found)"  # noqa: S608
        with connections[rows.db].cursor() as cursor:
            cursor.execute(
                f"{found} SELECT n, id, score FROM counted LEFT JOIN found ON n <= %s",  # noqa: S608
                [*parameters, most],
            )
            matches = cursor.fetchall()
        # There is a row even where there is no match, or none is handed over.
        count = matches[0][0]
        return None if count > most else [match[1:] for match in matches[:count]]

    def _sampled(self, rows: ExplanationQuerySet, query: Query, first: int, limit: int) -> list[Text]:
        """Return `first` matches from a sample that shows that there are `limit` and more; none where it does not.

        Three queries; one where the planner does not expect that many. It is always the same part of the table: so the
        pages of an answer agree, and it is in memory.
        """
        page = RawSQL("(ctid::text::point)[0]", (), FloatField())
        sql, parameters = self._found(rows, query, "id", "text", "score", page).query.sql_with_params()
        with connections[rows.db].cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
            ((plan,),) = cursor.fetchone()
            expected = plan["Plan"]["Plan Rows"]
            if expected < _worth_sampling(first, limit, SAMPLE):
                return []
            cursor.execute("SELECT relpages FROM pg_class WHERE oid = %s::regclass", [TABLE])
            (pages,) = cursor.fetchone()
            share = min(SAMPLE, SAMPLED_PAGES / max(pages, 1))
            if expected < _worth_sampling(first, limit, share):
                return []
            part, table = f"TABLESAMPLE SYSTEM ({100 * share}) REPEATABLE (1)", f'FROM "{TABLE}"'
            found = f"WITH found (id, text, score, page) AS MATERIALIZED ({sql.replace(table, f'{table} {part}', 1)}"
            counted = "SELECT id, text, score, (SELECT count(DISTINCT page) FROM found) FROM found ORDER BY id LIMIT %s"
            cursor.execute(f"{found} LIMIT %s) {counted}", [*parameters, SAMPLED_MATCHES, first])
            matches = cursor.fetchall()
        filled = matches[0][3] if matches else 0
        return [match[:3] for match in matches] if filled >= _enough(limit, share) else []

    def match(self, rows: ExplanationQuerySet, query: Query, scope: Scope) -> ExplanationQuerySet:  # noqa: ARG002
        """Return those of the rows that match, each row being looked at: the function has no index, "@@" has."""
        return self._compared(rows, query, "ts_match_vq({}, {})")

    def _found(self, rows: ExplanationQuerySet, query: Query, *columns: str | RawSQL) -> QuerySet[Any, Any]:
        """Return columns of those of the rows that match, looked up in the index, in no order."""
        return self._compared(rows, query, "{} @@ {}").order_by().values_list(*columns)

    def _compared(self, rows: ExplanationQuerySet, query: Query, how: str) -> ExplanationQuerySet:
        for column, config, expression in self._asked(query.terms):
            sql = how.format(f"{TABLE}.{column}", f"to_tsquery('{config}', %s)")
            rows = rows.filter(RawSQL(sql, (expression,), BooleanField()))  # noqa: S611
        return rows

    def _asked(self, terms: Sequence[Term]) -> list[tuple[str, str, str]]:
        """Return what to ask for these terms: columns, configurations and expressions."""
        asked = []
        for is_prefix, (column, config) in enumerate((self.STEMS, self.WORDS)):
            quoted = [
                ("!" if term.is_excluded else "") + self._quote(term) for term in terms if term.is_prefix == is_prefix
            ]
            if quoted:
                asked.append((column, config, " & ".join(quoted)))
        return asked

    @staticmethod
    def _quote(term: Term) -> str:
        words = ["'" + word.replace("\\", "\\\\").replace("'", "''") + "'" for word in term.words]
        return "(" + " <-> ".join(words) + (":*" if term.is_prefix else "") + ")"
