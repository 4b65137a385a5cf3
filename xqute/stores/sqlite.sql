-- The statements of SqliteStore. "-- name: a sentence" begins one, and {name} stands for it below.

-- row: The columns of a Row, in its order.
id, run, status, priority, start, attempt, after, owner, uid, call, document,
tree, depth, digest, need_group, parent

-- ready: Jobs of a run that may be claimed.
run = :run AND status = 2 AND owner = '' AND after = 0

-- plain: Those of them that share nothing with others.
{ready} AND limit_key || resources = ''

-- sharing: The others.
{ready} AND limit_key || resources <> ''

-- rank: What says which of them is better, the less the better, after the kind of what it shares.
limit_key, limit_most, resources, -priority, tree, -depth, id

-- ours: The run is nobody else's.
NOT EXISTS (SELECT 1 FROM run WHERE run.id = :run AND run.owner NOT IN ('', :owner))

-- counts_still: Nobody has taken the job's run over from who writes, if that matters to it.
(:owner = '' OR (SELECT owner FROM run WHERE run.id = job.run) IN ('', :owner) IS NOT FALSE)

-- match: What a query may ask of a job.
(:run IS NULL OR run = :run)
    AND (:statuses = '' OR instr(:statuses, ',' || status || ','))
    AND (:user IS NULL OR user = :user)
    AND (:tag IS NULL OR instr(char(10) || tags || char(10), char(10) || :tag || char(10)))
    AND (:task IS NULL OR task = :task)
    AND (NOT :top OR parent = 0)
    AND (:archived IS NULL OR archived = :archived)

-- begin: Take the lock of writers now, so that nothing can change between reading and writing.
BEGIN IMMEDIATE

-- commit: Make it durable.
COMMIT

-- accept: Keep a new job.
INSERT INTO job (
    run, status, priority, call, document, user, tags, title, task, name, digest, depth,
    limit_key, limit_most, resources, tree, need_group, parent
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- accept_alone: Keep a new job that is a tree of its own, named after the id it gets here.
INSERT INTO job (
    run, status, priority, call, document, user, tags, title, task, name, digest, depth,
    limit_key, limit_most, resources, tree
)
VALUES (
    ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
    1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'job'), 0)
)

-- newest: The highest id given so far.
SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'job'

-- newer: Whether there is a younger build of a named call.
SELECT 1 FROM job WHERE name = ? AND name <> '' AND id > ? LIMIT 1

-- need: Keep a member of a group.
INSERT INTO need (need_group, place, job) VALUES (?, ?, ?)

-- version: The schema of the file.
PRAGMA user_version

-- needs: The members of a group.
SELECT job FROM need WHERE need_group = ? ORDER BY place

-- wake: Put jobs whose time has come among those that may run, some at a time.
UPDATE job SET after = 0
WHERE id IN (
    SELECT id FROM job
    WHERE run = :run AND status = 2 AND owner = '' AND after > 0 AND after <= :now
    LIMIT :count
)

-- claim: Take the best jobs that may run and share nothing; the order of what it returns is not defined.
-- Who chooses takes none so where there are others, too: those may go first.
UPDATE job SET owner = :owner, start = start + 1
WHERE id IN (
    SELECT id FROM job
    WHERE {plain}
        AND {ours}
        AND NOT (:choosing AND EXISTS (SELECT 1 FROM job INDEXED BY job_sharing WHERE {sharing}))
    ORDER BY priority DESC, tree, depth DESC, id
    LIMIT :count
)
RETURNING {row}

-- shares: Whether jobs that share something may run, of a run that is nobody else's.
SELECT 1 FROM job INDEXED BY job_sharing
WHERE {sharing}
    AND {ours}
LIMIT 1

-- next_resources: The first kind behind another with the same limit, and its best job.
SELECT {rank} FROM job
WHERE {sharing}
    AND limit_key = :key AND limit_most = :most AND resources > :resources
ORDER BY limit_key, limit_most, resources, priority DESC, tree, depth DESC, id
LIMIT 1

-- next_most: The same, with another number for the same limit.
SELECT {rank} FROM job
WHERE {sharing}
    AND limit_key = :key AND limit_most > :most
ORDER BY limit_key, limit_most, resources, priority DESC, tree, depth DESC, id
LIMIT 1

-- next_key: The same, with another limit.
SELECT {rank} FROM job
WHERE {sharing}
    AND limit_key > :key
ORDER BY limit_key, limit_most, resources, priority DESC, tree, depth DESC, id
LIMIT 1

-- plain_queue: The jobs that may run and share nothing, best first.
SELECT -priority, tree, -depth, id FROM job
WHERE {plain}
ORDER BY priority DESC, tree, depth DESC, id

