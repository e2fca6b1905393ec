-- Live health, what all of it shares: its tables, who may do what, and how its messages are written. What is stored here stays:
-- nothing but the queue is trimmed, so how long to keep readings, chat and notifications is the operator's to decide.

set local role tidings_owner;

-- May a topic be named after this user: 'notifications/<user>'? For one that may not there is none of what is in these files. (The
-- tables say it again: who may insert need not be allowed to call this.)
create function tidings.addressable(user_id text) returns boolean
language sql immutable as $$
	select user_id ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(user_id) <= 114
$$;

-- Who exists; asked where TIDINGS_REQUIRE_USER=yes. An operator who has such a table already replaces this one by a view on it,
-- and calls tidings.revoke() when a user goes.
create table tidings.app_user (
	id text primary key,
	active boolean not null default true
);

-- Clinicians who may read a user's health and set its thresholds.
create table tidings.health_grant (
	user_id text not null,
	clinician_id text not null,
	primary key (user_id, clinician_id)
);

create index health_grant_clinician on tidings.health_grant (clinician_id);

create table tidings.health_threshold (
	user_id text not null,
	metric text not null,
	low float8,  -- a value below it is outside
	high float8, -- a value above it is outside
	severity text not null default 'high' check (severity in ('low', 'normal', 'high', 'critical')),
	primary key (user_id, metric),
	check (low is not null or high is not null),
	check (low < high)
);

-- Where a metric that has a threshold was last. Its row is locked while a reading is judged.
create table tidings.health_state (
	user_id text not null,
	metric text not null,
	side text not null default 'inside' check (side in ('inside', 'low', 'high')),
	measured_at timestamptz not null default '-infinity',
	primary key (user_id, metric)
) with (fillfactor = 50);

create table tidings.health_reading (
	id bigint generated always as identity primary key,
	user_id text not null check (user_id ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(user_id) <= 114),
	metric text not null,
	value float8 not null check (value > '-infinity' and value < 'infinity'), -- so not NaN either
	unit text,
	measured_at timestamptz not null default now(),
	alert text, -- 'low' or 'high' when it crossed its threshold; whatever an inserter says
	pushed boolean not null default false -- the inserter has pushed it; an import of old readings says true, and alarms nobody
);

-- In this order: of two that cost the same in an empty table the planner takes the newer one.
create index health_reading_time on tidings.health_reading (user_id, measured_at, id);
create index health_reading_metric on tidings.health_reading (user_id, metric, measured_at, id);

create table tidings.conversation (
	id uuid primary key, -- its row is locked by whoever sends or lets someone in: message ids are in the order of seqs
	creator text not null,
	created_at timestamptz not null default clock_timestamp()
);

create table tidings.participant (
	conversation_id uuid not null references tidings.conversation on delete cascade,
	user_id text not null check (user_id ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(user_id) <= 114),
	joined_at timestamptz not null default clock_timestamp(),
	primary key (conversation_id, user_id)
);

create index participant_user on tidings.participant (user_id);

create table tidings.chat_message (
	conversation_id uuid not null references tidings.conversation on delete cascade,
	id bigint generated always as identity,
	user_id text not null, -- who sent it
	sender text,	       -- the name that a service gave
	message text not null,
	created_at timestamptz not null,
	primary key (conversation_id, id)
);

create table tidings.notification_preference (
	user_id text primary key,
	types jsonb not null default '{}', -- type: on or off; on when not named
	quiet_start time,
	quiet_end time,
	time_zone text check (time_zone is null or timezone(time_zone, timestamptz 'epoch') is not null), -- raises when there is no such zone
	check (num_nulls(quiet_start, quiet_end, time_zone) in (0, 3)),
	check (quiet_start <> quiet_end)
);

create table tidings.notification (
	id uuid primary key default gen_random_uuid(),
	user_id text not null check (user_id ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(user_id) <= 114),
	type text not null check (type in ('health_alert', 'medication_reminder', 'appointment_reminder', 'system')),
	title text not null,
	message text not null,
	priority text not null default 'normal' check (priority in ('low', 'normal', 'high', 'critical')),
	publisher text,	     -- who may read the receipt, beside services; null: an alert of ours
	correlation text,    -- JSON text
	created_at timestamptz not null default clock_timestamp(),
	due_at timestamptz not null default clock_timestamp(), -- before it nobody sees it
	push_at timestamptz default clock_timestamp(), -- when the relay has to look at it next; null: never
	sent_at timestamptz, -- the first time it went into the queue
	attempts int not null default 0,
	acked_at timestamptz,
	read_at timestamptz
) with (fillfactor = 80);

