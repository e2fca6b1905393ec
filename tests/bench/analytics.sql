-- What PostgreSQL takes for the scores of much feedback: fills a database that has nothing else to do, and prints figures.
-- psql -X -v feedback=10000000 -v treatments=50000 -f analytics.sql, as a superuser, in a database of tidings'. See rows/analytics.sh.
\set ON_ERROR_STOP on
\set QUIET on
\pset format unaligned
\pset tuples_only on
set client_min_messages = warning;
select set_config('bench.feedback', :'feedback', false), set_config('bench.treatments', :'treatments', false) \g /dev/null
-- Nobody is rung for while it is filled.
set session_replication_role = replica;

create temp table took (what text, ms float8);

-- p_each: what one call does so many of
create procedure pg_temp.repeat(p_what text, p_before text, p_sql text, p_times int, p_each int default 1) language plpgsql as $$
declare
	v_at timestamptz;
begin
	for i in 1 .. p_times loop
		execute p_before;
		commit;
		v_at := clock_timestamp();
		execute p_sql;
		commit;
		insert into took values (p_what, extract(epoch from clock_timestamp() - v_at) * 1000 / p_each);
		commit;
	end loop;
	raise info '%', (
		select what || ': ' || count(*) || ' calls; each ' || round((percentile_cont(0.5) within group (order by ms))::numeric, 2) || ' ms (p50), '
			|| round((percentile_cont(0.99) within group (order by ms))::numeric, 2) || ' ms (p99), ' || round(max(ms)::numeric, 2) || ' ms at most'
		from took where what = p_what group by what);
end
$$;

-- A treatment is a herb of 500 for a condition; some are tried much oftener than others. Of each three recommendations is one patient's.
create procedure pg_temp.fill() language plpgsql as $$
declare
	v_feedback int := current_setting('bench.feedback');
	v_treatments int := current_setting('bench.treatments');
begin
	insert into tidings.diagnosis (id, owner) select 2000000000 + n, 'bench-' || n from generate_series(1, v_feedback / 6) n on conflict do nothing;
	insert into tidings.recommendation (id, diagnosis_id, herb, condition, created_at)
		select 2000000000 + n, 2000000000 + n % (v_feedback / 6) + 1, 'herb-' || t % 500, 'condition-' || t / 500, now() - interval '400 days'
		from generate_series(1, v_feedback / 2) n, lateral (select floor(power(random(), 2) * v_treatments)::int + 0 * n as t) s;
	insert into tidings.feedback (diagnosis_id, recommendation_id, user_id, patient, rating, effectiveness, said, created_at)
		select 2000000000 + r % (v_feedback / 6) + 1, 2000000000 + r, 'bench-' || r % (v_feedback / 6) + 1, 'bench-' || r % (v_feedback / 6) + 1, 1 + n % 5,
			n % 5 / 4.0, true, now() - interval '365 days' * (1 - n::float8 / v_feedback)
		from generate_series(1, v_feedback) n, lateral (select 1 + n % (v_feedback / 2) as r) s;
end
$$;

call pg_temp.fill();
vacuum analyze tidings.recommendation, tidings.feedback, tidings.diagnosis;
call pg_temp.repeat('recount(), all of it', 'select', 'select tidings.recount()', 1);
vacuum analyze tidings.effect, tidings.effect_day, tidings.effect_vote, tidings.effect_trend;
-- The round would use what is left of a turn.
insert into tidings.analyst_state (changed_at, round_at, renewed_at, looked_at, trending_at) values (now(), now(), now(), now(), now())
	on conflict (one) do update set round_herb = null, round_at = now() + interval '1 hour';
delete from tidings.effect_due;
create procedure pg_temp.say(p_count int) language plpgsql as $$
declare
	v_feedback int := current_setting('bench.feedback');
begin
	delete from tidings.effect_due;
	update tidings.analyst_state set round_at = clock_timestamp(), changed_at = clock_timestamp(), trending_at = clock_timestamp();
	insert into tidings.feedback (diagnosis_id, recommendation_id, user_id, patient, rating, effectiveness, said)
		select r.diagnosis_id, r.id, d.owner, d.owner, 4, 0.75, true from generate_series(1, p_count) n,
			lateral (select * from tidings.recommendation o where o.id = 2000000001 + floor(random() * (v_feedback / 2 - 1))::int + 0 * n) r,
			lateral (select * from tidings.diagnosis g where g.id = r.diagnosis_id) d;
end
$$;
call pg_temp.repeat('counting one piece of feedback', 'call pg_temp.say(1)', 'select tidings.analyse(0)', 300);
call pg_temp.repeat('counting one of fifty', 'call pg_temp.say(50)', 'select tidings.analyse(0)', 60, 50);
delete from tidings.outbox;
update tidings.analyst_state set changed_at = clock_timestamp(), round_at = clock_timestamp() - interval '1 hour';
call pg_temp.repeat('a turn of 20 ms of the round that renews all trends', 'select', 'select tidings.analyse(20)', 100);
call pg_temp.repeat('trending herbs, by growth', 'select', $$select tidings.act('u', 'user', null, 'get_trending', '{}', null, 100, 60)$$, 300);
call pg_temp.repeat('trending treatments, by growth', 'select', $$select tidings.act('u', 'user', null, 'get_trending', '{"by":"treatment"}', null, 100, 60)$$, 300);
call pg_temp.repeat('trending treatments, 100 by effectiveness', 'select',
	$$select tidings.act('u', 'user', null, 'get_trending', '{"by":"treatment","sort":"effectiveness","limit":100}', null, 100, 60)$$, 300);
call pg_temp.repeat('trending treatments of a condition, by change', 'select',
	$$select tidings.act('u', 'user', null, 'get_trending', '{"condition":"condition-1","sort":"change"}', null, 100, 60)$$, 300);
call pg_temp.repeat('analytics of a diagnosis', 'select', $$select tidings.act('svc', 'admin', null, 'get_analytics',
	json_build_object('diagnosis_id', 2000000001 + floor(random() * (current_setting('bench.feedback')::int / 6 - 1))::int), null, 100, 60)$$, 300);
call pg_temp.repeat('effectiveness of a recommendation', 'select', $$select tidings.act('svc', 'admin', null, 'get_effectiveness',
	json_build_object('recommendation_id', 2000000001 + floor(random() * (current_setting('bench.feedback')::int / 2 - 1))::int), null, 100, 60)$$, 300);
