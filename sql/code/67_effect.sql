-- Votes and their sums: what feedback amounts to, in sql/tables/007_analytics.sql. Whoever writes them has analyst_lock(), so that no two
-- do; feedback itself is never waited for.

-- False: another transaction writes.
--
--	p_wait	for it, which is as long as a turn of the analyst
create or replace function tidings.analyst_lock(p_wait boolean) returns boolean
language plpgsql as $$
begin
	if not p_wait then
		return pg_try_advisory_xact_lock(hashtext('tidings.analyst'));
	end if;
	perform pg_advisory_xact_lock(hashtext('tidings.analyst'));
	return true;
end
$$;

-- The votes of these patients, as their feedback is now. Of one that is withdrawn the one before counts again. A treatment that an
-- operator's own recommendations do not name is none.
create or replace function tidings.votes_of(p_patients text[])
returns table (patient text, herb text, condition text, vote numeric, day date)
language plpgsql stable as $$
begin
	return query
		select l.patient, r.herb, r.condition, round(avg(l.effectiveness), 6), max((l.created_at at time zone 'UTC')::date)
		from unnest(p_patients) as p(patient)
		cross join lateral (
			select distinct on (f.recommendation_id) f.patient, f.recommendation_id, f.effectiveness, f.created_at
			from feedback f where f.patient = p.patient and f.recommendation_id is not null and f.withdrawn_at is null
			order by f.recommendation_id, f.id desc offset 0) l
		cross join lateral (select o.herb, o.condition from recommendation o where o.id = l.recommendation_id offset 0) r
		where r.herb <> '' and r.condition <> ''
		group by l.patient, r.herb, r.condition;
end
$$;

-- Counts these patients' votes as they are now, in place of what was counted of them before.
--
--	herbs, conditions	out: the cells that are others than before, parents first; they run in parallel
create or replace function tidings.count_votes(p_patients text[], out herbs text[], out conditions text[])
language plpgsql
set jit = off set enable_seqscan = off set enable_mergejoin = off
as $$
declare
	v_herbs text[]; -- with the next two: days that nobody is in any more
	v_conditions text[];
	v_days date[];
