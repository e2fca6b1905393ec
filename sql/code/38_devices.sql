-- Devices: clients that keep no cursor, and are resumed by their name from what they have confirmed.

-- Of each of these users only the 20 devices that were used last are kept, and of each of those devices 1,000 topics.
create or replace function tidings.trim_devices(p_users text[]) returns void
language plpgsql
set search_path = tidings, pg_temp
as $$
declare
	v_user text;
begin
	foreach v_user in array p_users loop
		delete from device where user_id = v_user and name in (
			select d.name from device d where d.user_id = v_user group by d.name order by max(d.used_at) desc, d.name offset 20);
		delete from device where user_id = v_user and (name, topic) in (
			select d.name, d.topic from (
				select o.name, o.topic, row_number() over (partition by o.name order by o.used_at desc, o.topic) as number
				from device o where o.user_id = v_user) d
			where d.number > 1000);
	end loop;
end
$$;

-- These devices are on these topics: where one is new there, or has a place that does not hold (another epoch), it has this one from now on.
--
--	returns		some are new: so the caller's transaction is not to be lost in a crash
create or replace function tidings.place_devices(p_users text[], p_names text[], p_topics text[], p_epochs text[], p_seqs int8[]) returns boolean
language plpgsql
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_now timestamptz := clock_timestamp();
	v_new text[];
begin
	-- In one order: so two nodes never wait for each other.
	with placed as (
		insert into device as d (user_id, name, topic, epoch, seq, used_at)
			select distinct on (i.user_id, i.name, i.topic) i.user_id, i.name, i.topic, i.epoch, i.seq, v_now
			from unnest(p_users, p_names, p_topics, p_epochs, p_seqs) as i(user_id, name, topic, epoch, seq)
			order by i.user_id, i.name, i.topic, i.seq
			on conflict on constraint device_pkey do update
				set epoch = excluded.epoch, seq = case when d.epoch = excluded.epoch then d.seq else excluded.seq end, used_at = v_now
				where d.epoch <> excluded.epoch or d.used_at < v_now - interval '1 minute'
			returning d.user_id, d.xmax = 0 as inserted
	)
	select array_agg(distinct p.user_id) into v_new from placed p where p.inserted;
	if v_new is not null then
		perform trim_devices(v_new);
	end if;
	return v_new is not null;
end
$$;

-- What devices have confirmed since. One that was forgotten meanwhile stays so.
create or replace function tidings.confirm_devices(p_users text[], p_names text[], p_topics text[], p_epochs text[], p_seqs int8[]) returns void
language plpgsql
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_now timestamptz := clock_timestamp();
begin
	insert into device as d (user_id, name, topic, epoch, seq, used_at)
		select i.user_id, i.name, i.topic, i.epoch, i.seq, v_now
		from unnest(p_users, p_names, p_topics, p_epochs, p_seqs) as i(user_id, name, topic, epoch, seq)
		where exists (select from device o where o.user_id = i.user_id and o.name = i.name and o.topic = i.topic and o.epoch = i.epoch and o.seq < i.seq)
		order by i.user_id, i.name, i.topic
		on conflict on constraint device_pkey do update
			set seq = excluded.seq, used_at = case when d.used_at < v_now - interval '1 minute' then v_now else d.used_at end
			where d.epoch = excluded.epoch and d.seq < excluded.seq;
end
$$;

-- A user's devices, those used last first, each with the number of topics that it has been on.
create or replace function tidings.devices(p_user text) returns json
language sql stable security definer set search_path = tidings, pg_temp as $$
	select coalesce(json_agg(json_build_object('device', d.name,
		'used_at', to_char(d.used_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'topics', d.topics) order by d.used_at desc, d.name), '[]')
	from (
		select o.name, max(o.used_at) as used_at, count(*) as topics from device o where o.user_id = p_user group by o.name) d
$$;

-- Forgets one. Returns whether it was there.
create or replace function tidings.forget_device(p_user text, p_name text) returns boolean
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	delete from device d where d.user_id = p_user and d.name = p_name;
	return found;
end
$$;
