-- Health: readings are judged where they are inserted, whoever inserts them; thresholds, history.

-- Does this reading cross its threshold? It does when its metric was inside and now is not, or was outside on the other side.
create or replace function tidings.health_judge() returns trigger
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_state tidings.health_state%rowtype;
	v_threshold tidings.health_threshold%rowtype;
	v_side text;
begin
	new.alert := null;
	if not exists (select from health_threshold t where t.user_id = new.user_id and t.metric = new.metric) then
		return new;
	end if;
	insert into health_state (user_id, metric) values (new.user_id, new.metric) on conflict do nothing;
	select * into v_state from health_state s where s.user_id = new.user_id and s.metric = new.metric for update;
	-- After the lock: of readings that come together one alone finds the metric inside.
	select * into v_threshold from health_threshold t where t.user_id = new.user_id and t.metric = new.metric;
	if not found or new.measured_at < v_state.measured_at - interval '5 minutes' then
		return new; -- one that comes late is history; within 5 min it may be another device's clock
	end if;
	v_side := case when new.value < v_threshold.low then 'low' when new.value > v_threshold.high then 'high' else 'inside' end;
	-- A clock that is ahead must not turn what comes after it into history.
	update health_state s set side = v_side, measured_at = greatest(s.measured_at, least(new.measured_at, clock_timestamp()))
		where s.user_id = new.user_id and s.metric = new.metric;
	if v_side <> 'inside' and v_side <> v_state.side then
		new.alert := v_side;
	end if;
	return new;
end
$$;

create or replace trigger health_judge before insert on tidings.health_reading
	for each row execute function tidings.health_judge();

-- Another threshold is judged afresh.
create or replace function tidings.health_judge_afresh() returns trigger
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	if tg_op = 'UPDATE' and (old.user_id, old.metric, old.low, old.high) is not distinct from (new.user_id, new.metric, new.low, new.high) then
		return null;
	end if;
	if tg_op <> 'INSERT' then
		update health_state s set side = 'inside' where s.user_id = old.user_id and s.metric = old.metric;
	end if;
	if tg_op <> 'DELETE' then
		update health_state s set side = 'inside' where s.user_id = new.user_id and s.metric = new.metric;
	end if;
	return null;
end
$$;

create or replace trigger health_judge_afresh after insert or update or delete on tidings.health_threshold
	for each row execute function tidings.health_judge_afresh();

-- The messages of a reading: health_update; and when it raised an alert health_alert and, unless it is left to the relay, the
-- notification, which is stored here.
--
--	p_now		the caller appends the notification's message too, and tells pushed() of it
--	note_id		the notification that is among the messages, as the last
create or replace function tidings.health_messages(p_reading tidings.health_reading, p_correlation text, p_now boolean,
	out topics text[], out bodies text[], out note_id uuid)
language plpgsql as $$
declare
	v_topic text := 'health/' || p_reading.user_id;
	v_threshold tidings.health_threshold%rowtype;
	v_note record;
begin
	topics := array[v_topic];
	bodies := array[message_text('health_update', v_topic, p_correlation, 'data', (
		select json_strip_nulls(row_to_json(d)) from (select p_reading.id, user_json(p_reading.user_id) as user_id, p_reading.metric,
			p_reading.value, p_reading.unit, stamp(p_reading.measured_at) as timestamp) d))];
	if p_reading.alert is null then
		return;
	end if;
	select * into v_threshold from health_threshold t where t.user_id = p_reading.user_id and t.metric = p_reading.metric;
	select * into v_note from note(p_reading.user_id, 'health_alert', initcap(replace(p_reading.metric, '_', ' ')) || ' Alert',
		'Your ' || replace(p_reading.metric, '_', ' ') || ' is ' || case p_reading.alert when 'low' then 'below' else 'above' end
			|| ' its limit: ' || concat_ws(' ', p_reading.value, p_reading.unit) || ', the limit is '
			|| case p_reading.alert when 'low' then v_threshold.low else v_threshold.high end,
		v_threshold.severity, null, p_correlation, null, p_now);
	topics := topics || v_topic;
	bodies := bodies || message_text('health_alert', v_topic, p_correlation, 'data', (
		select json_strip_nulls(row_to_json(d)) from (select p_reading.id, user_json(p_reading.user_id) as user_id, p_reading.metric,
			p_reading.value, p_reading.unit, stamp(p_reading.measured_at) as timestamp, p_reading.alert as side, v_threshold.low,
			v_threshold.high, v_threshold.severity, v_note.id as notification_id) d));
	if v_note.body is not null then
		topics := topics || ('notifications/' || p_reading.user_id);
		bodies := bodies || v_note.body;
		note_id := v_note.id;
	end if;
