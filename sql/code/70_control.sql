-- Control: connections that are asked after, told to go, told to come again. What the nodes have to do they are told on the channel
-- for control, one line each:
--
--	revoke <topic id> <seq> <user id>	that message, which is on its way, will end this user's subscriptions; without a
--						user: of those who have no token
--	revoke_all <topic id> <seq>		everybody's
--	disconnect <connection>
--	reconnect <user id>			once what was revoked before this has ended
--	forget <user id>			nothing is kept about them: all of their connections end
--	report <connection>			say how it is, by tidings.report()

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

-- Asks the node that has it to report of a connection. Returns the time: a report that is newer is the answer.
create or replace function tidings.ask_report(p_connection text) returns text
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	perform tidings.notify('control', 'report ' || p_connection::uuid);
	return clock_timestamp()::text;
end
$$;

-- A node reports of connections that it has: the arrays run in parallel, and a null leaves what was.
create or replace function tidings.report(p_node text, p_connections text[], p_last_activity text[], p_states text[]) returns void
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	perform set_config('synchronous_commit', 'off', true);
	for i in 1 .. cardinality(p_connections) loop
		update connection c
			set last_activity = coalesce(p_last_activity[i]::timestamptz, c.last_activity), state = coalesce(p_states[i], c.state),
				reported_at = clock_timestamp()
			where c.id = p_connections[i]::uuid and c.node_id = p_node::uuid;
	end loop;
end
$$;

-- GET /ws/connection/{id}/health.
--
--	p_asked	what ask_report() returned, or null
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
