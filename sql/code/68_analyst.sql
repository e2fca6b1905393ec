-- The analyst: counts what feedback is new, and tells those whom it concerns. A sidecar calls analyse(), one at a time, as it does relay().
--
-- What it tells goes by the outbox, so that it waits for no topic: the numbers and the message that tells of them are one transaction.

-- How often watchers of a treatment are told of its score, and those of analytics/trending of its order.
create or replace function tidings.least_telling() returns interval
language sql immutable as $$
	select interval '1 minute'
$$;

-- Sends messages of one type, each with its topic.
create or replace function tidings.tell_analytics(p_type text, p_topics text[], p_data json[]) returns void
language plpgsql as $$
begin
	insert into outbox (deliver_at, at_once, topic, body)
		select clock_timestamp(), true, m.topic, message_text(p_type, m.topic, null, 'data', m.data)
		from unnest(p_topics, p_data) with ordinality as m(topic, data, place)
		where topic_exists(m.topic) order by m.place;
	if found then
		perform tidings.notify('outbox', '');
	end if;
end
$$;

create or replace function tidings.effectiveness_json(p_recommendation int8, p_herb text, p_condition text, p_old numeric, p_new numeric, p_lower numeric,
	p_upper numeric, p_people int) returns json
language sql immutable as $$
	select json_strip_nulls(json_build_object('recommendation_id', p_recommendation, 'herb', p_herb, 'condition', p_condition, 'old_effectiveness', p_old,
		'new_effectiveness', p_new, 'confidence', tidings.confidence(p_lower, p_upper), 'lower', p_lower, 'upper', p_upper, 'sample_size', p_people,
		'improvement', p_new - p_old))
$$;

-- Looks at a treatment that is due: when its score is another than what was told, it is told from now on (tell_watchers()).
create or replace function tidings.judge_score(p_due tidings.effect_due, p_now timestamptz) returns void
language plpgsql as $$
declare
	v_score record;
	v_shown tidings.effect_shown%rowtype;
begin
	select * into v_shown from effect_shown s where s.herb = p_due.herb and s.condition = p_due.condition;
	if v_shown.told_up_to is not null or v_shown.shown_at > p_now - least_telling() and v_shown.shown_at <= p_now then
		update effect_due d set due_at = greatest(v_shown.shown_at + least_telling(), p_now + interval '1 second')
			where d.herb = p_due.herb and d.condition = p_due.condition;
		return;
	end if;
	delete from effect_due d where d.herb = p_due.herb and d.condition = p_due.condition;
	select t.people, round(t.effectiveness::numeric, 2) as effectiveness, round(t.lower::numeric, 2) as lower, round(t.upper::numeric, 2) as upper
		into v_score from treatment_score(p_due.herb, p_due.condition) t;
	if v_score.effectiveness is null then
		delete from effect_shown s where s.herb = p_due.herb and s.condition = p_due.condition;
	elsif v_score.effectiveness is distinct from v_shown.effectiveness then
		insert into effect_shown as s (herb, condition, effectiveness, confidence, lower, upper, sample_size, before, shown_at, told_up_to)
			values (p_due.herb, p_due.condition, v_score.effectiveness, confidence(v_score.lower, v_score.upper), v_score.lower, v_score.upper, v_score.people,
				v_shown.effectiveness, p_now, 0)
			on conflict on constraint effect_shown_pkey do update set effectiveness = excluded.effectiveness, confidence = excluded.confidence,
				lower = excluded.lower, upper = excluded.upper, sample_size = excluded.sample_size, before = s.effectiveness,
				shown_at = excluded.shown_at, told_up_to = 0;
	end if;
end
$$;

-- Tells the diagnoses in which a treatment is recommended, at most p_max of them in a turn.
--
--	returns		whether there are more
create or replace function tidings.tell_watchers(p_max int) returns boolean
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off
as $$
declare
	v_shown tidings.effect_shown%rowtype;
	v_ids int8[];
	v_left int := p_max;
	v_topics text[];
	v_data json[];
