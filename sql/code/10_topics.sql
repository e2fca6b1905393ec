-- The topics and their queues: appending, reading, trimming.

-- What makes a numbering different although the topic's own epoch is the same: another cluster, another database, or another table
-- (restored from a dump), another timeline (failover, restore to a point in time), or that somebody said so.
--
-- In plpgsql, which keeps its plan: every fetch asks for it.
create or replace function tidings.cluster_tag() returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
	return (
		select left(encode(sha256(convert_to(concat_ws(' ',
			(select system_identifier from pg_control_system()),
			(select oid from pg_database where datname = current_database()),
			to_regclass('tidings.topic')::oid,
			n.renewed,
			case
				when not n.by_timeline then null
				when pg_is_in_recovery() then lpad(upper(to_hex((select timeline_id from pg_control_checkpoint()))), 8, '0') -- as that of its primary
				else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end), 'UTF8')), 'hex'), 6)
		from tidings.numbering n);
end
$$;

-- Makes every numbering another: every client is told that it may have missed something.
create or replace function tidings.renew_epochs() returns void
language sql security definer set search_path = tidings, pg_temp as $$
	update numbering set renewed = left(gen_random_uuid()::text, 8)
$$;

-- Does an error tell of the server and of this moment, and not of what was asked? Then the same may work another time.
create or replace function tidings.server_is_in_trouble(p_sqlstate text) returns boolean
language sql immutable as $$
	select p_sqlstate ~ '^(40|53|55|57|58)'
$$;

-- The policy of a topic: no row when it has none. One expression, so it is inlined.
create or replace function tidings.policy_of(p_topic text) returns setof tidings.policy
language sql stable as $$
	select p.* from tidings.policy p where starts_with(p_topic, p.prefix) order by octet_length(p.prefix) desc limit 1
$$;

-- Makes topics that may be new. One whose name another transaction has inserted, and not committed yet, is not waited for longer than
-- p_wait: it may not be there afterwards.
create or replace function tidings.make_topics(p_names text[], p_wait text default '20ms') returns void
language plpgsql set lock_timeout = '20ms'
as $$
declare
	v_name text;
	v_locked int := 0;
begin
	perform set_config('lock_timeout', p_wait, true);
	begin
		insert into topic (name)
			select distinct n collate "C" as name from unnest(p_names) as n order by 1
			on conflict do nothing;
		return;
	exception when lock_not_available then
		null;
	end;
	for v_name in select distinct n collate "C" as name from unnest(p_names) as n order by 1 loop
		begin
			insert into topic (name) values (v_name) on conflict do nothing;
		exception when lock_not_available then
			v_locked := v_locked + 1;
			exit when v_locked = 5;
		end;
	end loop;
end
$$;

-- Makes topics for readers, in a transaction that writes nothing else. Its commit waits for no standby: where one is missing, whoever
-- comes would wait behind it. A failover may lose such a topic, but none with a message that was acknowledged: that was committed later.
create or replace function tidings.make_topics_for_readers(p_names text[]) returns void
language plpgsql as $$
begin
	perform set_config('synchronous_commit', 'local', true);
	perform make_topics(p_names, '200ms');
end
$$;

-- Appends messages to their topics; the arrays run in parallel.
--
--	p_flags		1: ephemeral
--	p_groups	items with the same number are appended together or not at all. With it a topic that another transaction has
--			locked is not waited for: the groups that need it are busy, and nothing of them is done. null: it is waited for
--	p_briefly	all topics are waited for, as long as another batch may take; lock_not_available (55P03) when that is too short
--	p_queue_max	where no policy says another; null: nothing is trimmed
--	seqs		null for what is ephemeral, or busy
--	clients		who is connected to the topic, and gets the message
create or replace function tidings.append(
	p_topics text[], p_bodies text[], p_flags int8[], p_to_users text[], p_excludes text[], p_expires_at text[],
	p_effect_ids int8[], p_effect_values text[], p_effect_olds text[],
	p_queue_max int8, p_queue_min_age_s int8, p_groups int8[] default null, p_briefly boolean default false,
	out seqs int8[], out clients int8[], out busy boolean[])