end
$$;

-- Readings that somebody's SQL inserted are pushed by the relay: that transaction may stay open, and delays nobody.
create or replace function tidings.health_push() returns trigger
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_reading tidings.health_reading%rowtype;
	v_messages record;
begin
	for v_reading in select * from fresh f where not f.pushed order by f.id loop
		select * into v_messages from health_messages(v_reading, null, false);
		insert into outbox (deliver_at, topic, body)
			select clock_timestamp(), v_messages.topics[i], v_messages.bodies[i] from generate_series(1, cardinality(v_messages.topics)) as i;
		perform tidings.notify('outbox', '');
	end loop;
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
	select * into v_messages from health_messages(v_reading, q.correlation, true);
	-- The sender has its reading already; the alert is news to it too.
	select p.seqs, p.clients into v_put from put(q, v_messages.topics, v_messages.bodies,
		array[q.connection] || array_fill(null::text, array[cardinality(v_messages.topics) - 1])) p;
	if v_messages.note_id is not null then
		perform pushed(array[v_messages.note_id], array[v_put.seqs[cardinality(v_put.seqs)]]);
	end if;
	return answered(q, 'health_update_stored', json_build_object('metric', v_reading.metric, 'id', v_reading.id, 'seq', v_put.seqs[1]),
		v_topic, v_put.seqs[1], v_put.clients[1]);
end
$$;

create or replace function tidings.act_set_threshold(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_user text := health_user(q);
	v_metric text := q.data ->> 'metric';
	v_low float8 := q.data ->> 'low';
	v_high float8 := q.data ->> 'high';
	v_severity text := q.data ->> 'severity';
	v_kept tidings.health_threshold%rowtype;
	v_verdict text := verdict(q.user_id, q.role, 'health/' || v_user, 'subscribe'); -- whoever may read it
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	end if;
	-- What is not named stays as it is: an explicit null alone takes a bound away.
	select * into v_kept from health_threshold t where t.user_id = v_user and t.metric = v_metric for update;
	v_severity := coalesce(v_severity, v_kept.severity, 'high');
	v_low := case when q.data -> 'low' is null then v_kept.low else v_low end;
	v_high := case when q.data -> 'high' is null then v_kept.high else v_high end;
	if q.data -> 'low' is null and q.data -> 'high' is null and v_kept.metric is null then
		return refusal('invalid', 'There is no threshold for this metric yet: low or high is required');
	elsif v_severity not in ('low', 'normal', 'high', 'critical') then
		return refusal('invalid', 'severity is low, normal, high or critical');
	elsif v_low >= v_high then
		return refusal('invalid', 'low has to be below high');
	end if;
	if v_low is null and v_high is null then
		delete from health_threshold t where t.user_id = v_user and t.metric = v_metric;
	elsif (select count(*) from health_threshold t where t.user_id = v_user and t.metric <> v_metric) >= 200 then
		return refusal('invalid', 'There are 200 thresholds already');
	else
		insert into health_threshold (user_id, metric, low, high, severity) values (v_user, v_metric, v_low, v_high, v_severity)
			on conflict on constraint health_threshold_pkey do update
				set low = excluded.low, high = excluded.high, severity = excluded.severity;
	end if;
	return answered(q, 'threshold_set', json_build_object('metric', v_metric, 'low', v_low, 'high', v_high,
		'severity', case when num_nonnulls(v_low, v_high) > 0 then v_severity end));
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
