-- What the sidecars call, and what the status pages read.

-- Is each of these there, and active?
create or replace function tidings.user_active(p_users text[]) returns boolean[]
language plpgsql stable security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	return array(
		select coalesce((select u.active from app_user u where u.id = p_users[i]), false)
		from generate_series(1, cardinality(p_users)) as i);
end
$$;

-- May each of these subscribe, and where is the topic? A row per item. Of a node that is known, whoever may is written down with it:
-- so that a client can be told at once that it is connected.
--
--	outcome		as tidings.verdict(); busy: another transaction is making the topic
--	p_require_user	see tidings.verdict()
--	p_node …	who attaches, or null: nobody is written down. p_connections: null for one that is written down already
--	p_opened_ever	connections since the node's start
--	last_seq	a revocation up to it is over: only one that comes after it ends the subscription
--	delivered_seq	how far some client has been sent
--	confirmed_seq	how far some client has confirmed that
--	device_seq	it has no cursor, and its device goes on after this seq
--	unsent		there are messages for this user alone, up to confirmed_seq, that they have not been sent
--	same_epoch	its cursor's epoch, or its device's, is the topic's, or holds for it: see new_epoch()
--	counted		it is written down: a connection, and one client more of the topic
--	queue_max	by the topic's policy, else p_queue_max
--	rewound_after	it has no cursor, or none that holds, and goes back: it begins after this seq
--
-- Behind them, the first page of what they missed, as fetch() gives it: a row per message, its item null. Once for all items at the same
-- place of a topic; none for an item that has messages unsent.
--
--	p_afters, p_epochs	of each one's cursor. p_afters: null: it has none; p_epochs: null: it is damaged
--	p_also		what else each asks to be allowed: null, or 'presence', to see who is on the topic
--	p_devices	the name that a client gives itself, or null: whoever has no cursor goes on where that one was. It is kept from now on
--	p_queue_max	so many messages, of those that no client has confirmed, are for one without a (good) cursor, where no policy says another
--	p_rewinds	so many of the newest messages that are its own are for one without a (good) cursor instead; 0, null: as the topic's policy
--			has it, or none
--	p_types		JSON arrays: of these types alone; null: of all
--	p_rows		messages of one place at most; 0: no pages
--	p_bytes		of all bodies in the answer, the first aside; those who missed least come first
--	after		the place: its item's cursor, or where one without goes on from
create or replace function tidings.attach(p_users text[], p_roles text[], p_topics text[], p_require_user boolean default false,
	p_node text default null, p_opened_ever int8 default 0, p_connections text[] default null, p_transports text[] default null,
	p_connected_at text[] default null, p_afters int8[] default null, p_epochs text[] default null, p_queue_max int8 default 0,
	p_rows int8 default 0, p_bytes int8 default 0, p_rewinds int8[] default null, p_types text[] default null, p_also text[] default null, p_devices text[] default null)
returns table (item int8, outcome text, topic_id int8, epoch text, last_seq int8, first_seq int8, delivered_seq int8, confirmed_seq int8, device_seq int8, unsent boolean,
	same_epoch boolean, counted boolean, rewound_after int8, queue_max int8, after int8, seq int8, to_user text, exclude text, body text, revocation boolean, expires_in_ms int8, age_ms int8)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_count int := cardinality(p_topics);
	v_lasts int8[];
	v_outcomes text[];
	v_new text[];
	v_tag text := cluster_tag();
	v_new_epoch text := case when exists (select from unnest(p_epochs) as e where e ~ '^new') then new_epoch() end;
	v_known boolean := false;
	v_counted boolean[];
	v_commit text := current_setting('synchronous_commit');
	v_device_seqs int8[];
	v_named int8[] := '{}'; -- items that are a device's, and the place of each
	v_named_epochs text[] := '{}';
	v_named_seqs int8[] := '{}';
	-- Of the pages: topics, after which seq, up to which, and the topics' epochs.
	v_places int8[] := '{}';
	v_afters int8[] := '{}';
	v_up_to int8[] := '{}';
	v_epochs text[] := '{}';
	v_after int8;
	v_size int8;
	v_left int8 := p_bytes;
