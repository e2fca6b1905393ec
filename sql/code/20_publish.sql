-- Publishing by HTTP.

-- A statement may arrive late, or stand still half way: on a server that was frozen.
create or replace function tidings.refuse_after(p_until int8) returns void
language plpgsql as $$
begin
	if extract(epoch from clock_timestamp()) * 1000 > p_until then
		raise exception 'tidings: too late' using errcode = 'query_canceled';
	end if;
end
$$;

-- One transaction for many requests, each with one or more items. See src/store/publish/publisher.h for the caller's side.
--
--	p_callers … p_hashes		a row per request; p_keys and p_hashes null without Idempotency-Key
--	p_requests … p_effect_olds	a row per item; p_requests is its request, from 1
--	p_skip_locked		topics that another transaction has locked are not waited for; else they are, as long as another batch
--				may take: lock_not_available (55P03) when that is too short, and the batch is to be tried again with it
--	p_require_user			see tidings.verdict()
--	p_daily_max			see tidings.quota_holds()
--	p_until			ms since 1970 by this server's clock: after it nothing is done, since the caller has given up and said so
--				(57014); null: none is known
--	at			this server's clock, in ms since 1970
--	outcome	ok | scheduled | forbidden | not_found | key_reused | replayed (seq and clients are those of the first time)
--		| withheld (nothing is wrong with this item, but with another of its request)
--		| over_quota (the caller may have no more stored today)
--		| busy (another transaction has a topic of the request locked: nothing of it was done, and it is to be tried again)
create or replace function tidings.publish_batch(
	p_callers text[], p_roles text[], p_keys text[], p_hashes text[],
	p_requests int8[], p_topics text[], p_bodies text[], p_flags int8[], p_to_users text[], p_excludes text[],
	p_deliver_at text[], p_expires_at text[], p_effect_ids int8[], p_effect_values text[], p_effect_olds text[],
	p_queue_max int8, p_queue_min_age_s int8, p_queue_ttl_s int8, p_require_user boolean, p_daily_max int8, p_skip_locked boolean,
	p_until int8)
returns table (item int8, outcome text, seq int8, clients int8, at int8)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_count int := cardinality(p_requests);
	v_verdicts text[] := array_fill('ok'::text, array[cardinality(p_callers)]); -- per request
	v_verdict text;
	v_fine boolean[] := array_fill(false, array[v_count]); -- per item of a request that is refused: it is not because of this one
	v_keyed boolean := num_nonnulls(variadic p_keys) > 0;
	v_late boolean[] := array_fill(false, array[v_count]); -- per item: to be delivered later
	v_kib int8[];	   -- per request that has a quota and stores something for good; null: none has
	v_items int8[];	   -- those to append now, when they are not all
	v_seqs int8[];
	v_clients int8[];
	v_busy boolean[];
	v_some record;
	v_request int8;
	v_hash text;
	v_now timestamptz := clock_timestamp();
