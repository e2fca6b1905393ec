-- Publishing from inside anyone's own transaction, and what is for later.

-- The types of the messages that the server says itself, about a connection: no publisher's. The same as in src/domain/topic/message_type.c.
create or replace function tidings.type_is_own(p_type text) returns boolean
language sql immutable as $$
	select p_type in ('authenticated', 'close', 'connect', 'connection_established', 'error', 'heartbeat', 'join', 'leave', 'pong', 'presence',
		'reconnect_messages', 'revoked', 'subscribed', 'token_expiring', 'token_refreshed', 'unsubscribed')
$$;

-- Does a name only look like one of the product's own topics ('Diagnosis/1', 'diagnosis/01')? The same as in src/domain/topic/topic.c.
create or replace function tidings.topic_misleads(p_topic text) returns boolean
language sql immutable as $$
	select p_topic ~* '^(chats?|diagnosis|health|notifications)(/|$)' and diagnosis_of(p_topic) is null
		and p_topic !~ '^(chats|health|notifications)/.|^chat/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
$$;

-- Publishes from inside anyone's own transaction: the message exists if and only if that transaction commits. It takes no lock, so
-- a transaction that stays open delays nobody.
--
--	data		JSON: json, jsonb or text
--	deliver_at	when; null: now. At most a year ahead
--	to_user		this user's connections alone get it
--	exclude		this connection does not
--	ephemeral	to those who are connected, at most once, and not kept
create or replace function tidings.publish(topic text, type text, data anycompatible, deliver_at timestamptz default null,
	expires_at timestamptz default null, to_user text default null, exclude uuid default null, ephemeral boolean default false) returns void
language plpgsql security definer set search_path = tidings, pg_temp as $$
declare
	v_wrong text;
	v_body text;
begin
	v_wrong := case
		when topic is null or topic !~ '^[A-Za-z0-9_.:/-]{1,128}$' then 'not the name of a topic: ' || coalesce(left(topic, 200), 'null')
		when topic_misleads(topic) then
			'a topic that begins so is diagnosis/<id>, health/<user>, chat/<uuid>, chats/<user> or notifications/<user>: ' || topic
		when is_operators(topic) then 'nobody publishes to topics that begin with tidings/'
		when coalesce(type, '') = '' or data is null then 'type and data are required'
		-- A cast of somebody's own would run with the rights of tidings_owner.
		when pg_typeof(data)::oid >= 16384 then 'data is json, jsonb or text'
		when char_length(type) > 128 then 'type has at most 128 characters'
		when type_is_own(type) then 'this type is said by the server alone: ' || type
		when not isfinite(deliver_at) or deliver_at > clock_timestamp() + interval '366 days' then 'deliver_at is at most a year ahead'
		when not isfinite(expires_at) then 'expires_at is a time'
		when octet_length(to_user) not between 1 and 128 then 'to_user has 1 to 128 bytes'
		when ephemeral and deliver_at is not null then 'what is ephemeral is not for later'
		when not topic_exists(topic) then 'there is no ' || replace(topic, '/', ' ')
	end;
	if v_wrong is not null then
		raise exception 'tidings: %', v_wrong using errcode = 'invalid_parameter_value';
	end if;
	v_body := message_text(type, topic, null, 'data', compact((data::text)::json::text)::json);
	if octet_length(v_body) > 262144 or ephemeral and octet_length(v_body) > 7500 then
		raise exception 'tidings: a message has at most 256 KiB, or 7,500 bytes when it is ephemeral' using errcode = 'program_limit_exceeded';
	end if;
	insert into outbox (deliver_at, at_once, expires_at, ephemeral, exclude, to_user, topic, body)
		values (coalesce(deliver_at, clock_timestamp()), deliver_at is null, expires_at, coalesce(ephemeral, false), exclude, to_user, topic, v_body);
	perform tidings.notify('outbox', '');
end
$$;

-- Moves these of the outbox and these notifications, which the caller has locked, into the queue: all of them, but for those whose topic
-- (or, of a reading, whose metric) another transaction has locked. So nobody's lock is waited for.
--
--	moved	how many there are no more
--	locked	those topics
create or replace function tidings.relay_rows(p_ids int8[], p_notes uuid[], p_queue_max int8, p_queue_min_age_s int8,
	out moved int8, out locked text[])