begin
	for v_shown in select * from effect_shown s where s.told_up_to is not null order by s.shown_at limit p_max loop
		select array_agg(r.id order by r.id), array_agg('diagnosis/' || r.diagnosis_id order by r.id), array_agg(
				effectiveness_json(r.id, v_shown.herb, v_shown.condition, v_shown.before, v_shown.effectiveness, v_shown.lower, v_shown.upper,
					v_shown.sample_size) order by r.id)
			into v_ids, v_topics, v_data
			from (
				select o.id, o.diagnosis_id from recommendation o
				where o.herb = v_shown.herb and o.condition = v_shown.condition and o.status = 'active' and o.id > v_shown.told_up_to
				order by o.id limit v_left) r;
		perform tell_analytics('effectiveness_update', v_topics, v_data);
		v_left := v_left - coalesce(cardinality(v_ids), 0);
		update effect_shown s set told_up_to = case when v_left = 0 then v_ids[cardinality(v_ids)] end
			where s.herb = v_shown.herb and s.condition = v_shown.condition;
		exit when v_left = 0;
	end loop;
	return exists (select from effect_shown s where s.told_up_to is not null);
end
$$;

-- Tells the patients' own diagnoses of what their feedback has changed, unless their treatment is about to be told of to all.
create or replace function tidings.tell_patients(p_feedback int8[], p_now timestamptz) returns void
language plpgsql
set enable_seqscan = off
as $$
declare
	v_topics text[];
	v_data json[];
begin
	select array_agg(m.topic), array_agg(m.data) into v_topics, v_data from (
		select 'diagnosis/' || r.diagnosis_id as topic, effectiveness_json(r.id, r.herb, r.condition, s.effectiveness, round(t.effectiveness::numeric, 2),
			round(t.lower::numeric, 2), round(t.upper::numeric, 2), t.people) as data
		from (
			select distinct f.recommendation_id, f.patient from unnest(p_feedback) as i(id)
			cross join lateral (select * from feedback o where o.id = i.id offset 0) f
			where f.recommendation_id is not null) f
		cross join lateral (select * from recommendation o where o.id = f.recommendation_id and o.herb <> '' and o.condition <> '' offset 0) r
		left join effect_shown s on s.herb = r.herb and s.condition = r.condition
		cross join lateral treatment_score(r.herb, r.condition, f.patient) t
		where t.effectiveness is not null and s.shown_at is distinct from p_now
			and f.patient = patient_of(r.diagnosis_id)) m;
	perform tell_analytics('effectiveness_update', v_topics, v_data);
end
$$;

-- The first p_limit of the trends. Columns as in GET /api/analytics/trending.
--
--	p_by		herb | treatment; with a condition: its treatments
--	p_sort		growth | effectiveness | change
create or replace function tidings.trending(p_by text, p_condition text, p_days int, p_sort text, p_limit int) returns json
language plpgsql stable
set jit = off set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_treatments boolean := p_by = 'treatment' or p_condition is not null;
	v_rows tidings.effect_trend[];
begin
	if p_condition is not null then
		v_rows := array(
			select t from effect_trend t
			where t.condition = p_condition and t.condition <> '' and t.days = p_days
				and case p_sort when 'growth' then t.growth when 'effectiveness' then t.lower else t.change end is not null
			order by case p_sort when 'growth' then t.growth when 'effectiveness' then t.lower else t.change end desc, t.herb limit p_limit);
	elsif p_sort = 'growth' then
		v_rows := array(
			select t from effect_trend t where t.days = p_days and (t.condition <> '') = v_treatments and t.growth is not null
			order by t.growth desc, t.herb, t.condition limit p_limit);
	elsif p_sort = 'effectiveness' then
		v_rows := array(
			select t from effect_trend t where t.days = p_days and (t.condition <> '') = v_treatments and t.lower is not null
			order by t.lower desc, t.herb, t.condition limit p_limit);
	else
		v_rows := array(
			select t from effect_trend t where t.days = p_days and (t.condition <> '') = v_treatments and t.change is not null
			order by t.change desc, t.herb, t.condition limit p_limit);
	end if;
	return (
		select coalesce(json_agg(json_strip_nulls(json_build_object('rank', t.rank, 'herb', t.herb, 'condition', nullif(t.condition, ''),
			'people', t.people, 'people_before', n.before, 'growth', round(t.people::numeric / nullif(n.before, 0), 2),
			'effectiveness', round(t.effectiveness::numeric, 2), 'lower', round(t.lower::numeric, 2), 'upper', round(t.upper::numeric, 2),
			'confidence', confidence(t.lower, t.upper), 'before', round(t.before::numeric, 2), 'change', round(t.change::numeric, 2),
			'change_lower', round(t.change_lower::numeric, 2), 'change_upper', round(t.change_upper::numeric, 2), 'trend', t.trend)) order by t.rank), '[]')
		from unnest(v_rows) with ordinality as t(herb, condition, days, people, people_before, sum, parent_sum, order_by, effectiveness, lower, upper, before,
			change, change_lower, change_upper, trend, rank),
			lateral (select case when t.people_before >= least_people() then t.people_before else 0 end as before) n);
