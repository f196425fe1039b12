"""The full-text index over explanations, kept by the database itself.

Two indexes of the same text: one of stems, for words and phrases, and one of the words as they are written, for
`prefix*` (the stem of "university" is "univers", in which "universit*" is not to be found). Neither drops stop words.

SQLite: two FTS5 tables without a copy of the text, kept by triggers. A later migration that makes SQLite rebuild
`explanations_explanation` (most alterations of a column do) drops the triggers and must run `create_triggers` again;
a test looks for them. PostgreSQL: two stored generated columns that the model does not know, with a GIN index each.
Both stem with Porter's algorithm, so both find the same.
"""

from __future__ import annotations

from django.db import migrations

TABLE = "explanations_explanation"

SQLITE_TABLES = {
    "explanations_stems": "porter unicode61 remove_diacritics 2",
    "explanations_words": "unicode61 remove_diacritics 2",
}


def _sqlite_trigger(event: str, *changes: str) -> str:
    body = "; ".join(change.format(table=table) for table in SQLITE_TABLES for change in changes)
    name = f"explanations_search_{event.split()[0].lower()}"
    return f"CREATE TRIGGER {name} AFTER {event} ON {TABLE} BEGIN {body}; END"


_ADD = "INSERT INTO {table}(rowid, text) VALUES (new.id, new.text)"
_REMOVE = "INSERT INTO {table}({table}, rowid, text) VALUES ('delete', old.id, old.text)"

SQLITE_TRIGGERS = {
    "explanations_search_insert": _sqlite_trigger("INSERT", _ADD),
    "explanations_search_delete": _sqlite_trigger("DELETE", _REMOVE),
    "explanations_search_update": _sqlite_trigger("UPDATE OF id, text", _REMOVE, _ADD),
}

# What PostgreSQL's parser would take for a part of something (an address, a tag, a path, a fraction) becomes a blank,
# so that it sees bare words, as FTS5 does; Latin letters lose their accents, as there. Code points are named, since
# character classes depend on the database's locale. 50,000 characters keep any text below a tsvector's limit of 1 MB.
# Blanks are left, which are one as well as many: most matches, each of which costs as much, would be of them.
_PUNCTUATION = (
    r"[\u0001-\u001f!-/:-@\[-`{-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7"
    r"\u2000-\u206f\u2190-\u2bff\u3000-\u3004\u3008-\u3020\u3030]+"
)
_BARE = r"regexp_replace(normalize(left(text, 50000), NFD), '([A-Za-z])[\u0300-\u036f]+', '\1', 'g')"
_ANY_WORDS = f"regexp_replace(normalize({_BARE}, NFC), '{_PUNCTUATION}', ' ', 'g')"
# ASCII has no accents and is normalised: most texts are spared what takes twice as long as all the rest. There, only
# these join what is around them; all else is a blank to the parser, as a test asks it. Databases made before this was
# seen spare nothing, and find the same.
_JOINING = "[-+./:@_&<~]+"
_ASCII_WORDS = f"regexp_replace(left(text, 50000), '{_JOINING}', ' ', 'g')"
POSTGRES_WORDS = f"CASE WHEN octet_length(text) = length(text) THEN {_ASCII_WORDS} ELSE {_ANY_WORDS} END"
POSTGRES_COLUMNS = {"search_stems": "neuronviewer_stems", "search_words": "simple"}


def create_triggers(schema_editor) -> None:
    for statement in SQLITE_TRIGGERS.values():
        schema_editor.execute(statement)


def _create_sqlite(schema_editor) -> None:
    for table, tokenizer in SQLITE_TABLES.items():
        schema_editor.execute(
            f"CREATE VIRTUAL TABLE {table} USING fts5"
            f"(text, content='{TABLE}', content_rowid='id', tokenize='{tokenizer}')"
        )
        schema_editor.execute(f"INSERT INTO {table}({table}) VALUES ('rebuild')")
    create_triggers(schema_editor)


def _drop_sqlite(schema_editor) -> None:
    for trigger in SQLITE_TRIGGERS:
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    for table in SQLITE_TABLES:
        schema_editor.execute(f"DROP TABLE {table}")


def _create_postgresql(schema_editor) -> None:
    # Without a StopWords file the stemmer keeps every word.
    schema_editor.execute(
        "CREATE TEXT SEARCH DICTIONARY neuronviewer_porter (TEMPLATE = snowball, Language = porter)"
    )
    schema_editor.execute("CREATE TEXT SEARCH CONFIGURATION neuronviewer_stems (COPY = simple)")
    schema_editor.execute(
        "ALTER TEXT SEARCH CONFIGURATION neuronviewer_stems ALTER MAPPING REPLACE simple WITH neuronviewer_porter"
    )
    columns = ", ".join(
        f"ADD COLUMN {column} tsvector GENERATED ALWAYS AS (to_tsvector('{config}', {POSTGRES_WORDS})) STORED"
        for column, config in POSTGRES_COLUMNS.items()
    )
    schema_editor.execute(f"ALTER TABLE {TABLE} {columns}")
    for column in POSTGRES_COLUMNS:
        schema_editor.execute(f"CREATE INDEX explanations_{column} ON {TABLE} USING gin ({column})")


def _drop_postgresql(schema_editor) -> None:
    for column in POSTGRES_COLUMNS:
        schema_editor.execute(f"ALTER TABLE {TABLE} DROP COLUMN {column}")
    schema_editor.execute("DROP TEXT SEARCH CONFIGURATION neuronviewer_stems")
    schema_editor.execute("DROP TEXT SEARCH DICTIONARY neuronviewer_porter")


_CREATE = {"sqlite": _create_sqlite, "postgresql": _create_postgresql}
_DROP = {"sqlite": _drop_sqlite, "postgresql": _drop_postgresql}


def create_index(apps, schema_editor) -> None:
    _CREATE[schema_editor.connection.vendor](schema_editor)


def drop_index(apps, schema_editor) -> None:
    _DROP[schema_editor.connection.vendor](schema_editor)


class Migration(migrations.Migration):
    dependencies = [("explanations", "0001_initial")]
    operations = [migrations.RunPython(create_index, drop_index)]