language plpgsql as $$
declare
	v_names text[];
	v_ids int8[]; -- the topics'
	v_free text[];
	v_row tidings.outbox%rowtype;
	v_reading tidings.health_reading%rowtype;
	v_messages record;
	v_notification tidings.notification%rowtype;
	v_when timestamptz;
	v_now timestamptz := clock_timestamp();
	v_bytes int8 := 0;
	v_done int8[] := '{}';
	v_pushed uuid[] := '{}';
	v_topics text[] := '{}';
	v_bodies text[] := '{}';
	v_flags int8[] := '{}';
	v_to_users text[] := '{}';
	v_excludes text[] := '{}';
	v_expires_at text[] := '{}';
	v_none text[];
	v_seqs int8[];
	v_count int;
begin
	moved := 0;
	-- Each row is looked up by its id ("offset 0"), whatever the planner knows of the tables.
	-- States before topics, as act_health_update() has them.
	locked := array(
		select r.topic from (
			select distinct o.topic, h.user_id, h.metric from unnest(p_ids) as i(id)
			cross join lateral (select * from outbox b where b.id = i.id and b.reading_id is not null offset 0) o
			cross join lateral (select * from health_reading b where b.id = o.reading_id offset 0) h
			where exists (select from health_threshold t where t.user_id = h.user_id and t.metric = h.metric offset 0)
			order by h.user_id, h.metric) r
		where not health_lock(r.user_id, r.metric, false));
	v_names := array(
		select (select o.topic from outbox o where o.id = i) from unnest(p_ids) as i
		union select 'notifications/' || (select n.user_id from notification n where n.id = i) from unnest(p_notes) as i);
	v_none := array(select n from unnest(v_names) as n where (select t.id from topic t where t.name = n) is null);
	if cardinality(v_none) > 0 then
		perform make_topics(v_none);
	end if;
	v_ids := array(select (select t.id from topic t where t.name = n) from unnest(v_names) as n);
	v_free := array(select t.name from topic t where t.id = any (v_ids) order by t.id for update skip locked);
	locked := locked || array(select n from unnest(v_names) as n where n <> all (v_free));

	for v_row in
		select o.* from unnest(p_ids) as i(id) cross join lateral (select * from outbox b where b.id = i.id offset 0) o
		where o.topic <> all (locked) order by o.deliver_at, o.id
	loop
		if v_row.reading_id is null then
			v_topics := v_topics || v_row.topic;
			v_bodies := v_bodies || v_row.body;
		else
			select * into v_reading from health_reading r where r.id = v_row.reading_id;
			if found then
				select * into v_messages from health_messages(v_reading, null, false);
				v_topics := v_topics || v_messages.topics;
				v_bodies := v_bodies || v_messages.bodies;
			end if;
		end if;
		v_done := v_done || v_row.id;
		-- What is said of the row counts for the first of its messages.
		for i in cardinality(v_flags) + 1 .. cardinality(v_topics) loop
			v_flags := v_flags || v_row.ephemeral::int::int8;
			v_to_users := v_to_users || v_row.to_user;
			v_excludes := v_excludes || v_row.exclude::text;
			v_expires_at := v_expires_at || v_row.expires_at::text;
			v_row.exclude := null;
		end loop;
		v_bytes := v_bytes + coalesce(octet_length(v_row.body), 0);
		exit when v_bytes > 16777216;
	end loop;

	v_count := cardinality(v_topics);
	for v_notification in
		select n.* from unnest(p_notes) as i(id) cross join lateral (select * from notification b where b.id = i.id offset 0) n
		where 'notifications/' || n.user_id <> all (locked) order by n.push_at, n.id
	loop
		moved := moved + 1;
		v_when := hold(v_notification.user_id, v_notification.type, v_notification.priority, v_now);
		if v_when <= v_now then
			v_pushed := v_pushed || v_notification.id;
			v_topics := v_topics || ('notifications/' || v_notification.user_id);
			v_bodies := v_bodies || notification_text(v_notification);
			v_flags := v_flags || 0::int8;
			v_to_users := v_to_users || null::text;
			v_excludes := v_excludes || null::text;
			v_expires_at := v_expires_at || null::text;
		else
			update notification n set push_at = v_when where n.id = v_notification.id;
		end if;
	end loop;

	if cardinality(v_topics) > 0 then
		v_none := array_fill(null::text, array[cardinality(v_topics)]);
		select a.seqs into v_seqs from append(v_topics, v_bodies, v_flags, v_to_users, v_excludes, v_expires_at, v_none::int8[], v_none, v_none,
			p_queue_max, p_queue_min_age_s) a;
	end if;
	delete from outbox where id = any (v_done);
	moved := moved + cardinality(v_done);
	if cardinality(v_pushed) > 0 then
		perform pushed(v_pushed, v_seqs[v_count + 1:]);
	end if;
end
$$;

