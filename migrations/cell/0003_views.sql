-- Read models. They hold nothing that the log does not hold, and may be rebuilt from it at any time.
--
-- Every row carries the log position that it stands for. Texts that order lists compare by bytes. Columns about persons
-- have statistics off, because `pg_stats` keeps samples; no plan may depend on them.

-- Moves a checkpoint in the transaction that writes the rows; false where the lease went to another runner.
-- The commit need not wait for the disk: rows and checkpoint fall back together, and the log is there.
CREATE FUNCTION log_advance_checkpoint(
    projection    text,
    lease_epoch   bigint,
    from_position bigint,
    to_position   bigint,
    seconds       double precision
)
RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE log_checkpoints c
       SET position = to_position,
           leased_till = clock_timestamp() + make_interval(secs => seconds),
           updated_at = clock_timestamp()
     WHERE c.name = projection
       AND c.epoch = lease_epoch
       AND c.position = from_position;
    RETURN FOUND;
END $$;

-- Streams that a projection leaves out because one of their events failed, until they are folded anew.
CREATE TABLE view_parked (
    projection text        NOT NULL,
    stream_id  uuid        NOT NULL,
    project_no integer     NOT NULL,
    position   bigint      NOT NULL,
    error_code text        NOT NULL,
    parked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    retry      boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (projection, stream_id)
);

-- `bucket` stands for project, data source and switch: one 8-byte prefix serves every filter in every order.
--
-- Here and in the search table the primary key alone begins with the project. On an empty table every index looks equally
-- good, and a plan that is kept from then must still be right when the table is large.
CREATE TABLE view_customers (
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    bucket             bigint      NOT NULL,
    position           bigint      NOT NULL,
    stream_id          uuid        NOT NULL,
    project_no         integer     NOT NULL,
    version            integer     NOT NULL,
    source_kind        smallint    NOT NULL,
    enabled            boolean     NOT NULL,
    customer_user_id   text        NOT NULL COLLATE "C",
    display_name       text        NOT NULL,
    profile            json        NOT NULL,
    connector_enabled  jsonb       NOT NULL,
    source_provider    text        NOT NULL,
    source_connection  text        NOT NULL,
    source_external_id text,
    source_synced_at   timestamptz,
    PRIMARY KEY (project_no, customer_user_id)
);
CREATE UNIQUE INDEX view_customers_stream ON view_customers (stream_id);
CREATE INDEX view_customers_by_id ON view_customers (bucket, customer_user_id);
CREATE INDEX view_customers_by_created ON view_customers (bucket, created_at, customer_user_id);
CREATE INDEX view_customers_by_updated ON view_customers (bucket, updated_at, customer_user_id);
ALTER TABLE view_customers
    ALTER COLUMN customer_user_id SET STATISTICS 0,
    ALTER COLUMN display_name SET STATISTICS 0,
    ALTER COLUMN profile SET STATISTICS 0,
    ALTER COLUMN source_external_id SET STATISTICS 0;

-- How many customers came from where. An unset provider or connection is the empty text.
CREATE TABLE view_data_sources (
    project_no        integer     NOT NULL,
    source_kind       smallint    NOT NULL,
    source_provider   text        NOT NULL COLLATE "C",
    source_connection text        NOT NULL COLLATE "C",
    count             bigint      NOT NULL,
    enabled_count     bigint      NOT NULL,
    last_upserted_at  timestamptz NOT NULL,
    position          bigint      NOT NULL,
    PRIMARY KEY (project_no, source_kind, source_provider, source_connection)
) WITH (fillfactor = 50);

-- Every profile field name that a project ever used.
CREATE TABLE view_profile_fields (
    project_no integer NOT NULL,
    name       text    NOT NULL COLLATE "C",
    PRIMARY KEY (project_no, name)
);

