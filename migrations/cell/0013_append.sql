-- The append once more: what is written is the judge. A batch is written as if nobody could lose, under the conditions by which
-- somebody would; only where one of them does not hold it is taken back, judged command by command, and written again.
DROP FUNCTION log_append(
    boolean, uuid[], integer[], smallint[], integer[], integer[], integer[], boolean[], integer[], smallint[], bytea[], bytea[],
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
--   g_*  one element a stream that commands relied on, with the version that they saw;
--   r_*  one element a command that relied on one of these; r_guard counts them from 1;
--   u_*  one element a claim, best in the order of kind and key, which is that of the index; u_action: 0 release, 1 take,
--        2 take from a command of the same batch, 3 release to one (2 and 3 only with all_or_nothing: then the holder is
--        bound to release it, or all is lost);
--   i_*  one element a first answer to keep for i_seconds.
--
-- Plans are generic: the arrays are parameters, so every one counts as ten rows, and a join between two of them would be a
-- nested loop over all pairs. So none is joined with another: what belongs to a command is looked up by subscript, and only
-- arrays of fixed-width elements are subscripted. Arrays are unnested beside each other in a SELECT list, which hands rows on
-- one by one; in FROM each would be stored before the first row.
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
    g_stream uuid[],
    g_version integer[],
    r_command integer[],
    r_guard integer[],
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
    -- Whether commands are judged before anything is written: somebody lost, or may have.
    judging  boolean;
    verdicts smallint[];
    loser    record;
    losers   integer := 0;
    updated  integer;
BEGIN
    -- Its own statement: a lock inside the next one would read a head from before the wait.
    PERFORM 1 FROM log_head WHERE current_setting('transaction_isolation') = 'read committed' FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'log_append needs read committed, not %', current_setting('transaction_isolation');
    END IF;
    -- What is written does not tell whether a guard is stale or an answer is known.
    SELECT b.last_position, b.digest,
           cardinality(i_command) > 0 OR EXISTS (
                SELECT
                  FROM (SELECT unnest(g_stream) AS stream_id, unnest(g_version) AS version) g
                  LEFT JOIN log_streams s ON s.stream_id = g.stream_id
                 WHERE COALESCE(s.version, 0) <> g.version)
      INTO head, previous, judging
      FROM log_batches b
     ORDER BY b.last_position DESC
     LIMIT 1;
    IF head IS NULL THEN
        head := 0;
        previous := '\x';
        judging := true;
    END IF;
    now_at := clock_timestamp();
    now_sent := timestamptz_send(now_at);
    recorded_at := now_at;

    LOOP
        IF judging THEN
            verdicts := array_fill(0::smallint, ARRAY[cardinality(c_stream)]);
            FOR loser IN
                SELECT x.command, (CASE WHEN s.flags & 1 = 1 THEN 4 ELSE 1 END)::smallint AS verdict
                  FROM (SELECT unnest(c_stream) AS stream_id, unnest(c_expected) AS expected,
                               generate_subscripts(c_stream, 1) AS command) x
                  LEFT JOIN log_streams s ON s.stream_id = x.stream_id
                 WHERE x.expected <> COALESCE(s.version, 0) OR s.flags & 1 = 1
            LOOP
                verdicts[loser.command] := loser.verdict;
                losers := losers + 1;
            END LOOP;
            FOR loser IN
                SELECT r.command
                  FROM (SELECT unnest(r_command) AS command, unnest(r_guard) AS guard) r
                  LEFT JOIN log_streams s ON s.stream_id = g_stream[r.guard]
                 WHERE COALESCE(s.version, 0) <> g_version[r.guard]
            LOOP
                IF verdicts[loser.command] = 0 THEN
                    verdicts[loser.command] := 2;
                    losers := losers + 1;
                END IF;
            END LOOP;
            FOR loser IN
                SELECT u.number, u.command, u.kind, u.key, h.stream_id
                  FROM (SELECT unnest(u_command) AS command, unnest(u_kind) AS kind, unnest(u_key) AS key,
                               unnest(u_action) AS action, generate_subscripts(u_key, 1) AS number) u
                  JOIN log_claims h ON h.project_no = c_project[u.command] AND h.kind = u.kind AND h.key = u.key
                 WHERE u.action = 1
            LOOP
                IF loser.stream_id = c_stream[loser.command] THEN
                    -- A claim that the stream holds already stays as it is.
                    u_action[loser.number] := 3;
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
            FOR loser IN
                SELECT a.command, i.stream_id, i.position, i.answer
                  FROM (SELECT unnest(i_command) AS command, unnest(i_key) AS key) a
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
            IF losers > 0 THEN
                RETURN QUERY
                SELECT v.command::integer, v.verdict, NULL::bigint, now_at, NULL::bytea, NULL::uuid
                  FROM unnest(verdicts) WITH ORDINALITY AS v(verdict, command)
                 WHERE v.verdict IN (1, 2, 4);
                IF all_or_nothing OR losers = cardinality(verdicts) THEN
                    RETURN;
                END IF;
                -- A loser expects no version, and nothing of it is written.
                SELECT array_agg(w.expected ORDER BY w.command), array_agg(w.before ORDER BY w.command)
                  INTO c_expected, c_before
                  FROM (SELECT v.command,
                               CASE v.verdict WHEN 0 THEN v.expected END AS expected,
                               COALESCE(sum(CASE v.verdict WHEN 0 THEN v.events ELSE 0 END)
                                   OVER (ORDER BY v.command ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::integer AS before
                          FROM unnest(verdicts, c_expected, c_events) WITH ORDINALITY AS v(verdict, expected, events, command)) w;
            END IF;
        END IF;

        -- First what may not hold, so that little is taken back.
        BEGIN
            IF 0 < ANY (c_expected) THEN
                UPDATE log_streams s
                   SET flags = k.closes::integer::smallint,
                       version = k.expected + k.events,
                       last_position = head + k.before + k.events,
                       state_fingerprint = k.fingerprint,
                       key_no = CASE WHEN NOT k.closes THEN s.key_no END,
                       key = CASE WHEN NOT k.closes THEN s.key END,
                       state = CASE WHEN NOT k.closes THEN k.state END
                  FROM (SELECT unnest(c_stream) AS stream_id, unnest(c_expected) AS expected, unnest(c_events) AS events,
                               unnest(c_before) AS before, unnest(c_close) AS closes, unnest(c_fingerprint) AS fingerprint,
                               unnest(c_state) AS state) k
                 WHERE k.expected > 0 AND s.stream_id = k.stream_id AND s.version = k.expected AND s.flags & 1 = 0;
                GET DIAGNOSTICS updated = ROW_COUNT;
                IF NOT judging AND updated <> cardinality(c_expected) - cardinality(array_positions(c_expected, 0)) THEN
                    RAISE serialization_failure;
                END IF;
            END IF;
            IF 0 = ANY (u_action) THEN
                DELETE FROM log_claims h
                 USING (SELECT unnest(u_command) AS command, unnest(u_kind) AS kind, unnest(u_key) AS key,
                               unnest(u_action) AS action) u
                 WHERE u.action = 0 AND c_expected[u.command] IS NOT NULL AND h.project_no = c_project[u.command]
                   AND h.kind = u.kind AND h.key = u.key AND h.stream_id = c_stream[u.command];
            END IF;
            IF 0 = ANY (c_expected) OR 1 = ANY (u_action) THEN
                WITH streams AS (
                    INSERT INTO log_streams
                           (stream_id, project_no, kind, flags, version, last_position, state_fingerprint, key_no, key, state)
                    SELECT k.stream_id, k.project_no, k.kind, k.closes::integer::smallint, k.events, head + k.before + k.events,
                           k.fingerprint, CASE WHEN NOT k.closes THEN k.key_no END, CASE WHEN NOT k.closes THEN k.key END,
                           CASE WHEN NOT k.closes THEN k.state END
                      FROM (SELECT unnest(c_stream) AS stream_id, unnest(c_project) AS project_no, unnest(c_kind) AS kind,
                                   unnest(c_expected) AS expected, unnest(c_events) AS events, unnest(c_before) AS before,
                                   unnest(c_close) AS closes, unnest(c_fingerprint) AS fingerprint,
                                   unnest(c_key_no) AS key_no, unnest(c_key) AS key, unnest(c_state) AS state) k
                     WHERE k.expected = 0
                )
                INSERT INTO log_claims (project_no, kind, key, stream_id)
                SELECT c_project[u.command], u.kind, u.key, c_stream[u.command]
                  FROM (SELECT unnest(u_command) AS command, unnest(u_kind) AS kind, unnest(u_key) AS key,
                               unnest(u_action) AS action) u
                 WHERE u.action = 1 AND c_expected[u.command] IS NOT NULL;
            END IF;
            IF 2 = ANY (u_action) THEN
                INSERT INTO log_claims (project_no, kind, key, stream_id)
                SELECT c_project[u.command], u.kind, u.key, c_stream[u.command]
                  FROM (SELECT unnest(u_command) AS command, unnest(u_kind) AS kind, unnest(u_key) AS key,
                               unnest(u_action) AS action) u
                 WHERE u.action = 2
                    ON CONFLICT (project_no, kind, key) DO UPDATE
                   SET stream_id = EXCLUDED.stream_id;
            END IF;
            WITH events AS (
                INSERT INTO log_events AS v
                       (position, recorded_at, stream_id, version, project_no, type_no, type_version, meta, payload, digest)
                SELECT head + c_before[e.command] + e.off, now_at, c_stream[e.command], c_expected[e.command] + e.off,
                       c_project[e.command], e.type_no, e.type_version, e.meta, e.payload,
                       sha256(int8send(head + c_before[e.command] + e.off) || now_sent || uuid_send(c_stream[e.command])
                              || int4send(c_expected[e.command] + e.off) || int4send(c_project[e.command])
                              || int2send(e.type_no) || int2send(e.type_version) || int4send(length(e.meta)) || e.meta
                              || e.payload)
                  FROM (SELECT unnest(e_command) AS command, unnest(e_offset) AS off, unnest(e_type) AS type_no,
                               unnest(e_type_version) AS type_version, unnest(e_meta) AS meta,
                               unnest(e_payload) AS payload) e
                 WHERE c_expected[e.command] IS NOT NULL
             RETURNING v.position, v.digest
            )
            INSERT INTO log_batches (last_position, first_position, digest)
            SELECT max(v.position), head + 1, sha256(previous || string_agg(v.digest, ''::bytea ORDER BY v.position))
              FROM events v;
            EXIT;
        EXCEPTION WHEN unique_violation OR serialization_failure THEN
            -- Who was judged cannot fail by a condition that was looked at.
            IF judging THEN
                RAISE;
            END IF;
            judging := true;
        END;
    END LOOP;

    IF cardinality(i_command) > 0 THEN
        INSERT INTO log_idempotency AS i (project_no, key, stream_id, position, answer, expires_at)
        SELECT c_project[a.command], a.key, c_stream[a.command], head + c_before[a.command] + 1, a.answer,
               now_at + make_interval(secs => a.seconds)
          FROM (SELECT unnest(i_command) AS command, unnest(i_key) AS key, unnest(i_answer) AS answer,
                       unnest(i_seconds) AS seconds) a
         WHERE c_expected[a.command] IS NOT NULL
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
