-- Connections to outside sources, their runs, and what a walk through a source has seen.

-- Customers and records that an unfinished run found at its source: streams, and keyed hashes of record ids.
CREATE TABLE job_sync_seen (
    run_id uuid NOT NULL,
    key    uuid NOT NULL,
    record uuid NOT NULL,
    PRIMARY KEY (run_id, key)
);

-- Everything sealed about a connection is read from its stream.
CREATE TABLE view_connections (
    connection_id uuid        NOT NULL PRIMARY KEY,
    project_no    integer     NOT NULL,
    name          text        NOT NULL COLLATE "C",
    name_folded   text        NOT NULL COLLATE "C",
    provider      text        NOT NULL COLLATE "C",
    created_at    timestamptz NOT NULL,
    position      bigint      NOT NULL
);
CREATE INDEX view_connections_by_name ON view_connections (project_no, name_folded, connection_id);

-- Places, cursors and messages are sealed in the run's stream.
CREATE TABLE view_sync_runs (
    run_id            uuid        NOT NULL PRIMARY KEY,
    project_no        integer     NOT NULL,
    connection_id     uuid        NOT NULL,
    trigger           text        NOT NULL,
    is_full           boolean     NOT NULL,
    dry_run           boolean     NOT NULL,
    status            text        NOT NULL,
    code              text,
    pages             bigint      NOT NULL,
    created           bigint      NOT NULL,
    updated           bigint      NOT NULL,
    unchanged         bigint      NOT NULL,
    skipped           bigint      NOT NULL,
    failed            bigint      NOT NULL,
    warnings          bigint      NOT NULL,
    removed_at_source bigint      NOT NULL,
    disabled          bigint      NOT NULL,
    deleted           bigint      NOT NULL,
    held_back         bigint      NOT NULL,
    is_walked         boolean     NOT NULL,
    cancel_requested  boolean     NOT NULL,
    retry_at          timestamptz,
    created_at        timestamptz NOT NULL,
    started_at        timestamptz,
    finished_at       timestamptz,
    position          bigint      NOT NULL
);
CREATE INDEX view_sync_runs_by_time ON view_sync_runs (project_no, created_at, run_id);
CREATE INDEX view_sync_runs_by_connection ON view_sync_runs (connection_id, created_at, run_id);

-- By the source's id of its record, among the rows of syncs.
CREATE INDEX view_customers_by_record ON view_customers (bucket, source_external_id) WHERE source_kind = 3;
