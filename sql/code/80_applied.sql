-- What `tidings migrate` has applied, for programs and users who are no owners: the files of tables/, and as version 0 the code.
create or replace function tidings.applied() returns table (version int, name text, checksum text)
language sql stable security definer
set search_path = tidings, pg_temp
as $$
	select m.version, m.name, m.checksum from migration m
	union all
	select 0, 'code', c.checksum from code c
$$;
