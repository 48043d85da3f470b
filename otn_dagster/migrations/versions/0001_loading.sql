-- Names follow OTN's node database. Times of the field are UTC without zone; times of the platform carry a zone.

create schema if not exists platform;
create schema obis;
create schema vendor;
create schema discovery;
create schema erddap;
create schema geoserver;

-- Which database this is: a snapshot links partitions only from snapshots of the same one.
create table platform.identity (database_id uuid not null default gen_random_uuid());
insert into platform.identity default values;

-- The clock that decides about cut-offs. A drill (a demo, a test) may set it; nothing else does.
create table platform.drill_clock (at timestamptz not null);
create function platform.now() returns timestamptz language sql stable as
    $$ select coalesce((select at from platform.drill_clock limit 1), transaction_timestamp()) $$;

create function platform.point_ewkb(longitude double precision, latitude double precision) returns bytea
    language sql immutable strict as
    $$ select '\x0020000001000010e6'::bytea || float8send(longitude) || float8send(latitude) $$;

-- Lookups -----------------------------------------------------------------------------------------------------------

create table obis.institution_codes (institutioncode text primary key, institution text not null);
create table obis.instrument_models (model text primary key, usage text not null check (usage in ('rcvr', 'trncvr', 'trnm', 'envrn')));
create table obis.lengthtype_codes (code text primary key, description text not null);
create table obis.lifestage_codes (code text primary key, description text not null);
create table obis.control_units (unit text primary key);

insert into obis.instrument_models values
    ('VR1', 'rcvr'), ('VR2', 'rcvr'), ('VR2C', 'rcvr'), ('VR2W', 'rcvr'), ('VR3', 'rcvr'), ('VR4', 'rcvr'), ('VR100', 'rcvr'),
    ('VR2TX', 'trncvr'), ('VR2AR', 'trncvr'), ('VR4-UWM', 'rcvr'), ('VR3-UWM', 'rcvr'), ('HR2', 'rcvr'), ('HR3', 'rcvr'), ('NX1', 'rcvr'),
    ('VMT', 'trncvr'), ('TBR700', 'rcvr'), ('TBR800', 'rcvr'), ('WHS3250', 'rcvr'),
    ('V6', 'trnm'), ('V7', 'trnm'), ('V8', 'trnm'), ('V9', 'trnm'), ('V13', 'trnm'), ('V16', 'trnm'), ('MT', 'trnm'), ('LP', 'trnm');
insert into obis.lengthtype_codes values
    ('FORK', 'fork length'), ('FL', 'fork length'), ('TOTAL', 'total length'), ('TL', 'total length'),
    ('STANDARD', 'standard length'), ('SL', 'standard length'), ('PCL', 'precaudal length'), ('GIRTH', 'girth'),
    ('CW', 'carapace width'), ('CL', 'carapace length'), ('DW', 'disc width'), ('ML', 'mantle length'), ('LJFL', 'lower jaw fork length'),
    ('CFL', 'curved fork length'), ('SCL', 'straight carapace length'), ('CCL', 'curved carapace length');
insert into obis.lifestage_codes values
    ('EGG', 'egg'), ('LARVA', 'larva'), ('YOY', 'young of the year'), ('FRY', 'fry'), ('PARR', 'parr'), ('SMOLT', 'smolt'),
    ('POST-SMOLT', 'post-smolt'), ('JUVENILE', 'juvenile'), ('IMMATURE', 'immature'), ('SUBADULT', 'subadult'),
    ('ADULT', 'adult'), ('MATURE', 'mature'), ('KELT', 'kelt'), ('GRILSE', 'grilse'), ('UNKNOWN', 'unknown');
insert into obis.control_units values ('DAYS'), ('WEEKS'), ('MONTHS'), ('YEARS');

-- Manufacturers' specifications, filled by a node from the files that vendors send.
create table vendor.c_vemco_tags (
    serial_no text, vue_id text not null, tag_fam text, est_tag_life integer,
    sensor_type text, sensor_unit text, slope double precision, intercept double precision, primary key (vue_id, serial_no));
create table vendor.c_vemco_receivers (serial_no text primary key, tag_id text, model text);

-- Projects and people -----------------------------------------------------------------------------------------------

create table obis.otn_resources (
    project_key smallint generated always as identity unique,
    collectioncode text primary key check (collectioncode ~ '^[A-Z][A-Z0-9]{1,15}$'),
    node text not null, projecttype text check (projecttype in ('tracker', 'deployment', 'data')),
    resource_full_name text not null, abstract text, citation text, website text,
    institutioncode text, local_area text, locality text, ocean text, country text, state text,
    seriescode text, shortname text, longname text, collaborationtype text, status text,
    westbl double precision, eastbl double precision, southbl double precision, northbl double precision,
    sdate date, edate date, submission_key text not null, datelastmodified timestamptz not null);
