"""Tables of the outbox's SQLite file."""

from upwell.encryption.databases import FACTS_TABLE

OUTBOX_TABLES = f"""
{FACTS_TABLE};
CREATE TABLE IF NOT EXISTS event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    severity TEXT NOT NULL,
    message TEXT NOT NULL,
    body BLOB NOT NULL,
    state TEXT NOT NULL,
    due REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    reached TEXT NOT NULL DEFAULT '[]',
    error TEXT NOT NULL DEFAULT '',
    settled REAL,
    UNIQUE (subscription, id)
);
CREATE INDEX IF NOT EXISTS waiting ON event (subscription, subject, number)
WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS by_state ON event (subscription, state, number);
CREATE INDEX IF NOT EXISTS by_settled ON event (settled);
-- Beginnings of the ids of events that another replica's outbox has settled.
CREATE TABLE IF NOT EXISTS settled_elsewhere (
    id TEXT NOT NULL, period INTEGER NOT NULL, PRIMARY KEY (id, period)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tally (
    subscription TEXT PRIMARY KEY, delivered INTEGER NOT NULL, last REAL NOT NULL
) WITHOUT ROWID;
"""
