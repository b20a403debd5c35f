-- The journal: what agents were dispatched for whom, at a high rate and for a short life. It is no part of the ordered log.
--
-- Rows are in partitions of a day (UTC) and go with them. Whoever writes holds the one row of `log_journal_head` until the
-- commit, so `position` follows the order of commits; a roll-back leaves a gap in it. Parts about a known customer are
-- sealed under that customer's key, others under a key of the identity; what stands in the open is about no person.
-- `run_key` and `identity_key` are keyed hashes under the project's pepper.
CREATE TABLE log_journal_head (
    only_row boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row)
);
INSERT INTO log_journal_head DEFAULT VALUES;

CREATE SEQUENCE log_journal_position AS bigint;

CREATE TABLE log_journal (
    position     bigint      NOT NULL,
    recorded_at  timestamptz NOT NULL,
    project_no   integer     NOT NULL,
    customer_ref uuid,
    allowed      boolean     NOT NULL,
    run_key      bytea       NOT NULL,
    identity_key bytea       NOT NULL,
    channel      text        NOT NULL COLLATE "C",
    endpoint     text        NOT NULL COLLATE "C",
    agent_alias  text        NOT NULL COLLATE "C",
    reason       text        NOT NULL COLLATE "C",
    trust        text        NOT NULL COLLATE "C",
    sealed       bytea
) PARTITION BY RANGE (recorded_at);
ALTER TABLE log_journal ALTER COLUMN sealed SET STORAGE EXTERNAL;
CREATE INDEX log_journal_by_time ON log_journal (project_no, recorded_at, position);
CREATE INDEX log_journal_by_customer ON log_journal (customer_ref, recorded_at, position) WHERE customer_ref IS NOT NULL;
CREATE INDEX log_journal_by_identity ON log_journal (identity_key) WHERE customer_ref IS NULL;
CREATE INDEX log_journal_by_run ON log_journal (run_key, project_no);

-- Nothing of a row ever changes but that its sealed part goes, as a key does elsewhere.
CREATE FUNCTION log_journal_refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    scrubbed log_journal;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        scrubbed := OLD;
        scrubbed.sealed := NULL;
        IF NEW IS NOT DISTINCT FROM scrubbed THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the journal is append only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER log_journal_append_only
    BEFORE UPDATE OR DELETE ON log_journal
    FOR EACH ROW EXECUTE FUNCTION log_journal_refuse_change();
CREATE TRIGGER log_journal_keep
    BEFORE TRUNCATE ON log_journal
    FOR EACH STATEMENT EXECUTE FUNCTION log_refuse_change();

