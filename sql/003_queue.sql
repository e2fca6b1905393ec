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
create function tidings.append(
	p_topics text[], p_bodies text[], p_flags int8[], p_to_users text[], p_excludes text[], p_expires_at text[],
	p_effect_ids int8[], p_effect_values text[], p_effect_olds text[],
	p_queue_max int8, p_queue_min_age_s int8, out seqs int8[], out clients int8[])
language plpgsql security definer
set search_path = tidings, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_ids int8[];	-- the topics', ascending
	v_names text[];
	v_topics int8[]; -- per item: its topic's id
	v_now timestamptz;
	v_old numeric;
	v_new numeric;
	v_users bigint;
	v_excluded bigint;
begin
	insert into topic (name)
		select n.name from (select distinct unnest(p_topics) collate "C" as name) n
		where not exists (select from topic t where t.name = n.name)
		order by n.name
		on conflict do nothing;

	-- Two steps, so that both go by their index whatever the planner knows of the table.
	select array_agg(t.id order by t.id), array_agg(t.name order by t.id) into v_ids, v_names
		from (select distinct unnest(p_topics) collate "C" as name) n join topic t on t.name = n.name;
	perform from topic where id = any (v_ids) order by id for update;

	-- After the lock: so created_at follows seq.
	v_now := clock_timestamp();

	select array_agg(v_ids[array_position(v_names, i.name)] order by i.item) into v_topics
		from unnest(p_topics) with ordinality as i(name, item);

	for i in 1 .. array_length(p_topics, 1) loop
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

	with numbered as (
		select i.item, t.id as topic_id, i.body, i.to_user, i.exclude, i.expires_at,
			case when i.flags & 1 = 0 then
				t.last_seq + count(*) filter (where i.flags & 1 = 0) over (partition by t.id order by i.item)
			end as seq
		from unnest(v_topics, p_bodies, p_flags, p_to_users, p_excludes, p_expires_at)
			with ordinality as i(topic_id, body, flags, to_user, exclude, expires_at, item)
		join topic t on t.id = i.topic_id
	), grown as (
		select topic_id, max(seq) as last_seq, count(*) as n from numbered where seq is not null group by topic_id
	), bounds as (
		-- What is too many and old enough may go, a bounded number at a time: more than came, so it keeps up.
		select g.topic_id, g.last_seq, (
			select max(m.seq) from message m
			where m.topic_id = g.topic_id and m.seq >= t.first_seq
				and m.seq <= least(t.first_seq + 2 * g.n + 16, g.last_seq - p_queue_max)
				and m.created_at < v_now - make_interval(secs => p_queue_min_age_s)) as gone_seq
		from grown g join topic t on t.id = g.topic_id
	), trimmed as (
		delete from message m using bounds b
		where b.gone_seq is not null and m.topic_id = b.topic_id and m.seq <= b.gone_seq
	), appended as (
		insert into message (topic_id, seq, created_at, expires_at, exclude, to_user, body)
			select topic_id, seq, v_now, expires_at::timestamptz, exclude::uuid, to_user, body
			from numbered where seq is not null order by topic_id, seq
	), counted as (
		update topic t set last_seq = b.last_seq, first_seq = coalesce(b.gone_seq + 1, t.first_seq)
			from bounds b where t.id = b.topic_id
	)
	select array_agg(seq order by item) into seqs from numbered;

	select array_agg(coalesce((
			select sum(p.clients) from presence p join node n on n.id = p.node_id
			where p.topic_id = i.topic_id and n.heartbeat_at > v_now - interval '15 seconds'), 0)::int8 order by i.item)
		into clients
		from unnest(v_topics) with ordinality as i(topic_id, item);

	for i in 1 .. array_length(p_topics, 1) loop
		continue when p_to_users[i] is null and p_excludes[i] is null;
		select count(*) filter (where c.user_id = p_to_users[i]), count(*) filter (where c.id = p_excludes[i]::uuid
				and (p_to_users[i] is null or c.user_id = p_to_users[i]))
			into v_users, v_excluded
			from connection c join node n on n.id = c.node_id
			where c.topic_id = v_topics[i] and n.heartbeat_at > v_now - interval '15 seconds'
				and (c.user_id = p_to_users[i] or c.id = p_excludes[i]::uuid);
		clients[i] := case when p_to_users[i] is null then clients[i] else v_users end - v_excluded;
	end loop;

	for i in 1 .. array_length(p_topics, 1) loop
		continue when p_flags[i] & 1 = 0;
		perform pg_notify('tidings_ephemeral', concat_ws(' ', v_topics[i], coalesce(p_excludes[i], '-'),
			octet_length(coalesce(p_to_users[i], '')), coalesce(p_to_users[i], ''), p_bodies[i]));
	end loop;

	-- A doorbell: which topics have something new.
	for i in 0 .. (array_length(v_ids, 1) - 1) / 350 loop
		perform ring(array_to_string(v_ids[i * 350 + 1 : i * 350 + 350], ','));
	end loop;
