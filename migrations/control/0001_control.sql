-- The control schema: which cells there are, which project lives in which cell, who may call, and the check value of the
-- key-encryption key. It never holds a personal value.

CREATE TABLE cells (
    name       text        NOT NULL PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE projects (
    project_no      integer     NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id      text        NOT NULL COLLATE "C",
    org_id          text        NOT NULL COLLATE "C",
    project_id      text        NOT NULL COLLATE "C",
    cell            text        NOT NULL REFERENCES cells,
    schema_stream   uuid        NOT NULL UNIQUE,
    pepper_key_no   smallint    NOT NULL,
    pepper          bytea       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (account_id, org_id, project_id)
);

-- The secret is stored as SHA-256 only. `org_id` and `project_id` narrow the key; null is every one of the account.
CREATE TABLE api_keys (
    key_id      text        NOT NULL PRIMARY KEY,
    name        text        NOT NULL,
    secret_hash bytea       NOT NULL,
    account_id  text        NOT NULL,
    org_id      text,
    project_id  text,
    scopes      text[]      NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz,
    revoked_at  timestamptz
);

-- A known value sealed under each key-encryption key: a server with the wrong key refuses to start.
CREATE TABLE key_checks (
    key_no     smallint    NOT NULL PRIMARY KEY,
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
