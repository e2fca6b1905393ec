-- Notifications: kept in a table, pushed to notifications/<user> when they are due and the user wants them, critical ones again and
-- again until they are acked. push_at is when the relay has to look at one next.

-- What this machine calls a zone that may be meant by a name, or null: the names of the IANA are, an abbreviation is not ("CET" knows no
-- summer time as such), nor is what a machine has beside them.
create or replace function tidings.zone(p_name text) returns text
language sql immutable as $$
	select case
		when p_name ~* '^(right|posix)/' then null
		when p_name ~ '^[A-Za-z_]+(/[A-Za-z0-9_+-]+)+$' then p_name
		when p_name in ('CST6CDT', 'Cuba', 'EST5EDT', 'Egypt', 'Eire', 'GB', 'GB-Eire', 'GMT', 'GMT+0', 'GMT-0', 'GMT0', 'Greenwich', 'Hongkong',
			'Iceland', 'Iran', 'Israel', 'Jamaica', 'Japan', 'Kwajalein', 'Libya', 'MST7MDT', 'NZ', 'NZ-CHAT', 'Navajo', 'PRC', 'PST8PDT',
			'Poland', 'Portugal', 'ROC', 'ROK', 'Singapore', 'Turkey', 'UCT', 'UTC', 'Universal', 'W-SU', 'Zulu') then p_name
		else case p_name when 'CET' then 'Europe/Brussels' when 'MET' then 'Europe/Brussels' when 'EET' then 'Europe/Athens'
			when 'WET' then 'Europe/Lisbon' when 'EST' then 'America/Panama' when 'MST' then 'America/Phoenix' when 'HST' then 'Pacific/Honolulu' end
	end
$$;

-- A moment as the clocks there show it; null where nobody knows such a zone (any more).
create or replace function tidings.local_time(p_at timestamptz, p_zone text) returns timestamp
language plpgsql stable as $$
begin
	return p_at at time zone zone(p_zone);
exception when invalid_parameter_value then
	return null;
end
$$;

-- When to push to this user what is due at p_at: then, when their quiet hours end, or (null) never.
create or replace function tidings.hold(p_user text, p_type text, p_priority text, p_at timestamptz) returns timestamptz
language plpgsql stable as $$
declare
	v_wish tidings.notification_preference%rowtype;
	v_local timestamp;
	v_date date;
begin
	if p_priority = 'critical' then
		return p_at;
	end if;
	select * into v_wish from notification_preference p where p.user_id = p_user;
	if not found then
		return p_at;
	elsif v_wish.types -> p_type = 'false' then
		return null;
	elsif v_wish.quiet_start is null then
		return p_at;
	end if;
	v_local := local_time(p_at, v_wish.time_zone);
	v_date := v_local;
	if v_local is null then
		return p_at; -- too much is better than nothing
	elsif v_wish.quiet_start < v_wish.quiet_end then
		if v_local::time < v_wish.quiet_start or v_local::time >= v_wish.quiet_end then
			return p_at;
		end if;
	elsif v_local::time >= v_wish.quiet_start then
		v_date := v_date + 1; -- they go on past midnight
	elsif v_local::time >= v_wish.quiet_end then
		return p_at;
	end if;
	-- Later than p_at whatever the clocks do that night.
	return greatest((v_date + v_wish.quiet_end) at time zone zone(v_wish.time_zone), p_at + interval '1 minute');
end
$$;

create or replace function tidings.notification_text(p_note tidings.notification) returns text
language plpgsql as $$
begin
	return message_text('notification', 'notifications/' || p_note.user_id, p_note.correlation, 'notification', (
		select row_to_json(n) from (select p_note.id, p_note.type, p_note.title, p_note.message, p_note.priority,
			stamp(p_note.created_at) as created_at) n));
end
$$;

-- Stores a notification.
--
--	p_due	when it is to be there; null: now
--	p_now	push it now if it is to be pushed now: body is its message, which the caller appends and tells pushed() of.
--		Otherwise, and whatever is for later, is left to the relay
--	status	sent | scheduled (not due yet) | held (by quiet hours, until push_at) | off (not wanted)
create or replace function tidings.store_notification(p_user text, p_type text, p_title text, p_message text, p_priority text, p_publisher text,
	p_correlation text, p_due timestamptz, p_now boolean, out id uuid, out body text, out status text, out push_at timestamptz)
language plpgsql as $$
declare
	v_now timestamptz := clock_timestamp();
	v_due timestamptz := coalesce(p_due, v_now);
	v_notification tidings.notification%rowtype;