create table obis.contacts (
    contact_pk bigint generated always as identity primary key,
    name text not null, email text, affiliation text, orcid text);
create unique index contacts_email on obis.contacts (lower(coalesce(email, name)));
create table obis.contacts_projects (
    contact_pk bigint not null references obis.contacts, collectioncode text not null references obis.otn_resources,
    role text not null, point_of_contact boolean not null default false, primary key (contact_pk, collectioncode, role));
create table obis.scientificnames (
    collectioncode text not null references obis.otn_resources, scientificname text not null, commonname text,
    aphiaidaccepted bigint, primary key (collectioncode, scientificname));

-- Submissions: one received file each ------------------------------------------------------------------------------

create table platform.submissions (
    submission_key text primary key, submission_no integer generated always as identity unique, node text not null, collectioncode text not null,
    kind text not null check (kind in ('project', 'tags', 'deployments', 'detections', 'events')),
    file_name text not null, sha256 text not null, bytes bigint not null, stored_path text not null,
    received_at timestamptz not null default platform.now(),
    state text not null default 'received' check (state in ('received', 'loaded', 'refused', 'held', 'waiting', 'superseded')),
    reason text, loaded_at timestamptz, supersedes text,
    raw_rows bigint, loaded_rows bigint, duplicate_rows bigint, refused_rows bigint, waiting_rows bigint,
    unique (node, collectioncode, kind, sha256));
create table platform.refused_rows (
    submission_key text not null references platform.submissions, row_number bigint not null, column_name text,
    found text, expected text not null, remedy text not null, cells jsonb);
create index on platform.refused_rows (submission_key);
-- What changed when a file was corrected: one line a cell.
create table platform.row_changes (
    submission_key text not null references platform.submissions, table_name text not null, row_key text not null,
    column_name text not null, old_value text, new_value text, changed_at timestamptz not null default platform.now());
create index on platform.row_changes (submission_key);
-- What waits for a person, and what a person decided.
create table platform.decisions (
    decision_id bigint generated always as identity primary key,
    topic text not null check (topic in ('removal', 'clock_drift')), subject text not null, details jsonb not null,
    raised_at timestamptz not null default platform.now(),
    decision text check (decision in ('accept', 'reject')), decided_by text, decided_why text, decided_at timestamptz,
    unique (topic, subject));

-- Raw level: rows as they stand in the sheet. (Raw detections and events are Parquet files beside the submission.) ---

create table platform.c_tag_meta (
    submission_key text not null, row_number bigint not null, cells jsonb not null, primary key (submission_key, row_number));
create table platform.c_shortform (
    submission_key text not null, row_number bigint not null, cells jsonb not null, primary key (submission_key, row_number));

-- Intermediate level: typed and named rows. -------------------------------------------------------------------------

create table platform.tag_cache (
    submission_key text not null, row_number bigint not null, collectioncode text not null, catalognumber text not null,
    animal_id text, tag_type text, tag_manufacturer text, tag_model text, tag_serial_number text,
    tag_id_code text, tag_code_space text, transmitter text, tag_implant_type text, tag_implant_method text,
    est_tag_life double precision, tagger text, tag_owner_pi text, tag_owner_organization text,
    common_name_e text, scientific_name text, capture_location text,
    capture_latitude double precision, capture_longitude double precision, wild_or_hatchery text, stock text,
    length double precision, weight double precision, length_type text, length2 double precision, length2_type text,
    life_stage text, age double precision, age_units text, sex text,
    release_location text, release_latitude double precision, release_longitude double precision,
    utc_release_date_time timestamp, harvest_date timestamp, comments text, other jsonb,
    primary key (submission_key, row_number));
create table platform.stations (
    collectioncode text not null, station_name text not null, latitude double precision not null, longitude double precision not null,
    bottom_depth double precision, first_deployed timestamp not null, datelastmodified timestamptz not null, the_geom %POINT%,
    primary key (collectioncode, station_name));
create table platform.rcvr_locations (
    submission_key text not null, row_number bigint not null, collectioncode text not null, catalognumber text not null,
    otn_array text, station_name text not null, deploy_date timestamp not null,
    dep_lat double precision not null, dep_long double precision not null, bottom_depth double precision, riser_length double precision,
    receiver_depth double precision, rcv_model_no text, rcv_serial_no text, code_set text,
    transmitter text, transmit_model text, ar_model_no text, ar_serial_no text, deployed_by text,
    recover_ind text, recovered text, recover_date timestamp, recover_lat double precision, recover_long double precision,
    data_downloaded text, download_date timestamp, filename text, comments text, other jsonb,
    primary key (submission_key, row_number));

