-- A few diagnoses to try things with; loaded by etc/quickstart only. Safe to load twice.
insert into tidings.diagnosis (id, owner, public) values
	(1, '456', false), (2, '789', false), (3, '789', true), (4, '1001', false), (5, 'ada', false), (123, '456', false)
on conflict (id) do nothing;
insert into tidings.diagnosis_grant (diagnosis_id, user_id) values (4, '456'), (123, '789') on conflict do nothing;
