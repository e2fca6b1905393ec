-- The queue: appending, reading, trimming.

set local role tidings_owner;

-- What makes a numbering different although the topic's own epoch is the same: another cluster, another database (restored
-- from a dump), another timeline (failover, restore to a point in time).
create function tidings.cluster_tag() returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
	select substr(md5(concat_ws(' ',
		(select system_identifier from pg_control_system()),
		(select oid from pg_database where datname = current_database()),
		case when pg_is_in_recovery() then null else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end)), 1, 6)
$$;

-- Appends to the queue, in the order given within each topic; the arrays run in parallel. Locks the topics in id order, so that
-- two appenders never wait for each other in a ring. One NOTIFY for up to 350 topics.
--
--	p_flags bit 0	ephemeral: not stored, goes out in the notification itself
--	seqs, clients	per item: its seq (null when ephemeral) and how many clients were connected to its topic
--
-- Called by functions that have set search_path and what plans may be made of. Every message goes through here, so: few statements,
-- each with one plan whatever the planner knows of the tables, and subscripts instead of joins (PL/pgSQL keeps its arrays expanded).
create function tidings.append(
	p_topics text[], p_bodies text[], p_flags int8[], p_to_users text[], p_excludes text[], p_expires_at text[],
	p_effect_ids int8[], p_effect_values text[], p_effect_olds text[],
	p_queue_max int8, p_queue_min_age_s int8, out seqs int8[], out clients int8[])
language plpgsql
as $$
declare
	v_count int := cardinality(p_topics);
	v_topics int8[]; -- per item: its topic's id
	v_ids int8[];	 -- the topics', ascending; the next four run in parallel
	v_lasts int8[];
	v_firsts int8[];
	v_limits int8[]; -- what may be trimmed ends here
	v_present int8[];
	v_gone int8[];
	v_deleted int8;
	v_live uuid[] := array(select id from node where heartbeat_at > clock_timestamp() - interval '15 seconds');
	v_place int;
	v_now timestamptz;
	v_old numeric;
	v_new numeric;