begin
	-- Before the right is asked for: so a right that is withdrawn in between has its revocation after last_seq.
	v_lasts := array(
		select coalesce((
			select coalesce((select m.seq from message m where m.topic_id = t.id and m.seq >= t.first_seq order by m.seq desc limit 1), t.first_seq - 1)
			from topic t where t.name = p_topics[i]), 0)
		from generate_series(1, v_count) as i);
	v_outcomes := array(
		select verdict(p_users[i], p_roles[i], p_topics[i], 'subscribe', p_require_user) from generate_series(1, v_count) as i);
	for i in 1 .. v_count loop
		if v_outcomes[i] = 'ok' and p_also[i] is not null then
			v_outcomes[i] := verdict(p_users[i], p_roles[i], p_topics[i], p_also[i], p_require_user);
		end if;
	end loop;

	v_new := array(
		select p_topics[i] from generate_series(1, v_count) as i
		where v_outcomes[i] = 'ok' and (select t.id from topic t where t.name = p_topics[i]) is null);
	if v_new <> '{}' then
		perform make_topics_for_readers(v_new);
	end if;

	if p_node is not null then
		-- Whoever buries the dead locks them: so it never meets this one half way.
		perform from node n where n.id = p_node::uuid for key share;
		v_known := found;
	end if;
	if v_known then
		-- One that was given up and taken again, and whose row has not been deleted yet, is for flush() to count.
		v_counted := array(
			select v_outcomes[i] = 'ok' and p_connections[i] is not null and not exists (
				select from connection c where c.id = p_connections[i]::uuid and c.topic_id + 0 = (select o.id from topic o where o.name = p_topics[i]))
			from generate_series(1, v_count) as i);
		-- As in flush(): that somebody is here is no promise to anyone. (A topic that is new is one to this machine.)
		if v_new = '{}' then
			perform set_config('synchronous_commit', 'off', true);
		end if;
		update node set opened = p_opened_ever where id = p_node::uuid and opened < p_opened_ever;
		insert into presence as p (topic_id, node_id, clients)
			select t.id, p_node::uuid, count(*)
			from generate_series(1, v_count) as i, lateral (select o.id from topic o where o.name = p_topics[i] offset 0) t
			where v_counted[i] group by t.id order by t.id
			on conflict on constraint presence_pkey do update set clients = p.clients + excluded.clients;
		insert into connection (id, node_id, topic_id, user_id, transport, connected_at)
			select p_connections[i]::uuid, p_node::uuid, t.id, p_users[i], p_transports[i], p_connected_at[i]::timestamptz
			from generate_series(1, v_count) as i, lateral (select o.id from topic o where o.name = p_topics[i] offset 0) t
			where v_counted[i]
			on conflict do nothing;
		if exists (select from roster_watch) then
			perform ring_rosters(array(
				select (select o.id from topic o where o.name = p_topics[i]) from generate_series(1, v_count) as i where v_counted[i]));
		end if;
	end if;

	-- A device's place stands for a cursor from here on.
	if p_devices is not null then
		for item, device_seq, epoch in
			select i::int8, d.seq, d.epoch from generate_series(1, v_count) as i, lateral (
				select o.seq, o.epoch from device o where o.user_id = p_users[i] and o.name = p_devices[i] and o.topic = p_topics[i] offset 0) d
			where p_afters[i] is null and v_outcomes[i] = 'ok'
		loop
			v_device_seqs[item] := device_seq;
			p_afters[item] := device_seq;
			p_epochs[item] := epoch;
		end loop;
	end if;

	-- "offset 0": looked up one by one by their index, whatever the planner knows of the tables.
	for item, outcome, topic_id, epoch, last_seq, first_seq, delivered_seq, confirmed_seq, device_seq, unsent, same_epoch, counted, rewound_after, queue_max in
		select i::int8, case when v_outcomes[i] = 'ok' and t.id is null then 'busy' else v_outcomes[i] end, t.id, t.epoch || v_tag, case when t.id is not null then v_lasts[i] end,
			case when t.id is not null then least(t.first_seq, v_lasts[i] + 1) end, least(coalesce(d.seq, 0), v_lasts[i]),
			least(coalesce(d.confirmed, 0), v_lasts[i]), v_device_seqs[i],
			coalesce((select true from message m
				where m.topic_id = t.id and m.to_user = p_users[i] and not m.sent and m.seq <= least(coalesce(d.confirmed, 0), v_lasts[i]) limit 1), false),
			coalesce(p_epochs[i] in (t.epoch || v_tag, v_new_epoch), false), coalesce(v_counted[i] and t.id is not null, false),
			case when l.rewind > 0 and t.id is not null and not coalesce(p_epochs[i] in (t.epoch || v_tag, v_new_epoch) and p_afters[i] <= v_lasts[i], false) then
				coalesce((select min(w.seq) - 1 from newest(t.id, t.first_seq, v_lasts[i], p_users[i], p_types[i], l.rewind) w), v_lasts[i]) end,
			case when t.id is not null then coalesce(l.queue_max, p_queue_max) end
		from generate_series(1, v_count) as i
		left join lateral (select * from topic o where o.name = p_topics[i] and v_outcomes[i] = 'ok' offset 0) t on true
		left join lateral (select o.seq, o.confirmed from delivered o where o.topic_id = t.id offset 0) d on true
		left join lateral policy_of(p_topics[i]) p on true,
		lateral (select p.queue_max, coalesce(nullif(p_rewinds[i], 0), p.rewind_default) as rewind) l
	loop
		return next;
		-- As subscription_find_place() has it (ws/session/subscription.c).
		if topic_id is not null then
			v_after := case
				when rewound_after is not null then rewound_after
				when p_afters[item] is null then greatest(confirmed_seq, first_seq - 1, last_seq - queue_max)
				when same_epoch and p_afters[item] <= last_seq then greatest(p_afters[item], first_seq - 1)
				else greatest(first_seq - 1, last_seq - queue_max) end;
			if p_devices[item] is not null and p_users[item] is not null then
				-- A place that the topic has not come to is none: the database was restored.
				if v_device_seqs[item] > last_seq then
					delete from device d where d.user_id = p_users[item] and d.name = p_devices[item] and d.topic = p_topics[item];
				end if;
				v_named := v_named || item;
				v_named_epochs := v_named_epochs || epoch;
				v_named_seqs := v_named_seqs || case when unsent and p_afters[item] is null then
					least(v_after, (select min(m.seq) - 1 from message m where m.topic_id = attach.topic_id and m.to_user = p_users[item] and not m.sent)) else v_after end;
			end if;
			if p_rows > 0 and v_after < last_seq and not (unsent and p_afters[item] is null and rewound_after is null) then
				v_places := v_places || topic_id;
				v_afters := v_afters || v_after;
				v_up_to := v_up_to || last_seq;
				v_epochs := v_epochs || epoch;
			end if;
		end if;
	end loop;
	if v_named <> '{}' and place_devices(
		array(select p_users[i] from unnest(v_named) with ordinality as n(i, place) order by place),
		array(select p_devices[i] from unnest(v_named) with ordinality as n(i, place) order by place),
		array(select p_topics[i] from unnest(v_named) with ordinality as n(i, place) order by place), v_named_epochs, v_named_seqs)
	then
		-- A device whose place got lost would go on where others are.
		perform set_config('synchronous_commit', v_commit, true);
	end if;
	if v_places = '{}' then
		return;
	end if;

	item := null; outcome := null; last_seq := null; first_seq := null; delivered_seq := null; confirmed_seq := null; device_seq := null; unsent := null; same_epoch := null; counted := null; rewound_after := null; queue_max := null;
	-- Read one by one: what is beyond p_bytes is not.
	for topic_id, epoch, after, seq, to_user, exclude, body, revocation, expires_in_ms, age_ms, v_size in
		select p.id, p.epoch, p.after, m.seq, m.to_user, m.exclude::text,
			case when m.expires_at is null or m.expires_at > clock_timestamp() then m.body end, m.revocation,
			case when isfinite(m.expires_at) then (extract(epoch from m.expires_at - clock_timestamp()) * 1000)::int8 end,
			(extract(epoch from clock_timestamp() - m.created_at) * 1000)::int8, octet_length(m.body)
		from (
			select i.id, i.after, i.up_to, i.epoch from unnest(v_places, v_afters, v_up_to, v_epochs) as i(id, after, up_to, epoch)
			group by i.id, i.after, i.up_to, i.epoch order by i.up_to - i.after, i.id, i.after) p,
		lateral (
			select * from message q
			where q.topic_id = (select o.id from topic o where o.id = p.id and o.epoch || v_tag = p.epoch) and q.seq > p.after and q.seq <= p.up_to
			order by q.seq limit p_rows) m
	loop
		return next;
		v_left := v_left - v_size;
		exit when v_left <= 0;
	end loop;
