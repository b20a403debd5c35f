-- Read models of links and grants. External user ids are about persons: statistics are off.

-- Connector identities and the customers that they are bound to. A customer's id never changes, so it is a copy.
-- `haystack` has the folded identity, a number's digits and the folded customer id, one a line.
CREATE TABLE view_identities (
    project_no       integer     NOT NULL,
    channel          text        NOT NULL COLLATE "C",
    external_user_id text        NOT NULL COLLATE "C",
    stream_id        uuid        NOT NULL,
    customer_user_id text        NOT NULL COLLATE "C",
    linked_by        smallint    NOT NULL,
    linked_at        timestamptz NOT NULL,
    position         bigint      NOT NULL,
    haystack         text        NOT NULL COLLATE "C",
    PRIMARY KEY (project_no, channel, external_user_id)
);
CREATE INDEX view_identities_stream ON view_identities (stream_id);
CREATE INDEX view_identities_terms ON view_identities
 USING gin (project_no, haystack public.gin_trgm_ops);
ALTER TABLE view_identities
    ALTER COLUMN external_user_id SET STATISTICS 0,
    ALTER COLUMN customer_user_id SET STATISTICS 0,
    ALTER COLUMN haystack SET STATISTICS 0;

-- Who may use which agents. The stream is the customer's, or the channel's where the identity is the wildcard `*`.
CREATE TABLE view_grants (
    project_no       integer     NOT NULL,
    channel          text        NOT NULL COLLATE "C",
    external_user_id text        NOT NULL COLLATE "C",
    stream_id        uuid        NOT NULL,
    agents           text[]      NOT NULL,
    enabled          boolean     NOT NULL,
    expires_at       timestamptz,
    granted_at       timestamptz NOT NULL,
    position         bigint      NOT NULL,
    PRIMARY KEY (project_no, channel, external_user_id)
);
CREATE INDEX view_grants_stream ON view_grants (stream_id);
ALTER TABLE view_grants ALTER COLUMN external_user_id SET STATISTICS 0;
