-- What a connection knows of its records from one run to the next, and what a run has met of them. Marks of runs that go on while
-- this is applied are lost, so that they take nobody away.
DROP TABLE job_sync_seen;

-- The record by which a customer was found at a source last, and what it said: keyed hashes. Where a digest is, applying a record
-- with the same digest to the customer at this version changes nothing.
CREATE TABLE job_sync_known (
    stream_id     uuid    NOT NULL,
    connection_id uuid    NOT NULL,
    record        bigint  NOT NULL,
    no            bigint  NOT NULL GENERATED ALWAYS AS IDENTITY,
    version       integer NOT NULL,
    digest        uuid,
    PRIMARY KEY (stream_id, connection_id)
);
CREATE INDEX job_sync_known_by_record ON job_sync_known (record);
-- Samples would outlive those who are erased.
ALTER TABLE job_sync_known ALTER COLUMN digest SET STATISTICS 0;

-- Which numbers of `job_sync_known` an unfinished run has met: a block has 1,024 of them.
CREATE TABLE job_sync_seen (
    run_id uuid      NOT NULL,
    block  bigint    NOT NULL,
    bits   bit(1024) NOT NULL,
    PRIMARY KEY (run_id, block)
);

-- Records that it could not apply, which are there all the same.
CREATE TABLE job_sync_failed (
    run_id uuid NOT NULL,
    record uuid NOT NULL,
    PRIMARY KEY (run_id, record)
);