-- What a search looks at. `haystack` holds the folded id and profile values, one a line; `id_start` and `name_start` the
-- project as 8 hexadecimal digits and the first two folded characters; `exact` 64-bit hashes of field and canonical value.
-- Bucket and times are copies, so that a filtered or ordered search needs no look-up; a change of them alone leaves the indexes untouched.
CREATE TABLE view_customer_search (
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    bucket           bigint      NOT NULL,
    position         bigint      NOT NULL,
    stream_id        uuid        NOT NULL,
    project_no       integer     NOT NULL,
    customer_user_id text        NOT NULL COLLATE "C",
    id_start         text        NOT NULL COLLATE "C",
    name_start       text        NOT NULL COLLATE "C",
    exact            bigint[]    NOT NULL,
    haystack         text        NOT NULL COLLATE "C",
    PRIMARY KEY (project_no, customer_user_id)
) WITH (fillfactor = 90);
CREATE UNIQUE INDEX view_customer_search_stream ON view_customer_search (stream_id);
CREATE INDEX view_customer_search_by_id ON view_customer_search (id_start, customer_user_id);
CREATE INDEX view_customer_search_by_name ON view_customer_search (name_start, customer_user_id);
CREATE INDEX view_customer_search_terms ON view_customer_search
 USING gin (project_no, bucket, haystack public.gin_trgm_ops, exact);
ALTER TABLE view_customer_search
    ALTER COLUMN customer_user_id SET STATISTICS 0,
    ALTER COLUMN id_start SET STATISTICS 0,
    ALTER COLUMN name_start SET STATISTICS 0,
    ALTER COLUMN exact SET STATISTICS 0,
    ALTER COLUMN haystack SET STATISTICS 0;

-- The schema in effect of each project that wrote one.
CREATE TABLE view_schemas (
    project_no integer     NOT NULL PRIMARY KEY,
    stream_id  uuid        NOT NULL,
    version    integer     NOT NULL,
    definition json        NOT NULL,
    updated_at timestamptz NOT NULL,
    position   bigint      NOT NULL
);

-- Checks of stored values for a schema that is to take effect. `duplicates` names customers by their opaque reference.
CREATE TABLE view_preparations (
    preparation_id uuid        NOT NULL PRIMARY KEY,
    project_no     integer     NOT NULL,
    status         text        NOT NULL,
    fields         text[]      NOT NULL,
    checked        bigint      NOT NULL,
    total          bigint      NOT NULL,
    progress_pct   smallint    NOT NULL,
    duplicates     jsonb       NOT NULL,
    created_at     timestamptz NOT NULL,
    finished_at    timestamptz,
    position       bigint      NOT NULL
);

CREATE TABLE view_imports (
    import_id        uuid        NOT NULL PRIMARY KEY,
    project_no       integer     NOT NULL,
    status           text        NOT NULL,
    reason           text,
    provider         text        NOT NULL,
    dry_run          boolean     NOT NULL,
    header           text[]      NOT NULL,
    rows_read        bigint      NOT NULL,
    created          bigint      NOT NULL,
    updated          bigint      NOT NULL,
    unchanged        bigint      NOT NULL,
    skipped          bigint      NOT NULL,
    failed           bigint      NOT NULL,
    warnings         bigint      NOT NULL,
    next_offset      bigint      NOT NULL,
    staged_bytes     bigint      NOT NULL,
    progress_pct     smallint    NOT NULL,
    cancel_requested boolean     NOT NULL,
    expired          boolean     NOT NULL,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    finished_at      timestamptz,
    position         bigint      NOT NULL
);
CREATE INDEX view_imports_by_time ON view_imports (project_no, created_at, import_id);

-- What went wrong with which row. `detail` is sealed under the key of the customer it is about, else the import's.
CREATE TABLE view_import_issues (
    import_id uuid    NOT NULL,
    position  bigint  NOT NULL,
    ordinal   integer NOT NULL,
    row_no    bigint  NOT NULL,
    failed    boolean NOT NULL,
    field     text,
    code      text    NOT NULL,
    message   text    NOT NULL,
    about     uuid,
    detail    bytea   NOT NULL,
    PRIMARY KEY (import_id, failed, position, ordinal)
);
ALTER TABLE view_import_issues ALTER COLUMN detail SET STORAGE EXTERNAL;

-- Ids that imports and syncs skip. The id itself is only in the sealed state of the stream.
CREATE TABLE view_suppressions (
    project_no integer     NOT NULL,
    stream_id  uuid        NOT NULL,
    created_at timestamptz NOT NULL,
    position   bigint      NOT NULL,
    PRIMARY KEY (project_no, stream_id)
);
