-- A store as the first schema's xqute left it: sqlite3 .dump of a real run whose manager died.
PRAGMA user_version = 1;
PRAGMA application_id = 2020701556;
BEGIN TRANSACTION;
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
INSERT INTO "job" VALUES(1,'521e9cab',6,0,0,0,1,1,0.0,'','20388','','','ann','','old','','','',0,0,0,'{"argv":["echo","one"],"options":{"env":[["A","\u00e4''"]],"user":"ann","tags":["old"]}}','{"times":[1795265847.2531018,1795265847.2610452,1795265847.2630055,1795265847.263016],"history":[[1795265847.2531018,2,0,1,"ACCEPTED",{}],[1795265847.2610452,3,1,1,"PENDING",{"scheduler":"local","uid":"20388"}],[1795265847.2630055,4,1,1,"RUNNING",{"scheduler":"local","uid":"20388"}],[1795265847.263016,6,1,1,"EXIT",{"rc":0}]],"rc":0,"usage":{"wall":0.0057793879999508135,"cpu":0.0022689999999999997},"reason":["EXIT",{"rc":0}]}');
INSERT INTO "job" VALUES(2,'521e9cab',7,0,0,0,1,1,0.0,'','20389','','','ann','','old','','','',0,0,0,'{"line":"echo two >&2; exit 3","options":{"env":[["A","\u00e4''"]],"user":"ann","tags":["old"]}}','{"times":[1795265847.2531018,1795265847.2611694,1795265847.263861,1795265847.263886],"history":[[1795265847.2531018,2,0,1,"ACCEPTED",{}],[1795265847.2611694,3,1,1,"PENDING",{"scheduler":"local","uid":"20389"}],[1795265847.263861,4,1,1,"RUNNING",{"scheduler":"local","uid":"20389"}],[1795265847.263886,7,1,1,"EXIT",{"rc":3}]],"rc":3,"usage":{"wall":0.0027789130000428486,"cpu":0.0023929999999999997},"reason":["EXIT",{"rc":3}]}');
INSERT INTO "job" VALUES(3,'521e9cab',6,0,0,0,1,1,0.0,'','20392','','','ann','','old','','','',0,0,0,'{"argv":["sh","-c","exit 0"],"options":{"env":[["A","\u00e4''"]],"user":"ann","tags":["old"]}}','{"times":[1795265847.2531018,1795265847.262867,1795265847.2698298,1795265847.2698433],"history":[[1795265847.2531018,2,0,1,"ACCEPTED",{}],[1795265847.262867,3,1,1,"PENDING",{"scheduler":"local","uid":"20392"}],[1795265847.2698298,4,1,1,"RUNNING",{"scheduler":"local","uid":"20392"}],[1795265847.2698433,6,1,1,"EXIT",{"rc":0}]],"rc":0,"usage":{"wall":0.00691947000007076,"cpu":0.001697},"reason":["EXIT",{"rc":0}]}');
INSERT INTO "job" VALUES(4,'521e9cab',2,3,0,0,1,1,0.0,'4242-abcd','','','','','','old','','','',0,0,0,'{"argv":["echo","later"],"options":{"priority":3,"tags":["old"]}}','{"times":[1795265847.284832,null,null,null],"history":[[1795265847.284832,2,0,1,"ACCEPTED",{}]],"reason":["ACCEPTED",{}]}');
INSERT INTO "job" VALUES(5,'521e9cab',2,0,0,0,0,1,0.0,'','','','','','','old','','','',0,0,0,'{"argv":["echo","queued"],"options":{"error_strategy":"retry","retries":2,"tags":["old"]}}','{"times":[1795265847.285294,null,null,null],"history":[[1795265847.285294,2,0,1,"ACCEPTED",{}]],"reason":["ACCEPTED",{}]}');
CREATE TABLE need (
    need_group INTEGER NOT NULL,
    job        INTEGER NOT NULL,
    PRIMARY KEY (need_group, job)
) WITHOUT ROWID;
CREATE TABLE need_group (
    id      INTEGER PRIMARY KEY,
    missing INTEGER NOT NULL   -- how many of its members have not ended well yet
);
CREATE TABLE run (
    id       TEXT PRIMARY KEY,
    script   TEXT NOT NULL,
    state    TEXT NOT NULL,
    owner    TEXT NOT NULL,
    lease    REAL NOT NULL DEFAULT 0,   -- the owner is believed alive until then; 0: ask its host
    created  REAL NOT NULL,
    document TEXT NOT NULL
);
INSERT INTO "run" VALUES('521e9cab','/home/ann/sweep.py','owned','4242-abcd',0.0,1.79526584728367900843e+09,'{}');
CREATE TABLE setting (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "setting" VALUES('token','e331043f');
CREATE TABLE task_limit (
    key  TEXT PRIMARY KEY,
    most INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE worker (
    id       TEXT PRIMARY KEY,
    lease    REAL NOT NULL DEFAULT 0,
    document TEXT NOT NULL
);
CREATE INDEX job_ready ON job (run, priority DESC, tree, depth DESC, id)
    WHERE status = 2 AND owner = '' AND after = 0;
CREATE INDEX job_asleep ON job (run, after)
    WHERE status = 2 AND owner = '' AND after > 0;
CREATE INDEX job_status ON job (run, status);
CREATE INDEX need_job ON need (job);
CREATE INDEX job_waiting ON job (need_group) WHERE need_group > 0;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('job',5);
COMMIT;
