-- Rights that are withdrawn end in the topic: with a message that has a seq, after which nothing is theirs.

-- Ends the subscriptions of users to topics, the arrays running in parallel: with a message for each, in this transaction, so that it
-- has a seq and nothing that comes after it is theirs. Returns the seqs.
create or replace function tidings.revoke_each(p_users text[], p_topics text[]) returns int8[]
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
		perform tidings.notify('control', concat_ws(' ', 'revoke', v_ids[i], v_seqs[i], p_users[i]));
	end loop;
	return v_seqs;
end
$$;

-- The same for one: for an operator whose authorize() asks tables of their own. Returns the seq.
create or replace function tidings.revoke(p_user text, p_topic text) returns int8
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
create or replace function tidings.right_withdrawn() returns trigger
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
create or replace function tidings.account_withdrawn() returns trigger
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
	perform tidings.notify('control', 'reconnect ' || u) from unnest(v_gone) as u where octet_length(u) <= 128;
	return null;
end
$$;

-- A table that an operator has replaced by a view has no triggers: there they call tidings.revoke().
do $do$
declare
	v_right text[];
begin
	foreach v_right slice 1 in array array[
		['diagnosis', $$right_withdrawn('owner', '''diagnosis/'' || id')$$],
		['diagnosis_grant', $$right_withdrawn('user_id', '''diagnosis/'' || diagnosis_id')$$],
		['health_grant', $$right_withdrawn('clinician_id', '''health/'' || user_id')$$],
		['participant', $$right_withdrawn('user_id', '''chat/'' || conversation_id')$$],
		['app_user', 'account_withdrawn()']]
	loop
		continue when (select relkind not in ('r', 'p') from pg_class where oid = ('tidings.' || v_right[1])::regclass);
		execute format('create or replace trigger withdrawn_by_delete after delete on tidings.%I referencing old table as gone '
			'for each statement execute function tidings.%s', v_right[1], v_right[2]);
		execute format('create or replace trigger withdrawn_by_update after update on tidings.%I referencing old table as gone new table as fresh '
			'for each statement execute function tidings.%s', v_right[1], v_right[2]);
	end loop;
end
$do$;