begin
	if v_due > v_now then
		status := 'scheduled'; -- what the user wants is asked when it is due
		push_at := v_due;
	else
		push_at := hold(p_user, p_type, p_priority, v_now);
		status := case when push_at is null then 'off' when push_at > v_now then 'held' else 'sent' end;
	end if;
	insert into notification as n (user_id, type, title, message, priority, publisher, correlation, created_at, due_at, push_at)
		values (p_user, p_type, p_title, p_message, p_priority, p_publisher, p_correlation, v_now, v_due,
			case when status <> 'sent' or not p_now then store_notification.push_at end)
		returning * into v_notification;
	id := v_notification.id;
	if status = 'sent' and p_now then
		body := notification_text(v_notification);
	elsif push_at is not null then
		perform tidings.notify('outbox', '');
	end if;
end
$$;

-- Which notification a message was is known while the message is kept, and of a notification's last message for good: so whoever has
-- a notification sent again and again fills the queue alone. After messages are trimmed:
create or replace function tidings.pushes_trimmed() returns trigger
language plpgsql as $$
begin
	-- Whoever has one locked deletes the notification.
	delete from tidings.notification_push where ctid = any (array(
		select p.ctid from tidings.notification_push p
		where p.user_id = substr(new.name, 15) and p.seq >= old.first_seq and p.seq < new.first_seq and exists (
			select from tidings.notification_push o where o.notification_id = p.notification_id and o.seq > p.seq)
		for update skip locked));
	return null;
end
$$;

create or replace trigger pushes_trimmed after update of first_seq on tidings.topic
	for each row when (starts_with(new.name, 'notifications/')) execute function tidings.pushes_trimmed();

-- These went into the queue, at these seqs. A critical one goes again in 30 s, 60 s, … 1 h, for a day after the first time; and 30 times
-- (what a day has) although a clock that was wrong says that the day is over.
create or replace function tidings.pushed(p_notes uuid[], p_seqs int8[]) returns void
language plpgsql as $$
declare
	v_now timestamptz := clock_timestamp();
begin
	-- What was the last message until now, and is trimmed; or has the number of another numbering.
	delete from notification_push where ctid = any (array(
		select p.ctid from unnest(p_notes, p_seqs) as i(id, seq)
		cross join lateral (
			select t.first_seq from notification n join topic t on t.name = 'notifications/' || n.user_id where n.id = i.id offset 0) t
		cross join lateral (
			select o.ctid from notification_push o where o.notification_id = i.id and (o.seq < t.first_seq or o.seq > i.seq) offset 0) p));
	insert into notification_push (user_id, seq, notification_id)
		select (select n.user_id from notification n where n.id = p_notes[i]), p_seqs[i], p_notes[i]
		from generate_series(1, cardinality(p_notes)) as i
		on conflict on constraint notification_push_pkey do update set notification_id = excluded.notification_id; -- counted anew
	update notification n
		set attempts = n.attempts + 1,
			sent_at = coalesce(n.sent_at, v_now),
			pushed_at = v_now,
			failures = 0,
			push_at = case when n.priority = 'critical' and n.acked_at is null
					and (n.attempts < 29 or n.sent_at > v_now - interval '24 hours')
				then v_now + make_interval(secs => least(30 * 2 ^ least(n.attempts, 7), 3600)) end
		where n.id = any (p_notes);
	if exists (select from notification n where n.id = any (p_notes) and n.push_at is not null) then
		perform tidings.notify('outbox', ''); -- whoever sleeps has to wake earlier now
	end if;
end
$$;

-- These users are back: their critical notifications that are not acked go again, the newest 100 of each, and each not sooner than 2 s
-- after the last time: whoever comes back again and again has them written every 2 s. To be called when a session has subscribed to its own
-- notifications, not at every poll. Returns how many.
create or replace function tidings.redeliver(p_users text[]) returns int8
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
	v_count int8;
	v_now timestamptz := clock_timestamp();
begin
	-- Waits for no standby: where one is missing, whoever comes would wait behind this. What a failover loses of it goes at its next turn.
	perform set_config('synchronous_commit', 'local', true);
	update notification n set push_at = greatest(v_now, least(n.pushed_at, v_now) + interval '2 seconds'), failed_at = null where n.id = any (array(
		select w.id from unnest(p_users) as u(id) cross join lateral (
			select o.id, o.push_at, o.pushed_at from notification o
			where o.user_id = u.id and o.priority = 'critical' and o.acked_at is null and o.sent_at is not null
			order by o.due_at desc limit 100 for update skip locked) w
		where w.push_at is null or w.push_at > greatest(v_now, least(w.pushed_at, v_now) + interval '2 seconds')));
	get diagnostics v_count = row_count;
	if v_count > 0 then
		perform tidings.notify('outbox', '');
	end if;
	return v_count;
end
$$;

-- When a user may see what is due at p_due: one that was due as it was made is seen at once, whatever the clock said then.
create or replace function tidings.seen_from(p_due timestamptz, p_created timestamptz) returns timestamptz
language sql immutable as $$
	select case when p_due <= p_created then '-infinity' else p_due end
