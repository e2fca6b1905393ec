-- What is told of feedback: of a diagnosis, of a recommendation, and which treatments more people fare well with.
--
-- Each reply is made in one statement with the cursor of the diagnosis: what changes later comes as a message after it. Numbers that come from
-- others are left out below least_people().

create or replace function tidings.rounded(p_value float8) returns numeric
language sql immutable as $$
	select round(p_value::numeric, 2)
$$;

-- What is known of a recommendation, for its patient's diagnosis.
create or replace function tidings.effectiveness_entry(r tidings.recommendation, p_patient text) returns jsonb
language plpgsql stable as $$
declare
	v_score record;
	v_own record;
	v_rate record;
	v_response tidings.effect_response%rowtype;
	v_before numeric := (select s.before from effect_shown s where s.herb = r.herb and s.condition = r.condition);
begin
	select * into v_score from treatment_score(r.herb, r.condition, p_patient);
	select * into v_rate from wilson(v_score.successes::float8 / nullif(v_score.people, 0), nullif(v_score.people, 0));
	select * into v_response from effect_response e where e.herb = r.herb and e.condition = r.condition and e.asked >= least_people();
	select count(*) as feedback, max(f.created_at) as last_at, (array_agg(f.effectiveness order by f.id desc))[1] as effectiveness,
			(array_agg(f.rating order by f.id desc))[1] as rating
		into v_own from (
			select * from feedback o where o.recommendation_id = r.id and o.patient = p_patient and o.withdrawn_at is null
			order by o.id desc limit 1000) f;
	return jsonb_build_object('recommendation_id', r.id, 'herb', r.herb, 'condition', r.condition, 'status', r.status,
			'effectiveness', rounded(v_score.effectiveness), 'lower', rounded(v_score.lower), 'upper', rounded(v_score.upper),
			'confidence', coalesce(confidence(v_score.lower, v_score.upper), 0), 'sample_size', v_score.people)
		|| jsonb_strip_nulls(jsonb_build_object('improvement', rounded(v_score.effectiveness) - v_before,
			'success_rate', case when v_score.people >= least_people() then jsonb_build_object(
				'value', rounded(v_score.successes::float8 / v_score.people), 'lower', rounded(v_rate.lower), 'upper', rounded(v_rate.upper),
				'successes', v_score.successes) end,
			'response_rate', rounded(v_response.answered::float8 / v_response.asked),
			'own', case when v_own.feedback > 0 then jsonb_build_object('effectiveness', trim_scale(v_own.effectiveness), 'rating', v_own.rating,
				'feedback', v_own.feedback, 'last_at', stamp(v_own.last_at)) end));
end
$$;

-- What is known of this patient that a herb must not be taken with; null: nothing. However either is spelt: capitals do not count here.
create or replace function tidings.contraindications(p_patient text, p_herb text) returns text
language plpgsql stable as $$
begin
	return (
		select string_agg(c.fact, ', ' order by c.fact) from tidings.contraindication c
		where lower(normalize(c.herb)) = lower(normalize(p_herb)) and exists (
			select from tidings.patient_fact f where f.user_id = p_patient and lower(normalize(f.fact)) = lower(normalize(c.fact))));
end
$$;

-- May a herb never be taken by this patient? Of what is not known nothing is said.
create or replace function tidings.contraindicated(p_patient text, p_herb text) returns boolean
language sql stable as $$
	select tidings.contraindications(p_patient, p_herb) is not null
$$;

-- What a diagnosis's active recommendations might be looked at again for.
--
--	replace			another treatment of the same condition does better (replaces()), for two weeks nothing else was tried or
--				proposed, and this patient may take it and has not fared badly with it
--	ask_for_feedback	nobody has said anything for three weeks
create or replace function tidings.suggestions(p_diagnosis int8, p_patient text, p_recommendations tidings.recommendation[]) returns jsonb
language plpgsql stable as $$
declare
	r tidings.recommendation;
	v_now timestamptz := clock_timestamp();
	v_better record;
	v_shown tidings.effect_shown%rowtype;
	v_weight float8 := (
		select p.weight from effect_prior s,
			prior_of(s.cells, s.people, s.people_squared::float8, s.sum::float8, s.squares::float8, s.between_cells::float8) p);
	v_last timestamptz;
	v_list jsonb := '[]';