end
$$;

-- Lets a live-health connection in, and writes it down (on topic 0: it stands for itself), unless its user has p_max of them over
-- all nodes that live. One connection of a user at a time: so of those that come at once, to several nodes, no more than p_max get in.
--
--	p_require_user	refuse one who is not in tidings.app_user, or not active
--	returns		ok | no_user | too_many
create or replace function tidings.admit(p_node text, p_user text, p_connection text, p_transport text, p_connected_at text,
	p_require_user boolean, p_max int8) returns text
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	perform set_config('synchronous_commit', 'off', true);
	perform pg_advisory_xact_lock(hashtextextended('tidings.admit ' || p_user, 0));
	if p_require_user and not (user_active(array[p_user]))[1] then
		return 'no_user';
	elsif (
		select count(*) from connection c
		where c.user_id = p_user and c.topic_id = 0 and array_position(array(
			select n.id from node n where n.heartbeat_at > clock_timestamp() - interval '15 seconds'), c.node_id) is not null) >= p_max
	then
		return 'too_many';
	end if;
	-- Whoever buries the dead locks them: so it never meets this one half way.
	perform from node n where n.id = p_node::uuid for key share;
	insert into connection (id, node_id, topic_id, user_id, transport, connected_at)
		values (p_connection::uuid, p_node::uuid, 0, p_user, p_transport, p_connected_at::timestamptz)
		on conflict do nothing;
	return 'ok';
