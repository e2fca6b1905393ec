-- How long readings, chat and notifications are kept, and what is kept about a user.

-- The next readings after an id that came before p_old, p_rows at most, are deleted. In the order of ids, in which they came, they need no
-- index of their times. One that a clock dated ahead keeps none that came after it.
--
--	reached	go on after it
--	rest	there may be more
create or replace function tidings.retain_readings(p_after int8, p_old timestamptz, p_rows int8, out reached int8, out rest boolean)
language plpgsql as $$
declare
	v_now timestamptz := clock_timestamp();
	v_ids int8[];
begin
	select array_agg(r.id) filter (where r.received_at < p_old),
			coalesce(max(r.id) filter (where r.received_at < p_old or r.received_at > v_now), p_after),
			count(*) = p_rows and bool_and(r.received_at < p_old or r.received_at > v_now)
		into v_ids, reached, rest
		from (select o.id, o.received_at from health_reading o where o.id > p_after order by o.id limit p_rows) r;
	delete from health_reading where ctid = any (array(
		select l.ctid from unnest(v_ids) as i(id) cross join lateral (
			select o.ctid from health_reading o where o.id = i.id for update skip locked) l));
end
$$;

-- The same of chat messages, from a time on.
create or replace function tidings.retain_chat(p_from timestamptz, p_old timestamptz, p_rows int8, out reached timestamptz, out rest boolean)
language plpgsql as $$
begin
	with gone as (
		delete from chat_message where ctid = any (array(
			select o.ctid from chat_message o where o.created_at >= p_from and o.created_at < p_old
			order by o.created_at limit p_rows for update skip locked))
		returning created_at
	)
	select coalesce(max(g.created_at), p_from), count(*) = p_rows into reached, rest from gone g;
end
$$;

-- The same of notifications that are not to be pushed any more, from the time on at which they were due.
create or replace function tidings.retain_notifications(p_from timestamptz, p_old timestamptz, p_rows int8, out reached timestamptz, out rest boolean)
language plpgsql as $$
begin
	with gone as (
		delete from notification where ctid = any (array(
			select o.ctid from notification o where o.push_at is null and o.due_at >= p_from and o.due_at < p_old
			order by o.due_at limit p_rows for update skip locked))
		returning due_at
	)
	select coalesce(max(g.due_at), p_from), count(*) = p_rows into reached, rest from gone g;
end
$$;

-- The same of places of devices: those that are used have no such time. Returns whether there may be more.
create or replace function tidings.retain_devices(p_old timestamptz, p_rows int8) returns boolean
language plpgsql as $$
declare
	v_count int8;
begin
	delete from device where ctid = any (array(
		select o.ctid from device o where o.used_at < p_old order by o.used_at limit p_rows for update skip locked));
	get diagnostics v_count = row_count;
	return v_count = p_rows;
end
$$;

-- Deletes readings, chat messages, notifications and places of devices that are older than they are kept. One node at a time, a bounded number of rows in one
-- call, and for a bounded time: whoever calls again goes on where it ended. What another transaction has locked is passed over until the
-- next day.
--
--	p_begins	of n nodes one in n has its turn
--	p_rows		how many are deleted, of each kind
--	p_ms		after so long no more are
--	p_…_s		how long they are kept; 0: for ever. Readings and chat messages since they came, notifications since they were due, the places
--			of devices since those were there
--	returns		there may be more
create or replace function tidings.retain(p_begins boolean, p_rows int8, p_ms int8, p_readings_s int8, p_chat_s int8, p_notifications_s int8,
	p_devices_s int8 default 0)
returns boolean
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
	v_was retained%rowtype;
	v_state retained%rowtype;
	v_chunk int8 := least(p_rows, 100);
	v_left int8 := p_rows;
	v_now timestamptz := clock_timestamp();
	v_readings boolean := p_readings_s > 0; -- there may be more of them
	v_chat boolean := p_chat_s > 0;
	v_notifications boolean := p_notifications_s > 0;
	v_devices boolean := p_devices_s > 0;
	v_step record;
