-- Rows that change, told by a trigger on anybody's table.

-- The names of columns as a trigger's argument has them: as they are, or quoted as in SQL, with commas between. Null: it names none.
create or replace function tidings.column_names(p_list text) returns text[]
language plpgsql immutable as $$
begin
	if p_list is null or btrim(p_list) = '' then
		return null;
	elsif strpos(p_list, '"') = 0 then
		return regexp_split_to_array(btrim(p_list), '\s*,\s*');
	end if;
	return (
		select array_agg(coalesce(replace(m[1], '""', '"'), btrim(m[2])))
		from regexp_matches(p_list, '\s*"((?:[^"]|"")+)"\s*|([^",]+)', 'g') as m
		where m[1] is not null or btrim(m[2]) <> '');
end
$$;

-- The name of a topic, its {column}s filled in from a row. Null: one of them is null, and the row is of no topic.
create or replace function tidings.row_topic(p_pattern text, p_row json) returns text
language plpgsql immutable as $$
declare
	v_parts text[] := regexp_split_to_array(p_pattern, '[{}]');
	v_topic text := v_parts[1];
	v_value text;
begin
	if cardinality(v_parts) % 2 = 0 then
		raise exception 'a brace has no other: %', p_pattern;
	end if;
	for i in 2 .. cardinality(v_parts) by 2 loop
		if json_typeof(p_row -> v_parts[i]) is null then
			raise exception 'there is no column "%"', v_parts[i];
		elsif json_typeof(p_row -> v_parts[i]) in ('object', 'array') then
			raise exception 'the column "%" is no part of a name', v_parts[i];
		end if;
		v_value := p_row ->> v_parts[i];
		if v_value is null then
			return null;
		end if;
		v_topic := v_topic || v_value || coalesce(v_parts[i + 1], '');
	end loop;
	return v_topic;
end
$$;

-- JSON whose integers JavaScript holds exactly: one of more than 15 digits is text, as in user_json().
create or replace function tidings.exact_integers(p_json json) returns text
language plpgsql immutable as $$
begin
	if p_json::text !~ '[0-9]{16}' then
		return p_json::text;
	elsif json_typeof(p_json) = 'number' and p_json::text ~ '^-?[0-9]+$' then
		return '"' || p_json::text || '"';
	elsif json_typeof(p_json) = 'object' then
		return (
			select '{' || string_agg(to_json(e.key) || ':' || tidings.exact_integers(e.value), ',' order by e.place) || '}'
			from json_each(p_json) with ordinality as e(key, value, place));
	elsif json_typeof(p_json) = 'array' then
		return (
			select '[' || string_agg(tidings.exact_integers(e.value), ',' order by e.place) || ']'
			from json_array_elements(p_json) with ordinality as e(value, place));
	end if;
	return p_json::text;
end
$$;

-- The columns of a row's primary key alone.
create or replace function tidings.row_key(p_table oid, p_row json) returns json
language plpgsql stable strict as $$
begin
	return (
		select coalesce(json_object_agg(a.attname, p_row -> a.attname::text order by k.place), '{}')
		from pg_index i cross join unnest(i.indkey) with ordinality as k(number, place)
		join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
		where i.indrelid = p_table and i.indisprimary);
end
$$;

-- Does the row's type hold one that somebody's own function turns into JSON? That would run with the rights of tidings_owner.
create or replace function tidings.has_foreign_cast(p_table oid) returns boolean
language plpgsql stable as $$
begin
	if not exists (select from pg_attribute a where a.attrelid = p_table and a.attnum > 0 and a.atttypid >= 16384) then
		return false;
	end if;
	return exists (
		select from pg_cast c join pg_proc p on p.oid = c.castfunc join pg_language l on l.oid = p.prolang
		where c.casttarget in ('json'::regtype, 'jsonb'::regtype) and l.lanname not in ('internal', 'c'));
end
$$;

-- A message about a row.
create or replace function tidings.row_text(p_type text, p_topic text, p_table oid, p_op text, p_old json, p_new json, p_changed text[]) returns text
language plpgsql stable as $$
declare
	v_changed text := coalesce(',"changed_fields":' || array_to_json(p_changed), '');
	v_text text;
begin
	if p_topic !~ '^[A-Za-z0-9_.:/-]{1,128}$' or topic_misleads(p_topic) then
		raise exception 'not the name of a topic: %', left(p_topic, 200);
	elsif not topic_exists(p_topic) then
		raise exception 'there is no %', replace(p_topic, '/', ' ');
	end if;
	v_text := message_text(p_type, p_topic, null, 'data', ('{"op":"' || p_op || '"' || coalesce(',"old":' || exact_integers(p_old), '')
		|| coalesce(',"new":' || exact_integers(p_new), '') || v_changed || '}')::json);
	if octet_length(v_text) > 262144 then
		v_text := message_text(p_type, p_topic, null, 'data', ('{"op":"' || p_op || '"' || coalesce(',"old":' || exact_integers(row_key(p_table, p_old)), '')
			|| coalesce(',"new":' || exact_integers(row_key(p_table, p_new)), '') || v_changed || ',"truncated":true}')::json);
	end if;
	if octet_length(v_text) > 262144 then
		raise exception 'its primary key is over 256 KiB';
	end if;
	return v_text;