end
$$;

-- Whatever a node has to write down, in one call: what is in it is safe to write twice.
--
--	p_presence …	topics whose number of clients changed, and that number; 0: none any more
--	p_opened …	subscriptions that are new: each a connection, and a topic of it
--	p_closed …	subscriptions that are gone; one that is opened too is there again
--	p_delivered …	how far some client has been sent, per topic and its epoch; of another epoch than the topic's it says nothing
--	p_sent …	messages for one user alone that have been sent, with their topics' epochs
--	p_opened_ever	connections since the node's start
--	p_confirmed	how far some client has confirmed that, for each of p_delivered
--	p_device_…	what devices have confirmed: their users, names, topics, with their topics' epochs
create or replace function tidings.flush(
	p_node text, p_presence int8[], p_clients int8[],
	p_opened text[], p_opened_topics int8[], p_opened_users text[], p_opened_transports text[], p_opened_at text[],
	p_closed text[], p_closed_topics int8[], p_delivered int8[], p_delivered_seqs int8[], p_delivered_epochs text[],
	p_sent int8[], p_sent_seqs int8[], p_sent_epochs text[], p_opened_ever int8, p_confirmed int8[] default '{}',
	p_device_users text[] default '{}', p_device_names text[] default '{}', p_device_topics text[] default '{}', p_device_epochs text[] default '{}',
	p_device_seqs int8[] default '{}') returns void
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_tag text := cluster_tag();
	v_grace_ms int8;
	v_gone tidings.connection[];
