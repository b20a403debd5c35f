-- Pairs of identity and customer that match rules leave apart, for the look-up of identities. About persons: statistics are off.
CREATE TABLE view_blocks (
    project_no       integer NOT NULL,
    channel          text    NOT NULL COLLATE "C",
    external_user_id text    NOT NULL COLLATE "C",
    stream_id        uuid    NOT NULL,
    position         bigint  NOT NULL,
    PRIMARY KEY (project_no, channel, external_user_id, stream_id)
);
CREATE INDEX view_blocks_stream ON view_blocks (stream_id);
ALTER TABLE view_blocks ALTER COLUMN external_user_id SET STATISTICS 0;