begin
	v_topics := array(select (select t.id from topic t where t.name = i.name) from unnest(p_topics) as i(name));
	if num_nulls(variadic v_topics) > 0 then
		insert into topic (name)
			select distinct i.name collate "C" as name from unnest(p_topics, v_topics) as i(name, id) where i.id is null order by 1
			on conflict do nothing;
		v_topics := array(select (select t.id from topic t where t.name = i.name) from unnest(p_topics) as i(name));
	end if;

	select array_agg(t.id), array_agg(t.last_seq), array_agg(t.first_seq),
			array_agg((select sum(p.clients)::int8 from presence p where p.topic_id = t.id and p.node_id = any (v_live)))
		into v_ids, v_lasts, v_firsts, v_present
		from (select id, last_seq, first_seq from topic where id = any (v_topics) order by id for update) t;

	-- After the lock: so created_at follows seq.
	v_now := clock_timestamp();

	v_limits := v_lasts;
	seqs := array_fill(null::int8, array[v_count]);
	clients := seqs;
	for i in 1 .. v_count loop
		v_place := width_bucket(v_topics[i], v_ids);
		if v_ids[v_place] is distinct from v_topics[i] then
			raise exception 'tidings: a topic was deleted meanwhile' using errcode = 'serialization_failure';
		end if;
		clients[i] := coalesce(v_present[v_place], 0);
		if p_flags[i] & 1 = 0 then
			v_lasts[v_place] := v_lasts[v_place] + 1;
			seqs[i] := v_lasts[v_place];
		else
			perform pg_notify('tidings_ephemeral', concat_ws(' ', v_topics[i], coalesce(p_excludes[i], '-'),
				octet_length(coalesce(p_to_users[i], '')), coalesce(p_to_users[i], ''), p_bodies[i]));
		end if;
	end loop;

	if num_nonnulls(variadic p_effect_ids) > 0 then
		for i in 1 .. v_count loop
			continue when p_effect_ids[i] is null;
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

	insert into message (topic_id, seq, created_at, expires_at, exclude, to_user, body)
		select v_topics[i], seqs[i], v_now, p_expires_at[i]::timestamptz, p_excludes[i]::uuid, p_to_users[i], p_bodies[i]
		from generate_series(1, v_count) as i where seqs[i] is not null;

	-- What is too many and old enough may go, a bounded number at a time: more than came, so it keeps up.
	for i in 1 .. cardinality(v_ids) loop
		v_limits[i] := least(v_firsts[i] + 2 * (v_lasts[i] - v_limits[i]) + 16, v_lasts[i] - p_queue_max);
	end loop;
	v_gone := array(
		select case when v_limits[i] >= v_firsts[i] then (
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
	end if;

	update topic t
		set last_seq = v_lasts[width_bucket(t.id, v_ids)],
			first_seq = coalesce(v_gone[width_bucket(t.id, v_ids)] + 1, t.first_seq)
		where t.id = any (v_ids) and t.last_seq < v_lasts[width_bucket(t.id, v_ids)];

	if num_nonnulls(variadic p_to_users) + num_nonnulls(variadic p_excludes) > 0 then
		for i in 1 .. v_count loop
			if p_to_users[i] is not null then
				clients[i] := (select count(*) from connection c
					where c.topic_id = v_topics[i] and c.user_id = p_to_users[i] and c.node_id = any (v_live));
			end if;
			if p_excludes[i] is not null then
				clients[i] := clients[i] - (select count(*) from connection c
					where c.id = p_excludes[i]::uuid and c.topic_id = v_topics[i] and c.node_id = any (v_live)
						and (p_to_users[i] is null or c.user_id = p_to_users[i]));
			end if;
		end loop;
	end if;

	-- A doorbell: which topics have something new.
	for i in 0 .. (cardinality(v_ids) - 1) / 350 loop
		perform pg_notify('tidings', array_to_string(v_ids[i * 350 + 1 : i * 350 + 350], ','));
	end loop;
end
$$;

-- One transaction for many requests, each with one or more items. See src/store/publisher.h for the caller's side.
--
--	p_callers … p_hashes		a row per request; p_keys and p_hashes null without Idempotency-Key
--	p_requests … p_effect_olds	a row per item; p_requests is its request, from 1
--	outcome	ok | scheduled | forbidden | not_found | key_reused | replayed (seq and clients are those of the first time)
create function tidings.publish_batch(
	p_callers text[], p_roles text[], p_keys text[], p_hashes text[],
	p_requests int8[], p_topics text[], p_bodies text[], p_flags int8[], p_to_users text[], p_excludes text[],
	p_deliver_at text[], p_expires_at text[], p_effect_ids int8[], p_effect_values text[], p_effect_olds text[],
	p_queue_max int8, p_queue_min_age_s int8, p_queue_ttl_s int8)
returns table (item int8, outcome text, seq int8, clients int8)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_count int := cardinality(p_requests);
	v_verdicts text[] := array_fill('ok'::text, array[cardinality(p_callers)]); -- per request
	v_verdict text;
	v_keyed boolean := num_nonnulls(variadic p_keys) > 0;
	v_late boolean[] := array_fill(false, array[v_count]); -- per item: to be delivered later
	v_items int8[];	   -- those to append now, when they are not all
	v_seqs int8[];
	v_clients int8[];
	v_some record;
	v_request int8;
	v_hash text;
	v_now timestamptz := clock_timestamp();
begin
	if exists (
		select from (
			select distinct p_callers[p_requests[i]] as caller, p_roles[p_requests[i]] as role, p_topics[i] as topic
			from generate_series(1, v_count) as i
			offset 0) a -- asked once for each, not once an item
		where verdict(a.caller, a.role, a.topic, 'publish') <> 'ok')
	then
		for i in 1 .. v_count loop
			v_request := p_requests[i];
			continue when v_verdicts[v_request] = 'forbidden';
			v_verdict := verdict(p_callers[v_request], p_roles[v_request], p_topics[i], 'publish');
			if v_verdict <> 'ok' then
				v_verdicts[v_request] := v_verdict;
			end if;
		end loop;
	end if;

	if v_keyed then
		-- Sorted, so that two batches with the same keys never wait for each other in a ring.
		for v_request in
			select r from generate_series(1, cardinality(p_keys)) as r
			where p_keys[r] is not null and v_verdicts[r] = 'ok'
			order by p_callers[r] collate "C", p_keys[r] collate "C", r
		loop
			insert into idempotency as known (caller, key, hash, created_at)
				values (p_callers[v_request], p_keys[v_request], p_hashes[v_request], v_now)
				on conflict on constraint idempotency_pkey do update
					set hash = excluded.hash, results = null, created_at = excluded.created_at
					where known.created_at < v_now - interval '24 hours';
			if not found then
				select k.hash into v_hash from idempotency k
					where k.caller = p_callers[v_request] and k.key = p_keys[v_request];
				v_verdicts[v_request] := case when v_hash = p_hashes[v_request] then 'replayed' else 'key_reused' end;
			end if;
		end loop;
	end if;

	if num_nonnulls(variadic p_deliver_at) > 0 then
		for i in 1 .. v_count loop
			v_late[i] := coalesce(p_deliver_at[i]::timestamptz > v_now, false);
		end loop;
		insert into outbox (deliver_at, expires_at, ephemeral, exclude, to_user, topic, body)
			select p_deliver_at[i]::timestamptz, p_expires_at[i]::timestamptz, p_flags[i] & 1 = 1, p_excludes[i]::uuid,
				p_to_users[i], p_topics[i], p_bodies[i]
			from generate_series(1, v_count) as i
			where v_late[i] and v_verdicts[p_requests[i]] = 'ok';
		if found then
			perform pg_notify('tidings_outbox', '');
		end if;
	end if;

	if 'ok' = all (v_verdicts) and not true = any (v_late) then
		select a.seqs, a.clients into v_seqs, v_clients
			from append(p_topics, p_bodies, p_flags, p_to_users, p_excludes, p_expires_at, p_effect_ids, p_effect_values,
				p_effect_olds, p_queue_max, p_queue_min_age_s) a;
	else
		v_items := array(
			select i from generate_series(1, v_count) as i where v_verdicts[p_requests[i]] = 'ok' and not v_late[i]);
		if cardinality(v_items) > 0 then
			select a.* into v_some from append(
				array(select p_topics[k] from unnest(v_items) as k),
				array(select p_bodies[k] from unnest(v_items) as k),
				array(select p_flags[k] from unnest(v_items) as k),
				array(select p_to_users[k] from unnest(v_items) as k),
				array(select p_excludes[k] from unnest(v_items) as k),
				array(select p_expires_at[k] from unnest(v_items) as k),
				array(select p_effect_ids[k] from unnest(v_items) as k),
				array(select p_effect_values[k] from unnest(v_items) as k),
				array(select p_effect_olds[k] from unnest(v_items) as k),
				p_queue_max, p_queue_min_age_s) a;
			v_seqs := array_fill(null::int8, array[v_count]);
			v_clients := v_seqs;
			for n in 1 .. cardinality(v_items) loop
				v_seqs[v_items[n]] := v_some.seqs[n];
				v_clients[v_items[n]] := v_some.clients[n];
			end loop;
		end if;
	end if;

	if v_keyed then
		-- More than came, so it keeps up. Those that another batch is at can wait.
		delete from idempotency where ctid = any (array(
			select k.ctid from idempotency k where k.created_at < v_now - interval '24 hours'
			order by k.created_at limit 2 * cardinality(p_keys) + 16 for update skip locked));
		for v_some in
			select p_requests[i] as request, jsonb_agg(jsonb_build_array(v_seqs[i], v_clients[i]) order by i) as results
			from generate_series(1, v_count) as i
			where v_verdicts[p_requests[i]] = 'ok' and p_keys[p_requests[i]] is not null
			group by p_requests[i]
		loop
			update idempotency k set results = v_some.results
				where k.caller = p_callers[v_some.request] and k.key = p_keys[v_some.request];
		end loop;
		for v_request in select r from generate_series(1, cardinality(p_keys)) as r where v_verdicts[r] = 'replayed' loop
			select array_agg((e.result ->> 0)::int8 order by e.place) as seqs, array_agg((e.result ->> 1)::int8 order by e.place) as clients
				into v_some
				from idempotency k, jsonb_array_elements(k.results) with ordinality as e(result, place)
				where k.caller = p_callers[v_request] and k.key = p_keys[v_request];
			v_items := array(select i from generate_series(1, v_count) as i where p_requests[i] = v_request);
			for n in 1 .. cardinality(v_items) loop
				v_seqs[v_items[n]] := v_some.seqs[n];
				v_clients[v_items[n]] := v_some.clients[n];
			end loop;
		end loop;
	end if;

	return query
		select i::int8, case when v_late[i] and v_verdicts[p_requests[i]] = 'ok' then 'scheduled' else v_verdicts[p_requests[i]] end,
			v_seqs[i], coalesce(v_clients[i], 0)
		from generate_series(1, v_count) as i;
end
$$;

-- Publishes from inside anyone's own transaction: the message exists if and only if that transaction commits. It takes no lock, so
-- a transaction that stays open delays nobody.
create function tidings.publish(topic text, type text, data json, deliver_at timestamptz default null,
	expires_at timestamptz default null) returns void
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	if topic is null or topic !~ '^[A-Za-z0-9_.:/-]{1,128}$' then
		raise exception 'tidings: not the name of a topic: %', coalesce(topic, 'null') using errcode = 'invalid_parameter_value';
	end if;
	if coalesce(type, '') = '' or data is null then
		raise exception 'tidings: type and data are required' using errcode = 'invalid_parameter_value';
	end if;
	insert into outbox (deliver_at, expires_at, topic, body) values (coalesce(deliver_at, clock_timestamp()), expires_at, topic,
		'{"type":' || to_json(type) || ',"topic":' || to_json(topic)
		|| case when topic ~ '^diagnosis/[1-9][0-9]{0,17}$' then ',"diagnosis_id":' || substr(topic, 11) else '' end
		|| ',"timestamp":"' || to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
		|| '","data":' || data || '}');
	perform pg_notify('tidings_outbox', '');
end
$$;

-- Moves what is due from the outbox into the queue; one node at a time. Returns in how many ms the next is due: 0 when there may be
-- more now, null when nothing waits, and -1 when another node is at it.
create function tidings.relay(p_queue_max int8, p_queue_min_age_s int8) returns int8
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_ids int8[];
	v_topics text[];
	v_bodies text[];
	v_flags int8[];
	v_to_users text[];
	v_excludes text[];
	v_expires_at text[];
	v_none text[];
	v_now timestamptz := clock_timestamp();
begin
	if not pg_try_advisory_xact_lock(hashtext('tidings.relay')) then
		return -1;
	end if;
	select array_agg(o.id), array_agg(o.topic), array_agg(o.body), array_agg(o.ephemeral::int::int8), array_agg(o.to_user),
			array_agg(o.exclude::text), array_agg(o.expires_at::text), array_agg(null::text)
		into v_ids, v_topics, v_bodies, v_flags, v_to_users, v_excludes, v_expires_at, v_none
		from (select * from outbox where deliver_at <= v_now order by deliver_at, id limit 500
			for update skip locked) o;
	if v_ids is null then
		return (select ceil(extract(epoch from min(deliver_at) - clock_timestamp()) * 1000)::int8 from outbox);
	end if;
	perform append(v_topics, v_bodies, v_flags, v_to_users, v_excludes, v_expires_at, v_none::int8[], v_none, v_none,
		p_queue_max, p_queue_min_age_s);
	delete from outbox where id = any (v_ids);
	return 0;
end
$$;

-- Trims what nobody publishes to any more, topic by topic in id order. Returns the id to go on after, null at the end.
create function tidings.sweep(p_after int8, p_topics int8, p_queue_max int8, p_queue_min_age_s int8, p_queue_ttl_s int8)
returns int8
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_last int8;
	v_gone int8;
	v_old record;
	v_now timestamptz := clock_timestamp();
begin
	select max(id) into v_last from (select id from topic where id > p_after order by id limit p_topics) t;
	delete from idempotency where ctid = any (array(
		select k.ctid from idempotency k where k.created_at < v_now - interval '24 hours'
		order by k.created_at limit 1000 for update skip locked));
	-- Looked at without a lock first: most have nothing to trim. Skipping what is locked, it waits for no appender.
	for v_old in
		select t.id, t.first_seq, t.last_seq from topic t
		where t.id > p_after and t.id <= v_last and t.last_seq >= t.first_seq and (
			select m.created_at from message m
			where m.topic_id = t.id and m.seq >= t.first_seq order by m.seq limit 1) < v_now - make_interval(
				secs => case when t.last_seq - t.first_seq >= p_queue_max then least(p_queue_min_age_s, p_queue_ttl_s) else p_queue_ttl_s end)
		order by t.id for update skip locked
	loop
		v_gone := (
			select max(m.seq) from message m
			where m.topic_id = v_old.id and m.seq >= v_old.first_seq and m.seq <= v_old.first_seq + 10000
				and m.created_at < v_now - make_interval(
					secs => case when m.seq <= v_old.last_seq - p_queue_max then least(p_queue_min_age_s, p_queue_ttl_s) else p_queue_ttl_s end));
		continue when v_gone is null;
		delete from message m where m.topic_id = v_old.id and m.seq >= v_old.first_seq and m.seq <= v_gone;
		update topic t set first_seq = v_gone + 1 where t.id = v_old.id;
	end loop;
	return v_last;
end
$$;

-- What a client would get by GET /ws/history (spec 3.4). Header columns are repeated in every row; seq is null when there is none.
create function tidings.history(p_user text, p_role text, p_topic text, p_epoch text, p_after int8, p_limit int8)
returns table (outcome text, epoch text, recovered boolean, missed_from int8, missed_to int8, next_seq int8, seq int8, body text)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_topic topic%rowtype;
	v_outcome text := verdict(p_user, p_role, p_topic, 'subscribe');
	v_after int8;
begin
	if v_outcome <> 'ok' then
		return query select v_outcome, null::text, null::boolean, null::int8, null::int8, null::int8, null::int8, null::text;
		return;
	end if;
	select * into v_topic from topic t where t.name = p_topic;
	if not found then
		insert into topic (name) values (p_topic) on conflict do nothing;
		select * into v_topic from topic t where t.name = p_topic;
	end if;
	epoch := v_topic.epoch || cluster_tag();
	recovered := true;
	if p_epoch is null then
		v_after := greatest(v_topic.last_seq - p_limit, v_topic.first_seq - 1);
	elsif p_epoch <> epoch or p_after > v_topic.last_seq then
		recovered := false;
		v_after := greatest(v_topic.last_seq - p_limit, v_topic.first_seq - 1);
	else
		v_after := greatest(p_after, v_topic.first_seq - 1);
		if v_after > p_after then
			recovered := false;
			missed_from := p_after + 1;
			missed_to := v_after;
		end if;
	end if;
	return query
		with page as (
			select m.seq, m.body, m.to_user, m.expires_at from message m
			where m.topic_id = v_topic.id and m.seq > v_after and m.seq <= v_topic.last_seq order by m.seq limit p_limit
		)
		select 'ok', history.epoch, history.recovered, history.missed_from, history.missed_to,
			coalesce((select max(p.seq) from page p), greatest(v_after, 0)), m.seq, m.body
		from (select) one left join (
			select p.seq, p.body from page p
			where (p.to_user is null or p.to_user = p_user) and (p.expires_at is null or p.expires_at > clock_timestamp())
		) m on true
		order by m.seq;
end
$$;

revoke execute on all functions in schema tidings from public;
grant execute on function tidings.publish_batch(text[], text[], text[], text[], int8[], text[], text[], int8[], text[], text[], text[],
	text[], int8[], text[], text[], int8, int8, int8) to tidings_publisher;
grant execute on function tidings.history(text, text, text, text, int8, int8) to tidings_reader;
grant execute on function tidings.relay(int8, int8) to tidings_sidecar;
grant execute on function tidings.sweep(int8, int8, int8, int8, int8) to tidings_sidecar;

reset role;