language plpgsql
as $$
declare
	v_count int := cardinality(p_topics);
	v_topics int8[]; -- per item: its topic's id
	v_stored int8[]; -- the topics of what is not ephemeral
	v_ids int8[];	 -- those of them that are locked here, ascending; the next six run in parallel
	v_firsts int8[];
	v_befores int8[]; -- the last seq before
	v_lasts int8[];	  -- and now
	v_present int8[];
	v_maxes int8[];	 -- queue_max by policies; null: there are none
	v_limits int8[]; -- what may be trimmed ends here
	v_gone int8[];
	v_deleted int8;
	v_lock_timeout text := current_setting('lock_timeout');
	v_live uuid[] := array(select id from node where heartbeat_at > clock_timestamp() - interval '15 seconds');
	v_place int;
	v_locked int8[]; -- groups that need a topic that another has locked
	v_now timestamptz;
	v_old numeric;
	v_new numeric;
begin
	if p_briefly then
		perform set_config('lock_timeout', '20ms', true);
	end if;
	v_topics := array(select (select t.id from topic t where t.name = i.name) from unnest(p_topics) as i(name));
	if num_nulls(variadic v_topics) > 0 then
		if p_groups is null or p_briefly then
			insert into topic (name)
				select distinct i.name collate "C" as name from unnest(p_topics, v_topics) as i(name, id) where i.id is null order by 1
				on conflict do nothing;
		else
			perform make_topics(array(select i.name from unnest(p_topics, v_topics) as i(name, id) where i.id is null));
		end if;
		v_topics := array(select (select t.id from topic t where t.name = i.name) from unnest(p_topics) as i(name));
	end if;

	-- What is ephemeral takes no number, and so no lock.
	v_stored := case when 0 = all (p_flags) then v_topics else array(
		select v_topics[i] from generate_series(1, v_count) as i where p_flags[i] & 1 = 0) end;
	if p_groups is null or p_briefly then
		select array_agg(t.id), array_agg(t.first_seq),
				array_agg((select sum(p.clients)::int8 from presence p where p.topic_id = t.id and p.node_id = any (v_live)))
			into v_ids, v_firsts, v_present
			from (select id, first_seq from topic where id = any (v_stored) order by id for update) t;
	else
		select array_agg(t.id), array_agg(t.first_seq),
				array_agg((select sum(p.clients)::int8 from presence p where p.topic_id = t.id and p.node_id = any (v_live)))
			into v_ids, v_firsts, v_present
			from (select id, first_seq from topic where id = any (v_stored) order by id for update skip locked) t;
	end if;
	v_ids := coalesce(v_ids, '{}');
	if p_briefly then
		perform set_config('lock_timeout', v_lock_timeout, true);
	end if;

	busy := array_fill(false, array[v_count]);
	seqs := array_fill(null::int8, array[v_count]);
	clients := seqs;
	if num_nulls(variadic v_topics) > 0 or not v_stored <@ v_ids then
		if p_groups is null or p_briefly then
			raise exception 'tidings: a topic was deleted meanwhile' using errcode = 'serialization_failure';
		end if;
		v_locked := array(
			select p_groups[i] from generate_series(1, v_count) as i
			where v_topics[i] is null or p_flags[i] & 1 = 0 and not v_topics[i] = any (v_ids));
		for i in 1 .. v_count loop
			busy[i] := p_groups[i] = any (v_locked);
		end loop;
		if not false = any (busy) then
			return;
		end if;
	end if;

	-- In a statement after the lock: so it sees what the holder before committed.
	v_befores := array(
		select coalesce((
			select m.seq from message m where m.topic_id = v_ids[i] and m.seq >= v_firsts[i] order by m.seq desc limit 1), v_firsts[i] - 1)
		from generate_series(1, cardinality(v_ids)) as i);
	v_now := clock_timestamp(); -- after the lock: so created_at follows seq

	v_lasts := v_befores;
	for i in 1 .. v_count loop
		continue when busy[i];
		if p_flags[i] & 1 = 0 then
			v_place := width_bucket(v_topics[i], v_ids);
			clients[i] := coalesce(v_present[v_place], 0);
			v_lasts[v_place] := v_lasts[v_place] + 1;
			seqs[i] := v_lasts[v_place];
		else
			clients[i] := coalesce((select sum(p.clients) from presence p where p.topic_id = v_topics[i] and p.node_id = any (v_live)), 0);
			perform tidings.notify('ephemeral', concat_ws(' ', v_topics[i], coalesce(p_excludes[i], '-'),
				octet_length(coalesce(p_to_users[i], '')), coalesce(p_to_users[i], ''), p_bodies[i]));
		end if;
	end loop;

	if num_nonnulls(variadic p_effect_ids) > 0 then
		for i in 1 .. v_count loop
			continue when p_effect_ids[i] is null or busy[i];
			v_new := p_effect_values[i]::numeric;
			v_old := coalesce(p_effect_olds[i]::numeric, (
				select value from effectiveness where topic_id = v_topics[i] and recommendation_id = p_effect_ids[i]));
			insert into effectiveness values (v_topics[i], p_effect_ids[i], v_new)
				on conflict (topic_id, recommendation_id) do update set value = excluded.value;
			if v_old is not null then
				-- The body ends with the braces of data and of the message.
				p_bodies[i] := left(p_bodies[i], -2) || ',"old_effectiveness":' || trim_scale(v_old) || ',"improvement":'
					|| trim_scale(v_new - v_old) || '}}';
			end if;
		end loop;
	end if;

	if current_setting('transaction_isolation') = 'read committed' then
		insert into message (topic_id, seq, created_at, expires_at, exclude, to_user, body)
			select v_topics[i], seqs[i], v_now, p_expires_at[i]::timestamptz, p_excludes[i]::uuid, p_to_users[i], p_bodies[i]
			from generate_series(1, v_count) as i where seqs[i] is not null;
	else
		-- A snapshot that is older than the lock may not see the last seq. Then the next is taken; and where that message is gone already,
		-- the lock has failed, since trimming writes the topic's row.
		begin
			insert into message (topic_id, seq, created_at, expires_at, exclude, to_user, body)
				select v_topics[i], seqs[i], v_now, p_expires_at[i]::timestamptz, p_excludes[i]::uuid, p_to_users[i], p_bodies[i]
				from generate_series(1, v_count) as i where seqs[i] is not null;
		exception when unique_violation then
			raise exception 'tidings: a topic has messages that this transaction does not see' using errcode = 'serialization_failure';
		end;
	end if;

	-- What is too many and old enough may go: a bounded number at a time, more than came, so it keeps up; and some at once, so the
	-- topic's row is seldom written.
	if p_queue_max is not null and exists (select from policy) then
		v_maxes := array(
			select (select p.queue_max from topic t, policy_of(t.name) p where t.id = i.id) from unnest(v_ids) with ordinality as i(id, place)
			order by i.place);
	end if;
	v_limits := v_lasts;
	for i in 1 .. cardinality(v_ids) loop
		v_limits[i] := case when p_queue_max is not null then
			least(v_firsts[i] + 2 * (v_lasts[i] - v_befores[i]) + 64, v_lasts[i] - coalesce(v_maxes[i], p_queue_max)) end;
	end loop;
	v_gone := array(
		select case when v_limits[i] >= v_firsts[i] + 31 and (
				select o.created_at from message o where o.topic_id = v_ids[i] and o.seq = v_firsts[i] + 31
				) < v_now - make_interval(secs => p_queue_min_age_s) then (
			select max(m.seq) from message m
			where m.topic_id = v_ids[i] and m.seq >= v_firsts[i] and m.seq <= v_limits[i]
				and m.created_at < v_now - make_interval(secs => p_queue_min_age_s)) end
		from generate_series(1, cardinality(v_ids)) as i);
	if num_nonnulls(variadic v_gone) > 0 then
		delete from message where ctid = any (array(
			select m.ctid from generate_series(1, cardinality(v_ids)) as i cross join lateral (
				select o.ctid from message o
				where o.topic_id = v_ids[i] and o.seq >= v_firsts[i] and o.seq <= v_gone[i] offset 0) m));
		get diagnostics v_deleted = row_count;
		-- One that a sidecar marked as sent meanwhile is at another ctid now.
		if v_deleted < (select sum(v_gone[i] - v_firsts[i] + 1) from generate_series(1, cardinality(v_ids)) as i) then
			for i in 1 .. cardinality(v_ids) loop
				delete from message m where m.topic_id = v_ids[i] and m.seq >= v_firsts[i] and m.seq <= v_gone[i];
			end loop;
		end if;
		update topic t set first_seq = v_gone[width_bucket(t.id, v_ids)] + 1
			where t.id = any (v_ids) and v_gone[width_bucket(t.id, v_ids)] is not null;
	end if;

	if num_nonnulls(variadic p_to_users) + num_nonnulls(variadic p_excludes) > 0 then
		for i in 1 .. v_count loop
			continue when busy[i];
			if p_to_users[i] is not null then
				-- Neither all of the user's nor all of a node's: a row is compared with an index that begins as it does.
				clients[i] := (select count(*) from connection c
					where (c.topic_id, c.user_id) >= (v_topics[i], p_to_users[i]) and (c.topic_id, c.user_id) <= (v_topics[i], p_to_users[i])
						and array_position(v_live, c.node_id) is not null);
			end if;
			if p_excludes[i] is not null then
				clients[i] := clients[i] - (select count(*) from connection c
					where c.id = p_excludes[i]::uuid and c.topic_id + 0 = v_topics[i] and array_position(v_live, c.node_id) is not null
						and (p_to_users[i] is null or c.user_id = p_to_users[i]));
			end if;
		end loop;
	end if;

	-- A doorbell: which topics have something new.
	if v_lasts <> v_befores then
		v_ids := array(select v_ids[i] from generate_series(1, cardinality(v_ids)) as i where v_lasts[i] > v_befores[i]);
		for i in 0 .. (cardinality(v_ids) - 1) / 350 loop
			perform tidings.notify('messages', array_to_string(v_ids[i * 350 + 1 : i * 350 + 350], ','));
		end loop;
	end if;
