"""The database's schema as numbered steps; a step that was released never changes.

`PRAGMA user_version` holds the number of the last step that ran.
"""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE objects (
            kind TEXT NOT NULL,
            namespace TEXT NOT NULL,
            name TEXT NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (kind, namespace, name)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE changes (
            version INTEGER PRIMARY KEY,
            change TEXT NOT NULL,
            kind TEXT NOT NULL,
            previous_labels TEXT,
            body TEXT NOT NULL
        )
        """,
    ),
    # A kind of that name was accepted and did nothing. Its changes stay in the history until they
    # age out, as of no kind that is known: versions are consecutive, and the newest one must not be
    # given out again.
    (
        "DELETE FROM objects WHERE kind = 'Wave'",
        "UPDATE changes SET kind = 'FormerWave' WHERE kind = 'Wave'",
    ),
    # Facts about the database itself: `instance` (the instance-id of its data folder) and
    # `timelines`: one more once the database has lost changes that were acted upon.
    ("CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",),
)