begin
	with old as (
		select v.* from effect_vote v where v.patient = any (p_patients)
	), new as materialized (
		select * from votes_of(p_patients)
	), gone as (
		delete from effect_vote v
		where v.patient = any (p_patients)
			and not exists (select from new n where (n.patient, n.herb, n.condition) = (v.patient, v.herb, v.condition))
	), kept as (
		insert into effect_vote as v (patient, herb, condition, vote, day) select * from new
			on conflict on constraint effect_vote_pkey do update set vote = excluded.vote, day = excluded.day
			where (v.vote, v.day) is distinct from (excluded.vote, excluded.day)
	), treatment as (
		select -1 as sign, o.* from old o union all select 1, n.* from new n
	), herb as (
		select t.sign, t.patient, t.herb, round(avg(t.vote), 6) as vote, max(t.day) as day from treatment t group by 1, 2, 3
	), everything as (
		select h.sign, h.patient, round(avg(h.vote), 6) as vote, max(h.day) as day from herb h group by 1, 2
	), part as (
		select t.sign, t.herb, t.condition, t.day, t.vote, h.vote as parent from treatment t join herb h using (sign, patient, herb)
		union all
		select h.sign, h.herb, '', h.day, h.vote, e.vote from herb h join everything e using (sign, patient)
		union all
		select e.sign, '', '', e.day, e.vote, e.vote from everything e
	), by_day as (
		select p.herb, p.condition, p.day, sum(p.sign) as people, sum(p.sign * p.vote) as sum, sum(p.sign * p.vote * p.vote) as squares,
			sum(p.sign * (p.vote >= tidings.least_success())::int) as successes, sum(p.sign * p.parent) as parent_sum
		from part p group by 1, 2, 3
	), day as (
		insert into effect_day as d (herb, condition, day, people, sum, squares, successes, parent_sum)
			select * from by_day b where (b.people, b.sum, b.squares, b.successes, b.parent_sum) <> (0, 0, 0, 0, 0)
			on conflict on constraint effect_day_pkey do update set people = d.people + excluded.people, sum = d.sum + excluded.sum,
				squares = d.squares + excluded.squares, successes = d.successes + excluded.successes, parent_sum = d.parent_sum + excluded.parent_sum
			returning d.herb, d.condition, d.day, d.people
	), by_cell as (
		select b.herb, b.condition, sum(b.people) as people, sum(b.sum) as sum, sum(b.squares) as squares, sum(b.successes) as successes,
			sum(b.parent_sum) as parent_sum
		from by_day b group by 1, 2
	), cell as (
		insert into effect as e (herb, condition, people, sum, squares, successes, parent_sum)
			select * from by_cell b where (b.people, b.sum, b.squares, b.successes, b.parent_sum) <> (0, 0, 0, 0, 0)
			on conflict on constraint effect_pkey do update set people = e.people + excluded.people, sum = e.sum + excluded.sum,
				squares = e.squares + excluded.squares, successes = e.successes + excluded.successes, parent_sum = e.parent_sum + excluded.parent_sum
			returning e.*
	), prior as (
		update effect_prior p set cells = p.cells + x.cells, people = p.people + x.people, people_squared = p.people_squared + x.people_squared,
				sum = p.sum + x.sum, squares = p.squares + x.squares, between_cells = p.between_cells + x.between_cells
			from (
				select sum(s.sign) as cells, sum(s.sign * s.people) as people, sum(s.sign * s.people * s.people) as people_squared,
					sum(s.sign * s.sum) as sum, sum(s.sign * s.squares) as squares, sum(s.sign * round(s.sum * s.sum / s.people, 9)) as between_cells
				from (
					select 1 as sign, c.people, c.sum, c.squares from cell c where c.condition <> ''
					union all
					select -1, c.people - b.people, c.sum - b.sum, c.squares - b.squares
					from cell c join by_cell b using (herb, condition) where c.condition <> '') s
				where s.people >= tidings.least_people()) x
			where x.cells is not null
	)
	select t.herbs, t.conditions, e.herbs, e.conditions, e.days into herbs, conditions, v_herbs, v_conditions, v_days
		from (
			select array_agg(c.herb order by c.herb, c.condition) as herbs, array_agg(c.condition order by c.herb, c.condition) as conditions
			from (select distinct d.herb, d.condition from day d) c) t,
			(select array_agg(d.herb) as herbs, array_agg(d.condition) as conditions, array_agg(d.day) as days from day d where d.people = 0) e;
	for i in 1 .. coalesce(cardinality(v_days), 0) loop
		delete from effect_day d where d.herb = v_herbs[i] and d.condition = v_conditions[i] and d.day = v_days[i] and d.people = 0;
		delete from effect e where e.herb = v_herbs[i] and e.condition = v_conditions[i] and e.people = 0;
	end loop;
end
$$;

-- The score of a treatment for whoever watches it. Of fewer than least_people() the others are nobody: then it is the patient's own, or null.
--
--	people		as they count: who are in `sum`
--	parent		what it was drawn to
create or replace function tidings.treatment_score(p_herb text, p_condition text, p_patient text default null, out people int, out sum numeric,
	out successes int, out parent float8, out weight float8, out within float8, out effectiveness float8, out lower float8, out upper float8)
language plpgsql stable
set enable_seqscan = off
as $$
declare
	v_cell tidings.effect%rowtype;
	v_herb tidings.effect%rowtype;
	v_all tidings.effect%rowtype;
	v_own numeric;
begin
	select p.weight, p.within into weight, within
		from effect_prior s, tidings.prior_of(s.cells, s.people, s.people_squared::float8, s.sum::float8, s.squares::float8, s.between_cells::float8) p;
	select * into v_cell from effect e where e.herb = p_herb and e.condition = p_condition;
	select * into v_herb from effect e where e.herb = p_herb and e.condition = '';
	select * into v_all from effect e where e.herb = '' and e.condition = '';
	parent := tidings.shrunk_without(weight,
		tidings.shrunk_without(weight, 0.5, coalesce(v_all.sum, 0)::float8, coalesce(v_all.people, 0), coalesce(v_herb.parent_sum, 0)::float8, coalesce(v_herb.people, 0)),
		coalesce(v_herb.sum, 0)::float8, coalesce(v_herb.people, 0), coalesce(v_cell.parent_sum, 0)::float8, coalesce(v_cell.people, 0));
	people := coalesce(v_cell.people, 0);
	sum := coalesce(v_cell.sum, 0);
	successes := coalesce(v_cell.successes, 0);
	if people < tidings.least_people() then
		v_own := (select v.vote from effect_vote v where v.patient = p_patient and v.herb = p_herb and v.condition = p_condition);
		people := num_nonnulls(v_own);
		sum := coalesce(v_own, 0);
		successes := coalesce((v_own >= tidings.least_success())::int, 0);
	end if;
	select s.effectiveness, s.lower, s.upper into effectiveness, lower, upper
		from tidings.score(weight, within, parent, sum::float8, people) s;
