-- What was trimmed by messages that have no seq is known to be gone, too: first_seq stayed where it was, and nobody was told.

set local role tidings_owner;

create or replace function tidings.append(
	p_topics text[], p_bodies text[], p_flags int8[], p_to_users text[], p_excludes text[], p_expires_at text[],
	p_effect_ids int8[], p_effect_values text[], p_effect_olds text[],
	p_queue_max int8, p_queue_min_age_s int8, out seqs int8[], out clients int8[])
language plpgsql
as $$
declare
	v_count int := cardinality(p_topics);
	v_topics int8[]; -- per item: its topic's id
	v_ids int8[];	 -- the topics', ascending; the next four run in parallel
	v_lasts int8[];
	v_firsts int8[];
	v_limits int8[]; -- what may be trimmed ends here
	v_present int8[];
	v_gone int8[];
	v_deleted int8;
	v_live uuid[] := array(select id from node where heartbeat_at > clock_timestamp() - interval '15 seconds');
	v_place int;
	v_now timestamptz;
	v_old numeric;
	v_new numeric;
begin
	v_topics := array(select (select t.id from topic t where t.name = i.name) from unnest(p_topics) as i(name));
	if num_nulls(variadic v_topics) > 0 then
		insert into topic (name)
			select distinct i.name collate "C" as name from unnest(p_topics, v_topics) as i(name, id) where i.id is null order by 1
			on conflict do nothing;
		v_topics := array(select (select t.id from topic t where t.name = i.name) from unnest(p_topics) as i(name));
	end if;

	select array_agg(t.id), array_agg(t.last_seq), array_agg(t.first_seq),
			array_agg((select sum(p.clients)::int8 from presence p where p.topic_id = t.id and p.node_id = any (v_live)))
		into v_ids, v_lasts, v_firsts, v_present
		from (select id, last_seq, first_seq from topic where id = any (v_topics) order by id for update) t;

	-- After the lock: so created_at follows seq.
	v_now := clock_timestamp();

	v_limits := v_lasts;
	seqs := array_fill(null::int8, array[v_count]);
	clients := seqs;
	for i in 1 .. v_count loop
		v_place := width_bucket(v_topics[i], v_ids);
		if v_ids[v_place] is distinct from v_topics[i] then
			raise exception 'tidings: a topic was deleted meanwhile' using errcode = 'serialization_failure';
		end if;
		clients[i] := coalesce(v_present[v_place], 0);
		if p_flags[i] & 1 = 0 then
			v_lasts[v_place] := v_lasts[v_place] + 1;
			seqs[i] := v_lasts[v_place];
		else
			perform pg_notify('tidings_ephemeral', concat_ws(' ', v_topics[i], coalesce(p_excludes[i], '-'),
				octet_length(coalesce(p_to_users[i], '')), coalesce(p_to_users[i], ''), p_bodies[i]));
		end if;
	end loop;

	if num_nonnulls(variadic p_effect_ids) > 0 then
		for i in 1 .. v_count loop
			continue when p_effect_ids[i] is null;
			v_new := p_effect_values[i]::numeric;
			v_old := coalesce(p_effect_olds[i]::numeric, (
				select value from effectiveness where topic_id = v_topics[i] and recommendation_id = p_effect_ids[i]));
			insert into effectiveness values (v_topics[i], p_effect_ids[i], v_new)
				on conflict (topic_id, recommendation_id) do update set value = excluded.value;
			if v_old is not null then
				-- The body ends with the braces of data and of the message.
				p_bodies[i] := left(p_bodies[i], -2) || ',"old_effectiveness":' || trim_scale(v_old) || ',"improvement":'
					|| trim_scale(v_new - v_old) || '}}';
			end if;
		end loop;
	end if;

	insert into message (topic_id, seq, created_at, expires_at, exclude, to_user, body)
		select v_topics[i], seqs[i], v_now, p_expires_at[i]::timestamptz, p_excludes[i]::uuid, p_to_users[i], p_bodies[i]
		from generate_series(1, v_count) as i where seqs[i] is not null;

	-- What is too many and old enough may go, a bounded number at a time: more than came, so it keeps up.
	for i in 1 .. cardinality(v_ids) loop
		v_limits[i] := least(v_firsts[i] + 2 * (v_lasts[i] - v_limits[i]) + 16, v_lasts[i] - p_queue_max);
	end loop;
	v_gone := array(
		select case when v_limits[i] >= v_firsts[i] then (
			select max(m.seq) from message m
			where m.topic_id = v_ids[i] and m.seq >= v_firsts[i] and m.seq <= v_limits[i]
				and m.created_at < v_now - make_interval(secs => p_queue_min_age_s)) end
		from generate_series(1, cardinality(v_ids)) as i);
	if num_nonnulls(variadic v_gone) > 0 then
		delete from message where ctid = any (array(
			select m.ctid from generate_series(1, cardinality(v_ids)) as i cross join lateral (
				select o.ctid from message o
				where o.topic_id = v_ids[i] and o.seq >= v_firsts[i] and o.seq <= v_gone[i] offset 0) m));
		get diagnostics v_deleted = row_count;
		-- One that a sidecar marked as sent meanwhile is at another ctid now.
		if v_deleted < (select sum(v_gone[i] - v_firsts[i] + 1) from generate_series(1, cardinality(v_ids)) as i) then
			for i in 1 .. cardinality(v_ids) loop
				delete from message m where m.topic_id = v_ids[i] and m.seq >= v_firsts[i] and m.seq <= v_gone[i];
			end loop;
		end if;
	end if;

	update topic t
		set last_seq = v_lasts[width_bucket(t.id, v_ids)],
			first_seq = coalesce(v_gone[width_bucket(t.id, v_ids)] + 1, t.first_seq)
		where t.id = any (v_ids) and (t.last_seq < v_lasts[width_bucket(t.id, v_ids)] or v_gone[width_bucket(t.id, v_ids)] is not null);

	if num_nonnulls(variadic p_to_users) + num_nonnulls(variadic p_excludes) > 0 then
		for i in 1 .. v_count loop
			if p_to_users[i] is not null then
				clients[i] := (select count(*) from connection c
					where c.topic_id = v_topics[i] and c.user_id = p_to_users[i] and c.node_id = any (v_live));
			end if;
			if p_excludes[i] is not null then
				clients[i] := clients[i] - (select count(*) from connection c
					where c.id = p_excludes[i]::uuid and c.topic_id = v_topics[i] and c.node_id = any (v_live)
						and (p_to_users[i] is null or c.user_id = p_to_users[i]));
			end if;
		end loop;
	end if;

	-- A doorbell: which topics have something new.
	for i in 0 .. (cardinality(v_ids) - 1) / 350 loop
		perform pg_notify('tidings', array_to_string(v_ids[i * 350 + 1 : i * 350 + 350], ','));
	end loop;
end
$$;

reset role;
