-- Rights that are withdrawn end in the topic: with a message that has a seq, after which nothing is theirs.
--
-- Withdrawing takes no lock that others need before COMMIT: the triggers on the tables of rights, and revoke(), write down who and what
-- in tidings.withdrawal; end_withdrawn() does the rest, at COMMIT, by a deferred trigger. A transaction with a snapshot of its own
-- (repeatable read, serializable) cannot number messages: there the relay does it, right after COMMIT.

-- Ends the subscriptions of users to topics, the arrays running in parallel: with a message for each, in this transaction. A user of ''
-- is whoever has no token, and null is everybody, who have to come again. Returns the seqs.
create or replace function tidings.revoke_each(p_users text[], p_topics text[]) returns int8[]
language plpgsql as $$
declare
	v_count int := cardinality(p_topics);
	v_none text[] := array_fill(null::text, array[v_count]);
	v_seqs int8[];
	v_ids int8[];
begin
	-- Nothing is trimmed here: whoever publishes next knows the limits.
	select a.seqs into v_seqs from append(p_topics,
		array(select message_text('revoked', p_topics[i], null, 'data', '{}') from generate_series(1, v_count) as i),
		array_fill(0::int8, array[v_count]), p_users, v_none, v_none, v_none::int8[], v_none, v_none, null, 0) a;
	v_ids := array(select (select t.id from topic t where t.name = p_topics[i]) from generate_series(1, v_count) as i);
	update message set revocation = true, sent = true where ctid = any (array(
		select m.ctid from unnest(v_ids, v_seqs) as i(topic_id, seq), lateral (
			select o.ctid from message o where o.topic_id = i.topic_id and o.seq = i.seq offset 0) m));
	for i in 1 .. v_count loop
		continue when octet_length(p_users[i]) > 128; -- nobody's token says that, and a notification has its limits
		perform tidings.notify('control', concat_ws(' ', case when p_users[i] is null then 'revoke_all' else 'revoke' end,
			v_ids[i], v_seqs[i], p_users[i]));
	end loop;
	return v_seqs;
end
$$;

-- Does what tidings.withdrawal says, as far as nobody else is at it. Whoever still has the right, by another row or given anew in the
-- same transaction, keeps it.
create or replace function tidings.end_withdrawn() returns void
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_taken withdrawal[];
	v_accounts text[];
	v_users text[];
	v_topics text[];
	v_checked boolean[];
begin
	with taken as (
		delete from withdrawal where id = any (array(select w.id from withdrawal w order by w.id for update skip locked)) returning *
	)
	select array_agg(t::withdrawal) into v_taken from taken t;
	v_accounts := array(
		select distinct u collate "C" from unnest(v_taken) w, unnest(w.users) u
		where w.kind = 'account' and not coalesce((select a.active from app_user a where a.id = u), false) order by 1);

	-- Whose account is gone is put out of all that is theirs, is granted to them, or that they listen to now.
	select array_agg(p.u), array_agg(p.t), array_agg(p.checked) into v_users, v_topics, v_checked from (
		select w.u, w.t, bool_and(w.checked) as checked from (
			select p.u, p.t, w.kind = 'right' as checked from unnest(v_taken) w, unnest(w.users, w.topics) as p(u, t)
			where w.kind <> 'account'
			union all select u, t.name, false
			from unnest(v_accounts) as u, lateral (values ('health/' || u), ('notifications/' || u), ('chats/' || u)) as t(name)
			where addressable(u)
			union all select u, r.topic, false from unnest(v_accounts) as u cross join lateral ( -- "offset 0": looked up by their indexes, user by user
				(select 'diagnosis/' || d.id from diagnosis d where d.owner = u offset 0)
				union all (select 'diagnosis/' || g.diagnosis_id from diagnosis_grant g where g.user_id = u offset 0)
				union all (select 'health/' || g.user_id from health_grant g where g.clinician_id = u and addressable(g.user_id) offset 0)
				union all (select 'chat/' || p.conversation_id from participant p where p.user_id = u offset 0)
				union all (select (select t.name from topic t where t.id = c.topic_id)
					from connection c where c.user_id = u and c.topic_id <> 0 offset 0)) as r(topic)
			where r.topic is not null
		) as w(u, t, checked) group by w.u, w.t) p;

	-- Whoever is sending to a conversation is done first; whoever comes later is refused.
	perform from conversation c where c.id = any (array(
			select substr(t, 6)::uuid from unnest(v_topics) as t where t ~ '^chat/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'))
		order by c.id for no key update;
	-- The rights are looked at with the topics locked: of two transactions that each withdraw one of two rights the later one sees both.
	insert into topic (name)
		select distinct t collate "C" as name from unnest(v_topics) as t where (select o.id from topic o where o.name = t) is null order by 1
		on conflict do nothing;
	perform from topic o where o.id = any (array(select (select n.id from topic n where n.name = t) from unnest(v_topics) as t))
		order by o.id for update;
	select array_agg(p.u), array_agg(p.t) into v_users, v_topics from unnest(v_users, v_topics, v_checked) as p(u, t, checked)
		where not p.checked or verdict(nullif(p.u, ''), 'user', p.t, 'subscribe') <> 'ok'
			and (p.u = '' or verdict(p.u, 'clinician', p.t, 'subscribe') <> 'ok');

	if v_users is not null then
		-- A few hundred at a time: looking up the n-th text of an array reads the n - 1 before it.
		for i in 0 .. (cardinality(v_users) - 1) / 500 loop
			perform revoke_each(v_users[i * 500 + 1 : i * 500 + 500], v_topics[i * 500 + 1 : i * 500 + 500]);
		end loop;
	end if;
	perform tidings.notify('control', 'reconnect ' || u) from unnest(v_accounts) as u where octet_length(u) <= 128;
