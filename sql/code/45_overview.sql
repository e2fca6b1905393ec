-- What an operator looks at, and does with what was given up: by the command, and by the routes of the page /admin.

-- Topics, with what happens in them; the first p_limit of them by 'rate', 'lag' or 'clients'.
--
--	lag		messages that no client has been sent
--	per_minute	messages of the last minute: all of these are kept, where TIDINGS_QUEUE_MIN_AGE is not less
create or replace function tidings.topics(p_by text, p_limit int8) returns json
language sql stable security definer set search_path = tidings, pg_temp as $$
	with present as (
		select p.topic_id, sum(p.clients) as clients from presence p join node n on n.id = p.node_id
		where n.heartbeat_at > clock_timestamp() - interval '15 seconds' group by p.topic_id
	), found as (
		select t.name, coalesce(m.seq, t.first_seq - 1) as last_seq, m.created_at, coalesce(p.clients, 0) as clients,
			greatest(coalesce(m.seq, t.first_seq - 1) - greatest(coalesce(d.seq, 0), t.first_seq - 1), 0) as lag,
			case when m.created_at > clock_timestamp() - interval '1 minute' then (
				select count(*) from message o
				where o.topic_id = t.id and o.seq >= t.first_seq and o.created_at > clock_timestamp() - interval '1 minute') else 0 end as per_minute
		from topic t
		left join lateral (
			select o.seq, o.created_at from message o where o.topic_id = t.id and o.seq >= t.first_seq order by o.seq desc limit 1) m on true
		left join present p on p.topic_id = t.id
		left join delivered d on d.topic_id = t.id
	), chosen as (
		select f.*, row_number() over (order by case p_by when 'lag' then f.lag when 'clients' then f.clients else f.per_minute end desc, f.name) as place
		from found f
	)
	select coalesce(json_agg(json_build_object('topic', c.name, 'clients', c.clients, 'per_minute', c.per_minute, 'lag', c.lag,
		'last_seq', c.last_seq, 'newest_at', stamp(c.created_at)) order by c.place), '[]')
	from chosen c where c.place <= p_limit
$$;

-- Connections to nodes that live, the oldest first, at most p_limit of them; of one user, or of one topic, unless that is null.
--
--	p_after	as `next` says; null: from the first
--	p_asked	what ask_reports() or ask_slow() returned, or null
--	p_slow	only those that lag, or that something waits for, as their nodes have told since p_asked
--	next	where the next page begins; null: there is none
--	fresh	all nodes have told since p_asked. `lag` and `waiting_bytes` are null where nothing was told since then
create or replace function tidings.connections(p_user text, p_topic text, p_limit int8, p_after text default null, p_asked text default null,
	p_slow boolean default false, out connections json, out ids text[], out next text, out fresh boolean)
language plpgsql stable security definer set search_path = tidings, pg_temp as $$
declare
	v_asked timestamptz := p_asked::timestamptz;
	v_after_at timestamptz := timestamptz 'epoch' + split_part(p_after, '.', 1)::int8 * interval '1 microsecond';
	v_after_id uuid := split_part(p_after, '.', 2);
	v_found int8;
