-- The audit log: a row for each event, made of what events hold in the open. Nothing here is about a person, so it stays
-- as it is when one is erased; who a customer or a token's subject is, a list finds out when it is asked for.
--
-- `actor_key` and `type_key` are 64-bit hashes that begin with the project: one index serves one filter, in the order of
-- the list, and the primary key alone begins with the project itself.
CREATE TABLE view_audit_events (
    position       bigint      NOT NULL,
    recorded_at    timestamptz NOT NULL,
    actor_key      bigint      NOT NULL,
    type_key       bigint      NOT NULL,
    stream_id      uuid        NOT NULL,
    project_no     integer     NOT NULL,
    type_no        smallint    NOT NULL,
    type_version   smallint    NOT NULL,
    actor          text        NOT NULL COLLATE "C",
    changed_fields json        NOT NULL,
    PRIMARY KEY (project_no, position)
);
CREATE INDEX view_audit_events_by_actor ON view_audit_events (actor_key, position);
CREATE INDEX view_audit_events_by_type ON view_audit_events (type_key, position);
CREATE INDEX view_audit_events_by_stream ON view_audit_events (stream_id, position);
