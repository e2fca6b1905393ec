-- Control: connections that are asked after, told to go, told to come again. What the nodes have to do they are told on the channel
-- for control, one line each:
--
--	revoke <topic id> <seq> <user id>	that message, which is on its way, will end this user's subscriptions; without a
--						user: of those who have no token
--	revoke_all <topic id> <seq>		everybody's
--	disconnect <connection>
--	reconnect <user id>			once what was revoked before this has ended
--	forget <user id>			nothing is kept about them: all of their connections end
--	report <connection> …			say how they are, by tidings.report()
--	report_slow				the same, of those that are given less than there is
--	rosters <topic id>,…			who is on these topics has changed: tidings.ring_rosters()
--	drain <node>				take no new clients, and ask those that are there to come again elsewhere

-- 'ok' when this user may manage that connection, 'forbidden', or 'not_found' when no node that lives has it.
create or replace function tidings.connection_verdict(p_user text, p_role text, p_connection text) returns text
language plpgsql stable as $$
declare
	v_owner text;
begin
	if p_connection !~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$' then
		return 'not_found';
	end if;
	select c.user_id into v_owner from connection c join node n on n.id = c.node_id
		where c.id = p_connection::uuid and n.heartbeat_at > clock_timestamp() - interval '15 seconds' limit 1;
	return case when not found then 'not_found' when p_role = 'admin' or v_owner = p_user then 'ok' else 'forbidden' end;
end
$$;

-- Tells the node that has it to close a connection. It is gone when connection_health() finds it no more.
create or replace function tidings.disconnect(p_user text, p_role text, p_connection text) returns text
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_outcome text := connection_verdict(p_user, p_role, p_connection);
begin
	if v_outcome = 'ok' then
		perform tidings.notify('control', 'disconnect ' || p_connection::uuid);
	end if;
	return v_outcome;
end
$$;

-- Tells all of a user's connections to come again, and how many are known: also where none is, for what is written down of them may be
-- on its way.
create or replace function tidings.reconnect_user(p_user text, p_role text, p_target text, out outcome text, out connections int8)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	if not (p_role = 'admin' or coalesce(p_user = p_target, false)) or octet_length(p_target) > 128 then
		outcome := 'forbidden';
		return;
	end if;
	outcome := 'ok';
	connections := (
		select count(distinct c.id) from connection c join node n on n.id = c.node_id
		where c.user_id = p_target and n.heartbeat_at > clock_timestamp() - interval '15 seconds');
	perform tidings.notify('control', 'reconnect ' || p_target);
end
$$;

-- Asks the nodes to report of connections, at most 100, that they have. Returns the time: a report that is newer is the answer.
create or replace function tidings.ask_reports(p_connections text[]) returns text
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	perform tidings.notify('control', 'report ' || array_to_string(p_connections::uuid[], ' '));
	return clock_timestamp()::text;
end
$$;

-- The same of those that lag, or that something waits for: of each node so many as it can tell at once.
create or replace function tidings.ask_slow() returns text
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	perform tidings.notify('control', 'report_slow');
	return clock_timestamp()::text;
end
$$;

-- A node reports of connections that it has, of none too: the arrays run in parallel, and a null leaves what was.
create or replace function tidings.report(p_node text, p_connections text[], p_last_activity text[], p_states text[],
	p_lags int8[] default null, p_waiting_bytes int8[] default null) returns void
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	perform set_config('synchronous_commit', 'off', true);
	for i in 1 .. cardinality(p_connections) loop
		update connection c
			set last_activity = coalesce(p_last_activity[i]::timestamptz, c.last_activity), state = coalesce(p_states[i], c.state),
				lag = coalesce(p_lags[i], c.lag), waiting_bytes = coalesce(p_waiting_bytes[i], c.waiting_bytes), reported_at = clock_timestamp()
			where c.id = p_connections[i]::uuid and c.node_id = p_node::uuid;
	end loop;
	update node set reported_at = clock_timestamp() where id = p_node::uuid;
end
$$;

-- GET /ws/connection/{id}/health.
--
--	p_asked	what ask_reports() returned, or null
--	fresh	it was reported since then
create or replace function tidings.connection_health(p_user text, p_role text, p_connection text, p_asked text default null,
	out outcome text, out health json, out fresh boolean)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_connection connection%rowtype;
	v_state text;
