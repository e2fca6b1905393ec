-- tidings.act() with an idempotency key: what came with it before is answered as it was then.

set local role tidings_owner;

--	p_key, p_hash	of the caller's; the hash is of what must be the same
--	outcome		also: key_reused, the same key came with another hash
--
-- What is refused leaves no trace: it may be tried again.
create function tidings.act_once(p_user text, p_role text, p_connection text, p_type text, p_data json, p_correlation text,
	p_queue_max int8, p_queue_min_age_s int8, p_key text, p_hash text)
returns table (outcome text, detail text, reply text, topic text, seq int8, clients int8)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_now timestamptz := clock_timestamp();
	v_known idempotency%rowtype;
begin
	insert into idempotency as known (caller, key, hash, created_at)
		values (p_user, p_key, p_hash, v_now)
		on conflict on constraint idempotency_pkey do update
			set hash = excluded.hash, results = null, created_at = excluded.created_at
			where known.created_at < v_now - interval '24 hours';
	if not found then
		select * into v_known from idempotency k where k.caller = p_user and k.key = p_key;
		if v_known.hash is distinct from p_hash then
			return query select 'key_reused', null::text, null::text, null::text, null::int8, null::int8;
		else
			return query select 'ok', null::text, v_known.results ->> 0, v_known.results ->> 1,
				(v_known.results ->> 2)::int8, (v_known.results ->> 3)::int8;
		end if;
		return;
	end if;

	select a.outcome, a.detail, a.reply, a.topic, a.seq, a.clients
		into act_once.outcome, act_once.detail, act_once.reply, act_once.topic, act_once.seq, act_once.clients
		from act(p_user, p_role, p_connection, p_type, p_data, p_correlation, p_queue_max, p_queue_min_age_s) a;
	if outcome = 'ok' then
		update idempotency k set results = jsonb_build_array(act_once.reply, act_once.topic, act_once.seq, act_once.clients)
			where k.caller = p_user and k.key = p_key;
	else
		delete from idempotency k where k.caller = p_user and k.key = p_key;
	end if;
	-- More than came, so it keeps up. Those that another is at can wait.
	delete from idempotency where ctid = any (array(
		select k.ctid from idempotency k where k.created_at < v_now - interval '24 hours'
		order by k.created_at limit 16 for update skip locked));
	return next;
end
$$;

revoke execute on all functions in schema tidings from public;
grant execute on function tidings.act_once(text, text, text, text, json, text, int8, int8, text, text) to tidings_publisher;

reset role;