begin
	foreach r in array p_recommendations loop
		continue when r.status <> 'active';
		select * into v_shown from effect_shown s where s.herb = r.herb and s.condition = r.condition;
		if found and coalesce(r.decided_at, r.created_at) < v_now - interval '14 days' and not exists (
			select from unnest(p_recommendations) as o where o.condition = r.condition and o.created_at > v_now - interval '14 days')
		then
			select s.* into v_better from (
				select * from effect_shown o where o.condition = r.condition and o.effectiveness >= v_shown.effectiveness + 0.10
				order by o.effectiveness desc limit 50) s
			where replaces(s.effectiveness::float8, s.sample_size, v_shown.effectiveness::float8, v_shown.sample_size, v_weight)
				and not contraindicated(p_patient, s.herb)
				and not exists (
					select from effect_vote v where v.patient = p_patient and v.herb = s.herb and v.condition = s.condition and v.vote < 0.4)
				and not exists (
					select from unnest(p_recommendations) as o where o.herb = s.herb and o.condition = s.condition and o.status in ('active', 'proposed'))
			order by s.lower desc, s.herb limit 1;
			if found then
				v_list := v_list || jsonb_build_object('recommendation_id', r.id, 'kind', 'replace',
					'by', jsonb_build_object('herb', v_better.herb, 'condition', v_better.condition),
					'probability', rounded(least(normal_below(better_by(v_better.effectiveness::float8, v_better.sample_size,
						v_shown.effectiveness::float8, v_shown.sample_size, v_weight)), 0.99)),
					'reason', format('Patients with %s report %s with %s, %s with %s.', r.condition, v_better.effectiveness, v_better.herb,
						v_shown.effectiveness, r.herb));
			end if;
		end if;
		v_last := greatest(r.created_at, r.decided_at, (
			select f.created_at from feedback f where f.recommendation_id = r.id and f.patient = p_patient and f.withdrawn_at is null
			order by f.id desc limit 1));
		if v_last < v_now - interval '21 days' then
			v_list := v_list || jsonb_build_object('recommendation_id', r.id, 'kind', 'ask_for_feedback',
				'reason', format('No feedback for %s days.', floor(extract(epoch from v_now - v_last) / 86400)));
		end if;
	end loop;
	return v_list;
end
$$;

-- Feedback on a diagnosis: of the newest 10,000; a day's in the last p_days.
create or replace function tidings.feedback_summary(p_diagnosis int8, p_patient text, p_days int, out feedback jsonb, out timeline jsonb)
language plpgsql stable as $$
begin
	with newest as (
		select f.rating, f.effectiveness, f.created_at, (f.created_at at time zone 'UTC')::date as day from feedback f
		where f.diagnosis_id = p_diagnosis and f.withdrawn_at is null and f.patient = p_patient
		order by f.id desc limit 10000
	)
	select jsonb_build_object('total', count(*), 'rating', round(avg(n.rating), 1), 'ratings', jsonb_build_object(
				'1', count(*) filter (where n.rating = 1), '2', count(*) filter (where n.rating = 2), '3', count(*) filter (where n.rating = 3),
				'4', count(*) filter (where n.rating = 4), '5', count(*) filter (where n.rating = 5)), 'last_at', stamp(max(n.created_at))),
			(select coalesce(jsonb_agg(jsonb_build_object('day', d.day, 'feedback', d.count, 'effectiveness', rounded(d.mean)) order by d.day), '[]') from (
				select o.day, count(*) as count, avg(o.effectiveness)::float8 as mean from newest o where o.day > today() - p_days group by o.day) d)
		into feedback_summary.feedback, feedback_summary.timeline from newest n;
end
$$;

create or replace function tidings.analytics_json(p_diagnosis int8, p_days int) returns json
language plpgsql stable as $$
declare
	v_patient text := patient_of(p_diagnosis);
	v_recommendations tidings.recommendation[] := array(
		select r from recommendation r where r.diagnosis_id = p_diagnosis order by r.id desc limit 100);
	v_feedback record;
begin
	select * into v_feedback from feedback_summary(p_diagnosis, v_patient, p_days);
	return json_build_object('diagnosis_id', p_diagnosis, 'timestamp', stamp(clock_timestamp()), 'cursor', cursor('diagnosis/' || p_diagnosis),
		'days', p_days, 'basis', 'reported by patients, not a trial', 'feedback', v_feedback.feedback,
		'recommendations', (select coalesce(jsonb_agg(effectiveness_entry(r.row, v_patient)
				|| jsonb_strip_nulls(jsonb_build_object('prediction', prediction_json(r.row, v_patient))) order by (r.row).id desc), '[]')
			from (select u::tidings.recommendation as row from unnest(v_recommendations) as u) r),
		'timeline', v_feedback.timeline, 'suggestions', suggestions(p_diagnosis, v_patient, v_recommendations));
end
$$;

-- The days that a request asks for; null: not so many as there may be.
create or replace function tidings.days_asked(q tidings.request, p_default int) returns int
language sql immutable as $$
	select case when coalesce((q.data ->> 'days')::numeric, p_default) between 7 and 365 then coalesce((q.data ->> 'days')::int, p_default) end
$$;