create index notification_newest on tidings.notification (user_id, due_at, id);
create index notification_unread on tidings.notification (user_id, due_at, id) where read_at is null;
create index notification_push_at on tidings.notification (push_at, id) where push_at is not null;
create index notification_critical on tidings.notification (user_id, due_at)
	where priority = 'critical' and acked_at is null and sent_at is not null;

-- Which notification a message of notifications/<user> was: a critical one is several.
create table tidings.notification_push (
	user_id text not null,
	seq bigint not null,
	notification_id uuid not null references tidings.notification on delete cascade,
	primary key (user_id, seq)
);

create index notification_push_notification on tidings.notification_push (notification_id);

-- A message that ends its to_user's subscriptions: they get nothing of what is sequenced after it.
alter table tidings.message add column revocation boolean not null default false;

create index message_revocation on tidings.message (topic_id, seq) where revocation;

-- What a node told of a connection when it was asked to. A connection that listens to nothing has a row with topic_id 0.
alter table tidings.connection add column last_activity timestamptz, add column state text, add column reported_at timestamptz;

create index connection_user on tidings.connection (user_id);

-- The default rules, extended; those that an operator has replaced stay as they are.
do $do$
begin
	if (select md5(prosrc) from pg_proc where oid = 'tidings.authorize(text, text, text, text)'::regprocedure) = '0ea98cd8e0893b1e4676df59510bbdef' then
		create or replace function tidings.authorize(user_id text, role text, topic text, action text) returns boolean
		language plpgsql stable as $$
declare
	v_diagnosis bigint;
begin
	if role = 'admin' then
		return true;
	elsif role = 'service' and action = 'publish' then
		return true;
	elsif role = 'service' and topic !~ '^chats?/' then
		return false; -- of chat it reads what it takes part in: an assistant does
	elsif topic ~ '^diagnosis/[1-9][0-9]{0,17}$' then
		v_diagnosis := substr(topic, 11)::bigint;
		if user_id is null then
			return action = 'subscribe' and exists (select from tidings.diagnosis d where d.id = v_diagnosis and d.public);
		end if;
		return exists (select from tidings.diagnosis d where d.id = v_diagnosis and d.owner = authorize.user_id)
			or exists (select from tidings.diagnosis_grant g where g.diagnosis_id = v_diagnosis and g.user_id = authorize.user_id);
	elsif topic ~ '^chat/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
		return exists (
			select from tidings.participant p
			where p.conversation_id = substr(topic, 6)::uuid and p.user_id = authorize.user_id);
	elsif role = 'clinician' and action = 'subscribe' and starts_with(topic, 'health/') and exists (
		select from tidings.health_grant g where g.user_id = substr(topic, 8) and g.clinician_id = authorize.user_id)
	then
		return true;
	end if;
	return coalesce(topic in ('health/' || user_id, 'notifications/' || user_id, 'chats/' || user_id), false);
end
$$;
	else
		raise notice 'tidings.authorize() is your own and stays: see sql/006_live.sql for the topics that are new';
	end if;
	if (select md5(prosrc) from pg_proc where oid = 'tidings.topic_exists(text)'::regprocedure) = '1a08c20bd477bee72b1f12f9c30a4b27' then
		create or replace function tidings.topic_exists(topic text) returns boolean
		language plpgsql stable as $$
begin
	if topic ~ '^diagnosis/[1-9][0-9]{0,17}$' then
		return exists (select from tidings.diagnosis d where d.id = substr(topic, 11)::bigint);
	elsif topic ~ '^chat/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
		return exists (select from tidings.conversation c where c.id = substr(topic, 6)::uuid);
	end if;
	return true;
end
$$;
	else
		raise notice 'tidings.topic_exists() is your own and stays: see sql/006_live.sql for the topics that are new';
	end if;
end
$do$;

-- Is each of these there, and active?
create function tidings.user_active(p_users text[]) returns boolean[]
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

drop function tidings.attach(text[], text[], text[]);

-- May each of these subscribe, and where is the topic? A row per item.
--
--	p_require_user	refuse users who are not in tidings.app_user, or not active; services and admins need no account
--	last_seq	a revocation up to it is over: only one that comes after it ends the subscription
--	delivered_seq	how far some client has been sent
--	unsent		there are messages for this user alone, up to delivered_seq, that they have not been sent
create function tidings.attach(p_users text[], p_roles text[], p_topics text[], p_require_user boolean default false)
returns table (item int8, outcome text, topic_id int8, epoch text, last_seq int8, first_seq int8, delivered_seq int8, unsent boolean)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_count int := cardinality(p_topics);
	v_lasts int8[];
	v_outcomes text[];
	v_tag text := cluster_tag();