begin
	-- None of it is a promise to anyone: after a crash a message may be sent twice, never lost.
	perform set_config('synchronous_commit', 'off', true);

	-- Whoever buries the dead locks them: so it never meets this one half way.
	select n.presence_grace_ms into v_grace_ms from node n where n.id = p_node::uuid for key share;
	update node set opened = p_opened_ever where id = p_node::uuid and opened < p_opened_ever;

	if cardinality(p_presence) > 0 then
		insert into presence as p (topic_id, node_id, clients)
			select i.topic_id, p_node::uuid, i.clients from unnest(p_presence, p_clients) as i(topic_id, clients) where i.clients > 0
			order by i.topic_id
			on conflict on constraint presence_pkey do update set clients = excluded.clients;
		delete from presence where node_id = p_node::uuid and topic_id = any (array(
			select i.topic_id from unnest(p_presence, p_clients) as i(topic_id, clients) where i.clients = 0));
	end if;
	-- Before what is new: of those that were given up and taken again meanwhile, the later counts.
	if cardinality(p_closed) > 0 then
		-- "+ 0": never by the index of topics. All live connections have a row of topic 0, and where the planner took the table for
		-- empty it read all of those for each that closed.
		with gone as (
			delete from connection where ctid = any (array(
				select c.ctid from (
					select q.id, array_agg(q.topic_id) as topics from unnest(p_closed, p_closed_topics) as q(id, topic_id) group by q.id) i,
				lateral (select o.ctid from connection o where o.id = i.id::uuid and o.topic_id + 0 = any (i.topics) offset 0) c))
			returning connection)
		select array_agg(g.connection) into v_gone from gone g where v_grace_ms is not null;
		if v_gone is not null then
			perform depart(v_gone);
		end if;
	end if;
	if cardinality(p_opened) > 0 then
		insert into connection (id, node_id, topic_id, user_id, transport, connected_at)
			select i.id::uuid, p_node::uuid, i.topic_id, i.user_id, i.transport, i.connected_at::timestamptz
			from unnest(p_opened, p_opened_topics, p_opened_users, p_opened_transports, p_opened_at)
				as i(id, topic_id, user_id, transport, connected_at)
			on conflict do nothing;
		perform ring_rosters(p_opened_topics);
	end if;
	if cardinality(p_delivered) > 0 then
		insert into delivered as d (topic_id, seq, confirmed)
			select i.topic_id, least(i.seq, t.last_seq), least(coalesce(i.confirmed, 0), t.last_seq)
			from unnest(p_delivered, p_delivered_seqs, p_delivered_epochs, p_confirmed) as i(topic_id, seq, epoch, confirmed), lateral (
				select o.epoch, coalesce((
					select m.seq from message m where m.topic_id = o.id and m.seq >= o.first_seq order by m.seq desc limit 1), o.first_seq - 1) as last_seq
				from topic o where o.id = i.topic_id offset 0) t
			where t.epoch || v_tag = i.epoch order by i.topic_id
			on conflict on constraint delivered_pkey do update
				set seq = greatest(d.seq, excluded.seq), confirmed = greatest(d.confirmed, excluded.confirmed)
				where d.seq < excluded.seq or d.confirmed < excluded.confirmed;
	end if;
	if cardinality(p_device_users) > 0 then
		perform confirm_devices(p_device_users, p_device_names, p_device_topics, p_device_epochs, p_device_seqs);
	end if;
	if cardinality(p_sent) > 0 then
		-- Skipping what is locked, being trimmed or marked by another node, it waits for nobody with locks in hand.
		update message set sent = true where ctid = any (array(
			select m.ctid from unnest(p_sent, p_sent_seqs, p_sent_epochs) as i(topic_id, seq, epoch), lateral (
				select o.ctid from message o where o.topic_id = i.topic_id and o.seq = i.seq and not o.sent
					and (select t.epoch from topic t where t.id = i.topic_id) || v_tag = i.epoch
				for update skip locked) m));
	end if;
end
$$;