end
$$;

-- Makes the trends of these cells as they are today. What a cell is drawn to has to be there: parents come before their children, as they do
-- in the order of herb and condition.
create or replace function tidings.renew_trends(p_herbs text[], p_conditions text[]) returns void
language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off
as $$
declare
	v_today date := today();
	v_prior record;
begin
	select p.weight, p.within into v_prior
		from effect_prior s, tidings.prior_of(s.cells, s.people, s.people_squared::float8, s.sum::float8, s.squares::float8, s.between_cells::float8) p;
	for v_level in 0 .. 2 loop -- all, herbs, treatments
		insert into effect_trend as t (herb, condition, days, people, people_before, sum, parent_sum, growth, effectiveness, lower, upper,
				before, change, change_lower, change_upper, trend)
			select c.herb, c.condition, w.days, w.people, w.people_before, w.sum, w.parent_sum,
				case when n.people > 0 then tidings.growth_order(n.people, n.people_before) end,
				round(s.effectiveness::numeric, 4), round(s.lower::numeric, 4), round(s.upper::numeric, 4),
				case when n.people_before > 0 then round(w.sum_before / w.people_before, 4) end,
				round(d.change::numeric, 4), round(d.lower::numeric, 4), round(d.upper::numeric, 4), d.trend
			from unnest(p_herbs, p_conditions) as c(herb, condition)
			cross join lateral (
				select l.days, coalesce(sum(e.people) filter (where e.day > v_today - l.days), 0)::int as people,
					coalesce(sum(e.people) filter (where e.day <= v_today - l.days), 0)::int as people_before,
					coalesce(sum(e.sum) filter (where e.day > v_today - l.days), 0) as sum,
					coalesce(sum(e.sum) filter (where e.day <= v_today - l.days), 0) as sum_before,
					coalesce(sum(e.parent_sum) filter (where e.day > v_today - l.days), 0) as parent_sum
				from unnest('{7,30,90}'::int[]) as l(days)
				left join effect_day e on e.herb = c.herb and e.condition = c.condition and e.day > v_today - 2 * l.days and e.day <= v_today
				group by l.days) w
			left join effect_trend a on v_level > 0 and a.herb = '' and a.condition = '' and a.days = w.days
			left join effect_trend h on v_level = 2 and h.herb = c.herb and h.condition = '' and h.days = w.days
			-- Few people count as none; and all of them are no herb.
			cross join lateral (select case when v_level > 0 and w.people >= tidings.least_people() then w.people else 0 end as people,
				case when w.people_before >= tidings.least_people() then w.people_before else 0 end as people_before) n
			cross join lateral (select tidings.shrunk_without(v_prior.weight, 0.5, coalesce(a.sum, 0)::float8, coalesce(a.people, 0),
				coalesce(case v_level when 1 then w.parent_sum else h.parent_sum end, 0)::float8,
				coalesce(case v_level when 1 then w.people else h.people end, 0)) as parent) g
			cross join lateral tidings.score(v_prior.weight, v_prior.within, case v_level when 2 then
				tidings.shrunk_without(v_prior.weight, g.parent, coalesce(h.sum, 0)::float8, coalesce(h.people, 0), w.parent_sum::float8, w.people)
				else g.parent end, w.sum::float8, n.people) s
			cross join lateral tidings.change_of(w.sum::float8 / nullif(w.people, 0), n.people, w.sum_before::float8 / nullif(w.people_before, 0),
				n.people_before) d
			where v_level = (c.herb <> '')::int + (c.condition <> '')::int
			on conflict on constraint effect_trend_pkey do update set people = excluded.people, people_before = excluded.people_before,
				sum = excluded.sum, parent_sum = excluded.parent_sum, growth = excluded.growth, effectiveness = excluded.effectiveness,
				lower = excluded.lower, upper = excluded.upper, before = excluded.before, change = excluded.change,
				change_lower = excluded.change_lower, change_upper = excluded.change_upper, trend = excluded.trend
				where (t.people, t.people_before, t.sum, t.parent_sum, t.effectiveness, t.lower, t.upper, t.before, t.change)
					is distinct from (excluded.people, excluded.people_before, excluded.sum, excluded.parent_sum, excluded.effectiveness,
						excluded.lower, excluded.upper, excluded.before, excluded.change);
	end loop;
	delete from effect_trend t using unnest(p_herbs, p_conditions) as c(herb, condition)
		where (t.herb, t.condition) = (c.herb, c.condition) and t.people + t.people_before = 0;
