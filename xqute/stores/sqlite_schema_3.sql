-- Trees. A group of needs has the number of the first job that named it, which is never given again.
DROP TABLE need_group;

-- Who needs whom is followed in memory; a call numbers what it needs by the places in its group.
DROP TABLE need;

CREATE TABLE need (
    need_group INTEGER NOT NULL,
    place      INTEGER NOT NULL,
    job        INTEGER NOT NULL,
    PRIMARY KEY (need_group, place)
) WITHOUT ROWID;

-- A group goes with the last job that names it.
CREATE TRIGGER job_forgotten AFTER DELETE ON job WHEN old.need_group > 0
BEGIN
    DELETE FROM need
    WHERE need_group = old.need_group
        AND NOT EXISTS (SELECT 1 FROM job WHERE need_group > 0 AND need_group = old.need_group);
END;

-- The builds of a named call, whatever else there is.
CREATE INDEX job_name ON job (name, id) WHERE name <> '';

-- Limits and resources. What shares nothing has the queue for itself: it is claimed in one statement.
ALTER TABLE job ADD COLUMN limit_most INTEGER NOT NULL DEFAULT 0;

DROP INDEX job_ready;

CREATE INDEX job_ready ON job (run, priority DESC, tree, depth DESC, id)
    WHERE status = 2 AND owner = '' AND after = 0 AND limit_key || resources = '';

-- What shares something has a queue for each kind: what holds the first of it holds all of it.
CREATE INDEX job_sharing
    ON job (run, limit_key, limit_most, resources, priority DESC, tree, depth DESC, id)
    WHERE status = 2 AND owner = '' AND after = 0 AND limit_key || resources <> '';

CREATE INDEX job_limited ON job (limit_key) WHERE limit_key <> '' AND owner <> '';
