-- The append again, cheaper: what is known to be new is inserted without looking for a conflict, statements that have nothing
-- to do are left out, and accepted commands cost no row of the answer.
DROP FUNCTION log_append(
    boolean, uuid[], integer[], smallint[], integer[], integer[], boolean[], integer[], smallint[], bytea[], bytea[],
    integer[], integer[], smallint[], smallint[], bytea[], bytea[], integer[], uuid[], integer[],
    integer[], smallint[], bytea[], smallint[], integer[], bytea[], bytea[], integer[]
);

-- The one way into the log: judges a batch of commands and writes the accepted ones at gapless positions.
--
-- Called as its own autocommit statement. The answer has one row for each command that lost, and, unless all are lost, one
-- with command 0: the position of the first event that was written, and when. Accepted commands follow each other there in
-- their order, so their positions need no telling.
--
-- Statuses: 0 accepted, 1 version conflict, 2 stale guard, 3 claim taken, 4 stream closed, 5 replayed. Where an all-or-nothing
-- batch has a loser, nothing is written.
--
-- The caller keeps a batch free of two commands on one stream and of two takers of one claim key, and hands in no other
-- array elements than those described here:
--   c_*  one element a command; c_before: the number of events of the commands before it;
--   e_*  one element an event, in the order of commands and offsets; e_command counts from 1, e_offset from 1;
--   g_*  one element a stream that a command relied on, with the version that it saw;
--   u_*  one element a claim, best in the order of kind and key, which is that of the index; u_action: 0 release, 1 take,
--        2 take from a command of the same batch, 3 release to one (2 and 3 only with all_or_nothing: then the holder is
--        bound to release it, or all is lost);
--   i_*  one element a first answer to keep for i_seconds.
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
    c_before integer[],
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
RETURNS TABLE (command integer, status smallint, first_position bigint, recorded_at timestamptz, detail bytea, holder uuid)
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
    now_sent bytea;
    verdicts smallint[] := array_fill(0::smallint, ARRAY[cardinality(c_stream)]);
    bases    integer[] := c_before;
    loser    record;
    losers   integer := 0;
    held     integer := 0;
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
    now_sent := timestamptz_send(now_at);
    recorded_at := now_at;

    FOR loser IN
        SELECT x.command, (CASE WHEN s.flags & 1 = 1 THEN 4 ELSE 1 END)::smallint AS verdict
          FROM unnest(c_stream, c_expected) WITH ORDINALITY AS x(stream_id, expected, command)
          LEFT JOIN log_streams s ON s.stream_id = x.stream_id
         WHERE x.expected <> COALESCE(s.version, 0) OR s.flags & 1 = 1
    LOOP
        verdicts[loser.command] := loser.verdict;
        losers := losers + 1;
    END LOOP;
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
    IF 1 = ANY (u_action) THEN
        FOR loser IN
            SELECT u.command, u.kind, u.key, h.stream_id
              FROM unnest(u_command, u_kind, u_key, u_action) AS u(command, kind, key, action)
              JOIN log_claims h ON h.project_no = c_project[u.command] AND h.kind = u.kind AND h.key = u.key
             WHERE u.action = 1
        LOOP
            IF loser.stream_id = c_stream[loser.command] THEN
                held := held + 1;
            ELSIF verdicts[loser.command] = 0 THEN
                verdicts[loser.command] := 3;
                losers := losers + 1;
                command := loser.command;
                status := 3;
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
              FROM unnest(i_command, i_key) AS a(command, key)
              JOIN log_idempotency i ON i.project_no = c_project[a.command] AND i.key = a.key
             WHERE i.expires_at > now_at
        LOOP
            IF verdicts[loser.command] <> 3 THEN
                losers := losers + (verdicts[loser.command] = 0)::integer;
                verdicts[loser.command] := 5;
                command := loser.command;
                status := 5;
                first_position := loser.position;
                detail := loser.answer;
                holder := loser.stream_id;
                RETURN NEXT;
            END IF;
        END LOOP;
    END IF;
    IF losers > 0 THEN
        RETURN QUERY
        SELECT v.command::integer, v.verdict, NULL::bigint, now_at, NULL::bytea, NULL::uuid
          FROM unnest(verdicts) WITH ORDINALITY AS v(verdict, command)
         WHERE v.verdict IN (1, 2, 4);
        IF all_or_nothing OR losers = cardinality(verdicts) THEN
            RETURN;
        END IF;
        SELECT array_agg(b.base ORDER BY b.command)
          INTO bases
          FROM (SELECT v.command,
                       COALESCE(sum(CASE v.verdict WHEN 0 THEN v.events ELSE 0 END)
                           OVER (ORDER BY v.command ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::integer AS base
                  FROM unnest(verdicts, c_events) WITH ORDINALITY AS v(verdict, events, command)) b;
    END IF;

    WITH events AS (
        INSERT INTO log_events AS v
               (position, recorded_at, stream_id, version, project_no, type_no, type_version, meta, payload, digest)
        SELECT head + bases[e.command] + e.off, now_at, c_stream[e.command], c_expected[e.command] + e.off,
               c_project[e.command], e.type_no, e.type_version, e.meta, e.payload,
               sha256(int8send(head + bases[e.command] + e.off) || now_sent || uuid_send(c_stream[e.command])
                      || int4send(c_expected[e.command] + e.off) || int4send(c_project[e.command]) || int2send(e.type_no)
                      || int2send(e.type_version) || int4send(length(e.meta)) || e.meta || e.payload)
          FROM unnest(e_command, e_offset, e_type, e_type_version, e_meta, e_payload)
               AS e(command, off, type_no, type_version, meta, payload)
         WHERE losers = 0 OR verdicts[e.command] = 0
     RETURNING v.position, v.digest
    )
    INSERT INTO log_batches (last_position, first_position, digest)
    SELECT max(v.position), head + 1, sha256(previous || string_agg(v.digest, ''::bytea ORDER BY v.position))
      FROM events v;

    IF 0 = ANY (c_expected) THEN
        INSERT INTO log_streams (stream_id, project_no, kind, flags, version, last_position, state_fingerprint, key_no, key, state)
        SELECT k.stream_id, k.project_no, k.kind, k.closes::integer::smallint, k.events, head + bases[k.command] + k.events,
               k.fingerprint, CASE WHEN NOT k.closes THEN k.key_no END, CASE WHEN NOT k.closes THEN k.key END,
               CASE WHEN NOT k.closes THEN k.state END
          FROM unnest(c_stream, c_project, c_kind, c_expected, c_events, c_close, c_fingerprint, c_key_no, c_key, c_state)
               WITH ORDINALITY
               AS k(stream_id, project_no, kind, expected, events, closes, fingerprint, key_no, key, state, command)
         WHERE k.expected = 0 AND (losers = 0 OR verdicts[k.command] = 0);
    END IF;
    IF 0 < ANY (c_expected) THEN
        UPDATE log_streams s
           SET flags = k.closes::integer::smallint,
               version = k.expected + k.events,
               last_position = head + bases[k.command] + k.events,
               state_fingerprint = k.fingerprint,
               key_no = CASE WHEN NOT k.closes THEN s.key_no END,
               key = CASE WHEN NOT k.closes THEN s.key END,
               state = CASE WHEN NOT k.closes THEN k.state END
          FROM unnest(c_stream, c_expected, c_events, c_close, c_fingerprint, c_state) WITH ORDINALITY
               AS k(stream_id, expected, events, closes, fingerprint, state, command)
         WHERE k.expected > 0 AND (losers = 0 OR verdicts[k.command] = 0) AND s.stream_id = k.stream_id;
    END IF;

    IF 0 = ANY (u_action) THEN
        DELETE FROM log_claims h
         USING unnest(u_command, u_kind, u_key, u_action) AS u(command, kind, key, action)
         WHERE u.action = 0 AND (losers = 0 OR verdicts[u.command] = 0)
           AND h.project_no = c_project[u.command] AND h.kind = u.kind AND h.key = u.key AND h.stream_id = c_stream[u.command];
    END IF;
    IF 1 = ANY (u_action) THEN
        -- A claim that the stream holds already stays as it is.
        INSERT INTO log_claims (project_no, kind, key, stream_id)
        SELECT c_project[u.command], u.kind, u.key, c_stream[u.command]
          FROM unnest(u_command, u_kind, u_key, u_action) AS u(command, kind, key, action)
         WHERE u.action = 1 AND (losers = 0 OR verdicts[u.command] = 0)
           AND (held = 0 OR NOT EXISTS (
                SELECT FROM log_claims h
                 WHERE h.project_no = c_project[u.command] AND h.kind = u.kind AND h.key = u.key));
    END IF;
    IF 2 = ANY (u_action) THEN
        INSERT INTO log_claims (project_no, kind, key, stream_id)
        SELECT c_project[u.command], u.kind, u.key, c_stream[u.command]
          FROM unnest(u_command, u_kind, u_key, u_action) AS u(command, kind, key, action)
         WHERE u.action = 2
            ON CONFLICT (project_no, kind, key) DO UPDATE
           SET stream_id = EXCLUDED.stream_id;
    END IF;
    IF cardinality(i_command) > 0 THEN
        INSERT INTO log_idempotency AS i (project_no, key, stream_id, position, answer, expires_at)
        SELECT c_project[a.command], a.key, c_stream[a.command], head + bases[a.command] + 1, a.answer,
               now_at + make_interval(secs => a.seconds)
          FROM unnest(i_command, i_key, i_answer, i_seconds) AS a(command, key, answer, seconds)
         WHERE losers = 0 OR verdicts[a.command] = 0
            ON CONFLICT (project_no, key) DO UPDATE
           SET stream_id = EXCLUDED.stream_id,
               position = EXCLUDED.position,
               answer = EXCLUDED.answer,
               expires_at = EXCLUDED.expires_at;
    END IF;

    command := 0;
    status := 0;
    first_position := head + 1;
    detail := NULL;
    holder := NULL;
    RETURN NEXT;
END $$;
