-- Predictions: what was said of how a recommendation would do, and how it did.

set local role tidings_owner;

-- One for each recommendation and model: the last that was made before its patient said anything of it.
create table tidings.prediction (
	id bigint generated always as identity primary key,
	recommendation_id bigint not null,
	patient text not null,
	model text not null,
	success float8 not null check (success between 0 and 1), -- how probable it was held
	made_at timestamptz not null default clock_timestamp(),
	outcome boolean, -- a success, by what the patient says of it last; null: nothing
	outcome_at timestamptz,
	unique (recommendation_id, patient, model)
) with (fillfactor = 80);

create index prediction_patient on tidings.prediction (patient);
create index prediction_judged on tidings.prediction (model, outcome_at desc) where outcome is not null;

-- What a machine may do of its own is told to each act by the program that calls: off, propose or apply.
alter type tidings.request add attribute predictions text;

reset role;