begin
	outcome := connection_verdict(p_user, p_role, p_connection);
	if outcome <> 'ok' then
		return;
	end if;
	-- All its rows say the same, but for one that was written after the report.
	select * into v_connection from connection c where c.id = p_connection::uuid order by c.reported_at desc nulls last limit 1;
	if not found then
		outcome := 'not_found'; -- the connection has gone since connection_verdict()
		return;
	end if;
	v_state := coalesce(v_connection.state, case when v_connection.user_id is null then 'connected' else 'authenticated' end);
	fresh := coalesce(v_connection.reported_at >= p_asked::timestamptz, false);
	health := json_build_object('connection_id', v_connection.id, 'health', json_build_object(
		'state', v_state,
		'user_id', user_json(v_connection.user_id),
		'connected_at', stamp(v_connection.connected_at),
		'last_activity', stamp(coalesce(v_connection.last_activity, v_connection.connected_at)),
		'retry_count', 0,	-- of ours: a client that comes again is another connection
		'recovery_attempts', 0,
		'subscriptions', (
			select coalesce(json_agg(case t.name
					when 'health/' || v_connection.user_id then 'health_updates'
					when 'chats/' || v_connection.user_id then 'chat'
					when 'notifications/' || v_connection.user_id then 'notifications' else t.name end order by t.name), '[]')
			from connection c join topic t on t.id = c.topic_id where c.id = v_connection.id),
		'is_healthy', v_state not in ('error', 'disconnected'),
		'transport', v_connection.transport,
		'node', v_connection.node_id));
end
$$;

-- Tells a node that lives to drain, where p_order says so, and how far it is.
--
--	outcome		ok | forbidden | not_found
--	draining	it has begun
--	connections	that it still has
create or replace function tidings.drain(p_role text, p_node text, p_order boolean, out outcome text, out draining boolean, out connections int8)
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	outcome := 'ok';
	if p_role <> 'admin' then
		outcome := 'forbidden';
		return;
	end if;
	select n.draining, n.connections into draining, connections from node n
		where n.id::text = p_node and n.heartbeat_at > clock_timestamp() - interval '15 seconds';
	if not found then
		outcome := 'not_found';
	elsif p_order then
		perform tidings.notify('control', 'drain ' || p_node);
	end if;
end
$$;

-- Tells those who watch tidings/operations, if there are any, how things are: for the page /admin. Each node calls this with its
-- heartbeat; the one that has been there longest does it.
create or replace function tidings.tell_operations(p_node text) returns void
language plpgsql security definer set search_path = tidings, pg_temp as $$
declare
	v_topic text := 'tidings/operations';
	v_none text[] := array[null];
	v_state record;
begin
	if not exists (select from presence p where p.topic_id = (select t.id from topic t where t.name = v_topic))
		or p_node is distinct from (
			select n.id::text from node n where n.heartbeat_at > clock_timestamp() - interval '15 seconds' order by n.started_at, n.id limit 1)
	then
		return;
	end if;
	select * into v_state from outbox_state();
	-- At most 7,500 bytes: that is what an ephemeral message has.
	perform append(array[v_topic], array[message_text('operations', v_topic, null, 'data', (
		with live as (
			select * from node where heartbeat_at > clock_timestamp() - interval '15 seconds'
		), connected as (
			select c.id, c.node_id, min(c.user_id) as user_id, min(c.transport) as transport from connection c join live n on n.id = c.node_id
			group by c.id, c.node_id
		)
		select json_build_object(
			'connections', count(*), 'users', count(distinct c.user_id),
			'websocket', count(*) filter (where c.transport = 'websocket'), 'sse', count(*) filter (where c.transport = 'sse'),
			'long_poll', count(*) filter (where c.transport = 'long_poll'),
			'outbox', json_build_object('messages', v_state.messages, 'oldest_s', round(v_state.oldest_s), 'failed', v_state.failed),
			'nodes', (
				select coalesce(json_agg(json_build_object('id', n.id, 'started_at', stamp(n.started_at),
					'connections', (select count(*) from connected k where k.node_id = n.id),
					'draining', n.draining) order by n.started_at, n.id), '[]')
				from (select * from live order by started_at, id limit 40) n),
			'nodes_count', (select count(*) from live))
		from connected c))], array[1]::int8[], v_none, v_none, v_none, v_none::int8[], v_none, v_none, 1::int8 << 60, 0);
end
$$;
