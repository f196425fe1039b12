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
    from explanations.models import SubjectModel
    from explanations.querysets import ExplanationQuerySet
    from explanations.search_scope import Scope


TABLE = "explanations_explanation"

COMMON = 1 / 8
"""The share of explanations from which on SQLite, on a walk, looks for matches row by row, without a list of all."""
SAMPLED = 2_000
"""Matches from whose density SQLite tells how common a query's are."""

SAMPLES = ((1 / 64, 625), (1 / 16, 2_500))
"""The samples of a table in which PostgreSQL sees whether matches are too many to be counted, the smaller one first:
the share of the table's pages, and pages, at most. To count 10,000 matches takes as long as the larger one."""
DEVIATIONS = 8
"""How much more than is usual makes sure: it happens by chance in one of a hundred trillion samples."""
EXPECTED = 1.05
"""How many times what makes sure must be expected for a sample to be worth its time."""
READ = 20_000
"""Rows that filters leave, at most, for PostgreSQL to look for a phrase in each of them."""
SELDOM = 1 / 100
"""The share of those rows below which it is looked up in the index all the same."""


def _enough(matches: int, share: float) -> float:
    """Return how many pages of a sample hold a match where there are surely as many `matches` in all.

    Were there so many, each on a page of its own, the pages would be binomially distributed; fewer pages hold them more
    closely, and a sample more of them more seldom.
    """
    usual = matches * share
    return usual + DEVIATIONS * (math.sqrt(usual) + 1)


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


_BY_INDEX, _EACH = "{} @@ {}", "ts_match_vq({}, {})"
"""How PostgreSQL compares a column with a query: the operator has an index, its function has not."""


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
        expected = self._expected(rows, query)
        are_more = self._are_surely(rows, query, expected, limit)
        matching = self._matching(rows, query, expected).values_list("id", "text", "score")
        sql, parameters = matching[: first if are_more else limit].query.sql_with_params()
        found = f"WITH found (id, text, score) AS MATERIALIZED ({sql})"
        with connections[rows.db].cursor() as cursor:
            cursor.execute(
                f"{found} SELECT id, text, score, (SELECT count(*) FROM found) FROM found ORDER BY id LIMIT %s",  # noqa: S608
                [*parameters, first],
            )
            matches = cursor.fetchall()
        count = matches[0][3] if matches else 0
        return [match[:3] for match in matches], limit if are_more else count

    def find(self, rows: ExplanationQuerySet, query: Query, scope: Scope, most: int) -> list[Found] | None:  # noqa: ARG002
        """Return the explanations that match, or None where they are more than `most`."""
        expected = self._expected(rows, query)
        if self._are_surely(rows, query, expected, most + 1):
            return None
        matching = self._matching(rows, query, expected).values_list("id", "score")
        sql, parameters = matching[: most + 1].query.sql_with_params()
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

    def _expected(self, rows: ExplanationQuerySet, query: Query) -> int:
        """Return how many matches the planner expects."""
        return self._planned(self._looked_up(rows, query))

    @staticmethod
    def _planned(rows: ExplanationQuerySet) -> int:
        sql, parameters = rows.order_by().values("id").query.sql_with_params()
        with connections[rows.db].cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
            ((plan,),) = cursor.fetchone()
        return plan["Plan"]["Plan Rows"]  # type: ignore[no-any-return]

    def _are_surely(self, rows: ExplanationQuerySet, query: Query, expected: float, limit: int) -> bool:
        """Return whether a sample of the table shows that there are `limit` matches and more; False where it does not.

        Three queries at most; none where not that many are `expected`. A sample is always of the same pages, so that
        the pages of an answer agree.
        """
        largest, _ = SAMPLES[-1]
        if expected * largest < EXPECTED * _enough(limit, largest):
            return False
        page = RawSQL("(ctid::text::point)[0]", (), FloatField())
        sql, parameters = self._looked_up(rows, query).values_list(page).query.sql_with_params()
        table = f'FROM "{TABLE}"'
        with connections[rows.db].cursor() as cursor:
            cursor.execute("SELECT relpages FROM pg_class WHERE oid = %s::regclass", [TABLE])
            (pages,) = cursor.fetchone()
            for part, most in SAMPLES:
                share = min(part, most / max(pages, 1))
                if expected * share < EXPECTED * _enough(limit, share):
                    continue
                sampled = sql.replace(table, f"{table} TABLESAMPLE SYSTEM ({100 * share}) REPEATABLE (1)", 1)
                cursor.execute(f"SELECT count(DISTINCT page) FROM ({sampled}) AS found (page)", parameters)  # noqa: S608
                (filled,) = cursor.fetchone()
                if filled >= _enough(limit, share):
                    return True
                # What was seen tells more than the planner, of phrases above all.
                expected = filled / share
        return False

    def match(self, rows: ExplanationQuerySet, query: Query, scope: Scope) -> ExplanationQuerySet:  # noqa: ARG002
        """Return those of the rows that match, each row being looked at."""
        return self._compared(rows, query, _EACH)

    def _looked_up(self, rows: ExplanationQuerySet, query: Query) -> ExplanationQuerySet:
        """Return those of the rows that match, in no order, looked up in the index."""
        return self._compared(rows, query, _BY_INDEX).order_by()

    def _matching(self, rows: ExplanationQuerySet, query: Query, expected: int) -> ExplanationQuerySet:
        """Return those of the rows that match, in no order, in the way that finds them soonest. A query for a phrase.

        The index does not know which words follow which: it lists all rows of either, and the planner takes that for
        nothing.
        """
        if any(len(term.words) > 1 for term in query.terms):
            left = self._planned(rows)
            if left <= READ and expected >= SELDOM * left:
                return self._compared(rows, query, _EACH).order_by()
        return self._looked_up(rows, query)

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
