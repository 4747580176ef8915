-- One root's engine. Wide columns stand last, so that a listing never reads them.
CREATE TABLE IF NOT EXISTS jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  token TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  state TEXT NOT NULL,
  native_state TEXT NOT NULL,
  cause TEXT NOT NULL DEFAULT '',        -- one of spi.Cause
  reason TEXT NOT NULL DEFAULT '',
  attempt INTEGER NOT NULL DEFAULT 1,
  retries INTEGER NOT NULL DEFAULT 0,
  preempted INTEGER NOT NULL DEFAULT 0,  -- the attempt whose place was asked back, 0 if none
  preemptions INTEGER NOT NULL DEFAULT 0, -- how many attempts ended that way: they use no retry
  cpus REAL NOT NULL,
  memory_gib REAL NOT NULL,
  gpus INTEGER NOT NULL DEFAULT 0,
  devices TEXT NOT NULL DEFAULT '[]',    -- the GPUs that it has now, by index
  passed INTEGER NOT NULL DEFAULT 0,     -- how many younger jobs started while it waited
  created REAL NOT NULL,                 -- seconds since 1970, UTC, as all times here
  started REAL,
  ended REAL,
  cancelled REAL,                        -- when the end was asked for
  supervisor TEXT,                       -- who looks after it: pid:ticks:boot
  runners TEXT NOT NULL DEFAULT '[]',    -- its runners' identities, by rank
  metrics INTEGER NOT NULL DEFAULT 0,    -- how many metrics it left
  exported TEXT,                         -- the tracking run that it became
  labels TEXT NOT NULL DEFAULT '{}',
  plan_digest TEXT NOT NULL,
  usage TEXT NOT NULL DEFAULT '{}',      -- of the attempts that have ended
  result TEXT,
  request TEXT NOT NULL,                 -- the plan's body with nothing left open
  plan TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, seq);
CREATE INDEX IF NOT EXISTS jobs_by_name ON jobs (name, seq);
CREATE INDEX IF NOT EXISTS jobs_to_export ON jobs (seq) WHERE exported IS NULL AND ended IS NOT NULL;
CREATE TABLE IF NOT EXISTS job_labels (
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  seq INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
  PRIMARY KEY (key, value, seq)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS job_labels_by_job ON job_labels (seq);
CREATE TABLE IF NOT EXISTS supervisors (identity TEXT PRIMARY KEY) WITHOUT ROWID;
