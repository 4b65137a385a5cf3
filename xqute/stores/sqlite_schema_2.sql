-- What other processes ask of the one that owns a run.
CREATE TABLE request (
    id     INTEGER PRIMARY KEY,
    run    TEXT    NOT NULL,
    job    INTEGER NOT NULL,
    what   TEXT    NOT NULL,
    detail TEXT    NOT NULL
);

CREATE INDEX request_run ON request (run);
