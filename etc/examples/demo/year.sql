-- A year of invented feedback, for etc/quickstart: 60 patients, two recommendations each, and two for diagnosis 123. Safe to load twice.
select not exists (select from tidings.recommendation where id = 9000001231) as first_time \gset
\if :first_time
begin;

create temporary table quality (condition text, herb text, mean float8) on commit drop;
insert into quality values
	('dyspepsia', 'Ginger', 3.0), ('dyspepsia', 'Turmeric', 3.4), ('dyspepsia', 'Peppermint', 4.7), ('dyspepsia', 'Fennel', 2.8),
	('insomnia', 'Valerian', 3.5), ('insomnia', 'Lavender', 3.1), ('insomnia', 'Passionflower', 4.1);

insert into tidings.diagnosis (id, owner, public) select 1000 + n, 'demo-' || n, false from generate_series(1, 60) n on conflict do nothing;

-- Their ids follow from the diagnosis, for the page, which cannot ask: a service reads nothing.
insert into tidings.recommendation (id, diagnosis_id, condition, herb, data, reason, created_at)
	select 9000000000 + (1000 + n) * 10 + c.place, 1000 + n, c.condition, h.herb, '{"dosage": "2 g", "frequency": "twice a day"}', 'invented',
		now() - interval '1 year'
	from generate_series(1, 60) n
	cross join (values (1, 'dyspepsia'), (2, 'insomnia')) as c(place, condition)
	cross join lateral (
		select q.herb from quality q where q.condition = c.condition order by q.herb
		offset n % (select count(*) from quality o where o.condition = c.condition) limit 1) h;
-- Not in force until all is counted: the first message of diagnosis 123 is to be one's own.
insert into tidings.recommendation (id, diagnosis_id, condition, herb, data, status, reason, created_at) values
	(9000001231, 123, 'dyspepsia', 'Ginger', '{"dosage": "1 g", "frequency": "after meals"}', 'proposed', 'Settles the stomach.', now() - interval '1 year'),
	(9000001232, 123, 'insomnia', 'Valerian', '{"dosage": "300 mg", "frequency": "an hour before bed"}', 'proposed', 'Helps to fall asleep.',
		now() - interval '1 year');

-- A rating every five weeks or so, each about what the herb is worth. The same numbers each time: hashes.
insert into tidings.feedback (diagnosis_id, recommendation_id, user_id, patient, rating, effectiveness, said, comment, created_at)
	select r.diagnosis_id, r.id, d.owner, d.owner, v.rating, (v.rating - 1) / 4.0, false, case when v.chance % 5 = 0 then
			(array['Much worse than before.', 'Not much help.', 'Some days are better.', 'It helps.', 'I feel well again.'])[v.rating] end,
		now() - make_interval(days => 364 - week * 36 - v.chance % 30, mins => v.chance % 700)
	from tidings.recommendation r
	join tidings.diagnosis d on d.id = r.diagnosis_id
	join quality q on q.herb = r.herb and q.condition = r.condition
	cross join generate_series(0, 9) week
	cross join lateral (select abs(hashtext(r.id || ' ' || week)) as chance) c
	cross join lateral (select c.chance, greatest(1, least(5, round(q.mean + (c.chance % 1000) / 500.0 - 1)))::int as rating) v
	where r.id between 9000000000 and 9000099999
	order by 9;

select tidings.recount();
select tidings.analyse(60000);
update tidings.recommendation set status = 'active' where id in (9000001231, 9000001232);

commit;
\endif