end
$$;

-- Counts a patient's votes at once, in a transaction that has analyst_lock().
create or replace function tidings.recount_patient(p_patient text) returns void
language plpgsql as $$
declare
	v_cells record;
begin
	select * into v_cells from count_votes(array[p_patient]);
	perform renew_trends(v_cells.herbs, v_cells.conditions);
	insert into effect_due (herb, condition, due_at)
		select c.herb, c.condition, clock_timestamp() from unnest(v_cells.herbs, v_cells.conditions) as c(herb, condition) where c.condition <> ''
		on conflict do nothing;
	delete from effect_lost l where l.patient = p_patient;
end
$$;

-- Makes all of it anew from feedback: votes, sums, trends. Feedback that is given meanwhile is counted after it. In one transaction, at whose
-- end the analyst goes on.
--
--	returns		how many patients have a vote
create or replace function tidings.recount() returns int8
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off
as $$
declare
	v_patients text[];
	v_last text := '';
	v_cells record;
begin
	perform analyst_lock(true);
	delete from effect_lost;
	-- Those that another transaction changes at this moment are counted when it has.
	with free as (select f.id from feedback f where not f.folded order by f.id for update skip locked)
		update feedback f set folded = true from free where f.id = free.id;
	-- Deleted, not truncated: until this is committed everybody reads what was.
	delete from effect_vote;
	delete from effect;
	delete from effect_day;
	delete from effect_trend;
	delete from effect_response;
	update effect_prior set cells = 0, people = 0, people_squared = 0, sum = 0, squares = 0, between_cells = 0;
	loop
		v_patients := array(select distinct f.patient from feedback f where f.patient in (
			select o.patient from feedback o where o.patient > v_last order by o.patient limit 5000) order by 1);
		exit when cardinality(v_patients) = 0;
		perform count_votes(v_patients);
		v_last := v_patients[cardinality(v_patients)];
	end loop;
	for v_cells in
		select array_agg(e.herb order by e.herb, e.condition) as herbs, array_agg(e.condition order by e.herb, e.condition) as conditions
		from (select c.herb, c.condition, (row_number() over (order by c.herb, c.condition) - 1) / 1000 as part from effect c) e
		group by e.part order by e.part
	loop
		perform renew_trends(v_cells.herbs, v_cells.conditions);
	end loop;
	insert into effect_due (herb, condition, due_at)
		select e.herb, e.condition, clock_timestamp() from effect e where e.condition <> ''
		union select s.herb, s.condition, clock_timestamp() from effect_shown s
		on conflict do nothing;
	return (select count(distinct v.patient) from effect_vote v);
end
$$;

-- What is deleted is counted no more, whoever deletes it; and who gives feedback rings.
create or replace function tidings.feedback_lost() returns trigger
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	insert into effect_lost (patient) select distinct g.patient from gone g where g.recommendation_id is not null;
	if found then
		perform tidings.notify('outbox', '');
	end if;
	return null;
end
$$;

create or replace trigger feedback_lost after delete on tidings.feedback referencing old table as gone
	for each statement execute function tidings.feedback_lost();

create or replace function tidings.feedback_unfolded() returns trigger
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	perform tidings.notify('outbox', '');
	return null;
end
$$;

create or replace trigger feedback_unfolded after insert or update on tidings.feedback
	for each row when (not new.folded) execute function tidings.feedback_unfolded();
