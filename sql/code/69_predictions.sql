-- Predictions: how probable it is that a treatment does a patient good, what could be recommended to them, and what of that should be instead
-- of what is. Functions of sql/rules/ that an operator may replace; these are what they are at first, and rules-1 is the name of that.
--
-- A success is a vote of least_success() and more.

create or replace function tidings.logit(p_probability float8) returns float8
language sql immutable parallel safe as $$
	select ln(p_probability / (1 - p_probability))
$$;

-- How a patient fares with what they try, beside others with the same: in log-odds, within 1.
--
--	p_mean	how probable the successes were, on average; null: nothing was tried
create or replace function tidings.leaning(p_tried float8, p_succeeded float8, p_mean float8) returns float8
language sql immutable parallel safe as $$
	select case when p_tried = 0 then 0
		else least(greatest(ln((p_succeeded + 6 * p_mean) / (p_tried - p_succeeded + 6 * (1 - p_mean))) - tidings.logit(p_mean), -1), 1) end
$$;

create or replace function tidings.leant(p_probability float8, p_leaning float8) returns float8
language sql immutable parallel safe as $$
	select 1 / (1 + exp(-tidings.logit(p_probability) - p_leaning))
$$;

-- ln Γ(x), x > 0, to 1e-9 (Lanczos): PostgreSQL 15 has none.
create or replace function tidings.log_gamma(x float8) returns float8
language sql immutable parallel safe as $$
	select (x + 0.5) * ln(x + 5.5) - (x + 5.5) + ln(2.5066282746310005 * (1.000000000190015 + 76.18009172947146 / (x + 1) - 86.50532032941677 / (x + 2)
		+ 24.01409824083091 / (x + 3) - 1.231739572450155 / (x + 4) + 0.001208650973866179 / (x + 5) - 0.000005395239384953 / (x + 6)) / x)
$$;

-- The continued fraction of the incomplete beta function, by Lentz's method; it is quick for x below (a + 1) / (a + b + 2).
create or replace function tidings.beta_fraction(x float8, a float8, b float8) returns float8
language plpgsql immutable parallel safe as $$
declare
	c float8 := 1;
	d float8 := 1 / (1 - (a + b) * x / (a + 1));
	h float8 := d;
	v_term float8;
	v_step float8;
begin
	for m in 1 .. 200 loop
		v_term := m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
		d := 1 / (1 + v_term * d);
		c := 1 + v_term / c;
		h := h * d * c;
		v_term := -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
		d := 1 / (1 + v_term * d);
		c := 1 + v_term / c;
		v_step := d * c;
		h := h * v_step;
		exit when abs(v_step - 1) < 1e-10;
	end loop;
	return h;
end
$$;

-- The value that a part of the Beta distribution is below, to 1e-6: by Newton's method, within bounds that are halved where it leaves them.
create or replace function tidings.beta_quantile(p_part float8, a float8, b float8) returns float8
language plpgsql immutable parallel safe as $$
declare
	v_constant float8 := tidings.log_gamma(a + b) - tidings.log_gamma(a) - tidings.log_gamma(b);
	v_low float8 := 0;
	v_high float8 := 1;
	x float8 := least(greatest(a / (a + b), 1e-9), 1 - 1e-9);
	v_power float8; -- x^a (1 - x)^b / B(a, b)
	v_excess float8;
	v_next float8;
begin
	loop
		v_power := exp(greatest(v_constant + a * ln(x) + b * ln(1 - x), -700));
		v_excess := case when x < (a + 1) / (a + b + 2) then v_power * tidings.beta_fraction(x, a, b) / a
			else 1 - v_power * tidings.beta_fraction(1 - x, b, a) / b end - p_part;
		if v_excess > 0 then
			v_high := x;
		else
			v_low := x;
		end if;
		v_next := x - v_excess * x * (1 - x) / v_power;
		if v_next <= v_low or v_next >= v_high then
			v_next := (v_low + v_high) / 2;
		end if;
		exit when abs(v_next - x) < 1e-7 or v_high - v_low < 1e-7;
		x := v_next;
	end loop;
	return v_next;