end
$$;

-- Tells analytics/trending when the first ten are others, or in another order, than what it was told. Too soon after that, the end of the next
-- round comes to it.
create or replace function tidings.tell_trending(p_now timestamptz) returns void
language plpgsql as $$
declare
	v_state tidings.analyst_state%rowtype;
	v_by text;
	v_first json;
	v_order jsonb;
begin
	select * into v_state from analyst_state;
	if v_state.trending_at > p_now - least_telling() and v_state.trending_at <= p_now
		or v_state.looked_at between greatest(v_state.changed_at, v_state.renewed_at) and p_now
	then
		return;
	end if;
	update analyst_state set looked_at = p_now;
	foreach v_by in array '{herb,treatment}'::text[] loop
		v_first := trending(v_by, null, 30, 'growth', 10);
		v_order := (select coalesce(jsonb_agg(jsonb_build_array(t.item ->> 'herb', t.item ->> 'condition') order by t.place), '[]')
			from json_array_elements(v_first) with ordinality as t(item, place));
		if v_order <> coalesce(v_state.trending -> v_by, '[]') then
			perform tell_analytics('trending_update', array['analytics/trending'],
				array[json_build_object('by', v_by, 'days', 30, 'trending', v_first)]);
			update analyst_state set trending = trending || jsonb_build_object(v_by, v_order), trending_at = p_now;
		end if;
	end loop;
end
$$;

-- Counts, of the newest 500 who were recommended a treatment a week ago or longer, those who have said how it was.
create or replace function tidings.count_responses(p_herb text, p_condition text, p_now timestamptz) returns void
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
	insert into effect_response (herb, condition, asked, answered, counted_at)
		select p_herb, p_condition, count(*), count(*) filter (where exists (
				select from effect_vote v where v.patient = a.patient and v.herb = p_herb and v.condition = p_condition)), p_now
		from (
			select distinct d.owner as patient from (
				select o.diagnosis_id from recommendation o
				where o.herb = p_herb and o.condition = p_condition and o.created_at < p_now - interval '7 days'
					and o.status not in ('proposed', 'declined')
				order by o.created_at desc limit 500) r
			cross join lateral (select * from diagnosis g where g.id = r.diagnosis_id offset 0) d) a
		on conflict on constraint effect_response_pkey do update
			set asked = excluded.asked, answered = excluded.answered, counted_at = excluded.counted_at;
end
$$;

-- Goes on with the round in which every cell's trend is made as it is today, and every treatment's score compared with what was told: the votes
-- of others, and the day, change them too. A round begins when votes have been counted since the last, or the day is another; at most
-- once a minute.
--
--	returns		in how many ms there is more to do; null: nothing
create or replace function tidings.renew_round(p_until timestamptz) returns int8
language plpgsql
set enable_seqscan = off
as $$
declare
	v_now timestamptz := clock_timestamp();
	v_state tidings.analyst_state%rowtype;
	v_herbs text[];
	v_conditions text[];
	v_herb text;
	v_condition text;
	v_score numeric;
begin
	select * into v_state from analyst_state;
	if v_state.round_herb is null then
		if v_state.changed_at <= v_state.round_at and v_state.round_at <= v_now and (v_state.round_at at time zone 'UTC')::date = today() then
			return null;
		elsif v_state.round_at > v_now - least_telling() and v_state.round_at <= v_now then
			return ceil(extract(epoch from v_state.round_at + least_telling() - v_now) * 1000);
		end if;
		perform renew_trends('{""}', '{""}');
		v_state.round_at := v_now;
		v_state.round_herb := '';
		v_state.round_condition := '';
	end if;
	loop
		select array_agg(e.herb order by e.herb, e.condition), array_agg(e.condition order by e.herb, e.condition) into v_herbs, v_conditions from (
			select o.herb, o.condition from effect o where (o.herb, o.condition) > (v_state.round_herb, v_state.round_condition)
			order by o.herb, o.condition limit 20) e;
		exit when v_herbs is null;
		perform renew_trends(v_herbs, v_conditions);
		for v_herb, v_condition, v_score in
			select c.herb, c.condition, round(t.effectiveness::numeric, 2)
			from unnest(v_herbs, v_conditions) as c(herb, condition) cross join lateral treatment_score(c.herb, c.condition) t where c.condition <> ''
		loop
			if v_score is distinct from (select s.effectiveness from effect_shown s where s.herb = v_herb and s.condition = v_condition) then
				insert into effect_due (herb, condition, due_at) values (v_herb, v_condition, v_now) on conflict do nothing;
			end if;
			if not exists (select from effect_response r where r.herb = v_herb and r.condition = v_condition
				and r.counted_at between v_now - interval '1 hour' and v_now)
			then
				perform count_responses(v_herb, v_condition, v_now);
			end if;
		end loop;
		v_state.round_herb := v_herbs[cardinality(v_herbs)];
		v_state.round_condition := v_conditions[cardinality(v_conditions)];
		exit when clock_timestamp() >= p_until;
	end loop;
	if v_herbs is null then
		v_state.round_herb := null;
	end if;
	update analyst_state set round_at = v_state.round_at, round_herb = v_state.round_herb, round_condition = v_state.round_condition,
		renewed_at = case when v_state.round_herb is null then clock_timestamp() else renewed_at end;
	return case when v_state.round_herb is not null then 1000 end;