-- queue: Those of one kind that share something, but for the best.
SELECT -priority, tree, -depth, id FROM job
WHERE {sharing}
    AND limit_key = :key AND limit_most = :most AND resources = :resources
ORDER BY priority DESC, tree, depth DESC, id
LIMIT -1 OFFSET 1

-- claim_one: Take a job that was chosen.
UPDATE job SET owner = :owner, start = start + 1 WHERE id = :id RETURNING {row}

-- claimed: How many jobs of a key are claimed.
SELECT limit_key, count(*) FROM job WHERE limit_key <> '' AND owner <> '' GROUP BY limit_key

-- limits: The store's numbers.
SELECT key, most FROM task_limit

-- set_limit: Keep one.
INSERT INTO task_limit (key, most) VALUES (:key, :most) ON CONFLICT (key) DO UPDATE SET most = excluded.most

-- drop_limit: Forget one.
DELETE FROM task_limit WHERE key = :key

-- release: Give back a claim that was never handed over.
UPDATE job SET owner = '', start = start - 1
WHERE id = ? AND owner = ? AND status = 2

-- record: Keep what has become of one start of a job.
UPDATE job
SET status = :status, attempt = :attempt, uid = :uid, document = :document, after = :after,
    owner = iif(:held, owner, ''), archived = :archived
WHERE id = :id AND start = :start
    AND {counts_still}

-- share: Keep what the next start of a job shares, when it is another than before; as `record`.
UPDATE job SET limit_key = :key, limit_most = :most, resources = :resources
WHERE id = :id AND start = :start
    AND {counts_still}

-- fence: What says whether a record counts.
SELECT start, (SELECT owner FROM run WHERE run.id = job.run) FROM job WHERE id = ?

-- get: One job.
SELECT {row} FROM job WHERE id = ?

-- page: Jobs that match, reading from the oldest on.
SELECT {row} FROM job
WHERE id > :beyond
    AND {match}
ORDER BY id
LIMIT :limit

-- page_of_status: Jobs of one run and status that match, however many others there are.
SELECT {row} FROM job
WHERE run = :run AND status = :status AND id > :beyond
    AND {match}
ORDER BY id
LIMIT :limit

-- page_of_name: Builds of one named call that match, however many other jobs there are.
SELECT {row} FROM job
WHERE name = :name AND name <> '' AND id > :beyond
    AND {match}
ORDER BY id
LIMIT :limit

-- page_newest: Jobs that match, reading from the newest on.
SELECT {row} FROM job
WHERE (:beyond = 0 OR id < :beyond)
    AND {match}
ORDER BY id DESC
LIMIT :limit

-- page_newest_of_name: Builds of one named call that match, reading from the newest on.
SELECT {row} FROM job
WHERE name = :name AND name <> '' AND (:beyond = 0 OR id < :beyond)
    AND {match}
ORDER BY id DESC
LIMIT :limit

-- counts: How many jobs of a run are in each status.
SELECT status, count(*) FROM job WHERE run = ? GROUP BY status

-- own: Keep a run, new or changed, unless somebody else owns it by now.
INSERT INTO run (id, script, state, owner, created, document, lease)
VALUES (:id, :script, :state, :owner, :created, :document, :lease)
ON CONFLICT (id) DO UPDATE SET
    script = excluded.script, state = excluded.state, owner = excluded.owner,
    created = excluded.created, document = excluded.document, lease = excluded.lease
WHERE run.owner = :was

-- inherit: Give the claims of a run's jobs to its new owner.
UPDATE job SET owner = :owner WHERE run = :id AND owner <> ''

-- runs: Runs, newest first.
SELECT id, script, state, owner, created, document, lease FROM run
WHERE :script IS NULL OR script = :script
ORDER BY created DESC, rowid DESC

-- forget: Forget a run without jobs, unless somebody else owns it by now.
DELETE FROM run WHERE id = :id AND owner = :owner AND NOT EXISTS (SELECT 1 FROM job WHERE job.run = :id)

-- delete: Forget a job that has ended.
DELETE FROM job WHERE id = ? AND status >= 6

-- changed: A number that changes when another connection has written.
PRAGMA data_version

-- ask: Leave a request for the owner of a run.
INSERT INTO request (run, job, what, detail) VALUES (?, ?, ?, ?)

-- asked: Take the requests for a run.
DELETE FROM request WHERE run = ? RETURNING id, job, what, detail

-- setting: A setting of the whole store.
SELECT value FROM setting WHERE key = ?

-- keep_setting: Keep a setting.
INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value