-- Integer keys of receivers and transmitters, given once: detections are matched on these, not on text.
create table platform.receiver_keys (receiver_key integer generated always as identity primary key, rcv_serial_no text not null unique);
create table platform.transmitter_keys (transmitter_key integer generated always as identity primary key, transmitter text not null unique);
create sequence platform.detections_seq;

create table platform.detections (
    det_key bigint not null, submission_no integer not null, row_number bigint not null,
    receiver_key integer not null, transmitter_key integer not null, receiver text not null, transmitter text not null,
    datetime timestamp not null, sensor_value double precision, sensor_unit text,
    transmitter_name text, transmitter_serial text, station_name text, detcode text,
    loaded_at timestamptz not null, withdrawn_at timestamptz);
create table platform.events (
    submission_key text not null, row_number bigint not null, receiver_key integer not null, receiver text not null,
    datetime timestamp not null, description text not null, data text, units text, loaded_at timestamptz not null);
create table platform.time_drift_factors (
    receiver_key integer not null, receiver text not null, segment integer not null,
    initialized_at timestamp not null, offload_at timestamp not null, offset_start double precision not null,
    offset_end double precision not null, factor double precision not null,
    accepted boolean not null, source text not null, loaded_at timestamptz not null);
create table platform.receiver_config (
    receiver_key integer not null, receiver text not null, datetime timestamp not null, map_code text not null, code_spaces text,
    submission_key text not null, loaded_at timestamptz not null);

-- Upper level: what nodes query. Every project's table inherits from the parent of the same kind. --------------------

-- Integer keys for the push, inherited as defaults.
create sequence platform.animal_keys as integer;
create sequence platform.mooring_keys as integer;
create table obis.otn_animals (
    animal_key integer not null default nextval('platform.animal_keys'),
    basisofrecord varchar(256), institutioncode varchar(200), collectioncode varchar(200) not null, catalognumber varchar(200) not null,
    datelastmodified timestamptz not null, scientificname varchar(200), commonname varchar, collector varchar(200), datecollected timestamp not null,
    timezone varchar(100), yearcollected varchar(8), monthcollected varchar(4), daycollected varchar(4), julianday int4, timeofday float8,
    latitude float8, longitude float8, coordinateprecision float8, locality text, fieldnumber varchar(100), the_geom %POINT%,
    stock text, wild_ind text, sex text, observedindividualcount numeric, observedweight numeric, length numeric, lengthtype text,
    length2 numeric, length2type text, age numeric, ageunit text, lifestage text, lifestagedescription text,
    datereleaseanimal date, datedetectionsreleased date, notes text, organism_id text);
create table obis.moorings (
    mooring_key integer not null default nextval('platform.mooring_keys'),
    basisofrecord text not null check (basisofrecord in ('STATION', 'RECEIVER', 'TRANSMITTER', 'DOWNLOAD')),
    institutioncode text, collectioncode text not null, catalognumber text not null, relatedcatalogitem text, relationshiptype text,
    collectornumber text, fieldnumber text, instrumentmodel text, instrumenttype text, serialnumber text,
    startdatetime timestamp, enddatetime timestamp, latitude double precision, longitude double precision, the_geom %POINT%,
    timezone text, locality text, notes text, bottom_depth double precision, receiver_depth double precision, recover_ind text,
    harvestdatetime timestamp, datelastmodified timestamptz not null);
create table obis.otn_detections (
    collectioncode text not null, catalognumber text not null, trackercode text, relationshiptype text, relatedcatalogitem text,
    fieldnumber text not null, collectornumber text not null, station text not null, bottom_depth double precision, receiver_depth double precision,
    sensorname text, sensorraw double precision, sensortype text, sensorvalue double precision, sensorunit text,
    datecollected timestamp not null, longitude double precision not null, latitude double precision not null, the_geom %POINT%,
    yearcollected integer not null, monthcollected integer not null, daycollected integer not null, julianday integer not null, timeofday double precision not null,
    notes text, datelastmodified timestamptz not null, rcvrcatnumber text not null, det_key bigint not null, receiver_key integer not null,
    uncorrected_datecollected timestamp not null);

-- How many times the content of a partition of detections changed: what a snapshot compares instead of reading rows.
create table platform.partition_versions (
    collectioncode text not null, year integer not null, version bigint not null, primary key (collectioncode, year));
