-- The roster of a topic: who is on it, one entry a user, however many connections they have, over all nodes (spec section 7, "Presence"). It is
-- kept nowhere: it is read from connection, and from departure, for those who left and may come back. So connecting writes nothing for it, a
-- connection that closes one row, and publishing nothing.
--
-- A node whose clients watch a topic reads it whenever that is rung, tells what has changed since it read it last, and knows from what it reads
-- when the next of those who left will be gone.

-- Rings for those of these topics that somebody watches.
create or replace function tidings.ring_rosters(p_topics int8[]) returns void
language plpgsql as $$
declare
	v_ids text;
begin
	for v_ids in
		select string_agg(i.topic_id::text, ',') from (
			select w.topic_id, row_number() over () / 300 as part from roster_watch w where w.topic_id = any (p_topics) group by w.topic_id) i
		group by i.part
	loop
		perform tidings.notify('control', 'rosters ' || v_ids);
	end loop;
end
$$;

-- These connections are gone: their users may come back. Of a node that died they were there as long as it counted as living.
create or replace function tidings.depart(p_gone tidings.connection[]) returns void
language plpgsql as $$
begin
	insert into departure as d (topic_id, user_id, since, left_at)
		select g.topic_id, g.user_id, min(coalesce(g.since, g.connected_at)),
			least(clock_timestamp(), max(n.heartbeat_at) + interval '15 seconds')
		from unnest(p_gone) as g join node n on n.id = g.node_id
		where g.topic_id <> 0 and g.user_id is not null and n.presence_grace_ms is not null
		group by g.topic_id, g.user_id order by g.topic_id, g.user_id
		on conflict on constraint departure_pkey
			do update set since = least(d.since, excluded.since), left_at = greatest(d.left_at, excluded.left_at);
	if exists (select from roster_watch) then
		perform ring_rosters(array(select distinct g.topic_id from unnest(p_gone) as g where g.topic_id <> 0));
	end if;
end
$$;

-- Departures that are over: of users who are gone, or who came back in time and so have never left, which their connections keep then. The
-- oldest p_rows of them.
create or replace function tidings.end_departures(p_rows int8) returns void
language plpgsql as $$
declare
	v_grace interval := make_interval(secs => coalesce((select max(n.presence_grace_ms) from node n), 0) / 1000.0);
	v_before timestamptz := clock_timestamp() - v_grace; -- a volatile function is no key of an index
	v_over tidings.departure[];
begin
	with over as (
		delete from departure where ctid = any (array(
			select o.ctid from departure o where o.left_at < v_before order by o.left_at limit p_rows for update skip locked))
		returning departure)
	select array_agg(o.departure) into v_over from over o;
	if v_over is not null then
		-- What is locked is being deleted.
		update connection k set since = i.since
			from (
				select c.ctid as place, d.since from unnest(v_over) as d, lateral (
					select o.ctid from connection o
					where o.topic_id = d.topic_id and o.user_id = d.user_id and o.connected_at <= d.left_at + v_grace
						and coalesce(o.since, o.connected_at) > d.since
					for update skip locked) c) i
			where k.ctid = i.place;
	end if;
end
$$;

-- Users on a topic. Of a node that is silent, but not buried, they are there still, without connections.
--
--	left_at	they have no connections, and are gone p_grace after this; null: they have some
create or replace function tidings.roster(p_topic int8, p_grace interval, p_now timestamptz)
returns table (user_id text, connections int8, since timestamptz, left_at timestamptz)
language sql stable as $$
	with here as (
		select c.user_id, count(*) filter (where n.heartbeat_at > p_now - interval '15 seconds') as connections,
			min(coalesce(c.since, c.connected_at)) as since
		from tidings.connection c join tidings.node n on n.id = c.node_id
		where c.topic_id = p_topic and c.user_id is not null and n.heartbeat_at > p_now - interval '15 seconds' - p_grace
		group by c.user_id
	), away as (
		select * from tidings.departure d where d.topic_id = p_topic
	)
	select coalesce(h.user_id, a.user_id), coalesce(h.connections, 0),
		case when h.user_id is null or h.since <= a.left_at + p_grace then least(h.since, a.since) else h.since end,
		case when h.user_id is null then a.left_at end
	from here h full join away a on a.user_id = h.user_id
	where h.user_id is not null or a.left_at > p_now - p_grace
$$;