end
$$;

-- How many of the others had success with a treatment, drawn to those with its herb, and to all, each without its child's people.
--
--	people	others who have it; below least_people() they are nobody, and this is what it was drawn to
--	success	null: of all others there are fewer than that
--
-- Successes of a treatment's people are taken for their successes with the herb: they are where a person has a herb for one condition.
create or replace function tidings.others_success(p_herb text, p_condition text, p_patient text, out people int, out success float8)
language plpgsql stable
set enable_seqscan = off
as $$
declare
	v_weight float8;
	v_people int[]; -- of all, of the herb, of the treatment
	v_successes int[];
	v_parent float8;
begin
	select p.weight into v_weight
		from effect_prior s, tidings.prior_of(s.cells, s.people, s.people_squared::float8, s.sum::float8, s.squares::float8, s.between_cells::float8) p;
	with own as (
		select o.herb, o.condition, o.vote from effect_vote o where o.patient = p_patient
	), level as (
		select 1 as place, '' as herb, '' as condition, (
			select round(avg(h.vote), 6) from (select round(avg(o.vote), 6) as vote from own o group by o.herb) h) as vote
		union all
		select 2, p_herb, '', (select round(avg(o.vote), 6) from own o where o.herb = p_herb)
		union all
		select 3, p_herb, p_condition, (select o.vote from own o where o.herb = p_herb and o.condition = p_condition)
	), cell as (
		select l.place, coalesce(e.people, 0) - (e.people is not null and l.vote is not null)::int as people,
			coalesce(e.successes, 0) - (e.people is not null and coalesce(l.vote >= tidings.least_success(), false))::int as successes
		from level l left join effect e on e.herb = l.herb and e.condition = l.condition
	)
	select array_agg(c.people order by c.place), array_agg(c.successes order by c.place) into v_people, v_successes from cell c;
	if v_people[1] < tidings.least_people() then
		people := 0;
		return;
	end if;
	v_parent := 0.5;
	for v_place in 1 .. 2 loop
		v_parent := tidings.shrunk_without(v_weight, v_parent, v_successes[v_place], v_people[v_place],
			least(greatest(v_successes[v_place + 1], v_successes[v_place] - v_people[v_place] + v_people[v_place + 1]), v_successes[v_place]),
			v_people[v_place + 1]);
	end loop;
	people := case when v_people[3] >= tidings.least_people() then v_people[3] else 0 end;
	success := tidings.shrunk(v_weight, v_parent, case when people > 0 then v_successes[3] else 0 end, people);
end
$$;

-- How this patient fares with what they have tried, of which the newest 50 treatments count.
create or replace function tidings.patient_leaning(p_patient text) returns float8
language plpgsql stable as $$
begin
	return (
		select tidings.leaning(count(*), count(*) filter (where v.vote >= tidings.least_success()), avg(o.success))
		from (select * from effect_vote e where e.patient = p_patient order by e.day desc, e.herb, e.condition limit 50) v
		cross join lateral tidings.others_success(v.herb, v.condition, p_patient) o where o.success is not null);
end
$$;

-- rules-1: how others fare with it, and the patient with what they have tried. The bounds are those of a Beta distribution of as many people,
-- 36 at most.
create or replace function tidings.default_predict_success(p_herb text, p_condition text, p_patient text, out success float8, out lower float8,
	out upper float8, out model text, out reason text)
language plpgsql stable
set search_path = tidings, pg_temp
as $$
declare
	v_others record;
	v_weight float8;