-- Makes the partitions from today on that are missing; how many they were. The service's role owns no table, so this and the
-- next function run as their owner. Attaching locks out no reader and no writer, which creating in place would.
CREATE FUNCTION log_journal_prepare(days_ahead integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
SET timezone = 'UTC'
AS $$
DECLARE
    today  date := clock_timestamp()::date;
    home   text := current_schema();
    part   text;
    made   integer := 0;
BEGIN
    PERFORM 1 FROM log_journal_head FOR UPDATE;
    FOR ahead IN 0 .. LEAST(days_ahead, 31) LOOP
        part := 'log_journal_' || to_char(today + ahead, 'YYYYMMDD');
        IF to_regclass(format('%I.%I', home, part)) IS NULL THEN
            EXECUTE format('CREATE TABLE %1$I.%2$I (LIKE %1$I.log_journal INCLUDING DEFAULTS INCLUDING STORAGE)', home, part);
            EXECUTE format('CREATE TRIGGER log_journal_keep BEFORE TRUNCATE ON %1$I.%2$I
                                FOR EACH STATEMENT EXECUTE FUNCTION %1$I.log_refuse_change()', home, part);
            EXECUTE format('ALTER TABLE %1$I.log_journal ATTACH PARTITION %1$I.%2$I FOR VALUES FROM (%3$L) TO (%4$L)',
                           home, part, today + ahead, today + ahead + 1);
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$;

-- Drops the partitions whose day ended more than so many days ago; how many they were.
CREATE FUNCTION log_journal_drop(days_kept integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
SET timezone = 'UTC'
SET lock_timeout = '2s'
AS $$
DECLARE
    home  text := current_schema();
    part  text;
    gone  integer := 0;
BEGIN
    IF days_kept < 1 THEN
        RAISE EXCEPTION 'a day of the journal is kept at least'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM 1 FROM log_journal_head FOR UPDATE;
    FOR part IN
        SELECT c.relname
          FROM pg_catalog.pg_inherits i
          JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = format('%I.%I', home, 'log_journal')::regclass
           AND c.relname < 'log_journal_' || to_char(clock_timestamp()::date - days_kept, 'YYYYMMDD')
    LOOP
        EXECUTE format('DROP TABLE %I.%I', home, part);
        gone := gone + 1;
    END LOOP;
    RETURN gone;
END $$;

-- Takes the sealed parts of dispatches that found nobody, by keyed hashes of the identities; how many there were.
CREATE FUNCTION log_journal_forget(project integer, identities bytea[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    gone bigint := 0;
    hits bigint;
    one  bytea;
BEGIN
    FOREACH one IN ARRAY identities LOOP
        UPDATE log_journal j
           SET sealed = NULL
         WHERE j.identity_key = one
           AND j.customer_ref IS NULL
           AND j.project_no = project
           AND j.sealed IS NOT NULL;
        GET DIAGNOSTICS hits = ROW_COUNT;
        gone := gone + hits;
    END LOOP;
    RETURN gone;
END $$;

REVOKE EXECUTE ON FUNCTION log_journal_prepare(integer), log_journal_drop(integer), log_journal_forget(integer, bytea[])
  FROM PUBLIC;

-- Writes a batch of dispatches. The answer has one row for each that was written before: that row, and its place in the
-- batch, from 1. Which is looked for in the partitions of today and of the day before, so for at least a day.
--
-- Called as its own autocommit statement. No two of a batch have one run key.
CREATE FUNCTION log_journal_append(
    j_project integer[],
    j_customer uuid[],
    j_allowed boolean[],
    j_run bytea[],
    j_identity bytea[],
    j_channel text[],
    j_endpoint text[],
    j_agent text[],
    j_reason text[],
    j_trust text[],
    j_sealed bytea[]
)
RETURNS TABLE (place integer, customer_ref uuid, identity_key bytea, allowed boolean, reason text, trust text, sealed bytea)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    now_at  timestamptz;
    since   timestamptz;
    earlier record;
    written boolean[] := array_fill(false, ARRAY[cardinality(j_run)]);
    replays integer := 0;
BEGIN
    -- Its own statement, so that the next one sees what was committed during the wait.
    PERFORM 1 FROM log_journal_head FOR UPDATE;
    now_at := clock_timestamp();
    since := date_trunc('day', now_at, 'UTC') - interval '1 day';
    FOR earlier IN
        SELECT w.place, f.customer_ref, f.identity_key, f.allowed, f.reason, f.trust, f.sealed
          FROM unnest(j_project, j_run) WITH ORDINALITY AS w(project_no, run_key, place)
         CROSS JOIN LATERAL (
               SELECT j.customer_ref, j.identity_key, j.allowed, j.reason, j.trust, j.sealed
                 FROM log_journal j
                WHERE j.run_key = w.run_key
                  AND j.project_no = w.project_no
                  AND j.recorded_at >= since
                LIMIT 1) f
    LOOP
        written[earlier.place] := true;
        replays := replays + 1;
        place := earlier.place;
        customer_ref := earlier.customer_ref;
        identity_key := earlier.identity_key;
        allowed := earlier.allowed;
        reason := earlier.reason;
        trust := earlier.trust;
        sealed := earlier.sealed;
        RETURN NEXT;
    END LOOP;
    IF replays = cardinality(j_run) THEN
        RETURN;
    END IF;
    INSERT INTO log_journal (position, recorded_at, project_no, customer_ref, allowed, run_key, identity_key, channel, endpoint,
                             agent_alias, reason, trust, sealed)
    SELECT nextval('log_journal_position'), now_at, j.project_no, j.customer_ref, j.allowed, j.run_key, j.identity_key,
           j.channel, j.endpoint, j.agent_alias, j.reason, j.trust, j.sealed
      FROM unnest(j_project, j_customer, j_allowed, j_run, j_identity, j_channel, j_endpoint, j_agent, j_reason, j_trust,
                  j_sealed) WITH ORDINALITY
           AS j(project_no, customer_ref, allowed, run_key, identity_key, channel, endpoint, agent_alias, reason, trust, sealed,
                place)
     WHERE replays = 0 OR NOT written[j.place];
END $$;

-- Identities that were seen and are nobody's. Whose they are is sealed under a key of the identity; `value_keys` are keyed hashes
-- of everything that the channel told, by which the rows of somebody who is erased are found.
CREATE TABLE log_unmatched (
    project_no    integer     NOT NULL,
    identity_key  bytea       NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    seen_count    bigint      NOT NULL,
    channel       text        NOT NULL COLLATE "C",
    sealed        bytea       NOT NULL,
    value_keys    bytea[]     NOT NULL,
    PRIMARY KEY (project_no, identity_key)
);
CREATE INDEX log_unmatched_by_time ON log_unmatched (project_no, last_seen_at, identity_key);
CREATE INDEX log_unmatched_values ON log_unmatched USING gin (value_keys);

SELECT log_journal_prepare(3);
