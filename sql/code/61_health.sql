-- Health: thresholds, readings, and the alarms that they raise.
--
-- A reading is judged against its threshold by act_health_update(), or by the relay when somebody's SQL inserted it: never in a transaction
-- that is not ours, which could stay open. It crosses the threshold when its metric was inside and now is not, or was outside on the other
-- side. What counts as "was":
--
--	live	measured within the hour before it came, and not before what was measured last. It moves health_state.side
--	late	older than that: a device had kept it, or its clock is slow. It raises an alarm too, unless the same one is on, and moves
--		health_state.late_side alone: so the next live reading raises what it would have raised
--	old	by more than a day; or, among the late ones, older than the last. History, which raises and moves nothing
--
-- Times are compared with a tolerance of 5 minutes, for clocks that differ; and none is taken to be later than now, so that no clock which
-- was ahead turns what comes after it into history.

create or replace function tidings.health_receive() returns trigger
language plpgsql as $$
begin
	new.alert := null;
	new.received_at := clock_timestamp();
	return new;
end
$$;

create or replace trigger health_receive before insert on tidings.health_reading
	for each row execute function tidings.health_receive();

-- Other limits are judged afresh.
create or replace function tidings.health_revise() returns trigger
language plpgsql as $$
begin
	new.revision := gen_random_uuid();
	return new;
end
$$;

create or replace trigger health_revise before update on tidings.health_threshold
	for each row when ((old.user_id, old.metric, old.low, old.high) is distinct from (new.user_id, new.metric, new.low, new.high))
	execute function tidings.health_revise();

-- Locks the state of a metric, if another transaction does not keep it locked.
--
--	p_wait	while another reading is being judged, which takes no longer than a commit
create or replace function tidings.health_lock(p_user text, p_metric text, p_wait boolean) returns boolean
language plpgsql set lock_timeout = '250ms' as $$
begin
	perform from health_state s where s.user_id = p_user and s.metric = p_metric for update skip locked;
	if found then
		return true;
	elsif not p_wait and exists (select from health_state s where s.user_id = p_user and s.metric = p_metric) then
		return false;
	end if;
	begin
		insert into health_state (user_id, metric) values (p_user, p_metric) on conflict do nothing;
		perform from health_state s where s.user_id = p_user and s.metric = p_metric for update;
		return found;
	exception when lock_not_available then
		return false;
	end;
end
$$;

-- Judges a reading whose state is locked.
--
--	alert		'low', 'high', or null: none
--	threshold	that it was judged by
create or replace function tidings.health_judge(p_reading tidings.health_reading, out alert text, out threshold tidings.health_threshold)
language plpgsql as $$
declare
	v_state tidings.health_state%rowtype;
	v_now timestamptz := clock_timestamp();
	v_came timestamptz := least(p_reading.received_at, v_now);
	v_at timestamptz := least(p_reading.measured_at, v_now);
	v_side text;
begin
	select * into threshold from health_threshold t where t.user_id = p_reading.user_id and t.metric = p_reading.metric;
	if not found or v_at < v_came - interval '1 day' then
		return;
	end if;
	select * into strict v_state from health_state s where s.user_id = p_reading.user_id and s.metric = p_reading.metric;
	if v_state.revision is distinct from threshold.revision then
		v_state.revision := threshold.revision;
		v_state.side := 'inside';
		v_state.late_side := 'inside';
	end if;
	v_state.measured_at := least(v_state.measured_at, v_now);
	v_state.late_measured_at := least(v_state.late_measured_at, v_now);
	v_side := case when p_reading.value < threshold.low then 'low' when p_reading.value > threshold.high then 'high' else 'inside' end;
	if v_at >= v_came - interval '1 hour' and v_at >= v_state.measured_at - interval '5 minutes' then
		alert := nullif(nullif(v_side, 'inside'), v_state.side);
		v_state.side := v_side;
		v_state.measured_at := greatest(v_state.measured_at, v_at);
	elsif v_at >= v_state.late_measured_at - interval '5 minutes' then
		alert := nullif(nullif(nullif(v_side, 'inside'), v_state.late_side), v_state.side);
		v_state.late_side := v_side;
		v_state.late_measured_at := greatest(v_state.late_measured_at, v_at);
	else
		return;
	end if;
	update health_state s
		set revision = v_state.revision, side = v_state.side, measured_at = v_state.measured_at, late_side = v_state.late_side,
			late_measured_at = v_state.late_measured_at
		where s.user_id = v_state.user_id and s.metric = v_state.metric;
	if alert is not null then
		update health_reading r set alert = health_judge.alert where r.id = p_reading.id;
	end if;
