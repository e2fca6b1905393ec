-- Messages that the sweep has taken for their age: what went for the count is the rest of all that went.

set local role tidings_owner;

create table tidings.trimmed (
	reason text primary key check (reason in ('age', 'expired')),
	messages bigint not null
) with (fillfactor = 50);

insert into tidings.trimmed values ('age', 0), ('expired', 0);

reset role;