end
$$;

-- What comes after a seq, for several topics at once: each at most p_rows messages and, its first aside, p_bytes of bodies. A
-- message that has expired has a null body: its seq is passed over; one that will says in how many ms.
--
--	p_epochs	of the seqs: a topic whose epoch is another, here and now, or that is gone, gives nothing but a row with a null seq
create or replace function tidings.fetch(p_topics int8[], p_after int8[], p_epochs text[], p_rows int8, p_bytes int8)
returns table (topic_id int8, seq int8, to_user text, exclude text, body text, revocation boolean, expires_in_ms int8, age_ms int8)
language plpgsql stable security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_tag text := cluster_tag();
begin
	return query
		select t.id, m.seq, m.to_user, m.exclude::text,
			case when m.expires_at is null or m.expires_at > clock_timestamp() then m.body end, m.revocation,
			case when isfinite(m.expires_at) then (extract(epoch from m.expires_at - clock_timestamp()) * 1000)::int8 end,
			(extract(epoch from clock_timestamp() - m.created_at) * 1000)::int8
		from unnest(p_topics, p_after, p_epochs) with ordinality as t(id, after, epoch, place)
		left join lateral (select o.id from topic o where o.id = t.id and o.epoch || v_tag = t.epoch offset 0) k on true
		left join lateral (
			select p.*, sum(octet_length(p.body)) over (order by p.seq) - octet_length(p.body) as before
			from (select * from message q where q.topic_id = k.id and q.seq > t.after order by q.seq limit p_rows) p
		) m on m.before < p_bytes or m.before = 0
		where m.seq is not null or k.id is null
		order by t.place, m.seq;
