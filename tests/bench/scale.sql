-- What PostgreSQL takes for publishing, the sweep, /ws/status and the heartbeat when there is much: fills a database that has nothing else to do, and
-- prints figures. psql -X -v topics=1000000 -v readings=10000000 -f scale.sql, as a superuser, in a database of tidings'. See rows/scale.sh.
\set ON_ERROR_STOP on
\set QUIET on
\pset format unaligned
\pset tuples_only on
set client_min_messages = warning;
select set_config('scale.topics', :'topics', false), set_config('scale.readings', :'readings', false) \g /dev/null
-- The triggers judge readings, one by one.
set session_replication_role = replica;

-- ms of each call, of many
create temp table took (what text, ms float8, rows int8);

create procedure pg_temp.publish(p_what text) language plpgsql as $$
declare
	v_topics text[];
	v_at timestamptz;
	v_none text[] := array_fill(null::text, array[50]);
	v_numbers int8[] := array(select n from generate_series(1, 50) n);
begin
	for i in 1 .. 200 loop
		v_topics := array(select 'diagnosis/' || 1 + floor(random() * current_setting('scale.topics')::int)::int from generate_series(1, 50));
		v_at := clock_timestamp();
		perform tidings.publish_batch(array_fill('svc'::text, array[50]), array_fill('service'::text, array[50]), v_none, v_none, v_numbers, v_topics,
			array_fill('{"type":"t","data":{}}'::text, array[50]), array_fill(0::int8, array[50]), v_none, v_none, v_none, v_none, v_none::int8[], v_none, v_none,
			100, 60, 604800, false, 0, true, null);
		commit;
		insert into took values (p_what, extract(epoch from clock_timestamp() - v_at) * 1000, 50);
		commit;
	end loop;
end
$$;

create procedure pg_temp.sweep(p_what text) language plpgsql as $$
declare
	v_after int8 := 0;
	v_at timestamptz;
begin
	while v_after is not null loop
		v_at := clock_timestamp();
		v_after := tidings.sweep(v_after, 500, 1000, 100, 60, 604800, 2592000, 50);
		commit;
		insert into took values (p_what, extract(epoch from clock_timestamp() - v_at) * 1000, 500);
		commit;
	end loop;
end
$$;

create procedure pg_temp.retain(p_what text) language plpgsql as $$
declare
	v_rest boolean := true;
	v_at timestamptz;
begin
	while v_rest loop
		v_at := clock_timestamp();
		v_rest := tidings.retain(false, 1000, 20, 360 * 86400, 0, 0);
		commit;
		insert into took values (p_what, extract(epoch from clock_timestamp() - v_at) * 1000, 1000);
		commit;
	end loop;
end
$$;

create procedure pg_temp.repeat(p_what text, p_sql text, p_times int) language plpgsql as $$
declare
	v_at timestamptz;
begin
	for i in 1 .. p_times loop
		v_at := clock_timestamp();
		execute p_sql;
		commit;
		insert into took values (p_what, extract(epoch from clock_timestamp() - v_at) * 1000, 1);
		commit;
	end loop;
end
$$;

-- A node with 10,000 topics.
insert into tidings.node values ('00000000-0000-0000-0000-000000000001', now(), now(), 10000, 10000);
create function pg_temp.heartbeat() returns void language plpgsql as $$
declare
	v_tag text := tidings.cluster_tag();
begin
	perform tidings.heartbeat('00000000-0000-0000-0000-000000000001', now()::text, 10000, 10000, array_agg(t.id), array_agg(1::int8), array_agg(t.epoch || v_tag))
		from (select * from tidings.topic where name like 'diagnosis/%' order by id limit 10000) t;
end
$$;

create procedure pg_temp.tell() language plpgsql as $$
begin
	raise info '%', (
		select what || ': ' || count(*) || ' calls, ' || round((sum(ms) / 1000)::numeric, 1) || ' s; each '
			|| round((percentile_cont(0.5) within group (order by ms))::numeric, 1) || ' ms (p50), '
			|| round((percentile_cont(0.99) within group (order by ms))::numeric, 1) || ' ms (p99), ' || round(max(ms)::numeric, 1) || ' ms at most'
		from took where what = (select what from took order by ctid desc limit 1) group by what);
end
$$;

insert into tidings.diagnosis select n, 'u' || n % 100000 from generate_series(1, current_setting('scale.topics')::int) n on conflict do nothing;
call pg_temp.publish('publishing 50 messages to as many new topics of an empty database');
call pg_temp.tell();
delete from tidings.message;
insert into tidings.topic (name) select 'diagnosis/' || n from generate_series(1, current_setting('scale.topics')::int) n on conflict do nothing;
insert into tidings.message (topic_id, seq, created_at, body) select id, 1, now() - interval '1 hour', '{"type":"t","data":{}}' from tidings.topic where name like 'diagnosis/%';
vacuum analyze tidings.topic, tidings.message, tidings.diagnosis;
call pg_temp.publish('publishing 50 messages to as many topics');
call pg_temp.tell();
insert into tidings.policy select 'policy' || n || '/', 100 from generate_series(1, 20) n;
call pg_temp.publish('the same, with 20 policies');
call pg_temp.tell();
call pg_temp.repeat('tidings.status(false), for who is no admin', 'select tidings.status(false)', 5);
call pg_temp.tell();
call pg_temp.repeat('tidings.status(), with its maps', 'select tidings.status()', 3);
call pg_temp.tell();
call pg_temp.repeat('heartbeat of a node with 10,000 topics', 'select pg_temp.heartbeat()', 10);
call pg_temp.tell();
call pg_temp.sweep('sweep, 500 topics a step, with 20 policies');
call pg_temp.tell();
delete from tidings.policy;
call pg_temp.sweep('sweep, 500 topics a step');
call pg_temp.tell();

-- Filled without those indexes, it takes minutes less.
set role tidings_owner;
drop index tidings.health_reading_time, tidings.health_reading_metric;
reset role;
insert into tidings.health_reading (user_id, metric, value, measured_at, received_at, pushed)
	select 'u' || n % 100000, 'm' || n % 5, n % 100, now() - interval '400 days' * (1 - n::float8 / current_setting('scale.readings')::int),
		now() - interval '400 days' * (1 - n::float8 / current_setting('scale.readings')::int), true
	from generate_series(1, current_setting('scale.readings')::int) n;
set role tidings_owner;
create index health_reading_time on tidings.health_reading (user_id, measured_at, id);
create index health_reading_metric on tidings.health_reading (user_id, metric, measured_at, id);
reset role;
vacuum analyze tidings.health_reading;
call pg_temp.repeat('newest readings of a user', $$select tidings.act('u' || floor(random() * 100000)::int, 'user', null, 'get_health', '{}', null, 100, 60)$$, 500);
call pg_temp.tell();
call pg_temp.retain('retention of readings, 1,000 a step');
call pg_temp.tell();
call pg_temp.publish('publishing 50 messages, after it');
call pg_temp.tell();
call pg_temp.repeat('forget(), of a user with a hundred readings and ten diagnoses', $$select count(*) from tidings.forget('u' || floor(random() * 100000)::int)$$, 20);
call pg_temp.tell();
select 'on disk: topics and messages ' || pg_size_pretty(pg_total_relation_size('tidings.message') + pg_total_relation_size('tidings.topic'))
	|| ', readings ' || pg_size_pretty(pg_total_relation_size('tidings.health_reading'));