begin
	with live as (
		select n.id from node n where n.heartbeat_at > clock_timestamp() - interval '15 seconds'
	), chosen as (
		select c.id, min(c.user_id) as user_id, min(c.transport) as transport, min(c.connected_at) as connected_at, min(c.node_id::text) as node_id,
			max(c.lag) filter (where c.reported_at >= v_asked) as lag, max(c.waiting_bytes) filter (where c.reported_at >= v_asked) as waiting_bytes
		from connection c join live n on n.id = c.node_id
		where (p_user is null or c.user_id = p_user)
			and (p_topic is null or c.topic_id = (select t.id from topic t where t.name = p_topic))
			and (p_after is null or (c.connected_at, c.id) > (v_after_at, v_after_id))
			and (not p_slow or c.reported_at >= v_asked and (c.lag > 0 or c.waiting_bytes > 0))
		group by c.id order by min(c.connected_at), c.id limit p_limit
	)
	select coalesce(json_agg(json_build_object('connection_id', c.id, 'user_id', user_json(c.user_id), 'transport', c.transport,
			'connected_at', stamp(c.connected_at), 'topics', (
				select coalesce(json_agg(t.name order by t.name), '[]') from connection o join topic t on t.id = o.topic_id where o.id = c.id),
			'node', c.node_id, 'lag', c.lag, 'waiting_bytes', c.waiting_bytes) order by c.connected_at, c.id), '[]'),
		array_agg(c.id::text), (array_agg((extract(epoch from c.connected_at) * 1000000)::int8 || '.' || c.id order by c.connected_at desc, c.id desc))[1], count(*)
		into connections, ids, next, v_found from chosen c;
	if v_found < p_limit then
		next := null;
	end if;
	fresh := not exists (
		select from node n where n.heartbeat_at > clock_timestamp() - interval '15 seconds' and coalesce(n.reported_at < v_asked, true));
end
$$;

-- What is to be relayed, the next first, or only what was given up. No bodies: they are nobody's who looks after the queue.
create or replace function tidings.outbox_list(p_failed boolean, p_limit int8) returns json
language sql stable security definer set search_path = tidings, pg_temp as $$
	with waiting as (
		select o.id::text as id, case when o.reading_id is null then 'message' else 'reading' end as kind, o.topic, o.deliver_at, o.attempts,
			o.last_error, o.failed_at
		from outbox o where o.failed_at is not null or not p_failed
		union all
		select n.id::text, 'notification', 'notifications/' || n.user_id, coalesce(n.push_at, n.due_at), n.failures, n.last_error, n.failed_at
		from notification n where n.failed_at is not null or n.push_at is not null and not p_failed
	), chosen as (
		select w.* from waiting w order by w.failed_at is null, w.deliver_at, w.id limit p_limit
	)
	select coalesce(json_agg(json_build_object('id', c.id, 'kind', c.kind, 'topic', c.topic, 'deliver_at', stamp(c.deliver_at),
		'attempts', c.attempts, 'failed_at', stamp(c.failed_at), 'error', c.last_error) order by c.failed_at is null, c.deliver_at, c.id), '[]')
	from chosen c
$$;

-- Has what was given up relayed now: these, or all of it. Returns how much that is.
create or replace function tidings.outbox_retry(p_ids text[]) returns int8
language plpgsql security definer set search_path = tidings, pg_temp as $$
declare
	v_messages int8;
	v_notes int8;
begin
	update outbox o set failed_at = null, attempts = 0, deliver_at = clock_timestamp()
		where o.failed_at is not null and (p_ids is null or o.id::text = any (p_ids));
	get diagnostics v_messages = row_count;
	update notification n set failed_at = null, failures = 0, push_at = clock_timestamp()
		where n.failed_at is not null and (p_ids is null or n.id::text = any (p_ids));
	get diagnostics v_notes = row_count;
	if v_messages + v_notes > 0 then
		perform tidings.notify('outbox', '');
	end if;
	return v_messages + v_notes;
end
$$;

-- Forgets what was given up: these, or all of it. A notification stays its user's to read. Returns how much that is.
create or replace function tidings.outbox_drop(p_ids text[]) returns int8
language plpgsql security definer set search_path = tidings, pg_temp as $$
declare
	v_messages int8;
	v_notes int8;
begin
	delete from outbox o where o.failed_at is not null and (p_ids is null or o.id::text = any (p_ids));
	get diagnostics v_messages = row_count;
	update notification n set failed_at = null where n.failed_at is not null and (p_ids is null or n.id::text = any (p_ids));
	get diagnostics v_notes = row_count;
	return v_messages + v_notes;
end
$$;
