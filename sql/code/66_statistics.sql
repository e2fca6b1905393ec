-- The formulas of analytics, each once. All are of numbers alone: which numbers, sql/code/65_effect.sql says.
--
-- Words: a person's vote is their effectiveness, 0 to 1; a cell is the votes on one treatment, on one herb, or all of them. Of a cell
--
--	people		how many they are
--	sum, squares	of their votes
--	successes	votes of least_success() and more
--
-- What is nobody's is null: a mean of no votes, an interval about none.

-- Numbers that come from others' votes are shown from so many people on.
create or replace function tidings.least_people() returns int
language sql immutable parallel safe as 'select 5';

-- A rating of 4 of 5.
create or replace function tidings.least_success() returns numeric
language sql immutable parallel safe as 'select 0.75';

-- Of how many people the intervals are too wide rather than too narrow: what they vary by is not known well enough.
create or replace function tidings.least_spread_people() returns int
language sql immutable parallel safe as 'select 20';

-- Wilson's interval about a mean of so many, which need not be whole.
create or replace function tidings.wilson(p_mean float8, p_count float8, p_z float8 default 1.96, out lower float8, out upper float8)
language plpgsql immutable parallel safe as $$
declare
	v_z2 float8 := p_z * p_z / p_count;
	v_center float8 := (p_mean + v_z2 / 2) / (1 + v_z2);
	v_half float8 := p_z / (1 + v_z2) * sqrt(p_mean * (1 - p_mean) / p_count + v_z2 / (4 * p_count));
begin
	lower := greatest(v_center - v_half, 0);
	upper := least(v_center + v_half, 1);
end
$$;

-- A cell's mean, drawn to its parent's by as much as p_weight people would who think like those there.
create or replace function tidings.shrunk(p_weight float8, p_parent float8, p_sum float8, p_people float8) returns float8
language sql immutable parallel safe as $$
	select (p_weight * p_parent + p_sum) / (p_weight + p_people)
$$;

-- What a cell is drawn to: its parent's mean without the cell's own people, so that nobody counts twice; itself drawn to the grandparent.
--
--	p_sum, p_people		of the parent
--	p_own_sum, p_own_people	of the cell's people: their votes there
create or replace function tidings.shrunk_without(p_weight float8, p_grandparent float8, p_sum float8, p_people float8,
	p_own_sum float8, p_own_people float8) returns float8
language sql immutable parallel safe as $$
	select case when p_people - p_own_people >= tidings.least_people()
		then tidings.shrunk(p_weight, p_grandparent, p_sum - p_own_sum, p_people - p_own_people) else p_grandparent end
$$;

-- The weight of what a cell is drawn to, in people, by how much treatments differ beside how much people do (Bühlmann and Straub).
--
--	p_cells		treatments of least_people() and more; below 10 the weight is 6
--	p_people …	sums over them: of people, of people², of sum, of squares, of sum² / people
--	weight		2 to 50
--	within		the variance of votes within a treatment; null: unknown
create or replace function tidings.prior_of(p_cells float8, p_people float8, p_people_squared float8, p_sum float8, p_squares float8, p_between float8,
	out weight float8, out within float8)
language plpgsql immutable parallel safe as $$
declare
	v_between float8;
begin
	weight := 6;
	if p_cells >= 10 then
		within := greatest((p_squares - p_between) / (p_people - p_cells), 0);
		v_between := greatest((p_between - p_sum * p_sum / p_people - (p_cells - 1) * within)
			/ (p_people - p_people_squared / p_people), 0);
		weight := case when v_between = 0 then 50 else least(greatest(within / v_between, 2), 50) end;
	end if;
end
$$;

-- How much votes vary beside yes and no with the same mean: 0.3 to 1.
create or replace function tidings.spread(p_mean float8, p_people float8, p_within float8) returns float8
language sql immutable parallel safe as $$
	select case
		when p_people < tidings.least_spread_people() or p_within is null or p_mean <= 0 or p_mean >= 1 then 1
		else least(greatest(p_within / (p_mean * (1 - p_mean)), 0.3), 1) end