end
$$;

-- Messages for one user alone that they have not been sent, after one seq and up to another: at most p_rows and, the first aside,
-- p_bytes of bodies, as fetch() gives them.
create or replace function tidings.unsent(p_topic int8, p_user text, p_after int8, p_up_to int8, p_rows int8, p_bytes int8)
returns table (seq int8, body text, expires_in_ms int8)
language sql stable security definer set search_path = tidings, pg_temp as $$
	select m.seq, m.body, case when isfinite(m.expires_at) then (extract(epoch from m.expires_at - clock_timestamp()) * 1000)::int8 end
	from (
		select p.*, sum(octet_length(p.body)) over (order by p.seq) - octet_length(p.body) as before
		from (
			select * from message q
			where q.topic_id = p_topic and q.to_user = p_user and not q.sent and q.seq > p_after and q.seq <= p_up_to
				and (q.expires_at is null or q.expires_at > clock_timestamp())
			order by q.seq limit p_rows) p
	) m
	where m.before < p_bytes or m.before = 0
	order by m.seq
$$;

-- The type of a message as tidings.message has it.
create or replace function tidings.type_of(p_body text) returns text
language plpgsql immutable as $$
begin
	return substring(left(p_body, 1100) from '^\{"type":("(?:[^"\\]|\\.)*")')::json #>> '{}';
end
$$;

