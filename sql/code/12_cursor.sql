-- A topic's cursor, as the caller's snapshot has it: for whoever reads a state of their own, and goes on from there.

-- The epoch of a cursor of a topic that is not there. It is that of the topic that is made next under the name, seq 0, as long as no topic
-- has been deleted since: the topic might have been made, and forgotten, meanwhile. No other epoch begins like it: they are hexadecimal.
create or replace function tidings.new_epoch() returns text
language plpgsql stable security definer set search_path = tidings, pg_temp as $$
begin
	return (select 'new' || n.forgotten_by || 'x' || cluster_tag() from numbering n);
end
$$;

-- Once a transaction, by a number that no other has: who deletes thousands of topics writes the row once.
create or replace function tidings.topics_deleted() returns trigger
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	update numbering set forgotten_by = pg_current_xact_id()::text::int8 where forgotten_by <> pg_current_xact_id()::text::int8;
	return null;
end
$$;

create or replace trigger deleted after delete or truncate on tidings.topic for each statement execute function tidings.topics_deleted();

-- The cursor of what the caller's snapshot has: what is committed later lies after it.
--
-- Numbers are given under the topic's lock, which is held until they are committed. So a snapshot that has a message has every earlier one,
-- and what those transactions did; the relay numbers what is committed already. STABLE: the snapshot is the caller's, which in a transaction
-- that is REPEATABLE READ is that of all its statements, and else that of the one statement.
create or replace function tidings.cursor(topic text) returns text
language plpgsql stable security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	if topic is null or topic !~ '^[A-Za-z0-9_.:/-]{1,128}$' or topic_misleads(topic) then
		raise exception 'tidings: not the name of a topic: %', coalesce(left(topic, 200), 'null') using errcode = 'invalid_parameter_value';
	end if;
	return coalesce((
		select t.epoch || cluster_tag() || '-' || coalesce((
			select m.seq from message m where m.topic_id = t.id and m.seq >= t.first_seq order by m.seq desc limit 1), t.first_seq - 1)
		from topic t where t.name = cursor.topic), new_epoch() || '-0');
end
$$;