$$;

create or replace function tidings.unread(p_user text) returns int8
language plpgsql stable as $$
begin
	return (
		select count(*) from notification n
		where n.user_id = p_user and n.read_at is null and seen_from(n.due_at, n.created_at) <= clock_timestamp());
end
$$;

create or replace function tidings.act_notify(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_user text := q.data ->> 'user_id';
	v_type text := q.data ->> 'type';
	v_priority text := coalesce(q.data ->> 'priority', 'normal');
	v_due timestamptz := (q.data ->> 'deliver_at')::timestamptz;
	v_topic text := 'notifications/' || v_user;
	v_verdict text := verdict(q.user_id, q.role, v_topic, 'publish');
	v_notification record;
	v_put record;
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	elsif addressable(v_user) is not true then
		return refusal('invalid', 'No topic can be named after this user_id');
	elsif v_type not in ('health_alert', 'medication_reminder', 'appointment_reminder', 'system') then
		return refusal('invalid', 'type is health_alert, medication_reminder, appointment_reminder or system');
	elsif v_priority not in ('low', 'normal', 'high', 'critical') then
		return refusal('invalid', 'priority is low, normal, high or critical');
	elsif v_due > clock_timestamp() + interval '366 days' then
		return refusal('invalid', 'deliver_at is at most a year ahead');
	elsif v_due < clock_timestamp() - interval '5 minutes' then
		return refusal('invalid', 'deliver_at has passed');
	end if;
	select * into v_notification from store_notification(v_user, v_type, q.data ->> 'title', q.data ->> 'message', v_priority, q.user_id, q.correlation, v_due, true);
	if v_notification.body is not null then
		select p.seqs[1] as seq, p.clients[1] as clients into v_put from put(q, array[v_topic], array[v_notification.body], array[null::text]) p;
		perform pushed(array[v_notification.id], array[v_put.seq]);
		return answered(q, 'notification_sent', json_build_object('id', v_notification.id, 'seq', v_put.seq, 'status', v_notification.status),
			v_topic, v_put.seq, v_put.clients);
	end if;
	return answered(q, 'notification_sent', json_build_object('id', v_notification.id, 'seq', null, 'status', v_notification.status,
		'deliver_at', stamp(v_notification.push_at)), v_topic, null, 0);
end
$$;

create or replace function tidings.preferences(p_user text) returns json
language plpgsql stable as $$
declare
	v_wish tidings.notification_preference%rowtype;
begin
	select * into v_wish from notification_preference p where p.user_id = p_user;
	return json_build_object(
		'types', (
			select json_object_agg(t.type, v_wish.types -> t.type is distinct from 'false' order by t.place)
			from unnest(array['health_alert', 'medication_reminder', 'appointment_reminder', 'system']) with ordinality as t(type, place)),
		'quiet_hours', case when v_wish.quiet_start is not null then json_build_object('start', to_char(v_wish.quiet_start, 'HH24:MI'),
			'end', to_char(v_wish.quiet_end, 'HH24:MI'), 'time_zone', v_wish.time_zone) end);
end
$$;

create or replace function tidings.act_get_preferences(q tidings.request) returns tidings.answer
language plpgsql as $$
begin
	return answered(q, 'preferences', preferences(q.user_id));
end
$$;

-- What is not named stays as it was; quiet_hours null: none any more.
create or replace function tidings.act_set_preferences(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_types jsonb := coalesce(q.data ->> 'types', '{}')::jsonb;
	v_quiet json := case when json_typeof(q.data -> 'quiet_hours') = 'object' then q.data -> 'quiet_hours' end;
	v_start time := v_quiet ->> 'start';
	v_end time := v_quiet ->> 'end';
	v_zone text := v_quiet ->> 'time_zone';
	v_now timestamptz := clock_timestamp();
begin
	if exists (
		select from jsonb_each(v_types) as t
		where t.key not in ('health_alert', 'medication_reminder', 'appointment_reminder', 'system') or jsonb_typeof(t.value) <> 'boolean')
	then
		return refusal('invalid', 'types are health_alert, medication_reminder, appointment_reminder and system, each true or false');
	elsif v_quiet is not null and num_nulls(v_start, v_end, v_zone) > 0 then
		return refusal('invalid', 'quiet_hours have a start, an end and a time_zone');
	elsif v_start = v_end then
		return refusal('invalid', 'quiet_hours start and end at different times');
	elsif v_zone is not null and local_time(v_now, v_zone) is null then
		return refusal('invalid', 'time_zone is not the name of a time zone, like Europe/Berlin');
	end if;

	insert into notification_preference as p (user_id, types, quiet_start, quiet_end, time_zone)
		values (q.user_id, v_types, v_start, v_end, v_zone)
		on conflict on constraint notification_preference_pkey do update
			set types = p.types || excluded.types,
				quiet_start = case when q.data -> 'quiet_hours' is null then p.quiet_start else excluded.quiet_start end,
				quiet_end = case when q.data -> 'quiet_hours' is null then p.quiet_end else excluded.quiet_end end,
				time_zone = case when q.data -> 'quiet_hours' is null then p.time_zone else excluded.time_zone end;
	-- What is held is looked at again.
	update notification n set push_at = v_now
		where n.user_id = q.user_id and n.read_at is null and seen_from(n.due_at, n.created_at) <= v_now and n.push_at > v_now and n.sent_at is null;
	if found then
		perform tidings.notify('outbox', '');
	end if;
	return answered(q, 'preferences', preferences(q.user_id));
end
$$;

create or replace function tidings.act_mark_read(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_id uuid := q.data ->> 'id';
	v_now timestamptz := clock_timestamp();
begin
	-- What is read need not be pushed any more, unless it wants an ack.
	update notification n
		set read_at = coalesce(n.read_at, v_now), push_at = case when n.priority = 'critical' then n.push_at end
		where n.id = v_id and n.user_id = q.user_id and seen_from(n.due_at, n.created_at) <= v_now;
	if not found then
		return refusal(case when exists (select from notification n where n.id = v_id and n.user_id <> q.user_id)
			then 'forbidden' else 'not_found' end);
	end if;
	return answered(q, 'marked_read', json_build_object('id', v_id, 'unread', unread(q.user_id)));
end
$$;

create or replace function tidings.act_get_notifications(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_limit int8 := least(greatest(coalesce((q.data ->> 'limit')::int8, 50), 1), 100);
	v_notes json[];
begin
	if (q.data ->> 'unread_only')::boolean then
		v_notes := array(
			select notification_json(n) from notification n
			where n.user_id = q.user_id and seen_from(n.due_at, n.created_at) <= clock_timestamp() and n.read_at is null
			order by n.due_at desc, n.id desc limit v_limit);
	else
		v_notes := array(
			select notification_json(n) from notification n
			where n.user_id = q.user_id and seen_from(n.due_at, n.created_at) <= clock_timestamp()
			order by n.due_at desc, n.id desc limit v_limit);
	end if;
	return answered(q, 'notifications', json_build_object('notifications', array_to_json(v_notes), 'unread', unread(q.user_id)));
end
$$;

-- As its user is shown it in a list.
create or replace function tidings.notification_json(p_note tidings.notification) returns json
language sql stable as $$
	select json_strip_nulls(json_build_object('id', p_note.id, 'type', p_note.type, 'title', p_note.title, 'message', p_note.message,
		'priority', p_note.priority, 'created_at', tidings.stamp(p_note.created_at), 'read', p_note.read_at is not null,
		'read_at', tidings.stamp(p_note.read_at), 'acked_at', tidings.stamp(p_note.acked_at)))
$$;

create or replace function tidings.act_ack(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_id uuid := q.data ->> 'id';
	v_topic text := q.data ->> 'topic';
	v_seq int8 := (q.data ->> 'seq')::int8;
	v_verdict text;
begin
	if v_id is null then
		v_verdict := verdict(q.user_id, q.role, v_topic, 'subscribe');
		if v_verdict <> 'ok' then
			return refusal(v_verdict);
		end if;
		if v_topic = 'notifications/' || q.user_id then
			v_id := (select p.notification_id from notification_push p where p.user_id = q.user_id and p.seq = v_seq);
		end if;
	elsif not exists (select from notification n where n.id = v_id and n.user_id = q.user_id and seen_from(n.due_at, n.created_at) <= clock_timestamp()) then
		return refusal(case when exists (select from notification n where n.id = v_id and n.user_id <> q.user_id)
			then 'forbidden' else 'not_found' end);
	end if;
	update notification n set acked_at = coalesce(n.acked_at, clock_timestamp()), push_at = null where n.id = v_id;
	return answered(q, 'acked', json_strip_nulls(json_build_object('topic', v_topic, 'seq', v_seq, 'id', v_id)));
end
$$;

create or replace function tidings.act_get_receipt(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_notification tidings.notification%rowtype;
begin
	select * into v_notification from notification n where n.id = (q.data ->> 'id')::uuid;
	if not found then
		return refusal('not_found');
	elsif not (q.role in ('service', 'admin') or coalesce(v_notification.publisher = q.user_id, false)) then
		return refusal('forbidden');
	end if;
	return answered(q, 'receipt', json_strip_nulls(json_build_object('id', v_notification.id, 'created_at', stamp(v_notification.created_at),
		'sent_at', stamp(v_notification.sent_at), 'attempts', v_notification.attempts, 'acked_at', stamp(v_notification.acked_at), 'read_at', stamp(v_notification.read_at))));
end
$$;