-- Compares what a node knows of its topics with what is there: so a notification that got lost costs time, never a message. Where a
-- topic is not as far as the node has read it, the database is one that was restored, though nothing else shows it (a volume's
-- snapshot): every numbering is another then.
--
--	returns	a row per topic that has moved (last_seq) or is another now (epoch; null when it is gone)
create or replace function tidings.moved(p_topics int8[], p_last_seqs int8[], p_epochs text[])
returns table (topic_id int8, last_seq int8, epoch text)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_tag text := cluster_tag();
begin
	if exists (
		select from unnest(p_topics, p_last_seqs, p_epochs) as i(topic_id, last_seq, epoch), lateral (
			select o.epoch, coalesce((
				select m.seq from message m where m.topic_id = o.id and m.seq >= o.first_seq order by m.seq desc limit 1), o.first_seq - 1) as last_seq
			from topic o where o.id = i.topic_id offset 0) t
		where t.last_seq < i.last_seq and t.epoch || v_tag = i.epoch)
	then
		perform renew_epochs();
		v_tag := cluster_tag();
	end if;

	return query
		select i.topic_id, t.last_seq, t.epoch || v_tag
		from unnest(p_topics, p_last_seqs, p_epochs) as i(topic_id, last_seq, epoch)
		left join lateral (
			select o.epoch, coalesce((
				select m.seq from message m where m.topic_id = o.id and m.seq >= o.first_seq order by m.seq desc limit 1), o.first_seq - 1) as last_seq
			from topic o where o.id = i.topic_id offset 0) t on true
		where t.last_seq is distinct from i.last_seq or t.epoch || v_tag is distinct from i.epoch;
end
$$;

-- Says that a node lives, buries those that don't, and compares its topics.
--
--	p_draining	it takes no new clients
--	p_grace_ms	TIDINGS_PRESENCE_GRACE; null: TIDINGS_PRESENCE=no
--	returns	as moved(); and a row with topic_id 0 when this node was not known: it has to write its presence and connections anew
create or replace function tidings.heartbeat(p_node text, p_started_at text, p_connections int8, p_opened int8,
	p_topics int8[], p_last_seqs int8[], p_epochs text[], p_draining boolean default false, p_grace_ms int8 default null)
returns table (topic_id int8, last_seq int8, epoch text)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_now timestamptz := clock_timestamp();
	v_dead uuid[];
	v_gone tidings.connection[];
begin
	perform set_config('synchronous_commit', 'off', true);
	update node set heartbeat_at = v_now, connections = p_connections, opened = p_opened, draining = p_draining, presence_grace_ms = p_grace_ms
		where id = p_node::uuid;
	if not found then
		-- What nodes left that were buried, and wrote once more before they died. One node at a time: one that is new here by now writes
		-- what it has down anew after this.
		perform pg_advisory_xact_lock(hashtextextended('tidings.node', 0));
		delete from presence where node_id <> all (array(select n.id from node n));
		delete from connection where node_id <> all (array(select n.id from node n));
		insert into node (id, started_at, heartbeat_at, connections, opened, draining, presence_grace_ms)
			values (p_node::uuid, p_started_at::timestamptz, v_now, p_connections, p_opened, p_draining, p_grace_ms);
		return query select 0::int8, 0::int8, ''::text;
	end if;

	select array_agg(n.id) into v_dead from (
		select id from node where heartbeat_at < v_now - interval '15 seconds' for update skip locked) n;
	if v_dead is not null then
		delete from presence where node_id = any (v_dead);
		with gone as (delete from connection where node_id = any (v_dead) returning connection)
		select array_agg(g.connection) into v_gone from gone g;
		perform depart(v_gone);
		delete from roster_watch where node_id = any (v_dead);
		delete from node where id = any (v_dead);
	end if;
	perform end_departures(5000);

	return query select * from moved(p_topics, p_last_seqs, p_epochs);
end
$$;

-- A node goes, and says so.
create or replace function tidings.farewell(p_node text) returns void
language plpgsql security definer set search_path = tidings, pg_temp as $$
declare
	v_gone tidings.connection[];
begin
	delete from presence where node_id = p_node::uuid;
	with gone as (delete from connection where node_id = p_node::uuid returning connection)
	select array_agg(g.connection) into v_gone from gone g;
	perform depart(v_gone);
	delete from roster_watch where node_id = p_node::uuid;
	delete from node where id = p_node::uuid;
end
$$;

create or replace function tidings.live_nodes() returns int8
language sql stable security definer set search_path = tidings, pg_temp as $$
	select count(*) from node where heartbeat_at > clock_timestamp() - interval '15 seconds'
$$;