$$;

-- How narrow an interval is, not how probable anything is.
create or replace function tidings.confidence(p_lower float8, p_upper float8) returns numeric
language sql immutable parallel safe as $$
	select round((1 - (p_upper - p_lower))::numeric, 2)
$$;

-- The effectiveness of a cell, with its interval; all null where nobody has voted.
create or replace function tidings.score(p_weight float8, p_within float8, p_parent float8, p_sum float8, p_people float8,
	out effectiveness float8, out lower float8, out upper float8)
language plpgsql immutable parallel safe as $$
declare
	v_interval record;
begin
	if p_people > 0 then
		effectiveness := tidings.shrunk(p_weight, p_parent, p_sum, p_people);
		v_interval := tidings.wilson(effectiveness, (p_people + p_weight) / tidings.spread(effectiveness, p_people, p_within));
		lower := v_interval.lower;
		upper := v_interval.upper;
	end if;
end
$$;

-- By how much a mean has changed, with Newcombe's interval, at 99 %: many are looked at at once. Null where one of the two is nobody's.
--
--	trend	rising, falling: by more than chance; else steady
create or replace function tidings.change_of(p_mean float8, p_people float8, p_before float8, p_people_before float8,
	out change float8, out lower float8, out upper float8, out trend text)
language plpgsql immutable parallel safe as $$
declare
	v_now record;
	v_before record;
begin
	if p_people > 0 and p_people_before > 0 then
		v_now := tidings.wilson(p_mean, p_people, 2.5758293035489);
		v_before := tidings.wilson(p_before, p_people_before, 2.5758293035489);
		change := p_mean - p_before;
		lower := change - sqrt((p_mean - v_now.lower) ^ 2 + (v_before.upper - p_before) ^ 2);
		upper := change + sqrt((v_now.upper - p_mean) ^ 2 + (p_before - v_before.lower) ^ 2);
		trend := case when lower > 0 then 'rising' when upper < 0 then 'falling' else 'steady' end;
	end if;
end
$$;

-- What more people than before are sorted by: 3 after 1 are fewer than 84 after 61.
create or replace function tidings.growth_order(p_people float8, p_people_before float8) returns float8
language sql immutable parallel safe as $$
	select (p_people - p_people_before) / sqrt(p_people + p_people_before + 1)
$$;

-- By how many standard deviations one treatment does better than another: v = m (1 − m) / (n + weight + 1) each.
create or replace function tidings.better_by(p_mean float8, p_people float8, p_other float8, p_other_people float8, p_weight float8) returns float8
language sql immutable parallel safe as $$
	select (p_mean - p_other) / sqrt(greatest(
		p_mean * (1 - p_mean) / (p_people + p_weight + 1) + p_other * (1 - p_other) / (p_other_people + p_weight + 1), 1e-12))
$$;

-- May one treatment be offered in place of another: better with 90 %, and by 0.10?
create or replace function tidings.replaces(p_mean float8, p_people float8, p_other float8, p_other_people float8, p_weight float8) returns boolean
language sql immutable parallel safe as $$
	select p_mean - p_other >= 0.10 and tidings.better_by(p_mean, p_people, p_other, p_other_people, p_weight) >= 1.28
$$;

-- The part of the normal distribution below z, to 1e-7 (Abramowitz and Stegun, 26.2.17): PostgreSQL 15 has no erf().
create or replace function tidings.normal_below(p_z float8) returns float8
language sql immutable parallel safe as $$
	select case when p_z < 0 then tail else 1 - tail end
	from (select 1 / (1 + 0.2316419 * least(abs(p_z), 37)) as t) s,
		lateral (select exp(-(least(abs(p_z), 37) ^ 2) / 2) / sqrt(2 * pi())
			* t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))) as tail) d
$$;
