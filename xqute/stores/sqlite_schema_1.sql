-- The first schema. It has words for what is not built yet, so that later features add rows, not tables.

-- Settings of the whole store.
CREATE TABLE setting (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- The token tells this store's jobs from those of any other; it is made here, once.
INSERT INTO setting (key, value) VALUES ('token', lower(hex(randomblob(4))));

-- One producer's pushes.
CREATE TABLE run (
    id       TEXT PRIMARY KEY,
    script   TEXT NOT NULL,
    state    TEXT NOT NULL,
    owner    TEXT NOT NULL,
    lease    REAL NOT NULL DEFAULT 0,   -- the owner is believed alive until then; 0: ask its host
    created  REAL NOT NULL,
    document TEXT NOT NULL
);

-- Who claims jobs of open runs.
CREATE TABLE worker (
    id       TEXT PRIMARY KEY,
    lease    REAL NOT NULL DEFAULT 0,
    document TEXT NOT NULL
);

-- AUTOINCREMENT: an id is never given twice, also after jobs were deleted.
-- The two texts stand last: reading a column in front of them never touches their pages.
CREATE TABLE job (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    run        TEXT    NOT NULL,
    status     INTEGER NOT NULL,
    priority   INTEGER NOT NULL,
    tree       INTEGER NOT NULL DEFAULT 0,   -- jobs pushed together finish together: oldest tree first
    depth      INTEGER NOT NULL DEFAULT 0,   -- in a tree, deepest first
    start      INTEGER NOT NULL DEFAULT 0,
    attempt    INTEGER NOT NULL DEFAULT 1,
    after      REAL    NOT NULL DEFAULT 0,   -- 0: it waits for no time
    owner      TEXT    NOT NULL DEFAULT '',
    uid        TEXT    NOT NULL DEFAULT '',
    task       TEXT    NOT NULL DEFAULT '',
    name       TEXT    NOT NULL DEFAULT '',
    user       TEXT    NOT NULL DEFAULT '',
    title      TEXT    NOT NULL DEFAULT '',
    tags       TEXT    NOT NULL DEFAULT '',
    limit_key  TEXT    NOT NULL DEFAULT '',
    resources  TEXT    NOT NULL DEFAULT '',
    digest     TEXT    NOT NULL DEFAULT '',
    parent     INTEGER NOT NULL DEFAULT 0,
    need_group INTEGER NOT NULL DEFAULT 0,   -- what it waits for; many jobs may wait for one group
    archived   INTEGER NOT NULL DEFAULT 0,
    call       TEXT    NOT NULL,
    document   TEXT    NOT NULL
);

-- The queue itself: what may be claimed now, in the order it is claimed. 2 is QUEUED.
CREATE INDEX job_ready ON job (run, priority DESC, tree, depth DESC, id)
    WHERE status = 2 AND owner = '' AND after = 0;

-- Beside the queue: what may be claimed later. A claim moves the due ones over and never reads the rest.
CREATE INDEX job_asleep ON job (run, after)
    WHERE status = 2 AND owner = '' AND after > 0;

CREATE INDEX job_status ON job (run, status);

-- Jobs that others wait for together.
CREATE TABLE need_group (
    id      INTEGER PRIMARY KEY,
    missing INTEGER NOT NULL   -- how many of its members have not ended well yet
);

CREATE TABLE need (
    need_group INTEGER NOT NULL,
    job        INTEGER NOT NULL,
    PRIMARY KEY (need_group, job)
) WITHOUT ROWID;

CREATE INDEX need_job ON need (job);
CREATE INDEX job_waiting ON job (need_group) WHERE need_group > 0;

-- How many jobs of a kind may run at once in the whole store.
CREATE TABLE task_limit (
    key  TEXT PRIMARY KEY,
    most INTEGER NOT NULL
) WITHOUT ROWID;