end
$$;

-- A turn of the analyst: what is new is counted, told, and trends are renewed, for about p_ms each.
--
--	returns		in how many ms there is more to do: 0 at once; null: nothing; -1: another node is at it
create or replace function tidings.analyse(p_ms int8) returns int8
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
	v_now timestamptz := clock_timestamp();
	v_until timestamptz := v_now + make_interval(secs => p_ms / 1000.0);
	v_ids int8[];
	v_lost int8[];
	v_folded int8[] := '{}';
	v_patients text[];
	v_cells record;
	v_due tidings.effect_due%rowtype;
	v_more boolean; -- to count, there may be
	v_next int8;
	v_when timestamptz;
begin
	if not analyst_lock(false) then
		return -1;
	end if;
	-- What a crash of the server brings back is counted again.
	perform set_config('synchronous_commit', 'off', true);
	insert into analyst_state default values on conflict do nothing;
	loop
		v_ids := array(select f.id from feedback f where not f.folded order by f.id limit 50 for update skip locked);
		v_lost := array(select l.id from effect_lost l order by l.id limit 50);
		v_more := greatest(cardinality(v_ids), cardinality(v_lost)) = 50;
		exit when cardinality(v_ids) + cardinality(v_lost) = 0;
		v_patients := array(
			select f.patient from unnest(v_ids) as i(id) cross join lateral (
				select o.patient from feedback o where o.id = i.id and o.recommendation_id is not null offset 0) f
			union select l.patient from effect_lost l where l.id = any (v_lost));
		select * into v_cells from count_votes(v_patients);
		update feedback f set folded = true where f.id = any (v_ids);
		delete from effect_lost l where l.id = any (v_lost);
		v_folded := v_folded || v_ids;
		if v_cells.herbs is not null then
			perform renew_trends(v_cells.herbs, v_cells.conditions);
			insert into effect_due (herb, condition, due_at)
				select c.herb, c.condition, v_now from unnest(v_cells.herbs, v_cells.conditions) as c(herb, condition) where c.condition <> ''
				on conflict do nothing;
			update analyst_state set changed_at = v_now;
		end if;
		exit when not v_more or clock_timestamp() >= v_until;
	end loop;

	for v_due in select * from effect_due d where d.due_at <= v_now order by d.due_at limit 200 loop
		perform judge_score(v_due, v_now);
	end loop;
	perform tell_patients(v_folded, v_now);
	if tell_watchers(500) then
		v_next := 1000;
	end if;
	v_next := least(v_next, renew_round(v_until));
	perform tell_trending(v_now);
	v_when := (select min(d.due_at) from effect_due d);
	return case when v_more then 0
		else least(v_next, case when v_when is not null then greatest(ceil(extract(epoch from v_when - clock_timestamp()) * 1000)::int8, 1000) end) end;
end
$$;

-- Since when the oldest feedback waits that is not counted, in seconds.
create or replace function tidings.analyst_lag() returns float8
language plpgsql stable
set enable_seqscan = off
as $$
begin
	return coalesce(extract(epoch from clock_timestamp() - (
		select min(greatest(w.created_at, w.edited_at, w.withdrawn_at)) from (
			select f.created_at, f.edited_at, f.withdrawn_at from feedback f where not f.folded order by f.id limit 1000) w)), 0);
end
$$;