end
$$;

-- For the relay: false when there was nothing to do, or it could not be done (then an operator's rule raises: whatever else waits goes on).
create or replace function tidings.end_left_over() returns boolean
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	if exists (select from withdrawal) then
		perform end_withdrawn();
		return true;
	end if;
	return false;
exception when others then
	raise warning 'tidings: withdrawn rights could not be ended: % %', sqlstate, sqlerrm;
	return false;
end
$$;

create or replace function tidings.withdrawal_committing() returns trigger
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
		perform tidings.notify('outbox', '');
	else
		perform end_withdrawn();
	end if;
	return null;
end
$$;

drop trigger if exists committing on tidings.withdrawal;
create constraint trigger committing after insert on tidings.withdrawal deferrable initially deferred
	for each row execute function tidings.withdrawal_committing();

-- Ends a user's subscriptions to a topic when this transaction commits: for an operator whose authorize() asks tables of their own. A
-- user of '' is whoever has no token; null is everybody: they are told to come again, and are let in who may.
create or replace function tidings.revoke(p_user text, p_topic text) returns void
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	if p_topic is null or p_topic !~ '^[A-Za-z0-9_.:/-]{1,128}$' then
		raise exception 'tidings: not the name of a topic' using errcode = 'invalid_parameter_value';
	end if;
	insert into withdrawal (kind, users, topics) values ('told', array[p_user], array[p_topic]);
end
$$;

-- After rows that gave a right are gone or others, and before all of them go at once. The arguments say who, and what, in terms of
-- such a row.
create or replace function tidings.right_withdrawn() returns trigger
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	execute format('insert into withdrawal (kind, users, topics) select ''right'', array_agg(w.u), array_agg(w.t) '
			'from (select distinct %1$s, %2$s from %3$s %4$s) as w(u, t) where w.t ~ ''^[A-Za-z0-9_.:/-]{1,128}$'' and w.u is not null '
			'having count(*) > 0',
		tg_argv[0], tg_argv[1], case tg_op when 'TRUNCATE' then tg_relid::regclass::text else 'gone' end,
		case when tg_op = 'UPDATE' then format('except select %1$s, %2$s from fresh', tg_argv[0], tg_argv[1]) end);
	return null;
end
$$;

-- The same of accounts that are gone, or not active any more: their users have to come again.
create or replace function tidings.account_withdrawn() returns trigger
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_gone text[];
begin
	if tg_op = 'TRUNCATE' then
		v_gone := array(select a.id from app_user a where a.active);
	elsif tg_op = 'DELETE' then
		v_gone := array(select g.id from gone g where g.active);
	else
		v_gone := array(select g.id from gone g where g.active except select f.id from fresh f where f.active);
	end if;
	if cardinality(v_gone) > 0 then
		insert into withdrawal (kind, users) values ('account', v_gone);
	end if;
	return null;
end
$$;

-- A table that an operator has replaced by a view has no triggers: there they call tidings.revoke().
do $do$
declare
	v_right text[];
begin
	foreach v_right slice 1 in array array[
		['diagnosis', $$right_withdrawn('unnest(array[owner, case when public then '''' end])', '''diagnosis/'' || id')$$],
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
		execute format('create or replace trigger withdrawn_by_truncate before truncate on tidings.%I '
			'for each statement execute function tidings.%s', v_right[1], v_right[2]);
	end loop;
end
$do$;