-- The newest messages up to a seq that are a user's own, newest first: of those that are kept, not for somebody else, and have not expired.
-- Revocations are for the sidecars. No more than 10,000 are looked at.
--
--	p_types	a JSON array: of these types alone; null: of all
create or replace function tidings.newest(p_topic int8, p_first int8, p_up_to int8, p_user text, p_types text, p_count int8)
returns table (seq int8, body text)
language plpgsql stable as $$
declare
	v_types text[] := case when p_types is not null then array(select json_array_elements_text(p_types::json)) end;
begin
	return query
		select m.seq, m.body
		from (select * from message q where q.topic_id = p_topic and q.seq >= p_first and q.seq <= p_up_to order by q.seq desc limit 10000) m
		where not m.revocation and (m.to_user is null or m.to_user = p_user) and (m.expires_at is null or m.expires_at > clock_timestamp())
			and (v_types is null or type_of(m.body) = any (v_types))
		order by m.seq desc limit p_count;
end
$$;

-- What a client would get by GET /ws/history (spec 3.4 and 7). Header columns are repeated in every row; seq is null when there is none.
--
--	p_epoch, p_after	of a cursor: what comes after it; null: the newest
--	p_before		the newest before this seq instead
--	p_types			a JSON array: of these types alone
create or replace function tidings.history(p_user text, p_role text, p_topic text, p_epoch text, p_after int8, p_limit int8,
	p_require_user boolean default false, p_before int8 default null, p_types text default null)
returns table (outcome text, epoch text, recovered boolean, missed_from int8, missed_to int8, next_seq int8, seq int8, body text)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_topic record;
	v_outcome text := verdict(p_user, p_role, p_topic, 'subscribe', p_require_user);
	v_after int8;
	v_types text[] := case when p_types is not null then array(select json_array_elements_text(p_types::json)) end;
begin
	if v_outcome <> 'ok' then
		return query select v_outcome, null::text, null::boolean, null::int8, null::int8, null::int8, null::int8, null::text;
		return;
	end if;
	select t.id, t.epoch, t.first_seq, coalesce((select m.seq from message m where m.topic_id = t.id and m.seq >= t.first_seq order by m.seq desc limit 1), t.first_seq - 1) as last_seq
		into v_topic from topic t where t.name = p_topic;
	if not found then
		perform make_topics_for_readers(array[p_topic]);
		select t.id, t.epoch, t.first_seq, coalesce((select m.seq from message m where m.topic_id = t.id and m.seq >= t.first_seq order by m.seq desc limit 1), t.first_seq - 1) as last_seq
			into v_topic from topic t where t.name = p_topic;
		if not found then
			raise exception 'tidings: another transaction is making this topic' using errcode = 'lock_not_available';
		end if;
	end if;
	epoch := v_topic.epoch || cluster_tag();
	if p_epoch ~ '^new' and p_epoch = new_epoch() then
		p_epoch := epoch;
	end if;
	recovered := coalesce(p_epoch = epoch and p_after <= v_topic.last_seq, true);
	if p_epoch is null or not recovered then
		v_after := least(v_topic.last_seq, p_before - 1);
		return query
			select 'ok', history.epoch, history.recovered, null::int8, null::int8,
				case when p_before is null then v_after else coalesce(max(m.seq) over (), v_after) end, m.seq, m.body
			from (select 1) one left join newest(v_topic.id, v_topic.first_seq, v_after, p_user, p_types, p_limit) m on true
			order by m.seq;
		return;
	end if;
	v_after := greatest(p_after, v_topic.first_seq - 1);
	if v_after > p_after then
		recovered := false;
		missed_from := p_after + 1;
		missed_to := v_after;
	end if;
	-- What is kept is looked at once more, in the statement that reads: it may have been trimmed since.
	return query
		with kept as (
			select greatest(v_after, t.first_seq - 1) as after from topic t where t.id = v_topic.id
		), page as (
			select m.seq, m.body, m.to_user, m.expires_at, m.revocation from message m
			where m.topic_id = v_topic.id and m.seq > v_after and m.seq <= v_topic.last_seq order by m.seq limit p_limit
		), told as (
			select history.recovered and k.after = v_after as recovered,
				case when k.after = v_after then history.missed_from else coalesce(history.missed_from, p_after + 1) end as missed_from,
				case when k.after = v_after then history.missed_to else k.after end as missed_to,
				k.after
			from kept k
		)
		select 'ok', history.epoch, t.recovered, t.missed_from, t.missed_to,
			coalesce((select max(p.seq) from page p), least(greatest(t.after, 0), v_topic.last_seq)), m.seq, m.body
		from told t left join (
			select p.seq, p.body from page p
			where not p.revocation and (p.to_user is null or p.to_user = p_user) and (p.expires_at is null or p.expires_at > clock_timestamp())
				and (v_types is null or type_of(p.body) = any (v_types))
		) m on true
		order by m.seq;