-- Puts aside what could not be relayed: it is tried again, ten times in about five minutes, and then given up. It stays where it is, with
-- the error, for an operator to mend: failed_at set to null lets it go again (a notification's push_at, too, has to be a time).
--
--	p_id	of the outbox, or
--	p_note	a notification
--	returns	it is given up
create or replace function tidings.relay_failed(p_id int8, p_note uuid, p_error text) returns boolean
language plpgsql as $$
declare
	v_now timestamptz := clock_timestamp();
	v_failures int;
begin
	if p_id is not null then
		update outbox o
			set attempts = o.attempts + 1, last_error = p_error, at_once = false,
				deliver_at = v_now + make_interval(secs => least(2 ^ o.attempts, 60)),
				failed_at = case when o.attempts >= 9 then v_now end
			where o.id = p_id returning o.attempts into v_failures;
	else
		update notification n
			set failures = n.failures + 1, last_error = p_error,
				push_at = case when n.failures < 9 then v_now + make_interval(secs => least(2 ^ n.failures, 60)) end,
				failed_at = case when n.failures >= 9 then v_now end
			where n.id = p_note returning n.failures into v_failures;
	end if;
	return v_failures >= 10;
end
$$;

-- Moves what is due from the outbox and from the notifications into the queue; one node at a time. Returns in how many ms the next
-- is due: 0 when there may be more now, null when nothing waits, and -1 when another node is at it.
--
-- What raises an error is put aside, and the rest goes on; but where the server itself is in trouble nothing is done at all, and all of it
-- stays due. Topics that another transaction has locked are passed over, and what is for them keeps its order.
create or replace function tidings.relay(p_queue_max int8, p_queue_min_age_s int8) returns int8
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set datestyle = 'ISO, YMD' -- times go through text: in other styles "IST" is two zones
as $$
declare
	v_state tidings.relay_state%rowtype;
	v_from timestamptz;
	v_ids int8[];
	v_notes uuid[];
	v_apart boolean;
	v_result record;
	v_moved int8 := 0;
	v_locked text[] := '{}'; -- topics
	v_failed int := 0;
	v_given_up int := 0;
	v_id text;
	v_when timestamptz;
	v_now timestamptz := clock_timestamp();
	v_looked timestamptz;
	v_pages int8; -- of the outbox that were read
begin
	if not pg_try_advisory_xact_lock(hashtext('tidings.relay')) then
		perform relay_late();
		return -1;
	end if;
	if end_left_over() then
		return 0; -- nothing else in this transaction: so that all its topics are locked in one order
	end if;
	-- Times that a clock made which was ahead: nobody asked for them.
	update outbox o set deliver_at = v_now where o.at_once and o.deliver_at > v_now + interval '1 minute';
	update notification n set push_at = v_now
		where n.push_at is not null and (n.sent_at is not null or n.due_at <= n.created_at)
			and n.push_at > v_now + interval '61 minutes' and (n.sent_at is not null or n.push_at > v_now + interval '26 hours');

	select * into v_state from relay_state;
	v_from := case when v_now < v_state.look_again_at and v_state.look_again_at < v_now + interval '5 minutes' then v_state.look_from else '-infinity' end;
	for v_turn in 1 .. 20 loop
		v_pages := pg_stat_get_xact_blocks_fetched('tidings.outbox'::regclass);
		v_ids := array(
			select o.id from outbox o
			where o.failed_at is null and o.deliver_at > v_from and o.deliver_at <= v_now and o.topic <> all (v_locked)
			order by o.deliver_at, o.id limit 500 for update skip locked);
		v_looked := clock_timestamp();
		if v_turn = 1 and v_from = '-infinity' and cardinality(v_ids) < 500
			and pg_stat_get_xact_blocks_fetched('tidings.outbox'::regclass) > v_pages + 2 * cardinality(v_ids) + 100
		then
			-- Read for nothing: thousands of rows that are relayed, and that an old snapshot keeps. Until it is worth another look, begin behind them.
			-- What is committed meanwhile and older than a few seconds waits for that look.
			insert into relay_state as s (look_from, look_again_at)
				values (v_now - interval '5 seconds', v_looked + greatest(interval '2 seconds', 10 * (v_looked - v_now)))
				on conflict on constraint relay_state_pkey do update set look_from = excluded.look_from, look_again_at = excluded.look_again_at;
		end if;
		v_notes := array(
			select n.id from notification n
			where n.push_at <= v_now and 'notifications/' || n.user_id <> all (v_locked)
			order by n.push_at, n.id limit 500 for update skip locked);
		exit when cardinality(v_ids) + cardinality(v_notes) = 0;

		v_apart := false;
		begin
			select * into v_result from relay_rows(v_ids, v_notes, p_queue_max, p_queue_min_age_s);
			v_moved := v_moved + v_result.moved;
			v_locked := v_locked || v_result.locked;
		exception when others then
			if server_is_in_trouble(sqlstate) then
				raise;
			end if;
			v_apart := true;
		end;
		if v_apart then
			foreach v_id in array v_ids::text[] || v_notes::text[] loop
				begin
					select * into v_result from relay_rows(case when v_id !~ '-' then array[v_id::int8] else '{}' end,
						case when v_id ~ '-' then array[v_id::uuid] else '{}' end, p_queue_max, p_queue_min_age_s);
					v_moved := v_moved + v_result.moved;
					v_locked := v_locked || v_result.locked;
				exception when others then
					if server_is_in_trouble(sqlstate) then
						raise;
					end if;
					v_moved := v_moved + 1;
					v_failed := v_failed + 1;
					v_given_up := v_given_up + relay_failed(case when v_id !~ '-' then v_id::int8 end, case when v_id ~ '-' then v_id::uuid end,
						sqlstate || ' ' || sqlerrm)::int;
				end;
			end loop;
			raise warning 'tidings: % could not be relayed, and % of them are given up: see last_error in tidings.outbox and tidings.notification',
				v_failed, v_given_up;
		end if;
		exit when v_moved > 0;
	end loop;

	if v_moved > 0 then
		return 0;
	elsif cardinality(v_locked) > 0 then
		perform relay_late();
	elsif v_state.idle_at is null or v_state.idle_at not between v_now - interval '2 seconds' and v_now then
		insert into relay_state as s (idle_at) values (v_now)
			on conflict on constraint relay_state_pkey do update set idle_at = excluded.idle_at;
	end if;
	v_when := least((select min(o.deliver_at) from outbox o where o.failed_at is null and o.deliver_at > v_from),
		(select min(n.push_at) from notification n where n.push_at is not null));
	-- What another transaction has locked is due already: soon again, but not at once.
	return case when v_when is not null then greatest(ceil(extract(epoch from v_when - clock_timestamp()) * 1000)::int8, 100) end;
end
$$;

-- How the outbox is.
--
--	messages	that are due (counted up to 100,000)
--	oldest_s	for how long the oldest has been
--	failed		put aside for good
--	stuck		something has been due for 10 s, and in these 10 s there was no moment at which nothing was: a transaction that stayed
--			open for an hour and commits has published things that are an hour old, and is no reason to worry
create or replace function tidings.outbox_state(out messages int8, out oldest_s float8, out failed int8, out stuck boolean)
language plpgsql stable security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
	v_now timestamptz := clock_timestamp();
	-- Where relay() begins. It looks at the rest in time where it runs; when it has not for a minute, all is looked at here.
	v_from timestamptz := coalesce((
		select s.look_from from relay_state s
		where s.look_again_at > v_now - interval '1 minute' and s.look_again_at < v_now + interval '5 minutes'), '-infinity');
	v_notes record;
begin
	-- Each index is read once: what is dead in it is passed over once.
	select count(*) as count, min(d.deliver_at) as oldest into v_notes from (
		select n.push_at as deliver_at from notification n where n.push_at <= v_now order by n.push_at limit 100000) d;
	select count(*) + v_notes.count, coalesce(extract(epoch from v_now - least(min(d.deliver_at), v_notes.oldest)), 0) into messages, oldest_s from (
		select o.deliver_at from outbox o where o.failed_at is null and o.deliver_at > v_from and o.deliver_at <= v_now
		order by o.deliver_at limit 100000) d;
	failed := (select count(*) from outbox o where o.failed_at is not null) + (select count(*) from notification n where n.failed_at is not null);
	stuck := oldest_s > 10 and not exists (
		select from relay_state s where s.idle_at between v_now - interval '10 seconds' and v_now + interval '10 seconds');
end
$$;

-- Tells the log, once a minute, when what is due is not relayed.
create or replace function tidings.relay_late() returns void
language plpgsql as $$
declare
	v_outbox record;
	v_now timestamptz := clock_timestamp();
begin
	if exists (select from relay_state s where s.warned_at between v_now - interval '1 minute' and v_now) then
		return;
	end if;
	select * into v_outbox from outbox_state();
	if v_outbox.stuck then
		raise warning 'tidings: % messages wait to be relayed, the oldest for % s', v_outbox.messages, ceil(v_outbox.oldest_s);
		perform from relay_state s for update skip locked;
		if found then
			update relay_state set warned_at = v_now;
		else
			insert into relay_state (warned_at) values (v_now) on conflict do nothing;
		end if;
	end if;
end
$$;