begin
	-- Before the right is asked for: so a right that is withdrawn in between has its revocation after last_seq.
	v_lasts := array(
		select coalesce((select t.last_seq from topic t where t.name = p_topics[i]), 0) from generate_series(1, v_count) as i);
	v_outcomes := array(
		select verdict(p_users[i], p_roles[i], p_topics[i], 'subscribe') from generate_series(1, v_count) as i);
	if p_require_user then
		for i in 1 .. v_count loop
			if v_outcomes[i] = 'ok' and p_users[i] is not null and p_roles[i] not in ('service', 'admin')
				and not exists (select from app_user u where u.id = p_users[i] and u.active)
			then
				v_outcomes[i] := 'forbidden';
			end if;
		end loop;
	end if;

	insert into topic (name)
		select distinct p_topics[i] collate "C" as name from generate_series(1, v_count) as i
		where v_outcomes[i] = 'ok' and (select t.id from topic t where t.name = p_topics[i]) is null
		order by 1
		on conflict do nothing;

	-- "offset 0": looked up one by one by their index, whatever the planner knows of the tables.
	return query
		select i::int8, v_outcomes[i], t.id, t.epoch || v_tag, case when t.id is not null then v_lasts[i] end,
			case when t.id is not null then least(t.first_seq, v_lasts[i] + 1) end, least(coalesce(d.seq, 0), v_lasts[i]),
			coalesce((select true from message m
				where m.topic_id = t.id and m.to_user = p_users[i] and not m.sent and m.seq <= least(coalesce(d.seq, 0), v_lasts[i]) limit 1), false)
		from generate_series(1, v_count) as i
		left join lateral (select * from topic o where o.name = p_topics[i] and v_outcomes[i] = 'ok' offset 0) t on true
		left join lateral (select o.seq from delivered o where o.topic_id = t.id offset 0) d on true;
end
$$;

drop function tidings.fetch(int8[], int8[], int8, int8);

-- What comes after a seq, for several topics at once: each at most p_rows messages and, its first aside, p_bytes of bodies. A
-- message that has expired has a null body: its seq is passed over.
create function tidings.fetch(p_topics int8[], p_after int8[], p_rows int8, p_bytes int8)
returns table (topic_id int8, seq int8, to_user text, exclude text, body text, revocation boolean)
language plpgsql stable security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	return query
		select t.id, m.seq, m.to_user, m.exclude::text,
			case when m.expires_at is null or m.expires_at > clock_timestamp() then m.body end, m.revocation
		from unnest(p_topics, p_after) with ordinality as t(id, after, place)
		cross join lateral (
			select p.*, sum(octet_length(p.body)) over (order by p.seq) - octet_length(p.body) as before
			from (select * from message q where q.topic_id = t.id and q.seq > t.after order by q.seq limit p_rows) p
		) m
		where m.before < p_bytes or m.before = 0
		order by t.place, m.seq;
end
$$;

-- What a client would get by GET /ws/history (spec 3.4). Header columns are repeated in every row; seq is null when there is none.
-- Revocations are for the sidecars.
create or replace function tidings.history(p_user text, p_role text, p_topic text, p_epoch text, p_after int8, p_limit int8)
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
	-- What is kept is looked at once more, in the statement that reads: it may have been trimmed since.
	return query
		with kept as (
			select greatest(v_after, t.first_seq - 1) as after from topic t where t.id = v_topic.id
		), page as (
			select m.seq, m.body, m.to_user, m.expires_at, m.revocation from message m
			where m.topic_id = v_topic.id and m.seq > v_after and m.seq <= v_topic.last_seq order by m.seq limit p_limit
		), told as (
			select history.recovered and (p_epoch is null or k.after = v_after) as recovered,
				case when p_epoch is null or k.after = v_after then history.missed_from else coalesce(history.missed_from, p_after + 1) end
					as missed_from,
				case when p_epoch is null or k.after = v_after then history.missed_to else k.after end as missed_to,
				k.after
			from kept k
		)
		select 'ok', history.epoch, t.recovered, t.missed_from, t.missed_to,
			coalesce((select max(p.seq) from page p), least(greatest(t.after, 0), v_topic.last_seq)), m.seq, m.body
		from told t left join (
			select p.seq, p.body from page p
			where not p.revocation and (p.to_user is null or p.to_user = p_user) and (p.expires_at is null or p.expires_at > clock_timestamp())
		) m on true
		order by m.seq;
end
$$;

