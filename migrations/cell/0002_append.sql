-- The one way into the log: judges a batch of commands and writes the accepted ones at gapless positions.
--
-- Called as its own autocommit statement. Statuses: 0 accepted, 1 version conflict, 2 stale guard, 3 claim taken,
-- 4 stream closed, 5 replayed, 6 not written because another command of an all-or-nothing batch lost.
--
-- The caller keeps a batch free of two commands on one stream and of two takers of one claim key, and hands in no other
-- array elements than those described here:
--   c_*  one element a command;
--   e_*  one element an event, in the order of commands and offsets; e_command counts from 1, e_offset from 1;
--   g_*  one element a stream that a command relied on, with the version that it saw;
--   u_*  one element a claim; u_action: 0 release, 1 take, 2 take from a command of the same batch, 3 release to one
--        (2 and 3 only with all_or_nothing: then the holder is bound to release it, or all is lost);
--   i_*  one element a first answer to keep for i_seconds, or, where i_answer is null, to forget.
--
-- Plans are generic: the arrays are parameters, so every one counts as ten rows, and a join between two of them would be a
-- nested loop over all pairs. So none is joined with another: what belongs to a command is looked up by subscript, and only
-- arrays of fixed-width elements are subscripted.
CREATE FUNCTION log_append(
    all_or_nothing boolean,
    c_stream uuid[],
    c_project integer[],
    c_kind smallint[],
    c_expected integer[],
    c_events integer[],
    c_close boolean[],
    c_fingerprint integer[],
    c_key_no smallint[],
    c_key bytea[],
    c_state bytea[],
    e_command integer[],
    e_offset integer[],
    e_type smallint[],
    e_type_version smallint[],
    e_meta bytea[],
    e_payload bytea[],
    g_command integer[],
    g_stream uuid[],
    g_version integer[],
    u_command integer[],
    u_kind smallint[],
    u_key bytea[],
    u_action smallint[],
    i_command integer[],
    i_key bytea[],
    i_answer bytea[],
    i_seconds integer[]
)
RETURNS TABLE (command integer, status smallint, version integer, first_position bigint, recorded_at timestamptz,
               detail bytea, holder uuid)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
