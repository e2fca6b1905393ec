-- Publishing from inside anyone's own transaction, and what is for later.

-- Publishes from inside anyone's own transaction: the message exists if and only if that transaction commits. It takes no lock, so
-- a transaction that stays open delays nobody.
create or replace function tidings.publish(topic text, type text, data json, deliver_at timestamptz default null,
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
		|| coalesce(',"diagnosis_id":' || diagnosis_of(topic), '')
		|| ',"timestamp":"' || to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
		|| '","data":' || data || '}');
	perform tidings.notify('outbox', '');
end
$$;

-- Moves what is due from the outbox and from the notifications into the queue; one node at a time. Returns in how many ms the next
-- is due: 0 when there may be more now, null when nothing waits, and -1 when another node is at it.
create or replace function tidings.relay(p_queue_max int8, p_queue_min_age_s int8) returns int8
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
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
	v_seqs int8[];
	v_note tidings.notification%rowtype;
	v_notes uuid[] := '{}';
	v_looked boolean := false;
	v_count int;
	v_when timestamptz;
	v_now timestamptz := clock_timestamp();
begin
	if not pg_try_advisory_xact_lock(hashtext('tidings.relay')) then
		return -1;
	end if;
	if end_left_over() then
		return 0; -- nothing else in this transaction: so that all its topics are locked in one order
	end if;
	select array_agg(o.id), array_agg(o.topic), array_agg(o.body), array_agg(o.ephemeral::int::int8), array_agg(o.to_user),
			array_agg(o.exclude::text), array_agg(o.expires_at::text), array_agg(null::text)
		into v_ids, v_topics, v_bodies, v_flags, v_to_users, v_excludes, v_expires_at, v_none
		from (select * from outbox where deliver_at <= v_now order by deliver_at, id limit 500
			for update skip locked) o;
	v_count := coalesce(cardinality(v_ids), 0);

	for v_note in
		select * from notification n where n.push_at <= v_now order by n.push_at, n.id limit 500 for update skip locked
	loop
		v_looked := true;
		v_when := hold(v_note.user_id, v_note.type, v_note.priority, v_now);
		if v_when <= v_now then
			v_notes := v_notes || v_note.id;
			v_topics := v_topics || ('notifications/' || v_note.user_id);
			v_bodies := v_bodies || notification_text(v_note);
			v_flags := v_flags || 0::int8;
			v_to_users := v_to_users || null::text;
			v_excludes := v_excludes || null::text;
			v_expires_at := v_expires_at || null::text;
			v_none := v_none || null::text;
		else
			update notification n set push_at = v_when where n.id = v_note.id;
		end if;
	end loop;

	if v_topics is null then
		if v_looked then
			return 0;
		end if;
		v_when := least((select min(o.deliver_at) from outbox o), (select min(n.push_at) from notification n where n.push_at is not null));
		-- What another transaction has locked is due already: soon again, but not at once.
		return case when v_when is not null then greatest(ceil(extract(epoch from v_when - clock_timestamp()) * 1000)::int8, 100) end;
	end if;
	select a.seqs into v_seqs from append(v_topics, v_bodies, v_flags, v_to_users, v_excludes, v_expires_at, v_none::int8[], v_none, v_none,
		p_queue_max, p_queue_min_age_s) a;
	if v_ids is not null then
		delete from outbox where id = any (v_ids);
	end if;
	if cardinality(v_notes) > 0 then
		perform pushed(v_notes, v_seqs[v_count + 1:]);
	end if;
	return 0;
end
$$;
