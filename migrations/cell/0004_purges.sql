-- Purges: what became of whom, and how far each is.

-- What was sought is sealed in `job_chunks` until the purge ends; who asked is in the sealed state of the stream.
CREATE TABLE view_purges (
    purge_id         uuid        NOT NULL PRIMARY KEY,
    project_no       integer     NOT NULL,
    status           text        NOT NULL,
    filter           json,
    is_sought        boolean     NOT NULL,
    principal        text        NOT NULL,
    matched          bigint      NOT NULL,
    total            bigint      NOT NULL,
    deleted          bigint      NOT NULL,
    not_found        bigint      NOT NULL,
    failed           bigint      NOT NULL,
    progress_pct     smallint    NOT NULL,
    cancel_requested boolean     NOT NULL,
    created_at       timestamptz NOT NULL,
    started_at       timestamptz,
    finished_at      timestamptz,
    position         bigint      NOT NULL
);
CREATE INDEX view_purges_by_time ON view_purges (project_no, created_at, purge_id);

-- Who could not be erased. `detail` is sealed under the key of the customer it is about, else the purge's.
CREATE TABLE view_purge_failures (
    purge_id uuid    NOT NULL,
    position bigint  NOT NULL,
    ordinal  integer NOT NULL,
    about    uuid,
    reason   text    NOT NULL,
    detail   bytea   NOT NULL,
    PRIMARY KEY (purge_id, position, ordinal)
);
ALTER TABLE view_purge_failures ALTER COLUMN detail SET STORAGE EXTERNAL;
