-- Which life of the log this is. A restore of the database ends one and begins the next: positions after the restored head
-- are given a second time, so whoever names a position outside (anchors, the bus) names the epoch too.
CREATE TABLE log_epoch (
    only_row   boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch      integer     NOT NULL CHECK (epoch > 0),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO log_epoch (epoch) VALUES (1);