end
$$;

-- Judges a reading, whose state is locked where it has a threshold; and the messages of it: health_update; and when it raised an alert
-- health_alert and, unless it is left to the relay, the notification, which is stored here.
--
--	p_now		the caller appends the notification's message too, and tells pushed() of it
--	notification_id		the notification that is among the messages, as the last
create or replace function tidings.health_messages(p_reading tidings.health_reading, p_correlation text, p_now boolean,
	out topics text[], out bodies text[], out notification_id uuid)
language plpgsql as $$
declare
	v_topic text := 'health/' || p_reading.user_id;
	v_judged record;
	v_alert text;
	v_threshold tidings.health_threshold;
	v_notification record;
begin
	topics := array[v_topic];
	bodies := array[message_text('health_update', v_topic, p_correlation, 'data', (
		select json_strip_nulls(row_to_json(d)) from (select p_reading.id, user_json(p_reading.user_id) as user_id, p_reading.metric,
			p_reading.value, p_reading.unit, stamp(p_reading.measured_at) as timestamp) d))];
	select * into v_judged from health_judge(p_reading);
	if v_judged.alert is null then
		return;
	end if;
	v_alert := v_judged.alert;
	v_threshold := v_judged.threshold;
	select * into v_notification from store_notification(p_reading.user_id, 'health_alert', initcap(replace(p_reading.metric, '_', ' ')) || ' Alert',
		'Your ' || replace(p_reading.metric, '_', ' ') || ' is ' || case v_alert when 'low' then 'below' else 'above' end
			|| ' its limit: ' || concat_ws(' ', p_reading.value, p_reading.unit) || ', the limit is '
			|| case v_alert when 'low' then v_threshold.low else v_threshold.high end,
		v_threshold.severity, null, p_correlation, null, p_now);
	topics := topics || v_topic;
	bodies := bodies || message_text('health_alert', v_topic, p_correlation, 'data', (
		select json_strip_nulls(row_to_json(d)) from (select p_reading.id, user_json(p_reading.user_id) as user_id, p_reading.metric,
			p_reading.value, p_reading.unit, stamp(p_reading.measured_at) as timestamp, v_alert as side, v_threshold.low,
			v_threshold.high, v_threshold.severity, v_notification.id as notification_id) d));
	if v_notification.body is not null then
		topics := topics || ('notifications/' || p_reading.user_id);
		bodies := bodies || v_notification.body;
		notification_id := v_notification.id;
	end if;
end
$$;

-- Readings that somebody's SQL inserted are judged and pushed by the relay.
create or replace function tidings.health_push() returns trigger
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	insert into outbox (deliver_at, at_once, topic, reading_id)
		select clock_timestamp(), true, 'health/' || f.user_id, f.id from fresh f where not f.pushed order by f.id;
	if found then
		perform tidings.notify('outbox', '');
	end if;
	return null;
end
$$;

create or replace trigger health_push after insert on tidings.health_reading referencing new table as fresh
	for each statement execute function tidings.health_push();

-- Whose health a request is about: its own user's, or who is named.
create or replace function tidings.health_user(q tidings.request) returns text
language sql immutable as $$
	select coalesce(q.data ->> 'user_id', q.user_id)
$$;

