-- A user's keys are kept longer than a publisher's.

set local role tidings_owner;

alter table tidings.idempotency add column of_user boolean not null default false; -- see key_kept()

drop index tidings.idempotency_age;
create index idempotency_age on tidings.idempotency (of_user, created_at);

reset role;