end
$$;

create function tidings.ring(topic_ids text) returns void
language sql as $$
	select pg_notify('tidings', topic_ids)
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
set search_path = tidings, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
	v_verdicts text[]; -- per request
	v_items int8[];	   -- those to append now
	v_seqs int8[];
	v_clients int8[];
	v_request int8;
	v_hash text;
	v_now timestamptz := clock_timestamp();
begin
	select array_agg(v.verdict order by v.request) into v_verdicts from (
		select i.request, coalesce(min(d.verdict) filter (where d.verdict <> 'ok'), 'ok') as verdict
		from unnest(p_requests, p_topics) as i(request, topic)
		join (
			select a.caller, a.role, a.topic, verdict(a.caller, a.role, a.topic, 'publish') as verdict from (
				select distinct p_callers[i.request] as caller, p_roles[i.request] as role, i.topic
				from unnest(p_requests, p_topics) as i(request, topic)
				offset 0) a -- asked once for each, not once an item
		) d on d.caller = p_callers[i.request] and d.role = p_roles[i.request] and d.topic = i.topic
		group by i.request) v;

	-- Sorted, so that two batches with the same keys never wait for each other in a ring.
	for v_request in
		select k.request from unnest(p_callers, p_keys) with ordinality as k(caller, key, request)
		where k.key is not null and v_verdicts[k.request] = 'ok'
		order by k.caller collate "C", k.key collate "C", k.request
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

	insert into outbox (deliver_at, expires_at, ephemeral, exclude, to_user, topic, body)
		select p_deliver_at[i]::timestamptz, p_expires_at[i]::timestamptz, p_flags[i] & 1 = 1, p_excludes[i]::uuid,
			p_to_users[i], p_topics[i], p_bodies[i]
		from generate_subscripts(p_requests, 1) as i
		where v_verdicts[p_requests[i]] = 'ok' and p_deliver_at[i]::timestamptz > v_now
		order by i;
	if found then
		perform pg_notify('tidings_outbox', '');
	end if;

	if 'ok' = all (v_verdicts) and not exists (select from unnest(p_deliver_at) d(t) where t is not null) then
		select a.seqs, a.clients into v_seqs, v_clients
			from append(p_topics, p_bodies, p_flags, p_to_users, p_excludes, p_expires_at, p_effect_ids, p_effect_values,
				p_effect_olds, p_queue_max, p_queue_min_age_s) a;
	else
		v_items := array(
			select i from generate_subscripts(p_requests, 1) as i
			where v_verdicts[p_requests[i]] = 'ok' and (p_deliver_at[i] is null or p_deliver_at[i]::timestamptz <= v_now)
			order by i);
		if cardinality(v_items) > 0 then
			select array_agg(a.seq order by o.i), array_agg(a.clients order by o.i) into v_seqs, v_clients
			from generate_subscripts(p_requests, 1) as o(i)
			left join (
				select v_items[s.n] as i, r.seqs[s.n] as seq, r.clients[s.n] as clients
				from append(
					array(select p_topics[k] from unnest(v_items) with ordinality v(k, n) order by n),
					array(select p_bodies[k] from unnest(v_items) with ordinality v(k, n) order by n),
					array(select p_flags[k] from unnest(v_items) with ordinality v(k, n) order by n),
					array(select p_to_users[k] from unnest(v_items) with ordinality v(k, n) order by n),
					array(select p_excludes[k] from unnest(v_items) with ordinality v(k, n) order by n),
					array(select p_expires_at[k] from unnest(v_items) with ordinality v(k, n) order by n),
					array(select p_effect_ids[k] from unnest(v_items) with ordinality v(k, n) order by n),
					array(select p_effect_values[k] from unnest(v_items) with ordinality v(k, n) order by n),
					array(select p_effect_olds[k] from unnest(v_items) with ordinality v(k, n) order by n),
					p_queue_max, p_queue_min_age_s) r,
				generate_series(1, cardinality(v_items)) as s(n)
			) a on a.i = o.i;
		end if;
	end if;

	update idempotency k set results = r.results
		from (
			select p_requests[i] as request, jsonb_agg(jsonb_build_array(v_seqs[i], v_clients[i]) order by i) as results
			from generate_subscripts(p_requests, 1) as i
			where v_verdicts[p_requests[i]] = 'ok' and p_keys[p_requests[i]] is not null
			group by 1) r
		where k.caller = p_callers[r.request] and k.key = p_keys[r.request];

	return query
		select i.n, case
				when v_verdicts[p_requests[i.n]] = 'ok' and p_deliver_at[i.n]::timestamptz > v_now then 'scheduled'
				else v_verdicts[p_requests[i.n]]
			end,
			case when k.results is null then v_seqs[i.n] else (k.results -> i.place ->> 0)::int8 end,
			case when k.results is null then coalesce(v_clients[i.n], 0) else coalesce((k.results -> i.place ->> 1)::int8, 0) end
		from (
			select n::int8 as n, (row_number() over (partition by p_requests[n] order by n) - 1)::int as place
			from generate_subscripts(p_requests, 1) as n) i
		left join idempotency k on v_verdicts[p_requests[i.n]] = 'replayed'
			and k.caller = p_callers[p_requests[i.n]] and k.key = p_keys[p_requests[i.n]]
		order by i.n;
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
language plpgsql security definer set search_path = tidings, pg_temp as $$
declare
	v_ids int8[];
	v_topics text[];
	v_bodies text[];
	v_flags int8[];
	v_to_users text[];
	v_excludes text[];
	v_expires_at text[];
	v_none text[];