begin
	if p_begins and random() * live_nodes() > 1 or not pg_try_advisory_xact_lock(hashtext('tidings.retention')) then
		return false;
	end if;
	-- What a crash of the server brings back is deleted again.
	perform set_config('synchronous_commit', 'off', true);
	select * into v_was from retained;
	if not found then
		insert into retained (began_at) values (v_now) returning * into v_was;
	end if;
	v_state := v_was;
	if v_now not between v_state.began_at and v_state.began_at + interval '1 day' then
		v_state := row(true, v_now, 0, '-infinity', '-infinity')::retained;
	end if;
	loop
		if v_readings then
			select * into v_step from retain_readings(v_state.reading_id, v_now - make_interval(secs => p_readings_s), v_chunk);
			v_state.reading_id := v_step.reached;
			v_readings := v_step.rest;
		end if;
		if v_chat then
			select * into v_step from retain_chat(v_state.chat_at, v_now - make_interval(secs => p_chat_s), v_chunk);
			v_state.chat_at := v_step.reached;
			v_chat := v_step.rest;
		end if;
		if v_notifications then
			select * into v_step from retain_notifications(v_state.notification_at, v_now - make_interval(secs => p_notifications_s), v_chunk);
			v_state.notification_at := v_step.reached;
			v_notifications := v_step.rest;
		end if;
		if v_devices then
			v_devices := retain_devices(v_now - make_interval(secs => p_devices_s), v_chunk);
		end if;
		v_left := v_left - v_chunk;
		exit when v_left < v_chunk or not (v_readings or v_chat or v_notifications or v_devices)
			or clock_timestamp() > v_now + make_interval(secs => p_ms / 1000.0);
	end loop;
	if v_state is distinct from v_was then
		update retained set began_at = v_state.began_at, reading_id = v_state.reading_id, chat_at = v_state.chat_at,
			notification_at = v_state.notification_at;
	end if;
	return v_readings or v_chat or v_notifications or v_devices;
end
$$;

-- A table of tidings, and not a view of an operator's own.
create or replace function tidings.is_table(p_name text) returns boolean
language sql stable as $$
	select relkind in ('r', 'p') from pg_class where oid = ('tidings.' || p_name)::regclass
$$;

-- Erases what is kept about a user, and tells the sidecars to end their connections. What others need stays, and names nobody: what was
-- said in a conversation with other people or of another patient, and that a notification was sent to somebody else. A participant that
-- has spoken as a service alone (an assistant) is no other person. Messages in the queues of others that name the user reach nobody any
-- more.
--
-- In one transaction. At its end it has the topics locked of the user, and of those with whom they share any: publishing to these waits. What
-- somebody stores meanwhile is found when it is called again. Rows behind an operator's view are theirs to delete; the accounts of tokens, too.
--
--	returns		a row for each kind of thing
create or replace function tidings.forget(user_id text) returns table (kind text, deleted int8, anonymised int8)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set plan_cache_mode = force_custom_plan
as $$
declare
	v_user text := forget.user_id;
	v_alias text := 'forgotten-' || left(gen_random_uuid()::text, 8); -- another one each time
	v_named text := '"user_id":' || user_json(v_user) || ','; -- as chat_json() has it; inside of a string its quotes would be escaped
	v_owned text[];	 -- diagnoses' topics
	v_talks uuid[];	 -- conversations
	v_shared text[]; -- those of them that others need, as text
	v_alone text[];	 -- those that nobody else does
	v_topics text[]; -- that are the user's alone
	v_others text[]; -- that others need
	v_ids int8[];
	v_count int8;
	v_made int8; -- of the user's topics, only to be locked