end
$$;

-- Whether a topic that has no messages is somebody's: a diagnosis, a conversation, what is a user's own while that has an account. It is
-- where an operator's rule, or a view of their tables, fails for it: the others are gone on with.
create or replace function tidings.topic_is_owned(p_topic text) returns boolean
language plpgsql stable as $$
begin
	if diagnosis_of(p_topic) is not null or starts_with(p_topic, 'chat/') then
		return topic_exists(p_topic);
	end if;
	return p_topic ~ '^(health|chats|notifications)/' and exists (select from app_user u where u.id = substr(p_topic, strpos(p_topic, '/') + 1));
exception when others then
	if server_is_in_trouble(sqlstate) then
		raise;
	end if;
	raise warning 'tidings: whether % may be forgotten is not known, so it is kept: % %', p_topic, sqlstate, sqlerrm;
	return true;
end
$$;

-- Forgets topics that have had no messages for so long, and have no clients: whoever comes with a cursor to one is told that it begins
-- anew. Of those after one id and up to another, p_rows at most, until the time is over. Returns up to which id all have been looked at.
create or replace function tidings.forget_topics(p_after int8, p_last int8, p_rows int8, p_keep_s int8, p_until timestamptz) returns int8
language plpgsql as $$
declare
	v_topic record;
	v_now timestamptz := clock_timestamp();
	v_keep interval := make_interval(secs => p_keep_s);
	v_live uuid[] := array(select id from node where heartbeat_at > clock_timestamp() - interval '15 seconds');
begin
	-- All are found before the first is locked.
	for v_topic in
		select i.id from unnest(array(
			select t.id from topic t
			where t.id > p_after and t.id <= p_last and (t.empty_at is null or t.empty_at < v_now - v_keep)
				and (select m.seq from message m where m.topic_id = t.id order by m.seq limit 1) is null
			order by t.id limit p_rows)) as i(id)
	loop
		-- With the lock in hand nobody appends; who has appended since it was looked at is seen by the next statement.
		select t.id, t.name, t.empty_at into v_topic from topic t where t.id = v_topic.id for update skip locked;
		continue when not found;
		continue when (select m.seq from message m where m.topic_id = v_topic.id order by m.seq limit 1) is not null;
		if v_topic.empty_at is null or topic_is_owned(v_topic.name) or exists (
			select from presence p where p.topic_id = v_topic.id and p.node_id = any (v_live))
		then
			update topic t set empty_at = v_now where t.id = v_topic.id;
		else
			perform delete_topics(array[v_topic.id]);
		end if;
		if clock_timestamp() > p_until then
			return v_topic.id;
		end if;
	end loop;
	return p_last;
end
$$;

-- Topics that the caller has locked, and all that is kept of them.
create or replace function tidings.delete_topics(p_ids int8[]) returns void
language plpgsql as $$
begin
	delete from message where topic_id = any (p_ids);
	delete from delivered where topic_id = any (p_ids);
	delete from effectiveness where topic_id = any (p_ids);
	delete from topic where id = any (p_ids);
end
$$;

-- Trims what nobody publishes to any more, topic by topic in id order, forgets topics that nobody needs, and clears away old idempotency
-- keys and quotas. One node at a time, a bounded number of rows in one call, and for a bounded time with topics locked: whoever calls again
-- goes on where it ended.
--
--	p_after		the topic to go on after; 0 at first, or null: begin when it is this node's turn. Of n nodes one in n has it
--	p_topics	how many topics are looked at
--	p_rows		how many rows are deleted, of each kind
--	p_keep_s	TIDINGS_KEEP_TOPICS; 0: topics are never forgotten
--	p_ms		after so long no more topics are locked
--	returns		the topic to go on after; null at the end, or when another node is at it
create or replace function tidings.sweep(p_after int8, p_topics int8, p_rows int8, p_queue_max int8, p_queue_min_age_s int8, p_queue_ttl_s int8,
	p_keep_s int8 default 0, p_ms int8 default 1000)