create or replace function tidings.anonymous_clients(p_topic int8, p_now timestamptz) returns int8
language sql stable as $$
	select count(*) from tidings.connection c join tidings.node n on n.id = c.node_id
	where c.topic_id = p_topic and c.user_id is null and n.heartbeat_at > p_now - interval '15 seconds'
$$;

-- The rosters of topics that a node watches, which it is rung for from now on; a row for each user, at least one for each topic.
--
--	p_unwatched	topics that it watches no longer
--	p_limit		users of each topic, the first by their ids; header columns are of all
--	leaves_in_ms	when the first of those who have no connections is gone; null: there are none
create or replace function tidings.rosters(p_node text, p_topics int8[], p_unwatched int8[], p_limit int8, p_grace_ms int8)
returns table (topic_id int8, users int8, clients int8, anonymous int8, leaves_in_ms int8, user_id text, connections int8, since text)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_grace interval := make_interval(secs => p_grace_ms / 1000.0);
	v_topic int8;
	v_now timestamptz;
	v_anonymous int8;
begin
	perform set_config('synchronous_commit', 'off', true);
	if cardinality(p_unwatched) > 0 then
		delete from roster_watch w where w.topic_id = any (p_unwatched) and w.node_id = p_node::uuid;
	end if;
	insert into roster_watch
		select i, p_node::uuid from unnest(p_topics) as i
		where not exists (select from roster_watch w where w.topic_id = i and w.node_id = p_node::uuid)
		on conflict do nothing;
	foreach v_topic in array p_topics loop
		v_now := clock_timestamp();
		v_anonymous := anonymous_clients(v_topic, v_now);
		return query
			with found as (
				select * from roster(v_topic, v_grace, v_now)
			), page as (
				select * from found f order by f.user_id collate "C" limit p_limit
			)
			select v_topic, t.users, t.clients + v_anonymous, v_anonymous, t.leaves_in_ms, p.user_id, p.connections, stamp(p.since)
			from (
				select count(*) as users, coalesce(sum(f.connections), 0)::int8 as clients,
					(extract(epoch from min(f.left_at) + v_grace - v_now) * 1000)::int8 as leaves_in_ms
				from found f) t
			left join page p on true order by p.user_id collate "C";
	end loop;
end
$$;

-- May they see who is on the topic? Whoever reads it may be allowed to; services, which read nothing, too. As tidings.verdict().
create or replace function tidings.roster_verdict(user_id text, role text, topic text, require_user boolean) returns text
language plpgsql stable as $$
declare
	v_outcome text := tidings.verdict(user_id, role, topic, 'presence', require_user);
begin
	if v_outcome = 'ok' and role <> 'service' then
		v_outcome := tidings.verdict(user_id, role, topic, 'subscribe', require_user);
	end if;
	return v_outcome;
end
$$;

-- What GET /ws/presence says.
--
--	p_after		users after this one; null: from the first
--	outcome		as tidings.verdict()
create or replace function tidings.roster_page(p_user text, p_role text, p_topic text, p_after text, p_limit int8, p_grace_ms int8,
	p_require_user boolean, out outcome text, out page text)
language plpgsql stable security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_topic int8 := (select t.id from topic t where t.name = p_topic);
	v_now timestamptz := clock_timestamp();
	v_grace interval := make_interval(secs => p_grace_ms / 1000.0);
	v_anonymous int8 := anonymous_clients(v_topic, v_now);
begin
	outcome := roster_verdict(p_user, p_role, p_topic, p_require_user);
	if outcome <> 'ok' then
		return;
	end if;
	with found as (
		select * from roster(v_topic, v_grace, v_now)
	), shown as (
		select * from found f where p_after is null or f.user_id collate "C" > p_after collate "C" order by f.user_id collate "C" limit p_limit
	)
	select '{"topic":' || to_json(p_topic) || ',"clients":' || t.clients + v_anonymous || ',"anonymous":' || v_anonymous
			|| ',"users_total":' || t.users || ',"users":[' || coalesce((
				select string_agg('{"user_id":' || user_json(s.user_id) || ',"connections":' || s.connections || ',"since":"' || stamp(s.since) || '"}',
					',' order by s.user_id collate "C") from shown s), '')
			|| ']' || coalesce(',"next":' || to_json((
				select max(s.user_id collate "C") from shown s
				having max(s.user_id collate "C") < (select max(f.user_id collate "C") from found f))), '') || '}'
		into page
		from (select count(*) as users, coalesce(sum(f.connections), 0)::int8 as clients from found f) t;
end
$$;
