-- The log of one cell. Only roster-store writes these tables; nothing here is ever rebuilt.

-- One row, locked by every append and never updated, so that a long snapshot elsewhere cannot bloat it.
CREATE TABLE log_head (
    only_row boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row)
);
INSERT INTO log_head DEFAULT VALUES;

CREATE TABLE log_events (
    position     bigint      NOT NULL PRIMARY KEY,
    recorded_at  timestamptz NOT NULL,
    stream_id    uuid        NOT NULL,
    version      integer     NOT NULL,
    project_no   integer     NOT NULL,
    type_no      smallint    NOT NULL,
    type_version smallint    NOT NULL,
    meta         bytea       NOT NULL,
    payload      bytea       NOT NULL,
    digest       bytea       NOT NULL,
    UNIQUE (stream_id, version)
);
ALTER TABLE log_events ALTER COLUMN payload SET STORAGE EXTERNAL;
ALTER TABLE log_events ALTER COLUMN meta SET STORAGE EXTERNAL;

CREATE TABLE log_batches (
    last_position  bigint NOT NULL PRIMARY KEY,
    first_position bigint NOT NULL,
    digest         bytea  NOT NULL
);

CREATE TABLE log_streams (
    stream_id         uuid     NOT NULL PRIMARY KEY,
    project_no        integer  NOT NULL,
    kind              smallint NOT NULL,
    flags             smallint NOT NULL DEFAULT 0,
    version           integer  NOT NULL,
    last_position     bigint   NOT NULL,
    state_fingerprint integer  NOT NULL,
    key_no            smallint,
    key               bytea,
    state             bytea
) WITH (fillfactor = 85);
ALTER TABLE log_streams ALTER COLUMN state SET STORAGE EXTERNAL;
ALTER TABLE log_streams ALTER COLUMN key SET STORAGE PLAIN;

CREATE TABLE log_claims (
    project_no integer  NOT NULL,
    kind       smallint NOT NULL,
    key        bytea    NOT NULL,
    stream_id  uuid     NOT NULL,
    PRIMARY KEY (project_no, kind, key)
);
ALTER TABLE log_claims ALTER COLUMN key SET STORAGE PLAIN;

-- First answers of job-starting and create-like requests, sealed, for as long as a resend may come.
CREATE TABLE log_idempotency (
    project_no integer     NOT NULL,
    key        bytea       NOT NULL,
    stream_id  uuid        NOT NULL,
    position   bigint      NOT NULL,
    answer     bytea       NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (project_no, key)
);
CREATE INDEX log_idempotency_expiry ON log_idempotency (expires_at);

-- Where each projection stands, and which runner owns it.
CREATE TABLE log_checkpoints (
    name        text        NOT NULL PRIMARY KEY,
    version     integer     NOT NULL,
    position    bigint      NOT NULL DEFAULT 0,
    epoch       bigint      NOT NULL DEFAULT 0,
    owner       text,
    leased_till timestamptz NOT NULL DEFAULT 'epoch',
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- Every stored event shape that ever wrote here, with the fingerprint of its golden bytes.
CREATE TABLE log_types (
    type_no      smallint NOT NULL,
    type_version smallint NOT NULL,
    name         text     NOT NULL,
    fingerprint  text     NOT NULL,
    PRIMARY KEY (type_no, type_version),
    UNIQUE (name, type_version)
);

-- Bodies of unfinished jobs, compressed and sealed under the key of the job's stream.
CREATE TABLE job_chunks (
    job_id     uuid    NOT NULL,
    chunk_no   integer NOT NULL,
    text_start bigint  NOT NULL,
    sealed     bytea   NOT NULL,
    PRIMARY KEY (job_id, chunk_no)
);
ALTER TABLE job_chunks ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- Leases of jobs: who works on which, until when.
CREATE TABLE job_leases (
    job_id      uuid        NOT NULL PRIMARY KEY,
    project_no  integer     NOT NULL,
    kind        smallint    NOT NULL,
    owner       text        NOT NULL,
    epoch       bigint      NOT NULL,
    leased_till timestamptz NOT NULL
);

CREATE FUNCTION log_refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER log_events_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON log_events
    FOR EACH STATEMENT EXECUTE FUNCTION log_refuse_change();

CREATE TRIGGER log_batches_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON log_batches
    FOR EACH STATEMENT EXECUTE FUNCTION log_refuse_change();