begin
	if not pg_try_advisory_xact_lock(hashtext('tidings.relay')) then
		return -1;
	end if;
	select array_agg(o.id), array_agg(o.topic), array_agg(o.body), array_agg(o.ephemeral::int::int8), array_agg(o.to_user),
			array_agg(o.exclude::text), array_agg(o.expires_at::text), array_agg(null::text)
		into v_ids, v_topics, v_bodies, v_flags, v_to_users, v_excludes, v_expires_at, v_none
		from (select * from outbox where deliver_at <= clock_timestamp() order by deliver_at, id limit 500
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
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
	v_last int8;
	v_now timestamptz := clock_timestamp();
begin
	select max(id) into v_last from (select id from topic where id > p_after order by id limit p_topics) t;
	if p_after = 0 then
		delete from idempotency where created_at < v_now - interval '24 hours';
	end if;
	with old as materialized (
		-- Locked in id order, as appenders do.
		select id, first_seq, last_seq from topic
		where id > p_after and id <= v_last and last_seq >= first_seq order by id for update skip locked
	), bounds as (
		select o.id, greatest(
			(select max(m.seq) from message m where m.topic_id = o.id and m.seq <= least(o.last_seq - p_queue_max, o.first_seq + 10000)
				and m.created_at < v_now - make_interval(secs => p_queue_min_age_s)),
			(select max(m.seq) from message m where m.topic_id = o.id and m.seq <= o.first_seq + 10000
				and m.created_at < v_now - make_interval(secs => p_queue_ttl_s))) as gone_seq
		from old o
	), gone as (
		delete from message m using bounds b where m.topic_id = b.id and m.seq <= b.gone_seq
	)
	update topic t set first_seq = b.gone_seq + 1 from bounds b where t.id = b.id and b.gone_seq is not null;
	return v_last;
end
$$;

-- What a client would get by GET /ws/history (spec 3.4). Header columns are repeated in every row; seq is null when there is none.
create function tidings.history(p_user text, p_role text, p_topic text, p_epoch text, p_after int8, p_limit int8)
returns table (outcome text, epoch text, recovered boolean, missed_from int8, missed_to int8, next_seq int8, seq int8, body text)
language plpgsql security definer set search_path = tidings, pg_temp as $$
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