begin
	model := 'rules-1';
	reason := 'contraindicated: ' || tidings.contraindications(p_patient, p_herb);
	if reason is not null then
		return;
	end if;
	select * into v_others from tidings.others_success(p_herb, p_condition, p_patient);
	if v_others.success is not null then
		success := tidings.leant(v_others.success, tidings.patient_leaning(p_patient));
		v_weight := least(v_others.people, 30) + 6;
		-- Near 0 and 1 most of the distribution is on one side of its mean.
		lower := least(tidings.beta_quantile(0.1, success * v_weight, (1 - success) * v_weight), success);
		upper := greatest(tidings.beta_quantile(0.9, success * v_weight, (1 - success) * v_weight), success);
	end if;
end
$$;

-- Treatments of the conditions that something is recommended for, by the lower bound of what is predicted: of at least least_people() others, not
-- contraindicated, not recommended already, and none that this patient has fared badly with. Nothing is by chance, and nothing is to find out.
-- Of a condition, the 20 that do best are looked at; of conditions, 10.
create or replace function tidings.default_generate_recommendations(p_diagnosis bigint, p_limit int)
returns table (herb text, condition text, success float8, lower float8, upper float8, model text)
language plpgsql stable
set search_path = tidings, pg_temp
set enable_seqscan = off
as $$
declare
	v_patient text := patient_of(p_diagnosis);
	v_current tidings.recommendation[] := array(
		select r from tidings.recommendation r where r.diagnosis_id = p_diagnosis and r.status in ('active', 'proposed') order by r.id desc limit 200);
begin
	return query
		select s.herb, s.condition, p.success, p.lower, p.upper, p.model
		from (select distinct c.condition from unnest(v_current) c order by c.condition limit 10) t
		cross join lateral (
			select o.herb, o.condition, o.sample_size from tidings.effect_shown o where o.condition = t.condition
			order by o.effectiveness desc limit 20) s
		left join tidings.effect_vote v on v.patient = v_patient and v.herb = s.herb and v.condition = s.condition
		cross join lateral tidings.predict_success(s.herb, s.condition, v_patient) p
		where s.sample_size - num_nonnulls(v.vote) >= tidings.least_people() and coalesce(v.vote, 1) >= 0.4
			and not tidings.contraindicated(v_patient, s.herb)
			and not exists (select from unnest(v_current) c where c.herb = s.herb and c.condition = s.condition) and p.success is not null
		order by p.lower desc, s.herb, s.condition limit p_limit;
end
$$;

-- One in a condition at most: what others fare better with (replaces()) than with what is in force, which was so for two weeks in which
-- nothing else was recommended.
create or replace function tidings.default_update_recommendations(p_diagnosis bigint)
returns table (recommendation_id bigint, herb text, condition text, data jsonb, probability float8, reason text, model text)
language plpgsql stable
set search_path = tidings, pg_temp
set enable_seqscan = off
as $$
declare
	v_since timestamptz := clock_timestamp() - interval '14 days';
	v_weight float8;
begin
	select p.weight into v_weight
		from tidings.effect_prior s,
			tidings.prior_of(s.cells, s.people, s.people_squared::float8, s.sum::float8, s.squares::float8, s.between_cells::float8) p;
	return query
		select distinct on (r.condition) r.id, c.herb, c.condition, '{}'::jsonb,
			tidings.normal_below(tidings.better_by(n.effectiveness::float8, n.sample_size, o.effectiveness::float8, o.sample_size, v_weight)),
			format('Patients with %s report %s with %s, %s with %s.', r.condition, n.effectiveness, c.herb, o.effectiveness, r.herb), c.model
		from tidings.generate_recommendations(p_diagnosis, 100) c
		join tidings.effect_shown n on n.herb = c.herb and n.condition = c.condition
		join tidings.recommendation r on r.diagnosis_id = p_diagnosis and r.condition = c.condition and r.status = 'active'
		join tidings.effect_shown o on o.herb = r.herb and o.condition = r.condition
		where coalesce(r.decided_at, r.created_at) < v_since
			and tidings.replaces(n.effectiveness::float8, n.sample_size, o.effectiveness::float8, o.sample_size, v_weight)
			and not exists (
				select from tidings.recommendation e where e.diagnosis_id = p_diagnosis and e.condition = r.condition and e.created_at > v_since)
		order by r.condition, o.effectiveness, c.lower desc, c.herb, r.id;