create or replace function tidings.status() returns json
language sql stable security definer set search_path = tidings, pg_temp as $$
	with live as (
		select * from node where heartbeat_at > clock_timestamp() - interval '15 seconds'
	), present as (
		select t.name, sum(p.clients) as clients
		from presence p join live n on n.id = p.node_id join topic t on t.id = p.topic_id group by t.name
	), diagnoses as (
		select substr(name, 11) as id, clients from present where name ~ '^diagnosis/[1-9][0-9]{0,17}$'
	), waiting as (
		select substr(t.name, 11) as id,
			t.last_seq - greatest(coalesce(d.seq, 0), t.first_seq - 1) + (
				select count(*) from message m
				where m.topic_id = t.id and m.to_user is not null and not m.sent and m.seq <= d.seq) - (
				select count(*) from message m
				where m.topic_id = t.id and m.revocation and m.seq > greatest(coalesce(d.seq, 0), t.first_seq - 1)) as messages
		from topic t left join delivered d on d.topic_id = t.id
		where t.last_seq >= t.first_seq and t.name ~ '^diagnosis/[1-9][0-9]{0,17}$'
	), connected as (
		select c.* from connection c join live n on n.id = c.node_id
	)
	select json_build_object(
		'total_diagnoses', (select count(*) from diagnoses),
		'total_connections', (select count(distinct id) from connected),
		'connections_by_diagnosis', coalesce((select json_object_agg(id, clients order by id::bigint) from diagnoses), '{}'),
		'queued_messages_by_diagnosis', coalesce((
			select json_object_agg(id, messages order by id::bigint) from waiting where messages > 0), '{}'),
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
			from connected),
		'nodes', coalesce((
			select json_agg(json_build_object('id', n.id, 'started_at',
				to_char(n.started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'connections',
				(select count(distinct c.id) from connected c where c.node_id = n.id)) order by n.started_at, n.id) from live n), '[]'))
$$;

create function tidings.stamp(p_at timestamptz) returns text
language sql stable as $$
	select to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- A user id as JSON has it: an integer when the id is one that JavaScript holds exactly, else text. See src/domain/user.h.
create function tidings.user_json(p_user text) returns json
language sql immutable as $$
	select case when p_user ~ '^(0|-?[1-9][0-9]{0,14})$' then p_user::json else to_json(p_user) end
$$;

-- A message as it is stored.
--
--	p_member	'data', or what else the object is called
--	p_correlation	JSON text, or null
create function tidings.message_text(p_type text, p_topic text, p_correlation text, p_member text, p_object json) returns text
language sql volatile as $$
	select '{"type":' || to_json(p_type) || ',"topic":' || to_json(p_topic)
		|| ',"timestamp":"' || tidings.stamp(clock_timestamp()) || '"'
		|| coalesce(',"correlation_id":' || p_correlation, '') || ',' || to_json(p_member) || ':' || p_object || '}'
$$;

-- What a client says, and what it is answered: the argument and the result of every tidings.act_…(), see tidings.act().
create type tidings.request as (
	user_id text, role text, connection text, data json, correlation text, queue_max int8, queue_min_age_s int8);
create type tidings.answer as (outcome text, detail text, reply text, topic text, seq int8, clients int8);

create function tidings.refusal(p_outcome text, p_detail text default null) returns tidings.answer
language sql immutable as $$
	select row(p_outcome, p_detail, null, null, null, null)::tidings.answer
$$;

create function tidings.answered(p_request tidings.request, p_type text, p_data json, p_topic text default null,
	p_seq int8 default null, p_clients int8 default null) returns tidings.answer
language plpgsql as $$
begin
	return row('ok', null, '{"type":' || to_json(p_type) || ',"data":' || p_data || ',"timestamp":"' || tidings.stamp(clock_timestamp())
		|| '"' || coalesce(',"correlation_id":' || p_request.correlation, '') || '}', p_topic, p_seq, p_clients)::tidings.answer;
end
$$;

-- Appends what a request made; the arrays run in parallel, p_excludes being connections that do not get it.
create function tidings.put(p_request tidings.request, p_topics text[], p_bodies text[], p_excludes text[],
	p_ephemeral boolean default false, out seqs int8[], out clients int8[])
language plpgsql as $$
declare
	v_none text[] := array_fill(null::text, array[cardinality(p_topics)]);
begin
	select a.seqs, a.clients into put.seqs, put.clients
		from append(p_topics, p_bodies, array_fill(p_ephemeral::int::int8, array[cardinality(p_topics)]), v_none, p_excludes, v_none,
			v_none::int8[], v_none, v_none, p_request.queue_max, p_request.queue_min_age_s) a;
end
$$;

revoke execute on all functions in schema tidings from public;
grant execute on function tidings.attach(text[], text[], text[], boolean), tidings.fetch(int8[], int8[], int8, int8) to tidings_sidecar;
grant execute on function tidings.user_active(text[]) to tidings_sidecar, tidings_publisher;

reset role;
