-- How what goes out is written.

create or replace function tidings.stamp(p_at timestamptz) returns text
language sql stable as $$
	select to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- A user id as JSON has it: an integer when the id is one that JavaScript holds exactly, else text. See src/domain/user.h.
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

-- The 123 of 'diagnosis/123'; null for any other topic. See topic_parse_id() in src/domain/topic.h.
create or replace function tidings.diagnosis_of(topic text) returns bigint
language sql immutable as $$
	select case when topic ~ '^diagnosis/[1-9][0-9]{0,18}$'
		and (length(topic) < 29 or substr(topic, 11) collate "C" <= '9223372036854775807') then substr(topic, 11)::bigint end
$$;

-- A message as it is stored.
--
--	p_member	'data', or what else the object is called
--	p_correlation	JSON text, or null
create or replace function tidings.message_text(p_type text, p_topic text, p_correlation text, p_member text, p_object json) returns text
language sql volatile as $$
	select '{"type":' || to_json(p_type) || ',"topic":' || to_json(p_topic)
		|| ',"timestamp":"' || tidings.stamp(clock_timestamp()) || '"'
		|| coalesce(',"correlation_id":' || p_correlation, '') || ',' || to_json(p_member) || ':' || p_object || '}'
$$;
