-- The application's own tables, in the database that tidings is in; and who may read lists/<id>. Applied once, by a superuser.

create schema lists;
create table lists.person (id int primary key, name text not null unique, password_hash text not null);
create table lists.list (id int primary key);
create table lists.member (list_id int references lists.list, person_id int references lists.person, primary key (list_id, person_id));
create table lists.item (id int generated always as identity primary key, list_id int not null references lists.list,
	text text not null check (text <> ''));

-- sha256 of 'one', 'two' and 'three': an example's, which nobody should use for anything.
insert into lists.person values (1001, 'anna', encode(sha256('one'), 'hex')), (1002, 'ben', encode(sha256('two'), 'hex')),
	(1003, 'cara', encode(sha256('three'), 'hex'));
insert into lists.list values (1);
insert into lists.member values (1, 1001), (1, 1002);

-- Who the application logs in as: it has its own tables, and publishes in its own transactions.
create role lists_app;
grant usage on schema lists, tidings to lists_app;
grant select on all tables in schema lists to lists_app;
grant insert on lists.item to lists_app;
grant execute on function tidings.publish to lists_app;

-- Members of a list may listen to it; all other topics are as before. tidings asks this function, as its own role.
grant usage on schema lists to tidings_owner;
grant select on lists.member to tidings_owner;
create or replace function tidings.authorize(user_id text, role text, topic text, action text) returns boolean
language sql stable as $$
	select case when topic ~ '^lists/[0-9]{1,9}$' and action = 'subscribe'
		then exists (select from lists.member m where m.list_id = split_part(topic, '/', 2)::int and m.person_id::text = user_id)
		else tidings.default_authorize(user_id, role, topic, action) end
$$;