-- The plan of an empty table must fit a large one: keys are looked up by index, whatever the planner thinks of the size.
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    head     bigint;
    previous bytea;
    now_at   timestamptz;
    verdicts smallint[];
    currents integer[];
    bases    bigint[];
    loser    record;
    losers   integer := 0;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'log_append needs read committed, not %', current_setting('transaction_isolation');
    END IF;
    -- Its own statement: a lock inside the next one would read a head from before the wait.
    PERFORM 1 FROM log_head FOR UPDATE;
    SELECT b.last_position, b.digest INTO head, previous FROM log_batches b ORDER BY b.last_position DESC LIMIT 1;
    head := COALESCE(head, 0);
    previous := COALESCE(previous, '\x'::bytea);
    now_at := clock_timestamp();
    recorded_at := now_at;

    SELECT array_agg(j.verdict ORDER BY j.command), array_agg(j.current ORDER BY j.command),
           count(*) FILTER (WHERE j.verdict <> 0)
      INTO verdicts, currents, losers
      FROM (SELECT x.command, COALESCE(s.version, 0) AS current,
                   (CASE WHEN s.flags & 1 = 1 THEN 4 WHEN x.expected <> COALESCE(s.version, 0) THEN 1 ELSE 0 END)::smallint AS verdict
              FROM unnest(c_stream, c_expected) WITH ORDINALITY AS x(stream_id, expected, command)
              LEFT JOIN log_streams s ON s.stream_id = x.stream_id) j;
    IF cardinality(g_command) > 0 THEN
        FOR loser IN
            SELECT g.command
              FROM unnest(g_command, g_stream, g_version) AS g(command, stream_id, version)
              LEFT JOIN log_streams s ON s.stream_id = g.stream_id
             WHERE COALESCE(s.version, 0) <> g.version
        LOOP
            IF verdicts[loser.command] = 0 THEN
                verdicts[loser.command] := 2;
                losers := losers + 1;
            END IF;
        END LOOP;
    END IF;
    IF cardinality(u_command) > 0 THEN
        FOR loser IN
            SELECT u.command, u.kind, u.key, h.stream_id
              FROM unnest(u_command, u_kind, u_key, u_action) AS u(command, kind, key, action)
              JOIN log_claims h ON h.project_no = c_project[u.command] AND h.kind = u.kind AND h.key = u.key
             WHERE u.action = 1 AND h.stream_id <> c_stream[u.command]
             ORDER BY u.command, u.kind, u.key
        LOOP
            IF verdicts[loser.command] = 0 THEN
                verdicts[loser.command] := 3;
                losers := losers + 1;
                command := loser.command;
                status := 3;
                version := currents[loser.command];
                first_position := NULL;
                detail := int2send(loser.kind) || loser.key;
                holder := loser.stream_id;
                RETURN NEXT;
            END IF;
        END LOOP;
    END IF;
    IF cardinality(i_command) > 0 THEN
        FOR loser IN
            SELECT a.command, i.stream_id, i.position, i.answer
              FROM unnest(i_command, i_key, i_answer) AS a(command, key, answer)
              JOIN log_idempotency i ON i.project_no = c_project[a.command] AND i.key = a.key
             WHERE a.answer IS NOT NULL AND i.expires_at > now_at
        LOOP
            IF verdicts[loser.command] <> 3 THEN
                losers := losers + (verdicts[loser.command] = 0)::integer;
                verdicts[loser.command] := 5;
                command := loser.command;
                status := 5;
                version := currents[loser.command];
                first_position := loser.position;
                detail := loser.answer;
                holder := loser.stream_id;
                RETURN NEXT;
            END IF;
        END LOOP;
    END IF;
    IF all_or_nothing AND losers > 0 THEN
        RETURN QUERY
        SELECT v.command::integer, (CASE v.verdict WHEN 0 THEN 6 ELSE v.verdict END)::smallint, currents[v.command],
               NULL::bigint, now_at, NULL::bytea, NULL::uuid
          FROM unnest(verdicts) WITH ORDINALITY AS v(verdict, command)
         WHERE v.verdict NOT IN (3, 5);
        RETURN;
    END IF;

    SELECT array_agg(b.base ORDER BY b.command)
      INTO bases
      FROM (SELECT v.command,
                   head + COALESCE(sum(CASE v.verdict WHEN 0 THEN v.events ELSE 0 END)
                        OVER (ORDER BY v.command ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint AS base
              FROM unnest(verdicts, c_events) WITH ORDINALITY AS v(verdict, events, command)) b;

    WITH events AS MATERIALIZED (
        SELECT bases[e.command] + e.off AS position, c_stream[e.command] AS stream_id, currents[e.command] + e.off AS version,
               c_project[e.command] AS project_no, e.type_no, e.type_version, e.meta, e.payload,
               sha256(int8send(bases[e.command] + e.off) || timestamptz_send(now_at) || uuid_send(c_stream[e.command])
                      || int4send(currents[e.command] + e.off) || int4send(c_project[e.command]) || int2send(e.type_no)
                      || int2send(e.type_version) || int4send(length(e.meta)) || e.meta || e.payload) AS digest
          FROM unnest(e_command, e_offset, e_type, e_type_version, e_meta, e_payload)
               AS e(command, off, type_no, type_version, meta, payload)
         WHERE verdicts[e.command] = 0
    ), insert_events AS (
        INSERT INTO log_events (position, recorded_at, stream_id, version, project_no, type_no, type_version, meta, payload, digest)
        SELECT v.position, now_at, v.stream_id, v.version, v.project_no, v.type_no, v.type_version, v.meta, v.payload, v.digest
          FROM events v
    ), insert_batch AS (
        INSERT INTO log_batches (last_position, first_position, digest)
        SELECT max(v.position), head + 1, sha256(previous || string_agg(v.digest, ''::bytea ORDER BY v.position))
          FROM events v
        HAVING count(*) > 0
    ), write_streams AS (
        INSERT INTO log_streams AS s (stream_id, project_no, kind, flags, version, last_position, state_fingerprint, key_no, key, state)
        SELECT k.stream_id, k.project_no, k.kind, k.closes::integer::smallint, currents[k.command] + k.events,
               bases[k.command] + k.events, k.fingerprint,
               CASE WHEN NOT k.closes THEN k.key_no END, CASE WHEN NOT k.closes THEN k.key END,
               CASE WHEN NOT k.closes THEN k.state END
          FROM unnest(c_stream, c_project, c_kind, c_events, c_close, c_fingerprint, c_key_no, c_key, c_state) WITH ORDINALITY
               AS k(stream_id, project_no, kind, events, closes, fingerprint, key_no, key, state, command)
         WHERE verdicts[k.command] = 0
            ON CONFLICT (stream_id) DO UPDATE
           SET flags = EXCLUDED.flags,
               version = EXCLUDED.version,
               last_position = EXCLUDED.last_position,
               state_fingerprint = EXCLUDED.state_fingerprint,
               key_no = CASE WHEN EXCLUDED.flags & 1 = 1 THEN NULL ELSE s.key_no END,
               key = CASE WHEN EXCLUDED.flags & 1 = 1 THEN NULL ELSE s.key END,
               state = EXCLUDED.state
    ), take_claims AS (
        -- A claim that the stream holds already stays as it is.
        INSERT INTO log_claims (project_no, kind, key, stream_id)
        SELECT c_project[u.command], u.kind, u.key, c_stream[u.command]
          FROM unnest(u_command, u_kind, u_key, u_action) AS u(command, kind, key, action)
         WHERE u.action IN (1, 2) AND verdicts[u.command] = 0
            ON CONFLICT (project_no, kind, key) DO UPDATE
           SET stream_id = EXCLUDED.stream_id
         WHERE log_claims.stream_id <> EXCLUDED.stream_id
    ), release_claims AS (
        DELETE FROM log_claims h
         USING unnest(u_command, u_kind, u_key, u_action) AS u(command, kind, key, action)
         WHERE u.action = 0 AND verdicts[u.command] = 0
           AND h.project_no = c_project[u.command] AND h.kind = u.kind AND h.key = u.key AND h.stream_id = c_stream[u.command]
    ), store_answers AS (
        INSERT INTO log_idempotency AS i (project_no, key, stream_id, position, answer, expires_at)
        SELECT c_project[a.command], a.key, c_stream[a.command], bases[a.command] + 1, a.answer,
               now_at + make_interval(secs => a.seconds)
          FROM unnest(i_command, i_key, i_answer, i_seconds) AS a(command, key, answer, seconds)
         WHERE a.answer IS NOT NULL AND verdicts[a.command] = 0
            ON CONFLICT (project_no, key) DO UPDATE
           SET stream_id = EXCLUDED.stream_id,
               position = EXCLUDED.position,
               answer = EXCLUDED.answer,
               expires_at = EXCLUDED.expires_at
    ), forget_answers AS (
        DELETE FROM log_idempotency i
         USING unnest(i_command, i_key, i_answer) AS a(command, key, answer)
         WHERE a.answer IS NULL AND verdicts[a.command] = 0 AND i.project_no = c_project[a.command] AND i.key = a.key
    )
    SELECT 0 INTO losers;

    RETURN QUERY
    SELECT v.command::integer, v.verdict,
           CASE v.verdict WHEN 0 THEN currents[v.command] + v.events ELSE currents[v.command] END,
           CASE v.verdict WHEN 0 THEN bases[v.command] + 1 END, now_at, NULL::bytea, NULL::uuid
      FROM unnest(verdicts, c_events) WITH ORDINALITY AS v(verdict, events, command)
     WHERE v.verdict NOT IN (3, 5);
END $$;
