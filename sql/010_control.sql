-- Control: rights that are withdrawn, connections that are asked after, told to go, told to come again. What the nodes have to do
-- they are told on the channel tidings_control, one line each:
--
--	revoke <topic id> <seq> <user id>	that message, which is on its way, will end this user's subscriptions
--	disconnect <connection>
--	reconnect <user id>			once what was revoked before this has ended
--	report <connection>			say how it is, by tidings.report()

set local role tidings_owner;

-- Ends the subscriptions of users to topics, the arrays running in parallel: with a message for each, in this transaction, so that it
-- has a seq and nothing that comes after it is theirs. Returns the seqs.
create function tidings.revoke_each(p_users text[], p_topics text[]) returns int8[]
language plpgsql as $$
declare
	v_count int := cardinality(p_topics);
	v_none text[] := array_fill(null::text, array[v_count]);
	v_seqs int8[];
	v_ids int8[];
begin
	-- Nothing is trimmed here: the limits are known to whoever publishes next.
	select a.seqs into v_seqs from append(p_topics,
		array(select message_text('revoked', p_topics[i], null, 'data', '{}') from generate_series(1, v_count) as i),
		array_fill(0::int8, array[v_count]), p_users, v_none, v_none, v_none::int8[], v_none, v_none, 1::int8 << 60, 0) a;
	v_ids := array(select (select t.id from topic t where t.name = p_topics[i]) from generate_series(1, v_count) as i);
	update message set revocation = true, sent = true where ctid = any (array(
		select m.ctid from unnest(v_ids, v_seqs) as i(topic_id, seq), lateral (
			select o.ctid from message o where o.topic_id = i.topic_id and o.seq = i.seq offset 0) m));
	for i in 1 .. v_count loop
		continue when octet_length(p_users[i]) > 128; -- nobody's token says that, and a notification has its limits
		perform pg_notify('tidings_control', concat_ws(' ', 'revoke', v_ids[i], v_seqs[i], p_users[i]));
	end loop;
	return v_seqs;
end
$$;

-- The same for one: for an operator whose authorize() asks tables of their own. Returns the seq.
create function tidings.revoke(p_user text, p_topic text) returns int8
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	if p_user is null or p_topic is null or p_topic !~ '^[A-Za-z0-9_.:/-]{1,128}$' then
		raise exception 'tidings: not a user and the name of a topic' using errcode = 'invalid_parameter_value';
	end if;
	return (revoke_each(array[p_user], array[p_topic]))[1];
end
$$;

-- After rows that gave a right are gone or others: whoever may not subscribe by any other right is put out. The arguments say who,
-- and what, in terms of such a row.
create function tidings.right_withdrawn() returns trigger
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_users text[];
	v_topics text[];
begin
	if tg_table_name = 'participant' then
		-- Whoever is sending is done first; whoever comes later is refused.
		perform from conversation c where c.id in (select g.conversation_id from gone g) order by c.id for no key update;
	end if;
	execute format('select array_agg(w.u), array_agg(w.t) from (select distinct %1$s, %2$s from gone %3$s) as w(u, t) '
			'where w.t ~ ''^[A-Za-z0-9_.:/-]{1,128}$'' and not authorize(w.u, ''user'', w.t, ''subscribe'') and not authorize(w.u, ''clinician'', w.t, ''subscribe'')',
			tg_argv[0], tg_argv[1],
			case when tg_op = 'UPDATE' then format('except select %1$s, %2$s from fresh', tg_argv[0], tg_argv[1]) end)
		into v_users, v_topics;
	if v_users is not null then
		perform revoke_each(v_users, v_topics);
	end if;
	return null;
end
$$;

-- After accounts are gone or not active any more: their users are put out of all that is theirs, is granted to them, or that they
-- listen to now; and have to come again.
create function tidings.account_withdrawn() returns trigger
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_gone text[];
	v_users text[];
	v_topics text[];