begin
	perform refuse_after(p_until);
	if exists (
		select from (
			select distinct p_callers[p_requests[i]] as caller, p_roles[p_requests[i]] as role, p_topics[i] as topic
			from generate_series(1, v_count) as i
			offset 0) a -- asked once for each, not once an item
		where verdict(a.caller, a.role, a.topic, 'publish', p_require_user) <> 'ok')
	then
		for i in 1 .. v_count loop
			v_request := p_requests[i];
			continue when v_verdicts[v_request] = 'forbidden';
			v_verdict := verdict(p_callers[v_request], p_roles[v_request], p_topics[i], 'publish', p_require_user);
			if v_verdict <> 'ok' then
				v_verdicts[v_request] := v_verdict;
			end if;
			v_fine[i] := v_verdict = 'ok';
		end loop;
	end if;

	if v_keyed then
		-- Sorted, so that two batches with the same keys never wait for each other in a ring.
		for v_request in
			select r from generate_series(1, cardinality(p_keys)) as r
			where p_keys[r] is not null and v_verdicts[r] = 'ok'
			order by p_callers[r] collate "C", p_keys[r] collate "C", r
		loop
			insert into idempotency as known (caller, key, hash, of_user, created_at)
				values (p_callers[v_request], p_keys[v_request], p_hashes[v_request], p_roles[v_request] not in ('service', 'admin'), v_now)
				on conflict on constraint idempotency_pkey do update
					set hash = excluded.hash, results = null, of_user = excluded.of_user, created_at = excluded.created_at
					where known.created_at < v_now - key_kept(known.of_user);
			if not found then
				select k.hash into v_hash from idempotency k
					where k.caller = p_callers[v_request] and k.key = p_keys[v_request];
				v_verdicts[v_request] := case when v_hash = p_hashes[v_request] then 'replayed' else 'key_reused' end;
			end if;
		end loop;
	end if;

	if (v_keyed or num_nonnulls(variadic p_effect_ids) > 0) and exists (select from unnest(p_roles) as r where has_quota(r, p_daily_max)) then
		v_kib := array(
			select case when has_quota(p_roles[r], p_daily_max) then (p_keys[r] is not null)::int + (
				select count(*) from generate_series(1, v_count) as i where p_requests[i] = r and p_effect_ids[i] is not null)::int8 else 0 end
			from generate_series(1, cardinality(p_callers)) as r);
		for v_request in select r from generate_series(1, cardinality(p_callers)) as r where v_kib[r] > 0 and v_verdicts[r] = 'ok' loop
			if not quota_holds(p_callers[v_request], p_roles[v_request], p_daily_max) then
				v_verdicts[v_request] := 'over_quota';
			end if;
		end loop;
	end if;

	if num_nonnulls(variadic p_deliver_at) > 0 then
		for i in 1 .. v_count loop
			v_late[i] := coalesce(p_deliver_at[i]::timestamptz > v_now, false);
		end loop;
	end if;

	if 'ok' = all (v_verdicts) and not true = any (v_late) then
		select a.seqs, a.clients, a.busy into v_seqs, v_clients, v_busy
			from append(p_topics, p_bodies, p_flags, p_to_users, p_excludes, p_expires_at, p_effect_ids, p_effect_values,
				p_effect_olds, p_queue_max, p_queue_min_age_s, p_requests, not p_skip_locked) a;
	else
		v_items := array(
			select i from generate_series(1, v_count) as i where v_verdicts[p_requests[i]] = 'ok' and not v_late[i]);
		if cardinality(v_items) > 0 then
			select a.* into v_some from append(
				array(select p_topics[k] from unnest(v_items) as k),
				array(select p_bodies[k] from unnest(v_items) as k),
				array(select p_flags[k] from unnest(v_items) as k),
				array(select p_to_users[k] from unnest(v_items) as k),
				array(select p_excludes[k] from unnest(v_items) as k),
				array(select p_expires_at[k] from unnest(v_items) as k),
				array(select p_effect_ids[k] from unnest(v_items) as k),
				array(select p_effect_values[k] from unnest(v_items) as k),
				array(select p_effect_olds[k] from unnest(v_items) as k),
				p_queue_max, p_queue_min_age_s,
				array(select p_requests[k] from unnest(v_items) as k), not p_skip_locked) a;
			v_seqs := array_fill(null::int8, array[v_count]);
			v_clients := v_seqs;
			v_busy := array_fill(false, array[v_count]);
			for n in 1 .. cardinality(v_items) loop
				v_seqs[v_items[n]] := v_some.seqs[n];
				v_clients[v_items[n]] := v_some.clients[n];
				v_busy[v_items[n]] := v_some.busy[n];
			end loop;
		end if;
	end if;
	if true = any (v_busy) then
		for i in 1 .. v_count loop
			if v_busy[i] then
				v_verdicts[p_requests[i]] := 'busy';
			end if;
		end loop;
	end if;

	if true = any (v_late) then
		insert into outbox (deliver_at, expires_at, ephemeral, exclude, to_user, topic, body)
			select p_deliver_at[i]::timestamptz, p_expires_at[i]::timestamptz, p_flags[i] & 1 = 1, p_excludes[i]::uuid,
				p_to_users[i], p_topics[i], p_bodies[i]
			from generate_series(1, v_count) as i
			where v_late[i] and v_verdicts[p_requests[i]] = 'ok';
		if found then
			perform tidings.notify('outbox', '');
		end if;
	end if;

	if v_keyed then
		-- A key is used by what was done: not by what was not, nor by what came in this batch after it.
		for v_request in select r from generate_series(1, cardinality(p_keys)) as r where p_keys[r] is not null and v_verdicts[r] in ('busy', 'over_quota') loop
			delete from idempotency k where k.caller = p_callers[v_request] and k.key = p_keys[v_request];
		end loop;
		for v_request in select r from generate_series(1, cardinality(p_keys)) as r where v_verdicts[r] in ('replayed', 'key_reused') loop
			if not exists (select from idempotency k where k.caller = p_callers[v_request] and k.key = p_keys[v_request]) then
				v_verdicts[v_request] := 'busy';
			end if;
		end loop;
		for v_some in
			select p_requests[i] as request, jsonb_agg(jsonb_build_array(v_seqs[i], v_clients[i]) order by i) as results
			from generate_series(1, v_count) as i
			where v_verdicts[p_requests[i]] = 'ok' and p_keys[p_requests[i]] is not null
			group by p_requests[i]
		loop
			update idempotency k set results = v_some.results
				where k.caller = p_callers[v_some.request] and k.key = p_keys[v_some.request];
		end loop;
		for v_request in select r from generate_series(1, cardinality(p_keys)) as r where v_verdicts[r] = 'replayed' loop
			select array_agg((e.result ->> 0)::int8 order by e.place) as seqs, array_agg((e.result ->> 1)::int8 order by e.place) as clients
				into v_some
				from idempotency k, jsonb_array_elements(k.results) with ordinality as e(result, place)
				where k.caller = p_callers[v_request] and k.key = p_keys[v_request];
			v_items := array(select i from generate_series(1, v_count) as i where p_requests[i] = v_request);
			for n in 1 .. cardinality(v_items) loop
				v_seqs[v_items[n]] := v_some.seqs[n];
				v_clients[v_items[n]] := v_some.clients[n];
			end loop;
		end loop;
	end if;

	if v_kib is not null then
		for v_some in
			select p_callers[r] as caller, p_roles[r] as role, sum(v_kib[r])::int8 as kib from generate_series(1, cardinality(p_callers)) as r
			where v_kib[r] > 0 and v_verdicts[r] = 'ok' group by 1, 2 order by p_callers[r] collate "C", 2
		loop
			perform quota_take(v_some.caller, v_some.role, v_some.kib, p_daily_max);
		end loop;
	end if;

	perform refuse_after(p_until);
	v_now := clock_timestamp();
	return query
		select i::int8, case
				when v_late[i] and v_verdicts[p_requests[i]] = 'ok' then 'scheduled'
				when v_fine[i] and v_verdicts[p_requests[i]] in ('forbidden', 'not_found') then 'withheld'
				else v_verdicts[p_requests[i]] end,
			v_seqs[i], coalesce(v_clients[i], 0), (extract(epoch from v_now) * 1000)::int8
		from generate_series(1, v_count) as i;
end
$$;