end
$$;

-- What is predicted of a recommendation that is in force or proposed, for its patient; null: nothing.
create or replace function tidings.prediction_json(r tidings.recommendation, p_patient text) returns json
language plpgsql stable as $$
begin
	return case when r.status in ('active', 'proposed') then (
		select json_strip_nulls(json_build_object('success', rounded(p.success), 'lower', rounded(p.lower), 'upper', rounded(p.upper), 'model', p.model,
			'reason', p.reason))
		from predict_success(r.herb, r.condition, p_patient) p where num_nonnulls(p.success, p.reason) > 0) end;
end
$$;

-- Keeps what is predicted of each recommendation of a diagnosis of which its patient has said nothing: a model is judged by what they say then.
--
--	returns		how many were kept
create or replace function tidings.keep_predictions(p_diagnosis int8, p_patient text) returns int
language plpgsql as $$
declare
	v_count int;
begin
	insert into prediction as k (recommendation_id, patient, model, success)
		select r.id, p_patient, p.model, p.success from (
			select * from recommendation o where o.diagnosis_id = p_diagnosis and o.status in ('active', 'proposed') order by o.id desc limit 100) r
		cross join lateral predict_success(r.herb, r.condition, p_patient) p
		where p.success is not null and p.model is not null and not exists (
			select from feedback f where f.recommendation_id = r.id and f.patient = p_patient and f.withdrawn_at is null)
		order by r.id
		on conflict on constraint prediction_recommendation_id_patient_model_key do update set success = excluded.success, made_at = excluded.made_at
			where k.outcome is null;
	get diagnostics v_count = row_count;
	return v_count;
end
$$;

-- The outcome of a prediction is what its patient says last of the recommendation.
create or replace function tidings.feedback_judges() returns trigger
language plpgsql security definer set search_path = tidings, pg_temp set enable_seqscan = off as $$
declare
	v_about tidings.feedback%rowtype := case when tg_op = 'DELETE' then old else new end;
	v_outcome boolean := (
		select f.effectiveness >= least_success() from feedback f
		where f.recommendation_id = v_about.recommendation_id and f.patient = v_about.patient and f.withdrawn_at is null order by f.id desc limit 1);
begin
	update prediction p set outcome = v_outcome, outcome_at = case when v_outcome is not null then clock_timestamp() end
		where p.recommendation_id = v_about.recommendation_id and p.patient = v_about.patient and p.outcome is distinct from v_outcome;
	return null;
end
$$;

create or replace trigger feedback_judges after insert or delete or update of effectiveness, withdrawn_at on tidings.feedback
	for each row execute function tidings.feedback_judges();