create or replace function tidings.act_get_analytics(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_diagnosis int8 := q.data ->> 'diagnosis_id';
	v_days int := days_asked(q, 90);
	v_verdict text := verdict(q.user_id, q.role, 'diagnosis/' || v_diagnosis, 'subscribe');
	v_data json;
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	elsif v_days is null then
		return refusal('invalid_member', 'days must be an integer from 7 to 365');
	end if;
	v_data := (select analytics_json(v_diagnosis, v_days));
	return answered(q, 'analytics', v_data);
end
$$;

-- By week, how those fared who have said so last in it.
create or replace function tidings.effectiveness_history(p_herb text, p_condition text, p_days int, p_score record) returns jsonb
language plpgsql stable as $$
begin
	return (
		select coalesce(jsonb_agg(jsonb_build_object('week', w.week, 'effectiveness', rounded(s.effectiveness), 'lower', rounded(s.lower),
			'upper', rounded(s.upper), 'sample_size', w.people) order by w.week), '[]')
		from (
			select date_trunc('week', d.day)::date as week, sum(d.people) as people, sum(d.sum) as sum from effect_day d
			where d.herb = p_herb and d.condition = p_condition and d.day > today() - p_days group by 1) w
		cross join lateral score(p_score.weight, p_score.within, p_score.parent, w.sum::float8, w.people) s
		where w.people >= least_people());
end
$$;

create or replace function tidings.recommendation_effectiveness(r tidings.recommendation, p_days int) returns jsonb
language plpgsql stable as $$
declare
	v_patient text := patient_of(r.diagnosis_id);
	v_score record;
begin
	select * into v_score from treatment_score(r.herb, r.condition, v_patient);
	return effectiveness_entry(r, v_patient) || jsonb_build_object('diagnosis_id', r.diagnosis_id, 'timestamp', stamp(clock_timestamp()),
		'cursor', cursor('diagnosis/' || r.diagnosis_id), 'days', p_days, 'basis', 'reported by patients, not a trial',
		'prior_weight', round(v_score.weight::numeric, 1),
		'levels', (
			select coalesce(jsonb_agg(jsonb_build_object('level', l.level, 'people', l.people, 'mean', round(l.mean, 2)) order by l.place), '[]') from (
				select 0 as place, 'own' as level, 1 as people, v.vote as mean from effect_vote v
				where v.patient = v_patient and v.herb = r.herb and v.condition = r.condition
				union all
				select n.place, n.level, e.people, e.sum / e.people
				from (values (1, 'treatment', r.herb, r.condition), (2, 'herb', r.herb, ''), (3, 'all', '', '')) as n(place, level, herb, condition)
				join effect e on e.herb = n.herb and e.condition = n.condition and e.people >= least_people()) l),
		'history', effectiveness_history(r.herb, r.condition, p_days, v_score));
end
$$;

create or replace function tidings.act_get_effectiveness(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_recommendation tidings.recommendation%rowtype;
	v_days int := days_asked(q, 90);
	v_verdict text;
	v_data jsonb;
begin
	select * into v_recommendation from recommendation r where r.id = (q.data ->> 'recommendation_id')::int8;
	if not found then
		return refusal('not_found');
	end if;
	v_verdict := verdict(q.user_id, q.role, 'diagnosis/' || v_recommendation.diagnosis_id, 'subscribe');
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	elsif v_days is null then
		return refusal('invalid_member', 'days must be an integer from 7 to 365');
	end if;
	v_data := (select recommendation_effectiveness(v_recommendation, v_days));
	return answered(q, 'effectiveness', v_data::json);
end
$$;

-- Of those below least_people() no more is told than that there are some, counted up to 1,000.
create or replace function tidings.act_get_trending(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_by text := coalesce(q.data ->> 'by', 'herb');
	v_condition text := q.data ->> 'condition';
	v_days numeric := coalesce((q.data ->> 'days')::numeric, 30);
	v_sort text := coalesce(q.data ->> 'sort', 'growth');
	v_limit int := least(greatest(coalesce((q.data ->> 'limit')::int8, 20), 1), 100);
	v_data json;
begin
	if v_by not in ('herb', 'treatment') then
		return refusal('invalid_member', 'by must be herb or treatment');
	elsif v_days not in (7, 30, 90) then
		return refusal('invalid_member', 'days must be 7, 30 or 90');
	elsif v_sort not in ('growth', 'effectiveness', 'change') then
		return refusal('invalid_member', 'sort must be growth, effectiveness or change');
	end if;
	v_data := (select json_build_object('by', v_by, 'days', v_days, 'timestamp', stamp(clock_timestamp()), 'cursor', cursor('analytics/trending'),
		'basis', 'reported by patients, not a trial',
		'left_out', few_people(v_by = 'treatment' or v_condition is not null, v_condition, v_days::int),
		'trending', trending(v_by, v_condition, v_days::int, v_sort, v_limit)));
	return answered(q, 'trending', v_data);
end
$$;

create or replace function tidings.few_people(p_treatments boolean, p_condition text, p_days int) returns int8
language plpgsql stable
set enable_seqscan = off
as $$
begin
	if p_condition is not null then
		return (
			select count(*) from (
				select from effect_trend t
				where t.condition = p_condition and t.condition <> '' and t.days = p_days and t.growth is null limit 1000) f);
	end if;
	-- That of all is no herb.
	return (
		select count(*) from (
			select from effect_trend t where t.days = p_days and (t.condition <> '') = p_treatments and t.growth is null and t.herb <> '' limit 1000) f);
end
$$;