begin
	if v_user is null or octet_length(v_user) not between 1 and 128 then
		raise exception 'tidings: a user id has 1 to 128 bytes' using errcode = 'invalid_parameter_value';
	elsif current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
		raise exception 'tidings: forget() needs to see what others commit: READ COMMITTED' using errcode = 'invalid_transaction_state';
	end if;

	-- Votes are taken out of the sums here, so that the user is in none when this is committed.
	perform analyst_lock(true);
	-- Locks in the order of everybody else (keys, states, preferences, feedback, predictions, recommendations, conversations, topics, quotas); what is the user's alone goes before
	-- what others may want is locked.
	anonymised := 0;
	kind := 'idempotency_keys';
	delete from idempotency k where k.caller = v_user;
	get diagnostics deleted = row_count;
	return next;
	delete from health_state s where s.user_id = v_user;
	delete from patient_fact f where f.user_id = v_user;
	kind := 'readings';
	delete from health_reading r where r.user_id = v_user;
	get diagnostics deleted = row_count;
	return next;
	kind := 'thresholds';
	delete from health_threshold t where t.user_id = v_user;
	get diagnostics deleted = row_count;
	return next;
	kind := 'devices';
	deleted := (select count(distinct d.name) from device d where d.user_id = v_user);
	delete from device d where d.user_id = v_user;
	return next;
	kind := 'preferences';
	delete from notification_preference p where p.user_id = v_user;
	get diagnostics deleted = row_count;
	return next;
	kind := 'notifications';
	delete from notification n where n.user_id = v_user;
	get diagnostics deleted = row_count;
	update notification n set publisher = v_alias where n.publisher = v_user;
	get diagnostics anonymised = row_count;
	return next;

	-- How the user fared, and what others said of that; what the user said of others stays, and so does what they decided.
	kind := 'feedback';
	delete from feedback f where f.patient = v_user;
	get diagnostics deleted = row_count;
	update feedback f set user_id = v_alias where f.user_id = v_user;
	get diagnostics anonymised = row_count;
	return next;
	anonymised := 0;
	kind := 'predictions';
	delete from prediction p where p.patient = v_user;
	get diagnostics deleted = row_count;
	return next;
	kind := 'recommendations'; deleted := 0;
	if is_table('recommendation') then
		delete from recommendation r where r.diagnosis_id in (select d.id from diagnosis d where d.owner = v_user);
		get diagnostics deleted = row_count;
		update recommendation r set decided_by = v_alias where r.decided_by = v_user;
		get diagnostics anonymised = row_count;
	end if;
	return next;

	v_talks := array(
		select c.id from conversation c where c.creator = v_user
		union select p.conversation_id from participant p where p.user_id = v_user
		union select m.conversation_id from chat_message m where m.user_id = v_user);
	perform from conversation c where c.id = any (v_talks) order by c.id for no key update;
	select array_agg(c.id) filter (where c.shared), array_agg(c.id) filter (where not c.shared) into v_shared, v_alone from (
		select o.id::text, exists (
			select from participant p where p.conversation_id = o.id and p.user_id <> v_user and (
				not exists (select from chat_message m where m.conversation_id = o.id and m.user_id = p.user_id)
				or exists (select from chat_message m where m.conversation_id = o.id and m.user_id = p.user_id and m.sender is null))) as shared
		from conversation o where o.id = any (v_talks)) c;
	kind := 'chat_messages';
	delete from chat_message m where m.conversation_id = any (v_alone::uuid[]);
	get diagnostics deleted = row_count;
	update chat_message m set user_id = v_alias, sender = null where m.conversation_id = any (v_talks) and m.user_id = v_user;
	get diagnostics anonymised = row_count;
	return next;

	v_owned := array(select 'diagnosis/' || d.id from diagnosis d where d.owner = v_user);
	v_topics := v_owned || array(select t from unnest(array['health/' || v_user, 'chats/' || v_user, 'notifications/' || v_user]) as t
		where addressable(v_user)) || array(select 'chat/' || c from unnest(v_alone) as c);
	v_others := array(
		select 'chat/' || c from unnest(v_shared) as c
		union select 'chats/' || p.user_id from participant p where p.conversation_id = any ((v_shared || v_alone)::uuid[]) and p.user_id <> v_user
		union select 'diagnosis/' || g.diagnosis_id from diagnosis_grant g where g.user_id = v_user
		union select 'health/' || g.user_id from health_grant g where g.clinician_id = v_user and addressable(g.user_id)
		union select t.name from connection c join topic t on t.id = c.topic_id where c.user_id = v_user
		except select t from unnest(v_topics) as t);
	with made as (
		insert into topic (name)
			select distinct t collate "C" as name from unnest(v_topics || v_others) as t where not exists (select from topic o where o.name = t) order by 1
			on conflict do nothing
			returning name
	)
	select count(*) into v_made from made where name = any (v_topics);
	perform from topic t where t.name = any (v_topics || v_others) order by t.id for update;

	-- The rights: what they were given ends in the topics of others by end_withdrawn().
	anonymised := 0;
	kind := 'diagnoses';
	if is_table('diagnosis') then
		delete from diagnosis d where d.owner = v_user;
		get diagnostics deleted = row_count;
	else
		deleted := 0;
	end if;
	return next;
	kind := 'rights'; deleted := 0;
	if is_table('diagnosis_grant') then
		delete from diagnosis_grant g where g.user_id = v_user;
		get diagnostics deleted = row_count;
	end if;
	if is_table('health_grant') then
		delete from health_grant g where g.user_id = v_user or g.clinician_id = v_user;
		get diagnostics v_count = row_count;
		deleted := deleted + v_count;
	end if;
	return next;
	kind := 'account'; deleted := 0;
	if is_table('app_user') then
		delete from app_user u where u.id = v_user;
		get diagnostics deleted = row_count;
	end if;
	return next;

	kind := 'conversations';
	if is_table('participant') then
		delete from participant p where p.user_id = v_user;
	end if;
	delete from conversation c where c.id = any (v_alone::uuid[]);
	get diagnostics deleted = row_count;
	update conversation c set creator = v_alias where c.creator = v_user;
	get diagnostics anonymised = row_count;
	return next;

	anonymised := 0;
	kind := 'scheduled_messages';
	delete from outbox o where o.topic = any (v_topics) or o.to_user = v_user;
	get diagnostics deleted = row_count;
	return next;

	kind := 'connections';
	deleted := (select count(distinct c.id) from connection c where c.user_id = v_user);
	-- What is locked is being written anew, and is gone by itself soon.
	delete from departure where ctid = any (array(select d.ctid from departure d where d.user_id = v_user for update skip locked));
	perform tidings.notify('control', 'forget ' || v_user); -- before they are told to come again, as with an account that is gone
	return next;
	-- Ended here, not at COMMIT: so the topics of the user, where that leaves a message too, can go.
	insert into withdrawal (kind, users) values ('account', array[v_user]);
	perform end_withdrawn();
	-- With an end in the past a message is passed over by everybody who reads.
	kind := 'queued_messages';
	update message m set body = '', expires_at = '-infinity'
		where m.topic_id in (select t.id from topic t where t.name = any (v_others)) and not m.revocation and m.expires_at is distinct from '-infinity'
			and (m.to_user = v_user or strpos(m.body, v_named) > 0
				or exists (select from unnest(v_alone) as c where strpos(m.body, '"conversation_id":"' || c || '"') > 0));
	get diagnostics v_count = row_count;
	v_ids := array(select t.id from topic t where t.name = any (v_topics));
	deleted := v_count + (select count(*) from message m where m.topic_id = any (v_ids) and not m.revocation);
	return next;
	kind := 'topics';
	deleted := cardinality(v_ids) - v_made;
	delete from notification_push p where p.user_id = v_user;
	delete from device d where d.topic = any (v_topics); -- of others, by names that tell the user's id
	perform delete_topics(v_ids);
	return next;
	perform recount_patient(v_user);
	kind := 'quotas';
	delete from quota q where q.user_id = v_user;
	get diagnostics deleted = row_count;
	return next;
end
$$;