returns int8
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_after int8 := coalesce(p_after, 0);
	v_last int8; -- of the topics that are looked at
	v_left int8 := p_rows;
	v_keys int8;
	v_limit int8; -- up to it the topic is over the count
	v_gone int8;
	v_old record;
	v_olds int8[];
	v_trimmed record;
	v_aged int8 := 0;
	v_expired int8 := 0;
	v_now timestamptz := clock_timestamp();
	v_until timestamptz; -- set once nothing is to be looked for any more
	v_ttl interval := make_interval(secs => p_queue_ttl_s);
	v_min_age interval := make_interval(secs => p_queue_min_age_s);
begin
	if p_after is null and random() * live_nodes() > 1 or not pg_try_advisory_xact_lock(hashtext('tidings.sweep')) then
		return null;
	end if;
	delete from idempotency where ctid = any (array(
		select k.ctid from (values (false), (true)) as o(of_user) cross join lateral (
			select i.ctid from idempotency i where i.of_user = o.of_user and i.created_at < v_now - key_kept(o.of_user)
			order by i.created_at limit p_rows for update skip locked) k
		limit p_rows));
	get diagnostics v_keys = row_count;
	delete from quota where ctid = any (array(select q.ctid from quota q where q.day < today() - 1 order by q.day limit p_rows for update skip locked));
	v_last := (select max(id) from (select id from topic where id > v_after order by id limit p_topics) t);
	-- Looked at without a lock first: most have nothing to trim. What is over the count goes at the minimal age, or at its TTL if that is less.
	v_olds := array(
		select t.id from topic t left join lateral policy_of(t.name) p on true
		where t.id > v_after and t.id <= v_last and (
			select m.created_at from message m where m.topic_id = t.id and m.seq >= t.first_seq order by m.seq limit 1
			) < v_now - least(coalesce(p.queue_ttl, v_ttl), case when exists (
				select from message m where m.topic_id = t.id and m.seq >= t.first_seq + coalesce(p.queue_max, p_queue_max)) then v_min_age end)
		order by t.id);
	v_until := clock_timestamp() + make_interval(secs => p_ms / 1000.0);
	-- Skipping what is locked, it waits for no appender.
	for v_old in select i.id from unnest(v_olds) as i(id) loop
		select t.id, t.first_seq, coalesce(p.queue_max, p_queue_max) as queue_max, coalesce(p.queue_ttl, v_ttl) as queue_ttl into v_old
			from topic t left join lateral policy_of(t.name) p on true where t.id = v_old.id for update of t skip locked;
		continue when not found;
		v_limit := (select m.seq from message m where m.topic_id = v_old.id and m.seq >= v_old.first_seq order by m.seq desc limit 1)
			- v_old.queue_max;
		v_gone := (
			select max(m.seq) from message m
			where m.topic_id = v_old.id and m.seq >= v_old.first_seq and m.seq < v_old.first_seq + v_left
				and m.created_at < v_now - least(v_old.queue_ttl, case when m.seq <= v_limit then v_min_age end));
		continue when v_gone is null;
		with gone as (
			delete from message m where m.topic_id = v_old.id and m.seq >= v_old.first_seq and m.seq <= v_gone returning m.seq, m.expires_at <= v_now as expired)
		select count(*) filter (where g.expired) as expired, count(*) filter (where g.seq > v_limit and g.expired is not true) as aged into v_trimmed
			from gone g;
		v_expired := v_expired + v_trimmed.expired;
		v_aged := v_aged + v_trimmed.aged;
		update topic t set first_seq = v_gone + 1, empty_at = v_now where t.id = v_old.id;
		v_left := v_left - (v_gone - v_old.first_seq + 1);
		if v_left <= 0 then
			v_last := v_old.id - 1; -- there may be more of it
			exit;
		elsif clock_timestamp() > v_until then
			v_last := v_old.id;
			exit;
		end if;
	end loop;
	if v_aged + v_expired > 0 then
		update trimmed t set messages = t.messages + case t.reason when 'age' then v_aged else v_expired end;
	end if;
	if p_keep_s > 0 then
		v_last := forget_topics(v_after, v_last, p_rows, p_keep_s, v_until);
	end if;
	return case when v_keys >= p_rows then coalesce(v_last, v_after) else v_last end;
end
$$;
