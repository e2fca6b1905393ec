-- How what goes out is written.

create or replace function tidings.stamp(p_at timestamptz) returns text
language sql stable as $$
	select to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- A user id as JSON has it: an integer when the id is one that JavaScript holds exactly, else text. See src/domain/caller/user_id.h.
create or replace function tidings.user_json(p_user text) returns json
language sql immutable as $$
	select case when p_user ~ '^(0|-?[1-9][0-9]{0,14})$' then p_user::json else to_json(p_user) end
$$;

-- May a topic be named after this user: 'notifications/<user>'? For one that may not there is none of what is in these files. (The
-- tables say it again: who may insert need not be allowed to call this.)
create or replace function tidings.addressable(user_id text) returns boolean
language sql immutable as $$
	select user_id ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(user_id) <= 114
$$;

-- The 123 of 'diagnosis/123'; null for any other topic. See topic_parse_id() in src/domain/topic/topic.h.
create or replace function tidings.diagnosis_of(topic text) returns bigint
language sql immutable as $$
	-- Not by a regular expression: of a million topics that took more than half of /ws/status.
	select case when starts_with(topic, 'diagnosis/') and ltrim(substr(topic, 11), '0123456789') = '' and substr(topic, 11, 1) not in ('', '0')
		and (length(topic) < 29 or length(topic) = 29 and substr(topic, 11) collate "C" <= '9223372036854775807') then substr(topic, 11)::bigint end
$$;

-- JSON text in one line: an event stream ends a message at a line break. There is none inside of strings.
create or replace function tidings.one_line(p_json text) returns text
language sql immutable as $$
	select replace(replace(replace(p_json, E'\n', ''), E'\r', ''), E'\t', '')
$$;

-- JSON text without white space between its tokens: as it comes by HTTP.
create or replace function tidings.compact(p_json text) returns text
language plpgsql immutable strict as $$
begin
	-- Every other piece between quotes is outside of strings. JSON has no control characters, so two can stand for what is escaped.
	return (
		select replace(replace(string_agg(case when i.place % 2 = 1 then replace(i.piece, ' ', '') else i.piece end, '"' order by i.place),
			E'\x02', '\"'), E'\x01', '\\')
		from unnest(string_to_array(replace(replace(one_line(p_json), '\\', E'\x01'), '\"', E'\x02'), '"')) with ordinality as i(piece, place));
end
$$;

-- A message as it is stored.
--
--	p_member	'data', or what else the object is called
--	p_correlation	JSON text, or null
create or replace function tidings.message_text(p_type text, p_topic text, p_correlation text, p_member text, p_object json) returns text
language sql volatile as $$
	select '{"type":' || to_json(p_type) || ',"topic":' || to_json(p_topic)
		|| coalesce(',"diagnosis_id":' || tidings.diagnosis_of(p_topic), '')
		|| ',"timestamp":"' || tidings.stamp(clock_timestamp()) || '"'
		|| coalesce(',"correlation_id":' || tidings.one_line(p_correlation), '') || ',' || to_json(p_member) || ':'
		|| tidings.one_line(p_object::text) || '}'
$$;
