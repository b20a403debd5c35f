-- Every time that this log went on from a copy: a backup, or a point in time. What was erased after the copy was taken is
-- alive in it, so no server serves it before the erasure ledger was held against it.
CREATE TABLE log_restores (
    epoch       integer     NOT NULL PRIMARY KEY,
    restored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    checked_at  timestamptz,
    listed      bigint,
    erased      bigint
);