-- Whether publishing works: does what that does, as far as it leaves nothing behind. Some 300 kB go to a temporary file, which a full
-- disk refuses, and a record to the server's log, whose commit waits for standbys as any other.
create or replace function tidings.commit_works() returns boolean
language plpgsql security definer
set search_path = tidings, pg_temp set work_mem = '64kB'
as $$
begin
	perform count(*) from generate_series(1, 10000);
	perform pg_logical_emit_message(true, 'tidings', '');
	return not current_setting('transaction_read_only')::boolean;
end
$$;

-- What GET /ws/status says.
--
--	p_whole	with what has names or ids in it, for which every diagnosis's topic is looked at
create or replace function tidings.status(p_whole boolean default true) returns json
language sql stable security definer set search_path = tidings, pg_temp
set jit = off -- what is not run would be compiled too
as $$
	with live as (
		select * from node where heartbeat_at > clock_timestamp() - interval '15 seconds'
	), present as (
		-- "offset 0": looked up one by one, however few topics the planner takes there to be
		select t.name, sum(p.clients) as clients
		from presence p join live n on n.id = p.node_id cross join lateral (select o.name from topic o where o.id = p.topic_id offset 0) t
		group by t.name
	), diagnoses as (
		select diagnosis_of(name) as id, clients from present where diagnosis_of(name) is not null
	), unsent as ( -- for one user each, passed over by what some client has been sent; few: by their indexes, not topic by topic
		select m.topic_id, count(*) as messages from message m join delivered d on d.topic_id = m.topic_id
		where m.to_user is not null and not m.sent and m.seq <= d.seq group by m.topic_id
	), revocations as (
		select m.topic_id, count(*) as messages
		from message m join topic t on t.id = m.topic_id left join delivered d on d.topic_id = m.topic_id
		where m.revocation and m.seq > greatest(coalesce(d.seq, 0), t.first_seq - 1) group by m.topic_id
	), waiting as (
		select t.name, l.seq - greatest(coalesce(d.seq, 0), t.first_seq - 1) + coalesce(u.messages, 0) - coalesce(r.messages, 0) as messages
		from topic t cross join lateral (
			select m.seq from message m where m.topic_id = t.id and m.seq >= t.first_seq order by m.seq desc limit 1) l
		left join delivered d on d.topic_id = t.id
		left join unsent u on u.topic_id = t.id
		left join revocations r on r.topic_id = t.id
		where t.name >= 'diagnosis/' and t.name < 'diagnosis0'
	), connected as (
		select c.* from connection c join live n on n.id = c.node_id
	), totals as (
		select json_build_object(
			'total_diagnoses', (select count(*) from diagnoses),
			'total_connections', (select count(distinct id) from connected),
			'active_connections', (select count(distinct id) from connected),
			'connections_opened', (select coalesce(sum(opened), 0) from live),
			'users_online', (select count(distinct user_id) from connected),
			'subscriptions', json_build_object(
				'health_updates', (select coalesce(sum(clients), 0) from present where name ~ '^health/'),
				'chat', (select coalesce(sum(clients), 0) from present where name ~ '^chats?/'),
				'notifications', (select coalesce(sum(clients), 0) from present where name ~ '^notifications/')),
			'connections_by_transport', (
				select json_build_object('websocket', count(distinct id) filter (where transport = 'websocket'),
					'sse', count(distinct id) filter (where transport = 'sse'), 'long_poll', count(distinct id) filter (where transport = 'long_poll'))
				from connected)) as json
	)
	select case when not p_whole then t.json else (left(t.json::text, -1)
		|| ', "connections_by_diagnosis" : ' || coalesce((select json_object_agg(id, clients order by id) from diagnoses)::text, '{}')
		|| ', "queued_messages_by_diagnosis" : ' || coalesce((
			select json_object_agg(w.id, w.messages order by w.id) from (
				select diagnosis_of(q.name) as id, q.messages from waiting q where q.messages > 0 offset 0) w where w.id is not null)::text, '{}')
		|| ', "nodes" : ' || coalesce((
			select json_agg(json_build_object('id', n.id, 'started_at',
				to_char(n.started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'connections',
				(select count(distinct c.id) from connected c where c.node_id = n.id), 'draining', n.draining) order by n.started_at, n.id) from live n)::text, '[]')
		|| '}')::json end
	from totals t
$$;
