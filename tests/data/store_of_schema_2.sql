-- A store as the second schema's xqute left it: a dump of a real run whose manager died, with a request to it.
PRAGMA user_version = 2;
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
INSERT INTO "job" VALUES(1,'d48209b5',6,0,0,0,1,1,0.0,'','1456','','','ann','','old','','','',0,0,0,'{"argv":["echo","one"],"options":{"env":[["A","\u00e4''"]],"user":"ann","tags":["old"]}}','{"times":[1795276994.826687,1795276994.8323994,1795276994.834431,1795276994.834471],"history":[[1795276994.826687,2,0,1,"ACCEPTED",{}],[1795276994.8323994,3,1,1,"PENDING",{"scheduler":"local","uid":"1456"}],[1795276994.834431,4,1,1,"RUNNING",{"scheduler":"local","uid":"1456"}],[1795276994.834471,6,1,1,"EXIT",{"rc":0}]],"rc":0,"usage":{"wall":0.004553812999802176,"cpu":0.0029749999999999998},"reason":["EXIT",{"rc":0}]}');
INSERT INTO "job" VALUES(2,'d48209b5',7,0,0,0,1,1,0.0,'','1457','','','ann','','old','','','',0,0,0,'{"line":"echo two >&2; exit 3","options":{"env":[["A","\u00e4''"]],"user":"ann","tags":["old"]}}','{"times":[1795276994.826687,1795276994.8326292,1795276994.8345368,1795276994.834563],"history":[[1795276994.826687,2,0,1,"ACCEPTED",{}],[1795276994.8326292,3,1,1,"PENDING",{"scheduler":"local","uid":"1457"}],[1795276994.8345368,4,1,1,"RUNNING",{"scheduler":"local","uid":"1457"}],[1795276994.834563,7,1,1,"EXIT",{"rc":3}]],"rc":3,"usage":{"wall":0.0031661390003137058,"cpu":0.0032909999999999997},"reason":["EXIT",{"rc":3}]}');
INSERT INTO "job" VALUES(3,'d48209b5',6,0,0,0,1,1,0.0,'','1460','','','ann','','old','','','',0,0,0,'{"argv":["sh","-c","exit 0"],"options":{"env":[["A","\u00e4''"]],"user":"ann","tags":["old"]}}','{"times":[1795276994.826687,1795276994.8328152,1795276994.8365443,1795276994.8365896],"history":[[1795276994.826687,2,0,1,"ACCEPTED",{}],[1795276994.8328152,3,1,1,"PENDING",{"scheduler":"local","uid":"1460"}],[1795276994.8365443,4,1,1,"RUNNING",{"scheduler":"local","uid":"1460"}],[1795276994.8365896,6,1,1,"EXIT",{"rc":0}]],"rc":0,"usage":{"wall":0.004018357998575084,"cpu":0.00251},"reason":["EXIT",{"rc":0}]}');
INSERT INTO "job" VALUES(4,'d48209b5',2,3,0,0,1,1,0.0,'4242-abcd','','','','','','old','','','',0,0,0,'{"argv":["echo","later"],"options":{"priority":3,"tags":["old"]}}','{"times":[1795276994.8435524,null,null,null],"history":[[1795276994.8435524,2,0,1,"ACCEPTED",{}]],"reason":["ACCEPTED",{}]}');
INSERT INTO "job" VALUES(5,'d48209b5',2,0,0,0,0,1,0.0,'','','','','','','old','','','',0,0,0,'{"argv":["echo","queued"],"options":{"error_strategy":"retry","retries":2,"tags":["old"]}}','{"times":[1795276994.8440166,null,null,null],"history":[[1795276994.8440166,2,0,1,"ACCEPTED",{}]],"reason":["ACCEPTED",{}]}');
INSERT INTO "job" VALUES(6,'d48209b5',2,0,0,0,0,1,1900000000.0,'','','','','','','old','','','',0,0,0,'{"argv":["echo","asleep"],"options":{"tags":["old"]}}','{"times":[1795276994.8441465,null,null,null],"history":[[1795276994.8441465,2,0,1,"ACCEPTED",{}]],"reason":["ACCEPTED",{}]}');
CREATE TABLE need (
    need_group INTEGER NOT NULL,
    job        INTEGER NOT NULL,
    PRIMARY KEY (need_group, job)
) WITHOUT ROWID;
CREATE TABLE need_group (
    id      INTEGER PRIMARY KEY,
    missing INTEGER NOT NULL   -- how many of its members have not ended well yet
);
CREATE TABLE request (
    id     INTEGER PRIMARY KEY,
    run    TEXT    NOT NULL,
    job    INTEGER NOT NULL,
    what   TEXT    NOT NULL,
    detail TEXT    NOT NULL
);
INSERT INTO "request" VALUES(1,'d48209b5',4,'kill','{"grace": 1}');
CREATE TABLE run (
    id       TEXT PRIMARY KEY,
    script   TEXT NOT NULL,
    state    TEXT NOT NULL,
    owner    TEXT NOT NULL,
    lease    REAL NOT NULL DEFAULT 0,   -- the owner is believed alive until then; 0: ask its host
    created  REAL NOT NULL,
    document TEXT NOT NULL
);
INSERT INTO "run" VALUES('d48209b5','/home/ann/sweep.py','owned','4242-abcd',1.79527705484282970429e+09,1.79527699482651519773e+09,'{}');
CREATE TABLE setting (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "setting" VALUES('token','2b5fd200');
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
CREATE INDEX request_run ON request (run);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('job',6);
COMMIT;