create or replace function tidings.act_health_update(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_user text := health_user(q);
	v_topic text := 'health/' || v_user;
	v_verdict text := verdict(q.user_id, q.role, v_topic, 'publish');
	v_at timestamptz := date_trunc('milliseconds', coalesce((q.data ->> 'timestamp')::timestamptz, clock_timestamp()));
	v_reading tidings.health_reading%rowtype;
	v_messages record;
	v_put record;
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	elsif q.data ->> 'user_id' is null and q.role in ('service', 'admin') then
		return refusal('invalid', 'user_id is required: whose reading is it?');
	elsif not addressable(v_user) then
		return refusal('invalid', 'No topic can be named after this user_id');
	elsif v_at > clock_timestamp() + interval '5 minutes' then
		return refusal('invalid', 'timestamp is in the future');
	end if;
	insert into health_reading as r (user_id, metric, value, unit, measured_at, pushed)
		values (v_user, q.data ->> 'metric', (q.data ->> 'value')::float8, q.data ->> 'unit', v_at, true)
		returning * into v_reading;
	if exists (select from health_threshold t where t.user_id = v_user and t.metric = v_reading.metric)
		and not health_lock(v_user, v_reading.metric, true)
	then
		insert into outbox (deliver_at, at_once, exclude, topic, reading_id)
			values (clock_timestamp(), true, q.connection::uuid, v_topic, v_reading.id);
		perform tidings.notify('outbox', '');
		return answered(q, 'health_update_stored', json_build_object('metric', v_reading.metric, 'id', v_reading.id, 'seq', null),
			v_topic, null, 0);
	end if;
	select * into v_messages from health_messages(v_reading, q.correlation, true);
	-- The sender has its reading already; the alert is news to it too.
	select p.seqs, p.clients into v_put from put(q, v_messages.topics, v_messages.bodies,
		array[q.connection] || array_fill(null::text, array[cardinality(v_messages.topics) - 1])) p;
	if v_messages.notification_id is not null then
		perform pushed(array[v_messages.notification_id], array[v_put.seqs[cardinality(v_put.seqs)]]);
	end if;
	return answered(q, 'health_update_stored', json_build_object('metric', v_reading.metric, 'id', v_reading.id, 'seq', v_put.seqs[1]),
		v_topic, v_put.seqs[1], v_put.clients[1]);
end
$$;

-- What is not named stays as it was; a bound that is null is taken away, and with the last one the threshold.
create or replace function tidings.act_set_threshold(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_user text := health_user(q);
	v_metric text := q.data ->> 'metric';
	v_named boolean := q.data -> 'low' is not null or q.data -> 'high' is not null;
	v_new tidings.health_threshold%rowtype;
	v_known boolean;
	v_verdict text := verdict(q.user_id, q.role, 'health/' || v_user, 'subscribe'); -- whoever may read it
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	end if;
	-- Of two that come at once the later one finds what the first one set.
	perform pg_advisory_xact_lock(hashtextextended('tidings.set_threshold ' || v_user, 0));
	select * into v_new from health_threshold t where t.user_id = v_user and t.metric = v_metric;
	v_known := found;
	if not v_known and not v_named then
		return refusal('invalid', 'low or high is required: there is no threshold of this metric');
	end if;
	if q.data -> 'low' is not null then
		v_new.low := q.data ->> 'low';
	end if;
	if q.data -> 'high' is not null then
		v_new.high := q.data ->> 'high';
	end if;
	v_new.severity := coalesce(q.data ->> 'severity', v_new.severity, 'high');
	if v_new.severity not in ('low', 'normal', 'high', 'critical') then
		return refusal('invalid', 'severity is low, normal, high or critical');
	elsif v_new.low >= v_new.high then
		return refusal('invalid', 'low has to be below high');
	end if;
	if num_nonnulls(v_new.low, v_new.high) = 0 then
		delete from health_threshold t where t.user_id = v_user and t.metric = v_metric;
		v_new.severity := null;
	elsif not v_known and (select count(*) from health_threshold t where t.user_id = v_user) >= 200 then
		return refusal('invalid', 'There are 200 thresholds already');
	else
		insert into health_threshold (user_id, metric, low, high, severity) values (v_user, v_metric, v_new.low, v_new.high, v_new.severity)
			on conflict on constraint health_threshold_pkey do update
				set low = excluded.low, high = excluded.high, severity = excluded.severity;
	end if;
	return answered(q, 'threshold_set', json_build_object('metric', v_metric, 'low', v_new.low, 'high', v_new.high, 'severity', v_new.severity));
end
$$;

create or replace function tidings.act_get_thresholds(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_user text := health_user(q);
	v_verdict text := verdict(q.user_id, q.role, 'health/' || v_user, 'subscribe');
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	end if;
	return answered(q, 'thresholds', json_build_object('thresholds', (
		select coalesce(json_agg(row_to_json(f) order by f.metric), '[]')
		from (select t.metric, t.low, t.high, t.severity from health_threshold t where t.user_id = v_user) f)));
end
$$;

-- What was measured after `since`, the oldest first: asked again with the last timestamp it goes on, so what has the same timestamp
-- comes together although it be a few more. Without `since`: the newest. more: there is more after these (before these).
create or replace function tidings.act_get_health(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_user text := health_user(q);
	v_metric text := q.data ->> 'metric';
	v_since timestamptz := (q.data ->> 'since')::timestamptz;
	v_limit int8 := least(greatest(coalesce((q.data ->> 'limit')::int8, 100), 1), 500);
	v_verdict text := verdict(q.user_id, q.role, 'health/' || v_user, 'subscribe');
	v_readings json[];
	v_first timestamptz;
	v_last timestamptz;
	v_more boolean;
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	end if;
	-- Four plans, each by its index: one for all of them would sort what it does not need.
	if v_since is not null and v_metric is not null then
		select array_agg(reading_json(r) order by r.measured_at, r.id), max(r.measured_at) into v_readings, v_last
			from (select * from health_reading o where o.user_id = v_user and o.metric = v_metric and o.measured_at > v_since
				order by o.measured_at fetch first v_limit rows with ties) r;
		v_more := exists (select from health_reading r where r.user_id = v_user and r.metric = v_metric and r.measured_at > v_last);
	elsif v_since is not null then
		select array_agg(reading_json(r) order by r.measured_at, r.id), max(r.measured_at) into v_readings, v_last
			from (select * from health_reading o where o.user_id = v_user and o.measured_at > v_since
				order by o.measured_at fetch first v_limit rows with ties) r;
		v_more := exists (select from health_reading r where r.user_id = v_user and r.measured_at > v_last);
	elsif v_metric is not null then
		select array_agg(reading_json(r) order by r.measured_at, r.id), min(r.measured_at) into v_readings, v_first
			from (select * from health_reading o where o.user_id = v_user and o.metric = v_metric
				order by o.measured_at desc fetch first v_limit rows with ties) r;
		v_more := exists (select from health_reading r where r.user_id = v_user and r.metric = v_metric and r.measured_at < v_first);
	else
		select array_agg(reading_json(r) order by r.measured_at, r.id), min(r.measured_at) into v_readings, v_first
			from (select * from health_reading o where o.user_id = v_user
				order by o.measured_at desc fetch first v_limit rows with ties) r;
		v_more := exists (select from health_reading r where r.user_id = v_user and r.measured_at < v_first);
	end if;
	return answered(q, 'health_history', json_build_object('readings', coalesce(array_to_json(v_readings), '[]'), 'more', v_more));
end
$$;

create or replace function tidings.reading_json(p_reading tidings.health_reading) returns json
language sql stable as $$
	select json_strip_nulls(json_build_object('id', p_reading.id, 'metric', p_reading.metric, 'value', p_reading.value,
		'unit', p_reading.unit, 'timestamp', tidings.stamp(p_reading.measured_at), 'alert', p_reading.alert))
$$;
