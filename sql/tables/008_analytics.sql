-- What feedback amounts to: votes, their sums, what has been told of them. tidings.recount() makes all of it anew.
--
-- A cell is a treatment, which is a herb for a condition; a herb, whose condition is ''; or all, whose herb is '' too.

set local role tidings_owner;

-- A patient's vote on a treatment, as it is in the sums: the mean of what they say last of each recommendation of it. Their vote on a
-- herb is the mean of those on its treatments, that on all the mean of those on herbs: so a sum counts nobody twice.
create table tidings.effect_vote (
	patient text not null,
	herb text not null,
	condition text not null,
	vote numeric not null, -- to 6 decimals: sums are exact, and the same in whatever order they were made
	day date not null,     -- of their newest feedback on it (UTC)
	primary key (patient, herb, condition)
);

create table tidings.effect (
	herb text not null,
	condition text not null,
	people int not null,
	sum numeric not null,	     -- of votes
	squares numeric not null,    -- of votes
	successes int not null,	     -- votes of least_success() and more
	parent_sum numeric not null, -- of the same people's votes on the herb (of a herb: on all)
	primary key (herb, condition)
) with (fillfactor = 70);

-- The same by the day of the newest feedback of each.
create table tidings.effect_day (
	herb text not null,
	condition text not null,
	day date not null,
	people int not null,
	sum numeric not null,
	squares numeric not null,
	successes int not null,
	parent_sum numeric not null,
	primary key (herb, condition, day)
) with (fillfactor = 80);

-- One row: sums over the treatments of least_people() and more, of which the weight of the prior is made.
create table tidings.effect_prior (
	one boolean primary key default true check (one),
	cells int8 not null default 0,
	people int8 not null default 0,
	people_squared numeric not null default 0,
	sum numeric not null default 0,
	squares numeric not null default 0,
	between_cells numeric not null default 0 -- of sum² / people, each to 9 decimals
) with (fillfactor = 10);

insert into tidings.effect_prior default values;

-- A cell in the last 7, 30 or 90 days beside as many days before, as of when it was renewed last. What is null is of too few people.
create table tidings.effect_trend (
	herb text not null,
	condition text not null,
	days int not null check (days in (7, 30, 90)),
	people int not null,
	people_before int not null,
	sum numeric not null,
	parent_sum numeric not null,
	growth float8, -- what is sorted by: growth_order()
	effectiveness float8,
	lower float8,
	upper float8,
	before float8,
	change float8,
	change_lower float8,
	change_upper float8,
	trend text,
	primary key (herb, condition, days)
) with (fillfactor = 70);

create index effect_trend_growth on tidings.effect_trend (days, (condition <> ''), growth desc, herb, condition) where growth is not null;
create index effect_trend_lower on tidings.effect_trend (days, (condition <> ''), lower desc, herb, condition) where lower is not null;
create index effect_trend_change on tidings.effect_trend (days, (condition <> ''), change desc, herb, condition) where change is not null;
create index effect_trend_condition on tidings.effect_trend (condition, days) where condition <> '';
create index effect_trend_few on tidings.effect_trend (days, (condition <> '')) where growth is null;

-- What watchers of a treatment's diagnoses were told last.
create table tidings.effect_shown (
	herb text not null,
	condition text not null,
	effectiveness numeric not null, -- 2 decimals
	confidence numeric not null,
	lower numeric not null,
	upper numeric not null,
	sample_size int not null,
	before numeric, -- the effectiveness that was told before; null: none
	shown_at timestamptz not null,
	told_up_to bigint, -- recommendations are told in the order of their ids, and were up to this; null: all were
	primary key (herb, condition)
) with (fillfactor = 70);

create index effect_shown_untold on tidings.effect_shown (shown_at) where told_up_to is not null;

-- Treatments whose score may be another than what was told, and when they may be looked at.
create table tidings.effect_due (
	herb text not null,
	condition text not null,
	due_at timestamptz not null,
	primary key (herb, condition)
);

create index effect_due_at on tidings.effect_due (due_at);

-- How many of those who were recommended a treatment have said how it was: looked up now and then, of the newest.
create table tidings.effect_response (
	herb text not null,
	condition text not null,
	asked int not null,
	answered int not null,
	counted_at timestamptz not null,
	primary key (herb, condition)
);

-- Patients of whom feedback was deleted: their votes are to be made anew.
create table tidings.effect_lost (
	id bigint generated always as identity primary key,
	patient text not null
);

-- One row: how far the analyst has come with renewing every cell of effect_trend. After a crash of the server it begins anew.
create unlogged table tidings.analyst_state (
	one boolean primary key default true check (one),
	changed_at timestamptz not null default '-infinity', -- when votes were counted last
	round_at timestamptz not null default '-infinity',   -- when the last round began
	round_herb text,	       -- the round has come so far; null: it is over
	round_condition text,
	renewed_at timestamptz not null default '-infinity', -- when the last round ended
	trending jsonb not null default '{}', -- by what, the order that was told last
	trending_at timestamptz not null default '-infinity', -- when it was told
	looked_at timestamptz not null default '-infinity'    -- when it was compared with what it is
) with (fillfactor = 10);

-- What must not be taken together with what, and what is known of a patient: no contraindicated herb is ever suggested.
create table tidings.contraindication (
	herb text not null,
	fact text not null, -- anticoagulant
	primary key (herb, fact)
);

-- As it is compared: "ginkgo" is Ginkgo.
create index contraindication_name on tidings.contraindication (lower(normalize(herb)));

create table tidings.patient_fact (
	user_id text not null,
	fact text not null,
	primary key (user_id, fact)
);

-- Whom a change of a treatment's score concerns, and what can be recommended instead of it.
create index recommendation_active on tidings.recommendation (herb, condition, id) where status = 'active';
create index recommendation_treatment on tidings.recommendation (herb, condition, created_at);
create index effect_shown_condition on tidings.effect_shown (condition, effectiveness desc);

reset role;