end
$$;

-- A trigger for anyone's table, AFTER INSERT OR UPDATE OR DELETE, FOR EACH ROW: tells a topic of the row's change, through the outbox, so if
-- and only if its transaction commits.
--
--	topic	each {column} is filled in from the row; a row in which one of them is null is of no topic. Where an update makes the
--		row another topic's, the old one is told that it was deleted, the new one that it was inserted: neither sees the other's
--	type	of the messages
--	columns	with commas between: an update that changes none of these sends nothing. Not given: any column
--
-- It never ends its owner's transaction for a reason of ours: what cannot be told is a warning, once in a transaction for each trigger. What
-- reads is apart from what writes: a subtransaction that writes would cost each row a transaction's number.
create or replace function tidings.row_changed() returns trigger
language plpgsql security definer
set search_path = tidings, pg_temp
set bytea_output = 'hex' set extra_float_digits = 1
as $$
declare
	v_old json;
	v_new json;
	v_from text; -- topics
	v_to text;
	v_columns text[];
	v_names text[];
	v_changed text[];
	v_topics text[] := '{}';
	v_bodies text[] := '{}';
	v_why text;
	v_trigger text := tg_table_schema || '.' || tg_table_name || '.' || tg_name;
begin
	if tg_when <> 'AFTER' or tg_level <> 'ROW' then
		v_why := 'it has to be an AFTER trigger FOR EACH ROW';
	elsif tg_op = 'UPDATE' and not (old *<> new) then
		return null;
	else
		begin
			if tg_nargs not between 2 and 3 then
				raise exception 'its arguments are a topic, a type and, if it likes, columns';
			elsif tg_argv[1] = '' or char_length(tg_argv[1]) > 128 or type_is_own(tg_argv[1]) then
				raise exception 'no type of a message: %', left(tg_argv[1], 200);
			elsif has_foreign_cast(tg_relid) then
				raise exception 'the database has a cast to JSON by a function that is not C, and the table has a column of a type that may use it';
			end if;
			if tg_op <> 'INSERT' then
				v_old := row_to_json(old);
				v_from := row_topic(tg_argv[0], v_old);
			end if;
			if tg_op <> 'DELETE' then
				v_new := row_to_json(new);
				v_to := row_topic(tg_argv[0], v_new);
			end if;
			if tg_op = 'UPDATE' and v_from = v_to then
				v_columns := column_names(tg_argv[2]);
				select array_agg(r.name) filter (where r.old_value::text <> r.value::text), array_agg(r.name) into v_changed, v_names
					from rows from (json_each(v_old), json_each(v_new)) as r(old_name, old_value, name, value);
				if not v_columns <@ v_names then
					v_why := format('not all of its columns (%s) are there: any change is told', tg_argv[2]);
					v_columns := null;
				end if;
				if v_changed is not null and (v_columns is null or v_columns && v_changed) then
					v_bodies := array[row_text(tg_argv[1], v_to, tg_relid, 'update', v_old, v_new, v_changed)];
					v_topics := array[v_to];
				end if;
			else
				if v_from is not null then
					v_bodies := array[row_text(tg_argv[1], v_from, tg_relid, 'delete', v_old, null, null)];
					v_topics := array[v_from];
				end if;
				if v_to is not null then
					v_bodies := v_bodies[:cardinality(v_topics)] || row_text(tg_argv[1], v_to, tg_relid, 'insert', null, v_new, null);
					v_topics := v_topics || v_to;
				end if;
			end if;
		exception when others then
			if sqlstate ~ '^(40|53|57|58)' then
				raise;
			end if;
			v_why := sqlerrm;
		end;
	end if;
	for i in 1 .. cardinality(v_topics) loop
		insert into outbox (deliver_at, at_once, topic, body) values (clock_timestamp(), true, v_topics[i], v_bodies[i]);
	end loop;
	-- Once a transaction: what a savepoint takes back, it takes back with this setting.
	if v_topics <> '{}' and current_setting('tidings.row_told', true) is distinct from pg_current_xact_id()::text then
		perform set_config('tidings.row_told', pg_current_xact_id()::text, true);
		perform tidings.notify('outbox', '');
	end if;
	if v_why is not null and current_setting('tidings.row_warned', true) is distinct from v_trigger then
		perform set_config('tidings.row_warned', v_trigger, true);
		raise warning 'tidings: the trigger % cannot tell of a row: %', v_trigger, v_why;
	end if;
	if tg_op = 'DELETE' then
		return old;
	end if;
	return new;
end
$$;