begin
	if tg_op = 'DELETE' then
		v_gone := array(select g.id from gone g where g.active);
	else
		v_gone := array(select g.id from gone g where g.active except select f.id from fresh f where f.active);
	end if;
	select array_agg(w.u), array_agg(w.t) into v_users, v_topics from (
		select u, t.name from unnest(v_gone) as u, lateral (values ('health/' || u), ('notifications/' || u), ('chats/' || u)) as t(name)
			where addressable(u)
		union select u, r.topic from unnest(v_gone) as u cross join lateral ( -- "offset 0": looked up by their indexes, user by user
			(select 'diagnosis/' || d.id from diagnosis d where d.owner = u offset 0)
			union all (select 'diagnosis/' || g.diagnosis_id from diagnosis_grant g where g.user_id = u offset 0)
			union all (select 'health/' || g.user_id from health_grant g where g.clinician_id = u and addressable(g.user_id) offset 0)
			union all (select 'chat/' || p.conversation_id from participant p where p.user_id = u offset 0)
			union all (select (select t.name from topic t where t.id = c.topic_id)
				from connection c where c.user_id = u and c.topic_id <> 0 offset 0)) as r(topic)
		where r.topic is not null
	) as w(u, t);
	if v_users is not null then
		perform revoke_each(v_users, v_topics);
	end if;
	perform pg_notify('tidings_control', 'reconnect ' || u) from unnest(v_gone) as u where octet_length(u) <= 128;
	return null;
end
$$;

-- A table that an operator has replaced by a view has no triggers: there they call tidings.revoke().
do $do$
declare
	v_right text[];
begin
	foreach v_right slice 1 in array array[
		['diagnosis', 'owner', '''diagnosis/'' || id'],
		['diagnosis_grant', 'user_id', '''diagnosis/'' || diagnosis_id'],
		['health_grant', 'clinician_id', '''health/'' || user_id'],
		['participant', 'user_id', '''chat/'' || conversation_id']]
	loop
		if (select relkind in ('r', 'p') from pg_class where oid = ('tidings.' || v_right[1])::regclass) then
			execute format('create trigger withdrawn_by_delete after delete on tidings.%I referencing old table as gone '
				'for each statement execute function tidings.right_withdrawn(%L, %L)', v_right[1], v_right[2], v_right[3]);
			execute format('create trigger withdrawn_by_update after update on tidings.%I referencing old table as gone new table as fresh '
				'for each statement execute function tidings.right_withdrawn(%L, %L)', v_right[1], v_right[2], v_right[3]);
			if v_right[1] in ('diagnosis', 'diagnosis_grant') then
				execute format('create index %I on tidings.%I (%I)', v_right[1] || '_' || v_right[2], v_right[1], v_right[2]);
			end if;
		end if;
	end loop;
end
$do$;

create trigger withdrawn_by_delete after delete on tidings.app_user referencing old table as gone
	for each statement execute function tidings.account_withdrawn();
create trigger withdrawn_by_update after update on tidings.app_user referencing old table as gone new table as fresh
	for each statement execute function tidings.account_withdrawn();

-- 'ok' when this user may manage that connection, 'forbidden', or 'not_found' when no node that lives has it.
create function tidings.connection_verdict(p_user text, p_role text, p_connection text) returns text
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
create function tidings.disconnect(p_user text, p_role text, p_connection text) returns text
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_outcome text := connection_verdict(p_user, p_role, p_connection);
begin
	if v_outcome = 'ok' then
		perform pg_notify('tidings_control', 'disconnect ' || p_connection::uuid);
	end if;
	return v_outcome;
end
$$;

-- Tells all of a user's connections to come again, and how many are known: also where none is, for what is written down of them may be
-- on its way.
create function tidings.reconnect_user(p_user text, p_role text, p_target text, out outcome text, out connections int8)
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
	perform pg_notify('tidings_control', 'reconnect ' || p_target);
end
$$;

-- Asks the node that has it to report of a connection. Returns the time: a report that is newer is the answer.
create function tidings.ask_report(p_connection text) returns text
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	perform pg_notify('tidings_control', 'report ' || p_connection::uuid);
	return clock_timestamp()::text;
end
$$;

-- A node reports of connections that it has: the arrays run in parallel, and a null leaves what was.
create function tidings.report(p_node text, p_connections text[], p_last_activity text[], p_states text[]) returns void
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
create function tidings.connection_health(p_user text, p_role text, p_connection text, p_asked text default null,
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
		outcome := 'not_found'; -- it has gone meanwhile
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

revoke execute on all functions in schema tidings from public;
grant execute on function tidings.disconnect(text, text, text), tidings.reconnect_user(text, text, text), tidings.ask_report(text),
	tidings.connection_health(text, text, text, text) to tidings_publisher;
grant execute on function tidings.report(text, text[], text[], text[]) to tidings_sidecar;

reset role;