-- What should be instead of what is in force, by update_recommendations(), is proposed, or done where an operator wants that (`apply`). What is
-- contraindicated never is, and neither is anything twice, whatever that function says.
create or replace function tidings.act_predict(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_diagnosis int8 := q.data ->> 'diagnosis_id';
	v_topic text := 'diagnosis/' || v_diagnosis;
	v_patient text := patient_of(v_diagnosis);
	v_verdict text := verdict(q.user_id, q.role, v_topic, 'publish');
	v_apply boolean := q.predictions = 'apply';
	v_change record;
	v_old tidings.recommendation%rowtype;
	v_new tidings.recommendation%rowtype;
	v_told tidings.answer;
	v_applied int := 0;
	v_proposed int8[] := '{}';
	v_predicted int;
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	elsif v_patient is null then
		return refusal('not_found');
	elsif q.predictions = 'off' then
		return refusal('settled', 'Predictions are switched off here');
	end if;
	for v_change in select * from update_recommendations(v_diagnosis) u limit 10 loop
		select * into v_old from lock_recommendation(v_change.recommendation_id) r where r.diagnosis_id = v_diagnosis and r.status = 'active';
		continue when not found or contraindicated(v_patient, v_change.herb) or exists (
			select from recommendation r
			where r.diagnosis_id = v_diagnosis and (r.replaces = v_old.id or r.herb = v_change.herb and r.condition = v_change.condition)
				and r.status in ('proposed', 'active'))
			or (select count(*) from recommendation r where r.diagnosis_id = v_diagnosis and r.status in ('proposed', 'active')) >= 100;
		if v_apply then
			update recommendation r set status = 'replaced', decided_at = clock_timestamp() where r.id = v_old.id;
		end if;
		insert into recommendation as r (diagnosis_id, condition, herb, data, status, replaces, reason, source, decided_at)
			values (v_diagnosis, v_change.condition, v_change.herb, v_change.data, case when v_apply then 'active' else 'proposed' end, v_old.id,
				v_change.reason, v_change.model, case when v_apply then clock_timestamp() end)
			returning * into v_new;
		if v_apply then
			v_applied := v_applied + 1;
			v_told := tell_change(q, v_new, recommendation_says(v_old), recommendation_says(v_new),
				format('AI Model Prediction (Confidence: %s)', round(least(v_change.probability, 0.99)::numeric, 2)), '', '');
		else
			v_proposed := v_proposed || v_new.id;
			v_told := tell_recommendation(q, v_new, 'recommendation_proposed', (
				select row_to_json(d) from (select v_new.id as recommendation_id, v_new.replaces, v_new.herb, v_new.condition, v_new.data,
					v_new.source, rounded(least(v_change.probability, 0.99)) as probability, coalesce(v_new.reason, '') as reason,
					stamp(clock_timestamp()) as timestamp) d), '', '');
		end if;
	end loop;
	v_predicted := keep_predictions(v_diagnosis, v_patient);
	return answered(q, 'predictions', json_build_object('status', 'predictions applied', 'recommendations_updated', v_applied, 'proposed', v_proposed,
		'predicted', v_predicted), v_topic, v_told.seq, v_told.clients);
end
$$;

-- How models have done, of the newest 10,000 predictions of each that have an outcome. Of fewer people than least_people() nothing is told.
--
--	brier			the mean square of how far a prediction was off; brier_base_rate: had all been the share of successes
--	bins			of predictions that are much the same, how many came true
create or replace function tidings.models_json() returns json
language plpgsql stable
set enable_seqscan = off
as $$
begin
	return (
		with recursive name (model) as (
			select min(p.model) from prediction p where p.outcome is not null
			union all
			select (select min(p.model) from prediction p where p.outcome is not null and p.model > n.model) from name n where n.model is not null
		), judged as (
			select j.* from (select n.model from name n where n.model is not null limit 100) n cross join lateral (
				select * from prediction p where p.model = n.model and p.outcome is not null order by p.outcome_at desc limit 10000) j
		), bin as (
			select j.model, least(floor(j.success * 10), 9) as place, avg(j.success) as predicted, avg(j.outcome::int) as observed, count(*) as n
			from judged j group by 1, 2 having count(distinct j.patient) >= least_people()
		)
		select coalesce(json_agg(json_build_object('model', m.model, 'n', m.n, 'brier', round(m.brier::numeric, 4),
				'brier_base_rate', round(m.base * (1 - m.base), 4), 'bins', (
					select coalesce(json_agg(json_build_object('predicted', rounded(b.predicted), 'observed', round(b.observed, 2), 'n', b.n)
						order by b.place), '[]') from bin b where b.model = m.model)) order by m.model), '[]')
		from (
			select j.model, count(*) as n, avg((j.success - j.outcome::int) ^ 2) as brier, avg(j.outcome::int) as base
			from judged j group by 1 having count(distinct j.patient) >= least_people()) m);
end
$$;

create or replace function tidings.act_get_models(q tidings.request) returns tidings.answer
language plpgsql as $$
begin
	if q.role <> 'admin' then
		return refusal('forbidden');
	end if;
	return answered(q, 'models', json_build_object('models', models_json()));
end
$$;
